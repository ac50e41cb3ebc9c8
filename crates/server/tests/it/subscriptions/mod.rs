//! FHIR Subscriptions over real sockets: endpoints of ours, the sandbox's mail server, WebSockets.

mod channels;
mod hooks;
mod taken;
mod topics;

use crate::harness::{Signed, World};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use futures_util::{SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use sandbox::smtp::{MailFault, Smtp};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// Long enough for a loaded machine; a passing test never waits for it.
const PATIENCE: Duration = Duration::from_secs(30);
const GUIDE: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/";
const ALL: &str = "system/*.cruds";

/// One request that reached the endpoint and was answered 200.
#[derive(Debug, Clone)]
struct Received {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: String,
}

impl Received {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
    /// The parameter of the status that comes first in a notification.
    fn parameter(&self, name: &str) -> String {
        parameter(&self.json(), name)
    }
    fn numbers(&self) -> Vec<i64> {
        numbers(&self.json())
    }
}

fn parameter(bundle: &Value, name: &str) -> String {
    let all = bundle["entry"][0]["resource"]["parameter"].as_array().unwrap();
    let found = all.iter().find(|p| p["name"] == name).unwrap_or_else(|| panic!("{name}: {bundle}"));
    let value = found.as_object().unwrap().iter().find(|(k, _)| k.starts_with("value")).unwrap().1;
    value.as_str().map_or_else(|| value["reference"].as_str().unwrap().to_owned(), str::to_owned)
}

fn numbers(bundle: &Value) -> Vec<i64> {
    let all = bundle["entry"][0]["resource"]["parameter"].as_array().unwrap();
    let events = all.iter().filter(|p| p["name"] == "notification-event");
    events.map(|e| e["part"][0]["valueString"].as_str().unwrap().parse().unwrap()).collect()
}

#[derive(Default)]
struct Inner {
    received: Mutex<Vec<Received>>,
    /// Answers to the next requests, instead of 200.
    refusals: Mutex<VecDeque<StatusCode>>,
    refused: Mutex<usize>,
    came: Notify,
}

/// An endpoint of a subscriber.
#[derive(Clone)]
struct Endpoint {
    url: String,
    inner: Arc<Inner>,
}

async fn take(
    State(inner): State<Arc<Inner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    if let Some(refusal) = inner.refusals.lock().pop_front() {
        *inner.refused.lock() += 1;
        inner.came.notify_waiters();
        return refusal;
    }
    let body = String::from_utf8(body.to_vec()).unwrap();
    inner.received.lock().push(Received { method, path: uri.path().to_owned(), headers, body });
    inner.came.notify_waiters();
    StatusCode::OK
}

impl Endpoint {
    async fn start() -> Endpoint {
        let inner = Arc::new(Inner::default());
        let app = Router::new().fallback(take).with_state(inner.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/notify", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Endpoint { url, inner }
    }

    async fn until<T>(&self, mut look: impl FnMut(&Inner) -> Option<T>) -> T {
        let wait = async {
            loop {
                let came = self.inner.came.notified();
                if let Some(found) = look(&self.inner) {
                    return found;
                }
                came.await;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(found) => found,
            Err(_) => {
                let received = self.inner.received.lock();
                let so_far: Vec<_> = received.iter().map(|r| (&r.method, &r.path, r.body.len())).collect();
                panic!("nothing more came; so far: {so_far:?}, the last: {:?}", received.last())
            }
        }
    }

    /// The first `count` requests, once they are there.
    async fn received(&self, count: usize) -> Vec<Received> {
        self.until(|inner| Some(inner.received.lock().clone()).filter(|r| r.len() >= count)).await
    }

    async fn refused(&self, count: usize) {
        self.until(|inner| (*inner.refused.lock() >= count).then_some(())).await;
    }

    fn refuse(&self, answers: &[u16]) {
        self.inner.refusals.lock().extend(answers.iter().map(|a| StatusCode::from_u16(*a).unwrap()));
    }
}

fn open(config: &mut server::Config) {
    config.subscriptions.allow_http = true;
    config.subscriptions.allow_private = true;
    config.subscriptions.retry_seconds = 0;
}

async fn world() -> World {
    World::start_with(open).await
}

fn classic(criteria: &str, channel: Value) -> Value {
    json!({"resourceType": "Subscription", "status": "requested", "reason": "test", "criteria": criteria,
        "channel": channel})
}

/// A subscription to a topic, with more of the channel laid over it.
fn topic(name: &str, filters: &[&str], content: &str, mut channel: Value) -> Value {
    channel["payload"] = json!("application/fhir+json");
    channel["_payload"] =
        json!({"extension": [{"url": format!("{GUIDE}backport-payload-content"), "valueCode": content}]});
    let mut value = classic(&format!("urn:uzima:SubscriptionTopic:{name}"), channel);
    value["meta"] = json!({"profile": [format!("{GUIDE}backport-subscription")]});
    if !filters.is_empty() {
        let all: Vec<Value> = filters
            .iter()
            .map(|f| json!({"url": format!("{GUIDE}backport-filter-criteria"), "valueString": f}))
            .collect();
        value["_criteria"] = json!({"extension": all});
    }
    value
}

async fn subscribe(who: &Signed, value: Value) -> String {
    let (status, body) = who.post("/fhir/R4/Subscription", value).await;
    assert_eq!(status, 201, "{body}");
    body["id"].as_str().unwrap().to_owned()
}

/// Waits until the Subscription has this status, by asking.
async fn becomes(who: &Signed, id: &str, wanted: &str) -> Value {
    let ask = async {
        loop {
            let (_, body) = who.get(&format!("/fhir/R4/Subscription/{id}")).await;
            if body["status"] == wanted {
                return body;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, ask).await.unwrap_or_else(|_| panic!("{id} never became {wanted}"))
}

async fn create(who: &Signed, value: Value) -> String {
    let path = format!("/fhir/R4/{}", value["resourceType"].as_str().unwrap());
    let (status, body) = who.post(&path, value).await;
    assert_eq!(status, 201, "{body}");
    body["id"].as_str().unwrap().to_owned()
}

fn observation(patient: &str, code: &str) -> Value {
    json!({"resourceType": "Observation", "status": "final", "subject": {"reference": format!("Patient/{patient}")},
        "code": {"coding": [{"system": "http://loinc.org", "code": code}]}})
}

fn encounter(patient: &str, status: &str) -> Value {
    json!({"resourceType": "Encounter", "status": status, "subject": {"reference": format!("Patient/{patient}")},
        "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "AMB"}})
}

async fn patient(who: &Signed) -> String {
    create(who, json!({"resourceType": "Patient", "name": [{"family": "Wanjiru"}]})).await
}
