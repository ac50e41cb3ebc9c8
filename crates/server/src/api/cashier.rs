//! The cashier's day, and money that belongs to no invoice yet.

use super::{Answer, ApiRouter, Caller, Json, Params, Path};
use crate::state::AppState;
use axum::extract::State;
use billing::cashier::CashierDay;
use billing::invoice::InvoiceView;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new().routes(routes!(cashier_day)).routes(routes!(allocate))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct DayParams {
    /// A day of the clinic's zone; today if not given.
    #[param(value_type = Option<String>, format = Date)]
    date: Option<jiff::civil::Date>,
}

/// What came in, what is to collect, and whether the books balance.
#[utoipa::path(get, path = "/api/v1/cashier/day", tag = "money", params(DayParams),
    responses((status = 200, body = CashierDay)))]
async fn cashier_day(
    State(app): State<AppState>,
    caller: Caller,
    Params(params): Params<DayParams>,
) -> Answer<Json<CashierDay>> {
    Ok(Json(app.parts.billing.cashier_day(&caller.0, params.date).await?))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Allocation {
    invoice_id: String,
}

/// Gives set-aside money to an invoice.
#[utoipa::path(post, path = "/api/v1/cashier/unallocated/{key}/allocate", tag = "money",
    params(("key" = String, Path)), request_body = Allocation, responses((status = 200, body = InvoiceView)))]
async fn allocate(
    State(app): State<AppState>,
    caller: Caller,
    Path(key): Path<String>,
    Json(body): Json<Allocation>,
) -> Answer<Json<InvoiceView>> {
    Ok(Json(app.parts.billing.allocate(&caller.0, &key, &body.invoice_id).await?))
}
