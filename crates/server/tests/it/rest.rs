//! The FHIR API: interactions, headers, search, bundles, and a CapabilityStatement that tells the truth.

use crate::harness::{Signed, World, header, read};
use serde_json::{Value, json};

async fn world() -> (World, Signed) {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    (world, client)
}

#[tokio::test]
async fn decimals_come_back_as_written_in_every_form() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    let text = r#"{"resourceType":"Observation","id":"o","status":"final","code":{"text":"x"},"valueQuantity":{"value":1.0E3,"unit":"x"},
        "component":[{"code":{"text":"y"},"valueQuantity":{"value":1.50e-07}}]}"#;
    let put = client.request("PUT", "/fhir/R4/Observation/o").header("content-type", "application/fhir+json");
    assert_eq!(put.body(text).send().await.unwrap().status(), 201);
    for path in [
        "/fhir/R4/Observation/o",
        "/fhir/R4/Observation/o?_pretty=true",
        "/fhir/R4/Observation/o?_format=xml",
        "/fhir/R4/Observation/o?_format=xml&_pretty=true",
        "/fhir/R4/Observation?_format=xml",
        "/fhir/R4/Observation?_elements=valueQuantity,component",
        "/fhir/R4/Observation/o/_history?_summary=data",
        "/fhir/R4/Observation/o/_history?_format=xml",
    ] {
        let found = String::from_utf8(client.bytes(path).await).unwrap();
        assert!(found.contains("1.0E3") && found.contains("1.50e-07"), "{path}: {found}");
    }
    let batch = serde_json::json!({"resourceType": "Bundle", "type": "batch",
        "entry": [{"request": {"method": "GET", "url": "Observation/o"}}]});
    let answer = client.request("POST", "/fhir/R4?_format=xml").json(&batch).send().await.unwrap();
    let found = answer.text().await.unwrap();
    assert!(found.contains("1.0E3") && found.contains("1.50e-07"), "{found}");
    world.stop().await;
}

#[tokio::test]
async fn a_resource_lives_through_its_versions() {
    let (world, client) = world().await;
    let base = format!("{}/fhir/R4", world.url());
    // Decimals, unknown extensions and the order of keys stay as sent.
    let sent = r#"{"resourceType":"Observation","extension":[{"url":"http://example.org/x","valueDecimal":1.10}],
        "status":"final","code":{"text":"weight"},"valueQuantity":{"value":60.50,"unit":"kg"}}"#;
    let request =
        client.request("POST", "/fhir/R4/Observation").header("content-type", "application/fhir+json");
    let response = request.body(sent).send().await.unwrap();
    assert_eq!(response.status(), 201);
    let (etag, modified) =
        (header(&response, "etag").to_owned(), header(&response, "last-modified").to_owned());
    let location = header(&response, "location").to_owned();
    assert_eq!(etag, "W/\"1\"");
    assert!(modified.ends_with(" GMT"), "{modified}");
    let id =
        location.strip_prefix(&format!("{base}/Observation/")).unwrap().strip_suffix("/_history/1").unwrap();
    let path = format!("/fhir/R4/Observation/{id}");

    let response = client.request("GET", &path).send().await.unwrap();
    assert_eq!((response.status().as_u16(), header(&response, "etag")), (200, "W/\"1\""));
    assert_eq!(header(&response, "last-modified"), modified);
    assert_eq!(header(&response, "cache-control"), "no-store");
    let text = response.text().await.unwrap();
    assert!(text.contains("60.50") && text.contains("1.10"), "{text}");
    assert!(text.find("\"status\"").unwrap() < text.find("\"valueQuantity\"").unwrap());

    let known = client.request("GET", &path).header("if-none-match", "W/\"1\"").send().await.unwrap();
    assert_eq!((known.status().as_u16(), known.text().await.unwrap().len()), (304, 0));
    let stale = client.request("GET", &path).header("if-none-match", "W/\"7\"").send().await.unwrap();
    assert_eq!(stale.status(), 200);
    let pretty =
        client.request("GET", &format!("{path}?_pretty=true")).send().await.unwrap().text().await.unwrap();
    assert!(pretty.contains("\n  \"status\"") && pretty.contains("60.50"), "{pretty}");

    let (_, mut observation) = client.get(&path).await;
    observation["status"] = json!("amended");
    let update = |version: &str| {
        client.request("PUT", &path).header("if-match", version.to_owned()).json(&observation)
    };
    let response = update("W/\"1\"").send().await.unwrap();
    assert_eq!((response.status().as_u16(), header(&response, "etag")), (200, "W/\"2\""));
    let (status, outcome) = read(update("W/\"1\"").send().await.unwrap()).await;
    assert_eq!((status, &outcome["issue"][0]["code"]), (412, &json!("conflict")));
    assert_eq!(update("seven").send().await.unwrap().status(), 400);

    assert_eq!(client.get(&format!("{path}/_history/1")).await.1["status"], "final");
    assert_eq!(client.get(&format!("{path}/_history/2")).await.1["status"], "amended");
    assert_eq!(client.get(&format!("{path}/_history/3")).await.0, 404);

    assert_eq!(client.delete(&path).await.0, 204);
    assert_eq!(client.delete(&path).await.0, 204, "deleting twice is no error");
    let (status, outcome) = client.get(&path).await;
    assert_eq!((status, &outcome["issue"][0]["code"]), (410, &json!("deleted")));
    let (status, history) = client.get(&format!("{path}/_history")).await;
    assert_eq!(status, 200, "{history}");
    let methods: Vec<&str> =
        history["entry"].as_array().unwrap().iter().filter_map(|e| e["request"]["method"].as_str()).collect();
    assert_eq!(methods, ["DELETE", "PUT", "POST"]);
    let (_, first) = client.get(&format!("{path}/_history?_count=1")).await;
    let next = link(&first, "next").unwrap();
    let (_, second) = client.get(next.strip_prefix(world.url()).unwrap()).await;
    assert_eq!(second["entry"][0]["request"]["method"], "PUT", "{second}");
    world.stop().await;
}

#[tokio::test]
async fn the_client_says_what_it_wants_back() {
    let (world, client) = world().await;
    let patient = json!({"resourceType": "Patient", "name": [{"family": "Mwangi"}]});
    for (prefer, expected) in [
        ("return=minimal", ""),
        ("return=OperationOutcome", "OperationOutcome"),
        ("return=representation", "Patient"),
    ] {
        let response = client
            .request("POST", "/fhir/R4/Patient")
            .header("prefer", prefer)
            .json(&patient)
            .send()
            .await
            .unwrap();
        assert!(!header(&response, "location").is_empty());
        let (status, body) = read(response).await;
        assert_eq!((status, body["resourceType"].as_str().unwrap_or_default()), (201, expected), "{prefer}");
    }
    // The client's own id by PUT; an id in a POST is ignored.
    let own = json!({"resourceType": "Patient", "id": "own-1"});
    let response = client.request("PUT", "/fhir/R4/Patient/own-1").json(&own).send().await.unwrap();
    assert_eq!((response.status().as_u16(), header(&response, "etag")), (201, "W/\"1\""));
    assert_eq!(client.put("/fhir/R4/Patient/own-1", own.clone()).await.0, 200);
    let (status, made) = client.post("/fhir/R4/Patient", own).await;
    assert_eq!(status, 201);
    assert_ne!(made["id"], "own-1");
    let repeated = |key: &'static str| {
        client.request("POST", "/fhir/R4/Patient").header("idempotency-key", key).json(&patient).send()
    };
    let (first, second) = (repeated("abc").await.unwrap(), repeated("abc").await.unwrap());
    assert_eq!(header(&first, "location"), header(&second, "location"));
    world.stop().await;
}

fn link(bundle: &Value, relation: &str) -> Option<String> {
    let links = bundle["link"].as_array()?;
    links.iter().find(|l| l["relation"] == relation).and_then(|l| l["url"].as_str()).map(str::to_owned)
}

fn ids(bundle: &Value) -> Vec<String> {
    let entries = bundle["entry"].as_array().cloned().unwrap_or_default();
    let matches = entries.iter().filter(|e| e["search"]["mode"] == "match");
    matches.map(|e| e["resource"]["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn searches_page_and_count() {
    let (world, client) = world().await;
    for n in 0..7 {
        let patient = json!({"resourceType": "Patient", "id": format!("p{n}"), "name": [{"family": "Kamau & Söhne"}],
            "birthDate": format!("199{n}-01-01")});
        assert_eq!(client.put(&format!("/fhir/R4/Patient/p{n}"), patient).await.0, 201);
    }
    let (status, page) =
        client.get("/fhir/R4/Patient?family=kamau%20%26%20s&_sort=-birthdate&_count=3").await;
    assert_eq!(status, 200, "{page}");
    assert_eq!(ids(&page), ["p6", "p5", "p4"]);
    assert_eq!(page["entry"][0]["fullUrl"], format!("{}/fhir/R4/Patient/p6", world.url()));
    assert!(page.get("total").is_none());
    let next = link(&page, "next").unwrap();
    let (_, second) = client.get(next.strip_prefix(world.url()).unwrap()).await;
    assert_eq!(ids(&second), ["p3", "p2", "p1"]);
    let (_, third) = client.get(link(&second, "next").unwrap().strip_prefix(world.url()).unwrap()).await;
    assert_eq!((ids(&third), link(&third, "next")), (vec!["p0".to_owned()], None));

    let form = [("birthdate", "ge1995"), ("_total", "accurate")];
    let posted = client.request("POST", "/fhir/R4/Patient/_search").form(&form).send().await.unwrap();
    let (status, found) = read(posted).await;
    assert_eq!((status, &found["total"]), (200, &json!(2)), "{found}");
    let (_, counted) = client.get("/fhir/R4/Patient?birthdate=ge1995&_summary=count").await;
    assert_eq!((&counted["total"], counted.get("entry")), (&json!(2), None), "{counted}");

    let lenient =
        client.request("GET", "/fhir/R4/Patient?shoe=40&birthdate=1996").header("prefer", "handling=lenient");
    let (status, found) = read(lenient.send().await.unwrap()).await;
    assert_eq!((status, ids(&found)), (200, vec!["p6".to_owned()]));
    let entries = found["entry"].as_array().unwrap();
    assert_eq!(entries.last().unwrap()["search"]["mode"], "outcome", "{found}");
    world.stop().await;
}

#[tokio::test]
async fn bundles_are_one_or_many() {
    let (world, client) = world().await;
    let transaction = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"fullUrl": "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a", "request": {"method": "POST", "url": "Patient"},
            "resource": {"resourceType": "Patient", "name": [{"family": "Njoroge"}]}},
        {"request": {"method": "POST", "url": "Observation"}, "resource": {"resourceType": "Observation",
            "status": "final", "code": {"text": "pulse"},
            "subject": {"reference": "urn:uuid:61ebe359-bfdc-4613-8bf2-c5e300945f0a"}}}]});
    let (status, answer) = client.post("/fhir/R4", transaction.clone()).await;
    assert_eq!((status, &answer["type"]), (200, &json!("transaction-response")), "{answer}");
    let location = answer["entry"][0]["response"]["location"].as_str().unwrap();
    let patient = location.split("Patient/").nth(1).unwrap().split('/').next().unwrap();
    let (_, found) = client.get(&format!("/fhir/R4/Observation?patient={patient}")).await;
    assert_eq!(ids(&found).len(), 1, "{found}");

    let mut broken = transaction;
    broken["entry"][1]["resource"]["status"] = json!("finished");
    let (status, outcome) = client.post("/fhir/R4/", broken.clone()).await;
    assert_eq!(status, 422, "{outcome}");
    assert!(outcome["issue"][0]["expression"][0].as_str().unwrap().contains("entry[1]"), "{outcome}");
    assert_eq!(client.get("/fhir/R4/Patient?_summary=count").await.1["total"], 1, "all or nothing");

    broken["type"] = json!("batch");
    broken["entry"][0].as_object_mut().unwrap().remove("fullUrl");
    broken["entry"][1]["resource"]["subject"] = json!({"reference": format!("Patient/{patient}")});
    let (status, answer) = client.post("/fhir/R4", broken).await;
    assert_eq!((status, &answer["type"]), (200, &json!("batch-response")), "{answer}");
    let statuses: Vec<&str> = answer["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["response"]["status"].as_str().unwrap()[..3])
        .collect();
    assert_eq!(statuses, ["201", "422"]);
    world.stop().await;
}

#[tokio::test]
async fn smart_clients_find_the_token_endpoint() {
    let (world, _) = world().await;
    let (status, smart) = world.anonymous().get("/fhir/R4/.well-known/smart-configuration").await;
    assert_eq!((status, &smart["token_endpoint"]), (200, &json!(format!("{}/oauth/token", world.url()))));
    world.stop().await;
}

#[tokio::test]
async fn audit_events_are_found() {
    let (world, client) = world().await;
    let patient = world.patient("Amina").await;
    client.get(&format!("/fhir/R4/Patient/{}", patient.id())).await;
    let officer = world.staff("officer", access::Role::PrivacyOfficer).await;
    let (status, found) = officer.get(&format!("/fhir/R4/AuditEvent?patient=Patient/{}", patient.id())).await;
    assert_eq!(status, 200, "{found}");
    assert!(found["entry"].as_array().is_some_and(|e| !e.is_empty()), "{found}");
    assert_eq!(found["entry"][0]["resource"]["resourceType"], "AuditEvent");
    let (status, seen) = patient.get(&format!("/api/v1/patients/{}/who-saw", patient.id())).await;
    assert_eq!(status, 200, "{seen}");
    assert!(!seen["items"].as_array().unwrap().is_empty());
    let other = world.patient("Zawadi").await;
    assert!(matches!(other.get(&format!("/api/v1/patients/{}/who-saw", patient.id())).await.0, 403 | 404));
    world.stop().await;
}
