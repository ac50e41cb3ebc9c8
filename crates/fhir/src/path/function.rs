//! Functions over collections; those of strings and numbers have their own modules.

use super::evaluate::{Evaluated, Evaluator, Items, Scope, fail};
use super::item::{Instant, Item};
use super::parser::Node;
use super::{PathError, boundary, compare, convert, fhir, math, quantity, temporal, text};
use crate::moment::{Moment, Precision};
use std::cmp::Ordering;

/// Rounds of `repeat()`; resources are not nested that deep.
const MAX_ROUNDS: usize = 200;

type Arguments<'n> = &'n [Node];

fn truth<'a>(b: bool) -> Evaluated<'a> {
    Ok(vec![Item::Boolean(b)])
}

pub(super) fn call<'a>(
    ev: &Evaluator<'_, 'a>,
    name: &str,
    input: Items<'a>,
    arguments: Arguments,
    scope: &Scope<'a>,
) -> Evaluated<'a> {
    if let Some(done) = existence(ev, name, &input, arguments, scope) {
        return done;
    }
    if let Some(done) = subsetting(ev, name, &input, arguments, scope) {
        return done;
    }
    if let Some(done) = filtering(ev, name, &input, arguments, scope) {
        return done;
    }
    if let Some(done) = conversion(ev, name, &input, arguments, scope) {
        return done;
    }
    if let Some(done) = fhir::call(ev, name, &input, arguments, scope) {
        return done;
    }
    if let Some(done) = precision(ev, name, &input, arguments, scope) {
        return done;
    }
    if let Some(done) = text::call(ev, name, &input, arguments, scope) {
        return done;
    }
    numbers(ev, name, &input, arguments, scope)
}

/// Arguments that are values see the same `$this` as the call itself.
pub(super) fn argument<'a>(
    ev: &Evaluator<'_, 'a>,
    arguments: Arguments,
    n: usize,
    scope: &Scope<'a>,
) -> Evaluated<'a> {
    match arguments.get(n) {
        Some(node) => ev.eval(node, scope),
        None => fail("an argument is missing"),
    }
}

fn existence<'a>(
    ev: &Evaluator<'_, 'a>,
    name: &str,
    input: &[Item<'a>],
    arguments: Arguments,
    scope: &Scope<'a>,
) -> Option<Evaluated<'a>> {
    let all_are = |wanted: bool, any: bool| {
        let mut seen = false;
        for item in input {
            let Some(b) = item.as_bool() else { return fail("a collection of booleans is needed here") };
            seen |= b == wanted;
            if !any && b != wanted {
                return truth(false);
            }
        }
        truth(if any { seen } else { true })
    };
    let subset = |small: &[Item<'a>], large: &[Item<'a>]| -> Evaluated<'a> {
        for item in small {
            if !ev.contains(large, item)? {
                return truth(false);
            }
        }
        truth(true)
    };
    Some(match (name, arguments) {
        ("empty", []) => truth(input.is_empty()),
        ("exists", []) => truth(!input.is_empty()),
        ("exists", [criteria]) => any(ev, input, criteria, scope).and_then(truth),
        ("all", [criteria]) => {
            let mut all = true;
            ev.each(input, criteria, scope, |_, result| {
                all = ev.boolean(&result)? == Some(true);
                Ok(all)
            })
            .and_then(|()| truth(all))
        }
        ("not", []) => ev.boolean(input).map(|b| b.map(|b| Item::Boolean(!b)).into_iter().collect()),
        ("allTrue", []) => all_are(true, false),
        ("anyTrue", []) => all_are(true, true),
        ("allFalse", []) => all_are(false, false),
        ("anyFalse", []) => all_are(false, true),
        ("subsetOf", [_]) => argument(ev, arguments, 0, scope).and_then(|other| subset(input, &other)),
        ("supersetOf", [_]) => argument(ev, arguments, 0, scope).and_then(|other| subset(&other, input)),
        ("count", []) => Ok(vec![Item::Integer(input.len() as i64)]),
        ("distinct", []) => ev.distinct(input.to_vec()),
        ("isDistinct", []) => ev.distinct(input.to_vec()).and_then(|d| truth(d.len() == input.len())),
        _ => return None,
    })
}

fn any<'a>(
    ev: &Evaluator<'_, 'a>,
    input: &[Item<'a>],
    criteria: &Node,
    scope: &Scope<'a>,
) -> Result<bool, PathError> {
    let mut found = false;
    ev.each(input, criteria, scope, |_, result| {
        found = ev.boolean(&result)? == Some(true);
        Ok(!found)
    })?;
    Ok(found)
}

fn subsetting<'a>(
    ev: &Evaluator<'_, 'a>,
    name: &str,
    input: &[Item<'a>],
    arguments: Arguments,
    scope: &Scope<'a>,
) -> Option<Evaluated<'a>> {
    let counted = |f: &dyn Fn(usize) -> Items<'a>| -> Evaluated<'a> {
        let count = ev.integer(&argument(ev, arguments, 0, scope)?)?;
        Ok(count.map(|n| f(usize::try_from(n).unwrap_or(0))).unwrap_or_default())
    };
    let other = || argument(ev, arguments, 0, scope);
    Some(match (name, arguments) {
        ("single", []) => match input {
            [] | [_] => Ok(input.to_vec()),
            _ => fail("single() on several items"),
        },
        ("first", []) => Ok(input.first().cloned().into_iter().collect()),
        ("last", []) => Ok(input.last().cloned().into_iter().collect()),
        ("tail", []) => Ok(input.iter().skip(1).cloned().collect()),
        ("skip", [_]) => counted(&|n| input.iter().skip(n).cloned().collect()),
        ("take", [_]) => counted(&|n| input.iter().take(n).cloned().collect()),
        ("intersect", [_]) => other().and_then(|other| {
            let mut out = Vec::new();
            for item in input {
                if ev.contains(&other, item)? && !ev.contains(&out, item)? {
                    out.push(item.clone());
                }
            }
            Ok(out)
        }),
        ("exclude", [_]) => other().and_then(|other| {
            let mut out = Vec::new();
            for item in input {
                if !ev.contains(&other, item)? {
                    out.push(item.clone());
                }
            }
            Ok(out)
        }),
        ("union", [_]) => other().and_then(|other| ev.distinct(input.iter().cloned().chain(other).collect())),
        ("combine", [_]) => other().map(|other| input.iter().cloned().chain(other).collect()),
        _ => return None,
    })
}

fn filtering<'a>(
    ev: &Evaluator<'_, 'a>,
    name: &str,
    input: &[Item<'a>],
    arguments: Arguments,
    scope: &Scope<'a>,
) -> Option<Evaluated<'a>> {
    Some(match (name, arguments) {
        ("where", [criteria]) => {
            let mut out = Vec::new();
            ev.each(input, criteria, scope, |item, result| {
                if ev.boolean(&result)? == Some(true) {
                    out.push(item.clone());
                }
                Ok(true)
            })
            .map(|()| out)
        }
        ("select", [projection]) => {
            let mut out = Vec::new();
            ev.each(input, projection, scope, |_, result| {
                out.extend(result);
                Ok(true)
            })
            .map(|()| out)
        }
        ("repeat", [projection]) => repeat(ev, input, projection, scope),
        ("aggregate", [aggregator] | [aggregator, _]) => {
            aggregate(ev, input, aggregator, arguments.get(1), scope)
        }
        ("ofType" | "as", [t]) => match t.as_type_name() {
            Some(t) => ev.of_type(input.to_vec(), &t),
            None => fail(format!("{name}() takes the name of a type")),
        },
        ("is", [t]) => match t.as_type_name() {
            Some(t) => ev.is(input, &t),
            None => fail("is() takes the name of a type"),
        },
        ("iif", [criterion, chosen, rest @ ..]) if rest.len() <= 1 => {
            iif(ev, input, criterion, chosen, rest.first(), scope)
        }
        ("sort", keys) => sort(ev, input, keys, scope),
        ("trace", [_] | [_, _]) => trace(ev, input, arguments, scope).map(|()| input.to_vec()),
        ("children", []) => children(ev, input),
        ("descendants", []) => descendants(ev, input),
        _ => return None,
    })
}

fn iif<'a>(
    ev: &Evaluator<'_, 'a>,
    input: &[Item<'a>],
    criterion: &Node,
    chosen: &Node,
    otherwise: Option<&Node>,
    scope: &Scope<'a>,
) -> Evaluated<'a> {
    if input.len() > 1 {
        return fail("iif() takes a single item");
    }
    let inner = Scope { focus: input.to_vec(), ..scope.clone() };
    let decided = match &ev.eval(criterion, &inner)?[..] {
        [] => false,
        [one] => match one.as_bool() {
            Some(b) => b,
            None => return fail("the first argument of iif() is no boolean"),
        },
        _ => return fail("the first argument of iif() comes to several values"),
    };
    match (decided, otherwise) {
        (true, _) => ev.eval(chosen, &inner),
        (false, Some(otherwise)) => ev.eval(otherwise, &inner),
        (false, None) => Ok(Vec::new()),
    }
}

/// By each key in turn, a leading minus for descending; items without a key come first either way. Of a
/// later release.
fn sort<'a>(ev: &Evaluator<'_, 'a>, input: &[Item<'a>], keys: Arguments, scope: &Scope<'a>) -> Evaluated<'a> {
    let this = [Node::This];
    let keys = if keys.is_empty() { &this[..] } else { keys };
    let mut rows: Vec<(Vec<Option<Item<'a>>>, Item<'a>)> = Vec::with_capacity(input.len());
    for (n, item) in input.iter().enumerate() {
        let inner = Scope { focus: vec![item.clone()], index: Some(n as i64), total: scope.total.clone() };
        let mut row = Vec::with_capacity(keys.len());
        for key in keys {
            let key = if let Node::Negate(key) = key { key } else { key };
            row.push(ev.single(&ev.eval(key, &inner)?)?);
        }
        rows.push((row, item.clone()));
    }
    ev.spend(rows.len() * rows.len().max(1).ilog2() as usize)?;
    let mut incomparable = false;
    rows.sort_by(|(a, _), (b, _)| {
        for ((x, y), key) in a.iter().zip(b).zip(keys) {
            let order = match (x, y) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => return Ordering::Less,
                (Some(_), None) => return Ordering::Greater,
                (Some(x), Some(y)) => match compare::order(x, y) {
                    compare::Order::Known(order) => order,
                    compare::Order::Open => Ordering::Equal,
                    compare::Order::Incomparable => {
                        incomparable = true;
                        Ordering::Equal
                    }
                },
            };
            let order = if matches!(key, Node::Negate(_)) { order.reverse() } else { order };
            if order != Ordering::Equal {
                return order;
            }
        }
        Ordering::Equal
    });
    if incomparable {
        return fail("sort() on values that have no order");
    }
    Ok(rows.into_iter().map(|(_, item)| item).collect())
}

fn trace<'a>(
    ev: &Evaluator<'_, 'a>,
    input: &[Item<'a>],
    arguments: Arguments,
    scope: &Scope<'a>,
) -> Result<(), PathError> {
    let name = ev.string(&argument(ev, arguments, 0, scope)?)?.unwrap_or_default();
    let Some(host) = ev.env.host else { return Ok(()) };
    match arguments.get(1) {
        None => host.trace(&name, input),
        Some(projection) => {
            let mut shown = Vec::new();
            ev.each(input, projection, scope, |_, result| {
                shown.extend(result);
                Ok(true)
            })?;
            host.trace(&name, &shown);
        }
    }
    Ok(())
}

fn repeat<'a>(
    ev: &Evaluator<'_, 'a>,
    input: &[Item<'a>],
    projection: &Node,
    scope: &Scope<'a>,
) -> Evaluated<'a> {
    let mut out: Items<'a> = Vec::new();
    let mut current = input.to_vec();
    for _ in 0..MAX_ROUNDS {
        let mut next = Vec::new();
        ev.each(&current, projection, scope, |_, result| {
            for item in result {
                // Nodes of the tree are told apart by place, values by equality.
                let known = match &item {
                    Item::Node(n) => {
                        ev.spend(out.len())?;
                        out.iter().any(|o| matches!(o, Item::Node(m) if std::ptr::eq(m.value, n.value)))
                    }
                    value => ev.contains(&out, value)?,
                };
                if !known {
                    out.push(item.clone());
                    next.push(item);
                }
            }
            Ok(true)
        })?;
        if next.is_empty() {
            return Ok(out);
        }
        current = next;
    }
    fail("repeat() does not end")
}

fn aggregate<'a>(
    ev: &Evaluator<'_, 'a>,
    input: &[Item<'a>],
    aggregator: &Node,
    start: Option<&Node>,
    scope: &Scope<'a>,
) -> Evaluated<'a> {
    let mut total = match start {
        Some(node) => ev.eval(node, scope)?,
        None => Vec::new(),
    };
    for (n, item) in input.iter().enumerate() {
        let inner = Scope { focus: vec![item.clone()], index: Some(n as i64), total: Some(total) };
        total = ev.eval(aggregator, &inner)?;
    }
    Ok(total)
}

fn children<'a>(ev: &Evaluator<'_, 'a>, input: &[Item<'a>]) -> Evaluated<'a> {
    let mut out = Vec::new();
    for item in input {
        if let Item::Node(n) = item {
            n.children(&mut out);
        }
    }
    ev.spend(out.len())?;
    Ok(out)
}

fn descendants<'a>(ev: &Evaluator<'_, 'a>, input: &[Item<'a>]) -> Evaluated<'a> {
    let mut out = Vec::new();
    let mut level = children(ev, input)?;
    while !level.is_empty() {
        let next = children(ev, &level)?;
        out.append(&mut level);
        level = next;
    }
    Ok(out)
}

fn conversion<'a>(
    ev: &Evaluator<'_, 'a>,
    name: &str,
    input: &[Item<'a>],
    arguments: Arguments,
    scope: &Scope<'a>,
) -> Option<Evaluated<'a>> {
    let (type_name, test) = match (name.strip_prefix("to"), name.strip_prefix("convertsTo")) {
        (_, Some(t)) => (t, true),
        (Some(t), None) => (t, false),
        (None, None) => return joined(ev, name, input, arguments, scope),
    };
    // Tells `toString` from `toChars` before looking at the input.
    convert::to(type_name, &Item::Boolean(true))?;
    Some(match ev.single(input) {
        Err(e) => Err(e),
        Ok(None) if input.is_empty() => Ok(Vec::new()),
        Ok(None) => {
            if test {
                truth(false)
            } else {
                Ok(Vec::new())
            }
        }
        Ok(Some(value)) => {
            let converted = convert::to(type_name, &value).flatten();
            let converted = match (converted, arguments) {
                (Some(Item::Quantity(q)), [_]) if type_name == "Quantity" => {
                    match argument(ev, arguments, 0, scope).and_then(|a| ev.string(&a)) {
                        Err(e) => return Some(Err(e)),
                        Ok(Some(unit)) => quantity::converted(&q, &unit).map(Item::Quantity),
                        Ok(None) => Some(Item::Quantity(q)),
                    }
                }
                (_, [_, ..]) => return Some(fail(format!("{name}() takes no arguments"))),
                (converted, _) => converted,
            };
            if test { truth(converted.is_some()) } else { Ok(converted.into_iter().collect()) }
        }
    })
}

fn joined<'a>(
    ev: &Evaluator<'_, 'a>,
    name: &str,
    input: &[Item<'a>],
    arguments: Arguments,
    scope: &Scope<'a>,
) -> Option<Evaluated<'a>> {
    if name != "join" || arguments.len() > 1 {
        return None;
    }
    let separator = match arguments {
        [] => Ok(None),
        _ => argument(ev, arguments, 0, scope).and_then(|a| ev.string(&a)),
    };
    Some(separator.and_then(|separator| {
        let mut parts = Vec::new();
        for item in input {
            parts.extend(ev.string(std::slice::from_ref(item))?);
        }
        Ok(vec![Item::String(parts.join(separator.as_deref().unwrap_or("")))])
    }))
}

/// What the written precision of a value leaves open.
fn precision<'a>(
    ev: &Evaluator<'_, 'a>,
    name: &str,
    input: &[Item<'a>],
    arguments: Arguments,
    scope: &Scope<'a>,
) -> Option<Evaluated<'a>> {
    let value = || ev.single(input);
    Some(match (name, arguments) {
        ("precision", []) => {
            value().map(|v| v.and_then(|v| boundary::precision(&v)).map(Item::Integer).into_iter().collect())
        }
        ("lowBoundary" | "highBoundary", [] | [_]) => {
            let digits = match arguments {
                [] => Ok(None),
                _ => argument(ev, arguments, 0, scope).and_then(|a| ev.integer(&a)),
            };
            let (digits, value) = match (digits, value()) {
                (Ok(d), Ok(v)) => (d, v),
                (Err(e), _) | (_, Err(e)) => return Some(Err(e)),
            };
            let bound = value.and_then(|v| boundary::boundary(&v, digits, name == "highBoundary"));
            Ok(bound.into_iter().collect())
        }
        ("comparable", [_]) => argument(ev, arguments, 0, scope).and_then(|other| {
            Ok(match (value()?, ev.single(&other)?) {
                (Some(Item::Quantity(a)), Some(Item::Quantity(b))) => {
                    vec![Item::Boolean(quantity::comparable(&a, &b))]
                }
                (Some(_), Some(_)) => return fail("comparable() takes quantities"),
                _ => Vec::new(),
            })
        }),
        ("now" | "today" | "timeOfDay", []) => clock(ev, name),
        _ => return None,
    })
}

fn clock<'a>(ev: &Evaluator<'_, 'a>, name: &str) -> Evaluated<'a> {
    let Some(now) = ev.env.now else { return fail(format!("{name}() has no clock here")) };
    let mut moment: Moment = temporal::from_us(now.as_microsecond());
    Ok(vec![match name {
        "today" => {
            moment.precision = Precision::Day;
            moment.offset = None;
            Item::Date(Instant(moment))
        }
        "timeOfDay" => {
            moment.offset = None;
            Item::Time(Instant(moment))
        }
        _ => Item::DateTime(Instant(moment)),
    }])
}

fn numbers<'a>(
    ev: &Evaluator<'_, 'a>,
    name: &str,
    input: &[Item<'a>],
    arguments: Arguments,
    scope: &Scope<'a>,
) -> Evaluated<'a> {
    let unknown = || fail(format!("unknown function {name}() with {} arguments", arguments.len()));
    let second = match arguments {
        [] => None,
        [_] => ev.single(&argument(ev, arguments, 0, scope)?)?,
        _ => return unknown(),
    };
    // Unknown names are errors for any input, known ones give empty for empty input.
    if math::call(name, &Item::Integer(1), second.as_ref()).is_none() {
        return unknown();
    }
    match ev.single(input)? {
        Some(value) => math::call(name, &value, second.as_ref()).unwrap_or_else(unknown),
        None => Ok(Vec::new()),
    }
}
