//! Sessions: only the SHA-256 of an opaque token is stored.

use crate::{Result, Tx, params};
use access::Factor;
use jiff::{SignedDuration, Timestamp};

/// Sessions of one account that [list] shows.
const MAX_LISTED: i64 = 100;
/// Other servers see within this time that sessions ended.
const HINTS: SignedDuration = SignedDuration::from_secs(15);

#[derive(Debug, Clone, PartialEq)]
pub struct NewSession {
    pub token_hash: [u8; 32],
    pub account: i64,
    pub created: Timestamp,
    /// Ends when nothing happens until then; slides.
    pub idle_expires: Timestamp,
    /// Ends at the latest.
    pub expires: Timestamp,
    pub facts: Facts,
}

/// How a session came to be, besides when.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// When `factors` were last shown.
    pub authenticated: Timestamp,
    pub factors: Vec<Factor>,
    /// When the person signed in; tokens are replaced since.
    pub begun: Timestamp,
    /// Name of the device for people, e.g. `Firefox, Android`.
    pub device: String,
    /// Address in text, as it was seen last.
    pub address: String,
    /// The clinic's shared device, see [crate::device].
    pub shared_device: Option<[u8; 32]>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Session {
    /// Names the session among those of its account, whatever its token: when it was begun.
    pub id: [u8; 8],
    pub account: i64,
    pub created: Timestamp,
    pub last_seen: Timestamp,
    pub idle_expires: Timestamp,
    pub expires: Timestamp,
    pub facts: Facts,
}

fn codes(factors: &[Factor]) -> String {
    factors.iter().map(|f| f.code()).collect::<Vec<_>>().join(",")
}

/// Sessions of one account that may be begun in the same microsecond.
const MAX_AT_ONCE: i64 = 1000;

/// Returns [Session::id].
pub fn insert(tx: &mut dyn Tx, new: &NewSession) -> Result<[u8; 8]> {
    let facts = &new.facts;
    // When it was begun names a session: of two at once one is begun a microsecond later.
    let mut begun = facts.begun.as_microsecond();
    let last = begun + MAX_AT_ONCE;
    let taken = "SELECT 1 FROM session WHERE account = $1 AND begun_us = $2";
    while begun < last && tx.one(taken, params![new.account, begun], |_| Ok(()))?.is_some() {
        begun += 1;
    }
    tx.execute(
        "INSERT INTO session (token_hash, account, created_us, last_seen_us, idle_us, expires_us, authenticated_us, \
         factors, begun_us, device, address, shared_device) VALUES ($1, $2, $3, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        params![
            &new.token_hash,
            new.account,
            new.created,
            new.idle_expires,
            new.expires,
            facts.authenticated,
            &codes(&facts.factors),
            begun,
            &facts.device,
            &facts.address,
            facts.shared_device.as_ref()
        ],
    )?;
    Ok(begun.to_be_bytes())
}

/// The session of account `$1` that [Session::id] `$2` names; those of an older program were begun when they were made.
const BY_ID: &str = "account = $1 AND (begun_us = $2 OR (begun_us = 0 AND created_us = $2))";

const COLUMNS: &str = "token_hash, account, created_us, last_seen_us, idle_us, expires_us, authenticated_us, factors, \
     begun_us, device, address, shared_device";

fn read(row: &crate::Row<'_>) -> Result<Session> {
    let corrupt = || crate::Error::Corrupt("session".into());
    let created = row.time(2)?;
    // Zero: opened by an older program.
    let or_created = |at: Timestamp| if at == Timestamp::UNIX_EPOCH { created } else { at };
    let begun = or_created(row.time(8)?);
    Ok(Session {
        id: begun.as_microsecond().to_be_bytes(),
        account: row.int(1)?,
        created,
        last_seen: row.time(3)?,
        idle_expires: row.time(4)?,
        expires: row.time(5)?,
        facts: Facts {
            authenticated: or_created(row.time(6)?),
            factors: row.text(7)?.split(',').filter_map(Factor::from_code).collect(),
            begun,
            device: row.string(9)?,
            address: row.string(10)?,
            shared_device: row.opt_bytes(11)?.map(|b| b.try_into().map_err(|_| corrupt())).transpose()?,
        },
    })
}

/// The live session of this token and its account, if the account is not disabled.
pub fn find(
    tx: &mut dyn Tx,
    token_hash: &[u8; 32],
    now: Timestamp,
) -> Result<Option<(Session, crate::account::Account)>> {
    let sql =
        format!("SELECT {COLUMNS} FROM session WHERE token_hash = $1 AND idle_us > $2 AND expires_us > $2");
    let Some(session) = tx.one(&sql, params![token_hash, now], read)? else { return Ok(None) };
    let account = crate::account::load(tx, session.account)?.filter(|account| !account.disabled);
    Ok(account.map(|account| (session, account)))
}

/// The live sessions of an account, last used first.
pub fn list(tx: &mut dyn Tx, account: i64, now: Timestamp) -> Result<Vec<Session>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM session WHERE account = $1 AND idle_us > $2 AND expires_us > $2 \
         ORDER BY last_seen_us DESC, token_hash LIMIT $3"
    );
    tx.all(&sql, params![account, now, MAX_LISTED], read)
}

/// Whether the account, not disabled, has a live session with this id.
pub fn is_alive(tx: &mut dyn Tx, account: i64, id: &[u8; 8], now: Timestamp) -> Result<bool> {
    let sql = format!("SELECT 1 FROM session WHERE {BY_ID} AND idle_us > $3 AND expires_us > $3");
    if tx.one(&sql, params![account, i64::from_be_bytes(*id), now], |_| Ok(()))?.is_none() {
        return Ok(false);
    }
    Ok(crate::account::load(tx, account)?.is_some_and(|a| !a.disabled))
}

/// Slides the idle limit; an empty `address` leaves the one that is there.
pub fn touch(
    tx: &mut dyn Tx,
    token_hash: &[u8; 32],
    now: Timestamp,
    idle_expires: Timestamp,
    address: &str,
) -> Result<()> {
    tx.execute(
        "UPDATE session SET last_seen_us = $2, idle_us = $3, \
         address = CASE WHEN $4 = '' THEN address ELSE $4 END WHERE token_hash = $1 AND idle_us > $2",
        params![token_hash, now, idle_expires, address],
    )?;
    Ok(())
}

/// The person showed these factors again. Returns whether there is such a session.
pub fn authenticated(
    tx: &mut dyn Tx,
    account: i64,
    id: &[u8; 8],
    now: Timestamp,
    factors: &[Factor],
) -> Result<bool> {
    let sql = format!("UPDATE session SET authenticated_us = $3, factors = $4 WHERE {BY_ID}");
    let changed = tx.execute(&sql, params![account, i64::from_be_bytes(*id), now, &codes(factors)])?;
    Ok(changed == 1)
}

/// Returns whether there was one.
pub fn end(tx: &mut dyn Tx, token_hash: &[u8; 32]) -> Result<bool> {
    let account =
        tx.one("DELETE FROM session WHERE token_hash = $1 RETURNING account", params![token_hash], |row| {
            row.int(0)
        })?;
    if let Some(account) = account {
        hint(tx, account)?;
    }
    Ok(account.is_some())
}

/// Ends the session with this id; returns whether there was one.
pub fn end_by_id(tx: &mut dyn Tx, account: i64, id: &[u8; 8]) -> Result<bool> {
    let sql = format!("DELETE FROM session WHERE {BY_ID}");
    let ended = tx.execute(&sql, params![account, i64::from_be_bytes(*id)])?;
    hint(tx, account)?;
    Ok(ended > 0)
}

/// Ends all sessions of an account but `keep`; returns how many.
pub fn end_all(tx: &mut dyn Tx, account: i64, keep: Option<&[u8; 32]>) -> Result<u64> {
    let ended = match keep {
        Some(keep) => {
            tx.execute("DELETE FROM session WHERE account = $1 AND token_hash <> $2", params![account, keep])?
        }
        None => tx.execute("DELETE FROM session WHERE account = $1", params![account])?,
    };
    // Also where there was none: open sockets of tokens look as well.
    hint(tx, account)?;
    Ok(ended)
}

/// Ends all sessions of an account but the one with this id; returns how many.
pub fn end_others(tx: &mut dyn Tx, account: i64, keep: &[u8; 8]) -> Result<u64> {
    let sql = format!("DELETE FROM session WHERE account = $1 AND NOT ({BY_ID})");
    let ended = tx.execute(&sql, params![account, i64::from_be_bytes(*keep)])?;
    hint(tx, account)?;
    Ok(ended)
}

/// Ends the sessions on a shared device; returns how many.
pub fn end_on_device(tx: &mut dyn Tx, device: &[u8; 32]) -> Result<u64> {
    let accounts =
        tx.all("DELETE FROM session WHERE shared_device = $1 RETURNING account", params![device], |row| {
            row.int(0)
        })?;
    for account in &accounts {
        hint(tx, *account)?;
    }
    Ok(accounts.len() as u64)
}

fn hint(tx: &mut dyn Tx, account: i64) -> Result<()> {
    let now = tx.now()?;
    tx.execute("INSERT INTO session_end (account, at_us) VALUES ($1, $2)", params![account, now])?;
    Ok(())
}

/// Accounts some session of which ended lately, by the database's clock.
pub fn ended_lately(tx: &mut dyn Tx) -> Result<Vec<i64>> {
    let since = tx.now()?.checked_sub(HINTS).unwrap_or(Timestamp::MIN);
    tx.all("SELECT DISTINCT account FROM session_end WHERE at_us > $1 LIMIT 10000", params![since], |row| {
        row.int(0)
    })
}

/// Removes sessions that are over; returns how many.
pub fn prune(tx: &mut dyn Tx, now: Timestamp) -> Result<u64> {
    let before = tx.now()?.checked_sub(HINTS + HINTS).unwrap_or(Timestamp::MIN);
    tx.execute("DELETE FROM session_end WHERE at_us < $1", params![before])?;
    tx.execute("DELETE FROM session WHERE idle_us <= $1 OR expires_us <= $1", params![now])
}
