//! A repeated raw write: what its answer shows is a look like any other.

use super::Job;
use crate::Error;
use crate::rights::Version;
use crate::rights::veil::{Row, Shown, Veil};
use crate::write::compartment;
use crate::{Committed, Written};
use access::{Action, Predicate, policy};
use fhir::Resource;
use std::sync::Arc;
use store::{Tx, resource};

impl Job {
    /// The stored reply with what the caller may read of it now, noted as a look. A key is kept for half a year: who was
    /// shown something then, or a part of it, is not shown more of it, nor anything after her right is over. What is not
    /// shown is absent; that it was written stays said. The program's own commands show what they read themselves.
    pub(super) fn seen_again(&self, tx: &mut dyn Tx, replayed: Committed) -> Result<Committed, Error> {
        if !self.is_raw() {
            return Ok(replayed);
        }
        let mut veil = Veil::new(&self.ctx, self.lens.clone(), self.now);
        let mut written = Vec::with_capacity(replayed.written.len());
        for mut one in replayed.written {
            one.resource = match one.resource.take() {
                Some(then) => self.shown_now(tx, &mut veil, &one, &then)?.map(Arc::new),
                None => None,
            };
            written.push(one);
        }
        Ok(Committed { written, ..replayed })
    }

    /// As a read of this version would show it.
    fn shown_now(
        &self,
        tx: &mut dyn Tx,
        veil: &mut Veil,
        one: &Written,
        then: &Resource,
    ) -> Result<Option<Resource>, Error> {
        let key = &one.key;
        let predicate = policy::predicate(&self.ctx, Action::Read, key.kind);
        if predicate == Predicate::Nothing {
            return Ok(None);
        }
        let Some(head) = resource::head(tx, key)? else { return Ok(None) };
        let drafts = policy::unreadable_statuses(&self.ctx, key.kind);
        let patients = compartment(then);
        let is_seen = crate::rights::holds(tx, &predicate, key, &head.patients, self.now)?
            && crate::rights::holds_then(tx, &predicate, key, &patients, then, self.now)?
            && !then.text("status").is_some_and(|status| drafts.contains(&status));
        if !is_seen {
            return Ok(None);
        }
        let row = Row { key, rid: head.rid, patients: &patients };
        let shown = match veil.show(tx, &predicate, &row, then, Version::Content(then))? {
            Shown::Whole => then.clone(),
            Shown::Part(part) => part,
            Shown::Nothing => return Ok(None),
        };
        self.record(tx, "read", key, &patients)?;
        Ok(Some(shown))
    }
}
