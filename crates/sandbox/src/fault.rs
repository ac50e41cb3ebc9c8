//! Faults on demand: what real providers were seen to do wrong, switched on by test or by hand.

use crate::handset;
use serde::{Deserialize, Serialize};

/// How long a request hangs that is never answered: longer than anybody waits.
pub(crate) const HANG: std::time::Duration = std::time::Duration::from_secs(120);
/// Faults that can be active at once.
pub const FAULTS_MAX: usize = 100;
/// Largest count or repetition a fault may ask for.
const COUNT_MAX: i64 = 20;
/// Longest delay a fault may ask for, in milliseconds.
const DELAY_MS_MAX: i64 = 120_000;

/// One way to go wrong. The text form is `provider.kind`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FaultKind {
    /// OAuth answers HTTP 400 with an empty body, as for wrong keys.
    #[serde(rename = "daraja.oauth_refuse")]
    OauthRefuse,
    /// The bearer token of the next call has expired: 404.001.03.
    #[serde(rename = "daraja.token_expired_once")]
    TokenExpired,
    /// The push answers HTTP 500 with 500.003.1001 and opens no prompt.
    #[serde(rename = "daraja.push_http_500")]
    PushHttp500,
    /// The push is accepted and the prompt opens, but the HTTP response never comes.
    #[serde(rename = "daraja.push_timeout_after_accept")]
    PushTimeoutAfterAccept,
    /// The push answers HTTP 200 with a `ResponseCode` other than 0 (value) and opens no prompt.
    #[serde(rename = "daraja.push_response_code_nonzero")]
    PushResponseCode,
    /// The push answers 500.003.02, spike arrest.
    #[serde(rename = "daraja.busy_500_003_02")]
    PushBusy,
    /// The callback (and the C2B confirmation) is never sent.
    #[serde(rename = "daraja.callback_lost")]
    CallbackLost,
    /// The callback comes again, value times more.
    #[serde(rename = "daraja.callback_duplicate")]
    CallbackDuplicate,
    /// The payer answers at once and the callback arrives before the push is answered.
    #[serde(rename = "daraja.callback_before_response")]
    CallbackBeforeResponse,
    /// The callback comes value milliseconds late.
    #[serde(rename = "daraja.callback_delay")]
    CallbackDelay,
    /// The callback names an amount that differs by value cents.
    #[serde(rename = "daraja.callback_amount_delta")]
    CallbackAmountDelta,
    /// A failure (1037) is posted first, the success after it.
    #[serde(rename = "daraja.callback_failure_then_success")]
    CallbackFailureThenSuccess,
    /// Numbers in the callback are strings.
    #[serde(rename = "daraja.callback_string_numbers")]
    CallbackStringNumbers,
    /// The query answers 4999, still processing, with HTTP 200.
    #[serde(rename = "daraja.query_4999")]
    Query4999,
    /// The query answers 500.001.1001, being processed.
    #[serde(rename = "daraja.query_still_processing_500")]
    QueryStillProcessing,
    /// The query answers HTTP 503 with an HTML page.
    #[serde(rename = "daraja.query_down")]
    QueryDown,
    /// Sending answers HTTP 500.
    #[serde(rename = "africastalking.http_500")]
    SmsHttp500,
    /// The message is taken and arrives, but the HTTP response never comes.
    #[serde(rename = "africastalking.timeout_after_accept")]
    SmsTimeoutAfterAccept,
    /// Each recipient is refused with status code value.
    #[serde(rename = "africastalking.refuse_status")]
    SmsRefuse,
    /// HTTP 201 without recipients, message `InvalidSenderId`.
    #[serde(rename = "africastalking.empty_recipients")]
    SmsEmptyRecipients,
    /// The message arrives, no delivery report does.
    #[serde(rename = "africastalking.dlr_lost")]
    ReportLost,
    /// The final delivery report comes again, value times more.
    #[serde(rename = "africastalking.dlr_duplicate")]
    ReportDuplicate,
    /// The message does not arrive; the report says Failed with the reason in value.
    #[serde(rename = "africastalking.dlr_failed")]
    ReportFailed,
    /// The message and its reports come value milliseconds late.
    #[serde(rename = "africastalking.delay")]
    SmsDelay,
    /// The final report comes before the intermediate one.
    #[serde(rename = "africastalking.dlr_out_of_order")]
    ReportOutOfOrder,
}

/// Which value a kind takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Takes {
    Nothing,
    Count,
    DelayMs,
    DeltaMinor,
    ResponseCode,
    StatusCode,
    Reason,
}

/// Everything the page and the API say about a kind.
#[derive(Debug, Clone, Serialize)]
pub struct FaultDescription {
    /// The text form.
    pub kind: FaultKind,
    /// One sentence.
    pub description: &'static str,
    /// What value means, none when the kind takes no value.
    pub value: Option<&'static str>,
    /// The value used when none is given.
    pub value_default: Option<&'static str>,
}

use FaultKind as K;

const TABLE: [(FaultKind, Takes, &str); 25] = [
    (K::OauthRefuse, Takes::Nothing, "OAuth answers 400 with an empty body, as for wrong keys"),
    (K::TokenExpired, Takes::Nothing, "The token of the next call has expired (404.001.03)"),
    (K::PushHttp500, Takes::Nothing, "The push fails with HTTP 500, no prompt opens"),
    (K::PushTimeoutAfterAccept, Takes::Nothing, "The prompt opens, but the push is never answered"),
    (K::PushResponseCode, Takes::ResponseCode, "The push is answered with another ResponseCode than 0"),
    (K::PushBusy, Takes::Nothing, "The push is refused with 500.003.02, system busy"),
    (K::CallbackLost, Takes::Nothing, "The callback never comes"),
    (K::CallbackDuplicate, Takes::Count, "The callback comes again"),
    (K::CallbackBeforeResponse, Takes::Nothing, "The callback comes before the push is answered"),
    (K::CallbackDelay, Takes::DelayMs, "The callback comes late"),
    (K::CallbackAmountDelta, Takes::DeltaMinor, "The callback names a different amount"),
    (K::CallbackFailureThenSuccess, Takes::Nothing, "A failure is called back first, then the success"),
    (K::CallbackStringNumbers, Takes::Nothing, "Numbers in the callback are strings"),
    (K::Query4999, Takes::Nothing, "The query answers 4999, still processing"),
    (K::QueryStillProcessing, Takes::Nothing, "The query answers 500.001.1001, being processed"),
    (K::QueryDown, Takes::Nothing, "The query answers 503 with a web page"),
    (K::SmsHttp500, Takes::Nothing, "Sending fails with HTTP 500"),
    (K::SmsTimeoutAfterAccept, Takes::Nothing, "The message arrives, but sending is never answered"),
    (K::SmsRefuse, Takes::StatusCode, "Each recipient is refused"),
    (K::SmsEmptyRecipients, Takes::Nothing, "201 without recipients: InvalidSenderId"),
    (K::ReportLost, Takes::Nothing, "The message arrives, no delivery report does"),
    (K::ReportDuplicate, Takes::Count, "The final delivery report comes again"),
    (K::ReportFailed, Takes::Reason, "The message does not arrive, the report says Failed"),
    (K::SmsDelay, Takes::DelayMs, "Message and reports come late"),
    (K::ReportOutOfOrder, Takes::Nothing, "The final report comes before the intermediate one"),
];

impl Takes {
    fn describe(self) -> (Option<&'static str>, Option<&'static str>) {
        match self {
            Takes::Nothing => (None, None),
            Takes::Count => (Some("times more"), Some("1")),
            Takes::DelayMs => (Some("milliseconds"), Some("3000")),
            Takes::DeltaMinor => (Some("cents"), Some("-100")),
            Takes::ResponseCode => (Some("ResponseCode"), Some("1")),
            Takes::StatusCode => (Some("status code"), Some("407")),
            Takes::Reason => (Some("failure reason"), Some("UserAccountSuspended")),
        }
    }

    /// Errors: what the value must be.
    fn check(self, value: &str) -> Result<(), &'static str> {
        let number = value.parse::<i64>().ok();
        let (fine, expected) = match self {
            Takes::Nothing => (false, "this kind takes no value"),
            Takes::Count => (number.is_some_and(|n| (1..=COUNT_MAX).contains(&n)), "value must be 1 to 20"),
            Takes::DelayMs => {
                (number.is_some_and(|n| (0..=DELAY_MS_MAX).contains(&n)), "value must be 0 to 120000")
            }
            Takes::DeltaMinor => (
                number.is_some_and(|n| n != 0 && n.abs() <= 100_000_000),
                "value must be a number of cents other than 0",
            ),
            Takes::ResponseCode => {
                (number.is_some_and(|n| (1..=9999).contains(&n)), "value must be 1 to 9999")
            }
            Takes::StatusCode => {
                (number.is_some_and(|n| (400..=599).contains(&n)), "value must be 400 to 599")
            }
            Takes::Reason => {
                ((1..=60).contains(&value.chars().count()), "value must have 1 to 60 characters")
            }
        };
        if fine { Ok(()) } else { Err(expected) }
    }
}

/// All kinds with their descriptions.
pub fn descriptions() -> impl Iterator<Item = FaultDescription> {
    TABLE.into_iter().map(|(kind, takes, description)| {
        let (value, value_default) = takes.describe();
        FaultDescription { kind, description, value, value_default }
    })
}

/// A fault that is switched on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What goes wrong.
    pub kind: FaultKind,
    /// How often it still happens; `None` until it is switched off.
    pub times: Option<u32>,
    /// Only for this number (digits); `None` for all. Token faults know no number.
    pub msisdn: Option<String>,
    /// Count, delay, code or reason, as the kind takes it; the kind's default when none was given.
    pub value: Option<String>,
}

impl Fault {
    /// A fault that goes on until it is switched off, for every number; [FaultKind::TokenExpired]
    /// happens once.
    pub fn new(kind: FaultKind) -> Fault {
        let times = if kind == FaultKind::TokenExpired { Some(1) } else { None };
        let value = takes(kind).describe().1.map(str::to_owned);
        Fault { kind, times, msisdn: None, value }
    }

    /// Happens so many times.
    pub fn times(self, times: u32) -> Fault {
        Fault { times: Some(times), ..self }
    }

    /// Happens to this number only.
    pub fn on(self, msisdn: &str) -> Fault {
        Fault { msisdn: handset::normalise(msisdn), ..self }
    }

    /// With this count, delay, code or reason.
    pub fn value(self, value: impl ToString) -> Fault {
        Fault { value: Some(value.to_string()), ..self }
    }

    pub(crate) fn number(&self) -> i64 {
        self.value.as_deref().and_then(|value| value.parse().ok()).unwrap_or(0)
    }
}

fn takes(kind: FaultKind) -> Takes {
    TABLE.iter().find(|(known, _, _)| *known == kind).map_or(Takes::Nothing, |(_, takes, _)| *takes)
}

/// A fault as the API takes it: `{"kind": "daraja.callback_lost", "times": 1, "msisdn": "2547…"}`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRequest {
    kind: FaultKind,
    times: Option<u32>,
    msisdn: Option<String>,
    /// Number or text.
    value: Option<serde_json::Value>,
}

impl FaultRequest {
    /// Checks the request. Errors: a sentence that names what is wrong.
    pub fn check(self) -> Result<Fault, String> {
        let mut fault = Fault::new(self.kind);
        if let Some(times) = self.times {
            if times == 0 {
                return Err("times must be at least 1".to_owned());
            }
            fault.times = Some(times);
        }
        if let Some(msisdn) = self.msisdn.filter(|msisdn| !msisdn.is_empty()) {
            fault.msisdn =
                Some(handset::normalise(&msisdn).ok_or_else(|| format!("{msisdn:?} is no phone number"))?);
        }
        let value = match self.value {
            None | Some(serde_json::Value::Null) => None,
            Some(serde_json::Value::String(text)) => Some(text).filter(|text| !text.is_empty()),
            Some(serde_json::Value::Number(number)) => Some(number.to_string()),
            Some(_) => return Err("value must be a number or a text".to_owned()),
        };
        if let Some(value) = value {
            takes(self.kind).check(&value)?;
            fault.value = Some(value);
        }
        Ok(fault)
    }
}
