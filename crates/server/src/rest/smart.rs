//! SMART discovery.

use super::FhirAnswer;
use super::negotiate;
use crate::state::AppState;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};

/// `GET /.well-known/smart-configuration` (SMART App Launch 2.2 §4).
pub async fn configuration(State(app): State<AppState>) -> FhirAnswer {
    let body = crate::oauth::discovery::smart(&app);
    let mut response = negotiate::json(StatusCode::OK, body.to_string());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}
