//! Data about oneself, over real sockets: the copy that goes once, the recipients that are refused, the country that a
//! restored database remembers.

use crate::harness::{PASSWORD, Signed, World, read};
use access::Role;
use serde_json::{Value, json};
use server::Config;

/// An observation of this person.
async fn pulse(world: &World, of: &Signed) -> String {
    let subject = of.person.as_ref().unwrap().to_string();
    let key = world
        .put(json!({"resourceType": "Observation", "status": "final", "code": {"text": "Pulse"},
            "subject": {"reference": subject}, "effectiveDateTime": "2026-01-02",
            "valueQuantity": {"value": 70, "unit": "/min"}}))
        .await;
    key.to_string()
}

fn id(of: &Signed) -> &str {
    &of.person.as_ref().unwrap().id
}

/// Actions and outcomes about this target, newest first.
async fn trail(world: &World, action: &str) -> Vec<(String, String)> {
    let filter = record::audit::AuditFilter { action: Some(action.to_owned()), ..Default::default() };
    let page = world.app().record.audit_list(&world.ctx(), filter, None, 100).await.unwrap();
    page.rows.into_iter().map(|row| (row.outcome, row.what)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_fetched_once_and_by_its_owner() {
    let world = World::start().await;
    let (amina, other) = (world.patient("Amina").await, world.patient("Zuri").await);
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    pulse(&world, &amina).await;
    let copies = format!("/api/v1/privacy/patients/{}/copies", id(&amina));
    for (who, status) in [(&other, 404), (&officer, 403)] {
        assert_eq!(who.post(&copies, json!({})).await.0, status);
        assert_eq!(who.get(&copies).await.0, status);
    }
    let (status, made) = amina.post(&copies, json!({})).await;
    assert_eq!(status, 202, "{made}");
    let ready = loop {
        let (status, list) = amina.get(&copies).await;
        // On a slow machine she asks more often than a person may.
        if status == 429 {
            continue;
        }
        assert_eq!(status, 200, "{list}");
        match list["items"][0]["state"].as_str() {
            Some("making") => tokio::task::yield_now().await,
            Some("ready") => break list["items"][0].clone(),
            other => panic!("{other:?}"),
        }
    };
    let file = format!("/api/v1/privacy/copies/{}/file", ready["id"].as_str().unwrap());
    assert_eq!(other.get(&file).await.0, 404);
    let response = loop {
        let response = amina.request("GET", &file).send().await.unwrap();
        // As above.
        if response.status() != 429 {
            break response;
        }
    };
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/zip");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let bytes = response.bytes().await.unwrap();
    assert_eq!(bytes.len() as u64, ready["bytes"].as_u64().unwrap());
    assert!(bytes.starts_with(b"PK"));
    // It was fetched whole: it is gone.
    let gone = loop {
        match amina.get(&file).await.0 {
            429 => continue,
            status => break status,
        }
    };
    assert_eq!(gone, 404);
    let downloads = trail(&world, "copy.download").await;
    assert_eq!(downloads.len(), 1, "{downloads:?}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_goes_to_registered_clients_only() {
    let world = World::start().await;
    let spec = record::oauth::ClientSpec {
        name: "Abroad".into(),
        scopes: vec!["system/*.cruds".into()],
        ..Default::default()
    };
    let (row, secret) = world.app().record.register_client(&world.ctx(), spec).await.unwrap();
    let form = [("grant_type", "client_credentials"), ("scope", "system/*.cruds")];
    let token: Value = world
        .client
        .post(format!("{}/oauth/token", world.url()))
        .basic_auth(&row.client_id, secret)
        .form(&form)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let ask = || {
        let request = world.client.get(format!("{}/fhir/R4/$export", world.url()));
        request
            .bearer_auth(token["access_token"].as_str().unwrap())
            .header("prefer", "respond-async")
            .header("accept", "application/fhir+json")
    };
    let (status, body) = read(ask().send().await.unwrap()).await;
    assert_eq!(status, 422, "{body}");
    assert!(body.to_string().contains("register of recipients"), "{body}");
    let refused = trail(&world, "bulk.export").await;
    assert_eq!(refused, [("denied".to_owned(), format!("client/{}", row.client_id))]);

    // A subscription to somewhere unknown is refused as well, and audited.
    let subscription = json!({"resourceType": "Subscription", "status": "requested", "reason": "test",
        "criteria": "Observation?status=final",
        "channel": {"type": "rest-hook", "endpoint": "https://board.example.org/x"}});
    let client = world.client("system/*.cruds").await;
    let (status, body) = client.post("/fhir/R4/Subscription", subscription.clone()).await;
    assert_eq!(status, 422, "{body}");
    let refused = trail(&world, "subscription.create").await;
    assert_eq!(refused, [("denied".to_owned(), "endpoint/board.example.org".to_owned())]);

    // The officer enters both.
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    for (kind, name) in [("client", row.client_id.as_str()), ("endpoint", "board.example.org")] {
        let entry = json!({"kind": kind, "name": name, "title": "Ministry", "country": "KE"});
        let (status, body) = officer.post("/api/v1/privacy/recipients", entry).await;
        assert_eq!(status, 201, "{body}");
    }
    assert_eq!(ask().send().await.unwrap().status(), 202);
    let (status, body) = client.post("/fhir/R4/Subscription", subscription).await;
    assert_eq!(status, 201, "{body}");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_remembers_its_country() {
    let world = World::start_with(|config| config.residency.region = Some("ke".into())).await;
    let (one, other) =
        (world.staff("one", Role::PrivacyOfficer).await, world.staff("two", Role::Administrator).await);
    let (status, state) = one.get("/api/v1/privacy/region").await;
    assert_eq!((status, &state["region"], &state["database"]), (200, &json!("KE"), &json!("KE")));
    let data = world.folder.path().join("data");
    let mut world = world;
    world.take_running().shutdown().await.unwrap();

    let start = async |region: Option<&str>| {
        let mut config = Config::local(&data);
        config.residency.region = region.map(str::to_owned);
        server::start(config).await
    };
    for elsewhere in [None, Some("ZA")] {
        let refused = format!("{:#}", start(elsewhere).await.err().unwrap());
        assert!(refused.contains("pinned to KE") && refused.contains("0 of 2"), "{refused}");
    }
    let running = start(Some("KE")).await.unwrap();
    for (login, agreed) in [("one", 1), ("one", 1), ("two", 2)] {
        let record = &running.app.record;
        let made = record.agree_region_as(login, PASSWORD, "ZA", "The data centre moves").await.unwrap();
        assert_eq!(made.len(), agreed);
    }
    assert!(
        running.app.record.agree_region_as("two", "a guess", "ZA", "The data centre moves").await.is_err()
    );
    running.shutdown().await.unwrap();
    let moved = start(Some("ZA")).await.unwrap();
    assert_eq!(moved.app.record.region(), Some("ZA"));
    moved.shutdown().await.unwrap();
    drop((one, other));
}
