//! Rewriting the database under another key.

use crate::engine::sqlite;
use crate::{Error, Result, Secret32};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How often the progress is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// What the rollback journal holds of each page beside it: its number and a checksum.
const JOURNAL_EXTRA: u64 = 8;
const PAGE_BYTES: u64 = 4096;

/// How far it is, in pages: written under the new key, then read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RekeyProgress {
    Writing { done: u64, of: u64 },
    Checking,
}

/// Rewrites a closed database, page by page, under another key and checks every page's seal after it. In one transaction
/// with a rollback journal, so it needs as much room again as the database, and after a crash at any moment the next
/// opening finds either the old or the new key right, never a mixture. Blocks for about as long as copying the file.
/// Errors: [Error::InUse]; [Error::WrongKey] if `old` is not its key; [Error::DiskFull]; [Error::Corrupt].
pub fn rekey(path: &Path, old: &Secret32, new: &Secret32, tell: &mut dyn FnMut(RekeyProgress)) -> Result<()> {
    let _lock = sqlite::lock(path)?;
    let disk = |error: std::io::Error| Error::Database(format!("{}: {error}", path.display()));
    {
        let connection = sqlite::connect_plain(path, Some(old))?;
        // All of the log into the file; a rollback journal instead of it, because that rolls back what a crash leaves.
        connection.execute_batch("PRAGMA wal_checkpoint(TRUNCATE); PRAGMA journal_mode = DELETE")?;
        let of = std::fs::metadata(path).map_err(disk)?.len() / PAGE_BYTES;
        let text = format!("PRAGMA rekey = \"x'{}'\"", new.to_hex());
        let (sender, receiver) = channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let done = connection.execute_batch(&text).map_err(|error| {
                    // The error's own text may quote the statement, and with it the key.
                    let code = error.sqlite_error().map_or(0, |error| error.extended_code);
                    match Error::from(error) {
                        Error::DiskFull => Error::DiskFull,
                        _ => {
                            Error::Database(format!("SQLCipher cannot change the key (SQLite error {code})"))
                        }
                    }
                });
                drop(connection);
                let _ = sender.send(done);
            });
            loop {
                match receiver.recv_timeout(LOOK_EVERY) {
                    Ok(done) => return done,
                    Err(RecvTimeoutError::Disconnected) => return Err(Error::Panicked),
                    Err(RecvTimeoutError::Timeout) => {
                        let journal = std::fs::metadata(journal(path)).map_or(0, |found| found.len());
                        let done = (journal / (PAGE_BYTES + JOURNAL_EXTRA)).min(of);
                        tell(RekeyProgress::Writing { done, of });
                    }
                }
            }
        })?;
    }
    tell(RekeyProgress::Checking);
    let connection = sqlite::connect_plain(path, Some(new))?;
    let broken: Option<String> = {
        let mut statement = connection.prepare("PRAGMA cipher_integrity_check")?;
        let mut rows = statement.query([])?;
        match rows.next()? {
            Some(row) => Some(row.get(0)?),
            None => None,
        }
    };
    if let Some(text) = broken {
        return Err(Error::Corrupt(text));
    }
    connection.execute_batch("PRAGMA journal_mode = WAL")?;
    Ok(())
}

fn journal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-journal");
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Store, StoreConfig, setting};
    use serde_json::json;

    #[test]
    fn the_old_key_opens_nothing_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let (old, new) = (Secret32::new([1; 32]), Secret32::new([2; 32]));
        let open = |key: &Secret32| {
            Store::open(StoreConfig {
                readers: 1,
                files: Some(Secret32::new([1; 32])),
                ..StoreConfig::new(format!("sqlite:{}", path.display()), Some(key.clone()))
            })
        };
        let store = open(&old).unwrap();
        let long = json!("a ".repeat(100_000));
        let kept = long.clone();
        store.write_blocking(move |tx| setting::put(tx, "long", &kept)).unwrap();
        let mut told = Vec::new();
        let busy = rekey(&path, &old, &new, &mut |at| told.push(at));
        assert!(matches!(busy, Err(Error::InUse(_))), "{busy:?}");
        store.close();
        assert_eq!(rekey(&path, &new, &old, &mut |_| ()), Err(Error::WrongKey));
        rekey(&path, &old, &new, &mut |at| told.push(at)).unwrap();
        assert_eq!(told.last(), Some(&RekeyProgress::Checking));
        assert_eq!(open(&old).err(), Some(Error::WrongKey));
        let store = open(&new).unwrap();
        let read = store.read_blocking(|tx| setting::get(tx, "long")).unwrap();
        assert_eq!(read, Some(long));
        store.close();
    }
}
