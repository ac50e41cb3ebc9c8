//! Evaluation of the syntax tree.

use super::compare::{self, Order, collections_equal, collections_equivalent};
use super::decimal::Decimal;
use super::item::{Instant, Item, Quantity};
use super::parser::{Node, Operator, TypeName};
use super::{Env, PathError, function, math};
use crate::definitions::{Class, Definitions, Primitive};
use crate::moment::{Form, Moment};
use serde_json::Value;
use std::cell::Cell;
use std::cmp::Ordering;
use std::collections::HashSet;

/// Nodes and items visited by one evaluation; bounds expressions that multiply their input.
pub const MAX_WORK: u64 = 5_000_000;

/// Items that one call may give.
const MAX_ITEMS: usize = 1_000_000;

pub(super) type Items<'a> = Vec<Item<'a>>;
pub(super) type Evaluated<'a> = Result<Items<'a>, PathError>;

pub(super) fn fail<T>(text: impl Into<String>) -> Result<T, PathError> {
    Err(PathError::Evaluation(text.into()))
}

/// Where an expression stands: what `$this` is, and the iteration it is part of.
#[derive(Clone, Default)]
pub(super) struct Scope<'a> {
    pub focus: Items<'a>,
    pub index: Option<i64>,
    pub total: Option<Items<'a>>,
}

pub(super) struct Evaluator<'e, 'a> {
    pub resource: &'a Value,
    pub env: &'e Env<'a>,
    /// `%context`
    context: &'e [Item<'a>],
    work: Cell<u64>,
    work_max: u64,
}

impl<'e, 'a> Evaluator<'e, 'a> {
    pub fn new(resource: &'a Value, context: &'e [Item<'a>], env: &'e Env<'a>) -> Evaluator<'e, 'a> {
        let work_max = env.work.unwrap_or(MAX_WORK).min(MAX_WORK);
        Evaluator { resource, env, context, work: Cell::new(0), work_max }
    }

    pub fn run(&self, node: &Node) -> Evaluated<'a> {
        self.eval(node, &Scope { focus: self.context.to_vec(), index: None, total: None })
    }

    pub fn spend(&self, amount: usize) -> Result<(), PathError> {
        let work = self.work.get() + amount as u64 + 1;
        self.work.set(work);
        if let Some(left) = self.env.left {
            let rest = left.get().checked_sub(amount as u64 + 1);
            left.set(rest.unwrap_or(0));
            if rest.is_none() {
                return fail("the expressions together visit too much");
            }
        }
        if work > self.work_max { fail("the expression visits too much") } else { Ok(()) }
    }

    /// A chain of steps and operators runs from its start, so that its length takes no stack.
    pub fn eval(&self, node: &Node, scope: &Scope<'a>) -> Evaluated<'a> {
        let mut steps = Vec::new();
        let mut at = node;
        while let Some(input) = at.input() {
            steps.push(at);
            at = input;
        }
        self.spend(steps.len())?;
        let mut value = self.start(at, scope)?;
        while let Some(step) = steps.pop() {
            value = self.step(step, value, scope)?;
        }
        Ok(value)
    }

    /// What has no input of its own.
    fn start(&self, node: &Node, scope: &Scope<'a>) -> Evaluated<'a> {
        Ok(match node {
            Node::Boolean(b) => vec![Item::Boolean(*b)],
            Node::String(s) => vec![Item::String(s.clone())],
            Node::Number(n) => vec![number(n)?],
            Node::DateTime(text) => match Moment::parse(text, Form::Loose) {
                Some(m) if text.contains('T') => vec![Item::DateTime(Instant(m))],
                Some(m) => vec![Item::Date(Instant(m))],
                None => return fail("a date literal names no date"),
            },
            Node::Time(text) => match Moment::parse_time(text, Form::Loose) {
                Some(m) => vec![Item::Time(Instant(m))],
                None => return fail("a time literal names no time"),
            },
            Node::Quantity { value, unit, calendar } => match Decimal::parse(value) {
                Some(value) => {
                    vec![Item::Quantity(Quantity { value, unit: unit.clone(), calendar: *calendar })]
                }
                None => return fail("a number is too large"),
            },
            Node::Variable(name) => self.variable(name)?,
            Node::This => scope.focus.clone(),
            Node::Index => scope.index.map(Item::Integer).into_iter().collect(),
            Node::Total => scope.total.clone().unwrap_or_default(),
            Node::Member(None, name) => self.first_member(name, &scope.focus)?,
            Node::Call(None, name, arguments) => self.call(name, scope.focus.clone(), arguments, scope)?,
            // `{}`; everything else has an input.
            _ => Vec::new(),
        })
    }

    fn step(&self, node: &Node, input: Items<'a>, scope: &Scope<'a>) -> Evaluated<'a> {
        Ok(match node {
            Node::Member(Some(from), name) => {
                if self.env.strict {
                    static_member(from, name)?;
                }
                self.member(name, &input)?
            }
            Node::Call(Some(from), name, arguments) => {
                if self.env.strict && matches!(name.as_str(), "skip" | "take" | "first" | "last" | "tail") {
                    static_order(from)?;
                }
                self.call(name, input, arguments, scope)?
            }
            Node::At(_, index) => match self.integer(&self.eval(index, scope)?)? {
                Some(n) => {
                    usize::try_from(n).ok().and_then(|n| input.into_iter().nth(n)).into_iter().collect()
                }
                None => Vec::new(),
            },
            Node::Negate(_) => math::negate(input)?,
            Node::Is(_, name) => self.is(&input, name)?,
            Node::As(_, name) => self.of_type(input, name)?,
            Node::Binary(operator, _, right) => self.binary(*operator, input, right, scope)?,
            _ => input,
        })
    }

    fn call(&self, name: &str, input: Items<'a>, arguments: &[Node], scope: &Scope<'a>) -> Evaluated<'a> {
        self.spend(input.len())?;
        let out = function::call(self, name, input, arguments, scope)?;
        self.spend(out.len())?;
        if out.len() > MAX_ITEMS { fail("the expression finds too much") } else { Ok(out) }
    }

    fn variable(&self, name: &str) -> Evaluated<'a> {
        if let Some(items) = self.env.variables.get(name) {
            return Ok(items.clone());
        }
        if let Some(items) = self.env.host.and_then(|host| host.variable(name)) {
            return Ok(items);
        }
        let text = |t: &str| Ok(vec![Item::String(t.to_owned())]);
        match name {
            "resource" => Ok(vec![Item::resource(self.resource)]),
            "rootResource" => Ok(vec![Item::resource(self.env.root.unwrap_or(self.resource))]),
            "context" => Ok(self.context.to_vec()),
            "ucum" => text("http://unitsofmeasure.org"),
            "sct" => text("http://snomed.info/sct"),
            "loinc" => text("http://loinc.org"),
            _ => match (name.strip_prefix("vs-"), name.strip_prefix("ext-")) {
                (Some(set), _) => text(&format!("http://hl7.org/fhir/ValueSet/{set}")),
                (_, Some(extension)) => text(&format!("http://hl7.org/fhir/StructureDefinition/{extension}")),
                _ => fail("an unknown %variable"),
            },
        }
    }

    /// A name at the start of a path: the type of the input, or a member of it.
    fn first_member(&self, name: &str, focus: &[Item<'a>]) -> Evaluated<'a> {
        if name.starts_with(|c: char| c.is_ascii_uppercase()) {
            let d = Definitions::get();
            let wanted = d.number(name);
            let same = |i: &&Item<'a>| match i {
                Item::Node(n) => matches!((n.number, wanted), (Some(n), Some(w)) if d.is_a(n, w)),
                _ => false,
            };
            let found: Items<'a> = focus.iter().filter(same).cloned().collect();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        self.member(name, focus)
    }

    pub fn member(&self, name: &str, input: &[Item<'a>]) -> Evaluated<'a> {
        let mut out = Vec::new();
        for item in input {
            match item {
                Item::Node(n) => {
                    let known = n.children_named(name, &mut out).is_some();
                    if self.env.strict && !known {
                        let (_, t) = item.type_name();
                        return fail(format!("{t} has no element {name}"));
                    }
                }
                Item::Type { namespace, name: t } => match name {
                    "namespace" => out.push(Item::String((*namespace).to_owned())),
                    "name" => out.push(Item::String(t.clone())),
                    _ => {}
                },
                Item::Quantity(q) => match name {
                    "value" => out.push(Item::Decimal(q.value)),
                    "unit" | "code" => out.push(Item::String(q.unit.clone())),
                    _ => {}
                },
                _ => {}
            }
        }
        self.spend(out.len())?;
        Ok(out)
    }

    /// The value of a collection of at most one item.
    pub fn single(&self, items: &[Item<'a>]) -> Result<Option<Item<'a>>, PathError> {
        match items {
            [] => Ok(None),
            [one] => Ok(one.system()),
            _ => fail("a single value is needed here, but there are several"),
        }
    }

    pub fn string(&self, items: &[Item<'a>]) -> Result<Option<String>, PathError> {
        match (items, self.single(items)?) {
            ([], _) => Ok(None),
            (_, Some(Item::String(s))) => Ok(Some(s)),
            // Dates of resources are text too.
            ([Item::Node(n)], _) if n.value.is_string() => Ok(n.value.as_str().map(str::to_owned)),
            ([Item::Node(n)], _) if n.value.is_null() => Ok(None),
            _ => fail("a string is needed here"),
        }
    }

    pub fn integer(&self, items: &[Item<'a>]) -> Result<Option<i64>, PathError> {
        match (items, self.single(items)?) {
            ([], _) => Ok(None),
            (_, Some(Item::Integer(n))) => Ok(Some(n)),
            _ => fail("an integer is needed here"),
        }
    }

    /// Singleton evaluation: one item that is no boolean counts as true.
    pub fn boolean(&self, items: &[Item<'a>]) -> Result<Option<bool>, PathError> {
        match items {
            [] => Ok(None),
            [one] => Ok(Some(one.as_bool().unwrap_or(true))),
            _ => fail("a single boolean is needed here, but there are several values"),
        }
    }

    pub fn is(&self, input: &[Item<'a>], name: &TypeName) -> Evaluated<'a> {
        match input {
            [] => Ok(Vec::new()),
            [one] => Ok(vec![Item::Boolean(has_type(one, name)?)]),
            _ => fail("`is` takes a single value"),
        }
    }

    pub fn of_type(&self, input: Items<'a>, name: &TypeName) -> Evaluated<'a> {
        let mut out = Vec::new();
        for item in input {
            // `is` follows inheritance; a cast to string takes no code, id or markdown (official suite).
            let other = name.name == "string"
                && matches!(&item, Item::Node(n) if n.primitive().is_some_and(|p| p != Primitive::String));
            if has_type(&item, name)? && !other {
                out.push(item);
            }
        }
        Ok(out)
    }

    fn binary(&self, operator: Operator, a: Items<'a>, right: &Node, scope: &Scope<'a>) -> Evaluated<'a> {
        use Operator as O;
        // The right side of a decided `and`, `or`, `implies` is not evaluated.
        if matches!(operator, O::And | O::Or | O::Implies | O::Xor) {
            return self.logic(operator, &a, right, scope);
        }
        let b = self.eval(right, scope)?;
        let truth = |b: Option<bool>| b.map(Item::Boolean).into_iter().collect();
        Ok(match operator {
            O::Equal => truth(collections_equal(&a, &b)),
            O::NotEqual => truth(collections_equal(&a, &b).map(|e| !e)),
            O::Equivalent => truth(Some(collections_equivalent(&a, &b))),
            O::NotEquivalent => truth(Some(!collections_equivalent(&a, &b))),
            O::Less => truth(self.ordered(&a, &b)?.map(Ordering::is_lt)),
            O::LessOrEqual => truth(self.ordered(&a, &b)?.map(Ordering::is_le)),
            O::Greater => truth(self.ordered(&a, &b)?.map(Ordering::is_gt)),
            O::GreaterOrEqual => truth(self.ordered(&a, &b)?.map(Ordering::is_ge)),
            O::Union => {
                let mut all = a;
                all.extend(b);
                self.distinct(all)?
            }
            O::In => self.membership(&a, &b)?,
            O::Contains => self.membership(&b, &a)?,
            O::Concatenate => {
                let mut joined = self.string(&a)?.unwrap_or_default();
                joined.push_str(&self.string(&b)?.unwrap_or_default());
                vec![Item::String(joined)]
            }
            _ => match (self.single(&a)?, self.single(&b)?) {
                (Some(a), Some(b)) => math::binary(operator, &a, &b)?,
                (None, _) if !a.is_empty() => return fail("arithmetic on something that has no value"),
                (_, None) if !b.is_empty() => return fail("arithmetic on something that has no value"),
                _ => Vec::new(),
            },
        })
    }

    fn logic(&self, operator: Operator, left: &[Item<'a>], right: &Node, scope: &Scope<'a>) -> Evaluated<'a> {
        use Operator as O;
        let a = self.boolean(left)?;
        let decided = match (operator, a) {
            (O::And, Some(false)) => Some(false),
            (O::Or, Some(true)) => Some(true),
            (O::Implies, Some(false)) => Some(true),
            _ => None,
        };
        let answer = match decided {
            Some(d) => Some(d),
            None => {
                let b = self.boolean(&self.eval(right, scope)?)?;
                match (operator, a, b) {
                    (O::And, _, Some(false)) => Some(false),
                    (O::And, Some(true), Some(true)) => Some(true),
                    (O::Or, _, Some(true)) => Some(true),
                    (O::Or, Some(false), Some(false)) => Some(false),
                    (O::Xor, Some(a), Some(b)) => Some(a != b),
                    (O::Implies, Some(true), b) => b,
                    (O::Implies, None, Some(true)) => Some(true),
                    _ => None,
                }
            }
        };
        Ok(answer.map(Item::Boolean).into_iter().collect())
    }

    fn ordered(&self, a: &[Item<'a>], b: &[Item<'a>]) -> Result<Option<Ordering>, PathError> {
        let (Some(a), Some(b)) = (self.single(a)?, self.single(b)?) else { return Ok(None) };
        match compare::order(&a, &b) {
            Order::Known(o) => Ok(Some(o)),
            Order::Open => Ok(None),
            Order::Incomparable => fail("values of different types cannot be ordered"),
        }
    }

    fn membership(&self, one: &[Item<'a>], many: &[Item<'a>]) -> Evaluated<'a> {
        match one {
            [] => Ok(Vec::new()),
            [one] => Ok(vec![Item::Boolean(self.contains(many, one)?)]),
            _ => fail("`in` and `contains` look for a single value"),
        }
    }

    pub fn contains(&self, items: &[Item<'a>], item: &Item<'a>) -> Result<bool, PathError> {
        self.spend(items.len())?;
        Ok(items.iter().any(|i| compare::equal(i, item) == Some(true)))
    }

    pub fn distinct(&self, items: Items<'a>) -> Evaluated<'a> {
        // Text is by far the commonest and needs no comparison of all with all.
        if items.len() > 16 && items.iter().all(is_plain_text) {
            self.spend(items.len())?;
            let mut seen: HashSet<String> = HashSet::with_capacity(items.len());
            return Ok(items
                .into_iter()
                .filter(|i| seen.insert(i.as_str().unwrap_or("").to_owned()))
                .collect());
        }
        let mut out: Items<'a> = Vec::with_capacity(items.len());
        for item in items {
            if !self.contains(&out, &item)? {
                out.push(item);
            }
        }
        Ok(out)
    }

    /// The expression for each item, with `$this` and `$index`.
    pub fn each(
        &self,
        input: &[Item<'a>],
        expression: &Node,
        scope: &Scope<'a>,
        mut found: impl FnMut(&Item<'a>, Items<'a>) -> Result<bool, PathError>,
    ) -> Result<(), PathError> {
        for (n, item) in input.iter().enumerate() {
            let inner =
                Scope { focus: vec![item.clone()], index: Some(n as i64), total: scope.total.clone() };
            if !found(item, self.eval(expression, &inner)?)? {
                break;
            }
        }
        Ok(())
    }
}

/// Text that equals only the same text, so no date.
fn is_plain_text(item: &Item) -> bool {
    match item {
        Item::String(_) => true,
        Item::Node(n) => {
            let date = n.primitive().is_none_or(|p| {
                matches!(p, Primitive::Date | Primitive::DateTime | Primitive::Instant | Primitive::Time)
            });
            n.value.is_string() && !date
        }
        _ => false,
    }
}

fn number<'a>(text: &str) -> Result<Item<'a>, PathError> {
    if !text.contains('.')
        && let Ok(n) = text.parse::<i64>()
    {
        return Ok(Item::Integer(n));
    }
    match Decimal::parse(text) {
        Some(d) => Ok(Item::Decimal(d)),
        None => fail("a number is too large"),
    }
}

/// Errors: the name is no type.
fn has_type(item: &Item, name: &TypeName) -> Result<bool, PathError> {
    let d = Definitions::get();
    const SYSTEM: &[&str] =
        &["Boolean", "String", "Integer", "Decimal", "Date", "DateTime", "Time", "Quantity", "Any"];
    let system = SYSTEM.contains(&name.name.as_str());
    let wanted = d.number(&name.name);
    let (fhir, own) = match name.namespace.as_deref() {
        None => (true, true),
        Some("FHIR") => (true, false),
        Some("System") => (false, true),
        Some(_) => return fail("unknown namespace of a type"),
    };
    if !(fhir && wanted.is_some() || own && system) {
        if !fhir {
            return Ok(false);
        }
        return fail(format!("{} is no type", name.name));
    }
    Ok(match item {
        Item::Node(n) => match (n.number, wanted) {
            (Some(n), Some(wanted)) if fhir => {
                // A backbone element is what its base says, and not the type it belongs to.
                d.is_a(n, wanted) && d.type_def(wanted).class != Class::Backbone
            }
            _ => false,
        },
        other => own && (item_name(other) == name.name || name.name == "Any"),
    })
}

/// Strict: what stands behind a cast is known before anything is evaluated.
fn static_member(input: &Node, name: &str) -> Result<(), PathError> {
    let cast = match input {
        Node::As(_, t) => Some(t.clone()),
        Node::Call(_, call, arguments) if matches!(call.as_str(), "as" | "ofType") => {
            arguments.first().and_then(Node::as_type_name)
        }
        _ => None,
    };
    let Some(t) = cast.and_then(|t| Definitions::get().by_name(&t.name)) else { return Ok(()) };
    // What derives from an abstract type may have more elements.
    if t.class == Class::AbstractResource || t.primitive().is_some() || t.element(name).is_some() {
        return Ok(());
    }
    fail(format!("{} has no element {name}", t.name))
}

/// Strict: children have no order that an expression could rely on.
fn static_order(input: &Node) -> Result<(), PathError> {
    match input {
        Node::Call(_, name, _) if matches!(name.as_str(), "children" | "descendants") => {
            fail(format!("{name}() has no order"))
        }
        _ => Ok(()),
    }
}

fn item_name(item: &Item) -> String {
    item.type_name().1
}
