//! PostgreSQL: a pool of blocking connections, each on its own thread.
//!
//! Writes run at READ COMMITTED. What must not race is guarded by what the engine always enforces: versions by
//! `UPDATE … WHERE version = n` on a locked row, claims, receipts and idempotency keys by unique keys, leases by
//! `SKIP LOCKED` and fencing tokens, referenced resources by key-share locks. SERIALIZABLE would find the same
//! conflicts through page locks on hot index ends, where unrelated creates meet, and abort them for nothing.

use super::StoreConfig;
use super::queue::{Queue, Signal};
use super::task::{Task, Write, fail};
use super::terms::Terms;
use super::tls::Target;
use crate::keys::{Sealing, Vault};
use crate::tx::Raw;
use crate::{Counter, Dialect, Error, Param, Result, Row, Secret32, Tx, audit, migrate};
use ::postgres::fallible_iterator::FallibleIterator;
use ::postgres::{Client, Statement};
use jiff::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Tries of a transaction that meets serialization failures.
const MAX_TRIES: u32 = 10;
/// Statements a connection keeps prepared.
const MAX_STATEMENTS: usize = 500;
/// Reads whose audit shares a commit.
const MAX_AUDIT_BATCH: usize = 256;
/// Rows of one multi-row INSERT.
const MAX_ROWS: usize = 32;
/// Pause before a lost connection is made anew.
const RECONNECT: Duration = Duration::from_millis(250);
/// Tables are joined as they are written: searches know better what is narrow than statistics that are behind.
/// For the whole connection: said in each transaction, it cost a read by id a sixth of its time.
const IN_ORDER: &str = "SET join_collapse_limit = 1";
/// Numbers of a block of row or audit numbers, as the sequences count.
const NUMBERS: i64 = 32;
const NOTIFY_CHANNEL: &str = "uzima_work";

pub(super) struct Engine {
    threads: Vec<JoinHandle<()>>,
    notify: Arc<Signal>,
    stop: Arc<Signal>,
    vault: Arc<Vault>,
}

impl Engine {
    pub fn start(
        config: &StoreConfig,
        tasks: &Arc<Queue<Task>>,
        audits: &Arc<Queue<Task>>,
        wake: &watch::Sender<u64>,
    ) -> Result<Engine> {
        let target = Target::parse(&config.url)?;
        // On a thread of its own: the client would panic on one that drives a runtime.
        let copy = target.clone();
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let (files, keyless) = (config.files.clone(), config.keyless);
        let first = spawn("store-migrate", move || {
            drop(sender.send(Connection::open(&copy).and_then(|mut connection| {
                connection.migrate()?;
                if keyless { Ok(Vault::keyless()) } else { connection.open_vault(&copy, files.as_ref()) }
            })));
        })?;
        let vault = receiver.recv().unwrap_or(Err(Error::Panicked));
        drop(first.join());
        let vault = vault?;
        let shared = Shared {
            target,
            vault: vault.clone(),
            terms: Arc::new(Terms::default()),
            wake: wake.clone(),
            notify: Arc::new(Signal::new()),
            stop: Arc::new(Signal::new()),
        };
        let mut threads = Vec::new();
        for n in 0..config.pg_pool.max(1) {
            let (queue, shared) = (tasks.clone(), shared.clone());
            threads.push(spawn(&format!("store-{n}"), move || worker(&shared, &queue))?);
        }
        let (queue, copy) = (audits.clone(), shared.clone());
        threads.push(spawn("store-audit", move || auditor(&copy, &queue))?);
        let copy = shared.clone();
        threads.push(spawn("store-notify", move || notifier(&copy))?);
        let copy = shared.clone();
        threads.push(spawn("store-listen", move || listener(&copy))?);
        Ok(Engine { threads, notify: shared.notify, stop: shared.stop, vault })
    }

    pub fn vault(&self) -> Arc<Vault> {
        self.vault.clone()
    }

    pub fn join(self) {
        self.notify.close();
        self.stop.close();
        super::join_all(self.threads);
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|e| Error::Database(format!("cannot start a thread: {e}")))
}

#[derive(Clone)]
struct Shared {
    target: Target,
    vault: Arc<Vault>,
    terms: Arc<Terms>,
    wake: watch::Sender<u64>,
    notify: Arc<Signal>,
    stop: Arc<Signal>,
}

impl Shared {
    /// Workers on this server hear at once, others by a NOTIFY that is sent outside the transaction: a NOTIFY
    /// inside one holds a lock of the whole server over the commit.
    fn woken(&self) {
        self.wake.send_modify(|n| *n += 1);
        self.notify.raise();
    }
}

struct Connection {
    client: Client,
    statements: HashMap<Box<str>, Statement>,
    /// What is left of the block of row numbers.
    rows: (i64, i64),
    /// What a statement may take, as the server was told for all transactions.
    limit: Option<Duration>,
}

impl Connection {
    fn open(target: &Target) -> Result<Connection> {
        let mut client = target.connect()?;
        client.batch_execute(IN_ORDER)?;
        Ok(Connection { client, statements: HashMap::new(), rows: (0, 0), limit: None })
    }

    /// Begins a transaction whose statements may take so long each.
    fn begin(&mut self, begin: &str, limit: Option<Duration>) -> Result<()> {
        if self.limit != limit {
            self.client.batch_execute(&format!("SET statement_timeout = {}", millis(limit)))?;
            self.limit = limit;
        }
        Ok(self.client.batch_execute(begin)?)
    }

    fn migrate(&mut self) -> Result<()> {
        let terms = Terms::default();
        self.client.batch_execute("BEGIN")?;
        let mut tx = PgTx::new(self, &terms, &Vault::none());
        // The closure gets the transaction back, because both need the one connection.
        migrate::run(&mut tx, &mut |tx, text| tx.query(BATCH_MARK, &[Param::Text(text)], &mut |_| Ok(())))?;
        self.client.batch_execute("COMMIT")?;
        Ok(())
    }

    /// The keys of contents, and what was left to be done with them.
    fn open_vault(&mut self, target: &Target, files: Option<&Secret32>) -> Result<Arc<Vault>> {
        let terms = Terms::default();
        let own = crate::shred::key_store(&mut PgTx::new(self, &terms, &Vault::none()))?;
        let vault = match (files, &own) {
            (Some(files), _) => Vault::of_table(target, files)?,
            (None, None) => Vault::none(),
            (None, Some(_)) => return Err(Error::KeysMissing("no file key was given".into())),
        };
        self.client.batch_execute("BEGIN")?;
        let mut tx = PgTx::new(self, &terms, &vault);
        match crate::shred::at_start(&mut tx, own.as_deref()) {
            Ok(()) => self.client.batch_execute("COMMIT")?,
            Err(error) => {
                self.client.batch_execute("ROLLBACK")?;
                return Err(error);
            }
        }
        Ok(vault)
    }
}

/// As PostgreSQL takes it: 0 is no limit.
fn millis(limit: Option<Duration>) -> u128 {
    limit.map_or(0, |limit| limit.as_millis())
}

/// Not SQL: has [PgTx::query] run its parameter as several statements.
const BATCH_MARK: &str = "-- batch";

/// Keeps a connection up; `None` when the store is closed.
fn connected<'c>(slot: &'c mut Option<Connection>, shared: &Shared) -> Option<&'c mut Connection> {
    if slot.as_ref().is_some_and(|c| c.client.is_closed()) {
        *slot = None;
    }
    while slot.is_none() {
        match Connection::open(&shared.target) {
            Ok(connection) => *slot = Some(connection),
            Err(error) => {
                tracing::warn!(%error, "no connection to PostgreSQL");
                if shared.stop.closed_within(RECONNECT) {
                    return None;
                }
            }
        }
    }
    slot.as_mut()
}

fn worker(shared: &Shared, queue: &Queue<Task>) {
    let mut slot = None;
    while let Some(task) = queue.pop() {
        let Some(connection) = connected(&mut slot, shared) else {
            fail(task, &Error::Closed);
            continue;
        };
        match task {
            Task::Write(task) => write(connection, shared, task),
            Task::Read(task) => {
                let limit = Some(crate::READ_LIMIT);
                match connection.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", limit) {
                    Ok(()) => {
                        let mut tx = PgTx::new(connection, &shared.terms, &shared.vault);
                        (tx.usual, tx.set) = (limit, limit);
                        task.run(&mut tx);
                    }
                    Err(error) => task.fail(error),
                }
                end(connection);
            }
            task @ (Task::Audit(..) | Task::Journal(_) | Task::Settle(_)) => fail(task, &Error::Closed),
        }
    }
}

/// Gives the transaction up; a connection on which even that fails is replaced at the next task.
fn end(connection: &mut Connection) {
    if let Err(error) = connection.client.batch_execute("ROLLBACK") {
        tracing::warn!(%error, "rollback failed");
    }
}

fn write(connection: &mut Connection, shared: &Shared, mut task: Box<dyn Write>) {
    for attempt in 0..MAX_TRIES {
        if let Err(error) = connection.begin("BEGIN", None) {
            return task.finish(Err(error));
        }
        let mut tx = PgTx::new(connection, &shared.terms, &shared.vault);
        let good = task.run(&mut tx);
        let (pending, wake, retry) = (std::mem::take(&mut tx.pending), tx.wake, tx.retry);
        let mut sealing = tx.sealing;
        if good && !retry {
            match connection.client.batch_execute("COMMIT").map_err(Error::from) {
                Ok(()) => {
                    if !pending.is_empty() {
                        shared.terms.add(pending);
                    }
                    if sealing.committed() {
                        let mut tx = PgTx::new(connection, &shared.terms, &shared.vault);
                        if let Err(error) = crate::shred::destroy_erased(&mut tx) {
                            tracing::error!(%error, "keys of erased patients could not be destroyed; it is tried again");
                        }
                    }
                    if wake {
                        shared.woken();
                    }
                    return task.finish(Ok(()));
                }
                Err(Error::Serialization) => {}
                Err(error) => {
                    if connection.client.is_closed() {
                        // Not Busy: nobody may take it for "nothing was written" without an idempotency key.
                        let text = format!(
                            "the connection was lost during commit, which may have happened: {error}"
                        );
                        return task.finish(Err(Error::Database(text)));
                    }
                    end(connection);
                    return task.finish(Err(error));
                }
            }
        }
        end(connection);
        if !retry && !good {
            return task.finish(Ok(()));
        }
        // Whoever was in the way gets time to end; the number of the try spreads those who wait together.
        std::thread::sleep(Duration::from_millis(u64::from(attempt * attempt)));
    }
    task.finish(Err(Error::Busy));
}

/// Appends the audit of reads, many in one commit.
fn auditor(shared: &Shared, queue: &Queue<Task>) {
    let mut slot = None;
    while let Some(first) = queue.pop() {
        let mut batch = vec![first];
        while batch.len() < MAX_AUDIT_BATCH {
            let Some(task) = queue.try_pop() else { break };
            batch.push(task);
        }
        let mut events = Vec::new();
        let mut replies = Vec::new();
        for task in batch {
            match task {
                Task::Audit(more, reply) => {
                    events.extend(more);
                    replies.push(reply);
                }
                other => fail(other, &Error::Closed),
            }
        }
        let outcome = match connected(&mut slot, shared) {
            Some(connection) => append(connection, shared, &events),
            None => Err(Error::Closed),
        };
        for reply in replies {
            reply(outcome.clone());
        }
    }
}

fn append(connection: &mut Connection, shared: &Shared, events: &[audit::Event]) -> Result<()> {
    connection.client.batch_execute("BEGIN")?;
    let mut tx = PgTx::new(connection, &shared.terms, &shared.vault);
    let result = audit::append(&mut tx, events);
    let pending = std::mem::take(&mut tx.pending);
    if let Err(error) = result {
        end(connection);
        return Err(error);
    }
    connection.client.batch_execute("COMMIT")?;
    shared.terms.add(pending);
    Ok(())
}

/// Tells the other servers, at most every 20 ms.
fn notifier(shared: &Shared) {
    let mut slot = None;
    while shared.notify.wait() {
        let Some(connection) = connected(&mut slot, shared) else { return };
        if let Err(error) = connection.client.batch_execute(&format!("NOTIFY {NOTIFY_CHANNEL}")) {
            tracing::warn!(%error, "a wake-up was not sent");
        }
        if shared.stop.closed_within(Duration::from_millis(20)) {
            return;
        }
    }
}

fn listener(shared: &Shared) {
    let mut slot = None;
    let mut listening = false;
    loop {
        if slot.as_ref().is_some_and(|c: &Connection| c.client.is_closed()) {
            listening = false;
        }
        let Some(connection) = connected(&mut slot, shared) else { return };
        if !listening {
            let both = format!("LISTEN {NOTIFY_CHANNEL}; LISTEN {}", crate::keys::CHANNEL);
            listening = connection.client.batch_execute(&both).is_ok();
            // Whatever was said while nobody listened.
            shared.vault.forget_all();
        }
        let heard = connection.client.notifications().timeout_iter(Duration::from_millis(500)).next();
        match heard {
            Ok(Some(heard)) if heard.channel() == crate::keys::CHANNEL => {
                let gone: Vec<u64> = heard.payload().split(',').filter_map(|n| n.parse().ok()).collect();
                shared.vault.forget(&gone);
            }
            Ok(Some(_)) => shared.wake.send_modify(|n| *n += 1),
            Ok(None) | Err(_) => {}
        }
        if shared.stop.closed_within(Duration::ZERO) {
            return;
        }
    }
}

struct PgTx<'c> {
    connection: &'c mut Connection,
    terms: &'c Terms,
    sealing: Sealing,
    pending: HashMap<String, i64>,
    /// This transaction holds its place in the order of changes: see [crate::dialect].
    in_order: bool,
    /// What is left of this transaction's block of audit numbers; see `next_audit_block()` in migration 25.
    audits: (i64, i64),
    /// It holds its place in the order of those; further blocks need no lock of their own.
    has_audits: bool,
    wake: bool,
    /// A statement met a serialization failure or a deadlock: whatever the closure makes of it, it runs again.
    retry: bool,
    /// What each query may take unless something else is said; what the server was told; when the last may start.
    usual: Option<Duration>,
    set: Option<Duration>,
    last: Option<Instant>,
}

impl<'c> PgTx<'c> {
    fn new(connection: &'c mut Connection, terms: &'c Terms, vault: &Arc<Vault>) -> PgTx<'c> {
        PgTx {
            connection,
            terms,
            sealing: Sealing::new(vault.clone()),
            pending: HashMap::new(),
            in_order: false,
            audits: (0, 0),
            has_audits: false,
            wake: false,
            retry: false,
            usual: None,
            set: None,
            last: None,
        }
    }

    fn statement(&mut self, sql: &str) -> Result<Statement> {
        if let Some(statement) = self.connection.statements.get(sql) {
            return Ok(statement.clone());
        }
        #[cfg(feature = "test-support")]
        crate::test_support::statements::seen(sql);
        let statement = self.connection.client.prepare(sql);
        let statement = statement.map_err(|e| self.note(e))?;
        if self.connection.statements.len() >= MAX_STATEMENTS {
            self.connection.statements.clear();
        }
        self.connection.statements.insert(sql.into(), statement.clone());
        Ok(statement)
    }

    /// What is left of a block of numbers.
    fn keep(&mut self, counter: Counter, block: (i64, i64)) {
        match counter {
            Counter::Row => self.connection.rows = block,
            Counter::Audit => (self.audits, self.has_audits) = (block, true),
            // Given one by one.
            Counter::Change => self.in_order = true,
        }
    }

    fn note(&mut self, error: ::postgres::Error) -> Error {
        let error = Error::from(error);
        self.retry |= error == Error::Serialization;
        error
    }
}

fn refs<'p>(params: &'p [Param<'p>]) -> Vec<&'p (dyn ::postgres::types::ToSql + Sync)> {
    params.iter().map(|p| p as &(dyn ::postgres::types::ToSql + Sync)).collect()
}

impl Tx for PgTx<'_> {
    fn dialect(&self) -> Dialect {
        Dialect::Postgres
    }

    fn execute(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64> {
        if params.is_empty() {
            if sql.starts_with("ROLLBACK TO") {
                self.pending.clear();
                self.sealing.undo();
                // A lock that was taken since the savepoint went with it.
                self.in_order = false;
                (self.audits, self.has_audits) = ((0, 0), false);
            }
            return self.connection.client.execute(sql, &[]).map_err(|e| self.note(e));
        }
        let statement = self.statement(sql)?;
        self.connection.client.execute(&statement, &refs(params)).map_err(|e| self.note(e))
    }

    fn query(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
        each: &mut dyn FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<()> {
        if let (BATCH_MARK, [Param::Text(text)]) = (sql, params) {
            return self.connection.client.batch_execute(text).map_err(|e| self.note(e));
        }
        if self.last.is_some_and(|last| Instant::now() >= last) {
            return Err(Error::TooCostly);
        }
        let statement = self.statement(sql)?;
        let rows = self.connection.client.query(&statement, &refs(params)).map_err(|e| self.note(e))?;
        for row in &rows {
            each(&Row { raw: Raw::Postgres(row), vault: &self.sealing.vault })?;
        }
        Ok(())
    }

    fn insert_many(&mut self, insert: &str, tail: &str, columns: usize, values: &[Param<'_>]) -> Result<u64> {
        let mut changed = 0;
        let mut rest = values;
        while !rest.is_empty() {
            // Powers of two, so that few statements serve every number of rows.
            let rows = (rest.len() / columns).min(MAX_ROWS);
            let rows = 1 << rows.ilog2();
            let (now, later) = rest.split_at(rows * columns);
            let mut sql = format!("{insert} VALUES ");
            for row in 0..rows {
                if row > 0 {
                    sql.push(',');
                }
                sql.push('(');
                sql.push_str(&crate::sql::placeholders(row * columns + 1, columns));
                sql.push(')');
            }
            sql.push(' ');
            sql.push_str(tail);
            changed += self.execute(&sql, now)?;
            rest = later;
        }
        Ok(changed)
    }

    fn next(&mut self, counter: Counter) -> Result<i64> {
        let sql = match counter {
            Counter::Row => "SELECT nextval('row_block')",
            Counter::Audit if self.has_audits => "SELECT nextval('audit_block')",
            Counter::Audit => "SELECT next_audit_block()",
            // The lock of the first number is below all that follow. A lock for each would fill the server's table
            // of locks, which all its transactions share.
            Counter::Change if self.in_order => "SELECT nextval('change_number')",
            Counter::Change => "SELECT next_change()",
        };
        let left = match counter {
            Counter::Row => self.connection.rows,
            Counter::Audit => self.audits,
            Counter::Change => (0, 0),
        };
        if left.0 < left.1 {
            self.keep(counter, (left.0 + 1, left.1));
            return Ok(left.0);
        }
        let tx: &mut dyn Tx = self;
        let number = tx.one(sql, &[], |row| row.int(0))?.ok_or_else(|| Error::Corrupt("sequence".into()))?;
        self.keep(counter, (number + 1, number + NUMBERS));
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
        let find = "SELECT id FROM term WHERE text = $1";
        let mut number = tx.one(find, &[text.into()], |row| row.int(0))?;
        if number.is_none() && create {
            let insert = "INSERT INTO term (text) VALUES ($1) ON CONFLICT DO NOTHING RETURNING id";
            number = tx.one(insert, &[text.into()], |row| row.int(0))?;
            if number.is_none() {
                // Another transaction made it meanwhile and has committed.
                number = tx.one(find, &[text.into()], |row| row.int(0))?;
            }
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
        let tx: &mut dyn Tx = self;
        let sql = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)";
        tx.one(sql, &[], |row| row.time(0))?.ok_or_else(|| Error::Corrupt("clock".into()))
    }

    fn conflict(&mut self) -> Error {
        self.retry = true;
        Error::Serialization
    }

    fn limit(&mut self, budget: Option<Duration>) -> Result<()> {
        self.last = budget.map(|budget| Instant::now() + budget);
        let wanted = budget.or(self.usual);
        if wanted != self.set {
            let sql = format!("SET LOCAL statement_timeout = {}", millis(wanted));
            self.connection.client.batch_execute(&sql).map_err(|e| self.note(e))?;
            self.set = wanted;
        }
        Ok(())
    }

    fn sealing(&mut self) -> &mut Sealing {
        &mut self.sealing
    }

    fn wake(&mut self) {
        self.wake = true;
    }
}
