//! Identities of accounts at outside providers, and how the providers are set up.

use super::provider::{IdentityProviderName, name};
use crate::api::account_changes::Asked;
use crate::api::types::RoleName;
use crate::api::{Answer, ApiRouter, Caller, Json, Path, SessionCaller};
use crate::outside::{Outside, path};
use crate::state::{App, AppState};
use access::{Capability, Ctx};
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use record::Error;
use record::authn::IdentityRow;
use record::authn::four_eyes::Act;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list_own_identities))
        .routes(routes!(remove_own_identity))
        .routes(routes!(list_provider_settings))
        .routes(routes!(check_provider))
        .routes(routes!(list_user_identities, add_user_identity))
        .routes(routes!(remove_user_identity))
}

/// Somebody at an outside provider who may sign in to an account here.
#[derive(Serialize, ToSchema)]
struct IdentityInfo {
    id: String,
    /// Absent if the provider is not set up any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_id: Option<String>,
    /// Of the provider, or its issuer.
    provider_name: String,
    /// The person's `sub`.
    subject: String,
    /// Given by the provider; they change with each sign-in.
    roles: Vec<RoleName>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

#[derive(Serialize, ToSchema)]
struct OwnIdentities {
    items: Vec<IdentityInfo>,
    /// Providers that none of `items` is of.
    linkable: Vec<IdentityProviderName>,
}

#[derive(Serialize, ToSchema)]
struct UserIdentities {
    items: Vec<IdentityInfo>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewIdentity {
    provider_id: String,
    /// The person's `sub` as the provider shows it.
    subject: String,
    /// For the second person, where one must agree.
    #[serde(default)]
    reason: String,
}

/// People with this claim get this role.
#[derive(Serialize, ToSchema)]
struct IdentityRoleRule {
    claim: String,
    value: String,
    role: RoleName,
}

/// How the last contact with a provider went.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum IdentityProviderState {
    Ready,
    /// Nobody was sent there since the server began.
    Unknown,
    Failing,
}

/// An outside provider, as the operator set it up.
#[derive(Serialize, ToSchema)]
struct IdentityProviderInfo {
    id: String,
    name: String,
    issuer: String,
    client_id: String,
    /// To be registered there.
    redirect_uri: String,
    /// To be registered there as back-channel logout URI.
    logout_uri: String,
    scopes: Vec<String>,
    creates_accounts: bool,
    may_give_administrator: bool,
    /// Taken for a second factor.
    trusted_acr: Vec<String>,
    trusted_amr: Vec<String>,
    /// Taken for a passkey.
    passkey_acr: Vec<String>,
    passkey_amr: Vec<String>,
    roles: Vec<IdentityRoleRule>,
    /// People of it with an account here.
    accounts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
    state: IdentityProviderState,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct IdentityProviderList {
    items: Vec<IdentityProviderInfo>,
}

fn info(app: &App, row: IdentityRow) -> IdentityInfo {
    let set = app.parts.outside.iter().find(|set| set.provider.settings().issuer == row.issuer);
    IdentityInfo {
        id: row.id.to_string(),
        provider_id: set.map(|set| set.rules.id.clone()),
        provider_name: set.map_or(row.issuer, |set| set.rules.name.clone()),
        subject: row.subject,
        roles: row.roles.into_iter().map(RoleName::from).collect(),
        created_at: row.created_at,
        last_used_at: row.last_used_at,
    }
}

/// With whom the caller may sign in to her own account.
#[utoipa::path(get, path = "/api/v1/auth/identities", tag = "auth", responses((status = 200, body = OwnIdentities)))]
async fn list_own_identities(
    State(app): State<AppState>,
    caller: SessionCaller,
) -> Answer<Json<OwnIdentities>> {
    let rows = app.record.identities(&caller.ctx, caller.info.user.account).await?;
    let items: Vec<IdentityInfo> = rows.into_iter().map(|row| info(&app, row)).collect();
    let is_linked = |set: &&Arc<Outside>| items.iter().any(|i| i.provider_id.as_ref() == Some(&set.rules.id));
    let linkable = app.parts.outside.iter().filter(|set| !is_linked(set)).map(name).collect();
    Ok(Json(OwnIdentities { items, linkable }))
}

/// Takes an identity from the own account, with the roles that its provider gave.
#[utoipa::path(delete, path = "/api/v1/auth/identities/{id}", tag = "auth", params(("id" = String, Path)),
    responses((status = 204)))]
async fn remove_own_identity(
    State(app): State<AppState>,
    caller: SessionCaller,
    Path(id): Path<i64>,
) -> Answer<StatusCode> {
    let account = caller.info.user.account;
    app.record.unlink_identity(&caller.ctx, account, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn provider_info(app: &App, ctx: &Ctx, set: &Outside) -> Result<IdentityProviderInfo, Error> {
    let settings = set.provider.settings();
    let rules = &set.rules;
    let (accounts, last_used_at) = app.record.identity_count(ctx, &settings.issuer).await?;
    let (state, error) = match set.health() {
        None => (IdentityProviderState::Unknown, None),
        Some((_, Ok(()))) => (IdentityProviderState::Ready, None),
        Some((_, Err(text))) => (IdentityProviderState::Failing, Some(text)),
    };
    let role = |rule: &record::authn::RoleRule| IdentityRoleRule {
        claim: rule.claim.clone(),
        value: rule.value.clone(),
        role: rule.role.into(),
    };
    Ok(IdentityProviderInfo {
        id: rules.id.clone(),
        name: rules.name.clone(),
        issuer: settings.issuer.clone(),
        client_id: settings.client_id.clone(),
        redirect_uri: settings.redirect_uri.clone(),
        logout_uri: format!("{}{}", app.public_url, path(&rules.id, "logout")),
        scopes: settings.scopes.clone(),
        creates_accounts: rules.creates_accounts,
        may_give_administrator: rules.gives_administrator,
        trusted_acr: rules.second_factor.acr.clone(),
        trusted_amr: rules.second_factor.amr.clone(),
        passkey_acr: rules.passkey.acr.clone(),
        passkey_amr: rules.passkey.amr.clone(),
        roles: rules.roles.iter().map(role).collect(),
        accounts: u64::try_from(accounts).unwrap_or_default(),
        last_used_at,
        state,
        error,
    })
}

/// Outside providers of identities as they are set up. They are changed in the server's configuration.
#[utoipa::path(get, path = "/api/v1/admin/providers", tag = "administration",
    responses((status = 200, body = IdentityProviderList)))]
async fn list_provider_settings(
    State(app): State<AppState>,
    caller: Caller,
) -> Answer<Json<IdentityProviderList>> {
    crate::api::admin::require(&caller.0, Capability::ManageAccounts)?;
    let mut items = Vec::new();
    for set in &app.parts.outside {
        items.push(provider_info(&app, &caller.0, set).await?);
    }
    Ok(Json(IdentityProviderList { items }))
}

/// Asks the provider for its document and keys now.
#[utoipa::path(post, path = "/api/v1/admin/providers/{id}/check", tag = "administration",
    params(("id" = String, Path)), responses((status = 200, body = IdentityProviderInfo)))]
async fn check_provider(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<IdentityProviderInfo>> {
    crate::api::admin::require(&caller.0, Capability::ManageAccounts)?;
    let set = app.parts.outside.iter().find(|set| set.rules.id == id).ok_or(Error::NotFound)?;
    set.note(&set.provider.ask().await, app.record.now());
    Ok(Json(provider_info(&app, &caller.0, set).await?))
}

/// With whom somebody may sign in.
#[utoipa::path(get, path = "/api/v1/admin/users/{id}/identities", tag = "administration",
    params(("id" = String, Path)), responses((status = 200, body = UserIdentities)))]
async fn list_user_identities(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Answer<Json<UserIdentities>> {
    crate::api::admin::require(&caller.0, Capability::ManageAccounts)?;
    let rows = app.record.identities(&caller.0, id).await?;
    Ok(Json(UserIdentities { items: rows.into_iter().map(|row| info(&app, row)).collect() }))
}

/// Lets somebody at a provider sign in to this account; its owner is told. Of an account that reads facts it waits for a
/// second person (202).
#[utoipa::path(post, path = "/api/v1/admin/users/{id}/identities", tag = "administration",
    params(("id" = String, Path)), request_body = NewIdentity,
    responses((status = 201, body = IdentityInfo),
        (status = 202, body = crate::api::account_changes::AccountChange)))]
async fn add_user_identity(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
    Json(body): Json<NewIdentity>,
) -> Answer<Asked<IdentityInfo>> {
    crate::api::admin::require(&caller.0, Capability::ManageAccounts)?;
    let set = app.parts.outside.iter().find(|set| set.rules.id == body.provider_id).ok_or(Error::NotFound)?;
    let issuer = &set.provider.settings().issuer;
    let act = Act::Identity { issuer: issuer.clone(), subject: body.subject.clone() };
    if let Some(row) = app.record.ask_second_person(&caller.0, Some(id), act, &body.reason).await? {
        return Ok(Asked::waits(&app, &caller.0, row).await?);
    }
    let row = app.record.link_identity(&caller.0, id, issuer, &body.subject).await?;
    Ok(Asked::Done(StatusCode::CREATED, info(&app, row)))
}

/// Takes an identity from an account, with the roles that its provider gave and the sessions that came of it.
#[utoipa::path(delete, path = "/api/v1/admin/users/{id}/identities/{identity}", tag = "administration",
    params(("id" = String, Path), ("identity" = String, Path)), responses((status = 204)))]
async fn remove_user_identity(
    State(app): State<AppState>,
    caller: Caller,
    Path((id, identity)): Path<(i64, i64)>,
) -> Answer<StatusCode> {
    crate::api::admin::require(&caller.0, Capability::ManageAccounts)?;
    app.record.unlink_identity(&caller.0, id, identity).await?;
    app.sockets.close_account(id);
    Ok(StatusCode::NO_CONTENT)
}
