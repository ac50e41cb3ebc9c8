//! The pages for people: handsets, one handset, faults. Static files; each asks the control API and
//! follows its events, so that nothing a provider was sent is ever put into HTML.

use crate::handset;
use crate::state::Sandbox;
use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

/// Scripts and styles only from here; nothing else may be loaded or framed.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

pub(crate) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/", get(|| async { html(include_str!("pages/index.html")) }))
        .route("/handset/{msisdn}", get(handset_page))
        .route("/faults", get(|| async { html(include_str!("pages/faults.html")) }))
        .route("/assets/sandbox.css", get(|| async { asset("text/css", include_str!("pages/sandbox.css")) }))
        .route("/assets/common.js", get(|| async { script(include_str!("pages/common.js")) }))
        .route("/assets/index.js", get(|| async { script(include_str!("pages/index.js")) }))
        .route("/assets/handset.js", get(|| async { script(include_str!("pages/handset.js")) }))
        .route("/assets/faults.js", get(|| async { script(include_str!("pages/faults.js")) }))
        .fallback(get(not_found))
}

fn html(body: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::CACHE_CONTROL, "no-cache"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, body).into_response()
}

fn asset(content_type: &'static str, body: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-cache"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, body).into_response()
}

fn script(body: &'static str) -> Response {
    asset("text/javascript", body)
}

/// One address per handset: `+254 712…` and `0712…` lead to `254712…`.
async fn handset_page(Path(msisdn): Path<String>) -> Response {
    match handset::normalise(&msisdn) {
        Some(number) if number == msisdn => html(include_str!("pages/handset.html")),
        Some(number) => Redirect::to(&format!("/handset/{number}")).into_response(),
        None => not_found().await,
    }
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, html(include_str!("pages/missing.html"))).into_response()
}
