//! Registration, sign-in, sign-out, password reset, and who I am. The example for other files of this folder.

use super::types::{PersonName, RoleName};
use super::{Answer, AnySession, ApiRouter, Json, MaybeCaller, Params, Path, SessionCaller, SigningIn};
use crate::http::caller::{Credential, credential};
use crate::http::origin;
use crate::state::{App, AppState};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use record::authn::{AccountChange, CodeSent, NewPatient, Origin, Proof, SecondFactor, SignIn};
use record::{Error, Rule};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(resend_registration))
        .routes(routes!(confirm_registration))
        .routes(routes!(login))
        .routes(routes!(second_factor))
        .routes(routes!(second_factor_passkey))
        .routes(routes!(passkey_options))
        .routes(routes!(passkey_login))
        .routes(routes!(read_link))
        .routes(routes!(accept_link))
        .routes(routes!(list_device_people))
        .routes(routes!(switch_user))
        .routes(routes!(get_session))
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
    /// Must be done before anything else works: `password-change-needed` or `second-factor-needed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<&'static str>,
    /// The clinic asks this person to set up a second factor.
    second_factor_asked: bool,
    /// Only with `?token=true`; send it as `Authorization: Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// Cookies and the session as body.
type SessionAnswer = Answer<(HeaderMap, Json<Session>)>;

/// The right password, and what else is needed.
#[derive(Debug, Serialize, ToSchema)]
struct SecondFactorNeeded {
    /// For `second-factor`.
    pending_id: String,
    /// Which would do: `totp`, `passkey`, `recovery-code`.
    factors: Vec<&'static str>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
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

/// A shared device, and who can change over on it.
#[derive(Serialize, ToSchema)]
struct SharedDevice {
    name: String,
    people: Vec<DevicePerson>,
}

#[derive(Serialize, ToSchema)]
struct DevicePerson {
    account_id: String,
    display: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserSwitch {
    account_id: String,
    /// Six digits.
    pin: String,
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
    second_factor_asked: bool,
}

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

/// Who can change over by PIN on this shared device.
#[utoipa::path(get, path = "/api/v1/auth/device", tag = "auth", responses((status = 200, body = SharedDevice)))]
async fn list_device_people(
    State(app): State<AppState>,
    SigningIn(from): SigningIn,
) -> Answer<Json<SharedDevice>> {
    let device = app.record.device_people(from.shared_device.as_deref()).await?;
    let person =
        |(account, display): (i64, String)| DevicePerson { account_id: account.to_string(), display };
    Ok(Json(SharedDevice { name: device.name, people: device.people.into_iter().map(person).collect() }))
}

/// Changes over to another person on a shared device; the session before ends.
#[utoipa::path(post, path = "/api/v1/auth/switch", tag = "auth", params(TokenParams), request_body = UserSwitch,
    responses((status = 200, body = Session)))]
async fn switch_user(
    State(app): State<AppState>,
    caller: MaybeCaller,
    headers: HeaderMap,
    SigningIn(from): SigningIn,
    Params(params): Params<TokenParams>,
    Json(body): Json<UserSwitch>,
) -> SessionAnswer {
    let from = known_device(from)?;
    let account = body.account_id.parse().unwrap_or_default();
    let session = app.record.switch_user(account, &body.pin, &from).await?;
    // Whoever was here is so no more; without a session of hers there is nothing to end.
    if let Some(Credential::Cookie(token) | Credential::Bearer(token)) =
        credential(&headers, app.cookie_name())
        && let Ok(before) = app.record.session(&token).await
    {
        app.record.logout(&caller.0, &token).await?;
        app.sockets.close_session_id(before.user.account, before.facts.id);
    }
    opened(&app, session, &from, &params).await
}

/// This session.
#[utoipa::path(get, path = "/api/v1/auth/session", tag = "auth", responses((status = 200, body = SessionState)))]
async fn get_session(
    State(app): State<AppState>,
    AnySession(caller): AnySession,
) -> Answer<Json<SessionState>> {
    let info = caller.info;
    Ok(Json(SessionState {
        expires_at: info.expires_at,
        idle_expires_at: info.idle_expires_at,
        authenticated_at: info.facts.authenticated_at,
        factors: info.facts.factors.iter().map(|f| f.code()).collect(),
        shared_device: info.facts.kiosk,
        due: info.facts.due.map(access::Due::code),
        second_factor_asked: is_asked(&app, &info.user, &info.facts).await?,
    }))
}

/// Ends this session and its live connections.
#[utoipa::path(post, path = "/api/v1/auth/logout", tag = "auth", responses((status = 204)))]
async fn logout(
    State(app): State<AppState>,
    AnySession(caller): AnySession,
) -> Answer<(StatusCode, HeaderMap)> {
    app.record.logout(&caller.ctx, &caller.token).await?;
    app.sockets.close_session_id(caller.info.user.account, caller.info.facts.id);
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

/// The browser's own token, new where it has none.
fn known_device(from: Origin) -> Result<Origin, Error> {
    match from.device {
        Some(_) => Ok(from),
        None => Ok(Origin { device: Some(record::authn::device_token()?), ..from }),
    }
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

/// A session, or what is needed besides.
async fn sign_in(app: &App, signed: SignIn, from: &Origin, params: &TokenParams) -> Answer<Response> {
    match signed {
        SignIn::Open(session) => Ok(opened(app, session, from, params).await?.into_response()),
        SignIn::SecondFactor(pending) => {
            let body = SecondFactorNeeded {
                pending_id: pending.id,
                factors: pending.factors.iter().map(|f| f.code()).collect(),
                expires_at: pending.expires_at,
            };
            Ok((StatusCode::ACCEPTED, Json(body)).into_response())
        }
    }
}

/// The session, and the cookie by which this browser is known from now on.
async fn opened(
    app: &App,
    session: record::authn::Session,
    from: &Origin,
    params: &TokenParams,
) -> SessionAnswer {
    let (mut headers, body) = open(app, session, params).await?;
    if let Some(device) = &from.device {
        origin::set_device(&mut headers, app, device);
    }
    Ok((headers, body))
}

async fn open(app: &App, session: record::authn::Session, params: &TokenParams) -> SessionAnswer {
    let mut headers = HeaderMap::new();
    let left_s = session.expires_at.duration_since(app.record.now()).as_secs().max(0);
    origin::set_session(&mut headers, app, &session.token, left_s);
    let info = app.record.session(&session.token).await?;
    let body = Session {
        due: session.due.map(access::Due::code),
        second_factor_asked: is_asked(app, &session.user, &info.facts).await?,
        user: me(app, session.user, info.phone).await,
        expires_at: session.expires_at,
        idle_expires_at: session.idle_expires_at,
        token: params.token.unwrap_or(false).then_some(session.token),
    };
    Ok((headers, Json(body)))
}

/// Whether the client should propose a second factor.
async fn is_asked(app: &App, user: &access::User, facts: &access::SessionFacts) -> Result<bool, Error> {
    let policy = app.record.security_policy().await?;
    Ok(facts.enrolled.is_empty() && policy.second_factor_for(&user.roles) != SecondFactor::Off)
}

fn cookie(app: &App, token: &str, max_age_s: i64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    origin::set_session(&mut headers, app, token, max_age_s);
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
