//! Signing in by password and second factor, or by passkey.

use super::opening::{
    SecondFactorNeeded, Session, SessionAnswer, TokenParams, known_device, opened, sign_in,
};
use crate::api::{Answer, ApiRouter, Json, Params, SigningIn};
use crate::state::AppState;
use axum::extract::State;
use axum::response::Response;
use record::authn::Proof;
use record::{Error, Rule};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(login))
        .routes(routes!(second_factor))
        .routes(routes!(second_factor_passkey))
        .routes(routes!(passkey_options))
        .routes(routes!(passkey_login))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Credentials {
    /// Phone in any form, e-mail or user name.
    login: String,
    password: String,
}

/// One of these; by which factor the person shows who she is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SecondFactorEntry {
    pending_id: String,
    /// Six digits of the authenticator application.
    code: Option<String>,
    recovery_code: Option<String>,
    /// What `navigator.credentials.get` gave, by `toJSON`.
    #[schema(value_type = Option<Object>)]
    passkey: Option<serde_json::Value>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PendingLogin {
    pending_id: String,
}

/// What `navigator.credentials.get` or `create` takes, by `parseRequestOptionsFromJSON` or
/// `parseCreationOptionsFromJSON` of its `publicKey`.
#[derive(Serialize, ToSchema)]
pub(super) struct PasskeyOptions {
    #[schema(value_type = Object)]
    pub options: serde_json::Value,
    /// Of a passkey to be made: for the next step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ceremony_id: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasskeyEntry {
    /// What `navigator.credentials.get` gave, by `toJSON`.
    #[schema(value_type = Object)]
    credential: serde_json::Value,
}

/// Signs in; sets the session cookie. 202: the password was right, a second factor comes next.
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "auth", params(TokenParams), request_body = Credentials,
    responses((status = 200, body = Session), (status = 202, body = SecondFactorNeeded)))]
async fn login(
    State(app): State<AppState>,
    SigningIn(from): SigningIn,
    Params(params): Params<TokenParams>,
    Json(body): Json<Credentials>,
) -> Answer<Response> {
    let from = known_device(from)?;
    let signed = app.record.sign_in(&body.login, &body.password, &from).await?;
    sign_in(&app, signed, &from, &params).await
}

/// Ends the sign-in with the second factor.
#[utoipa::path(post, path = "/api/v1/auth/second-factor", tag = "auth", params(TokenParams),
    request_body = SecondFactorEntry, responses((status = 200, body = Session)))]
async fn second_factor(
    State(app): State<AppState>,
    SigningIn(from): SigningIn,
    Params(params): Params<TokenParams>,
    Json(body): Json<SecondFactorEntry>,
) -> SessionAnswer {
    let from = known_device(from)?;
    let proof = proof(None, body.code, body.recovery_code, body.passkey)?;
    let session = app.record.finish_second_factor(&body.pending_id, proof, &from).await?;
    opened(&app, session, &from, &params).await
}

/// The challenge for a passkey as second factor.
#[utoipa::path(post, path = "/api/v1/auth/second-factor/passkey", tag = "auth", request_body = PendingLogin,
    responses((status = 200, body = PasskeyOptions)))]
async fn second_factor_passkey(
    State(app): State<AppState>,
    Json(body): Json<PendingLogin>,
) -> Answer<Json<PasskeyOptions>> {
    let options = app.record.second_factor_passkey(&body.pending_id).await?;
    Ok(Json(PasskeyOptions { options, ceremony_id: None }))
}

/// The challenge for signing in by a passkey alone.
#[utoipa::path(post, path = "/api/v1/auth/passkey/options", tag = "auth",
    responses((status = 200, body = PasskeyOptions)))]
async fn passkey_options(State(app): State<AppState>) -> Answer<Json<PasskeyOptions>> {
    let options = app.record.begin_passkey_sign_in()?;
    Ok(Json(PasskeyOptions { options, ceremony_id: None }))
}

/// Signs in by a passkey alone; it is two factors in one.
#[utoipa::path(post, path = "/api/v1/auth/passkey", tag = "auth", params(TokenParams), request_body = PasskeyEntry,
    responses((status = 200, body = Session)))]
async fn passkey_login(
    State(app): State<AppState>,
    SigningIn(from): SigningIn,
    Params(params): Params<TokenParams>,
    Json(body): Json<PasskeyEntry>,
) -> SessionAnswer {
    let from = known_device(from)?;
    let session = app.record.passkey_sign_in(&body.credential, &from).await?;
    opened(&app, session, &from, &params).await
}

/// The one proof of a request. Errors: `Rule` `proof-needed` unless there is exactly one.
pub(super) fn proof(
    password: Option<String>,
    code: Option<String>,
    recovery_code: Option<String>,
    passkey: Option<serde_json::Value>,
) -> Result<Proof, Error> {
    let given = [
        password.map(Proof::Password),
        code.map(Proof::Totp),
        recovery_code.map(Proof::RecoveryCode),
        passkey.map(Proof::Passkey),
    ];
    let mut given = given.into_iter().flatten();
    match (given.next(), given.next()) {
        (Some(proof), None) => Ok(proof),
        _ => Err(Error::Rule(Rule::new("proof-needed", "Send exactly one proof."))),
    }
}
