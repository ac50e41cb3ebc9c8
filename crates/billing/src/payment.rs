//! A payment and its states: `created → submitting → awaiting → paid | failed | expired | cancelled | unknown`.
//!
//! `paid` is absorbing. Money that arrives late moves any other state to `paid`: the shilling is on the account.

use crate::invoice::{self, Invoice};
use crate::money::Money;
use crate::mpesa::SETTLE_ATTEMPTS;
use crate::{Billing, chart, texts};
use access::Ctx;
use access::policy::{Capability, may};
use fhir::ResourceKey;
use jiff::Timestamp;
use record::{ChangeSet, Effect, Error, Event, Rule};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use store::payment::{Move, NewPayment, Payment, State};
use uuid::Uuid;

/// States from which money may still arrive.
pub(crate) const OPEN: &[State] = &[State::Created, State::Submitting, State::Awaiting];
/// Every state but `paid`.
pub(crate) const UNPAID: &[State] = &[
    State::Created,
    State::Submitting,
    State::Awaiting,
    State::Failed,
    State::Expired,
    State::Unknown,
    State::Cancelled,
];
/// Payments looked at of one invoice; tries beyond this are refused.
const ATTEMPTS_MAX: u32 = 100;

/// Why a payment is where it is; the web client translates it.
pub mod reason {
    pub const WRONG_PIN: &str = "wrong-pin";
    pub const CANCELLED: &str = "cancelled-by-user";
    pub const TIMEOUT: &str = "timeout";
    pub const INSUFFICIENT: &str = "insufficient-funds";
    pub const LIMIT: &str = "limit-exceeded";
    pub const UNREACHABLE: &str = "unreachable";
    pub const BUSY: &str = "busy";
    pub const AMOUNT_DIFFERS: &str = "amount-differs";
    pub const NEEDS_REVIEW: &str = "needs-review";
    pub const PROVIDER_DOWN: &str = "provider-down";
}

/// How to pay by hand when no prompt appears.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Fallback {
    pub paybill: String,
    /// The account number to enter: the invoice's number.
    pub account: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct PaymentView {
    pub id: String,
    pub invoice_id: String,
    /// `mpesa` or `cash`
    pub method: String,
    pub amount: Money,
    pub phone_masked: Option<String>,
    /// `created`, `submitting`, `awaiting`, `paid`, `failed`, `expired`, `cancelled` or `unknown`
    pub state: String,
    /// `wrong-pin`, `cancelled-by-user`, `timeout`, `insufficient-funds`, `limit-exceeded`, `unreachable`, `busy`,
    /// `amount-differs`, `needs-review` or `provider-down`
    pub reason: Option<String>,
    pub receipt_number: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// Whether a new payment of this invoice may be started.
    pub can_retry: bool,
    pub fallback: Option<Fallback>,
}

impl PaymentView {
    pub(crate) fn of(p: Payment, is_due: bool, fallback: Option<Fallback>) -> PaymentView {
        let ended = matches!(p.state, State::Failed | State::Expired | State::Cancelled);
        PaymentView {
            id: p.id.to_string(),
            invoice_id: p.invoice.id,
            fallback: fallback.filter(|_| p.method == "mpesa" && p.state != State::Paid),
            method: p.method,
            amount: Money::new(p.amount_minor, p.currency),
            phone_masked: p.phone.as_deref().map(wire::phone::masked),
            state: p.state.code().into(),
            reason: p.reason,
            receipt_number: p.receipt,
            created_at: p.created,
            updated_at: p.updated,
            can_retry: ended && is_due,
        }
    }
}

/// A request to pay an invoice.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PaymentInput {
    /// `mpesa` or `cash` (cashiers only)
    pub method: String,
    /// The number that gets the prompt, in any form; the patient's own if missing.
    pub phone: Option<String>,
    /// What is due if missing. M-PESA takes whole shillings.
    pub amount_minor: Option<i64>,
}

/// What came in for an invoice that is not set aside as unallocated.
pub(crate) fn paid_minor(payments: &[Payment]) -> i64 {
    payments.iter().filter(|p| p.state == State::Paid).map(|p| p.amount_minor).sum()
}

/// The amount of a new payment. Errors: nothing is due, another payment is open, an amount out of range.
fn amount_to_pay(invoice: &Invoice, before: &[Payment], asked: Option<i64>) -> Result<i64, Rule> {
    let due = invoice.total.amount_minor - paid_minor(before);
    if invoice.status != invoice::Status::Issued || due <= 0 {
        return Err(Rule::new("nothing-due", "This invoice is paid or cancelled."));
    }
    let amount = asked.unwrap_or(due);
    if amount <= 0 {
        return Err(Rule::new("amount-invalid", "The amount must be more than zero.").at("/amount_minor"));
    }
    if amount > due {
        return Err(
            Rule::new("amount-too-much", format!("Only {due} is due (minor units).")).at("/amount_minor")
        );
    }
    Ok(amount)
}

/// What may still be waiting for the payer. `unknown` counts: a second prompt could take the money twice.
pub(crate) fn open_payment(before: &[Payment]) -> Option<&Payment> {
    before.iter().find(|p| OPEN.contains(&p.state) || p.state == State::Unknown)
}

/// The id of the next payment of an invoice. Two starters at once make the same id, and only one is written.
pub(crate) fn next_id(invoice: &ResourceKey, before: usize) -> Uuid {
    invoice::derived_id("payment", &format!("{}/{before}", invoice.id))
}

pub(crate) fn changed(payment: &Uuid, invoice: &ResourceKey, state: State) -> Event {
    Event {
        topic: "payment.changed",
        subject: invoice.clone(),
        data: json!({"id": payment.to_string(), "invoice_id": invoice.id, "state": state.code()}),
    }
}

pub(crate) fn step(payment: &Payment, from: &[State], to: State, at: Timestamp) -> Move {
    Move {
        id: payment.id,
        from: from.to_vec(),
        to,
        at,
        reason: None,
        detail: None,
        merchant_request: None,
        checkout_request: None,
        receipt: None,
    }
}

/// Money arrived: the payment is paid, the posting made, the invoice balanced when nothing is left,
/// the payer told. `before` are all payments of the invoice, this one included.
pub(crate) fn plan_settle(
    payment: &Payment,
    invoice: &Invoice,
    before: &[Payment],
    receipt: &str,
    message: Option<store::message::NewMessage>,
    at: Timestamp,
) -> ChangeSet {
    let mut paid = step(payment, UNPAID, State::Paid, at);
    paid.receipt = Some(receipt.to_owned());
    let post = chart::transfer(
        "payment.received",
        // The payment, not its receipt: a payment found by query learns its receipt number later.
        format!("payment:{}", payment.id),
        Some(&invoice.key),
        chart::account_of(&payment.method),
        chart::RECEIVABLE,
        payment.amount_minor,
        &payment.currency,
        at,
    );
    let others = before.iter().filter(|p| p.id != payment.id && p.state == State::Paid);
    let total_paid = others.map(|p| p.amount_minor).sum::<i64>() + payment.amount_minor;
    let mut set = ChangeSet {
        changes: vec![invoice::settled(invoice, total_paid)],
        effects: vec![Effect::PaymentMove(paid), post],
        events: vec![changed(&payment.id, &invoice.key, State::Paid)],
        ..ChangeSet::default()
    };
    set.effects.extend(message.map(Effect::Message));
    set
}

impl Billing {
    pub(crate) async fn payments_of(&self, invoice: &ResourceKey) -> Result<Vec<Payment>, Error> {
        let filter = store::payment::Filter { invoice: Some(invoice.clone()), ..Default::default() };
        self.record
            .store_read(move |tx| Ok(store::payment::list(tx, &filter, None, ATTEMPTS_MAX)?.rows))
            .await
    }

    pub(crate) fn fallback(&self, number: &str) -> Option<Fallback> {
        let paybill = self.mpesa.as_ref()?.shortcode().to_owned();
        Some(Fallback { paybill, account: number.to_owned() })
    }

    /// Starts a payment: M-PESA asks the phone, cash is settled at once.
    /// Errors: `NotFound`, `Denied` (cash by anybody but a cashier), [Rule]s `nothing-due`, `amount-invalid`,
    /// `amount-too-much`, `amount-not-whole`, `phone-invalid`, `method-unknown`, `mpesa-off`;
    /// `Duplicate` `payment-open` with `details.payment_id`.
    pub async fn pay(&self, ctx: &Ctx, invoice_id: &str, input: &PaymentInput) -> Result<PaymentView, Error> {
        for _ in 1..SETTLE_ATTEMPTS {
            match self.pay_once(ctx, invoice_id, input).await {
                // Another payment of this invoice settled meanwhile: what is due must be worked out again.
                Err(Error::VersionConflict { .. }) => {}
                other => return other,
            }
        }
        self.pay_once(ctx, invoice_id, input).await
    }

    async fn pay_once(
        &self,
        ctx: &Ctx,
        invoice_id: &str,
        input: &PaymentInput,
    ) -> Result<PaymentView, Error> {
        let invoice = self.load_invoice(ctx, invoice_id).await?;
        if !self.may_pay(ctx, &invoice) {
            return Err(Error::Denied);
        }
        let before = self.payments_of(&invoice.key).await?;
        if let Some(same) = self.repeated(ctx, &before).await? {
            return self.payment(ctx, &same.to_string()).await;
        }
        if let Some(open) = open_payment(&before) {
            return Err(open_conflict(&open.id));
        }
        if before.len() >= ATTEMPTS_MAX as usize {
            return Err(Error::Rule(Rule::new(
                "too-many-attempts",
                "This invoice had too many tries; ask the cashier.",
            )));
        }
        let amount_minor = amount_to_pay(&invoice, &before, input.amount_minor).map_err(Error::Rule)?;
        let new = NewPayment {
            id: next_id(&invoice.key, before.len()),
            invoice: invoice.key.clone(),
            patient: Some(invoice.patient.clone()),
            method: input.method.clone(),
            amount_minor,
            currency: invoice.total.currency.clone(),
            phone: None,
            callback_token_hash: None,
            account: ctx.user().map(|u| u.account),
            created: ctx.now,
        };
        let id = new.id;
        let written = match input.method.as_str() {
            "mpesa" => self.start_mpesa(ctx, &invoice, new, input).await,
            "cash" => self.take_cash(ctx, &invoice, &before, new).await,
            _ => Err(Error::Rule(Rule::new("method-unknown", "Pay by `mpesa` or `cash`.").at("/method"))),
        };
        match written {
            // Cash is settled at once, so the other payment is over by now: look again.
            Err(Error::Duplicate(rule)) if rule.code == "payment-open" && input.method == "cash" => {
                Err(Error::VersionConflict { current: None })
            }
            Err(Error::Duplicate(rule)) if rule.code == "payment-open" => Err(open_conflict(&id)),
            Err(other) => Err(other),
            Ok(()) => self.payment(ctx, &id.to_string()).await,
        }
    }

    /// The payment that an earlier request with this idempotency key started: the caller's newest of this invoice.
    async fn repeated(&self, ctx: &Ctx, before: &[Payment]) -> Result<Option<Uuid>, Error> {
        if ctx.idempotency_key.is_none() {
            return Ok(None);
        }
        for command in ["payment.start", "payment.cash"] {
            if self.record.replayed(ctx, command).await?.is_some() {
                let account = ctx.user().map(|u| u.account);
                let own = before.iter().filter(|p| p.account == account);
                return Ok(own.max_by_key(|p| p.created).map(|p| p.id));
            }
        }
        Ok(None)
    }

    fn may_pay(&self, ctx: &Ctx, invoice: &Invoice) -> bool {
        let own = ctx
            .user()
            .is_some_and(|user| user.acts_for(&invoice.patient.id, access::Class::Billing, ctx.now));
        own || may(ctx, Capability::TakePayment)
    }

    async fn take_cash(
        &self,
        ctx: &Ctx,
        invoice: &Invoice,
        before: &[Payment],
        new: NewPayment,
    ) -> Result<(), Error> {
        if !may(ctx, Capability::TakePayment) {
            return Err(Error::Denied);
        }
        let receipt = format!("C{}", invoice::number_of(&new.id));
        let payment = Payment::from_new(&new);
        let mut set = plan_settle(
            &payment,
            invoice,
            before,
            &receipt,
            self.paid_message(ctx, &payment, &receipt).await?,
            ctx.now,
        );
        set.effects.insert(0, Effect::PaymentCreate(new));
        self.record.command(ctx, "payment.cash", set).await.map(drop)
    }

    /// The SMS that tells the patient; `None` without a phone number.
    pub(crate) async fn paid_message(
        &self,
        ctx: &Ctx,
        payment: &Payment,
        receipt: &str,
    ) -> Result<Option<store::message::NewMessage>, Error> {
        let Some(patient) = &payment.patient else { return Ok(None) };
        let Some((resource, _)) = self.record.load(&self.system(), patient).await? else { return Ok(None) };
        let Some(phone) = payment.phone.clone().or_else(|| phone_of(resource.value())) else {
            return Ok(None);
        };
        let language = language_of(resource.value());
        let amount = Money::new(payment.amount_minor, payment.currency.clone()).shown();
        let body = texts::paid(&language, &self.clinic.name, &amount, receipt);
        let id = invoice::derived_id("message", &format!("paid/{receipt}"));
        let mut message = store::message::NewMessage::sms(phone, language, "payment.paid", body, ctx.now, id);
        message.patient = Some(patient.clone());
        Ok(Some(message))
    }

    pub(crate) async fn load_payment(&self, id: &str) -> Result<Payment, Error> {
        let id: Uuid = id.parse().map_err(|_| Error::NotFound)?;
        self.record.store_read(move |tx| store::payment::load(tx, &id)).await?.ok_or(Error::NotFound)
    }

    /// Errors: `NotFound` also where the caller may not see its invoice.
    pub async fn payment(&self, ctx: &Ctx, id: &str) -> Result<PaymentView, Error> {
        let payment = self.load_payment(id).await?;
        let invoice = self.load_invoice(ctx, &payment.invoice.id).await?;
        let is_due = invoice.status == invoice::Status::Issued;
        Ok(PaymentView::of(payment, is_due, self.fallback(&invoice.number)))
    }
}

fn open_conflict(id: &Uuid) -> Error {
    let rule = Rule::new("payment-open", "A payment of this invoice is under way.");
    Error::Duplicate(rule.with(json!({"payment_id": id.to_string()})))
}

/// The first mobile or other phone number of a Patient, E.164.
pub(crate) fn phone_of(patient: &Value) -> Option<String> {
    let telecom = patient.get("telecom")?.as_array()?;
    telecom.iter().find(|t| t["system"] == "phone").and_then(|t| t.get("value")?.as_str().map(str::to_owned))
}

/// The preferred language of a Patient; English if none is recorded.
pub(crate) fn language_of(patient: &Value) -> String {
    let all = patient.get("communication").and_then(Value::as_array);
    let preferred = all.into_iter().flatten().max_by_key(|c| c["preferred"] == true);
    preferred.and_then(|c| c.pointer("/language/coding/0/code")?.as_str()).unwrap_or("en").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_a_patient_prefers() {
        let patient = json!({"communication": [{"language": {"coding": [{"code": "luo"}]}},
            {"language": {"coding": [{"code": "sw"}]}, "preferred": true}]});
        assert_eq!(language_of(&patient), "sw");
        assert_eq!(language_of(&json!({})), "en");
    }

    #[test]
    fn the_same_try_has_the_same_id() {
        let invoice = ResourceKey::new(fhir::TypeId::INVOICE, "i");
        assert_eq!(next_id(&invoice, 0), next_id(&invoice, 0));
        assert_ne!(next_id(&invoice, 0), next_id(&invoice, 1));
    }
}
