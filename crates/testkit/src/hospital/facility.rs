//! The shared part: organization, rooms, doctors with roles and hours, prices, and the booked slots.

use super::clinical::SPECIALTIES;
use super::person::Person;
use super::{SYSTEM, uuid};
use jiff::civil::{Date, DateTime, Weekday, time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

pub const ZONE: &str = "Africa/Nairobi";
const PAST_DAYS: i32 = 14;
const COMING_DAYS: i32 = 21;
/// Share of slots that are taken: enough to look busy, with room to book.
const TAKEN_OF_HUNDRED: usize = 45;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    InPerson,
    Video,
}

impl Kind {
    pub fn code(self) -> &'static str {
        match self {
            Kind::InPerson => "in-person",
            Kind::Video => "video",
        }
    }
    fn minutes(self) -> i64 {
        match self {
            Kind::InPerson => 30,
            Kind::Video => 20,
        }
    }
}

pub struct Doctor {
    pub id: String,
    pub display: String,
    /// Sign-in name, e.g. `achieng`.
    pub login: String,
    pub specialty: usize,
    person: Person,
    languages: Vec<&'static str>,
    role_id: String,
    schedule_ids: [String; 2],
}

#[derive(Debug, Clone)]
pub struct Booked {
    pub doctor: usize,
    pub kind: Kind,
    pub start: Timestamp,
    pub end: Timestamp,
    pub past: bool,
}

pub const ORGANIZATION: &str = "uzima-demo-hospital";
pub const OUTPATIENT: &str = "uzima-demo-outpatient";

/// Two doctors in general practice, one or two in the other specialties; the same people for every size.
pub fn doctors(seed: u64) -> Vec<Doctor> {
    let mut random = StdRng::seed_from_u64(seed ^ 0x646F_6374);
    let mut logins = BTreeSet::new();
    let today = Date::constant(2026, 1, 1);
    (0..10u64)
        .map(|n| {
            let (person, login) = loop {
                let person = Person::make(&mut random, today, 29..62, 90_000_000 + n);
                let login: String =
                    person.family.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
                if logins.insert(login.clone()) {
                    break (person, login);
                }
            };
            let specialty = [0, 0, 0, 1, 1, 2, 3, 3, 4, 5][n as usize];
            let mut languages = vec!["en", "sw"];
            // One doctor in three also reads French, for visitors from the Great Lakes.
            if n % 3 == 1 {
                languages.push("fr");
            }
            Doctor {
                id: uuid(&mut random),
                display: format!("Dr {}", person.display()),
                login,
                specialty,
                languages,
                role_id: uuid(&mut random),
                schedule_ids: [uuid(&mut random), uuid(&mut random)],
                person,
            }
        })
        .collect()
}

fn weekly(doctor: usize, kind: Kind) -> Vec<(Weekday, i8, i8, i8, i8)> {
    use Weekday::*;
    let days: &[Weekday] = &[Monday, Tuesday, Wednesday, Thursday, Friday];
    let mut hours: Vec<_> = days
        .iter()
        .map(|d| match kind {
            Kind::InPerson => (*d, 8, 0, 12, 30),
            Kind::Video => (*d, 14, 0, 17, 0),
        })
        .collect();
    // Video also on Saturday morning with every second doctor: people who work cannot come on weekdays.
    if kind == Kind::Video && doctor.is_multiple_of(2) {
        hours.push((Saturday, 9, 0, 12, 0));
    }
    hours
}

fn day_code(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "mon",
        Weekday::Tuesday => "tue",
        Weekday::Wednesday => "wed",
        Weekday::Thursday => "thu",
        Weekday::Friday => "fri",
        Weekday::Saturday => "sat",
        Weekday::Sunday => "sun",
    }
}

/// Which slots are taken, and by whom. Nobody is in two places at once.
pub fn book(seed: u64, today: Date, patients: u64, doctors: &[Doctor]) -> BTreeMap<u64, Vec<Booked>> {
    let mut random = StdRng::seed_from_u64(seed ^ 0x626F_6F6B);
    let zone = TimeZone::get(ZONE).unwrap_or(TimeZone::fixed(jiff::tz::offset(3)));
    let at = |d: DateTime| d.to_zoned(zone.clone()).map(|z| z.timestamp()).unwrap_or_default();
    let mut slots = Vec::new();
    for offset in -PAST_DAYS..COMING_DAYS {
        let day = today.saturating_add(Span::new().days(offset));
        for n in 0..doctors.len() {
            for kind in [Kind::InPerson, Kind::Video] {
                for (_, h1, m1, h2, m2) in weekly(n, kind).iter().filter(|w| w.0 == day.weekday()) {
                    let mut start = at(day.to_datetime(time(*h1, *m1, 0, 0)));
                    let close = at(day.to_datetime(time(*h2, *m2, 0, 0)));
                    let step = Span::new().minutes(kind.minutes());
                    while start + step <= close {
                        slots.push(Booked { doctor: n, kind, start, end: start + step, past: offset < 0 });
                        start += step;
                    }
                }
            }
        }
    }
    slots.shuffle(&mut random);
    let taken = slots.len() * TAKEN_OF_HUNDRED / 100;
    let mut by_patient: BTreeMap<u64, Vec<Booked>> = BTreeMap::new();
    for (n, slot) in slots.into_iter().take(taken).enumerate() {
        if patients == 0 {
            break;
        }
        let own = by_patient.entry(n as u64 % patients).or_default();
        if own.iter().all(|b| b.end <= slot.start || slot.end <= b.start) {
            own.push(slot);
        }
    }
    by_patient
}

pub fn resources(doctors: &[Doctor]) -> Vec<Value> {
    let mut all = vec![
        json!({"resourceType": "Organization", "id": ORGANIZATION, "active": true, "name": "Uzima Demonstration Hospital",
            "type": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/organization-type", "code": "prov"}]}],
            "telecom": [{"system": "phone", "value": "+254709000000"}],
            "address": [{"line": ["Ngong Road"], "city": "Nairobi", "country": "KE"}]}),
        json!({"resourceType": "Location", "id": OUTPATIENT, "status": "active", "name": "Outpatient clinic",
            "managingOrganization": {"reference": format!("Organization/{ORGANIZATION}")}}),
    ];
    for (code, _, display, in_person, video) in SPECIALTIES {
        for (kind, price) in [(Kind::InPerson, in_person), (Kind::Video, video)] {
            all.push(price_item(code, display, kind, *price));
        }
    }
    for (n, doctor) in doctors.iter().enumerate() {
        doctor_resources(n, doctor, &mut all);
    }
    all
}

/// A price: one ChargeItemDefinition per specialty and kind of visit, code `visit-<kind>-<specialty>`.
fn price_item(specialty: &str, display: &str, kind: Kind, amount_minor: i64) -> Value {
    let code = format!("visit-{}-{specialty}", kind.code());
    let label = match kind {
        Kind::InPerson => "consultation",
        Kind::Video => "video consultation",
    };
    let amount: Value = serde_json::from_str(&format!("{}.{:02}", amount_minor / 100, amount_minor % 100))
        .unwrap_or_default();
    json!({"resourceType": "ChargeItemDefinition", "id": code, "url": format!("{SYSTEM}/ChargeItemDefinition/{code}"),
        "status": "active", "title": format!("{display} {label}"),
        "code": {"coding": [{"system": format!("{SYSTEM}/CodeSystem/price"), "code": code, "display": format!("{display} {label}")}]},
        "propertyGroup": [{"priceComponent": [{"type": "base", "amount": {"value": amount, "currency": "KES"}}]}]})
}

fn doctor_resources(n: usize, doctor: &Doctor, all: &mut Vec<Value>) {
    let (code, snomed, display, ..) = SPECIALTIES[doctor.specialty];
    let organization = json!({"reference": format!("Organization/{ORGANIZATION}")});
    let practitioner = json!({"reference": format!("Practitioner/{}", doctor.id), "display": doctor.display});
    let specialty = json!({"coding": [
        {"system": format!("{SYSTEM}/CodeSystem/specialty"), "code": code, "display": display},
        {"system": "http://snomed.info/sct", "code": snomed, "display": display},
    ]});
    let mut name = doctor.person.name();
    name[0]["prefix"] = json!(["Dr"]);
    let languages: Vec<Value> = doctor
        .languages
        .iter()
        .map(|l| json!({"coding": [{"system": "urn:ietf:bcp:47", "code": l}]}))
        .collect();
    all.push(json!({"resourceType": "Practitioner", "id": doctor.id, "active": true, "name": name,
        "gender": doctor.person.sex(), "communication": languages,
        "identifier": [{"system": format!("{SYSTEM}/identifier/kmpdc"), "value": format!("A{:05}", 10_000 + n * 137)}],
        "telecom": [{"system": "phone", "value": doctor.person.phone, "use": "work"}]}));
    all.push(json!({"resourceType": "PractitionerRole", "id": doctor.role_id, "active": true, "practitioner": practitioner,
        "organization": organization, "specialty": [specialty],
        "code": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/practitioner-role", "code": "doctor"}]}],
        "location": [{"reference": format!("Location/{OUTPATIENT}")}]}));
    for (kind, id) in [Kind::InPerson, Kind::Video].into_iter().zip(&doctor.schedule_ids) {
        let mut extension = vec![
            json!({"url": format!("{SYSTEM}/StructureDefinition/slot-minutes"), "valuePositiveInt": kind.minutes()}),
            json!({"url": format!("{SYSTEM}/StructureDefinition/lead-minutes"), "valueUnsignedInt": 30}),
        ];
        for (day, h1, m1, h2, m2) in weekly(n, kind) {
            extension.push(
                json!({"url": format!("{SYSTEM}/StructureDefinition/weekly-hours"), "extension": [
                    {"url": "day", "valueCode": day_code(day)},
                    {"url": "start", "valueTime": format!("{h1:02}:{m1:02}:00")},
                    {"url": "end", "valueTime": format!("{h2:02}:{m2:02}:00")},
                ]}),
            );
        }
        all.push(json!({"resourceType": "Schedule", "id": id, "active": true, "extension": extension,
            "serviceType": [{"coding": [{"system": format!("{SYSTEM}/CodeSystem/visit-kind"), "code": kind.code()}]}],
            "specialty": [specialty], "actor": [practitioner]}));
    }
}
