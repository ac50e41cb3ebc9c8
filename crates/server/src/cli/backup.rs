//! `uzima backup`, `uzima restore`, `uzima verify --backup`

use super::output::{Stop, parse_instant};
use crate::backups::{self, Backups, Order};
use crate::config::Config;
use crate::terminologies::Step;
use crate::{control, keys, start, storage};
use ::backup::{Progress, Wanted, Watch, kept_key};
use anyhow::Context as _;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use store::Secret32;
use store::keys::LocalKey;

#[derive(Args)]
pub struct BackupArguments {
    /// A folder, sftp://user@host/path or s3://bucket/prefix; without it, where the server's backups go (backup.to).
    #[arg(long, value_name = "PLACE")]
    to: Option<String>,
    /// Keeps the key with it, sealed by a passphrase that is the first line of the standard input. Without the key or a copy
    /// of the key file a backup cannot be read.
    #[arg(long)]
    with_key: bool,
    /// Tries afterwards whether it can be restored.
    #[arg(long)]
    drill: bool,
    /// Makes none, but removes what is older than the configuration keeps: for a machine whose credential may remove,
    /// where that of the server may only add. No copy may be made there meanwhile.
    #[arg(long, conflicts_with_all = ["with_key", "drill"])]
    prune: bool,
}

#[derive(Args)]
pub struct RestoreArguments {
    /// Where the backup is: a folder, sftp://user@host/path or s3://bucket/prefix.
    #[arg(long, value_name = "PLACE")]
    from: String,
    /// The state as it was at this instant, e.g. 2026-03-04T05:06:07Z; without it the last there is.
    #[arg(long, value_name = "INSTANT", value_parser = parse_instant)]
    at: Option<Timestamp>,
    /// The data folder to make; without it the configured one.
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// Puts a data folder that is there aside.
    #[arg(long)]
    replace: bool,
    /// The key file is lost: takes the key kept in the backup, by the passphrase that is the first line of the standard
    /// input, and writes the key file.
    #[arg(long)]
    with_key: bool,
}

fn bar() -> anyhow::Result<ProgressBar> {
    let template = "{elapsed_precise} [{wide_bar}] {bytes}/{total_bytes} {bytes_per_sec} {msg}";
    let style = ProgressStyle::with_template(template).context("progress bar")?.progress_chars("=> ");
    Ok(ProgressBar::new(0).with_style(style))
}

fn show(bar: &ProgressBar, step: Step) {
    match step {
        Step::Doing(text) => bar.set_message(text),
        Step::Said(text) => bar.println(text),
        Step::Begin(bytes) => {
            bar.set_length(bytes);
            bar.set_position(0);
        }
        Step::Done(bytes) => bar.inc(bytes),
        Step::Also(bytes) => {
            bar.inc_length(bytes);
            bar.inc(bytes);
        }
    }
}

fn passphrase() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line).context("no passphrase on the standard input")?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// In the server of this data folder, if one runs, else on the database itself.
pub async fn backup(config: Config, arguments: BackupArguments) -> anyhow::Result<ExitCode> {
    if arguments.prune {
        return prune(config, arguments.to).await;
    }
    let mut order = Order { to: arguments.to, passphrase: None, drill: arguments.drill };
    if let Some(to) = order.to.as_deref().filter(|to| !to.contains("://")) {
        // A server has another working folder.
        order.to = Some(std::path::absolute(to)?.display().to_string());
    }
    if arguments.with_key {
        order.passphrase = Some(passphrase()?);
    }
    let (bar, begun) = (bar()?, Instant::now());
    let shown = bar.clone();
    let asked = control::back_up(&config.data, &order, &|step| show(&shown, step)).await?;
    let lines = match asked {
        Some(lines) => lines,
        None => {
            let (shown, stop) = (bar.clone(), Stop::listen());
            let work = tokio::task::spawn_blocking(move || -> anyhow::Result<Vec<String>> {
                let record = storage::open(&config, start::clock())?;
                let tell = move |progress| show(&shown, backups::step(progress));
                let is_stopped = || stop.is_asked();
                let watch = Watch { tell: &tell, is_stopped: &is_stopped };
                let lines = backups::now(&Backups::new(&config, record.store()), &order, &watch);
                record.store().close();
                lines
            });
            work.await??
        }
    };
    bar.finish_and_clear();
    lines.iter().for_each(|line| println!("{line}"));
    println!("{:.1} s", begun.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

async fn prune(config: Config, to: Option<String>) -> anyhow::Result<ExitCode> {
    let (bar, stop) = (bar()?, Stop::listen());
    let shown = bar.clone();
    let work = tokio::task::spawn_blocking(move || -> anyhow::Result<::backup::Pruned> {
        let to = to.or_else(|| config.backup.to.clone()).context("say which: --to PLACE")?;
        let repository = opened(&config, &to)?;
        let tell = move |progress: Progress| show(&shown, backups::step(progress));
        let is_stopped = || stop.is_asked();
        let policy = backups::Schedule::of(&config.backup).keeping();
        Ok(repository.prune(&policy, Timestamp::now(), &Watch { tell: &tell, is_stopped: &is_stopped })?)
    });
    let pruned = work.await?;
    bar.finish_and_clear();
    let pruned = pruned?;
    for (name, count) in [
        ("whole databases removed", pruned.bases),
        ("segments removed", pruned.segments),
        ("pieces removed", pruned.chunks),
        ("bytes set free", pruned.bytes),
    ] {
        println!("{name:<24} {count:>14}");
    }
    Ok(ExitCode::SUCCESS)
}

/// The repository at a place, with the keys that its newest keyring holds. Errors: another key.
fn opened(config: &Config, place: &str) -> anyhow::Result<::backup::Repository> {
    let nobody = backups::repository(config, place, &Secret32::new([0; 32]))?;
    let keys = backups::keys_of(nobody.target(), &keys::source(config)?)?;
    backups::repository(config, place, &keys.files)
}

/// Makes a data folder from a backup; it gets its name when it was found sound.
pub async fn restore(config: Config, arguments: RestoreArguments) -> anyhow::Result<ExitCode> {
    let (bar, stop, begun) = (bar()?, Stop::listen(), Instant::now());
    let (shown, instant) = (bar.clone(), Timestamp::now());
    let work = tokio::task::spawn_blocking(move || -> anyhow::Result<Vec<String>> {
        let data = arguments.data.clone().unwrap_or_else(|| config.data.clone());
        let data = std::path::absolute(data)?;
        anyhow::ensure!(!backups::is_in_use(&data), "{} is in use: stop the server first", data.display());
        if data.exists() && !arguments.replace {
            let is_empty = std::fs::read_dir(&data)?.next().is_none();
            anyhow::ensure!(
                is_empty,
                "{} is there: name another by --data, or say --replace",
                data.display()
            );
        }
        let usual = config.clone();
        let config = Config { data: data.clone(), ..config };
        let source = match arguments.with_key {
            true => keys::Source::Local(LocalKey::of_text("the kept key", &kept(&config, &arguments.from)?.to_hex())?),
            // That of the new folder, or of the one that the copy was made of.
            false => keys::source(&config).or_else(|_| keys::source(&usual)).context(
                "without the key nothing can be restored: put its file back, name it by UZIMA_KEY_FILE, or take the key kept \
                 in the backup by --with-key",
            )?,
        };
        let nobody = backups::repository(&config, &arguments.from, &Secret32::new([0; 32]))?;
        let keys_of = backups::keys_of(nobody.target(), &source)?;
        let repository = backups::repository(&config, &arguments.from, &keys_of.files)?;
        let mut scratch = data.file_name().context("the data folder has no name")?.to_owned();
        scratch.push(".restoring");
        let tell = move |progress: Progress| show(&shown, backups::step(progress));
        let is_stopped = || stop.is_asked();
        let watch = Watch { tell: &tell, is_stopped: &is_stopped };
        let wanted = Wanted { at: arguments.at, counted: false };
        let scratch = data.with_file_name(scratch);
        // A state from before the database got another key has one of its former keys.
        let former = keys_of.next.iter().chain(keys_of.retired.iter().map(|retired| &retired.key));
        let mut candidates = std::iter::once(&keys_of.database).chain(former).peekable();
        let (scratch, key) = loop {
            let key = candidates.next().context("no key opens the database")?;
            match repository.restore(&wanted, &scratch, storage::DATABASE, key, &watch) {
                // What was fetched stays for the next key.
                Err(::backup::Error::Store(store::Error::WrongKey)) if candidates.peek().is_some() => {}
                restored => break (restored?, key.clone()),
            }
        };
        let restored = scratch.restored.clone();
        let existing = data.join(storage::DATABASE);
        backups::keep_newer_keys(&existing, &scratch.folder().join(storage::DATABASE))?;
        backups::put_keyring(scratch.folder(), &source, keys_of.clone(), &key)?;
        let opening = backups::Opening { database: key, files: keys_of.files.clone() };
        backups::prove_audit(scratch.folder(), &opening, None)?;
        let settled = backups::settle(&usual, &data, scratch.folder(), &opening, &restored, instant)?;
        let aside = scratch.place(&data, arguments.replace)?;
        let told = settled.place(Timestamp::now())?;
        let is_usual =
            config.key.value.is_none() && config.key.credential.is_none() && config.key.program.is_empty();
        if let (true, Some(bare)) = (is_usual, source.bare()) {
            let file = keys::key_file(&config);
            if !file.exists() {
                store::keys::replace_key_file(&file, bare)?;
            }
        }
        let counts = if restored.is_counted { "compared with those noted" } else { "plausible" };
        let rows: i64 = restored.health.counts.values().sum();
        let mut lines = vec![
            format!("{} holds every write answered before {:.0}", data.display(), restored.until),
            format!("  {:<22} {:>14}", "database bytes", restored.bytes),
            format!("  {:<22} {:>14}", "files", restored.files),
            format!("  {:<22} {rows:>14}  {counts}", "rows"),
            "  pages, trees and references are whole; the ledger sums to zero; the audit trail is proven"
                .to_owned(),
        ];
        lines.extend(told.into_iter().map(|line| format!("  {line}")));
        lines.extend(aside.map(|aside| format!("  what was there is now {}", aside.display())));
        lines.extend(restored.notes.iter().map(|note| format!("  NOTE: {note}")));
        Ok(lines)
    });
    let lines = work.await?;
    bar.finish_and_clear();
    lines?.iter().for_each(|line| println!("{line}"));
    println!("{:.1} s", begun.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

fn kept(config: &Config, from: &str) -> anyhow::Result<Secret32> {
    // Any key will do to look at what is sealed by the passphrase.
    let nobody = backups::repository(config, from, &Secret32::new([0; 32]))?;
    Ok(kept_key(nobody.target(), &passphrase()?)?)
}

/// Reads and authenticates all of a backup. The exit code is 1 if something is wrong.
pub async fn verify(config: Config, from: Option<String>, quick: bool) -> anyhow::Result<ExitCode> {
    let (bar, stop) = (bar()?, Stop::listen());
    let shown = bar.clone();
    let work = tokio::task::spawn_blocking(move || -> anyhow::Result<::backup::Verified> {
        let from = from.or_else(|| config.backup.to.clone()).context("say which: --backup PLACE")?;
        let repository = opened(&config, &from)?;
        let tell = move |progress: Progress| show(&shown, backups::step(progress));
        let is_stopped = || stop.is_asked();
        Ok(repository.verify(!quick, &Watch { tell: &tell, is_stopped: &is_stopped })?)
    });
    let verified = work.await?;
    bar.finish_and_clear();
    let verified = verified?;
    for (name, count) in [
        ("whole databases", verified.bases),
        ("segments", verified.segments),
        ("pieces", verified.chunks),
        ("bytes", verified.bytes),
    ] {
        println!("{name:<22} {count:>14}");
    }
    if let (Some(from), Some(until)) = (verified.from, verified.until) {
        println!("from {from:.0} until {until:.0}");
    }
    for problem in &verified.problems {
        println!("WRONG: {problem}");
    }
    Ok(if verified.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
