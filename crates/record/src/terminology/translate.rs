//! `$translate`: from a code to those that concept maps give for it.

use super::canonical::Identity;
use super::{Kind, Source, Terminology, not_found};
use crate::Error;
use serde_json::Value as Json;
use store::Tx;
use store::terminology::{self, mapping};

/// Concept maps looked through when none is named.
const MAX_MAPS: usize = 200;
/// Matches of one translation.
const MAX_MATCHES: usize = 1_000;

#[derive(Debug, Clone)]
pub struct Translate {
    /// `None`: every map that fits source and target.
    pub map: Option<Source>,
    pub system: String,
    pub code: String,
    /// Value sets that the map must name, if given.
    pub source: Option<String>,
    pub target: Option<String>,
    /// Only to codes of this system.
    pub target_system: Option<String>,
    /// From target to source.
    pub reverse: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Match {
    /// ConceptMapEquivalence, turned round for a reverse translation.
    pub equivalence: String,
    pub system: String,
    pub code: String,
    pub display: Option<String>,
    pub comment: Option<String>,
    /// The map it is from.
    pub map: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Translation {
    pub result: bool,
    pub message: Option<String>,
    pub matches: Vec<Match>,
}

impl Terminology {
    /// Errors: `Invalid` with `not-found` for a map that is not known.
    pub fn translate(&self, tx: &mut dyn Tx, request: &Translate) -> Result<Translation, Error> {
        let mut matches = Vec::new();
        match &request.map {
            Some(Source::Resource(map)) => of_resource(map, request, &mut matches),
            Some(Source::Url(url)) => {
                let (base, version) = super::split_version(url);
                match self.identify(tx, Kind::ConceptMap, base, version)? {
                    Some(Identity::Loaded(id)) => of_loaded(tx, id, base, request, &mut matches)?,
                    Some(identity) => match self.definition(tx, &identity)? {
                        Some(definition) => of_resource(&definition.value, request, &mut matches),
                        None => return Err(not_found(Kind::ConceptMap, url)),
                    },
                    None => return Err(not_found(Kind::ConceptMap, url)),
                }
            }
            None => self.everywhere(tx, request, &mut matches)?,
        }
        matches.truncate(MAX_MATCHES);
        self.name(tx, &mut matches)?;
        let result = matches
            .iter()
            .any(|m| !matches!(m.equivalence.as_str(), "unmatched" | "disjoint") && !m.code.is_empty());
        let message = (!result).then(|| match matches.is_empty() {
            true => format!("No concept map says what `{}` of `{}` is.", request.code, request.system),
            false => format!("`{}` of `{}` has no equivalent there.", request.code, request.system),
        });
        Ok(Translation { result, message, matches })
    }

    fn everywhere(
        &self,
        tx: &mut dyn Tx,
        request: &Translate,
        matches: &mut Vec<Match>,
    ) -> Result<(), Error> {
        for entry in terminology::in_use(tx, terminology::Kind::ConceptMap)? {
            if entry.is_default {
                of_loaded(tx, entry.id, &entry.url, request, matches)?;
            }
        }
        let mut urls: Vec<String> =
            super::built_in::urls(Kind::ConceptMap).into_iter().map(|(url, _)| url.to_owned()).collect();
        if let Some(kind) = fhir::TypeId::from_name("ConceptMap") {
            urls.extend(terminology::urls(tx, kind, fhir::definitions::param(kind, "url").map(|p| p.id))?);
        }
        urls.sort();
        urls.dedup();
        for url in urls.into_iter().take(MAX_MAPS) {
            if let Some((_, map)) = self.resource(tx, Kind::ConceptMap, &url)? {
                of_resource(&map, request, matches);
            }
        }
        Ok(())
    }

    /// Fills in displays that the map left out.
    fn name(&self, tx: &mut dyn Tx, matches: &mut [Match]) -> Result<(), Error> {
        for m in matches.iter_mut().filter(|m| m.display.is_none() && !m.code.is_empty()) {
            if let Some(system) = self.system(tx, &m.system, None)?
                && let Some(concept) = system.concept(tx, &m.code)?
            {
                m.display = Some(concept.display).filter(|d| !d.is_empty());
            }
        }
        Ok(())
    }
}

fn of_loaded(
    tx: &mut dyn Tx,
    id: terminology::Id,
    url: &str,
    request: &Translate,
    matches: &mut Vec<Match>,
) -> Result<(), Error> {
    let rows = match request.reverse {
        false => mapping::forward(tx, id, &request.code)?,
        true => mapping::backward(tx, id, &request.code)?,
    };
    for row in rows {
        let (from, to, code, display) = match request.reverse {
            false => (
                &row.source_system,
                row.target_system.clone(),
                row.target.clone(),
                row.target_display.clone(),
            ),
            true => (&row.target_system, row.source_system.clone(), row.source.clone(), String::new()),
        };
        if *from != request.system || request.target_system.as_ref().is_some_and(|t| *t != to) {
            continue;
        }
        matches.push(Match {
            equivalence: turned(&row.equivalence, request.reverse),
            system: to,
            code,
            display: Some(display).filter(|d| !d.is_empty()),
            comment: Some(row.comment).filter(|c| !c.is_empty()),
            map: url.to_owned(),
        });
    }
    Ok(())
}

fn text<'j>(value: &'j Json, name: &str) -> Option<&'j str> {
    value.get(name).and_then(Json::as_str)
}

fn list<'j>(value: &'j Json, name: &str) -> &'j [Json] {
    value.get(name).and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

fn of_resource(map: &Json, request: &Translate, matches: &mut Vec<Match>) {
    let side = |name: &str| {
        text(map, &format!("{name}Canonical"))
            .or(text(map, &format!("{name}Uri")))
            .unwrap_or_default()
            .to_owned()
    };
    let names = |wanted: &Option<String>, side: &str| {
        wanted.as_ref().is_none_or(|w| super::split_version(w).0 == super::split_version(side).0)
    };
    let (mut source, mut target) = (side("source"), side("target"));
    if request.reverse {
        std::mem::swap(&mut source, &mut target);
    }
    if !names(&request.source, &source) || !names(&request.target, &target) {
        return;
    }
    let url = text(map, "url").unwrap_or_default();
    for group in list(map, "group") {
        // Older maps name the systems only as source and target of the whole map.
        let from = text(group, "source").unwrap_or_default();
        let to = text(group, "target").unwrap_or_default();
        let (from, to) = if request.reverse { (to, from) } else { (from, to) };
        if super::split_version(from).0 != request.system
            || request.target_system.as_ref().is_some_and(|t| t != super::split_version(to).0)
        {
            continue;
        }
        let before = matches.len();
        for element in list(group, "element") {
            for found in list(element, "target") {
                let (own, other, display) = match request.reverse {
                    false => (text(element, "code"), text(found, "code"), text(found, "display")),
                    true => (text(found, "code"), text(element, "code"), text(element, "display")),
                };
                if own != Some(request.code.as_str()) {
                    continue;
                }
                matches.push(Match {
                    equivalence: turned(text(found, "equivalence").unwrap_or("relatedto"), request.reverse),
                    system: to.to_owned(),
                    code: other.unwrap_or_default().to_owned(),
                    display: display.map(str::to_owned),
                    comment: text(found, "comment").map(str::to_owned),
                    map: url.to_owned(),
                });
            }
        }
        if matches.len() == before && !request.reverse {
            unmapped(group, to, url, request, matches);
        }
    }
}

/// What the group says of codes it does not list.
fn unmapped(group: &Json, to: &str, url: &str, request: &Translate, matches: &mut Vec<Match>) {
    let Some(rule) = group.get("unmapped") else { return };
    let code = match text(rule, "mode") {
        Some("provided") => Some(request.code.as_str()),
        Some("fixed") => text(rule, "code"),
        _ => None,
    };
    if let Some(code) = code {
        matches.push(Match {
            equivalence: if text(rule, "mode") == Some("provided") { "equal" } else { "inexact" }.to_owned(),
            system: to.to_owned(),
            code: code.to_owned(),
            display: text(rule, "display").map(str::to_owned),
            comment: None,
            map: url.to_owned(),
        });
    }
}

/// The equivalence seen from the other side.
fn turned(equivalence: &str, reverse: bool) -> String {
    match (reverse, equivalence) {
        (true, "wider") => "narrower",
        (true, "narrower") => "wider",
        (true, "subsumes") => "specializes",
        (true, "specializes") => "subsumes",
        (_, same) => same,
    }
    .to_owned()
}
