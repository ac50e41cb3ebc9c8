//! The program itself: its commands, its files, its exit codes.

use serde_json::{Value, json};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

/// The program on the installation in this folder, with nothing of the environment.
pub fn uzima(folder: &Path, arguments: &[&str]) -> Output {
    uzima_with(folder, &[], arguments)
}

/// As [uzima], with variables.
pub fn uzima_with(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uzima"));
    command
        .current_dir(folder)
        .env_clear()
        .env("UZIMA_DATA", folder.join("data"))
        .env("UZIMA_LOG_FILTER", "error")
        .envs(variables.iter().copied());
    command.args(arguments).output().unwrap()
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

pub fn bundle(n: usize, gender: &str) -> Value {
    let entry = |resource: Value| {
        json!({"fullUrl": format!("urn:uuid:{}", resource["id"].as_str().unwrap()),
        "request": {"method": "POST", "url": resource["resourceType"]}, "resource": resource})
    };
    let patient = format!("00000000-0000-4000-8000-00000000000{n}");
    let observation = format!("00000000-0000-4000-8000-00000000010{n}");
    json!({"resourceType": "Bundle", "type": "transaction", "entry": [
        entry(json!({"resourceType": "Patient", "id": patient, "gender": gender})),
        entry(json!({"resourceType": "Observation", "id": observation, "status": "final", "code": {"text": "pulse"},
            "subject": {"reference": format!("urn:uuid:{patient}")}}))]})
}

fn report(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

#[test]
fn bundles_are_imported_once_and_refusals_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input");
    std::fs::create_dir(&input).unwrap();
    std::fs::write(input.join("a.json"), bundle(1, "female").to_string()).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bundle(2, "male").to_string().as_bytes()).unwrap();
    std::fs::write(input.join("b.json.gz"), gzip.finish().unwrap()).unwrap();
    let lines = [
        json!({"resourceType": "Location", "id": "room-1", "name": "Room 1"}).to_string(),
        json!({"resourceType": "Location", "id": "room-2", "name": "Room 2"}).to_string(),
    ];
    std::fs::write(input.join("c.ndjson"), lines.join("\n")).unwrap();

    let first = uzima(folder.path(), &["import", "input", "--report", "first.json"]);
    assert!(first.status.success(), "{}", text(&first));
    let told = report(folder.path(), "first.json");
    assert_eq!(
        (&told["taken"], &told["refused"], &told["files"]),
        (&json!(6), &json!(0), &json!(3)),
        "{told}"
    );
    assert_eq!(told["by_type"], json!({"Location": 2, "Observation": 2, "Patient": 2}));

    let again = uzima(folder.path(), &["import", "input", "--report", "again.json"]);
    assert!(again.status.success(), "{}", text(&again));
    assert_eq!(report(folder.path(), "again.json")["skipped_files"], 3);

    std::fs::write(
        input.join("d.ndjson"),
        "{\"resourceType\":\"Patient\",\"id\":\"x\",\"gender\":\"f\"}\n{\n",
    )
    .unwrap();
    let bad = uzima(folder.path(), &["import", "input", "--report", "bad.json"]);
    assert_eq!(bad.status.code(), Some(1), "{}", text(&bad));
    let told = report(folder.path(), "bad.json");
    assert_eq!(told["refused"], 2, "{told}");
    assert!(told["refusals"][0]["reason"].as_str().unwrap().contains("gender"), "{told}");
    let lenient = uzima(folder.path(), &["import", "input/d.ndjson", "--lenient", "--report", "l.json"]);
    assert!(lenient.status.success(), "{}", text(&lenient));
}

#[test]
fn the_key_is_made_once_and_never_twice() {
    let folder = tempfile::tempdir().unwrap();
    let migrated = uzima(folder.path(), &["migrate"]);
    assert!(migrated.status.success(), "{}", text(&migrated));
    let key = folder.path().join("data.key");
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let database = std::fs::read(folder.path().join("data/uzima.db")).unwrap();
    assert!(!database.starts_with(b"SQLite format"), "the database is encrypted");

    let moved = folder.path().join("moved.key");
    std::fs::rename(&key, &moved).unwrap();
    let without = uzima(folder.path(), &["migrate"]);
    assert!(!without.status.success());
    assert!(text(&without).contains("key file"), "{}", text(&without));
    assert!(!key.exists(), "no new key for an old database");
    std::fs::write(&key, format!("{}\n", "ab".repeat(32))).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let wrong = uzima(folder.path(), &["migrate"]);
    assert!(text(&wrong).contains("cannot be opened with this key"), "{}", text(&wrong));
    std::fs::rename(&moved, &key).unwrap();
    assert!(uzima(folder.path(), &["migrate"]).status.success());
}

#[test]
fn operators_make_clients_and_users() {
    let folder = tempfile::tempdir().unwrap();
    let made =
        uzima(folder.path(), &["admin", "create-client", "--name", "lab", "--scope", "system/*.cruds"]);
    assert!(made.status.success(), "{}", text(&made));
    let client: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert!(client["client_id"].as_str().is_some_and(|t| !t.is_empty()));
    assert!(client["client_secret"].as_str().is_some_and(|t| t.len() > 20));
    let user =
        ["admin", "create-user", "--login", "boss", "--display", "The Boss", "--role", "administrator"];
    let made = uzima(folder.path(), &user);
    assert!(made.status.success(), "{}", text(&made));
    let again = uzima(folder.path(), &user);
    assert!(!again.status.success() && text(&again).starts_with("uzima: "), "{}", text(&again));
    let reset = uzima(folder.path(), &["admin", "reset-password", "boss"]);
    let reset: Value = serde_json::from_slice(&reset.stdout).unwrap();
    assert!(reset["one_time_password"].as_str().is_some_and(|t| t.len() >= 8));
    let scope = uzima(folder.path(), &["admin", "create-client", "--name", "x", "--scope", "everything"]);
    assert!(!scope.status.success(), "{}", text(&scope));
}

#[test]
fn a_wrong_configuration_stops_the_program() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("uzima.toml"), "lisen = \"127.0.0.1:1\"\n").unwrap();
    let output = uzima(folder.path(), &["config"]);
    assert!(!output.status.success() && text(&output).contains("lisen"), "{}", text(&output));
    std::fs::write(folder.path().join("uzima.toml"), "[turn]\nsecret = \"hush\"\n").unwrap();
    let output = uzima(folder.path(), &["config"]);
    assert!(output.status.success() && !text(&output).contains("hush"), "{}", text(&output));
    assert!(text(&uzima(folder.path(), &["config", "--variables"])).contains("UZIMA_LISTEN"));
    assert!(text(&uzima(folder.path(), &["version"])).starts_with("uzima "));
    let document: Value = serde_json::from_slice(&uzima(folder.path(), &["openapi"]).stdout).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
}

#[tokio::test]
async fn commands_reach_a_running_server() {
    let world = crate::harness::World::start().await;
    let folder = world.folder.path().to_owned();
    let run = |arguments: &'static [&'static str]| {
        let folder = folder.clone();
        tokio::task::spawn_blocking(move || uzima(&folder, arguments))
    };
    let made =
        run(&["admin", "create-client", "--name", "lab", "--scope", "system/Patient.rs"]).await.unwrap();
    assert!(made.status.success(), "{}", text(&made));
    let client: Value = serde_json::from_slice(&made.stdout).unwrap();
    let url = format!("{}/oauth/token", world.url());
    let (id, secret) = (client["client_id"].as_str().unwrap(), client["client_secret"].as_str());
    let form = [("grant_type", "client_credentials")];
    let token = world.client.post(url).basic_auth(id, secret).form(&form).send().await.unwrap();
    assert_eq!(token.status(), 200);
    // The database itself belongs to the server.
    let import = run(&["import", "."]).await.unwrap();
    assert!(!import.status.success() && text(&import).contains("in use"), "{}", text(&import));
    world.stop().await;
}
