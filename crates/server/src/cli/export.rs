//! `uzima export --out FOLDER`

use super::output::{Stop, parse_patient, spinner, stopped, told};
use crate::config::Config;
use crate::{start, storage};
use access::Ctx;
use clap::Args;
use fhir::TypeId;
use insight::dump::{DumpProgress, DumpReport, DumpRequest};
use insight::export::Level;
use jiff::Timestamp;
use record::Record;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

#[derive(Args)]
pub struct Arguments {
    /// A new folder for the files, one of NDJSON per type; it is there when they are whole. They are not encrypted.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// Only these types; separated by commas, or given more than once.
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',', value_parser = parse_kind)]
    kinds: Vec<TypeId>,
    /// Only what changed at or after this time, with deletions, e.g. 2026-03-04T05:06:07Z.
    #[arg(long, value_name = "INSTANT")]
    since: Option<Timestamp>,
    /// Only what is in these patients' records; an id or Patient/id, may be given more than once.
    #[arg(long, value_name = "PATIENT", value_parser = parse_patient, conflicts_with = "group")]
    patient: Vec<String>,
    /// Only what is in the records of this Group's active members; an id or Group/id.
    #[arg(long, value_name = "GROUP", value_parser = parse_group)]
    group: Option<String>,
}

fn parse_kind(text: &str) -> Result<TypeId, String> {
    TypeId::from_name(text).ok_or_else(|| "this is no FHIR R4 resource type".to_owned())
}

fn parse_group(text: &str) -> Result<String, String> {
    super::output::parse_id("Group", text)
}

/// Runs the command; works on the database itself, so a server on an embedded database must be stopped.
pub async fn run(config: Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let opening = config.clone();
    let record = tokio::task::spawn_blocking(move || storage::open(&opening, start::clock())).await??;
    let result = write(&config, &record, arguments).await;
    tokio::task::spawn_blocking(move || record.store().close()).await?;
    result
}

async fn write(config: &Config, record: &Record, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let insight = super::output::insight(config, record)?;
    let ctx = Ctx::system("export", record.now());
    let level = match (&arguments.group, arguments.patient.is_empty()) {
        (Some(group), _) => Level::Group(group.clone()),
        (None, false) => Level::Patient,
        (None, true) => Level::System,
    };
    let ask =
        DumpRequest { level, kinds: arguments.kinds, since: arguments.since, patients: arguments.patient };
    let (begun, bar, stop) = (Instant::now(), spinner()?, Stop::listen());
    let resources = AtomicU64::new(0);
    let shown = bar.clone();
    let progress = move |progress: DumpProgress| match progress {
        DumpProgress::Kind { kind, number, of } => {
            shown.set_prefix(format!("{} ({number} of {of})", kind.name()));
            shown.tick();
        }
        DumpProgress::Page { resources: more, .. } => {
            let all = resources.fetch_add(more, Ordering::Relaxed) + more;
            shown.set_message(format!("{all} resources"));
            shown.tick();
        }
    };
    let done = insight.dump(&ctx, ask, &arguments.out, &progress, &|| stop.is_asked()).await;
    bar.finish_and_clear();
    let Some(report) = done.map_err(told)? else { return Ok(stopped()) };
    print(&report, begun);
    Ok(ExitCode::SUCCESS)
}

fn print(report: &DumpReport, begun: Instant) {
    for (name, count) in &report.files {
        println!("{name:40} {count:>10}");
    }
    println!("{:40} {:>10}", "resources", report.resources);
    println!("the next export: --since {:.3}", report.transaction);
    eprintln!("{:.1} s", begun.elapsed().as_secs_f64());
}
