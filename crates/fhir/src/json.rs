//! JSON text to [Value]. Our own parser, because serde_json keeps the last of duplicate keys, has a fixed
//! depth limit and rewrites exponents (`1e5` becomes `1e+5`), while a record must come back as it was sent.
//! RFC 8259, UTF-8 only; a byte order mark is refused.

use crate::{IssueCode, Outcome};
use serde_json::{Map, Number, Value};

/// Deepest nesting of objects and arrays. Real resources stay below 30; every recursive walk relies on this.
pub const MAX_DEPTH: usize = 64;
/// Characters of a duplicate key that the message repeats.
const MAX_SHOWN_KEY: usize = 64;

/// Nesting of the Bundles and Parameters around resources in an answer.
const MAX_DEPTH_AROUND: usize = 32;

/// Errors: [Outcome] with `structure` and the place, without any of the text but duplicate keys.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Outcome> {
    parse_within(bytes, MAX_DEPTH)
}

/// Compact JSON text. `Value::to_string` gives the same through the formatting machinery, which takes three times as long.
pub fn json_text(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| value.to_string())
}

/// Any JSON document, such as a Bundle around stored resources: numbers stay as they are written, which
/// [serde_json::from_slice] does not promise (`1.0E3`). Errors: as for resources, at a somewhat greater depth.
pub fn parse_json(bytes: &[u8]) -> Result<Value, Outcome> {
    parse_within(bytes, MAX_DEPTH + MAX_DEPTH_AROUND)
}

fn parse_within(bytes: &[u8], max_depth: usize) -> Result<Value, Outcome> {
    let refuse =
        |text: String| Outcome::one(IssueCode::Structure, "", format!("The body is not valid JSON: {text}."));
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => return Err(refuse(format!("not UTF-8 at byte {}", e.valid_up_to()))),
    };
    let mut parser = Parser { text, bytes, at: 0, max_depth };
    parser.document().map_err(|fault| {
        let before = &bytes[..parser.at.min(bytes.len())];
        let line = before.iter().filter(|b| **b == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
        refuse(format!("{fault} at line {line} column {column}"))
    })
}

enum Fault {
    Plain(&'static str),
    Duplicate(String),
}

impl From<&'static str> for Fault {
    fn from(text: &'static str) -> Fault {
        Fault::Plain(text)
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Fault::Plain(text) => f.write_str(text),
            Fault::Duplicate(key) => write!(f, "duplicate key `{key}`"),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    max_depth: usize,
}

impl Parser<'_> {
    fn document(&mut self) -> Result<Value, Fault> {
        let value = self.value(0)?;
        match self.peek() {
            None => Ok(value),
            Some(_) => Err("text after the end".into()),
        }
    }

    /// The next byte that is no white space.
    fn peek(&mut self) -> Option<u8> {
        loop {
            match self.bytes.get(self.at) {
                Some(b' ' | b'\n' | b'\r' | b'\t') => self.at += 1,
                other => return other.copied(),
            }
        }
    }

    fn value(&mut self, depth: usize) -> Result<Value, Fault> {
        match self.peek() {
            Some(b'"') => Ok(Value::String(self.string()?)),
            Some(b'{') => self.object(depth + 1),
            Some(b'[') => self.array(depth + 1),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) => Err("a value was expected".into()),
            None => Err("unexpected end".into()),
        }
    }

    fn word(&mut self, word: &'static str, value: Value) -> Result<Value, Fault> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err("a value was expected".into());
        }
        self.at += word.len();
        Ok(value)
    }

    fn object(&mut self, depth: usize) -> Result<Value, Fault> {
        if depth > self.max_depth {
            return Err("nested too deeply".into());
        }
        self.at += 1;
        let mut object = Map::new();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(object));
        }
        loop {
            if self.peek() != Some(b'"') {
                return Err("a key in quotes was expected".into());
            }
            let start = self.at;
            let key = self.string()?;
            let end = self.at;
            if self.peek() != Some(b':') {
                return Err("`:` was expected".into());
            }
            self.at += 1;
            let value = self.value(depth)?;
            if object.insert(key, value).is_some() {
                self.at = start;
                let key = self.text[start + 1..end - 1].chars().take(MAX_SHOWN_KEY).collect();
                return Err(Fault::Duplicate(key));
            }
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Value::Object(object));
                }
                Some(_) => return Err("`,` or `}` was expected".into()),
                None => return Err("unexpected end".into()),
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Value, Fault> {
        if depth > self.max_depth {
            return Err("nested too deeply".into());
        }
        self.at += 1;
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                Some(_) => return Err("`,` or `]` was expected".into()),
                None => return Err("unexpected end".into()),
            }
        }
    }

    /// `-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?`, kept as written.
    fn number(&mut self) -> Result<Value, Fault> {
        let start = self.at;
        if self.bytes.get(self.at) == Some(&b'-') {
            self.at += 1;
        }
        let leading = self.at;
        if self.digits() == 0 || (self.bytes[leading] == b'0' && self.at > leading + 1) {
            return Err("a number is not well-formed".into());
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err("a number is not well-formed".into());
            }
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err("a number is not well-formed".into());
            }
        }
        // Hidden in serde_json's documents, but the only way to keep an exponent as written; the text was checked
        // above. Should it go away, `str::parse` is right for all numbers without exponent.
        Ok(Value::Number(Number::from_string_unchecked(self.text[start..self.at].to_owned())))
    }

    fn digits(&mut self) -> usize {
        let count = self.bytes[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += count;
        count
    }

    /// The text between the quotes; `at` stands on the first of them.
    fn string(&mut self) -> Result<String, Fault> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let rest = &self.bytes[self.at..];
            let Some(length) = rest.iter().position(|b| matches!(b, b'"' | b'\\' | 0..=0x1f)) else {
                self.at = self.bytes.len();
                return Err("unexpected end".into());
            };
            let plain = &self.text[self.at..self.at + length];
            self.at += length + 1;
            match rest[length] {
                b'"' if out.is_empty() => return Ok(plain.to_owned()),
                b'"' => {
                    out.push_str(plain);
                    return Ok(out);
                }
                b'\\' => {
                    out.push_str(plain);
                    out.push(self.escape()?);
                }
                _ => {
                    self.at -= 1;
                    return Err("a control character in text".into());
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        let Some(kind) = self.bytes.get(self.at) else { return Err("unexpected end".into()) };
        self.at += 1;
        Ok(match kind {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => {
                let high = self.four_digits()?;
                if !(0xd800..0xdc00).contains(&high) {
                    return char::from_u32(high).ok_or(Fault::Plain("half of a surrogate pair"));
                }
                if !self.bytes[self.at..].starts_with(b"\\u") {
                    return Err("half of a surrogate pair".into());
                }
                self.at += 2;
                let low = self.four_digits()?;
                if !(0xdc00..0xe000).contains(&low) {
                    return Err("half of a surrogate pair".into());
                }
                let code = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return char::from_u32(code).ok_or(Fault::Plain("half of a surrogate pair"));
            }
            _ => return Err("an unknown escape".into()),
        })
    }

    fn four_digits(&mut self) -> Result<u32, Fault> {
        let digits = self.bytes.get(self.at..self.at + 4).unwrap_or_default();
        if digits.len() < 4 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err("`\\u` without four hexadecimal digits".into());
        }
        self.at += 4;
        let value = |b: u8| char::from(b).to_digit(16).unwrap_or(0);
        Ok(digits.iter().fold(0, |n, b| (n << 4) | value(*b)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_come_through_as_written() {
        let text = r#"{"a":1.50,"b":[true,null,"xé\n",{},[]],"c":{"d":-0,"e":1e400,"f":123456789012345678901234567890,"g":1E-5}}"#;
        assert_eq!(parse(text.as_bytes()).unwrap().to_string(), text);
        let value = parse(b" {\t\"\\u0061\\ud83d\\ude00\\/\\b\" :\r\n 0.0 } ").unwrap();
        assert_eq!(value.to_string(), "{\"a😀/\\b\":0.0}");
    }

    #[test]
    fn wrong_bodies_are_refused() {
        let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        let fine = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
        assert!(parse(fine.as_bytes()).is_ok());
        let very_deep = "{\"a\":".repeat(100_000);
        for (text, expected) in [
            (r#"{"a":1,"b":2,"a":3}"#, "duplicate key `a` at line 1 column 14"),
            (r#"{"a":{"b":1,"b":1}}"#, "duplicate key `b`"),
            ("{\"a\":1,\n\"\\u0061\":1}", "duplicate key `\\u0061` at line 2 column 1"),
            (deep.as_str(), "nested too deeply"),
            (very_deep.as_str(), "nested too deeply"),
            ("{", "key in quotes"),
            ("{\"a\"", "`:`"),
            ("{\"a\":", "unexpected end"),
            ("{\"a\":1", "unexpected end"),
            ("{\"a\":1,}", "key in quotes"),
            ("{a:1}", "key in quotes"),
            ("{} {}", "after the end"),
            ("[1,]", "value was expected"),
            ("[1 2]", "`,` or `]`"),
            ("", "unexpected end"),
            ("\u{feff}{}", "value was expected"),
            ("nul", "value was expected"),
            ("01", "well-formed"),
            ("1.", "well-formed"),
            ("-", "well-formed"),
            ("1e", "well-formed"),
            ("+1", "value was expected"),
            ("NaN", "value was expected"),
            ("\"abc", "unexpected end"),
            ("\"a\nb\"", "control character in text at line 1 column 3"),
            ("\"\\x\"", "unknown escape"),
            ("\"\\u12\"", "four hexadecimal"),
            ("\"\\ud800\"", "surrogate"),
            ("\"\\ud800\\u0041\"", "surrogate"),
            ("\"\\udc00\"", "surrogate"),
        ] {
            let outcome = parse(text.as_bytes()).expect_err(text);
            assert!(outcome.issues[0].text.contains(expected), "{text:.40}: {outcome}");
        }
        assert!(parse(b"\"\xff\"").unwrap_err().to_string().contains("UTF-8 at byte 1"));
    }

    proptest! {
        /// serde_json accepts the same texts, but for the duplicate keys and depth that it does not mind.
        #[test]
        fn agrees_with_serde_json(text in "[\\[\\]{}:,\"a0-9.eE+\\-tfn \\\\urls/é]{0,24}|\\PC{0,16}|-?[0-9]{0,3}(\\.[0-9]{0,2})?([eE][+-]?[0-9]{0,2})?|\"(\\\\u[0-9a-fd]{4}|\\\\.|a){0,4}\"") {
            let ours = parse(text.as_bytes());
            let theirs = serde_json::from_str::<Value>(&text);
            match (&ours, &theirs) {
                (Ok(a), Ok(b)) => {
                    let again = parse(a.to_string().as_bytes()).unwrap();
                    prop_assert_eq!(&again, a);
                    // Exponents aside, the values are the same.
                    if !text.contains(['e', 'E']) {
                        prop_assert_eq!(a, b);
                    }
                }
                (Err(_), Err(_)) => {}
                (Err(e), Ok(_)) => prop_assert!(e.to_string().contains("duplicate"), "{}", e),
                (Ok(_), Err(e)) => prop_assert!(false, "serde_json refuses: {}", e),
            }
        }
    }
}
