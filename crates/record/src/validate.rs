//! Validation against the profiles and terminologies that are stored here: `$validate`, and `meta.profile` of what is
//! written. What every write is checked for anyway is in [fhir::validate::validate].
//!
//! Profiles and terminologies are nobody's data: being signed in is enough. What `$validate` looks up behind references
//! is somebody's: only what the caller may read is there, and what was looked at is audited.

use crate::rights::veil::{Lens, Veil};
use crate::terminology::{self, Subsumption};
use crate::{Change, Error, Record};
use access::policy;
use access::{Action, Ctx, Predicate, Principal};
use fhir::path::Arena;
use fhir::validate::{Membership, Options, Profile, Profiles, validate_with};
use fhir::{Issue, IssueCode, Outcome, Reference, Resource, ResourceKey, Severity, TypeId, definitions};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use store::Tx;

/// How long an answer counts without asking the database: so late does a process see what another one stored.
const FRESH: SignedDuration = SignedDuration::from_secs(2);
/// Canonicals remembered, found or not; beyond it all are forgotten.
const MAX_KNOWN: usize = 2_000;
/// Profiles of one type that are listed.
const MAX_CLAIMED: usize = 200;
/// Resources that one `$validate` looks up behind references.
const MAX_TARGETS: usize = 200;
/// Where FHIR's own types have their profiles, which every resource fits.
const BASE: &str = "http://hl7.org/fhir/StructureDefinition/";

/// Compiled profiles of this process, by canonical.
#[derive(Default)]
pub(crate) struct Cache {
    known: Mutex<HashMap<String, Known>>,
}

#[derive(Clone)]
struct Known {
    asked: Timestamp,
    found: Option<Found>,
}

#[derive(Clone)]
struct Found {
    rid: i64,
    version: i64,
    profile: Arc<Profile>,
    /// What it was compiled on.
    base: Option<Arc<Profile>>,
    base_url: String,
}

impl Cache {
    fn fresh(&self, canonical: &str, now: Timestamp) -> Option<Known> {
        let known = self.known.lock().get(canonical).cloned()?;
        (now.duration_since(known.asked).abs() <= FRESH).then_some(known)
    }
    fn keep(&self, canonical: &str, known: Known) {
        let mut all = self.known.lock();
        if all.len() >= MAX_KNOWN {
            all.clear();
        }
        all.insert(canonical.to_owned(), known);
    }
    /// A StructureDefinition was written here.
    pub fn forget(&self) {
        self.known.lock().clear();
    }
}

/// Profiles and terminology inside one transaction.
struct Inside<'t> {
    tx: RefCell<&'t mut dyn Tx>,
    terminology: &'t terminology::Terminology,
    cache: &'t Cache,
    now: Timestamp,
    /// Canonicals that are being compiled: a circle ends here.
    under_way: RefCell<HashSet<String>>,
    /// The first error of the database; what was found after it counts for nothing.
    failed: RefCell<Option<Error>>,
}

impl Inside<'_> {
    fn ask<T>(&self, work: impl FnOnce(&mut dyn Tx) -> Result<T, Error>) -> Option<T> {
        if self.failed.borrow().is_some() {
            return None;
        }
        let result = work(&mut **self.tx.borrow_mut());
        match result {
            Ok(found) => Some(found),
            Err(error) => {
                *self.failed.borrow_mut() = Some(error);
                None
            }
        }
    }

    fn find(&self, canonical: &str) -> Option<Found> {
        let (url, version) = match canonical.split_once('|') {
            Some((url, version)) => (url, Some(version)),
            None => (canonical, None),
        };
        let kind = TypeId::from_name("StructureDefinition")?;
        let param = definitions::param(kind, "url")?.id;
        let rows = self.ask(|tx| Ok(store::terminology::resources(tx, kind, param, url)?))?;
        let before = self.cache.known.lock().get(canonical).and_then(|k| k.found.clone());
        for row in rows {
            if let Some(found) = before.clone().filter(|f| (f.rid, f.version) == (row.rid, row.version)) {
                let base = self.base(&found.base_url);
                let same = match (&base, &found.base) {
                    (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                    (None, None) => true,
                    _ => false,
                };
                if same {
                    return Some(found);
                }
            }
            let bytes = self.ask(|tx| Ok(store::terminology::content(tx, row.rid)?))?;
            let Some(definition) = bytes.and_then(|b| serde_json::from_slice::<serde_json::Value>(&b).ok())
            else {
                continue;
            };
            let text = |key: &str| definition.get(key).and_then(serde_json::Value::as_str);
            if version.is_some_and(|v| text("version") != Some(v)) {
                continue;
            }
            let base_url = match definition.get("snapshot") {
                // A snapshot says everything, whatever its base.
                Some(_) => String::new(),
                None => text("baseDefinition").unwrap_or_default().to_owned(),
            };
            let base = self.base(&base_url);
            let Ok(profile) = Profile::compile(&definition, self) else { continue };
            return Some(Found {
                rid: row.rid,
                version: row.version,
                profile: Arc::new(profile),
                base,
                base_url,
            });
        }
        None
    }

    fn base(&self, url: &str) -> Option<Arc<Profile>> {
        if url.is_empty() || url.starts_with(BASE) { None } else { self.profile(url) }
    }
}

impl Profiles for Inside<'_> {
    fn profile(&self, canonical: &str) -> Option<Arc<Profile>> {
        if let Some(known) = self.cache.fresh(canonical, self.now) {
            return known.found.map(|f| f.profile);
        }
        if !self.under_way.borrow_mut().insert(canonical.to_owned()) {
            return None;
        }
        let found = self.find(canonical);
        self.under_way.borrow_mut().remove(canonical);
        if self.failed.borrow().is_none() {
            self.cache.keep(canonical, Known { asked: self.now, found: found.clone() });
        }
        found.map(|f| f.profile)
    }
}

impl fhir::validate::Terminology for Inside<'_> {
    fn validate_code(&self, value_set: &str, system: Option<&str>, code: &str) -> Membership {
        let answer = self.ask(|tx| self.terminology.membership(tx, value_set, system, code));
        match answer {
            Some(terminology::Membership::In) => Membership::In,
            Some(terminology::Membership::Out) => Membership::Out,
            Some(terminology::Membership::Unknown) | None => Membership::Unknown,
        }
    }
    fn is_below(&self, system: &str, ancestor: &str, code: &str) -> Option<bool> {
        // What is not known is an answer here, not an error of the database.
        let answer = self.ask(|tx| match self.terminology.subsumes(tx, system, None, ancestor, code) {
            Ok(found) => Ok(Some(matches!(found, Subsumption::Equivalent | Subsumption::Subsumes))),
            Err(Error::Invalid(_)) => Ok(None),
            Err(other) => Err(other),
        });
        answer.flatten()
    }
}

/// Profiles that the resource itself claims.
fn claims(resource: &Resource) -> impl Iterator<Item = &str> {
    let all = resource.get("meta").and_then(|m| m.get("profile")).and_then(serde_json::Value::as_array);
    all.into_iter().flatten().filter_map(serde_json::Value::as_str)
}

/// As [claims], but for FHIR's own types.
fn claimed(resource: &Resource) -> impl Iterator<Item = &str> {
    claims(resource).filter(|p| !p.starts_with(BASE))
}

impl Record {
    /// Everything there is to say of a resource: structure, invariants, terminology, the profiles of its `meta.profile`
    /// and those named, and best practice as warnings. No issues: it is valid.
    /// Errors: `Unauthenticated`, `Busy`, `Internal`.
    pub async fn validate(
        &self,
        ctx: &Ctx,
        resource: Resource,
        profiles: Vec<String>,
    ) -> Result<Outcome, Error> {
        if matches!(ctx.principal, Principal::Anonymous) {
            return Err(Error::Unauthenticated);
        }
        self.validate_all(vec![(resource, String::new())], profiles, Some(ctx)).await
    }

    /// Profiles that resources of a type claim and that `ctx` finds, in order. Errors: `Denied` if it may find nothing of the
    /// type; `Malformed` with `too-costly` for more than [MAX_CLAIMED]; `TooCostly`, `Busy`.
    pub async fn profiles_in_use(&self, ctx: &Ctx, kind: TypeId) -> Result<Vec<String>, Error> {
        let Some(param) = definitions::param(kind, "_profile").map(|p| p.id) else { return Ok(Vec::new()) };
        let values = self.reading(move |tx| Ok(store::distinct::uris(tx, param, MAX_CLAIMED + 1)?)).await?;
        if values.len() > MAX_CLAIMED {
            let text = format!("{} claims more than {MAX_CLAIMED} profiles.", kind.name());
            return Err(Error::Malformed(Outcome::one(IssueCode::TooCostly, "", text)));
        }
        let mut used: Vec<String> = Vec::new();
        for value in values {
            // The index knows of everybody's; one resource that the caller finds is enough.
            let escaped: String = value
                .chars()
                .flat_map(|c| matches!(c, '\\' | ',' | '$' | '|').then_some('\\').into_iter().chain([c]))
                .collect();
            let found = self.find(ctx, kind.name(), &[("_profile", &escaped)], 1).await?;
            used.extend(found.iter().flat_map(|(resource, _)| {
                claims(resource)
                    .filter(|claim| claim.starts_with(&value))
                    .map(str::to_owned)
                    .collect::<Vec<_>>()
            }));
        }
        used.sort();
        used.dedup();
        Ok(used)
    }

    /// Before a write: what its resources claim to be, they must be, where the profile is known here.
    pub(crate) async fn check_profiles(&self, changes: &[Change], places: &[String]) -> Result<(), Error> {
        let mut asked = Vec::new();
        for (change, place) in changes.iter().zip(places) {
            let (Change::Create { resource } | Change::Update { resource, .. }) = change else { continue };
            if self.claims_profiles(resource) {
                asked.push((resource.clone(), place.clone()));
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        let mut outcome = self.validate_all(asked, Vec::new(), None).await?;
        outcome.issues.retain(|i| matches!(i.severity, Severity::Fatal | Severity::Error));
        if outcome.issues.is_empty() { Ok(()) } else { Err(Error::Invalid(outcome)) }
    }

    /// Whether the resource claims a profile that may be known here.
    pub(crate) fn claims_profiles(&self, resource: &Resource) -> bool {
        let now = self.now();
        let unknown = |p: &str| self.inner.profiles.fresh(p, now).is_some_and(|known| known.found.is_none());
        claimed(resource).any(|p| !unknown(p))
    }

    /// For imports: why each resource does not fit the profiles that it claims and that are stored here, in words; `None`
    /// for one that does, or claims none. Errors: `Busy`, `Internal`.
    pub(crate) async fn misfits(&self, resources: Vec<Resource>) -> Result<Vec<Option<String>>, Error> {
        let (record, now) = (self.clone(), self.now());
        self.reading(move |tx| {
            let inside = record.inside(tx, now);
            let options = Options {
                profiles: Some(&inside),
                terminology: Some(&inside),
                now: Some(now),
                ..Options::default()
            };
            let mut misfits = Vec::with_capacity(resources.len());
            for resource in &resources {
                let mut issues = Vec::new();
                if claimed(resource).any(|p| inside.profile(p).is_some()) {
                    issues = validate_with(resource, &options).issues;
                    issues.retain(|i| matches!(i.severity, Severity::Fatal | Severity::Error));
                }
                misfits.push((!issues.is_empty()).then(|| Outcome { issues }.to_string()));
            }
            match inside.failed.into_inner() {
                Some(error) => Err(error),
                None => Ok(misfits),
            }
        })
        .await
    }

    fn inside<'t>(&'t self, tx: &'t mut dyn Tx, now: Timestamp) -> Inside<'t> {
        Inside {
            tx: RefCell::new(tx),
            terminology: &self.inner.terminology,
            cache: &self.inner.profiles,
            now,
            under_way: RefCell::default(),
            failed: RefCell::default(),
        }
    }

    /// `advised`: who asked, and is given advice and what references lead to; `None` for a write.
    async fn validate_all(
        &self,
        resources: Vec<(Resource, String)>,
        profiles: Vec<String>,
        advised: Option<&Ctx>,
    ) -> Result<Outcome, Error> {
        let (record, reader) = (self.clone(), advised.cloned());
        let (now, lens) = (self.now(), self.lens().await?);
        let found = self.reading(move |tx| {
            let inside = record.inside(tx, now);
            let arena = Arena::new();
            let targets = Targets {
                inside: &inside,
                ctx: reader.as_ref(),
                lens,
                arena: &arena,
                base: record.base(),
                seen: RefCell::default(),
            };
            let resolve = |reference: &str| targets.resolve(reference);
            let advice = reader.is_some();
            let options = Options {
                profiles: Some(&inside),
                claimed: profiles,
                terminology: Some(&inside),
                resolve: if advice { Some(&resolve) } else { None },
                advice,
                now: Some(now),
            };
            let mut issues: Vec<Issue> = Vec::new();
            for (resource, place) in &resources {
                // Only those whose profile is known here say more than the write path says anyway.
                if !advice && !claimed(resource).any(|p| inside.profile(p).is_some()) {
                    continue;
                }
                let mut found = validate_with(resource, &options).issues;
                if advice {
                    targets.missing(resource, &mut found);
                }
                for mut issue in found {
                    issue.expression = crate::write::at(place, &issue.expression);
                    issues.push(issue);
                }
            }
            let looked_at = targets.looked_at();
            match inside.failed.into_inner() {
                Some(error) => Err(error),
                None => Ok((Outcome { issues }, looked_at)),
            }
        });
        let (outcome, (keys, patients)) = found.await?;
        if let Some(ctx) = advised.filter(|_| !keys.is_empty()) {
            let keys: Vec<String> = keys.iter().map(ToString::to_string).collect();
            let what = format!("$validate looked at {}", keys.join(", "));
            self.audit_one(ctx, "read", store::audit::Outcome::Success, &what, &patients).await?;
        }
        Ok(outcome)
    }
}

/// What references lead to, as the caller may read it. What is not there and what may not be read look the same.
struct Targets<'i, 't, 'a> {
    inside: &'i Inside<'t>,
    /// Without anybody there is nothing to be read.
    ctx: Option<&'i Ctx>,
    lens: Lens,
    arena: &'a Arena,
    base: Option<&'i str>,
    seen: RefCell<Seen<'a>>,
}

#[derive(Default)]
struct Seen<'a> {
    /// With the patients whose data it is.
    by_key: HashMap<ResourceKey, Option<(&'a serde_json::Value, Vec<String>)>>,
    /// There were more than are looked up.
    is_full: bool,
}

impl<'a> Targets<'_, '_, 'a> {
    fn resolve(&self, reference: &str) -> Option<&'a serde_json::Value> {
        match Reference::parse(reference, self.base) {
            Reference::Local { key, version } => self.local(&key, version),
            // Within the resource, or not here.
            Reference::Contained(_)
            | Reference::Urn(_)
            | Reference::External(_)
            | Reference::Conditional { .. } => None,
        }
    }

    fn local(&self, key: &ResourceKey, version: Option<u32>) -> Option<&'a serde_json::Value> {
        if let Some(known) = self.seen.borrow().by_key.get(key) {
            return known.as_ref().map(|(value, _)| *value).filter(|value| is_version(value, version));
        }
        if self.seen.borrow().by_key.len() >= MAX_TARGETS {
            self.seen.borrow_mut().is_full = true;
            return None;
        }
        let found = self.read(key);
        let value = found.as_ref().map(|(value, _)| *value);
        self.seen.borrow_mut().by_key.insert(key.clone(), found);
        value.filter(|value| is_version(value, version))
    }

    fn read(&self, key: &ResourceKey) -> Option<(&'a serde_json::Value, Vec<String>)> {
        let ctx = self.ctx?;
        let predicate = policy::predicate(ctx, Action::Read, key.kind);
        if predicate == Predicate::Nothing {
            return None;
        }
        let now = self.inside.now;
        let (stored, patients) = self.inside.ask(|tx| {
            let row = store::resource::load(tx, key)?.filter(|row| !row.deleted);
            let Some(row) = row else { return Ok(None) };
            if !crate::read::holds(tx, &predicate, key, &row.patients, now)? {
                return Ok(None);
            }
            // What of it is hidden must not be told by a rule that somebody wrote about it.
            let patients = row.patients.clone();
            let shown = Veil::new(ctx, self.lens.clone(), now).current(tx, &predicate, row)?;
            Ok(shown.map(|stored| (stored, patients)))
        })??;
        let resource = stored.parse().ok()?;
        let drafts = policy::unreadable_statuses(ctx, key.kind);
        if resource.text("status").is_some_and(|status| drafts.contains(&status)) {
            return None;
        }
        Some((self.arena.keep(resource.into_value())?, patients))
    }

    /// Warns of references that lead nowhere for the caller: a write is refused for those that lead nowhere at all.
    fn missing(&self, resource: &Resource, issues: &mut Vec<Issue>) {
        // Entries refer to each other.
        if matches!(resource.kind().name(), "Bundle" | "Parameters") {
            return;
        }
        for (place, reference) in fhir::search::references(resource) {
            let reference = match reference {
                Reference::External(url) => Reference::parse(&url, self.base),
                other => other,
            };
            let Reference::Local { key, version } = reference else { continue };
            if self.local(&key, version).is_none() && !self.seen.borrow().is_full {
                let text = format!("There is no {} with this id that you may read.", key.kind.name());
                issues.push(Issue::warning(IssueCode::NotFound, place, text));
            }
        }
        if self.seen.borrow().is_full {
            let text = format!("More than {MAX_TARGETS} references: not all of them were looked up.");
            issues.push(Issue::warning(IssueCode::TooCostly, resource.kind().name(), text));
        }
    }

    /// What was read, and whose it is.
    fn looked_at(&self) -> (Vec<ResourceKey>, Vec<String>) {
        let seen = self.seen.borrow();
        let read = seen.by_key.iter().filter_map(|(key, found)| Some((key, found.as_ref()?)));
        let (mut keys, mut patients) = (Vec::new(), Vec::new());
        for (key, (_, of)) in read {
            keys.push(key.clone());
            patients.extend(of.iter().cloned());
        }
        keys.sort_by_key(ToString::to_string);
        patients.sort();
        patients.dedup();
        (keys, patients)
    }
}

/// A reference to an older version leads to what is not looked up here.
fn is_version(value: &serde_json::Value, version: Option<u32>) -> bool {
    let current = value.pointer("/meta/versionId").and_then(serde_json::Value::as_str);
    version.is_none_or(|version| current == Some(version.to_string().as_str()))
}
