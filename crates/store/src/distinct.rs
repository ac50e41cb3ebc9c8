//! Which values the index has, whoever has them.

use crate::index::param_number;
use crate::{Result, Tx, params};
use fhir::ParamId;

/// The values of a uri parameter in order, at most `most`: a step along the index for each, however many rows have it.
/// Values are cut to 200 characters, as in searches.
pub fn uris(tx: &mut dyn Tx, param: ParamId, most: usize) -> Result<Vec<String>> {
    let number = param_number(param);
    let mut found: Vec<String> = Vec::new();
    while found.len() < most {
        let after = found.last().map_or("", String::as_str);
        let next = tx.one(
            "SELECT value FROM uri WHERE param = $1 AND value > $2 ORDER BY value LIMIT 1",
            params![number, after],
            |row| row.string(0),
        )?;
        match next {
            Some(value) => found.push(value),
            None => break,
        }
    }
    Ok(found)
}
