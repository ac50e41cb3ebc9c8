//! Changes to a resource: JSON Patch (RFC 6902) and FHIRPath Patch.

use crate::{IssueCode, Outcome, Resource};
use serde_json::Value;

/// Applies a JSON Patch document (RFC 6902) to `target`, all operations or none.
pub fn json_patch(_target: &Value, _patch: &Value) -> Result<Value, Outcome> {
    Err(Outcome::one(IssueCode::NotSupported, "", "JSON Patch is not applied yet."))
}

/// Applies a FHIRPath Patch (a Parameters resource, <http://hl7.org/fhir/R4/fhirpatch.html>), all operations or none.
pub fn path_patch(_target: &Resource, _parameters: &Resource) -> Result<Resource, Outcome> {
    Err(Outcome::one(IssueCode::NotSupported, "", "FHIRPath Patch is not applied yet."))
}
