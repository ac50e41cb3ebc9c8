//! Care that was written while a record was open by a broken glass: it ends with the emergency, whoever writes the resource
//! afterwards, unless a reviewer keeps it.

use crate::ids::{decode_id, decode_key, encode_id, encode_key, encode_target};
use crate::{Error, Result, Tx, params};
use fhir::{ResourceKey, TypeId};
use jiff::Timestamp;
use uuid::Uuid;

/// What one resource gives one practitioner.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    pub source: ResourceKey,
    /// Logical id of the Practitioner.
    pub practitioner: String,
    /// The emergency it came from.
    pub emergency: Uuid,
    pub at: Timestamp,
    /// Who wrote it.
    pub account: i64,
    pub until: Timestamp,
    pub state: State,
    /// When and by whom (account) a reviewer decided.
    pub decided: Option<(Timestamp, i64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It ends with the emergency.
    Bound,
    /// A reviewer lets it last.
    Kept,
    /// A reviewer ended it.
    Ended,
    /// The resource names the practitioner no more: to be named anew is another matter.
    Gone,
}

impl State {
    pub fn code(self) -> &'static str {
        match self {
            State::Bound => "bound",
            State::Kept => "kept",
            State::Ended => "ended",
            State::Gone => "gone",
        }
    }
    fn from_code(code: &str) -> Option<State> {
        [State::Bound, State::Kept, State::Ended, State::Gone].into_iter().find(|state| state.code() == code)
    }
    /// Whether [Bound::until] holds, whatever the resource says.
    pub fn limits(self) -> bool {
        matches!(self, State::Bound | State::Ended)
    }
}

const COLUMNS: &str =
    "source, practitioner, emergency, at_us, account, until_us, state, decided_us, decided_by";
/// Most rows of one list.
const MAX_ROWS: i64 = 500;

fn read(row: &crate::Row<'_>) -> Result<Bound> {
    let bad = || Error::Corrupt("emergency care".into());
    Ok(Bound {
        source: decode_key(row.bytes(0)?)?,
        practitioner: decode_id(row.bytes(1)?)?,
        emergency: Uuid::from_slice(row.bytes(2)?).map_err(|_| bad())?,
        at: row.time(3)?,
        account: row.int(4)?,
        until: row.time(5)?,
        state: State::from_code(row.text(6)?).ok_or_else(bad)?,
        decided: row.opt_time(7)?.zip(row.opt_int(8)?),
    })
}

/// All of this resource, those that limit nothing any more included.
pub fn of_source(tx: &mut dyn Tx, source: &ResourceKey) -> Result<Vec<Bound>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM emergency_care WHERE source = $1 ORDER BY practitioner LIMIT {MAX_ROWS}"
    );
    tx.all(&sql, params![&encode_key(source)], read)
}

/// All that came from an emergency, oldest first.
pub fn of_emergency(tx: &mut dyn Tx, emergency: &Uuid) -> Result<Vec<Bound>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM emergency_care WHERE emergency = $1 ORDER BY at_us, source, practitioner LIMIT {MAX_ROWS}"
    );
    tx.all(&sql, params![emergency], read)
}

/// Writes it down, in place of what was known of this practitioner in this resource.
pub fn put(tx: &mut dyn Tx, one: &Bound) -> Result<()> {
    let (at, by) = one.decided.unzip();
    tx.execute(
        "INSERT INTO emergency_care (source, practitioner, emergency, at_us, account, until_us, state, decided_us, \
         decided_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (source, practitioner) DO UPDATE SET \
         emergency = excluded.emergency, at_us = excluded.at_us, account = excluded.account, \
         until_us = excluded.until_us, state = excluded.state, decided_us = excluded.decided_us, \
         decided_by = excluded.decided_by",
        params![
            &encode_key(&one.source),
            &encode_id(&one.practitioner),
            &one.emergency,
            one.at,
            one.account,
            one.until,
            one.state.code(),
            at,
            by
        ],
    )?;
    Ok(())
}

/// Why the practitioner cares for the patient at `at`: whether by something that is bound to no emergency, and of what is
/// bound the emergency that lasts longest, with its end.
pub fn standing(
    tx: &mut dyn Tx,
    practitioner: &str,
    patient: &str,
    at: Timestamp,
) -> Result<(bool, Option<(Uuid, Timestamp)>)> {
    let reasons = tx.all(
        "SELECT e.emergency, l.until_us FROM care_link l LEFT JOIN emergency_care e ON e.source = l.source \
         AND e.practitioner = l.practitioner AND e.state IN ('bound', 'ended') \
         WHERE l.practitioner = $1 AND l.patient = $2 AND l.from_us <= $3 AND l.until_us > $3 \
         ORDER BY l.until_us DESC LIMIT 500",
        params![&encode_id(practitioner), &encode_target(TypeId::PATIENT, patient), at],
        |row| {
            let emergency = match row.opt_bytes(0)? {
                Some(bytes) => {
                    Some(Uuid::from_slice(bytes).map_err(|_| Error::Corrupt("emergency care".into()))?)
                }
                None => None,
            };
            Ok((emergency, row.int(1)?))
        },
    )?;
    let free = reasons.iter().any(|(emergency, _)| emergency.is_none());
    let bound = reasons.into_iter().find_map(|(emergency, until)| {
        Some((emergency?, Timestamp::from_microsecond(until).unwrap_or(Timestamp::MAX)))
    });
    Ok((free, bound))
}

/// The emergency is closed before its time: so is the care that came from it.
pub fn close(tx: &mut dyn Tx, emergency: &Uuid, at: Timestamp) -> Result<()> {
    for bound in of_emergency(tx, emergency)?.iter().filter(|one| one.state == State::Bound && one.until > at)
    {
        put(tx, &Bound { until: at, ..bound.clone() })?;
        crate::care_link::end(tx, &bound.source, &bound.practitioner, at)?;
    }
    Ok(())
}
