//! PostgreSQL dies and comes back while several clients write: no acknowledged write is lost, none is there twice, and the
//! server needs no restart. The cluster is this test's own; without PostgreSQL's programs it says so and is left out.

use crate::cluster::Cluster;
use crate::harness::{World, read};
use serde_json::json;
use server::config::Secret;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const WRITERS: usize = 6;
const DEATHS: u32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_may_die_under_load() {
    let Some(mut cluster) = Cluster::make("PostgreSQL that dies") else { return };
    cluster.start().await;
    let url = cluster.url();
    let world = World::start_with(|config| config.database_url = Some(Secret::new(url))).await;
    let client = world.client("system/*.cruds").await;
    let patient =
        world.put(json!({"resourceType": "Patient", "name": [{"family": "Power"}]})).await.to_string();
    let (made, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let (client, patient) = (client.clone(), patient.clone());
        let (made, stop) = (made.clone(), stop.clone());
        writers.spawn(async move {
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let tag = format!("{writer}-{n}");
                let body = json!({"resourceType": "Observation", "status": "final", "code": {"text": "power"},
                    "identifier": [{"system": "https://power.example", "value": tag}],
                    "subject": {"reference": patient}});
                let sent = client.request("POST", "/fhir/R4/Observation").json(&body).send().await;
                let (status, answer) = read(sent.unwrap()).await;
                match status {
                    201 => made.lock().unwrap().push(tag),
                    // 500: the connection was lost during the commit, which may have happened; nothing is promised.
                    500 | 503 => tokio::time::sleep(Duration::from_millis(5)).await,
                    _ => panic!("{status} {answer}"),
                }
            }
        });
    }
    for death in 0..DEATHS {
        let enough = made.lock().unwrap().len() + 60;
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        while made.lock().unwrap().len() < enough {
            assert!(tokio::time::Instant::now() < until, "death {death}: writes do not go on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        cluster.die();
        cluster.start().await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    let made = std::mem::take(&mut *made.lock().unwrap());
    println!("{} writes acknowledged over {DEATHS} deaths", made.len());
    for tag in &made {
        let path = format!("/fhir/R4/Observation?identifier=https://power.example|{tag}&_summary=count");
        let mut tries = 0;
        let (status, found) = loop {
            let (status, found) = client.get(&path).await;
            tries += 1;
            if status == 200 || tries > 100 {
                break (status, found);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert_eq!((status, &found["total"]), (200, &json!(1)), "acknowledged {tag}");
    }
    world.stop().await;
}
