//! `cargo xtask bench`: boot, memory, import, FHIR create/read/search on both engines, against DESIGN's numbers.

mod http;
mod load;

use crate::shell::{self, Service, command, root, target};
use crate::{demo, postgres, prerequisites, web};
use anyhow::{Context, bail};
use http::Connection;
use load::{Measured, Processes};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

#[derive(clap::Args)]
pub struct Options {
    /// `sqlite`, `postgres` or `both`
    #[arg(long, default_value = "both")]
    engine: String,
    /// Seconds per measurement.
    #[arg(long, default_value_t = 8)]
    seconds: u64,
    /// Patients of the demonstration hospital that is imported first (about 37 resources each).
    #[arg(long, default_value_t = 2_000)]
    patients: u64,
    /// Only demographics, for name search at scale.
    #[arg(long)]
    demographics: bool,
    /// Does not write docs/benchmarks.md.
    #[arg(long)]
    dry: bool,
    /// Measures the release programs that are there.
    #[arg(long)]
    no_build: bool,
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    let bin = if options.no_build {
        target().join("release")
    } else {
        prerequisites::node()?;
        web::build()?;
        demo::release_binaries()?
    };
    let mut text = format!(
        "## {}\n\n{}; load generator on the same machine; {} patients imported first; {} s per figure.\n",
        shell::output(&mut command("date", &["-u", "+%Y-%m-%d %H:%M UTC"]))?,
        machine(&bin)?,
        options.patients,
        options.seconds,
    );
    for engine in ["sqlite", "postgres"] {
        if options.engine == engine || options.engine == "both" {
            text.push_str(&measure(engine, &bin, options)?);
        }
    }
    println!("\n{text}");
    if !options.dry {
        insert(&text)?;
    }
    Ok(())
}

fn machine(bin: &Path) -> anyhow::Result<String> {
    let cores = std::thread::available_parallelism()?;
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|l| l.strip_prefix("model name")?.split_once(": ").map(|m| m.1.to_owned()));
    let size = bin.join("uzima").metadata()?.len() as f64 / 1e6;
    Ok(format!("{cores} cores ({}); `uzima` is {size:.0} MB", model.unwrap_or_default()))
}

/// One engine from empty data to the table of its figures.
fn measure(engine: &str, bin: &Path, options: &Options) -> anyhow::Result<String> {
    let folder = tempfile::Builder::new().prefix("uzima-bench-").tempdir_in(target())?;
    let database = match engine {
        "postgres" => Some(postgres::start(&prerequisites::postgres()?, true)?),
        _ => None,
    };
    let data = folder.path().join("data");
    let listen = format!("127.0.0.1:{}", shell::free_port()?);
    let uzima = || {
        let mut c = Command::new(bin.join("uzima"));
        c.current_dir(root())
            .env("UZIMA_DATA", &data)
            .env("UZIMA_LISTEN", &listen)
            .env("UZIMA_LOG_FILTER", "warn");
        if let Some(database) = &database {
            c.env("UZIMA_DATABASE_URL", &database.url);
        }
        c
    };
    let mut table = String::from(
        "\n| What | per second | p50 ms | p99 ms | max ms | CPU µs |\n|---|---|---|---|---|---|\n",
    );
    let mut facts = String::new();

    let (service, boot_ms) = boot(&mut uzima(), &listen)?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    let idle = Processes(vec![service.id()]).memory_mib();
    writeln!(facts, "- Boot, empty data to ready: {boot_ms} ms; idle memory {idle:.0} MiB")?;
    drop(service);

    let hospital = folder.path().join("hospital");
    let mut generate = Command::new(bin.join("uzima-hospital"));
    generate.args(["--patients", &options.patients.to_string(), "--out"]).arg(&hospital);
    if options.demographics {
        generate.arg("--demographics");
    }
    shell::run(&mut generate)?;
    let mut sources = vec![("demonstration hospital", hospital)];
    let synthea = root().join("../shared/data/synthea");
    if synthea.exists() {
        sources.push(("Synthea", synthea));
    }
    for (name, source) in sources {
        let begin = Instant::now();
        let report = shell::output(uzima().arg("import").arg(&source))?;
        let seconds = begin.elapsed().as_secs_f64();
        let resources = imported(&report).context("the import printed no counts")?;
        writeln!(
            facts,
            "- Import of {name}: {resources} resources in {seconds:.1} s, {:.0}/s",
            resources as f64 / seconds
        )?;
    }

    let credentials = shell::output(uzima().args([
        "admin",
        "create-client",
        "--name",
        "bench",
        "--scope",
        "system/*.cruds",
    ]))?;
    let (service, boot_ms) = boot(&mut uzima(), &listen)?;
    writeln!(facts, "- Boot with this data: {boot_ms} ms")?;
    let mut pids = vec![service.id()];
    pids.extend(database.as_ref().map(|d| d.pid()));
    let processes = Processes(pids);
    let token = token(&listen, &credentials)?;
    let patients = ids(&listen, &token, "/fhir/R4/Patient?_count=500")?;
    let created: Mutex<Vec<String>> = Mutex::default();

    let mut row = |name: &str, connections: usize, m: Measured| {
        let _ = writeln!(
            table,
            "| {name}, {connections} connection{} | {:.0} | {:.2} | {:.2} | {:.1} | {:.0} |",
            if connections == 1 { "" } else { "s" },
            m.per_second,
            m.p50_ms,
            m.p99_ms,
            m.max_ms,
            m.cpu_us
        );
        eprintln!(
            "{engine}: {name} on {connections}: {:.0}/s, p99 {:.2} ms ({} requests)",
            m.per_second, m.p99_ms, m.requests
        );
    };
    for connections in [1, 16] {
        let m = load::run(&listen, &token, connections, options.seconds, &processes, |c, n| {
            let body = observation(&patients[n as usize % patients.len()], n);
            let status = c.send("POST", "/fhir/R4/Observation", "application/fhir+json", body.as_bytes())?;
            if n.is_multiple_of(10)
                && let Some(path) = c.location.as_deref().and_then(read_path)
            {
                created.lock().map_err(|_| anyhow::anyhow!("poisoned"))?.push(path);
            }
            Ok(status)
        })?;
        row("create Observation (1 KB)", connections, m);
    }
    let created = created.into_inner().map_err(|_| anyhow::anyhow!("poisoned"))?;
    if created.is_empty() {
        bail!("creates gave no Location");
    }
    for connections in [1, 16] {
        let m = load::run(&listen, &token, connections, options.seconds, &processes, |c, n| {
            let path = &created[(n as usize).wrapping_mul(7919) % created.len()];
            c.send("GET", path, "", b"")
        })?;
        row("read by id", connections, m);
    }
    let searches: &[(&str, NthPath)] = &[
        (
            "search Observation patient+code, newest 20",
            Box::new(|n| {
                let patient = &patients[(n as usize).wrapping_mul(7919) % patients.len()];
                format!(
                    "/fhir/R4/Observation?patient=Patient/{patient}&code=http://loinc.org%7C8867-4&_sort=-date&_count=20"
                )
            }),
        ),
        (
            "search Patient by family prefix, 20",
            Box::new(|n| {
                let prefix =
                    ["Kam", "Mwa", "Och", "Oti", "Wek", "Kip", "Mut", "Has", "Abd", "Nja"][n as usize % 10];
                format!("/fhir/R4/Patient?family={prefix}&_count=20")
            }),
        ),
    ];
    for (name, path) in searches {
        for connections in [1, 16] {
            let m = load::run(&listen, &token, connections, options.seconds, &processes, |c, n| {
                c.send("GET", &path(n), "", b"")
            })?;
            row(name, connections, m);
        }
    }
    writeln!(facts, "- Memory after all of it: {:.0} MiB", processes.memory_mib())?;
    if engine == "sqlite" {
        let disk: u64 = files(&data).iter().filter_map(|f| f.metadata().ok()).map(|m| m.len()).sum();
        writeln!(facts, "- Data folder: {:.0} MB", disk as f64 / 1e6)?;
    }
    drop(service);
    Ok(format!(
        "\n### {}\n\n{facts}{table}",
        if engine == "sqlite" { "SQLite (SQLCipher, synchronous=FULL)" } else { "PostgreSQL (fsync on)" }
    ))
}

/// The path of the nth request.
type NthPath<'a> = Box<dyn Fn(u64) -> String + Sync + 'a>;

/// Starts the server; milliseconds until `/readyz` answers 200.
fn boot(command: &mut Command, listen: &str) -> anyhow::Result<(Service, u128)> {
    let begin = Instant::now();
    let mut service = Service::start("uzima serve", command.arg("serve").stdout(Stdio::null()))?;
    while begin.elapsed().as_secs() < 60 {
        if let Ok(mut c) = Connection::open(listen, "")
            && c.send("GET", "/readyz", "", b"").is_ok_and(|status| status == 200)
        {
            return Ok((service, begin.elapsed().as_millis()));
        }
        service.still_runs()?;
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    bail!("the server is not ready after 60 s")
}

/// A token for the client whose id and secret `create-client` printed.
fn token(listen: &str, printed: &str) -> anyhow::Result<String> {
    let client: Value = serde_json::from_str(printed).context("create-client printed no JSON")?;
    let id = client["client_id"].as_str().context("no client_id printed")?;
    let secret = client["client_secret"].as_str().context("no client_secret printed")?;
    let mut c = Connection::open(listen, "")?;
    let form =
        format!("grant_type=client_credentials&client_id={id}&client_secret={secret}&scope=system%2F*.cruds");
    let status = c.send("POST", "/oauth/token", "application/x-www-form-urlencoded", form.as_bytes())?;
    let answer: Value = serde_json::from_slice(&c.body).unwrap_or_default();
    answer["access_token"].as_str().map(str::to_owned).with_context(|| format!("HTTP {status} for a token"))
}

fn ids(listen: &str, token: &str, path: &str) -> anyhow::Result<Vec<String>> {
    let mut c = Connection::open(listen, token)?;
    c.send("GET", path, "", b"")?;
    let bundle: Value = serde_json::from_slice(&c.body)?;
    let entries = bundle["entry"].as_array().context("no entries in the bundle")?;
    Ok(entries.iter().filter_map(|e| e["resource"]["id"].as_str().map(str::to_owned)).collect())
}

/// `…/fhir/R4/Observation/1/_history/1` → `/fhir/R4/Observation/1`
fn read_path(location: &str) -> Option<String> {
    let path = &location[location.find("/fhir/R4/")?..];
    Some(path.split("/_history").next()?.to_owned())
}

/// About 1 KB, as a device or another system would send it.
fn observation(patient: &str, n: u64) -> String {
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
    .to_string()
}

/// What the import's own report says it has read: taken and unchanged.
fn imported(report: &str) -> Option<u64> {
    let count =
        |name: &str| report.lines().find_map(|l| l.trim().strip_prefix(name)?.trim().parse::<u64>().ok());
    Some(count("taken")? + count("unchanged")?)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries
        .filter_map(|e| Some(e.ok()?.path()))
        .flat_map(|p| if p.is_dir() { files(&p) } else { vec![p] })
        .collect()
}

/// The newest run first, under the page's introduction.
fn insert(text: &str) -> anyhow::Result<()> {
    let path = root().join("docs/benchmarks.md");
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let at = page.find("\n## ").map_or(page.len(), |n| n + 1);
    let (head, tail) = page.split_at(at);
    std::fs::write(&path, format!("{head}{text}\n{tail}"))?;
    Ok(())
}
