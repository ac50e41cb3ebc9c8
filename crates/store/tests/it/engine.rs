//! Transactions, group commit, restarts, keys, locks.

use crate::support::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use store::test_support::{TempStore, both, postgres, sqlite};
use store::{Error, Secret32, Store, StoreConfig, Tx, savepoint, setting};

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[derive(Debug, PartialEq)]
enum Fault {
    Rule(u32),
    Store(Error),
}
impl From<Error> for Fault {
    fn from(error: Error) -> Fault {
        Fault::Store(error)
    }
}

/// Of twenty writes in one commit the last one fails after it wrote: the others are in, once.
#[test]
fn one_that_fails_spoils_no_other() {
    let temp = sqlite();
    runtime().block_on(async {
        // While this one holds the writer, the twenty line up behind it.
        let (open, wait) = std::sync::mpsc::channel::<()>();
        let gate = tokio::spawn(temp.store.write(move |_: &mut dyn Tx| -> Result<(), Error> {
            let _ = wait.recv();
            Ok(())
        }));
        let writes: Vec<_> = (0..20u32)
            .map(|n| {
                temp.store.write(move |tx: &mut dyn Tx| -> Result<u32, Fault> {
                    let before = setting::get(tx, "sum")?.and_then(|sum| sum.as_u64()).unwrap_or(0);
                    setting::put(tx, "sum", &serde_json::json!(before + 1))?;
                    tx.term(&format!("spoilt {n}"), true)?;
                    if n == 19 { Err(Fault::Rule(n)) } else { Ok(n) }
                })
            })
            .map(tokio::spawn)
            .collect();
        tokio::task::yield_now().await;
        drop(open);
        gate.await.unwrap().unwrap();
        for (n, write) in writes.into_iter().enumerate() {
            let n = n as u32;
            assert_eq!(write.await.unwrap(), if n == 19 { Err(Fault::Rule(n)) } else { Ok(n) });
        }
        let sum = temp.store.read(|tx| setting::get(tx, "sum")).await.unwrap();
        assert_eq!(sum, Some(serde_json::json!(19)));
        let gone = temp.store.read(|tx| tx.term("spoilt 19", false)).await.unwrap();
        assert_eq!(gone, None);
    });
}

/// Many writes at once, every third fails after it wrote: its own work is undone, nobody else's.
fn isolation(temp: &TempStore) {
    runtime().block_on(async {
        let writes: Vec<_> = (0..60u32)
            .map(|n| {
                temp.store.write(move |tx: &mut dyn Tx| -> Result<u32, Fault> {
                    setting::put(tx, &format!("k{n:02}"), &serde_json::json!(n))?;
                    tx.term(&format!("term {}", n / 2), true)?;
                    if n % 3 == 0 { Err(Fault::Rule(n)) } else { Ok(n) }
                })
            })
            .map(tokio::spawn)
            .collect();
        for (n, write) in writes.into_iter().enumerate() {
            let n = n as u32;
            assert_eq!(write.await.unwrap(), if n.is_multiple_of(3) { Err(Fault::Rule(n)) } else { Ok(n) });
        }
        let mut kept = temp.store.read(setting::all).await.unwrap();
        kept.retain(|(key, _)| key != "values");
        assert_eq!(kept.len(), 40);
        // Terms of the undone are not remembered: each text still has one number, found again by a reader.
        for n in 0..30 {
            let text = format!("term {n}");
            let again = text.clone();
            let number = temp.store.write(move |tx| tx.term(&again, true)).await.unwrap().unwrap();
            let read = temp.store.read(move |tx| tx.term_text(number)).await.unwrap();
            assert_eq!(read, text);
        }
    });
}

/// The first databases of a process are opened at once. A process starts the library once, so each try is one.
#[test]
fn the_first_databases_open_together() {
    const CHILD: &str = "UZIMA_TEST_OPENS_FIRST";
    const THREADS: usize = 4;
    if std::env::var_os(CHILD).is_some() {
        let barrier = Arc::new(std::sync::Barrier::new(THREADS));
        let open = || {
            let barrier = barrier.clone();
            std::thread::spawn(move || {
                barrier.wait();
                drop(sqlite());
            })
        };
        let threads: Vec<_> = std::iter::repeat_with(open).take(THREADS).collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        return;
    }
    for _ in 0..6 {
        let own = std::env::current_exe().unwrap();
        let run = std::process::Command::new(own)
            .args(["--exact", "engine::the_first_databases_open_together"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stdout));
    }
}

#[test]
fn a_failing_write_undoes_only_itself() {
    both().iter().for_each(isolation);
}

/// However many changes a transaction makes, it takes one place in PostgreSQL's table of locks; and takes it again when
/// the savepoint is undone in which it took it.
#[test]
fn changes_take_one_lock() {
    let Some(temp) = postgres() else { return };
    let counts = temp.store.write_blocking(|tx| {
        let locks = |tx: &mut dyn Tx| {
            let sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 \
                       AND pid = pg_backend_pid()";
            tx.one(sql, &[], |row| row.int(0))
        };
        let undone: Result<(), Fault> = savepoint(tx, |tx| {
            insert(tx, &Doc::new("Observation/undone"))?;
            Err(Fault::Rule(1))
        });
        assert_eq!(undone, Err(Fault::Rule(1)));
        let mut counts = vec![locks(tx)?.unwrap()];
        for n in 0..40 {
            insert(tx, &Doc::new(&format!("Observation/o{n}")))?;
        }
        counts.push(locks(tx)?.unwrap());
        Ok::<_, Error>(counts)
    });
    assert_eq!(counts.unwrap(), [0, 1]);
}

#[test]
fn a_panic_is_contained() {
    for temp in both() {
        let result = temp.store.write_blocking(|tx| -> Result<(), Error> {
            setting::put(tx, "gone", &serde_json::json!(1))?;
            panic!("as the test wants")
        });
        assert_eq!(result, Err(Error::Panicked));
        let read = temp.store.read_blocking(|_| -> Result<(), Error> { panic!("as the test wants") });
        assert_eq!(read, Err(Error::Panicked));
        assert_eq!(temp.store.read_blocking(|tx| setting::get(tx, "gone")), Ok(None));
        temp.store.write_blocking(|tx| setting::put(tx, "there", &serde_json::json!(1))).unwrap();
    }
}

#[test]
fn savepoints_nest() {
    for temp in both() {
        temp.store
            .write_blocking(|tx| {
                setting::put(tx, "outer", &serde_json::json!(1))?;
                let inner: Result<(), Fault> = savepoint(tx, |tx| {
                    setting::put(tx, "inner", &serde_json::json!(1))?;
                    let innermost: Result<(), Fault> = savepoint(tx, |tx| {
                        setting::put(tx, "outer", &serde_json::json!(2))?;
                        Err(Fault::Rule(1))
                    });
                    assert_eq!(innermost, Err(Fault::Rule(1)));
                    assert_eq!(setting::get(tx, "outer")?, Some(serde_json::json!(1)));
                    Err(Fault::Rule(2))
                });
                assert_eq!(inner, Err(Fault::Rule(2)));
                savepoint(tx, |tx| setting::put(tx, "kept", &serde_json::json!(3)))
            })
            .unwrap();
        let all = temp.store.read_blocking(setting::all).unwrap();
        let keys = all.iter().map(|(k, _)| k.as_str()).filter(|key| *key != "values");
        assert_eq!(keys.collect::<Vec<_>>(), ["kept", "outer"], "{}", temp.engine);
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    for mut temp in both() {
        let before = temp.store.write_blocking(|tx| insert(tx, &Doc::new("Basic/one"))).unwrap();
        temp.reopen();
        let stored =
            temp.store.read_blocking(|tx| store::resource::load(tx, &key("Basic/one"))).unwrap().unwrap();
        assert_eq!(stored.version, 1);
        let after = temp.store.write_blocking(|tx| insert(tx, &Doc::new("Basic/two"))).unwrap();
        assert!(after.seq > before.seq && after.rid > before.rid, "numbers go on after a restart");
        assert_eq!(temp.store.migration_status().unwrap().pending, Vec::<&str>::new());
    }
}

#[test]
fn readers_see_a_snapshot_and_cannot_write() {
    for temp in both() {
        let store = temp.store.clone();
        temp.store
            .read_blocking(move |tx| {
                assert_eq!(setting::get(tx, "x")?, None);
                store.write_blocking(|tx| setting::put(tx, "x", &serde_json::json!(1)))?;
                assert_eq!(setting::get(tx, "x")?, None, "the snapshot is older");
                Ok::<_, Error>(())
            })
            .unwrap();
        let refused = temp.store.read_blocking(|tx| setting::put(tx, "y", &serde_json::json!(1)));
        assert!(refused.is_err());
        assert_eq!(temp.store.read_blocking(|tx| setting::get(tx, "x")), Ok(Some(serde_json::json!(1))));
    }
}

#[test]
fn a_data_file_has_one_server_and_one_key() {
    let temp = sqlite();
    let again = Store::open(temp.config().clone());
    assert!(matches!(again.err(), Some(Error::InUse(_))));
    let config = temp.config().clone();
    temp.store.close();
    assert_eq!(temp.store.read_blocking(setting::all).err(), Some(Error::Closed));
    for key in [None, Some(Secret32::new([8; 32]))] {
        let wrong = Store::open(StoreConfig { key, ..config.clone() });
        assert_eq!(wrong.err(), Some(Error::WrongKey));
    }
    let path = config.url.strip_prefix("sqlite:").unwrap();
    let bytes = std::fs::read(path).unwrap();
    assert!(!bytes.windows(6).any(|w| w == b"SQLite" || w == b"CREATE"), "nothing readable in the file");
    assert!(Store::open(config).is_ok());
}

/// Of a program that gave another migration the same number, or had not yet what has a smaller one.
#[test]
fn migrations_are_known_by_number_and_name() {
    for temp in both() {
        let rename = |name: &'static str| {
            move |tx: &mut dyn store::Tx| {
                tx.execute("UPDATE migration SET name = $1 WHERE number = 18", &[name.into()])
            }
        };
        temp.store.write_blocking(rename("0018_another")).unwrap();
        let refused = temp.store.write_blocking(store::migrate::status);
        assert!(
            matches!(&refused, Err(Error::Database(text)) if text.contains("0018_another")),
            "{refused:?}"
        );
        temp.store.write_blocking(rename("0018_search_parameter")).unwrap();
        assert!(temp.store.write_blocking(store::migrate::status).unwrap().pending.is_empty());
        temp.store.write_blocking(|tx| tx.execute("DELETE FROM migration WHERE number = 18", &[])).unwrap();
        let pending = temp.store.write_blocking(store::migrate::status).unwrap().pending;
        assert_eq!(pending, ["0018_search_parameter"]);
    }
}

#[test]
fn a_newer_database_is_refused() {
    for mut temp in both() {
        temp.store
            .write_blocking(|tx| {
                tx.execute("INSERT INTO migration (number, name, at_us) VALUES (9999, 'future', 0)", &[])
            })
            .unwrap();
        temp.store.close();
        let refused = Store::open(temp.config().clone()).err();
        assert!(matches!(refused, Some(Error::NewerDatabase { found: 9999, .. })), "{refused:?}");
        // Leaves the temporary store in a state that can be dropped.
        temp.store.close();
        let _ = &mut temp;
    }
}

#[test]
fn urls_that_lead_nowhere() {
    assert!(matches!(
        Store::open(StoreConfig::new("sqlite:/nonexistent/folder/x.db", None)),
        Err(Error::Database(_))
    ));
    assert!(matches!(Store::open(StoreConfig::new("mysql:what", None)), Err(Error::Invalid(_))));
    let closed = "postgres://nobody@127.0.0.1:1/none";
    assert!(matches!(Store::open(StoreConfig::new(closed, None)), Err(Error::Database(_))));
}

#[test]
fn commits_wake_those_who_wait() {
    for temp in both() {
        runtime().block_on(async {
            let woken = temp.store.notified();
            let mut count = temp.store.wakeups();
            temp.store.write(|tx| setting::put(tx, "quiet", &serde_json::json!(1))).await.unwrap();
            assert!(!count.has_changed().unwrap(), "settings wake nobody");
            let new = store::job::NewJob::new("q", "", serde_json::json!({}), at(0));
            temp.store.write(move |tx| store::job::insert(tx, &new)).await.unwrap();
            woken.await;
            count.changed().await.unwrap();
        });
    }
}

/// A second server of the same database hears of it too.
#[test]
fn postgres_wakes_other_servers() {
    let Some(temp) = postgres() else { return };
    let other = Store::open(temp.config().clone()).unwrap();
    runtime().block_on(async {
        let woken = other.notified();
        // The listener may still be connecting: keep giving it something to hear.
        let new = store::job::NewJob::new("q", "", serde_json::json!({}), at(0));
        let heard = Arc::new(AtomicUsize::new(0));
        let flag = heard.clone();
        let waiter = tokio::spawn(async move {
            woken.await;
            flag.store(1, Ordering::Relaxed);
        });
        while heard.load(Ordering::Relaxed) == 0 {
            let new = new.clone();
            temp.store.write(move |tx| store::job::insert(tx, &new)).await.unwrap();
        }
        waiter.await.unwrap();
    });
    other.close();
}

/// Two transactions that lock two rows in opposite order: one is chosen as victim and simply runs again.
#[test]
fn postgres_deadlocks_are_retried() {
    let Some(temp) = postgres() else { return };
    temp.store
        .write_blocking(|tx| {
            setting::put(tx, "a", &serde_json::json!(0))?;
            setting::put(tx, "b", &serde_json::json!(0))
        })
        .unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let meet = Arc::new(std::sync::Barrier::new(2));
    std::thread::scope(|scope| {
        for (first, second) in [("a", "b"), ("b", "a")] {
            let (store, runs, meet) = (temp.store.clone(), runs.clone(), meet.clone());
            scope.spawn(move || {
                let mut met = false;
                let result: Result<(), Error> = store.write_blocking(move |tx| {
                    runs.fetch_add(1, Ordering::Relaxed);
                    setting::put(tx, first, &serde_json::json!(1))?;
                    if !std::mem::replace(&mut met, true) {
                        meet.wait();
                    }
                    setting::put(tx, second, &serde_json::json!(2))
                });
                result.unwrap();
            });
        }
    });
    assert!(runs.load(Ordering::Relaxed) >= 3);
}

/// The last clone of a store may end with a closure, on one of the store's own threads.
#[test]
fn a_store_may_end_with_its_last_closure() {
    for temp in both() {
        let store = Store::open(StoreConfig { url: temp.config().url.clone(), ..temp.config().clone() });
        // SQLite's file is taken; there the temporary store itself plays the part below.
        if let Ok(store) = store {
            let inside = store.clone();
            let write = store.write(move |tx| {
                let _kept = &inside;
                setting::put(tx, "last", &serde_json::json!(1))
            });
            drop(store);
            runtime().block_on(write).unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", folder.path().join("x.db").display());
    let store = Store::open(StoreConfig::new(url, None)).unwrap();
    let inside = store.clone();
    let write = store.write(move |tx| {
        let _kept = &inside;
        setting::put(tx, "last", &serde_json::json!(1))
    });
    drop(store);
    runtime().block_on(write).unwrap();
}

/// The log is copied into the file while work goes on, and starts over instead of growing for ever.
#[test]
fn the_log_stays_bounded() {
    let temp = sqlite();
    let path = format!("{}-wal", temp.config().url.strip_prefix("sqlite:").unwrap());
    let body = vec![7u8; 400_000];
    let mut largest = 0;
    for n in 0..500 {
        let body = body.clone();
        temp.store
            .write_blocking(move |tx| store::inbox::receive(tx, "test", &n.to_string(), &body, at(0)))
            .unwrap();
        largest = largest.max(std::fs::metadata(&path).unwrap().len());
    }
    assert!(largest < 170 << 20, "{largest} bytes of log for 200 MB written");
}

#[test]
fn stores_open_and_close_on_a_runtime() {
    runtime().block_on(async {
        for mut temp in both() {
            temp.reopen();
            temp.store.write(|tx| setting::put(tx, "here", &serde_json::json!(1))).await.unwrap();
        }
    });
}

/// A full disk: writes fail and say so, reads go on, and after room is made everything works without a restart.
#[test]
fn a_full_disk_loses_nothing() {
    let mut temp = sqlite();
    temp.store.write_blocking(|tx| insert(tx, &Doc::new("Basic/before"))).unwrap();
    let limit = |pages: i64| {
        temp.store
            .write_blocking(move |tx| {
                let used = tx.one("PRAGMA page_count", &[], |row| row.int(0))?.unwrap();
                let limit = if pages == 0 { 1 << 30 } else { used + pages };
                tx.one(&format!("PRAGMA max_page_count = {limit}"), &[], |row| row.int(0))
            })
            .unwrap();
    };
    limit(3);
    let body = vec![1u8; 100_000];
    for n in 0..3 {
        let body = body.clone();
        let full = temp
            .store
            .write_blocking(move |tx| store::inbox::receive(tx, "test", &n.to_string(), &body, at(0)));
        assert_eq!(full, Err(Error::DiskFull));
        let read = temp.store.read_blocking(|tx| store::resource::load(tx, &key("Basic/before")));
        assert!(read.unwrap().is_some());
    }
    limit(0);
    let after = temp.store.write_blocking(|tx| insert(tx, &Doc::new("Basic/after"))).unwrap();
    temp.reopen();
    let last = temp.store.write_blocking(|tx| insert(tx, &Doc::new("Basic/last"))).unwrap();
    assert!(last.rid > after.rid && last.seq > after.seq);
    let items =
        temp.store.read_blocking(|tx| store::inbox::list(tx, store::inbox::State::New, None, 10)).unwrap();
    assert_eq!(items.rows, []);
}
