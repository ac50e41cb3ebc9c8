//! The one write path and the reads: policy, validation, versions, audit, outbox, in one transaction.
//!
//! Raw FHIR goes in by [Record::write] and [Record::bundle], the product's own commands by [Record::command];
//! everything is read by [Record::read], [Record::search] and their kin. All of them take the caller's
//! [access::Ctx] and are authorized and audited here.
//!
//! **Invariant:** nothing else in the program opens a write transaction.
//! **Invariant:** a response leaves only after its audit event is durable.
//! **Must never depend on:** HTTP, SQL, or a domain crate.

pub mod audit;
pub mod authn;
pub mod bundle;
pub mod change;
pub mod error;
pub mod events;
pub mod import;
pub mod read;
mod write;

pub use change::{Change, ChangeSet, Committed, Effect, Event, Written};
pub use error::{Error, Rule};
pub use read::{HistoryEntry, HistoryPage, Method, SearchPage, Stored};

use jiff::Timestamp;
use std::sync::Arc;

/// Where "now" comes from; tests pass a clock they can turn.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The record of one installation. Cheap to clone; all clones share caches and limits.
#[derive(Clone)]
pub struct Record {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub store: store::Store,
    pub clock: Clock,
}

impl Record {
    /// The store must already be migrated.
    pub fn new(store: store::Store, clock: Clock) -> Record {
        Record { inner: Arc::new(Inner { store, clock }) }
    }
    pub fn now(&self) -> Timestamp {
        (self.inner.clock)()
    }
    /// For what is not the record: job leases, the outbox, health. Never for resources.
    pub fn store(&self) -> &store::Store {
        &self.inner.store
    }
}
