//! Who may take part in a visit: asked at the join, and again as long as she is in the call.

use super::command::{is_own, require_clinician};
use super::{State, plan, read};
use crate::appointment;
use crate::element::key;
use crate::rule;
use access::Ctx;
use fhir::{Resource, ResourceKey};
use record::{Error, Record};

/// In what capacity somebody comes to a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The patient, or who acts for her.
    Patient,
    Clinician,
}

impl Part {
    /// Who is a clinician and the patient of this visit, or acts for her, comes as the patient.
    pub fn of(ctx: &Ctx, patient: &str) -> Part {
        if is_own(ctx, patient) { Part::Patient } else { Part::Clinician }
    }
}

/// What became of somebody's right to be in a visit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// She may be there as this, in the visit of this patient.
    In { part: Part, patient: ResourceKey },
    /// Nobody may: the visit is finished or cancelled, or its appointment is.
    Over,
    /// She may not; others may.
    Out,
}

/// The question itself, of a visit whose appointment and Encounter the caller may read: in whose visit she takes part, and
/// as what.
///
/// Errors: `NotFound` for an appointment that is none of ours; `Denied` for staff who treat nobody; `visit-closed`;
/// `appointment-closed`.
pub(super) fn decide(
    ctx: &Ctx,
    booked: &Resource,
    visit: Option<&Resource>,
) -> Result<(ResourceKey, Part), Error> {
    let facts = appointment::read(booked).ok_or(Error::NotFound)?;
    let part = Part::of(ctx, &facts.patient.id);
    if part == Part::Clinician {
        require_clinician(ctx)?;
    }
    check_open(&facts, visit)?;
    Ok((facts.patient, part))
}

/// Errors: `visit-closed`; `appointment-closed`.
fn check_open(booked: &appointment::Facts, visit: Option<&Resource>) -> Result<(), Error> {
    match visit.and_then(read).map(|visit| visit.state) {
        Some(state @ (State::Finished | State::Cancelled)) => Err(rule::refuse(plan::closed(state))),
        _ if booked.status.is_closed() => Err(rule::refuse(plan::appointment_closed())),
        _ => Ok(()),
    }
}

/// Whether the caller may be in this visit now: what [super::join] would say of her. It shows and changes nothing, so it
/// leaves nothing in the audit trail and may be asked every few seconds; `ctx` must be as she is now
/// ([Record::caller_now]). Errors: `Busy`, `Internal`.
pub async fn standing(record: &Record, ctx: &Ctx, id: &str) -> Result<Standing, Error> {
    // The program reads what decides; what the caller may see of it is asked for her.
    let program = Ctx::system("consultation", record.now());
    let (booked, visit) = (key("Appointment", id), key("Encounter", id));
    let Some((appointment, _)) = record.load(&program, &booked).await? else { return Ok(Standing::Out) };
    let encounter = record.load(&program, &visit).await?.map(|(encounter, _)| encounter);
    let Some(facts) = appointment::read(&appointment) else { return Ok(Standing::Out) };
    // Before the question who may read it: care that an appointment gave may end with it, and nobody is put out then.
    if check_open(&facts, encounter.as_ref()).is_err() {
        return Ok(Standing::Over);
    }
    let hidden = !record.may_read(ctx, &booked).await?
        || (encounter.is_some() && !record.may_read(ctx, &visit).await?);
    if hidden {
        return Ok(Standing::Out);
    }
    match decide(ctx, &appointment, encounter.as_ref()) {
        Ok((patient, part)) => Ok(Standing::In { part, patient }),
        Err(Error::Denied | Error::NotFound) => Ok(Standing::Out),
        Err(error) => Err(error),
    }
}
