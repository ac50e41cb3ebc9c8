//! Terminology: what FHIR defines, what was imported, and what is asked of both.

mod built_in;
mod import;
mod release;
mod snomed;

use crate::Bench;
use record::Error;
use record::terminology::import::{ImportError, Loaded, Request};
use record::terminology::{Contains, Expand, Expansion, Given, Source, ValidateCode, Validation};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

pub async fn load(
    bench: &Bench,
    path: &Path,
    change: impl FnOnce(&mut Request),
) -> Result<Vec<Loaded>, ImportError> {
    let mut request = Request { paths: vec![path.to_owned()], ..Request::default() };
    change(&mut request);
    bench.record.import_terminology(&bench.system(), request, Arc::new(|_| {})).await
}

pub async fn expand(bench: &Bench, url: &str, change: impl FnOnce(&mut Expand)) -> Result<Expansion, Error> {
    let mut request = Expand::new(Source::Url(url.to_owned()));
    change(&mut request);
    bench.record.expand(&bench.doctor(), request).await
}

pub async fn expand_value(
    bench: &Bench,
    value: Value,
    change: impl FnOnce(&mut Expand),
) -> Result<Expansion, Error> {
    let mut request = Expand::new(Source::Resource(Arc::new(value)));
    change(&mut request);
    bench.record.expand(&bench.doctor(), request).await
}

pub fn codes(contains: &[Contains]) -> Vec<&str> {
    contains.iter().map(|c| c.code.as_str()).collect()
}

pub async fn check(
    bench: &Bench,
    value_set: Option<&str>,
    system: &str,
    code: &str,
    display: Option<&str>,
) -> Validation {
    let request = ValidateCode {
        value_set: value_set.map(|url| Source::Url(url.to_owned())),
        codings: vec![Given {
            system: system.to_owned(),
            version: None,
            code: code.to_owned(),
            display: display.map(str::to_owned),
        }],
        display_language: String::new(),
        is_abstract_allowed: true,
        system_versions: Vec::new(),
        path: String::new(),
    };
    bench.record.validate_code(&bench.doctor(), request).await.unwrap()
}

/// The text of the first issue.
pub fn issue<T: std::fmt::Debug>(result: Result<T, Error>) -> (fhir::IssueCode, String) {
    match result.unwrap_err() {
        Error::Invalid(outcome) => (outcome.issues[0].code, outcome.issues[0].text.clone()),
        other => panic!("{other:?}"),
    }
}
