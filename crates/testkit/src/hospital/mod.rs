//! The demonstration hospital: a facility, its people and their records, as FHIR R4 resources.
//!
//! [Hospital::facility] gives the shared part, [Hospital::patient] one patient's whole record. Patients are made
//! independently from (seed, number), so any range can be made in any order or in parallel.

mod clinical;
mod facility;
mod names;
mod patient;
mod person;

pub use facility::Doctor;

use jiff::civil::Date;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;

/// Everything that Uzima itself defines lives under this base.
pub const SYSTEM: &str = "https://uzima.health/fhir";

/// How much of a record each patient gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Demographics only: for searching a million people.
    Demographics,
    /// Problems, allergies, visits with notes, vitals and prescriptions, appointments.
    Full,
}

pub struct Hospital {
    seed: u64,
    today: Date,
    patients: u64,
    depth: Depth,
    doctors: Vec<Doctor>,
    /// Slots of the past two and the coming three weeks that somebody has booked, by patient number.
    booked: std::collections::BTreeMap<u64, Vec<facility::Booked>>,
}

impl Hospital {
    /// `today` places appointments: two weeks before it are past, three weeks after it are booked.
    pub fn new(seed: u64, today: Date, patients: u64, depth: Depth) -> Hospital {
        let doctors = facility::doctors(seed);
        let booked = match depth {
            Depth::Full => facility::book(seed, today, patients, &doctors),
            Depth::Demographics => Default::default(),
        };
        Hospital { seed, today, patients, depth, doctors, booked }
    }

    pub fn patients(&self) -> u64 {
        self.patients
    }

    /// Organization, locations, practitioners and their roles, schedules, price list.
    pub fn facility(&self) -> Vec<Value> {
        facility::resources(&self.doctors)
    }

    pub fn doctors(&self) -> &[Doctor] {
        &self.doctors
    }

    /// The Patient first, then what refers to it. `number` is `0..patients`.
    pub fn patient(&self, number: u64) -> Vec<Value> {
        let mut random = self.random(0x7061_7469, number);
        patient::record(self, number, &mut random)
    }

    fn random(&self, stream: u64, number: u64) -> StdRng {
        // Distinct odd multipliers keep the streams of neighbouring patients apart.
        StdRng::seed_from_u64(
            self.seed
                ^ stream.wrapping_mul(0x9E37_79B9_7F4A_7C15)
                ^ number.wrapping_mul(0xD1B5_4A32_D192_ED03),
        )
    }
}

/// A UUID from the generator's own randomness, so that runs agree.
fn uuid(random: &mut StdRng) -> String {
    use rand::RngExt;
    uuid::Builder::from_random_bytes(random.random()).into_uuid().to_string()
}

/// One of the items, all equally likely.
fn pick<T: Copy>(random: &mut StdRng, items: &[T]) -> T {
    use rand::RngExt;
    items[random.random_range(0..items.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use std::collections::{BTreeMap, BTreeSet};

    fn all(hospital: &Hospital) -> Vec<Value> {
        let mut all = hospital.facility();
        (0..hospital.patients()).for_each(|n| all.extend(hospital.patient(n)));
        all
    }

    #[test]
    fn the_same_seed_gives_the_same_hospital() {
        let make = |seed| all(&Hospital::new(seed, date(2026, 11, 21), 20, Depth::Full));
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }

    #[test]
    fn every_reference_resolves_and_ids_are_unique() {
        let resources = all(&Hospital::new(7, date(2026, 2, 28), 60, Depth::Full));
        let mut ids = BTreeSet::new();
        for r in &resources {
            let key = format!("{}/{}", r["resourceType"].as_str().unwrap(), r["id"].as_str().unwrap());
            assert!(ids.insert(key.clone()), "{key} twice");
        }
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(o) => {
                    if let Some(Value::String(r)) = o.get("reference") {
                        found.push(r.clone());
                    }
                    o.values().for_each(|v| references(v, found));
                }
                Value::Array(a) => a.iter().for_each(|v| references(v, found)),
                _ => {}
            }
        }
        let mut found = Vec::new();
        resources.iter().for_each(|r| references(r, &mut found));
        assert!(found.len() > 500);
        for reference in found {
            assert!(ids.contains(&reference), "{reference} dangles");
        }
    }

    #[test]
    fn nobody_is_booked_twice_at_a_time() {
        let resources = all(&Hospital::new(3, date(2026, 11, 21), 80, Depth::Full));
        let mut taken: BTreeMap<(String, String), String> = BTreeMap::new();
        let mut booked = 0;
        for a in resources.iter().filter(|r| r["resourceType"] == "Appointment") {
            booked += 1;
            for p in a["participant"].as_array().unwrap() {
                let actor = p["actor"]["reference"].as_str().unwrap().to_owned();
                let start = a["start"].as_str().unwrap().to_owned();
                let other = taken.insert((actor.clone(), start.clone()), a["id"].to_string());
                assert_eq!(other, None, "{actor} at {start}");
            }
        }
        assert!(booked > 100, "{booked}");
    }
}
