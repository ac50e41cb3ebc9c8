//! RFC 6902 over RFC 6901 pointers.

use super::{MAX_COPIED, MAX_OPERATIONS, depth, refuse};
use crate::path::Decimal;
use crate::{IssueCode, MAX_DEPTH, Outcome};
use serde_json::{Map, Value};

/// Longest pointer of an operation.
const MAX_POINTER: usize = 4096;

/// Errors: see [super].
pub(super) fn apply(target: &Value, patch: &Value) -> Result<Value, Outcome> {
    let Value::Array(operations) = patch else {
        return refuse(IssueCode::Structure, String::new(), "A JSON Patch is an array of operations.");
    };
    if operations.len() > MAX_OPERATIONS {
        let text = format!("A patch has {MAX_OPERATIONS} operations at most.");
        return refuse(IssueCode::TooLong, String::new(), text);
    }
    let mut document = target.clone();
    let mut copied = 0;
    for (n, operation) in operations.iter().enumerate() {
        step(&mut document, operation, &mut copied).map_err(|(code, member, text)| {
            Outcome::one(code, format!("[{n}]{member}"), format!("Operation {n}: {text}."))
        })?;
    }
    Ok(document)
}

/// Code, member of the operation and text.
type Fault = (IssueCode, &'static str, String);

fn fault<T>(code: IssueCode, member: &'static str, text: impl Into<String>) -> Result<T, Fault> {
    Err((code, member, text.into()))
}

fn step(document: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), Fault> {
    let Value::Object(operation) = operation else {
        return fault(IssueCode::Structure, "", "an operation is an object");
    };
    let Some(Value::String(name)) = operation.get("op") else {
        return fault(IssueCode::Required, ".op", "`op` is missing");
    };
    let path = pointer(operation, "path", ".path")?;
    match name.as_str() {
        "add" => add(document, &path, value(operation)?.clone()),
        "remove" => remove(document, &path, ".path").map(drop),
        "replace" => {
            let new = value(operation)?.clone();
            fits(&path, &new)?;
            *find(document, &path, ".path")? = new;
            Ok(())
        }
        "move" => {
            let from = pointer(operation, "from", ".from")?;
            if path.len() > from.len() && path.starts_with(&from) {
                return fault(IssueCode::Value, ".path", "an element cannot be moved into itself");
            }
            if path == from {
                return find(document, &from, ".from").map(drop);
            }
            let moved = remove(document, &from, ".from")?;
            add(document, &path, moved)
        }
        "copy" => {
            let from = pointer(operation, "from", ".from")?;
            let found = find(document, &from, ".from")?;
            *copied += count(found);
            if *copied > MAX_COPIED {
                return fault(IssueCode::TooCostly, "", "the patch copies too much");
            }
            let copy = found.clone();
            add(document, &path, copy)
        }
        "test" => {
            let expected = value(operation)?;
            if equal(find(document, &path, ".path")?, expected) {
                Ok(())
            } else {
                fault(IssueCode::Conflict, ".value", "the value is not the one that `test` expects")
            }
        }
        _ => fault(IssueCode::Structure, ".op", "`op` is one of add, remove, replace, move, copy, test"),
    }
}

fn value(operation: &Map<String, Value>) -> Result<&Value, Fault> {
    match operation.get("value") {
        Some(value) => Ok(value),
        None => fault(IssueCode::Required, ".value", "`value` is missing"),
    }
}

/// The tokens of a JSON pointer, unescaped.
fn pointer(operation: &Map<String, Value>, member: &str, place: &'static str) -> Result<Vec<String>, Fault> {
    let text = match operation.get(member) {
        Some(Value::String(text)) => text,
        Some(_) => return fault(IssueCode::Structure, place, format!("`{member}` is a text")),
        None => return fault(IssueCode::Required, place, format!("`{member}` is missing")),
    };
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let Some(rest) = text.strip_prefix('/') else {
        return fault(IssueCode::Structure, place, "a JSON pointer is empty or starts with `/`");
    };
    if text.len() > MAX_POINTER {
        return fault(IssueCode::TooLong, place, "the JSON pointer is too long");
    }
    rest.split('/')
        .map(|token| {
            let mut out = String::with_capacity(token.len());
            let mut characters = token.chars();
            while let Some(c) = characters.next() {
                match (c, if c == '~' { characters.next() } else { None }) {
                    ('~', Some('0')) => out.push('~'),
                    ('~', Some('1')) => out.push('/'),
                    ('~', _) => {
                        return fault(IssueCode::Structure, place, "in a JSON pointer `~` is written `~0`");
                    }
                    _ => out.push(c),
                }
            }
            Ok(out)
        })
        .collect()
}

/// Without sign and leading zeros.
fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || (!token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit()));
    if plain { token.parse().ok() } else { None }
}

const NOTHING: &str = "there is nothing at this path";

fn find<'a>(document: &'a mut Value, path: &[String], place: &'static str) -> Result<&'a mut Value, Fault> {
    let mut current = document;
    for token in path {
        let next = match current {
            Value::Object(object) => object.get_mut(token.as_str()),
            Value::Array(items) => index(token).and_then(|n| items.get_mut(n)),
            _ => None,
        };
        match next {
            Some(next) => current = next,
            None => return fault(IssueCode::Value, place, NOTHING),
        }
    }
    Ok(current)
}

/// A value at this place keeps the document within the depth that every walk relies on.
fn fits(path: &[String], value: &Value) -> Result<(), Fault> {
    if path.len() + depth(value) > MAX_DEPTH {
        return fault(IssueCode::TooCostly, "", "the result is nested too deeply");
    }
    Ok(())
}

fn add(document: &mut Value, path: &[String], value: Value) -> Result<(), Fault> {
    fits(path, &value)?;
    let Some((last, parent)) = path.split_last() else {
        *document = value;
        return Ok(());
    };
    match find(document, parent, ".path")? {
        Value::Object(object) => {
            object.insert(last.clone(), value);
        }
        Value::Array(items) => {
            let at = if last == "-" { Some(items.len()) } else { index(last) };
            match at.filter(|n| *n <= items.len()) {
                Some(n) => items.insert(n, value),
                None => {
                    return fault(
                        IssueCode::Value,
                        ".path",
                        "the index is no position in the array or right behind it",
                    );
                }
            }
        }
        _ => return fault(IssueCode::Value, ".path", "only arrays and objects have something added"),
    }
    Ok(())
}

fn remove(document: &mut Value, path: &[String], place: &'static str) -> Result<Value, Fault> {
    let Some((last, parent)) = path.split_last() else {
        return fault(IssueCode::Value, place, "the whole document cannot be removed");
    };
    let removed = match find(document, parent, place)? {
        Value::Object(object) => object.shift_remove(last.as_str()),
        Value::Array(items) => index(last).filter(|n| *n < items.len()).map(|n| items.remove(n)),
        _ => None,
    };
    match removed {
        Some(value) => Ok(value),
        None => fault(IssueCode::Value, place, NOTHING),
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Object(object) => 1 + object.values().map(count).sum::<usize>(),
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        _ => 1,
    }
}

/// RFC 6902 §4.6: numbers by value, objects in any order.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            a == b
                || matches!((Decimal::parse(a.as_str()), Decimal::parse(b.as_str())), (Some(a), Some(b)) if a == b)
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(k, a)| b.get(k).is_some_and(|b| equal(a, b)))
        }
        _ => a == b,
    }
}
