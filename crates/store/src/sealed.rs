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
    set_parts(tx, rid, seals, Seals::NONE, patients, holders)
}

/// As [set], where parts of the row are sealed as well: keys open both, the row by itself is sealed as `seals` only.
pub fn set_parts(
    tx: &mut dyn Tx,
    rid: i64,
    seals: Seals,
    parts: Seals,
    patients: &[String],
    holders: &[KeyHolder],
) -> Result<()> {
    if seals.is_none() {
        tx.execute("DELETE FROM sealed WHERE rid = $1", params![rid])?;
    } else {
        tx.execute(
            "INSERT INTO sealed (rid, seals) VALUES ($1, $2) ON CONFLICT (rid) DO UPDATE SET seals = excluded.seals",
            params![rid, seals.0],
        )?;
    }
    let seals = seals.with(parts);
    if seals.is_none() {
        tx.execute("DELETE FROM seal_key WHERE rid = $1", params![rid])?;
        return Ok(());
    }
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

/// Says that parts of the row are hidden from some: `parts` by their labels, and `refers` if it refers to sealed rows.
pub fn set_veiled(tx: &mut dyn Tx, rid: i64, parts: Seals, refers: bool) -> Result<()> {
    if parts.is_none() && !refers {
        tx.execute("DELETE FROM veiled WHERE rid = $1", params![rid])?;
        return Ok(());
    }
    tx.execute(
        "INSERT INTO veiled (rid, parts) VALUES ($1, $2) ON CONFLICT (rid) DO UPDATE SET parts = excluded.parts",
        params![rid, parts.0],
    )?;
    Ok(())
}

/// Whether the row is one of [set_veiled].
pub fn is_veiled(tx: &mut dyn Tx, rid: i64) -> Result<bool> {
    Ok(tx.one("SELECT 1 FROM veiled WHERE rid = $1", params![rid], |row| row.int(0))?.is_some())
}

/// Marks every row whose search values refer to this one, which is sealed now. Returns how many.
pub fn veil_referrers(tx: &mut dyn Tx, target: &ResourceKey) -> Result<u64> {
    tx.execute(
        "INSERT INTO veiled (rid, parts) SELECT DISTINCT x.rid, 0 FROM reference x WHERE x.target = $1 \
         ON CONFLICT (rid) DO NOTHING",
        params![&encode_target(target.kind, &target.id)],
    )
}

/// Whether any row is sealed at all.
pub fn any(tx: &mut dyn Tx) -> Result<bool> {
    Ok(tx.one("SELECT 1 FROM sealed LIMIT 1", params![], |row| row.int(0))?.is_some())
}

/// Of these rows those of [set_veiled].
pub fn veiled_among(tx: &mut dyn Tx, rids: &[i64]) -> Result<Vec<i64>> {
    const CHUNK: usize = 200;
    let mut found = Vec::new();
    for chunk in rids.chunks(CHUNK) {
        let sql =
            format!("SELECT rid FROM veiled WHERE rid IN ({})", crate::sql::placeholders(1, chunk.len()));
        let values: Vec<crate::Param<'_>> = chunk.iter().map(|rid| (*rid).into()).collect();
        found.extend(tx.all(&sql, &values, |row| row.int(0))?);
    }
    Ok(found)
}

/// Those of `keys` that are sealed as they are now.
pub fn sealed_of(tx: &mut dyn Tx, keys: &[&ResourceKey]) -> Result<Vec<ResourceKey>> {
    const CHUNK: usize = 40;
    let mut found = Vec::new();
    for chunk in keys.chunks(CHUNK) {
        let ids: Vec<Vec<u8>> = chunk.iter().map(|key| encode_id(&key.id)).collect();
        let each: Vec<String> = (0..chunk.len())
            .map(|n| format!("(r.type_id = ${} AND r.id = ${})", 2 * n + 1, 2 * n + 2))
            .collect();
        let sql = format!(
            "SELECT r.type_id, r.id FROM resource r WHERE ({}) AND EXISTS (SELECT 1 FROM sealed s WHERE s.rid = r.rid)",
            each.join(" OR ")
        );
        let mut values: Vec<crate::Param<'_>> = Vec::with_capacity(chunk.len() * 2);
        for (key, id) in chunk.iter().zip(&ids) {
            values.push(key.kind.0.into());
            values.push(id.as_slice().into());
        }
        let rows = tx.all(&sql, &values, |row| Ok((row.int(0)?, row.bytes(1)?.to_vec())))?;
        for (kind, id) in rows {
            let same =
                |key: &&&ResourceKey| i64::from(key.kind.0) == kind && encode_id(&key.id)[..] == id[..];
            found.extend(chunk.iter().find(same).map(|key| (*key).clone()));
        }
    }
    Ok(found)
}

/// The next rows behind `after`, deleted ones too.
pub fn next_rids(tx: &mut dyn Tx, after: i64, limit: u32) -> Result<Vec<i64>> {
    tx.all("SELECT rid FROM resource WHERE rid > $1 ORDER BY rid LIMIT $2", params![after, limit], |row| {
        row.int(0)
    })
}

/// Rows of all types.
pub fn count_rows(tx: &mut dyn Tx) -> Result<u64> {
    let count = tx.one("SELECT count(*) FROM resource", params![], |row| row.int(0))?;
    Ok(count.unwrap_or(0).max(0) as u64)
}

const SEAL_FOUND: &str = "ON CONFLICT (rid) DO UPDATE SET seals = sealed.seals | excluded.seals";

/// Seals whatever row of the type has one of these codes of the system in the index, beside what it is sealed as.
pub fn seal_by_codes(
    tx: &mut dyn Tx,
    kind: TypeId,
    system: &str,
    codes: &[String],
    seals: Seals,
) -> Result<()> {
    let Some(term) = system_number(tx, system)? else { return Ok(()) };
    if codes.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO sealed (rid, seals) SELECT DISTINCT t.rid, {} FROM token t WHERE t.type_id = $1 AND t.system = $2 \
         AND t.code IN ({}) {SEAL_FOUND}",
        seals.0,
        crate::sql::placeholders(3, codes.len())
    );
    let mut values: Vec<crate::Param<'_>> = vec![kind.0.into(), term.into()];
    values.extend(codes.iter().map(|code| crate::Param::from(code.as_str())));
    tx.execute(&sql, &values)?;
    Ok(())
}

/// As [seal_by_codes], of codes that begin so.
pub fn seal_by_prefix(tx: &mut dyn Tx, kind: TypeId, system: &str, prefix: &str, seals: Seals) -> Result<()> {
    let Some(term) = system_number(tx, system)? else { return Ok(()) };
    let sql = format!(
        "INSERT INTO sealed (rid, seals) SELECT DISTINCT t.rid, {} FROM token t WHERE t.type_id = $1 AND t.system = $2 \
         AND t.code >= $3 AND t.code < $4 {SEAL_FOUND}",
        seals.0
    );
    let end = format!("{prefix}{}", char::MAX);
    tx.execute(&sql, params![kind.0, term, prefix, end.as_str()])?;
    Ok(())
}

fn system_number(tx: &mut dyn Tx, system: &str) -> Result<Option<i64>> {
    if system.is_empty() { Ok(Some(0)) } else { tx.term(system, false) }
}
