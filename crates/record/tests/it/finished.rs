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

fn reason_again(value: Value) -> Value {
    with(value, "extension", json!([{"url": CHANGE_REASON, "valueString": "written twice"}]))
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
            ("amended again for the old reason", because(note("amended")), "Rule finished-reason"),
            (
                "amended for another patient",
                because(with(note("amended"), "subject", json!({"reference": "Patient/p2"}))),
                "Denied",
            ),
            (
                "the signature taken off",
                because(with(
                    note("amended"),
                    "attester",
                    json!([{"mode": "legal", "party": {"reference": "Practitioner/d2"}}]),
                )),
                "Rule finished-content",
            ),
            ("taken back", reason_again(note("entered-in-error")), "written"),
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
    })
    .await;
}

/// What the stored version says decides: other systems' clients are bound as people are.
#[tokio::test]
async fn finished_documents_stay_for_other_systems_too() {
    each_engine(|bench| async move {
        let client = bench.client(&["system/*.cruds"]);
        let subject = json!({"reference": "Patient/p1"});
        let report = |status: &str, conclusion: &str| {
            json!({"resourceType": "DiagnosticReport", "id": "report", "status": status, "subject": subject,
                "code": {"text": "Malaria smear"}, "conclusion": conclusion})
        };
        let document = |status: &str, state: &str, title: &str| {
            json!({"resourceType": "DocumentReference", "id": "document", "status": status, "docStatus": state,
                "subject": subject, "content": [{"attachment": {"title": title}}]})
        };
        let pulse = |status: &str, value: &str| {
            let mut pulse = crate::observation("pulse", "p1", value);
            pulse["status"] = json!(status);
            pulse
        };
        let theirs = |status: &str, medicine: &str| {
            let mut theirs = prescription(status);
            theirs["id"] = json!("theirs");
            theirs["medicationCodeableConcept"] = json!({"text": medicine});
            theirs.as_object_mut().unwrap().shift_remove("groupIdentifier");
            theirs
        };
        let letter = |status: &str, title: &str| {
            json!({"resourceType": "Composition", "id": "letter", "status": status, "date": "2026-11-21",
                "type": {"text": "Note"}, "title": title, "author": [{"display": "Other system"}]})
        };
        let diagnosed = |value: Value| with(value, "reasonCode", json!([{"text": "malaria"}]));
        let extended = with(
            prescription("active"),
            "extension",
            json!([{"url": "https://uzima.health/fhir/StructureDefinition/dose", "valueString": "9"}]),
        );
        let changed_stop = with(
            with(prescription("active"), "statusReason", json!({"text": "stopped in error"})),
            "note",
            json!([{"text": "goes on"}]),
        );
        let cases = vec![
            ("a letter", letter("final", "Letter"), "written"),
            ("the letter again", letter("final", "Letter"), "written"),
            ("the letter, rewritten", letter("final", "New"), "Rule finished-status"),
            ("the letter, no longer final", letter("preliminary", "Letter"), "Rule finished-status"),
            ("the letter, amended without a reason", letter("amended", "New"), "Rule finished-reason"),
            ("the letter, amended", because(letter("amended", "New")), "written"),
            (
                "a label",
                with(
                    because(letter("amended", "New")),
                    "meta",
                    json!({"tag": [{"system": "urn:x", "code": "y"}]}),
                ),
                "written",
            ),
            (
                "the letter, amended into another kind",
                reason_again(with(letter("amended", "New"), "type", json!({"text": "Bill"}))),
                "Rule finished-content",
            ),
            ("a visit", visit("finished"), "written"),
            ("the visit, reopened", visit("in-progress"), "Rule finished-status"),
            ("the visit, with a diagnosis", diagnosed(visit("finished")), "Rule finished-reason"),
            ("the visit, with a diagnosis and a reason", because(diagnosed(visit("finished"))), "written"),
            (
                "the visit, of another patient",
                reason_again(with(visit("finished"), "subject", json!({"reference": "Patient/p2"}))),
                "Rule finished-content",
            ),
            ("the visit, taken back", reason_again(diagnosed(visit("entered-in-error"))), "written"),
            ("a report", report("final", "no parasites"), "written"),
            ("the report, rewritten", report("final", "parasites"), "Rule finished-status"),
            ("the report, corrected", report("corrected", "parasites"), "written"),
            ("the report, cancelled and rewritten", report("cancelled", "none"), "Rule finished-reason"),
            (
                "the report, cancelled and rewritten for a reason",
                because(report("cancelled", "none")),
                "written",
            ),
            ("the report, no draft after all", because(report("preliminary", "none")), "Rule finished-status"),
            ("the report, cancelled once more", because(report("cancelled", "all")), "Rule finished-reason"),
            ("a document", document("current", "final", "Scan"), "written"),
            ("the document, rewritten", document("current", "final", "Other"), "Rule finished-status"),
            (
                "the document, replaced by what it did not say",
                document("superseded", "final", "Other"),
                "Rule finished-content",
            ),
            (
                "the document, replaced and a draft",
                document("superseded", "preliminary", "Scan"),
                "Rule finished-content",
            ),
            ("the document, replaced", document("superseded", "final", "Scan"), "written"),
            ("the replaced one, a draft", document("current", "preliminary", "Other"), "Rule finished-status"),
            ("a result", pulse("final", "60"), "written"),
            ("the result, amended", pulse("amended", "61"), "written"),
            ("the result, corrected", pulse("corrected", "62"), "written"),
            ("their prescription", theirs("active", "Amoxicillin"), "written"),
            ("theirs runs and changes", theirs("active", "Doxycycline"), "written"),
            ("theirs ends", theirs("completed", "Doxycycline"), "written"),
            ("theirs, rewritten when ended", theirs("completed", "Warfarin"), "Rule finished-content"),
            ("a prescription signed here", prescription("active"), "written"),
            ("ours, with another dose", extended, "Rule finished-content"),
            (
                "ours, stopped",
                with(prescription("stopped"), "statusReason", json!({"text": "allergy"})),
                "written",
            ),
            (
                "ours, running again without a word",
                with(prescription("active"), "statusReason", json!({"text": "allergy"})),
                "Rule finished-reason",
            ),
            ("ours, running again", changed_stop, "written"),
        ];
        let mut failures = Vec::new();
        for (case, value, expected) in cases {
            let change = Change::Update { resource: resource(value), if_match: None };
            let found = bench.record.write(&client, set(vec![change])).await;
            let found = found.map_or_else(|error| name(&error), |_| "written".into());
            if found != expected {
                failures.push(format!("{case}: {found}, not {expected}"));
            }
        }
        for (what, expected) in [
            ("Composition/letter", "Rule finished-delete"),
            ("Encounter/visit", "Rule finished-delete"),
            ("DiagnosticReport/report", "Rule finished-delete"),
            ("DocumentReference/document", "Rule finished-delete"),
            ("MedicationRequest/theirs", "Rule finished-delete"),
            ("Observation/pulse", "written"),
        ] {
            let delete = Change::Delete { key: crate::key(what), if_match: None };
            let found = bench.record.write(&client, set(vec![delete])).await;
            let found = found.map_or_else(|error| name(&error), |_| "written".into());
            if found != expected {
                failures.push(format!("delete {what}: {found}, not {expected}"));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");

        // The standard's own way to say why, for who knows nothing of our extension.
        let put = |value: Value| Change::Update { resource: resource(value), if_match: None };
        let provenance = |reason: Value| {
            let mut provenance = json!({"resourceType": "Provenance", "recorded": "2026-11-21T09:00:00Z",
                "target": [{"reference": "Composition/letter"}], "agent": [{"who": {"display": "Registrar"}}]});
            if !reason.is_null() {
                provenance["reason"] = json!([reason]);
            }
            create(provenance)
        };
        let again = || put(because(letter("amended", "Newer")));
        let mute = bench.record.write(&client, set(vec![again(), provenance(Value::Null)])).await;
        assert_eq!(name(&mute.unwrap_err()), "Rule finished-reason");
        let told = set(vec![again(), provenance(json!({"text": "a misspelt name"}))]);
        bench.record.write(&client, told).await.unwrap();
        bench.record.write(&client, set(vec![create(patient("x", "Free"))])).await.unwrap();
    })
    .await;
}
