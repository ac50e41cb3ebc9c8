//! Live events.

use crate::{create, each_engine, observation, set, update};
use access::Role;
use record::{ChangeSet, Event};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn every_commit_is_announced_in_order() {
    each_engine(|bench| async move {
        let start = bench.record.last_event().await.unwrap();
        let mut live = bench.record.subscribe();
        let mut ctx = bench.doctor();
        ctx.cause = Some(17);
        let make = ChangeSet {
            events: vec![Event {
                topic: "vitals.recorded",
                subject: crate::key("Observation/live"),
                data: json!({"n": 1}),
            }],
            ..set(vec![update(observation("live", "p1", "70"), None)])
        };
        bench.record.command(&ctx, "vitals.save", make).await.unwrap();
        bench.record.write(&ctx, set(vec![update(observation("live", "p1", "71"), None)])).await.unwrap();
        // A write that fails says nothing.
        bench.record.write(&ctx, set(vec![create(observation("x", "p2", "70"))])).await.unwrap_err();
        bench
            .record
            .write(
                &bench.client(&["system/*.cruds"]),
                set(vec![record::Change::Delete { key: crate::key("Observation/live"), if_match: None }]),
            )
            .await
            .unwrap();
        let mut seen = Vec::new();
        while seen.len() < 4 {
            let event = tokio::time::timeout(Duration::from_secs(20), live.recv()).await.unwrap().unwrap();
            if event.subject.id == "live" {
                seen.push(event);
            }
        }
        let topics: Vec<&str> = seen.iter().map(|e| e.topic.as_str()).collect();
        assert_eq!(topics, ["resource.created", "vitals.recorded", "resource.updated", "resource.deleted"]);
        assert!(seen.windows(2).all(|w| w[0].seq < w[1].seq));
        assert!(seen.iter().all(|e| e.patients == ["p1"]));
        assert_eq!(seen[0].data, json!({"version": 1, "cause": 17}));
        assert_eq!(seen[1].data, json!({"n": 1, "cause": 17}));

        let stored = bench.record.events_after(start, 100).await.unwrap();
        assert_eq!(
            stored.iter().map(|e| e.seq).collect::<Vec<_>>(),
            seen.iter().map(|e| e.seq).collect::<Vec<_>>()
        );

        for (ctx, visible) in [
            (bench.doctor(), true),
            (bench.patient(), true),
            (bench.other_doctor(), false),
            (bench.staff(Role::FrontDesk), false),
            (bench.staff(Role::It), false),
        ] {
            assert_eq!(bench.record.visible(&ctx, &seen[0]).await.unwrap(), visible, "{:?}", ctx.principal);
        }
    })
    .await;
}
