//! Loaded code systems: versions, what is half loaded, what is removed.

use crate::support::at;
use store::terminology::{
    self as t, Concept, Designation, Detail, Kind, Mapping, Property, Ranges, State, Value,
};
use store::{Error, test_support};

fn concept(number: u32, code: &str, descendants: &[u32]) -> Concept {
    Concept {
        number,
        code: code.into(),
        display: format!("Display of {code}"),
        inactive: number == 3,
        is_abstract: number == 0,
        parents: if number == 0 { Ranges::new() } else { Ranges::one(0) },
        descendants: Ranges::of(descendants.to_vec()),
        detail: Detail {
            definition: "Définition".repeat(number as usize * 20),
            designations: vec![Designation {
                language: "sw".into(),
                value: "Jina".into(),
                preferred: true,
                ..Designation::default()
            }],
            properties: vec![
                Property { code: "p".into(), value: Value::Decimal("1.50".into()) },
                Property {
                    code: "q".into(),
                    value: Value::Coding { system: "s".into(), code: "c".into(), display: "d".into() },
                },
            ],
        },
    }
}

#[test]
fn a_version_is_seen_whole_or_not_at_all() {
    for temporary in test_support::both() {
        let store = &temporary.store;
        let all =
            [concept(0, "A", &[1, 2, 3]), concept(1, "B", &[]), concept(2, "C", &[]), concept(3, "D", &[])];
        let kept = all.clone();
        let one = store
            .write_blocking(move |tx| {
                let id = t::stage(tx, Kind::CodeSystem, "http://x", "1", "{}", at(0))?;
                t::concept::insert(tx, id, &all)?;
                let words = vec![
                    ("w:a".into(), Ranges::of(vec![0, 2]).encode()),
                    ("w:ab".into(), Ranges::one(1).encode()),
                ];
                t::posting::insert(tx, id, &words)?;
                assert!(t::find(tx, Kind::CodeSystem, "http://x", None)?.is_none(), "not yet in use");
                Ok::<_, Error>(id)
            })
            .unwrap();
        store.write_blocking(move |tx| t::activate(tx, one, 4, false)).unwrap();
        store
            .read_blocking(move |tx| {
                let entry = t::find(tx, Kind::CodeSystem, "http://x", None)?.unwrap();
                assert_eq!((entry.id, entry.entries, entry.is_default), (one, 4, true));
                for expected in &kept {
                    assert_eq!(t::concept::by_code(tx, one, &expected.code)?.as_ref(), Some(expected));
                }
                assert_eq!(
                    t::concept::by_numbers(tx, one, &Ranges::of(vec![1, 3]))?,
                    [kept[1].clone(), kept[3].clone()]
                );
                assert_eq!(t::concept::place(tx, one, "A")?, Some((0, Ranges::of(vec![1, 2, 3]))));
                assert_eq!(t::concept::parents(tx, one, 2)?, Ranges::one(0));
                assert_eq!(t::concept::by_code(tx, one, "a")?, None);
                assert_eq!(t::concept::by_prefix(tx, one, "C", 9)?, Ranges::one(2));
                assert_eq!(t::posting::get(tx, one, "w:a")?, Ranges::of(vec![0, 2]));
                assert_eq!(t::posting::get(tx, one, "w:none")?, Ranges::new());
                let mut keys = Vec::new();
                t::posting::each(tx, one, "w:a", &mut |key, numbers| {
                    keys.push((key.to_owned(), numbers.len()));
                    Ok(())
                })?;
                assert_eq!(keys, [("w:a".to_owned(), 2), ("w:ab".to_owned(), 1)]);
                Ok::<_, Error>(())
            })
            .unwrap();
    }
}

#[test]
fn versions_take_each_others_place() {
    for temporary in test_support::both() {
        let store = &temporary.store;
        let stage = |version: &'static str, default: bool| {
            store
                .write_blocking(move |tx| {
                    let id = t::stage(tx, Kind::CodeSystem, "http://x", version, "{}", at(0))?;
                    t::concept::insert(tx, id, &[concept(0, "A", &[])])?;
                    t::activate(tx, id, 1, default)?;
                    Ok::<_, Error>(id)
                })
                .unwrap()
        };
        let default = || {
            store.read_blocking(|tx| t::find(tx, Kind::CodeSystem, "http://x", None)).unwrap().map(|e| e.id)
        };
        let one = stage("1", false);
        let two = stage("2", false);
        assert_eq!(default(), Some(one));
        let three = stage("3", true);
        assert_eq!(default(), Some(three));
        let again = stage("3", false);
        assert_eq!(default(), Some(again), "the same version keeps its place");
        let states: Vec<(t::Id, State)> =
            store.read_blocking(t::list).unwrap().into_iter().map(|e| (e.id, e.state)).collect();
        assert!(states.contains(&(three, State::Removing)), "{states:?}");
        store.write_blocking(move |tx| t::retire(tx, again)).unwrap();
        assert_eq!(default(), Some(two), "the newest that is left");
        for id in [three, again] {
            while store.write_blocking(move |tx| t::remove_some(tx, id)).unwrap() {}
        }
        assert_eq!(store.read_blocking(t::list).unwrap().len(), 2);
        // What is in use is not removed by mistake.
        while store.write_blocking(move |tx| t::remove_some(tx, one)).unwrap() {}
        assert!(
            store
                .read_blocking(move |tx| t::find(tx, Kind::CodeSystem, "http://x", Some("1")))
                .unwrap()
                .is_some()
        );
    }
}

#[test]
fn maps_go_both_ways() {
    for temporary in test_support::both() {
        let store = &temporary.store;
        let row = |source: &str, place: i64, target: &str| Mapping {
            source_system: "s".into(),
            source: source.into(),
            place,
            target_system: "t".into(),
            target: target.into(),
            equivalence: "wider".into(),
            ..Mapping::default()
        };
        let rows = [row("1", 2, "b"), row("1", 1, "a"), row("2", 1, "a")];
        let id = store
            .write_blocking(move |tx| {
                let id = t::stage(tx, Kind::ConceptMap, "http://m", "", "{}", at(0))?;
                t::mapping::insert(tx, id, &rows)?;
                t::activate(tx, id, 3, false)?;
                Ok::<_, Error>(id)
            })
            .unwrap();
        store
            .read_blocking(move |tx| {
                let targets: Vec<String> =
                    t::mapping::forward(tx, id, "1")?.into_iter().map(|m| m.target).collect();
                assert_eq!(targets, ["a", "b"]);
                let sources: Vec<String> =
                    t::mapping::backward(tx, id, "a")?.into_iter().map(|m| m.source).collect();
                assert_eq!(sources, ["1", "2"]);
                Ok::<_, Error>(())
            })
            .unwrap();
    }
}
