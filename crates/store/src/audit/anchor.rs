//! Which heads were taken to another place.

use crate::{Result, Tx, params};
use jiff::Timestamp;

/// How it stands with one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `file`, `https` or `mail`.
    pub place: String,
    /// Size of the tree of the last head that arrived, and when; `None` if none has.
    pub arrived: Option<(i64, Timestamp)>,
    /// What went wrong the last time, if it did, and when.
    pub failed: Option<(String, Timestamp)>,
}

/// Notes that the head of the tree of `size` entries arrived at `place`, or why not.
pub fn add(tx: &mut dyn Tx, place: &str, size: i64, at: Timestamp, error: Option<&str>) -> Result<()> {
    tx.execute(
        "INSERT INTO audit_anchor (place, size, at_us, error) VALUES ($1, $2, $3, $4)",
        params![place, size, at, error],
    )?;
    Ok(())
}

/// How it stands with `place`.
pub fn standing(tx: &mut dyn Tx, place: &str) -> Result<Place> {
    let arrived = tx.one(
        "SELECT size, at_us FROM audit_anchor WHERE place = $1 AND error IS NULL ORDER BY id DESC LIMIT 1",
        params![place],
        |row| Ok((row.int(0)?, row.time(1)?)),
    )?;
    let last = tx.one(
        "SELECT error, at_us FROM audit_anchor WHERE place = $1 ORDER BY id DESC LIMIT 1",
        params![place],
        |row| Ok((row.opt_string(0)?, row.time(1)?)),
    )?;
    let failed = last.and_then(|(error, at)| error.map(|error| (error, at)));
    Ok(Place { place: place.to_owned(), arrived, failed })
}
