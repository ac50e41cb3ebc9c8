//! Where a sign-in comes from: address, browser, and what this browser keeps between sign-ins.

use super::address::ClientAddress;
use crate::state::{App, AppState};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, header};
use record::authn::Origin;
use std::convert::Infallible;

/// A browser is known for this long after its last sign-in, seconds.
const DEVICE_S: i64 = 180 * 24 * 3600;
/// A shared device stays one until it is taken off the list; browsers keep cookies for 400 days at most.
const SHARED_S: i64 = 400 * 24 * 3600;
/// A person may be so long at an outside provider, seconds.
const WAY_S: i64 = record::authn::outside::WAY.as_secs();
/// Longest token that is looked at.
const TOKEN_CHARS: usize = 100;

/// The origin of a request that signs somebody in.
pub struct SigningIn(pub Origin);

impl FromRequestParts<AppState> for SigningIn {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Infallible> {
        let kept = |name| {
            cookie(&parts.headers, name)
                .filter(|t| t.len() <= TOKEN_CHARS && !t.is_empty())
                .map(str::to_owned)
        };
        let agent = parts.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default();
        Ok(SigningIn(Origin {
            address: ClientAddress::of(parts).0,
            device: kept(device_cookie(app)),
            device_name: device_name(agent),
            shared_device: kept(shared_cookie(app)),
            request_id: super::request_id::current(),
        }))
    }
}

fn device_cookie(app: &App) -> &'static str {
    if app.is_secure() { "__Host-uzima-device" } else { "uzima-device" }
}

fn shared_cookie(app: &App) -> &'static str {
    if app.is_secure() { "__Host-uzima-shared" } else { "uzima-shared" }
}

fn way_cookie(app: &App) -> &'static str {
    if app.is_secure() { "__Host-uzima-provider" } else { "uzima-provider" }
}

/// What the browser keeps while it is at an outside provider.
pub fn way<'a>(headers: &'a HeaderMap, app: &App) -> Option<&'a str> {
    cookie(headers, way_cookie(app)).filter(|text| !text.is_empty())
}

/// Sets it; an empty text takes it away.
pub fn set_way(headers: &mut HeaderMap, app: &App, kept: &str) {
    set(headers, app, way_cookie(app), kept, if kept.is_empty() { 0 } else { WAY_S });
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies =
        headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    cookies.filter_map(|pair| pair.trim().split_once('=')).find(|(n, _)| *n == name).map(|(_, value)| value)
}

fn set(headers: &mut HeaderMap, app: &App, name: &str, value: &str, max_age_s: i64) {
    let secure = if app.is_secure() { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; Max-Age={max_age_s}; HttpOnly; SameSite=Lax{secure}");
    if let Ok(value) = HeaderValue::from_str(&text) {
        headers.append(header::SET_COOKIE, value);
    }
}

/// The session's cookie; an empty token takes it away.
pub fn set_session(headers: &mut HeaderMap, app: &App, token: &str, max_age_s: i64) {
    set(headers, app, app.cookie_name(), token, max_age_s);
}

/// What makes the browser known after a sign-in.
pub fn set_device(headers: &mut HeaderMap, app: &App, token: &str) {
    set(headers, app, device_cookie(app), token, DEVICE_S);
}

/// What makes the browser a shared device of the clinic.
pub fn set_shared(headers: &mut HeaderMap, app: &App, token: &str) {
    set(headers, app, shared_cookie(app), token, SHARED_S);
}

/// For people, e.g. `Firefox, Android`; empty for what is no browser of today.
fn device_name(agent: &str) -> String {
    let first = |names: &[(&'static str, &'static str)]| {
        names.iter().find(|(mark, _)| agent.contains(mark)).map(|(_, name)| *name)
    };
    // In this order: later ones also call themselves by the names of earlier ones.
    let browser = first(&[
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("SamsungBrowser", "Samsung Internet"),
        ("Firefox/", "Firefox"),
        ("FxiOS", "Firefox"),
        ("CriOS", "Chrome"),
        ("Chrome/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = first(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("CrOS", "ChromeOS"),
        ("Mac OS", "Mac"),
        ("Linux", "Linux"),
    ]);
    [browser, system].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::device_name;

    #[test]
    fn devices_have_names() {
        let cases = [
            ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox, Linux"),
            (
                "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0 Mobile Safari/537.36",
                "Chrome, Android",
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 Version/18.0 Safari/604.1",
                "Safari, iPhone",
            ),
            ("curl/8.5", ""),
        ];
        for (agent, expected) in cases {
            assert_eq!(device_name(agent), expected, "{agent}");
        }
    }
}
