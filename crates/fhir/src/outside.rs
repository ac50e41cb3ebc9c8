//! Checks against data that this project did not make, where it is at hand:
//! `UZIMA_TEST_SHARED_DATA` (or `../shared/data` beside the workspace) with `synthea/` and `fhirpath/`, and
//! `UZIMA_TEST_R4_EXAMPLES` with the unpacked npm package `hl7.fhir.r4.examples`. Without them these tests pass unseen.

use crate::definitions::{ParamType, params};
use crate::{Reference, Resource, TypeId, path, search, validate::validate};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let shared = std::env::var_os("UZIMA_TEST_SHARED_DATA")
        .map_or_else(|| workspace.join("../shared/data"), PathBuf::from);
    Some(shared.join(name)).filter(|p| p.exists())
}

pub(crate) fn examples() -> Option<PathBuf> {
    std::env::var_os("UZIMA_TEST_R4_EXAMPLES").map(PathBuf::from).filter(|p| p.is_dir())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files
}

fn read(file: &Path) -> Vec<u8> {
    let bytes = std::fs::read(file).unwrap();
    if file.extension().is_some_and(|e| e == "gz") {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).unwrap();
        return plain;
    }
    bytes
}

#[test]
fn synthea_is_valid() {
    let Some(folder) = shared("synthea") else { return };
    for file in files(&folder) {
        let bundle = Resource::parse(&read(&file)).unwrap();
        let issues = validate(&bundle);
        assert!(issues.is_empty(), "{}: {issues:#?}", file.display());
        // Every link of a bundle leads to one of its entries.
        let urls: BTreeSet<&str> = bundle
            .get("entry")
            .unwrap()
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|e| e["fullUrl"].as_str())
            .collect();
        for (path, reference) in search::references(&bundle) {
            match reference {
                Reference::Urn(url) => assert!(urls.contains(url.as_str()), "{path}"),
                Reference::Contained(_) => {}
                other => panic!("{path}: {other:?}"),
            }
        }
    }
}

/// Examples that break the definitions themselves: each was looked at. Missing required elements, `linkId`
/// left out, empty narratives, targets of types the element does not allow, an id of 66 characters, logical
/// models without a base (sdf-4), a bundle with one fullUrl twice (bdl-7).
const WRONG_EXAMPLES: usize = 27;

#[test]
fn r4_examples_are_valid() {
    let Some(folder) = examples() else { return };
    let mut refused = Vec::new();
    let mut count = 0;
    for file in files(&folder) {
        let Ok(resource) = Resource::parse(&read(&file)) else { continue };
        count += 1;
        let issues = validate(&resource);
        if !issues.is_empty() {
            refused.push(format!("{}: {}", file.display(), issues[0].text));
        }
    }
    assert!(count > 5000 && refused.len() <= WRONG_EXAMPLES, "{} of {count}: {refused:#?}", refused.len());
}

/// The compiled extraction finds something exactly where the search parameter's FHIRPath does.
#[test]
fn extraction_agrees_with_fhirpath() {
    let Some(folder) = examples() else { return };
    let stubs: BTreeMap<&str, Value> =
        TypeId::all().map(|t| (t.name(), json!({"resourceType": t.name()}))).collect();
    let mut plans: BTreeMap<TypeId, Vec<_>> = BTreeMap::new();
    let mut different: BTreeMap<String, String> = BTreeMap::new();
    for file in files(&folder) {
        let Ok(resource) = Resource::parse(&read(&file)) else { continue };
        // Large definitional bundles take long and add nothing.
        if resource.kind() == TypeId::BUNDLE || resource.get("snapshot").is_some() {
            continue;
        }
        let kind = resource.kind();
        let compiled = plans.entry(kind).or_insert_with(|| {
            let wanted = params(kind).filter(|p| p.is_searchable() && p.param_type != ParamType::Special);
            // Those about the resource itself have no entries of their own, and unions those of their parts.
            let wanted = wanted.filter(|p| {
                p.param_type != ParamType::Composite
                    || !(p.expression == kind.name() || p.expression.contains('|'))
            });
            wanted.map(|p| (p, path::parse(p.expression).unwrap())).collect()
        });
        let found: BTreeSet<_> = search::extract(&search::Params::standard(), &resource)
            .into_iter()
            .filter(|e| {
                use search::IndexValue as V;
                !matches!(
                    e.value,
                    V::Text { .. } | V::ReferenceIdentifier { .. } | V::IdentifierOfType { .. }
                )
            })
            .map(|e| e.param)
            .collect();
        // The closure returns borrows as long as the resource's, so it is made anew for each.
        let resolve = |text: &str| Reference::parse(text, None).kind().and_then(|k| stubs.get(k.name()));
        let env = path::Env { resolve: Some(&resolve), ..path::Env::default() };
        for (p, expression) in compiled.iter() {
            let items = path::evaluate(expression, resource.value(), &env)
                .unwrap_or_else(|e| panic!("{} {}: {e}", file.display(), p.code));
            if p.param_type == ParamType::Composite {
                let whole = items.into_iter().any(|element| {
                    p.components.iter().all(|component| {
                        let named = params(kind).find(|other| other.code == component.code).unwrap();
                        let expression = path::parse(component.expression).unwrap();
                        let parts =
                            path::evaluate_on(&expression, vec![element.clone()], resource.value(), &env)
                                .unwrap();
                        parts
                            .iter()
                            .any(|i| fits(named.param_type, i) && indexable(named.param_type, &i.to_json()))
                    })
                });
                if whole != found.contains(&p.id) {
                    different.insert(format!("{} {}", kind.name(), p.code), file.display().to_string());
                }
                continue;
            }
            let indexable = items.iter().any(|i| {
                // A choice of date and text; text has no place on the time line.
                let text = p.param_type == ParamType::Date && i.type_name().1 == "string";
                !text && indexable(p.param_type, &i.to_json())
            });
            if indexable != found.contains(&p.id) {
                let what = format!("{}: path {indexable}, plan {}", file.display(), found.contains(&p.id));
                different.insert(format!("{} {}", kind.name(), p.code), what);
            }
        }
    }
    assert!(different.is_empty(), "{different:#?}");
}

/// A component may offer more types than its parameter reads.
fn fits(param_type: ParamType, item: &path::Item<'_>) -> bool {
    let (_, name) = item.type_name();
    match param_type {
        ParamType::Quantity => {
            matches!(name.as_str(), "Quantity" | "SimpleQuantity" | "Age" | "Duration" | "Range")
        }
        ParamType::Token => !matches!(name.as_str(), "Quantity" | "Range" | "Reference"),
        _ => true,
    }
}

/// Whether a value has anything that a parameter of this type indexes.
fn indexable(param_type: ParamType, value: &Value) -> bool {
    let text = |v: &Value, k: &str| v.get(k).and_then(Value::as_str).map(str::to_owned);
    match (param_type, value) {
        (_, Value::Null) => false,
        (ParamType::Reference, Value::Object(_)) => match text(value, "reference") {
            Some(r) => !r.starts_with('#'),
            None => false,
        },
        (ParamType::Token, Value::Object(o)) if o.contains_key("coding") => value["coding"]
            .as_array()
            .unwrap()
            .iter()
            .any(|c| c.get("code").is_some() || c.get("system").is_some()),
        (ParamType::Token, Value::Object(_)) => {
            ["code", "system", "value"].iter().any(|k| text(value, k).is_some())
        }
        (ParamType::Date, Value::Object(_)) => {
            ["/start", "/end", "/event", "/repeat/boundsPeriod"].iter().any(|p| value.pointer(p).is_some())
        }
        (ParamType::Quantity | ParamType::Number, Value::Object(_)) => {
            ["/value", "/low/value", "/high/value"].iter().any(|p| value.pointer(p).is_some())
        }
        _ => true,
    }
}
