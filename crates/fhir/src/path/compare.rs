//! Equality, equivalence and order (<http://hl7.org/fhirpath/N1/#equality>).

use super::decimal::Decimal;
use super::item::Item;
use super::{quantity, temporal};
use serde_json::Value;
use std::cmp::Ordering;

/// `=` on single items; `None` when precision or units leave it open.
pub(super) fn equal(a: &Item, b: &Item) -> Option<bool> {
    if let (Item::Node(x), Item::Node(y)) = (a, b)
        && (x.value.is_object() || y.value.is_object())
        && !(x.system().is_some() && y.system().is_some())
    {
        return Some(deep_equal(x.value, y.value));
    }
    let (Some(x), Some(y)) = (a.system(), b.system()) else { return Some(false) };
    match (&x, &y) {
        (Item::Boolean(p), Item::Boolean(q)) => Some(p == q),
        (Item::Type { name: p, namespace: m }, Item::Type { name: q, namespace: n }) => {
            Some(p == q && m == n)
        }
        _ => match order(&x, &y) {
            Order::Known(o) => Some(o == Ordering::Equal),
            Order::Open => None,
            Order::Incomparable => Some(false),
        },
    }
}

/// `~` on single items.
pub(super) fn equivalent(a: &Item, b: &Item) -> bool {
    if let (Item::Node(x), Item::Node(y)) = (a, b)
        && x.value.is_object()
        && y.value.is_object()
        && !(x.system().is_some() && y.system().is_some())
    {
        return deep_equivalent(x.value, y.value);
    }
    let (Some(x), Some(y)) = (a.system(), b.system()) else { return false };
    match (&x, &y) {
        (Item::String(p), Item::String(q)) => normal(p) == normal(q),
        (Item::Boolean(p), Item::Boolean(q)) => p == q,
        (Item::Quantity(p), Item::Quantity(q)) => quantity::equivalent(p, q),
        (Item::Date(_) | Item::DateTime(_) | Item::Time(_), _) => {
            matches!(order(&x, &y), Order::Known(Ordering::Equal))
        }
        _ => match (number(&x), number(&y)) {
            (Some(p), Some(q)) => decimals_equivalent(p, q),
            _ => equal(&x, &y) == Some(true),
        },
    }
}

/// Equal when rounded to the precision of the less precise one.
pub(super) fn decimals_equivalent(a: Decimal, b: Decimal) -> bool {
    let digits = a.scale().min(b.scale());
    a.round(digits) == b.round(digits)
}

fn normal(text: &str) -> String {
    text.to_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) enum Order {
    Known(Ordering),
    /// The same kind of value, but undecidable.
    Open,
    Incomparable,
}

/// Order of two system values.
pub(super) fn order(a: &Item, b: &Item) -> Order {
    let known = |o: Option<Ordering>| o.map_or(Order::Open, Order::Known);
    match (a, b) {
        (Item::String(p), Item::String(q)) => Order::Known(p.cmp(q)),
        (Item::Date(p) | Item::DateTime(p), Item::Date(q) | Item::DateTime(q))
        | (Item::Time(p), Item::Time(q)) => known(temporal::compare(&p.0, &q.0)),
        (Item::Quantity(p), Item::Quantity(q)) => known(quantity::compare(p, q)),
        (Item::Quantity(q), n) => match number(n) {
            Some(n) if q.unit == "1" => Order::Known(q.value.cmp(&n)),
            _ => Order::Incomparable,
        },
        (n, Item::Quantity(q)) => match number(n) {
            Some(n) if q.unit == "1" => Order::Known(n.cmp(&q.value)),
            _ => Order::Incomparable,
        },
        _ => match (number(a), number(b)) {
            (Some(p), Some(q)) => Order::Known(p.cmp(&q)),
            _ => Order::Incomparable,
        },
    }
}

pub(super) fn number(item: &Item) -> Option<Decimal> {
    match item {
        Item::Integer(n) => Some(Decimal::from(*n)),
        Item::Decimal(d) => Some(*d),
        _ => None,
    }
}

fn deep_equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(p), Value::Number(q)) => {
            p == q
                || matches!((Decimal::parse(p.as_str()), Decimal::parse(q.as_str())), (Some(p), Some(q)) if p == q)
        }
        (Value::Array(p), Value::Array(q)) => {
            p.len() == q.len() && p.iter().zip(q).all(|(x, y)| deep_equal(x, y))
        }
        (Value::Object(p), Value::Object(q)) => {
            p.len() == q.len() && p.iter().all(|(k, x)| q.get(k).is_some_and(|y| deep_equal(x, y)))
        }
        _ => a == b,
    }
}

fn deep_equivalent(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::String(p), Value::String(q)) => normal(p) == normal(q),
        (Value::Number(p), Value::Number(q)) => {
            match (Decimal::parse(p.as_str()), Decimal::parse(q.as_str())) {
                (Some(p), Some(q)) => decimals_equivalent(p, q),
                _ => p == q,
            }
        }
        (Value::Array(p), Value::Array(q)) => {
            p.len() == q.len() && p.iter().all(|x| q.iter().any(|y| deep_equivalent(x, y)))
        }
        (Value::Object(p), Value::Object(q)) => {
            p.len() == q.len() && p.iter().all(|(k, x)| q.get(k).is_some_and(|y| deep_equivalent(x, y)))
        }
        _ => a == b,
    }
}

/// `=` on collections: same length, pairwise equal in order. Empty on either side is empty.
pub(super) fn collections_equal(a: &[Item], b: &[Item]) -> Option<bool> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    if a.len() != b.len() {
        return Some(false);
    }
    let mut open = false;
    for (x, y) in a.iter().zip(b) {
        match equal(x, y) {
            Some(true) => {}
            Some(false) => return Some(false),
            None => open = true,
        }
    }
    if open { None } else { Some(true) }
}

/// `~` on collections: the same items in any order.
pub(super) fn collections_equivalent(a: &[Item], b: &[Item]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut used = vec![false; b.len()];
    a.iter().all(|x| {
        let found = b.iter().enumerate().find(|(n, y)| !used[*n] && equivalent(x, y)).map(|(n, _)| n);
        if let Some(n) = found {
            used[n] = true;
        }
        found.is_some()
    })
}
