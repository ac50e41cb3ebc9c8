//! Live updates over real WebSockets.

use crate::harness::{Signed, World};
use access::Role;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Long enough for a loaded machine; a passing test never waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

pub async fn open(world: &World, who: &Signed, origin: Option<&str>) -> Result<Socket, tungstenite::Error> {
    let mut request = format!("{}/ws", world.url().replacen("http", "ws", 1)).into_client_request().unwrap();
    if !who.token.is_empty() {
        request.headers_mut().insert("authorization", format!("Bearer {}", who.token).parse().unwrap());
    }
    if let Some(origin) = origin {
        request.headers_mut().insert("origin", origin.parse().unwrap());
    }
    connect_async(request).await.map(|(socket, _)| socket)
}

/// The next frame of ours; panics when the socket closes.
pub async fn frame(socket: &mut Socket) -> Value {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("a frame").unwrap().unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Close(frame) => panic!("closed: {frame:?}"),
            _ => {}
        }
    }
}

/// Frames until one of this type.
pub async fn until(socket: &mut Socket, kind: &str) -> (Value, Vec<String>) {
    let mut before = Vec::new();
    loop {
        let frame = frame(socket).await;
        if frame["type"] == kind {
            return (frame, before);
        }
        before.push(frame["type"].as_str().unwrap().to_owned());
    }
}

/// The code with which the server closes.
pub async fn close_code(socket: &mut Socket) -> u16 {
    loop {
        match tokio::time::timeout(PATIENCE, socket.next()).await.expect("an end") {
            Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
            Some(Ok(Message::Close(None)) | Err(_)) | None => return 0,
            Some(Ok(_)) => {}
        }
    }
}

fn refused(result: Result<Socket, tungstenite::Error>) -> u16 {
    match result {
        Err(tungstenite::Error::Http(response)) => response.status().as_u16(),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the socket was taken"),
    }
}

pub fn appointment(patient: &Signed, doctor: &Signed, start: &str) -> Value {
    json!({"resourceType": "Appointment", "status": "booked", "start": format!("{start}:00:00Z"),
        "end": format!("{start}:20:00Z"), "participant": [
            {"actor": {"reference": format!("Patient/{}", patient.id())}, "status": "accepted"},
            {"actor": {"reference": format!("Practitioner/{}", doctor.id())}, "status": "accepted"}]})
}

#[tokio::test]
async fn those_who_may_see_it_hear_of_it() {
    let world = World::start().await;
    let (amina, zawadi) = (world.patient("Amina").await, world.patient("Zawadi").await);
    let (doctor, cashier) =
        (world.staff("doctor", Role::Doctor).await, world.staff("cashier", Role::Cashier).await);
    let mut sockets = Vec::new();
    for who in [&amina, &doctor, &zawadi, &cashier] {
        let mut socket = open(&world, who, None).await.unwrap();
        assert_eq!(frame(&mut socket).await["type"], "ready");
        sockets.push(socket);
    }
    let key = world.put(appointment(&amina, &doctor, "2026-12-01T22")).await;
    for socket in &mut sockets[..2] {
        let (frame, _) = until(socket, "appointment_changed").await;
        // 22:00 UTC is the next day in Nairobi.
        let data = json!({"id": key.id, "provider_id": doctor.id(), "date": "2026-12-02"});
        assert_eq!(frame["data"], data);
        assert!(frame["seq"].as_i64().unwrap() > 0);
    }
    // Others only learn that the doctor's free times changed.
    for socket in &mut sockets[2..] {
        let (frame, before) = until(socket, "schedule_changed").await;
        assert_eq!(
            (frame["data"].clone(), before),
            (json!({"provider_id": doctor.id()}), Vec::<String>::new())
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn a_client_resumes_where_it_was() {
    let world = World::start().await;
    let (amina, doctor) = (world.patient("Amina").await, world.staff("doctor", Role::Doctor).await);
    let mut socket = open(&world, &amina, None).await.unwrap();
    let seq = frame(&mut socket).await["seq"].as_i64().unwrap();
    drop(socket);
    let key = world.put(appointment(&amina, &doctor, "2026-12-01T07")).await;
    let mut socket = open(&world, &amina, Some(world.url())).await.unwrap();
    frame(&mut socket).await;
    socket.send(Message::text(json!({"type": "resume", "seq": seq}).to_string())).await.unwrap();
    let (frame, _) = until(&mut socket, "appointment_changed").await;
    assert_eq!(frame["data"]["id"], key.id);

    socket.send(Message::text("{\"type\":\"dance\"}")).await.unwrap();
    assert_eq!(close_code(&mut socket).await, 1008);
    world.stop().await;
}

#[tokio::test]
async fn a_session_that_ends_takes_its_sockets_along() {
    let world = World::start_with(|config| config.limits.sockets_per_account = 2).await;
    let juma = world.staff("juma", Role::Cashier).await;
    let boss = world.staff("boss", Role::Administrator).await;
    assert_eq!(refused(open(&world, &world.anonymous(), None).await), 401);
    assert_eq!(refused(open(&world, &juma, Some("https://evil.example")).await), 403);

    let mut first = open(&world, &juma, None).await.unwrap();
    let second = open(&world, &juma, None).await.unwrap();
    assert_eq!(refused(open(&world, &juma, None).await), 503, "two are enough for one account");
    drop(second);

    boss.patch(&format!("/api/v1/admin/users/{}", juma.account), json!({"disabled": true})).await;
    assert_eq!(close_code(&mut first).await, 4401);
    assert_eq!(refused(open(&world, &juma, None).await), 401);

    let mut hers = open(&world, &boss, None).await.unwrap();
    assert_eq!(boss.post("/api/v1/auth/logout", Value::Null).await.0, 204);
    assert_eq!(close_code(&mut hers).await, 4401);
    world.stop().await;
}

#[tokio::test]
async fn sockets_are_told_when_the_server_stops() {
    let world = World::start().await;
    let juma = world.staff("juma", Role::Cashier).await;
    let mut socket = open(&world, &juma, None).await.unwrap();
    frame(&mut socket).await;
    let stopping = tokio::spawn(world.stop());
    assert_eq!(close_code(&mut socket).await, 1001);
    stopping.await.unwrap();
}

/// Who may act for somebody no more is no reader of that record; she is told all the same, so that her screen empties.
#[tokio::test]
async fn who_acts_no_more_is_told_and_nobody_else() {
    let world = World::start().await;
    let (amina, beatrice, carol) =
        (world.patient("Amina").await, world.patient("Beatrice").await, world.patient("Carol").await);
    let record = &world.app().record;
    let grant = record::rights::proxy::NewProxy {
        account: beatrice.account,
        patient: amina.id().to_owned(),
        basis: record::rights::proxy::Basis::PatientChoice,
        classes: Vec::new(),
        sealed: false,
        until: None,
        relationship: "FRND".into(),
    };
    let grant = record.grant_proxy(&world.ctx(), grant).await.unwrap();
    // Her rights are others now: she signs in anew.
    let session = record.login("beatrice-1", crate::harness::PASSWORD, None).await.unwrap();
    let mut beatrice = beatrice;
    beatrice.token = session.token;
    let (mut told, mut other) =
        (open(&world, &beatrice, None).await.unwrap(), open(&world, &carol, None).await.unwrap());
    let path = format!("/api/v1/patients/{}/visits", amina.id());
    assert_eq!(beatrice.get(&path).await.0, 200);
    assert_eq!(amina.post(&format!("/api/v1/proxies/{}/end", grant.id), json!({})).await.0, 204);
    assert_ne!(beatrice.get(&path).await.0, 200);
    let (frame, _) = until(&mut told, "acting_changed").await;
    assert_eq!(frame["data"], json!({}), "no ids of what is hers no more");
    let visit = appointment(&carol, &world.staff("doctor", Role::Doctor).await, "2030-01-01T08");
    world.put(visit).await;
    let (_, before) = until(&mut other, "appointment_changed").await;
    assert!(!before.contains(&"acting_changed".to_owned()), "{before:?}");
    world.stop().await;
}
