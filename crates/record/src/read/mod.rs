//! Authorized, audited reads.

mod describe;
mod directory;

pub use directory::DirectoryRow;

use crate::write::compartment;
use crate::{Error, Record};
use access::policy::{self, RowFacts};
use access::{Action, Ctx, Predicate, Principal};
use fhir::search::Handling;
use fhir::{Resource, ResourceKey, TypeId};
use jiff::Timestamp;
use std::sync::Arc;
use store::Tx;
use store::audit::Outcome;

/// One version as stored: the JSON can go out as it is.
#[derive(Debug, Clone)]
pub struct Stored {
    pub key: ResourceKey,
    pub version: u32,
    pub last_updated: Timestamp,
    /// The resource as JSON, UTF-8, with `id` and `meta`.
    pub content: Arc<[u8]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Created,
    Updated,
    Deleted,
}

#[derive(Debug, Clone)]
pub struct HistoryEntry {
    pub version: u32,
    pub last_updated: Timestamp,
    pub method: Method,
    /// `None` for a deletion.
    pub content: Option<Arc<[u8]>>,
}

/// Newest first.
#[derive(Debug, Clone)]
pub struct HistoryPage {
    pub key: ResourceKey,
    pub entries: Vec<HistoryEntry>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

#[derive(Debug, Clone)]
pub struct SearchPage {
    pub items: Vec<Stored>,
    pub next: Option<String>,
    /// Only when the query asked for it.
    pub total: Option<u64>,
}

impl Stored {
    /// Errors: [Error::Internal] if the database holds something that is no resource.
    pub fn parse(&self) -> Result<Resource, Error> {
        Resource::parse(&self.content).map_err(|o| Error::Internal(format!("stored {}: {o}", self.key)))
    }
}

/// What a look at one row came to.
enum Look<T> {
    Found(T),
    /// Not there, never was.
    Absent,
    Deleted,
    Refused,
}

impl Record {
    /// The current version. Errors: `NotFound` (also where its existence is private), `Denied`, `Gone`, `Busy`,
    /// `Unauthenticated`.
    pub async fn read(&self, ctx: &Ctx, key: &ResourceKey) -> Result<Stored, Error> {
        let predicate = self.right(ctx, Action::Read, "read", key).await?;
        let drafts = policy::unreadable_statuses(ctx, key.kind);
        let (wanted, now) = (key.clone(), self.now());
        let (look, patients) = self
            .reading(move |tx| {
                let Some(row) = store::resource::load(tx, &wanted)? else {
                    return Ok((Look::Absent, Vec::new()));
                };
                if !holds(tx, &predicate, &wanted, &row.patients, now)? {
                    return Ok((Look::Refused, row.patients));
                }
                let patients = row.patients.clone();
                if !row.deleted && !drafts.is_empty() && parsed(&wanted, &row.content)?.is(drafts) {
                    return Ok((Look::Refused, patients));
                }
                Ok((if row.deleted { Look::Deleted } else { Look::Found(stored(row)) }, patients))
            })
            .await?;
        self.answer(ctx, "read", key, &key.to_string(), look, &patients).await
    }

    /// One version; rights are checked on that version's content as well as on the current one.
    /// Errors: as [Record::read]; `Gone` for a version that is a deletion.
    pub async fn vread(&self, ctx: &Ctx, key: &ResourceKey, version: u32) -> Result<Stored, Error> {
        let predicate = self.right(ctx, Action::Read, "vread", key).await?;
        let drafts = policy::unreadable_statuses(ctx, key.kind);
        let (wanted, now) = (key.clone(), self.now());
        let (look, patients) = self
            .reading(move |tx| {
                let (Some(head), Some(found)) = (
                    store::resource::head(tx, &wanted)?,
                    store::resource::read_version(tx, &wanted, version)?,
                ) else {
                    return Ok((Look::Absent, Vec::new()));
                };
                if !holds(tx, &predicate, &wanted, &head.patients, now)? {
                    return Ok((Look::Refused, head.patients));
                }
                if found.deleted {
                    return Ok((Look::Deleted, head.patients));
                }
                let then = parsed(&wanted, &found.content)?;
                if !holds(tx, &predicate, &wanted, &then.patients, now)? || then.is(drafts) {
                    return Ok((Look::Refused, then.patients));
                }
                let stored = Stored {
                    key: wanted,
                    version: found.version,
                    last_updated: found.last_updated,
                    content: found.content,
                };
                Ok((Look::Found(stored), then.patients))
            })
            .await?;
        self.answer(ctx, "vread", key, &format!("{key}/_history/{version}"), look, &patients).await
    }

    /// Versions, newest first; those that lay in another patient's compartment are left out where the caller has no
    /// right to it. `count` is cut to [fhir::search::MAX_PAGE]. Errors: as [Record::read], but a deleted resource has a
    /// history; `Malformed` for a bad cursor.
    pub async fn history(
        &self,
        ctx: &Ctx,
        key: &ResourceKey,
        cursor: Option<&str>,
        count: u32,
    ) -> Result<HistoryPage, Error> {
        let predicate = self.right(ctx, Action::History, "history", key).await?;
        let drafts = policy::unreadable_statuses(ctx, key.kind);
        let (wanted, now) = (key.clone(), self.now());
        let (cursor, count) = (cursor.map(str::to_owned), count.clamp(1, fhir::search::MAX_PAGE));
        let (look, patients) = self
            .reading(move |tx| {
                let Some(head) = store::resource::head(tx, &wanted)? else {
                    return Ok((Look::Absent, Vec::new()));
                };
                if !holds(tx, &predicate, &wanted, &head.patients, now)? {
                    return Ok((Look::Refused, head.patients));
                }
                let page = store::resource::history(tx, &wanted, cursor.as_deref(), count)?;
                let Some(page) = page else { return Ok((Look::Absent, Vec::new())) };
                let mut entries = Vec::with_capacity(page.rows.len());
                for row in page.rows {
                    if !row.deleted {
                        let then = parsed(&wanted, &row.content)?;
                        if !holds(tx, &predicate, &wanted, &then.patients, now)? || then.is(drafts) {
                            continue;
                        }
                    }
                    entries.push(HistoryEntry {
                        version: row.version,
                        last_updated: row.last_updated,
                        method: match (row.deleted, row.version) {
                            (true, _) => Method::Deleted,
                            (false, 1) => Method::Created,
                            (false, _) => Method::Updated,
                        },
                        content: (!row.deleted).then_some(row.content),
                    });
                }
                // Nothing of it may be seen: as if it were not there.
                if entries.is_empty() && page.next.is_none() {
                    return Ok((Look::Refused, head.patients));
                }
                Ok((Look::Found(HistoryPage { key: wanted, entries, next: page.next }), head.patients))
            })
            .await?;
        self.answer(ctx, "history", key, &format!("{key}/_history"), look, &patients).await
    }

    /// Errors: `Denied` if the caller may see no resource of the type at all; `Malformed` for a bad cursor;
    /// `Unauthenticated`, `Busy`.
    pub async fn search(&self, ctx: &Ctx, query: fhir::search::Query) -> Result<SearchPage, Error> {
        let what = describe::query(&query);
        self.search_as(ctx, query, &what).await
    }

    async fn search_as(
        &self,
        ctx: &Ctx,
        mut query: fhir::search::Query,
        what: &str,
    ) -> Result<SearchPage, Error> {
        hide_drafts(ctx, &mut query);
        let predicate = policy::predicate(ctx, Action::Search, query.kind);
        if predicate == Predicate::Nothing {
            return Err(self.denied(ctx, "query", what).await);
        }
        let now = self.now();
        let mut patients = describe::patients(&query);
        let page = self.reading(move |tx| Ok(store::search::run(tx, &query, &predicate, now)?)).await?;
        for row in &page.rows {
            patients.extend(row.patients.iter().cloned());
        }
        patients.sort();
        patients.dedup();
        self.audit_read(ctx, "query", what, &patients).await?;
        Ok(SearchPage {
            items: page.rows.into_iter().map(stored).collect(),
            next: page.next,
            total: page.total,
        })
    }

    /// For planners: the current version parsed, `None` if it does not exist, is deleted or not readable for `ctx`.
    /// Errors: `Busy`, `Internal`, `Unauthenticated`.
    pub async fn load(&self, ctx: &Ctx, key: &ResourceKey) -> Result<Option<(Resource, u32)>, Error> {
        match self.read(ctx, key).await {
            Ok(stored) => Ok(Some((stored.parse()?, stored.version))),
            Err(Error::NotFound | Error::Gone | Error::Denied) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// For planners: a search by name and value as in a URL, e.g.
    /// `find(ctx, "Appointment", &[("patient", "Patient/1"), ("_sort", "-date")], 20)`; rows readable for `ctx`, over
    /// as many pages as `limit` needs.
    /// Errors: `Malformed` for an unknown type or parameter; `Denied`.
    pub async fn find(
        &self,
        ctx: &Ctx,
        kind: &str,
        parameters: &[(&str, &str)],
        limit: u32,
    ) -> Result<Vec<(Resource, u32)>, Error> {
        let kind = TypeId::from_name(kind).ok_or_else(|| {
            Error::Malformed(fhir::Outcome::one(
                fhir::IssueCode::NotSupported,
                "",
                format!("`{kind}` is no FHIR R4 resource type."),
            ))
        })?;
        let pairs: Vec<(String, String)> =
            parameters.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let (mut query, _) = fhir::search::parse(&self.params(), kind, &pairs, Handling::Strict).map_err(Error::Malformed)?;
        query.total = fhir::search::Total::None;
        let what = describe::query(&query);
        let mut found = Vec::new();
        while (found.len() as u32) < limit {
            query.count = (limit - found.len() as u32).min(fhir::search::MAX_PAGE);
            let page = self.search_as(ctx, query.clone(), &what).await?;
            for item in &page.items {
                found.push((item.parse()?, item.version));
            }
            match page.next {
                Some(next) if !page.items.is_empty() => query.cursor = Some(next),
                _ => break,
            }
        }
        Ok(found)
    }

    /// Reads the product's own tables (ledger, payments, jobs, claims, …) in one read transaction. Not for resources,
    /// accounts or audit; the caller has checked the right (e.g. [access::policy::may]).
    pub async fn store_read<T, F>(&self, read: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut dyn store::Tx) -> Result<T, store::Error> + Send + 'static,
    {
        self.reading(move |tx| Ok(read(tx)?)).await
    }

    /// What rows of the type the caller may act on. Errors: `Denied` or `Unauthenticated` for none, audited: then it does
    /// not matter whether the row exists.
    async fn right(
        &self,
        ctx: &Ctx,
        action: Action,
        name: &str,
        key: &ResourceKey,
    ) -> Result<Predicate, Error> {
        let predicate = policy::predicate(ctx, action, key.kind);
        if predicate == Predicate::Nothing {
            return Err(self.denied(ctx, name, &key.to_string()).await);
        }
        Ok(predicate)
    }

    /// Audits the look, then answers.
    async fn answer<T>(
        &self,
        ctx: &Ctx,
        action: &str,
        key: &ResourceKey,
        what: &str,
        look: Look<T>,
        patients: &[String],
    ) -> Result<T, Error> {
        match look {
            Look::Found(found) => {
                self.audit_read(ctx, action, what, patients).await?;
                Ok(found)
            }
            Look::Deleted => {
                self.audit_read(ctx, action, what, patients).await?;
                Err(Error::Gone)
            }
            Look::Absent => {
                // Nothing was seen, but somebody tries ids.
                self.audit_refusal(ctx, action, Outcome::Failed, what, &[]).await;
                Err(Error::NotFound)
            }
            Look::Refused => {
                self.audit_refusal(ctx, action, Outcome::Denied, what, patients).await;
                Err(if policy::existence_is_private(ctx, key.kind) { Error::NotFound } else { Error::Denied })
            }
        }
    }

    /// Durable before the caller gets a byte. After the query, not beside it: IHE BALP wants the patient named, and the
    /// commit is shared with all others that wait. The program's own jobs look at what they were told to; only
    /// what they write is audited.
    async fn audit_read(
        &self,
        ctx: &Ctx,
        action: &str,
        what: &str,
        patients: &[String],
    ) -> Result<(), Error> {
        if matches!(ctx.principal, Principal::System(_)) {
            return Ok(());
        }
        self.audit_one(ctx, action, Outcome::Success, what, patients).await
    }
}

pub(crate) fn kind(name: &str) -> TypeId {
    TypeId::from_name(name).unwrap_or(TypeId(u16::MAX))
}

fn stored(row: store::resource::Stored) -> Stored {
    Stored { key: row.key, version: row.version, last_updated: row.last_updated, content: row.content }
}

/// Whether the predicate holds for a row of these patients.
pub(crate) fn holds(
    tx: &mut dyn Tx,
    predicate: &Predicate,
    key: &ResourceKey,
    patients: &[String],
    now: Timestamp,
) -> Result<bool, Error> {
    let in_care = match predicate.practitioner() {
        Some(practitioner) => store::care_link::in_care(tx, practitioner, patients, now)?,
        None => Vec::new(),
    };
    Ok(predicate.holds(&RowFacts { key, patients, in_care: &in_care }))
}

/// What the rights on one version depend on.
struct Parsed {
    patients: Vec<String>,
    status: String,
}

impl Parsed {
    fn is(&self, statuses: &[&str]) -> bool {
        statuses.contains(&self.status.as_str())
    }
}

fn parsed(key: &ResourceKey, content: &[u8]) -> Result<Parsed, Error> {
    let resource = Resource::parse(content).map_err(|o| Error::Internal(format!("stored {key}: {o}")))?;
    let status = resource.text("status").unwrap_or_default().to_owned();
    Ok(Parsed { patients: compartment(&resource), status })
}

/// As [Record::read] refuses them: rows of these statuses are not there for the caller, not even in the total.
pub(crate) fn hide_drafts(ctx: &Ctx, query: &mut fhir::search::Query) {
    let statuses = policy::unreadable_statuses(ctx, query.kind);
    if statuses.is_empty() {
        return;
    }
    if let Some(param) = fhir::definitions::param(query.kind, "status") {
        let any = statuses
            .iter()
            .map(|code| fhir::search::Operand::Token { system: None, code: Some((*code).to_owned()) })
            .collect();
        query.filters.push(fhir::search::Filter { param: param.id, matching: fhir::search::Match::Not, any });
    }
}
