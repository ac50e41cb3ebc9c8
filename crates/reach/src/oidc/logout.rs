//! Back-channel logout tokens (OpenID Connect Back-Channel Logout 1.0 §2.6). They need not name a person, so the library's
//! ID tokens cannot read them; its keys check them.

use super::{ALGORITHMS, Checked, LEEWAY_S, TOKEN_BYTES};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use openidconnect::core::{CoreJsonWebKeySet, CoreJwsSigningAlgorithm};
use openidconnect::{JsonWebKey as _, SignatureVerificationError};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What the token's `events` must have.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// Without `exp` a token counts so long after it was issued, seconds.
const LIVES_S: i64 = 120;

/// The provider ended sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutToken {
    /// Of this person,
    pub subject: Option<String>,
    /// or only this session of the provider.
    pub sid: Option<String>,
    /// Names the token: it counts once.
    pub hash: [u8; 32],
    /// It counts no longer after this.
    pub expires_at: Timestamp,
}

fn json(text: &str) -> Option<Value> {
    let value: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
    value.is_object().then_some(value)
}

fn seconds(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_f64().map(|n| n as i64))
}

pub(super) fn check(
    token: &str,
    keys: &CoreJsonWebKeySet,
    issuer: &str,
    client_id: &str,
    now: Timestamp,
) -> Result<LogoutToken, Checked> {
    let wrong = |text: &str| Checked::Wrong(format!("the logout token {text}"));
    let unreadable = || wrong("cannot be read");
    if token.len() > TOKEN_BYTES {
        return Err(wrong("is too long"));
    }
    let (signed, signature) = token.rsplit_once('.').ok_or_else(unreadable)?;
    let (header, claims) = signed.split_once('.').ok_or_else(unreadable)?;
    let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| unreadable())?;
    let (header, claims) = json(header).zip(json(claims)).ok_or_else(unreadable)?;
    let algorithm: CoreJwsSigningAlgorithm =
        serde_json::from_value(header["alg"].clone()).map_err(|_| wrong("has no algorithm that counts"))?;
    if !ALGORITHMS.contains(&algorithm) || header.get("crit").is_some() {
        return Err(wrong("has no algorithm that counts"));
    }
    // Not an ID token, whatever it says of itself otherwise.
    if header["typ"]
        .as_str()
        .is_some_and(|typ| !matches!(typ.to_ascii_lowercase().as_str(), "jwt" | "logout+jwt"))
    {
        return Err(wrong("is something else (typ)"));
    }
    let kid = header["kid"].as_str();
    let mut fitting =
        keys.keys().iter().filter(|key| kid.is_none() || key.key_id().map(|id| id.as_str()) == kid);
    let is_signed = fitting.any(|key| {
        let checked = key.verify_signature(&algorithm, signed.as_bytes(), &signature);
        !matches!(checked, Err(SignatureVerificationError::Other(_))) && checked.is_ok()
    });
    if !is_signed {
        return Err(Checked::UnknownKey);
    }
    if claims["iss"].as_str() != Some(issuer) {
        return Err(wrong("is another issuer's (iss)"));
    }
    let is_for_us = match &claims["aud"] {
        Value::String(aud) => aud == client_id,
        Value::Array(all) => all.iter().any(|aud| aud.as_str() == Some(client_id)),
        _ => false,
    };
    if !is_for_us {
        return Err(wrong("was made for another client (aud)"));
    }
    let issued = seconds(&claims["iat"]).ok_or_else(|| wrong("does not say when it was issued"))?;
    let until = seconds(&claims["exp"]).unwrap_or(issued.saturating_add(LIVES_S)).saturating_add(LEEWAY_S);
    if issued > now.as_second() + LEEWAY_S || until <= now.as_second() {
        return Err(wrong("is too old or not valid yet"));
    }
    if claims["events"].get(EVENT).is_none_or(|event| !event.is_object()) {
        return Err(wrong("is about something else (events)"));
    }
    if claims.get("nonce").is_some() {
        return Err(wrong("is an ID token (nonce)"));
    }
    let text =
        |name: &str| claims[name].as_str().filter(|t| !t.is_empty() && t.len() <= 255).map(str::to_owned);
    let (subject, sid) = (text("sub"), text("sid"));
    if subject.is_none() && sid.is_none() {
        return Err(wrong("names nobody"));
    }
    let jti = text("jti").ok_or_else(|| wrong("has no id (jti)"))?;
    let hash = Sha256::digest(format!("logout\n{issuer}\n{jti}").as_bytes()).into();
    let expires_at = Timestamp::from_second(until).unwrap_or(Timestamp::MAX);
    Ok(LogoutToken { subject, sid, hash, expires_at })
}
