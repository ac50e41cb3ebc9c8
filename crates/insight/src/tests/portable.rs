//! The copy that a patient takes away.

use super::{World, worlds};
use access::{Ctx, Principal, Role, User};
use fhir::ResourceKey;
use jiff::SignedDuration;
use record::Error;
use serde_json::{Value, json};
use std::io::{Cursor, Read};
use store::bulk::job::{Kind, State};

fn patient(world: &World, id: &str, account: i64) -> Ctx {
    let mut ctx = world.system();
    ctx.principal = Principal::User(User {
        account,
        display: format!("Patient {id}"),
        roles: vec![Role::Patient],
        patient: Some(ResourceKey::parse(&format!("Patient/{id}")).unwrap()),
        practitioner: None,
        language: "sw".into(),
        standing: Default::default(),
    });
    ctx.session = Some(access::SessionFacts {
        id: [0; 8],
        authenticated_at: ctx.now,
        factors: vec![access::Factor::Password],
        absolute: ctx.now,
        enrolled: Vec::new(),
        kiosk: false,
        due: None,
    });
    ctx
}

/// Patient `id` with an account, signed in.
async fn person(world: &World, id: &str, family: &str) -> Ctx {
    world.put(json!({"resourceType": "Patient", "id": id, "name": [{"family": family}], "birthDate": "1990-01-01"})).await;
    let account = store::account::NewAccount {
        login: Some(id.to_owned()),
        phone: None,
        email: None,
        display: family.to_owned(),
        password_hash: None,
        roles: vec![Role::Patient],
        patient: Some(ResourceKey::parse(&format!("Patient/{id}")).unwrap()),
        practitioner: None,
        language: "sw".into(),
        created: world.record.now(),
    };
    let set = record::ChangeSet {
        effects: vec![record::Effect::AccountCreate(account)],
        ..record::ChangeSet::default()
    };
    world.record.command(&world.system(), "test.seed", set).await.unwrap();
    let key = ResourceKey::parse(&format!("Patient/{id}")).unwrap();
    let account = world.record.accounts_of(&world.system(), &key).await.unwrap()[0].account;
    patient(world, id, account)
}

async fn fetch(world: &World, ctx: &Ctx, id: uuid::Uuid) -> zip::ZipArchive<Cursor<Vec<u8>>> {
    let (mut download, name) = world.insight.open_copy(ctx, id).await.unwrap();
    assert!(name.ends_with(".zip"), "{name}");
    let mut bytes = Vec::new();
    download.reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, download.bytes);
    zip::ZipArchive::new(Cursor::new(bytes)).unwrap()
}

fn text(archive: &mut zip::ZipArchive<Cursor<Vec<u8>>>, name: &str) -> String {
    let mut text = String::new();
    archive.by_name(name).unwrap().read_to_string(&mut text).unwrap();
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_holds_everything_of_one_patient_and_nothing_of_others() {
    for world in worlds() {
        let amina = person(&world, "amina", "Wanjiru").await;
        let other = person(&world, "baraka", "Otieno").await;
        for (id, of) in [("w1", "amina"), ("w2", "amina"), ("w3", "baraka")] {
            world
                .put(json!({"resourceType": "Observation", "id": id, "status": "final", "code": {"text": "Uzito"},
                    "effectiveDateTime": "2026-01-02", "subject": {"reference": format!("Patient/{of}")}}))
                .await;
        }
        world
            .put(json!({"resourceType": "DocumentReference", "id": "d1", "status": "current",
                "subject": {"reference": "Patient/amina"}, "content": [{"attachment":
                    {"contentType": "text/plain", "data": "aGVsbG8=", "title": "<script>Barua</script>"}}]}))
            .await;
        // Not signed yet: nobody but the writer sees it.
        world
            .put(json!({"resourceType": "Composition", "id": "draft", "status": "preliminary", "type": {"text": "Note"},
                "subject": {"reference": "Patient/amina"}, "date": "2026-01-02", "title": "Draft",
                "author": [{"display": "Dr"}]}))
            .await;
        assert!(matches!(world.insight.start_copy(&amina, "baraka").await, Err(Error::NotFound)));
        // What happens in the same instant as the copy is not in it.
        world.pass(SignedDuration::from_secs(1));
        let copy = world.insight.start_copy(&amina, "amina").await.unwrap();
        assert_eq!((copy.state, copy.total >= 4), (State::Active, true));
        assert!(matches!(world.insight.start_copy(&amina, "amina").await, Err(Error::Duplicate(_))));
        assert!(matches!(world.insight.open_copy(&amina, copy.id).await, Err(Error::NotFound)));
        world.finish(Kind::Copy).await;
        let ready = world.insight.copies(&amina, "amina").await.unwrap().remove(0);
        assert_eq!(ready.state, State::Done);
        assert!(world.insight.copies(&other, "amina").await.unwrap().is_empty());
        assert!(matches!(world.insight.open_copy(&other, copy.id).await, Err(Error::NotFound)));

        let mut archive = fetch(&world, &amina, copy.id).await;
        let bundle: Value = serde_json::from_str(&text(&mut archive, "record.json")).unwrap();
        assert_eq!((&bundle["resourceType"], &bundle["type"]), (&json!("Bundle"), &json!("collection")));
        let mut keys: Vec<String> = bundle["entry"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| {
                let resource = &entry["resource"];
                format!("{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap())
            })
            .collect();
        assert_eq!(keys.remove(0), "Patient/amina");
        keys.sort();
        assert_eq!(keys, ["DocumentReference/d1", "Observation/w1", "Observation/w2"]);
        assert_eq!(text(&mut archive, "files/001-script-barua-script.txt"), "hello");
        let page = text(&mut archive, "index.html");
        assert!(page.contains("Nakala ya rekodi yako") && page.contains("Uzito"), "{page}");
        assert!(page.contains("&lt;script&gt;Barua") && !page.contains("<script"), "{page}");
        // The table of accesses is the audit log's.
        let filter = record::audit::AuditFilter {
            patient: Some("amina".into()),
            to: ready.finished.map(|at| at.max(world.record.now())),
            ..Default::default()
        };
        let log = world.record.audit_list(&world.system(), filter, None, 500).await.unwrap();
        let table = text(&mut archive, "who-saw.csv");
        let written = table.lines().count() - 1;
        assert!(written >= 4 && written <= log.rows.len(), "{written} of {}", log.rows.len());

        // Once, and an hour.
        world.insight.copy_taken(&amina, copy.id).await.unwrap();
        assert!(matches!(world.insight.open_copy(&amina, copy.id).await, Err(Error::NotFound)));
        let copy = world.insight.start_copy(&amina, "amina").await.unwrap();
        world.finish(Kind::Copy).await;
        world.pass(SignedDuration::from_mins(61));
        let later = patient(&world, "amina", amina.user().unwrap().account);
        assert!(matches!(world.insight.open_copy(&later, copy.id).await, Err(Error::NotFound)));
        world.insight.clean().await.unwrap();
        let left = std::fs::read_dir(world.folder.path().join("bulk/jobs")).unwrap().count();
        assert_eq!(left, 0, "files of copies that are over stay on the disk");
    }
}

/// C8: ten thousand resources within a minute. Measured: see docs/guides/privacy.md.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_resources_are_no_matter() {
    let world = worlds().remove(0);
    let amina = person(&world, "amina", "Wanjiru").await;
    for part in 0..20 {
        let changes = (0..500).map(|n| {
            let value = json!({"resourceType": "Observation", "id": format!("o{part}-{n}"), "status": "final",
                "code": {"text": "Uzito"}, "effectiveDateTime": "2026-01-02",
                "subject": {"reference": "Patient/amina"}, "valueQuantity": {"value": n, "unit": "kg"}});
            record::Change::Create { resource: fhir::Resource::from_value(value).unwrap() }
        });
        let set = record::ChangeSet { changes: changes.collect(), ..record::ChangeSet::default() };
        world.record.command(&world.system(), "test.seed", set).await.unwrap();
    }
    let began = std::time::Instant::now();
    let copy = world.insight.start_copy(&amina, "amina").await.unwrap();
    world.finish(Kind::Copy).await;
    let ready = world.insight.copies(&amina, "amina").await.unwrap().remove(0);
    println!("10,001 resources in {:?}, {} bytes", began.elapsed(), ready.bytes);
    assert_eq!((ready.id, ready.state, ready.resources), (copy.id, State::Done, 10_001));
}
