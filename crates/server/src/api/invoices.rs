//! Invoices and the payments that are started from them.

use super::types::List;
use super::{Answer, ApiRouter, Caller, Json, Params, Path, Versioned};
use crate::state::AppState;
use axum::extract::State;
use axum::http::StatusCode;
use billing::invoice::InvoiceView;
use billing::payment::{PaymentInput, PaymentView};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .routes(routes!(list_invoices))
        .routes(routes!(get_invoice))
        .routes(routes!(start_payment))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum InvoiceStatus {
    Issued,
    Balanced,
    Cancelled,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct InvoiceParams {
    #[param(inline)]
    status: Option<InvoiceStatus>,
    patient_id: Option<String>,
    /// Issued on this day of the clinic's zone.
    #[param(value_type = Option<String>, format = Date)]
    date: Option<jiff::civil::Date>,
    /// 1 to 100; 25 if not given.
    limit: Option<u32>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Invoices the caller may see, newest first.
#[utoipa::path(get, path = "/api/v1/invoices", tag = "money", params(InvoiceParams),
    responses((status = 200, body = List<InvoiceView>)))]
async fn list_invoices(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<InvoiceParams>,
) -> Answer<Json<List<InvoiceView>>> {
    let status = params.status.map(|s| match s {
        InvoiceStatus::Issued => "issued",
        InvoiceStatus::Balanced => "balanced",
        InvoiceStatus::Cancelled => "cancelled",
    });
    let page = (super::types::limit(params.limit), params.cursor.as_deref());
    let (items, next) = app
        .parts
        .billing
        .invoices(&caller.0, status, params.patient_id.as_deref(), params.date, page)
        .await?;
    Ok(Json(List::new(items, next)))
}

/// One invoice with its payments.
#[utoipa::path(get, path = "/api/v1/invoices/{id}", tag = "money", params(("id" = String, Path)),
    responses((status = 200, body = InvoiceView)))]
async fn get_invoice(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Answer<Versioned<InvoiceView>> {
    let invoice = app.parts.billing.invoice(&caller.0, &id).await?;
    Ok(Versioned(invoice.version, invoice))
}

/// Starts a payment: M-PESA sends a prompt to the phone, cash (cashiers) is settled at once.
#[utoipa::path(post, path = "/api/v1/invoices/{id}/payments", tag = "money", params(("id" = String, Path)),
    request_body = PaymentInput, responses((status = 201, body = PaymentView)))]
async fn start_payment(
    State(app): State<AppState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(body): Json<PaymentInput>,
) -> Answer<(StatusCode, Json<PaymentView>)> {
    let payment = app.parts.billing.pay(&caller.0, &id, &body).await?;
    Ok((StatusCode::CREATED, Json(payment)))
}
