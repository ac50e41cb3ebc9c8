//! One search value, read by the type of its parameter.

use super::plan::value_types;
use super::query::{split, unescape};
use super::{MAX_INDEXED_BYTES, Match, Operand, Prefix, fold};
use crate::definitions::{Definitions, Param, ParamType};
use crate::moment::{Form, Moment};
use crate::number::{OPEN, implicit_range};
use crate::resource::valid_id;
use crate::{Reference, TypeId};

/// How far `ap` reaches, as a part of the value: what the specification recommends.
const APPROXIMATE_PART: f64 = 0.1;

const SPECIAL_VALUES: &[&str] =
    &["http://hl7.org/fhir/special-values", "http://terminology.hl7.org/CodeSystem/special-values"];

/// Why a value cannot be read; the text says what the parameter takes and does not repeat the value.
pub(super) struct Problem {
    pub text: String,
}

fn problem<T>(text: impl Into<String>) -> Result<T, Problem> {
    Err(Problem { text: text.into() })
}

pub(super) fn operand(
    p: &Param,
    matching: Match,
    only: Option<TypeId>,
    raw: &str,
) -> Result<Operand, Problem> {
    if matching == Match::Missing {
        return match raw {
            "true" => Ok(Operand::Missing(true)),
            "false" => Ok(Operand::Missing(false)),
            _ => problem("`:missing` takes `true` or `false`."),
        };
    }
    match p.param_type {
        ParamType::Token => token(p, raw),
        ParamType::String => {
            let exact = unescape(raw);
            let exact = &exact[..exact.floor_char_boundary(MAX_INDEXED_BYTES)];
            let folded = fold(exact);
            if folded.is_empty() {
                return problem(format!("`{}` needs text to look for.", p.code));
            }
            Ok(Operand::String { folded, exact: exact.to_owned() })
        }
        ParamType::Date => {
            prefixed_date(raw).map(|(prefix, low_us, high_us)| Operand::Date { prefix, low_us, high_us })
        }
        ParamType::Number => {
            let (prefix, value, low, high) = prefixed_number(p, raw)?;
            Ok(Operand::Quantity { prefix, value, low, high, system: None, code: None })
        }
        ParamType::Quantity => quantity(p, raw),
        ParamType::Reference => reference(p, only, raw),
        ParamType::Uri => Ok(Operand::Uri(canonical(p, &unescape(raw)))),
        ParamType::Composite | ParamType::Special => problem(format!("`{}` is not supported yet.", p.code)),
    }
}

fn token(p: &Param, raw: &str) -> Result<Operand, Problem> {
    let parts = split(raw, '|');
    let (system, code) = match parts[..] {
        [code] => (None, unescape(code)),
        [system, code] => (Some(unescape(system)), unescape(code)),
        _ => return problem(format!("`{}` takes `code`, `system|code`, `|code` or `system|`.", p.code)),
    };
    let types = value_types(p);
    if code.is_empty() && system.as_ref().is_none_or(String::is_empty) {
        return problem(format!("`{}` needs a code or a system.", p.code));
    }
    let all_boolean = !types.is_empty() && types.iter().all(|(t, _)| *t == "boolean");
    if all_boolean && !matches!(code.as_str(), "true" | "false" | "") {
        return problem(format!("`{}` takes `true` or `false`.", p.code));
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
    let system = system.filter(|s| !(plain && !code.is_empty() && implied(s)));
    Ok(Operand::Token { system, code: (!code.is_empty()).then_some(code) })
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

fn prefixed_number(p: &Param, raw: &str) -> Result<(Prefix, f64, f64, f64), Problem> {
    let (prefix, text) = take_prefix(raw);
    let Some((value, low, high)) = implicit_range(text) else {
        return problem(format!(
            "`{}` takes a number such as 5.4, with eq, ne, gt, lt, ge, le, sa, eb or ap before it if needed.",
            p.code
        ));
    };
    if prefix == Prefix::Ap {
        let reach = value.abs() * APPROXIMATE_PART;
        return Ok((prefix, value, low.min(value - reach).max(-OPEN), high.max(value + reach).min(OPEN)));
    }
    Ok((prefix, value, low, high))
}

fn quantity(p: &Param, raw: &str) -> Result<Operand, Problem> {
    let parts = split(raw, '|');
    let (number, system, code) = match parts[..] {
        [number] => (number, "", ""),
        // A common mistake for `5.4||mg`, and unambiguous.
        [number, code] => (number, "", code),
        [number, system, code] => (number, system, code),
        _ => return problem(format!("`{}` takes `number`, `number|system|code` or `number||unit`.", p.code)),
    };
    let (prefix, value, low, high) = prefixed_number(p, number)?;
    let given = |text: &str| (!text.is_empty()).then(|| unescape(text));
    Ok(Operand::Quantity { prefix, value, low, high, system: given(system), code: given(code) })
}

fn reference(p: &Param, only: Option<TypeId>, raw: &str) -> Result<Operand, Problem> {
    let text = unescape(raw);
    let types = value_types(p);
    if !types.is_empty() && types.iter().all(|(t, _)| *t != "Reference" && *t != "Resource") {
        return Ok(Operand::Uri(canonical(p, &text)));
    }
    match Reference::parse(&text, None) {
        Reference::Local { key, .. } => {
            if only.is_some_and(|t| t != key.kind) {
                return problem(format!("`{}` names another type than its modifier.", p.code));
            }
            Ok(Operand::Reference { kinds: vec![key.kind], id: key.id })
        }
        Reference::Urn(url) => Ok(Operand::Uri(url)),
        Reference::External(url) if url.contains("://") => Ok(Operand::Uri(canonical(p, &url))),
        _ if valid_id(&text) => {
            let kinds = match only {
                Some(kind) => vec![kind],
                None if p.targets.is_empty() => TypeId::all().collect(),
                None => p.targets.clone(),
            };
            Ok(Operand::Reference { kinds, id: text })
        }
        _ => problem(format!("`{}` takes an id, `Type/id` or an absolute URL.", p.code)),
    }
}

/// Canonicals are indexed without version.
fn canonical(p: &Param, text: &str) -> String {
    let versioned = value_types(p).iter().any(|(t, _)| *t == "canonical");
    match text.split_once('|') {
        Some((url, _)) if versioned => url.to_owned(),
        _ => text.to_owned(),
    }
}
