//! Links between entries, and references by condition.

use super::entry::Entry;
use super::{kind, place};
use crate::write::criteria::Criteria;
use crate::{Error, Record};
use fhir::search::{Filter, IndexEntry, IndexValue, Match, Operand};
use fhir::{Issue, IssueCode, Outcome, Reference, Resource, ResourceKey};
use std::collections::HashMap;

/// `fullUrl` → where the entry will live. Errors: `Malformed` with every `fullUrl` that comes twice.
pub(super) fn links(entries: &[Entry]) -> Result<HashMap<String, ResourceKey>, Error> {
    let mut links = HashMap::with_capacity(entries.len());
    let mut problems = Outcome::default();
    for entry in entries {
        let (Some(key), Some(full_url)) = (&entry.key, &entry.full_url) else { continue };
        if let Some(other) = links.insert(full_url.clone(), key.clone())
            && other != *key
        {
            problems.issues.push(Issue::error(
                IssueCode::Duplicate,
                place(entry.number, "fullUrl"),
                "Another entry of this bundle has the same `fullUrl`.",
            ));
        }
    }
    if problems.issues.is_empty() { Ok(links) } else { Err(Error::Malformed(problems)) }
}

/// Every conditional reference of the entries by its text, parsed, with the first place where it stands.
/// Errors: `Malformed` with what is wrong with the first bad one.
pub(super) fn conditions(
    record: &Record,
    entries: &[Entry],
) -> Result<Vec<(String, Criteria, String)>, Error> {
    let mut found: Vec<(String, Criteria, String)> = Vec::new();
    let mut known = std::collections::HashSet::new();
    for entry in entries {
        let Some(resource) = entry.resource() else { continue };
        for (expression, reference) in own_references(resource) {
            let Reference::Conditional { kind, query } = reference else { continue };
            let text = format!("{}?{query}", kind.name());
            if known.insert(text.clone()) {
                let place = crate::write::at(&place(entry.number, "resource"), &expression);
                let pairs = super::query_pairs(&query);
                let criteria = Criteria::parse(record, kind, &pairs, 1, &place)?;
                found.push((text, criteria, place));
            }
        }
    }
    Ok(found)
}

/// Replaces what `targets` knows; everything else stays. Errors: `Invalid` with every
/// reference to an entry that is not there.
pub(super) fn rewrite(
    resource: &mut Resource,
    entry: (usize, Option<&str>),
    targets: &HashMap<String, ResourceKey>,
    problems: &mut Outcome,
) {
    // A Bundle that is stored (a document, a message) links its own entries.
    if resource.kind() == kind("Bundle") {
        return;
    }
    let (number, full_url) = entry;
    for (expression, reference) in fhir::search::references(resource) {
        if let Reference::Urn(urn) = &reference
            && !targets.contains_key(urn)
        {
            problems.issues.push(Issue::error(
                IssueCode::NotFound,
                crate::write::at(&place(number, "resource"), &expression),
                "No entry of this bundle has this reference as its `fullUrl`.",
            ));
        }
    }
    // http://hl7.org/fhir/R4/bundle.html#references: a relative reference is relative to the entry's own server.
    let own_server = full_url.and_then(server_of);
    fhir::search::rewrite_references(resource, &mut |text| {
        if let Some(key) = targets.get(text) {
            return Some(key.to_string());
        }
        if let Some(server) = own_server
            && let Some(key) = targets.get(&format!("{server}/{text}"))
        {
            return Some(key.to_string());
        }
        None
    });
}

/// `https://other.example/fhir` of `https://other.example/fhir/Patient/1`.
fn server_of(full_url: &str) -> Option<&str> {
    if !full_url.starts_with("http") {
        return None;
    }
    let (rest, _) = full_url.rsplit_once('/')?;
    rest.rsplit_once('/').map(|(server, _)| server)
}

fn own_references(resource: &Resource) -> Vec<(String, Reference)> {
    if resource.kind() == kind("Bundle") { Vec::new() } else { fhir::search::references(resource) }
}

/// Entries of this bundle that a condition matches that matched nothing stored: identifiers, codes and links to other
/// resources are compared; a condition on anything else matches no entry.
pub(super) fn in_bundle<'e>(
    criteria: &Criteria,
    entries: &'e [Entry],
    indexed: &mut HashMap<usize, Vec<IndexEntry>>,
    params: &fhir::search::Params,
) -> Vec<&'e ResourceKey> {
    let query = criteria.query();
    if !query.conditions.is_empty() || !query.last_updated.is_empty() || query.filters.is_empty() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for entry in entries {
        let (Some(key), Some(resource)) = (&entry.key, entry.resource()) else { continue };
        if key.kind != query.kind || (!query.ids.is_empty() && !query.ids.contains(&key.id)) {
            continue;
        }
        let values = indexed.entry(entry.number).or_insert_with(|| fhir::search::extract(params, resource));
        if query.filters.iter().all(|filter| meets(filter, values)) {
            found.push(key);
        }
    }
    found
}

fn meets(filter: &Filter, values: &[IndexEntry]) -> bool {
    filter.matching == Match::Default
        && filter.any.iter().any(|operand| {
            values
                .iter()
                .filter(|entry| entry.param == filter.param)
                .any(|entry| matches(operand, &entry.value))
        })
}

fn matches(operand: &Operand, value: &IndexValue) -> bool {
    match (operand, value) {
        (Operand::Token { system, code }, IndexValue::Token { system: own_system, code: own_code }) => {
            system.as_ref().is_none_or(|system| system == own_system)
                && code.as_ref().is_none_or(|code| code == own_code)
        }
        (Operand::Uri(uri), IndexValue::Uri(own)) => uri == own,
        (Operand::Reference { kinds, id }, IndexValue::Reference { target }) => {
            kinds.contains(&target.kind) && *id == target.id
        }
        _ => false,
    }
}
