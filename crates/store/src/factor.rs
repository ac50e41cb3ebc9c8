//! Second factors: authenticator applications, recovery codes, passkeys.

use crate::{Result, Tx, params};
use jiff::Timestamp;

/// Passkeys of one account.
pub const MAX_PASSKEYS: i64 = 20;

#[derive(Debug, Clone, PartialEq)]
pub struct Totp {
    /// Sealed by the caller.
    pub secret: Vec<u8>,
    /// A code of it was shown once; before, it is no factor.
    pub confirmed: bool,
    /// Codes of this and earlier steps are used up.
    pub last_step: i64,
    pub created: Timestamp,
}

pub fn totp(tx: &mut dyn Tx, account: i64) -> Result<Option<Totp>> {
    tx.one(
        "SELECT secret, confirmed, last_step, created_us FROM totp WHERE account = $1",
        params![account],
        |row| {
            Ok(Totp {
                secret: row.bytes(0)?.to_vec(),
                confirmed: row.bool(1)?,
                last_step: row.int(2)?,
                created: row.time(3)?,
            })
        },
    )
}

/// A new secret, not confirmed yet, instead of one not confirmed. Returns false when a confirmed one is there.
pub fn begin_totp(tx: &mut dyn Tx, account: i64, secret: &[u8], now: Timestamp) -> Result<bool> {
    let changed = tx.execute(
        "INSERT INTO totp (account, secret, confirmed, last_step, created_us) VALUES ($1, $2, 0, 0, $3) \
         ON CONFLICT (account) DO UPDATE SET secret = excluded.secret, last_step = 0, created_us = excluded.created_us \
         WHERE totp.confirmed = 0",
        params![account, secret, now],
    )?;
    Ok(changed == 1)
}

pub fn confirm_totp(tx: &mut dyn Tx, account: i64) -> Result<()> {
    tx.execute("UPDATE totp SET confirmed = 1 WHERE account = $1", params![account])?;
    Ok(())
}

/// Uses up the code of a step. Returns false if it or a later one was used before.
pub fn use_step(tx: &mut dyn Tx, account: i64, step: i64) -> Result<bool> {
    let sql = "UPDATE totp SET last_step = $2 WHERE account = $1 AND last_step < $2";
    Ok(tx.execute(sql, params![account, step])? == 1)
}

pub fn remove_totp(tx: &mut dyn Tx, account: i64) -> Result<bool> {
    Ok(tx.execute("DELETE FROM totp WHERE account = $1", params![account])? == 1)
}

/// Replaces all recovery codes.
pub fn set_recovery_codes(tx: &mut dyn Tx, account: i64, hashes: &[[u8; 32]]) -> Result<()> {
    tx.execute("DELETE FROM recovery_code WHERE account = $1", params![account])?;
    for hash in hashes {
        tx.execute("INSERT INTO recovery_code (account, code_hash) VALUES ($1, $2)", params![account, hash])?;
    }
    Ok(())
}

pub fn recovery_codes_left(tx: &mut dyn Tx, account: i64) -> Result<u32> {
    let sql = "SELECT count(*) FROM recovery_code WHERE account = $1";
    Ok(tx.one(sql, params![account], |row| row.int(0))?.unwrap_or(0) as u32)
}

/// Returns whether there was such a code; it is gone now.
pub fn use_recovery_code(tx: &mut dyn Tx, account: i64, hash: &[u8; 32]) -> Result<bool> {
    let sql = "DELETE FROM recovery_code WHERE account = $1 AND code_hash = $2";
    Ok(tx.execute(sql, params![account, hash])? == 1)
}

#[derive(Debug, Clone, PartialEq)]
pub struct Passkey {
    /// The credential's id as the authenticator gave it.
    pub credential: Vec<u8>,
    pub account: i64,
    /// For people, e.g. `Grace's phone`.
    pub name: String,
    /// Public key, counter and state, as the caller writes them.
    pub data: String,
    pub created: Timestamp,
    pub last_used: Option<Timestamp>,
}

const COLUMNS: &str = "credential, account, name, data, created_us, last_used_us";

fn read(row: &crate::Row<'_>) -> Result<Passkey> {
    Ok(Passkey {
        credential: row.bytes(0)?.to_vec(),
        account: row.int(1)?,
        name: row.string(2)?,
        data: row.string(3)?,
        created: row.time(4)?,
        last_used: row.opt_time(5)?,
    })
}

/// Returns false if the credential is known already, or the account has [MAX_PASSKEYS].
pub fn add_passkey(tx: &mut dyn Tx, new: &Passkey) -> Result<bool> {
    if passkeys(tx, new.account)?.len() as i64 >= MAX_PASSKEYS {
        return Ok(false);
    }
    let added = tx.execute(
        "INSERT INTO passkey (credential, account, name, data, created_us) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT DO NOTHING",
        params![&new.credential, new.account, &new.name, &new.data, new.created],
    )?;
    Ok(added == 1)
}

/// Oldest first.
pub fn passkeys(tx: &mut dyn Tx, account: i64) -> Result<Vec<Passkey>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM passkey WHERE account = $1 ORDER BY created_us, credential LIMIT {MAX_PASSKEYS}"
    );
    tx.all(&sql, params![account], read)
}

pub fn passkey(tx: &mut dyn Tx, credential: &[u8]) -> Result<Option<Passkey>> {
    tx.one(&format!("SELECT {COLUMNS} FROM passkey WHERE credential = $1"), params![credential], read)
}

/// The passkey was used; `data` holds its new counter.
pub fn passkey_used(tx: &mut dyn Tx, credential: &[u8], data: &str, now: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE passkey SET data = $2, last_used_us = $3 WHERE credential = $1",
        params![credential, data, now],
    )?;
    Ok(())
}

pub fn rename_passkey(tx: &mut dyn Tx, account: i64, credential: &[u8], name: &str) -> Result<bool> {
    let sql = "UPDATE passkey SET name = $3 WHERE account = $1 AND credential = $2";
    Ok(tx.execute(sql, params![account, credential, name])? == 1)
}

pub fn remove_passkey(tx: &mut dyn Tx, account: i64, credential: &[u8]) -> Result<bool> {
    let sql = "DELETE FROM passkey WHERE account = $1 AND credential = $2";
    Ok(tx.execute(sql, params![account, credential])? == 1)
}

/// Everything but the password: somebody lost it all.
pub fn remove_all(tx: &mut dyn Tx, account: i64) -> Result<()> {
    for table in ["totp", "recovery_code", "passkey"] {
        tx.execute(&format!("DELETE FROM {table} WHERE account = $1"), params![account])?;
    }
    Ok(())
}
