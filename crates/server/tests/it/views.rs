//! SQL-on-FHIR views over real sockets.

use crate::harness::{Signed, World, header, read};
use serde_json::{Value, json};

fn definition() -> Value {
    json!({"resourceType": "ViewDefinition", "name": "names", "status": "active", "resource": "Patient",
        "constant": [{"name": "use", "valueCode": "official"}],
        "select": [{"column": [{"name": "id", "path": "getResourceKey()", "type": "id"},
            {"name": "born", "path": "birthDate", "type": "date"}]},
            {"forEachOrNull": "name.where(use = %use)", "column": [{"name": "family", "path": "family", "type": "string"}]}]})
}

async fn fill(world: &World) -> String {
    let amina = world
        .put(json!({"resourceType": "Patient", "birthDate": "1990-02-03", "name": [{"use": "official", "family": "Wanjiru, A"}]}))
        .await;
    world.put(json!({"resourceType": "Patient", "birthDate": "2001"})).await;
    amina.id
}

async fn text(who: &Signed, method: &str, path: &str, body: Option<Value>) -> (u16, String, String) {
    let request = who.request(method, path);
    let request = match body {
        Some(body) => request.header("content-type", "application/fhir+json").body(body.to_string()),
        None => request,
    };
    let response = request.send().await.unwrap();
    let kind = header(&response, "content-type").to_owned();
    (response.status().as_u16(), kind, response.text().await.unwrap())
}

fn parameters(entries: Vec<Value>) -> Option<Value> {
    let mut all = vec![json!({"name": "viewResource", "resource": definition()})];
    all.extend(entries);
    Some(json!({"resourceType": "Parameters", "parameter": all}))
}

#[tokio::test]
async fn a_view_runs_in_every_format() {
    let world = World::start().await;
    let amina = fill(&world).await;
    let client = world.client("system/Patient.rs").await;
    for path in [
        "/fhir/R4/ViewDefinition/$run",
        "/fhir/R4/$viewdefinition-run",
        "/fhir/R4/ViewDefinition/$viewdefinition-run",
    ] {
        let format = json!({"name": "_format", "valueCode": "csv"});
        let (status, kind, csv) = text(&client, "POST", path, parameters(vec![format])).await;
        assert_eq!((status, kind.as_str()), (200, "text/csv; charset=utf-8; header=present"), "{csv}");
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!((lines.len(), lines[0]), (3, "id,born,family"), "{csv}");
        assert!(csv.contains(&format!("{amina},1990-02-03,\"Wanjiru, A\"")), "{csv}");
    }
    let run = |query: &'static str, entries: Vec<Value>| {
        let client = client.clone();
        async move {
            text(&client, "POST", &format!("/fhir/R4/ViewDefinition/$run{query}"), parameters(entries)).await
        }
    };
    let (_, kind, ndjson) = run("", vec![]).await;
    assert_eq!((kind.as_str(), ndjson.lines().count()), ("application/x-ndjson", 2));
    let (_, _, whole) = run("?_format=json", vec![]).await;
    assert_eq!(serde_json::from_str::<Value>(&whole).unwrap().as_array().unwrap().len(), 2);
    let (_, _, one) = run("?_format=csv&header=false&_limit=1", vec![]).await;
    assert_eq!(one.lines().count(), 1);
    let reference = json!({"reference": format!("Patient/{amina}")});
    let (_, _, hers) =
        run("?_format=csv&header=false", vec![json!({"name": "patient", "valueReference": reference})]).await;
    assert!(hers.starts_with(&amina) && hers.lines().count() == 1);
    let (_, _, none) = run("?_format=csv&header=false&_since=2999-01-01T00:00:00Z", vec![]).await;
    assert_eq!(none, "");
    let bytes = client
        .request("POST", "/fhir/R4/ViewDefinition/$run?_format=parquet")
        .header("content-type", "application/fhir+json")
        .body(definition().to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(header(&bytes, "content-type"), "application/vnd.apache.parquet");
    let bytes = bytes.bytes().await.unwrap();
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
    // On what comes with the request, whatever the record holds.
    let given = json!({"name": "resource", "resource": {"resourceType": "Patient", "id": "given"}});
    let (_, _, given) = run("?_format=csv&header=false", vec![given]).await;
    assert_eq!(given, "given,,\r\n");
    world.stop().await;
}

#[tokio::test]
async fn views_show_no_more_than_the_caller_may_see() {
    let world = World::start().await;
    fill(&world).await;
    let patient = world.patient("Chiku").await;
    let run = "/fhir/R4/ViewDefinition/$run?_format=csv&header=false";
    let (status, _, own) = text(&patient, "POST", run, parameters(vec![])).await;
    assert_eq!((status, own.lines().count()), (200, 1));
    assert!(own.starts_with(patient.id()));
    let other = world.client("system/Observation.rs").await;
    assert_eq!(text(&other, "POST", run, parameters(vec![])).await.0, 403);
    assert_eq!(text(&world.anonymous(), "POST", run, parameters(vec![])).await.0, 401);
    assert_eq!(text(&patient, "PUT", "/fhir/R4/ViewDefinition/names", Some(definition())).await.0, 403);
    let client = world.client("system/*.rs").await;
    let mut wrong = definition();
    wrong["select"][0]["column"][0]["path"] = json!("%nothing");
    for (path, body, status) in [
        ("/fhir/R4/ViewDefinition/$run", Some(wrong), 400),
        ("/fhir/R4/ViewDefinition/$run", None, 400),
        ("/fhir/R4/ViewDefinition/$run?_format=xlsx", parameters(vec![]), 400),
        ("/fhir/R4/ViewDefinition/$run?nonsense=1", parameters(vec![]), 400),
        ("/fhir/R4/ViewDefinition/none/$run", None, 404),
        ("/fhir/R4/$viewdefinition-export", parameters(vec![]), 400),
    ] {
        let (found, _, text) = text(&client, "POST", path, body).await;
        assert_eq!(found, status, "{path}: {text}");
        assert!(text.contains("OperationOutcome"), "{path}: {text}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_kept_view_has_a_table() {
    let world = World::start().await;
    fill(&world).await;
    let client = world.client("system/Patient.cruds").await;
    let path = "/fhir/R4/ViewDefinition/names";
    let put = text(&client, "PUT", &format!("{path}?_format=csv,parquet&every=60"), Some(definition())).await;
    assert_eq!(put.0, 201, "{}", put.2);
    assert_eq!(
        text(&client, "PUT", &format!("{path}?_format=csv,parquet&every=60"), Some(definition())).await.0,
        200
    );
    let table = format!("{path}/$table?_format=csv");
    let lines = |wanted: usize| {
        let (client, table) = (client.clone(), table.clone());
        async move {
            // Made in the background.
            loop {
                let (status, kind, csv) = text(&client, "GET", &table, None).await;
                if status == 200 && csv.lines().count() == wanted {
                    assert!(kind.starts_with("text/csv"));
                    return csv;
                }
                assert!(status == 200 || status == 404, "{status} {csv}");
                tokio::task::yield_now().await;
            }
        }
    };
    lines(3).await;
    client
        .post(
            "/fhir/R4/Patient",
            json!({"resourceType": "Patient", "name": [{"use": "official", "family": "Mutua"}]}),
        )
        .await;
    assert_eq!(text(&client, "POST", &format!("{path}/$refresh"), None).await.0, 202);
    assert!(lines(4).await.contains("Mutua"));
    let (_, shown) = client.get(path).await;
    assert_eq!(
        (&shown["resourceType"], &shown["id"], &shown["resource"]),
        (&json!("ViewDefinition"), &json!("names"), &json!("Patient"))
    );
    assert_eq!(client.get("/fhir/R4/ViewDefinition").await.1["total"], 1);
    let (status, _, now) = text(&client, "GET", &format!("{path}/$run?_format=csv&header=false"), None).await;
    assert_eq!((status, now.lines().count()), (200, 3));
    assert_eq!(client.get(&format!("{path}/$table?_format=ndjson")).await.0, 404);
    assert_eq!(client.delete(path).await.0, 204);
    assert_eq!(client.get(path).await.0, 404);
    world.stop().await;
}

#[tokio::test]
async fn a_view_is_exported_in_the_background() {
    let world = World::start().await;
    fill(&world).await;
    let client = world.client("system/Patient.rs").await;
    let response = client
        .request("POST", "/fhir/R4/$viewdefinition-export?_format=csv")
        .header("prefer", "respond-async")
        .header("content-type", "application/fhir+json")
        .body(definition().to_string())
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 202);
    let job = header(&response, "content-location").strip_prefix(world.url()).unwrap().to_owned();
    let manifest = loop {
        let response = client.request("GET", &job).send().await.unwrap();
        if response.status() != 202 {
            break read(response).await.1;
        }
        tokio::task::yield_now().await;
    };
    let file = manifest["output"][0]["url"].as_str().unwrap().strip_prefix(world.url()).unwrap();
    assert!(file.ends_with("/names.1.csv"), "{manifest}");
    assert_eq!(manifest["output"][0]["count"], 2);
    let csv = String::from_utf8(client.bytes(file).await).unwrap();
    assert_eq!(csv.lines().count(), 3);
    world.stop().await;
}

/// What multiplies is refused as a whole, before a row leaves, and says what to do.
#[tokio::test]
async fn a_view_that_costs_too_much_is_refused_as_such() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    let names: Vec<Value> = (0..300).map(|n| json!({"family": format!("n{n}")})).collect();
    let (status, _) =
        client.post("/fhir/R4/Patient", json!({"resourceType": "Patient", "name": names})).await;
    assert_eq!(status, 201);
    let each = |name: &str| json!({"forEach": "name", "column": [{"name": name, "path": "family"}]});
    let view = json!({"resourceType": "ViewDefinition", "name": "crowd", "status": "active", "resource": "Patient",
        "select": [each("a"), each("b"), each("c")]});
    let (status, outcome) = client.post("/fhir/R4/ViewDefinition/$run?_format=ndjson", view.clone()).await;
    assert_eq!((status, &outcome["issue"][0]["code"]), (422, &json!("too-costly")), "{outcome}");
    // With a limit it is a few rows.
    let response = client.request("POST", "/fhir/R4/ViewDefinition/$run?_format=ndjson&_limit=3").json(&view);
    let response = response.send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap().lines().count(), 3);
    world.stop().await;
}
