//! FHIRPath Patch. The paths are evaluated on the resource as the operations before have left it; the elements
//! they find are located in the JSON and changed there.

use super::place::{List, Step, at, choice_key, get, length, locate, present_key, type_at};
use super::{MAX_OPERATIONS, depth, refuse};
use crate::definitions::{Definitions, Element, TypeDef};
use crate::path::{Env, Item, evaluate, parse};
use crate::{IssueCode, MAX_DEPTH, Outcome, Resource, TypeId};
use serde_json::{Map, Value};

/// Longest path of an operation.
const MAX_PATH: usize = 4096;

/// Errors: see [super].
pub(super) fn apply(target: &Value, parameters: &Resource) -> Result<Value, Outcome> {
    if parameters.kind() != TypeId::PARAMETERS {
        return refuse(IssueCode::Structure, String::new(), "A FHIRPath Patch is a Parameters resource.");
    }
    let none = Vec::new();
    let operations = parameters.get("parameter").and_then(Value::as_array).unwrap_or(&none);
    if operations.is_empty() {
        return refuse(IssueCode::Required, "parameter".to_owned(), "A FHIRPath Patch needs an `operation`.");
    }
    if operations.len() > MAX_OPERATIONS {
        let text = format!("A patch has {MAX_OPERATIONS} operations at most.");
        return refuse(IssueCode::TooLong, "parameter".to_owned(), text);
    }
    let mut document = target.clone();
    for (n, parameter) in operations.iter().enumerate() {
        let done = match parameter.get("name").and_then(Value::as_str) {
            Some("operation") => step(&mut document, parameter),
            _ => fault(IssueCode::Structure, "", "every parameter of a patch is named `operation`"),
        };
        done.map_err(|(code, part, text)| {
            Outcome::one(code, format!("operation[{n}]{part}"), format!("Operation {n}: {text}."))
        })?;
    }
    Ok(document)
}

/// Code, part of the operation and text.
type Fault = (IssueCode, &'static str, String);

fn fault<T>(code: IssueCode, part: &'static str, text: impl Into<String>) -> Result<T, Fault> {
    Err((code, part, text.into()))
}

/// A value to put in, and the id and extensions of a primitive.
struct New {
    /// `string`, `HumanName`; empty for anonymous types and resources.
    type_code: String,
    value: Value,
    extension: Option<Value>,
}

fn step(document: &mut Value, parameter: &Value) -> Result<(), Fault> {
    let parts = Parts(parameter.get("part").and_then(Value::as_array).map_or(&[], Vec::as_slice));
    let kind = parts.text("type", ".type")?;
    let path = parts.text("path", ".path")?;
    if path.len() > MAX_PATH {
        return fault(IssueCode::TooLong, ".path", "the path is too long");
    }
    match kind {
        "add" => add(document, path, parts.text("name", ".name")?, &parts),
        "insert" => insert(document, path, parts.index("index", ".index")?, &parts),
        "delete" => delete(document, path),
        "replace" => replace(document, path, &parts),
        "move" => {
            let (source, destination) =
                (parts.index("source", ".source")?, parts.index("destination", ".destination")?);
            shift(document, path, source, destination)
        }
        _ => fault(IssueCode::Structure, ".type", "`type` is one of add, insert, delete, replace, move"),
    }
}

struct Parts<'a>(&'a [Value]);

impl<'a> Parts<'a> {
    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.iter().find(|p| p.get("name").and_then(Value::as_str) == Some(name))
    }

    /// A part with any kind of text as its value.
    fn text(&self, name: &str, place: &'static str) -> Result<&'a str, Fault> {
        let Some(part) = self.get(name) else {
            return fault(IssueCode::Required, place, format!("the part `{name}` is missing"));
        };
        match choice(part) {
            Some((_, Value::String(text))) => Ok(text),
            _ => fault(IssueCode::Structure, place, format!("the part `{name}` is a text")),
        }
    }

    fn index(&self, name: &str, place: &'static str) -> Result<usize, Fault> {
        let Some(part) = self.get(name) else {
            return fault(IssueCode::Required, place, format!("the part `{name}` is missing"));
        };
        let number = choice(part).and_then(|(_, v)| v.as_u64()).and_then(|n| usize::try_from(n).ok());
        match number {
            Some(n) => Ok(n),
            None => {
                fault(IssueCode::Structure, place, format!("the part `{name}` is an integer of at least 0"))
            }
        }
    }

    /// The value of an operation, as an element with this definition takes it.
    fn value(&self, element: &Element, option: Option<&'static TypeDef>) -> Result<New, Fault> {
        match self.get("value") {
            Some(part) => new_value(part, element, option, 0),
            None => fault(IssueCode::Required, ".value", "the part `value` is missing"),
        }
    }
}

/// `value[x]` of a parameter: the type's code with a capital, and the value.
fn choice(part: &Value) -> Option<(&str, &Value)> {
    part.as_object()?.iter().find_map(|(key, value)| Some((key.strip_prefix("value")?, value)))
}

/// What a `value` part holds: a value, a resource, or the parts of a type that has no name.
fn new_value(
    part: &Value,
    element: &Element,
    option: Option<&'static TypeDef>,
    level: usize,
) -> Result<New, Fault> {
    if level > MAX_DEPTH {
        return fault(IssueCode::TooCostly, ".value", "the value is nested too deeply");
    }
    if let Some(resource) = part.get("resource") {
        return Ok(New { type_code: String::new(), value: resource.clone(), extension: None });
    }
    let extension = part.as_object().and_then(|o| {
        o.iter().find_map(|(key, v)| key.strip_prefix("_value").map(|code| (code.to_owned(), v.clone())))
    });
    match (choice(part), extension) {
        (Some((code, value)), extension) => {
            let extension = extension.map(|(_, v)| v);
            return Ok(New { type_code: code.to_owned(), value: value.clone(), extension });
        }
        (None, Some((code, v))) => {
            return Ok(New { type_code: code, value: Value::Null, extension: Some(v) });
        }
        (None, None) => {}
    }
    let Some(parts) = part.get("part").and_then(Value::as_array) else {
        return fault(IssueCode::Required, ".value", "the part `value` has neither a value nor parts");
    };
    let single = match (option, element.types.as_slice()) {
        (Some(t), _) => Some(t),
        (None, [one]) => Some(Definitions::get().type_def(one.number)),
        _ => None,
    };
    let Some(t) = single else {
        return fault(IssueCode::Value, ".value", "a choice of types needs a value, not parts");
    };
    let mut object = Map::new();
    for part in parts {
        let name = part.get("name").and_then(Value::as_str).unwrap_or_default();
        let (member, key) = member(t, name)?;
        let option = key.and_then(|k| t.lookup(k)).map(|(_, _, o)| Definitions::get().type_def(o.number));
        let new = new_value(part, member, option, level + 1)?;
        put(&mut object, t, member, key, new)?;
    }
    Ok(New { type_code: String::new(), value: Value::Object(object), extension: None })
}

/// The element called `name`; with the key, where the name already says the type of a choice.
fn member<'n>(t: &'static TypeDef, name: &'n str) -> Result<(&'static Element, Option<&'n str>), Fault> {
    let plain = name.strip_suffix("[x]").unwrap_or(name);
    if let Some(element) = t.element(plain) {
        return Ok((element, (!element.choice).then_some(plain)));
    }
    match t.lookup(plain) {
        Some((_, element, _)) => Ok((element, Some(plain))),
        None => {
            let name: String = plain.chars().take(64).collect();
            fault(IssueCode::Value, ".name", format!("{} has no element `{name}`", t.name))
        }
    }
}

/// Adds the value: appended to a list, or set where nothing is yet.
fn put(
    object: &mut Map<String, Value>,
    t: &TypeDef,
    element: &Element,
    key: Option<&str>,
    new: New,
) -> Result<(), Fault> {
    let key = match key {
        Some(key) => key.to_owned(),
        None => key_for(t, element, &new)?,
    };
    if element.is_list() {
        let mut list = List::of(object, &key);
        list.insert(list.len(), new.value, new.extension);
        return Ok(());
    }
    if present_key(element, object).is_some() {
        return fault(IssueCode::Value, ".path", "the element exists already; use `replace`");
    }
    set(object, &key, new);
    Ok(())
}

fn key_for(t: &TypeDef, element: &Element, new: &New) -> Result<String, Fault> {
    match choice_key(element, &new.type_code) {
        Some(key) => Ok(key),
        None => fault(
            IssueCode::Value,
            ".value",
            format!("`{}[x]` of {} cannot have a value of this type", element.name, t.name),
        ),
    }
}

fn set(object: &mut Map<String, Value>, key: &str, new: New) {
    let beside = format!("_{key}");
    match new.value {
        Value::Null => object.shift_remove(key),
        value => object.insert(key.to_owned(), value),
    };
    match new.extension {
        None => object.shift_remove(&beside),
        Some(extension) => object.insert(beside, extension),
    };
}

/// What the path finds, each located. Errors: no FHIRPath, or it finds something that is no element.
fn find(document: &Value, path: &str) -> Result<Vec<Vec<Step>>, Fault> {
    let expression = match parse(path) {
        Ok(expression) => expression,
        Err(e) => return fault(IssueCode::Structure, ".path", e.to_string()),
    };
    let items = match evaluate(&expression, document, &Env::default()) {
        Ok(items) => items,
        Err(e) => return fault(IssueCode::Value, ".path", e.to_string()),
    };
    items
        .iter()
        .map(|item| {
            let steps = match item {
                Item::Node(node) => match (locate(document, node.value), node.extension) {
                    (Some(steps), _) => Some(steps),
                    // A primitive that has only extensions stands where its extensions stand.
                    (None, Some(extension)) => locate(document, extension).map(plain),
                    (None, None) => None,
                },
                _ => None,
            };
            match steps {
                Some(steps) => Ok(steps),
                None => fault(
                    IssueCode::Value,
                    ".path",
                    "the path calculates something instead of finding an element",
                ),
            }
        })
        .collect()
}

/// `_given[1]` to `given[1]`, at the end of the steps.
fn plain(mut steps: Vec<Step>) -> Vec<Step> {
    let key = steps.iter_mut().rev().find_map(|s| match s {
        Step::Key(key) => Some(key),
        Step::Index(_) => None,
    });
    if let Some(key) = key
        && let Some(name) = key.strip_prefix('_')
    {
        *key = name.to_owned();
    }
    steps
}

fn single(document: &Value, path: &str) -> Result<Vec<Step>, Fault> {
    let mut found = find(document, path)?;
    match (found.pop(), found.is_empty()) {
        (Some(steps), true) => Ok(steps),
        (None, _) => fault(IssueCode::Value, ".path", "there is nothing at this path"),
        (Some(_), false) => {
            fault(IssueCode::Value, ".path", "the path finds several elements; it must find one")
        }
    }
}

/// The object that holds the element, the element's key, and its index in a list.
fn split(steps: &[Step]) -> Option<(&[Step], &str, Option<usize>)> {
    match steps {
        [parent @ .., Step::Key(key), Step::Index(n)] => Some((parent, key, Some(*n))),
        [parent @ .., Step::Key(key)] => Some((parent, key, None)),
        _ => None,
    }
}

const ROOT: &str = "the resource itself cannot be changed this way; name an element of it";

fn object_at<'a>(document: &'a mut Value, steps: &[Step]) -> Result<&'a mut Map<String, Value>, Fault> {
    match at(document, steps) {
        Some(Value::Object(object)) => Ok(object),
        _ => fault(IssueCode::Value, ".path", "the element has no elements of its own"),
    }
}

fn type_of(document: &Value, steps: &[Step]) -> Result<&'static TypeDef, Fault> {
    match type_at(document, steps) {
        Some(t) => Ok(t),
        None => fault(IssueCode::Value, ".path", "the element is of no known type"),
    }
}

fn fits(steps: &[Step], new: &New) -> Result<(), Fault> {
    let deepest = depth(&new.value).max(new.extension.as_ref().map_or(0, depth));
    if steps.len() + 2 + deepest > MAX_DEPTH {
        return fault(IssueCode::TooCostly, ".value", "the result is nested too deeply");
    }
    Ok(())
}

fn add(document: &mut Value, path: &str, name: &str, parts: &Parts) -> Result<(), Fault> {
    let mut steps = single(document, path)?;
    let mut t = type_of(document, &steps)?;
    if t.primitive().is_some() {
        // Extensions and id of a primitive stand beside it.
        steps = beside(document, &steps)?;
        t = type_of(document, &steps)?;
    }
    let (element, key) = member(t, name)?;
    let option = key.and_then(|k| t.lookup(k)).map(|(_, _, o)| Definitions::get().type_def(o.number));
    let new = parts.value(element, option)?;
    fits(&steps, &new)?;
    put(object_at(document, &steps)?, t, element, key, new)
}

/// The object under the underscored name of the primitive at `steps`, made if it is not there.
fn beside(document: &mut Value, steps: &[Step]) -> Result<Vec<Step>, Fault> {
    let Some((parent, key, index)) = split(steps) else { return fault(IssueCode::Value, ".path", ROOT) };
    let name = format!("_{key}");
    let object = object_at(document, parent)?;
    let count = length(object, key);
    let mut inner = parent.to_vec();
    inner.push(Step::Key(name.clone()));
    match index {
        None => {
            object.entry(name).or_insert_with(|| Value::Object(Map::new()));
        }
        Some(n) => {
            let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(items) = list {
                items.resize(count, Value::Null);
                if items[n].is_null() {
                    items[n] = Value::Object(Map::new());
                }
            }
            inner.push(Step::Index(n));
        }
    }
    Ok(inner)
}

/// The one list that all elements of the path make up, in order and completely.
fn list(document: &Value, path: &str) -> Result<(Vec<Step>, String, usize), Fault> {
    let found = find(document, path)?;
    let Some((parent, key, _)) = found.first().and_then(|s| split(s)) else {
        return empty_list(document, path);
    };
    for (n, steps) in found.iter().enumerate() {
        if split(steps) != Some((parent, key, Some(n))) {
            return fault(IssueCode::Value, ".path", "the path must find one whole list");
        }
    }
    let count = get(document, parent).and_then(Value::as_object).map_or(0, |owner| length(owner, key));
    if count != found.len() {
        return fault(IssueCode::Value, ".path", "the path must find one whole list");
    }
    Ok((parent.to_vec(), key.to_owned(), count))
}

/// A list that has no members yet: its owner is found by the path without the last name.
fn empty_list(document: &Value, path: &str) -> Result<(Vec<Step>, String, usize), Fault> {
    let nothing = || fault(IssueCode::Value, ".path", "there is nothing at this path");
    let Some((owner, name)) = path.rsplit_once('.') else { return nothing() };
    let name = name.trim();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return nothing();
    }
    let steps = single(document, owner)?;
    match type_of(document, &steps)?.element(name) {
        Some(element) if element.is_list() => Ok((steps, name.to_owned(), 0)),
        _ => nothing(),
    }
}

fn insert(document: &mut Value, path: &str, index: usize, parts: &Parts) -> Result<(), Fault> {
    let (owner, key, count) = list(document, path)?;
    if index > count {
        return fault(IssueCode::Value, ".index", format!("the list has {count} items"));
    }
    let t = type_of(document, &owner)?;
    let (element, _) = member(t, &key)?;
    let new = parts.value(element, None)?;
    fits(&owner, &new)?;
    List::of(object_at(document, &owner)?, &key).insert(index, new.value, new.extension);
    Ok(())
}

/// Deleting what is not there is no error, so that a patch may be repeated.
fn delete(document: &mut Value, path: &str) -> Result<(), Fault> {
    let found = find(document, path)?;
    let steps = match found.as_slice() {
        [] => return Ok(()),
        [one] => one,
        _ => return fault(IssueCode::Value, ".path", "the path finds several elements; it must find one"),
    };
    let Some((parent, key, index)) = split(steps) else { return fault(IssueCode::Value, ".path", ROOT) };
    let object = object_at(document, parent)?;
    match index {
        Some(n) => List::of(object, key).remove(n),
        None => set(object, key, New { type_code: String::new(), value: Value::Null, extension: None }),
    }
    Ok(())
}

fn replace(document: &mut Value, path: &str, parts: &Parts) -> Result<(), Fault> {
    let steps = single(document, path)?;
    let Some((parent, key, index)) = split(&steps) else { return fault(IssueCode::Value, ".path", ROOT) };
    let t = type_of(document, parent)?;
    let (element, own) = member(t, key)?;
    // A choice may change its type with its value.
    let option = t.lookup(key).map(|(_, _, o)| Definitions::get().type_def(o.number));
    let new = parts.value(element, option)?;
    fits(parent, &new)?;
    let object = object_at(document, parent)?;
    if let Some(n) = index {
        List::of(object, key).replace(n, new.value, new.extension);
        return Ok(());
    }
    let target = if element.choice && !new.type_code.is_empty() {
        key_for(t, element, &new)?
    } else {
        own.unwrap_or(key).to_owned()
    };
    if target != key {
        set(object, key, New { type_code: String::new(), value: Value::Null, extension: None });
    }
    set(object, &target, new);
    Ok(())
}

fn shift(document: &mut Value, path: &str, source: usize, destination: usize) -> Result<(), Fault> {
    let (owner, key, count) = list(document, path)?;
    for (index, place) in [(source, ".source"), (destination, ".destination")] {
        if index >= count {
            return fault(IssueCode::Value, place, format!("the list has {count} items"));
        }
    }
    List::of(object_at(document, &owner)?, &key).shift(source, destination);
    Ok(())
}
