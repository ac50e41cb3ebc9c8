//! What conditional interactions and references look for: a search under the caller's own rights, made once to plan the
//! write and once more inside its transaction.

use crate::{Error, Record};
use access::policy;
use access::{Action, Ctx, Predicate};
use fhir::search::{Handling, Query};
use fhir::{IssueCode, Outcome, ResourceKey, TypeId};
use jiff::Timestamp;
use std::sync::Arc;
use store::Tx;

/// Locks in all: a bundle of thousands of conditions must not fill PostgreSQL's table of locks. Conditions that share one
/// only wait for each other.
const LOCKS: i32 = 1024;

/// Parameters that shape an answer and narrow nothing down.
const RESULT_PARAMETERS: &[&str] = &[
    "_sort",
    "_count",
    "_total",
    "_include",
    "_revinclude",
    "_summary",
    "_elements",
    "_contained",
    "_containedType",
    "_cursor",
    "_format",
    "_pretty",
];

/// A parsed condition.
#[derive(Debug, Clone)]
pub(crate) struct Criteria {
    query: Arc<Query>,
    /// `Type?parameters`, for the audit and to tell equal conditions.
    pub text: String,
    lock: i32,
}

/// What a condition found while the write was planned. If it finds anything else in the transaction, the plan is void.
#[derive(Debug, Clone)]
pub(crate) struct Expectation {
    pub criteria: Criteria,
    pub found: Vec<ResourceKey>,
}

impl Criteria {
    /// Up to `most` matches are told apart from more. `place` is where the condition stands in the request.
    /// Errors: `Malformed` for parameters that are wrong or that narrow nothing down.
    pub fn parse(
        record: &Record,
        kind: TypeId,
        pairs: &[(String, String)],
        most: u32,
        place: &str,
    ) -> Result<Criteria, Error> {
        let refuse = |text: String| Error::Malformed(Outcome::one(IssueCode::Value, place, text));
        if pairs.is_empty() {
            return Err(refuse("A condition needs at least one search parameter, e.g. `identifier`.".into()));
        }
        for (name, value) in pairs {
            let code = name.split(':').next().unwrap_or_default();
            if RESULT_PARAMETERS.contains(&code) {
                return Err(refuse(format!("`{code}` has no meaning in a condition.")));
            }
            if value.is_empty() {
                let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
                return Err(refuse(format!("`{name}` has no value; the condition would match everything.")));
            }
        }
        let parsed = fhir::search::parse(&record.params(), kind, pairs, Handling::Strict);
        let (mut query, warnings) = parsed.map_err(|mut outcome| {
            for issue in &mut outcome.issues {
                issue.expression = place.to_owned();
            }
            Error::Malformed(outcome)
        })?;
        if let Some(warning) = warnings.first() {
            return Err(refuse(warning.text.clone()));
        }
        query.count = most.saturating_add(1).min(fhir::search::MAX_PAGE);
        query.total = fhir::search::Total::None;
        let text = format!("{}?{}", kind.name(), crate::bundle::query_text(pairs));
        let lock = store::lock::number(&format!(
            "{:?}{:?}{:?}{:?}",
            kind, query.filters, query.ids, query.conditions
        ));
        Ok(Criteria { query: Arc::new(query), text, lock })
    }

    /// Puts codes in the place of value sets. Errors: `Malformed` for one that is not known or too large.
    pub async fn prepare(&mut self, record: &Record, ctx: &Ctx) -> Result<(), Error> {
        let mut query = (*self.query).clone();
        record.prepare_query(ctx, &mut query).await?;
        self.query = Arc::new(query);
        Ok(())
    }

    pub fn kind(&self) -> TypeId {
        self.query.kind
    }

    pub fn query(&self) -> &Query {
        &self.query
    }

    /// The matches, at most one more than asked for in [Criteria::parse], and the patients concerned.
    /// Errors: `Denied` for a caller who may not search the type at all.
    pub fn find(
        &self,
        tx: &mut dyn Tx,
        ctx: &Ctx,
        now: Timestamp,
    ) -> Result<(Vec<ResourceKey>, Vec<String>), Error> {
        let predicate = policy::predicate(ctx, Action::Search, self.kind());
        if predicate == Predicate::Nothing {
            return Err(Error::Denied);
        }
        let page = store::search::run(tx, &self.query, &crate::read::rights(ctx), now)?;
        let mut keys = Vec::with_capacity(page.rows.len());
        let mut patients = Vec::new();
        for row in page.rows {
            keys.push(row.key);
            patients.extend(row.patients);
        }
        keys.sort();
        Ok((keys, patients))
    }
}

/// Whether every condition still finds what it found. On PostgreSQL two writers with the same condition wait for each
/// other here, so that two conditional creates make one resource.
pub(super) fn still_hold(
    tx: &mut dyn Tx,
    ctx: &Ctx,
    expectations: &[Expectation],
    now: Timestamp,
) -> Result<bool, Error> {
    let mut locks: Vec<i32> = expectations.iter().map(|e| e.criteria.lock.rem_euclid(LOCKS)).collect();
    locks.sort_unstable();
    locks.dedup();
    for lock in locks {
        store::lock::take(tx, lock)?;
    }
    for expectation in expectations {
        if expectation.criteria.find(tx, ctx, now)?.0 != expectation.found {
            return Ok(false);
        }
    }
    Ok(true)
}
