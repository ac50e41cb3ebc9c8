//! What a resource must have and has not any more, after something was taken out of it.

use crate::TypeId;
use crate::definitions::{Definitions, TypeDef};
use serde_json::{Map, Value};

const ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";

/// Whether an element stands for something that was taken out of it for who reads it (`data-absent-reason` `masked`).
pub fn is_masked(element: &Value) -> bool {
    let extensions = element.get("extension").and_then(Value::as_array);
    let masked = |one: &Value| {
        one.get("url").and_then(Value::as_str) == Some(ABSENT)
            && one.get("valueCode").and_then(Value::as_str) == Some("masked")
    };
    extensions.into_iter().flatten().any(masked)
}

/// Puts `absent`, an object with an extension that says why, wherever an element is missing that its type requires; for a
/// primitive as its `_name`. JSON that is no R4 resource stays as it is.
pub fn fill_required(resource: &mut Value, absent: &Value) {
    let Some(object) = resource.as_object_mut() else { return };
    let kind = object.get("resourceType").and_then(Value::as_str).and_then(TypeId::from_name);
    let definitions = Definitions::get();
    if let Some((_, t)) = kind.and_then(|kind| definitions.resource(kind)) {
        fill(definitions, t, object, absent);
    }
}

fn fill(
    definitions: &'static Definitions,
    t: &'static TypeDef,
    object: &mut Map<String, Value>,
    absent: &Value,
) {
    for element in t.elements.iter().filter(|element| element.min > 0) {
        let key = |code: &str| match element.choice {
            true => format!("{}{}{}", element.name, code[..1].to_ascii_uppercase(), &code[1..]),
            false => element.name.to_owned(),
        };
        let is_there = element.types.iter().any(|option| {
            let key = key(option.code);
            object.contains_key(&key) || object.contains_key(&format!("_{key}"))
        });
        let (false, Some(option)) = (is_there, element.types.first()) else { continue };
        let value = if element.is_list() { Value::Array(vec![absent.clone()]) } else { absent.clone() };
        let is_primitive = definitions.type_def(option.number).primitive().is_some();
        let key = key(option.code);
        object.insert(if is_primitive { format!("_{key}") } else { key }, value);
    }
    for (key, value) in object.iter_mut() {
        let items = match value {
            Value::Array(items) => items.as_mut_slice(),
            one => std::slice::from_mut(one),
        };
        if items.iter().any(|item| item.get("resourceType").is_some()) {
            items.iter_mut().for_each(|item| fill_required(item, absent));
        } else if let Some((_, _, option)) = t.lookup(key) {
            let t = definitions.type_def(option.number);
            items
                .iter_mut()
                .filter_map(Value::as_object_mut)
                .for_each(|item| fill(definitions, t, item, absent));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_required_says_that_it_is_absent() {
        let absent = json!({"extension": [{"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "masked"}]});
        let mut encounter = json!({"resourceType": "Encounter", "status": "finished",
            "class": {"code": "AMB"}, "diagnosis": [absent.clone(), {"condition": {"reference": "Condition/c"}}]});
        fill_required(&mut encounter, &absent);
        assert_eq!(encounter["diagnosis"][0]["condition"], absent);
        assert_eq!(encounter["diagnosis"][1], json!({"condition": {"reference": "Condition/c"}}));
        let mut bundle = json!({"resourceType": "Bundle", "type": "collection", "entry": [
            {"resource": {"resourceType": "Communication", "status": "completed", "payload": [{}]}}]});
        fill_required(&mut bundle, &absent);
        assert_eq!(bundle["entry"][0]["resource"]["payload"][0], json!({"_contentString": absent}));
        let mut whole = json!({"resourceType": "Patient", "name": [{"family": "Otieno"}]});
        let before = whole.clone();
        fill_required(&mut whole, &absent);
        assert_eq!(whole, before);
    }
}
