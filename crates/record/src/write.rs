//! Steps 4–10 of the write path.

use crate::{ChangeSet, Committed, Error, Record};
use access::Ctx;

impl Record {
    /// A raw FHIR write (`/fhir/R4`): the caller's own rights on the types decide, nothing more.
    /// Errors: every variant of [Error] but `Throttled`.
    pub async fn write(&self, ctx: &Ctx, set: ChangeSet) -> Result<Committed, Error> {
        let _ = (ctx, set);
        Err(Error::Internal("not built".into()))
    }

    /// A write planned by the product itself, e.g. `appointment.book`, `note.save`, `invoice.make`. Beyond the raw
    /// rights the caller may then touch what [access::policy::command_predicate] grants to the role
    /// (a patient her own Appointment, a doctor the Invoice of a patient in care, …). `name` goes into the audit event.
    /// Errors: as [Record::write].
    pub async fn command(&self, ctx: &Ctx, name: &'static str, set: ChangeSet) -> Result<Committed, Error> {
        let _ = (ctx, name, set);
        Err(Error::Internal("not built".into()))
    }
}
