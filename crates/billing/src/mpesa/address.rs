//! The secret parts of callback addresses: 256 bits that only this clinic's Daraja secrets can make, so that nothing
//! needs to be kept to build an address again.

use super::Config;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// The address of one payment's callback. Only its hash is stored.
pub fn of_payment(config: &Config, payment: &Uuid) -> Option<String> {
    secret(config, "stk", payment.as_bytes())
}

/// The address of paybill payments.
pub fn of_paybill(config: &Config) -> Option<String> {
    secret(config, "c2b", config.shortcode.as_bytes())
}

pub fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// `None` cannot happen: HMAC takes keys of any length.
fn secret(config: &Config, purpose: &str, subject: &[u8]) -> Option<String> {
    let key = format!("{}\0{}", config.consumer_secret, config.passkey);
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).ok()?;
    mac.update(b"uzima/callback/");
    mac.update(purpose.as_bytes());
    mac.update(b"/");
    mac.update(subject);
    Some(hex(&mac.finalize().into_bytes()))
}
