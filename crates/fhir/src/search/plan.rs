//! Search parameter expressions compiled to one tree of JSON keys per resource type, so that a resource is
//! walked once for all its parameters.

use super::composite;
use crate::definitions::{Definitions, Param, ParamType, Primitive, TypeDef, TypeNumber, params};
use crate::path::parser::{Node, Operator, TypeName, parse};
use crate::{ParamId, TypeId};
use std::sync::OnceLock;

/// What to do at a place of the resource.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub takes: Vec<(ParamId, Take)>,
    pub steps: Vec<(Step, Place)>,
    /// Composite parameters of which each value of this place is one element.
    pub composites: Vec<Composite>,
}

#[derive(Debug)]
pub(super) struct Composite {
    pub param: ParamId,
    pub parts: Vec<Part>,
}

/// Where the values of a component stand.
#[derive(Debug)]
pub(super) struct Part {
    /// Seen from the resource (`%resource`), not from the element.
    pub of_resource: bool,
    pub place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A member, or one item of it.
    Key(&'static str, Option<usize>),
    /// The same value, if this member of it is this text.
    Where(&'static str, &'static str),
}

/// How a value becomes index entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    TokenText,
    TokenBoolean,
    Coding,
    CodeableConcept,
    Identifier,
    ContactPoint,
    Text,
    HumanName,
    Address,
    Date,
    Period,
    Timing,
    Number,
    Quantity,
    Money,
    Range,
    /// Only targets of this type, if given.
    Reference(Option<TypeId>),
    Uri,
    Canonical,
    /// A whole resource inside a bundle, indexed as a reference to it.
    NestedResource,
    /// `Location.position`
    Position,
}

/// How a composite parameter is answered: any of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// The resource itself is the element, so that each component is a parameter of its own, all of which must hold.
    All(Vec<ParamId>),
    /// The composite entries of this parameter.
    Entries(ParamId),
}

/// How the values of a component are read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub code: &'static str,
    pub param_type: ParamType,
    pub types: Vec<ValueType>,
    pub targets: Vec<TypeId>,
}

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub root: Place,
    /// Only the parameters of the Patient compartment.
    pub compartment: Place,
    /// `X.exists() and X != false`: a token `true` or `false` for every resource, by the keys of X.
    pub presence: Vec<(ParamId, Vec<&'static str>)>,
    /// By parameter, sorted: see [value_types].
    pub types: Vec<(ParamId, Vec<ValueType>)>,
    /// Of the composite parameters: how they are answered and read.
    pub composites: Vec<(ParamId, Vec<Source>, Vec<Reading>)>,
}

impl Plan {
    const EMPTY: Plan = Plan {
        root: Place::EMPTY,
        compartment: Place::EMPTY,
        presence: Vec::new(),
        types: Vec::new(),
        composites: Vec::new(),
    };

    pub fn composite(&self, param: ParamId) -> Option<(&[Source], &[Reading])> {
        let (_, sources, readings) = self.composites.iter().find(|(id, ..)| *id == param)?;
        Some((sources, readings))
    }
}

impl Place {
    const EMPTY: Place = Place { takes: Vec::new(), steps: Vec::new(), composites: Vec::new() };
}

/// The plan for a type; compiled once.
pub(super) fn plan(kind: TypeId) -> &'static Plan {
    static PLANS: OnceLock<Vec<OnceLock<Plan>>> = OnceLock::new();
    static EMPTY: Plan = Plan::EMPTY;
    let plans = PLANS.get_or_init(|| TypeId::all().map(|_| OnceLock::new()).collect());
    match plans.get(usize::from(kind.0)) {
        Some(slot) => slot.get_or_init(|| compile(kind)),
        None => &EMPTY,
    }
}

fn compile(kind: TypeId) -> Plan {
    let mut plan = Plan::default();
    let in_compartment = crate::definitions::in_patient_compartment(kind);
    for param in params(kind) {
        plan.types.push((param.id, types_of(param)));
        if let Some(keys) = presence(kind, param) {
            plan.presence.push((param.id, keys));
            continue;
        }
        for (steps, take) in takes(kind, param).unwrap_or_default() {
            insert(&mut plan.root, &steps, param.id, take);
            if in_compartment.contains(&param.id) {
                insert(&mut plan.compartment, &steps, param.id, take);
            }
        }
    }
    plan.types.sort_unstable_by_key(|(id, _)| *id);
    composite::add(kind, params(kind).collect(), &mut plan);
    plan
}

/// The place behind these steps, made if it is not there.
pub(super) fn place_at<'p>(mut place: &'p mut Place, steps: &[Step]) -> &'p mut Place {
    for step in steps {
        let at = match place.steps.iter().position(|(s, _)| s == step) {
            Some(at) => at,
            None => {
                place.steps.push((*step, Place::default()));
                place.steps.len() - 1
            }
        };
        place = &mut place.steps[at].1;
    }
    place
}

pub(super) fn insert(place: &mut Place, steps: &[Step], param: ParamId, take: Take) {
    let place = place_at(place, steps);
    if !place.takes.contains(&(param, take)) {
        place.takes.push((param, take));
    }
}

/// A FHIR type that values of a parameter can have, and the number of its required code list.
pub(super) type ValueType = (&'static str, Option<u16>);

/// The types of a parameter's values, for reading query values; empty for parameters without plan.
pub(super) fn value_types(param: &Param) -> &'static [ValueType] {
    let types = &plan(param.kind).types;
    types.binary_search_by_key(&param.id, |(id, _)| *id).map_or(&[], |n| types[n].1.as_slice())
}

pub(super) fn types_of(param: &Param) -> Vec<ValueType> {
    let Some(branches) =
        parse(param.expression).ok().and_then(|n| Compiler::of_resource(param.kind).branches(&n))
    else {
        return Vec::new();
    };
    let d = Definitions::get();
    let mut types: Vec<ValueType> = branches.iter().map(|b| (d.type_def(b.number).name, b.binding)).collect();
    types.sort_unstable();
    types.dedup();
    types
}

/// Where the parameter's values stand and how to read them. `None` if the expression is none that the
/// R4 parameters use; `Some(empty)` for composite parameters.
pub(super) fn takes(kind: TypeId, param: &Param) -> Option<Vec<(Vec<Step>, Take)>> {
    if !param.is_searchable() || param.param_type == ParamType::Composite {
        return Some(Vec::new());
    }
    let node = parse(param.expression).ok()?;
    let branches = Compiler::of_resource(kind).branches(&node)?;
    let d = Definitions::get();
    let mut out = Vec::new();
    for b in branches {
        let t = d.type_def(b.number);
        for take in take_for(param.param_type, t, b.only)? {
            out.push((b.steps.clone(), *take));
        }
    }
    Some(out)
}

/// `Patient.deceased.exists() and Patient.deceased != false`
fn presence(kind: TypeId, param: &Param) -> Option<Vec<&'static str>> {
    let Node::Binary(Operator::And, left, _) = parse(param.expression).ok()? else { return None };
    let Node::Call(Some(input), name, arguments) = *left else { return None };
    if name != "exists" || !arguments.is_empty() {
        return None;
    }
    let branches = Compiler::new(kind).branches(&input)?;
    branches
        .iter()
        .map(|b| match b.steps[..] {
            [Step::Key(key, None)] => Some(key),
            _ => None,
        })
        .collect()
}

#[derive(Debug, Clone)]
pub(super) struct Branch {
    pub steps: Vec<Step>,
    pub number: TypeNumber,
    pub binding: Option<u16>,
    pub only: Option<TypeId>,
}

pub(super) struct Compiler {
    kind: TypeId,
    /// The element that bare names are members of; the resource if there is none.
    focus: Option<TypeNumber>,
    definitions: &'static Definitions,
}

impl Compiler {
    pub(super) fn new(kind: TypeId) -> Compiler {
        Compiler { kind, focus: None, definitions: Definitions::get() }
    }

    pub(super) fn of(kind: TypeId, focus: TypeNumber) -> Compiler {
        Compiler { focus: Some(focus), ..Compiler::new(kind) }
    }

    /// Bare names are members of the resource.
    pub(super) fn of_resource(kind: TypeId) -> Compiler {
        Compiler { focus: Definitions::get().resource(kind).map(|(n, _)| n), ..Compiler::new(kind) }
    }

    fn start(number: TypeNumber) -> Branch {
        Branch { steps: Vec::new(), number, binding: None, only: None }
    }

    pub(super) fn branches(&self, node: &Node) -> Option<Vec<Branch>> {
        match node {
            Node::Member(None, name)
                if [self.kind.name(), "Resource", "DomainResource"].contains(&name.as_str()) =>
            {
                let (number, _) = self.definitions.resource(self.kind)?;
                Some(vec![Compiler::start(number)])
            }
            Node::Variable(name) if name == "resource" => {
                let (number, _) = self.definitions.resource(self.kind)?;
                Some(vec![Compiler::start(number)])
            }
            Node::This => Some(vec![Compiler::start(self.focus?)]),
            Node::Member(None, name) => self.member(vec![Compiler::start(self.focus?)], name),
            Node::Member(Some(input), name) => self.member(self.branches(input)?, name),
            Node::Binary(Operator::Union, left, right) => {
                let mut all = self.branches(left)?;
                all.extend(self.branches(right)?);
                Some(all)
            }
            Node::As(input, type_name) => self.of_type(self.branches(input)?, type_name),
            Node::Call(Some(input), name, arguments) => match (name.as_str(), &arguments[..]) {
                ("ofType" | "as", [t]) => self.of_type(self.branches(input)?, &t.as_type_name()?),
                ("where", [condition]) => self.filter(self.branches(input)?, condition),
                _ => None,
            },
            Node::At(input, index) => {
                let Node::Number(n) = &**index else { return None };
                let index = n.parse().ok()?;
                let mut branches = self.branches(input)?;
                for b in &mut branches {
                    match b.steps.last_mut()? {
                        Step::Key(_, slot @ None) => *slot = Some(index),
                        _ => return None,
                    }
                }
                Some(branches)
            }
            _ => None,
        }
    }

    fn member(&self, inputs: Vec<Branch>, name: &str) -> Option<Vec<Branch>> {
        let mut out = Vec::new();
        for input in inputs {
            let t = self.definitions.type_def(input.number);
            for (key, element, option) in t.keys.keys() {
                let e = &t.elements[usize::from(element)];
                if e.name != name {
                    continue;
                }
                let mut steps = input.steps.clone();
                steps.push(Step::Key(key, None));
                let number = e.types[usize::from(option)].number;
                out.push(Branch { steps, number, binding: e.binding, only: None });
            }
        }
        // Hash order is stable, but the order of writing is easier to follow in tests.
        out.sort_by(|a, b| format!("{:?}", a.steps).cmp(&format!("{:?}", b.steps)));
        (!out.is_empty()).then_some(out)
    }

    fn of_type(&self, inputs: Vec<Branch>, name: &TypeName) -> Option<Vec<Branch>> {
        let wanted = self.definitions.number(&name.name)?;
        Some(inputs.into_iter().filter(|b| self.definitions.is_a(b.number, wanted)).collect())
    }

    fn filter(&self, mut inputs: Vec<Branch>, condition: &Node) -> Option<Vec<Branch>> {
        match condition {
            Node::Binary(Operator::Equal, left, right) => {
                let (Node::Member(None, name), Node::String(text)) = (&**left, &**right) else { return None };
                for b in &mut inputs {
                    let t = self.definitions.type_def(b.number);
                    let key = t.element(name)?.name;
                    // Leaked once per process and condition: plans live as long as it.
                    b.steps.push(Step::Where(key, Box::leak(text.clone().into_boxed_str())));
                }
                Some(inputs)
            }
            Node::Is(input, type_name) => {
                let Node::Call(None, name, _) = &**input else { return None };
                let only = TypeId::from_name(&type_name.name).filter(|_| name == "resolve")?;
                for b in &mut inputs {
                    b.only = Some(only);
                }
                Some(inputs)
            }
            _ => None,
        }
    }
}

/// <http://hl7.org/fhir/R4/search.html#ptypes>. Empty for types that a parameter of this kind does not index.
pub(super) fn take_for(param_type: ParamType, t: &TypeDef, only: Option<TypeId>) -> Option<&'static [Take]> {
    use ParamType as P;
    if let Some(primitive) = t.primitive() {
        return Some(match (param_type, primitive) {
            (P::Token, Primitive::Boolean) => &[Take::TokenBoolean],
            (P::Token, _) => &[Take::TokenText],
            (P::String, _) => &[Take::Text],
            (P::Date, Primitive::Date | Primitive::DateTime | Primitive::Instant) => &[Take::Date],
            (P::Number | P::Quantity, Primitive::Decimal | Primitive::Integer | Primitive::PositiveInt)
            | (P::Number, Primitive::UnsignedInt) => &[Take::Number],
            (P::Uri | P::Reference, Primitive::Canonical) => &[Take::Canonical],
            (P::Uri | P::Reference, _) => &[Take::Uri],
            // `Goal.target.due` and the like offer strings beside dates; they have no place on the time line.
            (P::Date, _) => &[],
            _ => return None,
        });
    }
    Some(match (param_type, t.name) {
        (P::Token, "Coding") => &[Take::Coding],
        (P::Token, "CodeableConcept") => &[Take::CodeableConcept],
        (P::Token, "Identifier") => &[Take::Identifier],
        (P::Token, "ContactPoint") => &[Take::ContactPoint],
        (P::String, "HumanName") => &[Take::HumanName],
        (P::String, "Address") => &[Take::Address],
        (P::Date, "Period") => &[Take::Period],
        (P::Date, "Timing") => &[Take::Timing],
        (
            P::Quantity,
            "Quantity" | "SimpleQuantity" | "MoneyQuantity" | "Age" | "Duration" | "Count" | "Distance",
        ) => &[Take::Quantity],
        (P::Quantity, "Money") => &[Take::Money],
        (P::Quantity | P::Number, "Range") => &[Take::Range],
        // A series of samples has no single value or date to compare with.
        (P::Quantity, "SampledData") | (P::Date, "Age" | "Range") => &[],
        (P::Reference, "Reference") => match only {
            None => &[Take::Reference(None)],
            Some(TypeId::PATIENT) => &[Take::Reference(Some(TypeId::PATIENT))],
            Some(TypeId::PRACTITIONER) => &[Take::Reference(Some(TypeId::PRACTITIONER))],
            Some(TypeId::LOCATION) => &[Take::Reference(Some(TypeId::LOCATION))],
            Some(TypeId::RELATED_PERSON) => &[Take::Reference(Some(TypeId::RELATED_PERSON))],
            Some(_) => return None,
        },
        (P::Reference, "Attachment") => &[],
        (P::Reference, "Resource") => &[Take::NestedResource],
        (P::Special, "Location.position" | "LocationPosition") => &[Take::Position],
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn composites_are_conjunctions_or_entries() {
        let of = |kind: TypeId, code: &str| {
            let id = crate::definitions::param(kind, code).unwrap().id;
            plan(kind).composite(id).unwrap()
        };
        let id = |code: &str| crate::definitions::param(TypeId::OBSERVATION, code).unwrap().id;
        let (sources, readings) = of(TypeId::OBSERVATION, "code-value-quantity");
        assert_eq!(sources, [Source::All(vec![id("code"), id("value-quantity")])]);
        assert_eq!(readings.len(), 2);
        let (sources, _) = of(TypeId::OBSERVATION, "component-code-value-quantity");
        assert_eq!(sources, [Source::Entries(id("component-code-value-quantity"))]);
        let (sources, _) = of(TypeId::OBSERVATION, "combo-code-value-quantity");
        assert_eq!(
            sources,
            [
                Source::All(vec![id("code"), id("value-quantity")]),
                Source::Entries(id("component-code-value-quantity"))
            ]
        );
        let mut failed = Vec::new();
        for kind in TypeId::all() {
            for p in params(kind).filter(|p| p.param_type == ParamType::Composite) {
                let (sources, readings) = of(kind, p.code);
                if sources.is_empty()
                    || readings.len() != p.components.len()
                    || readings.iter().any(|r| r.types.is_empty())
                {
                    failed.push(format!("{} {} {sources:?} {readings:?}", kind.name(), p.code));
                }
            }
        }
        assert!(failed.is_empty(), "{}", failed.join("\n"));
    }

    #[test]
    fn every_r4_expression_compiles() {
        let mut failed = Vec::new();
        for kind in TypeId::all() {
            for p in params(kind) {
                if presence(kind, p).is_none() && takes(kind, p).is_none() {
                    failed.push(format!("{} {} {:?}: {}", kind.name(), p.code, p.param_type, p.expression));
                }
            }
        }
        assert!(failed.is_empty(), "{} expressions:\n{}", failed.len(), failed.join("\n"));
    }

    #[test]
    fn plans_are_trees_of_keys() {
        let codes =
            |kind: TypeId, code: &str| takes(kind, crate::definitions::param(kind, code).unwrap()).unwrap();
        assert_eq!(
            codes(TypeId::PATIENT, "phone"),
            [(vec![Step::Key("telecom", None), Step::Where("system", "phone")], Take::ContactPoint)]
        );
        assert_eq!(
            codes(TypeId::OBSERVATION, "value-quantity"),
            [(vec![Step::Key("valueQuantity", None)], Take::Quantity)]
        );
        assert_eq!(
            codes(TypeId::OBSERVATION, "patient"),
            [(vec![Step::Key("subject", None)], Take::Reference(Some(TypeId::PATIENT)))]
        );
        assert_eq!(
            codes(TypeId::BUNDLE, "composition"),
            [(vec![Step::Key("entry", Some(0)), Step::Key("resource", None)], Take::NestedResource)]
        );
        assert_eq!(plan(TypeId::PATIENT).presence.len(), 1);
    }
}
