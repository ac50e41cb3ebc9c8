//! Compact stored forms of ids and keys.

use crate::{Error, Result};
use fhir::{ResourceKey, TypeId};
use uuid::Uuid;

/// A lower-case hyphenated UUID is its 16 bytes. Any other id is a zero byte and the text; a text that would
/// thereby be 16 bytes long is a one byte, the text and a zero byte, so that the length tells the two apart.
pub fn encode_id(id: &str) -> Vec<u8> {
    if id.len() == 36
        && let Ok(uuid) = Uuid::try_parse(id)
        && uuid.as_hyphenated().encode_lower(&mut Uuid::encode_buffer()) == id
    {
        return uuid.as_bytes().to_vec();
    }
    let mut bytes = Vec::with_capacity(id.len() + 2);
    if id.len() == 15 {
        bytes.push(1);
        bytes.extend_from_slice(id.as_bytes());
        bytes.push(0);
    } else {
        bytes.push(0);
        bytes.extend_from_slice(id.as_bytes());
    }
    bytes
}

/// The inverse of [encode_id]. Errors: [Error::Corrupt].
pub fn decode_id(bytes: &[u8]) -> Result<String> {
    let corrupt = || Error::Corrupt("stored id".into());
    if let Ok(uuid) = <[u8; 16]>::try_from(bytes) {
        return Ok(Uuid::from_bytes(uuid).to_string());
    }
    let text = match bytes {
        [0, text @ ..] => text,
        [1, text @ .., 0] => text,
        _ => return Err(corrupt()),
    };
    String::from_utf8(text.to_vec()).map_err(|_| corrupt())
}

/// Two bytes of type, big endian, and the id.
pub fn encode_key(key: &ResourceKey) -> Vec<u8> {
    encode_target(key.kind, &key.id)
}

pub(crate) fn encode_target(kind: TypeId, id: &str) -> Vec<u8> {
    let mut bytes = kind.0.to_be_bytes().to_vec();
    bytes.extend_from_slice(&encode_id(id));
    bytes
}

/// The inverse of [encode_key]. Errors: [Error::Corrupt].
pub fn decode_key(bytes: &[u8]) -> Result<ResourceKey> {
    match bytes {
        [a, b, id @ ..] => Ok(ResourceKey { kind: TypeId(u16::from_be_bytes([*a, *b])), id: decode_id(id)? }),
        _ => Err(Error::Corrupt("stored key".into())),
    }
}

/// Several ids in one column: each with its length before it.
pub(crate) fn encode_ids(ids: &[String]) -> Option<Vec<u8>> {
    if ids.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(ids.len() * 17);
    for id in ids {
        let id = encode_id(id);
        bytes.push(id.len() as u8);
        bytes.extend_from_slice(&id);
    }
    Some(bytes)
}

pub(crate) fn decode_ids(bytes: Option<&[u8]>) -> Result<Vec<String>> {
    let mut rest = bytes.unwrap_or_default();
    let mut ids = Vec::new();
    while let [length, tail @ ..] = rest {
        let length = usize::from(*length);
        if tail.len() < length {
            return Err(Error::Corrupt("stored ids".into()));
        }
        ids.push(decode_id(&tail[..length])?);
        rest = &tail[length..];
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_round_trip() {
        for id in [
            "01890a5d-ac96-774b-bcce-b302099a8057",
            "01890A5D-AC96-774B-BCCE-B302099A8057",
            "01890a5dac96774bbcceb302099a8057",
            "a",
            "123456789012345",
            "1234567890123456",
            "12345678901234",
            &"x".repeat(64),
        ] {
            let bytes = encode_id(id);
            assert_eq!(decode_id(&bytes).unwrap(), id);
            let ids = vec![id.to_owned(), "b".to_owned()];
            assert_eq!(decode_ids(encode_ids(&ids).as_deref()).unwrap(), ids);
        }
        assert_eq!(encode_id("01890a5d-ac96-774b-bcce-b302099a8057").len(), 16);
        let key = ResourceKey::new(TypeId(300), "abc");
        assert_eq!(decode_key(&encode_key(&key)).unwrap(), key);
        assert!(decode_id(&[7, 7]).is_err());
    }
}
