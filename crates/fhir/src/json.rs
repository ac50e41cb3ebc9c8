//! JSON text to [Value], refusing what serde_json accepts silently: duplicate keys and deep nesting.

use crate::{IssueCode, Outcome};
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Deepest nesting of objects and arrays. Real resources stay below 30; every recursive walk relies on this.
pub const MAX_DEPTH: usize = 64;

/// How serde_json hands numbers to visitors under `arbitrary_precision`.
const NUMBER_TOKEN: &str = "$serde_json::private::Number";

pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Outcome> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let parsed =
        Node { depth: 0 }.deserialize(&mut deserializer).and_then(|v| deserializer.end().map(|()| v));
    parsed.map_err(|e| {
        // serde_json's messages name positions and syntax, never content; duplicate keys are named by us.
        Outcome::one(IssueCode::Structure, "", format!("The body is not valid JSON: {e}"))
    })
}

struct Node {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Node {
    type Value = Value;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Keys as they come; borrowed from the input unless they hold escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = String;
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        serde::Deserialize::deserialize(deserializer)
    }
}

impl<'de> Visitor<'de> for Node {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }
    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let depth = deeper(self.depth)?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Node { depth })? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        let Some(first) = map.next_key_seed(Key)? else { return Ok(Value::Object(object)) };
        if first == NUMBER_TOKEN {
            let text: String = map.next_value()?;
            return text.parse().map(Value::Number).map_err(A::Error::custom);
        }
        let depth = deeper(self.depth)?;
        object.insert(first, map.next_value_seed(Node { depth })?);
        while let Some(key) = map.next_key_seed(Key)? {
            match object.entry(key) {
                serde_json::map::Entry::Occupied(taken) => {
                    return Err(A::Error::custom(format_args!("duplicate key `{}`", taken.key())));
                }
                serde_json::map::Entry::Vacant(free) => {
                    free.insert(map.next_value_seed(Node { depth })?);
                }
            }
        }
        Ok(Value::Object(object))
    }
}

fn deeper<E: Error>(depth: usize) -> Result<usize, E> {
    if depth >= MAX_DEPTH {
        return Err(E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")));
    }
    Ok(depth + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_through_as_written() {
        let text = r#"{"a":1.50,"b":[true,null,"x\u00e9\n",{}],"c":{"d":-0,"e":1e+400,"f":123456789012345678901234567890}}"#;
        assert_eq!(parse(text.as_bytes()).unwrap().to_string(), text.replace("\\u00e9", "é"));
    }

    #[test]
    fn wrong_bodies_are_refused() {
        let deep = "[".repeat(MAX_DEPTH + 1) + &"]".repeat(MAX_DEPTH + 1);
        let fine = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
        assert!(parse(fine.as_bytes()).is_ok());
        let very_deep = "{\"a\":".repeat(100_000);
        for (text, expected) in [
            (r#"{"a":1,"b":2,"a":3}"#, "duplicate key `a`"),
            (r#"{"a":{"b":1,"b":1}}"#, "duplicate key `b`"),
            (deep.as_str(), "nested deeper"),
            (very_deep.as_str(), "nested deeper"),
            ("{", "EOF"),
            ("{} {}", "trailing"),
            ("[1,]", "trailing comma"),
            ("", "EOF"),
            ("{\"a\":01}", "invalid number"),
            ("\"\\ud800\"", "hex escape"),
            (r#"{"$serde_json::private::Number":"x"}"#, ""),
        ] {
            let outcome = parse(text.as_bytes()).unwrap_err();
            assert!(outcome.issues[0].text.contains(expected), "{text:.40}: {outcome}");
        }
        assert!(parse(b"\"\xff\"").is_err());
    }
}
