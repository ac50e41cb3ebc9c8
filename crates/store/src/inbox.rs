//! Raw messages from outside, stored before they are acknowledged, worked on afterwards, once each.

use crate::keys::blind;
use crate::page::{Cursor, clamp};
use crate::{Page, Result, Tx, params};
use jiff::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    New,
    Done,
    /// Given up; staff must look at it.
    Dead,
}

impl State {
    fn number(self) -> i64 {
        match self {
            State::New => 0,
            State::Done => 1,
            State::Dead => 2,
        }
    }
    fn from_number(number: i64) -> State {
        match number {
            0 => State::New,
            1 => State::Done,
            _ => State::Dead,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub id: i64,
    pub source: String,
    pub key: String,
    pub body: Vec<u8>,
    pub state: State,
    pub attempts: u32,
    pub last_error: Option<String>,
    pub received: Timestamp,
    /// Fencing token of the lease.
    pub token: i64,
}

/// Stores a message of `source` (e.g. `mpesa.stk`) under a key that is the same for every copy of it.
/// Returns its id, or `None` for a copy.
pub fn receive(tx: &mut dyn Tx, source: &str, key: &str, body: &[u8], now: Timestamp) -> Result<Option<i64>> {
    // Who pays, calls or is examined stands in it.
    let sealed = std::str::from_utf8(body).ok().map(|text| blind::words(tx, BODY, text)).transpose()?;
    let body = sealed.as_ref().map_or(body, |text| text.as_bytes());
    let id = tx.one(
        "INSERT INTO inbox (source, key, body, state, attempts, due_us, token, received_us) \
         VALUES ($1, $2, $3, 0, 0, 0, 0, $4) ON CONFLICT DO NOTHING RETURNING id",
        params![source, key, body, now],
        |row| row.int(0),
    )?;
    tx.wake();
    Ok(id)
}

/// The message of `source` under this key.
pub fn load(tx: &mut dyn Tx, source: &str, key: &str) -> Result<Option<Item>> {
    tx.one(&format!("SELECT {COLUMNS} FROM inbox WHERE source = $1 AND key = $2"), params![source, key], read)
}

/// Takes up to `limit` new messages of `source` for `lease_ms`, oldest first.
pub fn lease(tx: &mut dyn Tx, source: &str, limit: u32, lease_ms: i64) -> Result<Vec<Item>> {
    let now = tx.now()?.as_microsecond();
    let sql = format!(
        "SELECT {COLUMNS} FROM inbox WHERE source = $1 AND state = 0 AND due_us <= $2 ORDER BY id LIMIT $3{}",
        tx.dialect().skip_locked()
    );
    let mut items = tx.all(&sql, params![source, now, i64::from(clamp(limit))], read)?;
    for item in &mut items {
        item.token += 1;
        item.attempts += 1;
        tx.execute(
            "UPDATE inbox SET token = $2, attempts = $3, due_us = $4 WHERE id = $1",
            params![item.id, item.token, item.attempts, now.saturating_add(lease_ms * 1000)],
        )?;
    }
    Ok(items)
}

/// Marks a leased message as worked on. Returns false if the lease was lost.
pub fn done(tx: &mut dyn Tx, id: i64, token: i64) -> Result<bool> {
    Ok(tx.execute(
        "UPDATE inbox SET state = 1, last_error = NULL WHERE id = $1 AND token = $2 AND state = 0",
        params![id, token],
    )? == 1)
}

/// Reports a failed try: again after `retry_ms`, or never (`None`). Returns false if the lease was lost.
pub fn failed(tx: &mut dyn Tx, id: i64, token: i64, error: &str, retry_ms: Option<i64>) -> Result<bool> {
    let due = tx.now()?.as_microsecond().saturating_add(retry_ms.unwrap_or(0) * 1000);
    let state = if retry_ms.is_some() { State::New } else { State::Dead };
    Ok(tx.execute(
        "UPDATE inbox SET state = $3, last_error = $4, due_us = $5 WHERE id = $1 AND token = $2 AND state = 0",
        params![id, token, state.number(), error, due],
    )? == 1)
}

/// Gives a dead message another chance. Returns whether it was dead.
pub fn replay(tx: &mut dyn Tx, id: i64) -> Result<bool> {
    let changed = tx.execute(
        "UPDATE inbox SET state = 0, attempts = 0, due_us = 0 WHERE id = $1 AND state = 2",
        params![id],
    )?;
    tx.wake();
    Ok(changed == 1)
}

/// Messages in this state, newest first.
pub fn list(tx: &mut dyn Tx, state: State, cursor: Option<&str>, limit: u32) -> Result<Page<Item>> {
    let (limit, start) = (clamp(limit), Cursor::newest_or(cursor)?);
    let rows = tx.all(
        &format!("SELECT {COLUMNS} FROM inbox WHERE state = $1 AND id < $2 ORDER BY id DESC LIMIT $3"),
        params![state.number(), start.number, i64::from(limit + 1)],
        read,
    )?;
    Ok(Page::cut(rows, limit, |item| Cursor { time_us: 0, number: item.id }))
}

const COLUMNS: &str = "id, source, key, body, state, attempts, last_error, received_us, token";

const BODY: &str = "inbox.body";

fn body(stored: &[u8], row: &crate::Row<'_>) -> Result<Vec<u8>> {
    match std::str::from_utf8(stored) {
        Ok(text) => Ok(blind::read(row.vault, BODY, text)?.into_bytes()),
        Err(_) => Ok(stored.to_vec()),
    }
}

fn read(row: &crate::Row<'_>) -> Result<Item> {
    Ok(Item {
        id: row.int(0)?,
        source: row.string(1)?,
        key: row.string(2)?,
        body: body(row.bytes(3)?, row)?,
        state: State::from_number(row.int(4)?),
        attempts: row.int(5)? as u32,
        last_error: row.opt_string(6)?,
        received: row.time(7)?,
        token: row.int(8)?,
    })
}
