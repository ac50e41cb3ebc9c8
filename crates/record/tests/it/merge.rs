//! Merging two patients: what moves, what is refused afterwards, and how it is taken back.

use crate::bench::{Bench, name};
use crate::{create, each_engine, key, observation, patient, resource, set, update};
use access::{Ctx, Role};
use record::operation::Merge;
use record::{Change, Error};
use serde_json::{Value, json};

fn merge(source: &str, target: &str) -> Merge {
    Merge { source: key(source), target: key(target), result: None, preview: false }
}

async fn content(bench: &Bench, what: &str) -> Value {
    let mut value =
        bench.record.read(&bench.system(), &key(what)).await.unwrap().parse().unwrap().into_value();
    value.as_object_mut().unwrap().shift_remove("meta");
    value
}

fn invalid(error: &Error) -> String {
    let Error::Invalid(outcome) = error else { panic!("{error}") };
    outcome.issues.iter().map(|issue| format!("{} {}", issue.code.code(), issue.text)).collect()
}

/// References to a version, and references where nothing indexes them.
#[tokio::test]
async fn every_reference_moves() {
    each_engine(|bench| async move {
        let about = json!([{"url": "urn:about", "valueReference": {"reference": "Patient/p2/_history/1"}}]);
        let mut versioned = observation("versioned", "p2", "60");
        versioned["subject"]["reference"] = json!("Patient/p2/_history/1");
        let mut mother = observation("extended", "p1", "61");
        mother["extension"] = about.clone();
        let code = json!({"coding": [{"system": "urn:x", "code": "y"}]});
        // Nothing else leads from these two to the patient.
        let basic = json!({"resourceType": "Basic", "id": "basic", "code": code, "extension": about});
        let answers = json!({"resourceType": "QuestionnaireResponse", "id": "answers", "status": "completed",
            "item": [{"linkId": "1", "answer": [{"valueReference": {"reference": "Patient/p2"}}]}]});
        let document = json!({"resourceType": "Bundle", "id": "document", "type": "collection",
            "entry": [{"fullUrl": "urn:uuid:9f7c2a10-0000-4000-8000-000000000001", "resource": basic}]});
        let all = [versioned, mother, basic.clone(), answers, document];
        let mut before = Vec::new();
        bench.seed(set(all.iter().cloned().map(create).collect())).await;
        for one in &all {
            let what = format!("{}/{}", one["resourceType"].as_str().unwrap(), one["id"].as_str().unwrap());
            before.push((what.clone(), content(&bench, &what).await));
        }
        let desk = bench.staff(Role::FrontDesk);
        let done = bench.record.merge_patients(&desk, &merge("Patient/p2", "Patient/p1")).await.unwrap();
        assert_eq!(done.moved.values().sum::<usize>(), 4, "{:?}", done.moved);
        for (what, old) in &before {
            let now = content(&bench, what).await;
            if what == "Bundle/document" {
                assert_eq!(now, *old, "a document says what it said");
            } else {
                let expected = old.to_string().replace("Patient/p2/_history/1", "Patient/p1");
                let expected = expected.replace("Patient/p2", "Patient/p1");
                assert_eq!(now.to_string(), expected);
            }
        }
        bench.record.unmerge_patients(&desk, &key("Patient/p2"), None).await.unwrap();
        for (what, old) in &before {
            assert_eq!(content(&bench, what).await, *old, "exactly as it was");
        }
        // What was written while they were one record, in an extension, comes and goes as well.
        bench.record.merge_patients(&desk, &merge("Patient/p2", "Patient/p1")).await.unwrap();
        let late = json!({"resourceType": "Basic", "id": "late", "code": code, "extension": about});
        bench.seed(set(vec![create(late)])).await;
        let swept = bench.record.merge_patients(&desk, &merge("Patient/p2", "Patient/p1")).await.unwrap();
        assert_eq!(swept.moved.values().sum::<usize>(), 1, "{:?}", swept.moved);
    })
    .await;
}

/// A record that was merged away takes nothing new, and says which one does.
#[tokio::test]
async fn a_merged_record_takes_nothing_new() {
    each_engine(|bench| async move {
        bench
            .seed(set(vec![
                create(patient("p3", "Chebet")),
                create(json!({"resourceType": "Group", "id": "kept", "type": "person", "actual": true,
                    "member": [{"entity": {"reference": "Patient/p2"}}]})),
            ]))
            .await;
        let client = bench.client(&["system/*.cruds"]);
        let desk = bench.staff(Role::FrontDesk);
        let write = |ctx: Ctx, change: Change| {
            let record = bench.record.clone();
            async move { record.write(&ctx, set(vec![change])).await }
        };
        bench.record.merge_patients(&desk, &merge("Patient/p2", "Patient/p3")).await.unwrap();
        bench.record.merge_patients(&desk, &merge("Patient/p3", "Patient/p1")).await.unwrap();
        let extended = || {
            let mut value = observation("o", "p1", "60");
            value["extension"] =
                json!([{"url": "urn:x", "valueReference": {"reference": "Patient/p2/_history/1"}}]);
            value
        };
        for value in [observation("o", "p2", "60"), extended()] {
            let refused = write(client.clone(), update(value, None)).await.unwrap_err();
            let told = invalid(&refused);
            assert!(told.contains("business-rule") && told.contains("Patient/p1"), "{told}");
        }
        assert_eq!(name(&bench.record.read(&client, &key("Observation/o")).await.unwrap_err()), "NotFound");
        // The survivor takes it, and so does one that is merely not active.
        write(client.clone(), update(observation("o", "p1", "60"), None)).await.unwrap();
        let mut away = patient("p4", "Moved");
        away["active"] = json!(false);
        write(client.clone(), update(away, None)).await.unwrap();
        write(client.clone(), update(observation("o4", "p4", "60"), None)).await.unwrap();
        // Links that other systems set count as ours do, and may go in a circle.
        for (id, other) in [("p5", "p6"), ("p6", "p5")] {
            let mut linked = patient(id, "Linked");
            linked["active"] = json!(false);
            if id == "p5" {
                write(client.clone(), update(patient("p6", "Linked"), None)).await.unwrap();
            }
            linked["link"] =
                json!([{"other": {"reference": format!("Patient/{other}")}, "type": "replaced-by"}]);
            write(client.clone(), update(linked, None)).await.unwrap();
        }
        let refused = write(client.clone(), update(observation("o5", "p5", "60"), None)).await.unwrap_err();
        assert!(invalid(&refused).contains("Patient/p6"));
        // What tells of the record itself may name it.
        let provenance = json!({"resourceType": "Provenance", "target": [{"reference": "Patient/p2"}],
            "recorded": "2026-11-21T09:00:00Z", "agent": [{"who": {"display": "Desk"}}]});
        write(client.clone(), Change::Create { resource: resource(provenance) }).await.unwrap();
        let mut other = patient("p7", "Again");
        other["link"] = json!([{"other": {"reference": "Patient/p2"}, "type": "seealso"}]);
        write(client.clone(), update(other, None)).await.unwrap();
        // Taken apart again, it is a record like others.
        bench.record.unmerge_patients(&desk, &key("Patient/p3"), None).await.unwrap();
        write(client.clone(), update(observation("o3", "p3", "60"), None)).await.unwrap();
    })
    .await;
}
