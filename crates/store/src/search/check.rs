//! Whether one row meets a filter or the caller's rights, as a point lookup.

use super::builder::Values;
use super::composite::composite;
use super::range::{ancestors, date_test, near_test, open_test, prefix_test, quantity_test, string_test};
use super::wanted::Scope;
use crate::ids::{encode_id, encode_target};
use crate::index::{
    COMPARTMENT, IDENTIFIER, MAX_CHARS, ODD, OF_TYPE, cut, param_character, param_number, signature,
    type_text,
};
use crate::{Result, Tx};
use access::Predicate;
use fhir::TypeId;
use fhir::search::{Filter, Match, Operand, Prefix};
use std::collections::BTreeMap;

/// How the row under test is named, and what had to be joined for it.
pub(super) struct Subject<'a> {
    pub scope: &'a Scope<'a>,
    pub kind: TypeId,
    /// SQL of the row number, e.g. `d.rid`.
    pub rid: String,
    /// SQL of the row's primary date without joining `resource`.
    pub date: Option<String>,
    /// SQL of the signatures of the row's tokens, likewise.
    pub tokens: Option<&'static str>,
    /// The name under which the row of `resource` is joined.
    pub resource: String,
    /// Set once a condition uses it.
    pub needs_resource: bool,
}

pub(super) const NEVER: &str = "1 = 0";

impl<'a> Subject<'a> {
    /// Of a source.
    pub fn of(scope: &'a Scope<'a>, kind: TypeId, rows: &super::source::Rows) -> Subject<'a> {
        Subject {
            scope,
            kind,
            rid: rows.rid.to_owned(),
            date: rows.date.map(str::to_owned),
            tokens: rows.tokens,
            resource: "r".to_owned(),
            needs_resource: rows.is_resource,
        }
    }

    /// Of a row of `resource` under this name.
    pub fn joined(scope: &'a Scope<'a>, kind: TypeId, resource: &str) -> Subject<'a> {
        Subject {
            scope,
            kind,
            rid: format!("{resource}.rid"),
            date: Some(format!("{resource}.sort_date_us")),
            tokens: None,
            resource: resource.to_owned(),
            needs_resource: true,
        }
    }

    pub(super) fn resource(&mut self, column: &str) -> String {
        self.needs_resource = true;
        format!("{}.{column}", self.resource)
    }

    pub(super) fn date(&mut self) -> String {
        match &self.date {
            Some(date) => date.clone(),
            None => self.resource("sort_date_us"),
        }
    }

    /// The filter as a condition. Several operands are alternatives.
    pub fn filter(&mut self, tx: &mut dyn Tx, values: &mut Values, filter: &Filter) -> Result<String> {
        let mut any = Vec::with_capacity(filter.any.len());
        let (codes, others) = by_system(filter);
        for (system, codes) in codes {
            any.push(self.codes(tx, values, param_number(filter.param), system, &codes)?);
        }
        for operand in others {
            any.push(self.operand(tx, values, filter, operand)?);
        }
        any.retain(|test| test != NEVER);
        let mut any = if any.is_empty() { NEVER.to_owned() } else { any.join(" OR ") };
        if any != NEVER
            && let Some(may) = self.may_have(values, filter)
        {
            any = format!("({may}) AND ({any})");
        }
        Ok(if filter.matching == Match::Not { format!("NOT ({any})") } else { format!("({any})") })
    }

    /// What a row with one of the filter's tokens meets, at hand without a look-up. `None` if that helps nothing.
    fn may_have(&self, values: &mut Values, filter: &Filter) -> Option<String> {
        let tokens = self.tokens?;
        if filter.any.len() > MAX_SIGNATURES {
            return None;
        }
        let mut any = Vec::with_capacity(filter.any.len());
        for operand in &filter.any {
            let code = match operand {
                Operand::Token { code, .. } => code.as_ref()?,
                Operand::Identifier { value, .. } => value.as_ref()?,
                Operand::OfType { value, .. } => value,
                _ => return None,
            };
            any.push(signature(cut(code, MAX_CHARS)));
        }
        let any: Vec<String> = any
            .into_iter()
            .map(|bits| {
                let bits = values.bind(bits);
                format!("({tokens} & {bits}) = {bits}")
            })
            .collect();
        Some(any.join(" OR "))
    }

    fn operand(
        &mut self,
        tx: &mut dyn Tx,
        values: &mut Values,
        filter: &Filter,
        operand: &Operand,
    ) -> Result<String> {
        let number = param_number(filter.param);
        let (rid, look_up) = (self.rid.clone(), self.scope.dialect.look_up());
        Ok(match operand {
            Operand::Missing(missing) => {
                let params = self.resource("params");
                let character = values.bind(param_character(number).to_string());
                let present = self.scope.dialect.contains(&params, &character);
                if *missing { format!("NOT ({present})") } else { present }
            }
            Operand::Token { system, code } => {
                self.token(tx, values, number, system.as_deref(), code.as_deref())?
            }
            Operand::Identifier { system, value } => {
                self.token(tx, values, number + IDENTIFIER, system.as_deref(), value.as_deref())?
            }
            Operand::OfType { system, code, value } => {
                let of_type = type_text(system, code);
                self.token(tx, values, number + OF_TYPE, Some(&of_type), Some(value))?
            }
            Operand::String { folded, exact } => {
                let param = values.bind(number);
                let test = string_test(values, self.scope.dialect, "", (filter.matching, folded, exact));
                format!(
                    "EXISTS (SELECT 1 FROM string WHERE rid = {rid} AND +param = {param} AND {test}{look_up})"
                )
            }
            Operand::Date { prefix, low_us, high_us } => {
                let (param, odd) = (values.bind(number), values.bind(number + ODD));
                let test = date_test(values, *prefix, *low_us, *high_us);
                format!(
                    "EXISTS (SELECT 1 FROM date WHERE rid = {rid} AND +param IN ({param}, {odd}) AND {test}{look_up})"
                )
            }
            Operand::Quantity { prefix, value, low, high, system, code } => {
                let Some(unit) = unit(tx, values, system.as_deref(), code.as_deref())? else {
                    return Ok(NEVER.into());
                };
                let test = quantity_any(values, number, *prefix, (*value, *low, *high));
                format!("EXISTS (SELECT 1 FROM quantity WHERE rid = {rid} AND {test}{unit}{look_up})")
            }
            Operand::Reference { kinds, .. } if kinds.is_empty() => NEVER.into(),
            Operand::Reference { kinds, id } => {
                let (date, param) = (self.date(), values.bind(number));
                let type_id = values.bind(i64::from(self.kind.0));
                let mut any = Vec::new();
                for kind in kinds {
                    let target = values.bind(encode_target(*kind, id));
                    any.push(reference(&target, &type_id, &date, &rid, &param, look_up));
                }
                any.join(" OR ")
            }
            Operand::Uri(uri) => {
                let param = values.bind(number);
                let test = uri_test(values, filter.matching, uri);
                if filter.matching == Match::Below {
                    format!("{rid} IN (SELECT rid FROM uri WHERE param = {param} AND {test})")
                } else {
                    format!(
                        "EXISTS (SELECT 1 FROM uri WHERE param = {param} AND {test} AND rid = {rid}{look_up})"
                    )
                }
            }
            Operand::Text { folded } => {
                let (kind, param) = (values.bind(i64::from(self.kind.0)), values.bind(number));
                let own = prefix_test(values, "", folded);
                let coded = prefix_test(values, "y.", folded);
                format!(
                    "EXISTS (SELECT 1 FROM free_text WHERE rid = {rid} AND +param = {param} AND {own}{look_up}) OR \
                     EXISTS (SELECT 1 FROM display y CROSS JOIN token k WHERE {coded} AND k.type_id = {kind} \
                     AND k.code = y.code AND k.rid = {rid} AND k.param = {param} AND k.system = y.system{look_up})"
                )
            }
            Operand::Near { latitude, longitude, meters } => {
                let param = values.bind(number);
                let test = near_test(values, *latitude, *longitude, *meters);
                format!(
                    "EXISTS (SELECT 1 FROM place WHERE rid = {rid} AND +param = {param} AND {test}{look_up})"
                )
            }
            Operand::Composite(parts) => {
                let Some(test) = composite(tx, values, number, parts, self.scope.dialect)? else {
                    return Ok(NEVER.into());
                };
                format!("EXISTS (SELECT 1 FROM composite p0 WHERE p0.rid = {rid} AND {test}{look_up})")
            }
            // Replaced before: by terminology in `record`, and trees in [super::wanted].
            Operand::ValueSet(_) | Operand::Hierarchy { .. } | Operand::ReferenceTree { .. } => {
                return Err(crate::Error::Invalid("operand"));
            }
        })
    }

    fn token(
        &mut self,
        tx: &mut dyn Tx,
        values: &mut Values,
        number: i64,
        system: Option<&str>,
        code: Option<&str>,
    ) -> Result<String> {
        let (rid, look_up) = (self.rid.clone(), self.scope.dialect.look_up());
        let mut of_system = String::new();
        if let Some(system) = system {
            let Some(term) = system_term(tx, system)? else { return Ok(NEVER.into()) };
            of_system = format!(" AND system = {}", values.bind(term));
        }
        let (kind, param) = (values.bind(i64::from(self.kind.0)), values.bind(number));
        Ok(match code {
            Some(code) => {
                let code = values.bind(cut(code, MAX_CHARS));
                format!(
                    "EXISTS (SELECT 1 FROM token WHERE type_id = {kind} AND code = {code} AND rid = {rid} \
                     AND param = {param}{of_system}{look_up})"
                )
            }
            // The materialised list is made once per query.
            None => format!(
                "{rid} IN (SELECT rid FROM token WHERE type_id = {kind} AND param = {param}{of_system})"
            ),
        })
    }

    /// Any of these codes of one system.
    fn codes(
        &mut self,
        tx: &mut dyn Tx,
        values: &mut Values,
        number: i64,
        system: Option<&str>,
        codes: &[&str],
    ) -> Result<String> {
        let (rid, look_up) = (self.rid.clone(), self.scope.dialect.look_up());
        let Some(rows) = codes_test(tx, values, (self.kind, number), system, codes)? else {
            return Ok(NEVER.into());
        };
        Ok(if codes.len() <= MAX_SEEKS {
            format!("EXISTS (SELECT 1 FROM token WHERE {rows} AND rid = {rid}{look_up})")
        } else {
            // So many look-ups for each row are dearer than one list.
            format!("{rid} IN (SELECT rid FROM token WHERE {rows})")
        })
    }

    /// The caller's rights as a condition; `None` if they do not restrict.
    pub fn rights(
        &mut self,
        tx: &mut dyn Tx,
        values: &mut Values,
        predicate: &Predicate,
    ) -> Result<Option<String>> {
        let look_up = self.scope.dialect.look_up();
        Ok(Some(match predicate {
            Predicate::Everything => return Ok(None),
            Predicate::Nothing => NEVER.into(),
            Predicate::Patient(patient) => {
                let target = values.bind(encode_target(TypeId::PATIENT, patient));
                match self.date.clone() {
                    // The row of `resource` is at hand anyway.
                    Some(date) if !self.needs_resource => {
                        let type_id = values.bind(i64::from(self.kind.0));
                        let param = values.bind(COMPARTMENT);
                        reference(&target, &type_id, &date, &self.rid, &param, look_up)
                    }
                    _ => {
                        let (patient, more) = (self.resource("patient"), self.resource("more_patients"));
                        let rid = &self.rid;
                        format!(
                            "({patient} = {target} OR ({more} > 0 AND EXISTS (SELECT 1 FROM compartment m \
                             WHERE m.rid = {rid} AND m.patient = {target}{look_up})))"
                        )
                    }
                }
            }
            Predicate::InCareOf(practitioner) => {
                let practitioner = values.bind(encode_id(practitioner));
                let now = values.bind(self.scope.now_us);
                let (patient, more) = (self.resource("patient"), self.resource("more_patients"));
                let rid = &self.rid;
                let held =
                    format!("c.practitioner = {practitioner} AND c.from_us <= {now} AND c.until_us > {now}");
                format!(
                    "(EXISTS (SELECT 1 FROM care_link c WHERE {held} AND c.patient = {patient}{look_up}) OR ({more} > 0 AND \
                     EXISTS (SELECT 1 FROM compartment m CROSS JOIN care_link c \
                     WHERE m.rid = {rid} AND c.patient = m.patient AND {held}{look_up})))"
                )
            }
            Predicate::Rows(keys) => {
                let mut ids = Vec::new();
                for key in keys.iter().filter(|key| key.kind == self.kind) {
                    ids.push(values.bind(encode_id(&key.id)));
                }
                if ids.is_empty() {
                    NEVER.into()
                } else {
                    format!("{} IN ({})", self.resource("id"), ids.join(", "))
                }
            }
            Predicate::Any(all) => {
                if all.iter().any(is_everything) {
                    return Ok(None);
                }
                let mut any = Vec::with_capacity(all.len());
                for one in all {
                    any.extend(self.rights(tx, values, one)?);
                }
                Self::either(&any)
            }
            Predicate::All(all) => {
                let mut each = Vec::with_capacity(all.len());
                for one in all {
                    each.extend(self.rights(tx, values, one)?);
                }
                if each.is_empty() {
                    return Ok(None);
                }
                format!("({})", each.join(" AND "))
            }
            Predicate::Open(opener) if self.scope.is_sealed(tx)? => self.open(values, opener),
            Predicate::Consented(asker) if self.scope.is_consented(tx)? => self.consented(values, asker),
            Predicate::Open(_) | Predicate::Consented(_) => return Ok(None),
            Predicate::Matching(all) => {
                let mut each = Vec::with_capacity(all.len());
                for one in all {
                    each.push(self.filter(tx, values, &one.filter())?);
                }
                if each.is_empty() {
                    return Ok(None);
                }
                format!("({})", each.join(" AND "))
            }
        }))
    }

    /// `_lastUpdated`: the instant against a range.
    pub fn last_updated(&mut self, values: &mut Values, (prefix, low, high): (Prefix, i64, i64)) -> String {
        let column = self.resource("last_updated_us");
        let mut v = |n: i64| values.bind(n);
        match prefix {
            Prefix::Eq | Prefix::Ap => format!("({column} >= {} AND {column} < {})", v(low), v(high)),
            Prefix::Ne => format!("({column} < {} OR {column} >= {})", v(low), v(high)),
            Prefix::Gt | Prefix::Sa => format!("{column} >= {}", v(high)),
            Prefix::Lt | Prefix::Eb => format!("{column} < {}", v(low)),
            Prefix::Ge => format!("{column} >= {}", v(low)),
            Prefix::Le => format!("{column} < {}", v(high)),
        }
    }

    pub fn ids(&mut self, values: &mut Values, ids: &[String]) -> String {
        if ids.is_empty() {
            return NEVER.to_owned();
        }
        let list: Vec<String> = ids.iter().map(|id| values.bind(encode_id(id))).collect();
        format!("{} IN ({})", self.resource("id"), list.join(", "))
    }
}

/// Codes whose signatures are compared with a row's; of more, too many rows have one.
const MAX_SIGNATURES: usize = 8;
/// Codes that are looked up one by one for each row.
const MAX_SEEKS: usize = 64;

/// The codes of a filter by their system, if there are several, and the other operands.
pub(super) fn by_system(filter: &Filter) -> (BTreeMap<Option<&str>, Vec<&str>>, Vec<&Operand>) {
    let (mut codes, mut others) = (BTreeMap::<Option<&str>, Vec<&str>>::new(), Vec::new());
    if filter.any.len() < 2 {
        return (codes, filter.any.iter().collect());
    }
    for operand in &filter.any {
        match operand {
            Operand::Token { system, code: Some(code) } => {
                codes.entry(system.as_deref()).or_default().push(cut(code, MAX_CHARS));
            }
            other => others.push(other),
        }
    }
    (codes, others)
}

/// The condition on `token` for any of these codes; `None` if the system is stored nowhere.
pub(super) fn codes_test(
    tx: &mut dyn Tx,
    values: &mut Values,
    (kind, number): (TypeId, i64),
    system: Option<&str>,
    codes: &[&str],
) -> Result<Option<String>> {
    let term = match system {
        Some(system) => match system_term(tx, system)? {
            Some(term) => Some(term),
            None => return Ok(None),
        },
        None => None,
    };
    let (kind, param) = (values.bind(i64::from(kind.0)), values.bind(number));
    let list: Vec<String> = padded(codes).into_iter().map(|code| values.bind(code)).collect();
    let mut test = format!("type_id = {kind} AND code IN ({}) AND param = {param}", list.join(", "));
    if let Some(term) = term {
        test.push_str(&format!(" AND system = {}", values.bind(term)));
    }
    Ok(Some(test))
}

/// The items and the last one again, up to a power of two: so a few statements serve lists of all lengths.
pub(super) fn padded<T: Clone>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    if let Some(last) = items.last().cloned() {
        items.resize(items.len().next_power_of_two(), last);
    }
    items
}

fn is_everything(predicate: &Predicate) -> bool {
    match predicate {
        Predicate::Everything => true,
        Predicate::Any(all) => all.iter().any(is_everything),
        Predicate::All(all) => all.iter().all(is_everything),
        _ => false,
    }
}

pub(super) fn reference(
    target: &str,
    type_id: &str,
    date: &str,
    rid: &str,
    param: &str,
    look_up: &str,
) -> String {
    format!(
        "EXISTS (SELECT 1 FROM reference x WHERE x.target = {target} AND x.type_id = {type_id} AND x.date_us = {date} \
         AND x.rid = {rid} AND x.param = {param}{look_up})"
    )
}

/// The number of a system; 0 for none, `None` for one that is stored nowhere.
pub(super) fn system_term(tx: &mut dyn Tx, system: &str) -> Result<Option<i64>> {
    if system.is_empty() { Ok(Some(0)) } else { tx.term(cut(system, MAX_CHARS), false) }
}

/// Conditions on the unit; `None` if no stored quantity can have it.
pub(super) fn unit(
    tx: &mut dyn Tx,
    values: &mut Values,
    system: Option<&str>,
    code: Option<&str>,
) -> Result<Option<String>> {
    // Nothing is bound before both are known: engines refuse values that no text uses.
    let mut terms = Vec::new();
    for (column, wanted) in [("system", system), ("code", code)] {
        let Some(wanted) = wanted else { continue };
        let Some(term) = system_term(tx, wanted)? else { return Ok(None) };
        terms.push((column, term));
    }
    let conditions = terms.into_iter().map(|(column, term)| format!(" AND {column} = {}", values.bind(term)));
    Ok(Some(conditions.collect()))
}

pub(super) fn quantity_any(
    values: &mut Values,
    number: i64,
    prefix: Prefix,
    range: (f64, f64, f64),
) -> String {
    let (param, odd) = (values.bind(number), values.bind(number + ODD));
    let (closed, open) = (quantity_test(values, prefix, range), open_test(values, prefix, range));
    format!("param IN ({param}, {odd}) AND ((param = {param} AND {closed}) OR (param = {odd} AND {open}))")
}

pub(super) fn uri_test(values: &mut Values, matching: Match, uri: &str) -> String {
    match matching {
        Match::Below => {
            let uri = uri.trim_end_matches('/');
            let (whole, from) = (values.bind(uri), values.bind(format!("{uri}/")));
            // '0' follows '/'.
            format!("(value = {whole} OR (value >= {from} AND value < {}))", values.bind(format!("{uri}0")))
        }
        Match::Above => {
            let all: Vec<String> =
                ancestors(uri).iter().map(|uri| values.bind(cut(uri, MAX_CHARS))).collect();
            format!("value IN ({})", all.join(", "))
        }
        _ => format!("value = {}", values.bind(cut(uri, MAX_CHARS))),
    }
}
