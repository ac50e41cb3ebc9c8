//! A code system, wherever its concepts are.

use super::memory::Memory;
use super::words::{ABSTRACT, INACTIVE};
use crate::Error;
use serde_json::Value as Json;
use std::collections::HashSet;
use std::sync::Arc;
use store::Tx;
use store::terminology::{Concept, Id, Ranges, Union, concept, posting};

/// Concepts whose ancestors are looked for at once.
const MAX_ANCESTORS: usize = 100_000;

/// A version of a code system that is in the database's own tables.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub id: Id,
    pub url: String,
    /// "" if it has none.
    pub version: String,
    pub count: u32,
    pub header: Json,
}

#[derive(Debug, Clone)]
pub(crate) enum System {
    Memory(Arc<Memory>),
    Loaded(Arc<Loaded>),
}

impl System {
    pub fn url(&self) -> &str {
        match self {
            System::Memory(m) => &m.url,
            System::Loaded(l) => &l.url,
        }
    }
    /// "" if it has none.
    pub fn version(&self) -> &str {
        match self {
            System::Memory(m) => &m.version,
            System::Loaded(l) => &l.version,
        }
    }
    pub fn header(&self) -> &Json {
        match self {
            System::Memory(m) => &m.header,
            System::Loaded(l) => &l.header,
        }
    }
    pub fn text(&self, element: &str) -> Option<&str> {
        self.header().get(element).and_then(Json::as_str)
    }
    /// Whether a code that is not here is wrong; a fragment or an example holds only some.
    pub fn is_complete(&self) -> bool {
        self.text("content").is_none_or(|c| c == "complete")
    }
    fn count(&self) -> u32 {
        match self {
            System::Memory(m) => m.concepts.len() as u32,
            System::Loaded(l) => l.count,
        }
    }
    pub fn all(&self) -> Ranges {
        Ranges::all(self.count())
    }
    fn ignores_case(&self) -> bool {
        self.header().get("caseSensitive") == Some(&Json::Bool(false))
    }

    /// The concept with this code; in the other case only where the system ignores case.
    pub fn concept(&self, tx: &mut dyn Tx, code: &str) -> Result<Option<Concept>, Error> {
        for spelling in self.spellings(code) {
            let found = match self {
                System::Memory(m) => m.get(&spelling).cloned(),
                System::Loaded(l) => concept::by_code(tx, l.id, &spelling)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Number and all descendants of a code.
    pub fn place(&self, tx: &mut dyn Tx, code: &str) -> Result<Option<(u32, Ranges)>, Error> {
        for spelling in self.spellings(code) {
            let found = match self {
                System::Memory(m) => m.get(&spelling).map(|c| (c.number, c.descendants.clone())),
                System::Loaded(l) => concept::place(tx, l.id, &spelling)?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    fn spellings(&self, code: &str) -> Vec<String> {
        let mut all = vec![code.to_owned()];
        if self.ignores_case() {
            for other in [code.to_uppercase(), code.to_lowercase()] {
                if !all.contains(&other) {
                    all.push(other);
                }
            }
        }
        all
    }

    /// The concepts with these numbers, ascending.
    pub fn concepts(&self, tx: &mut dyn Tx, numbers: &Ranges) -> Result<Vec<Concept>, Error> {
        match self {
            System::Memory(m) => {
                Ok(numbers.iter().filter_map(|n| m.concepts.get(n as usize).cloned()).collect())
            }
            System::Loaded(l) => Ok(concept::by_numbers(tx, l.id, numbers)?),
        }
    }

    /// Number, code and display of the concepts with these numbers, ascending.
    pub fn brief(
        &self,
        tx: &mut dyn Tx,
        numbers: &Ranges,
        each: &mut dyn FnMut(u32, &str, &str),
    ) -> Result<(), Error> {
        match self {
            System::Memory(m) => {
                for c in numbers.iter().filter_map(|n| m.concepts.get(n as usize)) {
                    each(c.number, &c.code, &c.display);
                }
            }
            System::Loaded(l) => concept::brief(tx, l.id, numbers, &mut |number, code, display| {
                each(number, code, display);
                Ok(())
            })?,
        }
        Ok(())
    }

    /// Numbers of the codes that begin with a text, at most `limit`.
    pub fn by_prefix(&self, tx: &mut dyn Tx, prefix: &str, limit: u32) -> Result<Ranges, Error> {
        match self {
            System::Memory(m) => Ok(Ranges::of(
                m.concepts
                    .iter()
                    .filter(|c| c.code.get(..prefix.len()).is_some_and(|p| p.eq_ignore_ascii_case(prefix)))
                    .map(|c| c.number)
                    .take(limit as usize)
                    .collect(),
            )),
            System::Loaded(l) => {
                let mut found = concept::by_prefix(tx, l.id, prefix, limit)?;
                let upper = prefix.to_uppercase();
                if upper != prefix {
                    found = found.union(&concept::by_prefix(tx, l.id, &upper, limit)?);
                }
                Ok(found)
            }
        }
    }

    pub fn posting(&self, tx: &mut dyn Tx, key: &str) -> Result<Ranges, Error> {
        match self {
            System::Memory(m) => Ok(m.postings.get(key).cloned().unwrap_or_default()),
            System::Loaded(l) => Ok(posting::get(tx, l.id, key)?),
        }
    }

    /// All keys that begin with `prefix`, with their numbers.
    pub fn postings(
        &self,
        tx: &mut dyn Tx,
        prefix: &str,
        each: &mut dyn FnMut(&str, Ranges),
    ) -> Result<(), Error> {
        match self {
            System::Memory(m) => {
                for (key, numbers) in m.postings.range(prefix.to_owned()..) {
                    if !key.starts_with(prefix) {
                        break;
                    }
                    each(key, numbers.clone());
                }
            }
            System::Loaded(l) => posting::each(tx, l.id, prefix, &mut |key, numbers| {
                each(key, numbers);
                Ok(())
            })?,
        }
        Ok(())
    }

    /// Whoever has any of the keys that begin with `prefix`.
    pub fn any_posting(&self, tx: &mut dyn Tx, prefix: &str) -> Result<Ranges, Error> {
        let mut found = Union::default();
        self.postings(tx, prefix, &mut |_, numbers| found.add(&numbers))?;
        Ok(found.finish())
    }

    pub fn inactive(&self, tx: &mut dyn Tx) -> Result<Ranges, Error> {
        self.posting(tx, INACTIVE)
    }
    pub fn abstracts(&self, tx: &mut dyn Tx) -> Result<Ranges, Error> {
        self.posting(tx, ABSTRACT)
    }

    pub fn parents(&self, tx: &mut dyn Tx, number: u32) -> Result<Ranges, Error> {
        match self {
            System::Memory(m) => {
                Ok(m.concepts.get(number as usize).map(|c| c.parents.clone()).unwrap_or_default())
            }
            System::Loaded(l) => Ok(concept::parents(tx, l.id, number)?),
        }
    }

    /// All concepts above one, without itself.
    pub fn ancestors(&self, tx: &mut dyn Tx, number: u32) -> Result<Ranges, Error> {
        Ok(self.above(tx, &Ranges::one(number))?.minus(&Ranges::one(number)))
    }

    /// All concepts above any of these. Errors: too many to walk through.
    pub fn above(&self, tx: &mut dyn Tx, from: &Ranges) -> Result<Ranges, Error> {
        if from.len() > MAX_ANCESTORS {
            return Err(super::too_costly("The set whose ancestors are asked for", MAX_ANCESTORS));
        }
        let mut found: HashSet<u32> = HashSet::new();
        let mut open: Vec<u32> = from.iter().collect();
        while let Some(next) = open.pop() {
            for parent in self.parents(tx, next)?.iter() {
                if found.insert(parent) {
                    open.push(parent);
                }
            }
        }
        Ok(Ranges::of(found.into_iter().collect()))
    }
}
