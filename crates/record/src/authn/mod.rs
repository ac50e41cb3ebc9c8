//! Accounts, sessions, one-time codes, registration and OAuth clients.

mod account;
mod breached;
mod cbor;
mod code;
mod device;
pub mod duplicate;
#[doc(hidden)]
pub mod foreign;
pub mod four_eyes;
mod fresh;
mod link;
mod notice;
pub mod outside;
mod oversight;
mod passkey;
pub mod password;
pub(crate) mod policy;
mod registration;
mod seal;
mod second;
pub(crate) mod secret;
mod session;
mod signin;
mod throttle;
pub mod totp;

pub use crate::oauth::ClientRow;
pub(crate) use code::{KEEP_EXPIRED, Sending, Text};
use notice::Notice;
pub use outside::{IdentityRow, ProviderRules, RoleRule, Trust, Vouched};
pub use oversight::{AccountProtection, Attention};
pub use policy::{SecondFactor, SecondPerson, SecurityPolicy};
pub(crate) use second::KEPT as CEREMONIES_KEPT;
pub use second::TotpSetup;
pub(crate) use session::user;
pub use store::account::Kind as AccountKind;
pub(crate) use throttle::{FAILURES_KEPT, ORIGIN_KNOWN, PER_ADDRESS, PER_NAME, Throttle};

use access::{Due, Factor, Role, SessionFacts, User};
use fhir::ResourceKey;
use jiff::Timestamp;
use std::net::IpAddr;

/// How long ago a person may have shown herself for what is worth more than a session left open.
pub const SENSITIVE_MINUTES: u32 = 10;

/// Where somebody signs in from.
#[derive(Clone, Default)]
pub struct Origin {
    pub address: Option<IpAddr>,
    /// What the browser keeps between sign-ins, see [device_token].
    pub device: Option<String>,
    /// For lists of sessions, e.g. `Firefox, Android`.
    pub device_name: String,
    /// What a shared device of the clinic keeps.
    pub shared_device: Option<String>,
    pub request_id: String,
}

/// A new token for a browser to keep: where it was signed in from before, a stranger's guesses delay nobody.
/// Errors: `Internal` without randomness.
pub fn device_token() -> Result<String, crate::Error> {
    secret::token()
}

/// What the right password leads to.
#[derive(Clone)]
pub enum SignIn {
    Open(Session),
    /// The second factor comes next.
    SecondFactor(Pending),
}

/// A sign-in that waits for its second factor.
#[derive(Debug, Clone, PartialEq)]
pub struct Pending {
    pub id: String,
    /// Which would do.
    pub factors: Vec<Factor>,
    pub expires_at: Timestamp,
}

/// What a person shows besides, or instead of, her name.
#[derive(Clone)]
pub enum Proof {
    Password(String),
    /// Six digits of an authenticator application.
    Totp(String),
    RecoveryCode(String),
    /// What `navigator.credentials.get` gave, by `toJSON`.
    Passkey(serde_json::Value),
}

/// How a link gets to its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    Email,
    Sms,
    /// To the administrator, who passes it on.
    Shown,
}

impl Delivery {
    /// Stable; stored and shown to API users.
    pub fn code(self) -> &'static str {
        match self {
            Delivery::Email => "email",
            Delivery::Sms => "sms",
            Delivery::Shown => "shown",
        }
    }
    pub(crate) fn from_code(code: &str) -> Option<Delivery> {
        [Delivery::Email, Delivery::Sms, Delivery::Shown].into_iter().find(|way| way.code() == code)
    }
}

/// An invitation on its way.
#[derive(Clone)]
pub struct Invited {
    pub account: i64,
    /// Only if it is to be shown.
    pub token: Option<String>,
    /// Masked.
    pub sent_to: Option<String>,
    pub expires_at: Timestamp,
}

/// What a link is for.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkFacts {
    /// `invitation` or `reset`.
    pub purpose: &'static str,
    pub display: String,
    /// With what to sign in afterwards.
    pub login: Option<String>,
    pub expires_at: Timestamp,
}

/// A passkey in the list of its owner.
#[derive(Debug, Clone, PartialEq)]
pub struct PasskeyRow {
    /// The credential's id, base64url.
    pub id: String,
    pub name: String,
    /// Kept by the maker of the device, not only on it.
    pub is_synced: bool,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
}

/// What an account is protected by.
#[derive(Debug, Clone, PartialEq)]
pub struct SecurityState {
    /// What the clinic asks of this person.
    pub second_factor: SecondFactor,
    pub password_at: Option<Timestamp>,
    pub totp_since: Option<Timestamp>,
    pub recovery_codes_left: u32,
    pub passkeys: Vec<PasskeyRow>,
}

/// A shared device in the administrator's list.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceRow {
    pub id: [u8; 32],
    pub name: String,
    pub made_by: i64,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
}

/// Who can change over on a shared device.
#[derive(Debug, Clone, PartialEq)]
pub struct DevicePeople {
    pub name: String,
    /// Account and display name.
    pub people: Vec<(i64, String)>,
}

/// The name that passkeys belong to, and where pages of it come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Site {
    pub id: String,
    pub origin: String,
}

/// A session in the list of its owner.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRow {
    pub id: [u8; 8],
    /// e.g. `Firefox, Android`; empty if not known.
    pub device: String,
    /// Where it was seen last; empty if not known.
    pub address: String,
    pub kiosk: bool,
    pub factors: Vec<Factor>,
    pub begun_at: Timestamp,
    pub last_seen_at: Timestamp,
    pub expires_at: Timestamp,
    /// The one of the request.
    pub is_current: bool,
}

/// A session just opened. The token is shown once; only its SHA-256 is stored.
#[derive(Clone)]
pub struct Session {
    pub token: String,
    pub user: User,
    pub expires_at: Timestamp,
    pub idle_expires_at: Timestamp,
    /// What must be done before it is good for anything else.
    pub due: Option<Due>,
}

/// What a token stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionInfo {
    pub user: User,
    /// The account's phone, E.164.
    pub phone: Option<String>,
    pub expires_at: Timestamp,
    pub idle_expires_at: Timestamp,
    pub facts: SessionFacts,
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
    /// Beside the password.
    pub second_factors: Vec<Factor>,
    /// False: she was invited, or signs in in another way.
    pub has_password: bool,
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

/// BCP-47 language that a Patient or Practitioner prefers.
pub fn language_of(person: &serde_json::Value) -> Option<&str> {
    let all = person.get("communication")?.as_array()?;
    let preferred = all.iter().find(|one| one["preferred"] == true).or(all.first())?;
    // Patient.communication.language is a concept, Practitioner.communication is one itself.
    let code = ["/language/coding/0/code", "/coding/0/code"].iter().find_map(|at| preferred.pointer(at))?;
    code.as_str()
}

/// Where the clinic is, for numbers written without a country code.
const COUNTRY: &str = "KE";
