//! Refusals that nobody else notes. Most are noted where rows are read and written; what a plan or a door refuses before
//! that is noted once, where the answer goes out.

use crate::{Error, Record};
use access::Ctx;
use std::cell::Cell;
use std::future::Future;
use store::audit::Outcome;

tokio::task_local! {
    static NOTED: Cell<bool>;
}

/// Does the work, and tells whether the trail got an event of something refused or failed meanwhile, in this task.
pub async fn watch_refusals<T>(work: impl Future<Output = T>) -> (T, bool) {
    NOTED.scope(Cell::new(false), async { (work.await, NOTED.with(Cell::get)) }).await
}

/// An event of a refusal is on its way into the trail.
pub(super) fn noted() {
    // Outside of a request nobody watches.
    let _ = NOTED.try_with(|noted| noted.set(true));
}

impl Record {
    /// Notes that `what` was refused, or that nothing was found there. `patient` is whose record the address named, as the
    /// caller wrote it: an id that nobody has is left out, so that nobody fills the index by patient with inventions.
    /// Nothing is written for anonymous callers.
    pub async fn note_refusal(&self, ctx: &Ctx, is_denial: bool, what: &str, patient: Option<&str>) {
        let patients = match patient {
            Some(id) => self.known_patient(id).await.unwrap_or_default(),
            None => Vec::new(),
        };
        let outcome = if is_denial { Outcome::Denied } else { Outcome::Failed };
        self.audit_refusal(ctx, "request", outcome, what, &patients).await;
    }

    async fn known_patient(&self, id: &str) -> Result<Vec<String>, Error> {
        let Some(key) = fhir::ResourceKey::parse(&format!("Patient/{id}")) else { return Ok(Vec::new()) };
        let found = self.reading(move |tx| Ok(store::resource::head(tx, &key)?.map(|_| key.id))).await?;
        Ok(found.into_iter().collect())
    }
}
