//! Sealing: rows of the audit trail become entries of the tree, and the tree's head is signed.

use super::head::{AuditHead, AuditKey, hex};
use crate::{Error, Record};
use jiff::{SignedDuration, Timestamp};
use store::audit::leaf::Leaf;
use store::audit::tree::{self, Key, KeyId, MAX_SEGMENT, Segment, State};

/// Rows are sealed when the oldest of them has waited so long, or when there are [MAX_SEGMENT]. With the worker's pause
/// between two looks that stays below a minute.
pub const SEAL_AFTER: SignedDuration = SignedDuration::from_secs(30);

/// Why nothing was sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The tree's heads are signed by a key that this server does not have; it must get that key, or
    /// [Record::audit_rotate] must name this one.
    #[error("heads of the audit trail are signed by key {active}, this server has {own}")]
    OtherKey { active: String, own: String },
    #[error(transparent)]
    Record(#[from] Error),
}

impl Record {
    /// Seals the next rows, if they are due or `all` are wanted, and returns the new head. Call again while it returns
    /// one. Several servers may call it at once: one of them does the work. Errors: [SealError].
    pub async fn audit_seal(&self, key: &AuditKey, all: bool) -> Result<Option<AuditHead>, SealError> {
        // In a read of its own: see [tree::horizon].
        let horizon = self.audit_reading(|tx| Ok(tree::horizon(tx)?)).await?;
        let found = self.reading(move |tx| {
            let state = tree::state(tx)?;
            let after = state.as_ref().map_or(i64::MIN, after);
            let rows = tree::waiting(tx, after, horizon)?;
            Ok((state, tree::keys(tx)?, rows))
        });
        let (state, keys, rows) = found.await?;
        let Some(oldest) = rows.iter().map(|row| row.at_us).min() else { return Ok(None) };
        let now = self.now();
        let waited = Timestamp::from_microsecond(oldest).map_or(SEAL_AFTER, |at| now.duration_since(at));
        if !all && rows.len() < MAX_SEGMENT as usize && waited < SEAL_AFTER {
            return Ok(None);
        }
        if let Some(active) = keys.last()
            && active.id != key.id
        {
            return Err(SealError::OtherKey { active: hex(&active.id), own: hex(&key.id) });
        }
        let state = match (state, keys.is_empty()) {
            (Some(state), false) => state,
            _ => match self.audit_begin(key).await? {
                Some(state) => state,
                // Another server was first.
                None => return Ok(None),
            },
        };
        let leaves: Vec<Leaf> = rows.iter().map(|row| row.leaf).collect();
        let (segment, head) = seal(key, &state, &leaves, now);
        let added = self.writing(move |tx| Ok(tree::append(tx, &state, &segment, &leaves)?)).await?;
        Ok(added.then_some(head))
    }

    /// The empty tree with its first key. `None` if it has one already that is not this.
    async fn audit_begin(&self, key: &AuditKey) -> Result<Option<State>, Error> {
        let name = *uuid::Uuid::new_v4().as_bytes();
        let first = Key { id: key.id, public: key.public, since: 0, made: self.now(), endorsement: None };
        self.writing(move |tx| {
            let state = tree::begin(tx, name)?;
            match tree::keys(tx)?.last() {
                None => tree::add_key(tx, &first)?,
                Some(active) if active.id == first.id => {}
                Some(_) => return Ok(None),
            }
            Ok((state.frontier.size() == 0).then_some(state))
        })
        .await
    }

    /// From now on the key `public` signs. `endorsement` is what the key before it says to that, [AuditKey::endorse];
    /// without one (the old key is lost) every check tells of it. Errors: `Rule` if the endorsement is not by the active
    /// key, or if the key was there before.
    pub async fn audit_rotate(&self, public: [u8; 32], endorsement: Option<Vec<u8>>) -> Result<KeyId, Error> {
        let (id, now, name) = (super::head::key_id(&public), self.now(), *uuid::Uuid::new_v4().as_bytes());
        self.writing(move |tx| {
            let keys = tree::keys(tx)?;
            if keys.iter().any(|key| key.id == id) {
                return Err(refusal("This key was there before."));
            }
            if let Some(signature) = &endorsement
                && !keys
                    .last()
                    .is_some_and(|active| super::head::is_endorsed(&public, &active.public, signature))
            {
                return Err(refusal("The key in use did not sign this one."));
            }
            let state = tree::begin(tx, name)?;
            let since = i64::try_from(state.frontier.size()).unwrap_or(i64::MAX);
            tree::add_key(tx, &Key { id, public, since, made: now, endorsement: endorsement.clone() })?;
            Ok(id)
        })
        .await
    }

    /// The newest head; `None` before the first. Not audited: it names nobody.
    pub async fn audit_head(&self) -> Result<Option<AuditHead>, Error> {
        self.reading(|tx| {
            let Some(state) = tree::state(tx)? else { return Ok(None) };
            let newest = tree::heads(tx, i64::MAX, 1)?.into_iter().next();
            Ok(newest.map(|segment| AuditHead::of(state.name, &segment)))
        })
        .await
    }
}

pub(super) fn refusal(text: &str) -> Error {
    Error::Rule(crate::Rule::new("audit-key", text))
}

/// Number of the last sealed row. Rows numbered below the first one are rows, too.
pub(super) fn after(state: &State) -> i64 {
    if state.frontier.size() == 0 { i64::MIN } else { state.last_seq }
}

fn seal(key: &AuditKey, state: &State, leaves: &[Leaf], now: Timestamp) -> (Segment, AuditHead) {
    let mut frontier = state.frontier.clone();
    for leaf in leaves {
        frontier.push(leaf.hash, &mut |_, _, _| {});
    }
    // Microseconds are what is stored.
    let at = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
    let row = leaves.last().map_or(state.last_seq, |leaf| leaf.seq);
    let mut head = AuditHead {
        tree: state.name,
        size: frontier.size(),
        root: frontier.root(),
        at,
        row,
        key: KeyId::default(),
        signature: Vec::new(),
    };
    key.sign(&mut head);
    let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    let segment = Segment {
        first: count(state.frontier.size()),
        count: count(leaves.len() as u64),
        last_seq: row,
        sealed: at,
        root: head.root,
        key: head.key,
        signature: head.signature.clone(),
    };
    (segment, head)
}
