//! `Idempotency-Key`: bound to what it was sent with, so that the same key with another body is refused, not replayed.

use super::error::{ApiError, Refusal, RefusalKind};
use crate::state::AppState;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// Longest key, characters.
const KEY_MAX: usize = 128;
const HEADER: &str = "idempotency-key";

/// Headers that say what a write means: the same body under another condition is another request.
const CONDITIONS: [&str; 3] = ["if-match", "if-none-match", "if-none-exist"];

/// The client's key and the fingerprint of method, path, query, conditions and body, as [record] wants them:
/// `<key>\n<hex SHA-256>`.
#[derive(Debug, Clone)]
pub struct IdempotencyKey(pub String);

/// Reads the body of a write that carries a key, and passes both on; of a caller who is known. Nobody else has keys, and
/// nobody else's body is read before the route asks for it. Errors: 400 for a key that is empty or too long; 413 for a body over the limit.
pub async fn bind(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let Some(key) = request.headers().get(HEADER) else { return next.run(request).await };
    let key = key.to_str().unwrap_or_default().trim().to_owned();
    if !(1..=KEY_MAX).contains(&key.chars().count()) {
        let text = format!("An Idempotency-Key has 1 to {KEY_MAX} visible characters.");
        return ApiError::from(Refusal::new(RefusalKind::ParameterWrong, text).at("Idempotency-Key"))
            .into_response();
    }
    match super::caller::authenticate(&app, request.headers(), None).await {
        Ok(known) if known.principal != access::Principal::Anonymous => {}
        // The route says what is wrong.
        Ok(_) | Err(_) => return next.run(request).await,
    }
    let (mut parts, body) = request.into_parts();
    let limit = super::body::limit(&app, parts.uri.path());
    let Ok(bytes) = to_bytes(body, limit).await else {
        let text = format!("The body may have at most {limit} bytes.");
        return ApiError::from(Refusal::new(RefusalKind::BodyTooLarge, text)).into_response();
    };
    let mut hasher = Sha256::new();
    hasher.update(parts.method.as_str());
    hasher.update([0]);
    hasher.update(parts.uri.path());
    hasher.update([0]);
    hasher.update(&bytes);
    // Behind the body, and only if there are any: what was sent before is known by its older fingerprint.
    if let Some(query) = parts.uri.query() {
        hasher.update([0]);
        hasher.update(query);
    }
    for name in CONDITIONS {
        for value in parts.headers.get_all(name) {
            hasher.update([0]);
            hasher.update(name);
            hasher.update([0]);
            hasher.update(value.as_bytes());
        }
    }
    let mut bound = format!("{key}\n");
    for byte in hasher.finalize() {
        // Writing to a String cannot fail.
        let _ = write!(bound, "{byte:02x}");
    }
    parts.extensions.insert(IdempotencyKey(bound));
    next.run(Request::from_parts(parts, Body::from(bytes))).await
}
