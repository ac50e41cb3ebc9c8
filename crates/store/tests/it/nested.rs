//! Random chains, `_has`, trees, alternatives and includes against a plain evaluator, with random rights: the answer
//! must be that of a database without the forbidden rows.

use crate::differential::{Random, meets};
use crate::support::*;
use access::Predicate;
use fhir::TypeId;
use fhir::search::{Condition, Filter, Include, IndexValue, Match, Operand, Query, Sort, Total};
use std::collections::{BTreeMap, BTreeSet};
use store::search::{self, Right, Rights};
use store::test_support::{TempStore, both};
use store::{Tx, care_link};

const PATIENTS: u64 = 60;
const PRACTITIONERS: u64 = 6;
const ORGANIZATIONS: u64 = 12;
const ENCOUNTERS: u64 = 120;
const OBSERVATIONS: u64 = 260;
const KINDS: [&str; 5] = ["Patient", "Practitioner", "Organization", "Encounter", "Observation"];
/// Reference parameters: type, parameter, type of the target.
const EDGES: [(&str, &str, &str); 9] = [
    ("Patient", "general-practitioner", "Practitioner"),
    ("Patient", "organization", "Organization"),
    ("Patient", "link", "Patient"),
    ("Organization", "partof", "Organization"),
    ("Encounter", "subject", "Patient"),
    ("Encounter", "practitioner", "Practitioner"),
    ("Observation", "subject", "Patient"),
    ("Observation", "encounter", "Encounter"),
    ("Observation", "performer", "Practitioner"),
];

fn docs(random: &mut Random) -> Vec<Doc> {
    let mut docs = Vec::new();
    for n in 0..ORGANIZATIONS {
        let mut doc =
            Doc::new(&format!("Organization/o{n}")).token("active", "", random.pick(&["true", "false"]));
        if n > 0 && random.often() {
            doc = doc.reference("partof", &format!("Organization/o{}", random.below(n + 1)));
        }
        docs.push(doc);
    }
    for n in 0..PRACTITIONERS {
        docs.push(
            Doc::new(&format!("Practitioner/d{n}")).string("family", random.pick(&["Otieno", "Kamau"])),
        );
    }
    for n in 0..PATIENTS {
        let id = format!("p{n}");
        let mut doc = Doc::new(&format!("Patient/{id}"))
            .token("gender", "", random.pick(&["female", "male", "male"]))
            .string("family", random.pick(&["Amina", "Bo", "Boke"]))
            .of(&id);
        if random.often() {
            doc = doc.reference(
                "general-practitioner",
                &format!("Practitioner/d{}", random.below(PRACTITIONERS + 1)),
            );
        }
        if random.often() {
            doc = doc.reference("organization", &format!("Organization/o{}", random.below(ORGANIZATIONS)));
        }
        if random.below(4) == 0 {
            let other = format!("p{}", random.below(PATIENTS));
            doc = doc.reference("link", &format!("Patient/{other}")).of(&other);
        }
        docs.push(doc);
    }
    for n in 0..ENCOUNTERS {
        let mut doc = Doc::new(&format!("Encounter/e{n}"))
            .token("status", "", random.pick(&["finished", "planned"]))
            .date("date", n as i64 * 1_000, n as i64 * 1_000 + 1);
        if random.often() {
            let patient = format!("p{}", random.below(PATIENTS));
            doc = doc.reference("subject", &format!("Patient/{patient}")).of(&patient);
        }
        for _ in 0..random.below(3) {
            doc = doc.reference("practitioner", &format!("Practitioner/d{}", random.below(PRACTITIONERS)));
        }
        docs.push(doc);
    }
    for n in 0..OBSERVATIONS {
        let mut doc = Doc::new(&format!("Observation/x{n}"))
            .token("code", random.pick(&["", "urn:x"]), random.pick(&["a", "b", "c"]))
            .date("date", random.below(50) as i64 * 1_000, 90_000)
            .updated(random.below(40) as i64);
        if random.often() {
            let patient = format!("p{}", random.below(PATIENTS));
            doc = doc.reference("subject", &format!("Patient/{patient}")).of(&patient);
        }
        if random.often() {
            doc = doc.reference("encounter", &format!("Encounter/e{}", random.below(ENCOUNTERS)));
        }
        if random.below(3) == 0 {
            doc = doc.reference("performer", &format!("Practitioner/d{}", random.below(PRACTITIONERS)));
        }
        if random.below(8) == 0 {
            // A second patient in the compartment.
            let patient = format!("p{}", random.below(PATIENTS));
            doc = doc.reference("performer", &format!("Patient/{patient}")).of(&patient);
        }
        docs.push(doc);
    }
    docs
}

fn token(code: &str) -> Operand {
    Operand::Token { system: None, code: Some(code.to_owned()) }
}

fn leaf(random: &mut Random, of: &str) -> Condition {
    let one = |code: &str, matching, operand| Condition::Filter(filter(of, code, matching, vec![operand]));
    let matching = random.pick(&[Match::Default, Match::Default, Match::Not]);
    if random.below(12) == 0 {
        return Condition::LastUpdated {
            prefix: fhir::search::Prefix::Gt,
            low_us: at(20).as_microsecond(),
            high_us: at(21).as_microsecond(),
        };
    }
    match of {
        "Patient" if random.below(5) == 0 => {
            Condition::Ids((0..4).map(|_| format!("p{}", random.below(PATIENTS))).collect())
        }
        "Patient" if random.below(2) == 0 => one("gender", matching, token(random.pick(&["female", "male"]))),
        "Patient" => one("family", Match::Default, string(random.pick(&["amina", "bo", "boke", "x"]))),
        "Practitioner" => one("family", Match::Default, string(random.pick(&["otieno", "kamau", "o"]))),
        "Organization" if random.below(3) == 0 => {
            let id = format!("o{}", random.below(ORGANIZATIONS));
            let parent = param("Organization", "partof");
            one(
                "partof",
                Match::Default,
                Operand::ReferenceTree { kind: kind("Organization"), id, parent, up: random.often() },
            )
        }
        "Organization" => one("active", matching, token(random.pick(&["true", "false"]))),
        "Encounter" => one("status", matching, token(random.pick(&["finished", "planned"]))),
        _ if random.below(6) == 0 => {
            Condition::Compartment(key(&format!("Patient/p{}", random.below(PATIENTS))))
        }
        _ => one("code", matching, token(random.pick(&["a", "b", "d"]))),
    }
}

fn string(text: &str) -> Operand {
    Operand::String { folded: text.to_owned(), exact: text.to_owned() }
}

fn condition(random: &mut Random, of: &str, depth: u64) -> Condition {
    let several = |random: &mut Random| -> Vec<Condition> {
        (0..1 + random.below(3)).map(|_| condition(random, of, depth - 1)).collect()
    };
    if depth == 0 {
        return leaf(random, of);
    }
    match random.below(10) {
        0 => Condition::All(several(random)),
        1 | 2 => Condition::Any(several(random)),
        3 => Condition::Not(Box::new(condition(random, of, depth - 1))),
        4..=6 => {
            let edges: Vec<_> = EDGES.iter().filter(|(from, ..)| *from == of).collect();
            if edges.is_empty() {
                return leaf(random, of);
            }
            let (from, code, to) = **random.pick(&edges.iter().collect::<Vec<_>>());
            Condition::Chain {
                param: param(from, code),
                kind: kind(to),
                condition: Box::new(condition(random, to, depth - 1)),
            }
        }
        7 | 8 => {
            let edges: Vec<_> = EDGES.iter().filter(|(.., to)| *to == of).collect();
            if edges.is_empty() {
                return leaf(random, of);
            }
            let (from, code, _) = **random.pick(&edges.iter().collect::<Vec<_>>());
            Condition::Has {
                param: param(from, code),
                kind: kind(from),
                condition: Box::new(condition(random, from, depth - 1)),
            }
        }
        _ => leaf(random, of),
    }
}

/// The documents that exist for the caller.
struct World<'a> {
    docs: Vec<&'a Doc>,
}

impl World<'_> {
    fn of(&self, kind: TypeId) -> impl Iterator<Item = &&Doc> {
        self.docs.iter().filter(move |doc| key(&doc.key).kind == kind)
    }

    fn targets(doc: &Doc, param: fhir::ParamId) -> Vec<fhir::ResourceKey> {
        let target = |entry: &fhir::search::IndexEntry| match &entry.value {
            IndexValue::Reference { target } if entry.param == param => Some(target.clone()),
            _ => None,
        };
        doc.entries.iter().filter_map(target).collect()
    }

    /// The resource itself and what is above or below it.
    fn tree(&self, of: TypeId, id: &str, parent: fhir::ParamId, up: bool) -> BTreeSet<String> {
        let mut found = BTreeSet::from([id.to_owned()]);
        loop {
            let before = found.len();
            for doc in self.of(of) {
                let (own, parents) = (key(&doc.key).id, World::targets(doc, parent));
                for above in parents {
                    if up && found.contains(&own) && self.docs.iter().any(|d| key(&d.key) == above) {
                        found.insert(above.id);
                    } else if !up && found.contains(&above.id) {
                        found.insert(own.clone());
                    }
                }
            }
            if found.len() == before {
                return found;
            }
        }
    }

    fn holds(&self, doc: &Doc, of: &Condition) -> bool {
        match of {
            Condition::Filter(filter) => match &filter.any[..] {
                [Operand::ReferenceTree { kind, id, parent, up }] => {
                    let members = self.tree(*kind, id, *parent, *up);
                    World::targets(doc, filter.param)
                        .iter()
                        .any(|t| t.kind == *kind && members.contains(&t.id))
                }
                _ => meets(doc, filter),
            },
            Condition::Ids(ids) => ids.contains(&key(&doc.key).id),
            Condition::LastUpdated { high_us, .. } => at(doc.updated_s).as_microsecond() >= *high_us,
            Condition::Compartment(patient) => doc.patients.contains(&patient.id),
            Condition::Chain { param, kind, condition } => {
                let targets = World::targets(doc, *param);
                self.of(*kind).any(|other| targets.contains(&key(&other.key)) && self.holds(other, condition))
            }
            Condition::Has { param, kind, condition } => {
                let own = key(&doc.key);
                self.of(*kind)
                    .any(|other| World::targets(other, *param).contains(&own) && self.holds(other, condition))
            }
            Condition::All(all) => all.iter().all(|one| self.holds(doc, one)),
            Condition::Any(any) => any.iter().any(|one| self.holds(doc, one)),
            Condition::Not(one) => !self.holds(doc, one),
            Condition::CanonicalChain { .. } | Condition::Words { .. } => panic!("not asked for here"),
        }
    }

    fn included(&self, page: &[String], includes: &[Include]) -> BTreeSet<String> {
        let mut found: BTreeSet<String> = BTreeSet::new();
        let mut starts: Vec<&Doc> = self.docs.iter().filter(|d| page.contains(&d.key)).copied().collect();
        for step in 0.. {
            let mut new: BTreeSet<String> = BTreeSet::new();
            for include in includes.iter().filter(|include| step == 0 || include.iterate) {
                for start in &starts {
                    for other in &self.docs {
                        let (from, to) = if include.reverse { (*other, *start) } else { (*start, *other) };
                        let (source, target) = (key(&from.key), key(&to.key));
                        let refers = from.entries.iter().any(|entry| {
                            include.param.is_none_or(|param| param == entry.param)
                                && matches!(&entry.value, IndexValue::Reference { target: t } if *t == target)
                        });
                        if refers
                            && include.source.is_none_or(|kind| kind == source.kind)
                            && include.target.is_none_or(|kind| kind == target.kind)
                            && !page.contains(&other.key)
                            && !found.contains(&other.key)
                        {
                            new.insert(other.key.clone());
                        }
                    }
                }
            }
            if new.is_empty() {
                return found;
            }
            starts = self.docs.iter().filter(|d| new.contains(&d.key)).copied().collect();
            found.extend(new);
        }
        found
    }
}

fn predicate(random: &mut Random) -> Predicate {
    match random.below(9) {
        0 => Predicate::Patient(format!("p{}", random.below(PATIENTS))),
        1 => Predicate::InCareOf("d1".into()),
        2 => Predicate::Any(vec![Predicate::InCareOf("d1".into()), Predicate::Patient("p4".into())]),
        3 if random.below(3) == 0 => Predicate::Nothing,
        _ => Predicate::Everything,
    }
}

fn allowed(doc: &Doc, predicate: &Predicate) -> bool {
    match predicate {
        Predicate::Nothing => false,
        Predicate::Everything => true,
        Predicate::Patient(p) => doc.patients.contains(p),
        // d1 cares for p0 to p9.
        Predicate::InCareOf(_) => doc.patients.iter().any(|p| p.len() == 2),
        Predicate::Rows(keys) => keys.contains(&key(&doc.key)),
        Predicate::Any(all) => all.iter().any(|p| allowed(doc, p)),
        Predicate::All(_) | Predicate::Open(_) | Predicate::Consented(_) | Predicate::Matching(_) => {
            panic!("see guard.rs")
        }
    }
}

fn include(random: &mut Random) -> Include {
    let (from, code, to) = random.pick(&EDGES);
    Include {
        reverse: random.below(2) == 0,
        iterate: random.below(2) == 0,
        source: Some(kind(from)).filter(|_| random.below(5) > 0),
        param: Some(param(from, code)).filter(|_| random.below(4) > 0),
        target: Some(kind(to)).filter(|_| random.below(3) == 0),
    }
}

/// All pages: keys, and what was included with the first page.
fn ask(
    tx: &mut dyn Tx,
    query: &Query,
    rights: &Rights,
) -> store::Result<(Vec<String>, u64, usize, BTreeSet<String>)> {
    let (mut found, mut query, mut total, mut with) =
        (Vec::<String>::new(), query.clone(), 0, BTreeSet::new());
    let mut first = 0;
    loop {
        let page = search::run(tx, &query, rights, at(0))?;
        if query.cursor.is_none() {
            total = page.total.unwrap();
            first = page.rows.len();
            let included = search::included(tx, &page.rows, &query.includes, rights, at(0))?;
            assert!(!included.cut);
            with = included.rows.iter().map(|row| row.key.to_string()).collect();
            assert_eq!(with.len(), included.rows.len(), "each once");
        }
        found.extend(page.rows.into_iter().map(|row| row.key.to_string()));
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return Ok((found, total, first, with)),
        }
    }
}

fn nested(temp: &TempStore) {
    const QUERIES: usize = 400;
    let mut random = Random(7);
    let docs = docs(&mut random);
    let own = docs.clone();
    temp.store
        .write_blocking(move |tx| {
            for doc in &own {
                insert(tx, doc)?;
            }
            let links: Vec<care_link::Link> = (0..10)
                .map(|n| care_link::Link {
                    practitioner: "d1".into(),
                    patient: format!("p{n}"),
                    from: at(-1),
                    until: None,
                })
                .collect();
            care_link::set_for_source(tx, &key("Encounter/e"), &links)
        })
        .unwrap();
    let mut failures = Vec::new();
    let mut hits = 0;
    for n in 0..QUERIES {
        let of = random.pick(&KINDS);
        let mut query = query(of);
        for _ in 0..1 + random.below(2) {
            query.conditions.push(condition(&mut random, of, 3));
        }
        for _ in 0..random.below(3) {
            query.includes.push(include(&mut random));
        }
        if random.often() {
            query.sort.push(match random.below(3) {
                0 => Sort::LastUpdated { descending: random.often() },
                1 => Sort::Id { descending: random.often() },
                _ if of == "Observation" => by(of, "date", true),
                _ => Sort::Id { descending: false },
            });
        }
        query.count = 1 + random.below(60) as u32;
        query.total = Total::Accurate;
        let predicates: BTreeMap<TypeId, Right> = KINDS
            .iter()
            .map(|name| {
                let hidden: Option<Condition> = (*name == "Encounter" && n % 3 == 0).then(|| {
                    Condition::Filter(Filter {
                        param: param("Encounter", "status"),
                        matching: Match::Default,
                        any: vec![token("planned")],
                    })
                });
                (kind(name), Right { predicate: predicate(&mut random), hidden })
            })
            .collect();
        let world = World {
            docs: docs
                .iter()
                .filter(|doc| {
                    let right = &predicates[&key(&doc.key).kind];
                    let hidden = match &right.hidden {
                        Some(Condition::Filter(filter)) => meets(doc, filter),
                        _ => false,
                    };
                    allowed(doc, &right.predicate) && !hidden
                })
                .collect(),
        };
        let mut wanted: Vec<String> = world
            .of(kind(of))
            .filter(|doc| query.conditions.iter().all(|one| world.holds(doc, one)))
            .map(|doc| doc.key.clone())
            .collect();
        wanted.sort();
        hits += usize::from(!wanted.is_empty());
        let own = query.clone();
        let rights = predicates.clone();
        let rights = Rights::new(move |kind| rights[&kind].clone());
        let result = temp.store.read_blocking(move |tx| ask(tx, &own, &rights));
        let (got, total, first, with) = result.unwrap_or_else(|e| panic!("{e}: {query:?}"));
        let mut sorted = got.clone();
        sorted.sort();
        let includes = world.included(&got[..first], &query.includes);
        if sorted != wanted || total != wanted.len() as u64 || with != includes {
            failures.push(format!(
                "{n}: {query:?} {predicates:?}\n got {sorted:?} of {total} with {with:?}\nwant {wanted:?} with {includes:?}"
            ));
        }
    }
    assert!(hits > QUERIES / 4, "{hits} of {QUERIES} found anything");
    assert!(
        failures.is_empty(),
        "{}: {} failures\n{}",
        temp.engine,
        failures.len(),
        failures[..1].join("\n")
    );
}

#[test]
fn chains_and_includes_agree_with_a_plain_evaluator() {
    both().iter().for_each(nested);
}
