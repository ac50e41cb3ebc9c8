use crate::search::{references, rewrite_references};
use crate::{Reference, Resource, ResourceKey, TypeId};
use serde_json::{Value, json};

#[test]
fn parsing() {
    let local = |kind, id: &str, version| Reference::Local { key: ResourceKey::new(kind, id), version };
    let base = Some("https://uzima.example/fhir/R4");
    for (text, expected) in [
        ("Patient/1", local(TypeId::PATIENT, "1", None)),
        ("Patient/1/_history/3", local(TypeId::PATIENT, "1", Some(3))),
        ("https://uzima.example/fhir/R4/Patient/1", local(TypeId::PATIENT, "1", None)),
        ("#a", Reference::Contained("a".into())),
        ("urn:uuid:x", Reference::Urn("urn:uuid:x".into())),
        ("https://other.example/Patient/1", Reference::External("https://other.example/Patient/1".into())),
        (
            "https://uzima.example/fhir/R4X/Patient/1",
            Reference::External("https://uzima.example/fhir/R4X/Patient/1".into()),
        ),
        (
            "Patient?identifier=a|b",
            Reference::Conditional { kind: TypeId::PATIENT, query: "identifier=a|b".into() },
        ),
        ("Patients/1", Reference::External("Patients/1".into())),
        ("Patient/a_b", Reference::External("Patient/a_b".into())),
        ("", Reference::External("".into())),
    ] {
        assert_eq!(Reference::parse(text, base), expected, "{text}");
    }
    assert_eq!(
        Reference::parse("https://other.example/fhir/Patient/1/_history/2", None).kind(),
        Some(TypeId::PATIENT)
    );
    assert_eq!(Reference::parse("https://other.example/x", None).kind(), None);
}

fn sample() -> Value {
    json!({"resourceType": "Observation",
        "contained": [{"resourceType": "Specimen", "id": "s", "subject": {"reference": "urn:uuid:1"}}],
        "extension": [{"url": "urn:uuid:1", "valueReference": {"reference": "Group/g"}}, {"url": "http://y", "valueUri": "urn:uuid:1"}],
        "_status": {"extension": [{"url": "http://x", "valueReference": {"reference": "Slot/s"}}]},
        "identifier": [{"system": "urn:uuid:2", "value": "urn:uuid:1", "assigner": {"reference": "Organization/o"}}],
        "subject": {"reference": "urn:uuid:1", "display": "urn:uuid:1"},
        "performer": [{"reference": "Practitioner/a"}, {"display": "x"}, {"reference": "#s"}],
        "component": [{"valueQuantity": {"value": 1}, "extension": [{"url": "http://z", "valueReference": {"reference": "urn:uuid:2"}}]}]})
}

#[test]
fn all_references_are_found() {
    let resource = Resource::from_value(sample()).unwrap();
    let found: Vec<String> = references(&resource).into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        found,
        [
            "Observation.contained[0].subject.reference",
            "Observation.extension[0].valueReference.reference",
            "Observation.status.extension[0].valueReference.reference",
            "Observation.identifier[0].assigner.reference",
            "Observation.subject.reference",
            "Observation.performer[0].reference",
            "Observation.performer[2].reference",
            "Observation.component[0].extension[0].valueReference.reference",
        ]
    );
    let bundle = json!({"resourceType": "Bundle", "entry": [{"resource": sample()}]});
    assert_eq!(references(&Resource::from_value(bundle).unwrap()).len(), 8);
}

#[test]
fn links_are_rewritten_and_names_are_not() {
    let mut resource = Resource::from_value(sample()).unwrap();
    let mut replace = |text: &str| match text {
        "urn:uuid:1" => Some("Patient/1".to_owned()),
        "urn:uuid:2" => Some("Device/2".to_owned()),
        _ => None,
    };
    rewrite_references(&mut resource, &mut replace);
    let v = resource.value();
    for (pointer, expected) in [
        ("/contained/0/subject/reference", "Patient/1"),
        ("/extension/0/url", "urn:uuid:1"),
        ("/extension/1/valueUri", "Patient/1"),
        ("/identifier/0/system", "Device/2"),
        ("/identifier/0/value", "urn:uuid:1"),
        ("/subject/reference", "Patient/1"),
        ("/subject/display", "urn:uuid:1"),
        ("/performer/0/reference", "Practitioner/a"),
        ("/component/0/extension/0/valueReference/reference", "Device/2"),
    ] {
        assert_eq!(v.pointer(pointer).and_then(Value::as_str), Some(expected), "{pointer}");
    }
}
