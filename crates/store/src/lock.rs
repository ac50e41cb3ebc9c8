//! Locks that live as long as a write transaction, for what no row stands for yet.

use crate::{Dialect, Result, Tx, params};

/// Marks our locks among others: the two-number form, which the change numbers' horizon does not look at.
const CLASS: i32 = 21_334;

/// Whoever else takes the lock of this name waits until this transaction ends. Take several in ascending order of
/// [number]. SQLite has one writer at a time and needs none.
pub fn take(tx: &mut dyn Tx, number: i32) -> Result<()> {
    if tx.dialect() == Dialect::Postgres {
        let sql = format!("SELECT pg_advisory_xact_lock({CLASS}, ($1::BIGINT)::INTEGER)");
        tx.query(&sql, params![number], &mut |_| Ok(()))?;
    }
    Ok(())
}

/// The number that stands for a name: FNV-1a, 32 bits. Names that share a number only wait for each other.
pub fn number(name: &str) -> i32 {
    let mut hash: u32 = 0x811c_9dc5;
    for byte in name.bytes() {
        hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    i32::from_be_bytes(hash.to_be_bytes())
}
