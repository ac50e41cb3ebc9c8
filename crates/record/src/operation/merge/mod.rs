//! Two records of one person become one, and apart again: see `docs/adr/006-patient-merge.md`.
//!
//! **Invariant:** a merge is one transaction: nobody ever sees half of it.
//! **Invariant:** what a merge changed is written down with the versions before and after; taking it back restores what
//! nobody has changed since to exactly what it was.

mod person;

pub(crate) use person::drop_duplicate_tag;

use super::parse;
use crate::write::{Request, entries, problems, refuse_part};
use crate::{Change, ChangeSet, Effect, Error, Event, Record, Rule};
use access::{Capability, Ctx};
use fhir::{Outcome, Resource, ResourceKey, Severity, TypeId};
use person::{add_link, asked, forget, joined, link_of, local, point, remove_link};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use store::chart::{self, Bond};
use uuid::Uuid;

/// Resources moved by one merge; what the record may change at once, less the two Patients and the Provenance.
pub const MAX_MOVED: usize = crate::write::MAX_OWN_CHANGES - 10;
/// Plans made anew because somebody wrote meanwhile.
const ATTEMPTS: usize = 4;
/// Rows loaded at once.
const STEP: usize = 256;

/// Types whose references to the superseded Patient stay: they tell of that record, not of the person's care. A
/// Subscription sees with the eyes of whoever wrote it, so nobody else writes it by the way.
pub(crate) const STAYS: [TypeId; 3] = [TypeId::PATIENT, TypeId::PROVENANCE, TypeId::SUBSCRIPTION];

const LIFECYCLE: &str = "http://terminology.hl7.org/CodeSystem/iso-21089-lifecycle";

/// What to merge.
#[derive(Debug, Clone)]
pub struct Merge {
    /// The record that goes out of use.
    pub source: ResourceKey,
    /// The record that stays.
    pub target: ResourceKey,
    /// How the record that stays is to look; `None`: the target with what only the source knows.
    pub result: Option<Resource>,
    /// Only tell what would happen.
    pub preview: bool,
}

/// What a merge did, or would do.
#[derive(Debug, Clone)]
pub struct Merged {
    /// The record that stays, as stored (or as it would be).
    pub result: Resource,
    /// Resources moved, by type.
    pub moved: BTreeMap<&'static str, usize>,
    /// Sign-in accounts that follow.
    pub accounts: usize,
    pub payments: u64,
    pub messages: u64,
}

/// What taking a merge back did.
#[derive(Debug, Clone)]
pub struct Unmerged {
    pub source: Resource,
    pub target: Resource,
    /// Resources that are the source's again.
    pub restored: usize,
    /// Of these: changed since the merge, so that the change stays and only the patient is put back.
    pub changed: Vec<ResourceKey>,
    /// Left with the target, because both records stood in it before; for people to look at.
    pub left: Vec<ResourceKey>,
}

/// A merge planned on what was there when it was planned.
pub(crate) struct Plan {
    pub request: Request,
    pub merged: Merged,
}

/// What record writes into `store::merge`: versions before and after.
struct Undo {
    moved: Vec<(ResourceKey, u32, u32)>,
    source: (u32, u32),
    target: (u32, u32),
    accounts: Vec<i64>,
}

impl Undo {
    fn to_json(&self) -> String {
        let moved: Vec<Value> = self.moved.iter().map(|(key, a, b)| json!([key.to_string(), a, b])).collect();
        json!({"moved": moved, "source": [self.source.0, self.source.1], "target": [self.target.0, self.target.1],
            "accounts": self.accounts})
        .to_string()
    }

    fn parse(bytes: &[u8]) -> Option<Undo> {
        let value: Value = serde_json::from_slice(bytes).ok()?;
        let number = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
        let pair = |v: &Value| Some((number(&v[0])?, number(&v[1])?));
        let moved = value["moved"]
            .as_array()?
            .iter()
            .map(|m| Some((ResourceKey::parse(m[0].as_str()?)?, number(&m[1])?, number(&m[2])?)))
            .collect::<Option<Vec<_>>>()?;
        let accounts = value["accounts"].as_array()?.iter().filter_map(Value::as_i64).collect();
        Some(Undo { moved, source: pair(&value["source"])?, target: pair(&value["target"])?, accounts })
    }
}

impl Record {
    /// Merges two patients. The source goes out of use and is `replaced-by` the target; whatever refers to the source then
    /// refers to the target, in new versions; accounts, payments, messages and held time follow. Doing it again for the
    /// same two moves what has come to the source since.
    /// Errors: `Denied` without [Capability::ResolveDuplicates]; `NotFound`, `Gone`; `Rule` `merge-self`,
    /// `merge-replaced`, `merge-result`, `record-too-large`; `Invalid` for a wrong result; `VersionConflict` if others
    /// keep writing; `NotReady` while an upgrade completes the index.
    pub async fn merge_patients(&self, ctx: &Ctx, merge: &Merge) -> Result<Merged, Error> {
        if !access::policy::may(ctx, Capability::ResolveDuplicates) {
            return Err(self.denied(ctx, "patient.merge", &merge.source.to_string()).await);
        }
        // A merge that is asked for twice is done once, whatever it was sent with.
        let ctx = &Ctx { idempotency_key: None, ..ctx.clone() };
        for attempt in 1.. {
            let Plan { mut request, mut merged } = self.plan_merge(ctx, merge, &[]).await?;
            if merge.preview {
                let patients = [merge.source.id.clone(), merge.target.id.clone()];
                let what = format!("{}/$merge?preview=true", merge.source);
                let done = store::audit::Outcome::Success;
                self.audit_one(ctx, "patient.merge", done, &what, &patients).await?;
                return Ok(merged);
            }
            if request.changes.is_empty() {
                return Ok(merged);
            }
            request.command = Some("patient.merge");
            request.events.push(Event {
                topic: "patient.merged",
                subject: merge.target.clone(),
                data: json!({"source": merge.source.id}),
            });
            match self.commit(ctx, request).await {
                Ok(committed) => {
                    let stored = committed.written.iter().find(|w| w.key == merge.target);
                    if let Some(resource) = stored.and_then(|w| w.resource.as_ref()) {
                        merged.result = (**resource).clone();
                    }
                    return Ok(merged);
                }
                Err(Error::VersionConflict { .. }) if attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Busy)
    }

    /// The writes of a merge. `except` are resources that the caller changes itself. The caller has checked the right.
    pub(crate) async fn plan_merge(
        &self,
        ctx: &Ctx,
        merge: &Merge,
        except: &[ResourceKey],
    ) -> Result<Plan, Error> {
        let (source, target) = (&merge.source, &merge.target);
        if source == target {
            return Err(rule("merge-self", "A record cannot be merged with itself."));
        }
        self.needs_whole_index().await?;
        let system = Ctx::system("merge", self.now());
        let (old, old_version) = self.patient(&system, source).await?;
        let (kept, kept_version) = self.patient(&system, target).await?;
        let again = link_of(&old, "replaced-by");
        if again.as_ref().is_some_and(|other| other != target) {
            return Err(rule("merge-replaced", "The source record was merged into another one already."));
        }
        if link_of(&kept, "replaced-by").is_some() {
            return Err(rule(
                "merge-replaced",
                "The target record was merged away itself; merge into its successor.",
            ));
        }
        let result = match &merge.result {
            Some(result) => {
                let result = asked(result, &kept, &old, source, target)?;
                self.check_result(&result).await?;
                result
            }
            None => joined(kept.clone(), &old, source),
        };
        let mut gone = old.clone();
        gone.set("active", json!(false));
        add_link(&mut gone, target, "replaced-by");
        drop_duplicate_tag(&mut gone);

        let mut request = Request::raw(ChangeSet::default());
        let mut undo = Undo {
            moved: Vec::new(),
            source: (old_version, old_version + 1),
            target: (kept_version, kept_version + 1),
            accounts: Vec::new(),
        };
        // The two Patients first: whoever writes about the source meanwhile waits for their rows.
        let update = |resource, version| Change::Update { resource, if_match: Some(version) };
        if gone == old {
            undo.source.1 = old_version;
        } else {
            request.push(update(gone, old_version), String::new());
        }
        if result == kept {
            undo.target.1 = kept_version;
        } else {
            request.push(update(result.clone(), kept_version), String::new());
        }
        let (rows, stays) = self.referring(source, except).await?;
        let mut moved: BTreeMap<&'static str, usize> = BTreeMap::new();
        for (mut resource, version) in rows {
            let Some(key) = resource.key() else { continue };
            point(&mut resource, source, target);
            *moved.entry(key.kind.name()).or_default() += 1;
            undo.moved.push((key, version, version + 1));
            request.push(update(resource, version), String::new());
        }
        let subject = source.clone();
        let (accounts, counts) = self
            .reading(move |tx| {
                Ok((store::account::by_patient(tx, &subject)?, store::merge::count(tx, &subject)?))
            })
            .await?;
        for account in &accounts {
            undo.accounts.push(account.id);
            request.effects.push(account_to(account.id, target));
        }
        let merged =
            Merged { result, moved, accounts: accounts.len(), payments: counts.0, messages: counts.1 };
        if request.changes.is_empty() && request.effects.is_empty() && counts == (0, 0) {
            // Merged before, and nothing has come since.
            return Ok(Plan { request, merged });
        }
        let provenance = provenance(ctx, &[target, source], "merge", self.now())?;
        request.push(Change::Create { resource: provenance }, String::new());
        request.effects.push(Effect::Merge {
            merge: store::merge::New {
                id: Uuid::now_v7(),
                source: source.clone(),
                target: target.clone(),
                at: self.now(),
                content: undo.to_json(),
            },
            stays,
        });
        // The desk decides, but what moves includes clinical rows that the desk may not open: the record itself moves
        // them, on the desk's behalf, and the audit names the desk.
        request.on_behalf = true;
        Ok(Plan { request, merged })
    }

    /// Takes every merge of `source` that is in force back: what nobody has changed since becomes exactly what it was, in
    /// a new version; what was changed since keeps the change and gets its patient back.
    /// Errors: `Denied`; `NotFound`; `Rule` `not-merged`; `VersionConflict` if others keep writing; `NotReady`.
    pub async fn unmerge_patients(
        &self,
        ctx: &Ctx,
        source: &ResourceKey,
        target: Option<&ResourceKey>,
    ) -> Result<Unmerged, Error> {
        if !access::policy::may(ctx, Capability::ResolveDuplicates) {
            return Err(self.denied(ctx, "patient.unmerge", &source.to_string()).await);
        }
        let ctx = &Ctx { idempotency_key: None, ..ctx.clone() };
        for attempt in 1.. {
            let (request, mut unmerged) = self.plan_unmerge(ctx, source, target).await?;
            match self.commit(ctx, request).await {
                Ok(committed) => {
                    for written in committed.written {
                        let Some(resource) = written.resource else { continue };
                        if written.key == *source {
                            unmerged.source = (*resource).clone();
                        } else if written.key.kind == TypeId::PATIENT {
                            unmerged.target = (*resource).clone();
                        }
                    }
                    return Ok(unmerged);
                }
                Err(Error::VersionConflict { .. }) if attempt < ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Busy)
    }

    async fn plan_unmerge(
        &self,
        ctx: &Ctx,
        source: &ResourceKey,
        target: Option<&ResourceKey>,
    ) -> Result<(Request, Unmerged), Error> {
        self.needs_whole_index().await?;
        let system = Ctx::system("merge", self.now());
        let subject = source.clone();
        let merges = self.reading(move |tx| Ok(store::merge::in_force(tx, &subject)?)).await?;
        let not_merged = || rule("not-merged", "There is no merge of this record that could be taken back.");
        let kept_key = merges.first().map(|m| m.target.clone()).ok_or_else(not_merged)?;
        if target.is_some_and(|target| *target != kept_key) {
            return Err(not_merged());
        }
        // Newest first; what an earlier merge moved goes back to before that.
        let mut spans: BTreeMap<ResourceKey, (u32, u32)> = BTreeMap::new();
        let mut accounts: Vec<i64> = Vec::new();
        let (mut source_span, mut target_span) = ((0, 0), (0, 0));
        for merge in merges.iter().filter(|m| m.target == kept_key) {
            let undo = Undo::parse(&merge.content)
                .ok_or_else(|| Error::Internal("a stored merge cannot be read".into()))?;
            for (key, before, after) in undo.moved {
                spans.entry(key).and_modify(|span| span.0 = before).or_insert((before, after));
            }
            for (span, part) in [(&mut source_span, undo.source), (&mut target_span, undo.target)] {
                *span = (part.0, if span.1 == 0 { part.1 } else { span.1 });
            }
            accounts.extend(undo.accounts);
        }
        let mut request = Request::raw(ChangeSet::default());
        request.command = Some("patient.unmerge");
        request.on_behalf = true;
        let old = self
            .turned_back(&system, source, source_span, |now, _| {
                now.set("active", Value::Null);
                remove_link(now, &kept_key, "replaced-by");
            })
            .await?;
        let learned = old.0.clone();
        let kept = self
            .turned_back(&system, &kept_key, target_span, |now, before| {
                remove_link(now, source, "replaces");
                for list in ["identifier", "telecom", "name", "address"] {
                    forget(now, before, &learned, list);
                }
            })
            .await?;
        let mut unmerged = Unmerged {
            source: old.0.clone(),
            target: kept.0.clone(),
            restored: 0,
            changed: Vec::new(),
            left: Vec::new(),
        };
        let update = |(resource, version)| Change::Update { resource, if_match: Some(version) };
        request.push(update(old), String::new());
        request.push(update(kept), String::new());
        let pairs = self.pairs(spans.iter().map(|(key, span)| (key.clone(), span.0)).collect()).await?;
        for ((key, (_, after)), pair) in spans.into_iter().zip(pairs) {
            // Deleted since: stays deleted.
            let Some((now, version, before)) = pair else { continue };
            let back = if version == after {
                before
            } else if local(&before, &kept_key) {
                unmerged.left.push(key);
                continue;
            } else {
                let mut now = now;
                point(&mut now, &kept_key, source);
                unmerged.changed.push(key);
                now
            };
            unmerged.restored += 1;
            request.push(update((back, version)), String::new());
        }
        let follows = kept_key.clone();
        let there = self.reading(move |tx| Ok(store::account::by_patient(tx, &follows)?)).await?;
        for account in accounts.into_iter().filter(|id| there.iter().any(|a| a.id == *id)) {
            request.effects.push(account_to(account, source));
        }
        for merge in merges.iter().filter(|m| m.target == kept_key) {
            request.effects.push(Effect::Unmerge { id: merge.id });
        }
        let provenance = provenance(ctx, &[source, &kept_key], "unmerge", self.now())?;
        request.push(Change::Create { resource: provenance }, String::new());
        request.events.push(Event {
            topic: "patient.unmerged",
            subject: kept_key,
            data: json!({"source": source.id}),
        });
        Ok((request, unmerged))
    }

    /// What the client makes of the record that stays is held to what every write is; what only moves is not.
    /// Errors: `Invalid`, `Duplicate` `subsetted`.
    async fn check_result(&self, result: &Resource) -> Result<(), Error> {
        refuse_part(result)?;
        let mut issues = problems(result);
        issues.retain(|i| matches!(i.severity, Severity::Fatal | Severity::Error));
        let params = self.params();
        issues.extend(entries::check(&params, result, &entries::entries_of(&params, result)).err());
        if !issues.is_empty() {
            return Err(Error::Invalid(Outcome { issues }));
        }
        let change = [Change::Update { resource: result.clone(), if_match: None }];
        self.check_profiles(&change, &[String::new()]).await?;
        self.scan_files(&change).await
    }

    /// A Patient that is there. Errors: `NotFound`, `Gone`.
    async fn patient(&self, system: &Ctx, key: &ResourceKey) -> Result<(Resource, u32), Error> {
        let stored = self.read(system, key).await?;
        Ok((stored.parse()?, stored.version))
    }

    /// Everything but [STAYS] that refers to the source, and the row numbers of what refers to it and stays all the same
    /// (what the caller changes itself). Errors: `Rule` `record-too-large`.
    async fn referring(
        &self,
        source: &ResourceKey,
        except: &[ResourceKey],
    ) -> Result<(Vec<(Resource, u32)>, Vec<i64>), Error> {
        let (source, except) = (source.clone(), except.to_vec());
        self.reading(move |tx| {
            let rids = chart::members(tx, &source, Bond::Reference, &[])?;
            let (mut rows, mut stays) = (Vec::new(), Vec::new());
            for step in rids.chunks(STEP) {
                for row in chart::rows(tx, step)? {
                    if STAYS.contains(&row.key.kind) {
                        continue;
                    }
                    let resource = parse(&row)?;
                    if except.contains(&row.key) || !local(&resource, &source) {
                        stays.push(row.rid);
                        continue;
                    }
                    if rows.len() >= MAX_MOVED {
                        let text = format!("More than {MAX_MOVED} resources would have to move.");
                        return Err(rule("record-too-large", &text));
                    }
                    rows.push((resource, row.version));
                }
            }
            Ok((rows, stays))
        })
        .await
    }

    /// The Patient as before the merge if it has not changed since, else as it is now, put right by `mend(now, before)`;
    /// and its current version.
    async fn turned_back(
        &self,
        system: &Ctx,
        key: &ResourceKey,
        (before, after): (u32, u32),
        mend: impl FnOnce(&mut Resource, &Resource),
    ) -> Result<(Resource, u32), Error> {
        let (mut now, version) = self.patient(system, key).await?;
        let found = self.pairs(vec![(key.clone(), before)]).await?.pop().flatten();
        let (_, _, then) = found.ok_or(Error::NotFound)?;
        if version == after {
            return Ok((then, version));
        }
        mend(&mut now, &then);
        if now.get("active").is_none()
            && let Some(active) = then.get("active")
        {
            now.set("active", active.clone());
        }
        Ok((now, version))
    }

    /// Each resource now, its version, and as it was in the version named; `None` if it is deleted.
    async fn pairs(&self, wanted: Vec<(ResourceKey, u32)>) -> Result<Vec<Option<Pair>>, Error> {
        let mut found = Vec::with_capacity(wanted.len());
        for step in wanted.chunks(STEP) {
            let step = step.to_vec();
            found.extend(
                self.reading(move |tx| {
                    step.iter().map(|(key, before)| pair(tx, key, *before)).collect::<Result<Vec<_>, _>>()
                })
                .await?,
            );
        }
        Ok(found)
    }
}

/// A resource now, its version, and as it was.
type Pair = (Resource, u32, Resource);

fn pair(tx: &mut dyn store::Tx, key: &ResourceKey, before: u32) -> Result<Option<Pair>, Error> {
    let Some(row) = store::resource::load(tx, key)?.filter(|row| !row.deleted) else { return Ok(None) };
    let then = store::resource::read_version(tx, key, before)?
        .filter(|version| !version.deleted)
        .ok_or_else(|| Error::Internal(format!("{key} has lost version {before}")))?;
    let then = Resource::parse(&then.content)
        .map_err(|o| Error::Internal(format!("stored {key} version {before}: {o}")))?;
    Ok(Some((parse(&row)?, row.version, then)))
}

fn rule(code: &'static str, text: &str) -> Error {
    Error::Rule(Rule::new(code, text))
}

fn account_to(account: i64, patient: &ResourceKey) -> Effect {
    Effect::AccountUpdate(store::account::Update {
        account,
        patient: Some(Some(patient.clone())),
        ..store::account::Update::default()
    })
}

fn provenance(
    ctx: &Ctx,
    patients: &[&ResourceKey],
    activity: &str,
    now: jiff::Timestamp,
) -> Result<Resource, Error> {
    let who = match ctx.user().and_then(|user| user.practitioner.as_ref()) {
        Some(practitioner) => json!({"reference": practitioner.to_string()}),
        None => json!({"identifier": {"system": "https://uzima.health/fhir/identifier/agent",
            "value": ctx.principal.agent()}, "display": ctx.principal.display()}),
    };
    let target: Vec<Value> = patients.iter().map(|key| json!({"reference": key.to_string()})).collect();
    Resource::from_value(json!({
        "resourceType": "Provenance",
        "id": Uuid::now_v7().to_string(),
        "target": target,
        "recorded": format!("{now:.3}"),
        "activity": {"coding": [{"system": LIFECYCLE, "code": activity}]},
        "agent": [{"who": who}],
    }))
    .map_err(|o| Error::Internal(o.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_can_be_read() {
        let key = ResourceKey::parse("Observation/1").unwrap();
        let undo =
            Undo { moved: vec![(key.clone(), 3, 4)], source: (1, 2), target: (5, 6), accounts: vec![7] };
        let read = Undo::parse(undo.to_json().as_bytes()).unwrap();
        assert_eq!((read.moved, read.source, read.accounts), (vec![(key, 3, 4)], (1, 2), vec![7]));
        assert!(Undo::parse(b"{}").is_none());
    }
}
