//! Steps 4–10 of the write path.

mod apply;
pub(crate) mod care;
pub(crate) mod criteria;
mod effect;
pub(crate) mod entries;
mod finished;
mod idempotency;
mod import;
mod merged;
pub(crate) mod patch;
mod prepare;
pub(crate) mod resolve;
mod time;
mod turn;

use crate::{Change, ChangeSet, Committed, Error, Event, Record};
use access::Ctx;
use fhir::ResourceKey;
use std::sync::Arc;

pub(crate) use effect::account_error;
pub use finished::CHANGE_REASON;
pub(crate) use import::{import_put, missing};
pub use patch::{JSON_PATCH, MERGE_PATCH};
use prepare::Prepared;
pub(crate) use prepare::{Put, at, compartment, prepare_put, problems, same_content};
pub(crate) use turn::Turns;

/// Changes prepared on the async worker itself; more are validated and extracted on the blocking pool.
const INLINE_CHANGES: usize = 4;
/// Most changes one transaction may have: what a bundle may have.
pub const MAX_CHANGES: usize = crate::bundle::MAX_ENTRIES;
/// Most changes the record itself makes at once on somebody's behalf: the chart of a merged patient. About 13 KB of memory
/// each until they are written.
pub(crate) const MAX_OWN_CHANGES: usize = 30_000;

/// A ChangeSet and what the record must know about where it came from.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    pub changes: Vec<Change>,
    /// FHIRPath of each change's resource in what the client sent, e.g. `Bundle.entry[3].resource`; empty: the body.
    pub places: Vec<String>,
    pub expect: Vec<(ResourceKey, u32)>,
    pub effects: Vec<crate::Effect>,
    pub events: Vec<Event>,
    /// The product's own command, if it is one.
    pub command: Option<&'static str>,
    /// One-time codes used up by this write; a code that is gone fails it.
    pub codes: Vec<String>,
    /// Conditions the plan rests on, with what they found.
    pub criteria: Vec<criteria::Expectation>,
    /// Versions that patches were applied to; another one voids the plan.
    pub based_on: Vec<(ResourceKey, u32)>,
    /// What the Subscriptions among the changes carry and no resource shows.
    pub headers: Vec<crate::subscription::Headers>,
    /// The record itself acts for the caller, who had the right to ask for it: neither rights nor the content of what is
    /// stored already are checked again.
    pub on_behalf: bool,
    /// What a command changes although parts of it are hidden from the caller: those were put back.
    pub restored: Vec<ResourceKey>,
}

/// Why a request was not committed.
pub(crate) enum Stop {
    Error(Error),
    /// What the plan rested on has changed: plan again.
    Stale,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Error(error)
    }
}

impl From<store::Error> for Stop {
    fn from(error: store::Error) -> Stop {
        Stop::Error(error.into())
    }
}

impl Request {
    pub fn raw(set: ChangeSet) -> Request {
        Request {
            places: vec![String::new(); set.changes.len()],
            changes: set.changes,
            expect: set.expect,
            effects: set.effects,
            events: set.events,
            ..Request::default()
        }
    }
    pub fn push(&mut self, change: Change, place: String) {
        self.changes.push(change);
        self.places.push(place);
    }
}

/// Errors: `Duplicate` `subsetted` for what shows only a part of its resource.
pub(crate) fn refuse_part(resource: &fhir::Resource) -> Result<(), Error> {
    if !access::redact::is_subsetted(resource) {
        return Ok(());
    }
    let text = "This is only a part of the resource (SUBSETTED); the rest of it would be lost. Send a patch.";
    Err(Error::Duplicate(crate::Rule::new("subsetted", text).at("meta.tag")))
}

/// The answer to whoever would replace what she sees only a part of.
pub(crate) fn hidden_parts() -> Error {
    let text = "Parts of this resource are hidden from you (REDACTED); what you send would lose them. Ask somebody who \
                may see them to change it.";
    Error::Duplicate(crate::Rule::new("hidden-parts", text).at("meta.security"))
}

impl Record {
    /// A raw FHIR write (`/fhir/R4`): the caller's own rights on the types decide, nothing more.
    ///
    /// - A Create keeps an id that is a UUID, else gets a UUIDv7. If the id is taken by the same content the stored
    ///   resource is returned (`unchanged`), so that an offline client may repeat; other content is
    ///   `Duplicate` `id-taken`.
    /// - An Update of an id that does not exist creates it (the Create right is needed). An Update with the content that
    ///   is there makes no new version and no event (`unchanged`); it is audited.
    /// - A Delete of a deleted resource changes nothing.
    /// - A [Change::Conditional] and a [Change::Patch] are planned on what is there, and planned again if that has changed
    ///   when they are written; those that meet take turns. A conditional delete gives one [crate::Written] per resource.
    ///
    /// Errors: every variant of [Error] but `Throttled`.
    pub async fn write(&self, ctx: &Ctx, set: ChangeSet) -> Result<Committed, Error> {
        if resolve::is_needed(&set) {
            return self.write_resolved(ctx, set).await;
        }
        self.commit(ctx, Request::raw(set)).await
    }

    /// A write planned by the product itself, e.g. `appointment.book`, `note.save`, `invoice.make`. Beyond the raw
    /// rights the caller may then touch what [access::policy::command_predicate] grants to the role
    /// (a patient her own Appointment, a doctor the Invoice of a patient in care, …). `name` goes into the audit event.
    /// A Create keeps any valid id.
    /// Errors: as [Record::write].
    pub async fn command(&self, ctx: &Ctx, name: &'static str, set: ChangeSet) -> Result<Committed, Error> {
        let mut request = Request::raw(set);
        request.command = Some(name);
        self.restore_parts(ctx, &mut request).await?;
        self.commit(ctx, request).await
    }

    /// Commands load what the caller sees, change what they are about, and write it: what was hidden from her stays as it
    /// is. Errors: `Duplicate` `hidden-parts` for a change of something that is hidden in part.
    async fn restore_parts(&self, ctx: &Ctx, request: &mut Request) -> Result<(), Error> {
        for change in &mut request.changes {
            let Change::Update { resource, if_match } = change else { continue };
            if !access::redact::is_subsetted(resource) {
                continue;
            }
            let Some(key) = resource.key() else { continue };
            let shown = self.read(ctx, &key).await?;
            let whole = self.read(&Ctx::system("restore", self.now()), &key).await?;
            if whole.version != shown.version || if_match.is_some_and(|version| version != whole.version) {
                return Err(Error::VersionConflict { current: Some(whole.version) });
            }
            *resource = access::redact::restore(&whole.parse()?, &shown.parse()?, resource)
                .map_err(|_| hidden_parts())?;
            *if_match = Some(whole.version);
            request.restored.push(key);
        }
        Ok(())
    }

    pub(crate) async fn commit(&self, ctx: &Ctx, request: Request) -> Result<Committed, Error> {
        self.commit_or_stale(ctx, request).await.map_err(|stop| match stop {
            Stop::Error(error) => error,
            Stop::Stale => Error::Busy,
        })
    }

    pub(crate) async fn commit_or_stale(&self, ctx: &Ctx, request: Request) -> Result<Committed, Stop> {
        let request = Arc::new(self.check_subscriptions(ctx, request).await?);
        let outcome = self.try_commit(ctx, &request).await;
        if let Err(Stop::Error(error)) = &outcome {
            self.audit_failed_write(ctx, &request, error).await;
        }
        outcome
    }

    async fn try_commit(&self, ctx: &Ctx, request: &Arc<Request>) -> Result<Committed, Stop> {
        if matches!(ctx.principal, access::Principal::Anonymous) {
            return Err(Error::Unauthenticated.into());
        }
        let most = if request.on_behalf { MAX_OWN_CHANGES } else { MAX_CHANGES };
        if request.changes.len() > most {
            let text = format!("At most {most} changes at once.");
            let outcome = fhir::Outcome::one(fhir::IssueCode::TooCostly, "", text);
            return Err(Error::Malformed(outcome).into());
        }
        for change in &request.changes {
            if let Change::Update { resource, .. } = change
                && !request.on_behalf
            {
                refuse_part(resource)?;
            }
        }
        let now = self.now();
        let lens = self.lens().await?;
        let rules = lens.rules.clone();
        let prepared = if request.changes.len() <= INLINE_CHANGES {
            prepare::prepare(request, (&self.params(), self.base(), &rules), now)?
        } else {
            let (request, record) = (request.clone(), self.clone());
            tokio::task::spawn_blocking(move || {
                prepare::prepare(&request, (&record.params(), record.base(), &rules), now)
            })
            .await
            .map_err(|e| Error::Internal(format!("prepare: {e}")))??
        };
        // What is stored already is moved as it is, whatever has become a rule since.
        if !request.on_behalf {
            self.check_profiles(&request.changes, &request.places).await?;
            self.scan_files(&request.changes).await?;
        }
        let defines = prepared.iter().any(|p| p.key().kind.name() == "StructureDefinition");
        let searches = prepared.iter().any(|p| p.key().kind == fhir::TypeId::SEARCH_PARAMETER);
        let committed = self.apply(ctx, (request, lens), prepared, now).await;
        if defines {
            self.inner.profiles.forget();
        }
        if searches && committed.is_ok() {
            self.reload_search_parameters().await;
        }
        committed
    }
}
