//! Slicing: which slice each element belongs to, and whether the slices are as the profile asks.

use super::check::{Checker, Spot, codings, fits, name};
use super::profile::{Element, Profile, Slicing, base_type};
use super::{Membership, check};
use crate::IssueCode;
use crate::definitions::Definitions;
use crate::path::{self, Item};
use serde_json::Value;
use std::sync::Arc;

/// Steps of a discriminator's path.
#[derive(Debug, PartialEq)]
enum Step {
    Member(String),
    /// `extension('url')`
    Extension(String),
    Resolve,
    /// `ofType(Quantity)`
    OfType(String),
}

/// What a slice says at a discriminator's path.
enum Said {
    /// An element of a profile.
    Element(Arc<Element>),
    /// A value that a fixed value or pattern further up implies.
    Value(Value),
}

/// How an element of this name is sliced.
fn slicing_of(element: &Element, child_name: &str) -> Slicing {
    match (&element.slicing, child_name) {
        (Some(slicing), _) => slicing.clone(),
        // Extensions are told apart by their URL, whether or not the profile says so.
        (None, "extension" | "modifierExtension") => Slicing {
            discriminators: vec![("value".to_owned(), "url".to_owned())],
            rules: "open".to_owned(),
            ordered: false,
        },
        (None, _) => Slicing { discriminators: Vec::new(), rules: "open".to_owned(), ordered: false },
    }
}

/// The slices of this name below an element called `child_name`, each with how its element is sliced.
pub(super) fn named(element: &Arc<Element>, child_name: &str, name: &str) -> Vec<(Slicing, Arc<Element>)> {
    let mut found = Vec::new();
    for (slice_name, slice) in &element.slices {
        if slice_name == name {
            found.push((slicing_of(element, child_name), slice.clone()));
        }
        found.extend(named(slice, child_name, name));
    }
    for (child, element) in &element.children {
        found.extend(named(element, child, name));
    }
    found
}

impl<'a> Checker<'_, '_, 'a> {
    /// Sorts the elements into the slices, counts them and checks each against its slice.
    pub fn slices(
        &mut self,
        profile: &Arc<Profile>,
        element: &Arc<Element>,
        child_name: &str,
        found: &[Spot<'a>],
        path: &str,
    ) {
        let slicing = slicing_of(element, child_name);
        let mut counts = vec![0usize; element.slices.len()];
        let (mut last, mut unmatched_before) = (0, false);
        for spot in found {
            let matched = element.slices.iter().position(|(_, slice)| self.belongs(&slicing, slice, spot));
            let Some(at) = matched else {
                unmatched_before = true;
                if slicing.rules == "closed" && !element.slices.is_empty() {
                    let names: Vec<&str> = element.slices.iter().map(|(n, _)| n.as_str()).collect();
                    let text = format!("{} allows only the slices {} here.", name(profile), names.join(", "));
                    self.error(IssueCode::Structure, &spot.path, text);
                }
                continue;
            };
            let (slice_name, slice) = &element.slices[at];
            counts[at] += 1;
            if unmatched_before && slicing.rules == "openAtEnd" {
                let text = format!("{} wants the slice `{slice_name}` before all others.", name(profile));
                self.error(IssueCode::Structure, &spot.path, text);
            }
            if slicing.ordered && at < last {
                let text = format!("{} wants the slice `{slice_name}` earlier in the list.", name(profile));
                self.error(IssueCode::Structure, &spot.path, text);
            }
            last = last.max(at);
            self.element(profile, slice, spot);
        }
        for ((slice_name, slice), count) in element.slices.iter().zip(&counts) {
            self.count(profile, slice, *count, 0, path, Some(slice_name));
            if !slice.slices.is_empty() {
                let mine: Vec<Spot<'a>> =
                    found.iter().filter(|s| self.belongs(&slicing, slice, s)).cloned().collect();
                self.slices(profile, slice, child_name, &mine, path);
            }
        }
    }

    pub fn belongs(&mut self, slicing: &Slicing, slice: &Arc<Element>, spot: &Spot<'a>) -> bool {
        if slicing.discriminators.is_empty() {
            // Nothing tells them apart but the whole of what the slice says.
            let mut only = slice.as_ref().clone();
            (only.min, only.max) = (None, None);
            let only = Arc::new(only);
            return self.says_this(&only, spot);
        }
        slicing.discriminators.iter().all(|(kind, path)| self.discriminates(kind, path, slice, spot))
    }

    fn discriminates(&mut self, kind: &str, path: &str, slice: &Arc<Element>, spot: &Spot<'a>) -> bool {
        let Some(steps) = steps(path) else { return false };
        let said = self.said(slice, &steps);
        let here = if path == "$this" || path.is_empty() {
            vec![Item::Node(spot.node)]
        } else {
            match path::parse(path) {
                Ok(expression) => self.run(&expression, Item::Node(spot.node)).unwrap_or_default(),
                Err(_) => return false,
            }
        };
        match kind {
            "exists" => said.iter().any(|s| match s {
                Said::Element(e) if e.max == Some(Some(0)) => here.is_empty(),
                Said::Element(e) if e.min.is_some_and(|m| m > 0) => !here.is_empty(),
                Said::Element(_) => false,
                Said::Value(_) => !here.is_empty(),
            }),
            "type" => said.iter().any(|s| matches!(s, Said::Element(e) if self.has_type(e, path, &here))),
            "profile" => {
                said.iter().any(|s| matches!(s, Said::Element(e) if self.has_profile(e, path, &here)))
            }
            // `value` and the older `pattern`
            _ => said.iter().any(|s| match s {
                Said::Value(value) => here.iter().any(|i| i.value().is_some_and(|v| fits(value, v))),
                Said::Element(e) => here.iter().any(|i| {
                    let Item::Node(node) = i else { return false };
                    self.says_this(e, &Spot { node: *node, path: spot.path.clone() })
                }),
            }),
        }
    }

    /// Whether fixed value, pattern or binding of the slice, or else all it says, hold for the element.
    fn says_this(&mut self, element: &Arc<Element>, spot: &Spot<'a>) -> bool {
        if let Some(fixed) = &element.fixed {
            return check::equal(fixed, spot.node.value);
        }
        if let Some(pattern) = &element.pattern {
            return fits(pattern, spot.node.value);
        }
        if let Some(binding) = element.binding.as_ref().filter(|b| b.strength == "required")
            && let Some(terminology) = self.options.terminology
        {
            let (found, _) = codings(spot.node.value);
            return found
                .iter()
                .any(|(s, c)| terminology.validate_code(&binding.value_set, *s, c) == Membership::In);
        }
        // A profile on nothing in particular would make everything belong to this slice.
        let says = !element.children.is_empty() || element.types.iter().any(|t| !t.profiles.is_empty());
        let owner = self.anonymous(spot);
        says && owner.is_some_and(|owner| self.quietly(|c| c.element(&owner, element, spot)))
    }

    /// A stand-in where only the tree matters; its name appears in no message.
    fn anonymous(&self, spot: &Spot<'a>) -> Option<Arc<Profile>> {
        Some(Arc::new(Profile {
            url: String::new(),
            version: None,
            kind: String::new(),
            number: spot.node.number?,
            root: Arc::default(),
            contexts: Vec::new(),
        }))
    }

    fn has_type(&self, element: &Element, path: &str, here: &[Item<'a>]) -> bool {
        let d = Definitions::get();
        let is = |item: &Item<'a>, code: &str| {
            let Item::Node(node) = item else { return false };
            matches!((node.number, d.number(code)), (Some(n), Some(wanted)) if d.is_a(n, wanted))
        };
        let targets = element.types.iter().flat_map(|t| &t.targets);
        let reference_to = |item: &Item<'a>| {
            let kind = item.value().and_then(|v| self.target_kind(v));
            let mut kinds = targets.clone().filter_map(|t| self.kind_of_profile(t));
            kinds.any(|k| k == "Resource" || kind.as_deref() == Some(k.as_str()))
        };
        here.iter().any(|item| {
            // Behind `resolve()` the slice itself is the reference; its targets say the type.
            let by_target = path.ends_with("resolve()") && targets.clone().next().is_some();
            if by_target {
                let kind = item.type_name().1;
                return targets.clone().filter_map(|t| self.kind_of_profile(t)).any(|k| k == kind);
            }
            element.types.iter().any(|t| is(item, &t.code))
                || (element.types.is_empty() && reference_to(item))
        })
    }

    fn has_profile(&mut self, element: &Element, path: &str, here: &[Item<'a>]) -> bool {
        let resolved = path.ends_with("resolve()");
        let wanted: Vec<&String> =
            element.types.iter().flat_map(|t| if resolved { &t.targets } else { &t.profiles }).collect();
        here.iter().any(|item| {
            let Item::Node(node) = item else { return false };
            let spot = Spot { node: *node, path: String::new() };
            wanted.iter().any(|canonical| match self.options.profiles.and_then(|p| p.profile(canonical)) {
                Some(profile) => self.quietly(|c| c.profile(&profile, &spot)),
                // A base type, or a profile that is not known: then its type is all there is to go by.
                None => self.kind_of_profile(canonical).is_some_and(|k| k == item.type_name().1),
            })
        })
    }

    fn kind_of_profile(&self, canonical: &str) -> Option<String> {
        match base_type(canonical) {
            Some(name) => Some(name.to_owned()),
            None => Some(self.options.profiles?.profile(canonical)?.kind.clone()),
        }
    }

    /// Follows a discriminator's path through what the slice says.
    fn said(&self, slice: &Arc<Element>, steps: &[Step]) -> Vec<Said> {
        let mut at = vec![Said::Element(slice.clone())];
        for (n, step) in steps.iter().enumerate() {
            let mut next = Vec::new();
            for said in &at {
                match said {
                    Said::Element(element) => self.step(element, step, steps.len() == n + 1, &mut next),
                    Said::Value(value) => {
                        if let Step::Member(name) = step {
                            match value.get(name) {
                                Some(Value::Array(all)) => next.extend(all.iter().cloned().map(Said::Value)),
                                Some(one) => next.push(Said::Value(one.clone())),
                                None => {}
                            }
                        }
                    }
                }
            }
            at = next;
        }
        at
    }

    fn step(&self, element: &Arc<Element>, step: &Step, last: bool, next: &mut Vec<Said>) {
        let profiled = |targets: bool| -> Vec<Arc<Profile>> {
            let all = element.types.iter().flat_map(|t| if targets { &t.targets } else { &t.profiles });
            all.filter_map(|canonical| self.options.profiles?.profile(canonical)).collect()
        };
        match step {
            Step::Member(name) => {
                if let Some(child) = element.child(name) {
                    next.push(Said::Element(child.clone()));
                    return;
                }
                if let Some(value) = element.fixed.as_ref().or(element.pattern.as_ref()) {
                    match value.get(name) {
                        Some(Value::Array(all)) => next.extend(all.iter().cloned().map(Said::Value)),
                        Some(one) => next.push(Said::Value(one.clone())),
                        None => {}
                    }
                    return;
                }
                let profiles = profiled(false);
                next.extend(profiles.iter().filter_map(|p| p.root.child(name)).cloned().map(Said::Element));
                // An extension's URL is its definition's, also where that is not at hand.
                if next.is_empty() && name == "url" {
                    let urls = element.types.iter().flat_map(|t| &t.profiles);
                    next.extend(urls.map(|u| Said::Value(Value::from(u.split('|').next().unwrap_or(u)))));
                }
            }
            Step::Extension(url) => {
                let Some(list) = element.child("extension") else { return };
                let is_it = |e: &Arc<Element>| {
                    let fixed = e.child("url").and_then(|u| u.fixed.as_ref()).and_then(Value::as_str);
                    fixed == Some(url) || e.types.iter().flat_map(|t| &t.profiles).any(|p| p == url)
                };
                let slices = list.slices.iter().map(|(_, e)| e).filter(|e| is_it(e));
                next.extend(slices.cloned().map(Said::Element));
            }
            Step::Resolve if last => next.push(Said::Element(element.clone())),
            Step::Resolve => next.extend(profiled(true).iter().map(|p| Said::Element(p.root.clone()))),
            Step::OfType(code) => {
                let typed = |e: &Arc<Element>| e.types.iter().any(|t| t.code == *code);
                match element.slices.iter().map(|(_, e)| e).find(|e| typed(e)) {
                    Some(slice) => next.push(Said::Element(slice.clone())),
                    None => next.push(Said::Element(element.clone())),
                }
            }
        }
    }
}

/// `None` if the path has anything that discriminators may not have.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut out = Vec::new();
    let mut rest = path.trim();
    while !rest.is_empty() {
        let end = rest.find(['.', '(']).unwrap_or(rest.len());
        let name = &rest[..end];
        let argument = if rest[end..].starts_with('(') {
            let close = rest[end..].find(')')? + end;
            let inner = rest[end + 1..close].trim().trim_matches('\'').to_owned();
            rest = rest[close + 1..].strip_prefix('.').unwrap_or(&rest[close + 1..]);
            Some(inner)
        } else {
            rest = rest[end..].strip_prefix('.').unwrap_or(&rest[end..]);
            None
        };
        match (name, argument) {
            ("$this", None) => {}
            ("resolve", Some(_)) => out.push(Step::Resolve),
            ("extension", Some(url)) => out.push(Step::Extension(url)),
            ("ofType", Some(code)) => out.push(Step::OfType(code)),
            (name, None) => out.push(Step::Member(name.trim_end_matches("[x]").to_owned())),
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_discriminators() {
        assert_eq!(steps("$this"), Some(vec![]));
        assert_eq!(
            steps("value.ofType(Quantity).code"),
            Some(vec![
                Step::Member("value".into()),
                Step::OfType("Quantity".into()),
                Step::Member("code".into())
            ])
        );
        assert_eq!(
            steps("extension('http://x.org/a.b').value"),
            Some(vec![Step::Extension("http://x.org/a.b".into()), Step::Member("value".into())])
        );
        assert_eq!(steps("entry.resolve()"), Some(vec![Step::Member("entry".into()), Step::Resolve]));
        assert_eq!(steps("a.where(b)"), None);
    }
}
