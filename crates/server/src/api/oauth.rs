//! Applications, for the person who uses them: what one asks, launching one, what was granted.

use super::types::List;
use super::{Answer, ApiRouter, Json, Path, SessionCaller};
use crate::state::AppState;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use record::oauth::{Decision, GrantRow, LaunchSpec};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(get_authorization))
        .routes(routes!(decide_authorization))
        .routes(routes!(create_launch))
        .routes(routes!(list_launchable))
        .routes(routes!(list_grants))
        .routes(routes!(revoke_grant))
}

/// A SMART scope such as `patient/Observation.rs?category=laboratory`, or `openid` and its kin.
pub type Scope = String;

#[derive(Serialize, ToSchema)]
struct Authorization {
    client_id: String,
    client_name: String,
    /// Where the browser goes afterwards.
    redirect_uri: String,
    /// What is asked; the person may take some away.
    scopes: Vec<Scope>,
    /// The patient of the launch.
    #[serde(skip_serializing_if = "Option::is_none")]
    patient_id: Option<String>,
    /// A patient must be chosen: one of `patient_ids`, or for staff any that is found by `/api/v1/patients`.
    needs_patient: bool,
    patient_ids: Vec<String>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AuthorizationDecision {
    approve: bool,
    /// Fewer than asked; all if not given.
    scopes: Option<Vec<Scope>>,
    patient_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Redirect {
    /// Go there with the browser.
    redirect_to: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewLaunch {
    client_id: String,
    patient_id: Option<String>,
    encounter_id: Option<String>,
    /// References of other resources in question, e.g. `DiagnosticReport/7`.
    #[serde(default)]
    fhir_context: Vec<String>,
    /// What the application is to do, as it is agreed with its maker.
    intent: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct Launch {
    /// The parameter by itself.
    launch: String,
    /// Where to go, if the application has a launch URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// What somebody granted to an application.
#[derive(Serialize, ToSchema)]
pub struct GrantInfo {
    id: String,
    account_id: String,
    /// The person's name.
    display: String,
    client_id: String,
    client_name: String,
    scopes: Vec<Scope>,
    /// The patient it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    patient_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl From<GrantRow> for GrantInfo {
    fn from(row: GrantRow) -> GrantInfo {
        GrantInfo {
            id: row.id,
            account_id: row.account.to_string(),
            display: row.display,
            client_id: row.client_id,
            client_name: row.client_name,
            scopes: row.scopes,
            patient_id: row.patient,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
            expires_at: row.expires_at,
        }
    }
}

/// What an application asks of the signed-in person. The id is `request` of the page that `/oauth/authorize` leads to.
#[utoipa::path(get, path = "/api/v1/oauth/requests/{id}", tag = "applications", params(("id" = String, Path)),
    responses((status = 200, body = Authorization)))]
async fn get_authorization(
    State(app): State<AppState>,
    caller: SessionCaller,
    Path(id): Path<String>,
) -> Answer<Json<Authorization>> {
    let view = app.record.authorization(&caller.ctx, &id).await?;
    Ok(Json(Authorization {
        client_id: view.client_id,
        client_name: view.client_name,
        redirect_uri: view.redirect_uri,
        scopes: view.scopes,
        patient_id: view.patient,
        needs_patient: view.needs_patient,
        patient_ids: view.patients,
        expires_at: view.expires_at,
    }))
}

/// Agrees to what the application asks, to a part of it, or refuses. The browser then goes to `redirect_to`.
#[utoipa::path(post, path = "/api/v1/oauth/requests/{id}/decision", tag = "applications",
    params(("id" = String, Path)), request_body = AuthorizationDecision,
    responses((status = 200, body = Redirect)))]
async fn decide_authorization(
    State(app): State<AppState>,
    caller: SessionCaller,
    Path(id): Path<String>,
    Json(body): Json<AuthorizationDecision>,
) -> Answer<Json<Redirect>> {
    let decision = Decision { is_approved: body.approve, scopes: body.scopes, patient: body.patient_id };
    let redirect_to = app.record.decide_authorization(&caller.ctx, &id, decision).await?;
    Ok(Json(Redirect { redirect_to }))
}

/// Prepares the launch of an application about a patient or an encounter (SMART EHR launch), good for five minutes.
#[utoipa::path(post, path = "/api/v1/oauth/launches", tag = "applications", request_body = NewLaunch,
    responses((status = 201, body = Launch)))]
async fn create_launch(
    State(app): State<AppState>,
    caller: SessionCaller,
    Json(body): Json<NewLaunch>,
) -> Answer<(StatusCode, Json<Launch>)> {
    let spec = LaunchSpec {
        client: body.client_id,
        patient: body.patient_id,
        encounter: body.encounter_id,
        others: body.fhir_context,
        intent: body.intent,
    };
    let made = app.record.launch(&caller.ctx, spec).await?;
    Ok((
        StatusCode::CREATED,
        Json(Launch { launch: made.launch, url: made.url, expires_at: made.expires_at }),
    ))
}

#[derive(Serialize, ToSchema)]
struct Launchable {
    client_id: String,
    name: String,
}

/// Applications that staff can open from a chart, by name; nothing for others.
#[utoipa::path(get, path = "/api/v1/oauth/launchable", tag = "applications",
    responses((status = 200, body = List<Launchable>)))]
async fn list_launchable(
    State(app): State<AppState>,
    caller: SessionCaller,
) -> Answer<Json<List<Launchable>>> {
    let found = app.record.launchable(&caller.ctx).await?;
    let items = found.into_iter().map(|(client_id, name)| Launchable { client_id, name });
    Ok(Json(List::new(items.collect(), None)))
}

/// What the signed-in person granted to applications, newest first.
#[utoipa::path(get, path = "/api/v1/oauth/grants", tag = "applications",
    responses((status = 200, body = List<GrantInfo>)))]
async fn list_grants(State(app): State<AppState>, caller: SessionCaller) -> Answer<Json<List<GrantInfo>>> {
    let rows = app.record.grants(&caller.ctx, Some(caller.info.user.account)).await?;
    Ok(Json(List::new(rows.into_iter().map(GrantInfo::from).collect(), None)))
}

/// Takes back what was granted; all tokens that came of it end at once.
#[utoipa::path(delete, path = "/api/v1/oauth/grants/{id}", tag = "applications", params(("id" = String, Path)),
    responses((status = 204)))]
async fn revoke_grant(
    State(app): State<AppState>,
    caller: SessionCaller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.record.revoke_grant(&caller.ctx, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
