//! Value sets that their URL describes: SNOMED CT's `?fhir_vs…` and LOINC's `http://loinc.org/vs…`.

use super::filter::{LOINC, SNOMED};
use super::refuse;
use crate::Error;
use fhir::IssueCode;

#[derive(Debug, PartialEq)]
pub(crate) enum Part {
    All,
    /// The code and all below it.
    Below(String),
    /// A reference set or answer list.
    Set(String),
    /// All reference sets.
    Sets,
    /// An expression constraint.
    Expression(String),
}

#[derive(Debug, PartialEq)]
pub(crate) struct Implied {
    pub system: String,
    pub version: Option<String>,
    pub part: Part,
}

/// `None` for any other URL. Errors: a `?fhir_vs` that says nothing known.
pub(crate) fn parse(url: &str) -> Result<Option<Implied>, Error> {
    if let Some(rest) = url.strip_prefix("http://loinc.org/vs") {
        let part = match rest.strip_prefix('/') {
            None if rest.is_empty() => Part::All,
            Some(code) if code.starts_with("LL") => Part::Set(code.to_owned()),
            Some(code) if !code.is_empty() => Part::Below(code.to_owned()),
            _ => return Ok(None),
        };
        return Ok(Some(Implied { system: LOINC.to_owned(), version: None, part }));
    }
    let Some((base, query)) = url.split_once("?fhir_vs") else { return Ok(None) };
    // An edition or version stands behind SNOMED CT's URL; any other code system is named as it is.
    let (system, version) = match base.strip_prefix(SNOMED) {
        Some("" | "/") => (SNOMED, None),
        Some(_) => (SNOMED, Some(base.to_owned())),
        None => (base, None),
    };
    let wrong = || {
        refuse(
            IssueCode::Value,
            format!(
                "`{url}` is no value set. Known are ?fhir_vs, ?fhir_vs=isa/CODE, ?fhir_vs=refset, \
                 ?fhir_vs=refset/CODE and ?fhir_vs=ecl/EXPRESSION."
            ),
        )
    };
    let part = match query.strip_prefix('=') {
        None if query.is_empty() => Part::All,
        None => return Err(wrong()),
        Some("refset") => Part::Sets,
        Some(said) => match said.split_once('/') {
            Some(("isa", code)) if !code.is_empty() => Part::Below(code.to_owned()),
            Some(("refset", code)) if !code.is_empty() => Part::Set(code.to_owned()),
            Some(("ecl", expression)) if !expression.is_empty() => Part::Expression(decoded(expression)),
            _ => return Err(wrong()),
        },
    };
    Ok(Some(Implied { system: system.to_owned(), version, part }))
}

/// Expressions come percent-encoded where the URL stands in a resource.
fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let hex = (*byte == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|h| u8::from_str_radix(h, 16).ok());
        match hex {
            Some(code) => {
                out.push(code);
                at += 3;
            }
            None => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    String::from_utf8(out).unwrap_or_else(|_| text.to_owned())
}
