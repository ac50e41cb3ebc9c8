//! Contents under the keys of patients: sealed in place, rotated, destroyed.

use crate::support::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use store::resource::{self, Indexed, Step};
use store::test_support::{TempStore, both, sqlite};
use store::{Error, Param, Secret32, Store, StoreConfig, Tx, params, search, shred};

/// An Observation of this patient with something in every kind of index table that a test can look into.
fn observation(id: &str, patient: &str) -> Doc {
    Doc::new(&format!("Observation/{id}"))
        .token("code", "http://loinc.org", &format!("code-{id}"))
        .string("value-string", &format!("secret text of {id}"))
        .date("date", 1_000, 2_000)
        .reference("subject", &format!("Patient/{patient}"))
        .of(patient)
}

pub fn patient(id: &str) -> Doc {
    Doc::new(&format!("Patient/{id}")).string("family", &format!("Family {id}")).token(
        "phone",
        "",
        "+254700000001",
    )
}

fn write(temp: &TempStore, docs: &[Doc]) {
    let docs = docs.to_vec();
    temp.store.write_blocking(move |tx| docs.iter().try_for_each(|doc| insert(tx, doc).map(drop))).unwrap();
}

fn load(store: &Store, id: &str) -> Option<resource::Stored> {
    let id = key(id);
    store.read_blocking(move |tx| resource::load(tx, &id)).unwrap()
}

fn stored(temp: &TempStore, id: &'static str) -> Vec<u8> {
    let sql = "SELECT content FROM resource WHERE rid = $1";
    let rid = load(&temp.store, id).unwrap().rid;
    temp.store
        .read_blocking(move |tx| tx.one(sql, params![rid], |row| Ok(row.bytes(0)?.to_vec())))
        .unwrap()
        .unwrap()
}

fn put(temp: &TempStore, table: &'static str, rid: i64, version: u32, content: &[u8]) {
    let content = content.to_vec();
    let sql = format!("UPDATE {table} SET content = $3 WHERE rid = $1 AND version = $2");
    let changed =
        temp.store.write_blocking(move |tx| tx.execute(&sql, params![rid, version, &content])).unwrap();
    assert_eq!(changed, 1);
}

/// One of each kind of place that somebody with the database in hand could move a content to.
fn moved(temp: &TempStore) {
    let (first, second) = (observation("a", "p1"), observation("b", "p1"));
    write(temp, &[patient("p1"), patient("p2"), first.clone(), second, observation("c", "p2")]);
    let (old, new) = (first.clone(), first);
    temp.store.write_blocking(move |tx| update(tx, 1, &old, &new)).unwrap().unwrap();
    let own = stored(temp, "Observation/a");
    assert_eq!(own[0], 2, "sealed");
    let text = b"resourceType";
    assert!(!own.windows(text.len()).any(|part| part == text));
    let row = load(&temp.store, "Observation/a").unwrap();
    assert_eq!((&*row.content, row.version), (observation("a", "p1").json(2).as_bytes(), 2));

    for other in ["Observation/b", "Observation/c", "Patient/p1"] {
        let row = load(&temp.store, other).unwrap();
        let kept = {
            let sql = "SELECT content FROM resource WHERE rid = $1";
            let rid = row.rid;
            temp.store.read_blocking(move |tx| tx.one(sql, params![rid], |row| Ok(row.bytes(0)?.to_vec())))
        };
        put(temp, "resource", row.rid, row.version, &own);
        let id = key(other);
        let read = temp.store.read_blocking(move |tx| resource::load(tx, &id));
        assert!(matches!(read, Err(Error::Corrupt(_))), "{other}: {read:?}");
        put(temp, "resource", row.rid, row.version, &kept.unwrap().unwrap());
    }
    // Into its own past, and a changed byte.
    put(temp, "history", row.rid, 1, &own);
    let read = temp.store.read_blocking(|tx| resource::read_version(tx, &key("Observation/a"), 1));
    assert!(matches!(read, Err(Error::Corrupt(_))), "{read:?}");
    for at in [1, 2, 20, own.len() - 1] {
        let mut changed = own.clone();
        changed[at] ^= 1;
        put(temp, "resource", row.rid, 2, &changed);
        let read = temp.store.read_blocking(|tx| resource::load(tx, &key("Observation/a")));
        assert!(matches!(read, Err(Error::Corrupt(_) | Error::KeysMissing(_))), "{at}: {read:?}");
    }
    put(temp, "resource", row.rid, 2, &own);
    assert_eq!(
        &*load(&temp.store, "Observation/a").unwrap().content,
        observation("a", "p1").json(2).as_bytes()
    );
}

#[test]
fn a_content_opens_in_its_own_place_only() {
    both().iter().for_each(moved);
}

/// Whose key a content is under: each patient's own, and one for what is no single patient's.
fn under(temp: &TempStore) {
    let shared = observation("s", "p1").of("p2");
    write(
        temp,
        &[
            patient("p1"),
            patient("p2"),
            observation("a", "p1"),
            observation("b", "p2"),
            shared,
            Doc::new("Organization/o"),
        ],
    );
    let number = |id| stored(temp, id)[1];
    assert_eq!(number("Observation/a"), number("Patient/p1"));
    assert_eq!(number("Observation/b"), number("Patient/p2"));
    assert_ne!(number("Patient/p1"), number("Patient/p2"));
    assert_eq!((number("Observation/s"), number("Organization/o")), (0, 0));
    // What is written over moves to the key of the patient it is of then.
    let (old, new) = (observation("a", "p1"), observation("a", "p2"));
    temp.store.write_blocking(move |tx| update(tx, 1, &old, &new)).unwrap().unwrap();
    assert_eq!(number("Observation/a"), number("Patient/p2"));
}

#[test]
fn each_patient_has_a_key() {
    both().iter().for_each(under);
}

/// A key that a transaction took and did not commit is not the patient's.
fn undone(temp: &TempStore) {
    let refused = temp.store.write_blocking(|tx| {
        insert(tx, &patient("p1"))?;
        Err::<(), _>(Error::Invalid("anything"))
    });
    assert_eq!(refused, Err(Error::Invalid("anything")));
    let inner = temp.store.write_blocking(|tx| {
        let undone = store::savepoint(tx, |tx| {
            insert(tx, &patient("p1"))?;
            Err::<(), Error>(Error::Invalid("anything"))
        });
        assert!(undone.is_err());
        insert(tx, &patient("p2"))
    });
    inner.unwrap();
    write(temp, &[patient("p1"), observation("a", "p1")]);
    let rows = temp
        .store
        .read_blocking(|tx| tx.all("SELECT key FROM patient_key ORDER BY key", &[], |row| row.int(0)))
        .unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(i64::from(stored(temp, "Observation/a")[1]), rows[1]);
    for id in ["Patient/p1", "Patient/p2", "Observation/a"] {
        assert!(!load(&temp.store, id).unwrap().deleted, "{id}");
    }
}

#[test]
fn an_undone_transaction_leaves_no_key() {
    both().iter().for_each(undone);
}

/// Reads and writes go on, no content changes.
fn rotated(mut temp: TempStore) {
    let docs: Vec<Doc> = (0..40).map(|n| patient(&format!("p{n}"))).collect();
    write(&temp, &docs);
    let contents = |store: &Store| {
        let sql = "SELECT rid, content FROM resource ORDER BY rid LIMIT 40";
        store.read_blocking(|tx| tx.all(sql, &[], |row| Ok((row.int(0)?, row.bytes(1)?.to_vec())))).unwrap()
    };
    let before = contents(&temp.store);
    let (stop, reads, fresh) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (store, stop, reads) = (temp.store.clone(), &stop, &reads);
            scope.spawn(move || {
                let mut n = reader;
                while !stop.load(Ordering::Relaxed) {
                    let id = format!("Patient/p{}", n % 40);
                    assert_eq!(&*load(&store, &id).unwrap().content, patient(&id[8..]).json(1).as_bytes());
                    (n, _) = (n + 1, reads.fetch_add(1, Ordering::Relaxed));
                }
            });
        }
        let (store, stop_writing, fresh) = (temp.store.clone(), &stop, &fresh);
        scope.spawn(move || {
            while !stop_writing.load(Ordering::Relaxed) {
                let doc = patient(&format!("new{}", fresh.fetch_add(1, Ordering::Relaxed)));
                store.write_blocking(move |tx| insert(tx, &doc)).unwrap();
            }
        });
        for _ in 0..5 {
            let keys = temp.store.rotate_tenant_key().unwrap();
            assert!(keys >= 41, "{keys}");
            // So that each rotation meets some of both.
            let (read, written) = (reads.load(Ordering::Relaxed), fresh.load(Ordering::Relaxed));
            while reads.load(Ordering::Relaxed) < read + 5 || fresh.load(Ordering::Relaxed) < written + 5 {
                std::thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(contents(&temp.store), before, "no content was sealed anew");
    temp.reopen();
    for n in 0..40 {
        assert!(!load(&temp.store, &format!("Patient/p{n}")).unwrap().deleted);
    }
    for n in 0..fresh.load(Ordering::Relaxed) {
        assert!(!load(&temp.store, &format!("Patient/new{n}")).unwrap().content.is_empty());
    }
}

#[test]
fn the_tenant_key_is_rotated_under_load() {
    both().into_iter().for_each(rotated);
}

fn entries(docs: &[Doc]) -> impl FnMut(&resource::Stored) -> Indexed + Send + use<> {
    let docs: Arc<[Doc]> = docs.into();
    move |stored| {
        let doc = docs.iter().find(|doc| key(&doc.key) == stored.key).unwrap();
        Indexed { entries: doc.entries.clone(), patients: doc.patients.clone() }
    }
}

/// As record does it, two resources at a time.
fn erase(store: &Store, id: &'static str, docs: &[Doc]) -> (Vec<String>, usize, Vec<fhir::ResourceKey>) {
    let whose = store.read_blocking(move |tx| shred::patients(tx, id)).unwrap();
    let (mut after, mut erased, mut shared) = (0, 0, Vec::new());
    loop {
        let (mut extract, own) = (entries(docs), whose.clone());
        let step = Step { resources: 2, bytes: 1 << 20 };
        let done = store
            .write_blocking(move |tx| shred::step(tx, &own, after, step, at(500), &mut extract))
            .unwrap();
        erased += done.erased.len();
        shared.extend(done.shared);
        match done.last {
            Some(last) => after = last,
            None => break,
        }
    }
    let own = whose.clone();
    let keys = store
        .write_blocking(move |tx| {
            shred::rows(tx, &own, at(500))?;
            shred::finish(tx, &own, at(500))
        })
        .unwrap();
    assert_eq!(keys, whose.len() as u64);
    for patient in whose.clone() {
        assert!(store.read_blocking(move |tx| shred::is_destroyed(tx, &patient)).unwrap());
    }
    (whose, erased, shared)
}

/// How many rows of the index there are for these rows.
fn indexed(store: &Store, rids: &[i64]) -> i64 {
    let list = rids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let tables =
        ["token", "string", "date", "quantity", "reference", "uri", "link", "free_text", "composite"];
    let count = move |tx: &mut dyn Tx| {
        let mut all = 0;
        for table in tables {
            let sql = format!("SELECT count(*) FROM {table} WHERE rid IN ({list})");
            all += tx.one(&sql, &[], |row| row.int(0))?.unwrap_or(0);
        }
        Ok::<_, Error>(all)
    };
    store.read_blocking(count).unwrap()
}

fn people() -> Vec<Doc> {
    let mut docs = vec![patient("p1"), patient("p2"), patient("old")];
    docs.extend((0..5).map(|n| observation(&format!("a{n}"), "p1")));
    docs.push(observation("b", "p2"));
    docs.push(observation("m", "old"));
    docs.push(observation("s", "p1").of("p2"));
    docs
}

fn merge_old_into_p1(tx: &mut dyn Tx) -> store::Result<()> {
    let new = store::merge::New {
        id: uuid::Uuid::from_u128(7),
        source: key("Patient/old"),
        target: key("Patient/p1"),
        at: at(100),
        content: "{}".into(),
    };
    store::merge::apply(tx, &new)
}

fn shredded(mut temp: TempStore) {
    let docs = people();
    write(&temp, &docs);
    temp.store.write_blocking(merge_old_into_p1).unwrap();
    let (old, new) = (docs[3].clone(), docs[3].clone());
    temp.store.write_blocking(move |tx| update(tx, 1, &old, &new)).unwrap().unwrap();
    let mine = ["Patient/p1", "Patient/old", "Observation/a0", "Observation/a4", "Observation/m"];
    let rids: Vec<i64> = mine.iter().map(|id| load(&temp.store, id).unwrap().rid).collect();
    assert!(indexed(&temp.store, &rids) > 10);
    let sealed: Vec<Vec<u8>> =
        ["Patient/p1", "Observation/a0", "Observation/m"].iter().map(|id| stored(&temp, id)).collect();

    let (whose, erased, shared) = erase(&temp.store, "p1", &docs);
    assert_eq!(whose, ["p1", "old"]);
    assert_eq!((erased, shared), (8, vec![key("Observation/s")]));
    assert_eq!(indexed(&temp.store, &rids), 0);
    for _ in 0..2 {
        for id in mine {
            let row = load(&temp.store, id).unwrap();
            assert!(row.deleted && row.content.is_empty(), "{id}");
        }
        let old = temp.store.read_blocking(|tx| resource::read_version(tx, &key("Observation/a0"), 1));
        assert!(old.unwrap().is_some_and(|version| version.deleted && version.content.is_empty()));
        for id in ["Patient/p2", "Observation/b", "Observation/s"] {
            assert!(!load(&temp.store, id).unwrap().content.is_empty(), "{id}");
        }
        temp.reopen();
    }
    // Nothing is ever written under their keys again.
    let refused = temp.store.write_blocking(|tx| insert(tx, &observation("late", "p1")));
    assert!(matches!(refused, Err(Error::Constraint(_))), "{refused:?}");

    // A copy from before: contents, index rows and the mark of the key as they were. The key store is the newest one.
    temp.store
        .write_blocking(move |tx| {
            tx.execute("UPDATE patient_key SET erased_us = NULL", &[])?;
            for (rid, content) in [rids[0], rids[2], rids[4]].iter().zip(&sealed) {
                let version = if *rid == rids[2] { 2 } else { 1 };
                tx.execute(
                    "UPDATE resource SET deleted = 0, version = $3, content = $2 WHERE rid = $1",
                    params![*rid, content, version],
                )?;
                tx.execute("DELETE FROM history WHERE rid = $1 AND version >= $2", params![*rid, version])?;
            }
            let text =
                "INSERT INTO string (param, folded, rid, exact, shared) VALUES (9, 'secret', $1, '', -1)";
            tx.execute(text, params![rids[0]])?;
            tx.execute(
                "INSERT INTO token (type_id, code, rid, param, system) VALUES (1, 'x', $1, 2, 0)",
                params![rids[2]],
            )
        })
        .unwrap();
    let rid = load(&temp.store, "Patient/p1").unwrap().rid;
    assert_eq!(indexed(&temp.store, &[rid]), 1);
    let row = load(&temp.store, "Observation/a0").unwrap();
    assert!(row.deleted && row.content.is_empty(), "without its key it cannot be read anyway");
    temp.reopen();
    assert_eq!(indexed(&temp.store, &[rid, row.rid]), 0);
    let contents = temp
        .store
        .read_blocking(|tx| {
            let sql = "SELECT r.content FROM resource r WHERE r.patient = $1 AND r.more_patients = 0";
            let p1 = store::resource::load(tx, &key("Patient/p1"))?.unwrap();
            assert!(p1.deleted);
            let patient = tx.one("SELECT patient FROM resource WHERE rid = $1", params![p1.rid], |row| {
                Ok(row.bytes(0)?.to_vec())
            })?;
            tx.all(sql, &[Param::Bytes(&patient.unwrap())], |row| Ok(row.opt_bytes(0)?.is_some()))
        })
        .unwrap();
    assert!(contents.len() >= 6 && contents.iter().all(|there| !there));
    assert!(temp.store.read_blocking(|tx| shred::is_destroyed(tx, "old")).unwrap());
    let all = |tx: &mut dyn Tx| search::run(tx, &query("Observation"), &search::Rights::everything(), at(0));
    let found = temp.store.read_blocking(all);
    let found = found.unwrap().rows;
    assert!(found.iter().all(|row| !row.content.is_empty()), "{found:?}");
}

#[test]
fn an_erased_patient_stays_erased() {
    both().into_iter().for_each(shredded);
}

/// The file as it was copied before, with the key store of now.
#[test]
fn an_older_database_gets_the_newest_keys() {
    let temp = sqlite();
    let docs = people();
    write(&temp, &docs);
    let path = temp.config().url.strip_prefix("sqlite:").unwrap().to_owned();
    temp.store.close();
    std::fs::copy(&path, format!("{path}.old")).unwrap();
    let store = Store::open(temp.config().clone()).unwrap();
    erase(&store, "p1", &docs);
    store.close();
    std::fs::copy(format!("{path}.old"), &path).unwrap();
    let store = Store::open(temp.config().clone()).unwrap();
    for id in ["Patient/p1", "Observation/a0", "Observation/a4"] {
        let row = load(&store, id).unwrap();
        assert!(row.deleted && row.content.is_empty(), "{id}");
    }
    assert!(!load(&store, "Observation/b").unwrap().content.is_empty());
    let rids = ["Patient/p1", "Observation/a0"].map(|id| load(&store, id).unwrap().rid);
    assert_eq!(indexed(&store, &rids), 0);
    let mut again = observation("again", "p2");
    again.updated_s = 900;
    store.write_blocking(move |tx| insert(tx, &again)).unwrap();
    store.close();
}

/// Rows from before there were keys.
fn converted(temp: &TempStore) {
    let docs = people();
    write(temp, &docs);
    let (old, new) = (docs[3].clone(), docs[3].clone());
    temp.store.write_blocking(move |tx| update(tx, 1, &old, &new)).unwrap().unwrap();
    let plain = docs.clone();
    temp.store
        .write_blocking(move |tx| {
            for doc in &plain {
                let row = resource::load(tx, &key(&doc.key))?.unwrap();
                for version in 1..=row.version {
                    let mut bytes = vec![0];
                    bytes.extend_from_slice(doc.json(version).as_bytes());
                    for table in ["resource", "history"] {
                        let sql = format!("UPDATE {table} SET content = $3 WHERE rid = $1 AND version = $2");
                        tx.execute(&sql, params![row.rid, version, &bytes])?;
                    }
                }
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    let readable = || {
        for doc in &docs {
            let row = load(&temp.store, &doc.key).unwrap();
            assert_eq!(&*row.content, doc.json(row.version).as_bytes());
        }
        let old = temp.store.read_blocking(|tx| resource::read_version(tx, &key("Observation/a0"), 1));
        assert_eq!(&*old.unwrap().unwrap().content, docs[3].json(1).as_bytes());
    };
    readable();
    let (mut after, mut looked) = (0, 0);
    loop {
        let whose = docs.clone();
        let step = Step { resources: 3, bytes: 1 << 20 };
        let (some, last) = temp
            .store
            .write_blocking(move |tx| {
                shred::seal_step(tx, after, step, &mut |of, _| {
                    whose.iter().find(|doc| key(&doc.key) == *of).unwrap().patients.clone()
                })
            })
            .unwrap();
        looked += some;
        match last {
            Some(last) => after = last,
            None => break,
        }
    }
    assert_eq!(looked, docs.len());
    readable();
    let unsealed = temp
        .store
        .read_blocking(|tx| {
            let mut unsealed = 0;
            for table in ["resource", "history"] {
                tx.query(&format!("SELECT content FROM {table}"), &[], &mut |row| {
                    unsealed += i32::from(row.bytes(0)?[0] != 2);
                    Ok(())
                })?;
            }
            Ok::<_, Error>(unsealed)
        })
        .unwrap();
    assert_eq!(unsealed, 0);
    assert_eq!(stored(temp, "Observation/m")[1], stored(temp, "Patient/old")[1]);
}

#[test]
fn contents_from_before_are_read_and_sealed() {
    both().iter().for_each(converted);
}

#[test]
fn a_database_does_not_open_without_its_keys() {
    let temp = sqlite();
    let path = temp.config().url.strip_prefix("sqlite:").unwrap().to_owned();
    let file = store::keys::vault_file(path.as_ref());
    write(&temp, &[patient("p1")]);
    let state = temp.store.key_store().unwrap().unwrap();
    assert_eq!(state.file.as_ref(), Some(&file));
    temp.store.close();
    let whole = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let open = || Store::open(temp.config().clone());
    assert!(matches!(open(), Err(Error::KeysMissing(_))));
    assert!(!file.exists(), "no other one is made in its place");
    // Somebody who looks after the database and may not see what is in it.
    let keyless = Store::open(StoreConfig { keyless: true, ..temp.config().clone() }).unwrap();
    let read = keyless.read_blocking(|tx| resource::load(tx, &key("Patient/p1")));
    assert!(matches!(read, Err(Error::KeysMissing(_))), "{read:?}");
    let written = keyless.write_blocking(|tx| insert(tx, &patient("p2")));
    assert!(matches!(written, Err(Error::KeysMissing(_))), "{written:?}");
    keyless.close();
    // The one of another database.
    let other = sqlite();
    let others = store::keys::vault_file(other.config().url.strip_prefix("sqlite:").unwrap().as_ref());
    std::fs::copy(&others, &file).unwrap();
    assert!(matches!(open(), Err(Error::KeysMissing(_))));
    assert!(store::keys::newer(&whole, &std::fs::read(&others).unwrap()).is_err());
    std::fs::write(&file, &whole).unwrap();
    let wrong = Store::open(StoreConfig { files: Some(Secret32::new([9; 32])), ..temp.config().clone() });
    assert_eq!(wrong.err(), Some(Error::WrongKey));
    let store = open().unwrap();
    assert!(!load(&store, "Patient/p1").unwrap().content.is_empty());
    store.rotate_tenant_key().unwrap();
    assert_eq!(store::keys::newer(&std::fs::read(&file).unwrap(), &whole), Ok(true));
    store.close();
    // An earlier key store lacks what was made since: such a content is said to be missing, not gone.
    std::fs::write(&file, &whole).unwrap();
    open().unwrap().close();
}
