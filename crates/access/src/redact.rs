//! What is left of a sealed row of the desk's work (that somebody comes at ten) for who may not look through the seal.
//!
//! The row says `SUBSETTED`; such a version is refused when it is written back.

use fhir::Resource;
use serde_json::{Value, json};

/// <http://terminology.hl7.org/CodeSystem/v3-ObservationValue>
pub const OBSERVATION_VALUE: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
pub const SUBSETTED: &str = "SUBSETTED";

/// Whether a version says that it is not whole. It must not replace what it was cut from.
pub fn is_subsetted(resource: &Resource) -> bool {
    let tags = resource.get("meta").and_then(|m| m.get("tag")).and_then(Value::as_array);
    tags.into_iter().flatten().any(|tag| {
        tag.get("code").and_then(Value::as_str) == Some(SUBSETTED)
            && tag.get("system").and_then(Value::as_str).is_none_or(|s| s == OBSERVATION_VALUE)
    })
}

/// The Coding that says it.
pub fn tag() -> Value {
    json!({"system": OBSERVATION_VALUE, "code": SUBSETTED})
}
