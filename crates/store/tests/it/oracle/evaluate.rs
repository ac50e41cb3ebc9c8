//! A search as the specification has it, by looking at every resource.

use super::query::Pairs;
use crate::support::kind;
use fhir::definitions::{Param, ParamType};
use fhir::path::{self, Env, Expr};
use fhir::search::{Params, fold};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

const OPEN: i64 = i64::MAX / 4;

/// Values of one parameter of one resource.
type Values = Rc<Vec<Value>>;

pub struct World<'a> {
    all: &'a [Value],
    params: Params,
    /// What `resolve()` finds: resources that are only of the right type.
    stubs: BTreeMap<&'static str, Value>,
    expressions: RefCell<HashMap<String, Rc<Expr>>>,
    known: RefCell<HashMap<(usize, String), Values>>,
    /// Folded display, system, code.
    displays: BTreeSet<(String, String, String)>,
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(value: &'v Value, key: &str) -> Vec<&'v Value> {
    match value.get(key) {
        Some(Value::Array(items)) => items.iter().collect(),
        Some(one) => vec![one],
        None => Vec::new(),
    }
}

fn displays(value: &Value, out: &mut BTreeSet<(String, String, String)>) {
    match value {
        Value::Object(object) => {
            if value.get("display").is_some() && value.get("code").is_some() {
                out.insert((
                    fold(text(value, "display")),
                    text(value, "system").into(),
                    text(value, "code").into(),
                ));
            }
            object.values().for_each(|child| displays(child, out));
        }
        Value::Array(items) => items.iter().for_each(|child| displays(child, out)),
        _ => {}
    }
}

impl<'a> World<'a> {
    pub fn new(all: &'a [Value]) -> World<'a> {
        let mut found = BTreeSet::new();
        all.iter().for_each(|value| displays(value, &mut found));
        let kinds = ["Patient", "Practitioner", "Organization", "Encounter", "Location", "Observation"];
        World {
            all,
            params: Params::standard(),
            stubs: kinds.into_iter().map(|kind| (kind, json!({"resourceType": kind}))).collect(),
            expressions: RefCell::default(),
            known: RefCell::default(),
            displays: found,
        }
    }

    fn of<'w>(&'w self, kind: &'w str) -> impl Iterator<Item = &'a Value> + 'w {
        self.all.iter().filter(move |value| text(value, "resourceType") == kind)
    }

    pub fn search(&self, of: &str, pairs: &Pairs) -> BTreeSet<String> {
        self.of(of)
            .filter(|doc| {
                pairs.iter().all(|(name, value)| name == "_sort" || self.holds(doc, of, name, value))
            })
            .map(|doc| text(doc, "id").to_owned())
            .collect()
    }

    fn param(&self, of: &str, code: &str) -> &Param {
        self.params.param(kind(of), code).unwrap_or_else(|| panic!("{of}.{code}"))
    }

    fn by_path(&self, doc: &Value, expression: &str) -> Values {
        let at = (std::ptr::from_ref(doc) as usize, expression.to_owned());
        if let Some(known) = self.known.borrow().get(&at) {
            return known.clone();
        }
        let parsed = self
            .expressions
            .borrow_mut()
            .entry(expression.to_owned())
            .or_insert_with(|| Rc::new(path::parse(expression).unwrap()))
            .clone();
        let find = |reference: &str| self.stubs.get(reference.split('/').next().unwrap_or_default());
        let env = Env { resolve: Some(&find), ..Env::default() };
        let items = path::evaluate(&parsed, doc, &env).unwrap_or_else(|e| panic!("{expression}: {e}"));
        let values = Rc::new(items.iter().map(path::Item::to_json).collect::<Vec<Value>>());
        self.known.borrow_mut().insert(at, values.clone());
        values
    }

    fn targets(&self, doc: &Value, of: &str, code: &str) -> Vec<String> {
        let values = self.by_path(doc, self.param(of, code).expression);
        values.iter().map(|value| text(value, "reference").to_owned()).filter(|r| !r.is_empty()).collect()
    }

    fn holds(&self, doc: &Value, of: &str, name: &str, value: &str) -> bool {
        if let Some(rest) = name.strip_prefix("_has:") {
            let mut parts = rest.splitn(3, ':');
            let (from, code, inner) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
            let own = format!("{of}/{}", text(doc, "id"));
            return self.of(from).any(|other| {
                self.targets(other, from, code).contains(&own) && self.holds(other, from, inner, value)
            });
        }
        if name == "_filter" {
            return self.filter(doc, of, value);
        }
        if let Some((link, inner)) = name.split_once('.') {
            let (code, to) = link.split_once(':').unwrap();
            let targets = self.targets(doc, of, code);
            return self.of(to).any(|other| {
                targets.contains(&format!("{to}/{}", text(other, "id")))
                    && self.holds(other, to, inner, value)
            });
        }
        match name {
            "_id" => value.split(',').any(|id| id == text(doc, "id")),
            "_text" | "_content" => self.words(doc, name == "_content", value),
            _ => self.plain(doc, of, name, value),
        }
    }

    /// Only what the generator makes.
    fn filter(&self, doc: &Value, of: &str, value: &str) -> bool {
        if let Some((a, b)) = value.strip_prefix("not (").and_then(|rest| rest.split_once(") and ")) {
            return !self.filter(doc, of, a) && self.filter(doc, of, b);
        }
        if let Some((a, b)) = value.split_once(" or (") {
            return self.filter(doc, of, a) || self.filter(doc, of, b.trim_end_matches(')'));
        }
        if let Some((a, b)) = value.split_once(" and ") {
            return self.filter(doc, of, a) && self.filter(doc, of, b);
        }
        let mut parts = value.splitn(3, ' ');
        let (name, operator, value) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        let value = value.trim_matches('"');
        match operator {
            "eq" | "sw" => self.plain(doc, of, name, value),
            other => self.plain(doc, of, name, &format!("{other}{value}")),
        }
    }

    fn words(&self, doc: &Value, content: bool, value: &str) -> bool {
        let resource = fhir::Resource::parse(doc.to_string().as_bytes()).unwrap();
        let words = fhir::search::words(&resource, content);
        value.split(' ').all(|word| match word.strip_suffix('*') {
            Some(start) => words.iter().any(|w| w.starts_with(&fold(start))),
            None => words.contains(&fold(word)),
        })
    }

    fn plain(&self, doc: &Value, of: &str, name: &str, value: &str) -> bool {
        let (code, modifier) = name.split_once(':').unwrap_or((name, ""));
        let param = self.param(of, code);
        match code {
            "component-code-value-quantity" => {
                let (wanted, number) = value.split_once('$').unwrap();
                return list(doc, "component").iter().any(|part| {
                    token(&part["code"], wanted)
                        && part.get("valueQuantity").is_some_and(|q| quantity(q, number))
                });
            }
            "code-value-quantity" => {
                let (wanted, number) = value.split_once('$').unwrap();
                return token(&doc["code"], wanted)
                    && doc.get("valueQuantity").is_some_and(|q| quantity(q, number));
            }
            _ => {}
        }
        let values = self.by_path(doc, param.expression);
        if modifier == "missing" {
            return values.is_empty() == (value == "true");
        }
        let any = value.split(',').any(|wanted| {
            values.iter().any(|own| match (param.param_type, modifier) {
                (ParamType::Token, "text") => self.says(own, &fold(wanted)),
                (ParamType::Token, "of-type") => of_type(own, wanted),
                (ParamType::Token, _) => token(own, wanted),
                (ParamType::String, _) => strings(own).iter().any(|own| match modifier {
                    "exact" => own == wanted,
                    "contains" => fold(own).contains(&fold(wanted)),
                    _ => fold(own).starts_with(&fold(wanted)),
                }),
                (ParamType::Date, _) => date(own, wanted),
                (ParamType::Quantity | ParamType::Number, _) => quantity(own, wanted),
                (ParamType::Reference, "identifier") => {
                    own.get("identifier").is_some_and(|own| token(own, wanted))
                }
                (ParamType::Reference, "below") => {
                    self.below(wanted).iter().any(|member| member == text(own, "reference"))
                }
                (ParamType::Reference, modifier) => {
                    let own = text(own, "reference");
                    let id = own.rsplit('/').next().unwrap_or_default();
                    own == wanted || (id == wanted && (modifier.is_empty() || own.starts_with(modifier)))
                }
                other => panic!("not asked for here: {other:?}"),
            })
        });
        any != (modifier == "not")
    }

    /// The organization and all that are part of it.
    fn below(&self, top: &str) -> Vec<String> {
        let mut found = vec![top.to_owned()];
        let mut at = 0;
        while at < found.len() {
            for other in self.of("Organization") {
                let key = format!("Organization/{}", text(other, "id"));
                if !found.contains(&key) && self.targets(other, "Organization", "partof").contains(&found[at])
                {
                    found.push(key);
                }
            }
            at += 1;
        }
        found
    }

    /// `:text`: what it says itself, and what its codes are called anywhere.
    fn says(&self, own: &Value, wanted: &str) -> bool {
        let mut texts = vec![fold(text(own, "text"))];
        if let Some(kind) = own.get("type") {
            texts.push(fold(text(kind, "text")));
        }
        for coding in list(own, "coding") {
            let same = |(_, system, code): &&(String, String, String)| {
                system == text(coding, "system") && code == text(coding, "code")
            };
            texts.extend(self.displays.iter().filter(same).map(|(display, ..)| display.clone()));
        }
        texts.iter().any(|text| !text.is_empty() && text.starts_with(wanted))
    }

    /// What is wrong with the order of these ids.
    pub fn disorder(&self, of: &str, pairs: &Pairs, ids: &[String]) -> Option<String> {
        let (_, keys) = pairs.iter().find(|(name, _)| name == "_sort")?;
        let of_id: HashMap<&str, (usize, &Value)> = self
            .all
            .iter()
            .enumerate()
            .filter(|(_, v)| text(v, "resourceType") == of)
            .map(|(n, v)| (text(v, "id"), (n, v)))
            .collect();
        ids.windows(2).find_map(|pair| {
            let ((n, a), (m, b)) = (of_id[pair[0].as_str()], of_id[pair[1].as_str()]);
            let order = keys.split(',').fold(Ordering::Equal, |order, key| {
                let (code, descends) = key.strip_prefix('-').map_or((key, false), |code| (code, true));
                order.then_with(|| {
                    let own = self.key(a, n, of, code).partial_cmp(&self.key(b, m, of, code)).unwrap();
                    if descends { own.reverse() } else { own }
                })
            });
            order.is_gt().then(|| format!("{pair:?} by {keys}"))
        })
    }

    fn key(&self, doc: &Value, n: usize, of: &str, code: &str) -> Option<Key> {
        match code {
            "_id" => return Some(Key::Text(text(doc, "id").to_owned())),
            "_lastUpdated" => return Some(Key::Int(n as i64 % 50)),
            _ => {}
        }
        let param = self.param(of, code);
        let values = self.by_path(doc, param.expression);
        let keys = values.iter().flat_map(|own| match param.param_type {
            ParamType::Date => vec![Key::Int(range(own).0)],
            ParamType::String => strings(own).iter().map(|own| Key::Text(fold(own))).collect(),
            ParamType::Token => codings(own).into_iter().map(|(_, code)| Key::Text(code)).collect(),
            ParamType::Quantity => vec![Key::Real(own["value"].as_f64().unwrap())],
            _ => match text(own, "reference").split_once('/') {
                Some((to, id)) => vec![Key::Text(format!("{:05}{id}", kind(to).0))],
                None => Vec::new(),
            },
        });
        keys.reduce(|a, b| if b < a { b } else { a })
    }
}

#[derive(Debug, PartialEq, PartialOrd)]
enum Key {
    Int(i64),
    Real(f64),
    Text(String),
}

fn codings(own: &Value) -> Vec<(String, String)> {
    match own {
        Value::String(code) => vec![(String::new(), code.clone())],
        Value::Bool(value) => vec![(String::new(), value.to_string())],
        _ if own.get("coding").is_some() => {
            list(own, "coding").iter().map(|c| (text(c, "system").into(), text(c, "code").into())).collect()
        }
        _ if own.get("code").is_some() => vec![(text(own, "system").into(), text(own, "code").into())],
        _ if own.get("value").is_some() => vec![(text(own, "system").into(), text(own, "value").into())],
        _ => Vec::new(),
    }
}

fn token(own: &Value, wanted: &str) -> bool {
    wanted.split(',').any(|wanted| {
        codings(own).iter().any(|(system, code)| match wanted.split_once('|') {
            None => code == wanted,
            Some((s, "")) => system == s,
            Some((s, c)) => system == s && code == c,
        })
    })
}

fn of_type(own: &Value, wanted: &str) -> bool {
    let parts: Vec<&str> = wanted.split('|').collect();
    let types = own.get("type").map(codings).unwrap_or_default();
    text(own, "value") == parts[2]
        && types.iter().any(|(system, code)| system == parts[0] && code == parts[1])
}

fn strings(own: &Value) -> Vec<String> {
    if let Value::String(own) = own {
        return vec![own.clone()];
    }
    const PARTS: [&str; 11] = [
        "text",
        "family",
        "given",
        "prefix",
        "suffix",
        "line",
        "city",
        "district",
        "state",
        "postalCode",
        "country",
    ];
    PARTS.iter().flat_map(|key| list(own, key)).filter_map(Value::as_str).map(str::to_owned).collect()
}

fn prefix(wanted: &str) -> (&str, &str) {
    match wanted.split_at_checked(2) {
        Some((head, rest)) if ["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"].contains(&head) => {
            (head, rest)
        }
        _ => ("eq", wanted),
    }
}

fn date(own: &Value, wanted: &str) -> bool {
    let ((l, h), (prefix, wanted)) = (range(own), prefix(wanted));
    let (low, high) = moment(wanted);
    let inside = l >= low && h <= high;
    match prefix {
        "eq" => inside,
        "ne" => !inside,
        "gt" => h > high,
        "lt" => l < low,
        "ge" => h > high || inside,
        "le" => l < low || inside,
        "sa" => l >= high,
        "eb" => h <= low,
        _ => l < high && h > low,
    }
}

fn range(own: &Value) -> (i64, i64) {
    match own {
        Value::String(text) => moment(text),
        _ => {
            let end = |key: &str| own.get(key).and_then(Value::as_str).map(moment);
            (end("start").map_or(-OPEN, |m| m.0), end("end").map_or(OPEN, |m| m.1))
        }
    }
}

/// Microseconds from its beginning to its end; without a zone in UTC.
fn moment(text: &str) -> (i64, i64) {
    use jiff::civil::date;
    use jiff::tz::TimeZone;
    let number = |text: &str| text.parse::<i16>().unwrap();
    let us = |day: jiff::civil::Date| day.to_zoned(TimeZone::UTC).unwrap().timestamp().as_microsecond();
    let parts: Vec<&str> = text.split('-').collect();
    match (text.len(), &parts[..]) {
        (4, [year]) => (us(date(number(year), 1, 1)), us(date(number(year) + 1, 1, 1))),
        (7, [year, month]) => {
            let first = date(number(year), number(month) as i8, 1);
            (us(first), us(first.checked_add(jiff::Span::new().months(1)).unwrap()))
        }
        (10, [year, month, day]) => {
            let day = date(number(year), number(month) as i8, number(day) as i8);
            (us(day), us(day.tomorrow().unwrap()))
        }
        _ => {
            let start = text.parse::<jiff::Timestamp>().unwrap().as_microsecond();
            (start, start + if text.contains('.') { 100_000 } else { 1_000_000 })
        }
    }
}

fn quantity(own: &Value, wanted: &str) -> bool {
    let parts: Vec<&str> = wanted.split('|').collect();
    let (prefix, number) = prefix(parts[0]);
    let (system, unit) = match own.get("code") {
        Some(code) => (text(own, "system"), code.as_str().unwrap()),
        None => ("", text(own, "unit")),
    };
    if let [_, s, c] = parts[..]
        && ((!s.is_empty() && s != system) || c != unit)
    {
        return false;
    }
    let (value, wanted) = (own["value"].as_f64().unwrap(), number.parse::<f64>().unwrap());
    let reach = if prefix == "ap" { (wanted * 0.1).max(0.5) } else { 0.5 };
    let (from, until) = (wanted - reach, wanted + reach);
    let (low, high) = match text(own, "comparator") {
        "<" => (f64::MIN, value + 0.5),
        ">" => (value - 0.5, f64::MAX),
        _ => {
            return match prefix {
                "eq" | "ap" => value >= from && value < until,
                "ne" => value < from || value >= until,
                "gt" => value > wanted,
                "lt" => value < wanted,
                "ge" => value >= wanted,
                "le" => value <= wanted,
                "sa" => value > wanted && value - 0.5 >= wanted,
                _ => value < wanted && value + 0.5 <= wanted,
            };
        }
    };
    match prefix {
        "eq" => false,
        "ne" => true,
        "gt" | "ge" => high > wanted,
        "lt" | "le" => low < wanted,
        "sa" => low >= wanted,
        "eb" => high <= wanted,
        _ => low < until && high > from,
    }
}
