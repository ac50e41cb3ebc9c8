//! Registration of patients by phone.

use super::opening::{Session, SessionAnswer, TokenParams, known_device, opened};
use crate::api::{Answer, ApiRouter, Json, MaybeCaller, Params, Path, SigningIn};
use crate::state::AppState;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use record::authn::{CodeSent, NewPatient};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(resend_registration))
        .routes(routes!(confirm_registration))
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
    SigningIn(from): SigningIn,
    Path(id): Path<String>,
    Params(params): Params<TokenParams>,
    Json(body): Json<CodeEntry>,
) -> SessionAnswer {
    let from = known_device(from)?;
    let session = app.record.confirm_registration(&caller.0, &id, &body.code, &from).await?;
    opened(&app, session, &from, &params).await
}
