//! Temporary databases on both engines, for tests of this and other crates.
//!
//! PostgreSQL tests need `UZIMA_TEST_POSTGRES_URL`, a URL whose user may create databases, e.g.
//! `postgres://postgres@127.0.0.1:5432/postgres`. Each test gets a database of its own, cloned from a template that
//! the first one migrates. Without the variable they are skipped, which one line on standard error says.

use crate::engine::{Store, StoreConfig};
use crate::migrate;
use postgres::{Client, NoTls};
use rusqlite::types::ValueRef;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

/// A store that vanishes with its owner.
pub struct TempStore {
    pub store: Store,
    /// Name of the engine, for messages.
    pub engine: &'static str,
    config: StoreConfig,
    cleanup: Cleanup,
}

enum Cleanup {
    Folder(#[expect(dead_code, reason = "removes the folder when dropped")] tempfile::TempDir),
    Database { admin: String, name: String },
}

impl Drop for TempStore {
    fn drop(&mut self) {
        self.store.close();
        if let Cleanup::Database { admin, name } = &self.cleanup {
            let (admin, name) = (admin.clone(), name.clone());
            // A database that stays behind only takes room; the next run makes others.
            drop(off_runtime(move || {
                let mut client = Client::connect(&admin, NoTls)?;
                Ok(client.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))?)
            }));
        }
    }
}

impl TempStore {
    /// Closes the store and opens the same database again, as a restart does.
    #[expect(clippy::panic, reason = "test support: a broken environment ends the test")]
    pub fn reopen(&mut self) {
        self.store.close();
        self.store = match Store::open(self.config.clone()) {
            Ok(store) => store,
            Err(error) => panic!("reopening the temporary database: {error}"),
        };
    }
    /// How to open this database again, e.g. from another process.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }
}

/// An encrypted SQLite database in a temporary folder.
#[expect(clippy::panic, reason = "test support: a broken environment ends the test")]
pub fn sqlite() -> TempStore {
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => panic!("temporary folder: {error}"),
    };
    let url = format!("sqlite:{}", folder.path().join("uzima.db").display());
    let config = StoreConfig { readers: 2, ..StoreConfig::new(url, Some(crate::Secret32::new([7; 32]))) };
    match Store::open(config.clone()) {
        Ok(store) => TempStore { store, engine: "sqlite", config, cleanup: Cleanup::Folder(folder) },
        Err(error) => panic!("temporary SQLite database: {error}"),
    }
}

/// A PostgreSQL database of its own; `None`, said once and loudly, if there is no server for tests.
#[expect(clippy::panic, reason = "test support: a broken environment ends the test")]
pub fn postgres() -> Option<TempStore> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    static SAID: Once = Once::new();
    let Ok(admin) = std::env::var("UZIMA_TEST_POSTGRES_URL") else {
        SAID.call_once(|| {
            use std::io::Write;
            let text = "SKIPPED: tests on PostgreSQL, because UZIMA_TEST_POSTGRES_URL is not set\n";
            // Past the test harness, which would swallow it.
            drop(std::io::stderr().write_all(text.as_bytes()));
        });
        return None;
    };
    let name = format!("uzima_test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let (server, database) = (admin.clone(), name.clone());
    match off_runtime(move || clone_template(&server, &database)) {
        Ok(config) => match Store::open(config.clone()) {
            Ok(store) => Some(TempStore {
                store,
                engine: "postgres",
                config,
                cleanup: Cleanup::Database { admin, name },
            }),
            Err(error) => panic!("temporary PostgreSQL database: {error}"),
        },
        Err(error) => panic!("temporary PostgreSQL database: {error}"),
    }
}

/// Every row of every table, as somebody with the database and its key has it: the table, and the row as text with bytes as
/// hexadecimal digits.
#[expect(clippy::panic, reason = "test support: a broken environment ends the test")]
pub fn dump(store: &Store) -> Vec<(String, String)> {
    let (tables, columns) = match store.dialect() {
        crate::Dialect::Sqlite => ("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name", "*"),
        crate::Dialect::Postgres => (
            "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema() \
             AND table_type = 'BASE TABLE' ORDER BY table_name",
            "CAST(t AS TEXT)",
        ),
    };
    let read = store.read_blocking(move |tx| {
        let mut all = Vec::new();
        for table in tx.all(tables, &[], |row| row.string(0))? {
            let sql = format!("SELECT {columns} FROM \"{table}\" t");
            all.extend(tx.all(&sql, &[], cells)?.into_iter().map(|text| (table.clone(), text)));
        }
        Ok::<_, crate::Error>(all)
    });
    match read {
        Ok(all) => all,
        Err(error) => panic!("reading the temporary database: {error}"),
    }
}

fn cells(row: &crate::Row<'_>) -> crate::Result<String> {
    let row = match row.raw {
        crate::tx::Raw::Sqlite(row) => row,
        crate::tx::Raw::Postgres(_) => return row.string(0),
    };
    let mut text = String::new();
    for column in 0..row.as_ref().column_count() {
        match row.get_ref(column)? {
            ValueRef::Null => {}
            ValueRef::Integer(n) => text.push_str(&n.to_string()),
            ValueRef::Real(n) => text.push_str(&n.to_string()),
            ValueRef::Text(bytes) => text.push_str(&String::from_utf8_lossy(bytes)),
            ValueRef::Blob(bytes) => bytes.iter().for_each(|byte| text.push_str(&format!("{byte:02x}"))),
        }
        text.push(',');
    }
    Ok(text)
}

/// Every engine there is.
pub fn both() -> Vec<TempStore> {
    std::iter::once(sqlite()).chain(postgres()).collect()
}

/// The schema in a template, made once per state of the migrations and shared by all test processes.
fn clone_template(admin: &str, name: &str) -> Result<StoreConfig, Fault> {
    let schema: String = migrate::ALL.iter().map(|m| m.text).collect();
    let hash = schema
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let template = format!("uzima_template_{hash:x}");
    let mut client = Client::connect(admin, NoTls)?;
    // One at a time: CREATE DATABASE needs the template to itself.
    client.batch_execute("SELECT pg_advisory_lock(7314)")?;
    if client.query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&template])?.is_none() {
        let making = format!("{template}_making");
        client.batch_execute(&format!("DROP DATABASE IF EXISTS {making} WITH (FORCE)"))?;
        client.batch_execute(&format!("CREATE DATABASE {making}"))?;
        let mut config = StoreConfig::new(url_of(admin, &making), None);
        config.pg_pool = 1;
        Store::open(config)?.close();
        client.batch_execute(&format!("ALTER DATABASE {making} RENAME TO {template}"))?;
    }
    client.batch_execute(&format!("CREATE DATABASE {name} TEMPLATE {template}"))?;
    let files = Some(crate::Secret32::new([7; 32]));
    Ok(StoreConfig { pg_pool: 6, files, ..StoreConfig::new(url_of(admin, name), None) })
}

type Fault = Box<dyn std::error::Error + Send + Sync>;

/// The synchronous client panics on a thread that drives a runtime, where tests often are.
fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    std::thread::spawn(work).join().unwrap_or_else(|_| Err("the thread panicked".into()))
}

/// `admin` with another database.
fn url_of(admin: &str, database: &str) -> String {
    let (server, query) = admin.split_once('?').map_or((admin, ""), |(a, b)| (a, b));
    let start = server.find("://").map_or(0, |at| at + 3);
    let end = server[start..].find('/').map_or(server.len(), |at| start + at);
    let separator = if query.is_empty() { "" } else { "?" };
    format!("{}/{database}{separator}{query}", &server[..end])
}

/// Which texts of statements hold what a test sent: a value belongs beside a statement, never into it.
pub mod statements {
    use std::sync::{Mutex, PoisonError};

    static WATCH: Mutex<Option<(String, Vec<String>)>> = Mutex::new(None);

    /// From now on, texts that hold this word, in any case, are kept. The word must be of this test alone.
    pub fn watch(word: &str) {
        *WATCH.lock().unwrap_or_else(PoisonError::into_inner) = Some((word.to_lowercase(), Vec::new()));
    }

    /// The texts that were kept.
    pub fn found() -> Vec<String> {
        let watch = WATCH.lock().unwrap_or_else(PoisonError::into_inner);
        watch.as_ref().map(|(_, found)| found.clone()).unwrap_or_default()
    }

    pub(crate) fn seen(sql: &str) {
        if let Some((word, found)) = WATCH.lock().unwrap_or_else(PoisonError::into_inner).as_mut()
            && sql.to_lowercase().contains(&**word)
        {
            found.push(sql.to_owned());
        }
    }
}
