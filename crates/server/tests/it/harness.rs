//! The real server on a real socket, and people signed in to it.

use access::{Ctx, Role};
use fhir::{Resource, ResourceKey};
use record::authn::AccountSpec;
use record::{Change, ChangeSet};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use server::{Config, Running};
use std::sync::atomic::{AtomicU32, Ordering};

pub const PASSWORD: &str = "tatu-mbili-moja-ndege";

/// One server with its own database.
pub struct World {
    running: Option<Running>,
    pub client: reqwest::Client,
    next: AtomicU32,
    pub folder: tempfile::TempDir,
}

/// Somebody signed in by a session token.
#[derive(Clone)]
pub struct Signed {
    client: reqwest::Client,
    base: String,
    pub token: String,
    pub account: i64,
    /// The Patient or Practitioner this person is.
    pub person: Option<ResourceKey>,
}

pub fn set(changes: Vec<Change>) -> ChangeSet {
    ChangeSet { changes, ..ChangeSet::default() }
}

pub fn resource(value: Value) -> Resource {
    Resource::from_value(value).unwrap()
}

impl World {
    pub async fn start() -> World {
        World::start_with(|_| {}).await
    }

    /// With a clock that the test turns.
    pub async fn start_at(clock: record::Clock) -> World {
        World::launch(|_| {}, clock).await
    }

    /// Enters a host in the register of recipients.
    pub async fn receives(&self, host: &str) {
        let recipient = record::subject::NewRecipient {
            kind: store::subject::recipient::Kind::Endpoint,
            name: host.to_owned(),
            title: host.to_owned(),
            country: "KE".to_owned(),
            basis: String::new(),
            note: String::new(),
        };
        self.app().record.register_recipient(&self.ctx(), recipient).await.unwrap();
    }

    pub async fn start_with(change: impl FnOnce(&mut Config)) -> World {
        World::launch(change, std::sync::Arc::new(jiff::Timestamp::now)).await
    }

    async fn launch(change: impl FnOnce(&mut Config), clock: record::Clock) -> World {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::local(folder.path().join("data"));
        config.limits.drain_seconds = 5;
        change(&mut config);
        let running = server::start_with_clock(config, clock).await.unwrap();
        // Most tests are not about second factors: people get in with their password. Written aside, so that the trail
        // begins with what the test does.
        let rules = json!({"required_roles": []});
        let known = running.app.record.store().write(move |tx| {
            if store::setting::get(tx, "security-policy")?.is_none() {
                store::setting::put(tx, "security-policy", &rules)?;
            }
            Ok::<_, store::Error>(())
        });
        known.await.unwrap();
        let client = reqwest::Client::builder().danger_accept_invalid_certs(true).build().unwrap();
        World { running: Some(running), client, next: AtomicU32::new(0), folder }
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }
    pub fn app(&self) -> &server::AppState {
        &self.running().app
    }
    pub fn url(&self) -> &str {
        &self.running().url
    }
    pub fn ctx(&self) -> Ctx {
        Ctx::system("test", self.app().record.now())
    }
    pub async fn stop(mut self) {
        self.running.take().unwrap().shutdown().await.unwrap();
    }
    pub fn take_running(&mut self) -> Running {
        self.running.take().unwrap()
    }

    fn number(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes as the system.
    pub async fn put(&self, value: Value) -> ResourceKey {
        let resource = resource(value);
        let committed =
            self.app().record.write(&self.ctx(), set(vec![Change::Create { resource }])).await.unwrap();
        committed.written[0].key.clone()
    }

    async fn account(
        &self,
        login: &str,
        role: Role,
        person: Option<ResourceKey>,
        phone: Option<&str>,
    ) -> Signed {
        let is_patient = role == Role::Patient;
        let spec = AccountSpec {
            display: format!("Test {login}"),
            login: Some(login.to_owned()),
            phone: phone.map(str::to_owned),
            email: None,
            password: Some(PASSWORD.into()),
            roles: vec![role],
            patient: person.clone().filter(|_| is_patient),
            practitioner: person.clone().filter(|_| !is_patient),
            language: "en".into(),
        };
        let (account, _) = self.app().record.create_account(&self.ctx(), spec).await.unwrap();
        let session = self.app().record.login(login, PASSWORD, None).await.unwrap();
        Signed {
            client: self.client.clone(),
            base: self.url().to_owned(),
            token: session.token,
            account,
            person,
        }
    }

    /// Staff; clinical and desk roles get a Practitioner.
    pub async fn staff(&self, login: &str, role: Role) -> Signed {
        let person = match role {
            Role::Doctor | Role::Nurse | Role::FrontDesk | Role::Lab | Role::Pharmacist => {
                let name = json!([{"family": "Otieno", "given": [login]}]);
                Some(self.put(json!({"resourceType": "Practitioner", "active": true, "name": name})).await)
            }
            _ => None,
        };
        self.account(login, role, person, None).await
    }

    /// A patient with a record, an account and a phone.
    pub async fn patient(&self, given: &str) -> Signed {
        let number = self.number();
        let phone = format!("+2547120{number:05}");
        let key = self
            .put(json!({"resourceType": "Patient", "active": true, "gender": "female", "birthDate": "1990-02-03",
                "name": [{"family": "Wanjiru", "given": [given]}],
                "telecom": [{"system": "phone", "value": phone, "use": "mobile"}]}))
            .await;
        let login = format!("{}-{number}", given.to_lowercase());
        self.account(&login, Role::Patient, Some(key), Some(&phone)).await
    }

    /// An OAuth client with these scopes.
    pub async fn client(&self, scope: &str) -> Signed {
        let scopes: Vec<String> = scope.split(' ').map(str::to_owned).collect();
        let (id, secret) = self.app().record.create_client(&self.ctx(), "test", &scopes).await.unwrap();
        let token = self.app().record.token(&id, &secret, None, None).await.unwrap().token;
        Signed { client: self.client.clone(), base: self.url().to_owned(), token, account: 0, person: None }
    }

    /// Nobody.
    pub fn anonymous(&self) -> Signed {
        let (client, base) = (self.client.clone(), self.url().to_owned());
        Signed { client, base, token: String::new(), account: 0, person: None }
    }
}

impl Signed {
    /// The same person at another server of the same database.
    pub fn at(&self, url: &str) -> Signed {
        Signed { base: url.to_owned(), ..self.clone() }
    }

    pub fn id(&self) -> &str {
        &self.person.as_ref().unwrap().id
    }

    /// A request with the token, if there is one.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = self.client.request(method, format!("{}{path}", self.base));
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        read(self.request("GET", path).send().await.unwrap()).await
    }
    pub async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        read(self.request("POST", path).json(&body).send().await.unwrap()).await
    }
    pub async fn put(&self, path: &str, body: Value) -> (u16, Value) {
        read(self.request("PUT", path).json(&body).send().await.unwrap()).await
    }
    pub async fn patch(&self, path: &str, body: Value) -> (u16, Value) {
        read(self.request("PATCH", path).json(&body).send().await.unwrap()).await
    }
    pub async fn delete(&self, path: &str) -> (u16, Value) {
        read(self.request("DELETE", path).send().await.unwrap()).await
    }
    /// The body of a successful GET.
    pub async fn bytes(&self, path: &str) -> Vec<u8> {
        let response = self.request("GET", path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.bytes().await.unwrap().to_vec()
    }
}

/// Status and JSON body; `Null` for an empty or other body.
pub async fn read(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let bytes = response.bytes().await.unwrap();
    (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

/// One header as text.
pub fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
}
