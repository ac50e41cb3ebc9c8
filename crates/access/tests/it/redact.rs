//! What is left of a resource for who may not see parts of it.

use access::redact::{self, INLINE_LABEL};
use access::sensitivity::{Rules, Sealing};
use access::{Seals, seal};
use fhir::search::{Params, extract, words};
use fhir::{Resource, ResourceKey};
use serde_json::{Value, json};
use std::collections::HashSet;

const ICD: &str = "http://hl7.org/fhir/sid/icd-10";
/// Stands wherever the secret is written in words.
const WORD: &str = "Zirconium";

fn hiv() -> Value {
    json!({"coding": [{"system": ICD, "code": "B20", "display": WORD}], "text": WORD})
}

fn cold() -> Value {
    json!({"coding": [{"system": ICD, "code": "J06.9"}], "text": "Cold"})
}

fn resource(value: Value) -> Resource {
    Resource::from_value(value).unwrap()
}

/// As it is stored.
fn labelled(value: Value) -> (Resource, Sealing) {
    let mut resource = resource(value);
    let sealing = Rules::built_in().seal(&mut resource);
    seal::label(&mut resource, sealing.whole);
    (resource, sealing)
}

fn narrative() -> Value {
    json!({"status": "generated", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\">{WORD}</div>")})
}

/// Every kind of resource that mentions something sealed without being about it.
fn mentions() -> Vec<Value> {
    let subject = json!({"reference": "Patient/p"});
    vec![
        json!({"resourceType": "Encounter", "status": "finished", "class": {"code": "AMB"}, "subject": subject,
            "text": narrative(), "reasonCode": [cold(), hiv()], "period": {"start": "2026-11-01"}}),
        json!({"resourceType": "Encounter", "status": "finished", "class": {"code": "AMB"}, "subject": subject,
            "contained": [{"resourceType": "Condition", "id": "c", "subject": subject, "code": hiv()}],
            "diagnosis": [{"condition": {"reference": "#c", "display": WORD}, "rank": 1}]}),
        json!({"resourceType": "MedicationRequest", "status": "active", "intent": "order", "subject": subject,
            "medicationCodeableConcept": {"text": "Cotrimoxazole"}, "reasonCode": [hiv()], "note": [{"text": WORD}],
            "dosageInstruction": [{"text": "one a day", "patientInstruction": WORD}]}),
        json!({"resourceType": "CarePlan", "status": "active", "intent": "plan", "subject": subject, "description": WORD,
            "activity": [{"detail": {"status": "scheduled", "code": hiv(), "description": WORD}},
                {"detail": {"status": "scheduled", "code": cold()}}]}),
        json!({"resourceType": "Composition", "status": "final", "type": cold(), "subject": subject, "date": "2026-11-01",
            "author": [subject], "title": "Letter", "text": narrative(),
            "section": [{"title": "Plan", "section": [{"title": WORD, "code": hiv(), "text": narrative()},
                {"title": "Cold", "code": cold(), "text": narrative()}]}]}),
        json!({"resourceType": "DiagnosticReport", "status": "final", "code": cold(), "subject": subject,
            "conclusionCode": [hiv()], "conclusion": WORD,
            "presentedForm": [{"contentType": "text/plain", "data": "WmlyY29uaXVt", "title": WORD}]}),
        json!({"resourceType": "DocumentReference", "status": "current", "subject": subject, "description": WORD,
            "content": [{"attachment": {"contentType": "application/pdf", "url": "Binary/b", "title": WORD}}],
            "context": {"encounter": [{"reference": "Encounter/e"}], "event": [hiv()]}}),
        json!({"resourceType": "Bundle", "type": "document", "timestamp": "2026-11-01T00:00:00Z",
            "identifier": {"system": "urn:x", "value": "1"},
            "entry": [{"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Condition", "subject": subject, "code": hiv()}},
                {"fullUrl": "urn:uuid:2", "resource": {"resourceType": "Condition", "subject": subject, "code": cold()}}]}),
        json!({"resourceType": "Observation", "status": "final", "code": cold(), "subject": subject, "valueString": WORD,
            "component": [{"code": hiv(), "valueString": WORD}, {"code": cold(), "valueInteger": 1}]}),
        json!({"resourceType": "Claim", "status": "active", "type": cold(), "use": "claim", "patient": subject,
            "created": "2026-11-01", "provider": subject, "priority": cold(), "insurance": [],
            "diagnosis": [{"sequence": 1, "diagnosisCodeableConcept": hiv()}]}),
    ]
}

#[test]
fn a_mention_is_hidden_by_itself_wherever_it_stands() {
    for value in mentions() {
        let kind = value["resourceType"].clone();
        let (stored, sealing) = labelled(value);
        assert_eq!(sealing, Sealing { whole: Seals::NONE, parts: Seals::HIV }, "{kind}");
        assert_eq!(Seals::of(&stored), Seals::NONE, "{kind}: the whole is not sealed");
        let shown = redact::redact(&stored, Seals::HIV, &HashSet::new()).unwrap();
        let text = shown.to_json();
        for secret in [WORD, "B20", "HIV", "WmlyY29uaXVt", INLINE_LABEL] {
            assert!(!text.contains(secret), "{kind}: {secret} in {text}");
        }
        assert!(text.contains("masked") && redact::is_subsetted(&shown), "{text}");
        // What is open to the reader stays word for word.
        assert!(redact::redact(&stored, Seals::MENTAL, &HashSet::new()).is_none());
        // No search finds by it, whoever asks.
        let index = redact::indexable(&stored);
        let entries = format!("{:?}", extract(&Params::standard(), &index));
        assert!(!entries.contains("B20") && !entries.to_lowercase().contains("zirconium"), "{entries}");
        assert!(!words(&index, true).contains(&"zirconium".to_owned()));
        // Labelling again changes nothing.
        let mut again = stored.clone();
        assert_eq!(Rules::built_in().seal(&mut again), sealing);
        assert_eq!(again.value(), stored.value());
    }
}

#[test]
fn the_rest_stays() {
    let (stored, _) = labelled(mentions().remove(4));
    let shown = redact::redact(&stored, Seals::HIV, &HashSet::new()).unwrap().into_value();
    let inner = &shown["section"][0]["section"];
    assert!(inner[0].get("title").is_none());
    assert_eq!(inner[1]["title"], "Cold");
    assert_eq!(shown["section"][0]["title"], "Plan");
    let (stored, _) = labelled(mentions().remove(6));
    let shown = redact::redact(&stored, Seals::HIV, &HashSet::new()).unwrap().into_value();
    assert_eq!(shown["context"]["encounter"][0]["reference"], "Encounter/e");
}

/// Who sees one of two parts gets it with its label, and it is in no index all the same.
#[test]
fn open_parts_keep_their_labels() {
    let mut visit = mentions().remove(0);
    visit["reasonCode"][0] = json!({"coding": [{"system": ICD, "code": "F10.2"}]});
    let (stored, sealing) = labelled(visit);
    assert_eq!(sealing.parts, Seals::HIV.with(Seals::SUBSTANCES));
    let shown = redact::redact(&stored, Seals::SUBSTANCES, &HashSet::new()).unwrap();
    assert!(shown.to_json().contains("B20") && !shown.to_json().contains("F10.2"));
    assert!(redact::has_parts(&shown));
    assert!(!redact::indexable(&shown).to_json().contains("B20"));
}

#[test]
fn what_a_resource_is_about_seals_it_whole() {
    let subject = json!({"reference": "Patient/p"});
    let drug = json!({"coding": [{"system": "http://www.whocc.no/atc", "code": "J05AR10"}]});
    for value in [
        json!({"resourceType": "Condition", "subject": subject, "code": hiv()}),
        json!({"resourceType": "Observation", "status": "final", "code": cold(), "valueCodeableConcept": hiv()}),
        json!({"resourceType": "MedicationRequest", "status": "active", "intent": "order", "subject": subject,
            "contained": [{"resourceType": "Medication", "id": "m", "code": drug}],
            "medicationReference": {"reference": "#m"}}),
    ] {
        let (_, sealing) = labelled(value);
        assert_eq!(sealing.whole, Seals::HIV);
    }
    // What the definitions say is about nobody.
    let (_, sealing) =
        labelled(json!({"resourceType": "PlanDefinition", "status": "active", "topic": [hiv()]}));
    assert_eq!(sealing, Sealing::default());
}

#[test]
fn references_to_sealed_rows_are_hidden_with_what_stands_around_them() {
    let hidden: HashSet<ResourceKey> = [ResourceKey::parse("Observation/viral").unwrap()].into();
    let report = resource(json!({"resourceType": "DiagnosticReport", "status": "final", "code": cold(),
        "text": narrative(), "result": [{"reference": "Observation/viral", "display": WORD},
        {"reference": "Observation/sugar", "display": "Glucose"}], "conclusion": WORD}));
    let shown = redact::redact(&report, Seals::NONE, &hidden).unwrap();
    let text = shown.to_json();
    assert!(!text.contains(WORD) && !text.contains("viral") && text.contains("Glucose"), "{text}");
    let visit = resource(json!({"resourceType": "Encounter", "status": "finished", "class": {"code": "AMB"},
        "diagnosis": [{"condition": {"reference": "Observation/viral/_history/2"}, "use": {"text": WORD}}]}));
    let shown = redact::redact(&visit, Seals::NONE, &hidden).unwrap();
    assert!(!shown.to_json().contains(WORD) && !shown.to_json().contains("viral"));
    assert!(redact::redact(&visit, Seals::ALL, &HashSet::new()).is_none());
}

/// Elements that the sender labelled, primitives among them.
#[test]
fn labels_of_the_sender_count() {
    let label = json!([{"url": INLINE_LABEL, "valueCoding": {"system": seal::ACT_CODE, "code": "SDV"}}]);
    let (stored, sealing) =
        labelled(json!({"resourceType": "Encounter", "status": "finished", "class": {"code": "AMB"},
        "serviceType": {"text": WORD, "extension": label}, "language": "en",
        "location": [{"location": {"display": WORD}, "extension": label}]}));
    assert_eq!(sealing, Sealing { whole: Seals::NONE, parts: Seals::GBV });
    let shown = redact::redact(&stored, Seals::GBV, &HashSet::new()).unwrap();
    assert!(!shown.to_json().contains(WORD), "{}", shown.to_json());
    let (stored, _) = labelled(json!({"resourceType": "Appointment", "status": "booked", "participant": [],
        "comment": WORD, "_comment": {"extension": label}, "start": "2026-11-01T08:00:00Z"}));
    let shown = redact::redact(&stored, Seals::GBV, &HashSet::new()).unwrap();
    assert!(!shown.to_json().contains(WORD), "{}", shown.to_json());
    assert_eq!(shown.text("start"), Some("2026-11-01T08:00:00Z"));
}

#[test]
fn a_step_of_the_program_leaves_hidden_parts_as_they_are() {
    let (before, _) = labelled(mentions().remove(0));
    let shown = redact::redact(&before, Seals::HIV, &HashSet::new()).unwrap();
    let mut sent = shown.clone();
    sent.set("status", json!("cancelled"));
    sent.set("length", json!({"value": 5}));
    let after = redact::restore(&before, &shown, &sent).unwrap();
    assert_eq!(after.text("status"), Some("cancelled"));
    assert_eq!(after.get("reasonCode"), before.get("reasonCode"));
    assert_eq!(after.get("text"), before.get("text"));
    assert_eq!(after.get("meta"), before.get("meta"));
    assert!(!redact::is_subsetted(&after) && after.get("length").is_some());
    sent.set("reasonCode", json!([cold()]));
    assert_eq!(redact::restore(&before, &shown, &sent).unwrap_err(), "reasonCode");
}
