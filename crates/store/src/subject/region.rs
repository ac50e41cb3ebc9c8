//! Agreements to serve the record from another country.

use crate::{Result, Tx, params};
use jiff::Timestamp;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agreement {
    /// ISO 3166-1, two letters: where to.
    pub region: String,
    pub account: i64,
    pub at: Timestamp,
    pub reason: String,
}

/// Writes one down; a second of the same person takes the place of the first.
pub fn agree(tx: &mut dyn Tx, new: &Agreement) -> Result<()> {
    tx.execute(
        "INSERT INTO region_move (region, account, at_us, reason) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (region, account) DO UPDATE SET at_us = excluded.at_us, reason = excluded.reason",
        params![&new.region, new.account, new.at, &new.reason],
    )?;
    Ok(())
}

/// Newest first.
pub fn list(tx: &mut dyn Tx) -> Result<Vec<Agreement>> {
    tx.all(
        "SELECT region, account, at_us, reason FROM region_move ORDER BY at_us DESC, region, account LIMIT 100",
        &[],
        |row| {
            Ok(Agreement {
                region: row.string(0)?,
                account: row.int(1)?,
                at: row.time(2)?,
                reason: row.string(3)?,
            })
        },
    )
}

/// Those to this country that are no older than `since`.
pub fn of(tx: &mut dyn Tx, region: &str, since: Timestamp) -> Result<Vec<Agreement>> {
    let all = list(tx)?;
    Ok(all.into_iter().filter(|one| one.region == region && one.at >= since).collect())
}

/// After a move, or when it was called off.
pub fn clear(tx: &mut dyn Tx, region: &str) -> Result<()> {
    tx.execute("DELETE FROM region_move WHERE region = $1", params![region])?;
    Ok(())
}
