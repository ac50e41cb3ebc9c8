//! Exports and imports that run in the background, piece by piece, each piece under a lease with a fencing token.

use crate::page::clamp;
use crate::{Error, Result, Tx, params};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    Export,
    Import,
    /// Rows of a view to files, once.
    View,
    /// Everything of one patient, for herself.
    Copy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Active,
    Done,
    Failed,
    Cancelled,
}

/// What a file of a job holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Output,
    /// Bundles that say what was deleted.
    Deleted,
    /// OperationOutcomes.
    Error,
    /// What an import reads.
    Input,
}

#[derive(Debug, Clone, PartialEq)]
pub struct New {
    pub id: Uuid,
    pub kind: Kind,
    /// As in `AuditEvent`: `client/abc`.
    pub owner: String,
    pub scopes: Vec<String>,
    pub request: Value,
    /// What the runner starts from.
    pub progress: Value,
    pub transaction: Timestamp,
    pub expires: Timestamp,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: Uuid,
    pub kind: Kind,
    pub owner: String,
    pub scopes: Vec<String>,
    pub request: Value,
    pub state: State,
    pub progress: Value,
    /// Why it failed.
    pub error: Option<String>,
    pub transaction: Timestamp,
    pub created: Timestamp,
    pub finished: Option<Timestamp>,
    pub expires: Timestamp,
    /// Fencing token of the lease.
    pub token: i64,
}

/// A finished file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub number: i64,
    pub role: Role,
    /// Resource type, or the format of a view.
    pub kind: String,
    /// Last part of its address, unique within the job.
    pub name: String,
    /// Lines, rows or resources.
    pub count: i64,
    /// Plain, before encryption.
    pub bytes: i64,
}

impl Kind {
    fn number(self) -> i64 {
        match self {
            Kind::Export => 0,
            Kind::Import => 1,
            Kind::View => 2,
            Kind::Copy => 3,
        }
    }
    fn from_number(number: i64) -> Result<Kind> {
        match number {
            0 => Ok(Kind::Export),
            1 => Ok(Kind::Import),
            2 => Ok(Kind::View),
            3 => Ok(Kind::Copy),
            _ => Err(Error::Corrupt("bulk job kind".into())),
        }
    }
}

impl State {
    fn number(self) -> i64 {
        match self {
            State::Active => 0,
            State::Done => 1,
            State::Failed => 2,
            State::Cancelled => 3,
        }
    }
    fn from_number(number: i64) -> Result<State> {
        match number {
            0 => Ok(State::Active),
            1 => Ok(State::Done),
            2 => Ok(State::Failed),
            3 => Ok(State::Cancelled),
            _ => Err(Error::Corrupt("bulk job state".into())),
        }
    }
}

impl Role {
    fn number(self) -> i64 {
        match self {
            Role::Output => 0,
            Role::Deleted => 1,
            Role::Error => 2,
            Role::Input => 3,
        }
    }
    fn from_number(number: i64) -> Result<Role> {
        match number {
            0 => Ok(Role::Output),
            1 => Ok(Role::Deleted),
            2 => Ok(Role::Error),
            3 => Ok(Role::Input),
            _ => Err(Error::Corrupt("bulk file role".into())),
        }
    }
}

const COLUMNS: &str = "id, kind, owner, scopes, request, state, progress, error, transaction_us, created_us, finished_us, \
     expires_us, token";

fn json(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|_| Error::Corrupt("bulk job".into()))
}

fn read(row: &crate::Row<'_>) -> Result<Job> {
    let scopes = json(row.text(3)?)?;
    let scopes = scopes.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    Ok(Job {
        id: row.uuid(0)?,
        kind: Kind::from_number(row.int(1)?)?,
        owner: row.string(2)?,
        scopes: scopes.collect(),
        request: json(row.text(4)?)?,
        state: State::from_number(row.int(5)?)?,
        progress: json(row.text(6)?)?,
        error: row.opt_string(7)?,
        transaction: row.time(8)?,
        created: row.time(9)?,
        finished: row.opt_time(10)?,
        expires: row.time(11)?,
        token: row.int(12)?,
    })
}

pub fn insert(tx: &mut dyn Tx, new: &New) -> Result<()> {
    let now = tx.now()?;
    tx.execute(
        "INSERT INTO bulk_job (id, kind, owner, scopes, request, state, progress, transaction_us, created_us, \
         expires_us, token, lease_us) VALUES ($1, $2, $3, $4, $5, 0, $6, $7, $8, $9, 0, 0)",
        params![
            &new.id,
            new.kind.number(),
            &new.owner,
            &Value::from(new.scopes.clone()).to_string(),
            &new.request.to_string(),
            &new.progress.to_string(),
            new.transaction,
            now,
            new.expires
        ],
    )?;
    tx.wake();
    Ok(())
}

pub fn load(tx: &mut dyn Tx, id: Uuid) -> Result<Option<Job>> {
    tx.one(&format!("SELECT {COLUMNS} FROM bulk_job WHERE id = $1"), params![&id], read)
}

/// Jobs, newest first; of one owner if given.
pub fn list(tx: &mut dyn Tx, owner: Option<&str>, limit: u32) -> Result<Vec<Job>> {
    tx.all(
        &format!(
            "SELECT {COLUMNS} FROM bulk_job WHERE ($1 = '' OR owner = $1) ORDER BY created_us DESC, id DESC LIMIT $2"
        ),
        params![owner.unwrap_or_default(), i64::from(clamp(limit))],
        read,
    )
}

/// Copies of this patient's record that are made or there, newest first. They name her in `request.patient`.
pub fn copies_of(tx: &mut dyn Tx, patient: &str) -> Result<Vec<Job>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM bulk_job WHERE kind = $1 AND state <> $2 ORDER BY created_us DESC, id DESC LIMIT 1000"
    );
    let mut found = tx.all(&sql, params![Kind::Copy.number(), State::Cancelled.number()], read)?;
    found.retain(|job| job.request.get("patient").and_then(Value::as_str) == Some(patient));
    Ok(found)
}

/// Active jobs: of this owner, and of all.
pub fn active(tx: &mut dyn Tx, owner: &str) -> Result<(i64, i64)> {
    let counted = tx.one(
        "SELECT coalesce(sum(CASE WHEN owner = $1 THEN 1 ELSE 0 END), 0), count(*) FROM bulk_job WHERE state = 0",
        params![owner],
        |row| Ok((row.int(0)?, row.int(1)?)),
    )?;
    Ok(counted.unwrap_or((0, 0)))
}

/// Takes the active job of this kind that has waited longest, for `lease_ms`.
pub fn lease(tx: &mut dyn Tx, kind: Kind, lease_ms: i64) -> Result<Option<Job>> {
    let now = tx.now()?.as_microsecond();
    let sql = format!(
        "SELECT {COLUMNS} FROM bulk_job WHERE state = 0 AND lease_us <= $1 AND kind = $2 ORDER BY lease_us, id LIMIT 1{}",
        tx.dialect().skip_locked()
    );
    let Some(mut job) = tx.one(&sql, params![now, kind.number()], read)? else { return Ok(None) };
    job.token += 1;
    tx.execute(
        "UPDATE bulk_job SET token = $2, lease_us = $3 WHERE id = $1",
        params![&job.id, job.token, now.saturating_add(lease_ms * 1000)],
    )?;
    Ok(Some(job))
}

/// Prolongs a lease. False if it was lost or the job was cancelled.
pub fn renew(tx: &mut dyn Tx, id: Uuid, token: i64, lease_ms: i64) -> Result<bool> {
    let until = tx.now()?.as_microsecond().saturating_add(lease_ms * 1000);
    let changed = tx.execute(
        "UPDATE bulk_job SET lease_us = $3 WHERE id = $1 AND token = $2 AND state = 0",
        params![&id, token, until],
    )?;
    Ok(changed == 1)
}

/// Notes progress and prolongs the lease. False as for [renew].
pub fn note(tx: &mut dyn Tx, id: Uuid, token: i64, progress: &Value, lease_ms: i64) -> Result<bool> {
    let until = tx.now()?.as_microsecond().saturating_add(lease_ms * 1000);
    let changed = tx.execute(
        "UPDATE bulk_job SET progress = $3, lease_us = $4 WHERE id = $1 AND token = $2 AND state = 0",
        params![&id, token, &progress.to_string(), until],
    )?;
    Ok(changed == 1)
}

/// Notes progress with the files finished since, and gives the lease back. False as for [renew]; then nothing was
/// written and the files are nobody's.
pub fn save(tx: &mut dyn Tx, id: Uuid, token: i64, progress: &Value, files: &[File]) -> Result<bool> {
    let now = tx.now()?;
    let changed = tx.execute(
        "UPDATE bulk_job SET progress = $3, lease_us = $4 WHERE id = $1 AND token = $2 AND state = 0",
        params![&id, token, &progress.to_string(), now],
    )?;
    if changed == 1 {
        add_files(tx, id, files)?;
    }
    Ok(changed == 1)
}

/// Files of a job that no worker has yet, e.g. what an import reads.
pub fn add_files(tx: &mut dyn Tx, id: Uuid, files: &[File]) -> Result<()> {
    for file in files {
        tx.execute(
            "INSERT INTO bulk_file (job, number, role, kind, name, count, bytes) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            params![&id, file.number, file.role.number(), &file.kind, &file.name, file.count, file.bytes],
        )?;
    }
    Ok(())
}

/// Ends a job: done, or failed with a reason. `expires` is when its files go. False as for [renew].
pub fn finish(
    tx: &mut dyn Tx,
    id: Uuid,
    token: i64,
    progress: &Value,
    error: Option<&str>,
    expires: Timestamp,
) -> Result<bool> {
    let now = tx.now()?;
    let state = if error.is_some() { State::Failed } else { State::Done };
    let changed = tx.execute(
        "UPDATE bulk_job SET state = $3, progress = $4, error = $5, finished_us = $6, expires_us = $7 \
         WHERE id = $1 AND token = $2 AND state = 0",
        params![&id, token, state.number(), &progress.to_string(), error, now, expires],
    )?;
    Ok(changed == 1)
}

/// Whoever works at it finds out at its next piece. True if there was such a job that was not cancelled before.
pub fn cancel(tx: &mut dyn Tx, id: Uuid) -> Result<bool> {
    let now = tx.now()?;
    let changed = tx.execute(
        "UPDATE bulk_job SET state = 3, finished_us = $2, expires_us = 0 WHERE id = $1 AND state <> 3",
        params![&id, now],
    )?;
    tx.wake();
    Ok(changed == 1)
}

pub fn files(tx: &mut dyn Tx, id: Uuid) -> Result<Vec<File>> {
    tx.all(
        "SELECT number, role, kind, name, count, bytes FROM bulk_file WHERE job = $1 ORDER BY number",
        params![&id],
        |row| {
            Ok(File {
                number: row.int(0)?,
                role: Role::from_number(row.int(1)?)?,
                kind: row.string(2)?,
                name: row.string(3)?,
                count: row.int(4)?,
                bytes: row.int(5)?,
            })
        },
    )
}

/// Jobs whose time is over, cancelled ones included: their files can go, then [remove] them.
pub fn expired(tx: &mut dyn Tx, now: Timestamp, limit: u32) -> Result<Vec<Uuid>> {
    tx.all(
        "SELECT id FROM bulk_job WHERE expires_us <= $1 ORDER BY expires_us LIMIT $2",
        params![now, i64::from(clamp(limit))],
        |row| row.uuid(0),
    )
}

pub fn remove(tx: &mut dyn Tx, id: Uuid) -> Result<()> {
    tx.execute("DELETE FROM bulk_file WHERE job = $1", params![&id])?;
    tx.execute("DELETE FROM bulk_job WHERE id = $1", params![&id])?;
    Ok(())
}

/// Whether [lease] would find one. A read, for whoever looks often.
pub fn is_due(tx: &mut dyn Tx, kind: Kind) -> Result<bool> {
    let now = tx.now()?;
    let found = tx.one(
        "SELECT 1 FROM bulk_job WHERE state = 0 AND lease_us <= $1 AND kind = $2 LIMIT 1",
        params![now, kind.number()],
        |_| Ok(()),
    )?;
    Ok(found.is_some())
}
