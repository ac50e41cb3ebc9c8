//! Checking that nothing in the audit trail was changed, removed, added or put in another order.

use super::head::{AuditHead, hex, is_endorsed, key_id};
use super::restore::Restoration;
use super::seal::after;
use crate::{Error, Record};
use jiff::Timestamp;
use store::audit::check::{self, Pairs};
use store::audit::leaf::{Leaf, rows};
use store::audit::merkle::{Frontier, Hash};
use store::audit::prune::FLOOR;
use store::audit::tree::{self, Key, Segment, State};

/// Rows read beyond those a segment should have, to name one that was put in.
const SPARE: u32 = 1;
/// Pairs of patient and row read at once.
const PAIRS: u32 = 20_000;
/// Rows that wait to be sealed, read at once.
const WAITING: u32 = 2_000;

/// What the trail is held against besides itself.
#[derive(Debug, Clone, Default)]
pub struct Against {
    /// Heads that were kept elsewhere.
    pub heads: Vec<AuditHead>,
    /// A public key that must have signed the newest head.
    pub key: Option<[u8; 32]>,
}

/// What is wrong first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The entry, from 0; `None` if it is not about one.
    pub entry: Option<u64>,
    /// The number of the row.
    pub row: Option<i64>,
    pub fault: Fault,
}

/// How it is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A column of the row is not what it was.
    Changed,
    /// The row is gone.
    Missing,
    /// A row was put between sealed ones.
    Inserted,
    /// The segment from this entry is gone.
    SegmentMissing,
    /// Entries of the segment up to `to`, inclusive, do not give the signed root: they were changed together with the
    /// hashes beside them, or the head was.
    SegmentChanged { to: u64 },
    /// The head that ends with this entry is not signed by its key.
    Signature,
    /// The head that ends with this entry was signed by a key that is not there or was not in use.
    Key,
    /// The newest head is not signed by the key that it should be.
    OtherKey,
    /// Entries of the segment were removed before their time.
    PrunedEarly,
    /// The tree's own notes (size, frontier, kept nodes) are not what the entries give.
    Notes,
    /// The index by patient lacks this row or has it for another patient.
    PatientIndex,
    /// The kept head is of a tree with another name: another database.
    OtherTree,
    /// The tree has fewer entries than when the kept head was signed.
    Shorter { anchored: u64 },
    /// The entries before this one are not those of the kept head.
    Rewritten,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(entry) = self.entry {
            write!(f, "entry {entry}")?;
            if let Some(row) = self.row {
                write!(f, " (row {row})")?;
            }
            f.write_str(": ")?;
        } else if let Some(row) = self.row {
            write!(f, "row {row}: ")?;
        }
        match &self.fault {
            Fault::Changed => f.write_str("was changed"),
            Fault::Missing => f.write_str("is missing"),
            Fault::Inserted => f.write_str("was put in later"),
            Fault::SegmentMissing => f.write_str("the segment that begins here is missing"),
            Fault::SegmentChanged { to } => {
                write!(f, "this or one up to entry {to} was changed together with its hash, or the head was")
            }
            Fault::Signature => f.write_str("the head that ends here does not bear its key's signature"),
            Fault::Key => f.write_str("the head that ends here was signed by a key not in use then"),
            Fault::OtherKey => f.write_str("the newest head is signed by another key than expected"),
            Fault::PrunedEarly => f.write_str("was removed before its time"),
            Fault::Notes => f.write_str("the tree's kept hashes are not those of its entries"),
            Fault::PatientIndex => f.write_str("the index of patients does not say what the row says"),
            Fault::OtherTree => f.write_str("the kept head is of another audit trail"),
            Fault::Shorter { anchored } => {
                write!(f, "missing from here on: a head of {anchored} entries was kept elsewhere")
            }
            Fault::Rewritten => f.write_str("entries before this one are not those of the kept head"),
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Sealed entries, as far as the check came.
    pub entries: u64,
    /// Signed heads checked.
    pub heads: u64,
    /// Entries whose rows were removed after their time.
    pub pruned: u64,
    /// Rows that are not sealed yet, and the time of the oldest.
    pub waiting: u64,
    pub waiting_since: Option<Timestamp>,
    /// Kept heads that the trail agrees with.
    pub anchors: u64,
    /// Text of the newest head.
    pub head: Option<AuditHead>,
    /// Ids of keys that came without the word of the key before them, but for those that a restore brought.
    pub unendorsed: Vec<String>,
    /// Restores from backups that the trail tells of, oldest first.
    pub restorations: Vec<Restoration>,
    /// Kept heads of states that were given up by a restore.
    pub given_up: u64,
    /// The first thing wrong; `None` if nothing is.
    pub finding: Option<Finding>,
}

struct Checker {
    state: State,
    keys: Vec<Key>,
    frontier: Frontier,
    /// Kept heads by size, smallest first.
    anchors: Vec<AuditHead>,
    pairs: Pairs,
    /// Complete subtrees since the last look: level, number and root.
    complete: Vec<(u32, u64, Hash)>,
    report: Report,
    floor: Timestamp,
}

impl Record {
    /// Recomputes the tree from the rows and holds it against its heads, their signatures, the index of patients and what
    /// was kept elsewhere. `progress` is told entries done and entries to do. The trail may grow meanwhile. Not for a
    /// caller with rights to check: it tells nothing of what the rows hold. Errors: of the database.
    pub async fn audit_verify(
        &self,
        against: Against,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Report, Error> {
        let horizon = self.audit_reading(|tx| Ok(tree::horizon(tx)?)).await?;
        let (state, keys) = self.reading(|tx| Ok((tree::state(tx), tree::keys(tx)?))).await?;
        let state = match state {
            Ok(Some(state)) => state,
            Ok(None) => {
                let finding = against.heads.first().map(|head| Finding {
                    entry: Some(0),
                    row: None,
                    fault: Fault::Shorter { anchored: head.size },
                });
                return Ok(Report { finding, ..Report::default() });
            }
            Err(store::Error::Corrupt(_)) => {
                let finding = Finding { entry: None, row: None, fault: Fault::Notes };
                return Ok(Report { finding: Some(finding), ..Report::default() });
            }
            Err(error) => return Err(error.into()),
        };
        let restorations = self.restorations().await?;
        let (given_up, mut anchors): (Vec<AuditHead>, Vec<AuditHead>) =
            against.heads.into_iter().partition(|head| is_given_up(head, state.name, &keys, &restorations));
        let counted = anchors.len() as u64;
        // What a restore found must be in the tree as it is; nobody signed it in this form.
        anchors.extend(restorations.iter().filter(|one| one.size > 0).map(|one| AuditHead {
            tree: state.name,
            size: one.size,
            root: one.root,
            at: one.at,
            row: one.row,
            key: one.before,
            signature: Vec::new(),
        }));
        let own = anchors.len() as u64 - counted;
        anchors.sort_by_key(|head| head.size);
        let floor = self.now().checked_sub(FLOOR).unwrap_or(Timestamp::MIN);
        let mut checker = Checker {
            state,
            keys,
            frontier: Frontier::default(),
            anchors,
            pairs: Pairs::default(),
            complete: Vec::new(),
            report: Report::default(),
            floor,
        };
        let is_restored = |id: &String| restorations.iter().any(|one| hex(&one.key) == *id);
        checker.report.unendorsed = checker.unendorsed().into_iter().filter(|id| !is_restored(id)).collect();
        checker.report.restorations = restorations;
        checker.report.given_up = given_up.len() as u64;
        let finding = self.find_fault(&mut checker, against.key, horizon, progress).await?;
        checker.report.anchors = checker.report.anchors.saturating_sub(own);
        checker.report.finding = finding;
        checker.report.entries = checker.frontier.size();
        Ok(checker.report)
    }

    async fn find_fault(
        &self,
        checker: &mut Checker,
        key: Option<[u8; 32]>,
        horizon: i64,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Option<Finding>, Error> {
        if let Some(other) = checker.anchors.iter().find(|head| head.tree != checker.state.name) {
            let entry = Some(other.size.saturating_sub(1));
            return Ok(Some(Finding { entry, row: None, fault: Fault::OtherTree }));
        }
        let size = checker.state.frontier.size();
        let mut last = i64::MIN;
        while checker.frontier.size() < size {
            let from = i64::try_from(checker.frontier.size()).unwrap_or(i64::MAX);
            let found = self.reading(move |tx| Ok(tree::segments(tx, from, 1)?.into_iter().next())).await?;
            let Some((segment, leaves)) = found.filter(|(segment, _)| segment.first == from) else {
                return Ok(Some(checker.at(from, Fault::SegmentMissing)));
            };
            if let Some(finding) = self.check_segment(checker, &segment, &leaves, last).await? {
                return Ok(Some(finding));
            }
            last = segment.last_seq;
            progress(checker.frontier.size().min(size), size);
        }
        if let Some(finding) = checker.finish(key) {
            return Ok(Some(finding));
        }
        let behind = self.reading(move |tx| {
            let more = tree::segments(tx, i64::try_from(size).unwrap_or(i64::MAX), 1)?;
            Ok((!more.is_empty(), tree::state(tx)?))
        });
        // Segments behind the end of a tree that has not grown meanwhile.
        if let (true, Some(state)) = behind.await?
            && state.frontier.size() == size
        {
            return Ok(Some(Finding { entry: Some(size), row: None, fault: Fault::Notes }));
        }
        self.count_waiting(checker, last, horizon).await?;
        self.check_patients(checker, horizon).await
    }

    async fn check_segment(
        &self,
        checker: &mut Checker,
        segment: &Segment,
        leaves: &[Leaf],
        last: i64,
    ) -> Result<Option<Finding>, Error> {
        let (until, limit) = (segment.last_seq, u32::try_from(leaves.len()).unwrap_or(u32::MAX) + SPARE);
        let found = self.reading(move |tx| Ok(rows(tx, last, until, limit)?)).await?;
        let count = i64::try_from(leaves.len()).unwrap_or(i64::MAX);
        // Whole segments are removed, and only after their time; the time is signed.
        let pruned = found.is_empty() && segment.first + count <= checker.state.pruned;
        if !pruned {
            for (n, leaf) in leaves.iter().enumerate() {
                let entry = Some(checker.frontier.size() + n as u64);
                let fault = match found.get(n) {
                    Some(row) if row.leaf == *leaf => continue,
                    Some(row) if row.leaf.seq == leaf.seq => Fault::Changed,
                    Some(row) if row.leaf.seq < leaf.seq => {
                        return Ok(Some(Finding { entry, row: Some(row.leaf.seq), fault: Fault::Inserted }));
                    }
                    _ => Fault::Missing,
                };
                return Ok(Some(Finding { entry, row: Some(leaf.seq), fault }));
            }
            if let Some(row) = found.get(leaves.len()) {
                let entry = Some(checker.frontier.size() + leaves.len() as u64);
                return Ok(Some(Finding { entry, row: Some(row.leaf.seq), fault: Fault::Inserted }));
            }
            for row in &found {
                checker.pairs.expect(row)?;
            }
        }
        if let Some(finding) = checker.extend(segment, leaves) {
            return Ok(Some(finding));
        }
        if pruned {
            checker.report.pruned += leaves.len() as u64;
            if segment.sealed > checker.floor {
                return Ok(Some(checker.at(segment.first, Fault::PrunedEarly)));
            }
        }
        self.check_nodes(checker).await
    }

    /// The kept roots of subtrees that were completed, which proofs are made of.
    async fn check_nodes(&self, checker: &mut Checker) -> Result<Option<Finding>, Error> {
        let complete = std::mem::take(&mut checker.complete);
        if complete.is_empty() {
            return Ok(None);
        }
        let wrong = self.reading(move |tx| {
            for (level, number, hash) in complete {
                if tree::node(tx, level, number)? != Some(hash) {
                    return Ok(Some(number << level));
                }
            }
            Ok(None)
        });
        let entry = wrong.await?;
        Ok(entry.map(|entry| Finding { entry: Some(entry), row: None, fault: Fault::Notes }))
    }

    async fn count_waiting(&self, checker: &mut Checker, last: i64, horizon: i64) -> Result<(), Error> {
        let mut after = last;
        loop {
            let found = self.reading(move |tx| Ok(rows(tx, after, horizon, WAITING)?)).await?;
            for row in &found {
                checker.pairs.expect(row)?;
                let at = Timestamp::from_microsecond(row.at_us).ok();
                checker.report.waiting_since = match (checker.report.waiting_since, at) {
                    (Some(known), Some(at)) => Some(known.min(at)),
                    (known, at) => known.or(at),
                };
            }
            checker.report.waiting += found.len() as u64;
            match found.last() {
                Some(row) if found.len() == WAITING as usize => after = row.leaf.seq,
                _ => return Ok(()),
            }
        }
    }

    async fn check_patients(&self, checker: &mut Checker, horizon: i64) -> Result<Option<Finding>, Error> {
        let mut behind = (Vec::new(), i64::MIN);
        loop {
            let from = behind.clone();
            let found = self.reading(move |tx| Ok(check::pairs(tx, &from, PAIRS)?)).await?;
            for (patient, seq) in found.iter().filter(|(_, seq)| *seq <= horizon) {
                checker.pairs.found(patient, *seq);
            }
            match found.into_iter().next_back() {
                Some(last) => behind = last,
                None => break,
            }
        }
        let Some((from, to)) = checker.pairs.first_wrong() else { return Ok(None) };
        let to = to.min(horizon);
        let found = self.reading(move |tx| {
            let row = check::wrong_row(tx, from, to)?.unwrap_or(from);
            Ok((row, tree::index_of(tx, row)?))
        });
        let (row, entry) = found.await?;
        let entry = entry.and_then(|entry| u64::try_from(entry).ok());
        Ok(Some(Finding { entry, row: Some(row), fault: Fault::PatientIndex }))
    }
}

/// Whether a kept head is of a state that was given up by a restore, and signed by a key of this trail.
fn is_given_up(head: &AuditHead, tree: [u8; 16], keys: &[Key], restorations: &[Restoration]) -> bool {
    head.tree == tree
        && restorations.iter().any(|one| one.gave_up(head))
        && keys.iter().any(|key| key.id == head.key && head.is_signed_by(&key.public))
}

impl Checker {
    fn at(&self, entry: i64, fault: Fault) -> Finding {
        Finding { entry: u64::try_from(entry).ok(), row: None, fault }
    }

    fn unendorsed(&self) -> Vec<String> {
        let pairs = self.keys.iter().zip(self.keys.iter().skip(1));
        let alone = pairs.filter(|(before, key)| {
            let signature = key.endorsement.as_deref().unwrap_or_default();
            !is_endorsed(&key.public, &before.public, signature)
        });
        alone.map(|(_, key)| hex(&key.id)).collect()
    }

    /// Adds the segment's entries and checks the head behind them, and kept heads on the way.
    fn extend(&mut self, segment: &Segment, leaves: &[Leaf]) -> Option<Finding> {
        let begin = self.frontier.size();
        for leaf in leaves {
            let complete = &mut self.complete;
            self.frontier.push(leaf.hash, &mut |level, number, hash| complete.push((level, number, hash)));
            if let Some(finding) = self.pass_anchors() {
                return Some(finding);
            }
        }
        let last = self.frontier.size().saturating_sub(1);
        let is_whole = u64::try_from(segment.count).is_ok_and(|count| count == leaves.len() as u64);
        let ends = leaves.last().is_some_and(|leaf| leaf.seq == segment.last_seq);
        if !is_whole || !ends || self.frontier.root() != segment.root {
            return Some(Finding {
                entry: Some(begin),
                row: leaves.first().map(|leaf| leaf.seq),
                fault: Fault::SegmentChanged { to: last },
            });
        }
        let wrong = |fault| Some(Finding { entry: Some(last), row: Some(segment.last_seq), fault });
        let at = self.keys.iter().position(|key| key.id == segment.key && key_id(&key.public) == key.id);
        let Some(at) = at else { return wrong(Fault::Key) };
        let (begin, end) =
            (i64::try_from(begin).unwrap_or(i64::MAX), i64::try_from(last).unwrap_or(i64::MAX));
        // A key signs from when it came to when the next one did; that one may come while a segment is on its way.
        let next = self.keys.get(at + 1).map_or(i64::MAX, |next| next.since);
        if self.keys[at].since > end || next < begin {
            return wrong(Fault::Key);
        }
        let head = AuditHead::of(self.state.name, segment);
        if !head.is_signed_by(&self.keys[at].public) {
            return wrong(Fault::Signature);
        }
        self.report.heads += 1;
        self.report.head = Some(head);
        None
    }

    /// Kept heads of the size that has been reached.
    fn pass_anchors(&mut self) -> Option<Finding> {
        let size = self.frontier.size();
        let mut root: Option<Hash> = None;
        while let Some(head) = self.anchors.first()
            && head.size <= size
        {
            let root = *root.get_or_insert_with(|| self.frontier.root());
            if head.size == size && head.root != root {
                return Some(Finding { entry: Some(size), row: None, fault: Fault::Rewritten });
            }
            self.anchors.remove(0);
            self.report.anchors += 1;
        }
        None
    }

    fn finish(&mut self, key: Option<[u8; 32]>) -> Option<Finding> {
        let size = self.frontier.size();
        if let Some(head) = self.anchors.first() {
            return Some(Finding {
                entry: Some(size),
                row: None,
                fault: Fault::Shorter { anchored: head.size },
            });
        }
        if let (Some(key), Some(head)) = (key, &self.report.head)
            && !head.is_signed_by(&key)
        {
            return Some(Finding { entry: Some(size - 1), row: None, fault: Fault::OtherKey });
        }
        let last = self.report.head.as_ref().map_or(i64::MIN, |head| head.row);
        if self.frontier != self.state.frontier || last != after(&self.state) {
            return Some(Finding { entry: None, row: None, fault: Fault::Notes });
        }
        None
    }
}
