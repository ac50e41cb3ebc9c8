//! SMART discovery: only what is true of this server.

use super::FhirAnswer;
use super::negotiate;
use crate::state::AppState;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

/// `GET /.well-known/smart-configuration` (SMART App Launch 2.2 §4): backend services with a client secret.
pub async fn configuration(State(app): State<AppState>) -> FhirAnswer {
    let body = json!({
        "token_endpoint": format!("{}/oauth/token", app.public_url),
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "grant_types_supported": ["client_credentials"],
        "scopes_supported": ["system/*.cruds", "system/*.rs"],
        "capabilities": ["client-confidential-symmetric", "permission-v2"],
    });
    let mut response = negotiate::json(StatusCode::OK, body.to_string());
    response
        .headers_mut()
        .insert(axum::http::header::CONTENT_TYPE, axum::http::HeaderValue::from_static("application/json"));
    Ok(response)
}
