//! Wrong inputs of every class over many types; each case names what must be reported and nothing else.

use super::validate;
use crate::{Issue, IssueCode, Resource, TypeId};
use serde_json::{Value, json};

fn issues(value: Value) -> Vec<Issue> {
    validate(&Resource::from_value(value).unwrap())
}

/// The value must have exactly these problems: code, FHIRPath, part of the text.
fn check(value: Value, expected: &[(IssueCode, &str, &str)]) {
    let found = issues(value.clone());
    let shown: Vec<String> =
        found.iter().map(|i| format!("{} at {}: {}", i.code.code(), i.expression, i.text)).collect();
    let mut left = found.clone();
    for (code, path, text) in expected {
        let at = left.iter().position(|i| i.code == *code && i.expression == *path && i.text.contains(text));
        match at {
            Some(at) => drop(left.remove(at)),
            None => panic!("{value}\nlacks {} at {path}: {text}\nhas {shown:#?}", code.code()),
        }
    }
    assert!(left.is_empty(), "{value}\nreports too much: {shown:#?}");
}

fn patient(more: Value) -> Value {
    with(json!({"resourceType": "Patient"}), more)
}

fn observation(more: Value) -> Value {
    with(json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"}}), more)
}

fn with(mut base: Value, more: Value) -> Value {
    for (k, v) in more.as_object().unwrap() {
        if v.is_null() {
            base.as_object_mut().unwrap().shift_remove(k);
        } else {
            base[k.as_str()] = v.clone();
        }
    }
    base
}

#[test]
fn valid_resources_of_many_types() {
    for value in [
        json!({"resourceType": "Patient"}),
        patient(json!({"name": [{"family": "Wanjirũ", "given": ["Amina", "N."]}], "birthDate": "1990-05",
            "gender": "female", "multipleBirthInteger": 2, "deceasedBoolean": false,
            "telecom": [{"system": "phone", "value": "+254700000001"}]})),
        observation(
            json!({"valueQuantity": {"value": 5.40, "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"}}),
        ),
        observation(
            json!({"effectiveTiming": {"event": ["2024-05-01T10:00:00Z"], "repeat": {"boundsPeriod": {"start": "2024"}}}}),
        ),
        json!({"resourceType": "Encounter", "status": "in-progress",
            "class": {"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "VR"}}),
        json!({"resourceType": "Appointment", "status": "proposed",
            "participant": [{"actor": {"reference": "Patient/1"}, "status": "accepted"}]}),
        json!({"resourceType": "Condition", "subject": {"reference": "Patient/1"},
            "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active"}]}}),
        json!({"resourceType": "MedicationRequest", "status": "active", "intent": "order",
            "medicationCodeableConcept": {"text": "x"}, "subject": {"reference": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520"},
            "dosageInstruction": [{"doseAndRate": [{"doseQuantity": {"value": 1}}]}]}),
        json!({"resourceType": "Questionnaire", "status": "active",
            "item": [{"linkId": "1", "type": "group", "item": [{"linkId": "1.1", "type": "string", "item": []}]}]}),
        json!({"resourceType": "Parameters", "parameter": [{"name": "x", "resource": {"resourceType": "Patient"}}]}),
        json!({"resourceType": "Bundle", "type": "transaction", "entry": [{"fullUrl": "urn:uuid:c757873d-ec9a-4326-a141-556f43239520",
            "resource": {"resourceType": "Patient"}, "request": {"method": "POST", "url": "Patient"}}]}),
        json!({"resourceType": "Bundle", "type": "transaction", "entry": [{"resource": observation(json!({"subject": {"reference": "Patient?identifier=x|1"}})), "request": {"method": "POST", "url": "Observation"}}]}),
        json!({"resourceType": "StructureDefinition", "url": "http://x", "name": "X", "status": "draft", "kind": "resource",
            "abstract": false, "type": "Patient", "baseDefinition": "http://hl7.org/fhir/StructureDefinition/Patient", "differential": {"element": [{"id": "Patient", "path": "Patient", "fixedCode": "x"}]}}),
        json!({"resourceType": "Invoice", "status": "issued", "totalGross": {"value": 1500.00, "currency": "KES"}}),
    ] {
        let expected: &[(IssueCode, &str, &str)] = if value["resourceType"] == "Questionnaire" {
            &[(IssueCode::Structure, "Questionnaire.item[0].item[0].item", "may not be empty")]
        } else {
            &[]
        };
        check(value, expected);
    }
}

#[test]
fn every_type_without_content_reports_only_what_it_requires() {
    for kind in TypeId::all() {
        let found = validate(&Resource::new(kind));
        // ipn-1, and the like, ask for one of several elements.
        for i in found.iter().filter(|i| i.code != IssueCode::Invariant) {
            assert_eq!(i.code, IssueCode::Required, "{}: {i:?}", kind.name());
            assert!(i.expression.starts_with(&format!("{}.", kind.name())), "{i:?}");
        }
    }
}

#[test]
fn unknown_elements() {
    use IssueCode::Structure as S;
    check(patient(json!({"birthdate": "1990"})), &[(S, "Patient.birthdate", "Did you mean `birthDate`?")]);
    check(patient(json!({"nmae": []})), &[(S, "Patient.nmae", "Did you mean `name`?")]);
    check(
        patient(json!({"favouriteColour": 1})),
        &[(S, "Patient.favouriteColour", "Patient has no element")],
    );
    check(
        patient(json!({"name": [{"last": "x"}]})),
        &[
            (S, "Patient.name[0].last", "HumanName has no element `last`"),
            (IssueCode::Invariant, "Patient.name[0]", "ele-1"),
        ],
    );
    check(patient(json!({"_surname": {}})), &[(S, "Patient.surname", "no element")]);
    check(
        patient(json!({"name": [{"resourceType": "HumanName", "family": "x"}]})),
        &[(S, "Patient.name[0].resourceType", "no element")],
    );
    check(
        observation(json!({"value": "x"})),
        &[(S, "Observation.value", "one of valueQuantity, valueCodeableConcept")],
    );
    check(
        observation(json!({"valueMoney": {"value": 1}})),
        &[(S, "Observation.valueMoney", "not allowed here")],
    );
    check(
        observation(json!({"component": [{"code": {"text": "x"}, "effectiveDateTime": "2024"}]})),
        &[(S, "Observation.component[0].effectiveDateTime", "Observation.component has no element")],
    );
}

#[test]
fn wrong_json_types() {
    use IssueCode::Structure as S;
    check(patient(json!({"active": "true"})), &[(S, "Patient.active", "true or false")]);
    check(patient(json!({"birthDate": 1990})), &[(S, "Patient.birthDate", "text in quotes")]);
    check(patient(json!({"name": {"family": "x"}})), &[(S, "Patient.name", "is an array")]);
    check(patient(json!({"gender": ["male"]})), &[(S, "Patient.gender", "not an array")]);
    check(patient(json!({"name": ["Amina"]})), &[(S, "Patient.name[0]", "JSON object")]);
    check(patient(json!({"maritalStatus": "M"})), &[(S, "Patient.maritalStatus", "JSON object")]);
    check(patient(json!({"name": [null]})), &[(S, "Patient.name[0]", "JSON object")]);
    check(patient(json!({"name": [{"given": [1]}]})), &[(S, "Patient.name[0].given[0]", "text in quotes")]);
    check(
        observation(json!({"valueQuantity": {"value": "5.4"}})),
        &[(S, "Observation.valueQuantity.value", "a number")],
    );
    check(observation(json!({"valueInteger": "5"})), &[(S, "Observation.valueInteger", "whole number")]);
    check(
        json!({"resourceType": "Patient", "birthDate": null}),
        &[(S, "Patient.birthDate", "text in quotes")],
    );
    check(patient(json!({"contained": ["x"]})), &[(S, "Patient.contained[0]", "JSON object")]);
    check(
        patient(json!({"contained": [{"id": "a"}]})),
        &[
            (S, "Patient.contained[0]", "resourceType"),
            (IssueCode::Invariant, "Patient.contained[0]", "dom-3"),
        ],
    );
    check(
        json!({"resourceType": "Bundle", "type": "batch", "entry": [{"resource": {"resourceType": "Pateint"}}]}),
        &[(S, "Bundle.entry[0].resource", "no FHIR R4 resource type")],
    );
}

#[test]
fn cardinality() {
    use IssueCode::{Required as R, Structure as S};
    check(
        json!({"resourceType": "Observation"}),
        &[(R, "Observation.status", "required"), (R, "Observation.code", "required")],
    );
    check(
        json!({"resourceType": "MedicationRequest", "status": "active", "intent": "order", "subject": {"reference": "Patient/1"}}),
        &[(R, "MedicationRequest.medication", "medicationCodeableConcept, medicationReference")],
    );
    check(
        json!({"resourceType": "Appointment", "status": "booked"}),
        &[(R, "Appointment.participant", "required")],
    );
    check(
        json!({"resourceType": "Appointment", "status": "booked", "participant": []}),
        &[(S, "Appointment.participant", "empty")],
    );
    check(
        patient(json!({"communication": [{"preferred": true}]})),
        &[(R, "Patient.communication[0].language", "required")],
    );
    check(
        patient(json!({"link": [{"other": {"reference": "Patient/2"}}]})),
        &[(R, "Patient.link[0].type", "required")],
    );
    check(
        observation(json!({"valueSampledData": {"period": 1, "dimensions": 1}})),
        &[(R, "Observation.valueSampledData.origin", "required")],
    );
    // A required value may be explained by an extension.
    check(
        json!({"resourceType": "Observation", "code": {"text": "x"}, "_status": {"extension": [
            {"url": "http://hl7.org/fhir/StructureDefinition/data-absent-reason", "valueCode": "unknown"}]}}),
        &[],
    );
}

#[test]
fn choices() {
    use IssueCode::Structure as S;
    check(
        observation(json!({"valueString": "x", "valueInteger": 1})),
        &[(S, "Observation.valueInteger", "Only one `value[x]`")],
    );
    check(
        observation(
            json!({"valueString": "x", "_valueString": {"id": "a", "extension": [{"url": "http://x", "valueCode": "b"}]}}),
        ),
        &[],
    );
    check(
        observation(
            json!({"_valueString": {"extension": [{"url": "http://x", "valueCode": "b"}]}, "valueInteger": 1}),
        ),
        &[(S, "Observation.valueInteger", "Only one")],
    );
    check(
        patient(json!({"deceasedBoolean": true, "deceasedDateTime": "2024"})),
        &[(S, "Patient.deceasedDateTime", "Only one")],
    );
}

#[test]
fn primitive_forms() {
    use IssueCode::Value as V;
    check(patient(json!({"birthDate": "1990-02-30"})), &[(V, "Patient.birthDate", "a day that exists")]);
    check(patient(json!({"id": "a_b"})), &[(V, "Patient.id", "letters, digits")]);
    check(patient(json!({"name": [{"given": ["", "x"]}]})), &[(V, "Patient.name[0].given[0]", "not empty")]);
    check(
        patient(json!({"photo": [{"contentType": "image/png", "data": "QQ"}]})),
        &[(V, "Patient.photo[0].data", "base64")],
    );
    check(patient(json!({"multipleBirthInteger": 1.5})), &[(V, "Patient.multipleBirthInteger", "32 bits")]);
    check(
        patient(json!({"telecom": [{"system": "phone", "value": "1", "rank": 0}]})),
        &[(V, "Patient.telecom[0].rank", "at least 1")],
    );
    check(observation(json!({"issued": "2024-01-01"})), &[(V, "Observation.issued", "hh:mm:ss")]);
    check(
        observation(json!({"effectiveDateTime": "2024-01-01T10:00"})),
        &[(V, "Observation.effectiveDateTime", "hh:mm:ss")],
    );
    check(observation(json!({"valueTime": "10h"})), &[(V, "Observation.valueTime", "time of day")]);
    check(patient(json!({"meta": {"profile": ["a b"]}})), &[(V, "Patient.meta.profile[0]", "URI")]);
    check(
        patient(json!({"text": {"status": "generated", "div": "<div>x</div>"}})),
        &[(IssueCode::Invariant, "Patient.text.div", "xmlns")],
    );
}

#[test]
fn primitive_extensions() {
    use IssueCode::Structure as S;
    let ext = json!({"extension": [{"url": "http://x", "valueCode": "b"}]});
    check(patient(json!({"name": [{"given": ["a", null], "_given": [null, ext]}]})), &[]);
    check(
        patient(json!({"name": [{"given": ["a", null]}]})),
        &[(S, "Patient.name[0].given[1]", "null may only")],
    );
    check(
        patient(json!({"name": [{"given": ["a"], "_given": [null, ext]}]})),
        &[(S, "Patient.name[0].given", "as many items")],
    );
    check(patient(json!({"_name": [ext]})), &[(S, "Patient.name", "no primitive")]);
    check(patient(json!({"_birthDate": [ext]})), &[(S, "Patient.birthDate", "JSON object")]);
    check(
        patient(json!({"_birthDate": {"foo": 1, "id": "x"}})),
        &[(S, "Patient.birthDate.foo", "no element"), (IssueCode::Invariant, "Patient.birthDate", "ele-1")],
    );
}

#[test]
fn empty_values() {
    use IssueCode::{Invariant as I, Structure as S};
    check(patient(json!({"name": []})), &[(S, "Patient.name", "may not be empty")]);
    check(patient(json!({"name": [{}]})), &[(I, "Patient.name[0]", "ele-1")]);
    check(patient(json!({"maritalStatus": {"id": "x"}})), &[(I, "Patient.maritalStatus", "ele-1")]);
    check(
        patient(json!({"maritalStatus": {"coding": [{}]}})),
        &[(I, "Patient.maritalStatus.coding[0]", "ele-1")],
    );
}

#[test]
fn required_codes() {
    use IssueCode::CodeInvalid as C;
    check(patient(json!({"gender": "femal"})), &[(C, "Patient.gender", "Did you mean `female`?")]);
    check(patient(json!({"gender": "x"})), &[(C, "Patient.gender", "female, male, other, unknown")]);
    check(observation(json!({"status": "done"})), &[(C, "Observation.status", "is one of")]);
    check(
        json!({"resourceType": "Condition", "subject": {"reference": "Patient/1"}, "clinicalStatus": {"text": "active"}}),
        &[(C, "Condition.clinicalStatus", "condition-clinical")],
    );
    check(
        json!({"resourceType": "Condition", "subject": {"reference": "Patient/1"},
        "clinicalStatus": {"coding": [{"system": "http://other", "code": "active"}]}}),
        &[(C, "Condition.clinicalStatus", "required list")],
    );
    check(
        json!({"resourceType": "Invoice", "status": "issued", "totalGross": {"value": 1, "currency": "ksh"}}),
        &[(C, "Invoice.totalGross.currency", "ISO 4217")],
    );
    check(
        patient(json!({"link": [{"other": {"reference": "Patient/2"}, "type": "same"}]})),
        &[(C, "Patient.link[0].type", "is one of")],
    );
}

#[test]
fn references() {
    use IssueCode::{Invariant as I, Value as V};
    let subject = |r: &str| observation(json!({"subject": {"reference": r}}));
    for right in [
        "Patient/1",
        "Patient/1/_history/2",
        "http://example.org/fhir/Patient/1",
        "urn:oid:1.2.3",
        "Group/x",
        "https://example.org/anything",
        "urn:uuid:C757873D-ec9a-4326-a141-556f43239520",
    ] {
        check(subject(right), &[]);
    }
    for (wrong, text) in [
        ("Practitioner/1", "only at Patient, Group, Device, Location"),
        ("http://example.org/fhir/Practitioner/1", "only at"),
        ("Practitioner?identifier=x", "only at"),
        ("Patient", "A reference is"),
        ("Patient/", "A reference is"),
        ("patient/1", "A reference is"),
        ("Patient/a b", "A reference is"),
        ("Patient/1/_history/x", "A reference is"),
        ("urn:uuid:1", "well-formed"),
        ("urn:oid:x", "well-formed"),
        ("123", "A reference is"),
    ] {
        check(subject(wrong), &[(V, "Observation.subject.reference", text)]);
    }
    check(subject("#p"), &[(I, "Observation.subject.reference", "ref-1")]);
    check(
        observation(
            json!({"subject": {"reference": "#p"}, "contained": [{"resourceType": "Patient", "id": "p"}]}),
        ),
        &[],
    );
    check(
        observation(
            json!({"subject": {"reference": "#p"}, "contained": [{"resourceType": "Practitioner", "id": "p"}]}),
        ),
        &[(V, "Observation.subject.reference", "may not point at Practitioner")],
    );
    check(observation(json!({"subject": {"display": "x"}})), &[]);
    check(observation(json!({"focus": [{"reference": "Slot/1"}]})), &[]);
}

#[test]
fn contained_resources() {
    use IssueCode::{Duplicate, Invariant as I, Required as R};
    let base =
        |contained: Value| observation(json!({"subject": {"reference": "#p"}, "contained": contained}));
    check(
        base(json!([{"resourceType": "Patient", "id": "p"}, {"resourceType": "Patient", "id": "q"}])),
        &[(I, "Observation.contained[1]", "dom-3")],
    );
    // It may also point at its container.
    check(
        base(json!([{"resourceType": "Patient", "id": "p"},
        {"resourceType": "Provenance", "id": "q", "target": [{"reference": "#"}], "recorded": "2024-01-01T00:00:00Z",
         "agent": [{"who": {"display": "x"}}]}])),
        &[],
    );
    check(
        base(json!([{"resourceType": "Patient", "id": "p"}, {"resourceType": "Patient", "id": "p"}])),
        &[(Duplicate, "Observation.contained[1]", "same `id`")],
    );
    check(
        observation(json!({"contained": [{"resourceType": "Patient"}]})),
        &[(R, "Observation.contained[0]", "needs `id`")],
    );
    check(
        base(
            json!([{"resourceType": "Patient", "id": "p", "contained": [{"resourceType": "Patient", "id": "x"}],
        "meta": {"versionId": "1", "security": [{"code": "R"}]}}]),
        ),
        &[
            (I, "Observation.contained[0]", "dom-2"),
            (I, "Observation.contained[0]", "dom-4"),
            (I, "Observation.contained[0]", "dom-5"),
        ],
    );
    check(
        base(json!([{"resourceType": "Patient", "id": "p", "gender": "x"}])),
        &[(IssueCode::CodeInvalid, "Observation.contained[0].gender", "is one of")],
    );
    // Each bundle entry is a container of its own.
    check(
        json!({"resourceType": "Bundle", "type": "collection", "entry": [
        {"resource": base(json!([{"resourceType": "Patient", "id": "p"}]))}, {"resource": observation(json!({"subject": {"reference": "#p"}}))}]}),
        &[(I, "Bundle.entry[1].resource.subject.reference", "ref-1")],
    );
}

#[test]
fn extensions_and_other_invariants() {
    use IssueCode::{Invariant as I, Required as R};
    let ext = |e: Value| patient(json!({"extension": [e]}));
    check(ext(json!({"url": "http://x", "valueString": "a"})), &[]);
    check(ext(json!({"url": "http://x", "extension": [{"url": "y", "valueCode": "b"}]})), &[]);
    check(ext(json!({"url": "http://x"})), &[(I, "Patient.extension[0]", "ext-1")]);
    check(
        ext(json!({"url": "http://x", "valueString": "a", "extension": [{"url": "y", "valueCode": "b"}]})),
        &[(I, "Patient.extension[0]", "ext-1")],
    );
    check(ext(json!({"valueString": "a"})), &[(R, "Patient.extension[0].url", "required")]);
    check(
        ext(json!({"url": "http://x", "valueFoo": "a"})),
        &[(IssueCode::Structure, "Patient.extension[0].valueFoo", "not allowed here")],
    );
    check(
        observation(json!({"valueQuantity": {"value": 1, "code": "mg"}})),
        &[(I, "Observation.valueQuantity", "qty-3")],
    );
    check(
        observation(json!({"effectivePeriod": {"start": "2024-02", "end": "2024-01"}})),
        &[(I, "Observation.effectivePeriod", "per-1")],
    );
    check(observation(json!({"effectivePeriod": {"start": "2024-02-10", "end": "2024-02"}})), &[]);
    check(patient(json!({"telecom": [{"value": "1"}]})), &[(I, "Patient.telecom[0]", "cpt-2")]);
    check(patient(json!({"photo": [{"data": "QQ=="}]})), &[(I, "Patient.photo[0]", "att-1")]);
    check(
        observation(json!({"referenceRange": [{"low": {"value": 1, "comparator": "<"}}]})),
        &[(IssueCode::Structure, "Observation.referenceRange[0].low.comparator", "no element")],
    );
}

#[test]
fn every_problem_is_reported_and_the_list_is_bounded() {
    check(
        patient(json!({"gender": "x", "birthDate": "y", "foo": 1, "name": {}, "active": 1})),
        &[
            (IssueCode::CodeInvalid, "Patient.gender", ""),
            (IssueCode::Value, "Patient.birthDate", ""),
            (IssueCode::Structure, "Patient.foo", ""),
            (IssueCode::Structure, "Patient.name", ""),
            (IssueCode::Structure, "Patient.active", ""),
        ],
    );
    let many: Vec<Value> = (0..1000).map(|_| json!({"foo": 1})).collect();
    let found = issues(patient(json!({"name": many})));
    assert_eq!(found.len(), super::MAX_ISSUES + 1);
    assert!(found.last().unwrap().text.contains("further problems"));
}

#[test]
fn deep_nesting_is_reported_not_followed() {
    let mut item = json!({"linkId": "x", "type": "group"});
    for _ in 0..crate::MAX_DEPTH {
        item = json!({"linkId": "x", "type": "group", "item": [item]});
    }
    let found = issues(json!({"resourceType": "Questionnaire", "status": "active", "item": [item]}));
    assert_eq!(found.len(), 1);
    assert!(found[0].text.contains("deeper"));
}

/// Arbitrary JSON under every type: any answer will do, but no panic.
mod arbitrary {
    use super::*;
    use proptest::prelude::*;

    fn json_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "\\PC{0,12}".prop_map(Value::from),
            "(Patient/|#|urn:uuid:|[0-9]{4}-)?[a-z0-9|/?=T:-]{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((key(), inner), 0..6)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    fn key() -> impl Strategy<Value = String> {
        prop_oneof![
            prop::sample::select(vec![
                "id",
                "meta",
                "text",
                "contained",
                "extension",
                "url",
                "valueString",
                "identifier",
                "system",
                "value",
                "code",
                "coding",
                "subject",
                "reference",
                "name",
                "family",
                "given",
                "_given",
                "telecom",
                "address",
                "status",
                "effectivePeriod",
                "start",
                "end",
                "valueQuantity",
                "component",
                "entry",
                "resource",
                "resourceType",
                "item",
                "linkId",
                "period",
                "participant",
                "actor",
                "div",
                "_status",
                "birthDate",
            ])
            .prop_map(str::to_owned),
            "_?[a-zA-Z]{1,10}",
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn nothing_panics(kind in 0..147u16, mut value in prop::collection::vec((key(), json_value()), 0..8)
            .prop_map(|m| Value::Object(m.into_iter().collect()))) {
            value["resourceType"] = json!(TypeId(kind).name());
            let text = value.to_string();
            let mut resource = Resource::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(resource.to_json(), text);
            validate(&resource);
            crate::search::extract(&crate::search::Params::standard(), &resource);
            crate::search::compartment(&resource);
            crate::search::references(&resource);
            crate::search::rewrite_references(&mut resource, &mut |_| Some("Patient/1".to_owned()));
        }
    }
}
