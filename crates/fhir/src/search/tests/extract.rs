use crate::search::{IndexValue, Params, compartment, extract};
use crate::{Resource, TypeId, definitions};
use serde_json::{Value, json};

fn resource(value: Value) -> Resource {
    Resource::from_value(value).unwrap()
}

/// The entries of one parameter, in short form.
fn entries(value: &Value, code: &str) -> Vec<String> {
    let resource = resource(value.clone());
    let param = definitions::param(resource.kind(), code).unwrap();
    extract(&Params::standard(), &resource)
        .into_iter()
        .filter(|e| e.param == param.id)
        .map(|e| show(&e.value))
        .collect()
}

fn show(value: &IndexValue) -> String {
    let time = |us: i64| match us {
        i64::MIN => "-".to_owned(),
        i64::MAX => "+".to_owned(),
        us => jiff::Timestamp::from_microsecond(us).unwrap().to_string(),
    };
    let number = |n: f64| match n {
        f64::MIN => "-".to_owned(),
        f64::MAX => "+".to_owned(),
        n => n.to_string(),
    };
    match value {
        IndexValue::Token { system, code } => format!("{system}|{code}"),
        IndexValue::String { folded, exact } => format!("{folded}/{exact}"),
        IndexValue::Date { low_us, high_us } => format!("{}..{}", time(*low_us), time(*high_us)),
        IndexValue::Quantity { value, low, high, system, code } => {
            format!("{} {}..{} {system}|{code}", number(*value), number(*low), number(*high))
        }
        IndexValue::Reference { target } => format!("-> {target}"),
        IndexValue::Uri(uri) => uri.clone(),
        IndexValue::IdentifierOfType { system, code, value } => format!("of-type {system}|{code}|{value}"),
        IndexValue::Text { folded, coding: None } => format!("text {folded}"),
        IndexValue::Text { folded, coding: Some((system, code)) } => {
            format!("text {folded} of {system}|{code}")
        }
        IndexValue::ReferenceIdentifier { system, value } => format!("identifier {system}|{value}"),
        IndexValue::Position { latitude, longitude } => format!("{latitude}|{longitude}"),
        IndexValue::Composite(parts) => parts.iter().map(show).collect::<Vec<_>>().join(" $ "),
    }
}

#[test]
fn patient() {
    let p = json!({"resourceType": "Patient", "id": "p1", "active": true, "gender": "female", "birthDate": "1990-05",
        "meta": {"profile": ["http://x/p|1.0"], "tag": [{"system": "s", "code": "t"}], "security": [{"code": "R"}]},
        "identifier": [{"system": "urn:nid", "value": "123"}, {"value": "9"}, {"system": "urn:only"}],
        "name": [{"family": "Wanjirũ", "given": ["Amina", "Njeri"], "prefix": ["Dr"], "text": "Amina Wanjirũ"}, {"family": "Otieno"}],
        "telecom": [{"system": "phone", "value": "+254 700 000001"}, {"system": "email", "value": "a@b.ke"}],
        "address": [{"line": ["Moi Ave"], "city": "Nairobi", "country": "KE", "use": "home"}],
        "generalPractitioner": [{"reference": "Practitioner/d1"}, {"reference": "#c"}, {"reference": "http://x/Practitioner/9"}],
        "link": [{"other": {"reference": "Patient/p2"}, "type": "refer"}],
        "deceasedDateTime": "2024-01-01T10:00:00+03:00"});
    for (code, expected) in [
        ("active", &["|true"][..]),
        ("gender", &["|female"]),
        ("birthdate", &["1990-05-01T00:00:00Z..1990-06-01T00:00:00Z"]),
        ("identifier", &["urn:only|", "urn:nid|123", "|9"]),
        ("family", &["otieno/Otieno", "wanjiru/Wanjirũ"]),
        ("given", &["amina/Amina", "njeri/Njeri"]),
        (
            "name",
            &[
                "amina/Amina",
                "amina wanjiru/Amina Wanjirũ",
                "dr/Dr",
                "njeri/Njeri",
                "otieno/Otieno",
                "wanjiru/Wanjirũ",
            ],
        ),
        ("phone", &["phone|+254 700 000001"]),
        ("email", &["email|a@b.ke"]),
        ("telecom", &["phone|+254 700 000001", "email|a@b.ke"]),
        ("address", &["ke/KE", "moi ave/Moi Ave", "nairobi/Nairobi"]),
        ("address-city", &["nairobi/Nairobi"]),
        ("address-use", &["|home"]),
        ("general-practitioner", &["-> Practitioner/d1", "http://x/Practitioner/9"]),
        ("link", &["-> Patient/p2"]),
        ("deceased", &["|true"]),
        ("death-date", &["2024-01-01T07:00:00Z..2024-01-01T07:00:01Z"]),
        ("_tag", &["s|t"]),
        ("_security", &["|R"]),
        ("_profile", &["http://x/p", "http://x/p|1.0"]),
        ("_source", &[]),
        ("language", &[]),
    ] {
        assert_eq!(entries(&p, code), expected, "{code}");
    }
    assert_eq!(entries(&json!({"resourceType": "Patient"}), "deceased"), ["|false"]);
    assert_eq!(
        entries(&json!({"resourceType": "Patient", "deceasedBoolean": false}), "deceased"),
        ["|false"]
    );
    assert_eq!(entries(&json!({"resourceType": "Patient", "deceasedBoolean": true}), "deceased"), ["|true"]);
}

#[test]
fn observation() {
    let o: Value = serde_json::from_str(
        r#"{"resourceType": "Observation", "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}, {"code": "bp"}], "text": "Own words"},
        "subject": {"reference": "Patient/p1"}, "encounter": {"reference": "Encounter/e1"},
        "performer": [{"reference": "Practitioner/d1"}, {"reference": "Practitioner/d1"}],
        "effectivePeriod": {"start": "2024-01-01"},
        "valueQuantity": {"value": 5.40, "unit": "mmol/L", "system": "http://unitsofmeasure.org", "code": "mmol/L"},
        "component": [
          {"code": {"coding": [{"system": "http://loinc.org", "code": "8480-6"}]}, "valueQuantity": {"value": 120, "unit": "mmHg"}},
          {"code": {"coding": [{"system": "http://loinc.org", "code": "8462-4"}]}, "valueQuantity": {"value": 8, "comparator": "<", "unit": "mmHg"}}]}"#,
    )
    .unwrap();
    for (code, expected) in [
        ("code", &["http://loinc.org|8480-6", "|bp", "text own words"][..]),
        ("combo-code", &["http://loinc.org|8462-4", "http://loinc.org|8480-6", "|bp", "text own words"]),
        ("status", &["|final"]),
        ("subject", &["-> Patient/p1"]),
        ("patient", &["-> Patient/p1"]),
        ("encounter", &["-> Encounter/e1"]),
        ("performer", &["-> Practitioner/d1"]),
        ("date", &["2024-01-01T00:00:00Z..+"]),
        ("value-quantity", &["5.4 5.395..5.405 http://unitsofmeasure.org|mmol/L"]),
        ("component-value-quantity", &["8 -..8.5 |mmHg", "120 119.5..120.5 |mmHg"]),
        ("value-concept", &[]),
        ("value-string", &[]),
        ("code-value-quantity", &[]),
        ("combo-code-value-quantity", &[]),
        (
            "component-code-value-quantity",
            &["http://loinc.org|8462-4 $ 8 -..8.5 |mmHg", "http://loinc.org|8480-6 $ 120 119.5..120.5 |mmHg"],
        ),
        ("component-code-value-concept", &[]),
    ] {
        assert_eq!(entries(&o, code), expected, "{code}");
    }
    let concept = json!({"resourceType": "Observation", "valueCodeableConcept": {"text": "Positive", "coding": [{"code": "P"}]}});
    assert_eq!(entries(&concept, "value-string"), ["positive/Positive"]);
    assert_eq!(entries(&concept, "value-concept"), ["|P", "text positive"]);
    let group = json!({"resourceType": "Observation", "subject": {"reference": "Group/g"}});
    assert!(entries(&group, "patient").is_empty());
    assert_eq!(entries(&group, "subject"), ["-> Group/g"]);
}

#[test]
fn other_types() {
    let cases = [
        (
            json!({"resourceType": "Observation", "effectiveTiming": {"event": ["2024-03-01", "2024-01-01"],
            "repeat": {"boundsPeriod": {"end": "2024-02-01"}}}}),
            "date",
            &["-..2024-03-02T00:00:00Z"][..],
        ),
        (json!({"resourceType": "Observation", "effectivePeriod": {}}), "date", &[]),
        (
            json!({"resourceType": "Observation", "effectiveInstant": "2024-01-01T00:00:00.5Z"}),
            "date",
            &["2024-01-01T00:00:00.5Z..2024-01-01T00:00:00.6Z"],
        ),
        (
            json!({"resourceType": "Condition", "onsetAge": {"value": 40, "system": "http://unitsofmeasure.org", "code": "a"}}),
            "onset-age",
            &["40 39.5..40.5 http://unitsofmeasure.org|a"],
        ),
        (
            json!({"resourceType": "Condition", "onsetRange": {"low": {"value": 30, "unit": "a"}, "high": {"value": 40, "unit": "a"}}}),
            "onset-age",
            &["35 29.5..40.5 |a"],
        ),
        (
            json!({"resourceType": "Condition", "onsetString": "Long ago"}),
            "onset-info",
            &["long ago/Long ago"],
        ),
        (
            json!({"resourceType": "Invoice", "totalGross": {"value": 1500.00, "currency": "KES"}}),
            "totalgross",
            &["1500 1499.95..1500.05 urn:iso:std:iso:4217|KES"],
        ),
        (
            json!({"resourceType": "RiskAssessment", "prediction": [{"probabilityDecimal": 0.5}]}),
            "probability",
            &["0.5 0.45..0.55 |"],
        ),
        (
            json!({"resourceType": "MedicationRequest", "medicationReference": {"reference": "Medication/m"}}),
            "medication",
            &["-> Medication/m"],
        ),
        (
            json!({"resourceType": "MedicationRequest", "medicationCodeableConcept": {"coding": [{"code": "x"}]}}),
            "code",
            &["|x"],
        ),
        (
            json!({"resourceType": "Appointment", "participant": [{"actor": {"reference": "Patient/p"}}, {"actor": {"reference": "Location/l"}}]}),
            "patient",
            &["-> Patient/p"],
        ),
        (
            json!({"resourceType": "Slot", "start": "2024-01-01T08:00:00+03:00"}),
            "start",
            &["2024-01-01T05:00:00Z..2024-01-01T05:00:01Z"],
        ),
        (json!({"resourceType": "ValueSet", "url": "http://x/vs"}), "url", &["http://x/vs"]),
        (
            json!({"resourceType": "QuestionnaireResponse", "questionnaire": "http://x/q|2"}),
            "questionnaire",
            &["http://x/q", "http://x/q|2"],
        ),
        (
            json!({"resourceType": "Observation", "code": {"text": "Blood  PRESSURE", "coding": [{"system": "s", "code": "c", "display": "Blood pressure"}]}}),
            "code",
            &["s|c", "text blood pressure of s|c"],
        ),
        (
            json!({"resourceType": "Observation", "code": {"coding": [{"display": "only words"}]}}),
            "code",
            &["text only words"],
        ),
        (
            json!({"resourceType": "Patient", "identifier": [{"system": "s", "value": "7", "type": {"text": "Medical record", "coding": [{"system": "t", "code": "MR"}]}}]}),
            "identifier",
            &["s|7", "of-type t|MR|7", "text medical record"],
        ),
        (
            json!({"resourceType": "Observation", "subject": {"identifier": {"system": "nid", "value": "9"}}}),
            "patient",
            &["identifier nid|9"],
        ),
        (
            json!({"resourceType": "Observation", "subject": {"type": "Group", "identifier": {"system": "nid", "value": "9"}}}),
            "patient",
            &[],
        ),
        (
            json!({"resourceType": "Location", "position": {"latitude": -1.2921, "longitude": 36.8219}}),
            "near",
            &["-1.2921|36.8219"],
        ),
        (json!({"resourceType": "Location", "position": {"latitude": 91, "longitude": 0}}), "near", &[]),
        (
            json!({"resourceType": "InsurancePlan", "name": "Gold", "alias": ["Or"]}),
            "name",
            &["gold/Gold", "or/Or"],
        ),
        (
            json!({"resourceType": "DocumentReference", "relatesTo": [{"code": "replaces", "target": {"reference": "DocumentReference/1"}}, {"code": "signs"}]}),
            "relationship",
            &["|replaces $ -> DocumentReference/1"],
        ),
        (
            json!({"resourceType": "ValueSet", "useContext": [
                {"code": {"code": "age"}, "valueRange": {"low": {"value": 1, "code": "a"}, "high": {"value": 5, "code": "a"}}},
                {"code": {"code": "focus"}, "valueCodeableConcept": {"coding": [{"code": "x"}, {"code": "y"}]}}]}),
            "context-type-value",
            &["|focus $ |x", "|focus $ |y"],
        ),
        (
            json!({"resourceType": "MolecularSequence", "referenceSeq": {"chromosome": {"coding": [{"code": "1"}]}},
                "variant": [{"start": 5, "end": 8}]}),
            "chromosome-variant-coordinate",
            &["|1 $ 5 4.5..5.5 | $ 8 7.5..8.5 |"],
        ),
        (
            json!({"resourceType": "Library", "relatedArtifact": [{"type": "depends-on", "resource": "http://x/a"}, {"type": "citation", "resource": "http://x/b"}]}),
            "depends-on",
            &["http://x/a"],
        ),
        (
            json!({"resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Composition", "id": "c"}}, {"resource": {"resourceType": "Patient", "id": "p"}}]}),
            "composition",
            &["-> Composition/c"],
        ),
        (json!({"resourceType": "Encounter", "class": {"system": "s", "code": "VR"}}), "class", &["s|VR"]),
        (
            json!({"resourceType": "Encounter", "length": {"value": 30, "unit": "min", "system": "http://unitsofmeasure.org", "code": "min"}}),
            "length",
            &["30 29.5..30.5 http://unitsofmeasure.org|min"],
        ),
        (
            json!({"resourceType": "Immunization", "vaccineCode": {"coding": [{"code": "BCG"}]}}),
            "vaccine-code",
            &["|BCG"],
        ),
    ];
    for (value, code, expected) in cases {
        assert_eq!(entries(&value, code), expected, "{value} {code}");
    }
}

#[test]
fn wrong_values_are_left_out() {
    let p = json!({"resourceType": "Patient", "birthDate": "soon", "active": "yes", "name": "x", "gender": 1, "telecom": {"system": "phone"},
        "generalPractitioner": [{"reference": 7}, "x", null, {"reference": "Practitioner?identifier=1"}]});
    let codes: Vec<&str> = extract(&Params::standard(), &resource(p))
        .iter()
        .map(|e| definitions::param_by_id(e.param).unwrap().code)
        .collect();
    assert_eq!(codes, ["deceased", "gender"]);
    let huge: Vec<Value> = (0..100).map(|n| json!({"code": n.to_string()})).collect();
    let component = json!({"code": {"coding": huge}, "valueCodeableConcept": {"coding": huge}});
    let o = json!({"resourceType": "Observation", "component": [component]});
    assert_eq!(entries(&o, "component-code-value-concept").len(), 64);
}

#[test]
fn long_text_is_cut_at_a_character() {
    let long = "é".repeat(2000);
    let found = entries(&json!({"resourceType": "Patient", "name": [{"family": long}]}), "family");
    assert_eq!(found[0].split('/').nth(1).unwrap().len(), crate::search::MAX_INDEXED_BYTES);
}

#[test]
fn compartments() {
    let ids = |value: Value| compartment(&resource(value));
    assert_eq!(
        ids(json!({"resourceType": "Patient", "id": "p", "link": [{"other": {"reference": "Patient/q"}}]})),
        ["p"]
    );
    assert_eq!(
        ids(json!({"resourceType": "Observation", "subject": {"reference": "Patient/p"},
        "performer": [{"reference": "Patient/p"}, {"reference": "Patient/q"}, {"reference": "Practitioner/d"}]})),
        ["p", "q"]
    );
    assert_eq!(
        ids(json!({"resourceType": "Observation", "focus": [{"reference": "Patient/p"}]})),
        Vec::<String>::new()
    );
    assert_eq!(
        ids(json!({"resourceType": "Appointment", "participant": [{"actor": {"reference": "Patient/p"}}]})),
        ["p"]
    );
    assert_eq!(ids(json!({"resourceType": "Location", "name": "x"})), Vec::<String>::new());
    assert_eq!(
        ids(json!({"resourceType": "Encounter", "subject": {"reference": "http://elsewhere/Patient/p"}})),
        Vec::<String>::new()
    );
}

#[test]
fn numbers_of_parameters_are_stable() {
    // Stored in databases: these may never change.
    for (kind, code, id) in [
        (TypeId::PATIENT, "name", 1624),
        (TypeId::OBSERVATION, "code", 1493),
        (TypeId::APPOINTMENT, "date", 81),
    ] {
        assert_eq!(definitions::param(kind, code).map(|p| p.id.0), Some(id), "{} {code}", kind.name());
    }
}
