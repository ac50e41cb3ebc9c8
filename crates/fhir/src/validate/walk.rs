//! The walk over a resource, driven by the element tables.

use super::primitive::{self, Fault};
use super::{MAX_ISSUES, invariant, rule};
use crate::definitions::{Class, Definitions, Element, ElementType, Primitive, TypeDef};
use crate::path::Resolve;
use crate::suggest::nearest;
use crate::{Issue, IssueCode, MAX_DEPTH, TypeId};
use serde_json::{Map, Value};
use std::fmt::Write as _;

/// Characters of a sender's name that a message repeats.
const MAX_NAME: usize = 64;
/// Code lists up to this length are written out in messages.
const MAX_LISTED_CODES: usize = 12;

/// Where the walk is; turned into text only for issues.
pub(super) struct Place<'a> {
    parent: Option<&'a Place<'a>>,
    name: &'a str,
    index: Option<usize>,
    depth: usize,
}

impl<'a> Place<'a> {
    pub fn root(name: &'a str) -> Place<'a> {
        Place { parent: None, name, index: None, depth: 0 }
    }
    pub fn member(&'a self, name: &'a str) -> Place<'a> {
        Place { parent: Some(self), name, index: None, depth: self.depth + 1 }
    }
    pub fn item(&self, index: usize) -> Place<'a> {
        Place { parent: self.parent, name: self.name, index: Some(index), depth: self.depth }
    }
    pub fn path(&self) -> String {
        let mut out = match self.parent {
            Some(p) => {
                let mut out = p.path();
                out.push('.');
                out
            }
            None => String::new(),
        };
        out.extend(self.name.chars().take(MAX_NAME));
        if let Some(n) = self.index {
            let _ = write!(out, "[{n}]");
        }
        out
    }
}

pub(super) struct Walker<'r> {
    pub definitions: &'static Definitions,
    pub issues: Vec<Issue>,
    /// Problems beyond the listed ones.
    pub more: usize,
    /// The resource that `#id` references look into.
    pub container: &'r Value,
    /// The resource that is walked: the container, or a resource contained in it.
    pub resource: &'r Value,
    /// Whether warnings are wanted.
    pub advice: bool,
    /// The resource behind a reference, where somebody knows it.
    pub resolve: Option<Resolve<'r>>,
    /// Ids that `#id` references and canonicals of the container name; only kept if it contains resources.
    pub links: Vec<&'r str>,
}

impl<'r> Walker<'r> {
    pub fn new(root: &'r Value) -> Walker<'r> {
        Walker {
            definitions: Definitions::get(),
            issues: Vec::new(),
            more: 0,
            container: root,
            resource: root,
            advice: false,
            resolve: None,
            links: Vec::new(),
        }
    }

    pub fn root(&mut self, kind: TypeId) {
        let place = Place::root(kind.name());
        self.resource(kind, self.container, &place);
    }

    pub fn error(&mut self, code: IssueCode, path: impl FnOnce() -> String, text: impl Into<String>) {
        if self.issues.len() >= MAX_ISSUES {
            self.more += 1;
            return;
        }
        self.issues.push(Issue::error(code, path(), text));
    }

    pub fn warn(&mut self, issue: Issue) {
        if self.issues.len() >= MAX_ISSUES {
            self.more += 1;
        } else {
            self.issues.push(issue);
        }
    }

    pub fn at(&mut self, code: IssueCode, place: &Place, text: impl Into<String>) {
        self.error(code, || place.path(), text);
    }

    /// A resource that is not contained in another: its `#id` references look into itself.
    fn resource(&mut self, kind: TypeId, value: &'r Value, place: &Place) {
        let (Some((_, t)), Value::Object(object)) = (self.definitions.resource(kind), value) else { return };
        let outer =
            (std::mem::replace(&mut self.container, value), std::mem::replace(&mut self.resource, value));
        let links = std::mem::take(&mut self.links);
        self.object(t, value, object, place);
        rule::contained(self, object, place);
        (self.container, self.resource) = outer;
        self.links = links;
    }

    fn nested_resource(&mut self, value: &'r Value, place: &Place) {
        let Value::Object(object) = value else {
            return self.at(IssueCode::Structure, place, "A resource is a JSON object.");
        };
        let kind = match object.get("resourceType") {
            Some(Value::String(name)) => match TypeId::from_name(name) {
                Some(kind) => kind,
                None => {
                    return self.at(
                        IssueCode::Structure,
                        place,
                        "`resourceType` names no FHIR R4 resource type.",
                    );
                }
            },
            _ => return self.at(IssueCode::Structure, place, "A resource needs `resourceType`."),
        };
        if place.name == "contained" {
            if let Some((_, t)) = self.definitions.resource(kind) {
                let outer = std::mem::replace(&mut self.resource, value);
                self.object(t, value, object, place);
                self.resource = outer;
            }
        } else {
            self.resource(kind, value, place);
        }
    }

    /// Checks all members of an object against its type.
    pub fn object(
        &mut self,
        t: &'static TypeDef,
        value: &'r Value,
        object: &'r Map<String, Value>,
        place: &Place,
    ) {
        let before = self.issues.len() + self.more;
        if place.depth >= MAX_DEPTH {
            return self.at(IssueCode::Structure, place, format!("Nested deeper than {MAX_DEPTH} levels."));
        }
        // One bit per element of the type; the definitions' tests hold them to 128.
        let mut present: u128 = 0;
        let mut content = false;
        for (key, value) in object {
            if key == "resourceType" && t.kind.is_some() {
                continue;
            }
            let (name, extends) = match key.strip_prefix('_') {
                Some(name) => (name, true),
                None => (key.as_str(), false),
            };
            let Some((number, element, element_type)) = t.lookup(name) else {
                self.unknown(t, key, place);
                continue;
            };
            content |= name != "id" || t.kind.is_some();
            let place = place.member(name);
            let bit = 1u128 << number;
            if extends {
                self.primitive_extension(element_type, element, value, object.get(name), &place);
                if object.contains_key(name) {
                    continue;
                }
            } else {
                self.value(element_type, element, value, object, &place);
            }
            if element.choice && present & bit != 0 {
                self.at(
                    IssueCode::Structure,
                    &place,
                    format!("Only one `{}[x]` may be given.", element.name),
                );
            }
            present |= bit;
        }
        for (number, element) in t.elements.iter().enumerate() {
            if element.min > 0 && present & (1u128 << number) == 0 {
                self.missing(element, place);
            }
        }
        if !content && t.kind.is_none() {
            let text = "An element must have a value or children; leave it out instead (ele-1).";
            self.at(IssueCode::Invariant, place, text);
        }
        rule::object(self, t, object, place);
        // Rules presume the right structure; without it they would only repeat what was said.
        if self.issues.len() + self.more == before {
            invariant::object(self, t, value, place);
        }
    }

    fn missing(&mut self, element: &Element, place: &Place) {
        let text = if element.choice {
            format!("`{}[x]` is required: one of {}.", element.name, choice_keys(element))
        } else {
            format!("`{}` is required.", element.name)
        };
        self.error(IssueCode::Required, || place.member(element.name).path(), text);
    }

    fn unknown(&mut self, t: &TypeDef, key: &str, place: &Place) {
        let name = key.strip_prefix('_').unwrap_or(key);
        let shown: String = name.chars().take(MAX_NAME).collect();
        let choice = t.elements.iter().find(|e| e.choice && name.starts_with(e.name));
        let text = match choice {
            Some(e) => {
                format!("`{shown}` is not allowed here; `{}[x]` is one of {}.", e.name, choice_keys(e))
            }
            None => match nearest(name, t.keys.keys().map(|(k, _, _)| k)) {
                Some(near) => format!("{} has no element `{shown}`. Did you mean `{near}`?", t.name),
                None => format!("{} has no element `{shown}`.", t.name),
            },
        };
        self.error(IssueCode::Structure, || place.member(name).path(), text);
    }

    fn value(
        &mut self,
        element_type: &'static ElementType,
        element: &'static Element,
        value: &'r Value,
        siblings: &'r Map<String, Value>,
        place: &Place,
    ) {
        let t = self.definitions.type_def(element_type.number);
        match (value, element.is_list()) {
            (Value::Array(items), true) => {
                if items.is_empty() {
                    self.at(IssueCode::Structure, place, "An array may not be empty; leave it out instead.");
                }
                if element.max.is_some_and(|max| items.len() > max as usize) {
                    let text = format!(
                        "`{}` may be given {} times at most.",
                        element.name,
                        element.max.unwrap_or(0)
                    );
                    self.at(IssueCode::Structure, place, text);
                }
                for (n, item) in items.iter().enumerate() {
                    let place = place.item(n);
                    if item.is_null() && t.primitive().is_some() {
                        if !has_extension(siblings, place.name, n) {
                            self.at(
                                IssueCode::Structure,
                                &place,
                                "null may only stand where an extension replaces it.",
                            );
                        }
                        continue;
                    }
                    self.item(t, element_type, element, item, &place);
                }
            }
            (Value::Array(_), false) => {
                self.at(
                    IssueCode::Structure,
                    place,
                    format!("`{}` is a single value, not an array.", place.name),
                );
            }
            (_, true) => {
                self.at(
                    IssueCode::Structure,
                    place,
                    format!("`{}` is an array, even for one value.", place.name),
                );
            }
            (_, false) => self.item(t, element_type, element, value, place),
        }
    }

    fn item(
        &mut self,
        t: &'static TypeDef,
        element_type: &'static ElementType,
        element: &'static Element,
        value: &'r Value,
        place: &Place,
    ) {
        match t.class {
            Class::Primitive(p) => self.primitive(p, element, value, place),
            Class::AbstractResource => self.nested_resource(value, place),
            _ => {
                let Value::Object(object) = value else {
                    return self.at(
                        IssueCode::Structure,
                        place,
                        format!("`{}` is a JSON object.", place.name),
                    );
                };
                self.object(t, value, object, place);
                match t.name {
                    "Reference" => rule::reference(self, &element_type.targets, object, place),
                    "CodeableConcept" | "Coding" => {
                        if let Some(binding) = element.binding {
                            rule::concept(self, binding, value, place);
                        }
                    }
                    _ => {}
                }
            }
        }
    }

    fn primitive(&mut self, p: Primitive, element: &Element, value: &'r Value, place: &Place) {
        match primitive::check(p, value) {
            Ok(()) => {}
            Err(Fault::Type(expected)) => {
                return self.at(IssueCode::Structure, place, format!("`{}` is {expected}.", place.name));
            }
            Err(Fault::Form(form)) => {
                return self.at(IssueCode::Value, place, format!("`{}` must be {form}.", place.name));
            }
            Err(Fault::Markup(fault)) => {
                return self.at(
                    IssueCode::Invariant,
                    place,
                    format!("The narrative {fault} (txt-1, txt-2)."),
                );
            }
            Err(Fault::TooLong) => {
                return self.at(IssueCode::TooLong, place, "A string has at most 1 MB.");
            }
        }
        let Value::String(text) = value else { return };
        if let Some(binding) = element.binding {
            self.code(binding, text, place);
        }
        if p.is_uri()
            && let Some(id) = text.strip_prefix('#')
        {
            self.links.push(id);
        }
    }

    fn code(&mut self, binding: u16, code: &str, place: &Place) {
        let set = &self.definitions.code_sets[usize::from(binding)];
        if set.contains(code) {
            return;
        }
        let all = || set.systems.iter().flat_map(|(_, codes)| codes.iter().copied());
        let hint = match nearest(code, all()) {
            Some(near) => format!("Did you mean `{near}`?"),
            None if all().count() <= MAX_LISTED_CODES => {
                format!("It is one of {}.", all().collect::<Vec<_>>().join(", "))
            }
            None => format!("See {}.", set.url),
        };
        self.at(IssueCode::CodeInvalid, place, format!("The code is not in the required list. {hint}"));
    }

    /// `_name` beside or instead of a primitive `name`.
    fn primitive_extension(
        &mut self,
        element_type: &'static ElementType,
        element: &'static Element,
        value: &'r Value,
        sibling: Option<&'r Value>,
        place: &Place,
    ) {
        let shown = place.name;
        if self.definitions.type_def(element_type.number).primitive().is_none() {
            let text = format!("`_{shown}` may not be used: `{shown}` is no primitive value.");
            return self.at(IssueCode::Structure, place, text);
        }
        let Some(t) = self.definitions.by_name("Element") else { return };
        match (value, element.is_list()) {
            (Value::Object(object), false) => self.object(t, value, object, place),
            (Value::Array(items), true) => {
                let values = sibling.and_then(Value::as_array);
                if values.is_some_and(|v| v.len() != items.len()) || items.is_empty() {
                    let text = format!("`_{shown}` must have as many items as `{shown}`; fill with null.");
                    self.at(IssueCode::Structure, place, text);
                }
                for (n, item) in items.iter().enumerate() {
                    let place = place.item(n);
                    match item {
                        Value::Object(object) => self.object(t, item, object, &place),
                        Value::Null if values.is_some_and(|v| v.get(n).is_some_and(|v| !v.is_null())) => {}
                        Value::Null if values.is_some() => {}
                        _ => self.at(
                            IssueCode::Structure,
                            &place,
                            format!("`_{shown}` holds objects or null."),
                        ),
                    }
                }
            }
            (_, true) => self.at(IssueCode::Structure, place, format!("`_{shown}` is an array.")),
            (_, false) => self.at(IssueCode::Structure, place, format!("`_{shown}` is a JSON object.")),
        }
    }
}

fn has_extension(siblings: &Map<String, Value>, name: &str, index: usize) -> bool {
    siblings.get(&format!("_{name}")).and_then(|v| v.get(index)).is_some_and(Value::is_object)
}

fn choice_keys(element: &Element) -> String {
    let mut out = String::new();
    for (n, t) in element.types.iter().enumerate() {
        if n > 0 {
            out.push_str(", ");
        }
        out.push_str(element.name);
        out.push_str(&t.code[..1].to_ascii_uppercase());
        out.push_str(&t.code[1..]);
    }
    out
}
