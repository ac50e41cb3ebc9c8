//! The OpenAPI document: complete, strict, and the committed copy is current.

use serde_json::Value;
use server::api;
use std::collections::{BTreeMap, BTreeSet};

pub const METHODS: &[&str] = &["get", "put", "post", "patch", "delete"];

/// (method, path, operation) of everything in the document.
pub fn operations() -> Vec<(String, String, Value)> {
    let document = serde_json::to_value(api::document()).unwrap();
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in METHODS {
            if let Some(operation) = item.get(*method) {
                all.push(((*method).to_owned(), path.clone(), operation.clone()));
            }
        }
    }
    all
}

#[test]
fn every_operation_is_described() {
    let mut ids = BTreeSet::new();
    let mut wrong = Vec::new();
    for (method, path, operation) in operations() {
        let what = format!("{method} {path}");
        if !path.starts_with("/api/v1/") {
            wrong.push(format!("{what}: outside /api/v1"));
        }
        if !ids.insert(operation["operationId"].as_str().unwrap_or_default().to_owned()) {
            wrong.push(format!("{what}: operationId {} is there twice", operation["operationId"]));
        }
        if operation["summary"].is_null() && operation["description"].is_null() {
            wrong.push(format!("{what}: no description"));
        }
        let listed: BTreeSet<&str> = operation["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|p| p["in"] == "path")
            .filter_map(|p| p["name"].as_str())
            .collect();
        let named: BTreeSet<&str> =
            path.split('/').filter_map(|s| s.strip_prefix('{').and_then(|s| s.strip_suffix('}'))).collect();
        if listed != named {
            wrong.push(format!("{what}: path parameters {named:?}, described {listed:?}"));
        }
        let is_public = api::PUBLIC.contains(&(method.as_str(), path.as_str()));
        if operation["security"].is_null() != is_public {
            wrong.push(format!("{what}: security and PUBLIC disagree"));
        }
    }
    for (method, path) in api::PUBLIC {
        if !operations().iter().any(|(m, p, _)| m == method && p == path) {
            wrong.push(format!("{method} {path} is in PUBLIC but no route"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn request_bodies_refuse_unknown_fields() {
    let document = serde_json::to_value(api::document()).unwrap();
    let schemas = &document["components"]["schemas"];
    let mut todo: Vec<String> = Vec::new();
    for (_, _, operation) in operations() {
        names(&operation["requestBody"], &mut todo);
    }
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    while let Some(name) = todo.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let schema = &schemas[&name];
        names(schema, &mut todo);
        let is_plain_object = schema["type"] == "object" && schema.get("properties").is_some();
        if is_plain_object && schema["additionalProperties"] != Value::Bool(false) {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "without deny_unknown_fields: {wrong:?}");
}

/// Names of the schemas that a value refers to.
fn names(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(name) = map.get("$ref").and_then(Value::as_str).and_then(|r| r.rsplit('/').next()) {
                found.push(name.to_owned());
            }
            map.values().for_each(|v| names(v, found));
        }
        Value::Array(items) => items.iter().for_each(|v| names(v, found)),
        _ => {}
    }
}

#[test]
fn every_reference_has_its_schema() {
    let document = serde_json::to_value(api::document()).unwrap();
    let mut all = Vec::new();
    names(&document["paths"], &mut all);
    names(&document["components"]["schemas"], &mut all);
    let missing: BTreeSet<&String> =
        all.iter().filter(|name| document["components"]["schemas"].get(name.as_str()).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// Two types of one name would silently become one schema.
#[test]
fn type_names_are_unique() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut folders = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/api"))];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut is_schema = false;
        for line in text.lines() {
            let line = line
                .trim_start_matches("pub ")
                .trim_start_matches("pub(crate) ")
                .trim_start_matches("pub(super) ");
            if line.starts_with("#[derive(") {
                is_schema = line.contains("ToSchema");
            }
            let name = line.strip_prefix("struct ").or_else(|| line.strip_prefix("enum "));
            if let Some(name) = name.filter(|_| is_schema) {
                let name = name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
                places.entry(name.to_owned()).or_default().push(path.display().to_string());
                is_schema = false;
            }
        }
    }
    let twice: Vec<_> = places.iter().filter(|(_, places)| places.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    assert!(places.len() > 20, "the scan finds the types");
}

#[test]
fn the_committed_document_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let committed: Value =
        serde_json::from_slice(&std::fs::read(path).unwrap_or_default()).unwrap_or_default();
    let now = serde_json::to_value(api::document()).unwrap();
    assert!(
        committed == now,
        "docs/openapi.json is old: run `cargo run -p uzima-server -- openapi --output docs/openapi.json`"
    );
}
