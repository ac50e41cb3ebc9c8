//! One entry with what a reviewer asks next: which version of what was written.

use super::AuditRow;
use crate::{Error, Record};
use access::{Capability, Ctx};
use fhir::ResourceKey;
use store::audit::Outcome;

/// An entry and the versions around it.
#[derive(Debug, Clone)]
pub struct AuditDetail {
    pub row: AuditRow,
    /// The version that this entry's write replaced, e.g. `Patient/1/_history/2`.
    pub before: Option<String>,
    /// The version that it made; none for what wrote nothing.
    pub after: Option<String>,
}

impl Record {
    /// One entry with the versions before and after it; administrator and privacy officer, audited.
    /// Errors: `Denied`, `NotFound`.
    pub async fn audit_detail(&self, ctx: &Ctx, seq: i64) -> Result<AuditDetail, Error> {
        if !access::policy::may(ctx, Capability::ReadAudit) {
            return Err(self.denied(ctx, "read", &format!("AuditEvent/audit-{seq}")).await);
        }
        let row = self.audit_row(ctx, seq).await?;
        let written = row.outcome == Outcome::Success.code();
        let key = ResourceKey::parse(&row.what).filter(|_| written);
        let Some(key) = key else { return Ok(AuditDetail { row, before: None, after: None }) };
        let at = row.at;
        let asked = key.clone();
        // An entry has the instant of its write; one that only looked has that of no version.
        let version = self.reading(move |tx| Ok(store::history::written_at(tx, &asked, at)?)).await?;
        let name = |version: u32| format!("{key}/_history/{version}");
        let before =
            version.and_then(|version| version.checked_sub(1)).filter(|before| *before > 0).map(name);
        Ok(AuditDetail { row, before, after: version.map(name) })
    }
}
