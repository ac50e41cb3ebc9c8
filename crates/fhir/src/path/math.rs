//! Arithmetic operators and functions.

use super::compare::number;
use super::decimal::Decimal;
use super::evaluate::{Evaluated, Items, fail};
use super::item::{Instant, Item, Quantity};
use super::parser::Operator;
use super::{quantity, temporal};

fn one(item: Option<Item<'_>>) -> Items<'_> {
    item.into_iter().collect()
}

pub(super) fn negate(input: Items<'_>) -> Evaluated<'_> {
    match &input[..] {
        [] => Ok(Vec::new()),
        [single] => match single.system() {
            Some(Item::Integer(n)) => Ok(one(n.checked_neg().map(Item::Integer))),
            Some(Item::Decimal(d)) => Ok(vec![Item::Decimal(d.negate())]),
            Some(Item::Quantity(q)) => Ok(vec![Item::Quantity(Quantity { value: q.value.negate(), ..q })]),
            _ => fail("only numbers can be negated"),
        },
        _ => fail("only a single number can be negated"),
    }
}

/// Overflow and division by zero give an empty result.
pub(super) fn binary<'a>(operator: Operator, a: &Item<'a>, b: &Item<'a>) -> Evaluated<'a> {
    use Operator as O;
    match (a, b) {
        (Item::Integer(x), Item::Integer(y)) => Ok(match operator {
            O::Add => one(x.checked_add(*y).map(Item::Integer)),
            O::Subtract => one(x.checked_sub(*y).map(Item::Integer)),
            O::Multiply => one(x.checked_mul(*y).map(Item::Integer)),
            O::Divide => one(Decimal::from(*x).divide(Decimal::from(*y)).map(Item::Decimal)),
            O::Div => one(x.checked_div(*y).map(Item::Integer)),
            O::Mod => one(x.checked_rem(*y).map(Item::Integer)),
            _ => return fail("this operator does not take numbers"),
        }),
        (Item::String(x), Item::String(y)) if operator == O::Add => Ok(vec![Item::String(format!("{x}{y}"))]),
        (Item::Date(m) | Item::DateTime(m) | Item::Time(m), Item::Quantity(q))
            if matches!(operator, O::Add | O::Subtract) =>
        {
            let sign = if operator == O::Add { 1 } else { -1 };
            let time = matches!(a, Item::Time(_));
            if !q.calendar && matches!(q.unit.as_str(), "a" | "mo") {
                return fail("years and months are added as calendar words, not as UCUM units");
            }
            if !temporal::is_duration(q) {
                return fail("only durations can be added to dates and times");
            }
            let sum = temporal::add(&m.0, q, sign, time).map(Instant);
            Ok(one(sum.map(|m| match a {
                Item::Date(_) => Item::Date(m),
                Item::Time(_) => Item::Time(m),
                _ => Item::DateTime(m),
            })))
        }
        (Item::Quantity(x), Item::Quantity(y)) => Ok(one(match operator {
            O::Add => quantity::add(x, y, false).map(Item::Quantity),
            O::Subtract => quantity::add(x, y, true).map(Item::Quantity),
            O::Multiply => quantity::combined(x, y, false).map(Item::Quantity),
            O::Divide => quantity::combined(x, y, true).map(Item::Quantity),
            _ => return fail("these quantities cannot be combined"),
        })),
        _ => match (operator, a, number(a), b, number(b)) {
            (O::Multiply, Item::Quantity(q), _, _, Some(n)) => Ok(one(scaled(q, q.value.times(n)))),
            (O::Multiply, _, Some(n), Item::Quantity(q), _) => Ok(one(scaled(q, q.value.times(n)))),
            (O::Divide, Item::Quantity(q), _, _, Some(n)) => Ok(one(scaled(q, q.value.divide(n)))),
            (_, _, Some(x), _, Some(y)) => Ok(one(match operator {
                O::Add => x.plus(y).map(Item::Decimal),
                O::Subtract => x.minus(y).map(Item::Decimal),
                O::Multiply => x.times(y).map(Item::Decimal),
                O::Divide => x.divide(y).map(Item::Decimal),
                O::Div => x.divide_whole(y).map(|(q, _)| Item::Integer(q)),
                O::Mod => x.divide_whole(y).map(|(_, r)| Item::Decimal(r)),
                _ => return fail("this operator does not take numbers"),
            })),
            _ => fail("this operator does not take values of these types"),
        },
    }
}

fn scaled<'a>(q: &Quantity, value: Option<Decimal>) -> Option<Item<'a>> {
    value.map(|value| Item::Quantity(Quantity { value, ..q.clone() }))
}

/// `None` if the name is no function of numbers.
pub(super) fn call<'a>(name: &str, value: &Item<'a>, argument: Option<&Item<'a>>) -> Option<Evaluated<'a>> {
    let real = |f: fn(f64) -> f64| {
        let Some(n) = number(value) else { return Some(fail("a number is needed here")) };
        Some(Ok(one(Decimal::from_f64(f(n.to_f64())).map(Item::Decimal))))
    };
    let whole = |f: fn(Decimal) -> Option<i64>| {
        let Some(n) = number(value) else { return Some(fail("a number is needed here")) };
        Some(Ok(one(f(n).map(Item::Integer))))
    };
    match name {
        "abs" => Some(match value {
            Item::Integer(n) => Ok(one(n.checked_abs().map(Item::Integer))),
            Item::Decimal(d) => Ok(vec![Item::Decimal(d.abs())]),
            Item::Quantity(q) => Ok(one(scaled(q, Some(q.value.abs())))),
            _ => fail("a number is needed here"),
        }),
        "ceiling" => whole(Decimal::ceiling),
        "floor" => whole(Decimal::floor),
        "truncate" => whole(Decimal::truncate),
        "exp" => real(f64::exp),
        "ln" => real(f64::ln),
        "sqrt" => real(f64::sqrt),
        "log" | "power" => {
            let (Some(n), Some(base)) = (number(value), argument.and_then(number)) else {
                return Some(if argument.is_none() {
                    Ok(Vec::new())
                } else {
                    fail("a number is needed here")
                });
            };
            if name == "power"
                && let (Item::Integer(n), Some(Item::Integer(e))) = (value, argument)
                && let Ok(e) = u32::try_from(*e)
            {
                return Some(Ok(one(n.checked_pow(e).map(Item::Integer))));
            }
            let (n, base) = (n.to_f64(), base.to_f64());
            let result = if name == "log" { n.ln() / base.ln() } else { n.powf(base) };
            Some(Ok(one(Decimal::from_f64(result).map(Item::Decimal))))
        }
        "round" => {
            let digits = match argument {
                None => 0,
                Some(Item::Integer(n)) if *n >= 0 => u32::try_from(*n).unwrap_or(u32::MAX),
                Some(_) => return Some(fail("round takes a number of digits")),
            };
            let Some(n) = number(value) else { return Some(fail("a number is needed here")) };
            Some(Ok(one(n.round(digits).map(Item::Decimal))))
        }
        _ => None,
    }
}
