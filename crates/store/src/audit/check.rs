//! Whether the index of patients says what the rows say.

use super::leaf::{Hashed, rows};
use crate::{Error, Result, Tx, params};
use ring::digest::{SHA256, digest};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Rows whose pairs share a sum.
const BUCKET: i64 = 256;
/// What looking for one wrong row in the whole index may take.
const LOOK_LIMIT: Duration = Duration::from_secs(300);

/// Pairs of patient and row: those that the rows ask for less those that are there, as sums of hashes for 256 rows each,
/// because the index is in the order of patients.
#[derive(Default)]
pub struct Pairs(HashMap<i64, [u64; 4]>);

fn lanes(patient: &[u8], seq: i64) -> [u64; 4] {
    let mut bytes = seq.to_be_bytes().to_vec();
    bytes.extend_from_slice(patient);
    let hash = digest(&SHA256, &bytes);
    let mut lanes = [0; 4];
    for (lane, eight) in lanes.iter_mut().zip(hash.as_ref().as_chunks::<8>().0) {
        *lane = u64::from_be_bytes(*eight);
    }
    lanes
}

/// The stored ids of one row, each once.
fn ids(bytes: Option<&[u8]>) -> Result<HashSet<&[u8]>> {
    let (mut rest, mut ids) = (bytes.unwrap_or_default(), HashSet::new());
    while let [length, tail @ ..] = rest {
        let (id, more) =
            tail.split_at_checked(usize::from(*length)).ok_or(Error::Corrupt("stored ids".into()))?;
        ids.insert(id);
        rest = more;
    }
    Ok(ids)
}

impl Pairs {
    /// A row that is there. Errors: [Error::Corrupt] for a list of patients that cannot be read.
    pub fn expect(&mut self, row: &Hashed) -> Result<()> {
        for patient in ids(row.patients.as_deref())? {
            let lanes = lanes(patient, row.leaf.seq);
            let sums = self.0.entry(row.leaf.seq.div_euclid(BUCKET)).or_default();
            for (sum, lane) in sums.iter_mut().zip(lanes) {
                *sum = sum.wrapping_add(lane);
            }
        }
        Ok(())
    }

    /// A pair of the index.
    pub fn found(&mut self, patient: &[u8], seq: i64) {
        let lanes = lanes(patient, seq);
        let sums = self.0.entry(seq.div_euclid(BUCKET)).or_default();
        for (sum, lane) in sums.iter_mut().zip(lanes) {
            *sum = sum.wrapping_sub(lane);
        }
    }

    /// First and last number of the first rows whose pairs differ.
    pub fn first_wrong(&self) -> Option<(i64, i64)> {
        let wrong = self.0.iter().filter(|(_, sums)| **sums != [0; 4]).map(|(bucket, _)| *bucket).min()?;
        Some((wrong * BUCKET, wrong * BUCKET + BUCKET - 1))
    }
}

/// Pairs behind `after` in the order of the index, at most `limit`.
pub fn pairs(tx: &mut dyn Tx, after: &(Vec<u8>, i64), limit: u32) -> Result<Vec<(Vec<u8>, i64)>> {
    let sql = "SELECT patient, seq FROM audit_patient WHERE (patient, seq) > ($1, $2) ORDER BY patient, seq LIMIT $3";
    tx.all(sql, params![&after.0, after.1, limit], |row| Ok((row.bytes(0)?.to_vec(), row.int(1)?)))
}

/// Of the rows `from..=to`, whose pairs were found wrong, the number of the first that is: with a pair too few or too many.
pub fn wrong_row(tx: &mut dyn Tx, from: i64, to: i64) -> Result<Option<i64>> {
    // The index is in the order of patients: all of it is looked through, once, after something was found wrong.
    tx.limit(Some(LOOK_LIMIT))?;
    let mut expected = HashSet::new();
    for row in rows(tx, from - 1, to, u32::MAX)? {
        for patient in ids(row.patients.as_deref())? {
            expected.insert((row.leaf.seq, patient.to_vec()));
        }
    }
    let sql = "SELECT patient, seq FROM audit_patient WHERE seq >= $1 AND seq <= $2";
    let found = tx.all(sql, params![from, to], |row| Ok((row.int(1)?, row.bytes(0)?.to_vec())))?;
    let found: HashSet<_> = found.into_iter().collect();
    Ok(expected.symmetric_difference(&found).map(|(seq, _)| *seq).min())
}
