//! `uzima verify` and `uzima audit …`

use crate::audit_work::{self, Work};
use crate::config::Config;
use crate::terminologies::{Ended, Step};
use crate::{audit_key, control, start, storage};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use record::audit::hex;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

#[derive(Args)]
pub struct Verify {
    /// Files with heads that were kept elsewhere: the log of anchors, a mail, what was typed from paper. May be given more
    /// than once; `audit.anchor_file` is read by itself.
    #[arg(long, value_name = "FILE")]
    head: Vec<PathBuf>,
    /// Public key (64 hexadecimal digits) that must have signed the newest head; unset: that of the key file, if it is there.
    #[arg(long, value_name = "HEX")]
    key: Option<String>,
}

#[derive(Subcommand)]
pub enum Order {
    /// Prints the newest signed head, to be kept elsewhere.
    Head,
    /// Proves that a row is in the tree of a head.
    ProveRow {
        /// Number of the row, as in `AuditEvent/audit-<number>`.
        row: i64,
        /// Entries of the head; the newest if not given.
        #[arg(long)]
        size: Option<u64>,
    },
    /// Proves that the tree of the larger size begins with that of the smaller.
    ProveGrowth { from: u64, to: u64 },
    /// Lists the keys that signed heads.
    Keys,
    /// Makes a new signing key, which the old one endorses, and puts its file in the place of the old one's.
    RotateKey {
        /// The old key is lost; every check will tell of it.
        #[arg(long)]
        lost: bool,
        /// This database was put back from a backup by other means than `uzima restore` (PostgreSQL), to what it held at
        /// this instant: the trail says so, and checks know heads of the state that was given up.
        #[arg(long, value_name = "INSTANT", value_parser = super::output::parse_instant)]
        restored: Option<jiff::Timestamp>,
    },
}

/// `uzima verify`: recomputes the audit trail and names the first entry that is wrong. The exit code is 1 if one is.
pub async fn verify(config: Config, arguments: Verify) -> anyhow::Result<ExitCode> {
    let mut files: Vec<PathBuf> = arguments.head.iter().map(std::path::absolute).collect::<Result<_, _>>()?;
    files.extend(config.audit.anchor_file.iter().filter(|file| file.exists()).cloned());
    let key = match arguments.key {
        Some(key) => Some(key),
        None => audit_key::read(&config)?.map(|key| hex(&key.public)),
    };
    finish(&config, Work::Verify { files, key }).await
}

/// Runs the command: in the server of an embedded database, if one runs, else on the database itself.
pub async fn run(config: Config, order: Order) -> anyhow::Result<ExitCode> {
    let work = match order {
        Order::Head => Work::Head,
        Order::ProveRow { row, size } => Work::ProveRow { row, size },
        Order::ProveGrowth { from, to } => Work::ProveGrowth { from, to },
        Order::Keys => Work::Keys,
        Order::RotateKey { lost, restored } => return rotate(config, lost, restored).await,
    };
    finish(&config, work).await
}

async fn finish(config: &Config, work: Work) -> anyhow::Result<ExitCode> {
    let template = "{elapsed_precise} [{wide_bar}] {pos}/{len} {per_sec} {eta}";
    let style = ProgressStyle::with_template(template).context("progress bar")?.progress_chars("=> ");
    let bar = match &work {
        Work::Verify { .. } => ProgressBar::new(0).with_style(style),
        _ => ProgressBar::hidden(),
    };
    let ended = act(config, work, &bar).await;
    bar.finish_and_clear();
    let ended = ended?;
    for line in &ended.lines {
        println!("{line}");
    }
    Ok(if ended.is_clean { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn act(config: &Config, work: Work, bar: &ProgressBar) -> anyhow::Result<Ended> {
    let shown = bar.clone();
    let step = move |step| match step {
        Step::Begin(length) => shown.set_length(length),
        Step::Done(count) | Step::Also(count) => shown.inc(count),
        Step::Doing(text) | Step::Said(text) => shown.println(text),
    };
    let is_embedded = config.database_url.as_ref().is_none_or(|url| url.expose().starts_with("sqlite:"));
    if is_embedded && let Some(ended) = control::audit(&config.data, &work, &step).await? {
        return Ok(ended);
    }
    let opened = config.clone();
    let record = tokio::task::spawn_blocking(move || storage::open(&opened, start::clock())).await??;
    let result = audit_work::run(&record, work, Arc::new(step)).await;
    tokio::task::spawn_blocking(move || record.store().close()).await?;
    result
}

async fn rotate(config: Config, lost: bool, restored: Option<jiff::Timestamp>) -> anyhow::Result<ExitCode> {
    let file = audit_key::path(&config);
    let old = audit_key::read(&config)?;
    anyhow::ensure!(
        old.is_some() || lost || restored.is_some(),
        "the key file {} is not there; `--lost` makes a key without it",
        file.display()
    );
    let mut name = file.file_name().context("audit.key_file is no file name")?.to_owned();
    name.push(".new");
    let next = file.with_file_name(name);
    let new = audit_key::make(&next)?;
    let endorsement = old.as_ref().filter(|_| !lost).map(|old| old.endorse(&new.public));
    let work = Work::Rotate { public: hex(&new.public), endorsement, restored };
    let ended = act(&config, work, &ProgressBar::hidden()).await;
    if ended.is_err() {
        // The old key goes on signing.
        std::fs::remove_file(&next).with_context(|| format!("cannot remove {}", next.display()))?;
    }
    let ended = ended?;
    std::fs::rename(&next, &file)
        .with_context(|| format!("rename {} to {} by hand", next.display(), file.display()))?;
    ended.lines.iter().for_each(|line| println!("{line}"));
    println!("its file is {}; other servers on the same database need a copy", file.display());
    Ok(ExitCode::SUCCESS)
}
