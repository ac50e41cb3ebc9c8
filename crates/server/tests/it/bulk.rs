//! `$export` and `$import` over real sockets.

use crate::harness::{Signed, World, header, read};
use access::Role;
use reqwest::Response;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

async fn begin(who: &Signed, method: &str, path: &str, body: Option<Value>) -> Response {
    let request = who.request(method, path).header("prefer", "respond-async");
    let request = match body {
        Some(body) => request.header("content-type", "application/fhir+json").body(body.to_string()),
        None => request,
    };
    request.send().await.unwrap()
}

/// The path of the job's status.
fn place(world: &World, response: &Response) -> String {
    assert_eq!(response.status(), 202, "{response:?}");
    header(response, "content-location").strip_prefix(world.url()).unwrap().to_owned()
}

/// Asks until the job has ended.
async fn ended(who: &Signed, path: &str) -> (u16, Value) {
    loop {
        let response = who.request("GET", path).send().await.unwrap();
        if response.status() != 202 {
            return read(response).await;
        }
        assert!(!header(&response, "x-progress").is_empty() && !header(&response, "retry-after").is_empty());
        tokio::task::yield_now().await;
    }
}

/// Ids by type of everything the manifest lists, fetched with the same token.
async fn fetched(world: &World, who: &Signed, manifest: &Value) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in manifest["output"].as_array().unwrap() {
        let path = file["url"].as_str().unwrap().strip_prefix(world.url()).unwrap();
        let response = who.request("GET", path).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "content-type"), "application/fhir+ndjson");
        let text = response.text().await.unwrap();
        assert_eq!(text.lines().count() as u64, file["count"].as_u64().unwrap());
        for line in text.lines() {
            let value: Value = serde_json::from_str(line).unwrap();
            assert_eq!(value["resourceType"], file["type"]);
            found
                .entry(file["type"].as_str().unwrap().to_owned())
                .or_default()
                .push(value["id"].as_str().unwrap().to_owned());
        }
    }
    found
}

async fn export(world: &World, who: &Signed, path: &str) -> Value {
    let job = place(world, &begin(who, "GET", path, None).await);
    let (status, manifest) = ended(who, &job).await;
    assert_eq!(status, 200, "{manifest}");
    manifest
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

async fn fill(world: &World) -> (String, String) {
    let mut ids = Vec::new();
    for family in ["Wanjiru", "Otieno"] {
        let key = world.put(json!({"resourceType": "Patient", "name": [{"family": family}]})).await;
        world
            .put(json!({"resourceType": "Observation", "status": "final", "code": {"text": "weight"},
                "subject": {"reference": key.to_string()}}))
            .await;
        ids.push(key.id);
    }
    (ids[0].clone(), ids[1].clone())
}

#[tokio::test]
async fn an_export_runs_is_fetched_and_taken_away() {
    let world = World::start().await;
    let (amina, baraka) = fill(&world).await;
    let client = world.client("system/*.rs").await;
    let manifest = export(&world, &client, "/fhir/R4/$export").await;
    assert_eq!(manifest["requiresAccessToken"], true);
    assert_eq!(manifest["request"], format!("{}/fhir/R4/$export", world.url()));
    assert!(manifest["transactionTime"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
    let mut found = fetched(&world, &client, &manifest).await;
    // The files go within an hour.
    let job = manifest["output"][0]["url"].as_str().unwrap().rsplit_once('/').unwrap().0.to_owned();
    let status = client.request("GET", job.strip_prefix(world.url()).unwrap()).send().await.unwrap();
    let expires = jiff::fmt::rfc2822::parse(header(&status, "expires")).unwrap().timestamp();
    assert!(expires <= jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1));
    found.values_mut().for_each(|ids| ids.sort());
    let mut both = vec![amina.clone(), baraka];
    both.sort();
    assert_eq!(found["Patient"], both);
    assert_eq!(found["Observation"].len(), 2);

    // Nobody else gets at it, not even with more rights.
    let file = manifest["output"][0]["url"].as_str().unwrap().strip_prefix(world.url()).unwrap().to_owned();
    let job = file.rsplit_once('/').unwrap().0.to_owned();
    let stranger = world.client("system/*.cruds").await;
    for path in [&file, &job] {
        assert_eq!(stranger.get(path).await.0, 404, "{path}");
        assert_eq!(world.anonymous().get(path).await.0, 401, "{path}");
    }
    assert_eq!(client.get(&format!("{job}/Patient.99.ndjson")).await.0, 404);
    assert_eq!(client.get("/fhir/R4/$bulk/nonsense").await.0, 404);

    // On the disk it says nothing.
    let mut sealed = Vec::new();
    files(&world.folder.path().join("data/bulk"), &mut sealed);
    assert!(!sealed.is_empty());
    for path in &sealed {
        assert!(!std::fs::read(path).unwrap().windows(7).any(|w| w == b"Wanjiru"), "{path:?}");
    }

    assert_eq!(client.delete(&job).await.0, 202);
    assert_eq!(client.get(&job).await.0, 404);
    assert_eq!(client.get(&file).await.0, 404);

    // Patients can see that their data left.
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let (_, seen) = officer.get(&format!("/api/v1/patients/{amina}/who-saw")).await;
    assert!(seen.to_string().contains("bulk.export"), "{seen}");
    world.stop().await;
}

#[tokio::test]
async fn rights_and_parameters_of_an_export() {
    let world = World::start().await;
    let (amina, _) = fill(&world).await;
    let patients = world.client("system/Patient.rs").await;
    let manifest = export(&world, &patients, "/fhir/R4/$export").await;
    assert_eq!(fetched(&world, &patients, &manifest).await.keys().collect::<Vec<_>>(), ["Patient"]);
    let manifest = export(&world, &patients, "/fhir/R4/$export?_type=Patient,Observation").await;
    assert_eq!(fetched(&world, &patients, &manifest).await.keys().collect::<Vec<_>>(), ["Patient"]);
    assert_eq!(manifest["error"][0]["type"], "OperationOutcome");
    assert_eq!(begin(&patients, "GET", "/fhir/R4/$export?_type=Observation", None).await.status(), 403);
    // No clinical right at all; nobody.
    let it = world.staff("it", Role::It).await;
    assert_eq!(begin(&it, "GET", "/fhir/R4/$export?_type=Observation", None).await.status(), 403);
    assert_eq!(begin(&world.anonymous(), "GET", "/fhir/R4/$export", None).await.status(), 401);

    let client = world.client("system/*.rs").await;
    for (path, status) in [
        ("/fhir/R4/$export?_type=Patients", 400),
        ("/fhir/R4/$export?_since=yesterday", 400),
        ("/fhir/R4/$export?_outputFormat=text/csv", 400),
        ("/fhir/R4/$export?_typeFilter=Patient?nonsense=1", 400),
        ("/fhir/R4/$export?_type=Patient&_typeFilter=Observation?status=final", 400),
        ("/fhir/R4/$export?includeAssociatedData=LatestProvenanceResources", 400),
        ("/fhir/R4/$export?nonsense=1", 400),
        ("/fhir/R4/Group/none/$export", 404),
        ("/fhir/R4/Observation/$export", 404),
    ] {
        let response = begin(&client, "GET", path, None).await;
        assert_eq!(response.status(), status, "{path}");
        assert_eq!(read(response).await.1["resourceType"], "OperationOutcome", "{path}");
    }
    let eager = client.request("GET", "/fhir/R4/$export").send().await.unwrap();
    assert_eq!(eager.status(), 400, "without Prefer: respond-async");

    let body = json!({"resourceType": "Parameters", "parameter": [
        {"name": "_type", "valueString": "Observation"},
        {"name": "patient", "valueReference": {"reference": format!("Patient/{amina}")}}]});
    let job = place(&world, &begin(&client, "POST", "/fhir/R4/Patient/$export", Some(body)).await);
    let manifest = ended(&client, &job).await.1;
    let found = fetched(&world, &client, &manifest).await;
    assert_eq!(found.keys().collect::<Vec<_>>(), ["Observation"]);
    assert_eq!(found["Observation"].len(), 1);
    let filtered = export(
        &world,
        &client,
        "/fhir/R4/Patient/$export?_typeFilter=Patient%3Ffamily%3DWanjiru&_type=Patient",
    )
    .await;
    assert_eq!(fetched(&world, &client, &filtered).await["Patient"], [amina]);
    world.stop().await;
}

#[tokio::test]
async fn an_export_survives_a_restart() {
    let mut world = World::start_with(|config| config.worker.enabled = false).await;
    fill(&world).await;
    let client = world.client("system/*.rs").await;
    let job = place(&world, &begin(&client, "GET", "/fhir/R4/$export", None).await);
    // One piece is done, then the server goes away.
    let kind = store::bulk::job::Kind::Export;
    assert_eq!(world.app().parts.insight.work(kind, &|| false).await.unwrap(), 1);
    assert_eq!(client.get(&job).await.0, 202);
    let running = world.take_running();
    let mut config = running.app.config.clone();
    running.shutdown().await.unwrap();
    config.worker.enabled = true;
    let running = server::start(config).await.unwrap();
    let client = client.at(&running.url);
    let (status, manifest) = ended(&client, &job).await;
    assert_eq!(status, 200, "{manifest}");
    assert_eq!(manifest["output"].as_array().unwrap().len(), 2);
    running.shutdown().await.unwrap();
}

#[tokio::test]
async fn an_import_takes_lines_and_tells_what_it_refused() {
    let world = World::start().await;
    let client = world.client("system/*.cruds").await;
    let lines = [
        json!({"resourceType": "Patient", "id": "amina", "name": [{"family": "Wanjiru"}]}).to_string(),
        json!({"resourceType": "Patient", "id": "baraka", "birthDate": "never"}).to_string(),
        "nonsense".to_owned(),
    ];
    let send = |who: &Signed, path: &str, kind: &str, body: String| {
        who.request("POST", path)
            .header("prefer", "respond-async")
            .header("content-type", kind)
            .body(body)
            .send()
    };
    let ndjson = "application/fhir+ndjson";
    let response = send(&client, "/fhir/R4/$import?_type=Patient", ndjson, lines.join("\n")).await.unwrap();
    let job = place(&world, &response);
    let (status, manifest) = ended(&client, &job).await;
    assert_eq!(status, 200, "{manifest}");
    assert_eq!(manifest["extension"], json!({"lines": 3, "taken": 1, "unchanged": 0, "refused": 2}));
    let errors = manifest["error"][0]["url"].as_str().unwrap().strip_prefix(world.url()).unwrap();
    let text = String::from_utf8(client.bytes(errors).await).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(text.contains("line 2, Patient/baraka") && text.contains("line 3"), "{text}");
    assert_eq!(client.get("/fhir/R4/Patient/amina").await.0, 200);

    // More than any JSON body may have, in one go.
    let many: String = (0..20_000)
        .map(|n| {
            let text = "x".repeat(100);
            format!("{}\n", json!({"resourceType": "Basic", "id": format!("b{n}"), "code": {"text": text}}))
        })
        .collect();
    assert!(many.len() > world.app().config.limits.json_bytes);
    let job = place(&world, &send(&client, "/fhir/R4/$import", ndjson, many).await.unwrap());
    assert_eq!(ended(&client, &job).await.1["extension"]["taken"], 20_000);

    for (who, kind, body, status) in [
        (&client, "text/plain", String::new(), 415),
        (&client, "application/fhir+json", "{}".to_owned(), 400),
        (
            &client,
            "application/fhir+json",
            json!({"resourceType": "Parameters", "parameter": [{"name": "input", "part": [
            {"name": "url", "valueUri": "http://127.0.0.1:1/x"}]}]})
            .to_string(),
            400,
        ),
        (&world.anonymous(), ndjson, lines[0].clone(), 401),
        (&world.patient("Amina").await, ndjson, lines[0].clone(), 403),
    ] {
        let response = send(who, "/fhir/R4/$import", kind, body.clone()).await.unwrap();
        assert_eq!(response.status(), status, "{kind} {body}");
    }
    assert_eq!(client.get("/fhir/R4/$import").await.0, 405);
    world.stop().await;
}
