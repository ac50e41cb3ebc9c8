//! Opening a store, and handing closures to the threads that own the connections.

mod authorize;
mod journal;
mod postgres;
mod queue;
mod reserve;
pub(crate) mod sqlite;
mod task;
mod terms;
mod tls;

pub(crate) use tls::Target;

use crate::keys::{KeyStoreState, Vault};
use crate::{Dialect, Error, Result, Secret32, Tx, audit, migrate};
use queue::Queue;
use std::future::Future;
use std::sync::Arc;
use task::{Reader, Task, Writer};
use tokio::sync::{oneshot, watch};

/// How to open a store.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// `sqlite:/path/to/file.db` or `postgres://user@host/database`.
    pub url: String,
    /// SQLite only: the SQLCipher key. `None` leaves the file unencrypted, for tests and measurements.
    pub key: Option<Secret32>,
    /// The installation's file key: what contents are sealed under hangs from it (see [crate::keys]). `None`: contents
    /// are stored as they are.
    pub files: Option<Secret32>,
    /// Opens without the keys of contents, which then cannot be read: for looking after a database without seeing what
    /// is in it.
    pub keyless: bool,
    /// SQLite: reader threads.
    pub readers: usize,
    /// PostgreSQL: connections.
    pub pg_pool: usize,
    /// SQLite: follows the log, so that backups hold every moment; see [crate::backup].
    pub follow_log: bool,
    /// SQLite: databases kept from before changes of the schema.
    pub keep_before_migration: usize,
    /// SQLite: room on the disk that is kept back, bytes; see `engine/reserve.rs`.
    pub reserve_bytes: u64,
}

impl StoreConfig {
    /// A reader per processor (two to eight), sixteen connections; the key is that of the files too.
    pub fn new(url: impl Into<String>, key: Option<Secret32>) -> StoreConfig {
        let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        StoreConfig {
            url: url.into(),
            files: key.clone(),
            key,
            keyless: false,
            readers: processors.clamp(2, 8),
            pg_pool: 16,
            follow_log: false,
            keep_before_migration: 2,
            reserve_bytes: 0,
        }
    }
}

/// Waiting closures beyond which new ones are refused with [Error::Busy].
const MAX_WAITING: usize = 4096;

/// An open database. Cheap to clone; the last clone closes it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    dialect: Dialect,
    /// Closures that write; on PostgreSQL also those that read.
    writes: Arc<Queue<Task>>,
    reads: Arc<Queue<Task>>,
    /// Audit of reads.
    audits: Arc<Queue<Task>>,
    wake: watch::Sender<u64>,
    engine: parking_lot::Mutex<Option<Engine>>,
}

/// Threads and files, held until the store is closed.
enum Engine {
    Sqlite(sqlite::Engine),
    Postgres(postgres::Engine),
}

impl Store {
    /// Opens or makes the database and brings its schema up to date. Blocks: call it at start, off the runtime's
    /// workers. Errors: [Error::InUse], [Error::WrongKey], [Error::NewerDatabase], [Error::Database].
    pub fn open(config: StoreConfig) -> Result<Store> {
        let wake = watch::Sender::new(0);
        let writes = Arc::new(Queue::new(MAX_WAITING));
        if let Some(path) = config.url.strip_prefix("sqlite:") {
            let reads = Arc::new(Queue::new(MAX_WAITING));
            let audits = Arc::new(Queue::new(MAX_WAITING));
            let engine = sqlite::Engine::start(path, &config, &writes, &reads, &audits, &wake)?;
            return Ok(Store::of(Dialect::Sqlite, writes, reads, audits, wake, Engine::Sqlite(engine)));
        }
        let reads = writes.clone();
        let audits = Arc::new(Queue::new(MAX_WAITING));
        let engine = postgres::Engine::start(&config, &writes, &audits, &wake)?;
        Ok(Store::of(Dialect::Postgres, writes, reads, audits, wake, Engine::Postgres(engine)))
    }

    fn of(
        dialect: Dialect,
        writes: Arc<Queue<Task>>,
        reads: Arc<Queue<Task>>,
        audits: Arc<Queue<Task>>,
        wake: watch::Sender<u64>,
        engine: Engine,
    ) -> Store {
        let engine = parking_lot::Mutex::new(Some(engine));
        Store { inner: Arc::new(Inner { dialect, writes, reads, audits, wake, engine }) }
    }

    pub fn dialect(&self) -> Dialect {
        self.inner.dialect
    }

    /// Runs `work` in a transaction and commits it, together with others if they wait; the future ends after the
    /// commit is durable. An error of `work` undoes what it wrote and nothing else. `work` runs again after a
    /// serialization failure, so it must not carry effects outside the transaction. Errors: of `work`;
    /// [Error::Busy] if too many wait; [Error::Panicked]; [Error::Closed]; of the commit.
    pub fn write<R, E, F>(&self, work: F) -> impl Future<Output = Result<R, E>> + Send + use<R, E, F>
    where
        F: FnMut(&mut dyn Tx) -> Result<R, E> + Send + 'static,
        R: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let task = Writer::boxed(work, move |result, work| drop(sender.send((result, work))));
        let refused = self.inner.writes.push(Task::Write(task)).err();
        async move { answer(refused, receiver.await.map(|(result, _)| result)) }
    }

    /// Runs `work` on a snapshot. Errors: of `work`; [Error::Busy]; [Error::Closed]; [Error::Panicked].
    pub fn read<R, E, F>(&self, work: F) -> impl Future<Output = Result<R, E>> + Send + use<R, E, F>
    where
        F: FnOnce(&mut dyn Tx) -> Result<R, E> + Send + 'static,
        R: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let task = Reader::boxed(work, move |result| drop(sender.send(result)));
        let refused = self.inner.reads.push(Task::Read(task)).err();
        async move { answer(refused, receiver.await) }
    }

    /// As [Store::read], and gives the result once the events that `work` gives with it are durable, as by
    /// [Store::append_audit], without the caller being woken in between. Errors: also those of [Store::append_audit].
    pub fn read_audited<R, E, F>(&self, work: F) -> impl Future<Output = Result<R, E>> + Send + use<R, E, F>
    where
        F: FnOnce(&mut dyn Tx) -> Result<(R, Vec<audit::Event>), E> + Send + 'static,
        R: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (sender, receiver) = oneshot::channel();
        let audits = self.inner.audits.clone();
        let task = Reader::boxed(work, move |result: Result<(R, Vec<audit::Event>), E>| match result {
            Ok((result, events)) if !events.is_empty() => {
                let reply = move |durable: Result<()>| {
                    drop(sender.send(durable.map(|()| result).map_err(E::from)));
                };
                if let Err((error, task)) = audits.try_push(Task::Audit(events, Box::new(reply))) {
                    task::fail(task, &error);
                }
            }
            result => drop(sender.send(result.map(|(result, _)| result))),
        });
        let refused = self.inner.reads.push(Task::Read(task)).err();
        async move { answer(refused, receiver.await) }
    }

    /// [Store::write] for command-line programs and tests; blocks the thread.
    pub fn write_blocking<R, E, F>(&self, work: F) -> Result<R, E>
    where
        F: FnMut(&mut dyn Tx) -> Result<R, E> + Send + 'static,
        R: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let task = Writer::boxed(work, move |result, work| drop(sender.send((result, work))));
        self.inner.writes.push(Task::Write(task)).map_err(E::from)?;
        receiver.recv().map_or_else(|_| Err(Error::Closed.into()), |(result, _)| result)
    }

    /// [Store::read] for command-line programs and tests; blocks the thread.
    pub fn read_blocking<R, E, F>(&self, work: F) -> Result<R, E>
    where
        F: FnOnce(&mut dyn Tx) -> Result<R, E> + Send + 'static,
        R: Send + 'static,
        E: From<Error> + Send + 'static,
    {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let task = Reader::boxed(work, move |result| drop(sender.send(result)));
        self.inner.reads.push(Task::Read(task)).map_err(E::from)?;
        receiver.recv().unwrap_or_else(|_| Err(Error::Closed.into()))
    }

    /// Makes the audit of reads durable, sharing a commit with whatever else waits: the cheap way for reads. On SQLite the
    /// rows are in the table a moment later, see [Store::settle_audit]. Errors: [Error::Busy], [Error::Closed], of the commit.
    pub fn append_audit(&self, events: Vec<audit::Event>) -> impl Future<Output = Result<()>> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        let reply = Box::new(move |result| drop(sender.send(result)));
        let refused = self.inner.audits.push(Task::Audit(events, reply)).err();
        async move { answer(refused, receiver.await) }
    }

    /// Ends once the table of audit rows has whatever was appended before. Call it before looking at that table.
    /// Errors: [Error::Busy] if the database does not take it now.
    pub fn settle_audit(&self) -> impl Future<Output = Result<()>> + Send + use<> {
        let (sender, receiver) = oneshot::channel();
        let reply: task::Reply = Box::new(move |result| drop(sender.send(result)));
        let refused = match self.inner.dialect {
            Dialect::Sqlite => self.inner.audits.push(Task::Settle(reply)).err(),
            Dialect::Postgres => {
                reply(Ok(()));
                None
            }
        };
        async move { answer(refused, receiver.await) }
    }

    /// Changes whenever outbox, inbox, jobs, messages or payments may hold new work, on any server.
    /// Followers also look from time to time by themselves: a wake-up can be lost with its server.
    pub fn wakeups(&self) -> watch::Receiver<u64> {
        self.inner.wake.subscribe()
    }

    /// Ends at the next wake-up after this call; see [Store::wakeups].
    pub fn notified(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut receiver = self.wakeups();
        async move {
            // An error means the store is gone: then nothing new can come, and followers find out by themselves.
            drop(receiver.changed().await);
        }
    }

    /// Where the schema stands.
    pub fn migration_status(&self) -> Result<migrate::Status> {
        self.read_blocking(migrate::status)
    }

    /// Copies of the embedded database while it is written; `None` on PostgreSQL and once closed.
    pub fn capture(&self) -> Option<Arc<crate::backup::Capture>> {
        match self.inner.engine.lock().as_ref() {
            Some(Engine::Sqlite(engine)) => Some(engine.capture()),
            Some(Engine::Postgres(_)) | None => None,
        }
    }

    fn vault(&self) -> Result<Arc<Vault>> {
        match self.inner.engine.lock().as_ref() {
            Some(Engine::Sqlite(engine)) => Ok(engine.vault()),
            Some(Engine::Postgres(engine)) => Ok(engine.vault()),
            None => Err(Error::Closed),
        }
    }

    /// Where the keys of contents lie and how often they were changed; `None` without keys. Blocks, off the runtime.
    pub fn key_store(&self) -> Result<Option<KeyStoreState>> {
        let vault = self.vault()?;
        off_runtime(move || vault.state())
    }

    /// Whether contents are sealed under keys that this process has.
    pub fn has_keys(&self) -> bool {
        self.vault().is_ok_and(|vault| vault.has_place())
    }

    /// Makes a new tenant key and wraps every data key under it; how many. Contents stay as they are and are read and
    /// written meanwhile. Blocks. Errors: [Error::KeysMissing]; of the disk or the database.
    pub fn rotate_tenant_key(&self) -> Result<u64> {
        let vault = self.vault()?;
        off_runtime(move || vault.rotate())
    }

    /// Takes over all keys of `other`, whose contents this new database gets.
    pub(crate) fn adopt_keys(&self, other: &Store) -> Result<()> {
        let (vault, other) = (self.vault()?, other.vault()?);
        match (vault.is_on(), other.is_on()) {
            (_, false) => Ok(()),
            (false, true) => {
                Err(Error::KeysMissing("the new database was opened without the file key".into()))
            }
            (true, true) => off_runtime(move || vault.adopt(&other)),
        }
    }

    /// Closures that wait now: (writes, reads). On PostgreSQL both share one queue.
    pub fn waiting(&self) -> (usize, usize) {
        (self.inner.writes.len(), self.inner.reads.len())
    }

    /// Finishes what waits, then stops the threads and gives the database free. Later work fails with
    /// [Error::Closed]. Blocks.
    pub fn close(&self) {
        self.inner.close();
    }
}

/// On a thread of its own: the client of PostgreSQL would panic on one that drives a runtime.
fn off_runtime<R: Send + 'static>(work: impl FnOnce() -> Result<R> + Send + 'static) -> Result<R> {
    std::thread::spawn(work).join().unwrap_or(Err(Error::Panicked))
}

impl Inner {
    fn close(&self) {
        let engine = self.engine.lock().take();
        self.audits.close();
        if let Some(Engine::Sqlite(engine)) = &engine {
            // Before the writer ends, so that it takes what the journal still holds.
            engine.finish_audit();
        }
        for queue in [&self.writes, &self.reads] {
            queue.close();
        }
        if let Some(engine) = engine {
            match engine {
                Engine::Sqlite(engine) => engine.join(),
                Engine::Postgres(engine) => engine.join(),
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// Waits for the threads; but for the one that runs this, when the last clone of a store goes with a closure.
fn join_all(threads: Vec<std::thread::JoinHandle<()>>) {
    for thread in threads {
        if thread.thread().id() != std::thread::current().id() {
            // A thread that panicked has nothing to give back.
            drop(thread.join());
        }
    }
}

fn answer<R, E: From<Error>>(
    refused: Option<Error>,
    received: std::result::Result<Result<R, E>, oneshot::error::RecvError>,
) -> Result<R, E> {
    match (refused, received) {
        (Some(error), _) => Err(error.into()),
        (None, Ok(result)) => result,
        (None, Err(_)) => Err(Error::Closed.into()),
    }
}
