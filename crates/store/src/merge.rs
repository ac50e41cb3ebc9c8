//! Merges of two patients: what moved, and the rows outside the record that move along.

use crate::ids::encode_key;
use crate::{Content, Param, Result, Tx, params};
use fhir::ResourceKey;
use jiff::Timestamp;
use std::sync::Arc;
use uuid::Uuid;

/// Kinds of rows in `merge_row`.
const PAYMENT: i64 = 1;
const MESSAGE: i64 = 2;
const QUANTUM: i64 = 3;
const EMERGENCY: i64 = 4;
const PROXY: i64 = 5;
/// Rows that follow the patient by their id.
const FOLLOW: [(i64, &str); 4] =
    [(PAYMENT, "payment"), (MESSAGE, "message"), (EMERGENCY, "emergency"), (PROXY, "proxy")];

/// A merge to write down.
#[derive(Debug, Clone, PartialEq)]
pub struct New {
    pub id: Uuid,
    pub source: ResourceKey,
    pub target: ResourceKey,
    pub at: Timestamp,
    /// What record needs to take it back, JSON.
    pub content: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Merge {
    pub id: Uuid,
    pub source: ResourceKey,
    pub target: ResourceKey,
    pub at: Timestamp,
    pub content: Arc<[u8]>,
}

fn read(row: &crate::Row<'_>) -> Result<Merge> {
    Ok(Merge {
        id: Uuid::from_slice(row.bytes(0)?).map_err(|_| crate::Error::Corrupt("merge id".into()))?,
        source: row.key(1)?,
        target: row.key(2)?,
        at: row.time(3)?,
        content: Content::read(row.bytes(4)?)?,
    })
}

/// Merges of this source that are in force, newest first.
pub fn in_force(tx: &mut dyn Tx, source: &ResourceKey) -> Result<Vec<Merge>> {
    tx.all(
        "SELECT id, source, target, at_us, content FROM merge WHERE source = $1 AND undone_us IS NULL \
         ORDER BY at_us DESC, id DESC LIMIT 100",
        params![&encode_key(source)],
        read,
    )
}

/// Writes the merge down and moves payments, messages, emergencies, proxies, keys of seals and held time from source to
/// target. Time that the target holds already for something else stays the target's.
pub fn apply(tx: &mut dyn Tx, new: &New) -> Result<()> {
    let (source, target) = (encode_key(&new.source), encode_key(&new.target));
    tx.execute(
        "INSERT INTO merge (id, source, target, at_us, undone_us, content) VALUES ($1, $2, $3, $4, NULL, $5)",
        params![&new.id, &source, &target, new.at, Content::new(&new.content).stored()],
    )?;
    for (kind, table) in FOLLOW {
        let sql = format!("SELECT id FROM {table} WHERE patient = $1");
        for id in tx.all(&sql, params![&source], |row| Ok(row.bytes(0)?.to_vec()))? {
            remember(tx, &new.id, kind, &id, 0)?;
        }
        tx.execute(
            &format!("UPDATE {table} SET patient = $2 WHERE patient = $1"),
            params![&source, &target],
        )?;
    }
    // Whoever may see a row by its key goes on seeing it.
    tx.execute(
        "INSERT INTO seal_key (practitioner, patient, rid, seals, whole) SELECT practitioner, $2, rid, seals, whole \
         FROM seal_key WHERE patient = $1 ON CONFLICT DO NOTHING",
        params![&source, &target],
    )?;
    let held = tx.all(
        "SELECT quantum, holder FROM claim WHERE actor = $1 ORDER BY quantum",
        params![&source],
        |row| Ok((row.int(0)?, row.bytes(1)?.to_vec())),
    )?;
    for (quantum, holder) in held {
        remember(tx, &new.id, QUANTUM, &holder, quantum)?;
        tx.execute(
            "INSERT INTO claim (actor, quantum, holder) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            params![&target, quantum, &holder],
        )?;
    }
    tx.execute("DELETE FROM claim WHERE actor = $1", params![&source])?;
    Ok(())
}

fn remember(tx: &mut dyn Tx, merge: &Uuid, kind: i64, item: &[u8], quantum: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO merge_row (merge, kind, item, quantum) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        params![merge, kind, item, quantum],
    )?;
    Ok(())
}

/// Takes back what [apply] moved, as far as it is still the target's, and marks the merge as undone. `false` if it was
/// undone already: nothing was changed.
pub fn undo(tx: &mut dyn Tx, id: &Uuid, at: Timestamp) -> Result<bool> {
    let lock = tx.dialect().for_update();
    let sql = format!("SELECT source, target FROM merge WHERE id = $1 AND undone_us IS NULL{lock}");
    let found = tx.one(&sql, params![id], |row| Ok((row.bytes(0)?.to_vec(), row.bytes(1)?.to_vec())))?;
    let Some((source, target)) = found else { return Ok(false) };
    tx.execute("UPDATE merge SET undone_us = $2 WHERE id = $1", params![id, at])?;
    for (kind, table) in FOLLOW {
        let sql = format!(
            "UPDATE {table} SET patient = $1 WHERE patient = $2 AND id IN \
             (SELECT item FROM merge_row WHERE merge = $3 AND kind = {kind})"
        );
        tx.execute(&sql, params![&source, &target, id])?;
    }
    let held = tx.all(
        "SELECT item, quantum FROM merge_row WHERE merge = $1 AND kind = $2",
        params![id, QUANTUM],
        |row| Ok((row.bytes(0)?.to_vec(), row.int(1)?)),
    )?;
    for (holder, quantum) in held {
        // Whoever has let go of the time meanwhile (a cancelled appointment) does not get it back.
        let alive: [Param<'_>; 1] = [Param::Bytes(&holder)];
        if tx.one("SELECT 1 FROM claim WHERE holder = $1 LIMIT 1", &alive, |_| Ok(()))?.is_none() {
            continue;
        }
        tx.execute(
            "DELETE FROM claim WHERE actor = $1 AND quantum = $2 AND holder = $3",
            params![&target, quantum, &holder],
        )?;
        tx.execute(
            "INSERT INTO claim (actor, quantum, holder) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            params![&source, quantum, &holder],
        )?;
    }
    Ok(true)
}

/// Payments and messages that [apply] would move, for a preview.
pub fn count(tx: &mut dyn Tx, source: &ResourceKey) -> Result<(u64, u64)> {
    let source = encode_key(source);
    let mut counts = [0u64; 2];
    for (count, table) in counts.iter_mut().zip(["payment", "message"]) {
        let sql = format!("SELECT count(*) FROM {table} WHERE patient = $1");
        *count = tx.one(&sql, params![&source], |row| row.int(0))?.unwrap_or(0).max(0) as u64;
    }
    Ok((counts[0], counts[1]))
}

/// Types that still refer to the source, as they stand in this transaction: `(type, row number)`.
pub fn left_behind(tx: &mut dyn Tx, source: &ResourceKey) -> Result<Vec<(fhir::TypeId, i64)>> {
    tx.all(
        "SELECT DISTINCT f.type_id, f.rid FROM reference f JOIN resource r ON r.rid = f.rid \
         WHERE f.target = $1 AND r.deleted = 0",
        params![&encode_key(source)],
        |row| {
            let kind =
                u16::try_from(row.int(0)?).map_err(|_| crate::Error::Corrupt("resource type".into()))?;
            Ok((fhir::TypeId(kind), row.int(1)?))
        },
    )
}
