//! Versions, history, changes.

use crate::support::*;
use store::resource::{self, Changed};
use store::test_support::{TempStore, both};
use store::{Content, Error};

fn observation(value: f64) -> Doc {
    Doc::new("Observation/o1")
        .token("code", "http://loinc.org", "8480-6")
        .number("value-quantity", value, value - 0.5, value + 0.5, "", "mmHg")
        .date("date", 1_000, 2_000)
        .reference("subject", "Patient/p1")
        .of("p1")
}

fn versions(temp: &TempStore) {
    let (first, second) = (observation(120.0), observation(130.0).updated(60));
    let (a, b) = (first.clone(), second.clone());
    let written = temp.store.write_blocking(move |tx| insert(tx, &a)).unwrap();
    assert_eq!(written.version, 1);
    let a = first.clone();
    let again = temp.store.write_blocking(move |tx| {
        let content = Content::new("{}");
        let key = key(&a.key);
        let new =
            resource::New { key: &key, last_updated: at(0), content: &content, entries: &[], patients: &[] };
        resource::insert(tx, &new)
    });
    assert_eq!(again, Ok(None), "the key is taken");

    let a = first.clone();
    let wrong = temp.store.write_blocking(move |tx| update(tx, 7, &a, &b));
    assert_eq!(wrong, Ok(None), "another version");
    let (a, b) = (first.clone(), second.clone());
    let written2 = temp.store.write_blocking(move |tx| update(tx, 1, &a, &b)).unwrap().unwrap();
    assert_eq!((written2.version, written2.rid), (2, written.rid));
    assert!(written2.seq > written.seq);

    let b = second.clone();
    let deleted = temp
        .store
        .write_blocking(move |tx| resource::delete(tx, &key("Observation/o1"), 2, &b.entries, at(120)))
        .unwrap()
        .unwrap();
    assert_eq!(deleted.version, 3);
    let b = second.clone();
    let twice = temp
        .store
        .write_blocking(move |tx| resource::delete(tx, &key("Observation/o1"), 3, &b.entries, at(121)));
    assert_eq!(twice, Ok(None));

    let stored = temp.store.read_blocking(|tx| resource::load(tx, &key("Observation/o1"))).unwrap().unwrap();
    assert!(stored.deleted && stored.content.is_empty());
    assert_eq!((stored.version, stored.last_updated, stored.patients), (3, at(120), vec!["p1".to_owned()]));
    assert_eq!(temp.store.read_blocking(|tx| resource::load(tx, &key("Observation/o2"))), Ok(None));

    // It comes back as version 4.
    let c = first.clone().updated(180);
    let back = temp.store.write_blocking(move |tx| update(tx, 3, &Doc::default(), &c)).unwrap().unwrap();
    assert_eq!(back.version, 4);
    let (page, rest) = temp
        .store
        .read_blocking(|tx| {
            let page = resource::history(tx, &key("Observation/o1"), None, 3)?.unwrap();
            let rest = resource::history(tx, &key("Observation/o1"), page.next.as_deref(), 3)?.unwrap();
            Ok::<_, Error>((page, rest))
        })
        .unwrap();
    let seen: Vec<(u32, bool)> = page.rows.iter().chain(&rest.rows).map(|v| (v.version, v.deleted)).collect();
    assert_eq!(seen, [(4, false), (3, true), (2, false), (1, false)]);
    assert_eq!(rest.next, None);
    assert_eq!(&*rest.rows[0].content, first.json(1).as_bytes());
    for version in 1..=4 {
        let read = temp
            .store
            .read_blocking(move |tx| resource::read_version(tx, &key("Observation/o1"), version))
            .unwrap()
            .unwrap();
        assert_eq!(read.version, version);
        assert_eq!(read.deleted, version == 3);
    }
    assert_eq!(
        temp.store.read_blocking(|tx| resource::read_version(tx, &key("Observation/o1"), 5)),
        Ok(None)
    );
    assert_eq!(
        temp.store.read_blocking(|tx| resource::history(tx, &key("Observation/none"), None, 3)),
        Ok(None)
    );
    assert_eq!(
        temp.store.read_blocking(|tx| resource::history(tx, &key("Observation/o1"), Some("x"), 3)),
        Err(Error::Invalid("cursor"))
    );
}

#[test]
fn versions_follow_each_other() {
    both().iter().for_each(versions);
}

/// Index rows left behind by an update or a delete would show up in searches and counts.
fn index_rows(temp: &TempStore) {
    let tables = ["token", "string", "date", "quantity", "reference", "uri", "compartment"];
    let count = |temp: &TempStore| -> Vec<i64> {
        temp.store
            .read_blocking(move |tx| {
                let mut counts = Vec::new();
                for table in tables {
                    let sql = format!("SELECT count(*) FROM {table}");
                    counts.push(tx.one(&sql, &[], |row| row.int(0))?.unwrap());
                }
                Ok::<_, Error>(counts)
            })
            .unwrap()
    };
    let full = Doc::new("Patient/p9")
        .token("identifier", "urn:mrn", "MRN-1")
        .token("gender", "", "female")
        .string("name", "Amina")
        .string("name", "amina")
        .string("name", "Aminata")
        .string("family", "Ō Mara")
        .date("birthdate", 0, 86_400_000_000)
        .date("death-date", 0, 864_000_000_000)
        .reference("general-practitioner", "Practitioner/x")
        .uri("_profile", "http://example.org/p");
    let other = Doc::new("Patient/p9").token("gender", "", "male").string("name", "Amina").updated(1);
    let (a, b) = (full.clone(), other.clone());
    temp.store.write_blocking(move |tx| insert(tx, &a)).unwrap();
    // Compartment membership of the Patient itself is a reference row.
    assert_eq!(count(temp), [2, 4, 2, 0, 2, 1, 0]);
    let a = full.clone();
    temp.store.write_blocking(move |tx| update(tx, 1, &a, &b)).unwrap().unwrap();
    assert_eq!(count(temp), [1, 1, 0, 0, 1, 0, 0]);
    let (a, b) = (full.clone(), other.clone());
    temp.store.write_blocking(move |tx| update(tx, 2, &b, &a)).unwrap().unwrap();
    assert_eq!(count(temp), [2, 4, 2, 0, 2, 1, 0]);
    let many = Doc { patients: vec!["p9".into(), "p2".into(), "p3".into()], ..full.clone() };
    let (a, b) = (full.clone(), many.clone());
    temp.store.write_blocking(move |tx| update(tx, 3, &a, &b)).unwrap().unwrap();
    assert_eq!(count(temp), [2, 4, 2, 0, 4, 1, 2]);
    let stored = temp.store.read_blocking(|tx| resource::load(tx, &key("Patient/p9"))).unwrap().unwrap();
    assert_eq!(stored.patients, ["p9", "p2", "p3"]);
    let b = many.clone();
    temp.store
        .write_blocking(move |tx| resource::delete(tx, &key("Patient/p9"), 4, &b.entries, at(5)))
        .unwrap()
        .unwrap();
    assert_eq!(count(temp), [0, 0, 0, 0, 0, 0, 2], "the patients of a deleted resource are kept");
}

#[test]
fn index_rows_come_and_go() {
    both().iter().for_each(index_rows);
}

fn one_wins(temp: &TempStore) {
    let doc = observation(1.0);
    let first = doc.clone();
    temp.store.write_blocking(move |tx| insert(tx, &first)).unwrap();
    let wins: usize = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8)
            .map(|n| {
                let (store, old) = (temp.store.clone(), doc.clone());
                let new = observation(f64::from(n) + 10.0).updated(n.into());
                scope.spawn(move || {
                    let result: store::Result<_> = store.write_blocking(move |tx| update(tx, 1, &old, &new));
                    usize::from(result.unwrap().is_some())
                })
            })
            .collect();
        tries.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(wins, 1, "{}", temp.engine);
}

#[test]
fn of_concurrent_updates_one_wins() {
    both().iter().for_each(one_wins);
}

/// Follows the change feed while writers work: no change may be missed, none may come out of order.
fn feed(temp: &TempStore) {
    const WRITERS: usize = 6;
    const EACH: usize = 25;
    let (mut seen, mut after): (Vec<Changed>, i64) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = temp.store.clone();
            scope.spawn(move || {
                for n in 0..EACH {
                    let doc = Doc::new(&format!("Basic/w{writer}-{n}"));
                    store
                        .write_blocking(move |tx| {
                            let first = insert(tx, &doc)?;
                            // Some change twice in one transaction: only the last change is in the feed.
                            if n % 5 == 0 {
                                update(tx, 1, &doc, &doc)?;
                            }
                            Ok::<_, Error>(first)
                        })
                        .unwrap();
                }
            });
        }
        let store = temp.store.clone();
        let (seen, after) = (&mut seen, &mut after);
        scope.spawn(move || {
            while seen.len() < WRITERS * EACH {
                let from = *after;
                let more: store::Result<Vec<Changed>> =
                    store.write_blocking(move |tx| resource::changes(tx, from, 10));
                for change in more.unwrap() {
                    assert!(change.seq > *after);
                    *after = change.seq;
                    seen.push(change);
                }
            }
        });
    });
    let mut keys: Vec<_> = seen.iter().map(|c| c.key.clone()).collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), WRITERS * EACH, "{}", temp.engine);
}

#[test]
fn the_change_feed_misses_nothing() {
    both().iter().for_each(feed);
}

#[test]
fn referrers_and_references() {
    for temp in both() {
        temp.store
            .write_blocking(|tx| {
                insert(tx, &Doc::new("Patient/p1"))?;
                insert(tx, &observation(1.0))?;
                assert!(resource::exists_for_reference(tx, &key("Patient/p1"))?);
                assert!(!resource::exists_for_reference(tx, &key("Patient/p2"))?);
                assert_eq!(resource::referrers(tx, &key("Patient/p1"), 5)?, [key("Observation/o1")]);
                assert_eq!(resource::counts(tx)?.len(), 2);
                Ok::<_, Error>(())
            })
            .unwrap();
    }
}

fn rebuild(temp: &TempStore) {
    let docs: Vec<Doc> = (0..5)
        .map(|n| {
            Doc::new(&format!("Observation/o{n}"))
                .token("code", "", if n % 2 == 0 { "even" } else { "odd" })
                .date("date", n * 1_000, n * 1_000 + 1)
                .reference("subject", "Patient/p1")
                .of("p1")
                .of("p2")
        })
        .collect();
    let all = docs.clone();
    temp.store
        .write_blocking(move |tx| {
            for doc in &all {
                insert(tx, doc)?;
            }
            resource::delete(tx, &key("Observation/o4"), 1, &all[4].entries, at(1))
        })
        .unwrap()
        .unwrap();
    let found = |parameters: &str| {
        let query = parse("Observation", parameters);
        let page = temp.store.read_blocking(move |tx| {
            store::search::run(
                tx,
                &query,
                &store::search::Rights::same(access::Predicate::Patient("p2".into())),
                at(0),
            )
        });
        page.unwrap().rows.into_iter().map(|row| row.key.id).collect::<Vec<_>>()
    };
    let before =
        (found("code=even&_sort=-date"), found("_sort=date"), found("patient:missing=true&_sort=date"));
    assert_eq!(before.0, ["o2", "o0"]);
    temp.store.write_blocking(resource::clear_index).unwrap();
    assert!(found("code=even").is_empty());
    let mut after = Some(0);
    while let Some(from) = after {
        let all = docs.clone();
        after = temp
            .store
            .write_blocking(move |tx| {
                resource::rebuild_index(tx, from, 2, &mut |stored| {
                    let doc = all.iter().find(|doc| key(&doc.key) == stored.key).unwrap();
                    resource::Indexed { entries: doc.entries.clone(), patients: doc.patients.clone() }
                })
            })
            .unwrap();
    }
    let again =
        (found("code=even&_sort=-date"), found("_sort=date"), found("patient:missing=true&_sort=date"));
    assert_eq!(again, before, "{}", temp.engine);
    // The rows are those that an update expects to find.
    let (old, new) = (docs[0].clone(), Doc::new("Observation/o0").token("code", "", "new").of("p2"));
    temp.store.write_blocking(move |tx| update(tx, 1, &old, &new)).unwrap().unwrap();
    assert_eq!(found("code=even"), ["o2"]);
    assert_eq!(found("code=new"), ["o0"]);
}

#[test]
fn the_index_can_be_rebuilt() {
    both().iter().for_each(rebuild);
}
