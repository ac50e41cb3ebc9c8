//! Closure tables: the concepts that a client has named.

use crate::{Result, Tx, params};

/// A table of one owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closure {
    pub id: i64,
    /// 0 when nothing was added yet.
    pub version: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub system: String,
    pub code: String,
    /// Version of the table that it came with.
    pub version: u32,
}

pub fn find(tx: &mut dyn Tx, owner: &str, name: &str) -> Result<Option<Closure>> {
    tx.one("SELECT id, version FROM closure WHERE owner = $1 AND name = $2", params![owner, name], |row| {
        Ok(Closure { id: row.int(0)?, version: row.int(1)? as u32 })
    })
}

/// Makes the table, or empties it if there is one. False if the owner has `most` others already.
pub fn start(tx: &mut dyn Tx, owner: &str, name: &str, most: u32) -> Result<bool> {
    if let Some(found) = find(tx, owner, name)? {
        tx.execute("DELETE FROM closure_concept WHERE closure = $1", params![found.id])?;
        tx.execute("UPDATE closure SET version = 0 WHERE id = $1", params![found.id])?;
        return Ok(true);
    }
    let count = tx.one("SELECT count(*) FROM closure WHERE owner = $1", params![owner], |row| row.int(0))?;
    if count.unwrap_or(0) >= i64::from(most) {
        return Ok(false);
    }
    tx.execute("INSERT INTO closure (owner, name, version) VALUES ($1, $2, 0)", params![owner, name])?;
    Ok(true)
}

/// Adds concepts, (system, code); returns the table's version before and after, which rises if one of them is new. `None`
/// if there would be more than `most`.
pub fn add(
    tx: &mut dyn Tx,
    closure: Closure,
    concepts: &[(String, String)],
    most: u32,
) -> Result<Option<(u32, u32)>> {
    // Two requests at once must not take the same version.
    tx.execute("UPDATE closure SET version = version WHERE id = $1", params![closure.id])?;
    let before =
        tx.one("SELECT version FROM closure WHERE id = $1", params![closure.id], |row| row.int(0))?;
    let before = before.unwrap_or(0);
    let mut added = 0;
    for (system, code) in concepts {
        added += tx.execute(
            "INSERT INTO closure_concept (closure, system, code, version) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (closure, system, code) DO NOTHING",
            params![closure.id, system, code, before + 1],
        )?;
    }
    if added == 0 {
        return Ok(Some((before as u32, before as u32)));
    }
    let count =
        tx.one("SELECT count(*) FROM closure_concept WHERE closure = $1", params![closure.id], |row| {
            row.int(0)
        })?;
    if count.unwrap_or(0) > i64::from(most) {
        return Ok(None);
    }
    tx.execute("UPDATE closure SET version = $2 WHERE id = $1", params![closure.id, before + 1])?;
    Ok(Some((before as u32, (before + 1) as u32)))
}

/// All concepts up to a version, by system and code.
pub fn members(tx: &mut dyn Tx, closure: Closure, until: u32) -> Result<Vec<Member>> {
    tx.all(
        "SELECT system, code, version FROM closure_concept WHERE closure = $1 AND version <= $2 \
         ORDER BY system, code",
        params![closure.id, i64::from(until)],
        |row| Ok(Member { system: row.string(0)?, code: row.string(1)?, version: row.int(2)? as u32 }),
    )
}
