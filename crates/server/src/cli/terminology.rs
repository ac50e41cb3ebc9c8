//! `uzima terminology …`

use crate::config::Config;
use crate::{start, storage};
use access::Ctx;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use record::Record;
use record::terminology::import::{Loaded, Progress, Request};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

/// Warnings and refusals printed.
const PRINTED: usize = 20;

#[derive(Subcommand)]
pub enum Order {
    /// Imports published terminologies: SNOMED CT RF2, LOINC, ICD-10, ICD-11, FHIR files and packages. What is in use
    /// stays in use until the new version is whole.
    // The program's own `--version` gives way to that of the terminology.
    #[command(disable_version_flag = true)]
    Import(Import),
    /// Lists loaded code systems and concept maps, with versions.
    List,
    /// Removes a loaded version.
    #[command(disable_version_flag = true)]
    Remove {
        /// URL of the code system or concept map.
        url: String,
        /// Which version; may be left out if there is only one.
        #[arg(long)]
        version: Option<String>,
    },
    /// Says which loaded version is meant when none is named.
    #[command(disable_version_flag = true)]
    Use { url: String, version: String },
}

#[derive(Args)]
pub struct Import {
    /// Distributions as they are published: folders, zip or tgz archives, single files.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// URL of the code system, where the files do not say it or say another.
    #[arg(long, value_name = "URL")]
    system: Option<String>,
    /// Version, likewise.
    #[arg(long)]
    version: Option<String>,
    /// Reads and checks everything, writes nothing.
    #[arg(long)]
    dry_run: bool,
    /// Use this version where none is named, also if another one is used so far.
    #[arg(long = "use")]
    use_it: bool,
}

/// Runs the command; works on the database itself, so a server on an embedded database must be stopped.
pub async fn run(config: Config, order: Order) -> anyhow::Result<ExitCode> {
    let record = tokio::task::spawn_blocking(move || storage::open(&config, start::clock())).await??;
    let result = act(&record, order).await;
    tokio::task::spawn_blocking(move || record.store().close()).await?;
    result
}

async fn act(record: &Record, order: Order) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::system("terminology", record.now());
    match order {
        Order::Import(import) => return import_all(record, &ctx, import).await,
        Order::List => {
            for entry in record.loaded_terminologies(&ctx).await? {
                let mark = if entry.is_default { "*" } else { " " };
                println!("{mark} {:<40} {:<60} {:>9}  {}", entry.url, entry.version, entry.entries, entry.at);
            }
        }
        Order::Remove { url, version } => {
            let gone = record
                .remove_terminology(&ctx, &url, version.as_deref())
                .await
                .with_context(|| format!("cannot remove {url}"))?;
            println!("removed {} {} ({} entries)", gone.url, gone.version, gone.entries);
        }
        Order::Use { url, version } => {
            let used = record
                .use_terminology(&ctx, &url, &version)
                .await
                .with_context(|| format!("cannot use {url} {version}"))?;
            println!("{} now means version {}", used.url, used.version);
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn import_all(record: &Record, ctx: &Ctx, import: Import) -> anyhow::Result<ExitCode> {
    let dry_run = import.dry_run;
    let request = Request {
        paths: import.paths,
        system: import.system,
        version: import.version,
        dry_run,
        use_it: import.use_it,
    };
    let template = "{elapsed_precise} [{wide_bar}] {pos}/{len} {msg}";
    let style = ProgressStyle::with_template(template).context("progress bar")?.progress_chars("=> ");
    let bar = Arc::new(ProgressBar::new(0).with_style(style));
    let shown = bar.clone();
    let begun = Instant::now();
    let done = record.import_terminology(ctx, request, Arc::new(move |p| show(&shown, p))).await;
    bar.finish_and_clear();
    let mut is_clean = true;
    for loaded in done? {
        is_clean &= loaded.refused.is_empty();
        print(&loaded);
    }
    println!("{:.1} s{}", begun.elapsed().as_secs_f64(), if dry_run { ", nothing was written" } else { "" });
    Ok(if is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(bar: &ProgressBar, progress: Progress) {
    match progress {
        Progress::Reading { file, round, .. } => {
            let name = file.rsplit('/').next().unwrap_or_default().to_owned();
            bar.set_message(format!("reading {name} ({round} of 2)"));
        }
        Progress::Concepts { system, count } => {
            bar.println(format!("{system}: {count} concepts"));
            bar.set_length(count);
            bar.set_position(0);
        }
        Progress::Written { rows } => bar.inc(rows),
        Progress::Indexing { keys } => {
            bar.set_message("index");
            bar.set_length(keys);
            bar.set_position(0);
        }
        Progress::Indexed { keys } => bar.inc(keys),
        Progress::Resources { count } => {
            bar.inc_length(count);
            bar.inc(count);
        }
    }
}

fn print(loaded: &Loaded) {
    println!("{}: {} {}", loaded.format, loaded.url, loaded.version);
    for (name, count) in [
        ("concepts", loaded.concepts),
        ("names", loaded.names),
        ("properties", loaded.properties),
        ("members of sets", loaded.members),
        ("resources", loaded.resources),
        ("resources unchanged", loaded.unchanged),
        ("resources refused", loaded.refused.len() as u64),
    ] {
        if count > 0 {
            println!("  {name:<22} {count:>10}");
        }
    }
    for (url, count) in &loaded.maps {
        println!("  {:<22} {count:>10}  {url}", "mappings");
    }
    for line in loaded.warnings.iter().chain(&loaded.refused).take(PRINTED) {
        println!("  {line}");
    }
}
