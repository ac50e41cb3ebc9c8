//! Each step of the write path.

use crate::bench::name;
use crate::{
    Bench, appointment, create, each_engine, key, kind, observation, patient, resource, set, update,
};
use access::Role;
use jiff::SignedDuration;
use record::{Change, ChangeSet, Effect, Error, Event};
use serde_json::json;
use std::sync::Arc;

async fn count(bench: &Bench, kind: &str) -> usize {
    bench.record.find(&bench.system(), kind, &[], 1000).await.unwrap().len()
}

#[tokio::test]
async fn a_resource_lives_through_its_versions() {
    each_engine(|bench| async move {
        let ctx = bench.doctor();
        let made =
            bench.record.write(&ctx, set(vec![create(observation("x", "p1", "71.50"))])).await.unwrap();
        let first = &made.written[0];
        // "x" is no UUID: a raw write gets an id of ours.
        assert_ne!(first.key.id, "x");
        assert!(uuid::Uuid::try_parse(&first.key.id).is_ok());
        assert!(first.created && first.version == 1 && !made.replayed);
        let stored = bench.record.read(&ctx, &first.key).await.unwrap();
        let json = stored.parse().unwrap();
        assert_eq!(json.get("meta").unwrap()["versionId"], "1");
        assert_eq!(json.get("meta").unwrap()["lastUpdated"], "2026-11-21T09:00:00.000Z");
        assert!(String::from_utf8_lossy(&stored.content).contains("71.50"), "decimals as written");
        assert_eq!(json.value(), first.resource.as_ref().unwrap().value());

        bench.turn(SignedDuration::from_secs(60));
        let mut next = json.clone();
        next.set("status", json!("amended"));
        // What the client says about version and time does not count.
        next.set(
            "meta",
            json!({"versionId": "99", "lastUpdated": "2001-01-01T00:00:00Z", "tag": [{"code": "t"}]}),
        );
        let change = Change::Update { resource: next, if_match: Some(1) };
        let changed = bench.record.write(&ctx, set(vec![change])).await.unwrap();
        let second = changed.written[0].resource.as_ref().unwrap();
        assert_eq!(second.get("meta").unwrap()["versionId"], "2");
        assert_eq!(second.get("meta").unwrap()["lastUpdated"], "2026-11-21T09:01:00.000Z");
        assert_eq!(second.get("meta").unwrap()["tag"][0]["code"], "t");
        assert!(changed.written[0].seq > first.seq);
        assert_eq!(bench.record.vread(&ctx, &first.key, 1).await.unwrap().content, stored.content);

        let delete = Change::Delete { key: first.key.clone(), if_match: Some(2) };
        let client = bench.client(&["system/Observation.cruds"]);
        let gone = bench.record.write(&client, set(vec![delete.clone()])).await.unwrap();
        assert_eq!(gone.written[0].version, 3);
        assert_eq!(name(&bench.record.read(&ctx, &first.key).await.unwrap_err()), "Gone");
        // Again: nothing to do.
        let delete = Change::Delete { key: first.key.clone(), if_match: None };
        let again = bench.record.write(&client, set(vec![delete])).await.unwrap();
        assert!(again.written[0].unchanged && again.written[0].version == 3);
        // A version that is named is the one that must be there, deleted or not.
        let named = |version| set(vec![Change::Delete { key: first.key.clone(), if_match: Some(version) }]);
        let stale = bench.record.write(&client, named(2)).await.unwrap_err();
        assert_eq!(name(&stale), "VersionConflict None");
        assert!(bench.record.write(&client, named(3)).await.unwrap().written[0].unchanged);

        let history = bench.record.history(&ctx, &first.key, None, 10).await.unwrap();
        let methods: Vec<String> = history
            .entries
            .iter()
            .map(|e| format!("{} {:?} {}", e.version, e.method, e.content.is_some()))
            .collect();
        assert_eq!(methods, ["3 Deleted false", "2 Updated true", "1 Created true"]);
    })
    .await;
}

/// What each wrong write answers; nothing of it stays.
#[tokio::test]
async fn refusals() {
    each_engine(|bench| async move {
        let taken = uuid::Uuid::now_v7().to_string();
        bench.seed(set(vec![create(observation(&taken, "p1", "70"))])).await;
        let before = count(&bench, "Observation").await;
        let bad_status = {
            let mut o = observation("x", "p1", "70");
            o["status"] = json!("perhaps");
            o["colour"] = json!("red");
            o
        };
        let cases: Vec<(&str, access::Ctx, ChangeSet, &str)> = vec![
            (
                "two problems, both told",
                bench.doctor(),
                set(vec![create(bad_status)]),
                "Invalid Observation.status Observation.colour",
            ),
            (
                "reference to nothing",
                bench.doctor(),
                set(vec![create({
                    let mut o = observation("x", "p1", "70");
                    o["encounter"] = json!({"reference": "Encounter/none"});
                    o
                })]),
                "Invalid Observation.encounter.reference",
            ),
            (
                "one bad change spoils all",
                bench.doctor(),
                set(vec![create(observation("x", "p1", "70")), create(observation("y", "nobody", "70"))]),
                "Denied",
            ),
            (
                "another id's content",
                bench.doctor(),
                set(vec![create(observation(&taken, "p1", "71"))]),
                "Duplicate id-taken",
            ),
            (
                "stale version",
                bench.doctor(),
                set(vec![update(observation(&taken, "p1", "72"), Some(7))]),
                "VersionConflict Some(1)",
            ),
            (
                "If-Match on nothing",
                bench.doctor(),
                set(vec![update(observation("none", "p1", "72"), Some(1))]),
                "VersionConflict None",
            ),
            (
                "delete of nothing",
                bench.client(&["system/*.cruds"]),
                set(vec![Change::Delete { key: key("Observation/none"), if_match: None }]),
                "NotFound",
            ),
            ("not in care", bench.other_doctor(), set(vec![create(observation("x", "p1", "70"))]), "Denied"),
            (
                "moved to a patient not in care",
                bench.doctor(),
                set(vec![update(observation(&taken, "p2", "70"), None)]),
                "Denied",
            ),
            (
                "another patient drawn into care",
                bench.doctor(),
                set(vec![create(json!({"resourceType": "CareTeam", "id": "x", "status": "active",
                    "subject": {"reference": "Patient/p2"}, "participant": [{"member": {"reference": "Patient/p1"}},
                        {"member": {"reference": "Practitioner/d1"}}]}))]),
                "Denied",
            ),
            (
                "an order that another patient carries out",
                bench.doctor(),
                set(vec![create(json!({"resourceType": "ServiceRequest", "id": "x", "status": "active", "intent": "order",
                    "subject": {"reference": "Patient/p1"}, "performer": [{"reference": "Practitioner/d1"},
                        {"reference": "Patient/p2"}]}))]),
                "Denied",
            ),
            (
                "an invoice by hand",
                bench.staff(Role::Cashier),
                set(vec![create(json!({"resourceType": "Invoice", "id": "x", "status": "issued",
                    "subject": {"reference": "Patient/p1"}}))]),
                "Denied",
            ),
            (
                "a patient's own facts",
                bench.patient(),
                set(vec![create(observation("x", "p1", "70"))]),
                "Denied",
            ),
            (
                "front desk, clinical",
                bench.staff(Role::FrontDesk),
                set(vec![create(observation("x", "p1", "70"))]),
                "Denied",
            ),
            ("IT staff", bench.staff(Role::It), set(vec![create(patient("x", "Y"))]), "Denied"),
            (
                "scope too small",
                bench.client(&["system/Observation.rs"]),
                set(vec![create(observation("x", "p1", "70"))]),
                "Denied",
            ),
            (
                "audit events",
                bench.system(),
                set(vec![create(json!({"resourceType": "AuditEvent"}))]),
                "Invalid",
            ),
            (
                "the same resource twice",
                bench.doctor(),
                set(vec![
                    update(observation(&taken, "p1", "1"), None),
                    update(observation(&taken, "p1", "2"), None),
                ]),
                "Malformed",
            ),
            (
                "the plan is stale",
                bench.doctor(),
                ChangeSet {
                    expect: vec![(key("Patient/p1"), 4)],
                    ..set(vec![create(observation("x", "p1", "70"))])
                },
                "VersionConflict Some(1)",
            ),
            (
                "the plan's resource is gone",
                bench.doctor(),
                ChangeSet {
                    expect: vec![(key("Patient/none"), 1)],
                    ..set(vec![create(observation("x", "p1", "70"))])
                },
                "VersionConflict None",
            ),
        ];
        let mut failures = Vec::new();
        for (case, ctx, set, expected) in cases {
            let found = match bench.record.write(&ctx, set).await {
                Ok(_) => "written".to_owned(),
                Err(error) => name(&error),
            };
            if found != expected
                && !(expected == "Invalid" && found.starts_with("Invalid"))
                && found.trim() != expected
            {
                failures.push(format!("{case}: {found}, not {expected}"));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
        assert_eq!(count(&bench, "Observation").await, before, "nothing stays of a refused write");
    })
    .await;
}

#[tokio::test]
async fn anonymous_writes_nothing() {
    each_engine(|bench| async move {
        let mut ctx = bench.system();
        ctx.principal = access::Principal::Anonymous;
        let error = bench.record.write(&ctx, set(vec![create(patient("x", "Y"))])).await.unwrap_err();
        assert_eq!(name(&error), "Unauthenticated");
    })
    .await;
}

#[tokio::test]
async fn updates_create_and_repeats_change_nothing() {
    each_engine(|bench| async move {
        let ctx = bench.doctor();
        let made = bench
            .record
            .write(&ctx, set(vec![update(observation("own-id", "p1", "70"), None)]))
            .await
            .unwrap();
        assert!(made.written[0].created);
        assert_eq!(made.written[0].key.id, "own-id");
        let events = bench.record.last_event().await.unwrap();
        let again = bench
            .record
            .write(&ctx, set(vec![update(observation("own-id", "p1", "70"), None)]))
            .await
            .unwrap();
        assert!(again.written[0].unchanged && again.written[0].version == 1);
        assert_eq!(bench.record.last_event().await.unwrap(), events, "no event for nothing");

        let id = uuid::Uuid::now_v7().to_string();
        let first = bench.record.write(&ctx, set(vec![create(observation(&id, "p1", "70"))])).await.unwrap();
        let second = bench.record.write(&ctx, set(vec![create(observation(&id, "p1", "70"))])).await.unwrap();
        assert!(first.written[0].created && second.written[0].unchanged);

        // Deleted and put again: it exists once more, with its history.
        let client = bench.client(&["system/*.cruds"]);
        let target = key("Observation/own-id");
        bench
            .record
            .write(&client, set(vec![Change::Delete { key: target.clone(), if_match: None }]))
            .await
            .unwrap();
        let back = bench
            .record
            .write(&client, set(vec![update(observation("own-id", "p1", "75"), None)]))
            .await
            .unwrap();
        assert_eq!(back.written[0].version, 3);
        assert!(bench.record.read(&ctx, &target).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn idempotency_keys() {
    each_engine(|bench| async move {
        let mut ctx = bench.doctor();
        ctx.idempotency_key = Some("k1".into());
        let first = bench.record.write(&ctx, set(vec![create(observation("x", "p1", "70"))])).await.unwrap();
        let again = bench.record.write(&ctx, set(vec![create(observation("x", "p1", "70"))])).await.unwrap();
        assert!(again.replayed);
        assert_eq!(again.written[0].key, first.written[0].key);
        assert_eq!(
            again.written[0].resource.as_ref().unwrap().value(),
            first.written[0].resource.as_ref().unwrap().value()
        );
        let other =
            bench.record.write(&ctx, set(vec![create(observation("x", "p1", "71"))])).await.unwrap_err();
        assert_eq!(name(&other), "Duplicate idempotency-key-reused");
        assert_eq!(count(&bench, "Observation").await, 1);

        // The key is the caller's own.
        let mut system = bench.system();
        system.idempotency_key = Some("k1".into());
        assert!(bench.record.replayed(&system, "test.make").await.unwrap().is_none());
        bench.record.write(&system, set(vec![create(observation("x", "p1", "70"))])).await.unwrap();
        assert_eq!(count(&bench, "Observation").await, 2);

        // A failed write leaves the key free.
        ctx.idempotency_key = Some("k2".into());
        bench.record.write(&ctx, set(vec![create(observation("x", "p2", "70"))])).await.unwrap_err();
        bench.record.write(&ctx, set(vec![create(observation("x", "p1", "72"))])).await.unwrap();

        // With a fingerprint of the request the planner's fresh ids do not matter.
        ctx.idempotency_key = Some("k3\nabc".into());
        assert!(bench.record.replayed(&ctx, "test.make").await.unwrap().is_none());
        let made = bench
            .record
            .command(&ctx, "test.make", set(vec![create(observation("y1", "p1", "70"))]))
            .await
            .unwrap();
        let found = bench.record.replayed(&ctx, "test.make").await.unwrap().unwrap();
        assert_eq!(found.written[0].key, made.written[0].key);
        // Another command of the same request is no repeat of the first.
        let other = bench
            .record
            .command(&ctx, "test.other", set(vec![create(observation("y2", "p1", "70"))]))
            .await
            .unwrap();
        assert!(!other.replayed && other.written[0].key.id == "y2");
        ctx.idempotency_key = Some("k3\ndef".into());
        assert_eq!(
            name(&bench.record.replayed(&ctx, "test.make").await.unwrap_err()),
            "Duplicate idempotency-key-reused"
        );
    })
    .await;
}

#[tokio::test]
async fn of_two_bookings_of_one_time_one_wins() {
    each_engine(|bench| async move {
        let book = |id: &'static str, patient: &'static str| {
            let by = key(&format!("Appointment/{id}"));
            let claim = |actor: &str| Effect::Claim {
                actor: key(actor),
                start: "2026-12-02T09:00:00Z".parse().unwrap(),
                end: "2026-12-02T09:20:00Z".parse().unwrap(),
                by: by.clone(),
            };
            ChangeSet {
                effects: vec![claim("Practitioner/d1"), claim(&format!("Patient/{patient}"))],
                ..set(vec![create(appointment(id, patient, "d1"))])
            }
        };
        let tasks: Vec<_> = [("b1", "p1"), ("b2", "p2"), ("b3", "p1"), ("b4", "p2")]
            .into_iter()
            .map(|(id, patient)| {
                let (record, ctx, set) = (bench.record.clone(), bench.system(), book(id, patient));
                tokio::spawn(async move { record.command(&ctx, "appointment.book", set).await })
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => won += 1,
                Err(error) => assert_eq!(name(&error), "Duplicate slot-taken"),
            }
        }
        assert_eq!(won, 1);
        // a1 of the bench and the winner.
        assert_eq!(count(&bench, "Appointment").await, 2);
    })
    .await;
}

#[tokio::test]
async fn concurrent_updates_one_wins() {
    each_engine(|bench| async move {
        let target = bench.seed(set(vec![create(observation("o", "p1", "70"))])).await.written[0].key.clone();
        let tasks: Vec<_> = (0..6)
            .map(|n| {
                let (record, ctx) = (bench.record.clone(), bench.doctor());
                let change = update(observation(&target.id, "p1", &format!("8{n}")), Some(1));
                tokio::spawn(async move { record.write(&ctx, set(vec![change])).await })
            })
            .collect();
        let mut won = 0;
        for task in tasks {
            match task.await.unwrap() {
                Ok(_) => won += 1,
                Err(error) => assert!(matches!(error, Error::VersionConflict { .. }), "{error}"),
            }
        }
        assert_eq!(won, 1);
        assert_eq!(bench.record.read(&bench.doctor(), &target).await.unwrap().version, 2);
    })
    .await;
}

/// A failing effect takes resources, events and claims with it.
#[tokio::test]
async fn all_or_nothing() {
    each_engine(|bench| async move {
        let span = |by: &str| Effect::Claim {
            actor: key("Practitioner/d1"),
            start: "2026-12-03T09:00:00Z".parse().unwrap(),
            end: "2026-12-03T09:20:00Z".parse().unwrap(),
            by: key(by),
        };
        let events = bench.record.last_event().await.unwrap();
        let broken = ChangeSet {
            effects: vec![
                span("Appointment/c1"),
                Effect::Post(store::ledger::NewTransaction {
                    id: uuid::Uuid::now_v7(),
                    at: bench.record.now(),
                    memo: "test".into(),
                    cause: None,
                    external_key: "t1".into(),
                    entries: vec![
                        store::ledger::NewEntry {
                            account: "none".into(),
                            amount_minor: 5,
                            currency: "KES".into(),
                        },
                        store::ledger::NewEntry {
                            account: "other".into(),
                            amount_minor: -5,
                            currency: "KES".into(),
                        },
                    ],
                }),
            ],
            events: vec![Event {
                topic: "appointment.booked",
                subject: key("Appointment/c1"),
                data: json!({}),
            }],
            ..set(vec![create(appointment("c1", "p2", "d1"))])
        };
        assert_eq!(
            name(&bench.record.command(&bench.system(), "appointment.book", broken).await.unwrap_err()),
            "Internal"
        );
        assert_eq!(count(&bench, "Appointment").await, 1);
        assert_eq!(bench.record.last_event().await.unwrap(), events);
        assert!(bench.record.load(&bench.other_doctor(), &key("Patient/p2")).await.unwrap().is_none());
        // The time is free.
        let whole = ChangeSet {
            effects: vec![span("Appointment/c2")],
            ..set(vec![create(appointment("c2", "p2", "d1"))])
        };
        bench.record.command(&bench.system(), "appointment.book", whole).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn commands_reach_further_than_raw_writes() {
    each_engine(|bench| async move {
        let own = appointment("x", "p1", "d2");
        let raw = bench.record.write(&bench.patient(), set(vec![create(own.clone())])).await.unwrap_err();
        assert_eq!(name(&raw), "Denied");
        bench.record.command(&bench.patient(), "appointment.book", set(vec![create(own)])).await.unwrap();
        // But not to other people.
        let other = appointment("y", "p2", "d2");
        let error = bench
            .record
            .command(&bench.patient(), "appointment.book", set(vec![create(other)]))
            .await
            .unwrap_err();
        assert_eq!(name(&error), "Denied");
        // Booking gave d2 the care of p1; cancelling takes it away.
        let d2 = bench.other_doctor();
        assert!(bench.record.load(&d2, &key("Patient/p1")).await.unwrap().is_some());
        let mut cancelled = appointment("x", "p1", "d2");
        cancelled["status"] = json!("cancelled");
        bench
            .record
            .command(&bench.patient(), "appointment.cancel", set(vec![update(cancelled, Some(1))]))
            .await
            .unwrap();
        assert!(bench.record.load(&d2, &key("Patient/p1")).await.unwrap().is_none());
    })
    .await;
}

/// Nobody gets into care by saying so herself.
#[tokio::test]
async fn care_cannot_be_claimed() {
    each_engine(|bench| async move {
        let d2 = bench.other_doctor();
        let encounter = json!({"resourceType": "Encounter", "id": "e", "status": "in-progress",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"},
            "subject": {"reference": "Patient/p1"}, "participant": [{"individual": {"reference": "Practitioner/d2"}}]});
        for value in [
            encounter,
            appointment("z", "p1", "d2"),
            json!({"resourceType": "CareTeam", "id": "t", "status": "active", "subject": {"reference": "Patient/p1"},
                "participant": [{"member": {"reference": "Practitioner/d2"}}]}),
        ] {
            for error in [
                bench.record.write(&d2, set(vec![create(value.clone())])).await.unwrap_err(),
                bench.record.command(&d2, "test.claim", set(vec![create(value.clone())])).await.unwrap_err(),
            ] {
                assert_eq!(name(&error), "Denied");
            }
        }
        // A new patient she registers herself is hers.
        let mut own = patient("n", "Njeri");
        own["generalPractitioner"] = json!([{"reference": "Practitioner/d2"}]);
        let made = bench.record.write(&d2, set(vec![create(own)])).await.unwrap();
        assert!(bench.record.read(&d2, &made.written[0].key).await.is_ok());
    })
    .await;
}

#[tokio::test]
async fn access_to_care_ends_with_time() {
    each_engine(|bench| async move {
        let target = key("Patient/p1");
        assert!(bench.record.read(&bench.doctor(), &target).await.is_ok());
        bench.turn(SignedDuration::from_hours(24 * 45));
        assert_eq!(name(&bench.record.read(&bench.doctor(), &target).await.unwrap_err()), "Denied");
    })
    .await;
}

#[tokio::test]
async fn references_may_point_within_the_same_write() {
    each_engine(|bench| async move {
        let ctx = bench.client(&["system/*.cruds"]);
        let person = uuid::Uuid::now_v7().to_string();
        // The observation stands first and refers to what comes behind it.
        let both = set(vec![create(observation("x", &person, "70")), create(patient(&person, "Mwangi"))]);
        bench.record.write(&ctx, both).await.unwrap();
        // What was deleted since may stay referred to, but not newly.
        let made = bench.record.find(&bench.system(), "Observation", &[], 1).await.unwrap();
        let (mut found, _) = made.into_iter().next().unwrap();
        let delete = Change::Delete { key: key(&format!("Patient/{person}")), if_match: None };
        bench.record.write(&ctx, set(vec![delete])).await.unwrap();
        found.set("status", json!("corrected"));
        bench
            .record
            .write(&ctx, set(vec![Change::Update { resource: found, if_match: None }]))
            .await
            .unwrap();
        let error =
            bench.record.write(&ctx, set(vec![create(observation("y", &person, "70"))])).await.unwrap_err();
        assert_eq!(name(&error), "Invalid Observation.subject.reference");
    })
    .await;
}

#[tokio::test]
async fn denied_and_failed_writes_are_audited() {
    each_engine(|bench| async move {
        let (ctx, start) = (bench.other_doctor(), bench.mark());
        bench.record.write(&ctx, set(vec![update(observation("o9", "p1", "70"), None)])).await.unwrap_err();
        bench
            .record
            .write(&bench.doctor(), set(vec![update(observation("o9", "p1", "70"), Some(3))]))
            .await
            .unwrap_err();
        bench
            .record
            .command(&ctx, "note.save", set(vec![create(observation("o9", "p1", "70"))]))
            .await
            .unwrap_err();
        assert_eq!(
            bench.audit_since(start).await,
            [
                "account/1 update failed Observation/o9",
                "account/2 note.save denied Observation/o9",
                "account/2 update denied Observation/o9",
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn too_many_changes() {
    each_engine(|bench: Arc<Bench>| async move {
        let many = (0..=record::MAX_CHANGES)
            .map(|n| Change::Delete { key: key(&format!("Observation/{n}")), if_match: None })
            .collect();
        assert_eq!(
            name(&bench.record.write(&bench.system(), set(many)).await.unwrap_err()).trim(),
            "Malformed"
        );
        let _ = (kind("Patient"), resource(patient("x", "y")));
    })
    .await;
}

#[tokio::test]
async fn a_closed_database_is_busy_not_broken() {
    each_engine(|bench| async move {
        let store = bench.record.store().clone();
        tokio::task::spawn_blocking(move || store.close()).await.unwrap();
        let ctx = bench.doctor();
        let write =
            bench.record.write(&ctx, set(vec![create(observation("x", "p1", "70"))])).await.unwrap_err();
        let read = bench.record.read(&ctx, &key("Patient/p1")).await.unwrap_err();
        assert!(matches!((write, read), (Error::Busy, Error::Busy)));
    })
    .await;
}

/// Whoever copies a `fullUrl` of ours into a reference means the row, and its rights.
#[tokio::test]
async fn references_to_our_own_address_are_local() {
    use crate::bench::BASE;
    each_engine(|bench| async move {
        let ctx = bench.client(&["system/*.cruds"]);
        let mut absolute = observation("abs", "p1", "70");
        absolute["subject"]["reference"] = json!(format!("{BASE}/Patient/p1"));
        let change = update(absolute.clone(), None);
        bench.record.write(&ctx, set(vec![change])).await.unwrap();
        let found = bench.record.find(&ctx, "Observation", &[("patient", "Patient/p1")], 5).await.unwrap();
        assert_eq!(found[0].0.get("subject").unwrap()["reference"], "Patient/p1");
        absolute["subject"]["reference"] = json!(format!("{BASE}/Patient/nobody"));
        let error = bench.record.write(&ctx, set(vec![update(absolute, None)])).await.unwrap_err();
        assert_eq!(name(&error), "Invalid Observation.subject.reference");
        // A canonical address is a name, not a reference.
        let url = format!("{BASE}/ValueSet/v");
        let names = json!({"resourceType": "ValueSet", "id": "v", "url": url, "status": "draft"});
        let written = bench.record.write(&bench.system(), set(vec![update(names, None)])).await.unwrap();
        assert_eq!(written.written[0].resource.as_ref().unwrap().text("url"), Some(url.as_str()));
    })
    .await;
}
