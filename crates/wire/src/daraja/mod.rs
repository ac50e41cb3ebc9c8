//! Safaricom's Daraja API for M-PESA: OAuth, STK push and query, C2B.
//!
//! Daraja's texts are inconsistent (numbers as strings, codes that mean different things by endpoint),
//! and its callbacks carry no signature. So: parse tolerantly, classify by endpoint and text, treat a
//! code that nobody knows as "a person must look", and confirm by query before value is released.

mod c2b;
mod error;
mod outcome;
mod stk;
mod token;

#[cfg(test)]
mod tests;

pub use c2b::{
    C2bPayment, C2bRefusal, C2bRegister, C2bResponseType, C2bSimulate, C2bVersion, MsisdnForm,
    confirmation_reply, parse_register, validation_reply,
};
pub use error::{ApiError, Endpoint, ErrorKind, Remedy, error_body};
pub use outcome::StkOutcome;
pub use stk::{
    NumberStyle, ParseError, StkAccepted, StkCallback, StkPush, StkPushError, StkQuery, StkQueryReply,
    TransactionType, parse_push, parse_query,
};
pub use token::{AccessToken, basic_authorization, parse_token};

use base64::Engine as _;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use std::net::Ipv4Addr;

/// Daraja's host for tests; production is [PRODUCTION_BASE].
pub const SANDBOX_BASE: &str = "https://sandbox.safaricom.co.ke";
/// Daraja's host for real money.
pub const PRODUCTION_BASE: &str = "https://api.safaricom.co.ke";

/// GET with Basic authorization; the query names the only grant type.
pub const OAUTH_PATH: &str = "/oauth/v1/generate";
/// POST, starts a payment prompt.
pub const STK_PUSH_PATH: &str = "/mpesa/stkpush/v1/processrequest";
/// POST, asks how a payment prompt ended.
pub const STK_QUERY_PATH: &str = "/mpesa/stkpushquery/v1/query";

/// Where Safaricom's callbacks come from. Not published officially; callers keep it overridable.
pub const CALLBACK_SOURCES: [Ipv4Addr; 14] = [
    Ipv4Addr::new(196, 201, 214, 200),
    Ipv4Addr::new(196, 201, 214, 206),
    Ipv4Addr::new(196, 201, 214, 207),
    Ipv4Addr::new(196, 201, 214, 208),
    Ipv4Addr::new(196, 201, 213, 114),
    Ipv4Addr::new(196, 201, 213, 44),
    Ipv4Addr::new(196, 201, 212, 127),
    Ipv4Addr::new(196, 201, 212, 128),
    Ipv4Addr::new(196, 201, 212, 129),
    Ipv4Addr::new(196, 201, 212, 132),
    Ipv4Addr::new(196, 201, 212, 136),
    Ipv4Addr::new(196, 201, 212, 138),
    Ipv4Addr::new(196, 201, 212, 69),
    Ipv4Addr::new(196, 201, 212, 74),
];

/// Words that make Daraja refuse a callback URL, wherever they stand in it.
pub const CALLBACK_URL_WORDS: [&str; 7] = ["mpesa", "m-pesa", "safaricom", "sql", "query", "cmd", "exe"];

/// East Africa Time: no daylight saving, so a fixed offset is exact.
const EAT: Offset = Offset::constant(3);

/// `YYYYMMDDHHmmss` in East Africa Time, the form of `Timestamp` in every signed request.
pub fn timestamp(at: Timestamp) -> String {
    let local = EAT.to_datetime(at);
    format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}",
        local.year(),
        local.month(),
        local.day(),
        local.hour(),
        local.minute(),
        local.second()
    )
}

/// Reads [timestamp]'s form, also Daraja's `TransactionDate` and `TransTime`; `None` when it is no
/// valid civil time.
pub fn parse_timestamp(text: &str) -> Option<Timestamp> {
    if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| text[from..to].parse::<i8>().ok();
    let year = text[0..4].parse::<i16>().ok()?;
    let local =
        DateTime::new(year, part(4, 6)?, part(6, 8)?, part(8, 10)?, part(10, 12)?, part(12, 14)?, 0).ok()?;
    EAT.to_timestamp(local).ok()
}

/// The `Password` of STK requests: base64 of shortcode, passkey and the same request's `Timestamp`.
pub fn password(shortcode: &str, passkey: &str, timestamp: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{shortcode}{passkey}{timestamp}"))
}

/// Why Daraja would refuse a callback URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallbackUrlError {
    /// Production takes public HTTPS only.
    #[error("M-PESA only calls back to https URLs")]
    NotHttps,
    /// The URL contains a word of [CALLBACK_URL_WORDS].
    #[error("M-PESA refuses callback URLs that contain {0:?}")]
    ForbiddenWord(&'static str),
}

/// Checks a callback URL against the rules of production. Call it at start-up, so that a wrong
/// configuration shows before the first patient pays.
pub fn check_callback_url(url: &str) -> Result<(), CallbackUrlError> {
    let url = url.to_ascii_lowercase();
    if !url.starts_with("https://") {
        return Err(CallbackUrlError::NotHttps);
    }
    match CALLBACK_URL_WORDS.iter().find(|word| url.contains(**word)) {
        Some(word) => Err(CallbackUrlError::ForbiddenWord(word)),
        None => Ok(()),
    }
}

/// Text that Daraja takes in any text field: printable ASCII without `@`, `#` and `&` (which make
/// requests fail), single spaces, at most `chars_max` characters.
pub fn clean_text(text: &str, chars_max: usize) -> String {
    let mut clean = String::new();
    for character in text.chars() {
        if clean.len() >= chars_max {
            break;
        }
        match character {
            '@' | '#' | '&' => {}
            ' ' | '\t' | '\n' | '\r' if !clean.is_empty() && !clean.ends_with(' ') => clean.push(' '),
            '!'..='~' => clean.push(character),
            _ => {}
        }
    }
    clean.truncate(clean.trim_end().len());
    clean
}
