//! Objects that say nothing to whom has only the repository: AES-256-GCM, a key for each object.
//!
//! Layout: 16 bytes of magic, 32 random bytes of salt, the text encrypted, a tag of 16 bytes. An object's key is
//! [store::keys::derive] of the backup's key under the salt, so that a nonce of zeros is never used twice under one key;
//! the object's name is bound into the tag, so that one cannot stand in for another.

use crate::{Error, Result};
use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;

const MAGIC: &[u8; 16] = b"uzima backup 1\n\0";
const SALT: usize = 32;
const HEADER: usize = MAGIC.len() + SALT;

/// From which the keys of all objects are made; prints as `***`.
#[derive(Clone)]
pub struct BackupKey {
    seal: [u8; 32],
    name: [u8; 32],
}

impl std::fmt::Debug for BackupKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

fn derive(salt: &[u8], key: &[u8], info: &[u8]) -> Result<[u8; 32]> {
    store::keys::derive(salt, key, info).map_err(|error| Error::Wrong(error.to_string()))
}

impl BackupKey {
    /// From the installation's key; other keys than the database's and the files', though made from the same.
    /// Errors: none that can come.
    pub fn of_installation(key: &[u8; 32]) -> Result<BackupKey> {
        Ok(BackupKey {
            seal: derive(b"uzima", key, b"uzima backup")?,
            name: derive(b"uzima", key, b"uzima backup names")?,
        })
    }

    /// Of other 32 secret bytes, e.g. made from a passphrase.
    pub(crate) fn of_secret(secret: &[u8; 32]) -> Result<BackupKey> {
        Ok(BackupKey { seal: derive(b"uzima", secret, b"uzima kept key")?, name: [0; 32] })
    }

    /// The name of a piece: says that two are the same, and nothing about what they are.
    pub fn chunk_name(&self, bytes: &[u8]) -> Result<String> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.name).map_err(|_| Error::Wrong("HMAC key".into()))?;
        mac.update(bytes);
        let hash: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(format!("chunk/{}/{hash}", &hash[..2]))
    }

    fn cipher(&self, salt: &[u8]) -> Result<Aes256Gcm> {
        let key = derive(salt, &self.seal, b"uzima backup object")?;
        Aes256Gcm::new_from_slice(&key).map_err(|_| Error::Wrong("AES key".into()))
    }

    /// Errors: no randomness.
    pub fn seal(&self, name: &str, text: &[u8]) -> Result<Vec<u8>> {
        let mut salt = [0; SALT];
        getrandom::fill(&mut salt).map_err(|error| Error::Wrong(error.to_string()))?;
        let mut out = Vec::with_capacity(HEADER + text.len() + 16);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&salt);
        out.extend_from_slice(text);
        let tag = self
            .cipher(&salt)?
            .encrypt_inout_detached(&Nonce::from([0; 12]), name.as_bytes(), (&mut out[HEADER..]).into())
            .map_err(|_| Error::Wrong("AES-GCM".into()))?;
        out.extend_from_slice(&tag);
        Ok(out)
    }

    /// Errors: [Error::Damaged].
    pub fn open(&self, name: &str, mut sealed: Vec<u8>) -> Result<Vec<u8>> {
        let damaged = || Error::Damaged(name.to_owned());
        if sealed.len() < HEADER + 16 || &sealed[..MAGIC.len()] != MAGIC {
            return Err(damaged());
        }
        let mut tag = [0; 16];
        tag.copy_from_slice(&sealed[sealed.len() - 16..]);
        sealed.truncate(sealed.len() - 16);
        let cipher = self.cipher(&sealed[MAGIC.len()..HEADER])?;
        cipher
            .decrypt_inout_detached(
                &Nonce::from([0; 12]),
                name.as_bytes(),
                (&mut sealed[HEADER..]).into(),
                &aes_gcm::Tag::from(tag),
            )
            .map_err(|_| damaged())?;
        sealed.drain(..HEADER);
        Ok(sealed)
    }
}
