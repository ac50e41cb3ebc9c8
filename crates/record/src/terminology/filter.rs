//! Filters of an include, and parts of code systems that a URL implies, as sets of numbers.

use super::ecl;
use super::implicit::Part;
use super::refuse;
use super::system::System;
use crate::Error;
use fhir::IssueCode;
use regex::Regex;
use store::Tx;
use store::terminology::{Ranges, Union};

pub(crate) const SNOMED: &str = "http://snomed.info/sct";
pub(crate) const LOINC: &str = "http://loinc.org";
/// Compiled size of a regular expression; the `regex` crate needs no more time than the text is long.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// A code that a filter names. Errors: it is not in the system.
fn place(tx: &mut dyn Tx, system: &System, code: &str) -> Result<(u32, Ranges), Error> {
    system
        .place(tx, code)?
        .ok_or_else(|| refuse(IssueCode::CodeInvalid, format!("`{code}` is no code of `{}`.", system.url())))
}

/// What one filter selects. Errors: an operator or code that means nothing here.
pub(crate) fn numbers(
    tx: &mut dyn Tx,
    system: &System,
    property: &str,
    op: &str,
    value: &str,
) -> Result<Ranges, Error> {
    let is_concept = matches!(property, "concept" | "code");
    match op {
        "is-a" | "descendent-of" | "is-not-a" | "generalizes" if is_concept => {
            let (number, below) = place(tx, system, value)?;
            Ok(match op {
                "is-a" => below.union(&Ranges::one(number)),
                "descendent-of" => below,
                "is-not-a" => system.all().minus(&below.union(&Ranges::one(number))),
                _ => system.ancestors(tx, number)?.union(&Ranges::one(number)),
            })
        }
        "=" => equal(tx, system, property, value),
        "in" if is_concept && system.url() == SNOMED => {
            let mut found = Ranges::new();
            for set in codes(value) {
                found = found.union(&system.posting(tx, &format!("m:{set}"))?);
            }
            if found.is_empty() { among(tx, system, property, value) } else { Ok(found) }
        }
        "in" => among(tx, system, property, value),
        "not-in" => Ok(system.all().minus(&among(tx, system, property, value)?)),
        "exists" => {
            let has = match property {
                "parent" => system.any_posting(tx, "p:parent=")?,
                "inactive" => system.inactive(tx)?,
                _ => system.posting(tx, &format!("p:{property}"))?,
            };
            match value {
                "false" => Ok(system.all().minus(&has)),
                "true" => Ok(has),
                _ => Err(refuse(
                    IssueCode::Value,
                    format!("The filter `{property} exists` takes `true` or `false`, not `{value}`."),
                )),
            }
        }
        "regex" => matching(tx, system, property, value),
        _ => Err(refuse(
            IssueCode::NotSupported,
            format!(
                "The filter `{property} {op} {value}` is not supported for `{}`. Known are is-a, descendent-of, \
                 is-not-a and generalizes of concepts, and =, in, not-in, exists and regex.",
                system.url()
            ),
        )),
    }
}

/// The codes of a list with commas.
fn codes(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim).filter(|code| !code.is_empty())
}

fn among(tx: &mut dyn Tx, system: &System, property: &str, value: &str) -> Result<Ranges, Error> {
    let mut found = Ranges::new();
    for one in codes(value) {
        found = found.union(&equal(tx, system, property, one)?);
    }
    Ok(found)
}

fn equal(tx: &mut dyn Tx, system: &System, property: &str, value: &str) -> Result<Ranges, Error> {
    match property {
        "concept" | "code" => {
            Ok(system.place(tx, value)?.map(|(number, _)| Ranges::one(number)).unwrap_or_default())
        }
        "constraint" | "expression" if system.url() == SNOMED => ecl::evaluate(tx, system, value),
        "child" => match system.place(tx, value)? {
            Some((number, _)) => system.parents(tx, number),
            None => Ok(Ranges::new()),
        },
        "ancestor" => Ok(system.place(tx, value)?.map(|(_, below)| below).unwrap_or_default()),
        "descendant" => match system.place(tx, value)? {
            Some((number, _)) => system.ancestors(tx, number),
            None => Ok(Ranges::new()),
        },
        "inactive" | "notSelectable" | "abstract" => {
            let has = if property == "inactive" { system.inactive(tx)? } else { system.abstracts(tx)? };
            Ok(if value == "true" { has } else { system.all().minus(&has) })
        }
        "display" => {
            let mut found = Vec::new();
            system.brief(tx, &system.all(), &mut |number, _, display| {
                if display == value {
                    found.push(number);
                }
            })?;
            Ok(Ranges::of(found))
        }
        // LOINC: the codes of an answer list.
        "LIST" | "answer-list" if system.url() == LOINC => system.posting(tx, &format!("m:{value}")),
        _ => system.posting(tx, &format!("p:{property}={value}")),
    }
}

fn matching(tx: &mut dyn Tx, system: &System, property: &str, pattern: &str) -> Result<Ranges, Error> {
    let regex = regex::RegexBuilder::new(&format!("^(?:{pattern})$"))
        .size_limit(MAX_REGEX_BYTES)
        .build()
        .map_err(|_| refuse(IssueCode::Value, format!("`{pattern}` is no regular expression.")))?;
    let mut found = Vec::new();
    match property {
        "concept" | "code" | "display" => {
            let by_code = property != "display";
            system.brief(tx, &system.all(), &mut |number, code, display| {
                if regex.is_match(if by_code { code } else { display }) {
                    found.push(number);
                }
            })?;
            Ok(Ranges::of(found))
        }
        _ => by_value(tx, system, property, &regex),
    }
}

fn by_value(tx: &mut dyn Tx, system: &System, property: &str, regex: &Regex) -> Result<Ranges, Error> {
    let prefix = format!("p:{property}=");
    let mut found = Union::default();
    system.postings(tx, &prefix, &mut |key, numbers| {
        if key.strip_prefix(&prefix).is_some_and(|value| regex.is_match(value)) {
            found.add(&numbers);
        }
    })?;
    Ok(found.finish())
}

/// The part of a code system that a value set's URL says.
pub(crate) fn implied(tx: &mut dyn Tx, system: &System, part: &Part) -> Result<Ranges, Error> {
    match part {
        Part::All => Ok(system.all()),
        Part::Below(code) => {
            let (number, below) = place(tx, system, code)?;
            Ok(below.union(&Ranges::one(number)))
        }
        Part::Set(set) => {
            let found = system.posting(tx, &format!("m:{set}"))?;
            if found.is_empty() {
                return Err(refuse(
                    IssueCode::NotFound,
                    format!("`{set}` is no reference set or answer list that is loaded here."),
                ));
            }
            Ok(found)
        }
        Part::Sets => {
            let mut sets = Vec::new();
            system
                .postings(tx, "m:", &mut |key, _| sets.extend(key.strip_prefix("m:").map(str::to_owned)))?;
            let mut numbers = Vec::with_capacity(sets.len());
            for set in sets {
                numbers.extend(system.place(tx, &set)?.map(|(number, _)| number));
            }
            Ok(Ranges::of(numbers))
        }
        Part::Expression(expression) => ecl::evaluate(tx, system, expression),
    }
}
