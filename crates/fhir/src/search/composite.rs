//! Composite parameters in the [plan](super::plan): where their elements and the components of them stand.

use super::plan::{Branch, Compiler, Composite, Part, Place, Plan, Reading, Source, Step, Take};
use super::plan::{insert, place_at, take_for, takes};
use crate::definitions::{Definitions, Param, ParamType};
use crate::path::parser::{Node, parse};
use crate::{ParamId, TypeId};

/// The places of a component, seen from an element.
type Takes = Vec<(Vec<Step>, Take)>;

struct Compiled {
    of_resource: bool,
    takes: Takes,
}

/// One element of a composite that is kept as entries, and the parameter that keeps it.
struct Kept {
    steps: Vec<Step>,
    parts: Vec<Takes>,
    owner: ParamId,
}

/// Adds all composite parameters among `params` to the plan. A union of places is answered from the places that
/// other parameters keep already.
pub(super) fn add(kind: TypeId, params: Vec<&Param>, plan: &mut Plan) {
    add_some(kind, params, plan, &|_| true);
}

/// As [add], only for those that are `wanted`; the others are there to be referred to.
pub(super) fn add_some(kind: TypeId, params: Vec<&Param>, plan: &mut Plan, wanted: &dyn Fn(&Param) -> bool) {
    let mut composites: Vec<(&Param, Vec<Branch>)> = params
        .iter()
        .filter(|p| p.param_type == ParamType::Composite && wanted(p))
        .filter_map(|p| Some((*p, Compiler::of_resource(kind).branches(&parse(p.expression).ok()?)?)))
        .collect();
    composites.sort_by_key(|(p, branches)| (branches.len(), p.id));
    let mut kept: Vec<Kept> = Vec::new();
    for (param, branches) in composites {
        let readings =
            param.components.iter().filter_map(|c| reading(kind, &params, c.code, c.expression, &branches));
        let readings: Vec<Reading> = readings.collect();
        let mut sources = Vec::new();
        for branch in &branches {
            let parts: Option<Vec<Compiled>> = param
                .components
                .iter()
                .zip(&readings)
                .map(|(c, r)| component(kind, branch, c.expression, r.param_type))
                .collect();
            let Some(parts) = parts.filter(|p| p.len() == param.components.len()) else { continue };
            sources.push(source(kind, &params, param, branch, parts, &mut kept, plan));
        }
        plan.composites.push((param.id, sources, readings));
    }
}

fn source(
    kind: TypeId,
    params: &[&Param],
    param: &Param,
    branch: &Branch,
    parts: Vec<Compiled>,
    kept: &mut Vec<Kept>,
    plan: &mut Plan,
) -> Source {
    if branch.steps.is_empty() {
        let same = |part: &Compiled| {
            let found = params.iter().find(|p| {
                p.param_type != ParamType::Composite
                    && takes(kind, p).is_some_and(|t| !t.is_empty() && same_takes(&t, &part.takes))
            });
            found.map(|p| p.id)
        };
        if let Some(all) = parts.iter().map(same).collect::<Option<Vec<ParamId>>>() {
            return Source::All(all);
        }
    }
    let by_element = parts.iter().all(|p| !p.of_resource);
    if by_element
        && let Some(found) = kept.iter().find(|k| {
            k.steps == branch.steps
                && k.parts.len() == parts.len()
                && k.parts.iter().zip(&parts).all(|(a, b)| same_takes(a, &b.takes))
        })
    {
        return Source::Entries(found.owner);
    }
    let composite = Composite {
        param: param.id,
        parts: parts
            .iter()
            .map(|part| {
                let mut place = Place::default();
                for (steps, take) in &part.takes {
                    insert(&mut place, steps, param.id, *take);
                }
                Part { of_resource: part.of_resource, place }
            })
            .collect(),
    };
    place_at(&mut plan.root, &branch.steps).composites.push(composite);
    if by_element {
        let parts = parts.into_iter().map(|p| p.takes).collect();
        kept.push(Kept { steps: branch.steps.clone(), parts, owner: param.id });
    }
    Source::Entries(param.id)
}

fn same_takes(a: &Takes, b: &Takes) -> bool {
    a.len() == b.len() && a.iter().all(|t| b.contains(t))
}

fn component(kind: TypeId, element: &Branch, expression: &str, param_type: ParamType) -> Option<Compiled> {
    let node = parse(expression).ok()?;
    let of_resource = starts_at_resource(&node);
    let branches = Compiler::of(kind, element.number).branches(&node)?;
    let d = Definitions::get();
    let mut out = Takes::new();
    for b in branches {
        // A choice of types offers more than a parameter of this kind reads.
        for take in take_for(param_type, d.type_def(b.number), b.only).unwrap_or_default() {
            out.push((b.steps.clone(), *take));
        }
    }
    Some(Compiled { of_resource, takes: out })
}

fn starts_at_resource(node: &Node) -> bool {
    match node {
        Node::Variable(name) => name == "resource",
        Node::Member(Some(input), _)
        | Node::Call(Some(input), ..)
        | Node::As(input, _)
        | Node::At(input, _) => starts_at_resource(input),
        Node::Binary(_, left, right) => starts_at_resource(left) && starts_at_resource(right),
        _ => false,
    }
}

fn reading(
    kind: TypeId,
    params: &[&Param],
    code: &'static str,
    expression: &str,
    branches: &[Branch],
) -> Option<Reading> {
    let named = params.iter().find(|p| p.code == code && p.param_type != ParamType::Composite)?;
    let node = parse(expression).ok()?;
    let d = Definitions::get();
    let mut types = Vec::new();
    for element in branches {
        for b in Compiler::of(kind, element.number).branches(&node)? {
            let t = d.type_def(b.number);
            if take_for(named.param_type, t, b.only).is_some_and(|t| !t.is_empty()) {
                types.push((t.name, b.binding));
            }
        }
    }
    types.sort_unstable();
    types.dedup();
    Some(Reading { code, param_type: named.param_type, types, targets: named.targets.clone() })
}
