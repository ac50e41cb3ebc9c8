use super::summary::*;
use fhir::Resource;
use jiff::civil::date;
use serde_json::{Value, json};

fn resource(value: Value) -> Resource {
    Resource::from_value(value).unwrap()
}

fn condition(id: &str, code: &str, clinical: &str, verification: &str, category: &str) -> Resource {
    let coded = |system: &str, code: &str| json!({"coding": [{"system": system, "code": code}]});
    resource(json!({"resourceType": "Condition", "id": id, "subject": {"reference": "Patient/p"},
        "clinicalStatus": coded("c", clinical), "verificationStatus": coded("v", verification),
        "category": [coded(crate::vocabulary::CONDITION_CATEGORY, category)],
        "code": {"coding": [{"system": crate::vocabulary::ICD10, "code": code, "display": code}]}}))
}

#[test]
fn the_problem_list_has_each_problem_once() {
    let rows = [
        condition("1", "J06.9", "active", "provisional", "encounter-diagnosis"),
        condition("2", "I10", "active", "confirmed", "encounter-diagnosis"),
        condition("3", "I10", "active", "confirmed", "problem-list-item"),
        condition("4", "E14.9", "resolved", "confirmed", "problem-list-item"),
        condition("5", "J45.9", "active", "entered-in-error", "problem-list-item"),
        condition("6", "K30", "active", "confirmed", "encounter-diagnosis"),
    ];
    let shown: Vec<(String, String)> = problem_list(&rows).into_iter().map(|p| (p.id, p.status)).collect();
    let shown: Vec<(&str, &str)> = shown.iter().map(|(id, status)| (id.as_str(), status.as_str())).collect();
    assert_eq!(shown, [("3", "active"), ("6", "active"), ("4", "resolved"), ("5", "entered-in-error")]);
}

#[test]
fn a_course_that_is_over_is_over() {
    let request = |id: &str, days: u32, refills: u32, status: &str| {
        resource(json!({"resourceType": "MedicationRequest", "id": id, "status": status, "intent": "order",
            "authoredOn": "2026-11-01T08:00:00Z", "medicationCodeableConcept": {"text": "Metformin"},
            "dispenseRequest": {"numberOfRepeatsAllowed": refills, "expectedSupplyDuration": {"value": days}}}))
    };
    let rows = [
        request("a", 5, 0, "active"),
        request("b", 30, 0, "active"),
        request("c", 10, 2, "active"),
        request("d", 5, 0, "draft"),
        request("e", 30, 0, "stopped"),
        request("f", 4_000_000_000, 12, "active"),
    ];
    let found = medicines(&rows, date(2026, 11, 23));
    let status = |id: &str| found.iter().find(|m| m.id == id).map(|m| m.status.as_str());
    assert_eq!(
        ["a", "b", "c", "d", "e", "f"].map(status),
        [Some("completed"), Some("active"), Some("active"), None, Some("stopped"), Some("active")]
    );
    assert_eq!(found[0].name, "metFORMIN");
}

#[test]
fn series_are_in_order_whatever_their_offset() {
    let row = |at: &str, value: u32| {
        resource(json!({"resourceType": "Observation", "status": "final", "effectiveDateTime": at,
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
            "valueQuantity": {"value": value, "code": "/min"}}))
    };
    let rows = [row("2026-11-20T10:00:00+03:00", 70), row("2026-11-20T08:30:00Z", 90), row("2026-11-19", 60)];
    let found = vitals_with_history(&rows, "1990-01-01");
    let series: Vec<&str> = found[0].series.iter().map(|p| p.value.as_str()).collect();
    assert_eq!(series, ["60", "70", "90"]);
    assert_eq!((found[0].value.as_str(), found[0].previous.as_ref().unwrap().value.as_str()), ("90", "70"));
}
