//! What a restored database must show before anybody relies on it.

use super::frozen::{Counts, counts, schema, sequences};
use crate::engine::sqlite::connect_to_read;
use crate::{Result, Secret32};
use std::path::Path;

/// Complaints listed; one is enough to refuse.
const SHOWN: usize = 20;

/// What of a copy a check is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Every page authenticates and SQLite finds its trees whole.
    Pages,
    References,
    Ledger,
    /// Rows of every table, and the last numbers of trail and events.
    Counts,
    /// The audit trail against its signed heads.
    Audit,
    /// Fetching it and putting it together.
    Restored,
}

impl Part {
    pub const ALL: [Part; 6] =
        [Part::Restored, Part::Pages, Part::References, Part::Ledger, Part::Counts, Part::Audit];

    pub fn code(self) -> &'static str {
        match self {
            Part::Pages => "pages",
            Part::References => "references",
            Part::Ledger => "ledger",
            Part::Counts => "counts",
            Part::Audit => "audit",
            Part::Restored => "restored",
        }
    }
}

/// Something wrong with a copy, in words for the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub part: Part,
    pub text: String,
}

impl Problem {
    pub fn new(part: Part, text: impl Into<String>) -> Problem {
        Problem { part, text: text.into() }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// What was found. [Health::problems] is empty for a database that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    pub problems: Vec<Problem>,
    pub counts: Counts,
    pub schema: u32,
    /// Last numbers of the audit trail and of the events.
    pub audit: i64,
    pub change: i64,
}

/// Reads all of it: every page authenticates, SQLite finds its trees whole (`integrity_check`), no reference dangles, the
/// ledger sums to zero per currency and per transaction. Nobody else may have the database open. Errors:
/// [crate::Error::WrongKey]; of the engine.
pub fn check(path: &Path, key: Option<&Secret32>) -> Result<Health> {
    let connection = connect_to_read(path, key)?;
    let mut problems = Vec::new();
    let mut statement = connection.prepare(&format!("PRAGMA integrity_check({SHOWN})"))?;
    for text in statement.query_map([], |row| row.get::<_, String>(0))? {
        match text {
            Ok(text) if text == "ok" => {}
            Ok(text) => problems.push(Problem::new(Part::Pages, format!("integrity: {text}"))),
            Err(error) => {
                problems.push(Problem::new(Part::Pages, format!("integrity: {error}")));
                break;
            }
        }
    }
    drop(statement);
    let mut statement = connection.prepare("PRAGMA foreign_key_check")?;
    let dangling = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(2)?)))?;
    for row in dangling.take(SHOWN) {
        let (table, parent) = row?;
        let text = format!("a row of {table} refers to a row of {parent} that is not there");
        problems.push(Problem::new(Part::References, text));
    }
    drop(statement);
    let mut statement =
        connection.prepare("SELECT currency, sum(amount_minor) FROM ledger_entry GROUP BY currency")?;
    for row in statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)))? {
        let (currency, sum) = row?;
        if sum != 0 {
            let text = format!("the ledger in {currency} sums to {sum}, not to zero");
            problems.push(Problem::new(Part::Ledger, text));
        }
    }
    drop(statement);
    let unbalanced: i64 = connection.query_row(
        "SELECT count(*) FROM (SELECT 1 FROM ledger_entry GROUP BY transaction_id, currency HAVING sum(amount_minor) <> 0)",
        [],
        |row| row.get(0),
    )?;
    if unbalanced > 0 {
        let text = format!("{unbalanced} transactions of the ledger do not sum to zero");
        problems.push(Problem::new(Part::Ledger, text));
    }
    let (audit, change) = sequences(&connection)?;
    Ok(Health { problems, counts: counts(&connection)?, schema: schema(&connection)?, audit, change })
}
