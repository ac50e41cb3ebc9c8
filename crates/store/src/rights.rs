//! The administrators' changes of the table of rights, and how they came about.

use crate::{Error, Result, Tx, params};
use access::matrix::{Cell, Reach, Verb};
use access::{Class, Role};
use jiff::Timestamp;
use uuid::Uuid;

/// One change, done or waiting.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub id: Uuid,
    pub at: Timestamp,
    /// Who asked for it.
    pub account: i64,
    pub cell: Cell,
    pub before: Reach,
    pub reason: String,
    pub state: State,
    pub decided: Option<(Timestamp, i64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// At once: it took rights away.
    Done,
    /// For a second person.
    Waiting,
    Agreed,
    Refused,
}

impl State {
    pub fn code(self) -> &'static str {
        match self {
            State::Done => "done",
            State::Waiting => "waiting",
            State::Agreed => "agreed",
            State::Refused => "refused",
        }
    }
    fn from_code(code: &str) -> Option<State> {
        [State::Done, State::Waiting, State::Agreed, State::Refused].into_iter().find(|s| s.code() == code)
    }
}

const COLUMNS: &str =
    "id, at_us, account, role, class, verb, before, after, reason, state, decided_us, decided_by";
/// Most rows of one list.
const MAX_ROWS: i64 = 500;

fn bad() -> Error {
    Error::Corrupt("rights".into())
}

fn cell(role: &str, class: &str, verb: &str, reach: &str) -> Option<Cell> {
    Some(Cell {
        role: Role::from_code(role)?,
        class: Class::from_code(class)?,
        verb: Verb::from_code(verb)?,
        reach: Reach::from_code(reach)?,
    })
}

fn read(row: &crate::Row<'_>) -> Result<Change> {
    Ok(Change {
        id: Uuid::from_slice(row.bytes(0)?).map_err(|_| bad())?,
        at: row.time(1)?,
        account: row.int(2)?,
        cell: cell(row.text(3)?, row.text(4)?, row.text(5)?, row.text(7)?).ok_or_else(bad)?,
        before: Reach::from_code(row.text(6)?).ok_or_else(bad)?,
        reason: row.string(8)?,
        state: State::from_code(row.text(9)?).ok_or_else(bad)?,
        decided: row.opt_time(10)?.zip(row.opt_int(11)?),
    })
}

/// The cells that are other than they come. What a later or earlier release wrote and this one does not know is left out.
pub fn cells(tx: &mut dyn Tx) -> Result<Vec<Cell>> {
    let found =
        tx.all("SELECT role, class, verb, reach FROM rights_cell ORDER BY role, class, verb", &[], |row| {
            Ok(cell(row.text(0)?, row.text(1)?, row.text(2)?, row.text(3)?))
        })?;
    Ok(found.into_iter().flatten().collect())
}

pub fn set_cell(tx: &mut dyn Tx, cell: &Cell) -> Result<()> {
    let built_in = access::matrix::rights(cell.role, cell.class).of(cell.verb);
    let key = (cell.role.code(), cell.class.code(), cell.verb.code());
    if cell.reach == built_in {
        tx.execute(
            "DELETE FROM rights_cell WHERE role = $1 AND class = $2 AND verb = $3",
            params![key.0, key.1, key.2],
        )?;
    } else {
        tx.execute(
            "INSERT INTO rights_cell (role, class, verb, reach) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (role, class, verb) DO UPDATE SET reach = excluded.reach",
            params![key.0, key.1, key.2, cell.reach.code()],
        )?;
    }
    Ok(())
}

pub fn insert(tx: &mut dyn Tx, change: &Change) -> Result<()> {
    let cell = &change.cell;
    tx.execute(
        "INSERT INTO rights_change (id, at_us, account, role, class, verb, before, after, reason, state) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        params![
            &change.id,
            change.at,
            change.account,
            cell.role.code(),
            cell.class.code(),
            cell.verb.code(),
            change.before.code(),
            cell.reach.code(),
            &change.reason,
            change.state.code()
        ],
    )?;
    Ok(())
}

pub fn load(tx: &mut dyn Tx, id: &Uuid) -> Result<Option<Change>> {
    tx.one(&format!("SELECT {COLUMNS} FROM rights_change WHERE id = $1"), params![id], read)
}

/// Newest first.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<Change>> {
    let sql = format!("SELECT {COLUMNS} FROM rights_change ORDER BY at_us DESC, id LIMIT {MAX_ROWS}");
    tx.all(&sql, &[], read)
}

/// Settles one that waits. `false`: it does not wait any more.
pub fn decide(tx: &mut dyn Tx, id: &Uuid, state: State, by: i64, now: Timestamp) -> Result<bool> {
    let done = tx.execute(
        "UPDATE rights_change SET state = $2, decided_us = $3, decided_by = $4 WHERE id = $1 AND state = 'waiting'",
        params![id, state.code(), now, by],
    )?;
    Ok(done == 1)
}
