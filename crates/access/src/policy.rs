//! One table of rights, compiled to a check on a row and to a predicate for queries.

use crate::Ctx;
use fhir::{ResourceKey, TypeId};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    Read,
    Search,
    History,
    Create,
    Update,
    Delete,
}

/// Which rows of one resource type a caller may touch. `store` compiles it to SQL,
/// [decide] evaluates it on one row: the same value serves both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Predicate {
    Nothing,
    Everything,
    /// Rows in the compartment of this patient (and the Patient itself).
    Patient(String),
    /// Rows in the compartment of any patient in care of this practitioner (see `store::care_link`).
    InCareOf(String),
    /// Just these rows, e.g. a practitioner's own Practitioner resource.
    Rows(Vec<ResourceKey>),
    Any(Vec<Predicate>),
}

/// What [decide] must know about the row. For a create: of the new content.
#[derive(Debug, Clone)]
pub struct RowFacts<'a> {
    pub key: &'a ResourceKey,
    /// Ids of the patients whose compartment holds the row; empty for non-clinical rows.
    pub patients: &'a [String],
    /// Those of `patients` that are in care of the caller's practitioner.
    pub in_care: &'a [String],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    Allow,
    Deny,
}

/// The rows of `kind` on which `ctx` may do `action`.
pub fn predicate(ctx: &Ctx, action: Action, kind: TypeId) -> Predicate {
    let _ = (ctx, action, kind);
    Predicate::Nothing
}

/// Whether `ctx` may do `action` on this row.
pub fn decide(ctx: &Ctx, action: Action, row: &RowFacts<'_>) -> Decision {
    if predicate(ctx, action, row.key.kind).holds(row) { Decision::Allow } else { Decision::Deny }
}

impl Predicate {
    pub fn holds(&self, row: &RowFacts<'_>) -> bool {
        match self {
            Predicate::Nothing => false,
            Predicate::Everything => true,
            Predicate::Patient(id) => row.patients.contains(id),
            Predicate::InCareOf(_) => row.patients.iter().any(|p| row.in_care.contains(p)),
            Predicate::Rows(keys) => keys.contains(row.key),
            Predicate::Any(all) => all.iter().any(|p| p.holds(row)),
        }
    }
}
