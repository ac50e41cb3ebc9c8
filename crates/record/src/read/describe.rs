//! A query as text for the audit, and whom it names.

use fhir::search::{Condition, Filter, Match, Operand, Params, Prefix, Query, Sort};
use fhir::{ParamId, TypeId};
use std::fmt::Write;

/// `Type?name=value&…`, in the order of the query.
pub(super) fn query(params: &Params, query: &Query) -> String {
    let mut parts: Vec<String> = Vec::new();
    if !query.ids.is_empty() {
        parts.push(format!("_id={}", query.ids.join(",")));
    }
    for filter in &query.filters {
        parts.push(one(params, filter));
    }
    for (prefix, low_us, _) in &query.last_updated {
        parts.push(format!("_lastUpdated={}{}", prefix_code(*prefix), instant(*low_us)));
    }
    parts.extend(query.conditions.iter().map(|one| condition(params, one)));
    for include in &query.includes {
        let own = if include.reverse { "_revinclude" } else { "_include" };
        let source = include.source.map_or("*", TypeId::name);
        parts.push(format!("{own}={source}:{}", include.param.map_or("*", |param| name(params, param))));
    }
    if !query.sort.is_empty() {
        parts.push(format!(
            "_sort={}",
            query.sort.iter().map(|key| sort(params, key)).collect::<Vec<_>>().join(",")
        ));
    }
    if query.cursor.is_some() {
        parts.push("_cursor".to_owned());
    }
    if parts.is_empty() {
        query.kind.name().to_owned()
    } else {
        format!("{}?{}", query.kind.name(), parts.join("&"))
    }
}

/// Patients that the query itself names, found or not.
pub(super) fn patients(query: &Query) -> Vec<String> {
    let patient = super::kind("Patient");
    let mut named: Vec<String> = if query.kind == patient { query.ids.clone() } else { Vec::new() };
    for filter in &query.filters {
        in_filter(filter, &mut named);
    }
    for condition in &query.conditions {
        in_condition(query.kind, condition, &mut named);
    }
    named
}

fn in_filter(filter: &Filter, named: &mut Vec<String>) {
    for operand in &filter.any {
        if let Operand::Reference { kinds, id } = operand
            && kinds.as_slice() == [TypeId::PATIENT]
        {
            named.push(id.clone());
        }
    }
}

fn in_condition(kind: TypeId, condition: &Condition, named: &mut Vec<String>) {
    match condition {
        Condition::Filter(filter) => in_filter(filter, named),
        Condition::Ids(ids) if kind == TypeId::PATIENT => named.extend(ids.iter().cloned()),
        Condition::Compartment(key) if key.kind == TypeId::PATIENT => named.push(key.id.clone()),
        Condition::Chain { kind, condition, .. }
        | Condition::Has { kind, condition, .. }
        | Condition::CanonicalChain { kind, condition, .. } => in_condition(*kind, condition, named),
        Condition::All(all) | Condition::Any(all) => {
            all.iter().for_each(|one| in_condition(kind, one, named))
        }
        Condition::Not(one) => in_condition(kind, one, named),
        Condition::Ids(_)
        | Condition::Compartment(_)
        | Condition::LastUpdated { .. }
        | Condition::Words { .. } => {}
    }
}

fn name(params: &Params, param: ParamId) -> &str {
    params.by_id(param).map_or("?", |p| p.code)
}

fn condition(params: &Params, of: &Condition) -> String {
    let list = |all: &[Condition], between: &str| {
        let all: Vec<String> = all.iter().map(|one| condition(params, one)).collect();
        format!("({})", all.join(between))
    };
    match of {
        Condition::Filter(filter) => one(params, filter),
        Condition::Ids(ids) => format!("_id={}", ids.join(",")),
        Condition::LastUpdated { prefix, low_us, .. } => {
            format!("_lastUpdated={}{}", prefix_code(*prefix), instant(*low_us))
        }
        Condition::Chain { param, kind, condition: inner }
        | Condition::CanonicalChain { param, kind, condition: inner, .. } => {
            format!("{}:{}.{}", name(params, *param), kind.name(), condition(params, inner))
        }
        Condition::Has { kind, param, condition: inner } => {
            format!("_has:{}:{}:{}", kind.name(), name(params, *param), condition(params, inner))
        }
        Condition::Compartment(key) => key.to_string(),
        Condition::Words { content, any } => {
            let any: Vec<String> = any.iter().map(|words| words.join(" ")).collect();
            format!("{}={}", if *content { "_content" } else { "_text" }, any.join(","))
        }
        Condition::All(all) => list(all, " and "),
        Condition::Any(any) => list(any, " or "),
        Condition::Not(inner) => format!("not {}", condition(params, inner)),
    }
}

fn one(params: &Params, filter: &Filter) -> String {
    let modifier = match filter.matching {
        Match::Default => "",
        Match::Exact => ":exact",
        Match::Contains => ":contains",
        Match::Ends => " ew ",
        Match::Whole => " eq ",
        Match::Not => ":not",
        Match::Missing => ":missing",
        Match::Above => ":above",
        Match::Below => ":below",
    };
    let values: Vec<String> = filter.any.iter().map(operand).collect();
    format!("{}{modifier}={}", name(params, filter.param), values.join(","))
}

fn operand(operand: &Operand) -> String {
    match operand {
        Operand::Token { system, code } => match (system, code) {
            (None, code) => code.clone().unwrap_or_default(),
            (Some(system), code) => format!("{system}|{}", code.as_deref().unwrap_or_default()),
        },
        Operand::String { exact, .. } => exact.clone(),
        Operand::Date { prefix, low_us, .. } => format!("{}{}", prefix_code(*prefix), instant(*low_us)),
        Operand::Quantity { prefix, value, system, code, .. } => {
            let mut text = format!("{}{value}", prefix_code(*prefix));
            if system.is_some() || code.is_some() {
                let _ = write!(
                    text,
                    "|{}|{}",
                    system.as_deref().unwrap_or_default(),
                    code.as_deref().unwrap_or_default()
                );
            }
            text
        }
        Operand::Reference { kinds, id } => match kinds.as_slice() {
            [kind] => format!("{}/{id}", kind.name()),
            _ => id.clone(),
        },
        Operand::Uri(uri) => uri.clone(),
        Operand::Missing(missing) => missing.to_string(),
        Operand::OfType { system, code, value } => format!("{system}|{code}|{value}"),
        Operand::Identifier { system, value } => {
            format!("{}|{}", system.as_deref().unwrap_or_default(), value.as_deref().unwrap_or_default())
        }
        Operand::Text { folded } => folded.clone(),
        Operand::ValueSet(url) => url.clone(),
        Operand::Hierarchy { system, code, .. } => format!("{system}|{code}"),
        Operand::ReferenceTree { kind, id, .. } => format!("{}/{id}", kind.name()),
        Operand::Near { latitude, longitude, meters } => format!("{latitude}|{longitude}|{meters}|m"),
        Operand::Composite(parts) => parts.iter().map(self::operand).collect::<Vec<_>>().join("$"),
    }
}

fn sort(params: &Params, sort: &Sort) -> String {
    let (name, descending) = match sort {
        Sort::Param { param, descending, .. } => (name(params, *param), *descending),
        Sort::LastUpdated { descending } => ("_lastUpdated", *descending),
        Sort::Id { descending } => ("_id", *descending),
    };
    format!("{}{name}", if descending { "-" } else { "" })
}

fn prefix_code(prefix: Prefix) -> &'static str {
    match prefix {
        Prefix::Eq => "",
        Prefix::Ne => "ne",
        Prefix::Gt => "gt",
        Prefix::Lt => "lt",
        Prefix::Ge => "ge",
        Prefix::Le => "le",
        Prefix::Sa => "sa",
        Prefix::Eb => "eb",
        Prefix::Ap => "ap",
    }
}

fn instant(us: i64) -> String {
    jiff::Timestamp::from_microsecond(us).map_or_else(|_| us.to_string(), |t| t.to_string())
}
