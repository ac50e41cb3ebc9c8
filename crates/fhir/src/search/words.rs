//! Words of resources, for `_text` and `_content`.

use super::fold;
use crate::{MAX_DEPTH, Resource};
use serde_json::Value;

/// Distinct words kept of one resource.
pub const MAX_RESOURCE_WORDS: usize = 5_000;
/// Longer ones are no words.
const MAX_WORD_CHARS: usize = 64;

/// The words of folded text: runs of letters and digits, apostrophes inside them included.
pub(super) fn split(folded: &str) -> impl Iterator<Item = &str> {
    folded
        .split(|c: char| !(c.is_alphanumeric() || c == '\'' || unmarked(c)))
        .map(|w| w.trim_matches('\''))
        .filter(|w| !w.is_empty())
}

/// Vowel signs of scripts that write them as marks belong to their word.
fn unmarked(c: char) -> bool {
    !c.is_ascii() && !c.is_whitespace() && !c.is_alphanumeric() && {
        matches!(c, '\u{900}'..='\u{1cff}' | '\u{a800}'..='\u{abff}' | '\u{200c}' | '\u{200d}')
    }
}

/// The distinct words of the resource, folded and sorted: of its narrative, or with `content` of all its text
/// (codes, ids, references and URLs are not text).
pub fn words(resource: &Resource, content: bool) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    if content {
        collect(resource.value(), "", 0, &mut out);
    } else if let Some(div) = resource.get("text").and_then(|t| t.get("div")).and_then(Value::as_str) {
        add(&plain(div), &mut out);
    }
    out.sort_unstable();
    out.dedup();
    out.truncate(MAX_RESOURCE_WORDS);
    out
}

fn collect(value: &Value, key: &str, depth: usize, out: &mut Vec<String>) {
    if depth > MAX_DEPTH || out.len() > MAX_RESOURCE_WORDS * 8 {
        return;
    }
    match value {
        Value::Object(object) => {
            for (key, child) in object {
                collect(child, key, depth + 1, out);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, key, depth + 1, out)),
        Value::String(text) if key == "div" => add(&plain(text), out),
        Value::String(text) if !NO_TEXT.contains(&key) && !key.starts_with('_') => add(text, out),
        _ => {}
    }
}

/// Elements whose text is for machines.
const NO_TEXT: &[&str] = &[
    "resourceType",
    "id",
    "reference",
    "system",
    "url",
    "data",
    "hash",
    "contentType",
    "versionId",
    "lastUpdated",
    "profile",
    "source",
    "status",
    "use",
    "fullUrl",
    "linkId",
    "mode",
    "instant",
    "type",
    "contained",
];

fn add(text: &str, out: &mut Vec<String>) {
    let folded = fold(text);
    out.extend(split(&folded).filter(|w| w.chars().count() <= MAX_WORD_CHARS).map(str::to_owned));
}

/// XHTML without its tags; the few entities that XML knows are read.
fn plain(div: &str) -> String {
    let mut out = String::with_capacity(div.len());
    let mut inside = false;
    for c in div.chars() {
        match c {
            '<' => {
                inside = true;
                out.push(' ');
            }
            '>' => inside = false,
            c if !inside => out.push(c),
            _ => {}
        }
    }
    for (entity, c) in [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&#39;", "'"),
        ("&nbsp;", " "),
        ("&#160;", " "),
        ("&amp;", "&"),
    ] {
        if out.contains(entity) {
            out = out.replace(entity, c);
        }
    }
    out
}
