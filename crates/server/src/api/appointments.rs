//! Booked visits.

use super::directory::clinic;
use super::types::{List, limit};
use super::{Answer, ApiRouter, Caller, IfMatch, Json, Params, Path, Versioned};
use crate::state::AppState;
use axum::extract::State;
use axum::http::StatusCode;
use care::Kind;
use care::appointment::{Appointment, Filter, NewAppointment, Status};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list_appointments, book_appointment))
        .routes(routes!(get_appointment))
        .routes(routes!(reschedule_appointment))
        .routes(routes!(cancel_appointment))
        .routes(routes!(check_in_appointment))
        .routes(routes!(no_show_appointment))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AppointmentParams {
    /// First date in the clinic's zone.
    #[param(value_type = Option<String>, format = Date)]
    from: Option<jiff::civil::Date>,
    /// Last date in the clinic's zone, included.
    #[param(value_type = Option<String>, format = Date)]
    to: Option<jiff::civil::Date>,
    provider_id: Option<String>,
    patient_id: Option<String>,
    /// One or more of booked, arrived, in-progress, fulfilled, cancelled, noshow, separated by commas.
    status: Option<String>,
    kind: Option<Kind>,
    /// 1 to 100; 25 if not given.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Appointments by start: patients see their own, clinicians those of patients in care, front desk and administrators
/// all.
#[utoipa::path(get, path = "/api/v1/appointments", tag = "appointments", params(AppointmentParams),
    responses((status = 200, body = List<Appointment>)))]
async fn list_appointments(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<AppointmentParams>,
) -> Answer<Json<List<Appointment>>> {
    let mut status = Vec::new();
    for code in params.status.iter().flat_map(|text| text.split(',')).filter(|code| !code.is_empty()) {
        status.push(Status::from_code(code).ok_or_else(|| {
            use crate::http::error::{Refusal, RefusalKind};
            Refusal::new(RefusalKind::ParameterWrong, format!("`{code}` is no status.")).at("status")
        })?);
    }
    let filter = Filter {
        from: params.from,
        to: params.to,
        provider: params.provider_id,
        patient: params.patient_id,
        status,
        kind: params.kind,
    };
    let (count, cursor) = (limit(params.limit), params.cursor.as_deref());
    let page = care::appointment::list(&app.record, &caller.0, &clinic(&app), &filter, count, cursor).await?;
    Ok(Json(List::new(page.items, page.next)))
}

/// Books a free slot. 409 `slot-taken` and `patient-busy` carry `details.next_free`.
#[utoipa::path(post, path = "/api/v1/appointments", tag = "appointments", request_body = NewAppointment,
    responses((status = 201, body = Appointment)))]
async fn book_appointment(
    State(app): State<AppState>,
    caller: Caller,
    Json(body): Json<NewAppointment>,
) -> Answer<(StatusCode, Json<Appointment>)> {
    let booked = care::appointment::book(&app.record, &caller.0, &clinic(&app), body).await?;
    Ok((StatusCode::CREATED, Json(booked)))
}

fn versioned(appointment: Appointment) -> Versioned<Appointment> {
    Versioned(appointment.version, appointment)
}

/// One appointment.
#[utoipa::path(get, path = "/api/v1/appointments/{id}", tag = "appointments", params(("id" = String, Path)),
    responses((status = 200, body = Appointment)))]
async fn get_appointment(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Versioned<Appointment>> {
    Ok(versioned(care::appointment::get(&app.record, &caller.0, &clinic(&app), &id).await?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AppointmentMove {
    /// Start of a free slot.
    #[schema(value_type = String, format = DateTime)]
    start: jiff::Timestamp,
    #[serde(default)]
    kind: Option<Kind>,
}

/// Moves a booked visit to another free slot of the same provider.
#[utoipa::path(post, path = "/api/v1/appointments/{id}/reschedule", tag = "appointments",
    params(("id" = String, Path)), request_body = AppointmentMove, responses((status = 200, body = Appointment)))]
async fn reschedule_appointment(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    IfMatch(if_match): IfMatch,
    Json(body): Json<AppointmentMove>,
) -> Answer<Versioned<Appointment>> {
    let (record, clinic) = (&app.record, clinic(&app));
    let moved =
        care::appointment::reschedule(record, &caller.0, &clinic, &id, body.start, body.kind, if_match)
            .await?;
    Ok(versioned(moved))
}

#[derive(Deserialize, ToSchema, Default)]
#[serde(deny_unknown_fields, default)]
struct AppointmentCancel {
    reason: Option<String>,
}

/// Cancels a visit that has not begun; cancelling twice is the same as once.
#[utoipa::path(post, path = "/api/v1/appointments/{id}/cancel", tag = "appointments", params(("id" = String, Path)),
    request_body = Option<AppointmentCancel>, responses((status = 200, body = Appointment)))]
async fn cancel_appointment(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    IfMatch(if_match): IfMatch,
    super::MaybeJson(body): super::MaybeJson<AppointmentCancel>,
) -> Answer<Versioned<Appointment>> {
    let reason = body.unwrap_or_default().reason;
    let (record, clinic) = (&app.record, clinic(&app));
    let cancelled =
        care::appointment::cancel(record, &caller.0, &clinic, &id, reason.as_deref(), if_match).await?;
    Ok(versioned(cancelled))
}

/// The patient is here.
#[utoipa::path(post, path = "/api/v1/appointments/{id}/check-in", tag = "appointments",
    params(("id" = String, Path)), responses((status = 200, body = Appointment)))]
async fn check_in_appointment(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    IfMatch(if_match): IfMatch,
) -> Answer<Versioned<Appointment>> {
    Ok(versioned(care::appointment::check_in(&app.record, &caller.0, &clinic(&app), &id, if_match).await?))
}

/// The patient did not come; staff, after the start.
#[utoipa::path(post, path = "/api/v1/appointments/{id}/no-show", tag = "appointments",
    params(("id" = String, Path)), responses((status = 200, body = Appointment)))]
async fn no_show_appointment(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    IfMatch(if_match): IfMatch,
) -> Answer<Versioned<Appointment>> {
    Ok(versioned(care::appointment::no_show(&app.record, &caller.0, &clinic(&app), &id, if_match).await?))
}
