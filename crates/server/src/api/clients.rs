//! Applications, for administrators: which are registered, and what people granted them.

use super::account_changes::Asked;
use super::oauth::{GrantInfo, Scope};
use super::types::List;
use super::{Answer, ApiRouter, Caller, Json, Params, Path};
use crate::state::AppState;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use record::oauth::{Authentication, ClientChange, ClientRow, ClientSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list_clients, create_client))
        .routes(routes!(change_client))
        .routes(routes!(renew_client_secret))
        .routes(routes!(list_all_grants))
        .routes(routes!(revoke_any_grant))
        .routes(routes!(rotate_oauth_keys))
}

/// How an application shows that it is itself.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ClientAuthentication {
    /// It cannot: it runs in browsers or on phones.
    None,
    #[default]
    Secret,
    /// `private_key_jwt`
    Key,
}

impl From<ClientAuthentication> for Authentication {
    fn from(way: ClientAuthentication) -> Authentication {
        match way {
            ClientAuthentication::None => Authentication::None,
            ClientAuthentication::Secret => Authentication::Secret,
            ClientAuthentication::Key => Authentication::Key,
        }
    }
}

#[derive(Serialize, ToSchema)]
struct ClientInfo {
    client_id: String,
    name: String,
    authentication: ClientAuthentication,
    scopes: Vec<Scope>,
    redirect_uris: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    launch_url: Option<String>,
    /// Whether its public keys are registered by value.
    has_jwks: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    jwks_url: Option<String>,
    /// `RS256` or `ES384`
    id_token_algorithm: String,
    disabled: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Authentication> for ClientAuthentication {
    fn from(way: Authentication) -> ClientAuthentication {
        match way {
            Authentication::None => ClientAuthentication::None,
            Authentication::Secret => ClientAuthentication::Secret,
            Authentication::Key => ClientAuthentication::Key,
        }
    }
}

impl From<ClientRow> for ClientInfo {
    fn from(row: ClientRow) -> ClientInfo {
        ClientInfo {
            client_id: row.client_id,
            name: row.name,
            authentication: row.facts.authentication.into(),
            scopes: row.scopes,
            redirect_uris: row.facts.redirects,
            launch_url: row.facts.launch_url,
            has_jwks: row.facts.jwks.is_some(),
            jwks_url: row.facts.jwks_url,
            id_token_algorithm: row.facts.algorithm,
            disabled: row.disabled,
            created_at: row.created_at,
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewClient {
    name: String,
    /// `system/…` for one that acts for itself; `patient/…`, `user/…`, `openid`, `fhirUser`, `launch`, `launch/patient`,
    /// `offline_access` for one that people use.
    scopes: Vec<Scope>,
    #[serde(default)]
    authentication: ClientAuthentication,
    /// Compared whole.
    #[serde(default)]
    redirect_uris: Vec<String>,
    launch_url: Option<String>,
    /// A JWK Set.
    #[schema(value_type = Option<Object>)]
    jwks: Option<Value>,
    jwks_url: Option<String>,
    /// `RS256` if not given, or `ES384`.
    id_token_algorithm: Option<String>,
    /// For the second person, where one must agree.
    #[serde(default)]
    reason: String,
}

#[derive(Serialize, ToSchema)]
struct ClientCreated {
    client: ClientInfo,
    /// Shown once.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_secret: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct ClientSecret {
    /// Shown once.
    client_secret: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ClientPatch {
    name: Option<String>,
    scopes: Option<Vec<Scope>>,
    redirect_uris: Option<Vec<String>>,
    launch_url: Option<String>,
    /// A JWK Set.
    #[schema(value_type = Option<Object>)]
    jwks: Option<Value>,
    jwks_url: Option<String>,
    /// `true` ends its tokens and everything that was granted to it.
    disabled: Option<bool>,
    /// For the second person, where one must agree.
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct ClientSecretParams {
    /// For the second person, where one must agree.
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GrantParams {
    /// Only of this person.
    account_id: Option<i64>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RotationParams {
    /// `true`: what the old keys signed no longer counts, for when one got about.
    drop_old: Option<bool>,
}

/// The registered applications, oldest first.
#[utoipa::path(get, path = "/api/v1/admin/clients", tag = "administration",
    responses((status = 200, body = List<ClientInfo>)))]
async fn list_clients(State(app): State<AppState>, caller: Caller) -> Answer<Json<List<ClientInfo>>> {
    let rows = app.record.clients(&caller.0).await?;
    Ok(Json(List::new(rows.into_iter().map(ClientInfo::from).collect(), None)))
}

/// Registers an application. Its secret, if it has one, is shown once. One whose `system/…` scopes open what is about
/// patients waits for a second person (202).
#[utoipa::path(post, path = "/api/v1/admin/clients", tag = "administration", request_body = NewClient,
    responses((status = 201, body = ClientCreated), (status = 202, body = super::account_changes::AccountChange)))]
async fn create_client(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<NewClient>,
) -> Answer<Asked<ClientCreated>> {
    let spec = ClientSpec {
        name: body.name,
        scopes: body.scopes,
        authentication: body.authentication.into(),
        redirects: body.redirect_uris,
        launch_url: body.launch_url,
        jwks: body.jwks.map(|set| set.to_string()),
        jwks_url: body.jwks_url,
        id_token_algorithm: body.id_token_algorithm,
    };
    if let Some(row) = app.record.ask_new_client(&caller.0, spec.clone(), &body.reason).await? {
        return Ok(Asked::waits(&app, &caller.0, row).await?);
    }
    let (row, client_secret) = app.record.register_client(&caller.0, spec).await?;
    Ok(Asked::Done(StatusCode::CREATED, ClientCreated { client: row.into(), client_secret }))
}

/// Changes an application. What people granted stays, but never counts for more than is registered now. Of one whose
/// `system/…` scopes open what is about patients, before or after it, a change waits for a second person (202), and the
/// application goes on as it is until then; taking such scopes away and disabling are done at once.
#[utoipa::path(patch, path = "/api/v1/admin/clients/{id}", tag = "administration", params(("id" = String, Path)),
    request_body = ClientPatch,
    responses((status = 200, body = ClientInfo), (status = 202, body = super::account_changes::AccountChange)))]
async fn change_client(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<ClientPatch>,
) -> Answer<Asked<ClientInfo>> {
    let mut change = ClientChange {
        name: body.name,
        scopes: body.scopes,
        redirects: body.redirect_uris,
        launch_url: body.launch_url,
        jwks: body.jwks.map(|set| set.to_string()),
        jwks_url: body.jwks_url,
        disabled: body.disabled,
    };
    // Turned off at once, whatever else is asked for.
    if change.disabled == Some(true) {
        let off = ClientChange { disabled: change.disabled.take(), ..ClientChange::default() };
        let row = app.record.change_client(&caller.0, &id, off).await?;
        if change == ClientChange::default() {
            return Ok(Asked::Done(StatusCode::OK, row.into()));
        }
    }
    if let Some(row) = app.record.ask_client_change(&caller.0, &id, change.clone(), &body.reason).await? {
        return Ok(Asked::waits(&app, &caller.0, row).await?);
    }
    let row = app.record.change_client(&caller.0, &id, change).await?;
    Ok(Asked::Done(StatusCode::OK, row.into()))
}

/// Gives an application a new secret; the old one stops working at once. Of one whose `system/…` scopes open what is about
/// patients it waits for a second person (202); the old one works until who asked fetches the new one.
#[utoipa::path(post, path = "/api/v1/admin/clients/{id}/secret", tag = "administration",
    params(("id" = String, Path), ClientSecretParams),
    responses((status = 200, body = ClientSecret), (status = 202, body = super::account_changes::AccountChange)))]
async fn renew_client_secret(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Params(params): Params<ClientSecretParams>,
) -> Answer<Asked<ClientSecret>> {
    if let Some(row) = app.record.ask_client_secret(&caller.0, &id, &params.reason).await? {
        return Ok(Asked::waits(&app, &caller.0, row).await?);
    }
    let client_secret = app.record.renew_client_secret(&caller.0, &id).await?;
    Ok(Asked::Done(StatusCode::OK, ClientSecret { client_secret }))
}

/// What people granted to applications, newest first, at most 200.
#[utoipa::path(get, path = "/api/v1/admin/grants", tag = "administration", params(GrantParams),
    responses((status = 200, body = List<GrantInfo>)))]
async fn list_all_grants(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<GrantParams>,
) -> Answer<Json<List<GrantInfo>>> {
    super::admin::require(&caller.0, access::policy::Capability::ManageClients)?;
    let rows = app.record.grants(&caller.0, params.account_id).await?;
    Ok(Json(List::new(rows.into_iter().map(GrantInfo::from).collect(), None)))
}

/// Ends what somebody granted, and all tokens that came of it.
#[utoipa::path(delete, path = "/api/v1/admin/grants/{id}", tag = "administration", params(("id" = String, Path)),
    responses((status = 204)))]
async fn revoke_any_grant(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    super::admin::require(&caller.0, access::policy::Capability::ManageClients)?;
    app.record.revoke_grant(&caller.0, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes new keys for id tokens now. They change by themselves every 30 days.
#[utoipa::path(post, path = "/api/v1/admin/oauth-keys/rotate", tag = "administration", params(RotationParams),
    responses((status = 204)))]
async fn rotate_oauth_keys(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<RotationParams>,
) -> Answer<StatusCode> {
    app.record.rotate_signing_keys(&caller.0, params.drop_old.unwrap_or(false)).await?;
    Ok(StatusCode::NO_CONTENT)
}
