//! Invariants of the base definitions that no hand-written code checks: FHIRPath, parsed at first use.

use super::walk::{Place, Walker};
use crate::definitions::{Definitions, TypeDef, TypeNumber};
use crate::path::{self, Env, Expr, Item};
use crate::{Issue, IssueCode};
use serde_json::Value;
use std::collections::HashMap;
use std::io::Read;
use std::sync::OnceLock;

static PACKED: &[u8] = include_bytes!("../../data/rules.txt.gz");

/// One constraint of a definition or a profile.
#[derive(Debug)]
pub(super) struct Rule {
    pub key: String,
    pub text: String,
    /// Warnings are only given as advice.
    pub error: bool,
    pub expression: String,
    parsed: OnceLock<Option<Expr>>,
}

impl Rule {
    pub fn new(key: &str, text: &str, error: bool, expression: &str) -> Rule {
        Rule {
            key: key.to_owned(),
            text: text.to_owned(),
            error,
            expression: expression.to_owned(),
            parsed: OnceLock::new(),
        }
    }

    /// `None` if the expression is not FHIRPath.
    pub fn parsed(&self) -> Option<&Expr> {
        self.parsed.get_or_init(|| path::parse(&self.expression).ok()).as_ref()
    }
}

/// A binding that the list of codes in the definitions does not decide.
#[derive(Debug)]
pub(super) struct Binding {
    pub required: bool,
    pub value_set: &'static str,
}

#[derive(Default)]
pub(super) struct Rules {
    /// By type number: what holds for every value of the type.
    types: Vec<Vec<Rule>>,
    /// By type number: what holds for an element of the type, by its name. Few types have any.
    elements: Vec<Vec<(&'static str, Rule)>>,
    bindings: HashMap<(u16, &'static str), Binding>,
}

impl Rules {
    pub fn get() -> &'static Rules {
        static LOADED: OnceLock<Rules> = OnceLock::new();
        LOADED.get_or_init(|| {
            let loaded = load();
            assert!(loaded.is_some(), "the embedded R4 invariants are damaged");
            loaded.unwrap_or_default()
        })
    }
    pub fn of_type(&self, number: TypeNumber) -> &[Rule] {
        self.types.get(usize::from(number.0)).map_or(&[], Vec::as_slice)
    }
    fn of_elements(&self, owner: TypeNumber) -> &[(&'static str, Rule)] {
        self.elements.get(usize::from(owner.0)).map_or(&[], Vec::as_slice)
    }
    fn all(&self) -> impl Iterator<Item = &Rule> {
        self.types.iter().flatten().chain(self.elements.iter().flatten().map(|(_, rule)| rule))
    }
    pub fn binding(&self, owner: TypeNumber, name: &'static str) -> Option<&Binding> {
        self.bindings.get(&(owner.0, name))
    }
    /// Whether the base definitions have this rule, so that a profile's copy of it need not run again.
    pub fn has(&self, key: &str, expression: &str) -> bool {
        static KNOWN: OnceLock<HashMap<&'static str, Vec<&'static str>>> = OnceLock::new();
        let known = KNOWN.get_or_init(|| {
            let mut known: HashMap<&'static str, Vec<&'static str>> = HashMap::new();
            for rule in Rules::get().all() {
                known.entry(&rule.key).or_default().push(&rule.expression);
            }
            known
        });
        NATIVE.contains(&key) || known.get(key).is_some_and(|all| all.iter().any(|e| same(e, expression)))
    }
}

/// What `rule.rs` and `xhtml.rs` check.
const NATIVE: &[&str] = &[
    "ele-1", "ext-1", "dom-2", "dom-3", "dom-4", "dom-5", "ref-1", "qty-3", "per-1", "cpt-2", "att-1",
    "txt-1", "txt-2",
];

/// White space aside.
fn same(a: &str, b: &str) -> bool {
    let letters = |text: &'_ str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    a == b || letters(a) == letters(b)
}

fn load() -> Option<Rules> {
    let mut text = String::new();
    flate2::read::GzDecoder::new(PACKED).read_to_string(&mut text).ok()?;
    // Leaked on purpose, like the definitions: both live as long as the process.
    let text: &'static str = Box::leak(text.into_boxed_str());
    let d = Definitions::get();
    let mut rules = Rules::default();
    rules.types.resize_with(d.types.len(), Vec::new);
    rules.elements.resize_with(d.types.len(), Vec::new);
    for line in text.lines() {
        let words: Vec<&'static str> = line.split('\t').collect();
        match words[..] {
            ["K", owner, element, key, severity, expression, text] => {
                // Constraints of types that JSON does not have, such as MetadataResource.
                let Some(number) = d.number(owner) else { continue };
                let rule = Rule::new(key, text, severity == "e", expression);
                if element.is_empty() {
                    rules.types[usize::from(number.0)].push(rule);
                } else {
                    rules.elements[usize::from(number.0)].push((element, rule));
                }
            }
            ["B", owner, element, strength, value_set] => {
                let Some(number) = d.number(owner) else { continue };
                let binding = Binding { required: strength == "r", value_set };
                rules.bindings.insert((number.0, element), binding);
            }
            _ => return None,
        }
    }
    Some(rules)
}

/// Positions are all that the loaded definitions know types by.
fn number_of(d: &Definitions, t: &TypeDef) -> Option<TypeNumber> {
    let offset = std::ptr::from_ref(t).addr().checked_sub(d.types.as_ptr().addr())?;
    u16::try_from(offset / size_of::<TypeDef>()).ok().map(TypeNumber)
}

/// The rules of the type, and of the elements of it that are present.
pub(super) fn object<'r>(walker: &mut Walker<'r>, t: &'static TypeDef, value: &'r Value, place: &Place) {
    let Some(mut number) = number_of(walker.definitions, t) else { return };
    let rules = Rules::get();
    let own = number;
    loop {
        for rule in rules.of_type(number) {
            check(walker, rule, own, value, None, place);
        }
        match walker.definitions.type_def(number).base {
            Some(base) => number = base,
            None => break,
        }
    }
    let of_elements = rules.of_elements(own);
    if of_elements.is_empty() {
        return;
    }
    let Value::Object(object) = value else { return };
    for (key, child) in object {
        let Some((_, element, element_type)) = t.lookup(key.strip_prefix('_').unwrap_or(key)) else {
            continue;
        };
        let mut found =
            of_elements.iter().filter(|(name, _)| *name == element.name).map(|(_, rule)| rule).peekable();
        if found.peek().is_none() || (key.starts_with('_') && object.contains_key(&key[1..])) {
            continue;
        }
        let extension = if key.starts_with('_') { Some(child) } else { object.get(&format!("_{key}")) };
        let place = place.member(key.strip_prefix('_').unwrap_or(key));
        for rule in found {
            match child {
                Value::Array(items) => {
                    for (n, item) in items.iter().enumerate() {
                        let extension = extension.and_then(|e| e.get(n));
                        check(walker, rule, element_type.number, item, extension, &place.item(n));
                    }
                }
                child => check(walker, rule, element_type.number, child, extension, &place),
            }
        }
    }
}

fn check<'r>(
    walker: &mut Walker<'r>,
    rule: &'static Rule,
    number: TypeNumber,
    value: &'r Value,
    extension: Option<&'r Value>,
    place: &Place,
) {
    if !rule.error && !walker.advice {
        return;
    }
    let Some(expression) = rule.parsed() else { return };
    let env = Env { root: Some(walker.container), resolve: walker.resolve, ..Env::default() };
    let focus = vec![Item::typed(value, extension, number)];
    let result =
        path::evaluate_on(expression, focus, walker.resource, &env).and_then(|items| path::truth(&items));
    // What cannot be evaluated here, such as what needs more than is at hand, holds nobody up.
    if !matches!(result, Ok(Some(false) | None)) {
        return;
    }
    let text = format!("{} ({}).", rule.text.trim_end_matches('.'), rule.key);
    if rule.error {
        walker.at(IssueCode::Invariant, place, text);
    } else {
        walker.warn(Issue::warning(IssueCode::Invariant, place.path(), text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expression_is_fhirpath() {
        let rules = Rules::get();
        let mut count = 0;
        for rule in rules.all() {
            assert!(rule.parsed().is_some(), "{}: {}", rule.key, rule.expression);
            count += 1;
        }
        assert!(count > 200, "{count}");
        let d = Definitions::get();
        for t in &d.types {
            assert_eq!(number_of(d, t), d.number(t.name));
        }
    }
}
