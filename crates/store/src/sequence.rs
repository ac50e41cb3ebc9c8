//! Numbers that people see, given out in order: record numbers, invoice numbers.

use crate::{Result, Tx, params};

/// The next number of the sequence `name`, from 1. Given once; a transaction that fails gives it back.
pub fn next(tx: &mut dyn Tx, name: &str) -> Result<i64> {
    let number = tx.one(
        "INSERT INTO setting (key, value) VALUES ($1, '1') ON CONFLICT (key) DO UPDATE \
         SET value = CAST(CAST(setting.value AS BIGINT) + 1 AS TEXT) RETURNING CAST(value AS BIGINT)",
        params![&format!("sequence/{name}")],
        |row| row.int(0),
    )?;
    number.ok_or_else(|| crate::Error::Corrupt("sequence".into()))
}

/// Lets the sequence go on after `number`, if it has not got there yet.
pub fn at_least(tx: &mut dyn Tx, name: &str, number: i64) -> Result<()> {
    tx.execute(
        "INSERT INTO setting (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value \
         WHERE CAST(setting.value AS BIGINT) < CAST(excluded.value AS BIGINT)",
        params![&format!("sequence/{name}"), &number.to_string()],
    )?;
    Ok(())
}
