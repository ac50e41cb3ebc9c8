//! Removal of rows after their time. Their leaf hashes stay, so that the tree can be verified and proven as before.

use super::tree;
use crate::{Error, Result, Tx, params};
use jiff::{SignedDuration, Timestamp};

/// HIPAA 45 CFR 164.316(b)(2): six years. The triggers hold it as well, by the database's clock.
pub const FLOOR: SignedDuration = SignedDuration::from_hours(24 * 2192);
/// Segments marked at once.
const SEGMENTS: u32 = 100;
/// Rows removed at once.
const ROWS: u32 = 1000;

/// Gives segments that were sealed before `before` free for [remove]; returns whether there were any. Errors:
/// [Error::Invalid] for less than [FLOOR] ago by the database's clock.
pub fn mark(tx: &mut dyn Tx, before: Timestamp) -> Result<bool> {
    let floor = tx.now()?.checked_sub(FLOOR).map_err(|_| Error::Invalid("retention"))?;
    if before > floor {
        return Err(Error::Invalid("retention"));
    }
    let Some(state) = tree::state(tx)? else { return Ok(false) };
    let sql = "SELECT first + count, last_seq, sealed_us FROM audit_segment WHERE first >= $1 ORDER BY first LIMIT $2";
    let segments =
        tx.all(sql, params![state.pruned, SEGMENTS], |row| Ok((row.int(0)?, row.int(1)?, row.time(2)?)))?;
    let Some((end, last_seq, _)) = segments.into_iter().take_while(|(_, _, sealed)| *sealed < before).last()
    else {
        return Ok(false);
    };
    tx.execute("UPDATE audit_tree SET pruned = $1, pruned_seq = $2 WHERE id = 1", params![end, last_seq])?;
    Ok(true)
}

/// Removes rows that were given free; returns how many. Errors: [Error::Constraint] if one of them is younger than it
/// may be.
pub fn remove(tx: &mut dyn Tx) -> Result<u64> {
    let rows = tx.all(
        "SELECT a.seq, a.patients FROM audit a WHERE a.seq <= (SELECT pruned_seq FROM audit_tree WHERE id = 1) \
         ORDER BY a.seq LIMIT $1",
        params![ROWS],
        |row| Ok((row.int(0)?, crate::ids::decode_ids(row.opt_bytes(1)?)?)),
    )?;
    for (seq, patients) in &rows {
        tx.execute("DELETE FROM audit WHERE seq = $1", params![seq.to_owned()])?;
        for patient in patients {
            let patient = crate::ids::encode_id(patient);
            tx.execute(
                "DELETE FROM audit_patient WHERE patient = $1 AND seq = $2",
                params![&patient, seq.to_owned()],
            )?;
        }
    }
    Ok(rows.len() as u64)
}
