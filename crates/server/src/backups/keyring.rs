//! The keyring beside the copies: sealed by the key-encryption key, it is of no use without it, and with it opens
//! everything else.

use crate::config::Config;
use crate::keys;
use anyhow::Context as _;
use backup::target::Target;
use jiff::Timestamp;
use std::path::Path;
use store::Secret32;
use store::keys::{Keyring, Keys, Retired};

/// Begin of the names of keyrings.
const KEYRING: &str = "keyring/";

/// Longest keyring, bytes; also its own limit.
const BYTES_MAX: u64 = 256 * 1024;

/// The keyring as it lies in the data folder, if there is one.
pub fn read(config: &Config) -> anyhow::Result<Option<Vec<u8>>> {
    use std::io::Read as _;
    let file = match std::fs::File::open(keys::keyring_path(config)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).context("cannot read the keyring"),
    };
    let mut bytes = Vec::new();
    file.take(BYTES_MAX).read_to_end(&mut bytes).context("cannot read the keyring")?;
    Ok(Some(bytes))
}

/// Stores the keyring, if there is one.
pub fn put(config: &Config, target: &dyn Target, at: Timestamp) -> anyhow::Result<()> {
    if let Some(bytes) = read(config)? {
        target.put(&format!("{KEYRING}{}", at.as_microsecond()), &bytes)?;
    }
    Ok(())
}

/// What the newest keyring of a backup holds that this key opens; without any keyring, the key itself is all there is.
/// Errors: another key.
pub fn keys_of(target: &dyn Target, source: &keys::Source) -> anyhow::Result<Keys> {
    let keyrings = target.list(KEYRING)?;
    if keyrings.is_empty() {
        let bare = source.bare().context("the backup has no keyring")?;
        return Ok(Keys::bare(bare.clone(), Timestamp::now()));
    }
    let mut first = None;
    // Names are of one length for three centuries: their order is that of time. After a rotation some are sealed for the
    // key before; a copy of that key still opens what was stored in its time.
    for keyring in keyrings.into_iter().rev() {
        match opened(target, &keyring.name, source) {
            Ok(keys) => return Ok(keys),
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or_else(|| anyhow::anyhow!("no keyring")).context("no keyring of the backup opens"))
}

fn opened(target: &dyn Target, name: &str, source: &keys::Source) -> anyhow::Result<Keys> {
    // The keyring is read from a file; it is sealed, there as here.
    let file = std::env::temp_dir().join(format!("uzima-keyring-{}", uuid::Uuid::new_v4().simple()));
    std::fs::write(&file, target.get(name)?)?;
    let keyring = Keyring::open(&file, source.provider());
    std::fs::remove_file(&file)?;
    Ok(keyring?.context("the backup's keyring cannot be read")?.keys().clone())
}

/// Puts a keyring of today into a restored folder: the one that lay there then may be sealed by a key that is gone, and the
/// database may have one of its former keys. `opened` is the one that it has. Errors: of the disk.
pub fn put_keyring(
    folder: &Path,
    source: &keys::Source,
    mut keys: Keys,
    opened: &Secret32,
) -> anyhow::Result<()> {
    let now = Timestamp::now();
    if keys.database != *opened {
        let former = std::mem::replace(&mut keys.database, opened.clone());
        keys.retired.retain(|retired| retired.key != *opened);
        keys.retired.insert(0, Retired { key: former, until: now });
        keys.since = now;
    }
    // A change that was under way is over: the database has the one or the other.
    if let Some(next) = keys.next.take().filter(|next| next != opened) {
        keys.retired.insert(0, Retired { key: next, until: now });
    }
    let path = keys::keyring_in(folder);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", path.display()));
        }
        _ => {}
    }
    Keyring::make(&path, source.provider(), keys, now)?;
    Ok(())
}
