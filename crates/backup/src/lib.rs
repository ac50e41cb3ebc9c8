//! Backups: the embedded database and the files beside it, sealed, somewhere else; and back again.
//!
//! A *repository* is a set of objects that are written once and never changed: `base/…` (a whole database by the names of
//! its pieces), `line/…` (what came after, segment by segment), `point/…` (what the database held at a moment), `files/…`
//! (changes of the files beside it), `keys/…` (the newest key store), `chunk/…` (pieces, named by their content), `key/…` (the installation's key under a
//! passphrase, only if asked for). So the credential that writes needs no right to change or delete, and two backups
//! cannot harm each other.
//!
//! Everything blocks; call it from a thread of its own.
//!
//! **Invariant:** nothing leaves the machine unsealed; the names say no more than times and numbers.
//! **Invariant:** an object is referred to only after it is stored.
//! **Invariant:** what is restored is checked before it gets its place.
//! **Must never depend on:** SQL, HTTP servers, or what the rows mean.

mod error;
mod files;
mod keystore;
mod make;
mod manifest;
mod passphrase;
mod prune;
mod repository;
mod restore;
mod seal;
pub mod target;
mod verify;

pub use error::{Error, Result};
pub use make::{Half, Made, Outline, Shipped};
pub use manifest::{Base, FileEntry, Point};
pub use passphrase::{keep_key, kept_key};
pub use prune::{Policy, Pruned};
pub use repository::{Progress, Repository, Watch};
pub use restore::{Restored, Scratch, Wanted};
pub use seal::BackupKey;
pub use verify::Verified;
