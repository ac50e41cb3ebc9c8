//! Precision and the boundaries it leaves (<http://hl7.org/fhirpath/#lowboundaryprecision-integer--decimal--date--datetime--time>).

use super::decimal::{Decimal, MAX_SCALE};
use super::item::{Instant, Item, Quantity};
use super::temporal;
use crate::moment::{Moment, Precision, days_in_month};

/// Digits of a decimal's boundary when none are asked for.
const DECIMAL_DIGITS: i64 = 8;
/// Minutes east of UTC of the first and the last place to reach a local time.
const EARLIEST_ZONE: i16 = 14 * 60;
const LATEST_ZONE: i16 = -12 * 60;

/// Digits written for a date or time of each precision.
const DATE_DIGITS: &[(i64, Precision)] = &[
    (4, Precision::Year),
    (6, Precision::Month),
    (8, Precision::Day),
    (10, Precision::Hour),
    (12, Precision::Minute),
    (14, Precision::Second),
    (17, Precision::Fraction),
];
const TIME_DIGITS: &[(i64, Precision)] =
    &[(2, Precision::Hour), (4, Precision::Minute), (6, Precision::Second), (9, Precision::Fraction)];

/// Digits behind the point, or of the date or time; `None` for values that have no precision.
pub(super) fn precision(value: &Item) -> Option<i64> {
    match value {
        Item::Integer(_) => Some(0),
        Item::Decimal(d) => Some(i64::from(d.scale())),
        Item::Quantity(q) => Some(i64::from(q.value.scale())),
        Item::Date(m) | Item::DateTime(m) => digits(DATE_DIGITS, m.0.precision),
        Item::Time(m) => digits(TIME_DIGITS, m.0.precision),
        _ => None,
    }
}

fn digits(table: &[(i64, Precision)], precision: Precision) -> Option<i64> {
    table.iter().find(|(_, p)| *p == precision).map(|(digits, _)| *digits)
}

/// The least (`high` false) or greatest value that the written precision leaves open, with `digits` digits.
/// `None` for digits that the type does not have and for values without boundaries.
pub(super) fn boundary<'a>(value: &Item<'a>, digits: Option<i64>, high: bool) -> Option<Item<'a>> {
    match value {
        Item::Integer(n) => number(Decimal::from(*n), digits, high).map(Item::Decimal),
        Item::Decimal(d) => number(*d, digits, high).map(Item::Decimal),
        Item::Quantity(q) => {
            number(q.value, digits, high).map(|value| Item::Quantity(Quantity { value, ..q.clone() }))
        }
        Item::Date(m) => {
            let wanted = wanted(DATE_DIGITS, digits.unwrap_or(8))?;
            (wanted <= Precision::Day).then(|| Item::Date(Instant(moment(m.0, wanted, high))))
        }
        Item::DateTime(m) => {
            let wanted = wanted(DATE_DIGITS, digits.unwrap_or(17))?;
            let mut out = moment(m.0, wanted, high);
            if wanted > Precision::Day && out.offset.is_none() {
                out.offset = Some(if high { LATEST_ZONE } else { EARLIEST_ZONE });
            } else if wanted <= Precision::Day {
                out.offset = None;
            }
            Some(Item::DateTime(Instant(out)))
        }
        Item::Time(m) => {
            let wanted = wanted(TIME_DIGITS, digits.unwrap_or(9))?;
            Some(Item::Time(Instant(moment(m.0, wanted, high))))
        }
        _ => None,
    }
}

fn wanted(table: &[(i64, Precision)], digits: i64) -> Option<Precision> {
    table.iter().find(|(d, _)| *d == digits).map(|(_, p)| *p)
}

/// Half a unit of the last written digit away, then cut to the digits: towards zero for the boundary that
/// is nearer to zero, to the nearest for the other, as the official suite has it.
fn number(value: Decimal, digits: Option<i64>, high: bool) -> Option<Decimal> {
    let digits = u32::try_from(digits.unwrap_or(DECIMAL_DIGITS)).ok().filter(|d| *d <= MAX_SCALE)?;
    let half = Decimal::half_of_last_digit(value.scale())?;
    let bound = if high { value.plus(half)? } else { value.minus(half)? };
    let outward = high != value.is_negative();
    if outward { bound.round(digits)?.padded(digits) } else { bound.cut(digits)?.padded(digits) }
}

fn moment(m: Moment, wanted: Precision, high: bool) -> Moment {
    let mut out = m;
    if high {
        if m.precision < Precision::Month {
            out.month = 12;
        }
        if m.precision < Precision::Day {
            out.day = days_in_month(out.year, out.month);
        }
        if m.precision < Precision::Hour {
            out.hour = 23;
        }
        if m.precision < Precision::Minute {
            out.minute = 59;
        }
        if m.precision < Precision::Second {
            out.second = 59;
        }
        if m.precision < Precision::Fraction {
            out.micros = 999_000;
        }
    }
    if wanted == Precision::Fraction {
        out.digits = m.digits.max(3);
    }
    out.precision = wanted;
    temporal::cut(&out)
}
