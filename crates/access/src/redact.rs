//! Parts of a resource that are hidden from who may see the rest: a reason, a diagnosis, a section, a contained resource.
//!
//! A part carries its seal as DS4P's inline label, so that a version says by itself what of it is sealed, whatever rules
//! come later. Where a part is taken out it says `masked`, and the whole says `SUBSETTED`; with it goes whatever only
//! people can read (narrative, notes, files), because nothing tells which of it speaks of the part. Such a version is
//! refused when it is written back. What is not readable for everybody is not in the index either, so no search tells.

use crate::seal::Seals;
use crate::sensitivity::is_part;
use fhir::{Resource, ResourceKey};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::HashSet;

/// <http://terminology.hl7.org/CodeSystem/v3-ObservationValue>
pub const OBSERVATION_VALUE: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue";
pub const SUBSETTED: &str = "SUBSETTED";
/// Security integrity: something was taken out for who reads it.
pub const REDACTED: &str = "REDACTED";
/// On a part: what it is sealed as, a Coding. <https://build.fhir.org/ig/HL7/fhir-security-label-ds4p/>
pub const INLINE_LABEL: &str =
    "http://hl7.org/fhir/uv/security-label-ds4p/StructureDefinition/extension-inline-sec-label";
/// On `meta`: there are labelled parts.
pub const HAS_INLINE_LABEL: &str =
    "http://hl7.org/fhir/uv/security-label-ds4p/StructureDefinition/extension-has-inline-sec-label";
const ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";
const MASKED: &str = "masked";

/// Whether a version says that it is not whole. It must not replace what it was cut from.
pub fn is_subsetted(resource: &Resource) -> bool {
    ["tag", "security"].into_iter().any(|list| {
        let all = resource.get("meta").and_then(|m| m.get(list)).and_then(Value::as_array);
        all.into_iter().flatten().any(|coding| {
            coding.get("code").and_then(Value::as_str) == Some(SUBSETTED)
                && coding.get("system").and_then(Value::as_str).is_none_or(|s| s == OBSERVATION_VALUE)
        })
    })
}

/// The Coding that says it.
pub fn tag() -> Value {
    json!({"system": OBSERVATION_VALUE, "code": SUBSETTED})
}

/// What stands for a hidden part.
fn masked() -> Value {
    json!({"extension": [{"url": ABSENT, "valueCode": MASKED}]})
}

/// Whether the resource says that parts of it are labelled; written versions say so rightly.
pub fn has_parts(resource: &Resource) -> bool {
    let extensions = resource.get("meta").and_then(|m| m.get("extension")).and_then(Value::as_array);
    extensions.into_iter().flatten().any(|e| e.get("url").and_then(Value::as_str) == Some(HAS_INLINE_LABEL))
}

/// What the labelled parts of a resource are sealed as.
pub fn parts(resource: &Resource) -> Seals {
    if !has_parts(resource) {
        return Seals::NONE;
    }
    let mut seals = Seals::NONE;
    collect(resource.value(), &mut seals);
    seals
}

fn collect(value: &Value, seals: &mut Seals) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| collect(item, seals)),
        Value::Object(object) => {
            *seals = seals.with(label_of(object));
            object.values().for_each(|member| collect(member, seals));
        }
        _ => {}
    }
}

/// The label of one part.
fn label_of(part: &Map<String, Value>) -> Seals {
    let Some(extensions) = part.get("extension").and_then(Value::as_array) else { return Seals::NONE };
    extensions
        .iter()
        .filter(|one| one.get("url").and_then(Value::as_str) == Some(INLINE_LABEL))
        .filter_map(|one| one.get("valueCoding"))
        .fold(Seals::NONE, |all, coding| all.with(Seals::of_coding(coding)))
}

/// Adds what is missing to the label of a part.
pub(crate) fn label_part(part: &mut Map<String, Value>, seals: Seals) {
    let missing = seals.without(label_of(part));
    if missing.is_none() {
        return;
    }
    let list = part.entry("extension").or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        list.extend(missing.codings().into_iter().map(|c| json!({"url": INLINE_LABEL, "valueCoding": c})));
    }
}

/// Says on `meta` whether there are labelled parts.
pub(crate) fn flag_parts(resource: &mut Resource) {
    let mut seals = Seals::NONE;
    collect(resource.value(), &mut seals);
    if seals.is_none() || has_parts(resource) {
        return;
    }
    let Some(object) = resource.value_mut().as_object_mut() else { return };
    if !object.get("meta").is_some_and(Value::is_object) {
        object.insert("meta".to_owned(), json!({}));
    }
    let Some(meta) = object.get_mut("meta").and_then(Value::as_object_mut) else { return };
    let list = meta.entry("extension").or_insert_with(|| json!([]));
    if let Some(list) = list.as_array_mut() {
        list.push(json!({"url": HAS_INLINE_LABEL, "valueBoolean": true}));
    }
}

/// The resource for who may not see parts of these categories, nor the resources in `hidden`; `None` if nothing of it is
/// hidden.
pub fn redact(resource: &Resource, closed: Seals, hidden: &HashSet<ResourceKey>) -> Option<Resource> {
    let mut shown = cut(resource, closed, hidden)?;
    let mut open = Seals::NONE;
    collect(shown.value(), &mut open);
    let labelled = !open.is_none();
    // A diagnosis without a condition would be no valid one: others' programs refuse the whole visit.
    fhir::fill_required(shown.value_mut(), &masked());
    let object = shown.value_mut().as_object_mut()?;
    let meta = object.entry("meta").or_insert_with(|| json!({}));
    let meta = meta.as_object_mut()?;
    // Labels of parts that are open to this reader stay, and so does the word that there are some.
    if !labelled && let Some(list) = meta.get_mut("extension").and_then(Value::as_array_mut) {
        list.retain(|one| one.get("url").and_then(Value::as_str) != Some(HAS_INLINE_LABEL));
        if list.is_empty() {
            meta.shift_remove("extension");
        }
    }
    let redacted = json!({"system": OBSERVATION_VALUE, "code": REDACTED});
    for (name, codings) in [("security", vec![tag(), redacted]), ("tag", vec![tag()])] {
        let list = meta.entry(name).or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.extend(codings);
        }
    }
    Some(shown)
}

/// What of the resource may be indexed: a part that some may not see answers no search.
pub fn indexable(resource: &Resource) -> Cow<'_, Resource> {
    if !has_parts(resource) {
        return Cow::Borrowed(resource);
    }
    match cut(resource, Seals::ALL, &HashSet::new()) {
        Some(shown) => Cow::Owned(shown),
        None => Cow::Borrowed(resource),
    }
}

/// What `sent` makes of `before`, where `sent` was made of `shown`, which is `before` without its hidden parts: those stay
/// as they are. Errors: the element that was changed although something in it is hidden.
pub fn restore(before: &Resource, shown: &Resource, sent: &Resource) -> Result<Resource, String> {
    let (Some(old), Some(seen), Some(new)) =
        (before.value().as_object(), shown.value().as_object(), sent.value().as_object())
    else {
        return Err(String::new());
    };
    let mut whole = Map::new();
    // In the order of what is there, new elements last.
    for name in old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))) {
        let (was, visible, wanted) = (old.get(name), seen.get(name), new.get(name));
        let value = if name == "meta" || visible == wanted {
            was
        } else if visible == was {
            wanted
        } else {
            return Err(name.clone());
        };
        if let Some(value) = value {
            whole.insert(name.clone(), value.clone());
        }
    }
    Resource::from_value(Value::Object(whole)).map_err(|_| String::new())
}

fn cut(resource: &Resource, closed: Seals, hidden: &HashSet<ResourceKey>) -> Option<Resource> {
    let mut shown = resource.clone();
    let kind = resource.kind().name();
    let mut cutting = Cutting { closed, hidden, gone: HashSet::new() };
    let object = shown.value_mut().as_object_mut()?;
    let mut any = false;
    // First, so that references to what goes are known.
    if let Some(list) = object.get_mut("contained").and_then(Value::as_array_mut) {
        let before = list.len();
        list.retain(|one| {
            let goes = one.as_object().is_some_and(|o| label_of(o).meets(closed));
            if goes && let Some(id) = one.get("id").and_then(Value::as_str) {
                cutting.gone.insert(format!("#{id}"));
            }
            !goes
        });
        any |= list.len() < before;
        if list.is_empty() {
            object.shift_remove("contained");
        }
    }
    for (name, member) in object.iter_mut() {
        if !matches!(name.as_str(), "meta" | "text") {
            any |= if is_part(kind, name) { cutting.units(name, member) } else { cutting.visit(member) };
        }
    }
    if !any {
        return None;
    }
    drop_siblings(object);
    silence(object);
    Some(shown)
}

struct Cutting<'a> {
    closed: Seals,
    hidden: &'a HashSet<ResourceKey>,
    /// `#id` of contained resources that were taken out.
    gone: HashSet<String>,
}

impl Cutting<'_> {
    /// Items of a part: one whose only references lead to what is hidden goes as a whole.
    fn units(&self, name: &str, value: &mut Value) -> bool {
        match value {
            Value::Array(items) => {
                // Not `any`: each of them is looked at.
                items.iter_mut().fold(false, |cut, item| self.units(name, item) | cut)
            }
            Value::Object(unit) => {
                if !self.is_hidden(unit) {
                    let (mut open, mut closed) = (0_usize, 0_usize);
                    unit.iter()
                        .filter(|(member, _)| *member != name)
                        .for_each(|(_, member)| self.count(member, &mut open, &mut closed));
                    if closed == 0 || open > 0 {
                        let nested = unit.get_mut(name).is_some_and(|nested| self.units(name, nested));
                        let rest = unit
                            .iter_mut()
                            .filter(|(member, _)| *member != name)
                            .fold(false, |cut, (_, member)| self.visit(member) | cut);
                        return nested | rest;
                    }
                }
                *value = masked();
                true
            }
            _ => false,
        }
    }

    fn visit(&self, value: &mut Value) -> bool {
        match value {
            Value::Array(items) => items.iter_mut().fold(false, |cut, item| self.visit(item) | cut),
            Value::Object(object) => {
                if self.is_hidden(object) {
                    *value = masked();
                    return true;
                }
                object.iter_mut().fold(false, |cut, (_, member)| self.visit(member) | cut)
            }
            _ => false,
        }
    }

    /// A labelled part, or a reference to what is hidden.
    fn is_hidden(&self, object: &Map<String, Value>) -> bool {
        label_of(object).meets(self.closed) || self.leads_nowhere(object) == Some(true)
    }

    /// `None` for what is no reference.
    fn leads_nowhere(&self, object: &Map<String, Value>) -> Option<bool> {
        let text = object.get("reference")?.as_str()?;
        if text.starts_with('#') {
            return Some(self.gone.contains(text));
        }
        let key = text.split("/_history/").next().and_then(ResourceKey::parse);
        Some(key.is_some_and(|key| self.hidden.contains(&key)))
    }

    fn count(&self, value: &Value, open: &mut usize, closed: &mut usize) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.count(item, open, closed)),
            Value::Object(object) => {
                match self.leads_nowhere(object) {
                    Some(true) => *closed += 1,
                    Some(false) => *open += 1,
                    None => {}
                }
                object.values().for_each(|member| self.count(member, open, closed));
            }
            _ => {}
        }
    }
}

fn is_masked(value: &Value) -> bool {
    value.pointer("/extension/0/valueCode").and_then(Value::as_str) == Some(MASKED)
}

/// A primitive whose own extension was labelled goes with it.
fn drop_siblings(object: &mut Map<String, Value>) {
    let gone: Vec<String> = object
        .iter()
        .filter(|(_, member)| is_masked(member))
        .filter_map(|(name, _)| name.strip_prefix('_'))
        .map(str::to_owned)
        .collect();
    for name in gone {
        object.shift_remove(&name);
    }
    object.values_mut().for_each(|member| match member {
        Value::Object(inner) => drop_siblings(inner),
        Value::Array(items) => items.iter_mut().filter_map(Value::as_object_mut).for_each(drop_siblings),
        _ => {}
    });
}

/// Takes out what only people can read: narratives, notes, free text and files.
fn silence(object: &mut Map<String, Value>) {
    object.retain(|name, member| match name.as_str() {
        "text" => member.get("div").is_none(),
        "note" => false,
        "comment" | "description" | "conclusion" | "patientInstruction" | "summary" | "valueString"
        | "contentString" | "details" => !member.is_string(),
        _ => true,
    });
    for (_, member) in object.iter_mut() {
        quiet(member);
    }
}

fn quiet(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(quiet),
        Value::Object(object) => {
            if is_file(object) {
                *value = masked();
            } else {
                silence(object);
            }
        }
        _ => {}
    }
}

/// An Attachment, as far as it holds or leads to something.
fn is_file(object: &Map<String, Value>) -> bool {
    let has = |name: &str| object.get(name).is_some_and(Value::is_string);
    has("contentType") && !has("resourceType") && ["data", "url", "hash", "title"].into_iter().any(has)
        || (has("data") && !has("resourceType"))
}
