//! How applications show at the token endpoint that they are themselves.

use super::jose::{self, Jwt};
use super::refuse;
use super::token::{ClientClaim, Proof};
use crate::authn::{PER_ADDRESS, PER_NAME, secret};
use crate::{Error, Record};
use jiff::Timestamp;
use std::net::IpAddr;
use store::oauth::{Authentication, Client};
use subtle::ConstantTimeEq;

/// An assertion may be good for at most so long (SMART backend services: five minutes).
const ASSERTION_S: i64 = 5 * 60;
/// Clocks may differ by so much.
const SKEW_S: i64 = 30;
/// Longest id of an assertion, characters.
const MAX_JTI_CHARS: usize = 255;

impl Record {
    /// Errors: `Unauthenticated` for whoever is not that client, `Throttled`, `Busy`.
    pub(super) async fn authenticate_client(
        &self,
        claim: &ClientClaim,
        address: Option<IpAddr>,
    ) -> Result<Client, Error> {
        let now = self.now();
        let assertion = match &claim.proof {
            Proof::Assertion(text) => Some(Jwt::parse(text).ok_or(Error::Unauthenticated)?),
            _ => None,
        };
        let named = match (&claim.id, &assertion) {
            (Some(id), None) => id.as_str(),
            (id, Some(jwt)) => {
                let subject = jwt.text("sub").ok_or(Error::Unauthenticated)?;
                if id.as_deref().is_some_and(|id| id != subject) {
                    return Err(Error::Unauthenticated);
                }
                subject
            }
            (None, None) => return Err(Error::Unauthenticated),
        };
        // Ids of clients are no secret: somebody else's failures must not keep a client out.
        let from = address.map(|a| a.to_string()).unwrap_or_default();
        let by_client = format!("client/{}/{from}", named.chars().take(100).collect::<String>());
        let by_address = address.map(|a| format!("address/{a}"));
        self.inner.throttle.check(&by_client, now)?;
        if let Some(key) = &by_address {
            self.inner.throttle.check(key, now)?;
        }
        let id = named.to_owned();
        let client =
            self.reading(move |tx| Ok(store::oauth::client(tx, &id)?)).await?.filter(|c| !c.disabled);
        let client = match client {
            Some(client) if self.is_proved(&client, &claim.proof, assertion.as_ref(), now).await? => client,
            _ => {
                self.inner.throttle.failed(&by_client, PER_NAME, now);
                if let Some(key) = &by_address {
                    self.inner.throttle.failed(key, PER_ADDRESS, now);
                }
                return Err(Error::Unauthenticated);
            }
        };
        self.inner.throttle.succeeded(&by_client);
        Ok(client)
    }

    /// Each client proves itself in the one way it was registered for.
    async fn is_proved(
        &self,
        client: &Client,
        proof: &Proof,
        assertion: Option<&Jwt>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        match (client.facts.authentication, proof, assertion) {
            (Authentication::None, Proof::None, _) => Ok(true),
            (Authentication::Secret, Proof::Secret(given), _) => {
                Ok(bool::from(client.secret_hash.ct_eq(&secret::hash(given))))
            }
            (Authentication::Key, Proof::Assertion(_), Some(jwt)) => self.is_asserted(client, jwt, now).await,
            _ => Ok(false),
        }
    }

    /// SMART backend services: <https://hl7.org/fhir/smart-app-launch/client-confidential-asymmetric.html>.
    async fn is_asserted(&self, client: &Client, jwt: &Jwt, now: Timestamp) -> Result<bool, Error> {
        let issuer = self.issuer()?;
        let audiences = [format!("{issuer}/oauth/token"), issuer.to_owned()];
        let is_meant = match jwt.claims.get("aud") {
            Some(serde_json::Value::String(one)) => audiences.contains(one),
            Some(serde_json::Value::Array(all)) => {
                all.iter().any(|one| one.as_str().is_some_and(|one| audiences.iter().any(|a| a == one)))
            }
            _ => false,
        };
        let at = now.as_second();
        let in_time = jwt.seconds("exp").is_some_and(|exp| exp > at && exp <= at + ASSERTION_S + SKEW_S)
            && jwt.seconds("iat").is_none_or(|iat| iat <= at + SKEW_S)
            && jwt.seconds("nbf").is_none_or(|nbf| nbf <= at + SKEW_S);
        let own = jwt.text("iss") == Some(&client.id) && jwt.text("sub") == Some(&client.id);
        let jti = jwt.text("jti").filter(|j| !j.is_empty() && j.chars().count() <= MAX_JTI_CHARS);
        let Some(jti) = jti.filter(|_| is_meant && in_time && own) else { return Ok(false) };
        // Keys come from where the client is registered, never from where the assertion points.
        let jku = jwt.header.get("jku").and_then(serde_json::Value::as_str);
        if jku.is_some() && jku != client.facts.jwks_url.as_deref() {
            return Ok(false);
        }
        let jwks = match (&client.facts.jwks, &client.facts.jwks_url) {
            (Some(jwks), _) => jwks.clone(),
            (None, Some(url)) => match self.fetched_keys(url).await {
                Some(jwks) => jwks,
                None => return Ok(false),
            },
            (None, None) => return Ok(false),
        };
        if !jwt.is_signed_by(&jwks) {
            return Ok(false);
        }
        let exp = jwt.seconds("exp").and_then(|exp| Timestamp::from_second(exp).ok()).unwrap_or(now);
        let (id, hash) = (client.id.clone(), secret::hash(jti));
        self.writing(move |tx| Ok(store::oauth::use_assertion(tx, &id, &hash, exp)?)).await
    }

    async fn fetched_keys(&self, url: &str) -> Option<String> {
        let fetch = self.inner.key_fetch.get()?;
        match fetch(url.to_owned()).await {
            Ok(text) => jose::check_set(&text).is_ok().then_some(text),
            Err(error) => {
                tracing::warn!(%error, "a client's key set cannot be fetched");
                None
            }
        }
    }
}

/// Errors: `unauthorized-client`.
pub(super) fn check_for_itself(client: &Client) -> Result<(), Error> {
    match client.facts.authentication {
        Authentication::None => Err(refuse("unauthorized-client", "A public client cannot act for itself.")),
        Authentication::Secret | Authentication::Key => Ok(()),
    }
}
