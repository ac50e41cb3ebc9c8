//! Booked visits.

mod command;
mod list;
mod plan;
mod reminder;
mod resource;
#[cfg(test)]
mod tests;

pub use command::{book, cancel, check_in, get, no_show, reschedule};
pub(crate) use command::{is_staff, lost_race, taken};
pub(crate) use list::search;
pub use list::{Filter, list, view_of};
pub(crate) use plan::message;
pub use plan::{
    BookSnapshot, Booking, MoveSnapshot, plan_arrive, plan_book, plan_cancel, plan_no_show, plan_reschedule,
};
pub use reminder::{REMINDER_QUEUE, adopt, remind};
pub use resource::{Facts, read};

use crate::hidden::Hidden;
use crate::schedule::Kind;
use crate::view::{Money, PatientRef, ProviderRef};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Longest reason a patient can give.
pub const REASON_CHARS_MAX: usize = 500;
/// Free times offered when a slot is taken.
pub const NEXT_FREE: usize = 5;

/// Where a booked visit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[schema(as = AppointmentStatus)]
pub enum Status {
    Booked,
    Arrived,
    InProgress,
    Fulfilled,
    Cancelled,
    Noshow,
}

impl Status {
    pub const ALL: [Status; 6] = [
        Status::Booked,
        Status::Arrived,
        Status::InProgress,
        Status::Fulfilled,
        Status::Cancelled,
        Status::Noshow,
    ];
    pub fn code(self) -> &'static str {
        match self {
            Status::Booked => "booked",
            Status::Arrived => "arrived",
            Status::InProgress => "in-progress",
            Status::Fulfilled => "fulfilled",
            Status::Cancelled => "cancelled",
            Status::Noshow => "noshow",
        }
    }
    pub fn from_code(code: &str) -> Option<Status> {
        Status::ALL.into_iter().find(|status| status.code() == code)
    }
    /// R4 has no `in-progress` for appointments; `checked-in` ("the encounter may begin") stands for it.
    pub fn fhir(self) -> &'static str {
        match self {
            Status::InProgress => "checked-in",
            other => other.code(),
        }
    }
    /// `None` for the statuses that Uzima never writes (proposed, waitlist, entered-in-error).
    pub fn from_fhir(code: &str) -> Option<Status> {
        match code {
            "checked-in" => Some(Status::InProgress),
            "pending" => Some(Status::Booked),
            "in-progress" => None,
            other => Status::from_code(other),
        }
    }
    /// Nothing more happens to it.
    pub fn is_closed(self) -> bool {
        matches!(self, Status::Fulfilled | Status::Cancelled | Status::Noshow)
    }
}

/// `POST appointments`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAppointment {
    /// Logical id of the Practitioner.
    pub provider_id: String,
    pub kind: Kind,
    /// Start of a free slot, RFC 3339.
    #[schema(value_type = String, format = DateTime)]
    pub start: jiff::Timestamp,
    /// In the patient's own words.
    pub reason: String,
    /// Staff only; patients book for themselves.
    #[serde(default)]
    pub patient_id: Option<String>,
    /// Language of the messages; the patient's own if not given.
    #[serde(default)]
    pub language: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PaymentStatus {
    None,
    Due,
    Paid,
}

/// A booked visit.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Appointment {
    pub id: String,
    pub version: u32,
    pub status: Status,
    pub kind: Kind,
    pub start: String,
    pub end: String,
    pub reason: String,
    pub patient: PatientRef,
    pub provider: ProviderRef,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consultation_id: Option<String>,
    pub fee: Money,
    pub created_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<String>,
    pub payment_status: PaymentStatus,
    pub device_checked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<String>,
    /// `reason`, if something of it is hidden from the reader.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub hidden: Hidden,
}
