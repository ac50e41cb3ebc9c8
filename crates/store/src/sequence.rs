//! Numbers that people read, such as record numbers: ascending, without gaps but for rolled-back transactions.

use crate::{Result, Tx, params};

/// The next number of this sequence; the first is 1.
pub fn next(tx: &mut dyn Tx, name: &str) -> Result<i64> {
    let value = tx.one(
        "INSERT INTO sequence (name, value) VALUES ($1, 1) \
         ON CONFLICT (name) DO UPDATE SET value = sequence.value + 1 RETURNING value",
        params![name],
        |row| row.int(0),
    )?;
    value.ok_or_else(|| crate::Error::Corrupt("sequence".into()))
}

/// Has the next number be above `value`.
pub fn at_least(tx: &mut dyn Tx, name: &str, value: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO sequence (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value \
         WHERE sequence.value < excluded.value",
        params![name, value],
    )?;
    Ok(())
}
