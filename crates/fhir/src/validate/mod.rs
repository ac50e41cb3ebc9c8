//! Structural validation of every R4 type from the definitions: names, JSON types, cardinality, choices,
//! primitive formats, required codes, references, contained resources and the root invariants
//! (ele-1, ext-1, dom-2 to dom-5).

mod primitive;
mod rule;
#[cfg(test)]
mod tests;
mod walk;
mod xhtml;

use crate::{Issue, IssueCode, Resource};

/// Problems reported for one resource; beyond it only their number counts.
pub const MAX_ISSUES: usize = 200;

/// Every structural problem of the resource, each with its FHIRPath; empty when it is valid.
/// Contained resources and those in bundle entries and parameters are checked too.
pub fn validate(resource: &Resource) -> Vec<Issue> {
    let mut walker = walk::Walker::new(resource.value());
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
