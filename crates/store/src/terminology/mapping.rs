//! Elements of loaded concept maps.

use super::Id;
use crate::{Param, Result, Row, Tx, params};

/// Targets of one code that are looked at.
pub const MAX_TARGETS: u32 = 500;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mapping {
    pub source_system: String,
    pub source: String,
    /// The publisher's order among the targets of one source.
    pub place: i64,
    pub target_system: String,
    pub target: String,
    pub target_display: String,
    /// ConceptMapEquivalence, e.g. `equivalent`.
    pub equivalence: String,
    pub comment: String,
}

const COLUMNS: &str =
    "source_system, source, place, target_system, target, target_display, equivalence, comment";

fn read(row: &Row<'_>) -> Result<Mapping> {
    Ok(Mapping {
        source_system: row.string(0)?,
        source: row.string(1)?,
        place: row.int(2)?,
        target_system: row.string(3)?,
        target: row.string(4)?,
        target_display: row.string(5)?,
        equivalence: row.string(6)?,
        comment: row.string(7)?,
    })
}

/// What a code is mapped to, in the publisher's order.
pub fn forward(tx: &mut dyn Tx, id: Id, source: &str) -> Result<Vec<Mapping>> {
    tx.all(
        &format!(
            "SELECT {COLUMNS} FROM terminology_mapping WHERE terminology = $1 AND source = $2 ORDER BY place LIMIT $3"
        ),
        params![id.0, source, MAX_TARGETS],
        read,
    )
}

/// What is mapped to a code.
pub fn backward(tx: &mut dyn Tx, id: Id, target: &str) -> Result<Vec<Mapping>> {
    tx.all(
        &format!(
            "SELECT {COLUMNS} FROM terminology_mapping WHERE terminology = $1 AND target = $2 \
             ORDER BY source, place LIMIT $3"
        ),
        params![id.0, target, MAX_TARGETS],
        read,
    )
}

/// Adds mappings to a map that is being loaded.
pub fn insert(tx: &mut dyn Tx, id: Id, mappings: &[Mapping]) -> Result<()> {
    let mut values: Vec<Param<'_>> = Vec::with_capacity(mappings.len() * 9);
    for m in mappings {
        values.extend_from_slice(params![
            id.0,
            &m.source_system,
            &m.source,
            m.place,
            &m.target_system,
            &m.target,
            &m.target_display,
            &m.equivalence,
            &m.comment
        ]);
    }
    tx.insert_many(
        &format!("INSERT INTO terminology_mapping (terminology, {COLUMNS})"),
        "ON CONFLICT DO NOTHING",
        9,
        &values,
    )?;
    Ok(())
}
