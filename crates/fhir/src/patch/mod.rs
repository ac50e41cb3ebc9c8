//! Changes to a resource: JSON Patch (RFC 6902) and FHIRPath Patch. All operations of a patch apply, or none.
//!
//! Errors say which operation failed, as `[2].path` or `operation[2].path` (counted from 0), and what is wrong
//! with it: `structure` or `required` = the patch itself is malformed; `value` = it does not fit the resource
//! (nothing at the path, an index out of range, a type the element cannot have); `conflict` = a `test` found
//! something else.

mod json;
mod path;
mod place;
#[cfg(test)]
mod tests;

use crate::{IssueCode, MAX_DEPTH, Outcome, Resource};
use serde_json::Value;

/// Operations of one patch.
pub const MAX_OPERATIONS: usize = 1000;
/// Values that the copies of one patch may add together: a copy of a copy grows without bound.
const MAX_COPIED: usize = 1_000_000;

/// Applies a JSON Patch document (RFC 6902) to `target`. Arrays and objects that it leaves empty are removed,
/// because FHIR has none. Errors: see the module.
pub fn json_patch(target: &Value, patch: &Value) -> Result<Value, Outcome> {
    let mut value = json::apply(target, patch)?;
    drop_empty(&mut value);
    Ok(value)
}

/// Applies a FHIRPath Patch (a Parameters resource, <http://hl7.org/fhir/R4/fhirpatch.html>) to `target`.
/// Errors: see the module; an operation whose path finds several elements where one is meant is a `value` error.
pub fn path_patch(target: &Resource, parameters: &Resource) -> Result<Resource, Outcome> {
    let mut value = path::apply(target.value(), parameters)?;
    drop_empty(&mut value);
    Resource::from_value(value)
}

/// Empty arrays, objects and lists of nothing but null, from the inside out. The root stays.
fn drop_empty(value: &mut Value) {
    match value {
        Value::Object(object) => {
            for (_, v) in object.iter_mut() {
                drop_empty(v);
            }
            object.retain(|_, v| !is_empty(v));
        }
        Value::Array(items) => items.iter_mut().for_each(drop_empty),
        _ => {}
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.is_empty(),
        Value::Array(items) => items.iter().all(|v| v.is_null() || is_empty(v)),
        _ => false,
    }
}

/// How deep a value is nested; stops counting behind [MAX_DEPTH].
fn depth(value: &Value) -> usize {
    fn below(value: &Value, at: usize) -> usize {
        if at > MAX_DEPTH {
            return at;
        }
        match value {
            Value::Object(object) => object.values().map(|v| below(v, at + 1)).max().unwrap_or(at),
            Value::Array(items) => items.iter().map(|v| below(v, at + 1)).max().unwrap_or(at),
            _ => at,
        }
    }
    below(value, 0)
}

fn refuse<T>(code: IssueCode, place: String, text: impl Into<String>) -> Result<T, Outcome> {
    Err(Outcome::one(code, place, text))
}
