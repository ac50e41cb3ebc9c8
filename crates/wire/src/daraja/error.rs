//! Daraja's error body `{requestId, errorCode, errorMessage}`, and the bodies that are none.

use crate::json;
use serde_json::{Value, json};

/// Characters of an error text that are kept.
const MESSAGE_CHARS_MAX: usize = 300;

/// Which call an error answers: one code means different things at different endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// `/oauth/v1/generate`.
    Token,
    /// `/mpesa/stkpush/v1/processrequest`.
    StkPush,
    /// `/mpesa/stkpushquery/v1/query`.
    StkQuery,
    /// `/mpesa/c2b/…/registerurl`.
    C2bRegister,
    /// `/mpesa/c2b/…/simulate`.
    C2bSimulate,
}

/// What went wrong, as far as a caller can act on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorKind {
    /// The bearer token is unknown or has expired.
    InvalidToken,
    /// Consumer key, secret, shortcode or passkey are wrong.
    WrongCredentials,
    /// The subscriber has another prompt or transaction open.
    SubscriberBusy,
    /// A query came before the payment ended. Not an error of the payment.
    StillProcessing,
    /// A field was refused; the text names it.
    BadRequest,
    /// Spike arrest or a busy system.
    SystemBusy,
    /// The quota is used up, or HTTP 429.
    Throttled,
    /// C2B URLs are registered already.
    AlreadyRegistered,
    /// Wrong path or method.
    NotFound,
    /// HTTP 2xx, but a `ResponseCode` other than 0: the request was understood and refused.
    Refused,
    /// Daraja says that it failed inside.
    Internal,
    /// Neither a known success nor an error body: an empty body, HTML of a gateway, cut-off JSON.
    Unreadable,
}

/// What a caller should do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Fetch a new token once and send the same request again.
    RefreshToken,
    /// Send again later, with back-off: this request had no effect.
    RetryLater,
    /// Nobody knows whether it took effect: never send again blindly, find out by callback, query or
    /// account reference.
    Reconcile,
    /// Sending again cannot help: configuration or input must change.
    GiveUp,
}

/// A failed call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("Daraja {endpoint:?} answered HTTP {status}: {kind:?} {code} {message}")]
pub struct ApiError {
    /// Which call failed.
    pub endpoint: Endpoint,
    /// HTTP status.
    pub status: u16,
    /// What the caller can act on.
    pub kind: ErrorKind,
    /// `errorCode` or `ResponseCode` as sent, empty when there was none.
    pub code: String,
    /// `errorMessage` or `ResponseDescription` as sent, at most 300 characters, maybe empty.
    pub message: String,
    /// `requestId` for Safaricom's support, maybe empty.
    pub request_id: String,
}

impl ApiError {
    /// Reads any body that came with an HTTP status other than 2xx. Never fails: what cannot be read is
    /// classified by the status alone.
    pub fn parse(endpoint: Endpoint, status: u16, body: &[u8]) -> ApiError {
        let map = json::object(body).unwrap_or_default();
        let code = json::field(&map, &["errorCode", "ResponseCode", "fault_code"]).unwrap_or_default();
        let message = json::field(&map, &["errorMessage", "ResponseDescription"]).unwrap_or_default();
        let request_id = json::field(&map, &["requestId", "RequestId"]).unwrap_or_default();
        let kind = classify(endpoint, status, &code, &message);
        ApiError {
            endpoint,
            status,
            kind,
            code: json::shortened(&code, MESSAGE_CHARS_MAX),
            message: json::shortened(&message, MESSAGE_CHARS_MAX),
            request_id: json::shortened(&request_id, MESSAGE_CHARS_MAX),
        }
    }

    pub(super) fn of_kind(endpoint: Endpoint, status: u16, kind: ErrorKind) -> ApiError {
        ApiError {
            endpoint,
            status,
            kind,
            code: String::new(),
            message: String::new(),
            request_id: String::new(),
        }
    }

    /// What to do now. Only an STK push or C2B simulation can be ambiguous: the others move no money.
    pub fn remedy(&self) -> Remedy {
        let moves_money = matches!(self.endpoint, Endpoint::StkPush | Endpoint::C2bSimulate);
        match self.kind {
            ErrorKind::InvalidToken => Remedy::RefreshToken,
            ErrorKind::SubscriberBusy
            | ErrorKind::StillProcessing
            | ErrorKind::SystemBusy
            | ErrorKind::Throttled => Remedy::RetryLater,
            ErrorKind::WrongCredentials
            | ErrorKind::BadRequest
            | ErrorKind::AlreadyRegistered
            | ErrorKind::NotFound
            | ErrorKind::Refused => Remedy::GiveUp,
            // A gateway that refuses with 4xx never passed the request on; 408 says that it did not see
            // the end of it.
            ErrorKind::Unreadable if (300..500).contains(&self.status) && self.status != 408 => {
                Remedy::GiveUp
            }
            ErrorKind::Internal | ErrorKind::Unreadable if moves_money => Remedy::Reconcile,
            ErrorKind::Internal | ErrorKind::Unreadable => Remedy::RetryLater,
        }
    }
}

/// 500.001.1001 is overloaded, so the endpoint and the text decide; every text is compared in lower case.
fn classify(endpoint: Endpoint, status: u16, code: &str, message: &str) -> ErrorKind {
    let message = message.to_ascii_lowercase();
    match code {
        "400.003.01" | "401.002.01" | "404.001.03" => ErrorKind::InvalidToken,
        "400.002.02" | "400.002.05" | "404.001.04" | "400.008.01" | "400.008.02" => ErrorKind::BadRequest,
        "404.003.01" => ErrorKind::NotFound,
        "500.001.1001" if message.contains("process") && endpoint == Endpoint::StkQuery => {
            ErrorKind::StillProcessing
        }
        "500.001.1001" if message.contains("lock") || message.contains("in process") => {
            ErrorKind::SubscriberBusy
        }
        "500.001.1001" if message.contains("credential") || message.contains("merchant") => {
            ErrorKind::WrongCredentials
        }
        "500.003.02" => ErrorKind::SystemBusy,
        "500.003.03" => ErrorKind::Throttled,
        _ if message.contains("already registered") => ErrorKind::AlreadyRegistered,
        _ if message.contains("invalid access token") => ErrorKind::InvalidToken,
        _ if status == 429 => ErrorKind::Throttled,
        "" => match (endpoint, status) {
            (Endpoint::Token, 400 | 401 | 403) => ErrorKind::WrongCredentials,
            (_, 401) => ErrorKind::InvalidToken,
            (_, 503) => ErrorKind::SystemBusy,
            _ => ErrorKind::Unreadable,
        },
        _ if (400..500).contains(&status) => ErrorKind::BadRequest,
        _ => ErrorKind::Internal,
    }
}

/// The error body as Daraja writes it, for the sandbox.
pub fn error_body(request_id: &str, code: &str, message: &str) -> Value {
    json!({"requestId": request_id, "errorCode": code, "errorMessage": message})
}
