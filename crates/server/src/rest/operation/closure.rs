//! `$closure`: a client's table of which of its concepts lie above which.

use super::{Answer, Call, Kinds, Levels, Operation, Output, Parameter, wrong};
use record::terminology::closure;
use serde_json::{Value, json};

/// As much as the index of either engine takes.
const MAX_BYTES: usize = 1_000;

pub(super) const OPERATIONS: &[Operation] = &[Operation {
    code: "closure",
    id: "ConceptMap-closure",
    url: "http://hl7.org/fhir/OperationDefinition/ConceptMap-closure",
    title: "Keep a closure table",
    text: "Tells which of a client's own concepts lie above which. With a name alone it makes the table, or empties it; \
               with concepts it adds them and tells what is new; with a version it tells again what came after that. A \
               target `subsumes` its source; a code that is not known is `unmatched`. A client has 20 tables of 10,000 \
               concepts.",
    levels: Levels::SYSTEM,
    kinds: Kinds::These(&["ConceptMap"]),
    affects_state: true,
    parameters: &[
        Parameter::new("name", "string", "The table; yours alone.").required(),
        Parameter::new("concept", "Coding", "Concepts to add.").many(),
        Parameter::new("version", "string", "Tell what came after this version; without concepts."),
        Parameter::new("return", "ConceptMap", "The new entries; its version is the table's.")
            .out()
            .required(),
    ],
    handler: |call| Box::pin(closure(call)),
}];

async fn closure(call: Call) -> Answer {
    let name = call.input.text("name").unwrap_or_default();
    let mut concepts = Vec::new();
    for coding in call.input.values("concept") {
        match (coding["system"].as_str(), coding["code"].as_str()) {
            (Some(system), Some(code)) if system.len() > MAX_BYTES || code.len() > MAX_BYTES => {
                let text = format!("A system or code has at most {MAX_BYTES} bytes.");
                return Err(wrong("concept", text));
            }
            (Some(system), Some(code)) => concepts.push((system.to_owned(), code.to_owned())),
            _ => return Err(wrong("concept", "A concept needs `system` and `code`.")),
        }
    }
    let request = match (call.input.text("version"), concepts.is_empty()) {
        (None, true) => closure::Request::Start,
        (None, false) => closure::Request::Add(concepts),
        (Some(version), true) => match version.parse() {
            Ok(version) => closure::Request::Since(version),
            Err(_) => return Err(wrong("version", "The version is that of an earlier answer.")),
        },
        (Some(_), false) => return Err(wrong("version", "Give either `concept` or `version`.")),
    };
    let found = call.app.record.closure(&call.ctx, name, request).await?;
    let mut groups: Vec<Value> = Vec::new();
    for of_system in found.entries.chunk_by(|a, b| a.system == b.system) {
        let element = |entries: &[closure::Entry]| {
            let target = entries.iter().map(|entry| {
                let mut target = json!({"equivalence": entry.equivalence()});
                if let Some(code) = &entry.target {
                    target["code"] = json!(code);
                }
                target
            });
            json!({"code": entries[0].source, "target": target.collect::<Vec<_>>()})
        };
        let elements: Vec<Value> = of_system.chunk_by(|a, b| a.source == b.source).map(element).collect();
        let system = &of_system[0].system;
        groups.push(json!({"source": system, "target": system, "element": elements}));
    }
    let mut map = json!({"resourceType": "ConceptMap", "name": name, "status": "active", "experimental": true,
        "version": found.version.to_string(), "date": format!("{:.3}", call.ctx.now)});
    if !groups.is_empty() {
        map["group"] = Value::Array(groups);
    }
    Ok(Output::Json(map))
}
