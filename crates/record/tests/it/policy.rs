//! Every role against every kind of row, by every way of reading; and searches against the rule they must follow.

use crate::bench::name;
use crate::{Bench, appointment, create, each_engine, key, kind, observation, set};
use access::policy::{self, RowFacts};
use access::{Action, Ctx, Decision, Role};
use fhir::ResourceKey;
use serde_json::json;

/// One row of each class for p1 (in care of d1) and for p2 (not).
async fn furnish(bench: &Bench) -> Vec<ResourceKey> {
    let mut changes = Vec::new();
    for (n, patient) in [(1, "p1"), (2, "p2")] {
        let subject = json!({"reference": format!("Patient/{patient}")});
        changes.extend([
            create(observation(&format!("o{n}"), patient, "70")),
            create(json!({"resourceType": "Encounter", "id": format!("e{n}"), "status": "in-progress",
                "class": {"code": "VR"}, "subject": subject})),
            create(json!({"resourceType": "AllergyIntolerance", "id": format!("al{n}"), "patient": subject,
                "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "code": "active"}]}})),
            create(json!({"resourceType": "MedicationRequest", "id": format!("m{n}"), "status": "active", "intent": "order",
                "subject": subject, "medicationCodeableConcept": {"text": "Amoxicillin"}})),
            create(json!({"resourceType": "Composition", "id": format!("c{n}"), "status": "final", "type": {"text": "Note"},
                "subject": subject, "date": "2026-11-20", "author": [{"reference": "Practitioner/d1"}], "title": "Note"})),
            create(json!({"resourceType": "Condition", "id": format!("co{n}"), "subject": subject})),
            create(json!({"resourceType": "Invoice", "id": format!("i{n}"), "status": "issued", "subject": subject})),
            create(json!({"resourceType": "Coverage", "id": format!("cv{n}"), "status": "active", "beneficiary": subject,
                "payor": [subject]})),
            create(json!({"resourceType": "Consent", "id": format!("cs{n}"), "status": "active",
                "scope": {"text": "privacy"}, "category": [{"text": "privacy"}], "patient": subject, "policyRule": {"text": "x"}})),
            create(json!({"resourceType": "Communication", "id": format!("cm{n}"), "status": "completed", "subject": subject})),
            create(json!({"resourceType": "Task", "id": format!("t{n}"), "status": "requested", "intent": "order", "for": subject})),
        ]);
    }
    changes.push(create(appointment("a2", "p2", "d-none").clone()));
    changes.extend([
        create(json!({"resourceType": "Practitioner", "id": "d-none"})),
        create(json!({"resourceType": "Organization", "id": "org", "name": "Clinic"})),
        create(json!({"resourceType": "Schedule", "id": "s", "actor": [{"reference": "Practitioner/d1"}]})),
        create(json!({"resourceType": "ChargeItemDefinition", "id": "price", "url": "https://example.org/p", "status": "active"})),
    ]);
    let written = bench.seed(set(changes)).await;
    let mut keys: Vec<ResourceKey> = written.written.iter().map(|w| w.key.clone()).collect();
    keys.extend(["Patient/p1", "Patient/p2", "Appointment/a1"].map(key));
    keys.sort_by_key(ToString::to_string);
    keys
}

fn callers(bench: &Bench) -> Vec<(String, Ctx)> {
    let mut all = vec![
        ("patient p1".to_owned(), bench.patient()),
        ("doctor of p1".to_owned(), bench.doctor()),
        ("doctor of nobody".to_owned(), bench.other_doctor()),
    ];
    for role in
        Role::ALL.into_iter().filter(|r| r.is_staff() && *r != Role::Doctor && *r != Role::Integration)
    {
        all.push((role.code().to_owned(), bench.staff(role)));
    }
    all.push(("client Observation.rs".to_owned(), bench.client(&["system/Observation.rs"])));
    all.push(("client *.rs".to_owned(), bench.client(&["system/*.rs"])));
    all
}

#[tokio::test]
async fn who_reads_what() {
    each_engine(|bench| async move {
        let keys = furnish(&bench).await;
        let mut table = String::new();
        for (caller, ctx) in callers(&bench) {
            table.push_str(&format!("{caller}\n"));
            for key in &keys {
                let read = match bench.record.read(&ctx, key).await {
                    Ok(_) => "yes".to_owned(),
                    Err(error) => name(&error),
                };
                let vread = bench.record.vread(&ctx, key, 1).await.map(|_| ()).map_err(|e| name(&e));
                let history =
                    bench.record.history(&ctx, key, None, 10).await.map(|_| ()).map_err(|e| name(&e));
                assert_eq!(vread.is_ok(), read == "yes", "{caller} {key}");
                assert_eq!(history.is_ok(), read == "yes", "{caller} {key}");
                assert_eq!(bench.record.load(&ctx, key).await.unwrap().is_some(), read == "yes");
                table.push_str(&format!("  {:<24} {read}\n", key.to_string()));
            }
        }
        insta::assert_snapshot!("who_reads_what", table);
    })
    .await;
}

/// A search returns exactly the rows that reading each by itself would give, in every type, for everybody.
#[tokio::test]
async fn searches_are_the_filtered_whole() {
    each_engine(|bench| async move {
        let keys = furnish(&bench).await;
        let mut kinds: Vec<&str> = keys.iter().map(|k| k.kind.name()).collect();
        kinds.dedup();
        for (caller, ctx) in callers(&bench) {
            for name in &kinds {
                let mut expected = Vec::new();
                for (resource, _) in bench.record.find(&bench.system(), name, &[], 1000).await.unwrap() {
                    let key = resource.key().unwrap();
                    let patients = if *name == "Task" {
                        vec![resource.get("for").unwrap()["reference"].as_str().unwrap()[8..].to_owned()]
                    } else {
                        fhir::search::compartment(&resource)
                    };
                    let in_care: Vec<String> =
                        patients.iter().filter(|p| *p == "p1" && caller == "doctor of p1").cloned().collect();
                    let row = RowFacts::plain(&key, &patients, &in_care);
                    if policy::decide(&ctx, Action::Search, &row) == Decision::Allow {
                        expected.push(key.to_string());
                    }
                }
                expected.sort();
                let none = policy::predicate(&ctx, Action::Search, kind(name)) == access::Predicate::Nothing;
                let (query, _) = fhir::search::parse(
                    &fhir::search::Params::standard(),
                    kind(name),
                    &[("_total".into(), "accurate".into())],
                    fhir::search::Handling::Strict,
                )
                .unwrap();
                match bench.record.search(&ctx, query).await {
                    Ok(page) => {
                        let mut found: Vec<String> = page.items.iter().map(|i| i.key.to_string()).collect();
                        found.sort();
                        assert_eq!(found, expected, "{caller} {name}");
                        assert_eq!(page.total, Some(expected.len() as u64), "{caller} {name}");
                    }
                    Err(error) => {
                        assert!(none && crate::bench::name(&error) == "Denied", "{caller} {name} {error}")
                    }
                }
            }
        }
    })
    .await;
}

/// facts/security-controls.md Z5: a row that moved to another patient keeps each version with its patient.
#[tokio::test]
async fn versions_stay_with_their_patient() {
    each_engine(|bench| async move {
        bench.seed(set(vec![create(observation("moved", "p2", "70"))])).await;
        let target = key("Observation/moved");
        bench.seed(set(vec![crate::update(observation("moved", "p1", "70"), None)])).await;
        let (p1, p2) = (bench.patient(), bench.other_patient());
        assert!(bench.record.vread(&p1, &target, 2).await.is_ok());
        assert_eq!(name(&bench.record.vread(&p1, &target, 1).await.unwrap_err()), "NotFound");
        let history = bench.record.history(&p1, &target, None, 10).await.unwrap();
        assert_eq!(history.entries.iter().map(|e| e.version).collect::<Vec<_>>(), [2]);
        // Nor has the other one any of it, her own former version included: the row is not hers.
        for version in [1, 2] {
            assert_eq!(name(&bench.record.vread(&p2, &target, version).await.unwrap_err()), "NotFound");
        }
        assert_eq!(name(&bench.record.read(&p2, &target).await.unwrap_err()), "NotFound");
        assert!(bench.record.history(&p2, &target, None, 10).await.is_err());
        // And away again: what was hers does not open the row that is not.
        bench.seed(set(vec![crate::update(observation("moved", "p2", "70"), None)])).await;
        for error in [
            bench.record.vread(&p1, &target, 2).await.map(|_| ()).unwrap_err(),
            bench.record.history(&p1, &target, None, 10).await.map(|_| ()).unwrap_err(),
            bench.record.read(&p1, &target).await.map(|_| ()).unwrap_err(),
        ] {
            assert_eq!(name(&error), "NotFound");
        }
        let versions = bench.record.history(&p2, &target, None, 10).await.unwrap();
        assert_eq!(versions.entries.iter().map(|e| e.version).collect::<Vec<_>>(), [3, 1]);
        assert_eq!(name(&bench.record.vread(&p2, &target, 2).await.unwrap_err()), "NotFound");
    })
    .await;
}

#[tokio::test]
async fn patients_see_what_is_signed() {
    each_engine(|bench| async move {
        let note = |status: &str| {
            json!({"resourceType": "Composition", "id": "note", "status": status, "type": {"text": "Note"}, "title": "Note",
                "subject": {"reference": "Patient/p1"}, "date": "2026-11-20", "author": [{"reference": "Practitioner/d1"}]})
        };
        let target = key("Composition/note");
        let (patient, doctor) = (bench.patient(), bench.doctor());
        let found = async |ctx: &Ctx| bench.record.find(ctx, "Composition", &[], 10).await.unwrap().len();
        bench.seed(set(vec![create(note("preliminary"))])).await;
        assert!(bench.record.read(&doctor, &target).await.is_ok());
        assert_eq!((found(&doctor).await, found(&patient).await), (1, 0));
        for error in [
            bench.record.read(&patient, &target).await.map(|_| ()).unwrap_err(),
            bench.record.vread(&patient, &target, 1).await.map(|_| ()).unwrap_err(),
            bench.record.history(&patient, &target, None, 10).await.map(|_| ()).unwrap_err(),
        ] {
            assert_eq!(name(&error), "NotFound");
        }
        bench.seed(set(vec![crate::update(note("final"), None)])).await;
        assert_eq!((found(&doctor).await, found(&patient).await), (1, 1));
        assert!(bench.record.read(&patient, &target).await.is_ok());
        assert_eq!(name(&bench.record.vread(&patient, &target, 1).await.unwrap_err()), "NotFound");
        let history = bench.record.history(&patient, &target, None, 10).await.unwrap();
        assert_eq!(history.entries.iter().map(|e| e.version).collect::<Vec<_>>(), [2]);
    })
    .await;
}

/// facts/security-controls.md Z3: whatever is asked, in whatever order and pages, the answer is what it would be if the
/// rows that the caller may not see did not exist.
#[tokio::test]
async fn any_query_is_as_if_the_rest_did_not_exist() {
    each_engine(|bench| async move {
        bench.seed(set(vec![create(crate::patient("p3", "Cheptoo"))])).await;
        let mut random = Random(20_261_121);
        let codes = ["8867-4", "8480-6", "29463-7"];
        let statuses = ["final", "preliminary", "amended"];
        let mut changes = Vec::new();
        for n in 0..120 {
            let patient = ["p1", "p2", "p3"][random.below(3)];
            let mut o = observation(&format!("r{n:03}"), patient, &format!("{}.5", 50 + random.below(40)));
            o["code"]["coding"][0]["code"] = json!(codes[random.below(3)]);
            o["status"] = json!(statuses[random.below(3)]);
            o["effectiveDateTime"] =
                json!(format!("2026-{:02}-{:02}T08:00:00Z", 1 + random.below(11), 1 + random.below(28)));
            if random.below(2) == 0 {
                o["performer"] = json!([{"reference": format!("Practitioner/d{}", 1 + random.below(2))}]);
            }
            // A row may be in two compartments.
            if random.below(10) == 0 {
                o["performer"] = json!([{"reference": "Patient/p1"}]);
            }
            changes.push(create(o));
        }
        bench.seed(set(changes)).await;
        let callers =
            [bench.patient(), bench.doctor(), bench.other_doctor(), bench.client(&["system/Observation.rs"])];
        for round in 0..150 {
            let mut pairs: Vec<(String, String)> = vec![("_total".into(), "accurate".into())];
            let mut maybe = |name: &str, value: String| {
                if random.below(4) == 0 {
                    pairs.push((name.to_owned(), value));
                }
            };
            maybe("code", codes[round % 3].to_owned());
            maybe("code", format!("http://loinc.org|{},{}", codes[(round + 1) % 3], codes[round % 3]));
            maybe("status:not", statuses[round % 3].to_owned());
            maybe("patient", format!("Patient/p{}", 1 + round % 3));
            maybe("subject", format!("Patient/p{}", 1 + round % 3));
            maybe("performer", "Practitioner/d1,Patient/p1".to_owned());
            maybe("performer:missing", (round % 2 == 0).to_string());
            maybe("date", format!("ge2026-{:02}", 1 + round % 12));
            maybe("date", format!("lt2026-{:02}-15", 1 + round % 12));
            maybe("value-quantity", format!("gt{}", 50 + round % 40));
            maybe("_id", "r001,r002,r003,r004,r005,r006,r007,r008".to_owned());
            maybe("_sort", ["date", "-date", "_id", "-_lastUpdated,_id"][round % 4].to_owned());
            let (query, _) = fhir::search::parse(
                &fhir::search::Params::standard(),
                kind("Observation"),
                &pairs,
                fhir::search::Handling::Strict,
            )
            .unwrap();
            let mut whole = pages(&bench, &bench.system(), query.clone(), 1000).await.0;
            // Without `_sort` the order is that of whatever index was walked.
            let sorted = !query.sort.is_empty();
            if !sorted {
                whole.sort();
            }
            for (n, ctx) in callers.iter().enumerate() {
                let expected: Vec<&String> = whole
                    .iter()
                    .filter(|(_, patients)| match n {
                        0 | 1 => patients.contains(&"p1".to_owned()),
                        2 => false,
                        _ => true,
                    })
                    .map(|(key, _)| key)
                    .collect();
                let (mut found, total) = pages(&bench, ctx, query.clone(), 7).await;
                if !sorted {
                    found.sort();
                }
                let found: Vec<&String> = found.iter().map(|(key, _)| key).collect();
                assert_eq!(found, expected, "caller {n}, {pairs:?}");
                assert_eq!(total, Some(expected.len() as u64), "caller {n}, {pairs:?}");
            }
        }
    })
    .await;
}

/// Every row of the query with its patients, over all pages of this size; and the total.
async fn pages(
    bench: &Bench,
    ctx: &Ctx,
    mut query: fhir::search::Query,
    count: u32,
) -> (Vec<(String, Vec<String>)>, Option<u64>) {
    query.count = count;
    let (mut found, mut total) = (Vec::new(), None);
    loop {
        let page = bench.record.search(ctx, query.clone()).await.unwrap();
        total = total.or(page.total);
        for item in &page.items {
            found.push((item.key.to_string(), fhir::search::compartment(&item.parse().unwrap())));
        }
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return (found, total),
        }
    }
}

/// xorshift64: the same rows and queries in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
