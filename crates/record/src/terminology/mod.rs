//! Terminology: code systems, value sets and concept maps, and what can be asked of them.
//!
//! They come from three places: what FHIR R4 defines itself ([built_in], in the program), CodeSystem, ValueSet and
//! ConceptMap resources of the record, and loaded terminologies (`uzima terminology import`). One URL may be in several:
//! for `http://hl7.org/fhir/…` the program's own comes first, else what was loaded, then resources, then the program's.
//!
//! [Terminology] is synchronous and works inside any transaction; the methods of [Record] wrap it for callers with rights.
//! Concepts are numbered in preorder, so every question becomes sums and differences of ranges of numbers
//! ([store::terminology::Ranges]).
//!
//! **Invariant:** nothing here depends on a patient; whoever is signed in may ask.

mod built_in;
mod canonical;
pub mod closure;
mod compose;
mod ecl;
mod expand;
mod filter;
mod hierarchy;
mod implicit;
pub mod import;
mod language;
mod lookup;
mod memory;
mod record;
mod supplement;
mod system;
mod translate;
mod validate;
mod words;

pub use expand::{Contains, Expand, Expansion};
pub use lookup::{Concept, Lookup, Subsumption};
pub use record::Membership;
pub use store::terminology::{Designation, Property, Value};
pub use translate::{Match, Translate, Translation};
pub use validate::{Given, ValidateCode, Validation};

use crate::Error;
use canonical::Cache;
use fhir::{IssueCode, Outcome};
use serde_json::Value as Json;
use std::sync::Arc;

/// Codes that one expansion gives without paging, and at most per page.
pub const MAX_EXPANSION: usize = 10_000;
/// Codes that `:in`, `:not-in`, `:above` and `:below` of a search may stand for.
pub const MAX_SEARCH_CODES: usize = 2_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Kind {
    CodeSystem,
    ValueSet,
    ConceptMap,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::CodeSystem => "CodeSystem",
            Kind::ValueSet => "ValueSet",
            Kind::ConceptMap => "ConceptMap",
        }
    }
}

/// The terminology service of one installation: a handle on its caches. Cheap to clone.
#[derive(Clone, Default)]
pub struct Terminology {
    cache: Arc<Cache>,
}

/// URLs of the value sets that FHIR R4 itself defines, sorted.
pub fn built_in_value_sets() -> Vec<&'static str> {
    built_in::urls(Kind::ValueSet).into_iter().map(|(url, _)| url).collect()
}

/// A code with its system.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Code {
    pub system: String,
    pub code: String,
}

/// Where a value set or concept map is.
#[derive(Debug, Clone)]
pub enum Source {
    /// A canonical URL, `|version` behind it if that matters.
    Url(String),
    /// The resource itself.
    Resource(Arc<Json>),
}

impl Source {
    fn label(&self) -> String {
        match self {
            Source::Url(url) => url.clone(),
            Source::Resource(r) => {
                r.get("url").and_then(Json::as_str).unwrap_or("the value set given").into()
            }
        }
    }
}

/// A canonical without its version, and the version.
fn split_version(canonical: &str) -> (&str, Option<&str>) {
    // Terms of an expression stand between bars.
    if canonical.contains("?fhir_vs=ecl/") {
        return (canonical, None);
    }
    match canonical.split_once('|') {
        Some((url, version)) if !version.is_empty() => (url, Some(version)),
        Some((url, _)) => (url, None),
        None => (canonical, None),
    }
}

fn refuse(code: IssueCode, text: impl Into<String>) -> Error {
    Error::Invalid(Outcome::one(code, "", text))
}

fn not_found(kind: Kind, canonical: &str) -> Error {
    let what = match kind {
        Kind::CodeSystem => "code system",
        Kind::ValueSet => "value set",
        Kind::ConceptMap => "concept map",
    };
    refuse(IssueCode::NotFound, format!("The {what} `{canonical}` is not known here."))
}

fn too_costly(what: &str, limit: usize) -> Error {
    refuse(IssueCode::TooCostly, format!("{what} has more than {limit} codes; narrow it, or ask for pages."))
}
