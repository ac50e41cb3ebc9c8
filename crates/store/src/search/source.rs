//! Where the rows of a search come from: a range of one index table, or a walk through a type in order.

use super::builder::Values;
use super::check::{NEVER, by_system, codes_test, system_term, unit, uri_test};
use super::composite::composite;
use super::nested::{is_reference, one_target, word_rows};
use super::range::{
    Bounds, date_test, exact_test, near_test, open_test, prefix_test, quantity_test, short_bounds,
    string_test,
};
use super::wanted::{Node, Scope, Wanted};
use crate::ids::{encode_id, encode_target};
use crate::index::{
    COMPARTMENT, IDENTIFIER, MAX_CHARS, ODD, OF_TYPE, cut, param_number, primary_text, type_text,
};
use crate::{Result, Tx};
use access::Predicate;
use fhir::search::{Filter, Match, Operand, Prefix, Sort};
use fhir::{ParamId, TypeId};

/// The order of a walk through a whole type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Walk {
    Updated,
    Date,
    Text,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The rows of [Wanted] node n; dates together with the other filters of their parameter.
    Node(usize),
    /// The compartment of the patient who asks.
    Compartment,
    /// The compartments of all patients in care of the practitioner who asks.
    Care,
    All(Walk),
}

/// Rows a source gives, as SQL.
#[derive(Debug)]
pub(super) struct Rows {
    /// FROM, without joins.
    pub from: String,
    pub conditions: Vec<String>,
    pub rid: &'static str,
    /// The row's primary date, if the index has it.
    pub date: Option<&'static str>,
    /// The signatures of the row's tokens, if the index has them.
    pub tokens: Option<&'static str>,
    /// A text by which the index is ordered, if it is one.
    pub text: Option<&'static str>,
    /// `resource r` is the source itself.
    pub is_resource: bool,
    /// The node that the source fulfils.
    pub fulfils: Option<usize>,
}

impl Source {
    /// For cursors.
    pub fn tag(self) -> String {
        match self {
            Source::Node(n) => format!("f{n}"),
            Source::Compartment => "p".into(),
            Source::Care => "c".into(),
            Source::All(Walk::Updated) => "au".into(),
            Source::All(Walk::Date) => "ad".into(),
            Source::All(Walk::Text) => "at".into(),
        }
    }

    /// The inverse of [Source::tag], if the source exists for this search.
    pub fn from_tag(tag: &str, wanted: &Wanted) -> Option<Source> {
        let source = match tag {
            "p" => Source::Compartment,
            "c" => Source::Care,
            "au" => Source::All(Walk::Updated),
            "ad" => Source::All(Walk::Date),
            "at" => Source::All(Walk::Text),
            _ => Source::Node(tag.strip_prefix('f')?.parse().ok()?),
        };
        let possible = match source {
            Source::All(Walk::Text) => primary_text(wanted.kind).is_some(),
            Source::All(_) => true,
            _ => candidates(wanted).contains(&source),
        };
        possible.then_some(source)
    }

    /// The rows come without a detour in the order of this walk.
    pub fn is_in_order(self, wanted: &Wanted, walk: Walk) -> bool {
        match self {
            Source::All(own) => own == walk,
            Source::Compartment => walk == Walk::Date,
            Source::Node(n) => wanted.node(n).is_some_and(|node| walk == Walk::Date && is_reference(node)),
            Source::Care => false,
        }
    }
}

/// A prefix of a string: its source is ordered by the string.
pub(super) fn is_prefix(node: &Node) -> bool {
    matches!(node, Node::Filter(f) if f.matching == Match::Default && matches!(&f.any[..], [Operand::String { .. }]))
}

/// The sources that hold only part of the type.
pub(super) fn candidates(wanted: &Wanted) -> Vec<Source> {
    let (mut all, mut nested, mut last) = (Vec::new(), Vec::new(), Vec::new());
    let mut dates: Vec<ParamId> = Vec::new();
    for (n, want) in wanted.wants.iter().enumerate() {
        if let Node::Filter(filter) = &want.node
            && matches!(filter.any.first(), Some(Operand::Date { .. }))
        {
            if dates.contains(&filter.param) {
                continue;
            }
            dates.push(filter.param);
        }
        match grip(&want.node) {
            Grip::None => {}
            Grip::Wide => last.push(Source::Node(n)),
            Grip::Narrow if matches!(want.node, Node::Chain { .. } | Node::Has { .. }) => {
                nested.push(Source::Node(n));
            }
            Grip::Narrow => all.push(Source::Node(n)),
        }
    }
    match wanted.predicate {
        Predicate::Patient(_) => all.push(Source::Compartment),
        Predicate::InCareOf(_) => all.push(Source::Care),
        _ => {}
    }
    // Their counts are dearer, so they come behind.
    all.extend(nested);
    if all.is_empty() { last } else { all }
}

/// Whether even counting the rows of the source is dear.
pub(super) fn is_wide(wanted: &Wanted, source: Source) -> bool {
    matches!(source, Source::Node(n) if wanted.node(n).is_some_and(|node| grip(node) == Grip::Wide))
}

/// How good a start a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Grip {
    /// It holds no rows together.
    None,
    /// All values of the parameter must be looked at.
    Wide,
    Narrow,
}

fn grip(node: &Node) -> Grip {
    match node {
        Node::Filter(filter) => {
            let useful = !filter.any.is_empty()
                && !matches!(filter.matching, Match::Not | Match::Missing)
                && filter.any.iter().all(narrows);
            match useful {
                false => Grip::None,
                true if filter.any.iter().any(|operand| scans(filter, operand)) => Grip::Wide,
                true => Grip::Narrow,
            }
        }
        Node::Ids(_) | Node::Member(_) | Node::Words { .. } => Grip::Narrow,
        Node::Chain { inner, .. } | Node::Has { inner, .. } => {
            let wide = inner.wants.iter().all(|want| grip(&want.node) < Grip::Narrow)
                && !matches!(inner.predicate, Predicate::Patient(_) | Predicate::InCareOf(_));
            if wide { Grip::Wide } else { Grip::Narrow }
        }
        Node::Any(any) => any.iter().map(grip).min().unwrap_or(Grip::Narrow),
        Node::All(all) => all.iter().map(grip).max().unwrap_or(Grip::None),
        Node::Updated(..) | Node::Not(_) | Node::Right(_) => Grip::None,
    }
}

/// Whether all values of the parameter must be looked at: even counting such a source is dear.
fn scans(filter: &Filter, operand: &Operand) -> bool {
    match operand {
        Operand::Quantity { .. }
        | Operand::Token { code: None, .. }
        | Operand::Identifier { value: None, .. } => true,
        Operand::Composite(parts) => !matches!(parts.first(), Some(Operand::Token { code: Some(_), .. })),
        Operand::String { .. } => matches!(filter.matching, Match::Contains | Match::Ends),
        _ => false,
    }
}

fn narrows(operand: &Operand) -> bool {
    match operand {
        Operand::Missing(_)
        | Operand::ValueSet(_)
        | Operand::Hierarchy { .. }
        | Operand::ReferenceTree { .. } => false,
        Operand::Date { prefix, .. } | Operand::Quantity { prefix, .. } => *prefix != Prefix::Ne,
        _ => true,
    }
}

/// Where a walk in order of this sort goes, if there is one.
pub(super) fn walk_of(kind: TypeId, sort: &Sort) -> Option<Walk> {
    match sort {
        Sort::LastUpdated { .. } => Some(Walk::Updated),
        Sort::Id { .. } => None,
        Sort::Param { param, .. } if fhir::definitions::primary_date(kind) == Some(*param) => {
            Some(Walk::Date)
        }
        Sort::Param { param, .. } if primary_text(kind) == Some(*param) => Some(Walk::Text),
        Sort::Param { .. } => None,
    }
}

/// What the SQL of a search is made from.
pub(super) struct Maker<'a> {
    pub scope: &'a Scope<'a>,
    pub wanted: &'a Wanted,
    pub sort: &'a [Sort],
    /// Rows of a page.
    pub count: u32,
}

impl<'a> Maker<'a> {
    /// For rows in no order that are part of another search.
    pub fn nested(scope: &'a Scope<'a>, wanted: &'a Wanted) -> Maker<'a> {
        Maker { scope, wanted, sort: &[], count: 1 }
    }

    pub fn rows(&self, tx: &mut dyn Tx, values: &mut Values, source: Source) -> Result<Rows> {
        match source {
            Source::All(walk) => self.walk(tx, values, walk),
            Source::Compartment => {
                let Predicate::Patient(patient) = &self.wanted.predicate else { return Ok(nothing()) };
                Ok(self.references(values, TypeId::PATIENT, patient, COMPARTMENT, None))
            }
            Source::Care => {
                let Predicate::InCareOf(practitioner) = &self.wanted.predicate else { return Ok(nothing()) };
                let (practitioner, now) =
                    (values.bind(encode_id(practitioner)), values.bind(self.scope.now_us));
                let (kind, param) = (values.bind(i64::from(self.wanted.kind.0)), values.bind(COMPARTMENT));
                Ok(collected(format!(
                    "SELECT DISTINCT f.rid FROM care_link c CROSS JOIN reference f WHERE c.practitioner = {practitioner} \
                     AND c.from_us <= {now} AND c.until_us > {now} AND f.target = c.patient AND f.type_id = {kind} \
                     AND f.param = {param}"
                )))
            }
            Source::Node(n) => match self.wanted.node(n) {
                Some(Node::Filter(filter)) => self.filter(tx, values, n, filter),
                Some(Node::Member(patient)) => {
                    Ok(self.references(values, TypeId::PATIENT, patient, COMPARTMENT, Some(n)))
                }
                Some(Node::Ids(ids)) => {
                    let ids: Vec<String> = ids.iter().map(|id| values.bind(encode_id(id))).collect();
                    let rows = self.resource(values, vec![format!("r.id IN ({})", ids.join(", "))]);
                    Ok(Rows { fulfils: Some(n), ..rows })
                }
                Some(node) => {
                    let mut arms = Vec::new();
                    let exact = self.node_arms(tx, values, node, &mut arms)?;
                    let mut rows = union(&arms);
                    rows.fulfils = exact.then_some(n);
                    Ok(rows)
                }
                None => Ok(nothing()),
            },
        }
    }

    /// The node as a union of ranges; a row may come more than once. Returns whether every row meets the node.
    fn node_arms(
        &self,
        tx: &mut dyn Tx,
        values: &mut Values,
        node: &Node,
        arms: &mut Vec<String>,
    ) -> Result<bool> {
        match node {
            Node::Filter(filter) => {
                arms.extend(self.arms(tx, values, filter)?);
                Ok(!matches!(filter.any.first(), Some(Operand::Date { .. })))
            }
            Node::Ids(ids) => {
                let kind = values.bind(i64::from(self.wanted.kind.0));
                let ids: Vec<String> = ids.iter().map(|id| values.bind(encode_id(id))).collect();
                arms.push(format!(
                    "SELECT rid FROM resource WHERE type_id = {kind} AND id IN ({}) AND deleted = 0",
                    ids.join(", ")
                ));
                Ok(true)
            }
            Node::Member(patient) => {
                arms.push(format!(
                    "SELECT rid FROM reference WHERE target = {} AND type_id = {} AND param = {}",
                    values.bind(encode_target(TypeId::PATIENT, patient)),
                    values.bind(i64::from(self.wanted.kind.0)),
                    values.bind(COMPARTMENT)
                ));
                Ok(true)
            }
            Node::Chain { param, inner } => {
                arms.push(self.chain_arm(tx, values, *param, inner)?);
                Ok(true)
            }
            Node::Has { param, inner } => {
                arms.push(self.has_arm(tx, values, *param, inner)?);
                Ok(true)
            }
            Node::Words { content, any } => {
                for words in any {
                    // The longest word is likely the rarest. The index may be behind a deletion.
                    let Some(word) = words.iter().max_by_key(|word| word.len()) else { continue };
                    let from = word_rows(values, word, *content, self.wanted.kind);
                    arms.push(format!(
                        "SELECT k.rid AS rid FROM {from} AND EXISTS (SELECT 1 FROM resource q WHERE q.rid = k.rid \
                         AND q.deleted = 0{})",
                        self.scope.dialect.look_up()
                    ));
                }
                Ok(any.iter().all(|words| words.len() == 1))
            }
            Node::Any(any) => {
                let mut exact = true;
                for one in any {
                    exact &= self.node_arms(tx, values, one, arms)?;
                }
                Ok(exact)
            }
            Node::All(all) => match all.iter().max_by_key(|one| grip(one)) {
                Some(one) => self.node_arms(tx, values, one, arms).map(|_| false),
                None => Ok(false),
            },
            Node::Updated(..) | Node::Not(_) | Node::Right(_) => Ok(false),
        }
    }

    /// As [Self::node_arms], for counting.
    pub fn arms_of(&self, tx: &mut dyn Tx, values: &mut Values, n: usize) -> Result<Vec<String>> {
        let mut arms = Vec::new();
        if let Some(node) = self.wanted.node(n) {
            self.node_arms(tx, values, node, &mut arms)?;
        }
        Ok(arms)
    }

    fn resource(&self, values: &mut Values, mut conditions: Vec<String>) -> Rows {
        conditions.insert(0, format!("r.type_id = {}", values.bind(i64::from(self.wanted.kind.0))));
        conditions.push("r.deleted = 0".into());
        Rows {
            from: "resource r".into(),
            conditions,
            rid: "r.rid",
            date: Some("r.sort_date_us"),
            tokens: None,
            text: None,
            is_resource: true,
            fulfils: None,
        }
    }

    fn walk(&self, tx: &mut dyn Tx, values: &mut Values, walk: Walk) -> Result<Rows> {
        let mut conditions = Vec::new();
        if walk == Walk::Text {
            conditions.push("r.sort_text IS NOT NULL".into());
        }
        if walk == Walk::Date
            && let Some(bounds) = self.walk_bounds(tx)?
        {
            let (from, until) = (values.bind(bounds.from), values.bind(bounds.until));
            conditions.push(format!("r.sort_date_us >= {from} AND r.sort_date_us < {until}"));
        }
        Ok(self.resource(values, conditions))
    }

    /// Bounds that the filters on the primary date put on the walk. Only if every stored value is short and alone:
    /// then it starts at `sort_date_us`.
    fn walk_bounds(&self, tx: &mut dyn Tx) -> Result<Option<Bounds>> {
        let Some(param) = fhir::definitions::primary_date(self.wanted.kind) else { return Ok(None) };
        let bounds = self.date_bounds(param);
        if bounds == Bounds::ALL {
            return Ok(None);
        }
        let odd = tx.one(
            "SELECT 1 FROM date WHERE param = $1 LIMIT 1",
            &[(param_number(param) + ODD).into()],
            |_| Ok(()),
        )?;
        Ok(odd.is_none().then_some(bounds))
    }

    /// What all filters on this date say together.
    fn date_bounds(&self, param: ParamId) -> Bounds {
        let mut bounds = Bounds::ALL;
        for filter in self.wanted.filters().filter(|f| f.param == param) {
            if let [Operand::Date { prefix, low_us, high_us }] = &filter.any[..] {
                bounds = bounds.and(short_bounds(*prefix, *low_us, *high_us));
            }
        }
        bounds
    }

    fn references(
        &self,
        values: &mut Values,
        kind: TypeId,
        id: &str,
        param: i64,
        fulfils: Option<usize>,
    ) -> Rows {
        let conditions = vec![
            format!("d.target = {}", values.bind(encode_target(kind, id))),
            format!("d.type_id = {}", values.bind(i64::from(self.wanted.kind.0))),
            format!("d.param = {}", values.bind(param)),
        ];
        Rows {
            from: "reference d".into(),
            conditions,
            rid: "d.rid",
            date: Some("d.date_us"),
            tokens: Some("d.tokens"),
            text: None,
            is_resource: false,
            fulfils,
        }
    }

    fn filter(&self, tx: &mut dyn Tx, values: &mut Values, n: usize, filter: &Filter) -> Result<Rows> {
        let number = param_number(filter.param);
        let direct = |table: &str, conditions: Vec<String>, text: Option<&'static str>| Rows {
            from: format!("{table} d"),
            conditions,
            rid: "d.rid",
            date: None,
            tokens: None,
            text,
            is_resource: false,
            fulfils: Some(n),
        };
        if let Some((kind, id)) = one_target(filter) {
            return Ok(self.references(values, kind, id, number, Some(n)));
        }
        match &filter.any[..] {
            [Operand::Token { system, code: Some(code) }] => {
                let term = match system {
                    Some(system) => match system_term(tx, system)? {
                        Some(term) => Some(term),
                        None => return Ok(nothing()),
                    },
                    None => None,
                };
                let mut conditions =
                    vec![format!("d.type_id = {}", values.bind(i64::from(self.wanted.kind.0)))];
                conditions.push(format!("d.code = {}", values.bind(cut(code, MAX_CHARS))));
                conditions.push(format!("d.param = {}", values.bind(number)));
                match term {
                    Some(term) => conditions.push(format!("d.system = {}", values.bind(term))),
                    // A row with the same code in two systems counts once.
                    None => conditions.push(format!(
                        "NOT EXISTS (SELECT 1 FROM token e WHERE e.type_id = d.type_id AND e.code = d.code \
                         AND e.rid = d.rid AND e.param = d.param AND e.system < d.system{})",
                        self.scope.dialect.look_up()
                    )),
                }
                return Ok(direct("token", conditions, None));
            }
            [Operand::String { folded, exact }]
                if !matches!(filter.matching, Match::Contains | Match::Ends) =>
            {
                let mut conditions = vec![format!("d.param = {}", values.bind(number))];
                if filter.matching == Match::Exact {
                    conditions.push(exact_test(values, "d.", folded, exact));
                    return Ok(direct("string", conditions, None));
                }
                conditions.push(match filter.matching {
                    Match::Whole => {
                        string_test(values, self.scope.dialect, "d.", (Match::Whole, folded, exact))
                    }
                    _ => prefix_test(values, "d.", folded),
                });
                let length = cut(folded, MAX_CHARS).chars().count() as i64;
                conditions.push(format!("d.shared < {}", values.bind(length)));
                return Ok(direct("string", conditions, Some("d.folded")));
            }
            [Operand::Uri(uri)] if filter.matching == Match::Default => {
                let conditions = vec![format!(
                    "d.param = {} AND d.{}",
                    values.bind(number),
                    uri_test(values, Match::Default, uri)
                )];
                return Ok(direct("uri", conditions, None));
            }
            _ => {}
        }
        let arms = self.arms(tx, values, filter)?;
        let mut rows = union(&arms);
        // The arms of a date hold to all its filters only for values that are alone; those are tested again.
        rows.fulfils = if matches!(filter.any.first(), Some(Operand::Date { .. })) { None } else { Some(n) };
        Ok(rows)
    }

    /// The filter as a union of ranges; a row may come more than once.
    pub fn arms(&self, tx: &mut dyn Tx, values: &mut Values, filter: &Filter) -> Result<Vec<String>> {
        let number = param_number(filter.param);
        let mut arms = Vec::new();
        let (codes, others) = by_system(filter);
        for (system, codes) in codes {
            let test = codes_test(tx, values, (self.wanted.kind, number), system, &codes)?;
            arms.extend(test.map(|test| format!("SELECT rid FROM token WHERE {test}")));
        }
        for operand in others {
            self.arms_of_operand(tx, values, (filter, number), operand, &mut arms)?;
        }
        Ok(arms)
    }

    fn arms_of_operand(
        &self,
        tx: &mut dyn Tx,
        values: &mut Values,
        (filter, number): (&Filter, i64),
        operand: &Operand,
        arms: &mut Vec<String>,
    ) -> Result<()> {
        match operand {
            Operand::Missing(_) => {}
            Operand::Token { system, code } => {
                arms.extend(self.token_arm(tx, values, number, system.as_deref(), code.as_deref())?);
            }
            Operand::Identifier { system, value } => {
                let number = number + IDENTIFIER;
                arms.extend(self.token_arm(tx, values, number, system.as_deref(), value.as_deref())?);
            }
            Operand::OfType { system, code, value } => {
                let of_type = type_text(system, code);
                arms.extend(self.token_arm(tx, values, number + OF_TYPE, Some(&of_type), Some(value))?);
            }
            Operand::String { folded, exact } => {
                let param = values.bind(number);
                let test = string_test(values, self.scope.dialect, "", (filter.matching, folded, exact));
                arms.push(format!("SELECT rid FROM string WHERE param = {param} AND {test}"));
            }
            Operand::Date { prefix, low_us, high_us } => {
                let own = short_bounds(*prefix, *low_us, *high_us);
                let bounds =
                    if filter.any.len() == 1 { own.and(self.date_bounds(filter.param)) } else { own };
                let (param, odd) = (values.bind(number), values.bind(number + ODD));
                let (from, until) = (values.bind(bounds.from), values.bind(bounds.until));
                let test = date_test(values, *prefix, *low_us, *high_us);
                arms.push(format!(
                    "SELECT rid FROM date WHERE param = {param} AND low_us >= {from} AND low_us < {until} AND {test}"
                ));
                let test = date_test(values, *prefix, *low_us, *high_us);
                arms.push(format!("SELECT rid FROM date WHERE param = {odd} AND {test}"));
            }
            Operand::Quantity { prefix, value, low, high, system, code } => {
                let Some(unit) = unit(tx, values, system.as_deref(), code.as_deref())? else { return Ok(()) };
                let range = (*value, *low, *high);
                let (param, odd) = (values.bind(number), values.bind(number + ODD));
                let (closed, open) =
                    (quantity_test(values, *prefix, range), open_test(values, *prefix, range));
                arms.push(format!("SELECT rid FROM quantity WHERE param = {param} AND {closed}{unit}"));
                arms.push(format!("SELECT rid FROM quantity WHERE param = {odd} AND {open}{unit}"));
            }
            Operand::Reference { kinds, id } => {
                for kind in kinds {
                    arms.push(format!(
                        "SELECT rid FROM reference WHERE target = {} AND type_id = {} AND param = {}",
                        values.bind(encode_target(*kind, id)),
                        values.bind(i64::from(self.wanted.kind.0)),
                        values.bind(number)
                    ));
                }
            }
            // Placeholder until the store answers them: the parser does not yield them before.
            Operand::Uri(uri) => {
                let param = values.bind(number);
                let test = uri_test(values, filter.matching, uri);
                arms.push(format!("SELECT rid FROM uri WHERE param = {param} AND {test}"));
            }
            Operand::Text { folded } => {
                let (kind, param) = (values.bind(i64::from(self.wanted.kind.0)), values.bind(number));
                let test = prefix_test(values, "", folded);
                arms.push(format!("SELECT rid FROM free_text WHERE param = {param} AND {test}"));
                let test = prefix_test(values, "y.", folded);
                arms.push(format!(
                    "SELECT k.rid AS rid FROM display y CROSS JOIN token k WHERE {test} AND k.type_id = {kind} \
                     AND k.code = y.code AND k.param = {param} AND k.system = y.system"
                ));
            }
            Operand::Near { latitude, longitude, meters } => {
                let param = values.bind(number);
                let test = near_test(values, *latitude, *longitude, *meters);
                arms.push(format!("SELECT rid FROM place WHERE param = {param} AND {test}"));
            }
            Operand::Composite(parts) => {
                if let Some(test) = composite(tx, values, number, parts, self.scope.dialect)? {
                    arms.push(format!("SELECT p0.rid AS rid FROM composite p0 WHERE {test}"));
                }
            }
            Operand::ValueSet(_) | Operand::Hierarchy { .. } | Operand::ReferenceTree { .. } => {
                return Err(crate::Error::Invalid("operand"));
            }
        }
        Ok(())
    }

    fn token_arm(
        &self,
        tx: &mut dyn Tx,
        values: &mut Values,
        number: i64,
        system: Option<&str>,
        code: Option<&str>,
    ) -> Result<Option<String>> {
        let term = match system {
            Some(system) => match system_term(tx, system)? {
                Some(term) => Some(term),
                None => return Ok(None),
            },
            None => None,
        };
        let (kind, param) = (values.bind(i64::from(self.wanted.kind.0)), values.bind(number));
        let mut text = format!("SELECT rid FROM token WHERE type_id = {kind} AND param = {param}");
        if let Some(code) = code {
            text.push_str(&format!(" AND code = {}", values.bind(cut(code, MAX_CHARS))));
        }
        if let Some(term) = term {
            text.push_str(&format!(" AND system = {}", values.bind(term)));
        }
        Ok(Some(text))
    }
}

/// The rows of all arms, each once.
fn union(arms: &[String]) -> Rows {
    match arms {
        [] => nothing(),
        [one] => collected(format!("SELECT DISTINCT a.rid FROM ({one}) a")),
        several => collected(united(several, " UNION ")),
    }
}

/// SQLite joins at most 500 SELECTs.
const MAX_ARMS: usize = 250;

/// All arms in one SELECT of `rid`.
pub(super) fn united(arms: &[String], between: &str) -> String {
    if arms.len() <= MAX_ARMS {
        return arms.join(between);
    }
    let parts: Vec<String> = arms
        .chunks(MAX_ARMS)
        .enumerate()
        .map(|(n, arms)| format!("SELECT u{n}.rid AS rid FROM ({}) u{n}", arms.join(between)))
        .collect();
    parts.join(between)
}

fn collected(query: String) -> Rows {
    Rows {
        from: format!("({query}) d"),
        conditions: Vec::new(),
        rid: "d.rid",
        date: None,
        tokens: None,
        text: None,
        is_resource: false,
        fulfils: None,
    }
}

fn nothing() -> Rows {
    collected(format!("SELECT CAST(0 AS BIGINT) AS rid WHERE {NEVER}"))
}
