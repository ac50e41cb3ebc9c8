//! Queries parsed from URL parameters.

use super::{DEFAULT_PAGE, Query, Total};
use crate::{Issue, Outcome, TypeId};

/// What to do with parameters this server does not know (`Prefer: handling=…`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handling {
    /// An unknown or unsupported parameter is an error.
    Strict,
    /// It is ignored with a warning.
    Lenient,
}

/// Parses the query parameters of a search on `kind`; names and values are already percent-decoded.
/// Returns the query and a warning for each ignored parameter. Dates without a zone are UTC.
/// Errors: [Outcome] with every problem found.
pub fn parse(
    kind: TypeId,
    _pairs: &[(String, String)],
    _handling: Handling,
) -> Result<(Query, Vec<Issue>), Outcome> {
    Ok((
        Query {
            kind,
            filters: Vec::new(),
            ids: Vec::new(),
            last_updated: Vec::new(),
            sort: Vec::new(),
            count: DEFAULT_PAGE,
            cursor: None,
            total: Total::None,
        },
        Vec::new(),
    ))
}
