//! Accounts, sessions, one-time codes, registration and OAuth clients.

mod account;
mod client;
mod code;
pub mod duplicate;
pub mod password;
mod registration;
pub(crate) mod secret;
mod session;
mod throttle;

pub use client::ClientRow;
pub(crate) use code::KEEP_EXPIRED;
pub(crate) use session::user;
pub(crate) use throttle::Throttle;

use access::{Role, User};
use fhir::ResourceKey;
use jiff::Timestamp;

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
    Link {
        candidate: String,
    },
    NotDuplicate,
}

#[derive(Clone)]
pub struct AccessToken {
    pub token: String,
    pub expires_in_s: u32,
    /// What was granted, space separated.
    pub scope: String,
}

/// E.164 of a phone number in any form; numbers without a country code are Kenyan. `None` if it is no phone number.
pub fn phone_e164(text: &str) -> Option<String> {
    wire::phone::parse(text, COUNTRY).ok()
}

/// Where the clinic is, for numbers written without a country code.
const COUNTRY: &str = "KE";
