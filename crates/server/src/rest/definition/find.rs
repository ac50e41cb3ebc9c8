//! Searches among built-ins: a few thousand resources in memory, looked at one by one.

use ::fhir::ResourceKey;
use ::fhir::search::{Condition, Filter, IndexEntry, IndexValue, Match, Operand, Prefix, Query};
use jiff::Timestamp;

/// Whether a built-in meets the query. Chains, lists and words find no built-ins.
pub fn matches(query: &Query, key: &ResourceKey, entries: &[IndexEntry], updated: Timestamp) -> bool {
    let found = Found { key, entries, updated_us: updated.as_microsecond() };
    (query.ids.is_empty() || query.ids.contains(&key.id))
        && query.filters.iter().all(|f| found.filter(f))
        && query.last_updated.iter().all(|(prefix, low, high)| found.updated(*prefix, *low, *high))
        && query.conditions.iter().all(|c| found.condition(c))
}

struct Found<'a> {
    key: &'a ResourceKey,
    entries: &'a [IndexEntry],
    updated_us: i64,
}

impl Found<'_> {
    fn condition(&self, condition: &Condition) -> bool {
        match condition {
            Condition::Filter(filter) => self.filter(filter),
            Condition::Ids(ids) => ids.contains(&self.key.id),
            Condition::LastUpdated { prefix, low_us, high_us } => self.updated(*prefix, *low_us, *high_us),
            Condition::All(all) => all.iter().all(|c| self.condition(c)),
            Condition::Any(any) => any.iter().any(|c| self.condition(c)),
            Condition::Not(not) => !self.condition(not),
            Condition::Chain { .. }
            | Condition::Has { .. }
            | Condition::CanonicalChain { .. }
            | Condition::Compartment(_)
            | Condition::Words { .. } => false,
        }
    }

    fn updated(&self, prefix: Prefix, low: i64, high: i64) -> bool {
        between(prefix, (self.updated_us, self.updated_us + 1), (low, high))
    }

    fn filter(&self, filter: &Filter) -> bool {
        let values = || self.entries.iter().filter(|e| e.param == filter.param).map(|e| &e.value);
        let any = |matching: Match| {
            values().any(|value| filter.any.iter().any(|operand| holds(matching, operand, value)))
        };
        match filter.matching {
            Match::Missing => {
                let missing = values().next().is_none();
                filter.any.contains(&Operand::Missing(missing))
            }
            Match::Not => !any(Match::Default),
            other => any(other),
        }
    }
}

fn between(prefix: Prefix, (low, high): (i64, i64), (from, until): (i64, i64)) -> bool {
    match prefix {
        Prefix::Eq | Prefix::Ap => low >= from && high <= until,
        Prefix::Ne => low < from || high > until,
        Prefix::Gt => high > until,
        Prefix::Ge => high > from,
        Prefix::Lt => low < from,
        Prefix::Le => low < until,
        Prefix::Sa => low >= until,
        Prefix::Eb => high <= from,
    }
}

fn holds(matching: Match, operand: &Operand, value: &IndexValue) -> bool {
    match (operand, value) {
        (Operand::Token { system, code }, IndexValue::Token { system: s, code: c }) => {
            system.as_ref().is_none_or(|system| system == s) && code.as_ref().is_none_or(|code| code == c)
        }
        (Operand::String { folded, exact }, IndexValue::String { folded: f, exact: e }) => match matching {
            Match::Exact => exact == e,
            Match::Contains => f.contains(folded.as_str()),
            Match::Ends => f.ends_with(folded.as_str()),
            Match::Whole => f == folded,
            _ => f.starts_with(folded.as_str()),
        },
        (Operand::Uri(wanted), IndexValue::Uri(uri)) => match matching {
            Match::Below => uri == wanted || uri.starts_with(&format!("{}/", wanted.trim_end_matches('/'))),
            Match::Above => uri == wanted || wanted.starts_with(&format!("{}/", uri.trim_end_matches('/'))),
            _ => uri == wanted,
        },
        (Operand::Reference { kinds, id }, IndexValue::Reference { target }) => {
            target.id == *id && (kinds.is_empty() || kinds.contains(&target.kind))
        }
        (Operand::Date { prefix, low_us, high_us }, IndexValue::Date { low_us: low, high_us: high }) => {
            between(*prefix, (*low, *high), (*low_us, *high_us))
        }
        (Operand::Text { folded }, IndexValue::Text { folded: text, .. }) => {
            text.starts_with(folded.as_str())
        }
        _ => false,
    }
}
