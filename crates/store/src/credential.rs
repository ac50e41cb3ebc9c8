//! Where failed tries came from, and where an account was signed in to before.

use crate::{Result, Tx, params};
use jiff::{SignedDuration, Timestamp};

/// Origins remembered of one account; the ones used longest ago are forgotten first.
const MAX_ORIGINS: i64 = 20;

/// Failed tries on one account from one kind of place.
#[derive(Debug, Clone, PartialEq)]
pub struct Failures {
    pub failures: u32,
    pub last: Timestamp,
    /// No try before this instant.
    pub free_at: Timestamp,
}

pub fn failures(tx: &mut dyn Tx, account: i64, source: &[u8]) -> Result<Option<Failures>> {
    tx.one(
        "SELECT failures, last_us, free_us FROM login_failure WHERE account = $1 AND source = $2",
        params![account, source],
        |row| Ok(Failures { failures: row.int(0)? as u32, last: row.time(1)?, free_at: row.time(2)? }),
    )
}

/// Counts a failure: of one more than `free` in a row, the next try must wait twice as long each time, up to
/// `longest`. A series is forgotten after `forget` without a failure. Returns how many there are.
pub fn failed(
    tx: &mut dyn Tx,
    account: i64,
    source: &[u8],
    now: Timestamp,
    (free, longest, forget): (u32, SignedDuration, SignedDuration),
) -> Result<u32> {
    crate::lock::take(tx, crate::lock::number(&format!("login_failure/{account}")))?;
    let before = failures(tx, account, source)?.filter(|f| now.duration_since(f.last) <= forget);
    let failures = before.map_or(0, |f| f.failures).saturating_add(1);
    let wait = match failures.checked_sub(free) {
        None => SignedDuration::ZERO,
        Some(over) => {
            SignedDuration::from_secs(1_i64.checked_shl(over.min(40)).unwrap_or(i64::MAX)).min(longest)
        }
    };
    let free_at = now.checked_add(wait).unwrap_or(now);
    tx.execute(
        "INSERT INTO login_failure (account, source, failures, last_us, free_us) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (account, source) DO UPDATE SET failures = excluded.failures, last_us = excluded.last_us, \
         free_us = excluded.free_us",
        params![account, source, failures, now, free_at],
    )?;
    Ok(failures)
}

/// Accounts with `free` failures in a row or more from some kind of place, the last of them after `since`: how many,
/// when the last was, and until when the next try must wait. Those with most come first.
pub fn guessed(tx: &mut dyn Tx, since: Timestamp, free: u32, limit: u32) -> Result<Vec<(i64, Failures)>> {
    tx.all(
        "SELECT account, max(failures), max(last_us), max(free_us) FROM login_failure \
         WHERE last_us > $1 AND failures >= $2 GROUP BY account ORDER BY max(failures) DESC, account LIMIT $3",
        params![since, free, i64::from(limit)],
        |row| {
            let failures = u32::try_from(row.int(1)?).unwrap_or(u32::MAX);
            Ok((row.int(0)?, Failures { failures, last: row.time(2)?, free_at: row.time(3)? }))
        },
    )
}

/// The person signed in from there.
pub fn clear_failures(tx: &mut dyn Tx, account: i64, source: &[u8]) -> Result<()> {
    tx.execute("DELETE FROM login_failure WHERE account = $1 AND source = $2", params![account, source])?;
    Ok(())
}

/// Whether the account was signed in to from there since `since`.
pub fn is_known_origin(tx: &mut dyn Tx, account: i64, origin: &[u8; 32], since: Timestamp) -> Result<bool> {
    let sql = "SELECT 1 FROM known_origin WHERE account = $1 AND origin = $2 AND last_us >= $3";
    Ok(tx.one(sql, params![account, origin, since], |_| Ok(()))?.is_some())
}

/// Remembers where an account was signed in from. Returns whether it was new, and whether it was the first of all.
pub fn remember_origin(
    tx: &mut dyn Tx,
    account: i64,
    origin: &[u8; 32],
    now: Timestamp,
) -> Result<(bool, bool)> {
    let count = "SELECT count(*) FROM known_origin WHERE account = $1";
    let before = tx.one(count, params![account], |row| row.int(0))?.unwrap_or(0);
    tx.execute(
        "INSERT INTO known_origin (account, origin, first_us, last_us) VALUES ($1, $2, $3, $3) \
         ON CONFLICT (account, origin) DO UPDATE SET last_us = excluded.last_us",
        params![account, origin, now],
    )?;
    let after = tx.one(count, params![account], |row| row.int(0))?.unwrap_or(0);
    if after > MAX_ORIGINS {
        tx.execute(
            "DELETE FROM known_origin WHERE account = $1 AND origin NOT IN \
             (SELECT origin FROM known_origin WHERE account = $1 ORDER BY last_us DESC, origin LIMIT $2)",
            params![account, MAX_ORIGINS],
        )?;
    }
    Ok((after > before, before == 0))
}

/// The password was reset: nobody may rest on having been there before.
pub fn forget_origins(tx: &mut dyn Tx, account: i64) -> Result<()> {
    tx.execute("DELETE FROM known_origin WHERE account = $1", params![account])?;
    Ok(())
}

/// Removes what is of no use any more; returns how many rows.
pub fn prune(tx: &mut dyn Tx, failures_before: Timestamp, origins_before: Timestamp) -> Result<u64> {
    Ok(tx
        .execute("DELETE FROM login_failure WHERE last_us < $1 AND free_us < $1", params![failures_before])?
        + tx.execute("DELETE FROM known_origin WHERE last_us < $1", params![origins_before])?)
}
