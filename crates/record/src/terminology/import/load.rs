//! One code system into the database: once through its files for the hierarchy, once for everything else.

use super::spool::{self, Fact, Spool};
use super::{ImportError, Progress};
use crate::Record;
use crate::terminology::{hierarchy, words};
use jiff::Timestamp;
use serde_json::Value as Json;
use std::collections::HashMap;
use std::sync::Arc;
use store::terminology::{self, Concept, Detail, Id, Kind, Mapping, Ranges, RangesWriter};
use wire::terminology::{Fault, Item, Sink};

/// Rows of one write transaction: other writers wait some milliseconds at most, also where a server runs meanwhile.
const ROWS: usize = 500;
/// Mappings of one transaction.
const MAPPINGS: usize = 500;

/// Goes through all files of a distribution; the first time only what has concepts and parents.
pub(super) type Files<'f> = &'f mut dyn FnMut(Round, &mut dyn Sink) -> Result<(), ImportError>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    Hierarchy,
    Everything,
}

/// What a load came to.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    pub concepts: u64,
    pub names: u64,
    pub properties: u64,
    pub members: u64,
    /// Reference set, mappings.
    pub maps: Vec<(String, u64)>,
    /// Facts about codes that are no concept, and edges of circles.
    pub warnings: Vec<String>,
}

/// Where the loaded goes.
pub(super) struct Target {
    pub url: String,
    pub version: String,
    pub header: Json,
    pub as_default: bool,
    /// Nothing is written.
    pub dry_run: bool,
    /// URL of the concept map that a reference set is, and its target system.
    pub map: fn(&str) -> (String, String),
}

pub(super) struct Loader<'r> {
    pub record: &'r Record,
    pub progress: &'r dyn Fn(Progress),
    pub now: Timestamp,
}

/// Concepts and edges, by the order in which codes were met.
#[derive(Default)]
struct Outline {
    places: HashMap<Box<str>, u32>,
    is_concept: Vec<bool>,
    edges: Vec<(u32, u32)>,
    /// ICD-10 codes name their group by its first category.
    groups: HashMap<Box<str>, u32>,
}

impl Outline {
    fn place(&mut self, code: &str) -> u32 {
        if let Some(place) = self.places.get(code) {
            return *place;
        }
        let place = self.is_concept.len() as u32;
        self.places.insert(code.into(), place);
        self.is_concept.push(false);
        place
    }
}

impl Sink for Outline {
    fn take(&mut self, item: Item<'_>) -> Result<(), Fault> {
        match item {
            Item::Concept { code, .. } => {
                let place = self.place(code) as usize;
                if let Some(is) = self.is_concept.get_mut(place) {
                    *is = true;
                }
            }
            Item::Parent { code, parent } => {
                let child = self.place(code);
                let parent = match parent.strip_prefix(wire::terminology::icd10::GROUP_OF) {
                    Some(first) => match self.groups.get(first) {
                        Some(group) => *group,
                        None => return Ok(()),
                    },
                    None => self.place(parent),
                };
                if child != parent {
                    self.edges.push((child, parent));
                }
            }
            Item::Property { code, name: "first", value: wire::terminology::Value::Code(first) } => {
                let group = self.place(code);
                self.groups.insert(first.into(), group);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The numbered system: codes and their numbers.
struct Numbered {
    numbers: HashMap<Box<str>, u32>,
    codes: Vec<Box<str>>,
    parents: Vec<Ranges>,
    descendants: Vec<Ranges>,
    warnings: Vec<String>,
}

fn number(outline: Outline) -> Numbered {
    // Codes that are only spoken of get no number.
    let mut compact = vec![u32::MAX; outline.is_concept.len()];
    let mut count = 0u32;
    for (place, is) in outline.is_concept.iter().enumerate() {
        if *is {
            compact[place] = count;
            count += 1;
        }
    }
    let mut parents: Vec<Vec<u32>> = vec![Vec::new(); count as usize];
    let mut dangling = 0usize;
    for (child, parent) in &outline.edges {
        let (child, parent) = (compact[*child as usize], compact[*parent as usize]);
        if child == u32::MAX || parent == u32::MAX {
            dangling += 1;
        } else if let Some(list) = parents.get_mut(child as usize)
            && !list.contains(&parent)
        {
            list.push(parent);
        }
    }
    let tree = hierarchy::number(&parents);
    let mut codes: Vec<Box<str>> = vec![Box::default(); count as usize];
    let mut numbers = HashMap::with_capacity(count as usize);
    for (code, place) in outline.places {
        let compact = compact[place as usize];
        if let Some(number) = tree.number.get(compact as usize) {
            codes[*number as usize] = code.clone();
            numbers.insert(code, *number);
        }
    }
    let mut warnings = Vec::new();
    if dangling > 0 {
        warnings.push(format!(
            "{dangling} parent links lead from or to codes that are no concept; they were left out"
        ));
    }
    if tree.circles > 0 {
        warnings.push(format!(
            "{} parent links close a circle; they count for the direct parent only",
            tree.circles
        ));
    }
    Numbered { numbers, codes, parents: tree.parents, descendants: tree.descendants, warnings }
}

/// Takes everything of the second round.
struct Facts<'l> {
    numbered: &'l Numbered,
    spool: Spool,
    sets: HashMap<String, Vec<u32>>,
    maps: HashMap<String, Map>,
    outcome: Outcome,
    unknown: u64,
    /// Concepts told already: a second telling adds nothing.
    told: Vec<bool>,
    writer: &'l Writer<'l>,
    target: &'l Target,
    failed: Option<ImportError>,
}

struct Map {
    id: Option<Id>,
    rows: Vec<Mapping>,
    count: u64,
    url: String,
    target_system: String,
}

impl Facts<'_> {
    fn number(&mut self, code: &str) -> Option<u32> {
        let number = self.numbered.numbers.get(code).copied();
        if number.is_none() {
            self.unknown += 1;
        }
        number
    }

    fn keep(&mut self, item: &Item<'_>) -> Result<(), ImportError> {
        match *item {
            Item::Concept { code, display, definition, inactive, is_abstract } => {
                let Some(number) = self.number(code) else { return Ok(()) };
                match self.told.get_mut(number as usize) {
                    Some(told) if !*told => *told = true,
                    _ => return Ok(()),
                }
                if !display.is_empty() {
                    self.spool.put(number, spool::DISPLAY, &[display])?;
                }
                if !definition.is_empty() {
                    self.spool.put(number, spool::DEFINITION, &[definition])?;
                }
                if inactive {
                    self.spool.put(number, spool::INACTIVE, &[])?;
                }
                if is_abstract {
                    self.spool.put(number, spool::ABSTRACT, &[])?;
                }
            }
            Item::Definition { code, text } => {
                if let Some(number) = self.number(code) {
                    self.spool.put(number, spool::DEFINITION, &[text])?;
                }
            }
            Item::Designation { code, name } => {
                let Some(number) = self.number(code) else { return Ok(()) };
                self.outcome.names += 1;
                let rank = char::from(b'0' + name.display_rank.min(9));
                let flags = if name.preferred { format!("{rank}p") } else { rank.to_string() };
                let texts =
                    [&flags, name.language, name.use_system, name.use_code, name.use_display, name.value];
                self.spool.put(number, spool::NAME, &texts)?;
            }
            Item::Property { code, name, value } => {
                let Some(number) = self.number(code) else { return Ok(()) };
                self.outcome.properties += 1;
                let (kind, [a, b, c]) = spool::value(&value);
                let texts = [name, a, b, c];
                self.spool.put(number, kind, if b.is_empty() { &texts[..2] } else { &texts[..] })?;
            }
            Item::Member { set, code } => {
                let Some(number) = self.number(code) else { return Ok(()) };
                self.outcome.members += 1;
                match self.sets.get_mut(set) {
                    Some(members) => members.push(number),
                    None => {
                        self.sets.insert(set.to_owned(), vec![number]);
                    }
                }
            }
            Item::Mapping(m) => self.map(&m)?,
            Item::Parent { .. } => {}
        }
        Ok(())
    }

    fn map(&mut self, m: &wire::terminology::Mapping<'_>) -> Result<(), ImportError> {
        if !self.maps.contains_key(m.map) {
            let (url, target_system) = (self.target.map)(m.map);
            let map = Map { id: None, rows: Vec::new(), count: 0, url, target_system };
            self.maps.insert(m.map.to_owned(), map);
        }
        let Some(map) = self.maps.get_mut(m.map) else { return Ok(()) };
        map.count += 1;
        map.rows.push(Mapping {
            source_system: self.target.url.clone(),
            source: m.source.to_owned(),
            place: m.place,
            target_system: map.target_system.clone(),
            target: m.target.to_owned(),
            target_display: String::new(),
            equivalence: m.equivalence.to_owned(),
            comment: m.comment.to_owned(),
        });
        if map.rows.len() >= MAPPINGS {
            self.writer.mappings(map, self.target)?;
        }
        Ok(())
    }
}

impl Sink for Facts<'_> {
    fn take(&mut self, item: Item<'_>) -> Result<(), Fault> {
        self.keep(&item).map_err(|error| {
            let text = error.to_string();
            self.failed = Some(error);
            Fault::Stopped(text)
        })
    }
}

/// Writes, or does not in a dry run.
struct Writer<'l> {
    record: &'l Record,
    dry_run: bool,
    now: Timestamp,
}

impl Writer<'_> {
    fn write<T: Send + 'static>(
        &self,
        mut work: impl FnMut(&mut dyn store::Tx) -> store::Result<T> + Send + 'static,
    ) -> Result<Option<T>, ImportError> {
        if self.dry_run {
            return Ok(None);
        }
        let done: Result<T, store::Error> = self.record.inner.store.write_blocking(move |tx| work(tx));
        Ok(Some(done?))
    }

    fn stage(&self, kind: Kind, url: &str, version: &str, header: &Json) -> Result<Option<Id>, ImportError> {
        let (url, version, header, now) = (url.to_owned(), version.to_owned(), header.to_string(), self.now);
        self.write(move |tx| terminology::stage(tx, kind, &url, &version, &header, now))
    }

    fn mappings(&self, map: &mut Map, target: &Target) -> Result<(), ImportError> {
        if map.id.is_none() {
            let header = serde_json::json!({
                "resourceType": "ConceptMap", "url": map.url, "version": target.version, "status": "active",
                "sourceUri": target.url, "targetUri": map.target_system,
            });
            map.id = self.stage(Kind::ConceptMap, &map.url, &target.version, &header)?;
        }
        let rows = Arc::new(std::mem::take(&mut map.rows));
        if let Some(id) = map.id {
            self.write(move |tx| terminology::mapping::insert(tx, id, &rows))?;
        }
        Ok(())
    }
}

impl Loader<'_> {
    /// Errors: of the files, by line; of the database. Whatever was written before stays unused and is removed.
    pub fn load(&self, target: &Target, files: Files<'_>) -> Result<Outcome, ImportError> {
        let writer = Writer { record: self.record, dry_run: target.dry_run, now: self.now };
        let mut outline = Outline::default();
        files(Round::Hierarchy, &mut outline)?;
        let numbered = number(outline);
        let count = numbered.codes.len() as u32;
        if count == 0 {
            return Err(ImportError::Refused(format!("No concept of `{}` was found.", target.url)));
        }
        (self.progress)(Progress::Concepts { system: target.url.clone(), count: u64::from(count) });
        (self.progress)(Progress::Writing { rows: u64::from(count) });
        let id = writer.stage(Kind::CodeSystem, &target.url, &target.version, &target.header)?;
        let mut facts = Facts {
            numbered: &numbered,
            spool: Spool::new(count),
            sets: HashMap::new(),
            maps: HashMap::new(),
            outcome: Outcome { concepts: u64::from(count), ..Outcome::default() },
            unknown: 0,
            told: vec![false; count as usize],
            writer: &writer,
            target,
            failed: None,
        };
        let read = files(Round::Everything, &mut facts);
        if let Some(error) = facts.failed.take() {
            return Err(error);
        }
        read?;
        let Facts { mut spool, sets, mut maps, mut outcome, unknown, .. } = facts;
        let mut postings = self.concepts(&writer, id, &numbered, &mut spool)?;
        for (set, members) in sets {
            let mut numbers = RangesWriter::default();
            Ranges::of(members).iter().for_each(|n| numbers.push(n));
            postings.push((format!("m:{set}"), numbers.finish()));
        }
        postings.sort_unstable();
        self.postings(&writer, id, postings)?;
        for map in maps.values_mut() {
            writer.mappings(map, target)?;
        }
        outcome.maps = maps.values().map(|m| (m.url.clone(), m.count)).collect();
        outcome.maps.sort();
        outcome.warnings = numbered.warnings;
        if unknown > 0 {
            outcome
                .warnings
                .push(format!("{unknown} facts are about codes that are no concept; they were left out"));
        }
        self.activate(&writer, id, outcome.concepts, target, maps.into_values().collect())?;
        Ok(outcome)
    }

    /// Writes the concepts bucket by bucket; returns the keys under which they are found.
    fn concepts(
        &self,
        writer: &Writer<'_>,
        id: Option<Id>,
        numbered: &Numbered,
        spool: &mut Spool,
    ) -> Result<Vec<(String, Vec<u8>)>, ImportError> {
        let mut postings: HashMap<String, RangesWriter> = HashMap::new();
        for bucket in 0..spool.len() {
            let first = bucket as u32 * spool::BUCKET;
            let end = numbered.codes.len().min(first as usize + spool::BUCKET as usize);
            let mut concepts: Vec<Concept> = (first as usize..end)
                .map(|n| Concept {
                    number: n as u32,
                    code: numbered.codes[n].to_string(),
                    display: String::new(),
                    inactive: false,
                    is_abstract: false,
                    parents: numbered.parents[n].clone(),
                    descendants: numbered.descendants[n].clone(),
                    detail: Detail::default(),
                })
                .collect();
            let mut best: Vec<(u8, usize)> = vec![(0, usize::MAX); concepts.len()];
            spool.take(bucket, &mut |number, fact| {
                let at = (number - first) as usize;
                if let (Some(concept), Some(best)) = (concepts.get_mut(at), best.get_mut(at)) {
                    apply(concept, best, fact);
                }
                Ok(())
            })?;
            for (concept, best) in concepts.iter_mut().zip(&best) {
                if concept.display.is_empty() {
                    let chosen =
                        concept.detail.designations.get(best.1).or(concept.detail.designations.first());
                    concept.display = chosen.map(|d| d.value.clone()).unwrap_or_default();
                }
                let above =
                    concept.parents.iter().filter_map(|p| numbered.codes.get(p as usize).map(|c| &**c));
                let number = concept.number;
                words::keys(concept, above, &mut |key| postings.entry(key).or_default().push(number));
            }
            let mut rest = concepts;
            while !rest.is_empty() {
                let batch: Vec<Concept> = rest.drain(..rest.len().min(ROWS)).collect();
                let batch = Arc::new(batch);
                let count = batch.len() as u64;
                if let Some(id) = id {
                    writer.write(move |tx| terminology::concept::insert(tx, id, &batch))?;
                }
                (self.progress)(Progress::Written { rows: count });
            }
        }
        Ok(postings.into_iter().map(|(key, numbers)| (key, numbers.finish())).collect())
    }

    fn postings(
        &self,
        writer: &Writer<'_>,
        id: Option<Id>,
        postings: Vec<(String, Vec<u8>)>,
    ) -> Result<(), ImportError> {
        let Some(id) = id else { return Ok(()) };
        (self.progress)(Progress::Indexing { keys: postings.len() as u64 });
        let mut rest = postings.into_iter();
        loop {
            let batch: Vec<(String, Vec<u8>)> = rest.by_ref().take(ROWS).collect();
            if batch.is_empty() {
                return Ok(());
            }
            let batch = Arc::new(batch);
            let count = batch.len() as u64;
            writer.write(move |tx| terminology::posting::insert(tx, id, &batch))?;
            (self.progress)(Progress::Indexed { keys: count });
        }
    }

    /// Puts the system and its maps in use in one transaction.
    fn activate(
        &self,
        writer: &Writer<'_>,
        id: Option<Id>,
        concepts: u64,
        target: &Target,
        maps: Vec<Map>,
    ) -> Result<(), ImportError> {
        let Some(id) = id else { return Ok(()) };
        let as_default = target.as_default;
        let maps: Vec<(Id, u64)> = maps.iter().filter_map(|m| Some((m.id?, m.count))).collect();
        let done = writer.write(move |tx| {
            terminology::analyze(tx)?;
            let mut all = terminology::activate(tx, id, concepts, as_default)?;
            for (map, count) in &maps {
                all &= terminology::activate(tx, *map, *count, as_default)?;
            }
            Ok(all)
        })?;
        match done {
            Some(false) => Err(ImportError::Refused(
                "Another import removed what this one had written; run it again.".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}

fn apply(concept: &mut Concept, best: &mut (u8, usize), fact: Fact) {
    match fact {
        Fact::Display(text) => concept.display = text,
        Fact::Definition(text) => concept.detail.definition = text,
        Fact::Inactive => concept.inactive = true,
        Fact::Abstract => concept.is_abstract = true,
        Fact::Name(designation, rank) => {
            if rank > best.0 {
                *best = (rank, concept.detail.designations.len());
            }
            concept.detail.designations.push(designation);
        }
        Fact::Property(property) => concept.detail.properties.push(property),
    }
}
