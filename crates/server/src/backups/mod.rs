//! Backups of this installation: following the log, whole copies, drills, and what is told of them.
//!
//! Two threads of the worker: one sends what the log brought every few seconds, the other makes whole copies, forgets old
//! ones and tries a restore; so that neither a long copy nor a drill keeps fresh writes on this machine.

mod drill;
mod history;
mod keyring;
mod order;
mod restored;
mod schedule;
mod standing;

pub use history::{Check, Facts, Kind, Run, seconds};
pub use keyring::{keys_of, put_keyring};
pub use order::{Order, now, step};
pub use restored::{Opening, Proven, keep_newer_keys, prove_audit, settle};
pub use schedule::Schedule;
pub use standing::{Doing, Drill, Standing, Target, TargetKind, Whole};

use crate::config::Config;
use crate::storage;
use anyhow::Context as _;
use backup::target::{self, Options, S3Options, SftpOptions};
use backup::{BackupKey, Half, Outline, Progress, Repository, Watch};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use record::{Error, Rule};
use std::path::Path;
use std::sync::Arc;
use store::Store;
use store::backup::Capture;
use store::backup_run::NewRun;
use tokio_util::sync::CancellationToken;

/// From one look at the log to the next. A write waits at most for the round under way and all of the one after it.
const SHIP_EVERY: std::time::Duration = std::time::Duration::from_secs(3);
/// Pause behind a round that took longer than that: writes come faster than usual, and what they brought must not wait.
const SHIP_PAUSE: std::time::Duration = std::time::Duration::from_millis(500);
/// Pause between two looks at what else is due.
const TEND_EVERY: std::time::Duration = std::time::Duration::from_secs(20);
/// How soon a stop is noticed between two looks.
const STEP: std::time::Duration = std::time::Duration::from_millis(100);
/// Wait after a whole copy that failed.
const AGAIN: SignedDuration = SignedDuration::from_mins(5);
/// Between two notes of what the database holds.
const POINTS: SignedDuration = SignedDuration::from_hours(1);
/// Writes that are on this machine only for longer than this are an alarm.
const LATE: SignedDuration = SignedDuration::from_mins(15);
/// A time without sending that lasted longer is written down when it is over.
const OUTAGE: SignedDuration = SignedDuration::from_mins(2);

#[derive(Default)]
struct State {
    until: Option<Timestamp>,
    base: Option<Run>,
    base_at: Option<Timestamp>,
    point_at: Option<Timestamp>,
    base_failed: Option<Timestamp>,
    error: Option<String>,
    /// Since when nothing could be sent.
    failing_since: Option<Timestamp>,
    drill: Option<Run>,
    last_good: Option<Timestamp>,
    /// Somebody wants this done now, by name.
    asked: Option<(Kind, String)>,
    doing: Option<Doing>,
    /// The threads run.
    is_tended: bool,
    schedule: Option<Schedule>,
    /// The keyring that was stored last.
    keyring: Option<Vec<u8>>,
}

/// Part of every server; does nothing where backups are off or the database is not embedded.
pub struct Backups {
    config: Config,
    store: Store,
    started: Timestamp,
    repository: Mutex<Option<Arc<Repository>>>,
    outline: Mutex<Option<Outline>>,
    /// One whole copy or pruning at a time.
    tending: Mutex<()>,
    state: Mutex<State>,
}

/// A place for backups. Call it on a thread inside the runtime. Errors: in words for the operator.
pub fn repository(config: &Config, to: &str, key: &store::Secret32) -> anyhow::Result<Repository> {
    // Only fails if there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let backup = &config.backup;
    let options = Options {
        s3: S3Options {
            endpoint: backup.s3_endpoint.clone(),
            region: backup.s3_region.clone(),
            access_key: backup.s3_access_key.clone(),
            secret_key: backup.s3_secret_key.as_ref().map_or_else(String::new, |key| key.expose().to_owned()),
        },
        sftp: SftpOptions {
            identity: backup.ssh_identity.clone(),
            known_hosts: backup.ssh_known_hosts.clone(),
            program: None,
        },
    };
    let key = BackupKey::of_installation(key.as_bytes())?;
    Ok(Repository::new(target::open(to, &options)?, key))
}

fn hours(hours: u32) -> SignedDuration {
    SignedDuration::from_hours(i64::from(hours))
}

fn is_due(last: Option<Timestamp>, every: SignedDuration, now: Timestamp) -> bool {
    last.is_none_or(|last| now.duration_since(last) >= every)
}

impl Backups {
    pub fn new(config: &Config, store: &Store) -> Backups {
        Backups {
            config: config.clone(),
            store: store.clone(),
            started: Timestamp::now(),
            repository: Mutex::default(),
            outline: Mutex::default(),
            tending: Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// The log is followed and there is a place to send it.
    fn capture(&self) -> Option<Arc<Capture>> {
        self.config.backup.to.as_ref()?;
        self.store.capture().filter(|capture| capture.is_following())
    }

    fn repository(&self) -> anyhow::Result<Arc<Repository>> {
        let mut place = self.repository.lock();
        if let Some(repository) = place.as_ref() {
            return Ok(repository.clone());
        }
        let to = self.config.backup.to.as_deref().context("backup.to is not set")?;
        let made = Arc::new(repository(&self.config, to, &storage::file_key(&self.config)?)?);
        *place = Some(made.clone());
        Ok(made)
    }

    fn outline(&self, capture: &Capture) -> anyhow::Result<parking_lot::MappedMutexGuard<'_, Outline>> {
        let mut outline = self.outline.lock();
        if outline.is_none() {
            let database = storage::database_file(&self.config).context("the database is not embedded")?;
            let mut new = Outline::new(&self.config.data, &database, env!("CARGO_PKG_VERSION"));
            let base_at = new.resume(&*self.repository()?, capture)?;
            self.state.lock().base_at = base_at;
            *outline = Some(new);
        }
        parking_lot::MutexGuard::try_map(outline, Option::as_mut).map_err(|_| anyhow::anyhow!("no outline"))
    }

    /// When things are done and how long they stay.
    pub fn schedule(&self) -> Schedule {
        self.state.lock().schedule.unwrap_or_else(|| Schedule::of(&self.config.backup))
    }

    /// As the configuration says.
    pub fn default_schedule(&self) -> Schedule {
        Schedule::of(&self.config.backup)
    }

    /// From now on, on this installation. Errors: [Schedule::check]; of the database.
    pub async fn reschedule(&self, schedule: Schedule) -> Result<(), Error> {
        schedule.check()?;
        let value = serde_json::to_value(schedule).map_err(|error| Error::Internal(error.to_string()))?;
        let put = self.store.write(move |tx| store::setting::put(tx, schedule::SETTING, &value));
        put.await.map_err(storage::error)?;
        self.state.lock().schedule = Some(schedule);
        Ok(())
    }

    /// Has a whole copy or a drill made as soon as the thread for it is free, and returns at once.
    /// Errors: `Rule` `backups-off`, `backup-running`.
    pub fn ask(&self, kind: Kind, by: &str) -> Result<(), Error> {
        let rule = |code, text: &str| Err(Error::Rule(Rule::new(code, text)));
        if self.capture().is_none() || !self.state.lock().is_tended {
            return rule("backups-off", "Backups are off on this server.");
        }
        let mut state = self.state.lock();
        if state.doing.is_some() || state.asked.is_some() {
            return rule("backup-running", "A backup or a drill is running; try again when it has ended.");
        }
        let (doing, begun_at) = ("waiting".to_owned(), Timestamp::now());
        state.doing = Some(Doing { kind, begun_at, by: by.into(), doing, done_bytes: 0, total_bytes: 0 });
        state.asked = Some((kind, by.into()));
        Ok(())
    }

    /// One round of sending.
    fn ship(&self, capture: &Capture, stop: &CancellationToken) -> anyhow::Result<()> {
        let is_stopped = || stop.is_cancelled();
        let watch = Watch { tell: &|_| {}, is_stopped: &is_stopped };
        let repository = self.repository()?;
        let mut outline = self.outline(capture)?;
        let mut told = |until| {
            let known = &mut self.state.lock().until;
            *known = (*known).max(Some(until));
        };
        let shipped = outline.ship(&repository, capture, &watch, &mut told)?;
        drop(outline);
        self.ship_keyring(&repository)?;
        if shipped.until.is_some() {
            let (since, error) = {
                let mut state = self.state.lock();
                state.until = shipped.until;
                (state.failing_since.take(), state.error.take())
            };
            let lasted = since.map(|since| Timestamp::now().duration_since(since));
            if let (Some(since), true) = (since, lasted.is_some_and(|lasted| lasted >= OUTAGE)) {
                let facts = Facts { problems: error.into_iter().collect(), ..Facts::default() };
                self.write_down(&history::row(Kind::Outage, "", since, false, &facts)?)?;
            }
        }
        Ok(())
    }

    /// A keyring that was changed goes at once: with the old one, copies made from now on cannot be opened.
    fn ship_keyring(&self, repository: &Repository) -> anyhow::Result<()> {
        let found = keyring::read(&self.config)?;
        if found.is_some() && found != self.state.lock().keyring {
            keyring::put(&self.config, repository.target(), Timestamp::now())?;
            self.state.lock().keyring = found;
        }
        Ok(())
    }

    fn write_down(&self, row: &NewRun) -> anyhow::Result<Option<Run>> {
        let row = row.clone();
        let kind = row.kind.clone();
        let event = history::event(&row);
        let last = self.store.write_blocking(move |tx| {
            store::backup_run::insert(tx, &row)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            store::backup_run::last(tx, &kind, false)
        })?;
        Ok(last.and_then(Run::of))
    }

    /// Does it and tells of it meanwhile. `by` is empty where nobody asked.
    fn doing<T>(
        &self,
        kind: Kind,
        by: &str,
        watch: &Watch<'_>,
        work: impl FnOnce(&Watch<'_>) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let begun_at = Timestamp::now();
        let named = if by.is_empty() { "schedule" } else { by };
        let doing = Doing {
            kind,
            begun_at,
            by: named.into(),
            doing: "waiting".into(),
            done_bytes: 0,
            total_bytes: 0,
        };
        self.state.lock().doing = Some(doing);
        let tell = |progress: Progress| {
            if let Some(doing) = &mut self.state.lock().doing {
                match &progress {
                    Progress::Doing(text) => doing.doing = (*text).to_owned(),
                    Progress::Begin(bytes) => (doing.done_bytes, doing.total_bytes) = (0, *bytes),
                    Progress::Done(bytes) => doing.done_bytes += bytes,
                }
            }
            (watch.tell)(progress);
        };
        let done = work(&Watch { tell: &tell, is_stopped: watch.is_stopped });
        self.state.lock().doing = None;
        done
    }

    /// A whole copy, and then what is too old goes. Writes are sent meanwhile. Errors: as of [backup::Outline::base].
    pub fn base(&self, by: &str, watch: &Watch<'_>) -> anyhow::Result<backup::Made> {
        let begun = Timestamp::now();
        let made = self.doing(Kind::Base, by, watch, |watch| self.make_base(watch));
        let facts = match &made {
            Ok(made) => Facts {
                bytes: Some(made.bytes),
                sent_bytes: Some(made.sent),
                files: Some(made.files),
                until: Some(made.point.at),
                ..Facts::default()
            },
            Err(error) if is_stopped(error) => return made,
            Err(error) => Facts { problems: vec![format!("{error:#}")], ..Facts::default() },
        };
        let is_said = |state: &State| {
            state.base.as_ref().is_some_and(|last| !last.is_good && last.problems == facts.problems)
        };
        // A place that stays away is tried every few minutes; that is one entry.
        if made.is_ok() || !is_said(&self.state.lock()) {
            let run = self.write_down(&history::row(Kind::Base, by, begun, made.is_ok(), &facts)?)?;
            self.state.lock().base = run;
        }
        made
    }

    fn make_base(&self, watch: &Watch<'_>) -> anyhow::Result<backup::Made> {
        let capture = self.capture().context("backups are off, or the database is not embedded")?;
        let _one = self.tending.lock();
        let repository = self.repository()?;
        let half = Half::store(&repository, &capture, watch)?;
        // From here to the end nothing else is stored: pruning must not meet a piece on its way.
        let mut outline = self.outline(&capture)?;
        let made = outline.finish_base(&repository, half, watch)?;
        keyring::put(&self.config, repository.target(), made.point.at)?;
        self.state.lock().base_at = Some(made.point.at);
        if self.config.backup.prune {
            let pruned = repository.prune(&self.schedule().keeping(), Timestamp::now(), watch)?;
            tracing::info!(
                bases = pruned.bases,
                segments = pruned.segments,
                bytes = pruned.bytes,
                "old backups removed"
            );
        }
        Ok(made)
    }

    fn tend(&self, capture: &Capture, stop: &CancellationToken) -> anyhow::Result<()> {
        let is_stopped = || stop.is_cancelled();
        let watch = Watch { tell: &|_| {}, is_stopped: &is_stopped };
        let now = Timestamp::now();
        let asked = self.state.lock().asked.take();
        if let Some((kind, by)) = asked {
            let done = match kind {
                Kind::Drill => self.drill(&by, &watch).map(drop),
                Kind::Base | Kind::Outage | Kind::Restore => self.base(&by, &watch).map(drop),
            };
            self.state.lock().doing = None;
            return done;
        }
        let schedule = self.schedule();
        let follows = self.outline(capture)?.follows(capture);
        let (base_at, failed) = {
            let state = self.state.lock();
            (state.base_at, state.base_failed)
        };
        if (!follows || is_due(base_at, hours(schedule.base_hours.max(1)), now)) && is_due(failed, AGAIN, now)
        {
            // Until it has succeeded it counts as failed, so that trying does not fill the day.
            self.state.lock().base_failed = Some(now);
            let made = self.base("", &watch)?;
            self.state.lock().base_failed = None;
            tracing::info!(bytes = made.bytes, sent = made.sent, files = made.files, "whole backup made");
        } else if follows && is_due(self.state.lock().point_at, POINTS, now) {
            let repository = self.repository()?;
            self.outline(capture)?.note_point(&repository, capture)?;
            self.state.lock().point_at = Some(now);
        }
        let drilled = self.state.lock().drill.as_ref().map(|drill| drill.begun_at);
        if schedule.drill_hours > 0
            && self.state.lock().base_at.is_some()
            && is_due(drilled, hours(schedule.drill_hours), now)
        {
            self.drill("", &watch)?;
        }
        Ok(())
    }

    /// What an earlier process left.
    fn remember(&self) {
        let stored = self.store.read_blocking(|tx| -> store::Result<_> {
            Ok((
                store::backup_run::last(tx, Kind::Base.code(), false)?,
                store::backup_run::last(tx, Kind::Drill.code(), false)?,
                store::backup_run::last(tx, Kind::Drill.code(), true)?,
                store::setting::get(tx, schedule::SETTING)?,
            ))
        });
        let mut state = self.state.lock();
        state.is_tended = true;
        if let Ok((base, drill, good, schedule)) = stored {
            state.base = base.and_then(Run::of);
            state.drill = drill.and_then(Run::of);
            state.last_good = good.map(|run| run.new.begun);
            state.schedule = schedule.and_then(|value| serde_json::from_value(value).ok());
        }
    }

    fn is_asked(&self) -> bool {
        self.state.lock().asked.is_some()
    }

    fn failed(&self, error: &anyhow::Error) {
        if is_stopped(error) {
            return;
        }
        let text = format!("{error:#}");
        // Once for each kind of trouble; the alarm stays until it is over.
        let mut state = self.state.lock();
        state.failing_since.get_or_insert_with(Timestamp::now);
        if state.error.replace(text.clone()).as_ref() != Some(&text) {
            tracing::error!(error = text, "the backup failed and is tried again");
        }
    }
}

fn is_stopped(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(backup::Error::Stopped))
}

/// On a thread of its own, where the runtime's timers may be gone before it. Ends early if `is_wanted`.
fn wait(stop: &CancellationToken, time: std::time::Duration, is_wanted: impl Fn() -> bool) {
    let until = std::time::Instant::now() + time;
    while !stop.is_cancelled() && !is_wanted() && std::time::Instant::now() < until {
        std::thread::sleep(STEP);
    }
}

/// Both threads; ends when the server stops. What the log brought until then is sent at the end.
pub async fn run(backups: Arc<Backups>, stop: CancellationToken) {
    let Some(capture) = backups.capture() else { return };
    let remembering = backups.clone();
    // Before either thread: a drill that was made an hour ago is not due.
    if let Err(error) = tokio::task::spawn_blocking(move || remembering.remember()).await {
        tracing::error!(%error, "what was backed up before cannot be read");
    }
    let (shipper, tender) = (backups.clone(), backups);
    let (shipped, tended) = (capture.clone(), capture);
    let (first, second) = (stop.clone(), stop);
    let ships = tokio::task::spawn_blocking(move || {
        loop {
            let is_last = first.is_cancelled();
            // The last round must not be stopped by the stop itself; its requests have their own limits.
            let token = if is_last { CancellationToken::new() } else { first.clone() };
            let begun = std::time::Instant::now();
            let done = shipper.ship(&shipped, &token);
            if let Err(error) = &done {
                shipper.failed(error);
            }
            if is_last {
                return;
            }
            // A place that stays away is asked no more often for that.
            let took = if done.is_ok() { begun.elapsed() } else { std::time::Duration::ZERO };
            wait(&first, SHIP_EVERY.saturating_sub(took).max(SHIP_PAUSE), || false);
        }
    });
    let tends = tokio::task::spawn_blocking(move || {
        while !second.is_cancelled() {
            if let Err(error) = tender.tend(&tended, &second) {
                tender.failed(&error);
            }
            wait(&second, TEND_EVERY, || tender.is_asked());
        }
    });
    // A panic ends one of them; the other goes on.
    let (ships, tends) = tokio::join!(ships, tends);
    for ended in [ships, tends] {
        if let Err(error) = ended {
            tracing::error!(%error, "a thread of the backup ended");
        }
    }
}

/// Whether somebody has the database in this folder open.
pub fn is_in_use(data: &Path) -> bool {
    let lock = data.join(format!("{}.lock", storage::DATABASE));
    match std::fs::OpenOptions::new().write(true).open(lock) {
        Ok(file) => matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)),
        Err(_) => false,
    }
}
