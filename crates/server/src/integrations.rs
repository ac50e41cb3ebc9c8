//! Health of outside providers, as the administrator sees it.
//!
//! Provider clients report each call with [Integrations::ok] or [Integrations::failed]; nothing here calls anybody.

use jiff::Timestamp;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Errors are cut to this many characters.
const ERROR_CHARACTERS: usize = 300;
/// Names are the program's own, so this is never near.
const NAMES_MAX: usize = 100;

/// What is known about one provider since this process began.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Health {
    pub last_ok: Option<Timestamp>,
    pub last_error: Option<(Timestamp, String)>,
}

impl Health {
    /// No error, or none since the last success.
    pub fn is_healthy(&self) -> bool {
        match (&self.last_ok, &self.last_error) {
            (_, None) => true,
            (Some(ok), Some((failed, _))) => ok >= failed,
            (None, Some(_)) => false,
        }
    }
}

/// All providers of this process.
#[derive(Debug, Default)]
pub struct Integrations(Mutex<BTreeMap<&'static str, Health>>);

impl Integrations {
    /// Lists a provider that is set up, before its first call.
    pub fn add(&self, name: &'static str) {
        self.update(name, |_| {});
    }
    pub fn ok(&self, name: &'static str, at: Timestamp) {
        self.update(name, |health| health.last_ok = Some(at));
    }
    /// `text` must not hold data of a person.
    pub fn failed(&self, name: &'static str, at: Timestamp, text: &str) {
        let text = text.chars().take(ERROR_CHARACTERS).collect();
        self.update(name, |health| health.last_error = Some((at, text)));
    }
    /// By name.
    pub fn list(&self) -> Vec<(&'static str, Health)> {
        self.0.lock().iter().map(|(name, health)| (*name, health.clone())).collect()
    }

    fn update(&self, name: &'static str, change: impl FnOnce(&mut Health)) {
        let mut all = self.0.lock();
        if all.len() < NAMES_MAX || all.contains_key(name) {
            change(all.entry(name).or_default());
        }
    }
}
