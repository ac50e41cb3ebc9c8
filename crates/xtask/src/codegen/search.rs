//! SearchParameters and the Patient compartment to lines, one parameter per resource type.

use super::structure::Type;
use anyhow::{Context, bail};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write as _;

/// The compartments that the package does not carry.
const COMPARTMENTS: &str = include_str!("compartments.txt");

/// R4 gives this parameter no expression; its description says which elements it is about.
const FORGOTTEN: &[(&str, &str, &str)] =
    &[("InsurancePlan", "name", "InsurancePlan.name | InsurancePlan.alias")];

/// R4 gives the two parts of this parameter each other's definition.
const SWAPPED: &str = "http://hl7.org/fhir/SearchParameter/DocumentReference-relationship";

/// Parameters of every resource that are values of `meta`. `_id` and `_lastUpdated` are columns of their own;
/// `_text`, `_content`, `_query` and `_list` have no expression.
const COMMON: &[&str] = &["_profile", "_security", "_source", "_tag"];

pub struct Param {
    kind: String,
    code: String,
    param_type: String,
    expression: String,
    targets: Vec<String>,
    url: String,
    /// Of composites: code of the parameter that says how to read the value, and where it stands.
    components: Vec<(String, String)>,
}

impl Param {
    fn key(&self) -> String {
        format!("{} {}", self.kind, self.code)
    }
}

/// One entry per resource type and code, sorted.
pub fn params(resources: &[Value], kinds: &[&str], types: &[Type]) -> anyhow::Result<Vec<Param>> {
    let mut all: BTreeMap<(String, String), Param> = BTreeMap::new();
    let codes: BTreeMap<&str, &str> =
        resources.iter().filter_map(|r| Some((r["url"].as_str()?, r["code"].as_str()?))).collect();
    for r in resources.iter().filter(|r| r["resourceType"] == "SearchParameter") {
        let code = r["code"].as_str().context("a SearchParameter without code")?;
        let bases: Vec<&str> = r["base"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let common = COMMON.contains(&code);
        let bases = if common { kinds.to_vec() } else { bases };
        for base in bases {
            if !kinds.contains(&base) {
                continue;
            }
            let mut expression = branches(r["expression"].as_str().unwrap_or_default(), base);
            if let Some((.., given)) = FORGOTTEN.iter().find(|(k, c, _)| (*k, *c) == (base, code)) {
                expression = (*given).to_owned();
            }
            let targets: Vec<&str> = r["target"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .filter(|t| kinds.contains(t))
                .collect();
            let param = Param {
                kind: base.to_owned(),
                code: code.to_owned(),
                param_type: r["type"].as_str().context("a SearchParameter without type")?.to_owned(),
                targets: narrow(targets, &expression, types, kinds),
                expression,
                url: r["url"].as_str().unwrap_or_default().to_owned(),
                components: components(r, &codes)?,
            };
            let key = (base.to_owned(), code.to_owned());
            if let Some(other) = all.get(&key) {
                if other.url != param.url {
                    bail!("{base} has two parameters {code}: {} and {}", other.url, param.url);
                }
                continue;
            }
            all.insert(key, param);
        }
    }
    Ok(all.into_values().collect())
}

fn components(r: &Value, codes: &BTreeMap<&str, &str>) -> anyhow::Result<Vec<(String, String)>> {
    let mut out = Vec::new();
    for c in r["component"].as_array().into_iter().flatten() {
        let definition = c["definition"].as_str().context("a component without definition")?;
        let code = codes.get(definition).with_context(|| format!("no SearchParameter {definition}"))?;
        // The package spells one primitive type like a complex one.
        let expression = c["expression"].as_str().unwrap_or_default().replace("(DateTime)", "(dateTime)");
        out.push(((*code).to_owned(), expression));
    }
    if r["url"] == SWAPPED
        && let [(first, _), (second, _)] = &mut out[..]
        && first == "relatesto"
    {
        std::mem::swap(first, second);
    }
    Ok(out)
}

/// Parameters shared by many types list the targets of all of them; the elements of this type allow fewer.
/// Empty means any type.
fn narrow(targets: Vec<&str>, expression: &str, types: &[Type], kinds: &[&str]) -> Vec<String> {
    let mut allowed: HashSet<&str> = HashSet::new();
    for branch in expression.split(" | ") {
        let branch = branch.trim_matches(['(', ')']);
        let branch = branch.strip_suffix(".ofType(Reference").unwrap_or(branch);
        let (path, only) = match branch.split_once(".where(resolve() is ") {
            Some((path, only)) => (path, Some(only)),
            None => (branch, None),
        };
        match (super::structure::reference_targets(types, path), only) {
            (_, Some(only)) => allowed.extend(kinds.iter().copied().filter(|k| *k == only)),
            (Some(t), None) => allowed.extend(t),
            (None, None) => allowed.extend(kinds),
        }
    }
    let kept: Vec<&str> = targets.iter().copied().filter(|t| allowed.contains(t)).collect();
    let kept = if kept.is_empty() { targets } else { kept };
    // The few types missing from "any" lists of R4 were forgotten there, not excluded.
    if kept.len() * 10 > kinds.len() * 9 {
        return Vec::new();
    }
    kept.into_iter().map(str::to_owned).collect()
}

/// The branches of a union that can apply to `kind`.
fn branches(expression: &str, kind: &str) -> String {
    let mut parts = Vec::new();
    let (mut depth, mut start) = (0i32, 0usize);
    for (at, c) in expression.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            '|' if depth == 0 => {
                parts.push(&expression[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&expression[start..]);
    let mine: Vec<&str> = parts
        .into_iter()
        .map(str::trim)
        .filter(|p| {
            let root: String =
                p.trim_start_matches('(').chars().take_while(|c| c.is_alphanumeric()).collect();
            root == kind || root == "Resource" || root == "DomainResource"
        })
        .collect();
    mine.join(" | ")
}

/// Old numbers stay, new parameters are appended.
pub fn assign_ids(existing: &str, params: &[Param]) -> Vec<String> {
    let mut ids: Vec<String> = existing.lines().filter(|l| !l.is_empty()).map(str::to_owned).collect();
    let known: HashSet<String> = ids.iter().cloned().collect();
    ids.extend(params.iter().map(Param::key).filter(|k| !known.contains(k)));
    ids
}

/// `P id kind code type expression targets url`, for composites followed by `K code expression` for each component.
pub fn write(out: &mut String, params: &[Param], ids: &[String]) -> anyhow::Result<()> {
    let numbers: BTreeMap<&str, usize> = ids.iter().enumerate().map(|(n, k)| (k.as_str(), n)).collect();
    for p in params {
        let id = numbers.get(p.key().as_str()).context("a parameter without number")?;
        writeln!(
            out,
            "P\t{id}\t{}\t{}\t{}\t{}\t{}\t{}",
            p.kind,
            p.code,
            p.param_type,
            p.expression,
            p.targets.join(","),
            p.url
        )?;
        for (code, expression) in &p.components {
            writeln!(out, "K\t{code}\t{expression}")?;
        }
    }
    Ok(())
}

/// `C compartment kind code,code`
pub fn write_compartment(out: &mut String, definitions: &[Value], kinds: &[&str]) -> anyhow::Result<()> {
    let definition = definitions.first().context("no CompartmentDefinition")?;
    for r in definition["resource"].as_array().into_iter().flatten() {
        let kind = r["code"].as_str().unwrap_or_default();
        let codes: Vec<&str> =
            r["param"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if kinds.contains(&kind) && !codes.is_empty() {
            writeln!(out, "C\tPatient\t{kind}\t{}", codes.join(","))?;
        }
    }
    for line in COMPARTMENTS.lines().filter(|l| !l.starts_with('#')) {
        writeln!(out, "C\t{line}")?;
    }
    Ok(())
}
