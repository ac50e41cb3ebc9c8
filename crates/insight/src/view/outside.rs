//! The cases of the SQL-on-FHIR project, where they are at hand: `UZIMA_TEST_SHARED_DATA` or `../shared/data` beside the
//! workspace, folder `sql-on-fhir`. Without them this test passes unseen; `tests.rs` covers every feature by itself.

use super::{Budget, Limits, View};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

fn folder() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("UZIMA_TEST_SHARED_DATA")
        .map_or_else(|| workspace.join("../shared/data"), PathBuf::from);
    Some(shared.join("sql-on-fhir")).filter(|p| p.exists())
}

/// All rows, each as an object.
pub(super) fn run(definition: &Value, resources: &[Value]) -> Result<(Vec<String>, Vec<Value>), String> {
    let view = View::compile(definition).map_err(|e| e.to_string())?;
    let names: Vec<String> = view.columns.iter().map(|c| c.name.clone()).collect();
    let budget = Budget::new(Limits::RUN);
    let mut rows = Vec::new();
    for resource in resources {
        for row in view.rows(resource, &budget, None).map_err(|e| e.to_string())? {
            let cells: Map<String, Value> = names.iter().cloned().zip(row).collect();
            rows.push(Value::Object(cells));
        }
    }
    Ok((names, rows))
}

/// Equal but for the spelling of numbers.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(n) => n.as_f64().map_or(Value::Null, |f| Value::String(format!("number {f:.10}"))),
        Value::Array(list) => list.iter().map(plain).collect(),
        Value::Object(object) => {
            let mut sorted: Vec<(String, Value)> =
                object.iter().map(|(k, v)| (k.clone(), plain(v))).collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            Value::Object(sorted.into_iter().collect())
        }
        other => other.clone(),
    }
}

pub(super) fn sorted(rows: &[Value]) -> Vec<String> {
    let mut rows: Vec<String> = rows.iter().map(|row| plain(row).to_string()).collect();
    rows.sort();
    rows
}

#[test]
fn all_published_cases_pass() {
    let Some(folder) = folder() else { return };
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let (mut cases, mut wrong) = (0, Vec::new());
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "json")) {
        let suite: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let resources = suite["resources"].as_array().unwrap();
        for case in suite["tests"].as_array().unwrap() {
            cases += 1;
            let what = format!("{} / {}", suite["title"], case["title"]);
            let outcome = run(&case["view"], resources);
            let expects_error = case.get("expectError") == Some(&Value::Bool(true));
            match (&outcome, expects_error) {
                (Ok(_), true) => wrong.push(format!("{what}: an error was expected")),
                (Err(error), false) => wrong.push(format!("{what}: {error}")),
                (Err(_), true) => {}
                (Ok((names, rows)), false) => {
                    if let Some(expected) = case.get("expect").and_then(Value::as_array)
                        && sorted(rows) != sorted(expected)
                    {
                        wrong.push(format!(
                            "{what}:\n  is   {:?}\n  want {:?}",
                            sorted(rows),
                            sorted(expected)
                        ));
                    }
                    if let Some(expected) = case.get("expectColumns").and_then(Value::as_array) {
                        let expected: Vec<&str> = expected.iter().filter_map(Value::as_str).collect();
                        if *names != expected {
                            wrong.push(format!("{what}: columns {names:?}, not {expected:?}"));
                        }
                    }
                    if let Some(count) = case.get("expectCount").and_then(Value::as_u64)
                        && rows.len() as u64 != count
                    {
                        wrong.push(format!("{what}: {} rows, not {count}", rows.len()));
                    }
                }
            }
        }
    }
    assert!(cases > 90, "only {cases} cases were found");
    assert!(wrong.is_empty(), "{} of {cases} fail:\n{}", wrong.len(), wrong.join("\n"));
}
