//! Where a page ended: the source it came from, the values of its last row's sort keys, and that row.

use super::builder::Value;
use crate::{Error, Result};

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cursor {
    /// Of the query the cursor belongs to.
    pub fingerprint: u64,
    /// See [super::source::Source::tag].
    pub source: String,
    /// One per sort key.
    pub keys: Vec<Value>,
    pub rid: i64,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}

impl Cursor {
    pub fn to_text(&self) -> String {
        let mut text = format!("{:x}.{}.{:x}", self.fingerprint, self.source, self.rid);
        for key in &self.keys {
            text.push('.');
            match key {
                Value::Int(n) => text.push_str(&format!("i{n:x}")),
                Value::Real(n) => text.push_str(&format!("r{:x}", n.to_bits())),
                Value::Text(t) => text.push_str(&format!("t{}", hex(t.as_bytes()))),
                Value::Bytes(b) => text.push_str(&format!("b{}", hex(b))),
            }
        }
        text
    }

    /// Errors: [Error::Invalid].
    pub fn parse(text: &str) -> Result<Cursor> {
        Cursor::try_parse(text).ok_or(Error::Invalid("cursor"))
    }

    fn try_parse(text: &str) -> Option<Cursor> {
        let number = |text: &str| u64::from_str_radix(text, 16).ok();
        let mut parts = text.split('.');
        let fingerprint = number(parts.next()?)?;
        let source = parts.next()?.to_owned();
        let rid = number(parts.next()?)? as i64;
        let mut keys = Vec::new();
        for part in parts {
            let (kind, rest) = part.split_at_checked(1)?;
            keys.push(match kind {
                "i" => Value::Int(number(rest)? as i64),
                "r" => Value::Real(f64::from_bits(number(rest)?)),
                "t" => Value::Text(String::from_utf8(unhex(rest)?).ok()?),
                "b" => Value::Bytes(unhex(rest)?),
                _ => return None,
            });
        }
        Some(Cursor { fingerprint, source, keys, rid })
    }
}

/// FNV-1a: stable over versions of the program, which a cursor in a client may outlive.
pub(super) fn fingerprint(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_round_trip_and_refuse_nonsense() {
        let keys = vec![Value::Int(-5), Value::Real(1.5), "ätsch".into(), vec![0u8, 255].into()];
        let cursor = Cursor { fingerprint: u64::MAX, source: "f3".into(), keys, rid: 77 };
        assert_eq!(Cursor::parse(&cursor.to_text()), Ok(cursor));
        for bad in
            ["", ".", "x", "1.f0", "1.f0.zz", "1.f0.1.q1", "1.f0.1.tzz", "1.f0.1.t1", "1.f0.1.", "1.f0.1.té"]
        {
            assert_eq!(Cursor::parse(bad), Err(Error::Invalid("cursor")), "{bad}");
        }
    }
}
