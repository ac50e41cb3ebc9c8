//! What becomes of the two Patients themselves: links, numbers and names; and of references to them.

use super::rule;
use crate::Error;
use fhir::search::{references, rewrite_references};
use fhir::{Reference, Resource, ResourceKey};
use serde_json::{Value, json};

/// Turns every reference to `from` into one to `to`, and one to a version of it too: the other record has no such version.
pub(super) fn point(resource: &mut Resource, from: &ResourceKey, to: &ResourceKey) {
    let (from, to) = (from.to_string(), to.to_string());
    let means_it = |text: &str| {
        text.strip_prefix(&from).is_some_and(|rest| rest.is_empty() || rest.starts_with("/_history/"))
    };
    rewrite_references(resource, &mut |text| means_it(text).then(|| to.clone()));
}

/// Whether the resource refers to `key`, extensions included.
pub(super) fn local(resource: &Resource, key: &ResourceKey) -> bool {
    let is_it = |(_, reference)| matches!(reference, Reference::Local { key: found, .. } if found == *key);
    references(resource).into_iter().any(is_it)
}

pub(super) fn link_of(patient: &Resource, kind: &str) -> Option<ResourceKey> {
    let links = patient.get("link")?.as_array()?;
    let link = links.iter().find(|link| link["type"] == kind)?;
    ResourceKey::parse(link["other"]["reference"].as_str()?)
}

fn is_link(link: &Value, other: &ResourceKey, kind: &str) -> bool {
    link["type"] == kind && link["other"]["reference"] == other.to_string().as_str()
}

pub(super) fn add_link(patient: &mut Resource, other: &ResourceKey, kind: &str) {
    let mut links = patient.get("link").and_then(Value::as_array).cloned().unwrap_or_default();
    if !links.iter().any(|link| is_link(link, other, kind)) {
        links.push(json!({"other": {"reference": other.to_string()}, "type": kind}));
        patient.set("link", Value::Array(links));
    }
}

pub(super) fn remove_link(patient: &mut Resource, other: &ResourceKey, kind: &str) {
    let mut links = patient.get("link").and_then(Value::as_array).cloned().unwrap_or_default();
    links.retain(|link| !is_link(link, other, kind));
    patient.set("link", if links.is_empty() { Value::Null } else { Value::Array(links) });
}

/// A record that was decided upon is no open question any more.
pub(crate) fn drop_duplicate_tag(patient: &mut Resource) {
    let Some(mut meta) = patient.get("meta").cloned() else { return };
    if let Some(tags) = meta.get_mut("tag").and_then(Value::as_array_mut) {
        tags.retain(|t| t["code"] != "possible-duplicate");
        if tags.is_empty() {
            meta.as_object_mut().map(|m| m.shift_remove("tag"));
        }
    }
    patient.set("meta", meta);
}

/// What makes two entries of a list the same.
fn same(list: &str, a: &Value, b: &Value) -> bool {
    match list {
        "identifier" | "telecom" => a["system"] == b["system"] && a["value"] == b["value"],
        "name" => (&a["family"], &a["given"], &a["text"]) == (&b["family"], &b["given"], &b["text"]),
        _ => a == b,
    }
}

fn list_of<'a>(patient: &'a Resource, list: &str) -> &'a [Value] {
    patient.get(list).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// The target, with what only the source knows: its numbers, ways to reach her and names, marked as old where that can
/// be said; facts that the target lacks.
pub(super) fn joined(mut kept: Resource, old: &Resource, source: &ResourceKey) -> Resource {
    for list in ["identifier", "telecom", "name"] {
        let mut all = list_of(&kept, list).to_vec();
        let had_any = !all.is_empty();
        for entry in list_of(old, list) {
            if all.iter().any(|known| same(list, known, entry)) {
                continue;
            }
            let mut entry = entry.clone();
            // The phone of the source is a phone still; its numbers and names are those of a record out of use.
            if list != "telecom" && had_any {
                entry["use"] = json!("old");
            }
            all.push(entry);
        }
        if !all.is_empty() {
            kept.set(list, Value::Array(all));
        }
    }
    for element in ["gender", "birthDate", "address", "maritalStatus", "communication", "contact"] {
        if kept.get(element).is_none()
            && let Some(value) = old.get(element)
        {
            kept.set(element, value.clone());
        }
    }
    add_link(&mut kept, source, "replaces");
    kept
}

/// A result as the client wants it. Errors: `Rule` `merge-result` where it drops what must stay.
pub(super) fn asked(
    result: &Resource,
    kept: &Resource,
    old: &Resource,
    source: &ResourceKey,
    target: &ResourceKey,
) -> Result<Resource, Error> {
    if result.key().as_ref() != Some(target) {
        return Err(rule("merge-result", "The result must be the target: the same type and id."));
    }
    for patient in [kept, old] {
        for identifier in list_of(patient, "identifier") {
            if !list_of(result, "identifier").iter().any(|known| same("identifier", known, identifier)) {
                return Err(rule("merge-result", "The result must carry the identifiers of both records."));
            }
        }
    }
    if result.get("active") == Some(&Value::Bool(false)) {
        return Err(rule("merge-result", "The result is the record that stays in use."));
    }
    let mut result = result.clone();
    add_link(&mut result, source, "replaces");
    Ok(result)
}

/// Takes out of a list what came from the source by the merge.
pub(super) fn forget(now: &mut Resource, before: &Resource, source: &Resource, list: &str) {
    let entries = list_of(now, list);
    let is_own = |entry: &Value| {
        list_of(before, list).iter().any(|known| same(list, known, entry))
            || !list_of(source, list).iter().any(|theirs| same(list, theirs, entry))
    };
    let left: Vec<Value> = entries.iter().filter(|entry| is_own(entry)).cloned().collect();
    if left.len() < entries.len() {
        now.set(list, if left.is_empty() { Value::Null } else { Value::Array(left) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patient(value: Value) -> Resource {
        let mut base = json!({"resourceType": "Patient"});
        for (name, part) in value.as_object().unwrap() {
            base[name] = part.clone();
        }
        Resource::from_value(base).unwrap()
    }

    #[test]
    fn the_target_learns_what_only_the_source_knew() {
        let kept = patient(json!({"id": "t", "name": [{"family": "Njoroge", "given": ["Amina"]}],
            "identifier": [{"system": "s", "value": "1"}], "birthDate": "1994-05-17"}));
        let old = patient(json!({"id": "s", "name": [{"family": "Njoroge", "given": ["Aminah"]}],
            "identifier": [{"system": "s", "value": "1"}, {"system": "s", "value": "2"}], "birthDate": "1994-01-01",
            "gender": "female", "telecom": [{"system": "phone", "value": "1"}]}));
        let source = ResourceKey::parse("Patient/s").unwrap();
        let result = joined(kept.clone(), &old, &source);
        assert_eq!(result.get("identifier").unwrap()[1], json!({"system": "s", "value": "2", "use": "old"}));
        assert_eq!(result.get("name").unwrap()[1]["use"], "old");
        assert_eq!(result.get("telecom").unwrap()[0].get("use"), None);
        assert_eq!((result.text("birthDate"), result.text("gender")), (Some("1994-05-17"), Some("female")));
        assert_eq!(link_of(&result, "replaces"), Some(source.clone()));

        let mut back = result;
        remove_link(&mut back, &source, "replaces");
        for list in ["identifier", "telecom", "name"] {
            forget(&mut back, &kept, &old, list);
        }
        back.set("gender", Value::Null);
        assert_eq!(back, kept);
    }

    #[test]
    fn a_result_that_drops_a_number_is_refused() {
        let kept = patient(json!({"id": "t", "identifier": [{"system": "s", "value": "1"}]}));
        let old = patient(json!({"id": "s", "identifier": [{"system": "s", "value": "2"}]}));
        let (source, target) =
            (ResourceKey::parse("Patient/s").unwrap(), ResourceKey::parse("Patient/t").unwrap());
        assert!(asked(&kept, &kept, &old, &source, &target).is_err());
        let both = patient(json!({"id": "t", "identifier": [
            {"system": "s", "value": "1"}, {"system": "s", "value": "2"}]}));
        assert!(asked(&both, &kept, &old, &source, &target).is_ok());
        assert!(asked(&both, &kept, &old, &target, &source).is_err());
    }
}
