//! Bulk jobs and named views. Reading a type as it stood is tried with exports, in `insight`.

use crate::support::at;
use serde_json::json;
use store::bulk::job::{self, File, Kind, Role, State};
use store::bulk::view;
use store::test_support::both;
use uuid::Uuid;

fn new(id: u128, owner: &str) -> job::New {
    job::New {
        id: Uuid::from_u128(id),
        kind: Kind::Export,
        owner: owner.into(),
        scopes: vec!["system/*.rs".into()],
        request: json!({"url": "x"}),
        progress: json!({}),
        transaction: at(1),
        expires: at(1_000),
    }
}

fn file(number: i64) -> File {
    File {
        number,
        role: Role::Output,
        kind: "Patient".into(),
        name: format!("f{number}"),
        count: 1,
        bytes: 2,
    }
}

#[test]
fn a_lost_lease_writes_nothing() {
    for temp in both() {
        temp.store
            .write_blocking(|tx| {
                job::insert(tx, &new(1, "client/a"))?;
                assert!(job::is_due(tx, Kind::Export)? && !job::is_due(tx, Kind::Import)?);
                // A worker that died at once: its lease is over when it begins.
                let dead = job::lease(tx, Kind::Export, -1)?.unwrap();
                let alive = job::lease(tx, Kind::Export, 60_000)?.unwrap();
                assert!(alive.token > dead.token);
                assert!(job::lease(tx, Kind::Export, 60_000)?.is_none(), "leased");
                assert!(!job::save(tx, dead.id, dead.token, &json!({"by": "dead"}), &[file(1)])?);
                assert!(!job::renew(tx, dead.id, dead.token, 1)?);
                assert!(job::save(tx, alive.id, alive.token, &json!({"by": "alive"}), &[file(1)])?);
                assert_eq!(job::files(tx, alive.id)?, [file(1)]);
                let again = job::lease(tx, Kind::Export, 60_000)?.unwrap();
                assert_eq!(again.progress, json!({"by": "alive"}));
                assert!(job::finish(tx, again.id, again.token, &json!({}), None, at(50))?);
                assert_eq!(job::load(tx, again.id)?.unwrap().state, State::Done);
                assert!(!job::finish(tx, again.id, again.token, &json!({}), Some("x"), at(50))?, "ended");
                Ok::<_, store::Error>(())
            })
            .unwrap();
    }
}

#[test]
fn jobs_are_counted_cancelled_and_removed() {
    for temp in both() {
        temp.store
            .write_blocking(|tx| {
                for id in 1..=3 {
                    job::insert(tx, &new(id, if id == 3 { "client/b" } else { "client/a" }))?;
                }
                assert_eq!(job::active(tx, "client/a")?, (2, 3));
                assert_eq!(job::list(tx, Some("client/a"), 10)?.len(), 2);
                assert_eq!(job::list(tx, None, 10)?.len(), 3);
                // Those that waited longest first: none is starved.
                let mut order = Vec::new();
                for _ in 0..3 {
                    order.push(job::lease(tx, Kind::Export, 60_000)?.unwrap().id);
                }
                order.sort();
                assert_eq!(order, [1, 2, 3].map(Uuid::from_u128));
                let id = Uuid::from_u128(1);
                assert!(job::cancel(tx, id)? && !job::cancel(tx, id)?);
                assert!(!job::save(tx, id, 1, &json!({}), &[])?, "cancelled");
                assert_eq!(job::expired(tx, at(0), 10)?, [id]);
                job::remove(tx, id)?;
                assert_eq!((job::load(tx, id)?, job::active(tx, "client/a")?), (None, (1, 2)));
                assert_eq!(job::expired(tx, at(1_000), 10)?.len(), 2);
                Ok::<_, store::Error>(())
            })
            .unwrap();
    }
}

#[test]
fn a_replaced_view_begins_anew() {
    for temp in both() {
        let new = view::New {
            name: "names".into(),
            definition: json!({"resource": "Patient"}),
            formats: vec!["csv".into()],
            every_s: 60,
            owner: "client/a".into(),
        };
        temp.store
            .write_blocking(move |tx| {
                assert!(view::put(tx, &new)? && view::is_due(tx)?);
                let leased = view::lease(tx, 60_000)?.unwrap();
                assert!(view::lease(tx, 60_000)?.is_none());
                assert!(!view::put(tx, &new)?);
                let done = view::Refreshed {
                    seq: 9,
                    generation: 1,
                    rows: 3,
                    files: json!({}),
                    due_in_s: 60,
                    error: None,
                };
                assert!(!view::refreshed(tx, "names", leased.token, &done)?, "of the old definition");
                let leased = view::lease(tx, 60_000)?.unwrap();
                assert!(view::refreshed(tx, "names", leased.token, &done)?);
                assert!(!view::is_due(tx)?);
                let shown = view::load(tx, "names")?.unwrap();
                assert_eq!((shown.seq, shown.rows, shown.generation), (9, 3, 1));
                assert!(view::hasten(tx, "names")? && view::is_due(tx)?);
                assert!(view::remove(tx, "names")? && !view::remove(tx, "names")?);
                Ok::<_, store::Error>(())
            })
            .unwrap();
    }
}
