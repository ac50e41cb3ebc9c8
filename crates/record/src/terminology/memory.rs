//! Code systems small enough to be held whole: those of FHIR itself, and CodeSystem resources.

use super::hierarchy;
use super::words;
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashMap};
use store::terminology::{Concept, Designation, Detail, Property, Ranges, Value};
use wire::terminology::{Fault, Item};

/// A code system with all its concepts.
#[derive(Debug)]
pub(crate) struct Memory {
    pub url: String,
    /// "" if it has none.
    pub version: String,
    /// The resource without concepts.
    pub header: Json,
    /// By number.
    pub concepts: Vec<Concept>,
    numbers: HashMap<String, u32>,
    pub postings: BTreeMap<String, Ranges>,
}

impl Memory {
    /// From a CodeSystem resource. Errors: in words, as [Fault].
    pub fn new(resource: &Json) -> Result<Memory, Fault> {
        let mut draft = Draft::default();
        wire::terminology::fhir::code_system(resource, &mut |item: Item<'_>| {
            draft.take(item);
            Ok(())
        })?;
        let mut header = resource.clone();
        if let Some(object) = header.as_object_mut() {
            object.shift_remove("concept");
            object.shift_remove("text");
        }
        let text = |name: &str| header.get(name).and_then(Json::as_str).unwrap_or_default().to_owned();
        let (url, version) = (text("url"), text("version"));
        let (concepts, postings) = draft.finish();
        let numbers = concepts.iter().map(|c| (c.code.clone(), c.number)).collect();
        Ok(Memory { url, version, header, concepts, numbers, postings })
    }
    pub fn get(&self, code: &str) -> Option<&Concept> {
        self.numbers.get(code).and_then(|n| self.concepts.get(*n as usize))
    }
}

#[derive(Default)]
struct Draft {
    places: HashMap<String, u32>,
    concepts: Vec<Concept>,
    parents: Vec<Vec<u32>>,
    /// Child code and parent code, whose concepts may come later.
    edges: Vec<(String, String)>,
}

impl Draft {
    fn at(&mut self, code: &str) -> Option<&mut Concept> {
        self.places.get(code).and_then(|n| self.concepts.get_mut(*n as usize))
    }

    fn take(&mut self, item: Item<'_>) {
        match item {
            Item::Concept { code, display, definition, inactive, is_abstract } => {
                if self.places.contains_key(code) {
                    return;
                }
                self.places.insert(code.to_owned(), self.concepts.len() as u32);
                self.concepts.push(Concept {
                    number: 0,
                    code: code.to_owned(),
                    display: display.to_owned(),
                    inactive,
                    is_abstract,
                    parents: Ranges::new(),
                    descendants: Ranges::new(),
                    detail: Detail { definition: definition.to_owned(), ..Detail::default() },
                });
                self.parents.push(Vec::new());
            }
            Item::Parent { code, parent } => self.edges.push((code.to_owned(), parent.to_owned())),
            Item::Definition { code, text } => {
                if let Some(concept) = self.at(code) {
                    text.clone_into(&mut concept.detail.definition);
                }
            }
            Item::Designation { code, name } => {
                if let Some(concept) = self.at(code) {
                    concept.detail.designations.push(designation(&name));
                }
            }
            Item::Property { code, name, value } => {
                if let Some(concept) = self.at(code) {
                    concept.detail.properties.push(Property { code: name.to_owned(), value: owned(value) });
                }
            }
            Item::Member { .. } | Item::Mapping(_) => {}
        }
    }

    fn finish(mut self) -> (Vec<Concept>, BTreeMap<String, Ranges>) {
        for (child, parent) in &self.edges {
            if let (Some(child), Some(parent)) = (self.places.get(child), self.places.get(parent))
                && let Some(list) = self.parents.get_mut(*child as usize)
                && !list.contains(parent)
                && child != parent
            {
                list.push(*parent);
            }
        }
        let mut tree = hierarchy::number(&self.parents);
        let mut concepts: Vec<Option<Concept>> = self.concepts.into_iter().map(Some).collect();
        let mut sorted: Vec<Concept> = Vec::with_capacity(concepts.len());
        for (number, place) in tree.place.iter().enumerate() {
            let Some(mut concept) = concepts.get_mut(*place as usize).and_then(Option::take) else {
                continue;
            };
            concept.number = number as u32;
            concept.parents = std::mem::take(&mut tree.parents[number]);
            concept.descendants = std::mem::take(&mut tree.descendants[number]);
            sorted.push(concept);
        }
        let codes: Vec<String> = sorted.iter().map(|c| c.code.clone()).collect();
        let mut postings: BTreeMap<String, Ranges> = BTreeMap::new();
        for concept in &sorted {
            let above = concept.parents.iter().filter_map(|p| codes.get(p as usize).map(String::as_str));
            words::keys(concept, above, &mut |key| {
                postings.entry(key).or_default().push(concept.number);
            });
        }
        (sorted, postings)
    }
}

pub(crate) fn designation(name: &wire::terminology::Name<'_>) -> Designation {
    Designation {
        language: name.language.to_owned(),
        use_system: name.use_system.to_owned(),
        use_code: name.use_code.to_owned(),
        use_display: name.use_display.to_owned(),
        value: name.value.to_owned(),
        preferred: name.preferred,
    }
}

pub(crate) fn owned(value: wire::terminology::Value<'_>) -> Value {
    use wire::terminology::Value as Found;
    match value {
        Found::Code(text) => Value::Code(text.to_owned()),
        Found::Coding { system, code, display } => {
            Value::Coding { system: system.to_owned(), code: code.to_owned(), display: display.to_owned() }
        }
        Found::Text(text) => Value::Text(text.to_owned()),
        Found::Integer(text) => Value::Integer(text.to_owned()),
        Found::Boolean(is) => Value::Boolean(is),
        Found::Date(text) => Value::Date(text.to_owned()),
        Found::Decimal(text) => Value::Decimal(text.to_owned()),
    }
}
