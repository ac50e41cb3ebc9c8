//! The JSON control API under `/control`: what a test or a page does that no provider would.

use crate::config::SettingsChange;
use crate::fault::{self, FaultRequest};
use crate::handset::{self, HandsetView};
use crate::log::Flow;
use crate::payment::{PayBillError, Reply};
use crate::state::{HandsetChange, Sandbox, State as Memory};
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use futures_util::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::time::Duration;
use wire::daraja::TransactionType;

/// Entries of the log in one answer, unless asked for fewer.
const LOG_LIMIT: usize = 100;
/// Handsets in one answer.
const HANDSETS_LIMIT: usize = 200;
/// Pause after a change before it is told, so that a burst is told once.
const COALESCE: Duration = Duration::from_millis(40);
/// Most that a handset may pay at once, in cents.
const PAY_MINOR_MAX: i64 = 25_000_000;

pub(crate) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/control/handsets", get(list_handsets).post(make_handset))
        .route("/control/events", get(list_events))
        .route("/control/handsets/{msisdn}", get(show_handset).patch(change_handset))
        .route("/control/handsets/{msisdn}/events", get(handset_events))
        .route("/control/handsets/{msisdn}/messages", get(list_messages).post(send_message))
        .route("/control/handsets/{msisdn}/prompt", get(show_prompt).post(answer_prompt))
        .route("/control/handsets/{msisdn}/paybill", post(pay_bill))
        .route("/control/transactions", get(list_transactions))
        .route("/control/fault-kinds", get(list_fault_kinds))
        .route("/control/faults", get(list_faults).put(replace_faults).post(add_fault).delete(clear_faults))
        .route("/control/faults/events", get(fault_events))
        .route("/control/faults/{id}", delete(remove_fault))
        .route("/control/settings", get(show_settings).patch(change_settings))
        .route("/control/forge-callback", post(forge_callback))
        .route("/control/log", get(list_log))
        .route("/control/reset", post(reset))
}

/// A refusal: `{"error": "…"}`.
struct Problem(StatusCode, String);

impl Problem {
    fn invalid(text: impl Into<String>) -> Problem {
        Problem(StatusCode::UNPROCESSABLE_ENTITY, text.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Problem {
        Problem(rejection.status(), rejection.body_text())
    }
}

type Body<T> = Result<Json<T>, JsonRejection>;

fn number(text: &str) -> Result<String, Problem> {
    handset::normalise(text).ok_or_else(|| Problem::invalid(format!("{text:?} is no phone number")))
}

async fn list_handsets(State(sandbox): State<Sandbox>) -> Json<Value> {
    Json(handsets_json(&sandbox))
}

fn handsets_json(sandbox: &Sandbox) -> Value {
    let mut handsets = sandbox.handsets();
    let total = handsets.len();
    handsets.truncate(HANDSETS_LIMIT);
    json!({"total": total, "handsets": handsets})
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewHandset {
    msisdn: String,
    balance_minor: Option<i64>,
    pin: Option<String>,
    reachable: Option<bool>,
}

async fn make_handset(State(sandbox): State<Sandbox>, body: Body<NewHandset>) -> Result<Response, Problem> {
    let Json(new) = body?;
    let msisdn = number(&new.msisdn)?;
    let change = HandsetChange { balance_minor: new.balance_minor, pin: new.pin, reachable: new.reachable };
    let view = sandbox.change_handset(&msisdn, change).map_err(Problem::invalid)?;
    Ok((StatusCode::CREATED, Json(view)).into_response())
}

async fn show_handset(
    State(sandbox): State<Sandbox>,
    Path(msisdn): Path<String>,
) -> Result<Json<HandsetView>, Problem> {
    Ok(Json(sandbox.handset(&number(&msisdn)?)))
}

async fn change_handset(
    State(sandbox): State<Sandbox>,
    Path(msisdn): Path<String>,
    body: Body<HandsetChange>,
) -> Result<Json<HandsetView>, Problem> {
    let Json(change) = body?;
    sandbox.change_handset(&number(&msisdn)?, change).map(Json).map_err(Problem::invalid)
}

#[derive(Deserialize)]
struct MessagesQuery {
    /// Only messages with a larger id.
    after: Option<u64>,
    /// Only messages whose text contains this.
    contains: Option<String>,
    /// Waits so long for the first received message that fits.
    wait_ms: Option<u64>,
}

async fn list_messages(
    State(sandbox): State<Sandbox>,
    Path(msisdn): Path<String>,
    Query(query): Query<MessagesQuery>,
) -> Result<Json<Value>, Problem> {
    let msisdn = number(&msisdn)?;
    let after = query.after.unwrap_or(0);
    let contains = query.contains.unwrap_or_default();
    if let Some(wait_ms) = query.wait_ms {
        sandbox.wait_for_message(&msisdn, after, &contains, Duration::from_millis(wait_ms)).await;
    }
    let mut messages = sandbox.handset(&msisdn).messages;
    messages.retain(|message| message.id > after && message.text.contains(&contains));
    Ok(Json(json!({"messages": messages})))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewMessage {
    text: String,
    to: String,
}

async fn send_message(
    State(sandbox): State<Sandbox>,
    Path(msisdn): Path<String>,
    body: Body<NewMessage>,
) -> Result<Response, Problem> {
    let Json(message) = body?;
    let length = message.text.chars().count();
    if length == 0 || length > handset::MESSAGE_CHARS_MAX {
        return Err(Problem::invalid("text must have 1 to 1600 characters"));
    }
    if message.to.is_empty() || message.to.chars().count() > 20 {
        return Err(Problem::invalid("to must have 1 to 20 characters"));
    }
    let id = sandbox.send_from(&number(&msisdn)?, &message.to, &message.text);
    Ok((StatusCode::CREATED, Json(json!({"id": id}))).into_response())
}

#[derive(Deserialize)]
struct WaitQuery {
    wait_ms: Option<u64>,
}

async fn show_prompt(
    State(sandbox): State<Sandbox>,
    Path(msisdn): Path<String>,
    Query(query): Query<WaitQuery>,
) -> Result<Response, Problem> {
    let wait = Duration::from_millis(query.wait_ms.unwrap_or(0));
    match sandbox.wait_for_prompt(&number(&msisdn)?, wait).await {
        Some(prompt) => Ok(Json(prompt).into_response()),
        None => Err(Problem(StatusCode::NOT_FOUND, "no prompt is open on this handset".to_owned())),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PromptAnswer {
    pin: Option<String>,
    #[serde(default)]
    cancel: bool,
    /// Any code but 0, to try rare ones.
    result_code: Option<String>,
    result_desc: Option<String>,
}

impl PromptAnswer {
    fn reply(self) -> Result<Reply, Problem> {
        match (self.pin, self.cancel, self.result_code) {
            (Some(pin), false, None) => Ok(Reply::Pin(pin)),
            (None, true, None) => Ok(Reply::Cancel),
            (None, false, Some(code)) if code != "0" && !code.is_empty() && code.len() <= 20 => {
                let description = self.result_desc.unwrap_or_else(|| "Result given by hand".to_owned());
                Ok(Reply::Result { code, description })
            }
            _ => Err(Problem::invalid(
                "answer with exactly one of \"pin\", \"cancel\": true, or \"result_code\" other than 0",
            )),
        }
    }
}

async fn answer_prompt(
    State(sandbox): State<Sandbox>,
    Path(msisdn): Path<String>,
    body: Body<PromptAnswer>,
) -> Result<Response, Problem> {
    let Json(answer) = body?;
    match sandbox.answer(&number(&msisdn)?, answer.reply()?) {
        Some(ended) => Ok(Json(ended).into_response()),
        None => Err(Problem(StatusCode::CONFLICT, "no prompt is open on this handset".to_owned())),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PayBill {
    amount_minor: i64,
    account: String,
    pin: String,
}

async fn pay_bill(
    State(sandbox): State<Sandbox>,
    Path(msisdn): Path<String>,
    body: Body<PayBill>,
) -> Result<Response, Problem> {
    let Json(payment) = body?;
    if !(100..=PAY_MINOR_MAX).contains(&payment.amount_minor) || payment.amount_minor % 100 != 0 {
        return Err(Problem::invalid("amount_minor must be whole shillings, 1 to 250,000"));
    }
    let account = payment.account.trim();
    if account.is_empty() || account.chars().count() > 20 {
        return Err(Problem::invalid("account must have 1 to 20 characters"));
    }
    let msisdn = number(&msisdn)?;
    let result = sandbox
        .pay_bill(&msisdn, Some(&payment.pin), payment.amount_minor, TransactionType::PayBill, account)
        .await;
    match result {
        Ok(receipt) => Ok((StatusCode::CREATED, Json(json!({"receipt": receipt}))).into_response()),
        Err(
            error @ (PayBillError::WrongPin | PayBillError::InsufficientFunds | PayBillError::Refused(_)),
        ) => Err(Problem(StatusCode::CONFLICT, error.to_string())),
    }
}

async fn list_transactions(State(sandbox): State<Sandbox>) -> Json<Value> {
    Json(json!({"transactions": sandbox.transactions()}))
}

async fn list_fault_kinds() -> Json<Value> {
    Json(json!({"kinds": fault::descriptions().collect::<Vec<_>>()}))
}

fn faults_json(sandbox: &Sandbox) -> Value {
    let faults: Vec<Value> = sandbox
        .faults()
        .into_iter()
        .map(|(id, fault)| {
            json!({
                "id": id,
                "kind": fault.kind,
                "times": fault.times,
                "msisdn": fault.msisdn,
                "value": fault.value,
            })
        })
        .collect();
    json!({"faults": faults})
}

async fn list_faults(State(sandbox): State<Sandbox>) -> Json<Value> {
    Json(faults_json(&sandbox))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FaultList {
    faults: Vec<FaultRequest>,
}

async fn replace_faults(
    State(sandbox): State<Sandbox>,
    body: Body<FaultList>,
) -> Result<Json<Value>, Problem> {
    let Json(list) = body?;
    if list.faults.len() > fault::FAULTS_MAX {
        return Err(Problem::invalid("too many faults"));
    }
    let faults = list
        .faults
        .into_iter()
        .map(FaultRequest::check)
        .collect::<Result<Vec<_>, _>>()
        .map_err(Problem::invalid)?;
    sandbox.clear_faults();
    for fault in faults {
        sandbox.add_fault(fault);
    }
    Ok(Json(faults_json(&sandbox)))
}

async fn add_fault(State(sandbox): State<Sandbox>, body: Body<FaultRequest>) -> Result<Response, Problem> {
    let Json(request) = body?;
    let fault = request.check().map_err(Problem::invalid)?;
    match sandbox.add_fault(fault) {
        Some(id) => Ok((StatusCode::CREATED, Json(json!({"id": id}))).into_response()),
        None => Err(Problem::invalid("too many faults")),
    }
}

async fn clear_faults(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.clear_faults();
    StatusCode::NO_CONTENT
}

async fn remove_fault(State(sandbox): State<Sandbox>, Path(id): Path<u64>) -> Result<StatusCode, Problem> {
    if sandbox.remove_fault(id) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Problem(StatusCode::NOT_FOUND, "no such fault".to_owned()))
    }
}

async fn show_settings(State(sandbox): State<Sandbox>) -> Json<Value> {
    let config = sandbox.config();
    Json(json!({"shortcode": config.shortcode, "settings": sandbox.settings()}))
}

async fn change_settings(
    State(sandbox): State<Sandbox>,
    body: Body<SettingsChange>,
) -> Result<Response, Problem> {
    let Json(change) = body?;
    sandbox.change_settings(change).map(|settings| Json(settings).into_response()).map_err(Problem::invalid)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Forged {
    url: String,
    /// A JSON value is posted as JSON, a string as it is.
    body: Value,
    #[serde(default)]
    content_type: Option<String>,
}

async fn forge_callback(State(sandbox): State<Sandbox>, body: Body<Forged>) -> Result<Response, Problem> {
    let Json(forged) = body?;
    if !forged.url.starts_with("http://") && !forged.url.starts_with("https://") {
        return Err(Problem::invalid("url must be an http or https URL"));
    }
    let content_type = forged.content_type.as_deref().unwrap_or("application/json");
    let text = match forged.body {
        Value::String(text) => text,
        body => body.to_string(),
    };
    match sandbox.post(Flow::Forged, &forged.url, content_type, text).await {
        Ok(answer) => {
            let response = String::from_utf8_lossy(&answer.body).into_owned();
            Ok(Json(json!({"status": answer.status, "response": response})).into_response())
        }
        Err(reason) => Err(Problem(StatusCode::BAD_GATEWAY, reason)),
    }
}

#[derive(Deserialize)]
struct LogQuery {
    after: Option<u64>,
    limit: Option<usize>,
}

async fn list_log(State(sandbox): State<Sandbox>, Query(query): Query<LogQuery>) -> Json<Value> {
    let entries = sandbox.log(query.after.unwrap_or(0));
    let from = entries.len().saturating_sub(query.limit.unwrap_or(LOG_LIMIT));
    Json(json!({"entries": &entries[from..]}))
}

async fn reset(State(sandbox): State<Sandbox>) -> StatusCode {
    sandbox.reset();
    StatusCode::NO_CONTENT
}

/// A stream that sends what `version` and `view` give, now and after each change of the version.
fn events<T: Serialize>(
    sandbox: Sandbox,
    version: impl Fn(&Memory) -> u64 + Send + 'static,
    view: impl Fn(&Sandbox) -> T + Send + 'static,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = sandbox.watch();
    let stopping = sandbox.clone();
    let stream = futures_util::stream::unfold(
        (sandbox, changes, None, version, view),
        |(sandbox, mut changes, mut sent, version, view)| async move {
            loop {
                changes.borrow_and_update();
                let current = Some(sandbox.read(&version));
                if current != sent {
                    sent = current;
                    let event = Event::default().json_data(view(&sandbox)).unwrap_or_default();
                    return Some((Ok(event), (sandbox, changes, sent, version, view)));
                }
                changes.changed().await.ok()?;
                // Many changes at once become one event.
                tokio::time::sleep(COALESCE).await;
            }
        },
    );
    let until = Box::pin(async move { stopping.stopped().await });
    Sse::new(stream.take_until(until)).keep_alive(KeepAlive::default())
}

async fn list_events(State(sandbox): State<Sandbox>) -> impl IntoResponse {
    let newest = |state: &Memory| state.handsets.values().map(|handset| handset.version).max().unwrap_or(0);
    events(sandbox, newest, handsets_json)
}

async fn handset_events(
    State(sandbox): State<Sandbox>,
    Path(msisdn): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let msisdn = number(&msisdn)?;
    let watched = msisdn.clone();
    Ok(events(
        sandbox,
        move |state| state.handsets.get(&watched).map_or(0, |handset| handset.version),
        move |sandbox| sandbox.handset(&msisdn),
    ))
}

async fn fault_events(State(sandbox): State<Sandbox>) -> impl IntoResponse {
    events(sandbox, Memory::revision, |sandbox| {
        let entries = sandbox.log(0);
        let from = entries.len().saturating_sub(LOG_LIMIT);
        let mut body = faults_json(sandbox);
        body["entries"] = json!(&entries[from..]);
        body
    })
}
