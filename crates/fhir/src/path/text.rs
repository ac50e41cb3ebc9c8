//! String functions (<http://hl7.org/fhirpath/N1/#string-manipulation>).

use super::PathError;
use super::evaluate::{Evaluated, Evaluator, Scope, fail};
use super::item::Item;
use super::parser::Node;
use regex::RegexBuilder;
use std::cell::RefCell;
use std::collections::HashMap;

/// Compiled size of a regular expression, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;
/// Regular expressions that a thread keeps.
const MAX_COMPILED: usize = 32;
/// Length of a string that functions may build.
const MAX_TEXT_BYTES: usize = 1 << 20;

/// `None` if the name is no string function.
pub(super) fn call<'a>(
    evaluator: &Evaluator<'_, 'a>,
    name: &str,
    input: &[Item<'a>],
    arguments: &[Node],
    scope: &Scope<'a>,
) -> Option<Evaluated<'a>> {
    let count = match name {
        "upper" | "lower" | "trim" | "length" | "toChars" => 0..=0,
        "indexOf" | "lastIndexOf" | "startsWith" | "endsWith" | "contains" | "matches" | "matchesFull"
        | "split" | "encode" | "decode" | "escape" | "unescape" => 1..=1,
        "substring" => 1..=2,
        "replace" | "replaceMatches" => 2..=2,
        _ => return None,
    };
    if !count.contains(&arguments.len()) {
        return Some(fail(format!("{name}() takes another number of arguments")));
    }
    Some(run(evaluator, name, input, arguments, scope))
}

fn run<'a>(
    evaluator: &Evaluator<'_, 'a>,
    name: &str,
    input: &[Item<'a>],
    arguments: &[Node],
    scope: &Scope<'a>,
) -> Evaluated<'a> {
    let Some(text) = evaluator.string(input)? else { return Ok(Vec::new()) };
    let texts = |s: String| Ok(vec![Item::String(s)]);
    let truth = |b: bool| Ok(vec![Item::Boolean(b)]);
    match name {
        "upper" => return texts(text.to_uppercase()),
        "lower" => return texts(text.to_lowercase()),
        "trim" => return texts(text.trim().to_owned()),
        "length" => return Ok(vec![Item::Integer(text.chars().count() as i64)]),
        "toChars" => return Ok(text.chars().map(|c| Item::String(c.to_string())).collect()),
        "substring" => return substring(evaluator, &text, arguments, scope),
        _ => {}
    }
    let argument = |n: usize| evaluator.string(&evaluator.eval(&arguments[n], scope)?);
    let Some(first) = argument(0)? else { return Ok(Vec::new()) };
    match name {
        "indexOf" | "lastIndexOf" => {
            let at = if name == "indexOf" { text.find(&first) } else { text.rfind(&first) };
            let index = at.map_or(-1, |at| text[..at].chars().count() as i64);
            Ok(vec![Item::Integer(index)])
        }
        "startsWith" => truth(text.starts_with(&first)),
        "endsWith" => truth(text.ends_with(&first)),
        "contains" => truth(text.contains(&first)),
        "matches" => truth(regex(&first)?.is_match(&text)),
        "matchesFull" => truth(regex(&format!("^(?:{first})$"))?.is_match(&text)),
        "split" => Ok(text.split(&first).map(|s| Item::String(s.to_owned())).collect()),
        "replace" | "replaceMatches" => {
            let Some(second) = argument(1)? else { return Ok(Vec::new()) };
            if name == "replaceMatches" {
                // An empty pattern would match everywhere; the suite leaves the text as it is.
                return if first.is_empty() {
                    texts(text)
                } else {
                    replaced(&regex(&first)?, &text, &second)
                };
            }
            // At most one replacement a byte, so this bounds what is built before it is measured.
            if text.len().saturating_add(1).saturating_mul(second.len().max(1)) > MAX_TEXT_BYTES * 64 {
                return fail("the replaced text is too long");
            }
            bounded(text.replace(&first, &second))
        }
        "encode" | "decode" => {
            Ok(coded(name == "encode", &first, &text)?.map(Item::String).into_iter().collect())
        }
        "escape" | "unescape" => {
            Ok(escaped(name == "escape", &first, &text)?.map(Item::String).into_iter().collect())
        }
        _ => fail(format!("unknown function {name}()")),
    }
}

fn replaced<'a>(pattern: &regex::Regex, text: &str, by: &str) -> Evaluated<'a> {
    let (mut out, mut copied) = (String::new(), 0);
    for found in pattern.captures_iter(text) {
        let Some(whole) = found.get(0) else { continue };
        out.push_str(&text[copied..whole.start()]);
        found.expand(by, &mut out);
        copied = whole.end();
        if out.len() > MAX_TEXT_BYTES {
            return fail("the text is too long");
        }
    }
    out.push_str(&text[copied..]);
    bounded(out)
}

fn bounded<'a>(text: String) -> Evaluated<'a> {
    if text.len() > MAX_TEXT_BYTES { fail("the text is too long") } else { Ok(vec![Item::String(text)]) }
}

thread_local! {
    /// Compiling takes a hundred times as long as matching, and invariants run on every element of a list.
    static COMPILED: RefCell<HashMap<String, regex::Regex>> = RefCell::default();
}

fn regex(pattern: &str) -> Result<regex::Regex, PathError> {
    COMPILED.with_borrow_mut(|compiled| {
        if let Some(known) = compiled.get(pattern) {
            return Ok(known.clone());
        }
        // A dot matches line ends too, as FHIR's own patterns expect.
        let new = RegexBuilder::new(pattern)
            .size_limit(MAX_REGEX_BYTES)
            .dot_matches_new_line(true)
            .build()
            .map_err(|_| {
            PathError::Evaluation("the regular expression is not valid or too large".to_owned())
        })?;
        if compiled.len() >= MAX_COMPILED {
            compiled.clear();
        }
        compiled.insert(pattern.to_owned(), new.clone());
        Ok(new)
    })
}

fn substring<'a>(
    evaluator: &Evaluator<'_, 'a>,
    text: &str,
    arguments: &[Node],
    scope: &Scope<'a>,
) -> Evaluated<'a> {
    let Some(start) = evaluator.integer(&evaluator.eval(&arguments[0], scope)?)? else {
        return Ok(Vec::new());
    };
    let length = match arguments.get(1) {
        Some(a) => evaluator.integer(&evaluator.eval(a, scope)?)?,
        None => None,
    };
    let Ok(start) = usize::try_from(start) else { return Ok(Vec::new()) };
    if start >= text.chars().count() {
        return Ok(Vec::new());
    }
    let rest = text.chars().skip(start);
    let out: String = match length {
        Some(n) => rest.take(usize::try_from(n).unwrap_or(0)).collect(),
        None => rest.collect(),
    };
    Ok(vec![Item::String(out)])
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn coded(encode: bool, format: &str, text: &str) -> Result<Option<String>, PathError> {
    match (format, encode) {
        ("hex", true) => Ok(Some(text.bytes().map(|b| format!("{b:02x}")).collect())),
        ("hex", false) => {
            let pairs: Option<Vec<u8>> = text
                .len()
                .is_multiple_of(2)
                .then(|| {
                    (0..text.len() / 2)
                        .map(|n| u8::from_str_radix(text.get(2 * n..2 * n + 2)?, 16).ok())
                        .collect()
                })
                .flatten();
            Ok(pairs.and_then(|b| String::from_utf8(b).ok()))
        }
        ("base64" | "urlbase64", true) => {
            let plain = base64_encode(text.as_bytes());
            Ok(Some(if format == "base64" { plain } else { plain.replace('+', "-").replace('/', "_") }))
        }
        ("base64" | "urlbase64", false) => {
            let plain = text.replace('-', "+").replace('_', "/");
            Ok(base64_decode(&plain).and_then(|b| String::from_utf8(b).ok()))
        }
        _ => fail("encodings are hex, base64 and urlbase64"),
    }
}

fn base64_encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |w, b| (w << 8) | u32::from(*b)) << (8 * (3 - chunk.len()));
        for n in 0..4 {
            if n <= chunk.len() {
                out.push(char::from(BASE64[(word >> (18 - 6 * n)) as usize & 63]));
            } else {
                out.push('=');
            }
        }
    }
    out
}

fn base64_decode(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text
        .trim_end_matches('=')
        .bytes()
        .map(|b| BASE64.iter().position(|c| *c == b).map(|n| n as u32))
        .collect();
    let mut out = Vec::new();
    for chunk in digits?.chunks(4) {
        let word = chunk.iter().fold(0u32, |w, d| (w << 6) | d) << (6 * (4 - chunk.len()));
        let bytes = word.to_be_bytes();
        out.extend_from_slice(&bytes[1..chunk.len().max(1)]);
    }
    Some(out)
}

fn escaped(escape: bool, target: &str, text: &str) -> Result<Option<String>, PathError> {
    const HTML: &[(&str, &str)] =
        &[("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("\"", "&quot;"), ("'", "&#39;")];
    match (target, escape) {
        ("html", true) => {
            Ok(Some(HTML.iter().fold(text.to_owned(), |t, (plain, coded)| t.replace(plain, coded))))
        }
        ("html", false) => {
            Ok(Some(HTML.iter().rev().fold(text.to_owned(), |t, (plain, coded)| t.replace(coded, plain))))
        }
        ("json", true) => {
            let quoted = serde_json::Value::from(text).to_string();
            Ok(Some(quoted[1..quoted.len() - 1].to_owned()))
        }
        ("json", false) => Ok(unescape_json(text)),
        _ => fail("escapes are html and json"),
    }
}

/// Resolves the escapes; quotation marks may stand bare.
fn unescape_json(text: &str) -> Option<String> {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    let mut escaped = false;
    for c in text.chars() {
        match c {
            '"' if !escaped => quoted.push_str("\\\""),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push(other),
        }
        escaped = c == '\\' && !escaped;
    }
    quoted.push('"');
    serde_json::from_str(&quoted).ok()
}
