//! Validation against the profiles and terminologies that are stored here: `$validate`, and `meta.profile` of what is
//! written. What every write is checked for anyway is in [fhir::validate::validate].
//!
//! Nothing here reads a patient's data, so nothing is authorized beyond being signed in, and nothing audited.

use crate::terminology::{self, Subsumption};
use crate::{Change, Error, Record};
use access::{Ctx, Principal};
use fhir::validate::{Membership, Options, Profile, Profiles, validate_with};
use fhir::{Issue, Outcome, Resource, Severity, TypeId, definitions};
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

/// Profiles that the resource itself claims, but for FHIR's own types.
fn claimed(resource: &Resource) -> impl Iterator<Item = &str> {
    let all = resource.get("meta").and_then(|m| m.get("profile")).and_then(serde_json::Value::as_array);
    all.into_iter().flatten().filter_map(serde_json::Value::as_str).filter(|p| !p.starts_with(BASE))
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
        self.validate_all(vec![(resource, String::new())], profiles, true).await
    }

    /// Before a write: what its resources claim to be, they must be, where the profile is known here.
    pub(crate) async fn check_profiles(&self, changes: &[Change], places: &[String]) -> Result<(), Error> {
        let now = self.now();
        let mut asked = Vec::new();
        for (change, place) in changes.iter().zip(places) {
            let (Change::Create { resource } | Change::Update { resource, .. }) = change else { continue };
            let unknown =
                |p: &str| self.inner.profiles.fresh(p, now).is_some_and(|known| known.found.is_none());
            if claimed(resource).any(|p| !unknown(p)) {
                asked.push((resource.clone(), place.clone()));
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        let mut outcome = self.validate_all(asked, Vec::new(), false).await?;
        outcome.issues.retain(|i| matches!(i.severity, Severity::Fatal | Severity::Error));
        if outcome.issues.is_empty() { Ok(()) } else { Err(Error::Invalid(outcome)) }
    }

    async fn validate_all(
        &self,
        resources: Vec<(Resource, String)>,
        profiles: Vec<String>,
        advice: bool,
    ) -> Result<Outcome, Error> {
        let record = self.clone();
        let now = self.now();
        self.reading(move |tx| {
            let inside = Inside {
                tx: RefCell::new(tx),
                terminology: &record.inner.terminology,
                cache: &record.inner.profiles,
                now,
                under_way: RefCell::default(),
                failed: RefCell::default(),
            };
            let options = Options {
                profiles: Some(&inside),
                claimed: profiles,
                terminology: Some(&inside),
                advice,
                now: Some(now),
                ..Options::default()
            };
            let mut issues: Vec<Issue> = Vec::new();
            for (resource, place) in &resources {
                // Only those whose profile is known here say more than the write path says anyway.
                if !advice && !claimed(resource).any(|p| inside.profile(p).is_some()) {
                    continue;
                }
                for mut issue in validate_with(resource, &options).issues {
                    issue.expression = crate::write::at(place, &issue.expression);
                    issues.push(issue);
                }
            }
            match inside.failed.into_inner() {
                Some(error) => Err(error),
                None => Ok(Outcome { issues }),
            }
        })
        .await
    }
}
