//! A server's own search parameters, from the definition to the answer.

use crate::harness::{Signed, World};
use crate::postgres::Database;
use serde_json::{Value, json};
use std::time::Duration;

/// Resources that are there before the parameter: more than one step of the walk.
const BEFORE: usize = 230;

fn definition(code: &str, kind: &str, base: &[&str], expression: &str) -> Value {
    json!({"resourceType": "SearchParameter", "id": code, "status": "active", "url": format!("http://example.org/{code}"),
        "name": code, "description": "A test.", "code": code, "type": kind, "base": base, "expression": expression})
}

fn patient(n: usize) -> Value {
    json!({"resourceType": "Patient", "name": [{"family": format!("Number{n}")}],
        "extension": [{"url": "http://example.org/village", "valueString": if n.is_multiple_of(2) { "Kisumu" } else { "Nakuru" }}]})
}

/// Asks for the state until nothing is left to do.
async fn settled(client: &Signed) -> Vec<Value> {
    for _ in 0..600 {
        let (status, all) = client.get("/fhir/R4/SearchParameter/$index-status").await;
        assert_eq!(status, 200, "{all}");
        let entries = all["parameter"].as_array().cloned().unwrap_or_default();
        if entries.iter().all(|e| e["part"][3]["valueCode"] == "ready") {
            return entries;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the index never caught up");
}

async fn total(client: &Signed, query: &str) -> Value {
    let (status, found) = client.get(&format!("/fhir/R4/{query}&_total=accurate&_count=1")).await;
    assert_eq!(status, 200, "{query}: {found}");
    found["total"].clone()
}

async fn whole_life(world: World) {
    let client = world.client("system/*.cruds").await;
    for n in 0..BEFORE {
        world.put(patient(n)).await;
    }
    let (status, refused) = client.get("/fhir/R4/Patient?village=Kisumu").await;
    assert_eq!(status, 400, "{refused}");

    let village = definition(
        "village",
        "string",
        &["Patient"],
        "Patient.extension('http://example.org/village').value",
    );
    let (status, made) = client.put("/fhir/R4/SearchParameter/village", village.clone()).await;
    assert_eq!(status, 201, "{made}");
    // While it is built it is refused, never answered in part.
    let (status, early) = client.get("/fhir/R4/Patient?village=Kisumu&_total=accurate").await;
    assert!(
        status == 400 && early.to_string().contains("still being indexed") || early["total"] == BEFORE / 2,
        "{early}"
    );
    let (_, later) = client.post("/fhir/R4/Patient", patient(BEFORE)).await;
    let entries = settled(&client).await;
    assert_eq!(entries.len(), 1);
    assert_eq!(total(&client, "Patient?village=kisumu").await, BEFORE / 2 + 1);
    assert_eq!(total(&client, "Patient?village:missing=true").await, 0);
    assert_eq!(total(&client, "Patient?village:exact=Nakuru&family=number1").await, 56);
    // Written again: the old value goes, the new one is found.
    let id = later["id"].as_str().unwrap();
    let mut moved = patient(BEFORE + 1);
    moved["id"] = json!(id);
    assert_eq!(client.put(&format!("/fhir/R4/Patient/{id}"), moved).await.0, 200);
    assert_eq!(total(&client, "Patient?village=kisumu").await, BEFORE / 2);
    assert_eq!(client.get("/fhir/R4/Patient?_sort=village&_count=3").await.0, 200);

    // Another expression: other values, and none of the old ones.
    let family = definition("village", "string", &["Patient"], "Patient.name.family");
    assert_eq!(client.put("/fhir/R4/SearchParameter/village", family).await.0, 200);
    settled(&client).await;
    assert_eq!(total(&client, "Patient?village=kisumu").await, 0);
    assert_eq!(total(&client, "Patient?village:exact=Number7").await, 1);

    // Clashes and nonsense are refused, each where it stands.
    for (wrong, expected) in [
        (definition("village", "string", &["Patient"], "Patient.name.given"), "already"),
        (definition("birthdate", "date", &["Patient"], "Patient.birthDate"), "already"),
        (definition("odd", "date", &["Patient"], "Patient.name"), "cannot be searched by"),
        (definition("odd", "string", &["Patient"], "Patient.nmae"), "Patient"),
    ] {
        let mut wrong = wrong;
        wrong["url"] = json!("http://example.org/other");
        let (status, outcome) = client.post("/fhir/R4/SearchParameter", wrong).await;
        assert!(matches!(status, 409 | 422), "{outcome}");
        assert!(outcome.to_string().contains(expected), "{outcome}");
    }

    assert_eq!(client.delete("/fhir/R4/SearchParameter/village").await.0 / 100, 2);
    assert!(settled(&client).await.is_empty());
    assert_eq!(client.get("/fhir/R4/Patient?village=Kisumu").await.0, 400);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_life_on_sqlite() {
    whole_life(World::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_life_on_postgres() {
    let Some(database) = Database::make() else {
        eprintln!("SKIPPED: UZIMA_TEST_POSTGRES_URL is not set");
        return;
    };
    whole_life(database.serve().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_server_notices() {
    let Some(database) = Database::make() else {
        eprintln!("SKIPPED: UZIMA_TEST_POSTGRES_URL is not set");
        return;
    };
    let first = database.serve().await;
    let second = database.serve_beside(&first).await;
    let client = first.client("system/*.cruds").await;
    let village = definition(
        "village",
        "string",
        &["Patient"],
        "Patient.extension('http://example.org/village').value",
    );
    assert_eq!(client.put("/fhir/R4/SearchParameter/village", village).await.0, 201);
    // Written through the other one meanwhile.
    for n in 0..20 {
        assert_eq!(client.at(second.url()).post("/fhir/R4/Patient", patient(n)).await.0, 201);
    }
    settled(&client).await;
    for server in [first.url(), second.url()] {
        let there = client.at(server);
        let mut found = Value::Null;
        for _ in 0..100 {
            let (status, answer) = there.get("/fhir/R4/Patient?village=kisumu&_total=accurate").await;
            found = answer["total"].clone();
            if status == 200 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(found, 10, "{server}");
    }
    first.stop().await;
    second.stop().await;
}
