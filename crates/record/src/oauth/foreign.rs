//! Readers of what clients send, for the fuzzer alone.

use super::jose::{Jwt, check_set};

/// Reads any text as a token and any text as a set of keys.
pub fn token(token: &str, keys: &str) {
    let known = check_set(keys);
    if let Some(jwt) = Jwt::parse(token) {
        let _ = (jwt.text("iss"), jwt.seconds("exp"));
        let signed = jwt.is_signed_by(keys);
        assert!(!signed || known.is_ok() || keys.contains("kid"), "signed by nothing");
    }
}
