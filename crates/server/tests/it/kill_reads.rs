//! A2: kill -9 while people read. Whatever was answered, by so much as the first byte, has its event afterwards.
//!
//! `UZIMA_TEST_KILL_CYCLES` sets the number of cycles (5 without it; the test command sets 50, a release 1,000).

use crate::machine::{self, Machine, Random, seed};
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const READERS: usize = 6;
/// Longest life of a server in one cycle, milliseconds.
const LIFE_MS_MAX: u64 = 250;

/// One request by its own number: a read, a search, a look at what is not there, a version, a chart.
fn path(n: u64, patient: &str) -> String {
    match n % 5 {
        0 => format!("/fhir/R4/{patient}"),
        1 => format!("/fhir/R4/Observation?patient={patient}&_count=5"),
        2 => "/fhir/R4/Observation/nowhere".to_owned(),
        3 => format!("/fhir/R4/{patient}/_history/1"),
        _ => format!("/fhir/R4/{patient}/$everything"),
    }
}

/// The numbers of the requests that the trail knows.
async fn noted(machine: &Machine, officer: &str) -> BTreeSet<String> {
    let table = machine.text("/api/v1/admin/audit/export?format=csv", officer).await;
    assert!(table.lines().next().is_some_and(|head| head.ends_with(",request")), "the last column");
    table.lines().filter_map(|line| Some(line.rsplit_once(',')?.1.to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_minus_nine_answers_nothing_unnoted() {
    let (cycles, seed) = (machine::number("UZIMA_TEST_KILL_CYCLES", 5), seed());
    println!("seed {seed}, {cycles} cycles");
    let mut random = Random(seed);
    let machine = Machine::new();
    let client = machine.client().await;
    machine.user("officer", access::Role::PrivacyOfficer);
    let machine = Arc::new(machine);
    let mut child = machine.start().await;
    let token = machine.token(&client).await;
    let patient = json!({"resourceType": "Patient", "name": [{"family": "Kill", "given": ["Nine"]}]});
    let (status, patient) = machine.send("POST", "/fhir/R4/Patient", &token, &patient).await.unwrap();
    assert_eq!(status, 201, "{patient}");
    let patient = format!("Patient/{}", patient["id"].as_str().unwrap());
    let answered: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    for cycle in 0..cycles {
        let mut readers = tokio::task::JoinSet::new();
        for reader in 0..READERS {
            let (machine, token, answered, patient) =
                (machine.clone(), token.clone(), answered.clone(), patient.clone());
            readers.spawn(async move {
                for n in reader as u64.. {
                    let id = format!("kill-{cycle}-{reader}-{n}");
                    // Not whether all of it came: the first byte is what counts.
                    let Some(status) = machine.status(&path(n, &patient), &token, &id).await else { return };
                    assert!([200, 404, 503].contains(&status), "{status}");
                    if status != 503 {
                        answered.lock().unwrap().insert(id);
                    }
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(1 + random.next(LIFE_MS_MAX))).await;
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(reader) = readers.join_next().await {
            reader.unwrap();
        }
        child = machine.start().await;
    }
    let answered = std::mem::take(&mut *answered.lock().unwrap());
    println!("{} answers", answered.len());
    assert!(answered.len() > cycles, "hardly anything was read");
    let officer = machine.sign_in("officer").await;
    let noted = noted(&machine, &officer).await;
    let unnoted: Vec<&String> = answered.difference(&noted).collect();
    assert!(unnoted.is_empty(), "{} of {} answers have no event: {unnoted:?}", unnoted.len(), answered.len());
    child.kill().unwrap();
    child.wait().unwrap();
}
