//! Access tokens.

use super::{Client, Grant, client, join, split};
use crate::account::Account;
use crate::{Result, Tx, params};
use jiff::{SignedDuration, Timestamp};

/// Grants that are over are shown so long.
const GRANTS_KEPT: SignedDuration = SignedDuration::from_hours(90 * 24);

#[derive(Debug, Clone, PartialEq)]
pub struct NewToken {
    pub token_hash: [u8; 32],
    pub client: String,
    pub scopes: Vec<String>,
    pub expires: Timestamp,
    /// What a person granted; `None`: the client acts for itself.
    pub grant: Option<String>,
}

/// A live token.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub client: Client,
    pub scopes: Vec<String>,
    pub expires: Timestamp,
    /// For whom the client acts, if not for itself.
    pub person: Option<(Grant, Account)>,
}

pub fn insert_token(tx: &mut dyn Tx, token: &NewToken) -> Result<()> {
    tx.execute(
        "INSERT INTO oauth_token (token_hash, client, scopes, expires_us, grant_id) VALUES ($1, $2, $3, $4, $5)",
        params![&token.token_hash, &token.client, &join(&token.scopes), token.expires, token.grant.as_ref()],
    )?;
    Ok(())
}

/// `None` for a token that expired, whose client or person is disabled, or whose grant was revoked.
pub fn find_token(tx: &mut dyn Tx, token_hash: &[u8; 32], now: Timestamp) -> Result<Option<Found>> {
    let token = tx.one(
        "SELECT client, scopes, expires_us, grant_id FROM oauth_token WHERE token_hash = $1 AND expires_us > $2",
        params![token_hash, now],
        |row| Ok((row.string(0)?, split(row.text(1)?), row.time(2)?, row.opt_string(3)?)),
    )?;
    let Some((id, scopes, expires, grant)) = token else { return Ok(None) };
    let Some(client) = client::client(tx, &id)?.filter(|c| !c.disabled) else { return Ok(None) };
    let person = match grant {
        None => None,
        Some(grant) => match super::grant(tx, &grant)?.filter(|g| g.is_live(now) && g.client == id) {
            None => return Ok(None),
            Some(grant) => match crate::account::load(tx, grant.account)?.filter(|a| !a.disabled) {
                None => return Ok(None),
                Some(account) => Some((grant, account)),
            },
        },
    };
    Ok(Some(Found { client, scopes, expires, person }))
}

/// Ends one token of this client; returns whether there was one.
pub fn end_token(tx: &mut dyn Tx, token_hash: &[u8; 32], client: &str) -> Result<bool> {
    let sql = "DELETE FROM oauth_token WHERE token_hash = $1 AND client = $2";
    Ok(tx.execute(sql, params![token_hash, client])? == 1)
}

/// Removes what expired; returns how many rows.
pub fn prune(tx: &mut dyn Tx, now: Timestamp) -> Result<u64> {
    let before = now.checked_sub(GRANTS_KEPT).unwrap_or(Timestamp::MIN);
    let mut removed = 0;
    for table in ["oauth_token", "oauth_code", "oauth_refresh", "oauth_assertion"] {
        removed += tx.execute(&format!("DELETE FROM {table} WHERE expires_us <= $1"), params![now])?;
    }
    removed +=
        tx.execute("DELETE FROM oauth_grant WHERE expires_us <= $1 OR revoked_us <= $1", params![before])?;
    Ok(removed)
}
