//! Callbacks of Safaricom Daraja. Unsigned: the secret in the address, and in `billing` the ids, the amount and a query
//! decide what is believed. Stored before they are answered.

use crate::http::ClientAddress;
use crate::http::error::ApiError;
use crate::state::{App, AppState};
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::json;

pub fn router() -> Router<AppState> {
    Router::new()
        .route("/hooks/daraja/stk/{token}", post(stk))
        .route("/hooks/daraja/c2b/{token}/validation", post(c2b_validation))
        .route("/hooks/daraja/c2b/{token}/confirmation", post(c2b_confirmation))
}

/// From an address outside the allow-list the hooks do not exist.
fn check_source(app: &App, address: ClientAddress) -> Result<(), ApiError> {
    let allowed = &app.config.daraja.ip_allow_list;
    if allowed.is_empty() || address.0.is_some_and(|a| allowed.contains(&a)) {
        return Ok(());
    }
    Err(record::Error::NotFound.into())
}

async fn stk(
    State(app): State<AppState>,
    address: ClientAddress,
    Path(token): Path<String>,
    body: Bytes,
) -> Result<impl IntoResponse, ApiError> {
    check_source(&app, address)?;
    app.parts.billing.receive_stk(&token, &body).await?;
    Ok(Json(json!({"ResultCode": 0, "ResultDesc": "Accepted"})))
}

async fn c2b_validation(
    State(app): State<AppState>,
    address: ClientAddress,
    Path(token): Path<String>,
    body: Bytes,
) -> Result<impl IntoResponse, ApiError> {
    check_source(&app, address)?;
    Ok(Json(app.parts.billing.validate_c2b(&token, &body).await?))
}

async fn c2b_confirmation(
    State(app): State<AppState>,
    address: ClientAddress,
    Path(token): Path<String>,
    body: Bytes,
) -> Result<impl IntoResponse, ApiError> {
    check_source(&app, address)?;
    Ok(Json(app.parts.billing.receive_c2b(&token, &body).await?))
}
