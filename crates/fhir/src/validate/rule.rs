//! Rules beyond names and formats: invariants of single types, references, contained resources.

use super::primitive::{is_oid, is_uuid};
use super::walk::{Place, Walker};
use crate::definitions::TypeDef;
use crate::moment::{Form, Moment};
use crate::search::kind_in_url;
use crate::{IssueCode, Reference, TypeId};
use serde_json::{Map, Value};

type Object = Map<String, Value>;

fn text<'a>(object: &'a Object, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn has(object: &Object, key: &str) -> bool {
    object.contains_key(key)
}

/// Invariants that one object decides alone.
pub(super) fn object(walker: &mut Walker<'_>, t: &TypeDef, object: &Object, place: &Place) {
    let mut broken = |text: &str| walker.at(IssueCode::Invariant, place, text);
    // An extension may stand for the companion, such as data-absent-reason.
    let alone = |key: &str, companion: &str| {
        has(object, key) && !object.keys().any(|k| k.strip_prefix('_').unwrap_or(k) == companion)
    };
    match t.name {
        "Extension" => {
            let nested = has(object, "extension");
            let value = object.keys().any(|k| k.trim_start_matches('_').starts_with("value"));
            if nested == value {
                broken(
                    "An extension has either a value or extensions, never both and never neither (ext-1).",
                );
            }
        }
        "Quantity" | "SimpleQuantity" | "Age" | "Count" | "Distance" | "Duration" | "MoneyQuantity"
            if alone("code", "system") =>
        {
            broken("A unit code needs its `system` (qty-3).");
        }
        "Period" => {
            let end_of = |key| text(object, key).and_then(|t| Moment::parse(t, Form::DateTime));
            if let (Some(start), Some(end)) = (end_of("start"), end_of("end"))
                && start.low_us() >= end.high_us()
            {
                broken("`start` must not be after `end` (per-1).");
            }
        }
        "ContactPoint" if alone("value", "system") => {
            broken("A contact point with a value needs `system`, such as phone or email (cpt-2).");
        }
        "Attachment" if alone("data", "contentType") => {
            broken("An attachment with data needs `contentType` (att-1).");
        }
        "Money" => {
            let currency = text(object, "currency");
            if currency.is_some_and(|c| c.len() != 3 || !c.bytes().all(|b| b.is_ascii_uppercase())) {
                let text = "A currency is an ISO 4217 code of three capitals, such as KES.";
                walker.at(IssueCode::CodeInvalid, &place.member("currency"), text);
            }
        }
        _ => {}
    }
}

/// Form and target type of a Reference. No types given means any.
pub(super) fn reference<'r>(walker: &mut Walker<'r>, targets: &[TypeId], object: &'r Object, place: &Place) {
    let Some(reference) = text(object, "reference") else { return };
    let place = &place.member("reference");
    let kind = match Reference::parse(reference, None) {
        Reference::Local { key, .. } => Some(key.kind),
        Reference::Conditional { kind, .. } => Some(kind),
        Reference::Contained(id) => {
            let id = reference.get(reference.len() - id.len()..).unwrap_or_default();
            walker.links.push(id);
            // `#` alone means the resource that contains this one.
            if id.is_empty() {
                return;
            }
            match contained_by_id(walker.container, id) {
                Some(c) => text(c, "resourceType").and_then(TypeId::from_name),
                None => {
                    let text = "No contained resource has this id (ref-1).";
                    return walker.at(IssueCode::Invariant, place, text);
                }
            }
        }
        Reference::Urn(urn) => {
            let right = (!urn.starts_with("urn:uuid:") || is_uuid(&urn))
                && (!urn.starts_with("urn:oid:") || is_oid(&urn));
            if !right {
                walker.at(IssueCode::Value, place, "The URN is not well-formed.");
            }
            return;
        }
        Reference::External(url) => {
            if !is_absolute(&url) {
                let text = "A reference is `Type/id` of an R4 type, an absolute URL, `urn:uuid:…` or `#contained-id`.";
                return walker.at(IssueCode::Value, place, text);
            }
            kind_in_url(&url)
        }
    };
    if let Some(kind) = kind
        && !targets.is_empty()
        && !targets.contains(&kind)
    {
        let names: Vec<&str> = targets.iter().map(|t| t.name()).collect();
        let text = format!("This may not point at {}, only at {}.", kind.name(), names.join(", "));
        walker.at(IssueCode::Value, place, text);
    }
}

/// RFC 3986 scheme and something behind it, no white space.
fn is_absolute(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once(':') else { return false };
    let mut chars = scheme.bytes();
    chars.next().is_some_and(|b| b.is_ascii_alphabetic())
        && chars.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
        && !rest.is_empty()
        && !rest.chars().any(char::is_whitespace)
}

fn contained_by_id<'a>(container: &'a Value, id: &str) -> Option<&'a Object> {
    let all = container.get("contained")?.as_array()?;
    all.iter().filter_map(Value::as_object).find(|c| text(c, "id") == Some(id))
}

/// A CodeableConcept or Coding with a required code list.
pub(super) fn concept(walker: &mut Walker<'_>, binding: u16, value: &Value, place: &Place) {
    let set = &walker.definitions.code_sets[usize::from(binding)];
    let matches = |coding: &Value| {
        let system = coding.get("system").and_then(Value::as_str).unwrap_or("");
        coding.get("code").and_then(Value::as_str).is_some_and(|c| set.contains_in(system, c))
    };
    let found = match value.get("coding") {
        Some(Value::Array(codings)) => codings.iter().any(matches),
        Some(_) => return,
        None => matches(value),
    };
    // An extension, such as data-absent-reason, may stand for the code.
    let explained = value.get("extension").is_some();
    if !found && !explained {
        let systems: Vec<&str> = set.systems.iter().map(|(s, _)| *s).collect();
        let text = format!(
            "One coding must be from the required list {} (system {}).",
            set.url,
            systems.join(" or ")
        );
        walker.at(IssueCode::CodeInvalid, place, text);
    }
}

/// dom-2 to dom-5 and the ids of contained resources.
pub(super) fn contained<'r>(walker: &mut Walker<'r>, object: &'r Object, place: &Place) {
    let Some(Value::Array(all)) = object.get("contained") else { return };
    let member = place.member("contained");
    for (n, contained) in all.iter().enumerate() {
        let place = &member.item(n);
        let Value::Object(c) = contained else { continue };
        let Some(id) = text(c, "id") else {
            walker.at(IssueCode::Required, place, "A contained resource needs `id`.");
            continue;
        };
        let same = |o: &Value| o.get("id").and_then(Value::as_str) == Some(id);
        if all[..n].iter().any(same) {
            walker.at(IssueCode::Duplicate, place, "Another contained resource has the same `id`.");
        }
        if has(c, "contained") {
            walker.at(IssueCode::Invariant, place, "A contained resource may not contain resources (dom-2).");
        }
        if !walker.links.contains(&id) && !points_at_container(contained) {
            let text =
                "Nothing refers to this contained resource, and it does not refer to its container (dom-3).";
            walker.at(IssueCode::Invariant, place, text);
        }
        let Some(Value::Object(meta)) = c.get("meta") else { continue };
        if has(meta, "versionId") || has(meta, "lastUpdated") {
            walker.at(
                IssueCode::Invariant,
                place,
                "A contained resource has no `versionId` or `lastUpdated` (dom-4).",
            );
        }
        if has(meta, "security") {
            walker.at(IssueCode::Invariant, place, "A contained resource has no security label (dom-5).");
        }
    }
}

fn points_at_container(value: &Value) -> bool {
    match value {
        Value::Object(o) => o.iter().any(|(k, v)| (k == "reference" && v == "#") || points_at_container(v)),
        Value::Array(items) => items.iter().any(points_at_container),
        _ => false,
    }
}
