//! What of a row is hashed: every column, with the texts that terms stand for, in one canonical form.

use super::merkle::{Hash, leaf_hash};
use crate::{Result, Row, Tx, params};
use std::collections::HashMap;
use std::rc::Rc;

/// First byte of the canonical form; another form gets another number.
const FORM: u8 = 1;
/// Bytes of an entry in a segment: the row's number and the leaf's hash.
pub const ENTRY_BYTES: usize = 40;

/// An entry of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Number of the row.
    pub seq: i64,
    pub hash: Hash,
}

impl Leaf {
    /// Entries as a segment keeps them.
    pub fn encode(leaves: &[Leaf]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(leaves.len() * ENTRY_BYTES);
        for leaf in leaves {
            bytes.extend_from_slice(&leaf.seq.to_be_bytes());
            bytes.extend_from_slice(&leaf.hash);
        }
        bytes
    }

    /// The inverse of [Leaf::encode]; a part of an entry at the end is left out.
    pub fn decode(bytes: &[u8]) -> Vec<Leaf> {
        let (entries, _) = bytes.as_chunks::<ENTRY_BYTES>();
        let leaf = |entry: &[u8; ENTRY_BYTES]| {
            let (mut seq, mut hash) = ([0; 8], [0; 32]);
            seq.copy_from_slice(&entry[..8]);
            hash.copy_from_slice(&entry[8..]);
            Leaf { seq: i64::from_be_bytes(seq), hash }
        };
        entries.iter().map(leaf).collect()
    }
}

/// A row as it is stored.
struct Raw {
    seq: i64,
    at_us: i64,
    outcome: i64,
    purpose: i64,
    /// Action, agent, details of the agent, client.
    terms: [Option<i64>; 4],
    /// Address, request, target, patients, session.
    bytes: [Option<Vec<u8>>; 5],
    what: Option<String>,
}

fn raw(row: &Row<'_>) -> Result<Raw> {
    let bytes = |column| Ok::<_, crate::Error>(row.opt_bytes(column)?.map(<[u8]>::to_vec));
    Ok(Raw {
        seq: row.int(0)?,
        at_us: row.int(1)?,
        outcome: row.int(2)?,
        purpose: row.int(3)?,
        terms: [row.opt_int(4)?, row.opt_int(5)?, row.opt_int(6)?, row.opt_int(7)?],
        bytes: [bytes(8)?, bytes(9)?, bytes(10)?, bytes(11)?, bytes(12)?],
        what: row.opt_string(13)?,
    })
}

/// Texts of terms as the table has them now; what this process remembers of them does not count as evidence.
#[derive(Default)]
struct Texts(HashMap<i64, Option<Rc<str>>>);

impl Texts {
    fn get(&mut self, tx: &mut dyn Tx, term: i64) -> Result<Option<Rc<str>>> {
        if let Some(text) = self.0.get(&term) {
            return Ok(text.clone());
        }
        let text =
            tx.one("SELECT text FROM term WHERE id = $1", params![term], |row| Ok(Rc::from(row.text(0)?)))?;
        self.0.insert(term, text.clone());
        Ok(text)
    }
}

fn put(form: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => form.push(0),
        Some(bytes) => {
            form.push(1);
            form.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
            form.extend_from_slice(bytes);
        }
    }
}

/// The canonical form: a byte for the form; number, time, outcome and purpose as eight bytes each, big endian; then
/// action, agent, agent's details, client, address, request, target, patients, session and text of the query, each a zero
/// byte, or a one byte, its length in eight bytes and its bytes. No two rows have the same.
fn form(raw: &Raw, texts: [Option<Rc<str>>; 4]) -> Vec<u8> {
    let mut form = Vec::with_capacity(384);
    form.push(FORM);
    for number in [raw.seq, raw.at_us, raw.outcome, raw.purpose] {
        form.extend_from_slice(&number.to_be_bytes());
    }
    for text in &texts {
        put(&mut form, text.as_deref().map(str::as_bytes));
    }
    for bytes in &raw.bytes {
        put(&mut form, bytes.as_deref());
    }
    put(&mut form, raw.what.as_deref().map(str::as_bytes));
    form
}

/// A row's entry, and its patients as stored.
pub struct Hashed {
    pub leaf: Leaf,
    pub at_us: i64,
    pub(super) patients: Option<Vec<u8>>,
}

/// The rows numbered above `after` and up to `until`, in order, at most `limit`.
pub fn rows(tx: &mut dyn Tx, after: i64, until: i64, limit: u32) -> Result<Vec<Hashed>> {
    let found = tx.all(
        "SELECT seq, at_us, outcome, purpose, action, agent, agent_details, client, address, request, target, \
         patients, session, what FROM audit WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3",
        params![after, until, limit],
        raw,
    )?;
    let mut texts = Texts::default();
    let mut hashed = Vec::with_capacity(found.len());
    for mut row in found {
        let mut named: [Option<Rc<str>>; 4] = [None, None, None, None];
        for (text, term) in named.iter_mut().zip(row.terms) {
            *text = match term {
                Some(term) => texts.get(tx, term)?,
                None => None,
            };
        }
        let hash = leaf_hash(&form(&row, named));
        let leaf = Leaf { seq: row.seq, hash };
        hashed.push(Hashed { leaf, at_us: row.at_us, patients: row.bytes[3].take() });
    }
    Ok(hashed)
}
