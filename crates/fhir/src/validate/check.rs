//! Checks a resource against profiles, extension definitions and terminology.

use super::invariant::Rules;
use super::profile::{Bound, Element, Profile, Type, base_type};
use super::{MAX_ISSUES, Membership, Options};
use crate::definitions::{Class, Definitions};
use crate::path::{self, Env, Environment, Item, Node};
use crate::{Issue, IssueCode, Reference, Resource};
use serde_json::Value;
use std::cell::Cell;
use std::sync::Arc;

/// Elements looked at for one resource; profiles that refer to each other can multiply.
const MAX_VISITS: usize = 500_000;
/// Profiles that are checked within each other.
const MAX_PROFILES_DEEP: usize = 24;

/// An element of the resource and where it stands.
#[derive(Clone)]
pub(super) struct Spot<'a> {
    pub node: Node<'a>,
    pub path: String,
}

pub(super) struct Checker<'c, 'o, 'a> {
    pub options: &'c Options<'o>,
    host: &'a dyn Environment<'a>,
    pub issues: Vec<Issue>,
    more: usize,
    visits: usize,
    /// The resource that `#id` is looked up in, and the one that is being checked.
    pub container: &'a Value,
    pub resource: &'a Value,
    /// Profiles under way, each with the element it is checked on.
    stack: Vec<(String, *const Value)>,
}

/// Appends what the profiles, extensions and bindings of the resource have to say.
pub(super) fn resource(resource: &Resource, options: &Options, issues: &mut Vec<Issue>) {
    let value = resource.value();
    let host = Host { options, depth: Cell::new(0) };
    let mut checker = Checker::new(options, &host, value);
    let spot = Spot { node: node_of(&Item::resource(value)), path: resource.kind().name().to_owned() };
    for canonical in &options.claimed {
        checker.named_profile(canonical, &spot, IssueCode::NotFound);
    }
    checker.everywhere(&spot, None, "");
    let more = checker.more;
    issues.append(&mut checker.issues);
    // Two profiles can say the same of one element.
    let mut seen: Vec<Issue> = Vec::with_capacity(issues.len());
    for issue in issues.drain(..) {
        if !seen.contains(&issue) {
            seen.push(issue);
        }
    }
    *issues = seen;
    if more > 0 {
        let text = format!("{more} further problems are not listed.");
        issues.push(Issue::error(IssueCode::TooCostly, "", text));
    }
}

fn node_of<'a>(item: &Item<'a>) -> Node<'a> {
    match item {
        Item::Node(node) => *node,
        _ => Node { value: &Value::Null, extension: None, number: None },
    }
}

impl<'c, 'o, 'a> Checker<'c, 'o, 'a> {
    pub fn new(
        options: &'c Options<'o>,
        host: &'a dyn Environment<'a>,
        resource: &'a Value,
    ) -> Checker<'c, 'o, 'a> {
        Checker {
            options,
            host,
            issues: Vec::new(),
            more: 0,
            visits: 0,
            container: resource,
            resource,
            stack: Vec::new(),
        }
    }

    pub fn error(&mut self, code: IssueCode, path: &str, text: String) {
        self.push(Issue::error(code, path, text));
    }
    fn warn(&mut self, code: IssueCode, path: &str, text: String) {
        if self.options.advice {
            self.push(Issue::warning(code, path, text));
        }
    }
    fn push(&mut self, issue: Issue) {
        if self.issues.len() >= MAX_ISSUES { self.more += 1 } else { self.issues.push(issue) }
    }

    /// Whether the work finds no error; what it finds is dropped.
    pub fn quietly(&mut self, work: impl FnOnce(&mut Self)) -> bool {
        let (issues, more) = (std::mem::take(&mut self.issues), self.more);
        work(self);
        let errors = self.more > more || self.issues.iter().any(|i| i.severity == crate::Severity::Error);
        (self.issues, self.more) = (issues, more);
        !errors
    }

    /// Extensions, `meta.profile` and base bindings at this element and below it. `parent` is the name of the
    /// type that has the element, `name` the element's own.
    fn everywhere(&mut self, spot: &Spot<'a>, parent: Option<&'static str>, name: &str) {
        self.visits += 1;
        if self.visits > MAX_VISITS {
            return;
        }
        let Some(t) = spot.node.type_def() else { return };
        let outer = (self.container, self.resource);
        if matches!(t.class, Class::Resource) {
            if name != "contained" {
                self.container = spot.node.value;
            }
            self.resource = spot.node.value;
            self.claims(spot);
        }
        if t.name == "Extension" {
            return;
        }
        self.extensions(spot, parent, name);
        let owner = spot.node.number;
        let mut names: Vec<&'static str> = Vec::new();
        if let Value::Object(object) = spot.node.value {
            for key in object.keys() {
                let Some((_, element, _)) = t.lookup(key.strip_prefix('_').unwrap_or(key)) else { continue };
                if !names.contains(&element.name)
                    && !matches!(element.name, "extension" | "modifierExtension")
                {
                    names.push(element.name);
                }
            }
        }
        for child_name in names {
            for child in children(spot, child_name) {
                if let (Some(owner), Some(_)) = (owner, self.options.terminology)
                    && let Some(binding) = Rules::get().binding(owner, child_name)
                {
                    // Closed lists were checked with the structure.
                    let listed = t.element(child_name).is_some_and(|e| e.binding.is_some());
                    if !(binding.required && listed) {
                        self.bound(
                            &child,
                            binding.value_set,
                            if binding.required { "required" } else { "extensible" },
                        );
                    }
                }
                self.everywhere(&child, Some(t.name), child_name);
            }
        }
        (self.container, self.resource) = outer;
    }

    /// `meta.profile`
    fn claims(&mut self, spot: &Spot<'a>) {
        let claimed = spot.node.value.get("meta").and_then(|m| m.get("profile")).and_then(Value::as_array);
        for (n, canonical) in claimed.into_iter().flatten().enumerate() {
            let Some(canonical) = canonical.as_str() else { continue };
            if base_type(canonical).is_some() {
                continue;
            }
            match self.options.profiles.and_then(|p| p.profile(canonical)) {
                Some(profile) => self.profile(&profile, spot),
                None => {
                    let path = format!("{}.meta.profile[{n}]", spot.path);
                    let text = "The profile is not known here, so it was not checked.".to_owned();
                    self.warn(IssueCode::NotFound, &path, text);
                }
            }
        }
    }

    fn named_profile(&mut self, canonical: &str, spot: &Spot<'a>, unknown: IssueCode) {
        if let Some(name) = base_type(canonical)
            && let Some(number) = Definitions::get().number(name)
        {
            if !spot.node.number.is_some_and(|n| Definitions::get().is_a(n, number)) {
                self.error(IssueCode::Structure, &spot.path, format!("This is no {name}."));
            }
            return;
        }
        match self.options.profiles.and_then(|p| p.profile(canonical)) {
            Some(profile) => self.profile(&profile, spot),
            None => self.error(unknown, &spot.path, format!("The profile {canonical} is not known here.")),
        }
    }

    /// The element against all of a profile.
    pub fn profile(&mut self, profile: &Arc<Profile>, spot: &Spot<'a>) {
        let place = (profile.url.clone(), std::ptr::from_ref(spot.node.value));
        if self.stack.contains(&place) || self.stack.len() >= MAX_PROFILES_DEEP {
            return;
        }
        let d = Definitions::get();
        if !spot.node.number.is_some_and(|n| d.is_a(n, profile.number)) {
            let text = format!("The profile {} is for {}.", profile.url, profile.kind);
            return self.error(IssueCode::Structure, &spot.path, text);
        }
        self.stack.push(place);
        self.element(profile, &profile.root, spot);
        self.stack.pop();
    }

    /// One element against what a profile says of it; counting it is the parent's work.
    pub fn element(&mut self, profile: &Arc<Profile>, element: &Arc<Element>, spot: &Spot<'a>) {
        self.visits += 1;
        if self.visits >= MAX_VISITS {
            if self.visits == MAX_VISITS {
                let text = "The profiles ask for more checking than is done for one resource.".to_owned();
                self.error(IssueCode::TooCostly, &spot.path, text);
            }
            return;
        }
        self.values(profile, element, spot);
        if !element.types.is_empty() {
            self.types(profile, &element.types, spot);
        }
        if let Some(binding) = &element.binding {
            self.bound(spot, &binding.value_set, &binding.strength);
        }
        for rule in &element.rules {
            if rule.error || self.options.advice {
                self.rule(rule, spot);
            }
        }
        if let Some(content) = &element.content
            && let Some(target) = find(&profile.root, content)
        {
            self.children(profile, &target, spot);
        }
        self.children(profile, element, spot);
    }

    fn values(&mut self, profile: &Arc<Profile>, element: &Element, spot: &Spot<'a>) {
        let value = spot.node.value;
        if let Some(fixed) = &element.fixed
            && !equal(fixed, value)
        {
            let text = format!("{} allows only {} here.", name(profile), shown(fixed));
            self.error(IssueCode::Value, &spot.path, text);
        }
        if let Some(pattern) = &element.pattern
            && !fits(pattern, value)
        {
            let text = format!("{} asks for {} here.", name(profile), shown(pattern));
            self.error(IssueCode::Value, &spot.path, text);
        }
        if let (Some(most), Some(text)) = (element.max_length, value.as_str())
            && text.chars().count() > most
        {
            let text = format!("{} allows at most {most} characters here.", name(profile));
            self.error(IssueCode::TooLong, &spot.path, text);
        }
        for (bound, least) in [(&element.least, true), (&element.greatest, false)] {
            if let Some(bound) = bound
                && beyond(spot.node, bound, least)
            {
                let word = if least { "least" } else { "most" };
                let text = format!("{} asks for at {word} {} here.", name(profile), shown(&bound.value));
                self.error(IssueCode::Value, &spot.path, text);
            }
        }
    }

    /// The type itself, the profiles on it and the targets of a reference.
    fn types(&mut self, profile: &Arc<Profile>, types: &[Type], spot: &Spot<'a>) {
        let d = Definitions::get();
        let Some(number) = spot.node.number else { return };
        let is =
            |t: &Type| t.code.is_empty() || d.number(&t.code).is_none_or(|wanted| d.is_a(number, wanted));
        let fitting: Vec<&Type> = types.iter().filter(|t| is(t)).collect();
        if fitting.is_empty() {
            let codes: Vec<&str> = types.iter().map(|t| t.code.as_str()).collect();
            let text = format!("{} allows {} here.", name(profile), codes.join(" or "));
            return self.error(IssueCode::Structure, &spot.path, text);
        }
        self.type_profiles(&fitting, spot);
        if spot.node.value.get("reference").is_some() {
            let targets: Vec<&String> = fitting.iter().flat_map(|t| &t.targets).collect();
            if !targets.is_empty() && fitting.iter().all(|t| !t.targets.is_empty()) {
                self.targets(profile, &targets, spot);
            }
        }
    }

    fn type_profiles(&mut self, fitting: &[&Type], spot: &Spot<'a>) {
        let mut wanted = Vec::new();
        for canonical in fitting.iter().flat_map(|t| &t.profiles) {
            if base_type(canonical).is_some() {
                return;
            }
            match self.options.profiles.and_then(|p| p.profile(canonical)) {
                Some(profile) => wanted.push(profile),
                None => {
                    // An unknown one may be the one that fits.
                    let text = format!("The profile {canonical} is not known here, so it was not checked.");
                    return self.warn(IssueCode::NotFound, &spot.path, text);
                }
            }
        }
        match &wanted[..] {
            [] => {}
            [one] => self.profile(one, spot),
            several => {
                if !several.iter().any(|p| self.quietly(|c| c.profile(p, spot))) {
                    let urls: Vec<&str> = several.iter().map(|p| p.url.as_str()).collect();
                    let text = format!("This fits none of the profiles {}.", urls.join(", "));
                    self.error(IssueCode::Structure, &spot.path, text);
                }
            }
        }
    }

    /// Shallow: whether the target has the type that one of the profiles is for.
    fn targets(&mut self, profile: &Arc<Profile>, targets: &[&String], spot: &Spot<'a>) {
        let Some(kind) = self.target_kind(spot.node.value) else { return };
        let mut kinds = Vec::new();
        for target in targets {
            let found = match base_type(target) {
                Some(base) => Some(base.to_owned()),
                None => self.options.profiles.and_then(|p| p.profile(target)).map(|p| p.kind.clone()),
            };
            match found {
                Some(k) if k == "Resource" || k == kind => return,
                Some(k) => kinds.push(k),
                None => return,
            }
        }
        kinds.dedup();
        let text = format!("{} lets this point at {} only, not at {kind}.", name(profile), kinds.join(", "));
        self.error(IssueCode::Value, &format!("{}.reference", spot.path), text);
    }

    /// The type a reference names, by itself or by the resource behind it.
    pub fn target_kind(&self, reference: &'a Value) -> Option<String> {
        let text = reference.get("reference").and_then(Value::as_str)?;
        let by_text = match Reference::parse(text, None) {
            Reference::Local { key, .. } => Some(key.kind.name().to_owned()),
            Reference::Conditional { kind, .. } => Some(kind.name().to_owned()),
            Reference::External(url) => crate::search::kind_in_url(&url).map(|k| k.name().to_owned()),
            _ => None,
        };
        by_text.or_else(|| {
            let target = self.evaluate("resolve()", reference, "Reference").into_iter().next()?;
            Some(target.type_name().1)
        })
    }

    /// An expression on an element of this resource; nothing where it cannot be evaluated.
    pub fn evaluate(&self, expression: &str, value: &'a Value, type_name: &str) -> Vec<Item<'a>> {
        let Ok(expression) = path::parse(expression) else { return Vec::new() };
        self.run(&expression, Item::element(value, None, type_name)).unwrap_or_default()
    }

    pub fn run(&self, expression: &path::Expr, focus: Item<'a>) -> Result<Vec<Item<'a>>, path::PathError> {
        let env = Env {
            root: Some(self.container),
            now: self.options.now,
            host: Some(self.host),
            ..Env::default()
        };
        path::evaluate_on(expression, vec![focus], self.resource, &env)
    }

    fn rule(&mut self, rule: &super::invariant::Rule, spot: &Spot<'a>) {
        let Some(expression) = rule.parsed() else {
            let text = format!("The rule {} cannot be read, so it was not checked.", rule.key);
            return self.warn(IssueCode::NotSupported, &spot.path, text);
        };
        let result = self.run(expression, Item::Node(spot.node)).and_then(|items| path::truth(&items));
        let text = || format!("{} ({}).", rule.text.trim_end_matches('.'), rule.key);
        match result {
            Ok(Some(true)) => {}
            Ok(_) if rule.error => self.error(IssueCode::Invariant, &spot.path, text()),
            Ok(_) => self.warn(IssueCode::Invariant, &spot.path, text()),
            Err(e) => {
                let text = format!("The rule {} was not checked: {e}.", rule.key);
                self.warn(IssueCode::NotSupported, &spot.path, text);
            }
        }
    }

    fn children(&mut self, profile: &Arc<Profile>, element: &Arc<Element>, spot: &Spot<'a>) {
        for (child_name, child) in &element.children {
            let found = children(spot, child_name);
            let base_min =
                spot.node.type_def().and_then(|t| t.element(child_name)).map_or(0, |e| e.min as usize);
            let path = format!("{}.{child_name}", spot.path);
            self.count(profile, child, found.len(), base_min, &path, None);
            for one in &found {
                self.element(profile, child, one);
            }
            if !child.slices.is_empty() || child.slicing.is_some() {
                self.slices(profile, child, child_name, &found, &path);
            }
        }
    }

    /// `known` is the least that the walk over the structure asks for anyway.
    pub fn count(
        &mut self,
        profile: &Arc<Profile>,
        element: &Element,
        count: usize,
        known: usize,
        path: &str,
        slice: Option<&str>,
    ) {
        let what = slice.map_or_else(String::new, |s| format!(" of the slice `{s}`"));
        if let Some(min) = element.min.map(|m| m as usize).filter(|m| count < *m && known < *m) {
            let text = format!("{} asks for at least {min}{what} here; there are {count}.", name(profile));
            self.error(IssueCode::Required, path, text);
        }
        if let Some(Some(max)) = element.max.map(|m| m.map(|m| m as usize).filter(|m| count > *m)) {
            let text = match max {
                0 => format!("{} does not allow this{what}.", name(profile)),
                _ => format!("{} allows at most {max}{what} here; there are {count}.", name(profile)),
            };
            self.error(IssueCode::Structure, path, text);
        }
    }

    /// Extensions and modifier extensions of one element.
    fn extensions(&mut self, spot: &Spot<'a>, parent: Option<&'static str>, name: &str) {
        for list in ["extension", "modifierExtension"] {
            for extension in children(spot, list) {
                let Some(url) = extension.node.value.get("url").and_then(Value::as_str) else { continue };
                match self.options.profiles.and_then(|p| p.profile(url)) {
                    Some(profile) if profile.kind == "Extension" => {
                        self.profile(&profile, &extension);
                        self.context(&profile, spot, parent, name, &extension);
                    }
                    _ if list == "modifierExtension" => {
                        let text =
                            "The modifier extension is not known here, so the element cannot be understood.";
                        self.error(IssueCode::NotSupported, &extension.path, text.to_owned());
                    }
                    _ => {}
                }
            }
        }
    }

    /// Whether the extension may stand here (<http://hl7.org/fhir/R4/defining-extensions.html#context>).
    fn context(
        &mut self,
        profile: &Profile,
        spot: &Spot<'a>,
        parent: Option<&'static str>,
        name: &str,
        extension: &Spot<'a>,
    ) {
        let d = Definitions::get();
        let Some(number) = spot.node.number else { return };
        let place = parent.map(|p| format!("{p}.{name}"));
        let allowed = profile.contexts.is_empty()
            || profile.contexts.iter().any(|c| match c.kind.as_str() {
                "element" => {
                    let expression = c.expression.trim_end_matches("[x]");
                    expression == "Element" && !matches!(d.type_def(number).class, Class::Resource)
                        || d.number(expression).is_some_and(|wanted| d.is_a(number, wanted))
                        || place.as_deref() == Some(expression)
                }
                // Nested extensions are checked with the extension that has them; FHIRPath contexts are rare.
                _ => c.kind != "extension" || d.type_def(number).name == "Extension",
            });
        if !allowed {
            let places: Vec<&str> = profile.contexts.iter().map(|c| c.expression.as_str()).collect();
            let text = format!("This extension may stand on {} only.", places.join(", "));
            self.error(IssueCode::Structure, &extension.path, text);
        }
    }

    /// A code, Coding, CodeableConcept or Quantity against a value set.
    fn bound(&mut self, spot: &Spot<'a>, value_set: &str, strength: &str) {
        let required = strength == "required";
        let Some(terminology) = self.options.terminology.filter(|_| required || strength == "extensible")
        else {
            return;
        };
        let (codings, concept) = codings(spot.node.value);
        if codings.is_empty() {
            if required && concept {
                let text = format!("A coding from {value_set} is required here.");
                self.error(IssueCode::CodeInvalid, &spot.path, text);
            }
            return;
        }
        let mut open = false;
        for (system, code) in codings {
            match terminology.validate_code(value_set, system, code) {
                Membership::In => return,
                Membership::Out => {}
                Membership::Unknown => open = true,
            }
        }
        if open {
            let text =
                format!("The value set {value_set} could not be consulted, so the code was not checked.");
            self.warn(IssueCode::NotFound, &spot.path, text);
        } else if required {
            let text = format!("The code must be from {value_set}.");
            self.error(IssueCode::CodeInvalid, &spot.path, text);
        } else {
            let text = format!("The code should be from {value_set}, unless nothing in it fits.");
            self.warn(IssueCode::CodeInvalid, &spot.path, text);
        }
    }
}

/// System and code of each coding; whether the value is a CodeableConcept.
pub(super) fn codings(value: &Value) -> (Vec<(Option<&str>, &str)>, bool) {
    let pair = |v| {
        let text = |key: &str| Value::get(v, key).and_then(Value::as_str);
        text("code").map(|code| (text("system"), code))
    };
    match value {
        Value::String(code) => (vec![(None, code.as_str())], false),
        Value::Object(o) => match o.get("coding").and_then(Value::as_array) {
            Some(all) => (all.iter().filter_map(pair).collect(), true),
            None => (pair(value).into_iter().collect(), !o.contains_key("code") && o.contains_key("text")),
        },
        _ => (Vec::new(), false),
    }
}

/// The elements of one name below another, each with its place.
pub(super) fn children<'a>(spot: &Spot<'a>, name: &str) -> Vec<Spot<'a>> {
    let mut items = Vec::new();
    if spot.node.children_named(name, &mut items).is_none() {
        return Vec::new();
    }
    let element = spot.node.type_def().and_then(|t| t.element(name));
    let list = element.is_none_or(|e| e.is_list());
    // `valueQuantity` rather than `value`, because that is what the sender wrote.
    let choice = element.filter(|e| e.choice).and_then(|e| {
        let (t, object) = (spot.node.type_def()?, spot.node.value.as_object()?);
        let plain = |key: &'a String| key.strip_prefix('_').unwrap_or(key);
        object.keys().map(plain).find(|key| t.lookup(key).is_some_and(|(_, found, _)| found.name == e.name))
    });
    let label = choice.unwrap_or(name);
    items
        .iter()
        .enumerate()
        .map(|(n, item)| {
            let path =
                if list { format!("{}.{label}[{n}]", spot.path) } else { format!("{}.{label}", spot.path) };
            Spot { node: node_of(item), path }
        })
        .collect()
}

/// The element at a path such as `Questionnaire.item` in the profile's tree.
fn find(root: &Arc<Element>, path: &str) -> Option<Arc<Element>> {
    let mut at = root;
    for name in path.split('.').skip(1) {
        at = at.child(name.trim_end_matches("[x]"))?;
    }
    Some(at.clone())
}

/// The last part of the profile's URL, for messages.
pub(super) fn name(profile: &Profile) -> &str {
    profile.url.rsplit('/').next().unwrap_or(&profile.url)
}

fn shown(value: &Value) -> String {
    const MOST: usize = 200;
    let text = value.to_string();
    if text.chars().count() <= MOST { text } else { text.chars().take(MOST).chain("…".chars()).collect() }
}

/// Numbers by value, everything else as written.
pub(super) fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            x == y
                || matches!((path::Decimal::parse(x.as_str()), path::Decimal::parse(y.as_str())), (Some(x), Some(y)) if x == y)
        }
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| equal(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(k, x)| y.get(k).is_some_and(|y| equal(x, y)))
        }
        _ => a == b,
    }
}

/// Whether the value has at least what the pattern has.
pub(super) fn fits(pattern: &Value, value: &Value) -> bool {
    match (pattern, value) {
        (Value::Object(p), Value::Object(v)) => p.iter().all(|(k, p)| v.get(k).is_some_and(|v| fits(p, v))),
        (Value::Array(p), Value::Array(v)) => p.iter().all(|p| v.iter().any(|v| fits(p, v))),
        _ => equal(pattern, value),
    }
}

fn beyond(node: Node, bound: &Bound, least: bool) -> bool {
    let kind = bound.kind.as_str();
    let mut letters = kind.chars();
    let lower: String = letters.next().map(|c| c.to_ascii_lowercase()).into_iter().chain(letters).collect();
    let d = Definitions::get();
    let type_name = if d.number(kind).is_some() { kind } else { &lower };
    let limit = Item::element(&bound.value, None, type_name);
    let expression = if least { "$this < %limit" } else { "$this > %limit" };
    let Ok(expression) = path::parse(expression) else { return false };
    let env = Env { variables: [("limit".to_owned(), vec![limit])].into(), ..Env::default() };
    let result = path::evaluate_on(&expression, vec![Item::Node(node)], node.value, &env);
    matches!(result.and_then(|items| path::truth(&items)), Ok(Some(true)))
}

/// Calls of `conformsTo()` and `slice()` within each other.
const MAX_CONFORMS_DEEP: usize = 4;

/// What rules may ask while a profile is checked.
struct Host<'c, 'o> {
    options: &'c Options<'o>,
    depth: Cell<usize>,
}

impl<'x, 'o: 'x> Environment<'x> for Host<'_, 'o> {
    fn resolve(&self, reference: &str) -> Option<&'x Value> {
        self.options.resolve.and_then(|resolve| resolve(reference))
    }
    fn member_of(&self, value_set: &str, system: Option<&str>, code: &str) -> Option<bool> {
        match self.options.terminology?.validate_code(value_set, system, code) {
            Membership::In => Some(true),
            Membership::Out => Some(false),
            Membership::Unknown => None,
        }
    }
    fn is_below(&self, system: &str, ancestor: &str, code: &str) -> Option<bool> {
        self.options.terminology?.is_below(system, ancestor, code)
    }
    fn conforms_to(&self, profile: &str, value: &Value) -> Option<bool> {
        let profile = self.options.profiles?.profile(profile)?;
        if self.depth.get() >= MAX_CONFORMS_DEEP {
            return None;
        }
        let host = Host { options: self.options, depth: Cell::new(self.depth.get() + 1) };
        let mut checker = Checker::new(self.options, &host, value);
        let item = match value.get("resourceType") {
            Some(_) => Item::resource(value),
            None => Item::typed(value, None, profile.number),
        };
        let spot = Spot { node: node_of(&item), path: String::new() };
        Some(checker.quietly(|c| c.profile(&profile, &spot)))
    }
    fn in_slice(&self, profile: &str, slice: &str, element: &Item<'_>) -> Option<bool> {
        let profile = self.options.profiles?.profile(profile)?;
        let slices = super::slice::named(&profile.root, "", slice);
        if slices.is_empty() || self.depth.get() >= MAX_CONFORMS_DEEP {
            return None;
        }
        let Item::Node(node) = element else { return Some(false) };
        let host = Host { options: self.options, depth: Cell::new(self.depth.get() + 1) };
        let mut checker = Checker::new(self.options, &host, node.value);
        let spot = Spot { node: *node, path: String::new() };
        Some(slices.iter().any(|(slicing, slice)| checker.belongs(slicing, slice, &spot)))
    }
}
