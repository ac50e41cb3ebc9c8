//! Writes with the session cookie must come from our own pages.
//!
//! Browsers send `Sec-Fetch-Site` (and `Origin`) with every unsafe request and pages cannot forge them; a request with
//! neither and with a cookie comes from no browser of today and is refused. Requests with a bearer token need no
//! protection, because no browser adds the token by itself.

use super::error::{ApiError, Refusal, RefusalKind};
use crate::state::AppState;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Middleware for everything that a cookie can open.
pub async fn protect(State(app): State<AppState>, request: Request, next: Next) -> Response {
    if is_allowed(request.method(), request.headers(), &app.public_url, app.cookie_name()) {
        return next.run(request).await;
    }
    refuse()
}

/// Middleware for routes that pages of other sites may write to, as long as they bring no cookie of ours.
pub async fn protect_cookie(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let (headers, name) = (request.headers(), app.cookie_name());
    let has_cookie =
        matches!(super::caller::credential(headers, name), Some(super::caller::Credential::Cookie(_)));
    if !has_cookie || is_allowed(request.method(), headers, &app.public_url, name) {
        return next.run(request).await;
    }
    refuse()
}

fn refuse() -> Response {
    ApiError::from(Refusal::new(
        RefusalKind::OriginForeign,
        "This write did not come from a page of this server. API users send a bearer token instead of the cookie.",
    ))
    .into_response()
}

fn is_allowed(method: &Method, headers: &HeaderMap, public_url: &str, cookie_name: &str) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
        || headers.contains_key(header::AUTHORIZATION)
    {
        return true;
    }
    match headers.get("sec-fetch-site").and_then(|v| v.to_str().ok()) {
        Some("same-origin" | "none") => return true,
        Some(_) => return false,
        None => {}
    }
    match headers.get(header::ORIGIN) {
        Some(origin) => is_own_origin(origin.to_str().unwrap_or_default(), headers, public_url),
        None => super::caller::credential(headers, cookie_name).is_none(),
    }
}

/// Whether `origin` is the public address, or the host this request was sent to. Where the public address is https, a
/// page of plain http is another site: anybody on the way may have written it.
pub fn is_own_origin(origin: &str, headers: &HeaderMap, public_url: &str) -> bool {
    if origin == public_url {
        return true;
    }
    let host = headers.get(header::HOST).and_then(|v| v.to_str().ok());
    let plain = origin.strip_prefix("http://").filter(|_| !public_url.starts_with("https://"));
    let origin_host = origin.strip_prefix("https://").or(plain);
    host.is_some() && host == origin_host
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Method, headers, whether it passes.
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], bool);

    #[test]
    fn cookie_writes_need_our_origin() {
        let cases: &[Case<'_>] = &[
            ("GET", &[("cookie", "uzima=a")], true),
            ("POST", &[], true),
            ("POST", &[("cookie", "uzima=a")], false),
            ("POST", &[("cookie", "other=a")], true),
            ("POST", &[("cookie", "uzima=a"), ("origin", "https://clinic.example")], true),
            (
                "POST",
                &[("cookie", "uzima=a"), ("origin", "https://localhost:1"), ("host", "localhost:1")],
                true,
            ),
            (
                "POST",
                &[("cookie", "uzima=a"), ("origin", "http://localhost:1"), ("host", "localhost:1")],
                false,
            ),
            (
                "POST",
                &[("cookie", "uzima=a"), ("origin", "http://clinic.example"), ("host", "clinic.example")],
                false,
            ),
            (
                "POST",
                &[("cookie", "uzima=a"), ("origin", "https://evil.example"), ("host", "clinic.example")],
                false,
            ),
            ("POST", &[("cookie", "uzima=a"), ("origin", "null")], false),
            ("POST", &[("origin", "https://evil.example")], false),
            ("DELETE", &[("cookie", "uzima=a"), ("sec-fetch-site", "same-origin")], true),
            ("PUT", &[("cookie", "uzima=a"), ("sec-fetch-site", "same-site")], false),
            ("PUT", &[("sec-fetch-site", "cross-site"), ("origin", "https://clinic.example")], false),
            (
                "POST",
                &[("cookie", "uzima=a"), ("authorization", "Bearer x"), ("origin", "https://evil.example")],
                true,
            ),
        ];
        for (method, pairs, expected) in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in *pairs {
                headers.insert(
                    axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    axum::http::HeaderValue::from_static(value),
                );
            }
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            assert_eq!(
                is_allowed(&method, &headers, "https://clinic.example", "uzima"),
                *expected,
                "{method} {pairs:?}"
            );
        }
        let mut host = HeaderMap::new();
        host.insert(header::HOST, axum::http::HeaderValue::from_static("clinic.local"));
        assert!(
            is_own_origin("http://clinic.local", &host, "http://10.0.0.5"),
            "a clinic without certificate"
        );
    }
}
