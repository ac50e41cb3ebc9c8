//! What `uzima terminology` does, on a running server or on a database at rest, and what it shows meanwhile.

use access::Ctx;
use record::terminology::import::{ImportError, Loaded, Progress, Request};
use record::{Error, Record};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// Warnings and refusals shown of one distribution.
const SHOWN: usize = 20;

/// One command; also a message of the control socket.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Work {
    Import {
        /// As the process that does it sees them.
        paths: Vec<PathBuf>,
        system: Option<String>,
        version: Option<String>,
        dry_run: bool,
        use_it: bool,
    },
    List,
    Remove {
        url: String,
        version: Option<String>,
    },
    Use {
        url: String,
        version: String,
    },
}

/// What happens while it runs, for a progress bar.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// What is being done.
    Doing(String),
    /// Said once and left standing.
    Said(String),
    /// The bar begins anew, so long.
    Begin(u64),
    /// Something was done that belongs to the length.
    Done(u64),
    /// Something was done that nobody knew of before.
    Also(u64),
}

/// How it ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ended {
    /// To be printed.
    pub lines: Vec<String>,
    /// Nothing was refused.
    pub is_clean: bool,
}

impl From<Vec<String>> for Ended {
    fn from(lines: Vec<String>) -> Ended {
        Ended { lines, is_clean: true }
    }
}

/// Why it could not be done, in words for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error("{what}: {error}")]
    Record { what: String, error: Error },
}

/// Does it as the operator. `tell` is called from a thread of its own. Errors: of the files and of `record`.
pub async fn run(
    record: &Record,
    work: Work,
    tell: Arc<dyn Fn(Step) + Send + Sync>,
) -> Result<Ended, Failure> {
    let ctx = Ctx::system("terminology", record.now());
    let cannot = |what: String| move |error| Failure::Record { what, error };
    match work {
        Work::Import { paths, system, version, dry_run, use_it } => {
            let request = Request { paths, system, version, dry_run, use_it };
            let progress = Arc::new(move |progress| tell(step(progress)));
            let loaded = record.import_terminology(&ctx, request, progress).await?;
            let is_clean = loaded.iter().all(|one| one.refused.is_empty());
            Ok(Ended { lines: loaded.iter().flat_map(lines).collect(), is_clean })
        }
        Work::List => {
            let all = record.loaded_terminologies(&ctx).await.map_err(cannot("cannot list".to_owned()))?;
            let line = |entry: &store::terminology::Entry| {
                let mark = if entry.is_default { "*" } else { " " };
                format!("{mark} {:<40} {:<60} {:>9}  {}", entry.url, entry.version, entry.entries, entry.at)
            };
            Ok(all.iter().map(line).collect::<Vec<_>>().into())
        }
        Work::Remove { url, version } => {
            let gone = record.remove_terminology(&ctx, &url, version.as_deref()).await;
            let gone = gone.map_err(cannot(format!("cannot remove {url}")))?;
            Ok(vec![format!("removed {} {} ({} entries)", gone.url, gone.version, gone.entries)].into())
        }
        Work::Use { url, version } => {
            let used = record.use_terminology(&ctx, &url, &version).await;
            let used = used.map_err(cannot(format!("cannot use {url} {version}")))?;
            Ok(vec![format!("{} now means version {}", used.url, used.version)].into())
        }
    }
}

fn step(progress: Progress) -> Step {
    match progress {
        Progress::Reading { file, round, .. } => {
            let name = file.rsplit('/').next().unwrap_or_default();
            Step::Doing(format!("reading {name} ({round} of 2)"))
        }
        Progress::Concepts { system, count } => {
            // The bar's length is told with the first rows.
            Step::Said(format!("{system}: {count} concepts"))
        }
        Progress::Writing { rows } => Step::Begin(rows),
        Progress::Written { rows } => Step::Done(rows),
        Progress::Indexing { keys } => Step::Begin(keys),
        Progress::Indexed { keys } => Step::Done(keys),
        Progress::Resources { count } => Step::Also(count),
    }
}

fn lines(loaded: &Loaded) -> Vec<String> {
    let mut lines = vec![format!("{}: {} {}", loaded.format, loaded.url, loaded.version)];
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
            lines.push(format!("  {name:<22} {count:>10}"));
        }
    }
    for (url, count) in &loaded.maps {
        lines.push(format!("  {:<22} {count:>10}  {url}", "mappings"));
    }
    let notes = loaded.warnings.iter().chain(&loaded.refused).take(SHOWN);
    lines.extend(notes.map(|note| format!("  {note}")));
    lines
}
