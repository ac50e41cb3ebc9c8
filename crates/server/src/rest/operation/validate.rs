//! `$validate`: whether a resource could be stored, and how well it is made.

use super::{Answer, Call, Kinds, Levels, Operation, Output, Parameter, wrong};
use ::fhir::{Issue, IssueCode, Outcome, Resource, Severity};
use record::Error;

pub(super) const OPERATIONS: &[Operation] = &[Operation {
    code: "validate",
    id: "Resource-validate",
    url: "http://hl7.org/fhir/OperationDefinition/Resource-validate",
    title: "Validate a resource",
    text: "Checks structure, invariants, terminology and profiles: those in `meta.profile` and the one named, where they \
           are stored here. The answer is 200 with an OperationOutcome whatever is found; errors are what a write would \
           be refused for, or what a named profile forbids; warnings are advice. Without `resource` the stored one is \
           checked.",
    levels: Levels::KIND_AND_INSTANCE,
    kinds: Kinds::Every,
    affects_state: false,
    parameters: &[
        Parameter::new(
            "resource",
            "Resource",
            "What to check; needed unless an instance is asked, or to delete.",
        ),
        Parameter::new("mode", "code", "create, update, delete or profile: what the resource is meant for."),
        Parameter::new("profile", "canonical", "A profile it must fit, beside those of its `meta.profile`.")
            .many(),
        Parameter::new("return", "OperationOutcome", "What was found.").out().required(),
    ],
    handler: |call| Box::pin(validate(call)),
}];

async fn validate(call: Call) -> Answer {
    let mode = call.input.text("mode").unwrap_or_default();
    if !matches!(mode, "" | "create" | "update" | "delete" | "profile") {
        return Err(wrong("mode", "The modes are create, update, delete and profile."));
    }
    let profiles: Vec<String> = call.input.texts("profile").map(str::to_owned).collect();
    if mode == "profile" && profiles.is_empty() {
        return Err(wrong("profile", "The mode profile needs `profile`."));
    }
    if mode == "delete" {
        let Ok(key) = call.key() else {
            return Err(wrong("mode", "Ask the instance whether it can be deleted: {type}/{id}/$validate."));
        };
        call.app.record.read(&call.ctx, key).await?;
        return Ok(Output::Json(shown(Outcome::default())));
    }
    let resource = match call.input.resource("resource") {
        Some(resource) => resource.clone(),
        None => match call.key() {
            Ok(key) => call.app.record.read(&call.ctx, key).await?.parse()?,
            Err(_) => return Err(wrong("resource", "Send the resource to check.")),
        },
    };
    let mut outcome = match misplaced(&call, &resource, mode) {
        Some(issue) => Outcome { issues: vec![issue] },
        None => Outcome::default(),
    };
    let found = call.app.record.validate(&call.ctx, resource, profiles).await.map_err(|e| match e {
        // What cannot be asked of the terminology says nothing about the resource.
        Error::Invalid(outcome) => Error::Malformed(outcome),
        other => other,
    })?;
    outcome.issues.extend(found.issues);
    Ok(Output::Json(shown(outcome)))
}

/// What is wrong with sending this resource to this address for this purpose.
fn misplaced(call: &Call, resource: &Resource, mode: &str) -> Option<Issue> {
    let kind = call.kind?;
    if resource.kind() != kind {
        let text = format!("This is a {}, not a {}.", resource.kind().name(), kind.name());
        return Some(Issue::error(IssueCode::Structure, "resourceType", text));
    }
    if mode != "update" {
        return None;
    }
    let at = format!("{}.id", kind.name());
    match (resource.id(), call.key().ok()) {
        (None, _) => Some(Issue::error(IssueCode::Required, at, "An update needs the id of the resource.")),
        (Some(id), Some(key)) if id != key.id => {
            Some(Issue::error(IssueCode::Value, at, "The id is not that of the resource it was sent to."))
        }
        _ => None,
    }
}

/// An OperationOutcome has at least one issue.
fn shown(mut outcome: Outcome) -> serde_json::Value {
    if outcome.issues.is_empty() {
        outcome.issues.push(Issue {
            severity: Severity::Information,
            code: IssueCode::Informational,
            text: "Nothing to complain about.".to_owned(),
            expression: String::new(),
        });
    }
    outcome.to_json()
}
