//! Which concepts have a word, a property or a place in a reference set.
//!
//! Keys: `w:` and a folded word of a name; `^:` and a folded word that a name begins with; `p:name=value` a property;
//! `p:name` any value of it; `m:` and a reference set. Values longer than [MAX_KEY] bytes are not indexed.

use super::Id;
use super::ranges::Ranges;
use crate::{Param, Result, Tx, params};

/// Bytes of a key.
pub const MAX_KEY: usize = 200;
/// Keys that one prefix may stand for; a prefix of more selects by the first of them only.
pub const MAX_KEYS: u32 = 50_000;

/// The numbers under one key.
pub fn get(tx: &mut dyn Tx, id: Id, key: &str) -> Result<Ranges> {
    let found = tx.one(
        "SELECT numbers FROM terminology_posting WHERE terminology = $1 AND key = $2",
        params![id.0, key],
        |row| Ranges::decode(row.bytes(0)?),
    )?;
    Ok(found.unwrap_or_default())
}

/// All keys that begin with `prefix`, ascending, with their numbers.
pub fn each(
    tx: &mut dyn Tx,
    id: Id,
    prefix: &str,
    each: &mut dyn FnMut(&str, Ranges) -> Result<()>,
) -> Result<()> {
    // U+10FFFF sorts behind every character that a key holds, in the byte order of both engines.
    let end = format!("{prefix}\u{10ffff}");
    tx.query(
        "SELECT key, numbers FROM terminology_posting \
         WHERE terminology = $1 AND key >= $2 AND key < $3 ORDER BY key LIMIT $4",
        params![id.0, prefix, &end, MAX_KEYS],
        &mut |row| each(row.text(0)?, Ranges::decode(row.bytes(1)?)?),
    )
}

/// Adds postings (encoded [Ranges]) to a system that is being loaded; sorted keys are inserted fastest.
pub fn insert(tx: &mut dyn Tx, id: Id, postings: &[(String, Vec<u8>)]) -> Result<()> {
    let mut values: Vec<Param<'_>> = Vec::with_capacity(postings.len() * 3);
    for (key, numbers) in postings {
        values.extend_from_slice(params![id.0, key, numbers]);
    }
    tx.insert_many("INSERT INTO terminology_posting (terminology, key, numbers)", "", 3, &values)?;
    Ok(())
}
