//! Small configuration of the installation: clinic name, zone, currency, …

use crate::{Result, Tx, params};
use serde_json::Value;

pub fn get(tx: &mut dyn Tx, key: &str) -> Result<Option<Value>> {
    tx.one("SELECT value FROM setting WHERE key = $1", params![key], |row| {
        serde_json::from_str(row.text(0)?).map_err(|_| crate::Error::Corrupt("setting".into()))
    })
}

pub fn put(tx: &mut dyn Tx, key: &str, value: &Value) -> Result<()> {
    tx.execute(
        "INSERT INTO setting (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        params![key, &value.to_string()],
    )?;
    Ok(())
}

/// All settings by key.
pub fn all(tx: &mut dyn Tx) -> Result<Vec<(String, Value)>> {
    tx.all("SELECT key, value FROM setting ORDER BY key", &[], |row| {
        let value =
            serde_json::from_str(row.text(1)?).map_err(|_| crate::Error::Corrupt("setting".into()))?;
        Ok((row.string(0)?, value))
    })
}
