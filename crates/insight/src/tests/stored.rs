use super::{World, worlds};
use crate::Format;
use crate::stored::Keep;
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

        // Nothing changed: nothing is written.
        refresh(&world, &ctx).await;
        assert_eq!(world.insight.stored_view(&ctx, "names").await.unwrap().generation, 1);

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
        assert_eq!(files, ["names.2.base.sealed", "names.2.csv.sealed", "names.2.parquet.sealed"]);
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
