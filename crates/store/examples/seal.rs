//! What sealing costs: `seal` writes and reads resources of 2 KB with and without keys, on one thread each, and prints the
//! processor time of one of each.

#![expect(clippy::panic, reason = "a measurement that meets an error has no result")]

use fhir::{ResourceKey, TypeId};
use jiff::Timestamp;
use store::resource::{self, New};
use store::{Content, Error, Secret32, Store, StoreConfig, Tx};

const RESOURCES: u64 = 40_000;
const PATIENTS: u64 = 2_000;
const BATCH: u64 = 500;
/// Clock ticks of `/proc`, in microseconds.
const TICK_US: f64 = 10_000.0;

/// Processor time of this process so far, microseconds.
fn busy() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<f64> = text
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|f| f.parse().ok())
        .collect();
    // After the name and the state: utime and stime are the 14th and 15th of all.
    (fields.get(10).copied().unwrap_or(0.0) + fields.get(11).copied().unwrap_or(0.0)) * TICK_US
}

fn key(n: u64) -> ResourceKey {
    ResourceKey { kind: TypeId::OBSERVATION, id: format!("o{n}") }
}

fn json(n: u64) -> String {
    // Text of which little repeats, as notes have it.
    let mut text = String::new();
    let mut state = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    while text.len() < 1_700 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:06x} ", state >> 40));
    }
    format!(
        r#"{{"resourceType":"Observation","id":"o{n}","status":"final","code":{{"coding":[{{"system":"http://loinc.org","code":"8867-4"}}]}},"subject":{{"reference":"Patient/p{}"}},"note":[{{"text":"{text}"}}]}}"#,
        n % PATIENTS
    )
}

fn measure(files: Option<Secret32>) -> (f64, f64) {
    let Ok(folder) = tempfile::tempdir() else { panic!("no folder") };
    let url = format!("sqlite:{}", folder.path().join("seal.db").display());
    let config = StoreConfig { files, readers: 1, ..StoreConfig::new(url, Some(Secret32::new([7; 32]))) };
    let store = match Store::open(config) {
        Ok(store) => store,
        Err(error) => panic!("{error}"),
    };
    let contents: Vec<Content> = (0..RESOURCES).map(|n| Content::new(&json(n))).collect();
    let begun = busy();
    for first in (0..RESOURCES).step_by(BATCH as usize) {
        let some: Vec<(u64, Content)> =
            (first..first + BATCH).map(|n| (n, contents[n as usize].clone())).collect();
        let done = store.write_blocking(move |tx: &mut dyn Tx| {
            for (n, content) in &some {
                let patients = [format!("p{}", n % PATIENTS)];
                let at = Timestamp::UNIX_EPOCH;
                resource::insert(
                    tx,
                    &New { key: &key(*n), last_updated: at, content, entries: &[], patients: &patients },
                )?;
            }
            Ok::<_, Error>(())
        });
        if let Err(error) = done {
            panic!("{error}");
        }
    }
    let written = (busy() - begun) / RESOURCES as f64;
    let begun = busy();
    for first in (0..RESOURCES).step_by(BATCH as usize) {
        let done = store.read_blocking(move |tx: &mut dyn Tx| {
            for n in first..first + BATCH {
                resource::load(tx, &key(n))?;
            }
            Ok::<_, Error>(())
        });
        if let Err(error) = done {
            panic!("{error}");
        }
    }
    let read = (busy() - begun) / RESOURCES as f64;
    store.close();
    (written, read)
}

fn main() {
    println!("processor time per resource of 2 KB, microseconds");
    for _ in 0..3 {
        let (plain, sealed) = (measure(None), measure(Some(Secret32::new([7; 32]))));
        println!(
            "create {:.1} plain {:.1} sealed, {:+.1}; read {:.1} plain {:.1} sealed, {:+.1}",
            plain.0,
            sealed.0,
            sealed.0 - plain.0,
            plain.1,
            sealed.1,
            sealed.1 - plain.1
        );
    }
}
