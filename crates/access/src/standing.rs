//! What the database knows about a caller beyond the account: taken anew with each session look-up.

use crate::matrix::Table;
use crate::seal::Seals;
use crate::{Class, Role};
use jiff::Timestamp;
use std::sync::Arc;

/// A running break-glass: this caller may read everything of this patient until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emergency {
    /// Logical id of the Patient.
    pub patient: String,
    pub until: Timestamp,
}

/// Somebody this caller acts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxied {
    /// Logical id of the Patient.
    pub patient: String,
    /// Logical id of the RelatedPerson that the caller is to the patient; consents name it.
    pub related_person: String,
    /// What of the record.
    pub classes: Vec<Class>,
    /// Sealed categories that are open as well.
    pub seals: Seals,
    pub until: Timestamp,
}

/// Empty for who has nothing of the kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// The administrators' changes of the table of rights; `None`: as it comes.
    pub table: Option<Arc<Table>>,
    pub emergencies: Vec<Emergency>,
    pub proxied: Vec<Proxied>,
}

impl Standing {
    /// The patients whose glass is broken at `now`.
    pub fn emergencies_at(&self, now: Timestamp) -> impl Iterator<Item = &Emergency> {
        self.emergencies.iter().filter(move |e| now < e.until)
    }
    pub fn proxied_at(&self, now: Timestamp) -> impl Iterator<Item = &Proxied> {
        self.proxied.iter().filter(move |p| now < p.until)
    }
    pub fn rights(&self, role: Role, class: Class) -> crate::matrix::Rights {
        match &self.table {
            Some(table) => table.rights(role, class),
            None => crate::matrix::rights(role, class),
        }
    }
}

impl crate::User {
    /// Whether this is the person's own record, or one that she acts on in this class now.
    pub fn acts_for(&self, patient: &str, class: Class, now: Timestamp) -> bool {
        let own = self.patient.as_ref().is_some_and(|own| own.id == patient);
        own || self.roles.contains(&Role::Proxy)
            && self.standing.proxied_at(now).any(|p| p.patient == patient && p.classes.contains(&class))
    }
}
