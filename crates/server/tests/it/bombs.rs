//! What unpacks, unfolds or claims to be huge, against the program by itself: its memory is looked at, and nobody else's.

use crate::machine::Machine;
use serde_json::json;
use std::io::Write as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const MIB: u64 = 1024 * 1024;
/// How often each is sent: what is not given back adds up.
const TIMES: usize = 8;
/// Small requests after the large ones, at the most.
const AFTERWARDS: usize = 500;

/// A program whose caches, buffers and threads are made, and who may write.
struct Target {
    machine: Machine,
    child: std::process::Child,
    token: String,
    http: reqwest::Client,
}

impl Target {
    async fn start() -> Target {
        let machine = Machine::new();
        let client = machine.client().await;
        let child = machine.start().await;
        let token = machine.token(&client).await;
        let http = reqwest::Client::new();
        let target = Target { machine, child, token, http };
        let patient = json!({"resourceType": "Patient", "name": [{"family": "Mwanzo"}]}).to_string();
        let xml = "<Patient xmlns=\"http://hl7.org/fhir\"><active value=\"true\"/></Patient>";
        for _ in 0..20 {
            assert_eq!(
                target.post("/fhir/R4/Patient", "application/fhir+json", "", patient.clone().into()).await,
                201
            );
            assert_eq!(target.post("/fhir/R4/Patient", "application/fhir+xml", "", xml.into()).await, 201);
            let packed = gzip(patient.as_bytes());
            assert_eq!(target.post("/fhir/R4/Patient", "application/fhir+json", "gzip", packed).await, 201);
        }
        target
    }

    async fn post(&self, path: &str, kind: &str, encoding: &str, body: Vec<u8>) -> u16 {
        let request = self.http.post(format!("{}{path}", self.machine.url())).bearer_auth(&self.token);
        let request = request.header("content-type", kind).body(body);
        let request =
            if encoding.is_empty() { request } else { request.header("content-encoding", encoding) };
        request.send().await.unwrap().status().as_u16()
    }

    fn resident(&self) -> u64 {
        Machine::resident(&self.child)
    }

    /// Still alive and well, and not grown by this much.
    async fn end(mut self, before: u64, most: u64) {
        let patient = json!({"resourceType": "Patient"}).to_string();
        // The allocator gives back what nobody uses as it goes on, not at once.
        let mut grown = self.resident().saturating_sub(before);
        for _ in 0..AFTERWARDS {
            if grown < most {
                break;
            }
            self.post("/fhir/R4/Patient", "application/fhir+json", "", patient.clone().into()).await;
            grown = self.resident().saturating_sub(before);
        }
        println!("grown by {} KiB", grown / 1024);
        assert!(grown < most, "{} MiB", grown / MIB);
        assert_eq!(self.post("/fhir/R4/Patient", "application/fhir+json", "", patient.into()).await, 201);
        self.machine.stop(&mut self.child);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Documents that unfold: by entities of entities, by one long entity named often, by parameters, by attributes, from
/// files and from the network.
fn laughs() -> Vec<String> {
    let nested = |levels: usize, times: usize| -> String {
        (1..=levels)
            .map(|n| format!("<!ENTITY a{n} \"{}\">", format!("&a{};", n - 1).repeat(times)))
            .collect()
    };
    let quadratic = format!("<!ENTITY a0 \"{}\">", "h".repeat(100_000));
    let declarations = [
        format!("<!ENTITY a0 \"ha\">{}", nested(20, 10)),
        format!("<!ENTITY a0 \"ha\">{}", nested(9, 500)),
        quadratic.clone(),
        "<!ENTITY % p \"<!ENTITY a0 'ha'>\">%p;".to_owned(),
        "<!ENTITY a0 SYSTEM \"file:///dev/zero\">".to_owned(),
        "<!ENTITY a0 SYSTEM \"file:///etc/passwd\">".to_owned(),
        "<!ENTITY a0 SYSTEM \"http://127.0.0.1:1/x\">".to_owned(),
        "<!ENTITY a0 PUBLIC \"x\" \"http://127.0.0.1:1/x\">".to_owned(),
        "<!ENTITY % p SYSTEM \"http://127.0.0.1:1/x.dtd\">%p;".to_owned(),
        format!("<!ATTLIST Patient x CDATA \"{}\">", "&a0;".repeat(1_000)),
        format!("<!NOTATION n SYSTEM \"{}\">", "x".repeat(1_000_000)),
    ];
    let last = |n: usize| if n == 0 { "&a20;" } else { "&a0;" };
    let mut all: Vec<String> = declarations
        .iter()
        .enumerate()
        .map(|(n, text)| {
            let uses = last(n).repeat(if *text == quadratic { 50_000 } else { 1 });
            format!("<!DOCTYPE Patient [{text}]><Patient xmlns=\"http://hl7.org/fhir\"><id value=\"{uses}\"/></Patient>")
        })
        .collect();
    for doctype in [
        "<!DOCTYPE Patient>",
        "<!doctype Patient>",
        "<!DOCTYPE Patient SYSTEM \"file:///dev/zero\">",
        "<!DOCTYPE",
    ] {
        all.push(format!("{doctype}<Patient xmlns=\"http://hl7.org/fhir\"/>"));
        all.push(format!(
            "<?xml version=\"1.0\"?><!-- c -->{doctype}<Patient xmlns=\"http://hl7.org/fhir\"/>"
        ));
    }
    all
}

/// N2: a document type is refused where it stands, so what comes behind it costs nothing: 8 MiB of it no more than nothing
/// (`fhir xml` says at which byte reading ends).
#[tokio::test(flavor = "multi_thread")]
async fn documents_that_unfold_cost_nothing() {
    let target = Target::start().await;
    let corpus = laughs();
    let mut before = 0;
    for time in 0..=TIMES {
        // After the first, since what all requests use together is made by then.
        if time == 1 {
            before = target.resident();
        }
        for text in &corpus {
            for path in ["/fhir/R4/Patient", "/fhir/R4"] {
                let status = target.post(path, "application/fhir+xml", "", text.clone().into_bytes()).await;
                assert_eq!(status, 400, "{}", &text[..text.len().min(120)]);
            }
        }
    }
    target.end(before, 10 * MIB).await;
}

/// N7: gzip of 1000:1, lengths that are claimed and not sent.
#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_unpack_or_claim_much_cost_little() {
    let target = Target::start().await;
    let bomb = gzip(&vec![b' '; 200 << 20]);
    assert!(bomb.len() < 220_000, "1000:1");
    let mut before = 0;
    for time in 0..=TIMES {
        if time == 1 {
            before = target.resident();
        }
        for path in ["/fhir/R4", "/fhir/R4/Patient", "/fhir/R4/$validate", "/fhir/R4/Binary"] {
            for kind in ["application/fhir+json", "application/fhir+xml"] {
                let status = target.post(path, kind, "gzip", bomb.clone()).await;
                assert_eq!(status, 413, "{path} {kind}");
            }
        }
        for (path, kind) in [
            ("/fhir/R4/Patient", "application/fhir+json"),
            ("/fhir/R4", "application/fhir+xml"),
            ("/fhir/R4/Binary", "image/png"),
            ("/api/v1/auth/login", "application/json"),
            ("/api/v1/patients", "application/json"),
            ("/csp-report", "application/csp-report"),
        ] {
            let address = target.machine.url().strip_prefix("http://").unwrap();
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: {kind}\r\n\
                 content-length: 4294967296\r\nconnection: close\r\n\r\n{{",
                target.token
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = [0; 64];
            let read = stream.read(&mut answer).await.unwrap();
            let status =
                String::from_utf8_lossy(&answer[..read]).split(' ').nth(1).unwrap_or_default().to_owned();
            // The product's own API is not for programs.
            let refused = if path == "/api/v1/patients" { ["413", "403"] } else { ["413", "413"] };
            assert!(refused.contains(&status.as_str()), "{path}: {status}");
        }
    }
    target.end(before, 16 * MIB).await;
}
