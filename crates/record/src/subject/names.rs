//! What people and patients are called in the lists of the privacy desk.

use crate::{Error, Record};
use access::Ctx;
use fhir::{Resource, ResourceKey, TypeId};
use std::collections::{BTreeSet, HashMap};

/// Most names of one kind looked up for one list.
const MAX_NAMES: usize = 1_000;

/// Names by what they belong to; what is not there is unknown or erased.
#[derive(Debug, Clone, Default)]
pub struct SubjectNames {
    pub accounts: HashMap<i64, String>,
    /// Patients by logical id.
    pub patients: HashMap<String, Resource>,
}

impl Record {
    /// Names for a list that the caller was given and that names these. Errors: `Busy`, `Internal`.
    pub async fn subject_names(
        &self,
        accounts: Vec<i64>,
        patients: Vec<String>,
    ) -> Result<SubjectNames, Error> {
        let accounts: BTreeSet<i64> = accounts.into_iter().take(MAX_NAMES).collect();
        let patients: BTreeSet<String> = patients.into_iter().take(MAX_NAMES).collect();
        let accounts = self
            .reading(move |tx| {
                let mut people = HashMap::new();
                for id in accounts {
                    people.extend(store::account::load(tx, id)?.map(|found| (id, found.display)));
                }
                Ok(people)
            })
            .await?;
        let system = Ctx::system("privacy", self.now());
        let mut found = HashMap::new();
        for id in patients {
            if let Some((resource, _)) =
                self.load(&system, &ResourceKey::new(TypeId::PATIENT, id.as_str())).await?
            {
                found.insert(id, resource);
            }
        }
        Ok(SubjectNames { accounts, patients: found })
    }
}
