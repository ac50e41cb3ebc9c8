//! The caller of one request, as every layer below HTTP sees it.

use fhir::ResourceKey;
use jiff::Timestamp;
use std::net::IpAddr;

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
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    Anonymous,
    User(User),
    /// OAuth client credentials. Scopes are SMART v2 system scopes, e.g. `system/*.cruds`.
    Client { client_id: String, name: String, scopes: Vec<String> },
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
        }
    }
    pub fn user(&self) -> Option<&User> {
        match &self.principal {
            Principal::User(user) => Some(user),
            _ => None,
        }
    }
    pub fn has_role(&self, role: Role) -> bool {
        self.user().is_some_and(|u| u.roles.contains(&role))
    }
}
