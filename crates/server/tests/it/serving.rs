//! The server as a server: health, headers, files, TLS, stopping.

use crate::harness::{World, header};
use access::Role;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[tokio::test]
async fn it_says_how_it_is() {
    let world = World::start().await;
    let get = |path: &str| world.client.get(format!("{}{path}", world.url())).send();
    assert_eq!(get("/healthz").await.unwrap().status(), 200);
    assert_eq!(get("/readyz").await.unwrap().status(), 200);
    let id = "00000000-0000-0000-0000-000000000001";
    get(&format!("/fhir/R4/Patient/{id}?_pretty=true")).await.unwrap();
    let text = get("/metrics").await.unwrap().text().await.unwrap();
    let line = "uzima_request_duration_seconds_count{method=\"GET\",route=\"/fhir/R4/{type}/{id}\",status=\"401\"} 1";
    assert!(text.contains(line), "{text}");
    assert!(!text.contains(id), "no ids in metrics");
    assert!(text.contains("process_resident_memory_bytes"));
    world.stop().await;
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let world = World::start().await;
    for path in ["/", "/api/v1/me", "/fhir/R4/metadata", "/nothing.js", "/healthz"] {
        let response = world.client.get(format!("{}{path}", world.url())).send().await.unwrap();
        assert_eq!(header(&response, "x-content-type-options"), "nosniff", "{path}");
        assert_eq!(header(&response, "referrer-policy"), "no-referrer", "{path}");
        assert!(header(&response, "content-security-policy").contains("frame-ancestors 'none'"), "{path}");
        assert!(!header(&response, "content-security-policy").contains("unsafe-inline"), "{path}");
        assert!(header(&response, "permissions-policy").contains("camera=(self)"), "{path}");
        assert_eq!(header(&response, "cross-origin-opener-policy"), "same-origin", "{path}");
        assert!(header(&response, "x-request-id").len() >= 8, "{path}");
    }
    let own = world.client.get(format!("{}/healthz", world.url())).header("x-request-id", "abcdefgh-1");
    assert_eq!(header(&own.send().await.unwrap(), "x-request-id"), "abcdefgh-1");
    let foul = world.client.get(format!("{}/healthz", world.url())).header("x-request-id", "a b<script>");
    assert_ne!(header(&foul.send().await.unwrap(), "x-request-id"), "a b<script>");
    world.stop().await;
}

/// O5, RFC 9116.
#[tokio::test]
async fn whom_to_tell_of_a_hole_is_said_where_the_clinic_names_somebody() {
    let silent = World::start().await;
    let named = World::start_with(|config| {
        config.http.security_contacts = vec!["mailto:security@clinic.example".into()];
    })
    .await;
    for path in ["/.well-known/security.txt", "/security.txt"] {
        let get = |world: &World| world.client.get(format!("{}{path}", world.url())).send();
        assert_eq!(
            get(&silent).await.unwrap().status(),
            404,
            "an address that nobody reads is worse than none"
        );
        let answer = get(&named).await.unwrap();
        assert_eq!(header(&answer, "content-type"), "text/plain; charset=utf-8");
        let text = answer.text().await.unwrap();
        assert!(text.starts_with("Contact: mailto:security@clinic.example\nExpires: 20"), "{text}");
    }
    silent.stop().await;
    named.stop().await;
}

#[tokio::test]
async fn pages_and_files_are_told_apart() {
    let world = World::start().await;
    let get = |path: &str, accept: &'static str| {
        world.client.get(format!("{}{path}", world.url())).header("accept", accept).send()
    };
    let page = get("/", "text/html").await.unwrap();
    assert_eq!((page.status().as_u16(), header(&page, "content-type")), (200, "text/html; charset=utf-8"));
    assert_eq!(header(&page, "cache-control"), "no-cache");
    assert_eq!(header(&page, "etag"), "", "each answer has its own nonce");
    let file = get("/robots.txt", "*/*").await.unwrap();
    if file.status() == 200 {
        let etag = header(&file, "etag").to_owned();
        let again = world.client.get(format!("{}/robots.txt", world.url())).header("if-none-match", &etag);
        assert_eq!(again.send().await.unwrap().status(), 304);
    }
    assert_eq!(get("/patients/1", "text/html").await.unwrap().status(), 200, "a route of the client");
    assert_eq!(get("/patients/1", "application/json").await.unwrap().status(), 404);
    assert_eq!(get("/_app/immutable/missing.js", "text/html").await.unwrap().status(), 404);
    let posted = world.client.post(format!("{}/patients/1", world.url())).send().await.unwrap();
    assert_eq!(posted.status(), 405);
    world.stop().await;
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/data")).join(name)
}

#[tokio::test]
async fn https_where_a_certificate_is_given() {
    let world = World::start_with(|config| {
        config.tls.certificate = Some(fixture("localhost.pem"));
        config.tls.private_key = Some(fixture("localhost.key"));
    })
    .await;
    assert!(world.url().starts_with("https://"));
    world.staff("juma", Role::Cashier).await;
    let login = json!({"login": "juma", "password": crate::harness::PASSWORD});
    let url = format!("{}/api/v1/auth/login", world.url());
    let response = world.client.post(url).json(&login).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let cookie = header(&response, "set-cookie");
    assert!(cookie.starts_with("__Host-uzima=") && cookie.contains("; Secure"), "{cookie}");
    assert!(header(&response, "strict-transport-security").contains("max-age="));
    world.stop().await;
}

#[tokio::test]
async fn what_was_begun_is_finished_at_the_end() {
    let mut world = World::start().await;
    let client = world.client("system/*.cruds").await;
    let running = world.take_running();
    let address = running.address;
    let app = running.app.clone();
    // A request whose body is still on its way when the server is told to stop.
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let body = json!({"resourceType": "Patient", "name": [{"family": "Last"}]}).to_string();
    let head = format!(
        "POST /fhir/R4/Patient HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\
         content-type: application/fhir+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        client.token,
        body.len()
    );
    let (first, rest) = body.split_at(10);
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(first.as_bytes()).await.unwrap();
    while app.metrics.in_flight.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let stopping = tokio::spawn(running.shutdown());
    app.stopping.cancelled().await;
    stream.write_all(rest.as_bytes()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    stopping.await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

/// The head and half the body of a request that therefore goes on.
async fn half_a_request(world: &World, token: &str) -> tokio::net::TcpStream {
    let address = world.running().address;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST /fhir/R4/Patient HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\
         content-type: application/fhir+json\r\ncontent-length: 1000\r\n\r\n{{"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn too_much_at_once_is_refused_at_once() {
    let world = World::start_with(|config| config.limits.concurrent_requests = 1).await;
    let client = world.client("system/*.cruds").await;
    let stream = half_a_request(&world, &client.token).await;
    while world.app().metrics.in_flight.load(std::sync::atomic::Ordering::Relaxed) == 0 {
        tokio::task::yield_now().await;
    }
    let response = client.request("GET", "/api/v1/me").send().await.unwrap();
    assert_eq!((response.status().as_u16(), header(&response, "retry-after")), (503, "1"));
    assert_eq!(crate::harness::read(response).await.1["code"], "busy");
    let (status, outcome) = client.get("/fhir/R4/Patient").await;
    assert_eq!((status, &outcome["issue"][0]["code"]), (503, &json!("transient")));
    let probe = world.client.get(format!("{}/healthz", world.url())).send().await.unwrap();
    assert_eq!(probe.status(), 200, "probes are not counted");
    drop(stream);
    while world.app().metrics.in_flight.load(std::sync::atomic::Ordering::Relaxed) > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(client.get("/fhir/R4/Patient").await.0, 200);
    world.stop().await;
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_given_up() {
    let world = World::start_with(|config| config.limits.request_seconds = 1).await;
    let client = world.client("system/*.cruds").await;
    let mut stream = half_a_request(&world, &client.token).await;
    let mut answer = [0_u8; 12];
    tokio::time::timeout(Duration::from_secs(20), stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 503");
    world.stop().await;
}

#[tokio::test]
async fn a_renewed_certificate_is_taken_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("a.pem"), folder.path().join("a.key"));
    std::fs::copy(fixture("localhost.pem"), &certificate).unwrap();
    std::fs::copy(fixture("localhost.key"), &key).unwrap();
    let paths = (certificate.clone(), key);
    let world = World::start_with(|config| {
        config.tls.certificate = Some(paths.0);
        config.tls.private_key = Some(paths.1);
    })
    .await;
    world.running().reload_tls().unwrap();
    std::fs::write(&certificate, "not a certificate").unwrap();
    assert!(world.running().reload_tls().is_err());
    let probe = world.client.get(format!("{}/healthz", world.url())).send().await.unwrap();
    assert_eq!(probe.status(), 200, "the old one stays in use");
    world.stop().await;
}

#[tokio::test]
async fn clients_that_go_away_give_their_places_back() {
    let world = World::start().await;
    world.staff("juma", Role::Cashier).await;
    let in_flight = || world.app().metrics.in_flight.load(std::sync::atomic::Ordering::Relaxed);
    let body = json!({"login": "juma", "password": crate::harness::PASSWORD}).to_string();
    let head = format!(
        "POST /api/v1/auth/login HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    for _ in 0..5 {
        let mut stream = tokio::net::TcpStream::connect(world.running().address).await.unwrap();
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        // The password's hash takes long enough for the client to be gone before the answer.
        for _ in 0..10_000 {
            if in_flight() > 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(stream);
        while in_flight() > 0 {
            tokio::task::yield_now().await;
        }
    }
    world.stop().await;
}
