//! What an operation is given, in whatever form it came: query, Parameters, or a bare resource.

use super::table::{Operation, Parameter};
use crate::http::body;
use crate::http::error::FhirError;
use crate::rest::negotiate::{self, ACCEPTED_BODIES};
use crate::rest::printable;
use crate::state::App;
use ::fhir::{Issue, IssueCode, Outcome, Resource};
use axum::extract::Request;
use axum::http::header;
use serde_json::Value;

/// Most parameters one request may have, parts included.
pub const MAX_PARAMETERS: usize = 2000;
const FORM: &str = "application/x-www-form-urlencoded";

/// One value of a parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    /// A value of the type that the table names (or its near kin: a `uri` may have come as a `canonical`).
    Value(Value),
    Resource(Resource),
    Parts(Vec<(String, Given)>),
}

impl Given {
    pub fn value(&self) -> Option<&Value> {
        match self {
            Given::Value(value) => Some(value),
            _ => None,
        }
    }
    pub fn text(&self) -> Option<&str> {
        self.value().and_then(Value::as_str)
    }
    pub fn parts(&self) -> &[(String, Given)] {
        match self {
            Given::Parts(parts) => parts,
            _ => &[],
        }
    }
    /// The first part of this name.
    pub fn part(&self, name: &str) -> Option<&Given> {
        self.parts().iter().find(|(n, _)| n == name).map(|(_, given)| given)
    }
}

/// The parameters of one call, in the order they came. What is here is known to the table, of its type and not too often.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Input {
    list: Vec<(String, Given)>,
}

impl Input {
    /// The first value of this name.
    pub fn get(&self, name: &str) -> Option<&Given> {
        self.list.iter().find(|(n, _)| n == name).map(|(_, given)| given)
    }
    /// All values of this name.
    pub fn every<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Given> {
        self.list.iter().filter(move |(n, _)| n == name).map(|(_, given)| given)
    }
    /// Strings, codes, uris, dates …
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.text()
    }
    pub fn texts<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.every(name).filter_map(Given::text)
    }
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name)?.value()?.as_bool()
    }
    pub fn number(&self, name: &str) -> Option<i64> {
        self.get(name)?.value()?.as_i64()
    }
    /// A complex value, e.g. a Coding.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.get(name)?.value()
    }
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Value> {
        self.every(name).filter_map(Given::value)
    }
    pub fn resource(&self, name: &str) -> Option<&Resource> {
        match self.get(name)? {
            Given::Resource(resource) => Some(resource),
            _ => None,
        }
    }
    pub fn resources<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Resource> {
        self.every(name).filter_map(|given| match given {
            Given::Resource(resource) => Some(resource),
            _ => None,
        })
    }
    /// As `(name, value)` of texts, for search.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &Given)> {
        self.list.iter().map(|(name, given)| (name.as_str(), given))
    }

    /// Errors: 400 with every problem.
    pub(super) fn from_query(operation: &Operation, pairs: &[(String, String)]) -> Result<Input, FhirError> {
        let mut problems = Vec::new();
        let list = from_pairs(operation, pairs, &mut problems);
        checked(operation, list, problems)
    }

    /// A Parameters resource, a bare resource for the one parameter that takes one, a form, or nothing; parameters in
    /// the URL count as well. Errors: 400 with every problem, 413, 415.
    pub(super) async fn from_body(
        app: &App,
        operation: &Operation,
        pairs: &[(String, String)],
        request: Request,
    ) -> Result<Input, FhirError> {
        let headers = request.headers().clone();
        let bytes = body::read(request, app.config.limits.json_bytes).await?;
        let mut problems = Vec::new();
        let mut list = from_pairs(operation, pairs, &mut problems);
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return checked(operation, list, problems);
        }
        let is_form = headers
            .get(header::CONTENT_TYPE)
            .and_then(|v| v.to_str().ok())
            .is_some_and(|v| v.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM));
        if is_form {
            negotiate::require_utf8(&bytes)?;
            let form: Vec<(String, String)> = form_urlencoded::parse(&bytes).into_owned().collect();
            list.extend(from_pairs(operation, &form, &mut problems));
            return checked(operation, list, problems);
        }
        body::require_json(&headers, ACCEPTED_BODIES)?;
        let resource = Resource::parse(&bytes)?;
        if resource.kind().name() == "Parameters" {
            let mut count = 0;
            let entries = resource.get("parameter").cloned().unwrap_or(Value::Null);
            list.extend(from_entries(
                operation.code,
                &operation.inputs().collect::<Vec<_>>(),
                &entries,
                "Parameters.parameter",
                &mut count,
                &mut problems,
            ));
        } else {
            let mut takers = operation.inputs().filter(|p| p.is_resource());
            match (takers.next(), takers.next()) {
                (Some(parameter), None) => match fits(parameter, &resource) {
                    true => list.push((parameter.name.to_owned(), Given::Resource(resource))),
                    false => problems.push(Issue::error(
                        IssueCode::Value,
                        "resourceType",
                        format!("Send a {} or Parameters, not a {}.", parameter.kind, resource.kind().name()),
                    )),
                },
                _ => problems.push(Issue::error(
                    IssueCode::Structure,
                    "resourceType",
                    format!("${} takes a Parameters resource.", operation.code),
                )),
            }
        }
        checked(operation, list, problems)
    }
}

fn fits(parameter: &Parameter, resource: &Resource) -> bool {
    let name = resource.kind().name();
    parameter.kind == name || matches!(parameter.kind, "Resource" | "DomainResource")
}

fn names(parameters: &[&'static Parameter]) -> String {
    let names: Vec<&str> = parameters.iter().map(|p| p.name).collect();
    if names.is_empty() { "no parameters".to_owned() } else { names.join(", ") }
}

fn from_pairs(
    operation: &Operation,
    pairs: &[(String, String)],
    problems: &mut Vec<Issue>,
) -> Vec<(String, Given)> {
    let mut list = Vec::new();
    if pairs.len() > MAX_PARAMETERS {
        problems.push(too_many());
        return list;
    }
    for (name, text) in pairs {
        let Some(parameter) = operation.input(name) else {
            problems.push(unknown(operation.code, name, &operation.inputs().collect::<Vec<_>>(), name));
            continue;
        };
        if !parameter.is_simple() {
            problems.push(Issue::error(
                IssueCode::NotSupported,
                parameter.name,
                format!("`{}` is a {}: send it in the body.", parameter.name, parameter.kind),
            ));
            continue;
        }
        // A URL cannot tell `1` the number from `1` the text; the table can.
        let value = match parameter.kind {
            "boolean" => text.parse().map(Value::Bool).ok(),
            "integer" | "unsignedInt" | "positiveInt" => text.parse::<i64>().map(Value::from).ok(),
            "decimal" => serde_json::from_str(text).ok().filter(Value::is_number),
            _ => Some(Value::String(text.clone())),
        };
        match value.filter(|value| is_valid(parameter.kind, value)) {
            Some(value) => list.push((name.clone(), Given::Value(value))),
            None => problems.push(not_of_type(parameter, parameter.name)),
        }
    }
    list
}

fn from_entries(
    code: &str,
    known: &[&'static Parameter],
    entries: &Value,
    place: &str,
    count: &mut usize,
    problems: &mut Vec<Issue>,
) -> Vec<(String, Given)> {
    let mut list = Vec::new();
    let entries = match entries {
        Value::Null => return list,
        Value::Array(entries) => entries,
        _ => {
            problems.push(Issue::error(IssueCode::Structure, place, "This must be a list."));
            return list;
        }
    };
    for (n, entry) in entries.iter().enumerate() {
        *count += 1;
        if *count > MAX_PARAMETERS {
            problems.push(too_many());
            break;
        }
        let place = format!("{place}[{n}]");
        let Some(name) = entry.get("name").and_then(Value::as_str) else {
            problems.push(Issue::error(
                IssueCode::Required,
                format!("{place}.name"),
                "Each parameter has a name.",
            ));
            continue;
        };
        let Some(parameter) = known.iter().find(|p| p.name == name) else {
            problems.push(unknown(code, name, known, &place));
            continue;
        };
        if let Some(given) = from_entry(code, parameter, entry, &place, count, problems) {
            list.push((name.to_owned(), given));
        }
    }
    list
}

fn from_entry(
    code: &str,
    parameter: &'static Parameter,
    entry: &Value,
    place: &str,
    count: &mut usize,
    problems: &mut Vec<Issue>,
) -> Option<Given> {
    if !parameter.parts.is_empty() {
        let Some(parts) = entry.get("part") else {
            problems.push(not_of_type(parameter, place));
            return None;
        };
        let known: Vec<&Parameter> = parameter.parts.iter().collect();
        let list = from_entries(code, &known, parts, &format!("{place}.part"), count, problems);
        over_and_under(&known, &list, place, problems);
        return Some(Given::Parts(list));
    }
    if parameter.is_resource() {
        let resource = entry.get("resource").cloned().and_then(|value| Resource::from_value(value).ok());
        return match resource.filter(|resource| fits(parameter, resource)) {
            Some(resource) => Some(Given::Resource(resource)),
            None => {
                problems.push(not_of_type(parameter, place));
                None
            }
        };
    }
    let value = entry.as_object().and_then(|object| {
        let (key, value) = object.iter().find(|(key, _)| key.starts_with("value"))?;
        is_kin(parameter.kind, key.strip_prefix("value")?).then_some(value)
    });
    match value.filter(|value| is_valid(parameter.kind, value)) {
        Some(value) => Some(Given::Value(value.clone())),
        None => {
            problems.push(not_of_type(parameter, place));
            None
        }
    }
}

/// Whether `value<written>` may stand for the type: clients mix the kinds of text, of numbers and of times.
fn is_kin(kind: &str, written: &str) -> bool {
    let mut lower = written.to_owned();
    if let Some(first) = lower.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    let family = |name: &str| match name {
        "string" | "code" | "uri" | "url" | "canonical" | "id" | "oid" | "uuid" | "markdown" => 1,
        "integer" | "positiveInt" | "unsignedInt" => 2,
        "date" | "dateTime" | "instant" => 3,
        _ => 0,
    };
    kind == written
        || kind == lower
        || (family(kind) != 0 && family(kind) == family(&lower))
        // Dates of any precision travel as strings too.
        || (family(kind) == 3 && lower == "string")
        || matches!(kind, "*" | "Element")
}

/// Whether the value has the form of the type; the meaning is the handler's business.
fn is_valid(kind: &str, value: &Value) -> bool {
    match kind {
        "boolean" => value.is_boolean(),
        "integer" => value.as_i64().is_some_and(|n| i32::try_from(n).is_ok()),
        "unsignedInt" => value.as_i64().is_some_and(|n| (0..=i64::from(i32::MAX)).contains(&n)),
        "positiveInt" => value.as_i64().is_some_and(|n| (1..=i64::from(i32::MAX)).contains(&n)),
        "decimal" => value.is_number(),
        "date" | "dateTime" | "instant" => {
            value.as_str().is_some_and(|text| ::fhir::range_us(text).is_some())
        }
        "string" | "code" | "uri" | "url" | "canonical" | "id" | "oid" | "uuid" | "markdown" => {
            value.as_str().is_some_and(|text| !text.is_empty())
        }
        "*" | "Element" => true,
        _ => value.is_object(),
    }
}

fn unknown(code: &str, name: &str, known: &[&'static Parameter], place: &str) -> Issue {
    let text = format!("${code} has no parameter `{}`; it takes {}.", printable(name), names(known));
    Issue::error(IssueCode::NotSupported, printable(place), text)
}

fn not_of_type(parameter: &Parameter, place: &str) -> Issue {
    let text = match (parameter.parts.is_empty(), parameter.is_resource()) {
        (false, _) => {
            format!("`{}` has parts: {}.", parameter.name, names(&parameter.parts.iter().collect::<Vec<_>>()))
        }
        (_, true) => format!("`{}` must be a {}, in `resource`.", parameter.name, parameter.kind),
        _ => format!("`{}` must be of type `{}`.", parameter.name, parameter.kind),
    };
    Issue::error(IssueCode::Value, place, text)
}

fn too_many() -> Issue {
    Issue::error(IssueCode::TooCostly, "", format!("At most {MAX_PARAMETERS} parameters."))
}

fn over_and_under(
    known: &[&'static Parameter],
    list: &[(String, Given)],
    place: &str,
    problems: &mut Vec<Issue>,
) {
    for parameter in known {
        let times = list.iter().filter(|(name, _)| name == parameter.name).count();
        let at = if place.is_empty() { parameter.name } else { place };
        // One that was sent and is wrong has been complained about already.
        if times < parameter.min as usize && problems.is_empty() {
            let text = format!("`{}` is required: {}", parameter.name, parameter.text);
            problems.push(Issue::error(IssueCode::Required, at, text));
        }
        if let Some(max) = parameter.max
            && times > max as usize
        {
            let text = format!("`{}` may be given at most {max} time(s), not {times}.", parameter.name);
            problems.push(Issue::error(IssueCode::Value, at, text));
        }
    }
}

fn checked(
    operation: &Operation,
    list: Vec<(String, Given)>,
    mut problems: Vec<Issue>,
) -> Result<Input, FhirError> {
    over_and_under(&operation.inputs().collect::<Vec<_>>(), &list, "", &mut problems);
    match problems.is_empty() {
        true => Ok(Input { list }),
        false => Err(Outcome { issues: problems }.into()),
    }
}
