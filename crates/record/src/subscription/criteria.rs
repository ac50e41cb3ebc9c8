//! Simple criteria on one version of a resource, without the index.

use fhir::search::{Filter, IndexEntry, IndexValue, Match, Operand, Prefix};

/// Whether the values of a version meet the filter; `None` if only the index can tell.
pub(super) fn holds(filter: &Filter, entries: &[IndexEntry]) -> Option<bool> {
    let mut values = entries.iter().filter(|e| e.param == filter.param).map(|e| &e.value).peekable();
    if let [Operand::Missing(missing)] = filter.any.as_slice() {
        return Some(values.peek().is_none() == *missing);
    }
    if matches!(filter.matching, Match::Missing | Match::Above | Match::Below) {
        return None;
    }
    let mut any = false;
    for value in values {
        for operand in &filter.any {
            any |= meets(filter.matching, operand, value)?;
        }
    }
    // Alternatives that are of another kind than every value were not looked at.
    let plain = |o: &Operand| {
        matches!(
            o,
            Operand::Token { .. }
                | Operand::String { .. }
                | Operand::Date { .. }
                | Operand::Reference { .. }
                | Operand::Uri(_)
        )
    };
    filter.any.iter().all(plain).then_some(any != (filter.matching == Match::Not))
}

fn meets(matching: Match, operand: &Operand, value: &IndexValue) -> Option<bool> {
    Some(match (operand, value) {
        (Operand::Token { system, code }, IndexValue::Token { system: s, code: c }) => {
            system.as_ref().is_none_or(|x| x == s) && code.as_ref().is_none_or(|x| x == c)
        }
        (Operand::String { folded, exact }, IndexValue::String { folded: f, exact: e }) => match matching {
            Match::Exact => e == exact,
            Match::Contains => f.contains(folded.as_str()),
            Match::Ends => f.ends_with(folded.as_str()),
            Match::Whole => f == folded,
            _ => f.starts_with(folded.as_str()),
        },
        (Operand::Reference { kinds, id }, IndexValue::Reference { target }) => {
            kinds.contains(&target.kind) && *id == target.id
        }
        (Operand::Uri(uri), IndexValue::Uri(u)) => uri == u,
        (Operand::Date { prefix, low_us, high_us }, IndexValue::Date { low_us: low, high_us: high }) => {
            let within = low_us <= low && high <= high_us;
            match prefix {
                Prefix::Eq => within,
                Prefix::Ne => !within,
                Prefix::Gt => high > high_us,
                Prefix::Lt => low < low_us,
                Prefix::Ge => within || high > high_us,
                Prefix::Le => within || low < low_us,
                Prefix::Sa => low >= high_us,
                Prefix::Eb => high <= low_us,
                Prefix::Ap => return None,
            }
        }
        // Values that other searches of the same parameter use.
        (
            _,
            IndexValue::Text { .. }
            | IndexValue::IdentifierOfType { .. }
            | IndexValue::ReferenceIdentifier { .. },
        ) => false,
        (Operand::Reference { .. }, IndexValue::Uri(_)) | (Operand::Uri(_), IndexValue::Reference { .. }) => {
            false
        }
        _ => return None,
    })
}
