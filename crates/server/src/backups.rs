//! Backups of this installation: following the log, whole copies, drills, and what is told of them.
//!
//! Two threads of the worker: one sends what the log brought every few seconds, the other makes whole copies, forgets old
//! ones and tries a restore; so that neither a long copy nor a drill keeps fresh writes on this machine.

use crate::config::Config;
use crate::{keys, storage};
use anyhow::Context as _;
use backup::target::{self, Options, S3Options, SftpOptions};
use backup::{BackupKey, Half, Outline, Policy, Progress, Repository, Wanted, Watch};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use store::Store;
use store::backup::Capture;
use tokio_util::sync::CancellationToken;

/// Pause between two looks at the log; with the store's own four seconds a write is elsewhere within ten.
const SHIP_EVERY: std::time::Duration = std::time::Duration::from_secs(3);
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
/// Begin of the names of keyrings.
const KEYRING: &str = "keyring/";
/// Where the last drill is noted.
const DRILL: &str = "backup.drill";
/// Problems of a drill that are kept.
const PROBLEMS: usize = 10;

/// How a restore drill went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Drill {
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub is_good: bool,
    /// How long restoring and checking took.
    pub seconds: u64,
    /// Bytes of the restored database.
    pub bytes: u64,
    /// The restored state held every write answered before this.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    pub problems: Vec<String>,
    /// When the last good one was.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_good: Option<Timestamp>,
}

/// Where backups stand.
#[derive(Debug, Clone, Default, Serialize, utoipa::ToSchema)]
pub struct Standing {
    /// Where they go; none: backups are off.
    pub place: Option<String>,
    /// Every write answered before this is there.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// When the last whole copy was made.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub base_at: Option<Timestamp>,
    /// Bytes that wait to be sent.
    pub waiting_bytes: u64,
    pub drill: Option<Drill>,
    /// What is wrong, in words; empty if nothing is.
    pub alarms: Vec<String>,
}

#[derive(Default)]
struct State {
    until: Option<Timestamp>,
    base_at: Option<Timestamp>,
    point_at: Option<Timestamp>,
    base_failed: Option<Timestamp>,
    error: Option<String>,
    drill: Option<Drill>,
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

fn policy(config: &Config) -> Policy {
    Policy {
        instant_days: config.backup.keep_instant_days,
        daily_days: config.backup.keep_daily_days,
        weekly_weeks: config.backup.keep_weekly_weeks,
    }
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

    /// One round of sending.
    fn ship(&self, capture: &Capture, stop: &CancellationToken) -> anyhow::Result<()> {
        let is_stopped = || stop.is_cancelled();
        let watch = Watch { tell: &|_| {}, is_stopped: &is_stopped };
        let repository = self.repository()?;
        let mut outline = self.outline(capture)?;
        let shipped = outline.ship(&repository, capture, &watch)?;
        drop(outline);
        let mut state = self.state.lock();
        if shipped.until.is_some() {
            state.until = shipped.until;
            state.error = None;
        }
        Ok(())
    }

    /// A whole copy, and then what is too old goes. Writes are sent meanwhile. Errors: as of [backup::Outline::base].
    pub fn base(&self, watch: &Watch<'_>) -> anyhow::Result<backup::Made> {
        let capture = self.capture().context("backups are off, or the database is not embedded")?;
        let _one = self.tending.lock();
        let repository = self.repository()?;
        let half = Half::store(&repository, &capture, watch)?;
        // From here to the end nothing else is stored: pruning must not meet a piece on its way.
        let mut outline = self.outline(&capture)?;
        let made = outline.finish_base(&repository, half, watch)?;
        put_keyring(&self.config, repository.target(), made.point.at)?;
        self.state.lock().base_at = Some(made.point.at);
        if self.config.backup.prune {
            let pruned = repository.prune(&policy(&self.config), Timestamp::now(), watch)?;
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
        let follows = self.outline(capture)?.follows(capture);
        let (base_at, failed) = {
            let state = self.state.lock();
            (state.base_at, state.base_failed)
        };
        if (!follows || is_due(base_at, hours(self.config.backup.base_hours.max(1)), now))
            && is_due(failed, AGAIN, now)
        {
            // Until it has succeeded it counts as failed, so that trying does not fill the day.
            self.state.lock().base_failed = Some(now);
            let made = self.base(&watch)?;
            self.state.lock().base_failed = None;
            tracing::info!(bytes = made.bytes, sent = made.sent, files = made.files, "whole backup made");
        } else if follows && is_due(self.state.lock().point_at, POINTS, now) {
            let repository = self.repository()?;
            self.outline(capture)?.note_point(&repository, capture)?;
            self.state.lock().point_at = Some(now);
        }
        let every = self.config.backup.drill_hours;
        let drilled = self.state.lock().drill.as_ref().map(|drill| drill.at);
        if every > 0 && self.state.lock().base_at.is_some() && is_due(drilled, hours(every), now) {
            self.drill(&watch)?;
        }
        Ok(())
    }

    /// Restores the newest state whose counts are known into a scratch folder, checks it and throws it away. The result
    /// is kept, whatever it is. Errors: it cannot be stored; stopped.
    pub fn drill(&self, watch: &Watch<'_>) -> anyhow::Result<Drill> {
        let begun = Timestamp::now();
        let place = self.config.backup.drill_folder.as_ref().unwrap_or(&self.config.data);
        let scratch = place.join(format!("restore-drill-{}", std::process::id()));
        // Of a process that was killed in the middle.
        drop(std::fs::remove_dir_all(&scratch));
        let outcome = (|| -> anyhow::Result<backup::Restored> {
            let wanted = Wanted { at: None, counted: true };
            let database = storage::database_file(&self.config);
            let key = keys::open(&self.config, database.as_deref())?.keys.database;
            let restored = self.repository()?.restore(&wanted, &scratch, storage::DATABASE, &key, watch)?;
            prove_audit(&self.config, restored.folder(), &key)?;
            Ok(restored.discard()?)
        })();
        drop(std::fs::remove_dir_all(&scratch));
        let last_good = self.state.lock().drill.as_ref().and_then(|drill| drill.last_good);
        let seconds = u64::try_from(Timestamp::now().duration_since(begun).as_secs()).unwrap_or(0);
        let drill = match outcome {
            Ok(restored) => {
                let is_good = restored.notes.is_empty();
                Drill {
                    at: begun,
                    is_good,
                    seconds,
                    bytes: restored.bytes,
                    until: Some(restored.until),
                    problems: restored.notes.into_iter().take(PROBLEMS).collect(),
                    last_good: if is_good { Some(begun) } else { last_good },
                }
            }
            Err(error) if matches!(error.downcast_ref(), Some(backup::Error::Stopped)) => return Err(error),
            Err(error) => {
                let problems = match error.downcast_ref() {
                    Some(backup::Error::Unsound(problems)) => {
                        problems.iter().take(PROBLEMS).cloned().collect()
                    }
                    _ => vec![format!("{error:#}")],
                };
                Drill { at: begun, is_good: false, seconds, bytes: 0, until: None, problems, last_good }
            }
        };
        match drill.is_good {
            true => tracing::info!(seconds, bytes = drill.bytes, "restore drill: the backup is good"),
            false => {
                tracing::error!(problems = drill.problems.join("; "), "restore drill: the backup is NOT good")
            }
        }
        let value = serde_json::to_value(&drill)?;
        self.store.write_blocking(move |tx| store::setting::put(tx, DRILL, &value))?;
        self.state.lock().drill = Some(drill.clone());
        Ok(drill)
    }

    fn remember(&self) {
        let stored = self.store.read_blocking(|tx| store::setting::get(tx, DRILL));
        if let Ok(Some(value)) = stored {
            self.state.lock().drill = serde_json::from_value(value).ok();
        }
    }

    /// Where backups stand now.
    pub fn standing(&self, now: Timestamp) -> Standing {
        let Some(capture) = self.capture() else { return Standing::default() };
        let backup = &self.config.backup;
        let state = self.state.lock();
        let mut alarms = Vec::new();
        let until = state.until.unwrap_or(self.started);
        if now.duration_since(until) > LATE {
            alarms.push(format!("nothing has left this machine since {until:.0}"));
        }
        if let Some(error) = &state.error {
            alarms.push(format!("the last try failed: {error}"));
        }
        let allowed = hours(backup.drill_alarm_days.saturating_mul(24));
        let good = state.drill.as_ref().and_then(|drill| drill.last_good);
        if backup.drill_hours > 0 && now.duration_since(good.unwrap_or(self.started)) > allowed {
            alarms.push(match good {
                Some(good) => format!("the last good restore drill was at {good:.0}"),
                None => "no restore drill has been good yet".to_owned(),
            });
        }
        if let Some(drill) = state.drill.as_ref().filter(|drill| !drill.is_good) {
            alarms.push(format!(
                "the restore drill of {:.0} failed: {}",
                drill.at,
                drill.problems.join("; ")
            ));
        }
        Standing {
            place: backup.to.clone(),
            until: state.until,
            base_at: state.base_at,
            waiting_bytes: capture.waiting_bytes(),
            drill: state.drill.clone(),
            alarms,
        }
    }

    /// Gauges in the Prometheus text format; nothing where backups are off.
    pub fn render(&self, now: Timestamp) -> String {
        let standing = self.standing(now);
        if standing.place.is_none() {
            return String::new();
        }
        let age = |at: Option<Timestamp>| now.duration_since(at.unwrap_or(self.started)).as_secs();
        let good = standing.drill.as_ref().and_then(|drill| drill.last_good);
        let mut text = String::new();
        for (name, help, value) in [
            ("backup_age_seconds", "Age of the newest write that is surely elsewhere.", age(standing.until)),
            ("backup_base_age_seconds", "Age of the last whole copy.", age(standing.base_at)),
            ("backup_good_drill_age_seconds", "Age of the last good restore drill.", age(good)),
            (
                "backup_waiting_bytes",
                "Bytes that wait to be sent.",
                i64::try_from(standing.waiting_bytes).unwrap_or(i64::MAX),
            ),
            (
                "backup_alarms",
                "What is wrong with the backups.",
                i64::try_from(standing.alarms.len()).unwrap_or(i64::MAX),
            ),
        ] {
            text.push_str(&format!(
                "# HELP uzima_{name} {help}\n# TYPE uzima_{name} gauge\nuzima_{name} {value}\n"
            ));
        }
        text
    }

    fn failed(&self, error: &anyhow::Error) {
        if matches!(error.downcast_ref(), Some(backup::Error::Stopped)) {
            return;
        }
        let text = format!("{error:#}");
        // Once for each kind of trouble; the alarm stays until it is over.
        if self.state.lock().error.replace(text.clone()).as_ref() != Some(&text) {
            tracing::error!(error = text, "the backup failed and is tried again");
        }
    }
}

/// On a thread of its own, where the runtime's timers may be gone before it.
fn wait(stop: &CancellationToken, time: std::time::Duration) {
    let until = std::time::Instant::now() + time;
    while !stop.is_cancelled() && std::time::Instant::now() < until {
        std::thread::sleep(STEP);
    }
}

/// Both threads; ends when the server stops. What the log brought until then is sent at the end.
pub async fn run(backups: Arc<Backups>, stop: CancellationToken) {
    let Some(capture) = backups.capture() else { return };
    let (shipper, tender) = (backups.clone(), backups);
    let (shipped, tended) = (capture.clone(), capture);
    let (first, second) = (stop.clone(), stop);
    let ships = tokio::task::spawn_blocking(move || {
        shipper.remember();
        loop {
            let is_last = first.is_cancelled();
            // The last round must not be stopped by the stop itself; its requests have their own limits.
            let token = if is_last { CancellationToken::new() } else { first.clone() };
            if let Err(error) = shipper.ship(&shipped, &token) {
                shipper.failed(&error);
            }
            if is_last {
                return;
            }
            wait(&first, SHIP_EVERY);
        }
    });
    let tends = tokio::task::spawn_blocking(move || {
        while !second.is_cancelled() {
            if let Err(error) = tender.tend(&tended, &second) {
                tender.failed(&error);
            }
            wait(&second, TEND_EVERY);
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

/// What `uzima backup` asks of a running server; also a message of the control socket.
#[derive(Clone, Serialize, Deserialize)]
pub struct Order {
    /// Elsewhere than where the server's backups go.
    pub to: Option<String>,
    /// The key goes along, sealed by this.
    pub passphrase: Option<String>,
    /// A restore drill afterwards.
    pub drill: bool,
}

/// Makes a whole copy now: of a running server or of a database that this process has opened. Blocks. Returns lines to be
/// printed. Errors: in words for the operator.
pub fn now(backups: &Backups, order: &Order, watch: &Watch<'_>) -> anyhow::Result<Vec<String>> {
    let config = &backups.config;
    let is_usual = order.to.is_none() || order.to == config.backup.to;
    let (made, repository) = if is_usual && backups.capture().is_some() {
        (backups.base(watch)?, backups.repository()?)
    } else {
        let to = order.to.as_deref().or(config.backup.to.as_deref());
        let to = to.context("say where to: --to, or backup.to in the configuration")?;
        let database = storage::database_file(config)
            .context("PostgreSQL has backups of its own: see docs/guides/postgresql.md")?;
        let capture = backups.store.capture().context("the database is closed")?;
        let repository = Arc::new(repository(config, to, &storage::file_key(config)?)?);
        let mut outline = Outline::new(&config.data, &database, env!("CARGO_PKG_VERSION"));
        let made = outline.base(&repository, &capture, watch)?;
        put_keyring(config, repository.target(), made.point.at)?;
        (made, repository)
    };
    let mut lines = vec![
        format!("{} at {:.0}", repository.target().describe(), made.point.at),
        format!("  {:<22} {:>14}", "database bytes", made.bytes),
        format!("  {:<22} {:>14}", "files", made.files),
        format!("  {:<22} {:>14}", "bytes sent", made.sent),
        format!("  {:<22} {:>14}", "audit entries up to", made.point.audit),
    ];
    if let Some(passphrase) = &order.passphrase {
        let source = keys::source(config)?;
        let bare = source.bare().context("the key is held by a program, which does not give it away")?;
        backup::keep_key(&repository, bare, passphrase, Timestamp::now())?;
        lines.push("  the key is kept under the passphrase for 35 days".into());
    }
    if order.drill {
        let drill = backups.drill(watch)?;
        match drill.is_good {
            true => lines.push(format!("  restored, checked and found good in {} s", drill.seconds)),
            false => anyhow::bail!("the restore drill failed: {}", drill.problems.join("; ")),
        }
    }
    Ok(lines)
}

/// The keyring as it lies in the data folder: sealed by the key-encryption key, it is of no use without it, and with it
/// opens everything else.
fn put_keyring(config: &Config, target: &dyn target::Target, at: Timestamp) -> anyhow::Result<()> {
    match std::fs::read(keys::keyring_path(config)) {
        Ok(bytes) => {
            target.put(&format!("{KEYRING}{}", at.as_microsecond()), &bytes)?;
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).context("cannot read the keyring"),
    }
}

/// What the newest keyring of a backup holds; without one, the key itself is all there is. Errors: another key.
pub fn keys_of(target: &dyn target::Target, source: &keys::Source) -> anyhow::Result<store::keys::Keys> {
    let newest = target.list(KEYRING)?.pop();
    let Some(newest) = newest else {
        let bare = source.bare().context("the backup has no keyring")?;
        return Ok(store::keys::Keys::bare(bare.clone(), Timestamp::now()));
    };
    // The keyring is read from a file; it is sealed, there as here.
    let file = std::env::temp_dir().join(format!("uzima-keyring-{}", uuid::Uuid::new_v4().simple()));
    std::fs::write(&file, target.get(&newest.name)?)?;
    let keyring = store::keys::Keyring::open(&file, source.provider());
    std::fs::remove_file(&file)?;
    Ok(keyring?.context("the backup's keyring cannot be read")?.keys().clone())
}

/// As [crate::terminologies::Step], for a bar that shows bytes.
pub fn step(progress: Progress) -> crate::terminologies::Step {
    use crate::terminologies::Step;
    match progress {
        Progress::Doing(text) => Step::Doing(text.to_owned()),
        Progress::Begin(bytes) => Step::Begin(bytes),
        Progress::Done(bytes) => Step::Done(bytes),
    }
}

/// Recomputes the audit trail of a restored folder and holds it against its signed heads. Blocks, on a thread inside the
/// runtime. Errors: [backup::Error::Unsound] with what is wrong.
pub fn prove_audit(config: &Config, folder: &Path, key: &store::Secret32) -> anyhow::Result<()> {
    let url = format!("sqlite:{}", folder.join(storage::DATABASE).display());
    // Nobody looks into the patients' contents here.
    let config = store::StoreConfig { keyless: true, ..store::StoreConfig::new(url, Some(key.clone())) };
    let store = Store::open(config)?;
    let record = record::Record::new(store.clone(), crate::start::clock());
    let key = crate::audit_key::read(config)?.map(|key| record::audit::hex(&key.public));
    let work = crate::audit_work::Work::Verify { files: Vec::new(), key };
    let runtime = tokio::runtime::Handle::current();
    let ended = runtime.block_on(crate::audit_work::run(&record, work, Arc::new(|_| {})));
    drop(record);
    store.close();
    let ended = ended?;
    if ended.is_clean { Ok(()) } else { Err(backup::Error::Unsound(ended.lines).into()) }
}

/// Whether somebody has the database in this folder open.
pub fn is_in_use(data: &Path) -> bool {
    let lock = data.join(format!("{}.lock", storage::DATABASE));
    match std::fs::OpenOptions::new().write(true).open(lock) {
        Ok(file) => matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)),
        Err(_) => false,
    }
}
