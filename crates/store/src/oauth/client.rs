//! Registered applications.

use super::{hash, join, split};
use crate::{Result, Tx, params};
use jiff::Timestamp;

/// How a client shows at the token endpoint that it is itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Authentication {
    /// A public client: cannot keep a secret.
    None,
    #[default]
    Secret,
    /// `private_key_jwt`
    Key,
}

impl Authentication {
    pub fn code(self) -> &'static str {
        match self {
            Authentication::None => "none",
            Authentication::Secret => "secret",
            Authentication::Key => "key",
        }
    }
    pub fn from_code(code: &str) -> Option<Authentication> {
        [Authentication::None, Authentication::Secret, Authentication::Key]
            .into_iter()
            .find(|a| a.code() == code)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Client {
    pub id: String,
    /// SHA-256: the secret is 256 random bits, so a slow hash would protect nothing. Of nothing anybody knows if the
    /// client has no secret.
    pub secret_hash: [u8; 32],
    pub name: String,
    /// Scopes it may be granted, SMART v2 and `openid` and its kin.
    pub scopes: Vec<String>,
    pub disabled: bool,
    pub created: Timestamp,
    pub facts: Facts,
}

/// What a client is besides its name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    pub authentication: Authentication,
    /// Where a person may be sent back to; compared whole.
    pub redirects: Vec<String>,
    /// Where a launch from this program begins.
    pub launch_url: Option<String>,
    /// A JWK Set, as registered.
    pub jwks: Option<String>,
    pub jwks_url: Option<String>,
    /// By which id tokens for it are signed: `RS256` or `ES384`; empty is `RS256`.
    pub algorithm: String,
}

/// Errors: [crate::Error::Constraint] if the id exists.
pub fn create_client(tx: &mut dyn Tx, client: &Client) -> Result<()> {
    let facts = &client.facts;
    tx.execute(
        "INSERT INTO oauth_client (id, secret_hash, name, scopes, disabled, created_us, authentication, redirects, \
         launch_url, jwks, jwks_url, algorithm) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        params![
            &client.id,
            &client.secret_hash,
            &client.name,
            &join(&client.scopes),
            client.disabled,
            client.created,
            facts.authentication.code(),
            &facts.redirects.join("\n"),
            facts.launch_url.as_ref(),
            facts.jwks.as_ref(),
            facts.jwks_url.as_ref(),
            algorithm(facts)
        ],
    )?;
    Ok(())
}

fn algorithm(facts: &Facts) -> &str {
    if facts.algorithm.is_empty() { "RS256" } else { &facts.algorithm }
}

/// Replaces name, scopes and facts. `false`: the client is not (or not any more) as in `before`.
pub fn change_client(tx: &mut dyn Tx, before: &Client, after: &Client) -> Result<bool> {
    let facts = &after.facts;
    let known = |text: &Option<String>| text.clone().unwrap_or_default();
    let changed = tx.execute(
        "UPDATE oauth_client SET name = $2, scopes = $3, authentication = $4, redirects = $5, launch_url = $6, \
         jwks = $7, jwks_url = $8, algorithm = $9 \
         WHERE id = $1 AND name = $10 AND scopes = $11 AND redirects = $12 AND COALESCE(launch_url, '') = $13 \
         AND COALESCE(jwks, '') = $14 AND COALESCE(jwks_url, '') = $15 AND disabled = $16",
        params![
            &before.id,
            &after.name,
            &join(&after.scopes),
            facts.authentication.code(),
            &facts.redirects.join("\n"),
            facts.launch_url.as_ref(),
            facts.jwks.as_ref(),
            facts.jwks_url.as_ref(),
            algorithm(facts),
            &before.name,
            &join(&before.scopes),
            &before.facts.redirects.join("\n"),
            &known(&before.facts.launch_url),
            &known(&before.facts.jwks),
            &known(&before.facts.jwks_url),
            before.disabled
        ],
    )?;
    Ok(changed == 1)
}

/// Returns whether the client exists.
pub fn set_secret(tx: &mut dyn Tx, id: &str, secret_hash: &[u8; 32]) -> Result<bool> {
    Ok(tx.execute("UPDATE oauth_client SET secret_hash = $2 WHERE id = $1", params![id, secret_hash])? == 1)
}

pub fn client(tx: &mut dyn Tx, id: &str) -> Result<Option<Client>> {
    tx.one(&format!("SELECT {COLUMNS} FROM oauth_client WHERE id = $1"), params![id], read)
}

/// All clients, oldest first, at most 1,000.
pub fn clients(tx: &mut dyn Tx) -> Result<Vec<Client>> {
    tx.all(&format!("SELECT {COLUMNS} FROM oauth_client ORDER BY created_us, id LIMIT 1000"), &[], read)
}

/// Disabling ends all of the client's tokens. Returns whether the client exists.
pub fn set_disabled(tx: &mut dyn Tx, id: &str, disabled: bool) -> Result<bool> {
    if disabled {
        tx.execute("DELETE FROM oauth_token WHERE client = $1", params![id])?;
    }
    Ok(tx.execute("UPDATE oauth_client SET disabled = $2 WHERE id = $1", params![id, disabled])? == 1)
}

pub(super) const COLUMNS: &str = "id, secret_hash, name, scopes, disabled, created_us, authentication, redirects, \
     launch_url, jwks, jwks_url, algorithm";

pub(super) fn read(row: &crate::Row<'_>) -> Result<Client> {
    Ok(Client {
        id: row.string(0)?,
        secret_hash: hash(row.bytes(1)?)?,
        name: row.string(2)?,
        scopes: split(row.text(3)?),
        disabled: row.bool(4)?,
        created: row.time(5)?,
        facts: Facts {
            authentication: Authentication::from_code(row.text(6)?)
                .ok_or_else(|| crate::Error::Corrupt("oauth_client.authentication".into()))?,
            redirects: row.text(7)?.split('\n').filter(|r| !r.is_empty()).map(str::to_owned).collect(),
            launch_url: row.opt_string(8)?,
            jwks: row.opt_string(9)?,
            jwks_url: row.opt_string(10)?,
            algorithm: row.string(11)?,
        },
    })
}
