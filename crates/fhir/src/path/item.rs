//! Members of a collection: JSON elements with their FHIR type, and FHIRPath's own values.

use super::decimal::Decimal;
use super::temporal;
use crate::definitions::{Class, Definitions, Element, Primitive, TypeDef, TypeNumber};
use crate::moment::{Form, Moment};
use serde_json::{Value, json};

/// An element of a resource.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    /// Null for a primitive that has only extensions.
    pub(crate) value: &'a Value,
    /// What stands under the underscored name of a primitive.
    pub(crate) extension: Option<&'a Value>,
    /// `None` where the definitions end: JSON that is no valid FHIR.
    pub(crate) number: Option<TypeNumber>,
}

/// A number with a unit.
#[derive(Debug, Clone, PartialEq)]
pub struct Quantity {
    pub value: Decimal,
    /// UCUM code, or a calendar word in the singular.
    pub unit: String,
    /// Whether the unit is a calendar word such as `day`.
    pub calendar: bool,
}

/// A date, a dateTime or a time of day, with the precision it was written in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Instant(pub(crate) Moment);

/// One step down into JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(String),
    Index(usize),
}

/// Depth first to the very value, not one that equals it.
fn locate(at: &Value, wanted: &Value, steps: &mut Vec<Step>) -> bool {
    if std::ptr::eq(at, wanted) {
        return true;
    }
    match at {
        Value::Object(object) => object.iter().any(|(key, value)| {
            steps.push(Step::Key(key.clone()));
            let found = locate(value, wanted, steps);
            if !found {
                steps.pop();
            }
            found
        }),
        Value::Array(items) => items.iter().enumerate().any(|(n, value)| {
            steps.push(Step::Index(n));
            let found = locate(value, wanted, steps);
            if !found {
                steps.pop();
            }
            found
        }),
        _ => false,
    }
}

/// One member of a result collection.
#[derive(Debug, Clone)]
pub enum Item<'a> {
    Node(Node<'a>),
    Boolean(bool),
    Integer(i64),
    Decimal(Decimal),
    String(String),
    Date(Instant),
    DateTime(Instant),
    Time(Instant),
    Quantity(Quantity),
    /// What `type()` returns.
    Type {
        namespace: &'static str,
        name: String,
    },
}

impl<'a> Node<'a> {
    pub(crate) fn resource(value: &'a Value) -> Node<'a> {
        let number =
            value.get("resourceType").and_then(Value::as_str).and_then(|n| Definitions::get().number(n));
        Node { value, extension: None, number }
    }

    pub(crate) fn type_def(&self) -> Option<&'static TypeDef> {
        self.number.map(|n| Definitions::get().type_def(n))
    }

    /// The children of one element name: `value` finds `valueQuantity` with its type.
    /// `None` if the type has no such element.
    pub(crate) fn children_named(&self, name: &str, out: &mut Vec<Item<'a>>) -> Option<()> {
        let Some(t) = self.type_def() else {
            self.push_all(name, None, out);
            return Some(());
        };
        if t.primitive().is_some() {
            // id and extensions of a primitive.
            let element = Definitions::get().by_name("Element")?.element(name)?;
            if let Some(value) = self.extension {
                let number = element.types.first().map(|t| t.number);
                Node { value, extension: None, number: None }.push_all(name, number, out);
            }
            return Some(());
        }
        let element = t.element(name)?;
        self.push_element(element, out);
        Some(())
    }

    fn push_element(&self, element: &Element, out: &mut Vec<Item<'a>>) {
        if !element.choice {
            let number = element.types.first().map(|t| t.number);
            return self.push_all(element.name, number, out);
        }
        // The keys that are there are fewer than the types there could be.
        let (Value::Object(object), Some(t)) = (self.value, self.type_def()) else { return };
        for key in object.keys() {
            let (plain, extends) = match key.strip_prefix('_') {
                Some(plain) => (plain, true),
                None => (key.as_str(), false),
            };
            if !plain.starts_with(element.name) || (extends && object.contains_key(plain)) {
                continue;
            }
            if let Some((_, found, option)) = t.lookup(plain)
                && found.name == element.name
            {
                self.push_all(plain, Some(option.number), out);
            }
        }
    }

    fn push_all(&self, key: &str, number: Option<TypeNumber>, out: &mut Vec<Item<'a>>) {
        let Value::Object(object) = self.value else { return };
        let d = Definitions::get();
        let primitive = number.is_some_and(|n| d.type_def(n).primitive().is_some());
        let extension = if primitive { object.get(&format!("_{key}")) } else { None };
        let item = |value: &'a Value, extension: Option<&'a Value>| {
            let number = match number.map(|n| d.type_def(n).class) {
                Some(Class::AbstractResource) => Node::resource(value).number,
                _ => number,
            };
            Item::Node(Node { value, extension, number })
        };
        match (object.get(key), extension) {
            (Some(Value::Array(items)), _) => {
                let extensions = extension.and_then(Value::as_array);
                for (n, v) in items.iter().enumerate() {
                    let extension = extensions.and_then(|e| e.get(n)).filter(|e| e.is_object());
                    if !v.is_null() || extension.is_some() {
                        out.push(item(v, extension));
                    }
                }
            }
            (Some(Value::Null) | None, Some(Value::Array(extensions))) => {
                out.extend(extensions.iter().filter(|e| e.is_object()).map(|e| item(&Value::Null, Some(e))));
            }
            (Some(Value::Null) | None, Some(e)) => out.push(item(&Value::Null, Some(e))),
            (Some(Value::Null) | None, None) => {}
            (Some(v), e) => out.push(item(v, e)),
        }
    }

    /// All children, in the order they are written.
    pub(crate) fn children(&self, out: &mut Vec<Item<'a>>) {
        let Some(t) = self.type_def() else {
            if let Value::Object(object) = self.value {
                object.keys().for_each(|k| self.push_all(k, None, out));
            }
            return;
        };
        if t.primitive().is_some() {
            if let Some(value) = self.extension {
                let number = Definitions::get().number("Element");
                Node { value, extension: None, number }.children(out);
            }
            return;
        }
        let Value::Object(object) = self.value else { return };
        for key in object.keys() {
            let (name, extends) = match key.strip_prefix('_') {
                Some(name) => (name, true),
                None => (key.as_str(), false),
            };
            if extends && object.contains_key(name) {
                continue;
            }
            if let Some((_, _, et)) = t.lookup(name) {
                self.push_all(name, Some(et.number), out);
            }
        }
    }

    pub(crate) fn primitive(&self) -> Option<Primitive> {
        self.type_def().and_then(TypeDef::primitive)
    }

    /// FHIRPath's own value of a primitive or a Quantity.
    pub(crate) fn system(&self) -> Option<Item<'a>> {
        match self.value {
            Value::Bool(b) => Some(Item::Boolean(*b)),
            Value::Number(n) => match (self.primitive(), n.as_str().parse::<i64>()) {
                (Some(Primitive::Decimal), _) | (_, Err(_)) => Decimal::parse(n.as_str()).map(Item::Decimal),
                (_, Ok(n)) => Some(Item::Integer(n)),
            },
            Value::String(s) => Some(match self.primitive() {
                Some(Primitive::Date) => Moment::parse(s, Form::Date)
                    .map_or_else(|| Item::String(s.clone()), |m| Item::Date(Instant(m))),
                Some(Primitive::DateTime | Primitive::Instant) => Moment::parse(s, Form::DateTime)
                    .map_or_else(|| Item::String(s.clone()), |m| Item::DateTime(Instant(m))),
                Some(Primitive::Time) => Moment::parse_time(s, Form::DateTime)
                    .map_or_else(|| Item::String(s.clone()), |m| Item::Time(Instant(m))),
                _ => Item::String(s.clone()),
            }),
            Value::Object(o) if self.is_quantity() => {
                let value =
                    o.get("value").and_then(Value::as_number).and_then(|n| Decimal::parse(n.as_str()))?;
                let text = |k: &str| o.get(k).and_then(Value::as_str);
                let ucum = text("system") == Some("http://unitsofmeasure.org");
                let unit =
                    if ucum { text("code") } else { None }.or(text("unit")).or(text("code")).unwrap_or("1");
                Some(Item::Quantity(Quantity { value, unit: unit.to_owned(), calendar: false }))
            }
            _ => None,
        }
    }

    fn is_quantity(&self) -> bool {
        let d = Definitions::get();
        match (self.number, d.number("Quantity")) {
            (Some(n), Some(quantity)) => d.is_a(n, quantity),
            _ => false,
        }
    }
}

impl<'a> Item<'a> {
    /// A resource as an input.
    pub fn resource(value: &'a Value) -> Item<'a> {
        Item::Node(Node::resource(value))
    }
    /// An element that is no resource: `type_name` such as `HumanName` or `Observation.component`;
    /// `extension` is what stands under the underscored name of a primitive.
    /// Unknown names give an element whose members are untyped.
    pub fn element(value: &'a Value, extension: Option<&'a Value>, type_name: &str) -> Item<'a> {
        Item::Node(Node { value, extension, number: Definitions::get().number(type_name) })
    }
    pub(crate) fn typed(value: &'a Value, extension: Option<&'a Value>, number: TypeNumber) -> Item<'a> {
        Item::Node(Node { value, extension, number: Some(number) })
    }
    /// Where in `root` the element stands, outermost step first; a primitive that has only extensions is
    /// found under its own name. `None` for values that the expression made and elements of other resources.
    pub fn location(&self, root: &Value) -> Option<Vec<Step>> {
        let Item::Node(n) = self else { return None };
        let mut steps = Vec::new();
        let found = if n.value.is_null() {
            let found = n.extension.is_some_and(|e| locate(root, e, &mut steps));
            // The extension stands under `_name`, alone or in a list.
            if let Some(Step::Key(key)) = steps.iter_mut().rfind(|s| matches!(s, Step::Key(_))) {
                *key = key.trim_start_matches('_').to_owned();
            }
            found
        } else {
            locate(root, n.value, &mut steps)
        };
        found.then_some(steps)
    }
    /// The JSON behind an element, by identity: null for a primitive that has only extensions; `None` for
    /// values that the expression made.
    pub fn value(&self) -> Option<&'a Value> {
        match self {
            Item::Node(n) => Some(n.value),
            _ => None,
        }
    }
    /// The FHIRPath value: a primitive element becomes its value, a FHIR Quantity a quantity.
    pub(crate) fn system(&self) -> Option<Item<'a>> {
        match self {
            Item::Node(n) => n.system(),
            other => Some(other.clone()),
        }
    }

    /// Namespace and name: `FHIR` and a FHIR type, or `System` and a FHIRPath type.
    pub fn type_name(&self) -> (&'static str, String) {
        match self {
            Item::Node(n) => match n.type_def() {
                Some(t) => {
                    let t = match (t.class, t.base) {
                        (Class::Profile, Some(base)) => Definitions::get().type_def(base),
                        _ => t,
                    };
                    let name = match (t.class, t.base) {
                        (Class::Backbone, Some(base)) => Definitions::get().type_def(base).name,
                        _ => t.name,
                    };
                    ("FHIR", name.to_owned())
                }
                None => ("FHIR", "Element".to_owned()),
            },
            Item::Boolean(_) => ("System", "Boolean".to_owned()),
            Item::Integer(_) => ("System", "Integer".to_owned()),
            Item::Decimal(_) => ("System", "Decimal".to_owned()),
            Item::String(_) => ("System", "String".to_owned()),
            Item::Date(_) => ("System", "Date".to_owned()),
            Item::DateTime(_) => ("System", "DateTime".to_owned()),
            Item::Time(_) => ("System", "Time".to_owned()),
            Item::Quantity(_) => ("System", "Quantity".to_owned()),
            Item::Type { .. } => ("System", "TypeInfo".to_owned()),
        }
    }

    /// The text of a string, or of a primitive element that is text in JSON.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Item::String(s) => Some(s),
            Item::Node(n) => n.value.as_str(),
            _ => None,
        }
    }

    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Item::Boolean(b) => Some(*b),
            Item::Node(n) => n.value.as_bool(),
            _ => None,
        }
    }

    /// As JSON: elements as they are in the resource, dates and times as text, quantities as objects.
    pub fn to_json(&self) -> Value {
        match self {
            Item::Node(n) => n.value.clone(),
            Item::Boolean(b) => json!(b),
            Item::Integer(n) => json!(n),
            Item::Decimal(d) => d.to_string().parse().map_or(Value::Null, Value::Number),
            Item::String(s) => json!(s),
            Item::Date(m) | Item::DateTime(m) => json!(temporal::show(&m.0)),
            Item::Time(m) => json!(temporal::show_time(&m.0)),
            Item::Quantity(q) => {
                json!({"value": q.value.to_string().parse().map_or(Value::Null, Value::Number), "unit": q.unit})
            }
            Item::Type { namespace, name } => json!({"namespace": namespace, "name": name}),
        }
    }
}

impl PartialEq for Item<'_> {
    fn eq(&self, other: &Self) -> bool {
        super::compare::equal(self, other) == Some(true)
    }
}
