//! Sessions: this one, the others of the same person, and signing out.

use super::id::{hex, unhex};
use super::opening::{Session, SessionAnswer, TokenParams, is_asked, open};
use crate::api::{Answer, AnySession, ApiRouter, Caller, Json, Params, Path, SessionCaller};
use crate::http::origin;
use crate::state::{App, AppState};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use record::authn::SessionRow;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(get_session))
        .routes(routes!(logout))
        .routes(routes!(refresh_token))
        .routes(routes!(list_sessions))
        .routes(routes!(end_session))
        .routes(routes!(logout_everywhere))
        .routes(routes!(list_user_sessions))
        .routes(routes!(sign_out_user))
}

/// This session, for the clock in the corner and for what it may still do.
#[derive(Serialize, ToSchema)]
struct SessionState {
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    idle_expires_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    authenticated_at: Timestamp,
    /// What the person showed: `password`, `passkey`, `totp`, `sms-code`, `recovery-code`, `pin`, `outside`.
    factors: Vec<&'static str>,
    /// On a shared device of the clinic.
    shared_device: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<&'static str>,
    /// With `second-factor-needed`: only a passkey will do.
    passkey_needed: bool,
    second_factor_asked: bool,
    /// Seconds without a request after which this session ends; for clients whose clock is wrong.
    idle_limit_s: i64,
    /// Seconds until it ends whatever happens.
    left_s: i64,
    /// The outside provider that she signed in with.
    #[serde(skip_serializing_if = "Option::is_none")]
    provider_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct ProviderLogout {
    /// Where the browser goes next, so that the provider's session ends as well.
    provider_logout: String,
}

/// One place where somebody is signed in.
#[derive(Serialize, ToSchema)]
struct SessionInfo {
    id: String,
    /// e.g. `Firefox, Android`; empty if not known.
    device: String,
    /// Where it was seen last; empty if not known.
    address: String,
    shared_device: bool,
    factors: Vec<&'static str>,
    #[schema(value_type = String, format = DateTime)]
    signed_in_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_seen_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    is_current: bool,
}

impl From<SessionRow> for SessionInfo {
    fn from(row: SessionRow) -> SessionInfo {
        SessionInfo {
            id: hex(&row.id),
            device: row.device,
            address: row.address,
            shared_device: row.kiosk,
            factors: row.factors.iter().map(|f| f.code()).collect(),
            signed_in_at: row.begun_at,
            last_seen_at: row.last_seen_at,
            expires_at: row.expires_at,
            is_current: row.is_current,
        }
    }
}

/// Where somebody is signed in.
#[derive(Serialize, ToSchema)]
struct SessionList {
    items: Vec<SessionInfo>,
}

fn cookie(app: &App, token: &str, max_age_s: i64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    origin::set_session(&mut headers, app, token, max_age_s);
    headers
}

/// This session.
#[utoipa::path(get, path = "/api/v1/auth/session", tag = "auth", responses((status = 200, body = SessionState)))]
async fn get_session(
    State(app): State<AppState>,
    AnySession(caller): AnySession,
) -> Answer<Json<SessionState>> {
    let info = caller.info;
    let policy = app.record.security_policy().await?;
    let (idle, _) = policy.limits(&info.user.roles, info.facts.kiosk);
    let issuer = match info.facts.factors.contains(&access::Factor::Outside) {
        true => app.record.outside_issuer(info.user.account, info.facts.id).await?,
        false => None,
    };
    let provider_id = issuer.and_then(|issuer| {
        let set = app.parts.outside.iter().find(|set| set.provider.settings().issuer == issuer);
        set.map(|set| set.rules.id.clone())
    });
    Ok(Json(SessionState {
        idle_limit_s: idle.as_secs(),
        left_s: info.expires_at.duration_since(caller.ctx.now).as_secs().max(0),
        expires_at: info.expires_at,
        idle_expires_at: info.idle_expires_at,
        authenticated_at: info.facts.authenticated_at,
        factors: info.facts.factors.iter().map(|f| f.code()).collect(),
        shared_device: info.facts.kiosk,
        due: info.facts.due.map(access::Due::code),
        passkey_needed: info.facts.due == Some(access::Due::Passkey),
        provider_id,
        second_factor_asked: is_asked(&app, &info.user, &info.facts).await?,
    }))
}

/// Ends this session and its live connections. 200: the provider that she signed in with has a session of its own.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "auth",
    responses((status = 200, body = ProviderLogout), (status = 204)))]
async fn logout(State(app): State<AppState>, AnySession(caller): AnySession) -> Answer<Response> {
    let (account, session) = (caller.info.user.account, caller.info.facts.id);
    let provider_logout = match caller.info.facts.factors.contains(&access::Factor::Outside) {
        true => provider_logout(&app, account, session).await,
        false => None,
    };
    app.record.logout(&caller.ctx, &caller.token).await?;
    app.sockets.close_session_id(account, session);
    let headers = cookie(&app, "", 0);
    Ok(match provider_logout {
        Some(provider_logout) => (headers, Json(ProviderLogout { provider_logout })).into_response(),
        None => (StatusCode::NO_CONTENT, headers).into_response(),
    })
}

/// `None` where nothing can be found out: the person signs out here in any case.
async fn provider_logout(app: &App, account: i64, session: [u8; 8]) -> Option<String> {
    let (issuer, id_token) = app.record.outside_token(account, session).await.ok()??;
    let set = app.parts.outside.iter().find(|set| set.provider.settings().issuer == issuer)?;
    set.provider.logout_url(&id_token, &format!("{}/sign-in", app.public_url)).await
}

/// Replaces the session's token by a new one; extends the idle time within the absolute limit.
#[utoipa::path(post, path = "/api/v1/auth/refresh-token", tag = "auth", params(TokenParams),
    responses((status = 200, body = Session)))]
async fn refresh_token(
    State(app): State<AppState>,
    caller: SessionCaller,
    Params(params): Params<TokenParams>,
) -> SessionAnswer {
    let session = app.record.refresh(&caller.token).await?;
    open(&app, session, &params).await
}

/// Where the caller is signed in, last used first.
#[utoipa::path(get, path = "/api/v1/auth/sessions", tag = "auth", responses((status = 200, body = SessionList)))]
async fn list_sessions(State(app): State<AppState>, caller: SessionCaller) -> Answer<Json<SessionList>> {
    let rows = app.record.sessions(&caller.ctx, caller.info.user.account).await?;
    Ok(Json(SessionList { items: rows.into_iter().map(SessionInfo::from).collect() }))
}

/// Signs the caller out in one other place.
#[utoipa::path(delete, path = "/api/v1/auth/sessions/{id}", tag = "auth", params(("id" = String, Path)),
    responses((status = 204)))]
async fn end_session(
    State(app): State<AppState>,
    caller: SessionCaller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    let id = unhex::<8>(&id)?;
    let account = caller.info.user.account;
    app.record.end_session(&caller.ctx, account, id).await?;
    app.sockets.close_session_id(account, id);
    Ok(StatusCode::NO_CONTENT)
}

/// Signs the caller out everywhere, here too.
#[utoipa::path(post, path = "/api/v1/auth/logout-everywhere", tag = "auth", responses((status = 204)))]
async fn logout_everywhere(
    State(app): State<AppState>,
    AnySession(caller): AnySession,
) -> Answer<(StatusCode, HeaderMap)> {
    let account = caller.info.user.account;
    app.record.logout_everywhere(&caller.ctx, account).await?;
    app.sockets.close_account(account);
    let mut headers = HeaderMap::new();
    origin::set_session(&mut headers, &app, "", 0);
    Ok((StatusCode::NO_CONTENT, headers))
}

/// Where somebody is signed in.
#[utoipa::path(get, path = "/api/v1/admin/users/{id}/sessions", tag = "administration",
    params(("id" = String, Path)), responses((status = 200, body = SessionList)))]
async fn list_user_sessions(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Answer<Json<SessionList>> {
    crate::api::admin::require(&caller.0, access::Capability::ManageAccounts)?;
    let rows = app.record.sessions(&caller.0, id).await?;
    Ok(Json(SessionList { items: rows.into_iter().map(SessionInfo::from).collect() }))
}

/// Signs somebody out everywhere.
#[utoipa::path(post, path = "/api/v1/admin/users/{id}/sign-out", tag = "administration",
    params(("id" = String, Path)), responses((status = 204)))]
async fn sign_out_user(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Answer<StatusCode> {
    crate::api::admin::require(&caller.0, access::Capability::ManageAccounts)?;
    app.record.logout_everywhere(&caller.0, id).await?;
    app.sockets.close_account(id);
    Ok(StatusCode::NO_CONTENT)
}
