//! Resources as bytes on disk: JSON, compressed with a dictionary of what clinical JSON looks like.

use crate::{Error, Result};
use std::cell::RefCell;
use std::sync::{Arc, OnceLock};

/// Made by `examples/train.rs` from synthetic records. Never changes: rows written with it stay readable;
/// a better one would get the next [Codec] number.
static DICTIONARY_1: &[u8] = include_bytes!("content-1.dict");
/// Measured on Synthea: level 3 is 12 % smaller than level 1 at 1.3 times its time.
const LEVEL: i32 = 3;
/// No resource is larger; guards the decompressor's allocation.
const MAX_BYTES: usize = 64 << 20;

const PLAIN: u8 = 0;
const ZSTD_1: u8 = 1;
/// One of the others, under a key: see `keys/sealing.rs`.
pub(crate) const SEALED: u8 = 2;

/// The stored form of one version: made before the transaction, so that the writer does not wait for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Content(Arc<[u8]>);

type Compressor = zstd::bulk::Compressor<'static>;
type Decompressor = zstd::bulk::Decompressor<'static>;

fn compressor() -> Option<Compressor> {
    static READY: OnceLock<zstd::dict::EncoderDictionary<'static>> = OnceLock::new();
    let dictionary = READY.get_or_init(|| zstd::dict::EncoderDictionary::copy(DICTIONARY_1, LEVEL));
    let mut compressor = Compressor::with_prepared_dictionary(dictionary).ok()?;
    // The database checks its pages; the length stands in our own header.
    compressor.include_checksum(false).ok()?;
    compressor.include_contentsize(false).ok()?;
    compressor.include_dictid(false).ok()?;
    Some(compressor)
}

fn decompressor() -> Option<Decompressor> {
    static READY: OnceLock<zstd::dict::DecoderDictionary<'static>> = OnceLock::new();
    let dictionary = READY.get_or_init(|| zstd::dict::DecoderDictionary::copy(DICTIONARY_1));
    Decompressor::with_prepared_dictionary(dictionary).ok()
}

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor>> = RefCell::new(compressor());
    static DECOMPRESSOR: RefCell<Option<Decompressor>> = RefCell::new(decompressor());
}

impl Content {
    /// From the resource's JSON text.
    pub fn new(json: &str) -> Content {
        let packed = COMPRESSOR
            .with_borrow_mut(|c| c.as_mut().and_then(|c| c.compress(json.as_bytes()).ok()))
            .filter(|packed| packed.len() + 5 < json.len());
        let mut bytes;
        match packed {
            Some(packed) => {
                bytes = Vec::with_capacity(packed.len() + 5);
                bytes.push(ZSTD_1);
                bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
                bytes.extend_from_slice(&packed);
            }
            None => {
                bytes = Vec::with_capacity(json.len() + 1);
                bytes.push(PLAIN);
                bytes.extend_from_slice(json.as_bytes());
            }
        }
        Content(bytes.into())
    }
    /// Of stored bytes that are not sealed.
    pub(crate) fn of_stored(stored: &[u8]) -> Content {
        Content(stored.into())
    }
    /// What goes into the database, but for the seal.
    pub(crate) fn stored(&self) -> &[u8] {
        &self.0
    }
    /// The JSON of stored bytes that are not sealed. Errors: [Error::Corrupt].
    pub(crate) fn read(stored: &[u8]) -> Result<Arc<[u8]>> {
        let corrupt = || Error::Corrupt("content".into());
        match stored {
            [PLAIN, json @ ..] => Ok(json.into()),
            [ZSTD_1, a, b, c, d, packed @ ..] => {
                let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
                if length > MAX_BYTES {
                    return Err(corrupt());
                }
                let json = DECOMPRESSOR
                    .with_borrow_mut(|d| d.as_mut().and_then(|d| d.decompress(packed, length).ok()))
                    .filter(|json| json.len() == length);
                json.map(Arc::from).ok_or_else(corrupt)
            }
            _ => Err(corrupt()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_round_trips_and_shrinks() {
        let observation = r#"{"resourceType":"Observation","id":"x","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"8480-6","display":"Systolic Blood Pressure"}]},"subject":{"reference":"Patient/1"},"valueQuantity":{"value":120.50,"unit":"mm[Hg]","system":"http://unitsofmeasure.org","code":"mm[Hg]"}}"#;
        for json in ["", "{}", observation, &observation.repeat(1000)] {
            let content = Content::new(json);
            assert_eq!(&*Content::read(content.stored()).unwrap(), json.as_bytes());
        }
        assert!(Content::new(observation).stored().len() * 2 < observation.len());
        assert!(Content::read(&[]).is_err());
        assert!(Content::read(&[1, 255, 255, 255, 255, 0]).is_err());
        assert!(Content::read(&[1, 9, 0, 0, 0, 1, 2, 3]).is_err());
    }
}
