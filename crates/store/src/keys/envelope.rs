//! AES-256-GCM around something short.

use super::KeyError;
use crate::Secret32;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};

fn cipher(key: &Secret32) -> Result<LessSafeKey, KeyError> {
    let key = UnboundKey::new(&AES_256_GCM, key.as_bytes()).map_err(|_| KeyError::Cryptography)?;
    Ok(LessSafeKey::new(key))
}

/// 12 random bytes of nonce, the text encrypted, 16 bytes of tag. `place` says where it lies and is bound into the tag:
/// elsewhere it does not open. Random nonces bear 2³² texts under one key (NIST SP 800-38D §8.3).
/// Errors: [KeyError::Cryptography].
pub fn seal(key: &Secret32, place: &[u8], text: &[u8]) -> Result<Vec<u8>, KeyError> {
    let mut nonce = [0; NONCE_LEN];
    getrandom::fill(&mut nonce).map_err(|_| KeyError::Cryptography)?;
    let mut sealed = text.to_vec();
    cipher(key)?
        .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(place), &mut sealed)
        .map_err(|_| KeyError::Cryptography)?;
    Ok([nonce.as_slice(), &sealed].concat())
}

/// The text. Errors: [KeyError::Cryptography] for another key, another place, or a changed byte.
pub fn open(key: &Secret32, place: &[u8], sealed: &[u8]) -> Result<Vec<u8>, KeyError> {
    let (nonce, text) = sealed.split_at_checked(NONCE_LEN).ok_or(KeyError::Cryptography)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyError::Cryptography)?;
    let mut text = text.to_vec();
    let opened =
        cipher(key)?.open_in_place(nonce, Aad::from(place), &mut text).map_err(|_| KeyError::Cryptography)?;
    let length = opened.len();
    text.truncate(length);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_place_open_it() {
        let key = Secret32::new([1; 32]);
        for text in [&b""[..], b"a", &[7; 5000]] {
            let sealed = seal(&key, b"here", text).unwrap();
            assert_eq!(sealed.len(), text.len() + 28);
            assert_eq!(open(&key, b"here", &sealed).unwrap(), text);
            assert!(open(&key, b"there", &sealed).is_err());
            assert!(open(&Secret32::new([2; 32]), b"here", &sealed).is_err());
            assert_ne!(seal(&key, b"here", text).unwrap(), sealed);
            for at in 0..sealed.len().min(40) {
                let mut changed = sealed.clone();
                changed[at] ^= 1;
                assert!(open(&key, b"here", &changed).is_err(), "{at}");
                assert!(open(&key, b"here", &sealed[..at]).is_err(), "{at}");
            }
        }
    }
}
