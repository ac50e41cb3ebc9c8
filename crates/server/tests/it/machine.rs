//! The real program on a data folder of its own, killed and started again on the same port.

use serde_json::{Value, json};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub const READY_WAIT: Duration = Duration::from_secs(60);
/// Of everybody who signs in here.
const PASSWORD: &str = "tatu-mbili-moja-ndege";

/// One program on one data folder, killed and started again on the same port.
pub struct Machine {
    folder: tempfile::TempDir,
    url: String,
    listen: String,
    http: reqwest::Client,
    data: std::path::PathBuf,
    variables: Vec<(String, String)>,
}

impl Machine {
    pub fn new() -> Machine {
        // Only fails if there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let listen = format!("127.0.0.1:{port}");
        Machine {
            data: folder.path().join("data"),
            variables: Vec::new(),
            folder,
            url: format!("http://{listen}"),
            listen,
            http: reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap(),
        }
    }

    /// With a variable of the program.
    pub fn with(mut self, name: &str, value: &str) -> Machine {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With the sandbox at this address for M-PESA.
    pub fn with_daraja(self, base: &str) -> Machine {
        [
            ("UZIMA_DARAJA_BASE_URL", base),
            ("UZIMA_DARAJA_CONSUMER_KEY", sandbox::config::CONSUMER_KEY),
            ("UZIMA_DARAJA_CONSUMER_SECRET", sandbox::config::CONSUMER_SECRET),
            ("UZIMA_DARAJA_SHORTCODE", sandbox::config::SHORTCODE),
            ("UZIMA_DARAJA_PASSKEY", sandbox::config::PASSKEY),
        ]
        .into_iter()
        .fold(self, |machine, (name, value)| machine.with(name, value))
    }

    /// With the sandbox at this address for text messages.
    pub fn with_sms(self, base: &str) -> Machine {
        [
            ("UZIMA_AFRICASTALKING_BASE_URL", base),
            ("UZIMA_AFRICASTALKING_USERNAME", sandbox::config::SMS_USERNAME),
            ("UZIMA_AFRICASTALKING_API_KEY", sandbox::config::SMS_API_KEY),
        ]
        .into_iter()
        .fold(self, |machine, (name, value)| machine.with(name, value))
    }

    /// The same programs on another data folder.
    pub fn on(mut self, data: &str) -> Machine {
        self.data = self.folder.path().join(data);
        self
    }

    pub fn data(&self) -> std::path::PathBuf {
        self.data.clone()
    }
    pub fn folder(&self) -> std::path::PathBuf {
        self.folder.path().to_owned()
    }
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Somebody who can sign in; before the server starts.
    pub fn user(&self, login: &str, role: access::Role) {
        let role = role.code();
        let name = ["--login", login, "--display", login, "--role", role, "--password-stdin"];
        self.run(&[&["admin", "create-user"], &name[..]].concat(), PASSWORD);
        // People of tests get in with their password alone.
        self.run(&["admin", "require-second-factor", "none"], "");
    }

    /// The session's token of somebody who was made by [Machine::user].
    pub async fn sign_in(&self, login: &str) -> String {
        let body = json!({"login": login, "password": PASSWORD});
        let (_, session) = self.send("POST", "/api/v1/auth/login?token=true", "", &body).await.unwrap();
        session["token"].as_str().unwrap_or_else(|| panic!("{session}")).to_owned()
    }

    /// The path of something of another server of this one, without its address.
    pub fn path<'a>(&self, url: &'a str) -> &'a str {
        url.strip_prefix(&self.url).unwrap_or(url)
    }

    /// An OAuth client that may do everything; before the server starts.
    pub async fn client(&self) -> Value {
        let printed =
            self.run(&["admin", "create-client", "--name", "kill", "--scope", "system/*.cruds"], "");
        serde_json::from_str(&printed).unwrap()
    }

    pub async fn token(&self, client: &Value) -> String {
        let field = |name: &str| client[name].as_str().unwrap().to_owned();
        let form = format!(
            "grant_type=client_credentials&client_id={}&client_secret={}&scope=system%2F*.cruds",
            field("client_id"),
            field("client_secret")
        );
        let request = self.http.post(format!("{}/oauth/token", self.url));
        let request = request.header("Content-Type", "application/x-www-form-urlencoded").body(form);
        let token: Value =
            serde_json::from_str(&request.send().await.unwrap().text().await.unwrap()).unwrap();
        token["access_token"].as_str().unwrap().to_owned()
    }

    /// One of the program's gauges.
    pub async fn gauge(&self, name: &str) -> Option<i64> {
        let text = self.http.get(format!("{}/metrics", self.url)).send().await.ok()?.text().await.ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    fn uzima(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_uzima"));
        command
            .current_dir(self.folder.path())
            .env("UZIMA_DATA", &self.data)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .env("UZIMA_LISTEN", &self.listen)
            .env("UZIMA_LOG_FILTER", "error")
            // It asks for everything at once.
            .env("UZIMA_LIMITS_USER_PER_SECOND", "0")
            .env("UZIMA_LIMITS_CLIENT_PER_SECOND", "0")
            .env("UZIMA_LIMITS_ADDRESS_PER_SECOND", "0")
            .stdin(Stdio::null());
        command
    }

    /// Standard output of a command that must succeed.
    pub fn run(&self, arguments: &[&str], input: &str) -> String {
        use std::io::Write;
        let mut child =
            self.uzima().args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command that may fail printed.
    pub fn output(&self, arguments: &[&str]) -> std::process::Output {
        self.uzima().args(arguments).output().unwrap()
    }

    #[expect(clippy::zombie_processes, reason = "a server that does not start ends the test")]
    pub async fn start(&self) -> Child {
        let child = self.uzima().arg("serve").stdout(Stdio::null()).spawn().unwrap();
        let until = tokio::time::Instant::now() + READY_WAIT;
        loop {
            let answer = self.http.get(format!("{}/readyz", self.url)).send().await;
            if answer.is_ok_and(|a| a.status() == 200) {
                return child;
            }
            assert!(tokio::time::Instant::now() < until, "the server does not come back");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(&self, child: &mut Child) {
        let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
        assert!(asked.unwrap().success());
        assert!(child.wait().unwrap().success(), "it does not stop well");
    }

    /// The status of a GET under this id, as soon as the answer begins; `None` if none came.
    pub async fn status(&self, path: &str, token: &str, request_id: &str) -> Option<u16> {
        let request = self.http.get(format!("{}{path}", self.url)).bearer_auth(token);
        let answer = request.header("X-Request-Id", request_id).send().await.ok()?;
        Some(answer.status().as_u16())
    }

    /// The body of a successful GET.
    pub async fn text(&self, path: &str, token: &str) -> String {
        let answer = self.http.get(format!("{}{path}", self.url)).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    }

    /// Resident memory of a program, bytes.
    pub fn resident(child: &Child) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", child.id())).unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }

    pub async fn send(&self, method: &str, path: &str, token: &str, body: &Value) -> Option<(u16, Value)> {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.http.request(method, format!("{}{path}", self.url)).bearer_auth(token);
        if !body.is_null() {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.ok()?;
        let status = answer.status().as_u16();
        // A connection that breaks inside the body is no acknowledgement.
        let text = answer.text().await.ok()?;
        Some((status, serde_json::from_str(&text).unwrap_or(Value::Null)))
    }
}

/// A number that a test is told by its variable, such as how often it does something.
pub fn number(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|number| number.parse().ok()).unwrap_or(otherwise)
}

/// Where chance begins: `UZIMA_TEST_SEED`, else another each time.
pub fn seed() -> u64 {
    // The generator stands still at zero.
    number("UZIMA_TEST_SEED", std::process::id() as usize) as u64 | 1 << 40
}

/// A small generator, so that a failing run can be repeated from its printed seed.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}
