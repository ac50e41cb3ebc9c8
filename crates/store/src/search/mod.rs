//! Searches: a parsed query and the caller's rights become one SQL statement.

use crate::resource::Stored;
use crate::{Error, Result, Tx};
use access::Predicate;
use fhir::search::Query;
use jiff::Timestamp;

/// One page of a search.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    pub rows: Vec<Stored>,
    /// Cursor of the next page.
    pub next: Option<String>,
    /// If the query asked for it.
    pub total: Option<u64>,
}

/// Runs the query on the rows that `predicate` allows; totals count only those. `now` decides which care links hold.
/// Errors: [Error::Invalid] for a cursor that is not one of this query's.
pub fn run(tx: &mut dyn Tx, query: &Query, predicate: &Predicate, now: Timestamp) -> Result<Page> {
    let _ = (tx, query, predicate, now);
    Err(Error::Invalid("not built"))
}
