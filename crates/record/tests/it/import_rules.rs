//! What an import is held to beyond the resources themselves: profiles that are stored here, and Subscriptions.

use crate::{Bench, create, each_engine, key, patient, set, update};
use access::{Ctx, Principal};
use record::import::{Options, Report};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;

const PULSE: &str = "http://example.org/fhir/StructureDefinition/pulse";

fn profile() -> Value {
    json!({"resourceType": "StructureDefinition", "id": "pulse", "url": PULSE, "name": "Pulse", "status": "active",
        "kind": "resource", "abstract": false, "type": "Observation", "derivation": "constraint",
        "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Observation",
        "differential": {"element": [{"id": "Observation", "path": "Observation"},
            {"id": "Observation.value[x]", "path": "Observation.value[x]", "min": 1}]}})
}

fn pulse(id: &str, value: Option<i64>) -> Value {
    let mut resource = json!({"resourceType": "Observation", "id": id, "meta": {"profile": [PULSE]}, "status": "final",
        "code": {"text": "pulse"}});
    if let Some(value) = value {
        resource["valueInteger"] = json!(value);
    }
    resource
}

fn lines(resources: &[Value]) -> String {
    resources.iter().map(|r| format!("{r}\n")).collect()
}

async fn import(bench: &Bench, path: &Path, dry_run: bool) -> Report {
    let options = Options { dry_run, ..Options::default() };
    bench.record.import_with(&bench.system(), &[path.to_owned()], &options, Arc::new(|_| {})).await.unwrap()
}

fn refusals(report: &Report) -> Vec<String> {
    report.refusals.iter().map(|r| format!("{}: {}", r.what, r.reason)).collect()
}

#[tokio::test]
async fn imports_are_held_to_the_profiles_that_are_stored() {
    each_engine(|bench| async move {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        // As long as nobody here knows the profile, a claim is only a claim.
        let before = file("before.ndjson", &lines(&[pulse("early", None)]));
        assert_eq!(import(&bench, &before, false).await.refused, 0);

        // Nor must what was not known a moment ago stay unknown: the profile comes by import too.
        let definition = file("profile.json", &profile().to_string());
        assert_eq!(import(&bench, &definition, false).await.taken, 1);
        let many: Vec<Value> =
            (0..200).map(|n| pulse(&format!("o{n}"), (n % 4 != 0).then_some(70))).collect();
        let after = file("after.ndjson", &lines(&many));
        for dry_run in [true, false] {
            let report = import(&bench, &after, dry_run).await;
            assert_eq!((report.taken, report.refused), (150, 50), "dry run {dry_run}");
            assert!(refusals(&report)[0].starts_with("Observation/o0: "), "{:?}", refusals(&report)[0]);
            assert!(refusals(&report)[0].contains("Observation.value"), "{:?}", refusals(&report)[0]);
        }
        assert!(bench.record.read(&bench.system(), &key("Observation/o0")).await.is_err());
        assert!(bench.record.read(&bench.system(), &key("Observation/o1")).await.is_ok());

        // The same by lines, as $import takes them.
        let given = [pulse("l1", Some(1)), pulse("l2", None), patient("l3", "Otieno")];
        let given: Vec<Vec<u8>> = given.iter().map(|r| r.to_string().into_bytes()).collect();
        let report = bench.record.import_lines(&bench.system(), "job", None, 1, given).await.unwrap();
        assert_eq!((report.taken, report.refused.len()), (2, 1));
        assert_eq!((report.refused[0].0, report.refused[0].1.as_str()), (2, "Observation/l2"));
    })
    .await;
}

fn subscription(id: &str, status: &str) -> Value {
    json!({"resourceType": "Subscription", "id": id, "status": status, "reason": "test", "criteria": "Encounter?status=in-progress",
        "channel": {"type": "rest-hook", "endpoint": "https://old.example.org/hook", "header": ["Authorization: Bearer hush"]}})
}

#[tokio::test]
async fn subscriptions_come_off_and_are_told() {
    each_engine(|bench| async move {
        let scopes = vec!["system/*.cruds".to_owned()];
        let (client_id, _) = bench.record.create_client(&bench.system(), "hook", &scopes).await.unwrap();
        bench.receives("old.example.org").await;
        let principal = Principal::Client { client_id, name: "hook".to_owned(), scopes };
        let client = Ctx { principal, ..bench.system() };
        let uuid = "0190c2a4-7e66-7000-8000-1f3c9d2b4a10";
        bench.record.write(&client, set(vec![create(subscription(uuid, "requested"))])).await.unwrap();

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Subscription.ndjson");
        std::fs::write(&file, lines(&[subscription("s1", "active"), subscription(uuid, "active")])).unwrap();
        let report = import(&bench, &file, false).await;
        assert_eq!((report.taken, report.refused), (1, 1), "{report:?}");
        assert_eq!(report.resting, ["Subscription/s1"]);
        assert!(refusals(&report)[0].contains("here already"), "{:?}", refusals(&report));

        // Nobody is told anything, and nothing of the other system's secrets is here.
        let read = async |id: &str| {
            let stored =
                bench.record.read(&bench.system(), &key(&format!("Subscription/{id}"))).await.unwrap();
            stored.parse().unwrap().into_value()
        };
        let s1 = read("s1").await;
        assert_eq!((&s1["status"], s1["channel"].get("header")), (&json!("off"), None), "{s1}");
        assert_eq!(read(uuid).await["status"], "requested", "what is in use stays");
        let due = bench.record.due_subscriptions(10).await.unwrap();
        assert_eq!(due.iter().map(|d| d.id()).collect::<Vec<_>>(), [uuid]);
        let status = bench
            .record
            .subscription_status(&bench.system(), &["s1".to_owned()], &[], "https://clinic.example/fhir/R4")
            .await
            .unwrap();
        assert!(status[0].to_string().contains("\"valueCode\":\"off\""), "{status:?}");

        // The same file again changes nothing; a client sets it up as one of its own.
        let again = vec![subscription("s1", "active").to_string().into_bytes()];
        let report = bench.record.import_lines(&bench.system(), "job", None, 7, again).await.unwrap();
        assert_eq!((report.unchanged, report.resting.len()), (1, 0), "{report:?}");
        let new = vec![subscription("s2", "requested").to_string().into_bytes()];
        let report = bench.record.import_lines(&bench.system(), "job", None, 7, new).await.unwrap();
        assert_eq!(report.resting, [(7, "Subscription/s2".to_owned())]);
        bench.record.write(&client, set(vec![update(subscription("s1", "requested"), None)])).await.unwrap();
        let due = bench.record.due_subscriptions(10).await.unwrap();
        assert_eq!(due.iter().map(|d| d.id()).collect::<Vec<_>>(), ["s1"]);
    })
    .await;
}
