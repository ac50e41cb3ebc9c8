//! Proofs from the audit tree, for those who do not want to believe the database.

use super::head::AuditHead;
use crate::{Error, Record};
use access::{Capability, Ctx};
use jiff::Timestamp;
use store::audit::anchor::{self, Place};
use store::audit::merkle::{self, Hash};
use store::audit::tree;
use store::audit::{Outcome, leaf};

/// Most heads of one page.
const MAX_HEADS: u32 = 500;

/// That a row is an entry of the tree with this size; see [store::audit::merkle::verify_inclusion].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    pub row: i64,
    pub entry: u64,
    /// Hash of the row as it is now.
    pub leaf: Hash,
    pub path: Vec<Hash>,
    /// The head that the path leads to.
    pub head: AuditHead,
    /// Whether it does.
    pub holds: bool,
}

/// That the tree of one head begins with that of another; see [store::audit::merkle::verify_consistency].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyProof {
    /// Sizes, the smaller first.
    pub sizes: (u64, u64),
    pub roots: (Hash, Hash),
    pub path: Vec<Hash>,
    /// Whether the path proves it.
    pub holds: bool,
}

/// How it stands with the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeStatus {
    /// The newest; `None` before the first.
    pub head: Option<AuditHead>,
    /// Rows that wait to be sealed since; `None` if none does.
    pub waiting_since: Option<Timestamp>,
    /// Entries whose rows were removed after their time.
    pub pruned: u64,
    pub keys: Vec<tree::Key>,
    pub places: Vec<Place>,
}

/// Where heads are taken to.
pub const PLACES: [&str; 3] = ["file", "https", "mail"];

impl Record {
    async fn audit_right(&self, ctx: &Ctx, what: &str) -> Result<(), Error> {
        match access::policy::may(ctx, Capability::ReadAudit) {
            true => Ok(()),
            false => Err(self.denied(ctx, "query", what).await),
        }
    }

    /// How it stands with the tree: for the program's own watch, which names nobody. Errors: of the database.
    pub async fn audit_standing(&self) -> Result<TreeStatus, Error> {
        let horizon = self.audit_reading(|tx| Ok(tree::horizon(tx)?)).await?;
        self.reading(move |tx| {
            let state = tree::state(tx)?;
            let newest = tree::heads(tx, i64::MAX, 1)?.into_iter().next();
            let after = state.as_ref().map_or(i64::MIN, super::seal::after);
            let waiting = leaf::rows(tx, after, horizon, 1)?;
            let places = PLACES.iter().map(|place| anchor::standing(tx, place));
            Ok(TreeStatus {
                head: state.as_ref().and_then(|state| Some(AuditHead::of(state.name, newest.as_ref()?))),
                waiting_since: waiting.first().and_then(|row| Timestamp::from_microsecond(row.at_us).ok()),
                pruned: state.map_or(0, |state| u64::try_from(state.pruned).unwrap_or(0)),
                places: places.collect::<Result<_, _>>()?,
                keys: tree::keys(tx)?,
            })
        })
        .await
    }

    /// As [Record::audit_standing], for administrator and privacy officer. Errors: `Denied`.
    pub async fn audit_tree(&self, ctx: &Ctx) -> Result<TreeStatus, Error> {
        self.audit_right(ctx, "AuditTree").await?;
        self.audit_standing().await
    }

    /// Heads from the newest, of trees with fewer than `below` entries. Errors: `Denied`.
    pub async fn audit_heads(
        &self,
        ctx: &Ctx,
        below: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AuditHead>, Error> {
        self.audit_right(ctx, "AuditTree/heads").await?;
        let below = below.map_or(i64::MAX, |below| i64::try_from(below).unwrap_or(i64::MAX));
        self.reading(move |tx| {
            let Some(state) = tree::state(tx)? else { return Ok(Vec::new()) };
            let heads = tree::heads(tx, below, limit.clamp(1, MAX_HEADS))?;
            Ok(heads.iter().map(|segment| AuditHead::of(state.name, segment)).collect())
        })
        .await
    }

    /// Proof that row `row` is in the tree of the newest head, or of the head with `size` entries. Errors: `Denied`;
    /// `NotFound` for a row that is not there or not sealed by then, or a size no head has.
    pub async fn audit_inclusion(
        &self,
        ctx: &Ctx,
        row: i64,
        size: Option<u64>,
    ) -> Result<InclusionProof, Error> {
        let what = format!("AuditTree/inclusion?row={row}");
        self.audit_right(ctx, &what).await?;
        let proof = self.reading(move |tx| inclusion(tx, row, size)).await?;
        self.audit_one(ctx, "query", Outcome::Success, &what, &[]).await?;
        Ok(proof)
    }

    /// Proof that the tree of `sizes.1` entries begins with that of `sizes.0`. Errors: `Denied`; `NotFound` for sizes
    /// that the tree never had.
    pub async fn audit_consistency(&self, ctx: &Ctx, sizes: (u64, u64)) -> Result<ConsistencyProof, Error> {
        let what = format!("AuditTree/consistency?from={}&to={}", sizes.0, sizes.1);
        self.audit_right(ctx, &what).await?;
        let proof = self.reading(move |tx| consistency(tx, sizes)).await?;
        self.audit_one(ctx, "query", Outcome::Success, &what, &[]).await?;
        Ok(proof)
    }

    /// As [Record::audit_inclusion], on the command line.
    pub async fn audit_prove_row(&self, row: i64, size: Option<u64>) -> Result<InclusionProof, Error> {
        self.reading(move |tx| inclusion(tx, row, size)).await
    }

    /// As [Record::audit_consistency], on the command line.
    pub async fn audit_prove_growth(&self, sizes: (u64, u64)) -> Result<ConsistencyProof, Error> {
        self.reading(move |tx| consistency(tx, sizes)).await
    }

    /// Notes that a head of `size` entries arrived at one of [PLACES], or why not. Errors: of the database.
    pub async fn audit_anchored(
        &self,
        place: &'static str,
        size: u64,
        error: Option<String>,
    ) -> Result<(), Error> {
        let (size, now) = (i64::try_from(size).unwrap_or(i64::MAX), self.now());
        self.writing(move |tx| Ok(anchor::add(tx, place, size, now, error.as_deref())?)).await
    }
}

fn inclusion(tx: &mut dyn store::Tx, row: i64, size: Option<u64>) -> Result<InclusionProof, Error> {
    let state = tree::state(tx)?.ok_or(Error::NotFound)?;
    let entry = tree::index_of(tx, row)?.ok_or(Error::NotFound)?;
    let found = leaf::rows(tx, row - 1, row, 1)?.into_iter().next();
    // Of a row that was removed after its time the hash is left.
    let leaf = match found {
        Some(found) => found.leaf.hash,
        None if entry < state.pruned => kept(tx, entry)?.ok_or(Error::NotFound)?,
        None => return Err(Error::NotFound),
    };
    let wanted = size.unwrap_or_else(|| state.frontier.size());
    let below = i64::try_from(wanted).unwrap_or(i64::MAX).saturating_add(1);
    let segment = tree::heads(tx, below, 1)?.into_iter().next().ok_or(Error::NotFound)?;
    let head = AuditHead::of(state.name, &segment);
    let entry = u64::try_from(entry).map_err(|_| Error::NotFound)?;
    if head.size != wanted || entry >= head.size {
        return Err(Error::NotFound);
    }
    let path = tree::inclusion(tx, entry, head.size)?;
    let holds = merkle::verify_inclusion(&leaf, entry, head.size, &path, &head.root);
    Ok(InclusionProof { row, entry, leaf, path, head, holds })
}

fn kept(tx: &mut dyn store::Tx, entry: i64) -> Result<Option<Hash>, Error> {
    let found = tree::segment_of(tx, entry)?;
    Ok(found.and_then(|(segment, leaves)| {
        leaves.get(usize::try_from(entry - segment.first).ok()?).map(|leaf| leaf.hash)
    }))
}

fn consistency(tx: &mut dyn store::Tx, (first, second): (u64, u64)) -> Result<ConsistencyProof, Error> {
    let state = tree::state(tx)?.ok_or(Error::NotFound)?;
    if first == 0 || first > second || second > state.frontier.size() {
        return Err(Error::NotFound);
    }
    let roots = (tree::root(tx, first)?, tree::root(tx, second)?);
    let path = tree::consistency(tx, first, second)?;
    let holds = merkle::verify_consistency((first, &roots.0), (second, &roots.1), &path);
    Ok(ConsistencyProof { sizes: (first, second), roots, path, holds })
}
