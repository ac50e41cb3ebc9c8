//! What FHIR operations do beyond single reads, searches and writes; the server names and describes them.

mod document;
mod everything;
mod latest;
pub mod likeness;
mod matching;
pub(crate) mod merge;
pub mod statistics;

pub use everything::{Everything, EverythingPage};
pub use matching::Match;
pub use merge::{Merge, Merged, Unmerged};

use crate::rights::veil::{Lens, Veil};
use crate::rights::{Facts, Version};
use crate::{Error, Record, Stored};
use access::policy;
use access::{Action, Ctx, Predicate};
use fhir::{Resource, ResourceKey, TypeId};
use jiff::Timestamp;
use std::collections::HashMap;
use store::Tx;

/// The caller's rights on rows of many types, looked up once each.
pub(crate) struct Sight<'a> {
    ctx: &'a Ctx,
    predicates: HashMap<TypeId, Predicate>,
    facts: Facts,
    veil: Veil,
}

impl<'a> Sight<'a> {
    pub fn new(ctx: &'a Ctx, lens: Lens, now: Timestamp) -> Sight<'a> {
        let veil = Veil::new(ctx, lens, now);
        Sight { ctx, predicates: HashMap::new(), facts: Facts::new(now), veil }
    }

    /// What of a row that [Sight::sees] is shown; `None` if nothing is.
    pub fn shown(&mut self, tx: &mut dyn Tx, row: store::resource::Stored) -> Result<Option<Stored>, Error> {
        let (ctx, kind) = (self.ctx, row.key.kind);
        let predicate =
            self.predicates.entry(kind).or_insert_with(|| policy::predicate(ctx, Action::Search, kind));
        self.veil.current(tx, predicate, row)
    }

    /// Whether the caller may find this row by a search, drafts as far as they are readable.
    pub fn sees(&mut self, tx: &mut dyn Tx, row: &store::resource::Stored) -> Result<bool, Error> {
        let ctx = self.ctx;
        let kind = row.key.kind;
        let predicate =
            self.predicates.entry(kind).or_insert_with(|| policy::predicate(ctx, Action::Search, kind));
        if !self.facts.hold(tx, predicate, &row.key, &row.patients, Version::Current)? {
            return Ok(false);
        }
        let drafts = policy::unreadable_statuses(ctx, kind);
        if drafts.is_empty() {
            return Ok(true);
        }
        let status = parse(row)?.text("status").unwrap_or_default().to_owned();
        Ok(!drafts.contains(&status.as_str()))
    }
}

impl Record {
    /// Whether a definition (of a type that is about no patient) with this key is stored. Errors: `Denied` for other types;
    /// `Busy`.
    pub async fn is_definition_stored(&self, key: &ResourceKey) -> Result<bool, Error> {
        if !is_definition(key.kind) {
            return Err(Error::Denied);
        }
        let key = key.clone();
        self.reading(move |tx| Ok(store::resource::head(tx, &key)?.is_some_and(|head| !head.deleted))).await
    }

    /// Ids of the stored definitions of this type, at most `limit`. Errors: as [Record::is_definition_stored].
    pub async fn stored_definitions(&self, kind: TypeId, limit: u32) -> Result<Vec<String>, Error> {
        if !is_definition(kind) {
            return Err(Error::Denied);
        }
        self.reading(move |tx| Ok(store::chart::ids(tx, kind, limit)?)).await
    }
}

/// Types whose ids say nothing about anybody.
fn is_definition(kind: TypeId) -> bool {
    policy::is_impersonal(kind) || kind.name() == "CompartmentDefinition"
}

pub(crate) fn parse(row: &store::resource::Stored) -> Result<Resource, Error> {
    Resource::parse(&row.content).map_err(|o| Error::Internal(format!("stored {}: {o}", row.key)))
}

pub(crate) fn stored(row: store::resource::Stored) -> Stored {
    Stored { key: row.key, version: row.version, last_updated: row.last_updated, content: row.content }
}
