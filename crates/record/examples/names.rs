//! Whether the time of a refused sign-in tells if a name is known: `cargo run --release -p uzima-record --example names --
//! TRIES` (1,000 unless told). Tries known and unknown names in turn on an encrypted database, with a clock that is turned
//! on between them so that nobody has to wait, and prints the medians and means of both in microseconds. Exits with 1 when
//! they are 5 ms apart or more (facts/security-controls.md I7). The names are in the form of each way there is: user
//! name, phone, e-mail.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a tool for measuring ends where something is wrong"
)]

use access::{Ctx, Role};
use jiff::{SignedDuration, Timestamp};
use record::Record;
use record::authn::{AccountSpec, Origin};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};
use store::{Secret32, Store, StoreConfig};

/// The control's own limit.
const APART: Duration = Duration::from_millis(5);
/// Longer than any delay after failures.
const TURN: SignedDuration = SignedDuration::from_hours(2);
const KNOWN: usize = 30;

/// The name of account `n`, or, `unknown`, one of the same form that nobody has.
fn login(n: usize, unknown: bool) -> String {
    let of = if unknown { 5 } else { 1 };
    match n % 3 {
        0 => format!("person{of}{n:03}"),
        1 => format!("+25470{of}000{n:03}"),
        _ => format!("person{of}{n:03}@clinic.example"),
    }
}

async fn refused(record: &Record, name: &str, n: usize) -> Duration {
    let address = std::net::Ipv4Addr::from(0x0a00_0000 + u32::try_from(n).unwrap());
    let from = Origin { address: Some(address.into()), ..Origin::default() };
    let started = Instant::now();
    let answer = record.sign_in(name, "not the password", &from).await;
    let took = started.elapsed();
    assert!(answer.is_err());
    took
}

fn figures(times: &mut [Duration]) -> (Duration, Duration) {
    times.sort();
    let sum: Duration = times.iter().sum();
    (times[times.len() / 2], sum / u32::try_from(times.len()).unwrap())
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let tries: usize = std::env::args().nth(1).map_or(1_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("uzima.db").display());
    let config = StoreConfig::new(url, Some(Secret32::new([7; 32])));
    let store = tokio::task::spawn_blocking(move || Store::open(config)).await.unwrap().unwrap();
    let start: Timestamp = "2026-11-21T09:00:00Z".parse().unwrap();
    let now = Arc::new(AtomicI64::new(start.as_second()));
    let clock = now.clone();
    let record =
        Record::new(store, Arc::new(move || Timestamp::from_second(clock.load(Ordering::SeqCst)).unwrap()));
    for n in 0..KNOWN {
        let spec = AccountSpec {
            display: format!("Person {n}"),
            login: Some(format!("person1{n:03}")),
            phone: Some(format!("+254701000{n:03}")),
            email: Some(format!("person1{n:03}@clinic.example")),
            password: Some("a long passphrase".into()),
            roles: vec![Role::Cashier],
            patient: None,
            practitioner: None,
            language: "en".into(),
        };
        record.create_account(&Ctx::system("names", record.now()), spec).await.unwrap();
    }
    let (mut known, mut unknown) = (Vec::new(), Vec::new());
    for n in 0..tries {
        now.fetch_add(TURN.as_secs(), Ordering::SeqCst);
        // In turn, so that what the machine does besides is in both.
        for is_unknown in if n % 2 == 0 { [true, false] } else { [false, true] } {
            let took = refused(&record, &login(n % KNOWN, is_unknown), n).await;
            if is_unknown {
                unknown.push(took)
            } else {
                known.push(took)
            }
            // What is written after an answer is over before the next try.
            record.store().settle_audit().await.unwrap();
        }
    }
    let ((known_median, known_mean), (unknown_median, unknown_mean)) =
        (figures(&mut known), figures(&mut unknown));
    let apart = known_median.abs_diff(unknown_median).max(known_mean.abs_diff(unknown_mean));
    println!(
        "{{\"tries\":{tries},\"known_median_us\":{},\"unknown_median_us\":{},\"known_mean_us\":{},\"unknown_mean_us\":{},\"apart_us\":{}}}",
        known_median.as_micros(),
        unknown_median.as_micros(),
        known_mean.as_micros(),
        unknown_mean.as_micros(),
        apart.as_micros()
    );
    if apart < APART { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}
