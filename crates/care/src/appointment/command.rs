//! Booking, moving, cancelling: load, plan, commit; planned again when somebody else was faster.

use super::plan::{
    BookSnapshot, Booking, MoveSnapshot, plan_arrive, plan_book, plan_cancel, plan_no_show, plan_reschedule,
};
use super::resource::read;
use super::{Appointment, NewAppointment, Status, list};
use crate::clinic::Clinic;
use crate::element::key;
use crate::schedule::{self, Kind};
use crate::slot::Span;
use crate::{ATTEMPTS_MAX, consultation, load, new_id, provider, rule};
use access::{Class, Ctx, Role};
use fhir::{Resource, ResourceKey};
use jiff::{SignedDuration, Timestamp};
use record::{ChangeSet, Error, Record, Rule};

/// Days around a wanted time whose claims are read: enough to offer the next free ones.
const CLAIM_DAYS: i64 = 62;

/// Whether the caller acts for the clinic rather than for herself.
pub(crate) fn is_staff(ctx: &Ctx) -> bool {
    match &ctx.principal {
        access::Principal::User(user) => user.roles.iter().any(|role| role.is_staff()),
        access::Principal::Client { .. } | access::Principal::System(_) => true,
        access::Principal::Anonymous => false,
    }
}

/// Whose record this is about: patients their own, or whom they act for; staff must name one.
fn patient_of(ctx: &Ctx, asked: Option<&str>) -> Result<ResourceKey, Error> {
    let own = ctx.user().and_then(|user| user.patient.clone());
    match (asked, own) {
        (None, Some(own)) => Ok(own),
        (Some(id), Some(own)) if own.id == id => Ok(own),
        (Some(id), _) if is_staff(ctx) => Ok(key("Patient", id)),
        (Some(id), _) if ctx.user().is_some_and(|u| u.acts_for(id, Class::Appointment, ctx.now)) => {
            Ok(key("Patient", id))
        }
        (Some(_), _) => Err(Error::Denied),
        (None, None) => Err(rule::refuse(Rule::new("required", "Say which patient.").at("/patient_id"))),
    }
}

/// The times an actor has given away, without those of `except`.
pub(crate) async fn taken(
    record: &Record,
    actor: &ResourceKey,
    around: Timestamp,
    except: Option<&ResourceKey>,
) -> Result<Vec<Span>, Error> {
    let days = |n: i64| SignedDuration::from_hours(24 * n);
    let from = around.checked_sub(days(2)).unwrap_or(Timestamp::MIN);
    let until = around.checked_add(days(CLAIM_DAYS)).unwrap_or(Timestamp::MAX);
    let actor = actor.clone();
    let spans = record.store_read(move |tx| store::claim::busy(tx, &actor, from, until)).await?;
    Ok(spans
        .into_iter()
        .filter(|span| except != Some(&span.by))
        .map(|span| Span { start: span.start, end: span.end })
        .collect())
}

/// Whether planning again may help: somebody else was faster.
pub(crate) fn lost_race(error: &Error) -> bool {
    match error {
        Error::VersionConflict { .. } => true,
        Error::Duplicate(rule) => rule.code == "slot-taken" && rule.details.get("next_free").is_none(),
        _ => false,
    }
}

/// `POST appointments`. Booking the same slot again for the same patient returns the visit that is there.
///
/// Errors: those of [plan_book]; `Denied` for somebody else's record; `NotFound` for an unknown patient or provider.
pub async fn book(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    new: NewAppointment,
) -> Result<Appointment, Error> {
    if let Some(id) = load::replayed(record, ctx, "appointment.book", "Appointment").await? {
        return get(record, ctx, clinic, &id).await;
    }
    let patient_key = patient_of(ctx, new.patient_id.as_deref())?;
    let provider_key = key("Practitioner", new.provider_id.as_str());
    let patient = load::needed(record, ctx, &patient_key).await?;
    let practitioner = record.load(ctx, &provider_key).await?.map(|(p, _)| p).ok_or_else(|| {
        rule::refuse(Rule::new("provider-unknown", "There is no such provider.").at("/provider_id"))
    })?;
    let offer = schedule::load_kind(record, ctx, &provider_key.id, new.kind).await?;
    let fee = provider::fee(record, ctx, clinic, &provider_key.id, new.kind).await?;
    let booking = Booking {
        id: new_id(),
        kind: new.kind,
        start: new.start,
        reason: new.reason,
        language: new.language,
        by_staff: is_staff(ctx),
        message_id: uuid::Uuid::now_v7(),
    };
    for attempt in 1.. {
        if let Some(same) = same_visit(record, ctx, &patient_key, &provider_key, &booking).await? {
            return list::view_of(record, ctx, clinic, &same).await;
        }
        let snapshot = BookSnapshot {
            patient: &patient,
            practitioner: &practitioner,
            rules: offer.as_ref().map(|(rules, _)| rules),
            provider_taken: &taken(record, &provider_key, booking.start, None).await?,
            patient_taken: &taken(record, &patient_key, booking.start, None).await?,
            fee: fee.as_ref(),
            clinic,
            now: ctx.now,
        };
        let set = plan_book(&booking, &snapshot).map_err(rule::refuse)?;
        match record.command(ctx, "appointment.book", set).await {
            Err(error) if lost_race(&error) && attempt < ATTEMPTS_MAX => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    get(record, ctx, clinic, &booking.id).await
}

/// The visit that this patient already has at this very slot: a request that was sent twice.
async fn same_visit(
    record: &Record,
    ctx: &Ctx,
    patient: &ResourceKey,
    provider: &ResourceKey,
    booking: &Booking,
) -> Result<Option<Resource>, Error> {
    let (patient_text, start) = (patient.to_string(), format!("eq{}", booking.start));
    let parameters = [("patient", patient_text.as_str()), ("date", start.as_str()), ("status", "booked")];
    let rows = load::rows(record, ctx, "Appointment", &parameters, 5).await?;
    Ok(rows.into_iter().find(|row| {
        read(row).is_some_and(|f| {
            f.provider == *provider
                && f.span.start == booking.start
                && f.kind == booking.kind
                && f.reason == booking.reason.trim()
        })
    }))
}

/// `GET appointments/{id}`. Errors: `NotFound`.
pub async fn get(record: &Record, ctx: &Ctx, clinic: &Clinic, id: &str) -> Result<Appointment, Error> {
    let appointment = load::needed(record, ctx, &key("Appointment", id)).await?;
    list::view_of(record, ctx, clinic, &appointment).await
}

/// Loads the appointment, plans, commits; again if it changed meanwhile and the caller did not insist on a version.
pub(crate) async fn change<F, W>(
    record: &Record,
    ctx: &Ctx,
    name: &'static str,
    id: &str,
    if_match: Option<u32>,
    mut plan: F,
) -> Result<(), Error>
where
    F: FnMut(Resource) -> W,
    W: Future<Output = Result<ChangeSet, Error>>,
{
    for attempt in 1.. {
        let appointment = load::needed(record, ctx, &key("Appointment", id)).await?;
        let current = crate::element::version(&appointment);
        if if_match.is_some_and(|given| given != current) {
            return Err(Error::VersionConflict { current: Some(current) });
        }
        let set = plan(appointment).await?;
        if set == ChangeSet::default() {
            return Ok(());
        }
        match record.command(ctx, name, set).await {
            Err(error) if lost_race(&error) && attempt < ATTEMPTS_MAX && if_match.is_none() => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(()),
        }
    }
    Err(Error::Busy)
}

/// `POST appointments/{id}/reschedule`. Errors: those of [plan_reschedule]; `NotFound`; `VersionConflict`.
pub async fn reschedule(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    id: &str,
    start: Timestamp,
    kind: Option<Kind>,
    if_match: Option<u32>,
) -> Result<Appointment, Error> {
    let message_id = uuid::Uuid::now_v7();
    change(record, ctx, "appointment.reschedule", id, if_match, move |appointment: Resource| async move {
        let facts = read(&appointment).ok_or(Error::NotFound)?;
        let kind = kind.unwrap_or(facts.kind);
        let patient = load::needed(record, ctx, &facts.patient).await?;
        let practitioner = load::needed(record, ctx, &facts.provider).await?;
        let offer = schedule::load_kind(record, ctx, &facts.provider.id, kind).await?;
        let fee = provider::fee(record, ctx, clinic, &facts.provider.id, kind).await?;
        let snapshot = MoveSnapshot {
            appointment: &appointment,
            book: BookSnapshot {
                patient: &patient,
                practitioner: &practitioner,
                rules: offer.as_ref().map(|(rules, _)| rules),
                provider_taken: &taken(record, &facts.provider, start, Some(&facts.key)).await?,
                patient_taken: &taken(record, &facts.patient, start, Some(&facts.key)).await?,
                fee: fee.as_ref(),
                clinic,
                now: ctx.now,
            },
        };
        plan_reschedule(start, kind, is_staff(ctx), message_id, &snapshot).map_err(rule::refuse)
    })
    .await?;
    get(record, ctx, clinic, id).await
}

/// `POST appointments/{id}/cancel`; a waiting visit is closed with it. Errors: those of [plan_cancel]; `NotFound`.
pub async fn cancel(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    id: &str,
    reason: Option<&str>,
    if_match: Option<u32>,
) -> Result<Appointment, Error> {
    let message_id = uuid::Uuid::now_v7();
    change(record, ctx, "appointment.cancel", id, if_match, move |appointment: Resource| async move {
        let facts = read(&appointment).ok_or(Error::NotFound)?;
        let patient = record.load(ctx, &facts.patient).await?.map(|(patient, _)| patient);
        let staff = is_staff(ctx);
        let mut set = plan_cancel(&appointment, patient.as_ref(), reason, staff, message_id, clinic, ctx.now)
            .map_err(rule::refuse)?;
        close_visit(record, ctx, id, &mut set).await?;
        Ok(set)
    })
    .await?;
    get(record, ctx, clinic, id).await
}

/// Cancels the open Encounter of this appointment in the same ChangeSet.
async fn close_visit(record: &Record, ctx: &Ctx, id: &str, set: &mut ChangeSet) -> Result<(), Error> {
    if set.changes.is_empty() {
        return Ok(());
    }
    if let Some((encounter, _)) = record.load(ctx, &key("Encounter", id)).await? {
        let closing = consultation::plan_cancel(&encounter, ctx.now);
        set.changes.extend(closing.changes);
        set.events.extend(closing.events);
    }
    Ok(())
}

/// `POST appointments/{id}/check-in`: the patient is here; the visit waits for the doctor.
///
/// Errors: those of [plan_arrive]; `NotFound`.
pub async fn check_in(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    id: &str,
    if_match: Option<u32>,
) -> Result<Appointment, Error> {
    change(record, ctx, "appointment.check-in", id, if_match, move |appointment: Resource| async move {
        let facts = read(&appointment).ok_or(Error::NotFound)?;
        let mut set = plan_arrive(&appointment, clinic).map_err(rule::refuse)?;
        let encounter = record.load(ctx, &key("Encounter", id)).await?.map(|(encounter, _)| encounter);
        if facts.status == Status::Booked || encounter.is_none() {
            let opening =
                consultation::plan_wait(&facts, encounter.as_ref(), None, ctx.now).map_err(rule::refuse)?;
            set.changes.extend(opening.changes);
            set.events.extend(opening.events);
        }
        Ok(set)
    })
    .await?;
    get(record, ctx, clinic, id).await
}

/// `POST appointments/{id}/no-show`, staff only. Errors: those of [plan_no_show]; `Denied`; `NotFound`.
pub async fn no_show(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    id: &str,
    if_match: Option<u32>,
) -> Result<Appointment, Error> {
    if !is_staff(ctx) || ctx.has_role(Role::It) {
        return Err(Error::Denied);
    }
    change(record, ctx, "appointment.no-show", id, if_match, move |appointment: Resource| async move {
        let mut set = plan_no_show(&appointment, clinic, ctx.now).map_err(rule::refuse)?;
        close_visit(record, ctx, id, &mut set).await?;
        Ok(set)
    })
    .await?;
    get(record, ctx, clinic, id).await
}
