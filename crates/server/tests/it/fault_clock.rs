//! A clock that jumps: order comes from sequences, so nothing is lost or turned round; sessions never come back.

use crate::harness::{PASSWORD, resource, set};
use access::{Ctx, Role};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use record::Change;
use record::authn::AccountSpec;
use serde_json::{Value, json};
use std::sync::Arc;

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_jumps_turns_nothing_round() {
    let now = Arc::new(Mutex::new("2026-11-20T08:00:00Z".parse::<Timestamp>().unwrap()));
    let clock = now.clone();
    let folder = tempfile::tempdir().unwrap();
    let config = server::Config::local(folder.path().join("data"));
    let running = server::start_with_clock(config, Arc::new(move || *clock.lock())).await.unwrap();
    let record = &running.app.record;
    let ctx = || Ctx::system("test", record.now());
    let spec = AccountSpec {
        display: "Clock".into(),
        login: Some("clock".into()),
        phone: None,
        email: None,
        password: Some(PASSWORD.into()),
        roles: vec![Role::Administrator],
        patient: None,
        practitioner: None,
        language: "en".into(),
    };
    record.create_account(&ctx(), spec).await.unwrap();
    let made = record
        .write(
            &ctx(),
            set(vec![Change::Create {
                resource: resource(json!({"resourceType": "Patient", "gender": "female"})),
            }]),
        )
        .await
        .unwrap();
    let id = made.written[0].key.id.clone();
    let http = reqwest::Client::new();
    let (key, secret) = record.create_client(&ctx(), "clock", &["system/*.cruds".to_owned()]).await.unwrap();
    let hour = SignedDuration::from_hours(1);
    // Back an hour, on a year, back two years, and stuck.
    for (version, jump) in [(2, -hour), (3, 8760 * hour), (4, -(17_520 * hour)), (5, SignedDuration::ZERO)] {
        let jumped = *now.lock() + jump;
        *now.lock() = jumped;
        let token = record.token(&key, &secret, None, None).await.unwrap().token;
        let body =
            json!({"resourceType": "Patient", "id": id, "gender": "female", "multipleBirthInteger": version});
        let url = format!("{}/fhir/R4/Patient/{id}", running.url);
        let put = http.put(&url).bearer_auth(&token).json(&body).send().await.unwrap();
        assert_eq!(put.status(), 200, "version {version}");
        assert_eq!(put.headers()["etag"], format!("W/\"{version}\""));
        let history = http.get(format!("{url}/_history")).bearer_auth(&token).send().await.unwrap();
        let history: Value = history.json().await.unwrap();
        let versions: Vec<&str> = history["entry"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["resource"]["meta"]["versionId"].as_str().unwrap())
            .collect();
        let expected: Vec<String> = (1..=version).rev().map(|n| n.to_string()).collect();
        assert_eq!(versions, expected, "newest first, whatever the clock said");
    }
    // A session that was over by the clock stays over when the clock goes back.
    let session = record.login("clock", PASSWORD, None).await.unwrap().token;
    let me = |token: String| {
        let request = http.get(format!("{}/api/v1/me", running.url)).bearer_auth(token);
        async move { request.send().await.unwrap().status().as_u16() }
    };
    assert_eq!(me(session.clone()).await, 200);
    let then = *now.lock();
    *now.lock() = then + 8760 * hour;
    assert_eq!(me(session.clone()).await, 401);
    let again = record.login("clock", PASSWORD, None).await.unwrap().token;
    assert_eq!(me(again).await, 200);
    running.shutdown().await.unwrap();
}
