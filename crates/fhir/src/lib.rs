//! FHIR R4 core: resources that stay JSON, the R4 definitions as data, validation, FHIRPath,
//! index extraction and the search language.
//!
//! **Invariant:** pure. No clock, randomness, SQL, HTTP or tokio; callers pass what is needed.
//! **Invariant:** a resource read back equals what was written, decimals and unknown extensions included.

pub mod definitions;
mod json;
mod moment;
mod number;
pub mod outcome;
#[cfg(test)]
mod outside;
pub mod patch;
pub mod path;
mod required;
pub mod resource;
pub mod search;
mod suggest;
pub mod summary;
pub mod ucum;
pub mod validate;
pub mod views;
pub mod xml;

pub use definitions::{ParamId, TypeId};
pub use json::{MAX_DEPTH, json_text, parse_json};
pub use moment::range_us;
pub use outcome::{Issue, IssueCode, Outcome, Severity};
pub use required::{fill_required, is_masked};
pub use resource::{Reference, Resource, ResourceKey};
