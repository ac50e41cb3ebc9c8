//! `POST /oauth/token`: OAuth 2.0 client credentials (RFC 6749 §4.4).

use crate::http::body;
use crate::http::error::{OAuthError, OAuthProblem};
use crate::http::{ClientAddress, headers};
use crate::state::AppState;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use axum::routing::post;
use base64::Engine as _;
use serde_json::json;

/// Largest form, bytes.
const FORM_BYTES: usize = 16 * 1024;

/// The token endpoint.
pub fn router() -> Router<AppState> {
    Router::new().route("/oauth/token", post(token)).layer(axum::middleware::from_fn(headers::no_store))
}

async fn token(
    State(app): State<AppState>,
    ClientAddress(address): ClientAddress,
    request: Request,
) -> Result<impl IntoResponse, OAuthError> {
    let headers = request.headers().clone();
    let bad = |text: &'static str| OAuthError::Request(OAuthProblem::InvalidRequest, text);
    body::require_json(&headers, &["application/x-www-form-urlencoded"])
        .map_err(|_| bad("Send application/x-www-form-urlencoded."))?;
    let bytes =
        body::read(request, FORM_BYTES).await.map_err(|_| bad("The form is too large or broke off."))?;
    let form = Form::parse(&bytes).ok_or_else(|| bad("A parameter is there twice."))?;
    match form.grant_type.as_deref() {
        Some("client_credentials") => {}
        Some(_) => {
            return Err(OAuthError::Request(
                OAuthProblem::UnsupportedGrantType,
                "Only client_credentials is supported.",
            ));
        }
        None => return Err(bad("grant_type is missing.")),
    }
    let (id, secret) = match (basic(&headers)?, form.client_id, form.client_secret) {
        (Some(_), _, Some(_)) => return Err(bad("Use one way to authenticate, not two.")),
        (Some(pair), _, None) => pair,
        (None, Some(id), Some(secret)) => (id, secret),
        (None, _, _) => return Err(OAuthError::Record(record::Error::Unauthenticated)),
    };
    let token =
        app.record.token(&id, &secret, form.scope.as_deref(), address).await.map_err(OAuthError::Record)?;
    let body = json!({
        "access_token": token.token, "token_type": "Bearer", "expires_in": token.expires_in_s, "scope": token.scope,
    });
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::PRAGMA, "no-cache")], body.to_string()))
}

#[derive(Default)]
struct Form {
    grant_type: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    scope: Option<String>,
}

impl Form {
    /// `None` if a parameter is there twice (RFC 6749 §3.2). Empty values count as missing; unknown names are ignored.
    fn parse(bytes: &[u8]) -> Option<Form> {
        let mut form = Form::default();
        for (name, value) in form_urlencoded::parse(bytes) {
            let slot = match name.as_ref() {
                "grant_type" => &mut form.grant_type,
                "client_id" => &mut form.client_id,
                "client_secret" => &mut form.client_secret,
                "scope" => &mut form.scope,
                _ => continue,
            };
            if slot.is_some() {
                return None;
            }
            *slot = (!value.is_empty()).then(|| value.into_owned());
        }
        Some(form)
    }
}

/// RFC 6749 §2.3.1: both halves are form-encoded before they are joined and Base64-encoded.
fn basic(headers: &HeaderMap) -> Result<Option<(String, String)>, OAuthError> {
    let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(None) };
    let wrong = || OAuthError::Record(record::Error::Unauthenticated);
    let (scheme, encoded) = value.to_str().ok().and_then(|v| v.split_once(' ')).ok_or_else(wrong)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(wrong());
    }
    let bytes = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).map_err(|_| wrong())?;
    let text = String::from_utf8(bytes).map_err(|_| wrong())?;
    let (id, secret) = text.split_once(':').ok_or_else(wrong)?;
    let decode = |half: &str| {
        let half = half.replace('+', " ");
        percent_encoding::percent_decode_str(&half).decode_utf8().map(|t| t.into_owned()).map_err(|_| wrong())
    };
    Ok(Some((decode(id)?, decode(secret)?)))
}
