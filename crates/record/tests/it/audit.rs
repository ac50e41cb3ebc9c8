//! What is noted of whom.

use crate::balp;
use crate::bench::name;
use crate::{create, each_engine, key, observation, set};
use access::Role;
use record::audit::{AuditFilter, AuditRow, to_fhir};
use serde_json::Value;

const BASE: &str = "https://clinic.example/fhir/R4";

#[tokio::test]
async fn events_are_shaped_as_balp_asks() {
    each_engine(|bench| async move {
        bench.seed(set(vec![create(observation("o", "p1", "70"))])).await;
        let start = bench.mark();
        let address = Some("10.1.2.3".parse().unwrap());
        let (mut doctor, mut desk) = (bench.doctor(), bench.staff(Role::FrontDesk));
        (doctor.address, desk.address, doctor.request_id) = (address, address, "request-1".into());
        bench.record.read(&doctor, &key("Observation/o")).await.unwrap();
        bench.record.vread(&doctor, &key("Observation/o"), 1).await.unwrap();
        bench.record.find(&doctor, "Observation", &[("patient", "Patient/p1")], 5).await.unwrap();
        bench.record.find(&doctor, "Practitioner", &[], 5).await.unwrap();
        bench.record.find(&desk, "Patient", &[("gender", "female")], 50).await.unwrap();
        let filter = AuditFilter { from: Some(start), ..AuditFilter::default() };
        let page = bench.record.audit_list(&bench.system(), filter, None, 100).await.unwrap();
        assert!(page.rows.iter().any(|row| row.patients.len() == 2), "a search found two");
        let mut profiles = std::collections::BTreeMap::<String, usize>::new();
        for row in page.rows.iter().flat_map(AuditRow::per_patient) {
            // The same by everybody and in every way.
            for agent in ["account/1", "client/app", "system/job"] {
                for (action, client) in
                    [("", None), ("create", None), ("update", Some("app")), ("delete", None)]
                {
                    let mut row =
                        AuditRow { agent: agent.into(), client: client.map(Into::into), ..row.clone() };
                    if !action.is_empty() {
                        (row.action, row.what) = (action.into(), "Observation/o".into());
                    }
                    let event = to_fhir(&row, BASE);
                    let issues =
                        fhir::validate::validate(&fhir::Resource::from_value(event.clone()).unwrap());
                    assert!(issues.is_empty(), "{issues:?} in {event}");
                    balp::check(&event);
                    if let Some(profile) = event["meta"]["profile"][0].as_str() {
                        *profiles.entry(profile.rsplit('.').next().unwrap().to_owned()).or_default() += 1;
                    }
                    for spoilt in [
                        AuditRow { outcome: "denied".into(), ..row.clone() },
                        AuditRow { address: None, ..row.clone() },
                    ] {
                        assert!(to_fhir(&spoilt, BASE)["meta"]["profile"].is_null());
                    }
                }
            }
        }
        for name in
            ["PatientCreate", "PatientDelete", "PatientQuery", "PatientRead", "PatientUpdate", "Query"]
        {
            assert!(profiles.contains_key(name), "{profiles:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn reads_are_noted_with_their_patients() {
    each_engine(|bench| async move {
        bench
            .seed(set(vec![create(observation("o", "p1", "70")), create(observation("o2", "p2", "70"))]))
            .await;
        let (ctx, start) = (bench.doctor(), bench.mark());
        bench.record.read(&ctx, &key("Observation/o")).await.unwrap();
        bench.record.vread(&ctx, &key("Observation/o"), 1).await.unwrap();
        bench.record.history(&ctx, &key("Observation/o"), None, 5).await.unwrap();
        bench
            .record
            .find(&ctx, "Observation", &[("patient", "Patient/p1"), ("_sort", "-date")], 5)
            .await
            .unwrap();
        bench.record.read(&ctx, &key("Observation/o2")).await.unwrap_err();
        bench.record.read(&ctx, &key("Observation/none")).await.unwrap_err();
        assert_eq!(
            bench.audit_since(start).await,
            [
                "account/1 history success Observation/o/_history",
                "account/1 query success Observation?patient=Patient/p1&_sort=-date",
                "account/1 read denied Observation/o2",
                "account/1 read failed Observation/none",
                "account/1 read success Observation/o",
                "account/1 vread success Observation/o/_history/1",
            ]
        );
        // p2 learns that somebody tried.
        let seen = bench.record.who_saw(&bench.staff(Role::PrivacyOfficer), "p2", None, 50).await.unwrap();
        assert!(seen.rows.iter().any(|r| r.agent == "account/1" && r.outcome == "denied"));
    })
    .await;
}

#[tokio::test]
async fn a_patient_learns_of_herself_alone() {
    each_engine(|bench| async move {
        bench
            .record
            .find(&bench.staff(Role::FrontDesk), "Patient", &[("gender", "female")], 50)
            .await
            .unwrap();
        bench.record.find(&bench.staff(Role::FrontDesk), "Patient", &[], 50).await.unwrap();
        let officers =
            bench.record.who_saw(&bench.staff(Role::PrivacyOfficer), "p1", None, 50).await.unwrap();
        assert!(officers.rows.iter().any(|r| r.patients.contains(&"p2".to_owned())), "nothing to hide");
        let own = bench.record.who_saw(&bench.patient(), "p1", None, 50).await.unwrap();
        assert!(own.rows.iter().any(|r| r.action == "query" && r.what == "Patient"));
        for row in &own.rows {
            let shown = to_fhir(row, BASE).to_string();
            assert!(!shown.contains("p2") && row.address.is_none() && !row.what.contains('?'), "{shown}");
        }
        for row in officers.rows.iter().filter(|r| r.patients.len() > 1) {
            let one = bench.record.audit_row(&bench.patient(), row.seq).await.unwrap();
            assert_eq!(one.patients, ["p1"]);
        }
    })
    .await;
}

#[tokio::test]
async fn who_may_read_the_audit() {
    each_engine(|bench| async move {
        bench.record.read(&bench.doctor(), &key("Patient/p1")).await.unwrap();
        let own = bench.record.who_saw(&bench.patient(), "p1", None, 50).await.unwrap();
        assert!(own.rows.iter().any(|r| r.agent == "account/1" && r.action == "read" && r.role == "doctor"));
        assert!(own.rows.iter().all(|r| r.patients.contains(&"p1".to_owned())));
        assert_eq!(
            name(&bench.record.who_saw(&bench.patient(), "p2", None, 50).await.unwrap_err()),
            "NotFound"
        );
        for ctx in [
            bench.doctor(),
            bench.staff(Role::FrontDesk),
            bench.staff(Role::It),
            bench.client(&["system/Patient.rs"]),
        ] {
            assert_eq!(name(&bench.record.who_saw(&ctx, "p1", None, 50).await.unwrap_err()), "Denied");
            let list = bench.record.audit_list(&ctx, AuditFilter::default(), None, 50).await;
            assert_eq!(name(&list.unwrap_err()), "Denied");
        }
        let administrator = bench.staff(Role::Administrator);
        let filter = AuditFilter { agent: Some("account/1".into()), ..AuditFilter::default() };
        let page = bench.record.audit_list(&administrator, filter, None, 50).await.unwrap();
        assert!(!page.rows.is_empty() && page.rows.iter().all(|r| r.agent == "account/1"));
        let error =
            bench.record.audit_list(&administrator, AuditFilter::default(), Some("nonsense"), 5).await;
        assert_eq!(name(&error.unwrap_err()).trim(), "Malformed");
    })
    .await;
}

/// Rendered after BALP, and valid R4.
#[tokio::test]
async fn events_as_fhir() {
    each_engine(|bench| async move {
        bench.seed(set(vec![create(observation("o", "p1", "70"))])).await;
        let start = bench.mark();
        let mut ctx = bench.doctor();
        ctx.address = Some("10.1.2.3".parse().unwrap());
        bench.record.read(&ctx, &key("Observation/o")).await.unwrap();
        bench.record.find(&ctx, "Observation", &[("patient", "Patient/p1")], 5).await.unwrap();
        bench.record.read(&ctx, &key("Patient/p2")).await.unwrap_err();
        let page = bench.record.audit_list(&bench.system(), AuditFilter::default(), None, 20).await.unwrap();
        for row in &page.rows {
            let event = fhir::Resource::from_value(to_fhir(row, BASE)).unwrap();
            let issues = fhir::validate::validate(&event);
            assert!(issues.is_empty(), "{issues:?} in {}", event.to_json());
        }
        let mut rows: Vec<_> = page.rows.iter().filter(|r| r.at >= start).collect();
        rows.sort_by_key(|r| (r.action.clone(), r.outcome.clone()));
        let shown: Vec<Value> = rows
            .into_iter()
            .map(|row| {
                let mut event = to_fhir(row, BASE);
                event["id"] = "audit-n".into();
                event
            })
            .collect();
        insta::assert_json_snapshot!("events_as_fhir", shown);
    })
    .await;
}
