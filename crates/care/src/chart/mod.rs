//! What a clinician must know of a patient at a glance, and what the patient sees of her own record.

mod entry;
mod summary;
#[cfg(test)]
mod tests;
mod visits;

pub use entry::{
    EntryKind, add_allergy, add_problem, entered_in_error, plan_allergy, plan_error, plan_problem,
};
pub use summary::{chart, vitals_with_history};
pub use visits::visits;

use crate::hidden::Hidden;
use crate::patient::Patient;
use crate::schedule::Kind;
use crate::view::{Coded, ProviderRef};
use crate::vitals::Vital;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// "None known" and "nobody asked" are different facts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AllergiesRecorded {
    NoneKnown,
    NotRecorded,
    Listed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Criticality {
    Low,
    High,
    UnableToAssess,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Allergy {
    pub id: String,
    pub text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reaction: Option<String>,
    pub criticality: Criticality,
    /// `active`, `inactive`, `resolved` or `entered-in-error`
    pub status: String,
    pub recorded_at: String,
    /// `reaction`, if something of it is hidden from the reader.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub hidden: Hidden,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Allergies {
    pub recorded: AllergiesRecorded,
    /// Those entered in error are last, to be shown struck through.
    pub items: Vec<Allergy>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ClinicalProblem {
    pub id: String,
    pub code: String,
    pub system: String,
    pub display: String,
    /// `active`, `inactive`, `resolved`, … or `entered-in-error`
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub onset: Option<String>,
    pub recorded_at: String,
}

/// A medicine the patient takes or was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CurrentMedicine {
    pub id: String,
    pub name: String,
    /// As printed: name form – DOSE – route – frequency – duration.
    pub line: String,
    /// `active`, `stopped`, `completed`, …
    pub status: String,
    pub prescribed_at: String,
    /// Last day of supply, if the duration is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    pub prescriber: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct DocumentLink {
    pub id: String,
    pub title: String,
    pub kind: String,
    pub at: String,
    pub author: String,
    /// `title`, if it is hidden from the reader.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub hidden: Hidden,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct VisitSummary {
    pub consultation_id: String,
    /// Instant at which it began or was booked for.
    pub date: String,
    pub provider: ProviderRef,
    pub kind: Kind,
    pub state: crate::consultation::State,
    pub reason: String,
    pub diagnoses: Vec<Coded>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prescription_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invoice_id: Option<String>,
    /// `reason` and `diagnoses`, where something of them is hidden from the reader.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub hidden: Hidden,
}

#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Chart {
    pub patient: Patient,
    pub allergies: Allergies,
    pub problems: Vec<ClinicalProblem>,
    pub medications: Vec<CurrentMedicine>,
    /// Latest value per code, with the one before and the series.
    pub vitals: Vec<Vital>,
    pub visits: Vec<VisitSummary>,
    pub documents: Vec<DocumentLink>,
}

/// `POST patients/{id}/allergies`. Code `716186003` (SNOMED CT) says that no allergy is known.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AllergyNew {
    #[serde(default)]
    pub code: Option<String>,
    pub text: String,
    #[serde(default)]
    pub reaction: Option<String>,
    #[serde(default)]
    pub criticality: Option<Criticality>,
}

/// `POST patients/{id}/problems`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProblemNew {
    pub code: String,
    pub display: String,
    pub system: String,
    /// `YYYY`, `YYYY-MM` or `YYYY-MM-DD`
    #[serde(default)]
    pub onset: Option<String>,
}
