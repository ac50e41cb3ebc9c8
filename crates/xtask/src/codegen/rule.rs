//! Invariants and bindings of the base definitions, for validation:
//! `K type element key severity expression text` and `B type element strength value-set`.
//! The element is empty for what holds for the type as a whole; backbone types are named by path.

use anyhow::Context;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Checked by hand-written code, which is faster and tells more.
const NATIVE: &[&str] = &[
    "ele-1", "ext-1", "dom-2", "dom-3", "dom-4", "dom-5", "ref-1", "qty-3", "per-1", "cpt-2", "att-1",
    "txt-1", "txt-2",
];

/// Published expressions that do not say what their text says; each was looked at.
const CORRECTIONS: &[(&str, &str)] = &[
    // `Boolean` is FHIRPath's own type; the element is FHIR's.
    ("que-7", "operator = 'exists' implies (answer is boolean)"),
];

/// The lines for every type in the packages, in their order.
///
/// Errors: a StructureDefinition has another shape than expected.
pub fn lines(structures: &[Value]) -> anyhow::Result<String> {
    let structures: Vec<&Value> = structures
        .iter()
        .filter(|s| s["resourceType"] == "StructureDefinition" && s["kind"] != "logical")
        .filter(|s| s["name"] != "MetadataResource")
        .collect();
    // Rules of a type are repeated at each element that has it and at each type that derives from it.
    let keys_of = |name: &str| -> BTreeSet<&str> {
        let root = structures.iter().find(|s| s["name"] == name).map(|s| &s["snapshot"]["element"][0]);
        root.into_iter().flat_map(keys).collect()
    };
    let mut out = String::new();
    for s in &structures {
        let name = s["name"].as_str().context("a StructureDefinition without name")?;
        let base = s["baseDefinition"].as_str().and_then(|b| b.rsplit('/').next()).unwrap_or_default();
        let elements = s["snapshot"]["element"].as_array().context("no snapshot")?;
        for element in elements.iter().filter(|e| e.get("sliceName").is_none()) {
            let path = element["path"].as_str().context("no path")?;
            let backbone = elements.iter().any(|e| {
                e["path"].as_str().is_some_and(|p| p.strip_prefix(path).is_some_and(|r| r.starts_with('.')))
            });
            let (owner, leaf, inherited) = match path.rsplit_once('.') {
                None => (name, "", keys_of(base)),
                Some(_) if backbone => (path, "", keys_of("BackboneElement")),
                Some((parent, leaf)) => {
                    let of_types = element["type"].as_array().into_iter().flatten();
                    let of_types = of_types.filter_map(|t| t["code"].as_str()).flat_map(keys_of).collect();
                    (parent, leaf.trim_end_matches("[x]"), of_types)
                }
            };
            for c in element["constraint"].as_array().into_iter().flatten() {
                let key = c["key"].as_str().context("a constraint without key")?;
                let Some(expression) = c["expression"].as_str() else { continue };
                if NATIVE.contains(&key) || inherited.contains(key) {
                    continue;
                }
                let expression = CORRECTIONS
                    .iter()
                    .find(|(k, _)| *k == key)
                    .map_or(expression, |(_, corrected)| corrected);
                let severity = if c["severity"] == "error" { "e" } else { "w" };
                let (expression, text) = (plain(expression), plain(c["human"].as_str().unwrap_or_default()));
                writeln!(out, "K\t{owner}\t{leaf}\t{key}\t{severity}\t{expression}\t{text}")?;
            }
            let binding = &element["binding"];
            if let (Some(strength), Some(set), false) =
                (binding["strength"].as_str(), binding["valueSet"].as_str(), leaf.is_empty())
                && matches!(strength, "required" | "extensible")
            {
                let set = set.split('|').next().unwrap_or(set);
                writeln!(out, "B\t{owner}\t{leaf}\t{}\t{set}", &strength[..1])?;
            }
        }
    }
    Ok(out)
}

fn keys(element: &Value) -> impl Iterator<Item = &str> {
    element["constraint"].as_array().into_iter().flatten().filter_map(|c| c["key"].as_str())
}

/// On one line.
fn plain(text: &str) -> String {
    text.split(['\t', '\n', '\r']).map(str::trim).filter(|p| !p.is_empty()).collect::<Vec<_>>().join(" ")
}
