//! Authorized, audited reads.

mod describe;
mod directory;
mod history;
mod prepare;
mod reach;
mod search;
mod words;

pub use directory::DirectoryRow;
pub(crate) use directory::minimal;
pub use history::{HistoryEntry, HistoryPage, HistoryQuery, Method, Scope};
pub use search::SearchPage;
pub(crate) use search::rights;

use crate::rights::Version;
use crate::rights::veil::{Row, Shown, Veil};
use crate::write::compartment;
use crate::{Error, Record};
use access::policy;
use access::{Action, Ctx, Predicate, Principal};
use fhir::{Resource, ResourceKey, TypeId};
use jiff::Timestamp;
use std::sync::Arc;
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
        Ok(self.read_noting(ctx, key, true).await?.0)
    }

    /// As [Record::read], for an operation that notes as one event all that it showed; with the patients of that. What is
    /// refused is noted here.
    pub(crate) async fn read_within(
        &self,
        ctx: &Ctx,
        key: &ResourceKey,
    ) -> Result<(Stored, Vec<String>), Error> {
        self.read_noting(ctx, key, false).await
    }

    async fn read_noting(
        &self,
        ctx: &Ctx,
        key: &ResourceKey,
        by_itself: bool,
    ) -> Result<(Stored, Vec<String>), Error> {
        let predicate = self.right(ctx, Action::Read, "read", key).await?;
        let drafts = policy::unreadable_statuses(ctx, key.kind);
        let (wanted, now) = (key.clone(), self.now());
        let mut veil = self.veil(ctx).await?;
        let (look, patients) = self
            .reading_audited(move |tx| {
                let (look, patients) = look_at(tx, &predicate, &wanted, drafts, now, &mut veil)?;
                let event = match look {
                    Look::Found(_) if !by_itself => None,
                    Look::Found(_) | Look::Deleted => veil.event("read", &wanted.to_string(), &patients),
                    Look::Absent | Look::Refused => None,
                };
                Ok(((look, patients), event))
            })
            .await?;
        let stored = match look {
            Look::Found(stored) => stored,
            Look::Deleted => return Err(Error::Gone),
            look => self.answer(ctx, "read", key, &key.to_string(), look, &patients).await?,
        };
        Ok((self.with_headers(ctx, stored).await?, patients))
    }

    /// Whether [Record::read] would give the current version now. Nothing of it is shown, so nothing is audited: for what
    /// was opened by a request that was, and asks again every few seconds whether it may stay open. Errors: `Busy`,
    /// `Internal`.
    pub async fn may_read(&self, ctx: &Ctx, key: &ResourceKey) -> Result<bool, Error> {
        let predicate = policy::predicate(ctx, Action::Read, key.kind);
        if predicate == Predicate::Nothing {
            return Ok(false);
        }
        let drafts = policy::unreadable_statuses(ctx, key.kind);
        let (wanted, now) = (key.clone(), self.now());
        let mut veil = self.veil(ctx).await?;
        self.reading(move |tx| {
            let (look, _) = look_at(tx, &predicate, &wanted, drafts, now, &mut veil)?;
            Ok(matches!(look, Look::Found(_)))
        })
        .await
    }

    /// One version; rights are checked on that version's content as well as on the current one.
    /// Errors: as [Record::read]; `Gone` for a version that is a deletion.
    pub async fn vread(&self, ctx: &Ctx, key: &ResourceKey, version: u32) -> Result<Stored, Error> {
        let predicate = self.right(ctx, Action::Read, "vread", key).await?;
        let drafts = policy::unreadable_statuses(ctx, key.kind);
        let (wanted, now) = (key.clone(), self.now());
        let mut veil = self.veil(ctx).await?;
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
                if !then.holds(tx, &predicate, &wanted, now)? || then.is(drafts) {
                    return Ok((Look::Refused, then.patients));
                }
                let Some(content) =
                    then.shown(tx, &mut veil, &predicate, &wanted, head.rid, found.content)?
                else {
                    return Ok((Look::Refused, then.patients));
                };
                let stored =
                    Stored { key: wanted, version: found.version, last_updated: found.last_updated, content };
                Ok((Look::Found(stored), then.patients))
            })
            .await?;
        self.answer(ctx, "vread", key, &format!("{key}/_history/{version}"), look, &patients).await
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

/// What a read of the current version comes to, with the row's patients.
fn look_at(
    tx: &mut dyn store::Tx,
    predicate: &Predicate,
    key: &ResourceKey,
    drafts: &[&str],
    now: Timestamp,
    veil: &mut Veil,
) -> Result<(Look<Stored>, Vec<String>), Error> {
    let Some((row, is_held)) = load_if_held(tx, predicate, key, now, veil)? else {
        return Ok((Look::Absent, Vec::new()));
    };
    let patients = row.patients.clone();
    let look = if !is_held {
        Look::Refused
    } else if row.deleted {
        Look::Deleted
    } else if !drafts.is_empty() && parsed(key, &row.content)?.is(drafts) {
        Look::Refused
    } else {
        veil.current(tx, predicate, row)?.map_or(Look::Refused, Look::Found)
    };
    Ok((look, patients))
}

pub(crate) fn kind(name: &str) -> TypeId {
    TypeId::from_name(name).unwrap_or(TypeId(u16::MAX))
}

pub(crate) use crate::rights::holds;
use crate::rights::load_if_held;

/// What the rights on one version depend on.
struct Parsed {
    patients: Vec<String>,
    status: String,
    resource: Resource,
}

impl Parsed {
    fn is(&self, statuses: &[&str]) -> bool {
        statuses.contains(&self.status.as_str())
    }
    /// Whether the predicate held for it as it was.
    fn holds(
        &self,
        tx: &mut dyn store::Tx,
        predicate: &Predicate,
        key: &ResourceKey,
        now: Timestamp,
    ) -> Result<bool, Error> {
        crate::rights::holds_then(tx, predicate, key, &self.patients, &self.resource, now)
    }
    /// What of it the caller sees, of `content` as it is stored; `None` for nothing. `rid` is the resource's row.
    fn shown(
        &self,
        tx: &mut dyn store::Tx,
        veil: &mut Veil,
        predicate: &Predicate,
        key: &ResourceKey,
        rid: i64,
        content: Arc<[u8]>,
    ) -> Result<Option<Arc<[u8]>>, Error> {
        let row = Row { key, rid, patients: &self.patients };
        let version = Version::Content(&self.resource);
        Ok(match veil.show(tx, predicate, &row, &self.resource, version)? {
            Shown::Whole => Some(content),
            Shown::Part(part) => Some(part.to_json().into_bytes().into()),
            Shown::Nothing => None,
        })
    }
}

fn parsed(key: &ResourceKey, content: &[u8]) -> Result<Parsed, Error> {
    let resource = Resource::parse(content).map_err(|o| Error::Internal(format!("stored {key}: {o}")))?;
    let status = resource.text("status").unwrap_or_default().to_owned();
    Ok(Parsed { patients: compartment(&resource), status, resource })
}
