//! The journal of read audits on SQLite: whatever was answered is in the trail after a crash, once.

use crate::events::audited;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use store::test_support::{self, TempStore};
use store::{Store, StoreConfig, audit};

fn database(temp: &TempStore) -> PathBuf {
    temp.config().url.strip_prefix("sqlite:").unwrap().into()
}

/// What a crash now would leave. Nobody writes meanwhile but the journal.
fn image(temp: &TempStore, into: &Path) -> StoreConfig {
    let folder = database(temp).parent().unwrap().to_owned();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, into.join(path.file_name().unwrap())).unwrap();
    }
    StoreConfig { url: format!("sqlite:{}", into.join("uzima.db").display()), ..temp.config().clone() }
}

async fn append(store: &Store, numbers: std::ops::Range<i64>) {
    for some in numbers.collect::<Vec<_>>().chunks(1000) {
        let appends: Vec<_> =
            some.iter().map(|n| tokio::spawn(store.append_audit(vec![audited(*n)]))).collect();
        for append in appends {
            append.await.unwrap().unwrap();
        }
    }
}

/// How often each request is in the table.
fn requests(store: &Store) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    let mut cursor: Option<String> = None;
    loop {
        let from = cursor.clone();
        let page = store
            .read_blocking(move |tx| audit::list(tx, &audit::Filter::default(), from.as_deref(), 500))
            .unwrap();
        for row in page.rows {
            *found.entry(row.event.request_id).or_default() += 1;
        }
        match page.next {
            Some(next) => cursor = Some(next),
            None => return found,
        }
    }
}

fn each_once(numbers: std::ops::Range<i64>) -> BTreeMap<String, usize> {
    numbers.map(|n| (format!("request-{n}"), 1)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_outlives_a_crash_once() {
    let temp = test_support::sqlite();
    let mut end = 0;
    // Before anything was handed on, after it, and with some of both.
    for settles in [false, true, false, false, true, true, false] {
        append(&temp.store, end..end + 40).await;
        end += 40;
        if settles {
            temp.store.settle_audit().await.unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let config = image(&temp, folder.path());
        for _ in 0..2 {
            // The second time there is nothing left to take over.
            let crashed = Store::open(config.clone()).unwrap();
            assert_eq!(requests(&crashed), each_once(0..end));
            crashed.close();
        }
        let crashed = Store::open(config).unwrap();
        append(&crashed, end..end + 5).await;
        crashed.settle_audit().await.unwrap();
        assert_eq!(requests(&crashed), each_once(0..end + 5));
        crashed.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_is_answered_when_its_event_is_durable() {
    let temp = test_support::sqlite();
    for n in 0..20 {
        let read = temp.store.read_audited(move |_| Ok::<_, store::Error>((n, vec![audited(n)])));
        assert_eq!(read.await, Ok(n));
        let folder = tempfile::tempdir().unwrap();
        let crashed = Store::open(image(&temp, folder.path())).unwrap();
        assert_eq!(requests(&crashed), each_once(0..n + 1));
        crashed.close();
    }
    let refused = temp.store.read_audited(|_| Err::<((), Vec<audit::Event>), _>(store::Error::Busy));
    assert_eq!(refused.await, Err(store::Error::Busy));
    assert_eq!(temp.store.read_audited(|_| Ok::<_, store::Error>((1, Vec::new()))).await, Ok(1));
    temp.store.settle_audit().await.unwrap();
    assert_eq!(requests(&temp.store), each_once(0..20));
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_leaves_nothing_behind() {
    let mut temp = test_support::sqlite();
    append(&temp.store, 0..300).await;
    temp.reopen();
    assert_eq!(requests(&temp.store), each_once(0..300));
}

/// More than both files hold, while the writer is kept from taking any of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_lags_holds_nobody_up_until_the_files_are_full() {
    let temp = test_support::sqlite();
    let (sender, receiver) = std::sync::mpsc::channel::<()>();
    let store = temp.store.clone();
    let mut receiver = Some(receiver);
    let busy = tokio::spawn(store.write(move |_| {
        if let Some(receiver) = receiver.take() {
            receiver.recv().unwrap();
        }
        Ok::<_, store::Error>(())
    }));
    append(&temp.store, 0..4_000).await;
    sender.send(()).unwrap();
    busy.await.unwrap().unwrap();
    append(&temp.store, 4_000..20_000).await;
    temp.store.settle_audit().await.unwrap();
    assert_eq!(requests(&temp.store), each_once(0..20_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_costs_what_was_not_answered_only() {
    let temp = test_support::sqlite();
    for n in 0..10 {
        append(&temp.store, n..n + 1).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let config = image(&temp, folder.path());
    let file = folder.path().join("uzima.db.audit-0");
    let mut bytes = std::fs::read(&file).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end - 20..].fill(0);
    std::fs::write(&file, bytes).unwrap();
    let crashed = Store::open(config).unwrap();
    assert_eq!(requests(&crashed), each_once(0..9));
    crashed.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_tell_nobody_anything() {
    let temp = test_support::sqlite();
    append(&temp.store, 0..50).await;
    for number in 0..2 {
        let path = format!("{}.audit-{number}", database(&temp).display());
        let bytes = std::fs::read(&path).unwrap();
        for word in ["Wanjiru", "doctor", "Patient", "request-", "10.1.2.3", "account"] {
            assert!(!bytes.windows(word.len()).any(|part| part == word.as_bytes()), "{word} in {path}");
        }
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

/// Files of another key, as of another installation: the trail says that they were there.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_does_not_open_is_put_aside_and_told() {
    let temp = test_support::sqlite();
    append(&temp.store, 0..10).await;
    let other = test_support::sqlite();
    let folder = tempfile::tempdir().unwrap();
    let config = image(&other, folder.path());
    let foreign = std::fs::read(format!("{}.audit-0", database(&temp).display())).unwrap();
    let path = folder.path().join("uzima.db.audit-0");
    // The key of the test's stores is the same: another header then.
    let mut changed = foreign;
    changed[20] ^= 1;
    std::fs::write(&path, changed).unwrap();
    let opened = Store::open(config).unwrap();
    let page = opened.read_blocking(|tx| audit::list(tx, &audit::Filter::default(), None, 10)).unwrap();
    let actions: Vec<_> = page.rows.iter().map(|row| row.event.action.as_str()).collect();
    assert_eq!(actions, ["audit.journal-unreadable"]);
    assert!(!path.exists());
    append(&opened, 0..10).await;
    opened.settle_audit().await.unwrap();
    assert_eq!(requests(&opened).len(), 11);
    opened.close();
}
