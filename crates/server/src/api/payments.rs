//! Payments under way and their receipts.

use super::{Answer, ApiRouter, Caller, Json, Language, Path};
use crate::state::AppState;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use billing::payment::PaymentView;
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new().routes(routes!(get_payment)).routes(routes!(check_payment)).routes(routes!(get_receipt))
}

/// A payment and how it stands.
#[utoipa::path(get, path = "/api/v1/payments/{id}", tag = "money", params(("id" = String, Path)),
    responses((status = 200, body = PaymentView)))]
async fn get_payment(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<PaymentView>> {
    Ok(Json(app.parts.billing.payment(&caller.0, &id).await?))
}

/// Asks the provider now how the payment stands.
#[utoipa::path(post, path = "/api/v1/payments/{id}/check", tag = "money", params(("id" = String, Path)),
    responses((status = 200, body = PaymentView)))]
async fn check_payment(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Json<PaymentView>> {
    Ok(Json(app.parts.billing.check_now(&caller.0, &id).await?))
}

/// The receipt as PDF; 404 until the payment is paid.
#[utoipa::path(get, path = "/api/v1/payments/{id}/receipt", tag = "money", params(("id" = String, Path)),
    responses((status = 200, content_type = "application/pdf", body = Vec<u8>)))]
async fn get_receipt(
    State(app): State<AppState>,
    caller: Caller,
    Language(language): Language,
    Path(id): Path<String>,
) -> Answer<impl IntoResponse> {
    let pdf = app.parts.billing.receipt(&caller.0, &id, &language).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/pdf"),
        (header::CONTENT_DISPOSITION, "inline; filename=\"receipt.pdf\""),
    ];
    Ok((headers, pdf))
}
