//! Pages while data changes: no row that was there throughout is left out or comes twice.

use crate::differential::Random;
use crate::support::*;
use std::collections::{BTreeMap, BTreeSet};
use store::search::{self, Rights};
use store::test_support::{TempStore, both};

const SEARCHES: [&str; 12] = [
    "",
    "_sort=-date",
    "_sort=date,_id",
    "_sort=-_lastUpdated",
    "_sort=_lastUpdated",
    "_sort=_id",
    "_sort=value-string,-date",
    "_sort=code",
    "code=a",
    "code=a,b&_sort=-date",
    "patient=p1",
    "subject:Patient.gender=female&_sort=-date",
];

fn doc(random: &mut Random, id: &str, second: i64) -> Doc {
    let patient = format!("p{}", random.below(3));
    let date = random.below(30) as i64 * 1_000;
    Doc::new(&format!("Observation/{id}"))
        .token("code", "", random.pick(&["a", "b"]))
        .string("value-string", random.pick(&["x", "y", "z"]))
        .date("date", date, date + 1)
        .reference("subject", &format!("Patient/{patient}"))
        .reference("patient", &format!("Patient/{patient}"))
        .of(&patient)
        .updated(second)
}

fn pages(temp: &TempStore) {
    let mut random = Random(3);
    // Version and content of what exists.
    let mut live: BTreeMap<String, (u32, Doc)> = BTreeMap::new();
    let mut names = 0;
    let mut second = 0;
    temp.store
        .write_blocking(|tx| {
            for n in 0..3 {
                let gender = if n == 1 { "male" } else { "female" };
                insert(
                    tx,
                    &Doc::new(&format!("Patient/p{n}")).token("gender", "", gender).of(&format!("p{n}")),
                )?;
            }
            Ok::<_, store::Error>(())
        })
        .unwrap();
    let add = |random: &mut Random, live: &mut BTreeMap<String, (u32, Doc)>, names: &mut i64, second: i64| {
        let id = format!("n{names}");
        *names += 1;
        let new = doc(random, &id, second);
        let own = new.clone();
        temp.store.write_blocking(move |tx| insert(tx, &own)).unwrap();
        live.insert(id, (1, new));
    };
    for _ in 0..90 {
        second += 1;
        add(&mut random, &mut live, &mut names, second % 40);
    }
    for parameters in SEARCHES {
        let mut query = parse("Observation", parameters);
        let matches = |temp: &TempStore| -> BTreeSet<String> {
            let mut all = parse("Observation", parameters);
            all.count = 1_000;
            let page =
                temp.store.read_blocking(move |tx| search::run(tx, &all, &Rights::everything(), at(0)));
            page.unwrap().rows.into_iter().map(|row| row.key.id).collect()
        };
        query.count = 7;
        let before = matches(temp);
        let (mut touched, mut seen) = (BTreeSet::new(), Vec::new());
        loop {
            let own = query.clone();
            let page =
                temp.store.read_blocking(move |tx| search::run(tx, &own, &Rights::everything(), at(0)));
            let page = page.unwrap();
            seen.extend(page.rows.into_iter().map(|row| row.key.id));
            match page.next {
                Some(next) => query.cursor = Some(next),
                None => break,
            }
            for _ in 0..3 {
                second += 1;
                let ids: Vec<String> = live.keys().cloned().collect();
                let id = ids[random.below(ids.len() as u64) as usize].clone();
                let (version, old) = live[&id].clone();
                match random.below(3) {
                    0 if live.len() < 110 => {
                        touched.insert(format!("n{names}"));
                        add(&mut random, &mut live, &mut names, second);
                    }
                    1 if live.len() > 70 => {
                        live.remove(&id);
                        touched.insert(id.clone());
                        let gone = temp.store.write_blocking(move |tx| {
                            store::resource::delete(tx, &key(&old.key), version, &old.entries, at(second))
                        });
                        gone.unwrap().unwrap();
                    }
                    _ => {
                        let new = doc(&mut random, &id, second);
                        live.insert(id.clone(), (version + 1, new.clone()));
                        touched.insert(id);
                        temp.store
                            .write_blocking(move |tx| update(tx, version, &old, &new))
                            .unwrap()
                            .unwrap();
                    }
                }
            }
        }
        let stable: Vec<&String> = before.iter().filter(|id| !touched.contains(*id)).collect();
        assert!(stable.len() > 5, "{}: {parameters}", temp.engine);
        for id in stable {
            let times = seen.iter().filter(|other| *other == id).count();
            assert_eq!(times, 1, "{}: {parameters}: {id}", temp.engine);
        }
    }
}

#[test]
fn pages_lose_and_repeat_nothing_while_data_changes() {
    both().iter().for_each(pages);
}
