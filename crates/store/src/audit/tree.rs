//! The tree over the rows: what has been sealed, its signed heads and the keys that signed them.
//!
//! An entry is a row; entries are numbered from 0 without gaps, in the order of the rows' numbers, which have gaps. A row
//! becomes an entry when the segment it is in is sealed, see [append].

use super::leaf::{self, Hashed, Leaf};
use super::merkle::{self, Frontier, Hash, Hashes};
use crate::{Dialect, Error, Result, Row, Tx, params};
use jiff::Timestamp;

/// Most entries of a segment.
pub const MAX_SEGMENT: u32 = 1000;

/// First bytes of the SHA-256 of a public key.
pub type KeyId = [u8; 8];

/// Where the tree stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// Random, made with the tree: tells it from those of other databases.
    pub name: [u8; 16],
    pub frontier: Frontier,
    /// Number of the last sealed row; 0 if there is none.
    pub last_seq: i64,
    /// Rows of the entries below were removed after their time.
    pub pruned: i64,
}

/// A sealed segment without its entries, and the head of the tree that ends with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Number of its first entry.
    pub first: i64,
    pub count: i64,
    /// Number of its last row.
    pub last_seq: i64,
    pub sealed: Timestamp,
    /// Of the tree of `first + count` entries.
    pub root: Hash,
    pub key: KeyId,
    /// Ed25519 over the text of the head.
    pub signature: Vec<u8>,
}

/// A key that signs heads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub id: KeyId,
    /// Ed25519, 32 bytes.
    pub public: [u8; 32],
    /// Size of the tree when it came.
    pub since: i64,
    pub made: Timestamp,
    /// Signature by the key before it.
    pub endorsement: Option<Vec<u8>>,
}

fn array<const N: usize>(bytes: &[u8]) -> Result<[u8; N]> {
    <[u8; N]>::try_from(bytes).map_err(|_| Error::Corrupt("audit tree".into()))
}

/// Every row with this number or a smaller one is there or never will be; ask before the read that takes the rows, not in
/// it.
pub fn horizon(tx: &mut dyn Tx) -> Result<i64> {
    let sql = match tx.dialect() {
        // One writer gives the numbers and commits in their order.
        Dialect::Sqlite => "SELECT coalesce(max(seq), 0) FROM audit",
        Dialect::Postgres => "SELECT audit_horizon()",
    };
    Ok(tx.one(sql, &[], |row| row.int(0))?.unwrap_or(0))
}

/// `None` before the first segment. Errors: [Error::Corrupt].
pub fn state(tx: &mut dyn Tx) -> Result<Option<State>> {
    let sql = "SELECT name, size, last_seq, frontier, pruned FROM audit_tree WHERE id = 1";
    tx.one(sql, &[], |row| {
        let size = u64::try_from(row.int(1)?).map_err(|_| Error::Corrupt("audit tree".into()))?;
        let frontier = Frontier::from_bytes(size, row.bytes(3)?);
        Ok(State {
            name: array(row.bytes(0)?)?,
            frontier: frontier.ok_or_else(|| Error::Corrupt("audit tree".into()))?,
            last_seq: row.int(2)?,
            pruned: row.int(4)?,
        })
    })
}

/// The tree's state, which is made if it is not there yet; with `name` for its name.
pub fn begin(tx: &mut dyn Tx, name: [u8; 16]) -> Result<State> {
    tx.execute(
        "INSERT INTO audit_tree (id, name, size, last_seq, frontier, pruned, pruned_seq) \
         VALUES (1, $1, 0, 0, $2, 0, 0) ON CONFLICT DO NOTHING",
        params![&name, &[0u8; 0]],
    )?;
    state(tx)?.ok_or_else(|| Error::Corrupt("audit tree".into()))
}

/// The next rows to seal: at most [MAX_SEGMENT], up to a `horizon` asked for before this transaction.
pub fn waiting(tx: &mut dyn Tx, after: i64, horizon: i64) -> Result<Vec<Hashed>> {
    leaf::rows(tx, after, horizon, MAX_SEGMENT)
}

/// Adds a segment whose entries are `leaves` to the tree that was `before`. False if somebody else has added one
/// meanwhile; nothing is changed then.
pub fn append(tx: &mut dyn Tx, before: &State, segment: &Segment, leaves: &[Leaf]) -> Result<bool> {
    let mut frontier = before.frontier.clone();
    let mut kept = Vec::new();
    for leaf in leaves {
        frontier.push(leaf.hash, &mut |level, number, hash| kept.push((level, number, hash)));
    }
    let (old, new) = (number(before.frontier.size()), number(frontier.size()));
    let grown = tx.execute(
        "UPDATE audit_tree SET size = $1, last_seq = $2, frontier = $3 WHERE id = 1 AND size = $4",
        params![new, segment.last_seq, &frontier.to_bytes(), old],
    )?;
    if grown != 1 {
        return Ok(false);
    }
    tx.execute(
        "INSERT INTO audit_segment (first, count, last_seq, leaves, sealed_us, root, key, signature) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        params![
            segment.first,
            segment.count,
            segment.last_seq,
            &Leaf::encode(leaves),
            segment.sealed,
            &segment.root,
            &segment.key,
            &segment.signature
        ],
    )?;
    for (level, at, hash) in kept {
        tx.execute(
            "INSERT INTO audit_node (level, number, hash) VALUES ($1, $2, $3)",
            params![level, number(at), &hash],
        )?;
    }
    Ok(true)
}

/// Sizes never come near what an `i64` holds.
fn number(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

const SEGMENT: &str = "first, count, last_seq, sealed_us, root, key, signature";

fn segment(row: &Row<'_>) -> Result<Segment> {
    Ok(Segment {
        first: row.int(0)?,
        count: row.int(1)?,
        last_seq: row.int(2)?,
        sealed: row.time(3)?,
        root: array(row.bytes(4)?)?,
        key: array(row.bytes(5)?)?,
        signature: row.bytes(6)?.to_vec(),
    })
}

/// Segments that begin with entry `from` or later, in order, at most `limit`, each with its entries.
pub fn segments(tx: &mut dyn Tx, from: i64, limit: u32) -> Result<Vec<(Segment, Vec<Leaf>)>> {
    let sql =
        format!("SELECT {SEGMENT}, leaves FROM audit_segment WHERE first >= $1 ORDER BY first LIMIT $2");
    tx.all(&sql, params![from, limit], |row| Ok((segment(row)?, Leaf::decode(row.bytes(7)?))))
}

/// Heads from the newest, of trees with fewer than `below` entries, at most `limit`.
pub fn heads(tx: &mut dyn Tx, below: i64, limit: u32) -> Result<Vec<Segment>> {
    let sql = format!(
        "SELECT {SEGMENT} FROM audit_segment WHERE first + count < $1 AND first < $1 ORDER BY first DESC LIMIT $2"
    );
    tx.all(&sql, params![below, limit], segment)
}

/// The segment that holds entry `index`.
pub fn segment_of(tx: &mut dyn Tx, index: i64) -> Result<Option<(Segment, Vec<Leaf>)>> {
    let sql =
        format!("SELECT {SEGMENT}, leaves FROM audit_segment WHERE first <= $1 ORDER BY first DESC LIMIT 1");
    let found = tx.one(&sql, params![index], |row| Ok((segment(row)?, Leaf::decode(row.bytes(7)?))))?;
    Ok(found.filter(|(segment, _)| index < segment.first + segment.count))
}

/// Number of the entry that row `seq` became; `None` while it waits.
pub fn index_of(tx: &mut dyn Tx, seq: i64) -> Result<Option<i64>> {
    // Rows and segments are in the same order: the first segment that ends with the row or behind it. Found by halves,
    // because the numbers of rows have no index.
    let Some(state) = state(tx)? else { return Ok(None) };
    let (mut low, mut high) = (0, number(state.frontier.size()));
    while low < high {
        let Some((segment, leaves)) = segment_of(tx, low + (high - low) / 2)? else { return Ok(None) };
        match leaves.binary_search_by_key(&seq, |leaf| leaf.seq) {
            Ok(at) => return Ok(Some(segment.first + i64::try_from(at).unwrap_or(0))),
            Err(0) => high = segment.first,
            Err(at) if at == leaves.len() => low = segment.first + segment.count,
            Err(_) => return Ok(None),
        }
    }
    Ok(None)
}

/// Keys, oldest first.
pub fn keys(tx: &mut dyn Tx) -> Result<Vec<Key>> {
    let sql = "SELECT id, public, since, made_us, endorsement FROM audit_key ORDER BY number";
    tx.all(sql, &[], |row| {
        Ok(Key {
            id: array(row.bytes(0)?)?,
            public: array(row.bytes(1)?)?,
            since: row.int(2)?,
            made: row.time(3)?,
            endorsement: row.opt_bytes(4)?.map(<[u8]>::to_vec),
        })
    })
}

/// Adds the key that signs from now on. Errors: [Error::Constraint] if it was there before.
pub fn add_key(tx: &mut dyn Tx, key: &Key) -> Result<()> {
    tx.execute(
        "INSERT INTO audit_key (id, public, since, made_us, endorsement) VALUES ($1, $2, $3, $4, $5)",
        params![&key.id, &key.public, key.since, key.made, key.endorsement.as_ref()],
    )?;
    Ok(())
}

/// Hashes of the tree as they are kept.
struct Kept<'t> {
    tx: &'t mut dyn Tx,
    /// The segment looked at last.
    segment: Option<(i64, Vec<Leaf>)>,
}

impl Hashes for Kept<'_> {
    type Error = Error;

    fn leaf(&mut self, index: u64) -> Result<Hash> {
        let index = number(index);
        let at = |first: i64| usize::try_from(index - first).ok();
        if let Some((first, leaves)) = &self.segment
            && let Some(leaf) = at(*first).and_then(|n| leaves.get(n))
        {
            return Ok(leaf.hash);
        }
        let found = segment_of(self.tx, index)?;
        let (segment, leaves) = found.ok_or_else(|| Error::Corrupt("audit tree".into()))?;
        let hash = at(segment.first).and_then(|n| leaves.get(n)).map(|leaf| leaf.hash);
        self.segment = Some((segment.first, leaves));
        hash.ok_or_else(|| Error::Corrupt("audit tree".into()))
    }

    fn node(&mut self, level: u32, at: u64) -> Result<Hash> {
        node(self.tx, level, at)?.ok_or_else(|| Error::Corrupt("audit tree".into()))
    }
}

/// The kept root of the complete subtree of `2^level` entries from `at · 2^level`.
pub fn node(tx: &mut dyn Tx, level: u32, at: u64) -> Result<Option<Hash>> {
    let sql = "SELECT hash FROM audit_node WHERE level = $1 AND number = $2";
    tx.one(sql, params![level, number(at)], |row| array(row.bytes(0)?))
}

/// The root of the tree when it had `size` entries. Errors: [Error::Corrupt] if it never had so many.
pub fn root(tx: &mut dyn Tx, size: u64) -> Result<Hash> {
    merkle::root(&mut Kept { tx, segment: None }, 0, size)
}

/// Proof that entry `index` is in the tree of `size` entries. Errors: as [root].
pub fn inclusion(tx: &mut dyn Tx, index: u64, size: u64) -> Result<Vec<Hash>> {
    merkle::inclusion(&mut Kept { tx, segment: None }, index, size)
}

/// Proof that the tree of `second` entries begins with that of `first`. Errors: as [root].
pub fn consistency(tx: &mut dyn Tx, first: u64, second: u64) -> Result<Vec<Hash>> {
    merkle::consistency(&mut Kept { tx, segment: None }, first, second)
}
