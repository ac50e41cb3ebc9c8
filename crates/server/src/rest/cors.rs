//! Calls from pages of other origins, as far as the configuration names them.
//!
//! Credentials are never a cookie here: pages of other origins send a bearer token, and the answer says nothing about
//! credentials, so that browsers keep cookies out.

use crate::state::AppState;
use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use std::time::Duration;
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may remember a preflight.
const MAX_AGE: Duration = Duration::from_secs(3600);

/// The routes, open to pages of these origins (`*`: any). Without any the routes are as they were.
pub fn allow(routes: Router<AppState>, origins: &[String]) -> Router<AppState> {
    let origin = if origins.iter().any(|origin| origin == "*") {
        AllowOrigin::any()
    } else {
        let origins: Vec<HeaderValue> =
            origins.iter().filter_map(|o| HeaderValue::from_str(o.trim_end_matches('/')).ok()).collect();
        if origins.is_empty() {
            return routes;
        }
        AllowOrigin::list(origins)
    };
    let name = HeaderName::from_static;
    let layer = CorsLayer::new()
        .allow_origin(origin)
        .allow_methods([
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
            Method::OPTIONS,
        ])
        .allow_headers([
            header::ACCEPT,
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::IF_MODIFIED_SINCE,
            name("if-none-exist"),
            name("idempotency-key"),
            name("prefer"),
            name("x-request-id"),
            name("x-requested-with"),
        ])
        .expose_headers([
            header::ETAG,
            header::LAST_MODIFIED,
            header::LOCATION,
            header::CONTENT_LOCATION,
            header::RETRY_AFTER,
            name("x-progress"),
            name("x-request-id"),
        ])
        .max_age(MAX_AGE);
    routes.layer(layer)
}
