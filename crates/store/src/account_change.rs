//! Changes of accounts and applications that need a second person, and what became of them.

use crate::{Error, Result, Tx, params};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

/// One change, settled or waiting.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub id: Uuid,
    pub at: Timestamp,
    /// Who asked for it.
    pub account: i64,
    /// Whose account it is about; `None` for one that is still to be made, and for applications.
    pub target: Option<i64>,
    /// Id of the application it is about; `None` for one that is still to be registered, and for accounts.
    pub client: Option<String>,
    /// e.g. `roles`
    pub act: String,
    /// For the history.
    pub summary: Value,
    /// All of it, sealed; `None` once nobody needs it.
    pub payload: Option<Vec<u8>>,
    pub reason: String,
    pub state: State,
    /// Nobody can agree to it, or fetch what came of it, from then on.
    pub expires: Timestamp,
    /// From then on who asked may carry it out herself, if there is still nobody else.
    pub alone: Option<Timestamp>,
    /// Who asked may fetch a link or a password once.
    pub collect: bool,
    /// When and by whom.
    pub decided: Option<(Timestamp, i64)>,
    /// What the second person said.
    pub note: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// For a second person.
    Waiting,
    Agreed,
    /// Also: taken back by who asked.
    Refused,
    /// Nobody decided in time.
    Expired,
    /// There was nobody else who could have agreed.
    Alone,
}

impl State {
    const ALL: [State; 5] = [State::Waiting, State::Agreed, State::Refused, State::Expired, State::Alone];

    pub fn code(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Agreed => "agreed",
            State::Refused => "refused",
            State::Expired => "expired",
            State::Alone => "alone",
        }
    }
    fn from_code(code: &str) -> Option<State> {
        State::ALL.into_iter().find(|state| state.code() == code)
    }
}

/// How one that waits is settled.
#[derive(Debug, Clone, PartialEq)]
pub struct Settled {
    pub state: State,
    pub by: i64,
    pub at: Timestamp,
    pub note: String,
    /// Until when who asked may fetch what came of it; `None`: there is nothing to fetch.
    pub collect_until: Option<Timestamp>,
}

const COLUMNS: &str = "id, at_us, account, target, act, summary, payload, reason, state, expires_us, alone_us, collect, \
                       decided_us, decided_by, note, client";
/// Most rows of one list.
const MAX_ROWS: i64 = 500;

fn bad() -> Error {
    Error::Corrupt("account change".into())
}

fn read(row: &crate::Row<'_>) -> Result<Change> {
    Ok(Change {
        id: Uuid::from_slice(row.bytes(0)?).map_err(|_| bad())?,
        at: row.time(1)?,
        account: row.int(2)?,
        target: row.opt_int(3)?,
        act: row.string(4)?,
        summary: serde_json::from_str(row.text(5)?).map_err(|_| bad())?,
        payload: row.opt_bytes(6)?.map(<[u8]>::to_vec),
        reason: row.string(7)?,
        state: State::from_code(row.text(8)?).ok_or_else(bad)?,
        expires: row.time(9)?,
        alone: row.opt_time(10)?,
        collect: row.bool(11)?,
        decided: row.opt_time(12)?.zip(row.opt_int(13)?),
        note: row.opt_string(14)?.unwrap_or_default(),
        client: row.opt_string(15)?,
    })
}

pub fn insert(tx: &mut dyn Tx, new: &Change) -> Result<()> {
    tx.execute(
        &format!(
            "INSERT INTO account_change ({COLUMNS}) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
        ),
        params![
            &new.id,
            new.at,
            new.account,
            new.target,
            &new.act,
            &new.summary.to_string(),
            new.payload.as_ref(),
            &new.reason,
            new.state.code(),
            new.expires,
            new.alone,
            new.collect,
            new.decided.map(|(at, _)| at),
            new.decided.map(|(_, by)| by),
            &new.note,
            new.client.as_ref()
        ],
    )?;
    Ok(())
}

pub fn load(tx: &mut dyn Tx, id: &Uuid) -> Result<Option<Change>> {
    tx.one(&format!("SELECT {COLUMNS} FROM account_change WHERE id = $1"), params![id], read)
}

/// Newest first.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<Change>> {
    tx.all(
        &format!("SELECT {COLUMNS} FROM account_change ORDER BY at_us DESC, id LIMIT {MAX_ROWS}"),
        &[],
        read,
    )
}

/// Those that still wait at `now`, oldest first.
pub fn waiting(tx: &mut dyn Tx, now: Timestamp) -> Result<Vec<Change>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM account_change WHERE state = 'waiting' AND expires_us > $1 \
         ORDER BY at_us, id LIMIT {MAX_ROWS}"
    );
    tx.all(&sql, params![now], read)
}

/// Settles one that waits. `false`: it does not wait any more.
pub fn settle(tx: &mut dyn Tx, id: &Uuid, settled: &Settled) -> Result<bool> {
    let keeps = settled.collect_until.is_some();
    let done = tx.execute(
        "UPDATE account_change SET state = $2, decided_us = $3, decided_by = $4, note = $5, collect = $6, \
         expires_us = CASE WHEN $6 = 1 THEN $7 ELSE expires_us END, \
         payload = CASE WHEN $6 = 1 THEN payload ELSE NULL END \
         WHERE id = $1 AND state = 'waiting' AND expires_us > $3",
        params![
            id,
            settled.state.code(),
            settled.at,
            settled.by,
            &settled.note,
            i64::from(keeps),
            settled.collect_until.unwrap_or(settled.at)
        ],
    )?;
    Ok(done == 1)
}

/// Whose account was made by it.
pub fn made(tx: &mut dyn Tx, id: &Uuid, account: i64) -> Result<()> {
    tx.execute("UPDATE account_change SET target = $2 WHERE id = $1", params![id, account])?;
    Ok(())
}

/// Which application was registered by it.
pub fn registered(tx: &mut dyn Tx, id: &Uuid, client: &str) -> Result<()> {
    tx.execute("UPDATE account_change SET client = $2 WHERE id = $1", params![id, client])?;
    Ok(())
}

/// What came of it is fetched, once. `false`: there is nothing to fetch, or not any more.
pub fn collected(tx: &mut dyn Tx, id: &Uuid, now: Timestamp) -> Result<bool> {
    let done = tx.execute(
        "UPDATE account_change SET collect = 0, payload = NULL WHERE id = $1 AND collect = 1 AND expires_us > $2",
        params![id, now],
    )?;
    Ok(done == 1)
}

/// Settles those on which nobody decided in time and forgets what they hold; returns them.
pub fn expire(tx: &mut dyn Tx, now: Timestamp) -> Result<Vec<Change>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM account_change WHERE expires_us <= $1 AND (state = 'waiting' OR collect = 1) \
         LIMIT {MAX_ROWS}"
    );
    let over = tx.all(&sql, params![now], read)?;
    for one in &over {
        let state = if one.state == State::Waiting { State::Expired } else { one.state };
        tx.execute(
            "UPDATE account_change SET state = $2, payload = NULL, collect = 0 WHERE id = $1",
            params![&one.id, state.code()],
        )?;
    }
    Ok(over)
}

/// Somebody could agree to changes until now.
pub fn decider_left(tx: &mut dyn Tx, account: i64, now: Timestamp) -> Result<()> {
    tx.execute(
        "INSERT INTO decider_left (account, at_us) VALUES ($1, $2) \
         ON CONFLICT (account) DO UPDATE SET at_us = excluded.at_us",
        params![account, now],
    )?;
    Ok(())
}

/// When the last of those left who could agree, but for `except`; `None` if none did since `since`.
pub fn last_left(tx: &mut dyn Tx, since: Timestamp, except: i64) -> Result<Option<Timestamp>> {
    let sql = "SELECT at_us FROM decider_left WHERE at_us > $1 AND account <> $2 ORDER BY at_us DESC LIMIT 1";
    tx.one(sql, params![since, except], |row| row.time(0))
}
