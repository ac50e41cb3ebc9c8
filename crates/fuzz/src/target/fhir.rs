//! Resources as JSON and XML, and everything that looks into one.

use super::{halves, seen, texts};
use crate::Reader;
use fhir::search::{self, Params};
use fhir::{Resource, patch, summary, validate, xml};
use serde_json::Value;
use std::sync::OnceLock;

pub const JSON: Reader = Reader {
    name: "fhir-json",
    about: "resources as JSON, validated, indexed, written as XML and read back",
    read: json,
    seeds: || texts(RESOURCES),
};
pub const XML: Reader =
    Reader { name: "fhir-xml", about: "resources as XML", read: from_xml, seeds: xml_seeds };
pub const NARRATIVE: Reader =
    Reader { name: "narrative", about: "XHTML of narratives", read: narrative, seeds: || texts(NARRATIVES) };
pub const PATCH: Reader =
    Reader { name: "patch", about: "JSON Patch and FHIRPath Patch", read: patched, seeds: || texts(PATCHES) };

pub const RESOURCES: &[&str] = &[
    r##"{"resourceType":"Patient","id":"p1","meta":{"security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-Confidentiality","code":"R"}]},"text":{"status":"generated","div":"<div xmlns=\"http://www.w3.org/1999/xhtml\">a<br/>b</div>"},"identifier":[{"system":"https://id.example","value":"12"}],"active":true,"name":[{"family":"Mwangi","given":["Asha","B"],"_given":[null,{"id":"g2"}]}],"telecom":[{"system":"phone","value":"+254712000000","use":"mobile"}],"gender":"female","birthDate":"1990-02","_birthDate":{"extension":[{"url":"http://example.org/t","valueTime":"10:00:00"}]},"contained":[{"resourceType":"Organization","id":"o","name":"ሆስፒታል"}],"managingOrganization":{"reference":"#o"},"multipleBirthInteger":2}"##,
    r#"{"resourceType":"Observation","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}],"text":"pulse"},"subject":{"reference":"Patient/p1"},"effectivePeriod":{"start":"2026-01-01T10:00:00.5+03:00"},"valueQuantity":{"value":71.50,"comparator":"<","unit":"/min","system":"http://unitsofmeasure.org","code":"/min"},"component":[{"code":{"text":"c"},"valueRange":{"low":{"value":-1e-3},"high":{"value":1E5}}}]}"#,
    r#"{"resourceType":"Bundle","type":"transaction","entry":[{"fullUrl":"urn:uuid:5f3b5c1e-0f0e-4a37-9c66-3b1c1a8a0001","resource":{"resourceType":"Encounter","status":"finished","class":{"code":"AMB"}},"request":{"method":"PUT","url":"Encounter/a","ifMatch":"W/\"1\""}}]}"#,
    r#"{"resourceType":"Questionnaire","status":"draft","item":[{"linkId":"1","type":"group","item":[{"linkId":"1.1","type":"boolean","extension":[{"url":"u","extension":[{"url":"v","valueCode":"c"}]}]}]}]}"#,
    r#"{"resourceType":"SearchParameter","url":"https://sp.example/x","name":"x","status":"active","description":"d","code":"x","base":["Patient"],"type":"token","expression":"Patient.name.where(use='official').given | Patient.extension('http://e').value"}"#,
    r#"{"resourceType":"StructureDefinition","url":"https://sd.example/x","name":"X","status":"active","kind":"resource","abstract":false,"type":"Patient","baseDefinition":"http://hl7.org/fhir/StructureDefinition/Patient","derivation":"constraint","differential":{"element":[{"id":"Patient.name","path":"Patient.name","min":1,"slicing":{"discriminator":[{"type":"value","path":"use"}],"rules":"open"}},{"id":"Patient.name:a","path":"Patient.name","sliceName":"a","max":"1","constraint":[{"key":"k","severity":"error","human":"h","expression":"family.exists()"}]}]}}"#,
    r#"{"resourceType":"ValueSet","status":"active","compose":{"include":[{"system":"http://loinc.org","filter":[{"property":"concept","op":"is-a","value":"LP1"}],"concept":[{"code":"1","designation":[{"value":"x"}]}]}]}}"#,
    r#"{"resourceType":"Parameters","parameter":[{"name":"a","valueDecimal":1.0},{"name":"d","resource":{"resourceType":"Basic","code":{"text":"t"}}}]}"#,
    r#"{"resourceType":"Timing"}"#,
    r#"{"resourceType":"Binary","contentType":"text/plain","data":"YQ=="}"#,
];

const NARRATIVES: &[&str] = &[
    "<div xmlns=\"http://www.w3.org/1999/xhtml\">a<br/>b &amp; &eacute; &#233; &#x1F48A;</div>",
    "<div xmlns=\"http://www.w3.org/1999/xhtml\"><table><tr><td colspan='2' style=\"color:red\">x</td></tr></table><img src=\"#i\" alt=\"x\"/><a href=\"https://e.example\">l</a></div>",
    "<div><script>alert(1)</script></div>",
    "<!DOCTYPE div [<!ENTITY a \"b\">]><div>&a;</div>",
    "<div xmlns=\"http://www.w3.org/1999/xhtml\"><![CDATA[<b>]]><!-- c --><?pi?></div>",
];

const PATCHES: &[&str] = &[
    r#"[{"op":"add","path":"/name/0/given/-","value":"C"},{"op":"test","path":"/active","value":true},{"op":"move","from":"/gender","path":"/birthDate"},{"op":"copy","from":"/name","path":"/contact"},{"op":"remove","path":"/a~1b~0c"},{"op":"replace","path":"/id","value":"x"}]"#,
    r#"{"resourceType":"Parameters","parameter":[{"name":"operation","part":[{"name":"type","valueCode":"insert"},{"name":"path","valueString":"Patient.name"},{"name":"index","valueInteger":0},{"name":"value","valueHumanName":{"family":"x"}}]},{"name":"operation","part":[{"name":"type","valueCode":"delete"},{"name":"path","valueString":"Patient.telecom.where(system='phone')"}]},{"name":"operation","part":[{"name":"type","valueCode":"move"},{"name":"path","valueString":"Patient.identifier"},{"name":"source","valueInteger":0},{"name":"destination","valueInteger":1}]}]}"#,
    "[{\"op\":\"add\",\"path\":\"\",\"value\":{}}]\0{\"resourceType\":\"Patient\"}",
];

/// A resource to look into and to change.
pub fn example() -> &'static Resource {
    static EXAMPLE: OnceLock<Resource> = OnceLock::new();
    EXAMPLE.get_or_init(|| {
        let parsed = Resource::parse(RESOURCES.first().map(|text| text.as_bytes()).unwrap_or_default());
        parsed.unwrap_or_else(|_| Resource::new(fhir::TypeId::PATIENT))
    })
}

fn json(bytes: &[u8]) {
    let Ok(resource) = Resource::parse(bytes) else { return };
    let again = Resource::parse(resource.to_json().as_bytes());
    assert_eq!(again.as_ref().ok(), Some(&resource), "what was written is not read back");
    look_into(&resource);
}

fn from_xml(bytes: &[u8]) {
    let Ok(resource) = xml::parse(bytes) else { return };
    let again = Resource::parse(resource.to_json().as_bytes());
    assert_eq!(again.as_ref().ok(), Some(&resource), "as JSON it is another");
    look_into(&resource);
}

fn xml_seeds() -> Vec<Vec<u8>> {
    let resources = RESOURCES.iter().filter_map(|text| Resource::parse(text.as_bytes()).ok());
    resources.filter_map(|resource| Some(xml::write(resource.value()).ok()?.into_bytes())).collect()
}

/// What is done with each resource that is sent.
fn look_into(resource: &Resource) {
    let params = Params::standard();
    let issues = validate::validate(resource);
    assert!(issues.len() <= validate::MAX_ISSUES + 1, "more issues than are told");
    for entry in search::extract(&params, resource) {
        seen(entry);
    }
    seen((search::words(resource, true), search::references(resource), search::compartment(resource)));
    seen(search::Definition::read(&params, resource));
    if resource.value().get("resourceType").and_then(Value::as_str) == Some("StructureDefinition") {
        seen(validate::Profile::compile(resource.value(), &validate::Library::default()));
    }
    let mut filled = resource.value().clone();
    fhir::fill_required(&mut filled, &serde_json::json!({"extension": []}));
    for kind in [summary::Summary::True, summary::Summary::Text, summary::Summary::Data] {
        seen(summary::summary(resource.value(), kind));
    }
    let text = xml::write(resource.value());
    // What is wrong anyway, such as an empty list, need not come back.
    if let (Ok(text), false) = (text, issues.iter().any(|issue| issue.severity == fhir::Severity::Error)) {
        let again = xml::parse(text.as_bytes());
        assert_eq!(again.as_ref().ok(), Some(resource), "as XML it is another: {text}");
    }
}

fn narrative(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        seen(validate::narrative(text));
    }
}

fn patched(bytes: &[u8]) {
    let (patch_text, other) = halves(bytes);
    let target = match Resource::parse(other) {
        Ok(target) => target,
        Err(_) => example().clone(),
    };
    if let Ok(operations) = fhir::parse_json(patch_text) {
        seen(patch::json_patch(target.value(), &operations));
    }
    if let Ok(parameters) = Resource::parse(patch_text)
        && let Ok(changed) = patch::path_patch(&target, &parameters)
    {
        look_into(&changed);
    }
}
