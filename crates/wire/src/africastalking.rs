//! Africa's Talking SMS: sending, delivery reports, inbound messages.
//!
//! Sending is a form POST with an `apiKey` header; callers also send `Accept: application/json`,
//! because the default answer may be XML. Callbacks are unsigned form POSTs: put a secret into their path.

use crate::form::{self, Form};
use crate::json;
use crate::money;
use serde_json::Value;

/// Africa's Talking's host for tests; its user name is `sandbox`.
pub const SANDBOX_BASE: &str = "https://api.sandbox.africastalking.com";
/// Africa's Talking's host for real messages.
pub const PRODUCTION_BASE: &str = "https://api.africastalking.com";
/// POST, sends a message.
pub const MESSAGING_PATH: &str = "/version1/messaging";

/// Recipients in one request that are encoded or read.
pub const RECIPIENTS_MAX: usize = 1_000;
/// Characters of a provider's text that are kept.
const TEXT_CHARS_MAX: usize = 300;
/// Decimal places in which costs are kept: `KES 0.8000`.
const COST_SCALE: u32 = 4;

/// A message to send.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The account's user name.
    pub username: String,
    /// Recipients in E.164 with plus sign.
    pub to: Vec<String>,
    /// The text.
    pub text: String,
    /// Sender id or short code; `None` for the account's default.
    pub from: Option<String>,
}

impl Message {
    /// The form body. `enqueue=1` makes the provider accept at once and send later; `bulkSMSMode=1`
    /// bills the sender.
    pub fn to_form(&self) -> String {
        let to = self.to.join(",");
        form::encode(&[
            ("username", Some(&self.username)),
            ("to", Some(&to)),
            ("message", Some(&self.text)),
            ("from", self.from.as_deref()),
            ("bulkSMSMode", Some("1")),
            ("enqueue", Some("1")),
        ])
    }

    /// Reads a form body as the provider does.
    ///
    /// Errors: the name of the first missing field.
    pub fn parse(body: &[u8]) -> Result<Message, &'static str> {
        let form = Form::parse(body);
        let to = form.get("to").ok_or("to")?;
        Ok(Message {
            username: form.get("username").ok_or("username")?,
            to: to
                .split(',')
                .map(str::trim)
                .filter(|number| !number.is_empty())
                .take(RECIPIENTS_MAX)
                .map(str::to_owned)
                .collect(),
            text: form.raw("message").filter(|text| !text.is_empty()).ok_or("message")?.to_owned(),
            from: form.get("from"),
        })
    }
}

/// Hides recipients and text.
impl std::fmt::Debug for Message {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Message({} recipients, {} bytes)", self.to.len(), self.text.len())
    }
}

/// What a message cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// ISO 4217 code, empty when the provider named none (it writes a bare `0` for refused messages).
    pub currency: String,
    /// Ten-thousandths of the currency's unit: `KES 0.8000` is 8000.
    pub ten_thousandths: i64,
}

impl Cost {
    /// Reads `KES 0.8000` or `0`.
    pub fn parse(text: &str) -> Option<Cost> {
        let text = text.trim();
        let (currency, amount) = text.rsplit_once(' ').unwrap_or(("", text));
        if currency.len() > 3 {
            return None;
        }
        Some(Cost { currency: currency.to_owned(), ten_thousandths: money::scaled(amount, COST_SCALE)? })
    }
}

/// What a recipient's status code means to a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendClass {
    /// 100 to 102: on its way.
    Accepted,
    /// 500, 501: the gateway failed, send again later.
    RetryLater,
    /// 405: the account is empty, send again after a top-up.
    TopUpNeeded,
    /// 403, 404: the number is wrong or of a kind that takes no SMS.
    BadNumber,
    /// 406, 409: the person has opted out.
    OptedOut,
    /// 401, 402, 407, 502 and unknown codes: sending again cannot help.
    Refused,
}

/// One recipient in the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// As the provider wrote it.
    pub number: String,
    /// See [Recipient::class].
    pub status_code: u16,
    /// The provider's word, such as `Success` or `InvalidPhoneNumber`.
    pub status: String,
    /// `None` when it cannot be read.
    pub cost: Option<Cost>,
    /// Names the message in delivery reports; `None` for refused ones (`"None"` on the wire).
    pub message_id: Option<String>,
}

impl Recipient {
    /// What to do.
    pub fn class(&self) -> SendClass {
        match self.status_code {
            100..=102 => SendClass::Accepted,
            500 | 501 => SendClass::RetryLater,
            405 => SendClass::TopUpNeeded,
            403 | 404 => SendClass::BadNumber,
            406 | 409 => SendClass::OptedOut,
            _ => SendClass::Refused,
        }
    }
}

/// The provider's word for a status code, empty for an unknown one.
pub fn status_word(status_code: u16) -> &'static str {
    match status_code {
        100..=102 => "Success",
        401 => "RiskHold",
        402 => "InvalidSenderId",
        403 => "InvalidPhoneNumber",
        404 => "UnsupportedNumberType",
        405 => "InsufficientBalance",
        406 => "UserInBlacklist",
        407 => "CouldNotRoute",
        409 => "DoNotDisturbRejection",
        500 => "InternalServerError",
        501 => "GatewayError",
        502 => "RejectedByGateway",
        _ => "",
    }
}

/// Why no message was sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// HTTP 401 or 403: user name or API key are wrong.
    #[error("Africa's Talking refused the user name or API key")]
    Credentials,
    /// HTTP 4xx, or HTTP 201 without recipients: the whole request is wrong (`InvalidSenderId` …).
    #[error("Africa's Talking refused the request: {0}")]
    Refused(String),
    /// HTTP 5xx or 429: send again later. It is not certain that nothing was sent.
    #[error("Africa's Talking failed with HTTP {0}")]
    Unavailable(u16),
    /// 2xx, but not the documented JSON: the messages may have been sent.
    #[error("Africa's Talking gave an answer that cannot be read (HTTP {0})")]
    Unreadable(u16),
}

impl SendError {
    /// Whether sending the same request again later can help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, SendError::Unavailable(_))
    }
}

/// Reads the answer of [MESSAGING_PATH]: at least one recipient, in the provider's order.
///
/// Errors: [SendError].
pub fn parse_send(status: u16, body: &[u8]) -> Result<Vec<Recipient>, SendError> {
    match status {
        200..300 => {}
        401 | 403 => return Err(SendError::Credentials),
        429 | 500.. => return Err(SendError::Unavailable(status)),
        _ => {
            let text = String::from_utf8_lossy(&body[..body.len().min(4 * TEXT_CHARS_MAX)]);
            return Err(SendError::Refused(json::shortened(text.trim(), TEXT_CHARS_MAX)));
        }
    }
    let map = json::object(body).ok_or(SendError::Unreadable(status))?;
    let data = map.get("SMSMessageData").and_then(Value::as_object).ok_or(SendError::Unreadable(status))?;
    let recipients = data.get("Recipients").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if recipients.is_empty() {
        let message = json::field(data, &["Message"]).unwrap_or_default();
        return Err(SendError::Refused(json::shortened(&message, TEXT_CHARS_MAX)));
    }
    recipients
        .iter()
        .take(RECIPIENTS_MAX)
        .map(|recipient| {
            let map = recipient.as_object()?;
            Some(Recipient {
                number: json::field(map, &["number"])?,
                status_code: json::field(map, &["statusCode"])?.parse().ok()?,
                status: json::shortened(&json::field(map, &["status"]).unwrap_or_default(), TEXT_CHARS_MAX),
                cost: json::field(map, &["cost"]).and_then(|text| Cost::parse(&text)),
                message_id: json::field(map, &["messageId"])
                    .filter(|id| !id.is_empty() && id != "None" && id.len() <= TEXT_CHARS_MAX),
            })
        })
        .collect::<Option<Vec<_>>>()
        .ok_or(SendError::Unreadable(status))
}

/// Where a sent message is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryStatus {
    /// Handed to the network.
    Submitted,
    /// Sent by the network.
    Sent,
    /// Waiting for the handset.
    Buffered,
    /// On the handset. Final.
    Success,
    /// Not delivered. Final.
    Failed,
    /// Refused by the network. Final.
    Rejected,
    /// Any other word, as sent.
    Other(String),
}

impl DeliveryStatus {
    /// Reads the provider's word.
    pub fn parse(text: &str) -> DeliveryStatus {
        match text {
            "Submitted" => DeliveryStatus::Submitted,
            "Sent" => DeliveryStatus::Sent,
            "Buffered" => DeliveryStatus::Buffered,
            "Success" => DeliveryStatus::Success,
            "Failed" => DeliveryStatus::Failed,
            "Rejected" => DeliveryStatus::Rejected,
            other => DeliveryStatus::Other(json::shortened(other, TEXT_CHARS_MAX)),
        }
    }

    /// The provider's word.
    pub fn as_str(&self) -> &str {
        match self {
            DeliveryStatus::Submitted => "Submitted",
            DeliveryStatus::Sent => "Sent",
            DeliveryStatus::Buffered => "Buffered",
            DeliveryStatus::Success => "Success",
            DeliveryStatus::Failed => "Failed",
            DeliveryStatus::Rejected => "Rejected",
            DeliveryStatus::Other(word) => word,
        }
    }

    /// Whether nothing but a late success can follow.
    pub fn is_final(&self) -> bool {
        self.rank() >= 4
    }

    fn rank(&self) -> u8 {
        match self {
            DeliveryStatus::Other(_) => 0,
            DeliveryStatus::Submitted => 1,
            DeliveryStatus::Sent => 2,
            DeliveryStatus::Buffered => 3,
            DeliveryStatus::Rejected => 4,
            DeliveryStatus::Failed => 5,
            DeliveryStatus::Success => 6,
        }
    }

    /// Whether a report of `self` replaces `known`. Reports arrive late, twice and out of order, so a
    /// final state is never taken back; success outranks failure, because a handset that has the
    /// message has it.
    pub fn supersedes(&self, known: &DeliveryStatus) -> bool {
        self.rank() > known.rank()
    }
}

/// A delivery report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryReport {
    /// The `messageId` of the answer to sending.
    pub message_id: String,
    /// Where the message is.
    pub status: DeliveryStatus,
    /// Recipient, maybe empty.
    pub phone_number: String,
    /// Mobile network code, maybe empty.
    pub network_code: String,
    /// Why it failed, maybe empty.
    pub failure_reason: String,
    /// How often the network tried.
    pub retry_count: u32,
}

impl DeliveryReport {
    /// Reads a callback's form body. Errors: the name of the missing field.
    pub fn parse(body: &[u8]) -> Result<DeliveryReport, &'static str> {
        let form = Form::parse(body);
        let text = |name: &str| json::shortened(&form.get(name).unwrap_or_default(), TEXT_CHARS_MAX);
        Ok(DeliveryReport {
            message_id: form.get("id").filter(|id| id.len() <= TEXT_CHARS_MAX).ok_or("id")?,
            status: DeliveryStatus::parse(&form.get("status").ok_or("status")?),
            phone_number: text("phoneNumber"),
            network_code: text("networkCode"),
            failure_reason: text("failureReason"),
            retry_count: form.get("retryCount").and_then(|count| count.parse().ok()).unwrap_or(0),
        })
    }

    /// The form body as the provider posts it.
    pub fn to_form(&self) -> String {
        let present = |text: &str| !text.is_empty();
        form::encode(&[
            ("id", Some(&self.message_id)),
            ("status", Some(self.status.as_str())),
            ("phoneNumber", Some(&self.phone_number)),
            ("networkCode", Some(&self.network_code)),
            ("failureReason", Some(self.failure_reason.as_str()).filter(|text| present(text))),
            ("retryCount", Some(&self.retry_count.to_string())),
        ])
    }
}

/// A message from a handset to our short code.
#[derive(Clone, PartialEq, Eq)]
pub struct Inbound {
    /// The provider's id of the message: duplicates have the same one.
    pub id: String,
    /// Sender's number.
    pub from: String,
    /// Our short code or sender id, maybe empty.
    pub to: String,
    /// The text as sent, maybe empty.
    pub text: String,
    /// As the provider wrote it, maybe empty.
    pub date: String,
    /// For answers on premium codes, maybe empty.
    pub link_id: String,
}

/// Hides number and text.
impl std::fmt::Debug for Inbound {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Inbound({:?}, {} bytes)", self.id, self.text.len())
    }
}

impl Inbound {
    /// Reads a callback's form body. Errors: the name of the missing field.
    pub fn parse(body: &[u8]) -> Result<Inbound, &'static str> {
        let form = Form::parse(body);
        let text = |name: &str| json::shortened(&form.get(name).unwrap_or_default(), TEXT_CHARS_MAX);
        Ok(Inbound {
            id: form.get("id").filter(|id| id.len() <= TEXT_CHARS_MAX).ok_or("id")?,
            from: form.get("from").filter(|from| from.len() <= TEXT_CHARS_MAX).ok_or("from")?,
            to: text("to"),
            text: form.raw("text").ok_or("text")?.to_owned(),
            date: text("date"),
            link_id: text("linkId"),
        })
    }

    /// The form body as the provider posts it.
    pub fn to_form(&self) -> String {
        form::encode(&[
            ("linkId", Some(&self.link_id)),
            ("text", Some(&self.text)),
            ("to", Some(&self.to)),
            ("id", Some(&self.id)),
            ("date", Some(&self.date)),
            ("from", Some(&self.from)),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(recipients: &str) -> String {
        format!(
            r#"{{"SMSMessageData":{{"Message":"Sent to 1/1 Total Cost: KES 0.8000","Recipients":[{recipients}]}}}}"#
        )
    }

    #[test]
    fn an_accepted_message_names_id_and_cost() {
        let body = answer(
            r#"{"statusCode":101,"number":"+254711222333","status":"Success","cost":"KES 0.8000","messageId":"ATPid_1"}"#,
        );
        let recipients = parse_send(201, body.as_bytes()).unwrap();
        assert_eq!(recipients.len(), 1);
        assert_eq!(recipients[0].class(), SendClass::Accepted);
        assert_eq!(recipients[0].message_id.as_deref(), Some("ATPid_1"));
        assert_eq!(recipients[0].cost, Some(Cost { currency: "KES".into(), ten_thousandths: 8000 }));
    }

    #[test]
    fn status_codes_say_what_to_do() {
        for (code, class) in [
            ("100", SendClass::Accepted),
            ("\"102\"", SendClass::Accepted),
            ("401", SendClass::Refused),
            ("402", SendClass::Refused),
            ("403", SendClass::BadNumber),
            ("404", SendClass::BadNumber),
            ("405", SendClass::TopUpNeeded),
            ("406", SendClass::OptedOut),
            ("407", SendClass::Refused),
            ("409", SendClass::OptedOut),
            ("500", SendClass::RetryLater),
            ("501", SendClass::RetryLater),
            ("502", SendClass::Refused),
            ("999", SendClass::Refused),
        ] {
            let body = answer(&format!(
                r#"{{"number":"+254711222333","statusCode":{code},"cost":"0","messageId":"None"}}"#
            ));
            let recipients = parse_send(201, body.as_bytes()).unwrap();
            assert_eq!(recipients[0].class(), class, "{code}");
            assert_eq!(recipients[0].message_id, None);
            assert_eq!(recipients[0].cost, Some(Cost { currency: String::new(), ten_thousandths: 0 }));
        }
    }

    #[test]
    fn failures_are_told_apart() {
        let empty = r#"{"SMSMessageData":{"Message":"InvalidSenderId","Recipients":[]}}"#;
        let refused = |text: &str| SendError::Refused(text.to_owned());
        for (status, body, expected) in [
            (201, empty, refused("InvalidSenderId")),
            (201, r#"{"SMSMessageData":{"Message":"x"}}"#, refused("x")),
            (201, "<xml/>", SendError::Unreadable(201)),
            (200, "", SendError::Unreadable(200)),
            (200, "[]", SendError::Unreadable(200)),
            (201, &answer(r#"{"number":"+254711222333"}"#), SendError::Unreadable(201)),
            (201, &answer("1"), SendError::Unreadable(201)),
            (401, "The supplied authentication is invalid", SendError::Credentials),
            (
                400,
                " Request is missing required form field 'to' ",
                refused("Request is missing required form field 'to'"),
            ),
            (302, "", refused("")),
            (429, "", SendError::Unavailable(429)),
            (500, "oops", SendError::Unavailable(500)),
            (503, "", SendError::Unavailable(503)),
        ] {
            assert_eq!(parse_send(status, body.as_bytes()), Err(expected), "{status} {body}");
        }
    }

    #[test]
    fn reports_and_inbound_messages_are_read() {
        let report = DeliveryReport::parse(
            b"id=ATPid_1&status=Failed&phoneNumber=%2B254711222333&networkCode=63902&failureReason=UserInBlacklist&retryCount=2",
        )
        .unwrap();
        assert_eq!(report.status, DeliveryStatus::Failed);
        assert_eq!((report.failure_reason.as_str(), report.retry_count), ("UserInBlacklist", 2));
        assert_eq!(report.phone_number, "+254711222333");
        assert_eq!(DeliveryReport::parse(b"status=Sent"), Err("id"));
        assert_eq!(DeliveryReport::parse(b"id=1&status="), Err("status"));
        let odd = DeliveryReport::parse(b"id=1&status=AbsentSubscriber&retryCount=x").unwrap();
        assert_eq!(odd.status, DeliveryStatus::Other("AbsentSubscriber".into()));
        let inbound =
            Inbound::parse("from=%2B254711222333&to=22131&text=%20NDIYO%20%C3%A9&id=9&linkId=".as_bytes())
                .unwrap();
        assert_eq!((inbound.text.as_str(), inbound.to.as_str()), (" NDIYO é", "22131"));
        assert_eq!(Inbound::parse(b"from=1&id=2"), Err("text"));
        assert!(!format!("{inbound:?}").contains("254"));
    }

    #[test]
    fn delivery_state_does_not_depend_on_order() {
        let states = ["Sent", "Success", "Buffered", "Failed", "Whatever", "Submitted", "Rejected"];
        for start in 0..states.len() {
            let mut known = DeliveryStatus::Other(String::new());
            for offset in 0..states.len() {
                let next = DeliveryStatus::parse(states[(start + offset) % states.len()]);
                if next.supersedes(&known) {
                    known = next;
                }
            }
            assert_eq!(known, DeliveryStatus::Success);
        }
        assert!(!DeliveryStatus::Success.supersedes(&DeliveryStatus::Success));
        assert!(DeliveryStatus::Rejected.is_final() && !DeliveryStatus::Buffered.is_final());
    }

    proptest! {
        #[test]
        fn parsers_never_panic(status in any::<u16>(), body in any::<Vec<u8>>(), text in ".*") {
            let _ = parse_send(status, &body);
            let _ = parse_send(201, answer(&text).as_bytes());
            let _ = DeliveryReport::parse(&body);
            let _ = Inbound::parse(&body);
            let _ = Message::parse(&body);
            let _ = Cost::parse(&text);
        }

        #[test]
        fn messages_round_trip(text in "(?s).{1,400}", to in prop::collection::vec("\\+[0-9]{9,14}", 1..5)) {
            let message = Message { username: "uzima".into(), to, text, from: Some("UZIMA".into()) };
            prop_assert_eq!(Message::parse(message.to_form().as_bytes()), Ok(message));
        }

        #[test]
        fn inbound_round_trips(text in "(?s).{0,400}") {
            let inbound = Inbound {
                id: "1".into(),
                from: "+254711222333".into(),
                to: "22131".into(),
                text,
                date: "2026-11-21 22:00:00".into(),
                link_id: String::new(),
            };
            prop_assert_eq!(Inbound::parse(inbound.to_form().as_bytes()), Ok(inbound));
        }
    }
}
