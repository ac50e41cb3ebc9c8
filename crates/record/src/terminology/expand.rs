//! `$expand`: the codes of a value set.

use super::compose::{Listed, Part, Set};
use super::supplement::Supplements;
use super::system::System;
use super::words::Typed;
use super::{Kind, MAX_EXPANSION, Source, Terminology, language, too_costly};
use crate::Error;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use store::Tx;
use store::terminology::{Concept, Designation, Ranges};

/// Concepts whose names are compared with the filter; where more have its words, those whose name begins with them
/// are compared first.
const MAX_RANKED: usize = 5_000;
/// Of these, as many are compared by all their names, or as many as the page needs.
const SHORTLIST: usize = 300;
/// Codes found by their beginning.
const MAX_BY_CODE: u32 = 500;

/// What to expand, and how.
#[derive(Debug, Clone)]
pub struct Expand {
    pub value_set: Source,
    /// Words that begin words of a name, or the beginning of a code.
    pub filter: Option<String>,
    pub offset: usize,
    /// Codes of this page; `None` for all, if they are not too many.
    pub count: Option<usize>,
    /// As in Accept-Language; "" for the system's own.
    pub display_language: String,
    pub include_designations: bool,
    pub active_only: bool,
    /// Leaves out what is there to group others.
    pub exclude_not_for_ui: bool,
    /// `system|version`: the version where the value set names none.
    pub system_versions: Vec<String>,
    /// Systems whose codes are left out.
    pub exclude_systems: Vec<String>,
}

impl Expand {
    pub fn new(value_set: Source) -> Expand {
        Expand {
            value_set,
            filter: None,
            offset: 0,
            count: None,
            display_language: String::new(),
            include_designations: false,
            active_only: false,
            exclude_not_for_ui: false,
            system_versions: Vec::new(),
            exclude_systems: Vec::new(),
        }
    }
}

/// One code of an expansion.
#[derive(Debug, Clone, PartialEq)]
pub struct Contains {
    pub system: String,
    /// "" if the system has none.
    pub version: String,
    pub code: String,
    pub display: Option<String>,
    pub inactive: bool,
    pub is_abstract: bool,
    /// Empty unless asked for.
    pub designations: Vec<Designation>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Expansion {
    /// Of all pages. With a filter that very many names answer, at least this many.
    pub total: usize,
    pub contains: Vec<Contains>,
    /// `url|version` of the code systems and value sets it was made from.
    pub used_systems: Vec<String>,
    pub used_value_sets: Vec<String>,
}

impl Terminology {
    /// Errors: `Invalid` with `not-found` for a value set or code system that is not known; `too-costly` for more than
    /// [MAX_EXPANSION] codes without paging; what is wrong with the value set itself.
    pub fn expand(&self, tx: &mut dyn Tx, request: &Expand) -> Result<Expansion, Error> {
        let versions = system_versions(&request.system_versions);
        let set = self.set(tx, &request.value_set, &versions)?;
        let parts = selected(tx, &set, request)?;
        let count = request.count.map_or(MAX_EXPANSION, |c| c.min(MAX_EXPANSION));
        let page = match request.filter.as_deref().map(str::trim).filter(|f| !f.is_empty()) {
            None => {
                let total = parts.iter().map(Part::len).sum();
                if request.count.is_none() && total > MAX_EXPANSION {
                    return Err(too_costly(&format!("`{}`", request.value_set.label()), MAX_EXPANSION));
                }
                (total, in_order(tx, &parts, request.offset, count)?)
            }
            Some(text) => match Typed::new(text) {
                Some(typed) => ranked(tx, &parts, &typed, request.offset, count)?,
                None => (0, Vec::new()),
            },
        };
        let mut page = page;
        self.supplement(tx, &mut page.1)?;
        let wishes = language::wishes(&request.display_language);
        let of_kind = |kind: Kind| {
            set.used.iter().filter(|(k, _)| *k == kind).map(|(_, url)| url.clone()).collect::<Vec<_>>()
        };
        Ok(Expansion {
            total: page.0,
            contains: page.1.into_iter().map(|hit| contains(hit, request, &wishes)).collect(),
            used_systems: of_kind(Kind::CodeSystem),
            used_value_sets: of_kind(Kind::ValueSet),
        })
    }

    /// Gives the concepts of a page what supplements say of them.
    fn supplement(&self, tx: &mut dyn Tx, hits: &mut [Hit]) -> Result<(), Error> {
        let mut known: HashMap<(String, String), Supplements> = HashMap::new();
        for hit in hits {
            let (Some(system), Some(concept)) = (&hit.known, &mut hit.concept) else { continue };
            match known.entry((system.url().to_owned(), system.version().to_owned())) {
                Entry::Occupied(found) => found.get().add_to(concept),
                Entry::Vacant(place) => place.insert(self.supplements(tx, system)?).add_to(concept),
            }
        }
        Ok(())
    }

    /// All codes of a value set, at most `limit`. Errors: as [Terminology::expand]; `too-costly` for more.
    pub fn members(&self, tx: &mut dyn Tx, value_set: &str, limit: usize) -> Result<Vec<super::Code>, Error> {
        let set = self.set(tx, &Source::Url(value_set.to_owned()), &[])?;
        if set.len() > limit {
            return Err(too_costly(&format!("`{value_set}`"), limit));
        }
        let mut codes = Vec::with_capacity(set.len());
        for part in &set.parts {
            let code = |code: &str| super::Code { system: part.system.clone(), code: code.to_owned() };
            match &part.known {
                Some(system) => system.brief(tx, &part.numbers, &mut |_, c, _| codes.push(code(c)))?,
                None => codes.extend(part.listed.iter().map(|l| code(&l.code))),
            }
        }
        Ok(codes)
    }
}

/// `system|version` pairs.
pub(super) fn system_versions(all: &[String]) -> Vec<(String, String)> {
    all.iter().filter_map(|s| s.split_once('|')).map(|(s, v)| (s.to_owned(), v.to_owned())).collect()
}

/// The set without what the request leaves out.
fn selected(tx: &mut dyn Tx, set: &Set, request: &Expand) -> Result<Vec<Part>, Error> {
    let mut parts = set.parts.clone();
    parts.retain(|p| !request.exclude_systems.iter().any(|s| super::split_version(s).0 == p.system));
    for part in &mut parts {
        let Some(system) = part.known.clone() else { continue };
        if request.active_only {
            part.numbers = part.numbers.minus(&system.inactive(tx)?);
        }
        if request.exclude_not_for_ui {
            part.numbers = part.numbers.minus(&system.abstracts(tx)?);
        }
    }
    Ok(parts)
}

/// A code with what is needed to show it.
struct Hit {
    system: String,
    known: Option<System>,
    concept: Option<Concept>,
    listed: Option<Listed>,
}

fn contains(hit: Hit, request: &Expand, wishes: &[String]) -> Contains {
    let extra = hit.listed.as_ref().map_or(&[][..], |l| l.designations.as_slice());
    let own = hit.listed.as_ref().and_then(|l| l.display.as_deref());
    let language = hit.known.as_ref().and_then(|s| s.text("language"));
    let display = language::display(hit.concept.as_ref(), own, extra, wishes, language);
    let designations = match (request.include_designations, &hit.concept) {
        (false, _) => Vec::new(),
        (true, Some(c)) => extra.iter().chain(&c.detail.designations).cloned().collect(),
        (true, None) => extra.to_vec(),
    };
    let code = match (&hit.concept, &hit.listed) {
        (Some(c), _) => c.code.clone(),
        (None, Some(l)) => l.code.clone(),
        (None, None) => String::new(),
    };
    Contains {
        system: hit.system,
        version: hit.known.as_ref().map(|s| s.version().to_owned()).unwrap_or_default(),
        code,
        display,
        inactive: hit.concept.as_ref().is_some_and(|c| c.inactive),
        is_abstract: hit.concept.as_ref().is_some_and(|c| c.is_abstract),
        designations,
    }
}

/// A page in the order of the value set: listed codes as listed, then the others as the system has them.
fn in_order(tx: &mut dyn Tx, parts: &[Part], offset: usize, count: usize) -> Result<Vec<Hit>, Error> {
    let mut hits = Vec::new();
    let mut skip = offset;
    for part in parts {
        if hits.len() >= count {
            break;
        }
        let length = part.len();
        if skip >= length {
            skip -= length;
            continue;
        }
        let wanted = count - hits.len();
        let Some(system) = &part.known else {
            for l in part.listed.iter().skip(skip).take(wanted) {
                let system = part.system.clone();
                hits.push(Hit { system, known: None, concept: None, listed: Some(l.clone()) });
            }
            skip = 0;
            continue;
        };
        let mut seen = HashSet::new();
        let first: Vec<&Listed> = part
            .listed
            .iter()
            .filter(|l| l.number.is_some_and(|n| part.numbers.contains(n) && seen.insert(n)))
            .collect();
        for l in first.iter().skip(skip).take(wanted) {
            let concept = system.concepts(tx, &l.number.map(Ranges::one).unwrap_or_default())?.pop();
            hits.push(Hit {
                system: part.system.clone(),
                known: Some(system.clone()),
                concept,
                listed: Some((*l).clone()),
            });
        }
        let rest = part.numbers.minus(&Ranges::of(seen.into_iter().collect()));
        let page = rest.slice(skip.saturating_sub(first.len()), count - hits.len());
        for concept in system.concepts(tx, &page)? {
            hits.push(Hit {
                system: part.system.clone(),
                known: Some(system.clone()),
                concept: Some(concept),
                listed: None,
            });
        }
        skip = 0;
    }
    Ok(hits)
}

/// A page of what the filter finds, best first.
fn ranked(
    tx: &mut dyn Tx,
    parts: &[Part],
    typed: &Typed,
    offset: usize,
    count: usize,
) -> Result<(usize, Vec<Hit>), Error> {
    /// Tier and length of the name, then place: part, and number or position among the listed.
    type Scored = ((u8, usize), usize, u32);
    let mut scored: Vec<Scored> = Vec::new();
    let mut unranked = 0;
    for (n, part) in parts.iter().enumerate() {
        let Some(system) = &part.known else {
            for (at, l) in part.listed.iter().enumerate() {
                let names =
                    l.display.as_deref().into_iter().chain(l.designations.iter().map(|d| d.value.as_str()));
                scored.extend(typed.rank(&l.code, names).map(|rank| (rank, n, at as u32)));
            }
            continue;
        };
        let (best, others) = candidates(tx, system, part, typed)?;
        unranked += others;
        let (best, others) = shortlist(tx, system, best, typed, (offset + count).max(SHORTLIST))?;
        unranked += others;
        for concept in system.concepts(tx, &best)? {
            let given = part.listed.iter().find(|l| l.number == Some(concept.number));
            let names = std::iter::once(concept.display.as_str())
                .chain(concept.detail.designations.iter().map(|d| d.value.as_str()))
                .chain(given.and_then(|l| l.display.as_deref()))
                .chain(given.into_iter().flat_map(|l| l.designations.iter().map(|d| d.value.as_str())));
            if let Some((tier, length)) = typed.rank(&concept.code, names) {
                // What is no longer used comes behind its like.
                let length = length + if concept.inactive { 1_000 } else { 0 };
                scored.push(((tier, length), n, concept.number));
            }
        }
    }
    scored.sort_unstable();
    let total = scored.len() + unranked;
    let mut hits = Vec::new();
    for (_, n, at) in scored.into_iter().skip(offset).take(count) {
        let Some(part) = parts.get(n) else { continue };
        let (concept, listed) = match &part.known {
            None => (None, part.listed.get(at as usize).cloned()),
            Some(system) => (
                system.concepts(tx, &Ranges::one(at))?.pop(),
                part.listed.iter().find(|l| l.number == Some(at)).cloned(),
            ),
        };
        hits.push(Hit { system: part.system.clone(), known: part.known.clone(), concept, listed });
    }
    Ok((total, hits))
}

/// The `most` concepts whose display answers best: all names of thousands of concepts would take too long to read.
/// Returns them, and how many were left out.
fn shortlist(
    tx: &mut dyn Tx,
    system: &System,
    found: Ranges,
    typed: &Typed,
    most: usize,
) -> Result<(Ranges, usize), Error> {
    let all = found.len();
    if all <= most {
        return Ok((found, 0));
    }
    // What is found by another name than the display comes behind, the shorter first.
    let mut scored: Vec<((u8, usize), u32)> = Vec::with_capacity(all);
    system.brief(tx, &found, &mut |number, code, display| {
        let rank = typed.rank(code, std::iter::once(display)).unwrap_or((6, display.len()));
        scored.push((rank, number));
    })?;
    if most < scored.len() {
        scored.select_nth_unstable(most);
        scored.truncate(most);
    }
    Ok((Ranges::of(scored.into_iter().map(|(_, number)| number).collect()), all - most))
}

/// Concepts that may answer, at most [MAX_RANKED], and how many more there are.
fn candidates(
    tx: &mut dyn Tx,
    system: &System,
    part: &Part,
    typed: &Typed,
) -> Result<(Ranges, usize), Error> {
    let mut found = part.numbers.clone();
    // The longest word is the rarest.
    let mut words: Vec<&String> = typed.words.iter().collect();
    words.sort_by_key(|w| std::cmp::Reverse(w.len()));
    for word in words {
        found = found.intersect(&system.any_posting(tx, &format!("w:{word}"))?);
        if found.is_empty() {
            break;
        }
    }
    // Names that the value set gives itself are in no index.
    let mut by_name = Vec::new();
    for l in part.listed.iter() {
        let names = l.display.as_deref().into_iter().chain(l.designations.iter().map(|d| d.value.as_str()));
        if let Some(number) = l.number.filter(|n| part.numbers.contains(*n))
            && typed.rank(&l.code, names).is_some()
        {
            by_name.push(number);
        }
    }
    let mut also = Ranges::of(by_name);
    if !typed.text.contains(' ') {
        also = also.union(&system.by_prefix(tx, &typed.text, MAX_BY_CODE)?.intersect(&part.numbers));
    }
    let all = found.union(&also);
    if all.len() <= MAX_RANKED {
        return Ok((all, 0));
    }
    let first = match typed.words.first() {
        Some(word) => system.any_posting(tx, &format!("^:{word}"))?,
        None => Ranges::new(),
    };
    let best = found.intersect(&first).slice(0, MAX_RANKED).union(&also);
    let best = if best.len() < MAX_RANKED {
        best.union(&found.minus(&best).slice(0, MAX_RANKED - best.len()))
    } else {
        best
    };
    let others = all.len() - best.len();
    Ok((best, others))
}
