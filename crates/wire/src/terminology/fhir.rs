//! CodeSystem and ConceptMap resources.

use super::{Fault, Item, Mapping, Name, Sink, Value};
use serde_json::Value as Json;

/// Concepts within concepts.
const MAX_DEPTH: usize = 60;

fn text<'j>(value: &'j Json, name: &str) -> &'j str {
    value.get(name).and_then(Json::as_str).unwrap_or_default()
}

fn list<'j>(value: &'j Json, name: &str) -> &'j [Json] {
    value.get(name).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

/// The concepts of a CodeSystem, in their order. Errors: a concept without code or nested too deep; of the sink.
pub fn code_system(resource: &Json, sink: &mut dyn Sink) -> Result<(), Fault> {
    let label = match text(resource, "url") {
        "" => "CodeSystem",
        url => url,
    };
    let language = text(resource, "language");
    for concept in list(resource, "concept") {
        take(label, language, concept, None, 0, sink)?;
    }
    Ok(())
}

fn take(
    label: &str,
    language: &str,
    concept: &Json,
    parent: Option<&str>,
    depth: usize,
    sink: &mut dyn Sink,
) -> Result<(), Fault> {
    let code = text(concept, "code");
    if code.is_empty() {
        return Err(Fault::file(label, "a concept has no code"));
    }
    if depth > MAX_DEPTH {
        return Err(Fault::file(label, format!("concepts are nested deeper than {MAX_DEPTH}")));
    }
    let (mut inactive, mut is_abstract) = (false, false);
    for p in list(concept, "property") {
        let is_true = p.get("valueBoolean") == Some(&Json::Bool(true));
        match text(p, "code") {
            "notSelectable" | "abstract" => is_abstract |= is_true,
            "inactive" => inactive |= is_true,
            "status" => inactive |= matches!(text(p, "valueCode"), "retired" | "inactive"),
            _ => {}
        }
    }
    sink.take(Item::Concept {
        code,
        display: text(concept, "display"),
        definition: text(concept, "definition"),
        inactive,
        is_abstract,
    })?;
    if let Some(parent) = parent {
        sink.take(Item::Parent { code, parent })?;
    }
    let display = text(concept, "display");
    if !language.is_empty() && !display.is_empty() {
        let name = Name { language, value: display, preferred: true, display_rank: 0, ..Name::default() };
        sink.take(Item::Designation { code, name })?;
    }
    for d in list(concept, "designation") {
        let none = Json::Null;
        let usage = d.get("use").unwrap_or(&none);
        let name = Name {
            language: text(d, "language"),
            use_system: text(usage, "system"),
            use_code: text(usage, "code"),
            use_display: text(usage, "display"),
            value: text(d, "value"),
            preferred: text(usage, "code") == "preferredForLanguage",
            display_rank: 0,
        };
        sink.take(Item::Designation { code, name })?;
    }
    for p in list(concept, "property") {
        property(code, p, sink)?;
    }
    for child in list(concept, "concept") {
        take(label, language, child, Some(code), depth + 1, sink)?;
    }
    Ok(())
}

fn property(code: &str, p: &Json, sink: &mut dyn Sink) -> Result<(), Fault> {
    let name = text(p, "code");
    let number = |n: &Json| n.to_string();
    let owned;
    let value = if let Some(v) = p.get("valueCode").and_then(Json::as_str) {
        match name {
            "parent" | "subsumedBy" => return sink.take(Item::Parent { code, parent: v }),
            "child" => return sink.take(Item::Parent { code: v, parent: code }),
            _ => Value::Code(v),
        }
    } else if let Some(c) = p.get("valueCoding") {
        Value::Coding { system: text(c, "system"), code: text(c, "code"), display: text(c, "display") }
    } else if let Some(v) = p.get("valueString").and_then(Json::as_str) {
        Value::Text(v)
    } else if let Some(v) = p.get("valueBoolean").and_then(Json::as_bool) {
        Value::Boolean(v)
    } else if let Some(v) = p.get("valueDateTime").and_then(Json::as_str) {
        Value::Date(v)
    } else if let Some(v) = p.get("valueInteger") {
        owned = number(v);
        Value::Integer(&owned)
    } else if let Some(v) = p.get("valueDecimal") {
        owned = number(v);
        Value::Decimal(&owned)
    } else {
        return Ok(());
    };
    sink.take(Item::Property { code, name, value })
}

/// The elements of one group of a ConceptMap, in their order. Errors: of the sink.
pub fn concept_map_group(group: &Json, sink: &mut dyn Sink) -> Result<(), Fault> {
    for element in list(group, "element") {
        for (place, target) in list(element, "target").iter().enumerate() {
            sink.take(Item::Mapping(Mapping {
                map: "",
                source: text(element, "code"),
                target: text(target, "code"),
                place: i64::try_from(place).unwrap_or(i64::MAX),
                equivalence: text(target, "equivalence"),
                comment: text(target, "comment"),
            }))?;
        }
    }
    Ok(())
}
