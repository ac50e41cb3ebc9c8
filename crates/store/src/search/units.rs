//! A quantity is asked for in every unit that compares with its own; most of them no resource has.

use crate::sql::placeholders;
use crate::{Param, Result, Tx};
use fhir::search::{Filter, Operand};
use std::collections::{BTreeSet, HashSet};

/// The filter without the units that are stored nowhere: one look at the terms instead of one for each. What was
/// asked for first stays, so that something is left to find nothing by.
pub(super) fn known(tx: &mut dyn Tx, mut filter: Filter) -> Result<Filter> {
    let mut codes = BTreeSet::new();
    filter.any.iter().for_each(|operand| add(operand, &mut codes));
    if codes.len() < 2 {
        return Ok(filter);
    }
    let values: Vec<Param<'_>> = codes.iter().map(|code| Param::Text(code)).collect();
    let sql = format!("SELECT text FROM term WHERE text IN ({})", placeholders(1, values.len()));
    let stored: HashSet<String> = tx.all(&sql, &values, |row| row.string(0))?.into_iter().collect();
    let mut first = true;
    filter.any.retain(|operand| std::mem::take(&mut first) || is_known(operand, &stored));
    Ok(filter)
}

fn unit(operand: &Operand) -> Option<&str> {
    match operand {
        Operand::Quantity { system: Some(system), code: Some(code), .. } if system == fhir::ucum::SYSTEM => {
            Some(code)
        }
        _ => None,
    }
}

fn add<'o>(operand: &'o Operand, codes: &mut BTreeSet<&'o str>) {
    match operand {
        Operand::Composite(parts) => parts.iter().for_each(|part| add(part, codes)),
        other => codes.extend(unit(other)),
    }
}

fn is_known(operand: &Operand, stored: &HashSet<String>) -> bool {
    match operand {
        Operand::Composite(parts) => parts.iter().all(|part| is_known(part, stored)),
        other => unit(other).is_none_or(|code| stored.contains(code)),
    }
}
