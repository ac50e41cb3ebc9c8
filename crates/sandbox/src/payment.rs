//! What happens on the payer's side: prompts, PINs, balances, receipts and M-PESA's own messages.

use crate::fault::FaultKind;
use crate::handset::{BALANCE_MINOR_MAX, Direction, Prompt};
use crate::state::{C2bUrls, Sandbox, State, Transaction, WAIT_MAX};
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use rand::RngExt as _;
use serde_json::Value;
use std::time::Duration;
use wire::daraja::{
    C2bPayment, C2bResponseType, C2bVersion, NumberStyle, StkAccepted, StkCallback, StkPush, TransactionType,
};
use wire::money::{grouped, two_places};

/// Pause between two looks for prompts that have expired, while things change.
const EXPIRY_CHECK: Duration = Duration::from_millis(10);

/// What the payer does with a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Enters a PIN.
    Pin(String),
    /// Cancels.
    Cancel,
    /// Nothing, until the prompt goes away.
    TimeOut,
    /// Something else that the network then reports, to try codes that are rare.
    Result {
        /// `ResultCode`, not 0.
        code: String,
        /// `ResultDesc`.
        description: String,
    },
}

/// How a prompt ended.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Ended {
    /// The CheckoutRequestID.
    pub id: String,
    /// `ResultCode`.
    pub result_code: String,
    /// `ResultDesc`.
    pub result_desc: String,
    /// The receipt of a paid one.
    pub receipt: Option<String>,
    /// What is left, in cents.
    pub balance_minor: i64,
}

/// Why a payment to the paybill did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayBillError {
    /// Not the handset's PIN.
    #[error("the PIN is wrong")]
    WrongPin,
    /// The balance is too small.
    #[error("the balance is too small")]
    InsufficientFunds,
    /// The receiver's validation refused it.
    #[error("the receiver refused the payment: {0}")]
    Refused(String),
}

/// A prompt that has ended, with all that the callbacks need.
pub(crate) struct Settled {
    transaction: Transaction,
    callback: StkCallback,
    c2b: Option<(C2bUrls, C2bPayment)>,
    pub ended: Ended,
}

impl Sandbox {
    /// Opens a prompt on the payer's handset; `None` when the subscriber has one open already.
    pub(crate) fn open_prompt(&self, push: &StkPush) -> Option<StkAccepted> {
        let now = Timestamp::now();
        let msisdn = push.payer.to_string();
        self.change(|state| {
            if state.handset(&msisdn).prompt.is_some() {
                return None;
            }
            let number = state.next();
            let stamp = eat(now).strftime("%d%m%Y%H%M%S").to_string();
            let accepted = StkAccepted {
                merchant_request_id: format!("{}-{}-{number}", random_digits(5), random_digits(8)),
                checkout_request_id: format!("ws_CO_{stamp}{}{number:04}", random_digits(6)),
                customer_message: "Success. Request accepted for processing".to_owned(),
            };
            let amount_minor = i64::from(push.amount_shillings) * 100;
            state.remember(Transaction {
                checkout_request_id: accepted.checkout_request_id.clone(),
                merchant_request_id: accepted.merchant_request_id.clone(),
                msisdn: msisdn.clone(),
                amount_minor,
                account: push.account_reference.clone(),
                callback_url: push.callback_url.clone(),
                result_code: None,
                result_desc: None,
                receipt: None,
                shortcode: push.receiver.clone(),
                transaction_type: push.transaction_type,
            });
            let business = state.settings.business_name.clone();
            let timeout_ms = i64::try_from(state.settings.prompt_timeout_ms).unwrap_or(i64::MAX);
            let handset = state.handset(&msisdn);
            // A handset that is off shows nothing; the network gives up at once.
            let timeout = SignedDuration::from_millis(if handset.reachable { timeout_ms } else { 0 });
            handset.prompt = Some(Prompt {
                id: accepted.checkout_request_id.clone(),
                amount_minor,
                business,
                account: push.account_reference.clone(),
                description: push.description.clone(),
                opened_at: now,
                expires_at: now.saturating_add(timeout).unwrap_or(now),
            });
            Some(accepted)
        })
    }

    /// Takes prompts away that nobody answers, for as long as the sandbox runs.
    pub(crate) async fn expire_prompts(self) {
        let mut changes = self.watch();
        loop {
            changes.borrow_and_update();
            let next = self.read(|state| {
                let prompts = state
                    .handsets
                    .values()
                    .filter_map(|handset| Some((handset.prompt.as_ref()?, &handset.msisdn)));
                prompts
                    .min_by_key(|(prompt, _)| prompt.expires_at)
                    .map(|(prompt, msisdn)| (prompt.expires_at, prompt.id.clone(), msisdn.clone()))
            });
            let left = match next {
                None => WAIT_MAX,
                Some((expires_at, id, msisdn)) => {
                    let left = expires_at.duration_since(Timestamp::now());
                    if !left.is_positive() {
                        if let Some(settled) = self.settle(&msisdn, Some(&id), Reply::TimeOut) {
                            let sandbox = self.clone();
                            self.spawn(async move { sandbox.deliver(settled).await });
                        }
                        continue;
                    }
                    left.unsigned_abs()
                }
            };
            tokio::select! {
                () = tokio::time::sleep(left) => {}
                changed = changes.changed() => {
                    // A burst of changes is looked at once.
                    if changed.is_err() || !self.pause(EXPIRY_CHECK).await {
                        return;
                    }
                }
                () = self.stopped() => return,
            }
        }
    }

    /// Answers the open prompt and sends the callbacks; `None` when no prompt is open.
    pub fn answer(&self, msisdn: &str, reply: Reply) -> Option<Ended> {
        let settled = self.settle(msisdn, None, reply)?;
        let ended = settled.ended.clone();
        let sandbox = self.clone();
        self.spawn(async move { sandbox.deliver(settled).await });
        Some(ended)
    }

    /// Answers as the payer does who knows the PIN, without sending the callbacks yet.
    pub(crate) fn settle_with_pin(&self, msisdn: &str, id: &str) -> Option<Settled> {
        let pin = self.read(|state| state.handsets.get(msisdn).map(|handset| handset.pin.clone()))?;
        self.settle(msisdn, Some(id), Reply::Pin(pin))
    }

    /// Ends the prompt (the one named `id`, if given): moves the money and writes the messages.
    fn settle(&self, msisdn: &str, id: Option<&str>, reply: Reply) -> Option<Settled> {
        self.change(|state| {
            let handset = state.handsets.get_mut(msisdn)?;
            if id.is_some_and(|id| handset.prompt.as_ref().is_none_or(|prompt| prompt.id != id)) {
                return None;
            }
            let prompt = handset.prompt.take()?;
            let mut transaction = state.transactions.get(&prompt.id)?.clone();
            let now = Timestamp::now();
            let (code, description, note) = outcome(state, msisdn, &prompt, reply);
            let paid = code == "0";
            if paid {
                let receipt = receipt(now);
                let handset = state.handset(msisdn);
                handset.balance_minor -= prompt.amount_minor;
                let balance_minor = handset.balance_minor;
                let text = sent_text(
                    &receipt,
                    prompt.amount_minor,
                    &prompt.business,
                    &prompt.account,
                    now,
                    balance_minor,
                );
                state.message(msisdn, Direction::Received, "MPESA", &text);
                transaction.receipt = Some(receipt);
            } else if let Some(note) = note {
                state.message(msisdn, Direction::Received, "MPESA", &note);
            }
            transaction.result_code = Some(code.clone());
            transaction.result_desc = Some(description.clone());
            state.transactions.insert(prompt.id.clone(), transaction.clone());
            let callback = StkCallback {
                merchant_request_id: transaction.merchant_request_id.clone(),
                checkout_request_id: prompt.id.clone(),
                result_code: code.clone(),
                result_desc: description.clone(),
                amount_minor: paid.then_some(prompt.amount_minor),
                receipt: transaction.receipt.clone(),
                paid_at: paid.then_some(now),
                phone: paid.then(|| msisdn.to_owned()),
            };
            let c2b = state.c2b.clone().filter(|_| paid).map(|urls| {
                let payment = c2b_payment(&urls, &transaction, msisdn, now);
                (urls, payment)
            });
            let ended = Ended {
                id: prompt.id,
                result_code: code,
                result_desc: description,
                receipt: transaction.receipt.clone(),
                balance_minor: state.handset(msisdn).balance_minor,
            };
            Some(Settled { transaction, callback, c2b, ended })
        })
    }

    /// Sends the callbacks of an ended prompt, with the faults that are switched on.
    pub(crate) async fn deliver(&self, settled: Settled) {
        let Settled { transaction, callback, c2b, .. } = settled;
        let msisdn = transaction.msisdn.as_str();
        let processing_ms = self.read(|state| state.settings.processing_ms);
        if !self.pause(Duration::from_millis(processing_ms)).await {
            return;
        }
        for body in self.callback_bodies(callback, msisdn).await {
            // The answer is in the log; Daraja does not try again either.
            let _ = self.post_json(&transaction.callback_url, &body).await;
        }
        if let Some((urls, payment)) = c2b {
            self.confirm(&urls, &payment, msisdn).await;
        }
    }

    async fn callback_bodies(&self, mut callback: StkCallback, msisdn: &str) -> Vec<Value> {
        let fault = |kind| self.fault(kind, Some(msisdn));
        if let Some(delay) = fault(FaultKind::CallbackDelay) {
            self.pause(Duration::from_millis(delay.number().unsigned_abs())).await;
        }
        if fault(FaultKind::CallbackLost).is_some() {
            return Vec::new();
        }
        let mut bodies = Vec::new();
        let style = match fault(FaultKind::CallbackStringNumbers) {
            Some(_) => NumberStyle::Strings,
            None => NumberStyle::Numbers,
        };
        if let Some(amount_minor) = callback.amount_minor {
            if let Some(delta) = fault(FaultKind::CallbackAmountDelta) {
                callback.amount_minor = Some((amount_minor + delta.number()).max(0));
            }
            if fault(FaultKind::CallbackFailureThenSuccess).is_some() {
                let failure = StkCallback {
                    result_code: "1037".to_owned(),
                    result_desc: "DS timeout user cannot be reached".to_owned(),
                    amount_minor: None,
                    receipt: None,
                    paid_at: None,
                    phone: None,
                    ..callback.clone()
                };
                bodies.push(failure.to_json(style));
            }
        }
        let copies = 1 + fault(FaultKind::CallbackDuplicate).map_or(0, |fault| fault.number().max(0));
        for _ in 0..copies {
            bodies.push(callback.to_json(style));
        }
        bodies
    }

    /// A payment that the payer starts: "Lipa na M-PESA, Pay Bill". Returns the receipt.
    ///
    /// Errors: [PayBillError].
    pub async fn pay_bill(
        &self,
        msisdn: &str,
        pin: Option<&str>,
        amount_minor: i64,
        transaction_type: TransactionType,
        account: &str,
    ) -> Result<String, PayBillError> {
        let now = Timestamp::now();
        let (urls, validate) = self.change(|state| {
            let handset = state.handset(msisdn);
            if pin.is_some_and(|pin| pin != handset.pin) {
                return Err(PayBillError::WrongPin);
            }
            if handset.balance_minor < amount_minor {
                let note = insufficient_text(handset.balance_minor);
                state.message(msisdn, Direction::Received, "MPESA", &note);
                return Err(PayBillError::InsufficientFunds);
            }
            Ok((state.c2b.clone(), state.settings.c2b_validation))
        })?;
        let transaction = Transaction {
            checkout_request_id: String::new(),
            merchant_request_id: String::new(),
            msisdn: msisdn.to_owned(),
            amount_minor,
            account: account.to_owned(),
            callback_url: String::new(),
            result_code: None,
            result_desc: None,
            receipt: Some(receipt(now)),
            shortcode: urls
                .as_ref()
                .map_or_else(|| self.config().shortcode.clone(), |urls| urls.register.shortcode.clone()),
            transaction_type,
        };
        let receipt = transaction.receipt.clone().unwrap_or_default();
        let payment = urls.as_ref().map(|urls| c2b_payment(urls, &transaction, msisdn, now));
        if let (Some(urls), Some(payment), true) = (&urls, &payment, validate)
            && let Err(reason) = self.validate(urls, payment).await
        {
            let note =
                format!("Failed. The payment to account {account} was not accepted. Check and try again.");
            self.change(|state| state.message(msisdn, Direction::Received, "MPESA", &note));
            return Err(PayBillError::Refused(reason));
        }
        self.change(|state| {
            let business = state.settings.business_name.clone();
            let handset = state.handset(msisdn);
            // Somebody may have spent the money while the receiver was validating.
            if handset.balance_minor < amount_minor {
                return Err(PayBillError::InsufficientFunds);
            }
            handset.balance_minor -= amount_minor;
            let balance_minor = handset.balance_minor;
            let text = sent_text(&receipt, amount_minor, &business, account, now, balance_minor);
            state.message(msisdn, Direction::Received, "MPESA", &text);
            Ok(())
        })?;
        if let (Some(urls), Some(payment)) = (urls, payment) {
            let (sandbox, msisdn) = (self.clone(), msisdn.to_owned());
            self.spawn(async move {
                let processing_ms = sandbox.read(|state| state.settings.processing_ms);
                if sandbox.pause(Duration::from_millis(processing_ms)).await {
                    sandbox.confirm(&urls, &payment, &msisdn).await;
                }
            });
        }
        Ok(receipt)
    }

    /// Errors: why the receiver refused.
    async fn validate(&self, urls: &C2bUrls, payment: &C2bPayment) -> Result<(), String> {
        let before = C2bPayment { org_account_balance: String::new(), ..payment.clone() };
        let answer = self.post_json(&urls.register.validation_url, &before.to_json()).await;
        let code = answer.ok().filter(|answer| answer.status == 200).and_then(|answer| {
            let body: Value = serde_json::from_slice(&answer.body).ok()?;
            match body.get("ResultCode")? {
                Value::String(code) => Some(code.clone()),
                Value::Number(code) => Some(code.to_string()),
                _ => None,
            }
        });
        match (code.as_deref(), urls.register.response_type) {
            (Some("0"), _) | (None, C2bResponseType::Completed) => Ok(()),
            (Some(code), _) => Err(code.to_owned()),
            (None, C2bResponseType::Cancelled) => Err("no answer".to_owned()),
        }
    }

    async fn confirm(&self, urls: &C2bUrls, payment: &C2bPayment, msisdn: &str) {
        let fault = |kind| self.fault(kind, Some(msisdn));
        if let Some(delay) = fault(FaultKind::CallbackDelay) {
            self.pause(Duration::from_millis(delay.number().unsigned_abs())).await;
        }
        if fault(FaultKind::CallbackLost).is_some() {
            return;
        }
        let copies = 1 + fault(FaultKind::CallbackDuplicate).map_or(0, |fault| fault.number().max(0));
        for _ in 0..copies {
            let _ = self.post_json(&urls.register.confirmation_url, &payment.to_json()).await;
        }
    }
}

/// Code, description, and M-PESA's message for a prompt that was not paid.
fn outcome(state: &State, msisdn: &str, prompt: &Prompt, reply: Reply) -> (String, String, Option<String>) {
    let handset = state.handsets.get(msisdn);
    let balance_minor = handset.map_or(0, |handset| handset.balance_minor);
    let (code, description, note) = match reply {
        Reply::Pin(pin) if handset.is_none_or(|handset| handset.pin != pin) => (
            "2001",
            "The initiator information is invalid.",
            Some("Failed. You have entered the wrong M-PESA PIN. No money was taken.".to_owned()),
        ),
        Reply::Pin(_) if balance_minor < prompt.amount_minor => {
            ("1", "The balance is insufficient for the transaction.", Some(insufficient_text(balance_minor)))
        }
        Reply::Pin(_) => ("0", "The service request is processed successfully.", None),
        Reply::Cancel => ("1032", "Request cancelled by user", None),
        Reply::TimeOut => ("1037", "DS timeout user cannot be reached", None),
        Reply::Result { code, description } => return (code, description, None),
    };
    (code.to_owned(), description.to_owned(), note)
}

fn c2b_payment(urls: &C2bUrls, transaction: &Transaction, msisdn: &str, now: Timestamp) -> C2bPayment {
    C2bPayment {
        transaction_type: match transaction.transaction_type {
            TransactionType::PayBill => "Pay Bill".to_owned(),
            TransactionType::BuyGoods => "Buy Goods".to_owned(),
        },
        transaction_id: transaction.receipt.clone().unwrap_or_default(),
        paid_at: Some(now),
        amount_minor: transaction.amount_minor,
        shortcode: transaction.shortcode.clone(),
        bill_ref_number: transaction.account.chars().take(20).collect(),
        invoice_number: String::new(),
        org_account_balance: two_places(BALANCE_MINOR_MAX),
        third_party_transaction_id: String::new(),
        msisdn: match urls.version {
            C2bVersion::V1 => sha256_hex(msisdn),
            C2bVersion::V2 => masked(msisdn),
        },
        first_name: "SANDBOX".to_owned(),
        middle_name: String::new(),
        last_name: String::new(),
    }
}

fn sha256_hex(text: &str) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `25470****149`, as documented.
fn masked(msisdn: &str) -> String {
    if msisdn.len() < 9 {
        return "*".repeat(msisdn.len());
    }
    format!("{}****{}", &msisdn[..5], &msisdn[msisdn.len() - 3..])
}

fn eat(at: Timestamp) -> jiff::civil::DateTime {
    Offset::constant(3).to_datetime(at)
}

fn sent_text(
    receipt: &str,
    amount_minor: i64,
    business: &str,
    account: &str,
    at: Timestamp,
    balance_minor: i64,
) -> String {
    let when = eat(at);
    let (hour, half) = match when.hour() {
        0 => (12, "AM"),
        hour @ 1..12 => (hour, "AM"),
        12 => (12, "PM"),
        hour => (hour - 12, "PM"),
    };
    format!(
        "{receipt} Confirmed. Ksh{} sent to {business} for account {account} on {}/{}/{:02} at {hour}:{:02} {half}. \
         New M-PESA balance is Ksh{}. Transaction cost, Ksh0.00.",
        grouped(amount_minor),
        when.day(),
        when.month(),
        when.year() % 100,
        when.minute(),
        grouped(balance_minor),
    )
}

fn insufficient_text(balance_minor: i64) -> String {
    format!(
        "Failed. You do not have enough money in your M-PESA account to pay this. Your M-PESA balance is Ksh{}.",
        grouped(balance_minor)
    )
}

/// Ten characters as M-PESA makes them: letters for year, month and day, then seven at random.
fn receipt(at: Timestamp) -> String {
    const SYMBOLS: &[u8; 36] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let day = eat(at);
    let letter = |offset: i16| char::from(b'A' + u8::try_from(offset.rem_euclid(26)).unwrap_or(0));
    let symbol = |index: usize| char::from(SYMBOLS[index % 36]);
    let mut receipt = String::with_capacity(10);
    receipt.push(letter(day.year() - 2006));
    receipt.push(letter(i16::from(day.month()) - 1));
    receipt.push(symbol(usize::from(day.day().unsigned_abs())));
    let mut random = rand::rng();
    for _ in 0..7 {
        receipt.push(symbol(random.random_range(0..36)));
    }
    receipt
}

fn random_digits(count: u32) -> u32 {
    rand::rng().random_range(10_u32.pow(count - 1)..10_u32.pow(count))
}
