//! Which fields of an answer lack something that the reader may not see. Seals take parts out of resources
//! ([access::redact]); the answer names the fields that are affected, so that an empty one is not read as "nothing was
//! written".

use crate::element::{array, text};
use access::redact::is_subsetted;
use fhir::{Resource, is_masked};
use serde_json::Value;

/// Names of fields, as the answer spells them. Empty for who sees everything.
pub type Hidden = Vec<&'static str>;

/// Whether something was taken out of this list.
pub(crate) fn any_masked(value: &Value, name: &str) -> bool {
    array(value, name).iter().any(is_masked)
}

/// Whether why somebody comes is hidden, in all or in part. `description` is free text, which goes with any hidden part.
pub(crate) fn is_reason_hidden(resource: &Resource) -> bool {
    let value = resource.value();
    let nothing_left = || value.get("reasonCode").is_none() && text(value, "/description").is_none();
    let had_words = resource.kind().name() == "Appointment";
    any_masked(value, "reasonCode") || (had_words && is_subsetted(resource) && nothing_left())
}

/// The fields that are.
pub(crate) fn of(fields: &[(&'static str, bool)]) -> Hidden {
    fields.iter().filter(|(_, hidden)| *hidden).map(|(name, _)| *name).collect()
}
