//! A database that was put back from a backup: the trail says so itself, and another key signs from then on.
//!
//! The machine that is gone may have sealed entries that the backup does not hold. Were the old key to go on, it would sign
//! two different trees of the same size. So every restore brings a key of its own, and an entry that names the old key and
//! the head that was found. Who checks later accepts heads of the state that was given up as what they are.

use super::head::{AuditHead, hex, is_endorsed, key_id, unhex};
use super::seal::refusal;
use crate::{Error, Record};
use access::Ctx;
use jiff::Timestamp;
use store::audit::merkle::Hash;
use store::audit::tree::{self, Key, KeyId};
use store::audit::{Filter, Outcome, list};

/// The action of the entry.
const ACTION: &str = "audit.restore";
/// Begin of what it is about.
const WHAT: &str = "AuditTree/restore#";
/// Restores that a check looks at.
const RESTORES_MAX: u32 = 500;

/// One restore, as its entry tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restoration {
    /// Number of the row.
    pub row: i64,
    pub at: Timestamp,
    /// Entries and root of the tree that was restored.
    pub size: u64,
    pub root: Hash,
    /// Every write answered before this was in the backup.
    pub until: Timestamp,
    /// Which key signed before, and which one since.
    pub before: KeyId,
    pub key: KeyId,
}

impl Restoration {
    fn what(&self) -> String {
        format!(
            "{WHAT}size={}&root={}&until={:.6}&before={}&key={}",
            self.size,
            hex(&self.root),
            self.until,
            hex(&self.before),
            hex(&self.key)
        )
    }

    fn of(row: &store::audit::Row) -> Option<Restoration> {
        let mut fields = row.event.what.strip_prefix(WHAT)?.split('&').map(|field| field.split_once('='));
        let mut next =
            |name: &str| fields.next()?.filter(|(found, _)| *found == name).map(|(_, value)| value);
        Some(Restoration {
            row: row.seq,
            at: row.event.at,
            size: next("size")?.parse().ok()?,
            root: unhex(next("root")?)?,
            until: next("until")?.parse().ok()?,
            before: unhex(next("before")?)?,
            key: unhex(next("key")?)?,
        })
    }

    /// Whether this kept head is of the state that was given up: signed before the restore, of a larger tree.
    pub(super) fn gave_up(&self, head: &AuditHead) -> bool {
        head.size > self.size && head.at <= self.at
    }
}

impl Record {
    /// Notes that this database was restored to what it held at `until`, and that the key `public` signs from now on.
    /// `endorsement`, where the old key is still at hand, is what it says to that. Seal afterwards with the new key.
    /// Errors: `Rule` if the key was there before, or the endorsement is not by the key in use.
    pub async fn audit_restored(
        &self,
        public: [u8; 32],
        endorsement: Option<Vec<u8>>,
        until: Timestamp,
    ) -> Result<KeyId, Error> {
        let (id, now, name) = (key_id(&public), self.now(), *uuid::Uuid::new_v4().as_bytes());
        let ctx = Ctx::system("restore", now);
        let template = self.audit_event(&ctx, ACTION, Outcome::Success, WHAT, &[]);
        self.writing(move |tx| {
            let keys = tree::keys(tx)?;
            if keys.iter().any(|key| key.id == id) {
                return Err(refusal("This key was there before."));
            }
            let before = keys.last().map(|active| active.id).unwrap_or_default();
            if let (Some(signature), Some(active)) = (&endorsement, keys.last())
                && !is_endorsed(&public, &active.public, signature)
            {
                return Err(refusal("The key in use did not sign this one."));
            }
            let state = tree::begin(tx, name)?;
            let (size, root) = (state.frontier.size(), state.frontier.root());
            let restoration = Restoration { row: 0, at: now, size, root, until, before, key: id };
            let mut event = template.clone();
            event.what = restoration.what();
            store::audit::append(tx, &[event])?;
            let since = i64::try_from(size).unwrap_or(i64::MAX);
            let endorsement = endorsement.clone().filter(|_| !keys.is_empty());
            tree::add_key(tx, &Key { id, public, since, made: now, endorsement })?;
            Ok(id)
        })
        .await
    }

    /// Every restore that the trail tells of, oldest first.
    pub(super) async fn restorations(&self) -> Result<Vec<Restoration>, Error> {
        let filter = Filter { action: Some(ACTION.to_owned()), ..Filter::default() };
        let page = self.reading(move |tx| Ok(list(tx, &filter, None, RESTORES_MAX)?)).await?;
        let mut found: Vec<Restoration> = page.rows.iter().filter_map(Restoration::of).collect();
        found.reverse();
        Ok(found)
    }

    /// Writes down what an administrator did to the installation itself, which is no change of a record.
    pub async fn audit_deed(&self, ctx: &Ctx, action: &str, what: &str) -> Result<(), Error> {
        self.audit_one(ctx, action, Outcome::Success, what, &[]).await
    }
}
