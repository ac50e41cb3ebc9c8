//! Opening, joining, admitting, ending: load, plan, commit.

use super::part::{Part, decide};
use super::plan::{Device, plan_admit, plan_end, plan_open, plan_wait};
use super::{Consultation, Quality, State, get, read};
use crate::appointment::{self, lost_race, message};
use crate::clinic::Clinic;
use crate::element::key;
use crate::texts::Notice;
use crate::{ATTEMPTS_MAX, load, rule};
use access::{Class, Ctx, Principal, Role};
use fhir::Resource;
use record::{ChangeSet, Error, Record, Rule};

/// Whether the caller leads visits.
pub(crate) fn is_clinician(ctx: &Ctx) -> bool {
    ctx.has_role(Role::Doctor) || ctx.has_role(Role::Nurse) || matches!(ctx.principal, Principal::System(_))
}

/// Errors: `Denied` for everybody but doctors and nurses.
pub(crate) fn require_clinician(ctx: &Ctx) -> Result<(), Error> {
    if is_clinician(ctx) { Ok(()) } else { Err(Error::Denied) }
}

/// Whether the caller comes to visits as this patient: her own, or those of whom she acts for.
pub(crate) fn is_own(ctx: &Ctx, patient: &str) -> bool {
    ctx.user().is_some_and(|user| user.acts_for(patient, Class::Visit, ctx.now))
}

/// What a summary of a record is made of.
const SUMMARY: [Class; 6] =
    [Class::Visit, Class::Allergy, Class::Prescription, Class::Medicine, Class::Result, Class::Clinical];

/// A summary that lacks what the caller may not see would read as "nothing there". Errors: `Denied` for everybody
/// but clinicians, the patient, and who acts for her in all of it.
pub(crate) fn require_whole_view(ctx: &Ctx, patient: &str) -> Result<(), Error> {
    let acts = |class: &Class| ctx.user().is_some_and(|user| user.acts_for(patient, *class, ctx.now));
    if is_clinician(ctx) || SUMMARY.iter().all(acts) { Ok(()) } else { Err(Error::Denied) }
}

/// Loads, plans and commits, again when somebody else was faster.
pub(super) async fn repeat<F, W>(
    record: &Record,
    ctx: &Ctx,
    name: &'static str,
    mut plan: F,
) -> Result<(), Error>
where
    F: FnMut() -> W,
    W: Future<Output = Result<ChangeSet, Error>>,
{
    for attempt in 1.. {
        let set = plan().await?;
        if set == ChangeSet::default() {
            return Ok(());
        }
        match record.command(ctx, name, set).await {
            Err(error) if attempt < ATTEMPTS_MAX && (lost_race(&error) || exists(&error)) => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
    Err(Error::Busy)
}

/// Two people opened the visit at once: the second finds it.
fn exists(error: &Error) -> bool {
    matches!(error, Error::Duplicate(rule) if rule.details.is_null())
}

async fn encounter(record: &Record, ctx: &Ctx, id: &str) -> Result<Option<Resource>, Error> {
    Ok(record.load(ctx, &key("Encounter", id)).await?.map(|(encounter, _)| encounter))
}

/// `POST consultations`: the visit of this appointment, opened if it is not yet.
///
/// Errors: `NotFound` for an appointment the caller may not see; `appointment-closed` if there never was a visit.
pub async fn open(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    appointment: &str,
) -> Result<Consultation, Error> {
    repeat(record, ctx, "consultation.open", move || async move {
        if encounter(record, ctx, appointment).await?.is_some() {
            return Ok(ChangeSet::default());
        }
        let resource = load::needed(record, ctx, &key("Appointment", appointment)).await?;
        let facts = appointment::read(&resource).ok_or(Error::NotFound)?;
        plan_open(&facts, ctx.now).map_err(rule::refuse)
    })
    .await?;
    get(record, ctx, clinic, appointment).await
}

/// `POST consultations/{id}/join`: the patient enters the waiting room and counts as arrived; for a clinician it only
/// says that she may enter. Returns the visit as it is then.
///
/// [super::standing] asks the same again as long as she is there.
///
/// Errors: `NotFound`; `Denied` for staff who treat nobody; `visit-closed`; `appointment-closed`.
pub async fn join(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    id: &str,
    device: Device,
) -> Result<Consultation, Error> {
    let booked = load::needed(record, ctx, &key("Appointment", id)).await?;
    let patient = appointment::read(&booked).ok_or(Error::NotFound)?.patient;
    if Part::of(ctx, &patient.id) == Part::Clinician {
        require_clinician(ctx)?;
        let visit = encounter(record, ctx, id).await?;
        decide(ctx, &booked, visit.as_ref())?;
        return match visit {
            Some(_) => get(record, ctx, clinic, id).await,
            None => open(record, ctx, clinic, id).await,
        };
    }
    repeat(record, ctx, "consultation.join", move || async move {
        let resource = load::needed(record, ctx, &key("Appointment", id)).await?;
        let facts = appointment::read(&resource).ok_or(Error::NotFound)?;
        let visit = encounter(record, ctx, id).await?;
        decide(ctx, &resource, visit.as_ref())?;
        let mut set = plan_wait(&facts, visit.as_ref(), Some(device), ctx.now).map_err(rule::refuse)?;
        let arrival = appointment::plan_arrive(&resource, clinic).map_err(rule::refuse)?;
        set.changes.extend(arrival.changes);
        set.events.extend(arrival.events);
        Ok(set)
    })
    .await?;
    get(record, ctx, clinic, id).await
}

/// `POST consultations/{id}/admit` and `/start`. A patient who is not in the waiting room of a video visit is told by
/// SMS that she is awaited. Errors: `Denied`; `NotFound`; `visit-closed`.
pub async fn admit(record: &Record, ctx: &Ctx, clinic: &Clinic, id: &str) -> Result<Consultation, Error> {
    require_clinician(ctx)?;
    let message_id = uuid::Uuid::now_v7();
    repeat(record, ctx, "consultation.admit", move || async move {
        let visit = load::needed(record, ctx, &key("Encounter", id)).await?;
        let facts = read(&visit).ok_or(Error::NotFound)?;
        let booked = match &facts.appointment {
            Some(key) => record.load(ctx, key).await?.map(|(appointment, _)| appointment),
            None => None,
        };
        let mut set = plan_admit(&visit, booked.as_ref(), ctx.now).map_err(rule::refuse)?;
        let awaited = facts.state == State::Waiting
            && facts.session.waiting_since.is_none()
            && facts.kind == crate::Kind::Video;
        if let Some(booked) = booked.as_ref().and_then(appointment::read).filter(|_| awaited) {
            let patient = load::needed(record, ctx, &facts.patient).await?;
            message(&mut set, &booked, Notice::DoctorWaits, &patient, clinic, message_id, ctx.now);
        }
        Ok(set)
    })
    .await?;
    get(record, ctx, clinic, id).await
}

/// `POST consultations/{id}/end`: clinicians end the call for both; a patient only reports how it was for her.
///
/// Errors: `NotFound`; `visit-not-started`; `visit-closed`.
pub async fn end(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    id: &str,
    quality: Option<Quality>,
) -> Result<Consultation, Error> {
    if let Some(sample) = &quality {
        check(sample)?;
    }
    if !is_clinician(ctx) {
        return get(record, ctx, clinic, id).await;
    }
    let sample = quality.as_ref();
    repeat(record, ctx, "consultation.end", move || async move {
        let visit = load::needed(record, ctx, &key("Encounter", id)).await?;
        let mut set = plan_end(&visit, ctx.now).map_err(rule::refuse)?;
        if let (Some(sample), Some(record::Change::Update { resource, .. })) =
            (sample, set.changes.first_mut())
        {
            let mut session = super::Session::of(resource);
            session.measured(sample.clone());
            session.put(resource);
        }
        Ok(set)
    })
    .await?;
    get(record, ctx, clinic, id).await
}

/// Errors: `Rule` for figures that cannot be.
pub(super) fn check(sample: &Quality) -> Result<(), Error> {
    if !(0.0..=100.0).contains(&sample.loss_percent) {
        let rule = Rule::new("value-implausible", "Loss is between 0 and 100 percent.").at("/loss_percent");
        return Err(rule::refuse(rule));
    }
    Ok(())
}
