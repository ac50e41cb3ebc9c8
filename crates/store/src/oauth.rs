//! OAuth clients and their access tokens; secrets and tokens only as SHA-256.

use crate::{Result, Tx, params};
use jiff::Timestamp;

#[derive(Debug, Clone, PartialEq)]
pub struct Client {
    pub id: String,
    /// SHA-256: the secret is 256 random bits, so a slow hash would protect nothing.
    pub secret_hash: [u8; 32],
    pub name: String,
    /// SMART v2 system scopes.
    pub scopes: Vec<String>,
    pub disabled: bool,
    pub created: Timestamp,
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewToken {
    pub token_hash: [u8; 32],
    pub client: String,
    pub scopes: Vec<String>,
    pub expires: Timestamp,
}

fn join(scopes: &[String]) -> String {
    scopes.join(" ")
}

fn split(scopes: &str) -> Vec<String> {
    scopes.split(' ').filter(|s| !s.is_empty()).map(str::to_owned).collect()
}

fn hash(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| crate::Error::Corrupt("hash".into()))
}

/// Errors: [crate::Error::Constraint] if the id exists.
pub fn create_client(tx: &mut dyn Tx, client: &Client) -> Result<()> {
    tx.execute(
        "INSERT INTO oauth_client (id, secret_hash, name, scopes, disabled, created_us) VALUES ($1, $2, $3, $4, $5, $6)",
        params![
            &client.id,
            &client.secret_hash,
            &client.name,
            &join(&client.scopes),
            client.disabled,
            client.created
        ],
    )?;
    Ok(())
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

pub fn insert_token(tx: &mut dyn Tx, token: &NewToken) -> Result<()> {
    tx.execute(
        "INSERT INTO oauth_token (token_hash, client, scopes, expires_us) VALUES ($1, $2, $3, $4)",
        params![&token.token_hash, &token.client, &join(&token.scopes), token.expires],
    )?;
    Ok(())
}

/// The client of a live token and the scopes granted to the token; `None` if the client is disabled.
pub fn find_token(
    tx: &mut dyn Tx,
    token_hash: &[u8; 32],
    now: Timestamp,
) -> Result<Option<(Client, Vec<String>)>> {
    tx.one(
        "SELECT c.id, c.secret_hash, c.name, c.scopes, c.disabled, c.created_us, t.scopes \
         FROM oauth_token t JOIN oauth_client c ON c.id = t.client \
         WHERE t.token_hash = $1 AND t.expires_us > $2 AND c.disabled = 0",
        params![token_hash, now],
        |row| Ok((read(row)?, split(row.text(6)?))),
    )
}

/// Removes expired tokens; returns how many.
pub fn prune(tx: &mut dyn Tx, now: Timestamp) -> Result<u64> {
    tx.execute("DELETE FROM oauth_token WHERE expires_us <= $1", params![now])
}

const COLUMNS: &str = "id, secret_hash, name, scopes, disabled, created_us";

fn read(row: &crate::Row<'_>) -> Result<Client> {
    Ok(Client {
        id: row.string(0)?,
        secret_hash: hash(row.bytes(1)?)?,
        name: row.string(2)?,
        scopes: split(row.text(3)?),
        disabled: row.bool(4)?,
        created: row.time(5)?,
    })
}
