use super::*;

const PATIENT: TokenHash = [1; 32];
const DOCTOR: TokenHash = [2; 32];

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn grant(role: Role, account: &str) -> Grant {
    Grant {
        consultation_id: "visit".into(),
        role,
        account: account.into(),
        display: account.to_uppercase(),
        audio_only: false,
        admitted: false,
    }
}

/// A room with both sides connected (patient on socket 1, doctor on socket 2), everything acknowledged.
fn both() -> Room {
    let mut room = Room::new("visit".into(), false, at(0));
    room.grant(PATIENT, grant(Role::Patient, "amina"), at(14_400), at(0));
    room.grant(DOCTOR, grant(Role::Clinician, "otieno"), at(14_400), at(0));
    room.connect(&PATIENT, 0, "page-a", 1, at(1)).unwrap();
    room.connect(&DOCTOR, 0, "page-b", 2, at(1)).unwrap();
    room
}

/// Frames for one socket as `type#seq`, closings as `close:code`, log entries as `log:…`.
fn seen(effects: &[Effect], socket: ConnectionId) -> Vec<String> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Send { connection, text } if *connection == socket => {
                let frame: Value = serde_json::from_str(text).unwrap();
                Some(format!("{}#{}", frame["type"].as_str().unwrap(), frame["seq"]))
            }
            Effect::Close { connection, code } if *connection == socket => Some(format!("close:{code}")),
            _ => None,
        })
        .collect()
}

fn data(effects: &[Effect], socket: ConnectionId, kind: &str) -> Value {
    effects
        .iter()
        .find_map(|effect| match effect {
            Effect::Send { connection, text } if *connection == socket => {
                let mut frame: Value = serde_json::from_str(text).unwrap();
                (frame["type"] == kind).then(|| frame["data"].take())
            }
            _ => None,
        })
        .unwrap_or_else(|| panic!("no {kind} for {socket} in {effects:?}"))
}

fn logged(effects: &[Effect]) -> Vec<LogKind> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Log(event) => Some(event.kind.clone()),
            _ => None,
        })
        .collect()
}

fn chat(seq: u64, id: &str) -> String {
    format!(r#"{{"type":"chat","seq":{seq},"data":{{"id":"{id}","text":"habari {id}"}}}}"#)
}

#[test]
fn two_sides_meet_and_signal() {
    let mut room = Room::new("visit".into(), false, at(0));
    room.grant(PATIENT, grant(Role::Patient, "amina"), at(14_400), at(0));
    let first = room.connect(&PATIENT, 0, "page-a", 1, at(1)).unwrap();
    let hello = data(&first, 1, "hello");
    assert_eq!(
        (&hello["state"], &hello["polite"], &hello["peers"], &hello["resumed"]),
        (&json!("waiting"), &json!(true), &json!([]), &json!(false))
    );
    assert_eq!(
        logged(&first),
        [LogKind::Joined { role: Role::Patient, account: "amina".into(), audio_only: false }]
    );
    room.grant(DOCTOR, grant(Role::Clinician, "otieno"), at(14_400), at(2));
    let second = room.connect(&DOCTOR, 0, "page-b", 2, at(2)).unwrap();
    let hello = data(&second, 2, "hello");
    assert_eq!(hello["polite"], json!(false));
    assert_eq!(hello["peers"][0]["participant"], json!("p1"));
    assert_eq!(data(&second, 1, "peer_joined")["display"], json!("OTIENO"));

    let offer = room.receive(2, r#"{"type":"offer","seq":1,"data":{"sdp":"v=0"}}"#, at(3));
    assert_eq!(seen(&offer, 2), ["ack#0"]);
    assert_eq!(data(&offer, 1, "offer"), json!({"sdp": "v=0", "from": "p2"}));

    assert_eq!(seen(&room.set_position(2), 1), ["waiting#3"]);
    assert_eq!(seen(&room.set_position(2), 1), Vec::<String>::new(), "nothing new to say");
    let admitted = room.admit(at(4));
    assert_eq!(
        (seen(&admitted, 1), seen(&admitted, 2)),
        (vec!["admitted#4".into()], vec!["admitted#1".into()])
    );
    assert_eq!(logged(&admitted), [LogKind::Admitted]);
    assert!(room.admit(at(5)).is_empty());

    let ended = room.end(Some(Role::Clinician), at(60));
    assert_eq!(seen(&ended, 1), ["ended#5", "close:4000"]);
    assert_eq!(logged(&ended).len(), 3, "both left, and the end");
    assert!(room.end(None, at(61)).is_empty());
    let late = room.connect(&PATIENT, 5, "page-a", 9, at(62)).unwrap();
    assert_eq!(seen(&late, 9), ["hello#0", "ended#0", "close:4000"]);
    assert!(!room.is_finished(at(62)) && room.is_finished(at(300)));
}

#[test]
fn nothing_is_lost_or_doubled_over_a_broken_socket() {
    let mut room = both();
    room.receive(2, &chat(1, "one"), at(2));
    let away = room.disconnect(1, at(3));
    assert_eq!(data(&away, 2, "peer_state"), json!({"participant": "p1", "connected": false}));
    let sent = room.receive(2, &chat(2, "two"), at(4));
    assert_eq!(seen(&sent, 2), ["ack#0", "chat#3"], "the sender sees its own line with its number");
    assert!(room.tick(at(20)).is_empty(), "within the grace period");

    // The patient had seen peer_joined (1) and the first line (2) before the socket broke.
    let back = room.connect(&PATIENT, 2, "page-a", 3, at(21)).unwrap();
    assert_eq!(seen(&back, 3), ["hello#0", "chat#3"]);
    let hello = data(&back, 3, "hello");
    assert_eq!((&hello["resumed"], &hello["reset"], &hello["seq"]), (&json!(true), &json!(false), &json!(2)));
    assert_eq!(data(&back, 2, "peer_state")["connected"], json!(true));

    // The client sends again what was never acknowledged; the room takes it once.
    let first = room.receive(3, &chat(1, "three"), at(22));
    assert_eq!(seen(&first, 2).len(), 1);
    let again = room.receive(3, &chat(1, "three"), at(23));
    assert_eq!((seen(&again, 3), seen(&again, 2)), (vec!["ack#0".to_owned()], vec![]));
    let gap = room.receive(3, &chat(3, "five"), at(24));
    assert_eq!((data(&gap, 3, "ack")["seq"].clone(), seen(&gap, 2)), (json!(1), vec![]));

    // The socket is replaced while the old one still seems alive.
    let replaced = room.connect(&PATIENT, 4, "page-a", 4, at(25)).unwrap();
    assert_eq!(seen(&replaced, 3), ["close:4001"]);
    assert!(room.receive(3, &chat(2, "ghost"), at(26)).is_empty(), "the old socket is deaf and mute");
    assert!(room.disconnect(3, at(26)).is_empty());
}

#[test]
fn who_stays_away_is_lost_and_may_return() {
    let mut room = both();
    room.disconnect(1, at(10));
    assert!(room.tick(at(40)).is_empty());
    let lost = room.tick(at(41));
    assert_eq!(data(&lost, 2, "peer_left"), json!({"participant": "p1", "reason": "lost"}));
    assert_eq!(
        logged(&lost),
        [LogKind::Left { role: Role::Patient, account: "amina".into(), reason: LeftReason::Lost }]
    );
    room.receive(2, &chat(1, "while away"), at(50));
    let back = room.connect(&PATIENT, 1, "page-a", 5, at(60)).unwrap();
    let hello = data(&back, 5, "hello");
    assert_eq!((&hello["reset"], &hello["chat"][0]["text"]), (&json!(true), &json!("habari while away")));
    assert_eq!(data(&back, 2, "peer_joined")["instance"], json!("page-a"));
    assert_eq!(logged(&back).len(), 1);
    let next = room.receive(2, &chat(2, "welcome"), at(61));
    let number = hello["seq"].as_u64().unwrap() + 1;
    assert_eq!(seen(&next, 5), [format!("chat#{number}")], "numbers go on after a reset");
}

#[test]
fn a_reload_replaces_the_page_and_tells_the_peer() {
    let mut room = both();
    room.receive(
        1,
        r#"{"type":"media_state","seq":1,"data":{"audio":true,"video":true,"screen":false}}"#,
        at(2),
    );
    room.grant([3; 32], grant(Role::Patient, "amina"), at(14_400), at(3));
    let reloaded = room.connect(&[3; 32], 0, "page-c", 7, at(4)).unwrap();
    assert_eq!(seen(&reloaded, 1), ["close:4001"]);
    let peer = data(&reloaded, 2, "peer_joined");
    assert_eq!((&peer["participant"], &peer["instance"]), (&json!("p1"), &json!("page-c")));
    assert_eq!(peer["media"]["video"], json!(false));
    assert_eq!(
        room.connect(&PATIENT, 0, "page-a", 8, at(5)),
        Err(ConnectError::Unknown),
        "the old token is void"
    );
    assert_eq!(room.presence().participants.len(), 2);
}

#[test]
fn who_loses_the_right_is_put_out() {
    let mut room = both();
    room.admit(at(2));
    room.grant([3; 32], grant(Role::Patient, "amina"), at(14_400), at(3));
    room.grant([4; 32], grant(Role::Guest, "amina"), at(14_400), at(3));
    let out = room.put_out("amina", Role::Patient, at(4));
    assert_eq!(seen(&out, 1), ["close:4403"]);
    assert_eq!(data(&out, 2, "peer_left"), json!({"participant": "p1", "reason": "put_out"}));
    assert_eq!(
        logged(&out),
        [LogKind::Left { role: Role::Patient, account: "amina".into(), reason: LeftReason::PutOut }]
    );
    for token in [PATIENT, [3; 32]] {
        assert_eq!(room.connect(&token, 9, "page-a", 5, at(5)), Err(ConnectError::Unknown));
    }
    assert!(room.receive(1, &chat(1, "still here"), at(5)).is_empty(), "her old socket is deaf and mute");
    assert!(room.put_out("amina", Role::Patient, at(5)).is_empty());
    assert_eq!(room.role_of(&[4; 32], "amina"), Some(Role::Guest), "another role has its own right");

    // One whose socket is away waits for nothing; one whose socket was replaced is not who was asked about.
    room.disconnect(2, at(6));
    room.connect(&[4; 32], 0, "page-c", 6, at(6)).unwrap();
    assert!(room.put_out_connection(2, at(7)).is_empty());
    let out = room.put_out("otieno", Role::Clinician, at(7));
    assert_eq!(data(&out, 6, "peer_left")["reason"], json!("put_out"));
    assert_eq!(seen(&room.put_out_connection(6, at(8)), 6), ["close:4403"]);
    assert!(room.presence().participants.is_empty());
    assert_eq!(room.presence().state, RoomState::Active, "the visit goes on");
}

#[test]
fn leaving_grants_expiry_and_floods() {
    let mut room = both();
    let left = room.receive(1, r#"{"type":"leave","seq":1,"data":{}}"#, at(2));
    assert_eq!(data(&left, 2, "peer_left")["reason"], json!("left"));
    assert!(room.disconnect(1, at(3)).is_empty(), "nothing more to tell");

    assert_eq!(room.connect(&[9; 32], 0, "x", 10, at(4)), Err(ConnectError::Unknown));
    room.grant([9; 32], grant(Role::Guest, "late"), at(14_400), at(4));
    assert_eq!(room.connect(&[9; 32], 0, "x", 10, at(305)), Err(ConnectError::Expired));
    assert_eq!(room.connect(&PATIENT, 0, "page-a", 11, at(14_400)), Err(ConnectError::Expired));

    let mut room = both();
    let mut closed = None;
    for number in 0..10_000 {
        let effects = room.receive(2, r#"{"type":"ping","seq":0}"#, at(5));
        if seen(&effects, 2) == ["close:4029"] {
            closed = Some(number);
            break;
        }
    }
    assert_eq!(closed, Some(200));
    assert_eq!(
        room.connect(&DOCTOR, 0, "page-b", 12, at(6)).map(|effects| seen(&effects, 12)[0].clone()),
        Ok("hello#0".into())
    );

    let mut room = both();
    assert_eq!(seen(&room.receive(1, "garbage", at(5)), 1), ["close:4009"]);
    let refused = room.receive(2, r#"{"type":"dance","seq":1,"data":{}}"#, at(5));
    assert_eq!(data(&refused, 2, "error"), json!({"code": "unknown-type", "seq": 1}));
    assert_eq!(seen(&room.tick(at(20_000)), 2), ["peer_left#2", "close:4003"]);
}

#[test]
fn quality_reaches_the_peer_always_and_the_log_now_and_then() {
    let mut room = both();
    let mut logs = 0;
    for number in 1..=20u64 {
        let text = format!(
            r#"{{"type":"quality","seq":{number},"data":{{"rtt_ms":80,"loss_percent":0.5,"bitrate_up_kbps":300,"bitrate_down_kbps":310,"path":"relay","level":"good"}}}}"#
        );
        let effects = room.receive(1, &text, at(number as i64 * 5));
        assert_eq!(data(&effects, 2, "quality")["from"], json!("p1"));
        logs += logged(&effects).len();
    }
    assert_eq!(logs, 4, "100 seconds");
}

#[test]
fn what_is_for_one_reaches_only_that_one() {
    let mut room = both();
    room.grant([3; 32], grant(Role::Guest, "interpreter"), at(14_400), at(2));
    room.connect(&[3; 32], 0, "page-c", 3, at(2)).unwrap();
    let offer = room.receive(2, r#"{"type":"offer","seq":1,"data":{"sdp":"v=0","to":"p1"}}"#, at(3));
    assert_eq!(data(&offer, 1, "offer"), json!({"sdp": "v=0", "from": "p2"}));
    assert_eq!(seen(&offer, 3), Vec::<String>::new());
    let nobody = room.receive(2, r#"{"type":"offer","seq":2,"data":{"sdp":"v=0","to":"p9"}}"#, at(3));
    assert_eq!(seen(&nobody, 1).len() + seen(&nobody, 3).len(), 0);
    let line = room.receive(3, &chat(1, "one"), at(4));
    assert_eq!((seen(&line, 1).len(), seen(&line, 2).len(), seen(&line, 3).len()), (1, 1, 2));
}

#[test]
fn a_room_made_again_after_a_restart_is_active_at_once() {
    let mut room = Room::new("visit".into(), true, at(0));
    room.grant(PATIENT, grant(Role::Patient, "amina"), at(14_400), at(0));
    let effects = room.connect(&PATIENT, 40, "page-a", 1, at(1)).unwrap();
    assert_eq!(data(&effects, 1, "hello")["state"], json!("active"));
}
