//! STK push ("Lipa na M-PESA online"): the request, its answer, the query, the callback.

use super::error::{ApiError, Endpoint, ErrorKind};
use super::{StkOutcome, clean_text, parse_timestamp, password};
use crate::json;
use crate::money;
use crate::msisdn::Msisdn;
use jiff::Timestamp;
use serde_json::{Map, Number, Value, json};
use std::fmt;

/// Characters of `AccountReference`, as documented.
const ACCOUNT_REFERENCE_MAX: usize = 12;
/// Characters of `TransactionDesc`, as documented.
const DESCRIPTION_MAX: usize = 13;
/// Items of `CallbackMetadata` that are read.
const ITEMS_MAX: usize = 64;
/// Characters of a result description that are kept.
const TEXT_CHARS_MAX: usize = 300;
/// Characters of an identifier that Safaricom gives; longer is not one.
const IDENTIFIER_CHARS_MAX: usize = 100;

/// What the shortcode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TransactionType {
    /// A paybill with account numbers.
    PayBill,
    /// A till.
    BuyGoods,
}

impl TransactionType {
    /// The wire's word.
    pub fn as_str(self) -> &'static str {
        match self {
            TransactionType::PayBill => "CustomerPayBillOnline",
            TransactionType::BuyGoods => "CustomerBuyGoodsOnline",
        }
    }

    /// Reads the wire's word.
    pub fn parse(text: &str) -> Option<TransactionType> {
        [TransactionType::PayBill, TransactionType::BuyGoods].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// A request for a payment prompt. Amounts are whole shillings on this wire.
#[derive(Clone, PartialEq, Eq)]
pub struct StkPush {
    /// The paybill, or the head office number of a till.
    pub shortcode: String,
    /// See [super::password].
    pub password: String,
    /// `YYYYMMDDHHmmss`, the one in the password.
    pub timestamp: String,
    /// Paybill or till.
    pub transaction_type: TransactionType,
    /// Whole shillings, at least 1.
    pub amount_shillings: u32,
    /// Who pays, `PartyA` and `PhoneNumber`.
    pub payer: Msisdn,
    /// The shortcode that receives, `PartyB`.
    pub receiver: String,
    /// Where the callback goes.
    pub callback_url: String,
    /// At most 12 characters; shown in the prompt and on statements.
    pub account_reference: String,
    /// 1 to 13 characters.
    pub description: String,
}

/// Hides the password and the callback URL, which carries a secret token.
impl fmt::Debug for StkPush {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("StkPush")
            .field("shortcode", &self.shortcode)
            .field("amount_shillings", &self.amount_shillings)
            .field("payer", &self.payer)
            .field("account_reference", &self.account_reference)
            .finish_non_exhaustive()
    }
}

/// Why no valid request can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StkPushError {
    /// Shortcodes are five to seven digits.
    #[error("an M-PESA shortcode has five to seven digits")]
    Shortcode,
    /// M-PESA takes whole shillings, at least one.
    #[error("M-PESA takes whole shillings, at least one")]
    Amount,
    /// Nothing is left of the account reference after cleaning.
    #[error("the account reference has no character that M-PESA takes")]
    AccountReference,
}

impl StkPush {
    /// A paybill request as Daraja accepts it. Reference and description are cleaned
    /// ([super::clean_text]) and shortened to 12 and 13 characters: store `account_reference` as it is
    /// in the result. An empty description becomes "Payment".
    ///
    /// Errors: [StkPushError].
    #[expect(clippy::too_many_arguments, reason = "the fields of one flat wire message")]
    pub fn pay_bill(
        shortcode: &str,
        passkey: &str,
        at: Timestamp,
        payer: Msisdn,
        amount_minor: i64,
        callback_url: &str,
        account_reference: &str,
        description: &str,
    ) -> Result<StkPush, StkPushError> {
        if !is_shortcode(shortcode) {
            return Err(StkPushError::Shortcode);
        }
        if amount_minor < 100 || amount_minor % 100 != 0 {
            return Err(StkPushError::Amount);
        }
        let account_reference = clean_text(account_reference, ACCOUNT_REFERENCE_MAX);
        if account_reference.is_empty() {
            return Err(StkPushError::AccountReference);
        }
        let description = match clean_text(description, DESCRIPTION_MAX) {
            empty if empty.is_empty() => "Payment".to_owned(),
            clean => clean,
        };
        let timestamp = super::timestamp(at);
        Ok(StkPush {
            shortcode: shortcode.to_owned(),
            password: password(shortcode, passkey, &timestamp),
            timestamp,
            transaction_type: TransactionType::PayBill,
            amount_shillings: u32::try_from(amount_minor / 100).map_err(|_| StkPushError::Amount)?,
            payer,
            receiver: shortcode.to_owned(),
            callback_url: callback_url.to_owned(),
            account_reference,
            description,
        })
    }

    /// The JSON body. Amount, PartyA, PartyB, PhoneNumber and BusinessShortCode are numbers, because
    /// string numbers were seen to end silently in 1037.
    pub fn to_json(&self) -> Value {
        json!({
            "BusinessShortCode": json::digits(&self.shortcode),
            "Password": self.password,
            "Timestamp": self.timestamp,
            "TransactionType": self.transaction_type.as_str(),
            "Amount": self.amount_shillings,
            "PartyA": self.payer.number(),
            "PartyB": json::digits(&self.receiver),
            "PhoneNumber": self.payer.number(),
            "CallBackURL": self.callback_url,
            "AccountReference": self.account_reference,
            "TransactionDesc": self.description,
        })
    }

    /// Reads a request as the provider does: strings or numbers, lengths not judged.
    ///
    /// Errors: the name of the first field that is missing or invalid, for the text of 400.002.02;
    /// `None` when the body is no JSON object.
    pub fn parse(body: &[u8]) -> Result<StkPush, Option<&'static str>> {
        let map = json::object(body).ok_or(None)?;
        let get =
            |name: &'static str| json::field(&map, &[name]).filter(|text| !text.is_empty()).ok_or(Some(name));
        let shortcode = get("BusinessShortCode")?;
        if !is_shortcode(&shortcode) {
            return Err(Some("BusinessShortCode"));
        }
        let password = get("Password")?;
        let timestamp = get("Timestamp")?;
        parse_timestamp(&timestamp).ok_or(Some("Timestamp"))?;
        let transaction_type =
            TransactionType::parse(&get("TransactionType")?).ok_or(Some("TransactionType"))?;
        let amount_shillings = money::scaled(&get("Amount")?, 0)
            .and_then(|amount| u32::try_from(amount).ok())
            .filter(|amount| *amount >= 1)
            .ok_or(Some("Amount"))?;
        let payer = msisdn(&get("PartyA")?).ok_or(Some("PartyA"))?;
        let receiver = get("PartyB")?;
        if !is_shortcode(&receiver) {
            return Err(Some("PartyB"));
        }
        if msisdn(&get("PhoneNumber")?).is_none() {
            return Err(Some("PhoneNumber"));
        }
        let callback_url = get("CallBackURL")?;
        let host = callback_url.strip_prefix("https://").or_else(|| callback_url.strip_prefix("http://"));
        if !host.is_some_and(|host| host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[')) {
            return Err(Some("CallBackURL"));
        }
        Ok(StkPush {
            shortcode,
            password,
            timestamp,
            transaction_type,
            amount_shillings,
            payer,
            receiver,
            callback_url,
            account_reference: get("AccountReference")?,
            description: get("TransactionDesc")?,
        })
    }
}

fn msisdn(text: &str) -> Option<Msisdn> {
    if text.starts_with('+') { None } else { Msisdn::parse(text).ok() }
}

fn is_shortcode(text: &str) -> bool {
    (5..=7).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The synchronous answer to a push that was accepted. Accepted is not paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StkAccepted {
    /// Safaricom's id of the request.
    pub merchant_request_id: String,
    /// Safaricom's id of the prompt: query and callback name it.
    pub checkout_request_id: String,
    /// Words for the customer, maybe empty.
    pub customer_message: String,
}

impl StkAccepted {
    /// The JSON body as Daraja sends it.
    pub fn to_json(&self) -> Value {
        json!({
            "MerchantRequestID": self.merchant_request_id,
            "CheckoutRequestID": self.checkout_request_id,
            "ResponseCode": "0",
            "ResponseDescription": "Success. Request accepted for processing",
            "CustomerMessage": self.customer_message,
        })
    }
}

/// Reads the answer of [super::STK_PUSH_PATH].
///
/// Errors: [ApiError]; look at [ApiError::remedy] before sending again. A 2xx answer that cannot be
/// read is [ErrorKind::Unreadable] with remedy `Reconcile`, because the prompt may be open.
pub fn parse_push(status: u16, body: &[u8]) -> Result<StkAccepted, ApiError> {
    let map = accepted_object(Endpoint::StkPush, status, body)?;
    let unreadable = || ApiError::of_kind(Endpoint::StkPush, status, ErrorKind::Unreadable);
    Ok(StkAccepted {
        merchant_request_id: identifier(&map, &["MerchantRequestID"]).unwrap_or_default(),
        checkout_request_id: identifier(&map, &["CheckoutRequestID"]).ok_or_else(unreadable)?,
        customer_message: described(&map, &["CustomerMessage"]),
    })
}

/// A 2xx JSON object whose `ResponseCode` is 0, or the error that it is instead.
pub(super) fn accepted_object(
    endpoint: Endpoint,
    status: u16,
    body: &[u8],
) -> Result<Map<String, Value>, ApiError> {
    if !(200..300).contains(&status) {
        return Err(ApiError::parse(endpoint, status, body));
    }
    let unreadable = || ApiError::of_kind(endpoint, status, ErrorKind::Unreadable);
    let map = json::object(body).ok_or_else(unreadable)?;
    if map.contains_key("errorCode") {
        return Err(ApiError::parse(endpoint, status, body));
    }
    let code = json::field(&map, &["ResponseCode"]).ok_or_else(unreadable)?;
    // C2B registration answers "00000000" where others answer "0".
    if code.is_empty() || code.bytes().any(|byte| byte != b'0') {
        return Err(ApiError {
            kind: ErrorKind::Refused,
            message: described(&map, &["ResponseDescription", "CustomerMessage"]),
            code: json::shortened(&code, IDENTIFIER_CHARS_MAX),
            ..unreadable()
        });
    }
    Ok(map)
}

fn identifier(map: &Map<String, Value>, names: &[&str]) -> Option<String> {
    json::field(map, names).filter(|text| !text.is_empty() && text.chars().count() <= IDENTIFIER_CHARS_MAX)
}

fn described(map: &Map<String, Value>, names: &[&str]) -> String {
    json::shortened(&json::field(map, names).unwrap_or_default(), TEXT_CHARS_MAX)
}

/// A question how a prompt ended.
#[derive(Clone, PartialEq, Eq)]
pub struct StkQuery {
    /// As in the push.
    pub shortcode: String,
    /// See [super::password].
    pub password: String,
    /// The one in the password.
    pub timestamp: String,
    /// From [StkAccepted].
    pub checkout_request_id: String,
}

impl StkQuery {
    /// The query at time `at`.
    pub fn new(shortcode: &str, passkey: &str, at: Timestamp, checkout_request_id: &str) -> StkQuery {
        let timestamp = super::timestamp(at);
        StkQuery {
            shortcode: shortcode.to_owned(),
            password: password(shortcode, passkey, &timestamp),
            timestamp,
            checkout_request_id: checkout_request_id.to_owned(),
        }
    }

    /// The JSON body.
    pub fn to_json(&self) -> Value {
        json!({
            "BusinessShortCode": json::digits(&self.shortcode),
            "Password": self.password,
            "Timestamp": self.timestamp,
            "CheckoutRequestID": self.checkout_request_id,
        })
    }

    /// Reads a query as the provider does. Errors: as in [StkPush::parse].
    pub fn parse(body: &[u8]) -> Result<StkQuery, Option<&'static str>> {
        let map = json::object(body).ok_or(None)?;
        let get =
            |name: &'static str| json::field(&map, &[name]).filter(|text| !text.is_empty()).ok_or(Some(name));
        let query = StkQuery {
            shortcode: get("BusinessShortCode")?,
            password: get("Password")?,
            timestamp: get("Timestamp")?,
            checkout_request_id: get("CheckoutRequestID")?,
        };
        if !is_shortcode(&query.shortcode) {
            return Err(Some("BusinessShortCode"));
        }
        parse_timestamp(&query.timestamp).ok_or(Some("Timestamp"))?;
        Ok(query)
    }
}

/// The answer to a query. It names no receipt and no amount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StkQueryReply {
    /// Safaricom's id of the request, maybe empty.
    pub merchant_request_id: String,
    /// The prompt the answer is about, maybe empty: compare when present.
    pub checkout_request_id: String,
    /// As sent; see [StkQueryReply::outcome].
    pub result_code: String,
    /// As sent, at most 300 characters.
    pub result_desc: String,
}

impl StkQueryReply {
    /// What the code means.
    pub fn outcome(&self) -> StkOutcome {
        StkOutcome::of(&self.result_code)
    }

    /// The JSON body as Daraja sends it, with `ResultCode` as a string.
    pub fn to_json(&self) -> Value {
        json!({
            "ResponseCode": "0",
            "ResponseDescription": "The service request has been accepted successsfully",
            "MerchantRequestID": self.merchant_request_id,
            "CheckoutRequestID": self.checkout_request_id,
            "ResultCode": self.result_code,
            "ResultDesc": self.result_desc,
        })
    }
}

/// Reads the answer of [super::STK_QUERY_PATH].
///
/// Errors: [ApiError]; "being processed" (HTTP 500) is turned into a reply of code 4999, since both
/// mean the same.
pub fn parse_query(status: u16, body: &[u8]) -> Result<StkQueryReply, ApiError> {
    let map = match accepted_object(Endpoint::StkQuery, status, body) {
        Ok(map) => map,
        Err(error) if error.kind == ErrorKind::StillProcessing => {
            return Ok(StkQueryReply {
                merchant_request_id: String::new(),
                checkout_request_id: String::new(),
                result_code: "4999".to_owned(),
                result_desc: error.message,
            });
        }
        Err(error) => return Err(error),
    };
    Ok(StkQueryReply {
        merchant_request_id: identifier(&map, &["MerchantRequestID"]).unwrap_or_default(),
        checkout_request_id: identifier(&map, &["CheckoutRequestID"]).unwrap_or_default(),
        result_code: identifier(&map, &["ResultCode"])
            .ok_or_else(|| ApiError::of_kind(Endpoint::StkQuery, status, ErrorKind::Unreadable))?,
        result_desc: described(&map, &["ResultDesc"]),
    })
}

/// Why a callback body cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No JSON object, or longer than 256 KiB.
    #[error("the body is not a JSON object of at most 256 KiB")]
    NotJson,
    /// A part without which the message means nothing.
    #[error("the message has no valid {0}")]
    Missing(&'static str),
}

/// How numbers are written in a callback; both were seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NumberStyle {
    /// `"Amount": 1.00`.
    Numbers,
    /// `"Amount": "1.00"`.
    Strings,
}

/// How a prompt ended, as Daraja posts it to the callback URL. Unsigned: match `checkout_request_id`
/// **and** amount, and confirm by query before releasing value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StkCallback {
    /// Safaricom's id of the request, maybe empty.
    pub merchant_request_id: String,
    /// Which prompt ended.
    pub checkout_request_id: String,
    /// As sent; see [StkCallback::outcome].
    pub result_code: String,
    /// As sent, at most 300 characters.
    pub result_desc: String,
    /// What was paid, in cents; only on success. `None` also when the number cannot be read exactly.
    pub amount_minor: Option<i64>,
    /// `MpesaReceiptNumber`; only on success. Unique for all time.
    pub receipt: Option<String>,
    /// `TransactionDate` read as East Africa Time.
    pub paid_at: Option<Timestamp>,
    /// `PhoneNumber` as sent, maybe masked: never match on it.
    pub phone: Option<String>,
}

impl StkCallback {
    /// What the code means.
    pub fn outcome(&self) -> StkOutcome {
        StkOutcome::of(&self.result_code)
    }

    /// Reads a callback body: any order, numbers or strings, missing values, unknown names.
    ///
    /// Errors: [ParseError].
    pub fn parse(body: &[u8]) -> Result<StkCallback, ParseError> {
        let map = json::object(body).ok_or(ParseError::NotJson)?;
        let callback = map
            .get("Body")
            .and_then(|body| body.get("stkCallback"))
            .and_then(Value::as_object)
            .ok_or(ParseError::Missing("Body.stkCallback"))?;
        let items = callback
            .get("CallbackMetadata")
            .and_then(|metadata| metadata.get("Item"))
            .map(|items| match items {
                Value::Array(items) => items.as_slice(),
                single => std::slice::from_ref(single),
            })
            .unwrap_or_default();
        let item = |name: &str| {
            items
                .iter()
                .take(ITEMS_MAX)
                .filter(|item| item.get("Name").and_then(Value::as_str) == Some(name))
                .find_map(|item| json::text(item.get("Value")))
                .filter(|text| !text.is_empty() && text.chars().count() <= IDENTIFIER_CHARS_MAX)
        };
        Ok(StkCallback {
            merchant_request_id: identifier(callback, &["MerchantRequestID"]).unwrap_or_default(),
            checkout_request_id: identifier(callback, &["CheckoutRequestID"])
                .ok_or(ParseError::Missing("CheckoutRequestID"))?,
            result_code: identifier(callback, &["ResultCode"]).ok_or(ParseError::Missing("ResultCode"))?,
            result_desc: described(callback, &["ResultDesc"]),
            amount_minor: item("Amount").and_then(|text| money::scaled(&text, 2)),
            receipt: item("MpesaReceiptNumber"),
            paid_at: item("TransactionDate").and_then(|text| parse_timestamp(&text)),
            phone: item("PhoneNumber"),
        })
    }

    /// The body as Daraja posts it, with the odd `Balance` that has no value.
    pub fn to_json(&self, style: NumberStyle) -> Value {
        let number = |text: String| match style {
            NumberStyle::Strings => Value::String(text),
            NumberStyle::Numbers => text.parse::<Number>().map(Value::Number).unwrap_or(Value::String(text)),
        };
        let mut callback = json!({
            "MerchantRequestID": self.merchant_request_id,
            "CheckoutRequestID": self.checkout_request_id,
            "ResultCode": number(self.result_code.clone()),
            "ResultDesc": self.result_desc,
        });
        let mut items = Vec::new();
        if let Some(amount_minor) = self.amount_minor {
            items.push(json!({"Name": "Amount", "Value": number(money::two_places(amount_minor))}));
        }
        if let Some(receipt) = &self.receipt {
            items.push(json!({"Name": "MpesaReceiptNumber", "Value": receipt}));
            items.push(json!({"Name": "Balance"}));
        }
        if let Some(paid_at) = self.paid_at {
            items.push(json!({"Name": "TransactionDate", "Value": number(super::timestamp(paid_at))}));
        }
        if let Some(phone) = &self.phone {
            items.push(json!({"Name": "PhoneNumber", "Value": number(phone.clone())}));
        }
        if !items.is_empty() {
            callback["CallbackMetadata"] = json!({"Item": items});
        }
        json!({"Body": {"stkCallback": callback}})
    }
}
