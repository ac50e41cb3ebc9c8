//! Inside the transaction: idempotency, versions, policy, references, rows, audit, outbox.

mod again;
mod allow;

use super::entries::stored_entries;
use super::idempotency::Idempotency;
use super::prepare::same_content;
use super::{Prepared, Put, Request, Stop, criteria, effect, merged, time};
use crate::change::ABSENT;
use crate::rights::Version;
use crate::rights::derived::Writer;
use crate::rights::veil::{Lens, Row, Shown, Veil};
use crate::{Committed, Error, Record, Rule, Written};
use access::policy;
use access::{Action, Ctx};
use fhir::search::IndexEntry;
use fhir::{Outcome, Resource, ResourceKey, TypeId};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use store::audit::Outcome as AuditOutcome;
use store::{Content, Tx, outbox, resource};

impl Record {
    pub(super) async fn apply(
        &self,
        ctx: &Ctx,
        (request, lens): (&Arc<Request>, Lens),
        prepared: Vec<Prepared>,
        now: Timestamp,
    ) -> Result<Committed, Stop> {
        self.refuse_early(ctx, request, &prepared)?;
        let job = Job {
            record: self.clone(),
            lens,
            ctx: ctx.clone(),
            request: request.clone(),
            keys: prepared
                .iter()
                .enumerate()
                .filter(|(_, p)| matches!(p, Prepared::Put(_)))
                .map(|(n, p)| (p.key().clone(), n))
                .collect(),
            prepared,
            now,
            audit: self.audit_event(ctx, request.command.unwrap_or_default(), AuditOutcome::Success, "", &[]),
        };
        let (committed, numbers) = self.inner.store.write(move |tx| job.run(tx)).await?;
        if let Some((first, last)) = numbers {
            self.committed(first, last);
        }
        for effect in &request.effects {
            if let crate::Effect::AccountUpdate(change) = effect {
                self.forget_account(change.account);
            }
        }
        Ok(committed)
    }

    /// What no row could make right is refused without taking the write lock.
    fn refuse_early(&self, ctx: &Ctx, request: &Request, prepared: &[Prepared]) -> Result<(), Error> {
        if request.on_behalf {
            return Ok(());
        }
        for (change, place) in prepared.iter().zip(&request.places) {
            let actions: &[Action] = match change {
                Prepared::Put(put) if put.creates => &[Action::Create],
                Prepared::Put(_) => &[Action::Update, Action::Create],
                Prepared::Delete { .. } => &[Action::Delete],
                Prepared::Keep { .. } => &[Action::Read],
            };
            if actions
                .iter()
                .all(|a| rights(ctx, request, *a, change.key().kind) == access::Predicate::Nothing)
            {
                return Err(Error::Denied.at(entry(place)));
            }
        }
        Ok(())
    }
}

/// `Bundle.entry[3]` of `Bundle.entry[3].resource`.
fn entry(place: &str) -> &str {
    place.strip_suffix(".resource").unwrap_or(place)
}

fn rights(ctx: &Ctx, request: &Request, action: Action, kind: TypeId) -> access::Predicate {
    match request.command {
        Some(_) => policy::command_predicate(ctx, action, kind),
        None => policy::predicate(ctx, action, kind),
    }
}

/// One request on its way through the transaction. `run` may be called again after a serialization failure.
struct Job {
    record: Record,
    lens: Lens,
    ctx: Ctx,
    request: Arc<Request>,
    prepared: Vec<Prepared>,
    /// Everything this request puts, by its place in `prepared`: references may point at it before it is there.
    keys: HashMap<ResourceKey, usize>,
    now: Timestamp,
    /// Who, from where, what for; each change fills in the rest.
    audit: store::audit::Event,
}

/// References that were found to lead somewhere, each with whether it was looked at for merges too.
type Known<'a> = HashSet<(&'a ResourceKey, bool)>;

/// Lowest and highest event number.
type Numbers = Option<(i64, i64)>;

impl Job {
    fn run(&self, tx: &mut dyn Tx) -> Result<(Committed, Numbers), Stop> {
        let idempotency = Idempotency::of(&self.ctx, &self.request);
        if let Some(idempotency) = &idempotency
            && let Some(replayed) = idempotency.begin(tx, self.now)?
        {
            return Ok((self.seen_again(tx, replayed)?, None));
        }
        for code in &self.request.codes {
            if !store::one_time_code::use_up(tx, code)? {
                let rule = Rule::new("code-expired", "This code was just used.").at("/code");
                return Err(Error::Rule(rule).into());
            }
        }
        if !criteria::still_hold(tx, &self.ctx, &self.request.criteria, self.now)? {
            return Err(Stop::Stale);
        }
        for (key, version) in &self.request.based_on {
            if resource::hold(tx, key)?.is_none_or(|head| head.deleted || head.version != *version) {
                return Err(Stop::Stale);
            }
        }
        for (key, version) in &self.request.expect {
            let current = resource::hold(tx, key)?.filter(|h| !h.deleted).map(|h| h.version);
            if current != Some(*version) {
                return Err(Error::VersionConflict { current }.into());
            }
        }
        let mut known = Known::new();
        let mut problems = Outcome::default();
        let mut written = Vec::with_capacity(self.prepared.len());
        let mut numbers = None;
        let mut count = |seq: i64| {
            let (first, last) = numbers.unwrap_or((seq, seq));
            numbers = Some((first.min(seq), last.max(seq)));
        };
        for (change, place) in self.prepared.iter().zip(&self.request.places) {
            let done = match change {
                Prepared::Put(put) => self.put(tx, put, &mut known, &mut problems),
                Prepared::Delete { key, if_match } => match self.delete(tx, key, *if_match) {
                    // In a bundle a delete of what is not there is done (http://hl7.org/fhir/R4/http.html#delete).
                    Err(Error::NotFound) if !place.is_empty() => Ok(never_there(key, self.now)),
                    other => other,
                },
                Prepared::Keep { key } => self.keep(tx, key),
            };
            let mut done = done.map_err(|error| error.at(entry(place)))?;
            crate::subscription::after_write(tx, &self.ctx, &done, &self.request)?;
            if !done.unchanged {
                crate::search_parameter::after_write(tx, &done.key, done.resource.as_deref(), self.now)?;
                if self.is_raw() {
                    time::settle(tx, &done.key, done.resource.as_deref(), self.now)
                        .map_err(|error| error.at(entry(place)))?;
                }
                count(done.seq);
            }
            // Of a chart that moves nobody looks at the new versions but those of the patients; they are many.
            if self.request.on_behalf && idempotency.is_none() && done.key.kind != TypeId::PATIENT {
                done.resource = None;
            }
            written.push(done);
        }
        if !problems.issues.is_empty() {
            return Err(Error::Invalid(problems).into());
        }
        for effect in &self.request.effects {
            effect::run(tx, effect)?;
        }
        for event in &self.request.events {
            let patients = self.patients_of(tx, &event.subject)?;
            let new = outbox::NewEvent {
                topic: event.topic.to_owned(),
                subject: event.subject.clone(),
                patients,
                data: self.with_cause(event.data.clone()),
                created: self.now,
            };
            // A command that moved money or jobs but no resource leaves its trace by what it was about.
            if self.prepared.is_empty() && self.ctx.user().is_some() {
                self.record(tx, "update", &new.subject, &new.patients)?;
            }
            count(outbox::append(tx, &new)?);
        }
        let committed = Committed { replayed: false, written };
        if let Some(idempotency) = &idempotency {
            idempotency.finish(tx, &committed)?;
        }
        Ok((committed, numbers))
    }

    fn put<'a>(
        &'a self,
        tx: &mut dyn Tx,
        put: &'a Put,
        known: &mut Known<'a>,
        problems: &mut Outcome,
    ) -> Result<Written, Error> {
        if put.creates {
            self.allow_content(tx, Action::Create, put, &[])?;
            self.check_references(tx, put, None, known, problems)?;
            let entries = put.entries(&self.record.params());
            if let Some(written) = resource::insert(tx, &new_version(put, &put.content, &entries))? {
                return self.created(tx, put, written);
            }
            return self.taken(tx, put);
        }
        let Some(current) = resource::load(tx, &put.key)? else {
            if put.if_match.is_some_and(|version| version != ABSENT) {
                return Err(Error::VersionConflict { current: None });
            }
            self.allow_content(tx, Action::Create, put, &[])?;
            self.check_references(tx, put, None, known, problems)?;
            let entries = put.entries(&self.record.params());
            return match resource::insert(tx, &new_version(put, &put.content, &entries))? {
                Some(written) => self.created(tx, put, written),
                // Somebody made it meanwhile.
                None => Err(tx.conflict().into()),
            };
        };
        // Rights first: a conflict must not tell what the caller may not know.
        self.allow(tx, Action::Update, &put.key, &current.patients)?;
        if let Some(expected) = put.if_match
            && !(if current.deleted { expected == ABSENT } else { expected == current.version })
        {
            return Err(Error::VersionConflict { current: (!current.deleted).then_some(current.version) });
        }
        let before = parse(&current)?;
        if let Some(before) = before.as_ref().filter(|_| !self.request.restored.contains(&put.key)) {
            self.check_whole(tx, &current, before)?;
        }
        self.allow_content(tx, Action::Update, put, &current.patients)?;
        if before.as_ref().is_some_and(|b| same_content(b.value(), put.resource.value())) {
            self.record(tx, "update", &put.key, &put.patients)?;
            return Ok(Written {
                key: put.key.clone(),
                version: current.version,
                seq: current.seq,
                last_updated: current.last_updated,
                created: false,
                unchanged: true,
                resource: before.map(Arc::new),
            });
        }
        self.check_finished(before.as_ref(), Some(&put.resource))?;
        if !self.request.on_behalf
            && let Some(rule) = merged::revives(tx, &put.key, before.as_ref(), &put.resource)?
        {
            return Err(Error::Rule(rule));
        }
        self.check_references(tx, put, before.as_ref(), known, problems)?;
        let mut next = Resource::clone(&put.resource);
        next.set_version(current.version + 1, self.now);
        let content = Content::new(&next.to_json());
        let params = self.record.params();
        let old = before.as_ref().map(|r| stored_entries(&params, r)).unwrap_or_default();
        let entries = put.entries(&params);
        // Somebody else was faster: the next try meets what is there then.
        let Some(written) =
            resource::update(tx, current.version, &old, &new_version(put, &content, &entries))?
        else {
            return Err(tx.conflict().into());
        };
        super::care::follow(tx, &self.ctx, &put.key, &put.links, self.now)?;
        crate::rights::derived::after_write(
            tx,
            Some(self.writer(&put.key)),
            put,
            written.rid,
            before.as_ref(),
        )?;
        self.record(tx, "update", &put.key, &put.patients)?;
        let (topic, created) =
            if current.deleted { ("resource.created", true) } else { ("resource.updated", false) };
        // Whoever could see it before must learn that it has gone elsewhere.
        let mut patients = put.patients.clone();
        patients.extend(current.patients.iter().filter(|p| !put.patients.contains(p)).cloned());
        self.announce(tx, topic, &put.key, &patients, &written)?;
        Ok(Written {
            key: put.key.clone(),
            version: written.version,
            seq: written.seq,
            last_updated: self.now,
            created,
            unchanged: false,
            resource: Some(Arc::new(next)),
        })
    }

    fn created(&self, tx: &mut dyn Tx, put: &Put, written: resource::Written) -> Result<Written, Error> {
        if !put.links.is_empty() {
            super::care::follow(tx, &self.ctx, &put.key, &put.links, self.now)?;
        }
        crate::rights::derived::after_write(tx, Some(self.writer(&put.key)), put, written.rid, None)?;
        self.record(tx, "create", &put.key, &put.patients)?;
        self.announce(tx, "resource.created", &put.key, &put.patients, &written)?;
        Ok(Written {
            key: put.key.clone(),
            version: written.version,
            seq: written.seq,
            last_updated: self.now,
            created: true,
            unchanged: false,
            resource: Some(put.resource.clone()),
        })
    }

    /// A create whose id is there: the same content is a repeat, anything else another resource.
    fn taken(&self, tx: &mut dyn Tx, put: &Put) -> Result<Written, Error> {
        let duplicate = || {
            Error::Duplicate(Rule::new("id-taken", "Another resource has this id; leave it out.").at("/id"))
        };
        let current = resource::load(tx, &put.key)?.ok_or_else(duplicate)?;
        let before = parse(&current)?.ok_or_else(duplicate)?;
        if !same_content(before.value(), put.resource.value()) {
            return Err(duplicate());
        }
        self.record(tx, "create", &put.key, &put.patients)?;
        Ok(Written {
            key: put.key.clone(),
            version: current.version,
            seq: current.seq,
            last_updated: current.last_updated,
            created: false,
            unchanged: true,
            resource: Some(Arc::new(before)),
        })
    }

    fn delete(&self, tx: &mut dyn Tx, key: &ResourceKey, if_match: Option<u32>) -> Result<Written, Error> {
        let Some(current) = resource::load(tx, key)? else {
            return Err(if if_match.is_some() {
                Error::VersionConflict { current: None }
            } else {
                Error::NotFound
            });
        };
        self.allow(tx, Action::Delete, key, &current.patients)?;
        let done = |version, seq, last_updated, unchanged| Written {
            key: key.clone(),
            version,
            seq,
            last_updated,
            created: false,
            unchanged,
            resource: None,
        };
        if if_match.is_some_and(|expected| expected != current.version) {
            return Err(Error::VersionConflict { current: (!current.deleted).then_some(current.version) });
        }
        if current.deleted {
            return Ok(done(current.version, current.seq, current.last_updated, true));
        }
        let before = parse(&current)?;
        self.check_finished(before.as_ref(), None)?;
        let params = self.record.params();
        let old = before.as_ref().map(|r| stored_entries(&params, r)).unwrap_or_default();
        let Some(written) = resource::delete(tx, key, current.version, &old, self.now)? else {
            return Err(tx.conflict().into());
        };
        super::care::follow(tx, &self.ctx, key, &[], self.now)?;
        crate::rights::derived::after_delete(tx, key)?;
        self.record(tx, "delete", key, &current.patients)?;
        self.announce(tx, "resource.deleted", key, &current.patients, &written)?;
        Ok(done(written.version, written.seq, self.now, false))
    }

    fn writer(&self, key: &ResourceKey) -> Writer<'_> {
        Writer { ctx: &self.ctx, blind: self.request.restored.contains(key) }
    }

    /// Nobody replaces what she sees only a part of: the rest would be lost.
    fn check_whole(
        &self,
        tx: &mut dyn Tx,
        current: &resource::Stored,
        before: &Resource,
    ) -> Result<(), Error> {
        if self.request.on_behalf {
            return Ok(());
        }
        let predicate = rights(&self.ctx, &self.request, Action::Update, current.key.kind);
        let mut veil = Veil::new(&self.ctx, self.lens.clone(), self.now);
        if !veil.may_hide(tx, &predicate, current.rid)? {
            return Ok(());
        }
        let row = Row { key: &current.key, rid: current.rid, patients: &current.patients };
        match veil.show(tx, &predicate, &row, before, Version::Current)? {
            Shown::Whole => Ok(()),
            Shown::Part(_) => Err(super::hidden_parts()),
            Shown::Nothing => Err(Error::Denied),
        }
    }

    /// A conditional create that found its resource.
    fn keep(&self, tx: &mut dyn Tx, key: &ResourceKey) -> Result<Written, Error> {
        let current = resource::load(tx, key)?.ok_or(Error::NotFound)?;
        self.allow(tx, Action::Read, key, &current.patients)?;
        let mut resource = parse(&current)?.ok_or(Error::Gone)?;
        if !self.request.on_behalf {
            let predicate = rights(&self.ctx, &self.request, Action::Read, key.kind);
            let mut veil = Veil::new(&self.ctx, self.lens.clone(), self.now);
            if veil.may_hide(tx, &predicate, current.rid)? {
                let row = Row { key, rid: current.rid, patients: &current.patients };
                match veil.show(tx, &predicate, &row, &resource, Version::Current)? {
                    Shown::Whole => {}
                    Shown::Part(part) => resource = part,
                    Shown::Nothing => return Err(Error::Denied),
                }
            }
        }
        self.record(tx, "read", key, &current.patients)?;
        Ok(Written {
            key: key.clone(),
            version: current.version,
            seq: current.seq,
            last_updated: current.last_updated,
            created: false,
            unchanged: true,
            resource: Some(Arc::new(resource)),
        })
    }

    fn record(
        &self,
        tx: &mut dyn Tx,
        action: &str,
        key: &ResourceKey,
        patients: &[String],
    ) -> Result<(), Error> {
        let mut event = self.audit.clone();
        event.at = self.now;
        if event.action.is_empty() {
            event.action = action.to_owned();
        }
        event.what = key.to_string();
        event.patients = patients.to_vec();
        event.purpose = self.ctx.purpose_for(patients);
        Ok(store::audit::append(tx, std::slice::from_ref(&event))?)
    }

    fn announce(
        &self,
        tx: &mut dyn Tx,
        topic: &str,
        key: &ResourceKey,
        patients: &[String],
        written: &resource::Written,
    ) -> Result<(), Error> {
        let event = outbox::NewEvent {
            topic: topic.to_owned(),
            subject: key.clone(),
            patients: patients.to_vec(),
            data: self.with_cause(json!({"version": written.version})),
            created: self.now,
        };
        Ok(outbox::append_at(tx, written.seq, &event)?)
    }

    fn with_cause(&self, mut data: Value) -> Value {
        if let Some(cause) = self.ctx.cause {
            if data.is_null() {
                data = json!({});
            }
            if let Some(object) = data.as_object_mut() {
                object.insert("cause".into(), json!(cause));
            }
        }
        data
    }

    fn patients_of(&self, tx: &mut dyn Tx, subject: &ResourceKey) -> Result<Vec<String>, Error> {
        let own = self.prepared.iter().find_map(|p| match p {
            Prepared::Put(put) if put.key == *subject => Some(put.patients.clone()),
            _ => None,
        });
        match own {
            Some(patients) => Ok(patients),
            None => Ok(resource::head(tx, subject)?.map(|h| h.patients).unwrap_or_default()),
        }
    }
}

fn absent(target: &ResourceKey, expression: &str) -> fhir::Issue {
    let text = format!("There is no {} with this id.", target.kind.name());
    fhir::Issue::error(fhir::IssueCode::NotFound, expression, text)
}

fn never_there(key: &ResourceKey, now: Timestamp) -> Written {
    Written {
        key: key.clone(),
        version: 0,
        seq: 0,
        last_updated: now,
        created: false,
        unchanged: true,
        resource: None,
    }
}

pub(super) fn new_version<'a>(
    put: &'a Put,
    content: &'a Content,
    entries: &'a [IndexEntry],
) -> resource::New<'a> {
    resource::New { key: &put.key, last_updated: put.last_updated, content, entries, patients: &put.patients }
}

/// The stored resource; `None` if it is deleted.
pub(super) fn parse(stored: &resource::Stored) -> Result<Option<Resource>, Error> {
    if stored.deleted {
        return Ok(None);
    }
    Resource::parse(&stored.content)
        .map(Some)
        .map_err(|o| Error::Internal(format!("stored {}: {o}", stored.key)))
}
