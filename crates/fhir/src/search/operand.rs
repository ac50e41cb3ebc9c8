//! One search value, read by the type of its parameter.

use super::modifier::Modifier;
use super::plan::ValueType;
use super::{MAX_INDEXED_BYTES, Operand, Params, Prefix, fold};
use crate::definitions::{Definitions, Param, ParamType};
use crate::moment::{Form, Moment};
use crate::number::{OPEN, implicit_range, scaled_range};
use crate::resource::valid_id;
use crate::ucum::{self, Unit};
use crate::{IssueCode, Reference, TypeId};

/// How far `ap` reaches, as a part of the value: what the specification recommends.
const APPROXIMATE_PART: f64 = 0.1;
/// Reach of `near` where none is given.
const DEFAULT_NEAR_METERS: f64 = 50_000.0;
/// Composite values that one written value may stand for, as a component in one unit stands for others.
const MAX_COMBINATIONS: usize = 4_096;

const SPECIAL_VALUES: &[&str] =
    &["http://hl7.org/fhir/special-values", "http://terminology.hl7.org/CodeSystem/special-values"];

/// Metres in a unit of `near`: UCUM codes and what people write.
const NEAR_UNITS: &[(&str, f64)] = &[
    ("km", 1_000.0),
    ("m", 1.0),
    ("[mi_i]", 1_609.344),
    ("[mi_us]", 1_609.347_218_694),
    ("mi", 1_609.344),
    ("mi_us", 1_609.347_218_694),
    ("[nmi_i]", 1_852.0),
    ("[ft_i]", 0.304_8),
];

/// Why a parameter cannot be read; the text says what it takes and does not repeat the value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub code: IssueCode,
    pub text: String,
    /// The parameter is one that this server does not know: it may be skipped if the client is lenient.
    pub unknown: bool,
}

impl Problem {
    pub fn new(code: IssueCode, text: impl Into<String>) -> Problem {
        Problem { code, text: text.into(), unknown: false }
    }
    pub fn unknown(text: impl Into<String>) -> Problem {
        Problem { code: IssueCode::NotSupported, text: text.into(), unknown: true }
    }
}

pub(super) fn problem<T>(text: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::new(IssueCode::Value, text))
}

/// What a value is read by: a parameter, or a component of a composite one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reads<'p> {
    pub code: &'p str,
    pub param_type: ParamType,
    /// The types of the values; empty if they are not known.
    pub types: &'p [ValueType],
    /// Types a reference may point at; empty is any.
    pub targets: &'p [TypeId],
}

impl<'p> Reads<'p> {
    pub fn of(params: &'p Params, p: &'p Param) -> Reads<'p> {
        Reads { code: p.code, param_type: p.param_type, types: params.types(p), targets: &p.targets }
    }

    /// References that are URLs of definitions.
    pub fn is_canonical(&self) -> bool {
        !self.types.is_empty() && self.types.iter().all(|(t, _)| *t != "Reference" && *t != "Resource")
    }
}

/// The alternatives that a value stands for: several for a quantity, whose unit has equals.
pub(super) fn operands(
    params: &Params,
    reads: Reads<'_>,
    modifier: Modifier,
    raw: &str,
) -> Result<Vec<Operand>, Problem> {
    let one = match modifier {
        Modifier::Missing => match raw {
            "true" => Operand::Missing(true),
            "false" => Operand::Missing(false),
            _ => return problem("`:missing` takes `true` or `false`."),
        },
        Modifier::In | Modifier::NotIn => value_set(reads, raw)?,
        Modifier::OfType => of_type(raw)?,
        Modifier::Identifier => {
            let (system, value) = system_and_code(reads, raw)?;
            Operand::Identifier { system, value }
        }
        Modifier::Text => {
            let folded = fold(&cut(&unescape(raw)));
            if folded.is_empty() {
                return problem("`:text` needs text to look for.");
            }
            Operand::Text { folded }
        }
        Modifier::Above | Modifier::Below if reads.param_type == ParamType::Token => {
            match system_and_code(reads, raw)? {
                (Some(system), Some(code)) if !system.is_empty() => {
                    Operand::Hierarchy { system, code, up: modifier == Modifier::Above }
                }
                _ => return problem("`:above` and `:below` of a code take `system|code`."),
            }
        }
        Modifier::Above | Modifier::Below if reads.param_type == ParamType::Reference => {
            tree(params, reads, raw, modifier == Modifier::Above)?
        }
        _ => return plain(reads, modifier, raw),
    };
    Ok(vec![one])
}

fn plain(reads: Reads<'_>, modifier: Modifier, raw: &str) -> Result<Vec<Operand>, Problem> {
    let one = match reads.param_type {
        ParamType::Token => token(reads, raw)?,
        ParamType::String => {
            let exact = cut(&unescape(raw));
            let folded = fold(&exact);
            if folded.is_empty() {
                return problem(format!("`{}` needs text to look for.", reads.code));
            }
            Operand::String { folded, exact }
        }
        ParamType::Date => {
            let (prefix, low_us, high_us) = prefixed_date(raw)?;
            Operand::Date { prefix, low_us, high_us }
        }
        ParamType::Number => {
            let (prefix, text) = take_prefix(raw);
            let (value, low, high) = range(reads, prefix, implicit_range(text))?;
            Operand::Quantity { prefix, value, low, high, system: None, code: None }
        }
        ParamType::Quantity => return quantity(reads, raw),
        ParamType::Reference => reference(reads, modifier, raw)?,
        ParamType::Uri => Operand::Uri(unescape(raw)),
        ParamType::Special => near(raw)?,
        ParamType::Composite => return problem(format!("`{}` takes values joined by `$`.", reads.code)),
    };
    Ok(vec![one])
}

/// `a$b`: each part read as its component, all combinations of what they stand for.
pub(super) fn composite(code: &str, parts: &[Reads<'_>], raw: &str) -> Result<Vec<Vec<Operand>>, Problem> {
    let values = split(raw, '$');
    if values.len() != parts.len() {
        let names: Vec<&str> = parts.iter().map(|p| p.code).collect();
        return problem(format!(
            "`{code}` takes {} values joined by `$`: {}.",
            parts.len(),
            names.join(" $ ")
        ));
    }
    let mut all: Vec<Vec<Operand>> = vec![Vec::new()];
    for (reads, raw) in parts.iter().zip(values) {
        if raw.is_empty() {
            return problem(format!("`{code}` has no value for its part `{}`.", reads.code));
        }
        let alternatives = plain(*reads, Modifier::None, raw)?;
        if all.len() * alternatives.len() > MAX_COMBINATIONS {
            return problem(format!("`{code}` stands for too many combinations of units."));
        }
        all = all
            .iter()
            .flat_map(|before| {
                alternatives.iter().map(move |operand| {
                    let mut longer = before.clone();
                    longer.push(operand.clone());
                    longer
                })
            })
            .collect();
    }
    Ok(all)
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_INDEXED_BYTES)].to_owned()
}

/// `code`, `system|code`, `|code`, `system|`.
fn system_and_code(reads: Reads<'_>, raw: &str) -> Result<(Option<String>, Option<String>), Problem> {
    let parts = split(raw, '|');
    let (system, code) = match parts[..] {
        [code] => (None, unescape(code)),
        [system, code] => (Some(unescape(system)), unescape(code)),
        _ => return problem(format!("`{}` takes `code`, `system|code`, `|code` or `system|`.", reads.code)),
    };
    if code.is_empty() && system.as_ref().is_none_or(String::is_empty) {
        return problem(format!("`{}` needs a code or a system.", reads.code));
    }
    Ok((system, (!code.is_empty()).then_some(code)))
}

fn token(reads: Reads<'_>, raw: &str) -> Result<Operand, Problem> {
    let (system, code) = system_and_code(reads, raw)?;
    let types = reads.types;
    let all_boolean = !types.is_empty() && types.iter().all(|(t, _)| *t == "boolean");
    if all_boolean && !matches!(code.as_deref(), Some("true" | "false") | None) {
        return problem(format!("`{}` takes `true` or `false`.", reads.code));
    }
    // Plain codes are indexed without their implied system, so a right system adds nothing.
    let implied = |system: &str| {
        types.iter().all(|(t, binding)| match *t {
            "boolean" => SPECIAL_VALUES.contains(&system),
            _ => binding.is_some_and(|b| {
                Definitions::get().code_sets[usize::from(b)].systems.iter().any(|(s, _)| *s == system)
            }),
        })
    };
    let plain = !types.is_empty() && types.iter().all(|(t, _)| matches!(*t, "code" | "boolean"));
    let system = system.filter(|s| !(plain && code.is_some() && implied(s)));
    Ok(Operand::Token { system, code })
}

fn value_set(reads: Reads<'_>, raw: &str) -> Result<Operand, Problem> {
    let url = unescape(raw);
    if !url.contains(':') && !url.starts_with("ValueSet/") {
        return problem(format!(
            "`:in` and `:not-in` of `{}` take the URL of a value set, or `ValueSet/id`.",
            reads.code
        ));
    }
    Ok(Operand::ValueSet(url))
}

fn of_type(raw: &str) -> Result<Operand, Problem> {
    match split(raw, '|')[..] {
        [system, code, value] if !code.is_empty() && !value.is_empty() => {
            Ok(Operand::OfType { system: unescape(system), code: unescape(code), value: unescape(value) })
        }
        _ => problem("`:of-type` takes `type system|type code|value`, all three."),
    }
}

fn take_prefix(raw: &str) -> (Prefix, &str) {
    let Some((head, rest)) = raw.split_at_checked(2) else { return (Prefix::Eq, raw) };
    let prefix = match head {
        "eq" => Prefix::Eq,
        "ne" => Prefix::Ne,
        "gt" => Prefix::Gt,
        "lt" => Prefix::Lt,
        "ge" => Prefix::Ge,
        "le" => Prefix::Le,
        "sa" => Prefix::Sa,
        "eb" => Prefix::Eb,
        "ap" => Prefix::Ap,
        _ => return (Prefix::Eq, raw),
    };
    (prefix, rest)
}

/// Prefix and the closed-open range in microseconds. A space stands for the plus sign of a zone, which
/// form decoding swallows.
pub(super) fn prefixed_date(raw: &str) -> Result<(Prefix, i64, i64), Problem> {
    let (prefix, text) = take_prefix(raw);
    match Moment::parse(&text.replace(' ', "+"), Form::Loose) {
        Some(m) => Ok((prefix, m.low_us(), m.high_us())),
        None => problem(
            "A date is written like 2024, 2024-05, 2024-05-31 or 2024-05-31T09:30:00+03:00, \
             with eq, ne, gt, lt, ge, le, sa, eb or ap before it if needed.",
        ),
    }
}

type Range = (f64, f64, f64);

fn range(reads: Reads<'_>, prefix: Prefix, range: Option<Range>) -> Result<Range, Problem> {
    let Some((value, low, high)) = range else {
        return problem(format!(
            "`{}` takes a number such as 5.4, with eq, ne, gt, lt, ge, le, sa, eb or ap before it if needed.",
            reads.code
        ));
    };
    if prefix == Prefix::Ap {
        let reach = value.abs() * APPROXIMATE_PART;
        return Ok((value, low.min(value - reach).max(-OPEN), high.max(value + reach).min(OPEN)));
    }
    Ok((value, low, high))
}

/// The value as written, and the same in every common unit that compares with its own.
fn quantity(reads: Reads<'_>, raw: &str) -> Result<Vec<Operand>, Problem> {
    let parts = split(raw, '|');
    let (number, system, code) = match parts[..] {
        [number] => (number, "", ""),
        // A common mistake for `5.4||mg`, and unambiguous.
        [number, code] => (number, "", code),
        [number, system, code] => (number, system, code),
        _ => {
            return problem(format!(
                "`{}` takes `number`, `number|system|code` or `number||unit`.",
                reads.code
            ));
        }
    };
    let (prefix, text) = take_prefix(number);
    let given = |text: &str| (!text.is_empty()).then(|| unescape(text));
    let (system, code) = (given(system), given(code));
    let operand = |(value, low, high): Range, system: Option<String>, code: Option<String>| {
        Operand::Quantity { prefix, value, low, high, system, code }
    };
    let mut all = vec![operand(range(reads, prefix, implicit_range(text))?, system.clone(), code.clone())];
    let Some(code) = code.filter(|_| system.as_deref().is_none_or(|s| s == ucum::SYSTEM)) else {
        return Ok(all);
    };
    let Some(unit) = Unit::parse(&code) else { return Ok(all) };
    for (other, as_unit) in ucum::alternatives(&code) {
        let converted = match unit.ratio_to(as_unit) {
            Some(ratio) => scaled_range(text, ratio),
            // Scales with another zero.
            None => implicit_range(text).and_then(|(value, low, high)| {
                let to = |v| unit.convert(v, as_unit);
                Some((to(value)?, to(low)?, to(high)?))
            }),
        };
        if converted.is_some() {
            let range = range(reads, prefix, converted)?;
            all.push(operand(range, Some(ucum::SYSTEM.to_owned()), Some(other.to_owned())));
        }
    }
    Ok(all)
}

fn reference(reads: Reads<'_>, modifier: Modifier, raw: &str) -> Result<Operand, Problem> {
    let text = unescape(raw);
    let only = match modifier {
        Modifier::Type(kind) => Some(kind),
        _ => None,
    };
    if reads.is_canonical() {
        return Ok(Operand::Uri(text));
    }
    match Reference::parse(&text, None) {
        Reference::Local { key, .. } => {
            if only.is_some_and(|t| t != key.kind) {
                return problem(format!("`{}` names another type than its modifier.", reads.code));
            }
            if !reads.targets.is_empty() && !reads.targets.contains(&key.kind) {
                let names: Vec<&str> = reads.targets.iter().map(|t| t.name()).collect();
                return problem(format!(
                    "`{}` never points at {}; it points at {}.",
                    reads.code,
                    key.kind.name(),
                    names.join(", ")
                ));
            }
            Ok(Operand::Reference { kinds: vec![key.kind], id: key.id })
        }
        Reference::Urn(url) => Ok(Operand::Uri(url)),
        Reference::External(url) if url.contains("://") => Ok(Operand::Uri(url)),
        _ if valid_id(&text) => {
            let kinds = match only {
                Some(kind) => vec![kind],
                None if reads.targets.is_empty() => TypeId::all().collect(),
                None => reads.targets.to_vec(),
            };
            Ok(Operand::Reference { kinds, id: text })
        }
        _ => problem(format!("`{}` takes an id, `Type/id` or an absolute URL.", reads.code)),
    }
}

/// The parameter by which resources of a type are below others of their type.
fn parent(params: &Params, kind: TypeId) -> Option<&Param> {
    ["partof", "part-of", "parent"].iter().find_map(|code| {
        params.param(kind, code).filter(|p| p.param_type == ParamType::Reference && p.targets.contains(&kind))
    })
}

fn tree(params: &Params, reads: Reads<'_>, raw: &str, up: bool) -> Result<Operand, Problem> {
    let text = unescape(raw);
    let targets: Vec<TypeId> =
        if reads.targets.is_empty() { TypeId::all().collect() } else { reads.targets.to_vec() };
    let able: Vec<(TypeId, &Param)> =
        targets.iter().filter_map(|kind| parent(params, *kind).map(|p| (*kind, p))).collect();
    let (kind, id) = match Reference::parse(&text, None) {
        Reference::Local { key, .. } => (Some(key.kind), key.id),
        _ if valid_id(&text) => match able[..] {
            [(kind, _)] => (Some(kind), text),
            _ => (None, text),
        },
        _ => return problem(format!("`{}` takes an id or `Type/id`.", reads.code)),
    };
    match able.iter().find(|(k, _)| Some(*k) == kind) {
        Some((kind, parent)) => Ok(Operand::ReferenceTree { kind: *kind, id, parent: parent.id, up }),
        None if able.is_empty() => problem(format!(
            "`:above` and `:below` need a hierarchy, and nothing `{}` points at has one.",
            reads.code
        )),
        None => {
            let names: Vec<String> = able.iter().map(|(k, _)| format!("`{}/id`", k.name())).collect();
            problem(format!("`:above` and `:below` of `{}` take {}.", reads.code, names.join(" or ")))
        }
    }
}

/// `latitude|longitude|distance|unit`
fn near(raw: &str) -> Result<Operand, Problem> {
    let parts = split(raw, '|');
    let degrees = |text: &str, limit: f64| {
        text.trim().parse::<f64>().ok().filter(|d| d.is_finite() && d.abs() <= limit)
    };
    let wrong = || problem("`near` takes `latitude|longitude|distance|unit`, e.g. `-1.2921|36.8219|10|km`.");
    let (Some(latitude), Some(longitude)) =
        (parts.first().and_then(|t| degrees(t, 90.0)), parts.get(1).and_then(|t| degrees(t, 180.0)))
    else {
        return wrong();
    };
    if parts.len() > 4 {
        return wrong();
    }
    let unit = match parts.get(3).map(|u| u.trim()).filter(|u| !u.is_empty()) {
        None => 1_000.0,
        Some(unit) => match NEAR_UNITS.iter().find(|(code, _)| *code == unit) {
            Some((_, meters)) => *meters,
            None => return problem("`near` takes distances in `km`, `m` or `[mi_i]`."),
        },
    };
    let meters = match parts.get(2).map(|t| t.trim()).filter(|t| !t.is_empty()) {
        None => DEFAULT_NEAR_METERS,
        Some(text) => match text.parse::<f64>().ok().filter(|d| d.is_finite() && *d >= 0.0) {
            Some(distance) => distance * unit,
            None => return wrong(),
        },
    };
    Ok(Operand::Near { latitude, longitude, meters })
}

/// Splits at separators that no backslash precedes; the parts stay escaped.
pub(super) fn split(text: &str, separator: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut escaped) = (0, false);
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == separator {
            parts.push(&text[start..at]);
            start = at + c.len_utf8();
        }
    }
    parts.push(&text[start..]);
    parts
}

/// `\,` `\|` `\$` `\\` to the plain character; any other backslash stays.
pub(super) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some(e @ (',' | '|' | '$' | '\\')) => out.push(e),
            Some(other) => {
                out.push('\\');
                out.push(other);
            }
            None => out.push('\\'),
        }
    }
    out
}
