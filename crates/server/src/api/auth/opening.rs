//! What every way of signing in answers: a session with its cookies, or the second factor that it needs.

use crate::api::types::{PersonName, RoleName};
use crate::api::{Answer, Json};
use crate::http::origin;
use crate::state::App;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use jiff::Timestamp;
use record::Error;
use record::authn::{Origin, SecondFactor, SignIn};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct TokenParams {
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
    /// With `second-factor-needed`: only a passkey will do.
    passkey_needed: bool,
    /// The clinic asks this person to set up a second factor.
    second_factor_asked: bool,
    /// Only with `?token=true`; send it as `Authorization: Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// Cookies and the session as body.
pub(super) type SessionAnswer = Answer<(HeaderMap, Json<Session>)>;

/// The right password, and what else is needed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SecondFactorNeeded {
    /// For `second-factor`.
    pending_id: String,
    /// Which would do: `totp`, `passkey`, `recovery-code`.
    factors: Vec<&'static str>,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

/// The browser's own token, new where it has none.
pub(super) fn known_device(from: Origin) -> Result<Origin, Error> {
    match from.device {
        Some(_) => Ok(from),
        None => Ok(Origin { device: Some(record::authn::device_token()?), ..from }),
    }
}

/// A session, or what is needed besides.
pub(super) async fn sign_in(
    app: &App,
    signed: SignIn,
    from: &Origin,
    params: &TokenParams,
) -> Answer<Response> {
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
pub(super) async fn opened(
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

/// The cookies alone, for a browser that is sent on.
pub(super) fn cookies(app: &App, session: &record::authn::Session, from: &Origin, headers: &mut HeaderMap) {
    let left_s = session.expires_at.duration_since(app.record.now()).as_secs().max(0);
    origin::set_session(headers, app, &session.token, left_s);
    if let Some(device) = &from.device {
        origin::set_device(headers, app, device);
    }
}

pub(super) async fn open(app: &App, session: record::authn::Session, params: &TokenParams) -> SessionAnswer {
    let mut headers = HeaderMap::new();
    let left_s = session.expires_at.duration_since(app.record.now()).as_secs().max(0);
    origin::set_session(&mut headers, app, &session.token, left_s);
    let info = app.record.session(&session.token).await?;
    let body = Session {
        due: session.due.map(access::Due::code),
        passkey_needed: session.due == Some(access::Due::Passkey),
        second_factor_asked: is_asked(app, &session.user, &info.facts).await?,
        user: me(app, session.user, info.phone).await,
        expires_at: session.expires_at,
        idle_expires_at: session.idle_expires_at,
        token: params.token.unwrap_or(false).then_some(session.token),
    };
    Ok((headers, Json(body)))
}

/// Whether the client should propose a second factor.
pub(super) async fn is_asked(
    app: &App,
    user: &access::User,
    facts: &access::SessionFacts,
) -> Result<bool, Error> {
    let policy = app.record.security_policy().await?;
    Ok(facts.enrolled.is_empty() && policy.second_factor_for(&user.roles) != SecondFactor::Off)
}

pub(super) async fn me(app: &App, user: access::User, phone: Option<String>) -> Me {
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
pub(super) async fn own_name(app: &App, user: &access::User) -> Result<PersonName, Error> {
    let key = user.practitioner.as_ref().or(user.patient.as_ref());
    let Some(key) = key else { return Ok(PersonName::default()) };
    let ctx = access::Ctx::system("session", app.record.now());
    let loaded = app.record.load(&ctx, key).await?;
    Ok(loaded.map(|(person, _)| PersonName::of(&person)).unwrap_or_default())
}
