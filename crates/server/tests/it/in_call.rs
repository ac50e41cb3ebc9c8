//! Who is in a call is put out of it when her right to be there ends: at once where something says so, and by the next
//! question else.

use crate::harness::{PASSWORD, Signed, World};
use crate::live::{Socket, appointment, close_code, frame, until};
use crate::visit::{Clinic, expect};
use access::Role;
use record::rights::proxy::{Basis, NewProxy};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);
const PUT_OUT: u16 = 4403;
const ENDED: u16 = 4000;
const UNKNOWN: u16 = 4004;
const SIGNED_OUT: u16 = 4401;

async fn join(who: &Signed, visit: &str) -> Value {
    let device = json!({"device": {"camera": true, "microphone": true, "relay": false, "audio_only": false}});
    expect(200, who.post(&format!("/api/v1/consultations/{visit}/join"), device).await).await
}

async fn connect(world: &World, who: &Signed, visit: &str, token: &str) -> Socket {
    let base = world.url().replacen("http", "ws", 1);
    let address =
        format!("{base}/ws/consultation/{visit}?session={token}&seq=0&instance=page-{}", who.account);
    let mut request = address.into_client_request().unwrap();
    request.headers_mut().insert("authorization", format!("Bearer {}", who.token).parse().unwrap());
    connect_async(request).await.unwrap().0
}

/// Joins and is greeted; with the call's token.
async fn enters(world: &World, who: &Signed, visit: &str) -> (Socket, String) {
    let token = join(who, visit).await["session_token"].as_str().unwrap().to_owned();
    let mut socket = connect(world, who, visit, &token).await;
    assert_eq!(frame(&mut socket).await["type"], "hello");
    (socket, token)
}

async fn booked(clinic: &Clinic) -> String {
    let start = clinic.free().await.remove(1);
    let made = expect(201, clinic.book(&clinic.patient, &start).await).await;
    made["id"].as_str().unwrap().to_owned()
}

/// Somebody who acts for the patient, until then.
async fn proxy(world: &World, patient: &Signed, until: Option<jiff::Timestamp>) -> (Signed, String) {
    let mut beatrice = world.patient("Beatrice").await;
    let (_, me) = beatrice.get("/api/v1/me").await;
    let login = me["display"].as_str().unwrap().rsplit(' ').next().unwrap();
    let grant = NewProxy {
        account: beatrice.account,
        patient: patient.id().to_owned(),
        basis: Basis::PatientChoice,
        classes: Vec::new(),
        sealed: false,
        until,
        relationship: "FRND".into(),
    };
    let grant = world.app().record.grant_proxy(&world.ctx(), grant).await.unwrap();
    // Her rights are others now: she signs in anew.
    beatrice.token = world.app().record.login(login, PASSWORD, None).await.unwrap().token;
    (beatrice, grant.id.to_string())
}

/// Another doctor in whose care the patient is.
async fn colleague(clinic: &Clinic, login: &str) -> Signed {
    let doctor = clinic.world.staff(login, Role::Doctor).await;
    clinic.world.put(appointment(&clinic.patient, &doctor, "2030-01-01T08")).await;
    doctor
}

fn user_path(who: &Signed) -> String {
    format!("/api/v1/admin/users/{}", who.account)
}

/// What the other side is told of her who was put out.
async fn left(socket: &mut Socket) -> Value {
    until(socket, "peer_left").await.0["data"]["reason"].clone()
}

/// Refusals in the trail of being in this visit.
async fn refusals(clinic: &Clinic, officer: &Signed, visit: &str) -> Vec<Value> {
    let path = format!("/api/v1/admin/audit?patient_id={}&outcome=denied&limit=100", clinic.patient.id());
    let found = expect(200, officer.get(&path).await).await;
    let what = format!("GET /ws/consultation/{visit}");
    found["items"].as_array().unwrap().iter().filter(|row| row["what"] == what.as_str()).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_acts_no_more_is_put_out_of_the_call() {
    let clinic = Clinic::open_with(|config| {
        config.turn.listen = Some(std::net::SocketAddr::from(([127, 0, 0, 1], 0)));
    })
    .await;
    let world = &clinic.world;
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let visit = booked(&clinic).await;
    let (beatrice, grant) = proxy(world, &clinic.patient, None).await;
    let (mut hers, token) = enters(world, &beatrice, &visit).await;
    let (mut doctors, _) = enters(world, &clinic.doctor, &visit).await;
    expect(200, clinic.doctor.post(&format!("/api/v1/consultations/{visit}/admit"), json!({})).await).await;
    until(&mut hers, "admitted").await;

    // Relay credentials are for this call, and only for who is in it.
    let relay = format!("/api/v1/turn-credentials?consultation_id={visit}");
    let credentials = expect(200, beatrice.get(&relay).await).await;
    let name = credentials["ice_servers"][1]["username"].as_str().unwrap();
    assert!(name.ends_with(&format!(":{}/{visit}", beatrice.account)), "{name}");
    expect(404, officer.get(&relay).await).await;

    assert_eq!(clinic.patient.post(&format!("/api/v1/proxies/{grant}/end"), json!({})).await.0, 204);
    assert_eq!(close_code(&mut hers).await, PUT_OUT);
    assert_eq!(left(&mut doctors).await, "put_out");
    // Neither the token nor a new question lets her back in, and the relay is closed to her.
    let mut again = connect(world, &beatrice, &visit, &token).await;
    assert_eq!(close_code(&mut again).await, UNKNOWN);
    let device = json!({"device": {"camera": true, "microphone": true, "relay": false, "audio_only": false}});
    let (status, _) = beatrice.post(&format!("/api/v1/consultations/{visit}/join"), device).await;
    assert!(matches!(status, 403 | 404), "{status}");
    expect(404, beatrice.get(&relay).await).await;

    // The log of the visit says it, and the trail, once.
    let started = Instant::now();
    let told = loop {
        let (_, seen) = clinic.doctor.get(&format!("/api/v1/consultations/{visit}")).await;
        let people = seen["log"]["participants"].as_array().cloned().unwrap_or_default();
        let is_logged = people.iter().any(|one| one["role"] == "patient" && one["put_out"] == true);
        let told = refusals(&clinic, &officer, &visit).await;
        if is_logged && !told.is_empty() {
            break told;
        }
        assert!(started.elapsed() < PATIENCE, "{told:?} {seen}");
    };
    assert_eq!(told.len(), 1, "{told:?}");

    // The visit goes on: the patient herself comes in.
    let (mut own, _) = enters(world, &clinic.patient, &visit).await;
    assert_eq!(until(&mut doctors, "peer_joined").await.0["data"]["role"], "patient");
    // Who signs out is out of the call as well, at once: her picture does not wait for a socket to be missed.
    assert_eq!(clinic.patient.post("/api/v1/auth/logout", Value::Null).await.0, 204);
    assert_eq!(close_code(&mut own).await, SIGNED_OUT);
    assert_eq!(left(&mut doctors).await, "put_out");
    clinic.world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_treat_no_more_is_put_out_of_the_call() {
    let clinic = Clinic::open().await;
    let world = &clinic.world;
    let boss = world.staff("boss", Role::Administrator).await;
    let visit = booked(&clinic).await;
    let (mut patients, _) = enters(world, &clinic.patient, &visit).await;

    // The patient says no to her.
    let locum = colleague(&clinic, "locum").await;
    let (mut locums, _) = enters(world, &locum, &visit).await;
    let deny = json!({"decision": "deny", "actors": [{"practitioner": locum.id()}],
        "text_version": "privacy-1", "text": "Not this doctor.", "language": "en"});
    let consents = format!("/api/v1/patients/{}/consents", clinic.patient.id());
    expect(201, clinic.patient.post(&consents, deny).await).await;
    assert_eq!(close_code(&mut locums).await, PUT_OUT);
    assert_eq!(left(&mut patients).await, "put_out");

    // Her role is taken, and the account closed.
    for (login, change) in
        [("first", json!({"roles": ["front-desk"]})), ("second", json!({"disabled": true}))]
    {
        let doctor = colleague(&clinic, login).await;
        let (mut socket, _) = enters(world, &doctor, &visit).await;
        let changed = boss.patch(&user_path(&doctor), change).await;
        assert_eq!(changed.0, 200, "{changed:?}");
        assert_eq!(close_code(&mut socket).await, SIGNED_OUT, "{login}");
        assert_eq!(left(&mut patients).await, "put_out", "{login}");
    }

    // The appointment is cancelled: that ends it for everybody, and nobody was put out.
    let (mut doctors, _) = enters(world, &clinic.doctor, &visit).await;
    let cancel = clinic.desk.post(&format!("/api/v1/appointments/{visit}/cancel"), json!({})).await;
    assert_eq!(cancel.0, 200, "{cancel:?}");
    for socket in [&mut patients, &mut doctors] {
        until(socket, "ended").await;
        assert_eq!(close_code(socket).await, ENDED);
    }
    clinic.world.stop().await;
}

/// What no event tells of: a grant that runs out while she is there. And the question itself leaves no trace.
#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_runs_out_is_found_by_asking() {
    let turned = std::sync::Arc::new(std::sync::atomic::AtomicI64::new(0));
    let hand = std::sync::Arc::clone(&turned);
    let clock: record::Clock = std::sync::Arc::new(move || {
        let ahead = jiff::SignedDuration::from_secs(hand.load(std::sync::atomic::Ordering::SeqCst));
        jiff::Timestamp::now() + ahead
    });
    let world = World::start_at(clock).await;
    let officer = world.staff("officer", Role::PrivacyOfficer).await;
    let (amina, doctor) = (world.patient("Amina").await, world.staff("doctor", Role::Doctor).await);
    let visit = world.put(appointment(&amina, &doctor, "2030-01-01T08")).await.id;
    let ends = world.app().record.now() + jiff::SignedDuration::from_mins(10);
    let (beatrice, _) = proxy(&world, &amina, Some(ends)).await;
    let session = world.app().record.session(&beatrice.token).await.unwrap();
    let mut ctx = world.ctx();
    (ctx.principal, ctx.session) = (access::Principal::User(session.user), Some(session.facts));
    let role = reach::consult::Role::Patient;
    let mut part = server::ws::part::Taking::new(visit.clone(), beatrice.account, role, ctx);
    let path = format!("/api/v1/admin/audit?patient_id={}&limit=100", amina.id());
    let rows = async || expect(200, officer.get(&path).await).await["items"].as_array().unwrap().len();
    let before = rows().await;
    for _ in 0..20 {
        assert_eq!(part.ask(world.app()).await, None);
    }
    // The officer's own look is in the trail of the patient whom she named.
    assert_eq!(rows().await, before + 1, "asking is no access");
    turned.store(601, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(part.ask(world.app()).await, Some(server::ws::part::Ending::Out));
    world.stop().await;
}
