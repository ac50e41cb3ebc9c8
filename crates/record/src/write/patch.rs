//! Patches: what is sent, and what a resource becomes by it.

use crate::{Error, Patch};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fhir::{IssueCode, MAX_DEPTH, Outcome, Resource};
use serde_json::Value;

/// Media type of RFC 6902.
pub const JSON_PATCH: &str = "application/json-patch+json";
/// Media type of RFC 7386.
pub const MERGE_PATCH: &str = "application/merge-patch+json";

/// A patch in a Binary. Errors: text for the sender.
pub(super) fn from_base64(kind: &str, data: &str) -> Result<Patch, String> {
    let bytes = STANDARD.decode(data).map_err(|_| "`data` is not base64.".to_owned())?;
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|error| format!("The patch is not valid JSON: {error}."))?;
    match kind {
        JSON_PATCH => Ok(Patch::Json(value)),
        MERGE_PATCH => Ok(Patch::Merge(value)),
        _ => Err(format!("`contentType` of a patch is `{JSON_PATCH}` or `{MERGE_PATCH}`.")),
    }
}

/// The resource after the patch. Errors: `Invalid` with what is wrong with the patch or what it may not change.
pub(crate) fn apply(before: &Resource, patch: &Patch, place: &str) -> Result<Resource, Error> {
    let invalid = |mut outcome: Outcome| {
        for issue in outcome.issues.iter_mut().filter(|_| !place.is_empty()) {
            issue.expression = super::at(place, &issue.expression);
        }
        Error::Invalid(outcome)
    };
    let after = match patch {
        Patch::Json(patch) => fhir::patch::json_patch(before.value(), patch).and_then(Resource::from_value),
        Patch::Merge(patch) => {
            let mut value = before.value().clone();
            merge(&mut value, patch, 0);
            Resource::from_value(value)
        }
        Patch::Path(parameters) => fhir::patch::path_patch(before, parameters),
    };
    let after = after.map_err(invalid)?;
    let name = before.kind().name();
    if after.kind() != before.kind() || after.id() != before.id() {
        let text = "A patch must not change the type or the id.";
        return Err(invalid(Outcome::one(IssueCode::BusinessRule, format!("{name}.id"), text)));
    }
    Ok(after)
}

/// RFC 7386 §2: objects are merged, `null` removes, anything else replaces.
fn merge(target: &mut Value, patch: &Value, depth: usize) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(serde_json::Map::new());
    }
    let Some(object) = target.as_object_mut().filter(|_| depth < MAX_DEPTH) else { return };
    for (key, value) in patch {
        if value.is_null() {
            object.shift_remove(key);
        } else {
            merge(object.entry(key.clone()).or_insert(Value::Null), value, depth + 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn merging_follows_the_examples_of_the_rfc() {
        // RFC 7386, appendix A.
        let cases = [
            (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
            (json!({"a": "b"}), json!({"a": null}), json!({})),
            (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
            (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
            (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
            (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
            (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
            (json!(["a", "b"]), json!(["c", "d"]), json!(["c", "d"])),
            (json!({"a": "foo"}), json!(null), json!(null)),
            (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
            (json!([1, 2]), json!({"a": "b", "c": null}), json!({"a": "b"})),
            (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
        ];
        for (mut target, patch, expected) in cases {
            merge(&mut target, &patch, 0);
            assert_eq!(target, expected, "{patch}");
        }
    }
}
