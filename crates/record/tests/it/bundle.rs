//! Batch and transaction bundles.

use crate::bench::{BASE, name};
use crate::{Bench, create, each_engine, key, observation, patient, resource, set};
use serde_json::{Value, json};

fn bundle(kind: &str, entries: Vec<Value>) -> fhir::Resource {
    resource(json!({"resourceType": "Bundle", "type": kind, "entry": entries}))
}

fn entry(method: &str, url: &str, full_url: &str, value: Value) -> Value {
    let mut entry = json!({"request": {"method": method, "url": url}});
    if !full_url.is_empty() {
        entry["fullUrl"] = json!(full_url);
    }
    if !value.is_null() {
        entry["resource"] = value;
    }
    entry
}

fn without_id(mut value: Value) -> Value {
    value.as_object_mut().unwrap().shift_remove("id");
    value
}

fn statuses(answer: &fhir::Resource) -> Vec<String> {
    answer.value()["entry"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["response"]["status"].as_str().unwrap().to_owned())
        .collect()
}

async fn run(bench: &Bench, bundle: fhir::Resource) -> Result<fhir::Resource, record::Error> {
    bench.bundle(&bench.client(&["system/*.cruds"]), bundle).await
}

#[tokio::test]
async fn a_transaction_links_its_entries() {
    each_engine(|bench| async move {
        bench
            .seed(set(vec![create(observation("old", "p1", "60")), create(observation("kept", "p1", "61"))]))
            .await;
        let mut changed = observation("kept", "p1", "62");
        changed["performer"] = json!([{"reference": format!("{BASE}/Practitioner/d1")}]);
        let mut linked = without_id(observation("x", "x", "70"));
        linked["subject"]["reference"] = json!("urn:uuid:0b4ddfa0-1111-4222-8333-444455556666");
        linked["hasMember"] =
            json!([{"reference": "Observation?code=http://loinc.org|8867-4&value-quantity=61"}]);
        let answer = run(
            &bench,
            bundle(
                "transaction",
                vec![
                    entry("GET", "Patient/p2", "", Value::Null),
                    entry("POST", "Observation", "urn:uuid:aaaaaaaa-0000-4000-8000-000000000001", linked),
                    entry("PUT", "Observation/kept", "", changed),
                    entry(
                        "POST",
                        "Patient",
                        "urn:uuid:0b4ddfa0-1111-4222-8333-444455556666",
                        without_id(patient("x", "Kiprono")),
                    ),
                    entry("DELETE", "Observation/old", "", Value::Null),
                    entry("GET", "Observation?patient=Patient/p1&_total=accurate", "", Value::Null),
                ],
            ),
        )
        .await
        .unwrap();
        assert_eq!(
            statuses(&answer),
            ["200 OK", "201 Created", "200 OK", "201 Created", "204 No Content", "200 OK"]
        );
        let entries = answer.value()["entry"].as_array().unwrap();
        assert_eq!(answer.text("type"), Some("transaction-response"));
        assert_eq!(entries[0]["resource"]["id"], "p2");
        // GETs see what the transaction did.
        assert_eq!(entries[5]["resource"]["total"], 1);
        let location = entries[1]["response"]["location"].as_str().unwrap();
        let made =
            location.strip_prefix(BASE).unwrap().trim_start_matches('/').split("/_history").next().unwrap();
        let made = bench.record.read(&bench.system(), &key(made)).await.unwrap().parse().unwrap();
        // The fullUrl only links: the server gives the id.
        let patient = entries[3]["response"]["location"].as_str().unwrap();
        let patient = patient[BASE.len()..].trim_start_matches('/').split("/_history").next().unwrap();
        assert_eq!(made.get("subject").unwrap()["reference"], patient);
        assert_ne!(patient, "Patient/0b4ddfa0-1111-4222-8333-444455556666");
        assert_eq!(made.get("hasMember").unwrap()[0]["reference"], "Observation/kept");
        let kept =
            bench.record.read(&bench.system(), &key("Observation/kept")).await.unwrap().parse().unwrap();
        assert_eq!(kept.get("performer").unwrap()[0]["reference"], "Practitioner/d1");
        assert!(fhir::validate::validate(&answer).is_empty());
    })
    .await;
}

#[tokio::test]
async fn wrong_transactions_change_nothing() {
    each_engine(|bench| async move {
        let good = || {
            entry(
                "POST",
                "Patient",
                "urn:uuid:0b4ddfa0-1111-4222-8333-444455556666",
                without_id(patient("x", "Good")),
            )
        };
        let mut dangling = without_id(observation("x", "x", "70"));
        dangling["subject"]["reference"] = json!("urn:uuid:99999999-9999-4999-8999-999999999999");
        let mut nothing = without_id(observation("x", "none", "70"));
        nothing["status"] = json!("final");
        let mut invalid = without_id(observation("x", "p1", "70"));
        invalid["status"] = json!("perhaps");
        let mut nobody = without_id(observation("x", "x", "70"));
        nobody["subject"]["reference"] = json!("Patient?family=Nobody");
        let mut stale = entry("PUT", "Patient/p1", "", patient("p1", "Other"));
        stale["request"]["ifMatch"] = json!("W/\"9\"");
        let mut conditional = entry("PUT", "Patient/p1", "", patient("p1", "X"));
        conditional["request"]["ifNoneExist"] = json!("identifier=1");
        let cases = vec![
            (
                "unresolvable urn",
                entry("POST", "Observation", "", dangling),
                "Invalid Bundle.entry[1].resource.subject.reference",
            ),
            (
                "reference to nothing",
                entry("POST", "Observation", "", nothing),
                "Invalid Bundle.entry[1].resource.subject.reference",
            ),
            (
                "invalid resource",
                entry("POST", "Observation", "", invalid),
                "Invalid Bundle.entry[1].resource.status",
            ),
            (
                "conditional reference to nobody",
                entry("POST", "Observation", "", nobody),
                "Invalid Bundle.entry[1].resource.subject.reference",
            ),
            ("stale", stale, "VersionConflict Some(1) at Bundle.entry[1]"),
            ("same fullUrl", good(), "Malformed Bundle.entry[1].fullUrl"),
            ("no request", json!({"resource": patient("x", "X")}), "Malformed Bundle.entry[1].request"),
            (
                "no url",
                json!({"resource": patient("x", "X"), "request": {"method": "POST"}}),
                "Malformed Bundle.entry[1].request.url",
            ),
            (
                "patch without a patch",
                entry("PATCH", "Patient/p1", "", patient("p1", "X")),
                "Malformed Bundle.entry[1].resource",
            ),
            (
                "other type than url",
                entry("POST", "Observation", "", patient("x", "X")),
                "Malformed Bundle.entry[1].request.url",
            ),
            (
                "other id than url",
                entry("PUT", "Patient/p1", "", patient("p2", "X")),
                "Malformed Bundle.entry[1].resource.id",
            ),
            (
                "no resource",
                entry("POST", "Observation", "", Value::Null),
                "Malformed Bundle.entry[1].resource",
            ),
            (
                "POST to an id",
                entry("POST", "Patient/p1", "", patient("p1", "X")),
                "Malformed Bundle.entry[1].request.url",
            ),
            (
                "conditional delete by nothing",
                entry("DELETE", "Patient?", "", Value::Null),
                "Malformed Bundle.entry[1].request.url",
            ),
            ("ifNoneExist on PUT", conditional, "Malformed Bundle.entry[1].request.ifNoneExist"),
        ];
        let mut failures = Vec::new();
        for (case, wrong, expected) in cases {
            let found = match run(&bench, bundle("transaction", vec![good(), wrong])).await {
                Ok(_) => "written".to_owned(),
                Err(error) => name(&error),
            };
            if found != expected {
                failures.push(format!("{case}: {found}, not {expected}"));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
        let found = bench.record.find(&bench.system(), "Patient", &[("family", "Good")], 10).await.unwrap();
        assert!(found.is_empty());
        for (kind, expected) in
            [("collection", "Malformed Bundle.type"), ("document", "Malformed Bundle.type")]
        {
            assert_eq!(name(&run(&bench, bundle(kind, vec![good()])).await.unwrap_err()), expected);
        }
        assert_eq!(name(&run(&bench, resource(patient("x", "y"))).await.unwrap_err()).trim(), "Malformed");
        let denied = bench.bundle(&bench.patient(), bundle("transaction", vec![good()])).await;
        assert_eq!(name(&denied.unwrap_err()), "Denied at Bundle.entry[0]");
    })
    .await;
}

#[tokio::test]
async fn batch_entries_stand_alone() {
    each_engine(|bench| async move {
        let mut bad = without_id(observation("x", "p1", "70"));
        bad["status"] = json!("perhaps");
        let answer = run(
            &bench,
            bundle(
                "batch",
                vec![
                    entry("POST", "Patient", "", without_id(patient("x", "Good"))),
                    entry("POST", "Observation", "", bad),
                    entry("GET", "Patient/none", "", Value::Null),
                    entry("PUT", "Patient/p2", "", patient("p2", "Changed")),
                    entry("PATCH", "Patient/p2", "", Value::Null),
                    entry("GET", "Patient/p2", "", Value::Null),
                    entry("GET", "Patient/p2/_history/1", "", Value::Null),
                ],
            ),
        )
        .await
        .unwrap();
        assert_eq!(
            statuses(&answer),
            [
                "201 Created",
                "422 Unprocessable Entity",
                "404 Not Found",
                "200 OK",
                "400 Bad Request",
                "200 OK",
                "200 OK"
            ]
        );
        let entries = answer.value()["entry"].as_array().unwrap();
        let issue = &entries[1]["response"]["outcome"]["issue"][0];
        assert_eq!(issue["expression"][0], "Bundle.entry[1].resource.status");
        assert_eq!(entries[5]["resource"]["name"][0]["family"], "Changed");
        assert_eq!(entries[6]["resource"]["name"][0]["family"], "Barasa");
        assert!(fhir::validate::validate(&answer).is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_repeated_bundle_is_answered_from_the_first() {
    each_engine(|bench| async move {
        let mut ctx = bench.client(&["system/*.cruds"]);
        ctx.idempotency_key = Some("bundle\nfingerprint".into());
        let make =
            || bundle("transaction", vec![entry("POST", "Patient", "", without_id(patient("x", "Once")))]);
        let first = bench.bundle(&ctx, make()).await.unwrap();
        let second = bench.bundle(&ctx, make()).await.unwrap();
        assert_eq!(first.value(), second.value());
        let batch = || {
            bundle(
                "batch",
                vec![
                    entry("POST", "Patient", "", without_id(patient("x", "Once"))),
                    entry("POST", "Patient", "", without_id(patient("x", "Once"))),
                ],
            )
        };
        ctx.idempotency_key = Some("batch\nfingerprint".into());
        let first = bench.bundle(&ctx, batch()).await.unwrap();
        let second = bench.bundle(&ctx, batch()).await.unwrap();
        assert_eq!(first.value(), second.value());
        let found = bench.record.find(&bench.system(), "Patient", &[("family", "Once")], 10).await.unwrap();
        assert_eq!(found.len(), 3);
    })
    .await;
}
