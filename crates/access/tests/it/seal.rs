use access::Seals;
use access::sensitivity::{Rules, RulesError};
use fhir::Resource;
use serde_json::{Value, json};

fn condition(codings: Value) -> Resource {
    Resource::from_value(
        json!({"resourceType": "Condition", "id": "c", "subject": {"reference": "Patient/p"},
        "code": {"coding": codings}}),
    )
    .unwrap()
}

#[test]
fn labels_are_read_and_added_once() {
    let mut resource = condition(json!([]));
    assert_eq!(Seals::of(&resource), Seals::NONE);
    let both = Seals::HIV.with(Seals::RESTRICTED);
    assert!(access::seal::label(&mut resource, both));
    assert_eq!(Seals::of(&resource), both);
    assert!(!access::seal::label(&mut resource, Seals::HIV), "it is there already");
    let labels = resource.get("meta").unwrap()["security"].as_array().unwrap().clone();
    assert_eq!(
        labels,
        [
            json!({"system": "http://terminology.hl7.org/CodeSystem/v3-ActCode", "code": "HIV"}),
            json!({"system": "http://terminology.hl7.org/CodeSystem/v3-Confidentiality", "code": "R"})
        ]
    );
}

/// The same letters in another system, or no system at all, say nothing.
#[test]
fn only_the_standard_labels_seal() {
    let act = "http://terminology.hl7.org/CodeSystem/v3-ActCode";
    let confidentiality = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality";
    for (system, code, expected) in [
        (act, "HIV", Seals::HIV),
        (act, "STD", Seals::SRH),
        (act, "SDV", Seals::GBV),
        (act, "PSYTHPN", Seals::MENTAL),
        (act, "ETH", Seals::SUBSTANCES),
        (act, "R", Seals::NONE),
        (confidentiality, "R", Seals::RESTRICTED),
        (confidentiality, "V", Seals::RESTRICTED),
        (confidentiality, "N", Seals::NONE),
        (confidentiality, "HIV", Seals::NONE),
        ("urn:other", "HIV", Seals::NONE),
    ] {
        assert_eq!(Seals::of_coding(&json!({"system": system, "code": code})), expected, "{system}|{code}");
    }
    assert_eq!(Seals::of_coding(&json!({"code": "HIV"})), Seals::NONE);
    for category in Seals::CATEGORIES {
        assert_eq!(Seals::from_code(category.code), Some(category.seals));
    }
}

/// A code is not hidden behind many that say nothing.
#[test]
fn what_is_too_long_to_look_at_is_sealed() {
    let icd = "http://hl7.org/fhir/sid/icd-10";
    let harmless = |count: usize| vec![json!({"system": icd, "code": "J06.9"}); count];
    let entry =
        |codings: Vec<Value>| json!({"resource": {"resourceType": "Condition", "code": {"coding": codings}}});
    let document = |entries: Vec<Value>| {
        let value = json!({"resourceType": "Bundle", "id": "b", "type": "document", "entry": entries});
        Resource::from_value(value).unwrap()
    };
    let hiv = entry(vec![json!({"system": icd, "code": "B20"})]);
    let mut long = document(vec![entry(harmless(15_000)), entry(harmless(15_000)), hiv]);
    let sealing = Rules::built_in().seal(&mut long);
    assert_eq!((sealing.whole, sealing.parts), (Seals::NONE, Seals::HIV));
    let sealing = Rules::built_in().seal(&mut document(vec![entry(harmless(20_001))]));
    assert_eq!(sealing.parts, Seals::RESTRICTED);
    let sealing = Rules::built_in().seal(&mut document(vec![entry(harmless(100))]));
    assert_eq!(sealing.parts, Seals::NONE);
}

#[test]
fn codes_seal_by_the_lists() {
    let icd = "http://hl7.org/fhir/sid/icd-10";
    let rules = Rules::built_in();
    for (system, code, expected) in [
        (icd, "B20.1", Seals::HIV),
        (icd, "B24", Seals::HIV),
        (icd, "T74.2", Seals::GBV),
        (icd, "F20.0", Seals::MENTAL),
        (icd, "F10.2", Seals::SUBSTANCES),
        (icd, "O04", Seals::SRH),
        (icd, "J06.9", Seals::NONE),
        (icd, "F32.1", Seals::NONE),
        (icd, "B2", Seals::NONE),
        ("http://snomed.info/sct", "86406008", Seals::HIV),
        ("http://snomed.info/sct", "864060080", Seals::NONE),
        ("urn:other", "B20", Seals::NONE),
    ] {
        let resource = condition(json!([{"system": system, "code": code}]));
        assert_eq!(rules.of(&resource), expected, "{system}|{code}");
    }
    // Deep inside, and several at once.
    let medicine = Resource::from_value(json!({"resourceType": "MedicationRequest", "status": "active", "intent": "order",
        "subject": {"reference": "Patient/p"}, "contained": [{"resourceType": "Medication", "code": {"coding": [
        {"system": "http://www.whocc.no/atc", "code": "J05AR10"}]}}],
        "reasonCode": [{"coding": [{"system": icd, "code": "F11.2"}]}]}))
    .unwrap();
    assert_eq!(rules.of(&medicine), Seals::HIV.with(Seals::SUBSTANCES));
    // What is said about nobody is not sealed.
    let definition =
        Resource::from_value(json!({"resourceType": "ValueSet", "status": "active", "useContext": [
        {"valueCodeableConcept": {"coding": [{"system": icd, "code": "B20"}]}}]}))
        .unwrap();
    assert_eq!(rules.of(&definition), Seals::NONE);
}

#[test]
fn clinics_add_lists_of_their_own() {
    let own =
        json!([{"category": "MH", "system": "http://hl7.org/fhir/sid/icd-10", "codes": ["F32*", "Z91.5"]}]);
    let rules = Rules::built_in().and(&own).unwrap();
    let of = |code: &str| {
        rules.of(&condition(json!([{"system": "http://hl7.org/fhir/sid/icd-10", "code": code}])))
    };
    assert_eq!((of("F32.1"), of("Z91.5"), of("B20")), (Seals::MENTAL, Seals::MENTAL, Seals::HIV));
    let bad = |value: Value| Rules::default().and(&value).unwrap_err();
    assert!(matches!(bad(json!({})), RulesError::Shape(_)));
    assert!(matches!(bad(json!([{"category": "X", "system": "s", "codes": []}])), RulesError::Category(_)));
    assert!(matches!(bad(json!([{"category": "HIV", "system": "s", "codes": ["*"]}])), RulesError::Shape(_)));
    assert!(matches!(bad(json!([{"category": "HIV", "codes": ["a"]}])), RulesError::Shape(_)));
    let many: Vec<String> = (0..20_001).map(|n| n.to_string()).collect();
    assert_eq!(bad(json!([{"category": "HIV", "system": "s", "codes": many}])), RulesError::TooMany);
}
