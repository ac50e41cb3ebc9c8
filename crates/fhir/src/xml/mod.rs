//! FHIR XML and our JSON model, both ways, by the definitions: which elements repeat, which are attributes,
//! what type a value has. <http://hl7.org/fhir/R4/xml.html>, <http://hl7.org/fhir/R4/json.html>
//!
//! **Invariant:** `parse(write(x)) == x` for every valid resource: decimals as written, extensions of
//! primitives, narrative verbatim. Comments and processing instructions are no content and are dropped.
//! **Invariant:** no document type, no entities but the five of XML itself: nothing is expanded or fetched.

mod read;
#[cfg(test)]
mod tests;
mod write;

use crate::{Outcome, Resource};
use serde_json::Value;

const FHIR: &str = "http://hl7.org/fhir";
const XHTML: &str = "http://www.w3.org/1999/xhtml";
const SCHEMA_INSTANCE: &str = "http://www.w3.org/2001/XMLSchema-instance";
/// Largest document. Bodies of requests are held shorter by the server; this bounds every other caller.
pub const MAX_BYTES: usize = 64 << 20;

/// Reads one resource. UTF-8, with or without byte order mark. Validation is a separate step, as for JSON.
/// Errors: [Outcome] with `structure`: not well-formed, a document type or entity, another encoding or
/// namespace, an unknown or wrongly repeated element or attribute, a value that is no boolean or number where
/// the type is one, nesting deeper than [MAX_DEPTH](crate::MAX_DEPTH). The issue says line, column and element.
pub fn parse(bytes: &[u8]) -> Result<Resource, Outcome> {
    Resource::from_value(read::document(bytes)?)
}

/// Writes one resource in the element order of the definitions, without white space between elements.
/// Errors: [Outcome] with `structure` for JSON that the definitions do not know, or that has characters XML
/// cannot carry.
pub fn write(resource: &Value) -> Result<String, Outcome> {
    write::document(resource, false)
}

/// As [write], one element per line, indented by two spaces.
pub fn write_pretty(resource: &Value) -> Result<String, Outcome> {
    write::document(resource, true)
}

/// XML 1.0 production 2.
fn is_xml_char(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}
