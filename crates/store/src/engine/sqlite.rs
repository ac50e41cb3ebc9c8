//! SQLite: one writer thread with group commit, reader threads, and a thread that moves the log into the file.

use super::StoreConfig;
use super::queue::{Queue, Signal};
use super::reserve::Reserve;
use super::task::{Task, Write};
use super::terms::Terms;
use crate::backup::{self, Capture};
use crate::{Counter, Dialect, Error, Param, Result, Row, Secret32, Tx, audit, migrate};
use jiff::Timestamp;
use rusqlite::{Connection, OpenFlags};
use std::cell::Cell;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Once};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Closures in one commit: more would only make the first of them wait.
const MAX_BATCH: usize = 64;
/// A batch takes no more closures after this time.
const MAX_BATCH_TIME: Duration = Duration::from_millis(8);
/// How long a batch waits for callers that are known to be about: they were just answered and are likely to ask
/// again. Sharing the commit saves each of them more than this.
const MAX_COMPANY_WAIT: Duration = Duration::from_micros(300);
/// Reads that one reader runs on one snapshot. Each commit empties the readers' page caches, so neighbours share.
const MAX_READ_BATCH: usize = 4;
/// Page caches. Readers share the kernel's cache of the (encrypted) file, so theirs only saves decryption.
const WRITER_CACHE_KIB: i64 = 48 * 1024;
const READER_CACHE_KIB: i64 = 8 * 1024;
const STATEMENTS: usize = 256;
/// Log pages after which the background thread copies them into the file.
const CHECKPOINT_PAGES: i64 = 8_000;
/// Log pages after which the writer waits a moment so that the log can start over at its beginning.
const RESTART_PAGES: i64 = 24_000;
/// How often the log is copied for the backup.
const COPY_EVERY: Duration = Duration::from_secs(4);
/// Numbers a crash may waste.
const COUNTER_BLOCK: i64 = 4096;

/// Steps of SQLite's machine between two looks at the clock: a fraction of a millisecond.
const STEPS: i32 = 10_000;

thread_local! {
    /// When the query that runs on this thread must end.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Takes the deadline away, however the query ended.
struct Timed;

impl Timed {
    fn until(end: Option<Instant>) -> Timed {
        DEADLINE.set(end);
        Timed
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        DEADLINE.set(None);
    }
}

pub(super) struct Engine {
    threads: Vec<JoinHandle<()>>,
    checkpoint: Arc<Signal>,
    copy: Arc<Signal>,
    capture: Arc<Capture>,
    _lock: File,
}

impl Engine {
    pub fn start(
        path: &str,
        config: &StoreConfig,
        writes: &Arc<Queue<Task>>,
        reads: &Arc<Queue<Task>>,
        wake: &watch::Sender<u64>,
    ) -> Result<Engine> {
        let path = Path::new(path);
        let lock = lock(path)?;
        let mut connection = connect(path, config.key.as_ref(), WRITER_CACHE_KIB)?;
        let capture = capture(path, config)?;
        let counters = prepare(&mut connection, path, &capture, config.keep_before_migration)?;
        super::authorize::guard(&mut connection)?;
        let terms = Arc::new(Terms::default());
        let checkpoint = Arc::new(Signal::new());
        let log = Arc::new(Log::default());
        let pages = log.clone();
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count| {
            pages.pages.store(i64::from(count), Ordering::Relaxed);
            Ok(())
        }))?;
        let mut threads = Vec::new();
        let mut writer = WriterThread {
            connection,
            counters,
            terms: terms.clone(),
            wake: wake.clone(),
            checkpoint: checkpoint.clone(),
            log: log.clone(),
            texts: HashMap::new(),
            callers: 1,
            capture: capture.clone(),
            reserve: Reserve::new(path, config.reserve_bytes),
        };
        let queue = writes.clone();
        threads.push(spawn("store-writer", move || writer.run(&queue))?);
        let readers = config.readers.max(1);
        for n in 0..readers {
            let mut connection = connect(path, config.key.as_ref(), READER_CACHE_KIB)?;
            connection.execute_batch("PRAGMA query_only = ON")?;
            super::authorize::guard(&mut connection)?;
            let (queue, terms) = (reads.clone(), terms.clone());
            threads.push(spawn(&format!("store-reader-{n}"), move || {
                reader(&connection, &queue, &terms, readers)
            })?);
        }
        let connection = connect(path, config.key.as_ref(), 256)?;
        let signal = checkpoint.clone();
        let copies = capture.clone();
        threads.push(spawn("store-checkpoint", move || {
            while signal.wait() {
                // Only what is copied may leave the log.
                copy_once(&copies);
                checkpoint_once(&connection, &log);
            }
        })?);
        let copy = Arc::new(Signal::new());
        if config.follow_log {
            let (signal, copies) = (copy.clone(), capture.clone());
            threads.push(spawn("store-copy", move || {
                while signal.wait_within(COPY_EVERY) {
                    copy_once(&copies);
                }
            })?);
        }
        Ok(Engine { threads, checkpoint, copy, capture, _lock: lock })
    }

    pub fn capture(&self) -> Arc<Capture> {
        self.capture.clone()
    }

    pub fn join(self) {
        self.checkpoint.close();
        self.copy.close();
        super::join_all(self.threads);
        self.capture.closed();
    }
}

/// Follows the log from before the first write.
fn capture(path: &Path, config: &StoreConfig) -> Result<Arc<Capture>> {
    let (own, key) = (path.to_owned(), config.key.clone());
    let connect = move || {
        let connection = connect(&own, key.as_ref(), 256)?;
        connection.execute_batch("PRAGMA query_only = ON")?;
        Ok(connection)
    };
    Capture::open(path, config.follow_log, Box::new(connect))
}

/// A connection to a database that nobody writes. Errors: [Error::WrongKey].
pub(crate) fn connect_to_read(path: &Path, key: Option<&Secret32>) -> Result<Connection> {
    let connection = connect(path, key, READER_CACHE_KIB)?;
    connection.execute_batch("PRAGMA query_only = ON")?;
    Ok(connection)
}

fn copy_once(capture: &Capture) {
    if let Err(error) = capture.step() {
        tracing::warn!(%error, "the log cannot be copied; it is tried again");
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|e| Error::Database(format!("cannot start a thread: {e}")))
}

/// Takes the data file for this process; the file itself stays empty.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let broken = |e: std::io::Error| Error::Database(format!("{}: {e}", name.display()));
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&name).map_err(broken)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse(path.display().to_string())),
        Err(std::fs::TryLockError::Error(e)) => Err(broken(e)),
    }
}

/// Starts the library, once, while everybody else waits. SQLite says that it has started before SQLCipher's part of it
/// has: a connection opened in between by another thread has no codec yet, and setting its key fails.
fn start_library() {
    static STARTED: Once = Once::new();
    // What is wrong here is found and told by whoever opens a file next.
    STARTED.call_once(|| drop(Connection::open_in_memory()));
}

fn connect(path: &Path, key: Option<&Secret32>, cache_kib: i64) -> Result<Connection> {
    let mut connection = connect_plain(path, key)?;
    connection.execute_batch(&format!(
        "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{cache_kib}; \
         PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;"
    ))?;
    connection.progress_handler(STEPS, Some(|| DEADLINE.get().is_some_and(|end| Instant::now() >= end)))?;
    // Without it, a statement with a bound LIMIT is planned anew whenever it is bound: 60 µs of every search.
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// A connection as it comes, with its key. Errors: [Error::WrongKey].
pub(crate) fn connect_plain(path: &Path, key: Option<&Secret32>) -> Result<Connection> {
    start_library();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
    let connection = Connection::open_with_flags(path, flags)?;
    if let Some(key) = key {
        // A raw key needs no key derivation. SHA-256 has instructions on every processor of today, SHA-512 has not.
        let keyed = connection.execute_batch(&format!(
            "PRAGMA cipher_log_level = NONE; PRAGMA key = \"x'{}'\"; PRAGMA cipher_page_size = 4096; PRAGMA cipher_hmac_algorithm = HMAC_SHA256;",
            key.to_hex()
        ));
        // The error's own text may quote the statement, and with it the key.
        keyed.map_err(|error| {
            let code = error.sqlite_error().map_or(0, |error| error.extended_code);
            Error::Database(format!("SQLCipher does not take a key (SQLite error {code})"))
        })?;
    }
    // The first statement that reads the file is the one that fails with a wrong key.
    connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
    Ok(connection)
}

/// Migrates and reads the counters. A database that will be changed is kept as it was.
fn prepare(connection: &mut Connection, path: &Path, capture: &Capture, keep: usize) -> Result<Counters> {
    let terms = Terms::default();
    let mut counters = Counters::default();
    let mut texts = HashMap::new();
    let stands = migrate::status(&mut SqliteTx::new(connection, &mut counters, &terms, &mut texts))?;
    if stands.current > 0 && !stands.pending.is_empty() {
        backup::before_migration(path, &capture.freeze()?, stands.current, keep)?;
    }
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let mut tx = SqliteTx::new(connection, &mut counters, &terms, &mut texts);
    let done = migrate::run(&mut tx, &mut |_, text| Ok(connection.execute_batch(text)?));
    if let Err(error) = done {
        connection.execute_batch("ROLLBACK")?;
        return Err(error);
    }
    let mut counters = Counters::default();
    let mut statement = connection.prepare("SELECT name, next FROM counter")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))?;
    for row in rows {
        let (name, next) = row?;
        if let Some(n) = COUNTER_NAMES.iter().position(|known| *known == name) {
            counters.next[n] = next;
            counters.saved[n] = next;
        }
    }
    drop(statement);
    connection.execute_batch("COMMIT")?;
    Ok(counters)
}

const COUNTER_NAMES: [&str; 3] = ["row", "audit", "change"];

/// Numbers live in memory; the table holds a bound above all numbers of committed transactions.
struct Counters {
    next: [i64; 3],
    saved: [i64; 3],
}

impl Default for Counters {
    fn default() -> Counters {
        Counters { next: [1; 3], saved: [1; 3] }
    }
}

#[derive(Default)]
struct Log {
    pages: AtomicI64,
    running: AtomicBool,
    /// The background has copied all it could: the rest is short enough for the writer to finish.
    caught_up: AtomicBool,
    /// The disk is full: copying the log into the file would take the room that reads and their audit need.
    held: AtomicBool,
}

fn checkpoint_once(connection: &Connection, log: &Log) {
    // In this order, and the other way round where it is held: one of both sees the other.
    log.running.store(true, Ordering::SeqCst);
    if log.held.load(Ordering::SeqCst) {
        log.running.store(false, Ordering::SeqCst);
        return;
    }
    match connection.wal_checkpoint_v2(None::<&str>, rusqlite::wal::CheckpointMode::PASSIVE) {
        Ok(_) => log.caught_up.store(true, Ordering::Relaxed),
        Err(error) => tracing::warn!(%error, "checkpoint failed; it is tried again later"),
    }
    log.running.store(false, Ordering::SeqCst);
}

struct WriterThread {
    connection: Connection,
    counters: Counters,
    terms: Arc<Terms>,
    wake: watch::Sender<u64>,
    checkpoint: Arc<Signal>,
    log: Arc<Log>,
    texts: Texts,
    /// Callers that seem to be at work: those of the last batch and those who came meanwhile.
    callers: usize,
    capture: Arc<Capture>,
    reserve: Reserve,
}

/// A closure that ran, and how to tell its caller.
enum Finished {
    Write(Box<dyn Write>),
    /// Not even tried: the disk is full.
    Refused(Box<dyn Write>),
    Audit(Box<dyn FnOnce(Result<()>) + Send>),
}

impl Finished {
    fn reply(self, outcome: Result<()>) {
        match self {
            Finished::Write(task) => task.finish(outcome),
            Finished::Refused(task) => task.finish(Err(Error::DiskFull)),
            Finished::Audit(reply) => reply(outcome),
        }
    }
}

impl WriterThread {
    fn run(&mut self, queue: &Queue<Task>) {
        while let Some(first) = queue.pop() {
            self.batch(first, queue);
            self.tend_log();
        }
        self.capture.let_go();
        // Leaves a short log for the next start.
        drop(self.connection.wal_checkpoint_v2(None::<&str>, rusqlite::wal::CheckpointMode::TRUNCATE));
    }

    fn batch(&mut self, first: Task, queue: &Queue<Task>) {
        let is_full = self.reserve.is_full();
        self.log.held.store(is_full, Ordering::SeqCst);
        if is_full && !self.log.running.load(Ordering::SeqCst) {
            self.reserve.release();
        }
        let mut done: Vec<Finished> = Vec::with_capacity(MAX_BATCH);
        if let Err(error) = self.connection.execute_batch("BEGIN IMMEDIATE") {
            fail(first, &error.into());
            return;
        }
        let (started, mut waited) = (Instant::now(), Duration::ZERO);
        let mut terms: HashMap<String, i64> = HashMap::new();
        let (mut wake, mut is_out) = (false, false);
        let mut next = Some(first);
        let mut broken = None;
        while let Some(task) = next {
            let mut tx = SqliteTx::new(&self.connection, &mut self.counters, &self.terms, &mut self.texts);
            tx.pending = std::mem::take(&mut terms);
            let (finished, result) = match task {
                Task::Write(task) if is_full => (Finished::Refused(task), Ok(())),
                task => run_one(&mut tx, task),
            };
            wake |= tx.wake;
            is_out |= tx.is_full;
            terms = tx.pending;
            done.push(finished);
            // Errors such as a full disk end the whole transaction, whatever else it held.
            if let Err(error) = result {
                broken = Some(error);
                break;
            }
            if self.connection.is_autocommit() {
                broken = Some(Error::Database("the engine rolled the transaction back".into()));
                break;
            }
            if done.len() >= MAX_BATCH || started.elapsed() >= MAX_BATCH_TIME {
                break;
            }
            next = queue.try_pop();
            if next.is_none() && done.len() < self.callers && waited < MAX_COMPANY_WAIT {
                let since = Instant::now();
                next = queue.pop_within(MAX_COMPANY_WAIT - waited);
                waited += since.elapsed();
            }
        }
        let outcome = match broken {
            // The engine undoes the transaction when there is no room for its pages.
            Some(Error::Database(_)) if is_out => Err(Error::DiskFull),
            Some(error) => Err(error),
            None => self.commit(),
        };
        match &outcome {
            Ok(()) => {
                if !terms.is_empty() {
                    self.terms.add(terms);
                }
                if wake {
                    self.wake.send_modify(|n| *n += 1);
                }
            }
            Err(error) => {
                tracing::error!(%error, "a commit failed");
                // The bounds it was to store are not in the table.
                self.counters.saved = [0; COUNTER_NAMES.len()];
                if !self.connection.is_autocommit() {
                    drop(self.connection.execute_batch("ROLLBACK"));
                }
            }
        }
        if (is_out || outcome == Err(Error::DiskFull)) && self.reserve.found_full() {
            self.log.held.store(true, Ordering::SeqCst);
        }
        self.callers = done.len() + queue.len();
        for finished in done {
            finished.reply(outcome.clone());
        }
    }

    fn commit(&mut self) -> Result<()> {
        for (n, name) in COUNTER_NAMES.iter().enumerate() {
            if self.counters.next[n] > self.counters.saved[n] {
                let bound = self.counters.next[n] + COUNTER_BLOCK;
                let mut statement = self.connection.prepare_cached(
                    "INSERT INTO counter (name, next) VALUES (?1, ?2) \
                     ON CONFLICT (name) DO UPDATE SET next = excluded.next",
                )?;
                statement.execute((name, bound))?;
                drop(statement);
                self.counters.saved[n] = bound;
            }
        }
        Ok(self.connection.execute_batch("COMMIT")?)
    }

    /// Has the log copied in the background, and restarts it when it has grown long. A passive checkpoint by the
    /// writer itself leaves nothing uncopied, which is what SQLite wants before it writes from the start again.
    fn tend_log(&self) {
        let pages = self.log.pages.load(Ordering::Relaxed);
        let is_held = self.log.held.load(Ordering::Relaxed);
        if pages < CHECKPOINT_PAGES || is_held || self.log.running.load(Ordering::Relaxed) {
            return;
        }
        if pages >= RESTART_PAGES && self.log.caught_up.swap(false, Ordering::Relaxed) {
            let moved = self.capture.let_restart(&mut || {
                let done =
                    self.connection.wal_checkpoint_v2(None::<&str>, rusqlite::wal::CheckpointMode::PASSIVE);
                if let Err(error) = done {
                    tracing::warn!(%error, "checkpoint failed; it is tried again later");
                }
            });
            match moved {
                Ok(true) => {}
                // Somebody is copying: after the next transaction, then.
                Ok(false) => self.log.caught_up.store(true, Ordering::Relaxed),
                Err(error) => tracing::warn!(%error, "the log cannot be copied and grows"),
            }
        } else {
            self.checkpoint.raise();
        }
    }
}

fn fail(task: Task, error: &Error) {
    match task {
        Task::Write(task) => task.finish(Err(error.clone())),
        Task::Audit(_, reply) => reply(Err(error.clone())),
        Task::Read(task) => task.fail(error.clone()),
    }
}

/// Runs one closure in its savepoint. The error is one of the engine, after which the batch cannot go on.
fn run_one(tx: &mut SqliteTx<'_>, task: Task) -> (Finished, Result<()>) {
    match task {
        Task::Write(mut task) => {
            let result = (|| {
                tx.execute("SAVEPOINT closure", &[])?;
                if !task.run(tx) {
                    tx.pending.clear();
                    tx.wake = false;
                    if tx.connection.is_autocommit() {
                        return Err(Error::Database("the engine rolled the transaction back".into()));
                    }
                    tx.execute("ROLLBACK TO SAVEPOINT closure", &[])?;
                }
                tx.execute("RELEASE SAVEPOINT closure", &[])?;
                Ok(())
            })();
            (Finished::Write(task), result)
        }
        Task::Audit(events, reply) => {
            let result = audit::append(tx, &events);
            (Finished::Audit(reply), result)
        }
        Task::Read(task) => {
            task.fail(Error::Database("a read in the queue of writes".into()));
            (Finished::Audit(Box::new(drop)), Ok(()))
        }
    }
}

fn reader(connection: &Connection, queue: &Queue<Task>, terms: &Terms, readers: usize) {
    let mut counters = Counters::default();
    let mut texts = HashMap::new();
    while let Some(first) = queue.pop() {
        // What waited before the snapshot may be answered from it; a fair share, so that the other readers have work.
        let mut batch = vec![first];
        while batch.len() < MAX_READ_BATCH.min(1 + queue.len() / readers) {
            let Some(task) = queue.try_pop() else { break };
            batch.push(task);
        }
        let mut tx = SqliteTx::new(connection, &mut counters, terms, &mut texts);
        tx.usual = Some(crate::READ_LIMIT);
        let mut begun = tx.execute("BEGIN", &[]);
        for task in batch {
            let Task::Read(task) = task else { continue };
            if begun.is_ok() && connection.is_autocommit() {
                // An error of the engine has ended the snapshot under the task before.
                begun = tx.execute("BEGIN", &[]);
            }
            match &begun {
                Ok(_) => {
                    tx.limit = (tx.usual, None);
                    task.run(&mut tx);
                }
                Err(error) => task.fail(error.clone()),
            }
        }
        if !connection.is_autocommit()
            && let Err(error) = tx.execute("ROLLBACK", &[])
        {
            tracing::error!(%error, "a read transaction did not end");
        }
    }
}

/// SQL with `$1` → the same with `?1`: SQLite takes `$1` for a name and numbers names by first appearance.
type Texts = HashMap<Box<str>, Box<str>>;
const MAX_TEXTS: usize = 2000;

fn numbered<'t>(texts: &'t mut Texts, sql: &str) -> &'t str {
    if !texts.contains_key(sql) {
        if texts.len() >= MAX_TEXTS {
            texts.clear();
        }
        texts.insert(sql.into(), sql.replace('$', "?").into());
    }
    texts.get(sql).map_or("", |text| text)
}

struct SqliteTx<'c> {
    connection: &'c Connection,
    counters: &'c mut Counters,
    terms: &'c Terms,
    texts: &'c mut Texts,
    /// Terms this transaction made or looked up.
    pending: HashMap<String, i64>,
    wake: bool,
    /// What each query may take, and when the last may start.
    limit: (Option<Duration>, Option<Instant>),
    usual: Option<Duration>,
    /// A statement found the disk full, whatever the closure makes of it.
    is_full: bool,
}

impl<'c> SqliteTx<'c> {
    fn new(
        connection: &'c Connection,
        counters: &'c mut Counters,
        terms: &'c Terms,
        texts: &'c mut Texts,
    ) -> SqliteTx<'c> {
        SqliteTx {
            connection,
            counters,
            terms,
            texts,
            pending: HashMap::new(),
            wake: false,
            limit: (None, None),
            usual: None,
            is_full: false,
        }
    }

    fn changed(&mut self, sql: &str, values: &[Param<'_>], columns: usize) -> Result<u64> {
        let mut statement = self.connection.prepare_cached(numbered(self.texts, sql))?;
        let mut changed = 0;
        // A statement without parameters runs once.
        for row in values.chunks(columns.max(1)).chain(values.is_empty().then_some(values)) {
            bind(&mut statement, row)?;
            let done = statement.raw_execute().map_err(Error::from);
            self.is_full |= done == Err(Error::DiskFull);
            changed += done? as u64;
        }
        Ok(changed)
    }
}

fn bind(statement: &mut rusqlite::CachedStatement<'_>, params: &[Param<'_>]) -> Result<()> {
    for (n, param) in params.iter().enumerate() {
        statement.raw_bind_parameter(n + 1, param)?;
    }
    Ok(())
}

impl Tx for SqliteTx<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Sqlite
    }

    fn execute(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64> {
        if sql.starts_with("ROLLBACK TO") {
            // Terms made since the savepoint are gone; the others are found again in the table.
            self.pending.clear();
        }
        self.changed(sql, params, params.len())
    }

    fn query(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
        each: &mut dyn FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<()> {
        let (budget, last) = self.limit;
        let now = budget.map(|_| Instant::now());
        if last.is_some_and(|last| now.is_some_and(|now| now >= last)) {
            return Err(Error::TooCostly);
        }
        let end = match (now, budget, last) {
            (Some(_), _, Some(last)) => Some(last),
            (Some(now), Some(budget), None) => Some(now + budget),
            _ => None,
        };
        let mut statement = self.connection.prepare_cached(numbered(self.texts, sql))?;
        bind(&mut statement, params)?;
        let _timed = Timed::until(end);
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            each(&Row::Sqlite(row))?;
        }
        Ok(())
    }

    fn insert_many(&mut self, insert: &str, tail: &str, columns: usize, values: &[Param<'_>]) -> Result<u64> {
        let sql = format!("{insert} VALUES ({}) {tail}", crate::sql::placeholders(1, columns));
        if values.is_empty() { Ok(0) } else { self.changed(&sql, values, columns) }
    }

    fn next(&mut self, counter: Counter) -> Result<i64> {
        let next = &mut self.counters.next[counter as usize];
        let number = *next;
        *next += 1;
        Ok(number)
    }

    fn term(&mut self, text: &str, create: bool) -> Result<Option<i64>> {
        if let Some(number) = self.terms.number(text) {
            return Ok(Some(number));
        }
        if let Some(number) = self.pending.get(text) {
            return Ok(Some(*number));
        }
        let tx: &mut dyn Tx = self;
        let mut number = tx.one("SELECT id FROM term WHERE text = $1", &[text.into()], |row| row.int(0))?;
        if number.is_none() && create {
            number =
                tx.one("INSERT INTO term (text) VALUES ($1) RETURNING id", &[text.into()], |row| row.int(0))?;
        }
        if let Some(number) = number {
            self.pending.insert(text.to_owned(), number);
        }
        Ok(number)
    }

    fn term_text(&mut self, term: i64) -> Result<String> {
        if let Some(text) = self.terms.text(term) {
            return Ok(text);
        }
        let tx: &mut dyn Tx = self;
        let text = tx.one("SELECT text FROM term WHERE id = $1", &[term.into()], |row| row.string(0))?;
        Ok(text.unwrap_or_default())
    }

    fn now(&mut self) -> Result<Timestamp> {
        Ok(Timestamp::now())
    }

    fn conflict(&mut self) -> Error {
        // One writer: nothing can change between two statements.
        Error::Busy
    }

    fn limit(&mut self, budget: Option<Duration>) -> Result<()> {
        self.limit = match budget {
            Some(budget) => (Some(budget), Some(Instant::now() + budget)),
            None => (self.usual, None),
        };
        Ok(())
    }

    fn wake(&mut self) {
        self.wake = true;
    }
}
