//! Who acts for whom: parents, guardians, and whom a patient trusts.

use crate::ids::{decode_id, encode_id, encode_target};
use crate::{Error, Result, Tx, params};
use access::{Class, Seals};
use fhir::TypeId;
use jiff::Timestamp;
use uuid::Uuid;

/// One grant.
#[derive(Debug, Clone, PartialEq)]
pub struct Proxy {
    pub id: Uuid,
    /// Who acts.
    pub account: i64,
    /// Logical id of the Patient acted for.
    pub patient: String,
    /// Logical id of the RelatedPerson.
    pub related_person: String,
    /// `parent`, `guardian`, `patient-choice` or `court`.
    pub basis: String,
    pub classes: Vec<Class>,
    pub seals: Seals,
    pub from: Timestamp,
    pub until: Timestamp,
    pub made: Timestamp,
    /// Account; `None`: the program.
    pub made_by: Option<i64>,
    /// When and by whom it was taken back.
    pub ended: Option<Timestamp>,
}

const COLUMNS: &str = "id, account, patient, related_person, basis, classes, seals, from_us, until_us, made_us, made_by, \
                       ended_us";
/// Most rows of one list.
const MAX_ROWS: i64 = 200;

fn read(row: &crate::Row<'_>) -> Result<Proxy> {
    Ok(Proxy {
        id: Uuid::from_slice(row.bytes(0)?).map_err(|_| Error::Corrupt("proxy id".into()))?,
        account: row.int(1)?,
        patient: row.key(2)?.id,
        related_person: decode_id(row.bytes(3)?)?,
        basis: row.string(4)?,
        classes: row.text(5)?.split_whitespace().filter_map(Class::from_code).collect(),
        seals: Seals(row.int(6)? as u32),
        from: row.time(7)?,
        until: row.time(8)?,
        made: row.time(9)?,
        made_by: row.opt_int(10)?,
        ended: row.opt_time(11)?,
    })
}

pub fn insert(tx: &mut dyn Tx, new: &Proxy) -> Result<()> {
    let classes: Vec<&str> = new.classes.iter().map(|c| c.code()).collect();
    tx.execute(
        "INSERT INTO proxy (id, account, patient, related_person, basis, classes, seals, from_us, until_us, made_us, \
         made_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        params![
            &new.id,
            new.account,
            &encode_target(TypeId::PATIENT, &new.patient),
            &encode_id(&new.related_person),
            &new.basis,
            &classes.join(" "),
            new.seals.0,
            new.from,
            new.until,
            new.made,
            new.made_by
        ],
    )?;
    Ok(())
}

pub fn load(tx: &mut dyn Tx, id: &Uuid) -> Result<Option<Proxy>> {
    tx.one(&format!("SELECT {COLUMNS} FROM proxy WHERE id = $1"), params![id], read)
}

/// For whom the account acts at `now`.
pub fn of_account(tx: &mut dyn Tx, account: i64, now: Timestamp) -> Result<Vec<Proxy>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM proxy WHERE account = $1 AND from_us <= $2 AND until_us > $2 AND ended_us IS NULL \
         ORDER BY made_us, id LIMIT {MAX_ROWS}"
    );
    tx.all(&sql, params![account, now], read)
}

/// All grants about the patient, also those that are over, newest first.
pub fn of_patient(tx: &mut dyn Tx, patient: &str) -> Result<Vec<Proxy>> {
    let sql =
        format!("SELECT {COLUMNS} FROM proxy WHERE patient = $1 ORDER BY made_us DESC, id LIMIT {MAX_ROWS}");
    tx.all(&sql, params![&encode_target(TypeId::PATIENT, patient)], read)
}

/// Grants in force that end by themselves between these two moments, at most 200.
pub fn ending(tx: &mut dyn Tx, from: Timestamp, until: Timestamp) -> Result<Vec<Proxy>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM proxy WHERE until_us > $1 AND until_us <= $2 AND ended_us IS NULL \
         ORDER BY until_us, id LIMIT {MAX_ROWS}"
    );
    tx.all(&sql, params![from, until], read)
}

/// Takes it back. `false`: it is over already.
pub fn end(tx: &mut dyn Tx, id: &Uuid, by: Option<i64>, now: Timestamp) -> Result<bool> {
    let done = tx.execute(
        "UPDATE proxy SET ended_us = $3, ended_by = $2 WHERE id = $1 AND ended_us IS NULL AND until_us > $3",
        params![id, by, now],
    )?;
    Ok(done == 1)
}
