//! A repeated request with the same key gets the first reply again.

use crate::{Result, Tx, params};
use jiff::{SignedDuration, Timestamp};

/// Keys are kept at least this long: an offline client may come back after months.
pub const KEEP: SignedDuration = SignedDuration::from_hours(180 * 24);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begin {
    /// First time: do the work, then [finish] in the same transaction.
    New,
    /// The reply that was sent then.
    Replay { status: u16, body: Vec<u8> },
    /// The key was used for another request.
    Mismatch,
}

/// Claims the key. On PostgreSQL a second transaction with the same key waits here until the first has ended.
/// `principal` is whose key it is, e.g. `account/7`; `request_hash` the SHA-256 of method, path and body.
pub fn begin(
    tx: &mut dyn Tx,
    principal: &str,
    key: &str,
    request_hash: &[u8; 32],
    now: Timestamp,
) -> Result<Begin> {
    let new = tx.execute(
        "INSERT INTO idempotency (principal, key, request_hash, created_us) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        params![principal, key, request_hash, now],
    )?;
    if new == 1 {
        return Ok(Begin::New);
    }
    let found = tx.one(
        "SELECT request_hash, status, body FROM idempotency WHERE principal = $1 AND key = $2",
        params![principal, key],
        |row| {
            let same = row.bytes(0)? == request_hash;
            Ok((same, row.opt_int(1)?, row.opt_bytes(2)?.unwrap_or_default().to_vec()))
        },
    )?;
    match found {
        Some((false, ..)) => Ok(Begin::Mismatch),
        Some((true, Some(status), body)) => Ok(Begin::Replay { status: status as u16, body }),
        // The first transaction never finished its reply, or was pruned just now.
        _ => Err(tx.conflict()),
    }
}

/// Keeps the reply of a key claimed by [begin] in this transaction.
pub fn finish(tx: &mut dyn Tx, principal: &str, key: &str, status: u16, body: &[u8]) -> Result<()> {
    tx.execute(
        "UPDATE idempotency SET status = $3, body = $4 WHERE principal = $1 AND key = $2",
        params![principal, key, status, body],
    )?;
    Ok(())
}

/// Removes up to 1,000 keys older than [KEEP]; returns how many.
pub fn prune(tx: &mut dyn Tx, now: Timestamp) -> Result<u64> {
    let before = now.checked_sub(KEEP).unwrap_or(Timestamp::MIN);
    tx.execute(
        "DELETE FROM idempotency WHERE created_us < $1 AND (principal, key) IN \
         (SELECT principal, key FROM idempotency WHERE created_us < $1 LIMIT 1000)",
        params![before],
    )
}
