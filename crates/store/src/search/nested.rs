//! Conditions over other rows: chains and `_has`, as a test of a row and as the start of a search.

use super::builder::Values;
use super::check::{NEVER, Subject, reference};
use super::source::Maker;
use super::wanted::{Node, Wanted};
use crate::index::param_number;
use crate::{Result, Tx};
use fhir::search::{Filter, Match, Operand};
use fhir::{ParamId, TypeId};

/// The first two bytes of every key of the type, and of the next type.
fn key_range(kind: TypeId) -> (Vec<u8>, Vec<u8>) {
    (kind.0.to_be_bytes().to_vec(), (kind.0 + 1).to_be_bytes().to_vec())
}

impl Subject<'_> {
    /// Whether the row meets the node.
    pub fn node(&mut self, tx: &mut dyn Tx, values: &mut Values, node: &Node) -> Result<String> {
        Ok(match node {
            Node::Filter(filter) => self.filter(tx, values, filter)?,
            Node::Ids(ids) => self.ids(values, ids),
            Node::Updated(prefix, low, high) => self.last_updated(values, (*prefix, *low, *high)),
            Node::Member(patient) => {
                let (date, rid) = (self.date(), self.rid.clone());
                let target = values.bind(crate::ids::encode_target(TypeId::PATIENT, patient));
                let type_id = values.bind(i64::from(self.kind.0));
                let param = values.bind(crate::index::COMPARTMENT);
                reference(&target, &type_id, &date, &rid, &param, self.scope.dialect.look_up())
            }
            Node::Chain { param, inner } => self.chain(tx, values, *param, inner)?,
            Node::Has { param, inner } => self.has(tx, values, *param, inner)?,
            Node::Words { content, any } => {
                let rid = self.rid.clone();
                let lists: Vec<String> = any
                    .iter()
                    .map(|words| {
                        let tests: Vec<String> = words
                            .iter()
                            .map(|word| {
                                let from = word_rows(values, word, *content, self.kind);
                                format!(
                                    "EXISTS (SELECT 1 FROM {from} AND k.rid = {rid}{})",
                                    self.scope.dialect.look_up()
                                )
                            })
                            .collect();
                        format!("({})", tests.join(" AND "))
                    })
                    .collect();
                if lists.is_empty() { NEVER.to_owned() } else { format!("({})", lists.join(" OR ")) }
            }
            Node::All(all) => self.several(tx, values, all, " AND ", "1 = 1")?,
            Node::Any(any) => self.several(tx, values, any, " OR ", NEVER)?,
            Node::Not(one) => format!("NOT ({})", self.node(tx, values, one)?),
            Node::Right(predicate) => {
                self.rights(tx, values, predicate)?.unwrap_or_else(|| "1 = 1".to_owned())
            }
        })
    }

    fn several(
        &mut self,
        tx: &mut dyn Tx,
        values: &mut Values,
        nodes: &[Node],
        between: &str,
        none: &str,
    ) -> Result<String> {
        let mut tests = Vec::with_capacity(nodes.len());
        for node in nodes {
            tests.push(self.node(tx, values, node)?);
        }
        Ok(if tests.is_empty() { none.to_owned() } else { format!("({})", tests.join(between)) })
    }

    /// All that the row must meet, rights included.
    pub(super) fn all_of(&mut self, tx: &mut dyn Tx, values: &mut Values, wanted: &Wanted) -> Result<String> {
        let mut text = String::from("1 = 1");
        for want in &wanted.wants {
            text.push_str(" AND ");
            text.push_str(&self.node(tx, values, &want.node)?);
        }
        if let Some(rights) = self.rights(tx, values, &wanted.predicate)? {
            text.push_str(" AND ");
            text.push_str(&rights);
        }
        Ok(text)
    }

    fn chain(
        &mut self,
        tx: &mut dyn Tx,
        values: &mut Values,
        param: ParamId,
        inner: &Wanted,
    ) -> Result<String> {
        let n = self.scope.alias();
        let look_up = self.scope.dialect.look_up();
        let (from, until) = key_range(inner.kind);
        let (from, until) = (values.bind(from), values.bind(until));
        let (rid, param) = (self.rid.clone(), values.bind(param_number(param)));
        let mut targets = format!(
            "SELECT l{n}.target AS target FROM link l{n} WHERE l{n}.rid = {rid} AND l{n}.param = {param} \
             AND l{n}.target >= {from} AND l{n}.target < {until}"
        );
        if inner.kind == TypeId::PATIENT {
            let (patient, more) = (self.resource("patient"), self.resource("more_patients"));
            let (date, type_id) = (self.date(), values.bind(i64::from(self.kind.0)));
            let own = reference(&patient, &type_id, &date, &rid, &param, look_up);
            let others = reference(&format!("m{n}.patient"), &type_id, &date, &rid, &param, look_up);
            targets.push_str(&format!(
                " UNION ALL SELECT {patient} WHERE {own} \
                 UNION ALL SELECT m{n}.patient FROM compartment m{n} WHERE {more} > 0 AND m{n}.rid = {rid} AND {others}"
            ));
        }
        let kind = values.bind(i64::from(inner.kind.0));
        let mut subject = Subject::joined(self.scope, inner.kind, &format!("r{n}"));
        let test = subject.all_of(tx, values, inner)?;
        let (row, condition) = self.scope.dialect.row_of(
            &format!("r{n}"),
            &format!("{{}}.type_id = {kind} AND {{}}.id = substr(t{n}.target, 3) AND {{}}.deleted = 0"),
        );
        Ok(format!("EXISTS (SELECT 1 FROM ({targets}) t{n}{row} WHERE {condition} AND {test}{look_up})"))
    }

    fn has(
        &mut self,
        tx: &mut dyn Tx,
        values: &mut Values,
        param: ParamId,
        inner: &Wanted,
    ) -> Result<String> {
        let n = self.scope.alias();
        let id = self.resource("id");
        let prefix = values.bind(key_range(self.kind).0);
        let target = self.scope.dialect.joined_bytes(&prefix, &id);
        let (kind, param) = (values.bind(i64::from(inner.kind.0)), values.bind(param_number(param)));
        let mut subject = Subject::joined(self.scope, inner.kind, &format!("r{n}"));
        let test = subject.all_of(tx, values, inner)?;
        let (row, condition) =
            self.scope.dialect.row_of(&format!("r{n}"), &format!("{{}}.rid = f{n}.rid AND {{}}.deleted = 0"));
        Ok(format!(
            "EXISTS (SELECT 1 FROM reference f{n}{row} WHERE f{n}.target = {target} AND f{n}.type_id = {kind} \
             AND f{n}.param = {param} AND {condition} AND {test}{})",
            self.scope.dialect.look_up()
        ))
    }
}

impl Maker<'_> {
    /// A SELECT of the rows' numbers, or of another column of `resource r`, each row once, in no order.
    pub fn select(&self, tx: &mut dyn Tx, values: &mut Values, column: &str) -> Result<String> {
        let source = self.choose(tx)?.source;
        let (rows, conditions, needs_resource) = self.joined(tx, values, source)?;
        let needs_resource = needs_resource || column.starts_with("r.");
        let column = if column == "rid" { rows.rid } else { column };
        Ok(format!(
            "SELECT {column} AS {} FROM {}{} WHERE {}",
            column.rsplit('.').next().unwrap_or(column),
            rows.from,
            super::join(&rows, needs_resource),
            super::all_of(&rows, needs_resource, &conditions)
        ))
    }

    /// A SELECT of the ids of resources of type `kind` to which these rows refer by `param`; one may come more
    /// than once.
    pub fn targets(
        &self,
        tx: &mut dyn Tx,
        values: &mut Values,
        kind: TypeId,
        param: ParamId,
    ) -> Result<String> {
        let inner = self.select(tx, values, "rid")?;
        let (from, until) = key_range(kind);
        let (from, until) = (values.bind(from), values.bind(until));
        let param = values.bind(param_number(param));
        let links = format!(
            "SELECT substr(l.target, 3) AS id FROM ({inner}) s CROSS JOIN link l WHERE l.rid = s.rid \
             AND l.param = {param} AND l.target >= {from} AND l.target < {until}"
        );
        // Hardly a patient is in `link`: with a limit the others are found first.
        if kind == TypeId::PATIENT {
            let type_id = values.bind(i64::from(self.wanted.kind.0));
            let look_up = self.scope.dialect.look_up();
            let own = reference("q.patient", &type_id, "q.sort_date_us", "q.rid", &param, look_up);
            let others = reference("m.patient", &type_id, "q.sort_date_us", "q.rid", &param, look_up);
            return Ok(format!(
                "SELECT substr(q.patient, 3) AS id FROM ({inner}) s CROSS JOIN resource q WHERE q.rid = s.rid \
                 AND {own} UNION ALL SELECT substr(m.patient, 3) FROM ({inner}) s CROSS JOIN resource q \
                 CROSS JOIN compartment m WHERE q.rid = s.rid AND q.more_patients > 0 AND m.rid = s.rid AND {others} \
                 UNION ALL {links}"
            ));
        }
        Ok(links)
    }

    /// The rows that refer by `param` to a row of `inner`.
    pub fn chain_arm(
        &self,
        tx: &mut dyn Tx,
        values: &mut Values,
        param: ParamId,
        inner: &Wanted,
    ) -> Result<String> {
        let targets = Maker::nested(self.scope, inner).select(tx, values, "r.id")?;
        let prefix = values.bind(key_range(inner.kind).0);
        let target = self.scope.dialect.joined_bytes(&prefix, "t.id");
        let (kind, param) = (values.bind(i64::from(self.wanted.kind.0)), values.bind(param_number(param)));
        Ok(format!(
            "SELECT f.rid AS rid FROM ({targets}) t CROSS JOIN reference f WHERE f.target = {target} \
             AND f.type_id = {kind} AND f.param = {param}"
        ))
    }

    /// The rows to which a row of `inner` refers by `param`.
    pub fn has_arm(
        &self,
        tx: &mut dyn Tx,
        values: &mut Values,
        param: ParamId,
        inner: &Wanted,
    ) -> Result<String> {
        let targets = Maker::nested(self.scope, inner).targets(tx, values, self.wanted.kind, param)?;
        let kind = values.bind(i64::from(self.wanted.kind.0));
        Ok(format!(
            "SELECT q.rid AS rid FROM ({targets}) t CROSS JOIN resource q WHERE q.type_id = {kind} AND q.id = t.id \
             AND q.deleted = 0"
        ))
    }
}

/// FROM and WHERE of the rows `k` of `word_row` for a word, which may end in `*`.
pub(super) fn word_rows(values: &mut Values, word: &str, content: bool, kind: TypeId) -> String {
    let text = match word.strip_suffix('*') {
        Some(start) => super::range::prefix_of(values, "w.text", start),
        None => format!("w.text = {}", values.bind(word)),
    };
    let kind = values.bind(i64::from(kind.0));
    let narrative = if content { "" } else { " AND k.narrative = 1" };
    format!("word w CROSS JOIN word_row k WHERE {text} AND k.word = w.id AND k.type_id = {kind}{narrative}")
}

/// One reference target.
pub(super) fn is_reference(node: &Node) -> bool {
    match node {
        Node::Filter(filter) => one_target(filter).is_some(),
        Node::Member(_) => true,
        _ => false,
    }
}

/// A reference to one patient.
pub(super) fn is_patient(node: &Node) -> bool {
    match node {
        Node::Filter(filter) => one_target(filter).is_some_and(|(kind, _)| kind == TypeId::PATIENT),
        Node::Member(_) => true,
        _ => false,
    }
}

/// The single target that the filter names.
pub(super) fn one_target(filter: &Filter) -> Option<(TypeId, &str)> {
    match &filter.any[..] {
        [Operand::Reference { kinds, id }] if filter.matching == Match::Default => match kinds[..] {
            [kind] => Some((kind, id)),
            _ => None,
        },
        _ => None,
    }
}
