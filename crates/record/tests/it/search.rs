//! Searches that reach beyond one row: what goes along, what is hidden, what is noted.

use crate::bench::{Bench, name};
use crate::{create, each_engine, key, kind, observation, set};
use access::Ctx;
use fhir::search::{Handling, Params};
use record::SearchPage;
use serde_json::{Value, json};

fn pairs(text: &str) -> Vec<(String, String)> {
    text.split('&')
        .filter(|p| !p.is_empty())
        .map(|p| p.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap())
        .collect()
}

async fn search(bench: &Bench, ctx: &Ctx, of: &str, text: &str) -> SearchPage {
    let (query, _) =
        fhir::search::parse(&Params::standard(), kind(of), &pairs(text), Handling::Strict).unwrap();
    bench.record.search(ctx, query).await.unwrap()
}

fn keys(rows: &[record::read::Stored]) -> Vec<String> {
    let mut keys: Vec<String> = rows.iter().map(|row| row.key.to_string()).collect();
    keys.sort();
    keys
}

fn report(id: &str, status: &str) -> Value {
    json!({"resourceType": "DiagnosticReport", "id": id, "status": status, "code": {"text": "Blood count"},
        "subject": {"reference": "Patient/p1"}, "result": [{"reference": "Observation/o"}]})
}

async fn seeded(bench: &Bench) {
    let mut of_two = observation("o2", "p2", "70");
    of_two["derivedFrom"] = json!([{"reference": "Observation/o"}]);
    bench
        .seed(set(vec![
            create(observation("o", "p1", "70")),
            create(of_two),
            create(report("signed", "final")),
            create(report("draft", "preliminary")),
        ]))
        .await;
}

#[tokio::test]
async fn what_goes_along_is_readable_itself() {
    each_engine(|bench| async move {
        seeded(&bench).await;
        let all = "_id=o&_revinclude=DiagnosticReport:result&_revinclude=Observation:derived-from&_include=Observation:subject";
        // Everything; the doctor's own patient; what a patient may see of it: no draft.
        for (ctx, expected) in [
            (bench.system(), &["DiagnosticReport/draft", "DiagnosticReport/signed", "Observation/o2", "Patient/p1"][..]),
            (bench.doctor(), &["DiagnosticReport/draft", "DiagnosticReport/signed", "Patient/p1"]),
            (bench.patient(), &["DiagnosticReport/signed", "Patient/p1"]),
        ] {
            let page = search(&bench, &ctx, "Observation", all).await;
            assert_eq!((keys(&page.items), keys(&page.included)), (vec!["Observation/o".to_owned()], expected.iter().map(|k| (*k).to_owned()).collect()));
            assert!(!page.included_cut);
        }
        // Chains meet the same rows.
        let by_draft = "_has:DiagnosticReport:result:status=preliminary";
        assert_eq!(search(&bench, &bench.doctor(), "Observation", by_draft).await.items.len(), 1);
        assert_eq!(search(&bench, &bench.patient(), "Observation", by_draft).await.items.len(), 0);
        let of_two = "derived-from:Observation.code=8867-4&subject=Patient/p2";
        assert_eq!(search(&bench, &bench.system(), "Observation", of_two).await.items.len(), 1);
        assert_eq!(search(&bench, &bench.doctor(), "Observation", of_two).await.items.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn patients_of_included_rows_are_noted() {
    each_engine(|bench| async move {
        seeded(&bench).await;
        let start = bench.mark();
        let client = bench.client(&["system/Observation.rs"]);
        let page = search(&bench, &client, "Observation", "_id=o2&_include=Observation:derived-from").await;
        assert_eq!(keys(&page.included), ["Observation/o"]);
        assert_eq!(bench.audit_since(start).await.len(), 1);
        let seen =
            bench.record.who_saw(&bench.staff(access::Role::PrivacyOfficer), "p1", None, 50).await.unwrap();
        assert!(seen.rows.iter().any(|row| row.what.contains("_id=o2")), "{:?}", seen.rows);
    })
    .await;
}

#[tokio::test]
async fn several_types_and_compartments() {
    each_engine(|bench| async move {
        seeded(&bench).await;
        let find = async |ctx: &Ctx, kinds: &[&str], text: &str, within: Option<&str>| {
            let kinds: Vec<fhir::TypeId> = kinds.iter().map(|name| kind(name)).collect();
            let within = within.map(key);
            let mut pairs = pairs(text);
            let mut found = Vec::new();
            loop {
                let (page, _) = bench
                    .record
                    .search_types(ctx, &kinds, &pairs, Handling::Strict, within.as_ref())
                    .await
                    .unwrap();
                found.extend(page.items.iter().map(|row| row.key.to_string()));
                let Some(next) = page.next else { return found };
                pairs.retain(|(name, _)| name != "_cursor");
                pairs.push(("_cursor".into(), next));
            }
        };
        let both = ["Observation", "DiagnosticReport"];
        for text in ["_count=1", "_count=1&_sort=_id", "_count=3&_sort=-_lastUpdated"] {
            let mut found = find(&bench.patient(), &both, text, None).await;
            if text.contains("_sort=_id") {
                assert_eq!(found, ["Observation/o", "DiagnosticReport/signed"]);
            }
            found.sort();
            assert_eq!(found, ["DiagnosticReport/signed", "Observation/o"], "{text}");
        }
        let mut chart = find(&bench.doctor(), &[], "_count=2", Some("Patient/p1")).await;
        chart.sort();
        let all = [
            "Appointment/a1",
            "DiagnosticReport/draft",
            "DiagnosticReport/signed",
            "Observation/o",
            "Patient/p1",
        ];
        assert_eq!(chart, all);
        let denied = bench
            .record
            .search_types(&bench.patient(), &[kind("AuditEvent")], &[], Handling::Strict, None)
            .await
            .map(|(page, _)| page.items.len());
        assert!(denied.is_err() || denied.is_ok_and(|n| n == 0));
    })
    .await;
}

#[tokio::test]
async fn words_are_found_once_they_are_indexed() {
    each_engine(|bench| async move {
        let mut noted = observation("o", "p1", "70");
        noted["note"] = json!([{"text": "Taken after a long walk"}]);
        bench.seed(set(vec![create(noted)])).await;
        let before = search(&bench, &bench.doctor(), "Observation", "_content=walk").await;
        assert!(before.items.is_empty() && before.words_behind > 0);
        while bench.record.index_words().await.unwrap() > 0 {}
        let after = search(&bench, &bench.doctor(), "Observation", "_content=long wal*").await;
        assert_eq!((keys(&after.items), after.words_behind), (vec!["Observation/o".to_owned()], 0));
        let narrative = search(&bench, &bench.doctor(), "Observation", "_text=walk").await;
        assert_eq!((narrative.items.len(), name(&record::Error::TooCostly)), (0, "TooCostly".to_owned()));
    })
    .await;
}
