//! A clinic on a fresh database: two doctors with hours and prices, two patients, people to act as.

use access::{Ctx, Principal, Purpose, Role, User};
use care::Clinic;
use care::appointment::NewAppointment;
use care::schedule::{Day, Hours, Kind, KindSchedule, Minute};
use fhir::{Resource, ResourceKey};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use record::{Change, ChangeSet, Error, Record};
use serde_json::{Value, json};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

pub struct Bench {
    pub record: Record,
    pub clinic: Clinic,
    now_us: Arc<AtomicI64>,
    _database: Database,
}

/// PostgreSQL's client brings a runtime of its own and cannot be opened or closed inside another.
struct Database(Option<store::test_support::TempStore>);

impl Drop for Database {
    fn drop(&mut self) {
        let database = self.0.take();
        std::thread::spawn(move || drop(database)).join().ok();
    }
}

/// A Monday, 08:00 in Nairobi.
const START: &str = "2026-11-23T05:00:00Z";

/// Runs the test on every engine there is, each on a database of its own.
pub async fn each_engine<F, Work>(test: F)
where
    F: Fn(Arc<Bench>) -> Work,
    Work: Future<Output = ()>,
{
    for database in tokio::task::spawn_blocking(store::test_support::both).await.unwrap() {
        let now_us = Arc::new(AtomicI64::new(START.parse::<Timestamp>().unwrap().as_microsecond()));
        let clock = now_us.clone();
        let record = Record::new(
            database.store.clone(),
            Arc::new(move || Timestamp::from_microsecond(clock.load(Ordering::SeqCst)).unwrap()),
        );
        let clinic = Clinic {
            name: "Uzima Test Clinic".into(),
            phone: "+254 709 000 000".into(),
            currency: "KES".into(),
            zone: TimeZone::get("Africa/Nairobi").unwrap(),
            public_url: "https://clinic.example".into(),
        };
        let bench = Arc::new(Bench { record, clinic, now_us, _database: Database(Some(database)) });
        bench.furnish().await;
        test(bench).await;
    }
}

fn key(text: &str) -> ResourceKey {
    ResourceKey::parse(text).unwrap()
}

fn create(value: Value) -> Change {
    Change::Create { resource: Resource::from_value(value).unwrap() }
}

fn doctor(id: &str, family: &str) -> [Change; 2] {
    let specialty = json!([{"coding": [{"system": "http://snomed.info/sct", "code": "394814009", "display": "General practice"}]}]);
    [
        create(json!({"resourceType": "Practitioner", "id": id, "active": true,
            "name": [{"family": family, "given": ["Test"], "prefix": ["Dr"]}],
            "communication": [{"coding": [{"system": "urn:ietf:bcp:47", "code": "sw"}]}]})),
        create(json!({"resourceType": "PractitionerRole", "id": format!("role-{id}"), "active": true,
            "practitioner": {"reference": format!("Practitioner/{id}")}, "specialty": specialty})),
    ]
}

fn schedule(doctor: &str, kind: Kind) -> Change {
    let at = |text| Minute::parse(text).unwrap();
    let weekly =
        Day::ALL.into_iter().map(|day| Hours { day, start: at("08:00"), end: at("16:00") }).collect();
    let rules = KindSchedule { slot_minutes: 20, lead_minutes: 10, weekly, exceptions: Vec::new() };
    let practitioner = key(&format!("Practitioner/{doctor}"));
    let id = format!("{}-{doctor}", kind.code());
    Change::Create { resource: care::schedule::write(None, &id, &practitioner, "Dr", kind, &rules) }
}

fn price(code: &str, value: u32) -> Change {
    create(json!({"resourceType": "ChargeItemDefinition", "id": code, "status": "active",
        "url": format!("https://uzima.health/fhir/ChargeItemDefinition/{code}"),
        "code": {"coding": [{"system": "https://uzima.health/fhir/CodeSystem/price", "code": code}]},
        "propertyGroup": [{"priceComponent": [{"type": "base", "amount": {"value": value, "currency": "KES"}}]}]}))
}

fn patient(id: &str, family: &str, phone: &str) -> Change {
    create(
        json!({"resourceType": "Patient", "id": id, "active": true, "gender": "female", "birthDate": "1990-02-03",
        "identifier": [{"system": "https://uzima.health/fhir/identifier/record-number", "value": format!("UZ-{id}")}],
        "name": [{"family": family, "given": ["Test"]}],
        "telecom": [{"system": "phone", "value": phone, "use": "mobile"}]}),
    )
}

impl Bench {
    async fn furnish(&self) {
        let mut changes = vec![
            patient("p1", "Achieng", "+254700000001"),
            patient("p2", "Barasa", "+254700000002"),
            price("visit-video-394814009", 1000),
            price("visit-in-person-394814009", 1500),
        ];
        for id in ["d1", "d2"] {
            changes.extend(doctor(id, if id == "d1" { "Otieno" } else { "Wanjiku" }));
            changes.extend(Kind::ALL.map(|kind| schedule(id, kind)));
        }
        let set = ChangeSet { changes, ..ChangeSet::default() };
        self.record.command(&self.system(), "test.seed", set).await.unwrap();
    }

    pub fn turn(&self, minutes: i64) {
        self.now_us.fetch_add(minutes * 60_000_000, Ordering::SeqCst);
    }

    pub fn system(&self) -> Ctx {
        Ctx::system("test", self.record.now())
    }

    fn person(&self, account: i64, role: Role, patient: Option<&str>, practitioner: Option<&str>) -> Ctx {
        let mut ctx = self.system();
        ctx.purpose = Purpose::Treatment;
        ctx.request_id = format!("request-{account}");
        ctx.principal = Principal::User(User {
            account,
            display: format!("{} {account}", role.title()),
            roles: vec![role],
            patient: patient.map(|id| key(&format!("Patient/{id}"))),
            practitioner: practitioner.map(|id| key(&format!("Practitioner/{id}"))),
            language: "en".into(),
            standing: std::sync::Arc::default(),
        });
        ctx
    }
    pub fn doctor(&self, id: &str) -> Ctx {
        self.person(if id == "d1" { 1 } else { 2 }, Role::Doctor, None, Some(id))
    }
    pub fn patient(&self, id: &str) -> Ctx {
        self.person(if id == "p1" { 11 } else { 12 }, Role::Patient, Some(id), None)
    }
    pub fn staff(&self, role: Role) -> Ctx {
        self.person(21, role, None, Some("desk"))
    }

    /// Monday at this time in Nairobi.
    pub fn at(&self, time: &str) -> Timestamp {
        let time: jiff::civil::Time = time.parse().unwrap();
        let date = jiff::civil::date(2026, 11, 23);
        date.to_datetime(time).to_zoned(self.clinic.zone.clone()).unwrap().timestamp()
    }

    pub fn video(&self, time: &str) -> NewAppointment {
        NewAppointment {
            provider_id: "d1".into(),
            kind: Kind::Video,
            start: self.at(time),
            reason: "Cough for three days".into(),
            patient_id: None,
            language: Some("sw".into()),
        }
    }

    /// Messages that wait to be sent: `(template, to, text)`.
    pub async fn messages(&self) -> Vec<(String, String, String)> {
        let page = self
            .record
            .store_read(|tx| store::message::list(tx, &store::message::Filter::default(), None, 100))
            .await
            .unwrap();
        page.rows.into_iter().map(|m| (m.template, m.to, m.body)).collect()
    }

    /// Jobs of this queue that are not done: when they run, and their data.
    pub async fn jobs(&self) -> Vec<(Timestamp, Value)> {
        let state = store::job::State::Ready;
        let page = self.record.store_read(move |tx| store::job::list(tx, state, None, 100)).await.unwrap();
        let queue = care::appointment::REMINDER_QUEUE;
        let mut all: Vec<(Timestamp, Value)> =
            page.rows.into_iter().filter(|j| j.queue == queue).map(|j| (j.run_at, j.data)).collect();
        all.sort_by_key(|(at, _)| *at);
        all
    }

    /// Topics of the domain's events so far.
    pub async fn topics(&self) -> Vec<String> {
        let events = self.record.events_after(0, 1000).await.unwrap();
        events.into_iter().map(|e| e.topic.clone()).filter(|t| !t.starts_with("resource.")).collect()
    }
}

pub fn minutes(count: i64) -> SignedDuration {
    SignedDuration::from_mins(count)
}

/// The kind of an error, with its code where it has one.
pub fn name(error: &Error) -> String {
    match error {
        Error::Duplicate(rule) => format!("Duplicate {}", rule.code),
        Error::Rule(rule) => format!("Rule {}", rule.code),
        Error::Invalid(outcome) | Error::Malformed(outcome) => format!("Invalid {outcome}"),
        Error::VersionConflict { .. } => "VersionConflict".to_owned(),
        other => format!("{other:?}"),
    }
}
