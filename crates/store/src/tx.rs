//! One transaction, on whichever engine.

use crate::{Dialect, Result};
use jiff::Timestamp;
use std::time::Duration;

/// What one query of a read may take, unless [Tx::limit] says otherwise.
pub const READ_LIMIT: Duration = Duration::from_secs(5);

/// A bound value. Instants are microseconds since the epoch, UTC; booleans are 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Param<'a> {
    Null,
    Int(i64),
    Real(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
}

macro_rules! param_from {
    ($($t:ty),*) => {$(
        impl From<$t> for Param<'_> {
            fn from(value: $t) -> Self { Param::Int(i64::from(value)) }
        }
    )*};
}
param_from!(i64, i32, u32, u16, u8, bool);

impl From<f64> for Param<'_> {
    fn from(value: f64) -> Self {
        Param::Real(value)
    }
}
impl<'a> From<&'a str> for Param<'a> {
    fn from(value: &'a str) -> Self {
        Param::Text(value)
    }
}
impl<'a> From<&'a String> for Param<'a> {
    fn from(value: &'a String) -> Self {
        Param::Text(value)
    }
}
impl<'a> From<&'a [u8]> for Param<'a> {
    fn from(value: &'a [u8]) -> Self {
        Param::Bytes(value)
    }
}
impl<'a, const N: usize> From<&'a [u8; N]> for Param<'a> {
    fn from(value: &'a [u8; N]) -> Self {
        Param::Bytes(value)
    }
}
impl<'a> From<&'a Vec<u8>> for Param<'a> {
    fn from(value: &'a Vec<u8>) -> Self {
        Param::Bytes(value)
    }
}
impl<'a> From<&'a uuid::Uuid> for Param<'a> {
    fn from(value: &'a uuid::Uuid) -> Self {
        Param::Bytes(value.as_bytes())
    }
}
impl From<Timestamp> for Param<'_> {
    fn from(value: Timestamp) -> Self {
        Param::Int(value.as_microsecond())
    }
}
impl<'a, T> From<Option<T>> for Param<'a>
where
    Param<'a>: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Param::Null, Param::from)
    }
}

/// `params![a, b]` is `&[Param::from(a), Param::from(b)]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::Param::from($value)),*] };
}

/// Numbers given out in order. Gaps are normal; a number is never given twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Row ids of resources.
    Row,
    /// Numbers of audit rows.
    Audit,
    /// The change sequence. A reader that has seen number n never meets a smaller one later: SQLite gives the
    /// numbers on the one writer thread; PostgreSQL see [crate::dialect].
    Change,
}

/// A transaction. `$1` … placeholders on both engines; a number may be used more than once.
pub trait Tx {
    fn dialect(&self) -> Dialect;
    /// Runs one statement; returns the rows changed.
    fn execute(&mut self, sql: &str, params: &[Param<'_>]) -> Result<u64>;
    /// Runs one statement and hands each row to `each`; an error of `each` ends the query.
    fn query(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
        each: &mut dyn FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<()>;
    /// Inserts many rows: `insert` is `INSERT INTO table (a, b)`, `tail` e.g. `ON CONFLICT DO NOTHING` or empty,
    /// `values` holds `columns` values per row.
    fn insert_many(&mut self, insert: &str, tail: &str, columns: usize, values: &[Param<'_>]) -> Result<u64>;
    fn next(&mut self, counter: Counter) -> Result<i64>;
    /// The number that stands for a text that occurs over and over (code systems, units, topics). `None` only
    /// if `create` is false and the text was never stored.
    fn term(&mut self, text: &str, create: bool) -> Result<Option<i64>>;
    /// The text of a [Tx::term] number; "" for a number that is not there.
    fn term_text(&mut self, term: i64) -> Result<String>;
    /// The database's clock: one for all servers. Leases live by it.
    fn now(&mut self) -> Result<Timestamp>;
    /// For a race that only another try can settle: [crate::Store::write] runs the closure again, whatever it
    /// makes of the error.
    fn conflict(&mut self) -> crate::Error;
    /// From now on no query runs longer than this, and none starts after this time: [crate::Error::TooCostly]. `None` is
    /// what transactions begin with: [READ_LIMIT] for each query of [crate::Store::read], no limit in
    /// [crate::Store::write].
    fn limit(&mut self, budget: Option<Duration>) -> Result<()>;
    /// The keys that contents are sealed under.
    fn sealing(&mut self) -> &mut crate::keys::Sealing;
    /// Wakes workers on every server once this transaction has committed.
    fn wake(&mut self);
}

/// One row of a result; columns by position from 0.
pub struct Row<'a> {
    pub(crate) raw: Raw<'a>,
    /// What contents in it are opened with.
    pub(crate) vault: &'a crate::keys::Vault,
}

pub(crate) enum Raw<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a postgres::Row),
}

impl dyn Tx + '_ {
    /// The first row, read by `read`.
    pub fn one<R>(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<R>,
    ) -> Result<Option<R>> {
        let mut found = None;
        self.query(sql, params, &mut |row| {
            if found.is_none() {
                found = Some(read(row)?);
            }
            Ok(())
        })?;
        Ok(found)
    }

    /// All rows, read by `read`. Callers bound the number by `LIMIT`.
    pub fn all<R>(
        &mut self,
        sql: &str,
        params: &[Param<'_>],
        mut read: impl FnMut(&Row<'_>) -> Result<R>,
    ) -> Result<Vec<R>> {
        let mut rows = Vec::new();
        self.query(sql, params, &mut |row| {
            rows.push(read(row)?);
            Ok(())
        })?;
        Ok(rows)
    }
}

/// Runs `work` in a savepoint: what it wrote is undone if it fails, the transaction goes on.
/// Errors: of `work`, or of the engine.
pub fn savepoint<R, E: From<crate::Error>>(
    tx: &mut dyn Tx,
    work: impl FnOnce(&mut dyn Tx) -> std::result::Result<R, E>,
) -> std::result::Result<R, E> {
    tx.execute("SAVEPOINT inner_work", &[])?;
    match work(tx) {
        Ok(done) => {
            tx.execute("RELEASE SAVEPOINT inner_work", &[])?;
            Ok(done)
        }
        Err(error) => {
            tx.execute("ROLLBACK TO SAVEPOINT inner_work", &[])?;
            tx.execute("RELEASE SAVEPOINT inner_work", &[])?;
            Err(error)
        }
    }
}
