//! Scopes of a request: those of resources ([access::ScopeSet]), and the named ones of OpenID Connect and SMART.

use super::refuse;
use crate::Error;
use access::ScopeSet;
use access::scope::MAX_SCOPES;

/// Scopes that are about no resource.
pub(super) const NAMED: [&str; 8] = [
    "openid",
    "fhirUser",
    "profile",
    "launch",
    "launch/patient",
    "launch/encounter",
    "offline_access",
    "online_access",
];

fn is_named(text: &str) -> bool {
    NAMED.contains(&text)
}

/// Each once, in order.
pub(super) fn words<'a>(texts: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for word in texts.into_iter().flat_map(str::split_whitespace).take(MAX_SCOPES) {
        if !all.iter().any(|one| one == word) {
            all.push(word.to_owned());
        }
    }
    all
}

/// What a client may be registered for. Errors: `scope-invalid` with what is wrong about which.
pub(super) fn check(texts: &[String]) -> Result<(), String> {
    if texts.is_empty() {
        return Err("Give at least one scope, e.g. `patient/*.rs`.".into());
    }
    ScopeSet::parse(texts.iter().map(String::as_str).filter(|t| !is_named(t))).map_err(|e| e.to_string())?;
    Ok(())
}

/// Those of `asked`, as they were written, that `registered` covers whole: never more than was registered.
pub(super) fn covered(registered: &[String], asked: &[String]) -> Vec<String> {
    let own = ScopeSet::parse_known(registered.iter().map(String::as_str).filter(|t| !is_named(t)));
    let covers = |text: &&String| {
        if is_named(text) {
            return registered.contains(*text);
        }
        match ScopeSet::parse([text.as_str()]) {
            Ok(one) => !one.is_empty() && own.grant(&one) == one,
            Err(_) => false,
        }
    };
    asked.iter().filter(covers).cloned().collect()
}

/// For a person's application: without what is for servers only.
pub(super) fn personal(scopes: Vec<String>) -> Vec<String> {
    scopes.into_iter().filter(|s| !s.starts_with("system/")).collect()
}

/// Whether it takes a patient to mean anything.
pub(super) fn needs_patient(scopes: &[String]) -> bool {
    scopes.iter().any(|s| s == "launch/patient" || s.starts_with("patient/"))
}

pub(super) fn has(scopes: &[String], name: &str) -> bool {
    scopes.iter().any(|s| s == name)
}

/// What a refresh may ask for: all or some of the grant. Errors: `invalid-scope` for anything beyond.
pub(super) fn narrowed(granted: &[String], asked: Option<&str>) -> Result<Vec<String>, Error> {
    let Some(asked) = asked.map(str::trim).filter(|a| !a.is_empty()) else { return Ok(granted.to_vec()) };
    let asked = words([asked]);
    let narrower = covered(granted, &asked);
    match narrower.len() == asked.len() && !asked.is_empty() {
        true => Ok(narrower),
        false => Err(refuse("invalid-scope", "A refresh may ask for less than was granted, never for more.")),
    }
}
