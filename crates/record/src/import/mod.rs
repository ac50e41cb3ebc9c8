//! Bulk import: files in, batches through the same steps as every write, one marker per file so that it can be resumed.
//!
//! Reading, parsing, validating and extracting run on threads of their own; the writer only writes. What differs from
//! single writes: one audit event per batch and patient set instead of one per resource, no outbox events (nobody is to
//! be reminded of a visit of 2015), and references may point at what comes later in the same import: they are checked
//! at the end and reported.

mod file;
#[doc(hidden)]
pub mod foreign;
mod lines;
mod parse;
mod table;

pub use table::{Export, Mapping, MappingError, Tables};

pub use lines::LinesReport;

use crate::write::Put;
use crate::{Error, Record};
use access::{Action, Capability, Ctx};
use fhir::ResourceKey;
use parse::{Message, Ready};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use store::audit::Outcome;

/// What an import tells while it runs.
#[derive(Debug, Clone)]
pub enum Progress {
    Started {
        files: usize,
        bytes: u64,
    },
    /// Taken before by an earlier run; skipped.
    Skipped {
        file: PathBuf,
    },
    Batch {
        file: PathBuf,
        taken: usize,
        refused: usize,
        bytes: u64,
    },
    Finished {
        file: PathBuf,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub file: PathBuf,
    /// Line (NDJSON) or entry number (Bundle), from 0; line of the file (CSV), from 1.
    pub entry: usize,
    /// `Type/id` or `fullUrl`, as far as known.
    pub what: String,
    pub reason: String,
}

#[derive(Debug, Clone, Default)]
pub struct Report {
    pub files: usize,
    pub skipped_files: usize,
    pub taken: u64,
    /// Already there with the same content.
    pub unchanged: u64,
    /// Per type: resources taken.
    pub by_type: Vec<(String, u64)>,
    pub refused: u64,
    /// Rows of tables that were read well, and those of them that were left out: voided ones, or empty where the
    /// mapping says so.
    pub rows: u64,
    pub rows_left_out: u64,
    /// The first [MAX_REFUSALS] in full.
    pub refusals: Vec<Refusal>,
    /// Subscriptions that were taken, and are off until a client writes them; at most [MAX_REFUSALS].
    pub resting: Vec<String>,
    /// References of taken resources to resources that are still not there: `(from, to)`, at most [MAX_REFUSALS].
    pub dangling: Vec<(String, String)>,
}

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Reads and checks everything and writes nothing.
    pub dry_run: bool,
    /// What to do with `.csv` files; without it they are an error.
    pub tables: Option<Tables>,
}

/// Refusals kept in a [Report].
pub const MAX_REFUSALS: usize = 10_000;
/// Resources of one write transaction: large enough that the commit costs nothing, small enough that other writers
/// do not wait long.
const BATCH: usize = 500;
/// References remembered for the check at the end; beyond it they are not checked.
const MAX_PENDING: usize = 5_000_000;
/// Resources checked against profiles in one piece; several pieces at once.
const CHECKED: usize = 64;
/// Targets looked up in one query.
const LOOKUP: usize = 1000;

impl Record {
    /// [Record::import_with] for FHIR files.
    pub async fn import(
        &self,
        ctx: &Ctx,
        paths: &[PathBuf],
        progress: Arc<dyn Fn(Progress) + Send + Sync>,
    ) -> Result<Report, Error> {
        self.import_with(ctx, paths, &Options::default(), progress).await
    }

    /// Imports files and folders (`.json` Bundle or resource, `.ndjson`, `.csv` by [Options::tables], each also `.gz`).
    /// `ctx` must be a System or Integration principal. Resumable: a file whose content was taken whole is skipped the
    /// next time, and what was taken of a half-done file is recognised as unchanged.
    /// Errors: `Denied`, `Busy`, `Internal` (a path that cannot be read, a table without a rule); what is wrong with
    /// single resources is in the [Report].
    pub async fn import_with(
        &self,
        ctx: &Ctx,
        paths: &[PathBuf],
        options: &Options,
        progress: Arc<dyn Fn(Progress) + Send + Sync>,
    ) -> Result<Report, Error> {
        if !access::policy::may(ctx, Capability::Import) {
            return Err(self.denied(ctx, "import", "").await);
        }
        self.load_search_parameters().await?;
        self.sensitivity().await?;
        let (paths, tables) = (paths.to_vec(), options.tables.clone());
        let files = tokio::task::spawn_blocking(move || {
            let mut files = file::list(&paths)?;
            file::give_rules(&mut files, tables.as_ref())?;
            Ok::<_, Error>(files)
        })
        .await
        .map_err(|e| Error::Internal(format!("import: {e}")))??;
        progress(Progress::Started { files: files.len(), bytes: files.iter().map(|f| f.bytes).sum() });
        let mut run = Run {
            dry: options.dry_run,
            // A table's key may not be one; in a dry run references lead to what would have been taken.
            seen: (options.dry_run || options.tables.is_some()).then(HashMap::new),
            ..Run::default()
        };
        // Synthea writes hospitals and practitioners apart; patients refer to them by identifier.
        let (first, rest): (Vec<_>, Vec<_>) = files.into_iter().partition(|f| f.is_directory_data());
        for files in [first, rest] {
            self.import_files(ctx, Arc::new(files), &progress, &mut run).await?;
        }
        self.find_dangling(&mut run).await?;
        run.report.by_type = run.by_type.into_iter().collect();
        Ok(run.report)
    }

    async fn import_files(
        &self,
        ctx: &Ctx,
        files: Arc<Vec<file::Source>>,
        progress: &Arc<dyn Fn(Progress) + Send + Sync>,
        run: &mut Run,
    ) -> Result<(), Error> {
        if files.is_empty() {
            return Ok(());
        }
        let mut messages = parse::start(self.clone(), ctx.clone(), files.clone(), run.dry);
        // Blocks written and blocks announced, per file.
        let mut written: HashMap<usize, usize> = HashMap::new();
        let mut announced: HashMap<usize, (usize, String)> = HashMap::new();
        while let Some(message) = messages.recv().await {
            let file = match message {
                Message::Skipped { file } => {
                    run.report.skipped_files += 1;
                    progress(Progress::Skipped { file: files[file].path.clone() });
                    continue;
                }
                Message::Failed { file, reason } => {
                    run.refuse(&files[file].path, 0, String::new(), reason);
                    progress(Progress::Finished { file: files[file].path.clone() });
                    continue;
                }
                Message::End { file, blocks, marker } => {
                    announced.insert(file, (blocks, marker));
                    file
                }
                Message::Ready(ready) => {
                    let file = ready.file;
                    self.import_block(ctx, ready, &files[file], progress, run).await?;
                    *written.entry(file).or_default() += 1;
                    file
                }
            };
            if let Some((blocks, marker)) = announced.get(&file)
                && written.get(&file).copied().unwrap_or(0) == *blocks
            {
                let (marker, name) = (marker.clone(), files[file].path.display().to_string());
                let at = self.now().to_string();
                if !run.dry {
                    self.writing(move |tx| {
                        Ok(store::setting::put(tx, &marker, &serde_json::json!({"file": name, "at": at}))?)
                    })
                    .await?;
                }
                run.report.files += 1;
                progress(Progress::Finished { file: files[file].path.clone() });
            }
        }
        Ok(())
    }

    async fn import_block(
        &self,
        ctx: &Ctx,
        ready: Ready,
        source: &file::Source,
        progress: &Arc<dyn Fn(Progress) + Send + Sync>,
        run: &mut Run,
    ) -> Result<(), Error> {
        let mut refused = ready.refusals.len();
        run.report.rows += ready.rows.0 as u64;
        run.report.rows_left_out += ready.rows.1 as u64;
        for (entry, what, reason) in ready.refusals {
            run.refuse(&source.path, entry, what, reason);
        }
        let mut taken = 0;
        let mut rest = ready.puts;
        if let Some(seen) = &mut run.seen {
            let mut twice = Vec::new();
            rest.retain(|(entry, put)| match seen.get(&put.key) {
                // The same block again after a repeated row number is the row itself.
                Some(first) if *first != (ready.file, *entry) => {
                    twice.push((*entry, put.key.to_string(), first.1));
                    false
                }
                _ => {
                    seen.insert(put.key.clone(), (ready.file, *entry));
                    true
                }
            });
            refused += twice.len();
            for (entry, what, first) in twice {
                run.refuse(
                    &source.path,
                    entry,
                    what,
                    format!("entry {first} of this import has the same id"),
                );
            }
        }
        while !rest.is_empty() {
            let batch: Vec<(usize, Put)> = rest.drain(..rest.len().min(BATCH)).collect();
            let batch = Arc::new(batch);
            let results = if run.dry {
                let unfit = self.unfit(&batch).await?;
                unfit.into_iter().map(|reason| reason.map_or(Taken::New, Taken::Refused)).collect()
            } else {
                self.import_batch(ctx, batch.clone(), &source.path.display().to_string()).await?
            };
            for ((entry, put), result) in batch.iter().zip(results) {
                match result {
                    Taken::New => {
                        taken += 1;
                        run.report.taken += 1;
                        *run.by_type.entry(put.key.kind.name().to_owned()).or_default() += 1;
                        let rests = crate::subscription::is_subscription(put.key.kind);
                        if rests && run.report.resting.len() < MAX_REFUSALS {
                            run.report.resting.push(put.key.to_string());
                        }
                    }
                    Taken::Unchanged => run.report.unchanged += 1,
                    Taken::Refused(reason) => {
                        refused += 1;
                        run.refuse(&source.path, *entry, put.key.to_string(), reason);
                        continue;
                    }
                }
                for (_, target) in &put.targets {
                    if run.pending.len() < MAX_PENDING && !run.pending.contains_key(target) {
                        run.pending.insert(target.clone(), put.key.clone());
                    }
                }
            }
        }
        progress(Progress::Batch { file: source.path.clone(), taken, refused, bytes: ready.bytes });
        Ok(())
    }

    async fn import_batch(
        &self,
        ctx: &Ctx,
        batch: Arc<Vec<(usize, Put)>>,
        file: &str,
    ) -> Result<Vec<Taken>, Error> {
        let now = self.now();
        // Before the writer is held: what a resource claims to be, it must be, as in every other write.
        let unfit = self.unfit(&batch).await?;
        let mut patients: Vec<String> = batch.iter().flat_map(|(_, p)| p.patients.iter().cloned()).collect();
        patients.sort();
        patients.dedup();
        let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
        let event = self.audit_event(ctx, "import", Outcome::Success, name, &patients);
        let allowed: Vec<bool> = batch
            .iter()
            .map(|(_, put)| {
                [Action::Create, Action::Update].iter().all(|action| {
                    access::policy::content_predicate(ctx, *action, put.key.kind, false)
                        == access::Predicate::Everything
                })
            })
            .collect();
        let record = self.clone();
        let searches = batch.iter().any(|(_, put)| put.key.kind == fhir::TypeId::SEARCH_PARAMETER);
        let defines = batch.iter().any(|(_, put)| put.key.kind.name() == "StructureDefinition");
        let writer = ctx.clone();
        let results = self.writing(move |tx| {
            let params = record.params();
            let mut results = Vec::with_capacity(batch.len());
            for (((_, put), allowed), unfit) in batch.iter().zip(&allowed).zip(&unfit) {
                results.push(match unfit {
                    _ if !allowed => Taken::Refused("the client's scopes do not cover this type".to_owned()),
                    Some(reason) => Taken::Refused(reason.clone()),
                    None => take(tx, &params, &writer, put, now)?,
                });
            }
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(results)
        });
        let results = results.await?;
        if defines {
            // What comes behind it may claim it.
            self.inner.profiles.forget();
        }
        if searches {
            self.reload_search_parameters().await;
        }
        Ok(results)
    }

    /// Why each resource does not fit a profile that it claims and that is stored here; what is not stored says nothing.
    async fn unfit(&self, batch: &Arc<Vec<(usize, Put)>>) -> Result<Vec<Option<String>>, Error> {
        let mut reasons = vec![None; batch.len()];
        let claiming: Vec<usize> =
            (0..batch.len()).filter(|n| self.claims_profiles(&batch[*n].1.resource)).collect();
        let mut tasks = tokio::task::JoinSet::new();
        for part in claiming.chunks(CHECKED) {
            let (record, batch, part) = (self.clone(), batch.clone(), part.to_vec());
            tasks.spawn(async move {
                let resources = part.iter().map(|n| batch[*n].1.resource.as_ref().clone()).collect();
                let found = record.misfits(resources).await?;
                Ok::<_, Error>(part.into_iter().zip(found).collect::<Vec<_>>())
            });
        }
        while let Some(done) = tasks.join_next().await {
            for (n, reason) in done.map_err(|e| Error::Internal(format!("import: {e}")))?? {
                reasons[n] = reason;
            }
        }
        Ok(reasons)
    }

    async fn find_dangling(&self, run: &mut Run) -> Result<(), Error> {
        let mut pending: Vec<(ResourceKey, ResourceKey)> =
            std::mem::take(&mut run.pending).into_iter().collect();
        if let Some(seen) = &run.seen {
            pending.retain(|(target, _)| !seen.contains_key(target));
        }
        for part in pending.chunks(LOOKUP) {
            let keys: Vec<ResourceKey> = part.iter().map(|(target, _)| target.clone()).collect();
            let missing = self.reading(move |tx| crate::write::missing(tx, &keys)).await?;
            for (target, from) in part.iter().filter(|(target, _)| missing.contains(target)) {
                if run.report.dangling.len() < MAX_REFUSALS {
                    run.report.dangling.push((from.to_string(), target.to_string()));
                }
            }
        }
        run.report.dangling.sort();
        Ok(())
    }
}

/// One resource of a batch, in the writer's transaction.
fn take(
    tx: &mut dyn store::Tx,
    params: &fhir::search::Params,
    ctx: &Ctx,
    put: &Put,
    now: jiff::Timestamp,
) -> Result<Taken, Error> {
    if let Some(reason) = crate::subscription::refuses_import(tx, ctx, &put.key)? {
        return Ok(Taken::Refused(reason));
    }
    let taken = crate::write::import_put(tx, params, put, now)?;
    if taken == Taken::New
        && crate::subscription::is_subscription(put.key.kind)
        && let Some(head) = store::resource::head(tx, &put.key)?
    {
        crate::subscription::after_import(tx, ctx, &put.resource, head.version)?;
    }
    Ok(taken)
}

#[derive(Default)]
struct Run {
    dry: bool,
    /// What was met, by file and entry.
    seen: Option<HashMap<ResourceKey, (usize, usize)>>,
    report: Report,
    /// Target → the first resource that refers to it.
    pending: HashMap<ResourceKey, ResourceKey>,
    by_type: BTreeMap<String, u64>,
}

impl Run {
    fn refuse(&mut self, file: &std::path::Path, entry: usize, what: String, reason: String) {
        self.report.refused += 1;
        if self.report.refusals.len() < MAX_REFUSALS {
            self.report.refusals.push(Refusal { file: file.to_owned(), entry, what, reason });
        }
    }
}

/// What became of one resource.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Taken {
    New,
    Unchanged,
    Refused(String),
}
