//! Delivery reports of Africa's Talking. Unsigned: the secret in the address decides.

use crate::http::error::ApiError;
use crate::state::AppState;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use sha2::{Digest, Sha256};

pub fn router() -> Router<AppState> {
    Router::new().route("/hooks/africastalking/{token}/delivery", post(delivery))
}

async fn delivery(
    State(app): State<AppState>,
    Path(token): Path<String>,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let own = app.config.africastalking.callback_token.as_ref().map(|t| t.expose().to_owned());
    // Hashes are compared, so that the time taken says nothing about the token.
    match own.filter(|t| !t.is_empty()) {
        Some(own) if Sha256::digest(own.as_bytes()) == Sha256::digest(token.as_bytes()) => {}
        _ => return Err(record::Error::NotFound.into()),
    }
    reach::sms::receive_report(&app.record, &body).await?;
    Ok(StatusCode::OK)
}
