//! `ETag` and `If-Match` of things with a version number.

use super::error::{ApiError, Refusal, RefusalKind};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// `200` with JSON and `ETag: W/"<version>"`.
pub struct Versioned<T>(pub u32, pub T);

impl<T: Serialize> IntoResponse for Versioned<T> {
    fn into_response(self) -> Response {
        let mut response = axum::Json(self.1).into_response();
        response.headers_mut().insert(header::ETAG, etag(self.0));
        response
    }
}

/// The version of `If-Match`, `None` without the header; 400 if it is no version of ours.
pub struct IfMatch(pub Option<u32>);

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(IfMatch(if_match(&parts.headers)?))
    }
}

/// The version in `If-Match`; `*` counts as none. Errors: 400 for anything but `W/"n"` or `"n"`.
pub fn if_match(headers: &HeaderMap) -> Result<Option<u32>, Refusal> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    if text == "*" {
        return Ok(None);
    }
    parse_etag(text).map(Some).ok_or_else(|| {
        Refusal::new(RefusalKind::ParameterWrong, "If-Match must be one version, e.g. W/\"3\".")
            .at("If-Match")
    })
}

/// `W/"3"` or `"3"` → 3.
pub fn parse_etag(text: &str) -> Option<u32> {
    let text = text.trim();
    text.strip_prefix("W/").unwrap_or(text).strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

/// `W/"<version>"`
pub fn etag(version: u32) -> HeaderValue {
    HeaderValue::from_str(&format!("W/\"{version}\"")).unwrap_or(HeaderValue::from_static("W/\"0\""))
}
