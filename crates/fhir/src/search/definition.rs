//! SearchParameter resources: what they define, and whether this server can do it.

use super::plan::{Compiler, take_for};
use crate::definitions::{Component, Definitions, Param, ParamType};
use crate::path::parser::{Node, Operator, parse};
use crate::path::{self, Env};
use crate::suggest::nearest;
use crate::{Issue, IssueCode, Outcome, ParamId, Resource, TypeId};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Types that one SearchParameter may be for.
pub const MAX_BASES: usize = 20;
/// Parts of a composite parameter.
const MAX_COMPONENTS: usize = 8;
/// Longest expression.
const MAX_EXPRESSION: usize = 2_000;
/// Steps of FHIRPath that one parameter may take on one resource.
pub(super) const WORK: u64 = 20_000;
/// Codes with a meaning of their own in queries begin so.
const RESERVED: char = '_';

/// An active SearchParameter of this server's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    pub url: String,
    pub code: String,
    pub kinds: Vec<TypeId>,
    pub param_type: ParamType,
    pub targets: Vec<TypeId>,
    pub expression: String,
    /// Canonical URL of the parameter that reads the value, and where it stands in the element.
    pub components: Vec<(String, String)>,
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn texts<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v str> + use<'v> {
    value.get(key).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

impl Definition {
    /// What the resource defines. `None` if it has no effect: it is not active, or describes a parameter that R4 has
    /// anyway. `others` are the parameters in force, for the parts of composites and for codes that are taken;
    /// those with the resource's own URL do not count.
    ///
    /// Errors: every reason why the parameter cannot work, each at its element.
    pub fn read(others: &super::Params, resource: &Resource) -> Result<Option<Definition>, Outcome> {
        if resource.kind() != TypeId::SEARCH_PARAMETER || resource.text("status") != Some("active") {
            return Ok(None);
        }
        let value = resource.value();
        let mut reader = Reader { others, url: text(value, "url").to_owned(), issues: Vec::new() };
        let code = text(value, "code").to_owned();
        let kinds = reader.kinds(value);
        let of_r4 =
            |kind: &TypeId| crate::definitions::param(*kind, &code).is_some_and(|p| p.url == reader.url);
        if !kinds.is_empty() && kinds.iter().all(of_r4) {
            return Ok(None);
        }
        reader.code(&code, &kinds);
        let param_type = reader.param_type(text(value, "type"));
        let expression = text(value, "expression").to_owned();
        let mut definition = Definition {
            url: reader.url.clone(),
            code,
            kinds,
            param_type: param_type.unwrap_or(ParamType::Special),
            targets: reader.targets(value),
            expression,
            components: Vec::new(),
        };
        if param_type.is_some() {
            definition.components = reader.components(value, &definition);
            if reader.issues.is_empty() {
                reader.expression(&definition);
            }
        }
        if reader.issues.is_empty() { Ok(Some(definition)) } else { Err(Outcome { issues: reader.issues }) }
    }

    /// The parameter for one of [Definition::kinds]. `None` if nothing of the expression is about that type.
    pub(super) fn param(&self, others: &super::Params, id: ParamId, kind: TypeId) -> Option<Param> {
        let node = for_kind(&parse(&self.expression).ok()?, kind)?;
        let components = self.components.iter().map(|(url, expression)| {
            let found = others.by_url(kind, url)?;
            Some(Component { code: found.code, expression: kept(expression) })
        });
        Some(Param {
            id,
            kind,
            code: kept(&self.code),
            param_type: self.param_type,
            expression: kept(&print(&node, &self.expression)),
            targets: self.targets.clone(),
            url: kept(&self.url),
            components: components.collect::<Option<Vec<_>>>()?,
        })
    }

    /// As JSON, to tell whether two definitions work alike.
    pub fn to_json(&self) -> Value {
        let names = |kinds: &[TypeId]| kinds.iter().map(|k| k.name()).collect::<Vec<_>>();
        json!({
            "url": self.url, "code": self.code, "base": names(&self.kinds), "type": self.param_type.code(),
            "target": names(&self.targets), "expression": self.expression, "component": self.components,
        })
    }

    /// The inverse of [Definition::to_json].
    pub fn from_json(value: &Value) -> Option<Definition> {
        let components = value
            .get("component")?
            .as_array()?
            .iter()
            .map(|pair| Some((pair.get(0)?.as_str()?.to_owned(), pair.get(1)?.as_str()?.to_owned())));
        Some(Definition {
            url: text(value, "url").to_owned(),
            code: text(value, "code").to_owned(),
            kinds: texts(value, "base").filter_map(TypeId::from_name).collect(),
            param_type: ParamType::from_code(text(value, "type"))?,
            targets: texts(value, "target").filter_map(TypeId::from_name).collect(),
            expression: text(value, "expression").to_owned(),
            components: components.collect::<Option<Vec<_>>>()?,
        })
    }
}

/// Names live as long as the process, each once: parameters are handed out as `&'static str`, and definitions
/// that are written again and again must not add up.
fn kept(text: &str) -> &'static str {
    static KEPT: Mutex<Option<HashSet<&'static str>>> = Mutex::new(None);
    let mut guard = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let set = guard.get_or_insert_with(HashSet::new);
    if let Some(found) = set.get(text) {
        return found;
    }
    let new: &'static str = Box::leak(text.to_owned().into_boxed_str());
    set.insert(new);
    new
}

/// The branches of a union that can apply to `kind`: those that begin with its name, with that of an abstract
/// type, or with no type at all.
pub(super) fn for_kind(node: &Node, kind: TypeId) -> Option<Node> {
    match node {
        Node::Binary(Operator::Union, left, right) => match (for_kind(left, kind), for_kind(right, kind)) {
            (Some(left), Some(right)) => Some(Node::Binary(Operator::Union, Box::new(left), Box::new(right))),
            (one, other) => one.or(other),
        },
        _ => match root_type(node) {
            Some(name) if name != kind.name() && TypeId::from_name(name).is_some() => None,
            _ => Some(node.clone()),
        },
    }
}

fn root_type(node: &Node) -> Option<&str> {
    match node {
        Node::Member(None, name) => Some(name),
        Node::Member(Some(input), _)
        | Node::Call(Some(input), ..)
        | Node::As(input, _)
        | Node::Is(input, _)
        | Node::At(input, _) => root_type(input),
        Node::Binary(_, left, _) => root_type(left),
        _ => None,
    }
}

/// The expression of the branches that were kept. The parsed form has no text, so a union that lost branches is
/// found again by cutting the written one at its outermost bars.
fn print(node: &Node, whole: &str) -> String {
    if parse(whole).is_ok_and(|n| n == *node) {
        return whole.to_owned();
    }
    let (mut parts, mut depth, mut start, mut quoted) = (Vec::new(), 0i32, 0usize, false);
    for (at, c) in whole.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth -= 1,
            '|' if depth == 0 && !quoted => {
                parts.push(whole[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(whole[start..].trim());
    fn branches<'n>(node: &'n Node, out: &mut Vec<&'n Node>) {
        match node {
            Node::Binary(Operator::Union, left, right) => {
                branches(left, out);
                branches(right, out);
            }
            other => out.push(other),
        }
    }
    let mut wanted = Vec::new();
    branches(node, &mut wanted);
    parts.retain(|part| parse(part).is_ok_and(|n| wanted.contains(&&n)));
    if parts.is_empty() { whole.to_owned() } else { parts.join(" | ") }
}

struct Reader<'p> {
    others: &'p super::Params,
    url: String,
    issues: Vec<Issue>,
}

impl Reader<'_> {
    fn refuse(&mut self, code: IssueCode, element: &str, text: impl Into<String>) {
        self.issues.push(Issue::error(code, format!("SearchParameter.{element}"), text));
    }

    fn kinds(&mut self, value: &Value) -> Vec<TypeId> {
        let mut kinds = Vec::new();
        for (n, name) in texts(value, "base").enumerate() {
            match TypeId::from_name(name) {
                Some(kind) if kinds.contains(&kind) => {}
                Some(kind) => kinds.push(kind),
                None if matches!(name, "Resource" | "DomainResource") => self.refuse(
                    IssueCode::NotSupported,
                    &format!("base[{n}]"),
                    "A parameter of this server's own names the types it is for.",
                ),
                None => {
                    let hint = nearest(name, TypeId::all().map(TypeId::name));
                    let hint = hint.map(|n| format!(" Did you mean `{n}`?")).unwrap_or_default();
                    let text = format!("`{name}` is no FHIR R4 resource type.{hint}");
                    self.refuse(IssueCode::CodeInvalid, &format!("base[{n}]"), text);
                }
            }
        }
        if kinds.len() > MAX_BASES {
            let text = format!("One parameter is for at most {MAX_BASES} types.");
            self.refuse(IssueCode::TooCostly, "base", text);
        } else if kinds.is_empty() && self.issues.is_empty() {
            self.refuse(IssueCode::Required, "base", "Name at least one resource type.");
        }
        kinds
    }

    fn code(&mut self, code: &str, kinds: &[TypeId]) {
        let fits = code.len() <= 64
            && code.starts_with(|c: char| c.is_ascii_alphabetic())
            && code.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !fits {
            let reserved = code.starts_with(RESERVED);
            let text = if reserved {
                "Codes that begin with `_` are the specification's."
            } else {
                "A code is up to 64 letters, digits, `-` and `_`, beginning with a letter."
            };
            return self.refuse(IssueCode::Value, "code", text);
        }
        for kind in kinds {
            let taken = self.others.defined(*kind, code).filter(|p| p.url != self.url);
            if let Some(p) = taken {
                let text = format!(
                    "{} has a search parameter `{code}` already ({}); take another code.",
                    kind.name(),
                    p.url
                );
                self.refuse(IssueCode::Duplicate, "code", text);
            }
        }
    }

    fn param_type(&mut self, code: &str) -> Option<ParamType> {
        match ParamType::from_code(code) {
            Some(ParamType::Special) => {
                let text = "Special parameters need a program of their own; this server has none for yours.";
                self.refuse(IssueCode::NotSupported, "type", text);
                None
            }
            Some(found) => Some(found),
            None => {
                self.refuse(IssueCode::CodeInvalid, "type", "This is no type of search parameters.");
                None
            }
        }
    }

    fn targets(&mut self, value: &Value) -> Vec<TypeId> {
        let names: Vec<&str> = texts(value, "target").collect();
        if names.iter().any(|n| matches!(*n, "Resource" | "DomainResource")) {
            return Vec::new();
        }
        let mut targets = Vec::new();
        for (n, name) in names.into_iter().enumerate() {
            match TypeId::from_name(name) {
                Some(kind) => targets.push(kind),
                None => self.refuse(
                    IssueCode::CodeInvalid,
                    &format!("target[{n}]"),
                    format!("`{name}` is no FHIR R4 resource type."),
                ),
            }
        }
        targets
    }

    fn components(&mut self, value: &Value, definition: &Definition) -> Vec<(String, String)> {
        let given: Vec<&Value> =
            value.get("component").and_then(Value::as_array).into_iter().flatten().collect();
        if definition.param_type != ParamType::Composite {
            if !given.is_empty() {
                self.refuse(IssueCode::Value, "component", "Only composite parameters have components.");
            }
            return Vec::new();
        }
        if !(2..=MAX_COMPONENTS).contains(&given.len()) {
            let text = format!("A composite parameter has 2 to {MAX_COMPONENTS} components.");
            self.refuse(IssueCode::Required, "component", text);
        }
        let mut out = Vec::new();
        for (n, component) in given.into_iter().enumerate() {
            let url = text(component, "definition").split('|').next().unwrap_or_default().to_owned();
            for kind in &definition.kinds {
                match self.others.by_url(*kind, &url).map(|p| p.param_type) {
                    Some(ParamType::Composite | ParamType::Special) => self.refuse(
                        IssueCode::NotSupported,
                        &format!("component[{n}].definition"),
                        "A component is no composite or special parameter itself.",
                    ),
                    Some(_) => {}
                    None => self.refuse(
                        IssueCode::NotFound,
                        &format!("component[{n}].definition"),
                        format!("{} has no search parameter with this URL.", kind.name()),
                    ),
                }
            }
            out.push((url, text(component, "expression").to_owned()));
        }
        out
    }

    fn expression(&mut self, definition: &Definition) {
        if definition.expression.is_empty() {
            let text = "A parameter needs a FHIRPath expression; `xpath` is not read.";
            return self.refuse(IssueCode::Required, "expression", text);
        }
        if definition.expression.len() > MAX_EXPRESSION {
            let text = format!("An expression has at most {MAX_EXPRESSION} characters.");
            return self.refuse(IssueCode::TooLong, "expression", text);
        }
        let node = match parse(&definition.expression) {
            Ok(node) => node,
            Err(error) => return self.refuse(IssueCode::Value, "expression", error.to_string()),
        };
        for kind in &definition.kinds {
            match for_kind(&node, *kind) {
                None => {
                    let text = format!("Nothing in the expression is about {}.", kind.name());
                    self.refuse(IssueCode::Value, "expression", text);
                }
                Some(node) => self.branches(definition, *kind, &node),
            }
        }
    }

    fn branches(&mut self, definition: &Definition, kind: TypeId, node: &Node) {
        let d = Definitions::get();
        let Some((number, _)) = d.resource(kind) else { return };
        let compiled = Compiler::of(kind, number).branches(node);
        if definition.param_type == ParamType::Composite {
            let Some(elements) = compiled else {
                let text = "The expression of a composite parameter is a plain path to its elements.";
                return self.refuse(IssueCode::NotSupported, "expression", text);
            };
            for (n, (url, expression)) in definition.components.iter().enumerate() {
                let param_type = self.others.by_url(kind, url).map(|p| p.param_type);
                let node = parse(expression).ok();
                let fits = elements.iter().any(|e| {
                    let found = node.as_ref().and_then(|node| Compiler::of(kind, e.number).branches(node));
                    found.into_iter().flatten().any(|b| {
                        param_type
                            .and_then(|t| take_for(t, d.type_def(b.number), b.only))
                            .is_some_and(|t| !t.is_empty())
                    })
                });
                if !fits {
                    let text =
                        "This is no path from the element to values that the component's definition reads.";
                    self.refuse(IssueCode::Value, &format!("component[{n}].expression"), text);
                }
            }
            return;
        }
        if let Some(branches) = compiled {
            let mut wrong: Vec<&str> = Vec::new();
            let mut fits = false;
            for b in &branches {
                let t = d.type_def(b.number);
                match take_for(definition.param_type, t, b.only) {
                    Some(takes) if !takes.is_empty() => fits = true,
                    _ => wrong.push(t.name),
                }
            }
            if !fits {
                wrong.sort_unstable();
                wrong.dedup();
                let text = format!(
                    "The expression leads to {}, which a {} parameter cannot be searched by.",
                    wrong.join(", "),
                    definition.param_type.code()
                );
                self.refuse(IssueCode::Value, "expression", text);
            }
            return;
        }
        if leads_through_references(node) {
            let text = "An index holds what stands in the resource itself; `resolve()` leads out of it.";
            return self.refuse(IssueCode::NotSupported, "expression", text);
        }
        // Tried on an empty resource: names that a type does not have and wrong calls show there.
        let Ok(expression) = path::parse(&definition.expression) else { return };
        let empty = json!({"resourceType": kind.name()});
        let env = Env { strict: true, work: Some(WORK), ..Env::default() };
        if let Err(error) = path::evaluate(&expression, &empty, &env) {
            self.refuse(IssueCode::Value, "expression", format!("On {}: {error}", kind.name()));
        }
    }
}

fn leads_through_references(node: &Node) -> bool {
    let mut found = false;
    node.visit(&mut |n| found |= matches!(n, Node::Call(_, name, _) if name == "resolve" || name == "memberOf" || name == "conformsTo"));
    found
}
