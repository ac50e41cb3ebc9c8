//! Whether a change may be made: rights over what is there and what comes, what is finished, and where references lead.

use super::{Job, Known, absent, rights};
use crate::Error;
use crate::write::entries::local_targets;
use crate::write::{Prepared, Put, finished, merged};
use access::{Action, policy};
use fhir::{Outcome, Resource, ResourceKey, TypeId};
use std::collections::HashSet;
use store::{Tx, resource};

impl Job {
    /// Raw FHIR of a person or another system. The product's commands and jobs take and free times themselves.
    pub(super) fn is_raw(&self) -> bool {
        self.request.command.is_none()
            && !self.request.on_behalf
            && !matches!(self.ctx.principal, access::Principal::System(_))
    }

    /// See [finished]. Commands have rules of their own.
    pub(super) fn check_finished(
        &self,
        before: Option<&Resource>,
        after: Option<&Resource>,
    ) -> Result<(), Error> {
        match before {
            Some(before) if self.request.command.is_none() && !self.request.on_behalf => {
                let explained = || before.key().is_some_and(|key| self.is_explained(&key));
                finished::check(&self.ctx.principal, before, after, explained).map_err(Error::Rule)
            }
            _ => Ok(()),
        }
    }

    /// Whether a Provenance that is written along says why this resource is changed.
    pub(super) fn is_explained(&self, key: &ResourceKey) -> bool {
        self.prepared.iter().any(|change| match change {
            Prepared::Put(put) if put.key.kind.name() == "Provenance" => {
                finished::explains(&put.resource, key)
            }
            _ => false,
        })
    }

    /// Steps 6 and 8. Errors: `Denied`, or `NotFound` where existence is private.
    pub(super) fn allow(
        &self,
        tx: &mut dyn Tx,
        action: Action,
        key: &ResourceKey,
        patients: &[String],
    ) -> Result<(), Error> {
        if self.request.on_behalf {
            return Ok(());
        }
        let predicate = rights(&self.ctx, &self.request, action, key.kind);
        if crate::rights::holds(tx, &predicate, key, patients, self.now)? {
            return Ok(());
        }
        let hidden = action != Action::Create && policy::existence_is_private(&self.ctx, key.kind);
        Err(if hidden { Error::NotFound } else { Error::Denied })
    }

    /// As [Job::allow] on the new content, and for each patient whose compartment it enters by itself: who may write
    /// about one patient must not draw in another, e.g. by naming both in a care team that then gives access.
    pub(super) fn allow_content(
        &self,
        tx: &mut dyn Tx,
        action: Action,
        put: &Put,
        before: &[String],
    ) -> Result<(), Error> {
        self.allow_as(tx, action, put, &put.patients)?;
        for patient in put.patients.iter().filter(|p| !before.contains(p)) {
            self.allow_as(tx, action, put, std::slice::from_ref(patient))?;
        }
        Ok(())
    }

    pub(super) fn allow_as(
        &self,
        tx: &mut dyn Tx,
        action: Action,
        put: &Put,
        patients: &[String],
    ) -> Result<(), Error> {
        if self.request.on_behalf {
            return Ok(());
        }
        let kind = put.key.kind;
        let predicate = policy::content_predicate(&self.ctx, action, kind, self.request.command.is_some());
        if crate::rights::holds_then(tx, &predicate, &put.key, patients, &put.resource, self.now)? {
            return Ok(());
        }
        let hidden = action != Action::Create && policy::existence_is_private(&self.ctx, kind);
        Err(if hidden { Error::NotFound } else { Error::Denied })
    }

    /// Every local reference that is new in this version must lead somewhere. All problems are collected.
    pub(super) fn check_references<'a>(
        &self,
        tx: &mut dyn Tx,
        put: &'a Put,
        before: Option<&Resource>,
        known: &mut Known<'a>,
        problems: &mut Outcome,
    ) -> Result<(), Error> {
        let mut old: Option<HashSet<ResourceKey>> = None;
        for (expression, target) in &put.targets {
            let minds = target.kind == TypeId::PATIENT && self.minds_merges(put);
            if known.contains(&(target, minds)) {
                continue;
            }
            let own = self.own(target);
            let problem = if minds {
                let found = match own {
                    Some(own) => merged::look_after(tx, target, &own.resource)?,
                    None => merged::look(tx, target)?,
                };
                match found {
                    merged::Found::InUse => None,
                    merged::Found::Absent => Some(absent(target, expression)),
                    merged::Found::Replaced(survivor) => Some(merged::refusal(target, &survivor, expression)),
                }
            } else if own.is_some() || resource::exists_for_reference(tx, target)? {
                None
            } else {
                Some(absent(target, expression))
            };
            let Some(problem) = problem else {
                known.insert((target, minds));
                continue;
            };
            // What was deleted or merged since stays referred to by what is already there.
            let old = old.get_or_insert_with(|| before.map(local_targets).unwrap_or_default());
            if !old.contains(target) {
                problems.issues.push(problem);
            }
        }
        Ok(())
    }

    /// What this request itself makes of the resource.
    pub(super) fn own(&self, key: &ResourceKey) -> Option<&Put> {
        match self.prepared.get(*self.keys.get(key)?)? {
            Prepared::Put(put) => Some(put),
            Prepared::Delete { .. } | Prepared::Keep { .. } => None,
        }
    }

    /// Whether this version may not newly refer to a record that was merged away. What the program does by itself, on
    /// events of before the merge, is not lost for it; a Patient and a Provenance tell of the record.
    pub(super) fn minds_merges(&self, put: &Put) -> bool {
        !self.request.on_behalf
            && !matches!(self.ctx.principal, access::Principal::System(_))
            && !crate::operation::merge::STAYS.contains(&put.key.kind)
    }
}
