//! Validation of every R4 type from the definitions: names, JSON types, cardinality, choices, primitive
//! formats, required codes, references, contained resources and the invariants of the base definitions; and,
//! where asked for, of profiles, with the terminology and the profiles that the caller has.

mod check;
mod invariant;
mod primitive;
mod profile;
mod rule;
mod slice;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_profile;
mod walk;
mod xhtml;

pub use profile::{Library, Profile};

use crate::path::Resolve;
use crate::{Issue, IssueCode, Outcome, Resource};
use std::sync::Arc;

/// Problems reported for one resource; beyond it only their number counts.
pub const MAX_ISSUES: usize = 200;

/// What a terminology says of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Membership {
    In,
    Out,
    /// The value set is not known here, or cannot be decided for this code.
    Unknown,
}

/// The code systems and value sets of the caller.
pub trait Terminology {
    /// Whether the code is in the value set (a canonical, maybe with `|version`). A code without system
    /// comes from an element of type code, whose system the value set implies.
    fn validate_code(&self, value_set: &str, system: Option<&str>, code: &str) -> Membership;
    /// Whether `code` is `ancestor` or lies below it; `None` if that is not known.
    fn is_below(&self, _system: &str, _ancestor: &str, _code: &str) -> Option<bool> {
        None
    }
}

/// The profiles of the caller.
pub trait Profiles {
    /// The profile with this canonical, maybe with `|version`; `None` if it is not known here.
    /// [Profile::compile] makes one from a StructureDefinition; [Library] does so for a set of them.
    fn profile(&self, canonical: &str) -> Option<Arc<Profile>>;
}

/// What else to check than the base definitions.
#[derive(Default, Clone)]
pub struct Options<'o> {
    /// Profiles by canonical; needed for [Options::claimed], `meta.profile` and what profiles refer to.
    pub profiles: Option<&'o dyn Profiles>,
    /// Profiles the resource must fit, beside those of its `meta.profile`.
    pub claimed: Vec<String>,
    /// Bindings to value sets that are no closed list of the definitions, and all bindings of profiles.
    pub terminology: Option<&'o dyn Terminology>,
    /// The resource behind a reference, where profiles and invariants ask what it is.
    pub resolve: Option<Resolve<'o>>,
    /// Whether to add warnings: best practice, extensible bindings, unknown profiles, what could not be decided.
    pub advice: bool,
    /// For invariants that ask the time.
    pub now: Option<jiff::Timestamp>,
}

/// Every problem of the resource by the base definitions, each with its FHIRPath; empty when it is valid.
/// Contained resources and those in bundle entries and parameters are checked too.
pub fn validate(resource: &Resource) -> Vec<Issue> {
    structure(resource, &Options::default())
}

/// Every problem and, with [Options::advice], every warning.
pub fn validate_with(resource: &Resource, options: &Options) -> Outcome {
    let mut issues = structure(resource, options);
    check::resource(resource, options, &mut issues);
    Outcome { issues }
}

fn structure(resource: &Resource, options: &Options) -> Vec<Issue> {
    let resolve = |reference: &str| options.resolve.and_then(|resolve| resolve(reference));
    let mut walker = walk::Walker::new(resource.value());
    walker.advice = options.advice;
    if options.resolve.is_some() {
        walker.resolve = Some(&resolve);
    }
    walker.root(resource.kind());
    let (mut issues, more) = (walker.issues, walker.more);
    if more > 0 {
        issues.push(Issue::error(
            IssueCode::TooCostly,
            "",
            format!("{more} further problems are not listed."),
        ));
    }
    issues
}

/// Checks the markup of a narrative (txt-1, txt-2). Errors: what is wrong, without the text of the narrative.
pub fn narrative(text: &str) -> Result<(), String> {
    xhtml::check(text)
}
