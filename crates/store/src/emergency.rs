//! Broken glasses: who opened whose record, why, until when, and what the review said.

use crate::ids::encode_target;
use crate::{Result, Tx, params};
use fhir::TypeId;
use jiff::Timestamp;
use uuid::Uuid;

/// One use of break-glass.
#[derive(Debug, Clone, PartialEq)]
pub struct Emergency {
    pub id: Uuid,
    pub account: i64,
    /// Logical id of the Patient.
    pub patient: String,
    /// Code of the reason.
    pub reason: String,
    pub explanation: String,
    pub at: Timestamp,
    pub until: Timestamp,
    /// When the person closed it before its time.
    pub ended: Option<Timestamp>,
    pub review: Option<Review>,
    pub alerted: Option<Timestamp>,
    /// By somebody without a second factor, who typed her password anew.
    pub by_password: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Review {
    pub at: Timestamp,
    /// Account.
    pub by: i64,
    /// `justified`, `unjustified` or `unclear`.
    pub verdict: String,
    pub note: String,
}

const COLUMNS: &str = "id, account, patient, reason, explanation, at_us, until_us, ended_us, reviewed_us, reviewed_by, \
                       verdict, note, alerted_us, by_password";
/// Most rows of one list.
const MAX_ROWS: i64 = 500;

fn read(row: &crate::Row<'_>) -> Result<Emergency> {
    let review = match (row.opt_time(8)?, row.opt_int(9)?) {
        (Some(at), Some(by)) => Some(Review {
            at,
            by,
            verdict: row.opt_string(10)?.unwrap_or_default(),
            note: row.opt_string(11)?.unwrap_or_default(),
        }),
        _ => None,
    };
    Ok(Emergency {
        id: Uuid::from_slice(row.bytes(0)?).map_err(|_| crate::Error::Corrupt("emergency id".into()))?,
        account: row.int(1)?,
        patient: row.key(2)?.id,
        reason: row.string(3)?,
        explanation: row.string(4)?,
        at: row.time(5)?,
        until: row.time(6)?,
        ended: row.opt_time(7)?,
        review,
        alerted: row.opt_time(12)?,
        by_password: row.bool(13)?,
    })
}

/// Writes down a new one; reviews are [review]'s.
pub fn insert(tx: &mut dyn Tx, new: &Emergency) -> Result<()> {
    tx.execute(
        "INSERT INTO emergency (id, account, patient, reason, explanation, at_us, until_us, by_password) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        params![
            &new.id,
            new.account,
            &encode_target(TypeId::PATIENT, &new.patient),
            &new.reason,
            &new.explanation,
            new.at,
            new.until,
            new.by_password
        ],
    )?;
    Ok(())
}

pub fn load(tx: &mut dyn Tx, id: &Uuid) -> Result<Option<Emergency>> {
    tx.one(&format!("SELECT {COLUMNS} FROM emergency WHERE id = $1"), params![id], read)
}

/// Those of the account that are running at `now`.
pub fn running(tx: &mut dyn Tx, account: i64, now: Timestamp) -> Result<Vec<Emergency>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM emergency WHERE account = $1 AND until_us > $2 AND ended_us IS NULL \
         ORDER BY at_us, id LIMIT {MAX_ROWS}"
    );
    tx.all(&sql, params![account, now], read)
}

/// Newest first; `open`: only those that nobody has reviewed, oldest first.
pub fn list(tx: &mut dyn Tx, open: bool) -> Result<Vec<Emergency>> {
    let rest = if open { "WHERE reviewed_us IS NULL ORDER BY at_us, id" } else { "ORDER BY at_us DESC, id" };
    tx.all(&format!("SELECT {COLUMNS} FROM emergency {rest} LIMIT {MAX_ROWS}"), &[], read)
}

/// About this patient, newest first.
pub fn of_patient(tx: &mut dyn Tx, patient: &str) -> Result<Vec<Emergency>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM emergency WHERE patient = $1 ORDER BY at_us DESC, id LIMIT {MAX_ROWS}"
    );
    tx.all(&sql, params![&encode_target(TypeId::PATIENT, patient)], read)
}

/// Closes it. `false`: it is over or not this account's.
pub fn end(tx: &mut dyn Tx, id: &Uuid, account: i64, now: Timestamp) -> Result<bool> {
    let done = tx.execute(
        "UPDATE emergency SET ended_us = $3 WHERE id = $1 AND account = $2 AND ended_us IS NULL AND until_us > $3",
        params![id, account, now],
    )?;
    Ok(done == 1)
}

/// `false`: somebody has reviewed it already, or it is not there.
pub fn review(tx: &mut dyn Tx, id: &Uuid, review: &Review) -> Result<bool> {
    let done = tx.execute(
        "UPDATE emergency SET reviewed_us = $2, reviewed_by = $3, verdict = $4, note = $5 \
         WHERE id = $1 AND reviewed_us IS NULL",
        params![id, review.at, review.by, &review.verdict, &review.note],
    )?;
    Ok(done == 1)
}

/// Marks those from before `before` that nobody has reviewed and nobody was reminded of; returns them.
pub fn overdue(tx: &mut dyn Tx, before: Timestamp, now: Timestamp) -> Result<Vec<Emergency>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM emergency WHERE reviewed_us IS NULL AND at_us <= $1 AND alerted_us IS NULL \
         ORDER BY at_us, id LIMIT {MAX_ROWS}"
    );
    let found = tx.all(&sql, params![before], read)?;
    for one in &found {
        tx.execute("UPDATE emergency SET alerted_us = $2 WHERE id = $1", params![&one.id, now])?;
    }
    Ok(found)
}
