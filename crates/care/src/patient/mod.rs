//! People who are cared for: registration with a look for duplicates, search, changes.

mod command;
mod plan;
#[cfg(test)]
mod tests;

pub use command::{create, get, search, update};
pub use plan::{Checked, check, plan_create, plan_update};

use crate::element::{self, array, text};
use crate::view::PatientRef;
use crate::vocabulary::RECORD_NUMBER;
use fhir::Resource;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// A patient as lists show her.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PatientRow {
    pub id: String,
    pub name: crate::view::PersonName,
    pub sex: String,
    pub birth_date: String,
    pub record_number: String,
    /// E.164; empty if none is known.
    pub phone: String,
    /// Waits for a decision of the front desk.
    pub possible_duplicate: bool,
}

impl PatientRow {
    pub fn read(patient: &Resource) -> PatientRow {
        let PatientRef { id, name, sex, birth_date, record_number } = PatientRef::read(patient);
        let tags = patient.get("meta").map(|meta| array(meta, "tag").to_vec()).unwrap_or_default();
        PatientRow {
            id,
            name,
            sex,
            birth_date,
            record_number,
            phone: element::phone(patient.value()).unwrap_or_default().to_owned(),
            possible_duplicate: tags.iter().any(|tag| text(tag, "/code") == Some("possible-duplicate")),
        }
    }
}

/// A patient who may be the same person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = DuplicateCandidate)]
pub struct Candidate {
    pub id: String,
    pub name: crate::view::PersonName,
    pub sex: String,
    pub birth_date: String,
    pub record_number: String,
    pub phone: String,
    pub possible_duplicate: bool,
    /// 0–100
    pub score: u8,
}

impl Candidate {
    pub fn new(patient: &Resource, score: u8) -> Candidate {
        let PatientRow { id, name, sex, birth_date, record_number, phone, possible_duplicate } =
            PatientRow::read(patient);
        Candidate { id, name, sex, birth_date, record_number, phone, possible_duplicate, score }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PatientAddress {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub county: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub town: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NextOfKin {
    pub name: String,
    pub phone: String,
    pub relationship: String,
}

/// `POST patients`
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatientNew {
    pub given: String,
    pub family: String,
    /// `YYYY-MM-DD`
    pub birth_date: String,
    /// `female|male|other|unknown`
    pub sex: String,
    /// Any form.
    #[serde(default)]
    pub phone: Option<String>,
    #[serde(default)]
    pub email: Option<String>,
    #[serde(default)]
    pub language: Option<String>,
    #[serde(default)]
    pub address: Option<PatientAddress>,
    #[serde(default)]
    pub next_of_kin: Option<NextOfKin>,
}

/// `PATCH patients/{id}`; what is absent stays, an empty text removes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PatientChange {
    /// What was read; or `If-Match`.
    pub version: Option<u32>,
    pub given: Option<String>,
    pub family: Option<String>,
    pub birth_date: Option<String>,
    pub sex: Option<String>,
    pub phone: Option<String>,
    pub email: Option<String>,
    pub language: Option<String>,
    pub address: Option<PatientAddress>,
    pub next_of_kin: Option<NextOfKin>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct PatientIdentifier {
    pub system: String,
    pub value: String,
    pub label: String,
}

/// One patient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Patient {
    pub id: String,
    pub version: u32,
    pub name: crate::view::PersonName,
    pub sex: String,
    pub birth_date: String,
    pub record_number: String,
    pub phone: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    pub language: String,
    pub address: PatientAddress,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_of_kin: Option<NextOfKin>,
    pub identifiers: Vec<PatientIdentifier>,
    pub active: bool,
    /// Died on this date or instant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deceased: Option<String>,
    pub possible_duplicate: bool,
    /// Whether she signs in herself.
    pub account: bool,
}

impl Patient {
    pub fn read(patient: &Resource, account: bool) -> Patient {
        let value = patient.value();
        let row = PatientRow::read(patient);
        let contact = |system: &str| {
            let found = array(value, "telecom").iter().find(|t| text(t, "/system") == Some(system));
            found.and_then(|t| text(t, "/value")).map(str::to_owned)
        };
        let address = array(value, "address").first().cloned().unwrap_or(Value::Null);
        let part = |name: &str| text(&address, name).map(str::to_owned);
        let deceased = match value.get("deceasedBoolean") {
            Some(Value::Bool(true)) => Some("true".to_owned()),
            _ => text(value, "/deceasedDateTime").map(str::to_owned),
        };
        Patient {
            id: row.id,
            version: element::version(patient),
            name: row.name,
            sex: row.sex,
            birth_date: row.birth_date,
            record_number: row.record_number,
            phone: row.phone,
            email: contact("email"),
            language: record::authn::language_of(value).unwrap_or("en").to_owned(),
            address: PatientAddress {
                county: part("/district").or_else(|| part("/state")),
                town: part("/city"),
            },
            next_of_kin: array(value, "contact").first().map(kin),
            identifiers: array(value, "identifier").iter().filter_map(identifier).collect(),
            active: value.get("active") != Some(&Value::Bool(false)),
            deceased,
            possible_duplicate: row.possible_duplicate,
            account,
        }
    }
}

fn kin(contact: &Value) -> NextOfKin {
    let named = serde_json::json!({"name": [contact.get("name").cloned().unwrap_or(Value::Null)]});
    let relationship = array(contact, "relationship").first().map(element::words).unwrap_or_default();
    NextOfKin {
        name: crate::view::PersonName::read(&named).whole(),
        phone: element::phone(contact).unwrap_or_default().to_owned(),
        relationship,
    }
}

fn identifier(identifier: &Value) -> Option<PatientIdentifier> {
    let value = text(identifier, "/value")?.to_owned();
    let system = element::owned(identifier, "/system");
    let label = match identifier.get("type").map(element::words).filter(|words| !words.is_empty()) {
        _ if system == RECORD_NUMBER => "Record number".to_owned(),
        Some(words) => words,
        None => system.rsplit('/').next().unwrap_or_default().to_owned(),
    };
    Some(PatientIdentifier { system, value, label })
}
