//! What the audit trail costs: `cargo run --release -p uzima-record --example audit -- FOLDER ROWS`.
//!
//! Fills an encrypted database with made-up entries, seals and verifies them, proves some and asks whose records an
//! account, a session and an address touched. The folder is kept: a second run with the same folder only asks.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool for measuring ends where something is wrong"
)]

use access::{Ctx, Principal, Purpose, Role, User};
use jiff::{SignedDuration, Timestamp};
use record::Record;
use record::audit::{Against, AuditKey, Suspect};
use std::sync::Arc;
use std::time::Instant;
use store::audit::{Event, Outcome};
use store::{Secret32, Store, StoreConfig};

/// Entries of one commit.
const BATCH: u64 = 500;
const PATIENTS: u64 = 50_000;
const ACCOUNTS: u64 = 200;

fn event(n: u64, begin: Timestamp) -> Event {
    let account = n * 7919 % ACCOUNTS;
    let patient =
        |k: u64| uuid::Uuid::from_u128(u128::from((n * 2_654_435_761 + k) % PATIENTS) << 64 | 7).to_string();
    // One search in ten, which finds ten.
    let is_query = n.is_multiple_of(10);
    // A session is four hours of an account.
    let session = (account << 32) | (n / 50_000);
    Event {
        at: begin + SignedDuration::from_millis(i64::try_from(n * 100).unwrap()),
        action: if is_query { "query".into() } else { "read".into() },
        outcome: if n.is_multiple_of(97) { Outcome::Denied } else { Outcome::Success },
        agent: format!("account/{account}"),
        agent_display: format!("Dr. Otieno {account}"),
        role: "doctor".into(),
        address: Some(std::net::IpAddr::from([10, 0, 0, u8::try_from(account).unwrap()])),
        request_id: uuid::Uuid::from_u128(u128::from(n) * 0x9e37_79b9_7f4a_7c15).to_string(),
        purpose: Purpose::Treatment,
        what: match is_query {
            true => "Observation?patient=Patient/p&_sort=-date&_count=20".into(),
            false => format!("Observation/{}", uuid::Uuid::from_u128(u128::from(n) * 0x1234_5678_9abc)),
        },
        patients: (0..if is_query { 10 } else { 1 }).map(patient).collect(),
        session: Some(session.to_be_bytes()),
        client: String::new(),
    }
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = std::path::PathBuf::from(arguments.next().unwrap());
    let rows: u64 = arguments.next().unwrap().parse().unwrap();
    std::fs::create_dir_all(&folder).unwrap();
    let url = format!("sqlite:{}", folder.join("audit.db").display());
    let store = Store::open(StoreConfig::new(url, Some(Secret32::new([7; 32])))).unwrap();
    let record = Record::new(store, Arc::new(Timestamp::now));
    tokio::runtime::Runtime::new().unwrap().block_on(measure(&record, rows));
    record.store().close();
    println!("{} MB on the disk", std::fs::metadata(folder.join("audit.db")).unwrap().len() >> 20);
}

fn say(what: &str, since: Instant, count: u64) {
    let seconds = since.elapsed().as_secs_f64();
    println!("{what}: {seconds:.2} s, {:.2} µs each of {count}", seconds * 1e6 / count.max(1) as f64);
}

async fn measure(record: &Record, rows: u64) {
    let begin: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
    let head = record.audit_head().await.unwrap();
    if head.is_none() {
        let since = Instant::now();
        for first in (0..rows).step_by(BATCH as usize) {
            record
                .store()
                .append_audit((first..(first + BATCH).min(rows)).map(|n| event(n, begin)).collect())
                .await
                .unwrap();
        }
        say("append", since, rows);
        let key = AuditKey::new(&Secret32::new([1; 32])).unwrap();
        let since = Instant::now();
        while record.audit_seal(&key, true).await.unwrap().is_some() {}
        say("seal", since, rows);
    }
    let head = record.audit_head().await.unwrap().unwrap();
    let since = Instant::now();
    for n in 0..100 {
        let from = 1 + n * (head.size - 1) / 100;
        assert!(record.audit_prove_growth((from, head.size)).await.unwrap().holds);
    }
    say("consistency proofs", since, 100);
    let since = Instant::now();
    for n in 1..=100 {
        let row = i64::try_from(n * rows / 101).unwrap();
        assert!(record.audit_prove_row(row, None).await.unwrap().holds);
    }
    say("inclusion proofs", since, 100);
    let user = User {
        account: 1,
        display: "Officer".into(),
        roles: vec![Role::PrivacyOfficer],
        patient: None,
        practitioner: None,
        language: "en".into(),
        standing: std::sync::Arc::default(),
    };
    let mut ctx = Ctx::system("measure", record.now());
    ctx.principal = Principal::User(user);
    let all = Suspect {
        agent: None,
        client: None,
        session: None,
        address: None,
        from: begin,
        until: begin + SignedDuration::from_hours(24 * 365),
    };
    let session = ((3u64 << 32) | (rows / 100_000)).to_be_bytes();
    for (name, suspect) in [
        ("affected by an account, whole time", Suspect { agent: Some("account/3".into()), ..all.clone() }),
        ("affected by a session, whole time", Suspect { session: Some(session), ..all.clone() }),
        (
            "affected by an address, whole time",
            Suspect { address: Some("10.0.0.3".parse().unwrap()), ..all.clone() },
        ),
        (
            "affected by an address, four hours",
            Suspect {
                address: Some("10.0.0.3".parse().unwrap()),
                from: begin + SignedDuration::from_hours(1),
                until: begin + SignedDuration::from_hours(5),
                ..all.clone()
            },
        ),
    ] {
        let since = Instant::now();
        let found = record.audit_affected(&ctx, suspect, &mut |_, _| {}).await.unwrap();
        println!("{} events, {} patients, {} refused", found.events, found.patients.len(), found.refused);
        say(name, since, rows);
    }
    let since = Instant::now();
    let report = record.audit_verify(Against { heads: vec![head], key: None }, &mut |_, _| {}).await.unwrap();
    assert_eq!(report.finding, None);
    say("verify", since, report.entries);
}
