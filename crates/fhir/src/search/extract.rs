//! Index entries and compartments of a resource, by the compiled [plan](super::plan).

use super::plan::{Composite, Place, Step, Take, plan};
use super::{IndexEntry, IndexValue, Params, fold};
use crate::moment::{Form, Moment, OPEN_HIGH_US, OPEN_LOW_US};
use crate::number::{OPEN, implicit_range};
use crate::{ParamId, Reference, Resource, ResourceKey, TypeId};
use serde_json::Value;
use std::cmp::Ordering;

/// Changes whenever [extract] or [compartment] gives other entries for the same resource than before: what is
/// stored was then made by another extractor, and the index has to be built anew. 3: `record` adds references to patients
/// that no parameter indexes.
///
/// The walk after an upgrade (`store::resource::complete_index`) adds rows that are missing; it does not update
/// `reference.tokens`, the signatures of the referring resources, in rows that are there. So a version that adds tokens
/// must also rewrite the reference rows of what gets them.
pub const EXTRACTOR_VERSION: u32 = 3;
/// Currency codes of Money, as a token system.
const CURRENCY: &str = "urn:iso:std:iso:4217";
/// Longest text kept in the index; longer text is cut at a character boundary. Exact search on longer
/// values compares the part that is kept.
pub const MAX_INDEXED_BYTES: usize = 1024;
/// Composite entries of one element.
const MAX_COMBINATIONS: usize = 64;

/// The index entries of every search parameter of the resource, sorted by parameter and value, without
/// duplicates. Values that do not have the form their type asks for are left out: validation reports them.
pub fn extract(params: &Params, resource: &Resource) -> Vec<IndexEntry> {
    let plan = plan(resource.kind());
    let mut out = Vec::with_capacity(32);
    take_all(&plan.root, resource.value(), &mut out);
    for (param, keys) in &plan.presence {
        let present = keys.iter().any(|k| resource.get(k).is_some_and(|v| *v != Value::Bool(false)));
        token(*param, "", if present { "true" } else { "false" }, &mut out);
    }
    params.extract_own(resource, &mut out);
    sort(&mut out);
    out
}

/// The entries that the index may hold of a stored resource: those of [extract], and of parameters that are being
/// removed. For replacing them.
pub fn extract_stored(params: &Params, resource: &Resource) -> Vec<IndexEntry> {
    let mut out = extract(params, resource);
    let current = out.len();
    params.extract_dropping(resource, &mut out);
    if out.len() > current {
        sort(&mut out);
    }
    out
}

fn sort(out: &mut Vec<IndexEntry>) {
    out.sort_unstable_by(|a, b| a.param.cmp(&b.param).then_with(|| compare(&a.value, &b.value)));
    out.dedup();
}

/// The entries of the places below `root`, composite ones too.
pub(super) fn take_all(root: &Place, resource: &Value, out: &mut Vec<IndexEntry>) {
    walk(root, resource, &mut |found, value| match found {
        Found::Value(param, take) => take_value(param, take, value, out),
        Found::Element(composite) => take_element(composite, resource, value, out),
    });
}

fn take_element(composite: &Composite, resource: &Value, element: &Value, out: &mut Vec<IndexEntry>) {
    let mut combinations: Vec<Vec<IndexValue>> = vec![Vec::new()];
    for part in &composite.parts {
        let mut values = Vec::new();
        walk(&part.place, if part.of_resource { resource } else { element }, &mut |found, value| {
            if let Found::Value(param, take) = found {
                take_value(param, take, value, &mut values);
            }
        });
        values.retain(|entry| {
            matches!(
                entry.value,
                IndexValue::Token { .. }
                    | IndexValue::String { .. }
                    | IndexValue::Date { .. }
                    | IndexValue::Quantity { .. }
                    | IndexValue::Reference { .. }
                    | IndexValue::Uri(_)
            )
        });
        let longer = combinations.iter().flat_map(|before| {
            values.iter().map(move |entry| {
                let mut all = before.clone();
                all.push(entry.value.clone());
                all
            })
        });
        combinations = longer.take(MAX_COMBINATIONS).collect();
    }
    out.extend(
        combinations
            .into_iter()
            .map(|values| IndexEntry { param: composite.param, value: IndexValue::Composite(values) }),
    );
}

/// Ids of the patients this resource belongs to, each once; a Patient belongs to itself.
pub fn compartment(resource: &Resource) -> Vec<String> {
    if resource.kind() == TypeId::PATIENT {
        return resource.id().map(str::to_owned).into_iter().collect();
    }
    let mut out: Vec<String> = Vec::new();
    walk(&plan(resource.kind()).compartment, resource.value(), &mut |found, value| {
        let Found::Value(_, Take::Reference(_)) = found else { return };
        let Some(text) = value.get("reference").and_then(Value::as_str) else { return };
        if let Reference::Local { key, .. } = Reference::parse(text, None)
            && key.kind == TypeId::PATIENT
            && !out.contains(&key.id)
        {
            out.push(key.id);
        }
    });
    out
}

#[derive(Clone, Copy)]
enum Found<'p> {
    Value(ParamId, Take),
    Element(&'p Composite),
}

/// Calls `found` for every value a plan wants.
fn walk<'p>(place: &'p Place, value: &Value, found: &mut dyn FnMut(Found<'p>, &Value)) {
    if let Value::Array(items) = value {
        for item in items {
            walk(place, item, found);
        }
        return;
    }
    for (param, take) in &place.takes {
        found(Found::Value(*param, *take), value);
    }
    for composite in &place.composites {
        found(Found::Element(composite), value);
    }
    if place.steps.is_empty() {
        return;
    }
    let Value::Object(object) = value else { return };
    for (step, next) in &place.steps {
        match step {
            Step::Key(key, None) => {
                if let Some(v) = object.get(*key) {
                    walk(next, v, found);
                }
            }
            Step::Key(key, Some(index)) => {
                if let Some(v) = object.get(*key).and_then(|v| v.get(*index)) {
                    walk(next, v, found);
                }
            }
            Step::Where(key, text) => {
                if object.get(*key).and_then(Value::as_str) == Some(*text) {
                    walk(next, value, found);
                }
            }
        }
    }
}

pub(super) fn take_value(param: ParamId, take: Take, value: &Value, out: &mut Vec<IndexEntry>) {
    let text = |key: &str| value.get(key).and_then(Value::as_str);
    match take {
        Take::TokenText => match value {
            Value::String(code) => token(param, "", code, out),
            Value::Number(n) => token(param, "", n.as_str(), out),
            _ => {}
        },
        Take::TokenBoolean => {
            if let Value::Bool(b) = value {
                token(param, "", if *b { "true" } else { "false" }, out);
            }
        }
        Take::Coding => {
            coding(param, value, out);
        }
        Take::CodeableConcept => {
            let first = out.len();
            for c in value.get("coding").and_then(Value::as_array).into_iter().flatten() {
                coding(param, c, out);
            }
            own_text(param, text("text"), first, out);
        }
        Take::Identifier => identifier(param, value, out),
        // Without a system of their own; `phone|+254…` tells numbers from addresses.
        Take::ContactPoint => {
            if let Some(number) = text("value") {
                token(param, text("system").unwrap_or(""), number, out);
            }
        }
        Take::Text => string(param, value, out),
        Take::HumanName => strings(param, value, &["text", "family", "given", "prefix", "suffix"], out),
        Take::Address => {
            strings(
                param,
                value,
                &["text", "line", "city", "district", "state", "postalCode", "country"],
                out,
            );
        }
        Take::Date => date(param, value.as_str().and_then(moment_range), out),
        Take::Period => date(param, period(value), out),
        Take::Timing => date(param, timing(value), out),
        Take::Number => {
            if let Some(range) = decimal(value) {
                quantity(param, range, "", "", out);
            }
        }
        Take::Quantity => {
            if let Some(range) = value.get("value").and_then(decimal) {
                let range = with_comparator(range, text("comparator"));
                match text("code") {
                    Some(code) => quantity(param, range, text("system").unwrap_or(""), code, out),
                    None => quantity(param, range, "", text("unit").unwrap_or(""), out),
                }
            }
        }
        Take::Money => {
            if let Some(range) = value.get("value").and_then(decimal) {
                let currency = text("currency").unwrap_or("");
                quantity(param, range, if currency.is_empty() { "" } else { CURRENCY }, currency, out);
            }
        }
        Take::Range => range_entry(param, value, out),
        Take::Reference(only) => reference(param, value, only, out),
        Take::Uri => uri(param, value.as_str(), out),
        Take::Canonical => {
            uri(param, value.as_str(), out);
            if let Some((url, _)) = value.as_str().and_then(|u| u.split_once('|')) {
                uri(param, Some(url), out);
            }
        }
        Take::Position => {
            let degrees = |key: &str| value.get(key).and_then(decimal).map(|(degrees, ..)| degrees);
            if let (Some(latitude), Some(longitude)) = (degrees("latitude"), degrees("longitude"))
                && (-90.0..=90.0).contains(&latitude)
                && (-180.0..=180.0).contains(&longitude)
            {
                out.push(IndexEntry { param, value: IndexValue::Position { latitude, longitude } });
            }
        }
        Take::NestedResource => {
            if let Some(kind) = text("resourceType").and_then(TypeId::from_name)
                && let Some(id) = text("id").filter(|id| crate::resource::valid_id(id))
            {
                let target = ResourceKey::new(kind, id);
                out.push(IndexEntry { param, value: IndexValue::Reference { target } });
            }
        }
    }
}

fn token(param: ParamId, system: &str, code: &str, out: &mut Vec<IndexEntry>) {
    if system.is_empty() && code.is_empty() {
        return;
    }
    let value = IndexValue::Token { system: cut(system).to_owned(), code: cut(code).to_owned() };
    out.push(IndexEntry { param, value });
}

fn coding(param: ParamId, value: &Value, out: &mut Vec<IndexEntry>) {
    let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("");
    let (system, code) = (text("system"), text("code"));
    token(param, system, code, out);
    let coding = (!code.is_empty()).then(|| (cut(system).to_owned(), cut(code).to_owned()));
    text_entry(param, text("display"), coding, out);
}

fn text_entry(param: ParamId, text: &str, coding: Option<(String, String)>, out: &mut Vec<IndexEntry>) {
    let folded = fold(cut(text));
    if !folded.is_empty() {
        out.push(IndexEntry { param, value: IndexValue::Text { folded, coding } });
    }
}

/// The text of a concept, unless an entry from `first` on, a display, says the same.
fn own_text(param: ParamId, text: Option<&str>, first: usize, out: &mut Vec<IndexEntry>) {
    let Some(text) = text else { return };
    let text = fold(cut(text));
    let repeated = out[first..]
        .iter()
        .any(|entry| matches!(&entry.value, IndexValue::Text { folded, .. } if *folded == text));
    if !text.is_empty() && !repeated {
        out.push(IndexEntry { param, value: IndexValue::Text { folded: text, coding: None } });
    }
}

fn identifier(param: ParamId, value: &Value, out: &mut Vec<IndexEntry>) {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let number = text(value, "value");
    token(param, &text(value, "system"), &number, out);
    let Some(kind) = value.get("type") else { return };
    text_entry(param, &text(kind, "text"), None, out);
    if number.is_empty() {
        return;
    }
    for coding in kind.get("coding").and_then(Value::as_array).into_iter().flatten() {
        let (system, code) = (cut(&text(coding, "system")).to_owned(), cut(&text(coding, "code")).to_owned());
        if !code.is_empty() {
            let value = cut(&number).to_owned();
            out.push(IndexEntry { param, value: IndexValue::IdentifierOfType { system, code, value } });
        }
    }
}

fn string(param: ParamId, value: &Value, out: &mut Vec<IndexEntry>) {
    let Value::String(exact) = value else { return };
    let exact = cut(exact);
    let folded = fold(exact);
    if !folded.is_empty() {
        out.push(IndexEntry { param, value: IndexValue::String { folded, exact: exact.to_owned() } });
    }
}

fn strings(param: ParamId, value: &Value, keys: &[&str], out: &mut Vec<IndexEntry>) {
    for key in keys {
        match value.get(key) {
            Some(Value::Array(items)) => items.iter().for_each(|i| string(param, i, out)),
            Some(v) => string(param, v, out),
            None => {}
        }
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_INDEXED_BYTES)]
}

fn date(param: ParamId, range: Option<(i64, i64)>, out: &mut Vec<IndexEntry>) {
    if let Some((low_us, high_us)) = range {
        out.push(IndexEntry { param, value: IndexValue::Date { low_us, high_us } });
    }
}

fn moment_range(text: &str) -> Option<(i64, i64)> {
    Moment::parse(text, Form::Loose).map(|m| m.range_us())
}

/// A missing end is open; a Period with neither end has no place on the time line.
fn period(value: &Value) -> Option<(i64, i64)> {
    let end_of = |key: &str| value.get(key).and_then(Value::as_str).and_then(moment_range);
    match (end_of("start"), end_of("end")) {
        (None, None) => None,
        (start, end) => Some((start.map_or(OPEN_LOW_US, |s| s.0), end.map_or(OPEN_HIGH_US, |e| e.1))),
    }
}

/// The outer limits only, as the specification asks.
fn timing(value: &Value) -> Option<(i64, i64)> {
    let events = value.get("event").and_then(Value::as_array).into_iter().flatten();
    let events = events.filter_map(Value::as_str).filter_map(moment_range);
    let bounds = value.get("repeat").and_then(|r| r.get("boundsPeriod")).and_then(period);
    events.chain(bounds).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)))
}

fn decimal(value: &Value) -> Option<(f64, f64, f64)> {
    match value {
        Value::Number(n) => implicit_range(n.as_str()),
        _ => None,
    }
}

fn with_comparator((value, low, high): (f64, f64, f64), comparator: Option<&str>) -> (f64, f64, f64) {
    match comparator {
        Some("<" | "<=") => (value, -OPEN, high),
        Some(">" | ">=") => (value, low, OPEN),
        _ => (value, low, high),
    }
}

fn quantity(
    param: ParamId,
    (value, low, high): (f64, f64, f64),
    system: &str,
    code: &str,
    out: &mut Vec<IndexEntry>,
) {
    let value = IndexValue::Quantity { value, low, high, system: cut(system).into(), code: cut(code).into() };
    out.push(IndexEntry { param, value });
}

fn range_entry(param: ParamId, value: &Value, out: &mut Vec<IndexEntry>) {
    let end = |key: &str| value.get(key).filter(|v| v.get("value").is_some());
    let (low, high) = (end("low"), end("high"));
    let Some(any) = low.or(high) else { return };
    let bound = |v: Option<&Value>| v.and_then(|v| v.get("value")).and_then(decimal);
    let low_bound = bound(low).map_or(-OPEN, |r| r.1);
    let high_bound = bound(high).map_or(OPEN, |r| r.2);
    let middle = match (bound(low), bound(high)) {
        (Some(l), Some(h)) => l.0 / 2.0 + h.0 / 2.0,
        (Some(l), None) => l.0,
        (None, Some(h)) => h.0,
        (None, None) => return,
    };
    let text = |key: &str| any.get(key).and_then(Value::as_str);
    let (system, code) = match text("code") {
        Some(code) => (text("system").unwrap_or(""), code),
        None => ("", text("unit").unwrap_or("")),
    };
    quantity(param, (middle, low_bound, high_bound), system, code, out);
}

fn reference(param: ParamId, value: &Value, only: Option<TypeId>, out: &mut Vec<IndexEntry>) {
    if let Some(identifier) = value.get("identifier") {
        let text = |key: &str| identifier.get(key).and_then(Value::as_str).unwrap_or("");
        let (system, number) = (cut(text("system")).to_owned(), cut(text("value")).to_owned());
        // The type of what is only identified is known if it is said, or the reference says it too.
        let kind = value
            .get("type")
            .and_then(Value::as_str)
            .and_then(TypeId::from_name)
            .or_else(|| Reference::parse(value.get("reference").and_then(Value::as_str)?, None).kind());
        if !number.is_empty() && only.is_none_or(|only| kind.is_none_or(|kind| kind == only)) {
            let value = IndexValue::ReferenceIdentifier { system, value: number };
            out.push(IndexEntry { param, value });
        }
    }
    let Some(text) = value.get("reference").and_then(Value::as_str) else { return };
    match Reference::parse(text, None) {
        Reference::Local { key, .. } => {
            if only.is_none_or(|kind| kind == key.kind) {
                out.push(IndexEntry { param, value: IndexValue::Reference { target: key } });
            }
        }
        Reference::External(url) | Reference::Urn(url) => {
            let named = value.get("type").and_then(Value::as_str);
            if only.is_none_or(|kind| {
                super::reference::kind_in_url(&url).map(TypeId::name).or(named) == Some(kind.name())
            }) {
                uri(param, Some(&url), out);
            }
        }
        // A contained resource is part of this one, and a conditional reference is resolved before it is stored.
        Reference::Contained(_) | Reference::Conditional { .. } => {}
    }
}

fn uri(param: ParamId, text: Option<&str>, out: &mut Vec<IndexEntry>) {
    if let Some(text) = text.filter(|t| !t.is_empty()) {
        out.push(IndexEntry { param, value: IndexValue::Uri(cut(text).to_owned()) });
    }
}

/// Any total order will do: it only brings equal values together.
fn compare(a: &IndexValue, b: &IndexValue) -> Ordering {
    use IndexValue as V;
    let rank = |v: &V| match v {
        V::Token { .. } => 0,
        V::String { .. } => 1,
        V::Date { .. } => 2,
        V::Quantity { .. } => 3,
        V::Reference { .. } => 4,
        V::Uri(_) => 5,
        V::IdentifierOfType { .. } => 6,
        V::Text { .. } => 7,
        V::ReferenceIdentifier { .. } => 8,
        V::Position { .. } => 9,
        V::Composite(_) => 10,
    };
    match (a, b) {
        (V::Token { system: s, code: c }, V::Token { system: t, code: d }) => c.cmp(d).then_with(|| s.cmp(t)),
        (V::String { folded: f, exact: e }, V::String { folded: g, exact: h }) => {
            f.cmp(g).then_with(|| e.cmp(h))
        }
        (V::Date { low_us: l, high_us: h }, V::Date { low_us: m, high_us: i }) => (l, h).cmp(&(m, i)),
        (
            V::Quantity { value: v, low: l, high: h, system: s, code: c },
            V::Quantity { value: w, low: m, high: i, system: t, code: d },
        ) => v
            .total_cmp(w)
            .then_with(|| l.total_cmp(m))
            .then_with(|| h.total_cmp(i))
            .then_with(|| (s, c).cmp(&(t, d))),
        (V::Reference { target: s }, V::Reference { target: t }) => s.cmp(t),
        (V::Uri(u), V::Uri(v)) => u.cmp(v),
        (
            V::IdentifierOfType { system: s, code: c, value: v },
            V::IdentifierOfType { system: t, code: d, value: w },
        ) => (c, v, s).cmp(&(d, w, t)),
        (V::Text { folded: f, coding: c }, V::Text { folded: g, coding: d }) => (f, c).cmp(&(g, d)),
        (V::ReferenceIdentifier { system: s, value: v }, V::ReferenceIdentifier { system: t, value: w }) => {
            (v, s).cmp(&(w, t))
        }
        (V::Position { latitude: l, longitude: m }, V::Position { latitude: n, longitude: o }) => {
            l.total_cmp(n).then_with(|| m.total_cmp(o))
        }
        (V::Composite(c), V::Composite(d)) => c
            .iter()
            .zip(d)
            .map(|(x, y)| compare(x, y))
            .find(|o| o.is_ne())
            .unwrap_or_else(|| c.len().cmp(&d.len())),
        _ => rank(a).cmp(&rank(b)),
    }
}
