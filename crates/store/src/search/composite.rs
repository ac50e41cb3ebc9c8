//! Composites below the root: several conditions on one element.

use super::builder::Values;
use super::check::{system_term, unit};
use super::range::{date_test, open_test, quantity_test};
use crate::ids::encode_target;
use crate::index::{MAX_CHARS, OPEN_TEST, cut};
use crate::{Dialect, Result, Tx};
use fhir::search::Operand;

/// The condition on a row `p0` of `composite` that is the first component; `None` if nothing stored can meet it.
pub(super) fn composite(
    tx: &mut dyn Tx,
    values: &mut Values,
    param: i64,
    parts: &[Operand],
    dialect: Dialect,
) -> Result<Option<String>> {
    let param = values.bind(param);
    let Some(first) = parts.first() else { return Ok(None) };
    let Some(test) = part(tx, values, first)? else { return Ok(None) };
    let mut text = format!("p0.param = {param} AND p0.part = 0 AND {test}");
    for (n, operand) in parts.iter().enumerate().skip(1) {
        let Some(test) = part(tx, values, operand)? else { return Ok(None) };
        text.push_str(&format!(
            " AND EXISTS (SELECT 1 FROM composite p{n} WHERE p{n}.rid = p0.rid AND +p{n}.param = p0.param \
             AND p{n}.element = p0.element AND p{n}.part = {n} AND {test}{})",
            dialect.look_up()
        ));
    }
    Ok(Some(text))
}

/// The test of one component. Its columns stand without a table: the innermost is meant.
fn part(tx: &mut dyn Tx, values: &mut Values, operand: &Operand) -> Result<Option<String>> {
    Ok(Some(match operand {
        Operand::Token { system, code } => {
            let mut tests = Vec::new();
            if let Some(system) = system {
                let Some(term) = system_term(tx, system)? else { return Ok(None) };
                tests.push(("system", term));
            }
            let mut text: Vec<String> =
                tests.into_iter().map(|(column, term)| format!("{column} = {}", values.bind(term))).collect();
            if let Some(code) = code {
                text.push(format!("code = {}", values.bind(cut(code, MAX_CHARS))));
            }
            if text.is_empty() { "1 = 1".into() } else { text.join(" AND ") }
        }
        Operand::String { folded, .. } => super::range::prefix_test(values, "", folded),
        Operand::Date { prefix, low_us, high_us } => date_test(values, *prefix, *low_us, *high_us),
        Operand::Quantity { prefix, value, low, high, system, code } => {
            let Some(unit) = unit(tx, values, system.as_deref(), code.as_deref())? else { return Ok(None) };
            let unit = unit.replace(" AND code = ", " AND unit = ");
            let range = (*value, *low, *high);
            let (closed, open) = (quantity_test(values, *prefix, range), open_test(values, *prefix, range));
            format!("((NOT {OPEN_TEST} AND {closed}) OR ({OPEN_TEST} AND {open})){unit}")
        }
        Operand::Reference { kinds, id } => {
            let targets: Vec<String> =
                kinds.iter().map(|kind| values.bind(encode_target(*kind, id))).collect();
            if targets.is_empty() {
                return Ok(None);
            }
            format!("target IN ({})", targets.join(", "))
        }
        Operand::Uri(uri) => format!("folded = {}", values.bind(cut(uri, MAX_CHARS))),
        _ => return Err(crate::Error::Invalid("operand")),
    }))
}
