//! What FHIR adds to FHIRPath (<http://hl7.org/fhir/R4/fhirpath.html#functions>), and the keys of SQL on FHIR
//! (<https://build.fhir.org/ig/FHIR/sql-on-fhir-v2/>).
//!
//! Not here: `elementDefinition()`; see the README.

use super::evaluate::{Evaluated, Evaluator, Scope, fail};
use super::function::argument;
use super::item::{Item, Node as Element};
use super::parser::Node;
use crate::definitions::Definitions;
use crate::{Reference, validate};
use serde_json::Value;

type Arguments<'n> = &'n [Node];

/// Where the types that FHIR itself defines have their profiles.
const BASE_PROFILES: &str = "http://hl7.org/fhir/StructureDefinition/";

fn truth<'a>(b: bool) -> Evaluated<'a> {
    Ok(vec![Item::Boolean(b)])
}

pub(super) fn call<'a>(
    ev: &Evaluator<'_, 'a>,
    name: &str,
    input: &[Item<'a>],
    arguments: Arguments,
    scope: &Scope<'a>,
) -> Option<Evaluated<'a>> {
    let is_value = |i: &Item<'a>| match i {
        Item::Node(n) => n.primitive().is_some() && !n.value.is_null(),
        _ => true,
    };
    Some(match (name, arguments) {
        ("extension", [_]) => argument(ev, arguments, 0, scope).and_then(|a| {
            let Some(url) = ev.string(&a)? else { return Ok(Vec::new()) };
            let all = ev.member("extension", input)?;
            let same = |i: &Item<'a>| matches!(i, Item::Node(n) if n.value.get("url").and_then(Value::as_str) == Some(url.as_str()));
            Ok(all.into_iter().filter(same).collect())
        }),
        ("hasValue", []) => truth(matches!(input, [one] if is_value(one))),
        ("getValue", []) => Ok(match input {
            [one] if is_value(one) => one.system().into_iter().collect(),
            _ => Vec::new(),
        }),
        ("type", []) => Ok(input
            .iter()
            .map(|i| {
                let (namespace, name) = i.type_name();
                Item::Type { namespace, name }
            })
            .collect()),
        ("resolve", []) => Ok(input.iter().filter_map(|i| resolve(ev, i)).map(Item::Node).collect()),
        ("conformsTo", [_]) => argument(ev, arguments, 0, scope).and_then(|a| conforms(ev, input, &a)),
        ("slice", [_, _]) => argument(ev, arguments, 0, scope)
            .and_then(|profile| Ok((profile, argument(ev, arguments, 1, scope)?)))
            .and_then(|(profile, name)| slice(ev, input, &profile, &name)),
        ("memberOf", [_]) => argument(ev, arguments, 0, scope).and_then(|a| member_of(ev, input, &a)),
        ("subsumes" | "subsumedBy", [_]) => argument(ev, arguments, 0, scope)
            .and_then(|other| if name == "subsumes" { below(ev, input, &other) } else { below(ev, &other, input) }),
        ("htmlChecks", []) => html_checks(ev, input),
        ("checkModifiers", _) => check_modifiers(ev, input, arguments, scope),
        ("getResourceKey", []) => Ok(input.iter().filter_map(resource_key).map(Item::String).collect()),
        ("getReferenceKey", []) => {
            Ok(input.iter().filter_map(|i| reference_key(i, None)).map(Item::String).collect())
        }
        ("getReferenceKey", [kind]) => match kind.as_type_name() {
            Some(t) => {
                Ok(input.iter().filter_map(|i| reference_key(i, Some(&t.name))).map(Item::String).collect())
            }
            None => fail("getReferenceKey() takes the name of a type"),
        },
        _ => return None,
    })
}

/// The target of a Reference or of text that points at one.
fn resolve<'a>(ev: &Evaluator<'_, 'a>, item: &Item<'a>) -> Option<Element<'a>> {
    let text = match item {
        Item::Node(n) => n.value.as_str().or_else(|| n.value.get("reference")?.as_str())?,
        Item::String(s) => s.as_str(),
        _ => return None,
    };
    let root = ev.env.root.unwrap_or(ev.resource);
    if let Some(id) = text.strip_prefix('#') {
        if id.is_empty() {
            return Some(Element::resource(root));
        }
        let contained = root.get("contained")?.as_array()?;
        return contained
            .iter()
            .find(|c| c.get("id").and_then(Value::as_str) == Some(id))
            .map(Element::resource);
    }
    if let Some(entries) = root.get("entry").and_then(Value::as_array) {
        let matches = |e: &&Value| {
            let url = e.get("fullUrl").and_then(Value::as_str).unwrap_or("");
            url == text || url.strip_suffix(text).is_some_and(|base| base.ends_with('/'))
        };
        if let Some(resource) = entries.iter().find(matches).and_then(|e| e.get("resource")) {
            return Some(Element::resource(resource));
        }
    }
    let found = ev.env.resolve.and_then(|resolve| resolve(text));
    found.or_else(|| ev.env.host.and_then(|host| host.resolve(text))).map(Element::resource)
}

/// Profiles of FHIR's own types are answered by the definitions, all others by the caller.
fn conforms<'a>(ev: &Evaluator<'_, 'a>, input: &[Item<'a>], profile: &[Item<'a>]) -> Evaluated<'a> {
    let (Some(url), [one]) = (ev.string(profile)?, input) else {
        return if input.len() > 1 { fail("conformsTo() takes a single item") } else { Ok(Vec::new()) };
    };
    let Item::Node(node) = one else { return truth(false) };
    let d = Definitions::get();
    if let Some(base) = url.strip_prefix(BASE_PROFILES).and_then(|name| d.number(name)) {
        return truth(node.number.is_some_and(|n| d.is_a(n, base)));
    }
    match ev.env.host.and_then(|host| host.conforms_to(&url, node.value)) {
        Some(conforms) => truth(conforms),
        None => fail("conformsTo() names a profile that is not known here"),
    }
}

/// The elements that belong to a slice of a profile.
fn slice<'a>(
    ev: &Evaluator<'_, 'a>,
    input: &[Item<'a>],
    profile: &[Item<'a>],
    name: &[Item<'a>],
) -> Evaluated<'a> {
    let (Some(url), Some(name)) = (ev.string(profile)?, ev.string(name)?) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for item in input {
        match ev.env.host.and_then(|host| host.in_slice(&url, &name, item)) {
            Some(true) => found.push(item.clone()),
            Some(false) => {}
            None => return fail("slice() names a profile or a slice that is not known here"),
        }
    }
    Ok(found)
}

/// System and code of a code, a Coding or each coding of a CodeableConcept.
fn codings<'v>(item: &'v Item<'_>) -> Vec<(Option<&'v str>, &'v str)> {
    let pair = |v: &'v Value| {
        let text = |key: &str| v.get(key).and_then(Value::as_str);
        text("code").map(|code| (text("system"), code))
    };
    match item {
        Item::String(code) => vec![(None, code)],
        Item::Node(n) => match (n.value, n.value.get("coding").and_then(Value::as_array)) {
            (Value::String(code), _) => vec![(None, code)],
            (_, Some(all)) => all.iter().filter_map(pair).collect(),
            (value, None) => pair(value).into_iter().collect(),
        },
        _ => Vec::new(),
    }
}

/// True if one coding is a member; empty if none is and one of them could not be decided.
fn member_of<'a>(ev: &Evaluator<'_, 'a>, input: &[Item<'a>], value_set: &[Item<'a>]) -> Evaluated<'a> {
    let (Some(url), [one]) = (ev.string(value_set)?, input) else {
        return if input.len() > 1 { fail("memberOf() takes a single item") } else { Ok(Vec::new()) };
    };
    let mut open = false;
    for (system, code) in codings(one) {
        match ev.env.host.and_then(|host| host.member_of(&url, system, code)) {
            Some(true) => return truth(true),
            Some(false) => {}
            None => open = true,
        }
    }
    if open { Ok(Vec::new()) } else { truth(false) }
}

/// Whether a coding of `low` is one of `high` or lies below it in the same code system.
fn below<'a>(ev: &Evaluator<'_, 'a>, high: &[Item<'a>], low: &[Item<'a>]) -> Evaluated<'a> {
    let ([high], [low]) = (high, low) else {
        let several = high.len() > 1 || low.len() > 1;
        return if several { fail("subsumption is between single concepts") } else { Ok(Vec::new()) };
    };
    let mut open = false;
    for (system, ancestor) in codings(high) {
        for (other, code) in codings(low).into_iter().filter(|(s, _)| *s == system) {
            if ancestor == code {
                return truth(true);
            }
            match other.and_then(|s| ev.env.host.and_then(|host| host.is_below(s, ancestor, code))) {
                Some(true) => return truth(true),
                Some(false) => {}
                None => open = true,
            }
        }
    }
    if open { Ok(Vec::new()) } else { truth(false) }
}

fn html_checks<'a>(ev: &Evaluator<'_, 'a>, input: &[Item<'a>]) -> Evaluated<'a> {
    match input {
        [] => Ok(Vec::new()),
        [one] => truth(one.as_str().is_some_and(|text| validate::narrative(text).is_ok())),
        _ => {
            ev.spend(input.len())?;
            fail("htmlChecks() takes a single item")
        }
    }
}

/// The input, if it has no modifier extension but those that are named.
fn check_modifiers<'a>(
    ev: &Evaluator<'_, 'a>,
    input: &[Item<'a>],
    arguments: Arguments,
    scope: &Scope<'a>,
) -> Evaluated<'a> {
    let mut known = Vec::new();
    for n in 0..arguments.len() {
        known.extend(ev.string(&argument(ev, arguments, n, scope)?)?);
    }
    for item in input {
        let Item::Node(n) = item else { continue };
        let Some(all) = n.value.get("modifierExtension").and_then(Value::as_array) else { continue };
        let strange = |e: &&Value| {
            !e.get("url").and_then(Value::as_str).is_some_and(|url| known.iter().any(|k| k == url))
        };
        if all.iter().any(|e| strange(&e)) {
            return fail("an element has a modifier extension that this expression does not know");
        }
    }
    Ok(input.to_vec())
}

/// The id: a view is of one type, and its key matches what [reference_key] gives for references to that type.
fn resource_key(item: &Item) -> Option<String> {
    let Item::Node(n) = item else { return None };
    n.value.get("resourceType")?;
    n.value.get("id").and_then(Value::as_str).map(str::to_owned)
}

/// The id of the target; `None` for targets of another type and those that are no resource by address.
fn reference_key(item: &Item, kind: Option<&str>) -> Option<String> {
    let Item::Node(n) = item else { return None };
    let text = n.value.get("reference").and_then(Value::as_str)?;
    let (found, id) = match Reference::parse(text, None) {
        Reference::Local { key, .. } => (key.kind, key.id),
        // The address of a resource on another server ends in type and id too.
        Reference::External(url) => {
            let path = url.split("/_history/").next().unwrap_or(&url);
            let (rest, id) = path.rsplit_once('/')?;
            (crate::TypeId::from_name(rest.rsplit('/').next()?)?, id.to_owned())
        }
        _ => return None,
    };
    kind.is_none_or(|k| k == found.name()).then_some(id)
}
