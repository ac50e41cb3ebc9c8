//! Seals and consents in searches: the SQL against the policy's own check on each row, over random rows, rules and
//! queries. What a caller may not see must be as if it were not there: rows, order, totals, pages.

use crate::differential::{Random, disagreements, expected_of, random_doc, random_query};
use crate::support::*;
use access::consent::{Asker, Rule};
use access::policy::Opener;
use access::scope::Restriction;
use access::{Predicate, RowFacts, Seals};
use jiff::Timestamp;
use std::collections::HashMap;
use store::sealed::KeyHolder;
use store::test_support::{TempStore, both};
use store::{care_link, consent, sealed};

const DOCS: usize = 160;
const QUERIES: usize = 220;
const CONSENTS: usize = 14;
const PATIENTS: [&str; 5] = ["p0", "p1", "p2", "p3", "p4"];
const ACTORS: [&str; 4] = ["Practitioner/d1", "Practitioner/d2", "role/nurse", "role/doctor"];

/// What the database knows beside the rows, by themselves.
#[derive(Default)]
struct Around {
    seals: HashMap<String, Seals>,
    /// Practitioner, row, patients, whole.
    holders: Vec<(String, String, Vec<String>, bool)>,
    /// By patient.
    consents: HashMap<String, Vec<Vec<Rule>>>,
}

fn some_seals(random: &mut Random) -> Seals {
    Seals(1 << random.below(3)).with(if random.below(3) == 0 {
        Seals(1 << random.below(4))
    } else {
        Seals::NONE
    })
}

fn rule(random: &mut Random) -> Rule {
    let time = |s: i64| at(s);
    Rule {
        deny: random.often(),
        depth: random.below(3) as u8,
        actor: random.often().then(|| random.pick(&ACTORS).to_owned()),
        purposes: random.pick(&[0, 0, 1, 2]),
        kind: random.pick(&[None, None, Some(kind("Observation")), Some(kind("Condition"))]),
        seals: if random.below(2) == 0 { Seals::NONE } else { some_seals(random) },
        from: random.pick(&[Timestamp::MIN, time(-10), time(10)]),
        until: random.pick(&[Timestamp::MAX, time(20), time(-5)]),
    }
}

fn asker(random: &mut Random) -> Asker {
    let mut actors: Vec<String> =
        vec![random.pick(&ACTORS[..2]).to_owned(), random.pick(&ACTORS[2..]).to_owned()];
    if random.below(4) == 0 {
        actors.clear();
    }
    Asker { actors, purpose: random.pick(&[1, 2]) }
}

fn predicate(random: &mut Random) -> Predicate {
    let base = match random.below(6) {
        0 => Predicate::Patient(random.pick(&PATIENTS).to_owned()),
        1 | 2 => Predicate::InCareOf("d1".into()),
        3 => Predicate::Any(vec![Predicate::InCareOf("d1".into()), Predicate::Patient("p4".into())]),
        _ => Predicate::Everything,
    };
    let asker = asker(random);
    let practitioner = random.pick(&[Some("d1"), Some("d2"), None]).map(str::to_owned);
    let clear = if random.often() { Seals::NONE } else { some_seals(random) };
    let mut guarded = base.and(Predicate::Open(Opener { clear, practitioner, asker: asker.clone() }));
    if random.often() {
        guarded = guarded.and(Predicate::Consented(asker));
    }
    if random.below(4) == 0 {
        let any = vec![(None, Some(random.pick(&["a", "b", "ab"]).to_owned()))];
        guarded =
            guarded.and(Predicate::Matching(vec![Restriction { param: param("Observation", "code"), any }]));
    }
    // Broken glass: this patient without any guard.
    if random.below(4) == 0 {
        guarded = Predicate::any(vec![guarded, Predicate::Patient(random.pick(&PATIENTS).to_owned())]);
    }
    guarded
}

fn allowed(doc: &Doc, around: &Around, predicate: &Predicate) -> bool {
    let in_care: Vec<String> = doc.patients.iter().filter(|p| *p == "p1" || *p == "p2").cloned().collect();
    let keys = match predicate.needs().keys {
        None => Seals::NONE,
        Some(practitioner) => around
            .holders
            .iter()
            .filter(|(who, row, patients, whole)| {
                who == practitioner
                    && patients.iter().any(|p| doc.patients.contains(p))
                    && (*whole || *row == doc.key)
            })
            .fold(Seals::NONE, |all, (_, row, ..)| all.with(around.seals[row])),
    };
    let consents: Vec<Vec<Rule>> =
        doc.patients.iter().flat_map(|p| around.consents.get(p).cloned().unwrap_or_default()).collect();
    predicate.holds(&RowFacts {
        key: &key(&doc.key),
        patients: &doc.patients,
        in_care: &in_care,
        seals: around.seals.get(&doc.key).copied().unwrap_or_default(),
        keys,
        consents: &consents,
        entries: &doc.entries,
        now: at(0),
    })
}

fn fill(temp: &TempStore, random: &mut Random) -> (Vec<(i64, Doc)>, Around) {
    let (mut docs, mut around) = (Vec::new(), Around::default());
    for n in 0..DOCS {
        let doc = random_doc(random, n);
        let own = doc.clone();
        let written = temp.store.write_blocking(move |tx| insert(tx, &own)).unwrap();
        if random.below(3) == 0 {
            let seals = some_seals(random);
            let mut holders = Vec::new();
            for practitioner in ["d1", "d2"] {
                if random.below(4) == 0 {
                    holders
                        .push(KeyHolder { practitioner: practitioner.into(), whole: random.below(2) == 0 });
                }
            }
            around.seals.insert(doc.key.clone(), seals);
            around.holders.extend(
                holders
                    .iter()
                    .map(|h| (h.practitioner.clone(), doc.key.clone(), doc.patients.clone(), h.whole)),
            );
            let patients = doc.patients.clone();
            temp.store
                .write_blocking(move |tx| sealed::set(tx, written.rid, seals, &patients, &holders))
                .unwrap();
        }
        docs.push((written.rid, doc));
    }
    for n in 0..CONSENTS {
        let patient = random.pick(&PATIENTS).to_owned();
        let rules: Vec<Rule> = (0..1 + random.below(4)).map(|_| rule(random)).collect();
        around.consents.entry(patient.clone()).or_default().push(rules.clone());
        temp.store
            .write_blocking(move |tx| {
                consent::set_for_source(
                    tx,
                    &key(&format!("Consent/c{n}")),
                    std::slice::from_ref(&patient),
                    &rules,
                )
            })
            .unwrap();
    }
    temp.store
        .write_blocking(|tx| {
            let links = ["p1", "p2"].map(|patient| care_link::Link {
                practitioner: "d1".into(),
                patient: patient.into(),
                from: at(-1),
                until: None,
            });
            care_link::set_for_source(tx, &key("Encounter/e"), &links)
        })
        .unwrap();
    (docs, around)
}

fn differential(temp: &TempStore) {
    let mut random = Random(7);
    let (docs, around) = fill(temp, &mut random);
    let (mut failures, mut hidden, mut shown) = (Vec::new(), 0, 0);
    for n in 0..QUERIES {
        let (query, predicate) = (random_query(&mut random, DOCS), predicate(&mut random));
        let wanted = expected_of(&docs, &query, &|doc| allowed(doc, &around, &predicate));
        hidden += docs.iter().filter(|(_, doc)| !allowed(doc, &around, &predicate)).count();
        shown += wanted.len();
        failures
            .extend(disagreements(temp, &query, &predicate, wanted).into_iter().map(|f| format!("{n} {f}")));
    }
    assert!(hidden > 1_000 && shown > 500, "the test has something to hide and to show: {hidden}, {shown}");
    assert!(
        failures.is_empty(),
        "{}: {} failures\n{}",
        temp.engine,
        failures.len(),
        failures[..1].join("\n")
    );
}

#[test]
fn seals_and_consents_hide_rows_from_every_plan() {
    both().iter().for_each(differential);
}
