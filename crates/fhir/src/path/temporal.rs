//! Dates and times: order under partial precision, arithmetic, text.

use super::decimal::Decimal;
use super::item::Quantity;
use crate::moment::{Moment, Precision, civil_from_days, days_from_civil, days_in_month};
use std::cmp::Ordering;
use std::fmt::Write as _;

/// `None` when the precisions leave the answer open.
pub(super) fn compare(a: &Moment, b: &Moment) -> Option<Ordering> {
    let (a, b) = match (a.offset, b.offset) {
        (Some(x), Some(y)) if x != y => (utc(a), utc(b)),
        (Some(_), None) if b.precision > Precision::Day => return None,
        (None, Some(_)) if a.precision > Precision::Day => return None,
        _ => (*a, *b),
    };
    let parts = |m: &Moment| {
        [
            i64::from(m.year),
            i64::from(m.month),
            i64::from(m.day),
            i64::from(m.hour),
            i64::from(m.minute),
            seconds(m),
        ]
    };
    let (left, right) = (parts(&a), parts(&b));
    let level = |m: &Moment| m.precision.min(Precision::Second) as usize;
    let shared = level(&a).min(level(&b));
    for n in 0..=shared {
        match left[n].cmp(&right[n]) {
            Ordering::Equal => {}
            other => return Some(other),
        }
    }
    (level(&a) == level(&b)).then_some(Ordering::Equal)
}

/// Seconds and fractions are one level of precision.
fn seconds(m: &Moment) -> i64 {
    i64::from(m.second) * 1_000_000 + i64::from(m.micros)
}

fn utc(m: &Moment) -> Moment {
    let mut out = from_us(m.low_us());
    out.precision = m.precision;
    out.digits = m.digits;
    out
}

/// A moment to the millisecond, UTC.
pub(super) fn from_us(us: i64) -> Moment {
    let (days, rest) = (us.div_euclid(86_400_000_000), us.rem_euclid(86_400_000_000));
    let (year, month, day) = civil_from_days(days);
    let second = rest / 1_000_000;
    Moment {
        year,
        month,
        day,
        hour: (second / 3600) as u8,
        minute: (second / 60 % 60) as u8,
        second: (second % 60) as u8,
        micros: (rest % 1_000_000) as u32,
        digits: 3,
        precision: Precision::Fraction,
        offset: Some(0),
    }
}

pub(super) fn is_duration(q: &Quantity) -> bool {
    q.calendar
        || super::parser::CALENDAR.contains(&q.unit.as_str())
        || matches!(q.unit.as_str(), "d" | "wk" | "h" | "min" | "s" | "ms")
}

/// Adds a calendar quantity; a unit finer than the precision counts in whole units of it.
/// `None` for units that are no durations and results outside the years 1 to 9999.
pub(super) fn add(m: &Moment, q: &Quantity, sign: i64, time_only: bool) -> Option<Moment> {
    let unit = match (q.unit.as_str(), q.calendar) {
        // A calendar word in quotes is no UCUM unit, but what it means is plain.
        (u, calendar) if calendar || super::parser::CALENDAR.contains(&u) => {
            if u == "s" {
                u
            } else {
                u.strip_suffix('s').unwrap_or(u)
            }
        }
        ("d", false) => "day",
        ("wk", false) => "week",
        ("h", false) => "hour",
        ("min", false) => "minute",
        ("s", false) => "second",
        ("ms", false) => "millisecond",
        _ => return None,
    };
    let whole = q.value.truncate()?.checked_mul(sign)?;
    match unit {
        "year" | "month" if time_only => None,
        "year" => add_months(m, whole.checked_mul(12)?),
        "month" => add_months(m, whole),
        _ => {
            let us = match unit {
                "week" => 604_800_000_000,
                "day" => 86_400_000_000,
                "hour" => 3_600_000_000,
                "minute" => 60_000_000,
                "second" => return shift(m, micros(q.value, 1_000_000, sign)?, time_only),
                "millisecond" => return shift(m, micros(q.value, 1_000, sign)?, time_only),
                _ => return None,
            };
            shift(m, whole.checked_mul(us)?, time_only)
        }
    }
}

fn micros(value: Decimal, unit: i64, sign: i64) -> Option<i64> {
    value.times(Decimal::from(unit))?.truncate()?.checked_mul(sign)
}

fn add_months(m: &Moment, months: i64) -> Option<Moment> {
    let months = if m.precision == Precision::Year { months / 12 * 12 } else { months };
    let total = (i64::from(m.year) * 12 + i64::from(m.month) - 1).checked_add(months)?;
    let year = i32::try_from(total.div_euclid(12)).ok().filter(|y| (1..=9999).contains(y))?;
    let month = total.rem_euclid(12) as u8 + 1;
    Some(Moment { year, month, day: m.day.min(days_in_month(year, month)), ..*m })
}

fn shift(m: &Moment, us: i64, time_only: bool) -> Option<Moment> {
    const DAY: i64 = 86_400_000_000;
    match m.precision {
        // Days of 24 hours, months of 30 days, years of 365 days, in whole units.
        Precision::Year => return add_months(m, us / (365 * DAY) * 12),
        Precision::Month => return add_months(m, us / (30 * DAY)),
        _ => {}
    }
    let unit = match m.precision {
        Precision::Day => DAY,
        Precision::Hour => 3_600_000_000,
        Precision::Minute => 60_000_000,
        _ => 1,
    };
    let us = us / unit * unit;
    let of_day = (i64::from(m.hour) * 3600 + i64::from(m.minute) * 60) * 1_000_000 + seconds(m);
    let days = if time_only { 0 } else { days_from_civil(m.year, m.month, m.day) };
    let total = of_day.checked_add(us)?.checked_add(days.checked_mul(DAY)?)?;
    let total = if time_only { total.rem_euclid(DAY) } else { total };
    let mut out = from_us(total);
    if !(1..=9999).contains(&out.year) {
        return None;
    }
    out.offset = m.offset;
    out.precision = m.precision;
    out.digits = m.digits;
    if out.micros > 0 && m.precision == Precision::Second {
        out.precision = Precision::Fraction;
        out.digits = 3;
    }
    Some(out)
}

/// Parts beyond the precision at their lowest value, as [Moment] has them.
pub(super) fn cut(m: &Moment) -> Moment {
    let mut out = *m;
    let p = m.precision;
    if p < Precision::Month {
        out.month = 1;
    }
    if p < Precision::Day {
        out.day = 1;
    }
    if p < Precision::Hour {
        out.hour = 0;
    }
    if p < Precision::Minute {
        out.minute = 0;
    }
    if p < Precision::Second {
        out.second = 0;
    }
    if p < Precision::Fraction {
        out.micros = 0;
        out.digits = 0;
    }
    out
}

/// As FHIR writes it.
pub(super) fn show(m: &Moment) -> String {
    let mut out = format!("{:04}", m.year);
    if m.precision >= Precision::Month {
        let _ = write!(out, "-{:02}", m.month);
    }
    if m.precision >= Precision::Day {
        let _ = write!(out, "-{:02}", m.day);
    }
    if m.precision >= Precision::Hour {
        out.push('T');
        out.push_str(&show_time(m));
        match m.offset {
            Some(0) => out.push('Z'),
            Some(o) => {
                let sign = if o < 0 { '-' } else { '+' };
                let _ = write!(out, "{sign}{:02}:{:02}", o.abs() / 60, o.abs() % 60);
            }
            None => {}
        }
    }
    out
}

pub(super) fn show_time(m: &Moment) -> String {
    let mut out = format!("{:02}", m.hour);
    if m.precision >= Precision::Minute {
        let _ = write!(out, ":{:02}", m.minute);
    }
    if m.precision >= Precision::Second {
        let _ = write!(out, ":{:02}", m.second);
    }
    if m.precision == Precision::Fraction {
        let digits = format!("{:06}", m.micros);
        out.push('.');
        out.push_str(&digits[..usize::from(m.digits.clamp(1, 6))]);
    }
    out
}
