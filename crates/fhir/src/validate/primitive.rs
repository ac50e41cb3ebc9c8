//! Formats of primitive values (<http://hl7.org/fhir/R4/datatypes.html#primitive>).

use super::xhtml;
use crate::definitions::Primitive;
use crate::moment::{Form, Moment};
use crate::resource::valid_id;
use serde_json::Value;

/// Longest string FHIR allows.
const MAX_STRING_BYTES: usize = 1024 * 1024;

/// What is wrong with a value.
pub(super) enum Fault {
    /// Another JSON type than the primitive has; what it should be.
    Type(&'static str),
    /// The right JSON type, but not the right form; how it is written.
    Form(&'static str),
    /// Wrong narrative markup; what and where.
    Markup(String),
    TooLong,
}

/// Checks a JSON value that is neither null, array nor object where it may be.
pub(super) fn check(primitive: Primitive, value: &Value) -> Result<(), Fault> {
    match primitive {
        Primitive::Boolean => match value {
            Value::Bool(_) => Ok(()),
            _ => Err(Fault::Type("true or false, without quotes")),
        },
        Primitive::Decimal => match value {
            Value::Number(_) => Ok(()),
            _ => Err(Fault::Type("a number, without quotes")),
        },
        Primitive::Integer => integer(value, i64::from(i32::MIN), "a whole number of at most 32 bits"),
        Primitive::UnsignedInt => integer(value, 0, "a whole number of at least 0"),
        Primitive::PositiveInt => integer(value, 1, "a whole number of at least 1"),
        _ => match value {
            Value::String(text) => string(primitive, text),
            _ => Err(Fault::Type("text in quotes")),
        },
    }
}

fn integer(value: &Value, least: i64, form: &'static str) -> Result<(), Fault> {
    let Value::Number(n) = value else { return Err(Fault::Type("a whole number, without quotes")) };
    match n.as_str().parse::<i64>() {
        Ok(n) if (least..=i64::from(i32::MAX)).contains(&n) => Ok(()),
        _ => Err(Fault::Form(form)),
    }
}

fn string(primitive: Primitive, text: &str) -> Result<(), Fault> {
    let form = |right: bool, form: &'static str| if right { Ok(()) } else { Err(Fault::Form(form)) };
    if text.is_empty() {
        return Err(Fault::Form("text that is not empty; leave the element out instead"));
    }
    match primitive {
        Primitive::Code => form(is_code(text), "a code without leading, trailing or double spaces"),
        Primitive::Id => form(valid_id(text), "1 to 64 letters, digits, `-` and `.`"),
        Primitive::Uri | Primitive::Url | Primitive::Canonical => {
            form(!text.bytes().any(|b| b <= b' ' || b == 0x7f), "a URI, without spaces")
        }
        Primitive::Oid => form(is_oid(text), "urn:oid: and numbers with dots, such as urn:oid:1.2.3.4"),
        Primitive::Uuid => {
            form(is_uuid(text), "urn:uuid: and a UUID, such as urn:uuid:c757873d-ec9a-4326-a141-556f43239520")
        }
        Primitive::Date => form(
            Moment::parse(text, Form::Date).is_some(),
            "a day that exists, as YYYY, YYYY-MM or YYYY-MM-DD",
        ),
        Primitive::DateTime => form(
            Moment::parse(text, Form::DateTime).is_some(),
            "YYYY, YYYY-MM, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss with Z or +hh:mm, naming a time that exists",
        ),
        Primitive::Instant => form(
            Moment::parse(text, Form::Instant).is_some(),
            "YYYY-MM-DDThh:mm:ss with Z or +hh:mm, naming a time that exists",
        ),
        Primitive::Time => {
            form(Moment::parse_time(text, Form::DateTime).is_some(), "a time of day, as hh:mm:ss")
        }
        Primitive::Base64Binary => form(is_base64(text), "base64 with padding"),
        Primitive::Xhtml => xhtml::check(text).map_err(Fault::Markup),
        _ => {
            if text.len() > MAX_STRING_BYTES {
                return Err(Fault::TooLong);
            }
            // XML cannot carry control characters, and databases refuse NUL.
            let clean = text.bytes().all(|b| b >= 0x20 || matches!(b, b'\t' | b'\n' | b'\r'));
            form(clean, "text without control characters")?;
            form(
                !text.trim_ascii().is_empty(),
                "text that is not only white space; leave the element out instead",
            )
        }
    }
}

/// `[^\s]+(\s[^\s]+)*`, where `\s` is ASCII white space only, as in XML Schema.
fn is_code(text: &str) -> bool {
    let mut after_space = true;
    for b in text.bytes() {
        let space = matches!(b, b' ' | b'\t' | b'\n' | b'\r');
        if (space && after_space) || (!space && (b < b' ' || b == 0x7f)) {
            return false;
        }
        after_space = space;
    }
    !after_space
}

pub(super) fn is_oid(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("urn:oid:") else { return false };
    let mut parts = rest.split('.');
    let first = parts.next().is_some_and(|p| matches!(p, "0" | "1" | "2"));
    let mut more = 0;
    let rest_right = parts.all(|p| {
        more += 1;
        !p.is_empty() && p.bytes().all(|b| b.is_ascii_digit()) && (p == "0" || !p.starts_with('0'))
    });
    first && rest_right && more > 0
}

pub(super) fn is_uuid(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("urn:uuid:") else { return false };
    rest.len() == 36
        && rest.bytes().enumerate().all(|(n, b)| match n {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

fn is_base64(text: &str) -> bool {
    let (mut count, mut padding) = (0usize, 0usize);
    for b in text.bytes() {
        match b {
            b' ' | b'\t' | b'\n' | b'\r' => continue,
            b'=' => padding += 1,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' if padding == 0 => {}
            _ => return false,
        }
        count += 1;
    }
    count > 0 && count % 4 == 0 && padding <= 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn forms() {
        use Primitive as P;
        let long = "a".repeat(65);
        let right: &[(P, Value)] = &[
            (P::Boolean, json!(false)),
            (P::Decimal, json!(-1.5e3)),
            (P::Integer, json!(-2147483648)),
            (P::UnsignedInt, json!(0)),
            (P::PositiveInt, json!(1)),
            (P::Code, json!("a b")),
            (P::Id, json!("A-1.b")),
            (P::Uri, json!("urn:x")),
            (P::Oid, json!("urn:oid:1.2.840")),
            (P::Uuid, json!("urn:uuid:c757873d-ec9a-4326-a141-556f43239520")),
            (P::Date, json!("2024-02-29")),
            (P::DateTime, json!("2024-02-29T10:00:00.123+03:00")),
            (P::Instant, json!("2024-02-29T10:00:00Z")),
            (P::Time, json!("23:59:59.5")),
            (P::Base64Binary, json!("QUJD\nRA==")),
            (P::String, json!("Njoroge\n")),
            (P::Markdown, json!("# x")),
        ];
        for (p, v) in right {
            assert!(check(*p, v).is_ok(), "{p:?} {v}");
        }
        let wrong: &[(P, Value)] = &[
            (P::Boolean, json!("true")),
            (P::Boolean, json!(1)),
            (P::Decimal, json!("1.5")),
            (P::Integer, json!(2147483648u64)),
            (P::Integer, json!(1.0)),
            (P::Integer, json!("1")),
            (P::UnsignedInt, json!(-1)),
            (P::PositiveInt, json!(0)),
            (P::Code, json!(" a")),
            (P::Code, json!("a  b")),
            (P::Code, json!("a ")),
            (P::Id, json!("a_b")),
            (P::Id, json!(long)),
            (P::Uri, json!("a b")),
            (P::Oid, json!("urn:oid:3.1")),
            (P::Oid, json!("1.2.3")),
            (P::Oid, json!("urn:oid:1.02")),
            (P::Uuid, json!("urn:uuid:c757873d")),
            (P::Uuid, json!("c757873d-ec9a-4326-a141-556f43239520")),
            (P::Date, json!("2024-02-30")),
            (P::Date, json!("29/02/2024")),
            (P::Date, json!(2024)),
            (P::DateTime, json!("2024-02-29T10:00:00")),
            (P::DateTime, json!("2024-02-29 10:00:00Z")),
            (P::Instant, json!("2024-02-29")),
            (P::Time, json!("10:00")),
            (P::Time, json!("25:00:00")),
            (P::Base64Binary, json!("QUJ")),
            (P::Base64Binary, json!("QU=D")),
            (P::Base64Binary, json!("QU*D")),
            (P::String, json!("")),
            (P::String, json!("  ")),
            (P::String, json!("a\u{0}b")),
            (P::String, json!(7)),
        ];
        for (p, v) in wrong {
            assert!(check(*p, v).is_err(), "{p:?} {v}");
        }
    }
}
