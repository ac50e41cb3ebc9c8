//! Random searches against a plain evaluator.

use crate::support::*;
use access::Predicate;
use fhir::search::{Filter, IndexEntry, IndexValue, Match, Operand, Prefix, Query, Sort, Total};
use std::cmp::Ordering;
use store::care_link;
use store::search::{self, Rights};
use store::test_support::{TempStore, both};

const DAY: i64 = 86_400_000_000;

/// Splitmix64: the same documents and queries on every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
    pub(crate) fn often(&mut self) -> bool {
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

pub(crate) fn random_doc(random: &mut Random, n: usize) -> Doc {
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
        2 => (
            "value-string",
            random.pick(&[Match::Default, Match::Exact, Match::Contains, Match::Ends, Match::Whole]),
        ),
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

pub(crate) fn random_query(random: &mut Random, docs: usize) -> Query {
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
            Match::Ends => folded.ends_with(f.as_str()),
            Match::Whole => folded == f,
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

pub(crate) fn meets(doc: &Doc, filter: &Filter) -> bool {
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
        Predicate::All(_) | Predicate::Open(_) | Predicate::Consented(_) | Predicate::Matching(_) => {
            panic!("see guard.rs")
        }
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
        Sort::Param { param, descending, .. } => {
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
    expected_of(docs, query, &|doc| allowed(doc, predicate))
}

/// The ids that a search over those rows that are allowed must give, in its order.
pub(crate) fn expected_of(docs: &[(i64, Doc)], query: &Query, allowed: &dyn Fn(&Doc) -> bool) -> Vec<String> {
    let mut found: Vec<&(i64, Doc)> = docs
        .iter()
        .filter(|(_, doc)| {
            query.filters.iter().all(|f| meets(doc, f))
                && query.last_updated.iter().all(|bound| updated_meets(doc, *bound))
                && (query.ids.is_empty() || query.ids.contains(&key(&doc.key).id))
                && allowed(doc)
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

pub(crate) fn all_pages(
    tx: &mut dyn store::Tx,
    query: &Query,
    predicate: &Predicate,
    tag: Option<&str>,
) -> store::Result<(Vec<String>, u64)> {
    let (mut found, mut query) = (Vec::new(), query.clone());
    let rights = Rights::same(predicate.clone());
    loop {
        let page = match tag {
            Some(tag) if query.cursor.is_none() => search::run_via(tx, &query, &rights, at(0), tag)?,
            _ => search::run(tx, &query, &rights, at(0))?,
        };
        assert!(page.rows.len() <= query.count as usize);
        found.extend(page.rows.into_iter().map(|row| row.key.id));
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return Ok((found, page.total.unwrap())),
        }
    }
}

/// What goes wrong when the query is answered from each source that can: every one must give the wanted ids, in the wanted
/// order where there is one, and their number.
pub(crate) fn disagreements(
    temp: &TempStore,
    query: &Query,
    predicate: &Predicate,
    mut wanted: Vec<String>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let mut tags: Vec<Option<String>> = vec![None];
    let (own, rights) = (query.clone(), Rights::same(predicate.clone()));
    let sources = temp.store.read_blocking(move |tx| search::sources(tx, &own, &rights, at(0))).unwrap();
    tags.extend(sources.into_iter().map(Some));
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
                "via {tag:?}: {query:?} {predicate:?}\n got {got:?} of {total}\nwant {wanted:?}"
            ));
        }
    }
    failures
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
        let wanted = expected(&docs, &query, &predicate);
        failures
            .extend(disagreements(temp, &query, &predicate, wanted).into_iter().map(|f| format!("{n} {f}")));
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
