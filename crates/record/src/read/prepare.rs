//! What a parsed query needs before the store can run it: codes of value sets and hierarchies, compartments.

use crate::{Error, Record};
use access::Ctx;
use fhir::search::{Condition, Filter, Operand, Params, Query};
use fhir::{IssueCode, Outcome, ResourceKey, TypeId};

/// Rows of `kind` in the compartment of `key`; `None` if the type is not part of it.
pub(super) fn compartment(_params: &Params, key: &ResourceKey, kind: TypeId) -> Option<Condition> {
    if key.kind == TypeId::PATIENT {
        let part = kind == TypeId::PATIENT || !fhir::definitions::in_patient_compartment(kind).is_empty();
        return part.then(|| Condition::Compartment(key.clone()));
    }
    None
}

/// Whether an operand stands for codes that terminology must name.
fn is_open(operand: &Operand) -> bool {
    matches!(operand, Operand::ValueSet(_) | Operand::Hierarchy { .. })
}

fn each_filter<'q>(condition: &'q mut Condition, found: &mut Vec<&'q mut Filter>) {
    match condition {
        Condition::Filter(filter) => {
            if filter.any.iter().any(is_open) {
                found.push(filter);
            }
        }
        Condition::Chain { condition, .. }
        | Condition::Has { condition, .. }
        | Condition::CanonicalChain { condition, .. }
        | Condition::Not(condition) => each_filter(condition, found),
        Condition::All(all) | Condition::Any(all) => {
            for one in all {
                each_filter(one, found);
            }
        }
        Condition::Ids(_)
        | Condition::LastUpdated { .. }
        | Condition::Compartment(_)
        | Condition::Words { .. } => {}
    }
}

impl Record {
    /// Puts codes in the place of value sets (`:in`) and hierarchies (`:below`). Errors: `Malformed` for a value set that
    /// is not known or too large.
    pub(crate) async fn prepare_query(&self, _ctx: &Ctx, query: &mut Query) -> Result<(), Error> {
        let mut open: Vec<&mut Filter> =
            query.filters.iter_mut().filter(|filter| filter.any.iter().any(is_open)).collect();
        for condition in &mut query.conditions {
            each_filter(condition, &mut open);
        }
        if open.is_empty() {
            return Ok(());
        }
        Err(Error::Malformed(Outcome::one(
            IssueCode::NotSupported,
            "",
            "Searching by value set is not supported yet.",
        )))
    }
}
