//! How far audit events have been taken to a second place, row by row.

use crate::{Result, Tx, params};
use jiff::Timestamp;

/// How it stands with one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feed {
    /// `fhir` or `syslog`.
    pub place: String,
    /// Number of the last row that arrived; rows are taken in the order of their numbers.
    pub last: i64,
    /// Events that arrived since the beginning.
    pub sent: i64,
    pub at: Timestamp,
    /// What went wrong the last time, if it did, and when.
    pub failed: Option<(String, Timestamp)>,
}

/// How it stands with `place`; `None` before the first try.
pub fn standing(tx: &mut dyn Tx, place: &str) -> Result<Option<Feed>> {
    let sql = "SELECT last_seq, sent, at_us, failed_us, error FROM audit_feed WHERE place = $1";
    tx.one(sql, params![place], |row| {
        let failed = match (row.opt_string(4)?, row.opt_time(3)?) {
            (Some(error), Some(at)) => Some((error, at)),
            _ => None,
        };
        Ok(Feed { place: place.to_owned(), last: row.int(0)?, sent: row.int(1)?, at: row.time(2)?, failed })
    })
}

/// Begins behind row `last`, unless it has begun.
pub fn begin(tx: &mut dyn Tx, place: &str, last: i64, at: Timestamp) -> Result<()> {
    tx.execute(
        "INSERT INTO audit_feed (place, last_seq, sent, at_us) VALUES ($1, $2, 0, $3) ON CONFLICT DO NOTHING",
        params![place, last, at],
    )?;
    Ok(())
}

/// Notes that `events` events of the rows behind `from` up to `to` arrived. Returns false if another server was first.
pub fn arrived(
    tx: &mut dyn Tx,
    place: &str,
    (from, to): (i64, i64),
    events: i64,
    at: Timestamp,
) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE audit_feed SET last_seq = $3, sent = sent + $4, at_us = $5, failed_us = NULL, error = NULL \
         WHERE place = $1 AND last_seq = $2",
        params![place, from, to, events, at],
    )?;
    Ok(changed == 1)
}

/// Notes why the last try failed.
pub fn failed(tx: &mut dyn Tx, place: &str, error: &str, at: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE audit_feed SET failed_us = $2, error = $3 WHERE place = $1",
        params![place, at, error],
    )?;
    Ok(())
}

/// Numbers of the rows behind `after` up to `until`, in their order.
pub fn behind(tx: &mut dyn Tx, after: i64, until: i64, limit: u32) -> Result<Vec<i64>> {
    tx.all(
        "SELECT seq FROM audit WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3",
        params![after, until, limit],
        |row| row.int(0),
    )
}
