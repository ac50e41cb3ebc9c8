use access::care::links;
use fhir::Resource;
use serde_json::{Value, json};

/// `practitioner→patient until …` of each link, at 2026-11-21T09:00Z.
fn check(resource: Value, expected: &[&str]) {
    let resource = Resource::from_value(resource).unwrap();
    let found: Vec<String> = links(&resource, crate::now())
        .iter()
        .map(|l| {
            format!("{}→{} {}", l.practitioner, l.patient, l.until.map_or("open".into(), |u| u.to_string()))
        })
        .collect();
    assert_eq!(found, expected, "{}", resource.to_json());
}

fn appointment(status: &str) -> Value {
    json!({"resourceType": "Appointment", "status": status, "start": "2026-12-01T09:00:00Z", "end": "2026-12-01T09:20:00Z",
        "participant": [
            {"actor": {"reference": "Patient/p"}, "status": "accepted"},
            {"actor": {"reference": "Practitioner/d"}, "status": "accepted"},
            {"actor": {"reference": "Practitioner/no"}, "status": "declined"},
            {"actor": {"reference": "Location/l"}, "status": "accepted"}]})
}

#[test]
fn appointments() {
    check(appointment("booked"), &["d→p 2026-12-31T09:20:00Z"]);
    check(appointment("fulfilled"), &["d→p 2026-12-31T09:20:00Z"]);
    check(appointment("cancelled"), &[]);
    check(appointment("noshow"), &[]);
    let mut old = appointment("fulfilled");
    old["end"] = json!("2026-10-01T09:00:00Z");
    check(old, &[]);
}

#[test]
fn encounters() {
    let encounter = |status: &str, end: Option<&str>| {
        json!({"resourceType": "Encounter", "status": status, "class": {"code": "VR"},
            "subject": {"reference": "Patient/p"}, "period": {"start": "2026-11-01T09:00:00+03:00", "end": end},
            "participant": [{"individual": {"reference": "Practitioner/d/_history/2"}},
                {"individual": {"reference": "https://elsewhere.example/Practitioner/x"}}]})
    };
    check(encounter("in-progress", None), &["d→p open"]);
    check(encounter("finished", Some("2026-11-01T10:00:00+03:00")), &["d→p 2027-01-30T07:00:00Z"]);
    check(encounter("finished", Some("2026-11-01")), &["d→p 2027-01-31T00:00:00Z"]);
    check(encounter("finished", Some("2020-11-01T10:00:00Z")), &[]);
    check(encounter("cancelled", None), &[]);
    check(encounter("entered-in-error", None), &[]);
}

#[test]
fn care_teams_requests_and_patients() {
    check(
        json!({"resourceType": "CareTeam", "status": "active", "subject": {"reference": "Patient/p"},
            "period": {"end": "2027-01-01T00:00:00Z"},
            "participant": [{"member": {"reference": "Practitioner/a"}},
                {"member": {"reference": "Practitioner/b"}, "period": {"end": "2026-12-01T00:00:00Z"}},
                {"member": {"reference": "Practitioner/c"}, "period": {"end": "2026-01-01T00:00:00Z"}}]}),
        &["a→p 2027-01-01T00:00:00Z", "b→p 2026-12-01T00:00:00Z"],
    );
    let request = |status: &str| {
        json!({"resourceType": "ServiceRequest", "status": status, "subject": {"reference": "Patient/p"},
            "performer": [{"reference": "Practitioner/d"}, {"reference": "Patient/other"}]})
    };
    check(request("active"), &["d→p open"]);
    check(request("completed"), &["d→p 2027-02-19T09:00:00Z"]);
    check(request("revoked"), &[]);
    check(request("draft"), &[]);
    let patient = |active: bool| {
        json!({"resourceType": "Patient", "id": "p", "active": active,
            "generalPractitioner": [{"reference": "Practitioner/d"}, {"reference": "Organization/o"}]})
    };
    check(patient(true), &["d→p open"]);
    check(patient(false), &[]);
}
