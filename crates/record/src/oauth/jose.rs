//! Signed JSON as far as it is needed here: RS384 and ES384 checked, keys read from JWK.
//!
//! **Invariant:** what a token's header says picks among the algorithms allowed here and must fit the key's type; it
//! never brings a key, and there is no algorithm without one.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Longest token, bytes.
const MAX_BYTES: usize = 16 * 1024;
/// Keys of one client.
const MAX_KEYS: usize = 20;
/// Least length of an RSA modulus, bytes.
const MIN_RSA_BYTES: usize = 256;
/// Longest, bytes: checking takes longer with its square.
const MAX_RSA_BYTES: usize = 1024;
/// Length of a P-384 coordinate, bytes.
const P384_BYTES: usize = 48;

/// A token taken apart; nothing of it is checked yet.
pub(super) struct Jwt {
    pub header: Value,
    pub claims: Value,
    /// What was signed.
    signed: String,
    signature: Vec<u8>,
}

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

impl Jwt {
    pub fn parse(token: &str) -> Option<Jwt> {
        if token.len() > MAX_BYTES {
            return None;
        }
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let json = |text: &str| {
            let value: Value = serde_json::from_slice(&decode(text)?).ok()?;
            value.is_object().then_some(value)
        };
        Some(Jwt {
            header: json(header)?,
            claims: json(claims)?,
            signed: signed.to_owned(),
            signature: decode(signature)?,
        })
    }

    pub fn text(&self, claim: &str) -> Option<&str> {
        self.claims.get(claim)?.as_str()
    }

    /// Whole seconds since the epoch.
    pub fn seconds(&self, claim: &str) -> Option<i64> {
        let value = self.claims.get(claim)?;
        value.as_i64().or_else(|| value.as_f64().map(|n| n as i64))
    }

    /// Whether one of the set's keys signed this. `crit` names what a reader must understand; nothing here does.
    pub fn is_signed_by(&self, jwks: &str) -> bool {
        let algorithm = self.header.get("alg").and_then(Value::as_str).unwrap_or_default();
        let Some(kid) = self.header.get("kid").and_then(Value::as_str) else { return false };
        if self.header.get("crit").is_some() {
            return false;
        }
        let Ok(set) = serde_json::from_str::<Value>(jwks) else { return false };
        let keys = set.get("keys").and_then(Value::as_array).into_iter().flatten().take(MAX_KEYS);
        keys.filter(|key| key.get("kid").and_then(Value::as_str) == Some(kid))
            .any(|key| self.fits(key, algorithm))
    }

    fn fits(&self, key: &Value, algorithm: &str) -> bool {
        let part = |name: &str| key.get(name).and_then(Value::as_str);
        if part("alg").is_some_and(|own| own != algorithm) || part("use").is_some_and(|own| own != "sig") {
            return false;
        }
        let message = self.signed.as_bytes();
        match (algorithm, read(key)) {
            ("RS384", Some(Key::Rsa { n, e })) => signature::RsaPublicKeyComponents { n: &n, e: &e }
                .verify(&signature::RSA_PKCS1_2048_8192_SHA384, message, &self.signature)
                .is_ok(),
            ("ES384", Some(Key::P384(point))) => {
                signature::UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point)
                    .verify(message, &self.signature)
                    .is_ok()
            }
            _ => false,
        }
    }
}

enum Key {
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
    /// Uncompressed.
    P384(Vec<u8>),
}

fn read(key: &Value) -> Option<Key> {
    let part = |name: &str| key.get(name).and_then(Value::as_str);
    match part("kty")? {
        "RSA" => {
            let strip = |bytes: Vec<u8>| bytes.into_iter().skip_while(|b| *b == 0).collect::<Vec<u8>>();
            let (n, e) = (strip(decode(part("n")?)?), strip(decode(part("e")?)?));
            (MIN_RSA_BYTES..=MAX_RSA_BYTES).contains(&n.len()).then_some(Key::Rsa { n, e })
        }
        "EC" if part("crv") == Some("P-384") => {
            let (x, y) = (decode(part("x")?)?, decode(part("y")?)?);
            let fits = x.len() == P384_BYTES && y.len() == P384_BYTES;
            fits.then(|| Key::P384([&[4u8][..], &x, &y].concat()))
        }
        _ => None,
    }
}

/// What people compare keys by: RFC 7638, SHA-256, base64url; each key of the set once.
pub(crate) fn thumbprints(jwks: &str) -> Vec<String> {
    let set: Value = serde_json::from_str(jwks).unwrap_or_default();
    let keys = set.get("keys").and_then(Value::as_array).into_iter().flatten().take(MAX_KEYS);
    keys.map(|key| {
        // Its required members in the order of their names.
        let members: &[&str] = match key.get("kty").and_then(Value::as_str) {
            Some("RSA") => &["e", "kty", "n"],
            _ => &["crv", "kty", "x", "y"],
        };
        let pairs = members.iter().filter_map(|name| Some(((*name).to_owned(), key.get(*name)?.clone())));
        let canonical = Value::Object(pairs.collect());
        encode(&Sha256::digest(canonical.to_string().as_bytes()))
    })
    .collect()
}

/// Whether a client may be registered with this key set. Errors: why not, for the administrator.
pub(super) fn check_set(jwks: &str) -> Result<(), &'static str> {
    let set: Value = serde_json::from_str(jwks).map_err(|_| "The key set is no JSON.")?;
    let keys = set.get("keys").and_then(Value::as_array).ok_or("A key set has a list `keys`.")?;
    if keys.is_empty() || keys.len() > MAX_KEYS {
        return Err("A key set has 1 to 20 keys.");
    }
    for key in keys {
        if ["d", "p", "q", "k"].iter().any(|part| key.get(part).is_some()) {
            return Err("The key set has a private or symmetric key; give public keys only.");
        }
        if key.get("kid").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err("Each key needs a `kid`.");
        }
        if read(key).is_none() {
            return Err("Keys are RSA of at least 2048 bits (RS384) or EC P-384 (ES384).");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::thumbprints;

    /// RFC 7638 §3.1.
    #[test]
    fn a_thumbprint_is_that_of_the_standard() {
        let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n\
                 3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0z\
                 gdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-cs\
                 FCur-kEgU8awapJzKnqDKgw";
        let set = serde_json::json!({"keys": [
            {"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "kid": "2011-04-29"},
        ]});
        assert_eq!(thumbprints(&set.to_string()), ["NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"]);
        assert!(thumbprints("no set").is_empty());
    }
}
