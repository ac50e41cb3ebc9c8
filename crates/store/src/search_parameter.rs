//! The numbers of a server's own search parameters, and how far the index has come with them.

use crate::page::clamp;
use crate::resource::{self, Step, Stored};
use crate::{Error, Result, Row, Tx, lock, params, setting};
use fhir::search::{IndexEntry, State};
use fhir::{ParamId, TypeId};
use jiff::Timestamp;
use serde_json::{Value, json};

/// Numbers from here on are the server's own.
pub const FIRST: u16 = 20_000;
/// Beyond this the index keeps other values of the same parameters.
pub const LAST: u16 = 32_767;
/// Grows with every change of this table that others must notice.
const GENERATION: &str = "search_parameter.generation";
/// The next number: none is given twice while there are new ones, so that what a walk overlooked belongs to nobody.
const NEXT: &str = "search_parameter.next";
/// Numbers are given by one transaction at a time.
const LOCK: &str = "search_parameter";

/// One parameter of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    pub param: ParamId,
    /// Id of the SearchParameter.
    pub resource: String,
    pub kind: TypeId,
    pub code: String,
    pub state: State,
    /// From [fhir::search::Definition::to_json].
    pub definition: Value,
    /// The walk begins no sooner: until then other servers may still write without it.
    pub start: Timestamp,
    /// Where the walk is; for [batch].
    pub after: (i64, i64),
    /// Resources the walk has done, of about `total`.
    pub done: i64,
    pub total: i64,
}

/// A parameter to begin with.
#[derive(Debug, Clone, PartialEq)]
pub struct New<'a> {
    pub resource: &'a str,
    pub kind: TypeId,
    pub code: &'a str,
    pub definition: &'a Value,
    pub start: Timestamp,
}

fn number(state: State) -> i64 {
    match state {
        State::Building => 0,
        State::Ready => 1,
        State::Dropping => 2,
    }
}

const PARAMETER: &str =
    "param, resource, type_id, code, state, definition, start_us, after_us, after_rid, done, total";

fn read(row: &Row<'_>) -> Result<Parameter> {
    let small = |column: usize| {
        u16::try_from(row.int(column)?).map_err(|_| Error::Corrupt("search parameter".to_owned()))
    };
    Ok(Parameter {
        param: ParamId(small(0)?),
        resource: row.string(1)?,
        kind: TypeId(small(2)?),
        code: row.string(3)?,
        state: match row.int(4)? {
            0 => State::Building,
            1 => State::Ready,
            _ => State::Dropping,
        },
        definition: serde_json::from_str(row.text(5)?)
            .map_err(|_| Error::Corrupt("search parameter".to_owned()))?,
        start: row.time(6)?,
        after: (row.int(7)?, row.int(8)?),
        done: row.int(9)?,
        total: row.int(10)?,
    })
}

/// All, by number.
pub fn all(tx: &mut dyn Tx) -> Result<Vec<Parameter>> {
    tx.all(&format!("SELECT {PARAMETER} FROM search_parameter ORDER BY param"), &[], read)
}

/// Those of one SearchParameter, by number.
pub fn of_resource(tx: &mut dyn Tx, id: &str) -> Result<Vec<Parameter>> {
    let sql = format!("SELECT {PARAMETER} FROM search_parameter WHERE resource = $1 ORDER BY param");
    tx.all(&sql, params![id], read)
}

/// Whose walk is not done and may begin, by number.
pub fn due(tx: &mut dyn Tx) -> Result<Option<ParamId>> {
    let now = tx.now()?;
    let sql = "SELECT param FROM search_parameter WHERE state <> 1 AND start_us <= $1 ORDER BY param LIMIT 1";
    let found = tx.one(sql, params![now], |row| row.int(0))?;
    Ok(found.and_then(|n| u16::try_from(n).ok()).map(ParamId))
}

/// One, for changing it: whoever else wants to waits.
pub fn lock_one(tx: &mut dyn Tx, param: ParamId) -> Result<Option<Parameter>> {
    let lock = tx.dialect().for_update();
    let sql = format!("SELECT {PARAMETER} FROM search_parameter WHERE param = $1{lock}");
    tx.one(&sql, params![param.0], read)
}

/// Changes whenever a parameter comes, becomes ready or goes.
pub fn generation(tx: &mut dyn Tx) -> Result<i64> {
    Ok(setting::get(tx, GENERATION)?.and_then(|v| v.as_i64()).unwrap_or(0))
}

fn changed(tx: &mut dyn Tx) -> Result<()> {
    lock::take(tx, lock::number(LOCK))?;
    let next = generation(tx)? + 1;
    setting::put(tx, GENERATION, &json!(next))?;
    tx.wake();
    Ok(())
}

/// Begins a parameter. `None` if another one of the type has the code, or all numbers are taken.
pub fn insert(tx: &mut dyn Tx, new: &New<'_>) -> Result<Option<ParamId>> {
    changed(tx)?;
    let mut param = setting::get(tx, NEXT)?.and_then(|v| v.as_i64()).unwrap_or(i64::from(FIRST));
    if param > i64::from(LAST) {
        let sql = "SELECT min(p.param) + 1 FROM search_parameter p \
                   WHERE NOT EXISTS (SELECT 1 FROM search_parameter q WHERE q.param = p.param + 1)";
        param = tx.one(sql, &[], |row| row.opt_int(0))?.flatten().unwrap_or(i64::from(FIRST));
        if param > i64::from(LAST) {
            return Ok(None);
        }
    } else {
        setting::put(tx, NEXT, &json!(param + 1))?;
    }
    let total = tx
        .one(
            "SELECT count(*) FROM resource WHERE type_id = $1 AND deleted = 0",
            params![new.kind.0],
            |row| row.int(0),
        )?
        .unwrap_or(0);
    let sql = "INSERT INTO search_parameter (param, resource, type_id, code, state, definition, start_us, after_us, \
               after_rid, done, total) SELECT $1, $2, $3, $4, 0, $5, $6, $7, 0, 0, $8 WHERE NOT EXISTS \
               (SELECT 1 FROM search_parameter WHERE type_id = $3 AND code = $4 AND state <> 2)";
    let written = tx.execute(
        sql,
        params![
            param,
            new.resource,
            new.kind.0,
            new.code,
            &new.definition.to_string(),
            new.start,
            i64::MIN,
            total
        ],
    )?;
    Ok((written > 0).then(|| u16::try_from(param).ok().map(ParamId)).flatten())
}

/// Queries use it no longer; its values are removed by a walk from the start.
pub fn drop(tx: &mut dyn Tx, param: ParamId, start: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE search_parameter SET state = 2, start_us = $2, after_us = $3, after_rid = 0, done = 0 WHERE param = $1",
        params![param.0, start, i64::MIN],
    )?;
    changed(tx)
}

/// The walk is through: what was being built is ready, what was being removed is gone.
pub fn finish(tx: &mut dyn Tx, parameter: &Parameter) -> Result<()> {
    match parameter.state {
        State::Building => {
            let sql = "UPDATE search_parameter SET state = $2, done = total WHERE param = $1";
            tx.execute(sql, params![parameter.param.0, number(State::Ready)])?;
        }
        State::Ready => return Ok(()),
        State::Dropping => {
            tx.execute("DELETE FROM search_parameter WHERE param = $1", params![parameter.param.0])?;
        }
    }
    changed(tx)
}

/// Notes where the walk is.
pub fn advance(tx: &mut dyn Tx, parameter: &Parameter, after: (i64, i64), done: i64) -> Result<()> {
    tx.execute(
        "UPDATE search_parameter SET after_us = $2, after_rid = $3, done = done + $4 WHERE param = $1",
        params![parameter.param.0, after.0, after.1, done],
    )?;
    Ok(())
}

/// What one step of a walk is to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    pub rows: Vec<Stored>,
    /// Where the walk then is.
    pub end: (i64, i64),
    /// There is nothing behind.
    pub last: bool,
}

/// The next resources of a type on the walk. In order of their last change: what is written meanwhile comes later again,
/// and is indexed by its writer.
pub fn batch(tx: &mut dyn Tx, kind: TypeId, after: (i64, i64), most: Step) -> Result<Batch> {
    let limit = clamp(most.resources);
    let sql = "SELECT rid, last_updated_us FROM resource WHERE type_id = $1 AND deleted = 0 \
               AND last_updated_us >= $2 AND (last_updated_us > $2 OR rid > $3) \
               ORDER BY last_updated_us, rid LIMIT $4";
    let places = tx.all(sql, params![kind.0, after.0, after.1, i64::from(limit)], |row| {
        Ok((row.int(1)?, row.int(0)?))
    })?;
    let mut batch = Batch { rows: Vec::new(), end: after, last: places.len() < limit as usize };
    let mut bytes = 0;
    for place in places {
        if bytes >= most.bytes {
            batch.last = false;
            break;
        }
        // What is deleted meanwhile has no values any more.
        if let Some(stored) = resource::load_row(tx, place.1)? {
            bytes += stored.content.len();
            batch.rows.push(stored);
        }
        batch.end = place;
    }
    Ok(batch)
}

/// Replaces the index rows of one resource of a [batch]; both lists by the extractor of now.
pub fn reindex(
    tx: &mut dyn Tx,
    stored: &Stored,
    old_entries: &[IndexEntry],
    entries: &[IndexEntry],
) -> Result<()> {
    resource::reindex(tx, &stored.key, old_entries, entries)?;
    Ok(())
}
