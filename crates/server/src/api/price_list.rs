//! What services cost.

use super::types::List;
use super::{Answer, ApiRouter, Caller, Json, Path};
use crate::state::AppState;
use axum::extract::State;
use billing::price::{Price, PriceInput};
use utoipa_axum::routes;

pub fn routes() -> ApiRouter {
    ApiRouter::new().routes(routes!(list_prices)).routes(routes!(put_price))
}

/// All services with their prices.
#[utoipa::path(get, path = "/api/v1/price-list", tag = "money", responses((status = 200, body = List<Price>)))]
async fn list_prices(State(app): State<AppState>, caller: Caller) -> Answer<Json<List<Price>>> {
    Ok(Json(List::new(app.parts.billing.prices(&caller.0).await?, None)))
}

/// Sets name and price of a service; administrators.
#[utoipa::path(put, path = "/api/v1/price-list/{code}", tag = "money", params(("code" = String, Path)),
    request_body = PriceInput, responses((status = 200, body = Price)))]
async fn put_price(
    State(app): State<AppState>,
    caller: Caller,
    Path(code): Path<String>,
    Json(body): Json<PriceInput>,
) -> Answer<Json<Price>> {
    Ok(Json(app.parts.billing.put_price(&caller.0, &code, &body).await?))
}
