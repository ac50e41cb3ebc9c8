//! Second factors of the own account, and showing again who one is.

use super::sign_in::{PasskeyOptions, proof};
use crate::api::account_changes::Asked;
use crate::api::{Answer, AnySession, ApiRouter, Caller, Json, Params, Path, SessionCaller, SigningIn};
use crate::state::AppState;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use record::authn::PasskeyRow;
use record::authn::four_eyes::Act;
use record::{Error, Rule};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(get_security))
        .routes(routes!(step_up))
        .routes(routes!(step_up_passkey))
        .routes(routes!(begin_totp, remove_totp))
        .routes(routes!(confirm_totp))
        .routes(routes!(new_recovery_codes))
        .routes(routes!(begin_passkey))
        .routes(routes!(finish_passkey))
        .routes(routes!(rename_passkey, remove_passkey))
        .routes(routes!(reset_user_factors))
}

/// What the own account is protected by.
#[derive(Serialize, ToSchema)]
struct AccountSecurity {
    /// What the clinic asks: `off`, `asked` or `required`.
    second_factor: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    password_changed_at: Option<Timestamp>,
    /// Since when there is an authenticator application.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    totp_since: Option<Timestamp>,
    recovery_codes_left: u32,
    passkeys: Vec<PasskeyInfo>,
}

#[derive(Serialize, ToSchema)]
struct PasskeyInfo {
    id: String,
    name: String,
    /// Kept by the maker of the device, not only on it.
    is_synced: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<Timestamp>,
}

impl From<PasskeyRow> for PasskeyInfo {
    fn from(row: PasskeyRow) -> PasskeyInfo {
        PasskeyInfo {
            id: row.id,
            name: row.name,
            is_synced: row.is_synced,
            created_at: row.created_at,
            last_used_at: row.last_used_at,
        }
    }
}

/// One of these; by which factor the person shows again who she is.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct StepUp {
    /// Only for accounts without a second factor.
    password: Option<String>,
    /// Six digits of the authenticator application.
    code: Option<String>,
    recovery_code: Option<String>,
    /// What `navigator.credentials.get` gave, by `toJSON`.
    #[schema(value_type = Option<Object>)]
    passkey: Option<serde_json::Value>,
}

/// For an authenticator application; shown once.
#[derive(Serialize, ToSchema)]
struct TotpSecret {
    /// Base32, for typing in.
    secret: String,
    /// `otpauth://…`
    uri: String,
    /// The address as a QR code, SVG.
    qr_svg: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct TotpConfirmation {
    /// Six digits.
    code: String,
}

/// Shown once; empty where there were some already.
#[derive(Serialize, ToSchema)]
struct RecoveryCodes {
    recovery_codes: Vec<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewPasskey {
    ceremony_id: String,
    /// For people, e.g. `My phone`.
    name: String,
    /// What `navigator.credentials.create` gave, by `toJSON`.
    #[schema(value_type = Object)]
    credential: serde_json::Value,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PasskeyName {
    name: String,
}

/// What the own account is protected by.
#[utoipa::path(get, path = "/api/v1/auth/security", tag = "auth", responses((status = 200, body = AccountSecurity)))]
async fn get_security(
    State(app): State<AppState>,
    AnySession(caller): AnySession,
) -> Answer<Json<AccountSecurity>> {
    let state = app.record.security_state(&caller.ctx).await?;
    Ok(Json(AccountSecurity {
        second_factor: state.second_factor.code(),
        password_changed_at: state.password_at,
        totp_since: state.totp_since,
        recovery_codes_left: state.recovery_codes_left,
        passkeys: state.passkeys.into_iter().map(PasskeyInfo::from).collect(),
    }))
}

/// Shows again who the caller is, for what answered `step-up-needed`.
#[utoipa::path(post, path = "/api/v1/auth/step-up", tag = "auth", request_body = StepUp,
    responses((status = 204)))]
async fn step_up(
    State(app): State<AppState>,
    AnySession(caller): AnySession,
    SigningIn(from): SigningIn,
    Json(body): Json<StepUp>,
) -> Answer<StatusCode> {
    let proof = proof(body.password, body.code, body.recovery_code, body.passkey)?;
    app.record.step_up(&caller.ctx, proof, &from).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The challenge for a step-up by passkey.
#[utoipa::path(post, path = "/api/v1/auth/step-up/passkey", tag = "auth",
    responses((status = 200, body = PasskeyOptions)))]
async fn step_up_passkey(
    State(app): State<AppState>,
    AnySession(caller): AnySession,
) -> Answer<Json<PasskeyOptions>> {
    let options = app.record.step_up_passkey(&caller.ctx).await?;
    Ok(Json(PasskeyOptions { options, ceremony_id: None }))
}

/// Begins to set up an authenticator application.
#[utoipa::path(post, path = "/api/v1/auth/totp", tag = "auth", responses((status = 200, body = TotpSecret)))]
async fn begin_totp(State(app): State<AppState>, AnySession(caller): AnySession) -> Answer<Json<TotpSecret>> {
    let setup = app.record.begin_totp(&caller.ctx, &app.config.clinic.name).await?;
    let code =
        qrcode::QrCode::new(setup.uri.as_bytes()).map_err(|e| Error::Internal(format!("QR code: {e}")))?;
    let qr_svg = code.render::<qrcode::render::svg::Color<'_>>().min_dimensions(200, 200).build();
    Ok(Json(TotpSecret { secret: setup.secret, uri: setup.uri, qr_svg }))
}

/// The first code makes the application a second factor.
#[utoipa::path(post, path = "/api/v1/auth/totp/confirm", tag = "auth", request_body = TotpConfirmation,
    responses((status = 200, body = RecoveryCodes)))]
async fn confirm_totp(
    State(app): State<AppState>,
    AnySession(caller): AnySession,
    Json(body): Json<TotpConfirmation>,
) -> Answer<Json<RecoveryCodes>> {
    Ok(Json(RecoveryCodes { recovery_codes: app.record.confirm_totp(&caller.ctx, &body.code).await? }))
}

/// Takes the authenticator application away.
#[utoipa::path(delete, path = "/api/v1/auth/totp", tag = "auth", responses((status = 204)))]
async fn remove_totp(State(app): State<AppState>, caller: SessionCaller) -> Answer<StatusCode> {
    app.record.remove_totp(&caller.ctx).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ten new recovery codes; earlier ones stop working.
#[utoipa::path(post, path = "/api/v1/auth/recovery-codes", tag = "auth",
    responses((status = 200, body = RecoveryCodes)))]
async fn new_recovery_codes(
    State(app): State<AppState>,
    caller: SessionCaller,
) -> Answer<Json<RecoveryCodes>> {
    Ok(Json(RecoveryCodes { recovery_codes: app.record.new_recovery_codes(&caller.ctx).await? }))
}

/// Begins to make a passkey.
#[utoipa::path(post, path = "/api/v1/auth/passkeys/options", tag = "auth",
    responses((status = 200, body = PasskeyOptions)))]
async fn begin_passkey(
    State(app): State<AppState>,
    AnySession(caller): AnySession,
) -> Answer<Json<PasskeyOptions>> {
    let (id, options) = app.record.begin_passkey(&caller.ctx, &app.config.clinic.name).await?;
    Ok(Json(PasskeyOptions { options, ceremony_id: Some(id) }))
}

/// Keeps the passkey that the browser made.
#[utoipa::path(post, path = "/api/v1/auth/passkeys", tag = "auth", request_body = NewPasskey,
    responses((status = 200, body = RecoveryCodes)))]
async fn finish_passkey(
    State(app): State<AppState>,
    AnySession(caller): AnySession,
    Json(body): Json<NewPasskey>,
) -> Answer<Json<RecoveryCodes>> {
    let recovery_codes =
        app.record.finish_passkey(&caller.ctx, &body.ceremony_id, &body.name, &body.credential).await?;
    Ok(Json(RecoveryCodes { recovery_codes }))
}

/// Names a passkey.
#[utoipa::path(patch, path = "/api/v1/auth/passkeys/{id}", tag = "auth", params(("id" = String, Path)),
    request_body = PasskeyName, responses((status = 204)))]
async fn rename_passkey(
    State(app): State<AppState>,
    caller: SessionCaller,
    Path(id): Path<String>,
    Json(body): Json<PasskeyName>,
) -> Answer<StatusCode> {
    app.record.rename_passkey(&caller.ctx, &id, &body.name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a passkey away.
#[utoipa::path(delete, path = "/api/v1/auth/passkeys/{id}", tag = "auth", params(("id" = String, Path)),
    responses((status = 204)))]
async fn remove_passkey(
    State(app): State<AppState>,
    caller: SessionCaller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    app.record.remove_passkey(&caller.ctx, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct FactorResetParams {
    /// For the second person, where one must agree.
    #[serde(default)]
    reason: String,
}

/// Takes all second factors away from somebody who lost them; ends her sessions. Of an account that reads facts it waits
/// for a second person (202).
#[utoipa::path(delete, path = "/api/v1/admin/users/{id}/second-factor", tag = "administration",
    params(("id" = String, Path), FactorResetParams),
    responses((status = 204), (status = 202, body = crate::api::account_changes::AccountChange)))]
async fn reset_user_factors(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
    Params(params): Params<FactorResetParams>,
) -> Answer<Asked<()>> {
    if caller.user()?.account == id {
        let text = "Ask another administrator to take your second factors away.";
        return Err(Error::Rule(Rule::new("own-account", text)).into());
    }
    let asked = app.record.ask_second_person(&caller.0, Some(id), Act::Factors, &params.reason).await?;
    if let Some(row) = asked {
        return Ok(Asked::waits(&app, &caller.0, row).await?);
    }
    app.record.reset_factors(&caller.0, id).await?;
    app.sockets.close_account(id);
    Ok(Asked::Done(StatusCode::NO_CONTENT, ()))
}
