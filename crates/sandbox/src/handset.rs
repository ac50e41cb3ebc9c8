//! Virtual handsets: a number, messages, an M-PESA wallet, and the prompt that is open.

use jiff::Timestamp;
use serde::Serialize;
use std::collections::VecDeque;

/// Messages that a handset keeps; the oldest go first.
pub const MESSAGES_MAX: usize = 200;
/// Characters of a message that are kept.
pub const MESSAGE_CHARS_MAX: usize = 1_600;
/// Largest balance that can be set, in cents: ten million shillings.
pub const BALANCE_MINOR_MAX: i64 = 1_000_000_000;
/// PIN of a new handset.
pub const PIN_DEFAULT: &str = "1234";
/// Balance of a new handset in cents: 50,000 shillings.
pub const BALANCE_MINOR_DEFAULT: i64 = 5_000_000;

/// Digits of an international number, without plus sign. Takes `+254 712-345678`, `254712345678` and
/// the Kenyan `0712345678`; `None` for anything that is no number of 8 to 15 digits.
pub fn normalise(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.strip_prefix('+').unwrap_or(text);
    let digits: String = text.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')')).collect();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = match digits.strip_prefix('0') {
        Some(rest) if rest.len() == 9 => format!("254{rest}"),
        Some(_) => return None,
        None => digits,
    };
    (8..=15).contains(&digits.len()).then_some(digits)
}

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// To the handset.
    Received,
    /// From the handset.
    Sent,
}

/// A message on a handset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Increases over the whole sandbox.
    pub id: u64,
    /// When it arrived or was sent.
    pub at: Timestamp,
    /// Which way.
    pub direction: Direction,
    /// Who wrote to the handset, or to whom it wrote.
    pub party: String,
    /// The text.
    pub text: String,
    /// Parts that the network bills.
    pub parts: usize,
}

/// A request to pay that is on the handset's screen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Prompt {
    /// The CheckoutRequestID.
    pub id: String,
    /// What is asked for, in cents.
    pub amount_minor: i64,
    /// Who asks.
    pub business: String,
    /// AccountReference.
    pub account: String,
    /// TransactionDesc.
    pub description: String,
    /// When it appeared.
    pub opened_at: Timestamp,
    /// When it goes away by itself.
    pub expires_at: Timestamp,
}

/// A message that waits for a handset that is off.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub from: String,
    pub text: String,
    pub message_id: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Handset {
    pub msisdn: String,
    pub pin: String,
    pub balance_minor: i64,
    pub reachable: bool,
    pub messages: VecDeque<Message>,
    pub held: VecDeque<Held>,
    pub prompt: Option<Prompt>,
    /// Changes with every change of the handset.
    pub version: u64,
}

impl Handset {
    pub fn new(msisdn: String) -> Handset {
        Handset {
            msisdn,
            pin: PIN_DEFAULT.to_owned(),
            balance_minor: BALANCE_MINOR_DEFAULT,
            reachable: true,
            messages: VecDeque::new(),
            held: VecDeque::new(),
            prompt: None,
            version: 0,
        }
    }

    pub fn push(&mut self, message: Message) {
        if self.messages.len() >= MESSAGES_MAX {
            self.messages.pop_front();
        }
        self.messages.push_back(message);
    }

    pub fn hold(&mut self, held: Held) {
        if self.held.len() >= MESSAGES_MAX {
            self.held.pop_front();
        }
        self.held.push_back(held);
    }

    pub fn view(&self) -> HandsetView {
        HandsetView {
            msisdn: self.msisdn.clone(),
            pin: self.pin.clone(),
            balance_minor: self.balance_minor,
            reachable: self.reachable,
            held: self.held.len(),
            prompt: self.prompt.clone(),
            messages: self.messages.iter().cloned().collect(),
        }
    }

    pub fn summary(&self) -> HandsetSummary {
        HandsetSummary {
            msisdn: self.msisdn.clone(),
            balance_minor: self.balance_minor,
            reachable: self.reachable,
            prompt: self.prompt.clone(),
            message_count: self.messages.len(),
            last_message: self.messages.back().cloned(),
        }
    }
}

/// A handset as the page and the API show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HandsetView {
    /// Digits.
    pub msisdn: String,
    /// Four digits.
    pub pin: String,
    /// In cents.
    pub balance_minor: i64,
    /// Whether it is switched on.
    pub reachable: bool,
    /// Messages that wait until it is.
    pub held: usize,
    /// The open request to pay.
    pub prompt: Option<Prompt>,
    /// Oldest first.
    pub messages: Vec<Message>,
}

/// A handset in the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HandsetSummary {
    /// Digits.
    pub msisdn: String,
    /// In cents.
    pub balance_minor: i64,
    /// Whether it is switched on.
    pub reachable: bool,
    /// The open request to pay.
    pub prompt: Option<Prompt>,
    /// Messages it keeps.
    pub message_count: usize,
    /// The newest.
    pub last_message: Option<Message>,
}
