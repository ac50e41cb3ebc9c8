//! SQLite: one writer thread with group commit, reader threads, and a thread that moves the log into the file.

mod connection;
mod reader;
mod transaction;
mod writer;

pub(crate) use connection::{connect_plain, connect_to_read, lock};

use super::StoreConfig;
use super::journal::{self, Journal};
use super::queue::{Queue, Signal};
use super::reserve::Reserve;
use super::task::Task;
use super::terms::Terms;
use crate::backup::{self, Capture};
use crate::keys::{Sealing, Vault};
use crate::{Error, Result, Tx, migrate};
use connection::{WRITER_CACHE_KIB, connect};
use rusqlite::Connection;
use std::collections::HashMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;
use transaction::{COUNTER_NAMES, Counters, SqliteTx};
use writer::{Log, WriterThread, checkpoint_once};

/// How often the log is copied for the backup.
const COPY_EVERY: Duration = Duration::from_secs(4);

pub(super) struct Engine {
    threads: Vec<JoinHandle<()>>,
    checkpoint: Arc<Signal>,
    copy: Arc<Signal>,
    /// Closed when the journal has given everything to the writer.
    audit_over: Arc<Signal>,
    capture: Arc<Capture>,
    vault: Arc<Vault>,
    lock: File,
}

impl Engine {
    pub fn start(
        path: &str,
        config: &StoreConfig,
        writes: &Arc<Queue<Task>>,
        reads: &Arc<Queue<Task>>,
        audits: &Arc<Queue<Task>>,
        wake: &watch::Sender<u64>,
    ) -> Result<Engine> {
        let path = Path::new(path);
        let lock = lock(path)?;
        let mut connection = connect(path, config.key.as_ref(), WRITER_CACHE_KIB)?;
        let (own, key) = (path.to_owned(), config.key.clone());
        let capture = capture(path, config)?;
        let mut counters = prepare(&mut connection, path, &capture, config.keep_before_migration)?;
        let vault = open_vault(&connection, &mut counters, path, config)?;
        super::authorize::guard(&mut connection)?;
        let terms = Arc::new(Terms::default());
        let position = {
            let (mut texts, mut sealing) = (HashMap::new(), Sealing::new(vault.clone()));
            let mut tx = SqliteTx::new(&connection, &mut counters, &terms, &mut texts, &mut sealing);
            journal::position(&mut tx)?
        };
        let checkpoint = Arc::new(Signal::new());
        let log = Arc::new(Log::default());
        watch_log(&mut connection, &log)?;
        let watched = log.clone();
        let another = move || -> Result<Connection> {
            let mut connection = connect(&own, key.as_ref(), WRITER_CACHE_KIB)?;
            super::authorize::guard(&mut connection)?;
            watch_log(&mut connection, &watched)?;
            Ok(connection)
        };
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
            vault: vault.clone(),
            connect: Box::new(another),
            is_lost: false,
            careful: 0,
        };
        let key = config.files.as_ref().or(config.key.as_ref());
        journal::take_over(path, key, position, &mut |task| writer.batch(task, &Queue::new(0)))?;
        let queue = writes.clone();
        threads.push(spawn("store-writer", move || writer.run(&queue))?);
        let mut journal = Journal::new(path, key, writes)?;
        let (queue, audit_over) = (audits.clone(), Arc::new(Signal::new()));
        let over = audit_over.clone();
        threads.push(spawn("store-audit", move || {
            journal.run(&queue);
            over.close();
        })?);
        let readers = config.readers.max(1);
        for n in 0..readers {
            let (own, key) = (path.to_owned(), config.key.clone());
            let connect = move || -> Result<Connection> {
                let mut connection = connect_to_read(&own, key.as_ref())?;
                super::authorize::guard(&mut connection)?;
                Ok(connection)
            };
            let connection = connect()?;
            let (queue, terms) = (reads.clone(), terms.clone());
            let mut sealing = Sealing::new(vault.clone());
            threads.push(spawn(&format!("store-reader-{n}"), move || {
                reader::reader(connection, &connect, &queue, &terms, &mut sealing, readers)
            })?);
        }
        let mut connection = connect(path, config.key.as_ref(), 256)?;
        let (own, key) = (path.to_owned(), config.key.clone());
        let signal = checkpoint.clone();
        let copies = capture.clone();
        threads.push(spawn("store-checkpoint", move || {
            while signal.wait() {
                // Only what is copied may leave the log.
                copy_once(&copies);
                if !checkpoint_once(&connection, &log)
                    && let Ok(another) = connect(&own, key.as_ref(), 256)
                {
                    connection = another;
                }
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
        Ok(Engine { threads, checkpoint, copy, audit_over, capture, vault, lock })
    }

    pub fn capture(&self) -> Arc<Capture> {
        self.capture.clone()
    }

    pub fn vault(&self) -> Arc<Vault> {
        self.vault.clone()
    }

    /// Waits until the writer has what the journal holds, its queue being closed.
    pub fn finish_audit(&self) {
        let own = std::thread::current().id();
        // The writer itself, when a closure held the last clone of the store: then the files keep it for the next start.
        if self.threads.iter().all(|thread| thread.thread().id() != own) {
            self.audit_over.wait();
        }
    }

    pub fn join(self) {
        self.checkpoint.close();
        self.copy.close();
        super::join_all(self.threads);
        self.capture.closed();
        // Said aloud: a program that is just being started from this one may hold a copy of the handle for a moment.
        drop(self.lock.unlock());
    }
}

/// Notes how long the log is after each commit of this connection.
fn watch_log(connection: &mut Connection, log: &Arc<Log>) -> Result<()> {
    let pages = log.clone();
    connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, count| {
        pages.pages.store(i64::from(count), Ordering::Relaxed);
        Ok(())
    }))?;
    Ok(())
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

/// Migrates and reads the counters. A database that will be changed is kept as it was.
fn prepare(connection: &mut Connection, path: &Path, capture: &Capture, keep: usize) -> Result<Counters> {
    let terms = Terms::default();
    let mut counters = Counters::default();
    let mut texts = HashMap::new();
    let mut sealing = Sealing::new(Vault::none());
    let stands =
        migrate::status(&mut SqliteTx::new(connection, &mut counters, &terms, &mut texts, &mut sealing))?;
    if stands.current > 0 && !stands.pending.is_empty() {
        backup::before_migration(path, &capture.freeze()?, stands.current, keep)?;
    }
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let mut tx = SqliteTx::new(connection, &mut counters, &terms, &mut texts, &mut sealing);
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

/// The keys of contents, and what was left to be done with them.
fn open_vault(
    connection: &Connection,
    counters: &mut Counters,
    path: &Path,
    config: &StoreConfig,
) -> Result<Arc<Vault>> {
    let (terms, mut texts) = (Terms::default(), HashMap::new());
    let mut sealing = Sealing::new(Vault::none());
    let mut tx = SqliteTx::new(connection, counters, &terms, &mut texts, &mut sealing);
    let own = crate::shred::key_store(&mut tx)?;
    let vault = match &config.files {
        _ if config.keyless => return Ok(Vault::keyless()),
        Some(files) => Vault::of_file(path, files, own.is_none())?,
        None => own.is_none().then(Vault::none),
    };
    let file = crate::keys::vault_file(path);
    let vault = vault.ok_or_else(|| Error::KeysMissing(format!("{} is not there", file.display())))?;
    let mut sealing = Sealing::new(vault.clone());
    let mut tx = SqliteTx::new(connection, counters, &terms, &mut texts, &mut sealing);
    tx.execute("BEGIN IMMEDIATE", &[])?;
    let done = crate::shred::at_start(&mut tx, own.as_deref()).and_then(|()| counters.save(connection));
    connection.execute_batch(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
    done.map(|()| vault)
}
