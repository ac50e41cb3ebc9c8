//! What was signed or closed stays as it is: over raw FHIR it changes only in the open, with a reason.
//!
//! The product's own commands (`note.amend`, …) have their rules in `care`. Whoever writes raw FHIR may mark a signed
//! note as amended or entered in error, stop a prescription, and take back a closed visit; nothing else.

use crate::Rule;
use access::Principal;
use fhir::Resource;
use serde_json::Value;

/// Where a resource says why it was changed after it was finished: `valueString`.
pub const CHANGE_REASON: &str = "https://uzima.health/fhir/StructureDefinition/change-reason";

/// Elements of a prescription that move after it was signed.
const WORKFLOW: &[&str] = &["status", "statusReason", "extension", "note", "meta", "text"];

/// Errors: the rule that `after` (`None`: a deletion) breaks, at the element it is about.
pub(super) fn check(by: &Principal, before: &Resource, after: Option<&Resource>) -> Result<(), Rule> {
    let bound = match by {
        Principal::User(_) => true,
        // Another system may mirror its own records here; what was signed here is not its own.
        Principal::Client { .. } => is_signed_here(before),
        Principal::Anonymous | Principal::System(_) => false,
    };
    if !bound || !is_finished(before) {
        return Ok(());
    }
    let kind = before.kind().name();
    let refuse = |code: &'static str, element: &str, text: String| {
        Err(Rule::new(code, text).at(format!("{kind}{element}")))
    };
    let Some(after) = after else {
        return refuse(
            "finished-delete",
            "",
            format!("A finished {kind} is not deleted; mark it as entered-in-error."),
        );
    };
    let status = after.text("status").unwrap_or_default();
    let (allowed, only_status): (&[&str], bool) = match kind {
        "Composition" => (&["amended", "entered-in-error"], false),
        "MedicationRequest" => {
            (&["active", "on-hold", "stopped", "cancelled", "completed", "entered-in-error"], true)
        }
        _ => (&["entered-in-error"], true),
    };
    if !allowed.contains(&status) {
        let allowed = allowed.join(", ");
        return refuse(
            "finished-status",
            ".status",
            format!("This {kind} is finished; a change must set its status to one of: {allowed}."),
        );
    }
    if only_status && let Some(element) = other_than_workflow(before, after) {
        return refuse(
            "finished-content",
            &format!(".{element}"),
            format!(
                "This {kind} is finished; its `{element}` cannot change. Write a new one and take this back."
            ),
        );
    }
    let needs_reason = !(kind == "MedicationRequest" && matches!(status, "completed" | "active"));
    if needs_reason && !has_reason(after) {
        let also = if kind == "MedicationRequest" { ", or `statusReason`" } else { "" };
        return refuse(
            "finished-reason",
            ".extension",
            format!("Say why: an extension `{CHANGE_REASON}` with `valueString`{also}."),
        );
    }
    Ok(())
}

fn is_finished(resource: &Resource) -> bool {
    let status = resource.text("status").unwrap_or_default();
    match resource.kind().name() {
        "Composition" => matches!(status, "final" | "amended" | "entered-in-error"),
        "MedicationRequest" => !matches!(status, "draft" | "unknown" | ""),
        "Encounter" => matches!(status, "finished" | "entered-in-error"),
        _ => false,
    }
}

/// A note with a signature, a prescription with a token of ours.
fn is_signed_here(resource: &Resource) -> bool {
    match resource.kind().name() {
        "Composition" => list(resource, "attester").iter().any(|a| a["mode"] == "legal"),
        "MedicationRequest" => {
            let ours =
                |system: &Value| system.as_str().is_some_and(|s| s.starts_with("https://uzima.health/"));
            resource.get("groupIdentifier").is_some_and(|group| ours(&group["system"]))
        }
        _ => false,
    }
}

fn other_than_workflow(before: &Resource, after: &Resource) -> Option<String> {
    let (before, after) = (before.value().as_object()?, after.value().as_object()?);
    let changed =
        |name: &&String| !WORKFLOW.contains(&name.as_str()) && before.get(*name) != after.get(*name);
    before.keys().chain(after.keys()).find(changed).map(|name| name.trim_start_matches('_').to_owned())
}

fn has_reason(resource: &Resource) -> bool {
    let said =
        |value: Option<&Value>| value.and_then(Value::as_str).is_some_and(|text| !text.trim().is_empty());
    let by_extension = list(resource, "extension")
        .iter()
        .any(|extension| extension["url"] == CHANGE_REASON && said(extension.get("valueString")));
    by_extension || (resource.kind().name() == "MedicationRequest" && resource.get("statusReason").is_some())
}

fn list<'a>(resource: &'a Resource, element: &str) -> &'a [Value] {
    resource.get(element).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}
