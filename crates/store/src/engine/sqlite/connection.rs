//! Connections: keys, settings, and how long a query may run.
//!
//! SQLCipher never forgives: once a page could not be read or written, all that the connection says is that the file is no
//! database. The disk may be well again a moment later; so a thread whose connection says that takes a new one.

use crate::{Error, Result, Secret32};
use rusqlite::{Connection, OpenFlags};
use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::time::Instant;

/// Page caches. Readers share the kernel's cache of the (encrypted) file, so theirs only saves decryption.
pub(super) const WRITER_CACHE_KIB: i64 = 48 * 1024;
pub(super) const READER_CACHE_KIB: i64 = 8 * 1024;
const STATEMENTS: usize = 256;

/// Steps of SQLite's machine between two looks at the clock: a fraction of a millisecond.
const STEPS: i32 = 10_000;

thread_local! {
    /// When the query that runs on this thread must end.
    static DEADLINE: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// Takes the deadline away, however the query ended.
pub(super) struct Timed;

impl Timed {
    pub fn until(end: Option<Instant>) -> Timed {
        DEADLINE.set(end);
        Timed
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        DEADLINE.set(None);
    }
}

/// A connection to a database that nobody writes. Errors: [Error::WrongKey].
pub(crate) fn connect_to_read(path: &Path, key: Option<&Secret32>) -> Result<Connection> {
    let connection = connect(path, key, READER_CACHE_KIB)?;
    connection.execute_batch("PRAGMA query_only = ON")?;
    Ok(connection)
}

/// Takes the data file for this process; the file itself stays empty.
pub(crate) fn lock(path: &Path) -> Result<File> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let name = PathBuf::from(name);
    let broken = |e: std::io::Error| Error::Database(format!("{}: {e}", name.display()));
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&name).map_err(broken)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(Error::InUse(path.display().to_string())),
        Err(std::fs::TryLockError::Error(e)) => Err(broken(e)),
    }
}

/// Starts the library, once, while everybody else waits. SQLite says that it has started before SQLCipher's part of it
/// has: a connection opened in between by another thread has no codec yet, and setting its key fails.
fn start_library() {
    static STARTED: Once = Once::new();
    // What is wrong here is found and told by whoever opens a file next.
    STARTED.call_once(|| drop(Connection::open_in_memory()));
}

pub(super) fn connect(path: &Path, key: Option<&Secret32>, cache_kib: i64) -> Result<Connection> {
    let mut connection = connect_plain(path, key)?;
    connection.execute_batch(&format!(
        "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
         PRAGMA wal_autocheckpoint = 0; PRAGMA temp_store = MEMORY; PRAGMA cache_size = -{cache_kib}; \
         PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;"
    ))?;
    connection.progress_handler(STEPS, Some(|| DEADLINE.get().is_some_and(|end| Instant::now() >= end)))?;
    // Without it, a statement with a bound LIMIT is planned anew whenever it is bound: 60 µs of every search.
    connection.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(connection)
}

/// A connection as it comes, with its key. Errors: [Error::WrongKey].
pub(crate) fn connect_plain(path: &Path, key: Option<&Secret32>) -> Result<Connection> {
    start_library();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
    let connection = Connection::open_with_flags(path, flags)?;
    if let Some(key) = key {
        // A raw key needs no key derivation. SHA-256 has instructions on every processor of today, SHA-512 has not.
        let keyed = connection.execute_batch(&format!(
            "PRAGMA cipher_log_level = NONE; PRAGMA key = \"x'{}'\"; PRAGMA cipher_page_size = 4096; PRAGMA cipher_hmac_algorithm = HMAC_SHA256;",
            key.to_hex()
        ));
        // The error's own text may quote the statement, and with it the key.
        keyed.map_err(|error| {
            let code = error.sqlite_error().map_or(0, |error| error.extended_code);
            Error::Database(format!("SQLCipher does not take a key (SQLite error {code})"))
        })?;
    }
    // The first statement that reads the file is the one that fails with a wrong key.
    connection.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))?;
    Ok(connection)
}
