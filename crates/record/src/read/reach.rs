//! Queries that lead into types of which the caller may see nothing at all are refused as such: "no hits" would be an
//! answer about them, and a wrong one.

use crate::Error;
use access::policy;
use access::{Action, Ctx, Predicate};
use fhir::TypeId;
use fhir::search::{Condition, Include, Params, Query};

/// Errors: `Denied`, at the search parameter that leads there.
pub(super) fn check(ctx: &Ctx, params: &Params, query: &Query) -> Result<(), Error> {
    let reach = Reach { ctx, params };
    for condition in &query.conditions {
        reach.condition(condition)?;
    }
    query.includes.iter().try_for_each(|include| reach.include(include))
}

struct Reach<'a> {
    ctx: &'a Ctx,
    params: &'a Params,
}

impl Reach<'_> {
    fn sees(&self, kind: TypeId) -> bool {
        policy::predicate(self.ctx, Action::Search, kind) != Predicate::Nothing
    }

    fn needs(&self, kind: TypeId, place: &str) -> Result<(), Error> {
        if self.sees(kind) { Ok(()) } else { Err(Error::Denied.at(place)) }
    }

    fn condition(&self, condition: &Condition) -> Result<(), Error> {
        match condition {
            Condition::Chain { param, kind, condition }
            | Condition::CanonicalChain { param, kind, condition, .. } => {
                self.needs(*kind, self.params.by_id(*param).map_or("", |p| p.code))?;
                self.condition(condition)
            }
            Condition::Has { kind, condition, .. } => {
                self.needs(*kind, "_has")?;
                self.condition(condition)
            }
            // A chain that may lead to several types is good as far as it leads to one that can be seen.
            Condition::Any(all) if is_chain(all) => {
                let mut refused = None;
                for one in all {
                    match self.condition(one) {
                        Ok(()) => return Ok(()),
                        Err(error) => refused = Some(error),
                    }
                }
                refused.map_or(Ok(()), Err)
            }
            Condition::All(all) | Condition::Any(all) => all.iter().try_for_each(|one| self.condition(one)),
            Condition::Not(one) => self.condition(one),
            Condition::Filter(_)
            | Condition::Ids(_)
            | Condition::LastUpdated { .. }
            | Condition::Compartment(_)
            | Condition::Words { .. } => Ok(()),
        }
    }

    /// What is named must be readable; of what is not named, that comes which is.
    fn include(&self, include: &Include) -> Result<(), Error> {
        let place = if include.reverse { "_revinclude" } else { "_include" };
        for kind in include.source.into_iter().chain(include.target) {
            self.needs(kind, place)?;
        }
        Ok(())
    }
}

/// Alternatives of one chain over the types that its reference may lead to.
fn is_chain(all: &[Condition]) -> bool {
    let param = |one: &Condition| match one {
        Condition::Chain { param, .. } | Condition::CanonicalChain { param, .. } => Some(*param),
        _ => None,
    };
    let first = all.first().and_then(param);
    first.is_some() && all.iter().all(|one| param(one) == first)
}
