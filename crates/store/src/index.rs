//! Rows of the index tables, from the entries of one resource.

use crate::ids::encode_target;
use crate::keys::blind;
use crate::{Param, Result, Tx};
use fhir::search::{IndexEntry, IndexValue};
use fhir::{ParamId, TypeId};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Ranges up to this long are searched by a narrow range of their start.
pub(crate) const SHORT_US: i64 = 24 * 60 * 60 * 1_000_000;
/// Added to the parameter of dates that are longer, or not alone, and of open quantities.
pub(crate) const ODD: i64 = 32768;
/// A quantity with an end out here is open to that side.
const OPEN: f64 = 1e300;
/// The date of a resource without one: sorts before all.
pub(crate) const NO_DATE: i64 = -(1 << 60);
/// Added to the parameter of tokens for `:identifier` of a reference.
pub(crate) const IDENTIFIER: i64 = 65536;
/// Added to the parameter of tokens for `:of-type`; their system is the type's, see [type_text].
pub(crate) const OF_TYPE: i64 = 131_072;
/// The parameter number of compartment membership among references.
pub(crate) const COMPARTMENT: i64 = 0;
/// Longer codes, strings and URIs are cut; searches cut the same way.
pub(crate) const MAX_CHARS: usize = 200;
const MAX_SORT_CHARS: usize = 48;

pub(crate) fn param_number(param: ParamId) -> i64 {
    // 0 is taken by COMPARTMENT.
    i64::from(param.0) + 1
}

pub(crate) fn cut(text: &str, chars: usize) -> &str {
    match text.char_indices().nth(chars) {
        Some((at, _)) => &text[..at],
        None => text,
    }
}

/// An identifier's type as one term.
pub(crate) fn type_text(system: &str, code: &str) -> String {
    format!("{system}|{code}")
}

/// A point on the unit sphere, of degrees.
pub(crate) fn on_sphere(latitude: f64, longitude: f64) -> (f64, f64, f64) {
    let (latitude, longitude) = (latitude.to_radians(), longitude.to_radians());
    (latitude.cos() * longitude.cos(), latitude.cos() * longitude.sin(), latitude.sin())
}

/// One character per parameter, for [Rows::params].
pub(crate) fn param_character(param: i64) -> char {
    // Past the control and combining ranges; numbers beyond the surrogates do not occur in R4.
    u32::try_from(param).ok().and_then(|n| char::from_u32(0x1000 + n)).unwrap_or('?')
}

/// The name by which people list resources of `kind`; `None` for types without one.
pub(crate) fn primary_text(kind: TypeId) -> Option<ParamId> {
    use fhir::definitions::{ParamType, param};
    ["family", "name", "title"]
        .iter()
        .find_map(|code| param(kind, code).filter(|p| p.param_type == ParamType::String))
        .map(|p| p.id)
}

/// Everything the index holds of one version. Sorted: rows that are equal before and after a change are not touched.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Rows {
    /// code, param, system: in the order of the table.
    pub tokens: Vec<(String, i64, i64)>,
    pub strings: Vec<(i64, String, String, i64)>,
    pub dates: Vec<(i64, i64, i64)>,
    pub quantities: Vec<Quantity>,
    /// target, date, param, and the signatures of the row's tokens
    pub references: Vec<(Vec<u8>, i64, i64, i64)>,
    pub uris: Vec<(i64, String)>,
    /// Of `references`, those to other resources than the row's own patients: param, target.
    pub links: Vec<(i64, Vec<u8>)>,
    /// param, folded
    pub texts: Vec<(i64, String)>,
    pub parts: Vec<Part>,
    /// param, latitude and the point
    pub places: Vec<(i64, f64, (f64, f64, f64))>,
    pub params: String,
    pub sort_date_us: i64,
    pub sort_text: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quantity {
    pub param: i64,
    pub value: f64,
    pub system: i64,
    pub code: i64,
    pub low: f64,
    pub high: f64,
}

/// One component of one element of a composite.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Part {
    pub param: i64,
    pub part: i64,
    pub code: String,
    pub element: i64,
    pub system: i64,
    pub unit: i64,
    pub value: f64,
    pub low: f64,
    pub high: f64,
    pub low_us: i64,
    pub high_us: i64,
    pub folded: String,
    pub exact: String,
    pub target: Vec<u8>,
}

impl Part {
    fn new(tx: &mut dyn Tx, param: i64, part: usize, element: i64, value: &IndexValue) -> Result<Part> {
        let mut own = Part { param, part: part as i64, element, ..Part::default() };
        match value {
            IndexValue::Token { system, code } => {
                own.system = term(tx, system)?;
                own.code = cut(code, MAX_CHARS).to_owned();
            }
            IndexValue::String { folded, exact } => {
                own.folded = cut(folded, MAX_CHARS).to_owned();
                own.exact = cut(exact, MAX_CHARS).to_owned();
            }
            IndexValue::Date { low_us, high_us } => (own.low_us, own.high_us) = (*low_us, *high_us),
            IndexValue::Quantity { value, low, high, system, code } => {
                (own.value, own.low, own.high) = (*value, *low, *high);
                (own.system, own.unit) = (term(tx, system)?, term(tx, code)?);
            }
            IndexValue::Reference { target } => own.target = encode_target(target.kind, &target.id),
            IndexValue::Uri(uri) => own.folded = cut(uri, MAX_CHARS).to_owned(),
            // No composite of R4 has other components.
            _ => {}
        }
        Ok(own)
    }
}

/// Three of 62 bits for a code, whatever its parameter and system. A row that lacks one of them has no such code; of the
/// rows that have them all, with the dozen tokens of a lab result, about one in twelve has it not. Stored: must not change.
pub(crate) fn signature(code: &str) -> i64 {
    const BITS: u64 = 62;
    // FNV-1a; its low bits alone are poor, so the halves are folded.
    let hash = code.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = hash ^ (hash >> 32);
    [0, 11, 22].iter().fold(0, |bits, shift| bits | 1 << ((hash >> shift & 0x7ff) % BITS))
}

/// Whether a quantity is open to one side, such as `<5`.
pub(crate) const OPEN_TEST: &str = "(low <= -1e300 OR high >= 1e300)";

/// Keeps the text of a coding, once for all resources. What is known costs no statement: the terms remember it.
fn display(tx: &mut dyn Tx, folded: &str, system: &str, code: &str) -> Result<()> {
    let (folded, code) = (cut(folded, MAX_CHARS), cut(code, MAX_CHARS));
    let seen = format!("\u{1f}{folded}\u{1f}{code}\u{1f}{system}");
    if tx.term(&seen, false)?.is_none() {
        let system = term(tx, system)?;
        tx.term(&seen, true)?;
        tx.execute(
            "INSERT INTO display (folded, code, system) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
            crate::params![folded, code, system],
        )?;
    }
    Ok(())
}

fn term(tx: &mut dyn Tx, text: &str) -> Result<i64> {
    if text.is_empty() { Ok(0) } else { Ok(tx.term(cut(text, MAX_CHARS), true)?.unwrap_or(0)) }
}

impl Rows {
    /// `patients` are ids; the compartment of a Patient holds the Patient itself.
    pub fn new(tx: &mut dyn Tx, kind: TypeId, entries: &[IndexEntry], patients: &[String]) -> Result<Rows> {
        let mut rows = Rows { sort_date_us: NO_DATE, ..Rows::default() };
        let primary_date = fhir::definitions::primary_date(kind);
        let primary_text = primary_text(kind);
        rows.sort_text = primary_text.map(|_| String::new());
        let mut dates: BTreeMap<i64, Vec<(i64, i64)>> = BTreeMap::new();
        let mut strings: BTreeMap<i64, Vec<(String, String)>> = BTreeMap::new();
        let mut params: Vec<i64> = Vec::new();
        let mut elements: BTreeMap<i64, i64> = BTreeMap::new();
        for entry in entries {
            let param = param_number(entry.param);
            params.push(param);
            match &entry.value {
                IndexValue::Token { system, code } => {
                    let system = term(tx, system)?;
                    let mut code = Cow::Borrowed(cut(code, MAX_CHARS));
                    if blind::is_identifying(kind, entry.param) {
                        code = Cow::Owned(blind::code(tx, &code)?.into_owned());
                    }
                    rows.tokens.push((code.into_owned(), param, system));
                }
                IndexValue::String { folded, exact } => {
                    let (folded, exact) = (cut(folded, MAX_CHARS), cut(exact, MAX_CHARS));
                    let exact = if exact == folded { "" } else { exact };
                    strings.entry(param).or_default().push((folded.to_owned(), exact.to_owned()));
                    if primary_text == Some(entry.param) {
                        let text = cut(folded, MAX_SORT_CHARS);
                        match &rows.sort_text {
                            Some(least) if !least.is_empty() && least.as_str() <= text => {}
                            _ => rows.sort_text = Some(text.to_owned()),
                        }
                    }
                }
                IndexValue::Date { low_us, high_us } => {
                    dates.entry(param).or_default().push((*low_us, *high_us));
                    if primary_date == Some(entry.param)
                        && (rows.sort_date_us == NO_DATE || *low_us < rows.sort_date_us)
                    {
                        rows.sort_date_us = (*low_us).max(NO_DATE + 1);
                    }
                }
                IndexValue::Quantity { value, low, high, system, code } => {
                    let (system, code) = (term(tx, system)?, term(tx, code)?);
                    let open = *low <= -OPEN || *high >= OPEN;
                    let param = if open { param + ODD } else { param };
                    rows.quantities.push(Quantity {
                        param,
                        value: *value,
                        system,
                        code,
                        low: *low,
                        high: *high,
                    });
                }
                IndexValue::Reference { target } => {
                    rows.references.push((encode_target(target.kind, &target.id), 0, param, 0));
                }
                IndexValue::Uri(uri) => rows.uris.push((param, cut(uri, MAX_CHARS).to_owned())),
                IndexValue::IdentifierOfType { system, code, value } => {
                    let of_type = term(tx, &type_text(system, code))?;
                    let value = blind::code(tx, cut(value, MAX_CHARS))?;
                    rows.tokens.push((value.into_owned(), param + OF_TYPE, of_type));
                }
                IndexValue::ReferenceIdentifier { system, value } => {
                    let system = term(tx, system)?;
                    let value = blind::code(tx, cut(value, MAX_CHARS))?;
                    rows.tokens.push((value.into_owned(), param + IDENTIFIER, system));
                }
                IndexValue::Text { folded, coding: Some((system, code)) } => {
                    display(tx, folded, system, code)?
                }
                IndexValue::Text { folded, coding: None } => {
                    rows.texts.push((param, cut(folded, MAX_CHARS).to_owned()));
                }
                IndexValue::Position { latitude, longitude } => {
                    rows.places.push((param, *latitude, on_sphere(*latitude, *longitude)));
                }
                IndexValue::Composite(values) => {
                    let element = elements.entry(param).or_default();
                    for (part, value) in values.iter().enumerate() {
                        rows.parts.push(Part::new(tx, param, part, *element, value)?);
                    }
                    *element += 1;
                }
            }
        }
        rows.add_dates(dates);
        rows.add_strings(strings);
        let own: BTreeSet<Vec<u8>> = patients.iter().map(|p| encode_target(TypeId::PATIENT, p)).collect();
        for (target, _, param, _) in &rows.references {
            if !own.contains(target) {
                rows.links.push((*param, target.clone()));
            }
        }
        for patient in own {
            rows.references.push((patient, 0, COMPARTMENT, 0));
        }
        let tokens = rows.tokens.iter().fold(0, |all, (code, ..)| all | signature(code));
        for reference in &mut rows.references {
            (reference.1, reference.3) = (rows.sort_date_us, tokens);
        }
        params.sort_unstable();
        params.dedup();
        rows.params = params.into_iter().map(param_character).collect();
        rows.sort();
        Ok(rows)
    }

    fn add_dates(&mut self, dates: BTreeMap<i64, Vec<(i64, i64)>>) {
        for (param, mut ranges) in dates {
            ranges.sort_unstable();
            ranges.dedup();
            let alone = ranges.len() == 1;
            for (low, high) in ranges {
                let short = alone && high.saturating_sub(low) <= SHORT_US;
                self.dates.push((if short { param } else { param + ODD }, low, high));
            }
        }
    }

    fn add_strings(&mut self, strings: BTreeMap<i64, Vec<(String, String)>>) {
        for (param, mut values) in strings {
            values.sort_unstable();
            values.dedup();
            let mut before: Option<String> = None;
            for (folded, exact) in values {
                let shared = match &before {
                    None => -1,
                    Some(text) => text.chars().zip(folded.chars()).take_while(|(a, b)| a == b).count() as i64,
                };
                before = Some(folded.clone());
                self.strings.push((param, folded, exact, shared));
            }
        }
    }

    fn sort(&mut self) {
        self.tokens.sort_unstable();
        self.tokens.dedup();
        self.quantities.sort_by(|a, b| {
            (a.param, a.system, a.code)
                .cmp(&(b.param, b.system, b.code))
                .then(a.value.total_cmp(&b.value))
                .then(a.low.total_cmp(&b.low))
                .then(a.high.total_cmp(&b.high))
        });
        self.quantities.dedup();
        self.references.sort_unstable();
        self.references.dedup();
        self.uris.sort_unstable();
        self.uris.dedup();
        self.links.sort_unstable();
        self.links.dedup();
        self.texts.sort_unstable();
        self.texts.dedup();
    }

    /// Writes what is in `self` and not in `before`, and removes what is in `before` and not in `self`.
    pub fn replace(&self, tx: &mut dyn Tx, kind: TypeId, rid: i64, before: &Rows) -> Result<()> {
        for (code, param, system) in only_in(&before.tokens, &self.tokens) {
            tx.execute(
                "DELETE FROM token WHERE type_id = $1 AND code = $2 AND rid = $3 AND param = $4 AND system = $5",
                crate::params![kind.0, code, rid, *param, *system],
            )?;
        }
        for (param, folded, exact, _) in only_in(&before.strings, &self.strings) {
            tx.execute(
                "DELETE FROM string WHERE param = $1 AND folded = $2 AND rid = $3 AND exact = $4",
                crate::params![*param, folded, rid, exact],
            )?;
        }
        for (param, low, high) in only_in(&before.dates, &self.dates) {
            tx.execute(
                "DELETE FROM date WHERE param = $1 AND low_us = $2 AND high_us = $3 AND rid = $4",
                crate::params![*param, *low, *high, rid],
            )?;
        }
        for q in only_in(&before.quantities, &self.quantities) {
            tx.execute(
                "DELETE FROM quantity WHERE param = $1 AND value = $2 AND rid = $3 AND system = $4 AND code = $5 \
                 AND low = $6 AND high = $7",
                crate::params![q.param, q.value, rid, q.system, q.code, q.low, q.high],
            )?;
        }
        for (target, date, param, _) in only_in(&before.references, &self.references) {
            tx.execute(
                "DELETE FROM reference WHERE target = $1 AND type_id = $2 AND date_us = $3 AND rid = $4 AND param = $5",
                crate::params![target, kind.0, *date, rid, *param],
            )?;
        }
        for (param, uri) in only_in(&before.uris, &self.uris) {
            tx.execute(
                "DELETE FROM uri WHERE param = $1 AND value = $2 AND rid = $3",
                crate::params![*param, uri, rid],
            )?;
        }
        self.remove_more(tx, rid, before)?;
        self.insert(tx, kind, rid, before)
    }

    fn remove_more(&self, tx: &mut dyn Tx, rid: i64, before: &Rows) -> Result<()> {
        for (param, target) in only_in(&before.links, &self.links) {
            tx.execute(
                "DELETE FROM link WHERE rid = $1 AND param = $2 AND target = $3",
                crate::params![rid, *param, target],
            )?;
        }
        for (param, folded) in only_in(&before.texts, &self.texts) {
            tx.execute(
                "DELETE FROM free_text WHERE param = $1 AND folded = $2 AND rid = $3",
                crate::params![*param, folded, rid],
            )?;
        }
        for part in only_in(&before.parts, &self.parts) {
            tx.execute(
                "DELETE FROM composite WHERE param = $1 AND part = $2 AND code = $3 AND rid = $4 AND element = $5 \
                 AND system = $6",
                crate::params![part.param, part.part, &part.code, rid, part.element, part.system],
            )?;
        }
        for (param, latitude, _) in only_in(&before.places, &self.places) {
            tx.execute(
                "DELETE FROM place WHERE param = $1 AND latitude = $2 AND rid = $3",
                crate::params![*param, *latitude, rid],
            )?;
        }
        Ok(())
    }

    fn insert(&self, tx: &mut dyn Tx, kind: TypeId, rid: i64, before: &Rows) -> Result<()> {
        let mut values: Vec<Param<'_>> = Vec::with_capacity(48);
        for (code, param, system) in only_in(&self.tokens, &before.tokens) {
            values.extend_from_slice(crate::params![kind.0, code, rid, *param, *system]);
        }
        many(tx, "INSERT INTO token (type_id, code, rid, param, system)", 5, &mut values)?;
        for (param, folded, exact, shared) in only_in(&self.strings, &before.strings) {
            values.extend_from_slice(crate::params![*param, folded, rid, exact, *shared]);
        }
        many(tx, "INSERT INTO string (param, folded, rid, exact, shared)", 5, &mut values)?;
        for (param, low, high) in only_in(&self.dates, &before.dates) {
            values.extend_from_slice(crate::params![*param, *low, *high, rid]);
        }
        many(tx, "INSERT INTO date (param, low_us, high_us, rid)", 4, &mut values)?;
        for q in only_in(&self.quantities, &before.quantities) {
            values.extend_from_slice(crate::params![q.param, q.value, rid, q.system, q.code, q.low, q.high]);
        }
        many(tx, "INSERT INTO quantity (param, value, rid, system, code, low, high)", 7, &mut values)?;
        for (target, date, param, tokens) in only_in(&self.references, &before.references) {
            values.extend_from_slice(crate::params![target, kind.0, *date, rid, *param, *tokens]);
        }
        many(tx, "INSERT INTO reference (target, type_id, date_us, rid, param, tokens)", 6, &mut values)?;
        for (param, uri) in only_in(&self.uris, &before.uris) {
            values.extend_from_slice(crate::params![*param, uri, rid]);
        }
        many(tx, "INSERT INTO uri (param, value, rid)", 3, &mut values)?;
        for (param, target) in only_in(&self.links, &before.links) {
            values.extend_from_slice(crate::params![rid, *param, target]);
        }
        many(tx, "INSERT INTO link (rid, param, target)", 3, &mut values)?;
        for (param, folded) in only_in(&self.texts, &before.texts) {
            values.extend_from_slice(crate::params![*param, folded, rid]);
        }
        many(tx, "INSERT INTO free_text (param, folded, rid)", 3, &mut values)?;
        for p in only_in(&self.parts, &before.parts) {
            values.extend_from_slice(crate::params![p.param, p.part, &p.code, rid, p.element, p.system]);
            values.extend_from_slice(crate::params![p.unit, p.value, p.low, p.high, p.low_us, p.high_us]);
            values.extend_from_slice(crate::params![&p.folded, &p.exact, &p.target]);
        }
        many(
            tx,
            "INSERT INTO composite (param, part, code, rid, element, system, unit, value, low, high, low_us, high_us, \
             folded, exact, target)",
            15,
            &mut values,
        )?;
        for (param, latitude, (x, y, z)) in only_in(&self.places, &before.places) {
            values.extend_from_slice(crate::params![*param, *latitude, rid, *x, *y, *z]);
        }
        many(tx, "INSERT INTO place (param, latitude, rid, x, y, z)", 6, &mut values)
    }
}

fn many(tx: &mut dyn Tx, insert: &'static str, columns: usize, values: &mut Vec<Param<'_>>) -> Result<()> {
    if !values.is_empty() {
        // A row that is there already is the same row: entries made by an older extractor may be in the way.
        tx.insert_many(insert, "ON CONFLICT DO NOTHING", columns, values)?;
        values.clear();
    }
    Ok(())
}

/// What the first list has and the second has not. Lists are short as a rule and then compared one by one; a resource
/// with thousands of values must not hold the writer for seconds.
fn only_in<'r, T: PartialEq + std::fmt::Debug>(list: &'r [T], other: &'r [T]) -> impl Iterator<Item = &'r T> {
    const SHORT: usize = 64;
    // Some rows hold floating point numbers, which are no keys of a set; their text is one.
    let names = (list.len().min(other.len()) > SHORT)
        .then(|| other.iter().map(|item| format!("{item:?}")).collect::<HashSet<String>>());
    list.iter().filter(move |item| match &names {
        Some(names) => !names.contains(&format!("{item:?}")),
        None => !other.contains(item),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Databases hold them.
    #[test]
    fn signatures_stay_as_they_are() {
        assert_eq!(signature("8867-4"), 0x2400000040);
        assert_eq!(signature("final"), 0xa00000000000040);
        assert_eq!(signature(""), 0x8000000202);
    }
}
