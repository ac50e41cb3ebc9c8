//! Seals and consents, by every way to the data.

use crate::bench::name;
use crate::{Bench, create, each_engine, key, kind, observation, set, update};
use access::{Ctx, Role, ScopeSet, Seals};
use fhir::search::{Handling, Params};
use record::rights::{Actor, NewConsent};
use record::{HistoryQuery, Scope};
use serde_json::{Value, json};

const ICD: &str = "http://hl7.org/fhir/sid/icd-10";

pub(crate) fn hiv_condition(id: &str, patient: &str) -> Value {
    json!({"resourceType": "Condition", "id": id, "subject": {"reference": format!("Patient/{patient}")},
        "code": {"coding": [{"system": ICD, "code": "B20"}], "text": "HIV disease"},
        "encounter": {"reference": "Encounter/e1"}})
}

pub(crate) fn open_condition(id: &str, patient: &str) -> Value {
    json!({"resourceType": "Condition", "id": id, "subject": {"reference": format!("Patient/{patient}")},
        "code": {"coding": [{"system": ICD, "code": "J06.9"}]}})
}

/// p1 in care of d1: an open and a sealed condition, an observation that refers to neither.
pub(crate) async fn furnish(bench: &Bench) {
    bench
        .seed(set(vec![
            create(json!({"resourceType": "Encounter", "id": "e1", "status": "in-progress", "class": {"code": "VR"},
                "subject": {"reference": "Patient/p1"}})),
            create(hiv_condition("hiv", "p1")),
            create(open_condition("cold", "p1")),
            create(json!({"resourceType": "Encounter", "id": "e2", "status": "in-progress", "class": {"code": "VR"},
                "subject": {"reference": "Patient/p1"}, "diagnosis": [{"condition": {"reference": "Condition/hiv"}}]})),
            create(observation("o1", "p1", "70")),
        ]))
        .await;
}

pub(crate) async fn ids(
    bench: &Bench,
    ctx: &Ctx,
    kind_name: &str,
    pairs: &[(&str, &str)],
) -> (Vec<String>, Option<u64>) {
    let mut pairs: Vec<(String, String)> =
        pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    pairs.push(("_total".into(), "accurate".into()));
    let (query, _) =
        fhir::search::parse(&Params::standard(), kind(kind_name), &pairs, Handling::Strict).unwrap();
    let page = bench.record.search(ctx, query).await.unwrap();
    let mut found: Vec<String> =
        page.items.iter().chain(&page.included).map(|item| item.key.to_string()).collect();
    found.sort();
    (found, page.total)
}

/// What a caller finds of the sealed condition, by every way.
pub(crate) async fn ways(bench: &Bench, ctx: &Ctx) -> Vec<&'static str> {
    let record = &bench.record;
    let sealed = key("Condition/hiv");
    let mut open = Vec::new();
    let mut note = |way: &'static str, found: bool| {
        if found {
            open.push(way);
        }
    };
    note("read", record.read(ctx, &sealed).await.is_ok());
    note("vread", record.vread(ctx, &sealed, 1).await.is_ok());
    note("history", record.history(ctx, &sealed, None, 10).await.is_ok());
    let all = |scope| HistoryQuery { count: 100, ..HistoryQuery::default() }.into_pair(scope);
    let (scope, query) = all(Scope::Kind(kind("Condition")));
    let page = record.history_of(ctx, &scope, query).await.unwrap();
    note("type history", page.entries.iter().any(|e| e.key == sealed));
    let (found, total) = ids(bench, ctx, "Condition", &[("patient", "Patient/p1")]).await;
    note("search", found.contains(&"Condition/hiv".to_owned()));
    note("total", total >= Some(2));
    let (found, total) = ids(bench, ctx, "Condition", &[("code", &format!("{ICD}|B20"))]).await;
    note("code", !found.is_empty() || total != Some(0));
    let (found, _) = ids(bench, ctx, "Condition", &[("_security", "HIV")]).await;
    note("_security", !found.is_empty());
    let (found, total) = ids(bench, ctx, "Patient", &[("_has:Condition:patient:code", "B20")]).await;
    note("_has", !found.is_empty() || total != Some(0));
    let (found, _) = ids(bench, ctx, "Encounter", &[("_include", "Encounter:diagnosis")]).await;
    note("_include", found.contains(&"Condition/hiv".to_owned()));
    let (found, _) = ids(bench, ctx, "Patient", &[("_id", "p1"), ("_revinclude", "Condition:patient")]).await;
    note("_revinclude", found.contains(&"Condition/hiv".to_owned()));
    let (found, _) = ids(bench, ctx, "Condition", &[("_sort", "code"), ("_count", "50")]).await;
    note("_sort", found.contains(&"Condition/hiv".to_owned()));
    let scan = record::scan::Scan {
        kind: kind("Condition"),
        horizon: record.horizon().await.unwrap(),
        since: None,
        until: None,
        whose: record::scan::Whose::All,
        deleted: false,
    };
    let page = record.scan(ctx, &scan, None).await.unwrap();
    note("scan", page.rows.iter().any(|row| row.stored.key == sealed));
    let event = record::events::LiveEvent {
        seq: 1,
        topic: "resource.created".into(),
        subject: sealed.clone(),
        patients: vec!["p1".into()],
        data: Value::Null,
        created: record.now(),
    };
    note("live", record.visible(ctx, &event).await.unwrap());
    open
}

trait IntoPair: Sized {
    fn into_pair(self, scope: Scope) -> (Scope, HistoryQuery);
}

impl IntoPair for HistoryQuery {
    fn into_pair(self, scope: Scope) -> (Scope, HistoryQuery) {
        (scope, self)
    }
}

pub(crate) const ALL_WAYS: [&str; 14] = [
    "read",
    "vread",
    "history",
    "type history",
    "search",
    "total",
    "code",
    "_security",
    "_has",
    "_include",
    "_revinclude",
    "_sort",
    "scan",
    "live",
];

#[tokio::test]
async fn sealed_facts_are_not_there() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let stored =
            bench.record.read(&bench.system(), &key("Condition/hiv")).await.unwrap().parse().unwrap();
        assert_eq!(Seals::of(&stored), Seals::HIV, "sealed by its code as it was written");
        for (who, ctx) in [("doctor in care", bench.doctor()), ("client", bench.client(&["system/*.rs"]))] {
            assert_eq!(ways(&bench, &ctx).await, [""; 0], "{who}");
            assert!(bench.record.read(&ctx, &key("Condition/cold")).await.is_ok(), "{who}");
        }
        for (who, ctx) in [
            ("patient", bench.patient()),
            ("client for HIV", bench.client(&["system/*.rs", "sens/HIV"])),
            ("the program", bench.system()),
        ] {
            assert_eq!(ways(&bench, &ctx).await, ALL_WAYS, "{who}");
        }
    })
    .await;
}

#[tokio::test]
async fn whoever_writes_it_sees_it() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let doctor = bench.doctor();
        let own = json!({"resourceType": "Condition", "id": "0192a0de-7000-7000-8000-000000000001",
            "subject": {"reference": "Patient/p1"}, "code": {"coding": [{"system": ICD, "code": "B24"}]}});
        let own = bench.record.write(&doctor, set(vec![create(own)])).await.unwrap().written[0].key.clone();
        assert!(bench.record.read(&doctor, &own).await.is_ok());
        assert!(
            bench.record.read(&doctor, &key("Condition/hiv")).await.is_err(),
            "writing one does not open the others"
        );
        // Naming oneself in a sealed care team opens nothing either.
        let team = json!({"resourceType": "CareTeam", "id": "0192a0de-7000-7000-8000-000000000002", "status": "active",
            "meta": {"security": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}]},
            "subject": {"reference": "Patient/p1"}, "participant": [{"member": {"reference": "Practitioner/d1"}}]});
        bench.record.write(&doctor, set(vec![create(team.clone())])).await.unwrap();
        assert!(bench.record.read(&doctor, &key("Condition/hiv")).await.is_err());
        // Being named by somebody who may does.
        let mut team = team;
        team["id"] = json!("0192a0de-7000-7000-8000-000000000003");
        bench.seed(set(vec![create(team)])).await;
        assert_eq!(ways(&bench, &doctor).await, ALL_WAYS);
    })
    .await;
}

/// Whoever ordered the test sees its sealed result.
#[tokio::test]
async fn results_come_back_to_who_ordered_them() {
    each_engine(|bench| async move {
        let mut result = observation("hivtest", "p1", "1");
        result["code"] = json!({"coding": [{"system": "http://loinc.org", "code": "75622-1"}]});
        result["basedOn"] = json!([{"reference": "ServiceRequest/order"}]);
        bench
            .seed(set(vec![
                create(json!({"resourceType": "ServiceRequest", "id": "order", "status": "active", "intent": "order",
                    "subject": {"reference": "Patient/p1"}, "requester": {"reference": "Practitioner/d1"}})),
                create(result),
            ]))
            .await;
        assert!(bench.record.read(&bench.doctor(), &key("Observation/hivtest")).await.is_ok());
        assert!(bench.record.read(&bench.other_doctor(), &key("Observation/hivtest")).await.is_err());
    })
    .await;
}

/// Z5 with seals: a version that was sealed stays so when the label is taken off, and the reverse.
#[tokio::test]
async fn versions_keep_their_seals() {
    each_engine(|bench| async move {
        let target = key("Condition/c");
        bench.seed(set(vec![create(hiv_condition_plain("c"))])).await;
        bench.seed(set(vec![update(open_condition("c", "p1"), None)])).await;
        let doctor = bench.doctor();
        assert!(bench.record.read(&doctor, &target).await.is_ok());
        assert!(bench.record.vread(&doctor, &target, 2).await.is_ok());
        assert_eq!(name(&bench.record.vread(&doctor, &target, 1).await.unwrap_err()), "Denied");
        let page = bench.record.history(&doctor, &target, None, 10).await.unwrap();
        assert_eq!(page.entries.iter().map(|e| e.version).collect::<Vec<_>>(), [2]);
        bench.seed(set(vec![update(hiv_condition_plain("c"), None)])).await;
        assert!(bench.record.vread(&doctor, &target, 2).await.is_err(), "it is sealed now");
        assert!(bench.record.history(&doctor, &target, None, 10).await.is_err());
    })
    .await;
}

pub(crate) fn hiv_condition_plain(id: &str) -> Value {
    json!({"resourceType": "Condition", "id": id, "subject": {"reference": "Patient/p1"},
        "code": {"coding": [{"system": ICD, "code": "B20"}]}})
}

pub(crate) fn decision(deny: bool, actors: Vec<Actor>) -> NewConsent {
    NewConsent {
        patient: "p1".into(),
        deny,
        actors,
        kinds: Vec::new(),
        seals: Seals::NONE,
        purposes: Vec::new(),
        from: None,
        until: None,
        text_version: "privacy-2026-11".into(),
        text: "I decide who sees my record.".into(),
        language: "en".into(),
    }
}

#[tokio::test]
async fn consents_hold_at_once_and_so_does_their_end() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let (doctor, patient) = (bench.doctor(), bench.patient());
        let cold = key("Condition/cold");
        assert!(bench.record.read(&doctor, &cold).await.is_ok());
        let given = bench
            .record
            .give_consent(&patient, decision(true, vec![Actor::Practitioner("d1".into())]))
            .await
            .unwrap();
        let error = bench.record.read(&doctor, &cold).await.unwrap_err();
        assert_eq!(name(&error), "Denied", "{error}");
        let (found, total) = ids(&bench, &doctor, "Condition", &[("patient", "Patient/p1")]).await;
        assert_eq!((found.len(), total), (0, Some(0)));
        let (found, _) = ids(&bench, &doctor, "Patient", &[("_has:Condition:patient:code", "J06.9")]).await;
        assert!(found.is_empty());
        assert!(bench.record.read(&patient, &cold).await.is_ok(), "her own");
        assert!(bench.record.read(&bench.client(&["system/*.rs"]), &cold).await.is_ok(), "another actor");
        // The evidence.
        let consent = &given.resource;
        assert_eq!(consent.get("performer").unwrap()[0]["reference"], "Patient/p1");
        let text = consent.get("sourceAttachment").unwrap();
        assert_eq!((&text["title"], &text["language"]), (&json!("privacy-2026-11"), &json!("en")));
        assert_eq!(consent.text("dateTime"), Some("2026-11-21T09:00:00Z"));

        let id = consent.id().unwrap().to_owned();
        let after = bench.record.withdraw_consent(&patient, &id).await.unwrap();
        assert_eq!((after.version, after.resource.text("status")), (2, Some("inactive")));
        assert!(bench.record.read(&doctor, &cold).await.is_ok());
        assert_eq!(name(&bench.record.withdraw_consent(&patient, &id).await.unwrap_err()), "Rule not-active");

        // A permit for a sealed category opens it, to whom it names.
        let mut permit = decision(false, vec![Actor::Role(Role::Doctor)]);
        permit.seals = Seals::HIV;
        bench.record.give_consent(&patient, permit).await.unwrap();
        assert_eq!(ways(&bench, &doctor).await, ALL_WAYS);
        assert!(
            bench.record.read(&bench.other_doctor(), &key("Condition/hiv")).await.is_err(),
            "not in her care"
        );
    })
    .await;
}

/// Nobody opens a seal to herself by recording a consent in the patient's name.
#[tokio::test]
async fn clinicians_do_not_consent_for_patients() {
    each_engine(|bench| async move {
        furnish(&bench).await;
        let mut permit = decision(false, vec![Actor::Practitioner("d1".into())]);
        permit.seals = Seals::HIV;
        for ctx in [
            bench.doctor(),
            bench.staff(Role::Nurse),
            bench.staff(Role::Administrator),
            bench.staff(Role::It),
        ] {
            assert_eq!(name(&bench.record.give_consent(&ctx, permit.clone()).await.unwrap_err()), "Denied");
        }
        bench.record.give_consent(&bench.staff(Role::FrontDesk), permit).await.unwrap();
        assert!(bench.record.read(&bench.doctor(), &key("Condition/hiv")).await.is_ok());
        // What cannot be enforced is refused, not kept as a promise.
        let mut wrong = decision(true, Vec::new());
        wrong.purposes = vec!["NO-SUCH".into()];
        assert_eq!(
            name(&bench.record.give_consent(&bench.patient(), wrong).await.unwrap_err()),
            "Invalid Consent.provision.purpose[0]"
        );
    })
    .await;
}

/// A person's app with `?category=`: by every way only those rows, and nothing of others.
#[tokio::test]
async fn restricted_scopes_are_filters() {
    each_engine(|bench| async move {
        let mut lab = observation("lab", "p1", "1");
        lab["category"] = json!([{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category",
            "code": "laboratory"}]}]);
        bench.seed(set(vec![create(lab), create(observation("vital", "p1", "2"))])).await;
        let mut app = bench.patient();
        app.scopes = Some(ScopeSet::parse(["patient/Observation.rs?category=laboratory"]).unwrap());
        assert!(bench.record.read(&app, &key("Observation/lab")).await.is_ok());
        assert!(bench.record.read(&app, &key("Observation/vital")).await.is_err());
        assert!(bench.record.vread(&app, &key("Observation/vital"), 1).await.is_err());
        let (found, total) = ids(&bench, &app, "Observation", &[]).await;
        assert_eq!((found, total), (vec!["Observation/lab".to_owned()], Some(1)));
        assert!(bench.record.read(&app, &key("Patient/p1")).await.is_err(), "not named");
        let client = bench.client(&["system/Observation.rs?category=laboratory"]);
        let (found, total) = ids(&bench, &client, "Observation", &[]).await;
        assert_eq!((found, total), (vec!["Observation/lab".to_owned()], Some(1)));
    })
    .await;
}

/// A part of a resource must not replace the whole.
#[tokio::test]
async fn subsets_are_not_written_back() {
    each_engine(|bench| async move {
        let mut part = observation("o", "p1", "1");
        bench.seed(set(vec![create(part.clone())])).await;
        part["meta"] = json!({"tag": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
            "code": "SUBSETTED"}]});
        let error = bench.record.write(&bench.doctor(), set(vec![update(part, None)])).await.unwrap_err();
        assert_eq!(name(&error), "Duplicate subsetted");
    })
    .await;
}
