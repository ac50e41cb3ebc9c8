//! Legal holds.

use super::MAX_ROWS;
use crate::ids::encode_target;
use crate::{Result, Tx, params};
use fhir::TypeId;
use jiff::Timestamp;
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq)]
pub struct Hold {
    pub id: Uuid,
    /// Logical id of the Patient.
    pub patient: String,
    pub reason: String,
    pub placed: Timestamp,
    /// Account.
    pub placed_by: i64,
    pub lifted: Option<Timestamp>,
    pub lifted_by: Option<i64>,
    pub lift_reason: Option<String>,
}

const COLUMNS: &str = "id, patient, reason, placed_us, placed_by, lifted_us, lifted_by, lift_reason";

fn read(row: &crate::Row<'_>) -> Result<Hold> {
    Ok(Hold {
        id: row.uuid(0)?,
        patient: row.key(1)?.id,
        reason: row.string(2)?,
        placed: row.time(3)?,
        placed_by: row.int(4)?,
        lifted: row.opt_time(5)?,
        lifted_by: row.opt_int(6)?,
        lift_reason: row.opt_string(7)?,
    })
}

pub fn insert(tx: &mut dyn Tx, new: &Hold) -> Result<()> {
    tx.execute(
        "INSERT INTO legal_hold (id, patient, reason, placed_us, placed_by) VALUES ($1, $2, $3, $4, $5)",
        params![
            &new.id,
            &encode_target(TypeId::PATIENT, &new.patient),
            &new.reason,
            new.placed,
            new.placed_by
        ],
    )?;
    Ok(())
}

pub fn load(tx: &mut dyn Tx, id: &Uuid) -> Result<Option<Hold>> {
    tx.one(&format!("SELECT {COLUMNS} FROM legal_hold WHERE id = $1"), params![id], read)
}

/// `false`: it is lifted already.
pub fn lift(tx: &mut dyn Tx, id: &Uuid, by: i64, at: Timestamp, reason: &str) -> Result<bool> {
    let done = tx.execute(
        "UPDATE legal_hold SET lifted_us = $3, lifted_by = $2, lift_reason = $4 WHERE id = $1 AND lifted_us IS NULL",
        params![id, by, at, reason],
    )?;
    Ok(done == 1)
}

/// Whether one is in force about the patient.
pub fn is_held(tx: &mut dyn Tx, patient: &str) -> Result<bool> {
    let found = tx.one(
        "SELECT 1 FROM legal_hold WHERE patient = $1 AND lifted_us IS NULL",
        params![&encode_target(TypeId::PATIENT, patient)],
        |_| Ok(()),
    )?;
    Ok(found.is_some())
}

/// About this patient, newest first.
pub fn of_patient(tx: &mut dyn Tx, patient: &str) -> Result<Vec<Hold>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM legal_hold WHERE patient = $1 ORDER BY placed_us DESC, id LIMIT {MAX_ROWS}"
    );
    tx.all(&sql, params![&encode_target(TypeId::PATIENT, patient)], read)
}

/// Those in force first, then those that were lifted, each newest first.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<Hold>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM legal_hold ORDER BY CASE WHEN lifted_us IS NULL THEN 0 ELSE 1 END, placed_us DESC, id \
         LIMIT {MAX_ROWS}"
    );
    tx.all(&sql, &[], read)
}
