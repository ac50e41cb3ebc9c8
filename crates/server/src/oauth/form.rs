//! Forms of the OAuth endpoints, and who a client says it is.

use crate::http::body;
use crate::http::error::{OAuthError, OAuthProblem};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use base64::Engine as _;
use record::oauth::{ClientClaim, Proof};
use std::collections::HashMap;

/// Largest form, bytes.
const FORM_BYTES: usize = 32 * 1024;
/// RFC 7523 §2.2
const ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

pub fn bad(text: &'static str) -> OAuthError {
    OAuthError::Request(OAuthProblem::InvalidRequest, text)
}

/// Parameters, each once (RFC 6749 §3.2); those without a value count as missing.
pub struct Form(HashMap<String, String>);

impl Form {
    /// `None` if a parameter is there twice.
    pub fn parse(bytes: &[u8]) -> Option<Form> {
        let mut all = HashMap::new();
        for (name, value) in form_urlencoded::parse(bytes) {
            if all.insert(name.into_owned(), value.into_owned()).is_some() {
                return None;
            }
        }
        all.retain(|_, value: &mut String| !value.is_empty());
        Some(Form(all))
    }

    /// The form of a POST and its headers. Errors: `invalid_request`.
    pub async fn read(request: Request) -> Result<(HeaderMap, Form), OAuthError> {
        let headers = request.headers().clone();
        body::require_json(&headers, &["application/x-www-form-urlencoded"])
            .map_err(|_| bad("Send application/x-www-form-urlencoded."))?;
        let bytes =
            body::read(request, FORM_BYTES).await.map_err(|_| bad("The form is too large or broke off."))?;
        Ok((headers, Form::parse(&bytes).ok_or_else(|| bad("A parameter is there twice."))?))
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.0.remove(name)
    }
    /// Errors: `invalid_request` with `text`.
    pub fn need(&self, name: &str, text: &'static str) -> Result<&str, OAuthError> {
        self.get(name).ok_or_else(|| bad(text))
    }

    /// Who the client says it is, in one way. Errors: `invalid_request` for two ways, `invalid_client`.
    pub fn claim(&self, headers: &HeaderMap) -> Result<ClientClaim, OAuthError> {
        let id = self.get("client_id").map(str::to_owned);
        let basic = basic(headers)?;
        let ways =
            [basic.is_some(), self.get("client_secret").is_some(), self.get("client_assertion").is_some()];
        if ways.iter().filter(|used| **used).count() > 1 {
            return Err(bad("Use one way to authenticate, not two."));
        }
        if let Some((named, secret)) = basic {
            if id.is_some_and(|id| id != named) {
                return Err(bad("client_id is another than that of the header."));
            }
            return Ok(ClientClaim { id: Some(named), proof: Proof::Secret(secret) });
        }
        if let Some(assertion) = self.get("client_assertion") {
            if self.get("client_assertion_type") != Some(ASSERTION) {
                return Err(bad("client_assertion_type is not that of a JWT."));
            }
            return Ok(ClientClaim { id, proof: Proof::Assertion(assertion.to_owned()) });
        }
        let proof = self.get("client_secret").map_or(Proof::None, |s| Proof::Secret(s.to_owned()));
        if id.is_none() {
            return Err(OAuthError::Record(record::Error::Unauthenticated));
        }
        Ok(ClientClaim { id, proof })
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
