//! docs/guides/postgresql.md carried out: the scripts of deploy/postgresql make a base backup and keep the log, the cluster
//! is lost, and a new one is put back to an instant. What was written before it is there, what came after is not, the audit
//! trail holds, and who was erased since stays erased.

use crate::cluster::Cluster;
use crate::command::{text, uzima_with};
use crate::erasure::{Gone, erase, observation};
use crate::harness::World;
use access::Role;
use serde_json::json;
use server::config::Secret;
use std::path::Path;
use std::time::Duration;

/// Runs a script of deploy/postgresql as whom the database belongs to; its standard output.
fn script(cluster: &Cluster, name: &str, arguments: &[&str]) -> String {
    let mut command = cluster.command(&cluster.folder().join(name));
    let done = command.args(arguments).output().unwrap();
    assert!(done.status.success(), "{name}: {}", text(&done));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// One value of the database.
fn ask(cluster: &Cluster, sql: &str) -> String {
    let mut psql = cluster.command(Path::new("psql"));
    let done = psql.args(["--dbname", &cluster.url(), "-tAc", sql]).output().unwrap();
    assert!(done.status.success(), "{sql}: {}", text(&done));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// Until the database says so.
async fn until(cluster: &Cluster, sql: &str) {
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    while ask(cluster, sql) != "t" {
        assert!(tokio::time::Instant::now() < end, "{sql}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_cluster_is_put_back_to_an_instant() {
    let Some(mut cluster) = Cluster::make("PostgreSQL put back from its log") else { return };
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/postgresql");
    for entry in std::fs::read_dir(scripts).unwrap() {
        let path = entry.unwrap().path();
        // Where the checkout lies, the database's own user may not look.
        std::fs::copy(&path, cluster.folder().join(path.file_name().unwrap())).unwrap();
    }
    let kept = cluster.folder().join("kept");
    let (kept, wal) = (kept.display().to_string(), kept.join("wal").display().to_string());
    assert!(cluster.command(Path::new("mkdir")).args(["-p", &wal]).status().unwrap().success());
    let archive = cluster.folder().join("archive.sh").display().to_string();
    cluster.set("wal_level", "replica");
    cluster.set("archive_mode", "on");
    cluster.set("archive_command", &format!("{archive} %p %f {wal}"));
    cluster.start().await;

    let url = cluster.url();
    let mut world = World::start_with(|config| config.database_url = Some(Secret::new(url))).await;
    let (officer, second) =
        (world.staff("officer", Role::PrivacyOfficer).await, world.staff("boss", Role::Administrator).await);
    let all = world.client("system/*.cruds").await;
    let (gone, stays) = (world.patient("Canarysson").await, world.patient("Amina").await);
    let of_gone = observation(&world, &gone).await;
    let early = observation(&world, &stays).await;
    let base = script(&cluster, "base-backup.sh", &[&kept, &cluster.url()]);
    let later = observation(&world, &stays).await;
    let instant = ask(&cluster, "SELECT clock_timestamp()");
    let too_late = observation(&world, &stays).await;
    erase(&officer, &second, gone.id()).await;
    script(&cluster, "dump-keys.sh", &[&kept, &cluster.url()]);
    world.take_running().shutdown().await.unwrap();
    let last = ask(&cluster, "SELECT pg_walfile_name(pg_switch_wal())");
    until(&cluster, &format!("SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver")).await;

    // The machine is gone.
    cluster.die();
    std::fs::remove_dir_all(cluster.folder().join("data")).unwrap();
    let data = cluster.folder().join("restored");
    script(&cluster, "restore.sh", &[&base, &wal, &instant, &data.display().to_string()]);
    cluster.on(data);
    cluster.start().await;
    until(&cluster, "SELECT NOT pg_is_in_recovery()").await;
    script(&cluster, "put-keys.sh", &[&kept, &cluster.url()]);
    // The key file and the keyring are those that were kept.
    let url = cluster.url();
    let uzima = |arguments: &[&str]| {
        let done = uzima_with(world.folder.path(), &[("UZIMA_DATABASE_URL", &url)], arguments);
        assert!(done.status.success(), "{arguments:?}: {}", text(&done));
        text(&done)
    };
    let instant = instant.replace(' ', "T");
    uzima(&["audit", "rotate-key", "--restored", &instant]);
    let told = uzima(&["verify"]);
    assert!(told.contains("the audit trail is whole"), "{told}");

    let mut config = server::Config::local(world.folder.path().join("data"));
    config.database_url = Some(Secret::new(url.clone()));
    let running = server::start(config).await.unwrap();
    let all = all.at(&running.url);
    for (id, expected) in [(&early, 200), (&later, 200), (&too_late, 404)] {
        let (status, found) = all.get(&format!("/fhir/R4/Observation/{id}")).await;
        assert_eq!(status, expected, "{found}");
    }
    let known =
        Gone { patient: gone.id(), observation: &of_gone, given: "Canarysson", login: "canarysson-0" };
    known.check(&all, "PostgreSQL put back").await;
    let note = json!({"resourceType": "Observation", "status": "final", "code": {"text": "It goes on"},
        "subject": {"reference": format!("Patient/{}", stays.id())}});
    assert_eq!(all.post("/fhir/R4/Observation", note).await.0, 201);
    running.shutdown().await.unwrap();
    let told = uzima(&["verify"]);
    assert!(told.contains("the audit trail is whole"), "{told}");
}
