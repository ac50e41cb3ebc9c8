//! Ten times the load that is admitted, and thousands of idle sockets.

use crate::harness::{World, read};
use crate::machine::{self, Machine};
use serde_json::{Value, json};
use std::time::Duration;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// Requests admitted at once, and how many times that come.
const ADMITTED: usize = 8;
const TIMES: usize = 10;
/// What an admitted write may take at most, p99 (facts of control R10).
const BUDGET_MS: u32 = 300;
/// Of each client.
const REQUESTS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn overload_is_shed_and_what_is_answered_is_true() {
    let world = World::start_with(|config| config.limits.concurrent_requests = ADMITTED).await;
    let client = world.client("system/*.cruds").await;
    let patient =
        world.put(json!({"resourceType": "Patient", "name": [{"family": "Load"}]})).await.to_string();
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..ADMITTED * TIMES {
        let (client, patient) = (client.clone(), patient.clone());
        clients.spawn(async move {
            let (mut made, mut shed, mut times) = (Vec::new(), 0, Vec::new());
            for m in 0..REQUESTS {
                let body = json!({"resourceType": "Observation", "status": "final", "code": {"text": "load"},
                    "identifier": [{"system": "https://load.example", "value": format!("{n}-{m}")}],
                    "subject": {"reference": patient}});
                let request = client.request("POST", "/fhir/R4/Observation").json(&body);
                let begun = tokio::time::Instant::now();
                let (status, answer) = read(request.send().await.unwrap()).await;
                if status == 201 {
                    times.push(begun.elapsed());
                }
                match status {
                    201 => made.push((format!("{n}-{m}"), answer["id"].as_str().unwrap().to_owned())),
                    429 | 503 => shed += 1,
                    _ => panic!("{status} {answer}"),
                }
            }
            (made, shed, times)
        });
    }
    let (mut made, mut shed, mut times) = (Vec::new(), 0, Vec::new());
    while let Some(ended) = clients.join_next().await {
        let (more, refused, took) = ended.unwrap();
        made.extend(more);
        times.extend(took);
        shed += refused;
    }
    times.sort();
    let at = |part: usize| times.get(times.len() * part / 100).map_or(0, |time| time.as_millis());
    // Reported only: what a busy builder takes says nothing about the program.
    println!(
        "{} made, {shed} shed; admitted writes at {TIMES} times the load: p50 {} ms, p99 {} ms of {BUDGET_MS} ms",
        made.len(),
        at(50),
        at(99)
    );
    assert_eq!(made.len() + shed, ADMITTED * TIMES * REQUESTS);
    assert!(shed > 0 && !made.is_empty(), "{} made, {shed} shed", made.len());
    // What was refused was not done, what was acknowledged was, once.
    let mut found = 0;
    let mut path = "/fhir/R4/Observation?_count=500".to_owned();
    loop {
        let (status, page) = client.get(&path).await;
        assert_eq!(status, 200, "{page}");
        found += page["entry"].as_array().map_or(0, Vec::len);
        let next = page["link"].as_array().unwrap().iter().find(|link| link["relation"] == "next").cloned();
        match next {
            Some(link) => path = link["url"].as_str().unwrap().trim_start_matches(world.url()).to_owned(),
            None => break,
        }
    }
    assert_eq!(found, made.len(), "as many as were acknowledged");
    world.stop().await;
}

/// `UZIMA_TEST_SOCKETS` idle WebSockets (300 without it) on a server of its own; says what each costs. The bound is the
/// promise of 32 KiB each, above what the server needs anyway.
#[tokio::test(flavor = "multi_thread")]
async fn idle_sockets_cost_little() {
    let count = machine::number("UZIMA_TEST_SOCKETS", 300);
    let accounts = count.div_ceil(20);
    let machine = Machine::new().with("UZIMA_LIMITS_SOCKETS_PER_ACCOUNT", &count.to_string());
    let machine =
        machine.with("UZIMA_LIMITS_ADDRESS_PER_SECOND", "0").with("UZIMA_LIMITS_USER_PER_SECOND", "0");
    machine.user("many", access::Role::Administrator);
    let mut child = machine.start().await;
    let token = machine.sign_in("many").await;
    let before = machine.gauge("process_resident_memory_bytes").await.unwrap();
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..accounts {
        let mut opening = tokio::task::JoinSet::new();
        for _ in 0..20.min(count - sockets.len()) {
            let mut request =
                format!("{}/ws", machine.url().replacen("http", "ws", 1)).into_client_request().unwrap();
            request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
            opening.spawn(connect_async(request));
        }
        while let Some(opened) = opening.join_next().await {
            sockets.push(opened.unwrap().unwrap().0);
        }
    }
    assert_eq!(sockets.len(), count);
    // What is open is counted by the server itself.
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    while machine.gauge("uzima_sockets").await != Some(count as i64) {
        assert!(tokio::time::Instant::now() < until, "{:?} of {count}", machine.gauge("uzima_sockets").await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let after = machine.gauge("process_resident_memory_bytes").await.unwrap();
    let each = (after - before).max(0) / count as i64;
    println!("{count} sockets: {} MiB before, {} MiB after, {each} bytes each", before >> 20, after >> 20);
    // A few megabytes of the server's own growth are nobody's socket.
    assert!(after - before < 32 * 1024 * count as i64 + (16 << 20), "{each} bytes each");
    let (status, _) = machine.send("GET", "/api/v1/me", &token, &Value::Null).await.unwrap();
    assert_eq!(status, 200, "requests are answered meanwhile");
    drop(sockets);
    child.kill().unwrap();
    child.wait().unwrap();
}
