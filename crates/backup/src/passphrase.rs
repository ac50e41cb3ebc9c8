//! The installation's key in the backup, under a passphrase; only if somebody asks for it.

use crate::{BackupKey, Error, Repository, Result, target::Target};
use argon2::{Algorithm, Argon2, Params, Version};
use jiff::{SignedDuration, Timestamp};
use store::Secret32;

/// Twice what passwords cost: it is asked for once in years, and tried offline by a thief.
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 4;
const SALT: usize = 16;
/// Shorter ones are guessed.
const LENGTH_MIN: usize = 16;
/// Keys of erased patients must not come back from old copies.
pub(crate) const KEPT: SignedDuration = SignedDuration::from_hours(35 * 24);

fn stretched(passphrase: &str, salt: &[u8]) -> Result<BackupKey> {
    let wrong = |error: argon2::Error| Error::Wrong(format!("argon2: {error}"));
    let params = Params::new(MEMORY_KIB, PASSES, 1, Some(32)).map_err(wrong)?;
    let mut secret = [0; 32];
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut secret)
        .map_err(wrong)?;
    BackupKey::of_secret(&secret)
}

/// Stores the key. It is forgotten after 35 days, so keep it anew now and then. Errors: a short passphrase; of the target.
pub fn keep_key(repository: &Repository, key: &Secret32, passphrase: &str, now: Timestamp) -> Result<()> {
    if passphrase.chars().count() < LENGTH_MIN {
        return Err(Error::Wrong(format!("the passphrase must have at least {LENGTH_MIN} characters")));
    }
    let name = format!("key/{}", now.as_microsecond());
    let mut salt = [0; SALT];
    getrandom::fill(&mut salt).map_err(|error| Error::Wrong(error.to_string()))?;
    let mut bytes = salt.to_vec();
    bytes.extend(stretched(passphrase, &salt)?.seal(&name, key.as_bytes())?);
    repository.target().put(&name, &bytes)?;
    Ok(())
}

/// The newest key that was kept. Errors: [Error::NotFound] if there is none; [Error::Damaged] for another passphrase.
pub fn kept_key(target: &dyn Target, passphrase: &str) -> Result<Secret32> {
    let last = target.list("key/")?.into_iter().max_by(|a, b| a.name.cmp(&b.name));
    let name = last.ok_or_else(|| Error::NotFound("a key under a passphrase".into()))?.name;
    let mut bytes = target.get(&name)?;
    if bytes.len() < SALT {
        return Err(Error::Damaged(name));
    }
    let sealed = bytes.split_off(SALT);
    let key = stretched(passphrase, &bytes)?.open(&name, sealed)?;
    let key: [u8; 32] = key.try_into().map_err(|_| Error::Damaged(name))?;
    Ok(Secret32::new(key))
}
