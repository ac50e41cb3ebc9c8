//! Numbers of own search parameters, their walks, and an index that lacks entries.

use crate::support::*;
use fhir::TypeId;
use fhir::search::{IndexEntry, IndexValue, State};
use serde_json::json;
use store::resource;
use store::search_parameter::{self, FIRST, New};
use store::test_support::{TempStore, both};

fn begin(temp: &TempStore, resource: &str, kind: TypeId, code: &str) -> Option<u16> {
    let (resource, code) = (resource.to_owned(), code.to_owned());
    let made = temp.store.write_blocking(move |tx| {
        let start = tx.now()?;
        let definition = json!({"code": code});
        let new = New { resource: &resource, kind, code: &code, definition: &definition, start };
        search_parameter::insert(tx, &new)
    });
    made.unwrap().map(|param| param.0)
}

fn numbers(temp: &TempStore) {
    let generation = || temp.store.read_blocking(search_parameter::generation).unwrap();
    let all = || temp.store.read_blocking(search_parameter::all).unwrap();
    assert_eq!((generation(), all().len()), (0, 0), "{}", temp.engine);
    assert_eq!(begin(temp, "a", TypeId::PATIENT, "village"), Some(FIRST));
    assert_eq!(begin(temp, "a", TypeId::PRACTITIONER, "village"), Some(FIRST + 1));
    assert_eq!(begin(temp, "b", TypeId::PATIENT, "village"), None, "the code is taken");
    let before = generation();
    let first = all().remove(0);
    assert_eq!(
        (first.state, first.resource.as_str(), first.code.as_str()),
        (State::Building, "a", "village")
    );
    let param = first.param;
    temp.store
        .write_blocking(move |tx| {
            let now = tx.now()?;
            search_parameter::drop(tx, param, now)
        })
        .unwrap();
    assert!(generation() > before);
    // The code is free at once, the number only when its values are gone.
    assert_eq!(begin(temp, "b", TypeId::PATIENT, "village"), Some(FIRST + 3));
    let due = temp.store.read_blocking(search_parameter::due).unwrap();
    assert_eq!(due, Some(param));
    for _ in 0..3 {
        temp.store
            .write_blocking(|tx| {
                let Some(due) = search_parameter::due(tx)? else { return Ok(()) };
                let locked = search_parameter::lock_one(tx, due)?.unwrap();
                search_parameter::finish(tx, &locked)
            })
            .unwrap();
    }
    assert_eq!(temp.store.read_blocking(search_parameter::due).unwrap(), None);
    let left: Vec<_> = all().into_iter().map(|p| (p.param.0, p.state)).collect();
    assert_eq!(left, [(FIRST + 1, State::Ready), (FIRST + 3, State::Ready)]);
}

#[test]
fn numbers_are_given_and_taken_back() {
    both().iter().for_each(numbers);
}

fn step(resources: u32) -> resource::Step {
    resource::Step { resources, bytes: 1 << 20 }
}

/// A step takes no more bytes than it may, but for the resource that goes beyond; and both walks meet everything.
fn bytes(temp: &TempStore) {
    for n in 0..9 {
        let doc = Doc::new(&format!("Observation/o{n}")).updated(n);
        temp.store.write_blocking(move |tx| insert(tx, &doc)).unwrap();
    }
    let one = temp
        .store
        .read_blocking(|tx| resource::load(tx, &key("Observation/o0")))
        .unwrap()
        .unwrap()
        .content
        .len();
    let two = resource::Step { resources: 100, bytes: one + 1 };
    let (mut after, mut sizes) = ((i64::MIN, 0), Vec::new());
    loop {
        let batch = temp
            .store
            .write_blocking(move |tx| search_parameter::batch(tx, TypeId::OBSERVATION, after, two))
            .unwrap();
        sizes.push(batch.rows.len());
        after = batch.end;
        if batch.last {
            break;
        }
    }
    assert_eq!(sizes, [2, 2, 2, 2, 1], "{}", temp.engine);
    let (mut after, mut sizes) = (Some(0), Vec::new());
    while let Some(from) = after {
        let (done, next) = temp
            .store
            .write_blocking(move |tx| resource::complete_index(tx, from, two, &mut |_| None))
            .unwrap();
        sizes.push(done);
        after = next;
    }
    assert_eq!(sizes, [2, 2, 2, 2, 1, 0], "{}", temp.engine);
}

#[test]
fn a_step_of_a_walk_is_bounded_by_bytes() {
    both().iter().for_each(bytes);
}

fn walk(temp: &TempStore) {
    for n in 0..7 {
        let doc = Doc::new(&format!("Observation/o{n}")).updated(i64::from(n % 3));
        temp.store.write_blocking(move |tx| insert(tx, &doc)).unwrap();
    }
    let doc = Doc::new("Patient/p").updated(1);
    temp.store.write_blocking(move |tx| insert(tx, &doc)).unwrap();
    let (mut after, mut seen) = ((i64::MIN, 0), Vec::new());
    loop {
        let batch = temp
            .store
            .write_blocking(move |tx| search_parameter::batch(tx, TypeId::OBSERVATION, after, step(3)))
            .unwrap();
        assert!(batch.rows.len() <= 3);
        seen.extend(batch.rows.iter().map(|row| row.key.id.clone()));
        after = batch.end;
        if batch.last {
            break;
        }
    }
    // PostgreSQL gives rows of one second in any order.
    seen[..3].sort();
    seen[3..5].sort();
    seen[5..].sort();
    assert_eq!(seen, ["o0", "o3", "o6", "o1", "o4", "o2", "o5"], "{}: by last change", temp.engine);
}

#[test]
fn a_walk_meets_every_resource_once() {
    both().iter().for_each(walk);
}

fn complete(temp: &TempStore) {
    // As an older extractor left them.
    for n in 0..5 {
        let doc = Doc::new(&format!("Observation/o{n}")).token("status", "", "final");
        temp.store.write_blocking(move |tx| insert(tx, &doc)).unwrap();
    }
    let found = |parameters: &str| {
        let query = parse("Observation", parameters);
        let page = temp.store.read_blocking(move |tx| {
            let rights = store::search::Rights::same(access::Predicate::Everything);
            store::search::run(tx, &query, &rights, at(0))
        });
        page.unwrap().rows.len()
    };
    assert_eq!((found("status=final"), found("code=x"), found("code:missing=true")), (5, 0, 5));
    let (mut after, mut looked) = (Some(0), 0);
    while let Some(from) = after {
        let (done, next) = temp
            .store
            .write_blocking(move |tx| {
                resource::complete_index(tx, from, step(2), &mut |stored| {
                    let token = |code: &str, value: &str| IndexEntry {
                        param: param("Observation", code),
                        value: IndexValue::Token { system: String::new(), code: value.into() },
                    };
                    // One cannot be read any more, and stays as it is.
                    (stored.key.id != "o3").then(|| vec![token("status", "final"), token("code", "x")])
                })
            })
            .unwrap();
        looked += done;
        after = next;
    }
    assert_eq!(looked, 5);
    assert_eq!(
        (found("status=final"), found("code=x"), found("code:missing=true")),
        (5, 4, 1),
        "{}",
        temp.engine
    );
}

#[test]
fn an_index_is_completed_while_it_is_used() {
    both().iter().for_each(complete);
}

fn units(temp: &TempStore) {
    let ucum = "http://unitsofmeasure.org";
    for (id, value, reach, unit) in [
        ("a", 5400.0, 0.5, "umol/L"),
        ("b", 5.4, 0.05, "mmol/L"),
        ("c", 5.4, 0.05, "mg/dL"),
        ("d", 0.9, 0.05, "mol/L"),
    ] {
        let doc = Doc::new(&format!("Observation/{id}")).number(
            "value-quantity",
            value,
            value - reach,
            value + reach,
            ucum,
            unit,
        );
        temp.store.write_blocking(move |tx| insert(tx, &doc)).unwrap();
    }
    for (query, expected) in [
        ("5.4|http://unitsofmeasure.org|mmol/L", "a b"),
        ("5400||umol/L", "a b"),
        ("gt1|http://unitsofmeasure.org|mmol/L", "a b d"),
        ("0.0054|http://unitsofmeasure.org|mol/L", "a b"),
        ("54|http://unitsofmeasure.org|mg/L", "c"),
        ("5.4", "b c"),
        ("5|http://unitsofmeasure.org|km", ""),
    ] {
        let parsed = parse("Observation", &format!("value-quantity={query}"));
        let page = temp.store.read_blocking(move |tx| {
            let rights = store::search::Rights::same(access::Predicate::Everything);
            store::search::run(tx, &parsed, &rights, at(0))
        });
        let mut found: Vec<String> = page.unwrap().rows.into_iter().map(|row| row.key.id).collect();
        found.sort();
        assert_eq!(found.join(" "), expected, "{} {query}", temp.engine);
    }
}

#[test]
fn quantities_compare_across_units() {
    both().iter().for_each(units);
}
