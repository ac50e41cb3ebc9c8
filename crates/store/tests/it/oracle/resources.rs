//! Random resources of a small hospital.

use crate::differential::Random;
use serde_json::{Value, json};

pub const PATIENTS: u64 = 40;
pub const ORGANIZATIONS: u64 = 8;
pub const PRACTITIONERS: u64 = 5;
pub const ENCOUNTERS: u64 = 60;
pub const CODES: [(&str, &str, &str); 4] = [
    ("http://loinc.org", "8480-6", "Systolic blood pressure"),
    ("http://loinc.org", "8867-4", "Heart rate"),
    ("urn:local", "8867-4", "Herzfrequenz"),
    ("urn:local", "bp", "Blood pressure panel"),
];
pub const DATES: [&str; 8] = [
    "2023",
    "2024-02",
    "2024-02-29",
    "2024-03-01",
    "2024-03-01T09:30:00+03:00",
    "2024-03-01T06:30:00Z",
    "2024-03-01T23:59:59.5-01:00",
    "2025-01-01",
];
pub const FAMILIES: [&str; 5] = ["Otieno", "Ótieno", "Oti", "Kamau", "wa Njoroge"];

fn concept(random: &mut Random) -> Value {
    let (system, code, display) = random.pick(&CODES);
    match random.below(5) {
        0 => json!({"text": random.pick(&["Fieber seit gestern", "Heart murmur", "Blood"])}),
        1 => {
            let (system2, code2, display2) = random.pick(&CODES);
            json!({"coding": [{"system": system, "code": code, "display": display}, {"system": system2, "code": code2, "display": display2}]})
        }
        2 => json!({"coding": [{"system": system, "code": code}], "text": "as said"}),
        _ => json!({"coding": [{"system": system, "code": code, "display": display}], "text": display}),
    }
}

fn quantity(random: &mut Random) -> Value {
    let mut value = json!({"value": random.below(20), "unit": "mmHg"});
    if random.often() {
        value["system"] = "http://unitsofmeasure.org".into();
        value["code"] = random.pick(&["mm[Hg]", "kg"]).into();
    }
    if random.below(6) == 0 {
        value["comparator"] = random.pick(&["<", ">"]).into();
    }
    value
}

fn some<T>(random: &mut Random, one_in: u64, value: impl FnOnce(&mut Random) -> T) -> Option<T> {
    (random.below(one_in) > 0).then(|| value(random))
}

fn set(value: &mut Value, key: &str, child: Option<Value>) {
    if let Some(child) = child {
        value[key] = child;
    }
}

fn reference(kind: &str, prefix: &str, n: u64) -> Value {
    json!({"reference": format!("{kind}/{prefix}{n}")})
}

pub fn all(random: &mut Random) -> Vec<Value> {
    let mut out = Vec::new();
    for n in 0..ORGANIZATIONS {
        let mut organization = json!({"resourceType": "Organization", "id": format!("o{n}"), "active": random.often(), "name": random.pick(&["Afya Clinic", "Boma Hospital"])});
        if n > 0 && random.often() {
            organization["partOf"] = reference("Organization", "o", random.below(n));
        }
        out.push(organization);
    }
    for n in 0..PRACTITIONERS {
        out.push(json!({"resourceType": "Practitioner", "id": format!("d{n}"), "name": [{"family": random.pick(&FAMILIES)}]}));
    }
    for n in 0..6 {
        out.push(json!({"resourceType": "Location", "id": format!("l{n}"), "status": "active", "position": {"latitude": -1.0 - 0.2 * n as f64, "longitude": 36.5 + 0.1 * n as f64}}));
    }
    for n in 0..PATIENTS {
        out.push(patient(random, n));
    }
    for n in 0..ENCOUNTERS {
        let mut encounter = json!({"resourceType": "Encounter", "id": format!("e{n}"), "status": random.pick(&["finished", "planned"]), "class": {"code": "AMB"}});
        set(&mut encounter, "subject", some(random, 5, |r| reference("Patient", "p", r.below(PATIENTS))));
        // They stand in the order of time; a Period does not end before it starts.
        let first = random.below(DATES.len() as u64);
        let start = some(random, 4, |_| json!(DATES[first as usize]));
        let end = some(random, 2, |r| json!(DATES[(first + r.below(DATES.len() as u64 - first)) as usize]));
        if start.is_some() || end.is_some() {
            encounter["period"] = json!({});
            set(&mut encounter["period"], "start", start);
            set(&mut encounter["period"], "end", end);
        }
        set(
            &mut encounter,
            "participant",
            some(
                random,
                3,
                |r| json!([{"individual": reference("Practitioner", "d", r.below(PRACTITIONERS))}]),
            ),
        );
        set(
            &mut encounter,
            "serviceProvider",
            some(random, 3, |r| reference("Organization", "o", r.below(ORGANIZATIONS))),
        );
        out.push(encounter);
    }
    for n in 0..180 {
        out.push(observation(random, n));
    }
    out
}

fn patient(random: &mut Random, n: u64) -> Value {
    let mut patient = json!({"resourceType": "Patient", "id": format!("p{n}"), "active": random.often()});
    let given = random.pick(&["Amina", "Ámina Joy", "Bob"]);
    patient["name"] = json!([{"family": random.pick(&FAMILIES), "given": [given]}]);
    set(&mut patient, "gender", some(random, 4, |r| json!(r.pick(&["female", "male"]))));
    set(
        &mut patient,
        "birthDate",
        some(random, 4, |r| json!(r.pick(&["1990", "1990-05", "1990-05-17", "1985-01-01"]))),
    );
    let mut identifier =
        json!({"system": random.pick(&["urn:mrn", "urn:nid"]), "value": format!("{}", n / 2)});
    if random.often() {
        identifier["type"] = json!({"coding": [{"system": "urn:type", "code": random.pick(&["MR", "NI"])}], "text": random.pick(&["Record number", "National id"])});
    }
    patient["identifier"] = json!([identifier]);
    set(
        &mut patient,
        "telecom",
        some(
            random,
            3,
            |r| json!([{"system": r.pick(&["phone", "email"]), "value": r.pick(&["+254700", "a@b.c"])}]),
        ),
    );
    set(
        &mut patient,
        "address",
        some(random, 3, |r| json!([{"city": r.pick(&["Nairobi", "Nyeri", "Mombasa"]), "country": "KE"}])),
    );
    set(
        &mut patient,
        "managingOrganization",
        some(random, 3, |r| reference("Organization", "o", r.below(ORGANIZATIONS))),
    );
    set(
        &mut patient,
        "generalPractitioner",
        some(random, 3, |r| json!([reference("Practitioner", "d", r.below(PRACTITIONERS + 1))])),
    );
    if random.below(6) == 0 {
        patient["link"] =
            json!([{"other": reference("Patient", "p", random.below(PATIENTS)), "type": "seealso"}]);
    }
    if random.below(3) == 0 {
        patient["meta"] = json!({"tag": [{"system": "urn:tag", "code": random.pick(&["vip", "demo"])}]});
    }
    if random.often() {
        let word = random.pick(&["asthma", "malaria", "hypertension"]);
        patient["text"] = json!({"status": "generated", "div": format!("<div xmlns=\"http://www.w3.org/1999/xhtml\"><p>Known {word}</p></div>")});
    }
    patient
}

fn observation(random: &mut Random, n: u64) -> Value {
    let mut observation = json!({"resourceType": "Observation", "id": format!("x{n}"), "status": random.pick(&["final", "amended"]), "code": concept(random)});
    set(
        &mut observation,
        "subject",
        some(random, 6, |r| match r.below(8) {
            0 => reference("Location", "l", r.below(6)),
            1 => json!({"identifier": {"system": "urn:mrn", "value": format!("{}", r.below(9))}}),
            _ => reference("Patient", "p", r.below(PATIENTS)),
        }),
    );
    set(&mut observation, "encounter", some(random, 3, |r| reference("Encounter", "e", r.below(ENCOUNTERS))));
    set(
        &mut observation,
        "performer",
        some(random, 2, |r| {
            json!([
                reference("Practitioner", "d", r.below(PRACTITIONERS)),
                reference("Patient", "p", r.below(PATIENTS))
            ])
        }),
    );
    match random.below(5) {
        0 => observation["effectivePeriod"] = json!({"start": random.pick(&DATES)}),
        1 => {}
        _ => observation["effectiveDateTime"] = json!(random.pick(&DATES)),
    }
    match random.below(4) {
        0 => observation["valueCodeableConcept"] = concept(random),
        1 => observation["valueString"] = json!(random.pick(&["clear", "Cloudy urine", "élan"])),
        2 => observation["valueQuantity"] = quantity(random),
        _ => {}
    }
    if random.below(3) == 0 {
        let component = |random: &mut Random| {
            let mut component = json!({"code": concept(random)});
            set(&mut component, "valueQuantity", some(random, 4, quantity));
            component
        };
        observation["component"] = json!([component(random), component(random)]);
    }
    if random.below(4) == 0 {
        observation["note"] =
            json!([{"text": random.pick(&["taken sitting", "patient had malaria", "left arm"])}]);
    }
    observation
}
