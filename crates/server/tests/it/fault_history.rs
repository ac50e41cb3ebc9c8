//! Random histories of M-PESA payments: prompts answered, refused, left alone; callbacks lost, doubled, late, before their
//! time or contradicting; answers of the provider lost; payments asked for twice; the server killed at any moment. However it
//! went: what the provider took is posted once, what it did not take is not, and the ledger balances after each step.
//!
//! `UZIMA_TEST_HISTORIES` sets how many (24 without it; `cargo xtask faults` as many as one likes).

use crate::machine::{self, Machine, Random, seed};
use sandbox::{Fault, FaultKind, Reply, SettingsChange};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Histories under way at once; the server is killed once or twice meanwhile.
const AT_ONCE: usize = 8;
const WAIT: Duration = Duration::from_secs(90);
/// A payment that is not settled after this can only be settled by a person.
const SETTLE: Duration = Duration::from_secs(25);
/// Shillings of each bill.
const BILL: i64 = 700;

/// What can go wrong at the provider.
const KINDS: &[FaultKind] = &[
    FaultKind::CallbackDuplicate,
    FaultKind::CallbackBeforeResponse,
    FaultKind::CallbackFailureThenSuccess,
    FaultKind::CallbackStringNumbers,
    FaultKind::CallbackDelay,
    FaultKind::CallbackLost,
    FaultKind::PushTimeoutAfterAccept,
    FaultKind::PushBusy,
    FaultKind::PushHttp500,
    FaultKind::Query4999,
    FaultKind::QueryStillProcessing,
    FaultKind::QueryDown,
];

struct Clinic {
    machine: Machine,
    sandbox: sandbox::Handle,
    token: String,
    till: String,
}

struct Ended {
    msisdn: String,
    payments: Vec<Value>,
    faults: Vec<FaultKind>,
    seed: u64,
}

/// As often as it takes: the server may just be dead.
async fn sure(clinic: &Clinic, method: &str, path: &str, token: &str, body: &Value) -> (u16, Value) {
    let end = tokio::time::Instant::now() + WAIT;
    loop {
        match clinic.machine.send(method, path, token, body).await {
            Some((status, answer)) if !matches!(status, 429 | 502 | 503) => return (status, answer),
            _ => assert!(tokio::time::Instant::now() < end, "{method} {path} is not answered"),
        }
        tokio::time::sleep(Duration::from_millis(40)).await;
    }
}

async fn history(clinic: Arc<Clinic>, number: usize, seed: u64) -> Ended {
    let mut random = Random(seed);
    let msisdn = format!("2547{:08}", 10_000_000 + number);
    let mut faults = Vec::new();
    for _ in 0..random.next(3) {
        let kind = KINDS[random.next(KINDS.len() as u64) as usize];
        let value = match kind {
            FaultKind::CallbackDelay => Some("700".to_owned()),
            FaultKind::CallbackDuplicate => Some("3".to_owned()),
            _ => None,
        };
        let times = Some(1 + u32::try_from(random.next(2)).unwrap());
        let fault = Fault { times, msisdn: Some(msisdn.clone()), value, ..Fault::new(kind) };
        clinic.sandbox.sandbox().add_fault(fault).expect("too many faults");
        faults.push(kind);
    }
    let invoice = bill(&clinic, &msisdn, number).await;
    let path = format!("/api/v1/invoices/{invoice}/payments");
    let mut payments: Vec<String> = Vec::new();
    for _ in 0..1 + random.next(3) {
        let ask = json!({"method": "mpesa", "phone": format!("+{msisdn}")});
        let (status, answer) = sure(&clinic, "POST", &path, &clinic.till, &ask).await;
        match status {
            200 | 201 => payments.push(answer["id"].as_str().unwrap().to_owned()),
            // One is under way, or the bill is paid, or there were too many.
            409 | 422 => {}
            _ => panic!("seed {seed}: {status} {answer}"),
        }
        let wait = Duration::from_millis(200 + random.next(1500));
        if clinic.sandbox.sandbox().wait_for_prompt(&msisdn, wait).await.is_some() {
            match random.next(6) {
                0 => drop(clinic.sandbox.sandbox().answer(&msisdn, Reply::Cancel)),
                1 => drop(clinic.sandbox.sandbox().answer(&msisdn, Reply::Pin("9999".into()))),
                // Left alone: it goes away by itself.
                2 => {}
                _ => drop(clinic.sandbox.sandbox().answer(&msisdn, Reply::Pin("1234".into()))),
            }
        }
        if let (0, Some(last)) = (random.next(3), payments.last()) {
            let check = format!("/api/v1/payments/{last}/check");
            let (status, answer) = sure(&clinic, "POST", &check, &clinic.till, &json!({})).await;
            assert!(matches!(status, 200 | 409 | 422), "seed {seed}: {status} {answer}");
        }
        let (status, day) = sure(&clinic, "GET", "/api/v1/cashier/day", &clinic.till, &Value::Null).await;
        assert_eq!((status, &day["balanced"]), (200, &json!(true)), "seed {seed}: {day}");
    }
    let mut seen = Vec::new();
    for id in payments {
        seen.push(settled(&clinic, &id, seed).await);
    }
    Ended { msisdn, payments: seen, faults, seed }
}

async fn bill(clinic: &Clinic, msisdn: &str, number: usize) -> String {
    let patient = json!({"resourceType": "Patient", "name": [{"family": "History"}],
        "telecom": [{"system": "phone", "value": format!("+{msisdn}"), "use": "mobile"}]});
    let (status, patient) = sure(clinic, "POST", "/fhir/R4/Patient", &clinic.token, &patient).await;
    assert_eq!(status, 201, "{patient}");
    let total = json!({"value": BILL, "currency": "KES"});
    // Its own id: asked for again after a kill, it is the same bill.
    let id = format!("history-{number}");
    let invoice = json!({"resourceType": "Invoice", "id": id, "status": "issued", "totalNet": total, "totalGross": total,
        "subject": {"reference": format!("Patient/{}", patient["id"].as_str().unwrap())},
        "identifier": [{"system": "https://uzima.health/fhir/identifier/invoice", "value": format!("H{number}")}],
        "date": "2026-11-21T08:00:00Z"});
    let (status, made) =
        sure(clinic, "PUT", &format!("/fhir/R4/Invoice/{id}"), &clinic.token, &invoice).await;
    assert!(matches!(status, 200 | 201), "{made}");
    id
}

/// The payment once it has ended, or once only a person can tell.
async fn settled(clinic: &Clinic, id: &str, seed: u64) -> Value {
    let end = tokio::time::Instant::now() + SETTLE;
    let path = format!("/api/v1/payments/{id}");
    loop {
        let (status, now) = sure(clinic, "GET", &path, &clinic.till, &Value::Null).await;
        assert_eq!(status, 200, "seed {seed}: {now}");
        let state = now["state"].as_str().unwrap().to_owned();
        if ["paid", "failed", "cancelled", "expired"].contains(&state.as_str()) {
            return now;
        }
        let (status, asked) = sure(clinic, "POST", &format!("{path}/check"), &clinic.till, &json!({})).await;
        assert!(matches!(status, 200 | 409 | 422), "seed {seed}: {status} {asked}");
        if tokio::time::Instant::now() >= end {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

/// Minor units that the program took for paid.
fn paid(payments: &[Value]) -> i64 {
    let paid = payments.iter().filter(|payment| payment["state"] == "paid");
    paid.map(|payment| payment["amount"]["amount_minor"].as_i64().unwrap()).sum()
}

/// Only a person can tell what became of it.
fn is_open(payment: &Value) -> bool {
    !matches!(payment["state"].as_str(), Some("paid" | "failed" | "cancelled" | "expired"))
}

#[tokio::test(flavor = "multi_thread")]
async fn however_a_payment_goes_it_is_posted_once() {
    let (count, seed) = (machine::number("UZIMA_TEST_HISTORIES", 24), seed());
    println!("seed {seed}, {count} histories");
    let mut random = Random(seed);
    let listen = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
    let sandbox = sandbox::serve(sandbox::Config { listen, ..sandbox::Config::default() }).await.unwrap();
    let settings: SettingsChange =
        serde_json::from_value(json!({"processing_ms": 20, "prompt_timeout_ms": 2500})).unwrap();
    sandbox.sandbox().change_settings(settings).unwrap();
    let base = sandbox.base_url();
    let machine = Machine::new().with_daraja(&base);
    let client = machine.client().await;
    machine.user("till", access::Role::Cashier);
    let mut child = machine.start().await;
    let (token, till) = (machine.token(&client).await, machine.sign_in("till").await);
    let clinic = Arc::new(Clinic { machine, sandbox, token, till });
    let mut ended: Vec<Ended> = Vec::new();
    let mut number = 0;
    while number < count {
        let mut under_way = tokio::task::JoinSet::new();
        for _ in 0..AT_ONCE.min(count - number) {
            number += 1;
            under_way.spawn(history(clinic.clone(), number, random.next(u64::MAX - 1) | 1));
        }
        for _ in 0..1 + random.next(2) {
            tokio::time::sleep(Duration::from_millis(100 + random.next(2500))).await;
            child.kill().unwrap();
            child.wait().unwrap();
            child = clinic.machine.start().await;
        }
        while let Some(one) = under_way.join_next().await {
            ended.push(one.unwrap());
        }
        clinic.sandbox.sandbox().clear_faults();
    }
    // Late callbacks have come by now, or will find nothing to do.
    let mut taken: BTreeMap<String, i64> = BTreeMap::new();
    for transaction in clinic.sandbox.sandbox().transactions() {
        if transaction.receipt.is_some() {
            *taken.entry(transaction.msisdn).or_default() += transaction.amount_minor;
        }
    }
    // What only a query can confirm is asked again by the program itself, now that the provider answers.
    for one in &mut ended {
        let moved = taken.get(&one.msisdn).copied().unwrap_or(0);
        let end = tokio::time::Instant::now() + SETTLE;
        while paid(&one.payments) < moved && tokio::time::Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(150)).await;
            for payment in &mut one.payments {
                let path = format!("/api/v1/payments/{}", payment["id"].as_str().unwrap());
                let (status, now) = sure(&clinic, "GET", &path, &clinic.till, &Value::Null).await;
                assert_eq!(status, 200, "seed {}: {now}", one.seed);
                *payment = now;
            }
            if one.payments.iter().any(is_open) {
                break;
            }
        }
    }
    let (mut posted, mut unknown, mut states) = (0, 0, BTreeMap::<String, u32>::new());
    for one in &ended {
        for payment in &one.payments {
            *states.entry(payment["state"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        let paid = paid(&one.payments);
        let is_open = one.payments.iter().any(is_open);
        let moved = taken.get(&one.msisdn).copied().unwrap_or(0);
        let about = format!("seed {} {:?}: {:?}", one.seed, one.faults, one.payments);
        assert!(paid <= moved, "posted {paid}, the provider took {moved}; {about}");
        assert!(moved <= BILL * 100, "the payer paid twice: {moved}; {about}");
        if !is_open {
            assert_eq!(paid, moved, "{about}");
        } else {
            // The server died between the provider's answer and noting it, and was not there for the callback: nobody but
            // the provider's statement can tell, and it is said so.
            unknown += 1;
        }
        posted += paid;
    }
    let (_, day) = sure(&clinic, "GET", "/api/v1/cashier/day", &clinic.till, &Value::Null).await;
    assert_eq!(day["balanced"], true, "{day}");
    let line = day["ledger"].as_array().unwrap().iter().find(|line| line["account"] == "1020-mpesa");
    let held = line.map_or(0, |line| line["balance"]["amount_minor"].as_i64().unwrap());
    println!("{} histories: {states:?}; {posted} posted, {held} held, {unknown} for a person", ended.len());
    assert_eq!(held, posted, "{day}");
    child.kill().unwrap();
    child.wait().unwrap();
}
