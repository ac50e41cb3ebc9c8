//! FHIR Subscriptions over real sockets: endpoints of ours, the sandbox's mail server, WebSockets.

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

#[tokio::test(flavor = "multi_thread")]
async fn r4_rest_hooks_ping_or_bring_the_resource() {
    let world = world().await;
    let (client, endpoint, base) =
        (world.client(ALL).await, Endpoint::start().await, Endpoint::start().await);
    let ping = json!({"type": "rest-hook", "endpoint": endpoint.url, "header": ["X-Key: abc"]});
    let full = json!({"type": "rest-hook", "endpoint": base.url, "payload": "application/fhir+xml"});
    let first = subscribe(&client, classic("Observation?code=http://loinc.org|718-7", ping)).await;
    let second = subscribe(&client, classic("Observation?code=718-7", full)).await;
    becomes(&client, &first, "active").await;
    becomes(&client, &second, "active").await;
    let patient = patient(&client).await;
    create(&client, observation(&patient, "8480-6")).await;
    let id = create(&client, observation(&patient, "718-7")).await;
    let got = endpoint.received(1).await;
    assert_eq!((got[0].method.as_str(), got[0].path.as_str(), got[0].body.as_str()), ("POST", "/notify", ""));
    assert_eq!(got[0].headers["x-key"], "abc");
    let got = base.received(1).await;
    assert_eq!(
        (got[0].method.as_str(), got[0].path.as_str()),
        ("PUT", format!("/notify/Observation/{id}").as_str())
    );
    assert_eq!(got[0].headers["content-type"], "application/fhir+xml");
    let read = fhir::xml::parse(got[0].body.as_bytes()).unwrap();
    assert_eq!(read.id(), Some(id.as_str()));
    // An update that no longer meets the criteria is no event; one that does is.
    let mut changed = observation(&patient, "8480-6");
    changed["id"] = json!(id);
    client.put(&format!("/fhir/R4/Observation/{id}"), changed).await;
    let mut changed = observation(&patient, "718-7");
    changed["id"] = json!(id);
    changed["status"] = json!("amended");
    client.put(&format!("/fhir/R4/Observation/{id}"), changed).await;
    let got = base.received(2).await;
    assert!(got[1].body.contains("amended"));
    let (_, status) = client.get(&format!("/fhir/R4/Subscription/{second}/$status")).await;
    assert_eq!(parameter(&status, "events-since-subscription-start"), "2");
    assert_eq!(parameter(&status, "type"), "query-status");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_shakes_hands_numbers_its_events_and_tells_them_again() {
    let world = world().await;
    let (client, endpoint) = (world.client(ALL).await, Endpoint::start().await);
    let mine = patient(&client).await;
    let other = patient(&client).await;
    let channel = json!({"type": "rest-hook", "endpoint": endpoint.url});
    let filter = format!("Encounter?patient=Patient/{mine}");
    let id = subscribe(&client, topic("encounter-start", &[&filter], "full-resource", channel)).await;
    let got = endpoint.received(1).await;
    assert_eq!(got[0].headers["content-type"], "application/fhir+json");
    assert_eq!(got[0].parameter("type"), "handshake");
    assert_eq!(got[0].parameter("status"), "requested");
    assert_eq!(got[0].parameter("topic"), "urn:uzima:SubscriptionTopic:encounter-start");
    becomes(&client, &id, "active").await;
    let planned = create(&client, encounter(&mine, "planned")).await;
    create(&client, encounter(&other, "in-progress")).await;
    let mut started = encounter(&mine, "in-progress");
    started["id"] = json!(planned);
    client.put(&format!("/fhir/R4/Encounter/{planned}"), started.clone()).await;
    let got = endpoint.received(2).await;
    assert_eq!(got[1].parameter("type"), "event-notification");
    assert_eq!(got[1].parameter("status"), "active");
    assert_eq!(got[1].parameter("events-since-subscription-start"), "1");
    assert_eq!(got[1].numbers(), [1]);
    let bundle = got[1].json();
    assert_eq!(bundle["entry"][1]["resource"]["id"], json!(planned));
    assert_eq!(bundle["entry"][1]["request"]["method"], "PUT");
    let resource = fhir::Resource::from_value(bundle).unwrap();
    assert_eq!(fhir::validate::validate(&resource), []);
    // Still in progress: no second beginning. Another visit: the second event.
    started["language"] = json!("sw");
    client.put(&format!("/fhir/R4/Encounter/{planned}"), started).await;
    create(&client, encounter(&mine, "in-progress")).await;
    let got = endpoint.received(3).await;
    assert_eq!(got[2].numbers(), [2]);
    for (query, expected) in [
        ("", vec![1, 2]),
        ("?eventsSinceNumber=2", vec![2]),
        ("?eventsSinceNumber=1&eventsUntilNumber=1", vec![1]),
        ("?eventsSinceNumber=3", vec![]),
    ] {
        let (status, bundle) = client.get(&format!("/fhir/R4/Subscription/{id}/$events{query}")).await;
        assert_eq!((status, numbers(&bundle)), (200, expected), "{query}");
        assert_eq!(parameter(&bundle, "type"), "query-event");
    }
    let (_, bundle) = client.get(&format!("/fhir/R4/Subscription/{id}/$events?content=id-only")).await;
    assert!(bundle["entry"][1].get("resource").is_none() && bundle["entry"][1].get("fullUrl").is_some());
    let (status, _) = client.get(&format!("/fhir/R4/Subscription/{id}/$events?content=everything")).await;
    assert_eq!(status, 400);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_tried_again_in_order_and_at_last_make_an_error() {
    let world = World::start_with(|config| {
        open(config);
        config.subscriptions.max_failures = 4;
    })
    .await;
    let (client, endpoint) = (world.client(ALL).await, Endpoint::start().await);
    let mine = patient(&client).await;
    let mut channel = json!({"type": "rest-hook", "endpoint": endpoint.url});
    channel["extension"] = json!([{"url": format!("{GUIDE}backport-max-count"), "valuePositiveInt": 2}]);
    // A handshake that fails once.
    endpoint.refuse(&[503]);
    let value = topic("patient-data", &[], "id-only", channel);
    let id = subscribe(&client, value.clone()).await;
    becomes(&client, &id, "active").await;
    // Deliveries that fail three times, one of them by a redirect: nothing is lost or overtaken.
    endpoint.refuse(&[500, 307, 404]);
    for _ in 0..5 {
        create(&client, observation(&mine, "718-7")).await;
    }
    let all = endpoint
        .until(|inner| {
            let got = inner.received.lock();
            let numbers: Vec<i64> = got.iter().flat_map(Received::numbers).collect();
            (numbers.len() >= 5).then_some((numbers, got.clone()))
        })
        .await;
    assert_eq!(all.0, [1, 2, 3, 4, 5]);
    assert!(all.1.iter().all(|r| r.numbers().len() <= 2));
    assert!(
        all.1.iter().all(|r| r.json()["entry"]
            .as_array()
            .unwrap()
            .iter()
            .skip(1)
            .all(|e| e.get("resource").is_none()))
    );
    // It fails for good: error; events go on being counted, and all come once the client sets it up again.
    endpoint.refuse(&[500; 4]);
    create(&client, observation(&mine, "718-7")).await;
    let broken = becomes(&client, &id, "error").await;
    assert!(broken["error"].as_str().unwrap().contains("requested"));
    create(&client, observation(&mine, "718-7")).await;
    let mut again = broken.clone();
    again["status"] = json!("requested");
    let (status, body) = client.put(&format!("/fhir/R4/Subscription/{id}"), again).await;
    assert_eq!((status, body.get("error")), (200, None));
    let numbers = endpoint
        .until(|inner| {
            let numbers: Vec<i64> = inner.received.lock().iter().flat_map(Received::numbers).collect();
            (numbers.len() >= 7).then_some(numbers)
        })
        .await;
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
    // Off is off.
    let (_, mut off) = client.get(&format!("/fhir/R4/Subscription/{id}")).await;
    off["status"] = json!("off");
    let (status, _) = client.put(&format!("/fhir/R4/Subscription/{id}"), off).await;
    assert_eq!(status, 200);
    let count = endpoint.inner.received.lock().len();
    create(&client, observation(&mine, "718-7")).await;
    let (_, bundle) = client.get(&format!("/fhir/R4/Subscription/{id}/$status")).await;
    assert_eq!(parameter(&bundle, "status"), "off");
    assert_eq!(endpoint.inner.received.lock().len(), count);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_loses_and_repeats_no_number() {
    let mut world = World::start_with(|config| {
        open(config);
        config.subscriptions.max_failures = u32::MAX;
    })
    .await;
    let (client, endpoint) = (world.client(ALL).await, Endpoint::start().await);
    let mine = patient(&client).await;
    let channel = json!({"type": "rest-hook", "endpoint": endpoint.url});
    let id = subscribe(&client, topic("patient-data", &[], "empty", channel)).await;
    becomes(&client, &id, "active").await;
    for _ in 0..3 {
        create(&client, observation(&mine, "718-7")).await;
    }
    endpoint.until(|inner| inner.received.lock().iter().any(|r| !r.numbers().is_empty()).then_some(())).await;
    // Nothing gets through, and in the middle of the tries the server stops.
    endpoint.refuse(&[503; 10_000]);
    for _ in 0..10 {
        create(&client, observation(&mine, "718-7")).await;
    }
    endpoint.refused(1).await;
    let config = world.app().config.clone();
    world.take_running().shutdown().await.unwrap();
    endpoint.inner.refusals.lock().clear();
    let running = server::start(config).await.unwrap();
    let client = client.at(&running.url);
    create(&client, observation(&mine, "718-7")).await;
    let numbers = endpoint
        .until(|inner| {
            let mut numbers: Vec<i64> = inner.received.lock().iter().flat_map(Received::numbers).collect();
            // The stop may have cut off a delivery that the endpoint took: the same number may come twice.
            numbers.dedup();
            (numbers.last() == Some(&14)).then_some(numbers)
        })
        .await;
    assert_eq!(numbers, (1..=14).collect::<Vec<_>>());
    running.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_what_the_owner_may_not_read() {
    let world = world().await;
    let (all, endpoint, other) = (world.client(ALL).await, Endpoint::start().await, Endpoint::start().await);
    let narrow = world.client("system/Subscription.cruds system/Observation.rs system/Patient.rs").await;
    let channel = json!({"type": "rest-hook", "endpoint": endpoint.url});
    let id = subscribe(&narrow, topic("patient-data", &[], "full-resource", channel)).await;
    becomes(&narrow, &id, "active").await;
    let mine = patient(&all).await;
    create(&all, encounter(&mine, "planned")).await;
    let seen = create(&all, observation(&mine, "718-7")).await;
    let got = endpoint.received(2).await;
    // The encounter was no event for this owner.
    assert_eq!(got[1].numbers(), [1]);
    assert_eq!(got[1].json()["entry"][1]["resource"]["id"], json!(seen));
    // Who writes it last owns it: an endpoint put in by somebody else gets what that one may see.
    let (_, mut body) = all.get(&format!("/fhir/R4/Subscription/{id}")).await;
    body["status"] = json!("requested");
    body["channel"]["endpoint"] = json!(other.url);
    let (status, text) = all.put(&format!("/fhir/R4/Subscription/{id}"), body).await;
    assert_eq!(status, 200, "{text}");
    becomes(&all, &id, "active").await;
    create(&all, encounter(&mine, "planned")).await;
    let got = other.received(2).await;
    assert_eq!(got[1].numbers(), [2]);
    // Patients and clinicians have no subscriptions at all.
    let doctor = world.staff("otieno", access::Role::Doctor).await;
    let channel = json!({"type": "rest-hook", "endpoint": endpoint.url});
    let (status, _) = doctor.post("/fhir/R4/Subscription", classic("Observation", channel)).await;
    assert_eq!(status, 403);
    let (status, _) = doctor.get(&format!("/fhir/R4/Subscription/{id}/$events")).await;
    assert_eq!(status, 403);
    // Data that left is in the audit, with the patient.
    let page = world
        .app()
        .record
        .audit_list(
            &world.ctx(),
            record::audit::AuditFilter { patient: Some(mine.clone()), ..Default::default() },
            None,
            100,
        )
        .await
        .unwrap();
    assert!(page.rows.iter().any(|r| r.action == "notify" && r.what == format!("Subscription/{id}")));
    world.stop().await;
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn socket(world: &World, token: Option<&str>) -> Socket {
    let url = format!("{}/ws/subscriptions", world.url().replacen("http", "ws", 1));
    let mut request = url.into_client_request().unwrap();
    if let Some(token) = token {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    connect_async(request).await.unwrap().0
}

async fn text(socket: &mut Socket) -> String {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("a message").unwrap().unwrap() {
            Message::Text(text) => return text.to_string(),
            Message::Close(frame) => panic!("closed: {frame:?}"),
            _ => {}
        }
    }
}

async fn closed(socket: &mut Socket) -> u16 {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("an end") {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
            Some(Ok(Message::Close(None)) | Err(_)) | None => return 0,
            Some(Ok(_)) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn websockets_are_bound_by_token_or_by_id() {
    let world = world().await;
    let client = world.client(ALL).await;
    let stranger = world.client(ALL).await;
    let mine = patient(&client).await;
    let id = subscribe(&client, topic("patient-data", &[], "id-only", json!({"type": "websocket"}))).await;
    let plain = subscribe(&client, classic("Observation", json!({"type": "websocket"}))).await;
    becomes(&client, &id, "active").await;
    becomes(&client, &plain, "active").await;
    let (status, body) = client.get(&format!("/fhir/R4/Subscription/{id}/$get-ws-binding-token")).await;
    assert_eq!(status, 200, "{body}");
    let value = |name: &str, kind: &str| {
        let all = body["parameter"].as_array().unwrap();
        all.iter().find(|p| p["name"] == name).unwrap()[kind].as_str().unwrap().to_owned()
    };
    assert_eq!(value("subscription", "valueString"), id);
    assert!(value("websocket-url", "valueUrl").ends_with("/ws/subscriptions"));
    let mut bound = socket(&world, None).await;
    let token = value("token", "valueString");
    bound.send(Message::Text(format!("bind-with-token: {token}").into())).await.unwrap();
    let hello: Value = serde_json::from_str(&text(&mut bound).await).unwrap();
    assert_eq!(
        (parameter(&hello, "type"), parameter(&hello, "status")),
        ("handshake".into(), "active".into())
    );
    let mut simple = socket(&world, Some(&client.token)).await;
    simple.send(Message::Text(format!("bind {plain}").into())).await.unwrap();
    assert_eq!(text(&mut simple).await, format!("bound {plain}"));
    create(&client, observation(&mine, "718-7")).await;
    let news: Value = serde_json::from_str(&text(&mut bound).await).unwrap();
    assert_eq!((parameter(&news, "type"), numbers(&news)), ("event-notification".into(), vec![1]));
    assert_eq!(text(&mut simple).await, format!("ping {plain}"));
    // Only the owner gets a token or binds; only real tokens bind.
    let (status, _) = stranger.get(&format!("/fhir/R4/Subscription/{id}/$get-ws-binding-token")).await;
    assert_eq!(status, 403);
    for (who, message) in [
        (Some(&stranger.token), format!("bind {plain}")),
        (None, format!("bind {plain}")),
        (None, "bind-with-token: nonsense".to_owned()),
    ] {
        let mut other = socket(&world, who.map(String::as_str)).await;
        other.send(Message::Text(message.into())).await.unwrap();
        assert_eq!(closed(&mut other).await, 4401);
    }
    let mut other = socket(&world, None).await;
    other.send(Message::Text("hello".into())).await.unwrap();
    assert_eq!(closed(&mut other).await, 1008);
    // A subscription that ends takes its sockets with it.
    client.delete(&format!("/fhir/R4/Subscription/{id}")).await;
    assert_eq!(closed(&mut bound).await, 4401);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_goes_by_the_configured_server_and_carries_no_patient_data() {
    let smtp = Smtp::listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let url = format!("smtp://{}", smtp.address);
    let world = World::start_with(|config| {
        open(config);
        config.mail.url = Some(server::config::Secret::new(url));
        config.mail.from = "Uzima <clinic@example.org>".into();
    })
    .await;
    let client = world.client(ALL).await;
    world.receives("example.org").await;
    let mine = patient(&client).await;
    let to = |endpoint: &str| json!({"type": "email", "endpoint": endpoint});
    let (status, body) = client
        .post(
            "/fhir/R4/Subscription",
            topic("patient-data", &[], "full-resource", to("mailto:a@example.org")),
        )
        .await;
    assert_eq!(status, 422, "{body}");
    let id = subscribe(
        &client,
        topic("patient-data", &["Observation?patient=Patient/x"], "empty", to("mailto:b@example.org")),
    )
    .await;
    becomes(&client, &id, "active").await;
    let id = subscribe(&client, topic("patient-data", &[], "id-only", to("mailto:a@example.org"))).await;
    becomes(&client, &id, "active").await;
    smtp.fault(MailFault::Refuse("451 4.3.0 Try again later".into()));
    smtp.fault(MailFault::Drop);
    create(&client, observation(&mine, "718-7")).await;
    let mails = tokio::time::timeout(PATIENCE, smtp.wait_for(1)).await.unwrap();
    assert_eq!(
        (mails[0].from.as_str(), mails[0].to.as_slice()),
        ("clinic@example.org", ["a@example.org".to_owned()].as_slice())
    );
    assert!(mails[0].text.contains("notification.json") && mails[0].text.contains("Event 1 has happened."));
    assert!(!mails[0].text.contains("Wanjiru"));
    world.stop().await;
}

/// Each class of mistake has its own place and text.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_set_up_is_said_at_once() {
    let world = World::start().await;
    let client = world.client(ALL).await;
    world.receives("example.org").await;
    let hook = |endpoint: &str| json!({"type": "rest-hook", "endpoint": endpoint});
    let good = "https://example.org/notify";
    for (value, place, part) in [
        (classic("", hook(good)), "criteria", ""),
        (classic("Observaton?code=1", hook(good)), "Subscription.criteria", "R4 resource type"),
        (classic("Observation?colour=1", hook(good)), "Subscription.criteria", "colour"),
        (classic("Observation?code=", hook(good)), "Subscription.criteria", "no value"),
        (classic("Observation?_count=1", hook(good)), "Subscription.criteria", "_count"),
        (classic("Observation", hook("http://example.org/x")), "Subscription.channel.endpoint", "https"),
        (classic("Observation", hook("ftp://example.org/x")), "Subscription.channel.endpoint", "https"),
        (classic("Observation", hook("https://127.0.0.1/x")), "Subscription.channel.endpoint", "private"),
        (classic("Observation", hook("https://[::1]/x")), "Subscription.channel.endpoint", "private"),
        (
            classic("Observation", hook("https://[::ffff:10.0.0.1]/x")),
            "Subscription.channel.endpoint",
            "private",
        ),
        (
            classic("Observation", hook("https://192.168.1.1:8443/x")),
            "Subscription.channel.endpoint",
            "private",
        ),
        (
            classic("Observation", hook("https://169.254.169.254/x")),
            "Subscription.channel.endpoint",
            "private",
        ),
        (classic("Observation", hook("https://2130706433/x")), "Subscription.channel.endpoint", "host"),
        (classic("Observation", hook("https://localhost/x")), "Subscription.channel.endpoint", "private"),
        (
            classic("Observation", hook("https://u:p@example.org/x")),
            "Subscription.channel.endpoint",
            "header",
        ),
        (
            classic("Observation", json!({"type": "sms", "endpoint": "tel:1"})),
            "Subscription.channel.type",
            "not served",
        ),
        (
            classic("Observation", json!({"type": "email", "endpoint": "mailto:a@example.org"})),
            "Subscription.channel.type",
            "no e-mail",
        ),
        (
            classic("Observation", json!({"type": "rest-hook", "endpoint": good, "payload": "text/csv"})),
            "Subscription.channel.payload",
            "fhir+json",
        ),
        (
            classic("Observation", json!({"type": "rest-hook", "endpoint": good, "header": ["Host: x"]})),
            "Subscription.channel.header",
            "set by the server",
        ),
        (
            classic("Observation", json!({"type": "rest-hook", "endpoint": good, "header": ["nonsense"]})),
            "Subscription.channel.header",
            "Name: value",
        ),
        (topic("no-such", &[], "empty", hook(good)), "Subscription.criteria", "no such topic"),
        (
            topic("encounter-start", &["Patient?name=x"], "empty", hook(good)),
            "Subscription.criteria",
            "type of the topic",
        ),
        (
            topic("encounter-start", &["Encounter?length=1"], "empty", hook(good)),
            "Subscription.criteria",
            "not filtered",
        ),
        (topic("encounter-start", &[], "some", hook(good)), "Subscription.channel.payload", "id-only"),
    ] {
        let (status, body) = client.post("/fhir/R4/Subscription", value.clone()).await;
        assert_eq!(status, 422, "{value}: {body}");
        let issues = body["issue"].as_array().unwrap();
        let found = issues.iter().any(|i| {
            i["expression"][0].as_str().unwrap_or_default().contains(place)
                && i["diagnostics"].as_str().unwrap_or_default().contains(part)
        });
        assert!(found, "{value}: {body}");
    }
    // Only the server says that it is active.
    let mut value = classic("Observation", hook(good));
    value["status"] = json!("active");
    let (status, body) = client.post("/fhir/R4/Subscription", value).await;
    assert_eq!((status, &body["status"]), (201, &json!("requested")));
    world.stop().await;
}

/// Built-in topics are valid as stored ones, and mean the same when read back.
#[test]
fn topics_survive_the_way_through_a_basic() {
    for topic in record::subscription::topic::built_in() {
        let basic = fhir::Resource::from_value(topic.to_basic()).unwrap();
        assert_eq!(fhir::validate::validate(&basic), [], "{}", topic.url);
        let back = record::subscription::Topic::of_basic(&basic).unwrap();
        assert_eq!(format!("{:?}", topic.filters), format!("{:?}", back.filters));
        assert_eq!(topic.triggers.len(), back.triggers.len());
        for (kind, names) in &topic.filters {
            for name in names {
                assert!(fhir::definitions::param(*kind, name).is_some(), "{} {name}", kind.name());
            }
        }
    }
}

#[test]
fn a_condition_sees_before_and_after() {
    let topics = record::subscription::topic::built_in();
    let of = |name: &str| {
        let topic = topics.iter().find(|t| t.url.ends_with(name)).unwrap();
        topic.triggers[0].condition.clone().unwrap()
    };
    let now = jiff::Timestamp::UNIX_EPOCH;
    let with = |kind: &str, status: &str| json!({"resourceType": kind, "status": status});
    for (name, kind, before, after, expected) in [
        (":encounter-start", "Encounter", None, "in-progress", true),
        (":encounter-start", "Encounter", Some("planned"), "in-progress", true),
        (":encounter-start", "Encounter", Some("in-progress"), "in-progress", false),
        (":encounter-start", "Encounter", Some("in-progress"), "finished", false),
        (":encounter-end", "Encounter", Some("in-progress"), "finished", true),
        (":result-final", "DiagnosticReport", None, "final", true),
        (":result-final", "DiagnosticReport", Some("preliminary"), "final", true),
        (":result-final", "DiagnosticReport", Some("final"), "final", false),
        (":result-final", "DiagnosticReport", Some("final"), "amended", true),
        (":result-final", "DiagnosticReport", None, "preliminary", false),
        (":prescription-new", "MedicationRequest", Some("draft"), "active", true),
    ] {
        let before = before.map(|b| with(kind, b));
        let holds = of(name).holds(&with(kind, after), before.as_ref(), now);
        assert_eq!(holds, expected, "{name} {before:?} {after}");
    }
}

/// A topic of the clinic's own, as a Basic.
#[tokio::test(flavor = "multi_thread")]
async fn stored_topics_can_be_subscribed_to() {
    let world = world().await;
    let (client, endpoint) = (world.client(ALL).await, Endpoint::start().await);
    let part = |name: &str, kind: &str, value: &str| json!({"url": name, (format!("value{kind}")): value});
    let element = "http://hl7.org/fhir/5.0/StructureDefinition/extension-SubscriptionTopic.";
    let trigger = json!({"url": format!("{element}resourceTrigger"), "extension": [
        part("resource", "Uri", "http://hl7.org/fhir/StructureDefinition/Observation"),
        part("supportedInteraction", "Code", "create"),
        {"url": "queryCriteria", "extension": [part("current", "String", "code=http://loinc.org|718-7")]},
    ]});
    create(
        &client,
        json!({"resourceType": "Basic", "code": {"coding": [{"system": "http://hl7.org/fhir/fhir-types", "code": "SubscriptionTopic"}]},
            "extension": [{"url": format!("{element}url"), "valueUri": "http://clinic.example/haemoglobin"}, trigger]}),
    )
    .await;
    let mut value = topic("x", &[], "id-only", json!({"type": "rest-hook", "endpoint": endpoint.url}));
    value["criteria"] = json!("http://clinic.example/haemoglobin");
    let id = subscribe(&client, value).await;
    becomes(&client, &id, "active").await;
    let mine = patient(&client).await;
    create(&client, observation(&mine, "8480-6")).await;
    let seen = create(&client, observation(&mine, "718-7")).await;
    let got = endpoint.received(2).await;
    assert!(got[1].body.contains(&seen));
    assert_eq!(got[1].parameter("topic"), "http://clinic.example/haemoglobin");
    let (_, statement) = client.get("/fhir/R4/metadata").await;
    let resources = statement["rest"][0]["resource"].as_array().unwrap();
    let resource = resources.iter().find(|r| r["type"] == "Subscription").unwrap();
    assert_eq!(
        resource["extension"].as_array().unwrap().len(),
        record::subscription::topic::built_in().len()
    );
    world.stop().await;
}

/// Two servers on one PostgreSQL database: one of them counts, one of them delivers, nothing twice.
#[tokio::test(flavor = "multi_thread")]
async fn two_servers_deliver_once() {
    let Some(database) = crate::postgres::Database::make() else {
        eprintln!("SKIPPED: UZIMA_TEST_POSTGRES_URL is not set");
        return;
    };
    let (first, second) = (database.serve_with(open).await, database.serve_with(open).await);
    let (client, endpoint) = (first.client(ALL).await, Endpoint::start().await);
    let channel = json!({"type": "rest-hook", "endpoint": endpoint.url});
    let id = subscribe(&client, topic("patient-data", &[], "id-only", channel)).await;
    becomes(&client, &id, "active").await;
    let mine = patient(&client).await;
    for n in 0..20 {
        let server = if n % 2 == 0 { first.url() } else { second.url() };
        create(&client.at(server), observation(&mine, "718-7")).await;
    }
    let numbers = endpoint
        .until(|inner| {
            let numbers: Vec<i64> = inner.received.lock().iter().flat_map(Received::numbers).collect();
            (numbers.len() >= 20).then_some(numbers)
        })
        .await;
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    first.stop().await;
    second.stop().await;
}
