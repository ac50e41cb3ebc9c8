//! Who acts for whom: parents, guardians, and whom a patient trusts.
//!
//! What waits for a second word is stored as beginning at its end, so that nothing that asks who acts now finds it.

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
    /// Of one that waits: when it was asked for.
    pub from: Timestamp,
    pub until: Timestamp,
    pub made: Timestamp,
    /// Account; `None`: the program.
    pub made_by: Option<i64>,
    /// When it was taken back.
    pub ended: Option<Timestamp>,
    /// Not in force until the patient or a second person says so.
    pub waits: bool,
    /// v3-RoleCode; `None` in grants from before, whose RelatedPerson has it.
    pub relationship: Option<String>,
    /// Id of the one-time code on its way to the patient.
    pub code: Option<String>,
    pub confirmed: Option<Confirmed>,
}

/// How a grant that waited came into force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    pub way: Way,
    pub at: Timestamp,
    /// Account of the person who typed the patient's code, or who agreed.
    pub by: i64,
}

/// Whose word made it hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The patient's, by a code sent to her phone.
    PatientCode,
    /// Another person's of the clinic.
    SecondPerson,
}

impl Way {
    pub fn code(self) -> &'static str {
        match self {
            Way::PatientCode => "patient-code",
            Way::SecondPerson => "second-person",
        }
    }
    fn from_code(code: &str) -> Option<Way> {
        [Way::PatientCode, Way::SecondPerson].into_iter().find(|way| way.code() == code)
    }
}

const COLUMNS: &str = "id, account, patient, related_person, basis, classes, seals, from_us, until_us, made_us, made_by, \
                       ended_us, waits, relationship, code, way, confirmed_us, confirmed_by";
/// Most rows of one list.
const MAX_ROWS: i64 = 200;

fn read(row: &crate::Row<'_>) -> Result<Proxy> {
    let waits = row.bool(12)?;
    let way = row.opt_string(15)?.as_deref().and_then(Way::from_code);
    let confirmed = match (way, row.opt_time(16)?, row.opt_int(17)?) {
        (Some(way), Some(at), Some(by)) => Some(Confirmed { way, at, by }),
        _ => None,
    };
    Ok(Proxy {
        id: Uuid::from_slice(row.bytes(0)?).map_err(|_| Error::Corrupt("proxy id".into()))?,
        account: row.int(1)?,
        patient: row.key(2)?.id,
        related_person: decode_id(row.bytes(3)?)?,
        basis: row.string(4)?,
        classes: row.text(5)?.split_whitespace().filter_map(Class::from_code).collect(),
        seals: Seals(row.int(6)? as u32),
        from: row.time(if waits { 9 } else { 7 })?,
        until: row.time(8)?,
        made: row.time(9)?,
        made_by: row.opt_int(10)?,
        ended: row.opt_time(11)?,
        waits,
        relationship: row.opt_string(13)?,
        code: row.opt_string(14)?,
        confirmed,
    })
}

pub fn insert(tx: &mut dyn Tx, new: &Proxy) -> Result<()> {
    let classes: Vec<&str> = new.classes.iter().map(|c| c.code()).collect();
    tx.execute(
        "INSERT INTO proxy (id, account, patient, related_person, basis, classes, seals, from_us, until_us, made_us, \
         made_by, waits, relationship) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        params![
            &new.id,
            new.account,
            &encode_target(TypeId::PATIENT, &new.patient),
            &encode_id(&new.related_person),
            &new.basis,
            &classes.join(" "),
            new.seals.0,
            if new.waits { new.until } else { new.from },
            new.until,
            new.made,
            new.made_by,
            i64::from(new.waits),
            new.relationship.as_deref()
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

/// Those that wait and were asked for after `since`, oldest first.
pub fn waiting(tx: &mut dyn Tx, since: Timestamp) -> Result<Vec<Proxy>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM proxy WHERE waits = 1 AND ended_us IS NULL AND made_us > $1 \
         ORDER BY made_us, id LIMIT {MAX_ROWS}"
    );
    tx.all(&sql, params![since], read)
}

/// The code that was sent for one that waits. `false`: it does not wait any more.
pub fn set_code(tx: &mut dyn Tx, id: &Uuid, code: &str) -> Result<bool> {
    let sql = "UPDATE proxy SET code = $2 WHERE id = $1 AND waits = 1 AND ended_us IS NULL";
    Ok(tx.execute(sql, params![id, code])? == 1)
}

/// Puts one that waits in force. `false`: it does not wait any more.
pub fn confirm(tx: &mut dyn Tx, id: &Uuid, by: &Confirmed) -> Result<bool> {
    let done = tx.execute(
        "UPDATE proxy SET waits = 0, code = NULL, from_us = $2, way = $3, confirmed_us = $2, confirmed_by = $4 \
         WHERE id = $1 AND waits = 1 AND ended_us IS NULL AND until_us > $2",
        params![id, by.at, by.way.code(), by.by],
    )?;
    Ok(done == 1)
}

/// Grants in force that end by themselves between these two moments, at most 200.
pub fn ending(tx: &mut dyn Tx, from: Timestamp, until: Timestamp) -> Result<Vec<Proxy>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM proxy WHERE until_us > $1 AND until_us <= $2 AND ended_us IS NULL AND waits = 0 \
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
