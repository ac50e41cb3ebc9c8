//! Searches: cases with known answers, rights, cursors.

use crate::support::*;
use access::Predicate;
use fhir::search::{Query, Total};
use store::search::{self, Page, Rights};
use store::test_support::{TempStore, both};
use store::{Error, care_link};

const DAY: i64 = 86_400_000_000;

fn run(temp: &TempStore, query: &Query, predicate: &Predicate) -> Page {
    let (query, rights) = (query.clone(), Rights::same(predicate.clone()));
    temp.store.read_blocking(move |tx| search::run(tx, &query, &rights, at(0))).unwrap()
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
        observation(1, "p1", "8480-6", 120.0, 10).token("status", "", "amended"),
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
        ("Observation", "patient=p1&_sort=status,-date", "o1 o2 o3"),
        ("Observation", "patient=p1&_sort=-status,-date", "o2 o3 o1"),
        ("Observation", "_sort=status,-date", "o1 o4 o2 o3 o5"),
        ("Patient", "_filter=given ew MOS", "p2"),
        ("Patient", "_filter=given eq amos", "p2"),
        ("Patient", "_filter=given eq amo", ""),
        ("Patient", "_filter=family ew longerthanthenameis or family eq Otieno", "p1"),
        ("Observation", "_filter=subject[given eq amina].family ew ENO and code eq 8480-6", "o1 o2"),
        ("Observation", "_filter=subject[given eq amina].family ne otieno", ""),
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
            temp.store.read_blocking(move |tx| search::run(tx, &query, &Rights::everything(), at(0)))
        };
        assert_eq!(refused("nonsense"), Err(Error::Invalid("cursor")));
        let other = Query { filters: Vec::new(), ..query.clone() };
        let other = temp.store.read_blocking(move |tx| search::run(tx, &other, &Rights::everything(), at(0)));
        assert_eq!(other, Err(Error::Invalid("cursor")), "a cursor of another query");
    }
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
    assert_eq!(newest("code=common&_sort=-date,_id&_count=20", 2), down(DOCS - 1, 40));
    assert_eq!(newest("code=old&_sort=-date,-_lastUpdated&_count=20", 2), down(1_049, 40));
}

#[test]
fn common_filters_walk_in_order_first() {
    both().iter().for_each(common_codes);
}

/// A query that would never end ends, and the next one is answered.
fn budget(temp: &TempStore) {
    const ENDLESS: &str = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 2000000000) \
         SELECT count(*) FROM n";
    let short = Some(std::time::Duration::from_millis(20));
    let ended = temp.store.read_blocking(move |tx| {
        tx.limit(short)?;
        tx.one(ENDLESS, &[], |row| row.int(0))
    });
    assert_eq!(ended, Err(Error::TooCostly), "{}", temp.engine);
    // In a write it is the transaction's own limit, and what it wrote is undone with it.
    let ended = temp.store.write_blocking(move |tx| {
        insert(tx, &Doc::new("Patient/p"))?;
        tx.limit(short)?;
        tx.one(ENDLESS, &[], |row| row.int(0))
    });
    assert_eq!(ended, Err(Error::TooCostly), "{}", temp.engine);
    assert!(run(temp, &parse("Patient", ""), &Predicate::Everything).rows.is_empty());
    temp.store.write_blocking(|tx| insert(tx, &Doc::new("Patient/p"))).unwrap();
    assert_eq!(ids(&run(temp, &parse("Patient", ""), &Predicate::Everything)), ["p"]);
}

#[test]
fn no_query_runs_forever() {
    both().iter().for_each(budget);
}
