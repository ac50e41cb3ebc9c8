//! OperationDefinition resources of the table of operations.

use crate::rest::operation::{self, Kinds, Operation, Parameter, Use};
use serde_json::{Value, json};

/// Canonical of an operation's definition.
pub fn canonical(operation: &Operation) -> String {
    match operation.url {
        "" => format!("https://uzima.health/fhir/OperationDefinition/{}", operation.id),
        url => url.to_owned(),
    }
}

pub(super) fn all() -> Vec<Value> {
    operation::all().map(one).collect()
}

fn one(operation: &Operation) -> Value {
    let kinds: Vec<&str> = match operation.kinds {
        Kinds::Every => vec!["Resource"],
        Kinds::These(kinds) => kinds.to_vec(),
    };
    let mut value = json!({
        "resourceType": "OperationDefinition",
        "id": operation.id,
        "url": canonical(operation),
        "version": if operation.url.is_empty() { env!("CARGO_PKG_VERSION") } else { "4.0.1" },
        "name": name(operation.id),
        "title": operation.title,
        "status": "active",
        "kind": "operation",
        "description": operation.text,
        "affectsState": operation.affects_state,
        "code": operation.code,
        "resource": kinds,
        "system": operation.levels.system,
        "type": operation.levels.kind,
        "instance": operation.levels.instance,
    });
    let is_of_types = operation.levels.kind || operation.levels.instance;
    if !is_of_types {
        value.as_object_mut().map(|o| o.shift_remove("resource"));
    }
    if !operation.parameters.is_empty() {
        value["parameter"] = operation.parameters.iter().map(|p| parameter(p, p.used)).collect();
    }
    value
}

/// A name that programs can use: `Patient-everything` is `PatientEverything`.
fn name(id: &str) -> String {
    id.split('-')
        .map(|part| {
            let mut letters = part.chars();
            letters.next().map(|first| first.to_ascii_uppercase().to_string()).unwrap_or_default()
                + letters.as_str()
        })
        .collect()
}

fn parameter(parameter: &Parameter, used: Use) -> Value {
    let mut value = json!({
        "name": parameter.name,
        "use": match used { Use::In => "in", Use::Out => "out" },
        "min": parameter.min,
        "max": parameter.max.map_or("*".to_owned(), |max| max.to_string()),
        "documentation": parameter.text,
    });
    if parameter.parts.is_empty() {
        value["type"] = json!(if parameter.kind == "*" { "Element" } else { parameter.kind });
        if let Some(search) = parameter.search {
            value["searchType"] = json!(search);
        }
    } else {
        value["part"] = parameter.parts.iter().map(|part| self::parameter(part, used)).collect();
    }
    value
}
