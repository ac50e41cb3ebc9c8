//! The one write path and the reads: policy, validation, versions, audit, outbox, in one transaction.
//!
//! **Invariant:** nothing else in the program opens a write transaction.
//! **Invariant:** a response leaves only after its audit event is durable.

pub mod change;
pub mod error;

pub use change::{Change, ChangeSet, Committed, Effect, Event};
pub use error::Error;
