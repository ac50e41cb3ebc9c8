//! SQL on both engines: SQLite (SQLCipher) inside the process, and PostgreSQL.
//!
//! A transaction is a plain function over [Tx]; [Store::write] and [Store::read] run it on the writer thread or a
//! reader thread of SQLite, or on a pooled connection of PostgreSQL. One SQL text serves both; what differs is in
//! [dialect]. Every table has a module of functions over [Tx].
//!
//! **Invariant:** no function here blocks a tokio worker thread, except those named `…_blocking` and [Store::open].
//! **Invariant:** a write is reported done only after its commit is durable.
//! **Invariant:** the current content of a resource is stored once; ledger and audit rows never change.
//! **Must never depend on:** HTTP, the domain crates, or what a resource means beyond its index entries.

pub mod account;
pub mod account_change;
pub mod audit;
pub mod backup;
pub mod backup_run;
mod blinding;
pub mod bulk;
pub mod care_link;
pub mod ceremony;
pub mod chart;
pub mod claim;
pub mod consent;
pub mod content;
pub mod credential;
pub mod device;
pub mod dialect;
pub mod distinct;
pub mod emergency;
pub mod emergency_care;
mod engine;
mod error;
pub mod factor;
pub mod history;
pub mod idempotency;
mod ids;
pub mod inbox;
mod index;
pub mod job;
mod key;
pub mod keys;
pub mod ledger;
pub mod lock;
pub mod merge;
pub mod message;
pub mod migrate;
pub mod notice;
pub mod oauth;
pub mod one_time_code;
pub mod outbox;
pub mod outside;
pub mod page;
pub mod payment;
pub mod proxy;
pub mod resource;
pub mod rights;
mod row;
pub mod sealed;
pub mod search;
pub mod search_parameter;
pub mod sequence;
pub mod session;
pub mod setting;
pub mod shred;
mod sql;
pub mod subject;
pub mod subscription;
pub mod terminology;
#[cfg(feature = "test-support")]
pub mod test_support;
pub mod transfer;
mod tx;
pub mod word;

pub use content::Content;
pub use dialect::Dialect;
pub use engine::{Store, StoreConfig};
pub use error::{Error, Result};
pub use key::Secret32;
pub use page::{MAX_ROWS, Page};
pub use tx::{Counter, Param, READ_LIMIT, Row, Tx, savepoint};
