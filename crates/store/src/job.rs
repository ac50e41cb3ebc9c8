//! Work for later: leased with a fencing token on the database's clock, retried with back-off, kept when dead.

use crate::page::{Cursor, clamp};
use crate::{Page, Param, Result, Tx, params};
use jiff::Timestamp;
use serde_json::Value;

/// The longest wait between two tries.
pub const MAX_BACKOFF_S: i64 = 6 * 60 * 60;

#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Which subscriber runs it, e.g. `reminder`.
    pub queue: String,
    /// Names the job for [cancel]; several may share it. Empty: cannot be cancelled.
    pub key: String,
    /// What to do; ids only.
    pub data: Value,
    pub run_at: Timestamp,
    /// Tries before it is dead, ≥1.
    pub max_attempts: u32,
    /// Wait after the first failure; doubles each time up to [MAX_BACKOFF_S].
    pub backoff_s: u32,
}

impl NewJob {
    /// Ten tries, the second after ten seconds.
    pub fn new(queue: impl Into<String>, key: impl Into<String>, data: Value, run_at: Timestamp) -> NewJob {
        NewJob { queue: queue.into(), key: key.into(), data, run_at, max_attempts: 10, backoff_s: 10 }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Ready,
    Leased,
    Done,
    Dead,
}

impl State {
    fn number(self) -> i64 {
        match self {
            State::Ready => 0,
            State::Leased => 1,
            State::Done => 2,
            State::Dead => 3,
        }
    }
    fn from_number(number: i64) -> State {
        match number {
            0 => State::Ready,
            1 => State::Leased,
            2 => State::Done,
            _ => State::Dead,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: i64,
    pub queue: String,
    pub key: String,
    pub data: Value,
    pub state: State,
    pub run_at: Timestamp,
    /// Tries so far, the running one included.
    pub attempts: u32,
    pub max_attempts: u32,
    pub backoff_s: u32,
    /// Fencing token of the lease.
    pub token: i64,
    pub last_error: Option<String>,
    pub created: Timestamp,
}

/// Returns the job's id.
pub fn insert(tx: &mut dyn Tx, new: &NewJob) -> Result<i64> {
    let now = tx.now()?;
    let id = tx.one(
        "INSERT INTO job (queue, key, data, state, run_us, attempts, max_attempts, backoff_s, token, created_us) \
         VALUES ($1, $2, $3, 0, $4, 0, $5, $6, 0, $7) RETURNING id",
        params![
            &new.queue,
            &new.key,
            &new.data.to_string(),
            new.run_at,
            new.max_attempts.max(1),
            new.backoff_s.max(1),
            now
        ],
        |row| row.int(0),
    )?;
    tx.wake();
    id.ok_or_else(|| crate::Error::Corrupt("job id".into()))
}

/// Takes up to `limit` due jobs of these queues (all queues if empty) for `lease_ms`.
/// Jobs whose lease ran out count as due; those without tries left become dead.
pub fn lease(tx: &mut dyn Tx, queues: &[&str], limit: u32, lease_ms: i64) -> Result<Vec<Job>> {
    let now = tx.now()?.as_microsecond();
    tx.execute(
        "UPDATE job SET state = 3, last_error = coalesce(last_error, 'the worker died') \
         WHERE state = 1 AND run_us <= $1 AND attempts >= max_attempts",
        params![now],
    )?;
    let mut values: Vec<Param<'_>> = params![now, i64::from(clamp(limit))].to_vec();
    values.extend(queues.iter().map(|q| Param::Text(q)));
    let of_queues = if queues.is_empty() {
        String::new()
    } else {
        format!(" AND queue IN ({})", crate::sql::placeholders(3, queues.len()))
    };
    let sql = format!(
        "SELECT {COLUMNS} FROM job WHERE state IN (0, 1) AND run_us <= $1{of_queues} ORDER BY run_us, id LIMIT $2{}",
        tx.dialect().skip_locked()
    );
    let mut jobs = tx.all(&sql, &values, read)?;
    for job in &mut jobs {
        job.token += 1;
        job.attempts += 1;
        job.state = State::Leased;
        tx.execute(
            "UPDATE job SET state = 1, token = $2, attempts = $3, run_us = $4 WHERE id = $1",
            params![job.id, job.token, job.attempts, now.saturating_add(lease_ms * 1000)],
        )?;
    }
    Ok(jobs)
}

/// Marks a leased job done. Returns false if the lease was lost to another worker: roll back what was done.
pub fn done(tx: &mut dyn Tx, id: i64, token: i64) -> Result<bool> {
    let now = tx.now()?;
    Ok(tx.execute(
        "UPDATE job SET state = 2, run_us = $3, last_error = NULL WHERE id = $1 AND token = $2 AND state = 1",
        params![id, token, now],
    )? == 1)
}

/// Reports a failed try: ready again after the back-off, or dead. `None` if the lease was lost.
pub fn failed(tx: &mut dyn Tx, id: i64, token: i64, error: &str) -> Result<Option<State>> {
    let now = tx.now()?.as_microsecond();
    let job = tx.one(
        "SELECT attempts, max_attempts, backoff_s FROM job WHERE id = $1 AND token = $2 AND state = 1",
        params![id, token],
        |row| Ok((row.int(0)?, row.int(1)?, row.int(2)?)),
    )?;
    let Some((attempts, max, backoff_s)) = job else { return Ok(None) };
    let state = if attempts >= max { State::Dead } else { State::Ready };
    let wait_s = (backoff_s << (attempts - 1).clamp(0, 20)).min(MAX_BACKOFF_S);
    let run_us = now.saturating_add(wait_s * 1_000_000);
    let changed = tx.execute(
        "UPDATE job SET state = $3, last_error = $4, run_us = $5 WHERE id = $1 AND token = $2 AND state = 1",
        params![id, token, state.number(), error, run_us],
    )?;
    Ok((changed == 1).then_some(state))
}

/// Makes a leased job dead at once: trying again would not help. Returns false if the lease was lost.
pub fn bury(tx: &mut dyn Tx, id: i64, token: i64, error: &str) -> Result<bool> {
    let now = tx.now()?;
    Ok(tx.execute(
        "UPDATE job SET state = 3, last_error = $3, run_us = $4 WHERE id = $1 AND token = $2 AND state = 1",
        params![id, token, error, now],
    )? == 1)
}

/// Removes jobs with this key that no worker has taken; returns how many.
pub fn cancel(tx: &mut dyn Tx, key: &str) -> Result<u64> {
    if key.is_empty() {
        return Ok(0);
    }
    tx.execute("DELETE FROM job WHERE key = $1 AND state = 0", params![key])
}

/// Gives a dead job fresh tries, now. Returns whether it was dead.
pub fn replay(tx: &mut dyn Tx, id: i64) -> Result<bool> {
    let now = tx.now()?;
    let changed = tx.execute(
        "UPDATE job SET state = 0, attempts = 0, run_us = $2 WHERE id = $1 AND state = 3",
        params![id, now],
    )?;
    tx.wake();
    Ok(changed == 1)
}

pub fn load(tx: &mut dyn Tx, id: i64) -> Result<Option<Job>> {
    tx.one(&format!("SELECT {COLUMNS} FROM job WHERE id = $1"), params![id], read)
}

/// Jobs in this state, newest first; dead letters are `State::Dead`.
pub fn list(tx: &mut dyn Tx, state: State, cursor: Option<&str>, limit: u32) -> Result<Page<Job>> {
    let (limit, start) = (clamp(limit), Cursor::newest_or(cursor)?);
    let rows = tx.all(
        &format!("SELECT {COLUMNS} FROM job WHERE state = $1 AND id < $2 ORDER BY id DESC LIMIT $3"),
        params![state.number(), start.number, i64::from(limit + 1)],
        read,
    )?;
    Ok(Page::cut(rows, limit, |job| Cursor { time_us: 0, number: job.id }))
}

/// How many jobs are ready, leased and dead; done ones are not counted.
pub fn counts(tx: &mut dyn Tx) -> Result<Vec<(State, i64)>> {
    tx.all("SELECT state, count(*) FROM job WHERE state <> 2 GROUP BY state ORDER BY state", &[], |row| {
        Ok((State::from_number(row.int(0)?), row.int(1)?))
    })
}

/// When the next job is due, so that a worker knows how long it may sleep.
pub fn next_due(tx: &mut dyn Tx) -> Result<Option<Timestamp>> {
    let due = tx.one("SELECT min(run_us) FROM job WHERE state IN (0, 1)", &[], |row| row.opt_time(0))?;
    Ok(due.flatten())
}

/// Removes up to 1,000 jobs done before `before`; returns how many.
pub fn prune(tx: &mut dyn Tx, before: Timestamp) -> Result<u64> {
    tx.execute(
        "DELETE FROM job WHERE id IN (SELECT id FROM job WHERE state = 2 AND run_us < $1 LIMIT 1000)",
        params![before],
    )
}

const COLUMNS: &str =
    "id, queue, key, data, state, run_us, attempts, max_attempts, backoff_s, token, last_error, created_us";

fn read(row: &crate::Row<'_>) -> Result<Job> {
    Ok(Job {
        id: row.int(0)?,
        queue: row.string(1)?,
        key: row.string(2)?,
        data: serde_json::from_str(row.text(3)?).map_err(|_| crate::Error::Corrupt("job data".into()))?,
        state: State::from_number(row.int(4)?),
        run_at: row.time(5)?,
        attempts: row.int(6)? as u32,
        max_attempts: row.int(7)? as u32,
        backoff_s: row.int(8)? as u32,
        token: row.int(9)?,
        last_error: row.opt_string(10)?,
        created: row.time(11)?,
    })
}
