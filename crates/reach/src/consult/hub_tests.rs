use serde_json::Value;

use super::super::event::{LeftReason, LogKind};
use super::super::protocol::close;
use super::*;

fn hub() -> (Arc<Hub>, Arc<Mutex<Vec<LogEvent>>>) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&log);
    (Hub::new(Arc::new(move |event| kept.lock().push(event))), log)
}

fn grant(role: Role, account: &str) -> Grant {
    Grant {
        consultation_id: "visit".into(),
        role,
        account: account.into(),
        display: account.into(),
        audio_only: false,
        admitted: false,
    }
}

async fn kinds(connection: &mut Connection, count: usize) -> Vec<String> {
    let mut kinds = Vec::new();
    for _ in 0..count {
        kinds.push(match connection.next().await {
            Some(Outgoing::Text(text)) => {
                let frame: Value = serde_json::from_str(&text).unwrap();
                frame["type"].as_str().unwrap().to_owned()
            }
            Some(Outgoing::Close(code)) => code.to_string(),
            None => "gone".into(),
        });
    }
    kinds
}

#[tokio::test]
async fn a_visit_through_the_hub() {
    let (hub, log) = hub();
    let now = Timestamp::now();
    let patient = hub.grant(grant(Role::Patient, "amina"), now).unwrap();
    let doctor = hub.grant(grant(Role::Clinician, "otieno"), now).unwrap();
    assert_eq!(patient.token.len(), 43, "256 bits");
    assert_eq!(hub.connect("visit", "nonsense", 0, "a", now).err(), Some(ConnectError::Unknown));
    assert_eq!(hub.connect("other", &patient.token, 0, "a", now).err(), Some(ConnectError::Unknown));
    for (visit, token, account, expected) in [
        ("visit", &patient.token, "amina", Some(Role::Patient)),
        ("visit", &patient.token, "otieno", None),
        ("other", &patient.token, "amina", None),
        ("visit", &"nonsense".to_owned(), "amina", None),
    ] {
        assert_eq!(hub.role_of(visit, token, account), expected, "{visit} {account}");
    }
    let mut a = hub.connect("visit", &patient.token, 0, "a", now).unwrap();
    let mut b = hub.connect("visit", &doctor.token, 0, "b", now).unwrap();
    assert_eq!(kinds(&mut a, 2).await, ["hello", "peer_joined"]);
    assert_eq!(kinds(&mut b, 1).await, ["hello"]);
    b.receive(r#"{"type":"offer","seq":1,"data":{"sdp":"v=0"}}"#, now);
    assert_eq!(kinds(&mut a, 1).await, ["offer"]);
    assert_eq!(kinds(&mut b, 1).await, ["ack"]);

    assert_eq!(hub.drop_sockets("visit"), 2);
    assert_eq!(kinds(&mut a, 1).await, ["gone"]);
    drop(a);
    let mut a = hub.connect("visit", &patient.token, 1, "a", now).unwrap();
    assert_eq!(kinds(&mut a, 2).await, ["hello", "offer"], "what was not acknowledged comes again");
    drop(b);
    assert_eq!(kinds(&mut a, 1).await, ["peer_state"]);
    let mut b = hub.connect("visit", &doctor.token, 0, "b", now).unwrap();
    hub.admit("visit", now);
    hub.end("visit", Some(Role::Clinician), now);
    assert_eq!(kinds(&mut a, 5).await, ["peer_state", "admitted", "ended", "4000", "gone"]);
    assert_eq!(kinds(&mut b, 7).await[4..], ["ended", "4000", "gone"]);
    let ends = log.lock().iter().filter(|event| matches!(event.kind, LogKind::Ended { .. })).count();
    assert_eq!((ends, log.lock().len()), (1, 6), "two joined, admitted, two left, ended");
    assert_eq!(hub.counts(), (1, 0));
    hub.tick(now + SignedDuration::from_secs(600));
    assert_eq!(hub.counts(), (0, 0));
}

#[tokio::test]
async fn a_socket_that_reads_nothing_is_let_go_and_misses_nothing() {
    let (hub, _) = hub();
    let now = Timestamp::now();
    let patient = hub.grant(grant(Role::Patient, "amina"), now).unwrap();
    let doctor = hub.grant(grant(Role::Clinician, "otieno"), now).unwrap();
    let mut slow = hub.connect("visit", &patient.token, 0, "a", now).unwrap();
    let mut quick = hub.connect("visit", &doctor.token, 0, "b", now).unwrap();
    assert_eq!(kinds(&mut quick, 1).await, ["hello"]);
    for number in 1..=QUEUE_FRAMES_MAX as u64 + 10 {
        // Ten minutes' worth, so that the rate limit does not step in first.
        let later = now + SignedDuration::from_secs(number as i64);
        quick.receive(
            &format!(r#"{{"type":"chat","seq":{number},"data":{{"id":"{number}","text":"x"}}}}"#),
            later,
        );
        assert_eq!(kinds(&mut quick, 2).await, ["ack", "chat"]);
    }
    let mut frames = 0;
    while let Some(Outgoing::Text(_)) = slow.next().await {
        frames += 1;
    }
    assert_eq!(frames, QUEUE_FRAMES_MAX);
    drop(slow);
    let mut slow = hub.connect("visit", &patient.token, frames as u64 - 1, "a", now).unwrap();
    assert_eq!(kinds(&mut slow, 12).await[0], "hello");
}

#[test]
fn refusals_have_close_codes() {
    assert_eq!(ConnectError::Unknown.close_code(), close::UNKNOWN);
    assert_eq!(ConnectError::Expired.close_code(), close::EXPIRED);
    assert_eq!(ConnectError::TooMany.close_code(), close::TOO_MANY);
}

#[tokio::test]
async fn who_is_put_out_stays_out() {
    let (hub, log) = hub();
    let now = Timestamp::now();
    let patient = hub.grant(grant(Role::Patient, "amina"), now).unwrap();
    let doctor = hub.grant(grant(Role::Clinician, "otieno"), now).unwrap();
    let mut a = hub.connect("visit", &patient.token, 0, "a", now).unwrap();
    let mut b = hub.connect("visit", &doctor.token, 0, "b", now).unwrap();
    assert_eq!(kinds(&mut a, 2).await, ["hello", "peer_joined"]);
    assert_eq!(kinds(&mut b, 1).await, ["hello"]);
    // A second page of hers is on its way.
    let waiting = hub.grant(grant(Role::Patient, "amina"), now).unwrap();
    a.put_out(now);
    assert_eq!(kinds(&mut a, 2).await, [close::PUT_OUT.to_string(), "gone".into()]);
    assert_eq!(kinds(&mut b, 1).await, ["peer_left"]);
    for token in [&patient.token, &waiting.token] {
        assert_eq!(hub.role_of("visit", token, "amina"), None);
        assert_eq!(hub.connect("visit", token, 2, "a", now).err(), Some(ConnectError::Unknown));
    }
    let logged = log.lock().last().map(|event| event.kind.clone());
    let left = LogKind::Left { role: Role::Patient, account: "amina".into(), reason: LeftReason::PutOut };
    assert_eq!(logged, Some(left));
    // The socket that is dropped afterwards says nothing more, and the doctor stays.
    drop(a);
    assert_eq!(hub.presence("visit").unwrap().participants, [(Role::Clinician, "otieno".to_owned(), true)]);
    hub.put_out("visit", "nobody", Role::Patient, now);
    hub.put_out("no visit", "amina", Role::Patient, now);
    let again = hub.grant(grant(Role::Patient, "amina"), now).unwrap();
    let mut a = hub.connect("visit", &again.token, 0, "c", now).unwrap();
    assert_eq!(kinds(&mut a, 1).await, ["hello"], "whose right is given back comes in by a new grant");
    assert_eq!(kinds(&mut b, 1).await, ["peer_joined"]);
}
