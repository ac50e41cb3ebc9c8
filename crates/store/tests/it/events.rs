//! Outbox, inbox, idempotency, audit.

use crate::support::*;
use access::Purpose;
use serde_json::json;
use store::idempotency::{self, Begin};
use store::test_support::{TempStore, both};
use store::{Error, audit, inbox, outbox};

fn event(n: i64) -> outbox::NewEvent {
    outbox::NewEvent {
        topic: format!("resource.{}", if n % 2 == 0 { "created" } else { "updated" }),
        subject: key("Basic/x"),
        patients: if n % 3 == 0 { vec!["p1".into(), "p2".into()] } else { Vec::new() },
        data: if n % 2 == 0 { json!({"n": n}) } else { serde_json::Value::Null },
        created: at(n),
    }
}

fn followers(temp: &TempStore) {
    for n in 0..10 {
        temp.store.write_blocking(move |tx| outbox::append(tx, &event(n))).unwrap();
    }
    let all = temp.store.write_blocking(|tx| outbox::read(tx, 0, 100)).unwrap();
    assert_eq!(all.len(), 10);
    for (n, got) in all.iter().enumerate() {
        let sent = event(n as i64);
        assert_eq!((&got.topic, &got.patients, &got.data), (&sent.topic, &sent.patients, &sent.data));
    }
    assert_eq!(temp.store.write_blocking(outbox::last).unwrap(), all[9].seq);

    let lease = |worker: &'static str, ms: i64| {
        temp.store.write_blocking(move |tx| outbox::lease(tx, "mail", worker, ms, 0)).unwrap()
    };
    let first = lease("one", 60_000).unwrap();
    assert_eq!((first.cursor, first.token), (0, 1));
    assert_eq!(lease("two", 60_000), None, "held by another");
    let (held, seq) = (first.clone(), all[3].seq);
    assert_eq!(temp.store.write_blocking(move |tx| outbox::advance(tx, &held, seq, 0)), Ok(true));
    // The lease has run out: another worker goes on where the first was, and the first is fenced off.
    let second = lease("two", 60_000).unwrap();
    assert_eq!(second.cursor, all[3].seq);
    let (held, seq) = (first.clone(), all[5].seq);
    assert_eq!(temp.store.write_blocking(move |tx| outbox::advance(tx, &held, seq, 0)), Ok(false));
    let (held, seq) = (second.clone(), all[7].seq);
    assert_eq!(temp.store.write_blocking(move |tx| outbox::advance(tx, &held, seq, 60_000)), Ok(true));
    assert_eq!(temp.store.write_blocking(|tx| outbox::prune(tx, at(100))), Ok(8));
    let rest = temp.store.write_blocking(|tx| outbox::read(tx, 0, 100)).unwrap();
    assert_eq!(rest.len(), 2);
}

#[test]
fn followers_lease_a_cursor() {
    both().iter().for_each(followers);
}

#[test]
fn the_inbox_takes_each_message_once() {
    for temp in both() {
        let receive = |key: &'static str| {
            temp.store.write_blocking(move |tx| inbox::receive(tx, "mpesa.stk", key, b"{}", at(0))).unwrap()
        };
        let id = receive("a").unwrap();
        assert_eq!(receive("a"), None);
        assert!(receive("b").is_some());
        let lease =
            |ms: i64| temp.store.write_blocking(move |tx| inbox::lease(tx, "mpesa.stk", 10, ms)).unwrap();
        let leased = lease(0);
        assert_eq!(leased.len(), 2);
        let again = lease(60_000);
        assert_eq!((again.len(), again[0].token), (2, 2));
        assert!(lease(60_000).is_empty());
        let done =
            |id: i64, token: i64| temp.store.write_blocking(move |tx| inbox::done(tx, id, token)).unwrap();
        assert!(!done(id, 1), "fenced off");
        assert!(done(id, 2));
        let other = again[1].id;
        assert!(
            temp.store
                .write_blocking(move |tx| inbox::failed(tx, other, 2, "no such payment", None))
                .unwrap()
        );
        let dead = temp.store.read_blocking(|tx| inbox::list(tx, inbox::State::Dead, None, 10)).unwrap();
        assert_eq!(dead.rows.len(), 1);
        assert!(temp.store.write_blocking(move |tx| inbox::replay(tx, other)).unwrap());
        assert_eq!(lease(60_000).len(), 1);
        let loaded = temp.store.read_blocking(|tx| inbox::load(tx, "mpesa.stk", "a")).unwrap().unwrap();
        assert_eq!((loaded.id, loaded.state), (id, inbox::State::Done));
    }
}

#[test]
fn repeated_requests_get_the_first_reply() {
    for temp in both() {
        let begin = |key: &'static str, hash: u8| {
            temp.store
                .write_blocking(move |tx| {
                    let begun = idempotency::begin(tx, "account/1", key, &[hash; 32], at(0))?;
                    if begun == Begin::New {
                        idempotency::finish(tx, "account/1", key, 201, b"made")?;
                    }
                    Ok::<_, Error>(begun)
                })
                .unwrap()
        };
        assert_eq!(begin("k", 1), Begin::New);
        assert_eq!(begin("k", 1), Begin::Replay { status: 201, body: b"made".to_vec() });
        assert_eq!(begin("k", 2), Begin::Mismatch);
        assert_eq!(begin("l", 2), Begin::New);
        assert_eq!(temp.store.write_blocking(|tx| idempotency::prune(tx, at(179 * 86_400))), Ok(0));
        assert_eq!(temp.store.write_blocking(|tx| idempotency::prune(tx, at(181 * 86_400))), Ok(2));
        // Of many at once with one key, one does the work.
        let made: usize = std::thread::scope(|scope| {
            let tries: Vec<_> = (0..6)
                .map(|_| {
                    let store = temp.store.clone();
                    scope.spawn(move || {
                        store
                            .write_blocking(|tx| {
                                let begun = idempotency::begin(tx, "account/1", "race", &[9; 32], at(0))?;
                                if begun == Begin::New {
                                    idempotency::finish(tx, "account/1", "race", 200, b"")?;
                                }
                                Ok::<_, Error>(usize::from(begun == Begin::New))
                            })
                            .unwrap()
                    })
                })
                .collect();
            tries.into_iter().map(|t| t.join().unwrap()).sum()
        });
        assert_eq!(made, 1, "{}", temp.engine);
    }
}

pub fn audited(n: i64) -> audit::Event {
    audit::Event {
        at: at(n),
        action: if n % 2 == 0 { "read".into() } else { "query".into() },
        outcome: if n % 5 == 0 { audit::Outcome::Denied } else { audit::Outcome::Success },
        agent: format!("account/{}", n % 3),
        agent_display: "Dr. Wanjiru Kamau".into(),
        role: "doctor".into(),
        address: Some("10.1.2.3".parse().unwrap()),
        request_id: format!("request-{n}"),
        purpose: Purpose::Treatment,
        what: if n % 2 == 0 { "Patient/p1".into() } else { "Observation?code=8480-6".into() },
        patients: if n % 2 == 0 { vec!["p1".into()] } else { vec!["p1".into(), "p2".into()] },
        session: (n % 2 == 0).then_some([7; 8]),
        client: if n % 3 == 0 { "app".into() } else { String::new() },
    }
}

fn audit_trail(temp: &TempStore) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let appends: Vec<_> =
            (0..30).map(|n| temp.store.append_audit(vec![audited(n)])).map(tokio::spawn).collect();
        for append in appends {
            append.await.unwrap().unwrap();
        }
        temp.store.settle_audit().await.unwrap();
    });
    let pages = |filter: audit::Filter| -> Vec<audit::Event> {
        let (mut all, mut cursor) = (Vec::new(), None);
        loop {
            let (own, from) = (filter.clone(), cursor.clone());
            let page = temp.store.read_blocking(move |tx| audit::list(tx, &own, from.as_deref(), 4)).unwrap();
            all.extend(page.rows.into_iter().map(|row| row.event));
            match page.next {
                Some(next) => cursor = Some(next),
                None => return all,
            }
        }
    };
    let everything = pages(audit::Filter::default());
    let newest_first: Vec<audit::Event> = (0..30).rev().map(audited).collect();
    assert_eq!(everything, newest_first);
    let of_p2 = pages(audit::Filter { patient: Some("p2".into()), ..Default::default() });
    assert_eq!(of_p2.len(), 15);
    let by_agent = pages(audit::Filter { agent: Some("account/1".into()), ..Default::default() });
    assert_eq!(by_agent.len(), 10);
    assert!(pages(audit::Filter { agent: Some("account/77".into()), ..Default::default() }).is_empty());
    let denied = audit::Filter {
        patient: Some("p1".into()),
        outcome: Some(audit::Outcome::Denied),
        action: Some("read".into()),
        from: Some(at(5)),
        until: Some(at(25)),
        ..Default::default()
    };
    let got: Vec<_> = pages(denied).iter().map(|e| e.at).collect();
    assert_eq!(got, [at(20), at(10)]);
    let window = audit::Filter { from: Some(at(3)), until: Some(at(6)), ..Default::default() };
    assert_eq!(pages(window).len(), 3);
    for sql in [
        "UPDATE audit SET outcome = 0",
        "DELETE FROM audit",
        "DELETE FROM audit_patient",
        "UPDATE audit_patient SET seq = 1",
    ] {
        let refused = temp.store.write_blocking(move |tx| tx.execute(sql, &[]));
        assert!(matches!(refused, Err(Error::Constraint(_))), "{} {sql}: {refused:?}", temp.engine);
    }
}

#[test]
fn audit_is_append_only_and_found_again() {
    both().iter().for_each(audit_trail);
}
