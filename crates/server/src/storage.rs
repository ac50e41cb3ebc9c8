//! Opening the database with its key, and looking at its health.

use crate::config::Config;
use crate::keys;
use anyhow::{Context as _, bail};
use record::{Clock, Error, Record};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::{Secret32, Store, StoreConfig};
use tokio::sync::watch;

/// Name of the embedded database in the data folder.
pub const DATABASE: &str = "uzima.db";
/// A probe of the database must answer within this.
const PROBE: Duration = Duration::from_secs(5);

/// Opens (and makes) the data folder, key and database, and brings the schema up to date. Blocks.
/// Errors: in words for the operator.
pub fn open(config: &Config, clock: Clock) -> anyhow::Result<Record> {
    let record = Record::new(open_store(config)?, clock);
    record.set_secret_key(file_key(config)?.as_bytes());
    if let Some(url) = &config.public_url {
        record.set_base(format!("{url}{}", crate::rest::BASE));
    }
    Ok(record)
}

/// The database without what is above it.
pub fn open_store(config: &Config) -> anyhow::Result<Store> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data)
        .with_context(|| format!("cannot make the data folder {}", config.data.display()))?;
    let (url, file) = match database_file(config) {
        Some(file) => (format!("sqlite:{}", file.display()), Some(file)),
        None => (config.database_url.as_ref().map(|url| url.expose().to_owned()).unwrap_or_default(), None),
    };
    if file.is_none() && !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        bail!("database_url must begin with sqlite: or postgres://");
    }
    match file {
        Some(file) => open_embedded(config, &file, url),
        None => {
            let files = Some(file_key(config)?);
            Store::open(StoreConfig { files, ..StoreConfig::new(url, None) }).map_err(|error| explain(&error))
        }
    }
}

pub fn explain(error: &store::Error) -> anyhow::Error {
    match error {
        store::Error::WrongKey => anyhow::anyhow!(
            "the database cannot be read with this key: UZIMA_KEY_FILE or UZIMA_KEY must give the key it was made with"
        ),
        store::Error::InUse(what) => anyhow::anyhow!("{what} is in use: stop the running server first"),
        other => anyhow::anyhow!("cannot open the database: {other}"),
    }
}

/// The file of the embedded database; `None` beside PostgreSQL.
pub fn database_file(config: &Config) -> Option<PathBuf> {
    match &config.database_url {
        Some(url) => url.expose().strip_prefix("sqlite:").map(PathBuf::from),
        None => Some(config.data.join(DATABASE)),
    }
}

fn open_embedded(config: &Config, file: &Path, url: String) -> anyhow::Result<Store> {
    let mut held = keys::open(config, Some(file))?;
    let files = Some(held.keys.files.clone());
    let open = |key: &Secret32| {
        Store::open(StoreConfig {
            files: files.clone(),
            follow_log: config.backup.to.is_some(),
            reserve_bytes: u64::from(config.backup.reserve_mb) * 1024 * 1024,
            keep_before_migration: config.backup.keep_before_migration as usize,
            ..StoreConfig::new(url.clone(), Some(key.clone()))
        })
    };
    let store = match (open(&held.keys.database), &held.keys.next) {
        // `uzima keys rekey` was stopped after it had changed the database.
        (Err(store::Error::WrongKey), Some(next)) => {
            let store = open(next).map_err(|error| explain(&error))?;
            let mut keys = held.keys.clone();
            keys.settle(jiff::Timestamp::now());
            held.set(keys)?;
            store
        }
        (Err(store::Error::WrongKey), None) if held.keyring.is_none() => bail!(
            "the database cannot be read with this key: UZIMA_KEY_FILE or UZIMA_KEY must give the key it was made with, or \
             the keyring {} is missing: put it back from a backup",
            keys::keyring_path(config).display()
        ),
        (store, _) => store.map_err(|error| explain(&error))?,
    };
    held.keep(jiff::Timestamp::now())?;
    Ok(store)
}

/// The key that the files in the data folder are encrypted under; it stays when the database gets another. Beside
/// PostgreSQL it is made when it is first needed; servers that share their files share the keyring. Errors: in words for
/// the operator.
pub fn file_key(config: &Config) -> anyhow::Result<Secret32> {
    let file = database_file(config);
    let mut held = keys::open(config, file.as_deref())?;
    if file.is_none() {
        held.keep(jiff::Timestamp::now())?;
    }
    Ok(held.keys.files)
}

/// The database answers a write and its schema is that of this program. Errors: what is wrong.
pub async fn check(record: &Record) -> Result<(), String> {
    let write = record.store().write(|tx| {
        store::setting::put(tx, "readiness", &serde_json::Value::Bool(true))?;
        store::migrate::status(tx)
    });
    match tokio::time::timeout(PROBE, write).await {
        Ok(Ok(status)) if status.pending.is_empty() => Ok(()),
        Ok(Ok(_)) => Err("the schema is older than the program".into()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the database does not answer".into()),
    }
}

/// The store's errors in `record`'s words, for the few tables that are no record (jobs, messages).
pub fn error(error: store::Error) -> Error {
    match error {
        store::Error::Busy | store::Error::Closed | store::Error::Serialization => Error::Busy,
        store::Error::TooCostly => Error::TooCostly,
        store::Error::DiskFull => Error::Full,
        store::Error::Invalid(what) => Error::Malformed(fhir::Outcome::one(
            fhir::IssueCode::Value,
            what,
            format!("This is no valid {what}."),
        )),
        other @ (store::Error::InUse(_)
        | store::Error::WrongKey
        | store::Error::KeysMissing(_)
        | store::Error::NewerDatabase { .. }
        | store::Error::Constraint(_)
        | store::Error::Corrupt(_)
        | store::Error::Panicked
        | store::Error::Database(_)) => Error::Internal(other.to_string()),
    }
}

/// Wake-ups of the store since the last look.
pub struct Wake(watch::Receiver<u64>);

impl Wake {
    pub fn new(record: &Record) -> Wake {
        Wake(record.store().wakeups())
    }
    /// Ends when there may be new work. Never ends once the store is closed.
    pub async fn wait(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
