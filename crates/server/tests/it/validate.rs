//! `$validate`, and what a write is refused for: profiles, value sets and invariants.

use crate::harness::{Signed, World};
use serde_json::{Value, json};

const PULSE: &str = "http://example.org/fhir/StructureDefinition/pulse";
const PLACES: &str = "http://example.org/fhir/ValueSet/places";

async fn world() -> (World, Signed) {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    (world, client)
}

fn profile() -> Value {
    json!({"resourceType": "StructureDefinition", "url": PULSE, "name": "Pulse", "status": "active", "kind": "resource",
        "abstract": false, "type": "Observation", "derivation": "constraint",
        "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Observation",
        "differential": {"element": [{"id": "Observation", "path": "Observation"},
            {"id": "Observation.code", "path": "Observation.code",
                "patternCodeableConcept": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]}},
            {"id": "Observation.value[x]", "path": "Observation.value[x]", "min": 1, "type": [{"code": "Quantity"}]},
            {"id": "Observation.bodySite", "path": "Observation.bodySite", "binding": {"strength": "required", "valueSet": PLACES}}]}})
}

fn pulse(more: Value) -> Value {
    let mut resource = json!({"resourceType": "Observation", "meta": {"profile": [PULSE]}, "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "valueQuantity": {"value": 72, "unit": "/min"}});
    for (key, value) in more.as_object().unwrap() {
        match value {
            Value::Null => drop(resource.as_object_mut().unwrap().remove(key)),
            value => resource[key.as_str()] = value.clone(),
        }
    }
    resource
}

/// `severity expression` of every issue.
fn issues(outcome: &Value) -> Vec<String> {
    assert_eq!(outcome["resourceType"], "OperationOutcome", "{outcome}");
    let all = outcome["issue"].as_array().unwrap().iter();
    all.map(|i| format!("{} {}", i["severity"].as_str().unwrap(), i["expression"][0].as_str().unwrap_or("")))
        .collect()
}

fn errors(outcome: &Value) -> Vec<String> {
    issues(outcome).into_iter().filter_map(|i| i.strip_prefix("error ").map(str::to_owned)).collect()
}

#[tokio::test]
async fn writes_are_held_to_the_profiles_that_are_stored() {
    let (world, client) = world().await;
    // As long as nobody here knows the profile, a claim is only a claim.
    assert_eq!(client.post("/fhir/R4/Observation", pulse(json!({"valueQuantity": null}))).await.0, 201);
    let (status, answer) = client.post("/fhir/R4/StructureDefinition", profile()).await;
    assert_eq!(status, 201, "{answer}");
    let (status, outcome) = client.post("/fhir/R4/Observation", pulse(json!({"valueQuantity": null}))).await;
    assert_eq!((status, errors(&outcome)), (422, vec!["Observation.value".to_owned()]), "{outcome}");
    assert_eq!(client.post("/fhir/R4/Observation", pulse(json!({}))).await.0, 201);
    let entry = json!({"fullUrl": "urn:uuid:5d3d7f2e-6ca0-4d2a-9a6a-3a6f8a0a7a01", "resource": pulse(json!({"code": {"text": "pulse"}})),
        "request": {"method": "POST", "url": "Observation"}});
    let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [entry]});
    let (status, outcome) = client.post("/fhir/R4", bundle).await;
    assert_eq!(
        (status, errors(&outcome)),
        (422, vec!["Bundle.entry[0].resource.code".to_owned()]),
        "{outcome}"
    );
    // Invariants of FHIR itself need no profile.
    let wrong = json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "valueString": "x",
        "dataAbsentReason": {"text": "x"}});
    let (status, outcome) = client.post("/fhir/R4/Observation", wrong).await;
    assert_eq!(status, 422);
    assert!(outcome.to_string().contains("obs-6"), "{outcome}");
    world.stop().await;
}

#[tokio::test]
async fn validate_tells_everything_and_stores_nothing() {
    let (world, client) = world().await;
    let (status, answer) = client.post("/fhir/R4/StructureDefinition", profile()).await;
    assert_eq!(status, 201, "{answer}");
    let ask = async |path: &str, body: Value| {
        let (status, outcome) = client.post(&format!("/fhir/R4/{path}"), body).await;
        assert_eq!(status, 200, "{outcome}");
        outcome
    };
    let fine = ask(
        "Observation/$validate",
        pulse(json!({"text": {"status": "generated",
        "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">72/min</div>"}})),
    )
    .await;
    assert_eq!(issues(&fine), ["information "], "{fine}");
    let wrong = ask("Observation/$validate", pulse(json!({"status": "done", "valueQuantity": null}))).await;
    assert_eq!(errors(&wrong), ["Observation.status", "Observation.value"], "{wrong}");
    // Best practice is advice.
    let bare = ask("Observation/$validate", pulse(json!({}))).await;
    assert_eq!(issues(&bare), ["warning Observation"], "{bare}");

    // A profile can be named, and a value set that is not known is said not to be.
    let plain = pulse(
        json!({"meta": null, "bodySite": {"coding": [{"system": "http://x", "code": "arm"}]}, "valueQuantity": null}),
    );
    let parameters = |profile: &str, mode: &str| {
        json!({"resourceType": "Parameters", "parameter": [{"name": "resource", "resource": plain},
        {"name": "mode", "valueCode": mode}, {"name": "profile", "valueUri": profile}]})
    };
    let named = ask("Observation/$validate", parameters(PULSE, "profile")).await;
    assert_eq!(errors(&named), ["Observation.value"], "{named}");
    assert!(issues(&named).contains(&"warning Observation.bodySite".to_owned()), "{named}");
    let value_set = json!({"resourceType": "ValueSet", "url": PLACES, "status": "active",
        "compose": {"include": [{"system": "http://x", "concept": [{"code": "leg"}]}]}});
    assert_eq!(client.post("/fhir/R4/ValueSet", value_set).await.0, 201);
    let named = ask("Observation/$validate", parameters(PULSE, "profile")).await;
    assert_eq!(errors(&named), ["Observation.value", "Observation.bodySite"], "{named}");
    let unknown = ask("Observation/$validate", parameters("http://example.org/none", "create")).await;
    assert!(unknown.to_string().contains("not known here"), "{unknown}");

    // Wrong places and wrong questions.
    let elsewhere = ask("Patient/$validate", pulse(json!({}))).await;
    assert_eq!(errors(&elsewhere), ["resourceType"], "{elsewhere}");
    let (status, outcome) =
        client.post("/fhir/R4/Observation/$validate", json!({"resourceType": "Parameters"})).await;
    assert_eq!(status, 400, "{outcome}");

    // What is stored can be asked about too; nothing was stored by asking.
    let (_, stored) = client.post("/fhir/R4/Observation", pulse(json!({}))).await;
    let path = format!("/fhir/R4/Observation/{}/$validate", stored["id"].as_str().unwrap());
    let (status, outcome) = client.get(&path).await;
    assert_eq!((status, errors(&outcome).len()), (200, 0), "{outcome}");
    let (_, page) = client.get("/fhir/R4/Observation?_summary=count").await;
    assert_eq!(page["total"], 1, "{page}");
    assert_eq!(world.anonymous().post("/fhir/R4/Observation/$validate", pulse(json!({}))).await.0, 401);
    world.stop().await;
}

/// `$validate` follows references as far as the caller may read; what it may not read looks as if it were not there.
#[tokio::test]
async fn validate_follows_references_as_far_as_the_caller_may_read() {
    let (world, client) = world().await;
    let adult = json!({"resourceType": "StructureDefinition", "url": "http://example.org/fhir/StructureDefinition/of-women",
        "name": "OfWomen", "status": "active", "kind": "resource", "abstract": false, "type": "Observation",
        "derivation": "constraint", "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Observation",
        "differential": {"element": [{"id": "Observation", "path": "Observation", "constraint": [{"key": "women-1",
            "severity": "error", "human": "The patient must be known not to be a man",
            "expression": "subject.resolve().ofType(Patient).gender.where($this = 'male').empty()"}]}]}});
    let (status, answer) = client.post("/fhir/R4/StructureDefinition", adult).await;
    assert_eq!(status, 201, "{answer}");
    let baraka =
        client.post("/fhir/R4/Patient", json!({"resourceType": "Patient", "gender": "male"})).await.1;
    let baraka = format!("Patient/{}", baraka["id"].as_str().unwrap());
    let of = |subject: &str| {
        json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "valueInteger": 1,
            "meta": {"profile": ["http://example.org/fhir/StructureDefinition/of-women"]},
            "subject": {"reference": subject},
            "text": {"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>"}})
    };
    let ask = async |who: &Signed, body: Value| {
        let (status, outcome) = who.post("/fhir/R4/Observation/$validate", body).await;
        assert_eq!(status, 200, "{outcome}");
        outcome
    };
    let found = ask(&client, of(&baraka)).await;
    assert_eq!(errors(&found), ["Observation"], "{found}");
    assert!(found.to_string().contains("women-1"), "{found}");
    // By our own address as well.
    let absolute = ask(&client, of(&format!("{}/fhir/R4/{baraka}", world.url()))).await;
    assert_eq!(errors(&absolute), ["Observation"], "{absolute}");

    // Who may not read patients learns the same of one that is there and of one that is not.
    let blind = world.client("system/Observation.cruds system/StructureDefinition.rs").await;
    let (there, nowhere) = (ask(&blind, of(&baraka)).await, ask(&blind, of("Patient/nobody")).await);
    assert_eq!(there, nowhere);
    assert_eq!(issues(&there), ["warning Observation.subject.reference"], "{there}");
    assert_eq!(ask(&client, of("Patient/nobody")).await, nowhere);

    // R4's own invariants look behind references too (ctm-1).
    let team = |member: &str| {
        json!({"resourceType": "CareTeam", "participant": [{"member": {"reference": member},
            "onBehalfOf": {"display": "the ward"}}],
            "text": {"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>"}})
    };
    let (_, outcome) = client.post("/fhir/R4/CareTeam/$validate", team(&baraka)).await;
    assert!(outcome.to_string().contains("ctm-1"), "{outcome}");

    // Looking is reading, and is written down.
    let officer = world.staff("officer", access::Role::PrivacyOfficer).await;
    let (_, audit) = officer.get(&format!("/fhir/R4/AuditEvent?patient={baraka}")).await;
    assert!(audit.to_string().contains("$validate looked at"), "{audit}");
    world.stop().await;
}
