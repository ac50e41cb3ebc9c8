//! What protects the own account: sessions, second factors, PINs; and the rules of the clinic.

use super::auth::{PasskeyOptions, proof};
use super::types::RoleName;
use super::{Answer, AnySession, ApiRouter, Caller, Json, Path, SessionCaller, SigningIn};
use crate::http::origin;
use crate::state::AppState;
use access::Role;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use record::authn::{PasskeyRow, SecondFactor, SecurityPolicy, SessionRow};
use record::{Error, Rule};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(get_security))
        .routes(routes!(list_sessions))
        .routes(routes!(end_session))
        .routes(routes!(logout_everywhere))
        .routes(routes!(step_up))
        .routes(routes!(step_up_passkey))
        .routes(routes!(begin_totp, remove_totp))
        .routes(routes!(confirm_totp))
        .routes(routes!(new_recovery_codes))
        .routes(routes!(begin_passkey))
        .routes(routes!(finish_passkey))
        .routes(routes!(rename_passkey, remove_passkey))
        .routes(routes!(begin_phone_change))
        .routes(routes!(confirm_phone_change))
        .routes(routes!(set_pin))
        .routes(routes!(add_device))
        .routes(routes!(list_devices))
        .routes(routes!(remove_device))
        .routes(routes!(get_security_policy, put_security_policy))
        .routes(routes!(list_user_sessions))
        .routes(routes!(sign_out_user))
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

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PhoneChange {
    /// Any form; numbers without a country code are Kenyan.
    phone: String,
}

#[derive(Serialize, ToSchema)]
struct PhoneChangeBegun {
    change_id: String,
    phone_masked: String,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    resend_after_s: u32,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PhoneConfirmation {
    /// The digits from the SMS.
    code: String,
}

#[derive(Serialize, ToSchema)]
struct PhoneChanged {
    phone: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PinEntry {
    /// Six digits.
    pin: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewDevice {
    /// e.g. `Tablet, ward 3`
    name: String,
}

/// A shared device.
#[derive(Serialize, ToSchema)]
struct DeviceInfo {
    id: String,
    name: String,
    made_by: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    last_used_at: Timestamp,
}

#[derive(Serialize, ToSchema)]
struct DeviceList {
    items: Vec<DeviceInfo>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum SecondFactorRule {
    Off,
    Asked,
    Required,
}

/// Rules for signing in.
#[derive(Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SecurityRules {
    /// For all staff.
    second_factor: SecondFactorRule,
    /// These need one whatever `second_factor` says.
    required_roles: Vec<RoleName>,
    staff_idle_minutes: u32,
    staff_absolute_minutes: u32,
    kiosk_idle_minutes: u32,
    patient_idle_minutes: u32,
    patient_absolute_minutes: u32,
    /// Codes by SMS that the whole clinic sends within 24 hours, at most.
    sms_codes_per_day: u32,
}

impl From<SecurityPolicy> for SecurityRules {
    fn from(policy: SecurityPolicy) -> SecurityRules {
        SecurityRules {
            second_factor: match policy.second_factor {
                SecondFactor::Off => SecondFactorRule::Off,
                SecondFactor::Asked => SecondFactorRule::Asked,
                SecondFactor::Required => SecondFactorRule::Required,
            },
            required_roles: policy.required_roles.into_iter().map(RoleName::from).collect(),
            staff_idle_minutes: policy.staff_idle_minutes,
            staff_absolute_minutes: policy.staff_absolute_minutes,
            kiosk_idle_minutes: policy.kiosk_idle_minutes,
            patient_idle_minutes: policy.patient_idle_minutes,
            patient_absolute_minutes: policy.patient_absolute_minutes,
            sms_codes_per_day: policy.sms_codes_per_day,
        }
    }
}

impl From<SecurityRules> for SecurityPolicy {
    fn from(rules: SecurityRules) -> SecurityPolicy {
        SecurityPolicy {
            second_factor: match rules.second_factor {
                SecondFactorRule::Off => SecondFactor::Off,
                SecondFactorRule::Asked => SecondFactor::Asked,
                SecondFactorRule::Required => SecondFactor::Required,
            },
            required_roles: rules.required_roles.into_iter().map(Role::from).collect(),
            staff_idle_minutes: rules.staff_idle_minutes,
            staff_absolute_minutes: rules.staff_absolute_minutes,
            kiosk_idle_minutes: rules.kiosk_idle_minutes,
            patient_idle_minutes: rules.patient_idle_minutes,
            patient_absolute_minutes: rules.patient_absolute_minutes,
            sms_codes_per_day: rules.sms_codes_per_day,
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Errors: `NotFound` for what is no such id.
fn unhex<const N: usize>(text: &str) -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.is_ascii() {
        return Err(Error::NotFound);
    }
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * n..2 * n + 2], 16).map_err(|_| Error::NotFound)?;
    }
    Ok(bytes)
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

/// Begins to change the own phone number; a code goes to the new one.
#[utoipa::path(post, path = "/api/v1/auth/phone", tag = "auth", request_body = PhoneChange,
    responses((status = 202, body = PhoneChangeBegun)))]
async fn begin_phone_change(
    State(app): State<AppState>,
    caller: SessionCaller,
    Json(body): Json<PhoneChange>,
) -> Answer<(StatusCode, Json<PhoneChangeBegun>)> {
    let sent = app.record.begin_phone_change(&caller.ctx, &body.phone).await?;
    let begun = PhoneChangeBegun {
        change_id: sent.id,
        phone_masked: sent.phone_masked,
        expires_at: sent.expires_at,
        resend_after_s: sent.resend_after_s,
    };
    Ok((StatusCode::ACCEPTED, Json(begun)))
}

/// Changes the own phone number; the old one is told.
#[utoipa::path(post, path = "/api/v1/auth/phone/{id}/confirm", tag = "auth", params(("id" = String, Path)),
    request_body = PhoneConfirmation, responses((status = 200, body = PhoneChanged)))]
async fn confirm_phone_change(
    State(app): State<AppState>,
    caller: SessionCaller,
    Path(id): Path<String>,
    Json(body): Json<PhoneConfirmation>,
) -> Answer<Json<PhoneChanged>> {
    let phone = app.record.confirm_phone_change(&caller.ctx, &id, &body.code).await?;
    Ok(Json(PhoneChanged { phone }))
}

/// Sets the caller's PIN for changing over on this shared device.
#[utoipa::path(put, path = "/api/v1/auth/device/pin", tag = "auth", request_body = PinEntry,
    responses((status = 204)))]
async fn set_pin(
    State(app): State<AppState>,
    caller: SessionCaller,
    SigningIn(from): SigningIn,
    Json(body): Json<PinEntry>,
) -> Answer<StatusCode> {
    app.record.set_pin(&caller.ctx, from.shared_device.as_deref(), &body.pin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes this browser a shared device of the clinic.
#[utoipa::path(post, path = "/api/v1/auth/device", tag = "auth", request_body = NewDevice,
    responses((status = 204)))]
async fn add_device(
    State(app): State<AppState>,
    caller: SessionCaller,
    Json(body): Json<NewDevice>,
) -> Answer<(StatusCode, HeaderMap)> {
    let token = app.record.add_device(&caller.ctx, &body.name).await?;
    let mut headers = HeaderMap::new();
    origin::set_shared(&mut headers, &app, &token);
    Ok((StatusCode::NO_CONTENT, headers))
}

/// The shared devices of the clinic.
#[utoipa::path(get, path = "/api/v1/admin/devices", tag = "administration",
    responses((status = 200, body = DeviceList)))]
async fn list_devices(State(app): State<AppState>, caller: Caller) -> Answer<Json<DeviceList>> {
    let rows = app.record.devices(&caller.0).await?;
    let info = |row: record::authn::DeviceRow| DeviceInfo {
        id: hex(&row.id),
        name: row.name,
        made_by: row.made_by.to_string(),
        created_at: row.created_at,
        last_used_at: row.last_used_at,
    };
    Ok(Json(DeviceList { items: rows.into_iter().map(info).collect() }))
}

/// Takes a shared device off the list; who is signed in there is signed out.
#[utoipa::path(delete, path = "/api/v1/admin/devices/{id}", tag = "administration", params(("id" = String, Path)),
    responses((status = 204)))]
async fn remove_device(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<StatusCode> {
    super::admin::require(&caller.0, access::Capability::ManageAccounts)?;
    app.record.remove_device(&caller.0, unhex::<32>(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The clinic's rules for signing in.
#[utoipa::path(get, path = "/api/v1/admin/security-policy", tag = "administration",
    responses((status = 200, body = SecurityRules)))]
async fn get_security_policy(State(app): State<AppState>, caller: Caller) -> Answer<Json<SecurityRules>> {
    super::admin::require(&caller.0, access::Capability::ManageAccounts)?;
    Ok(Json(app.record.security_policy().await?.into()))
}

/// Changes the clinic's rules for signing in.
#[utoipa::path(put, path = "/api/v1/admin/security-policy", tag = "administration", request_body = SecurityRules,
    responses((status = 200, body = SecurityRules)))]
async fn put_security_policy(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<SecurityRules>,
) -> Answer<Json<SecurityRules>> {
    app.record.set_security_policy(&caller.0, body.into()).await?;
    Ok(Json(app.record.security_policy().await?.into()))
}

/// Where somebody is signed in.
#[utoipa::path(get, path = "/api/v1/admin/users/{id}/sessions", tag = "administration",
    params(("id" = String, Path)), responses((status = 200, body = SessionList)))]
async fn list_user_sessions(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Answer<Json<SessionList>> {
    super::admin::require(&caller.0, access::Capability::ManageAccounts)?;
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
    super::admin::require(&caller.0, access::Capability::ManageAccounts)?;
    app.record.logout_everywhere(&caller.0, id).await?;
    app.sockets.close_account(id);
    Ok(StatusCode::NO_CONTENT)
}

/// Takes all second factors away from somebody who lost them; ends her sessions.
#[utoipa::path(delete, path = "/api/v1/admin/users/{id}/second-factor", tag = "administration",
    params(("id" = String, Path)), responses((status = 204)))]
async fn reset_user_factors(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<i64>,
) -> Answer<StatusCode> {
    if caller.user()?.account == id {
        let text = "Ask another administrator to take your second factors away.";
        return Err(Error::Rule(Rule::new("own-account", text)).into());
    }
    app.record.reset_factors(&caller.0, id).await?;
    app.sockets.close_account(id);
    Ok(StatusCode::NO_CONTENT)
}
