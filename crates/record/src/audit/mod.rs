//! Who did what to whose record.

use crate::{Error, Record};
use access::Ctx;
use jiff::Timestamp;
use serde_json::Value;

/// What to list; empty fields do not restrict.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Logical id of the Patient.
    pub patient: Option<String>,
    /// Account id or client id of the agent, as in [AuditRow::agent].
    pub agent: Option<String>,
    pub from: Option<Timestamp>,
    pub to: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AuditRow {
    pub seq: i64,
    pub at: Timestamp,
    /// `account/7`, `client/abc`, `system/reminders`, `anonymous`.
    pub agent: String,
    pub agent_display: String,
    /// Role codes, comma separated, as they were at the time.
    pub role: String,
    /// `create|read|update|delete|query|login|logout|…` and command names such as `appointment.book`.
    pub action: String,
    /// `success` or `denied` or `failed`.
    pub outcome: String,
    /// `Type/id` or `Type?parameters`.
    pub what: String,
    pub patient: Option<String>,
    pub purpose: String,
    pub address: Option<String>,
}

/// Newest first.
#[derive(Debug, Clone)]
pub struct AuditPage {
    pub rows: Vec<AuditRow>,
    pub next: Option<String>,
}

impl Record {
    /// For administrator and privacy officer. Errors: `Denied` for others.
    pub async fn audit_list(
        &self,
        ctx: &Ctx,
        filter: AuditFilter,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<AuditPage, Error> {
        let _ = (ctx, filter, cursor, limit);
        Err(Error::Internal("not built".into()))
    }
    /// "Who saw my record": the patient herself, administrator, privacy officer.
    pub async fn who_saw(&self, ctx: &Ctx, patient: &str, cursor: Option<&str>, limit: u32) -> Result<AuditPage, Error> {
        let _ = (ctx, patient, cursor, limit);
        Err(Error::Internal("not built".into()))
    }
}

/// The row as a FHIR AuditEvent after IHE BALP 1.1.
pub fn to_fhir(row: &AuditRow) -> Value {
    let _ = row;
    Value::Null
}
