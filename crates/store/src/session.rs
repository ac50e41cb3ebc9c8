//! Sessions: only the SHA-256 of an opaque token is stored.

use crate::{Result, Tx, params};
use jiff::Timestamp;

#[derive(Debug, Clone, PartialEq)]
pub struct NewSession {
    pub token_hash: [u8; 32],
    pub account: i64,
    pub created: Timestamp,
    /// Ends when nothing happens until then; slides.
    pub idle_expires: Timestamp,
    /// Ends at the latest.
    pub expires: Timestamp,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    pub account: i64,
    pub created: Timestamp,
    pub last_seen: Timestamp,
    pub idle_expires: Timestamp,
    pub expires: Timestamp,
}

pub fn insert(tx: &mut dyn Tx, new: &NewSession) -> Result<()> {
    tx.execute(
        "INSERT INTO session (token_hash, account, created_us, last_seen_us, idle_us, expires_us) \
         VALUES ($1, $2, $3, $3, $4, $5)",
        params![&new.token_hash, new.account, new.created, new.idle_expires, new.expires],
    )?;
    Ok(())
}

/// The live session of this token and its account, if the account is not disabled.
pub fn find(
    tx: &mut dyn Tx,
    token_hash: &[u8; 32],
    now: Timestamp,
) -> Result<Option<(Session, crate::account::Account)>> {
    let session = tx.one(
        "SELECT account, created_us, last_seen_us, idle_us, expires_us FROM session \
         WHERE token_hash = $1 AND idle_us > $2 AND expires_us > $2",
        params![token_hash, now],
        |row| {
            Ok(Session {
                account: row.int(0)?,
                created: row.time(1)?,
                last_seen: row.time(2)?,
                idle_expires: row.time(3)?,
                expires: row.time(4)?,
            })
        },
    )?;
    let Some(session) = session else { return Ok(None) };
    let account = crate::account::load(tx, session.account)?.filter(|account| !account.disabled);
    Ok(account.map(|account| (session, account)))
}

/// Slides the idle limit.
pub fn touch(tx: &mut dyn Tx, token_hash: &[u8; 32], now: Timestamp, idle_expires: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE session SET last_seen_us = $2, idle_us = $3 WHERE token_hash = $1 AND idle_us > $2",
        params![token_hash, now, idle_expires],
    )?;
    Ok(())
}

/// Returns whether there was one.
pub fn end(tx: &mut dyn Tx, token_hash: &[u8; 32]) -> Result<bool> {
    Ok(tx.execute("DELETE FROM session WHERE token_hash = $1", params![token_hash])? == 1)
}

/// Ends all sessions of an account but `keep`; returns how many.
pub fn end_all(tx: &mut dyn Tx, account: i64, keep: Option<&[u8; 32]>) -> Result<u64> {
    match keep {
        Some(keep) => {
            tx.execute("DELETE FROM session WHERE account = $1 AND token_hash <> $2", params![account, keep])
        }
        None => tx.execute("DELETE FROM session WHERE account = $1", params![account]),
    }
}

/// Removes sessions that are over; returns how many.
pub fn prune(tx: &mut dyn Tx, now: Timestamp) -> Result<u64> {
    tx.execute("DELETE FROM session WHERE idle_us <= $1 OR expires_us <= $1", params![now])
}
