//! Finding, reading and rewriting references.

use crate::definitions::{Class, Definitions, Primitive, TypeDef};
use crate::resource::valid_id;
use crate::{MAX_DEPTH, Reference, Resource, ResourceKey, TypeId};
use serde_json::Value;
use std::fmt::Write as _;

/// Every `Reference.reference` of the resource, contained and nested resources included, with the FHIRPath of
/// the text, e.g. `Observation.performer[0].reference`.
pub fn references(resource: &Resource) -> Vec<(String, Reference)> {
    let mut found = Vec::new();
    let Some((_, t)) = Definitions::get().resource(resource.kind()) else { return found };
    let mut path = String::from(resource.kind().name());
    collect(t, resource.value(), &mut path, 0, &mut found);
    found
}

fn collect(
    t: &TypeDef,
    value: &Value,
    path: &mut String,
    depth: usize,
    found: &mut Vec<(String, Reference)>,
) {
    let (Value::Object(object), true) = (value, depth < MAX_DEPTH) else { return };
    if t.name == "Reference"
        && let Some(text) = object.get("reference").and_then(Value::as_str)
    {
        found.push((format!("{path}.reference"), Reference::parse(text, None)));
    }
    for (key, child) in object {
        let Some(next) = child_type(t, key, child) else { continue };
        let length = path.len();
        path.push('.');
        path.push_str(key.trim_start_matches('_'));
        match child {
            Value::Array(items) => {
                let length = path.len();
                for (n, item) in items.iter().enumerate() {
                    if let Some(next) = actual_type(next, item) {
                        let _ = write!(path, "[{n}]");
                        collect(next, item, path, depth + 1, found);
                        path.truncate(length);
                    }
                }
            }
            item => {
                if let Some(next) = actual_type(next, item) {
                    collect(next, item, path, depth + 1, found);
                }
            }
        }
        path.truncate(length);
    }
}

/// The type of a member that may hold references; `None` for unknown members and primitives.
fn child_type(t: &TypeDef, key: &str, child: &Value) -> Option<&'static TypeDef> {
    if matches!(child, Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null) {
        return None;
    }
    let d = Definitions::get();
    // Extensions of primitives may hold references too.
    if let Some(name) = key.strip_prefix('_') {
        return t.lookup(name).and_then(|_| d.by_name("Element"));
    }
    t.lookup(key).map(|(_, _, et)| d.type_def(et.number))
}

/// A nested resource has the type it names.
fn actual_type(t: &'static TypeDef, value: &Value) -> Option<&'static TypeDef> {
    if t.class != Class::AbstractResource {
        return Some(t);
    }
    let kind = TypeId::from_name(value.get("resourceType")?.as_str()?)?;
    Definitions::get().resource(kind).map(|(_, t)| t)
}

/// Offers every `Reference.reference` and every uri, url, canonical, oid and uuid value, nested resources
/// included, to `replace`; what it returns takes the value's place. `Extension.url`, which names a
/// definition, is left alone.
pub fn rewrite_references(resource: &mut Resource, replace: &mut dyn FnMut(&str) -> Option<String>) {
    let Some((_, t)) = Definitions::get().resource(resource.kind()) else { return };
    rewrite(t, resource.value_mut(), 0, replace);
}

fn rewrite(t: &TypeDef, value: &mut Value, depth: usize, replace: &mut dyn FnMut(&str) -> Option<String>) {
    let (Value::Object(object), true) = (value, depth < MAX_DEPTH) else { return };
    let d = Definitions::get();
    for (key, child) in object.iter_mut() {
        if let Some(next) = child_type(t, key, child) {
            let one = |item: &mut Value, replace: &mut dyn FnMut(&str) -> Option<String>| {
                if let Some(p) = next.primitive() {
                    rewrite_text(t, key, p, item, replace);
                } else if let Some(next) = actual_type(next, item) {
                    rewrite(next, item, depth + 1, replace);
                }
            };
            match child {
                Value::Array(items) => items.iter_mut().for_each(|i| one(i, replace)),
                item => one(item, replace),
            }
        } else if child.is_string()
            && let Some(p) = t.lookup(key).and_then(|(_, _, et)| d.type_def(et.number).primitive())
        {
            rewrite_text(t, key, p, child, replace);
        }
    }
}

fn rewrite_text(
    t: &TypeDef,
    key: &str,
    primitive: Primitive,
    value: &mut Value,
    replace: &mut dyn FnMut(&str) -> Option<String>,
) {
    let wanted = match t.name {
        "Reference" => key == "reference",
        "Extension" => key != "url" && primitive.is_uri(),
        _ => primitive.is_uri(),
    };
    if wanted
        && let Value::String(text) = value
        && let Some(new) = replace(text)
    {
        *text = new;
    }
}

impl Reference {
    /// Reads what a reference points at. `base` is the server's own base URL without a trailing slash, under
    /// which absolute URLs are local. Text that fits nothing else is [Reference::External].
    pub fn parse(text: &str, base: Option<&str>) -> Reference {
        if let Some(id) = text.strip_prefix('#') {
            return Reference::Contained(id.to_owned());
        }
        if text.starts_with("urn:") {
            return Reference::Urn(text.to_owned());
        }
        let relative = base.and_then(|b| text.strip_prefix(b)?.strip_prefix('/')).unwrap_or(text);
        if let Some((kind, query)) = relative.split_once('?')
            && let Some(kind) = TypeId::from_name(kind)
            && !query.is_empty()
        {
            return Reference::Conditional { kind, query: query.to_owned() };
        }
        local(relative).unwrap_or_else(|| Reference::External(text.to_owned()))
    }

    /// The type pointed at, if the text tells: from the path of an absolute URL too.
    pub fn kind(&self) -> Option<TypeId> {
        match self {
            Reference::Local { key, .. } => Some(key.kind),
            Reference::Conditional { kind, .. } => Some(*kind),
            Reference::External(url) => kind_in_url(url),
            Reference::Contained(_) | Reference::Urn(_) => None,
        }
    }
}

/// `Type/id` and `Type/id/_history/version`.
fn local(text: &str) -> Option<Reference> {
    let (kind, rest) = text.split_once('/')?;
    let (id, version) = match rest.split_once("/_history/") {
        Some((id, version)) => (id, Some(version.parse().ok()?)),
        None => (rest, None),
    };
    if !valid_id(id) {
        return None;
    }
    Some(Reference::Local { key: ResourceKey::new(TypeId::from_name(kind)?, id), version })
}

/// The resource type in `http://server/base/Type/id(/_history/version)`.
pub(crate) fn kind_in_url(url: &str) -> Option<TypeId> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let rest = rest.split_once("/_history/").map_or(rest, |(r, _)| r);
    let mut parts = rest.rsplit('/');
    let id = parts.next()?;
    let kind = TypeId::from_name(parts.next()?)?;
    (valid_id(id) && parts.next().is_some()).then_some(kind)
}
