//! Requests: correction and erasure, with their deadlines and answers.

use super::MAX_ROWS;
use crate::ids::{encode_key, encode_target};
use crate::{Error, Result, Tx, params};
use fhir::{ResourceKey, TypeId};
use jiff::Timestamp;
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An entry of the record is wrong.
    Correction,
    Erasure,
}

impl Kind {
    pub const ALL: [Kind; 2] = [Kind::Correction, Kind::Erasure];
    /// As stored and in `/api/v1`.
    pub fn code(self) -> &'static str {
        match self {
            Kind::Correction => "correction",
            Kind::Erasure => "erasure",
        }
    }
    pub fn from_code(code: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|k| k.code() == code)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    Open,
    /// An erasure that waits for the second person.
    Approved,
    Answered,
    /// Taken back by who asked.
    Withdrawn,
}

impl State {
    pub const ALL: [State; 4] = [State::Open, State::Approved, State::Answered, State::Withdrawn];
    pub fn code(self) -> &'static str {
        match self {
            State::Open => "open",
            State::Approved => "approved",
            State::Answered => "answered",
            State::Withdrawn => "withdrawn",
        }
    }
    pub fn from_code(code: &str) -> Option<State> {
        State::ALL.into_iter().find(|s| s.code() == code)
    }
}

/// How it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// The entry was amended.
    Amended,
    Erased,
    Refused,
}

impl Answer {
    pub const ALL: [Answer; 3] = [Answer::Amended, Answer::Erased, Answer::Refused];
    pub fn code(self) -> &'static str {
        match self {
            Answer::Amended => "amended",
            Answer::Erased => "erased",
            Answer::Refused => "refused",
        }
    }
    pub fn from_code(code: &str) -> Option<Answer> {
        Answer::ALL.into_iter().find(|a| a.code() == code)
    }
}

/// A request as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub id: Uuid,
    /// Logical id of the Patient.
    pub patient: String,
    pub kind: Kind,
    pub state: State,
    pub asked: Timestamp,
    /// Account.
    pub asked_by: Option<i64>,
    pub entry: Option<ResourceKey>,
    /// Communication with what was asked.
    pub words: Option<ResourceKey>,
    pub due: Timestamp,
    pub reminded: Option<Timestamp>,
    pub approved: Option<Timestamp>,
    pub approved_by: Option<i64>,
    pub answer: Option<Answer>,
    pub ground: Option<String>,
    pub answered: Option<Timestamp>,
    pub answered_by: Option<i64>,
    pub answer_words: Option<ResourceKey>,
    /// Communication with the statement that stands beside the entry.
    pub disagreement: Option<ResourceKey>,
    pub disagreed: Option<Timestamp>,
}

const COLUMNS: &str = "id, patient, kind, state, asked_us, asked_by, entry, words, due_us, reminded_us, approved_us, \
     approved_by, answer, ground, answered_us, answered_by, answer_words, disagreement, disagreed_us";

fn read(row: &crate::Row<'_>) -> Result<Request> {
    let corrupt = |what: &str| Error::Corrupt(format!("subject request {what}"));
    let answer = row.opt_string(12)?;
    Ok(Request {
        id: row.uuid(0)?,
        patient: row.key(1)?.id,
        kind: Kind::from_code(row.text(2)?).ok_or_else(|| corrupt("kind"))?,
        state: State::from_code(row.text(3)?).ok_or_else(|| corrupt("state"))?,
        asked: row.time(4)?,
        asked_by: row.opt_int(5)?,
        entry: row.opt_key(6)?,
        words: row.opt_key(7)?,
        due: row.time(8)?,
        reminded: row.opt_time(9)?,
        approved: row.opt_time(10)?,
        approved_by: row.opt_int(11)?,
        answer: answer.map(|a| Answer::from_code(&a).ok_or_else(|| corrupt("answer"))).transpose()?,
        ground: row.opt_string(13)?,
        answered: row.opt_time(14)?,
        answered_by: row.opt_int(15)?,
        answer_words: row.opt_key(16)?,
        disagreement: row.opt_key(17)?,
        disagreed: row.opt_time(18)?,
    })
}

/// Writes down a new one, which is open.
pub fn insert(tx: &mut dyn Tx, new: &Request) -> Result<()> {
    let (entry, words) = (new.entry.as_ref().map(encode_key), new.words.as_ref().map(encode_key));
    tx.execute(
        "INSERT INTO subject_request (id, patient, kind, state, asked_us, asked_by, entry, words, due_us) \
         VALUES ($1, $2, $3, 'open', $4, $5, $6, $7, $8)",
        params![
            &new.id,
            &encode_target(TypeId::PATIENT, &new.patient),
            new.kind.code(),
            new.asked,
            new.asked_by,
            entry.as_ref(),
            words.as_ref(),
            new.due
        ],
    )?;
    Ok(())
}

pub fn load(tx: &mut dyn Tx, id: &Uuid) -> Result<Option<Request>> {
    tx.one(&format!("SELECT {COLUMNS} FROM subject_request WHERE id = $1"), params![id], read)
}

/// About this patient, newest first.
pub fn of_patient(tx: &mut dyn Tx, patient: &str) -> Result<Vec<Request>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM subject_request WHERE patient = $1 ORDER BY asked_us DESC, id LIMIT {MAX_ROWS}"
    );
    tx.all(&sql, params![&encode_target(TypeId::PATIENT, patient)], read)
}

/// What waits for an answer, the nearest deadline first.
pub fn open(tx: &mut dyn Tx) -> Result<Vec<Request>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM subject_request WHERE answered_us IS NULL AND state <> 'withdrawn' \
         ORDER BY due_us, id LIMIT {MAX_ROWS}"
    );
    tx.all(&sql, &[], read)
}

/// All of them, newest first.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<Request>> {
    tx.all(
        &format!("SELECT {COLUMNS} FROM subject_request ORDER BY asked_us DESC, id LIMIT {MAX_ROWS}"),
        &[],
        read,
    )
}

/// One person agreed to an erasure. `false`: it is not open.
pub fn approve(tx: &mut dyn Tx, id: &Uuid, by: i64, at: Timestamp) -> Result<bool> {
    let done = tx.execute(
        "UPDATE subject_request SET state = 'approved', approved_us = $3, approved_by = $2 \
         WHERE id = $1 AND state = 'open'",
        params![id, by, at],
    )?;
    Ok(done == 1)
}

/// What an answer says.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    pub answer: Answer,
    pub ground: Option<String>,
    pub at: Timestamp,
    pub by: i64,
    pub words: Option<ResourceKey>,
}

/// `false`: somebody answered before, or it was taken back.
pub fn answer(tx: &mut dyn Tx, id: &Uuid, answered: &Answered) -> Result<bool> {
    let words = answered.words.as_ref().map(encode_key);
    let done = tx.execute(
        "UPDATE subject_request SET state = 'answered', answer = $2, ground = $3, answered_us = $4, answered_by = $5, \
         answer_words = $6 WHERE id = $1 AND state IN ('open', 'approved')",
        params![
            id,
            answered.answer.code(),
            answered.ground.as_ref(),
            answered.at,
            answered.by,
            words.as_ref()
        ],
    )?;
    Ok(done == 1)
}

/// `false`: it is answered already, or taken back.
pub fn withdraw(tx: &mut dyn Tx, id: &Uuid) -> Result<bool> {
    let done = tx.execute(
        "UPDATE subject_request SET state = 'withdrawn' WHERE id = $1 AND state IN ('open', 'approved')",
        params![id],
    )?;
    Ok(done == 1)
}

/// Notes the statement of disagreement. `false`: there is one, or nothing was refused.
pub fn disagree(tx: &mut dyn Tx, id: &Uuid, statement: &ResourceKey, at: Timestamp) -> Result<bool> {
    let done = tx.execute(
        "UPDATE subject_request SET disagreement = $2, disagreed_us = $3 \
         WHERE id = $1 AND answer = 'refused' AND disagreement IS NULL",
        params![id, &encode_key(statement), at],
    )?;
    Ok(done == 1)
}

/// Marks what is due by `before` and nobody was reminded of; returns it.
pub fn remind(tx: &mut dyn Tx, before: Timestamp, now: Timestamp) -> Result<Vec<Request>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM subject_request WHERE answered_us IS NULL AND state <> 'withdrawn' AND due_us <= $1 \
         AND reminded_us IS NULL ORDER BY due_us, id LIMIT {MAX_ROWS}"
    );
    let found = tx.all(&sql, params![before], read)?;
    for one in &found {
        tx.execute("UPDATE subject_request SET reminded_us = $2 WHERE id = $1", params![&one.id, now])?;
    }
    Ok(found)
}
