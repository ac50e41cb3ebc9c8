//! Bookings of other systems hold their time.

use crate::bench::name;
use crate::{appointment, create, each_engine, key, resource, set};
use record::Change;
use serde_json::{Value, json};

fn at(mut value: Value, start: &str, end: &str) -> Value {
    value["start"] = json!(start);
    value["end"] = json!(end);
    value
}

#[tokio::test]
async fn raw_appointments_claim_their_time() {
    each_engine(|bench| async move {
        let client = bench.client(&["system/*.cruds"]);
        let put = |value: Value| Change::Update { resource: resource(value), if_match: None };
        let nine = |id: &str, patient: &str, practitioner: &str| {
            at(appointment(id, patient, practitioner), "2026-12-02T09:00:00Z", "2026-12-02T09:22:00Z")
        };
        let mut free = nine("free", "p2", "d1");
        free["status"] = json!("proposed");
        let mut declined = nine("declined", "p2", "d1");
        declined["participant"][1]["status"] = json!("declined");
        let cases = vec![
            ("a first booking", nine("b1", "p1", "d1"), "written"),
            (
                "the same again, changed",
                {
                    let mut b = nine("b1", "p1", "d1");
                    b["comment"] = json!("x");
                    b
                },
                "written",
            ),
            ("the same doctor", nine("b2", "p2", "d1"), "Duplicate slot-taken"),
            ("the same patient", nine("b3", "p1", "d2"), "Duplicate slot-taken"),
            (
                "touching the rest of the last five minutes",
                at(appointment("b4", "p2", "d1"), "2026-12-02T09:22:00Z", "2026-12-02T09:40:00Z"),
                "Duplicate slot-taken",
            ),
            (
                "right after",
                at(appointment("b5", "p2", "d1"), "2026-12-02T09:25:00Z", "2026-12-02T09:40:00Z"),
                "written",
            ),
            ("only proposed", free, "written"),
            ("declined by the doctor", declined, "written"),
            (
                "in the past",
                at(appointment("b6", "p1", "d1"), "2013-12-10T09:00:00Z", "2013-12-10T11:00:00Z"),
                "written",
            ),
            (
                "in the past too",
                at(appointment("b7", "p1", "d1"), "2013-12-10T09:00:00Z", "2013-12-10T11:00:00Z"),
                "written",
            ),
            ("moved", at(nine("b1", "p1", "d1"), "2026-12-02T11:00:00Z", "2026-12-02T11:20:00Z"), "written"),
            ("where it was", nine("b8", "p1", "d1"), "written"),
        ];
        let mut failures = Vec::new();
        for (case, value, expected) in cases {
            let found = bench.record.write(&client, set(vec![put(value)])).await;
            let found = found.map_or_else(|error| name(&error), |_| "written".into());
            if found != expected {
                failures.push(format!("{case}: {found}, not {expected}"));
            }
        }
        assert!(failures.is_empty(), "{failures:#?}");
        let delete = Change::Delete { key: key("Appointment/b8"), if_match: None };
        bench.record.write(&client, set(vec![delete])).await.unwrap();
        let mut cancelled = at(appointment("b1", "p1", "d1"), "2026-12-02T11:00:00Z", "2026-12-02T11:20:00Z");
        cancelled["status"] = json!("cancelled");
        bench.record.write(&client, set(vec![put(cancelled)])).await.unwrap();
        for (n, hour) in ["09:00", "11:00"].iter().enumerate() {
            let start = format!("2026-12-02T{hour}:00Z");
            let end = start.replace(":00:00Z", ":20:00Z");
            let again = at(appointment(&format!("c{n}"), "p1", "d1"), &start, &end);
            bench.record.write(&client, set(vec![put(again)])).await.unwrap();
        }
        // Two at once: one has it.
        let racer = |n: u32| {
            put(at(appointment(&format!("r{n}"), "p2", "d2"), "2026-12-03T09:00:00Z", "2026-12-03T09:20:00Z"))
        };
        let (a, b) = tokio::join!(
            bench.record.write(&client, set(vec![racer(1)])),
            bench.record.write(&client, set(vec![racer(2)]))
        );
        assert!(a.is_ok() != b.is_ok());
        bench
            .record
            .write(&client, set(vec![create(json!({"resourceType": "Basic", "code": {"text": "x"}}))]))
            .await
            .unwrap();
    })
    .await;
}
