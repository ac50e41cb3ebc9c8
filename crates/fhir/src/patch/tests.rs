use super::{json, json_patch, path_patch};
use crate::{IssueCode, Resource, TypeId};
use serde_json::{Value, json};

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// The cases of RFC 6902 appendix A and of §4, and a few of our own at the edges.
#[test]
fn json_patch_operations() {
    for (document, patch, expected) in [
        // A.1 to A.5: members and items, added, removed, replaced.
        (r#"{"a":1}"#, r#"[{"op":"add","path":"/b","value":2}]"#, r#"{"a":1,"b":2}"#),
        (r#"{"a":[1,3]}"#, r#"[{"op":"add","path":"/a/1","value":2}]"#, r#"{"a":[1,2,3]}"#),
        (r#"{"b":2,"a":1}"#, r#"[{"op":"remove","path":"/b"}]"#, r#"{"a":1}"#),
        (r#"{"a":[1,2,3]}"#, r#"[{"op":"remove","path":"/a/1"}]"#, r#"{"a":[1,3]}"#),
        (r#"{"b":2,"a":1}"#, r#"[{"op":"replace","path":"/b","value":3}]"#, r#"{"b":3,"a":1}"#),
        // A.6, A.7: move.
        (
            r#"{"a":{"x":1,"y":2},"b":{"z":3}}"#,
            r#"[{"op":"move","from":"/a/y","path":"/b/y"}]"#,
            r#"{"a":{"x":1},"b":{"z":3,"y":2}}"#,
        ),
        (r#"{"a":[1,2,3,4]}"#, r#"[{"op":"move","from":"/a/1","path":"/a/3"}]"#, r#"{"a":[1,3,4,2]}"#),
        // A.8: test.
        (
            r#"{"a":"x","b":["y",2,"z"]}"#,
            r#"[{"op":"test","path":"/a","value":"x"},{"op":"test","path":"/b/1","value":2.0}]"#,
            r#"{"a":"x","b":["y",2,"z"]}"#,
        ),
        // A.10, A.11: nested members; members of an operation that nobody knows.
        (r#"{"a":1}"#, r#"[{"op":"add","path":"/c","value":{"d":{}}}]"#, r#"{"a":1,"c":{"d":{}}}"#),
        (r#"{"a":1}"#, r#"[{"op":"add","path":"/b","value":2,"xyz":3}]"#, r#"{"a":1,"b":2}"#),
        // A.14 to A.16: escapes, strings that look like numbers, arrays within arrays.
        (
            r#"{"/":9,"~1":10}"#,
            r#"[{"op":"test","path":"/~01","value":10},{"op":"replace","path":"/~1","value":1}]"#,
            r#"{"/":1,"~1":10}"#,
        ),
        (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/-","value":["b","c"]}]"#, r#"{"a":[1,["b","c"]]}"#),
        // The whole document; null as a value; a member called "-" or "0".
        (r#"{"a":1}"#, r#"[{"op":"replace","path":"","value":[1]}]"#, r#"[1]"#),
        (r#"{"a":1}"#, r#"[{"op":"add","path":"/a","value":null}]"#, r#"{"a":null}"#),
        (
            r#"{}"#,
            r#"[{"op":"add","path":"/-","value":1},{"op":"add","path":"/0","value":2}]"#,
            r#"{"-":1,"0":2}"#,
        ),
        (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/1","value":2}]"#, r#"{"a":[1,2]}"#),
        (r#"{"a":1}"#, r#"[{"op":"copy","from":"/a","path":"/b"}]"#, r#"{"a":1,"b":1}"#),
        (r#"{"a":1}"#, r#"[{"op":"move","from":"/a","path":"/a"}]"#, r#"{"a":1}"#),
        (r#"{"":{"":1}}"#, r#"[{"op":"replace","path":"//","value":2}]"#, r#"{"":{"":2}}"#),
        (
            r#"{"a":{"b":1.50}}"#,
            r#"[{"op":"test","path":"","value":{"a":{"b":1.5}}},{"op":"add","path":"/a/c","value":1.00}]"#,
            r#"{"a":{"b":1.50,"c":1.00}}"#,
        ),
    ] {
        let result = json::apply(&parsed(document), &parsed(patch));
        assert_eq!(result, Ok(parsed(expected)), "{document} {patch}");
    }
}

#[test]
fn json_patch_refusals() {
    use IssueCode as C;
    for (document, patch, code, place) in [
        (r#"{"a":1}"#, r#"{"op":"add"}"#, C::Structure, ""),
        (r#"{"a":1}"#, r#"[1]"#, C::Structure, "[0]"),
        (r#"{"a":1}"#, r#"[{"path":"/a"}]"#, C::Required, "[0].op"),
        (r#"{"a":1}"#, r#"[{"op":"inc","path":"/a"}]"#, C::Structure, "[0].op"),
        (r#"{"a":1}"#, r#"[{"op":"add","path":"/b"}]"#, C::Required, "[0].value"),
        (r#"{"a":1}"#, r#"[{"op":"remove"}]"#, C::Required, "[0].path"),
        (r#"{"a":1}"#, r#"[{"op":"remove","path":1}]"#, C::Structure, "[0].path"),
        (r#"{"a":1}"#, r#"[{"op":"copy","path":"/b"}]"#, C::Required, "[0].from"),
        (
            r#"{"a":1}"#,
            r#"[{"op":"test","path":"/a","value":1},{"op":"remove","path":"/x"}]"#,
            C::Value,
            "[1].path",
        ),
        (r#"{"a":1}"#, r#"[{"op":"replace","path":"/x","value":1}]"#, C::Value, "[0].path"),
        (r#"{"a":1}"#, r#"[{"op":"remove","path":""}]"#, C::Value, "[0].path"),
        // A.9, A.12, A.15: a failed test, a parent that is not there, a number that is no text.
        (r#"{"a":1}"#, r#"[{"op":"test","path":"/a","value":2}]"#, C::Conflict, "[0].value"),
        (r#"{"a":1}"#, r#"[{"op":"add","path":"/b/c","value":2}]"#, C::Value, "[0].path"),
        (r#"{"~1":10}"#, r#"[{"op":"test","path":"/~01","value":"10"}]"#, C::Conflict, "[0].value"),
        (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/2","value":2}]"#, C::Value, "[0].path"),
        (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/01","value":2}]"#, C::Value, "[0].path"),
        (r#"{"a":[1]}"#, r#"[{"op":"add","path":"/a/x","value":2}]"#, C::Value, "[0].path"),
        (r#"{"a":[1]}"#, r#"[{"op":"remove","path":"/a/-"}]"#, C::Value, "[0].path"),
        (r#"{"a":[1]}"#, r#"[{"op":"remove","path":"/a/+0"}]"#, C::Value, "[0].path"),
        (r#"{"a":1}"#, r#"[{"op":"add","path":"/a/b","value":2}]"#, C::Value, "[0].path"),
        (r#"{"a":{}}"#, r#"[{"op":"move","from":"/a","path":"/a/b"}]"#, C::Value, "[0].path"),
        (r#"{"a":1}"#, r#"[{"op":"remove","path":"a"}]"#, C::Structure, "[0].path"),
        (r#"{"a":1}"#, r#"[{"op":"remove","path":"/~2"}]"#, C::Structure, "[0].path"),
    ] {
        let outcome = json_patch(&parsed(document), &parsed(patch)).unwrap_err();
        let issue = &outcome.issues[0];
        assert_eq!((issue.code, issue.expression.as_str()), (code, place), "{document} {patch}: {outcome}");
    }
    // A copy of a copy of a copy: cut off before it fills the memory.
    let double = json!({"op": "copy", "from": "/a", "path": "/a/-"});
    let patch = Value::Array(vec![double; 60]);
    assert!(json_patch(&json!({"a": [1, 2, 3]}), &patch).is_err());
    let many = Value::Array(vec![json!({"op": "test", "path": "", "value": {}}); 1001]);
    assert_eq!(json_patch(&json!({}), &many).unwrap_err().issues[0].code, C::TooLong);
}

#[test]
fn nothing_empty_is_left() {
    let patch =
        json!([{"op": "remove", "path": "/name/0"}, {"op": "remove", "path": "/contact/0/name/text"}]);
    let patient =
        json!({"resourceType": "Patient", "name": [{"text": "a"}], "contact": [{"name": {"text": "b"}}]});
    assert_eq!(json_patch(&patient, &patch), Ok(json!({"resourceType": "Patient"})));
}

fn patch(operations: &Value) -> Resource {
    let parameter: Vec<Value> = operations
        .as_array()
        .unwrap()
        .iter()
        .map(|o| {
            let part: Vec<Value> = o
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, v)| match (name.as_str(), v) {
                    ("value", Value::Object(o)) => {
                        let mut part = o.clone();
                        part.insert("name".into(), json!("value"));
                        Value::Object(part)
                    }
                    ("index" | "source" | "destination", v) => json!({"name": name, "valueInteger": v}),
                    ("type", v) => json!({"name": name, "valueCode": v}),
                    (_, v) => json!({"name": name, "valueString": v}),
                })
                .collect();
            json!({"name": "operation", "part": part})
        })
        .collect();
    Resource::from_value(json!({"resourceType": "Parameters", "parameter": parameter})).unwrap()
}

fn patched(body: Value, operations: Value) -> Result<Value, crate::Outcome> {
    let mut value = json!({"resourceType": "Patient"});
    for (k, v) in body.as_object().unwrap() {
        value[k] = v.clone();
    }
    let result = path_patch(&Resource::from_value(value).unwrap(), &patch(&operations))?;
    let mut value = result.into_value();
    value.as_object_mut().unwrap().shift_remove("resourceType");
    Ok(value)
}

/// What the official cases of FHIRPath Patch ask for, and what they leave out.
#[test]
fn path_patch_operations() {
    let url = "http://example.org/x";
    for (body, operations, expected) in [
        // Primitives.
        (
            json!({}),
            json!([{"type": "add", "path": "Patient", "name": "birthDate", "value": {"valueDate": "1930-01-01"}}]),
            json!({"birthDate": "1930-01-01"}),
        ),
        (
            json!({"birthDate": "1920-01-01"}),
            json!([{"type": "replace", "path": "Patient.birthDate", "value": {"valueDate": "1930-01-01"}}]),
            json!({"birthDate": "1930-01-01"}),
        ),
        (
            json!({"birthDate": "1920-01-01"}),
            json!([{"type": "delete", "path": "Patient.birthDate"}]),
            json!({}),
        ),
        (
            json!({"gender": "male"}),
            json!([{"type": "delete", "path": "Patient.birthDate"}]),
            json!({"gender": "male"}),
        ),
        // Within complex types.
        (
            json!({"contact": [{"name": {"text": "a"}, "gender": "male"}]}),
            json!([{"type": "replace", "path": "Patient.contact[0].gender", "value": {"valueCode": "female"}}]),
            json!({"contact": [{"name": {"text": "a"}, "gender": "female"}]}),
        ),
        (
            json!({"contact": [{"name": {"text": "a"}, "gender": "male"}]}),
            json!([{"type": "delete", "path": "Patient.contact[0].gender"}]),
            json!({"contact": [{"name": {"text": "a"}}]}),
        ),
        (
            json!({"contact": [{"name": {"text": "a"}}]}),
            json!([{"type": "add", "path": "Patient.contact[0]", "name": "gender", "value": {"valueCode": "male"}}]),
            json!({"contact": [{"name": {"text": "a"}, "gender": "male"}]}),
        ),
        // Complex types, named and anonymous.
        (
            json!({}),
            json!([{"type": "add", "path": "Patient", "name": "maritalStatus", "value": {"valueCodeableConcept": {"text": "m"}}}]),
            json!({"maritalStatus": {"text": "m"}}),
        ),
        (
            json!({"maritalStatus": {"text": "s"}}),
            json!([{"type": "replace", "path": "Patient.maritalStatus", "value": {"valueCodeableConcept": {"text": "m"}}}]),
            json!({"maritalStatus": {"text": "m"}}),
        ),
        (
            json!({}),
            json!([{"type": "add", "path": "Patient", "name": "contact", "value": {"part": [
            {"name": "name", "valueHumanName": {"text": "a"}}, {"name": "gender", "valueCode": "female"},
            {"name": "relationship", "valueCodeableConcept": {"text": "r"}}, {"name": "relationship", "valueCodeableConcept": {"text": "q"}}]}}]),
            json!({"contact": [{"name": {"text": "a"}, "gender": "female", "relationship": [{"text": "r"}, {"text": "q"}]}]}),
        ),
        (
            json!({"contact": [{"gender": "male"}]}),
            json!([{"type": "replace", "path": "Patient.contact[0]", "value": {"part": [
            {"name": "name", "valueHumanName": {"text": "a"}}]}}]),
            json!({"contact": [{"name": {"text": "a"}}]}),
        ),
        (
            json!({}),
            json!([{"type": "add", "path": "Patient", "name": "extension", "value": {"part": [
            {"name": "url", "valueUri": url}, {"name": "value", "valueBoolean": true}]}}]),
            json!({"extension": [{"url": url, "valueBoolean": true}]}),
        ),
        // Lists: a list that grows, is cut, is put in order.
        (
            json!({"identifier": [{"value": "1"}]}),
            json!([{"type": "add", "path": "Patient", "name": "identifier", "value": {"valueIdentifier": {"value": "2"}}}]),
            json!({"identifier": [{"value": "1"}, {"value": "2"}]}),
        ),
        (
            json!({"identifier": [{"value": "1"}, {"value": "3"}]}),
            json!([{"type": "insert", "path": "Patient.identifier", "index": 1, "value": {"valueIdentifier": {"value": "2"}}}]),
            json!({"identifier": [{"value": "1"}, {"value": "2"}, {"value": "3"}]}),
        ),
        (
            json!({"identifier": [{"value": "1"}]}),
            json!([{"type": "insert", "path": "Patient.identifier", "index": 1, "value": {"valueIdentifier": {"value": "2"}}}]),
            json!({"identifier": [{"value": "1"}, {"value": "2"}]}),
        ),
        (
            json!({}),
            json!([{"type": "insert", "path": "Patient.identifier", "index": 0, "value": {"valueIdentifier": {"value": "1"}}}]),
            json!({"identifier": [{"value": "1"}]}),
        ),
        (
            json!({"identifier": [{"value": "1"}, {"value": "2"}, {"value": "3"}]}),
            json!([{"type": "delete", "path": "Patient.identifier[1]"}]),
            json!({"identifier": [{"value": "1"}, {"value": "3"}]}),
        ),
        (
            json!({"identifier": [{"value": "1"}, {"value": "2"}]}),
            json!([{"type": "delete", "path": "Patient.identifier.where(value = '1')"}]),
            json!({"identifier": [{"value": "2"}]}),
        ),
        (
            json!({"identifier": [{"value": "1"}, {"value": "2"}, {"value": "3"}, {"value": "4"}]}),
            json!([{"type": "move", "path": "Patient.identifier", "source": 3, "destination": 1}]),
            json!({"identifier": [{"value": "1"}, {"value": "4"}, {"value": "2"}, {"value": "3"}]}),
        ),
        (
            json!({"identifier": [{"value": "1"}, {"value": "2"}, {"value": "3"}]}),
            json!([{"type": "move", "path": "Patient.identifier", "source": 0, "destination": 2},
                {"type": "move", "path": "Patient.identifier", "source": 1, "destination": 0}]),
            json!({"identifier": [{"value": "3"}, {"value": "2"}, {"value": "1"}]}),
        ),
        // Lists of primitives keep their extensions beside them.
        (
            json!({"name": [{"given": ["a", "c"], "_given": [null, {"id": "x"}]}]}),
            json!([{"type": "insert", "path": "Patient.name[0].given", "index": 1, "value": {"valueString": "b"}}]),
            json!({"name": [{"given": ["a", "b", "c"], "_given": [null, null, {"id": "x"}]}]}),
        ),
        (
            json!({"name": [{"given": ["a", "c"], "_given": [null, {"id": "x"}]}]}),
            json!([{"type": "delete", "path": "Patient.name.given[1]"}]),
            json!({"name": [{"given": ["a"]}]}),
        ),
        (
            json!({"name": [{"given": ["a", "b"]}]}),
            json!([{"type": "add", "path": "Patient.name.given[1]", "name": "extension", "value": {"part": [
            {"name": "url", "valueUri": url}, {"name": "valueString", "valueString": "v"}]}}]),
            json!({"name": [{"given": ["a", "b"], "_given": [null, {"extension": [{"url": url, "valueString": "v"}]}]}]}),
        ),
        (
            json!({"birthDate": "1930", "_birthDate": {"extension": [{"url": url, "valueString": "v"}]}}),
            json!([{"type": "replace", "path": "Patient.birthDate.extension.where(url = 'http://example.org/x').value", "value": {"valueInteger": 3}}]),
            json!({"birthDate": "1930", "_birthDate": {"extension": [{"url": url, "valueInteger": 3}]}}),
        ),
        (
            json!({"_birthDate": {"extension": [{"url": url, "valueString": "v"}]}}),
            json!([{"type": "replace", "path": "Patient.birthDate", "value": {"valueDate": "1930"}}]),
            json!({"birthDate": "1930"}),
        ),
        // Choices.
        (
            json!({}),
            json!([{"type": "add", "path": "Patient", "name": "deceased", "value": {"valueBoolean": true}}]),
            json!({"deceasedBoolean": true}),
        ),
        (
            json!({}),
            json!([{"type": "add", "path": "Patient", "name": "deceased[x]", "value": {"valueDateTime": "2020"}}]),
            json!({"deceasedDateTime": "2020"}),
        ),
        (
            json!({"deceasedBoolean": true}),
            json!([{"type": "replace", "path": "Patient.deceased", "value": {"valueDateTime": "2020"}}]),
            json!({"deceasedDateTime": "2020"}),
        ),
        (
            json!({"deceasedBoolean": true}),
            json!([{"type": "delete", "path": "Patient.deceased"}]),
            json!({}),
        ),
        // One operation sees what those before it did.
        (
            json!({}),
            json!([{"type": "add", "path": "Patient", "name": "name", "value": {"valueHumanName": {"family": "a"}}},
                           {"type": "add", "path": "Patient.name.where(family = 'a')", "name": "given", "value": {"valueString": "b"}}]),
            json!({"name": [{"family": "a", "given": ["b"]}]}),
        ),
        (
            json!({"contained": [{"resourceType": "Organization", "id": "o"}]}),
            json!([{"type": "add", "path": "Patient.contained[0]", "name": "name", "value": {"valueString": "n"}},
                {"type": "add", "path": "Patient", "name": "contained", "value": {"resource": {"resourceType": "Basic", "id": "b"}}}]),
            json!({"contained": [{"resourceType": "Organization", "id": "o", "name": "n"}, {"resourceType": "Basic", "id": "b"}]}),
        ),
    ] {
        assert_eq!(patched(body.clone(), operations.clone()), Ok(expected), "{body} {operations}");
    }
}

#[test]
fn path_patch_refusals() {
    use IssueCode as C;
    let two = json!({"identifier": [{"value": "1"}, {"value": "2"}], "birthDate": "1930"});
    let date = json!({"valueDate": "1930"});
    for (operation, code, place) in [
        (json!({"path": "Patient"}), C::Required, ".type"),
        (json!({"type": "upsert", "path": "Patient"}), C::Structure, ".type"),
        (json!({"type": "delete"}), C::Required, ".path"),
        (json!({"type": "delete", "path": "Patient.("}), C::Structure, ".path"),
        (json!({"type": "delete", "path": "Patient.identifier"}), C::Value, ".path"),
        (json!({"type": "delete", "path": "Patient"}), C::Value, ".path"),
        (json!({"type": "delete", "path": "1 + 1"}), C::Value, ".path"),
        (
            json!({"type": "replace", "path": "Patient.gender", "value": {"valueCode": "male"}}),
            C::Value,
            ".path",
        ),
        (json!({"type": "replace", "path": "Patient.birthDate"}), C::Required, ".value"),
        (json!({"type": "add", "path": "Patient", "value": date}), C::Required, ".name"),
        (json!({"type": "add", "path": "Patient", "name": "birthDate", "value": date}), C::Value, ".path"),
        (json!({"type": "add", "path": "Patient", "name": "birthday", "value": date}), C::Value, ".name"),
        (
            json!({"type": "add", "path": "Patient", "name": "deceased", "value": {"valueQuantity": {"value": 1}}}),
            C::Value,
            ".value",
        ),
        (
            json!({"type": "add", "path": "Patient.identifier", "name": "value", "value": {"valueString": "x"}}),
            C::Value,
            ".path",
        ),
        (
            json!({"type": "insert", "path": "Patient.identifier", "index": 3, "value": {"valueIdentifier": {}}}),
            C::Value,
            ".index",
        ),
        (
            json!({"type": "insert", "path": "Patient.identifier", "value": {"valueIdentifier": {}}}),
            C::Required,
            ".index",
        ),
        (
            json!({"type": "insert", "path": "Patient.birthDate", "index": 0, "value": date}),
            C::Value,
            ".path",
        ),
        (
            json!({"type": "insert", "path": "Patient.identifier[1]", "index": 0, "value": date}),
            C::Value,
            ".path",
        ),
        (
            json!({"type": "move", "path": "Patient.identifier", "source": 2, "destination": 0}),
            C::Value,
            ".source",
        ),
        (
            json!({"type": "move", "path": "Patient.identifier", "source": 0, "destination": 2}),
            C::Value,
            ".destination",
        ),
        (json!({"type": "move", "path": "Patient.name", "source": 0, "destination": 0}), C::Value, ".source"),
    ] {
        let first =
            json!({"type": "add", "path": "Patient", "name": "active", "value": {"valueBoolean": true}});
        let outcome = patched(two.clone(), json!([first, operation])).unwrap_err();
        let issue = &outcome.issues[0];
        let place = format!("operation[1]{place}");
        assert_eq!((issue.code, issue.expression.as_str()), (code, place.as_str()), "{operation}: {outcome}");
    }
    let patient = Resource::new(TypeId::PATIENT);
    assert!(path_patch(&patient, &patient).is_err());
    assert!(path_patch(&patient, &Resource::new(TypeId::PARAMETERS)).is_err());
}
