//! The table of rights, its changes, and why somebody may or may not.

use super::types::RoleName;
use super::{Answer, ApiRouter, Caller, Json, Params, Path};
use crate::state::AppState;
use access::explain::{Effect, Explanation, Layer};
use access::matrix::{self, Cell, Reach, Verb};
use access::{Action, Class, Role, Seals};
use axum::extract::State;
use axum::http::StatusCode;
use fhir::TypeId;
use jiff::Timestamp;
use record::rights::Question;
use record::{Error, Rule};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use store::rights::{Change, State as ChangeState};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;
use uuid::Uuid;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(show_rights, change_right))
        .routes(routes!(agree_to_right))
        .routes(routes!(refuse_right))
        .routes(routes!(explain_access))
        .routes(routes!(show_sensitivity, change_sensitivity))
}

#[derive(Serialize, ToSchema)]
struct RightsCell {
    role: RoleName,
    /// e.g. `result`
    class: &'static str,
    /// `read|create|change|delete`
    verb: &'static str,
    /// `nobody|self|own|in-care|everyone`
    reach: &'static str,
    /// As the program comes.
    built_in: &'static str,
    /// The most that may be set.
    most: &'static str,
}

#[derive(Serialize, ToSchema)]
struct RightsClass {
    code: &'static str,
    title: &'static str,
    /// FHIR types.
    types: Vec<&'static str>,
}

#[derive(Serialize, ToSchema)]
struct SealedCategory {
    code: &'static str,
    title: &'static str,
}

#[derive(Serialize, ToSchema)]
struct RightsChange {
    id: String,
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    account_id: String,
    /// Name of the person who asked; absent in the answer to a change.
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<String>,
    role: RoleName,
    class: &'static str,
    verb: &'static str,
    before: &'static str,
    after: &'static str,
    reason: String,
    /// `done|waiting|agreed|refused`
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    decided_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_by: Option<String>,
    /// Her name.
    #[serde(skip_serializing_if = "Option::is_none")]
    decided_by_name: Option<String>,
}

impl From<Change> for RightsChange {
    fn from(change: Change) -> RightsChange {
        RightsChange {
            id: change.id.to_string(),
            at: change.at,
            account_id: change.account.to_string(),
            by: None,
            role: RoleName::from(change.cell.role),
            class: change.cell.class.code(),
            verb: change.cell.verb.code(),
            before: change.before.code(),
            after: change.cell.reach.code(),
            reason: change.reason,
            state: change.state.code(),
            decided_at: change.decided.map(|(at, _)| at),
            decided_by: change.decided.map(|(_, by)| by.to_string()),
            decided_by_name: None,
        }
    }
}

#[derive(Serialize, ToSchema)]
struct RightsTable {
    cells: Vec<RightsCell>,
    classes: Vec<RightsClass>,
    sealed_categories: Vec<SealedCategory>,
    /// Newest first.
    changes: Vec<RightsChange>,
}

/// Who may do what, and how it came to be so. Administrator and privacy officer.
#[utoipa::path(get, path = "/api/v1/admin/rights", tag = "rights", responses((status = 200, body = RightsTable)))]
async fn show_rights(State(app): State<AppState>, caller: Caller) -> Answer<Json<RightsTable>> {
    let found = app.record.rights_table(&caller.0).await?;
    let mut cells = Vec::new();
    for role in Role::ALL {
        for class in Class::ALL {
            for verb in Verb::ALL {
                let most = matrix::most(role, class, verb);
                if most == Reach::Nobody {
                    continue;
                }
                cells.push(RightsCell {
                    role: RoleName::from(role),
                    class: class.code(),
                    verb: verb.code(),
                    reach: found.table.rights(role, class).of(verb).code(),
                    built_in: matrix::rights(role, class).of(verb).code(),
                    most: most.code(),
                });
            }
        }
    }
    let classes = Class::ALL.into_iter().map(|class| RightsClass {
        code: class.code(),
        title: class.title(),
        types: class.types().map(TypeId::name).collect(),
    });
    let mut people: Vec<i64> = found.changes.iter().map(|change| change.account).collect();
    people.extend(found.changes.iter().filter_map(|change| change.decided.map(|(_, by)| by)));
    people.sort_unstable();
    people.dedup();
    let people = app.record.people_by_id(&caller.0, &people).await?;
    let name =
        |id: &str| people.iter().find(|one| one.account.to_string() == id).map(|one| one.display.clone());
    let change = |change: Change| {
        let shown = RightsChange::from(change);
        let (by, decided_by_name) = (name(&shown.account_id), shown.decided_by.as_deref().and_then(name));
        RightsChange { by, decided_by_name, ..shown }
    };
    let sealed = Seals::CATEGORIES.iter().map(|c| SealedCategory { code: c.code, title: c.title });
    Ok(Json(RightsTable {
        cells,
        classes: classes.collect(),
        sealed_categories: sealed.collect(),
        changes: found.changes.into_iter().map(change).collect(),
    }))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RightsEdit {
    role: RoleName,
    class: String,
    /// `read|create|change|delete`
    verb: String,
    /// `nobody|self|own|in-care|everyone`
    reach: String,
    reason: String,
}

/// Changes one right: what takes away holds at once (200), what gives waits for a second person (202).
#[utoipa::path(put, path = "/api/v1/admin/rights", tag = "rights", request_body = RightsEdit,
    responses((status = 200, body = RightsChange), (status = 202, body = RightsChange)))]
async fn change_right(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<RightsEdit>,
) -> Answer<(StatusCode, Json<RightsChange>)> {
    let wrong = |field: &'static str| Error::Rule(Rule::new("value-unknown", "This is not known.").at(field));
    let cell = Cell {
        role: Role::from(body.role),
        class: Class::from_code(&body.class).ok_or_else(|| wrong("/class"))?,
        verb: Verb::from_code(&body.verb).ok_or_else(|| wrong("/verb"))?,
        reach: Reach::from_code(&body.reach).ok_or_else(|| wrong("/reach"))?,
    };
    let change = app.record.change_right(&caller.0, cell, &body.reason).await?;
    let status = match change.state {
        ChangeState::Waiting => StatusCode::ACCEPTED,
        ChangeState::Done | ChangeState::Agreed | ChangeState::Refused => StatusCode::OK,
    };
    Ok((status, Json(change.into())))
}

/// The second person agrees; the right is given.
#[utoipa::path(post, path = "/api/v1/admin/rights/changes/{id}/agree", tag = "rights", params(("id" = String, Path)),
    responses((status = 204)))]
async fn agree_to_right(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.record.decide_right(&caller.0, parse(&id)?, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The second person refuses, or who asked takes it back.
#[utoipa::path(post, path = "/api/v1/admin/rights/changes/{id}/refuse", tag = "rights", params(("id" = String, Path)),
    responses((status = 204)))]
async fn refuse_right(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.record.decide_right(&caller.0, parse(&id)?, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ExplainParams {
    /// Whose access.
    account_id: String,
    patient_id: String,
    /// FHIR type, e.g. `Observation`.
    r#type: String,
    /// One resource; else any such of the patient.
    id: Option<String>,
    /// `read` (if not given), `search`, `history`, `create`, `update` or `delete`.
    action: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct AccessExplained {
    allowed: bool,
    steps: Vec<AccessStep>,
}

#[derive(Serialize, ToSchema)]
struct AccessStep {
    /// `role|care|proxy|emergency|seal|consent|status|token|verdict`
    #[schema(value_type = String)]
    layer: Layer,
    /// `allows|denies|silent`
    #[schema(value_type = String)]
    effect: Effect,
    /// What it says, for clients with words of their own: `role-may`, `care-none`, `seal-closed`, …
    code: &'static str,
    /// What fills those words in: `role`, `class`, `verb`, `reach`, `clinic`, `until`, `by`, `seals`, `scopes`.
    #[schema(value_type = std::collections::HashMap<String, String>)]
    facts: BTreeMap<&'static str, String>,
    /// The same in English.
    text: String,
}

impl From<Explanation> for AccessExplained {
    fn from(found: Explanation) -> AccessExplained {
        let step = |step: access::explain::Step| AccessStep {
            layer: step.layer,
            effect: step.effect,
            code: step.code,
            facts: step.facts.into_iter().collect(),
            text: step.text,
        };
        AccessExplained { allowed: found.allowed, steps: found.steps.into_iter().map(step).collect() }
    }
}

/// Why a person may or may not: the chain of decisions in plain words. Administrator and privacy officer; audited.
#[utoipa::path(get, path = "/api/v1/admin/rights/explain", tag = "rights", params(ExplainParams),
    responses((status = 200, body = AccessExplained)))]
async fn explain_access(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<ExplainParams>,
) -> Answer<Json<AccessExplained>> {
    let wrong = |field: &'static str| Error::Rule(Rule::new("value-unknown", "This is not known.").at(field));
    let question = Question {
        account: params.account_id.parse().map_err(|_| Error::NotFound)?,
        patient: params.patient_id,
        kind: TypeId::from_name(&params.r#type).ok_or_else(|| wrong("/type"))?,
        id: params.id,
        action: match params.action.as_deref().unwrap_or("read") {
            "read" => Action::Read,
            "search" => Action::Search,
            "history" => Action::History,
            "create" => Action::Create,
            "update" => Action::Update,
            "delete" => Action::Delete,
            _ => return Err(wrong("/action").into()),
        },
    };
    Ok(Json(app.record.explain_access(&caller.0, question).await?.into()))
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SensitivityLists {
    /// The clinic's own lists beside the built-in ones: `[{"category": "HIV", "system": "…", "codes": ["B20*"]}]`.
    #[schema(value_type = Vec<Object>)]
    rules: Value,
}

/// Codes that the clinic seals beside the built-in ones. Privacy officer.
#[utoipa::path(get, path = "/api/v1/admin/sensitivity", tag = "rights",
    responses((status = 200, body = SensitivityLists)))]
async fn show_sensitivity(State(app): State<AppState>, caller: Caller) -> Answer<Json<SensitivityLists>> {
    Ok(Json(SensitivityLists { rules: app.record.sensitivity_rules(&caller.0).await? }))
}

/// Replaces the clinic's own lists; what is written from then on is sealed by them. Privacy officer.
#[utoipa::path(put, path = "/api/v1/admin/sensitivity", tag = "rights", request_body = SensitivityLists,
    responses((status = 204)))]
async fn change_sensitivity(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<SensitivityLists>,
) -> Answer<StatusCode> {
    app.record.set_sensitivity_rules(&caller.0, body.rules).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn parse(id: &str) -> Result<Uuid, Error> {
    Uuid::parse_str(id).map_err(|_| Error::NotFound)
}
