//! Reading and making elements of resources. A resource stays JSON; these are the few shapes `care` needs.

use fhir::{Resource, ResourceKey, TypeId};
use jiff::Timestamp;
use serde_json::{Number, Value, json};

/// The type of this name. Falls back to `Basic`, which every rights table denies; the names in this crate are checked
/// by a test.
pub fn kind(name: &str) -> TypeId {
    TypeId::from_name(name)
        .or_else(|| TypeId::from_name("Basic"))
        .unwrap_or_else(|| unreachable!("R4 has Basic"))
}

pub fn key(name: &str, id: impl Into<String>) -> ResourceKey {
    ResourceKey::new(kind(name), id)
}

/// The elements of an array; empty if it is absent.
pub fn array<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The text at a JSON pointer.
pub fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

pub fn owned(value: &Value, pointer: &str) -> String {
    text(value, pointer).unwrap_or_default().to_owned()
}

pub fn instant(value: &Value, pointer: &str) -> Option<Timestamp> {
    text(value, pointer)?.parse().ok()
}

/// How instants are written in resources and answers: UTC, to the millisecond, whole seconds without a fraction.
pub fn written(at: Timestamp) -> String {
    Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at).to_string()
}

/// `meta.versionId`; 0 for a resource that was not stored yet.
pub fn version(resource: &Resource) -> u32 {
    text(resource.value(), "/meta/versionId").and_then(|v| v.parse().ok()).unwrap_or(0)
}

/// The coding of this system in a CodeableConcept: `(code, display)`.
pub fn coding<'a>(concept: &'a Value, system: &str) -> Option<(&'a str, &'a str)> {
    array(concept, "coding").iter().find(|c| text(c, "/system") == Some(system)).map(code_and_display)
}

/// The first coding: `(code, display)`.
pub fn first_coding(concept: &Value) -> Option<(&str, &str)> {
    array(concept, "coding").first().map(code_and_display)
}

fn code_and_display(coding: &Value) -> (&str, &str) {
    let code = text(coding, "/code").unwrap_or_default();
    (code, text(coding, "/display").unwrap_or(code))
}

/// What a person would read of a CodeableConcept.
pub fn words(concept: &Value) -> String {
    text(concept, "/text")
        .or_else(|| array(concept, "coding").iter().find_map(|c| text(c, "/display")))
        .or_else(|| text(concept, "/coding/0/code"))
        .unwrap_or_default()
        .to_owned()
}

pub fn concept(system: &str, code: &str, display: &str) -> Value {
    json!({"coding": [{"system": system, "code": code, "display": display}], "text": display})
}

/// The target of a `Reference` object, if it is local and typed.
pub fn target(reference: &Value) -> Option<ResourceKey> {
    let text = text(reference, "/reference")?;
    ResourceKey::parse(text.split("/_history/").next()?)
}

/// Id of the target, if it has this type.
pub fn target_id(reference: &Value, name: &str) -> Option<String> {
    target(reference).filter(|key| key.kind.name() == name).map(|key| key.id)
}

pub fn reference(key: &ResourceKey, display: &str) -> Value {
    if display.is_empty() {
        json!({"reference": key.to_string()})
    } else {
        json!({"reference": key.to_string(), "display": display})
    }
}

pub fn extension<'a>(value: &'a Value, url: &str) -> Option<&'a Value> {
    array(value, "extension").iter().find(|e| text(e, "/url") == Some(url))
}

/// Replaces the extension of this url; `None` removes it.
pub fn set_extension(value: &mut Value, url: &str, new: Option<Value>) {
    let Some(object) = value.as_object_mut() else { return };
    let mut all: Vec<Value> = object.get("extension").and_then(Value::as_array).cloned().unwrap_or_default();
    all.retain(|e| text(e, "/url") != Some(url));
    all.extend(new);
    if all.is_empty() {
        object.shift_remove("extension");
    } else {
        object.insert("extension".into(), Value::Array(all));
    }
}

pub fn identifier<'a>(value: &'a Value, system: &str) -> Option<&'a str> {
    array(value, "identifier")
        .iter()
        .find(|i| text(i, "/system") == Some(system))
        .and_then(|i| text(i, "/value"))
}

/// A decimal as JSON, digits kept as written. `None` if it is no JSON number.
pub fn decimal(text: &str) -> Option<Value> {
    let number: Number = text.parse().ok()?;
    Some(Value::Number(number))
}

/// Digits of a JSON number or string as written.
pub fn digits(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// E.164 phone for messages: the first mobile, else the first phone.
pub fn phone(person: &Value) -> Option<&str> {
    let phones = || array(person, "telecom").iter().filter(|t| text(t, "/system") == Some("phone"));
    let usable = |t: &&Value| text(t, "/use") != Some("old");
    phones()
        .filter(usable)
        .find(|t| text(t, "/use") == Some("mobile"))
        .or_else(|| phones().find(usable))
        .and_then(|t| text(t, "/value"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_keep_their_digits() {
        for (given, kept) in [("37.0", Some("37.0")), ("1500.00", Some("1500.00")), ("x", None), ("", None)] {
            assert_eq!(decimal(given).map(|v| v.to_string()).as_deref(), kept, "{given:?}");
        }
    }

    #[test]
    fn a_person_is_called_on_a_current_number() {
        let person = json!({"telecom": [
            {"system": "phone", "value": "+254700000001", "use": "old"},
            {"system": "email", "value": "a@b.c"},
            {"system": "phone", "value": "+254200000002", "use": "home"},
            {"system": "phone", "value": "+254700000003", "use": "mobile"},
        ]});
        assert_eq!(phone(&person), Some("+254700000003"));
        assert_eq!(phone(&json!({})), None);
    }

    #[test]
    fn extensions_are_replaced_not_heaped() {
        let mut value = json!({"resourceType": "Appointment"});
        set_extension(&mut value, "u", Some(json!({"url": "u", "valueString": "a"})));
        set_extension(&mut value, "u", Some(json!({"url": "u", "valueString": "b"})));
        assert_eq!(array(&value, "extension").len(), 1);
        assert_eq!(text(extension(&value, "u").unwrap(), "/valueString"), Some("b"));
        set_extension(&mut value, "u", None);
        assert!(value.get("extension").is_none());
    }
}
