//! Which rows are sealed, and who has keys (see `access::seal`).

use crate::ids::{encode_id, encode_target};
use crate::{Result, Tx, params};
use access::Seals;
use fhir::{ResourceKey, TypeId};

/// Who gets a key by one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyHolder {
    /// Logical id of the Practitioner.
    pub practitioner: String,
    /// Opens the categories of the whole patient; else this row alone.
    pub whole: bool,
}

/// Seals the row as `seals` says, instead of whatever it was sealed as; [Seals::NONE] takes the seal and all its keys
/// away. `patients` are those whose compartment holds it; `holders` get keys, those of earlier versions keep theirs.
pub fn set(
    tx: &mut dyn Tx,
    rid: i64,
    seals: Seals,
    patients: &[String],
    holders: &[KeyHolder],
) -> Result<()> {
    if seals.is_none() {
        tx.execute("DELETE FROM sealed WHERE rid = $1", params![rid])?;
        tx.execute("DELETE FROM seal_key WHERE rid = $1", params![rid])?;
        return Ok(());
    }
    tx.execute(
        "INSERT INTO sealed (rid, seals) VALUES ($1, $2) ON CONFLICT (rid) DO UPDATE SET seals = excluded.seals",
        params![rid, seals.0],
    )?;
    tx.execute("UPDATE seal_key SET seals = $2 WHERE rid = $1", params![rid, seals.0])?;
    for holder in holders {
        for patient in patients {
            tx.execute(
                "INSERT INTO seal_key (practitioner, patient, rid, seals, whole) VALUES ($1, $2, $3, $4, $5) \
                 ON CONFLICT (practitioner, patient, rid) DO UPDATE SET seals = excluded.seals, \
                 whole = CASE WHEN seal_key.whole > excluded.whole THEN seal_key.whole ELSE excluded.whole END",
                params![
                    &encode_id(&holder.practitioner),
                    &encode_target(TypeId::PATIENT, patient),
                    rid,
                    seals.0,
                    holder.whole
                ],
            )?;
        }
    }
    Ok(())
}

/// What the current version is sealed as, and its row; [Seals::NONE] if it does not exist.
pub fn of(tx: &mut dyn Tx, key: &ResourceKey) -> Result<(Seals, i64)> {
    let found = tx.one(
        "SELECT r.rid, s.seals FROM resource r LEFT JOIN sealed s ON s.rid = r.rid WHERE r.type_id = $1 AND r.id = $2",
        params![key.kind.0, &encode_id(&key.id)],
        |row| Ok((Seals(row.opt_int(1)?.unwrap_or(0) as u32), row.int(0)?)),
    )?;
    Ok(found.unwrap_or_default())
}

/// What this practitioner has keys for, of a row and its patients.
pub fn keys(tx: &mut dyn Tx, practitioner: &str, rid: i64, patients: &[String]) -> Result<Seals> {
    let practitioner = encode_id(practitioner);
    let mut all = Seals::NONE;
    for patient in patients {
        let found = tx.all(
            "SELECT seals FROM seal_key WHERE practitioner = $1 AND patient = $2 AND (whole = 1 OR rid = $3)",
            params![&practitioner, &encode_target(TypeId::PATIENT, patient), rid],
            |row| Ok(Seals(row.int(0)? as u32)),
        )?;
        all = found.into_iter().fold(all, Seals::with);
    }
    Ok(all)
}

/// Categories of this patient that the practitioner has whole keys for.
pub fn whole_keys(tx: &mut dyn Tx, practitioner: &str, patient: &str) -> Result<Seals> {
    let found = tx.all(
        "SELECT seals FROM seal_key WHERE practitioner = $1 AND patient = $2 AND whole = 1",
        params![&encode_id(practitioner), &encode_target(TypeId::PATIENT, patient)],
        |row| Ok(Seals(row.int(0)? as u32)),
    )?;
    Ok(found.into_iter().fold(Seals::NONE, Seals::with))
}

/// Of these rows those that are sealed.
pub fn among(tx: &mut dyn Tx, rids: &[i64]) -> Result<Vec<(i64, Seals)>> {
    /// Rows asked for by one statement.
    const CHUNK: usize = 200;
    let mut found = Vec::new();
    for chunk in rids.chunks(CHUNK) {
        let sql = format!(
            "SELECT rid, seals FROM sealed WHERE rid IN ({})",
            crate::sql::placeholders(1, chunk.len())
        );
        let values: Vec<crate::Param<'_>> = chunk.iter().map(|rid| (*rid).into()).collect();
        found.extend(tx.all(&sql, &values, |row| Ok((row.int(0)?, Seals(row.int(1)? as u32))))?);
    }
    Ok(found)
}
