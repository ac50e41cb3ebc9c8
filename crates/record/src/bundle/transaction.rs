//! A transaction: everything is worked out before the write lock is taken, and written at once.
//!
//! Conditions are looked up first, because what they find decides where `fullUrl`s lead. They are looked up again
//! inside the write transaction; if anything else is found there, the whole bundle is planned anew.

use super::entry::{Action, Entry, Phase};
use super::{Options, absent_answer, place, reference, reply_answer, response, written_answer};
use crate::change::ConditionalAction;
use crate::write::criteria::{Criteria, Expectation};
use crate::write::resolve::{self, MAX_TRIES};
use crate::write::{Request, Stop, patch};
use crate::{Change, ChangeSet, Committed, Error, Record};
use access::{Ctx, policy};
use fhir::{Issue, IssueCode, Outcome, Resource, ResourceKey};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// A planned transaction.
struct Plan {
    request: Request,
    /// Which entry each change is of.
    order: Vec<usize>,
}

/// What the look-ups found.
struct Found {
    /// Of conditional entries, by the entry's index.
    entries: HashMap<usize, Expectation>,
    /// Of conditional references: text, condition, place, matches.
    references: Vec<(String, Criteria, String, Vec<ResourceKey>)>,
    /// The versions that patches are for, by key.
    current: HashMap<ResourceKey, (Resource, u32)>,
    /// Patients of what conditional references found, for the audit.
    patients: Vec<(String, Vec<String>)>,
}

impl Record {
    pub(super) async fn transaction(
        &self,
        ctx: &Ctx,
        entries: Vec<Value>,
        options: &Options,
    ) -> Result<Resource, Error> {
        let (base, most) = (options.base.clone(), options.conditional_delete_most);
        let entries = off_the_worker(entries.len(), move || parse(entries, &base, most)).await??;
        let (committed, order) = self.write_transaction(ctx, &entries).await?;
        let mut answers: Vec<Option<Value>> = vec![None; entries.len()];
        for (n, written) in order.iter().zip(&committed.written) {
            let is_delete = entries[*n].phase == Phase::Delete;
            answers[*n].get_or_insert_with(|| written_answer(is_delete, written, options));
        }
        for (n, entry) in entries.into_iter().enumerate() {
            if let Action::Call(call) = entry.action {
                let url = call.url.clone();
                let reply = options.dispatch.call(ctx.clone(), call).await;
                answers[n] = Some(reply_answer(reply, &url, n, &options.base));
            }
        }
        let answers = answers.into_iter().map(|answer| answer.unwrap_or_else(absent_answer)).collect();
        response("transaction-response", answers)
    }

    pub(super) async fn write_transaction(
        &self,
        ctx: &Ctx,
        entries: &[Entry],
    ) -> Result<(Committed, Vec<usize>), Error> {
        let _turn = self.wait_turn(&names(entries)).await?;
        for _ in 0..MAX_TRIES {
            let plan = match self.plan(ctx, entries.to_vec()).await {
                Ok(plan) => plan,
                Err(error) => {
                    self.audit_failed_write(ctx, &tried(entries), &error).await;
                    return Err(error);
                }
            };
            if plan.order.is_empty() {
                return Ok((Committed { replayed: false, written: Vec::new() }, plan.order));
            }
            match self.commit_or_stale(ctx, plan.request).await {
                Ok(committed) => return Ok((committed, plan.order)),
                Err(Stop::Stale) => {}
                Err(Stop::Error(error)) => return Err(error),
            }
        }
        Err(Error::Busy)
    }

    async fn plan(&self, ctx: &Ctx, entries: Vec<Entry>) -> Result<Plan, Error> {
        let record = self.clone();
        let (entries, mut conditions, mut references) = off_the_worker(entries.len(), move || {
            let conditions = conditional_entries(&record, &entries)?;
            let references = reference::conditions(&record, &entries)?;
            Ok::<_, Error>((entries, conditions, references))
        })
        .await??;
        for criteria in conditions.iter_mut().map(|(_, criteria)| criteria) {
            criteria.prepare(self, ctx).await?;
        }
        for criteria in references.iter_mut().map(|(_, criteria, _)| criteria) {
            criteria.prepare(self, ctx).await?;
        }
        // Before anything is looked up: that nothing matched is no leave to delete.
        for entry in &entries {
            if let Action::Conditional(conditional) = &entry.action
                && entry.phase == Phase::Delete
                && policy::predicate(ctx, policy::Action::Delete, conditional.kind)
                    == access::Predicate::Nothing
            {
                let denied = self.denied(ctx, "delete", &conditional.name()).await;
                return Err(denied.at(&place(entry.number, "request.url")));
            }
        }
        let found = self.look_up(ctx, &entries, conditions, references).await?;
        let events = found
            .patients
            .iter()
            .map(|(what, patients)| {
                self.audit_event(ctx, "query", store::audit::Outcome::Success, what, patients)
            })
            .collect::<Vec<_>>();
        if !events.is_empty() && !matches!(ctx.principal, access::Principal::System(_)) {
            self.inner.store.append_audit(events).await?;
        }
        let record = self.clone();
        off_the_worker(entries.len(), move || assemble(&record, entries, found)).await?
    }

    /// Everything that must be read before the plan is made, on one snapshot.
    async fn look_up(
        &self,
        ctx: &Ctx,
        entries: &[Entry],
        conditions: Vec<(usize, Criteria)>,
        references: Vec<(String, Criteria, String)>,
    ) -> Result<Found, Error> {
        let mut found = Found {
            entries: HashMap::new(),
            references: Vec::new(),
            current: HashMap::new(),
            patients: Vec::new(),
        };
        let mut patched: Vec<(usize, ResourceKey, Option<u32>)> = Vec::new();
        let mut conditional_patches = HashMap::new();
        for entry in entries {
            match &entry.action {
                Action::Patch { key, if_match, .. } => patched.push((entry.number, key.clone(), *if_match)),
                Action::Conditional(conditional) => {
                    if let ConditionalAction::Patch { if_match, .. } = &conditional.action {
                        conditional_patches.insert(entry.number, *if_match);
                    }
                }
                Action::Create(_) | Action::Update { .. } | Action::Delete { .. } | Action::Call(_) => {}
            }
        }
        if conditions.is_empty() && references.is_empty() && patched.is_empty() {
            return Ok(found);
        }
        let (caller, now) = (ctx.clone(), self.now());
        let lens = self.lens().await?;
        self.reading(move |tx| {
            for (n, criteria) in conditions {
                let (keys, _) =
                    criteria.find(tx, &caller, now).map_err(|error| error.at(&place(n, "request.url")))?;
                if let (Some(if_match), [key]) = (conditional_patches.get(&n), keys.as_slice()) {
                    patched.push((n, key.clone(), *if_match));
                }
                found.entries.insert(n, Expectation { criteria, found: keys });
            }
            for (text, criteria, place) in references {
                let (keys, patients) = criteria.find(tx, &caller, now).map_err(|error| error.at(&place))?;
                found.patients.push((criteria.text.clone(), patients));
                found.references.push((text, criteria, place, keys));
            }
            for (n, key, if_match) in patched {
                let current = resolve::current(tx, (&caller, lens.clone()), &key, if_match, now)
                    .map_err(|error| error.at(&place(n, "")))?;
                found.current.insert(key, current);
            }
            Ok(found)
        })
        .await
    }
}

/// Runs heavy work off the async worker when there is much of it.
pub(super) async fn off_the_worker<T: Send + 'static>(
    entries: usize,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    /// Entries that are worked on where the request is.
    const INLINE_ENTRIES: usize = 8;
    if entries <= INLINE_ENTRIES {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Internal(format!("bundle: {error}")))
}

fn parse(entries: Vec<Value>, base: &str, delete_most: u32) -> Result<Vec<Entry>, Error> {
    let mut parsed = Vec::with_capacity(entries.len());
    let mut problems = Outcome::default();
    for (n, entry) in entries.into_iter().enumerate() {
        match Entry::parse(entry, n, base, delete_most) {
            Ok(entry) => {
                if let Action::Call(call) = &entry.action
                    && call.method == "POST"
                {
                    problems.issues.push(Issue::error(
                        IssueCode::NotSupported,
                        place(n, "request.url"),
                        "Operations and searches by POST run in a batch; a transaction takes them by GET.",
                    ));
                }
                parsed.push(entry);
            }
            Err(outcome) => problems.issues.extend(outcome.issues),
        }
    }
    if problems.issues.is_empty() { Ok(parsed) } else { Err(Error::Malformed(problems)) }
}

/// What the entries plan on: see [crate::write::Turns].
fn names(entries: &[Entry]) -> Vec<String> {
    let name = |entry: &Entry| match &entry.action {
        Action::Patch { key, .. } => Some(key.to_string()),
        Action::Conditional(conditional) => Some(conditional.name()),
        Action::Create(_) | Action::Update { .. } | Action::Delete { .. } | Action::Call(_) => None,
    };
    entries.iter().filter_map(name).collect()
}

/// For the audit of a bundle that did not get as far as a plan.
fn tried(entries: &[Entry]) -> Request {
    let changes = entries
        .iter()
        .filter_map(|entry| match &entry.action {
            Action::Conditional(conditional) => Some(Change::Conditional(conditional.clone())),
            _ => entry.change(),
        })
        .collect();
    Request::raw(ChangeSet { changes, ..ChangeSet::default() })
}

/// Errors: `Malformed` for bad conditions, and for entries with the same condition: what the second would find depends
/// on the first.
fn conditional_entries(record: &Record, entries: &[Entry]) -> Result<Vec<(usize, Criteria)>, Error> {
    let mut found = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut problems = Outcome::default();
    for entry in entries {
        let Action::Conditional(conditional) = &entry.action else { continue };
        let place = place(entry.number, entry.condition_element());
        let parsed =
            Criteria::parse(record, conditional.kind, &conditional.criteria, conditional.most(), &place);
        match parsed {
            Ok(criteria) => {
                if let Some(first) = known.insert(criteria.text.clone(), entry.number) {
                    problems.issues.push(Issue::error(
                        IssueCode::Conflict,
                        place,
                        format!("Entry {first} has the same condition; put the two into one entry."),
                    ));
                }
                found.push((entry.number, criteria));
            }
            Err(Error::Malformed(outcome)) => problems.issues.extend(outcome.issues),
            Err(other) => return Err(other),
        }
    }
    if problems.issues.is_empty() { Ok(found) } else { Err(Error::Malformed(problems)) }
}

/// Puts the plan together: keys, links, references, patches. No I/O.
fn assemble(record: &Record, mut entries: Vec<Entry>, mut found: Found) -> Result<Plan, Error> {
    let mut settled: HashMap<usize, Vec<Change>> = HashMap::new();
    let mut request = Request::raw(ChangeSet::default());
    for entry in &mut entries {
        let Action::Conditional(conditional) = &mut entry.action else { continue };
        let Some(expectation) = found.entries.remove(&entry.number) else {
            return Err(Error::Internal("a condition was not looked up".into()));
        };
        // An update that finds nothing makes a resource, and links to it must know its id.
        if let ConditionalAction::Update { resource, .. } = &mut conditional.action
            && expectation.found.is_empty()
            && resource.id().is_none()
        {
            resource.set_id(&uuid::Uuid::now_v7().to_string());
        }
        let changes = match conditional.settle(&expectation.found, &place(entry.number, "")) {
            Ok(changes) => changes,
            Err(Error::NotFound) if entry.phase == Phase::Delete => Vec::new(),
            Err(error) => return Err(error.at(&place(entry.number, "request.url"))),
        };
        entry.key = changes.first().and_then(key_of);
        settled.insert(entry.number, changes);
        request.criteria.push(expectation);
    }
    check_overlaps(&entries, &settled)?;
    let mut targets = reference::links(&entries)?;
    conditional_targets(record, &entries, &mut found, &mut targets, &mut request)?;

    let mut plan = Plan { request, order: Vec::new() };
    let mut by_phase: Vec<Entry> = entries.into_iter().filter(|e| e.phase != Phase::Call).collect();
    by_phase.sort_by_key(|entry| entry.phase);
    let mut problems = Outcome::default();
    for entry in by_phase {
        let n = entry.number;
        let changes = match settled.remove(&n) {
            Some(changes) => changes,
            None => entry.change().into_iter().collect(),
        };
        for change in changes {
            let mut change = patched(change, n, &mut found, &mut plan.request)?;
            if let Change::Create { resource } | Change::Update { resource, .. } = &mut change {
                reference::rewrite(resource, (n, entry.full_url.as_deref()), &targets, &mut problems);
            }
            plan.request.push(change, place(n, "resource"));
            plan.order.push(n);
        }
    }
    if problems.issues.is_empty() { Ok(plan) } else { Err(Error::Invalid(problems)) }
}

fn patched(change: Change, n: usize, found: &mut Found, request: &mut Request) -> Result<Change, Error> {
    let Change::Patch { key, patch, if_match } = change else { return Ok(change) };
    let Some((before, version)) = found.current.remove(&key) else {
        return Err(Error::Internal("a patched resource was not loaded".into()));
    };
    let resource = patch::apply(&before, &patch, &place(n, "resource"))?;
    request.based_on.push((key, version));
    Ok(Change::Update { resource, if_match })
}

fn key_of(change: &Change) -> Option<ResourceKey> {
    match change {
        Change::Create { resource } | Change::Update { resource, .. } => resource.key(),
        Change::Delete { key, .. } | Change::Patch { key, .. } | Change::Keep { key } => Some(key.clone()),
        Change::Conditional(_) => None,
    }
}

/// Errors: `Malformed` with every entry that changes what another entry changes, or keeps what another deletes.
fn check_overlaps(entries: &[Entry], settled: &HashMap<usize, Vec<Change>>) -> Result<(), Error> {
    let mut changed: HashSet<ResourceKey> = HashSet::with_capacity(entries.len());
    let mut deleted: HashSet<ResourceKey> = HashSet::new();
    let mut kept: Vec<(usize, ResourceKey)> = Vec::new();
    let mut problems = Outcome::default();
    let mut clash = |n: usize| {
        problems.issues.push(Issue::error(
            IssueCode::Duplicate,
            place(n, "request.url"),
            "Another entry of this bundle already changes this resource.",
        ));
    };
    for entry in entries.iter().filter(|entry| entry.phase != Phase::Call) {
        let own = match settled.get(&entry.number) {
            Some(changes) => changes.iter().filter_map(key_of).collect(),
            None => entry.key.iter().cloned().collect::<Vec<_>>(),
        };
        let keeps = settled.get(&entry.number).is_some_and(|c| matches!(c.as_slice(), [Change::Keep { .. }]));
        for key in own {
            if keeps {
                kept.push((entry.number, key));
                continue;
            }
            if entry.phase == Phase::Delete {
                deleted.insert(key.clone());
            }
            if !changed.insert(key) {
                clash(entry.number);
            }
        }
    }
    for (n, key) in kept {
        if deleted.contains(&key) {
            clash(n);
        }
    }
    if problems.issues.is_empty() { Ok(()) } else { Err(Error::Malformed(problems)) }
}

/// Adds what conditional references mean to `targets`: the one stored match, else the one matching entry.
/// Errors: `Invalid` with every reference that means nothing or too much.
fn conditional_targets(
    record: &Record,
    entries: &[Entry],
    found: &mut Found,
    targets: &mut HashMap<String, ResourceKey>,
    request: &mut Request,
) -> Result<(), Error> {
    let mut problems = Outcome::default();
    let mut indexed = HashMap::new();
    for (text, criteria, place, keys) in std::mem::take(&mut found.references) {
        let here = match keys.len() {
            0 => reference::in_bundle(&criteria, entries, &mut indexed, &record.params()),
            _ => Vec::new(),
        };
        match (keys.as_slice(), here.as_slice()) {
            ([one], _) => {
                targets.insert(text, one.clone());
            }
            ([], [one]) => {
                targets.insert(text, (*one).clone());
            }
            ([], []) => problems.issues.push(Issue::error(
                IssueCode::NotFound,
                place,
                "This conditional reference matches nothing, neither stored nor in this bundle.",
            )),
            _ => problems.issues.push(Issue::error(
                IssueCode::MultipleMatches,
                place,
                "This conditional reference matches more than one resource.",
            )),
        }
        request.criteria.push(Expectation { criteria, found: keys });
    }
    if problems.issues.is_empty() { Ok(()) } else { Err(Error::Invalid(problems)) }
}
