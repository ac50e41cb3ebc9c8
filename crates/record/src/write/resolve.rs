//! Conditional changes and patches become plain ones, with what must still hold when they are written.

use super::criteria::{Criteria, Expectation};
use super::{Request, Stop, at, patch};
use crate::change::{ABSENT, Conditional, ConditionalAction, Patch};
use crate::rights::Version;
use crate::rights::veil::{Lens, Row, Shown, Veil};
use crate::{Change, ChangeSet, Committed, Error, Record};
use access::policy;
use access::{Action, Ctx};
use fhir::{IssueCode, Outcome, Resource, ResourceKey};
use store::Tx;

/// Plans that others may void before the caller is asked to come again. Who plans on the same thing in this process
/// waits for its turn; what is left are plain updates and other servers.
pub(crate) const MAX_TRIES: usize = 24;

impl Record {
    /// Plans and writes until a plan holds. `self.write` for sets with conditional changes or patches.
    pub(super) async fn write_resolved(&self, ctx: &Ctx, set: ChangeSet) -> Result<Committed, Error> {
        let _turn = self.wait_turn(&names(&set)).await?;
        for _ in 0..MAX_TRIES {
            let request = match self.resolve(ctx, &set).await {
                Ok(request) => request,
                Err(error) => {
                    self.audit_failed_write(ctx, &Request::raw(set), &error).await;
                    return Err(error);
                }
            };
            match self.commit_or_stale(ctx, request).await {
                Ok(committed) => return Ok(committed),
                Err(Stop::Stale) => {}
                Err(Stop::Error(error)) => return Err(error),
            }
        }
        Err(Error::Busy)
    }

    async fn resolve(&self, ctx: &Ctx, set: &ChangeSet) -> Result<Request, Error> {
        let mut request = Request::raw(ChangeSet {
            changes: Vec::new(),
            expect: set.expect.clone(),
            effects: set.effects.clone(),
            events: set.events.clone(),
        });
        for change in &set.changes {
            let Change::Conditional(conditional) = change else {
                self.push_resolved(ctx, change.clone(), "", &mut request).await?;
                continue;
            };
            let mut criteria =
                Criteria::parse(self, conditional.kind, &conditional.criteria, conditional.most(), "")?;
            criteria.prepare(self, ctx).await?;
            let (caller, wanted, now) = (ctx.clone(), criteria.clone(), self.now());
            let (found, _) = self.reading(move |tx| wanted.find(tx, &caller, now)).await?;
            for change in conditional.settle(&found, "")? {
                self.push_resolved(ctx, change, "", &mut request).await?;
            }
            request.criteria.push(Expectation { criteria, found });
        }
        Ok(request)
    }

    async fn push_resolved(
        &self,
        ctx: &Ctx,
        change: Change,
        place: &str,
        request: &mut Request,
    ) -> Result<(), Error> {
        let change = match change {
            Change::Patch { key, patch, if_match } => {
                let (caller, wanted, now) = (ctx.clone(), key.clone(), self.now());
                let lens = self.lens().await?;
                let (before, version) =
                    self.reading(move |tx| current(tx, (&caller, lens), &wanted, if_match, now)).await?;
                request.based_on.push((key, version));
                Change::Update { resource: patch::apply(&before, &patch, place)?, if_match }
            }
            other => other,
        };
        request.push(change, place.to_owned());
        Ok(())
    }
}

/// The version a patch is for, if the caller may read it. Errors: as [Record::read]; `VersionConflict`.
pub(crate) fn current(
    tx: &mut dyn Tx,
    (ctx, lens): (&Ctx, Lens),
    key: &ResourceKey,
    if_match: Option<u32>,
    now: jiff::Timestamp,
) -> Result<(Resource, u32), Error> {
    let refused =
        || if policy::existence_is_private(ctx, key.kind) { Error::NotFound } else { Error::Denied };
    let predicate = policy::predicate(ctx, Action::Read, key.kind);
    if predicate == access::Predicate::Nothing {
        return Err(Error::Denied);
    }
    let Some(row) = store::resource::load(tx, key)? else { return Err(Error::NotFound) };
    if !crate::read::holds(tx, &predicate, key, &row.patients, now)? {
        return Err(refused());
    }
    if row.deleted {
        return Err(Error::Gone);
    }
    if if_match.is_some_and(|expected| expected != row.version) {
        return Err(Error::VersionConflict { current: Some(row.version) });
    }
    let resource =
        Resource::parse(&row.content).map_err(|o| Error::Internal(format!("stored {key}: {o}")))?;
    let hidden = policy::unreadable_statuses(ctx, key.kind);
    if resource.text("status").is_some_and(|status| hidden.contains(&status)) {
        return Err(refused());
    }
    // Before anything is compared: a `test` in a patch must not tell what is hidden.
    let mut veil = Veil::new(ctx, lens, now);
    if veil.may_hide(tx, &predicate, row.rid)? {
        let of = Row { key, rid: row.rid, patients: &row.patients };
        match veil.show(tx, &predicate, &of, &resource, Version::Current)? {
            Shown::Whole => {}
            Shown::Part(_) => return Err(super::hidden_parts()),
            Shown::Nothing => return Err(refused()),
        }
    }
    Ok((resource, row.version))
}

impl Conditional {
    /// `Type?parameters`: equal conditions have equal names.
    pub(crate) fn name(&self) -> String {
        format!("{}?{}", self.kind.name(), crate::bundle::query_text(&self.criteria))
    }

    /// Matches that the action can take.
    pub(crate) fn most(&self) -> u32 {
        match self.action {
            ConditionalAction::Delete { most, .. } => most.max(1),
            _ => 1,
        }
    }

    /// The plain changes that follow from the matches. `place` is the entry's, empty outside of bundles.
    /// Errors: `Precondition` for too many matches; `NotFound` for a patch or delete of nothing; `Malformed` for an id
    /// that differs from the match's.
    pub(crate) fn settle(&self, found: &[ResourceKey], place: &str) -> Result<Vec<Change>, Error> {
        let most = self.most() as usize;
        if found.len() > most {
            let text = match &self.action {
                ConditionalAction::Delete { .. } if most > 1 => {
                    format!("The condition matches more than {most} resources; nothing was deleted.")
                }
                _ => "The condition matches more than one resource; make it narrower.".to_owned(),
            };
            let element = match &self.action {
                ConditionalAction::Create { .. } => "Bundle.request.ifNoneExist",
                _ => "Bundle.request.url",
            };
            let expression = if place.is_empty() { String::new() } else { at(place, element) };
            return Err(Error::Precondition(Outcome::one(IssueCode::MultipleMatches, expression, text)));
        }
        let first = found.first();
        Ok(match &self.action {
            ConditionalAction::Create { resource } => vec![match first {
                Some(key) => Change::Keep { key: key.clone() },
                None => Change::Create { resource: resource.clone() },
            }],
            ConditionalAction::Update { resource, if_match } => {
                vec![self.update(resource, *if_match, first, place)?]
            }
            ConditionalAction::Patch { patch, if_match } => {
                let key = first.ok_or(Error::NotFound)?.clone();
                vec![Change::Patch { key, patch: patch.clone(), if_match: *if_match }]
            }
            ConditionalAction::Delete { if_match, .. } => {
                if found.is_empty() {
                    return Err(Error::NotFound);
                }
                found.iter().map(|key| Change::Delete { key: key.clone(), if_match: *if_match }).collect()
            }
        })
    }

    /// <http://hl7.org/fhir/R4/http.html#cond-update>
    fn update(
        &self,
        resource: &Resource,
        if_match: Option<u32>,
        found: Option<&ResourceKey>,
        place: &str,
    ) -> Result<Change, Error> {
        let mut resource = resource.clone();
        match (found, resource.id()) {
            (None, _) if if_match.is_some_and(|version| version != ABSENT) => {
                Err(Error::VersionConflict { current: None })
            }
            (None, None) => Ok(Change::Create { resource }),
            // Another resource may have the id without matching.
            (None, Some(_)) => Ok(Change::Update { resource, if_match: Some(ABSENT) }),
            (Some(key), Some(id)) if id != key.id => {
                let expression = if place.is_empty() {
                    format!("{}.id", self.kind.name())
                } else {
                    at(place, "Bundle.resource.id")
                };
                let text =
                    "The condition matches a resource with another id; leave the id out or correct it.";
                Err(Error::Malformed(Outcome::one(IssueCode::Value, expression, text)))
            }
            (Some(key), _) => {
                resource.set_id(&key.id);
                Ok(Change::Update { resource, if_match })
            }
        }
    }
}

/// What the set plans on: see [super::turn].
fn names(set: &ChangeSet) -> Vec<String> {
    let name = |change: &Change| match change {
        Change::Patch { key, .. } => Some(key.to_string()),
        Change::Conditional(conditional) => Some(conditional.name()),
        Change::Create { .. } | Change::Update { .. } | Change::Delete { .. } | Change::Keep { .. } => None,
    };
    set.changes.iter().filter_map(name).collect()
}

/// Whether the set needs a plan.
pub(super) fn is_needed(set: &ChangeSet) -> bool {
    set.changes.iter().any(|change| matches!(change, Change::Patch { .. } | Change::Conditional(_)))
}

/// The patch of an entry's resource: Parameters are a FHIRPath Patch, a Binary holds a JSON Patch or a merge patch.
/// Errors: text for the sender.
pub(crate) fn patch_of(resource: Resource) -> Result<Patch, String> {
    match resource.kind().name() {
        "Parameters" => Ok(Patch::Path(resource)),
        "Binary" => {
            let kind = resource.text("contentType").unwrap_or_default().split(';').next().unwrap_or_default();
            let data = resource.text("data").unwrap_or_default();
            patch::from_base64(kind.trim(), data)
        }
        other => Err(format!("A patch is a Parameters or a Binary, not a {other}.")),
    }
}
