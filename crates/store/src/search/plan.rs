//! Which source a search starts from. The planners of the engines know too little for that (SQLite) or are kept
//! from guessing wrongly: a few bounded counts decide.

use super::builder::Values;
use super::nested::{is_patient, is_reference};
use super::source::{Maker, Source, Walk, candidates, is_wide, united, walk_of};
use super::wanted::Node;
use crate::{Result, Tx};
use fhir::search::Operand;

/// A source with so few rows is taken at once.
const FEW: i64 = 50;
/// Sources are compared up to this many rows; larger ones are not collected and sorted unless nothing else is left.
const SOME: i64 = 1_000;

/// Rows of a chain that are counted.
const MANY_NESTED: i64 = 200;
/// When all are larger, they are compared up to this many.
const MANY: i64 = 8_000;
/// From this rank on a source is collected as a whole.
const COLLECTED: u8 = 4;

/// Where to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Choice {
    /// Every source is large: walk a little way in the wanted order first, since rows that are so many are met soon.
    pub walk_first: Option<Walk>,
    pub source: Source,
    /// The source is large and must be collected before its first row is known.
    pub unstreamed: bool,
}

impl From<Source> for Choice {
    fn from(source: Source) -> Choice {
        Choice { walk_first: None, source, unstreamed: false }
    }
}

fn is_nested(node: &Node) -> bool {
    matches!(node, Node::Chain { .. } | Node::Has { .. })
}

impl Maker<'_> {
    pub fn choose(&self, tx: &mut dyn Tx) -> Result<Choice> {
        let wanted = self.wanted;
        if let Some(n) = wanted.wants.iter().position(|want| matches!(want.node, Node::Ids(_))) {
            return Ok(Source::Node(n).into());
        }
        let sorted = self.sort.first();
        // Further keys only order rows that are equal by the first.
        let walk = sorted.and_then(|sort| walk_of(wanted.kind, sort));
        let all = candidates(wanted);
        if all.is_empty() {
            let by_time = wanted.wants.iter().any(|want| matches!(want.node, Node::Updated(..)));
            let walk = walk.unwrap_or(if by_time { Walk::Updated } else { Walk::Date });
            return Ok(Source::All(walk).into());
        }
        // A patient's record by date: the commonest search of all.
        if walk == Some(Walk::Date)
            && let Some(source) = all.iter().find(|source| self.is_patients(**source))
        {
            return Ok((*source).into());
        }
        if let [only] = all[..]
            && (walk.is_none_or(|walk| only.is_in_order(wanted, walk)))
            && (!self.sort.is_empty() || self.streams(only) || is_wide(wanted, only))
        {
            return Ok(only.into());
        }
        if let [only @ Source::Node(n)] = all[..]
            && walk.is_none()
            && self.sort.is_empty()
            && wanted.node(n).is_some_and(is_nested)
        {
            return Ok(Choice { unstreamed: true, ..only.into() });
        }
        let (count, source) = self.least(tx, &all, SOME)?;
        let (Some(walk), SOME..) = (walk, count) else {
            let (count, source) = if count < SOME { (count, source) } else { self.least(tx, &all, MANY)? };
            let large = count >= SOME && self.sort.is_empty() && !self.streams(source);
            // A range of a date that is counted needs no walk.
            return Ok(Choice { unstreamed: large && count >= MANY, ..source.into() });
        };
        match all.iter().find(|source| source.is_in_order(wanted, walk)) {
            Some(source) => Ok((*source).into()),
            None => Ok(Choice { walk_first: Some(walk), ..source.into() }),
        }
    }

    /// The source to collect once a walk has not found the page.
    pub fn narrowest(&self, tx: &mut dyn Tx, otherwise: Source) -> Result<Source> {
        let all = candidates(self.wanted);
        if all.len() < 2 { Ok(otherwise) } else { Ok(self.least(tx, &all, MANY)?.1) }
    }

    /// The source with the fewest rows, counted up to `limit`. One that has only few is taken at once.
    fn least(&self, tx: &mut dyn Tx, all: &[Source], limit: i64) -> Result<(i64, Source)> {
        let mut least = (i64::MAX, all[0]);
        for source in all {
            // Each row of a chain costs several look-ups. It is not small, or it would have been answered before.
            let count = match source {
                Source::Node(n) if self.wanted.node(*n).is_some_and(is_nested) => {
                    let count = self.count(tx, *source, limit.min(MANY_NESTED))?;
                    if count < MANY_NESTED { count } else { limit }
                }
                _ => self.count(tx, *source, limit)?,
            };
            if count < FEW {
                return Ok((count, *source));
            }
            // Among the many, the first kind that streams is best.
            if count < least.0 || (count == least.0 && self.rank(*source) < self.rank(least.1)) {
                least = (count, *source);
            }
        }
        Ok(least)
    }

    fn is_patients(&self, source: Source) -> bool {
        match source {
            Source::Compartment => true,
            Source::Node(n) => self.wanted.node(n).is_some_and(is_patient),
            _ => false,
        }
    }

    /// The first rows come before the last ones are known.
    fn streams(&self, source: Source) -> bool {
        self.rank(source) < COLLECTED
    }

    /// Smaller is better among sources too large to count.
    fn rank(&self, source: Source) -> u8 {
        match source {
            Source::Node(n) => match self.wanted.node(n) {
                Some(node) if is_reference(node) => 0,
                Some(Node::Filter(filter)) => match &filter.any[..] {
                    [Operand::Token { code: Some(_), .. }] => 1,
                    [Operand::Uri(_)] => 2,
                    [Operand::String { .. }] => 3,
                    _ => COLLECTED + 1,
                },
                Some(Node::Ids(_)) => 0,
                _ => COLLECTED + 2,
            },
            Source::Compartment => 0,
            Source::Care => COLLECTED,
            Source::All(_) => 9,
        }
    }

    /// The rows of a source, counted up to `limit`; those of a union may count twice.
    fn count(&self, tx: &mut dyn Tx, source: Source, limit: i64) -> Result<i64> {
        let mut values = Values::default();
        let arms = match source {
            Source::Node(n) => self.arms_of(tx, &mut values, n)?,
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
        let sql = format!("SELECT count(*) FROM ({} LIMIT {limit}) p", united(&arms, " UNION ALL "));
        Ok(tx.one(&sql, &values.params(), |row| row.int(0))?.unwrap_or(0))
    }
}
