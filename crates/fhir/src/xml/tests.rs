use super::{parse, write, write_pretty};
use crate::Resource;
use serde_json::{Value, json};

fn check(value: Value) {
    let xml = write(&value).unwrap();
    assert_eq!(parse(xml.as_bytes()).unwrap().into_value(), value, "{xml}");
    let pretty = write_pretty(&value).unwrap();
    assert_eq!(parse(pretty.as_bytes()).unwrap().into_value(), value, "{pretty}");
}

#[test]
fn what_is_written_is_in_the_order_of_the_definitions() {
    let patient = json!({
        "resourceType": "Patient", "gender": "female",
        "name": [{"given": ["Asha", "B\"<&>"], "family": "Mwangi", "_given": [null, {"id": "g2"}]}],
        "birthDate": "1990-02-03", "active": true, "id": "p1",
        "_birthDate": {"extension": [{"url": "http://example.org/t", "valueTime": "10:00:00"}]},
        "text": {"status": "generated", "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">a<br/>b</div>"},
    });
    let expected = concat!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Patient xmlns=\"http://hl7.org/fhir\"><id value=\"p1\"/>",
        "<text><status value=\"generated\"/><div xmlns=\"http://www.w3.org/1999/xhtml\">a<br/>b</div></text>",
        "<active value=\"true\"/><name><family value=\"Mwangi\"/><given value=\"Asha\"/>",
        "<given id=\"g2\" value=\"B&quot;&lt;&amp;&gt;\"/></name><gender value=\"female\"/>",
        "<birthDate value=\"1990-02-03\"><extension url=\"http://example.org/t\"><valueTime value=\"10:00:00\"/>",
        "</extension></birthDate></Patient>",
    );
    assert_eq!(write(&patient).unwrap(), expected);
    check(patient);
}

#[test]
fn both_ways() {
    let number = |text: &str| -> Value { serde_json::from_str(text).unwrap() };
    check(json!({"resourceType": "Observation", "valueQuantity": {"value": number("1.50"), "unit": "mg"}}));
    check(json!({"resourceType": "Observation", "valueInteger": -3, "note": [{"text": "a\nb\tc\r\n  d"}]}));
    check(json!({"resourceType": "Patient", "multipleBirthBoolean": false,
        "name": [{"_given": [{"id": "x"}, {"id": "y"}]}, {"given": ["a", null], "_given": [null, {"id": "z"}]}]}));
    check(
        json!({"resourceType": "Patient", "contained": [{"resourceType": "Organization", "id": "o", "name": "ሆስፒታል"}],
        "managingOrganization": {"id": "r", "reference": "#o"}}),
    );
    check(json!({"resourceType": "Bundle", "type": "batch", "entry": [
        {"fullUrl": "urn:uuid:1", "resource": {"resourceType": "Patient", "id": "a"},
         "request": {"method": "PUT", "url": "Patient/a"}}]}));
    check(json!({"resourceType": "Parameters", "parameter": [
        {"name": "a", "valueString": "x"}, {"name": "b", "part": [{"name": "c", "valueDecimal": 1}]},
        {"name": "d", "resource": {"resourceType": "Basic", "code": {"text": "t"}}}]}));
    check(
        json!({"resourceType": "Questionnaire", "status": "draft", "item": [{"linkId": "1", "type": "group",
        "item": [{"linkId": "1.1", "type": "boolean", "extension": [{"url": "u", "extension": [
            {"url": "v", "valueCode": "c"}]}]}]}]}),
    );
}

/// Found by the fuzzer: these were left out without a word.
#[test]
fn extensions_where_xml_has_no_place_for_them_are_refused() {
    for value in [
        json!({"resourceType": "Patient", "_contained": {"id": "x"}, "contained": [{"resourceType": "Basic"}]}),
        json!({"resourceType": "Patient", "name": [{"_id": {"extension": [{"url": "u"}]}}]}),
        json!({"resourceType": "Patient", "extension": [{"url": "u", "_url": {"id": "x"}, "valueCode": "c"}]}),
    ] {
        assert!(write(&value).is_err(), "{value}");
    }
}

#[test]
fn reading_is_tolerant_where_xml_is() {
    let text = "\u{feff}<?xml version='1.0' encoding='utf-8'?><!-- a --><?pi x?>\n<f:Patient xmlns:f=\"http://hl7.org/fhir\" \
        xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:schemaLocation=\"http://hl7.org/fhir x.xsd\">\n\
        <!-- c --><f:text><f:status value='generated'/><h:div xmlns:h='http://www.w3.org/1999/xhtml' id='q'>a \
        <h:b title='\"'>c &amp; d</h:b><h:br/></h:div></f:text><f:active value=\"true\"></f:active>\
        <f:name><f:family value='&#x41;&lt;&#10;'/></f:name></f:Patient>\n<!-- end -->";
    let patient = parse(text.as_bytes()).unwrap();
    assert_eq!(
        patient.into_value(),
        json!({"resourceType": "Patient", "text": {"status": "generated", "div":
            "<div xmlns=\"http://www.w3.org/1999/xhtml\" id=\"q\">a <b title=\"&quot;\">c &amp; d</b><br></br></div>"},
            "active": true, "name": [{"family": "A<\n"}]})
    );
    // Named entities of HTML are written as numbers, which every XML parser reads.
    let named = json!({"resourceType": "Patient", "text": {"status": "generated",
        "div": "<div xmlns=\"http://www.w3.org/1999/xhtml\">a&nbsp;b</div>"}});
    assert!(write(&named).unwrap().contains("a&#160;b"));
}

#[test]
fn what_is_refused() {
    let patient = |body: &str| format!("<Patient xmlns=\"http://hl7.org/fhir\">{body}</Patient>");
    for (text, part) in [
        ("".to_owned(), "no element"),
        ("{}".to_owned(), "text between"),
        ("<Patient/>".to_owned(), "namespace"),
        ("<Patient xmlns=\"http://hl7.org/fhir\">".to_owned(), "too early"),
        (patient("") + "<x/>", "second element"),
        ("<Patiant xmlns=\"http://hl7.org/fhir\"/>".to_owned(), "no FHIR R4 resource type"),
        (patient("<activ value=\"true\"/>"), "Did you mean `active`"),
        (patient("<active value=\"yes\"/>"), "`true` or `false`"),
        (patient("<active value=\"true\"/><active value=\"true\"/>"), "only once"),
        (patient("<active/>"), "without `value`"),
        (patient("<active Value=\"true\"/>"), "attribute `Value`"),
        (patient("<gender value=\"male\">x</gender>"), "text between"),
        (patient("<name id=\"a\"><id value=\"b\"/></name>"), "attribute here"),
        (patient("<x:active xmlns:x=\"urn:other\" value=\"true\"/>"), "namespace"),
        (patient("<y:active value=\"true\"/>"), "prefix"),
        (patient("<text><status value=\"generated\"/><div>x</div></text>"), "narrative's `div`"),
        (patient("<multipleBirthInteger value=\"1.5\"/>"), "number"),
        (patient("<gender value=\"a&xxe;\"/>"), "entity"),
        (patient("<gender value=\"&#1;\"/>"), "character"),
        (patient("<gender value=\"a\" value=\"b\"/>"), "attribute"),
        (patient("<contained><Patient/><Patient/></contained>"), "one resource only"),
        (patient("<contained/>"), "one resource"),
        ("<!DOCTYPE Patient [<!ENTITY a \"b\">]>".to_owned() + &patient(""), "DOCTYPE"),
        ("<?xml version=\"1.1\"?>".to_owned() + &patient(""), "1.0"),
        ("<?xml version=\"1.0\" encoding=\"latin1\"?>".to_owned() + &patient(""), "UTF-8"),
    ] {
        let outcome = parse(text.as_bytes()).unwrap_err();
        assert!(outcome.to_string().contains(part), "{text}: {outcome}");
    }
    let deep = patient(&("<extension url=\"u\">".repeat(40) + &"</extension>".repeat(40)));
    assert!(parse(deep.as_bytes()).unwrap_err().to_string().contains("deeply"));
    let utf16: Vec<u8> = "<Patient/>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(parse(&utf16).unwrap_err().to_string().contains("UTF-8"));
    let outcome = parse(patient("<name/>\n<name><given valu=\"x\"/></name>").as_bytes()).unwrap_err();
    assert_eq!(outcome.issues[0].expression, "Patient.name[1].given[0]");
    assert!(outcome.issues[0].text.contains("line 2"), "{outcome}");
    for value in [
        json!({"resourceType": "Patient", "nmae": []}),
        json!({"resourceType": "Patient", "name": {}}),
        json!({"resourceType": "Patient", "gender": "a\u{1}"}),
        json!({"resourceType": "Patient", "text": {"div": "<div xmlns=\"http://www.w3.org/1999/xhtml\"><b></div>"}}),
        json!({"resourceType": "Nothing"}),
    ] {
        assert!(write(&value).is_err(), "{value}");
    }
}

/// Every official example, JSON to XML and back.
#[test]
fn r4_examples_survive() {
    let Some(folder) = crate::outside::examples() else { return };
    let (mut count, mut refused) = (0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let Ok(resource) = Resource::parse(&std::fs::read(&file).unwrap()) else { continue };
        count += 1;
        match write(resource.value()) {
            Ok(xml) => {
                let back = parse(xml.as_bytes()).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
                if back != resource {
                    refused.push(format!("{} comes back different", file.display()));
                }
            }
            Err(e) => refused.push(format!("{}: {e}", file.display())),
        }
    }
    assert!(count > 5000 && refused.is_empty(), "{} of {count}: {refused:#?}", refused.len());
}

mod any_input {
    use super::*;
    use proptest::prelude::*;

    const DOCUMENT: &str = concat!(
        "<?xml version=\"1.0\"?><Patient xmlns=\"http://hl7.org/fhir\"><!-- c --><id value=\"a\"/><text><status ",
        "value=\"generated\"/><div xmlns=\"http://www.w3.org/1999/xhtml\">x<b title='y'>&amp;&#233;</b></div></text>",
        "<extension url=\"u\"><valueDecimal value=\"1.0\"/></extension><name id=\"n\"><given value=\"&lt;\"/></name></Patient>",
    );

    proptest! {
        /// Whatever comes is read or refused; what is read is written and read back as the same.
        #[test]
        fn is_read_or_refused(cut in 0..DOCUMENT.len(), end in 0..DOCUMENT.len(), put in "[<>&;/\"'=!? a-zé\\-\\[\\]x]{0,12}") {
            let boundary = |mut n: usize| { while !DOCUMENT.is_char_boundary(n) { n -= 1; } n };
            let (from, to) = (boundary(cut.min(end)), boundary(cut.max(end)));
            for text in [
                format!("{}{put}{}", &DOCUMENT[..from], &DOCUMENT[from..]),
                format!("{}{put}{}", &DOCUMENT[..from], &DOCUMENT[to..]),
            ] {
                if let Ok(resource) = parse(text.as_bytes())
                    && let Ok(xml) = write(resource.value())
                {
                    prop_assert_eq!(parse(xml.as_bytes()), Ok(resource), "{}", text);
                }
            }
        }

        /// Any text in a value survives.
        #[test]
        fn text_survives(text in "\\PC{0,20}|[\t\r\n &<>\"']{0,10}") {
            let value = json!({"resourceType": "Patient", "name": [{"text": text}]});
            let xml = write(&value).unwrap();
            prop_assert_eq!(parse(xml.as_bytes()).unwrap().into_value(), value);
        }
    }
}
