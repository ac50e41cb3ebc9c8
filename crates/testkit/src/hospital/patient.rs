//! One patient's record: demographics, problems, allergies, visits, appointments.

use super::clinical::{ALLERGIES, Medicine, PRESENTATIONS, Presentation};
use super::facility::{Booked, Kind, ORGANIZATION, OUTPATIENT};
use super::person::Person;
use super::{Depth, Hospital, SYSTEM, pick, uuid};
use jiff::civil::Date;
use jiff::{Span, Timestamp, ToSpan};
use rand::RngExt;
use rand::rngs::StdRng;
use serde_json::{Value, json};

const SNOMED: &str = "http://snomed.info/sct";
const LOINC: &str = "http://loinc.org";
const UCUM: &str = "http://unitsofmeasure.org";
const ICD10: &str = "http://hl7.org/fhir/sid/icd-10";

/// What the parts of one record share.
struct Chart<'a> {
    hospital: &'a Hospital,
    person: Person,
    subject: Value,
    all: Vec<Value>,
}

pub fn record(hospital: &Hospital, number: u64, random: &mut StdRng) -> Vec<Value> {
    let ages = if random.random_bool(0.22) { 0..12 } else { 12..86 };
    let person = Person::make(random, hospital.today, ages, number);
    let id = uuid(random);
    let subject = json!({"reference": format!("Patient/{id}"), "display": person.display()});
    let mut chart = Chart { hospital, person, subject, all: Vec::new() };
    let patient = demographics(&chart.person, &id, number, random);
    chart.all.push(patient);
    if hospital.depth == Depth::Demographics {
        return chart.all;
    }
    chart.allergies(random);
    let mut habitual: Vec<&Presentation> = Vec::new();
    let visits = random.random_range(0..4u32);
    for _ in 0..visits {
        let days = random.random_range(20..720i32);
        let day = hospital.today.saturating_sub(Span::new().days(days));
        if day <= chart.person.birth {
            continue;
        }
        let doctor = random.random_range(0..hospital.doctors.len());
        let start = clinic_time(day, random.random_range(8..12), random.random_range(0..4) * 15);
        let kind = if random.random_bool(0.3) { Kind::Video } else { Kind::InPerson };
        chart.visit(random, doctor, kind, start, start + 20.minutes(), None, &mut habitual);
    }
    for booked in hospital.booked.get(&number).into_iter().flatten() {
        chart.appointment(random, booked, &mut habitual);
    }
    chart.all
}

fn clinic_time(day: Date, hour: i8, minute: i8) -> Timestamp {
    day.at(hour, minute, 0, 0).in_tz(super::facility::ZONE).map(|z| z.timestamp()).unwrap_or_default()
}

fn demographics(person: &Person, id: &str, number: u64, random: &mut StdRng) -> Value {
    let language = |code: &str| json!({"coding": [{"system": "urn:ietf:bcp:47", "code": code}]});
    let mut communication = vec![json!({"language": language(person.language), "preferred": true})];
    if person.mother_tongue != person.language {
        communication.push(json!({"language": language(person.mother_tongue)}));
    }
    let mut patient = json!({"resourceType": "Patient", "id": id,
        "identifier": [{"use": "usual", "type": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0203", "code": "MR"}]},
            "system": format!("{SYSTEM}/identifier/record-number"), "value": format!("UZ-{:06}", number + 1)}],
        "active": true, "name": person.name(),
        "telecom": [{"system": "phone", "value": person.phone, "use": "mobile"}],
        "gender": person.sex(), "birthDate": person.birth.to_string(),
        "address": [{"use": "home", "city": person.town, "district": person.county, "country": "KE"}],
        "communication": communication,
        "managingOrganization": {"reference": format!("Organization/{ORGANIZATION}")}});
    if random.random_bool(0.7) {
        let relative = pick(random, super::names::SHARED_WOMEN);
        patient["contact"] = json!([{"relationship": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/v2-0131", "code": "N"}],
            "text": "Next of kin"}], "name": {"text": format!("{relative} {}", person.family)},
            "telecom": [{"system": "phone", "value": format!("+2541{:08}", (number * 7919) % 100_000_000)}]}]);
    }
    patient
}

impl Chart<'_> {
    fn allergies(&mut self, random: &mut StdRng) {
        for (per_mille, code, substance, reaction) in ALLERGIES {
            if random.random_range(0..1000) < *per_mille {
                self.all.push(json!({"resourceType": "AllergyIntolerance", "id": uuid(random), "patient": self.subject,
                    "clinicalStatus": status("allergyintolerance-clinical", "active"),
                    "verificationStatus": status("allergyintolerance-verification", "confirmed"),
                    "criticality": if random.random_bool(0.3) { "high" } else { "low" },
                    "code": {"coding": [{"system": SNOMED, "code": code, "display": substance}], "text": substance},
                    "recordedDate": self.hospital.today.saturating_sub(200.days()).to_string(),
                    "reaction": [{"manifestation": [{"text": reaction}]}]}));
            }
        }
    }

    fn appointment(
        &mut self,
        random: &mut StdRng,
        booked: &Booked,
        habitual: &mut Vec<&'static Presentation>,
    ) {
        let doctor = &self.hospital.doctors[booked.doctor];
        let id = uuid(random);
        let (status, mut encounter) = match booked.past {
            true if random.random_bool(0.08) => ("noshow", false),
            true if random.random_bool(0.06) => ("cancelled", false),
            true => ("fulfilled", true),
            false => ("booked", false),
        };
        // A child born yesterday has no visit of last week.
        encounter &= booked.start > clinic_time(self.person.birth, 12, 0);
        let reason = self.presentation(random, habitual).reason;
        let practitioner =
            json!({"reference": format!("Practitioner/{}", doctor.id), "display": doctor.display});
        self.all.push(json!({"resourceType": "Appointment", "id": id, "status": status,
            "serviceType": [{"coding": [{"system": format!("{SYSTEM}/CodeSystem/visit-kind"), "code": booked.kind.code()}]}],
            "reasonCode": [{"text": reason}],
            "start": booked.start.to_string(), "end": booked.end.to_string(),
            "created": (booked.start - 96.hours()).to_string(),
            "participant": [
                {"actor": self.subject, "required": "required", "status": "accepted"},
                {"actor": practitioner, "required": "required", "status": "accepted"},
            ]}));
        if encounter {
            self.visit(random, booked.doctor, booked.kind, booked.start, booked.end, Some(&id), habitual);
        }
    }

    fn presentation(&self, random: &mut StdRng, habitual: &[&'static Presentation]) -> &'static Presentation {
        if !habitual.is_empty() && random.random_bool(0.5) {
            return pick(random, habitual);
        }
        let years = (self.hospital.today - self.person.birth).get_days().max(0) as u16 / 365;
        let fits: Vec<_> = PRESENTATIONS
            .iter()
            .filter(|p| p.ages.contains(&years) && (p.sex == 'a' || (p.sex == 'f') == self.person.female))
            .collect();
        let total: u32 = fits.iter().map(|p| p.weight).sum();
        let mut at = random.random_range(0..total.max(1));
        for p in &fits {
            if at < p.weight {
                return p;
            }
            at -= p.weight;
        }
        &PRESENTATIONS[1]
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one visit is described by all of these, at two places only"
    )]
    fn visit(
        &mut self,
        random: &mut StdRng,
        doctor: usize,
        kind: Kind,
        start: Timestamp,
        end: Timestamp,
        appointment: Option<&str>,
        habitual: &mut Vec<&'static Presentation>,
    ) {
        let doctor = &self.hospital.doctors[doctor];
        let presentation = self.presentation(random, habitual);
        let known = habitual.iter().any(|p| p.code == presentation.code);
        if presentation.chronic && !known {
            habitual.push(presentation);
        }
        let practitioner =
            json!({"reference": format!("Practitioner/{}", doctor.id), "display": doctor.display});
        let encounter_id = uuid(random);
        let encounter = json!({"reference": format!("Encounter/{encounter_id}")});
        let diagnosis = json!({"coding": [{"system": ICD10, "code": presentation.code, "display": presentation.display}], "text": presentation.display});
        let class = match kind {
            Kind::InPerson => {
                json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB", "display": "ambulatory"})
            }
            Kind::Video => {
                json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "VR", "display": "virtual"})
            }
        };
        let condition_id = uuid(random);
        let mut visit = json!({"resourceType": "Encounter", "id": encounter_id, "status": "finished", "class": class,
            "subject": self.subject, "participant": [{"individual": practitioner}],
            "period": {"start": start.to_string(), "end": end.to_string()},
            "reasonCode": [{"text": presentation.reason}],
            "diagnosis": [{"condition": {"reference": format!("Condition/{condition_id}")}}],
            "location": [{"location": {"reference": format!("Location/{OUTPATIENT}")}}],
            "serviceProvider": {"reference": format!("Organization/{ORGANIZATION}")}});
        if let Some(id) = appointment {
            visit["appointment"] = json!([{"reference": format!("Appointment/{id}")}]);
        }
        self.all.push(visit);
        let category =
            if presentation.chronic && !known { "problem-list-item" } else { "encounter-diagnosis" };
        self.all.push(json!({"resourceType": "Condition", "id": condition_id, "subject": self.subject, "encounter": encounter,
            "clinicalStatus": status("condition-clinical", if presentation.chronic { "active" } else { "resolved" }),
            "verificationStatus": status("condition-ver-status", "confirmed"),
            "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-category", "code": category}]}],
            "code": diagnosis, "recordedDate": start.to_string(), "recorder": practitioner}));
        self.vitals(random, presentation, &encounter, start);
        let note = note(presentation, &self.subject, &encounter, &practitioner, end, &condition_id);
        let note_id = uuid(random);
        self.all.push(with_id(note, &note_id));
        let group = uuid(random);
        for m in presentation.medicines {
            self.all.push(prescription(
                m,
                uuid(random),
                &group,
                &self.subject,
                &encounter,
                &practitioner,
                end,
                presentation.chronic,
            ));
        }
    }

    fn vitals(&mut self, random: &mut StdRng, p: &Presentation, encounter: &Value, at: Timestamp) {
        let years = (self.hospital.today - self.person.birth).get_days().max(0) / 365;
        let temperature = 366
            + random.random_range(-4..5)
            + if p.fever > 0 { random.random_range(p.fever / 2..=p.fever) } else { 0 };
        let weight = match years {
            0..=15 => 35 + years * 26 + random.random_range(-5..12),
            _ => random.random_range(480..980),
        };
        let mut vitals = vec![
            ("8310-5", "Body temperature", tenths(temperature), "Cel", "°C"),
            (
                "8867-4",
                "Heart rate",
                json!(72 + (temperature - 366) / 2 + random.random_range(-8..14)),
                "/min",
                "/min",
            ),
            ("9279-1", "Respiratory rate", json!(16 + random.random_range(-2..5)), "/min", "/min"),
            ("59408-5", "Oxygen saturation", json!(random.random_range(94..100)), "%", "%"),
            ("29463-7", "Body weight", tenths(weight), "kg", "kg"),
        ];
        if years > 15 {
            vitals.push(("8302-2", "Body height", json!(random.random_range(150..186)), "cm", "cm"));
        }
        for (code, display, value, unit, shown) in vitals {
            let id = uuid(random);
            let mut o = self.observation(&id, code, display, encounter, at);
            o["valueQuantity"] = json!({"value": value, "unit": shown, "system": UCUM, "code": unit});
            self.all.push(o);
        }
        if years > 12 {
            let systolic = 118 + p.pressure + random.random_range(-10..14);
            let id = uuid(random);
            let mut o = self.observation(&id, "85354-9", "Blood pressure panel", encounter, at);
            let part = |code: &str, display: &str, value: i32| {
                json!({"code": {"coding": [{"system": LOINC, "code": code, "display": display}]},
                    "valueQuantity": {"value": value, "unit": "mmHg", "system": UCUM, "code": "mm[Hg]"}})
            };
            o["component"] = json!([
                part("8480-6", "Systolic blood pressure", systolic),
                part("8462-4", "Diastolic blood pressure", systolic * 64 / 100 + random.random_range(-4..5)),
            ]);
            self.all.push(o);
        }
    }

    fn observation(&self, id: &str, code: &str, display: &str, encounter: &Value, at: Timestamp) -> Value {
        json!({"resourceType": "Observation", "id": id, "status": "final",
            "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}],
            "code": {"coding": [{"system": LOINC, "code": code, "display": display}]},
            "subject": self.subject, "encounter": encounter, "effectiveDateTime": at.to_string()})
    }
}

fn status(system: &str, code: &str) -> Value {
    json!({"coding": [{"system": format!("http://terminology.hl7.org/CodeSystem/{system}"), "code": code}]})
}

/// Tenths as a decimal with one place, without passing through a float.
fn tenths(n: i32) -> Value {
    serde_json::from_str(&format!("{}.{}", n / 10, n % 10)).unwrap_or_default()
}

fn with_id(mut resource: Value, id: &str) -> Value {
    resource["id"] = json!(id);
    resource
}

fn note(
    p: &Presentation,
    subject: &Value,
    encounter: &Value,
    author: &Value,
    at: Timestamp,
    condition: &str,
) -> Value {
    let section = |code: &str, title: &str, text: &str| {
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
        json!({"title": title, "code": {"coding": [{"system": LOINC, "code": code}]},
            "text": {"status": "additional", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>{escaped}</p></div>")}})
    };
    let findings = if p.fever > 5 {
        "Febrile, alert, well hydrated."
    } else {
        "Well, alert. Examination without alarming signs."
    };
    let mut assessment = section("51848-0", "Assessment", p.display);
    assessment["entry"] = json!([{"reference": format!("Condition/{condition}")}]);
    json!({"resourceType": "Composition", "id": "", "status": "final", "title": "Visit note", "date": at.to_string(),
        "type": {"coding": [{"system": LOINC, "code": "11488-4", "display": "Consult note"}]},
        "subject": subject, "encounter": encounter, "author": [author],
        "section": [section("29299-5", "Reason for visit", p.reason), section("29545-1", "Findings", findings),
            assessment, section("18776-5", "Plan", p.plan)]})
}

#[expect(clippy::too_many_arguments, reason = "each is one element of the resource")]
fn prescription(
    m: &Medicine,
    id: String,
    group: &str,
    subject: &Value,
    encounter: &Value,
    requester: &Value,
    at: Timestamp,
    chronic: bool,
) -> Value {
    json!({"resourceType": "MedicationRequest", "id": id, "status": if chronic { "active" } else { "completed" }, "intent": "order",
        "groupIdentifier": {"system": format!("{SYSTEM}/identifier/prescription"), "value": group},
        "medicationCodeableConcept": {"text": format!("{} {}", m.name, m.form)},
        "subject": subject, "encounter": encounter, "authoredOn": at.to_string(), "requester": requester,
        "dosageInstruction": [{"text": format!("{} {} {} for {} days", m.dose, m.route, m.frequency, m.days),
            "route": {"text": m.route},
            "timing": {"repeat": {"frequency": m.per_day, "period": 1, "periodUnit": "d",
                "boundsDuration": {"value": m.days, "unit": "days", "system": UCUM, "code": "d"}}}}],
        "dispenseRequest": {"numberOfRepeatsAllowed": if chronic { 2 } else { 0 },
            "expectedSupplyDuration": {"value": m.days, "unit": "days", "system": UCUM, "code": "d"}}})
}
