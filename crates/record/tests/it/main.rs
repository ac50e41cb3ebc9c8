//! The record against real databases: SQLite always, PostgreSQL where `UZIMA_TEST_POSTGRES_URL` names one.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where something is not as it must be")]

mod applications;
mod audit;
mod audit_tree;
mod authenticator;
mod authn;
mod balp;
mod bench;
mod bundle;
mod conditional;
mod credential;
mod differential;
mod events;
mod finished;
mod four_eyes;
mod given;
mod grants;
mod guessing;
mod history;
mod import;
mod import_rules;
mod import_tables;
mod merge;
mod oauth;
mod owned;
mod policy;
mod reach;
mod read;
mod redaction;
mod registration;
mod rights;
mod search;
mod standing;
mod statements;
mod stolen;
mod subject;
mod subscription;
mod terminology;
mod times;
mod write;

pub use bench::{Bench, each_engine};

use fhir::{Resource, ResourceKey, TypeId};
use record::{Change, ChangeSet};
use serde_json::{Value, json};

pub fn kind(name: &str) -> TypeId {
    TypeId::from_name(name).unwrap()
}

pub fn key(text: &str) -> ResourceKey {
    ResourceKey::parse(text).unwrap()
}

pub fn resource(value: Value) -> Resource {
    Resource::from_value(value).unwrap()
}

pub fn create(value: Value) -> Change {
    Change::Create { resource: resource(value) }
}

pub fn update(value: Value, if_match: Option<u32>) -> Change {
    Change::Update { resource: resource(value), if_match }
}

pub fn set(changes: Vec<Change>) -> ChangeSet {
    ChangeSet { changes, ..ChangeSet::default() }
}

pub fn patient(id: &str, family: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "active": true,
        "name": [{"family": family, "given": ["Test"]}], "gender": "female", "birthDate": "1990-02-03"})
}

pub fn observation(id: &str, patient: &str, value: &str) -> Value {
    json!({"resourceType": "Observation", "id": id, "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "subject": {"reference": format!("Patient/{patient}")}, "effectiveDateTime": "2026-11-20T08:00:00Z",
        "valueQuantity": {"value": serde_json::from_str::<Value>(value).unwrap(), "unit": "/min",
            "system": "http://unitsofmeasure.org", "code": "/min"}})
}

pub fn appointment(id: &str, patient: &str, practitioner: &str) -> Value {
    json!({"resourceType": "Appointment", "id": id, "status": "booked",
        "start": "2026-12-01T09:00:00Z", "end": "2026-12-01T09:20:00Z",
        "participant": [{"actor": {"reference": format!("Patient/{patient}")}, "status": "accepted"},
            {"actor": {"reference": format!("Practitioner/{practitioner}")}, "status": "accepted"}]})
}
