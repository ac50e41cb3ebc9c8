//! Ids of sessions and devices as text.

use record::Error;

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Errors: `NotFound` for what is no such id.
pub(super) fn unhex<const N: usize>(text: &str) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return Err(Error::NotFound);
    }
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).map_err(|_| Error::NotFound)?;
    }
    Ok(bytes)
}
