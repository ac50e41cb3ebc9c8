//! Tolerant reading of JSON scalars: providers change between `"1"` and `1` without notice.

use serde_json::{Map, Value};

/// A JSON body that is read at all; providers' messages are a few hundred bytes.
pub const BODY_BYTES_MAX: usize = 256 * 1024;

/// The body as an object, or `None` when it is empty, too long, no JSON or no object.
pub fn object(body: &[u8]) -> Option<Map<String, Value>> {
    if body.len() > BODY_BYTES_MAX {
        return None;
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Some(map),
        _ => None,
    }
}

/// A string, number or boolean as text; `None` for null, absent, array and object.
pub fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The first of `names` that holds a scalar.
pub fn field(map: &Map<String, Value>, names: &[&str]) -> Option<String> {
    names.iter().find_map(|name| text(map.get(*name)))
}

/// Text of at most `chars_max` characters, for messages that are stored and shown; trimmed where it is cut, as [text] is.
pub fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => text[..at].trim_end().to_owned(),
        None => text.to_owned(),
    }
}

/// `text` as a JSON number where it is a plain run of at most 15 digits, else as a string.
pub fn digits(text: &str) -> Value {
    match text.parse::<u64>() {
        Ok(number) if text.len() <= 15 && !text.starts_with('0') && !text.starts_with('+') => number.into(),
        _ => text.into(),
    }
}
