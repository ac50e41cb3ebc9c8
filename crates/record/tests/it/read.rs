//! Reads, the directory of patients.

use crate::bench::name;
use crate::{create, each_engine, key, observation, patient, set, update};
use access::Role;
use serde_json::json;

#[tokio::test]
async fn absent_deleted_and_old_versions() {
    each_engine(|bench| async move {
        bench.seed(set(vec![create(observation("o", "p1", "70"))])).await;
        bench.seed(set(vec![update(observation("o", "p1", "71"), None)])).await;
        let ctx = bench.doctor();
        let target = key("Observation/o");
        assert_eq!(bench.record.read(&ctx, &target).await.unwrap().version, 2);
        assert_eq!(bench.record.vread(&ctx, &target, 1).await.unwrap().version, 1);
        assert_eq!(name(&bench.record.vread(&ctx, &target, 3).await.unwrap_err()), "NotFound");
        assert_eq!(name(&bench.record.read(&ctx, &key("Observation/none")).await.unwrap_err()), "NotFound");
        assert_eq!(
            name(&bench.record.history(&ctx, &key("Observation/none"), None, 5).await.unwrap_err()),
            "NotFound"
        );
        assert_eq!(
            name(&bench.record.history(&ctx, &target, Some("x"), 5).await.unwrap_err()).trim(),
            "Malformed"
        );
        let first = bench.record.history(&ctx, &target, None, 1).await.unwrap();
        let second = bench.record.history(&ctx, &target, first.next.as_deref(), 1).await.unwrap();
        assert_eq!((first.entries[0].version, second.entries[0].version, second.next), (2, 1, None));
        assert_eq!(
            name(&bench.record.find(&ctx, "Observation", &[("colour", "red")], 5).await.unwrap_err())
                .split(' ')
                .next(),
            Some("Malformed")
        );
        assert_eq!(name(&bench.record.find(&ctx, "Dog", &[], 5).await.unwrap_err()).trim(), "Malformed");
    })
    .await;
}

#[tokio::test]
async fn finding_goes_over_pages() {
    each_engine(|bench| async move {
        let many = (0..1100).map(|n| create(observation(&format!("n{n}"), "p1", "70"))).collect();
        bench.seed(set(many)).await;
        let found = bench
            .record
            .find(&bench.doctor(), "Observation", &[("patient", "Patient/p1")], 5000)
            .await
            .unwrap();
        assert_eq!(found.len(), 1100);
        let some =
            bench.record.find(&bench.doctor(), "Observation", &[("patient", "Patient/p1")], 7).await.unwrap();
        assert_eq!(some.len(), 7);
    })
    .await;
}

#[tokio::test]
async fn the_directory_shows_little() {
    each_engine(|bench| async move {
        let mut long = patient("p3", "Chepkoech");
        long["identifier"] = json!([
            {"system": "https://uzima.health/fhir/identifier/record-number", "value": "UZ-000777"},
            {"system": "https://example.org/national-id", "value": "12345678"}]);
        long["telecom"] = json!([{"system": "phone", "value": "+254712345678"}, {"system": "email", "value": "c@example.org"}]);
        long["address"] = json!([{"city": "Kericho"}]);
        let mut replaced = patient("p4", "Chepkoech");
        replaced["active"] = json!(false);
        bench.seed(set(vec![create(long), create(replaced)])).await;
        for (text, found) in [
            ("chepk", vec!["p3"]),
            ("Test Chepkoech", vec!["p3"]),
            ("UZ-000777", vec!["p3"]),
            ("0712 345 678", vec!["p3"]),
            ("+254712345678", vec!["p3"]),
            ("0700 000 000", vec![]),
            ("achieng", vec!["p1"]),
            ("a|b,c\\", vec![]),
        ] {
            let (rows, _) = bench.record.directory(&bench.staff(Role::FrontDesk), text, 10, None).await.unwrap();
            let ids: Vec<&str> = rows.iter().filter_map(|r| r.patient.id()).collect();
            assert_eq!(ids, found, "{text}");
        }
        let (rows, _) = bench.record.directory(&bench.doctor(), "", 10, None).await.unwrap();
        let reach: Vec<String> = rows.iter().map(|r| format!("{} {}", r.patient.id().unwrap(), r.in_reach)).collect();
        assert_eq!(reach, ["p1 true", "p2 false", "p3 false"]);
        let row = rows.iter().find(|r| r.patient.id() == Some("p3")).unwrap();
        let text = row.patient.to_json();
        for hidden in ["Kericho", "12345678\"", "c@example.org"] {
            assert!(!text.contains(&format!("\"{hidden}")), "{text}");
        }
        for ctx in [bench.patient(), bench.staff(Role::It), bench.client(&["system/*.rs"])] {
            assert_eq!(name(&bench.record.directory(&ctx, "a", 10, None).await.unwrap_err()), "Denied");
        }
    })
    .await;
}
