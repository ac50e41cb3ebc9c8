//! How long records stay, and which are due to go.

use super::MAX_ROWS;
use crate::ids::{decode_id, encode_id, encode_target};
use crate::index::COMPARTMENT;
use crate::{Param, Result, Tx, params};
use fhir::{ResourceKey, TypeId};
use jiff::Timestamp;
use std::fmt::Write as _;

/// Resources that [last_changes] leaves out at most.
const MOST_LEFT_OUT: usize = 300;

/// A rule that the clinic made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub class: String,
    /// After the last entry of the class.
    pub years: u32,
    /// Of entries about a child: at least until this birthday.
    pub minor_age: Option<u32>,
    /// The law asks for it: nothing goes earlier, even on request.
    pub duty: bool,
    pub law: String,
    /// Counsel has looked at it.
    pub checked: bool,
    pub changed: Timestamp,
    /// Account.
    pub changed_by: i64,
}

pub fn rules(tx: &mut dyn Tx) -> Result<Vec<Rule>> {
    tx.all(
        "SELECT class, years, minor_age, duty, law, checked, changed_us, changed_by FROM retention_rule ORDER BY class",
        &[],
        |row| {
            Ok(Rule {
                class: row.string(0)?,
                years: row.int(1)? as u32,
                minor_age: row.opt_int(2)?.map(|age| age as u32),
                duty: row.bool(3)?,
                law: row.string(4)?,
                checked: row.bool(5)?,
                changed: row.time(6)?,
                changed_by: row.int(7)?,
            })
        },
    )
}

pub fn set_rule(tx: &mut dyn Tx, rule: &Rule) -> Result<()> {
    tx.execute(
        "INSERT INTO retention_rule (class, years, minor_age, duty, law, checked, changed_us, changed_by) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (class) DO UPDATE SET years = excluded.years, \
         minor_age = excluded.minor_age, duty = excluded.duty, law = excluded.law, checked = excluded.checked, \
         changed_us = excluded.changed_us, changed_by = excluded.changed_by",
        params![
            &rule.class,
            rule.years,
            rule.minor_age,
            i64::from(rule.duty),
            &rule.law,
            i64::from(rule.checked),
            rule.changed,
            rule.changed_by
        ],
    )?;
    Ok(())
}

/// When resources of each type in the patient's compartment were last changed, these left out.
pub fn last_changes(
    tx: &mut dyn Tx,
    patient: &str,
    without: &[ResourceKey],
) -> Result<Vec<(TypeId, Timestamp)>> {
    let target = encode_target(TypeId::PATIENT, patient);
    let ids: Vec<_> = without.iter().take(MOST_LEFT_OUT).map(|key| (key.kind, encode_id(&key.id))).collect();
    let mut values: Vec<Param<'_>> = params![&target].to_vec();
    let mut left_out = String::new();
    for (kind, id) in &ids {
        values.push(id.into());
        let _ = write!(left_out, " AND NOT (r.type_id = {} AND r.id = ${})", kind.0, values.len());
    }
    let sql = format!(
        "SELECT r.type_id, max(r.last_updated_us) FROM reference f CROSS JOIN resource r WHERE f.target = $1 \
         AND f.param = {COMPARTMENT} AND r.rid = f.rid AND r.deleted = 0{left_out} GROUP BY r.type_id ORDER BY r.type_id"
    );
    let mut found = tx.all(&sql, &values, |row| {
        let kind = u16::try_from(row.int(0)?).map_err(|_| crate::Error::Corrupt("resource type".into()))?;
        Ok((TypeId(kind), row.time(1)?))
    })?;
    if !found.iter().any(|(kind, _)| *kind == TypeId::PATIENT) {
        let own = tx.one(
            "SELECT last_updated_us FROM resource WHERE type_id = $1 AND id = $2 AND deleted = 0",
            params![TypeId::PATIENT.0, &encode_id(patient)],
            |row| row.time(0),
        )?;
        found.extend(own.map(|at| (TypeId::PATIENT, at)));
    }
    Ok(found)
}

/// Ids of patients last changed before `before`, after the id `after`, in the order of their ids.
pub fn quiet_patients(
    tx: &mut dyn Tx,
    before: Timestamp,
    after: Option<&str>,
    limit: u32,
) -> Result<Vec<String>> {
    tx.all(
        "SELECT id FROM resource WHERE type_id = $1 AND id > $2 AND deleted = 0 AND last_updated_us < $3 \
         ORDER BY id LIMIT $4",
        params![TypeId::PATIENT.0, &after.map(encode_id).unwrap_or_default(), before, limit],
        |row| decode_id(row.bytes(0)?),
    )
}

/// A record whose time is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Logical id of the Patient.
    pub patient: String,
    pub found: Timestamp,
    pub since: Timestamp,
    /// The class of record that was kept longest.
    pub class: String,
    pub law: String,
    pub approved: Option<Timestamp>,
    pub approved_by: Option<i64>,
    pub kept: Option<Kept>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub until: Timestamp,
    pub by: i64,
    pub reason: String,
}

const COLUMNS: &str = "patient, found_us, since_us, class, law, approved_us, approved_by, kept_until_us, kept_by, \
     kept_reason";

fn read(row: &crate::Row<'_>) -> Result<Due> {
    let kept = match (row.opt_time(7)?, row.opt_int(8)?) {
        (Some(until), Some(by)) => Some(Kept { until, by, reason: row.opt_string(9)?.unwrap_or_default() }),
        _ => None,
    };
    Ok(Due {
        patient: row.key(0)?.id,
        found: row.time(1)?,
        since: row.time(2)?,
        class: row.string(3)?,
        law: row.string(4)?,
        approved: row.opt_time(5)?,
        approved_by: row.opt_int(6)?,
        kept,
    })
}

/// Notes a record as due, or again with what is so now; what was decided about it stays.
pub fn note_due(tx: &mut dyn Tx, due: &Due) -> Result<()> {
    tx.execute(
        "INSERT INTO retention_due (patient, found_us, since_us, class, law) VALUES ($1, $2, $3, $4, $5) \
         ON CONFLICT (patient) DO UPDATE SET since_us = excluded.since_us, class = excluded.class, law = excluded.law",
        params![
            &encode_target(TypeId::PATIENT, &due.patient),
            due.found,
            due.since,
            &due.class,
            &due.law
        ],
    )?;
    Ok(())
}

/// It is not due any more, or gone.
pub fn forget_due(tx: &mut dyn Tx, patient: &str) -> Result<()> {
    tx.execute(
        "DELETE FROM retention_due WHERE patient = $1",
        params![&encode_target(TypeId::PATIENT, patient)],
    )?;
    Ok(())
}

pub fn due_of(tx: &mut dyn Tx, patient: &str) -> Result<Option<Due>> {
    tx.one(
        &format!("SELECT {COLUMNS} FROM retention_due WHERE patient = $1"),
        params![&encode_target(TypeId::PATIENT, patient)],
        read,
    )
}

/// Longest over first; without those that are kept beyond `now`.
pub fn due(tx: &mut dyn Tx, now: Timestamp) -> Result<Vec<Due>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM retention_due WHERE kept_until_us IS NULL OR kept_until_us <= $1 \
         ORDER BY since_us, patient LIMIT {MAX_ROWS}"
    );
    tx.all(&sql, params![now], read)
}

/// One person agreed that it goes. `false`: it is not due, or agreed to already.
pub fn approve_due(tx: &mut dyn Tx, patient: &str, by: i64, at: Timestamp) -> Result<bool> {
    let done = tx.execute(
        "UPDATE retention_due SET approved_us = $3, approved_by = $2, kept_until_us = NULL, kept_by = NULL, \
         kept_reason = NULL WHERE patient = $1 AND approved_us IS NULL",
        params![&encode_target(TypeId::PATIENT, patient), by, at],
    )?;
    Ok(done == 1)
}

/// It stays until then. `false`: it is not due.
pub fn keep(tx: &mut dyn Tx, patient: &str, kept: &Kept) -> Result<bool> {
    let done = tx.execute(
        "UPDATE retention_due SET kept_until_us = $2, kept_by = $3, kept_reason = $4, approved_us = NULL, \
         approved_by = NULL WHERE patient = $1",
        params![&encode_target(TypeId::PATIENT, patient), kept.until, kept.by, &kept.reason],
    )?;
    Ok(done == 1)
}

/// How many resources of each type lie in the patient's compartment, the Patient among them, and the last change of each.
pub fn counts(tx: &mut dyn Tx, patient: &str) -> Result<Vec<(TypeId, u64, Timestamp)>> {
    let sql = format!(
        "SELECT r.type_id, count(*), max(r.last_updated_us) FROM reference f CROSS JOIN resource r WHERE f.target = $1 \
         AND f.param = {COMPARTMENT} AND r.rid = f.rid AND r.deleted = 0 GROUP BY r.type_id ORDER BY r.type_id"
    );
    let target = encode_target(TypeId::PATIENT, patient);
    let mut found = tx.all(&sql, params![&target], |row| {
        let kind = u16::try_from(row.int(0)?).map_err(|_| crate::Error::Corrupt("resource type".into()))?;
        Ok((TypeId(kind), row.int(1)?.unsigned_abs(), row.time(2)?))
    })?;
    if !found.iter().any(|(kind, ..)| *kind == TypeId::PATIENT) {
        let own = tx.one(
            "SELECT last_updated_us FROM resource WHERE type_id = $1 AND id = $2 AND deleted = 0",
            params![TypeId::PATIENT.0, &encode_id(patient)],
            |row| row.time(0),
        )?;
        found.extend(own.map(|at| (TypeId::PATIENT, 1, at)));
    }
    Ok(found)
}

/// What is held about a patient outside the record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside {
    pub accounts: u64,
    pub messages: u64,
    pub payments: u64,
    pub proxies: u64,
    pub requests: u64,
}

pub fn outside(tx: &mut dyn Tx, patient: &str) -> Result<Outside> {
    let target = encode_target(TypeId::PATIENT, patient);
    let mut count = |table: &str| -> Result<u64> {
        let sql = format!("SELECT count(*) FROM {table} WHERE patient = $1");
        Ok(tx.one(&sql, params![&target], |row| row.int(0))?.unwrap_or(0).unsigned_abs())
    };
    Ok(Outside {
        accounts: count("account")?,
        messages: count("message")?,
        payments: count("payment")?,
        proxies: count("proxy")?,
        requests: count("subject_request")?,
    })
}
