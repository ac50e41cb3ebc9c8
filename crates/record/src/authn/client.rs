//! OAuth clients: client credentials with SMART system scopes.

use super::throttle::{PER_ADDRESS, PER_NAME};
use super::{AccessToken, secret};
use crate::{Error, Record, Rule};
use access::{Capability, Ctx, Principal, ScopeSet};
use jiff::SignedDuration;
use std::net::IpAddr;
use store::audit::Outcome;
use subtle::ConstantTimeEq;

/// facts/security-controls.md I8: at most 15 minutes.
const TOKEN_S: u32 = 15 * 60;
const MAX_NAME_CHARS: usize = 100;

/// What `oauth` shows of a client.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientRow {
    pub client_id: String,
    pub name: String,
    pub scopes: Vec<String>,
    pub disabled: bool,
    pub created_at: jiff::Timestamp,
}

impl Record {
    /// Registers an OAuth client; System principals and administrators. Returns id and secret (shown once).
    /// Errors: `Denied`; `Rule` `scope-invalid`, `name-required`.
    pub async fn create_client(
        &self,
        ctx: &Ctx,
        name: &str,
        scopes: &[String],
    ) -> Result<(String, String), Error> {
        if !access::policy::may(ctx, Capability::ManageClients) {
            return Err(self.denied(ctx, "client.create", "").await);
        }
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        let name = name.trim();
        if name.is_empty() || name.chars().count() > MAX_NAME_CHARS {
            return Err(Error::Rule(
                Rule::new("name-required", "Give the client a name of 1–100 characters.").at("/name"),
            ));
        }
        let invalid = |text: String| Error::Rule(Rule::new("scope-invalid", text).at("/scopes"));
        let texts: Vec<&str> = scopes.iter().flat_map(|s| s.split_whitespace()).collect();
        let set = ScopeSet::parse(texts.iter().copied()).map_err(|e| invalid(e.to_string()))?;
        if set.is_empty() || texts.iter().any(|s| !s.starts_with("system/")) {
            return Err(invalid("Give at least one scope; clients have `system/…` scopes only.".into()));
        }
        let id = uuid::Uuid::now_v7().to_string();
        let secret = secret::token()?;
        let client = store::oauth::Client {
            id: id.clone(),
            secret_hash: secret::hash(&secret),
            name: name.to_owned(),
            scopes: set.to_string().split(' ').map(str::to_owned).collect(),
            disabled: false,
            created: self.now(),
        };
        let event = self.audit_event(ctx, "client.create", Outcome::Success, &format!("client/{id}"), &[]);
        self.writing(move |tx| {
            store::oauth::create_client(tx, &client)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        Ok((id, secret))
    }

    /// All clients, oldest first. Errors: `Denied`.
    pub async fn clients(&self, ctx: &Ctx) -> Result<Vec<ClientRow>, Error> {
        if !access::policy::may(ctx, Capability::ManageClients) {
            return Err(self.denied(ctx, "client.list", "").await);
        }
        let clients = self.reading(move |tx| Ok(store::oauth::clients(tx)?)).await?;
        Ok(clients
            .into_iter()
            .map(|c| ClientRow {
                client_id: c.id,
                name: c.name,
                scopes: c.scopes,
                disabled: c.disabled,
                created_at: c.created,
            })
            .collect())
    }

    /// Disabling ends the client's tokens. Errors: `Denied`, `NotFound`.
    pub async fn disable_client(&self, ctx: &Ctx, client_id: &str, disabled: bool) -> Result<(), Error> {
        if !access::policy::may(ctx, Capability::ManageClients) {
            return Err(self.denied(ctx, "client.disable", "").await);
        }
        let id = client_id.to_owned();
        let event = self.audit_event(ctx, "client.disable", Outcome::Success, &format!("client/{id}"), &[]);
        let known = self
            .writing(move |tx| {
                let known = store::oauth::set_disabled(tx, &id, disabled)?;
                store::audit::append(tx, std::slice::from_ref(&event))?;
                Ok(known)
            })
            .await?;
        self.inner
            .tokens
            .lock()
            .retain(|_, (_, p, _)| !matches!(p, Principal::Client { client_id: c, .. } if c == client_id));
        if known { Ok(()) } else { Err(Error::NotFound) }
    }

    /// OAuth client credentials. `scope` `None`: all of the client's. Errors: `Unauthenticated`, `Rule`
    /// `invalid-scope`, `Throttled`.
    pub async fn token(
        &self,
        client_id: &str,
        secret: &str,
        scope: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<AccessToken, Error> {
        let now = self.now();
        let by_client = format!("client/{}", client_id.chars().take(100).collect::<String>());
        let by_address = address.map(|a| format!("address/{a}"));
        self.inner.throttle.check(&by_client, now)?;
        if let Some(key) = &by_address {
            self.inner.throttle.check(key, now)?;
        }
        let id = client_id.to_owned();
        let client = self.reading(move |tx| Ok(store::oauth::client(tx, &id)?)).await?;
        let given = secret::hash(secret);
        let client = match client {
            Some(client) if bool::from(client.secret_hash.ct_eq(&given)) && !client.disabled => client,
            _ => {
                self.inner.throttle.failed(&by_client, PER_NAME, now);
                if let Some(key) = &by_address {
                    self.inner.throttle.failed(key, PER_ADDRESS, now);
                }
                return Err(Error::Unauthenticated);
            }
        };
        self.inner.throttle.succeeded(&by_client);
        let registered = ScopeSet::parse_known(client.scopes.iter().map(String::as_str));
        let granted = match scope.map(str::trim).filter(|s| !s.is_empty()) {
            None => registered,
            Some(asked) => {
                let asked = ScopeSet::parse(asked.split_whitespace())
                    .map_err(|e| Error::Rule(Rule::new("invalid-scope", e.to_string()).at("/scope")))?;
                registered.grant(&asked)
            }
        };
        if granted.is_empty() {
            return Err(Error::Rule(
                Rule::new("invalid-scope", "The client is not registered for any of these scopes.")
                    .at("/scope"),
            ));
        }
        let token = secret::token()?;
        let scope = granted.to_string();
        let new = store::oauth::NewToken {
            token_hash: secret::hash(&token),
            client: client.id.clone(),
            scopes: scope.split(' ').map(str::to_owned).collect(),
            expires: now.checked_add(SignedDuration::from_secs(i64::from(TOKEN_S))).unwrap_or(now),
        };
        let mut ctx = Ctx::system("oauth", now);
        ctx.principal =
            Principal::Client { client_id: client.id, name: client.name, scopes: new.scopes.clone() };
        ctx.purpose = access::Purpose::Operations;
        ctx.address = address;
        let event = self.audit_event(&ctx, "login", Outcome::Success, "", &[]);
        self.writing(move |tx| {
            store::oauth::insert_token(tx, &new)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        Ok(AccessToken { token, expires_in_s: TOKEN_S, scope })
    }

    /// Who this access token (or API session token) is. Errors: `Unauthenticated`.
    pub async fn bearer(&self, token: &str) -> Result<Principal, Error> {
        let hash = secret::hash(token);
        let now = self.now();
        if let Some((principal, _)) = self.cached(&hash, now) {
            return Ok(principal);
        }
        let found = self.reading(move |tx| Ok(store::oauth::find_token(tx, &hash, now)?)).await?;
        match found {
            Some((client, scopes)) => {
                let principal = Principal::Client { client_id: client.id, name: client.name, scopes };
                self.remember(hash, now, principal.clone(), None);
                Ok(principal)
            }
            None => Ok(Principal::User(self.session(token).await?.user)),
        }
    }
}
