//! The audit trail in second places: heads by mail, and every event to a repository that speaks FHIR.

use crate::command::{text, uzima};
use crate::harness::World;
use access::Role;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use record::audit::AuditHead;
use sandbox::smtp::{MailFault, Smtp};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

const WAIT: Duration = Duration::from_secs(60);

/// What arrives by mail is what `uzima verify --head` takes, and it finds what was cut off since.
#[tokio::test(flavor = "multi_thread")]
async fn heads_by_mail_prove_what_the_trail_was() {
    let smtp = Smtp::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("smtp://{}", smtp.address);
    let mut world = World::start_with(|config| {
        config.mail.url = Some(server::config::Secret::new(url));
        config.mail.from = "Uzima <clinic@example.org>".into();
        config.audit.anchor_mail = Some("auditor@example.org".into());
    })
    .await;
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    smtp.fault(MailFault::Refuse("451 4.3.0 Try again later".into()));
    // Whether the worker or the request meets it: it is told, and the next try arrives.
    let mut tree = Value::Null;
    for _ in 0..3 {
        let (status, answer) = officer.post("/api/v1/admin/audit/seal", json!({})).await;
        assert_eq!(status, 200, "{answer}");
        tree = answer;
    }
    let mails = tokio::time::timeout(WAIT, smtp.wait_for(1)).await.unwrap();
    let mail = mails.last().unwrap();
    assert_eq!(mail.to, ["auditor@example.org"]);
    let heads = AuditHead::find(&mail.text.replace("=\r\n", "").replace("=3D", "="));
    assert_eq!(heads.len(), 1, "{}", mail.text);
    assert!(tree["anchors"].as_array().unwrap().iter().any(|place| place["place"] == "mail"), "{tree}");
    let folder = world.folder.path().to_owned();
    world.take_running().shutdown().await.unwrap();
    std::fs::write(folder.join("head.txt"), heads[0].text()).unwrap();
    let checked = tokio::task::spawn_blocking({
        let folder = folder.clone();
        move || uzima(&folder, &["verify", "--head", "head.txt"])
    });
    let checked = checked.await.unwrap();
    assert!(
        checked.status.success() && text(&checked).contains("1 heads kept elsewhere"),
        "{}",
        text(&checked)
    );
}

/// A repository that takes bundles, and refuses some.
#[derive(Default)]
struct Repository {
    events: parking_lot::Mutex<Vec<Value>>,
    tokens: parking_lot::Mutex<BTreeSet<String>>,
    refuse: std::sync::atomic::AtomicU32,
}

async fn take(State(repository): State<Arc<Repository>>, headers: HeaderMap, body: String) -> StatusCode {
    use std::sync::atomic::Ordering;
    let left = repository.refuse.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if left.is_ok() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    assert!(header("content-type").starts_with("application/fhir+json"));
    repository.tokens.lock().insert(header("authorization"));
    let bundle: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&bundle["resourceType"], &bundle["type"]), (&json!("Bundle"), &json!("batch")));
    for entry in bundle["entry"].as_array().unwrap() {
        assert_eq!(entry["request"], json!({"method": "POST", "url": "AuditEvent"}));
        repository.events.lock().push(entry["resource"].clone());
    }
    StatusCode::OK
}

async fn listen(repository: &Arc<Repository>) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/fhir", listener.local_addr().unwrap());
    let router = Router::new().route("/fhir", post(take)).with_state(repository.clone());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

async fn until(repository: &Repository, about: &str, is_good: impl Fn(&[Value]) -> bool) {
    let end = tokio::time::Instant::now() + WAIT;
    while !is_good(&repository.events.lock()) {
        assert!(tokio::time::Instant::now() < end, "{about}: {}", repository.events.lock().len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Every row once and in order, across a refusal and a restart of the server.
#[tokio::test(flavor = "multi_thread")]
async fn every_event_is_fed_to_the_repository() {
    let repository: Arc<Repository> = Arc::default();
    let url = listen(&repository).await;
    let settings = move |config: &mut server::Config| {
        config.audit.feed_url = Some(url.clone());
        config.audit.feed_token = Some(server::config::Secret::new("feed-token"));
        config.audit.feed_from_start = true;
    };
    let mut world = World::start_with(settings.clone()).await;
    let patient = world.patient("Amina").await;
    let path = format!("/fhir/R4/Patient/{}", patient.id());
    assert_eq!(patient.get(&path).await.0, 200);
    let reference = format!("Patient/{}", patient.id());
    let is_read = |event: &Value| event["action"] == "R" && event.to_string().contains(&reference);
    until(&repository, "the read", |events| events.iter().any(is_read)).await;
    assert_eq!(repository.tokens.lock().iter().collect::<Vec<_>>(), ["Bearer feed-token"]);

    // A restart while the repository is away; it goes on behind what arrived.
    repository.refuse.store(1_000_000, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(patient.get(&path).await.0, 200);
    let data = world.folder.path().join("data");
    world.take_running().shutdown().await.unwrap();
    repository.refuse.store(0, std::sync::atomic::Ordering::SeqCst);
    let reads = repository.events.lock().iter().filter(|event| is_read(event)).count();
    let mut config = server::Config::local(data);
    settings(&mut config);
    let running = server::start(config).await.unwrap();
    until(&repository, "the read while it was away", |events| {
        events.iter().filter(|event| is_read(event)).count() > reads
    })
    .await;
    running.shutdown().await.unwrap();
    let ids: Vec<String> =
        repository.events.lock().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
    let numbers: Vec<u64> = ids.iter().map(|id| id.split('-').nth(1).unwrap().parse().unwrap()).collect();
    assert!(numbers.is_sorted(), "{ids:?}");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "an event came twice: {ids:?}");
}
