//! How requests and the like look in `/api/v1`.

use crate::api::types::PatientRef;
use jiff::Timestamp;
use record::subject::{Obstacle, RequestView, SubjectNames};
use serde::Serialize;
use utoipa::ToSchema;

/// What stands against an erasure.
#[derive(Serialize, ToSchema)]
pub struct ErasureObstacle {
    /// `legal-hold|retention|erased`
    kind: &'static str,
    /// Class of record, of `retention`.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    law: Option<String>,
}

pub fn obstacle(one: Obstacle) -> ErasureObstacle {
    let plain = |kind| ErasureObstacle { kind, class: None, until: None, law: None };
    match one {
        Obstacle::LegalHold => plain("legal-hold"),
        Obstacle::Erased => plain("erased"),
        Obstacle::Retention { class, until, law } => {
            ErasureObstacle { kind: "retention", class: Some(class), until: Some(until), law: Some(law) }
        }
    }
}

/// A request about somebody's data.
#[derive(Serialize, ToSchema)]
pub struct DataRequest {
    id: String,
    /// `correction|erasure`
    kind: &'static str,
    /// `open|approved|answered|withdrawn`; `approved`: one person agreed, a second one must carry it out.
    state: &'static str,
    patient_id: String,
    /// For the privacy desk; missing once the record is erased.
    #[serde(skip_serializing_if = "Option::is_none")]
    patient: Option<PatientRef>,
    #[schema(value_type = String, format = DateTime)]
    asked_at: Timestamp,
    /// By when it must be answered.
    #[schema(value_type = String, format = DateTime)]
    due_at: Timestamp,
    overdue: bool,
    /// `Type/id` of the entry that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<String>,
    /// What the entry is about, for who may read it.
    #[serde(skip_serializing_if = "Option::is_none")]
    entry_title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    approved_at: Option<Timestamp>,
    /// Name of who agreed.
    #[serde(skip_serializing_if = "Option::is_none")]
    approved_by: Option<String>,
    /// You are the one who agreed: somebody else must carry it out.
    approved_by_you: bool,
    /// `amended|erased|refused`
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<&'static str>,
    /// Code of the legal ground of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    ground: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    answered_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answered_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer_text: Option<String>,
    /// The patient's statement that stands beside the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    disagreement: Option<String>,
    /// What stands against an erasure that waits.
    obstacles: Vec<ErasureObstacle>,
}

pub fn request(
    view: RequestView,
    names: &SubjectNames,
    caller: Option<i64>,
    now: Timestamp,
    desk: bool,
) -> DataRequest {
    let one = view.request;
    let name = |account: Option<i64>| {
        let name = names.accounts.get(&account?)?;
        (!name.is_empty()).then(|| name.clone())
    };
    let waits = one.answered.is_none() && one.state.code() != "withdrawn";
    DataRequest {
        id: one.id.to_string(),
        kind: one.kind.code(),
        state: one.state.code(),
        patient: names.patients.get(&one.patient).filter(|_| desk).map(PatientRef::of),
        patient_id: one.patient,
        asked_at: one.asked,
        due_at: one.due,
        overdue: waits && one.due <= now,
        entry: one.entry.map(|key| key.to_string()),
        entry_title: view.entry_title,
        text: view.text,
        approved_at: one.approved,
        approved_by: name(one.approved_by),
        approved_by_you: one.approved_by.is_some() && one.approved_by == caller,
        answer: one.answer.map(|answer| answer.code()),
        ground: one.ground,
        answered_at: one.answered,
        answered_by: name(one.answered_by),
        answer_text: view.answer_text,
        disagreement: view.disagreement_text,
        obstacles: view.obstacles.into_iter().map(obstacle).collect(),
    }
}
