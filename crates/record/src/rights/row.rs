//! What the policy must know of a row, looked up in the caller's transaction.

use super::veil::Veil;
use crate::Error;
use access::consent::Rule;
use access::{Predicate, RowFacts, Seals};
use fhir::search::{IndexEntry, Params};
use fhir::{Resource, ResourceKey};
use jiff::Timestamp;
use std::collections::HashMap;
use store::Tx;

/// Which version of a row is asked about.
#[derive(Clone, Copy)]
pub(crate) enum Version<'a> {
    /// As it is in the tables.
    Current,
    /// As it is in the tables, with what was read there beside it, for this predicate.
    Guarded(&'a store::resource::Guard),
    /// One that was or will be: what it is sealed as and what values it has stands in it.
    Content(&'a Resource),
}

/// Answers for many rows; what they share is looked up once.
pub(crate) struct Facts {
    now: Timestamp,
    /// By practitioner and patient.
    in_care: HashMap<(String, String), bool>,
    /// By patient.
    consents: HashMap<String, Vec<Vec<Rule>>>,
}

impl Facts {
    pub fn new(now: Timestamp) -> Facts {
        Facts { now, in_care: HashMap::new(), consents: HashMap::new() }
    }

    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Whether the predicate holds for a row of these patients.
    pub fn hold(
        &mut self,
        tx: &mut dyn Tx,
        predicate: &Predicate,
        key: &ResourceKey,
        patients: &[String],
        version: Version<'_>,
    ) -> Result<bool, Error> {
        let now = self.now;
        self.with(tx, predicate, key, patients, version, |facts| {
            Ok(predicate.holds(&RowFacts { now, ..facts }))
        })
    }

    /// The facts that the predicate asks for, for whatever else is to be told from them.
    pub fn with<T>(
        &mut self,
        tx: &mut dyn Tx,
        predicate: &Predicate,
        key: &ResourceKey,
        patients: &[String],
        version: Version<'_>,
        then: impl FnOnce(RowFacts<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let needs = predicate.needs();
        // What was read beside the row is about its first patient.
        let guard = match version {
            Version::Guarded(guard) if patients.len() == 1 => Some(guard),
            _ => None,
        };
        let mut in_care = Vec::new();
        if let Some(practitioner) = needs.care {
            for patient in patients {
                let known = guard.map(|guard| Ok(guard.is_in_care));
                if known.unwrap_or_else(|| self.is_in_care(tx, practitioner, patient))? {
                    in_care.push(patient.clone());
                }
            }
        }
        let (mut seals, mut keys) = (Seals::NONE, Seals::NONE);
        if needs.seals {
            let (current, rid) = match version {
                Version::Guarded(guard) => (guard.seals, guard.rid),
                Version::Content(resource) if needs.keys.is_none() => (Seals::of(resource), 0),
                Version::Content(_) | Version::Current => store::sealed::of(tx, key)?,
            };
            seals = match version {
                Version::Current | Version::Guarded(_) => current,
                Version::Content(resource) => Seals::of(resource),
            };
            if let (Some(practitioner), false) = (needs.keys, seals.is_none()) {
                keys = store::sealed::keys(tx, practitioner, rid, patients)?;
            }
        }
        let mut consents: Vec<Vec<Rule>> = Vec::new();
        if needs.consents && guard.is_none_or(|guard| guard.has_rules) {
            for patient in patients {
                consents.extend(self.consents(tx, patient)?.iter().cloned());
            }
        }
        let entries = if needs.entries { entries(tx, key, version)? } else { Vec::new() };
        then(RowFacts {
            key,
            patients,
            in_care: &in_care,
            seals,
            keys,
            consents: &consents,
            entries: &entries,
            now: self.now,
        })
    }

    /// Of these categories, in which parts of the row are sealed, those that stay closed to who sees it by `predicate`.
    pub fn closed(
        &mut self,
        tx: &mut dyn Tx,
        predicate: &Predicate,
        row: &super::veil::Row<'_>,
        version: Version<'_>,
        parts: Seals,
    ) -> Result<Seals, Error> {
        let keys = match predicate.needs().keys {
            Some(practitioner) => store::sealed::keys(tx, practitioner, row.rid, row.patients)?,
            None => Seals::NONE,
        };
        self.with(tx, predicate, row.key, row.patients, version, |facts| {
            Ok(predicate.closed(&RowFacts { keys: facts.keys.with(keys), ..facts }, parts))
        })
    }

    fn is_in_care(&mut self, tx: &mut dyn Tx, practitioner: &str, patient: &str) -> Result<bool, Error> {
        let name = (practitioner.to_owned(), patient.to_owned());
        if let Some(known) = self.in_care.get(&name) {
            return Ok(*known);
        }
        let one = [patient.to_owned()];
        let known = !store::care_link::in_care(tx, practitioner, &one, self.now)?.is_empty();
        self.in_care.insert(name, known);
        Ok(known)
    }

    fn consents(&mut self, tx: &mut dyn Tx, patient: &str) -> Result<&[Vec<Rule>], Error> {
        if !self.consents.contains_key(patient) {
            let found = store::consent::of_patients(tx, &[patient.to_owned()])?;
            self.consents.insert(patient.to_owned(), found);
        }
        Ok(self.consents.get(patient).map(Vec::as_slice).unwrap_or_default())
    }
}

fn entries(tx: &mut dyn Tx, key: &ResourceKey, version: Version<'_>) -> Result<Vec<IndexEntry>, Error> {
    let params = Params::standard();
    match version {
        Version::Content(resource) => Ok(fhir::search::extract(&params, resource)),
        Version::Current | Version::Guarded(_) => {
            let Some(row) = store::resource::load(tx, key)?.filter(|row| !row.deleted) else {
                return Ok(Vec::new());
            };
            let resource =
                Resource::parse(&row.content).map_err(|o| Error::Internal(format!("stored {key}: {o}")))?;
            Ok(fhir::search::extract(&params, &resource))
        }
    }
}

/// Whether the predicate holds for the current version of a row of these patients.
pub(crate) fn holds(
    tx: &mut dyn Tx,
    predicate: &Predicate,
    key: &ResourceKey,
    patients: &[String],
    now: Timestamp,
) -> Result<bool, Error> {
    if *predicate == Predicate::Everything {
        return Ok(true);
    }
    Facts::new(now).hold(tx, predicate, key, patients, Version::Current)
}

/// The current version of a row, and whether the predicate holds for it.
pub(crate) fn load_if_held(
    tx: &mut dyn Tx,
    predicate: &Predicate,
    key: &ResourceKey,
    now: Timestamp,
    veil: &mut Veil,
) -> Result<Option<(store::resource::Stored, bool)>, Error> {
    let needs = predicate.needs();
    if !needs.seals && needs.care.is_none() {
        let Some(row) = store::resource::load(tx, key)? else { return Ok(None) };
        let held = holds(tx, predicate, key, &row.patients, now)?;
        return Ok(Some((row, held)));
    }
    let Some((row, guard)) = store::resource::load_guarded(tx, key, needs.care, now)? else {
        return Ok(None);
    };
    veil.know(&guard);
    let held = Facts::new(now).hold(tx, predicate, key, &row.patients, Version::Guarded(&guard))?;
    Ok(Some((row, held)))
}

/// The same of another version of it.
pub(crate) fn holds_then(
    tx: &mut dyn Tx,
    predicate: &Predicate,
    key: &ResourceKey,
    patients: &[String],
    then: &Resource,
    now: Timestamp,
) -> Result<bool, Error> {
    if *predicate == Predicate::Everything {
        return Ok(true);
    }
    Facts::new(now).hold(tx, predicate, key, patients, Version::Content(then))
}
