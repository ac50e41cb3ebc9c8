//! One transaction, and the numbers it gives out.

use super::connection::Timed;
use crate::engine::terms::Terms;
use crate::keys::Sealing;
use crate::tx::Raw;
use crate::{Counter, Dialect, Error, Param, Result, Row, Tx};
use jiff::Timestamp;
use rusqlite::Connection;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Numbers a crash may waste.
const COUNTER_BLOCK: i64 = 4096;

pub(super) const COUNTER_NAMES: [&str; 3] = ["row", "audit", "change"];

/// Numbers live in memory; the table holds a bound above all numbers of committed transactions.
pub(super) struct Counters {
    pub next: [i64; 3],
    pub saved: [i64; 3],
}

impl Counters {
    /// Raises the bounds in the table, in the transaction that is about to be committed.
    pub fn save(&mut self, connection: &Connection) -> Result<()> {
        for (n, name) in COUNTER_NAMES.iter().enumerate() {
            if self.next[n] > self.saved[n] {
                let bound = self.next[n] + COUNTER_BLOCK;
                let mut statement = connection.prepare_cached(
                    "INSERT INTO counter (name, next) VALUES (?1, ?2) \
                     ON CONFLICT (name) DO UPDATE SET next = excluded.next",
                )?;
                statement.execute((name, bound))?;
                drop(statement);
                self.saved[n] = bound;
            }
        }
        Ok(())
    }
}

impl Default for Counters {
    fn default() -> Counters {
        Counters { next: [1; 3], saved: [1; 3] }
    }
}

/// SQL with `$1` → the same with `?1`: SQLite takes `$1` for a name and numbers names by first appearance.
pub(super) type Texts = HashMap<Box<str>, Box<str>>;
const MAX_TEXTS: usize = 2000;

fn numbered<'t>(texts: &'t mut Texts, sql: &str) -> &'t str {
    if !texts.contains_key(sql) {
        #[cfg(feature = "test-support")]
        crate::test_support::statements::seen(sql);
        if texts.len() >= MAX_TEXTS {
            texts.clear();
        }
        texts.insert(sql.into(), sql.replace('$', "?").into());
    }
    texts.get(sql).map_or("", |text| text)
}

pub(super) struct SqliteTx<'c> {
    pub connection: &'c Connection,
    counters: &'c mut Counters,
    terms: &'c Terms,
    texts: &'c mut Texts,
    sealing: &'c mut Sealing,
    /// Terms this transaction made or looked up.
    pub pending: HashMap<String, i64>,
    pub wake: bool,
    /// What each query may take, and when the last may start.
    pub limit: (Option<Duration>, Option<Instant>),
    pub usual: Option<Duration>,
    /// A statement found the disk full, whatever the closure makes of it.
    pub is_full: bool,
    /// The connection cannot read the file any more; see [super::connection].
    pub is_lost: bool,
}

impl<'c> SqliteTx<'c> {
    pub fn new(
        connection: &'c Connection,
        counters: &'c mut Counters,
        terms: &'c Terms,
        texts: &'c mut Texts,
        sealing: &'c mut Sealing,
    ) -> SqliteTx<'c> {
        SqliteTx {
            connection,
            counters,
            terms,
            texts,
            sealing,
            pending: HashMap::new(),
            wake: false,
            limit: (None, None),
            usual: None,
            is_full: false,
            is_lost: false,
        }
    }

    fn changed(&mut self, sql: &str, values: &[Param<'_>], columns: usize) -> Result<u64> {
        let changed = self.change(sql, values, columns);
        self.is_lost |= changed == Err(Error::WrongKey);
        changed
    }

    fn change(&mut self, sql: &str, values: &[Param<'_>], columns: usize) -> Result<u64> {
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
            self.sealing.undo();
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
        let (connection, vault) = (self.connection, &*self.sealing.vault);
        let text = numbered(self.texts, sql);
        let done = (|| -> Result<()> {
            let mut statement = connection.prepare_cached(text)?;
            bind(&mut statement, params)?;
            let _timed = Timed::until(end);
            let mut rows = statement.raw_query();
            while let Some(row) = rows.next()? {
                each(&Row { raw: Raw::Sqlite(row), vault })?;
            }
            Ok(())
        })();
        self.is_lost |= done == Err(Error::WrongKey);
        done
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

    fn sealing(&mut self) -> &mut Sealing {
        self.sealing
    }

    fn wake(&mut self) {
        self.wake = true;
    }
}
