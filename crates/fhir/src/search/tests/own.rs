//! Search parameters of a server's own.

use crate::search::{Definition, Handling, IndexValue, Own, Params, State, extract, extract_stored, parse};
use crate::{IssueCode, Outcome, ParamId, Resource, TypeId};
use serde_json::{Value, json};
use std::sync::Arc;

fn resource(value: Value) -> Resource {
    Resource::from_value(value).unwrap()
}

fn parameter(code: &str, param_type: &str, base: &[&str], expression: &str) -> Value {
    json!({"resourceType": "SearchParameter", "status": "active", "url": format!("http://x/{code}"), "name": code,
        "description": "d", "code": code, "type": param_type, "base": base, "expression": expression})
}

fn read(value: Value) -> Result<Option<Definition>, Outcome> {
    Definition::read(&Params::standard(), &resource(value))
}

fn params(all: &[(Value, &str, State)]) -> Params {
    let mut own: Vec<Own> = Vec::new();
    for (n, (value, kind, state)) in all.iter().enumerate() {
        let so_far = Params::with(&own);
        let definition = Definition::read(&so_far, &resource(value.clone())).unwrap().unwrap();
        assert_eq!(Definition::from_json(&definition.to_json()).as_ref(), Some(&definition));
        own.push(Own {
            id: ParamId(20_000 + n as u16),
            kind: TypeId::from_name(kind).unwrap(),
            state: *state,
            definition: Arc::new(definition),
        });
    }
    Params::with(&own)
}

fn values(params: &Params, value: &Value) -> Vec<String> {
    let all = extract_stored(params, &resource(value.clone()));
    all.into_iter().filter(|e| e.param.0 >= 20_000).map(|e| format!("{} {:?}", e.param.0, e.value)).collect()
}

#[test]
fn plain_and_evaluated_expressions() {
    let patient = json!({"resourceType": "Patient", "id": "p", "birthDate": "1990-05-02", "multipleBirthInteger": 2,
        "maritalStatus": {"coding": [{"system": "s", "code": "M", "display": "Married"}]},
        "name": [{"use": "old", "family": "Kamau"}, {"use": "official", "family": "Otieno", "given": ["Amina"]}],
        "extension": [{"url": "http://x/tribe", "valueString": "Luo"}, {"url": "http://x/weight", "valueQuantity": {"value": 3, "code": "kg", "system": "http://unitsofmeasure.org"}},
            {"url": "http://x/village", "valueReference": {"reference": "Location/l1"}}]});
    for (code, param_type, expression, expected) in [
        ("marital", "token", "Patient.maritalStatus", "Token { system: \"s\", code: \"M\" }"),
        ("marital2", "token", "maritalStatus", "Token { system: \"s\", code: \"M\" }"),
        (
            "tribe",
            "string",
            "Patient.extension('http://x/tribe').value",
            "String { folded: \"luo\", exact: \"Luo\" }",
        ),
        (
            "tribe2",
            "string",
            "Patient.extension.where(url = 'http://x/tribe').value.ofType(string)",
            "String { folded: \"luo\", exact: \"Luo\" }",
        ),
        (
            "village",
            "reference",
            "Patient.extension('http://x/village').value",
            "Reference { target: ResourceKey { kind: TypeId(70), id: \"l1\" } }",
        ),
        (
            "twin",
            "token",
            "Patient.multipleBirth.ofType(integer) > 1",
            "Token { system: \"\", code: \"true\" }",
        ),
        (
            "names",
            "number",
            "Patient.name.count()",
            "Quantity { value: 2.0, low: 1.5, high: 2.5, system: \"\", code: \"\" }",
        ),
        (
            "whole",
            "string",
            "Patient.name.where(use = 'official').select(given.first() & ' ' & family)",
            "String { folded: \"amina otieno\", exact: \"Amina Otieno\" }",
        ),
        (
            "born",
            "date",
            "Patient.birthDate | Practitioner.birthDate",
            "Date { low_us: 641606400000000, high_us: 641692800000000 }",
        ),
    ] {
        let params =
            params(&[(parameter(code, param_type, &["Patient"], expression), "Patient", State::Ready)]);
        let found = values(&params, &patient);
        let text = format!("20000 {expected}");
        assert!(found.contains(&text), "{code}: {found:?}");
        assert!(found.iter().all(|f| *f == text || f.contains("Text")), "{code}: {found:?}");
        let (q, _) =
            parse(&params, TypeId::PATIENT, &[(format!("{code}:missing"), "false".into())], Handling::Strict)
                .unwrap();
        assert_eq!(q.filters[0].param, ParamId(20_000));
    }
}

#[test]
fn states_decide_what_is_searched_and_indexed() {
    let definition = parameter("marital", "token", &["Patient"], "Patient.maritalStatus");
    let patient = resource(json!({"resourceType": "Patient", "maritalStatus": {"coding": [{"code": "M"}]}}));
    let pairs = [("marital".to_owned(), "M".to_owned())];
    let own = |r: &Resource, p: &Params, stored: bool| {
        let all = if stored { extract_stored(p, r) } else { extract(p, r) };
        all.iter().filter(|e| e.param.0 >= 20_000).count()
    };
    let ready = params(&[(definition.clone(), "Patient", State::Ready)]);
    assert!(parse(&ready, TypeId::PATIENT, &pairs, Handling::Strict).is_ok());
    assert_eq!((own(&patient, &ready, false), own(&patient, &ready, true)), (1, 1));
    let building = params(&[(definition.clone(), "Patient", State::Building)]);
    let refused = parse(&building, TypeId::PATIENT, &pairs, Handling::Lenient).unwrap_err();
    assert_eq!(refused.issues[0].code, IssueCode::Transient);
    assert_eq!((own(&patient, &building, false), own(&patient, &building, true)), (1, 1));
    let dropping = params(&[(definition, "Patient", State::Dropping)]);
    assert!(parse(&dropping, TypeId::PATIENT, &pairs, Handling::Strict).is_err());
    assert_eq!((own(&patient, &dropping, false), own(&patient, &dropping, true)), (0, 1));
}

#[test]
fn composites_of_own_and_standard_parts() {
    let name = parameter("contact-name", "string", &["Patient"], "Patient.contact.name");
    let mut both = parameter("contact-gender-name", "composite", &["Patient"], "Patient.contact");
    both["component"] = json!([
        {"definition": "http://hl7.org/fhir/SearchParameter/individual-gender", "expression": "gender"},
        {"definition": "http://x/contact-name", "expression": "name"}]);
    let mut whole = parameter("gender-born", "composite", &["Patient"], "Patient");
    whole["component"] = json!([
        {"definition": "http://hl7.org/fhir/SearchParameter/individual-gender", "expression": "gender"},
        {"definition": "http://hl7.org/fhir/SearchParameter/individual-birthdate", "expression": "birthDate"}]);
    let params = params(&[
        (name, "Patient", State::Ready),
        (both, "Patient", State::Ready),
        (whole, "Patient", State::Ready),
    ]);
    let patient = json!({"resourceType": "Patient", "gender": "male", "birthDate": "2000",
        "contact": [{"gender": "female", "name": {"family": "Atieno"}}, {"gender": "male"}]});
    let found: Vec<IndexValue> = extract(&params, &resource(patient))
        .into_iter()
        .filter(|e| e.param.0 > 20_000)
        .map(|e| e.value)
        .collect();
    assert_eq!(
        found,
        [IndexValue::Composite(vec![
            IndexValue::Token { system: "".into(), code: "female".into() },
            IndexValue::String { folded: "atieno".into(), exact: "Atieno".into() }
        ])]
    );
    let query = |name: &str, value: &str| {
        parse(&params, TypeId::PATIENT, &[(name.into(), value.into())], Handling::Strict).unwrap().0
    };
    assert_eq!(query("contact-gender-name", "female$ati").filters.len(), 1);
    assert_eq!(query("gender-born", "male$2000").filters.len(), 2);
}

#[test]
fn what_does_not_work_is_refused_where_it_stands() {
    let with = |mut value: Value, key: &str, new: Value| {
        value[key] = new;
        value
    };
    let good = || parameter("x", "token", &["Patient"], "Patient.maritalStatus");
    assert_eq!(read(with(good(), "status", json!("draft"))), Ok(None));
    // R4's own, as published.
    let own = with(
        parameter("birthdate", "date", &["Patient"], "Patient.birthDate"),
        "url",
        json!("http://hl7.org/fhir/SearchParameter/individual-birthdate"),
    );
    assert_eq!(read(own), Ok(None));
    for (value, element, text) in [
        (with(good(), "base", json!(["Patent"])), "base[0]", "Did you mean `Patient`?"),
        (with(good(), "base", json!([])), "base", "at least one"),
        (with(good(), "base", json!(["Resource"])), "base[0]", "names the types"),
        (with(good(), "code", json!("birthdate")), "code", "already"),
        (with(good(), "code", json!("_x")), "code", "specification's"),
        (with(good(), "code", json!("a b")), "code", "64 letters"),
        (with(good(), "type", json!("special")), "type", "Special"),
        (with(good(), "type", json!("nonsense")), "type", "no type"),
        (with(good(), "type", json!("date")), "expression", "leads to CodeableConcept"),
        (with(good(), "target", json!(["Nobody"])), "target[0]", "no FHIR R4"),
        (with(good(), "expression", json!("")), "expression", "needs a FHIRPath"),
        (with(good(), "expression", json!("Patient.name.")), "expression", "syntax"),
        (with(good(), "expression", json!("Patient.nmae")), "expression", "On Patient"),
        (with(good(), "expression", json!("Patient.name.frobnicate()")), "expression", "On Patient"),
        (with(good(), "expression", json!("Observation.code")), "expression", "Nothing in the expression"),
        (
            with(good(), "expression", json!("Patient.managingOrganization.resolve().name")),
            "expression",
            "`resolve()`",
        ),
        (
            with(good(), "component", json!([{"definition": "x", "expression": "y"}])),
            "component",
            "Only composite",
        ),
        (
            with(
                parameter("x", "composite", &["Patient"], "Patient.contact"),
                "component",
                json!([{"definition": "http://x/none", "expression": "gender"}, {"definition": "http://x/none", "expression": "gender"}]),
            ),
            "component[0].definition",
            "no search parameter",
        ),
        (parameter("x", "composite", &["Patient"], "Patient.contact"), "component", "2 to 8"),
    ] {
        let outcome = read(value.clone()).expect_err(&value.to_string());
        let found = outcome
            .issues
            .iter()
            .any(|i| i.expression == format!("SearchParameter.{element}") && i.text.contains(text));
        assert!(found, "{value}: {outcome}");
    }
}
