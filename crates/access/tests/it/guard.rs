//! Seals, consents, broken glasses, proxies and changed rights in the one policy.

use crate::{client, key, kind, now, person};
use access::consent::Rule;
use access::matrix::{self, Cell, CellError, Reach, Rights, Table, Verb};
use access::policy::{self, Action, Decision, RowFacts, decide};
use access::standing::{Emergency, Proxied, Standing};
use access::{Class, Ctx, Principal, Role, ScopeSet, Seals};
use proptest::prelude::*;
use std::sync::Arc;

fn standing(ctx: &mut Ctx, standing: Standing) {
    if let Principal::User(user) = &mut ctx.principal {
        user.standing = Arc::new(standing);
    }
}

fn sees(
    ctx: &Ctx,
    row: &str,
    patients: &[String],
    seals: Seals,
    keys: Seals,
    consents: &[Vec<Rule>],
) -> bool {
    let key = key(row);
    let in_care: Vec<String> = patients.iter().filter(|p| *p == "treated").cloned().collect();
    let facts = RowFacts { seals, keys, consents, now: now(), ..RowFacts::plain(&key, patients, &in_care) };
    decide(ctx, Action::Read, &facts) == Decision::Allow
}

fn deny_all() -> Vec<Vec<Rule>> {
    vec![vec![Rule {
        deny: true,
        depth: 0,
        actor: None,
        purposes: 0,
        kind: None,
        seals: Seals::NONE,
        from: jiff::Timestamp::MIN,
        until: jiff::Timestamp::MAX,
    }]]
}

#[test]
fn who_looks_through_a_seal() {
    let treated = ["treated".to_owned()];
    let own = ["own".to_owned()];
    let see =
        |ctx: &Ctx, row: &str, patients: &[String], keys| sees(ctx, row, patients, Seals::HIV, keys, &[]);
    let doctor = person(&[Role::Doctor]);
    assert!(!see(&doctor, "Observation/x", &treated, Seals::NONE));
    assert!(see(&doctor, "Observation/x", &treated, Seals::HIV), "named in that care");
    assert!(!see(&doctor, "Observation/x", &treated, Seals::MENTAL), "another category");
    assert!(!see(&doctor, "Observation/x", &["other".to_owned()], Seals::HIV), "a key without care");
    assert!(see(&person(&[Role::Patient]), "Observation/x", &own, Seals::NONE));
    assert!(see(&person(&[Role::Lab]), "Observation/x", &treated, Seals::NONE), "it is the lab's work");
    assert!(see(&person(&[Role::Pharmacist]), "MedicationRequest/x", &treated, Seals::NONE));
    assert!(!see(&person(&[Role::Pharmacist]), "AllergyIntolerance/x", &treated, Seals::NONE));
    assert!(!see(&person(&[Role::FrontDesk]), "Encounter/x", &treated, Seals::NONE));
    assert!(!see(&client(&["system/*.rs"]), "Observation/x", &treated, Seals::NONE));
    assert!(see(&client(&["system/*.rs", "sens/HIV"]), "Observation/x", &treated, Seals::NONE));
    assert!(!see(&client(&["system/*.rs", "sens/MH"]), "Observation/x", &treated, Seals::NONE));
    assert!(see(&person(&[Role::FrontDesk]), "Patient/x", &treated, Seals::NONE), "who she is stays known");
}

#[test]
fn consents_take_away_and_never_from_the_patient() {
    let (treated, own) = (["treated".to_owned()], ["own".to_owned()]);
    let see = |ctx: &Ctx, row: &str, patients: &[String]| {
        sees(ctx, row, patients, Seals::NONE, Seals::NONE, &deny_all())
    };
    assert!(!see(&person(&[Role::Doctor]), "Observation/x", &treated));
    assert!(!see(&person(&[Role::Lab]), "Observation/x", &treated));
    assert!(!see(&client(&["system/*.rs"]), "Observation/x", &treated));
    assert!(see(&person(&[Role::Patient]), "Observation/x", &own));
    assert!(see(&person(&[Role::Doctor]), "Consent/x", &treated), "what was agreed must be known");
    assert!(see(&person(&[Role::PrivacyOfficer]), "AuditEvent/x", &treated));
    assert!(see(&Ctx::system("job", now()), "Observation/x", &treated));
}

#[test]
fn a_broken_glass_opens_one_patient_for_a_while() {
    let mut doctor = person(&[Role::Doctor]);
    let until = now().checked_add(jiff::SignedDuration::from_hours(1)).unwrap();
    standing(
        &mut doctor,
        Standing { emergencies: vec![Emergency { patient: "other".into(), until }], ..Standing::default() },
    );
    let see = |ctx: &Ctx, patient: &str| {
        sees(ctx, "Observation/x", &[patient.to_owned()], Seals::HIV, Seals::NONE, &deny_all())
    };
    assert!(see(&doctor, "other"), "seals and consents aside");
    assert!(!see(&doctor, "third"));
    let write = RowFacts::plain(&key("Observation/x"), &["other".to_owned()], &[]).key.clone();
    let patients = ["other".to_owned()];
    let facts = RowFacts::plain(&write, &patients, &[]);
    assert_eq!(decide(&doctor, Action::Create, &facts), Decision::Allow, "and write what she does");
    doctor.now = until;
    assert!(!see(&doctor, "other"), "over");
    // No role that does not treat gets anything by it.
    let mut desk = person(&[Role::FrontDesk]);
    standing(
        &mut desk,
        Standing { emergencies: vec![Emergency { patient: "other".into(), until }], ..Standing::default() },
    );
    assert!(!see(&desk, "other"));
}

#[test]
fn proxies_see_what_was_granted() {
    let mut mother = person(&[Role::Proxy]);
    if let Principal::User(user) = &mut mother.principal {
        user.patient = None;
    }
    let until = now().checked_add(jiff::SignedDuration::from_hours(1)).unwrap();
    let proxied = Proxied {
        patient: "child".into(),
        related_person: "r".into(),
        classes: vec![Class::Result, Class::Appointment],
        seals: Seals::NONE,
        until,
    };
    standing(&mut mother, Standing { proxied: vec![proxied.clone()], ..Standing::default() });
    let child = ["child".to_owned()];
    let see = |ctx: &Ctx, row: &str, seals, consents: &[Vec<Rule>]| {
        sees(ctx, row, &child, seals, Seals::NONE, consents)
    };
    assert!(see(&mother, "Observation/x", Seals::NONE, &[]));
    assert!(!see(&mother, "Observation/x", Seals::SRH, &[]), "an adolescent's own");
    assert!(!see(&mother, "Composition/x", Seals::NONE, &[]), "not granted");
    assert!(!see(&mother, "Observation/x", Seals::NONE, &deny_all()));
    assert!(!sees(&mother, "Observation/x", &["other".to_owned()], Seals::NONE, Seals::NONE, &[]));
    standing(
        &mut mother,
        Standing { proxied: vec![Proxied { seals: Seals::ALL, ..proxied }], ..Standing::default() },
    );
    assert!(see(&mother, "Observation/x", Seals::SRH, &[]));
    mother.now = until;
    assert!(!see(&mother, "Observation/x", Seals::NONE, &[]), "over");
}

#[test]
fn changed_rights_count_within_their_bounds() {
    let cell = |role, class, verb, reach| Cell { role, class, verb, reach };
    let cases = [
        (cell(Role::Nurse, Class::Prescription, Verb::Read, Reach::Nobody), Ok(())),
        (cell(Role::Lab, Class::Allergy, Verb::Read, Reach::InCare), Ok(())),
        (cell(Role::Lab, Class::Allergy, Verb::Read, Reach::Everyone), Err(CellError::BeyondBounds)),
        (cell(Role::Administrator, Class::Result, Verb::Read, Reach::InCare), Err(CellError::BeyondBounds)),
        (cell(Role::It, Class::Patient, Verb::Read, Reach::Everyone), Err(CellError::BeyondBounds)),
        (cell(Role::Cashier, Class::Document, Verb::Read, Reach::Everyone), Err(CellError::BeyondBounds)),
        (cell(Role::Doctor, Class::Document, Verb::Read, Reach::Everyone), Err(CellError::BeyondBounds)),
        (cell(Role::Doctor, Class::Document, Verb::Delete, Reach::InCare), Err(CellError::BeyondBounds)),
        (cell(Role::Nurse, Class::Prescription, Verb::Create, Reach::InCare), Err(CellError::BeyondBounds)),
        (cell(Role::Patient, Class::Result, Verb::Read, Reach::Nobody), Err(CellError::Needed)),
        (cell(Role::PrivacyOfficer, Class::Audit, Verb::Read, Reach::Nobody), Err(CellError::Needed)),
    ];
    for (cell, expected) in cases {
        assert_eq!(matrix::check(&cell), expected, "{cell:?}");
    }
    let table = Table::new(cases.map(|(cell, _)| cell));
    assert_eq!(table.rights(Role::Nurse, Class::Prescription), Rights::NONE);
    assert_eq!(
        table.rights(Role::Administrator, Class::Result),
        Rights::NONE,
        "cells beyond bounds do not count"
    );
    assert!(table.widens(&cell(Role::Nurse, Class::Prescription, Verb::Read, Reach::InCare)));
    assert!(!table.widens(&cell(Role::Nurse, Class::Result, Verb::Change, Reach::Nobody)));

    let mut nurse = person(&[Role::Nurse]);
    let treated = ["treated".to_owned()];
    assert!(sees(&nurse, "MedicationRequest/x", &treated, Seals::NONE, Seals::NONE, &[]));
    standing(&mut nurse, Standing { table: Some(Arc::new(table)), ..Standing::default() });
    assert!(!sees(&nurse, "MedicationRequest/x", &treated, Seals::NONE, Seals::NONE, &[]));
}

/// Whatever the administrators set, who runs machine, desk or money reads no clinical fact.
#[test]
fn no_table_gives_clinical_facts_to_who_does_not_treat() {
    let clinical = [
        Class::Result,
        Class::Document,
        Class::Clinical,
        Class::Medicine,
        Class::Prescription,
        Class::Allergy,
    ];
    for role in [
        Role::Administrator,
        Role::It,
        Role::FrontDesk,
        Role::Cashier,
        Role::PrivacyOfficer,
        Role::Integration,
    ] {
        for class in clinical {
            for verb in Verb::ALL {
                assert_eq!(matrix::most(role, class, verb), Reach::Nobody, "{role:?} {class:?} {verb:?}");
            }
        }
    }
    for role in Role::ALL {
        for class in Class::ALL {
            for verb in Verb::ALL {
                assert!(matrix::most(role, class, verb) >= matrix::rights(role, class).of(verb));
            }
        }
    }
}

#[test]
fn a_persons_token_is_no_more_than_the_person() {
    let mut app = person(&[Role::Patient]);
    app.scopes =
        Some(ScopeSet::parse(["patient/Observation.rs?category=laboratory", "patient/Patient.r"]).unwrap());
    let own = ["own".to_owned()];
    let observation = key("Observation/x");
    let of = |code: &str| {
        let resource =
            fhir::Resource::from_value(serde_json::json!({"resourceType": "Observation", "status": "final",
            "code": {"text": "x"}, "category": [{"coding": [{"system": "urn:c", "code": code}]}]}))
            .unwrap();
        fhir::search::extract(&fhir::search::Params::standard(), &resource)
    };
    for (code, expected) in [("laboratory", Decision::Allow), ("vital-signs", Decision::Deny)] {
        let entries = of(code);
        let facts = RowFacts { entries: &entries, ..RowFacts::plain(&observation, &own, &[]) };
        assert_eq!(decide(&app, Action::Read, &facts), expected, "{code}");
        assert_eq!(decide(&app, Action::Update, &facts), Decision::Deny);
    }
    assert!(!policy::may(&app, policy::Capability::SearchPatients));
    // A clinician's launch about one patient shows that one.
    let mut launched = person(&[Role::Doctor]);
    launched.scopes = Some(ScopeSet::parse(["patient/Observation.rs"]).unwrap().with_patient("treated"));
    let both = ["treated".to_owned()];
    let elsewhere = ["second".to_owned()];
    let facts = RowFacts::plain(&observation, &both, &both);
    assert_eq!(decide(&launched, Action::Read, &facts), Decision::Allow);
    let facts = RowFacts::plain(&observation, &elsewhere, &elsewhere);
    assert_eq!(decide(&launched, Action::Read, &facts), Decision::Deny);
}

fn any_rule() -> impl Strategy<Value = Rule> {
    (
        any::<bool>(),
        0..3u8,
        prop::option::of(prop::sample::select(vec!["Practitioner/me", "role/doctor", "client/c"])),
        0..8u32,
    )
        .prop_map(|(deny, depth, actor, seals)| Rule {
            deny,
            depth,
            actor: actor.map(str::to_owned),
            purposes: 0,
            kind: None,
            seals: Seals(seals),
            from: jiff::Timestamp::MIN,
            until: jiff::Timestamp::MAX,
        })
}

proptest! {
    /// I9 with seals, consents and restricted scopes: what a token gives is within what its holder has and within what
    /// the scopes name.
    #[test]
    fn scopes_only_narrow(
        roles in prop::collection::vec(prop::sample::select(Role::ALL.to_vec()), 0..3),
        scopes in prop::collection::vec(prop::sample::select(vec!["user/Observation.rs", "user/*.cruds",
            "patient/Observation.rs?code=a", "patient/*.rs", "user/Observation.cud?code=b", "user/Patient.r"]), 0..4),
        rules in prop::collection::vec(any_rule(), 0..4),
        seals in 0..8u32,
        keys in 0..8u32,
        code in prop::sample::select(vec!["a", "b", "c"]),
        name in prop::sample::select(vec!["Observation", "Patient", "Encounter", "Practitioner"]),
        action in prop::sample::select(Action::ALL.to_vec()),
        patients in prop::sample::subsequence(vec!["own".to_owned(), "treated".to_owned(), "other".to_owned()], 0..=3),
    ) {
        let person = person(&roles);
        let set = ScopeSet::parse(scopes.iter().copied()).unwrap();
        let mut app = person.clone();
        app.scopes = Some(set.clone());
        let row_key = fhir::ResourceKey::new(kind(name), "x");
        let in_care: Vec<String> = patients.iter().filter(|p| *p == "treated").cloned().collect();
        let entries = fhir::definitions::param(kind(name), "code").map(|p| fhir::search::IndexEntry {
            param: p.id,
            value: fhir::search::IndexValue::Token { system: String::new(), code: code.to_owned() },
        });
        let entries: Vec<_> = entries.into_iter().collect();
        let consents = [rules];
        let facts = RowFacts { seals: Seals(seals), keys: Seals(keys), consents: &consents, entries: &entries, now: now(),
            ..RowFacts::plain(&row_key, &patients, &in_care) };
        if decide(&app, action, &facts) == Decision::Allow {
            prop_assert_eq!(decide(&person, action, &facts), Decision::Allow);
            prop_assert!(set.user_allows(action, kind(name)) || set.patient_allows(action, kind(name)));
            prop_assert_eq!(policy::effective(&person, &set, action, kind(name)).holds(&facts), true);
        }
    }
}
