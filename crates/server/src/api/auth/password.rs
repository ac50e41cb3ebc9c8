//! New passwords: by an invitation or link, by a code from the phone, by the old one.

use super::opening::{SecondFactorNeeded, Session, TokenParams, known_device, sign_in};
use crate::api::{Answer, AnySession, ApiRouter, Json, MaybeCaller, Params, Path, SigningIn};
use crate::state::AppState;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(read_link))
        .routes(routes!(accept_link))
        .routes(routes!(reset_password))
        .routes(routes!(confirm_reset_password))
        .routes(routes!(change_password))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResetRequest {
    /// Phone in any form, e-mail or user name.
    login: String,
}

#[derive(Serialize, ToSchema)]
struct ResetBegun {
    reset_id: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    resend_after_s: u32,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResetConfirmation {
    code: String,
    password: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasswordChange {
    old_password: String,
    new_password: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LinkToken {
    /// What stands behind `#` in the link.
    token: String,
}

/// What a link is for.
#[derive(Serialize, ToSchema)]
struct LinkInfo {
    /// `invitation` or `reset`.
    purpose: &'static str,
    display: String,
    /// With what to sign in afterwards.
    #[serde(skip_serializing_if = "Option::is_none")]
    login: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct LinkAcceptance {
    token: String,
    password: String,
}

/// What an invitation or a link for a new password is for.
#[utoipa::path(post, path = "/api/v1/auth/link", tag = "auth", request_body = LinkToken,
    responses((status = 200, body = LinkInfo)))]
async fn read_link(
    State(app): State<AppState>,
    SigningIn(from): SigningIn,
    Json(body): Json<LinkToken>,
) -> Answer<Json<LinkInfo>> {
    let facts = app.record.link_facts(&body.token, &from).await?;
    Ok(Json(LinkInfo {
        purpose: facts.purpose,
        display: facts.display,
        login: facts.login,
        expires_at: facts.expires_at,
    }))
}

/// Sets the password by a link and signs in; ends all other sessions. 202: a second factor comes next.
#[utoipa::path(post, path = "/api/v1/auth/link/accept", tag = "auth", params(TokenParams),
    request_body = LinkAcceptance,
    responses((status = 200, body = Session), (status = 202, body = SecondFactorNeeded)))]
async fn accept_link(
    State(app): State<AppState>,
    SigningIn(from): SigningIn,
    Params(params): Params<TokenParams>,
    Json(body): Json<LinkAcceptance>,
) -> Answer<Response> {
    let from = known_device(from)?;
    let signed = app.record.use_link(&body.token, &body.password, &from).await?;
    sign_in(&app, signed, &from, &params).await
}

/// Sends a code for a new password to the account's phone; unknown names get the same answer.
#[utoipa::path(post, path = "/api/v1/auth/reset-password", tag = "auth", request_body = ResetRequest,
    responses((status = 202, body = ResetBegun)))]
async fn reset_password(
    State(app): State<AppState>,
    caller: MaybeCaller,
    Json(body): Json<ResetRequest>,
) -> Answer<(StatusCode, Json<ResetBegun>)> {
    let sent = app.record.begin_reset(&caller.0, &body.login).await?;
    let begun =
        ResetBegun { reset_id: sent.id, expires_at: sent.expires_at, resend_after_s: sent.resend_after_s };
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

/// Sets the new password, ends all other sessions and signs in.
#[utoipa::path(post, path = "/api/v1/auth/reset-password/{id}/confirm", tag = "auth",
    params(("id" = String, Path), TokenParams), request_body = ResetConfirmation,
    responses((status = 200, body = Session), (status = 202, body = SecondFactorNeeded)))]
async fn confirm_reset_password(
    State(app): State<AppState>,
    caller: MaybeCaller,
    SigningIn(from): SigningIn,
    Path(id): Path<String>,
    Params(params): Params<TokenParams>,
    Json(body): Json<ResetConfirmation>,
) -> Answer<Response> {
    let from = known_device(from)?;
    let signed = app.record.confirm_reset(&caller.0, &id, &body.code, &body.password, &from).await?;
    sign_in(&app, signed, &from, &params).await
}

/// Changes the own password; ends all other sessions.
#[utoipa::path(post, path = "/api/v1/auth/change-password", tag = "auth", request_body = PasswordChange,
    responses((status = 204)))]
async fn change_password(
    State(app): State<AppState>,
    AnySession(caller): AnySession,
    Json(body): Json<PasswordChange>,
) -> Answer<StatusCode> {
    app.record.change_password(&caller.ctx, &body.old_password, &body.new_password).await?;
    app.sockets.close_account(caller.info.user.account);
    Ok(StatusCode::NO_CONTENT)
}
