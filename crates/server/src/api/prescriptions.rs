//! Prescriptions by their own id, printed, and checked by whoever holds the paper.

use super::directory::clinic;
use super::{Answer, ApiRouter, Caller, Json, Language, Path, Versioned};
use crate::state::AppState;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use care::prescription::{Prescription, Verification};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(get_prescription))
        .routes(routes!(get_prescription_pdf))
        .routes(routes!(verify_prescription))
}

/// One prescription.
#[utoipa::path(get, path = "/api/v1/prescriptions/{id}", tag = "prescriptions", params(("id" = String, Path)),
    responses((status = 200, body = Prescription)))]
async fn get_prescription(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Versioned<Prescription>> {
    let english = care::texts::Language::English;
    let found = care::prescription::get(&app.record, &caller.0, &clinic(&app), &id, english).await?;
    Ok(Versioned(found.version, found))
}

/// The paper, with a QR code once it is signed.
#[utoipa::path(get, path = "/api/v1/prescriptions/{id}/pdf", tag = "prescriptions", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/pdf", body = Vec<u8>)))]
async fn get_prescription_pdf(
    State(app): State<AppState>,
    caller: Caller,
    Language(language): Language,
    Path(id): Path<String>,
) -> Answer<impl IntoResponse> {
    let language = care::texts::Language::of(&language);
    let pdf = care::prescription::pdf(&app.record, &caller.0, &clinic(&app), &id, language).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/pdf"),
        (header::CONTENT_DISPOSITION, "inline; filename=\"prescription.pdf\""),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, pdf))
}

/// Whether a paper is genuine; for anybody who holds it. An unknown token is an answer, not an error.
#[utoipa::path(get, path = "/api/v1/verify/{token}", tag = "prescriptions", params(("token" = String, Path)),
    responses((status = 200, body = Verification)))]
async fn verify_prescription(
    State(app): State<AppState>,
    Path(token): Path<String>,
) -> Answer<Json<Verification>> {
    Ok(Json(care::prescription::verify(&app.record, &clinic(&app), &token).await?))
}
