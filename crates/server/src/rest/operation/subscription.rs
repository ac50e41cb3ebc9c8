//! `$status`, `$events` and `$get-ws-binding-token` of the backport guide for topic-based subscriptions in R4.

use super::{Answer, Call, Kinds, Levels, Operation, Output, Parameter, wrong};
use record::subscription::Content;
use serde_json::{Value, json};
use store::subscription::State;

const STATUS: &str =
    "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-status";
const EVENTS: &str =
    "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-events";
const TOKEN: &str = "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-get-ws-binding-token";

pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        code: "status",
        id: "Subscription-status",
        url: STATUS,
        title: "How subscriptions stand",
        text: "Status and number of events of one subscription, or of all the caller may read, as a searchset of Parameters.",
        levels: Levels::KIND_AND_INSTANCE,
        kinds: Kinds::These(&["Subscription"]),
        affects_state: false,
        parameters: &[
            Parameter::new("id", "id", "Only these subscriptions; on the type only.").many(),
            Parameter::new("status", "code", "Only those with one of these statuses.").many(),
            Parameter::new("return", "Bundle", "A searchset with one Parameters for each.").out().required(),
        ],
        handler: |call| Box::pin(status(call)),
    },
    Operation {
        code: "events",
        id: "Subscription-events",
        url: EVENTS,
        title: "Events of a subscription again",
        text: "The events with numbers between two bounds, both inclusive, that are still kept (seven days), at most 100 at \
               once; with what the caller may read of them now.",
        levels: Levels::INSTANCE,
        kinds: Kinds::These(&["Subscription"]),
        affects_state: false,
        parameters: &[
            Parameter::new("eventsSinceNumber", "string", "The first number."),
            Parameter::new("eventsUntilNumber", "string", "The last number."),
            Parameter::new(
                "content",
                "code",
                "empty, id-only or full-resource; never more than the subscription carries.",
            ),
            Parameter::new("return", "Bundle", "A notification of type query-event.").out().required(),
        ],
        handler: |call| Box::pin(events(call)),
    },
    Operation {
        code: "get-ws-binding-token",
        id: "Subscription-get-ws-binding-token",
        url: TOKEN,
        title: "A token for a WebSocket",
        text: "A token by which a WebSocket is bound to the caller's own subscriptions, with `bind-with-token: TOKEN` as the \
               first message. It can be used for five minutes.",
        levels: Levels::KIND_AND_INSTANCE,
        kinds: Kinds::These(&["Subscription"]),
        affects_state: false,
        parameters: &[
            Parameter::new("ids", "id", "The subscriptions; on the type only.").many(),
            Parameter::new("token", "string", "What to send as the first message.").out().required(),
            Parameter::new("expiration", "dateTime", "Until when it can be used.").out().required(),
            Parameter::new("subscription", "string", "The subscriptions it is for.").out().many(),
            Parameter::new("websocket-url", "url", "Where to connect.").out().required(),
        ],
        handler: |call| Box::pin(token(call)),
    },
];

/// Subscriptions of one request.
const MAX_IDS: usize = 100;

/// Those of the request: the instance, or the given ids. Errors: 400 for too many.
fn ids(call: &Call, name: &str) -> Result<Vec<String>, crate::http::error::FhirError> {
    if let Some(key) = &call.key {
        return Ok(vec![key.id.clone()]);
    }
    let ids: Vec<String> = call
        .input
        .texts(name)
        .flat_map(|t| t.split(','))
        .map(|t| t.trim().to_owned())
        .filter(|t| !t.is_empty())
        .collect();
    if ids.len() > MAX_IDS {
        return Err(wrong(name, format!("At most {MAX_IDS} subscriptions at once.")));
    }
    Ok(ids)
}

async fn status(call: Call) -> Answer {
    let mut statuses = Vec::new();
    for code in call.input.texts("status").flat_map(|t| t.split(',')) {
        match State::from_code(code.trim()) {
            Some(state) => statuses.push(state),
            None => return Err(wrong("status", "The status is requested, active, error or off.")),
        }
    }
    let ids = ids(&call, "id")?;
    let found = call.app.record.subscription_status(&call.ctx, &ids, &statuses, &call.base()).await?;
    let entry: Vec<Value> = found
        .iter()
        .map(|status| {
            json!({"fullUrl": format!("urn:uuid:{}", status["id"].as_str().unwrap_or_default()),
                "resource": status, "search": {"mode": "match"}})
        })
        .collect();
    let mut bundle = json!({"resourceType": "Bundle", "type": "searchset", "total": entry.len()});
    if !entry.is_empty() {
        bundle["entry"] = Value::Array(entry);
    }
    Ok(Output::Json(bundle))
}

async fn events(call: Call) -> Answer {
    let number = |name: &str, default: i64| match call.input.text(name) {
        None => Ok(default),
        Some(text) => match text.trim().parse::<i64>() {
            Ok(n) if n >= 0 => Ok(n),
            _ => Err(wrong(name, "An event number is a whole number.")),
        },
    };
    let range = (number("eventsSinceNumber", 0)?, number("eventsUntilNumber", i64::MAX)?);
    let content = match call.input.text("content") {
        None => None,
        Some(code) => match Content::from_code(code) {
            Some(content) => Some(content),
            None => return Err(wrong("content", "The content is empty, id-only or full-resource.")),
        },
    };
    let id = call.key()?.id.clone();
    let notice = call.app.record.subscription_events(&call.ctx, &id, range, content, &call.base()).await?;
    Ok(Output::Json(notice.body))
}

async fn token(call: Call) -> Answer {
    let ids = ids(&call, "ids")?;
    if ids.is_empty() {
        return Err(wrong("ids", "Name the subscriptions."));
    }
    let (token, expires) = call.app.record.subscription_token(&call.ctx, &ids).await?;
    let url = format!("{}{}", call.app.public_url.replacen("http", "ws", 1), crate::ws::SUBSCRIPTIONS);
    let mut entries = vec![
        Output::entry("token", "String", token),
        Output::entry("expiration", "DateTime", format!("{expires:.0}")),
    ];
    entries.extend(ids.into_iter().map(|id| Output::entry("subscription", "String", id)));
    entries.push(Output::entry("websocket-url", "Url", url));
    Ok(Output::Parameters(entries))
}
