//! The tree over the audit trail: it grows, it proves, and it names what was tampered with.

use crate::bench::each_engine_from;
use crate::{Bench, create, each_engine, key, observation, set};
use access::Role;
use jiff::{SignedDuration, Timestamp};
use record::audit::{Against, AuditHead, AuditKey, Fault, Finding, Report, SealError, Suspect};
use record::{Error, Record};
use std::collections::BTreeMap;
use store::audit::leaf::Leaf;
use store::audit::{merkle, prune, tree};
use store::{Dialect, Param, Secret32, Tx};

pub fn signer(n: u8) -> AuditKey {
    AuditKey::new(&Secret32::new([n; 32])).unwrap()
}

/// Some reads by several people, and one segment.
async fn work(bench: &Bench, key_of: &AuditKey, reads: usize) -> AuditHead {
    for n in 0..reads {
        let who = if n % 3 == 0 { bench.patient() } else { bench.doctor() };
        bench.record.read(&who, &key("Patient/p1")).await.unwrap();
        // No two rows alike: exchanging those would change nothing.
        bench.turn(SignedDuration::from_millis(1));
    }
    bench.record.find(&bench.staff(Role::FrontDesk), "Patient", &[("gender", "female")], 50).await.unwrap();
    bench.record.audit_seal(key_of, true).await.unwrap().unwrap()
}

pub async fn verify(record: &Record, heads: &[AuditHead]) -> Report {
    let against = Against { heads: heads.to_vec(), key: None };
    record.audit_verify(against, &mut |_, _| {}).await.unwrap()
}

async fn sql(record: &Record, texts: Vec<String>) {
    record
        .store()
        .write(move |tx| {
            for text in &texts {
                tx.execute(text, &[])?;
            }
            Ok::<_, store::Error>(())
        })
        .await
        .unwrap();
}

const TABLES: [&str; 7] =
    ["audit", "audit_patient", "audit_tree", "audit_segment", "audit_node", "audit_key", "term"];

/// What an intruder with the database in his hands does first.
async fn without_triggers(record: &Record) {
    let texts = match record.store().dialect() {
        Dialect::Sqlite => {
            let names = record.store().read(|tx| {
                tx.all(
                    "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'audit%'",
                    &[],
                    |r| r.string(0),
                )
            });
            names.await.unwrap().into_iter().map(|name| format!("DROP TRIGGER {name}")).collect()
        }
        Dialect::Postgres => {
            TABLES.iter().map(|table| format!("ALTER TABLE {table} DISABLE TRIGGER USER")).collect()
        }
    };
    sql(record, texts).await;
}

/// Keeps a copy of all tables under a name, and gives it back.
async fn keep(record: &Record, name: &str) {
    sql(record, TABLES.iter().map(|t| format!("CREATE TABLE {name}_{t} AS SELECT * FROM {t}")).collect())
        .await;
}

async fn restore(record: &Record, name: &str) {
    let texts = TABLES
        .iter()
        .flat_map(|t| [format!("DELETE FROM {t}"), format!("INSERT INTO {t} SELECT * FROM {name}_{t}")]);
    sql(record, texts.collect()).await;
}

async fn leaves(record: &Record) -> Vec<Leaf> {
    let segments = record.store_read(|tx| tree::segments(tx, 0, 1000)).await.unwrap();
    segments.into_iter().flat_map(|(_, leaves)| leaves).collect()
}

#[tokio::test]
async fn the_tree_grows_and_proves() {
    each_engine(|bench| async move {
        let (record, officer) = (&bench.record, bench.staff(Role::PrivacyOfficer));
        assert!(record.audit_head().await.unwrap().is_none());
        let empty = verify(record, &[]).await;
        assert_eq!((empty.entries, empty.finding), (0, None));
        // Not due: neither old nor many.
        assert!(record.audit_seal(&signer(1), false).await.unwrap().is_none());
        bench.turn(record::audit::SEAL_AFTER);
        let first = record.audit_seal(&signer(1), false).await.unwrap().unwrap();
        let mut heads = vec![first];
        for n in 1..6 {
            heads.push(work(&bench, &signer(1), n).await);
        }
        let report = verify(record, &heads).await;
        assert_eq!(report.finding, None);
        assert_eq!((report.heads, report.anchors, report.waiting), (6, 6, 0));
        let all = leaves(record).await;
        assert_eq!(report.entries, all.len() as u64);
        assert_eq!(report.head.as_ref(), heads.last());
        let text = heads.iter().map(AuditHead::text).collect::<Vec<_>>().join("\nkept by hand:\n> ");
        assert_eq!(AuditHead::find(&text), heads, "heads survive as text");
        assert!(heads.iter().all(|head| head.is_signed_by(&signer(1).public)));
        for (entry, leaf) in all.iter().enumerate() {
            for size in [None, heads.iter().map(|head| head.size).find(|size| *size > entry as u64)] {
                let proof = record.audit_inclusion(&officer, leaf.seq, size).await.unwrap();
                assert!(proof.holds && proof.entry == entry as u64 && proof.leaf == leaf.hash);
                let root = &proof.head.root;
                assert!(merkle::verify_inclusion(
                    &leaf.hash,
                    proof.entry,
                    proof.head.size,
                    &proof.path,
                    root
                ));
            }
        }
        for (n, old) in heads.iter().enumerate() {
            for new in &heads[n..] {
                let proof = record.audit_consistency(&officer, (old.size, new.size)).await.unwrap();
                assert!(proof.holds && proof.roots == (old.root, new.root));
            }
        }
        assert!(matches!(
            record.audit_inclusion(&bench.doctor(), all[0].seq, None).await,
            Err(Error::Denied)
        ));
        assert!(matches!(record.audit_consistency(&officer, (1, 1 << 40)).await, Err(Error::NotFound)));
        // The looks of the officer wait now; they are counted, not missed.
        let report = verify(record, &heads).await;
        assert!(report.finding.is_none() && report.waiting > 0 && report.waiting_since.is_some());
    })
    .await;
}

#[tokio::test]
async fn segments_of_a_backlog_are_no_longer_than_they_may_be() {
    each_engine(|bench| async move {
        let at = bench.record.now();
        let event = |n: u64| store::audit::Event {
            at,
            action: "read".into(),
            outcome: store::audit::Outcome::Success,
            agent: format!("account/{}", n % 7),
            agent_display: "Dr. Otieno".into(),
            role: "doctor".into(),
            address: Some("10.1.2.3".parse().unwrap()),
            request_id: format!("r{n}"),
            purpose: access::Purpose::Treatment,
            what: format!("Patient/p{}", n % 5),
            patients: vec![format!("p{}", n % 5)],
            session: Some([3; 8]),
            client: String::new(),
        };
        bench.record.store().append_audit((0..2500).map(event).collect()).await.unwrap();
        let mut heads = Vec::new();
        while let Some(head) = bench.record.audit_seal(&signer(1), heads.len() > 1).await.unwrap() {
            heads.push(head);
        }
        let sizes: Vec<u64> = heads.iter().map(|head| head.size).collect();
        assert_eq!(sizes[..2], [1000, 2000]);
        assert!(heads.len() == 3 && sizes[2] > 2500);
        let report = verify(&bench.record, &heads).await;
        assert_eq!((report.finding, report.entries), (None, sizes[2]));
        for sizes in [(1, 2501), (256, 512), (999, 1000), (1000, 2000), (1500, 2222)] {
            assert!(bench.record.audit_prove_growth(sizes).await.unwrap().holds, "{sizes:?}");
        }
        for n in [0, 255, 256, 999, 1000, 2047, 2499] {
            let seq = leaves(&bench.record).await[n].seq;
            assert!(bench.record.audit_prove_row(seq, None).await.unwrap().holds);
        }
    })
    .await;
}

fn found(entry: usize, row: i64, fault: Fault) -> Option<Finding> {
    Some(Finding { entry: Some(entry as u64), row: Some(row), fault })
}

/// Any column of any row, any row gone, any two exchanged, any tail cut off: the first bad entry is named.
#[tokio::test]
async fn what_was_tampered_with_is_named() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let key_of = signer(1);
        for n in [3, 1, 4] {
            work(&bench, &key_of, n).await;
        }
        bench.record.read(&bench.doctor(), &key("Patient/p2")).await.unwrap_err();
        let heads = vec![work(&bench, &key_of, 2).await];
        let all = leaves(record).await;
        without_triggers(record).await;
        keep(record, "good").await;
        let mut wrong = Vec::new();
        let numbers = ["at_us", "action", "outcome", "agent", "agent_details", "purpose"];
        let others = ["address", "request", "target", "what", "patients", "session", "client"];
        for (entry, leaf) in all.iter().enumerate() {
            let seq = leaf.seq;
            let mut cases: Vec<(String, Option<Finding>)> = Vec::new();
            let changed = || found(entry, seq, Fault::Changed);
            for column in numbers {
                cases.push((format!("UPDATE audit SET {column} = {column} + 1 WHERE seq = {seq}"), changed()));
            }
            cases.push((format!("DELETE FROM audit WHERE seq = {seq}"), found(entry, seq, Fault::Missing)));
            cases.push((format!("DELETE FROM audit WHERE seq >= {seq}"), found(entry, seq, Fault::Missing)));
            let other = all[(entry * 7 + 3) % all.len()].seq;
            if other != seq {
                let (first, row) = if other < seq { ((entry * 7 + 3) % all.len(), other) } else { (entry, seq) };
                cases.push((
                    format!(
                        "UPDATE audit SET seq = -5 WHERE seq = {seq};UPDATE audit SET seq = {seq} WHERE seq = {other};\
                         UPDATE audit SET seq = {other} WHERE seq = -5"
                    ),
                    found(first, row, Fault::Changed),
                ));
            }
            for (text, expected) in cases {
                sql(record, text.split(';').map(str::to_owned).collect()).await;
                let finding = verify(record, &heads).await.finding;
                if finding != expected {
                    wrong.push(format!("{text}: {finding:?}"));
                }
                restore(record, "good").await;
            }
            for column in others {
                let value = match column {
                    "what" => Param::Text("Patient?name=nobody"),
                    "client" => Param::Int(1),
                    _ => Param::Bytes(&[0, b'x', 0, b'y']),
                };
                let text = format!("UPDATE audit SET {column} = $1 WHERE seq = {seq}");
                let flip = record.store().write({
                    let (text, value) = (text.clone(), value);
                    move |tx| tx.execute(&text, &[value])
                });
                flip.await.unwrap();
                let finding = verify(record, &heads).await.finding;
                if finding != changed() {
                    wrong.push(format!("{text}: {finding:?}"));
                }
                restore(record, "good").await;
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(verify(record, &heads).await.finding, None, "a control");
    })
    .await;
}

/// What is not a row: terms, the index of patients, the tree's own tables, keys.
#[tokio::test]
async fn what_the_rows_lean_on_is_checked() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let (first, second) = (work(&bench, &signer(1), 3).await, work(&bench, &signer(1), 3).await);
        let new = signer(2);
        record.audit_rotate(new.public, Some(signer(1).endorse(&new.public))).await.unwrap();
        assert!(matches!(
            record.audit_seal(&signer(1), true).await,
            Ok(None) | Err(SealError::OtherKey { .. })
        ));
        let third = work(&bench, &new, 300).await;
        let heads = vec![first.clone(), second.clone(), third.clone()];
        let all = leaves(record).await;
        let good = verify(record, &heads).await;
        assert!(good.finding.is_none() && good.unendorsed.is_empty(), "{good:?}");
        without_triggers(record).await;
        keep(record, "good").await;
        let (last, begin) = (third.size - 1, second.size);
        let is = |fault: Fault| move |f: &Finding| f.fault == fault;
        type Check = Box<dyn Fn(&Finding) -> bool>;
        let row = all[4].seq;
        let cases: Vec<(String, Check)> = vec![
            ("UPDATE term SET text = 'account/666' WHERE text = 'account/1'".into(), Box::new(is(Fault::Changed))),
            (
                format!("DELETE FROM audit_patient WHERE seq = {row}"),
                Box::new(move |f| f.fault == Fault::PatientIndex && f.row == Some(row) && f.entry == Some(4)),
            ),
            (
                "INSERT INTO audit_patient (patient, seq) SELECT patient, seq + 1000000 FROM audit_patient WHERE seq = \
                 (SELECT min(seq) FROM audit_patient)".into(),
                // Behind the last row there is nothing to speak of yet.
                Box::new(|_| false),
            ),
            (format!("DELETE FROM audit_segment WHERE first = {begin}"), {
                Box::new(move |f| f.fault == Fault::SegmentMissing && f.entry == Some(begin))
            }),
            ("UPDATE audit_segment SET last_seq = last_seq + 1 WHERE first = 0".into(), Box::new(|f| f.entry == Some(0) || f.fault == Fault::Inserted)),
            ("UPDATE audit_segment SET count = count - 1 WHERE first = 0".into(), Box::new(|f| f.entry == Some(0))),
            (
                format!("UPDATE audit_segment SET sealed_us = sealed_us + 1 WHERE first = {begin}"),
                Box::new(move |f| f.fault == Fault::Signature && f.entry == Some(last)),
            ),
            ("UPDATE audit_segment SET root = (SELECT root FROM audit_segment WHERE first = 0) WHERE first > 0".into(), {
                let entry = first.size;
                Box::new(move |f| matches!(f.fault, Fault::SegmentChanged { .. }) && f.entry == Some(entry))
            }),
            (format!("UPDATE audit_key SET since = {} WHERE since > 0", last + 1), {
                Box::new(move |f| f.fault == Fault::Key && f.entry == Some(last))
            }),
            ("DELETE FROM audit_key WHERE since > 0".into(), Box::new(is(Fault::Key))),
            ("UPDATE audit_key SET public = (SELECT public FROM audit_key WHERE since = 0)".into(), {
                Box::new(is(Fault::Key))
            }),
            ("DELETE FROM audit_node WHERE number = 0".into(), {
                Box::new(|f| f.fault == Fault::Notes && f.entry == Some(0))
            }),
            ("UPDATE audit_tree SET last_seq = last_seq + 1".into(), Box::new(is(Fault::Notes))),
            ("UPDATE audit_tree SET pruned = size".into(), Box::new(|_| false)),
            (
                format!("DELETE FROM audit WHERE seq <= {}; UPDATE audit_tree SET pruned = size", first.row),
                Box::new(is(Fault::PrunedEarly)),
            ),
        ];
        let mut wrong = Vec::new();
        for (text, check) in cases {
            sql(record, text.split(';').map(|t| t.trim().to_owned()).collect()).await;
            let report = verify(record, &heads).await;
            let harmless = text.contains("1000000") || text == "UPDATE audit_tree SET pruned = size";
            match &report.finding {
                Some(finding) if check(finding) => {}
                None if harmless => {}
                other => wrong.push(format!("{text}: {other:?}")),
            }
            restore(record, "good").await;
        }
        // A row put between sealed ones, where the numbers leave room.
        if let Some(n) = all.windows(2).position(|pair| pair[0].seq + 1 < pair[1].seq) {
            let (seq, next) = (all[n].seq, n + 1);
            let columns = "at_us, action, outcome, agent, agent_details, purpose";
            let text = format!("INSERT INTO audit (seq, {columns}) SELECT seq + 1, {columns} FROM audit WHERE seq = {seq}");
            sql(record, vec![text]).await;
            let finding = verify(record, &heads).await.finding;
            if finding != found(next, seq + 1, Fault::Inserted) {
                wrong.push(format!("inserted behind {seq}: {finding:?}"));
            }
            restore(record, "good").await;
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    })
    .await;
}

#[tokio::test]
async fn a_rolled_back_or_rewritten_database_is_told_by_a_kept_head() {
    each_engine(|bench| async move {
        let record = &bench.record;
        let key_of = signer(1);
        let old = work(&bench, &key_of, 3).await;
        without_triggers(record).await;
        keep(record, "old").await;
        let newest = work(&bench, &key_of, 5).await;
        keep(record, "good").await;
        restore(record, "old").await;
        assert_eq!(verify(record, std::slice::from_ref(&old)).await.finding, None);
        assert_eq!(verify(record, &[]).await.finding, None, "without a kept head nothing is known");
        assert_eq!(
            verify(record, &[old.clone(), newest.clone()]).await.finding,
            Some(Finding {
                entry: Some(old.size),
                row: None,
                fault: Fault::Shorter { anchored: newest.size }
            })
        );
        // Somebody with the signing key removes a row and seals everything anew, under the same name.
        restore(record, "good").await;
        let state = record.store_read(|tx| Ok(tree::state(tx)?.unwrap())).await.unwrap();
        let gone = leaves(record).await[2].seq;
        let mut texts: Vec<String> = ["audit_tree", "audit_segment", "audit_node", "audit_key"]
            .iter()
            .map(|table| format!("DELETE FROM {table}"))
            .collect();
        texts.push(format!("DELETE FROM audit WHERE seq = {gone}"));
        texts.push(format!("DELETE FROM audit_patient WHERE seq = {gone}"));
        sql(record, texts).await;
        record.store().write(move |tx| tree::begin(tx, state.name).map(drop)).await.unwrap();
        bench.record.read(&bench.doctor(), &key("Patient/p1")).await.unwrap();
        let forged = record.audit_seal(&key_of, true).await.unwrap().unwrap();
        assert_eq!((forged.tree, forged.size), (newest.tree, newest.size));
        assert_eq!(verify(record, &[]).await.finding, None);
        for kept in [&old, &newest] {
            assert_eq!(
                verify(record, std::slice::from_ref(kept)).await.finding,
                Some(Finding { entry: Some(kept.size), row: None, fault: Fault::Rewritten })
            );
        }
        let stranger = AuditHead { tree: [9; 16], ..old.clone() };
        assert_eq!(verify(record, &[stranger]).await.finding.unwrap().fault, Fault::OtherTree);
        // Another key than the one that the operator knows.
        let against = Against { heads: Vec::new(), key: Some(signer(5).public) };
        let report = record.audit_verify(against, &mut |_, _| {}).await.unwrap();
        assert_eq!(report.finding.unwrap().fault, Fault::OtherKey);
    })
    .await;
}

#[tokio::test]
async fn keys_follow_each_other_by_their_own_word() {
    each_engine(|bench| async move {
        let record = &bench.record;
        work(&bench, &signer(1), 1).await;
        let by_stranger = signer(7).endorse(&signer(2).public);
        assert!(record.audit_rotate(signer(2).public, Some(by_stranger)).await.is_err());
        assert!(record.audit_rotate(signer(1).public, None).await.is_err(), "it is there");
        bench.record.read(&bench.doctor(), &key("Patient/p1")).await.unwrap();
        assert!(matches!(record.audit_seal(&signer(2), true).await, Err(SealError::OtherKey { .. })));
        record.audit_rotate(signer(2).public, Some(signer(1).endorse(&signer(2).public))).await.unwrap();
        let head = work(&bench, &signer(2), 1).await;
        assert!(head.is_signed_by(&signer(2).public) && !head.is_signed_by(&signer(1).public));
        assert!(verify(record, &[]).await.unendorsed.is_empty());
        // The second key was lost.
        record.audit_rotate(signer(3).public, None).await.unwrap();
        work(&bench, &signer(3), 1).await;
        let report = verify(record, &[head]).await;
        assert_eq!((report.finding, report.unendorsed.len()), (None, 1));
    })
    .await;
}

/// On PostgreSQL several transactions write at once, and one that began early may commit late.
#[tokio::test]
async fn nothing_appears_behind_what_is_sealed() {
    each_engine(|bench| async move {
        let (record, key_of) = (&bench.record, signer(1));
        let writers: Vec<_> = (0..4)
            .map(|n| {
                let bench = bench.clone();
                tokio::spawn(async move {
                    for m in 0..40 {
                        let id = format!("o-{n}-{m}");
                        let made = set(vec![create(observation(&id, "p1", "70"))]);
                        bench.record.command(&bench.system(), "test.write", made).await.unwrap();
                    }
                })
            })
            .collect();
        let mut heads = Vec::new();
        while writers.iter().any(|writer| !writer.is_finished()) {
            heads.extend(record.audit_seal(&key_of, true).await.unwrap());
            tokio::task::yield_now().await;
        }
        for writer in writers {
            writer.await.unwrap();
        }
        while let Some(head) = record.audit_seal(&key_of, true).await.unwrap() {
            heads.push(head);
        }
        let report = verify(record, &heads).await;
        assert_eq!(report.finding, None);
        let rows =
            record.store_read(|tx| tx.one("SELECT count(*) FROM audit", &[], |r| r.int(0))).await.unwrap();
        assert_eq!(report.entries, u64::try_from(rows.unwrap()).unwrap());
    })
    .await;
}

/// A transaction that took its numbers and did not commit yet holds the sealing back.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_open_transaction_is_waited_for() {
    each_engine(|bench| async move {
        if bench.record.store().dialect() == Dialect::Sqlite {
            return;
        }
        let (record, key_of) = (&bench.record, signer(1));
        while record.audit_seal(&key_of, true).await.unwrap().is_some() {}
        let (began, begun) = std::sync::mpsc::sync_channel(1);
        let (end, ended) = std::sync::mpsc::sync_channel::<()>(1);
        let ended = std::sync::Mutex::new(ended);
        let seq = record.store().write(move |tx: &mut dyn Tx| {
            let seq = tx.next(store::Counter::Audit)?;
            began.send(()).unwrap();
            ended.lock().unwrap().recv().unwrap();
            tx.execute(
                "INSERT INTO audit (seq, at_us, action, outcome, agent, agent_details, purpose) \
                 SELECT $1, at_us, action, outcome, agent, agent_details, purpose FROM audit ORDER BY seq LIMIT 1",
                store::params![seq],
            )?;
            Ok::<_, store::Error>(seq)
        });
        let seq = tokio::spawn(seq);
        tokio::task::spawn_blocking(move || begun.recv().unwrap()).await.unwrap();
        bench.record.read(&bench.doctor(), &key("Patient/p1")).await.unwrap();
        assert!(record.audit_seal(&key_of, true).await.unwrap().is_none(), "the later row waits for the earlier");
        end.send(()).unwrap();
        let seq = seq.await.unwrap().unwrap();
        let head = record.audit_seal(&key_of, true).await.unwrap().unwrap();
        assert!(head.row > seq);
        assert_eq!(verify(record, &[head]).await.finding, None);
    })
    .await;
}

#[tokio::test]
async fn rows_go_after_six_years_and_the_tree_stays_whole() {
    each_engine_from("2015-03-01T09:00:00Z", |bench| async move {
        let (record, key_of) = (&bench.record, signer(1));
        let old = work(&bench, &key_of, 20).await;
        let long = "2026-11-21T09:00:00Z".parse::<Timestamp>().unwrap().duration_since(record.now());
        bench.turn(long);
        let young = work(&bench, &key_of, 20).await;
        let before = leaves(record).await;
        let refused = |text: String| async move {
            let done = record.store().write(move |tx| tx.execute(&text, &[])).await;
            assert!(matches!(done, Err(store::Error::Constraint(_))), "{done:?}");
        };
        // Old enough, but not given free; and the other way round.
        refused(format!("DELETE FROM audit WHERE seq = {}", before[0].seq)).await;
        refused(format!("DELETE FROM audit_patient WHERE seq = {}", before[0].seq)).await;
        for text in
            ["DELETE FROM audit_segment", "UPDATE audit_segment SET count = 1", "DELETE FROM audit_tree"]
        {
            refused(text.to_owned()).await;
        }
        refused("UPDATE audit_tree SET size = 0".to_owned()).await;
        let floor = Timestamp::now() - prune::FLOOR;
        let soon = floor + SignedDuration::from_hours(1);
        assert!(record.store().write(move |tx| prune::mark(tx, soon)).await.is_err());
        assert!(record.audit_prune(1).await.is_err(), "a year is below the floor");
        assert_eq!(record.audit_prune(7).await.unwrap(), old.size);
        assert_eq!(record.audit_prune(6).await.unwrap(), 0);
        refused(format!("DELETE FROM audit WHERE seq = {}", young.row)).await;
        let report = verify(record, &[old.clone(), young.clone()]).await;
        assert_eq!((report.finding, report.pruned, report.anchors), (None, old.size, 2));
        assert_eq!(leaves(record).await, before);
        assert!(record.audit_prove_row(before[3].seq, Some(young.size)).await.unwrap().holds);
        assert!(record.audit_prove_growth((old.size, young.size)).await.unwrap().holds);
        let rest = record.store_read(|tx| tx.one("SELECT min(seq) FROM audit_patient", &[], |r| r.int(0)));
        assert!(rest.await.unwrap().unwrap() > old.row, "the index went with the rows");
        // The removal is itself an entry.
        let officer = bench.staff(Role::PrivacyOfficer);
        let filter = record::audit::AuditFilter { action: Some("audit.prune".into()), ..Default::default() };
        assert_eq!(record.audit_list(&officer, filter, None, 10).await.unwrap().rows.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn affected_patients_are_those_of_the_rows() {
    each_engine(|bench| async move {
        let (record, officer) = (&bench.record, bench.staff(Role::PrivacyOfficer));
        let start = record.now();
        bench.turn(SignedDuration::from_mins(10));
        for n in 0..6 {
            let made = create(observation(&format!("x{n}"), if n % 2 == 0 { "p1" } else { "p2" }, "70"));
            bench.seed(set(vec![made])).await;
        }
        let mut doctor = bench.doctor();
        doctor.address = Some("10.9.8.7".parse().unwrap());
        for _ in 0..3 {
            record.read(&doctor, &key("Patient/p1")).await.unwrap();
        }
        record.find(&doctor, "Observation", &[("patient", "Patient/p1")], 50).await.unwrap();
        record.read(&doctor, &key("Patient/p2")).await.unwrap_err();
        bench.turn(SignedDuration::from_mins(10));
        record.find(&bench.staff(Role::FrontDesk), "Patient", &[], 50).await.unwrap();
        let end = record.now() + SignedDuration::from_mins(1);
        let everybody =
            Suspect { agent: None, client: None, session: None, address: None, from: start, until: end };
        let ask = |suspect: Suspect| {
            let officer = officer.clone();
            async move { record.audit_affected(&officer, suspect, &mut |_, _| {}).await.unwrap() }
        };
        // Against the rows one by one.
        let filter = record::audit::AuditFilter { from: Some(start), to: Some(end), ..Default::default() };
        let rows = record.audit_list(&officer, filter, None, 1000).await.unwrap().rows;
        for agent in ["account/1", "system/test", "account/404"] {
            let mut truth: BTreeMap<String, u64> = BTreeMap::new();
            for row in rows.iter().filter(|row| row.agent == agent && row.outcome == "success") {
                for patient in &row.patients {
                    *truth.entry(patient.clone()).or_default() += 1;
                }
            }
            let found = ask(Suspect { agent: Some(agent.into()), ..everybody.clone() }).await;
            let got: BTreeMap<String, u64> = found.patients.iter().map(|p| (p.id.clone(), p.count)).collect();
            assert_eq!(got, truth, "{agent}");
            assert_eq!(truth.is_empty(), agent == "account/404");
        }
        let found = ask(Suspect { address: Some("10.9.8.7".parse().unwrap()), ..everybody.clone() }).await;
        assert_eq!((found.events, found.refused, found.patients.len()), (5, 1, 1));
        let patient = &found.patients[0];
        assert_eq!((patient.id.as_str(), patient.count), ("p1", 4));
        assert_eq!(patient.categories.get("read Patient"), Some(&3));
        assert_eq!(patient.categories.get("query Observation"), Some(&1));
        assert!(patient.first <= patient.last && patient.last < end);
        let late = ask(Suspect { from: record.now(), ..everybody.clone() }).await;
        assert_eq!(late.patients.len(), 2, "the front desk saw both");
        let none = ask(Suspect { session: Some([9; 8]), ..everybody.clone() }).await;
        assert!(none.patients.is_empty() && none.events == 0);
        let refused = record.audit_affected(&bench.doctor(), everybody, &mut |_, _| {}).await;
        assert!(matches!(refused, Err(Error::Denied)));
    })
    .await;
}
