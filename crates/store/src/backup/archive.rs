//! PostgreSQL's own archive of its log, as far as the server tells of it.

use crate::{Dialect, Result, Tx};
use jiff::Timestamp;

/// How archiving goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// When the last piece of the log was archived.
    pub last: Option<Timestamp>,
    /// When the last try failed, if none went well since.
    pub failed: Option<Timestamp>,
}

/// `None` where nothing is archived: SQLite, or `archive_mode = off`.
pub fn archive(tx: &mut dyn Tx) -> Result<Option<Archive>> {
    if tx.dialect() != Dialect::Postgres {
        return Ok(None);
    }
    let mode = tx.one("SELECT current_setting('archive_mode')", &[], |row| row.string(0))?;
    if mode.as_deref() == Some("off") {
        return Ok(None);
    }
    let found = tx.one(
        "SELECT CAST(extract(epoch FROM last_archived_time) * 1000000 AS BIGINT), \
         CASE WHEN last_failed_time > coalesce(last_archived_time, '-infinity') \
         THEN CAST(extract(epoch FROM last_failed_time) * 1000000 AS BIGINT) END FROM pg_stat_archiver",
        &[],
        |row| Ok(Archive { last: row.opt_time(0)?, failed: row.opt_time(1)? }),
    )?;
    Ok(Some(found.unwrap_or(Archive { last: None, failed: None })))
}
