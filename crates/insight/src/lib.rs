//! Data in bulk: SQL-on-FHIR views, exports, imports and portable copies that run in the background, encrypted files.
//!
//! What is asked for becomes a job in the store; the worker does it piece by piece ([Insight::work]), and each finished
//! piece is a file ([sealed]) and a row. So a stop, a kill or another server in between costs the piece that was begun.
//!
//! **Invariant:** rows come only from resources that the one who asked may read now; rights are looked up again for
//! every page and every download.
//! **Invariant:** nothing clinical lies on the disk in clear: every file is sealed, but for those that an operator at the
//! machine has written to a folder of his own ([dump]).
//! **Invariant:** memory is bounded by a page of resources and a row group, whatever the size of the data.
//! **Must never depend on:** HTTP servers, SQL, or another domain crate.

pub mod bulk;
pub mod dump;
pub mod export;
pub mod import;
mod part;
pub mod portable;
pub mod run;
pub mod sealed;
pub mod stored;
pub mod table;
#[cfg(test)]
mod tests;
pub mod view;

pub use bulk::{Config, Download, Insight, Shown, Stopping};
pub use sealed::FileKey;
pub use table::Format;
pub use view::{Limits, View};
