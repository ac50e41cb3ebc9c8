//! Bookable times: rules − exceptions − what is taken − what is too soon. Pure.
//!
//! Windows are local times of the clinic. Each is turned into one stretch of absolute time and cut into slots from
//! its start, so that a day on which clocks change has slots of full length and no time twice.

use crate::schedule::{Day, Kind, KindSchedule, Minute};
use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use record::Rule;
use serde::Serialize;
use utoipa::ToSchema;

/// Days one question may cover.
pub const DAYS_MAX: u16 = 31;
/// How far ahead "next free" looks.
pub const HORIZON_DAYS: u16 = 60;

/// Closed-open: `start` belongs to it, `end` does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    pub start: Timestamp,
    pub end: Timestamp,
}

impl Span {
    pub fn overlaps(&self, other: &Span) -> bool {
        self.start < other.end && other.start < self.end
    }
}

/// A free time as `/api/v1` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FreeSlot {
    pub start: String,
    pub end: String,
    /// Always true: only free times are listed.
    pub free: bool,
}

impl From<Span> for FreeSlot {
    fn from(span: Span) -> FreeSlot {
        FreeSlot { start: span.start.to_string(), end: span.end.to_string(), free: true }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FreeDay {
    /// Date in the clinic's zone.
    pub date: String,
    pub slots: Vec<FreeSlot>,
}

/// `GET providers/{id}/availability`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Availability {
    pub timezone: String,
    pub slot_minutes: u16,
    pub kind: Kind,
    pub days: Vec<FreeDay>,
}

/// The instant at which a clock on the wall shows this. A time that is skipped is the moment of the jump; of a time
/// that comes twice, `last` chooses. `None` outside the range of the calendar.
fn instant(zone: &TimeZone, date: Date, minute: Minute, last: bool) -> Option<Timestamp> {
    let midnight = date.to_datetime(jiff::civil::Time::midnight());
    let local = midnight.checked_add(SignedDuration::from_mins(i64::from(minute.get()))).ok()?;
    let ambiguous = zone.to_ambiguous_timestamp(local);
    match ambiguous.offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
        AmbiguousOffset::Fold { before, after } => {
            (if last { after } else { before }).to_timestamp(local).ok()
        }
        AmbiguousOffset::Gap { before, .. } => {
            let beyond = before.to_timestamp(local).ok()?.checked_add(SignedDuration::from_nanos(1)).ok()?;
            zone.preceding(beyond).next().map(|change| change.timestamp())
        }
    }
}

/// Windows merged where they touch or overlap, sorted.
fn merged(mut windows: Vec<(Minute, Minute)>) -> Vec<(Minute, Minute)> {
    windows.retain(|(start, end)| start < end);
    windows.sort();
    let mut all: Vec<(Minute, Minute)> = Vec::new();
    for (start, end) in windows {
        match all.last_mut() {
            // Touching windows stay apart: each cuts its slots from its own start, as written in the rules.
            Some((_, before)) if start < *before => *before = (*before).max(end),
            _ => all.push((start, end)),
        }
    }
    all
}

/// All slots that the rules give on this local date, free or not, in order.
pub fn offered(rules: &KindSchedule, zone: &TimeZone, date: Date) -> Vec<Span> {
    let on_date = |available| {
        rules
            .exceptions
            .iter()
            .filter(move |e| e.date == date && e.available == available)
            .map(|e| e.window())
    };
    let day = Day::of(date);
    let weekly = rules.weekly.iter().filter(|hours| hours.day == day).map(|hours| (hours.start, hours.end));
    let blocked: Vec<Span> = on_date(false).filter_map(|window| span(zone, date, window)).collect();
    let length = SignedDuration::from_mins(i64::from(rules.slot_minutes.max(1)));
    let mut slots = Vec::new();
    for window in merged(weekly.chain(on_date(true)).collect()) {
        let Some(open) = span(zone, date, window) else { continue };
        let mut start = open.start;
        while let Ok(end) = start.checked_add(length) {
            if end > open.end {
                break;
            }
            let slot = Span { start, end };
            if !blocked.iter().any(|b| b.overlaps(&slot)) {
                slots.push(slot);
            }
            start = end;
        }
    }
    slots
}

fn span(zone: &TimeZone, date: Date, (start, end): (Minute, Minute)) -> Option<Span> {
    let span = Span { start: instant(zone, date, start, false)?, end: instant(zone, date, end, true)? };
    (span.start < span.end).then_some(span)
}

/// What is left of a day's slots at `now`.
fn free_on(rules: &KindSchedule, zone: &TimeZone, date: Date, now: Timestamp, taken: &[Span]) -> Vec<Span> {
    let earliest = earliest(rules, now);
    let mut slots = offered(rules, zone, date);
    slots.retain(|slot| slot.start >= earliest && !taken.iter().any(|t| t.overlaps(slot)));
    slots
}

/// The first instant that is not too soon and not past.
pub fn earliest(rules: &KindSchedule, now: Timestamp) -> Timestamp {
    now.checked_add(SignedDuration::from_mins(i64::from(rules.lead_minutes))).unwrap_or(now)
}

/// Free slots on `days` dates from `from` on; dates without any are left out. At most [DAYS_MAX] dates.
pub fn free(
    rules: &KindSchedule,
    zone: &TimeZone,
    from: Date,
    days: u16,
    now: Timestamp,
    taken: &[Span],
) -> Vec<(Date, Vec<Span>)> {
    from.series(jiff::ToSpan::days(1))
        .take(usize::from(days.min(DAYS_MAX)))
        .map(|date| (date, free_on(rules, zone, date, now, taken)))
        .filter(|(_, slots)| !slots.is_empty())
        .collect()
}

/// The first `count` free slots that start at or after `from`, within [HORIZON_DAYS].
pub fn next_free(
    rules: &KindSchedule,
    zone: &TimeZone,
    from: Timestamp,
    now: Timestamp,
    taken: &[Span],
    count: usize,
) -> Vec<Span> {
    let from = from.max(earliest(rules, now));
    let first = from.to_zoned(zone.clone()).date();
    first
        .series(jiff::ToSpan::days(1))
        .take(usize::from(HORIZON_DAYS))
        .flat_map(|date| free_on(rules, zone, date, now, taken))
        .filter(|slot| slot.start >= from)
        .take(count)
        .collect()
}

/// The slot that starts at this instant. Errors: `slot-past`, `slot-too-soon`, `slot-not-offered`, all at `/start`.
pub fn at(rules: &KindSchedule, zone: &TimeZone, start: Timestamp, now: Timestamp) -> Result<Span, Rule> {
    if start <= now {
        return Err(Rule::new("slot-past", "This time is over; choose a later one.").at("/start"));
    }
    // A slot belongs to the local date of its window, which may have begun the day before only at 24:00: one date is enough.
    let date = start.to_zoned(zone.clone()).date();
    let Some(slot) = offered(rules, zone, date).into_iter().find(|slot| slot.start == start) else {
        return Err(
            Rule::new("slot-not-offered", "This time is not offered; choose one from the list.").at("/start")
        );
    };
    if start < earliest(rules, now) {
        let text = format!("This must be booked at least {} minutes ahead.", rules.lead_minutes);
        return Err(Rule::new("slot-too-soon", text).at("/start"));
    }
    Ok(slot)
}

#[cfg(test)]
mod tests;
