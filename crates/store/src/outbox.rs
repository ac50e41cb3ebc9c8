//! Committed events in commit order, and the cursors of those who follow them.
//!
//! [read] and [lease] belong into [crate::Store::write]: on PostgreSQL a read transaction's snapshot is older than
//! the horizon of change numbers, so events could be skipped there (see [crate::dialect]).

use crate::ids::{decode_ids, encode_ids, encode_key};
use crate::page::clamp;
use crate::{Counter, Dialect, Result, Tx, params};
use fhir::ResourceKey;
use jiff::Timestamp;
use serde_json::Value;

#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// e.g. `resource.created`, `appointment.booked`.
    pub topic: String,
    pub subject: ResourceKey,
    /// Ids of the patients whose compartment holds the subject.
    pub patients: Vec<String>,
    /// Ids only, never patient data.
    pub data: Value,
    pub created: Timestamp,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Ascending in commit order, with gaps.
    pub seq: i64,
    pub topic: String,
    pub subject: ResourceKey,
    pub patients: Vec<String>,
    pub data: Value,
    pub created: Timestamp,
}

/// A subscriber's right to work from `cursor` on, until it runs out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub subscriber: String,
    /// Events up to here are done.
    pub cursor: i64,
    /// Fencing token: grows with each lease.
    pub token: i64,
}

/// Returns the event's change number.
pub fn append(tx: &mut dyn Tx, event: &NewEvent) -> Result<i64> {
    let seq = tx.next(Counter::Change)?;
    append_at(tx, seq, event)?;
    Ok(seq)
}

/// As [append], under a number taken from [Counter::Change] in this transaction, e.g. of the resource's change.
pub fn append_at(tx: &mut dyn Tx, seq: i64, event: &NewEvent) -> Result<()> {
    let topic = tx.term(&event.topic, true)?;
    let data = match &event.data {
        Value::Null => None,
        data => Some(data.to_string()),
    };
    tx.execute(
        "INSERT INTO outbox (seq, topic, subject, patients, data, created_us) VALUES ($1, $2, $3, $4, $5, $6)",
        params![
            seq,
            topic,
            &encode_key(&event.subject),
            encode_ids(&event.patients).as_ref(),
            data.as_ref(),
            event.created
        ],
    )?;
    tx.wake();
    Ok(())
}

/// Events after `seq`, oldest first.
pub fn read(tx: &mut dyn Tx, after: i64, limit: u32) -> Result<Vec<Event>> {
    let horizon = horizon(tx)?;
    let rows = tx.all(
        "SELECT seq, topic, subject, patients, data, created_us FROM outbox WHERE seq > $1 AND seq <= $2 \
         ORDER BY seq LIMIT $3",
        params![after, horizon, i64::from(clamp(limit))],
        |row| {
            let data = row.opt_text(4)?.map(serde_json::from_str).transpose();
            Ok((
                row.int(1)?,
                Event {
                    seq: row.int(0)?,
                    topic: String::new(),
                    subject: row.key(2)?,
                    patients: decode_ids(row.opt_bytes(3)?)?,
                    data: data
                        .map_err(|_| crate::Error::Corrupt("event data".into()))?
                        .unwrap_or(Value::Null),
                    created: row.time(5)?,
                },
            ))
        },
    )?;
    rows.into_iter()
        .map(|(topic, mut event)| {
            event.topic = tx.term_text(topic)?;
            Ok(event)
        })
        .collect()
}

/// The largest number that [read] could return now; a new subscriber that wants no past starts here.
pub fn last(tx: &mut dyn Tx) -> Result<i64> {
    let horizon = horizon(tx)?;
    let last =
        tx.one("SELECT max(seq) FROM outbox WHERE seq <= $1", params![horizon], |row| row.opt_int(0))?;
    Ok(last.flatten().unwrap_or(0))
}

/// Every change number up to this one belongs to a transaction that has ended.
pub fn horizon(tx: &mut dyn Tx) -> Result<i64> {
    match tx.dialect() {
        Dialect::Sqlite => Ok(i64::MAX),
        Dialect::Postgres => Ok(tx.one("SELECT change_horizon()", &[], |row| row.int(0))?.unwrap_or(0)),
    }
}

/// Takes the subscriber's cursor for `lease_ms`; `None` while another worker holds it. A new subscriber starts
/// after `start`.
pub fn lease(
    tx: &mut dyn Tx,
    subscriber: &str,
    worker: &str,
    lease_ms: i64,
    start: i64,
) -> Result<Option<Lease>> {
    let now = tx.now()?.as_microsecond();
    let until = now.saturating_add(lease_ms * 1000);
    tx.execute(
        "INSERT INTO outbox_cursor (subscriber, position, token, worker, until_us) VALUES ($1, $2, 0, '', 0) \
         ON CONFLICT DO NOTHING",
        params![subscriber, start],
    )?;
    tx.one(
        "UPDATE outbox_cursor SET token = token + 1, worker = $2, until_us = $3 \
         WHERE subscriber = $1 AND (until_us <= $4 OR worker = $2) RETURNING position, token",
        params![subscriber, worker, until, now],
        |row| Ok(Lease { subscriber: subscriber.to_owned(), cursor: row.int(0)?, token: row.int(1)? }),
    )
}

/// Notes that events up to `position` are done and lengthens the lease. Returns false if the lease was lost:
/// roll back what was done.
pub fn advance(tx: &mut dyn Tx, lease: &Lease, position: i64, lease_ms: i64) -> Result<bool> {
    let until = tx.now()?.as_microsecond().saturating_add(lease_ms * 1000);
    Ok(tx.execute(
        "UPDATE outbox_cursor SET position = $3, until_us = $4 WHERE subscriber = $1 AND token = $2 AND position <= $3",
        params![&lease.subscriber, lease.token, position, until],
    )? == 1)
}

/// Where each subscriber is: (name, position).
pub fn cursors(tx: &mut dyn Tx) -> Result<Vec<(String, i64)>> {
    tx.all("SELECT subscriber, position FROM outbox_cursor ORDER BY subscriber", &[], |row| {
        Ok((row.string(0)?, row.int(1)?))
    })
}

/// Removes up to 1,000 events older than `before` that every subscriber has passed; returns how many.
pub fn prune(tx: &mut dyn Tx, before: Timestamp) -> Result<u64> {
    tx.execute(
        "DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox WHERE created_us < $1 \
         AND seq <= coalesce((SELECT min(position) FROM outbox_cursor), 0) ORDER BY seq LIMIT 1000)",
        params![before],
    )
}
