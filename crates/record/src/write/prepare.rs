//! What can be done before the write lock is held: ids, validation, index values, compartments.

use super::{Request, entries};
use crate::{Change, Error};
use access::consent::Rule;
use access::sensitivity::Rules;
use access::{CareLink, Seals};
use fhir::search::{IndexEntry, Params};
use fhir::{Outcome, Reference, Resource, ResourceKey, Severity};
use jiff::Timestamp;
use serde_json::Value;
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use store::Content;
use uuid::Uuid;

/// A new version of a resource, ready for the transaction.
#[derive(Debug, Clone)]
pub(crate) struct Put {
    pub key: ResourceKey,
    /// With id and `meta.lastUpdated`; `meta.versionId` is set for version 1.
    pub resource: Arc<Resource>,
    /// As version 1, ready for the disk.
    pub content: Content,
    pub last_updated: Timestamp,
    /// Came as a Create.
    pub creates: bool,
    pub if_match: Option<u32>,
    /// By `params`; see [Put::entries].
    pub entries: Vec<IndexEntry>,
    pub params: Params,
    /// Patients whose compartment holds it.
    pub patients: Vec<String>,
    pub links: Vec<CareLink>,
    /// What it is sealed as.
    pub seals: Seals,
    /// What labelled parts of it are sealed as.
    pub parts: Seals,
    /// Of a Consent in force.
    pub rules: Vec<Rule>,
    /// Local resources it refers to, each with the FHIRPath of the reference.
    pub targets: Vec<(String, ResourceKey)>,
}

impl Put {
    /// The index entries by the parameters of now, which may be others than when it was prepared.
    pub fn entries(&self, now: &Params) -> Cow<'_, [IndexEntry]> {
        if *now == self.params {
            Cow::Borrowed(&self.entries)
        } else {
            Cow::Owned(entries::entries_of(now, &self.resource))
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Prepared {
    Put(Box<Put>),
    Delete { key: ResourceKey, if_match: Option<u32> },
    Keep { key: ResourceKey },
}

impl Prepared {
    pub fn key(&self) -> &ResourceKey {
        match self {
            Prepared::Put(put) => &put.key,
            Prepared::Delete { key, .. } | Prepared::Keep { key } => key,
        }
    }
}

/// Errors: `Invalid` with the problems of all changes; `Malformed` for one resource changed twice.
pub(crate) fn prepare(
    request: &Request,
    (params, base, rules): (&Params, Option<&str>, &Rules),
    now: Timestamp,
) -> Result<Vec<Prepared>, Error> {
    let own = request.on_behalf;
    let mut prepared = Vec::with_capacity(request.changes.len());
    let mut problems = Outcome::default();
    for (change, place) in request.changes.iter().zip(&request.places) {
        match change {
            Change::Delete { key, if_match } => {
                prepared.push(Prepared::Delete { key: key.clone(), if_match: *if_match });
            }
            Change::Keep { key } => prepared.push(Prepared::Keep { key: key.clone() }),
            Change::Patch { .. } | Change::Conditional(_) => {
                return Err(Error::Internal("a conditional change reached the write path unresolved".into()));
            }
            Change::Create { resource } => {
                let mut resource = resource.clone();
                let keep = match resource.id() {
                    Some(id) if request.command.is_some() => fhir::resource::valid_id(id),
                    Some(id) => Uuid::try_parse(id).is_ok() && fhir::resource::valid_id(id),
                    None => false,
                };
                if !keep {
                    resource.set_id(&Uuid::now_v7().to_string());
                }
                match prepare_put((params, base, rules), resource, true, None, place, now, own) {
                    Ok(put) => prepared.push(Prepared::Put(Box::new(put))),
                    Err(outcome) => problems.issues.extend(outcome.issues),
                }
            }
            Change::Update { resource, if_match } => {
                let resource = resource.clone();
                match prepare_put((params, base, rules), resource, false, *if_match, place, now, own) {
                    Ok(put) => prepared.push(Prepared::Put(Box::new(put))),
                    Err(outcome) => problems.issues.extend(outcome.issues),
                }
            }
        }
    }
    if !problems.issues.is_empty() {
        return Err(Error::Invalid(problems));
    }
    let mut seen = HashSet::with_capacity(prepared.len());
    for (change, place) in prepared.iter().zip(&request.places) {
        if !matches!(change, Prepared::Keep { .. }) && !seen.insert(change.key()) {
            let text = "One transaction must not change the same resource twice.";
            return Err(Error::Malformed(Outcome::one(fhir::IssueCode::Duplicate, place.as_str(), text)));
        }
    }
    Ok(prepared)
}

/// Makes references to our own address relative: rights, existence, compartments and claims of time go by `Type/id`.
/// Only `Reference.reference`, never a canonical URL; a stored Bundle links its own entries.
fn localise(value: &mut Value, base: &str) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| localise(item, base)),
        Value::Object(object) => {
            for (name, member) in object.iter_mut() {
                match member {
                    Value::String(text) if name == "reference" => {
                        if let Some(local) = text.strip_prefix(base).and_then(|rest| rest.strip_prefix('/')) {
                            *text = local.to_owned();
                        }
                    }
                    Value::Array(_) | Value::Object(_) => localise(member, base),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// `base` is the server's own FHIR base, as far as it is known; `rules` seal what they name. Errors: every problem of the resource, at `place`.
/// `own`: the record itself writes what is stored already, only moved: that is not held to today's rules.
pub(crate) fn prepare_put(
    (params, base, rules): (&Params, Option<&str>, &Rules),
    mut resource: Resource,
    creates: bool,
    if_match: Option<u32>,
    place: &str,
    now: Timestamp,
    own: bool,
) -> Result<Put, Outcome> {
    if let Some(base) = base.filter(|_| resource.kind().name() != "Bundle") {
        localise(resource.value_mut(), base);
    }
    let mut outcome = Outcome { issues: if own { Vec::new() } else { problems(&resource) } };
    if resource.kind() == fhir::TypeId::SEARCH_PARAMETER
        && !own
        && !outcome.has_errors()
        && let Err(problems) = fhir::search::Definition::read(params, &resource)
    {
        outcome.issues.extend(problems.issues);
    }
    let consent = access::consent::rules(&resource).unwrap_or_else(|problem| {
        // One that was stored before it could be enforced goes on without rules: it is not new.
        if !own {
            let code = fhir::IssueCode::NotSupported;
            outcome.issues.push(fhir::Issue::error(code, problem.expression, problem.text));
        }
        Vec::new()
    });
    let key = resource.key().filter(|k| fhir::resource::valid_id(&k.id));
    if key.is_none() && !outcome.has_errors() {
        outcome.issues.push(fhir::Issue::error(
            fhir::IssueCode::Value,
            format!("{}.id", resource.kind().name()),
            "The id must be 1–64 letters, digits, `-` or `.`.",
        ));
    }
    let Some(key) = key.filter(|_| !outcome.has_errors()) else {
        outcome.issues.retain(|i| matches!(i.severity, Severity::Fatal | Severity::Error));
        for issue in &mut outcome.issues {
            issue.expression = at(place, &issue.expression);
        }
        return Err(outcome);
    };
    let sealing = rules.seal(&mut resource);
    access::seal::label(&mut resource, sealing.whole);
    let seals = Seals::of(&resource);
    // versionId and lastUpdated are the server's, whatever was sent.
    resource.set_version(1, now);
    let patients = compartment(&resource);
    let links = access::care::links(&resource, now);
    let targets: Vec<(String, ResourceKey)> = fhir::search::references(&resource)
        .into_iter()
        .filter_map(|(expression, reference)| match reference {
            Reference::Local { key, .. } => Some((at(place, &expression), key)),
            _ => None,
        })
        .collect();
    let entries = entries::entries(params, &resource, targets.iter().map(|(_, key)| key));
    if !own {
        entries::check(params, &resource, &entries).map_err(|mut issue| {
            issue.expression = at(place, &issue.expression);
            Outcome { issues: vec![issue] }
        })?;
    }
    let content = Content::new(&resource.to_json());
    Ok(Put {
        key,
        resource: Arc::new(resource),
        content,
        last_updated: now,
        creates,
        if_match,
        entries,
        params: params.clone(),
        patients,
        links,
        seals,
        parts: sealing.parts,
        rules: consent,
        targets,
    })
}

/// What the R4 definitions and this server's bounds say against the resource, warnings included.
pub(crate) fn problems(resource: &Resource) -> Vec<fhir::Issue> {
    let mut issues = fhir::validate::validate(resource);
    issues.extend(crate::attachment::problems(resource));
    issues
}

/// Patients whose compartment holds the resource: R4's, and `Task.for`, which R4 leaves out.
pub(crate) fn compartment(resource: &Resource) -> Vec<String> {
    let mut patients = fhir::search::compartment(resource);
    if resource.kind().name() == "Task"
        && let Some(key) = resource
            .get("for")
            .and_then(|r| r.get("reference"))
            .and_then(Value::as_str)
            .and_then(ResourceKey::parse)
        && key.kind.name() == "Patient"
        && !patients.contains(&key.id)
    {
        patients.push(key.id);
    }
    patients
}

/// `Observation.status` at `Bundle.entry[3].resource` is `Bundle.entry[3].resource.status`.
pub(crate) fn at(place: &str, expression: &str) -> String {
    if place.is_empty() {
        return expression.to_owned();
    }
    match expression.split_once('.') {
        Some((_, rest)) => format!("{place}.{rest}"),
        None => place.to_owned(),
    }
}

/// Whether two versions say the same: everything but `meta.versionId` and `meta.lastUpdated`.
pub(crate) fn same_content(a: &Value, b: &Value) -> bool {
    let (Some(a), Some(b)) = (a.as_object(), b.as_object()) else { return false };
    let rest = |v: &serde_json::Map<String, Value>| -> Option<serde_json::Map<String, Value>> {
        let mut meta = v.get("meta")?.as_object()?.clone();
        meta.shift_remove("versionId");
        meta.shift_remove("lastUpdated");
        (!meta.is_empty()).then_some(meta)
    };
    let len = |v: &serde_json::Map<String, Value>| v.len() - usize::from(v.contains_key("meta"));
    len(a) == len(b)
        && rest(a) == rest(b)
        && a.iter().filter(|(k, _)| *k != "meta").all(|(k, v)| b.get(k) == Some(v))
}
