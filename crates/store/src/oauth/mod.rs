//! OAuth: applications, what people granted them, tokens, keys. Secrets and tokens only as SHA-256.

mod client;
mod grant;
mod key;
mod token;

pub use client::{
    Authentication, Client, Facts, change_client, client, clients, create_client, set_disabled, set_secret,
};
pub use grant::{
    Grant, NewCode, Refresh, UsedCode, extend, family, grant, grants, insert_code, insert_grant,
    insert_refresh, refresh, revoke, revoke_of_account, revoke_of_client, touch, use_code, use_refresh,
};
pub use key::{Key, insert_key, keys, prune_keys, use_assertion};
pub use token::{Found, NewToken, end_token, find_token, insert_token, prune};

use crate::Result;

fn join(scopes: &[String]) -> String {
    scopes.join(" ")
}

fn split(scopes: &str) -> Vec<String> {
    scopes.split(' ').filter(|s| !s.is_empty()).map(str::to_owned).collect()
}

fn hash(bytes: &[u8]) -> Result<[u8; 32]> {
    bytes.try_into().map_err(|_| crate::Error::Corrupt("hash".into()))
}
