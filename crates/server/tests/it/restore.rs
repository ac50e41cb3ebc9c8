//! A machine that was put back from its backup: keys that were changed since, and an audit trail that says what happened.

use crate::harness::World;
use crate::machine::Machine;
use access::Role;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Output;

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

async fn patient(machine: &Machine, client: &Value, family: &str) -> String {
    let token = machine.token(client).await;
    let body = json!({"resourceType": "Patient", "name": [{"family": family}]});
    let (status, made) = machine.send("POST", "/fhir/R4/Patient", &token, &body).await.unwrap();
    assert_eq!(status, 201, "{made}");
    made["id"].as_str().unwrap().to_owned()
}

/// A server runs for a moment, makes a patient and stops, so that all of its trail is sealed.
async fn session(machine: &Machine, client: &Value, family: &str) -> String {
    let mut child = machine.start().await;
    let id = patient(machine, client, family).await;
    machine.stop(&mut child);
    id
}

async fn is_there(machine: &Machine, client: &Value, id: &str) -> bool {
    let token = machine.token(client).await;
    let (status, _) =
        machine.send("GET", &format!("/fhir/R4/Patient/{id}"), &token, &Value::Null).await.unwrap();
    assert!(matches!(status, 200 | 404));
    status == 200
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_trail_goes_on_under_a_key_of_its_own() {
    let machine = Machine::new();
    let at = machine.folder();
    let copies = at.join("copies").display().to_string();
    let client = machine.client().await;
    let kept = session(&machine, &client, "Kept").await;
    let first = machine.run(&["audit", "head"], "");
    machine.run(&["backup", "--to", &copies], "");
    let lost = session(&machine, &client, "Lost").await;
    let second = machine.run(&["audit", "head"], "");
    let anchors = at.join("anchors.log");
    std::fs::write(&anchors, format!("{first}\n{second}")).unwrap();
    let anchors = anchors.display().to_string();
    // The disk is gone, and with it the key that signed.
    std::fs::remove_dir_all(machine.data()).unwrap();
    std::fs::remove_file(at.join("data.audit.key")).unwrap();
    let told = machine.run(&["restore", "--from", &copies], "");
    assert!(told.contains("signed by a new key"), "{told}");
    assert!(at.join("data.audit.key").exists());

    let told = machine.run(&["verify", "--head", &anchors], "");
    for words in
        ["restored at", "1 heads kept elsewhere are of a state that was given up", "the audit trail is whole"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert!(!told.contains("without the signature"), "{told}");
    // It seals again, without anybody's help and without an alarm.
    let mut child = machine.start().await;
    assert!(is_there(&machine, &client, &kept).await && !is_there(&machine, &client, &lost).await);
    assert_eq!(machine.gauge("uzima_audit_seal_failures_total").await.unwrap_or(0), 0);
    machine.stop(&mut child);
    let third = machine.run(&["audit", "head"], "");
    let key =
        |head: &str| head.lines().find_map(|line| line.strip_prefix("key ").map(str::to_owned)).unwrap();
    assert!(key(&third) != key(&first) && key(&second) == key(&first));
    let told = machine.run(&["verify", "--head", &anchors], "");
    assert!(told.contains("the audit trail is whole"), "{told}");

    // That is no excuse for anything that happens later: an older copy put back by hand is found.
    copy(&machine.data(), &at.join("older"));
    session(&machine, &client, "Later").await;
    let fourth = at.join("fourth.log");
    std::fs::write(&fourth, machine.run(&["audit", "head"], "")).unwrap();
    std::fs::remove_dir_all(machine.data()).unwrap();
    copy(&at.join("older"), &machine.data());
    let found = machine.output(&["verify", "--head", &fourth.display().to_string()]);
    assert!(!found.status.success() && text(&found).contains("missing from here on"), "{}", text(&found));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_key_that_is_at_hand_endorses_the_new_one() {
    let machine = Machine::new();
    let copies = machine.folder().join("copies").display().to_string();
    let client = machine.client().await;
    session(&machine, &client, "Kept").await;
    machine.run(&["backup", "--to", &copies], "");
    let told = machine.run(&["restore", "--from", &copies, "--replace"], "");
    assert!(told.contains("the key before is now"), "{told}");
    let keys = machine.run(&["audit", "keys"], "");
    assert!(keys.lines().count() == 2 && keys.lines().last().unwrap().contains("(endorsed)"), "{keys}");
    // Looked at beside the one that runs: its key is not touched.
    let before = std::fs::read(machine.folder().join("data.audit.key")).unwrap();
    machine.run(&["restore", "--from", &copies, "--data", "beside"], "");
    assert_eq!(before, std::fs::read(machine.folder().join("data.audit.key")).unwrap());
    assert!(machine.folder().join("beside.audit.key").exists());
}

/// `uzima keys rotate` and `uzima keys rekey` between backups: whatever was stored is restored, with the keys of today.
#[tokio::test(flavor = "multi_thread")]
async fn keys_may_change_between_backups() {
    let machine = Machine::new();
    let at = machine.folder();
    let copies = at.join("copies").display().to_string();
    let client = machine.client().await;
    let first = session(&machine, &client, "First").await;
    machine.run(&["backup", "--to", &copies], "");
    let old_key = std::fs::read(at.join("data.key")).unwrap();
    let before_rekey = jiff::Timestamp::now().to_string();

    machine.run(&["keys", "rotate"], "");
    machine.run(&["keys", "rotate", "--finish"], "");
    assert_ne!(old_key, std::fs::read(at.join("data.key")).unwrap());
    let second = session(&machine, &client, "Second").await;
    machine.run(&["backup", "--to", &copies], "");
    machine.run(&["keys", "rekey"], "");
    let third = session(&machine, &client, "Third").await;
    machine.run(&["backup", "--to", &copies], "");
    let verified = machine.run(&["verify", "--backup", &copies], "");
    assert!(!verified.contains("WRONG"), "{verified}");

    // Today's state, and that of a time when the database had another key, on a machine that has only today's key file.
    std::fs::remove_dir_all(machine.data()).unwrap();
    std::fs::remove_file(at.join("data.audit.key")).unwrap();
    machine.run(&["restore", "--from", &copies], "");
    let mut child = machine.start().await;
    for id in [&first, &second, &third] {
        assert!(is_there(&machine, &client, id).await);
    }
    machine.stop(&mut child);
    machine.run(&["restore", "--from", &copies, "--at", &before_rekey, "--replace"], "");
    let mut child = machine.start().await;
    assert!(is_there(&machine, &client, &first).await && !is_there(&machine, &client, &second).await);
    machine.stop(&mut child);
    // A copy of the key file from before the rotation opens what was stored under it, and nothing newer.
    std::fs::write(at.join("old.key"), &old_key).unwrap();
    std::fs::set_permissions(at.join("old.key"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    let old = machine.with("UZIMA_KEY_FILE", &at.join("old.key").display().to_string());
    let told = old.output(&["restore", "--from", &copies, "--data", "old", "--at", &before_rekey]);
    assert!(told.status.success(), "{}", text(&told));
    let told = old.output(&["restore", "--from", &copies, "--data", "new"]);
    assert!(!told.status.success() && !at.join("new").exists(), "{}", text(&told));
}

/// What `/api/v1/admin/backups` shows and does.
#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_and_start_backups() {
    let place = tempfile::tempdir().unwrap();
    let to = place.path().join("copies").display().to_string();
    let address = to.clone();
    let world = World::start_with(move |config| config.backup.to = Some(address)).await;
    let administrator = world.staff("boss", Role::Administrator).await;
    let operator = world.staff("it", Role::It).await;
    let nurse = world.staff("nurse", Role::Nurse).await;
    let state = until(&administrator, |state| state["last_drill"].is_object()).await;
    assert_eq!(state["enabled"], true);
    assert_eq!((&state["targets"][0]["place"], &state["targets"][0]["kind"]), (&json!(to), &json!("folder")));
    assert_eq!(
        (&state["last_base"]["is_good"], &state["last_base"]["by"]),
        (&json!(true), &json!("schedule"))
    );
    let checks: Vec<&str> = state["last_drill"]["checks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["name"].as_str().unwrap())
        .collect();
    assert_eq!(checks, ["restored", "pages", "references", "ledger", "counts", "audit"], "{state}");
    assert!(state["next_base_at"].is_string() && state["next_drill_at"].is_string(), "{state}");

    for (path, body) in [("run", Value::Null), ("drill", Value::Null)] {
        let (status, _) = nurse.post(&format!("/api/v1/admin/backups/{path}"), body).await;
        assert_eq!(status, 403);
    }
    let (status, started) = operator.post("/api/v1/admin/backups/run", Value::Null).await;
    assert_eq!((status, &started["running"]["kind"]), (202, &json!("base")), "{started}");
    let state = until(&administrator, |state| state["last_base"]["by"] == "Test it").await;
    assert_eq!(state["last_base"]["is_good"], true, "{state}");
    let (status, _) = administrator.post("/api/v1/admin/backups/drill", Value::Null).await;
    assert_eq!(status, 202);
    until(&administrator, |state| state["last_drill"]["by"] == "Test boss").await;
    let (_, runs) = administrator.get("/api/v1/admin/backups/runs?kind=base&limit=1").await;
    assert_eq!((&runs["items"][0]["by"], runs["items"].as_array().unwrap().len()), (&json!("Test it"), 1));
    let next = runs["next"].as_str().unwrap();
    let (_, runs) =
        administrator.get(&format!("/api/v1/admin/backups/runs?kind=base&limit=1&cursor={next}")).await;
    assert_eq!(runs["items"][0]["by"], "schedule", "{runs}");

    let mut policy = state["policy"].clone();
    assert_eq!(policy, state["policy_default"]);
    policy["keep_daily_days"] = json!(1);
    let (status, problem) = administrator.put("/api/v1/admin/backups/policy", policy.clone()).await;
    assert_eq!((status, &problem["code"]), (422, &json!("backup-policy")), "{problem}");
    policy["keep_daily_days"] = json!(60);
    let (status, state) = administrator.put("/api/v1/admin/backups/policy", policy.clone()).await;
    assert_eq!((status, &state["policy"]), (200, &policy), "{state}");
    let (_, audit) = administrator.get("/api/v1/admin/audit?action=backup.policy").await;
    assert_eq!(audit["items"].as_array().map(Vec::len), Some(1), "{audit}");
    world.stop().await;
}

async fn until(who: &crate::harness::Signed, is_good: impl Fn(&Value) -> bool) -> Value {
    let end = tokio::time::Instant::now() + std::time::Duration::from_secs(90);
    loop {
        let (status, state) = who.get("/api/v1/admin/backups").await;
        assert_eq!(status, 200, "{state}");
        if is_good(&state) {
            return state;
        }
        assert!(tokio::time::Instant::now() < end, "{state}");
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    }
}

/// A session that is not fresh is asked again before anything is started.
#[tokio::test(flavor = "multi_thread")]
async fn starting_a_backup_asks_who_it_is() {
    let now = std::sync::Arc::new(parking_lot::Mutex::new(jiff::Timestamp::now()));
    let clock = now.clone();
    let world = World::start_at(std::sync::Arc::new(move || *clock.lock())).await;
    let administrator = world.staff("boss", Role::Administrator).await;
    let (status, problem) = administrator.post("/api/v1/admin/backups/run", Value::Null).await;
    assert_eq!((status, &problem["code"]), (422, &json!("backups-off")), "{problem}");
    let later =
        *now.lock() + jiff::SignedDuration::from_mins(i64::from(record::authn::SENSITIVE_MINUTES) + 1);
    *now.lock() = later;
    for (method, path) in [("POST", "run"), ("POST", "drill"), ("PUT", "policy")] {
        let (_, state) = administrator.get("/api/v1/admin/backups").await;
        assert_eq!(state["enabled"], false, "{state}");
        let path = format!("/api/v1/admin/backups/{path}");
        let request = administrator.request(method, &path).json(&state["policy"]);
        let (status, problem) = crate::harness::read(request.send().await.unwrap()).await;
        assert_eq!((status, &problem["code"]), (403, &json!("step-up-needed")), "{path}: {problem}");
    }
    world.stop().await;
}
