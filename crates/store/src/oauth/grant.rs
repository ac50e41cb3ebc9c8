//! What people granted to applications, and the codes and refresh tokens that come of it.

use super::{join, split};
use crate::{Result, Tx, params};
use jiff::Timestamp;

/// Grants that one list shows.
const MAX_LISTED: i64 = 200;

/// One agreement of a person with an application.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    pub id: String,
    pub account: i64,
    pub client: String,
    pub scopes: Vec<String>,
    /// JSON: patient and encounter of the launch, nonce, when the person signed in.
    pub context: String,
    pub created: Timestamp,
    pub expires: Timestamp,
    pub last_used: Option<Timestamp>,
    pub revoked: Option<Timestamp>,
}

impl Grant {
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.revoked.is_none() && self.expires > now
    }
}

/// A code for the redirect.
#[derive(Debug, Clone, PartialEq)]
pub struct NewCode {
    pub code_hash: [u8; 32],
    pub grant: String,
    pub client: String,
    pub redirect: String,
    /// Base64url of the SHA-256 of the verifier.
    pub challenge: String,
    pub expires: Timestamp,
}

/// A code that somebody brought.
#[derive(Debug, Clone, PartialEq)]
pub struct UsedCode {
    pub code: NewCode,
    /// This use is the first.
    pub is_first: bool,
}

/// A refresh token: a new one, or one that somebody brought.
#[derive(Debug, Clone, PartialEq)]
pub struct Refresh {
    pub token_hash: [u8; 32],
    pub grant: String,
    pub client: String,
    pub expires: Timestamp,
    /// How often it was used, this time included.
    pub used: i64,
}

const COLUMNS: &str =
    "id, account, client, scopes, context, created_us, expires_us, last_used_us, revoked_us";

fn read(row: &crate::Row<'_>) -> Result<Grant> {
    Ok(Grant {
        id: row.string(0)?,
        account: row.int(1)?,
        client: row.string(2)?,
        scopes: split(row.text(3)?),
        context: row.string(4)?,
        created: row.time(5)?,
        expires: row.time(6)?,
        last_used: row.opt_time(7)?,
        revoked: row.opt_time(8)?,
    })
}

pub fn insert_grant(tx: &mut dyn Tx, grant: &Grant) -> Result<()> {
    tx.execute(
        "INSERT INTO oauth_grant (id, account, client, scopes, context, created_us, expires_us) \
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        params![
            &grant.id,
            grant.account,
            &grant.client,
            &join(&grant.scopes),
            &grant.context,
            grant.created,
            grant.expires
        ],
    )?;
    Ok(())
}

pub fn grant(tx: &mut dyn Tx, id: &str) -> Result<Option<Grant>> {
    tx.one(&format!("SELECT {COLUMNS} FROM oauth_grant WHERE id = $1"), params![id], read)
}

/// Live grants, newest first, at most 200; `None`: of everybody.
pub fn grants(
    tx: &mut dyn Tx,
    account: Option<i64>,
    client: Option<&str>,
    now: Timestamp,
) -> Result<Vec<Grant>> {
    let sql = format!(
        "SELECT {COLUMNS} FROM oauth_grant WHERE revoked_us IS NULL AND expires_us > $1 \
         AND ($2 = 0 OR account = $2) AND ($3 = '' OR client = $3) ORDER BY created_us DESC, id LIMIT $4"
    );
    tx.all(&sql, params![now, account.unwrap_or(0), client.unwrap_or_default(), MAX_LISTED], read)
}

/// Notes that the grant was used.
pub fn touch(tx: &mut dyn Tx, id: &str, now: Timestamp) -> Result<()> {
    tx.execute("UPDATE oauth_grant SET last_used_us = $2 WHERE id = $1", params![id, now])?;
    Ok(())
}

/// Moves the end of a grant that lives on by being used.
pub fn extend(tx: &mut dyn Tx, id: &str, expires: Timestamp) -> Result<()> {
    tx.execute(
        "UPDATE oauth_grant SET expires_us = $2 WHERE id = $1 AND expires_us < $2",
        params![id, expires],
    )?;
    Ok(())
}

/// Ends a grant and everything that came of it. Returns whether it was alive.
pub fn revoke(tx: &mut dyn Tx, id: &str, now: Timestamp) -> Result<bool> {
    for table in ["oauth_token", "oauth_refresh", "oauth_code"] {
        tx.execute(&format!("DELETE FROM {table} WHERE grant_id = $1"), params![id])?;
    }
    let sql =
        "UPDATE oauth_grant SET revoked_us = $2 WHERE id = $1 AND revoked_us IS NULL AND expires_us > $2";
    Ok(tx.execute(sql, params![id, now])? == 1)
}

/// Ends all that a person granted; returns how many grants.
pub fn revoke_of_account(tx: &mut dyn Tx, account: i64, now: Timestamp) -> Result<u64> {
    revoke_all(tx, Some(account), None, now)
}

/// Ends all that was granted to a client; returns how many grants.
pub fn revoke_of_client(tx: &mut dyn Tx, client: &str, now: Timestamp) -> Result<u64> {
    revoke_all(tx, None, Some(client), now)
}

fn revoke_all(tx: &mut dyn Tx, account: Option<i64>, client: Option<&str>, now: Timestamp) -> Result<u64> {
    let mut ended = 0;
    // As many as there are, some at a time: what is revoked is listed no more.
    loop {
        let some = grants(tx, account, client, now)?;
        if some.is_empty() {
            return Ok(ended);
        }
        for grant in some {
            ended += u64::from(revoke(tx, &grant.id, now)?);
        }
    }
}

pub fn insert_code(tx: &mut dyn Tx, code: &NewCode) -> Result<()> {
    tx.execute(
        "INSERT INTO oauth_code (code_hash, grant_id, client, redirect, challenge, expires_us, used) \
         VALUES ($1, $2, $3, $4, $5, $6, 0)",
        params![&code.code_hash, &code.grant, &code.client, &code.redirect, &code.challenge, code.expires],
    )?;
    Ok(())
}

/// Counts a use of the code; `None` if there is none, or none any more.
pub fn use_code(tx: &mut dyn Tx, code_hash: &[u8; 32]) -> Result<Option<UsedCode>> {
    tx.one(
        "UPDATE oauth_code SET used = used + 1 WHERE code_hash = $1 \
         RETURNING grant_id, client, redirect, challenge, expires_us, used",
        params![code_hash],
        |row| {
            let code = NewCode {
                code_hash: *code_hash,
                grant: row.string(0)?,
                client: row.string(1)?,
                redirect: row.string(2)?,
                challenge: row.string(3)?,
                expires: row.time(4)?,
            };
            Ok(UsedCode { code, is_first: row.int(5)? == 1 })
        },
    )
}

pub fn insert_refresh(tx: &mut dyn Tx, token: &Refresh) -> Result<()> {
    tx.execute(
        "INSERT INTO oauth_refresh (token_hash, grant_id, client, expires_us, used) VALUES ($1, $2, $3, $4, $5)",
        params![&token.token_hash, &token.grant, &token.client, token.expires, token.used],
    )?;
    Ok(())
}

/// Whose refresh token this is, without using it; `None` if there is none or it was used.
pub fn refresh(tx: &mut dyn Tx, token_hash: &[u8; 32], now: Timestamp) -> Result<Option<Grant>> {
    let sql = "SELECT grant_id FROM oauth_refresh WHERE token_hash = $1 AND used = 0 AND expires_us > $2";
    match tx.one(sql, params![token_hash, now], |row| row.string(0))? {
        Some(id) => grant(tx, &id),
        None => Ok(None),
    }
}

/// Whose refresh token this is, used or not.
pub fn family(tx: &mut dyn Tx, token_hash: &[u8; 32]) -> Result<Option<Grant>> {
    let sql = "SELECT grant_id FROM oauth_refresh WHERE token_hash = $1";
    match tx.one(sql, params![token_hash], |row| row.string(0))? {
        Some(id) => grant(tx, &id),
        None => Ok(None),
    }
}

/// Counts a use of the token, if it is this client's; `None` if there is none.
pub fn use_refresh(tx: &mut dyn Tx, token_hash: &[u8; 32], client: &str) -> Result<Option<Refresh>> {
    tx.one(
        "UPDATE oauth_refresh SET used = used + 1 WHERE token_hash = $1 AND client = $2 \
         RETURNING grant_id, client, expires_us, used",
        params![token_hash, client],
        |row| {
            Ok(Refresh {
                token_hash: *token_hash,
                grant: row.string(0)?,
                client: row.string(1)?,
                expires: row.time(2)?,
                used: row.int(3)?,
            })
        },
    )
}
