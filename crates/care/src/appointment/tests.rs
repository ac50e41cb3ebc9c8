use super::plan::*;
use super::{Status, read};
use crate::clinic::Clinic;
use crate::schedule::{Day, Hours, Kind, KindSchedule, Minute};
use crate::slot::{self, Span};
use crate::view::Money;
use fhir::Resource;
use jiff::civil::date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use record::{Change, ChangeSet, Effect, Rule};
use serde_json::json;
use std::collections::HashMap;
use uuid::Uuid;

fn clinic() -> Clinic {
    Clinic {
        name: "Clinic".into(),
        phone: String::new(),
        currency: "KES".into(),
        zone: TimeZone::get("Africa/Nairobi").unwrap(),
        public_url: "https://c.example".into(),
    }
}

fn rules() -> KindSchedule {
    let at = |text| Minute::parse(text).unwrap();
    let weekly =
        Day::ALL.into_iter().map(|day| Hours { day, start: at("08:00"), end: at("10:00") }).collect();
    KindSchedule { slot_minutes: 20, lead_minutes: 30, weekly, exceptions: Vec::new() }
}

fn person(kind: &str, id: &str) -> Resource {
    Resource::from_value(json!({"resourceType": kind, "id": id, "name": [{"family": id}],
        "telecom": [{"system": "phone", "value": "+254700000000"}]}))
    .unwrap()
}

fn now() -> Timestamp {
    "2026-11-23T03:00:00Z".parse().unwrap()
}

fn slots() -> Vec<Span> {
    slot::offered(&rules(), &clinic().zone, date(2026, 11, 23))
}

fn booking(start: Timestamp) -> Booking {
    Booking {
        id: "a".into(),
        kind: Kind::Video,
        start,
        reason: "Cough".into(),
        language: None,
        by_staff: false,
        message_id: Uuid::nil(),
    }
}

struct World {
    patient: Resource,
    practitioner: Resource,
    rules: Option<KindSchedule>,
    clinic: Clinic,
}

impl World {
    fn new() -> World {
        World {
            patient: person("Patient", "p"),
            practitioner: person("Practitioner", "d"),
            rules: Some(rules()),
            clinic: clinic(),
        }
    }
    fn snapshot<'a>(
        &'a self,
        provider: &'a [Span],
        patient: &'a [Span],
        fee: Option<&'a Money>,
    ) -> BookSnapshot<'a> {
        BookSnapshot {
            patient: &self.patient,
            practitioner: &self.practitioner,
            rules: self.rules.as_ref(),
            provider_taken: provider,
            patient_taken: patient,
            fee,
            clinic: &self.clinic,
            now: now(),
        }
    }
}

/// The resource a plan writes, as if it were stored.
fn stored(set: &ChangeSet) -> Resource {
    let (Change::Create { resource } | Change::Update { resource, .. }) = &set.changes[0] else {
        unreachable!()
    };
    let before = if let Change::Update { if_match, .. } = &set.changes[0] { if_match.unwrap() } else { 0 };
    let mut resource = resource.clone();
    resource.set_version(before + 1, now());
    resource
}

fn in_status(status: Status) -> Resource {
    let world = World::new();
    let mut resource =
        stored(&plan_book(&booking(slots()[2].start), &world.snapshot(&[], &[], None)).unwrap());
    resource.set("status", json!(status.fhir()));
    resource
}

#[test]
fn every_rule_of_booking() {
    type Change = fn(&mut World, &mut Booking);
    let all = slots();
    let cases: Vec<(&str, Change, Vec<Span>, Vec<Span>)> = vec![
        ("", |_, _| {}, vec![], vec![]),
        ("slot-taken", |_, _| {}, vec![all[2]], vec![]),
        ("patient-busy", |_, _| {}, vec![], vec![all[2]]),
        ("slot-taken", |_, _| {}, vec![all[2]], vec![all[2]]),
        ("", |_, _| {}, vec![all[1], all[3]], vec![all[1]]),
        ("slot-not-offered", |world, _| world.rules = None, vec![], vec![]),
        ("slot-not-offered", |_, b| b.start += SignedDuration::from_mins(5), vec![], vec![]),
        ("slot-past", |_, b| b.start = now(), vec![], vec![]),
        ("required", |_, b| b.reason = " \n".into(), vec![], vec![]),
        ("too-long", |_, b| b.reason = "x".repeat(501), vec![], vec![]),
        ("text-invalid", |_, b| b.reason = "a\u{0}b".into(), vec![], vec![]),
        ("patient-inactive", |w, _| w.patient.set("active", json!(false)), vec![], vec![]),
        ("patient-inactive", |w, _| w.patient.set("deceasedDateTime", json!("2020")), vec![], vec![]),
        ("provider-inactive", |w, _| w.practitioner.set("active", json!(false)), vec![], vec![]),
    ];
    for (index, (code, change, provider, patient)) in cases.into_iter().enumerate() {
        let (mut world, mut booking) = (World::new(), booking(all[2].start));
        change(&mut world, &mut booking);
        let result = plan_book(&booking, &world.snapshot(&provider, &patient, None));
        let found = result.as_ref().err().map_or("", |rule| rule.code);
        assert_eq!(found, code, "case {index}");
    }
}

#[test]
fn lead_time_binds_patients_and_not_the_desk() {
    let mut world = World::new();
    world.rules = Some(KindSchedule { lead_minutes: 24 * 60, ..rules() });
    let mut wish = booking(slots()[2].start);
    assert_eq!(plan_book(&wish, &world.snapshot(&[], &[], None)).unwrap_err().code, "slot-too-soon");
    wish.by_staff = true;
    assert!(plan_book(&wish, &world.snapshot(&[], &[], None)).is_ok());
    for (minutes_into, expected) in [(0, ""), (19, ""), (20, "slot-past")] {
        let mut later = world.snapshot(&[], &[], None);
        later.now = slots()[2].start + SignedDuration::from_mins(minutes_into);
        let code = plan_book(&wish, &later).err().map_or("", |rule| rule.code);
        assert_eq!(code, expected, "walk-in {minutes_into} minutes into the slot");
    }
}

#[test]
fn a_booking_is_whole() {
    let world = World::new();
    let fee = Money::new(150_000, "KES");
    let set = plan_book(&booking(slots()[2].start), &world.snapshot(&[], &[], Some(&fee))).unwrap();
    let facts = read(&stored(&set)).unwrap();
    assert_eq!((facts.status, facts.kind, facts.fee), (Status::Booked, Kind::Video, Some(fee)));
    assert_eq!(facts.span, slots()[2]);
    let count = |wanted: fn(&Effect) -> bool| set.effects.iter().filter(|e| wanted(e)).count();
    assert_eq!(count(|e| matches!(e, Effect::Claim { .. })), 2, "doctor and patient");
    assert_eq!(count(|e| matches!(e, Effect::Message(_))), 1);
    assert_eq!(count(|e| matches!(e, Effect::Job(_))), 1, "an hour before");
    assert_eq!(set.events[0].topic, "appointment.booked");
    assert!(!set.events[0].data.to_string().contains("Cough"), "events carry ids only");
    // Nobody to write to: no message, still a booking.
    let mut silent = World::new();
    silent.patient.set("telecom", json!([]));
    let set = plan_book(&booking(slots()[2].start), &silent.snapshot(&[], &[], None)).unwrap();
    assert!(!set.effects.iter().any(|e| matches!(e, Effect::Message(_))));
}

#[test]
fn reminders_go_by_distance() {
    let world = World::new();
    for (ahead_days, expected) in [(0, 1), (1, 2), (7, 2)] {
        let day = date(2026, 11, 23).checked_add(jiff::Span::new().days(ahead_days)).unwrap();
        let start = slot::offered(&rules(), &world.clinic.zone, day)[0].start;
        let set = plan_book(&booking(start), &world.snapshot(&[], &[], None)).unwrap();
        let jobs: Vec<_> = set
            .effects
            .iter()
            .filter_map(|e| if let Effect::Job(job) = e { Some(job) } else { None })
            .collect();
        assert_eq!(jobs.len(), expected, "{ahead_days} days ahead");
        assert!(
            jobs.iter()
                .all(|job| job.run_at > now() && job.run_at < start && job.key == "reminder/Appointment/a")
        );
    }
}

#[test]
fn which_step_is_allowed_from_where() {
    let clinic = clinic();
    let world = World::new();
    let before = now();
    let after = slots()[2].end + SignedDuration::from_mins(1);
    let closed = "appointment-closed";
    // (status, cancel, arrive, no-show before start, no-show after, reschedule); "" = done, "=" = nothing changes
    let table = [
        (Status::Booked, ["", "", "noshow-too-early", "", ""]),
        (Status::Arrived, ["", "=", "noshow-too-early", "", closed]),
        (Status::InProgress, [closed, "=", closed, closed, closed]),
        (Status::Fulfilled, [closed, closed, closed, closed, closed]),
        (Status::Cancelled, ["=", closed, closed, closed, closed]),
        (Status::Noshow, [closed, closed, "=", "=", closed]),
    ];
    for (status, expected) in table {
        let resource = in_status(status);
        let moved = MoveSnapshot { appointment: &resource, book: world.snapshot(&[], &[], None) };
        let results = [
            plan_cancel(&resource, Some(&world.patient), Some("why"), false, Uuid::nil(), &clinic, before),
            plan_arrive(&resource, &clinic),
            plan_no_show(&resource, &clinic, before),
            plan_no_show(&resource, &clinic, after),
            plan_reschedule(slots()[4].start, Kind::Video, false, Uuid::nil(), &moved),
        ];
        let found = results.map(|result: Result<ChangeSet, Rule>| match result {
            Err(rule) => rule.code,
            Ok(set) if set == ChangeSet::default() => "=",
            Ok(_) => "",
        });
        assert_eq!(found, expected, "{status:?}");
    }
    let foreign =
        Resource::from_value(json!({"resourceType": "Appointment", "id": "x", "status": "booked"})).unwrap();
    assert_eq!(plan_arrive(&foreign, &clinic).unwrap_err().code, "appointment-unknown");
}

#[test]
fn moving_releases_before_it_claims() {
    let world = World::new();
    let resource = in_status(Status::Booked);
    let fee = Money::new(99_00, "KES");
    let moved = MoveSnapshot { appointment: &resource, book: world.snapshot(&[], &[], Some(&fee)) };
    let set = plan_reschedule(slots()[3].start, Kind::InPerson, false, Uuid::nil(), &moved).unwrap();
    let order: Vec<&str> = set
        .effects
        .iter()
        .map(|e| match e {
            Effect::Release { .. } => "release",
            Effect::CancelJobs { .. } => "forget",
            Effect::Claim { .. } => "claim",
            Effect::Message(_) => "message",
            Effect::Job(_) => "remind",
            _ => "other",
        })
        .collect();
    assert_eq!(order, ["release", "forget", "claim", "claim", "message", "remind"]);
    let facts = read(&stored(&set)).unwrap();
    assert_eq!(
        (facts.kind, facts.fee),
        (Kind::InPerson, Some(fee.clone())),
        "another kind has its own price"
    );
    let same = plan_reschedule(slots()[2].start, Kind::Video, false, Uuid::nil(), &moved).unwrap();
    assert_eq!(same, ChangeSet::default(), "the same time again is nothing");
}

/// What the store does with claims and versions, in a few lines: a commit happens whole or not at all.
#[derive(Default, Clone)]
struct Store {
    claims: HashMap<(String, Timestamp), String>,
    rows: HashMap<String, Resource>,
}

impl Store {
    fn commit(&mut self, set: &ChangeSet) -> bool {
        let mut next = self.clone();
        for change in &set.changes {
            let (resource, if_match) = match change {
                Change::Create { resource } => (resource, None),
                Change::Update { resource, if_match } => (resource, *if_match),
                Change::Delete { .. } => continue,
                other => unreachable!("{other:?} is never planned"),
            };
            let id = resource.id().unwrap().to_owned();
            let current = next.rows.get(&id).map(crate::element::version);
            if current != if_match {
                return false;
            }
            let mut resource = resource.clone();
            resource.set_version(current.unwrap_or(0) + 1, now());
            next.rows.insert(id, resource);
        }
        for effect in &set.effects {
            match effect {
                Effect::Release { by } => next.claims.retain(|_, holder| *holder != by.id),
                Effect::Claim { actor, start, end, by } => {
                    let mut at = *start;
                    while at < *end {
                        let taken =
                            next.claims.entry((actor.to_string(), at)).or_insert_with(|| by.id.clone());
                        if *taken != by.id {
                            return false;
                        }
                        at += SignedDuration::from_mins(5);
                    }
                }
                _ => {}
            }
        }
        *self = next;
        true
    }

    fn taken(&self, actor: &str, except: Option<&str>) -> Vec<Span> {
        let mut spans: Vec<Span> = self
            .claims
            .iter()
            .filter(|((who, _), by)| who == actor && Some(by.as_str()) != except)
            .map(|((_, start), _)| Span { start: *start, end: *start + SignedDuration::from_mins(5) })
            .collect();
        spans.sort();
        spans
    }
}

#[derive(Debug, Clone)]
enum Step {
    Book { patient: usize, doctor: usize, slot: usize },
    Move { which: usize, slot: usize },
    Cancel { which: usize },
}

fn steps() -> impl Strategy<Value = Vec<(Step, usize)>> {
    let step = prop_oneof![
        3 => (0..3_usize, 0..2_usize, 0..6_usize).prop_map(|(patient, doctor, slot)| Step::Book { patient, doctor, slot }),
        2 => (0..8_usize, 0..6_usize).prop_map(|(which, slot)| Step::Move { which, slot }),
        1 => (0..8_usize).prop_map(|which| Step::Cancel { which }),
    ];
    // With each step: how many commits old the snapshot is on which it was planned.
    proptest::collection::vec((step, 0..4_usize), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn no_interleaving_books_anybody_twice(steps in steps()) {
        let clinic = clinic();
        let slots = slots();
        let rules = rules();
        let mut history = vec![Store::default()];
        for (number, (step, age)) in steps.into_iter().enumerate() {
            let seen = &history[history.len().saturating_sub(1 + age)];
            let plan = plan_step(&step, number, seen, &rules, &slots, &clinic);
            let mut store = history.last().unwrap().clone();
            if let Some(set) = plan && store.commit(&set) {
                history.push(store);
            }
            let store = history.last().unwrap();
            let open: Vec<_> = store.rows.values().filter_map(read).filter(|f| f.status == Status::Booked).collect();
            for (index, one) in open.iter().enumerate() {
                for other in &open[index + 1..] {
                    let meet = one.span.overlaps(&other.span);
                    prop_assert!(!(meet && one.provider == other.provider), "doctor twice");
                    prop_assert!(!(meet && one.patient == other.patient), "patient twice");
                }
            }
            let quanta = open.len() * 2 * 4;
            prop_assert_eq!(store.claims.len(), quanta, "claims are exactly those of open visits");
        }
    }
}

fn plan_step(
    step: &Step,
    number: usize,
    seen: &Store,
    rules: &KindSchedule,
    slots: &[Span],
    clinic: &Clinic,
) -> Option<ChangeSet> {
    let mut ids: Vec<&String> = seen.rows.keys().collect();
    ids.sort();
    let snapshot = |patient: &str, doctor: &str, except: Option<&str>| {
        (
            person("Patient", patient),
            person("Practitioner", doctor),
            seen.taken(&format!("Practitioner/{doctor}"), except),
            seen.taken(&format!("Patient/{patient}"), except),
        )
    };
    match step {
        Step::Book { patient, doctor, slot } => {
            let (p, d, busy, own) = snapshot(&format!("p{patient}"), &format!("d{doctor}"), None);
            let mut wish = booking(slots[*slot].start);
            wish.id = format!("a{number:03}");
            let book = BookSnapshot {
                patient: &p,
                practitioner: &d,
                rules: Some(rules),
                provider_taken: &busy,
                patient_taken: &own,
                fee: None,
                clinic,
                now: now(),
            };
            plan_book(&wish, &book).ok()
        }
        Step::Move { which, slot } => {
            let appointment = &seen.rows[*ids.get(*which)?];
            let facts = read(appointment)?;
            let (p, d, busy, own) = snapshot(&facts.patient.id, &facts.provider.id, Some(&facts.key.id));
            let book = BookSnapshot {
                patient: &p,
                practitioner: &d,
                rules: Some(rules),
                provider_taken: &busy,
                patient_taken: &own,
                fee: None,
                clinic,
                now: now(),
            };
            let snapshot = MoveSnapshot { appointment, book };
            plan_reschedule(slots[*slot].start, facts.kind, false, Uuid::nil(), &snapshot).ok()
        }
        Step::Cancel { which } => {
            plan_cancel(&seen.rows[*ids.get(*which)?], None, None, false, Uuid::nil(), clinic, now()).ok()
        }
    }
}
