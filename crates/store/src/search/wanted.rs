//! What the rows of one type must meet, with the caller's rights, ready for SQL.
//!
//! Chains and `_has` whose other end is only a few resources are answered first: what is left is a plain reference
//! filter or a list of ids, for which there are the best plans.

use super::builder::Values;
use super::rights::Rights;
use super::source::Maker;
use crate::ids::decode_id;
use crate::index::{MAX_CHARS, cut, param_number};
use crate::keys::blind;
use crate::{Dialect, Error, Result, Tx};
use access::Predicate;
use fhir::search::{Condition, Filter, Match, Operand, Prefix, Query};
use fhir::{ParamId, TypeId};
use std::cell::Cell;

/// Resources at the other end of a chain that are put into the search as they are.
const MAX_RESOLVED: usize = 32;
/// References looked through for so many different targets of a `_has`.
const MAX_LOOKED_AT: usize = 200;
/// Members of a tree (`:below`) and canonicals at the other end of a chain.
const MAX_IN_TREE: usize = 500;

/// What all parts of one search share.
pub(super) struct Scope<'a> {
    pub rights: &'a Rights,
    pub now_us: i64,
    pub dialect: Dialect,
    aliases: Cell<u32>,
    /// Whether any row is sealed, and any consent in force: in most clinics on most days there is little of either.
    guarded: Cell<Option<(bool, bool)>>,
}

impl<'a> Scope<'a> {
    pub fn new(rights: &'a Rights, now_us: i64, dialect: Dialect) -> Scope<'a> {
        Scope { rights, now_us, dialect, aliases: Cell::new(0), guarded: Cell::new(None) }
    }
    pub fn is_sealed(&self, tx: &mut dyn Tx) -> Result<bool> {
        Ok(self.guarded(tx)?.0)
    }
    pub fn is_consented(&self, tx: &mut dyn Tx) -> Result<bool> {
        Ok(self.guarded(tx)?.1)
    }
    /// Within the process the question costs less than the conditions; on PostgreSQL it is a way to the server and
    /// back.
    fn guarded(&self, tx: &mut dyn Tx) -> Result<(bool, bool)> {
        if self.dialect == Dialect::Postgres {
            return Ok((true, true));
        }
        if let Some(known) = self.guarded.get() {
            return Ok(known);
        }
        let sql = "SELECT EXISTS (SELECT 1 FROM sealed), EXISTS (SELECT 1 FROM consent_rule)";
        let found = tx.one(sql, &[], |row| Ok((row.bool(0)?, row.bool(1)?)))?.unwrap_or((true, true));
        self.guarded.set(Some(found));
        Ok(found)
    }
    /// A number for the tables of a subquery that refers to those around it.
    pub fn alias(&self) -> u32 {
        self.aliases.set(self.aliases.get() + 1);
        self.aliases.get()
    }
}

/// A condition with what it needs of other types.
#[derive(Debug, PartialEq)]
pub(super) enum Node {
    Filter(Filter),
    Ids(Vec<String>),
    Updated(Prefix, i64, i64),
    /// In the compartment of this patient.
    Member(String),
    /// Rows whose reference `param` points at a row of `inner`.
    Chain {
        param: ParamId,
        inner: Box<Wanted>,
    },
    /// Rows at which a row of `inner` points by its reference `param`.
    Has {
        param: ParamId,
        inner: Box<Wanted>,
    },
    /// Any of these lists of words, each with all its words; a `*` at the end of a word asks for words that start so.
    Words {
        content: bool,
        any: Vec<Vec<String>>,
    },
    All(Vec<Node>),
    Any(Vec<Node>),
    Not(Box<Node>),
    /// A part of the caller's rights.
    Right(Predicate),
}

impl Node {
    pub fn is_never(&self) -> bool {
        match self {
            Node::Any(none) => none.is_empty(),
            Node::Filter(filter) => filter.any.is_empty() && filter.matching != Match::Not,
            Node::Ids(none) => none.is_empty(),
            Node::Words { any, .. } => any.iter().all(Vec::is_empty),
            _ => false,
        }
    }
}

/// A node that must hold.
#[derive(Debug, PartialEq)]
pub(super) struct Want {
    pub node: Node,
    /// Made by looking at other rows: another page may find another form of it.
    pub derived: bool,
}

#[derive(Debug, PartialEq)]
pub(super) struct Wanted {
    pub kind: TypeId,
    pub predicate: Predicate,
    /// All required.
    pub wants: Vec<Want>,
}

impl Wanted {
    pub fn of_query(tx: &mut dyn Tx, scope: &Scope<'_>, query: &Query) -> Result<Wanted> {
        let mut conditions: Vec<Condition> = query.filters.iter().cloned().map(Condition::Filter).collect();
        if !query.ids.is_empty() {
            conditions.push(Condition::Ids(query.ids.clone()));
        }
        for (prefix, low_us, high_us) in &query.last_updated {
            conditions.push(Condition::LastUpdated { prefix: *prefix, low_us: *low_us, high_us: *high_us });
        }
        conditions.extend(query.conditions.iter().cloned());
        Wanted::new(tx, scope, query.kind, &conditions)
    }

    pub fn new(tx: &mut dyn Tx, scope: &Scope<'_>, kind: TypeId, conditions: &[Condition]) -> Result<Wanted> {
        let right = scope.rights.of(kind);
        let (base, rest) = parts(right.predicate);
        let mut wanted = Wanted { kind, predicate: base, wants: Vec::new() };
        if wanted.predicate == Predicate::Nothing {
            wanted.wants.push(Want { node: Node::Any(Vec::new()), derived: false });
            return Ok(wanted);
        }
        for condition in conditions {
            wanted.add(tx, scope, condition)?;
        }
        for one in rest {
            wanted.wants.push(Want { node: one, derived: false });
        }
        if let Some(hidden) = right.hidden {
            let node = Node::Not(Box::new(node(tx, scope, kind, &hidden)?));
            wanted.wants.push(Want { node, derived: false });
        }
        if blind::is_on(tx) {
            wanted.wants.iter_mut().try_for_each(|want| blinded(tx, kind, &mut want.node))?;
        }
        Ok(wanted)
    }

    fn add(&mut self, tx: &mut dyn Tx, scope: &Scope<'_>, condition: &Condition) -> Result<()> {
        if let Condition::All(all) = condition {
            return all.iter().try_for_each(|one| self.add(tx, scope, one));
        }
        let tree = |operand: &Operand| matches!(operand, Operand::ReferenceTree { .. });
        let derived = match condition {
            Condition::Filter(filter) => filter.any.iter().any(tree),
            _ => true,
        };
        self.wants.push(Want { node: node(tx, scope, self.kind, condition)?, derived });
        Ok(())
    }

    /// No row can meet it.
    pub fn is_never(&self) -> bool {
        self.wants.iter().any(|want| want.node.is_never())
    }

    pub fn filters(&self) -> impl Iterator<Item = &Filter> {
        self.wants.iter().filter_map(|want| match &want.node {
            Node::Filter(filter) => Some(filter),
            _ => None,
        })
    }

    pub fn node(&self, n: usize) -> Option<&Node> {
        self.wants.get(n).map(|want| &want.node)
    }
}

/// Asks for values of people as the index has them. What is behind a chain has been seen to already.
fn blinded(tx: &mut dyn Tx, kind: TypeId, node: &mut Node) -> Result<()> {
    let blind_code = |tx: &mut dyn Tx, code: &mut String| -> Result<()> {
        *code = blind::code(tx, cut(code, MAX_CHARS))?.into_owned();
        Ok(())
    };
    match node {
        Node::Filter(filter) => {
            let is_identifying = blind::is_identifying(kind, filter.param);
            for operand in &mut filter.any {
                match operand {
                    Operand::Token { code: Some(code), .. } if is_identifying => blind_code(tx, code)?,
                    Operand::Identifier { value: Some(value), .. } => blind_code(tx, value)?,
                    Operand::OfType { value, .. } => blind_code(tx, value)?,
                    _ => {}
                }
            }
            Ok(())
        }
        Node::Words { any, .. } => {
            *any = crate::word::encrypted(tx, any)?;
            Ok(())
        }
        Node::All(nodes) | Node::Any(nodes) => nodes.iter_mut().try_for_each(|node| blinded(tx, kind, node)),
        Node::Not(node) => blinded(tx, kind, node),
        _ => Ok(()),
    }
}

/// Rights that all must hold: the one that a search can start from, and the others as nodes.
fn parts(predicate: Predicate) -> (Predicate, Vec<Node>) {
    let Predicate::All(mut all) = predicate else {
        return match predicate {
            Predicate::Matching(all) => (Predicate::Everything, matching(all)),
            guard @ (Predicate::Open(_) | Predicate::Consented(_)) => {
                (Predicate::Everything, vec![Node::Right(guard)])
            }
            one => (one, Vec::new()),
        };
    };
    let start = |one: &Predicate| matches!(one, Predicate::Patient(_) | Predicate::InCareOf(_));
    let base = match all.iter().position(start) {
        Some(place) => all.remove(place),
        None => Predicate::Everything,
    };
    let mut nodes = Vec::new();
    for one in all {
        match one {
            Predicate::Matching(all) => nodes.extend(matching(all)),
            one => nodes.push(Node::Right(one)),
        }
    }
    (base, nodes)
}

fn matching(all: Vec<access::scope::Restriction>) -> Vec<Node> {
    all.iter().map(|one| Node::Filter(one.filter())).collect()
}

fn never() -> Node {
    Node::Any(Vec::new())
}

fn node(tx: &mut dyn Tx, scope: &Scope<'_>, kind: TypeId, condition: &Condition) -> Result<Node> {
    Ok(match condition {
        Condition::Filter(filter) => {
            let filter = without_trees(tx, scope, filter)?;
            Node::Filter(super::units::known(tx, filter)?)
        }
        Condition::Ids(ids) => Node::Ids(ids.clone()),
        Condition::LastUpdated { prefix, low_us, high_us } => Node::Updated(*prefix, *low_us, *high_us),
        Condition::Chain { param, kind: target, condition } => {
            let inner = Wanted::new(tx, scope, *target, std::slice::from_ref(condition))?;
            chain(tx, scope, *param, inner)?
        }
        Condition::Has { kind: source, param, condition } => {
            let inner = Wanted::new(tx, scope, *source, std::slice::from_ref(condition))?;
            has(tx, scope, kind, *param, inner)?
        }
        Condition::CanonicalChain { param, kind: target, url, condition } => {
            let inner = Wanted::new(tx, scope, *target, std::slice::from_ref(condition))?;
            canonical(tx, scope, *param, *url, &inner)?
        }
        // Other compartments come as references.
        Condition::Compartment(key) if key.kind == TypeId::PATIENT => Node::Member(key.id.clone()),
        Condition::Compartment(_) => never(),
        Condition::Words { content, any } => Node::Words {
            content: *content,
            any: any.iter().filter(|words| !words.is_empty()).cloned().collect(),
        },
        Condition::All(all) => {
            let mut nodes = Vec::with_capacity(all.len());
            for one in all {
                nodes.push(node(tx, scope, kind, one)?);
            }
            if nodes.iter().any(Node::is_never) { never() } else { Node::All(nodes) }
        }
        Condition::Any(any) => {
            let mut nodes = Vec::with_capacity(any.len());
            for one in any {
                let one = node(tx, scope, kind, one)?;
                if !one.is_never() {
                    nodes.push(one);
                }
            }
            joined(nodes)
        }
        Condition::Not(one) => Node::Not(Box::new(node(tx, scope, kind, one)?)),
    })
}

/// Alternatives that are references by one parameter are one filter.
fn joined(mut nodes: Vec<Node>) -> Node {
    let plain = |filter: &Filter| {
        filter.matching == Match::Default
            && filter.any.iter().all(|operand| matches!(operand, Operand::Reference { .. }))
    };
    let first = match nodes.first() {
        Some(Node::Filter(first)) if plain(first) => first.param,
        _ => return if nodes.len() == 1 { nodes.swap_remove(0) } else { Node::Any(nodes) },
    };
    let alike = |node: &Node| matches!(node, Node::Filter(f) if f.param == first && plain(f));
    if !nodes.iter().all(alike) {
        return if nodes.len() == 1 { nodes.swap_remove(0) } else { Node::Any(nodes) };
    }
    let mut any = Vec::new();
    for node in nodes {
        if let Node::Filter(filter) = node {
            any.extend(filter.any);
        }
    }
    Node::Filter(Filter { param: first, matching: Match::Default, any })
}

fn chain(tx: &mut dyn Tx, scope: &Scope<'_>, param: ParamId, inner: Wanted) -> Result<Node> {
    if inner.is_never() {
        return Ok(never());
    }
    let mut values = Values::default();
    let maker = Maker::nested(scope, &inner);
    let sql = maker.select(tx, &mut values, "r.id")?;
    let limit = values.bind(MAX_RESOLVED as i64 + 1);
    let ids =
        tx.all(&format!("{sql} LIMIT {limit}"), &values.params(), |row| row.bytes(0).map(<[u8]>::to_vec))?;
    if ids.len() > MAX_RESOLVED {
        return Ok(Node::Chain { param, inner: Box::new(inner) });
    }
    let mut any = Vec::with_capacity(ids.len());
    for id in ids {
        any.push(Operand::Reference { kinds: vec![inner.kind], id: decode_id(&id)? });
    }
    Ok(if any.is_empty() { never() } else { Node::Filter(Filter { param, matching: Match::Default, any }) })
}

/// The canonicals are put into the search as they are.
fn canonical(
    tx: &mut dyn Tx,
    scope: &Scope<'_>,
    param: ParamId,
    url: ParamId,
    inner: &Wanted,
) -> Result<Node> {
    if inner.is_never() {
        return Ok(never());
    }
    let mut values = Values::default();
    let rows = Maker::nested(scope, inner).select(tx, &mut values, "rid")?;
    let url = values.bind(param_number(url));
    let limit = values.bind(MAX_IN_TREE as i64 + 1);
    let sql = format!(
        "SELECT DISTINCT u.value FROM uri u WHERE u.param = {url} AND u.rid IN ({rows}) LIMIT {limit}"
    );
    let any = tx.all(&sql, &values.params(), |row| row.string(0).map(Operand::Uri))?;
    if any.len() > MAX_IN_TREE {
        return Err(Error::TooCostly);
    }
    Ok(if any.is_empty() { never() } else { Node::Filter(Filter { param, matching: Match::Default, any }) })
}

/// The filter with the members of trees (`:above`, `:below`) in their place.
fn without_trees(tx: &mut dyn Tx, scope: &Scope<'_>, filter: &Filter) -> Result<Filter> {
    let mut any = Vec::with_capacity(filter.any.len());
    for operand in &filter.any {
        match operand {
            Operand::ReferenceTree { kind, id, parent, up } => {
                let member = |id: String| Operand::Reference { kinds: vec![*kind], id };
                any.extend(tree(tx, scope, (*kind, id), *parent, *up)?.into_iter().map(member));
            }
            other => any.push(other.clone()),
        }
    }
    if any.len() > MAX_IN_TREE {
        return Err(Error::TooCostly);
    }
    Ok(Filter { param: filter.param, matching: filter.matching, any })
}

/// A resource and what is below it or above it by the reference `parent`, as far as the caller may see it. Cycles end
/// by themselves.
fn tree(
    tx: &mut dyn Tx,
    scope: &Scope<'_>,
    (kind, id): (TypeId, &str),
    parent: ParamId,
    up: bool,
) -> Result<Vec<String>> {
    let mut found = vec![id.to_owned()];
    let mut at = 0;
    // Level by level, a statement for each member: trees of places and organizations are small.
    while at < found.len() && found.len() <= MAX_IN_TREE {
        let condition = if up {
            Condition::Has {
                kind,
                param: parent,
                condition: Box::new(Condition::Ids(vec![found[at].clone()])),
            }
        } else {
            let any = vec![Operand::Reference { kinds: vec![kind], id: found[at].clone() }];
            Condition::Filter(Filter { param: parent, matching: Match::Default, any })
        };
        let wanted = Wanted::new(tx, scope, kind, &[condition])?;
        if !wanted.is_never() {
            let mut values = Values::default();
            let sql = Maker::nested(scope, &wanted).select(tx, &mut values, "r.id")?;
            let limit = values.bind(MAX_IN_TREE as i64 + 1);
            let ids =
                tx.all(&format!("{sql} LIMIT {limit}"), &values.params(), |row| decode_id(row.bytes(0)?))?;
            for id in ids {
                if !found.contains(&id) {
                    found.push(id);
                }
            }
        }
        at += 1;
    }
    Ok(found)
}

fn has(tx: &mut dyn Tx, scope: &Scope<'_>, kind: TypeId, param: ParamId, inner: Wanted) -> Result<Node> {
    if inner.is_never() {
        return Ok(never());
    }
    let mut values = Values::default();
    let maker = Maker::nested(scope, &inner);
    let sql = maker.targets(tx, &mut values, kind, param)?;
    let limit = values.bind(MAX_LOOKED_AT as i64);
    let sql = format!("SELECT t.id FROM ({sql}) t LIMIT {limit}");
    let (mut seen, mut ids) = (0, Vec::<Vec<u8>>::new());
    tx.query(&sql, &values.params(), &mut |row| {
        seen += 1;
        let id = row.bytes(0)?;
        if ids.len() <= MAX_RESOLVED && !ids.iter().any(|known| known == id) {
            ids.push(id.to_vec());
        }
        Ok(())
    })?;
    if seen >= MAX_LOOKED_AT || ids.len() > MAX_RESOLVED {
        return Ok(Node::Has { param, inner: Box::new(inner) });
    }
    Ok(Node::Ids(ids.iter().map(|id| decode_id(id)).collect::<Result<_>>()?))
}
