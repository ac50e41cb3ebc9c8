//! Africa's Talking: sending, delivery reports, messages from handsets.

use crate::fault::{FaultKind, HANG};
use crate::handset::{self, Direction, Held};
use crate::state::Sandbox;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use jiff::Timestamp;
use serde_json::json;
use std::time::Duration;
use wire::africastalking::{DeliveryReport, DeliveryStatus, Inbound, MESSAGING_PATH, Message, status_word};

/// Sender that Africa's Talking shows when an account names none.
const SENDER_DEFAULT: &str = "AFRICASTKNG";
/// What one part costs, in ten-thousandths of a shilling.
const COST_PER_PART: usize = 8_000;
/// Safaricom's mobile network code.
const NETWORK_CODE: &str = "63902";

pub(crate) fn router() -> Router<Sandbox> {
    Router::new().route(MESSAGING_PATH, post(send))
}

/// One recipient's line in the answer.
struct Line {
    number: String,
    status_code: u16,
    cost: String,
    message_id: String,
}

async fn send(State(sandbox): State<Sandbox>, headers: HeaderMap, body: Bytes) -> Response {
    let config = sandbox.config();
    let key = headers.get("apikey").and_then(|value| value.to_str().ok());
    let message = match Message::parse(&body) {
        Ok(message) => message,
        Err(field) => {
            let text = format!("Request is missing required form field '{field}'");
            return (StatusCode::BAD_REQUEST, text).into_response();
        }
    };
    if key != Some(&config.sms_api_key) || message.username != config.sms_username {
        return (StatusCode::UNAUTHORIZED, "The supplied authentication is invalid").into_response();
    }
    let first = message.to.first().and_then(|number| handset::normalise(number));
    if sandbox.fault(FaultKind::SmsHttp500, first.as_deref()).is_some() {
        return (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error").into_response();
    }
    let json = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json"));
    if sandbox.fault(FaultKind::SmsEmptyRecipients, first.as_deref()).is_some() {
        return answer("InvalidSenderId", &[], json);
    }
    let from = message.from.as_deref().unwrap_or(SENDER_DEFAULT);
    let parts = wire::sms::segments(&message.text).parts.len();
    let lines: Vec<Line> =
        message.to.iter().map(|number| accept(&sandbox, from, number, &message.text, parts)).collect();
    if sandbox.fault(FaultKind::SmsTimeoutAfterAccept, first.as_deref()).is_some() {
        sandbox.pause(HANG).await;
        return StatusCode::GATEWAY_TIMEOUT.into_response();
    }
    let sent = lines.iter().filter(|line| line.status_code < 400).count();
    let total = format!("Sent to {sent}/{} Total Cost: {}", lines.len(), cost(sent * parts * COST_PER_PART));
    answer(&total, &lines, json)
}

fn accept(sandbox: &Sandbox, from: &str, number: &str, text: &str, parts: usize) -> Line {
    let refused = |status_code| Line {
        number: number.to_owned(),
        status_code,
        cost: "0".to_owned(),
        message_id: "None".to_owned(),
    };
    let Some(msisdn) = handset::normalise(number).filter(|_| !number.starts_with('0')) else {
        return refused(403);
    };
    if let Some(fault) = sandbox.fault(FaultKind::SmsRefuse, Some(&msisdn)) {
        return refused(u16::try_from(fault.number()).unwrap_or(407));
    }
    let message_id = format!("ATXid_{}", uuid::Uuid::new_v4().simple());
    let line = Line {
        number: format!("+{msisdn}"),
        status_code: 101,
        cost: cost(parts * COST_PER_PART),
        message_id: message_id.clone(),
    };
    let text: String = text.chars().take(handset::MESSAGE_CHARS_MAX).collect();
    let (task, from) = (sandbox.clone(), from.to_owned());
    if sandbox.spawn(async move { task.carry(msisdn, from, text, message_id).await }) {
        line
    } else {
        refused(501)
    }
}

fn cost(ten_thousandths: usize) -> String {
    format!("KES {}.{:04}", ten_thousandths / 10_000, ten_thousandths % 10_000)
}

/// JSON where the client asks for it, else XML as the real service.
fn answer(message: &str, lines: &[Line], json: bool) -> Response {
    if json {
        let recipients: Vec<_> = lines
            .iter()
            .map(|line| {
                json!({
                    "statusCode": line.status_code,
                    "number": line.number,
                    "status": status_word(line.status_code),
                    "cost": line.cost,
                    "messageId": line.message_id,
                })
            })
            .collect();
        let body = json!({"SMSMessageData": {"Message": message, "Recipients": recipients}});
        return (StatusCode::CREATED, axum::Json(body)).into_response();
    }
    let recipients: String = lines
        .iter()
        .map(|line| {
            format!(
                "<Recipient><number>{}</number><cost>{}</cost><status>{}</status><statusCode>{}</statusCode><messageId>{}</messageId></Recipient>",
                xml(&line.number), line.cost, status_word(line.status_code), line.status_code, line.message_id
            )
        })
        .collect();
    let body = format!(
        "<AfricasTalkingResponse><SMSMessageData><Message>{message}</Message><Recipients>{recipients}</Recipients></SMSMessageData></AfricasTalkingResponse>"
    );
    (StatusCode::CREATED, [(header::CONTENT_TYPE, "application/xml")], body).into_response()
}

/// A number as sent may be anything.
fn xml(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Sandbox {
    /// Brings an accepted message to its handset and reports.
    async fn carry(&self, msisdn: String, from: String, text: String, message_id: String) {
        let fault = |kind| self.fault(kind, Some(&msisdn));
        let mut pause_ms = self.read(|state| state.settings.processing_ms);
        if let Some(delay) = fault(FaultKind::SmsDelay) {
            pause_ms += delay.number().unsigned_abs();
        }
        if !self.pause(Duration::from_millis(pause_ms)).await {
            return;
        }
        if let Some(failed) = fault(FaultKind::ReportFailed) {
            let reason = failed.value.unwrap_or_default();
            self.report(&msisdn, &message_id, DeliveryStatus::Sent, "").await;
            self.report(&msisdn, &message_id, DeliveryStatus::Failed, &reason).await;
            return;
        }
        let lost = fault(FaultKind::ReportLost).is_some();
        let arrived = self.change(|state| {
            let handset = state.handset(&msisdn);
            if handset.reachable {
                state.message(&msisdn, Direction::Received, &from, &text);
                return true;
            }
            handset.hold(Held { from, text, message_id: (!lost).then(|| message_id.clone()) });
            false
        });
        if lost {
            return;
        }
        if !arrived {
            self.report(&msisdn, &message_id, DeliveryStatus::Sent, "").await;
            self.report(&msisdn, &message_id, DeliveryStatus::Buffered, "").await;
            return;
        }
        if fault(FaultKind::ReportOutOfOrder).is_some() {
            self.report_success(&msisdn, &message_id).await;
            self.report(&msisdn, &message_id, DeliveryStatus::Sent, "").await;
        } else {
            self.report(&msisdn, &message_id, DeliveryStatus::Sent, "").await;
            self.report_success(&msisdn, &message_id).await;
        }
    }

    pub(crate) async fn report_success(&self, msisdn: &str, message_id: &str) {
        let again = self.fault(FaultKind::ReportDuplicate, Some(msisdn));
        let copies = 1 + again.map_or(0, |fault| fault.number().max(0));
        for _ in 0..copies {
            self.report(msisdn, message_id, DeliveryStatus::Success, "").await;
        }
    }

    async fn report(&self, msisdn: &str, message_id: &str, status: DeliveryStatus, reason: &str) {
        let Some(url) = self.read(|state| state.settings.sms_report_url.clone()) else { return };
        let report = DeliveryReport {
            message_id: message_id.to_owned(),
            status,
            phone_number: format!("+{msisdn}"),
            network_code: NETWORK_CODE.to_owned(),
            failure_reason: reason.to_owned(),
            retry_count: 0,
        };
        // The answer is in the log.
        let _ = self.post_form(&url, report.to_form()).await;
    }

    /// Sends a message from the handset to a short code. Returns its id; it is posted where
    /// `sms_inbound_url` says.
    pub fn send_from(&self, msisdn: &str, to: &str, text: &str) -> u64 {
        let id = self.change(|state| state.message(msisdn, Direction::Sent, to, text));
        if let Some(url) = self.read(|state| state.settings.sms_inbound_url.clone()) {
            let inbound = Inbound {
                id: uuid::Uuid::new_v4().to_string(),
                from: format!("+{msisdn}"),
                to: to.to_owned(),
                text: text.to_owned(),
                date: Timestamp::now().strftime("%Y-%m-%d %H:%M:%S").to_string(),
                link_id: String::new(),
            };
            let sandbox = self.clone();
            self.spawn(async move {
                let _ = sandbox.post_form(&url, inbound.to_form()).await;
            });
        }
        id
    }
}
