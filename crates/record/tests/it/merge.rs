//! Merging two patients: what moves, what is refused afterwards, and how it is taken back.

use crate::bench::{Bench, name};
use crate::{create, each_engine, key, observation, patient, resource, set, update};
use access::{Ctx, Role};
use fhir::search::{EXTRACTOR_VERSION, Params, extract};
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

/// Nothing else that a transaction holds opens a way to a record that was merged away.
#[tokio::test]
async fn there_is_no_detour_to_a_merged_record() {
    each_engine(|bench| async move {
        let client = bench.client(&["system/*.cruds"]);
        let desk = bench.staff(Role::FrontDesk);
        bench.record.merge_patients(&desk, &merge("Patient/p2", "Patient/p1")).await.unwrap();
        let stored = || async {
            bench
                .record
                .read(&bench.system(), &key("Patient/p2"))
                .await
                .unwrap()
                .parse()
                .unwrap()
                .into_value()
        };
        let late = || update(observation("late", "p2", "60"), None);
        let provenance =
            create(json!({"resourceType": "Provenance", "target": [{"reference": "Patient/p2"}],
            "recorded": "2026-11-21T09:00:00Z", "agent": [{"who": {"display": "Desk"}}]}));
        let mut linked = patient("p7", "Again");
        linked["link"] = json!([{"other": {"reference": "Patient/p2"}, "type": "seealso"}]);
        let mut gone = patient("p8", "Gone");
        gone["active"] = json!(false);
        gone["link"] = json!([{"other": {"reference": "Patient/p2"}, "type": "replaced-by"}]);
        let mut renamed = stored().await;
        renamed["name"] = json!([{"family": "Renamed"}]);
        let cases = [
            ("after a Provenance", vec![provenance, late()]),
            ("after a link", vec![update(linked, None), late()]),
            ("after itself", vec![update(stored().await, None), late()]),
            ("before itself", vec![late(), update(stored().await, None)]),
            ("after itself with another name", vec![update(renamed.clone(), None), late()]),
            (
                "of one that this request replaces",
                vec![update(gone, None), update(observation("late", "p8", "60"), None)],
            ),
        ];
        let mut failures = Vec::new();
        for (case, changes) in cases {
            match bench.record.write(&client, set(changes)).await {
                Err(Error::Invalid(outcome)) if outcome.to_string().contains("Refer to Patient/p1") => {}
                other => failures.push(format!("{case}: {other:?}")),
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");

        // It does not come back to life by itself, and what it says else may be put right.
        let mut unlinked = stored().await;
        unlinked.as_object_mut().unwrap().shift_remove("link");
        let mut active = stored().await;
        active["active"] = json!(true);
        let mut elsewhere = stored().await;
        elsewhere["link"][0]["other"]["reference"] = json!("Patient/p7");
        bench.seed(set(vec![create(patient("p7", "Seventh"))])).await;
        for value in [patient("p2", "Barasa"), unlinked, active, elsewhere] {
            for changes in [vec![update(value.clone(), None)], vec![update(value.clone(), None), late()]] {
                let refused = bench.record.write(&client, set(changes)).await.unwrap_err();
                assert_eq!(name(&refused), "Rule merged-away");
                assert!(refused.to_string().contains("$unmerge"), "{refused}");
            }
        }
        let drop = record::Patch::Json(json!([{"op": "remove", "path": "/link"}]));
        let patch = Change::Patch { key: key("Patient/p2"), patch: drop, if_match: None };
        let refused = bench.record.write(&client, set(vec![patch])).await.unwrap_err();
        assert_eq!(name(&refused), "Rule merged-away");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("old.ndjson");
        std::fs::write(&file, format!("{}\n", patient("p2", "Barasa"))).unwrap();
        let report =
            bench.record.import(&bench.system(), &[file], std::sync::Arc::new(|_| {})).await.unwrap();
        assert!(report.refusals.iter().any(|r| r.reason.contains("$unmerge")), "{:?}", report.refusals);
        bench.record.write(&client, set(vec![update(renamed, None)])).await.unwrap();
        // Taken apart, it is free.
        bench.record.unmerge_patients(&desk, &key("Patient/p2"), None).await.unwrap();
        bench.record.write(&client, set(vec![update(patient("p2", "Free"), None), late()])).await.unwrap();
        // Nor is it made anew where it was deleted.
        bench.record.merge_patients(&desk, &merge("Patient/p2", "Patient/p1")).await.unwrap();
        let delete = Change::Delete { key: key("Patient/p2"), if_match: None };
        bench.record.write(&client, set(vec![delete])).await.unwrap();
        let again = bench.record.write(&client, set(vec![update(patient("p2", "Barasa"), None)])).await;
        assert_eq!(name(&again.unwrap_err()), "Rule merged-away");
    })
    .await;
}

const PULSE: &str = "http://example.org/fhir/StructureDefinition/pulse";

/// What is stored moves, though it would not be let in today; what the client makes of the result is checked.
#[tokio::test]
async fn rules_of_today_do_not_hold_up_what_moves() {
    each_engine(|bench| async move {
        let mut bare = observation("bare", "p2", "60");
        bare.as_object_mut().unwrap().shift_remove("valueQuantity");
        bare["meta"] = json!({"profile": [PULSE]});
        let profile = |id: &str, url: &str, kind: &str, path: &str| {
            json!({"resourceType": "StructureDefinition", "id": id, "url": url, "name": "Pulse", "status": "active",
                "kind": "resource", "abstract": false, "type": kind, "derivation": "constraint",
                "baseDefinition": format!("http://hl7.org/fhir/StructureDefinition/{kind}"),
                "differential": {"element": [{"id": kind, "path": kind}, {"id": path, "path": path, "min": 1}]}})
        };
        bench.seed(set(vec![create(bare.clone())])).await;
        bench
            .seed(set(vec![
                create(profile("pulse", PULSE, "Observation", "Observation.value[x]")),
                create(profile("photo", "urn:photo", "Patient", "Patient.photo")),
            ]))
            .await;
        let client = bench.client(&["system/*.cruds"]);
        let refused = bench.record.write(&client, set(vec![update(bare, None)])).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid(_)), "today it is not let in: {refused}");
        // More index values than are allowed now, from a time before that limit.
        let numbers: Vec<Value> =
            (0..10_001).map(|n| json!({"system": "urn:x", "value": n.to_string()})).collect();
        let large = resource(json!({"resourceType": "Basic", "id": "large", "code": {"text": "x"},
            "subject": {"reference": "Patient/p2"}, "identifier": numbers}));
        // And a consent that could not be enforced if it were new.
        let consent = resource(json!({"resourceType": "Consent", "id": "vague", "status": "active",
            "scope": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/consentscope",
                "code": "patient-privacy"}]}, "category": [{"text": "x"}], "policyRule": {"text": "x"},
            "patient": {"reference": "Patient/p2"}, "provision": {"purpose": [{"code": "TREAT"}]}}));
        let refused = set(vec![Change::Create { resource: consent.clone() }]);
        assert!(matches!(bench.record.write(&bench.system(), refused).await, Err(Error::Invalid(_))));
        let now = bench.record.now();
        for old in [large, consent] {
            let insert = bench.record.store().write(move |tx| {
                let entries = extract(&Params::standard(), &old);
                let new = store::resource::New {
                    key: &old.key().unwrap(),
                    last_updated: now,
                    content: &store::Content::new(&old.to_json()),
                    entries: &entries,
                    patients: &["p2".to_owned()],
                };
                store::resource::insert(tx, &new)
            });
            assert!(insert.await.unwrap().is_some());
        }

        let desk = bench.staff(Role::FrontDesk);
        let mut asked = merge("Patient/p2", "Patient/p1");
        let mut result = patient("p1", "Achieng");
        result["meta"] = json!({"profile": ["urn:photo"]});
        asked.result = Some(resource(result));
        let refused = bench.record.merge_patients(&desk, &asked).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid(_)), "{refused}");

        let done = bench.record.merge_patients(&desk, &merge("Patient/p2", "Patient/p1")).await.unwrap();
        assert_eq!(done.moved.values().sum::<usize>(), 3, "{:?}", done.moved);
        for what in ["Observation/bare", "Basic/large"] {
            assert_eq!(content(&bench, what).await["subject"]["reference"], "Patient/p1");
        }
        bench.record.unmerge_patients(&desk, &key("Patient/p2"), None).await.unwrap();
        for what in ["Observation/bare", "Basic/large"] {
            assert_eq!(content(&bench, what).await["subject"]["reference"], "Patient/p2");
        }
    })
    .await;
}

/// After an upgrade the index lacks references that the older program did not know; a merge waits for them.
#[tokio::test]
async fn a_merge_waits_for_the_index() {
    each_engine(|bench| async move {
        let about = json!([{"url": "urn:about", "valueReference": {"reference": "Patient/p2"}}]);
        let basic =
            json!({"resourceType": "Basic", "id": "basic", "code": {"text": "x"}, "extension": about});
        bench.seed(set(vec![create(basic)])).await;
        let older = |rows: bool| {
            bench.record.store().write(move |tx| {
                if rows {
                    tx.execute("DELETE FROM reference WHERE param = 19999", &[])?;
                }
                store::setting::put(tx, "search.extractor", &json!(EXTRACTOR_VERSION - 1))
            })
        };
        let desk = bench.staff(Role::FrontDesk);
        older(true).await.unwrap();
        let mut preview = merge("Patient/p2", "Patient/p1");
        preview.preview = true;
        for asked in [merge("Patient/p2", "Patient/p1"), preview] {
            let early = bench.record.merge_patients(&desk, &asked).await.unwrap_err();
            let Error::NotReady { retry_after_s, .. } = early else { panic!("{early}") };
            assert!(retry_after_s > 0 && early.http_status_line().starts_with("503"));
        }
        while bench.record.index_search_parameters().await.unwrap() > 0 {}
        let done = bench.record.merge_patients(&desk, &merge("Patient/p2", "Patient/p1")).await.unwrap();
        assert_eq!(done.moved.values().sum::<usize>(), 1, "{:?}", done.moved);
        older(false).await.unwrap();
        let early = bench.record.unmerge_patients(&desk, &key("Patient/p2"), None).await.unwrap_err();
        assert_eq!(name(&early), "NotReady");
        while bench.record.index_search_parameters().await.unwrap() > 0 {}
        bench.record.unmerge_patients(&desk, &key("Patient/p2"), None).await.unwrap();
        assert_eq!(content(&bench, "Basic/basic").await["extension"], about);
    })
    .await;
}

/// Who acts for a record that was merged away acts for the one that stays; so do broken glasses and keys to what is
/// sealed; and all of it goes back.
#[tokio::test]
async fn those_who_may_see_the_record_go_along() {
    each_engine(|bench| async move {
        let sealed = |id: &str| {
            json!({"resourceType": "Condition", "id": id, "subject": {"reference": "Patient/p2"},
                "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "B20"}]},
                "recorder": {"reference": "Practitioner/d2"}})
        };
        bench.seed(set(vec![create(sealed("known"))])).await;
        let new = |patient: &str| record::rights::emergency::NewEmergency {
            patient: patient.into(),
            reason: "unconscious".into(),
            explanation: "Brought in after an accident".into(),
            minutes: None,
        };
        let doctor = bench.other_doctor();
        bench.record.begin_emergency(&doctor, new("p2")).await.unwrap();
        let proxy = store::proxy::Proxy {
            id: uuid::Uuid::now_v7(),
            account: 77,
            patient: "p2".into(),
            related_person: "r1".into(),
            basis: "parent".into(),
            classes: vec![access::Class::Clinical],
            seals: access::Seals::NONE,
            from: bench.record.now(),
            until: "2030-01-01T00:00:00Z".parse().unwrap(),
            made: bench.record.now(),
            made_by: None,
            ended: None,
            waits: false,
            relationship: None,
            code: None,
            confirmed: None,
        };
        bench.record.store().write(move |tx| store::proxy::insert(tx, &proxy)).await.unwrap();
        let state = async || {
            bench
                .record
                .store()
                .read(|tx| {
                    let now = "2026-11-21T09:00:00Z".parse().unwrap();
                    let proxies = store::proxy::of_account(tx, 77, now)?;
                    let emergencies = store::emergency::running(tx, 2, now)?;
                    let rid = store::resource::head(tx, &key("Condition/known"))?.unwrap().rid;
                    let whose = emergencies[0].patient.clone();
                    let keys = store::sealed::keys(tx, "d2", rid, std::slice::from_ref(&whose))?;
                    Ok::<_, store::Error>((proxies[0].patient.clone(), whose, keys))
                })
                .await
                .unwrap()
        };
        let at = |patient: &str| (patient.to_owned(), patient.to_owned(), access::Seals::HIV);
        assert_eq!(state().await, at("p2"));
        let desk = bench.staff(Role::FrontDesk);
        bench.record.merge_patients(&desk, &merge("Patient/p2", "Patient/p1")).await.unwrap();
        assert_eq!(state().await, at("p1"));
        let ctx = bench.record.current(&doctor).await.unwrap();
        assert!(bench.record.read(&ctx, &key("Condition/known")).await.is_ok());
        bench.record.unmerge_patients(&desk, &key("Patient/p2"), None).await.unwrap();
        assert_eq!(state().await, at("p2"));
    })
    .await;
}
