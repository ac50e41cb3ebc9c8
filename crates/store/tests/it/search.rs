//! Searches: cases with known answers, and random ones against a plain evaluator.

use crate::support::*;
use access::Predicate;
use fhir::search::{Filter, IndexEntry, IndexValue, Match, Operand, Prefix, Query, Sort, Total};
use std::cmp::Ordering;
use store::search::{self, Page};
use store::test_support::{TempStore, both};
use store::{Error, care_link};

const DAY: i64 = 86_400_000_000;

fn run(temp: &TempStore, query: &Query, predicate: &Predicate) -> Page {
    let (query, predicate) = (query.clone(), predicate.clone());
    temp.store.read_blocking(move |tx| search::run(tx, &query, &predicate, at(0))).unwrap()
}

fn ids(page: &Page) -> Vec<&str> {
    page.rows.iter().map(|row| row.key.id.as_str()).collect()
}

/// A small ward.
fn seed(temp: &TempStore) {
    let loinc = "http://loinc.org";
    let observation = |n: i64, patient: &str, code: &str, value: f64, day: i64| {
        Doc::new(&format!("Observation/o{n}"))
            .token("code", loinc, code)
            .token("status", "", "final")
            .token("category", "http://hl7.org/cat", "vital-signs")
            .number("value-quantity", value, value - 0.5, value + 0.5, "http://unitsofmeasure.org", "mm[Hg]")
            .date("date", day * DAY, day * DAY + 1_000_000)
            .reference("subject", &format!("Patient/{patient}"))
            .reference("patient", &format!("Patient/{patient}"))
            .of(patient)
            .updated(n)
    };
    let patient = |id: &str, given: &str, family: &str, born: i64| {
        Doc::new(&format!("Patient/{id}"))
            .string("given", given)
            .string("family", family)
            .string("name", given)
            .string("name", family)
            .token("identifier", "urn:mrn", &format!("MRN-{id}"))
            .date("birthdate", born * DAY, (born + 1) * DAY)
    };
    let docs = vec![
        patient("p1", "Amina", "Otieno", 100),
        patient("p2", "Ámos", "Amolo", 200),
        patient("p3", "Juma", "Mwangi", 300).uri("_profile", "http://example.org/fhir/a/b"),
        observation(1, "p1", "8480-6", 120.0, 10),
        observation(2, "p1", "8480-6", 140.0, 12),
        observation(3, "p1", "8462-4", 80.0, 11),
        observation(4, "p2", "8480-6", 150.0, 13).of("p3"),
        observation(5, "p3", "718-7", 11.2, 5).date("date", 0, 90 * DAY),
        Doc::new("Encounter/e1").date("date", 9 * DAY, i64::MAX).reference("subject", "Patient/p1").of("p1"),
        Doc::new("Encounter/e2").date("date", 9 * DAY, 20 * DAY).reference("subject", "Patient/p2").of("p2"),
        Doc::new("RiskAssessment/r1").number("probability", 0.5, 0.3, 0.7, "", ""),
        Doc::new("RiskAssessment/r2").number("probability", 5.0, -f64::MAX, 5.0, "", ""),
        Doc::new("Location/l1").string("name", "Ward A").reference("organization", "Organization/x"),
    ];
    temp.store
        .write_blocking(move |tx| {
            for doc in &docs {
                insert(tx, doc)?;
            }
            let link = care_link::Link {
                practitioner: "d1".into(),
                patient: "p1".into(),
                from: at(-10),
                until: Some(at(10)),
            };
            let over = care_link::Link { patient: "p2".into(), until: Some(at(-5)), ..link.clone() };
            let second = care_link::Link { patient: "p3".into(), ..link.clone() };
            care_link::set_for_source(tx, &key("Encounter/e1"), &[link, over])?;
            care_link::set_for_source(tx, &key("Encounter/e2"), &[second])
        })
        .unwrap();
}

#[test]
fn searches_find_what_they_should() {
    // Type, parameters, ids expected in this order (or in any order without `_sort`).
    let cases: &[(&str, &str, &str)] = &[
        ("Observation", "", "o1 o2 o3 o4 o5"),
        ("Observation", "code=8480-6", "o1 o2 o4"),
        ("Observation", "code=http://loinc.org|8480-6", "o1 o2 o4"),
        ("Observation", "code=http://other.org|8480-6", ""),
        ("Observation", "code=|8480-6", ""),
        ("Observation", "code=http://loinc.org|", "o1 o2 o3 o4 o5"),
        ("Observation", "code=8480-6,718-7", "o1 o2 o4 o5"),
        ("Observation", "code:not=8480-6", "o3 o5"),
        ("Observation", "patient=Patient/p1&code=8480-6&_sort=-date", "o2 o1"),
        ("Observation", "patient=p1&_sort=date", "o1 o3 o2"),
        ("Observation", "subject:Patient=p1&_sort=-value-quantity", "o2 o1 o3"),
        ("Observation", "subject=Patient/p1,Patient/p3&_sort=_lastUpdated", "o1 o2 o3 o5"),
        ("Observation", "_sort=-_id&code=8480-6", "o4 o2 o1"),
        ("Observation", "encounter:missing=true&code=8462-4", "o3"),
        ("Observation", "encounter:missing=false", ""),
        ("Observation", "subject:missing=false&status=final&code=718-7", "o5"),
        ("Observation", "date=1970-01-11", "o1"),
        ("Observation", "date=ge1970-01-12&date=lt1970-01-14&_sort=date", "o5 o3 o2"),
        ("Observation", "date=gt1970-01-13", "o4 o5"),
        ("Observation", "date=sa1970-01-13", "o4"),
        ("Observation", "date=eb1970-01-12", "o1 o5"),
        ("Observation", "date=lt1970-01-12", "o1 o5"),
        ("Observation", "date=le1970-01-12", "o1 o3 o5"),
        ("Observation", "date=ne1970-01-11", "o2 o3 o4 o5"),
        ("Observation", "date=1970-01", "o1 o2 o3 o4 o5"),
        ("Observation", "value-quantity=120", "o1"),
        ("Observation", "value-quantity=gt120", "o2 o4"),
        ("Observation", "value-quantity=ge120", "o1 o2 o4"),
        ("Observation", "value-quantity=lt80", "o5"),
        ("Observation", "value-quantity=ap118", "o1"),
        ("Observation", "value-quantity=le80|http://unitsofmeasure.org|mm[Hg]", "o3 o5"),
        ("Observation", "value-quantity=le80|http://unitsofmeasure.org|kg", ""),
        ("Observation", "_id=o4,o2", "o2 o4"),
        ("Observation", "_id=o4,o2&code=8480-6&patient=p1", "o2"),
        ("Observation", "_lastUpdated=ge2026-09-21T14:13:23Z&_sort=-_lastUpdated", "o5 o4 o3"),
        ("Patient", "name=am", "p1 p2"),
        ("Patient", "name=AM", "p1 p2"),
        ("Patient", "name:exact=Amina", "p1"),
        ("Patient", "name:exact=amina", ""),
        ("Patient", "name:contains=in", "p1"),
        ("Patient", "family=o&given=am", "p1"),
        ("Patient", "_sort=family", "p2 p3 p1"),
        ("Patient", "_sort=-birthdate", "p3 p2 p1"),
        ("Patient", "identifier=urn:mrn|MRN-p2", "p2"),
        ("Patient", "identifier=MRN-p9", ""),
        ("Patient", "birthdate=lt1970-07-01", "p1"),
        ("Patient", "_profile=http://example.org/fhir/a/b", "p3"),
        ("Patient", "_profile:below=http://example.org/fhir", "p3"),
        ("Patient", "_profile:below=http://example.org/fhi", ""),
        ("Patient", "_profile:above=http://example.org/fhir/a/b/c", "p3"),
        ("Encounter", "date=ge1971-01-01", "e1"),
        ("Encounter", "date=1970-01-15", ""),
        ("Encounter", "date=ap1970-01-15", "e1 e2"),
        ("RiskAssessment", "probability=lt3", "r1 r2"),
        ("RiskAssessment", "probability=gt0.6", "r2"),
        ("Location", "organization=Organization/x&name=ward", "l1"),
    ];
    for temp in both() {
        seed(&temp);
        let mut failures = Vec::new();
        for (of, parameters, expected) in cases {
            let mut query = parse(of, parameters);
            query.total = Total::Accurate;
            let page = run(&temp, &query, &Predicate::Everything);
            let mut got = ids(&page);
            let expected: Vec<&str> = expected.split(' ').filter(|id| !id.is_empty()).collect();
            if query.sort.is_empty() {
                got.sort_unstable();
            }
            if got != expected || page.total != Some(expected.len() as u64) {
                failures.push(format!("{} {of}?{parameters}: {got:?}, total {:?}", temp.engine, page.total));
            }
        }
        assert!(failures.is_empty(), "{}", failures.join("\n"));
    }
}

#[test]
fn rights_are_part_of_the_search() {
    for temp in both() {
        seed(&temp);
        let of = |predicate: Predicate, parameters: &str| {
            let mut query = parse("Observation", parameters);
            query.total = Total::Accurate;
            let page = run(&temp, &query, &predicate);
            assert_eq!(page.total, Some(page.rows.len() as u64));
            let mut got: Vec<String> = ids(&page).into_iter().map(str::to_owned).collect();
            got.sort();
            got.join(" ")
        };
        assert_eq!(of(Predicate::Nothing, ""), "");
        assert_eq!(of(Predicate::Patient("p1".into()), ""), "o1 o2 o3");
        assert_eq!(of(Predicate::Patient("p3".into()), ""), "o4 o5", "also where p3 is the second patient");
        assert_eq!(of(Predicate::Patient("p3".into()), "code=8480-6"), "o4");
        assert_eq!(of(Predicate::Patient("p1".into()), "patient=p2"), "");
        assert_eq!(of(Predicate::InCareOf("d1".into()), ""), "o1 o2 o3 o4 o5", "p2's own link is over");
        assert_eq!(of(Predicate::InCareOf("d1".into()), "code=8480-6"), "o1 o2 o4");
        assert_eq!(of(Predicate::InCareOf("d2".into()), "code=8480-6"), "");
        let rows = Predicate::Rows(vec![key("Observation/o3"), key("Patient/p1")]);
        assert_eq!(of(rows.clone(), ""), "o3");
        assert_eq!(of(Predicate::Any(vec![rows, Predicate::Patient("p3".into())]), ""), "o3 o4 o5");
        assert_eq!(of(Predicate::Any(vec![]), ""), "");
        let all = Predicate::Any(vec![
            Predicate::InCareOf("d2".into()),
            Predicate::Any(vec![Predicate::Everything]),
        ]);
        assert_eq!(of(all, "code=8480-6"), "o1 o2 o4");
        let patients = run(&temp, &query("Patient"), &Predicate::Patient("p1".into()));
        assert_eq!(ids(&patients), ["p1"], "a patient sees herself");
        let count_only = Query { count: 0, ..query("Observation") };
        let page = run(&temp, &count_only, &Predicate::Patient("p1".into()));
        assert_eq!((page.rows.len(), page.total), (0, Some(3)));
    }
}

#[test]
fn cursors_hold_while_data_changes() {
    for temp in both() {
        seed(&temp);
        for n in 0..20 {
            let doc = Doc::new(&format!("Observation/x{n:02}"))
                .token("code", "", "a")
                .date("date", n * DAY, n * DAY + 1)
                .reference("patient", "Patient/p1")
                .of("p1");
            temp.store.write_blocking(move |tx| insert(tx, &doc)).unwrap();
        }
        let mut query = parse("Observation", "patient=p1&code=a&_sort=-date&_count=6");
        let mut seen: Vec<String> = Vec::new();
        let mut pages = 0;
        loop {
            let page = run(&temp, &query, &Predicate::Everything);
            seen.extend(ids(&page).into_iter().map(str::to_owned));
            // Newer rows come before the page just read, a row already seen goes away.
            let gone = seen.last().unwrap().clone();
            temp.store
                .write_blocking(move |tx| {
                    let new = Doc::new(&format!("Observation/new{pages}"))
                        .token("code", "", "a")
                        .date("date", 99 * DAY, 99 * DAY + 1)
                        .reference("patient", "Patient/p1")
                        .of("p1");
                    insert(tx, &new)?;
                    let n: i64 = gone[1..].parse().unwrap();
                    let old = Doc::new(&format!("Observation/{gone}"))
                        .token("code", "", "a")
                        .date("date", n * DAY, n * DAY + 1)
                        .reference("patient", "Patient/p1");
                    store::resource::delete(tx, &key(&old.key), 1, &old.entries, at(1))
                })
                .unwrap()
                .unwrap();
            pages += 1;
            match page.next {
                Some(next) => query.cursor = Some(next),
                None => break,
            }
        }
        let expected: Vec<String> = (0..20).rev().map(|n| format!("x{n:02}")).collect();
        assert_eq!(seen, expected, "{}", temp.engine);
        let refused = |text: &str| {
            let query = Query { cursor: Some(text.into()), ..query.clone() };
            temp.store.read_blocking(move |tx| search::run(tx, &query, &Predicate::Everything, at(0)))
        };
        assert_eq!(refused("nonsense"), Err(Error::Invalid("cursor")));
        let other = Query { filters: Vec::new(), ..query.clone() };
        let other =
            temp.store.read_blocking(move |tx| search::run(tx, &other, &Predicate::Everything, at(0)));
        assert_eq!(other, Err(Error::Invalid("cursor")), "a cursor of another query");
    }
}

/// Splitmix64: the same documents and queries on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
    fn often(&mut self) -> bool {
        self.below(3) > 0
    }
}

const CODES: [&str; 4] = ["a", "b", "ab", "c"];
const SYSTEMS: [&str; 3] = ["", "urn:x", "urn:y"];
const WORDS: [&str; 7] = ["am", "Amina", "amos", "Bo", "bob", "Ámina", "b"];
const PATIENTS: [&str; 5] = ["p0", "p1", "p2", "p3", "p4"];
const PREFIXES: [Prefix; 9] = [
    Prefix::Eq,
    Prefix::Ne,
    Prefix::Gt,
    Prefix::Lt,
    Prefix::Ge,
    Prefix::Le,
    Prefix::Sa,
    Prefix::Eb,
    Prefix::Ap,
];

fn span(random: &mut Random) -> (i64, i64) {
    let low = random.below(40) as i64 * (DAY / 4);
    let length = random.pick(&[1_000, DAY / 4, DAY, DAY, 3 * DAY, 30 * DAY]);
    (low, low + length)
}

fn random_doc(random: &mut Random, n: usize) -> Doc {
    let mut doc = Doc::new(&format!("Observation/d{n}")).updated(random.below(50) as i64);
    for code in ["code", "category"] {
        for _ in 0..random.below(3) {
            doc = doc.token(code, random.pick(&SYSTEMS), random.pick(&CODES));
        }
    }
    for _ in 0..random.below(4) {
        doc = doc.string("value-string", random.pick(&WORDS));
    }
    if random.often() {
        let (low, high) = span(random);
        doc = doc.date("date", low, high);
        if random.below(5) == 0 {
            let (low, high) = span(random);
            doc = doc.date("date", low, high);
        }
    }
    for _ in 0..random.below(3) {
        let value = random.below(20) as f64;
        let (low, high) = match random.below(6) {
            0 => (-f64::MAX, value),
            1 => (value, f64::MAX),
            _ => (value - 0.5, value + 0.5),
        };
        doc =
            doc.number("value-quantity", value, low, high, random.pick(&SYSTEMS), random.pick(&["mg", "g"]));
    }
    if random.often() {
        let patient = random.pick(&PATIENTS);
        doc = doc.reference("subject", &format!("Patient/{patient}")).of(patient);
        if random.below(6) == 0 {
            let second = random.pick(&PATIENTS);
            doc = doc.reference("performer", &format!("Patient/{second}")).of(second);
        }
    }
    for _ in 0..random.below(2) {
        doc = doc.uri("_profile", random.pick(&["http://a/b", "http://a/b/c", "http://a/bc", "http://z"]));
    }
    doc
}

fn random_filter(random: &mut Random) -> Filter {
    let mut operands = Vec::new();
    let alternatives = 1 + random.below(5) / 3;
    let what = random.below(8);
    let (code, matching) = match what {
        0 | 1 => (
            random.pick(&["code", "category"]),
            if random.below(4) == 0 { Match::Not } else { Match::Default },
        ),
        2 => ("value-string", random.pick(&[Match::Default, Match::Default, Match::Exact, Match::Contains])),
        3 => ("date", Match::Default),
        4 => ("value-quantity", Match::Default),
        5 => (random.pick(&["subject", "subject", "performer"]), Match::Default),
        6 => ("_profile", random.pick(&[Match::Default, Match::Below, Match::Above])),
        _ => (
            random.pick(&["code", "date", "subject", "value-string", "value-quantity", "_profile"]),
            Match::Missing,
        ),
    };
    for _ in 0..alternatives {
        operands.push(match what {
            0 | 1 => {
                let (system, code) = (random.pick(&SYSTEMS).to_owned(), random.pick(&CODES).to_owned());
                match random.below(4) {
                    0 => Operand::Token { system: Some(system), code: None },
                    1 => Operand::Token { system: Some(system), code: Some(code) },
                    _ => Operand::Token { system: None, code: Some(code) },
                }
            }
            2 => {
                let word = random.pick(&WORDS);
                Operand::String { folded: fhir::search::fold(word), exact: word.to_owned() }
            }
            3 => {
                let (low_us, high_us) = span(random);
                Operand::Date { prefix: random.pick(&PREFIXES), low_us, high_us }
            }
            4 => {
                let value = random.below(20) as f64;
                Operand::Quantity {
                    prefix: random.pick(&PREFIXES),
                    value,
                    low: value - 0.5,
                    high: value + 0.5,
                    system: random
                        .often()
                        .then(|| random.pick(&SYSTEMS).to_owned())
                        .filter(|_| random.often()),
                    code: Some("mg".to_owned()).filter(|_| random.below(3) == 0),
                }
            }
            5 => Operand::Reference {
                kinds: if random.often() {
                    vec![kind("Patient")]
                } else {
                    vec![kind("Group"), kind("Patient")]
                },
                id: random.pick(&PATIENTS).to_owned(),
            },
            6 => Operand::Uri(random.pick(&["http://a/b", "http://a/b/c", "http://a"]).to_owned()),
            _ => Operand::Missing(random.often()),
        });
    }
    filter("Observation", code, matching, operands)
}

fn random_query(random: &mut Random, docs: usize) -> Query {
    let mut query = query("Observation");
    for _ in 0..random.below(4) {
        query.filters.push(random_filter(random));
    }
    if random.below(6) == 0 {
        query.ids = (0..1 + random.below(60)).map(|_| format!("d{}", random.below(docs as u64))).collect();
    }
    if random.below(5) == 0 {
        let low = at(random.below(50) as i64).as_microsecond();
        query.last_updated.push((random.pick(&PREFIXES), low, low + 10_000_000));
    }
    for _ in 0..random.below(3) {
        let descending = random.often();
        query.sort.push(match random.below(8) {
            0 => Sort::LastUpdated { descending },
            1 => Sort::Id { descending },
            n => {
                let codes = ["date", "date", "value-string", "value-quantity", "code", "_profile"];
                by("Observation", codes[n as usize - 2], descending)
            }
        });
    }
    query.count = 1 + random.below(40) as u32;
    query.total = Total::Accurate;
    query
}

fn random_predicate(random: &mut Random) -> Predicate {
    match random.below(8) {
        0 => Predicate::Patient(random.pick(&PATIENTS).to_owned()),
        1 => Predicate::InCareOf("d1".into()),
        2 => Predicate::Rows((0..9).map(|n| key(&format!("Observation/d{n}"))).collect()),
        3 => Predicate::Any(vec![Predicate::InCareOf("d1".into()), Predicate::Patient("p4".into())]),
        _ => Predicate::Everything,
    }
}

fn entry_meets(value: &IndexValue, operand: &Operand, matching: Match) -> bool {
    match (value, operand) {
        (IndexValue::Token { system, code }, Operand::Token { system: s, code: c }) => {
            s.as_ref().is_none_or(|s| s == system) && c.as_ref().is_none_or(|c| c == code)
        }
        (IndexValue::String { folded, exact }, Operand::String { folded: f, exact: e }) => match matching {
            Match::Exact => exact == e,
            Match::Contains => folded.contains(f.as_str()),
            _ => folded.starts_with(f.as_str()),
        },
        (IndexValue::Date { low_us: l, high_us: h }, Operand::Date { prefix, low_us, high_us }) => {
            let inside = l >= low_us && h <= high_us;
            match prefix {
                Prefix::Eq => inside,
                Prefix::Ne => !inside,
                Prefix::Gt => h > high_us,
                Prefix::Lt => l < low_us,
                Prefix::Ge => h > high_us || inside,
                Prefix::Le => l < low_us || inside,
                Prefix::Sa => l >= high_us,
                Prefix::Eb => h <= low_us,
                Prefix::Ap => l < high_us && h > low_us,
            }
        }
        (IndexValue::Quantity { value, low, high, system, code }, Operand::Quantity { .. }) => {
            let Operand::Quantity { prefix, value: v, low: l, high: h, system: s, code: c } = operand else {
                return false;
            };
            if s.as_ref().is_some_and(|s| s != system) || c.as_ref().is_some_and(|c| c != code) {
                return false;
            }
            if *low <= -f64::MAX || *high >= f64::MAX {
                return match prefix {
                    Prefix::Eq => false,
                    Prefix::Ne => true,
                    Prefix::Gt | Prefix::Ge => high > v,
                    Prefix::Lt | Prefix::Le => low < v,
                    Prefix::Sa => low >= v,
                    Prefix::Eb => high <= v,
                    Prefix::Ap => low < h && high > l,
                };
            }
            match prefix {
                Prefix::Eq | Prefix::Ap => value >= l && value < h,
                Prefix::Ne => value < l || value >= h,
                Prefix::Gt => value > v,
                Prefix::Lt => value < v,
                Prefix::Ge => value >= v,
                Prefix::Le => value <= v,
                Prefix::Sa => value > v && low >= v,
                Prefix::Eb => value < v && high <= v,
            }
        }
        (IndexValue::Reference { target }, Operand::Reference { kinds, id }) => {
            kinds.contains(&target.kind) && target.id == *id
        }
        (IndexValue::Uri(uri), Operand::Uri(wanted)) => match matching {
            Match::Below => uri == wanted || uri.starts_with(&format!("{wanted}/")),
            Match::Above => wanted == uri || wanted.starts_with(&format!("{uri}/")),
            _ => uri == wanted,
        },
        _ => false,
    }
}

fn meets(doc: &Doc, filter: &Filter) -> bool {
    let own = || doc.entries.iter().filter(|e| e.param == filter.param);
    let any = filter.any.iter().any(|operand| match operand {
        Operand::Missing(missing) => own().next().is_none() == *missing,
        operand => own().any(|entry| entry_meets(&entry.value, operand, filter.matching)),
    });
    if filter.matching == Match::Not { !any } else { any }
}

fn allowed(doc: &Doc, predicate: &Predicate) -> bool {
    // d1 cares for p1 and p2.
    let in_care = |p: &String| p == "p1" || p == "p2";
    match predicate {
        Predicate::Nothing => false,
        Predicate::Everything => true,
        Predicate::Patient(p) => doc.patients.contains(p),
        Predicate::InCareOf(_) => doc.patients.iter().any(in_care),
        Predicate::Rows(keys) => keys.contains(&key(&doc.key)),
        Predicate::Any(all) => all.iter().any(|p| allowed(doc, p)),
    }
}

fn updated_meets(doc: &Doc, (prefix, low, high): (Prefix, i64, i64)) -> bool {
    let us = at(doc.updated_s).as_microsecond();
    match prefix {
        Prefix::Eq | Prefix::Ap => us >= low && us < high,
        Prefix::Ne => us < low || us >= high,
        Prefix::Gt | Prefix::Sa => us >= high,
        Prefix::Lt | Prefix::Eb => us < low,
        Prefix::Ge => us >= low,
        Prefix::Le => us < high,
    }
}

/// Missing comes first, then the least value decides.
fn compare(a: &Doc, b: &Doc, sort: &Sort) -> Ordering {
    let least = |doc: &Doc, of: &dyn Fn(&IndexEntry) -> Option<IndexValue>| {
        doc.entries.iter().filter_map(of).reduce(|x, y| if value_order(&y, &x).is_lt() { y } else { x })
    };
    let (order, descending) = match sort {
        Sort::LastUpdated { descending } => (a.updated_s.cmp(&b.updated_s), descending),
        // As stored: a tag byte, then the text.
        Sort::Id { descending } => (a.key.cmp(&b.key), descending),
        Sort::Param { param, descending } => {
            let own = |entry: &IndexEntry| (entry.param == *param).then(|| entry.value.clone());
            let order = match (least(a, &own), least(b, &own)) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Less,
                (Some(_), None) => Ordering::Greater,
                (Some(x), Some(y)) => value_order(&x, &y),
            };
            (order, descending)
        }
    };
    if *descending { order.reverse() } else { order }
}

fn value_order(a: &IndexValue, b: &IndexValue) -> Ordering {
    match (a, b) {
        (IndexValue::Token { code: a, .. }, IndexValue::Token { code: b, .. }) => a.cmp(b),
        (IndexValue::String { folded: a, .. }, IndexValue::String { folded: b, .. }) => a.cmp(b),
        (IndexValue::Date { low_us: a, .. }, IndexValue::Date { low_us: b, .. }) => a.cmp(b),
        (IndexValue::Quantity { value: a, .. }, IndexValue::Quantity { value: b, .. }) => a.total_cmp(b),
        (IndexValue::Uri(a), IndexValue::Uri(b)) => a.cmp(b),
        _ => panic!("not sorted by"),
    }
}

fn expected(docs: &[(i64, Doc)], query: &Query, predicate: &Predicate) -> Vec<String> {
    let mut found: Vec<&(i64, Doc)> = docs
        .iter()
        .filter(|(_, doc)| {
            query.filters.iter().all(|f| meets(doc, f))
                && query.last_updated.iter().all(|bound| updated_meets(doc, *bound))
                && (query.ids.is_empty() || query.ids.contains(&key(&doc.key).id))
                && allowed(doc, predicate)
        })
        .collect();
    let rows_descend = match query.sort.last() {
        Some(Sort::Param { descending, .. } | Sort::LastUpdated { descending } | Sort::Id { descending }) => {
            *descending
        }
        None => false,
    };
    found.sort_by(|(x, a), (y, b)| {
        let keys =
            query.sort.iter().fold(Ordering::Equal, |order, sort| order.then_with(|| compare(a, b, sort)));
        keys.then_with(|| if rows_descend { y.cmp(x) } else { x.cmp(y) })
    });
    found.into_iter().map(|(_, doc)| key(&doc.key).id).collect()
}

fn all_pages(
    tx: &mut dyn store::Tx,
    query: &Query,
    predicate: &Predicate,
    tag: Option<&str>,
) -> store::Result<(Vec<String>, u64)> {
    let (mut found, mut query) = (Vec::new(), query.clone());
    loop {
        let page = match tag {
            Some(tag) if query.cursor.is_none() => search::run_via(tx, &query, predicate, at(0), tag)?,
            _ => search::run(tx, &query, predicate, at(0))?,
        };
        assert!(page.rows.len() <= query.count as usize);
        found.extend(page.rows.into_iter().map(|row| row.key.id));
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return Ok((found, page.total.unwrap())),
        }
    }
}

/// Random documents and queries; every source that can answer a query must give the same rows in the same order.
fn differential(temp: &TempStore) {
    const DOCS: usize = 220;
    const QUERIES: usize = 250;
    let mut random = Random(42);
    let mut docs: Vec<(i64, Doc)> = Vec::new();
    for n in 0..DOCS {
        let doc = random_doc(&mut random, n);
        let own = doc.clone();
        let written = temp.store.write_blocking(move |tx| insert(tx, &own)).unwrap();
        docs.push((written.rid, doc));
    }
    // Some change, some go.
    #[expect(clippy::needless_range_loop, reason = "the number is also the document's name")]
    for n in 0..DOCS / 5 {
        let (old, new) = (docs[n].1.clone(), random_doc(&mut random, n));
        let own = new.clone();
        temp.store.write_blocking(move |tx| update(tx, 1, &old, &own)).unwrap().unwrap();
        docs[n].1 = new;
    }
    for n in 0..DOCS / 10 {
        let (_, doc) = docs.remove(DOCS - 1 - 3 * n);
        temp.store
            .write_blocking(move |tx| store::resource::delete(tx, &key(&doc.key), 1, &doc.entries, at(1)))
            .unwrap()
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
    let mut failures = Vec::new();
    for n in 0..QUERIES {
        let (query, predicate) = (random_query(&mut random, DOCS), random_predicate(&mut random));
        let mut wanted = expected(&docs, &query, &predicate);
        let mut tags: Vec<Option<String>> = vec![None];
        tags.extend(search::sources(&query, &predicate).into_iter().map(Some));
        if query.sort.is_empty() {
            wanted.sort();
        }
        for tag in tags {
            let (own, rights, via) = (query.clone(), predicate.clone(), tag.clone());
            let result = temp.store.read_blocking(move |tx| all_pages(tx, &own, &rights, via.as_deref()));
            let (mut got, total) = result.unwrap_or_else(|e| panic!("{e} via {tag:?}: {query:?}"));
            if query.sort.is_empty() {
                got.sort();
            }
            if got != wanted || total != wanted.len() as u64 {
                failures.push(format!(
                    "{n} via {tag:?}: {query:?} {predicate:?}\n got {got:?} of {total}\nwant {wanted:?}"
                ));
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{}: {} failures\n{}",
        temp.engine,
        failures.len(),
        failures[..1].join("\n")
    );
}

#[test]
fn every_plan_agrees_with_a_plain_evaluator() {
    both().iter().for_each(differential);
}

/// Filters too common to collect: a short walk in the wanted order finds the page, or the walk is given up.
fn common_codes(temp: &TempStore) {
    const DOCS: i64 = 3_600;
    temp.store
        .write_blocking(|tx| {
            for n in 0..DOCS {
                // `old` has many rows, none of them near the newest.
                let code = if n < 1_050 { "old" } else { "common" };
                let doc = Doc::new(&format!("Observation/n{n}"))
                    .token("code", "", code)
                    .date("date", n * 1_000, n * 1_000 + 1)
                    .updated(n);
                insert(tx, &doc)?;
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    let newest = |parameters: &str, pages: usize| -> Vec<i64> {
        let mut query = parse("Observation", parameters);
        let mut found = Vec::new();
        for _ in 0..pages {
            let page = run(temp, &query, &Predicate::Everything);
            found.extend(ids(&page).into_iter().map(|id| id[1..].parse::<i64>().unwrap()));
            query.cursor = page.next;
        }
        found
    };
    let down = |from: i64, count: i64| (0..count).map(|n| from - n).collect::<Vec<i64>>();
    assert_eq!(newest("code=common&_sort=-date&_count=20", 2), down(DOCS - 1, 40));
    assert_eq!(newest("code=common&_sort=-_lastUpdated&_count=20", 2), down(DOCS - 1, 40));
    assert_eq!(newest("code=old&_sort=-date&_count=20", 2), down(1_049, 40));
    assert_eq!(newest("code=common&_sort=date&_count=3", 1), [1_050, 1_051, 1_052]);
    assert_eq!(newest("code=old,common&_sort=-date&_count=600", 6), down(DOCS - 1, DOCS));
}

#[test]
fn common_filters_walk_in_order_first() {
    both().iter().for_each(common_codes);
}
