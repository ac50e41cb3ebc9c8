//! The caller of one request, as every layer below HTTP sees it.

use crate::{ScopeSet, Standing};
use fhir::ResourceKey;
use jiff::Timestamp;
use std::net::IpAddr;
use std::sync::Arc;

/// LEDGER A2. The code is stored with accounts and printed in `/api/v1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Patient,
    Proxy,
    Doctor,
    Nurse,
    FrontDesk,
    Lab,
    Pharmacist,
    Cashier,
    Administrator,
    PrivacyOfficer,
    /// Runs the machine; never sees clinical data.
    It,
    Integration,
}

impl Role {
    pub const ALL: [Role; 12] = [
        Role::Patient,
        Role::Proxy,
        Role::Doctor,
        Role::Nurse,
        Role::FrontDesk,
        Role::Lab,
        Role::Pharmacist,
        Role::Cashier,
        Role::Administrator,
        Role::PrivacyOfficer,
        Role::It,
        Role::Integration,
    ];
    /// As stored with accounts and printed in `/api/v1`, e.g. `front-desk`.
    pub fn code(self) -> &'static str {
        match self {
            Role::Patient => "patient",
            Role::Proxy => "proxy",
            Role::Doctor => "doctor",
            Role::Nurse => "nurse",
            Role::FrontDesk => "front-desk",
            Role::Lab => "lab",
            Role::Pharmacist => "pharmacist",
            Role::Cashier => "cashier",
            Role::Administrator => "administrator",
            Role::PrivacyOfficer => "privacy-officer",
            Role::It => "it",
            Role::Integration => "integration",
        }
    }
    /// The inverse of [Role::code].
    pub fn from_code(code: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|r| r.code() == code)
    }
    /// For people, e.g. in the printed matrix.
    pub fn title(self) -> &'static str {
        match self {
            Role::Patient => "Patient",
            Role::Proxy => "Proxy (parent, guardian)",
            Role::Doctor => "Doctor",
            Role::Nurse => "Nurse",
            Role::FrontDesk => "Front desk",
            Role::Lab => "Laboratory",
            Role::Pharmacist => "Pharmacist",
            Role::Cashier => "Cashier",
            Role::Administrator => "Administrator",
            Role::PrivacyOfficer => "Privacy officer",
            Role::It => "IT staff",
            Role::Integration => "Integration client",
        }
    }
    /// Everybody but patients and their proxies.
    pub fn is_staff(self) -> bool {
        !matches!(self, Role::Patient | Role::Proxy)
    }
}

/// A signed-in person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Row id of the account.
    pub account: i64,
    /// Name for greetings and for `AuditEvent.agent.name`.
    pub display: String,
    pub roles: Vec<Role>,
    /// The Patient this person is, if a patient.
    pub patient: Option<ResourceKey>,
    /// The Practitioner this person is, if staff with a clinical or desk role.
    pub practitioner: Option<ResourceKey>,
    /// BCP-47 language the person reads, e.g. `sw`.
    pub language: String,
    /// Changed rights, running emergencies, people this person acts for.
    pub standing: Arc<Standing>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    Anonymous,
    User(User),
    /// OAuth client credentials. Scopes are SMART v2 system scopes, e.g. `system/*.cruds`.
    Client {
        client_id: String,
        name: String,
        scopes: Vec<String>,
    },
    /// A job or subscriber of this program, e.g. `reminders`. Not reachable from outside.
    System(&'static str),
}

/// <http://terminology.hl7.org/CodeSystem/v3-ActReason>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Treatment,
    Payment,
    Operations,
    PatientRequest,
    System,
    /// Break-glass.
    Emergency,
}

impl Purpose {
    /// The v3-ActReason code that stands in audit events.
    pub fn code(self) -> &'static str {
        match self {
            Purpose::Treatment => "TREAT",
            Purpose::Payment => "HPAYMT",
            Purpose::Operations => "HOPERAT",
            Purpose::PatientRequest => "PATRQT",
            Purpose::System => "HSYSADMIN",
            Purpose::Emergency => "BTG",
        }
    }
}

impl Principal {
    /// How the principal is named in audit and idempotency keys: `account/7`, `client/abc`, `system/reminders`, `anonymous`.
    pub fn agent(&self) -> String {
        match self {
            Principal::Anonymous => "anonymous".to_owned(),
            Principal::User(user) => format!("account/{}", user.account),
            Principal::Client { client_id, .. } => format!("client/{client_id}"),
            Principal::System(name) => format!("system/{name}"),
        }
    }
    /// Name for people.
    pub fn display(&self) -> &str {
        match self {
            Principal::Anonymous => "",
            Principal::User(user) => &user.display,
            Principal::Client { name, .. } => name,
            Principal::System(name) => name,
        }
    }
    /// Role codes, comma separated.
    pub fn role_codes(&self) -> String {
        match self {
            Principal::Anonymous => String::new(),
            Principal::User(user) => user.roles.iter().map(|r| r.code()).collect::<Vec<_>>().join(","),
            Principal::Client { .. } => Role::Integration.code().to_owned(),
            Principal::System(_) => "system".to_owned(),
        }
    }
}

/// What a person has shown to be who she is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Factor {
    Password,
    /// WebAuthn with user verification: two factors in one.
    Passkey,
    /// A code of an authenticator application, RFC 6238.
    Totp,
    /// A code sent to the phone; patients only.
    SmsCode,
    RecoveryCode,
    /// On a device of the clinic that knows the person.
    Pin,
    /// An outside provider of identities said so.
    Outside,
    /// It also asked for a second factor, and the clinic takes its word for it.
    OutsideSecondFactor,
    /// One that cannot be phished, e.g. a passkey.
    OutsidePasskey,
}

impl Factor {
    pub const ALL: [Factor; 9] = [
        Factor::Password,
        Factor::Passkey,
        Factor::Totp,
        Factor::SmsCode,
        Factor::RecoveryCode,
        Factor::Pin,
        Factor::Outside,
        Factor::OutsideSecondFactor,
        Factor::OutsidePasskey,
    ];
    /// As stored with sessions and printed in `/api/v1`, e.g. `sms-code`.
    pub fn code(self) -> &'static str {
        match self {
            Factor::Password => "password",
            Factor::Passkey => "passkey",
            Factor::Totp => "totp",
            Factor::SmsCode => "sms-code",
            Factor::RecoveryCode => "recovery-code",
            Factor::Pin => "pin",
            Factor::Outside => "outside",
            Factor::OutsideSecondFactor => "outside-second-factor",
            Factor::OutsidePasskey => "outside-passkey",
        }
    }
    /// The inverse of [Factor::code].
    pub fn from_code(code: &str) -> Option<Factor> {
        Factor::ALL.into_iter().find(|f| f.code() == code)
    }
    /// Whether it proves something besides a password: what [Factor::Password] alone does not.
    pub fn is_strong(self) -> bool {
        self.is_phishing_resistant()
            || matches!(self, Factor::Totp | Factor::RecoveryCode | Factor::OutsideSecondFactor)
    }
    /// Whether it is of no use to a page that only looks like ours.
    pub fn is_phishing_resistant(self) -> bool {
        matches!(self, Factor::Passkey | Factor::OutsidePasskey)
    }
}

/// What must be done before a session may be used for anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// The password was made by somebody else.
    Password,
    /// The clinic asks people of this role for a second factor, and this person has none yet.
    SecondFactor,
    /// It asks people of this role for a passkey, and this person did not sign in by one.
    Passkey,
}

impl Due {
    /// Stable; shown to API users.
    pub fn code(self) -> &'static str {
        match self {
            Due::Password => "password-change-needed",
            Due::SecondFactor | Due::Passkey => "second-factor-needed",
        }
    }
}

/// The session by which a person is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFacts {
    /// Names the session among those of its account, whatever its token; gives no access.
    pub id: [u8; 8],
    /// When the person last showed [SessionFacts::factors].
    pub authenticated_at: Timestamp,
    /// In the order they were shown, each once.
    pub factors: Vec<Factor>,
    /// The session ends then at the latest.
    pub absolute: Timestamp,
    /// The strong factors that the account has; empty: the password is all there is.
    pub enrolled: Vec<Factor>,
    /// On a shared device of the clinic.
    pub kiosk: bool,
    pub due: Option<Due>,
}

impl SessionFacts {
    /// Whether the person showed herself within `minutes` before `now`; `strong`: by a second factor, if the account
    /// has one.
    pub fn is_fresh(&self, now: Timestamp, minutes: u32, strong: bool) -> bool {
        let age_s = now.duration_since(self.authenticated_at).as_secs();
        let young = (0..=i64::from(minutes) * 60).contains(&age_s);
        // A PIN is for going on with work on a shared device, not for what is worth more; and whoever has somebody's phone
        // card for a moment has the code that was sent to it.
        let shown = self.factors.iter().any(|f| !matches!(f, Factor::Pin | Factor::SmsCode));
        let enough = !strong || self.enrolled.is_empty() || self.factors.iter().any(|f| f.is_strong());
        young && shown && enough
    }
}

/// Everything a layer may know about the caller of one request.
#[derive(Debug, Clone)]
pub struct Ctx {
    pub principal: Principal,
    pub purpose: Purpose,
    pub now: Timestamp,
    pub request_id: String,
    pub idempotency_key: Option<String>,
    pub address: Option<IpAddr>,
    /// Set on writes caused by an event: the outbox sequence number that caused them.
    pub cause: Option<i64>,
    /// The session of a signed-in person; `None` for clients, tokens and this program itself.
    pub session: Option<SessionFacts>,
    /// Of the token by which a person's app asks; `None`: the person herself. Never more than her own rights. A
    /// client's own scopes are in [Principal::Client].
    pub scopes: Option<ScopeSet>,
    /// Id of the OAuth client through which a person asks; `None`: she asks herself.
    pub client: Option<String>,
}

impl Ctx {
    pub fn system(name: &'static str, now: Timestamp) -> Ctx {
        Ctx {
            principal: Principal::System(name),
            purpose: Purpose::System,
            now,
            request_id: String::new(),
            idempotency_key: None,
            address: None,
            cause: None,
            session: None,
            scopes: None,
            client: None,
        }
    }
    pub fn user(&self) -> Option<&User> {
        match &self.principal {
            Principal::User(user) => Some(user),
            _ => None,
        }
    }
    /// The purpose of looking at these patients: [Purpose::Emergency] where the caller has broken the glass for one.
    pub fn purpose_for(&self, patients: &[String]) -> Purpose {
        let broken = self.user().is_some_and(|user| {
            user.standing.emergencies_at(self.now).any(|e| patients.contains(&e.patient))
        });
        if broken { Purpose::Emergency } else { self.purpose }
    }
    pub fn has_role(&self, role: Role) -> bool {
        self.user().is_some_and(|u| u.roles.contains(&role))
    }
}
