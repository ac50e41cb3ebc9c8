//! SearchParameter resources of R4's parameters; one for several types where HL7 has one.

use ::fhir::TypeId;
use ::fhir::definitions::{self, Param, ParamType};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Parameters that are about every resource and are no part of a type's own list: code, type, expression, text.
pub(in crate::rest) const COMMON: &[(&str, &str, &str, &str)] = &[
    ("_id", "token", "Resource.id", "Logical id of the resource."),
    ("_lastUpdated", "date", "Resource.meta.lastUpdated", "When the resource last changed."),
    ("_content", "string", "", "Words anywhere in the resource."),
    ("_text", "string", "", "Words of the narrative."),
    ("_filter", "special", "", "A filter expression."),
    ("_has", "special", "", "Resources that others refer to."),
    ("_list", "special", "", "Resources that a List names."),
];

/// Canonical of a parameter of [COMMON]; HL7 defines `_id`, `_lastUpdated` and `_content` that way.
pub(in crate::rest) fn common_url(code: &str) -> Option<String> {
    let name = code.strip_prefix('_')?;
    matches!(code, "_id" | "_lastUpdated" | "_content")
        .then(|| format!("http://hl7.org/fhir/SearchParameter/Resource-{name}"))
}

pub(super) fn all() -> Vec<Value> {
    let mut by_url: BTreeMap<&str, Vec<&Param>> = BTreeMap::new();
    for kind in TypeId::all() {
        for param in definitions::params(kind).filter(|p| p.is_searchable()) {
            by_url.entry(param.url).or_default().push(param);
        }
    }
    let mut all: Vec<Value> = by_url.into_iter().map(|(url, params)| one(url, &params)).collect();
    for (code, kind, expression, text) in COMMON {
        let Some(url) = common_url(code) else { continue };
        let mut value = json!({
            "resourceType": "SearchParameter", "id": id_of(&url), "url": url, "version": "4.0.1", "name": code,
            "status": "active", "description": text, "code": code, "base": ["Resource"], "type": kind,
        });
        if !expression.is_empty() {
            value["expression"] = json!(expression);
        }
        all.push(value);
    }
    all
}

/// Ids are what stands behind the last slash of the canonical.
fn id_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or(url)
}

fn one(url: &str, params: &[&Param]) -> Value {
    let Some(first) = params.first() else { return Value::Null };
    let is_common = params.len() > 100;
    let base: Vec<&str> =
        if is_common { vec!["Resource"] } else { params.iter().map(|p| p.kind.name()).collect() };
    let mut expressions: Vec<&str> = Vec::new();
    for param in params {
        if !expressions.contains(&param.expression) {
            expressions.push(param.expression);
        }
    }
    let expression = if is_common {
        first.expression.replacen(first.kind.name(), "Resource", 1)
    } else {
        expressions.join(" | ")
    };
    let about = if is_common { "any resource".to_owned() } else { base.join(", ") };
    let mut value = json!({
        "resourceType": "SearchParameter", "id": id_of(url), "url": url, "version": "4.0.1",
        "name": first.code, "status": "active",
        "description": format!("Finds {about} by `{}`.", first.code),
        "code": first.code, "base": base, "type": first.param_type.code(), "expression": expression,
        "multipleOr": true, "multipleAnd": true,
    });
    let mut targets: Vec<&str> = params.iter().flat_map(|p| p.targets.iter().map(|t| t.name())).collect();
    targets.sort_unstable();
    targets.dedup();
    if !targets.is_empty() {
        value["target"] = json!(targets);
    }
    let comparators = comparators(first.param_type);
    if !comparators.is_empty() {
        value["comparator"] = json!(comparators);
    }
    value["modifier"] = json!(modifiers(first.param_type));
    let components: Vec<Value> = first
        .components
        .iter()
        .filter_map(|part| {
            let of = definitions::param(first.kind, part.code)?;
            Some(json!({"definition": of.url, "expression": part.expression}))
        })
        .collect();
    if !components.is_empty() {
        value["component"] = Value::Array(components);
    }
    value
}

fn comparators(kind: ParamType) -> &'static [&'static str] {
    match kind {
        ParamType::Date | ParamType::Number | ParamType::Quantity => {
            &["eq", "ne", "gt", "ge", "lt", "le", "sa", "eb", "ap"]
        }
        _ => &[],
    }
}

fn modifiers(kind: ParamType) -> &'static [&'static str] {
    match kind {
        ParamType::String => &["missing", "exact", "contains"],
        ParamType::Token => &["missing", "text", "not", "in", "not-in", "above", "below", "ofType"],
        ParamType::Reference => &["missing", "type", "identifier", "above", "below"],
        ParamType::Uri => &["missing", "above", "below"],
        _ => &["missing"],
    }
}
