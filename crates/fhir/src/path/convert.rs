//! Conversions (<http://hl7.org/fhirpath/N1/#conversion>).

use super::compare::number;
use super::decimal::Decimal;
use super::item::{Instant, Item, Quantity};
use super::{quantity, temporal};
use crate::moment::{Form, Moment, Precision};

/// `toX` for the type name X; `None` if the value cannot be converted.
/// The outer option tells whether the type exists.
pub(super) fn to<'a>(type_name: &str, value: &Item<'a>) -> Option<Option<Item<'a>>> {
    Some(match type_name {
        "Boolean" => boolean(value).map(Item::Boolean),
        "Integer" => match value {
            Item::Integer(n) => Some(Item::Integer(*n)),
            Item::Boolean(b) => Some(Item::Integer(i64::from(*b))),
            Item::String(s) => s.parse::<i64>().ok().map(Item::Integer),
            _ => None,
        },
        "Decimal" => match value {
            Item::Boolean(b) => Some(Item::Decimal(decimal(if *b { "1.0" } else { "0.0" })?)),
            Item::String(s) => plain_decimal(s).map(Item::Decimal),
            other => number(other).map(Item::Decimal),
        },
        "String" => string(value).map(Item::String),
        "Date" => match value {
            Item::Date(m) => Some(Item::Date(*m)),
            Item::DateTime(m) => {
                let mut date = m.0;
                date.precision = date.precision.min(Precision::Day);
                date.offset = None;
                Some(Item::Date(Instant(date)))
            }
            Item::String(s) => {
                let date = s.split('T').next().unwrap_or(s);
                Moment::parse(s, Form::Loose)
                    .and_then(|_| Moment::parse(date, Form::Date))
                    .map(|m| Item::Date(Instant(m)))
            }
            _ => None,
        },
        "DateTime" => match value {
            Item::Date(m) | Item::DateTime(m) => Some(Item::DateTime(*m)),
            Item::String(s) => Moment::parse(s, Form::Loose).map(|m| Item::DateTime(Instant(m))),
            _ => None,
        },
        "Time" => match value {
            Item::Time(m) => Some(Item::Time(*m)),
            Item::String(s) => {
                Moment::parse_time(s.trim_start_matches('T'), Form::Loose).map(|m| Item::Time(Instant(m)))
            }
            _ => None,
        },
        "Quantity" => match value {
            Item::Quantity(q) => Some(Item::Quantity(q.clone())),
            Item::Boolean(b) => Some(plain(decimal(if *b { "1.0" } else { "0.0" })?)),
            Item::String(s) => quantity::parse(s).map(Item::Quantity),
            other => number(other).map(plain),
        },
        _ => return None,
    })
}

fn decimal(text: &str) -> Option<Decimal> {
    Decimal::parse(text)
}

/// FHIRPath decimals have no exponent.
fn plain_decimal(text: &str) -> Option<Decimal> {
    if text.contains(['e', 'E']) { None } else { Decimal::parse(text) }
}

fn plain<'a>(value: Decimal) -> Item<'a> {
    Item::Quantity(Quantity { value, unit: "1".to_owned(), calendar: false })
}

fn boolean(value: &Item) -> Option<bool> {
    match value {
        Item::Boolean(b) => Some(*b),
        Item::Integer(1) => Some(true),
        Item::Integer(0) => Some(false),
        Item::Decimal(d) if d.is_zero() => Some(false),
        Item::Decimal(d) if d.to_integer() == Some(1) => Some(true),
        Item::String(s) => match s.to_ascii_lowercase().as_str() {
            "true" | "t" | "yes" | "y" | "1" | "1.0" => Some(true),
            "false" | "f" | "no" | "n" | "0" | "0.0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn string(value: &Item) -> Option<String> {
    Some(match value {
        Item::String(s) => s.clone(),
        Item::Boolean(b) => b.to_string(),
        Item::Integer(n) => n.to_string(),
        Item::Decimal(d) => d.to_string(),
        Item::Date(m) | Item::DateTime(m) => temporal::show(&m.0),
        Item::Time(m) => temporal::show_time(&m.0),
        Item::Quantity(q) => quantity::show(q),
        Item::Node(_) | Item::Type { .. } => return None,
    })
}
