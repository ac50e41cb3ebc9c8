//! kill -9 while several clients write: no acknowledged write is lost, no transaction is half there, the ledger balances.
//!
//! `UZIMA_TEST_KILL_CYCLES` sets the number of cycles (5 without it; the test command sets 50).

use crate::machine::{self, Machine, READY_WAIT, Random, seed};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const WRITERS: usize = 4;
/// Longest life of a server in one cycle, milliseconds.
const LIFE_MS_MAX: u64 = 500;

/// What the server said that it had written.
#[derive(Default)]
struct Acknowledged {
    observations: Vec<String>,
    /// Tags of transactions of two resources.
    pairs: Vec<String>,
    payments: Vec<String>,
}

fn observation(patient: &str, tag: &str) -> Value {
    json!({"resourceType": "Observation", "status": "final", "subject": {"reference": patient},
        "identifier": [{"system": "https://kill.example", "value": tag}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "effectiveDateTime": "2026-11-21T08:00:00Z",
        "valueQuantity": {"value": 71, "unit": "/min", "system": "http://unitsofmeasure.org", "code": "/min"}})
}

fn pair(patient: &str, tag: &str) -> Value {
    let encounter = json!({"resourceType": "Encounter", "status": "finished",
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
        "identifier": [{"system": "https://kill.example", "value": tag}], "subject": {"reference": patient}});
    let mut observation = observation(patient, tag);
    observation["encounter"] = json!({"reference": "urn:uuid:5f3b5c1e-0f0e-4a37-9c66-3b1c1a8a0001"});
    json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        {"fullUrl": "urn:uuid:5f3b5c1e-0f0e-4a37-9c66-3b1c1a8a0001", "resource": encounter,
            "request": {"method": "POST", "url": "Encounter"}},
        {"resource": observation, "request": {"method": "POST", "url": "Observation"}}]})
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_minus_nine_loses_nothing() {
    let (cycles, seed) = (machine::number("UZIMA_TEST_KILL_CYCLES", 5), seed());
    println!("seed {seed}, {cycles} cycles");
    let mut random = Random(seed);
    let machine = Machine::new();
    let copies = machine.folder().join("copies").display().to_string();
    // Followed by backups all the while: the row of segments must not break, however often the server dies.
    let machine = Arc::new(machine.with("UZIMA_BACKUP_TO", &copies).with("UZIMA_BACKUP_DRILL_HOURS", "0"));
    let client = machine.client().await;
    machine.user("till", access::Role::Cashier);

    let mut child = machine.start().await;
    let token = machine.token(&client).await;
    let till = machine.sign_in("till").await;
    let patient = json!({"resourceType": "Patient", "name": [{"family": "Kill", "given": ["Nine"]}]});
    let (status, patient) = machine.send("POST", "/fhir/R4/Patient", &token, &patient).await.unwrap();
    assert_eq!(status, 201, "{patient}");
    let patient = format!("Patient/{}", patient["id"].as_str().unwrap());
    let acknowledged: Arc<Mutex<Acknowledged>> = Arc::default();
    for cycle in 0..cycles {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let invoice = bill(&machine, &token, &patient, cycle, writer).await;
            let (machine, token, till) = (machine.clone(), token.clone(), till.clone());
            let (patient, acknowledged) = (patient.clone(), acknowledged.clone());
            writers.spawn(async move {
                for n in 0.. {
                    let tag = format!("{cycle}-{writer}-{n}");
                    let (path, token, body) = match n % 3 {
                        0 => ("/fhir/R4/Observation".to_owned(), &token, observation(&patient, &tag)),
                        1 => ("/fhir/R4".to_owned(), &token, pair(&patient, &tag)),
                        _ => {
                            let cash = json!({"method": "cash", "amount_minor": 100});
                            (format!("/api/v1/invoices/{invoice}/payments"), &till, cash)
                        }
                    };
                    let Some((status, answer)) = machine.send("POST", &path, token, &body).await else {
                        return;
                    };
                    // Shed load; or a bill that has seen as many payments as one may.
                    if status == 503 || answer["code"] == "too-many-attempts" {
                        continue;
                    }
                    assert!(status == 200 || status == 201, "{path}: {status} {answer}");
                    let mut acknowledged = acknowledged.lock().unwrap();
                    match n % 3 {
                        0 => acknowledged.observations.push(answer["id"].as_str().unwrap().to_owned()),
                        1 => acknowledged.pairs.push(tag),
                        _ => acknowledged.payments.push(answer["id"].as_str().unwrap().to_owned()),
                    }
                }
            });
        }
        tokio::time::sleep(Duration::from_millis(1 + random.next(LIFE_MS_MAX))).await;
        // SIGKILL on Unix: no handler runs, nothing is flushed.
        child.kill().unwrap();
        child.wait().unwrap();
        while let Some(writer) = writers.join_next().await {
            writer.unwrap();
        }
        child = machine.start().await;
        let (status, day) = machine.send("GET", "/api/v1/cashier/day", &till, &Value::Null).await.unwrap();
        assert_eq!((status, &day["balanced"]), (200, &json!(true)), "cycle {cycle}: {day}");
    }

    let acknowledged = std::mem::take(&mut *acknowledged.lock().unwrap());
    println!(
        "{} observations, {} pairs, {} payments acknowledged",
        acknowledged.observations.len(),
        acknowledged.pairs.len(),
        acknowledged.payments.len()
    );
    assert!(
        acknowledged.observations.len() + acknowledged.pairs.len() > cycles,
        "hardly anything was written"
    );
    everything(&machine, &token, &till, &acknowledged).await;
    // Until all of that is elsewhere as well.
    let began = tokio::time::Instant::now();
    loop {
        let age = machine.gauge("uzima_backup_age_seconds").await;
        let waiting = machine.gauge("uzima_backup_waiting_bytes").await;
        let elapsed = began.elapsed();
        let is_newer = age.is_some_and(|age| age <= i64::try_from(elapsed.as_secs()).unwrap_or(0));
        if is_newer && waiting == Some(0) && elapsed >= Duration::from_secs(1) {
            break;
        }
        // After the last kill it may be a whole copy that is made first, without optimisation and beside other tests.
        assert!(
            elapsed < 4 * READY_WAIT,
            "the backup does not follow: {age:?} s old, {waiting:?} bytes wait"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let told = machine.run(&["restore", "--from", &copies, "--data", "restored"], "");
    assert!(told.contains("whole") && !told.contains("NOTE"), "{told}");
    let Some(machine) = Arc::into_inner(machine) else { panic!("a writer still runs") };
    let machine = machine.on("restored");
    let mut child = machine.start().await;
    everything(&machine, &token, &till, &acknowledged).await;
    child.kill().unwrap();
    child.wait().unwrap();
}

/// All that was acknowledged is there, and nothing is half there.
async fn everything(machine: &Machine, token: &str, till: &str, acknowledged: &Acknowledged) {
    for id in &acknowledged.observations {
        let (status, _) =
            machine.send("GET", &format!("/fhir/R4/Observation/{id}"), token, &Value::Null).await.unwrap();
        assert_eq!(status, 200, "acknowledged Observation/{id} is lost");
    }
    for id in &acknowledged.payments {
        let (status, payment) =
            machine.send("GET", &format!("/api/v1/payments/{id}"), till, &Value::Null).await.unwrap();
        assert_eq!(
            (status, &payment["state"]),
            (200, &json!("paid")),
            "acknowledged payment {id} is lost: {payment}"
        );
    }
    // Transactions: every acknowledged one is there, and none, acknowledged or not, is half there.
    let encounters = tags(machine, token, "Encounter").await;
    let linked = tags(machine, token, "Observation?encounter:missing=false").await;
    assert_eq!(encounters, linked, "a transaction is half there");
    for tag in &acknowledged.pairs {
        assert!(encounters.contains(tag), "acknowledged transaction {tag} is lost");
    }
}

/// A bill large enough for as many cash payments of one shilling as there can be; its id.
async fn bill(machine: &Machine, token: &str, patient: &str, cycle: usize, writer: usize) -> String {
    let total = json!({"value": 1_000_000, "currency": "KES"});
    let invoice = json!({"resourceType": "Invoice", "status": "issued", "subject": {"reference": patient},
        "identifier": [{"system": "https://uzima.health/fhir/identifier/invoice", "value": format!("K{cycle}W{writer}")}],
        "date": "2026-11-21T08:00:00Z", "totalNet": total, "totalGross": total});
    let (status, made) = machine.send("POST", "/fhir/R4/Invoice", token, &invoice).await.unwrap();
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

/// The tags of all resources that a search finds, page by page.
async fn tags(machine: &Machine, token: &str, query: &str) -> std::collections::BTreeSet<String> {
    let joiner = if query.contains('?') { '&' } else { '?' };
    let mut path = format!("/fhir/R4/{query}{joiner}_count=500");
    let mut found = std::collections::BTreeSet::new();
    loop {
        let (status, bundle) = machine.send("GET", &path, token, &Value::Null).await.unwrap();
        assert_eq!(status, 200, "{bundle}");
        for entry in bundle["entry"].as_array().into_iter().flatten() {
            let tag = entry["resource"]["identifier"][0]["value"].as_str().unwrap().to_owned();
            assert!(found.insert(tag.clone()), "{tag} twice");
        }
        let next = bundle["link"].as_array().unwrap().iter().find(|l| l["relation"] == "next");
        match next {
            Some(link) => path = machine.path(link["url"].as_str().unwrap()).to_owned(),
            None => return found,
        }
    }
}
