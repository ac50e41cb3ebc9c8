//! The program's backups: beside a running server, by command, and back.

use crate::command::{text, uzima};
use crate::harness::World;
use access::Role;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// As [uzima], with something on the standard input.
fn uzima_told(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uzima"));
    command
        .current_dir(folder)
        .env_clear()
        .env("UZIMA_DATA", folder.join("data"))
        .env("UZIMA_LOG_FILTER", "error")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(format!("{input}\n").as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_database_at_rest_is_backed_up_and_restored() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    assert!(uzima(at, &["migrate"]).status.success());
    let nowhere = uzima(at, &["backup"]);
    assert!(!nowhere.status.success() && text(&nowhere).contains("say where to"), "{}", text(&nowhere));
    let input = at.join("a.json");
    std::fs::write(&input, crate::command::bundle(1, "female").to_string()).unwrap();
    assert!(uzima(at, &["import", "a.json"]).status.success());
    let passphrase = "maji ya kunywa ni matamu";
    let made = uzima_told(at, &["backup", "--to", "copies", "--with-key"], passphrase);
    assert!(made.status.success() && text(&made).contains("bytes sent"), "{}", text(&made));

    // Nothing goes over what is there.
    let there = uzima(at, &["restore", "--from", "copies"]);
    assert!(!there.status.success() && text(&there).contains("--replace"), "{}", text(&there));
    let restored = uzima(at, &["restore", "--from", "copies", "--replace"]);
    assert!(restored.status.success(), "{}", text(&restored));
    assert!(text(&restored).contains("the ledger sums to zero"), "{}", text(&restored));
    let again = uzima(at, &["import", "a.json"]);
    assert!(again.status.success() && text(&again).contains("1 taken before"), "{}", text(&again));

    // Folder and key are lost; the passphrase is not.
    std::fs::remove_dir_all(at.join("data")).unwrap();
    std::fs::remove_file(at.join("data.key")).unwrap();
    let without = uzima(at, &["restore", "--from", "copies"]);
    assert!(!without.status.success() && text(&without).contains("--with-key"), "{}", text(&without));
    let wrong = uzima_told(at, &["restore", "--from", "copies", "--with-key"], "maji ya chumvi si matamu");
    assert!(!wrong.status.success() && !at.join("data").exists(), "{}", text(&wrong));
    let right = uzima_told(at, &["restore", "--from", "copies", "--with-key"], passphrase);
    assert!(right.status.success(), "{}", text(&right));
    let status = uzima(at, &["migrate"]);
    assert!(status.status.success(), "{}", text(&status));

    let good = uzima(at, &["verify", "--backup", "copies"]);
    assert!(good.status.success() && text(&good).contains("whole databases"), "{}", text(&good));

    // A copy with a flipped bit does not get a place.
    let base = std::fs::read_dir(at.join("copies/base")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&base).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&base, bytes).unwrap();
    let found = uzima(at, &["verify", "--backup", "copies"]);
    assert!(!found.status.success() && text(&found).contains("WRONG"), "{}", text(&found));
    let damaged = uzima(at, &["restore", "--from", "copies", "--data", "elsewhere"]);
    assert!(!damaged.status.success() && !at.join("elsewhere").exists(), "{}", text(&damaged));
}

/// Waits until the overview says so; each look is a request, so the server is not busy with it.
pub async fn until(world: &World, what: &str, good: impl Fn(&Value) -> bool) -> Value {
    let standing = || world.app().parts.backups.standing(jiff::Timestamp::now());
    for _ in 0..600 {
        let value = serde_json::to_value(standing()).unwrap();
        if good(&value) {
            return value;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{what}: {}", serde_json::to_value(standing()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_server_keeps_its_backup_fresh() {
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("copies").display().to_string();
    let address = to.clone();
    let mut world = World::start_with(move |config| config.backup.to = Some(address)).await;
    let client = world.client("system/*.cruds").await;
    let patient = world.patient("Amina").await;
    until(&world, "first whole copy", |standing| !standing["base_at"].is_null()).await;
    // The drill follows the first copy by itself.
    let standing = until(&world, "drill", |standing| !standing["drill"].is_null()).await;
    assert_eq!(standing["drill"]["is_good"], json!(true), "{standing}");
    assert_eq!(standing["alarms"], json!([]), "{standing}");

    let note = json!({"resourceType": "Observation", "status": "final", "code": {"text": "written after the copy"},
        "subject": {"reference": format!("Patient/{}", patient.id())}});
    let (status, made) = client.post("/fhir/R4/Observation", note).await;
    assert_eq!(status, 201, "{made}");
    let written = jiff::Timestamp::now().to_string();
    until(&world, "shipped", |standing| standing["until"].as_str().is_some_and(|until| *until > *written))
        .await;
    let administrator = world.staff("boss", Role::Administrator).await;
    let (status, overview) = administrator.get("/api/v1/admin/overview").await;
    assert_eq!((status, &overview["backup"]["place"]), (200, &json!(to)), "{overview}");
    let metrics = world.client.get(format!("{}/metrics", world.url())).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("uzima_backup_alarms 0"), "{metrics}");

    // By command, through the server that runs.
    let at = world.folder.path().to_owned();
    let copied = tokio::task::spawn_blocking(move || uzima(&at, &["backup", "--drill"])).await.unwrap();
    assert!(copied.status.success() && text(&copied).contains("found good"), "{}", text(&copied));
    let (at, from) = (world.folder.path().to_owned(), to.clone());
    let busy = tokio::task::spawn_blocking(move || uzima(&at, &["restore", "--from", &from, "--replace"]));
    let busy = busy.await.unwrap();
    assert!(!busy.status.success() && text(&busy).contains("in use"), "{}", text(&busy));
    let folder = world.folder.path().to_owned();
    let restored =
        tokio::task::spawn_blocking(move || uzima(&folder, &["restore", "--from", &to, "--data", "other"]));
    let restored = restored.await.unwrap();
    assert!(restored.status.success(), "{}", text(&restored));
    let data = world.folder.path().join("other");
    let key = std::fs::read_to_string(world.folder.path().join("data.key")).unwrap();
    let (id, token) = (made["id"].as_str().unwrap().to_owned(), client.token.clone());
    world.take_running().shutdown().await.unwrap();

    let mut config = server::Config::local(data);
    config.key.value = Some(server::config::Secret::new(key.trim()));
    let running = server::start(config).await.unwrap();
    let found =
        reqwest::Client::new().get(format!("{}/fhir/R4/Observation/{id}", running.url)).bearer_auth(token);
    assert_eq!(
        found.send().await.unwrap().status(),
        200,
        "what was written after the copy, with the same token"
    );
    running.shutdown().await.unwrap();
}
