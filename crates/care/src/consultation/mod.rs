//! The visit: one Encounter from the waiting room to the finished note. Its id is that of its Appointment, so that
//! two people who open it at once open the same one.

mod command;
mod finish;
mod list;
mod log;
mod part;
mod plan;
mod session;
#[cfg(test)]
mod tests;

pub use command::{admit, end, join, open};
pub(crate) use command::{is_clinician, require_clinician, require_whole_view};
pub use finish::{FinishSnapshot, finish, plan_finish};
pub use list::{Filter, get, invoice_id, list, queue_places, visit_facts};
pub(crate) use list::{diagnosis_keys, has_hidden_diagnoses, notes};
pub use log::{Entry, LogBook};
pub use part::{Part, Standing, standing};
pub use plan::{Device, Opening, plan_admit, plan_cancel, plan_end, plan_open, plan_wait};
pub use session::{Participant, Session};

use crate::element::{self, array, target, text, version};
use crate::hidden::{self, Hidden};
use crate::schedule::Kind;
use crate::view::{PatientRef, ProviderRef};
use fhir::{Resource, ResourceKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where the visit stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ConsultationState)]
pub enum State {
    /// Opened; the patient waits if `waiting_since` is set.
    Waiting,
    /// Admitted.
    Active,
    /// The call is over, the note is not.
    Ended,
    Finished,
    Cancelled,
}

impl State {
    pub fn code(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Active => "active",
            State::Ended => "ended",
            State::Finished => "finished",
            State::Cancelled => "cancelled",
        }
    }
}

/// How the media travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum MediaPath {
    Direct,
    Relay,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum QualityLevel {
    Good,
    Fair,
    Poor,
}

/// How good the connection of one side was over the last seconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Quality)]
pub struct Quality {
    pub rtt_ms: u32,
    /// 0–100
    pub loss_percent: f64,
    pub bitrate_up_kbps: u32,
    pub bitrate_down_kbps: u32,
    pub path: MediaPath,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen_ms: Option<u32>,
    pub level: QualityLevel,
}

/// Who was in the call, and how good it was.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SessionLog {
    pub participants: Vec<LogParticipant>,
    pub quality: Vec<Quality>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LogParticipant {
    /// `patient`, `clinician` or `guest`
    pub role: String,
    pub joined_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_at: Option<String>,
    pub audio_only: bool,
    /// The right to take part had ended, and the server put this participant out.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub put_out: bool,
}

/// One visit.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Consultation {
    pub id: String,
    pub version: u32,
    pub appointment_id: String,
    pub kind: Kind,
    pub state: State,
    pub reason: String,
    pub patient: PatientRef,
    pub provider: ProviderRef,
    pub device_checked: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_since: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admitted_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
    /// Place in the queue of this provider, from 1; only while waiting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub invoice_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<SessionLog>,
    /// `reason`, if something of it is hidden from the reader.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub hidden: Hidden,
}

/// What the domain knows of an Encounter, also of an imported one.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    pub key: ResourceKey,
    pub version: u32,
    pub state: State,
    pub kind: Kind,
    pub reason: String,
    /// Something of it was taken out for who reads it.
    pub reason_hidden: bool,
    pub patient: ResourceKey,
    pub patient_name: String,
    pub provider: Option<ResourceKey>,
    pub provider_name: String,
    pub appointment: Option<ResourceKey>,
    pub start: Option<Timestamp>,
    pub session: Session,
}

/// Reads an Encounter; `None` if it is about no patient or entered in error.
pub fn read(encounter: &Resource) -> Option<Facts> {
    let value = encounter.value();
    let session = Session::of(encounter);
    let state = match encounter.text("status")? {
        "planned" | "arrived" | "triaged" => State::Waiting,
        "in-progress" | "onleave" if session.ended_at.is_some() => State::Ended,
        "in-progress" | "onleave" => State::Active,
        "finished" => State::Finished,
        "cancelled" => State::Cancelled,
        _ => return None,
    };
    let individual = array(value, "participant").iter().find_map(|p| {
        let individual = p.get("individual")?;
        let key = target(individual).filter(|key| key.kind.name() == "Practitioner")?;
        Some((key, element::owned(individual, "/display")))
    });
    let subject = value.get("subject")?;
    Some(Facts {
        key: encounter.key()?,
        version: version(encounter),
        state,
        kind: if text(value, "/class/code") == Some("VR") { Kind::Video } else { Kind::InPerson },
        reason: array(value, "reasonCode")
            .iter()
            .map(element::words)
            .find(|words| !words.is_empty())
            .unwrap_or_default(),
        reason_hidden: hidden::is_reason_hidden(encounter),
        patient: target(subject).filter(|key| key.kind.name() == "Patient")?,
        patient_name: element::owned(subject, "/display"),
        provider_name: individual.as_ref().map(|(_, name)| name.clone()).unwrap_or_default(),
        provider: individual.map(|(key, _)| key),
        appointment: array(value, "appointment").first().and_then(target),
        start: element::instant(value, "/period/start"),
        session,
    })
}

/// Still to come or going on.
pub(crate) fn is_open(facts: &Facts) -> bool {
    matches!(facts.state, State::Waiting | State::Active | State::Ended)
}
