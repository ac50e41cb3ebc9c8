//! The one thread that writes: many closures in one commit, and the care of the log.

use super::transaction::{COUNTER_NAMES, Counters, SqliteTx, Texts};
use crate::backup::Capture;
use crate::engine::journal::Chunk;
use crate::engine::queue::{Queue, Signal};
use crate::engine::reserve::Reserve;
use crate::engine::task::{Reply, Task, Write, fail};
use crate::engine::terms::Terms;
use crate::keys::{Sealing, Vault};
use crate::{Error, Result, Tx, audit};
use rusqlite::Connection;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Batches with savepoints after one that had to be run again: who fails often does so at the cost of savepoints, not of
/// everybody's work twice.
const CAREFUL_BATCHES: u32 = 64;
/// Closures in one commit: more would only make the first of them wait.
const MAX_BATCH: usize = 64;
/// A batch takes no more closures after this time.
const MAX_BATCH_TIME: Duration = Duration::from_millis(8);
/// Chunks of the audit journal in one commit, while nobody waits for it: the more, the fewer pages of the patients' index
/// are written for each event. Whoever comes is taken in after the one at hand.
const MAX_CHUNKS: usize = 16;
/// How long a batch waits for callers that are known to be about: they were just answered and are likely to ask
/// again. Sharing the commit saves each of them more than this.
const MAX_COMPANY_WAIT: Duration = Duration::from_micros(300);
/// Log pages after which the background thread copies them into the file.
const CHECKPOINT_PAGES: i64 = 8_000;
/// Log pages after which the writer waits a moment so that the log can start over at its beginning.
const RESTART_PAGES: i64 = 24_000;

#[derive(Default)]
pub(super) struct Log {
    pub pages: AtomicI64,
    running: AtomicBool,
    /// The background has copied all it could: the rest is short enough for the writer to finish.
    caught_up: AtomicBool,
    /// The disk is full: copying the log into the file would take the room that reads and their audit need.
    held: AtomicBool,
}

/// Returns false if the connection cannot read the file any more.
pub(super) fn checkpoint_once(connection: &Connection, log: &Log) -> bool {
    // In this order, and the other way round where it is held: one of both sees the other.
    log.running.store(true, Ordering::SeqCst);
    if log.held.load(Ordering::SeqCst) {
        log.running.store(false, Ordering::SeqCst);
        return true;
    }
    let mut is_sound = true;
    match connection.wal_checkpoint_v2(None::<&str>, rusqlite::wal::CheckpointMode::PASSIVE) {
        Ok(_) => log.caught_up.store(true, Ordering::Relaxed),
        Err(error) => {
            tracing::warn!(%error, "checkpoint failed; it is tried again later");
            is_sound = Error::from(error) != Error::WrongKey;
        }
    }
    log.running.store(false, Ordering::SeqCst);
    is_sound
}

pub(super) struct WriterThread {
    pub connection: Connection,
    pub counters: Counters,
    pub terms: Arc<Terms>,
    pub wake: watch::Sender<u64>,
    pub checkpoint: Arc<Signal>,
    pub log: Arc<Log>,
    pub texts: Texts,
    /// Callers that seem to be at work: those of the last batch and those who came meanwhile.
    pub callers: usize,
    pub capture: Arc<Capture>,
    pub reserve: Reserve,
    pub vault: Arc<Vault>,
    /// Another connection like its own.
    pub connect: Connect,
    /// Its own cannot read the file any more.
    pub is_lost: bool,
    /// Batches in which each closure gets a savepoint; see [WriterThread::batch].
    pub careful: u32,
}

/// Opens a connection.
pub(super) type Connect = Box<dyn Fn() -> Result<Connection> + Send>;

/// A closure that ran, and how to tell its caller.
enum Finished {
    Write(Box<dyn Write>),
    /// Not even tried: the disk is full.
    Refused(Box<dyn Write>),
    Audit(Vec<audit::Event>, Reply),
    /// Whether it was its turn.
    Journal(Box<Chunk>, bool),
}

impl Finished {
    fn reply(self, outcome: Result<()>) {
        match self {
            Finished::Write(task) => task.finish(outcome),
            Finished::Refused(task) => task.finish(Err(Error::DiskFull)),
            Finished::Audit(_, reply) => reply(outcome),
            Finished::Journal(chunk, true) => chunk.finish(outcome),
            Finished::Journal(chunk, false) => chunk.finish(Err(Error::Busy)),
        }
    }

    /// To be run once more.
    fn again(self) -> Task {
        match self {
            Finished::Write(task) | Finished::Refused(task) => Task::Write(task),
            Finished::Audit(events, reply) => Task::Audit(events, reply),
            Finished::Journal(chunk, _) => Task::Journal(chunk),
        }
    }
}

/// What running one closure means for its batch.
enum Ran {
    /// It is in, or has left nothing.
    Kept,
    /// It failed after it had written, without a savepoint: the others must be run without it.
    Spoilt,
}

impl WriterThread {
    pub fn run(&mut self, queue: &Queue<Task>) {
        while let Some(first) = queue.pop() {
            self.batch(first, queue);
            self.renew();
            self.tend_log();
        }
        self.capture.let_go();
        // Leaves a short log for the next start.
        drop(self.connection.wal_checkpoint_v2(None::<&str>, rusqlite::wal::CheckpointMode::TRUNCATE));
    }

    /// Runs `first` and what waits with it, in one transaction. A savepoint for each closure would copy every page that it
    /// changes, a tenth of all work; so there is none until a closure fails that has written something. Then the batch is
    /// begun anew, with savepoints, and so are those that follow for a while.
    pub fn batch(&mut self, first: Task, queue: &Queue<Task>) {
        let is_full = self.reserve.is_full();
        self.log.held.store(is_full, Ordering::SeqCst);
        if is_full && !self.log.running.load(Ordering::SeqCst) {
            self.reserve.release();
        }
        let mut done: Vec<Finished> = Vec::with_capacity(MAX_BATCH);
        if let Err(error) = self.connection.execute_batch("BEGIN IMMEDIATE") {
            let error = Error::from(error);
            self.is_lost |= error == Error::WrongKey;
            fail(first, &error);
            return;
        }
        let (started, mut waited) = (Instant::now(), Duration::ZERO);
        let mut terms: HashMap<String, i64> = HashMap::new();
        let (mut wake, mut is_out) = (false, false);
        let mut sealing = Sealing::new(self.vault.clone());
        let mut next = Some(first);
        let mut again: VecDeque<Task> = VecDeque::new();
        let mut broken = None;
        let mut is_careful = self.careful > 0;
        self.careful = self.careful.saturating_sub(1);
        // Of the closures, those whose callers wait, and chunks of the journal; each batch takes one chunk at least.
        let (mut answers, mut chunks) = (0, 0);
        while let Some(task) = next {
            match &task {
                Task::Journal(_) => chunks += 1,
                _ => answers += 1,
            }
            let (counters, texts) = (&mut self.counters, &mut self.texts);
            let mut tx = SqliteTx::new(&self.connection, counters, &self.terms, texts, &mut sealing);
            tx.pending = std::mem::take(&mut terms);
            let (finished, result) = match task {
                Task::Write(task) if is_full => (Finished::Refused(task), Ok(Ran::Kept)),
                task => run_one(&mut tx, task, is_careful),
            };
            wake |= tx.wake;
            is_out |= tx.is_full;
            self.is_lost |= tx.is_lost;
            terms = tx.pending;
            done.push(finished);
            // Errors such as a full disk end the whole transaction, whatever else it held.
            let ran = match result {
                Ok(ran) => ran,
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            };
            if self.connection.is_autocommit() {
                broken = Some(Error::Database("the engine rolled the transaction back".into()));
                break;
            }
            if matches!(ran, Ran::Spoilt) {
                if let Err(error) = self.connection.execute_batch("ROLLBACK; BEGIN IMMEDIATE") {
                    broken = Some(error.into());
                    break;
                }
                // The bounds of numbers are stored before a commit only; what was given out is skipped.
                terms.clear();
                (wake, sealing) = (false, Sealing::new(self.vault.clone()));
                (is_careful, self.careful) = (true, CAREFUL_BATCHES);
                (answers, chunks) = (0, 0);
                again = done.drain(..).map(Finished::again).chain(again).collect();
            }
            next = again.pop_front();
            if next.is_some() {
                continue;
            }
            if done.len() >= MAX_BATCH || answers > 0 && started.elapsed() >= MAX_BATCH_TIME {
                break;
            }
            next = if chunks == 0 { queue.try_pop_later() } else { None }.or_else(|| queue.try_pop());
            if next.is_none() && chunks < MAX_CHUNKS {
                next = queue.try_pop_later();
            }
            if next.is_none() && answers > 0 && answers < self.callers && waited < MAX_COMPANY_WAIT {
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
        self.is_lost |= outcome == Err(Error::WrongKey);
        match &outcome {
            Ok(()) => {
                if !terms.is_empty() {
                    self.terms.add(terms);
                }
                if sealing.committed() {
                    self.destroy_erased(&mut sealing);
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
        self.callers = answers + queue.len();
        if let Err(error) = &outcome {
            again.into_iter().for_each(|task| fail(task, error));
        }
        for finished in done {
            finished.reply(outcome.clone());
        }
    }

    /// Takes a new connection in the place of one that is lost. Nothing is open on it: its transaction was ended.
    fn renew(&mut self) {
        if !self.is_lost {
            return;
        }
        match (self.connect)() {
            Ok(connection) => {
                self.connection = connection;
                self.counters.saved = [0; COUNTER_NAMES.len()];
                self.is_lost = false;
                tracing::warn!("the database could not be read for a moment");
            }
            Err(error) => tracing::error!(%error, "the database cannot be opened anew; it is tried again"),
        }
    }

    /// What cannot be destroyed now is at the next start.
    fn destroy_erased(&mut self, sealing: &mut Sealing) {
        let (counters, texts) = (&mut self.counters, &mut self.texts);
        let mut tx = SqliteTx::new(&self.connection, counters, &self.terms, texts, sealing);
        if let Err(error) = crate::shred::destroy_erased(&mut tx) {
            tracing::error!(%error, "keys of erased patients could not be destroyed; it is tried again");
        }
    }

    fn commit(&mut self) -> Result<()> {
        self.counters.save(&self.connection)?;
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

/// Runs one closure, in a savepoint if `is_careful`. The error is one of the engine, after which the batch cannot go on.
fn run_one(tx: &mut SqliteTx<'_>, task: Task, is_careful: bool) -> (Finished, Result<Ran>) {
    match task {
        Task::Write(mut task) if !is_careful => {
            let before = tx.connection.total_changes();
            let ran = match task.run(tx) || tx.connection.total_changes() == before {
                true => Ran::Kept,
                false => Ran::Spoilt,
            };
            (Finished::Write(task), Ok(ran))
        }
        Task::Write(mut task) => {
            let result = (|| {
                tx.execute("SAVEPOINT closure", &[])?;
                if !task.run(tx) {
                    tx.pending.clear();
                    tx.wake = false;
                    tx.sealing().undo();
                    if tx.connection.is_autocommit() {
                        return Err(Error::Database("the engine rolled the transaction back".into()));
                    }
                    tx.execute("ROLLBACK TO SAVEPOINT closure", &[])?;
                }
                tx.execute("RELEASE SAVEPOINT closure", &[])?;
                Ok(Ran::Kept)
            })();
            (Finished::Write(task), result)
        }
        Task::Audit(events, reply) => {
            let result = audit::append(tx, &events).map(|()| Ran::Kept);
            (Finished::Audit(events, reply), result)
        }
        Task::Journal(chunk) => match chunk.take(tx) {
            Ok(taken) => (Finished::Journal(chunk, taken), Ok(Ran::Kept)),
            Err(error) => (Finished::Journal(chunk, true), Err(error)),
        },
        task @ (Task::Read(_) | Task::Settle(_)) => {
            fail(task, &Error::Database("not a write, in the queue of writes".into()));
            (Finished::Audit(Vec::new(), Box::new(drop)), Ok(Ran::Kept))
        }
    }
}
