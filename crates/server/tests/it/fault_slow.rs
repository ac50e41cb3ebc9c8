//! A disk that is slow, and one that fails: what was acknowledged is there, what was not is not said to be, and when the
//! disk is well again so is the server, without a restart.

use crate::disk::{Disk, Faults};
use crate::machine::Machine;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const WRITERS: usize = 4;
/// The system's number for a full disk; input/output errors are the shim's own choice.
const NO_SPACE: u32 = 28;

struct Ill {
    machine: Arc<Machine>,
    disk: Disk,
    token: String,
    patient: String,
    child: std::process::Child,
    made: Arc<Mutex<Vec<String>>>,
    statuses: Arc<Mutex<std::collections::BTreeMap<u16, u32>>>,
}

fn observation(patient: &str) -> Value {
    json!({"resourceType": "Observation", "status": "final", "subject": {"reference": patient},
        "code": {"text": "disk"}, "valueString": "as it was"})
}

impl Ill {
    async fn begin() -> Ill {
        let machine = Machine::new().with("UZIMA_BACKUP_RESERVE_MB", "1");
        let disk = Disk::build(&machine.folder());
        let machine = Arc::new(disk.under(machine, false));
        let client = machine.client().await;
        let child = machine.start().await;
        let token = machine.token(&client).await;
        let patient = json!({"resourceType": "Patient", "name": [{"family": "Disk"}]});
        let (status, patient) = machine.send("POST", "/fhir/R4/Patient", &token, &patient).await.unwrap();
        assert_eq!(status, 201, "{patient}");
        let patient = format!("Patient/{}", patient["id"].as_str().unwrap());
        Ill { machine, disk, token, patient, child, made: Arc::default(), statuses: Arc::default() }
    }

    async fn post(&self) -> (u16, Value) {
        let body = observation(&self.patient);
        self.machine.send("POST", "/fhir/R4/Observation", &self.token, &body).await.unwrap()
    }

    /// Several clients write while `meanwhile` runs; the server never answers anything but done, not done, or not now.
    async fn load(&self, meanwhile: impl Future<Output = ()>) {
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = tokio::task::JoinSet::new();
        for _ in 0..WRITERS {
            let (machine, token, body) =
                (self.machine.clone(), self.token.clone(), observation(&self.patient));
            let (made, statuses, stop) = (self.made.clone(), self.statuses.clone(), stop.clone());
            writers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let sent = machine.send("POST", "/fhir/R4/Observation", &token, &body).await;
                    let (status, answer) = sent.expect("the server is gone");
                    *statuses.lock().unwrap().entry(status).or_default() += 1;
                    match status {
                        201 => made.lock().unwrap().push(answer["id"].as_str().unwrap().to_owned()),
                        429 | 500 | 503 | 507 => tokio::time::sleep(Duration::from_millis(10)).await,
                        _ => panic!("{status} {answer}"),
                    }
                }
            });
        }
        meanwhile.await;
        stop.store(true, Ordering::Relaxed);
        while let Some(ended) = writers.join_next().await {
            ended.unwrap();
        }
    }

    /// Waits until so many more writes were acknowledged.
    async fn more(&self, count: usize) {
        let enough = self.made.lock().unwrap().len() + count;
        let until = tokio::time::Instant::now() + Duration::from_secs(120);
        while self.made.lock().unwrap().len() < enough {
            assert!(
                tokio::time::Instant::now() < until,
                "writes do not go on: {:?}",
                self.statuses.lock().unwrap()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// A write goes through again, without a restart.
    async fn well(&self) {
        let until = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            match self.post().await {
                (201, answer) => {
                    self.made.lock().unwrap().push(answer["id"].as_str().unwrap().to_owned());
                    return;
                }
                (status, answer) => {
                    assert!(tokio::time::Instant::now() < until, "it does not recover: {status} {answer}");
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn all_there(&self) {
        let made = self.made.lock().unwrap().clone();
        for id in made {
            let path = format!("/fhir/R4/Observation/{id}");
            let (status, found) = self.machine.send("GET", &path, &self.token, &Value::Null).await.unwrap();
            assert_eq!((status, &found["valueString"]), (200, &json!("as it was")), "acknowledged {id}");
        }
    }

    /// Everything is there, after a kill as well, and the database is whole.
    async fn end(mut self) {
        println!("{} acknowledged, {:?}", self.made.lock().unwrap().len(), self.statuses.lock().unwrap());
        self.all_there().await;
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = self.machine.start().await;
        self.all_there().await;
        self.machine.stop(&mut self.child);
        let copies = self.machine.folder().join("copies").display().to_string();
        self.machine.run(&["backup", "--to", &copies], "");
        let restored = self.machine.run(&["restore", "--from", &copies, "--data", "restored"], "");
        assert!(restored.contains("the audit trail is proven"), "{restored}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_disk_makes_the_server_slow_and_nothing_else() {
    let ill = Ill::begin().await;
    ill.disk.set(Faults { flush_ms: 150, write_ms: 1, ..Faults::default() });
    ill.load(ill.more(40)).await;
    ill.disk.set(Faults::default());
    ill.load(ill.more(40)).await;
    let statuses = ill.statuses.lock().unwrap().clone();
    assert!(!statuses.contains_key(&500) && !statuses.contains_key(&507), "slow is not broken: {statuses:?}");
    ill.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_disk_is_never_taken_for_a_good_one() {
    let ill = Ill::begin().await;
    ill.load(ill.more(20)).await;
    for faults in [
        Faults { flush_fails: 1, ..Faults::default() },
        Faults { write_fails: 1, ..Faults::default() },
        Faults { write_fails: 1, error: NO_SPACE, ..Faults::default() },
    ] {
        ill.disk.set(faults);
        let (status, answer) = ill.post().await;
        assert!(matches!(status, 500 | 503 | 507), "{faults:?}: {status} {answer}");
        let path = format!("/fhir/R4/{}", ill.patient);
        let (status, _) = ill.machine.send("GET", &path, &ill.token, &Value::Null).await.unwrap();
        assert_ne!(status, 404, "{faults:?}: what cannot be read is not gone");
        ill.disk.set(Faults::default());
        ill.well().await;
    }
    // Now and then, under load: flushes, writes and reads.
    for faults in [
        Faults { flush_fails: 3, ..Faults::default() },
        Faults { write_fails: 40, ..Faults::default() },
        Faults { write_fails: 40, error: NO_SPACE, ..Faults::default() },
        Faults { read_fails: 20, ..Faults::default() },
    ] {
        ill.disk.set(faults);
        ill.load(tokio::time::sleep(Duration::from_millis(1500))).await;
        ill.disk.set(Faults::default());
        ill.well().await;
        ill.load(ill.more(10)).await;
    }
    ill.end().await;
}
