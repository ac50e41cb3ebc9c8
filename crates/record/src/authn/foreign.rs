//! Readers of what browsers and authenticators send, for the fuzzer alone.

use super::{Site, cbor, passkey};

/// Reads any bytes as an authenticator's object, as its data and as a key.
pub fn authenticator(bytes: &[u8]) {
    let site = Site { id: "clinic.example".to_owned(), origin: "https://clinic.example".to_owned() };
    let object = cbor::read(bytes);
    let inside = object.as_ref().and_then(|(value, _)| value.named("authData")?.bytes());
    for data in [Some(bytes), inside].into_iter().flatten() {
        passkey::read_foreign(data, &site);
    }
}
