//! Which source a search starts from. The planners of the engines know too little for that (SQLite) or are kept
//! from guessing wrongly: a few bounded counts decide.

use super::builder::Values;
use super::source::{Maker, Source, Walk, candidates, is_patient, is_reference, walk_of};
use crate::{Result, Tx};
use fhir::search::Operand;

/// A source with so few rows is taken at once.
const FEW: i64 = 50;
/// Sources are compared up to this many rows; larger ones are not collected and sorted unless nothing else is left.
const SOME: i64 = 1_000;

/// Where to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    /// Every source is large: walk a little way in the wanted order first, since rows that are so many are met soon.
    pub walk_first: Option<Walk>,
    pub source: Source,
}

impl From<Source> for Choice {
    fn from(source: Source) -> Choice {
        Choice { walk_first: None, source }
    }
}

impl Maker<'_> {
    pub fn choose(&self, tx: &mut dyn Tx) -> Result<Choice> {
        let query = self.query;
        if !query.ids.is_empty() {
            return Ok(Source::Ids.into());
        }
        let sorted = query.sort.first();
        let walk = sorted.and_then(|sort| walk_of(query.kind, sort)).filter(|_| query.sort.len() == 1);
        let all = candidates(query, self.predicate);
        if all.is_empty() {
            let walk = walk.unwrap_or(if query.last_updated.is_empty() { Walk::Date } else { Walk::Updated });
            return Ok(Source::All(walk).into());
        }
        // A patient's record by date: the commonest search of all.
        if walk == Some(Walk::Date)
            && let Some(source) = all.iter().find(|source| self.is_patients(**source))
        {
            return Ok((*source).into());
        }
        if let [only] = all[..]
            && (walk.is_none() || walk.is_some_and(|walk| only.is_in_order(query, walk)))
        {
            return Ok(only.into());
        }
        let mut least = (i64::MAX, all[0]);
        for source in &all {
            let count = self.count(tx, *source, SOME)?;
            if count < FEW {
                return Ok((*source).into());
            }
            // Among the many, the first kind that streams is best.
            if count < least.0 || (count == least.0 && self.rank(*source) < self.rank(least.1)) {
                least = (count, *source);
            }
        }
        let (Some(walk), SOME..) = (walk, least.0) else { return Ok(least.1.into()) };
        match all.iter().find(|source| source.is_in_order(query, walk)) {
            Some(source) => Ok((*source).into()),
            None => Ok(Choice { walk_first: Some(walk), source: least.1 }),
        }
    }

    fn is_patients(&self, source: Source) -> bool {
        match source {
            Source::Compartment => true,
            Source::Filter(n) => self.query.filters.get(n).is_some_and(is_patient),
            _ => false,
        }
    }

    /// Smaller is better among sources too large to count.
    fn rank(&self, source: Source) -> u8 {
        match source {
            Source::Filter(n) => match self.query.filters.get(n) {
                Some(filter) if is_reference(filter) => 0,
                Some(filter) => match &filter.any[..] {
                    [Operand::Token { code: Some(_), .. }] => 1,
                    [Operand::Uri(_)] => 2,
                    [Operand::String { .. }] => 3,
                    _ => 5,
                },
                None => 9,
            },
            Source::Compartment => 0,
            Source::Care => 4,
            Source::Ids | Source::All(_) => 9,
        }
    }

    /// The rows of a source, counted up to `limit`; those of a union may count twice.
    fn count(&self, tx: &mut dyn Tx, source: Source, limit: i64) -> Result<i64> {
        let mut values = Values::default();
        let arms = match source {
            Source::Filter(n) => match self.query.filters.get(n) {
                Some(filter) => self.arms(tx, &mut values, filter)?,
                None => Vec::new(),
            },
            _ => {
                let rows = self.rows(tx, &mut values, source)?;
                let conditions = if rows.conditions.is_empty() {
                    "1 = 1".to_owned()
                } else {
                    rows.conditions.join(" AND ")
                };
                vec![format!("SELECT {} FROM {} WHERE {conditions}", rows.rid, rows.from)]
            }
        };
        if arms.is_empty() {
            return Ok(0);
        }
        let limit = values.bind(limit);
        let sql = format!("SELECT count(*) FROM ({} LIMIT {limit}) p", arms.join(" UNION ALL "));
        Ok(tx.one(&sql, &values.params(), |row| row.int(0))?.unwrap_or(0))
    }
}
