//! Applications that act for people or for themselves: OAuth 2.1, OpenID Connect, SMART App Launch 2.2.
//!
//! A person agrees once ([Record::decide_authorization]); that makes a grant, and everything that comes of it (a code,
//! access tokens, refresh tokens) is one family that ends together.
//!
//! **Invariant:** an application never does more than its scopes name *and* the person may do at that moment; scopes
//! travel in [access::Ctx::scopes] and only [access::policy] reads them.
//! **Invariant:** no token of an application opens a session or makes another token but by its refresh token.
//! **Invariant:** what was used twice (a code, a refresh token) ends its family.

mod authorize;
mod client;
#[doc(hidden)]
pub mod foreign;
mod grant;
mod jose;
mod key;
mod launch;
mod proof;
mod scope;
mod token;

pub use authorize::{AuthorizationView, AuthorizeError, AuthorizeParams, Decision};
pub use client::{ClientChange, ClientRow, ClientSpec};
pub use grant::GrantRow;
pub use key::SigningKey;
pub use launch::{LaunchSpec, Launched};
pub use store::oauth::Authentication;
pub use token::{ClientClaim, Holder, Proof, TokenAnswer};

pub(crate) use client::{put_change, put_new};
pub(crate) use jose::thumbprints;
pub(crate) use token::Holders;

use crate::{Error, Record, Rule};
use jiff::{SignedDuration, Timestamp};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// An access token lives so long, seconds (facts/security-controls.md I8: at most 15 minutes).
const TOKEN_S: u32 = 10 * 60;
/// A code lives so long.
const CODE: SignedDuration = SignedDuration::from_secs(60);
/// A person has so long to sign in and decide.
const REQUEST: SignedDuration = SignedDuration::from_mins(30);
/// A launch must be used within this time.
const LAUNCH: SignedDuration = SignedDuration::from_mins(5);
/// A grant with `offline_access` lives so long after its last use.
const OFFLINE: SignedDuration = SignedDuration::from_hours(90 * 24);
/// Longest text of one parameter, characters.
const MAX_TEXT_CHARS: usize = 2000;

/// Gets the text at an address that came from data, e.g. a client's JWK Set. The error is for the one who wrote it.
pub type Fetch =
    Arc<dyn Fn(String) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send>> + Send + Sync>;

fn plus(at: Timestamp, duration: SignedDuration) -> Timestamp {
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Errors of RFC 6749 §5.2: the code with hyphens.
fn refuse(code: &'static str, text: impl Into<String>) -> Error {
    Error::Rule(Rule::new(code, text))
}

impl Record {
    /// Who vouches: the server's public address without a trailing slash. Errors: `Internal` before it is set.
    pub(crate) fn issuer(&self) -> Result<&str, Error> {
        let base = self.base().ok_or_else(|| Error::Internal("the server's address is not set".into()))?;
        Ok(base.strip_suffix("/fhir/R4").unwrap_or(base))
    }

    /// How key sets of clients are fetched; without it clients register their keys by value. The first call counts.
    pub fn set_key_fetch(&self, fetch: Fetch) {
        let _ = self.inner.key_fetch.set(fetch);
    }
}
