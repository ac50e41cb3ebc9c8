//! Histories of a type and of the whole record, newest first in commit order.

use crate::ids::encode_id;
use crate::page::clamp;
use crate::resource::{Version, read_version_row};
use crate::{Error, Result, Tx, params};
use fhir::{ResourceKey, TypeId};
use jiff::Timestamp;

/// One version of some resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub key: ResourceKey,
    pub version: Version,
    /// When the next version replaced it; `None` for the current one.
    pub replaced: Option<Timestamp>,
    /// Patients of the resource as it is now; ids.
    pub patients: Vec<String>,
}

/// Types of which there is at least one resource, deleted ones included.
pub fn kinds(tx: &mut dyn Tx) -> Result<Vec<TypeId>> {
    let mut found = Vec::new();
    let mut after = -1;
    // One seek per type, however many rows there are.
    while let Some(Some(number)) =
        tx.one("SELECT min(type_id) FROM resource WHERE type_id > $1", params![after], |row| row.opt_int(0))?
    {
        found.push(TypeId(u16::try_from(number).map_err(|_| Error::Corrupt("resource type".into()))?));
        after = number;
    }
    Ok(found)
}

/// At most `limit` versions of resources of `kind` with a change number below `below`, newest first.
pub fn of_kind(tx: &mut dyn Tx, kind: TypeId, below: i64, limit: u32) -> Result<Vec<Change>> {
    let limit = i64::from(clamp(limit));
    // What they contain is read once it is known whose they are, and of those that are returned.
    let mut numbered: Vec<(bool, i64, i64, u32)> = Vec::new();
    for (table, is_current) in [("resource", true), ("history", false)] {
        let sql = format!(
            "SELECT x.seq, x.rid, x.version FROM {table} x WHERE x.type_id = $1 AND x.seq < $2 ORDER BY x.seq DESC LIMIT $3"
        );
        numbered.extend(tx.all(&sql, params![kind.0, below, limit], |row| {
            Ok((is_current, row.int(0)?, row.int(1)?, row.int(2)? as u32))
        })?);
    }
    numbered.sort_by_key(|(_, seq, ..)| std::cmp::Reverse(*seq));
    numbered.truncate(usize::try_from(limit).unwrap_or(0));
    let mut changes = Vec::with_capacity(numbered.len());
    for (is_current, _, rid, number) in numbered {
        let Some((key, patients)) = crate::resource::key_and_patients(tx, rid)? else {
            return Err(Error::Corrupt("a version without its resource".into()));
        };
        let table = if is_current { "resource" } else { "history" };
        let id = encode_id(&key.id);
        let version = tx.one(
            &format!(
                "SELECT version, seq, last_updated_us, deleted, content FROM {table} WHERE rid = $1 AND version = $2"
            ),
            params![rid, number],
            |row| read_version_row(row, kind, &id),
        )?;
        // A write at this moment, on a transaction that is no snapshot.
        let Some(version) = version else { continue };
        let replaced = if is_current { None } else { replaced(tx, rid, version.version + 1)? };
        changes.push(Change { key, version, replaced, patients });
    }
    Ok(changes)
}

fn replaced(tx: &mut dyn Tx, rid: i64, version: u32) -> Result<Option<Timestamp>> {
    for table in ["history", "resource"] {
        let sql = format!("SELECT last_updated_us FROM {table} WHERE rid = $1 AND version = $2");
        if let Some(at) = tx.one(&sql, params![rid, version], |row| row.time(0))? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// The version of the resource that was written at this very instant; `None` if there is none.
pub fn written_at(tx: &mut dyn Tx, key: &ResourceKey, at: Timestamp) -> Result<Option<u32>> {
    let Some(head) = crate::resource::head(tx, key)? else { return Ok(None) };
    for table in ["resource", "history"] {
        let sql = format!("SELECT max(version) FROM {table} WHERE rid = $1 AND last_updated_us = $2");
        if let Some(Some(version)) = tx.one(&sql, params![head.rid, at], |row| row.opt_int(0))? {
            return Ok(u32::try_from(version).ok());
        }
    }
    Ok(None)
}

/// When this version of the resource was replaced; `None` for the current one.
pub fn replaced_at(tx: &mut dyn Tx, key: &ResourceKey, version: u32) -> Result<Option<Timestamp>> {
    match crate::resource::head(tx, key)? {
        Some(head) => replaced(tx, head.rid, version + 1),
        None => Ok(None),
    }
}
