//! A whole visit, from the booking to the signed note and prescription.

use crate::{Bench, each_engine, name};
use access::Role;
use care::consultation::{self, Consultation, Device, Entry, LogBook, Quality, State};
use care::note::{self, NoteInput};
use care::prescription::{self, FrequencyCode, PrescriptionInput, RxItem};
use care::texts::Language;
use care::view::SystemCode;
use care::vitals::{self, Flag, VitalsInput};
use care::{appointment, chart};
use record::Error;

const READY: Device = Device { camera: true, microphone: true, relay: true, audio_only: false };

async fn booked(bench: &Bench) -> String {
    appointment::book(&bench.record, &bench.patient("p1"), &bench.clinic, bench.video("10:00"))
        .await
        .unwrap()
        .id
}

async fn admitted(bench: &Bench) -> String {
    let id = booked(bench).await;
    consultation::join(&bench.record, &bench.patient("p1"), &bench.clinic, &id, READY).await.unwrap();
    consultation::admit(&bench.record, &bench.doctor("d1"), &bench.clinic, &id).await.unwrap();
    id
}

fn diagnosis(code: &str) -> SystemCode {
    let found = care::code::diagnoses(code);
    found.into_iter().find(|c| c.code == code).unwrap()
}

fn item(name: &str) -> RxItem {
    RxItem {
        medicine_id: None,
        name: name.into(),
        form: "capsule".into(),
        dose: "500mg".into(),
        route: "by mouth".into(),
        frequency_code: FrequencyCode::Tds,
        frequency_text: String::new(),
        duration_days: 5,
        quantity: Some(15),
        instructions: Some("After food".into()),
        refills: 0,
    }
}

#[tokio::test]
async fn a_whole_visit() {
    each_engine(async |bench| {
        let (record, clinic) = (&bench.record, &bench.clinic);
        let id = booked(&bench).await;
        let patient = bench.patient("p1");
        assert!(matches!(consultation::get(record, &patient, clinic, &id).await, Err(Error::NotFound)));
        let waiting = consultation::join(record, &patient, clinic, &id, READY).await.unwrap();
        assert_eq!((waiting.state, waiting.position), (State::Waiting, Some(1)));
        assert!(waiting.device_checked && waiting.waiting_since.is_some());
        let seen = appointment::get(record, &bench.doctor("d1"), clinic, &id).await.unwrap();
        assert_eq!(seen.status, appointment::Status::Arrived);
        assert_eq!(seen.consultation_id.as_deref(), Some(id.as_str()));

        let other =
            appointment::book(record, &bench.patient("p2"), clinic, bench.video("10:20")).await.unwrap().id;
        bench.turn(3);
        let second = consultation::join(record, &bench.patient("p2"), clinic, &other, READY).await.unwrap();
        assert_eq!(second.position, Some(2));
        let queue = consultation::Filter { state: Some(State::Waiting), provider: Some("d1".into()) };
        let list = consultation::list(record, &bench.doctor("d1"), clinic, &queue, 25, None).await.unwrap();
        assert_eq!(
            list.items.iter().map(|c| c.id.as_str()).collect::<Vec<_>>(),
            [id.as_str(), other.as_str()]
        );

        assert!(matches!(consultation::admit(record, &patient, clinic, &id).await, Err(Error::Denied)));
        let doctor = bench.doctor("d1");
        let active = consultation::admit(record, &doctor, clinic, &id).await.unwrap();
        assert_eq!(active.state, State::Active);
        assert_eq!(consultation::queue_places(record, "d1").await.unwrap(), [(other.clone(), 1)]);

        write_note(&bench, &id).await;
        take_vitals(&bench, &id).await;
        prescribe(&bench, &id).await;
        end(&bench, &id).await;

        let done = consultation::finish(record, &doctor, clinic, &id).await.unwrap();
        assert_eq!(done.state, State::Finished);
        let again = consultation::finish(record, &doctor, clinic, &id).await.unwrap();
        assert_eq!(again.version, done.version, "finishing twice is finishing once");
        let seen = appointment::get(record, &patient, clinic, &id).await.unwrap();
        assert_eq!(seen.status, appointment::Status::Fulfilled);
        let signed = note::get(record, &patient, &id).await.unwrap();
        assert_eq!((signed.status, signed.reason.as_str()), (note::Status::Signed, "Cough <3 days & fever"));
        assert_eq!(signed.diagnoses.iter().map(|d| d.code.as_str()).collect::<Vec<_>>(), ["J18.9"]);
        let closed = note::save(
            record,
            &doctor,
            &id,
            &NoteInput { version: Some(signed.version), ..NoteInput::default() },
        )
        .await;
        assert_eq!(name(&closed.unwrap_err()), "Duplicate note-signed");
        let visits = chart::visits(record, &patient, "p1", 10, None).await.unwrap().items;
        assert_eq!(visits.len(), 1);
        assert_eq!(visits[0].diagnoses[0].code, "J18.9");
        assert!(visits[0].note_id.is_some() && visits[0].prescription_id.is_some());
        assert!(matches!(
            chart::visits(record, &bench.patient("p2"), "p1", 10, None).await,
            Err(Error::NotFound)
        ));
        let topics = bench.topics().await;
        for topic in [
            "consultation.waiting",
            "consultation.started",
            "consultation.ended",
            "note.signed",
            "prescription.signed",
            "vitals.recorded",
            "visit.finished",
        ] {
            assert!(topics.contains(&topic.to_owned()), "{topic}: {topics:?}");
        }
    })
    .await;
}

async fn write_note(bench: &Bench, id: &str) {
    let (record, clinic, doctor) = (&bench.record, &bench.clinic, bench.doctor("d1"));
    let empty = note::get(record, &doctor, id).await.unwrap();
    assert_eq!((empty.version, empty.reason.as_str()), (0, "Cough for three days"));
    let nothing = consultation::finish(record, &doctor, clinic, id).await.unwrap_err();
    assert_eq!(name(&nothing), "Rule note-incomplete");
    let mut input = NoteInput {
        reason: "Cough <3 days & fever".into(),
        diagnoses: vec![diagnosis("J06.9"), diagnosis("J18.9")],
        ..NoteInput::default()
    };
    let saved = note::save(record, &doctor, id, &input).await.unwrap();
    assert_eq!(saved.diagnoses.len(), 2);
    assert_eq!(name(&note::save(record, &doctor, id, &input).await.unwrap_err()), "VersionConflict");
    input.version = Some(saved.version);
    input.diagnoses.remove(0);
    input.findings = "Chest: crackles right base\n\nNo distress".into();
    input.plan = "Antibiotic, fluids".into();
    input.follow_up = Some("in 3 days".into());
    let second = note::save(record, &doctor, id, &input).await.unwrap();
    assert_eq!((second.diagnoses.len(), second.findings.as_str()), (1, input.findings.as_str()));
    input.version = Some(second.version);
    let same = note::save(record, &doctor, id, &input).await.unwrap();
    assert_eq!(same.version, second.version, "saving the same writes nothing");
    assert!(
        matches!(note::get(record, &bench.patient("p1"), id).await, Err(Error::NotFound)),
        "drafts are private"
    );
    assert!(matches!(note::get(record, &bench.doctor("d2"), id).await, Err(Error::NotFound)));
    assert!(matches!(note::save(record, &bench.patient("p1"), id, &input).await, Err(Error::Denied)));
}

async fn take_vitals(bench: &Bench, id: &str) {
    let (record, doctor) = (&bench.record, bench.doctor("d1"));
    let some = |text: &str| Some(text.to_owned());
    let input = VitalsInput {
        systolic: some("150"),
        diastolic: some("95"),
        temperature: some("39.0"),
        weight: some("70"),
        height: some("175"),
        ..VitalsInput::default()
    };
    let taken = vitals::put(record, &doctor, id, &input).await.unwrap();
    assert_eq!(taken.bmi.as_deref(), Some("22.9"));
    let shown: Vec<(&str, Option<Flag>)> = taken.items.iter().map(|v| (v.value.as_str(), v.flag)).collect();
    assert_eq!(
        shown,
        [("150", Some(Flag::H)), ("95", Some(Flag::H)), ("39.0", Some(Flag::H)), ("70", None), ("175", None),]
    );
    let wrong = VitalsInput { temperature: some("390"), pulse: some("x"), ..VitalsInput::default() };
    let error = vitals::put(record, &doctor, id, &wrong).await.unwrap_err();
    let Error::Rule(rule) = &error else { panic!("{error:?}") };
    assert_eq!(rule.details["errors"].as_array().unwrap().len(), 2);
    let back = VitalsInput { temperature: some(""), ..VitalsInput::default() };
    assert_eq!(vitals::put(record, &doctor, id, &back).await.unwrap().items.len(), 4);
}

async fn prescribe(bench: &Bench, id: &str) {
    let (record, clinic, doctor) = (&bench.record, &bench.clinic, bench.doctor("d1"));
    let allergy = chart::AllergyNew {
        code: None,
        text: "Penicillin".into(),
        reaction: Some("rash".into()),
        criticality: Some(chart::Criticality::High),
    };
    chart::add_allergy(record, &doctor, "p1", &allergy).await.unwrap();
    let twice = chart::add_allergy(record, &doctor, "p1", &allergy).await.unwrap_err();
    assert_eq!(name(&twice), "Rule allergy-known");
    let mut input =
        PrescriptionInput { version: None, items: vec![item("amoxicillin"), item("paracetamol")] };
    let draft = prescription::put(record, &doctor, clinic, id, &input).await.unwrap();
    assert_eq!(
        draft.lines[0],
        "amoxicillin capsule – DOSE 500 mg – by mouth – three times daily – for 5 days"
    );
    assert_eq!(draft.warnings[0].matched, "penicillins");
    assert!(matches!(
        prescription::get_by_visit(record, &bench.patient("p1"), clinic, id, Language::English).await,
        Err(Error::NotFound)
    ));
    assert!(matches!(
        prescription::put(record, &bench.staff(Role::Nurse), clinic, id, &input).await,
        Err(Error::Denied)
    ));
    let unsigned = consultation::finish(record, &doctor, clinic, id).await.unwrap_err();
    assert_eq!(name(&unsigned), "Rule prescription-unsigned");
    let clash = prescription::sign(record, &doctor, clinic, id, false).await.unwrap_err();
    assert_eq!(name(&clash), "Rule allergy-clash");
    assert_eq!(
        name(&prescription::put(record, &doctor, clinic, id, &input).await.unwrap_err()),
        "VersionConflict"
    );
    input.version = Some(draft.version);
    input.items.remove(0);
    let safe = prescription::put(record, &doctor, clinic, id, &input).await.unwrap();
    assert!(safe.version > draft.version && safe.warnings.is_empty() && safe.items.len() == 1);
    let signed = prescription::sign(record, &doctor, clinic, id, false).await.unwrap();
    let token = signed.verify_url.as_deref().unwrap().rsplit('/').next().unwrap().to_owned();
    input.version = Some(signed.version);
    let late = prescription::put(record, &doctor, clinic, id, &input).await.unwrap_err();
    assert_eq!(name(&late), "Duplicate prescription-signed");
    let own =
        prescription::get(record, &bench.patient("p1"), clinic, &signed.id, Language::English).await.unwrap();
    assert_eq!(own.items, signed.items);
    let paper =
        prescription::pdf(record, &bench.patient("p1"), clinic, &signed.id, Language::Swahili).await.unwrap();
    assert!(paper.starts_with(b"%PDF-"));
    let checked = prescription::verify(record, clinic, &token).await.unwrap();
    assert!(checked.valid && checked.items.len() == 1);
    assert_eq!((checked.patient_initials.as_deref(), checked.status.as_str()), (Some("T. A."), "active"));
    for wrong in ["", "abc", "0123456789abcdef0123456789abcdef", "%00"] {
        assert!(!prescription::verify(record, clinic, wrong).await.unwrap().valid, "{wrong}");
    }
}

async fn end(bench: &Bench, id: &str) {
    let (record, clinic, doctor) = (&bench.record, &bench.clinic, bench.doctor("d1"));
    let book = LogBook::default();
    let at = record.now();
    let joined = |role: &str| Entry::Joined { role: role.into(), who: role.into(), at, audio_only: false };
    assert!(book.add(id, joined("patient")) && book.add(id, joined("clinician")));
    book.flush(record, id).await.unwrap();
    bench.turn(10);
    let sample = Quality {
        rtt_ms: 80,
        loss_percent: 1.5,
        bitrate_up_kbps: 250,
        bitrate_down_kbps: 400,
        path: consultation::MediaPath::Relay,
        frozen_ms: None,
        level: consultation::QualityLevel::Fair,
    };
    let ended: Consultation =
        consultation::end(record, &bench.doctor("d1"), clinic, id, Some(sample.clone())).await.unwrap();
    assert_eq!(ended.state, State::Ended);
    let log = ended.log.unwrap();
    assert!(log.participants.iter().all(|p| p.left_at.is_some()) && log.participants.len() == 2);
    assert_eq!(log.quality, [sample]);
    let back = consultation::admit(record, &doctor, clinic, id).await.unwrap();
    assert_eq!(back.state, State::Active, "a call can be taken up again");
    consultation::end(record, &doctor, clinic, id, None).await.unwrap();
}

#[tokio::test]
async fn a_signed_note_is_amended_in_the_open() {
    each_engine(async |bench| {
        let (record, doctor) = (&bench.record, bench.doctor("d1"));
        let id = admitted(&bench).await;
        let mut input =
            NoteInput { reason: "Cough".into(), diagnoses: vec![diagnosis("J06.9")], ..NoteInput::default() };
        let error = note::sign(record, &doctor, &id).await.unwrap_err();
        assert_eq!(name(&error), "Rule note-incomplete");
        note::save(record, &doctor, &id, &input).await.unwrap();
        let signed = note::sign(record, &doctor, &id).await.unwrap();
        assert_eq!(signed.status, note::Status::Signed);
        input.version = Some(signed.version);
        input.diagnoses = vec![diagnosis("J18.9")];
        let amended = note::amend(record, &doctor, &id, &input).await.unwrap();
        assert_eq!((amended.status, amended.diagnoses[0].code.as_str()), (note::Status::Amended, "J18.9"));
        let problems = chart::chart(record, &doctor, &bench.clinic, "p1").await.unwrap().problems;
        let status = |code: &str| problems.iter().find(|p| p.code == code).unwrap().status.clone();
        assert_eq!((status("J18.9").as_str(), status("J06.9").as_str()), ("active", "entered-in-error"));
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_appointment_closes_its_visit() {
    each_engine(async |bench| {
        let (record, clinic, patient) = (&bench.record, &bench.clinic, bench.patient("p1"));
        let id = booked(&bench).await;
        consultation::join(record, &patient, clinic, &id, READY).await.unwrap();
        appointment::cancel(record, &bench.staff(Role::FrontDesk), clinic, &id, None, None).await.unwrap();
        let closed = consultation::get(record, &patient, clinic, &id).await.unwrap();
        assert_eq!(closed.state, State::Cancelled);
        let error = consultation::join(record, &patient, clinic, &id, READY).await.unwrap_err();
        assert_eq!(name(&error), "Duplicate visit-closed");
        let error = consultation::admit(record, &bench.doctor("d1"), clinic, &id).await.unwrap_err();
        assert!(matches!(error, Error::NotFound), "with the appointment the care ends");
        let sms = bench.messages().await;
        assert!(
            sms.iter().any(|(_, _, text)| text.contains("samahani")),
            "the clinic says that it is sorry: {sms:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn both_sides_open_the_visit_at_once() {
    each_engine(async |bench| {
        let (record, clinic) = (&bench.record, &bench.clinic);
        let id = booked(&bench).await;
        let (patient, doctor) = (bench.patient("p1"), bench.doctor("d1"));
        let (one, two, three) = tokio::join!(
            consultation::open(record, &doctor, clinic, &id),
            consultation::join(record, &patient, clinic, &id, READY),
            consultation::open(record, &patient, clinic, &id),
        );
        assert_eq!(
            [one.unwrap().id, two.unwrap().id, three.unwrap().id],
            [id.clone(), id.clone(), id.clone()]
        );
        let visit = consultation::admit(record, &doctor, clinic, &id).await.unwrap();
        assert_eq!(visit.state, State::Active);
        let stranger = consultation::admit(record, &bench.doctor("d2"), clinic, &id).await;
        assert!(matches!(stranger, Err(Error::NotFound)));
    })
    .await;
}

#[tokio::test]
async fn a_patient_who_is_awaited_is_told() {
    each_engine(async |bench| {
        let (record, clinic, doctor) = (&bench.record, &bench.clinic, bench.doctor("d1"));
        let id = booked(&bench).await;
        consultation::open(record, &doctor, clinic, &id).await.unwrap();
        consultation::admit(record, &doctor, clinic, &id).await.unwrap();
        assert!(bench.messages().await.iter().any(|(template, ..)| template == "consultation.doctor-waits"));
    })
    .await;
}

#[tokio::test]
async fn desk_checks_in_for_a_visit_in_person() {
    each_engine(async |bench| {
        let (record, clinic, desk) = (&bench.record, &bench.clinic, bench.staff(Role::FrontDesk));
        let mut new = bench.video("09:00");
        new.kind = care::Kind::InPerson;
        new.patient_id = Some("p2".into());
        let id = appointment::book(record, &desk, clinic, new).await.unwrap().id;
        let here = appointment::check_in(record, &desk, clinic, &id, None).await.unwrap();
        assert!(here.waiting_since.is_some() && here.status == appointment::Status::Arrived);
        let again = appointment::check_in(record, &desk, clinic, &id, None).await.unwrap();
        assert_eq!(again.version, here.version);
        let visit = consultation::get(record, &bench.doctor("d1"), clinic, &id).await.unwrap();
        assert_eq!((visit.kind, visit.position), (care::Kind::InPerson, Some(1)));
        assert!(
            matches!(note::get(record, &desk, &id).await, Err(Error::NotFound)),
            "the desk reads no notes"
        );
        let entering = consultation::join(record, &desk, clinic, &id, READY).await;
        assert!(matches!(entering, Err(Error::Denied)), "the desk does not enter calls");
        assert!(matches!(vitals::get(record, &desk, &id).await, Err(Error::Denied)));
    })
    .await;
}
