//! Finishing the visit: the note is signed, the Encounter ends, the appointment is fulfilled; billing hears of it.

use super::command::{repeat, require_clinician};
use super::plan::{closed, move_appointment, set_status, unknown};
use super::{Consultation, State, get, read};
use crate::appointment::{self, Status};
use crate::clinic::Clinic;
use crate::element::{self, key, version};
use crate::{load, note, prescription, rule};
use access::Ctx;
use fhir::{Resource, ResourceKey};
use jiff::Timestamp;
use record::{Change, ChangeSet, Effect, Error, Event, Record, Rule};
use serde_json::json;

/// What the rules of finishing look at.
#[derive(Debug, Clone, Copy)]
pub struct FinishSnapshot<'a> {
    pub encounter: &'a Resource,
    pub appointment: Option<&'a Resource>,
    pub note: Option<&'a Resource>,
    /// The Conditions that the note names, and others of this visit.
    pub conditions: &'a [Resource],
    /// Every MedicationRequest of this visit.
    pub requests: &'a [Resource],
    pub clinician: &'a ResourceKey,
    pub clinician_name: &'a str,
    pub now: Timestamp,
}

/// Plans the end of the visit. Finishing twice changes nothing.
///
/// Errors: `visit-closed` if it was cancelled; `visit-not-started`; `note-incomplete` with every missing field;
/// `prescription-unsigned`.
pub fn plan_finish(snapshot: &FinishSnapshot<'_>) -> Result<ChangeSet, Rule> {
    let before = read(snapshot.encounter).ok_or_else(unknown)?;
    match before.state {
        State::Finished => return Ok(ChangeSet::default()),
        State::Cancelled => return Err(closed(before.state)),
        State::Waiting => return Err(Rule::new("visit-not-started", "This visit has not begun.")),
        State::Active | State::Ended => {}
    }
    let Some(note) = snapshot.note else {
        return Err(note::incomplete(&["/reason", "/assessment"]));
    };
    if snapshot.requests.iter().any(|request| request.text("status") == Some("draft")) {
        return Err(Rule::new(
            "prescription-unsigned",
            "The prescription is not signed; sign it or remove its items.",
        ));
    }
    let signer = note::Signer { key: snapshot.clinician, name: snapshot.clinician_name, now: snapshot.now };
    let mut set = note::plan_sign(note, snapshot.conditions, &signer)?;
    let mut encounter = snapshot.encounter.clone();
    set_status(&mut encounter, "finished", snapshot.now);
    let mut session = before.session.clone();
    if session.ended_at.is_none() {
        session.end(snapshot.now);
    }
    session.put(&mut encounter);
    let start = before.start.or(session.started_at).unwrap_or(snapshot.now);
    let end = session.ended_at.unwrap_or(snapshot.now).max(start);
    encounter.set("period", json!({"start": element::written(start), "end": element::written(end)}));
    let diagnosis: Vec<_> = note::condition_keys(note)
        .into_iter()
        .enumerate()
        .map(|(rank, key)| json!({"condition": {"reference": key.to_string()}, "rank": rank + 1}))
        .collect();
    if !diagnosis.is_empty() {
        encounter.set("diagnosis", json!(diagnosis));
    }
    let if_match = Some(version(snapshot.encounter));
    set.changes.push(Change::Update { resource: encounter, if_match });
    set.changes.extend(snapshot.appointment.and_then(|a| move_appointment(a, Status::Fulfilled)));
    if let Some(appointment) = &before.appointment {
        set.effects.push(Effect::CancelJobs { key: format!("reminder/{appointment}") });
    }
    let data = json!({
        "id": before.key.id,
        "state": State::Finished.code(),
        "kind": before.kind.code(),
        "patient_id": before.patient.id,
        "provider_id": before.provider.as_ref().map(|key| &key.id),
        "appointment_id": before.appointment.as_ref().map(|key| &key.id),
    });
    set.events.push(Event { topic: "visit.finished", subject: before.key, data });
    Ok(set)
}

/// `POST consultations/{id}/finish`. Errors: `Denied`; `NotFound`; those of [plan_finish].
pub async fn finish(record: &Record, ctx: &Ctx, clinic: &Clinic, id: &str) -> Result<Consultation, Error> {
    require_clinician(ctx)?;
    let (clinician, name) = note::author_of(ctx)?;
    let (clinician, name) = (&clinician, name.as_str());
    repeat(record, ctx, "visit.finish", move || async move {
        let encounter = load::needed(record, ctx, &key("Encounter", id)).await?;
        let facts = read(&encounter).ok_or(Error::NotFound)?;
        let booked = match &facts.appointment {
            Some(key) => record.load(ctx, key).await?.map(|(appointment, _)| appointment),
            None => None,
        };
        let note = note::find(record, ctx, id).await?;
        let conditions = note::conditions(record, ctx, id).await?;
        let requests = prescription::requests(record, ctx, id).await?;
        plan_finish(&FinishSnapshot {
            encounter: &encounter,
            appointment: booked.as_ref().filter(|a| appointment::read(a).is_some()),
            note: note.as_ref(),
            conditions: &conditions,
            requests: &requests,
            clinician,
            clinician_name: name,
            now: ctx.now,
        })
        .map_err(rule::refuse)
    })
    .await?;
    get(record, ctx, clinic, id).await
}
