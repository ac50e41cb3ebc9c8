//! `uzima keys`: where keys come from, and changing them while the server runs.

use crate::command::text;
use serde_json::{Value, json};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use store::{Secret32, Store, StoreConfig};

const READY_WAIT: Duration = Duration::from_secs(60);

/// One installation of the real program.
pub struct Installed {
    pub folder: tempfile::TempDir,
    pub url: String,
    listen: String,
    pub http: reqwest::Client,
}

impl Installed {
    pub fn new() -> Installed {
        // Only fails if there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        Installed {
            folder: tempfile::tempdir().unwrap(),
            url: format!("http://{listen}"),
            listen,
            http: reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn command(&self, variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uzima"));
        command
            .current_dir(self.folder.path())
            .env("UZIMA_DATA", self.path("data"))
            .env("UZIMA_LISTEN", &self.listen)
            .env("UZIMA_LOG_FILTER", "warn")
            .envs(variables.iter().copied())
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
        self.command(variables).args(arguments).output().unwrap()
    }

    /// What a command prints that must succeed.
    pub fn told(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Value {
        let output = self.run(variables, arguments);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    #[expect(clippy::zombie_processes, reason = "a server that does not start ends the test")]
    pub async fn serve(&self, variables: &[(&str, &str)], output: Stdio, errors: Stdio) -> Child {
        let child = self.command(variables).arg("serve").stdout(output).stderr(errors).spawn().unwrap();
        let until = tokio::time::Instant::now() + READY_WAIT;
        loop {
            let answer = self.http.get(format!("{}/readyz", self.url)).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return child;
            }
            assert!(tokio::time::Instant::now() < until, "the server does not come up");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// A bearer token of a new client.
    pub async fn token(&self, scope: &str) -> String {
        let arguments = ["admin", "create-client", "--name", "keys", "--scope", scope, "--country", "KE"];
        let client = self.told(&[], &arguments);
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope={}",
            client["client_id"].as_str().unwrap(),
            client["client_secret"].as_str().unwrap(),
            scope.replace('/', "%2F")
        );
        let answer = self
            .http
            .post(format!("{}/oauth/token", self.url))
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .unwrap();
        let token: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        token["access_token"].as_str().unwrap().to_owned()
    }
}

fn salt(database: &Path) -> Vec<u8> {
    std::fs::read(database).unwrap()[..16].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_is_changed_under_load_without_a_failed_request() {
    let place = Arc::new(Installed::new());
    let mut child = place.serve(&[], Stdio::null(), Stdio::null()).await;
    let token = place.token("system/*.cruds").await;
    let patient = json!({"resourceType": "Patient", "name": [{"family": "Kiptoo"}]});
    let send = |method, path: String, body: Option<Value>| {
        let mut request = place.http.request(method, format!("{}{path}", place.url)).bearer_auth(&token);
        if let Some(body) = body {
            request = request.header("Content-Type", "application/fhir+json").body(body.to_string());
        }
        request.send()
    };
    let made = send(reqwest::Method::POST, "/fhir/R4/Patient".into(), Some(patient.clone())).await.unwrap();
    assert_eq!(made.status(), 201);
    let id = serde_json::from_str::<Value>(&made.text().await.unwrap()).unwrap()["id"].clone();
    let path = format!("/fhir/R4/Patient/{}", id.as_str().unwrap());
    let (database, key) = (place.path("data/uzima.db"), place.path("data.key"));
    let salt_before = salt(&database);
    let first_key = std::fs::read_to_string(&key).unwrap();

    let (done, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut load = tokio::task::JoinSet::new();
    for writer in [false, false, true] {
        let (place, token, path) = (place.clone(), token.clone(), path.clone());
        let (done, requests, patient) = (done.clone(), requests.clone(), patient.clone());
        load.spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let request = match writer {
                    true => place
                        .http
                        .post(format!("{}/fhir/R4/Patient", place.url))
                        .header("Content-Type", "application/fhir+json")
                        .body(patient.to_string()),
                    false => place.http.get(format!("{}{path}", place.url)),
                };
                let status = request.bearer_auth(&token).send().await.unwrap().status();
                assert!(status.is_success(), "{status}");
                requests.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut keys = std::collections::BTreeSet::from([first_key.clone()]);
    for _ in 0..4 {
        let before = requests.load(Ordering::Relaxed);
        let told = place.told(&[], &["keys", "rotate"]);
        assert_eq!(told["removed_slots"], 1, "{told}");
        let told = place.told(&[], &["keys", "rotate-tenant"]);
        assert!(told["keys"].as_u64() >= Some(1), "{told}");
        assert!(keys.insert(std::fs::read_to_string(&key).unwrap()), "another key each time");
        let status = place.told(&[], &["keys", "status"]);
        assert_eq!(
            (&status["slots"][0]["kind"], &status["slots"][0]["in_use"]),
            (&json!("file"), &json!(true))
        );
        while requests.load(Ordering::Relaxed) < before + 20 {
            tokio::task::yield_now().await;
        }
    }
    done.store(true, Ordering::Relaxed);
    while let Some(ended) = load.join_next().await {
        ended.unwrap();
    }
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(salt(&database), salt_before, "the database was not rewritten");
    let audit = send(reqwest::Method::GET, "/fhir/R4/AuditEvent?_count=200".into(), None).await.unwrap();
    assert!(audit.text().await.unwrap().contains("key.change"), "a change of keys is audited");

    // The old key opens nothing, the new one everything.
    child.kill().unwrap();
    child.wait().unwrap();
    let old = place.path("old.key");
    std::fs::write(&old, first_key).unwrap();
    std::fs::set_permissions(&old, std::fs::Permissions::from_mode(0o600)).unwrap();
    let refused = place.run(&[("UZIMA_KEY_FILE", old.to_str().unwrap())], &["migrate"]);
    assert!(!refused.status.success());
    assert!(text(&refused).contains("cannot be opened with this key"), "{}", text(&refused));
    let mut child = place.serve(&[], Stdio::null(), Stdio::null()).await;
    assert_eq!(send(reqwest::Method::GET, path, None).await.unwrap().status(), 200);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn keys_move_from_a_file_to_a_variable_to_a_credential_and_to_a_program() {
    let place = Installed::new();
    place.told(&[], &["migrate"]);
    let digits = "5a".repeat(32);
    let without = place.run(&[("NEW", &digits)], &["keys", "rotate", "--to-variable", "OTHER"]);
    assert!(text(&without).contains("OTHER is not set"), "{}", text(&without));
    place.told(&[("NEW", &digits)], &["keys", "rotate", "--to-variable", "NEW"]);
    let status = place.told(&[], &["keys", "status"]);
    assert_eq!(status["slots"].as_array().unwrap().len(), 2, "the file's key still works: {status}");
    assert!(status["advice"][0].as_str().unwrap().contains("--finish"), "{status}");
    let by_variable = [("UZIMA_KEY", digits.as_str())];
    place.told(&by_variable, &["migrate"]);
    assert_eq!(place.told(&by_variable, &["keys", "rotate", "--finish"])["removed_slots"], 1);
    assert!(!place.run(&[], &["migrate"]).status.success(), "the file's key opens nothing any more");
    let here = place.run(&by_variable, &["keys", "rotate"]);
    assert!(text(&here).contains("name the new one"), "{}", text(&here));

    let credentials = place.path("credentials");
    std::fs::create_dir(&credentials).unwrap();
    std::fs::write(credentials.join("uzima-key"), "7b".repeat(32)).unwrap();
    let mode = std::fs::Permissions::from_mode(0o400);
    std::fs::set_permissions(credentials.join("uzima-key"), mode).unwrap();
    let folder = ("CREDENTIALS_DIRECTORY", credentials.to_str().unwrap());
    place.told(&[by_variable[0], folder], &["keys", "rotate", "--to-credential", "uzima-key"]);
    let by_credential = [("UZIMA_KEY_CREDENTIAL", "uzima-key"), folder];
    place.told(&by_credential, &["migrate"]);

    let script = place.path("kms");
    let turn = "#!/bin/sh\nread line\ncase \"$2\" in wrap) printf \"$1:\"; echo \"$line\" | rev;; unwrap) echo \"${line#$1:}\" | rev;; esac\n";
    std::fs::write(&script, turn).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    let words = format!("{},key-1", script.display());
    place.told(&by_credential, &["keys", "rotate", "--to-program", &words]);
    let by_program = [("UZIMA_KEY_PROGRAM", words.as_str())];
    place.told(&by_program, &["keys", "rotate", "--finish"]);
    place.told(&by_program, &["migrate"]);
    assert_eq!(place.told(&by_program, &["keys", "rotate"])["removed_slots"], 1);
    place.told(&by_program, &["migrate"]);
    let text_of = std::fs::read_to_string(place.path("data/keyring.json")).unwrap();
    assert!(text_of.contains("key-1:") && !text_of.contains(&digits), "{text_of}");
    for former in [&by_variable[..], &by_credential[..]] {
        assert!(!place.run(former, &["migrate"]).status.success());
    }
}

/// The module in software that Debian packages, in a folder of the test's own; `None` where it is not installed.
fn module(place: &Installed) -> Option<String> {
    let library = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"];
    let library = library.into_iter().find(|file| Path::new(file).exists())?;
    let ask = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        let done = command.args(arguments).env("SOFTHSM2_CONF", place.path("softhsm2.conf")).output().ok()?;
        assert!(done.status.success(), "{program}: {}", text(&done));
        Some(())
    };
    std::fs::create_dir(place.path("tokens")).unwrap();
    let settings = format!("directories.tokendir = {}\n", place.path("tokens").display());
    std::fs::write(place.path("softhsm2.conf"), settings).unwrap();
    std::fs::write(place.path("pin"), "471100\n").unwrap();
    let label = ["--label", "clinic", "--so-pin", "87654321", "--pin", "471100"];
    ask("softhsm2-util", &[&["--init-token", "--free"][..], &label].concat())?;
    for id in ["0a", "0b"] {
        let token = ["--module", library, "--login", "--pin", "471100", "--token-label", "clinic"];
        let key = ["--keygen", "--key-type", "AES:32", "--id", id, "--label", "uzima", "--sensitive"];
        ask("pkcs11-tool", &[&token[..], &key].concat())?;
    }
    Some(library.to_owned())
}

#[test]
fn the_key_lies_in_a_security_module() {
    let place = Installed::new();
    let Some(library) = module(&place) else {
        let text = "SKIPPED: PKCS#11, because softhsm2 and opensc are not installed\n";
        std::io::stderr().write_all(text.as_bytes()).unwrap();
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/keys/pkcs11.sh");
    let settings = place.path("softhsm2.conf");
    let module = ("SOFTHSM2_CONF", settings.to_str().unwrap());
    let words =
        |id: &str| format!("{},{library},clinic,{id},{}", script.display(), place.path("pin").display());
    let (ours, other) = (words("0a"), words("0b"));
    place.told(&[], &["migrate"]);
    place.told(&[module], &["keys", "rotate", "--to-program", &ours]);
    let by_module = [module, ("UZIMA_KEY_PROGRAM", ours.as_str())];
    place.told(&by_module, &["keys", "rotate", "--finish"]);
    place.told(&by_module, &["migrate"]);
    assert!(!place.run(&[], &["migrate"]).status.success(), "the file's key opens nothing any more");
    // Another key of the token, a wrong PIN, no token.
    assert!(!place.run(&[module, ("UZIMA_KEY_PROGRAM", &other)], &["migrate"]).status.success());
    std::fs::write(place.path("pin"), "000000\n").unwrap();
    let refused = place.run(&by_module, &["migrate"]);
    assert!(text(&refused).contains("CKR_PIN_INCORRECT"), "{}", text(&refused));
    assert!(!text(&refused).contains("000000"), "{}", text(&refused));
    std::fs::write(place.path("pin"), "471100\n").unwrap();
    place.told(&by_module, &["migrate"]);
    std::fs::remove_dir_all(place.path("tokens")).unwrap();
    std::fs::create_dir(place.path("tokens")).unwrap();
    assert!(!place.run(&by_module, &["migrate"]).status.success());
}

#[test]
fn a_key_file_that_others_may_read_stops_the_program() {
    let place = Installed::new();
    place.told(&[], &["migrate"]);
    let key = place.path("data.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    for command in ["serve", "migrate"] {
        let refused = place.run(&[], &[command]);
        assert!(!refused.status.success());
        assert!(text(&refused).contains("can be read by others (mode 0644)"), "{}", text(&refused));
        assert!(text(&refused).contains("chmod 600"), "{}", text(&refused));
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    place.told(&[], &["migrate"]);
}

#[test]
fn a_database_from_before_keyrings_gets_one_and_then_a_key_of_its_own() {
    let place = Installed::new();
    let (data, key) = (place.path("data"), place.path("data.key"));
    std::fs::create_dir(&data).unwrap();
    let bare = Secret32::random().unwrap();
    std::fs::write(&key, bare.to_hex()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    let url = format!("sqlite:{}", data.join("uzima.db").display());
    Store::open(StoreConfig::new(url.clone(), Some(bare.clone()))).unwrap().close();

    place.told(&[], &["migrate"]);
    let advice = |status: &Value| status["advice"].to_string();
    assert_eq!(advice(&place.told(&[], &["keys", "status"])), "[]");
    place.told(&[], &["keys", "rotate"]);
    assert!(
        advice(&place.told(&[], &["keys", "status"])).contains("keys rekey"),
        "the first key is still the database's"
    );
    let opened = |secret: &Secret32| Store::open(StoreConfig::new(url.clone(), Some(secret.clone())));
    opened(&bare).unwrap().close();

    let told = place.told(&[], &["keys", "rekey"]);
    assert!(told["next"].as_str().unwrap().contains("backup"), "{told}");
    assert_eq!(opened(&bare).err(), Some(store::Error::WrongKey), "the first key opens nothing any more");
    place.told(&[], &["migrate"]);
    let status = place.told(&[], &["keys", "status"]);
    assert_eq!((&status["former_database_keys"], advice(&status).as_str()), (&json!(1), "[]"), "{status}");

    // Without its keyring it is not taken for an old one.
    std::fs::rename(data.join("keyring.json"), place.path("away.json")).unwrap();
    let refused = place.run(&[], &["migrate"]);
    assert!(text(&refused).contains("is missing: put it back"), "{}", text(&refused));
    assert!(!data.join("keyring.json").exists());
    std::fs::rename(place.path("away.json"), data.join("keyring.json")).unwrap();
    place.told(&[], &["migrate"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_key_is_not_changed_under_a_running_server() {
    let place = Installed::new();
    let mut child = place.serve(&[], Stdio::null(), Stdio::null()).await;
    let refused = place.run(&[], &["keys", "rekey"]);
    assert!(text(&refused).contains("stop it first"), "{}", text(&refused));
    // Whoever runs as the same user reads neither memory nor environment of the server.
    let status = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap_or_default();
    let cores = status.lines().find(|line| line.starts_with("Max core file size")).unwrap_or_default();
    assert!(cores.split_whitespace().nth(4) == Some("0"), "{cores}");
    child.kill().unwrap();
    child.wait().unwrap();
    // What was begun is finished.
    place.told(&[], &["keys", "rekey"]);
    place.told(&[], &["migrate"]);
}
