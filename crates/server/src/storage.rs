//! Opening the database with its key, and looking at its health.

use crate::config::Config;
use anyhow::{Context as _, bail};
use record::{Clock, Error, Record};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::{Secret32, Store, StoreConfig};
use tokio::sync::watch;

/// Name of the embedded database in the data folder.
const DATABASE: &str = "uzima.db";
/// A probe of the database must answer within this.
const PROBE: Duration = Duration::from_secs(5);

/// Opens (and makes) the data folder, key and database, and brings the schema up to date. Blocks.
/// Errors: in words for the operator.
pub fn open(config: &Config, clock: Clock) -> anyhow::Result<Record> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&config.data)
        .with_context(|| format!("cannot make the data folder {}", config.data.display()))?;
    let file = config.data.join(DATABASE);
    let url = match &config.database_url {
        Some(url) => url.expose().to_owned(),
        None => format!("sqlite:{}", file.display()),
    };
    let key = match url.strip_prefix("sqlite:") {
        Some(path) => Some(key(config, Path::new(path))?),
        None if url.starts_with("postgres://") || url.starts_with("postgresql://") => None,
        None => bail!("database_url must begin with sqlite: or postgres://"),
    };
    let store = Store::open(StoreConfig::new(url, key)).map_err(|error| explain(&error))?;
    let record = Record::new(store, clock);
    record.set_secret_key(file_key(config)?.as_bytes());
    if let Some(url) = &config.public_url {
        record.set_base(format!("{url}{}", crate::rest::BASE));
    }
    Ok(record)
}

fn explain(error: &store::Error) -> anyhow::Error {
    match error {
        store::Error::WrongKey => anyhow::anyhow!(
            "the database cannot be read with this key: UZIMA_KEY_FILE or UZIMA_KEY must give the key it was made with"
        ),
        store::Error::InUse(what) => anyhow::anyhow!("{what} is in use: stop the running server first"),
        other => anyhow::anyhow!("cannot open the database: {other}"),
    }
}

/// The configured key, or that of the key file, which is made when there is no database yet.
fn key(config: &Config, database: &Path) -> anyhow::Result<Secret32> {
    if let Some(key) = &config.key.value {
        return Secret32::from_hex(key.expose()).context("key.value is no key");
    }
    let file = key_file(config);
    match std::fs::read_to_string(&file) {
        Ok(text) => Secret32::from_hex(&text)
            .with_context(|| format!("{} does not hold 64 hexadecimal digits", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            if database.exists() {
                bail!(
                    "the database {} is there but its key file {} is not: put it back, or name it by UZIMA_KEY_FILE",
                    database.display(),
                    file.display()
                );
            }
            make_key(&file)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read the key file {}", file.display())),
    }
}

/// The key that the files in the data folder are encrypted under: that of the embedded database. Beside PostgreSQL it is
/// made when it is first needed; servers that share their files need the same one. Errors: in words for the operator.
pub fn file_key(config: &Config) -> anyhow::Result<Secret32> {
    if let Some(key) = &config.key.value {
        return Secret32::from_hex(key.expose()).context("key.value is no key");
    }
    let file = key_file(config);
    match std::fs::read_to_string(&file) {
        Ok(text) => Secret32::from_hex(&text)
            .with_context(|| format!("{} does not hold 64 hexadecimal digits", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => make_key(&file),
        Err(error) => Err(error).with_context(|| format!("cannot read the key file {}", file.display())),
    }
}

/// `key.file`, or beside the data folder, so that a copy of the folder alone is of no use to a thief.
fn key_file(config: &Config) -> PathBuf {
    match &config.key.file {
        Some(file) => file.clone(),
        None => {
            let mut name = config.data.file_name().unwrap_or("uzima".as_ref()).to_owned();
            name.push(".key");
            config.data.with_file_name(name)
        }
    }
}

fn make_key(file: &Path) -> anyhow::Result<Secret32> {
    let key = Secret32::random().context("no randomness for a key")?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut opened = options.open(file).with_context(|| {
        format!(
            "cannot make the key file {}: set UZIMA_KEY_FILE to a place that can be written",
            file.display()
        )
    })?;
    opened.write_all(format!("{}\n", key.to_hex()).as_bytes())?;
    opened.sync_all()?;
    tracing::info!(file = %file.display(), "made a new database key; keep a copy of it in a safe place");
    Ok(key)
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
        store::Error::Invalid(what) => Error::Malformed(fhir::Outcome::one(
            fhir::IssueCode::Value,
            what,
            format!("This is no valid {what}."),
        )),
        other @ (store::Error::InUse(_)
        | store::Error::WrongKey
        | store::Error::NewerDatabase { .. }
        | store::Error::DiskFull
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
