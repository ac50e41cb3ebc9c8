//! Registering, finding and changing patients.

use super::directory::clinic;
use super::types::List;
use super::types::limit;
use super::{Answer, ApiRouter, Caller, IfMatch, Json, Params, Path, Versioned};
use crate::state::AppState;
use axum::extract::State;
use axum::http::StatusCode;
use care::patient::{Patient, PatientChange, PatientNew, PatientRow};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(register_patient))
        .routes(routes!(search_patients))
        .routes(routes!(get_patient, change_patient))
}

/// What is looked for, in a body: proxies and browsers keep addresses.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct PatientSearch {
    /// Name, phone or record number; everybody if empty.
    #[serde(default)]
    #[schema(required = false)]
    q: String,
    /// 1 to 100; 25 if not given.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Patients by name, phone or record number; staff.
#[utoipa::path(post, path = "/api/v1/patients/search", tag = "patients", request_body = PatientSearch,
    responses((status = 200, body = List<PatientRow>)))]
async fn search_patients(
    State(app): State<AppState>,
    caller: Caller,
    Json(search): Json<PatientSearch>,
) -> Answer<Json<List<PatientRow>>> {
    let (count, cursor) = (limit(search.limit), search.cursor.as_deref());
    let page = care::patient::search(&app.record, &caller.0, &search.q, count, cursor).await?;
    Ok(Json(List::new(page.items, page.next)))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RegisterParams {
    /// The candidates were looked at: it is somebody else.
    #[serde(default)]
    #[param(required = false)]
    confirm_new: bool,
}

/// Registers a patient. 409 `possible-duplicate` carries `details.candidates`.
#[utoipa::path(post, path = "/api/v1/patients", tag = "patients", params(RegisterParams), request_body = PatientNew,
    responses((status = 201, body = Patient)))]
async fn register_patient(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<RegisterParams>,
    Json(body): Json<PatientNew>,
) -> Answer<(StatusCode, Json<Patient>)> {
    let confirmed = params.confirm_new;
    let patient = care::patient::create(&app.record, &caller.0, &clinic(&app), &body, confirmed).await?;
    Ok((StatusCode::CREATED, Json(patient)))
}

/// One patient.
#[utoipa::path(get, path = "/api/v1/patients/{id}", tag = "patients", params(("id" = String, Path)),
    responses((status = 200, body = Patient)))]
async fn get_patient(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Versioned<Patient>> {
    let patient = care::patient::get(&app.record, &caller.0, &id).await?;
    Ok(Versioned(patient.version, patient))
}

/// Changes what is given. Patients change how they are reached; names and dates change at the front desk.
#[utoipa::path(patch, path = "/api/v1/patients/{id}", tag = "patients", params(("id" = String, Path)),
    request_body = PatientChange, responses((status = 200, body = Patient)))]
async fn change_patient(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    IfMatch(if_match): IfMatch,
    Json(body): Json<PatientChange>,
) -> Answer<Versioned<Patient>> {
    let patient = care::patient::update(&app.record, &caller.0, &clinic(&app), &id, &body, if_match).await?;
    Ok(Versioned(patient.version, patient))
}
