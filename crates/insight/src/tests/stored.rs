use super::{World, worlds};
use crate::stored::Keep;
use crate::{Format, Limits};
use access::Ctx;
use jiff::SignedDuration;
use record::Error;
use serde_json::{Value, json};
use std::io::Read;
use std::time::Duration;

fn definition() -> Value {
    json!({"resourceType": "ViewDefinition", "name": "names", "status": "active", "resource": "Patient", "select": [
        {"column": [{"name": "id", "path": "getResourceKey()", "type": "id"}]},
        {"forEachOrNull": "name", "column": [{"name": "family", "path": "family", "type": "string"}]}]})
}

fn keep() -> Keep {
    Keep { formats: vec![Format::Csv, Format::Parquet], every: Duration::from_secs(60) }
}

async fn put(world: &World, id: &str, families: &[&str]) {
    let names: Vec<Value> = families.iter().map(|f| json!({"family": f})).collect();
    let mut patient = json!({"resourceType": "Patient", "id": id});
    if !names.is_empty() {
        patient["name"] = Value::Array(names);
    }
    world.put(patient).await;
}

async fn refresh(world: &World, ctx: &Ctx) {
    world.insight.hasten_view(ctx, "names").await.unwrap();
    while world.insight.refresh_views(&|| false).await.unwrap() > 0 {}
}

async fn rows(world: &World, ctx: &Ctx) -> Vec<String> {
    let mut text = String::new();
    let (_, mut download) = world.insight.open_view(ctx, "names", Format::Csv).await.unwrap();
    download.reader.read_to_string(&mut text).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    assert_eq!(lines.remove(0), "id,family");
    lines.sort();
    lines
}

/// Names, inodes and times of all files of views.
fn inodes(world: &World) -> Vec<(String, u64, i64, i64)> {
    use std::os::unix::fs::MetadataExt as _;
    let files = std::fs::read_dir(world.folder.path().join("bulk/views")).unwrap().map(|f| f.unwrap());
    let mut found: Vec<_> = files
        .map(|f| {
            let meta = f.metadata().unwrap();
            (f.file_name().into_string().unwrap(), meta.ino(), meta.mtime(), meta.mtime_nsec())
        })
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn a_table_follows_the_record() {
    for mut world in worlds() {
        put(&world, "amina", &["Wanjiru", "Njeri"]).await;
        put(&world, "baraka", &[]).await;
        let ctx = world.client("system/Patient.rs").await;
        assert!(world.insight.put_view(&ctx, "names", definition(), &keep()).await.unwrap());
        assert!(
            matches!(world.insight.open_view(&ctx, "names", Format::Csv).await, Err(Error::NotFound)),
            "not yet"
        );
        refresh(&world, &ctx).await;
        assert_eq!(rows(&world, &ctx).await, ["amina,Njeri", "amina,Wanjiru", "baraka,"]);
        let first = world.insight.stored_view(&ctx, "names").await.unwrap();
        assert_eq!((first.rows, first.generation), (3, 1));

        // Nothing of the type changed: the files stay the very same.
        let before = inodes(&world);
        refresh(&world, &ctx).await;
        world.put(json!({"resourceType": "Practitioner", "id": "otieno"})).await;
        refresh(&world, &ctx).await;
        assert_eq!(world.insight.stored_view(&ctx, "names").await.unwrap().generation, 1);
        assert_eq!(inodes(&world), before);

        put(&world, "amina", &["Otieno"]).await;
        put(&world, "chiku", &["Mutua"]).await;
        world.delete("Patient/baraka").await;
        world.restart();
        refresh(&world, &ctx).await;
        assert_eq!(rows(&world, &ctx).await, ["amina,Otieno", "chiku,Mutua"]);
        let folder = world.folder.path().join("bulk/views");
        let mut files: Vec<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|f| f.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let endings: Vec<&str> = files.iter().map(|f| f.rsplit('.').nth(1).unwrap()).collect();
        assert_eq!(endings, ["base", "csv", "parquet"]);
        assert!(files.iter().all(|f| f.starts_with("names.2.")), "{files:?}");
        for file in &files {
            let bytes = std::fs::read(folder.join(file)).unwrap();
            assert!(!bytes.windows(6).any(|w| w == b"Otieno"), "{file}");
        }

        // Another definition begins anew.
        let mut other = definition();
        other["where"] = json!([{"path": "id = 'chiku'"}]);
        assert!(!world.insight.put_view(&ctx, "names", other, &keep()).await.unwrap());
        refresh(&world, &ctx).await;
        assert_eq!(rows(&world, &ctx).await, ["chiku,Mutua"]);

        world.insight.remove_view(&ctx, "names").await.unwrap();
        assert!(matches!(world.insight.stored_view(&ctx, "names").await, Err(Error::NotFound)));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn a_refresh_comes_by_itself_when_it_is_due() {
    for world in worlds() {
        put(&world, "amina", &["Wanjiru"]).await;
        let ctx = world.client("system/Patient.rs").await;
        world.insight.put_view(&ctx, "names", definition(), &keep()).await.unwrap();
        // Two rounds may be needed until there is nothing to do.
        while world.insight.refresh_views(&|| false).await.unwrap() > 0 {}
        assert_eq!(rows(&world, &ctx).await, ["amina,Wanjiru"]);
        let view = world.insight.stored_view(&ctx, "names").await.unwrap();
        // By the database's clock, which all servers share.
        assert_eq!(view.due.duration_since(view.refreshed.unwrap()), SignedDuration::from_secs(60));
    }
}

#[tokio::test]
async fn only_who_sees_everything_keeps_a_table() {
    for world in worlds() {
        put(&world, "amina", &["Wanjiru"]).await;
        let ctx = world.client("system/Patient.rs").await;
        let other = world.client("system/Observation.rs").await;
        world.insight.put_view(&ctx, "names", definition(), &keep()).await.unwrap();
        refresh(&world, &ctx).await;
        assert!(matches!(
            world.insight.put_view(&other, "more", definition(), &keep()).await,
            Err(Error::Denied)
        ));
        assert!(matches!(world.insight.open_view(&other, "names", Format::Csv).await, Err(Error::NotFound)));
        assert!(matches!(world.insight.remove_view(&other, "names").await, Err(Error::NotFound)));
        assert!(world.insight.stored_views(&other).await.unwrap().is_empty());
        for (name, every) in [("../x", 60), ("", 60), ("names", 1)] {
            let keep = Keep { every: Duration::from_secs(every), ..keep() };
            let refused = world.insight.put_view(&ctx, name, definition(), &keep).await;
            assert!(matches!(refused, Err(Error::Malformed(_))), "{name}");
        }
    }
}

#[tokio::test]
async fn what_does_not_fit_is_left_out_and_told() {
    for world in worlds() {
        put(&world, "amina", &["Wanjiru", "Njeri"]).await;
        put(&world, "baraka", &["Otieno"]).await;
        let ctx = world.client("system/Patient.rs").await;
        let mut single = definition();
        single["select"] =
            json!([{"column": [{"name": "id", "path": "id"}, {"name": "family", "path": "name.family"}]}]);
        world.insight.put_view(&ctx, "names", single, &keep()).await.unwrap();
        refresh(&world, &ctx).await;
        assert_eq!(rows(&world, &ctx).await, ["baraka,Otieno"]);
        let error = world.insight.stored_view(&ctx, "names").await.unwrap().error.unwrap();
        assert!(error.contains("1 resources were left out") && error.contains("Patient/amina"), "{error}");
    }
}

/// What a download has open, or a row names, is whole at any time: a refresh writes other files and then changes the row.
#[tokio::test]
async fn a_refresh_that_fails_leaves_what_was_there() {
    for mut world in worlds() {
        put(&world, "amina", &["Wanjiru"]).await;
        let ctx = world.client("system/Patient.rs").await;
        world.insight.put_view(&ctx, "names", definition(), &keep()).await.unwrap();
        refresh(&world, &ctx).await;
        let (_, mut open) = world.insight.open_view(&ctx, "names", Format::Csv).await.unwrap();
        let before = inodes(&world);

        put(&world, "baraka", &["Otieno"]).await;
        world.limit(Limits { steps: 1, ..Limits::BACKGROUND });
        refresh(&world, &ctx).await;
        let stored = world.insight.stored_view(&ctx, "names").await.unwrap();
        assert!(stored.error.as_ref().is_some_and(|e| e.contains("steps of FHIRPath")), "{:?}", stored.error);
        // Not again and again: it would cost the same.
        assert!(stored.due.duration_since(stored.created) > SignedDuration::from_mins(30));
        assert_eq!((rows(&world, &ctx).await, inodes(&world)), (vec!["amina,Wanjiru".to_owned()], before));

        world.limit(Limits::BACKGROUND);
        refresh(&world, &ctx).await;
        assert_eq!(rows(&world, &ctx).await, ["amina,Wanjiru", "baraka,Otieno"]);
        let mut text = String::new();
        open.reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "id,family\r\namina,Wanjiru\r\n");
    }
}
