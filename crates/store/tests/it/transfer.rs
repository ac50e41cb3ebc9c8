//! A database moves to the other engine and back, and is the same.

use crate::support::*;
use std::cell::Cell;
use store::test_support::{TempStore, postgres, sqlite};
use store::transfer::{self, Progress};
use store::{Counter, Error, Store, Tx, ledger, setting};

fn filled() -> TempStore {
    let temp = sqlite();
    let words = ["mama", "baba", "mtoto", "", "na\0me", "ẞßſ", "日本語"];
    temp.store
        .write_blocking(move |tx: &mut dyn Tx| {
            for n in 0..1_300 {
                setting::put(
                    tx,
                    &format!("key {n:05} {}", words[n % 6]),
                    &serde_json::json!({"n": n, "x": "é".repeat(n % 50)}),
                )?;
                tx.term(&format!("term {n}"), true)?;
            }
            for account in ["cash", "income"] {
                let kind = if account == "cash" { ledger::Kind::Asset } else { ledger::Kind::Income };
                let new = ledger::Account {
                    code: account.into(),
                    name: account.into(),
                    kind,
                    currency: "KES".into(),
                };
                ledger::ensure_account(tx, &new)?;
            }
            tx.next(Counter::Row)?;
            tx.next(Counter::Change)?;
            Ok::<_, Error>(())
        })
        .unwrap();
    write(&temp.store, "old");
    temp
}

/// Resources with rows in most of the index tables.
fn write(store: &Store, prefix: &str) {
    let prefix = prefix.to_owned();
    store
        .write_blocking(move |tx: &mut dyn Tx| {
            for n in 0..200 {
                let patient = Doc::new(&format!("Patient/{prefix}-{n}"))
                    .string("family", "Wanjirũ")
                    .token("identifier", "urn:kenya", &format!("{prefix}{n}"))
                    .date("birthdate", n, n + 86_400);
                insert(tx, &patient)?;
                let observation = Doc::new(&format!("Observation/{prefix}-{n}"))
                    .token("code", "http://loinc.org", "8867-4")
                    .number("value-quantity", 1.5 + n as f64, 1.45, 1.55, "http://unitsofmeasure.org", "kg")
                    .reference("subject", &patient.key)
                    .of(&patient.key);
                insert(tx, &observation)?;
                update(tx, 1, &observation, &observation)?;
            }
            Ok::<_, Error>(())
        })
        .unwrap();
}

fn settings(store: &Store) -> Vec<(String, String)> {
    let all = store.read_blocking(setting::all).unwrap();
    all.into_iter().map(|(key, value)| (key, value.to_string())).collect()
}

fn quiet(_: Progress) {}

#[test]
fn every_row_arrives_on_the_other_engine_and_comes_back() {
    let Some(mut there) = postgres() else { return };
    let from = filled();
    // Stopped three times on the way.
    for stop in [2, 7, 11] {
        let left = Cell::new(stop);
        let is_stopped = || {
            left.set(left.get() - 1);
            left.get() < 0
        };
        assert_eq!(transfer::run(&from.store, &there.store, &quiet, &is_stopped), Err(Error::Closed));
    }
    let report = transfer::run(&from.store, &there.store, &quiet, &|| false).unwrap();
    assert!(
        report.resumed > 0 && report.rows["setting"] >= 1_300 && report.rows["term"] >= 1_300,
        "{report:?}"
    );
    assert!(
        report.rows["resource"] > 0 && report.rows["history"] > 0 && report.rows["token"] > 0,
        "{report:?}"
    );
    there.reopen();
    // And one that says that values of people are encrypted there.
    assert_eq!(settings(&there.store).len(), settings(&from.store).len() + 1);
    // Numbers go on: new rows meet none of the old.
    write(&there.store, "there");
    there.store.write_blocking(|tx: &mut dyn Tx| tx.term("a new one", true)).unwrap();

    let mut back = sqlite();
    let report = transfer::run(&there.store, &back.store, &quiet, &|| false).unwrap();
    assert_eq!(report.resumed, 0);
    back.reopen();
    assert_eq!(settings(&back.store), settings(&there.store));
    write(&back.store, "back");
    back.store.write_blocking(|tx: &mut dyn Tx| tx.term("another new one", true)).unwrap();
    // Into what is no longer new nothing is copied.
    let again = transfer::run(&there.store, &back.store, &quiet, &|| false);
    assert!(matches!(again, Err(Error::Invalid(_))), "{again:?}");
    let same = transfer::run(&back.store, &from.store, &quiet, &|| false);
    assert!(matches!(same, Err(Error::Invalid(_))), "{same:?}");
}

/// A row that changes between copy and comparison is named.
#[test]
fn what_differs_is_named() {
    let Some(there) = postgres() else { return };
    let from = filled();
    let spoil = |progress: Progress| {
        if progress == (Progress::Comparing { table: "setting".into() }) {
            let all = settings(&there.store).into_iter().map(|(key, _)| key);
            let key = all.into_iter().find(|key| key.starts_with("key 00700")).unwrap();
            there
                .store
                .write_blocking(move |tx: &mut dyn Tx| setting::put(tx, &key, &serde_json::json!("spoilt")))
                .unwrap();
        }
    };
    let found = transfer::run(&from.store, &there.store, &spoil, &|| false);
    let Err(Error::Corrupt(text)) = found else { panic!("{found:?}") };
    assert!(text.starts_with("setting differs at row 7"), "{text}");
}
