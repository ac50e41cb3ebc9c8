//! How SQLite answers the common clinical searches: ranges and point lookups, no scan of a table.

use crate::support::*;
use access::Predicate;
use store::search;
use store::test_support::sqlite;

#[test]
fn common_searches_scan_no_table() {
    let temp = sqlite();
    // Enough rows that the narrow sources are not taken just because everything is small.
    temp.store
        .write_blocking(|tx| {
            insert(tx, &Doc::new("Patient/p1").token("identifier", "urn:mrn", "1"))?;
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
    ];
    let mut text = String::new();
    for (of, parameters, predicate) in cases {
        let (query, rights) = (parse(of, parameters), predicate.clone());
        let plan = temp
            .store
            .read_blocking(move |tx| search::explain(tx, &query, &search::Rights::same(rights), at(0)))
            .unwrap();
        text.push_str(&format!("{of}?{parameters} as {predicate:?}\n"));
        for line in plan {
            // "SCAN s" reads the page that the inner SELECT has already cut.
            let harmless = ["SCAN s", "SCAN d", "SCAN p", "SCAN CONSTANT ROW"];
            let scans = line.starts_with("SCAN ") && !harmless.contains(&line.as_str());
            assert!(!scans, "{of}?{parameters}: {line}");
            text.push_str(&format!("  {line}\n"));
        }
    }
    insta::assert_snapshot!(text);
}
