//! References to a patient's record that was merged into another one: see `docs/adr/006-patient-merge.md`.
//!
//! Nobody looks into a record out of use, so what is newly written there would be lost to care. It is refused, and the
//! refusal names the record that is in use: who sends it looks at whose it is, while nobody could tell any more once
//! it lay among the other's.

use crate::{Error, Rule};
use fhir::{Issue, IssueCode, ParamId, Resource, ResourceKey, TypeId};
use serde_json::Value;
use store::Tx;
use store::resource::{self, PatientFound};

/// Links from one merged record to the next that are followed.
const MAX_STEPS: usize = 16;

pub(super) enum Found {
    InUse,
    Absent,
    /// By the record that is in use.
    Replaced(ResourceKey),
}

/// Looks a Patient up that is newly referred to. On PostgreSQL it stays as it is until this transaction ends.
pub(super) fn look(tx: &mut dyn Tx, key: &ResourceKey) -> Result<Found, Error> {
    let Some(active) = fhir::definitions::param(TypeId::PATIENT, "active").map(|param| param.id) else {
        return Err(Error::Internal("Patient has no search parameter `active`".into()));
    };
    let mut found = None;
    let mut at = key.clone();
    for _ in 0..MAX_STEPS {
        match step(tx, &at, active)? {
            Step::Absent if found.is_none() => return Ok(Found::Absent),
            Step::Next(next) if next != *key => {
                at = next.clone();
                found = Some(next);
            }
            Step::Absent | Step::End | Step::Next(_) => break,
        }
    }
    Ok(found.map_or(Found::InUse, Found::Replaced))
}

enum Step {
    Absent,
    End,
    Next(ResourceKey),
}

fn step(tx: &mut dyn Tx, key: &ResourceKey, active: ParamId) -> Result<Step, Error> {
    let content = match resource::patient_for_reference(tx, key, active)? {
        PatientFound::Absent => return Ok(Step::Absent),
        PatientFound::InUse => return Ok(Step::End),
        PatientFound::OutOfUse(content) => content,
    };
    let patient = Resource::parse(&content).map_err(|o| Error::Internal(format!("stored {key}: {o}")))?;
    Ok(successor(&patient).map_or(Step::End, Step::Next))
}

/// The record that took the place of this one.
fn successor(patient: &Resource) -> Option<ResourceKey> {
    let links = patient.get("link").and_then(Value::as_array)?;
    let link = links.iter().find(|link| link["type"] == "replaced-by")?;
    ResourceKey::parse(link["other"]["reference"].as_str()?).filter(|key| key.kind == TypeId::PATIENT)
}

/// As [look], for a Patient that this very request writes as `after`: that is what counts then.
pub(super) fn look_after(tx: &mut dyn Tx, key: &ResourceKey, after: &Resource) -> Result<Found, Error> {
    let Some(next) = replaced_by(after).filter(|next| next != key) else {
        // Also where this version is no other than the one that is there, nobody merges it until this transaction ends.
        resource::hold(tx, key)?;
        return Ok(Found::InUse);
    };
    Ok(match look(tx, &next)? {
        Found::Replaced(survivor) => Found::Replaced(survivor),
        Found::InUse | Found::Absent => Found::Replaced(next),
    })
}

/// The successor of a Patient that is out of use.
fn replaced_by(patient: &Resource) -> Option<ResourceKey> {
    successor(patient).filter(|_| patient.get("active") == Some(&Value::Bool(false)))
}

/// Why `after` may not follow `before` (`None`: deleted): a merge of this record is in force, and it would be in use
/// again while its chart lies elsewhere.
pub(super) fn revives(
    tx: &mut dyn Tx,
    key: &ResourceKey,
    before: Option<&Resource>,
    after: &Resource,
) -> Result<Option<Rule>, Error> {
    if key.kind != TypeId::PATIENT || before.is_some_and(|before| successor(before).is_none()) {
        return Ok(None);
    }
    let Some(target) = store::merge::in_force(tx, key)?.into_iter().next().map(|merge| merge.target) else {
        return Ok(None);
    };
    let leads_there = |patient: &Resource| replaced_by(patient).as_ref() == Some(&target);
    if leads_there(after) || before.is_some_and(|before| !leads_there(before)) {
        return Ok(None);
    }
    let text = format!(
        "{key} was merged into {target}: it keeps `active` false and its link `replaced-by`. To use it again, take the \
         merge back with Patient/$unmerge."
    );
    Ok(Some(Rule::new("merged-away", text).at("Patient.link")))
}

pub(super) fn refusal(target: &ResourceKey, survivor: &ResourceKey, expression: &str) -> Issue {
    let text = format!("{target} was merged into {survivor} and is out of use. Refer to {survivor}.");
    Issue::error(IssueCode::BusinessRule, expression, text)
}
