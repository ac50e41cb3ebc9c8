//! The database key.

use crate::{Error, Result};
use zeroize::Zeroize as _;

/// 32 secret bytes; prints as `***`, and leaves nothing in memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret32([u8; 32]);

impl Secret32 {
    pub fn new(bytes: [u8; 32]) -> Secret32 {
        Secret32(bytes)
    }
    /// A new random key. Errors: [Error::Database] if the system has no randomness.
    pub fn random() -> Result<Secret32> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|e| Error::Database(e.to_string()))?;
        Ok(Secret32(bytes))
    }
    /// From 64 hexadecimal digits, as in a key file. Errors: [Error::Invalid].
    pub fn from_hex(text: &str) -> Result<Secret32> {
        let text = text.trim();
        if text.len() != 64 || !text.is_ascii() {
            return Err(Error::Invalid("key"));
        }
        let mut bytes = [0; 32];
        for (n, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).map_err(|_| Error::Invalid("key"))?;
        }
        Ok(Secret32(bytes))
    }
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Drop for Secret32 {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::fmt::Debug for Secret32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}
