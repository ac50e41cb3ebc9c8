//! Units: calendar words and the UCUM units that clinics mix.

use super::decimal::Decimal;
use super::item::Quantity;
use std::cmp::Ordering;

/// UCUM code, what it measures, and how many of the base unit it is.
const UNITS: &[(&str, &str, &str)] = &[
    ("kg", "mass", "1000"),
    ("g", "mass", "1"),
    ("mg", "mass", "0.001"),
    ("ug", "mass", "0.000001"),
    ("ng", "mass", "0.000000001"),
    ("[lb_av]", "mass", "453.59237"),
    ("[oz_av]", "mass", "28.349523125"),
    ("km", "length", "1000"),
    ("m", "length", "1"),
    ("cm", "length", "0.01"),
    ("mm", "length", "0.001"),
    ("[in_i]", "length", "0.0254"),
    ("[ft_i]", "length", "0.3048"),
    ("L", "volume", "1"),
    ("l", "volume", "1"),
    ("dL", "volume", "0.1"),
    ("cL", "volume", "0.01"),
    ("mL", "volume", "0.001"),
    ("ml", "volume", "0.001"),
    ("uL", "volume", "0.000001"),
    ("wk", "time", "604800"),
    ("d", "time", "86400"),
    ("h", "time", "3600"),
    ("min", "time", "60"),
    ("s", "time", "1"),
    ("ms", "time", "0.001"),
    ("mol", "amount", "1"),
    ("mmol", "amount", "0.001"),
    ("umol", "amount", "0.000001"),
    ("1", "number", "1"),
    ("%", "number", "0.01"),
];

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

/// `None` when the units cannot be compared.
pub(super) fn compare(a: &Quantity, b: &Quantity) -> Option<Ordering> {
    if a.calendar == b.calendar && singular(a) == singular(b) {
        return Some(a.value.cmp(&b.value));
    }
    let unit =
        |q: &Quantity| if q.calendar { definite(&q.unit).map(str::to_owned) } else { Some(q.unit.clone()) };
    in_units(a.value, &unit(a)?, b.value, &unit(b)?)
}

pub(super) fn equivalent(a: &Quantity, b: &Quantity) -> bool {
    let (left, right) = (loose(a), loose(b));
    if left == right {
        return super::compare::decimals_equivalent(a.value, b.value);
    }
    // Both in the larger of the units, so that the digits that were written count.
    let find = |code: &str| UNITS.iter().find(|(c, _, _)| *c == code);
    let (Some((_, kind, x)), Some((_, other, y))) = (find(&left), find(&right)) else { return false };
    let (Some(x), Some(y)) = (Decimal::parse(x), Decimal::parse(y)) else { return false };
    let scaled = |value: Decimal, from: Decimal, to: Decimal| value.times(from).and_then(|v| v.divide(to));
    let (p, q) =
        if x >= y { (Some(a.value), scaled(b.value, y, x)) } else { (scaled(a.value, x, y), Some(b.value)) };
    matches!((p, q), (Some(p), Some(q)) if kind == other && super::compare::decimals_equivalent(p, q))
}

/// Whether the units measure the same.
pub(super) fn comparable(a: &Quantity, b: &Quantity) -> bool {
    compare(a, b).is_some()
}

fn singular(q: &Quantity) -> &str {
    if q.calendar { q.unit.strip_suffix('s').unwrap_or(&q.unit) } else { &q.unit }
}

fn in_units(a: Decimal, left: &str, b: Decimal, right: &str) -> Option<Ordering> {
    if left == right {
        return Some(a.cmp(&b));
    }
    let find = |code: &str| UNITS.iter().find(|(c, _, _)| *c == code);
    let ((_, kind, factor), (_, other, divisor)) = (find(left)?, find(right)?);
    if kind != other {
        return None;
    }
    Some(a.times(Decimal::parse(factor)?)?.cmp(&b.times(Decimal::parse(divisor)?)?))
}

/// In another unit of the same kind; `None` if there is no way between them.
pub(super) fn converted(q: &Quantity, unit: &str) -> Option<Quantity> {
    let calendar = super::parser::CALENDAR.contains(&unit);
    let target = Quantity { value: q.value, unit: unit.to_owned(), calendar };
    if q.calendar == calendar && singular(q) == singular(&target) {
        return Some(target);
    }
    let code =
        |q: &Quantity| if q.calendar { definite(&q.unit).map(str::to_owned) } else { Some(q.unit.clone()) };
    let (from, to) = (code(q)?, code(&target)?);
    let find = |code: &str| UNITS.iter().find(|(c, _, _)| *c == code);
    if from == to {
        return Some(target);
    }
    let ((_, kind, x), (_, other, y)) = (find(&from)?, find(&to)?);
    let value = q.value.times(Decimal::parse(x)?)?.divide(Decimal::parse(y)?)?;
    (kind == other).then_some(Quantity { value, ..target })
}

/// Sum or difference in the unit of the left side. `None` if the units differ.
pub(super) fn add(a: &Quantity, b: &Quantity, negative: bool) -> Option<Quantity> {
    if singular(a) != singular(b) || a.calendar != b.calendar {
        return None;
    }
    let other = if negative { b.value.negate() } else { b.value };
    Some(Quantity { value: a.value.plus(other)?, ..a.clone() })
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
