//! The same work on data that grows: what an operation costs must stay flat or grow with the logarithm.

use super::work::{self, Figures, Target};
use super::{Options, ours::Installation, title};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

const CONNECTIONS: usize = 16;

/// One table a figure, one column a size.
pub fn measure(engine: &str, bin: &Path, options: &Options) -> anyhow::Result<String> {
    let installation = Installation::new(engine, bin)?;
    let hospital = installation.hospital(options.patients, options.demographics)?;
    let mut resources = installation.import(&hospital)?.0;
    let mut signed_in = installation.serve()?;
    signed_in.sign_in(&installation)?;
    let patients = patients(&signed_in.endpoint().get("Patient?_count=1000&_elements=id")?);
    drop(signed_in);
    let mut at = 0;
    let mut rows: BTreeMap<usize, (String, Vec<String>)> = BTreeMap::new();
    let mut facts = String::new();
    for size in &options.growth {
        let file = installation.scratch("grow.ndjson");
        write(&file, &patients, at, *size)?;
        let (count, seconds) = installation.import(&file)?;
        (at, resources) = (*size, resources + count);
        let mut server = installation.serve()?;
        server.sign_in(&installation)?;
        let endpoint = server.endpoint();
        let people = work::people(&endpoint)?;
        let target = Target {
            who: engine,
            seconds: options.seconds,
            endpoint: &endpoint,
            processes: &server.processes,
            people: &people,
        };
        let mut figures = Figures::default();
        for case in work::CASES.iter().filter(|case| case.is_growth) {
            figures.run(&target, case, CONNECTIONS)?;
        }
        resources += figures.created;
        for (n, (name, m)) in figures.rows().enumerate() {
            let (_, cells) = rows.entry(n).or_insert_with(|| (name.to_owned(), Vec::new()));
            cells.push(format!(
                "{:.0}/s, p95 {:.2}, p99 {:.2} ms, {:.0} µs",
                m.per_second, m.p95_ms, m.p99_ms, m.cpu_us
            ));
        }
        server.still_runs()?;
        let bytes = installation.bytes();
        writeln!(
            facts,
            "- At {size} Observations ({resources} resources): imported at {:.0}/s, {:.0} bytes on disk each, boot {} ms, memory {:.0} MiB",
            count as f64 / seconds,
            bytes as f64 / resources as f64,
            server.boot_ms,
            server.processes.memory_mib()
        )?;
    }
    let mut table = String::from("| What |");
    for size in &options.growth {
        write!(table, " {size} |")?;
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(options.growth.len()));
    table.push('\n');
    for (name, cells) in rows.values() {
        writeln!(table, "| {name} | {} |", cells.join(" | "))?;
    }
    Ok(format!(
        "\n### {}, {} patients, growing Observations\n\n{facts}\n{table}",
        title(engine),
        options.patients
    ))
}

fn patients(bundle: &Value) -> Vec<String> {
    let entries = bundle["entry"].as_array().into_iter().flatten();
    entries.filter_map(|e| e["resource"]["id"].as_str().map(str::to_owned)).collect()
}

/// Observations `from..until`, spread over the patients.
fn write(file: &Path, patients: &[String], from: u64, until: u64) -> anyhow::Result<()> {
    anyhow::ensure!(!patients.is_empty(), "the hospital has no patients");
    let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
    for n in from..until {
        // Each patient has all the codes, of which there are four.
        let mut observation = work::observation(&patients[n as usize / 4 % patients.len()], n);
        observation["id"] = format!("grown-{n}").into();
        writeln!(out, "{observation}")?;
    }
    Ok(out.flush()?)
}
