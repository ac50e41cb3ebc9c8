//! What a value set selects: a set of numbers per code system, and listed codes of systems that are not known here.

use super::canonical::Identity;
use super::system::System;
use super::{Kind, Source, Terminology, filter, implicit, not_found, refuse, split_version};
use crate::Error;
use fhir::IssueCode;
use serde_json::Value as Json;
use std::sync::Arc;
use store::Tx;
use store::terminology::{Designation, Ranges};

/// What a set was made from, as it was found.
type Sources = Vec<(Asked, Option<Identity>)>;

/// Value sets within value sets.
const MAX_DEPTH: usize = 16;
/// Value sets that one evaluation opens.
const MAX_OPENED: usize = 2_000;
/// Evaluated sets kept; beyond it all are dropped.
const MAX_KEPT: usize = 1_000;

/// What is selected of one code system.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub system: String,
    /// As the value set wrote it; None: whatever version is in use.
    pub version: Option<String>,
    /// `None`: not known here, and only [Part::listed] counts.
    pub known: Option<System>,
    pub numbers: Ranges,
    /// Codes that were listed, in their order: this order, and the names given there, go before the system's own. Of a
    /// known system only those count whose number is in [Part::numbers].
    pub listed: Arc<Vec<Listed>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Listed {
    pub code: String,
    pub number: Option<u32>,
    pub display: Option<String>,
    pub designations: Vec<Designation>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Set {
    pub parts: Vec<Part>,
    /// `url|version` of the value sets and code systems that went into it.
    pub used: Vec<(Kind, String)>,
    pub is_inactive_allowed: bool,
}

/// An evaluated set, with all that it was made from.
pub(crate) struct Kept {
    set: Arc<Set>,
    from: Vec<(Asked, Option<Identity>)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    kind: Kind,
    url: String,
    version: Option<String>,
}

/// One evaluation: what it asked for, and how deep it is.
pub(crate) struct Evaluation<'t> {
    terminology: &'t Terminology,
    from: Vec<(Asked, Option<Identity>)>,
    /// Open value sets, against circles.
    open: Vec<String>,
    opened: usize,
    used: Vec<(Kind, String)>,
    /// Versions asked for by the caller (`system-version`).
    versions: Vec<(String, String)>,
}

impl Terminology {
    /// Evaluates a value set, or takes the result of an earlier time if nothing it was made from has changed.
    pub(super) fn set(
        &self,
        tx: &mut dyn Tx,
        source: &Source,
        versions: &[(String, String)],
    ) -> Result<Arc<Set>, Error> {
        let Source::Url(canonical) = source else {
            return Ok(Arc::new(self.evaluate(tx, source, versions)?.0));
        };
        let key = versions.iter().fold(canonical.clone(), |k, (s, v)| format!("{k}\n{s}|{v}"));
        let kept = {
            let sets = self.cache.sets.lock();
            sets.get(&key).map(|k| (k.set.clone(), k.from.clone()))
        };
        if let Some((set, from)) = kept {
            let mut fresh = true;
            for (asked, identity) in &from {
                if self.identify(tx, asked.kind, &asked.url, asked.version.as_deref())? != *identity {
                    fresh = false;
                    break;
                }
            }
            if fresh {
                return Ok(set);
            }
        }
        let (set, from) = self.evaluate(tx, source, versions)?;
        let set = Arc::new(set);
        let mut sets = self.cache.sets.lock();
        if sets.len() >= MAX_KEPT {
            sets.clear();
        }
        sets.insert(key, Kept { set: set.clone(), from });
        Ok(set)
    }

    fn evaluate(
        &self,
        tx: &mut dyn Tx,
        source: &Source,
        versions: &[(String, String)],
    ) -> Result<(Set, Sources), Error> {
        let mut evaluation = Evaluation {
            terminology: self,
            from: Vec::new(),
            open: Vec::new(),
            opened: 0,
            used: Vec::new(),
            versions: versions.to_vec(),
        };
        let mut set = match source {
            Source::Url(canonical) => evaluation.by_url(tx, canonical)?,
            Source::Resource(value) => evaluation.resource(tx, value)?,
        };
        evaluation.used.sort();
        evaluation.used.dedup();
        set.used = evaluation.used;
        Ok((set, evaluation.from))
    }
}

fn text<'j>(value: &'j Json, name: &str) -> Option<&'j str> {
    value.get(name).and_then(Json::as_str)
}

fn list<'j>(value: &'j Json, name: &str) -> &'j [Json] {
    value.get(name).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

impl Evaluation<'_> {
    fn identify(
        &mut self,
        tx: &mut dyn Tx,
        kind: Kind,
        url: &str,
        version: Option<&str>,
    ) -> Result<Option<Identity>, Error> {
        let found = self.terminology.identify(tx, kind, url, version)?;
        let asked = Asked { kind, url: url.to_owned(), version: version.map(str::to_owned) };
        if !self.from.iter().any(|(a, _)| *a == asked) {
            self.from.push((asked, found.clone()));
        }
        Ok(found)
    }

    fn system(&mut self, tx: &mut dyn Tx, url: &str, version: Option<&str>) -> Result<Option<System>, Error> {
        let wanted = self.versions.iter().find(|(s, _)| s == url).map(|(_, v)| v.clone());
        let version = version.map(str::to_owned).or(wanted);
        let Some(identity) = self.identify(tx, Kind::CodeSystem, url, version.as_deref())? else {
            return Ok(None);
        };
        let system = self.terminology.system_of(tx, &identity)?;
        if let Some(system) = &system {
            let used = match system.version() {
                "" => system.url().to_owned(),
                version => format!("{}|{version}", system.url()),
            };
            self.used.push((Kind::CodeSystem, used));
        }
        Ok(system)
    }

    fn by_url(&mut self, tx: &mut dyn Tx, canonical: &str) -> Result<Set, Error> {
        let (url, version) = split_version(canonical);
        if self.open.iter().any(|o| o == url) {
            return Err(refuse(
                IssueCode::Invariant,
                format!("The value set `{url}` includes itself: {}.", self.open.join(" → ")),
            ));
        }
        self.opened += 1;
        if self.open.len() >= MAX_DEPTH || self.opened > MAX_OPENED {
            return Err(refuse(
                IssueCode::TooCostly,
                format!("The value set `{url}` lies too deep in others, or there are too many of them."),
            ));
        }
        self.open.push(url.to_owned());
        let set = match self.identify(tx, Kind::ValueSet, url, version)? {
            Some(identity) => match self.terminology.definition(tx, &identity)? {
                Some(definition) => {
                    self.used.push((Kind::ValueSet, canonical.to_owned()));
                    self.resource(tx, &definition.value.clone())
                }
                None => Err(not_found(Kind::ValueSet, canonical)),
            },
            None => self.implicit(tx, canonical),
        };
        self.open.pop();
        set
    }

    /// A value set that nobody wrote down: all of a code system, or a part that its URL says.
    fn implicit(&mut self, tx: &mut dyn Tx, canonical: &str) -> Result<Set, Error> {
        let (url, version) = split_version(canonical);
        let Some(implied) = implicit::parse(url)? else {
            // A code system names the value set of all its codes.
            return match self.whole(tx, url)? {
                Some(set) => Ok(set),
                None => Err(not_found(Kind::ValueSet, canonical)),
            };
        };
        let version = implied.version.as_deref().or(version);
        let Some(system) = self.system(tx, &implied.system, version)? else {
            return Err(refuse(
                IssueCode::NotFound,
                format!(
                    "The value set `{canonical}` needs the code system `{}`, which is not loaded here.",
                    implied.system
                ),
            ));
        };
        let numbers = filter::implied(tx, &system, &implied.part)?;
        let part = Part {
            system: system.url().to_owned(),
            version: None,
            known: Some(system),
            numbers,
            listed: Arc::default(),
        };
        Ok(Set { parts: vec![part], used: Vec::new(), is_inactive_allowed: true })
    }

    fn whole(&mut self, tx: &mut dyn Tx, url: &str) -> Result<Option<Set>, Error> {
        for entry in store::terminology::in_use(tx, store::terminology::Kind::CodeSystem)? {
            if !entry.header.contains(url) {
                continue;
            }
            let header: Json = serde_json::from_str(&entry.header).unwrap_or(Json::Null);
            if text(&header, "valueSet") != Some(url) {
                continue;
            }
            if let Some(system) = self.system(tx, &entry.url, None)? {
                return Ok(Some(all_of(system)));
            }
        }
        // FHIR's own name their value set by the same last part.
        let guess = url.replace("/ValueSet/", "/CodeSystem/");
        if let Some(system) = self.system(tx, &guess, None)?
            && system.text("valueSet") == Some(url)
        {
            return Ok(Some(all_of(system)));
        }
        Ok(None)
    }

    fn resource(&mut self, tx: &mut dyn Tx, value: &Json) -> Result<Set, Error> {
        let Some(compose) = value.get("compose") else { return self.expanded(tx, value) };
        let mut set = Set { is_inactive_allowed: true, ..Set::default() };
        if compose.get("inactive") == Some(&Json::Bool(false)) {
            set.is_inactive_allowed = false;
        }
        for include in list(compose, "include") {
            for part in self.include(tx, include)? {
                add(&mut set.parts, part);
            }
        }
        for exclude in list(compose, "exclude") {
            for part in self.include(tx, exclude)? {
                remove(&mut set.parts, &part);
            }
        }
        if !set.is_inactive_allowed {
            for part in &mut set.parts {
                if let Some(system) = part.known.clone() {
                    part.numbers = part.numbers.minus(&system.inactive(tx)?);
                }
            }
        }
        set.parts.retain(|p| !p.numbers.is_empty() || (p.known.is_none() && !p.listed.is_empty()));
        Ok(set)
    }

    /// A value set that gives only its expansion.
    fn expanded(&mut self, tx: &mut dyn Tx, value: &Json) -> Result<Set, Error> {
        let mut set = Set { is_inactive_allowed: true, ..Set::default() };
        let mut open: Vec<&Json> =
            value.get("expansion").map(|e| list(e, "contains")).unwrap_or_default().iter().rev().collect();
        let mut by_system: Vec<(String, Vec<Json>)> = Vec::new();
        while let Some(entry) = open.pop() {
            open.extend(list(entry, "contains").iter().rev());
            let (Some(system), Some(_)) = (text(entry, "system"), text(entry, "code")) else { continue };
            if entry.get("abstract") == Some(&Json::Bool(true)) {
                continue;
            }
            match by_system.iter_mut().find(|(s, _)| s == system) {
                Some((_, codes)) => codes.push(entry.clone()),
                None => by_system.push((system.to_owned(), vec![entry.clone()])),
            }
        }
        for (system, codes) in by_system {
            let known = self.system(tx, &system, None)?;
            let part = listed(tx, &system, None, known, &codes)?;
            add(&mut set.parts, part);
        }
        Ok(set)
    }

    /// One include or exclude: the system's part, cut down to what all of its value sets have.
    fn include(&mut self, tx: &mut dyn Tx, include: &Json) -> Result<Vec<Part>, Error> {
        let mut parts: Option<Vec<Part>> = None;
        if let Some(url) = text(include, "system") {
            let version = text(include, "version").filter(|v| *v != "*");
            let known = self.system(tx, url, version)?;
            let concepts = list(include, "concept");
            let filters = list(include, "filter");
            let part = if !concepts.is_empty() {
                listed(tx, url, version, known, concepts)?
            } else {
                let Some(system) = known else {
                    return Err(refuse(
                        IssueCode::NotFound,
                        format!(
                            "The value set `{}` needs the code system `{url}`{}, which is not known here.",
                            self.open.last().map_or("given", String::as_str),
                            version.map(|v| format!(" in version `{v}`")).unwrap_or_default()
                        ),
                    ));
                };
                let mut numbers = system.all();
                for f in filters {
                    let (Some(property), Some(op)) = (text(f, "property"), text(f, "op")) else {
                        return Err(refuse(IssueCode::Required, "A filter needs `property` and `op`."));
                    };
                    let value = text(f, "value").unwrap_or_default();
                    numbers = numbers.intersect(&filter::numbers(tx, &system, property, op, value)?);
                }
                Part {
                    system: url.to_owned(),
                    version: version.map(str::to_owned),
                    known: Some(system),
                    numbers,
                    listed: Arc::default(),
                }
            };
            parts = Some(vec![part]);
        }
        for nested in list(include, "valueSet").iter().filter_map(Json::as_str) {
            let set = self.by_url(tx, nested)?;
            parts = Some(match parts {
                None => set.parts,
                Some(mine) => intersect(mine, &set.parts),
            });
        }
        parts.ok_or_else(|| refuse(IssueCode::Required, "An include needs `system` or `valueSet`."))
    }
}

fn all_of(system: System) -> Set {
    let part = Part {
        system: system.url().to_owned(),
        version: None,
        numbers: system.all(),
        known: Some(system),
        listed: Arc::default(),
    };
    Set { parts: vec![part], used: Vec::new(), is_inactive_allowed: true }
}

/// Codes that stand in the value set itself.
fn listed(
    tx: &mut dyn Tx,
    url: &str,
    version: Option<&str>,
    known: Option<System>,
    concepts: &[Json],
) -> Result<Part, Error> {
    let mut all = Vec::with_capacity(concepts.len());
    let mut numbers = Vec::new();
    for concept in concepts {
        let Some(code) = text(concept, "code") else {
            return Err(refuse(IssueCode::Required, "A concept of an include has no `code`."));
        };
        let number = match &known {
            Some(system) => system.place(tx, code)?.map(|(number, _)| number),
            None => None,
        };
        numbers.extend(number);
        let designations = list(concept, "designation").iter().map(designation).collect();
        let display = text(concept, "display").map(str::to_owned);
        all.push(Listed { code: code.to_owned(), number, display, designations });
    }
    // A system of which only a part is here cannot say that the other codes are wrong.
    let known = known.filter(|system| system.is_complete() || all.iter().all(|l| l.number.is_some()));
    let numbers = if known.is_some() { Ranges::of(numbers) } else { Ranges::new() };
    Ok(Part {
        system: url.to_owned(),
        version: version.map(str::to_owned),
        known,
        numbers,
        listed: Arc::new(all),
    })
}

fn designation(value: &Json) -> Designation {
    let none = Json::Null;
    let usage = value.get("use").unwrap_or(&none);
    let owned = |v: &Json, name: &str| text(v, name).unwrap_or_default().to_owned();
    Designation {
        language: owned(value, "language"),
        use_system: owned(usage, "system"),
        use_code: owned(usage, "code"),
        use_display: owned(usage, "display"),
        value: owned(value, "value"),
        preferred: false,
    }
}

/// Whether two parts speak of the same codes.
fn same(a: &Part, b: &Part) -> bool {
    let version = |p: &Part| match &p.known {
        Some(system) => Some(system.version().to_owned()),
        None => p.version.clone(),
    };
    a.system == b.system && a.known.is_some() == b.known.is_some() && version(a) == version(b)
}

fn add(parts: &mut Vec<Part>, more: Part) {
    let Some(mine) = parts.iter_mut().find(|p| same(p, &more)) else {
        parts.push(more);
        return;
    };
    mine.numbers = mine.numbers.union(&more.numbers);
    if !more.listed.is_empty() {
        let new: Vec<Listed> =
            more.listed.iter().filter(|l| !mine.listed.iter().any(|m| m.code == l.code)).cloned().collect();
        Arc::make_mut(&mut mine.listed).extend(new);
    }
}

fn remove(parts: &mut [Part], less: &Part) {
    for mine in parts.iter_mut().filter(|p| p.system == less.system) {
        match (&mine.known, &less.known) {
            (Some(_), Some(_)) if same(mine, less) => mine.numbers = mine.numbers.minus(&less.numbers),
            (None, None) => {
                Arc::make_mut(&mut mine.listed).retain(|m| !less.listed.iter().any(|l| l.code == m.code));
            }
            // Another version, or a system known on one side only: by code.
            _ => {
                let gone: Vec<u32> = mine
                    .listed
                    .iter()
                    .filter(|m| less.listed.iter().any(|l| l.code == m.code))
                    .filter_map(|m| m.number)
                    .collect();
                mine.numbers = mine.numbers.minus(&Ranges::of(gone));
                if mine.known.is_none() {
                    Arc::make_mut(&mut mine.listed).retain(|m| !less.listed.iter().any(|l| l.code == m.code));
                }
            }
        }
    }
}

fn intersect(mine: Vec<Part>, other: &[Part]) -> Vec<Part> {
    let mut kept = Vec::new();
    for mut part in mine {
        let Some(with) = other.iter().find(|o| same(o, &part)) else {
            // One side knows the system, the other only lists codes of it.
            if let Some(with) = other.iter().find(|o| o.system == part.system) {
                let codes: Vec<Listed> = with
                    .listed
                    .iter()
                    .filter(|l| part.listed.iter().any(|p| p.code == l.code))
                    .cloned()
                    .collect();
                part.numbers =
                    part.numbers.intersect(&Ranges::of(codes.iter().filter_map(|l| l.number).collect()));
                part.listed = Arc::new(codes);
                kept.push(part);
            }
            continue;
        };
        if part.known.is_some() {
            part.numbers = part.numbers.intersect(&with.numbers);
            if part.listed.is_empty() {
                part.listed = with.listed.clone();
            }
        } else {
            Arc::make_mut(&mut part.listed).retain(|l| with.listed.iter().any(|w| w.code == l.code));
        }
        kept.push(part);
    }
    kept
}

impl Set {
    /// How many codes.
    pub fn len(&self) -> usize {
        self.parts.iter().map(Part::len).sum()
    }
}

impl Part {
    pub fn len(&self) -> usize {
        if self.known.is_some() { self.numbers.len() } else { self.listed.len() }
    }
    /// Whether the code is in it.
    pub fn contains(&self, tx: &mut dyn Tx, code: &str) -> Result<bool, Error> {
        match &self.known {
            Some(system) => {
                Ok(system.place(tx, code)?.is_some_and(|(number, _)| self.numbers.contains(number)))
            }
            None => Ok(self.listed.iter().any(|l| l.code == code)),
        }
    }
}
