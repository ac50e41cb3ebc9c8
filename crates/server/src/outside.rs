//! The outside providers of identities that are set up.

use crate::config::{Config, IdentityProvider};
use anyhow::Context as _;
use jiff::Timestamp;
use parking_lot::Mutex;
use reach::egress::Rules;
use reach::oidc::{OidcError, Provider, Settings};
use record::authn::ProviderRules;
use std::sync::Arc;

/// How the last call of a provider went.
pub type Health = Option<(Timestamp, Result<(), String>)>;

/// One provider.
pub struct Outside {
    pub rules: ProviderRules,
    pub provider: Provider,
    health: Mutex<Health>,
}

impl Outside {
    /// Notes how a call went; a refusal is an answer.
    pub fn note<T>(&self, result: &Result<T, OidcError>, now: Timestamp) {
        let told = match result {
            Ok(_) | Err(OidcError::Refused(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        *self.health.lock() = Some((now, told));
    }
    /// `None`: nobody was sent there since this process began.
    pub fn health(&self) -> Health {
        self.health.lock().clone()
    }
}

/// Path of ours below the public address.
pub fn path(id: &str, last: &str) -> String {
    format!("/api/v1/auth/providers/{id}/{last}")
}

/// All that are configured, by id. Errors: what keeps the server from starting, in words for the operator.
pub fn start(config: &Config, public_url: &str) -> anyhow::Result<Vec<Arc<Outside>>> {
    let one = |(id, set): (&String, &IdentityProvider)| {
        let provider = Provider::new(Settings {
            issuer: set.issuer.clone(),
            client_id: set.client_id.clone(),
            client_secret: secret(set)?,
            redirect_uri: format!("{public_url}{}", path(id, "callback")),
            scopes: set.scopes.clone(),
            acr_values: set.acr_values.clone(),
            userinfo: set.userinfo,
            rules: Rules { allow_http: set.allow_http, allow_private: set.allow_private, hosts: Vec::new() },
        });
        let provider = provider.with_context(|| format!("identity_providers.{id}"))?;
        Ok(Arc::new(Outside { rules: set.rules(id), provider, health: Mutex::default() }))
    };
    config.identity_providers.iter().map(one).collect()
}

fn secret(set: &IdentityProvider) -> anyhow::Result<Option<String>> {
    if let Some(secret) = &set.client_secret {
        return Ok(Some(secret.expose().to_owned()));
    }
    let Some(path) = &set.client_secret_file else { return Ok(None) };
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let line = text.lines().next().unwrap_or_default().trim().to_owned();
    anyhow::ensure!(!line.is_empty(), "{} has no secret on its first line", path.display());
    Ok(Some(line))
}
