use super::worlds;
use crate::dump::{DumpProgress, DumpRequest, MANIFEST};
use crate::export::Level;
use fhir::TypeId;
use record::Error;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

fn all() -> DumpRequest {
    DumpRequest { level: Level::System, kinds: Vec::new(), since: None, patients: Vec::new() }
}

/// Lines by file, without the manifest.
fn files(folder: &Path) -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for file in std::fs::read_dir(folder).unwrap().map(|f| f.unwrap()) {
        let name = file.file_name().into_string().unwrap();
        let text = std::fs::read_to_string(file.path()).unwrap();
        if name != MANIFEST {
            found.insert(name, text.lines().map(str::to_owned).collect());
        }
    }
    found
}

#[tokio::test]
async fn deletions_come_with_what_is_new() {
    for world in worlds() {
        world.put(json!({"resourceType": "Patient", "id": "old"})).await;
        world.put(json!({"resourceType": "Patient", "id": "gone"})).await;
        world.pass(jiff::SignedDuration::from_hours(1));
        let since = world.record.now();
        world.put(json!({"resourceType": "Patient", "id": "new"})).await;
        world.delete("Patient/gone").await;
        let out = world.folder.path().join("dump");
        let ask = DumpRequest { since: Some(since), ..all() };
        let report =
            world.insight.dump(&world.system(), ask, &out, &|_| {}, &|| false).await.unwrap().unwrap();
        assert_eq!((report.resources, report.deleted), (1, 1));
        assert!(report.transaction < since);
        let found = files(&out);
        assert_eq!(found["deleted.ndjson"], ["Patient/gone"]);
        let patient: Value = serde_json::from_str(&found["Patient.ndjson"][0]).unwrap();
        assert_eq!(patient["id"], "new");
        assert!(out.join(MANIFEST).exists());
    }
}

#[tokio::test]
async fn whoever_stops_it_finds_nothing() {
    for world in worlds() {
        for n in 0..3 {
            world.put(json!({"resourceType": "Patient", "id": format!("p{n}")})).await;
        }
        world.put(json!({"resourceType": "Practitioner", "id": "d"})).await;
        let before = std::fs::read_dir(world.folder.path()).unwrap().count();
        let out = world.folder.path().join("dump");
        // Stopped when one type is written and the other is not.
        let pages = AtomicUsize::new(0);
        let progress = |told: DumpProgress| {
            if matches!(told, DumpProgress::Page { .. }) {
                pages.fetch_add(1, Ordering::Relaxed);
            }
        };
        let stopping = || pages.load(Ordering::Relaxed) > 0;
        let done = world.insight.dump(&world.system(), all(), &out, &progress, &stopping).await.unwrap();
        assert_eq!((done, pages.load(Ordering::Relaxed)), (None, 1));
        assert_eq!(std::fs::read_dir(world.folder.path()).unwrap().count(), before, "nothing half-written");

        // Nor does one that fails leave anything, or touch what is there.
        let patient = world.client("system/Patient.rs").await;
        let kinds = vec![TypeId::PATIENT, TypeId::PRACTITIONER];
        let refused =
            world.insight.dump(&patient, DumpRequest { kinds, ..all() }, &out, &|_| {}, &|| false).await;
        assert!(matches!(refused, Err(Error::Denied)));
        assert_eq!(std::fs::read_dir(world.folder.path()).unwrap().count(), before);
        std::fs::create_dir(&out).unwrap();
        std::fs::write(out.join("mine"), "x").unwrap();
        let refused = world.insight.dump(&world.system(), all(), &out, &|_| {}, &|| false).await;
        assert!(matches!(refused, Err(Error::Malformed(_))));
        assert_eq!(files(&out).into_keys().collect::<Vec<_>>(), ["mine"]);

        // An empty folder may be there already.
        std::fs::remove_file(out.join("mine")).unwrap();
        let report = world.insight.dump(&world.system(), all(), &out, &|_| {}, &|| false).await.unwrap();
        assert_eq!(report.unwrap().resources, 4);
        assert_eq!(files(&out).into_keys().collect::<Vec<_>>(), ["Patient.ndjson", "Practitioner.ndjson"]);
    }
}
