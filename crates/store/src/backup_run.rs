//! What was done about backups: whole copies, restore drills, restores, and times in which nothing could be sent.

use crate::page::{Cursor, Page, clamp};
use crate::{Error, Result, Row, Tx, params};
use jiff::Timestamp;
use serde_json::Value;

/// Rows that are kept; older ones go when new ones come.
const KEPT: i64 = 1000;

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub id: i64,
    pub new: NewRun,
}

/// One to be written down.
#[derive(Debug, Clone, PartialEq)]
pub struct NewRun {
    /// `base`, `drill`, `outage` or `restore`.
    pub kind: String,
    pub begun: Timestamp,
    pub ended: Timestamp,
    pub is_good: bool,
    /// Who asked for it; empty if nobody did.
    pub agent: String,
    /// Sizes, checks, problems.
    pub facts: Value,
}

const COLUMNS: &str = "id, kind, begun_us, ended_us, is_good, agent, facts";

fn read(row: &Row<'_>) -> Result<Run> {
    let facts = serde_json::from_str(row.text(6)?).map_err(|_| Error::Corrupt("backup run".into()))?;
    let new = NewRun {
        kind: row.string(1)?,
        begun: row.time(2)?,
        ended: row.time(3)?,
        is_good: row.bool(4)?,
        agent: row.string(5)?,
        facts,
    };
    Ok(Run { id: row.int(0)?, new })
}

/// Writes one down and forgets those that are too many.
pub fn insert(tx: &mut dyn Tx, new: &NewRun) -> Result<()> {
    tx.execute(
        "INSERT INTO backup_run (kind, begun_us, ended_us, is_good, agent, facts) VALUES ($1, $2, $3, $4, $5, $6)",
        params![&new.kind, new.begun, new.ended, new.is_good, &new.agent, &new.facts.to_string()],
    )?;
    tx.execute("DELETE FROM backup_run WHERE id <= (SELECT max(id) FROM backup_run) - $1", params![KEPT])?;
    Ok(())
}

/// Newest first; of one kind or of all. Errors: [Error::Invalid] for a cursor that is none.
pub fn list(tx: &mut dyn Tx, kind: Option<&str>, cursor: Option<&str>, limit: u32) -> Result<Page<Run>> {
    let (limit, start) = (clamp(limit), Cursor::newest_or(cursor)?);
    let rows = match kind {
        Some(kind) => tx.all(
            &format!(
                "SELECT {COLUMNS} FROM backup_run WHERE kind = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
            ),
            params![kind, start.number, i64::from(limit) + 1],
            read,
        ),
        None => tx.all(
            &format!("SELECT {COLUMNS} FROM backup_run WHERE id < $1 ORDER BY id DESC LIMIT $2"),
            params![start.number, i64::from(limit) + 1],
            read,
        ),
    }?;
    Ok(Page::cut(rows, limit, |run| Cursor { time_us: 0, number: run.id }))
}

/// The last one of this kind, or the last good one.
pub fn last(tx: &mut dyn Tx, kind: &str, only_good: bool) -> Result<Option<Run>> {
    tx.one(
        &format!(
            "SELECT {COLUMNS} FROM backup_run WHERE kind = $1 AND is_good >= $2 ORDER BY id DESC LIMIT 1"
        ),
        params![kind, only_good],
        read,
    )
}
