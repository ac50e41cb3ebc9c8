//! How the engines answer the common clinical searches: ranges and point lookups, no scan of a table.

use crate::support::*;
use access::Predicate;
use store::Dialect;
use store::search;
use store::test_support::{TempStore, both};

#[test]
fn common_searches_scan_no_table() {
    both().iter().for_each(no_scan);
}

fn no_scan(temp: &TempStore) {
    // Enough rows that the narrow sources are not taken just because everything is small.
    temp.store
        .write_blocking(|tx| {
            insert(tx, &Doc::new("Patient/p1").token("identifier", "urn:mrn", "1"))?;
            for n in 0..40 {
                // More patients than a chain puts into the search as they are.
                insert(tx, &Doc::new(&format!("Patient/q{n}")).string("name", "Amina").of(&format!("q{n}")))?;
            }
            for n in 0..1100 {
                let patient = format!("p{}", n % 7);
                let doc = Doc::new(&format!("Observation/o{n}"))
                    .token("code", "http://loinc.org", "8480-6")
                    .token("status", "", "final")
                    .date("date", n * 1_000_000, n * 1_000_000 + 1)
                    .reference("patient", &format!("Patient/{patient}"))
                    .of(&patient);
                insert(tx, &doc)?;
            }
            Ok::<_, store::Error>(())
        })
        .unwrap();
    let everything = Predicate::Everything;
    let care = Predicate::InCareOf("d1".into());
    let own = Predicate::Patient("p1".into());
    let cases = [
        ("Observation", "patient=p1&code=http://loinc.org|8480-6&_sort=-date&_count=20", &everything),
        ("Observation", "patient=p1&code=8480-6&date=ge2020-01-01&_sort=-date", &care),
        ("Observation", "code=8480-6&_sort=-date&_count=20", &own),
        ("Observation", "code=8480-6&_sort=-date&_count=20", &everything),
        ("Observation", "code=8480-6&status=final", &everything),
        ("Observation", "_sort=-_lastUpdated", &everything),
        ("Observation", "_lastUpdated=gt2026-01-01", &everything),
        ("Observation", "", &care),
        ("Observation", "encounter:missing=true&patient=p1", &everything),
        ("Observation", "value-quantity=gt120&patient=p1", &everything),
        ("Patient", "name=am", &everything),
        ("Patient", "family=otieno&birthdate=1990-01-01", &care),
        ("Patient", "_sort=family&_count=20", &everything),
        ("Patient", "identifier=urn:mrn|1", &everything),
        ("Patient", "_id=p1", &own),
        ("Appointment", "date=ge2026-11-21&date=lt2026-11-22&_sort=date", &everything),
        ("Appointment", "practitioner=Practitioner/d1&date=ge2026-11-21&_sort=date", &everything),
        ("Encounter", "subject=Patient/p1&_sort=-date&_count=10", &own),
        ("MedicationRequest", "patient=p1&status=active&_sort=-authoredon", &care),
        ("Task", "status=requested&_sort=-authored-on", &everything),
        ("Observation", "subject:Patient.identifier=urn:mrn|1&_sort=-date", &everything),
        ("Observation", "subject:Patient.name=am&code=8480-6&_sort=-date", &everything),
        ("Observation", "encounter=Encounter/e1", &care),
        ("Patient", "_has:Observation:patient:code=8480-6&name=am", &everything),
        ("Observation", "component-code-value-quantity=8480-6$gt100", &everything),
        ("Observation", "code:text=systolic&patient=p1", &everything),
        ("Observation", "_content=malaria", &care),
        ("Observation", "patient=p1&_sort=-date,_id&_count=20", &everything),
        ("Observation", "patient=p1&_sort=status&_count=20", &everything),
        ("Patient", "_has:Observation:patient:code=8480-6", &everything),
        ("Patient", "_has:Observation:patient:code=http://loinc.org|8480-6&_sort=family", &everything),
        ("Patient", "_filter=name eq Amina or family ew ina", &care),
    ];
    let mut text = String::new();
    for (of, parameters, predicate) in cases {
        let (query, rights) = (parse(of, parameters), predicate.clone());
        let plan = temp
            .store
            .read_blocking(move |tx| {
                if tx.dialect() == Dialect::Postgres {
                    // So small a database it would read as a whole; what matters is that it need not.
                    tx.execute("SET LOCAL enable_seqscan = off", &[])?;
                }
                search::explain(tx, &query, &search::Rights::same(rights), at(0))
            })
            .unwrap();
        text.push_str(&format!("{of}?{parameters} as {predicate:?}\n"));
        for line in plan {
            // "SCAN s" reads the page that the inner SELECT has already cut.
            let harmless = ["SCAN s", "SCAN d", "SCAN p", "SCAN a", "SCAN t", "SCAN t1", "SCAN CONSTANT ROW"];
            let scans = line.contains("Seq Scan")
                || (line.starts_with("SCAN ") && !harmless.contains(&line.as_str()));
            assert!(!scans, "{of}?{parameters}: {line}");
            text.push_str(&format!("  {line}\n"));
        }
    }
    // PostgreSQL's plans differ from version to version.
    if temp.store.dialect() == Dialect::Sqlite {
        insta::assert_snapshot!("common_searches_scan_no_table", text);
    }
}
