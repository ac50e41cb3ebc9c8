//! What was signed or closed stays as it is: over raw FHIR it changes only in the open, with a reason.
//!
//! What the stored version says decides, not who wrote it: a note that is final is final, whether it was signed here or
//! came from another system. The product's own commands (`note.amend`, …) have their rules in `care`; imports mirror
//! other systems' records as they are.

use crate::Rule;
use access::Principal;
use fhir::Resource;
use serde_json::Value;

/// Where a resource says why it was changed after it was finished: `valueString`.
pub const CHANGE_REASON: &str = "https://uzima.health/fhir/StructureDefinition/change-reason";

/// Elements that move when nothing else may.
const WORKFLOW: &[&str] = &["status", "statusReason", "statusHistory", "note", "meta"];
/// Elements of a note that stay after it was signed: what it is, and of whom.
const OF_NOTES: &[&str] = &["identifier", "type", "subject", "encounter"];
const OF_REPORTS: &[&str] = &["code", "subject", "encounter"];
const OF_DOCUMENTS: &[&str] = &["masterIdentifier", "type", "subject"];
/// Of a document that another one replaces: it said what it said, and stays final.
const OF_REPLACED: &[&str] = &["masterIdentifier", "type", "subject", "docStatus", "content"];
/// Of a closed visit: whose it was, when and with whom.
const OF_VISITS: &[&str] = &["identifier", "class", "subject", "period", "participant"];

/// What may become of a finished resource.
struct Terms {
    /// The element that says how far it is.
    state: &'static str,
    /// What that element may say after the change.
    allowed: &'static [&'static str],
    /// Elements that stay; `None`: everything but [WORKFLOW] and the reason.
    stays: Option<&'static [&'static str]>,
    /// Whether the change must say why.
    needs_reason: bool,
}

/// `explained`: whether another resource of the same request gives the reason (a Provenance).
/// Errors: the rule that `after` (`None`: a deletion) breaks, at the element it is about.
pub(super) fn check(
    by: &Principal,
    before: &Resource,
    after: Option<&Resource>,
    explained: impl FnOnce() -> bool,
) -> Result<(), Rule> {
    let is_person = match by {
        Principal::User(_) => true,
        Principal::Client { .. } => false,
        Principal::Anonymous | Principal::System(_) => return Ok(()),
    };
    if !is_finished(before, is_person) {
        return Ok(());
    }
    let kind = before.kind().name();
    let refuse = |code: &'static str, element: &str, text: String| {
        let dot = if element.is_empty() { "" } else { "." };
        Err(Rule::new(code, text).at(format!("{kind}{dot}{element}")))
    };
    let Some(after) = after else {
        let text = format!("A finished {kind} is not deleted; mark it as entered-in-error.");
        return refuse("finished-delete", "", text);
    };
    // Tags and labels are about the resource, not of it.
    if differing(before, after, &["meta"]).is_none() {
        return Ok(());
    }
    let terms = terms(before, after, is_person);
    if !terms.allowed.contains(&after.text(terms.state).unwrap_or_default()) {
        let (state, allowed) = (terms.state, terms.allowed.join(", "));
        let text = format!("This {kind} is finished; a change must set its {state} to one of: {allowed}.");
        return refuse("finished-status", state, text);
    }
    let lost = match terms.stays {
        None => differing(before, after, WORKFLOW)
            .filter(|element| element != "extension" || !same_but_reasons(before, after)),
        Some(elements) => elements.iter().find(|e| before.get(e) != after.get(e)).map(|e| (*e).to_owned()),
    };
    if let Some(element) = lost {
        let text = format!(
            "This {kind} is finished; its `{element}` cannot change. Write a new one and take this back."
        );
        return refuse("finished-content", &element, text);
    }
    let signatures = list(after, "attester");
    if list(before, "attester").iter().any(|signature| !signatures.contains(signature)) {
        let text = format!("This {kind} is finished; an amendment keeps its `attester`.");
        return refuse("finished-content", "attester", text);
    }
    if terms.needs_reason && !has_new_reason(before, after) && !explained() {
        let also = if kind == "MedicationRequest" { ", or `statusReason`" } else { "" };
        let text = format!(
            "Say why, for this change anew: an extension `{CHANGE_REASON}` with `valueString`{also}, or a Provenance \
             with `reason` in the same transaction."
        );
        return refuse("finished-reason", "extension", text);
    }
    Ok(())
}

/// Whether `provenance`, written in the same request, says why `target` was changed.
pub(super) fn explains(provenance: &Resource, target: &fhir::ResourceKey) -> bool {
    let says = |reason: &Value| {
        let text = |value: &Value| value.as_str().is_some_and(|text| !text.trim().is_empty());
        text(&reason["text"])
            || reason["coding"].as_array().is_some_and(|codings| codings.iter().any(|c| text(&c["code"])))
    };
    let is_it =
        |about: &Value| match about["reference"].as_str().map(|text| fhir::Reference::parse(text, None)) {
            Some(fhir::Reference::Local { key, .. }) => key == *target,
            _ => false,
        };
    list(provenance, "target").iter().any(is_it) && list(provenance, "reason").iter().any(says)
}

fn is_finished(resource: &Resource, by_person: bool) -> bool {
    let status = resource.text("status").unwrap_or_default();
    match resource.kind().name() {
        "Composition" => matches!(status, "final" | "amended" | "entered-in-error"),
        "DiagnosticReport" => {
            // What was cancelled may have been final before.
            matches!(
                status,
                "final" | "amended" | "corrected" | "appended" | "cancelled" | "entered-in-error"
            )
        }
        "DocumentReference" => {
            matches!(resource.text("docStatus"), Some("final" | "amended" | "entered-in-error"))
        }
        "Encounter" => matches!(status, "finished" | "entered-in-error"),
        // Another system keeps its own running prescriptions here; what was signed here is not its own.
        "MedicationRequest" if by_person || is_signed_here(resource) => {
            !matches!(status, "draft" | "unknown" | "")
        }
        "MedicationRequest" => {
            matches!(status, "completed" | "stopped" | "cancelled" | "entered-in-error")
        }
        _ => false,
    }
}

fn terms(before: &Resource, after: &Resource, by_person: bool) -> Terms {
    let status = after.text("status").unwrap_or_default();
    let was = before.text("status").unwrap_or_default();
    let (state, needs_reason) = ("status", true);
    match before.kind().name() {
        "Composition" => {
            let allowed = &["amended", "entered-in-error"];
            Terms { state, allowed, stays: Some(OF_NOTES), needs_reason }
        }
        // For results the status itself is what the standard has for saying it: amended, corrected, appended.
        "DiagnosticReport" => {
            let allowed = &["amended", "corrected", "appended", "cancelled", "entered-in-error"];
            // Taken back is not corrected: one that is cancelled with other words must say why.
            let reworded = status == "cancelled" && differing(before, after, WORKFLOW).is_some();
            Terms { state, allowed, stays: Some(OF_REPORTS), needs_reason: reworded }
        }
        // One document in place of another is what replacing it means (IHE MHD): the new one says it all.
        "DocumentReference" if status == "superseded" => {
            Terms { state, allowed: &["superseded"], stays: Some(OF_REPLACED), needs_reason: false }
        }
        "DocumentReference" => {
            let allowed = &["amended", "entered-in-error"];
            Terms { state: "docStatus", allowed, stays: Some(OF_DOCUMENTS), needs_reason }
        }
        "MedicationRequest" => {
            let allowed = &["active", "on-hold", "stopped", "cancelled", "completed", "entered-in-error"];
            let usual = was == status
                || matches!((was, status), ("active" | "on-hold", "completed") | ("on-hold", "active"));
            Terms { state, allowed, stays: None, needs_reason: !usual }
        }
        // A closed visit gets its diagnoses and accounts from other systems; people have the product's own steps.
        _ if !by_person && status != "entered-in-error" => {
            Terms { state, allowed: &["finished", "entered-in-error"], stays: Some(OF_VISITS), needs_reason }
        }
        _ => Terms { state, allowed: &["entered-in-error"], stays: None, needs_reason },
    }
}

/// A prescription with a token of ours.
fn is_signed_here(resource: &Resource) -> bool {
    let ours = |system: &Value| system.as_str().is_some_and(|s| s.starts_with("https://uzima.health/"));
    resource.get("groupIdentifier").is_some_and(|group| ours(&group["system"]))
}

/// The first element that is not the same in both, but for `except`. Among several, `extension` comes last: it may be
/// the reason.
fn differing(before: &Resource, after: &Resource, except: &[&str]) -> Option<String> {
    let (before, after) = (before.value().as_object()?, after.value().as_object()?);
    let changed = |name: &&String| !except.contains(&name.as_str()) && before.get(*name) != after.get(*name);
    let mut names: Vec<&String> = before.keys().chain(after.keys()).filter(changed).collect();
    names.sort_by_key(|name| *name == "extension");
    names.first().map(|name| name.trim_start_matches('_').to_owned())
}

/// Whether the extensions are the same but for reasons of changes.
fn same_but_reasons(before: &Resource, after: &Resource) -> bool {
    fn others(resource: &Resource) -> Vec<&Value> {
        list(resource, "extension").iter().filter(|extension| extension["url"] != CHANGE_REASON).collect()
    }
    others(before) == others(after)
}

/// The reason of an earlier change is none for this one.
fn has_new_reason(before: &Resource, after: &Resource) -> bool {
    let (old, new) = (reasons(before), reasons(after));
    let by_extension = new.len() > old.len() || new.iter().any(|reason| !old.contains(reason));
    let status_reason =
        (after.kind().name() == "MedicationRequest").then(|| after.get("statusReason")).flatten();
    by_extension || (status_reason.is_some() && status_reason != before.get("statusReason"))
}

fn reasons(resource: &Resource) -> Vec<&str> {
    list(resource, "extension")
        .iter()
        .filter(|extension| extension["url"] == CHANGE_REASON)
        .filter_map(|extension| extension["valueString"].as_str())
        .filter(|text| !text.trim().is_empty())
        .collect()
}

fn list<'a>(resource: &'a Resource, element: &str) -> &'a [Value] {
    resource.get(element).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
