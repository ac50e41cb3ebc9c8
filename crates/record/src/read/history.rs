//! Versions: of one resource, of a type, of the whole record.

use super::{Look, Parsed, Veil, holds, parsed};
use crate::{Error, Record};
use access::policy;
use access::{Action, Ctx, Predicate};
use fhir::{ResourceKey, TypeId};
use jiff::{SignedDuration, Timestamp};
use std::collections::HashMap;
use std::sync::Arc;
use store::Tx;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Created,
    Updated,
    Deleted,
}

#[derive(Debug, Clone)]
pub struct HistoryEntry {
    pub key: ResourceKey,
    pub version: u32,
    pub last_updated: Timestamp,
    pub method: Method,
    /// `None` for a deletion.
    pub content: Option<Arc<[u8]>>,
}

/// Newest first.
#[derive(Debug, Clone)]
pub struct HistoryPage {
    pub entries: Vec<HistoryEntry>,
    /// Cursor of the next page. A page may be short of what was asked for and still have a next one.
    pub next: Option<String>,
}

/// Whose versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    Instance(ResourceKey),
    Kind(TypeId),
    System,
}

/// Which versions.
#[derive(Debug, Clone, Default)]
pub struct HistoryQuery {
    /// Written then or later.
    pub since: Option<Timestamp>,
    /// Current at some moment of [from, until).
    pub at: Option<(Timestamp, Timestamp)>,
    pub cursor: Option<String>,
    /// Cut to [fhir::search::MAX_PAGE].
    pub count: u32,
}

/// Versions looked at for one page of a type or the system. Whoever may see few of them gets them over more pages.
const MAX_SEEN: usize = 4_000;
/// Versions fetched at once per type.
const CHUNK: u32 = 200;
/// A version's time is taken when its request begins, its place in the history when it commits: no request takes longer.
const LONGEST_WRITE: SignedDuration = SignedDuration::from_mins(15);

impl HistoryQuery {
    fn holds(&self, last_updated: Timestamp, replaced: Option<Timestamp>) -> bool {
        self.since.is_none_or(|since| last_updated >= since)
            && self.at.is_none_or(|(from, until)| {
                last_updated < until && replaced.is_none_or(|replaced| replaced > from)
            })
    }
    /// Whether neither this version nor any that was written before it can be wanted.
    fn is_past(&self, last_updated: Timestamp) -> bool {
        let margin = |since: Timestamp| since.checked_sub(LONGEST_WRITE).unwrap_or(Timestamp::MIN);
        self.since.is_some_and(|since| last_updated < margin(since))
    }
}

impl Record {
    /// All versions of one resource, as [Record::history_of].
    pub async fn history(
        &self,
        ctx: &Ctx,
        key: &ResourceKey,
        cursor: Option<&str>,
        count: u32,
    ) -> Result<HistoryPage, Error> {
        let query = HistoryQuery { cursor: cursor.map(str::to_owned), count, ..HistoryQuery::default() };
        self.history_of(ctx, &Scope::Instance(key.clone()), query).await
    }

    /// Versions, newest first: of a type or the system in the order of commits. The caller must have a right to the
    /// resource as it is now and to each version as it was: versions that lay in another patient's compartment are left
    /// out. A deleted resource has a history.
    ///
    /// Errors: as [Record::read] for an instance; `Denied` for who may see no resource of the type, or of no type at all;
    /// `Malformed` for a bad cursor.
    pub async fn history_of(
        &self,
        ctx: &Ctx,
        scope: &Scope,
        mut query: HistoryQuery,
    ) -> Result<HistoryPage, Error> {
        query.count = query.count.clamp(1, fhir::search::MAX_PAGE);
        match scope {
            Scope::Instance(key) => self.instance_history(ctx, key, query).await,
            Scope::Kind(kind) => {
                let what = format!("{}/_history", kind.name());
                let predicate = policy::predicate(ctx, Action::History, *kind);
                if predicate == Predicate::Nothing {
                    return Err(self.denied(ctx, "history", &what).await);
                }
                self.wide_history(ctx, &what, vec![(*kind, predicate)], query).await
            }
            Scope::System => {
                let allowed: Vec<(TypeId, Predicate)> = TypeId::all()
                    .map(|kind| (kind, policy::predicate(ctx, Action::History, kind)))
                    .filter(|(_, predicate)| *predicate != Predicate::Nothing)
                    .collect();
                if allowed.is_empty() {
                    return Err(self.denied(ctx, "history", "_history").await);
                }
                self.wide_history(ctx, "_history", allowed, query).await
            }
        }
    }

    async fn instance_history(
        &self,
        ctx: &Ctx,
        key: &ResourceKey,
        query: HistoryQuery,
    ) -> Result<HistoryPage, Error> {
        let predicate = self.right(ctx, Action::History, "history", key).await?;
        let drafts = policy::unreadable_statuses(ctx, key.kind);
        let (wanted, now) = (key.clone(), self.now());
        let mut veil = self.veil(ctx).await?;
        let (look, patients) = self
            .reading(move |tx| {
                let Some(head) = store::resource::head(tx, &wanted)? else {
                    return Ok((Look::Absent, Vec::new()));
                };
                if !holds(tx, &predicate, &wanted, &head.patients, now)? {
                    return Ok((Look::Refused, head.patients));
                }
                let page = store::resource::history(tx, &wanted, query.cursor.as_deref(), query.count)?;
                let Some(page) = page else { return Ok((Look::Absent, Vec::new())) };
                let mut entries = Vec::with_capacity(page.rows.len());
                let mut seen_any = false;
                let mut replaced = match page.rows.first() {
                    Some(first) => store::history::replaced_at(tx, &wanted, first.version)?,
                    None => None,
                };
                for mut row in page.rows {
                    let until = replaced.replace(row.last_updated);
                    if !row.deleted {
                        let then = parsed(&wanted, &row.content)?;
                        if !then.holds(tx, &predicate, &wanted, now)? || then.is(drafts) {
                            continue;
                        }
                        let shown = then.shown(tx, &mut veil, &predicate, &wanted, head.rid, row.content)?;
                        let Some(content) = shown else { continue };
                        row.content = content;
                    }
                    seen_any = true;
                    if query.holds(row.last_updated, until) {
                        entries.push(entry(wanted.clone(), row));
                    }
                }
                // Nothing of it may be seen: as if it were not there.
                if !seen_any && page.next.is_none() && query.cursor.is_none() {
                    return Ok((Look::Refused, head.patients));
                }
                Ok((Look::Found(HistoryPage { entries, next: page.next }), head.patients))
            })
            .await?;
        self.answer(ctx, "history", key, &format!("{key}/_history"), look, &patients).await
    }

    async fn wide_history(
        &self,
        ctx: &Ctx,
        what: &str,
        allowed: Vec<(TypeId, Predicate)>,
        query: HistoryQuery,
    ) -> Result<HistoryPage, Error> {
        let below = match query.cursor.as_deref() {
            None => i64::MAX,
            Some(text) => text.parse::<i64>().ok().filter(|seq| *seq > 0).ok_or_else(|| {
                let text = "This cursor is not one of this history's; start again without it.";
                Error::Malformed(fhir::Outcome::one(fhir::IssueCode::Value, "_cursor", text))
            })?,
        };
        // Asked for before the snapshot is taken: everything up to it has been committed by then.
        let horizon = self.reading(|tx| Ok(store::outbox::horizon(tx)?)).await?;
        let below = below.min(horizon.saturating_add(1));
        let (caller, now) = (ctx.clone(), self.now());
        let mut veil = self.veil(ctx).await?;
        let (page, mut patients) =
            self.reading(move |tx| collect(tx, (&caller, &mut veil), allowed, &query, below, now)).await?;
        patients.sort();
        patients.dedup();
        self.audit_read(ctx, "history", what, &patients).await?;
        Ok(page)
    }
}

fn entry(key: ResourceKey, row: store::resource::Version) -> HistoryEntry {
    HistoryEntry {
        key,
        version: row.version,
        last_updated: row.last_updated,
        method: match (row.deleted, row.version) {
            (true, _) => Method::Deleted,
            (false, 1) => Method::Created,
            (false, _) => Method::Updated,
        },
        content: (!row.deleted).then_some(row.content),
    }
}

/// The versions of one type that are still to be looked at, newest first.
struct Stream {
    kind: TypeId,
    below: i64,
    ready: std::vec::IntoIter<store::history::Change>,
    next: Option<store::history::Change>,
}

impl Stream {
    fn fill(&mut self, tx: &mut dyn Tx, chunk: u32) -> Result<(), Error> {
        self.next = self.ready.next();
        if self.next.is_none() {
            let rows = store::history::of_kind(tx, self.kind, self.below, chunk)?;
            if let Some(last) = rows.last() {
                self.below = last.version.seq;
            }
            self.ready = rows.into_iter();
            self.next = self.ready.next();
        }
        Ok(())
    }
}

/// Merges the types by change number. Rights are those of each version and of the resource as it is now.
fn collect(
    tx: &mut dyn Tx,
    (ctx, veil): (&Ctx, &mut Veil),
    allowed: Vec<(TypeId, Predicate)>,
    query: &HistoryQuery,
    below: i64,
    now: Timestamp,
) -> Result<(HistoryPage, Vec<String>), Error> {
    let rights: HashMap<TypeId, Predicate> = allowed.into_iter().collect();
    let chunk = query.count.saturating_add(1).min(CHUNK);
    let mut streams = Vec::new();
    for kind in store::history::kinds(tx)? {
        if rights.contains_key(&kind) {
            let mut stream = Stream { kind, below, ready: Vec::new().into_iter(), next: None };
            stream.fill(tx, chunk)?;
            streams.push(stream);
        }
    }
    let (mut entries, mut patients, mut seen) = (Vec::new(), Vec::new(), 0_usize);
    let mut last = below;
    loop {
        let newest = streams
            .iter_mut()
            .filter(|stream| stream.next.is_some())
            .max_by_key(|stream| stream.next.as_ref().map(|change| change.version.seq));
        let Some(stream) = newest else { return Ok((HistoryPage { entries, next: None }, patients)) };
        if entries.len() >= query.count as usize || seen >= MAX_SEEN {
            return Ok((HistoryPage { entries, next: Some(last.to_string()) }, patients));
        }
        let Some(mut change) = stream.next.take() else { continue };
        stream.fill(tx, chunk)?;
        (last, seen) = (change.version.seq, seen + 1);
        if query.is_past(change.version.last_updated) {
            return Ok((HistoryPage { entries, next: None }, patients));
        }
        if !query.holds(change.version.last_updated, change.replaced) {
            continue;
        }
        let Some(predicate) = rights.get(&change.key.kind) else { continue };
        match may_see(tx, (ctx, &mut *veil), predicate, &change, now)? {
            Some(content) => change.version.content = content,
            None => continue,
        }
        patients.extend(change.patients.iter().cloned());
        entries.push(entry(change.key, change.version));
    }
}

/// The version as the caller may see it; `None`: not at all.
fn may_see(
    tx: &mut dyn Tx,
    (ctx, veil): (&Ctx, &mut Veil),
    predicate: &Predicate,
    change: &store::history::Change,
    now: Timestamp,
) -> Result<Option<Arc<[u8]>>, Error> {
    let key = &change.key;
    let content = change.version.content.clone();
    if *predicate == Predicate::Everything && policy::unreadable_statuses(ctx, key.kind).is_empty() {
        return Ok(Some(content));
    }
    if !holds(tx, predicate, key, &change.patients, now)? {
        return Ok(None);
    }
    if change.version.deleted {
        return Ok(Some(content));
    }
    let then: Parsed = parsed(key, &content)?;
    if !then.holds(tx, predicate, key, now)? || then.is(policy::unreadable_statuses(ctx, key.kind)) {
        return Ok(None);
    }
    if !predicate.needs().seals {
        return Ok(Some(content));
    }
    let Some(head) = store::resource::head(tx, key)? else { return Ok(None) };
    then.shown(tx, veil, predicate, key, head.rid, content)
}
