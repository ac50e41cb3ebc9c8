//! Load generator: `load URL RESOURCES PATIENTS SECONDS`, e.g. `load sqlite:load.db 200000 10000 5`.
//!
//! Fills the database up to RESOURCES Observations of PATIENTS patients, then measures creates, reads and searches
//! from 16 tasks, each with its audit, and prints rates, latencies, CPU per operation, memory and bytes on disk.

#![expect(clippy::panic, reason = "a measurement that meets an error has no result")]

use access::Purpose;
use fhir::{Resource, ResourceKey, TypeId};
use jiff::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use store::resource::{self, New};
use store::{Content, Error, Secret32, Store, StoreConfig, audit, outbox, search};
use uuid::Uuid;

const TASKS: u64 = 16;
const CODES: [(&str, &str, &str); 8] = [
    ("8480-6", "Systolic blood pressure", "mm[Hg]"),
    ("8462-4", "Diastolic blood pressure", "mm[Hg]"),
    ("8867-4", "Heart rate", "/min"),
    ("8310-5", "Body temperature", "Cel"),
    ("9279-1", "Respiratory rate", "/min"),
    ("29463-7", "Body weight", "kg"),
    ("718-7", "Hemoglobin", "g/dL"),
    ("2339-0", "Glucose", "mg/dL"),
];

#[derive(Clone)]
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

fn patient_id(n: u64) -> String {
    Uuid::from_u128(
        0x0190_0000_0000_7000_8000_0000_0000_0000 | (u128::from(n) * 0x9e37_79b9) & 0x0fff_ffff_ffff_ffff,
    )
    .to_string()
}

fn name(n: u64) -> (String, String) {
    const PARTS: [&str; 16] =
        ["wa", "njo", "ki", "ma", "ti", "mu", "ri", "o", "che", "ng", "ka", "ra", "sa", "be", "do", "ya"];
    let mut random = Random(n);
    let mut word = |syllables: u64| -> String {
        let text: String = (0..syllables).map(|_| PARTS[random.below(16) as usize]).collect();
        text[..1].to_uppercase() + &text[1..]
    };
    (word(3), word(4))
}

fn observation(id: &str, patient: &str, n: u64, at: Timestamp) -> String {
    let (code, display, unit) = CODES[(n % 8) as usize];
    let encounter = Uuid::from_u128(u128::from(n / 8) * 0x9e37_79b9_7f4a_7c15_1234_5678);
    format!(
        r#"{{"resourceType":"Observation","id":"{id}","meta":{{"versionId":"1","lastUpdated":"{at:.3}","profile":["http://hl7.org/fhir/StructureDefinition/vitalsigns"]}},"status":"final","category":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs","display":"Vital Signs"}}]}}],"code":{{"coding":[{{"system":"http://loinc.org","code":"{code}","display":"{display}"}}],"text":"{display}"}},"subject":{{"reference":"Patient/{patient}","display":"Wanjiru Kamau"}},"encounter":{{"reference":"Encounter/{encounter}"}},"effectiveDateTime":"{at:.0}","issued":"{at:.3}","performer":[{{"reference":"Practitioner/d{}","display":"Dr. Otieno"}}],"valueQuantity":{{"value":{}.{},"unit":"{unit}","system":"http://unitsofmeasure.org","code":"{unit}"}},"interpretation":[{{"coding":[{{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation","code":"N","display":"Normal"}}]}}],"note":[{{"text":"Taken sitting, left arm, after five minutes of rest."}}]}}"#,
        n % 40,
        60 + n % 100,
        n % 10
    )
}

/// A resource ready to be written.
struct Ready {
    key: ResourceKey,
    content: Content,
    entries: Vec<fhir::search::IndexEntry>,
    patients: Vec<String>,
    bytes: usize,
}

fn ready(json: &str) -> Ready {
    let resource = Resource::parse(json.as_bytes()).unwrap_or_else(|e| panic!("{e}"));
    Ready {
        key: resource.key().unwrap_or_else(|| panic!("no id")),
        content: Content::new(json),
        entries: fhir::search::extract(&fhir::search::Params::standard(), &resource),
        patients: fhir::search::compartment(&resource),
        bytes: json.len(),
    }
}

fn event(action: &str, what: String, patient: &str, at: Timestamp, n: u64) -> audit::Event {
    audit::Event {
        at,
        action: action.into(),
        outcome: audit::Outcome::Success,
        agent: format!("account/{}", n % 50),
        agent_display: "Dr. Otieno".into(),
        role: "doctor".into(),
        address: Some(std::net::IpAddr::from([10, 0, 0, 1])),
        request_id: Uuid::from_u128(u128::from(n)).to_string(),
        purpose: Purpose::Treatment,
        what,
        patients: vec![patient.into()],
        session: None,
        client: String::new(),
    }
}

fn write_one(tx: &mut dyn store::Tx, ready: &Ready, at: Timestamp, n: u64) -> Result<(), Error> {
    let new = New {
        key: &ready.key,
        last_updated: at,
        content: &ready.content,
        entries: &ready.entries,
        patients: &ready.patients,
    };
    let written = resource::insert(tx, &new)?.ok_or(Error::Invalid("key"))?;
    let patient = ready.patients.first().map(String::as_str).unwrap_or_default();
    audit::append(tx, &[event("create", ready.key.to_string(), patient, at, n)])?;
    outbox::append_at(
        tx,
        written.seq,
        &outbox::NewEvent {
            topic: "resource.created".into(),
            subject: ready.key.clone(),
            patients: ready.patients.clone(),
            data: serde_json::Value::Null,
            created: at,
        },
    )
}

struct Process {
    cpu_ms: u64,
    peak_mb: u64,
    written_kb: u64,
    /// The writer thread's own.
    writer_ms: u64,
}

/// User and system time of a process or thread.
fn cpu_ms(stat: &str) -> u64 {
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    (ticks(11) + ticks(12)) * 10
}

fn process() -> Process {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let number = |text: Option<&str>| text.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let writer = threads
        .map(|thread| read(&format!("{}/stat", thread.path().display())))
        .find(|stat| stat.contains("(store-writer)"))
        .unwrap_or_default();
    let (io, status) = (read("/proc/self/io"), read("/proc/self/status"));
    let resident = status.lines().find(|l| l.starts_with("VmRSS")).and_then(|l| l.split_whitespace().nth(1));
    Process {
        cpu_ms: cpu_ms(&read("/proc/self/stat")),
        peak_mb: number(resident) / 1024,
        written_kb: number(io.lines().find_map(|l| l.strip_prefix("wchar: "))) / 1024,
        writer_ms: cpu_ms(&writer),
    }
}

/// Runs `work` from all tasks for a while and prints what came of it.
async fn measure<F, Fut>(name: &str, seconds: u64, work: F)
where
    F: Fn(u64) -> Fut + Send + Sync + 'static,
    Fut: std::future::Future<Output = ()> + Send,
{
    let (work, counter) = (Arc::new(work), Arc::new(AtomicU64::new(0)));
    let (before, start) = (process(), Instant::now());
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (work, counter) = (work.clone(), counter.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while start.elapsed() < Duration::from_secs(seconds) {
                    let begun = Instant::now();
                    work(counter.fetch_add(1, Ordering::Relaxed)).await;
                    times.push(begun.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap_or_default());
    }
    let (took, after) = (start.elapsed().as_secs_f64(), process());
    times.sort_unstable();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
    println!(
        "{name:32} {:>7.0}/s  p50 {:.2}  p95 {:.2}  p99 {:.2}  max {:.1} ms  CPU {:.0} µs (writer {:.0})  {:.1} KiB written  RSS {} MB",
        times.len() as f64 / took,
        at(0.5),
        at(0.95),
        at(0.99),
        at(1.0),
        (after.cpu_ms - before.cpu_ms) as f64 * 1e3 / times.len() as f64,
        (after.writer_ms - before.writer_ms) as f64 * 1e3 / times.len() as f64,
        (after.written_kb - before.written_kb) as f64 / times.len() as f64,
        after.peak_mb
    );
}

fn fill(store: &Store, resources: u64, patients: u64) -> Result<(u64, u64), Error> {
    let mut json_bytes = 0;
    let start = Instant::now();
    let at = |n: u64| Timestamp::from_second(1_700_000_000 + n as i64).unwrap_or(Timestamp::UNIX_EPOCH);
    let have = store.read_blocking(resource::counts)?;
    let count = |kind: TypeId| have.iter().find(|(k, _)| *k == kind).map_or(0, |(_, n)| *n as u64);
    let mut batch = Vec::new();
    let mut send = |ready: Option<Ready>, last: bool| -> Result<(), Error> {
        batch.extend(ready);
        if batch.len() >= 500 || last {
            let full = std::mem::take(&mut batch);
            store.write_blocking(move |tx| {
                full.iter().enumerate().try_for_each(|(n, r)| write_one(tx, r, at(n as u64), n as u64))
            })?;
        }
        Ok(())
    };
    for n in count(TypeId::PATIENT)..patients {
        let (given, family) = name(n);
        let ready = ready(&format!(
            r#"{{"resourceType":"Patient","id":"{}","meta":{{"versionId":"1","lastUpdated":"{:.3}"}},"identifier":[{{"system":"urn:uzima:record-number","value":"UZ-{n:07}"}}],"name":[{{"family":"{family}","given":["{given}"]}}],"telecom":[{{"system":"phone","value":"+2547{n:08}"}}],"gender":"{}","birthDate":"19{:02}-0{}-1{}"}}"#,
            patient_id(n),
            at(n),
            if n.is_multiple_of(2) { "female" } else { "male" },
            n % 100,
            1 + n % 9,
            n % 10
        ));
        json_bytes += ready.bytes as u64;
        send(Some(ready), false)?;
    }
    let had = count(TypeId::OBSERVATION);
    let mut random = Random(had);
    for n in had..resources {
        let patient = patient_id(random.below(patients));
        let ready = ready(&observation(&Uuid::now_v7().to_string(), &patient, n, at(n * 60 % 60_000_000)));
        json_bytes += ready.bytes as u64;
        send(Some(ready), false)?;
        if n % 100_000 == 0 && n > had {
            println!("  {n} in {:.0} s", start.elapsed().as_secs_f64());
        }
    }
    send(None, true)?;
    let made = resources.saturating_sub(had) + patients.saturating_sub(count(TypeId::PATIENT));
    println!(
        "filled {made} in {:.1} s ({:.0}/s)",
        start.elapsed().as_secs_f64(),
        made as f64 / start.elapsed().as_secs_f64()
    );
    Ok((made, json_bytes))
}

fn disk_bytes(url: &str) -> u64 {
    let path = url.strip_prefix("sqlite:").unwrap_or_default();
    [path.to_owned(), format!("{path}-wal")]
        .iter()
        .filter_map(|p| std::fs::metadata(p).ok())
        .map(|m| m.len())
        .sum()
}

fn parse(kind: TypeId, pairs: &[(&str, &str)]) -> fhir::search::Query {
    let pairs: Vec<(String, String)> =
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    fhir::search::parse(&fhir::search::Params::standard(), kind, &pairs, fhir::search::Handling::Strict)
        .unwrap_or_else(|e| panic!("{e}"))
        .0
}

async fn searched(store: Store, query: fhir::search::Query, n: u64) {
    let now = Timestamp::now();
    let audit = store.append_audit(vec![event(
        "query",
        "Observation?patient&code".into(),
        &patient_id(n % 100),
        now,
        n,
    )]);
    let page = store.read(move |tx| {
        let rights = search::Rights::everything();
        let page = search::run(tx, &query, &rights, now)?;
        search::included(tx, &page.rows, &query.includes, &rights, now)?;
        Ok::<_, Error>(page)
    });
    let (page, audit) = tokio::join!(page, audit);
    audit.unwrap_or_else(|e| panic!("{e}"));
    page.unwrap_or_else(|e| panic!("{e}"));
}

/// What clinical screens and other systems ask besides, each for a while.
async fn more_searches(store: &Store, patients: u64, seconds: u64) {
    type Pairs = Vec<(&'static str, String)>;
    type Make = fn(u64, u64) -> Pairs;
    let searches: [(&str, &str, Make); 12] = [
        ("patient, _total=accurate, 20", "Observation", |n, p| {
            vec![("patient", patient_id(n % p)), ("_total", "accurate".into()), ("_count", "20".into())]
        }),
        ("patient + value, 20", "Observation", |n, p| {
            vec![("patient", patient_id(n % p)), ("value-quantity", "gt100".into()), ("_count", "20".into())]
        }),
        ("patient + _include=subject, 20", "Observation", |n, p| {
            vec![
                ("patient", patient_id(n % p)),
                ("_include", "Observation:subject".into()),
                ("_count", "20".into()),
            ]
        }),
        ("Patient _id + _revinclude", "Patient", |n, p| {
            vec![("_id", patient_id(n % p)), ("_revinclude", "Observation:subject".into())]
        }),
        ("subject.identifier, -date, 20", "Observation", |n, p| {
            vec![
                ("subject:Patient.identifier", format!("UZ-{:07}", n % p)),
                ("_sort", "-date".into()),
                ("_count", "20".into()),
            ]
        }),
        ("subject.family, -date, 20", "Observation", |n, p| {
            vec![
                ("subject:Patient.family", name(n % p).1),
                ("_sort", "-date".into()),
                ("_count", "20".into()),
            ]
        }),
        ("subject.gender + code, -date, 20", "Observation", |n, _| {
            vec![
                ("subject:Patient.gender", "female".into()),
                ("code", CODES[(n % 8) as usize].0.into()),
                ("_sort", "-date".into()),
                ("_count", "20".into()),
            ]
        }),
        ("_has code, 20", "Patient", |n, _| {
            vec![("_has:Observation:patient:code", CODES[(n % 8) as usize].0.into()), ("_count", "20".into())]
        }),
        ("family + _has code, 20", "Patient", |n, p| {
            vec![
                ("family", name(n % p).1),
                ("_has:Observation:patient:code", CODES[(n % 8) as usize].0.into()),
                ("_count", "20".into()),
            ]
        }),
        ("code + a day, 20", "Observation", |n, _| {
            let day = Timestamp::from_second(1_700_000_000 + (n as i64 % 600) * 86_400)
                .map_or_else(|_| String::new(), |day| day.to_string()[..10].to_owned());
            vec![("code", CODES[(n % 8) as usize].0.into()), ("date", day), ("_count", "20".into())]
        }),
        ("code:text, -date, 20", "Observation", |n, _| {
            vec![
                ("code:text", CODES[(n % 8) as usize].1.into()),
                ("_sort", "-date".into()),
                ("_count", "20".into()),
            ]
        }),
        ("_lastUpdated=gt, 20", "Observation", |_, _| {
            vec![
                ("_lastUpdated", "gt2026-11-01".into()),
                ("_sort", "-_lastUpdated".into()),
                ("_count", "20".into()),
            ]
        }),
    ];
    for (name, of, make) in searches {
        let copy = store.clone();
        measure(name, seconds, move |n| {
            let pairs = make(Random(n).below(1 << 40), patients);
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (*a, b.as_str())).collect();
            let kind = TypeId::from_name(of).unwrap_or(TypeId::OBSERVATION);
            searched(copy.clone(), parse(kind, &pairs), n)
        })
        .await;
    }
}

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, resources, patients, seconds] = &arguments[..] else {
        println!("load URL RESOURCES PATIENTS SECONDS");
        return Ok(());
    };
    let number = |text: &str| text.parse::<u64>().map_err(|_| Error::Invalid("number"));
    let (resources, patients, seconds) = (number(resources)?, number(patients)?, number(seconds)?);
    let key = std::env::var("LOAD_PLAIN").is_err().then(|| Secret32::new([9; 32]));
    let store = Store::open(StoreConfig::new(url.clone(), key))?;
    if std::env::var("LOAD_ENTRIES").is_ok() {
        for entry in ready(&observation("x", "p", 1, Timestamp::now())).entries {
            let code = fhir::definitions::param_by_id(entry.param).map_or("?", |p| p.code);
            println!("{code:24} {:?}", entry.value);
        }
    }
    let (made, json) = tokio::task::block_in_place(|| fill(&store, resources, patients))?;
    let run = Timestamp::now().as_microsecond() as u64;

    let copy = store.clone();
    measure("create, audit, outbox", seconds, move |n| {
        let store = copy.clone();
        let n = n + run;
        async move {
            let at = Timestamp::now();
            let patient = patient_id(Random(n).below(patients));
            let ready = ready(&observation(&Uuid::now_v7().to_string(), &patient, n, at));
            store.write(move |tx| write_one(tx, &ready, at, n)).await.unwrap_or_else(|e| panic!("{e}"));
        }
    })
    .await;

    if std::env::var("LOAD_WRITES_ONLY").is_ok() {
        tokio::task::block_in_place(|| store.close());
        return Ok(());
    }
    let copy = store.clone();
    measure("read by id, audit", seconds, move |n| {
        let store = copy.clone();
        async move {
            let now = Timestamp::now();
            let id = patient_id(Random(n).below(patients));
            let key = ResourceKey::new(TypeId::PATIENT, id.clone());
            let audit = store.append_audit(vec![event("read", key.to_string(), &id, now, n)]);
            let read = store.read(move |tx| resource::load(tx, &key));
            let (read, audit) = tokio::join!(read, audit);
            audit.unwrap_or_else(|e| panic!("{e}"));
            read.unwrap_or_else(|e: Error| panic!("{e}")).unwrap_or_else(|| panic!("no patient"));
        }
    })
    .await;

    let copy = store.clone();
    measure("patient + code, _sort=-date, 20", seconds, move |n| {
        let patient = format!("Patient/{}", patient_id(Random(n).below(patients)));
        let code = format!("http://loinc.org|{}", CODES[(n % 8) as usize].0);
        let query = parse(
            TypeId::OBSERVATION,
            &[("patient", patient.as_str()), ("code", code.as_str()), ("_sort", "-date"), ("_count", "20")],
        );
        searched(copy.clone(), query, n)
    })
    .await;

    for letters in [1, 2, 4] {
        let copy = store.clone();
        measure(&format!("Patient?name= {letters} letters, 20"), seconds.min(3), move |n| {
            let (_, family) = name(n);
            let query = parse(TypeId::PATIENT, &[("name", &family[..letters]), ("_count", "20")]);
            searched(copy.clone(), query, n)
        })
        .await;
    }
    let copy = store.clone();
    measure("code over all, _sort=-date, 20", seconds.min(3), move |n| {
        let query = parse(
            TypeId::OBSERVATION,
            &[("code", CODES[(n % 8) as usize].0), ("_sort", "-date"), ("_count", "20")],
        );
        searched(copy.clone(), query, n)
    })
    .await;
    more_searches(&store, patients, seconds.min(2)).await;
    tokio::task::block_in_place(|| store.close());
    if made > 0 && disk_bytes(url) > 0 {
        let disk = disk_bytes(url);
        println!("{json} bytes of JSON filled in; {disk} on disk now, measurements included");
    }
    Ok(())
}
