//! The file with the key that signs the heads of the audit trail.

use crate::config::Config;
use anyhow::{Context as _, bail};
use record::Record;
use record::audit::{AuditKey, hex};
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use store::Secret32;

/// `audit.key_file`, or beside the data folder, so that a copy of the folder alone does not hold it.
pub fn path(config: &Config) -> PathBuf {
    match &config.audit.key_file {
        Some(file) => file.clone(),
        None => {
            let mut name = config.data.file_name().unwrap_or("uzima".as_ref()).to_owned();
            name.push(".audit.key");
            config.data.with_file_name(name)
        }
    }
}

/// The key of the file; `None` if there is no file. Errors: a file that cannot be read or holds no key.
pub fn read(config: &Config) -> anyhow::Result<Option<AuditKey>> {
    let file = path(config);
    match std::fs::read_to_string(&file) {
        Ok(text) => {
            let secret = Secret32::from_hex(&text)
                .with_context(|| format!("{} does not hold 64 hexadecimal digits", file.display()))?;
            Ok(Some(AuditKey::new(&secret).context("the signing key of the audit trail is none")?))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read the key file {}", file.display())),
    }
}

/// The key of the file, which is made if heads have no key yet. Errors: also where heads are signed by a key that is not
/// here: a new one in its place would be what an intruder makes.
pub async fn open(config: &Config, record: &Record) -> anyhow::Result<AuditKey> {
    if let Some(key) = read(config)? {
        return Ok(key);
    }
    let standing = record.audit_standing().await?;
    let file = path(config);
    if let Some(active) = standing.keys.last() {
        bail!(
            "heads of the audit trail are signed by key {}, but its file {} is not there: put it back, or tell of a new key \
             by `uzima audit rotate-key --lost`",
            hex(&active.id),
            file.display()
        );
    }
    make(&file)
}

/// A new key in a new file. Errors: the file is there or cannot be written.
pub fn make(file: &Path) -> anyhow::Result<AuditKey> {
    let secret = Secret32::random().context("no randomness for a key")?;
    let key = AuditKey::new(&secret).context("no key")?;
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let mut opened = options.open(file).with_context(|| {
        format!(
            "cannot make the key file {}: set UZIMA_AUDIT_KEY_FILE to a place that can be written",
            file.display()
        )
    })?;
    opened.write_all(format!("{}\n", secret.to_hex()).as_bytes())?;
    opened.sync_all()?;
    tracing::info!(file = %file.display(), key = %hex(&key.id), "made a key that signs the audit trail");
    Ok(key)
}
