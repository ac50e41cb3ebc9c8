//! Bulk import.

use crate::bench::name;
use crate::{Bench, each_engine, key, observation, patient};
use record::import::{Progress, Report};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

async fn import(bench: &Bench, path: &Path) -> Report {
    bench.record.import(&bench.system(), &[path.to_owned()], Arc::new(|_| {})).await.unwrap()
}

fn bundle(entries: &[(&str, Value)]) -> Value {
    let entries: Vec<Value> = entries
        .iter()
        .map(|(url, value)| {
            json!({"fullUrl": url, "resource": value, "request": {"method": "POST", "url": value["resourceType"]}})
        })
        .collect();
    json!({"resourceType": "Bundle", "type": "transaction", "entry": entries})
}

fn write(path: PathBuf, text: &str) {
    let file = std::fs::File::create(&path).unwrap();
    if path.extension().is_some_and(|e| e == "gz") {
        let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap();
    } else {
        (&file).write_all(text.as_bytes()).unwrap();
    }
}

#[tokio::test]
async fn folders_of_every_form() {
    each_engine(|bench| async move {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("b");
        std::fs::create_dir(&inner).unwrap();
        let person = "urn:uuid:0b4ddfa0-1111-4222-8333-444455556666";
        let mut linked = observation("x", "x", "70.10");
        linked.as_object_mut().unwrap().shift_remove("id");
        linked["subject"]["reference"] = json!(person);
        let mut someone = patient("x", "Cherono");
        someone.as_object_mut().unwrap().shift_remove("id");
        let mut broken = observation("broken", "x", "70");
        broken["status"] = json!("perhaps");
        broken["subject"]["reference"] = json!(person);
        let mut loose = observation("loose", "x", "70");
        loose["subject"]["reference"] = json!("urn:uuid:99999999-9999-4999-8999-999999999999");
        let whole = bundle(&[
            ("urn:uuid:00000000-0000-4000-8000-000000000001", linked),
            (person, someone),
            ("urn:uuid:00000000-0000-4000-8000-000000000003", broken),
            ("urn:uuid:00000000-0000-4000-8000-000000000004", loose),
        ]);
        write(folder.path().join("a.json.gz"), &whole.to_string());
        // Conditions stand before the patients they are of, as in a bulk export.
        let mut lines = String::new();
        for n in 0..600 {
            lines.push_str(&observation(&format!("line{n}"), "late", "70").to_string());
            lines.push('\n');
        }
        lines.push_str("\n{\"resourceType\": \"Observation\", \n{\"resourceType\": \"Dog\"}\n");
        lines.push_str(&observation("astray", "nobody", "70").to_string());
        write(inner.join("1-Observation.ndjson"), &lines);
        write(inner.join("2-Patient.ndjson.gz"), &format!("{}\n", patient("late", "Late")));
        write(inner.join("single.json"), &patient("single", "Single").to_string());
        write(inner.join("broken.json"), "{\"resourceType\":");
        write(inner.join("notes.txt"), "not ours");

        let report = import(&bench, folder.path()).await;
        let refusals: Vec<String> = report
            .refusals
            .iter()
            .map(|r| format!("{} {} {}", r.file.file_name().unwrap().to_string_lossy(), r.entry, r.what))
            .collect();
        let mut sorted = refusals.clone();
        sorted.sort();
        assert_eq!(
            sorted,
            [
                "1-Observation.ndjson 601 ",
                "1-Observation.ndjson 602 ",
                "a.json.gz 2 Observation/broken",
                "a.json.gz 3 Observation/loose",
                "broken.json 0 ",
            ]
        );
        assert_eq!((report.taken, report.refused, report.files), (605, 5, 5));
        assert_eq!(report.by_type, [("Observation".to_owned(), 602), ("Patient".to_owned(), 3)]);
        assert_eq!(report.dangling, [("Observation/astray".to_owned(), "Patient/nobody".to_owned())]);
        let made = bench
            .record
            .read(&bench.system(), &key("Observation/00000000-0000-4000-8000-000000000001"))
            .await
            .unwrap();
        assert_eq!(
            made.parse().unwrap().get("subject").unwrap()["reference"],
            "Patient/0b4ddfa0-1111-4222-8333-444455556666"
        );
        assert!(String::from_utf8_lossy(&made.content).contains("70.10"));
        let found = bench
            .record
            .find(&bench.system(), "Observation", &[("subject", "Patient/late")], 1000)
            .await
            .unwrap();
        assert_eq!(found.len(), 600);
        let seen = bench.record.who_saw(&bench.system(), "late", None, 50).await.unwrap();
        assert!(seen.rows.iter().any(|r| r.action == "import" && r.what == "1-Observation.ndjson"));
    })
    .await;
}

#[tokio::test]
async fn an_import_goes_on_where_it_stopped() {
    each_engine(|bench| async move {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path().join("a.json"), &patient("a", "A").to_string());
        assert_eq!(import(&bench, folder.path()).await.taken, 1);
        let skipped = Arc::new(Mutex::new(0));
        let counter = skipped.clone();
        let report = bench
            .record
            .import(
                &bench.client(&["system/*.cruds"]),
                &[folder.path().to_owned()],
                Arc::new(move |p| {
                    if matches!(p, Progress::Skipped { .. }) {
                        *counter.lock().unwrap() += 1;
                    }
                }),
            )
            .await
            .unwrap();
        assert_eq!((report.taken, report.skipped_files, *skipped.lock().unwrap()), (0, 1, 1));
        // The same content in another file of another form: recognised resource by resource.
        write(folder.path().join("b.ndjson"), &format!("{}\n{}\n", patient("a", "A"), patient("b", "B")));
        let report = import(&bench, folder.path()).await;
        assert_eq!((report.taken, report.unchanged, report.skipped_files), (1, 1, 1));
        // Without ids of their own, the second import still finds what the first made.
        let nameless = json!({"resourceType": "Bundle", "type": "collection", "entry": [
            {"resource": {"resourceType": "Patient", "name": [{"family": "Nameless"}]}},
            {"resource": {"resourceType": "Patient", "name": [{"family": "Nameless"}]}}]});
        for _ in 0..2 {
            write(folder.path().join("d.json"), &nameless.to_string());
            import(&bench, folder.path()).await;
        }
        let found =
            bench.record.find(&bench.system(), "Patient", &[("family", "Nameless")], 9).await.unwrap();
        assert_eq!(found.len(), 2);
        // Other content under a known id is a new version.
        write(folder.path().join("c.json"), &patient("a", "Changed").to_string());
        assert_eq!(import(&bench, folder.path()).await.taken, 1);
        assert_eq!(bench.record.read(&bench.system(), &key("Patient/a")).await.unwrap().version, 2);
    })
    .await;
}

#[tokio::test]
async fn only_machines_import() {
    each_engine(|bench| async move {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path().join("a.json"), &patient("a", "A").to_string());
        for ctx in [bench.doctor(), bench.patient(), bench.staff(access::Role::Administrator)] {
            let error =
                bench.record.import(&ctx, &[folder.path().to_owned()], Arc::new(|_| {})).await.unwrap_err();
            assert_eq!(name(&error), "Denied");
        }
        let small = bench.client(&["system/Observation.cruds"]);
        let report =
            bench.record.import(&small, &[folder.path().to_owned()], Arc::new(|_| {})).await.unwrap();
        assert_eq!((report.taken, report.refused), (0, 1));
        let missing =
            bench.record.import(&bench.system(), &[folder.path().join("none")], Arc::new(|_| {})).await;
        assert_eq!(name(&missing.unwrap_err()), "Internal");
    })
    .await;
}
