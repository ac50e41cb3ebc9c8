//! Validates and extracts every resource of the given files and folders (`.json`, `.json.gz`) and reports
//! refusals and the time per resource: `cargo run --release -p uzima-fhir --example corpus -- PATH…`

use fhir::{Resource, search, validate};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

#[derive(Default)]
struct Totals {
    resources: usize,
    refused: usize,
    entries: usize,
    parse: Duration,
    validate: Duration,
    extract: Duration,
    by_text: BTreeMap<String, (usize, String)>,
}

fn main() -> std::io::Result<()> {
    let start = Instant::now();
    fhir::definitions::preload();
    println!("definitions loaded in {:?}", start.elapsed());
    let mut totals = Totals::default();
    for path in std::env::args().skip(1) {
        visit(Path::new(&path), &mut totals)?;
    }
    let each = |d: Duration| d.as_secs_f64() * 1e6 / totals.resources.max(1) as f64;
    println!(
        "{} resources, {} refused, {} index entries; µs each: parse {:.1}, validate {:.1}, extract {:.1}",
        totals.resources,
        totals.refused,
        totals.entries,
        each(totals.parse),
        each(totals.validate),
        each(totals.extract)
    );
    let mut reasons: Vec<_> = totals.by_text.iter().collect();
    reasons.sort_by_key(|(_, (n, _))| std::cmp::Reverse(*n));
    for (text, (n, example)) in reasons {
        println!("{n:5}  {text}\n         {example}");
    }
    Ok(())
}

fn visit(path: &Path, totals: &mut Totals) -> std::io::Result<()> {
    if path.is_dir() {
        let mut children: Vec<_> = std::fs::read_dir(path)?.collect::<Result<_, _>>()?;
        children.sort_by_key(std::fs::DirEntry::path);
        return children.iter().try_for_each(|c| visit(&c.path(), totals));
    }
    let name = path.to_string_lossy().into_owned();
    let mut bytes = std::fs::read(path)?;
    if name.ends_with(".json.gz") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain)?;
        bytes = plain;
    } else if !name.ends_with(".json") {
        return Ok(());
    }
    match Resource::parse(&bytes) {
        Ok(bundle) if name.ends_with(".gz") => {
            let entries = bundle.get("entry").and_then(|e| e.as_array()).cloned().unwrap_or_default();
            for e in entries {
                check(e["resource"].to_string().as_bytes(), &name, totals);
            }
        }
        Ok(_) => check(&bytes, &name, totals),
        Err(e) => println!("{name}: {e}"),
    }
    Ok(())
}

fn check(bytes: &[u8], name: &str, totals: &mut Totals) {
    let start = Instant::now();
    let parsed = Resource::parse(bytes);
    totals.parse += start.elapsed();
    totals.resources += 1;
    let Ok(resource) = parsed else {
        totals.refused += 1;
        return;
    };
    let start = Instant::now();
    let issues = validate::validate(&resource);
    totals.validate += start.elapsed();
    let start = Instant::now();
    totals.entries += search::extract(&search::Params::standard(), &resource).len();
    totals.extract += start.elapsed();
    totals.refused += usize::from(!issues.is_empty());
    for i in issues {
        let kind = resource.kind().name();
        let reason = totals.by_text.entry(i.text).or_insert((0, String::new()));
        reason.0 += 1;
        if reason.0 <= 3 {
            let file = name.rsplit('/').next().unwrap_or(name);
            reason.1.push_str(&format!("{file} {kind} {}; ", i.expression));
        }
    }
}
