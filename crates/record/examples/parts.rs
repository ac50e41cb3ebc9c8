//! What encryption, audit and rights cost of a request: `cargo run --release -p uzima-record --example parts -- SECONDS`.
//!
//! Does the same reads and creates from 16 tasks on an encrypted database and on one without keys, as a clinician whose
//! right comes from an encounter and with less and less of what surrounds the data, each for SECONDS, and prints a line of
//! JSON: CPU in microseconds for each part, and for each case with keys and without. `cargo xtask bench` sets them against the
//! whole of a request over HTTP.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool for measuring ends where something is wrong"
)]

use access::{Ctx, Principal, Purpose, Role, User};
use fhir::{Resource, ResourceKey};
use jiff::Timestamp;
use record::{Change, ChangeSet, Record};
use serde_json::{Value, json};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use store::audit::{Event, Outcome};
use store::{Secret32, Store, StoreConfig};

const TASKS: u64 = 16;
const PATIENTS: u64 = 500;
const OBSERVATIONS: u64 = 20;
/// Of which the median counts.
const ROUNDS: usize = 7;

fn key(text: &str) -> ResourceKey {
    ResourceKey::parse(text).unwrap()
}

fn create(value: Value) -> Change {
    Change::Create { resource: Resource::from_value(value).unwrap() }
}

fn set(changes: Vec<Change>) -> ChangeSet {
    ChangeSet { changes, ..ChangeSet::default() }
}

fn observation(id: Option<&str>, patient: u64) -> Value {
    let mut value = json!({
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "8480-6", "display": "Systolic blood pressure"}], "text": "Systolic blood pressure"},
        "subject": {"reference": format!("Patient/p{patient}")},
        "effectiveDateTime": "2026-11-21T09:00:00+03:00",
        "valueQuantity": {"value": 128, "unit": "mmHg", "system": "http://unitsofmeasure.org", "code": "mm[Hg]"},
        "note": [{"text": "Measured sitting, after five minutes of rest, at the left arm; the cuff of the usual size was used. ".repeat(4)}]
    });
    if let Some(id) = id {
        value["id"] = id.into();
    }
    value
}

struct Bench {
    record: Record,
    _folder: tempfile::TempDir,
}

impl Bench {
    async fn new(secret: Option<Secret32>) -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("uzima.db").display());
        let config = StoreConfig::new(url, secret);
        let store = tokio::task::spawn_blocking(move || Store::open(config)).await.unwrap().unwrap();
        let record = Record::new(store, Arc::new(Timestamp::now));
        record.set_base("https://clinic.example/fhir/R4".to_owned());
        record.load_search_parameters().await.unwrap();
        let system = Ctx::system("bench", record.now());
        let doctor = json!({"resourceType": "Practitioner", "id": "d1", "name": [{"family": "Otieno"}]});
        record.command(&system, "bench.seed", set(vec![create(doctor)])).await.unwrap();
        for patient in 0..PATIENTS {
            let mut changes = vec![
                create(
                    json!({"resourceType": "Patient", "id": format!("p{patient}"), "name": [{"family": "Achieng"}]}),
                ),
                create(json!({"resourceType": "Encounter", "status": "in-progress",
                    "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
                    "subject": {"reference": format!("Patient/p{patient}")},
                    "participant": [{"individual": {"reference": "Practitioner/d1"}}]})),
            ];
            changes.extend(
                (0..OBSERVATIONS).map(|n| create(observation(Some(&format!("o{patient}-{n}")), patient))),
            );
            record.command(&system, "bench.seed", set(changes)).await.unwrap();
        }
        Bench { record, _folder: folder }
    }

    fn doctor(&self) -> Ctx {
        let mut ctx = Ctx::system("bench", self.record.now());
        ctx.purpose = Purpose::Treatment;
        ctx.principal = Principal::User(User {
            account: 1,
            display: "Dr. Otieno".into(),
            roles: vec![Role::Doctor],
            patient: None,
            practitioner: Some(key("Practitioner/d1")),
            language: "en".into(),
            standing: Arc::default(),
        });
        ctx
    }
}

/// CPU of this process so far, µs.
fn cpu_us() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // User and system time in hundredths of a second.
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10_000
}

/// CPU of one run of `work`, µs, with all tasks at it; with what its audit leaves to be done.
async fn measure<F, Work>(store: &Store, time: Duration, work: F) -> f64
where
    F: Fn(u64) -> Work + Send + Sync + 'static,
    Work: Future<Output = ()> + Send,
{
    let (work, over, done) = (Arc::new(work), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let before = cpu_us();
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let (work, over, done) = (work.clone(), over.clone(), done.clone());
            tokio::spawn(async move {
                let mut n = task * 7919;
                while !over.load(Ordering::Relaxed) {
                    work(n).await;
                    n += 104_729;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    store.settle_audit().await.unwrap();
    (cpu_us() - before) as f64 / done.load(Ordering::Relaxed).max(1) as f64
}

fn wanted(n: u64) -> ResourceKey {
    key(&format!("Observation/o{}-{}", n % PATIENTS, n % OBSERVATIONS))
}

fn event(n: u64) -> Event {
    Event {
        at: Timestamp::now(),
        action: "read".into(),
        outcome: Outcome::Success,
        agent: "account/1".into(),
        agent_display: "Dr. Otieno".into(),
        role: "doctor".into(),
        address: Some(std::net::Ipv4Addr::LOCALHOST.into()),
        request_id: uuid::Uuid::from_u128(u128::from(n)).to_string(),
        purpose: Purpose::Treatment,
        what: wanted(n).to_string(),
        patients: vec![format!("p{}", n % PATIENTS)],
        session: Some([1; 8]),
        client: String::new(),
    }
}

/// What is measured.
#[derive(Debug, Clone, Copy)]
enum Case {
    Read,
    /// As the program itself, which may do everything and is not audited.
    SystemRead,
    /// A look at nothing, and one with an audit event as the clinician's has.
    Look,
    AuditedLook,
    Create,
    SystemCreate,
    /// A transaction with nothing in it, and one with an audit event.
    Empty,
    AuditedEmpty,
}

impl Case {
    const ALL: [Case; 8] = [
        Case::Read,
        Case::SystemRead,
        Case::Look,
        Case::AuditedLook,
        Case::Create,
        Case::SystemCreate,
        Case::Empty,
        Case::AuditedEmpty,
    ];
}

impl Bench {
    async fn measure(&self, case: Case, time: Duration) -> f64 {
        let (record, store) = (self.record.clone(), self.record.store().clone());
        let ctx = match case {
            Case::Read | Case::Create => self.doctor(),
            _ => Ctx::system("bench", record.now()),
        };
        match case {
            Case::Read | Case::SystemRead => {
                let work = move |n| {
                    let (record, ctx) = (record.clone(), ctx.clone());
                    async move { drop(record.read(&ctx, &wanted(n)).await.unwrap()) }
                };
                measure(&store, time, work).await
            }
            Case::Look => {
                let reading = store.clone();
                let work = move |_| {
                    let done = reading.read(|_| Ok::<_, store::Error>(()));
                    async move { done.await.unwrap() }
                };
                measure(&store, time, work).await
            }
            Case::AuditedLook => {
                let reading = store.clone();
                let work = move |n| {
                    let done = reading.read_audited(move |_| Ok::<_, store::Error>(((), vec![event(n)])));
                    async move { done.await.unwrap() }
                };
                measure(&store, time, work).await
            }
            Case::Create | Case::SystemCreate => {
                let work = move |n| {
                    let (record, ctx) = (record.clone(), ctx.clone());
                    async move {
                        let change = create(observation(None, n % PATIENTS));
                        drop(record.write(&ctx, set(vec![change])).await.unwrap());
                    }
                };
                measure(&store, time, work).await
            }
            Case::Empty => {
                let writing = store.clone();
                let work = move |_| {
                    let done = writing.write(|_| Ok::<_, store::Error>(()));
                    async move { done.await.unwrap() }
                };
                measure(&store, time, work).await
            }
            Case::AuditedEmpty => {
                let writing = store.clone();
                let work = move |n| {
                    let event = event(n);
                    let done =
                        writing.write(move |tx| store::audit::append(tx, std::slice::from_ref(&event)));
                    async move { done.await.unwrap() }
                };
                measure(&store, time, work).await
            }
        }
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
async fn main() {
    let seconds: f64 = std::env::args().nth(1).map_or(3.0, |text| text.parse().unwrap());
    // In turns, so that whatever else the machine does falls on all alike.
    let time = Duration::from_secs_f64(seconds / ROUNDS as f64);
    let with = Bench::new(Some(Secret32::random().unwrap())).await;
    let without = Bench::new(None).await;
    let mut measured: Vec<[Vec<f64>; 2]> = vec![Default::default(); Case::ALL.len()];
    for _ in 0..ROUNDS {
        for case in Case::ALL {
            measured[case as usize][0].push(with.measure(case, time).await);
            measured[case as usize][1].push(without.measure(case, time).await);
        }
    }
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for [one, other] in measured {
        with.push(median(one));
        without.push(median(other));
    }
    let (with, without) = (|case: Case| with[case as usize], |case: Case| without[case as usize]);
    let audit_of_read = without(Case::AuditedLook) - without(Case::Look);
    let part = |value: f64| (value.max(0.0) * 10.0).round() / 10.0;
    let cases = Case::ALL.map(|case| (format!("{case:?}"), json!([part(with(case)), part(without(case))])));
    let parts = json!({
        "cases": serde_json::Map::from_iter(cases),
        "read": {
            "all": part(with(Case::Read)),
            "encryption": part(with(Case::Read) - without(Case::Read)),
            "audit": part(audit_of_read),
            "rights": part(without(Case::Read) - without(Case::SystemRead) - audit_of_read),
        },
        "create": {
            "all": part(with(Case::Create)),
            "encryption": part(with(Case::Create) - without(Case::Create)),
            "audit": part(without(Case::AuditedEmpty) - without(Case::Empty)),
            "rights": part(without(Case::Create) - without(Case::SystemCreate)),
        },
    });
    println!("{parts}");
}
