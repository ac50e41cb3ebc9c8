//! Text messages: what the record queued goes to Africa's Talking, delivery reports come back.
//!
//! A message is leased, sent outside of any transaction, and its result reported under the lease's token. A worker
//! that dies between sending and reporting loses its lease, and the message is sent again: a second SMS is the lesser
//! harm than a missing code or reminder.

use jiff::Timestamp;
use parking_lot::Mutex;
use record::{Error, Record};
use std::time::Duration;
use store::message::{Message, Sent, State};
use wire::africastalking::{self, DeliveryReport, DeliveryStatus, SendClass};

const TIMEOUT: Duration = Duration::from_secs(15);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 256 * 1024;
/// Messages sent at once.
const ROUND: u32 = 16;
/// Longer than any call may take, so that a living worker never loses its lease.
const LEASE_MS: i64 = 60_000;
const RETRY_MS: i64 = 5_000;
const TOP_UP_RETRY_MS: i64 = 10 * 60_000;

/// How Africa's Talking is reached. Debug output hides the key.
#[derive(Clone)]
pub struct Config {
    /// e.g. `https://api.africastalking.com`
    pub base_url: String,
    pub username: String,
    pub api_key: String,
    /// Sender id or short code; empty: the provider's own.
    pub sender: String,
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("sms::Config").field("base_url", &self.base_url).finish_non_exhaustive()
    }
}

/// What the administrator sees of the connection.
#[derive(Debug, Clone, Default)]
pub struct Health {
    pub last_ok: Option<Timestamp>,
    pub last_error: Option<(Timestamp, String)>,
}

/// The way out for text messages.
pub struct Sms {
    config: Config,
    http: reqwest::Client,
    health: Mutex<Health>,
}

impl Sms {
    /// Errors: the TLS backend cannot be made.
    pub fn new(config: Config) -> Result<Sms, Error> {
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|e| Error::Internal(format!("HTTP client for SMS: {e}")))?;
        Ok(Sms { config, http, health: Default::default() })
    }

    pub fn health(&self) -> Health {
        self.health.lock().clone()
    }

    /// Sends what is due, up to 16 messages. Returns how many were tried; 16 means that there may be more.
    /// Errors: the database; a provider's failure is the message's own state.
    pub async fn round(self: &std::sync::Arc<Self>, record: &Record) -> Result<usize, Error> {
        let store = record.store();
        let due = store.write(|tx| store::message::lease(tx, ROUND, LEASE_MS)).await?;
        let count = due.len();
        let mut sending = tokio::task::JoinSet::new();
        for message in due {
            let sms = self.clone();
            sending.spawn(async move {
                let result = sms.send(&message).await;
                (message, result)
            });
        }
        while let Some(done) = sending.join_next().await {
            let Ok((message, result)) = done else { continue };
            self.note(&result, record.now());
            let (id, token) = (message.id, message.token);
            store.write(move |tx| store::message::report(tx, &id, token, &result)).await?;
        }
        Ok(count)
    }

    async fn send(&self, message: &Message) -> Sent {
        let form = africastalking::Message {
            username: self.config.username.clone(),
            to: vec![message.to.clone()],
            text: message.body.clone(),
            from: Some(self.config.sender.clone()).filter(|s| !s.is_empty()),
        };
        let request = self
            .http
            .post(format!("{}{}", self.config.base_url, africastalking::MESSAGING_PATH))
            .header("apiKey", &self.config.api_key)
            .header("Accept", "application/json")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form.to_form());
        let (status, body) = match answer(request).await {
            Ok(answer) => answer,
            Err(text) => return Sent::Retry { after_ms: RETRY_MS, error: text.into() },
        };
        let recipients = match africastalking::parse_send(status, &body) {
            Ok(recipients) => recipients,
            Err(error) if error.is_retryable() => {
                return Sent::Retry { after_ms: RETRY_MS, error: error.to_string() };
            }
            Err(error) => return Sent::Failed { error: error.to_string() },
        };
        let Some(recipient) = recipients.into_iter().next() else {
            return Sent::Failed { error: "the provider named no recipient".into() };
        };
        match recipient.class() {
            SendClass::Accepted => {
                Sent::Accepted { provider_id: recipient.message_id, cost: recipient.cost.map(|c| cost(&c)) }
            }
            SendClass::RetryLater => Sent::Retry { after_ms: RETRY_MS, error: recipient.status },
            SendClass::TopUpNeeded => Sent::Retry { after_ms: TOP_UP_RETRY_MS, error: recipient.status },
            SendClass::BadNumber | SendClass::OptedOut | SendClass::Refused => {
                Sent::Failed { error: recipient.status }
            }
        }
    }

    fn note(&self, result: &Sent, now: Timestamp) {
        let mut health = self.health.lock();
        match result {
            Sent::Accepted { .. } => health.last_ok = Some(now),
            Sent::Retry { error, .. } | Sent::Failed { error } => {
                health.last_error = Some((now, error.clone()))
            }
        }
    }
}

/// Takes in a delivery report (form body). Reports may come in any order, twice, or before the answer to the send.
/// Errors: `Malformed` for a body that is no report; the database.
pub async fn receive_report(record: &Record, body: &[u8]) -> Result<(), Error> {
    let report = DeliveryReport::parse(body).map_err(|field| {
        let text = format!("The report has no valid `{field}`.");
        Error::Malformed(fhir::Outcome::one(fhir::IssueCode::Value, field, text))
    })?;
    let state = match report.status {
        DeliveryStatus::Success => State::Delivered,
        DeliveryStatus::Failed | DeliveryStatus::Rejected => State::Failed,
        // On its way: `sent` is what we know already.
        DeliveryStatus::Submitted
        | DeliveryStatus::Sent
        | DeliveryStatus::Buffered
        | DeliveryStatus::Other(_) => {
            return Ok(());
        }
    };
    let reason = Some(report.failure_reason).filter(|r| !r.is_empty());
    let id = report.message_id;
    record.store().write(move |tx| store::message::delivery(tx, &id, state, reason.as_deref())).await?;
    Ok(())
}

fn cost(cost: &africastalking::Cost) -> String {
    format!("{} {}.{:04}", cost.currency, cost.ten_thousandths / 10_000, cost.ten_thousandths % 10_000)
}

/// Status and at most [ANSWER_MAX] bytes.
async fn answer(request: reqwest::RequestBuilder) -> Result<(u16, Vec<u8>), &'static str> {
    let mut response = request.send().await.map_err(|_| "the SMS provider cannot be reached")?;
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| "the SMS provider's answer broke off")? {
        if bytes.len() + chunk.len() > ANSWER_MAX {
            break;
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok((response.status().as_u16(), bytes))
}
