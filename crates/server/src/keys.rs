//! The keys of this installation: where the key-encryption key comes from, and the keyring in the data folder.

use crate::config::Config;
use anyhow::{Context as _, bail};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use store::Secret32;
use store::keys::{KeyError, KeyProvider, Keyring, Keys, LocalKey, Program, replace_key_file};

/// In the data folder: sealed, so of no use to who has only the folder, and with it wherever it goes.
const KEYRING: &str = "keyring.json";
/// systemd says in it where a service's credentials are.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Where the key-encryption key (KEK) comes from.
pub enum Source {
    Local(LocalKey),
    Program(Program),
}

impl Source {
    pub fn provider(&self) -> &dyn KeyProvider {
        match self {
            Source::Local(key) => key,
            Source::Program(program) => program,
        }
    }
    /// The key of an installation that has no keyring yet.
    pub fn bare(&self) -> Option<&Secret32> {
        match self {
            Source::Local(key) => Some(key.secret()),
            Source::Program(_) => None,
        }
    }
}

/// The keys as they were found.
pub struct Held {
    pub keys: Keys,
    pub source: Source,
    /// `None`: there is none yet; see [Held::keep].
    pub keyring: Option<Keyring>,
    path: PathBuf,
}

impl Held {
    /// Of an opened keyring.
    pub fn of(keyring: Keyring, source: Source) -> Held {
        Held { keys: keyring.keys().clone(), path: keyring.path().to_owned(), source, keyring: Some(keyring) }
    }

    /// Puts keys that have none into a keyring, once they have opened the database. Errors: of the disk.
    pub fn keep(&mut self, now: Timestamp) -> Result<(), KeyError> {
        if self.keyring.is_none() {
            let made = Keyring::make(&self.path, self.source.provider(), self.keys.clone(), now)?;
            self.keyring = Some(made);
        }
        Ok(())
    }

    /// Notes other keys. Errors: as for [Keyring::set_keys].
    pub fn set(&mut self, keys: Keys) -> Result<(), KeyError> {
        if let Some(keyring) = &mut self.keyring {
            keyring.set_keys(keys.clone(), self.source.provider())?;
            self.keys = keys;
        }
        Ok(())
    }
}

pub fn keyring_path(config: &Config) -> PathBuf {
    keyring_in(&config.data)
}

/// That of a data folder.
pub fn keyring_in(data: &Path) -> PathBuf {
    data.join(KEYRING)
}

/// `key.file`, or beside the data folder, so that a copy of the folder alone is of no use to a thief.
pub fn key_file(config: &Config) -> PathBuf {
    match &config.key.file {
        Some(file) => file.clone(),
        None => {
            let mut name = config.data.file_name().unwrap_or("uzima".as_ref()).to_owned();
            name.push(".key");
            config.data.with_file_name(name)
        }
    }
}

/// The configured source of the KEK. Errors: [KeyError::Missing] for a key file that is not there; it cannot be read, or
/// others can read it too.
pub fn source(config: &Config) -> Result<Source, KeyError> {
    let key = &config.key;
    if let Some(value) = &key.value {
        return Ok(Source::Local(LocalKey::of_text("UZIMA_KEY", value.expose())?));
    }
    if let Some(name) = &key.credential {
        let folder = std::env::var_os(CREDENTIALS).map(PathBuf::from);
        let folder = folder.ok_or_else(|| KeyError::NoKey(format!("${CREDENTIALS} is not set, and")))?;
        return Ok(Source::Local(LocalKey::of_credential(&folder, name)?));
    }
    if let Some(program) = Program::new(&key.program) {
        return Ok(Source::Program(program));
    }
    Ok(Source::Local(LocalKey::of_file(&key_file(config))?))
}

/// Finds the keys, or makes them for a new installation. `database` is that of an embedded one.
/// Errors: in words for the operator.
pub fn open(config: &Config, database: Option<&Path>) -> anyhow::Result<Held> {
    let path = keyring_path(config);
    let is_there = database.is_some_and(Path::exists);
    let source = match source(config) {
        Err(KeyError::Missing(file)) => {
            if let Some(database) = database.filter(|_| is_there) {
                bail!(
                    "the database {} is there but its key file {} is not: put it back, or name it by UZIMA_KEY_FILE",
                    database.display(),
                    file.display()
                );
            }
            if path.exists() {
                bail!(
                    "the keyring {} is there but its key file {} is not: put it back, or name it by UZIMA_KEY_FILE",
                    path.display(),
                    file.display()
                );
            }
            make_key(&file)?
        }
        other => other?,
    };
    if let Some(keyring) = Keyring::open(&path, source.provider())? {
        return Ok(Held::of(keyring, source));
    }
    let now = Timestamp::now();
    // The first key is the only one: a backup and a copy of the key file bring everything back. It is the database's own
    // until `uzima keys rekey` gives it another.
    if let Some(bare) = source.bare().cloned() {
        return Ok(Held { keys: Keys::bare(bare, now), source, keyring: None, path });
    }
    if let Some(database) = database.filter(|_| is_there) {
        bail!(
            "the database {} is there but its keyring {} is not: put it back from a backup",
            database.display(),
            path.display()
        );
    }
    let keyring = Keyring::make(&path, source.provider(), Keys::random(now)?, now)?;
    Ok(Held::of(keyring, source))
}

fn make_key(file: &Path) -> anyhow::Result<Source> {
    let key = Secret32::random().context("no randomness for a key")?;
    replace_key_file(file, &key).context("set UZIMA_KEY_FILE to a place that can be written")?;
    tracing::info!(file = %file.display(), "made a new key; keep a copy of it in a safe place");
    Ok(Source::Local(LocalKey::of_file(file)?))
}

/// Nobody reads this process's memory: no core dumps, no debugger of the same user. Where the system refuses, it is said.
pub fn protect_memory() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps cannot be turned off");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the process cannot be made undumpable");
    }
}
