//! `cargo xtask bench`: boot, memory, import, and the commonest FHIR work on both engines, against DESIGN's numbers;
//! with `--growth` on data that grows, with `--against` beside another FHIR server in the same run.

mod growth;
mod http;
mod load;
mod ours;
mod parts;
mod peer;
mod work;

use crate::shell::{self, command, root, target};
use crate::{demo, prerequisites, web};
use ours::Installation;
use std::fmt::Write as _;
use std::path::Path;
use work::{Figures, Target};

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
    /// Numbers of Observations at which to measure again, e.g. `10000,100000,1000000`.
    #[arg(long, value_delimiter = ',')]
    growth: Vec<u64>,
    /// Base URL of another FHIR R4 server (plain HTTP) that gets the same data and load in turn, on the first engine
    /// chosen. Its data is not removed afterwards.
    #[arg(long, value_name = "URL")]
    against: Option<String>,
    /// Bearer token for the other server.
    #[arg(long, default_value = "", requires = "against")]
    against_token: String,
    /// Process of the other server, if it runs on this machine: its CPU is measured too.
    #[arg(long, requires = "against")]
    against_pid: Vec<u32>,
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
    let engines: Vec<&str> = ["sqlite", "postgres"]
        .into_iter()
        .filter(|engine| options.engine == *engine || options.engine == "both")
        .collect();
    anyhow::ensure!(!engines.is_empty(), "--engine is sqlite, postgres or both");
    let mut text = format!(
        "## {}\n\n{}; load generator on the same machine; {} s per figure.\n",
        shell::output(&mut command("date", &["-u", "+%Y-%m-%d %H:%M UTC"]))?,
        machine(&bin)?,
        options.seconds,
    );
    if let Some(url) = &options.against {
        text.push_str(&peer::compare(engines[0], &bin, url, options)?);
    } else {
        for engine in engines {
            text.push_str(&if options.growth.is_empty() {
                measure(engine, &bin, options)?
            } else {
                growth::measure(engine, &bin, options)?
            });
        }
    }
    println!("\n{text}");
    if options.dry { Ok(()) } else { insert(&text) }
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
    let installation = Installation::new(engine, bin)?;
    let mut facts = String::new();
    let server = installation.serve()?;
    std::thread::sleep(std::time::Duration::from_secs(2));
    let idle = server.processes.memory_mib();
    writeln!(facts, "- Boot, empty data to ready: {} ms; idle memory {idle:.0} MiB", server.boot_ms)?;
    drop(server);

    let mut sources =
        vec![("demonstration hospital", installation.hospital(options.patients, options.demographics)?)];
    let synthea = root().join("../shared/data/synthea");
    if synthea.exists() {
        sources.push(("Synthea", synthea));
    }
    let mut all = 0;
    for (name, source) in sources {
        let (resources, seconds) = installation.import(&source)?;
        all += resources;
        writeln!(
            facts,
            "- Import of {name}: {resources} resources in {seconds:.1} s, {:.0}/s",
            resources as f64 / seconds
        )?;
    }
    let imported = installation.bytes();
    writeln!(
        facts,
        "- On disk: {:.0} MB for them, {:.0} bytes each with indexes",
        imported as f64 / 1e6,
        imported as f64 / all.max(1) as f64
    )?;
    let mut server = installation.serve()?;
    writeln!(facts, "- Boot with this data: {} ms", server.boot_ms)?;
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
    for case in work::CASES {
        for connections in [1, 16] {
            figures.run(&target, case, connections)?;
        }
    }
    server.still_runs()?;
    writeln!(facts, "- Memory after all of it: {:.0} MiB", server.processes.memory_mib())?;
    drop(server);
    writeln!(
        facts,
        "- On disk after {} creates and {} reads and searches, all in the audit trail: {:.0} MB more",
        figures.created,
        figures.read,
        installation.bytes().saturating_sub(imported) as f64 / 1e6
    )?;
    // The database within the process: what its parts cost can be told apart.
    let parts = match engine {
        "sqlite" => parts::measure(&parts::tool(options.no_build)?, options.seconds, &figures)?,
        _ => String::new(),
    };
    Ok(format!("\n### {}\n\n{facts}\n{}{parts}", title(engine), figures.table()))
}

fn title(engine: &str) -> &'static str {
    if engine == "sqlite" { "SQLite (SQLCipher, synchronous=FULL)" } else { "PostgreSQL (fsync on)" }
}

/// The newest run first, under the page's introduction.
fn insert(text: &str) -> anyhow::Result<()> {
    let path = root().join("docs/benchmarks.md");
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    let at = page.find("\n## ").map_or(page.len(), |n| n + 1);
    let (head, tail) = page.split_at(at);
    std::fs::write(&path, format!("{}\n\n{text}\n{tail}", head.trim_end()))?;
    Ok(())
}
