//! Registered applications, and how they show that they are themselves.

use super::jose::{self, Jwt};
use super::token::{ClientClaim, Proof};
use super::{MAX_TEXT_CHARS, key, refuse, scope};
use crate::authn::{PER_ADDRESS, PER_NAME, secret};
use crate::{Error, Record, Rule};
use access::{Capability, Ctx};
use jiff::Timestamp;
use std::net::IpAddr;
use store::audit::Outcome;
use store::oauth::{Authentication, Client, Facts};
use subtle::ConstantTimeEq;

const MAX_NAME_CHARS: usize = 100;
const MAX_REDIRECTS: usize = 20;
/// An assertion may be good for at most so long (SMART backend services: five minutes).
const ASSERTION_S: i64 = 5 * 60;
/// Clocks may differ by so much.
const SKEW_S: i64 = 30;
/// Longest id of an assertion, characters.
const MAX_JTI_CHARS: usize = 255;

/// An application as administrators see it.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientRow {
    pub client_id: String,
    pub name: String,
    pub scopes: Vec<String>,
    pub disabled: bool,
    pub created_at: Timestamp,
    pub facts: Facts,
}

/// An application to register.
#[derive(Debug, Clone, Default)]
pub struct ClientSpec {
    pub name: String,
    /// `system/…` for one that acts for itself; `patient/…`, `user/…`, `openid` and its kin for one that people use.
    pub scopes: Vec<String>,
    /// [Authentication::Secret] by default.
    pub authentication: Authentication,
    /// For people: where they are sent back to.
    pub redirects: Vec<String>,
    pub launch_url: Option<String>,
    /// A JWK Set, by value; for [Authentication::Key] this or `jwks_url`.
    pub jwks: Option<String>,
    pub jwks_url: Option<String>,
    /// `RS256` (default) or `ES384`.
    pub id_token_algorithm: Option<String>,
}

/// `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct ClientChange {
    pub name: Option<String>,
    pub scopes: Option<Vec<String>>,
    pub redirects: Option<Vec<String>>,
    pub launch_url: Option<String>,
    pub jwks: Option<String>,
    pub jwks_url: Option<String>,
    pub disabled: Option<bool>,
}

impl From<Client> for ClientRow {
    fn from(client: Client) -> ClientRow {
        ClientRow {
            client_id: client.id,
            name: client.name,
            scopes: client.scopes,
            disabled: client.disabled,
            created_at: client.created,
            facts: client.facts,
        }
    }
}

/// The host of an `http(s)` address, without port; `None` for what is none.
fn host_of(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next()?,
        None => authority.split(':').next()?,
    };
    (!authority.contains('@') && !host.is_empty()).then_some((scheme, host))
}

fn is_plain(url: &str) -> bool {
    url.chars().count() <= MAX_TEXT_CHARS
        && url.chars().all(|c| c.is_ascii_graphic())
        && !url.contains(['#', '\\'])
}

/// HTTPS, plain HTTP to the device itself, or an application's own scheme (RFC 8252 §7: a reversed domain name).
fn is_redirect(url: &str) -> bool {
    if !is_plain(url) {
        return false;
    }
    match host_of(url) {
        Some(("https", _)) => true,
        Some(("http", host)) => matches!(host, "127.0.0.1" | "::1" | "localhost"),
        _ => url.split_once(':').is_some_and(|(scheme, rest)| {
            let fits = scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+'));
            scheme.contains('.') && fits && !rest.is_empty()
        }),
    }
}

fn check(name: &str, scopes: &[String], facts: &Facts) -> Result<(), Error> {
    let wrong =
        |code: &'static str, field: &str, text: String| Err(Error::Rule(Rule::new(code, text).at(field)));
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        return wrong("name-required", "/name", "Give the client a name of 1–100 characters.".into());
    }
    if let Err(text) = scope::check(scopes) {
        return wrong("scope-invalid", "/scopes", text);
    }
    let for_itself = scopes.iter().any(|s| s.starts_with("system/"));
    let for_people = scopes.iter().any(|s| !s.starts_with("system/") && !s.starts_with("sens/"));
    if !for_itself && !for_people {
        return wrong("scope-invalid", "/scopes", "Give at least one scope for resources.".into());
    }
    if for_people && facts.redirects.is_empty() {
        let text = "Scopes for people (`patient/…`, `user/…`, `openid` …) need a redirect URI; a client that acts for \
                    itself has `system/…` scopes only.";
        return wrong("scope-invalid", "/scopes", text.into());
    }
    if for_itself && facts.authentication == Authentication::None {
        return wrong("scope-invalid", "/scopes", "A public client has no `system/…` scopes.".into());
    }
    if facts.redirects.len() > MAX_REDIRECTS || !facts.redirects.iter().all(|url| is_redirect(url)) {
        let text = "Redirect URIs are https, http on this device (127.0.0.1, ::1, localhost) or an own scheme such as \
                    org.example.app:/callback; whole, and without a fragment.";
        return wrong("redirect-invalid", "/redirect_uris", text.into());
    }
    let is_web = |url: &String| {
        is_plain(url)
            && matches!(host_of(url), Some(("https", _)) | Some(("http", "127.0.0.1" | "::1" | "localhost")))
    };
    if !facts.launch_url.as_ref().is_none_or(is_web) {
        return wrong("url-invalid", "/launch_url", "The launch URL is https.".into());
    }
    if !facts.jwks_url.as_ref().is_none_or(is_web) {
        return wrong("url-invalid", "/jwks_url", "The address of the key set is https.".into());
    }
    if let Some(Err(text)) = facts.jwks.as_deref().map(jose::check_set) {
        return wrong("keys-invalid", "/jwks", text.into());
    }
    if facts.authentication == Authentication::Key && facts.jwks.is_none() && facts.jwks_url.is_none() {
        return wrong("keys-invalid", "/jwks", "Give the client's key set, or where it is.".into());
    }
    if facts.algorithm.is_empty() { Ok(()) } else { key::check_algorithm(&facts.algorithm) }
}

impl Record {
    async fn may_manage_clients(&self, ctx: &Ctx, action: &'static str) -> Result<(), Error> {
        match access::policy::may(ctx, Capability::ManageClients) {
            true => Ok(()),
            false => Err(self.denied(ctx, action, "").await),
        }
    }

    /// Registers a client that acts for itself by a secret, and enters it as a recipient in the country of the
    /// installation: for programs of the same machine, demonstrations and tests. Returns id and secret (shown once).
    /// Errors: as [Record::register_client] and [Record::register_recipient].
    pub async fn create_client(
        &self,
        ctx: &Ctx,
        name: &str,
        scopes: &[String],
    ) -> Result<(String, String), Error> {
        let spec = ClientSpec { name: name.to_owned(), scopes: scopes.to_vec(), ..ClientSpec::default() };
        let (row, secret) = self.register_client(ctx, spec).await?;
        let recipient = crate::subject::NewRecipient {
            kind: store::subject::recipient::Kind::Client,
            name: row.client_id.clone(),
            title: row.name.clone(),
            country: self.region().unwrap_or("ZZ").to_owned(),
            basis: String::new(),
            note: String::new(),
        };
        self.register_recipient(ctx, recipient).await?;
        Ok((row.client_id, secret.unwrap_or_default()))
    }

    /// Registers an application; System principals and administrators. Returns it and its secret, if it has one, shown
    /// once. Errors: `Denied`, `StepUpNeeded`; `Rule` `scope-invalid`, `name-required`, `redirect-invalid`,
    /// `url-invalid`, `keys-invalid`, `algorithm-invalid`.
    pub async fn register_client(
        &self,
        ctx: &Ctx,
        spec: ClientSpec,
    ) -> Result<(ClientRow, Option<String>), Error> {
        self.may_manage_clients(ctx, "client.create").await?;
        self.require_fresh(ctx, crate::authn::SENSITIVE_MINUTES, true)?;
        let facts = Facts {
            authentication: spec.authentication,
            redirects: spec.redirects,
            launch_url: spec.launch_url,
            jwks: spec.jwks,
            jwks_url: spec.jwks_url,
            algorithm: spec.id_token_algorithm.unwrap_or_else(|| key::ALGORITHMS[0].to_owned()),
        };
        let (name, scopes) = (spec.name.trim(), scope::words(spec.scopes.iter().map(String::as_str)));
        check(name, &scopes, &facts)?;
        // Also clients without a secret have one that nobody knows.
        let secret = secret::token()?;
        let client = Client {
            id: uuid::Uuid::now_v7().to_string(),
            secret_hash: secret::hash(&secret),
            name: name.to_owned(),
            scopes,
            disabled: false,
            created: self.now(),
            facts,
        };
        let row = ClientRow::from(client.clone());
        let what = format!("client/{}", client.id);
        let event = self.audit_event(ctx, "client.create", Outcome::Success, &what, &[]);
        self.writing(move |tx| {
            store::oauth::create_client(tx, &client)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        let shown = (row.facts.authentication == Authentication::Secret).then_some(secret);
        Ok((row, shown))
    }

    /// All clients, oldest first. Errors: `Denied`.
    pub async fn clients(&self, ctx: &Ctx) -> Result<Vec<ClientRow>, Error> {
        self.may_manage_clients(ctx, "client.list").await?;
        let clients = self.reading(move |tx| Ok(store::oauth::clients(tx)?)).await?;
        Ok(clients.into_iter().map(ClientRow::from).collect())
    }

    /// Changes an application; what people granted stays, but never counts for more than it is registered for now.
    /// Errors: `Denied`, `StepUpNeeded`, `NotFound`, and those of [Record::register_client].
    pub async fn change_client(&self, ctx: &Ctx, id: &str, change: ClientChange) -> Result<ClientRow, Error> {
        self.may_manage_clients(ctx, "client.update").await?;
        self.require_fresh(ctx, crate::authn::SENSITIVE_MINUTES, true)?;
        let wanted = id.to_owned();
        let found = self.reading(move |tx| Ok(store::oauth::client(tx, &wanted)?)).await?;
        let mut client = found.ok_or(Error::NotFound)?;
        if let Some(name) = change.name {
            client.name = name.trim().to_owned();
        }
        if let Some(scopes) = change.scopes {
            client.scopes = scope::words(scopes.iter().map(String::as_str));
        }
        if let Some(redirects) = change.redirects {
            client.facts.redirects = redirects;
        }
        client.facts.launch_url = change.launch_url.or(client.facts.launch_url);
        client.facts.jwks = change.jwks.or(client.facts.jwks);
        client.facts.jwks_url = change.jwks_url.or(client.facts.jwks_url);
        check(&client.name, &client.scopes, &client.facts)?;
        let row = ClientRow { disabled: change.disabled.unwrap_or(client.disabled), ..client.clone().into() };
        let event = self.audit_event(ctx, "client.update", Outcome::Success, &format!("client/{id}"), &[]);
        let (disabled, now) = (change.disabled, self.now());
        self.writing(move |tx| {
            store::oauth::change_client(tx, &client)?;
            if let Some(disabled) = disabled {
                store::oauth::set_disabled(tx, &client.id, disabled)?;
            }
            if disabled == Some(true) {
                store::oauth::revoke_of_client(tx, &client.id, now)?;
            }
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        self.forget_holders();
        Ok(row)
    }

    /// A new secret; the old one stops working at once. Errors: `Denied`, `StepUpNeeded`, `NotFound` (also for clients
    /// without a secret).
    pub async fn renew_client_secret(&self, ctx: &Ctx, id: &str) -> Result<String, Error> {
        self.may_manage_clients(ctx, "client.secret").await?;
        self.require_fresh(ctx, crate::authn::SENSITIVE_MINUTES, true)?;
        let secret = secret::token()?;
        let (id, hash) = (id.to_owned(), secret::hash(&secret));
        let event = self.audit_event(ctx, "client.secret", Outcome::Success, &format!("client/{id}"), &[]);
        let known = self
            .writing(move |tx| {
                let has_secret = store::oauth::client(tx, &id)?
                    .is_some_and(|c| c.facts.authentication == Authentication::Secret);
                if has_secret {
                    store::oauth::set_secret(tx, &id, &hash)?;
                    store::audit::append(tx, std::slice::from_ref(&event))?;
                }
                Ok(has_secret)
            })
            .await?;
        if known { Ok(secret) } else { Err(Error::NotFound) }
    }

    /// Disabling ends the client's tokens and all that was granted to it. Errors: `Denied`, `NotFound`.
    pub async fn disable_client(&self, ctx: &Ctx, client_id: &str, disabled: bool) -> Result<(), Error> {
        self.may_manage_clients(ctx, "client.disable").await?;
        let (id, now) = (client_id.to_owned(), self.now());
        let event = self.audit_event(ctx, "client.disable", Outcome::Success, &format!("client/{id}"), &[]);
        let known = self
            .writing(move |tx| {
                let known = store::oauth::set_disabled(tx, &id, disabled)?;
                if disabled {
                    store::oauth::revoke_of_client(tx, &id, now)?;
                }
                store::audit::append(tx, std::slice::from_ref(&event))?;
                Ok(known)
            })
            .await?;
        self.forget_holders();
        if known { Ok(()) } else { Err(Error::NotFound) }
    }

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

#[cfg(test)]
mod tests {
    use super::is_redirect;

    #[test]
    fn redirects_are_whole_and_safe() {
        let cases = [
            ("https://app.example/callback", true),
            ("https://app.example/callback?x=1", true),
            ("http://127.0.0.1:8000/cb", true),
            ("http://[::1]:8000/cb", true),
            ("http://app.example/callback", false),
            ("https://app.example/callback#x", false),
            ("https://user@app.example/", false),
            ("org.example.app:/callback", true),
            ("javascript:alert(1)", false),
            ("data:text/html,x", false),
            ("/callback", false),
            ("https://", false),
            ("http://localhost.evil.example/", false),
            ("https://app.example\\@evil.example/", false),
        ];
        for (url, expected) in cases {
            assert_eq!(is_redirect(url), expected, "{url}");
        }
    }
}
