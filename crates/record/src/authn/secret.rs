//! Random tokens and codes, and what of them is stored.

use crate::Error;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

/// 256 bits, base64url.
pub(crate) fn token() -> Result<String, Error> {
    let mut bytes = [0u8; 32];
    getrandom::fill(&mut bytes).map_err(|e| Error::Internal(format!("randomness: {e}")))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Six decimal digits, each as likely as the next.
pub(crate) fn code() -> Result<String, Error> {
    const CODES: u32 = 1_000_000;
    // The largest multiple of CODES: numbers above would favour small codes.
    const FAIR: u32 = u32::MAX - u32::MAX % CODES;
    loop {
        let number = getrandom::u32().map_err(|e| Error::Internal(format!("randomness: {e}")))?;
        if number < FAIR {
            return Ok(format!("{:06}", number % CODES));
        }
    }
}

/// A password for the first sign-in: three groups of four letters and digits that look alike nowhere.
pub(crate) fn one_time_password() -> Result<String, Error> {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz23456789A";
    let mut bytes = [0u8; 12];
    getrandom::fill(&mut bytes).map_err(|e| Error::Internal(format!("randomness: {e}")))?;
    let letters: Vec<char> = bytes.iter().map(|b| char::from(LETTERS[usize::from(b % 32)])).collect();
    Ok(letters.chunks(4).map(|c| c.iter().collect::<String>()).collect::<Vec<_>>().join("-"))
}

/// Codes to print and keep: ten, of ten letters and digits each, 50 bits.
pub(crate) fn recovery_codes() -> Result<Vec<String>, Error> {
    const CODES: usize = 10;
    // Crockford's: no letter looks like a digit.
    const EACH: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    (0..CODES)
        .map(|_| {
            let mut bytes = [0u8; 10];
            getrandom::fill(&mut bytes).map_err(|e| Error::Internal(format!("randomness: {e}")))?;
            let text: String = bytes.iter().map(|b| char::from(EACH[usize::from(b % 32)])).collect();
            Ok(format!("{}-{}", &text[..5], &text[5..]))
        })
        .collect()
}

/// However it was typed.
pub(crate) fn hash_recovery(account: i64, code: &str) -> [u8; 32] {
    let plain: String = code.chars().filter(char::is_ascii_alphanumeric).collect();
    hash(&format!("recovery/{account}\n{}", plain.to_ascii_lowercase()))
}

pub(crate) fn hash(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// A code is short: alone its hash would be found by trying all. The id of its registration salts it.
pub(crate) fn hash_code(id: &str, code: &str) -> [u8; 32] {
    hash(&format!("{id}\n{code}"))
}
