//! What is prescribed at a visit: one MedicationRequest per item, signed together, checkable by anybody who holds the
//! paper. There is one prescription per visit; it bears the visit's id.
//!
//! The version of a prescription is the sum of the versions of its items: items that are taken out of a draft are
//! cancelled, never deleted, so that every write makes it larger.

mod allergy;
mod command;
mod line;
mod paper;
mod plan;
#[cfg(test)]
mod tests;

pub use allergy::{Clash, clashes};
pub use command::{get, get_by_visit, pdf, put, requests, sign, verify};
pub use line::{FREQUENCIES, dose_text, line, tall_man};
pub use plan::{SaveSnapshot, Tokens, plan_put, plan_sign, read};
pub(crate) use plan::{item as item_of, shown_line};

use crate::hidden::Hidden;
use crate::view::{PatientRef, ProviderRef};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub const ITEMS_MAX: usize = 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum FrequencyCode {
    /// Once daily.
    Od,
    /// Twice daily.
    Bd,
    /// Three times daily.
    Tds,
    /// Four times daily.
    Qds,
    /// When needed.
    Prn,
    /// Once, at once.
    Stat,
    /// At night.
    Nocte,
}

/// One medicine with its dose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RxItem {
    /// Id in the formulary; absent for a medicine that is not in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub medicine_id: Option<String>,
    pub name: String,
    /// e.g. `capsule`
    pub form: String,
    /// e.g. `500 mg`
    pub dose: String,
    /// e.g. `by mouth`
    pub route: String,
    pub frequency_code: FrequencyCode,
    /// More exactly, e.g. `every 8 hours`; may be empty.
    #[serde(default)]
    pub frequency_text: String,
    /// 0 for single doses.
    pub duration_days: u32,
    /// Units to hand out, e.g. 15 (capsules).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
    #[serde(default)]
    pub refills: u32,
}

/// `PUT consultations/{id}/prescription`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PrescriptionInput {
    /// What was read; 0 or absent for the first save.
    #[serde(default)]
    pub version: Option<u32>,
    pub items: Vec<RxItem>,
}

/// `POST consultations/{id}/prescription/sign`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrescriptionSign {
    /// The prescriber has seen the warnings and prescribes all the same.
    pub acknowledge_warnings: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = PrescriptionStatus)]
pub enum Status {
    Draft,
    Signed,
}

/// A recorded allergy that an item may touch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AllergyWarning)]
pub struct Warning {
    /// Index in `items`.
    pub item: usize,
    pub allergy_id: String,
    /// The allergy as recorded.
    pub allergy: String,
    /// The substance or class that matches, e.g. `penicillins`.
    pub matched: String,
    /// Signing needs an acknowledgement.
    pub serious: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Prescription {
    pub id: String,
    pub consultation_id: String,
    pub version: u32,
    pub status: Status,
    pub items: Vec<RxItem>,
    /// One line per item as it is printed.
    pub lines: Vec<String>,
    pub warnings: Vec<Warning>,
    pub prescriber: ProviderRef,
    pub patient: PatientRef,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_at: Option<String>,
    /// Page that tells anybody whether the paper is genuine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify_url: Option<String>,
    /// `instructions`, if such of an item are hidden from the reader.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub hidden: Hidden,
}

/// What anybody who scans the paper is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Verification {
    pub valid: bool,
    /// `active`, `completed`, `cancelled`, `stopped`, … or `unknown`
    pub status: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prescriber: Option<String>,
    pub clinic: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patient_initials: Option<String>,
    pub items: Vec<String>,
}
