use super::plan::*;
use super::*;
use crate::appointment::{self, Status};
use crate::consultation::finish::{FinishSnapshot, plan_finish};
use jiff::SignedDuration;
use record::{Change, ChangeSet, Rule};
use serde_json::json;

fn now() -> Timestamp {
    "2026-11-23T07:00:00Z".parse().unwrap()
}

fn booked(status: Status) -> Resource {
    let mut resource =
        Resource::from_value(json!({"resourceType": "Appointment", "id": "a", "status": status.fhir(),
        "serviceType": [{"coding": [{"system": crate::vocabulary::VISIT_KIND, "code": "video"}]}],
        "reasonCode": [{"text": "Cough"}], "start": "2026-11-23T07:00:00Z", "end": "2026-11-23T07:20:00Z",
        "participant": [{"actor": {"reference": "Patient/p", "display": "Amina"}, "status": "accepted"},
            {"actor": {"reference": "Practitioner/d", "display": "Dr Otieno"}, "status": "accepted"}]}))
        .unwrap();
    resource.set_version(3, now());
    resource
}

fn stored(change: &Change) -> Resource {
    let (resource, before) = match change {
        Change::Create { resource } => (resource, 0),
        Change::Update { resource, if_match } => (resource, if_match.unwrap()),
        other => unreachable!("{other:?} is never planned"),
    };
    let mut resource = resource.clone();
    resource.set_version(before + 1, now());
    resource
}

fn visit(state: State) -> Resource {
    let facts = appointment::read(&booked(Status::Booked)).unwrap();
    let waiting = stored(&plan_wait(&facts, None, None, now()).unwrap().changes[0]);
    let active = || stored(&plan_admit(&waiting, None, now()).unwrap().changes[0]);
    match state {
        State::Waiting => waiting,
        State::Active => active(),
        State::Ended => stored(&plan_end(&active(), now()).unwrap().changes[0]),
        State::Cancelled => stored(&plan_cancel(&waiting, now()).changes[0]),
        State::Finished => {
            let mut finished = active();
            finished.set("status", json!("finished"));
            finished
        }
    }
}

fn outcome(result: Result<ChangeSet, Rule>) -> &'static str {
    match result {
        Err(rule) => rule.code,
        Ok(set) if set == ChangeSet::default() => "=",
        Ok(_) => "",
    }
}

#[test]
fn which_step_is_allowed_from_where() {
    let facts = appointment::read(&booked(Status::Booked)).unwrap();
    let device = Device { camera: true, microphone: true, relay: true, audio_only: false };
    let (closed, early) = ("visit-closed", "visit-not-started");
    // wait again, wait with a device check, admit, end, cancel; "=" = nothing changes
    let table = [
        (State::Waiting, ["=", "", "", early, ""]),
        (State::Active, ["=", "", "=", "", "="]),
        (State::Ended, ["=", "", "", "=", "="]),
        (State::Finished, [closed, closed, closed, closed, "="]),
        (State::Cancelled, [closed, closed, closed, closed, "="]),
    ];
    for (state, expected) in table {
        let encounter = visit(state);
        assert_eq!(read(&encounter).unwrap().state, state);
        let found = [
            outcome(plan_wait(&facts, Some(&encounter), None, now())),
            outcome(plan_wait(&facts, Some(&encounter), Some(device), now())),
            outcome(plan_admit(&encounter, None, now())),
            outcome(plan_end(&encounter, now())),
            outcome(Ok(plan_cancel(&encounter, now()))),
        ];
        assert_eq!(found, expected, "{state:?}");
    }
    for status in [Status::Fulfilled, Status::Cancelled, Status::Noshow] {
        let facts = appointment::read(&booked(status)).unwrap();
        assert_eq!(plan_open(&facts, now()).unwrap_err().code, "appointment-closed", "{status:?}");
    }
}

#[test]
fn the_waiting_time_is_that_of_the_first_arrival() {
    let facts = appointment::read(&booked(Status::Booked)).unwrap();
    let first = visit(State::Waiting);
    let device = Device { camera: false, microphone: true, relay: true, audio_only: true };
    let later = now() + SignedDuration::from_mins(5);
    let again = stored(&plan_wait(&facts, Some(&first), Some(device), later).unwrap().changes[0]);
    let session = Session::of(&again);
    assert_eq!(session.waiting_since, Some(now()));
    assert!(session.device_checked, "audio only is a choice, not a fault");
    assert!(!Device { microphone: false, ..device }.is_ready());
    let opened = stored(&plan_open(&facts, now()).unwrap().changes[0]);
    assert_eq!(Session::of(&opened).waiting_since, None, "an open visit is not yet a waiting patient");
    let arrived = stored(&plan_wait(&facts, Some(&opened), None, later).unwrap().changes[0]);
    assert_eq!((arrived.text("status"), Session::of(&arrived).waiting_since), (Some("arrived"), Some(later)));
}

#[test]
fn admitting_moves_the_appointment_along() {
    let set = plan_admit(&visit(State::Waiting), Some(&booked(Status::Arrived)), now()).unwrap();
    let appointment = appointment::read(&stored(&set.changes[1])).unwrap();
    assert_eq!(appointment.status, Status::InProgress);
    let encounter = stored(&set.changes[0]);
    let history: Vec<&str> =
        array(encounter.value(), "statusHistory").iter().filter_map(|h| text(h, "/status")).collect();
    assert_eq!(history, ["arrived", "in-progress"]);
    assert!(text(encounter.value(), "/statusHistory/0/period/end").is_some());
    let again = plan_admit(&visit(State::Ended), Some(&booked(Status::InProgress)), now()).unwrap();
    assert_eq!(again.changes.len(), 1, "the appointment stays where it is");
}

#[test]
fn places_go_by_arrival() {
    let at = |minutes| Some(now() + SignedDuration::from_mins(minutes));
    let waiting = |minutes| Session { waiting_since: at(minutes), ..Session::default() };
    let mut mine = read(&visit(State::Waiting)).unwrap();
    mine.session.waiting_since = at(10);
    for (others, place) in [(vec![], 1), (vec![5, 10], 2), (vec![1, 2, 3, 20], 4)] {
        let others: Vec<Session> = others.into_iter().map(waiting).collect();
        assert_eq!(position(&mine, &others), Some(place));
    }
    mine.state = State::Active;
    assert_eq!(position(&mine, &[]), None);
}

fn note(reason: &str, plan: &str, status: &str) -> Resource {
    let section = |code: &str, words: &str| {
        json!({"code": {"coding": [{"system": "http://loinc.org", "code": code}]},
            "text": {"status": "additional", "div": crate::note::to_xhtml(words)}})
    };
    let mut note = Resource::from_value(json!({"resourceType": "Composition", "id": "a", "status": status,
        "encounter": {"reference": "Encounter/a"}, "section": [section("29299-5", reason), section("18776-5", plan)]}))
    .unwrap();
    note.set_version(1, now());
    note
}

#[test]
fn a_visit_is_finished_with_a_note_and_nothing_unsigned() {
    let doctor = element::key("Practitioner", "d");
    let draft =
        Resource::from_value(json!({"resourceType": "MedicationRequest", "id": "m", "status": "draft"}))
            .unwrap();
    let appointment = booked(Status::InProgress);
    let check = |state, note: Option<&Resource>, requests: &[Resource]| {
        let encounter = visit(state);
        plan_finish(&FinishSnapshot {
            encounter: &encounter,
            appointment: Some(&appointment),
            note,
            conditions: &[],
            requests,
            clinician: &doctor,
            clinician_name: "Dr Otieno",
            now: now(),
        })
    };
    let whole = note("Cough", "Rest", "preliminary");
    for (state, note, requests, expected) in [
        (State::Waiting, Some(&whole), &[][..], "visit-not-started"),
        (State::Cancelled, Some(&whole), &[], "visit-closed"),
        (State::Finished, Some(&whole), &[], "="),
        (State::Active, None, &[], "note-incomplete"),
        (State::Active, Some(&note("", "", "preliminary")), &[], "note-incomplete"),
        (State::Active, Some(&note("Cough", " ", "preliminary")), &[], "note-incomplete"),
        (State::Active, Some(&whole), std::slice::from_ref(&draft), "prescription-unsigned"),
        (State::Active, Some(&whole), &[], ""),
        (State::Ended, Some(&note("Cough", "Rest", "final")), &[], ""),
    ] {
        assert_eq!(outcome(check(state, note, requests)), expected, "{state:?} {requests:?}");
    }
    let missing = check(State::Active, Some(&note("", "", "preliminary")), &[]).unwrap_err();
    assert_eq!(missing.details["fields"], json!(["/reason", "/assessment"]));
    let set = check(State::Active, Some(&whole), &[]).unwrap();
    let kinds: Vec<&str> = set.changes.iter().map(|c| stored(c).kind().name()).collect();
    assert_eq!(kinds, ["Composition", "Encounter", "Appointment"]);
    assert_eq!(stored(&set.changes[2]).text("status"), Some("fulfilled"));
    let event = set.events.iter().find(|e| e.topic == "visit.finished").unwrap();
    assert_eq!(event.data["patient_id"], "p");
}

#[test]
fn the_session_survives_the_way_through_the_resource() {
    let mut encounter = visit(State::Active);
    let mut session = Session::of(&encounter);
    session.joined("patient", "7", now(), true);
    session.measured(Quality {
        rtt_ms: 120,
        loss_percent: 0.3,
        bitrate_up_kbps: 64,
        bitrate_down_kbps: u32::MAX,
        path: MediaPath::Direct,
        frozen_ms: Some(400),
        level: QualityLevel::Poor,
    });
    session.end(now());
    session.put(&mut encounter);
    let back = Session::of(&encounter);
    assert_eq!(back.participants, session.participants);
    assert_eq!(back.quality[0].bitrate_down_kbps, i32::MAX.unsigned_abs(), "R4 integers have 31 bits");
    assert_eq!((back.quality[0].loss_percent, back.quality[0].path), (0.3, MediaPath::Direct));
    assert_eq!(fhir::validate::validate(&encounter), Vec::new());
}
