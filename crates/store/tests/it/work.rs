//! Claims, jobs, messages.

use crate::support::*;
use serde_json::json;
use store::claim;
use store::job::{self, NewJob};
use store::message::{self, NewMessage, Sent};
use store::test_support::{TempStore, both};
use store::{Error, sequence};
use uuid::Uuid;

/// A multiple of five minutes.
fn mark(minutes: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(1_789_999_800 + minutes * 60).unwrap()
}

fn claims(temp: &TempStore) {
    let doctor = key("Practitioner/d1");
    let take = |start: i64, end: i64, by: &'static str| {
        let doctor = doctor.clone();
        temp.store.write_blocking(move |tx| claim::take(tx, &doctor, mark(start), mark(end), &key(by)))
    };
    take(0, 30, "Appointment/a").unwrap();
    take(30, 60, "Appointment/b").unwrap();
    take(0, 30, "Appointment/a").unwrap();
    let Err(claim::Error::Taken { actor, by }) = take(25, 35, "Appointment/c") else { panic!("overlap") };
    assert_eq!((actor, by), (doctor.clone(), key("Appointment/a")));
    for (start, end) in [(1, 30), (30, 30), (30, 0), (0, 8 * 24 * 60)] {
        assert!(matches!(take(start, end, "Appointment/c"), Err(claim::Error::BadSpan)), "{start} {end}");
    }
    let d = doctor.clone();
    let busy = temp.store.read_blocking(move |tx| claim::busy(tx, &d, mark(10), mark(31))).unwrap();
    let spans: Vec<_> = busy.iter().map(|s| (s.start, s.end, s.by.id.as_str())).collect();
    assert_eq!(spans, [(mark(10), mark(30), "a"), (mark(30), mark(35), "b")]);
    temp.store.write_blocking(|tx| claim::release(tx, &key("Appointment/a"))).unwrap();
    take(0, 30, "Appointment/c").unwrap();
}

#[test]
fn a_span_belongs_to_one() {
    both().iter().for_each(claims);
}

fn race(temp: &TempStore) {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let won: Vec<bool> = std::thread::scope(|scope| {
        let tries: Vec<_> = NAMES
            .iter()
            .map(|name| {
                let store = temp.store.clone();
                scope.spawn(move || {
                    let by = key(&format!("Appointment/{name}"));
                    // Patient and doctor are claimed in different orders: deadlocks must not surface.
                    let mut actors = [key("Practitioner/d1"), key("Patient/p1")];
                    if name.as_bytes()[0] % 2 == 0 {
                        actors.reverse();
                    }
                    let result = store.write_blocking(move |tx| {
                        for actor in &actors {
                            claim::take(tx, actor, mark(0), mark(60), &by)?;
                        }
                        Ok(())
                    });
                    match result {
                        Ok(()) => true,
                        Err(claim::Error::Taken { .. }) => false,
                        Err(other) => panic!("{other}"),
                    }
                })
            })
            .collect();
        tries.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{}", temp.engine);
    let busy =
        temp.store.read_blocking(|tx| claim::busy(tx, &key("Practitioner/d1"), mark(0), mark(60))).unwrap();
    assert_eq!(busy.len(), 1, "nothing is left of the losers");
}

#[test]
fn of_many_takers_one_gets_the_slot() {
    both().iter().for_each(race);
}

fn jobs(temp: &TempStore) {
    let write = |new: NewJob| temp.store.write_blocking(move |tx| job::insert(tx, &new)).unwrap();
    let lease = |ms: i64| temp.store.write_blocking(move |tx| job::lease(tx, &["mail"], 10, ms)).unwrap();
    let past = NewJob { max_attempts: 2, ..NewJob::new("mail", "appointment/1", json!({"a": 1}), at(0)) };
    let id = write(past.clone());
    write(NewJob::new("other", "", json!(null), at(0)));
    let far = jiff::Timestamp::from_second(4_000_000_000).unwrap();
    write(NewJob::new("mail", "appointment/1", json!({}), far));
    let first = lease(60_000);
    assert_eq!(first.iter().map(|j| j.id).collect::<Vec<_>>(), [id], "neither other queues nor the future");
    assert_eq!((first[0].attempts, first[0].token, &first[0].data), (1, 1, &json!({"a": 1})));
    assert!(lease(60_000).is_empty(), "leased");
    let failed = |id: i64, token: i64| {
        temp.store.write_blocking(move |tx| job::failed(tx, id, token, "provider down")).unwrap()
    };
    assert_eq!(failed(id, 1), Some(job::State::Ready));
    assert!(lease(60_000).is_empty(), "backs off");
    temp.store
        .write_blocking(move |tx| tx.execute("UPDATE job SET run_us = 0 WHERE id = $1", store::params![id]))
        .unwrap();
    // The lease ends at once, as if the worker had died.
    assert_eq!(lease(0)[0].token, 2);
    assert!(lease(0).is_empty(), "no tries left");
    let dead = temp.store.read_blocking(|tx| job::list(tx, job::State::Dead, None, 10)).unwrap();
    assert_eq!((dead.rows.len(), dead.rows[0].last_error.as_deref()), (1, Some("provider down")));
    assert!(temp.store.write_blocking(move |tx| job::replay(tx, id)).unwrap());
    let again = lease(0);
    assert_eq!(again[0].token, 3);
    let last = lease(60_000);
    assert_eq!(last[0].token, 4);
    let done = |token: i64| temp.store.write_blocking(move |tx| job::done(tx, id, token)).unwrap();
    assert!(!done(3), "fenced off by the later lease");
    assert_eq!(failed(id, 3), None);
    assert!(done(4));
    assert!(!done(4));
    let counts = temp.store.read_blocking(job::counts).unwrap();
    assert_eq!(counts, [(job::State::Ready, 2)]);
    assert_eq!(temp.store.write_blocking(|tx| job::cancel(tx, "appointment/1")), Ok(1));
    assert_eq!(temp.store.write_blocking(|tx| job::cancel(tx, "")), Ok(0));
    assert_eq!(temp.store.write_blocking(move |tx| job::prune(tx, far)), Ok(1));
    assert_eq!(temp.store.read_blocking(job::next_due).unwrap(), Some(at(0)));
}

#[test]
fn jobs_are_leased_fenced_retried_and_buried() {
    both().iter().for_each(jobs);
}

/// Many workers: every job runs under exactly one live lease.
fn workers(temp: &TempStore) {
    const JOBS: usize = 40;
    temp.store
        .write_blocking(|tx| {
            for n in 0..JOBS {
                job::insert(tx, &NewJob::new("q", "", json!(n), at(0)))?;
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    let mut ran: Vec<i64> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                let store = temp.store.clone();
                scope.spawn(move || {
                    let mut mine = Vec::new();
                    loop {
                        let leased = store.write_blocking(|tx| job::lease(tx, &[], 3, 600_000)).unwrap();
                        if leased.is_empty() {
                            return mine;
                        }
                        for job in leased {
                            let (id, token) = (job.id, job.token);
                            assert!(store.write_blocking(move |tx| job::done(tx, id, token)).unwrap());
                            mine.push(id);
                        }
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    });
    ran.sort_unstable();
    ran.dedup();
    assert_eq!(ran.len(), JOBS, "{}", temp.engine);
}

#[test]
fn workers_share_the_jobs() {
    both().iter().for_each(workers);
}

fn sms(to: &str) -> NewMessage {
    NewMessage::sms(to, "sw", "appointment.booked", "Karibu", at(0), Uuid::new_v4())
}

fn messages(temp: &TempStore) {
    let far = Some(jiff::Timestamp::from_second(4_000_000_000).unwrap());
    let (one, two, old) = (
        NewMessage { expires: far, ..sms("+254700000001") },
        NewMessage { expires: far, max_attempts: 1, ..sms("+254700000002") },
        NewMessage { expires: Some(at(1)), ..sms("+254700000003") },
    );
    let all = [one.clone(), two.clone(), old.clone()];
    temp.store.write_blocking(move |tx| all.iter().try_for_each(|m| message::insert(tx, m))).unwrap();
    // Sent in the past: `at` is long ago for the last one's expiry only.
    let now = jiff::Timestamp::now();
    let leased = temp.store.write_blocking(|tx| message::lease(tx, 10, 60_000)).unwrap();
    let expired = i64::from(at(1) <= now);
    assert_eq!(leased.len() as i64, 3 - expired);
    let token = leased.iter().find(|m| m.id == one.id).unwrap().token;
    // The delivery report overtakes the answer to the send.
    let delivered = |id: &'static str, state: message::State| {
        temp.store.write_blocking(move |tx| message::delivery(tx, id, state, None)).unwrap()
    };
    assert!(!delivered("ATX_1", message::State::Delivered));
    assert!(!delivered("ATX_1", message::State::Sent));
    let accepted = Sent::Accepted { provider_id: Some("ATX_1".into()), cost: Some("KES 0.8000".into()) };
    let (id, result) = (one.id, accepted.clone());
    assert!(temp.store.write_blocking(move |tx| message::report(tx, &id, token, &result)).unwrap());
    let loaded = temp.store.read_blocking(move |tx| message::load(tx, &id)).unwrap().unwrap();
    assert_eq!((loaded.state, loaded.cost.as_deref()), (message::State::Delivered, Some("KES 0.8000")));
    assert!(!delivered("ATX_1", message::State::Failed), "delivered is final");
    let (id, result) = (one.id, accepted);
    assert!(!temp.store.write_blocking(move |tx| message::report(tx, &id, token + 7, &result)).unwrap());
    let (id, token) = (two.id, leased.iter().find(|m| m.id == two.id).unwrap().token);
    let retry = Sent::Retry { after_ms: 0, error: "HTTP 503".into() };
    assert!(temp.store.write_blocking(move |tx| message::report(tx, &id, token, &retry)).unwrap());
    let dead = message::Filter { state: Some(message::State::Dead), ..Default::default() };
    let dead = temp.store.read_blocking(move |tx| message::list(tx, &dead, None, 10)).unwrap();
    assert_eq!(dead.rows.len() as i64, 1 + expired, "one try only");
    assert!(temp.store.write_blocking(move |tx| message::requeue(tx, &id)).unwrap());
    let to = message::Filter { to: Some("+254700000002".into()), ..Default::default() };
    let listed = temp.store.read_blocking(move |tx| message::list(tx, &to, None, 10)).unwrap();
    assert_eq!((listed.rows.len(), listed.rows[0].state), (1, message::State::Queued));
    let counts = temp.store.read_blocking(|tx| message::counts(tx, at(0), at(10))).unwrap();
    assert_eq!(counts.iter().map(|(_, n)| n).sum::<i64>(), 3);
    assert!(temp.store.read_blocking(message::next_due).unwrap().is_some());
}

#[test]
fn messages_are_sent_and_followed() {
    both().iter().for_each(messages);
}

#[test]
fn sequences_count() {
    for temp in both() {
        let numbers: Vec<i64> = (0..3)
            .map(|_| temp.store.write_blocking(|tx| sequence::next(tx, "record-number")).unwrap())
            .collect();
        assert_eq!(numbers, [1, 2, 3]);
        temp.store.write_blocking(|tx| sequence::at_least(tx, "record-number", 500)).unwrap();
        temp.store.write_blocking(|tx| sequence::at_least(tx, "record-number", 20)).unwrap();
        assert_eq!(temp.store.write_blocking(|tx| sequence::next(tx, "record-number")), Ok(501));
    }
}
