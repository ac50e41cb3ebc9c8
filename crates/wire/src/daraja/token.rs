//! OAuth client credentials: `GET /oauth/v1/generate?grant_type=client_credentials`.

use super::error::{ApiError, Endpoint, ErrorKind};
use crate::json;
use base64::Engine as _;
use std::fmt;

/// Lifetime assumed when the answer names none, in seconds.
const EXPIRES_IN_DEFAULT_S: u32 = 3599;

/// A bearer token. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct AccessToken {
    /// Goes into `Authorization: Bearer …`.
    pub token: String,
    /// Seconds from the moment of the answer; callers refresh somewhat earlier.
    pub expires_in_s: u32,
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AccessToken(***, {} s)", self.expires_in_s)
    }
}

/// The value of the `Authorization` header for [super::OAUTH_PATH].
pub fn basic_authorization(consumer_key: &str, consumer_secret: &str) -> String {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{consumer_key}:{consumer_secret}"));
    format!("Basic {pair}")
}

/// Reads the answer of [super::OAUTH_PATH]. `expires_in` is a string in practice.
///
/// Errors: an [ApiError] of [ErrorKind::WrongCredentials] for the empty HTTP 400 that wrong keys get.
pub fn parse_token(status: u16, body: &[u8]) -> Result<AccessToken, ApiError> {
    if !(200..300).contains(&status) {
        return Err(ApiError::parse(Endpoint::Token, status, body));
    }
    let unreadable = || ApiError::of_kind(Endpoint::Token, status, ErrorKind::Unreadable);
    let map = json::object(body).ok_or_else(unreadable)?;
    let token =
        json::field(&map, &["access_token"]).filter(|token| !token.is_empty()).ok_or_else(unreadable)?;
    let expires_in_s =
        json::field(&map, &["expires_in"]).and_then(|text| text.parse().ok()).unwrap_or(EXPIRES_IN_DEFAULT_S);
    Ok(AccessToken { token, expires_in_s })
}
