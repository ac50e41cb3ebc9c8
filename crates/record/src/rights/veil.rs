//! What of a row the caller may see: all of it, all but some parts, or nothing after all. Every row that leaves the record
//! for a reader goes through here.

use super::{Facts, Version};
use crate::read::Stored;
use crate::write::entries::local_targets;
use crate::{Error, Record};
use access::policy::{self, is_sealable};
use access::sensitivity::Rules;
use access::{Action, Class, Ctx, Predicate, Seals, redact};
use fhir::{Resource, ResourceKey, TypeId};
use jiff::Timestamp;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use store::Tx;
use store::audit::{Event, Outcome};

/// The rules that seal, and whether all rows have been labelled by them: until then no stored label is relied on.
#[derive(Clone)]
pub(crate) struct Lens {
    pub rules: Arc<Rules>,
    pub settled: bool,
}

/// How much of a resource is shown.
pub(crate) enum Shown {
    Whole,
    Part(Resource),
    Nothing,
}

/// One caller's view of rows, over one request.
pub(crate) struct Veil {
    ctx: Ctx,
    lens: Lens,
    facts: Facts,
    predicates: HashMap<TypeId, Predicate>,
    /// Whether rows are veiled, as far as it was looked up.
    veiled: HashMap<i64, bool>,
}

/// A row as the view needs it.
pub(crate) struct Row<'a> {
    pub key: &'a ResourceKey,
    pub rid: i64,
    /// Of this version.
    pub patients: &'a [String],
}

impl Veil {
    pub fn new(ctx: &Ctx, lens: Lens, now: Timestamp) -> Veil {
        Veil {
            ctx: ctx.clone(),
            lens,
            facts: Facts::new(now),
            predicates: HashMap::new(),
            veiled: HashMap::new(),
        }
    }

    /// Looks up at once what [Veil::current] asks of each row.
    pub fn expect(&mut self, tx: &mut dyn Tx, rids: &[i64]) -> Result<(), Error> {
        let found = store::sealed::veiled_among(tx, rids)?;
        self.veiled.extend(rids.iter().map(|rid| (*rid, false)));
        self.veiled.extend(found.into_iter().map(|rid| (rid, true)));
        Ok(())
    }

    /// The audit of what was seen. The program's own jobs look at what they were told to; only what they write is audited.
    pub fn event(&self, action: &str, what: &str, patients: &[String]) -> Option<Event> {
        if matches!(self.ctx.principal, access::Principal::System(_)) {
            return None;
        }
        Some(crate::audit::event(&self.ctx, self.facts.now(), action, Outcome::Success, what, patients))
    }

    /// What was looked up of the row already.
    pub fn know(&mut self, guard: &store::resource::Guard) {
        self.veiled.insert(guard.rid, guard.is_veiled);
    }

    /// A current version that `predicate` lets through; `None` if it must not be seen after all.
    pub fn current(
        &mut self,
        tx: &mut dyn Tx,
        predicate: &Predicate,
        row: store::resource::Stored,
    ) -> Result<Option<Stored>, Error> {
        let patients = row.patients.clone();
        let (rid, deleted) = (row.rid, row.deleted);
        let stored = crate::operation::stored(row);
        if deleted || !self.may_hide(tx, predicate, rid)? {
            return Ok(Some(stored));
        }
        let resource = stored.parse()?;
        let row = Row { key: &stored.key, rid, patients: &patients };
        Ok(match self.show(tx, predicate, &row, &resource, Version::Current)? {
            Shown::Whole => Some(stored),
            Shown::Part(part) => Some(Stored { content: part.to_json().into_bytes().into(), ..stored }),
            Shown::Nothing => None,
        })
    }

    /// All rows of a page, in their order.
    pub fn page(
        &mut self,
        tx: &mut dyn Tx,
        action: Action,
        rows: Vec<store::resource::Stored>,
    ) -> Result<Vec<Stored>, Error> {
        let rids: Vec<i64> = rows.iter().map(|row| row.rid).collect();
        if !rids.is_empty()
            && self.lens.settled
            && !matches!(self.ctx.principal, access::Principal::System(_))
        {
            self.expect(tx, &rids)?;
        }
        let mut shown = Vec::with_capacity(rows.len());
        for row in rows {
            let predicate = self.predicate(action, row.key.kind);
            shown.extend(self.current(tx, &predicate, row)?);
        }
        Ok(shown)
    }

    /// Whether something of the row could be hidden from who sees it by this predicate.
    pub fn may_hide(&self, tx: &mut dyn Tx, predicate: &Predicate, rid: i64) -> Result<bool, Error> {
        if !predicate.needs().seals {
            return Ok(false);
        }
        if !self.lens.settled {
            return Ok(true);
        }
        match self.veiled.get(&rid) {
            Some(known) => Ok(*known),
            None => Ok(store::sealed::is_veiled(tx, rid)?),
        }
    }

    /// What of this version is shown. Earlier versions are judged by the rules of today.
    pub fn show(
        &mut self,
        tx: &mut dyn Tx,
        predicate: &Predicate,
        row: &Row<'_>,
        resource: &Resource,
        version: Version<'_>,
    ) -> Result<Shown, Error> {
        if !predicate.needs().seals {
            return Ok(Shown::Whole);
        }
        let mut labelled = None;
        let mut parts = redact::parts(resource);
        if !self.lens.settled || matches!(version, Version::Content(_)) {
            let mut own = resource.clone();
            let sealing = self.lens.rules.seal(&mut own);
            let more = sealing.whole.without(Seals::of(resource));
            if !more.is_none() && !self.closed(tx, predicate, row, version, more)?.is_none() {
                return Ok(Shown::Nothing);
            }
            parts = sealing.parts;
            labelled = Some(own);
        }
        let closed = match parts.is_none() {
            true => Seals::NONE,
            false => self.closed(tx, predicate, row, version, parts)?,
        };
        let hidden = self.hidden(tx, resource)?;
        if closed.is_none() && hidden.is_empty() {
            return Ok(Shown::Whole);
        }
        Ok(match redact::redact(labelled.as_ref().unwrap_or(resource), closed, &hidden) {
            Some(part) => Shown::Part(part),
            None => Shown::Whole,
        })
    }

    fn closed(
        &mut self,
        tx: &mut dyn Tx,
        predicate: &Predicate,
        row: &Row<'_>,
        version: Version<'_>,
        seals: Seals,
    ) -> Result<Seals, Error> {
        self.facts.closed(tx, predicate, row, version, seals)
    }

    /// What the resource refers to and the caller may not know, because it is sealed.
    fn hidden(&mut self, tx: &mut dyn Tx, resource: &Resource) -> Result<HashSet<ResourceKey>, Error> {
        let targets = local_targets(resource);
        let keys: Vec<&ResourceKey> = targets.iter().filter(|key| is_sealable(Class::of(key.kind))).collect();
        self.hidden_among(tx, &keys)
    }

    /// Those of these rows that are sealed and closed to the caller.
    pub fn hidden_among(
        &mut self,
        tx: &mut dyn Tx,
        keys: &[&ResourceKey],
    ) -> Result<HashSet<ResourceKey>, Error> {
        let mut hidden = HashSet::new();
        if keys.is_empty() {
            return Ok(hidden);
        }
        for key in store::sealed::sealed_of(tx, keys)? {
            let Some(head) = store::resource::head(tx, &key)? else { continue };
            let predicate = self.predicate(Action::Read, key.kind);
            if !self.facts.hold(tx, &predicate, &key, &head.patients, Version::Current)? {
                hidden.insert(key);
            }
        }
        Ok(hidden)
    }

    fn predicate(&mut self, action: Action, kind: TypeId) -> Predicate {
        // Reading and searching are one right.
        debug_assert!(action.is_read());
        let ctx = &self.ctx;
        self.predicates.entry(kind).or_insert_with(|| policy::predicate(ctx, action, kind)).clone()
    }
}

/// Whether a resource that is written refers to rows that are sealed.
pub(crate) fn refers_to_sealed<'k>(
    tx: &mut dyn Tx,
    targets: impl Iterator<Item = &'k ResourceKey>,
) -> Result<bool, Error> {
    let keys: Vec<&ResourceKey> = targets.filter(|key| is_sealable(Class::of(key.kind))).collect();
    if keys.is_empty() || !store::sealed::any(tx)? {
        return Ok(false);
    }
    Ok(!store::sealed::sealed_of(tx, &keys)?.is_empty())
}

impl Record {
    /// The caller's view. Errors: `Busy`, `Internal`.
    pub(crate) async fn veil(&self, ctx: &Ctx) -> Result<Veil, Error> {
        Ok(Veil::new(ctx, self.lens().await?, self.now()))
    }
}
