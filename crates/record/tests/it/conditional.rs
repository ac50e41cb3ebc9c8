//! Conditional writes and patches: what a condition finds decides, and nobody slips in between.

use crate::bench::name;
use crate::{Bench, each_engine, key, observation, patient, resource, set};
use access::Ctx;
use record::{Change, Committed, Conditional, ConditionalAction, Error, Patch};
use serde_json::{Value, json};

fn identified(value: &str, family: &str) -> Value {
    json!({"resourceType": "Patient", "identifier": [{"system": "urn:mrn", "value": value}],
        "name": [{"family": family}]})
}

fn when(kind: &str, criteria: &[(&str, &str)], action: ConditionalAction) -> Change {
    let kind = crate::kind(kind);
    let criteria = criteria.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    Change::Conditional(Box::new(Conditional { kind, criteria, action }))
}

fn create_if_none(mrn: &str, family: &str) -> Change {
    let action = ConditionalAction::Create { resource: resource(identified(mrn, family)) };
    when("Patient", &[("identifier", &format!("urn:mrn|{mrn}"))], action)
}

fn update_where(mrn: &str, value: Value, if_match: Option<u32>) -> Change {
    let action = ConditionalAction::Update { resource: resource(value), if_match };
    when("Patient", &[("identifier", &format!("urn:mrn|{mrn}"))], action)
}

fn delete_where(family: &str, most: u32) -> Change {
    when("Patient", &[("family", family)], ConditionalAction::Delete { if_match: None, most })
}

async fn write(bench: &Bench, ctx: &Ctx, change: Change) -> Result<Committed, Error> {
    bench.record.write(ctx, set(vec![change])).await
}

async fn count(bench: &Bench, mrn: &str) -> usize {
    let found = bench.record.find(&bench.system(), "Patient", &[("identifier", mrn)], 100).await.unwrap();
    found.len()
}

#[tokio::test]
async fn nothing_one_or_many() {
    each_engine(|bench| async move {
        let ctx = bench.client(&["system/*.cruds"]);
        let first = write(&bench, &ctx, create_if_none("m1", "One")).await.unwrap();
        assert!(first.written[0].created);
        let again = write(&bench, &ctx, create_if_none("m1", "Other")).await.unwrap();
        assert!(again.written[0].unchanged && !again.written[0].created);
        assert_eq!(again.written[0].key, first.written[0].key);
        assert_eq!(again.written[0].resource, first.written[0].resource, "the one that is there is answered");

        // Update: the match, whatever id it has.
        let updated = write(&bench, &ctx, update_where("m1", identified("m1", "Two"), None)).await.unwrap();
        assert_eq!(
            (updated.written[0].key.clone(), updated.written[0].version),
            (first.written[0].key.clone(), 2)
        );
        let made = write(&bench, &ctx, update_where("m2", identified("m2", "New"), None)).await.unwrap();
        assert!(made.written[0].created);
        let mut with_id = identified("m3", "Named");
        with_id["id"] = json!("own-id");
        let named = write(&bench, &ctx, update_where("m3", with_id.clone(), None)).await.unwrap();
        assert_eq!((named.written[0].key.id.as_str(), named.written[0].created), ("own-id", true));

        let mut wrong = with_id.clone();
        wrong["identifier"][0]["value"] = json!("m1");
        let seed = |family: &str| patient(&uuid::Uuid::now_v7().to_string(), family);
        bench.seed(set(vec![crate::create(seed("Twin")), crate::create(seed("Twin"))])).await;
        let twin = |action| when("Patient", &[("family", "Twin")], action);
        let body = || resource(identified("m9", "Twin"));
        let patch = || Patch::Merge(json!({"active": false}));
        let nobody = [("family", "Nobody")];
        let cases = vec![
            ("another id than the match", update_where("m1", wrong, None), "Malformed Patient.id"),
            ("the id belongs to another", update_where("m4", with_id, None), "VersionConflict Some(1)"),
            ("stale", update_where("m1", identified("m1", "Three"), Some(1)), "VersionConflict Some(2)"),
            (
                "a version of nothing",
                update_where("m7", identified("m7", "X"), Some(1)),
                "VersionConflict None",
            ),
            (
                "create, many",
                twin(ConditionalAction::Create { resource: body() }),
                "Precondition multiple-matches",
            ),
            (
                "update, many",
                twin(ConditionalAction::Update { resource: body(), if_match: None }),
                "Precondition multiple-matches",
            ),
            (
                "patch, many",
                twin(ConditionalAction::Patch { patch: patch(), if_match: None }),
                "Precondition multiple-matches",
            ),
            (
                "patch of nothing",
                when("Patient", &nobody, ConditionalAction::Patch { patch: patch(), if_match: None }),
                "NotFound",
            ),
            ("delete, many", delete_where("Twin", 1), "Precondition multiple-matches"),
            ("delete of nothing", delete_where("Nobody", 1), "NotFound"),
            (
                "no condition",
                when("Patient", &[], ConditionalAction::Delete { if_match: None, most: 5 }),
                "Malformed",
            ),
            (
                "an empty condition",
                when("Patient", &[("family", "")], ConditionalAction::Delete { if_match: None, most: 5 }),
                "Malformed",
            ),
            (
                "a misspelt condition",
                when("Patient", &[("familie", "x")], ConditionalAction::Delete { if_match: None, most: 5 }),
                "Malformed",
            ),
            (
                "a condition that narrows nothing",
                when("Patient", &[("_count", "1")], ConditionalAction::Delete { if_match: None, most: 5 }),
                "Malformed",
            ),
        ];
        let mut failures = Vec::new();
        for (case, change, expected) in cases {
            let found = match write(&bench, &ctx, change).await {
                Ok(_) => "written".to_owned(),
                Err(error) => name(&error).trim().to_owned(),
            };
            if found != expected {
                failures.push(format!("{case}: {found}, not {expected}"));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
        let gone = write(&bench, &ctx, delete_where("Twin", 5)).await.unwrap();
        assert_eq!(gone.written.len(), 2);
        let patched = when(
            "Patient",
            &[("family", "Named")],
            ConditionalAction::Patch { patch: patch(), if_match: None },
        );
        let patched = write(&bench, &ctx, patched).await.unwrap();
        assert_eq!(patched.written[0].resource.as_ref().unwrap().get("active"), Some(&json!(false)));
    })
    .await;
}

/// Rows that a caller may not see do not match, and who may not search cannot ask.
#[tokio::test]
async fn conditions_know_what_their_caller_knows() {
    each_engine(|bench| async move {
        bench.seed(set(vec![crate::create(observation("hidden", "p2", "60"))])).await;
        let action =
            || ConditionalAction::Patch { patch: Patch::Merge(json!({"status": "amended"})), if_match: None };
        let any = [("value-quantity", "60")];
        let doctor = write(&bench, &bench.doctor(), when("Observation", &any, action())).await;
        assert_eq!(name(&doctor.unwrap_err()), "NotFound", "p2 is not in her care");
        let blind = bench.client(&["system/Observation.cu"]);
        let blind = write(&bench, &blind, when("Observation", &any, action())).await;
        assert_eq!(name(&blind.unwrap_err()), "Denied");
        let seeing = bench.client(&["system/Observation.crus"]);
        write(&bench, &seeing, when("Observation", &any, action())).await.unwrap();
    })
    .await;
}

/// Twenty writers with one condition make one resource.
#[tokio::test(flavor = "multi_thread")]
async fn creates_at_once_make_one() {
    each_engine(|bench| async move {
        let ctx = bench.client(&["system/*.cruds"]);
        for round in 0..5 {
            let mrn = format!("race-{round}");
            let mut running = tokio::task::JoinSet::new();
            for n in 0..20 {
                let (bench, ctx, mrn) = (bench.clone(), ctx.clone(), mrn.clone());
                running.spawn(async move {
                    let change = if n % 2 == 0 {
                        create_if_none(&mrn, "Racer")
                    } else {
                        update_where(&mrn, identified(&mrn, "Racer"), None)
                    };
                    write(&bench, &ctx, change).await.unwrap().written[0].created
                });
            }
            let mut created = 0;
            while let Some(done) = running.join_next().await {
                created += usize::from(done.unwrap());
            }
            assert_eq!((created, count(&bench, &format!("urn:mrn|{mrn}")).await), (1, 1), "{mrn}");
        }
    })
    .await;
}

/// Patches that meet are applied one after the other: none is lost, and nobody is sent away, however many meet.
#[tokio::test(flavor = "multi_thread")]
async fn patches_at_once_all_count() {
    each_engine(|bench| async move {
        let ctx = bench.client(&["system/*.cruds"]);
        let mut running = tokio::task::JoinSet::new();
        for n in 0..50 {
            let (bench, ctx) = (bench.clone(), ctx.clone());
            running.spawn(async move {
                let patch = json!([{"op": "add", "path": "/name/0/given/-", "value": format!("n{n}")}]);
                // Some of them in bundles.
                if n % 5 == 0 {
                    let parts = json!([{"name": "type", "valueCode": "add"}, {"name": "path", "valueString": "Patient.name[0]"},
                        {"name": "name", "valueString": "given"}, {"name": "value", "valueString": format!("n{n}")}]);
                    let entry = json!({"resource": {"resourceType": "Parameters",
                        "parameter": [{"name": "operation", "part": parts}]},
                        "request": {"method": "PATCH", "url": "Patient/p1"}});
                    let bundle =
                        resource(json!({"resourceType": "Bundle", "type": "transaction", "entry": [entry]}));
                    bench.bundle(&ctx, bundle).await.unwrap();
                    return;
                }
                let patch = Patch::Json(patch);
                let change = Change::Patch { key: key("Patient/p1"), patch, if_match: None };
                write(&bench, &ctx, change).await.unwrap();
            });
        }
        while let Some(done) = running.join_next().await {
            done.unwrap();
        }
        let stored = bench.record.read(&bench.system(), &key("Patient/p1")).await.unwrap();
        let given = stored.parse().unwrap().get("name").unwrap()[0]["given"].as_array().unwrap().len();
        assert_eq!((stored.version, given), (51, 51));
    })
    .await;
}

#[tokio::test]
async fn patches_are_refused_with_a_reason() {
    each_engine(|bench| async move {
        let ctx = bench.client(&["system/*.cruds"]);
        let p1 = || key("Patient/p1");
        let json_patch = |value: Value| Patch::Json(value);
        let cases = [
            ("no such path", json_patch(json!([{"op": "remove", "path": "/nothing"}])), None, "Invalid"),
            (
                "a failed test",
                json_patch(json!([{"op": "test", "path": "/gender", "value": "male"}])),
                None,
                "Invalid",
            ),
            ("not a list", json_patch(json!({"op": "remove"})), None, "Invalid"),
            (
                "another id",
                json_patch(json!([{"op": "replace", "path": "/id", "value": "p2"}])),
                None,
                "Invalid",
            ),
            ("another type", Patch::Merge(json!({"resourceType": "Person"})), None, "Invalid"),
            ("an invalid result", Patch::Merge(json!({"gender": "f"})), None, "Invalid"),
            ("a stale version", Patch::Merge(json!({"active": false})), Some(7), "VersionConflict"),
        ];
        let mut failures = Vec::new();
        for (case, patch, if_match, expected) in cases {
            let found = write(&bench, &ctx, Change::Patch { key: p1(), patch, if_match }).await;
            let found = found.map_or_else(|error| name(&error), |_| "written".into());
            if !found.starts_with(expected) {
                failures.push(format!("{case}: {found}, not {expected}"));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
        let parameters =
            resource(json!({"resourceType": "Parameters", "parameter": [{"name": "operation", "part": [
            {"name": "type", "valueCode": "replace"}, {"name": "path", "valueString": "Patient.birthDate"},
            {"name": "value", "valueDate": "1991-01-01"}]}]}));
        let change = Change::Patch { key: p1(), patch: Patch::Path(parameters), if_match: Some(1) };
        let done = write(&bench, &ctx, change).await.unwrap();
        assert_eq!(done.written[0].resource.as_ref().unwrap().text("birthDate"), Some("1991-01-01"));
        // Whoever may not read it gets nothing out of a patch.
        let change = Change::Patch {
            key: key("Patient/p2"),
            patch: Patch::Merge(json!({"active": true})),
            if_match: None,
        };
        assert_eq!(name(&write(&bench, &bench.doctor(), change).await.unwrap_err()), "Denied");
    })
    .await;
}
