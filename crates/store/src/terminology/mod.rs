//! Loaded code systems and concept maps, several versions side by side.
//!
//! A version is written under a new [Id] while nobody can find it, put in use in one transaction, and removed piece
//! by piece after another took its place. So a search never sees half a system.

pub mod closure;
pub mod concept;
pub mod mapping;
pub mod posting;
mod ranges;

pub use concept::{Concept, Designation, Detail, Property, Value};
pub use mapping::Mapping;
pub use ranges::{Ranges, RangesWriter, Union};

use crate::{Result, Row, Tx, params};
use fhir::{ParamId, TypeId};
use jiff::Timestamp;
use std::sync::Arc;

/// A loaded version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id(pub i64);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    CodeSystem,
    ConceptMap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Loading,
    InUse,
    Removing,
}

const LOADING: i64 = 0;
/// 2 is [State::Removing].
const IN_USE: i64 = 1;

/// One version of a code system or concept map.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub id: Id,
    pub kind: Kind,
    pub url: String,
    /// "" if the publisher gave none.
    pub version: String,
    pub state: State,
    /// Meant when no version is named.
    pub is_default: bool,
    /// Concepts or mappings.
    pub entries: u64,
    pub at: Timestamp,
    /// JSON: the resource without concepts or groups.
    pub header: String,
}

/// Rows of a table removed in one transaction: other writers wait some milliseconds at most.
pub const REMOVE_ROWS: u32 = 500;

fn key(id: Id, number: u32) -> i64 {
    (id.0 << 32) | i64::from(number)
}

const COLUMNS: &str = "id, kind, url, version, state, is_default, entries, at_us, header";

fn read(row: &Row<'_>) -> Result<Entry> {
    Ok(Entry {
        id: Id(row.int(0)?),
        kind: if row.int(1)? == 0 { Kind::CodeSystem } else { Kind::ConceptMap },
        url: row.string(2)?,
        version: row.string(3)?,
        state: match row.int(4)? {
            LOADING => State::Loading,
            IN_USE => State::InUse,
            _ => State::Removing,
        },
        is_default: row.bool(5)?,
        entries: row.int(6)?.unsigned_abs(),
        at: row.time(7)?,
        header: row.string(8)?,
    })
}

fn code(kind: Kind) -> i64 {
    match kind {
        Kind::CodeSystem => 0,
        Kind::ConceptMap => 1,
    }
}

/// Everything there is, also what is half loaded or half removed.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<Entry>> {
    tx.all(&format!("SELECT {COLUMNS} FROM terminology ORDER BY kind, url, version, id"), &[], read)
}

/// The version in use; without `version` the default one.
pub fn find(tx: &mut dyn Tx, kind: Kind, url: &str, version: Option<&str>) -> Result<Option<Entry>> {
    let base = format!("SELECT {COLUMNS} FROM terminology WHERE kind = $1 AND url = $2 AND state = 1");
    match version {
        Some(version) => tx.one(&format!("{base} AND version = $3"), params![code(kind), url, version], read),
        None => tx.one(
            &format!("{base} ORDER BY is_default DESC, id DESC LIMIT 1"),
            params![code(kind), url],
            read,
        ),
    }
}

/// Maps in use; at most 1000.
pub fn in_use(tx: &mut dyn Tx, kind: Kind) -> Result<Vec<Entry>> {
    tx.all(
        &format!(
            "SELECT {COLUMNS} FROM terminology WHERE kind = $1 AND state = 1 ORDER BY url, id LIMIT 1000"
        ),
        params![code(kind)],
        read,
    )
}

/// Begins a version; its content is added under the returned number.
pub fn stage(
    tx: &mut dyn Tx,
    kind: Kind,
    url: &str,
    version: &str,
    header: &str,
    now: Timestamp,
) -> Result<Id> {
    let id = tx.one(
        "INSERT INTO terminology (kind, url, version, state, is_default, entries, at_us, header) \
         VALUES ($1, $2, $3, 0, 0, 0, $4, $5) RETURNING id",
        params![code(kind), url, version, now, header],
        |row| row.int(0),
    )?;
    id.map(Id).ok_or_else(ranges::corrupt)
}

/// Puts a version in use, in place of the same version if there is one. It becomes the default if `as_default` or if
/// there is none yet. Returns what it replaced, which is then to be removed. False if it is not there any more.
pub fn activate(tx: &mut dyn Tx, id: Id, entries: u64, as_default: bool) -> Result<bool> {
    let sql = format!("SELECT {COLUMNS} FROM terminology WHERE id = $1 AND state = 0");
    let Some(mine) = tx.one(&sql, params![id.0], read)? else { return Ok(false) };
    let old = find(tx, mine.kind, &mine.url, Some(&mine.version))?;
    let was_default = old.as_ref().is_some_and(|o| o.is_default);
    if let Some(old) = &old {
        tx.execute("UPDATE terminology SET state = 2, is_default = 0 WHERE id = $1", params![old.id.0])?;
    }
    tx.execute(
        "UPDATE terminology SET state = 1, entries = $2 WHERE id = $1",
        params![id.0, i64::try_from(entries).unwrap_or(i64::MAX)],
    )?;
    let none = find(tx, mine.kind, &mine.url, None)?.is_none_or(|d| !d.is_default);
    if as_default || was_default || none {
        make_default(tx, mine.kind, &mine.url, id)?;
    }
    Ok(true)
}

/// Has a version be meant when none is named.
pub fn make_default(tx: &mut dyn Tx, kind: Kind, url: &str, id: Id) -> Result<()> {
    tx.execute(
        "UPDATE terminology SET is_default = CASE WHEN id = $3 THEN 1 ELSE 0 END WHERE kind = $1 AND url = $2",
        params![code(kind), url, id.0],
    )?;
    Ok(())
}

/// Takes a version out of use; its rows go by [remove_some]. If it was the default, the newest other becomes it.
pub fn retire(tx: &mut dyn Tx, id: Id) -> Result<()> {
    let sql = format!("SELECT {COLUMNS} FROM terminology WHERE id = $1");
    let Some(entry) = tx.one(&sql, params![id.0], read)? else { return Ok(()) };
    tx.execute("UPDATE terminology SET state = 2, is_default = 0 WHERE id = $1", params![id.0])?;
    if entry.is_default
        && let Some(next) = find(tx, entry.kind, &entry.url, None)?
    {
        make_default(tx, entry.kind, &entry.url, next.id)?;
    }
    Ok(())
}

/// Removes up to [REMOVE_ROWS] rows of each table of a version that is not in use; false once nothing is left.
pub fn remove_some(tx: &mut dyn Tx, id: Id) -> Result<bool> {
    let concepts = tx.execute(
        "DELETE FROM terminology_concept WHERE key IN \
         (SELECT key FROM terminology_concept WHERE key BETWEEN $1 AND $2 ORDER BY key LIMIT $3)",
        params![key(id, 0), key(id, u32::MAX), REMOVE_ROWS],
    )?;
    let postings = tx.execute(
        "DELETE FROM terminology_posting WHERE terminology = $1 AND key IN \
         (SELECT key FROM terminology_posting WHERE terminology = $1 ORDER BY key LIMIT $2)",
        params![id.0, REMOVE_ROWS],
    )?;
    let mappings = tx.execute(
        "DELETE FROM terminology_mapping WHERE terminology = $1 AND source IN \
         (SELECT source FROM terminology_mapping WHERE terminology = $1 ORDER BY source LIMIT $2)",
        params![id.0, REMOVE_ROWS],
    )?;
    if concepts + postings + mappings > 0 {
        return Ok(true);
    }
    tx.execute("DELETE FROM terminology WHERE id = $1 AND state <> 1", params![id.0])?;
    Ok(false)
}

/// Lets PostgreSQL know how much was loaded; its planner would otherwise think the tables empty for a while.
pub fn analyze(tx: &mut dyn Tx) -> Result<()> {
    if tx.dialect() == crate::Dialect::Postgres {
        for table in ["terminology", "terminology_concept", "terminology_posting", "terminology_mapping"] {
            tx.execute(&format!("ANALYZE {table}"), &[])?;
        }
    }
    Ok(())
}

/// A stored CodeSystem, ValueSet or ConceptMap resource.
#[derive(Debug, Clone)]
pub struct Canonical {
    pub rid: i64,
    pub version: i64,
    pub id: String,
}

/// Current resources of a type with this canonical URL, newest first; at most 20. `param` is the type's `url`.
pub fn resources(tx: &mut dyn Tx, kind: TypeId, param: ParamId, url: &str) -> Result<Vec<Canonical>> {
    tx.all(
        "SELECT r.rid, r.version, r.id FROM uri u JOIN resource r ON r.rid = u.rid \
         WHERE u.param = $1 AND u.value = $2 AND r.type_id = $3 AND r.deleted = 0 \
         ORDER BY r.last_updated_us DESC, r.rid DESC LIMIT 20",
        params![crate::index::param_number(param), url, i64::from(kind.0)],
        |row| {
            Ok(Canonical {
                rid: row.int(0)?,
                version: row.int(1)?,
                id: crate::ids::decode_id(row.bytes(2)?)?,
            })
        },
    )
}

/// The content of the current version.
pub fn content(tx: &mut dyn Tx, rid: i64) -> Result<Option<Arc<[u8]>>> {
    let sql =
        format!("SELECT {} FROM resource r WHERE r.rid = $1 AND r.deleted = 0", crate::resource::COLUMNS);
    let found = tx.one(&sql, params![rid], crate::resource::read_stored)?;
    Ok(found.filter(|(stored, _)| !stored.deleted).map(|(stored, _)| stored.content))
}

/// Canonical URLs of all current resources of a type; at most 1000.
pub fn urls(tx: &mut dyn Tx, kind: TypeId, param: Option<ParamId>) -> Result<Vec<String>> {
    let Some(param) = param else { return Ok(Vec::new()) };
    tx.all(
        "SELECT DISTINCT u.value FROM uri u JOIN resource r ON r.rid = u.rid \
         WHERE u.param = $1 AND r.type_id = $2 AND r.deleted = 0 ORDER BY u.value LIMIT 1000",
        params![crate::index::param_number(param), i64::from(kind.0)],
        |row| row.string(0),
    )
}
