//! `uzima import PATH…`

use crate::config::Config;
use crate::{start, storage};
use access::Ctx;
use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use record::import::{Export, Mapping, Options, Progress, Report, Tables};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Coming appointments whose times are claimed after an import.
const APPOINTMENTS_MAX: u32 = 1_000_000;
/// Refusals printed; the report file has more.
const PRINTED: usize = 20;

#[derive(Args)]
pub struct Arguments {
    /// Files (`.json`, `.ndjson`, `.csv`, each also `.gz`) and folders of them.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Which columns of CSV files become what; see docs/guides/import.md.
    #[arg(long, value_name = "FILE", conflicts_with = "openmrs")]
    mapping: Option<PathBuf>,
    /// The CSV files are an OpenMRS export: concept, patient, encounter, obs.
    #[arg(long)]
    openmrs: bool,
    /// Reads and checks everything, writes the report and nothing else.
    #[arg(long)]
    dry_run: bool,
    /// Exit code 0 even if resources were refused.
    #[arg(long)]
    lenient: bool,
    /// Where the report goes; unset: a new file in the data folder.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Imports, shows progress, prints and stores the report. Exit code 1 if anything was refused.
pub async fn run(config: Config, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let data = config.data.clone();
    let zone = jiff::tz::TimeZone::get(&config.clinic.timezone).context("the clinic's time zone")?;
    let record = tokio::task::spawn_blocking(move || storage::open(&config, start::clock())).await??;
    let now = record.now();
    let begun = Instant::now();
    let bar = Arc::new(bar()?);
    let shown = bar.clone();
    let ctx = Ctx::system("import", now);
    let progress = Arc::new(move |progress: Progress| show(&shown, progress));
    let options = Options { dry_run: arguments.dry_run, tables: tables(&arguments, zone)? };
    let result = record.import_with(&ctx, &arguments.paths, &options, progress).await;
    bar.finish_and_clear();
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    // Imported bookings take their time like those made here, or the same slot would be offered again.
    let adopted = match &result {
        Ok(_) if arguments.dry_run => Ok((0, 0)),
        Ok(_) => care::appointment::adopt(&record, APPOINTMENTS_MAX).await,
        Err(_) => Ok((0, 0)),
    };
    let closing = record.clone();
    tokio::task::spawn_blocking(move || closing.store().close()).await?;
    let report = result?;
    let (claimed, overlapping) = adopted?;
    let file = arguments.report.unwrap_or_else(|| data.join(format!("import-{}.json", now.as_millisecond())));
    write(&file, &report, took_ms)?;
    print(&report, took_ms, &file);
    if arguments.dry_run {
        println!("Nothing was written: this was a dry run.");
    } else {
        println!("{:32} {claimed:>10}", "coming appointments");
    }
    if overlapping > 0 {
        println!("{:32} {overlapping:>10}", "of them overlapping others");
    }
    let is_clean = report.refused == 0;
    Ok(if is_clean || arguments.lenient { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Errors: the mapping or a table of the OpenMRS export, with what is wrong.
fn tables(arguments: &Arguments, zone: jiff::tz::TimeZone) -> anyhow::Result<Option<Tables>> {
    if let Some(path) = &arguments.mapping {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mapping = Mapping::parse(&text).with_context(|| path.display().to_string())?;
        return Ok(Some(Tables::Mapped(Arc::new(mapping))));
    }
    if !arguments.openmrs {
        return Ok(None);
    }
    let mut files = Vec::new();
    for path in &arguments.paths {
        if path.is_dir() {
            let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
            files.extend(entries.filter_map(|e| Some(e.ok()?.path())));
        } else {
            files.push(path.clone());
        }
    }
    let export = Export::read(&files, zone).map_err(anyhow::Error::msg)?;
    Ok(Some(Tables::OpenMrs(Arc::new(export))))
}

fn bar() -> anyhow::Result<ProgressBar> {
    let template = "{elapsed_precise} [{wide_bar}] {bytes}/{total_bytes} {msg}";
    let style = ProgressStyle::with_template(template).context("progress bar")?.progress_chars("=> ");
    Ok(ProgressBar::new(0).with_style(style))
}

fn show(bar: &ProgressBar, progress: Progress) {
    match progress {
        Progress::Started { files, bytes } => {
            bar.set_length(bytes);
            bar.set_message(format!("{files} files"));
        }
        Progress::Skipped { file } => bar.println(format!("taken before: {}", file.display())),
        Progress::Batch { taken, refused, bytes, .. } => {
            bar.inc(bytes);
            if refused > 0 {
                bar.println(format!("{refused} refused, {taken} taken"));
            }
        }
        Progress::Finished { file } => {
            bar.set_message(file.file_name().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
}

fn rate(report: &Report, took_ms: u64) -> u64 {
    report.taken.saturating_mul(1000) / took_ms.max(1)
}

fn write(file: &Path, report: &Report, took_ms: u64) -> anyhow::Result<()> {
    let refusals: Vec<Value> = report
        .refusals
        .iter()
        .map(|r| json!({"file": r.file.display().to_string(), "entry": r.entry, "what": r.what, "reason": r.reason}))
        .collect();
    let by_type: serde_json::Map<String, Value> =
        report.by_type.iter().map(|(name, count)| (name.clone(), json!(count))).collect();
    let dangling: Vec<Value> =
        report.dangling.iter().map(|(from, to)| json!({"from": from, "to": to})).collect();
    let body = json!({
        "files": report.files, "skipped_files": report.skipped_files, "taken": report.taken,
        "unchanged": report.unchanged, "refused": report.refused, "rows": report.rows, "rows_left_out": report.rows_left_out,
        "subscriptions_off": report.resting, "dangling": dangling, "by_type": by_type, "duration_ms": took_ms,
        "taken_per_second": rate(report, took_ms), "refusals": refusals,
    });
    std::fs::write(file, serde_json::to_vec_pretty(&body)?)
        .with_context(|| format!("cannot write the report {}", file.display()))
}

fn print(report: &Report, took_ms: u64, file: &Path) {
    for (name, count) in &report.by_type {
        println!("{name:32} {count:>10}");
    }
    println!("{:32} {:>10}", "taken", report.taken);
    println!("{:32} {:>10}", "unchanged", report.unchanged);
    println!("{:32} {:>10}", "refused", report.refused);
    if report.rows > 0 {
        println!("{:32} {:>10}", "rows", report.rows);
        println!("{:32} {:>10}", "of them left out", report.rows_left_out);
    }
    if !report.resting.is_empty() {
        println!("{:32} {:>10}", "subscriptions, off for now", report.resting.len());
    }
    if !report.dangling.is_empty() {
        println!("{:32} {:>10}", "references into nothing", report.dangling.len());
    }
    for refusal in report.refusals.iter().take(PRINTED) {
        println!("  {} entry {} {}: {}", refusal.file.display(), refusal.entry, refusal.what, refusal.reason);
    }
    if report.refusals.len() > PRINTED {
        println!("  … {} more in the report", report.refusals.len() - PRINTED);
    }
    let rate = rate(report, took_ms);
    println!(
        "{} files ({} taken before) in {took_ms} ms, {rate} resources/s; report: {}",
        report.files,
        report.skipped_files,
        file.display()
    );
}
