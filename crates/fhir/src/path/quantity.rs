//! Quantities: calendar words and UCUM units.

use super::decimal::Decimal;
use super::item::Quantity;
use crate::ucum::Unit;
use std::cmp::Ordering;

/// The UCUM unit a calendar word is the same as. Years and months have none: their length varies.
fn definite(word: &str) -> Option<&'static str> {
    Some(match word.strip_suffix('s').unwrap_or(word) {
        "week" => "wk",
        "day" => "d",
        "hour" => "h",
        "minute" => "min",
        "second" => "s",
        "millisecond" => "ms",
        _ => return None,
    })
}

/// For equivalence, where years and months match their UCUM means.
fn loose(q: &Quantity) -> String {
    if !q.calendar {
        return q.unit.clone();
    }
    match q.unit.strip_suffix('s').unwrap_or(&q.unit) {
        "year" => "a".to_owned(),
        "month" => "mo".to_owned(),
        word => definite(word).unwrap_or(word).to_owned(),
    }
}

/// The UCUM code; `None` for years and months.
fn code(q: &Quantity) -> Option<String> {
    if q.calendar { definite(&q.unit).map(str::to_owned) } else { Some(q.unit.clone()) }
}

/// `None` when the units cannot be compared.
pub(super) fn compare(a: &Quantity, b: &Quantity) -> Option<Ordering> {
    if a.calendar == b.calendar && singular(a) == singular(b) {
        return Some(a.value.cmp(&b.value));
    }
    let (left, right) = (code(a)?, code(b)?);
    if left == right {
        return Some(a.value.cmp(&b.value));
    }
    let (from, to) = (Unit::parse(&left)?, Unit::parse(&right)?);
    match from.ratio_to(&to) {
        Some((n, d)) => Some(a.value.times(whole(n)?)?.cmp(&b.value.times(whole(d)?)?)),
        None => Some(Decimal::from_f64(from.convert(a.value.to_f64(), &to)?)?.cmp(&b.value)),
    }
}

fn whole(n: i128) -> Option<Decimal> {
    Decimal::parse(&n.to_string())
}

/// Compared in the larger of the units, so that the digits that were written count.
pub(super) fn equivalent(a: &Quantity, b: &Quantity) -> bool {
    let (left, right) = (loose(a), loose(b));
    if left == right {
        return super::compare::decimals_equivalent(a.value, b.value);
    }
    let (Some(x), Some(y)) = (Unit::parse(&left), Unit::parse(&right)) else { return false };
    let both = match x.ratio_to(&y) {
        Some((n, d)) if n >= d => scaled(b.value, d, n).map(|b| (a.value, b)),
        Some((n, d)) => scaled(a.value, n, d).map(|a| (a, b.value)),
        None => x.convert(a.value.to_f64(), &y).and_then(Decimal::from_f64).map(|a| (a, b.value)),
    };
    both.is_some_and(|(a, b)| super::compare::decimals_equivalent(a, b))
}

fn scaled(value: Decimal, n: i128, d: i128) -> Option<Decimal> {
    if d == 1 { value.times(whole(n)?) } else { value.times(whole(n)?)?.divide(whole(d)?) }
}

/// Whether the units measure the same.
pub(super) fn comparable(a: &Quantity, b: &Quantity) -> bool {
    compare(a, b).is_some()
}

fn singular(q: &Quantity) -> &str {
    if q.calendar { q.unit.strip_suffix('s').unwrap_or(&q.unit) } else { &q.unit }
}

/// In another unit of the same kind; `None` if there is no way between them.
pub(super) fn converted(q: &Quantity, unit: &str) -> Option<Quantity> {
    let calendar = super::parser::CALENDAR.contains(&unit);
    let target = Quantity { value: q.value, unit: unit.to_owned(), calendar };
    if q.calendar == calendar && singular(q) == singular(&target) {
        return Some(target);
    }
    let (from, to) = (code(q)?, code(&target)?);
    if from == to {
        return Some(target);
    }
    let (x, y) = (Unit::parse(&from)?, Unit::parse(&to)?);
    let value = match x.ratio_to(&y) {
        Some((n, d)) => scaled(q.value, n, d)?,
        None => Decimal::from_f64(x.convert(q.value.to_f64(), &y)?)?,
    };
    Some(Quantity { value, ..target })
}

/// Sum or difference, in the finer of the units. `None` if they do not measure the same.
pub(super) fn add(a: &Quantity, b: &Quantity, negative: bool) -> Option<Quantity> {
    let sum = |x: Decimal, y: Decimal| if negative { x.minus(y) } else { x.plus(y) };
    if singular(a) == singular(b) && a.calendar == b.calendar {
        return Some(Quantity { value: sum(a.value, b.value)?, ..a.clone() });
    }
    let (left, right) = (code(a)?, code(b)?);
    let (n, d) = Unit::parse(&left)?.ratio_to(&Unit::parse(&right)?)?;
    if n >= d {
        Some(Quantity { value: sum(scaled(a.value, n, d)?, b.value)?, ..b.clone() })
    } else {
        Some(Quantity { value: sum(a.value, scaled(b.value, d, n)?)?, ..a.clone() })
    }
}

/// Product or quotient. `None` for division by zero and units that UCUM does not have.
pub(super) fn combined(a: &Quantity, b: &Quantity, divide: bool) -> Option<Quantity> {
    let value = if divide { a.value.divide(b.value)? } else { a.value.times(b.value)? };
    let (left, right) = (code(a)?, code(b)?);
    let simple = |u: &str| if u.contains(['.', '/']) { format!("({u})") } else { u.to_owned() };
    let unit = match (left.as_str(), right.as_str(), divide) {
        (_, "1", _) => left,
        ("1", _, false) => right,
        (l, r, true) if l == r => "1".to_owned(),
        (l, r, true) => format!("{l}/{}", simple(r)),
        (l, r, false) => format!("{l}.{}", simple(r)),
    };
    Unit::parse(&unit)?;
    Some(Quantity { value, unit, calendar: false })
}

/// `5`, `5.4 'mg'`, `3 days`
pub(super) fn parse(text: &str) -> Option<Quantity> {
    let text = text.trim();
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+'))).unwrap_or(text.len());
    let value = Decimal::parse(&text[..end])?;
    let unit = text[end..].trim();
    if unit.is_empty() {
        return Some(Quantity { value, unit: "1".to_owned(), calendar: false });
    }
    if let Some(quoted) = unit.strip_prefix('\'').and_then(|u| u.strip_suffix('\'')) {
        return (!quoted.is_empty()).then(|| Quantity { value, unit: quoted.to_owned(), calendar: false });
    }
    super::parser::CALENDAR.contains(&unit).then(|| Quantity { value, unit: unit.to_owned(), calendar: true })
}

pub(super) fn show(q: &Quantity) -> String {
    if q.calendar { format!("{} {}", q.value, q.unit) } else { format!("{} '{}'", q.value, q.unit) }
}
