//! StructureDefinitions to type lines. Backbone elements become types of their own, named by path.

use super::terminology::CodeSets;
use anyhow::Context;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const FHIR_TYPE: &str = "http://hl7.org/fhir/StructureDefinition/structuredefinition-fhir-type";
const PROFILE_BASE: &str = "http://hl7.org/fhir/StructureDefinition/";

pub struct Type {
    pub name: String,
    /// `r` resource, `c` complex, `p` primitive, `b` backbone, `a` abstract resource, `q` profile of a type.
    kind: char,
    base: String,
    elements: Vec<Element>,
}

struct Element {
    name: String,
    min: u64,
    /// 0 = unbounded.
    max: u64,
    types: Vec<String>,
    value_set: Option<String>,
    summary: bool,
    modifier: bool,
}

impl Type {
    pub fn is_concrete_resource(&self) -> bool {
        self.kind == 'r'
    }

    pub fn write(&self, out: &mut String, code_sets: &mut CodeSets) -> anyhow::Result<()> {
        writeln!(out, "T\t{}\t{}\t{}", self.name, self.kind, self.base)?;
        for e in &self.elements {
            let binding = match &e.value_set {
                Some(url) => code_sets.number(url).map(|n| n.to_string()).unwrap_or_default(),
                None => String::new(),
            };
            let mut flags = String::new();
            if e.summary {
                flags.push('s');
            }
            if e.modifier {
                flags.push('m');
            }
            writeln!(
                out,
                "E\t{}\t{}\t{}\t{}\t{}\t{}",
                e.name,
                e.min,
                e.max,
                binding,
                flags,
                e.types.join(" ")
            )?;
        }
        Ok(())
    }
}

/// All types of the packages, sorted by name; backbone types follow their owner.
pub fn types(structures: &[Value]) -> anyhow::Result<Vec<Type>> {
    let mut all: BTreeMap<String, Type> = BTreeMap::new();
    for s in structures.iter().filter(|s| s["resourceType"] == "StructureDefinition") {
        let name = s["name"].as_str().context("a StructureDefinition without name")?;
        // MetadataResource and other logical models describe no JSON.
        if name == "MetadataResource" || s["kind"] == "logical" {
            continue;
        }
        let kind = match (s["kind"].as_str(), s["abstract"] == true, s["derivation"] == "constraint") {
            (_, _, true) => 'q',
            (Some("resource"), true, _) => 'a',
            (Some("resource"), ..) => 'r',
            (Some("primitive-type"), ..) => 'p',
            _ => 'c',
        };
        let base =
            s["baseDefinition"].as_str().and_then(|b| b.strip_prefix(PROFILE_BASE)).unwrap_or_default();
        let elements = s["snapshot"]["element"].as_array().context("no snapshot")?;
        let root = elements[0]["path"].as_str().context("no root path")?;
        let mut owners: Vec<(String, Type)> = vec![(
            root.to_owned(),
            Type { name: name.to_owned(), kind, base: base.to_owned(), elements: Vec::new() },
        )];
        for element in &elements[1..] {
            let path = element["path"].as_str().context("no path")?;
            // A slice of a profile; the unsliced element came before.
            if element.get("sliceName").is_some() {
                continue;
            }
            let (parent, leaf) = path.rsplit_once('.').context("an element without parent")?;
            let backbone = element["type"][0]["code"]
                .as_str()
                .filter(|c| matches!(*c, "BackboneElement" | "Element"))
                .filter(|_| elements.iter().any(|e| e["path"].as_str().is_some_and(|p| is_child(p, path))));
            let types = match backbone {
                Some(code) => {
                    owners.push((
                        path.to_owned(),
                        Type {
                            name: path.to_owned(),
                            kind: 'b',
                            base: code.to_owned(),
                            elements: Vec::new(),
                        },
                    ));
                    vec![format!("@{path}")]
                }
                // R4 says `string` here by mistake; the text of the specification says `id`.
                None if leaf == "id" && matches!(kind, 'r' | 'a') && path.matches('.').count() == 1 => {
                    vec!["id".to_owned()]
                }
                None => element_types(element)?,
            };
            let owner =
                owners.iter_mut().find(|(p, _)| p == parent).context("an element before its parent")?;
            owner.1.elements.push(Element {
                name: leaf.to_owned(),
                min: element["min"].as_u64().unwrap_or(0),
                max: match element["max"].as_str() {
                    Some("*") | None => 0,
                    Some(n) => n.parse()?,
                },
                types,
                value_set: (element["binding"]["strength"] == "required")
                    .then(|| element["binding"]["valueSet"].as_str())
                    .flatten()
                    .map(|v| v.split('|').next().unwrap_or(v).to_owned()),
                summary: element["isSummary"] == true,
                modifier: element["isModifier"] == true,
            });
        }
        for (_, t) in owners {
            all.insert(t.name.clone(), t);
        }
    }
    // A prohibited element (max 0) is unknown to the type that prohibits it.
    for t in all.values_mut() {
        t.elements.retain(|e| !(e.max == 0 && e.types.is_empty()));
    }
    Ok(all.into_values().collect())
}

/// The target types of the Reference at a plain path such as `Observation.subject`; `None` if the path is
/// no Reference or the Reference may point anywhere.
pub fn reference_targets<'a>(types: &'a [Type], path: &str) -> Option<Vec<&'a str>> {
    let mut steps = path.split('.');
    let mut owner = types.iter().find(|t| Some(t.name.as_str()) == steps.clone().next())?;
    steps.next();
    let mut found: Option<&Element> = None;
    for step in steps {
        if let Some(e) = found {
            let name = e.types.first()?.trim_start_matches('@');
            owner = types.iter().find(|t| t.name == name)?;
        }
        found = owner.elements.iter().find(|e| e.name.trim_end_matches("[x]") == step);
        found?;
    }
    let targets = found?.types.iter().find_map(|t| t.strip_prefix("Reference:"))?;
    Some(targets.split(',').collect())
}

fn is_child(path: &str, parent: &str) -> bool {
    path.strip_prefix(parent).is_some_and(|rest| rest.starts_with('.'))
}

fn element_types(element: &Value) -> anyhow::Result<Vec<String>> {
    if element["max"] == "0" {
        return Ok(Vec::new());
    }
    if let Some(reference) = element["contentReference"].as_str() {
        let path = reference.rsplit('#').next().unwrap_or(reference);
        return Ok(vec![format!("@{path}")]);
    }
    let mut types = Vec::new();
    for t in element["type"].as_array().with_context(|| format!("{} has no type", element["path"]))? {
        let code = t["code"].as_str().context("a type without code")?;
        // Element.id and the values of primitives have FHIRPath system types; the extension names FHIR's own.
        let code = match code.strip_prefix("http://hl7.org/fhirpath/System.") {
            Some(system) => t["extension"]
                .as_array()
                .and_then(|x| x.iter().find(|x| x["url"] == FHIR_TYPE))
                .and_then(|x| x["valueUrl"].as_str())
                .unwrap_or(match system {
                    "String" => "string",
                    "Boolean" => "boolean",
                    "Integer" => "integer",
                    "Decimal" => "decimal",
                    "Date" => "date",
                    "DateTime" => "dateTime",
                    "Time" => "time",
                    _ => "string",
                }),
            None => code,
        };
        let list = |key: &str| -> Vec<&str> {
            t[key]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .filter_map(|p| p.strip_prefix(PROFILE_BASE))
                .collect()
        };
        let targets = list("targetProfile");
        let profiles = list("profile");
        let mut word = code.to_owned();
        if let [profile] = profiles[..]
            && matches!(profile, "SimpleQuantity" | "MoneyQuantity")
        {
            word = format!("{code}={profile}");
        }
        if !targets.is_empty() && !targets.contains(&"Resource") {
            word = format!("{word}:{}", targets.join(","));
        }
        types.push(word);
    }
    Ok(types)
}
