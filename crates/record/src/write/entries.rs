//! What the index is to hold of a resource, and how much of that it may be.

use fhir::search::{IndexEntry, IndexValue, Params, extract, extract_stored, references};
use fhir::{Issue, IssueCode, ParamId, Reference, Resource, ResourceKey, TypeId};
use std::collections::{BTreeMap, HashSet};

/// Index values of one resource. A Group or List of so many members is no resource to be read by anybody; each value
/// is a row that the one writer puts into a tree.
pub const MAX_INDEX_VALUES: usize = 10_000;
/// References to patients that no search parameter indexes, in extensions and answers: no query uses them, a merge
/// finds them. Between the standard's numbers and a server's own.
const ELSEWHERE: ParamId = ParamId(19_999);

/// The entries of a resource that is written now. `targets` are its local references.
pub(crate) fn entries<'t>(
    params: &Params,
    resource: &Resource,
    targets: impl Iterator<Item = &'t ResourceKey>,
) -> Vec<IndexEntry> {
    // What some readers of the row may not see answers no search of anybody.
    let mut entries = extract(params, &access::redact::indexable(resource));
    add_elsewhere(&mut entries, resource, targets);
    entries
}

/// As [entries], for a resource whose references nobody has looked at yet.
pub(crate) fn entries_of(params: &Params, resource: &Resource) -> Vec<IndexEntry> {
    let targets = local_targets(resource);
    entries(params, resource, targets.iter())
}

/// The entries that the index may hold of a stored resource; for replacing them.
pub(crate) fn stored_entries(params: &Params, resource: &Resource) -> Vec<IndexEntry> {
    let mut entries = extract_stored(params, &access::redact::indexable(resource));
    let targets = local_targets(resource);
    add_elsewhere(&mut entries, resource, targets.iter());
    entries
}

/// Every resource of this server that is referred to, contained resources and extensions included.
pub(crate) fn local_targets(resource: &Resource) -> HashSet<ResourceKey> {
    let local = |(_, reference)| match reference {
        Reference::Local { key, .. } => Some(key),
        _ => None,
    };
    references(resource).into_iter().filter_map(local).collect()
}

fn add_elsewhere<'t>(
    entries: &mut Vec<IndexEntry>,
    resource: &Resource,
    targets: impl Iterator<Item = &'t ResourceKey>,
) {
    // A stored Bundle is a document: what it says is not rewritten.
    if resource.kind() == crate::read::kind("Bundle") {
        return;
    }
    let known = entries.iter().filter_map(|entry| match &entry.value {
        IndexValue::Reference { target } => Some(target),
        _ => None,
    });
    let mut known: HashSet<&ResourceKey> = known.collect();
    let missing: Vec<IndexEntry> = targets
        .filter(|target| target.kind == TypeId::PATIENT && known.insert(*target))
        .map(|target| IndexEntry {
            param: ELSEWHERE,
            value: IndexValue::Reference { target: target.clone() },
        })
        .collect();
    entries.extend(missing);
}

/// Rows of the index that an entry comes to.
fn weight(entry: &IndexEntry) -> usize {
    match &entry.value {
        IndexValue::Composite(parts) => parts.len(),
        _ => 1,
    }
}

/// Errors: more than [MAX_INDEX_VALUES], naming the parameter that most of them are of.
pub(crate) fn check(params: &Params, resource: &Resource, entries: &[IndexEntry]) -> Result<(), Issue> {
    // Composites have few parts; what is far below the limit needs no count.
    if entries.len() <= MAX_INDEX_VALUES / 8 {
        return Ok(());
    }
    let mut counts: BTreeMap<ParamId, usize> = BTreeMap::new();
    for entry in entries {
        *counts.entry(entry.param).or_default() += weight(entry);
    }
    let total: usize = counts.values().sum();
    if total <= MAX_INDEX_VALUES {
        return Ok(());
    }
    let most = counts.iter().max_by_key(|(_, count)| **count).map(|(param, count)| (*param, *count));
    let (param, count) = most.unwrap_or((ELSEWHERE, total));
    let kind = resource.kind().name();
    let what = match params.by_id(param) {
        Some(param) => format!("the search parameter `{}`", param.code),
        None => "references to patients outside of search parameters".to_owned(),
    };
    let text = format!(
        "This {kind} has {total} values for the search index, {count} of them of {what}; at most {MAX_INDEX_VALUES} \
         are allowed. Split it into several resources."
    );
    Err(Issue::error(IssueCode::TooCostly, kind, text))
}

/// Leaves out what a parameter that is new gives beyond the limit: what is stored already cannot be refused any more.
pub(crate) fn cut(entries: &mut Vec<IndexEntry>, param: ParamId) {
    let others: usize = entries.iter().filter(|entry| entry.param != param).map(weight).sum();
    let mut left = MAX_INDEX_VALUES.saturating_sub(others);
    entries.retain(|entry| {
        if entry.param != param {
            return true;
        }
        let keep = weight(entry) <= left;
        left = left.saturating_sub(weight(entry));
        keep
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn group(members: usize) -> Resource {
        let member = |n| json!({"entity": {"reference": format!("Patient/p{n}")}});
        let members: Vec<_> = (0..members).map(member).collect();
        Resource::from_value(
            json!({"resourceType": "Group", "type": "person", "actual": true, "member": members}),
        )
        .unwrap()
    }

    #[test]
    fn a_resource_of_too_many_values_is_refused_by_name() {
        let params = Params::standard();
        let at = |members: usize| {
            let group = group(members);
            let entries = entries_of(&params, &group);
            check(&params, &group, &entries)
        };
        assert_eq!(at(9_900), Ok(()));
        let issue = at(10_001).unwrap_err();
        assert_eq!((issue.code, issue.expression.as_str()), (IssueCode::TooCostly, "Group"));
        assert!(issue.text.contains("`member`"), "{}", issue.text);
    }

    #[test]
    fn patients_in_extensions_are_found() {
        let of = |value| entries_of(&Params::standard(), &Resource::from_value(value).unwrap());
        let about = json!({"url": "urn:x", "valueReference": {"reference": "Patient/b/_history/3"}});
        let found = of(json!({"resourceType": "Observation", "status": "final", "code": {"text": "x"},
            "subject": {"reference": "Patient/a"}, "extension": [about.clone(), about,
            {"url": "urn:y", "valueReference": {"reference": "Patient/a"}},
            {"url": "urn:z", "valueReference": {"reference": "Device/d"}}]}));
        let elsewhere: Vec<&IndexValue> =
            found.iter().filter(|entry| entry.param == ELSEWHERE).map(|entry| &entry.value).collect();
        let target = ResourceKey::parse("Patient/b").unwrap();
        assert_eq!(
            elsewhere,
            [&IndexValue::Reference { target }],
            "each once, and only what nothing else indexes"
        );
    }

    #[test]
    fn a_new_parameter_is_cut_and_the_others_stay() {
        let one = |param: u16, n: usize| IndexEntry {
            param: ParamId(param),
            value: IndexValue::Uri(n.to_string()),
        };
        let mut entries: Vec<IndexEntry> = (0..4_000).map(|n| one(1, n)).collect();
        entries.extend((0..9_000).map(|n| one(20_000, n)));
        cut(&mut entries, ParamId(20_000));
        assert_eq!(entries.len(), MAX_INDEX_VALUES);
        assert_eq!(entries.iter().filter(|entry| entry.param == ParamId(1)).count(), 4_000);
    }
}
