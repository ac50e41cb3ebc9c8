//! Measures terminology: `cargo run --release -p uzima-record --example terminology -- URL PATH…` loads the
//! distributions into the database (`sqlite:FILE` or `postgres://…`) and times lookup, subsumption and expansion.

#![expect(clippy::unwrap_used, reason = "a measurement ends where something is not as it must be")]

use access::Ctx;
use jiff::Timestamp;
use record::Record;
use record::terminology::import::Request;
use record::terminology::{Expand, Lookup, Source};
use std::sync::Arc;
use std::time::Instant;
use store::{Secret32, Store, StoreConfig};

const SAMPLES: usize = 2_000;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().unwrap();
    let paths: Vec<std::path::PathBuf> = arguments.map(Into::into).collect();
    let key = url.starts_with("sqlite:").then(|| Secret32::new([7; 32]));
    let store = Store::open(StoreConfig::new(url, key)).unwrap();
    let record = Record::new(store, Arc::new(Timestamp::now));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&record, paths));
    drop(runtime);
    record.store().close();
}

async fn measure(record: &Record, paths: Vec<std::path::PathBuf>) {
    let ctx = Ctx::system("measure", record.now());
    if !paths.is_empty() {
        let begun = Instant::now();
        let request = Request { paths, ..Request::default() };
        let loaded = record.import_terminology(&ctx, request, Arc::new(|_| {})).await.unwrap();
        let took = begun.elapsed().as_secs_f64();
        for l in loaded {
            let rows =
                l.concepts + l.names + l.properties + l.members + l.maps.iter().map(|m| m.1).sum::<u64>();
            println!(
                "{} {}: {} concepts, {} names, {} properties in {took:.1} s: {:.0} facts/s",
                l.url,
                l.version,
                l.concepts,
                l.names,
                l.properties,
                rows as f64 / took
            );
        }
    }
    const SYSTEM: &str = "http://snomed.info/sct";
    let vs = |query: &str| format!("{SYSTEM}?fhir_vs{query}");
    let terminology = record.terminology().clone();
    let sample = record
        .store()
        .read(move |tx| {
            let mut request = Expand::new(Source::Url(vs("")));
            (request.offset, request.count) = (50_000, Some(SAMPLES));
            terminology.expand(tx, &request)
        })
        .await
        .unwrap();
    let codes: Vec<String> = sample.contains.into_iter().map(|c| c.code).collect();
    let row = |name: &str, mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        let at = |q: f64| times.get(((times.len() - 1) as f64 * q) as usize).copied().unwrap_or_default();
        println!("{name:<46} p50 {:>8.0} µs  p99 {:>8.0} µs", at(0.5), at(0.99));
    };
    let mut times = Vec::new();
    for code in &codes {
        let request = Lookup { system: SYSTEM.into(), code: code.clone(), ..Lookup::default() };
        let begun = Instant::now();
        record.lookup(&ctx, request).await.unwrap();
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    row("lookup", std::mem::take(&mut times));
    for pair in codes.windows(2) {
        let begun = Instant::now();
        record.subsumes(&ctx, SYSTEM, None, &pair[0], &pair[1]).await.unwrap();
        times.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    row("subsumes", std::mem::take(&mut times));
    let top = &codes[0];
    for (name, url, filter) in [
        ("expand all, filter `hep`, 20", vs(""), Some("hep")),
        ("expand all, filter `disease acu`, 20", vs(""), Some("disease acu")),
        ("expand all, filter `of` (very common), 20", vs(""), Some("of")),
        ("expand all, filter `zz no such`, 20", vs(""), Some("zzzz no such")),
        ("expand << concept, 20", vs(&format!("=ecl/<< {top}")), None),
        ("expand << root MINUS << concept, 20", vs(&format!("=ecl/<< 138875005 MINUS << {top}")), None),
        ("expand refset of 7,500, 20", vs("=refset/723264001"), None),
        (
            "expand << root : site = << concept, 20",
            vs(&format!("=ecl/<< 138875005 : 363698007 = << {top}")),
            None,
        ),
    ] {
        for n in 0..50 {
            let mut request =
                Expand::new(Source::Url(if n % 2 == 0 { url.clone() } else { url.replace("<<", "<< ") }));
            request.filter = filter.map(str::to_owned);
            (request.offset, request.count) = (n, Some(20));
            let begun = Instant::now();
            record.expand(&ctx, request).await.unwrap();
            times.push(begun.elapsed().as_secs_f64() * 1e6);
        }
        row(name, std::mem::take(&mut times));
    }
    let mut request = Expand::new(Source::Url(vs("")));
    request.count = Some(10_000);
    let begun = Instant::now();
    record.expand(&ctx, request).await.unwrap();
    row("expand 10,000 codes in a page", vec![begun.elapsed().as_secs_f64() * 1e6]);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default());
}
