//! Named views: their definition, and how far their files are.

use crate::{Error, Result, Tx, params};
use jiff::Timestamp;
use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
pub struct New {
    pub name: String,
    /// The ViewDefinition.
    pub definition: Value,
    /// `csv`, `ndjson`, `parquet`
    pub formats: Vec<String>,
    /// Seconds from one refresh to the next.
    pub every_s: i64,
    pub owner: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct View {
    pub name: String,
    pub definition: Value,
    pub formats: Vec<String>,
    pub every_s: i64,
    pub owner: String,
    /// Changes up to this number are in the files.
    pub seq: i64,
    /// Grows with each writing of the files; 0 before the first.
    pub generation: i64,
    pub rows: i64,
    /// Format → name and size of its file: the writer's own JSON.
    pub files: Value,
    pub refreshed: Option<Timestamp>,
    pub due: Timestamp,
    /// What was wrong at the last refresh.
    pub error: Option<String>,
    pub created: Timestamp,
    /// Fencing token of the lease.
    pub token: i64,
}

/// What a refresh changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Refreshed {
    pub seq: i64,
    pub generation: i64,
    pub rows: i64,
    pub files: Value,
    /// Seconds until the next refresh.
    pub due_in_s: i64,
    pub error: Option<String>,
}

const COLUMNS: &str = "name, definition, formats, every_s, owner, seq, generation, row_count, files, refreshed_us, due_us, \
     error, created_us, token";

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|_| Error::Corrupt("view".into()))
}

fn read(row: &crate::Row<'_>) -> Result<View> {
    let formats = json(row.text(2)?)?;
    let formats = formats.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    Ok(View {
        name: row.string(0)?,
        definition: json(row.text(1)?)?,
        formats: formats.collect(),
        every_s: row.int(3)?,
        owner: row.string(4)?,
        seq: row.int(5)?,
        generation: row.int(6)?,
        rows: row.int(7)?,
        files: json(row.text(8)?)?,
        refreshed: row.opt_time(9)?,
        due: row.time(10)?,
        error: row.opt_string(11)?,
        created: row.time(12)?,
        token: row.int(13)?,
    })
}

/// Writes a view or replaces it; its files are then made anew, from the first resource on. True if it is new.
pub fn put(tx: &mut dyn Tx, new: &New) -> Result<bool> {
    let now = tx.now()?;
    let is_new = load(tx, &new.name)?.is_none();
    tx.execute(
        "INSERT INTO view (name, definition, formats, every_s, owner, seq, generation, row_count, files, due_us, token, \
         lease_us, created_us) VALUES ($1, $2, $3, $4, $5, 0, 0, 0, '{}', $6, 0, 0, $6) \
         ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, formats = excluded.formats, \
         every_s = excluded.every_s, owner = excluded.owner, seq = 0, due_us = excluded.due_us, \
         token = view.token + 1, lease_us = 0, error = NULL",
        params![
            &new.name,
            &new.definition.to_string(),
            &Value::from(new.formats.clone()).to_string(),
            new.every_s,
            &new.owner,
            now
        ],
    )?;
    tx.wake();
    Ok(is_new)
}

pub fn load(tx: &mut dyn Tx, name: &str) -> Result<Option<View>> {
    tx.one(&format!("SELECT {COLUMNS} FROM view WHERE name = $1"), params![name], read)
}

/// All views by name, at most [crate::MAX_ROWS].
pub fn list(tx: &mut dyn Tx) -> Result<Vec<View>> {
    tx.all(
        &format!("SELECT {COLUMNS} FROM view ORDER BY name LIMIT $1"),
        params![i64::from(crate::MAX_ROWS)],
        read,
    )
}

/// Returns whether it was there.
pub fn remove(tx: &mut dyn Tx, name: &str) -> Result<bool> {
    Ok(tx.execute("DELETE FROM view WHERE name = $1", params![name])? == 1)
}

/// Refreshes it as soon as a worker has time. Returns whether it is there.
pub fn hasten(tx: &mut dyn Tx, name: &str) -> Result<bool> {
    let now = tx.now()?;
    tx.wake();
    Ok(tx.execute("UPDATE view SET due_us = $2 WHERE name = $1", params![name, now])? == 1)
}

/// Takes the view that has been due longest, for `lease_ms`.
pub fn lease(tx: &mut dyn Tx, lease_ms: i64) -> Result<Option<View>> {
    let now = tx.now()?.as_microsecond();
    let sql = format!(
        "SELECT {COLUMNS} FROM view WHERE due_us <= $1 AND lease_us <= $1 ORDER BY due_us, name LIMIT 1{}",
        tx.dialect().skip_locked()
    );
    let Some(mut view) = tx.one(&sql, params![now], read)? else { return Ok(None) };
    view.token += 1;
    tx.execute(
        "UPDATE view SET token = $2, lease_us = $3 WHERE name = $1",
        params![&view.name, view.token, now.saturating_add(lease_ms * 1000)],
    )?;
    Ok(Some(view))
}

/// Prolongs a lease. False if it was lost, or the view was removed or replaced.
pub fn renew(tx: &mut dyn Tx, name: &str, token: i64, lease_ms: i64) -> Result<bool> {
    let until = tx.now()?.as_microsecond().saturating_add(lease_ms * 1000);
    let changed = tx.execute(
        "UPDATE view SET lease_us = $3 WHERE name = $1 AND token = $2",
        params![name, token, until],
    )?;
    Ok(changed == 1)
}

/// Notes a refresh and gives the lease back. False as for [renew].
pub fn refreshed(tx: &mut dyn Tx, name: &str, token: i64, new: &Refreshed) -> Result<bool> {
    let now = tx.now()?;
    let changed = tx.execute(
        "UPDATE view SET seq = $3, generation = $4, row_count = $5, files = $6, refreshed_us = $7, due_us = $8, error = $9, \
         lease_us = 0 WHERE name = $1 AND token = $2",
        params![
            name,
            token,
            new.seq,
            new.generation,
            new.rows,
            &new.files.to_string(),
            now,
            now.as_microsecond().saturating_add(new.due_in_s * 1_000_000),
            new.error.as_ref()
        ],
    )?;
    Ok(changed == 1)
}

/// Notes that a refresh failed; what was there stays, and it is tried again. False as for [renew].
pub fn failed(tx: &mut dyn Tx, name: &str, token: i64, error: &str, due_in_s: i64) -> Result<bool> {
    let due = tx.now()?.as_microsecond().saturating_add(due_in_s * 1_000_000);
    let changed = tx.execute(
        "UPDATE view SET error = $3, due_us = $4, lease_us = 0 WHERE name = $1 AND token = $2",
        params![name, token, error, due],
    )?;
    Ok(changed == 1)
}

/// Whether [lease] would find one. A read, for whoever looks often.
pub fn is_due(tx: &mut dyn Tx) -> Result<bool> {
    let now = tx.now()?;
    let found =
        tx.one("SELECT 1 FROM view WHERE due_us <= $1 AND lease_us <= $1 LIMIT 1", params![now], |_| Ok(()))?;
    Ok(found.is_some())
}
