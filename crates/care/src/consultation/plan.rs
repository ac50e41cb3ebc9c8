//! The rules of the visit up to its end. Pure.

use super::{Facts, Session, State, read};
use crate::appointment;
use crate::element::{self, array, kind as type_of};
use crate::schedule::Kind;
use crate::vocabulary::ACT_CODE;
use fhir::{Resource, ResourceKey};
use jiff::Timestamp;
use record::{Change, ChangeSet, Event, Rule};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

/// What the check before the call found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DeviceCheck)]
pub struct Device {
    pub camera: bool,
    pub microphone: bool,
    /// The TURN relay answered.
    pub relay: bool,
    pub audio_only: bool,
}

impl Device {
    /// Enough for a call.
    pub fn is_ready(&self) -> bool {
        self.microphone && (self.camera || self.audio_only)
    }
}

/// An Encounter that is opened or changed.
pub type Opening = ChangeSet;

pub(super) fn unknown() -> Rule {
    Rule::new("visit-unknown", "This is no visit of this clinic.")
}

pub(super) fn closed(state: State) -> Rule {
    Rule::new("visit-closed", "This visit is finished or cancelled.").with(json!({"state": state.code()}))
}

pub(super) fn appointment_closed() -> Rule {
    Rule::new("appointment-closed", "This appointment is over or cancelled.")
}

fn event(topic: &'static str, key: &ResourceKey, state: State) -> Event {
    Event { topic, subject: key.clone(), data: json!({"id": key.id, "state": state.code()}) }
}

/// Sets the status and keeps its history, as R4 wants it.
pub(super) fn set_status(encounter: &mut Resource, status: &str, now: Timestamp) {
    let moment = json!(element::written(now));
    let mut history: Vec<Value> = array(encounter.value(), "statusHistory").to_vec();
    if let Some(last) = history.last_mut().and_then(|h| h.get_mut("period")).and_then(Value::as_object_mut) {
        last.entry("end").or_insert_with(|| moment.clone());
    }
    history.push(json!({"status": status, "period": {"start": moment}}));
    encounter.set("status", json!(status));
    encounter.set("statusHistory", Value::Array(history));
}

/// The Encounter of this appointment, not stored yet.
fn new_encounter(appointment: &appointment::Facts, status: &str, now: Timestamp) -> Resource {
    let mut encounter = Resource::new(type_of("Encounter"));
    encounter.set_id(&appointment.key.id);
    set_status(&mut encounter, status, now);
    let (code, display) = match appointment.kind {
        Kind::Video => ("VR", "virtual"),
        Kind::InPerson => ("AMB", "ambulatory"),
    };
    encounter.set("class", json!({"system": ACT_CODE, "code": code, "display": display}));
    encounter.set("subject", element::reference(&appointment.patient, &appointment.patient_name));
    let individual = element::reference(&appointment.provider, &appointment.provider_name);
    encounter.set("participant", json!([{ "individual": individual }]));
    encounter.set("appointment", json!([{"reference": appointment.key.to_string()}]));
    if !appointment.reason.is_empty() {
        encounter.set("reasonCode", json!([{"text": appointment.reason}]));
    }
    encounter
}

fn put(set: &mut ChangeSet, before: Option<&Resource>, encounter: Resource) {
    set.changes.push(match before {
        Some(before) => Change::Update { resource: encounter, if_match: Some(element::version(before)) },
        None => Change::Create { resource: encounter },
    });
}

/// Opens the visit of an appointment without anybody waiting. Errors: `appointment-closed`.
pub fn plan_open(appointment: &appointment::Facts, now: Timestamp) -> Result<Opening, Rule> {
    if appointment.status.is_closed() {
        return Err(appointment_closed());
    }
    let mut set = ChangeSet::default();
    put(&mut set, None, new_encounter(appointment, "planned", now));
    set.events.push(event("consultation.opened", &appointment.key_of_visit(), State::Waiting));
    Ok(set)
}

/// The patient takes a seat in the waiting room. `device` is what her check before the call found.
///
/// Again while waiting or in the call changes only the check. Errors: `visit-closed`.
pub fn plan_wait(
    appointment: &appointment::Facts,
    encounter: Option<&Resource>,
    device: Option<Device>,
    now: Timestamp,
) -> Result<Opening, Rule> {
    let before = match encounter {
        Some(encounter) => Some(read(encounter).ok_or_else(unknown)?),
        None => None,
    };
    let mut next = encounter.cloned().unwrap_or_else(|| new_encounter(appointment, "arrived", now));
    let mut session = Session::of(&next);
    match before.as_ref().map(|b| b.state) {
        Some(state @ (State::Finished | State::Cancelled)) => return Err(closed(state)),
        Some(State::Waiting) => {
            if next.text("status") != Some("arrived") {
                set_status(&mut next, "arrived", now);
            }
            session.waiting_since.get_or_insert(now);
        }
        Some(State::Active | State::Ended) => {}
        None => session.waiting_since = Some(now),
    }
    if let Some(device) = device {
        session.device_checked = device.is_ready();
    }
    session.put(&mut next);
    let mut set = ChangeSet::default();
    if encounter == Some(&next) {
        return Ok(set);
    }
    let state = before.map_or(State::Waiting, |b| b.state);
    put(&mut set, encounter, next);
    set.events.push(event("consultation.waiting", &appointment.key_of_visit(), state));
    Ok(set)
}

/// The doctor lets the patient in, or starts the visit in the room. Admitting twice changes nothing; a call that was
/// ended can be taken up again until the visit is finished.
///
/// Errors: `visit-closed`.
pub fn plan_admit(
    encounter: &Resource,
    appointment: Option<&Resource>,
    now: Timestamp,
) -> Result<ChangeSet, Rule> {
    let before = read(encounter).ok_or_else(unknown)?;
    let mut next = encounter.clone();
    let mut session = before.session.clone();
    match before.state {
        State::Active => return Ok(ChangeSet::default()),
        State::Finished | State::Cancelled => return Err(closed(before.state)),
        State::Ended => session.ended_at = None,
        State::Waiting => {
            set_status(&mut next, "in-progress", now);
            session.admitted_at = Some(now);
            session.started_at = Some(now);
            next.set("period", json!({"start": element::written(now)}));
        }
    }
    session.put(&mut next);
    let mut set = ChangeSet::default();
    put(&mut set, Some(encounter), next);
    if let Some(change) = appointment.and_then(|a| move_appointment(a, appointment::Status::InProgress)) {
        set.changes.push(change);
    }
    set.events.push(event("consultation.started", &before.key, State::Active));
    Ok(set)
}

/// Ends the call and closes its log; the note stays open. Ending twice changes nothing.
///
/// Errors: `visit-closed`, `visit-not-started`.
pub fn plan_end(encounter: &Resource, now: Timestamp) -> Result<ChangeSet, Rule> {
    let before = read(encounter).ok_or_else(unknown)?;
    match before.state {
        State::Ended => return Ok(ChangeSet::default()),
        State::Finished | State::Cancelled => return Err(closed(before.state)),
        State::Waiting => return Err(Rule::new("visit-not-started", "This visit has not begun.")),
        State::Active => {}
    }
    let mut next = encounter.clone();
    let mut session = before.session;
    session.end(now);
    session.put(&mut next);
    let mut set = ChangeSet::default();
    put(&mut set, Some(encounter), next);
    set.events.push(event("consultation.ended", &before.key, State::Ended));
    Ok(set)
}

/// Closes an open visit whose appointment is cancelled; nothing for one that began.
pub fn plan_cancel(encounter: &Resource, now: Timestamp) -> ChangeSet {
    let mut set = ChangeSet::default();
    let Some(before) = read(encounter).filter(|b| b.state == State::Waiting) else { return set };
    let mut next = encounter.clone();
    set_status(&mut next, "cancelled", now);
    let mut session = before.session;
    session.end(now);
    session.put(&mut next);
    put(&mut set, Some(encounter), next);
    set.events.push(event("consultation.cancelled", &before.key, State::Cancelled));
    set
}

/// The appointment in its new status, if that is a step forward.
pub(super) fn move_appointment(resource: &Resource, status: appointment::Status) -> Option<Change> {
    let facts = appointment::read(resource)?;
    if facts.status == status || facts.status.is_closed() {
        return None;
    }
    let mut next = resource.clone();
    next.set("status", json!(status.fhir()));
    Some(Change::Update { resource: next, if_match: Some(facts.version) })
}

impl appointment::Facts {
    /// The Encounter of this appointment.
    pub fn key_of_visit(&self) -> ResourceKey {
        element::key("Encounter", self.key.id.clone())
    }
}

/// Whose turn it is: the place of `facts` among those that wait, from 1.
pub(super) fn position(facts: &Facts, waiting: &[Session]) -> Option<u32> {
    let since = facts.session.waiting_since.filter(|_| facts.state == State::Waiting)?;
    let before = waiting.iter().filter(|other| other.waiting_since.is_some_and(|s| s < since)).count();
    u32::try_from(before + 1).ok()
}
