//! Readers of what providers of identities send, for the fuzzer alone.

use super::logout;
use jiff::Timestamp;
use openidconnect::core::CoreJsonWebKeySet;

/// Reads any text as a logout token, checked by any bytes read as a set of keys.
pub fn logout_token(token: &str, keys: &[u8]) {
    let keys: CoreJsonWebKeySet =
        serde_json::from_slice(keys).unwrap_or_else(|_| CoreJsonWebKeySet::new(Vec::new()));
    drop(logout::check(token, &keys, "i", "c", Timestamp::UNIX_EPOCH));
}
