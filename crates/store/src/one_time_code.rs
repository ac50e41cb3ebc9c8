//! One-time codes sent to a phone: registration, password reset. The code itself is never stored.

use crate::keys::blind;
use crate::{Result, Tx, params};
use jiff::Timestamp;
use serde_json::Value;

const PHONE: &str = "one_time_code.phone";
const PAYLOAD: &str = "one_time_code.payload";
/// Attempts of a code that was used: more than anybody has.
const USED: u32 = 1_000;

#[derive(Debug, Clone, PartialEq)]
pub struct OneTimeCode {
    /// Opaque, unguessable; names the registration to the client.
    pub id: String,
    /// e.g. `registration`, `reset`.
    pub purpose: String,
    /// E.164
    pub phone: String,
    pub code_hash: [u8; 32],
    pub expires: Timestamp,
    /// Wrong codes so far.
    pub attempts: u32,
    /// Codes sent so far.
    pub sends: u32,
    pub last_sent: Timestamp,
    /// What to do once confirmed, e.g. the registration form.
    pub payload: Value,
    pub account: Option<i64>,
}

impl OneTimeCode {
    /// Whether the right code was shown already.
    pub fn is_used(&self) -> bool {
        self.attempts >= USED
    }
}

/// Writes a new one, or replaces the one with this id (a resend). `false`: that one was used meanwhile and stays so.
pub fn put(tx: &mut dyn Tx, code: &OneTimeCode) -> Result<bool> {
    let phone = blind::value(tx, PHONE, &code.phone)?;
    let payload = code.payload.to_string();
    let payload = blind::words(tx, PAYLOAD, &payload)?;
    let put = tx.execute(
        "INSERT INTO one_time_code (id, purpose, phone, code_hash, expires_us, attempts, sends, sent_us, payload, account) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO UPDATE SET purpose = excluded.purpose, \
         phone = excluded.phone, code_hash = excluded.code_hash, expires_us = excluded.expires_us, \
         attempts = excluded.attempts, sends = excluded.sends, sent_us = excluded.sent_us, payload = excluded.payload, \
         account = excluded.account WHERE one_time_code.attempts < $11",
        params![
            &code.id,
            &code.purpose,
            &*phone,
            &code.code_hash,
            code.expires,
            code.attempts,
            code.sends,
            code.last_sent,
            &*payload,
            code.account,
            USED
        ],
    )?;
    Ok(put == 1)
}

/// Expired ones included: the caller answers differently for those.
pub fn load(tx: &mut dyn Tx, id: &str) -> Result<Option<OneTimeCode>> {
    tx.one(
        "SELECT id, purpose, phone, code_hash, expires_us, attempts, sends, sent_us, payload, account \
         FROM one_time_code WHERE id = $1",
        params![id],
        |row| {
            let corrupt = |what: &str| crate::Error::Corrupt(what.into());
            Ok(OneTimeCode {
                id: row.string(0)?,
                purpose: row.string(1)?,
                phone: row.value(2, PHONE)?,
                code_hash: row.bytes(3)?.try_into().map_err(|_| corrupt("code hash"))?,
                expires: row.time(4)?,
                attempts: row.int(5)? as u32,
                sends: row.int(6)? as u32,
                last_sent: row.time(7)?,
                payload: serde_json::from_str(&row.value(8, PAYLOAD)?)
                    .map_err(|_| corrupt("code payload"))?,
                account: row.opt_int(9)?,
            })
        },
    )
}

/// Takes one of `most` guesses, before it is looked at: many at once have no more than one after the other. Returns the
/// guesses so far; `None` where there is no code, none left, or its time is over. Commit it even though the request fails.
pub fn take_guess(tx: &mut dyn Tx, id: &str, most: u32, now: Timestamp) -> Result<Option<u32>> {
    let sql = "UPDATE one_time_code SET attempts = attempts + 1 WHERE id = $1 AND attempts < $2 AND expires_us > $3 \
               RETURNING attempts";
    let taken = tx.one(sql, params![id, most, now], |row| row.int(0))?;
    Ok(taken.and_then(|count| u32::try_from(count).ok()))
}

/// The guess was right: it counts for none.
pub fn give_guess_back(tx: &mut dyn Tx, id: &str) -> Result<()> {
    let sql =
        "UPDATE one_time_code SET attempts = attempts - 1 WHERE id = $1 AND attempts BETWEEN 1 AND $2 - 1";
    tx.execute(sql, params![id, USED])?;
    Ok(())
}

/// Uses the code up. Returns false if someone else just did. The row stays, without what was entered: its sends count
/// against the limits whether the code was used or not.
pub fn use_up(tx: &mut dyn Tx, id: &str) -> Result<bool> {
    let payload = blind::words(tx, PAYLOAD, "{}")?;
    let sql = "UPDATE one_time_code SET attempts = $2, payload = $3 WHERE id = $1 AND attempts < $2";
    Ok(tx.execute(sql, params![id, USED, &*payload])? == 1)
}

/// Codes sent to this phone since `since`, to limit what an attacker can make us send.
pub fn sent_since(tx: &mut dyn Tx, phone: &str, since: Timestamp) -> Result<i64> {
    let phone = &*blind::value(tx, PHONE, phone)?;
    let sum = tx.one(
        "SELECT CAST(coalesce(sum(sends), 0) AS BIGINT) FROM one_time_code WHERE phone = $1 AND sent_us >= $2",
        params![phone, since],
        |row| row.int(0),
    )?;
    Ok(sum.unwrap_or(0))
}

/// Codes sent to all phones since `since`.
pub fn sent_by_all_since(tx: &mut dyn Tx, since: Timestamp) -> Result<i64> {
    let sql = "SELECT CAST(coalesce(sum(sends), 0) AS BIGINT) FROM one_time_code WHERE sent_us >= $1";
    Ok(tx.one(sql, params![since], |row| row.int(0))?.unwrap_or(0))
}

/// Whether a code for `purpose` was sent to this account and used since `since`.
pub fn was_used(tx: &mut dyn Tx, account: i64, purpose: &str, since: Timestamp) -> Result<bool> {
    let sql = "SELECT 1 FROM one_time_code WHERE sent_us >= $1 AND account = $2 AND purpose = $3 AND attempts >= $4 LIMIT 1";
    Ok(tx.one(sql, params![since, account, purpose, USED], |row| row.int(0))?.is_some())
}

/// Removes codes that expired before `before`; returns how many.
pub fn prune(tx: &mut dyn Tx, before: Timestamp) -> Result<u64> {
    tx.execute("DELETE FROM one_time_code WHERE expires_us < $1", params![before])
}
