//! Time spans that only one thing may hold: a practitioner, patient or room is in one place at a time.
//!
//! A span is cut into quanta of five minutes, each a row under the primary key (actor, quantum): two takers of the
//! same time meet in the index, on every engine and isolation level.

use crate::ids::{decode_key, encode_key};
use crate::{Result, Tx, params};
use fhir::ResourceKey;
use jiff::Timestamp;

pub const QUANTUM_MINUTES: i64 = 5;
/// A span of more than a week is a mistake.
pub const MAX_QUANTA: i64 = 7 * 24 * 60 / QUANTUM_MINUTES;
const QUANTUM_US: i64 = QUANTUM_MINUTES * 60 * 1_000_000;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Part of the span is held by `by`.
    #[error("{actor} is taken by {by}")]
    Taken { actor: ResourceKey, by: ResourceKey },
    /// Not on quantum borders, empty, or too long.
    #[error("a span starts and ends on five-minute marks and lasts at most a week")]
    BadSpan,
    #[error(transparent)]
    Store(#[from] crate::Error),
}

/// A held span, quanta of one holder joined.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    pub start: Timestamp,
    pub end: Timestamp,
    pub by: ResourceKey,
}

fn quanta(start: Timestamp, end: Timestamp) -> Result<std::ops::Range<i64>, Error> {
    let (start, end) = (start.as_microsecond(), end.as_microsecond());
    if start % QUANTUM_US != 0 || end % QUANTUM_US != 0 || start >= end {
        return Err(Error::BadSpan);
    }
    let range = start / QUANTUM_US..end / QUANTUM_US;
    if range.end - range.start > MAX_QUANTA { Err(Error::BadSpan) } else { Ok(range) }
}

/// Takes [start, end) of `actor` for `by`; quanta that `by` already holds stay its own.
/// Errors: [Error::Taken]; the transaction must then be given up or rolled back to a savepoint.
pub fn take(
    tx: &mut dyn Tx,
    actor: &ResourceKey,
    start: Timestamp,
    end: Timestamp,
    by: &ResourceKey,
) -> Result<(), Error> {
    let range = quanta(start, end)?;
    let (actor_bytes, by_bytes) = (encode_key(actor), encode_key(by));
    for quantum in range {
        let taken = tx.execute(
            "INSERT INTO claim (actor, quantum, holder) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            params![&actor_bytes, quantum, &by_bytes],
        )?;
        if taken == 0 {
            let holder = tx.one(
                "SELECT holder FROM claim WHERE actor = $1 AND quantum = $2",
                params![&actor_bytes, quantum],
                |row| row.key(0),
            )?;
            match holder {
                Some(holder) if holder == *by => {}
                Some(holder) => return Err(Error::Taken { actor: actor.clone(), by: holder }),
                // Freed between the two statements (PostgreSQL only): the whole transaction is tried again.
                None => return Err(Error::Store(tx.conflict())),
            }
        }
    }
    Ok(())
}

/// Frees everything `by` holds; returns the number of quanta.
pub fn release(tx: &mut dyn Tx, by: &ResourceKey) -> Result<u64> {
    tx.execute("DELETE FROM claim WHERE holder = $1", params![&encode_key(by)])
}

/// The held spans of `actor` that touch [from, until), in order.
pub fn busy(tx: &mut dyn Tx, actor: &ResourceKey, from: Timestamp, until: Timestamp) -> Result<Vec<Span>> {
    let first = from.as_microsecond().div_euclid(QUANTUM_US);
    let last = (until.as_microsecond() + QUANTUM_US - 1).div_euclid(QUANTUM_US);
    let mut spans: Vec<(i64, i64, Vec<u8>)> = Vec::new();
    tx.query(
        "SELECT quantum, holder FROM claim WHERE actor = $1 AND quantum >= $2 AND quantum < $3 ORDER BY quantum",
        params![&encode_key(actor), first, last],
        &mut |row| {
            let (quantum, holder) = (row.int(0)?, row.bytes(1)?);
            match spans.last_mut() {
                Some((_, end, by)) if *end == quantum && by == holder => *end = quantum + 1,
                _ => spans.push((quantum, quantum + 1, holder.to_vec())),
            }
            Ok(())
        },
    )?;
    let instant = |quantum: i64| {
        Timestamp::from_microsecond(quantum * QUANTUM_US).map_err(|_| crate::Error::Corrupt("quantum".into()))
    };
    spans
        .into_iter()
        .map(|(start, end, by)| Ok(Span { start: instant(start)?, end: instant(end)?, by: decode_key(&by)? }))
        .collect()
}
