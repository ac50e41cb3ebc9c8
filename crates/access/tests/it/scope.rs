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
    assert!(matches!(Scope::parse("system/Observation.rs?category=vital-signs"), Err(ScopeError::Query(_))));
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
