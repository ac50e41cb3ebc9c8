//! Callbacks of prompts: kept raw, acknowledged, then believed only as far as they match.

use super::CALLBACK;
use super::address::{hash, hex};
use crate::payment::{self, UNPAID, reason};
use crate::{Billing, JobError, chart};
use record::{ChangeSet, Effect, Error};
use serde_json::json;
use sha2::{Digest, Sha256};
use store::job::NewJob;
use store::payment::{Payment, State};
use wire::daraja::{StkCallback, StkOutcome};

pub(super) const SOURCE: &str = "mpesa.stk";
/// Tries to have a success confirmed by query; then the matching address, id and amount are enough.
const CONFIRM_ATTEMPTS: u32 = 4;

impl Billing {
    /// Stores a callback that came to `/hooks/daraja/stk/{token}`. Returns after it is durable: answer 200 then.
    /// Errors: `NotFound` for an address that belongs to no payment.
    pub async fn receive_stk(&self, token: &str, body: &[u8]) -> Result<(), Error> {
        let hash = hash(token);
        let payment = self.record.store_read(move |tx| store::payment::by_token_hash(tx, &hash)).await?;
        let payment = payment.ok_or(Error::NotFound)?;
        let key = hex(&Sha256::digest([token.as_bytes(), b"/", body].concat()));
        let data = json!({"payment_id": payment.id.to_string(), "key": key});
        let mut job = NewJob::new(CALLBACK, format!("callback/{}", payment.id), data, self.record.now());
        job.backoff_s = 2;
        let set = ChangeSet {
            effects: vec![Effect::Inbox { source: SOURCE, key, body: body.to_vec() }, Effect::Job(job)],
            ..ChangeSet::default()
        };
        self.record.command(&self.system(), "mpesa.callback", set).await.map(drop)
    }

    pub(crate) async fn process_callback(&self, id: &str, key: &str, attempt: u32) -> Result<(), JobError> {
        let key = key.to_owned();
        let item = self.record.store_read(move |tx| store::inbox::load(tx, SOURCE, &key)).await?;
        let item = item.ok_or_else(|| JobError::Dead("the message is gone from the inbox".into()))?;
        let callback = StkCallback::parse(&item.body).map_err(|e| JobError::Dead(e.to_string()))?;
        let payment = self.load_payment(id).await?;
        if payment.checkout_request.as_ref().is_some_and(|own| *own != callback.checkout_request_id) {
            return Err(JobError::Dead("the callback names another prompt".into()));
        }
        let outcome = callback.outcome();
        if outcome != StkOutcome::Paid {
            return self.apply_unpaid(&payment, &outcome, &callback.result_desc).await.map(drop);
        }
        let Some(receipt) = callback.receipt.clone() else {
            return Err(JobError::Dead("a success without receipt number".into()));
        };
        if payment.state == State::Paid {
            return self.complete_receipt(&payment, &receipt).await;
        }
        let Some(amount_minor) = callback.amount_minor else {
            return Err(JobError::Dead("a success without a readable amount".into()));
        };
        match self.confirm(&callback).await {
            Some(StkOutcome::Paid) => {}
            // Daraja says otherwise than the caller of our address: nothing is released, a person looks.
            Some(other) if other.is_decided() => {
                let mut step = payment::step(&payment, UNPAID, State::Unknown, self.record.now());
                step.reason = Some(reason::NEEDS_REVIEW.into());
                step.detail = Some("a callback of success that the provider's query does not confirm".into());
                self.advance(&payment, step, None).await?;
                return Err(JobError::Dead("the query contradicts the callback".into()));
            }
            _ if attempt < CONFIRM_ATTEMPTS => {
                return Err(JobError::Retry("not confirmed by query yet".into()));
            }
            _ => {}
        }
        if amount_minor != payment.amount_minor {
            return self.set_aside(&payment, &receipt, amount_minor).await;
        }
        self.settle(&payment, &receipt).await
    }

    /// `None`: the query could not be asked.
    async fn confirm(&self, callback: &StkCallback) -> Option<StkOutcome> {
        let client = self.mpesa.as_ref()?;
        let reply = client.query(&callback.checkout_request_id, self.record.now()).await.ok()?;
        Some(reply.outcome())
    }

    /// A payment that was found by query gets the receipt number that the callback brings later.
    async fn complete_receipt(&self, payment: &Payment, receipt: &str) -> Result<(), JobError> {
        if payment.receipt.is_some() && payment.receipt != payment.checkout_request {
            return match payment.receipt.as_deref() == Some(receipt) {
                true => Ok(()),
                false => Err(JobError::Dead("a second receipt number for one payment".into())),
            };
        }
        let mut step = payment::step(payment, &[State::Paid], State::Paid, self.record.now());
        step.receipt = Some(receipt.to_owned());
        self.advance(payment, step, None).await
    }

    /// Another amount than asked for: the money is booked where a cashier finds it, the invoice stays open.
    async fn set_aside(&self, payment: &Payment, receipt: &str, amount_minor: i64) -> Result<(), JobError> {
        if amount_minor <= 0 {
            return Err(JobError::Dead("an amount that is not positive".into()));
        }
        let now = self.record.now();
        let mut step = payment::step(payment, UNPAID, State::Unknown, now);
        step.reason = Some(reason::AMOUNT_DIFFERS.into());
        step.detail = Some(format!("received {}", wire::money::two_places(amount_minor)));
        let post = chart::transfer(
            "payment.unallocated",
            format!("mpesa:{receipt}"),
            Some(&payment.invoice),
            chart::MPESA,
            chart::UNALLOCATED,
            amount_minor,
            &payment.currency,
            now,
        );
        let set = ChangeSet {
            effects: vec![Effect::PaymentMove(step), post],
            events: vec![payment::changed(&payment.id, &payment.invoice, State::Unknown)],
            ..ChangeSet::default()
        };
        match self.record.command(&self.system(), "payment.set-aside", set).await {
            Err(Error::Duplicate(rule)) if rule.code == "payment-state" => Ok(()),
            other => Ok(other.map(drop)?),
        }
    }
}
