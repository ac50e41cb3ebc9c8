//! Base and segments give the database as it was, whatever the log went through meanwhile.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use store::backup::{Frozen, PAGE_BYTES, Place, Rebuild, check, roll_back, snapshots};
use store::{Error, Secret32, Store, StoreConfig, Tx, setting};

const KEY: [u8; 32] = [7; 32];

fn config(folder: &Path, follow_log: bool) -> StoreConfig {
    let url = format!("sqlite:{}", folder.join("uzima.db").display());
    StoreConfig { readers: 2, follow_log, ..StoreConfig::new(url, Some(Secret32::new(KEY))) }
}

fn put(store: &Store, key: &str, value: &str) {
    let (key, value) = (key.to_owned(), value.to_owned());
    store.write_blocking(move |tx: &mut dyn Tx| setting::put(tx, &key, &serde_json::json!(value))).unwrap();
}

fn settings(store: &Store) -> BTreeMap<String, String> {
    let all = store.read_blocking(setting::all).unwrap();
    all.into_iter().map(|(key, value)| (key, value.to_string())).collect()
}

/// A place to keep a base and the segments that come after it.
struct Shelf {
    folder: tempfile::TempDir,
    base: Vec<u8>,
    place: Place,
    segments: Vec<PathBuf>,
}

fn pages(frozen: &Frozen) -> Vec<u8> {
    let mut bytes = vec![0; frozen.pages() as usize * PAGE_BYTES];
    // In pieces that begin and end at odd places.
    for (n, piece) in bytes.chunks_mut(7 * PAGE_BYTES).enumerate() {
        frozen.read(1 + 7 * n as u32, piece).unwrap();
    }
    bytes
}

impl Shelf {
    fn new(store: &Store) -> Shelf {
        let frozen = store.capture().unwrap().freeze().unwrap();
        let place = frozen.place.clone().unwrap();
        let mut shelf =
            Shelf { folder: tempfile::tempdir().unwrap(), base: pages(&frozen), place, segments: Vec::new() };
        shelf.take(store);
        shelf.segments.clear();
        shelf
    }

    /// Copies the log and takes the segments away.
    fn take(&mut self, store: &Store) {
        let capture = store.capture().unwrap();
        capture.step().unwrap();
        for segment in capture.waiting(1000).unwrap() {
            assert_eq!(segment.header.line, self.place.line);
            let to = self.folder.path().join(segment.path.file_name().unwrap());
            std::fs::copy(&segment.path, &to).unwrap();
            capture.taken(&segment).unwrap();
            self.segments.push(to);
        }
        assert_eq!(capture.waiting_bytes(), 0);
    }

    /// The database after so many segments.
    fn restored(&self, segments: usize) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uzima.db");
        let mut rebuild = Rebuild::new(&path, &self.place.line, self.place.number).unwrap();
        rebuild.base(0, &self.base).unwrap();
        for segment in &self.segments[..segments] {
            rebuild.segment(BufReader::new(File::open(segment).unwrap())).unwrap();
        }
        rebuild.finish().unwrap();
        let health = check(&path, Some(&Secret32::new(KEY))).unwrap();
        assert!(health.problems.is_empty(), "{:?}", health.problems);
        folder
    }

    fn restored_settings(&self, segments: usize) -> BTreeMap<String, String> {
        let folder = self.restored(segments);
        let store = Store::open(config(folder.path(), false)).unwrap();
        let found = settings(&store);
        store.close();
        found
    }
}

#[test]
fn every_segment_is_a_moment() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(config(folder.path(), true)).unwrap();
    put(&store, "before", "the base");
    let mut shelf = Shelf::new(&store);
    let mut moments = vec![settings(&store)];
    for round in 0..6 {
        put(&store, "round", &round.to_string());
        put(&store, &format!("only-{round}"), "x");
        shelf.take(&store);
        moments.push(settings(&store));
    }
    assert_eq!(shelf.segments.len(), 6);
    // Nothing new, no segment.
    shelf.take(&store);
    assert_eq!(shelf.segments.len(), 6);
    for (n, moment) in moments.iter().enumerate() {
        assert_eq!(&shelf.restored_settings(n), moment, "after {n} segments");
    }
    // A gap is noticed.
    let path = tempfile::tempdir().unwrap();
    let mut rebuild = Rebuild::new(&path.path().join("a.db"), &shelf.place.line, shelf.place.number).unwrap();
    let gap = rebuild.segment(File::open(&shelf.segments[1]).unwrap());
    assert!(matches!(gap, Err(Error::Corrupt(_))), "{gap:?}");
    store.close();
}

/// Text that does not compress, so that the log grows.
fn noise(seed: u64, length: usize) -> String {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'a' + (state % 26) as u8)
    };
    (0..length).map(|_| next()).collect()
}

/// The log is moved into the file and begun anew several times, while segments and a second base are taken.
#[test]
fn the_log_may_begin_anew() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(config(folder.path(), true)).unwrap();
    let mut shelf = Shelf::new(&store);
    let wal = folder.path().join("uzima.db-wal");
    let (mut largest, mut restarts, mut frozen) = (0, 0, None);
    let salt = || {
        let mut salt = [0; 8];
        std::os::unix::fs::FileExt::read_exact_at(&File::open(&wal).unwrap(), &mut salt, 16)
            .map(|()| salt)
            .ok()
    };
    let mut last = salt();
    for round in 0..420u64 {
        put(&store, &format!("k{}", round % 40), &noise(round + 1, 400_000));
        if round % 29 == 0 {
            shelf.take(&store);
        }
        if round == 200 {
            let state = store.capture().unwrap().freeze().unwrap();
            frozen = Some((state, settings(&store)));
        }
        if round == 260 {
            // Sixty writes later the frozen state is still what it was.
            let (state, expected) = frozen.take().unwrap();
            let image = pages(&state);
            let place = state.place.clone().unwrap();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("uzima.db");
            let rebuild = Rebuild::new(&path, &place.line, place.number).unwrap();
            rebuild.base(0, &image).unwrap();
            rebuild.finish().unwrap();
            assert_eq!(state.counts().unwrap(), check(&path, Some(&Secret32::new(KEY))).unwrap().counts);
            let copy = Store::open(config(folder.path(), false)).unwrap();
            assert!(settings(&copy) == expected, "the frozen state has changed");
            copy.close();
        }
        if salt() != last {
            restarts += 1;
            last = salt();
        }
        largest = largest.max(std::fs::metadata(&wal).unwrap().len());
    }
    shelf.take(&store);
    assert!(restarts >= 1, "the log was never begun anew; it grew to {largest}");
    assert!(shelf.restored_settings(shelf.segments.len()) == settings(&store), "the copy differs");
    store.close();
}

#[test]
fn a_line_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Store::open(config(folder.path(), true)).unwrap();
    let mut shelf = Shelf::new(&store);
    for round in 0..3 {
        put(&store, "round", &round.to_string());
        store.close();
        store = Store::open(config(folder.path(), true)).unwrap();
        assert_eq!(store.capture().unwrap().place().unwrap().line, shelf.place.line, "round {round}");
    }
    put(&store, "last", "one");
    shelf.take(&store);
    assert_eq!(shelf.restored_settings(shelf.segments.len()), settings(&store));
    // Written by a program that does not follow the log: nobody can say what was missed.
    store.close();
    let careless = Store::open(config(folder.path(), false)).unwrap();
    put(&careless, "unseen", "write");
    careless.close();
    let store = Store::open(config(folder.path(), true)).unwrap();
    assert_ne!(store.capture().unwrap().place().unwrap().line, shelf.place.line);
    // And so after the file was put there from elsewhere.
    let line = store.capture().unwrap().place().unwrap().line;
    store.close();
    let path = folder.path().join("uzima.db");
    let copy = std::fs::read(&path).unwrap();
    std::fs::write(&path, copy).unwrap();
    let store = Store::open(config(folder.path(), true)).unwrap();
    assert_ne!(store.capture().unwrap().place().unwrap().line, line);
    store.close();
}

/// A child writes, tells what is durable and dies; the next one goes on. The segments of all of them are one line.
#[test]
fn a_line_goes_on_after_a_kill() {
    const CHILD: &str = "UZIMA_TEST_DIES";
    if let Some(folder) = std::env::var_os(CHILD) {
        let store = Store::open(config(Path::new(&folder), true)).unwrap();
        let round = settings(&store).len();
        for n in 0..round + 3 {
            put(&store, &format!("{round}-{n}"), "x");
            if n == round {
                store.capture().unwrap().step().unwrap();
            }
        }
        std::process::abort();
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(config(folder.path(), true)).unwrap();
    let mut shelf = Shelf::new(&store);
    store.close();
    for _ in 0..5 {
        let own = std::env::current_exe().unwrap();
        let run = std::process::Command::new(own)
            .args(["--exact", "backup::a_line_goes_on_after_a_kill"])
            .env(CHILD, folder.path())
            .output()
            .unwrap();
        assert!(!run.status.success());
    }
    let store = Store::open(config(folder.path(), true)).unwrap();
    shelf.take(&store);
    assert!(settings(&store).len() > 15);
    assert_eq!(shelf.restored_settings(shelf.segments.len()), settings(&store));
    store.close();
}

/// The program died between writing a segment and noting that it is there.
#[test]
fn a_segment_that_was_not_noted_is_made_again() {
    const CHILD: &str = "UZIMA_TEST_DIES_BEFORE_NOTING";
    if let Some(folder) = std::env::var_os(CHILD) {
        let store = Store::open(config(Path::new(&folder), true)).unwrap();
        let noted = Path::new(&folder).join("uzima.db-log/line.json");
        put(&store, "first", "x");
        store.capture().unwrap().step().unwrap();
        let before = std::fs::read(&noted).unwrap();
        put(&store, "second", "x");
        store.capture().unwrap().step().unwrap();
        std::fs::write(&noted, before).unwrap();
        std::process::abort();
    }
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(config(folder.path(), true)).unwrap();
    let mut shelf = Shelf::new(&store);
    store.close();
    let own = std::env::current_exe().unwrap();
    let run = std::process::Command::new(own)
        .args(["--exact", "backup::a_segment_that_was_not_noted_is_made_again"])
        .env(CHILD, folder.path())
        .output()
        .unwrap();
    assert!(!run.status.success());
    let store = Store::open(config(folder.path(), true)).unwrap();
    put(&store, "third", "x");
    // Nothing waits any more, also by the count.
    shelf.take(&store);
    assert_eq!(shelf.restored_settings(shelf.segments.len()), settings(&store));
    store.close();
}

#[test]
fn a_copy_that_is_not_whole_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(config(folder.path(), true)).unwrap();
    put(&store, "big", &noise(5, 200_000));
    let shelf = Shelf::new(&store);
    store.close();
    let restored = shelf.restored(0);
    let path = restored.path().join("uzima.db");
    for suffix in ["-wal", "-shm"] {
        drop(std::fs::remove_file(restored.path().join(format!("uzima.db{suffix}"))));
    }
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let found = check(&path, Some(&Secret32::new(KEY)));
    assert!(found.is_err() || !found.unwrap().problems.is_empty(), "a flipped bit is not noticed");
    let other = check(&path, Some(&Secret32::new([8; 32])));
    assert_eq!(other, Err(Error::WrongKey));
}

/// What a newer program finds: the schema is taken back by one step, so that there is one to do.
#[test]
fn a_database_is_kept_before_its_schema_changes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("uzima.db");
    let store = Store::open(config(folder.path(), true)).unwrap();
    put(&store, "old", "state");
    let last = store.migration_status().unwrap().current;
    // A later migration fails on what is there already, so the number is set back only.
    store
        .write_blocking(move |tx: &mut dyn Tx| {
            tx.execute("DELETE FROM migration WHERE number = $1", store::params![last])
        })
        .unwrap();
    store.close();
    assert!(snapshots(&path).unwrap().is_empty());
    let failed = Store::open(config(folder.path(), true));
    assert!(failed.is_err(), "the step is done already and must fail");
    let kept = snapshots(&path).unwrap();
    assert_eq!(kept.len(), 1);
    // The failed step left everything as it was.
    let health = check(&path, Some(&Secret32::new(KEY))).unwrap();
    assert!(health.problems.is_empty());
    assert!(health.schema < last);
    // And so it is again after rolling back, whatever came in between.
    std::fs::write(&path, b"spoilt").unwrap();
    let (back, aside) = roll_back(&path).unwrap();
    assert_eq!(back.schema, health.schema);
    assert_eq!(std::fs::read(aside.join("uzima.db")).unwrap(), b"spoilt");
    assert_eq!(check(&path, Some(&Secret32::new(KEY))).unwrap(), health);
    // Only so many are kept.
    for _ in 0..4 {
        assert!(Store::open(config(folder.path(), true)).is_err());
    }
    assert_eq!(snapshots(&path).unwrap().len(), 2);
}
