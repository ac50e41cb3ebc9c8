//! Keys made from keys.

use super::KeyError;
use ring::hkdf::{HKDF_SHA256, Salt};

/// HKDF-SHA256 (RFC 5869), 32 bytes of it: another key for every `salt` and `info`, none of which tells of `key`.
/// Errors: [KeyError::Cryptography], which cannot come for this length.
pub fn derive(salt: &[u8], key: &[u8], info: &[u8]) -> Result<[u8; 32], KeyError> {
    let mut out = [0; 32];
    Salt::new(HKDF_SHA256, salt)
        .extract(key)
        .expand(&[info], HKDF_SHA256)
        .and_then(|derived| derived.fill(&mut out))
        .map_err(|_| KeyError::Cryptography)?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::{from_hex, hex};
    use super::derive;

    #[test]
    fn it_is_that_of_the_rfc() {
        // Test case 1, the first 32 of 42 bytes.
        let bytes = |text: &str| from_hex(text).unwrap();
        let (key, salt, info) =
            (vec![0x0b; 22], bytes("000102030405060708090a0b0c"), bytes("f0f1f2f3f4f5f6f7f8f9"));
        let expected = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf";
        assert_eq!(hex(&derive(&salt, &key, &info).unwrap()), expected);
        // Test case 3: no salt, no info.
        let expected = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d";
        assert_eq!(hex(&derive(b"", &key, b"").unwrap()), expected);
    }
}
