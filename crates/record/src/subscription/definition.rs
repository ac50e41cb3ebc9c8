//! What a Subscription resource asks for: R4's own search criteria, or a topic of the backport guide
//! (<http://hl7.org/fhir/uv/subscriptions-backport/>).

use super::Rules;
use super::topic::{Condition, Topic};
use fhir::search::{Handling, Params, Query, Total};
use fhir::{Issue, IssueCode, Outcome, Resource, TypeId};
use jiff::Timestamp;
use serde_json::Value;
use std::sync::Arc;
use store::subscription::{Interaction, State};

/// Base of the guide's extensions.
pub const GUIDE: &str = "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/";
/// Parameters that shape an answer and narrow nothing down.
const RESULT_PARAMETERS: &[&str] = &[
    "_sort",
    "_count",
    "_total",
    "_include",
    "_revinclude",
    "_summary",
    "_elements",
    "_cursor",
    "_format",
    "_pretty",
];
const MAX_CRITERIA_CHARS: usize = 4000;
const MAX_HEADERS: usize = 20;
/// Headers that belong to the connection or to us.
const OWN_HEADERS: &[&str] = &[
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "proxy-authorization",
    "proxy-connection",
    "keep-alive",
    "expect",
];
/// Events in one notification if the subscription does not say.
const BATCH: u32 = 20;
/// Most events in one notification.
pub const MAX_BATCH: u32 = 100;
/// Shortest time between heartbeats, seconds.
const MIN_HEARTBEAT_S: u64 = 5;
const MAX_HEARTBEAT_S: u64 = 24 * 60 * 60;
/// Time a subscriber may take to answer, seconds.
const TIMEOUT_S: u64 = 10;
const MAX_TIMEOUT_S: u64 = 30;

/// Where notifications go.
#[derive(Debug, Clone, PartialEq)]
pub enum Channel {
    RestHook {
        /// http or https.
        endpoint: String,
        /// Name and value, as in `channel.header`. Never logged.
        headers: Vec<(String, String)>,
    },
    WebSocket,
    Email {
        /// Address alone, without `mailto:`.
        to: String,
    },
}

impl Channel {
    /// Where it leaves the installation; a subscriber that comes for it over a WebSocket is a caller itself.
    pub(crate) fn address(&self) -> Option<&str> {
        match self {
            Channel::RestHook { endpoint, .. } => Some(endpoint),
            Channel::Email { to } => Some(to),
            Channel::WebSocket => None,
        }
    }
}

/// How much of the resource a notification carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    Empty,
    IdOnly,
    FullResource,
}

impl Content {
    /// The code of `backport-payload-content`.
    pub fn from_code(code: &str) -> Option<Content> {
        Some(match code {
            "empty" => Content::Empty,
            "id-only" => Content::IdOnly,
            "full-resource" => Content::FullResource,
            _ => return None,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Json,
    Xml,
}

impl Format {
    pub fn mime(self) -> &'static str {
        match self {
            Format::Json => "application/fhir+json",
            Format::Xml => "application/fhir+xml",
        }
    }
    fn from_mime(text: &str) -> Option<Format> {
        match text.split(';').next().unwrap_or_default().trim() {
            "application/fhir+json" | "application/json" => Some(Format::Json),
            "application/fhir+xml" | "application/xml" => Some(Format::Xml),
            _ => None,
        }
    }
}

/// Changes that make an event.
#[derive(Debug, Clone)]
pub struct Watch {
    pub kind: TypeId,
    pub interactions: Vec<Interaction>,
    /// The resource as it is now must meet it.
    pub query: Query,
    /// Whether the query has any condition; a deleted resource meets none.
    pub narrows: bool,
    pub condition: Option<Arc<Condition>>,
}

/// A Subscription, understood.
#[derive(Debug, Clone)]
pub struct Definition {
    pub id: String,
    pub status: State,
    /// Canonical of the topic; `None` for R4's own criteria.
    pub topic: Option<String>,
    pub watches: Vec<Watch>,
    pub channel: Channel,
    /// `None`: notifications have no body (R4's own), or are JSON (topics).
    pub format: Option<Format>,
    pub content: Content,
    /// Only for topics.
    pub heartbeat_s: Option<u64>,
    pub timeout_s: u64,
    pub max_count: u32,
    pub end: Option<Timestamp>,
}

impl Definition {
    /// Whether the worker delivers it.
    pub fn is_pushed(&self) -> bool {
        !matches!(self.channel, Channel::WebSocket)
    }
    /// Whether the endpoint must answer before the subscription becomes active. R4's own kind has no message for it.
    pub fn needs_handshake(&self) -> bool {
        self.topic.is_some() && matches!(self.channel, Channel::RestHook { .. })
    }

    /// Errors: every problem, with the FHIRPath of the element.
    pub fn parse(
        resource: &Resource,
        params: &Params,
        topics: &[Topic],
        rules: &Rules,
    ) -> Result<Definition, Outcome> {
        let mut problems = Problems::default();
        let value = resource.value();
        let status = match resource.text("status").and_then(State::from_code) {
            Some(status) => status,
            None => {
                problems.add(IssueCode::Value, "status", "Send `requested` to set it up, or `off`.");
                State::Off
            }
        };
        let criteria = resource.text("criteria").unwrap_or_default();
        let topic_url = is_topic(criteria).then(|| criteria.to_owned());
        let watches = match &topic_url {
            Some(url) => by_topic(value, url, params, topics, &mut problems),
            None => by_criteria(criteria, params, &mut problems).into_iter().collect(),
        };
        let channel = channel(value, rules, &mut problems);
        let payload = value.pointer("/channel/payload").and_then(Value::as_str);
        let format = payload.map(Format::from_mime);
        if let Some(None) = format {
            let text = "The payload is `application/fhir+json` or `application/fhir+xml`; without it there is no body.";
            problems.add(IssueCode::NotSupported, "channel.payload", text);
        }
        let content = content(value, topic_url.is_some(), payload.is_some(), &mut problems);
        if matches!(channel, Some(Channel::Email { .. })) && content == Content::FullResource {
            let text = "Patient data does not go by e-mail: ask for `empty` or `id-only`.";
            problems.add(IssueCode::NotSupported, "channel.payload", text);
        }
        let number = |name: &str| extension(value.get("channel"), name).and_then(whole);
        let heartbeat_s = number("backport-heartbeat-period").filter(|s| *s > 0);
        if heartbeat_s.is_some_and(|s| !(MIN_HEARTBEAT_S..=MAX_HEARTBEAT_S).contains(&s)) {
            let text = format!("A heartbeat comes every {MIN_HEARTBEAT_S} to {MAX_HEARTBEAT_S} seconds.");
            problems.add(IssueCode::Value, "channel", text);
        }
        let timeout_s = number("backport-timeout").unwrap_or(TIMEOUT_S).clamp(1, MAX_TIMEOUT_S);
        let max_count =
            number("backport-max-count").unwrap_or(u64::from(BATCH)).clamp(1, u64::from(MAX_BATCH));
        let end = resource.text("end").and_then(|t| t.parse::<Timestamp>().ok());
        if !problems.0.issues.is_empty() {
            return Err(problems.0);
        }
        let Some(channel) = channel else { return Err(problems.0) };
        let is_topic = topic_url.is_some();
        Ok(Definition {
            id: resource.id().unwrap_or_default().to_owned(),
            status,
            topic: topic_url,
            watches,
            channel,
            format: format.flatten(),
            content,
            heartbeat_s: heartbeat_s.filter(|_| is_topic),
            timeout_s,
            max_count: max_count as u32,
            end,
        })
    }
}

#[derive(Default)]
struct Problems(Outcome);

impl Problems {
    fn add(&mut self, code: IssueCode, element: &str, text: impl Into<String>) {
        self.0.issues.push(Issue::error(code, format!("Subscription.{element}"), text));
    }
}

/// A canonical URL, unlike `Type?query`.
fn is_topic(criteria: &str) -> bool {
    let head = criteria.split('?').next().unwrap_or_default();
    head.contains("://") || head.starts_with("urn:")
}

fn extension<'a>(owner: Option<&'a Value>, name: &str) -> Option<&'a Value> {
    let all = owner?.get("extension")?.as_array()?;
    all.iter()
        .find(|e| e.get("url").and_then(Value::as_str).and_then(|url| url.strip_prefix(GUIDE)) == Some(name))
}

fn whole(extension: &Value) -> Option<u64> {
    extension.as_object()?.iter().find_map(|(k, v)| k.strip_prefix("value").and(v.as_u64()))
}

/// Name and value of a query string, decoded.
pub(super) fn pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let [first, tail @ ..] = rest {
            let hex = |b: &u8| (*b as char).to_digit(16).map(|d| d as u8);
            match (first, tail) {
                (b'%', [a, b, after @ ..]) if hex(a).is_some() && hex(b).is_some() => {
                    bytes.push(hex(a).unwrap_or_default() * 16 + hex(b).unwrap_or_default());
                    rest = after;
                }
                _ => {
                    bytes.push(*first);
                    rest = tail;
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// Errors: an issue for each parameter that is wrong.
fn query(
    kind: TypeId,
    given: &[(String, String)],
    params: &Params,
    element: &str,
    problems: &mut Problems,
) -> Option<Query> {
    let before = problems.0.issues.len();
    for (name, value) in given {
        let code = name.split(':').next().unwrap_or_default();
        if RESULT_PARAMETERS.contains(&code) {
            problems.add(IssueCode::Value, element, format!("`{code}` has no meaning in a criterion."));
        } else if matches!(code, "_text" | "_content") {
            // Their index follows some time after the change.
            problems.add(IssueCode::NotSupported, element, format!("`{code}` cannot be a criterion."));
        } else if value.is_empty() {
            problems.add(IssueCode::Value, element, "A search parameter has no value.");
        }
    }
    match fhir::search::parse(params, kind, given, Handling::Strict) {
        Ok((mut query, warnings)) => {
            for warning in warnings {
                problems.add(IssueCode::NotSupported, element, warning.text);
            }
            query.count = 1;
            query.total = Total::None;
            (problems.0.issues.len() == before).then_some(query)
        }
        Err(outcome) => {
            for issue in outcome.issues {
                problems.add(issue.code, element, issue.text);
            }
            None
        }
    }
}

/// `Type?parameters`: created and updated resources that meet them.
fn by_criteria(criteria: &str, params: &Params, problems: &mut Problems) -> Option<Watch> {
    if criteria.is_empty() || criteria.len() > MAX_CRITERIA_CHARS {
        let text = "Give a search such as `Observation?code=http://loinc.org|718-7`, or the URL of a topic.";
        problems.add(IssueCode::Required, "criteria", text);
        return None;
    }
    let (name, text) = criteria.split_once('?').unwrap_or((criteria, ""));
    let Some(kind) = TypeId::from_name(name.trim_start_matches('/')) else {
        let text = "The criteria begin with an R4 resource type, such as `Observation?…`.";
        problems.add(IssueCode::Value, "criteria", text);
        return None;
    };
    let given = pairs(text);
    let query = query(kind, &given, params, "criteria", problems)?;
    let interactions = vec![Interaction::Create, Interaction::Update];
    Some(Watch { kind, interactions, query, narrows: !given.is_empty(), condition: None })
}

/// The triggers of the topic, narrowed by the filters of the subscription.
fn by_topic(
    value: &Value,
    url: &str,
    params: &Params,
    topics: &[Topic],
    problems: &mut Problems,
) -> Vec<Watch> {
    let plain = url.split('|').next().unwrap_or(url);
    let Some(topic) = topics.iter().find(|t| t.url == plain) else {
        let text = "There is no such topic here; the CapabilityStatement lists those there are.";
        problems.add(IssueCode::NotFound, "criteria", text);
        return Vec::new();
    };
    let all = value.pointer("/_criteria/extension").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut filters: Vec<(TypeId, Vec<(String, String)>)> = Vec::new();
    for filter in &all {
        let url = filter.get("url").and_then(Value::as_str).and_then(|url| url.strip_prefix(GUIDE));
        if url != Some("backport-filter-criteria") {
            continue;
        }
        let text = filter.get("valueString").and_then(Value::as_str).unwrap_or_default();
        let (name, text) = text.split_once('?').unwrap_or((text, ""));
        let Some(kind) = TypeId::from_name(name).filter(|k| topic.triggers.iter().any(|t| t.kind == *k))
        else {
            let text = "A filter begins with a type of the topic, such as `Encounter?patient=Patient/1`.";
            problems.add(IssueCode::Value, "criteria", text);
            continue;
        };
        let given = pairs(text);
        let known = topic.filters.iter().find(|(k, _)| *k == kind).map(|(_, names)| names.as_slice());
        for (name, _) in &given {
            let code = name.split([':', '.']).next().unwrap_or_default();
            if !known.unwrap_or_default().iter().any(|n| n == code) {
                let known = known.unwrap_or_default().join(", ");
                let text =
                    format!("This topic is not filtered by that; on {} it is by: {known}.", kind.name());
                problems.add(IssueCode::NotSupported, "criteria", text);
            }
        }
        filters.push((kind, given));
    }
    let mut watches = Vec::new();
    for trigger in &topic.triggers {
        // Who filters one type of several asks for no other.
        let mine: Vec<&(TypeId, Vec<(String, String)>)> =
            filters.iter().filter(|(k, _)| *k == trigger.kind).collect();
        if !filters.is_empty() && mine.is_empty() {
            continue;
        }
        let mut given = trigger.current.clone();
        given.extend(mine.iter().flat_map(|(_, pairs)| pairs.iter().cloned()));
        if let Some(query) = query(trigger.kind, &given, params, "criteria", problems) {
            watches.push(Watch {
                kind: trigger.kind,
                interactions: trigger.interactions.clone(),
                query,
                narrows: !given.is_empty(),
                condition: trigger.condition.clone(),
            });
        }
    }
    watches
}

fn channel(value: &Value, rules: &Rules, problems: &mut Problems) -> Option<Channel> {
    let text = |name: &str| value.pointer(&format!("/channel/{name}")).and_then(Value::as_str);
    let endpoint = text("endpoint").unwrap_or_default();
    match text("type") {
        Some("websocket") => Some(Channel::WebSocket),
        Some("rest-hook") => {
            if let Err(reason) = rules.check_url(endpoint) {
                problems.add(IssueCode::Value, "channel.endpoint", reason);
            }
            let headers = headers(value, problems);
            Some(Channel::RestHook { endpoint: endpoint.to_owned(), headers })
        }
        Some("email") => {
            if !rules.email {
                problems.add(IssueCode::NotSupported, "channel.type", "This server sends no e-mail.");
            }
            let to = endpoint.strip_prefix("mailto:").unwrap_or(endpoint);
            let plain = to.len() <= 254
                && to.split_once('@').is_some_and(|(a, b)| !a.is_empty() && b.contains('.'))
                && to.matches('@').count() == 1
                && to.bytes().all(|b| b.is_ascii_alphanumeric() || b"@.!#$%&'*+/=?^_`{|}~-".contains(&b));
            if !plain {
                let text = "The endpoint of an e-mail channel is `mailto:` and an address.";
                problems.add(IssueCode::Value, "channel.endpoint", text);
            }
            Some(Channel::Email { to: to.to_owned() })
        }
        Some(_) => {
            let text = "This channel is not served; use `rest-hook`, `websocket` or `email`.";
            problems.add(IssueCode::NotSupported, "channel.type", text);
            None
        }
        None => {
            problems.add(IssueCode::Required, "channel.type", "Use `rest-hook`, `websocket` or `email`.");
            None
        }
    }
}

fn headers(value: &Value, problems: &mut Problems) -> Vec<(String, String)> {
    let all = value.pointer("/channel/header").and_then(Value::as_array).cloned().unwrap_or_default();
    if all.len() > MAX_HEADERS {
        problems.add(IssueCode::TooLong, "channel.header", format!("At most {MAX_HEADERS} headers."));
    }
    let mut headers = Vec::new();
    for header in all.iter().filter_map(Value::as_str).take(MAX_HEADERS) {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
        match header.split_once(':').map(|(n, v)| (n.trim(), v.trim())) {
            Some((name, text))
                if !name.is_empty()
                    && name.bytes().all(token)
                    && text.bytes().all(|b| b == b'\t' || (0x20..0x7f).contains(&b)) =>
            {
                if OWN_HEADERS.contains(&name.to_ascii_lowercase().as_str()) {
                    let text = format!("The header `{name}` is set by the server.");
                    problems.add(IssueCode::Value, "channel.header", text);
                } else {
                    headers.push((name.to_owned(), text.to_owned()));
                }
            }
            _ => {
                problems.add(IssueCode::Value, "channel.header", "A header is `Name: value` in plain ASCII.")
            }
        }
    }
    headers
}

fn content(value: &Value, is_topic: bool, has_payload: bool, problems: &mut Problems) -> Content {
    let code = extension(value.pointer("/channel/_payload"), "backport-payload-content")
        .and_then(|e| e.get("valueCode"))
        .and_then(Value::as_str);
    match code {
        Some(code) => Content::from_code(code).unwrap_or_else(|| {
            let text = "The content of the payload is `empty`, `id-only` or `full-resource`.";
            problems.add(IssueCode::CodeInvalid, "channel.payload", text);
            Content::Empty
        }),
        None if is_topic => Content::Empty,
        // R4's own: a payload is the resource itself.
        None if has_payload => Content::FullResource,
        None => Content::Empty,
    }
}
