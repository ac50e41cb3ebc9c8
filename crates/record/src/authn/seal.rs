//! Secrets at rest that the program must read again: AES-256-GCM under a key that is not in the database.

use crate::{Error, Record};
use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit, Nonce};
use sha2::{Digest as _, Sha256};

const NONCE_BYTES: usize = 12;

impl Record {
    /// The key of the installation's files; the first call counts. Servers of one database need the same.
    pub fn set_secret_key(&self, key: &[u8; 32]) {
        let mut hash = Sha256::new();
        hash.update(b"uzima second factors\n");
        hash.update(key);
        let _ = self.inner.secret_key.set(hash.finalize().into());
    }

    fn cipher(&self) -> Result<Aes256Gcm, Error> {
        let key = self.inner.secret_key.get().ok_or_else(|| Error::Internal("no key for secrets".into()))?;
        Aes256Gcm::new_from_slice(key).map_err(|_| Error::Internal("key for secrets".into()))
    }

    /// `place` binds it to where it is kept: moved elsewhere it does not open.
    pub(crate) fn seal(&self, plain: &[u8], place: &str) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).map_err(|e| Error::Internal(format!("randomness: {e}")))?;
        let payload = Payload { msg: plain, aad: place.as_bytes() };
        let sealed = self
            .cipher()?
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| Error::Internal("a secret cannot be sealed".into()))?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    /// Errors: `Internal` if it was sealed under another key or for another place.
    pub(crate) fn unseal(&self, sealed: &[u8], place: &str) -> Result<Vec<u8>, Error> {
        let wrong = || Error::Internal("a secret cannot be opened: is this the installation's key?".into());
        let (nonce, text) = sealed.split_at_checked(NONCE_BYTES).ok_or_else(wrong)?;
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| wrong())?;
        let payload = Payload { msg: text, aad: place.as_bytes() };
        self.cipher()?.decrypt(&Nonce::from(nonce), payload).map_err(|_| wrong())
    }
}
