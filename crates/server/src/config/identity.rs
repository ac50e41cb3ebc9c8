//! Outside providers of identities, `[identity_providers.ID]` in the file.

use super::Secret;
use access::Role;
use record::authn::outside::is_mappable;
use record::authn::{ProviderRules, RoleRule, Trust};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Providers that may be set up.
pub const MAX_PROVIDERS: usize = 20;
/// Longest id of a provider.
const MAX_ID_CHARS: usize = 32;
/// Rules of one provider.
const MAX_RULES: usize = 200;

/// By id: small letters, digits and hyphens; it stands in addresses.
pub type IdentityProviders = BTreeMap<String, IdentityProvider>;

/// An OpenID Connect provider that people may sign in with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityProvider {
    /// On the button.
    pub name: String,
    /// Where `/.well-known/openid-configuration` is found, without it.
    pub issuer: String,
    /// As registered there, with `PUBLIC_URL/api/v1/auth/providers/ID/callback` as redirect URI.
    pub client_id: String,
    /// Better in `UZIMA_IDENTITY_PROVIDERS_ID_CLIENT_SECRET` or a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// File with the secret on its first line. Without either the client is a public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<PathBuf>,
    /// Asked for besides `openid`.
    #[serde(default = "scopes")]
    pub scopes: Vec<String>,
    /// Asked for with `acr_values`, most wanted first.
    #[serde(default)]
    pub acr_values: Vec<String>,
    /// Also asks for claims at the provider's userinfo endpoint.
    #[serde(default)]
    pub userinfo: bool,
    /// Makes an account for whoever has a role by `roles` and none here.
    #[serde(default)]
    pub create_accounts: bool,
    /// Lets `roles` give the role `administrator`.
    #[serde(default)]
    pub give_administrator: bool,
    /// Who gets which role; nobody gets any without a rule.
    #[serde(default)]
    pub roles: Vec<IdentityRole>,
    /// Values of `acr` that stand for a second factor.
    #[serde(default)]
    pub second_factor_acr: Vec<String>,
    /// Values of `amr` that stand for a second factor, e.g. `mfa`.
    #[serde(default)]
    pub second_factor_amr: Vec<String>,
    /// Values of `acr` that stand for a passkey or the like, e.g. `phr`.
    #[serde(default)]
    pub passkey_acr: Vec<String>,
    /// Values of `amr` that stand for one, e.g. `hwk`.
    #[serde(default)]
    pub passkey_amr: Vec<String>,
    /// Of accounts that are made, BCP-47.
    #[serde(default = "language")]
    pub language: String,
    /// Lets the provider be reached by plain http; for trying out only.
    #[serde(default)]
    pub allow_http: bool,
    /// Lets the provider be in a private network or on this machine.
    #[serde(default)]
    pub allow_private: bool,
}

/// People whose claim is this value, or a list that has it, get the role.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityRole {
    /// e.g. `groups`, or with dots for one inside others: `realm_access.roles`.
    pub claim: String,
    pub value: String,
    /// e.g. `doctor`
    pub role: String,
}

fn scopes() -> Vec<String> {
    vec!["profile".into(), "email".into()]
}

fn language() -> String {
    "en".into()
}

impl IdentityProvider {
    /// What its words are worth here.
    pub fn rules(&self, id: &str) -> ProviderRules {
        let rule = |role: &IdentityRole| {
            Some(RoleRule {
                claim: role.claim.clone(),
                value: role.value.clone(),
                role: Role::from_code(&role.role)?,
            })
        };
        ProviderRules {
            id: id.to_owned(),
            name: self.name.clone(),
            creates_accounts: self.create_accounts,
            gives_administrator: self.give_administrator,
            roles: self.roles.iter().filter_map(rule).collect(),
            second_factor: Trust { acr: self.second_factor_acr.clone(), amr: self.second_factor_amr.clone() },
            passkey: Trust { acr: self.passkey_acr.clone(), amr: self.passkey_amr.clone() },
            language: self.language.clone(),
        }
    }
}

/// Errors: what is wrong, with the name of the key.
pub(super) fn check(providers: &IdentityProviders) -> Result<(), String> {
    if providers.len() > MAX_PROVIDERS {
        return Err(format!("identity_providers: at most {MAX_PROVIDERS}"));
    }
    let mut issuers = Vec::new();
    for (id, provider) in providers {
        let wrong = |text: &str| Err(format!("identity_providers.{id}: {text}"));
        let fits = (1..=MAX_ID_CHARS).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits {
            return wrong("an id has small letters, digits and hyphens only");
        }
        if provider.name.trim().is_empty() || provider.client_id.is_empty() {
            return wrong("name and client_id must not be empty");
        }
        if provider.client_secret.is_some() && provider.client_secret_file.is_some() {
            return wrong("only one of client_secret and client_secret_file may be given");
        }
        if issuers.contains(&provider.issuer.as_str()) {
            return wrong("another provider has this issuer");
        }
        issuers.push(provider.issuer.as_str());
        if provider.roles.len() > MAX_RULES {
            return wrong("too many roles");
        }
        for rule in &provider.roles {
            let Some(role) = Role::from_code(&rule.role) else {
                return Err(format!("identity_providers.{id}: `{}` is no role", rule.role));
            };
            if rule.claim.is_empty() || rule.value.is_empty() {
                return wrong("claim and value of a role must not be empty");
            }
            if !is_mappable(role, provider.give_administrator) {
                return Err(format!(
                    "identity_providers.{id}: the role `{}` cannot be given{}",
                    rule.role,
                    if role == Role::Administrator { " without give_administrator = true" } else { "" },
                ));
            }
        }
    }
    Ok(())
}
