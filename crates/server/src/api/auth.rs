//! Registration, sign-in, sign-out, password reset, and who I am. The example for other files of this folder.

use super::types::{PersonName, RoleName};
use super::{Answer, AnySession, ApiRouter, ClientAddress, Json, MaybeCaller, Params, Path, SessionCaller};
use crate::state::{App, AppState};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::Timestamp;
use record::Error;
use record::authn::{AccountChange, CodeSent, NewPatient};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(resend_registration))
        .routes(routes!(confirm_registration))
        .routes(routes!(login))
        .routes(routes!(logout))
        .routes(routes!(refresh_token))
        .routes(routes!(reset_password))
        .routes(routes!(confirm_reset_password))
        .routes(routes!(change_password))
        .routes(routes!(get_me, patch_me))
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Sex {
    Female,
    Male,
    Other,
    Unknown,
}

impl Sex {
    /// The FHIR code.
    pub fn code(self) -> &'static str {
        match self {
            Sex::Female => "female",
            Sex::Male => "male",
            Sex::Other => "other",
            Sex::Unknown => "unknown",
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Registration {
    given: String,
    family: String,
    /// `YYYY-MM-DD`
    birth_date: String,
    sex: Option<Sex>,
    /// Any form; numbers without a country code are Kenyan.
    phone: String,
    password: String,
    /// BCP-47, e.g. `sw`.
    language: String,
    accept_terms: bool,
}

#[derive(Serialize, ToSchema)]
struct RegistrationBegun {
    registration_id: String,
    /// e.g. `+254 7•• ••• 123`
    phone_masked: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    resend_after_s: u32,
}

#[derive(Serialize, ToSchema)]
struct CodeResent {
    resend_after_s: u32,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CodeEntry {
    /// The digits from the SMS.
    code: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Credentials {
    /// Phone in any form, e-mail or user name.
    login: String,
    password: String,
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
struct MeChange {
    /// BCP-47, e.g. `sw`.
    language: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct TokenParams {
    /// `true`: the answer has the token itself, for API users without cookies.
    token: Option<bool>,
}

/// The clinic, as every signed-in page needs it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ClinicInfo {
    name: String,
    phone: String,
    /// ISO 4217
    currency: String,
    /// Paybill or till number, if M-PESA is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    paybill: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Me {
    account_id: String,
    display: String,
    given: String,
    family: String,
    roles: Vec<RoleName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patient_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    practitioner_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phone: Option<String>,
    language: String,
    /// IANA name of the clinic's zone.
    timezone: String,
    clinic: ClinicInfo,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Session {
    user: Me,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    idle_expires_at: Timestamp,
    /// Only with `?token=true`; send it as `Authorization: Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// Cookies and the session as body.
type SessionAnswer = Answer<(HeaderMap, Json<Session>)>;

/// Begins a patient's registration; a code goes to the phone by SMS. A phone that has an account gets the same answer.
#[utoipa::path(post, path = "/api/v1/auth/register", tag = "auth", request_body = Registration,
    responses((status = 202, body = RegistrationBegun)))]
async fn register(
    State(app): State<AppState>,
    caller: MaybeCaller,
    Json(body): Json<Registration>,
) -> Answer<(StatusCode, Json<RegistrationBegun>)> {
    let new = NewPatient {
        given: body.given,
        family: body.family,
        birth_date: body.birth_date,
        sex: body.sex.map(|sex| sex.code().to_owned()),
        phone: body.phone,
        password: body.password,
        language: body.language,
        accept_terms: body.accept_terms,
    };
    let CodeSent { id, phone_masked, expires_at, resend_after_s } =
        app.record.begin_registration(&caller.0, new).await?;
    let begun = RegistrationBegun { registration_id: id, phone_masked, expires_at, resend_after_s };
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

/// Sends the registration's code again.
#[utoipa::path(post, path = "/api/v1/auth/register/{id}/resend", tag = "auth", params(("id" = String, Path)),
    responses((status = 202, body = CodeResent)))]
async fn resend_registration(
    State(app): State<AppState>,
    caller: MaybeCaller,
    Path(id): Path<String>,
) -> Answer<(StatusCode, Json<CodeResent>)> {
    let sent = app.record.resend_registration(&caller.0, &id).await?;
    Ok((StatusCode::ACCEPTED, Json(CodeResent { resend_after_s: sent.resend_after_s })))
}

/// Ends the registration with the code from the SMS and signs in.
#[utoipa::path(post, path = "/api/v1/auth/register/{id}/confirm", tag = "auth",
    params(("id" = String, Path), TokenParams), request_body = CodeEntry, responses((status = 200, body = Session)))]
async fn confirm_registration(
    State(app): State<AppState>,
    caller: MaybeCaller,
    Path(id): Path<String>,
    Params(params): Params<TokenParams>,
    Json(body): Json<CodeEntry>,
) -> SessionAnswer {
    let session = app.record.confirm_registration(&caller.0, &id, &body.code).await?;
    open(&app, session, &params).await
}

/// Signs in; sets the session cookie.
#[utoipa::path(post, path = "/api/v1/auth/login", tag = "auth", params(TokenParams), request_body = Credentials,
    responses((status = 200, body = Session)))]
async fn login(
    State(app): State<AppState>,
    ClientAddress(address): ClientAddress,
    Params(params): Params<TokenParams>,
    Json(body): Json<Credentials>,
) -> SessionAnswer {
    let session = app.record.login(&body.login, &body.password, address).await?;
    open(&app, session, &params).await
}

/// Ends this session and its live connections.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "auth", responses((status = 204)))]
async fn logout(
    State(app): State<AppState>,
    AnySession(caller): AnySession,
) -> Answer<(StatusCode, HeaderMap)> {
    app.record.logout(&caller.ctx, &caller.token).await?;
    app.sockets.close_session(&caller.token);
    Ok((StatusCode::NO_CONTENT, cookie(&app, "", 0)))
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
    responses((status = 200, body = Session)))]
async fn confirm_reset_password(
    State(app): State<AppState>,
    caller: MaybeCaller,
    Path(id): Path<String>,
    Params(params): Params<TokenParams>,
    Json(body): Json<ResetConfirmation>,
) -> SessionAnswer {
    let session = app.record.confirm_reset(&caller.0, &id, &body.code, &body.password).await?;
    app.sockets.close_account(session.user.account);
    open(&app, session, &params).await
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

/// The signed-in person and the clinic.
#[utoipa::path(get, path = "/api/v1/me", tag = "auth", responses((status = 200, body = Me)))]
async fn get_me(State(app): State<AppState>, AnySession(caller): AnySession) -> Answer<Json<Me>> {
    Ok(Json(me(&app, caller.info.user, caller.info.phone).await))
}

/// Changes what a person may change about her own account.
#[utoipa::path(patch, path = "/api/v1/me", tag = "auth", request_body = MeChange, responses((status = 200, body = Me)))]
async fn patch_me(
    State(app): State<AppState>,
    caller: SessionCaller,
    Json(body): Json<MeChange>,
) -> Answer<Json<Me>> {
    let mut user = caller.info.user;
    if let Some(language) = body.language {
        let change = AccountChange { language: Some(language), ..AccountChange::default() };
        user.language = app.record.update_account(&caller.ctx, user.account, change).await?.language;
    }
    Ok(Json(me(&app, user, caller.info.phone).await))
}

async fn open(app: &App, session: record::authn::Session, params: &TokenParams) -> SessionAnswer {
    let left_s = session.expires_at.duration_since(app.record.now()).as_secs().max(0);
    let headers = cookie(app, &session.token, left_s);
    let phone = app.record.session(&session.token).await?.phone;
    let body = Session {
        user: me(app, session.user, phone).await,
        expires_at: session.expires_at,
        idle_expires_at: session.idle_expires_at,
        token: params.token.unwrap_or(false).then_some(session.token),
    };
    Ok((headers, Json(body)))
}

fn cookie(app: &App, token: &str, max_age_s: i64) -> HeaderMap {
    let name = app.cookie_name();
    let secure = if app.is_secure() { "; Secure" } else { "" };
    let text = format!("{name}={token}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}");
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.insert(header::SET_COOKIE, value);
    }
    headers
}

async fn me(app: &App, user: access::User, phone: Option<String>) -> Me {
    let name = own_name(app, &user).await.unwrap_or_default();
    let clinic = &app.config.clinic;
    let shortcode = app.config.daraja.shortcode.clone();
    Me {
        account_id: user.account.to_string(),
        display: user.display,
        given: name.given,
        family: name.family,
        roles: user.roles.into_iter().map(RoleName::from).collect(),
        patient_id: user.patient.map(|key| key.id),
        practitioner_id: user.practitioner.map(|key| key.id),
        phone,
        language: user.language,
        timezone: clinic.timezone.clone(),
        clinic: ClinicInfo {
            name: clinic.name.clone(),
            phone: clinic.phone.clone(),
            currency: clinic.currency.clone(),
            paybill: app.config.daraja.consumer_key.is_some().then_some(shortcode),
        },
    }
}

/// The name in the person's own Patient or Practitioner; accounts of other staff only have a display name.
async fn own_name(app: &App, user: &access::User) -> Result<PersonName, Error> {
    let key = user.practitioner.as_ref().or(user.patient.as_ref());
    let Some(key) = key else { return Ok(PersonName::default()) };
    let ctx = access::Ctx::system("session", app.record.now());
    let loaded = app.record.load(&ctx, key).await?;
    Ok(loaded.map(|(person, _)| PersonName::of(&person)).unwrap_or_default())
}
