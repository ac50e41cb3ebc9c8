//! `uzima terminology …`

use crate::config::Config;
use crate::terminologies::{self, Ended, Step, Work};
use crate::{control, start, storage};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

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

/// Runs the command: in the server of an embedded database, if one runs, else on the database itself.
pub async fn run(config: Config, order: Order) -> anyhow::Result<ExitCode> {
    let work = work(order)?;
    let dry_run = matches!(work, Work::Import { dry_run: true, .. });
    let is_import = matches!(work, Work::Import { .. });
    let template = "{elapsed_precise} [{wide_bar}] {pos}/{len} {msg}";
    let style = ProgressStyle::with_template(template).context("progress bar")?.progress_chars("=> ");
    let bar = Arc::new(match is_import {
        true => ProgressBar::new(0).with_style(style),
        false => ProgressBar::hidden(),
    });
    let begun = Instant::now();
    let ended = act(config, work, &bar).await;
    bar.finish_and_clear();
    let ended = ended?;
    for line in &ended.lines {
        println!("{line}");
    }
    if is_import {
        let seconds = begun.elapsed().as_secs_f64();
        println!("{seconds:.1} s{}", if dry_run { ", nothing was written" } else { "" });
    }
    Ok(if ended.is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn act(config: Config, work: Work, bar: &Arc<ProgressBar>) -> anyhow::Result<Ended> {
    let shown = bar.clone();
    let step = move |step| show(&shown, step);
    let is_embedded = config.database_url.as_ref().is_none_or(|url| url.expose().starts_with("sqlite:"));
    if is_embedded && let Some(ended) = control::work(&config.data, &work, &step).await? {
        return Ok(ended);
    }
    let record = tokio::task::spawn_blocking(move || storage::open(&config, start::clock())).await??;
    let result = terminologies::run(&record, work, Arc::new(step)).await;
    tokio::task::spawn_blocking(move || record.store().close()).await?;
    Ok(result?)
}

fn work(order: Order) -> anyhow::Result<Work> {
    Ok(match order {
        Order::Import(import) => Work::Import {
            // A server has another working folder.
            paths: import.paths.iter().map(std::path::absolute).collect::<Result<_, _>>()?,
            system: import.system,
            version: import.version,
            dry_run: import.dry_run,
            use_it: import.use_it,
        },
        Order::List => Work::List,
        Order::Remove { url, version } => Work::Remove { url, version },
        Order::Use { url, version } => Work::Use { url, version },
    })
}

fn show(bar: &ProgressBar, step: Step) {
    match step {
        Step::Doing(text) => bar.set_message(text),
        Step::Said(text) => bar.println(text),
        Step::Begin(length) => {
            bar.set_length(length);
            bar.set_position(0);
        }
        Step::Done(count) => bar.inc(count),
        Step::Also(count) => {
            bar.inc_length(count);
            bar.inc(count);
        }
    }
}
