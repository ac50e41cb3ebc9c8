//! Everything that belongs to one resource: the rows of a patient's compartment, the rows that refer to an encounter.

use crate::ids::{decode_id, encode_key};
use crate::index::COMPARTMENT;
use crate::resource::{COLUMNS, Stored, more_patients, read_stored};
use crate::{Param, Result, Tx, params};
use fhir::{ResourceKey, TypeId};
use std::fmt::Write as _;

/// Rows loaded by one statement.
const CHUNK: usize = 64;

/// How a row belongs to the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bond {
    /// Lies in the compartment of the target, a Patient; the Patient too.
    Compartment,
    /// Refers to it by any search parameter, or lies in its compartment.
    Reference,
}

/// Row numbers of what belongs to `target`, in the order in which they were first written; only of these types unless
/// there are none. A row keeps its number for good, so a walk over it misses and repeats nothing.
pub fn members(tx: &mut dyn Tx, target: &ResourceKey, bond: Bond, kinds: &[TypeId]) -> Result<Vec<i64>> {
    let mut sql = String::from("SELECT DISTINCT rid FROM reference WHERE target = $1");
    if bond == Bond::Compartment {
        let _ = write!(sql, " AND param = {COMPARTMENT}");
    }
    if !kinds.is_empty() {
        let list: Vec<String> = kinds.iter().map(|k| k.0.to_string()).collect();
        let _ = write!(sql, " AND type_id IN ({})", list.join(", "));
    }
    sql.push_str(" ORDER BY rid");
    tx.all(&sql, params![&encode_key(target)], |row| row.int(0))
}

/// These rows, in order of their numbers; deleted ones are left out.
pub fn rows(tx: &mut dyn Tx, rids: &[i64]) -> Result<Vec<Stored>> {
    let places: Vec<String> = (1..=CHUNK).map(|n| format!("${n}")).collect();
    let sql = format!(
        "SELECT {COLUMNS} FROM resource r WHERE r.rid IN ({}) AND r.deleted = 0 ORDER BY r.rid",
        places.join(", ")
    );
    let mut found = Vec::with_capacity(rids.len());
    for chunk in rids.chunks(CHUNK) {
        // One statement for every size: no row has the number -1.
        let values: Vec<Param<'_>> =
            chunk.iter().copied().chain(std::iter::repeat(-1)).take(CHUNK).map(Param::Int).collect();
        for (mut stored, more) in tx.all(&sql, &values, read_stored)? {
            more_patients(tx, stored.rid, more, &mut stored.patients)?;
            if !stored.deleted {
                found.push(stored);
            }
        }
    }
    Ok(found)
}

/// Ids of the type that are in use, at most `limit`.
pub fn ids(tx: &mut dyn Tx, kind: TypeId, limit: u32) -> Result<Vec<String>> {
    tx.all(
        "SELECT id FROM resource WHERE type_id = $1 AND deleted = 0 ORDER BY id LIMIT $2",
        params![kind.0, limit],
        |row| decode_id(row.bytes(0)?),
    )
}
