//! The search parameters in force: those of R4, and a server's own.

use super::definition::{Definition, WORK};
use super::extract::{take_all, take_value};
use super::plan::{self, Plan, Reading, Source, Take, ValueType};
use super::{IndexEntry, composite};
use crate::definitions::{self, Definitions, Param, ParamType};
use crate::path::{self, Env, Expr, Item};
use crate::{ParamId, Resource, TypeId};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;

/// Where a parameter of a server's own stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// New versions are indexed by it, older resources not yet all: it cannot be searched by.
    Building,
    Ready,
    /// It is gone; the index still holds values that are being removed.
    Dropping,
}

/// One parameter of a server's own, for one type.
#[derive(Debug, Clone)]
pub struct Own {
    /// Given by the database.
    pub id: ParamId,
    pub kind: TypeId,
    pub state: State,
    pub definition: Arc<Definition>,
}

/// The search parameters that queries may use and resources are indexed by. Cheap to clone; a changed set is a
/// new value, so that a running search or write keeps the one it began with.
#[derive(Debug, Clone, Default)]
pub struct Params(Option<Arc<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// Each with its state.
    params: Vec<(Param, State)>,
    kinds: HashMap<TypeId, OfKind>,
}

#[derive(Debug, Default)]
struct OfKind {
    /// What resources are indexed by.
    current: Compiled,
    /// What the index may still hold besides.
    dropping: Compiled,
}

#[derive(Debug, Default)]
struct Compiled {
    plan: Plan,
    /// Expressions that are no plain paths.
    evaluated: Vec<(ParamId, ParamType, Expr)>,
}

impl PartialEq for Params {
    /// Whether both are the same set, not only equal ones.
    fn eq(&self, other: &Params) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

/// Codes that [known_codes] gives at most.
const MAX_KNOWN_CODES: usize = 32;

/// All codes that a token parameter of R4 can have, ascending by bytes, if they are few: those of required bindings, and
/// `false` and `true`. `None` for every other parameter.
pub fn known_codes(param: ParamId) -> Option<Vec<&'static str>> {
    let standard = Params::standard();
    let types = standard.types(definitions::param_by_id(param)?);
    let mut all: Vec<&'static str> = Vec::new();
    for (name, binding) in types {
        match (*name, binding) {
            ("boolean", _) => all.extend(["false", "true"]),
            ("code", Some(set)) => {
                let set = Definitions::get().code_sets.get(usize::from(*set))?;
                all.extend(set.systems.iter().flat_map(|(_, codes)| codes.iter().copied()));
            }
            _ => return None,
        }
    }
    all.sort_unstable();
    all.dedup();
    (1..=MAX_KNOWN_CODES).contains(&all.len()).then_some(all)
}

impl Params {
    /// Those of R4 alone.
    pub fn standard() -> Params {
        Params(None)
    }

    /// Those of R4 and these. What a definition says that does not work (another server wrote it) is left out.
    pub fn with(own: &[Own]) -> Params {
        if own.is_empty() {
            return Params::standard();
        }
        let mut inner = Inner::default();
        // Composites name others, so they come last.
        let mut sorted: Vec<&Own> = own.iter().collect();
        sorted.sort_by_key(|o| (o.definition.param_type == ParamType::Composite, o.id));
        for one in sorted {
            let so_far = Params(Some(Arc::new(inner)));
            let param = one.definition.param(&so_far, one.id, one.kind);
            let Params(Some(shared)) = so_far else { return Params::standard() };
            inner = Arc::into_inner(shared).unwrap_or_default();
            let Some(param) = param else { continue };
            inner.params.push((param, one.state));
        }
        let kinds: Vec<TypeId> = inner.params.iter().map(|(p, _)| p.kind).collect();
        for kind in kinds {
            if inner.kinds.contains_key(&kind) {
                continue;
            }
            let of_state = |dropping: bool| {
                let chosen = inner
                    .params
                    .iter()
                    .filter(|(p, s)| p.kind == kind && (*s == State::Dropping) == dropping);
                chosen.map(|(p, _)| p).collect::<Vec<&Param>>()
            };
            let of_kind =
                OfKind { current: compile(kind, &of_state(false)), dropping: compile(kind, &of_state(true)) };
            inner.kinds.insert(kind, of_kind);
        }
        Params(Some(Arc::new(inner)))
    }

    fn own(&self) -> impl Iterator<Item = (&Param, State)> {
        self.0.iter().flat_map(|inner| inner.params.iter().map(|(p, s)| (p, *s)))
    }

    /// The parameter `code` of `kind`, if queries may use it; `_tag`, `_profile`, `_security` and `_source` included,
    /// `_id` and `_lastUpdated` not.
    pub fn param(&self, kind: TypeId, code: &str) -> Option<&Param> {
        definitions::param(kind, code).or_else(|| {
            self.own().find(|(p, s)| *s == State::Ready && p.kind == kind && p.code == code).map(|(p, _)| p)
        })
    }

    /// As [Params::param], those included that are still being built.
    pub(super) fn defined(&self, kind: TypeId, code: &str) -> Option<&Param> {
        definitions::param(kind, code).or_else(|| {
            self.own()
                .find(|(p, s)| *s != State::Dropping && p.kind == kind && p.code == code)
                .map(|(p, _)| p)
        })
    }

    /// The parameter of `kind` with this canonical URL, those included that are still being built.
    pub(super) fn by_url(&self, kind: TypeId, url: &str) -> Option<&Param> {
        let standard: &[Param] = definitions::standard(kind);
        standard.iter().find(|p| p.url == url).or_else(|| {
            self.own().find(|(p, s)| *s != State::Dropping && p.kind == kind && p.url == url).map(|(p, _)| p)
        })
    }

    /// The parameter with this stored number, whatever its state.
    pub fn by_id(&self, id: ParamId) -> Option<&Param> {
        definitions::param_by_id(id).or_else(|| self.own().find(|(p, _)| p.id == id).map(|(p, _)| p))
    }

    /// All parameters of `kind` that queries may use: those of R4 by code, then the server's own.
    pub fn of(&self, kind: TypeId) -> impl Iterator<Item = &Param> + use<'_> {
        let standard: &[Param] = definitions::standard(kind);
        let own = self.own().filter(move |(p, s)| *s == State::Ready && p.kind == kind);
        standard.iter().chain(own.map(|(p, _)| p))
    }

    /// Whether the parameter is defined but not all resources are indexed by it yet.
    pub(super) fn is_building(&self, kind: TypeId, code: &str) -> bool {
        self.own().any(|(p, s)| s == State::Building && p.kind == kind && p.code == code)
    }

    /// Whether the index keeps the systems of its codes: not for plain `code` and `boolean` elements, whose system is
    /// what their binding says.
    pub fn has_system(&self, p: &Param) -> bool {
        let types = self.types(p);
        types.is_empty() || !types.iter().all(|(t, _)| matches!(*t, "code" | "boolean"))
    }

    fn own_plan(&self, kind: TypeId) -> Option<&Plan> {
        Some(&self.0.as_ref()?.kinds.get(&kind)?.current.plan)
    }

    pub(super) fn types(&self, p: &Param) -> &[ValueType] {
        let found = plan::value_types(p);
        if !found.is_empty() {
            return found;
        }
        let own = self.own_plan(p.kind).and_then(|plan| plan.types.iter().find(|(id, _)| *id == p.id));
        own.map_or(&[], |(_, types)| types.as_slice())
    }

    /// How a composite parameter is answered and read.
    pub(super) fn composite(&self, p: &Param) -> Option<(&[Source], &[Reading])> {
        plan::plan(p.kind).composite(p.id).or_else(|| self.own_plan(p.kind)?.composite(p.id))
    }

    pub(super) fn extract_own(&self, resource: &Resource, out: &mut Vec<IndexEntry>) {
        if let Some(of_kind) = self.0.as_ref().and_then(|inner| inner.kinds.get(&resource.kind())) {
            of_kind.current.extract(resource, out);
        }
    }

    /// What the index may still hold of parameters that are gone.
    pub(super) fn extract_dropping(&self, resource: &Resource, out: &mut Vec<IndexEntry>) {
        if let Some(of_kind) = self.0.as_ref().and_then(|inner| inner.kinds.get(&resource.kind())) {
            of_kind.dropping.extract(resource, out);
        }
    }
}

fn compile(kind: TypeId, params: &[&Param]) -> Compiled {
    let mut out = Compiled::default();
    for param in params {
        out.plan.types.push((param.id, plan::types_of(param)));
        if param.param_type == ParamType::Composite {
            continue;
        }
        match plan::takes(kind, param).filter(|takes| !takes.is_empty()) {
            Some(takes) => {
                for (steps, take) in takes {
                    plan::insert(&mut out.plan.root, &steps, param.id, take);
                }
            }
            None => {
                if let Ok(expression) = path::parse(param.expression) {
                    out.evaluated.push((param.id, param.param_type, expression));
                }
            }
        }
    }
    let composites: Vec<ParamId> =
        params.iter().filter(|p| p.param_type == ParamType::Composite).map(|p| p.id).collect();
    if !composites.is_empty() {
        let all: Vec<&Param> = definitions::standard(kind).iter().chain(params.iter().copied()).collect();
        composite::add_some(kind, all, &mut out.plan, &|p| composites.contains(&p.id));
    }
    out
}

impl Compiled {
    fn extract(&self, resource: &Resource, out: &mut Vec<IndexEntry>) {
        take_all(&self.plan.root, resource.value(), out);
        for (id, param_type, expression) in &self.evaluated {
            let env = Env { work: Some(WORK), ..Env::default() };
            // What an expression cannot be evaluated on has no value.
            let Ok(items) = path::evaluate(expression, resource.value(), &env) else { continue };
            for item in items {
                take_item(*id, *param_type, &item, out);
            }
        }
    }
}

fn take_item(id: ParamId, param_type: ParamType, item: &Item<'_>, out: &mut Vec<IndexEntry>) {
    if let Item::Node(_) = item
        && let Some(value) = item.value()
    {
        let d = Definitions::get();
        let (_, name) = item.type_name();
        let takes = d.by_name(&name).and_then(|t| plan::take_for(param_type, t, None));
        for take in takes.unwrap_or_default() {
            take_value(id, *take, value, out);
        }
        return;
    }
    let value = item.to_json();
    let take = match (param_type, item, &value) {
        (ParamType::Token, Item::Boolean(_), _) => Take::TokenBoolean,
        (ParamType::Token, _, Value::String(_) | Value::Number(_)) => Take::TokenText,
        (ParamType::String, _, Value::String(_)) => Take::Text,
        (ParamType::Uri, _, Value::String(_)) => Take::Uri,
        (ParamType::Date, Item::Date(_) | Item::DateTime(_), _) => Take::Date,
        (ParamType::Number | ParamType::Quantity, Item::Integer(_) | Item::Decimal(_), _) => Take::Number,
        (ParamType::Quantity, Item::Quantity(_), _) => Take::Quantity,
        _ => return,
    };
    take_value(id, take, &value, out);
}
