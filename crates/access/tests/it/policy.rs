use crate::{client, key, kind, person};
use access::policy::{self, Action, Capability, Decision, Predicate, RowFacts, decide};
use access::{Class, Ctx, Principal, Role, ScopeSet};
use fhir::TypeId;
use proptest::prelude::*;

#[test]
fn the_matrix_as_a_clinician_reads_it() {
    insta::assert_snapshot!(access::matrix::print());
}

#[test]
fn every_type_has_a_class() {
    let mut out = String::new();
    for class in Class::ALL {
        let names: Vec<&str> = class.types().map(TypeId::name).collect();
        out.push_str(&format!("{}: {}\n", class.title(), names.join(" ")));
    }
    insta::assert_snapshot!(out);
    assert_eq!(Class::ALL.iter().flat_map(|c| c.types()).count(), TypeId::all().count());
}

/// Whom a row belongs to, against everybody who might ask.
#[test]
fn rows_against_callers() {
    let own = ["own".to_owned()];
    let other = ["other".to_owned()];
    let treated = ["treated".to_owned()];
    let rows: [(&str, &[String], &[String]); 9] = [
        ("Observation/own", &own, &[]),
        ("Observation/treated", &treated, &treated),
        ("Observation/other", &other, &[]),
        ("Patient/other", &other, &[]),
        ("Appointment/other", &other, &[]),
        ("Invoice/other", &other, &[]),
        ("Practitioner/me", &[], &[]),
        ("Practitioner/x", &[], &[]),
        ("AuditEvent/other", &other, &[]),
    ];
    let callers: Vec<(String, Ctx)> = Role::ALL
        .iter()
        .map(|r| (r.code().to_owned(), person(&[*r])))
        .chain([
            ("client Observation.rs".to_owned(), client(&["system/Observation.rs"])),
            ("client *.cruds".to_owned(), client(&["system/*.cruds"])),
            ("system".to_owned(), Ctx::system("job", crate::now())),
        ])
        .collect();
    let mut out = String::new();
    for (name, ctx) in &callers {
        out.push_str(name);
        out.push('\n');
        for (row, patients, in_care) in &rows {
            let key = key(row);
            let facts = RowFacts::plain(&key, patients, in_care);
            let letters: String = [
                (Action::Read, 'r'),
                (Action::Search, 's'),
                (Action::Create, 'c'),
                (Action::Update, 'u'),
                (Action::Delete, 'd'),
            ]
            .iter()
            .map(|(action, letter)| {
                if decide(ctx, *action, &facts) == Decision::Allow {
                    letter.to_ascii_uppercase()
                } else if policy::decide_command(ctx, *action, &facts) == Decision::Allow {
                    *letter
                } else {
                    '-'
                }
            })
            .collect();
            out.push_str(&format!("  {row:<20} {letters}\n"));
        }
    }
    insta::assert_snapshot!(out);
}

#[test]
fn nobody_writes_audit_events() {
    let mut callers: Vec<Ctx> = Role::ALL.iter().map(|r| person(&[*r])).collect();
    callers.push(client(&["system/*.cruds"]));
    callers.push(Ctx::system("job", crate::now()));
    for ctx in callers {
        for action in [Action::Create, Action::Update, Action::Delete] {
            assert_eq!(policy::command_predicate(&ctx, action, kind("AuditEvent")), Predicate::Nothing);
        }
    }
}

#[test]
fn it_staff_and_anonymous_see_nothing_personal() {
    let mut anonymous = person(&[]);
    anonymous.principal = Principal::Anonymous;
    for ctx in [person(&[Role::It]), anonymous, person(&[Role::Integration])] {
        for kind in TypeId::all().filter(|k| !policy::is_impersonal(*k)) {
            for action in Action::ALL {
                assert_eq!(
                    policy::command_predicate(&ctx, action, kind),
                    Predicate::Nothing,
                    "{}",
                    kind.name()
                );
            }
        }
    }
}

/// A refusal to a patient must look like absence; a refusal to staff may say what it is.
#[test]
fn private_existence() {
    assert!(policy::existence_is_private(&person(&[Role::Patient]), kind("Observation")));
    assert!(!policy::existence_is_private(&person(&[Role::Patient]), kind("Practitioner")));
    assert!(!policy::existence_is_private(&person(&[Role::Patient, Role::Doctor]), kind("Observation")));
    assert!(!policy::existence_is_private(&person(&[Role::Doctor]), kind("Observation")));
}

#[test]
fn patients_do_not_read_drafts() {
    assert_eq!(policy::unreadable_statuses(&person(&[Role::Patient]), kind("Composition")), ["preliminary"]);
    assert!(policy::unreadable_statuses(&person(&[Role::Patient]), kind("Observation")).is_empty());
    assert!(policy::unreadable_statuses(&person(&[Role::Doctor]), kind("Composition")).is_empty());
    assert!(policy::unreadable_statuses(&client(&["system/*.rs"]), kind("Composition")).is_empty());
}

/// Roles without the resource they speak for own nothing.
#[test]
fn a_role_alone_owns_nothing() {
    for role in [Role::Patient, Role::Proxy, Role::Doctor, Role::Nurse] {
        let mut ctx = person(&[role]);
        if let Principal::User(user) = &mut ctx.principal {
            user.patient = None;
            user.practitioner = None;
        }
        assert_eq!(policy::predicate(&ctx, Action::Read, kind("Observation")), Predicate::Nothing);
    }
}

#[test]
fn capabilities() {
    let all = Capability::ALL;
    let mut out = String::new();
    for role in Role::ALL {
        let has: Vec<String> =
            all.iter().filter(|c| policy::may(&person(&[role]), **c)).map(|c| format!("{c:?}")).collect();
        out.push_str(&format!("{}: {}\n", role.code(), has.join(" ")));
    }
    insta::assert_snapshot!(out);
}

fn any_role() -> impl Strategy<Value = Role> {
    prop::sample::select(Role::ALL.to_vec())
}

fn any_scope() -> impl Strategy<Value = String> {
    let types = vec!["*", "Observation", "Patient", "Appointment", "Practitioner", "Invoice", "AuditEvent"];
    (
        prop::sample::select(vec!["system", "user", "patient"]),
        prop::sample::select(types),
        prop::sample::subsequence(vec!['c', 'r', 'u', 'd', 's'], 1..=5),
    )
        .prop_map(|(level, kind, letters)| {
            format!("{level}/{kind}.{}", letters.into_iter().collect::<String>())
        })
}

fn any_patients() -> impl Strategy<Value = Vec<String>> {
    prop::sample::subsequence(vec!["own".to_owned(), "treated".to_owned(), "other".to_owned()], 0..=3)
}

proptest! {
    /// facts/security-controls.md I9: for all (user, scope) the result is within both.
    #[test]
    fn a_scope_never_widens(
        roles in prop::collection::vec(any_role(), 0..3),
        scopes in prop::collection::vec(any_scope(), 0..4),
        kind in (0u16..147).prop_map(TypeId),
        action in prop::sample::select(Action::ALL.to_vec()),
        patients in any_patients(),
        principal in 0..3,
    ) {
        let texts: Vec<&str> = scopes.iter().map(String::as_str).collect();
        let set = ScopeSet::parse(texts.iter().copied()).unwrap();
        let ctx = match principal {
            0 => client(&texts),
            1 => Ctx::system("job", crate::now()),
            _ => person(&roles),
        };
        let row_key = fhir::ResourceKey::new(kind, "x");
        let in_care: Vec<String> = patients.iter().filter(|p| *p == "treated").cloned().collect();
        let row = RowFacts::plain(&row_key, &patients, &in_care);
        if policy::effective(&ctx, &set, action, kind).holds(&row) {
            prop_assert!(policy::predicate(&ctx, action, kind).holds(&row));
            let named = set.system_allows(action, kind) || set.user_allows(action, kind)
                || (set.patient_allows(action, kind)
                    && (patients.contains(&"own".to_owned()) || policy::is_impersonal(kind)));
            prop_assert!(named);
        }
    }

    /// Commands may do more than raw writes, never less.
    #[test]
    fn commands_include_raw_rights(
        roles in prop::collection::vec(any_role(), 0..3),
        kind in (0u16..147).prop_map(TypeId),
        action in prop::sample::select(Action::ALL.to_vec()),
        patients in any_patients(),
    ) {
        let ctx = person(&roles);
        let row_key = fhir::ResourceKey::new(kind, "x");
        let in_care: Vec<String> = patients.iter().filter(|p| *p == "treated").cloned().collect();
        let row = RowFacts::plain(&row_key, &patients, &in_care);
        if decide(&ctx, action, &row) == Decision::Allow {
            prop_assert_eq!(policy::decide_command(&ctx, action, &row), Decision::Allow);
        }
    }

    /// Reading is never widened by being a command.
    #[test]
    fn commands_read_no_more(roles in prop::collection::vec(any_role(), 0..3), kind in (0u16..147).prop_map(TypeId)) {
        let ctx = person(&roles);
        prop_assert_eq!(
            policy::command_predicate(&ctx, Action::Read, kind),
            policy::predicate(&ctx, Action::Read, kind)
        );
    }
}
