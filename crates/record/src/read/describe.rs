//! A query as text for the audit, and whom it names.

use fhir::definitions;
use fhir::search::{Filter, Match, Operand, Prefix, Query, Sort};
use std::fmt::Write;

/// `Type?name=value&…`, in the order of the query.
pub(super) fn query(query: &Query) -> String {
    let mut parts: Vec<String> = Vec::new();
    if !query.ids.is_empty() {
        parts.push(format!("_id={}", query.ids.join(",")));
    }
    for filter in &query.filters {
        parts.push(one(filter));
    }
    for (prefix, low_us, _) in &query.last_updated {
        parts.push(format!("_lastUpdated={}{}", prefix_code(*prefix), instant(*low_us)));
    }
    if !query.sort.is_empty() {
        parts.push(format!("_sort={}", query.sort.iter().map(sort).collect::<Vec<_>>().join(",")));
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
    for operand in query.filters.iter().flat_map(|f| &f.any) {
        if let Operand::Reference { kinds, id } = operand
            && kinds.as_slice() == [patient]
        {
            named.push(id.clone());
        }
    }
    named
}

fn name(param: fhir::ParamId) -> &'static str {
    definitions::param_by_id(param).map_or("?", |p| p.code)
}

fn one(filter: &Filter) -> String {
    let modifier = match filter.matching {
        Match::Default => "",
        Match::Exact => ":exact",
        Match::Contains => ":contains",
        Match::Not => ":not",
        Match::Missing => ":missing",
        Match::Above => ":above",
        Match::Below => ":below",
    };
    let values: Vec<String> = filter.any.iter().map(operand).collect();
    format!("{}{modifier}={}", name(filter.param), values.join(","))
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

fn sort(sort: &Sort) -> String {
    let (name, descending) = match sort {
        Sort::Param { param, descending, .. } => (name(*param), *descending),
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
