//! Another FHIR server beside ours: the same data and the same load on both, in turn.

use super::load::Processes;
use super::work::{self, Endpoint, Figures, Target};
use super::{Options, http::Connection, ours::Installation};
use anyhow::Context;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A transaction of the load has at least so many resources; the last ones of a file may have fewer.
const BUNDLE: usize = 100;

pub fn compare(engine: &str, bin: &Path, url: &str, options: &Options) -> anyhow::Result<String> {
    let peer = endpoint(url, &options.against_token)?;
    let installation = Installation::new(engine, bin)?;
    let hospital = installation.hospital(options.patients, options.demographics)?;
    let mut server = installation.serve()?;
    server.sign_in(&installation)?;
    let own = server.endpoint();
    let theirs = Processes(options.against_pid.clone());

    let mut text = format!("\n### Uzima on {engine} beside {url}, {} patients\n\n", options.patients);
    let (ours_loaded, peer_loaded) = (load(&own, &hospital)?, load(&peer, &hospital)?);
    writeln!(
        text,
        "- Loaded in transactions of at least {BUNDLE} over one connection: {:.0} resources/s against {:.0}/s, {:.1} times\n",
        ours_loaded,
        peer_loaded,
        ours_loaded / peer_loaded
    )?;
    let (own_people, peer_people) = (work::people(&own)?, work::people(&peer)?);
    let seconds = options.seconds;
    let own_target =
        Target { who: "uzima", seconds, endpoint: &own, processes: &server.processes, people: &own_people };
    let peer_target =
        Target { who: "other", seconds, endpoint: &peer, processes: &theirs, people: &peer_people };
    let (mut ours, mut other) = (Figures::default(), Figures::default());
    for case in work::CASES {
        for connections in [1, 16] {
            ours.run(&own_target, case, connections)?;
            if let Err(error) = other.run(&peer_target, case, connections) {
                // A peer that lacks a feature is no reason to stop measuring the rest.
                writeln!(text, "- The other server failed at {}: {error:#}", case.name)?;
            }
        }
    }
    text.push_str("\n| What | Uzima per second | other | times | p99 ms | other | CPU µs | other |\n|---|---|---|---|---|---|---|---|\n");
    for (name, m) in ours.rows() {
        let Some((_, o)) = other.rows().find(|(n, _)| *n == name) else { continue };
        let cpu = if options.against_pid.is_empty() { "–".to_owned() } else { format!("{:.0}", o.cpu_us) };
        writeln!(
            text,
            "| {name} | {:.0} | {:.0} | {:.1} | {:.2} | {:.2} | {:.0} | {cpu} |",
            m.per_second,
            o.per_second,
            m.per_second / o.per_second.max(f64::MIN_POSITIVE),
            m.p99_ms,
            o.p99_ms,
            m.cpu_us
        )?;
    }
    Ok(text)
}

/// Errors: not `http://host:port/path`.
fn endpoint(url: &str, token: &str) -> anyhow::Result<Endpoint> {
    let rest = url.strip_prefix("http://").context("--against takes a plain http:// URL")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    let base = if path.is_empty() { String::new() } else { format!("/{}", path.trim_end_matches('/')) };
    Ok(Endpoint { host, base, token: token.to_owned() })
}

/// Puts every resource of the folder by transactions, each under its id; a patient's resources, which refer to each
/// other, stay together. Returns resources per second.
/// Errors: the server refuses more than one in twenty resources.
fn load(endpoint: &Endpoint, folder: &Path) -> anyhow::Result<f64> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?.filter_map(|e| Some(e.ok()?.path())).collect();
    files.retain(|f| f.to_string_lossy().ends_with(".ndjson.gz"));
    files.sort();
    let mut c = Connection::open(&endpoint.host, &endpoint.token)?;
    let (mut sent, mut refused) = (0, 0);
    let begin = Instant::now();
    for file in files {
        let lines = BufReader::new(flate2::read::MultiGzDecoder::new(std::fs::File::open(&file)?)).lines();
        let mut entries = Vec::with_capacity(2 * BUNDLE);
        for line in lines {
            let resource: Value = serde_json::from_str(&line?)?;
            let kind = resource["resourceType"].as_str().unwrap_or_default().to_owned();
            if kind == "Patient" && entries.len() >= BUNDLE {
                sent += entries.len();
                refused += send(&mut c, endpoint, std::mem::take(&mut entries))?;
            }
            let place = format!("{kind}/{}", resource["id"].as_str().unwrap_or_default());
            entries.push(json!({"resource": resource, "request": {"method": "PUT", "url": place}}));
        }
        if !entries.is_empty() {
            sent += entries.len();
            refused += send(&mut c, endpoint, entries)?;
        }
    }
    anyhow::ensure!(refused * 20 <= sent, "{}: {refused} of {sent} resources were refused", endpoint.host);
    Ok((sent - refused) as f64 / begin.elapsed().as_secs_f64())
}

/// Returns how many entries were refused: all or none.
fn send(c: &mut Connection, endpoint: &Endpoint, entries: Vec<Value>) -> anyhow::Result<usize> {
    let count = entries.len();
    let body = json!({"resourceType": "Bundle", "type": "transaction", "entry": entries}).to_string();
    let path = if endpoint.base.is_empty() { "/" } else { &endpoint.base };
    let status = c.send("POST", path, "application/fhir+json", body.as_bytes())?;
    if (200..300).contains(&status) {
        return Ok(0);
    }
    eprintln!("{}: HTTP {status}: {}", endpoint.host, String::from_utf8_lossy(&c.body));
    Ok(count)
}
