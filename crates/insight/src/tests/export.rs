use super::{World, worlds};
use crate::Format;
use crate::export::{ExportRequest, Level, ViewRequest, parse_filter, progress};
use access::Ctx;
use fhir::TypeId;
use jiff::SignedDuration;
use record::Error;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use store::bulk::job::{Kind, Role, State};
use uuid::Uuid;

fn ask(level: Level) -> ExportRequest {
    ExportRequest {
        url: "http://test/$export".into(),
        level,
        kinds: Vec::new(),
        since: None,
        until: None,
        filters: Vec::new(),
        patients: Vec::new(),
        elements: Vec::new(),
    }
}

fn kind(name: &str) -> TypeId {
    TypeId::from_name(name).unwrap()
}

fn patient(id: &str, family: &str) -> Value {
    json!({"resourceType": "Patient", "id": id, "name": [{"family": family}]})
}

fn weight(id: &str, patient: &str, status: &str) -> Value {
    json!({"resourceType": "Observation", "id": id, "status": status, "code": {"text": "weight"},
        "subject": {"reference": format!("Patient/{patient}")}})
}

async fn fill(world: &World) {
    for (id, family) in [("amina", "Wanjiru"), ("baraka", "Otieno"), ("chiku", "Mutua")] {
        world.put(patient(id, family)).await;
        world.put(weight(&format!("{id}-1"), id, "final")).await;
        world.put(weight(&format!("{id}-2"), id, "preliminary")).await;
    }
    world.put(json!({"resourceType": "Organization", "id": "clinic", "name": "Clinic"})).await;
}

/// Exports and returns the ids by role and type.
async fn run(world: &World, ctx: &Ctx, ask: ExportRequest) -> BTreeMap<String, Vec<String>> {
    let id = world.insight.start_export(ctx, ask).await.unwrap();
    world.finish(Kind::Export).await;
    ids(world, ctx, id).await
}

async fn ids(world: &World, ctx: &Ctx, id: Uuid) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (file, lines) in world.files(ctx, id).await {
        assert_eq!(file.count as usize, lines.len());
        for line in lines {
            let value: Value = serde_json::from_str(&line).unwrap();
            let list = match file.role {
                Role::Deleted => {
                    let entries = value["entry"].as_array().unwrap();
                    entries.iter().map(|e| e["request"]["url"].as_str().unwrap().to_owned()).collect()
                }
                Role::Error => vec![value["issue"][0]["code"].as_str().unwrap().to_owned()],
                _ => vec![value["id"].as_str().unwrap().to_owned()],
            };
            found.entry(format!("{:?} {}", file.role, file.kind)).or_default().extend(list);
        }
    }
    // No order is promised.
    found.values_mut().for_each(|list| list.sort());
    found
}

fn map(entries: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
    entries.iter().map(|(k, v)| ((*k).to_owned(), v.iter().map(|s| (*s).to_owned()).collect())).collect()
}

const ALL: &[&str] = &["amina-1", "amina-2", "baraka-1", "baraka-2", "chiku-1", "chiku-2"];

#[tokio::test]
async fn levels_types_and_members() {
    for world in worlds() {
        fill(&world).await;
        let ctx = world.client("system/*.rs").await;
        let everything = map(&[
            ("Output Observation", ALL),
            ("Output Organization", &["clinic"]),
            ("Output Patient", &["amina", "baraka", "chiku"]),
        ]);
        assert_eq!(run(&world, &ctx, ask(Level::System)).await, everything);
        // What belongs to no patient is not there on the level of patients.
        let patients = run(&world, &ctx, ask(Level::Patient)).await;
        assert_eq!(patients.keys().collect::<Vec<_>>(), ["Output Observation", "Output Patient"]);
        let kinds = vec![kind("Patient")];
        let only = run(&world, &ctx, ExportRequest { kinds, ..ask(Level::System) }).await;
        assert_eq!(only, map(&[("Output Patient", &["amina", "baraka", "chiku"])]));

        let named = ExportRequest { patients: vec!["baraka".into(), "nobody".into()], ..ask(Level::Patient) };
        let baraka =
            map(&[("Output Observation", &["baraka-1", "baraka-2"]), ("Output Patient", &["baraka"])]);
        assert_eq!(run(&world, &ctx, named).await, baraka);

        world
            .put(json!({"resourceType": "Group", "id": "ward", "type": "person", "actual": true, "member": [
                {"entity": {"reference": "Patient/chiku"}}, {"entity": {"reference": "Patient/amina"}, "inactive": true}]}))
            .await;
        let group = run(&world, &ctx, ask(Level::Group("ward".into()))).await;
        // The group itself is in the compartments of its members.
        let chiku = map(&[
            ("Output Group", &["ward"]),
            ("Output Observation", &["chiku-1", "chiku-2"]),
            ("Output Patient", &["chiku"]),
        ]);
        assert_eq!(group, chiku);
        let none = world.insight.start_export(&ctx, ask(Level::Group("nobody".into()))).await;
        assert!(matches!(none, Err(Error::NotFound)), "{none:?}");
    }
}

#[tokio::test]
async fn what_is_new_what_is_gone_what_matches() {
    for world in worlds() {
        fill(&world).await;
        let ctx = world.client("system/*.rs").await;
        let since = Some(world.record.now().checked_add(SignedDuration::from_secs(10)).unwrap());
        world.pass(SignedDuration::from_secs(60));
        world.put(patient("amina", "Njeri")).await;
        world.delete("Observation/chiku-2").await;
        let new = ExportRequest { since, ..ask(Level::System) };
        let expected = map(&[("Deleted Bundle", &["Observation/chiku-2"]), ("Output Patient", &["amina"])]);
        assert_eq!(run(&world, &ctx, new).await, expected);
        let old = ExportRequest { until: since, kinds: vec![kind("Patient")], ..ask(Level::System) };
        assert_eq!(run(&world, &ctx, old).await, map(&[("Output Patient", &["baraka", "chiku"])]));

        let filters = ["Observation?status=preliminary", "Observation?_id=amina-1"];
        let filters = filters.map(|text| parse_filter(&world.record, text).unwrap()).to_vec();
        let kinds = vec![kind("Observation")];
        let matching = ExportRequest { filters, kinds: kinds.clone(), ..ask(Level::System) };
        let expected = map(&[("Output Observation", &["amina-1", "amina-2", "baraka-2"])]);
        assert_eq!(run(&world, &ctx, matching).await, expected);
        for bad in ["Observations?status=final", "Observation?statu=final", "Observation?_count=3"] {
            assert!(parse_filter(&world.record, bad).is_err(), "{bad}");
        }

        let parts = ExportRequest { elements: vec!["status".into()], kinds, ..ask(Level::System) };
        let id = world.insight.start_export(&ctx, parts).await.unwrap();
        world.finish(Kind::Export).await;
        let line: Value = serde_json::from_str(&world.files(&ctx, id).await[0].1[0]).unwrap();
        assert!(line.get("status").is_some() && line.get("subject").is_none(), "{line}");
    }
}

#[tokio::test]
async fn an_export_shows_the_moment_it_was_asked_for() {
    for world in worlds() {
        fill(&world).await;
        let ctx = world.client("system/*.rs").await;
        let id = world.insight.start_export(&ctx, ask(Level::System)).await.unwrap();
        world.put(patient("amina", "Changed")).await;
        world.put(patient("amina", "Changed again")).await;
        world.put(patient("daudi", "New")).await;
        world.delete("Observation/baraka-1").await;
        world.finish(Kind::Export).await;
        let found = ids(&world, &ctx, id).await;
        assert_eq!(found["Output Patient"], ["amina", "baraka", "chiku"]);
        assert_eq!(found["Output Observation"], ALL);
        let text: String = world.files(&ctx, id).await.into_iter().flat_map(|(_, lines)| lines).collect();
        assert!(text.contains("Wanjiru") && !text.contains("Changed"));
    }
}

#[tokio::test]
async fn rights_decide_what_is_in_it() {
    for world in worlds() {
        fill(&world).await;
        let patients = world.client("system/Patient.rs").await;
        let only = map(&[("Output Patient", &["amina", "baraka", "chiku"])]);
        assert_eq!(run(&world, &patients, ask(Level::System)).await, only);
        let both = ExportRequest { kinds: vec![kind("Patient"), kind("Observation")], ..ask(Level::System) };
        let told = map(&[
            ("Error OperationOutcome", &["forbidden"]),
            ("Output Patient", &["amina", "baraka", "chiku"]),
        ]);
        assert_eq!(run(&world, &patients, both).await, told);
        let other = ExportRequest { kinds: vec![kind("Observation")], ..ask(Level::System) };
        assert!(matches!(world.insight.start_export(&patients, other).await, Err(Error::Denied)));

        // Another's job is as if it were not there.
        let id = world.insight.start_export(&patients, ask(Level::System)).await.unwrap();
        let stranger = world.client("system/*.cruds").await;
        assert!(matches!(world.insight.job(&stranger, id).await, Err(Error::NotFound)));
        assert!(matches!(world.insight.cancel(&stranger, id).await, Err(Error::NotFound)));
        // A client that is disabled while its export runs gets no further.
        let access::Principal::Client { client_id, .. } = &patients.principal else { panic!() };
        world.record.disable_client(&world.system(), client_id, true).await.unwrap();
        world.finish(Kind::Export).await;
        let job = world.insight.job(&patients, id).await.unwrap().job;
        assert_eq!(job.state, State::Failed);
        assert!(job.error.unwrap().contains("no right"));
    }
}

#[tokio::test]
async fn a_restart_goes_on_where_it_stopped() {
    for mut world in worlds() {
        fill(&world).await;
        let ctx = world.client("system/*.rs").await;
        let id = world.insight.start_export(&ctx, ask(Level::System)).await.unwrap();
        assert_eq!(world.insight.work(Kind::Export, &|| false).await.unwrap(), 1);
        let before = world.insight.job(&ctx, id).await.unwrap();
        assert_eq!((before.job.state, before.files.len()), (State::Active, 1));
        assert_eq!(progress(&before.job), "1 of 3 types, 6 resources");
        let path = world.insight.path(id, before.files[0].number);
        let kept = std::fs::read(&path).unwrap();
        // A file that a killed worker left half written is in nobody's way.
        std::fs::write(world.insight.path(id, before.files[0].number + 1), b"half").unwrap();
        world.restart();
        world.finish(Kind::Export).await;
        assert_eq!(ids(&world, &ctx, id).await["Output Observation"], ALL);
        assert_eq!(ids(&world, &ctx, id).await["Output Patient"].len(), 3);
        assert_eq!(std::fs::read(&path).unwrap(), kept, "a finished file was written again");
    }
}

#[tokio::test]
async fn cancelled_and_expired_jobs_leave_nothing() {
    for world in worlds() {
        fill(&world).await;
        let ctx = world.client("system/*.rs").await;
        let id = world.insight.start_export(&ctx, ask(Level::System)).await.unwrap();
        world.insight.work(Kind::Export, &|| false).await.unwrap();
        assert!(world.insight.path(id, 1).exists());
        world.insight.cancel(&ctx, id).await.unwrap();
        assert!(matches!(world.insight.job(&ctx, id).await, Err(Error::NotFound)));
        assert_eq!(world.insight.work(Kind::Export, &|| false).await.unwrap(), 0);
        assert_eq!(world.insight.clean().await.unwrap(), 1);
        assert!(!world.insight.path(id, 1).exists());

        let id = world.insight.start_export(&ctx, ask(Level::System)).await.unwrap();
        world.finish(Kind::Export).await;
        assert_eq!(world.insight.clean().await.unwrap(), 0);
        world.pass(SignedDuration::from_hours(25));
        assert!(matches!(world.insight.job(&ctx, id).await, Err(Error::NotFound)));
        assert_eq!(world.insight.clean().await.unwrap(), 1);
        assert!(!world.insight.path(id, 1).exists());
    }
}

#[tokio::test]
async fn an_owner_has_only_so_many_at_once() {
    for world in worlds() {
        fill(&world).await;
        let ctx = world.client("system/*.rs").await;
        for _ in 0..3 {
            world.insight.start_export(&ctx, ask(Level::System)).await.unwrap();
        }
        let more = world.insight.start_export(&ctx, ask(Level::System)).await;
        assert!(matches!(more, Err(Error::Throttled { .. })), "{more:?}");
        world.finish(Kind::Export).await;
        world.insight.start_export(&ctx, ask(Level::System)).await.unwrap();
    }
}

#[tokio::test]
async fn files_say_nothing_without_the_key_and_the_audit_says_who() {
    for world in worlds() {
        fill(&world).await;
        let ctx = world.client("system/*.rs").await;
        let id = world.insight.start_export(&ctx, ask(Level::System)).await.unwrap();
        world.finish(Kind::Export).await;
        let sealed = std::fs::read(world.insight.path(id, 3)).unwrap();
        assert!(!sealed.windows(7).any(|w| w == b"Wanjiru"));
        assert!(world.files(&ctx, id).await.iter().any(|(_, lines)| lines.concat().contains("Wanjiru")));
        let admin = world.system();
        let filter = record::audit::AuditFilter { patient: Some("amina".into()), ..Default::default() };
        let rows = world.record.audit_list(&admin, filter, None, 100).await.unwrap().rows;
        let exported: Vec<_> = rows.iter().filter(|r| r.action == "bulk.export").collect();
        // One per file that holds something of her.
        assert_eq!(exported.len(), 2, "{rows:?}");
        assert!(exported.iter().all(|r| r.agent.starts_with("client/") && r.what.contains(&id.to_string())));
        let filter =
            record::audit::AuditFilter { action: Some("bulk.download".into()), ..Default::default() };
        let rows = world.record.audit_list(&admin, filter, None, 100).await.unwrap().rows;
        assert_eq!(rows.len(), 3);
    }
}

#[tokio::test]
async fn large_types_come_in_parts() {
    for temp in store::test_support::both() {
        let world = World::over(temp, 1_500);
        let mut lines = Vec::new();
        for n in 0..3_300 {
            lines.push(weight(&format!("w{n:05}"), "amina", "final").to_string().into_bytes());
        }
        world.put(patient("amina", "Wanjiru")).await;
        let report = world.record.import_lines(&world.system(), "test", None, 1, lines).await.unwrap();
        assert_eq!(report.taken, 3_300, "{:?}", report.refused.first());
        let ctx = world.client("system/Observation.rs").await;
        let id = world.insight.start_export(&ctx, ask(Level::System)).await.unwrap();
        world.finish(Kind::Export).await;
        let counts: Vec<i64> = world.files(&ctx, id).await.iter().map(|(file, _)| file.count).collect();
        // A part is closed after the page that filled it.
        assert_eq!(counts, [2_000, 1_300]);
        let all = &ids(&world, &ctx, id).await["Output Observation"];
        assert_eq!(all.len(), 3_300);
        assert!(all.windows(2).all(|w| w[0] < w[1]), "each once, by id");
    }
}

#[tokio::test]
async fn a_view_becomes_files() {
    for world in worlds() {
        fill(&world).await;
        let ctx = world.client("system/*.rs").await;
        let definition = json!({"resourceType": "ViewDefinition", "name": "weights", "resource": "Observation",
            "select": [{"column": [{"name": "id", "path": "id"}, {"name": "patient", "path": "subject.getReferenceKey()"}]}]});
        let mut request = ViewRequest {
            url: "http://test".into(),
            definition,
            format: Format::Csv,
            since: None,
            patients: vec!["baraka".into()],
        };
        let id = world.insight.start_view(&ctx, request.clone()).await.unwrap();
        world.finish(Kind::View).await;
        let files = world.files(&ctx, id).await;
        assert_eq!(files[0].0.name, "weights.1.csv");
        assert_eq!(files[0].1, ["id,patient", "baraka-1,baraka", "baraka-2,baraka"]);
        // Without rows there is still a table.
        request.patients = vec!["nobody".into()];
        let id = world.insight.start_view(&ctx, request.clone()).await.unwrap();
        world.finish(Kind::View).await;
        assert_eq!(world.files(&ctx, id).await[0].1, ["id,patient"]);
        // What does not fit is told.
        request.definition["select"][0]["column"][0]["path"] = json!("code | subject");
        request.patients = Vec::new();
        let id = world.insight.start_view(&ctx, request).await.unwrap();
        world.finish(Kind::View).await;
        let job = world.insight.job(&ctx, id).await.unwrap().job;
        assert_eq!(job.state, State::Failed);
        assert!(job.error.unwrap().contains("several values"));
    }
}

#[tokio::test]
async fn what_a_killed_server_left_is_swept_away() {
    let day = std::time::Duration::from_secs(25 * 60 * 60);
    for world in worlds() {
        fill(&world).await;
        let ctx = world.client("system/*.rs").await;
        let id = world.insight.start_export(&ctx, ask(Level::System)).await.unwrap();
        world.finish(Kind::Export).await;
        let jobs = world.folder.path().join("bulk/jobs");
        let (orphan, young) = (jobs.join(Uuid::now_v7().to_string()), jobs.join(Uuid::now_v7().to_string()));
        let views = world.folder.path().join("bulk/views");
        for folder in [&orphan, &young, &views] {
            std::fs::create_dir_all(folder).unwrap();
        }
        std::fs::write(views.join("names.7.base.sealed"), "half").unwrap();
        let long_ago = std::time::SystemTime::now() - day;
        for path in [&orphan, &jobs.join(id.to_string()), &views.join("names.7.base.sealed")] {
            std::fs::File::open(path).unwrap().set_modified(long_ago).unwrap();
        }
        world.insight.clean().await.unwrap();
        assert!(!orphan.exists() && young.exists() && jobs.join(id.to_string()).exists());
        assert_eq!(std::fs::read_dir(&views).unwrap().count(), 0);
    }
}
