//! Time-based one-time passwords, RFC 6238: SHA-1, six digits, thirty seconds, as every application understands them.

use crate::Error;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha1::Sha1;
use subtle::ConstantTimeEq;

const STEP_S: i64 = 30;
/// Clocks of phones may be one step off.
const DRIFT: i64 = 1;
const DIGITS: usize = 6;

/// 160 bits, RFC 4226 §4.
pub(super) fn new_secret() -> Result<[u8; 20], Error> {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).map_err(|e| Error::Internal(format!("randomness: {e}")))?;
    Ok(bytes)
}

/// RFC 4648, without padding.
pub(super) fn base32(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(LETTERS[(held >> bits & 31) as usize]));
        }
    }
    if bits > 0 {
        text.push(char::from(LETTERS[(held << (5 - bits) & 31) as usize]));
    }
    text
}

/// What authenticator applications read from a QR code.
pub(super) fn uri(issuer: &str, label: &str, secret: &str) -> String {
    let escape = |text: &str| {
        text.bytes()
            .map(|b| match b {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                    char::from(b).to_string()
                }
                _ => format!("%{b:02X}"),
            })
            .collect::<String>()
    };
    let (issuer, label) = (escape(issuer), escape(label));
    format!(
        "otpauth://totp/{issuer}:{label}?secret={secret}&issuer={issuer}&algorithm=SHA1&digits=6&period=30"
    )
}

fn code(secret: &[u8], step: i64) -> Option<String> {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret).ok()?;
    mac.update(&step.to_be_bytes());
    let digest: [u8; 20] = mac.finalize().into_bytes().into();
    let offset = usize::from(digest[19] & 15);
    let number = u32::from_be_bytes([
        digest[offset] & 0x7f,
        digest[offset + 1],
        digest[offset + 2],
        digest[offset + 3],
    ]);
    Some(format!("{:06}", number % 1_000_000))
}

/// The step whose code this is, later than `last`; `None` if it is wrong or used up. All steps are compared.
pub(super) fn step_of(secret: &[u8], given: &str, now: Timestamp, last: i64) -> Option<i64> {
    let given: String = given.chars().filter(|c| !c.is_whitespace()).collect();
    if given.len() != DIGITS {
        return None;
    }
    let current = now.as_second().div_euclid(STEP_S);
    let mut found = None;
    for step in current - DRIFT..=current + DRIFT {
        let right = bool::from(code(secret, step)?.as_bytes().ct_eq(given.as_bytes()));
        if right && step > last && found.is_none() {
            found = Some(step);
        }
    }
    found
}

/// The code of an application at this time, for people who test; `secret` is base32.
pub fn code_at(secret: &str, now: Timestamp) -> Option<String> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0_u32);
    for letter in secret.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'2'..=b'7' => letter - b'2' + 26,
            _ => return None,
        };
        held = (held << 5) | u32::from(value);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    code(&bytes, now.as_second().div_euclid(STEP_S))
}
