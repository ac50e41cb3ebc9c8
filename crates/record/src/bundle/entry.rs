//! One entry as it came: what it asks for, and where its resource will live.

use super::{Call, place};
use crate::change::{Conditional, ConditionalAction};
use crate::write::resolve::patch_of;
use crate::{Change, Patch};
use fhir::{IssueCode, Outcome, Resource, ResourceKey, TypeId};
use serde_json::{Map, Value};
use std::fmt::Write as _;
use uuid::Uuid;

/// In the order in which a transaction does them (<http://hl7.org/fhir/R4/http.html#trules>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Delete,
    Post,
    Put,
    Call,
}

#[derive(Debug, Clone)]
pub(super) enum Action {
    Create(Resource),
    Update { resource: Resource, if_match: Option<u32> },
    Patch { key: ResourceKey, patch: Patch, if_match: Option<u32> },
    Delete { key: ResourceKey, if_match: Option<u32> },
    Conditional(Box<Conditional>),
    Call(Call),
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub number: usize,
    pub full_url: Option<String>,
    pub phase: Phase,
    pub action: Action,
    /// Where the resource will live; `None` for calls, and for conditional entries until the condition was looked up.
    pub key: Option<ResourceKey>,
}

/// What `request.url` names.
enum Target {
    Type(TypeId),
    Instance(ResourceKey),
    Search(TypeId, Vec<(String, String)>),
}

impl Entry {
    /// Errors: what is wrong with the entry, at its place.
    pub fn parse(mut value: Value, number: usize, base: &str, delete_most: u32) -> Result<Entry, Outcome> {
        let wrong =
            |element: &str, text: String| Outcome::one(IssueCode::Structure, place(number, element), text);
        let request = match value.get_mut("request").map(Value::take) {
            Some(Value::Object(request)) => request,
            _ => {
                return Err(wrong("request", "Each entry needs a `request` with `method` and `url`.".into()));
            }
        };
        let text = |name: &str| request.get(name).and_then(Value::as_str);
        let Some(method) = text("method") else {
            return Err(wrong("request.method", "Each entry needs `request.method`.".into()));
        };
        let url =
            text("url").ok_or_else(|| wrong("request.url", "Each entry needs `request.url`.".into()))?;
        let url = below_base(url, base);
        let full_url = value.get("fullUrl").and_then(Value::as_str).map(str::to_owned);
        let resource = match value.get_mut("resource").map(Value::take) {
            None | Some(Value::Null) => None,
            Some(resource) => Some(Resource::from_value(resource).map_err(|o| at_entry(o, number))?),
        };
        let (phase, is_call) = match method {
            "GET" | "HEAD" => (Phase::Call, true),
            "POST" => (Phase::Post, url.contains('$') || url.contains("_search")),
            "PUT" | "PATCH" => (Phase::Put, false),
            "DELETE" => (Phase::Delete, false),
            other => {
                let other: String = other.chars().filter(|c| !c.is_control()).take(10).collect();
                let text = format!("`{other}` is no method of a bundle entry.");
                return Err(Outcome::one(IssueCode::NotSupported, place(number, "request.method"), text));
            }
        };
        if is_call {
            let method = match method {
                "GET" => "GET",
                "HEAD" => "HEAD",
                _ => "POST",
            };
            let call = call(method, &url, &request, resource).map_err(|text| wrong("request.url", text))?;
            return Ok(Entry { number, full_url, phase: Phase::Call, action: Action::Call(call), key: None });
        }
        for (name, only) in [("ifNoneMatch", "GET"), ("ifModifiedSince", "GET")] {
            if request.contains_key(name) {
                let text = format!("`{name}` is for {only} entries.");
                return Err(wrong(&format!("request.{name}"), text));
            }
        }
        let target = Target::parse(&url).ok_or_else(|| {
            wrong("request.url", "`request.url` must be `Type`, `Type/id` or `Type?query`.".into())
        })?;
        let if_match = match text("ifMatch") {
            None => None,
            Some(tag) => Some(
                version(tag)
                    .ok_or_else(|| wrong("request.ifMatch", "Write `ifMatch` as `W/\"3\"`.".into()))?,
            ),
        };
        let none_exist = text("ifNoneExist");
        if none_exist.is_some() && method != "POST" {
            return Err(wrong("request.ifNoneExist", "`ifNoneExist` is for POST entries.".into()));
        }
        let parts = Parts { number, method, target, resource, if_match, none_exist, delete_most };
        let (action, key) = parts.settle()?;
        Ok(Entry { number, full_url, phase, action, key })
    }

    /// The resource whose references are to be rewritten.
    pub fn resource(&self) -> Option<&Resource> {
        match &self.action {
            Action::Create(resource) | Action::Update { resource, .. } => Some(resource),
            Action::Conditional(conditional) => match &conditional.action {
                ConditionalAction::Create { resource } | ConditionalAction::Update { resource, .. } => {
                    Some(resource)
                }
                ConditionalAction::Patch { .. } | ConditionalAction::Delete { .. } => None,
            },
            Action::Patch { .. } | Action::Delete { .. } | Action::Call(_) => None,
        }
    }

    /// The element that names the condition.
    pub fn condition_element(&self) -> &'static str {
        match &self.action {
            Action::Conditional(conditional)
                if matches!(conditional.action, ConditionalAction::Create { .. }) =>
            {
                "request.ifNoneExist"
            }
            _ => "request.url",
        }
    }

    /// The plain change; `None` for a call, and for what must be looked up first.
    pub fn change(&self) -> Option<Change> {
        Some(match &self.action {
            Action::Create(resource) => Change::Create { resource: resource.clone() },
            Action::Update { resource, if_match } => {
                Change::Update { resource: resource.clone(), if_match: *if_match }
            }
            Action::Patch { key, patch, if_match } => {
                Change::Patch { key: key.clone(), patch: patch.clone(), if_match: *if_match }
            }
            Action::Delete { key, if_match } => Change::Delete { key: key.clone(), if_match: *if_match },
            Action::Conditional(_) | Action::Call(_) => return None,
        })
    }
}

/// An entry's parts, to be fitted together.
struct Parts<'a> {
    number: usize,
    method: &'a str,
    target: Target,
    resource: Option<Resource>,
    if_match: Option<u32>,
    none_exist: Option<&'a str>,
    delete_most: u32,
}

impl Parts<'_> {
    /// Checks that method, url and resource fit, and gives the resource its id.
    fn settle(self) -> Result<(Action, Option<ResourceKey>), Outcome> {
        let number = self.number;
        let wrong =
            |element: &str, text: &str| Outcome::one(IssueCode::Structure, place(number, element), text);
        let same_kind = |resource: &Resource, kind: TypeId| match resource.kind() == kind {
            true => Ok(()),
            false => Err(wrong("request.url", "The resource is of another type than the url.")),
        };
        let conditional =
            |kind, criteria, action| Action::Conditional(Box::new(Conditional { kind, criteria, action }));
        let if_match = self.if_match;
        match (self.method, self.target, self.resource) {
            ("POST", Target::Type(kind), Some(mut resource)) => {
                same_kind(&resource, kind)?;
                // http://hl7.org/fhir/R4/http.html#create: an id that came along is ignored, and a fullUrl only links.
                resource.set_id(&Uuid::now_v7().to_string());
                match self.none_exist {
                    Some(query) => {
                        let criteria = query_pairs(query.split_once('?').map_or(query, |(_, query)| query));
                        Ok((conditional(kind, criteria, ConditionalAction::Create { resource }), None))
                    }
                    None => {
                        let key = resource.key();
                        Ok((Action::Create(resource), key))
                    }
                }
            }
            ("PUT", Target::Instance(key), Some(mut resource)) => {
                same_kind(&resource, key.kind)?;
                if resource.id().is_some_and(|id| id != key.id) {
                    return Err(wrong(
                        "resource.id",
                        "The id in the resource differs from the one in the url.",
                    ));
                }
                resource.set_id(&key.id);
                Ok((Action::Update { resource, if_match }, Some(key)))
            }
            ("PUT", Target::Search(kind, criteria), Some(resource)) => {
                same_kind(&resource, kind)?;
                Ok((conditional(kind, criteria, ConditionalAction::Update { resource, if_match }), None))
            }
            ("PATCH", Target::Instance(key), Some(patch)) => {
                let patch = patch_of(patch).map_err(|text| wrong("resource", &text))?;
                Ok((Action::Patch { key: key.clone(), patch, if_match }, Some(key)))
            }
            ("PATCH", Target::Search(kind, criteria), Some(patch)) => {
                let patch = patch_of(patch).map_err(|text| wrong("resource", &text))?;
                Ok((conditional(kind, criteria, ConditionalAction::Patch { patch, if_match }), None))
            }
            ("DELETE", Target::Instance(key), _) => {
                Ok((Action::Delete { key: key.clone(), if_match }, Some(key)))
            }
            ("DELETE", Target::Search(kind, criteria), _) => {
                let action = ConditionalAction::Delete { if_match, most: self.delete_most };
                Ok((conditional(kind, criteria, action), None))
            }
            ("POST" | "PUT" | "PATCH", _, None) => Err(wrong("resource", "This entry needs a resource.")),
            ("POST", ..) => Err(wrong("request.url", "POST takes `Type` as its url.")),
            _ => Err(wrong("request.url", "This method takes `Type/id` or `Type?query` as its url.")),
        }
    }
}

impl Target {
    fn parse(url: &str) -> Option<Target> {
        if let Some((name, query)) = url.split_once('?') {
            return Some(Target::Search(TypeId::from_name(name)?, query_pairs(query)));
        }
        match url.split_once('/') {
            None => TypeId::from_name(url).map(Target::Type),
            Some(_) => ResourceKey::parse(url).map(Target::Instance),
        }
    }
}

/// Errors: text for the sender.
fn call(
    method: &'static str,
    url: &str,
    request: &Map<String, Value>,
    resource: Option<Resource>,
) -> Result<Call, String> {
    let path = url.split('?').next().unwrap_or_default();
    let first = path.split('/').next().unwrap_or_default();
    let known = first.is_empty()
        || TypeId::from_name(first).is_some()
        || first.starts_with(['$', '_'])
        || first == "metadata";
    if !known || path.split('/').any(|part| part == "..") {
        return Err(
            "`request.url` must be below the base of this server, e.g. `Patient/1` or `Patient?name=x`."
                .into(),
        );
    }
    let mut headers = Vec::new();
    for (element, header) in
        [("ifNoneMatch", "if-none-match"), ("ifModifiedSince", "if-modified-since"), ("ifMatch", "if-match")]
    {
        if let Some(value) = request.get(element).and_then(Value::as_str) {
            headers.push((header, value.to_owned()));
        }
    }
    Ok(Call { method, url: url.to_owned(), headers, resource })
}

/// The url without our own base and without a leading slash.
fn below_base(url: &str, base: &str) -> String {
    let rest = match url.strip_prefix(base) {
        Some(rest) if rest.is_empty() || rest.starts_with(['/', '?']) => rest,
        _ => url,
    };
    rest.trim_start_matches('/').to_owned()
}

/// `W/"3"`, `"3"` or `3`.
fn version(tag: &str) -> Option<u32> {
    tag.trim().trim_start_matches("W/").trim_matches('"').parse().ok()
}

fn at_entry(mut outcome: Outcome, number: usize) -> Outcome {
    for issue in &mut outcome.issues {
        issue.expression = place(number, &format!("resource.{}", issue.expression));
        issue.expression.truncate(issue.expression.trim_end_matches('.').len());
    }
    outcome
}

/// `a=b&c=d`, percent-decoded.
pub(crate) fn query_pairs(query: &str) -> Vec<(String, String)> {
    query
        .split('&')
        .filter(|p| !p.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(name), percent_decode(value))
        })
        .collect()
}

/// The inverse of [query_pairs].
pub(crate) fn query_text(pairs: &[(String, String)]) -> String {
    let mut text = String::new();
    for (n, (name, value)) in pairs.iter().enumerate() {
        let and = if n > 0 { "&" } else { "" };
        let _ = write!(text, "{and}{name}=");
        for character in value.chars() {
            match character {
                '&' | '%' | '+' | '#' => {
                    let _ = write!(text, "%{:02X}", u32::from(character));
                }
                ' ' => text.push('+'),
                other => text.push(other),
            }
        }
    }
    text
}

fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |b: u8| (b as char).to_digit(16);
        match (first, tail) {
            (b'%', [a, b, after @ ..]) if hex(*a).is_some() && hex(*b).is_some() => {
                bytes.push((hex(*a).unwrap_or(0) * 16 + hex(*b).unwrap_or(0)) as u8);
                rest = after;
                continue;
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
        rest = tail;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
