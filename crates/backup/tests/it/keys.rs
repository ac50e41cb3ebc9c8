//! An erased patient is in no backup any more.

use crate::support::*;
use fhir::{ResourceKey, TypeId};
use jiff::Timestamp;
use store::resource::{self, Indexed, New, Step, Stored};
use store::{Content, Error, Store, Tx, audit, shred};

fn key(patient: &str) -> ResourceKey {
    ResourceKey { kind: TypeId::PATIENT, id: patient.to_owned() }
}

fn register(store: &Store, patient: &'static str) {
    let content = Content::new(&format!(
        r#"{{"resourceType":"Patient","id":"{patient}","name":"secret of {patient}"}}"#
    ));
    let event = audit::Event {
        at: Timestamp::UNIX_EPOCH,
        action: "create".into(),
        outcome: audit::Outcome::Success,
        agent: "account/1".into(),
        agent_display: "Dr. Otieno".into(),
        role: "clinician".into(),
        address: None,
        request_id: String::new(),
        purpose: access::Purpose::Treatment,
        what: format!("Patient/{patient}"),
        patients: vec![patient.to_owned()],
        session: None,
        client: String::new(),
    };
    store
        .write_blocking(move |tx: &mut dyn Tx| {
            let key = key(patient);
            let new = New {
                key: &key,
                last_updated: Timestamp::UNIX_EPOCH,
                content: &content,
                entries: &[],
                patients: &[],
            };
            resource::insert(tx, &new)?;
            audit::append(tx, std::slice::from_ref(&event))
        })
        .unwrap();
}

fn load(store: &Store, patient: &'static str) -> Stored {
    store.read_blocking(move |tx| resource::load(tx, &key(patient))).unwrap().unwrap()
}

fn trail(store: &Store) -> Vec<audit::Row> {
    store.read_blocking(|tx| audit::list(tx, &audit::Filter::default(), None, 100)).unwrap().rows
}

fn erase(store: &Store, patient: &'static str) {
    let at = Timestamp::UNIX_EPOCH;
    let step = Step { resources: 100, bytes: 1 << 20 };
    store
        .write_blocking(move |tx: &mut dyn Tx| {
            let whose = shred::patients(tx, patient)?;
            let none = &mut |_: &Stored| Indexed::default();
            assert_eq!(shred::step(tx, &whose, 0, step, at, none)?.erased.len(), 1);
            shred::rows(tx, &whose, at)?;
            shred::finish(tx, &whose, at)?;
            Ok::<_, Error>(())
        })
        .unwrap();
}

#[test]
fn no_backup_brings_an_erased_patient_back() {
    let place = folder();
    let mut clinic = Clinic::new();
    register(&clinic.store, "early");
    let repository = place.repository();
    clinic.base(&repository);
    register(&clinic.store, "gone");
    register(&clinic.store, "stays");
    clinic.ship(&repository).unwrap();
    let before = Timestamp::now();
    let (to, _) = clinic.restored(&repository, Some(before));
    let store = open(&to);
    assert!(std::str::from_utf8(&load(&store, "gone").content).unwrap().contains("secret of gone"));
    let known = trail(&store);
    assert_eq!(known.len(), 3);
    store.close();

    erase(&clinic.store, "gone");
    erase(&clinic.store, "early");
    clinic.ship(&repository).unwrap();
    clinic.base(&repository);
    for (at, there) in [(Some(before), 3), (None, 3)] {
        let (to, _) = clinic.restored(&repository, at);
        let store = open(&to);
        for patient in ["gone", "early"] {
            let row = load(&store, patient);
            assert!(row.deleted && row.content.is_empty(), "{patient} {at:?}");
        }
        assert!(!load(&store, "stays").content.is_empty());
        assert_eq!(trail(&store).len(), there);
        assert_eq!(trail(&store), known, "the trail is as it was");
        store.close();
    }
    clinic.store.close();
}
