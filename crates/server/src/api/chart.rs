//! The chart of a patient.

use super::directory::clinic;
use super::types::{List, PageParams};
use super::{Answer, ApiRouter, Caller, Json, Params, Path};
use crate::state::AppState;
use axum::extract::State;
use axum::http::StatusCode;
use care::chart::{Allergy, AllergyNew, Chart, ClinicalProblem, EntryKind, ProblemNew, VisitSummary};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(get_chart))
        .routes(routes!(list_visits))
        .routes(routes!(add_allergy))
        .routes(routes!(add_problem))
        .routes(routes!(mark_entered_in_error))
}

/// Everything at a glance: clinicians with a care relationship, and the patient herself.
#[utoipa::path(get, path = "/api/v1/patients/{id}/chart", tag = "chart", params(("id" = String, Path)),
    responses((status = 200, body = Chart)))]
async fn get_chart(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<Chart>> {
    Ok(Json(care::chart::chart(&app.record, &caller.0, &clinic(&app), &id).await?))
}

/// Visits of a patient, newest first.
#[utoipa::path(get, path = "/api/v1/patients/{id}/visits", tag = "chart", params(("id" = String, Path), PageParams),
    responses((status = 200, body = List<VisitSummary>)))]
async fn list_visits(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Params(params): Params<PageParams>,
) -> Answer<Json<List<VisitSummary>>> {
    let page =
        care::chart::visits(&app.record, &caller.0, &id, params.limit(), params.cursor.as_deref()).await?;
    Ok(Json(List::new(page.items, page.next)))
}

/// Records an allergy, or (code 716186003) that none is known.
#[utoipa::path(post, path = "/api/v1/patients/{id}/allergies", tag = "chart", params(("id" = String, Path)),
    request_body = AllergyNew, responses((status = 201, body = Allergy)))]
async fn add_allergy(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<AllergyNew>,
) -> Answer<(StatusCode, Json<Allergy>)> {
    let allergy = care::chart::add_allergy(&app.record, &caller.0, &id, &body).await?;
    Ok((StatusCode::CREATED, Json(allergy)))
}

/// Puts a problem on the list.
#[utoipa::path(post, path = "/api/v1/patients/{id}/problems", tag = "chart", params(("id" = String, Path)),
    request_body = ProblemNew, responses((status = 201, body = ClinicalProblem)))]
async fn add_problem(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<ProblemNew>,
) -> Answer<(StatusCode, Json<ClinicalProblem>)> {
    let problem = care::chart::add_problem(&app.record, &caller.0, &id, &body).await?;
    Ok((StatusCode::CREATED, Json(problem)))
}

/// Marks an entry as wrong; it stays visible, struck through. `kind` is allergies, problems or vitals.
#[utoipa::path(post, path = "/api/v1/patients/{id}/{kind}/{rid}/entered-in-error", tag = "chart",
    params(("id" = String, Path), ("kind" = String, Path), ("rid" = String, Path)), responses((status = 204)))]
async fn mark_entered_in_error(
    State(app): State<AppState>,
    caller: Caller,
    Path((id, kind, rid)): Path<(String, String, String)>,
) -> Answer<StatusCode> {
    let kind = EntryKind::from_path(&kind).ok_or(record::Error::NotFound)?;
    care::chart::entered_in_error(&app.record, &caller.0, &id, kind, &rid).await?;
    Ok(StatusCode::NO_CONTENT)
}
