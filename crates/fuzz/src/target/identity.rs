//! What proves who somebody is, or says so.

use super::{halves, texts};
use crate::Reader;

pub const TOKEN: Reader = Reader {
    name: "token",
    about: "signed tokens of clients and their key sets",
    read: token,
    seeds: || texts(&[TOKEN_AND_KEYS, "eyJhbGciOiJub25lIn0.e30.\0{\"keys\":[]}"]),
};
pub const LOGOUT: Reader = Reader {
    name: "logout-token",
    about: "outside providers' logout tokens and keys",
    read: logout,
    seeds: || {
        texts(&[
            TOKEN_AND_KEYS,
            "eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.eyJpc3MiOiJpIiwiYXVkIjpbImMiXSwiaWF0IjoxfQ.AAAA\0{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"a\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}",
        ])
    },
};
pub const AUTHENTICATOR: Reader = Reader {
    name: "authenticator",
    about: "passkeys: CBOR, authenticator data, keys",
    read: record::authn::foreign::authenticator,
    seeds: authenticators,
};

const TOKEN_AND_KEYS: &str = "eyJhbGciOiJFUzM4NCIsImtpZCI6ImEifQ.eyJpc3MiOiJjIiwic3ViIjoiYyIsImF1ZCI6ImEiLCJleHAiOjEuNWUzMCwianRpIjoiaiJ9.AAAA\0{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-384\",\"kid\":\"a\",\"alg\":\"ES384\",\"use\":\"sig\",\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"},{\"kty\":\"RSA\",\"kid\":\"b\",\"n\":\"AQAB\",\"e\":\"AQAB\"}]}";

fn token(bytes: &[u8]) {
    let (token, keys) = halves(bytes);
    if let (Ok(token), Ok(keys)) = (std::str::from_utf8(token), std::str::from_utf8(keys)) {
        record::oauth::foreign::token(token, keys);
    }
}

fn logout(bytes: &[u8]) {
    let (token, keys) = halves(bytes);
    if let Ok(token) = std::str::from_utf8(token) {
        reach::oidc::foreign::logout_token(token, keys);
    }
}

/// An attestation object of no kind, around the data of a new ES256 key.
fn authenticators() -> Vec<Vec<u8>> {
    let key =
        [&b"\xa5\x01\x02\x03\x26\x20\x01\x21\x58\x20"[..], &[7; 32], b"\x22\x58\x20", &[9; 32]].concat();
    let flags = 0x45;
    let data = [&[0; 32][..], &[flags], &[0, 0, 0, 1], &[0; 16], &[0, 4], b"abcd", &key].concat();
    let length = u8::try_from(data.len()).unwrap_or(u8::MAX);
    let object =
        [&b"\xa3\x63fmt\x64none\x67attStmt\xa0\x68authData\x58"[..], &[length], data.as_slice()].concat();
    vec![object, data, key, b"\x82\x01\xf5".to_vec()]
}
