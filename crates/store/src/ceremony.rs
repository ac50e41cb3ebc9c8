//! What is kept between two steps of signing in, and links that are used once. Ids only as SHA-256.

use crate::{Result, Tx, params};
use jiff::Timestamp;
use serde_json::Value;

/// A sign-in, a step-up or the making of a passkey that waits for its second step.
#[derive(Debug, Clone, PartialEq)]
pub struct Ceremony {
    pub id_hash: [u8; 32],
    /// e.g. `second-factor`.
    pub kind: String,
    pub account: Option<i64>,
    /// Tries so far.
    pub attempts: u32,
    pub expires: Timestamp,
    pub payload: Value,
}

pub fn begin(tx: &mut dyn Tx, new: &Ceremony) -> Result<()> {
    tx.execute(
        "INSERT INTO ceremony (id_hash, kind, account, attempts, expires_us, payload) VALUES ($1, $2, $3, 0, $4, $5)",
        params![&new.id_hash, &new.kind, new.account, new.expires, &new.payload.to_string()],
    )?;
    Ok(())
}

/// Counts a try and returns the ceremony, `None` if there is none of this kind that is still open.
pub fn attempt(
    tx: &mut dyn Tx,
    id_hash: &[u8; 32],
    kind: &str,
    now: Timestamp,
    most: u32,
) -> Result<Option<Ceremony>> {
    tx.one(
        "UPDATE ceremony SET attempts = attempts + 1 WHERE id_hash = $1 AND kind = $2 AND expires_us > $3 \
         AND attempts < $4 RETURNING account, attempts, expires_us, payload",
        params![id_hash, kind, now, most],
        |row| {
            Ok(Ceremony {
                id_hash: *id_hash,
                kind: kind.to_owned(),
                account: row.opt_int(0)?,
                attempts: row.int(1)? as u32,
                expires: row.time(2)?,
                payload: serde_json::from_str(row.text(3)?)
                    .map_err(|_| crate::Error::Corrupt("ceremony".into()))?,
            })
        },
    )
}

/// Like [attempt], without counting.
pub fn load(tx: &mut dyn Tx, id_hash: &[u8; 32], kind: &str, now: Timestamp) -> Result<Option<Ceremony>> {
    tx.one(
        "SELECT account, attempts, expires_us, payload FROM ceremony WHERE id_hash = $1 AND kind = $2 \
         AND expires_us > $3",
        params![id_hash, kind, now],
        |row| {
            Ok(Ceremony {
                id_hash: *id_hash,
                kind: kind.to_owned(),
                account: row.opt_int(0)?,
                attempts: row.int(1)? as u32,
                expires: row.time(2)?,
                payload: serde_json::from_str(row.text(3)?)
                    .map_err(|_| crate::Error::Corrupt("ceremony".into()))?,
            })
        },
    )
}

/// Changes what is kept, e.g. for the passkey step of a sign-in.
pub fn keep(tx: &mut dyn Tx, id_hash: &[u8; 32], payload: &Value) -> Result<()> {
    tx.execute(
        "UPDATE ceremony SET payload = $2 WHERE id_hash = $1",
        params![id_hash, &payload.to_string()],
    )?;
    Ok(())
}

/// Uses it up. Returns false if somebody else just did.
pub fn finish(tx: &mut dyn Tx, id_hash: &[u8; 32]) -> Result<bool> {
    Ok(tx.execute("DELETE FROM ceremony WHERE id_hash = $1", params![id_hash])? == 1)
}

/// Ends everything of an account that waits.
pub fn end_all(tx: &mut dyn Tx, account: i64) -> Result<()> {
    tx.execute("DELETE FROM ceremony WHERE account = $1", params![account])?;
    Ok(())
}

/// An invitation or a link for a new password.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    pub token_hash: [u8; 32],
    /// e.g. `invitation`.
    pub purpose: String,
    pub account: i64,
    pub made_by: Option<i64>,
    pub created: Timestamp,
    pub expires: Timestamp,
    pub payload: Value,
}

/// The account's other links of this purpose stop working.
pub fn put_link(tx: &mut dyn Tx, new: &Link) -> Result<()> {
    end_links(tx, new.account, Some(&new.purpose))?;
    tx.execute(
        "INSERT INTO account_link (token_hash, purpose, account, made_by, created_us, expires_us, payload) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        params![
            &new.token_hash,
            &new.purpose,
            new.account,
            new.made_by,
            new.created,
            new.expires,
            &new.payload.to_string()
        ],
    )?;
    Ok(())
}

/// The link, if it has not expired.
pub fn link(tx: &mut dyn Tx, token_hash: &[u8; 32], now: Timestamp) -> Result<Option<Link>> {
    tx.one(
        "SELECT token_hash, purpose, account, made_by, created_us, expires_us, payload FROM account_link \
         WHERE token_hash = $1 AND expires_us > $2",
        params![token_hash, now],
        read_link,
    )
}

/// The open link of this purpose of an account.
pub fn link_of(tx: &mut dyn Tx, account: i64, purpose: &str, now: Timestamp) -> Result<Option<Link>> {
    tx.one(
        "SELECT token_hash, purpose, account, made_by, created_us, expires_us, payload FROM account_link \
         WHERE account = $1 AND purpose = $2 AND expires_us > $3",
        params![account, purpose, now],
        read_link,
    )
}

fn read_link(row: &crate::Row<'_>) -> Result<Link> {
    let corrupt = || crate::Error::Corrupt("link".into());
    Ok(Link {
        token_hash: row.bytes(0)?.try_into().map_err(|_| corrupt())?,
        purpose: row.string(1)?,
        account: row.int(2)?,
        made_by: row.opt_int(3)?,
        created: row.time(4)?,
        expires: row.time(5)?,
        payload: serde_json::from_str(row.text(6)?).map_err(|_| corrupt())?,
    })
}

/// Uses it up. Returns false if somebody else just did.
pub fn use_link(tx: &mut dyn Tx, token_hash: &[u8; 32]) -> Result<bool> {
    Ok(tx.execute("DELETE FROM account_link WHERE token_hash = $1", params![token_hash])? == 1)
}

/// Ends an account's links, of one purpose or of all.
pub fn end_links(tx: &mut dyn Tx, account: i64, purpose: Option<&str>) -> Result<u64> {
    match purpose {
        Some(purpose) => tx.execute(
            "DELETE FROM account_link WHERE account = $1 AND purpose = $2",
            params![account, purpose],
        ),
        None => tx.execute("DELETE FROM account_link WHERE account = $1", params![account]),
    }
}

/// Removes what expired before `before`; returns how many.
pub fn prune(tx: &mut dyn Tx, before: Timestamp) -> Result<u64> {
    Ok(tx.execute("DELETE FROM ceremony WHERE expires_us < $1", params![before])?
        + tx.execute("DELETE FROM account_link WHERE expires_us < $1", params![before])?)
}
