//! One small profile for each thing a profile can ask.

use super::*;
use crate::Severity;
use serde_json::{Value, json};

const URL: &str = "http://example.org/StructureDefinition/p";

fn definition(url: &str, kind: &str, base: Option<&str>, elements: Value) -> Arc<Value> {
    let base = base.map_or_else(|| format!("http://hl7.org/fhir/StructureDefinition/{kind}"), str::to_owned);
    Arc::new(
        json!({"resourceType": "StructureDefinition", "url": url, "name": "P", "status": "active", "kind": "resource",
        "abstract": false, "type": kind, "baseDefinition": base, "derivation": "constraint",
        "differential": {"element": elements}}),
    )
}

/// `local` is in every value set but `http://x/other`; nothing is known of `http://x/unknown`.
struct Codes;

impl Terminology for Codes {
    fn validate_code(&self, value_set: &str, system: Option<&str>, code: &str) -> Membership {
        match value_set {
            "http://x/unknown" => Membership::Unknown,
            _ if code.starts_with("local") && system != Some("http://other") => Membership::In,
            _ => Membership::Out,
        }
    }
}

fn run(definitions: Vec<Arc<Value>>, resource: &Value, advice: bool) -> Vec<String> {
    let library = Library::new(definitions);
    let resource = Resource::from_value(resource.clone()).unwrap();
    let options = Options {
        profiles: Some(&library),
        claimed: vec![URL.to_owned()],
        terminology: Some(&Codes),
        advice,
        ..Options::default()
    };
    let outcome = validate_with(&resource, &options);
    outcome
        .issues
        .iter()
        .filter(|i| advice || i.severity == Severity::Error)
        .map(|i| format!("{}: {}", i.expression, i.text))
        .collect()
}

/// Each resource with a part of every error it must have, in order; none for one that fits.
#[track_caller]
fn check(kind: &str, elements: Value, cases: &[(Value, &[&str])]) {
    for (resource, expected) in cases {
        let mut resource = resource.clone();
        resource["resourceType"] = json!(kind);
        let found = run(vec![definition(URL, kind, None, elements.clone())], &resource, false);
        let right = found.len() == expected.len() && found.iter().zip(*expected).all(|(f, e)| f.contains(e));
        assert!(right, "{resource}\nexpected {expected:?}\nfound {found:#?}");
    }
}

fn observation(more: Value) -> Value {
    let mut base = json!({"status": "final", "code": {"text": "x"}});
    for (k, v) in more.as_object().unwrap() {
        base[k.as_str()] = v.clone();
    }
    base
}

#[test]
fn cardinality_types_and_lengths() {
    check(
        "Patient",
        json!([{"path": "Patient"}, {"path": "Patient.name", "min": 1, "max": "2"}, {"path": "Patient.name.family", "min": 1, "maxLength": 5},
            {"path": "Patient.photo", "max": "0"}, {"path": "Patient.deceased[x]", "type": [{"code": "boolean"}]},
            {"path": "Patient.multipleBirth[x]", "minValueInteger": 1, "maxValueInteger": 9}]),
        &[
            (json!({"name": [{"family": "Otien"}]}), &[]),
            (json!({}), &["Patient.name: p asks for at least 1"]),
            (json!({"name": [{"given": ["x"]}]}), &["Patient.name[0].family: p asks for at least 1"]),
            (
                json!({"name": [{"family": "Wanjiru"}]}),
                &["Patient.name[0].family: p allows at most 5 characters"],
            ),
            (
                json!({"name": [{"family": "a"}, {"family": "b"}, {"family": "c"}]}),
                &["Patient.name: p allows at most 2"],
            ),
            (
                json!({"name": [{"family": "a"}], "photo": [{"title": "x"}]}),
                &["Patient.photo: p does not allow this"],
            ),
            (
                json!({"name": [{"family": "a"}], "deceasedDateTime": "2024"}),
                &["Patient.deceasedDateTime: p allows boolean here"],
            ),
            (json!({"name": [{"family": "a"}], "multipleBirthInteger": 12}), &["asks for at most 9"]),
            (json!({"name": [{"family": "a"}], "multipleBirthInteger": 0}), &["asks for at least 1"]),
        ],
    );
}

#[test]
fn fixed_values_and_patterns() {
    let loinc = json!({"coding": [{"system": "http://loinc.org", "code": "8867-4"}]});
    check(
        "Observation",
        json!([{"path": "Observation.status", "fixedCode": "final"}, {"path": "Observation.code", "patternCodeableConcept": loinc}]),
        &[
            (
                observation(json!({"code": {"text": "pulse", "coding": [{"system": "http://x", "code": "1"},
                {"system": "http://loinc.org", "code": "8867-4", "display": "Heart rate"}]}})),
                &[],
            ),
            (observation(json!({})), &["Observation.code: p asks for"]),
            (
                observation(json!({"status": "amended", "code": loinc})),
                &["Observation.status: p allows only \"final\""],
            ),
        ],
    );
}

#[test]
fn invariants() {
    check(
        "Patient",
        json!([{"path": "Patient", "constraint": [{"key": "p-1", "severity": "error", "human": "A name or an identifier.",
                "expression": "name.exists() or identifier.exists()"}]},
            {"path": "Patient.name", "constraint": [{"key": "p-2", "severity": "error", "human": "A family or a text",
                "expression": "family.exists() or text.exists()"},
                {"key": "p-3", "severity": "warning", "human": "Use official", "expression": "use = 'official'"}]}]),
        &[
            (json!({"name": [{"text": "x"}]}), &[]),
            (json!({}), &["Patient: A name or an identifier (p-1)."]),
            (
                json!({"name": [{"text": "x"}, {"given": ["y"]}]}),
                &["Patient.name[1]: A family or a text (p-2)."],
            ),
        ],
    );
}

#[test]
fn rules_ask_for_slices() {
    check(
        "Patient",
        json!([{"path": "Patient", "constraint": [{"key": "p-1", "severity": "error", "human": "An old name has a family",
                "expression": "name.slice('http://example.org/StructureDefinition/p', 'old').all(family.exists())"}]},
            {"id": "Patient.name", "path": "Patient.name", "slicing": {"discriminator": [{"type": "value", "path": "use"}], "rules": "open"}},
            {"id": "Patient.name:old", "path": "Patient.name", "sliceName": "old"},
            {"id": "Patient.name:old.use", "path": "Patient.name.use", "fixedCode": "old"}]),
        &[
            (json!({"name": [{"use": "old", "family": "a"}, {"use": "usual", "text": "x"}]}), &[]),
            (json!({"name": [{"use": "old", "text": "x"}]}), &["An old name has a family (p-1)."]),
        ],
    );
}

#[test]
fn slices_by_value() {
    let elements = |rules: &str, ordered: bool| {
        json!([{"id": "Observation.component", "path": "Observation.component", "min": 2,
            "slicing": {"discriminator": [{"type": "value", "path": "code.coding.code"}, {"type": "value", "path": "code.coding.system"}], "rules": rules, "ordered": ordered}},
            {"id": "Observation.component:sys", "path": "Observation.component", "sliceName": "sys", "min": 1, "max": "1"},
            {"id": "Observation.component:sys.code.coding.system", "path": "Observation.component.code.coding.system", "fixedUri": "http://loinc.org"},
            {"id": "Observation.component:sys.code.coding.code", "path": "Observation.component.code.coding.code", "fixedCode": "8480-6"},
            {"id": "Observation.component:sys.value[x]", "path": "Observation.component.value[x]", "min": 1, "type": [{"code": "Quantity"}]},
            {"id": "Observation.component:dia", "path": "Observation.component", "sliceName": "dia", "min": 1, "max": "1"},
            {"id": "Observation.component:dia.code", "path": "Observation.component.code",
                "patternCodeableConcept": {"coding": [{"system": "http://loinc.org", "code": "8462-4"}]}}])
    };
    let part = |code: &str| json!({"code": {"coding": [{"system": "http://loinc.org", "code": code}]}, "valueQuantity": {"value": 1}});
    let with = |parts: &[Value]| observation(json!({"component": parts}));
    let (sys, dia, other) = (part("8480-6"), part("8462-4"), part("1"));
    let text = json!({"code": sys["code"], "valueString": "high"});
    check(
        "Observation",
        elements("open", false),
        &[
            (with(&[dia.clone(), other.clone(), sys.clone()]), &[]),
            (
                with(&[sys.clone(), other.clone()]),
                &["Observation.component: p asks for at least 1 of the slice `dia`"],
            ),
            (with(&[sys.clone(), sys.clone(), dia.clone()]), &["allows at most 1 of the slice `sys`"]),
            (with(&[text, dia.clone()]), &["Observation.component[0].valueString: p allows Quantity"]),
            (with(std::slice::from_ref(&sys)), &["asks for at least 2 here", "slice `dia`"]),
        ],
    );
    check(
        "Observation",
        elements("closed", true),
        &[
            (with(&[sys.clone(), dia.clone()]), &[]),
            (
                with(&[dia.clone(), sys.clone()]),
                &["Observation.component[1]: p wants the slice `sys` earlier"],
            ),
            (
                with(&[sys.clone(), dia.clone(), other.clone()]),
                &["Observation.component[2]: p allows only the slices sys, dia"],
            ),
        ],
    );
    check(
        "Observation",
        elements("openAtEnd", false),
        &[
            (with(&[sys.clone(), dia.clone(), other.clone()]), &[]),
            (with(&[other, sys, dia]), &["slice `sys` before", "slice `dia` before"]),
        ],
    );
}

#[test]
fn slices_by_existence_type_and_pattern() {
    check(
        "Patient",
        json!([{"id": "Patient.name", "path": "Patient.name", "slicing": {"discriminator": [{"type": "exists", "path": "period"}], "rules": "open"}},
            {"id": "Patient.name:old", "path": "Patient.name", "sliceName": "old"},
            {"id": "Patient.name:old.period", "path": "Patient.name.period", "min": 1},
            {"id": "Patient.name:old.use", "path": "Patient.name.use", "min": 1},
            {"id": "Patient.name:now", "path": "Patient.name", "sliceName": "now", "max": "1"},
            {"id": "Patient.name:now.period", "path": "Patient.name.period", "max": "0"},
            {"id": "Patient.identifier", "path": "Patient.identifier", "slicing": {"discriminator": [{"type": "pattern", "path": "type"}], "rules": "open"}},
            {"id": "Patient.identifier:mr", "path": "Patient.identifier", "sliceName": "mr", "max": "1"},
            {"id": "Patient.identifier:mr.type", "path": "Patient.identifier.type", "patternCodeableConcept": {"coding": [{"code": "MR"}]}}]),
        &[
            (
                json!({"name": [{"family": "a"}, {"family": "b", "use": "old", "period": {"end": "2020"}}]}),
                &[],
            ),
            (
                json!({"name": [{"family": "b", "period": {"end": "2020"}}]}),
                &["Patient.name[0].use: p asks for at least 1"],
            ),
            (json!({"name": [{"family": "a"}, {"family": "b"}]}), &["at most 1 of the slice `now`"]),
            (
                json!({"identifier": [{"value": "1", "type": {"coding": [{"code": "MR"}]}}, {"value": "2", "type": {"coding": [{"code": "MR"}]}}, {"value": "3"}]}),
                &["at most 1 of the slice `mr`"],
            ),
        ],
    );
    // Both ways to write a slice of a choice.
    for elements in [
        json!([{"id": "Observation.value[x]", "path": "Observation.value[x]", "slicing": {"discriminator": [{"type": "type", "path": "$this"}], "rules": "closed"}},
            {"id": "Observation.value[x]:valueQuantity", "path": "Observation.value[x]", "sliceName": "valueQuantity", "min": 1, "type": [{"code": "Quantity"}]},
            {"id": "Observation.value[x]:valueQuantity.unit", "path": "Observation.value[x].unit", "min": 1}]),
        json!([{"path": "Observation.value[x]", "slicing": {"discriminator": [{"type": "type", "path": "$this"}], "rules": "closed"}},
            {"path": "Observation.valueQuantity", "sliceName": "valueQuantity", "min": 1},
            {"path": "Observation.valueQuantity.unit", "min": 1}]),
    ] {
        check(
            "Observation",
            elements,
            &[
                (observation(json!({"valueQuantity": {"value": 1, "unit": "mg"}})), &[]),
                (
                    observation(json!({"valueQuantity": {"value": 1}})),
                    &["Observation.valueQuantity.unit: p asks for"],
                ),
                (
                    observation(json!({"valueString": "x"})),
                    &["allows only the slices", "at least 1 of the slice"],
                ),
                (observation(json!({})), &["at least 1 of the slice"]),
            ],
        );
    }
}

#[test]
fn slices_of_slices() {
    check(
        "Patient",
        json!([{"id": "Patient.telecom", "path": "Patient.telecom", "slicing": {"discriminator": [{"type": "value", "path": "system"}], "rules": "open"}},
            {"id": "Patient.telecom:phone", "path": "Patient.telecom", "sliceName": "phone", "slicing": {"discriminator": [{"type": "value", "path": "use"}], "rules": "open"}},
            {"id": "Patient.telecom:phone.system", "path": "Patient.telecom.system", "fixedCode": "phone"},
            {"id": "Patient.telecom:phone/home", "path": "Patient.telecom", "sliceName": "phone/home", "min": 1, "max": "1"},
            {"id": "Patient.telecom:phone/home.use", "path": "Patient.telecom.use", "fixedCode": "home"}]),
        &[
            (
                json!({"telecom": [{"system": "phone", "use": "home", "value": "1"}, {"system": "phone", "use": "work", "value": "2"}]}),
                &[],
            ),
            (
                json!({"telecom": [{"system": "phone", "use": "work", "value": "2"}, {"system": "email", "use": "home", "value": "x"}]}),
                &["at least 1 of the slice `phone/home`"],
            ),
        ],
    );
}

#[test]
fn bindings_by_strength() {
    let elements = |strength: &str, set: &str| {
        json!([{"path": "Observation.code", "binding": {"strength": strength, "valueSet": set}},
            {"path": "Observation.bodySite", "binding": {"strength": strength, "valueSet": set}}])
    };
    let coded = |system: &str, code: &str| {
        observation(json!({"code": {"coding": [{"system": system, "code": code}]}}))
    };
    let all = |strength: &str, set: &str, resource: &Value| {
        let mut resource = resource.clone();
        resource["resourceType"] = json!("Observation");
        let mut found =
            run(vec![definition(URL, "Observation", None, elements(strength, set))], &resource, true);
        found.retain(|f| !f.contains("dom-6"));
        found
    };
    assert_eq!(all("required", "http://x/vs", &coded("http://x", "local")), Vec::<String>::new());
    let required = all("required", "http://x/vs", &coded("http://x", "far"));
    assert!(required.len() == 1 && required[0].contains("must be from http://x/vs"), "{required:?}");
    let nothing = all("required", "http://x/vs", &observation(json!({})));
    assert!(nothing.len() == 1 && nothing[0].contains("A coding from"), "{nothing:?}");
    let extensible = all("extensible", "http://x/vs", &coded("http://other", "local"));
    assert!(extensible.len() == 1 && extensible[0].contains("should be from"), "{extensible:?}");
    let unknown = all("required", "http://x/unknown", &coded("http://x", "far"));
    assert!(unknown.len() == 1 && unknown[0].contains("could not be consulted"), "{unknown:?}");
    assert!(all("preferred", "http://x/vs", &coded("http://x", "far")).is_empty());
    check("Observation", elements("extensible", "http://x/vs"), &[(coded("http://x", "far"), &[])]);
}

#[test]
fn derived_profiles_add_to_their_base() {
    let base = "http://example.org/StructureDefinition/base";
    let definitions = || {
        vec![
            definition(
                base,
                "Patient",
                None,
                json!([{"path": "Patient.name", "min": 1},
                {"id": "Patient.identifier", "path": "Patient.identifier", "slicing": {"discriminator": [{"type": "value", "path": "system"}], "rules": "open"}},
                {"id": "Patient.identifier:nid", "path": "Patient.identifier", "sliceName": "nid"},
                {"id": "Patient.identifier:nid.system", "path": "Patient.identifier.system", "fixedUri": "http://nid"}]),
            ),
            definition(
                URL,
                "Patient",
                Some(base),
                json!([{"path": "Patient.name.family", "min": 1},
                {"id": "Patient.identifier:nid", "path": "Patient.identifier", "sliceName": "nid", "min": 1}]),
            ),
        ]
    };
    let find = |resource: Value| run(definitions(), &resource, false);
    assert!(find(json!({"resourceType": "Patient", "name": [{"family": "x"}], "identifier": [{"system": "http://nid", "value": "1"}]})).is_empty());
    let found =
        find(json!({"resourceType": "Patient", "identifier": [{"system": "http://x", "value": "1"}]}));
    assert!(
        found.len() == 2 && found[0].contains("slice `nid`") && found[1].contains("Patient.name:")
            || found[0].contains("Patient.name:"),
        "{found:?}"
    );
    let found = find(
        json!({"resourceType": "Patient", "name": [{"text": "x"}], "identifier": [{"system": "http://nid", "value": "1"}]}),
    );
    assert!(found.len() == 1 && found[0].contains("family"), "{found:?}");
    // A circle, and a base that is not there.
    let circle = vec![
        definition(URL, "Patient", Some(base), json!([])),
        definition(base, "Patient", Some(URL), json!([])),
    ];
    assert!(run(circle, &json!({"resourceType": "Patient"}), false)[0].contains("not known here"));
}

#[test]
fn extensions_are_checked_by_their_definitions() {
    let url = "http://example.org/StructureDefinition/tribe";
    let mut extension = definition(
        url,
        "Extension",
        None,
        json!([{"path": "Extension.extension", "max": "0"},
        {"path": "Extension.url", "fixedUri": url}, {"path": "Extension.value[x]", "min": 1, "type": [{"code": "string"}]}]),
    );
    Arc::get_mut(&mut extension).unwrap()["context"] = json!([{"type": "element", "expression": "Patient"}, {"type": "element", "expression": "Patient.contact"}]);
    let patient = definition(
        URL,
        "Patient",
        None,
        json!([
        {"id": "Patient.extension", "path": "Patient.extension", "slicing": {"discriminator": [{"type": "value", "path": "url"}], "rules": "open"}},
        {"id": "Patient.extension:tribe", "path": "Patient.extension", "sliceName": "tribe", "min": 1, "max": "1", "type": [{"code": "Extension", "profile": [url]}]}]),
    );
    let find = |resource: Value| run(vec![extension.clone(), patient.clone()], &resource, false);
    let right = json!({"url": url, "valueString": "x"});
    assert!(find(json!({"resourceType": "Patient", "extension": [right, {"url": "http://x/any", "valueInteger": 1}]})).is_empty());
    let found = find(json!({"resourceType": "Patient"}));
    assert!(found.len() == 1 && found[0].contains("at least 1 of the slice `tribe`"), "{found:?}");
    let found = find(json!({"resourceType": "Patient", "extension": [{"url": url, "valueInteger": 1}]}));
    assert!(
        found.len() == 1 && found[0].contains("Patient.extension[0].valueInteger: tribe allows string"),
        "{found:?}"
    );
    let found = find(
        json!({"resourceType": "Patient", "extension": [right], "name": [{"family": "x", "extension": [right]}],
        "contact": [{"extension": [right], "name": {"text": "x"}}]}),
    );
    assert!(
        found.len() == 1
            && found[0].contains(
                "Patient.name[0].extension[0]: This extension may stand on Patient, Patient.contact only"
            ),
        "{found:?}"
    );
    let found = find(
        json!({"resourceType": "Patient", "extension": [right], "modifierExtension": [{"url": "http://x/not", "valueBoolean": true}]}),
    );
    assert!(found.len() == 1 && found[0].contains("modifier extension is not known"), "{found:?}");
}

#[test]
fn references_types_and_contents() {
    let doctor = "http://example.org/StructureDefinition/doctor";
    let library = |elements: Value| {
        vec![
            definition(doctor, "Practitioner", None, json!([{"path": "Practitioner.name", "min": 1}])),
            definition(URL, "Observation", None, elements),
        ]
    };
    let elements = json!([{"path": "Observation.performer", "type": [{"code": "Reference", "targetProfile": [doctor]}]}]);
    let find = |reference: &str| {
        let resource = json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"}, "performer": [{"reference": reference}],
            "contained": [{"resourceType": "Organization", "id": "o", "name": "x"}], "subject": {"reference": "#o"}});
        run(library(elements.clone()), &resource, false)
            .into_iter()
            .filter(|f| f.contains("performer"))
            .collect::<Vec<_>>()
    };
    assert!(find("Practitioner/1").is_empty());
    assert!(find("Organization/1")[0].contains("point at Practitioner only, not at Organization"));
    assert!(find("#o")[0].contains("not at Organization"));
    // contentReference: what is said of an item holds for the items in it.
    let deep = definition(URL, "Questionnaire", None, json!([]));
    let mut deep = deep.as_ref().clone();
    deep["snapshot"] = json!({"element": [{"path": "Questionnaire"}, {"path": "Questionnaire.item"}, {"path": "Questionnaire.item.text", "min": 1},
        {"path": "Questionnaire.item.item", "contentReference": "#Questionnaire.item"}]});
    let resource = json!({"resourceType": "Questionnaire", "status": "draft", "item": [{"linkId": "1", "type": "group", "text": "x",
        "item": [{"linkId": "2", "type": "string"}]}]});
    let found = run(vec![Arc::new(deep)], &resource, false);
    assert!(found.len() == 1 && found[0].contains("Questionnaire.item[0].item[0].text"), "{found:?}");
}

#[test]
fn slices_by_profile_and_resolved_type() {
    let who = "http://example.org/StructureDefinition/who";
    let definitions = vec![
        definition(who, "Patient", None, json!([{"path": "Patient.name", "min": 1}])),
        definition(
            URL,
            "Bundle",
            None,
            json!([
            {"id": "Bundle.entry", "path": "Bundle.entry", "slicing": {"discriminator": [{"type": "type", "path": "resource"}, {"type": "profile", "path": "resource"}], "rules": "open"}},
            {"id": "Bundle.entry:who", "path": "Bundle.entry", "sliceName": "who", "min": 1},
            {"id": "Bundle.entry:who.resource", "path": "Bundle.entry.resource", "type": [{"code": "Patient", "profile": [who]}]}]),
        ),
    ];
    let bundle = |patient: Value| json!({"resourceType": "Bundle", "type": "collection", "entry": [{"resource": patient}]});
    let find = |patient: Value| run(definitions.clone(), &bundle(patient), false);
    assert!(find(json!({"resourceType": "Patient", "name": [{"text": "x"}]})).is_empty());
    assert!(find(json!({"resourceType": "Patient"}))[0].contains("slice `who`"));
    let elements = json!([
        {"id": "Observation.performer", "path": "Observation.performer", "slicing": {"discriminator": [{"type": "type", "path": "resolve()"}], "rules": "closed"}},
        {"id": "Observation.performer:doctor", "path": "Observation.performer", "sliceName": "doctor", "max": "1",
            "type": [{"code": "Reference", "targetProfile": ["http://hl7.org/fhir/StructureDefinition/Practitioner"]}]}]);
    check(
        "Observation",
        elements,
        &[
            (
                observation(
                    json!({"performer": [{"reference": "#p"}], "contained": [{"resourceType": "Practitioner", "id": "p"}]}),
                ),
                &[],
            ),
            (
                observation(
                    json!({"performer": [{"reference": "#o"}], "contained": [{"resourceType": "Organization", "id": "o", "name": "x"}]}),
                ),
                &["allows only the slices doctor"],
            ),
        ],
    );
}

#[test]
fn profiles_of_entries_and_unknown_ones() {
    let named = definition(URL, "Patient", None, json!([{"path": "Patient.name", "min": 1}]));
    let library = Library::new([named]);
    let options = Options { profiles: Some(&library), advice: true, ..Options::default() };
    let resource = Resource::from_value(json!({"resourceType": "Bundle", "type": "collection", "entry": [
        {"resource": {"resourceType": "Patient", "meta": {"profile": [URL]}}},
        {"resource": {"resourceType": "Patient", "meta": {"profile": ["http://x/unknown"]}}}]}))
    .unwrap();
    let outcome = validate_with(&resource, &options);
    let found: Vec<String> = outcome
        .issues
        .iter()
        .filter(|i| !i.text.contains("dom-6"))
        .map(|i| format!("{} {}: {}", i.severity.code(), i.expression, i.text))
        .collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].starts_with("error Bundle.entry[0].resource.name"), "{found:?}");
    assert!(found[1].starts_with("warning Bundle.entry[1].resource.meta.profile[0]"), "{found:?}");
    let deep = format!("Patient{}", ".x".repeat(100_000));
    for path in [deep, format!("Patient.name:{}", "a/".repeat(100_000))] {
        let deep = definition(
            URL,
            "Patient",
            None,
            json!([{"path": path.split(':').next(), "id": path,
            "sliceName": path.split(':').nth(1)}]),
        );
        assert!(Profile::compile(&deep, &library).is_err());
    }
    let wrong = json!({"resourceType": "StructureDefinition", "url": "x", "type": "Nonsense"});
    assert!(Profile::compile(&wrong, &library).is_err());
}

mod arbitrary {
    use super::*;
    use proptest::prelude::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            prop::sample::select(vec![
                "Patient",
                "Patient.name",
                "Patient.name[x]",
                "a:b/c",
                "*",
                "1",
                "value",
                "$this",
                "closed"
            ])
            .prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(
                    prop::sample::select(vec![
                        "path",
                        "id",
                        "sliceName",
                        "slicing",
                        "min",
                        "max",
                        "type",
                        "code",
                        "profile",
                        "fixedCode",
                        "patternString",
                        "binding",
                        "constraint",
                        "discriminator",
                        "rules",
                        "contentReference"
                    ])
                    .prop_map(str::to_owned),
                    inner,
                    0..5
                )
                .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn no_profile_panics(elements in prop::collection::vec(any_json(), 0..6)) {
            let resource = json!({"resourceType": "Patient", "name": [{"family": "x", "given": ["y"]}], "active": true});
            let _ = run(vec![definition(URL, "Patient", None, Value::from(elements))], &resource, true);
        }
    }
}
