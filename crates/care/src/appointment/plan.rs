//! The rules of booking. Pure: everything a rule looks at is in its arguments.

use super::resource::{Facts, place, read};
use super::{NEXT_FREE, REASON_CHARS_MAX, Status};
use crate::clinic::Clinic;
use crate::element::{self, kind as type_of, set_extension};
use crate::rule::needed;
use crate::schedule::{Kind, KindSchedule};
use crate::slot::{self, Span};
use crate::texts::{self, Language, Notice, VisitFacts};
use crate::view::{Money, PersonName};
use crate::vocabulary::LANGUAGE;
use fhir::{Resource, ResourceKey};
use jiff::{SignedDuration, Timestamp};
use record::{Change, ChangeSet, Effect, Event, Rule};
use serde_json::{Value, json};

/// A visit to book.
#[derive(Debug, Clone)]
pub struct Booking {
    /// Id of the new Appointment.
    pub id: String,
    pub kind: Kind,
    pub start: Timestamp,
    pub reason: String,
    /// BCP-47; the patient's own if not given.
    pub language: Option<String>,
    /// Staff may book inside the lead time, and the slot that is running.
    pub by_staff: bool,
    /// Id of the confirmation message.
    pub message_id: uuid::Uuid,
}

/// What the rules of booking look at.
#[derive(Debug, Clone, Copy)]
pub struct BookSnapshot<'a> {
    pub patient: &'a Resource,
    pub practitioner: &'a Resource,
    /// `None`: this kind is not offered.
    pub rules: Option<&'a KindSchedule>,
    pub provider_taken: &'a [Span],
    pub patient_taken: &'a [Span],
    pub fee: Option<&'a Money>,
    pub clinic: &'a Clinic,
    pub now: Timestamp,
}

/// A booked visit to move.
#[derive(Debug, Clone)]
pub struct MoveSnapshot<'a> {
    pub appointment: &'a Resource,
    pub book: BookSnapshot<'a>,
}

fn unknown() -> Rule {
    Rule::new("appointment-unknown", "This is no appointment of this clinic.")
}

fn closed(status: Status) -> Rule {
    Rule::new("appointment-closed", "This appointment is over or cancelled.")
        .with(json!({"status": status.code()}))
}

/// The free slot that was asked for. Errors: of [slot::at]; `slot-taken`, `patient-busy`, both with
/// `details.next_free`.
fn wanted(start: Timestamp, by_staff: bool, snapshot: &BookSnapshot<'_>) -> Result<Span, Rule> {
    let Some(rules) = snapshot.rules else {
        return Err(Rule::new("slot-not-offered", "This kind of visit is not offered here.").at("/kind"));
    };
    let mut rules = rules.clone();
    let mut now = snapshot.now;
    if by_staff {
        rules.lead_minutes = 0;
        // Somebody who walks in is booked into the slot that is running.
        let running = SignedDuration::from_mins(i64::from(rules.slot_minutes));
        now = now.checked_sub(running).unwrap_or(now);
    }
    let zone = &snapshot.clinic.zone;
    let span = slot::at(&rules, zone, start, now)?;
    let clash = |taken: &[Span]| taken.iter().any(|t| t.overlaps(&span));
    let (provider_busy, patient_busy) = (clash(snapshot.provider_taken), clash(snapshot.patient_taken));
    if !provider_busy && !patient_busy {
        return Ok(span);
    }
    let taken: Vec<Span> = snapshot.provider_taken.iter().chain(snapshot.patient_taken).copied().collect();
    // From the start of the wanted day on: nearby times first, also earlier ones of that day.
    let day = start.to_zoned(zone.clone()).start_of_day().map_or(start, |midnight| midnight.timestamp());
    let mut free = slot::next_free(&rules, zone, day, now, &taken, 200);
    free.sort_by_key(|s| (s.start.duration_since(start).abs(), s.start));
    free.truncate(NEXT_FREE);
    free.sort();
    let next_free: Vec<Value> = free
        .into_iter()
        .map(|s| json!({"start": element::written(s.start), "end": element::written(s.end)}))
        .collect();
    let rule = if provider_busy {
        Rule::new("slot-taken", "Somebody else has just taken this time; choose another one.")
    } else {
        Rule::new("patient-busy", "There is another visit at this time.")
    };
    Err(rule.at("/start").with(json!({ "next_free": next_free })))
}

/// Books a free slot: Appointment, claims of both people, confirmation, reminders.
///
/// Errors: `required`, `too-long` at `/reason`; `patient-inactive`; `provider-inactive`; those of the slot.
pub fn plan_book(booking: &Booking, snapshot: &BookSnapshot<'_>) -> Result<ChangeSet, Rule> {
    let reason = needed(&booking.reason, "/reason", REASON_CHARS_MAX)?;
    let patient = snapshot.patient;
    let dead =
        patient.get("deceasedBoolean") == Some(&json!(true)) || patient.get("deceasedDateTime").is_some();
    if patient.get("active") == Some(&json!(false)) || dead {
        return Err(Rule::new("patient-inactive", "This record is closed; no visit can be booked."));
    }
    if snapshot.practitioner.get("active") == Some(&json!(false)) {
        return Err(
            Rule::new("provider-inactive", "This person no longer sees patients here.").at("/provider_id")
        );
    }
    let span = wanted(booking.start, booking.by_staff, snapshot)?;
    let (Some(patient_key), Some(provider_key)) = (patient.key(), snapshot.practitioner.key()) else {
        return Err(unknown());
    };
    let actor = |key: &ResourceKey, name: &str| json!({"actor": element::reference(key, name), "required": "required", "status": "accepted"});
    let patient_name = PersonName::read(patient.value()).whole();
    let provider_name = PersonName::read(snapshot.practitioner.value()).whole();
    let mut appointment = Resource::new(type_of("Appointment"));
    appointment.set_id(&booking.id);
    appointment.set("status", json!(Status::Booked.fhir()));
    place(&mut appointment, booking.kind, span, snapshot.fee);
    appointment.set("reasonCode", json!([{ "text": reason }]));
    appointment.set("created", json!(element::written(snapshot.now)));
    appointment.set(
        "participant",
        json!([actor(&patient_key, &patient_name), actor(&provider_key, &provider_name)]),
    );
    let language =
        booking.language.as_deref().or_else(|| record::authn::language_of(patient.value())).unwrap_or("en");
    let language = Language::of(language);
    let extension = json!({"url": LANGUAGE, "valueCode": language.code()});
    set_extension(appointment.value_mut(), LANGUAGE, Some(extension));
    let facts = read(&appointment).ok_or_else(unknown)?;
    let mut set =
        ChangeSet { changes: vec![Change::Create { resource: appointment }], ..ChangeSet::default() };
    claims(&mut set, &facts);
    message(&mut set, &facts, Notice::Booked, patient, snapshot.clinic, booking.message_id, snapshot.now);
    reminders(&mut set, &facts, snapshot.now);
    event(&mut set, "appointment.booked", &facts, snapshot.clinic);
    Ok(set)
}

/// Moves a booked visit to another free slot of the same practitioner.
///
/// Errors: `appointment-closed`, also for an arrived one or one that is over; those of the slot.
/// `snapshot.book.*_taken` must not hold the appointment's own span.
pub fn plan_reschedule(
    start: Timestamp,
    kind: Kind,
    by_staff: bool,
    message_id: uuid::Uuid,
    snapshot: &MoveSnapshot<'_>,
) -> Result<ChangeSet, Rule> {
    let before = read(snapshot.appointment).ok_or_else(unknown)?;
    if before.status != Status::Booked || (!by_staff && before.span.end <= snapshot.book.now) {
        return Err(closed(before.status));
    }
    let span = wanted(start, by_staff, &snapshot.book)?;
    if span == before.span && kind == before.kind {
        return Ok(ChangeSet::default());
    }
    let mut appointment = snapshot.appointment.clone();
    let fee = if kind == before.kind { before.fee.as_ref().or(snapshot.book.fee) } else { snapshot.book.fee };
    place(&mut appointment, kind, span, fee);
    let facts = read(&appointment).ok_or_else(unknown)?;
    let mut set = update(appointment, &before);
    release(&mut set, &before);
    claims(&mut set, &facts);
    let book = &snapshot.book;
    message(&mut set, &facts, Notice::Rescheduled, book.patient, book.clinic, message_id, book.now);
    reminders(&mut set, &facts, book.now);
    event(&mut set, "appointment.rescheduled", &facts, book.clinic);
    Ok(set)
}

/// Cancels a visit that has not begun. Cancelling twice changes nothing.
///
/// Errors: `appointment-closed`, `too-long` at `/reason`.
pub fn plan_cancel(
    appointment: &Resource,
    patient: Option<&Resource>,
    reason: Option<&str>,
    by_staff: bool,
    message_id: uuid::Uuid,
    clinic: &Clinic,
    now: Timestamp,
) -> Result<ChangeSet, Rule> {
    let before = read(appointment).ok_or_else(unknown)?;
    match before.status {
        Status::Cancelled => return Ok(ChangeSet::default()),
        Status::Booked | Status::Arrived => {}
        other => return Err(closed(other)),
    }
    let mut next = appointment.clone();
    next.set("status", json!(Status::Cancelled.fhir()));
    let reason = crate::rule::fits(reason.unwrap_or_default().trim(), "/reason", REASON_CHARS_MAX)?;
    if !reason.is_empty() {
        next.set("cancelationReason", json!({ "text": reason }));
    }
    let mut set = update(next, &before);
    release(&mut set, &before);
    // Nobody needs to hear that a visit of the past is cancelled.
    if let Some(patient) = patient.filter(|_| before.span.end > now) {
        let notice = if by_staff { Notice::CancelledByClinic } else { Notice::Cancelled };
        message(&mut set, &before, notice, patient, clinic, message_id, now);
    }
    event(&mut set, "appointment.cancelled", &before, clinic);
    Ok(set)
}

/// The patient is here (or in the waiting room). Arriving twice changes nothing.
///
/// Errors: `appointment-closed`.
pub fn plan_arrive(appointment: &Resource, clinic: &Clinic) -> Result<ChangeSet, Rule> {
    let before = read(appointment).ok_or_else(unknown)?;
    match before.status {
        Status::Arrived | Status::InProgress => return Ok(ChangeSet::default()),
        Status::Booked => {}
        other => return Err(closed(other)),
    }
    let mut next = appointment.clone();
    next.set("status", json!(Status::Arrived.fhir()));
    let mut set = update(next, &before);
    event(&mut set, "appointment.arrived", &before, clinic);
    Ok(set)
}

/// The patient did not come. Only after the start.
///
/// Errors: `noshow-too-early`, `appointment-closed`.
pub fn plan_no_show(appointment: &Resource, clinic: &Clinic, now: Timestamp) -> Result<ChangeSet, Rule> {
    let before = read(appointment).ok_or_else(unknown)?;
    match before.status {
        Status::Noshow => return Ok(ChangeSet::default()),
        Status::Booked | Status::Arrived => {}
        other => return Err(closed(other)),
    }
    if now < before.span.start {
        return Err(Rule::new("noshow-too-early", "The visit has not begun; wait until its start."));
    }
    let mut next = appointment.clone();
    next.set("status", json!(Status::Noshow.fhir()));
    let mut set = update(next, &before);
    release(&mut set, &before);
    event(&mut set, "appointment.noshow", &before, clinic);
    Ok(set)
}

fn update(resource: Resource, before: &Facts) -> ChangeSet {
    ChangeSet {
        changes: vec![Change::Update { resource, if_match: Some(before.version) }],
        ..ChangeSet::default()
    }
}

fn claims(set: &mut ChangeSet, facts: &Facts) {
    for actor in [&facts.provider, &facts.patient] {
        set.effects.push(Effect::Claim {
            actor: actor.clone(),
            start: facts.span.start,
            end: facts.span.end,
            by: facts.key.clone(),
        });
    }
}

/// Frees the times and forgets the reminders.
fn release(set: &mut ChangeSet, facts: &Facts) {
    set.effects.push(Effect::Release { by: facts.key.clone() });
    set.effects.push(Effect::CancelJobs { key: reminder_key(&facts.key) });
}

/// All reminders of one appointment share this key.
pub(super) fn reminder_key(appointment: &ResourceKey) -> String {
    format!("reminder/{appointment}")
}

/// How long before the start a reminder goes out, and how much earlier a booking must be for it to make sense.
const DAY_BEFORE: (i64, i64) = (24 * 60, 26 * 60);
const HOUR_BEFORE: (i64, i64) = (60, 90);

fn reminders(set: &mut ChangeSet, facts: &Facts, now: Timestamp) {
    let minutes_left = facts.span.start.duration_since(now).as_mins();
    for (before, (minutes, sense)) in [("day", DAY_BEFORE), ("hour", HOUR_BEFORE)] {
        let Ok(run_at) = facts.span.start.checked_sub(SignedDuration::from_mins(minutes)) else { continue };
        if minutes_left < sense {
            continue;
        }
        let data = json!({
            "appointment": facts.key.id, "start": element::written(facts.span.start), "before": before,
        });
        let queue = super::REMINDER_QUEUE;
        set.effects.push(Effect::Job(store::job::NewJob::new(queue, reminder_key(&facts.key), data, run_at)));
    }
}

/// Adds an SMS to the patient, if she has a phone.
pub(crate) fn message(
    set: &mut ChangeSet,
    facts: &Facts,
    notice: Notice,
    patient: &Resource,
    clinic: &Clinic,
    id: uuid::Uuid,
    now: Timestamp,
) {
    let Some(phone) = element::phone(patient.value()) else { return };
    let language =
        facts.language.as_deref().or_else(|| record::authn::language_of(patient.value())).unwrap_or("en");
    let language = Language::of(language);
    let words = VisitFacts {
        clinic: &clinic.name,
        clinic_phone: &clinic.phone,
        provider: &facts.provider_name,
        video: facts.kind == Kind::Video,
        start: facts.span.start,
        zone: &clinic.zone,
        address: &clinic.public_url,
    };
    let body = texts::visit(language, notice, &words);
    let mut sms = store::message::NewMessage::sms(phone, language.code(), notice.template(), body, now, id);
    sms.patient = Some(facts.patient.clone());
    if matches!(notice, Notice::TomorrowReminder | Notice::SoonReminder) {
        sms.expires = Some(facts.span.start);
    }
    set.effects.push(Effect::Message(sms));
}

fn event(set: &mut ChangeSet, topic: &'static str, facts: &Facts, clinic: &Clinic) {
    let date = facts.span.start.to_zoned(clinic.zone.clone()).date().to_string();
    let data = json!({"id": facts.key.id, "provider_id": facts.provider.id, "date": date});
    set.events.push(Event { topic, subject: facts.key.clone(), data });
}
