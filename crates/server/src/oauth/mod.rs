//! The endpoints of OAuth 2.1, OpenID Connect and SMART App Launch that applications talk to; what people see and
//! decide is in `api/oauth.rs`.

mod authorize;
pub mod discovery;
mod form;
pub mod keys;
mod token;

use crate::http::headers;
use crate::state::AppState;
use axum::Router;
use axum::routing::{get, post};

/// Where the web client asks the person; the request's id stands in `?request=`.
pub const CONSENT_PAGE: &str = "/authorize";

/// Everything under `/oauth`, and the discovery documents at the root.
pub fn router() -> Router<AppState> {
    let live = Router::new()
        .route("/oauth/authorize", get(authorize::by_get).post(authorize::by_post))
        .route("/oauth/token", post(token::token))
        .route("/oauth/introspect", post(token::introspect))
        .route("/oauth/revoke", post(token::revoke))
        .route("/oauth/userinfo", get(token::userinfo).post(token::userinfo))
        .layer(axum::middleware::from_fn(headers::no_store));
    Router::new()
        .route("/oauth/jwks", get(discovery::jwks))
        .route("/.well-known/openid-configuration", get(discovery::openid))
        .route("/.well-known/oauth-authorization-server", get(discovery::openid))
        .merge(live)
}
