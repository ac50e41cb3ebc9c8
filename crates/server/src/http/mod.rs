//! The HTTP server: one router, one stack of layers.

pub mod acme;
pub mod address;
pub mod body;
pub mod caller;
pub mod csrf;
pub mod error;
pub(crate) mod headers;
pub mod health;
mod idempotency;
pub mod listen;
pub mod metrics;
mod observe;
pub mod origin;
pub mod rate;
pub mod redirect;
mod refusals;
pub mod report;
pub mod request_id;
mod security_txt;
pub mod version;

pub use address::ClientAddress;
pub use body::{Json, MaybeJson, Params, Path};
pub use caller::{AnySession, Caller, FhirCaller, Language, MaybeCaller, SessionCaller};
pub use error::{Answer, ApiError, FhirError, FieldError, Problem, Refusal, RefusalKind};
pub use origin::SigningIn;
pub use version::{IfMatch, Versioned};

use crate::state::AppState;
use axum::Router;
use axum::http::Request;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

/// Answers smaller than this, in bytes, are not compressed: it costs more than it saves.
const COMPRESS_ABOVE: u16 = 1024;

/// Largest callback of a provider, bytes; theirs have one or two thousand.
const HOOK_BYTES: usize = 64 * 1024;

/// Everything the server answers.
pub fn router(app: AppState) -> Router {
    let (api, _) = crate::api::router();
    let guarded = Router::new()
        .merge(api)
        .merge(crate::rest::router(&app))
        .layer(from_fn_with_state(app.clone(), refusals::note))
        .layer(from_fn_with_state(app.clone(), idempotency::bind))
        .layer(from_fn_with_state(app.clone(), csrf::protect))
        .layer(from_fn_with_state(app.clone(), rate::by_address))
        .layer(axum::middleware::from_fn(headers::no_store));
    // Forms of other sites may come here, but never with our cookie.
    let oauth = crate::rest::allow_origins(crate::oauth::router(), &app.config.http.cors_origins)
        .layer(from_fn_with_state(app.clone(), csrf::protect_cookie))
        .layer(from_fn_with_state(app.clone(), rate::by_address));
    let sockets = crate::ws::router().layer(from_fn_with_state(app.clone(), rate::by_address));
    // Whoever calls: what these send is read before they are known.
    let open = crate::hooks::router()
        .layer(axum::extract::DefaultBodyLimit::max(HOOK_BYTES))
        .route(report::PATH, axum::routing::post(report::receive))
        .layer(from_fn_with_state(app.clone(), rate::places));
    let compress = CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(
        // Streams and what is compressed already.
        SizeAbove::new(COMPRESS_ABOVE)
            .and(NotForContentType::IMAGES)
            .and(NotForContentType::SSE)
            .and(NotForContentType::const_new("application/pdf"))
            .and(NotForContentType::const_new("application/zip")),
    );
    Router::new()
        .merge(guarded)
        .merge(oauth)
        .merge(open)
        .merge(sockets)
        .route("/.well-known/security.txt", get(security_txt::show))
        .route("/security.txt", get(security_txt::show))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .fallback(crate::web::fallback)
        .layer(compress)
        .layer(axum::middleware::from_fn_with_state(app.clone(), headers::secure))
        .layer(from_fn_with_state(app.clone(), observe::observe))
        .with_state(app)
}

/// `/api/v1/patients/` is `/api/v1/patients`; done before routing.
pub fn without_trailing_slash<B>(mut request: Request<B>) -> Request<B> {
    let uri = request.uri();
    let path = uri.path();
    let is_ours = ["/api/", "/fhir/", "/oauth/"].iter().any(|p| path.starts_with(p));
    if !is_ours || !path.ends_with('/') {
        return request;
    }
    let trimmed = path.trim_end_matches('/');
    let text = match uri.query() {
        Some(query) => format!("{trimmed}?{query}"),
        None => trimmed.to_owned(),
    };
    if let Ok(path_and_query) = text.parse::<axum::http::uri::PathAndQuery>() {
        let mut parts = uri.clone().into_parts();
        parts.path_and_query = Some(path_and_query);
        if let Ok(uri) = axum::http::Uri::from_parts(parts) {
            *request.uri_mut() = uri;
        }
    }
    request
}
