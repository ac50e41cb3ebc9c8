//! The work that is measured: the same requests for our server and for others.

use super::http::Connection;
use super::load::{self, Measured, Processes};
use anyhow::Context;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::Mutex;

/// Resources of one transaction.
const TRANSACTION: u64 = 100;
/// A prime, so that the nth choice wanders over all of a list.
const STRIDE: usize = 7919;

/// A FHIR server.
#[derive(Clone)]
pub struct Endpoint {
    /// host:port
    pub host: String,
    /// Path of the API, e.g. `/fhir/R4`.
    pub base: String,
    /// Empty for none.
    pub token: String,
}

impl Endpoint {
    /// Errors: anything but 200 with JSON.
    pub fn get(&self, path: &str) -> anyhow::Result<Value> {
        let mut c = Connection::open(&self.host, &self.token)?;
        let status = c.send("GET", &format!("{}/{path}", self.base), "", b"")?;
        anyhow::ensure!(status == 200, "HTTP {status} for {path}: {}", String::from_utf8_lossy(&c.body));
        Ok(serde_json::from_slice(&c.body)?)
    }
}

/// Whom requests are about.
pub struct People {
    patients: Vec<Person>,
    /// Ids of Observations that the first case made.
    observations: Mutex<Vec<String>>,
}

struct Person {
    id: String,
    /// `system|value`, percent-encoded.
    identifier: String,
}

/// The server's first 500 patients. Errors: there are none.
pub fn people(endpoint: &Endpoint) -> anyhow::Result<People> {
    let bundle = endpoint.get("Patient?_count=500")?;
    let patients: Vec<Person> = bundle["entry"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|e| {
            let identifier = &e["resource"]["identifier"][0];
            let text = format!(
                "{}|{}",
                identifier["system"].as_str().unwrap_or_default(),
                identifier["value"].as_str().unwrap_or_default()
            );
            Some(Person { id: e["resource"]["id"].as_str()?.to_owned(), identifier: encode(&text) })
        })
        .collect();
    anyhow::ensure!(!patients.is_empty(), "the server has no patients");
    Ok(People { patients, observations: Mutex::default() })
}

impl People {
    fn patient(&self, n: u64) -> &Person {
        &self.patients[(n as usize).wrapping_mul(STRIDE) % self.patients.len()]
    }
}

/// One kind of request.
pub struct Case {
    pub name: &'static str,
    kind: Kind,
    /// How many resources one request stands for.
    resources: u64,
    /// Part of the short list that is measured at every size.
    pub is_growth: bool,
}

enum Kind {
    Create,
    Transaction,
    Read,
    Get(fn(&Person, u64) -> String),
}

const fn get(name: &'static str, path: fn(&Person, u64) -> String) -> Case {
    Case { name, kind: Kind::Get(path), resources: 1, is_growth: false }
}

/// Creates come first: reads are of what they made.
pub const CASES: &[Case] = &[
    Case { name: "create Observation (1 KB)", kind: Kind::Create, resources: 1, is_growth: true },
    Case {
        name: "transaction of 100 Observations",
        kind: Kind::Transaction,
        resources: TRANSACTION,
        is_growth: false,
    },
    Case { name: "read by id", kind: Kind::Read, resources: 1, is_growth: true },
    Case {
        name: "Observations of a patient with a code, newest 20",
        kind: Kind::Get(|p, _| {
            format!(
                "Observation?patient=Patient/{}&code=http://loinc.org%7C8867-4&_sort=-date&_count=20",
                p.id
            )
        }),
        resources: 1,
        is_growth: true,
    },
    Case {
        // The walk through the patient's whole record finds nothing.
        name: "Observations of a patient with a code she has not",
        kind: Kind::Get(|p, _| {
            format!(
                "Observation?patient=Patient/{}&code=http://loinc.org%7C1558-6&_sort=-date&_count=20",
                p.id
            )
        }),
        resources: 1,
        is_growth: true,
    },
    Case {
        name: "Patients by family prefix, 20",
        kind: Kind::Get(|_, n| {
            let prefix =
                ["Kam", "Mwa", "Och", "Oti", "Wek", "Kip", "Mut", "Has", "Abd", "Nja"][n as usize % 10];
            format!("Patient?family={prefix}&_count=20")
        }),
        resources: 1,
        is_growth: true,
    },
    get("Patient by identifier", |p, _| format!("Patient?identifier={}", p.identifier)),
    get("Observations by the patient's identifier (chain), newest 20", |p, _| {
        format!("Observation?subject:Patient.identifier={}&_sort=-date&_count=20", p.identifier)
    }),
    get("active Conditions of a patient", |p, _| {
        format!("Condition?patient=Patient/{}&clinical-status=active", p.id)
    }),
    get("Encounters of a patient with practitioners (include)", |p, _| {
        format!("Encounter?patient=Patient/{}&_include=Encounter:practitioner&_count=20", p.id)
    }),
    get("Patients who have an Observation (_has), by family", |_, n| {
        let prefix = ["Kam", "Mwa", "Och", "Oti"][n as usize % 4];
        format!("Patient?family={prefix}&_has:Observation:patient:code=8867-4&_count=20")
    }),
];

/// A server under load.
pub struct Target<'a> {
    /// For messages.
    pub who: &'a str,
    pub seconds: u64,
    pub endpoint: &'a Endpoint,
    pub processes: &'a Processes,
    pub people: &'a People,
}

/// The rows of a table.
#[derive(Default)]
pub struct Figures {
    rows: Vec<(String, Measured)>,
    /// Resources made meanwhile.
    pub created: u64,
    /// Requests that were answered without making any.
    pub read: u64,
}

impl Figures {
    pub fn run(&mut self, target: &Target<'_>, case: &Case, connections: usize) -> anyhow::Result<()> {
        let who = target.who;
        let measured = measure(target, case, connections).with_context(|| format!("{who}: {}", case.name))?;
        if matches!(case.kind, Kind::Create | Kind::Transaction) {
            self.created += measured.requests * case.resources;
        } else {
            self.read += measured.requests;
        }
        let plural = if connections == 1 { "" } else { "s" };
        eprintln!(
            "{who}: {} on {connections}: {:.0}/s, p99 {:.2} ms ({} requests)",
            case.name, measured.per_second, measured.p99_ms, measured.requests
        );
        self.rows.push((format!("{}, {connections} connection{plural}", case.name), measured));
        Ok(())
    }

    pub fn table(&self) -> String {
        let mut table = String::from(
            "| What | per second | p50 ms | p95 ms | p99 ms | max ms | CPU µs |\n|---|---|---|---|---|---|---|\n",
        );
        for (name, m) in &self.rows {
            let _ = writeln!(
                table,
                "| {name} | {:.0} | {:.2} | {:.2} | {:.2} | {:.1} | {:.0} |",
                m.per_second, m.p50_ms, m.p95_ms, m.p99_ms, m.max_ms, m.cpu_us
            );
        }
        table
    }

    pub fn rows(&self) -> impl Iterator<Item = (&str, &Measured)> {
        self.rows.iter().map(|(name, measured)| (name.as_str(), measured))
    }
}

fn measure(target: &Target<'_>, case: &Case, connections: usize) -> anyhow::Result<Measured> {
    let Target { seconds, endpoint, processes, people, .. } = target;
    let base = &endpoint.base;
    let made = people.observations.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.clone();
    load::run(&endpoint.host, &endpoint.token, connections, *seconds, processes, |c, n| match case.kind {
        Kind::Create => {
            let body = observation(&people.patient(n).id, n).to_string();
            let status =
                c.send("POST", &format!("{base}/Observation"), "application/fhir+json", body.as_bytes())?;
            if n.is_multiple_of(10)
                && let Some(id) = c.location.as_deref().and_then(id_of)
            {
                people.observations.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.push(id);
            }
            Ok(status)
        }
        Kind::Transaction => {
            let body = transaction(people, n).to_string();
            c.send("POST", base, "application/fhir+json", body.as_bytes())
        }
        Kind::Read => {
            anyhow::ensure!(!made.is_empty(), "creates gave no Location");
            let id = &made[(n as usize).wrapping_mul(STRIDE) % made.len()];
            c.send("GET", &format!("{base}/Observation/{id}"), "", b"")
        }
        Kind::Get(path) => c.send("GET", &format!("{base}/{}", path(people.patient(n), n)), "", b""),
    })
}

fn transaction(people: &People, n: u64) -> Value {
    let entries: Vec<Value> = (0..TRANSACTION)
        .map(|i| {
            let n = n * TRANSACTION + i;
            json!({"resource": observation(&people.patient(n).id, n), "request": {"method": "POST", "url": "Observation"}})
        })
        .collect();
    json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})
}

/// `…/Observation/1/_history/1` → `1`
fn id_of(location: &str) -> Option<String> {
    let rest = &location[location.find("/Observation/")? + "/Observation/".len()..];
    Some(rest.split('/').next()?.to_owned())
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}

/// About 1 KB, as a device or another system would send it.
pub fn observation(patient: &str, n: u64) -> Value {
    let codes = [
        ("8867-4", "Heart rate", "/min"),
        ("8310-5", "Body temperature", "Cel"),
        ("9279-1", "Respiratory rate", "/min"),
        ("59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry", "%"),
    ];
    let (code, display, unit) = codes[n as usize % codes.len()];
    let minute = n % 525_600;
    let at = format!(
        "2026-{:02}-{:02}T{:02}:{:02}:00+03:00",
        minute / 43_800 + 1,
        minute / 1_440 % 28 + 1,
        minute / 60 % 24,
        minute % 60
    );
    json!({"resourceType": "Observation", "status": "final",
        "identifier": [{"system": "https://bench.example/observation", "value": format!("bench-{n:08}")}],
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs", "display": "Vital Signs"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": code, "display": display}], "text": display},
        "subject": {"reference": format!("Patient/{patient}")},
        "effectiveDateTime": at, "issued": at,
        "valueQuantity": {"value": 60 + n % 40, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
        "interpretation": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", "code": "N", "display": "Normal"}]}],
        "method": {"text": "Automatic, at rest"},
        "note": [{"text": "Taken by the ward monitor after five minutes of rest, sitting, left arm."}],
        "referenceRange": [{"low": {"value": 60, "unit": unit}, "high": {"value": 100, "unit": unit}, "text": "60 to 100"}]})
}
