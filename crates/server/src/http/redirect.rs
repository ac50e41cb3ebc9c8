//! The port without TLS: it answers nothing but where to go instead.

use super::acme::Challenges;
use axum::Router;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, LOCATION};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;

/// Longest name of a host that is sent back.
const HOST_CHARS_MAX: usize = 255;

/// Where ACME proves that a name is ours (RFC 8555 §8.3).
const PROOFS: &str = "/.well-known/acme-challenge/";

/// Where the other port is.
struct Target {
    /// `https://host[:port]` if it is configured; else what the client called, with this port.
    url: Option<String>,
    port: u16,
    proofs: Challenges,
}

/// Sends pages to `https://`. What would carry something is refused instead: it has gone over the network in the clear
/// already, and would again.
pub fn router(public_url: Option<&str>, port: u16, proofs: Challenges) -> Router {
    let url = public_url.filter(|url| url.starts_with("https://")).map(str::to_owned);
    Router::new().fallback(answer).with_state(Arc::new(Target { url, port, proofs }))
}

async fn answer(State(target): State<Arc<Target>>, method: Method, headers: HeaderMap, uri: Uri) -> Response {
    let no_store = (CACHE_CONTROL, "no-store");
    if method != Method::GET && method != Method::HEAD {
        return (StatusCode::FORBIDDEN, [no_store], "Only over https.\n").into_response();
    }
    if let Some(token) = uri.path().strip_prefix(PROOFS) {
        return match target.proofs.answer(token) {
            Some(answer) => ([(CONTENT_TYPE, "application/octet-stream"), no_store], answer).into_response(),
            None => StatusCode::NOT_FOUND.into_response(),
        };
    }
    let base = match &target.url {
        Some(url) => Some(url.clone()),
        None => headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(|host| {
            let name = name(host)?;
            Some(if target.port == 443 {
                format!("https://{name}")
            } else {
                format!("https://{name}:{}", target.port)
            })
        }),
    };
    let Some(base) = base else {
        return (StatusCode::BAD_REQUEST, [no_store], "No host.\n").into_response();
    };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    // `//elsewhere` would be another host, were it not behind one.
    let location = format!("{base}/{}", path.trim_start_matches('/'));
    (StatusCode::PERMANENT_REDIRECT, [(LOCATION, location.as_str()), no_store]).into_response()
}

/// The host without its port; `None` for what is no name and no address.
fn name(host: &str) -> Option<&str> {
    let end = match host.strip_prefix('[') {
        Some(rest) => rest.find(']')? + 2,
        None => host.find(':').unwrap_or(host.len()),
    };
    let (name, port) = host.split_at_checked(end)?;
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.parse::<u16>().is_ok());
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':' | b'[' | b']');
    let is_good = !name.is_empty() && name.len() <= HOST_CHARS_MAX && name.bytes().all(is_name);
    (is_port && is_good).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_and_addresses_are_sent_back() {
        for (host, expected) in [
            ("clinic.example", Some("clinic.example")),
            ("clinic.example:80", Some("clinic.example")),
            ("[::1]:8080", Some("[::1]")),
            ("10.0.0.1", Some("10.0.0.1")),
            ("", None),
            (":80", None),
            ("a b", None),
            ("evil.example/path", None),
            ("user@evil.example", None),
            ("a:80:90", None),
            ("[::1", None),
        ] {
            assert_eq!(name(host), expected, "{host}");
        }
    }
}
