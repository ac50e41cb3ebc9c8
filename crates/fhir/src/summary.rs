//! Parts of a resource: `_summary` and `_elements`. <http://hl7.org/fhir/R4/search.html#summary>
//!
//! **Invariant:** a part keeps what is mandatory and what changes the meaning of the rest (modifier elements),
//! and says in `meta.tag` that it is one, so that nobody writes it back as the whole.

use crate::TypeId;
use crate::definitions::{Class, Definitions, Element, TypeDef};
use serde_json::{Map, Value, json};

/// What `_summary` asks of the content; `count` and `false` do not touch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Summary {
    /// The elements that the definitions mark as summary, at every level.
    True,
    /// `text`, `id`, `meta`, and the mandatory and modifier elements of the top level.
    Text,
    /// Everything except `text`.
    Data,
}

const SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
const SUBSETTED: &str = "SUBSETTED";

/// The part of `resource` that `_summary` asks for, tagged SUBSETTED. JSON that is no R4 resource comes back
/// whole.
pub fn summary(resource: &Value, summary: Summary) -> Value {
    match summary {
        Summary::True => part(resource, &|t, object| summarised(t, object)),
        Summary::Text => top(resource, |e, _| e.name == "text"),
        Summary::Data => part(resource, &|_, object| {
            let keep =
                |(key, value): (&String, &Value)| (key != "text").then(|| (key.clone(), value.clone()));
            object.iter().filter_map(keep).collect()
        }),
    }
}

/// The named top-level elements (`value` or `valueQuantity`, `Type.name` for one type only) and the mandatory
/// and modifier ones, tagged SUBSETTED. Names that the type does not have ask for nothing.
pub fn elements(resource: &Value, names: &[&str]) -> Value {
    let kind = resource.get("resourceType").and_then(Value::as_str).unwrap_or_default();
    let mine: Vec<&str> = names
        .iter()
        .filter_map(|name| match name.split_once('.') {
            Some((t, name)) if t == kind => Some(name.split('.').next().unwrap_or(name)),
            Some((t, _)) if TypeId::from_name(t).is_some() => None,
            Some((name, _)) => Some(name),
            None => Some(*name),
        })
        .collect();
    top(resource, |e, key| mine.iter().any(|m| *m == e.name || *m == key))
}

fn type_of(resource: &Value) -> Option<&'static TypeDef> {
    let kind = resource.get("resourceType").and_then(Value::as_str).and_then(TypeId::from_name)?;
    Definitions::get().resource(kind).map(|(_, t)| t)
}

type Filter<'a> = &'a dyn Fn(&'static TypeDef, &Map<String, Value>) -> Map<String, Value>;

fn part(resource: &Value, filter: Filter) -> Value {
    let (Some(t), Some(object)) = (type_of(resource), resource.as_object()) else { return resource.clone() };
    let mut out = filter(t, object);
    tag(&mut out);
    Value::Object(out)
}

/// Top-level elements as a whole.
fn top(resource: &Value, wanted: impl Fn(&Element, &str) -> bool) -> Value {
    part(resource, &|t, object| {
        let keep = |key: &str| match t.lookup(key.strip_prefix('_').unwrap_or(key)) {
            Some((_, e, _)) => {
                always(e)
                    || matches!(e.name, "id" | "meta")
                    || wanted(e, key.strip_prefix('_').unwrap_or(key))
            }
            None => key == "resourceType",
        };
        object.iter().filter(|(key, _)| keep(key)).map(|(k, v)| (k.clone(), v.clone())).collect()
    })
}

fn always(e: &Element) -> bool {
    e.min > 0 || e.modifier
}

/// The summary elements, at this level and below.
fn summarised(t: &'static TypeDef, object: &Map<String, Value>) -> Map<String, Value> {
    let d = Definitions::get();
    let mut out = Map::new();
    for (key, value) in object {
        if key == "resourceType" {
            out.insert(key.clone(), value.clone());
            continue;
        }
        let Some((_, e, option)) = t.lookup(key.strip_prefix('_').unwrap_or(key)) else { continue };
        if !(e.summary || always(e)) {
            continue;
        }
        let inner = d.type_def(option.number);
        // A modifier is read whole or not at all; values of primitives keep their extensions, which may be all
        // there is of a mandatory one.
        let whole = inner.primitive().is_some() || inner.name == "Extension" || key.starts_with('_');
        let shorter = |v: &Value| match v {
            Value::Object(o) if !whole => {
                let inner = match inner.class {
                    Class::AbstractResource | Class::Resource => type_of(v).unwrap_or(inner),
                    _ => inner,
                };
                let short = summarised(inner, o);
                // Without any summary element of its own the value would be empty.
                Value::Object(if short.is_empty() { o.clone() } else { short })
            }
            other => other.clone(),
        };
        let value = match value {
            Value::Array(items) => Value::Array(items.iter().map(shorter).collect()),
            other => shorter(other),
        };
        out.insert(key.clone(), value);
    }
    out
}

fn tag(object: &mut Map<String, Value>) {
    let subsetted = json!({"system": SYSTEM, "code": SUBSETTED});
    match object.get_mut("meta") {
        Some(Value::Object(meta)) => match meta.get_mut("tag") {
            Some(Value::Array(tags))
                if tags.iter().any(|t| t["system"] == SYSTEM && t["code"] == SUBSETTED) => {}
            Some(Value::Array(tags)) => tags.push(subsetted),
            _ => {
                meta.insert("tag".to_owned(), json!([subsetted]));
            }
        },
        _ => {
            // Behind `resourceType` and `id`, as every server prints it.
            let at = 2.min(object.len());
            object.shift_insert(at, "meta".to_owned(), json!({"tag": [subsetted]}));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patient() -> Value {
        json!({
            "resourceType": "Patient", "id": "p", "meta": {"versionId": "3", "tag": [{"code": "x"}]},
            "implicitRules": "http://example.org/rules", "language": "sw",
            "text": {"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">x</div>"},
            "modifierExtension": [{"url": "http://example.org/m", "valueString": "all of it"}],
            "identifier": [{"use": "official", "value": "1", "extension": [{"url": "u", "valueCode": "c"}]}],
            "active": true, "name": [{"family": "Mwangi", "id": "n1"}],
            "maritalStatus": {"text": "married"}, "birthDate": "1990",
            "_birthDate": {"extension": [{"url": "u", "valueTime": "10:00:00"}]},
            "contact": [{"name": {"text": "x"}}],
            "communication": [{"language": {"text": "sw"}, "preferred": true}],
            "link": [{"type": "seealso", "other": {"reference": "Patient/q", "display": "Q"}}],
        })
    }

    fn keys(value: &Value) -> Vec<&str> {
        value.as_object().unwrap().keys().map(String::as_str).collect()
    }

    #[test]
    fn summary_elements_at_every_level() {
        let short = summary(&patient(), Summary::True);
        assert_eq!(
            keys(&short),
            [
                "resourceType",
                "id",
                "meta",
                "implicitRules",
                "modifierExtension",
                "identifier",
                "active",
                "name",
                "birthDate",
                "_birthDate",
                "link"
            ]
        );
        assert_eq!(short["identifier"], json!([{"use": "official", "value": "1"}]));
        assert_eq!(short["name"], json!([{"family": "Mwangi"}]));
        assert_eq!(short["modifierExtension"], patient()["modifierExtension"]);
        assert_eq!(short["meta"]["tag"], json!([{"code": "x"}, {"system": SYSTEM, "code": SUBSETTED}]));
        // Once is enough.
        assert_eq!(summary(&short, Summary::True), short);
    }

    #[test]
    fn text_data_and_named_elements() {
        let text = summary(&patient(), Summary::Text);
        assert_eq!(
            keys(&text),
            ["resourceType", "id", "meta", "implicitRules", "text", "modifierExtension", "active", "link"]
        );
        let data = summary(&patient(), Summary::Data);
        assert!(data.get("text").is_none() && data["contact"] == patient()["contact"]);
        let some =
            elements(&patient(), &["birthDate", "Patient.contact.name", "Encounter.language", "nonsense"]);
        assert_eq!(
            keys(&some),
            [
                "resourceType",
                "id",
                "meta",
                "implicitRules",
                "modifierExtension",
                "active",
                "birthDate",
                "_birthDate",
                "contact",
                "link"
            ]
        );
        let observation = json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"},
            "valueQuantity": {"value": 1}, "note": [{"text": "n"}]});
        for name in ["value", "valueQuantity"] {
            let some = elements(&observation, &[name]);
            assert_eq!(keys(&some), ["resourceType", "status", "meta", "code", "valueQuantity"], "{name}");
        }
        assert_eq!(elements(&json!({"a": 1}), &["b"]), json!({"a": 1}));
    }

    /// A part of a valid example has no faults that the example does not have.
    #[test]
    fn parts_of_examples_are_valid() {
        let Some(folder) = crate::outside::examples() else { return };
        for entry in std::fs::read_dir(folder).unwrap() {
            let file = entry.unwrap().path();
            let Ok(resource) = crate::Resource::parse(&std::fs::read(&file).unwrap()) else { continue };
            // Links to contained resources lead nowhere in a part, and what is left of an entry may be too little.
            let skipped = resource.get("contained").is_some() || resource.kind() == TypeId::BUNDLE;
            if skipped || !crate::validate::validate(&resource).is_empty() {
                continue;
            }
            for part in [
                summary(resource.value(), Summary::True),
                summary(resource.value(), Summary::Text),
                elements(resource.value(), &["text"]),
            ] {
                let part = crate::Resource::from_value(part).unwrap();
                let issues = crate::validate::validate(&part);
                let structural = |i: &&crate::Issue| {
                    matches!(i.code, crate::IssueCode::Structure | crate::IssueCode::Required)
                };
                let issue = issues.iter().find(structural);
                assert!(issue.is_none(), "{}: {issue:?}", file.display());
            }
        }
    }
}
