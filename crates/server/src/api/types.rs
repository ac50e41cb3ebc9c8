//! Types that several files of the API share.

use access::Role;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

/// Default and greatest `limit` of lists.
pub const LIMIT_DEFAULT: u32 = 25;
pub const LIMIT_MAX: u32 = 100;

/// A page of a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct List<T> {
    pub items: Vec<T>,
    /// Give it back as `cursor`; null on the last page.
    #[schema(required = true)]
    pub next: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
}

impl<T> List<T> {
    pub fn new(items: Vec<T>, next: Option<String>) -> List<T> {
        List { items, next, total: None }
    }
}

/// Which page.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageParams {
    /// 1 to 100; 25 if not given.
    pub limit: Option<u32>,
    /// `next` of the page before.
    pub cursor: Option<String>,
}

impl PageParams {
    pub fn limit(&self) -> u32 {
        limit(self.limit)
    }
}

/// The `limit` to use for what the client asked.
pub fn limit(asked: Option<u32>) -> u32 {
    asked.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX)
}

/// An amount; KES has two decimals: KSh 1,500 is 150000.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Money {
    pub amount_minor: i64,
    /// ISO 4217
    pub currency: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct PersonName {
    pub given: String,
    pub family: String,
}

/// A patient as lists show her.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PatientRef {
    pub id: String,
    pub name: PersonName,
    /// `female|male|other|unknown`
    pub sex: String,
    /// `YYYY-MM-DD` or a part of it; empty if not known.
    pub birth_date: String,
    /// e.g. `UZ-000123`; empty before one was given.
    pub record_number: String,
}

/// System of record numbers.
pub const RECORD_NUMBER: &str = "https://uzima.health/fhir/identifier/record-number";

impl PatientRef {
    /// From a Patient resource.
    pub fn of(patient: &fhir::Resource) -> PatientRef {
        let numbers = patient.get("identifier").and_then(Value::as_array);
        let number = numbers.into_iter().flatten().find(|i| i["system"] == RECORD_NUMBER);
        PatientRef {
            id: patient.id().unwrap_or_default().to_owned(),
            name: PersonName::of(patient),
            sex: patient.text("gender").unwrap_or("unknown").to_owned(),
            birth_date: patient.text("birthDate").unwrap_or_default().to_owned(),
            record_number: number.and_then(|i| i["value"].as_str()).unwrap_or_default().to_owned(),
        }
    }
}

impl PersonName {
    /// The first name of a Patient or Practitioner that is not old.
    pub fn of(person: &fhir::Resource) -> PersonName {
        let names = person.get("name").and_then(Value::as_array);
        let current = names.into_iter().flatten().find(|n| n["use"] != "old");
        let Some(name) = current else { return PersonName::default() };
        let given: Vec<&str> =
            name["given"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        PersonName { given: given.join(" "), family: name["family"].as_str().unwrap_or_default().to_owned() }
    }
}

/// LEDGER A2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RoleName {
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
    It,
    Integration,
}

impl From<Role> for RoleName {
    fn from(role: Role) -> RoleName {
        match role {
            Role::Patient => RoleName::Patient,
            Role::Proxy => RoleName::Proxy,
            Role::Doctor => RoleName::Doctor,
            Role::Nurse => RoleName::Nurse,
            Role::FrontDesk => RoleName::FrontDesk,
            Role::Lab => RoleName::Lab,
            Role::Pharmacist => RoleName::Pharmacist,
            Role::Cashier => RoleName::Cashier,
            Role::Administrator => RoleName::Administrator,
            Role::PrivacyOfficer => RoleName::PrivacyOfficer,
            Role::It => RoleName::It,
            Role::Integration => RoleName::Integration,
        }
    }
}

impl From<RoleName> for Role {
    fn from(name: RoleName) -> Role {
        match name {
            RoleName::Patient => Role::Patient,
            RoleName::Proxy => Role::Proxy,
            RoleName::Doctor => Role::Doctor,
            RoleName::Nurse => Role::Nurse,
            RoleName::FrontDesk => Role::FrontDesk,
            RoleName::Lab => Role::Lab,
            RoleName::Pharmacist => Role::Pharmacist,
            RoleName::Cashier => Role::Cashier,
            RoleName::Administrator => Role::Administrator,
            RoleName::PrivacyOfficer => Role::PrivacyOfficer,
            RoleName::It => Role::It,
            RoleName::Integration => Role::Integration,
        }
    }
}
