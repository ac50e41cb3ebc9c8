//! `/healthz`, `/readyz`, `/metrics`.

use super::address::ClientAddress;
use super::error::{ApiError, Refusal, RefusalKind};
use crate::state::AppState;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

/// The process runs.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// The database takes writes, its migrations are those of this program, and the server is not stopping.
pub async fn readyz(State(app): State<AppState>) -> Response {
    if app.stopping.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n").into_response();
    }
    match crate::storage::check(&app.record).await {
        Ok(()) => "ready\n".into_response(),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "database not ready\n").into_response()
        }
    }
}

/// Headers that a proxy adds: a request that has one comes from elsewhere, although its connection comes from here.
const FORWARDED: &[&str] = &["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// Prometheus text format, for this machine, or with the token of the configuration; else 404, as if it were not there.
pub async fn metrics(
    State(app): State<AppState>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
) -> Response {
    let is_local =
        address.is_some_and(|a| a.is_loopback()) && !FORWARDED.iter().any(|n| headers.contains_key(*n));
    let given = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
    let has_token = match (&app.config.http.metrics_token, given) {
        // Hashes are compared, so that the time taken says nothing about the token.
        (Some(own), Some(given)) => Sha256::digest(own.expose()) == Sha256::digest(given),
        _ => false,
    };
    if !is_local && !has_token {
        let refusal = Refusal::new(RefusalKind::RouteUnknown, "There is no such file.");
        return ApiError::from(refusal).into_response();
    }
    let text = app.metrics.render() + &app.parts.backups.render(app.record.now());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
