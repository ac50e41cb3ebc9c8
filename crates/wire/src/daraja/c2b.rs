//! C2B: payments that a customer starts from the handset to a paybill or till.

use super::error::{ApiError, Endpoint};
use super::stk::{ParseError, accepted_object};
use super::{TransactionType, parse_timestamp};
use crate::json;
use crate::money;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

/// Characters of any text in a payment that are kept.
const TEXT_CHARS_MAX: usize = 100;

/// Version 1 sends the payer's number hashed, version 2 masked, as far as anybody has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum C2bVersion {
    /// `/mpesa/c2b/v1/…`.
    V1,
    /// `/mpesa/c2b/v2/…`.
    V2,
}

impl C2bVersion {
    /// The path of URL registration.
    pub fn register_path(self) -> &'static str {
        match self {
            C2bVersion::V1 => "/mpesa/c2b/v1/registerurl",
            C2bVersion::V2 => "/mpesa/c2b/v2/registerurl",
        }
    }

    /// The path of simulated payments; Daraja's own sandbox only.
    pub fn simulate_path(self) -> &'static str {
        match self {
            C2bVersion::V1 => "/mpesa/c2b/v1/simulate",
            C2bVersion::V2 => "/mpesa/c2b/v2/simulate",
        }
    }
}

/// What happens to a payment whose validation URL does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum C2bResponseType {
    /// The payment goes through.
    Completed,
    /// The payment is refused.
    Cancelled,
}

impl C2bResponseType {
    /// The wire's word.
    pub fn as_str(self) -> &'static str {
        match self {
            C2bResponseType::Completed => "Completed",
            C2bResponseType::Cancelled => "Cancelled",
        }
    }
}

/// A registration of the URLs to call on each payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct C2bRegister {
    /// The paybill or till.
    pub shortcode: String,
    /// For validation URLs that do not answer.
    pub response_type: C2bResponseType,
    /// Told of every payment, once.
    pub confirmation_url: String,
    /// Asked before a payment, where Safaricom has enabled that.
    pub validation_url: String,
}

impl C2bRegister {
    /// The JSON body.
    pub fn to_json(&self) -> Value {
        json!({
            "ShortCode": json::digits(&self.shortcode),
            "ResponseType": self.response_type.as_str(),
            "ConfirmationURL": self.confirmation_url,
            "ValidationURL": self.validation_url,
        })
    }

    /// Reads a registration as the provider does; `ResponseType` must be spelled exactly.
    /// Errors: the field's name, or `None` for a body that is no JSON object.
    pub fn parse(body: &[u8]) -> Result<C2bRegister, Option<&'static str>> {
        let map = json::object(body).ok_or(None)?;
        let get =
            |name: &'static str| json::field(&map, &[name]).filter(|text| !text.is_empty()).ok_or(Some(name));
        let url = |name: &'static str| {
            get(name).and_then(|url| {
                let known = url.starts_with("https://") || url.starts_with("http://");
                if known { Ok(url) } else { Err(Some(name)) }
            })
        };
        Ok(C2bRegister {
            shortcode: get("ShortCode")?,
            response_type: match get("ResponseType")?.as_str() {
                "Completed" => C2bResponseType::Completed,
                "Cancelled" => C2bResponseType::Cancelled,
                _ => return Err(Some("ResponseType")),
            },
            confirmation_url: url("ConfirmationURL")?,
            validation_url: url("ValidationURL")?,
        })
    }
}

/// Reads the answer of a registration. Returns Safaricom's conversation id, whose name Daraja
/// misspells; it may be empty.
///
/// Errors: [ApiError]; `AlreadyRegistered` is fine where the URLs are ours.
pub fn parse_register(status: u16, body: &[u8]) -> Result<String, ApiError> {
    let map = accepted_object(Endpoint::C2bRegister, status, body)?;
    Ok(text(&map, &["OriginatorCoversationID", "OriginatorConversationID", "ConversationID"]))
}

/// A simulated payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct C2bSimulate {
    /// The paybill or till.
    pub shortcode: String,
    /// Paybill or till.
    pub transaction_type: TransactionType,
    /// Whole shillings, at least 1.
    pub amount_shillings: u32,
    /// Who pays, digits only.
    pub msisdn: String,
    /// The account number; none for a till.
    pub bill_ref_number: Option<String>,
}

impl C2bSimulate {
    /// The JSON body.
    pub fn to_json(&self) -> Value {
        let mut body = json!({
            "ShortCode": json::digits(&self.shortcode),
            "CommandID": self.transaction_type.as_str(),
            "Amount": self.amount_shillings,
            "Msisdn": json::digits(&self.msisdn),
        });
        if let Some(bill_ref_number) = &self.bill_ref_number {
            body["BillRefNumber"] = json!(bill_ref_number);
        }
        body
    }

    /// Reads a simulation as the provider does. Errors: as in [C2bRegister::parse].
    pub fn parse(body: &[u8]) -> Result<C2bSimulate, Option<&'static str>> {
        let map = json::object(body).ok_or(None)?;
        let get =
            |name: &'static str| json::field(&map, &[name]).filter(|text| !text.is_empty()).ok_or(Some(name));
        let transaction_type = TransactionType::parse(&get("CommandID")?).ok_or(Some("CommandID"))?;
        let msisdn = get("Msisdn")?;
        if !(9..=15).contains(&msisdn.len()) || !msisdn.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(Some("Msisdn"));
        }
        let bill_ref_number = match transaction_type {
            TransactionType::PayBill => Some(get("BillRefNumber")?),
            TransactionType::BuyGoods => None,
        };
        Ok(C2bSimulate {
            shortcode: get("ShortCode")?,
            transaction_type,
            amount_shillings: money::scaled(&get("Amount")?, 0)
                .and_then(|amount| u32::try_from(amount).ok())
                .filter(|amount| *amount >= 1)
                .ok_or(Some("Amount"))?,
            msisdn,
            bill_ref_number,
        })
    }
}

/// In which form a payment names the payer. Kept for display only: never match on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MsisdnForm {
    /// All digits.
    Full,
    /// Digits and stars, such as `25470****149`.
    Masked,
    /// 64 hexadecimal digits, a SHA-256.
    Hashed,
    /// Anything else, also nothing.
    Unknown,
}

/// A payment as Daraja posts it to the validation and confirmation URLs. Unsigned and sent once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct C2bPayment {
    /// `Pay Bill` or `Buy Goods`, as sent.
    pub transaction_type: String,
    /// The receipt number, unique for all time.
    pub transaction_id: String,
    /// `TransTime` read as East Africa Time.
    pub paid_at: Option<Timestamp>,
    /// What was paid, in cents.
    pub amount_minor: i64,
    /// The paybill or till.
    pub shortcode: String,
    /// The account number that the payer typed: match on this.
    pub bill_ref_number: String,
    /// Our own id where an STK push or validation gave one, maybe empty.
    pub invoice_number: String,
    /// As sent, empty in a validation.
    pub org_account_balance: String,
    /// What the validation reply named, maybe empty.
    pub third_party_transaction_id: String,
    /// The payer's number as sent: full, masked or hashed.
    pub msisdn: String,
    /// Given name, maybe empty.
    pub first_name: String,
    /// Middle name, maybe empty.
    pub middle_name: String,
    /// Family name, maybe empty.
    pub last_name: String,
}

impl C2bPayment {
    /// Reads a validation or confirmation body.
    ///
    /// Errors: [ParseError]; a payment needs an id, a shortcode and an amount.
    pub fn parse(body: &[u8]) -> Result<C2bPayment, ParseError> {
        let map = json::object(body).ok_or(ParseError::NotJson)?;
        let need = |name: &'static str| match text(&map, &[name]) {
            empty if empty.is_empty() => Err(ParseError::Missing(name)),
            found => Ok(found),
        };
        Ok(C2bPayment {
            transaction_type: text(&map, &["TransactionType"]),
            transaction_id: need("TransID")?,
            paid_at: parse_timestamp(&text(&map, &["TransTime"])),
            amount_minor: money::scaled(&need("TransAmount")?, 2)
                .ok_or(ParseError::Missing("TransAmount"))?,
            shortcode: need("BusinessShortCode")?,
            bill_ref_number: text(&map, &["BillRefNumber"]),
            invoice_number: text(&map, &["InvoiceNumber"]),
            org_account_balance: text(&map, &["OrgAccountBalance"]),
            third_party_transaction_id: text(&map, &["ThirdPartyTransID"]),
            msisdn: text(&map, &["MSISDN"]),
            first_name: text(&map, &["FirstName"]),
            middle_name: text(&map, &["MiddleName"]),
            last_name: text(&map, &["LastName"]),
        })
    }

    /// The body as Daraja posts it: all strings.
    pub fn to_json(&self) -> Value {
        json!({
            "TransactionType": self.transaction_type,
            "TransID": self.transaction_id,
            "TransTime": self.paid_at.map(super::timestamp).unwrap_or_default(),
            "TransAmount": money::two_places(self.amount_minor),
            "BusinessShortCode": self.shortcode,
            "BillRefNumber": self.bill_ref_number,
            "InvoiceNumber": self.invoice_number,
            "OrgAccountBalance": self.org_account_balance,
            "ThirdPartyTransID": self.third_party_transaction_id,
            "MSISDN": self.msisdn,
            "FirstName": self.first_name,
            "MiddleName": self.middle_name,
            "LastName": self.last_name,
        })
    }

    /// In which form the payer's number came.
    pub fn msisdn_form(&self) -> MsisdnForm {
        let bytes = self.msisdn.as_bytes();
        if (9..=15).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_digit) {
            MsisdnForm::Full
        } else if bytes.contains(&b'*') && bytes.iter().all(|byte| byte.is_ascii_digit() || *byte == b'*') {
            MsisdnForm::Masked
        } else if bytes.len() == 64 && bytes.iter().all(u8::is_ascii_hexdigit) {
            MsisdnForm::Hashed
        } else {
            MsisdnForm::Unknown
        }
    }
}

fn text(map: &Map<String, Value>, names: &[&str]) -> String {
    json::shortened(&json::field(map, names).unwrap_or_default(), TEXT_CHARS_MAX)
}

/// Why a payment is refused at validation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum C2bRefusal {
    /// C2B00011.
    InvalidMsisdn,
    /// C2B00012: no such account or invoice.
    InvalidAccount,
    /// C2B00013.
    InvalidAmount,
    /// C2B00014.
    InvalidKyc,
    /// C2B00015.
    InvalidShortcode,
    /// C2B00016.
    Other,
}

impl C2bRefusal {
    /// The wire's code.
    pub fn code(self) -> &'static str {
        match self {
            C2bRefusal::InvalidMsisdn => "C2B00011",
            C2bRefusal::InvalidAccount => "C2B00012",
            C2bRefusal::InvalidAmount => "C2B00013",
            C2bRefusal::InvalidKyc => "C2B00014",
            C2bRefusal::InvalidShortcode => "C2B00015",
            C2bRefusal::Other => "C2B00016",
        }
    }
}

/// The reply to a validation, due within about eight seconds.
pub fn validation_reply(verdict: Result<(), C2bRefusal>) -> Value {
    match verdict {
        Ok(()) => json!({"ResultCode": "0", "ResultDesc": "Accepted"}),
        Err(refusal) => json!({"ResultCode": refusal.code(), "ResultDesc": "Rejected"}),
    }
}

/// The reply to a confirmation: it only says that the message is stored.
pub fn confirmation_reply() -> Value {
    json!({"ResultCode": 0, "ResultDesc": "Success"})
}
