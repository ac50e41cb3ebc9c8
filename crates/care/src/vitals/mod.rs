//! Vital signs: entered as decimals, kept as Observations with UCUM units, flagged by age.

mod command;
mod measure;
mod plan;
#[cfg(test)]
mod tests;

pub use command::{get, put};
pub use measure::{Age, Measure, flag, sort};
pub use plan::{plan_put, read};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// `PUT consultations/{id}/vitals`. Decimals as text, e.g. `"36.8"`. What is absent stays; an empty text takes a
/// value back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VitalsInput {
    /// mmHg
    pub systolic: Option<String>,
    /// mmHg
    pub diastolic: Option<String>,
    /// per minute
    pub pulse: Option<String>,
    /// °C
    pub temperature: Option<String>,
    /// per minute
    pub respiratory_rate: Option<String>,
    /// %
    pub spo2: Option<String>,
    /// kg
    pub weight: Option<String>,
    /// cm
    pub height: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct VitalPoint {
    pub at: String,
    pub value: String,
}

/// One vital sign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Vital {
    /// LOINC
    pub code: String,
    pub display: String,
    /// Decimal as written.
    pub value: String,
    /// For people, e.g. `mmHg`.
    pub unit: String,
    pub at: String,
    /// `L` low, `H` high, `LL` and `HH` critical, by the patient's age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flag: Option<Flag>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<VitalPoint>,
    /// Oldest first; only in the chart.
    pub series: Vec<VitalPoint>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = VitalFlag)]
pub enum Flag {
    LL,
    L,
    H,
    HH,
}

impl Flag {
    pub fn code(self) -> &'static str {
        match self {
            Flag::LL => "LL",
            Flag::L => "L",
            Flag::H => "H",
            Flag::HH => "HH",
        }
    }
}

/// The vital signs of one visit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Vitals {
    pub items: Vec<Vital>,
    /// kg/m², one decimal; with weight and height only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bmi: Option<String>,
}
