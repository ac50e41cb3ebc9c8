//! What stays of a record that was erased.

use super::MAX_ROWS;
use crate::ids::encode_target;
use crate::{Result, Tx, params};
use fhir::TypeId;
use jiff::Timestamp;
use uuid::Uuid;

/// The tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Erasure {
    /// Logical id of the Patient.
    pub patient: String,
    pub at: Timestamp,
    /// The request; `None`: its time was over.
    pub request: Option<Uuid>,
    /// Accounts.
    pub approved_by: i64,
    pub carried_out_by: i64,
    pub law: String,
    /// How many lost their content.
    pub resources: u64,
    /// `None`: begun, and something may still be readable.
    pub done: Option<Timestamp>,
}

const COLUMNS: &str = "patient, at_us, request, approved_by, carried_out_by, law, resources, done_us";

fn read(row: &crate::Row<'_>) -> Result<Erasure> {
    let request = match row.opt_bytes(2)? {
        Some(_) => Some(row.uuid(2)?),
        None => None,
    };
    Ok(Erasure {
        patient: row.key(0)?.id,
        at: row.time(1)?,
        request,
        approved_by: row.int(3)?,
        carried_out_by: row.int(4)?,
        law: row.string(5)?,
        resources: row.int(6)?.unsigned_abs(),
        done: row.opt_time(7)?,
    })
}

/// Begun; [finish] says that it is done. Errors: of the database, also where there is one already.
pub fn insert(tx: &mut dyn Tx, new: &Erasure) -> Result<()> {
    tx.execute(
        "INSERT INTO erasure (patient, at_us, request, approved_by, carried_out_by, law, resources) \
         VALUES ($1, $2, $3, $4, $5, $6, 0)",
        params![
            &encode_target(TypeId::PATIENT, &new.patient),
            new.at,
            new.request.as_ref(),
            new.approved_by,
            new.carried_out_by,
            &new.law
        ],
    )?;
    Ok(())
}

/// Nothing is readable any more. Called again it adds what was found since.
pub fn finish(tx: &mut dyn Tx, patient: &str, resources: u64, at: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE erasure SET resources = resources + $2, done_us = $3 WHERE patient = $1",
        params![&encode_target(TypeId::PATIENT, patient), i64::try_from(resources).unwrap_or(i64::MAX), at],
    )?;
    Ok(())
}

/// Those that were begun and not finished.
pub fn unfinished(tx: &mut dyn Tx) -> Result<Vec<Erasure>> {
    let sql = format!("SELECT {COLUMNS} FROM erasure WHERE done_us IS NULL ORDER BY at_us LIMIT {MAX_ROWS}");
    tx.all(&sql, &[], read)
}

pub fn load(tx: &mut dyn Tx, patient: &str) -> Result<Option<Erasure>> {
    tx.one(
        &format!("SELECT {COLUMNS} FROM erasure WHERE patient = $1"),
        params![&encode_target(TypeId::PATIENT, patient)],
        read,
    )
}

/// Newest first.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<Erasure>> {
    tx.all(&format!("SELECT {COLUMNS} FROM erasure ORDER BY at_us DESC, patient LIMIT {MAX_ROWS}"), &[], read)
}
