//! What was signed or closed changes over raw FHIR only in the open.

use crate::bench::name;
use crate::{create, each_engine, patient, resource, set};
use record::{CHANGE_REASON, Change};
use serde_json::{Value, json};

fn note(status: &str) -> Value {
    json!({"resourceType": "Composition", "id": "note", "status": status, "date": "2026-11-21",
        "type": {"text": "Note"}, "title": "Visit note", "subject": {"reference": "Patient/p1"},
        "author": [{"reference": "Practitioner/d1"}],
        "attester": [{"mode": "legal", "party": {"reference": "Practitioner/d1"}}]})
}

fn prescription(status: &str) -> Value {
    json!({"resourceType": "MedicationRequest", "id": "rx", "status": status, "intent": "order",
        "medicationCodeableConcept": {"text": "Amoxicillin"}, "subject": {"reference": "Patient/p1"},
        "groupIdentifier": {"system": "https://uzima.health/fhir/identifier/prescription", "value": "v1"}})
}

fn visit(status: &str) -> Value {
    json!({"resourceType": "Encounter", "id": "visit", "status": status, "class": {"code": "AMB"},
        "subject": {"reference": "Patient/p1"},
        "participant": [{"individual": {"reference": "Practitioner/d1"}}]})
}

fn with(mut value: Value, element: &str, content: Value) -> Value {
    value[element] = content;
    value
}

fn because(value: Value) -> Value {
    with(value, "extension", json!([{"url": CHANGE_REASON, "valueString": "wrong patient"}]))
}

#[tokio::test]
async fn finished_documents_stay() {
    each_engine(|bench| async move {
        let mut draft = note("preliminary");
        draft["id"] = json!("draft");
        bench
            .seed(set(vec![
                create(note("final")),
                create(prescription("active")),
                create(visit("finished")),
                create(draft.clone()),
            ]))
            .await;
        let reason = json!({"text": "allergy"});
        let cases = vec![
            ("a draft is free", with(draft, "title", json!("Changed")), "written"),
            (
                "a signed note, rewritten",
                with(note("final"), "title", json!("Changed")),
                "Rule finished-status",
            ),
            ("back to a draft", note("preliminary"), "Rule finished-status"),
            (
                "amended without a reason",
                with(note("amended"), "title", json!("Changed")),
                "Rule finished-reason",
            ),
            ("amended", because(with(note("amended"), "title", json!("Changed"))), "written"),
            ("taken back", because(note("entered-in-error")), "written"),
            (
                "a prescription, rewritten",
                with(prescription("active"), "medicationCodeableConcept", json!({"text": "Warfarin"})),
                "Rule finished-content",
            ),
            ("back to a draft", prescription("draft"), "Rule finished-status"),
            ("stopped without a reason", prescription("stopped"), "Rule finished-reason"),
            ("stopped", with(prescription("stopped"), "statusReason", reason), "written"),
            (
                "a visit, rewritten",
                with(visit("finished"), "class", json!({"code": "IMP"})),
                "Rule finished-status",
            ),
            ("a visit, reopened", visit("in-progress"), "Rule finished-status"),
            (
                "a visit, taken back with other content",
                because(with(visit("entered-in-error"), "class", json!({"code": "IMP"}))),
                "Rule finished-content",
            ),
            ("a visit, taken back", because(visit("entered-in-error")), "written"),
        ];
        let mut failures = Vec::new();
        let doctor = bench.doctor();
        for (case, value, expected) in cases {
            let change = Change::Update { resource: resource(value), if_match: None };
            let found = bench.record.write(&doctor, set(vec![change])).await;
            let found = found.map_or_else(|error| name(&error), |_| "written".into());
            if found != expected {
                failures.push(format!("{case}: {found}, not {expected}"));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");

        // Another system changes its own records, but not what was signed here; and deletes neither.
        let client = bench.client(&["system/*.cruds"]);
        let own = json!({"resourceType": "Composition", "id": "own", "status": "final", "date": "2026-11-21",
            "type": {"text": "Note"}, "title": "Letter", "author": [{"display": "Other system"}]});
        let put = |value: Value| Change::Update { resource: resource(value), if_match: None };
        bench.record.write(&client, set(vec![put(own.clone())])).await.unwrap();
        bench.record.write(&client, set(vec![put(with(own, "title", json!("New")))])).await.unwrap();
        let ours =
            bench.record.write(&client, set(vec![put(with(note("final"), "title", json!("X")))])).await;
        assert_eq!(name(&ours.unwrap_err()), "Rule finished-status");
        let delete = Change::Delete { key: crate::key("Composition/note"), if_match: None };
        let ours = bench.record.write(&client, set(vec![delete])).await;
        assert_eq!(name(&ours.unwrap_err()), "Rule finished-delete");
        bench.record.write(&client, set(vec![create(patient("x", "Free"))])).await.unwrap();
    })
    .await;
}
