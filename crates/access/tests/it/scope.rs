use crate::kind;
use access::Action;
use access::scope::{Scope, ScopeError, ScopeSet};

#[test]
fn scopes_are_read_and_written() {
    for (text, printed) in [
        ("system/Observation.rs", "system/Observation.rs"),
        ("system/*.cruds", "system/*.cruds"),
        ("patient/Patient.r", "patient/Patient.r"),
        ("user/*.read", "user/*.rs"),
        ("system/Patient.write", "system/Patient.cud"),
        ("system/*.*", "system/*.cruds"),
        ("system/Task.cu", "system/Task.cu"),
    ] {
        assert_eq!(Scope::parse(text).unwrap().to_string(), printed);
    }
    for text in [
        "",
        "openid",
        "system",
        "system/",
        "system/Observation",
        "system/Observation.",
        "system/Observation.sr",
        "system/Observation.rr",
        "system/Observation.x",
        "tenant/Patient.r",
        "/Patient.r",
    ] {
        assert!(matches!(Scope::parse(text), Err(ScopeError::Syntax(_))), "{text}");
    }
    for text in ["system/Dog.r", "system/.r"] {
        assert!(matches!(Scope::parse(text), Err(ScopeError::UnknownType(_))), "{text}");
    }
    for text in [
        "system/*.rs?category=x",
        "system/Observation.rs?",
        "system/Observation.rs?date=gt2020",
        "system/Observation.rs?category:not=x",
        "system/Observation.rs?subject:Patient.name=x",
        "system/Observation.rs?_id=1",
        "system/Observation.rs?no-such=1",
        "system/Observation.rs?category=%zz",
    ] {
        assert!(matches!(Scope::parse(text), Err(ScopeError::Query(_))), "{text}");
    }
}

#[test]
fn restricted_scopes_keep_their_query() {
    let text = "patient/Observation.rs?category=http%3A%2F%2Fx|laboratory,vital-signs&code=a";
    let scope = Scope::parse(text).unwrap();
    assert_eq!(scope.to_string(), text);
    let any: Vec<_> = scope.restrictions.iter().map(|one| one.any.clone()).collect();
    let of = |system: Option<&str>, code: &str| (system.map(str::to_owned), Some(code.to_owned()));
    assert_eq!(any, [vec![of(Some("http://x"), "laboratory"), of(None, "vital-signs")], vec![of(None, "a")]]);
    // A restriction never covers more than itself.
    let registered =
        ScopeSet::parse(["system/Observation.rs?category=laboratory", "system/Patient.r"]).unwrap();
    for (asked, granted) in [
        ("system/Observation.rs?category=laboratory", "system/Observation.rs?category=laboratory"),
        ("system/Observation.rs", ""),
        ("system/Observation.rs?category=vital-signs", ""),
        ("system/Patient.r?gender=female", "system/Patient.r?gender=female"),
    ] {
        assert_eq!(registered.grant(&ScopeSet::parse([asked]).unwrap()).to_string(), granted, "{asked}");
    }
}

#[test]
fn sealed_categories_are_scopes() {
    let registered = ScopeSet::parse(["system/*.rs", "sens/HIV", "sens/MH"]).unwrap();
    assert_eq!(registered.to_string(), "system/*.rs sens/HIV sens/MH");
    let asked = ScopeSet::parse(["system/*.rs", "sens/HIV", "sens/SDV"]).unwrap();
    assert_eq!(registered.grant(&asked).to_string(), "system/*.rs sens/HIV");
    assert_eq!(ScopeSet::parse(["sens/*"]).unwrap().seals(), access::Seals::ALL);
    assert!(matches!(ScopeSet::parse(["sens/nothing"]), Err(ScopeError::Syntax(_))));
}

#[test]
fn letters_name_actions() {
    let set = ScopeSet::parse(["system/Observation.r", "system/Patient.cs"]).unwrap();
    let cases = [
        (Action::Read, "Observation", true),
        (Action::History, "Observation", true),
        (Action::Search, "Observation", false),
        (Action::Create, "Patient", true),
        (Action::Search, "Patient", true),
        (Action::Read, "Patient", false),
        (Action::Delete, "Patient", false),
    ];
    for (action, name, allowed) in cases {
        assert_eq!(set.system_allows(action, kind(name)), allowed, "{action:?} {name}");
        assert!(!set.user_allows(action, kind(name)));
    }
}

#[test]
fn a_token_gets_no_more_than_was_registered() {
    let registered = ScopeSet::parse(["system/Observation.rs", "system/*.r", "user/Patient.r"]).unwrap();
    for (asked, granted) in [
        ("system/Observation.rs", "system/Observation.rs"),
        ("system/Observation.cruds", ""),
        ("system/Patient.r", "system/Patient.r"),
        ("system/*.r", "system/*.r"),
        ("system/*.rs", ""),
        ("system/Patient.rs", ""),
        ("patient/Patient.r", ""),
    ] {
        let asked = ScopeSet::parse(asked.split(' ')).unwrap();
        assert_eq!(registered.grant(&asked).to_string(), granted);
    }
}
