//! `uzima view run FILE`

use super::output::{Partial, Stop, spinner};
use crate::config::Config;
use crate::{start, storage};
use access::Ctx;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use insight::run::RunRequest;
use insight::{Format, Limits};
use jiff::Timestamp;
use record::Record;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

#[derive(Subcommand)]
pub enum Order {
    /// Writes the rows of a SQL-on-FHIR view to a file or the standard output. A server on an embedded database must be
    /// stopped.
    Run(Run),
}

#[derive(Args)]
pub struct Run {
    /// A ViewDefinition as JSON; see docs/guides/views.md.
    #[arg(value_name = "FILE")]
    definition: PathBuf,
    /// csv, ndjson, json or parquet.
    #[arg(long, default_value = "csv", value_parser = parse_format)]
    format: Format,
    /// Where the table goes; it is there when it is whole. Unset: the standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Leaves out CSV's first line, the names of the columns.
    #[arg(long)]
    no_header: bool,
    /// Rows at most.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Only resources that changed at or after this time, e.g. 2026-03-04T05:06:07Z.
    #[arg(long, value_name = "INSTANT")]
    since: Option<Timestamp>,
    /// Only what is in these patients' records; an id or Patient/id, may be given more than once.
    #[arg(long, value_name = "PATIENT", value_parser = super::output::parse_patient)]
    patient: Vec<String>,
}

fn parse_format(text: &str) -> Result<Format, String> {
    Format::parse(text).ok_or_else(|| "there are csv, ndjson, json and parquet".to_owned())
}

/// Runs the command; works on the database itself, so a server on an embedded database must be stopped.
pub async fn run(config: Config, order: Order) -> anyhow::Result<ExitCode> {
    let Order::Run(run) = order;
    let text = std::fs::read_to_string(&run.definition)
        .with_context(|| format!("cannot read {}", run.definition.display()))?;
    let definition =
        serde_json::from_str(&text).with_context(|| format!("{} is no JSON", run.definition.display()))?;
    let opening = config.clone();
    let record = tokio::task::spawn_blocking(move || storage::open(&opening, start::clock())).await??;
    let result = write(&config, &record, run, definition).await;
    tokio::task::spawn_blocking(move || record.store().close()).await?;
    result
}

async fn write(
    config: &Config,
    record: &Record,
    run: Run,
    definition: serde_json::Value,
) -> anyhow::Result<ExitCode> {
    let insight = super::output::insight(config, record)?;
    let ctx = Ctx::system("view", record.now());
    let ask = RunRequest {
        definition,
        format: run.format,
        header: !run.no_header,
        limit: run.limit,
        since: run.since,
        patients: (!run.patient.is_empty()).then_some(run.patient),
        resources: None,
        limits: Some(Limits::BACKGROUND),
    };
    let begun = Instant::now();
    let (bar, stop) = (spinner()?, Stop::listen());
    let mut out = Partial::new(run.out)?;
    let done = async {
        let mut rows = insight.run_view(&ctx, ask).await.map_err(super::output::told)?;
        loop {
            if stop.is_asked() {
                return Ok(None);
            }
            let bytes = rows.next().await.map_err(super::output::told)?;
            let (resources, made) = rows.progress();
            bar.set_message(format!("{resources} resources, {made} rows"));
            bar.tick();
            match bytes {
                Some(bytes) => out.write(&bytes)?,
                None => return Ok::<_, anyhow::Error>(Some((resources, made))),
            }
        }
    };
    let done = done.await;
    bar.finish_and_clear();
    let Some((resources, rows)) = done? else { return Ok(super::output::stopped()) };
    out.keep()?;
    eprintln!("{rows} rows of {resources} resources in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}
