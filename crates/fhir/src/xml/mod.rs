//! FHIR XML and our JSON model, both ways, by the definitions.
//! <http://hl7.org/fhir/R4/xml.html>, <http://hl7.org/fhir/R4/json.html>

use crate::{IssueCode, Outcome, Resource};
use serde_json::Value;

/// Reads one resource. Errors: [Outcome] with `structure`.
pub fn parse(_bytes: &[u8]) -> Result<Resource, Outcome> {
    Err(Outcome::one(IssueCode::NotSupported, "", "FHIR XML is not read yet."))
}

/// Writes one resource. Errors: [Outcome] with `structure` for JSON that is no R4 resource.
pub fn write(_resource: &Value) -> Result<String, Outcome> {
    Err(Outcome::one(IssueCode::NotSupported, "", "FHIR XML is not written yet."))
}
