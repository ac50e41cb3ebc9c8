//! A sandbox on a free port, a clinic that receives its callbacks, and a client.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, Uri};
use jiff::Timestamp;
use sandbox::{Config, Handle, Settings};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use wire::daraja::{
    ApiError, StkAccepted, StkCallback, StkPush, StkQuery, StkQueryReply, parse_push, parse_query,
};
use wire::msisdn::Msisdn;

pub const PAYER: &str = "254708374149";
/// Far longer than anything here takes: only a broken sandbox makes a test wait so long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The clinic's end of the callbacks.
pub struct Hooks {
    address: SocketAddr,
    received: mpsc::UnboundedReceiver<(String, Vec<u8>)>,
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
}

#[derive(Clone)]
struct HookState {
    sender: mpsc::UnboundedSender<(String, Vec<u8>)>,
    answers: Arc<Mutex<VecDeque<(u16, Value)>>>,
}

async fn receive(State(state): State<HookState>, uri: Uri, body: Bytes) -> (StatusCode, axum::Json<Value>) {
    let (status, answer) =
        state.answers.lock().unwrap().pop_front().unwrap_or((200, wire::daraja::confirmation_reply()));
    state.sender.send((uri.path().to_owned(), body.to_vec())).unwrap();
    (StatusCode::from_u16(status).unwrap(), axum::Json(answer))
}

impl Hooks {
    async fn start() -> Hooks {
        let (sender, received) = mpsc::unbounded_channel();
        let answers = Arc::new(Mutex::new(VecDeque::new()));
        let state = HookState { sender, answers: answers.clone() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(receive).with_state(state);
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Hooks { address, received, answers }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The next post that gets no special answer gets this one.
    pub fn answer_next(&self, status: u16, body: Value) {
        self.answers.lock().unwrap().push_back((status, body));
    }

    pub async fn next(&mut self) -> (String, Vec<u8>) {
        tokio::time::timeout(PATIENCE, self.received.recv()).await.expect("a callback").unwrap()
    }

    pub fn is_empty(&self) -> bool {
        self.received.is_empty()
    }

    pub async fn stk(&mut self) -> StkCallback {
        let (_, body) = self.next().await;
        StkCallback::parse(&body).unwrap()
    }
}

pub struct World {
    pub handle: Handle,
    pub hooks: Hooks,
    pub client: reqwest::Client,
    pub token: String,
}

/// Callbacks without pause, prompts that stay.
pub fn config() -> Config {
    Config { settings: Settings { processing_ms: 0, ..Settings::default() }, ..Config::default() }
}

impl World {
    pub async fn start() -> World {
        World::with(config()).await
    }

    pub async fn with(config: Config) -> World {
        let hooks = Hooks::start().await;
        let handle = sandbox::serve(config).await.unwrap();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut world = World { handle, hooks, client, token: String::new() };
        world.sign_in().await;
        world
    }

    pub async fn sign_in(&mut self) {
        let (status, body) = self.oauth(sandbox::config::CONSUMER_SECRET).await;
        self.token = wire::daraja::parse_token(status, &body).unwrap().token;
    }

    pub async fn oauth(&self, secret: &str) -> (u16, Vec<u8>) {
        let response = self
            .client
            .get(self.url("/oauth/v1/generate?grant_type=client_credentials"))
            .header("authorization", wire::daraja::basic_authorization(sandbox::config::CONSUMER_KEY, secret))
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.handle.base_url())
    }

    pub fn sandbox(&self) -> &sandbox::Sandbox {
        self.handle.sandbox()
    }

    /// A call to Daraja with the bearer token.
    pub async fn daraja(&self, path: &str, body: &Value) -> (u16, Vec<u8>) {
        let response =
            self.client.post(self.url(path)).bearer_auth(&self.token).json(body).send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
    }

    pub fn push_request(&self, msisdn: &str, amount_minor: i64) -> StkPush {
        StkPush::pay_bill(
            sandbox::config::SHORTCODE,
            sandbox::config::PASSKEY,
            Timestamp::now(),
            Msisdn::parse(msisdn).unwrap(),
            amount_minor,
            &self.hooks.url("/hooks/pay/0123456789abcdef"),
            "INV-0001",
            "Video visit",
        )
        .unwrap()
    }

    pub async fn push_to(&self, msisdn: &str, amount_minor: i64) -> Result<StkAccepted, ApiError> {
        let request = self.push_request(msisdn, amount_minor).to_json();
        let (status, body) = self.daraja(wire::daraja::STK_PUSH_PATH, &request).await;
        parse_push(status, &body)
    }

    pub async fn push(&self, amount_minor: i64) -> Result<StkAccepted, ApiError> {
        self.push_to(PAYER, amount_minor).await
    }

    pub async fn query(&self, checkout_request_id: &str) -> Result<StkQueryReply, ApiError> {
        let (status, body) = self.query_raw(checkout_request_id).await;
        parse_query(status, &body)
    }

    pub async fn query_raw(&self, checkout_request_id: &str) -> (u16, Vec<u8>) {
        let request = StkQuery::new(
            sandbox::config::SHORTCODE,
            sandbox::config::PASSKEY,
            Timestamp::now(),
            checkout_request_id,
        );
        self.daraja(wire::daraja::STK_QUERY_PATH, &request.to_json()).await
    }

    /// A call of the control API; an empty answer is null.
    pub async fn control(&self, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self.client.request(method, self.url(path));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap();
        (status, if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() })
    }

    pub async fn pay(&self, msisdn: &str) -> Value {
        let (status, ended) = self
            .control("POST", &format!("/control/handsets/{msisdn}/prompt"), Some(json!({"pin": "1234"})))
            .await;
        assert_eq!(status, 200, "{ended}");
        ended
    }

    pub async fn send_sms(&self, form: &str, key: &str) -> (u16, Vec<u8>) {
        let response = self
            .client
            .post(self.url(wire::africastalking::MESSAGING_PATH))
            .header("apiKey", key)
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned())
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
    }

    pub async fn sms(&self, to: &[&str], text: &str) -> (u16, Vec<u8>) {
        let message = wire::africastalking::Message {
            username: sandbox::config::SMS_USERNAME.to_owned(),
            to: to.iter().map(|&number| number.to_owned()).collect(),
            text: text.to_owned(),
            from: Some("UZIMA".to_owned()),
        };
        self.send_sms(&message.to_form(), sandbox::config::SMS_API_KEY).await
    }
}
