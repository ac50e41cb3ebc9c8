//! Accounts, sessions, one-time codes, registration and OAuth clients.

use crate::{Committed, Error, Record};
use access::{Ctx, Principal, Role, User};
use fhir::ResourceKey;
use jiff::Timestamp;
use std::net::IpAddr;

/// A session just opened. The token is shown once; only its SHA-256 is stored.
#[derive(Clone)]
pub struct Session {
    pub token: String,
    pub user: User,
    pub expires_at: Timestamp,
    pub idle_expires_at: Timestamp,
}

/// What a token stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionInfo {
    pub user: User,
    /// The account's phone, E.164.
    pub phone: Option<String>,
    pub expires_at: Timestamp,
    pub idle_expires_at: Timestamp,
}

/// An account to make for a person (staff: made by an administrator).
#[derive(Clone)]
pub struct AccountSpec {
    pub display: String,
    /// User name or e-mail, unique without case; `None` for people who sign in by phone.
    pub login: Option<String>,
    /// Any form; stored as E.164.
    pub phone: Option<String>,
    pub email: Option<String>,
    /// `None`: a one-time password is made and returned.
    pub password: Option<String>,
    pub roles: Vec<Role>,
    pub patient: Option<ResourceKey>,
    pub practitioner: Option<ResourceKey>,
    /// BCP-47, e.g. `sw`.
    pub language: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AccountRow {
    pub account: i64,
    pub display: String,
    pub login: Option<String>,
    pub phone: Option<String>,
    pub email: Option<String>,
    pub roles: Vec<Role>,
    pub patient: Option<ResourceKey>,
    pub practitioner: Option<ResourceKey>,
    pub language: String,
    pub disabled: bool,
    pub created_at: Timestamp,
    pub last_login: Option<Timestamp>,
}

/// `None` leaves a field as it is.
#[derive(Debug, Clone, Default)]
pub struct AccountChange {
    pub display: Option<String>,
    pub roles: Option<Vec<Role>>,
    pub disabled: Option<bool>,
    pub language: Option<String>,
    pub practitioner: Option<ResourceKey>,
}

/// `POST /api/v1/auth/register`.
#[derive(Clone)]
pub struct NewPatient {
    pub given: String,
    pub family: String,
    /// `YYYY-MM-DD`
    pub birth_date: String,
    /// `female|male|other|unknown`
    pub sex: Option<String>,
    /// Any form.
    pub phone: String,
    pub password: String,
    pub language: String,
    pub accept_terms: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct CodeSent {
    /// Names the registration or reset in the next step; opaque.
    pub id: String,
    /// e.g. `+254 7•• ••• 123`
    pub phone_masked: String,
    pub expires_at: Timestamp,
    pub resend_after_s: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Resolution {
    /// The new record is the same person as `candidate` (a Patient id), which is kept.
    Link { candidate: String },
    NotDuplicate,
}

#[derive(Clone)]
pub struct AccessToken {
    pub token: String,
    pub expires_in_s: u32,
    /// What was granted, space separated.
    pub scope: String,
}

macro_rules! not_built {
    ($($x:ident),*) => {{ let _ = ($($x),*); Err(Error::Internal("not built".into())) }};
}

impl Record {
    /// Makes an account; only administrators and System principals. Returns its id and the one-time password if none
    /// was given. Errors: `Denied`; `Invalid`-like [Error::Rule] `password-short`, `password-common`, `phone-invalid`;
    /// `Duplicate` `login-taken`.
    pub async fn create_account(&self, ctx: &Ctx, new: AccountSpec) -> Result<(i64, Option<String>), Error> {
        not_built!(ctx, new)
    }
    /// Accounts by name, login or phone, for administrators. Returns rows and the next cursor.
    pub async fn accounts(
        &self,
        ctx: &Ctx,
        text: Option<&str>,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<(Vec<AccountRow>, Option<String>), Error> {
        not_built!(ctx, text, limit, cursor)
    }
    /// Changes an account: administrators any, users their own language. Disabling or other roles end its sessions.
    pub async fn update_account(&self, ctx: &Ctx, account: i64, change: AccountChange) -> Result<AccountRow, Error> {
        not_built!(ctx, account, change)
    }
    /// `login`: phone in any form, e-mail or user name. Errors: `Rule` `credentials-wrong` (401, the same answer and
    /// time for unknown names), `Throttled`.
    pub async fn login(&self, login: &str, password: &str, address: Option<IpAddr>) -> Result<Session, Error> {
        not_built!(login, password, address)
    }
    /// Who this token is; slides the idle limit. Errors: `Unauthenticated`.
    pub async fn session(&self, token: &str) -> Result<SessionInfo, Error> {
        not_built!(token)
    }
    /// Replaces the token by a new one within the absolute limit. Errors: `Unauthenticated`.
    pub async fn refresh(&self, token: &str) -> Result<Session, Error> {
        not_built!(token)
    }
    pub async fn logout(&self, ctx: &Ctx, token: &str) -> Result<(), Error> {
        not_built!(ctx, token)
    }
    /// Ends every session of the account; the person herself or an administrator.
    pub async fn logout_everywhere(&self, ctx: &Ctx, account: i64) -> Result<(), Error> {
        not_built!(ctx, account)
    }
    /// Ends all other sessions. Errors: `Rule` `credentials-wrong`, `password-short`, `password-common`.
    pub async fn change_password(&self, ctx: &Ctx, old: &str, new: &str) -> Result<(), Error> {
        not_built!(ctx, old, new)
    }

    /// Checks the form, stores it for ten minutes and sends a code by SMS. A phone that has an account gets a text that says so;
    /// the answer is the same. Errors: `Rule` with `code` and `field` as in the contract (`phone-invalid` `/phone`, …),
    /// `Throttled`.
    pub async fn begin_registration(&self, ctx: &Ctx, new: NewPatient) -> Result<CodeSent, Error> {
        not_built!(ctx, new)
    }
    /// Errors: `NotFound`, `Throttled`.
    pub async fn resend_registration(&self, ctx: &Ctx, id: &str) -> Result<CodeSent, Error> {
        not_built!(ctx, id)
    }
    /// Makes Patient and account in one transaction and signs her in. A likely duplicate is tagged and a Task for the
    /// front desk is made. Errors: `Rule` `code-wrong` (details `{"attempts_left":n}`), `code-expired`; `NotFound`.
    pub async fn confirm_registration(&self, ctx: &Ctx, id: &str, code: &str) -> Result<Session, Error> {
        not_built!(ctx, id, code)
    }
    /// Sends a code to the account's phone; unknown logins get the same answer and no message.
    pub async fn begin_reset(&self, ctx: &Ctx, login: &str) -> Result<CodeSent, Error> {
        not_built!(ctx, login)
    }
    /// Sets the password, ends all sessions, opens one. Errors: as [Record::confirm_registration] and passwords.
    pub async fn confirm_reset(&self, ctx: &Ctx, id: &str, code: &str, password: &str) -> Result<Session, Error> {
        not_built!(ctx, id, code, password)
    }
    /// Ends a `patient-duplicate-review` Task. Front desk and administrators.
    pub async fn resolve_duplicate(&self, ctx: &Ctx, task: &ResourceKey, resolution: Resolution) -> Result<Committed, Error> {
        not_built!(ctx, task, resolution)
    }
    /// Patients that may be the same person as one with these facts, best first: `(Patient, version, score 0–100)`.
    pub async fn duplicate_candidates(
        &self,
        ctx: &Ctx,
        given: &str,
        family: &str,
        birth_date: &str,
        phone: Option<&str>,
    ) -> Result<Vec<(fhir::Resource, u32, u8)>, Error> {
        not_built!(ctx, given, family, birth_date, phone)
    }

    /// Registers an OAuth client; System principals and administrators. Returns id and secret (shown once).
    /// Errors: `Rule` `scope-invalid`.
    pub async fn create_client(&self, ctx: &Ctx, name: &str, scopes: &[String]) -> Result<(String, String), Error> {
        not_built!(ctx, name, scopes)
    }
    /// OAuth client credentials. `scope` `None`: all of the client's. Errors: `Unauthenticated`, `Rule` `invalid-scope`,
    /// `Throttled`.
    pub async fn token(
        &self,
        client_id: &str,
        secret: &str,
        scope: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<AccessToken, Error> {
        not_built!(client_id, secret, scope, address)
    }
    /// Who this access token (or API session token) is. Errors: `Unauthenticated`.
    pub async fn bearer(&self, token: &str) -> Result<Principal, Error> {
        not_built!(token)
    }
}

/// E.164 of a phone number in any form; numbers without a country code are Kenyan. `None` if it is no phone number.
pub fn phone_e164(text: &str) -> Option<String> {
    let _ = text;
    None
}
