//! Identities that an outside provider vouches for, and the sessions that came of them.

use crate::{Result, Tx, params};
use access::Role;
use jiff::Timestamp;

/// Identities of one account.
const MAX_IDENTITIES: i64 = 20;
/// Sessions that one word of a provider ends.
const MAX_SESSIONS: i64 = 1000;

#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    pub id: i64,
    /// The provider's own name, a URL; with `subject` it names one person for ever.
    pub issuer: String,
    pub subject: String,
    pub account: i64,
    /// Given by the provider at the last sign-in.
    pub roles: Vec<Role>,
    /// The administrator, or the person herself; `None`: the account was made for it.
    pub linked_by: Option<i64>,
    pub created: Timestamp,
    pub last_used: Option<Timestamp>,
}

fn read(row: &crate::Row<'_>) -> Result<Identity> {
    Ok(Identity {
        id: row.int(0)?,
        issuer: row.string(1)?,
        subject: row.string(2)?,
        account: row.int(3)?,
        roles: serde_json::from_str(row.text(4)?).map_err(|_| crate::Error::Corrupt("roles".into()))?,
        linked_by: row.opt_int(5)?,
        created: row.time(6)?,
        last_used: row.opt_time(7)?,
    })
}

const COLUMNS: &str = "id, issuer, subject, account, roles, linked_by, created_us, last_us";

/// Links a person of a provider to an account. Returns the row's id, `None` if she is linked to one already.
pub fn link(
    tx: &mut dyn Tx,
    issuer: &str,
    subject: &str,
    account: i64,
    linked_by: Option<i64>,
    now: Timestamp,
) -> Result<Option<i64>> {
    tx.one(
        "INSERT INTO outside_identity (issuer, subject, account, roles, linked_by, created_us) \
         VALUES ($1, $2, $3, '[]', $4, $5) ON CONFLICT DO NOTHING RETURNING id",
        params![issuer, subject, account, linked_by, now],
        |row| row.int(0),
    )
}

pub fn find(tx: &mut dyn Tx, issuer: &str, subject: &str) -> Result<Option<Identity>> {
    let sql = format!("SELECT {COLUMNS} FROM outside_identity WHERE issuer = $1 AND subject = $2");
    tx.one(&sql, params![issuer, subject], read)
}

/// Those of an account, oldest first.
pub fn of_account(tx: &mut dyn Tx, account: i64) -> Result<Vec<Identity>> {
    let sql = format!("SELECT {COLUMNS} FROM outside_identity WHERE account = $1 ORDER BY id LIMIT $2");
    tx.all(&sql, params![account, MAX_IDENTITIES], read)
}

/// How many people of a provider have an account here, and when one of them signed in last.
pub fn count(tx: &mut dyn Tx, issuer: &str) -> Result<(i64, Option<Timestamp>)> {
    let sql = "SELECT count(*), max(last_us) FROM outside_identity WHERE issuer = $1";
    let found = tx.one(sql, params![issuer], |row| Ok((row.int(0)?, row.opt_time(1)?)))?;
    Ok(found.unwrap_or_default())
}

/// Notes a sign-in and the roles that came with it.
pub fn used(tx: &mut dyn Tx, id: i64, roles: &[Role], now: Timestamp) -> Result<()> {
    let roles = serde_json::to_string(roles).map_err(|_| crate::Error::Invalid("roles"))?;
    tx.execute(
        "UPDATE outside_identity SET roles = $2, last_us = $3 WHERE id = $1",
        params![id, &roles, now],
    )?;
    Ok(())
}

/// Returns whether the account had it.
pub fn unlink(tx: &mut dyn Tx, account: i64, id: i64) -> Result<bool> {
    Ok(tx.execute("DELETE FROM outside_identity WHERE id = $1 AND account = $2", params![id, account])? == 1)
}

/// What a session came of.
#[derive(Debug, Clone, PartialEq)]
pub struct Came {
    pub issuer: String,
    pub subject: String,
    /// The provider's own session.
    pub sid: Option<String>,
    /// Its identity token, sealed: shown to it again when the person signs out.
    pub token: Vec<u8>,
    /// Of the session, at the latest.
    pub expires: Timestamp,
}

/// `session`: see [crate::session::Session::id].
pub fn begin_session(tx: &mut dyn Tx, account: i64, session: &[u8; 8], came: &Came) -> Result<()> {
    tx.execute(
        "INSERT INTO outside_session (account, begun_us, issuer, subject, sid, token, expires_us) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        params![
            account,
            i64::from_be_bytes(*session),
            &came.issuer,
            &came.subject,
            came.sid.as_ref(),
            &came.token,
            came.expires
        ],
    )?;
    Ok(())
}

pub fn session(tx: &mut dyn Tx, account: i64, session: &[u8; 8]) -> Result<Option<Came>> {
    tx.one(
        "SELECT issuer, subject, sid, token, expires_us FROM outside_session WHERE account = $1 AND begun_us = $2",
        params![account, i64::from_be_bytes(*session)],
        |row| {
            Ok(Came {
                issuer: row.string(0)?,
                subject: row.string(1)?,
                sid: row.opt_string(2)?,
                token: row.bytes(3)?.to_vec(),
                expires: row.time(4)?,
            })
        },
    )
}

/// Ends the sessions of a person of a provider, with `sid` only those of that session of the provider; without
/// `subject` those of `sid` whoever they are. Returns account and session of each.
pub fn end_sessions(
    tx: &mut dyn Tx,
    issuer: &str,
    subject: Option<&str>,
    sid: Option<&str>,
) -> Result<Vec<(i64, [u8; 8])>> {
    if subject.is_none() && sid.is_none() {
        return Ok(Vec::new());
    }
    let found = tx.all(
        "SELECT account, begun_us FROM outside_session WHERE issuer = $1 AND ($2 = '' OR subject = $2) \
         AND ($3 = '' OR sid = $3) LIMIT $4",
        params![issuer, subject.unwrap_or_default(), sid.unwrap_or_default(), MAX_SESSIONS],
        |row| Ok((row.int(0)?, row.int(1)?.to_be_bytes())),
    )?;
    for (account, session) in &found {
        crate::session::end_by_id(tx, *account, session)?;
        tx.execute(
            "DELETE FROM outside_session WHERE account = $1 AND begun_us = $2",
            params![*account, i64::from_be_bytes(*session)],
        )?;
    }
    Ok(found)
}

/// Notes what may be used once. Returns false if it was used before.
pub fn use_once(tx: &mut dyn Tx, hash: &[u8; 32], expires: Timestamp) -> Result<bool> {
    let sql = "INSERT INTO outside_used (hash, expires_us) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    Ok(tx.execute(sql, params![hash, expires])? == 1)
}

/// Removes what is over; returns how many rows.
pub fn prune(tx: &mut dyn Tx, now: Timestamp) -> Result<u64> {
    let used = tx.execute("DELETE FROM outside_used WHERE expires_us <= $1", params![now])?;
    Ok(used + tx.execute("DELETE FROM outside_session WHERE expires_us <= $1", params![now])?)
}
