//! Jobs that read or write a great deal: who asked, their files, and the pieces they are done in.

use crate::sealed::{FileKey, SealedReader};
use crate::table::Format;
use crate::view::Limits;
use access::Ctx;
use fhir::{IssueCode, Outcome};
use jiff::{SignedDuration, Timestamp};
use record::{Error, Record};
use serde_json::Value;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::bulk::job::{self, Job, Kind, Role, State};
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, Semaphore, SemaphorePermit};
use uuid::Uuid;

/// How bulk work is done.
#[derive(Debug, Clone)]
pub struct Config {
    /// Folder of the sealed files; made when needed.
    pub folder: PathBuf,
    pub key: FileKey,
    /// Resources, bytes and time after which a file is closed and the next one begun: what a kill costs at most.
    pub part_resources: u64,
    pub part_bytes: u64,
    pub part_time: Duration,
    /// How long the files of a finished job stay.
    pub keep: SignedDuration,
    /// Active jobs of one owner, and of all.
    pub jobs_per_owner: i64,
    pub jobs: i64,
    /// Beginnings of addresses that imports may be fetched from, e.g. `https://exports.example.org/`; none by default.
    pub import_from: Vec<String>,
    /// Largest file taken in by an import, bytes.
    pub input_bytes: u64,
    /// What a view may cost that somebody waits for; and a view export, or one refresh of a named view.
    pub run: Limits,
    pub background: Limits,
}

impl Config {
    /// Files of 100,000 resources or 128 MiB, a day to fetch them, three jobs of one owner and ten in all, inputs of up
    /// to 64 GiB, no addresses.
    pub fn new(folder: impl Into<PathBuf>, key: FileKey) -> Config {
        Config {
            folder: folder.into(),
            key,
            part_resources: 100_000,
            part_bytes: 128 << 20,
            part_time: Duration::from_secs(20),
            keep: SignedDuration::from_hours(24),
            jobs_per_owner: 3,
            jobs: 10,
            import_from: Vec::new(),
            input_bytes: 64 << 30,
            run: Limits::RUN,
            background: Limits::BACKGROUND,
        }
    }
}

/// Bulk work of one installation. Cheap to clone.
#[derive(Clone)]
pub struct Insight {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub record: Record,
    pub config: Config,
    pub http: reqwest::Client,
    /// Rings when this process has made work.
    pub bell: Notify,
    /// Views that are evaluated at one moment for people who wait.
    pub turns: Semaphore,
}

/// A sealed file, open for reading.
pub struct Download {
    pub reader: SealedReader<BufReader<File>>,
    /// Of the text.
    pub bytes: u64,
    pub media_type: &'static str,
}

/// A job as its owner sees it.
#[derive(Debug, Clone)]
pub struct Shown {
    pub job: Job,
    /// Without inputs.
    pub files: Vec<job::File>,
}

/// Whether the program is about to stop: pieces then end early and lose nothing.
pub type Stopping<'s> = &'s (dyn Fn() -> bool + Send + Sync);

/// Each takes a core and the rows of one resource.
const RUNS_AT_ONCE: usize = 2;
/// A worker that is silent for so long has died.
pub(crate) const LEASE_MS: i64 = 20_000;
/// How often a long piece renews its lease.
pub(crate) const RENEW: Duration = Duration::from_secs(5);
/// An unfinished job goes after this.
const ABANDONED: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A piece that fails so often in a row fails the job.
pub(crate) const MAX_FAILURES: u64 = 5;
/// Jobs cleaned up in one round.
const CLEANED: u32 = 100;
/// What is older and belongs to nothing was left by a server that was killed.
const LEFT_BEHIND: Duration = Duration::from_secs(24 * 60 * 60);
/// Such things looked at in one round.
const SWEPT: usize = 1_000;
/// No answer from an import's address for this long ends the attempt.
const FETCH_SILENCE: Duration = Duration::from_secs(30);

/// Errors of the disk.
pub(crate) fn disk(error: std::io::Error) -> Error {
    Error::Internal(format!("bulk files: {error}"))
}

pub(crate) fn wrong(field: &str, text: impl Into<String>) -> Error {
    Error::Malformed(Outcome::one(IssueCode::Value, field, text))
}

/// Runs blocking work on files off the runtime's threads.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Internal(format!("bulk: {error}")))?
}

impl Insight {
    /// Errors: `Internal` if no HTTP client can be made.
    pub fn new(record: Record, config: Config) -> Result<Insight, Error> {
        // What an allowed address redirects to is not allowed by that.
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(FETCH_SILENCE)
            .read_timeout(FETCH_SILENCE)
            .build()
            .map_err(|error| Error::Internal(format!("HTTP client: {error}")))?;
        Ok(Insight {
            inner: Arc::new(Inner {
                record,
                config,
                http,
                bell: Notify::new(),
                turns: Semaphore::new(RUNS_AT_ONCE),
            }),
        })
    }

    pub(crate) fn record(&self) -> &Record {
        &self.inner.record
    }
    /// Waits until a page of a view may be evaluated.
    pub(crate) async fn turn(&self) -> Result<SemaphorePermit<'_>, Error> {
        self.inner.turns.acquire().await.map_err(|_| Error::Busy)
    }
    pub(crate) fn config(&self) -> &Config {
        &self.inner.config
    }

    /// Writes a job. Errors: `Throttled` where the owner, or all together, have as many as may be.
    pub(crate) async fn insert(&self, new: job::New, files: Vec<job::File>) -> Result<Uuid, Error> {
        let (per_owner, all) = (self.config().jobs_per_owner, self.config().jobs);
        let id = new.id;
        let inserted = self.record().store().write(move |tx| {
            let (own, active) = job::active(tx, &new.owner)?;
            if own >= per_owner || active >= all {
                return Ok(false);
            }
            job::insert(tx, &new)?;
            job::add_files(tx, new.id, &files)?;
            Ok::<_, store::Error>(true)
        });
        if !inserted.await? {
            return Err(Error::Throttled { retry_after_s: 60 });
        }
        self.inner.bell.notify_waiters();
        Ok(id)
    }

    /// Ends when this process has made work; what other servers make is found by looking from time to time.
    pub fn bell(&self) -> Notified<'_> {
        self.inner.bell.notified()
    }

    /// Errors: `Denied` for a person's application: what runs later would run with all of her rights.
    pub(crate) fn check_starter(ctx: &Ctx) -> Result<(), Error> {
        if ctx.scopes.is_some() { Err(Error::Denied) } else { Ok(()) }
    }

    pub(crate) fn new_job(&self, ctx: &Ctx, kind: Kind, request: Value, progress: Value) -> job::New {
        let scopes = match &ctx.principal {
            access::Principal::Client { scopes, .. } => scopes.clone(),
            _ => Vec::new(),
        };
        let now = self.record().now();
        job::New {
            id: Uuid::now_v7(),
            kind,
            owner: ctx.principal.agent(),
            scopes,
            request,
            progress,
            transaction: now,
            expires: now.checked_add(ABANDONED).unwrap_or(Timestamp::MAX),
        }
    }

    /// A job of the caller. Errors: `NotFound` for another's, a cancelled one, or none.
    pub async fn job(&self, ctx: &Ctx, id: Uuid) -> Result<Shown, Error> {
        let found = self.record().store().read(move |tx| {
            let Some(job) = job::load(tx, id)? else { return Ok(None) };
            let files = job::files(tx, id)?;
            Ok::<_, store::Error>(Some((job, files)))
        });
        let Some((job, mut files)) = found.await? else { return Err(Error::NotFound) };
        let now = self.record().now();
        if job.owner != ctx.principal.agent() || job.state == State::Cancelled || job.expires <= now {
            return Err(Error::NotFound);
        }
        files.retain(|file| file.role != Role::Input);
        Ok(Shown { job, files })
    }

    /// Ends a job and takes its files away, finished or not. Errors: as [Insight::job].
    pub async fn cancel(&self, ctx: &Ctx, id: Uuid) -> Result<(), Error> {
        self.job(ctx, id).await?;
        self.record().audit_bulk(ctx, "bulk.cancel", &format!("bulk/{id}"), &[]).await?;
        self.record().store().write(move |tx| job::cancel(tx, id)).await?;
        Ok(())
    }

    /// Opens a file of a job of the caller; audited before it returns. Errors: `NotFound`; `Denied` if the caller may see
    /// nothing of the type any more.
    pub async fn open(&self, ctx: &Ctx, id: Uuid, name: &str) -> Result<Download, Error> {
        let shown = self.job(ctx, id).await?;
        let file = shown.files.into_iter().find(|file| file.name == name).ok_or(Error::NotFound)?;
        let what = format!("bulk/{id}/{}", file.name);
        let kind = shown.job.request.get("kind").and_then(Value::as_str).unwrap_or(&file.kind);
        if let Some(kind) = fhir::TypeId::from_name(kind)
            && matches!(file.role, Role::Output | Role::Deleted)
            && shown.job.kind != Kind::Import
            && !record::scan::may_scan(ctx, kind)
        {
            return Err(self.record().deny_bulk(ctx, "bulk.download", &what).await);
        }
        let text = format!("{what} ({} {})", file.count, file.kind);
        self.record().audit_bulk(ctx, "bulk.download", &text, &[]).await?;
        let media_type = Format::ALL
            .into_iter()
            .find(|f| shown.job.kind == Kind::View && file.role == Role::Output && file.kind == f.code())
            .map_or("application/fhir+ndjson", Format::media_type);
        let reader = self.unseal(&self.path(id, file.number), &seal_name(id, file.number)).await?;
        Ok(Download { reader, bytes: u64::try_from(file.bytes).unwrap_or(0), media_type })
    }

    pub(crate) async fn unseal(
        &self,
        path: &Path,
        name: &str,
    ) -> Result<SealedReader<BufReader<File>>, Error> {
        let (key, path, name) = (self.config().key.clone(), path.to_owned(), name.to_owned());
        blocking(move || {
            let file = File::open(&path).map_err(|error| match error.kind() {
                // Taken away meanwhile.
                std::io::ErrorKind::NotFound => Error::NotFound,
                _ => disk(error),
            })?;
            SealedReader::new(BufReader::new(file), &key, &name).map_err(disk)
        })
        .await
    }

    pub(crate) fn jobs_folder(&self) -> PathBuf {
        self.config().folder.join("jobs")
    }
    pub(crate) fn path(&self, id: Uuid, number: i64) -> PathBuf {
        self.jobs_folder().join(id.to_string()).join(format!("{number}.sealed"))
    }

    /// Does one piece of the job of this kind that has waited longest. Returns 0 if there is none.
    /// Errors: `Busy`, `Internal`: tried again by whoever asks next.
    pub async fn work(&self, kind: Kind, stopping: Stopping<'_>) -> Result<usize, Error> {
        // A read costs nothing beside a write: only lease when something is due.
        if stopping() || !self.record().store().read(move |tx| job::is_due(tx, kind)).await? {
            return Ok(0);
        }
        let Some(job) = self.record().store().write(move |tx| job::lease(tx, kind, LEASE_MS)).await? else {
            return Ok(0);
        };
        let (id, token, progress) = (job.id, job.token, job.progress.clone());
        let done = match self.record().background(&job.owner, &job.scopes).await {
            Ok(ctx) => match kind {
                Kind::Export | Kind::View => self.export_piece(&ctx, job, stopping).await,
                Kind::Import => self.import_piece(&ctx, job, stopping).await,
                Kind::Copy => self.copy_piece(&ctx, job, stopping).await,
            },
            Err(error) => Err(error),
        };
        match done {
            Ok(()) => Ok(1),
            Err(error) => {
                self.piece_failed(id, token, progress, error).await?;
                Ok(1)
            }
        }
    }

    /// Gives the piece back to be tried again, or fails the job.
    async fn piece_failed(
        &self,
        id: Uuid,
        token: i64,
        mut progress: Value,
        error: Error,
    ) -> Result<(), Error> {
        let failures = progress.get("failures").and_then(Value::as_u64).unwrap_or(0) + 1;
        let passes = matches!(error, Error::Busy | Error::Internal(_) | Error::Throttled { .. });
        tracing::warn!(%error, job = %id, failures, "a piece of bulk work failed");
        if passes && failures < MAX_FAILURES {
            progress["failures"] = Value::from(failures);
            self.record().store().write(move |tx| job::save(tx, id, token, &progress, &[])).await?;
            return Ok(());
        }
        let text = match &error {
            Error::Denied | Error::Unauthenticated => {
                "Whoever asked for this has no right to it any more.".to_owned()
            }
            Error::Internal(_) => "Something went wrong on the server.".to_owned(),
            other => {
                let outcome = other.to_outcome();
                outcome.issues.first().map(|issue| issue.text.clone()).unwrap_or_else(|| other.to_string())
            }
        };
        let expires = self.expiry();
        let ended = self
            .record()
            .store()
            .write(move |tx| job::finish(tx, id, token, &progress, Some(&text), expires));
        ended.await?;
        Ok(())
    }

    pub(crate) fn expiry(&self) -> Timestamp {
        self.record().now().checked_add(self.config().keep).unwrap_or(Timestamp::MAX)
    }

    /// Takes away what is over: files of cancelled and expired jobs, then the jobs; folders that belong to no job; old
    /// files of views. Returns how many jobs. Errors: `Busy`, `Internal`.
    pub async fn clean(&self) -> Result<usize, Error> {
        let now = self.record().now();
        let ids = self.record().store().read(move |tx| job::expired(tx, now, CLEANED)).await?;
        for id in &ids {
            let (id, folder) = (*id, self.jobs_folder().join(id.to_string()));
            blocking(move || match std::fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(disk(error)),
                _ => Ok(()),
            })
            .await?;
            self.record().store().write(move |tx| job::remove(tx, id)).await?;
        }
        self.sweep().await?;
        Ok(ids.len())
    }

    /// What a killed server left: uploads that never became a job, files of a view's writing that was cut off.
    async fn sweep(&self) -> Result<(), Error> {
        let (jobs, views) = (self.jobs_folder(), self.views_folder());
        let (old_jobs, old_files) = blocking(move || Ok((old(&jobs), old(&views)))).await?;
        if old_jobs.is_empty() && old_files.is_empty() {
            return Ok(());
        }
        let known = self.record().store().read(move |tx| {
            let mut known = Vec::new();
            for path in &old_jobs {
                let id = path.file_name().and_then(|n| n.to_str()).and_then(|n| Uuid::try_parse(n).ok());
                if let Some(id) = id
                    && job::load(tx, id)?.is_none()
                {
                    known.push(path.clone());
                }
            }
            Ok::<_, store::Error>((known, store::bulk::view::list(tx)?))
        });
        let (folders, views) = known.await?;
        let used: Vec<String> =
            views.iter().flat_map(|view| crate::stored::file_names(&view.files)).collect();
        blocking(move || {
            for folder in folders {
                drop(std::fs::remove_dir_all(folder));
            }
            for file in old_files {
                let name = file.file_name().and_then(|n| n.to_str()).unwrap_or_default();
                if !used.iter().any(|u| u == name) {
                    drop(std::fs::remove_file(&file));
                }
            }
            Ok(())
        })
        .await
    }
}

/// Entries of a folder that nobody has touched for longer than any upload or refresh takes.
fn old(folder: &Path) -> Vec<PathBuf> {
    let is_old = |entry: &std::fs::DirEntry| {
        let touched = entry.metadata().and_then(|meta| meta.modified()).ok();
        touched.and_then(|at| at.elapsed().ok()).is_some_and(|age| age > LEFT_BEHIND)
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(is_old).take(SWEPT).map(|entry| entry.path()).collect()
}

/// What a file of a job is sealed under.
pub(crate) fn seal_name(id: Uuid, number: i64) -> String {
    format!("{id}/{number}")
}
