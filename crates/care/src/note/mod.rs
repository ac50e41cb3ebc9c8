//! The note of a visit: a Composition with four sections and the Conditions it names. Saved as one types, signed once,
//! amended in the open.

mod command;
mod narrative;
mod plan;
#[cfg(test)]
mod tests;

pub use command::{amend, author_of, conditions, find, get, save, sign};
pub use narrative::{from_xhtml, to_xhtml};
pub(crate) use plan::diagnosis;
pub use plan::{SaveSnapshot, Signer, condition_keys, incomplete, plan_amend, plan_save, plan_sign, read};

use crate::hidden::Hidden;
use crate::view::SystemCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest text of one section.
pub const SECTION_CHARS_MAX: usize = 20_000;
pub const DIAGNOSES_MAX: usize = 30;
pub const FOLLOW_UP_CHARS_MAX: usize = 500;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = NoteStatus)]
pub enum Status {
    Draft,
    Signed,
    Amended,
}

/// `PUT consultations/{id}/note`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NoteInput {
    /// What was read; 0 or absent for the first save.
    #[serde(default)]
    pub version: Option<u32>,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub findings: String,
    #[serde(default)]
    pub assessment: String,
    #[serde(default)]
    pub diagnoses: Vec<SystemCode>,
    #[serde(default)]
    pub plan: String,
    #[serde(default)]
    pub follow_up: Option<String>,
}

/// The note as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Note {
    /// Absent before the first save.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub version: u32,
    pub status: Status,
    pub reason: String,
    pub findings: String,
    pub assessment: String,
    pub diagnoses: Vec<SystemCode>,
    pub plan: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follow_up: Option<String>,
    /// Name of who wrote it.
    pub author: String,
    pub updated_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_at: Option<String>,
    /// Fields from which something is hidden from the reader; such a note cannot be saved by her.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub hidden: Hidden,
}
