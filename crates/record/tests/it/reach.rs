//! What the policy must keep whatever is written: every type, every server-owned field, every way out; at once.

use crate::bench::name;
use crate::{Bench, create, each_engine, key, observation, set, update};
use access::{Ctx, Role, policy};
use fhir::{Resource, ResourceKey, TypeId};
use record::operation::Everything;
use record::{Change, Conditional, ConditionalAction, HistoryQuery, Patch, Scope};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// facts/security-controls.md Z2: of every R4 type a patient gets nothing that is another's, by no way; and nothing of
/// personal types that belong to nobody.
#[tokio::test]
async fn no_type_is_left_out_of_the_compartment() {
    each_engine(|bench| async move {
        let kinds: Vec<TypeId> = TypeId::all().filter(|kind| kind.name() != "Patient").collect();
        assert!(kinds.len() >= 144, "{}", kinds.len());
        let now = bench.record.now();
        for kind in &kinds {
            let one = |patient: &str| vec![patient.to_owned()];
            for (id, patients) in [("of-p1", one("p1")), ("of-p2", one("p2")), ("of-nobody", Vec::new())] {
                let own = Resource::from_value(json!({"resourceType": kind.name(), "id": id})).unwrap();
                let written = bench.record.store().write(move |tx| {
                    let new = store::resource::New {
                        key: &own.key().unwrap(),
                        last_updated: now,
                        content: &store::Content::new(&own.to_json()),
                        entries: &[],
                        patients: &patients,
                    };
                    store::resource::insert(tx, &new)
                });
                assert!(written.await.unwrap().is_some());
            }
        }
        let mut patient = bench.patient();
        let mut app = bench.patient();
        app.scopes = Some(access::ScopeSet::parse(["patient/*.cruds"]).unwrap());
        patient.request_id = "patient".into();
        let horizon = bench.record.horizon().await.unwrap();
        for ctx in [&patient, &app] {
            let (mut read, mut found_own, mut exported) = (0, 0, 0);
            for kind in &kinds {
                let impersonal = policy::is_impersonal(*kind);
                // Her own of the same type she gets: the rest of this is not said of an empty room.
                let own = ResourceKey::new(*kind, "of-p1");
                read += usize::from(!impersonal && bench.record.read(ctx, &own).await.is_ok());
                for id in ["of-p2", "of-nobody"] {
                    let target = ResourceKey::new(*kind, id);
                    // Staff, places and definitions are everybody's.
                    let open = impersonal;
                    let what = format!("{target}");
                    assert_eq!(bench.record.read(ctx, &target).await.is_ok(), open, "{what}");
                    assert_eq!(bench.record.vread(ctx, &target, 1).await.is_ok(), open, "{what}");
                    assert_eq!(bench.record.history(ctx, &target, None, 5).await.is_ok(), open, "{what}");
                    if !impersonal {
                        let deleted = set(vec![Change::Delete { key: target.clone(), if_match: None }]);
                        assert!(bench.record.write(ctx, deleted).await.is_err(), "{what}");
                    }
                }
                if impersonal {
                    continue;
                }
                let scan = record::scan::Scan {
                    kind: *kind,
                    horizon,
                    since: None,
                    until: None,
                    whose: record::scan::Whose::All,
                    deleted: false,
                };
                let foreign = vec!["of-p2".to_owned(), "of-nobody".to_owned()];
                if let Ok(rows) = bench.record.scan_ids(ctx, &scan, foreign).await {
                    assert!(rows.is_empty(), "{}", kind.name());
                }
                if let Ok(page) = bench.record.scan(ctx, &scan, None).await {
                    let mut rows = page.rows.iter();
                    assert!(
                        rows.all(|row| !matches!(row.stored.key.id.as_str(), "of-p2" | "of-nobody")),
                        "{}",
                        kind.name()
                    );
                    exported += page.rows.iter().filter(|row| row.stored.key.id == "of-p1").count();
                }
                if let Ok(found) = bench.record.find(ctx, kind.name(), &[], 50).await {
                    found_own += found.iter().filter(|(r, _)| r.id() == Some("of-p1")).count();
                    let foreign =
                        found.iter().filter(|(r, _)| matches!(r.id(), Some("of-p2" | "of-nobody"))).count();
                    assert_eq!(foreign, 0, "{}", kind.name());
                }
                let query = HistoryQuery { count: 100, ..HistoryQuery::default() };
                if let Ok(page) = bench.record.history_of(ctx, &Scope::Kind(*kind), query).await {
                    let mut entries = page.entries.iter();
                    assert!(
                        entries.all(|e| !matches!(e.key.id.as_str(), "of-p2" | "of-nobody")),
                        "{}",
                        kind.name()
                    );
                }
            }
            assert!(read >= 60 && found_own == read && exported == read, "{read} {found_own} {exported}");
            let wanted = Everything { count: Some(1000), ..Everything::default() };
            let page = bench.record.everything(ctx, &key("Patient/p1"), &wanted).await.unwrap();
            let of = |id: &str| page.items.iter().filter(|(item, _)| item.key.id == id).count();
            assert_eq!((of("of-p2"), of("of-nobody")), (0, 0));
            assert!(of("of-p1") >= 40, "{}", of("of-p1"));
            assert!(bench.record.everything(ctx, &key("Patient/p2"), &wanted).await.is_err());
            let document = bench.record.document(ctx, &key("Composition/of-p2"), crate::bench::BASE).await;
            assert!(document.is_err());
            let latest = bench.record.latest_observations(ctx, &[], 5).await.unwrap();
            assert!(latest.iter().all(|row| row.key.id == "of-p1"), "{latest:?}");
            let query = HistoryQuery { count: 1000, ..HistoryQuery::default() };
            let page = bench.record.history_of(ctx, &Scope::System, query).await.unwrap();
            let mut entries = page.entries.iter().filter(|e| !policy::is_impersonal(e.key.kind));
            assert!(entries.all(|e| !matches!(e.key.id.as_str(), "of-p2" | "of-nobody")));
        }
    })
    .await;
}

/// Z7: what the server owns is the server's, by whatever way it is sent.
#[tokio::test]
async fn nobody_assigns_what_the_server_owns() {
    each_engine(|bench| async move {
        let doctor = bench.doctor();
        let forged = |id: &str| {
            let mut value = observation(id, "p1", "70");
            value["meta"] = json!({"versionId": "99", "lastUpdated": "1999-01-01T00:00:00Z"});
            value
        };
        let patch = json!([{"op": "add", "path": "/meta/versionId", "value": "99"},
            {"op": "add", "path": "/meta/lastUpdated", "value": "1999-01-01T00:00:00Z"},
            {"op": "replace", "path": "/status", "value": "amended"}]);
        let merge = json!({"meta": {"versionId": "99", "lastUpdated": "1999-01-01T00:00:00Z"}, "status": "corrected"});
        let written = bench.record.write(&doctor, set(vec![create(forged("mine"))])).await.unwrap();
        let target = written.written[0].key.clone();
        assert_ne!(target.id, "mine", "ids are the server's");
        let id = target.id.clone();
        let mut put = forged(&id);
        put["valueQuantity"]["value"] = json!(71);
        let conditional = |action| {
            let criteria = vec![("_id".to_owned(), id.clone())];
            Change::Conditional(Box::new(Conditional { kind: target.kind, criteria, action }))
        };
        let mut again = forged(&id);
        again["valueQuantity"]["value"] = json!(72);
        let ways: Vec<(&str, Change)> = vec![
            ("put", update(put, None)),
            ("patch", Change::Patch { key: target.clone(), patch: Patch::Json(patch), if_match: None }),
            ("merge patch", Change::Patch { key: target.clone(), patch: Patch::Merge(merge), if_match: None }),
            ("conditional put", conditional(ConditionalAction::Update {
                resource: crate::resource(again), if_match: None,
            })),
        ];
        for (n, (way, change)) in ways.into_iter().enumerate() {
            bench.record.write(&doctor, set(vec![change])).await.unwrap();
            let stored = bench.record.read(&doctor, &target).await.unwrap();
            let meta = stored.parse().unwrap().value()["meta"].clone();
            assert_eq!(stored.version as usize, n + 2, "{way}");
            assert_eq!(meta["versionId"], (n + 2).to_string(), "{way}");
            assert_eq!(meta["lastUpdated"], "2026-11-21T09:00:00.000Z", "{way}");
        }
        let mut third = forged(&id);
        third["valueQuantity"]["value"] = json!(73);
        let bundle = json!({"resourceType": "Bundle", "type": "transaction", "entry": [
            {"fullUrl": "urn:uuid:9f7c2a10-0000-4000-8000-000000000001", "resource": forged("x"),
                "request": {"method": "POST", "url": "Observation"}},
            {"resource": third, "request": {"method": "PUT", "url": format!("Observation/{id}")}}]});
        bench.bundle(&doctor, crate::resource(bundle)).await.unwrap();
        let all = bench.record.find(&doctor, "Observation", &[("patient", "Patient/p1")], 10).await.unwrap();
        for (resource, version) in all {
            let meta = &resource.value()["meta"];
            assert_eq!(meta["versionId"], version.to_string());
            assert_eq!(meta["lastUpdated"], "2026-11-21T09:00:00.000Z");
            assert_ne!(resource.id(), Some("x"));
        }
        // Nobody writes the trail, and nobody takes a seal off by leaving its label out.
        let event = json!({"resourceType": "AuditEvent", "type": {"code": "rest"}, "recorded": "2026-11-21T09:00:00Z",
            "agent": [{"requestor": true}], "source": {"observer": {"display": "x"}}});
        for ctx in [&doctor, &bench.client(&["system/*.cruds"]), &bench.staff(Role::Administrator)] {
            let error = bench.record.write(ctx, set(vec![create(event.clone())])).await.unwrap_err();
            assert_eq!(name(&error), "Denied");
        }
        let sealed = json!({"resourceType": "Condition", "id": "s", "subject": {"reference": "Patient/p1"},
            "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "B20"}]},
            "meta": {"source": "urn:x"}});
        bench.seed(set(vec![create(sealed.clone())])).await;
        let mut bare = sealed.clone();
        bare["meta"] = json!({"source": "urn:y"});
        bench.seed(set(vec![update(bare, None)])).await;
        assert!(bench.record.read(&doctor, &key("Condition/s")).await.is_err());
    })
    .await;
}

/// Z6: what a caller exports is what she reads one by one, content by content, for every role.
#[tokio::test]
async fn an_export_is_the_sum_of_its_reads() {
    each_engine(|bench| async move {
        let visit = json!({"resourceType": "Encounter", "id": "v", "status": "in-progress", "class": {"code": "AMB"},
            "subject": {"reference": "Patient/p1"},
            "reasonCode": [{"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": "B20"}]}]});
        let condition = |id: &str, patient: &str, code: &str| {
            create(json!({"resourceType": "Condition", "id": id, "subject": {"reference": format!("Patient/{patient}")},
                "code": {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10", "code": code}]}}))
        };
        bench
            .seed(set(vec![
                create(visit),
                condition("a", "p1", "B20"),
                condition("b", "p1", "J06.9"),
                condition("c", "p2", "J06.9"),
                create(observation("o1", "p1", "70")),
                create(observation("o2", "p2", "71")),
            ]))
            .await;
        let kinds = bench.record.kinds_to_scan(&bench.system()).await.unwrap();
        let mut callers: Vec<(String, Ctx)> = vec![
            ("patient".into(), bench.patient()),
            ("doctor".into(), bench.doctor()),
            ("client".into(), bench.client(&["system/*.rs"])),
            ("client for HIV".into(), bench.client(&["system/*.rs", "sens/HIV"])),
        ];
        for role in Role::ALL.into_iter().filter(|role| role.is_staff() && *role != Role::Integration) {
            callers.push((role.code().to_owned(), bench.staff(role)));
        }
        let horizon = bench.record.horizon().await.unwrap();
        for (who, ctx) in callers {
            for kind in &kinds {
                let scan = record::scan::Scan {
                    kind: *kind,
                    horizon,
                    since: None,
                    until: None,
                    whose: record::scan::Whose::All,
                    deleted: false,
                };
                let mut read = BTreeMap::new();
                for (resource, _) in bench.record.find(&bench.system(), kind.name(), &[], 1000).await.unwrap() {
                    let key = resource.key().unwrap();
                    if let Ok(stored) = bench.record.read(&ctx, &key).await {
                        read.insert(key, stored.content);
                    }
                }
                let exported: BTreeMap<ResourceKey, _> = match bench.record.scan(&ctx, &scan, None).await {
                    Ok(page) => page.rows.into_iter().map(|r| (r.stored.key, r.stored.content)).collect(),
                    Err(_) => BTreeMap::new(),
                };
                assert_eq!(exported, read, "{who} {}", kind.name());
            }
        }
    })
    .await;
}

/// Z10: who leaves the team sees nothing from the next question on, live updates and running contexts included.
#[tokio::test]
async fn leaving_the_team_holds_at_once() {
    each_engine(|bench| async move {
        let team = |members: Value| {
            let mut team = json!({"resourceType": "CareTeam", "id": "team", "status": "active",
                "subject": {"reference": "Patient/p2"}, "participant": members});
            if team["participant"].is_null() {
                team.as_object_mut().unwrap().remove("participant");
            }
            team
        };
        let member = json!([{"member": {"reference": "Practitioner/d2"}}]);
        bench.seed(set(vec![create(observation("o2", "p2", "70")), create(team(member))])).await;
        let (doctor, target) = (bench.other_doctor(), key("Observation/o2"));
        let event = |bench: &Bench| record::events::LiveEvent {
            seq: 1,
            topic: "resource.updated".into(),
            subject: key("Observation/o2"),
            patients: vec!["p2".into()],
            data: Value::Null,
            created: bench.record.now(),
        };
        assert!(bench.record.read(&doctor, &target).await.is_ok());
        assert!(bench.record.visible(&doctor, &event(&bench)).await.unwrap());
        let second = bench.second_server();
        assert!(second.read(&doctor, &target).await.is_ok());
        bench.seed(set(vec![update(team(Value::Null), None)])).await;
        assert_eq!(name(&bench.record.read(&doctor, &target).await.unwrap_err()), "Denied");
        assert_eq!(name(&second.read(&doctor, &target).await.unwrap_err()), "Denied", "on every server");
        assert!(!bench.record.visible(&doctor, &event(&bench)).await.unwrap());
        assert!(bench.record.find(&doctor, "Observation", &[], 10).await.unwrap().is_empty());
    })
    .await;
}

/// Z6: work that goes on in the background has the rights of now, those that the clinic took away among them.
#[tokio::test]
async fn background_work_loses_rights_with_its_owner() {
    each_engine(|bench| async move {
        let (account, _) = crate::standing::account(&bench, "lab", vec![Role::Lab]).await;
        let agent = format!("account/{account}");
        let sees = async || {
            let ctx = bench.record.background(&agent, &[]).await.unwrap();
            record::scan::may_scan(&ctx, crate::kind("Observation"))
        };
        assert!(sees().await);
        let cell = access::matrix::Cell {
            role: Role::Lab,
            class: access::Class::Result,
            verb: access::matrix::Verb::Read,
            reach: access::matrix::Reach::Nobody,
        };
        let officer = bench.staff(Role::PrivacyOfficer);
        bench.record.change_right(&officer, cell, "No laboratory of our own any more").await.unwrap();
        assert!(!sees().await);
    })
    .await;
}
