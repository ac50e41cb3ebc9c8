//! From a canonical URL to a code system, value set or concept map.

use super::memory::Memory;
use super::system::{Loaded, System};
use super::{Kind, Terminology, built_in, not_found, refuse};
use crate::Error;
use fhir::{IssueCode, TypeId, definitions};
use parking_lot::Mutex;
use serde_json::Value as Json;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use store::Tx;
use store::terminology::{self, Id};

/// Parsed definitions kept; beyond it all are dropped and read again.
const MAX_KEPT: usize = 4_000;
/// What FHIR R4 defines for good, so nobody looks elsewhere first.
const FHIR_OWN: &str = "http://hl7.org/fhir/";

/// Which definition a canonical led to: the same value means the same content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Identity {
    BuiltIn(Kind, String),
    /// A resource and its version.
    Resource(i64, i64),
    Loaded(Id),
}

/// A definition as JSON, and as code system once it was needed as one.
pub(crate) struct Definition {
    pub value: Arc<Json>,
    memory: OnceLock<Option<Arc<Memory>>>,
}

impl Definition {
    pub fn new(value: Arc<Json>) -> Definition {
        Definition { value, memory: OnceLock::new() }
    }
}

#[derive(Default)]
pub(crate) struct Cache {
    definitions: Mutex<HashMap<Identity, Arc<Definition>>>,
    loaded: Mutex<HashMap<Id, Arc<Loaded>>>,
    pub sets: Mutex<HashMap<String, super::compose::Kept>>,
}

fn kind_and_param(kind: Kind) -> Option<(TypeId, fhir::ParamId)> {
    let kind = TypeId::from_name(kind.name())?;
    Some((kind, definitions::param(kind, "url")?.id))
}

impl Terminology {
    /// Where a canonical leads. `None` if nowhere.
    pub(super) fn identify(
        &self,
        tx: &mut dyn Tx,
        kind: Kind,
        url: &str,
        version: Option<&str>,
    ) -> Result<Option<Identity>, Error> {
        // A value set of FHIR itself is bound to by versions it never had in print.
        let own = built_in::version(kind, url)
            .filter(|own| version.is_none_or(|v| v == *own || kind == Kind::ValueSet))
            .map(|_| Identity::BuiltIn(kind, url.to_owned()));
        if url.starts_with(FHIR_OWN) && own.is_some() {
            return Ok(own);
        }
        let loaded = match kind {
            Kind::CodeSystem => Some(terminology::Kind::CodeSystem),
            Kind::ConceptMap => Some(terminology::Kind::ConceptMap),
            Kind::ValueSet => None,
        };
        if let Some(loaded) = loaded
            && let Some(entry) = self.entry(tx, loaded, url, version)?
        {
            let id = entry.id;
            self.keep(entry);
            return Ok(Some(Identity::Loaded(id)));
        }
        if let Some((type_id, param)) = kind_and_param(kind) {
            for found in terminology::resources(tx, type_id, param, url)? {
                let identity = Identity::Resource(found.rid, found.version);
                let Some(definition) = self.definition(tx, &identity)? else { continue };
                let text = |name: &str| definition.value.get(name).and_then(Json::as_str);
                let fits = match version {
                    Some(version) => text("version") == Some(version),
                    // A draft is used by those who name its version.
                    None => text("status") != Some("draft"),
                };
                if fits {
                    return Ok(Some(identity));
                }
            }
        }
        Ok(own)
    }

    /// SNOMED CT versions are URLs: `http://snomed.info/sct/EDITION` means the newest of that edition.
    fn entry(
        &self,
        tx: &mut dyn Tx,
        kind: terminology::Kind,
        url: &str,
        version: Option<&str>,
    ) -> Result<Option<terminology::Entry>, Error> {
        let found = terminology::find(tx, kind, url, version)?;
        let Some(version) = version.filter(|_| found.is_none()) else { return Ok(found) };
        if !version.starts_with("http://snomed.info/sct/") {
            return Ok(None);
        }
        let edition = format!("{}/version/", version.trim_end_matches('/'));
        let mut all = terminology::in_use(tx, kind)?;
        all.retain(|e| e.url == url && e.version.starts_with(&edition));
        all.sort_by(|a, b| a.version.cmp(&b.version));
        Ok(all.pop())
    }

    fn keep(&self, entry: terminology::Entry) -> Arc<Loaded> {
        let mut kept = self.cache.loaded.lock();
        if kept.len() > MAX_KEPT {
            kept.clear();
        }
        kept.entry(entry.id)
            .or_insert_with(|| {
                Arc::new(Loaded {
                    id: entry.id,
                    count: u32::try_from(entry.entries).unwrap_or(u32::MAX),
                    header: serde_json::from_str(&entry.header).unwrap_or(Json::Null),
                    url: entry.url,
                    version: entry.version,
                })
            })
            .clone()
    }

    pub(super) fn loaded(&self, id: Id) -> Option<Arc<Loaded>> {
        self.cache.loaded.lock().get(&id).cloned()
    }

    /// The resource behind an identity that is no loaded system.
    pub(super) fn definition(
        &self,
        tx: &mut dyn Tx,
        identity: &Identity,
    ) -> Result<Option<Arc<Definition>>, Error> {
        if let Some(kept) = self.cache.definitions.lock().get(identity) {
            return Ok(Some(kept.clone()));
        }
        let value = match identity {
            Identity::BuiltIn(kind, url) => built_in::resource(*kind, url),
            Identity::Resource(rid, _) => match terminology::content(tx, *rid)? {
                Some(bytes) => serde_json::from_slice(&bytes).ok().map(Arc::new),
                None => None,
            },
            Identity::Loaded(_) => None,
        };
        let Some(value) = value else { return Ok(None) };
        let definition = Arc::new(Definition::new(value));
        let mut kept = self.cache.definitions.lock();
        if kept.len() > MAX_KEPT {
            kept.clear();
        }
        kept.insert(identity.clone(), definition.clone());
        Ok(Some(definition))
    }

    /// The code system behind an identity. `None` for one that only says it exists (`content` not-present).
    pub(super) fn system_of(&self, tx: &mut dyn Tx, identity: &Identity) -> Result<Option<System>, Error> {
        if let Identity::Loaded(id) = identity {
            return Ok(self.loaded(*id).map(System::Loaded));
        }
        let Some(definition) = self.definition(tx, identity)? else { return Ok(None) };
        Ok(memory(&definition)?.map(System::Memory))
    }

    /// A code system by URL and version, as it is known here.
    pub(super) fn system(
        &self,
        tx: &mut dyn Tx,
        url: &str,
        version: Option<&str>,
    ) -> Result<Option<System>, Error> {
        let (url, inline) = super::split_version(url);
        match self.identify(tx, Kind::CodeSystem, url, version.or(inline))? {
            Some(identity) => self.system_of(tx, &identity),
            None => Ok(None),
        }
    }

    /// As [Terminology::system]; an error says which versions there are instead.
    pub(super) fn known_system(
        &self,
        tx: &mut dyn Tx,
        url: &str,
        version: Option<&str>,
    ) -> Result<System, Error> {
        if let Some(system) = self.system(tx, url, version)? {
            return Ok(system);
        }
        if let Some(version) = version
            && let Some(other) = self.system(tx, url, None)?
        {
            return Err(refuse(
                IssueCode::NotFound,
                format!(
                    "Version `{version}` of the code system `{url}` is not known here; `{}` is.",
                    other.version()
                ),
            ));
        }
        Err(not_found(Kind::CodeSystem, url))
    }

    /// A ValueSet or ConceptMap resource by canonical.
    pub(super) fn resource(
        &self,
        tx: &mut dyn Tx,
        kind: Kind,
        canonical: &str,
    ) -> Result<Option<(Identity, Arc<Json>)>, Error> {
        let (url, version) = super::split_version(canonical);
        let Some(identity) = self.identify(tx, kind, url, version)? else { return Ok(None) };
        Ok(self.definition(tx, &identity)?.map(|d| (identity, d.value.clone())))
    }
}

/// What a supplement says of the concepts of another system. Errors: as [memory].
pub(super) fn supplement(definition: &Definition) -> Result<Option<Arc<Memory>>, Error> {
    let is_one = definition.value.get("content").and_then(Json::as_str) == Some("supplement");
    if is_one { kept(definition) } else { Ok(None) }
}

fn kept(definition: &Definition) -> Result<Option<Arc<Memory>>, Error> {
    if let Some(made) = definition.memory.get() {
        return Ok(made.clone());
    }
    let made = Memory::new(&definition.value).map_err(|f| refuse(IssueCode::Invariant, f.to_string()))?;
    Ok(definition.memory.get_or_init(|| Some(Arc::new(made))).clone())
}

/// The concepts of a CodeSystem resource. Errors: one that cannot be read as a code system.
pub(super) fn memory(definition: &Definition) -> Result<Option<Arc<Memory>>, Error> {
    let content = definition.value.get("content").and_then(Json::as_str);
    let has_concepts = definition.value.get("concept").is_some_and(Json::is_array);
    match content {
        Some("not-present") if !has_concepts => Ok(None),
        // What it adds belongs to the system it supplements.
        Some("supplement") => Ok(None),
        _ => kept(definition),
    }
}
