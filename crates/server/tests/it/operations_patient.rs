//! `$match`, `$merge`, `$unmerge`, on SQLite and, where a server is named, on PostgreSQL.

use crate::harness::{Signed, World};
use crate::operations_chart::{chart, keys};
use crate::postgres::Database;
use access::Role;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn parameters(list: Value) -> Value {
    json!({"resourceType": "Parameters", "parameter": list})
}

fn pair(source: &str, target: &str) -> Vec<Value> {
    vec![
        json!({"name": "source-patient", "valueReference": {"reference": format!("Patient/{source}")}}),
        json!({"name": "target-patient", "valueReference": {"reference": format!("Patient/{target}")}}),
    ]
}

fn merge(source: &str, target: &str) -> Value {
    parameters(json!(pair(source, target)))
}

fn part<'a>(answer: &'a Value, name: &str) -> &'a Value {
    let list = answer["parameter"].as_array().unwrap();
    &list.iter().find(|p| p["name"] == name).unwrap_or_else(|| panic!("no {name}: {answer}"))["resource"]
}

/// The resource without what every version has of its own.
fn content(mut resource: Value) -> Value {
    if let Some(meta) = resource["meta"].as_object_mut() {
        meta.shift_remove("versionId");
        meta.shift_remove("lastUpdated");
        if meta.is_empty() {
            resource.as_object_mut().unwrap().shift_remove("meta");
        }
    }
    resource
}

#[tokio::test]
async fn people_are_found_by_what_is_known_of_them() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    let person = |id: &str, given: &str, family: &str, birth: &str, phone: &str, number: &str| {
        json!({"resourceType": "Patient", "id": id, "active": true, "gender": "female", "birthDate": birth,
            "name": [{"family": family, "given": [given]}], "address": [{"city": "Kisumu"}],
            "telecom": [{"system": "phone", "value": phone}], "identifier": [{"system": "urn:nid", "value": number}]})
    };
    for patient in [
        person("same", "Amina", "Njoroge", "1994-05-17", "+254712345678", "1"),
        person("sister", "Faith", "Njoroge", "1994-05-17", "+254712345678", "2"),
        person("other", "Beatrice", "Atieno", "1960-03-04", "+254700000000", "3"),
        person("typo", "Aminah", "Njorogge", "1994-05-71", "+254700000001", "4"),
    ] {
        let mut patient = patient;
        if patient["id"] == "typo" {
            patient["birthDate"] = json!("1994-05-18");
        }
        let id = patient["id"].as_str().unwrap().to_owned();
        assert_eq!(client.put(&format!("/fhir/R4/Patient/{id}"), patient).await.0, 201);
    }
    let asked = json!({"resourceType": "Patient", "name": [{"family": "Amina", "given": ["Njoroge"]}],
        "birthDate": "1994-05-17", "telecom": [{"system": "phone", "value": "0712 345 678"}]});
    let (status, found) = client.post("/fhir/R4/Patient/$match", asked.clone()).await;
    assert_eq!(status, 200, "{found}");
    assert_eq!(keys(&found)[0], "Patient/same", "{found}");
    assert!(
        keys(&found).contains(&"Patient/sister".to_owned())
            && !keys(&found).contains(&"Patient/other".to_owned())
    );
    let first = &found["entry"][0]["search"];
    assert_eq!(first["extension"][0]["valueCode"], "certain", "{found}");
    assert!(first["score"].as_f64().unwrap() > 0.99);
    let scores: Vec<f64> =
        found["entry"].as_array().unwrap().iter().map(|e| e["search"]["score"].as_f64().unwrap()).collect();
    assert!(scores.is_sorted_by(|a, b| a >= b), "{scores:?}");

    let with = |only: bool, count: i64| {
        parameters(
            json!([{"name": "resource", "resource": asked}, {"name": "onlyCertainMatches", "valueBoolean": only},
            {"name": "count", "valueInteger": count}]),
        )
    };
    assert_eq!(keys(&client.post("/fhir/R4/Patient/$match", with(true, 5)).await.1), ["Patient/same"]);
    assert_eq!(keys(&client.post("/fhir/R4/Patient/$match", with(false, 1)).await.1), ["Patient/same"]);
    assert_eq!(client.post("/fhir/R4/Patient/$match", with(false, 0)).await.0, 400);
    let number = json!({"resourceType": "Patient", "identifier": [{"system": "urn:nid", "value": "3"}],
        "name": [{"text": "Beatrice"}]});
    assert_eq!(keys(&client.post("/fhir/R4/Patient/$match", number).await.1), ["Patient/other"]);
    let nobody =
        json!({"resourceType": "Patient", "name": [{"family": "Zawadi"}], "birthDate": "2001-13-45"});
    let (status, none) = client.post("/fhir/R4/Patient/$match", nobody).await;
    assert_eq!((status, none.get("entry")), (200, None), "{none}");

    // A doctor who does not care for her sees what finding a patient shows, and no more.
    let doctor = world.staff("doctor", Role::Doctor).await;
    let (status, found) = doctor.post("/fhir/R4/Patient/$match", asked.clone()).await;
    assert_eq!(status, 200, "{found}");
    let patient = &found["entry"][0]["resource"];
    assert!(
        patient["name"].is_array() && patient.get("address").is_none() && patient.get("identifier").is_none(),
        "{patient}"
    );
    assert!(patient["meta"]["tag"].to_string().contains("SUBSETTED"));
    for who in [
        world.patient("Zawadi").await,
        world.staff("it", Role::It).await,
        world.client("system/Observation.rs").await,
    ] {
        assert_eq!(who.post("/fhir/R4/Patient/$match", asked.clone()).await.0, 403);
    }
    world.stop().await;
}

async fn there_and_back(world: &World) {
    let client = world.client("system/*.cruds").await;
    chart(&client).await;
    let desk = world.staff("desk", Role::FrontDesk).await;
    let amina = world.patient("Amina").await;
    let source = amina.id().to_owned();
    // The source is known by a number and a phone, has a result, a draft in two patients' names, and an appointment.
    let mut patient = client.get(&format!("/fhir/R4/Patient/{source}")).await.1;
    patient["identifier"] = json!([{"system": "urn:nid", "value": "77"}]);
    client.put(&format!("/fhir/R4/Patient/{source}"), patient).await;
    let about = |id: &str| {
        json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"text": "pulse"},
        "valueQuantity": {"value": 72.50, "unit": "/min"}, "subject": {"reference": format!("Patient/{source}")}})
    };
    for id in ["a1", "a2", "a3"] {
        assert_eq!(client.put(&format!("/fhir/R4/Observation/{id}"), about(id)).await.0, 201);
    }
    let both = json!({"resourceType": "Group", "id": "g", "type": "person", "actual": true, "member": [
        {"entity": {"reference": format!("Patient/{source}")}}, {"entity": {"reference": "Patient/p1"}}]});
    assert_eq!(client.put("/fhir/R4/Group/g", both).await.0, 201);
    let before = |path: &str| {
        let (client, path) = (client.clone(), path.to_owned());
        async move { client.get(&path).await.1 }
    };
    let patients = (before(&format!("/fhir/R4/Patient/{source}")).await, before("/fhir/R4/Patient/p1").await);
    let a1 = before("/fhir/R4/Observation/a1").await;

    // Only those who resolve duplicates.
    for who in [&amina, &world.staff("doctor", Role::Doctor).await, &client] {
        assert_eq!(who.post("/fhir/R4/Patient/$merge", merge(&source, "p1")).await.0, 403);
    }
    let mut preview = pair(&source, "p1");
    preview.push(json!({"name": "preview", "valueBoolean": true}));
    let (status, told) = desk.post("/fhir/R4/Patient/$merge", parameters(json!(preview))).await;
    assert_eq!(status, 200, "{told}");
    assert!(part(&told, "outcome").to_string().contains("would move 4 resources"), "{told}");
    assert_eq!(client.get("/fhir/R4/Observation/a1").await.1, a1, "a preview changes nothing");

    let (status, done) = desk.post("/fhir/R4/Patient/$merge", merge(&source, "p1")).await;
    assert_eq!(status, 200, "{done}");
    let result = part(&done, "result");
    assert_eq!(result["id"], "p1");
    assert_eq!(result["identifier"][0]["value"], "77");
    assert_eq!(result["link"][0]["type"], "replaces");
    let old = client.get(&format!("/fhir/R4/Patient/{source}")).await.1;
    assert_eq!((&old["active"], &old["link"][0]["type"]), (&json!(false), &json!("replaced-by")));
    // Searches and charts: all of it is the target's, nothing the source's.
    let found = client.get("/fhir/R4/Observation?patient=p1&_summary=count").await.1;
    assert_eq!(found["total"], 5, "{found}");
    let found = client.get(&format!("/fhir/R4/Observation?patient={source}&_summary=count")).await.1;
    assert_eq!(found["total"], 0);
    let left = client.get(&format!("/fhir/R4/Patient/{source}/$everything")).await.1;
    let kinds: BTreeSet<String> =
        keys(&left).iter().map(|k| k.split('/').next().unwrap().to_owned()).collect();
    // The record itself, and who merged it.
    let expected = ["Patient", "Practitioner", "Provenance"].map(str::to_owned);
    assert_eq!(kinds, expected.into(), "{left}");
    let version = client.get("/fhir/R4/Observation/a1/_history/1").await.1;
    assert_eq!(content(version), content(a1.clone()), "history stays");
    let trail = client.get("/fhir/R4/Provenance?target=Patient/p1").await.1;
    assert_eq!(trail["entry"][0]["resource"]["activity"]["coding"][0]["code"], "merge", "{trail}");
    // She signs in as before, and her record is the one that stays.
    let me = amina.get("/api/v1/me").await.1;
    assert_eq!(me["patient_id"], "p1", "{me}");

    // Again: nothing happens; then something comes late.
    assert_eq!(desk.post("/fhir/R4/Patient/$merge", merge(&source, "p1")).await.0, 200);
    assert_eq!(client.get("/fhir/R4/Patient/p1").await.1, *result, "done twice is done once");
    // What is sent to the old record is told where to go; what the program itself writes there is swept up.
    let (status, refused) = client.put("/fhir/R4/Observation/late", about("late")).await;
    assert!(status == 422 && refused.to_string().contains("merged into Patient/p1"), "{refused}");
    world.put(about("late")).await;
    let (status, swept) = desk.post("/fhir/R4/Patient/$merge", merge(&source, "p1")).await;
    assert!(status == 200 && part(&swept, "outcome").to_string().contains("moved 1 resources"), "{swept}");
    // What makes no sense.
    for (a, b, status) in
        [("p1", "p1", 422), (source.as_str(), "p2", 422), ("p2", source.as_str(), 422), ("nobody", "p1", 404)]
    {
        assert_eq!(desk.post("/fhir/R4/Patient/$merge", merge(a, b)).await.0, status, "{a} {b}");
    }

    // Meanwhile: one is corrected, one deleted, one is new.
    let mut corrected = client.get("/fhir/R4/Observation/a2").await.1;
    corrected["status"] = json!("amended");
    client.put("/fhir/R4/Observation/a2", corrected).await;
    client.delete("/fhir/R4/Observation/a3").await;
    let mut new = about("new");
    new["subject"] = json!({"reference": "Patient/p1"});
    client.put("/fhir/R4/Observation/new", new).await;

    let undo = parameters(
        json!([{"name": "source-patient", "valueReference": {"reference": format!("Patient/{source}")}}]),
    );
    assert_eq!(client.post("/fhir/R4/Patient/$unmerge", undo.clone()).await.0, 403);
    let (status, back) = desk.post("/fhir/R4/Patient/$unmerge", undo.clone()).await;
    assert_eq!(status, 200, "{back}");
    assert_eq!(content(part(&back, "source").clone()), content(patients.0));
    assert_eq!(content(part(&back, "result").clone()), content(patients.1));
    assert_eq!(content(client.get("/fhir/R4/Observation/a1").await.1), content(a1), "exactly as it was");
    let amended = client.get("/fhir/R4/Observation/a2").await.1;
    assert_eq!(amended["status"], "amended");
    assert_eq!(amended["subject"]["reference"], format!("Patient/{source}"));
    assert_eq!(client.get("/fhir/R4/Observation/a3").await.0, 410);
    assert_eq!(client.get("/fhir/R4/Observation/new").await.1["subject"]["reference"], "Patient/p1");
    let group = client.get("/fhir/R4/Group/g").await.1;
    assert_eq!(group["member"][0]["entity"]["reference"], format!("Patient/{source}"), "{group}");
    assert_eq!(group["member"][1]["entity"]["reference"], "Patient/p1");
    let found = client.get(&format!("/fhir/R4/Observation?patient={source}&_summary=count")).await.1;
    assert_eq!(found["total"], 3, "a1, a2, late");
    assert_eq!(amina.get("/api/v1/me").await.1["patient_id"], source.as_str());
    assert_eq!(desk.post("/fhir/R4/Patient/$unmerge", undo).await.0, 422, "only once");
    // And together again.
    assert_eq!(desk.post("/fhir/R4/Patient/$merge", merge(&source, "p1")).await.0, 200);
    let found = client.get("/fhir/R4/Observation?patient=p1&_summary=count").await.1;
    assert_eq!(found["total"], 6);
}

#[tokio::test]
async fn records_are_merged_and_taken_apart() {
    let world = World::start().await;
    there_and_back(&world).await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_merged_and_taken_apart_on_postgres() {
    let Some(database) = Database::make() else {
        eprintln!("SKIPPED: UZIMA_TEST_POSTGRES_URL is not set");
        return;
    };
    let world = database.serve().await;
    there_and_back(&world).await;
    world.stop().await;
}

async fn count(who: &Signed, patient: &str) -> u64 {
    who.get(&format!("/fhir/R4/Observation?patient={patient}&_summary=count")).await.1["total"]
        .as_u64()
        .unwrap()
}

#[tokio::test]
async fn a_merge_by_numbers_and_with_a_result() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    let desk = world.staff("desk", Role::FrontDesk).await;
    let numbered = |id: &str, number: &str| {
        json!({"resourceType": "Patient", "id": id, "active": true, "name": [{"family": "Njoroge"}],
            "identifier": [{"system": "urn:nid", "value": number}]})
    };
    for (id, number) in [("a", "1"), ("b", "2"), ("c", "2")] {
        client.put(&format!("/fhir/R4/Patient/{id}"), numbered(id, number)).await;
    }
    let by = |source: &str, target: &str| {
        parameters(json!([
            {"name": "source-patient-identifier", "valueIdentifier": {"system": "urn:nid", "value": source}},
            {"name": "target-patient-identifier", "valueIdentifier": {"system": "urn:nid", "value": target}}]))
    };
    assert_eq!(desk.post("/fhir/R4/Patient/$merge", by("2", "1")).await.0, 400, "two have this number");
    assert_eq!(desk.post("/fhir/R4/Patient/$merge", by("9", "1")).await.0, 400);
    client.delete("/fhir/R4/Patient/c").await;
    let mut with = by("2", "1");
    let mut result = numbered("a", "1");
    with["parameter"].as_array_mut().unwrap().push(json!({"name": "result-patient", "resource": result}));
    let (status, outcome) = desk.post("/fhir/R4/Patient/$merge", with.clone()).await;
    assert_eq!(status, 422, "the number of the source is missing: {outcome}");
    result["identifier"]
        .as_array_mut()
        .unwrap()
        .push(json!({"system": "urn:nid", "value": "2", "use": "old"}));
    result["birthDate"] = json!("1990-01-02");
    with["parameter"][2]["resource"] = result;
    let (status, done) = desk.post("/fhir/R4/Patient/$merge", with).await;
    assert_eq!((status, &part(&done, "result")["birthDate"]), (200, &json!("1990-01-02")), "{done}");
    assert_eq!(count(&client, "a").await, 0);
    world.stop().await;
}
