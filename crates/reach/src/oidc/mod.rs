//! Outside providers of identities, by OpenID Connect: where to send a browser, and what its answer proves.
//!
//! The protocol is `openidconnect`'s; every request goes through [crate::egress]. What somebody may do here is decided
//! elsewhere: this says only whom the provider vouches for, and in which words.
//!
//! **Invariant:** an identity comes from an ID token that a key of the provider signed, for this client, for this browser's
//! request (nonce), lately; nothing of the answer is believed before.
//! **Invariant:** only asymmetric algorithms count: neither `none` nor the client's secret signs anything.

#[doc(hidden)]
pub mod foreign;
mod hook;
mod logout;

pub use logout::LogoutToken;
/// Whom a provider vouches for.
pub use record::authn::Vouched as Identity;

use crate::egress::{self, Request, Rules};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hook::Hook;
use jiff::Timestamp;
use openidconnect::core::*;
use openidconnect::{
    AccessTokenHash, AdditionalProviderMetadata, AuthType, AuthenticationFlow, AuthorizationCode,
    ClaimsVerificationError, Client, ClientId, ClientSecret, CsrfToken, DiscoveryError,
    EmptyAdditionalClaims, EndSessionUrl, EndpointMaybeSet, EndpointNotSet, EndpointSet, IssuerUrl,
    LogoutRequest, Nonce, OAuth2TokenResponse as _, PkceCodeChallenge, PkceCodeVerifier,
    PostLogoutRedirectUrl, ProviderMetadata, RedirectUrl, RequestTokenError, Scope,
    SignatureVerificationError, StandardErrorResponse, TokenResponse as _,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// The provider's document and keys are asked for again after this time.
const FRESH: Duration = Duration::from_secs(3600);
/// A provider that did not answer is not asked again for so long: starts of sign-in do not queue on it.
const AWAY: Duration = Duration::from_secs(15);
/// They are used so long where the provider does not answer.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// Tokens by an unknown key let the keys be asked for again, so often within [REFETCH_EVERY].
const REFETCHES: usize = 5;
const REFETCH_EVERY: Duration = Duration::from_secs(60);
/// Clocks may differ so much, seconds.
const LEEWAY_S: i64 = 60;
/// Longest ID token, bytes.
const TOKEN_BYTES: usize = 16 * 1024;

/// What signs.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// One provider, as the operator set it up.
#[derive(Clone)]
pub struct Settings {
    /// e.g. `https://login.example/realms/clinic`; compared whole with what the provider says of itself.
    pub issuer: String,
    pub client_id: String,
    /// `None`: a public client; PKCE protects the code either way.
    pub client_secret: Option<String>,
    /// Where the provider sends the browser back to; registered there.
    pub redirect_uri: String,
    /// Besides `openid`.
    pub scopes: Vec<String>,
    /// Asked for with `acr_values`.
    pub acr_values: Vec<String>,
    /// Also asks the provider's userinfo endpoint, for those that leave groups out of the ID token.
    pub userinfo: bool,
    pub rules: Rules,
}

/// Why nobody is vouched for. Texts are for operators; nothing of a token stands in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OidcError {
    #[error("the provider cannot be asked: {0}")]
    Unreachable(String),
    /// In the provider's words, e.g. `invalid_grant`.
    #[error("the provider refused: {0}")]
    Refused(String),
    #[error("the provider's answer does not hold: {0}")]
    Invalid(String),
    #[error("wrong configuration: {0}")]
    Wrong(String),
}

/// How the browser is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    SignIn,
    /// The person shows again who she is, even if the provider knows her.
    Again,
}

/// A browser on its way. The three secrets are kept for [Provider::finish].
#[derive(Clone)]
pub struct Begun {
    pub url: String,
    pub state: String,
    pub nonce: String,
    pub verifier: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
struct More {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    end_session_endpoint: Option<EndSessionUrl>,
    /// RFC 9207
    #[serde(default)]
    authorization_response_iss_parameter_supported: bool,
}

impl AdditionalProviderMetadata for More {}

type Metadata = ProviderMetadata<
    More,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

type Found = Client<
    EmptyAdditionalClaims,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    CoreTokenResponse,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

#[derive(Default)]
struct Known {
    metadata: Option<(Instant, Arc<Metadata>)>,
    /// When it did not answer, and in which words.
    away: Option<(Instant, String)>,
    /// When keys were asked for again because of an unknown one.
    refetched: Vec<Instant>,
}

/// One provider. Its document and keys are kept; one is asked at a time.
pub struct Provider {
    settings: Settings,
    http: egress::Client,
    issuer: IssuerUrl,
    redirect: RedirectUrl,
    known: Mutex<Known>,
}

fn invalid(text: impl Into<String>) -> OidcError {
    OidcError::Invalid(text.into())
}

impl Provider {
    /// Errors: [OidcError::Wrong], [OidcError::Unreachable] without TLS.
    pub fn new(settings: Settings) -> Result<Provider, OidcError> {
        let http =
            egress::Client::new(settings.rules.clone()).map_err(|e| OidcError::Unreachable(e.to_string()))?;
        http.check(&settings.issuer).map_err(|e| OidcError::Wrong(format!("issuer: {e}")))?;
        let issuer = IssuerUrl::new(settings.issuer.clone()).map_err(|e| OidcError::Wrong(e.to_string()))?;
        let redirect =
            RedirectUrl::new(settings.redirect_uri.clone()).map_err(|e| OidcError::Wrong(e.to_string()))?;
        Ok(Provider { settings, http, issuer, redirect, known: Mutex::default() })
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The provider's document and keys, asked for anew if they are old. Errors: [OidcError].
    async fn metadata(&self) -> Result<Arc<Metadata>, OidcError> {
        let mut known = self.known.lock().await;
        if let Some((at, metadata)) = known.metadata.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            let _ = at;
            return Ok(metadata.clone());
        }
        // Whoever waited behind somebody who was not answered is not made to wait once more.
        let away = known.away.as_ref().filter(|(at, _)| at.elapsed() < AWAY).map(|(_, text)| text.clone());
        let asked = match away {
            Some(text) => Err(OidcError::Unreachable(text)),
            None => {
                let asked = self.discover().await;
                known.away = match &asked {
                    Err(OidcError::Unreachable(text)) => Some((Instant::now(), text.clone())),
                    _ => None,
                };
                asked
            }
        };
        match asked {
            Ok(metadata) => {
                known.metadata = Some((Instant::now(), metadata.clone()));
                Ok(metadata)
            }
            // A provider that is away for an hour may still have people signed in who sign out.
            Err(OidcError::Unreachable(text)) => match &known.metadata {
                Some((at, metadata)) if at.elapsed() < STALE => Ok(metadata.clone()),
                _ => Err(OidcError::Unreachable(text)),
            },
            Err(other) => Err(other),
        }
    }

    /// After a token by a key that is not known. `None`: it was asked for lately, often enough.
    async fn metadata_again(&self) -> Result<Option<Arc<Metadata>>, OidcError> {
        let mut known = self.known.lock().await;
        known.refetched.retain(|at| at.elapsed() < REFETCH_EVERY);
        if known.refetched.len() >= REFETCHES {
            return Ok(None);
        }
        known.refetched.push(Instant::now());
        let metadata = self.discover().await?;
        known.metadata = Some((Instant::now(), metadata.clone()));
        Ok(Some(metadata))
    }

    async fn discover(&self) -> Result<Arc<Metadata>, OidcError> {
        let found = Metadata::discover_async(self.issuer.clone(), &Hook(&self.http)).await;
        let metadata = found.map_err(|error| match error {
            DiscoveryError::Request(error) => OidcError::Unreachable(error.to_string()),
            DiscoveryError::Response(status, ..) => {
                OidcError::Unreachable(format!("its discovery document answers {status}"))
            }
            DiscoveryError::Validation(text) => invalid(text),
            DiscoveryError::Parse(_) => invalid("its discovery document or key set cannot be read"),
            other => invalid(other.to_string()),
        })?;
        // The browser goes there with our client's name; in the clear anybody could send it elsewhere.
        let shown = metadata.authorization_endpoint().url();
        if shown.scheme() != "https" && !(self.settings.rules.allow_http && shown.scheme() == "http") {
            return Err(invalid("its authorization endpoint is not https"));
        }
        Ok(Arc::new(metadata))
    }

    fn client(&self, metadata: &Metadata) -> Found {
        let secret = self.settings.client_secret.clone().map(ClientSecret::new);
        let client = Client::from_provider_metadata(
            metadata.clone(),
            ClientId::new(self.settings.client_id.clone()),
            secret,
        )
        .set_redirect_uri(self.redirect.clone());
        let methods = metadata.token_endpoint_auth_methods_supported();
        let only_in_body = methods.is_some_and(|m| {
            !m.contains(&CoreClientAuthMethod::ClientSecretBasic)
                && m.contains(&CoreClientAuthMethod::ClientSecretPost)
        });
        client.set_auth_type(if only_in_body { AuthType::RequestBody } else { AuthType::BasicAuth })
    }

    /// Where to send a browser. Errors: [OidcError].
    pub async fn begin(&self, asking: Asking) -> Result<Begun, OidcError> {
        let metadata = self.metadata().await?;
        let client = self.client(&metadata);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let mut request = client
            .authorize_url(
                AuthenticationFlow::<CoreResponseType>::AuthorizationCode,
                CsrfToken::new_random,
                Nonce::new_random,
            )
            .set_pkce_challenge(challenge);
        for scope in self.settings.scopes.iter().filter(|scope| *scope != "openid") {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        for acr in &self.settings.acr_values {
            request =
                request.add_auth_context_value(openidconnect::AuthenticationContextClass::new(acr.clone()));
        }
        if asking == Asking::Again {
            request = request.add_prompt(CoreAuthPrompt::Login).set_max_age(Duration::ZERO);
        }
        let (url, state, nonce) = request.url();
        Ok(Begun {
            url: url.into(),
            state: state.into_secret(),
            nonce: nonce.secret().clone(),
            verifier: verifier.into_secret(),
        })
    }

    /// Whether the answer's `iss` (RFC 9207) is this provider. Errors: [OidcError].
    pub async fn check_issuer(&self, iss: Option<&str>) -> Result<(), OidcError> {
        let metadata = self.metadata().await?;
        let promised = metadata.additional_metadata().authorization_response_iss_parameter_supported;
        match iss {
            Some(iss) if iss == self.settings.issuer => Ok(()),
            Some(_) => Err(invalid("the answer names another issuer")),
            None if promised => Err(invalid("the answer names no issuer")),
            None => Ok(()),
        }
    }

    /// Takes the browser's code to the provider and checks what it answers. Errors: [OidcError].
    pub async fn finish(
        &self,
        code: &str,
        nonce: &str,
        verifier: &str,
        now: Timestamp,
    ) -> Result<Identity, OidcError> {
        let metadata = self.metadata().await?;
        let client = self.client(&metadata);
        let exchange = client
            .exchange_code(AuthorizationCode::new(code.to_owned()))
            .map_err(|_| invalid("it has no token endpoint"))?
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.to_owned()));
        let answer = exchange.request_async(&Hook(&self.http)).await.map_err(|error| match error {
            RequestTokenError::ServerResponse(refused) => OidcError::Refused(refused.error().to_string()),
            RequestTokenError::Request(error) => OidcError::Unreachable(error.to_string()),
            RequestTokenError::Parse(..) => invalid("its token endpoint's answer cannot be read"),
            RequestTokenError::Other(_) => invalid("its token endpoint's answer is none"),
        })?;
        let nonce = Nonce::new(nonce.to_owned());
        let mut identity = match self.check(&client, &answer, &nonce, now) {
            Err(Checked::UnknownKey) => match self.metadata_again().await? {
                Some(metadata) => self.check(&self.client(&metadata), &answer, &nonce, now),
                None => Err(Checked::UnknownKey),
            },
            checked => checked,
        }
        .map_err(|checked| match checked {
            Checked::UnknownKey => invalid("no key of its key set signed the ID token"),
            Checked::Wrong(text) => invalid(text),
        })?;
        if self.settings.userinfo
            && let Some(endpoint) = metadata.userinfo_endpoint()
        {
            let token = answer.access_token().secret();
            self.add_userinfo(endpoint.as_str(), token, &mut identity).await?;
        }
        Ok(identity)
    }

    fn check(
        &self,
        client: &Found,
        answer: &CoreTokenResponse,
        nonce: &Nonce,
        now: Timestamp,
    ) -> Result<Identity, Checked> {
        let wrong = |text: &str| Checked::Wrong(text.to_owned());
        let token = answer.id_token().ok_or_else(|| wrong("there is no ID token"))?;
        let id_token = token.to_string();
        if id_token.len() > TOKEN_BYTES {
            return Err(wrong("the ID token is too long"));
        }
        let at = |seconds: i64| chrono::DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        let (earlier, later) = (at(now.as_second() - LEEWAY_S), at(now.as_second() + LEEWAY_S));
        let verifier = client
            .id_token_verifier()
            .set_allowed_algs(ALGORITHMS)
            .set_time_fn(move || earlier)
            .set_issue_time_verifier_fn(move |issued| match issued <= later {
                true => Ok(()),
                false => Err("issued in the future".to_owned()),
            });
        let claims = token.claims(&verifier, nonce).map_err(|error| match error {
            ClaimsVerificationError::SignatureVerification(
                SignatureVerificationError::NoMatchingKey | SignatureVerificationError::CryptoError(_),
            ) => Checked::UnknownKey,
            other => Checked::Wrong(words(&other)),
        })?;
        // OpenID Connect Core 3.1.3.7, steps 4 and 5: other audiences are refused above.
        if claims.authorized_party().is_some_and(|azp| azp.as_str() != self.settings.client_id) {
            return Err(wrong("the ID token was made for another party (azp)"));
        }
        if let Some(expected) = claims.access_token_hash() {
            let made = token.signing_alg().ok().zip(token.signing_key(&verifier).ok());
            let made = made.and_then(|(algorithm, key)| {
                AccessTokenHash::from_token(answer.access_token(), algorithm, key).ok()
            });
            if made.as_ref() != Some(expected) {
                return Err(wrong("the access token is not the one of the ID token (at_hash)"));
            }
        }
        if claims.subject().is_empty() || claims.subject().len() > 255 {
            return Err(wrong("the ID token has no subject"));
        }
        let claims_value = payload(&id_token).ok_or_else(|| wrong("the ID token cannot be read"))?;
        Ok(Identity {
            issuer: self.settings.issuer.clone(),
            subject: claims.subject().to_string(),
            sid: claims_value["sid"].as_str().map(str::to_owned),
            id_token,
            authenticated_at: claims.auth_time().and_then(|at| Timestamp::from_second(at.timestamp()).ok()),
            acr: claims.auth_context_ref().map(|acr| acr.to_string()),
            amr: claims.auth_method_refs().into_iter().flatten().map(|amr| amr.to_string()).collect(),
            claims: claims_value,
        })
    }

    /// Claims that the ID token does not have. Errors: [OidcError].
    async fn add_userinfo(&self, url: &str, token: &str, identity: &mut Identity) -> Result<(), OidcError> {
        let credential = egress::Credential::new(url, "authorization", format!("Bearer {token}"))
            .map_err(|e| invalid(e.to_string()))?;
        let request = Request { credential: Some(&credential), ..Request::get(url) };
        let answer = self.http.send(request).await.map_err(|e| OidcError::Unreachable(e.to_string()))?;
        if !answer.status.is_success() {
            return Err(OidcError::Refused(format!("userinfo answers {}", answer.status.as_u16())));
        }
        let said: Value =
            serde_json::from_slice(&answer.body).map_err(|_| invalid("its userinfo cannot be read"))?;
        // OpenID Connect Core 5.3.2: of another person it is worth nothing.
        if said["sub"].as_str() != Some(identity.subject.as_str()) {
            return Err(invalid("its userinfo is about somebody else"));
        }
        if let (Value::Object(known), Value::Object(said)) = (&mut identity.claims, said) {
            for (name, value) in said {
                known.entry(name).or_insert(value);
            }
        }
        Ok(())
    }

    /// Where to send the browser of somebody who signed out here, so that the provider ends its own session; `None` if
    /// it has no such page.
    pub async fn logout_url(&self, id_token: &str, return_to: &str) -> Option<String> {
        let metadata = self.metadata().await.ok()?;
        let endpoint = metadata.additional_metadata().end_session_endpoint.clone()?;
        let token: CoreIdToken = id_token.parse().ok()?;
        let request = LogoutRequest::from(endpoint)
            .set_id_token_hint(&token)
            .set_client_id(ClientId::new(self.settings.client_id.clone()))
            .set_post_logout_redirect_uri(PostLogoutRedirectUrl::new(return_to.to_owned()).ok()?);
        Some(request.http_get_url().into())
    }

    /// What a back-channel logout token says. Errors: [OidcError].
    pub async fn check_logout(&self, token: &str, now: Timestamp) -> Result<LogoutToken, OidcError> {
        let metadata = self.metadata().await?;
        let check = |metadata: &Metadata| {
            logout::check(token, metadata.jwks(), &self.settings.issuer, &self.settings.client_id, now)
        };
        let checked = match check(&metadata) {
            Err(Checked::UnknownKey) => match self.metadata_again().await? {
                Some(metadata) => check(&metadata),
                None => Err(Checked::UnknownKey),
            },
            checked => checked,
        };
        checked.map_err(|checked| match checked {
            Checked::UnknownKey => invalid("no key of its key set signed the logout token"),
            Checked::Wrong(text) => invalid(text),
        })
    }

    /// Whether the provider answers now. Errors: [OidcError].
    pub async fn ask(&self) -> Result<(), OidcError> {
        let metadata = self.discover().await?;
        let mut known = self.known.lock().await;
        known.metadata = Some((Instant::now(), metadata));
        known.away = None;
        Ok(())
    }
}

/// Why a token does not count.
enum Checked {
    /// Perhaps its key is new.
    UnknownKey,
    Wrong(String),
}

/// What is wrong, without what the token says.
fn words(error: &ClaimsVerificationError) -> String {
    match error {
        ClaimsVerificationError::Expired(_) => "the ID token has expired",
        ClaimsVerificationError::InvalidAudience(_) => "the ID token was made for another client (aud)",
        ClaimsVerificationError::InvalidIssuer(_) => "the ID token is another issuer's (iss)",
        ClaimsVerificationError::InvalidNonce(_) => "the ID token is not for this request (nonce)",
        ClaimsVerificationError::InvalidSubject(_) => "the ID token is about somebody else",
        ClaimsVerificationError::SignatureVerification(SignatureVerificationError::NoSignature) => {
            "the ID token is not signed"
        }
        ClaimsVerificationError::SignatureVerification(SignatureVerificationError::DisallowedAlg(_)) => {
            "the ID token is signed by an algorithm that does not count"
        }
        ClaimsVerificationError::SignatureVerification(_) => "the ID token's signature is wrong",
        ClaimsVerificationError::InvalidAuthTime(_) | ClaimsVerificationError::InvalidAuthContext(_) => {
            "the ID token does not say when or how the person signed in"
        }
        _ => "the ID token does not hold",
    }
    .to_owned()
}

/// The claims of a token that was checked.
fn payload(token: &str) -> Option<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let value: Value = serde_json::from_slice(&bytes).ok()?;
    value.is_object().then_some(value)
}
