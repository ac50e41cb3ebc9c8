//! Prompts: started by the payer, submitted and followed by jobs until they end.

use super::client::is_kind;
use super::{CHECK, SUBMIT, address};
use crate::invoice::Invoice;
use crate::payment::{self, OPEN, PaymentInput, UNPAID, reason};
use crate::{Billing, JobError};
use access::Ctx;
use jiff::{SignedDuration, Timestamp};
use record::{ChangeSet, Effect, Error, Rule};
use serde_json::json;
use store::job::NewJob;
use store::payment::{Move, NewPayment, Payment, State};
use uuid::Uuid;
use wire::daraja::{ErrorKind, Remedy, StkOutcome, StkPush};
use wire::msisdn::Msisdn;

/// Tries to hand a prompt to Daraja while it is busy, some seconds apart: the payer looks at the phone.
const SUBMIT_ATTEMPTS: u32 = 3;
/// Waits before the next query of a prompt that is still open, in seconds; the last one repeats.
const CHECK_AFTER_S: &[i64] = &[12, 8, 10, 15, 20, 30, 60, 300, 900, 3600];
/// Then a person must look.
const CHECKS_MAX: u64 = 24;
/// A prompt ends on the phone within about a minute; nothing known after this, it is over.
const PROMPT_LIFE: SignedDuration = SignedDuration::from_mins(3);

impl Billing {
    pub(crate) async fn start_mpesa(
        &self,
        ctx: &Ctx,
        invoice: &Invoice,
        mut new: NewPayment,
        input: &PaymentInput,
    ) -> Result<(), Error> {
        let Some(client) = &self.mpesa else {
            return Err(Error::Rule(
                Rule::new("mpesa-off", "This clinic takes no M-PESA payments here.").at("/method"),
            ));
        };
        let phone = match &input.phone {
            Some(text) => wire::phone::parse(text, &self.clinic.country).map_err(|e| e.to_string()),
            None => {
                let patient = self.record.load(&self.system(), &invoice.patient).await?;
                patient.and_then(|(p, _)| payment::phone_of(p.value())).ok_or("Which number pays?".to_owned())
            }
        };
        let phone_rule = |text: String| Error::Rule(Rule::new("phone-invalid", text).at("/phone"));
        let msisdn = Msisdn::parse(&phone.map_err(phone_rule)?).map_err(|e| phone_rule(e.to_string()))?;
        if new.amount_minor % 100 != 0 {
            let rule = Rule::new("amount-not-whole", "M-PESA takes whole shillings.");
            return Err(Error::Rule(rule.at("/amount_minor")));
        }
        new.phone = Some(msisdn.e164());
        new.callback_token_hash =
            address::of_payment(client.config(), &new.id).map(|token| address::hash(&token));
        let event = payment::changed(&new.id, &invoice.key, State::Created);
        let mut submit = NewJob::new(
            SUBMIT,
            format!("payment/{}", new.id),
            json!({"payment_id": new.id.to_string()}),
            ctx.now,
        );
        submit.max_attempts = SUBMIT_ATTEMPTS;
        submit.backoff_s = 3;
        let set = ChangeSet {
            effects: vec![Effect::PaymentCreate(new), Effect::Job(submit)],
            events: vec![event],
            expect: vec![(invoice.key.clone(), invoice.version)],
            ..ChangeSet::default()
        };
        self.record.command(ctx, "payment.start", set).await.map(drop)
    }

    /// Hands the prompt to Daraja, once. A second run after a crash does not push again.
    pub(crate) async fn submit(&self, id: &str, attempt: u32) -> Result<(), JobError> {
        let payment = self.load_payment(id).await?;
        let Some(client) = &self.mpesa else { return Err(JobError::Dead("M-PESA is not configured".into())) };
        match payment.state {
            State::Created => {}
            // The program died after it had begun to call: only callback or silence can tell.
            State::Submitting => return self.follow(&payment, 0).await,
            _ => return Ok(()),
        }
        let now = self.record.now();
        self.advance(&payment, payment::step(&payment, &[State::Created], State::Submitting, now), None)
            .await?;
        let invoice = self.load_invoice(&self.system(), &payment.invoice.id).await?;
        let push = self.push_of(client.config(), &payment, &invoice.number, now)?;
        match client.push(&push, now).await {
            Ok(accepted) => {
                let mut step = payment::step(&payment, &[State::Submitting], State::Awaiting, now);
                step.merchant_request = Some(accepted.merchant_request_id);
                step.checkout_request = Some(accepted.checkout_request_id);
                self.advance(&payment, step, Some(0)).await
            }
            Err(error) => match error.remedy() {
                Remedy::RetryLater
                    if !is_kind(&error, &ErrorKind::SubscriberBusy) && attempt < SUBMIT_ATTEMPTS =>
                {
                    let back = payment::step(&payment, &[State::Submitting], State::Created, now);
                    self.advance(&payment, back, None).await?;
                    Err(JobError::Retry(error.to_string()))
                }
                Remedy::Reconcile => {
                    let mut step = payment::step(&payment, &[State::Submitting], State::Unknown, now);
                    step.reason = Some(reason::PROVIDER_DOWN.into());
                    step.detail = Some(error.to_string());
                    self.advance(&payment, step, Some(0)).await
                }
                Remedy::RetryLater | Remedy::RefreshToken | Remedy::GiveUp => {
                    let mut step = payment::step(&payment, &[State::Submitting], State::Failed, now);
                    let busy = is_kind(&error, &ErrorKind::SubscriberBusy);
                    step.reason = Some(if busy { reason::BUSY } else { reason::PROVIDER_DOWN }.into());
                    step.detail = Some(error.to_string());
                    self.advance(&payment, step, None).await
                }
            },
        }
    }

    fn push_of(
        &self,
        config: &super::Config,
        payment: &Payment,
        number: &str,
        now: Timestamp,
    ) -> Result<StkPush, JobError> {
        let phone = payment.phone.as_deref().unwrap_or_default();
        let payer = Msisdn::parse(phone).map_err(|e| JobError::Dead(e.to_string()))?;
        let token = address::of_payment(config, &payment.id).unwrap_or_default();
        let url = format!("{}/hooks/daraja/stk/{token}", config.callback_base_url);
        let description = "Clinic visit";
        StkPush::pay_bill(
            &config.shortcode,
            &config.passkey,
            now,
            payer,
            payment.amount_minor,
            &url,
            number,
            description,
        )
        .map_err(|e| JobError::Dead(e.to_string()))
    }

    /// Asks Daraja now, for a person who waits. The state after it is in the payment.
    pub async fn check_now(&self, ctx: &Ctx, id: &str) -> Result<payment::PaymentView, Error> {
        let view = self.payment(ctx, id).await?;
        let payment = self.load_payment(id).await?;
        if payment.state != State::Paid && payment.checkout_request.is_some() {
            match self.ask(&payment).await {
                Ok(_) | Err(JobError::Retry(_)) | Err(JobError::Dead(_)) => {}
            }
            return self.payment(ctx, id).await;
        }
        Ok(view)
    }

    /// One query in the life of a prompt; schedules the next one while it is open.
    pub(crate) async fn check(&self, id: &str, number: u64) -> Result<(), JobError> {
        let payment = self.load_payment(id).await?;
        if payment.state == State::Paid {
            return Ok(());
        }
        if payment.checkout_request.is_none() {
            return self.give_up_silent(&payment, number).await;
        }
        if !self.ask(&payment).await? {
            let payment = self.load_payment(id).await?;
            self.follow(&payment, number + 1).await?;
        }
        Ok(())
    }

    /// Nobody knows what became of the call: wait for a callback as long as a prompt can live, then call it expired.
    /// Money that arrives later still settles it.
    async fn give_up_silent(&self, payment: &Payment, number: u64) -> Result<(), JobError> {
        let now = self.record.now();
        if now.duration_since(payment.created) < PROMPT_LIFE {
            return self.follow(payment, number + 1).await;
        }
        let from = [State::Submitting, State::Unknown];
        let mut step = payment::step(payment, &from, State::Expired, now);
        step.reason = Some(reason::TIMEOUT.into());
        self.advance(payment, step, None).await
    }

    /// Queries once and applies the answer. Returns whether the prompt has ended for good.
    async fn ask(&self, payment: &Payment) -> Result<bool, JobError> {
        let Some(client) = &self.mpesa else { return Err(JobError::Dead("M-PESA is not configured".into())) };
        let checkout = payment.checkout_request.as_deref().unwrap_or_default();
        let now = self.record.now();
        let reply = match client.query(checkout, now).await {
            Ok(reply) => reply,
            // Not the payment failed but the question; ask again later.
            Err(_) => return Ok(false),
        };
        let outcome = reply.outcome();
        if outcome == StkOutcome::Paid {
            // A query names no receipt number: the prompt's own id stands in until a callback brings it.
            self.settle(payment, checkout).await?;
            return Ok(true);
        }
        self.apply_unpaid(payment, &outcome, &reply.result_desc).await
    }

    /// Applies an outcome that is not `paid`. Returns whether it is final.
    pub(crate) async fn apply_unpaid(
        &self,
        payment: &Payment,
        outcome: &StkOutcome,
        words: &str,
    ) -> Result<bool, JobError> {
        let now = self.record.now();
        let Some((to, why)) = unpaid(outcome) else { return Ok(false) };
        if payment.state != to || payment.reason.as_deref() != Some(why) {
            let mut from = OPEN.to_vec();
            from.push(State::Unknown);
            let mut step = payment::step(payment, &from, to, now);
            step.reason = Some(why.into());
            step.detail = Some(words.to_owned());
            self.advance(payment, step, None).await?;
        }
        Ok(!outcome.late_success_possible())
    }

    /// Commits a step, with the next check if asked. A payment that has moved on meanwhile stays where it is.
    pub(crate) async fn advance(
        &self,
        payment: &Payment,
        step: Move,
        next_check: Option<u64>,
    ) -> Result<(), JobError> {
        let event = payment::changed(&payment.id, &payment.invoice, step.to);
        let mut effects = vec![Effect::PaymentMove(step)];
        if let Some(number) = next_check {
            effects.push(Effect::Job(self.check_job(&payment.id, number)));
        }
        let set = ChangeSet { effects, events: vec![event], ..ChangeSet::default() };
        match self.record.command(&self.system(), "payment.move", set).await {
            Err(Error::Duplicate(rule)) if rule.code == "payment-state" => Ok(()),
            other => Ok(other.map(drop)?),
        }
    }

    async fn follow(&self, payment: &Payment, number: u64) -> Result<(), JobError> {
        if number > CHECKS_MAX {
            return Err(JobError::Dead("the prompt never ended; ask the provider".into()));
        }
        let set = ChangeSet {
            effects: vec![Effect::Job(self.check_job(&payment.id, number))],
            ..ChangeSet::default()
        };
        Ok(self.record.command(&self.system(), "payment.follow", set).await.map(drop)?)
    }

    fn check_job(&self, id: &Uuid, number: u64) -> NewJob {
        let wait = CHECK_AFTER_S.get(number as usize).or(CHECK_AFTER_S.last()).copied().unwrap_or(60);
        let at = self.record.now() + SignedDuration::from_secs(wait);
        NewJob::new(
            CHECK,
            format!("payment/{id}"),
            json!({"payment_id": id.to_string(), "check": number}),
            at,
        )
    }

    /// The money is there: posts it once. Concurrent settlers meet in the payment's state and the invoice's version.
    pub(crate) async fn settle(&self, payment: &Payment, receipt: &str) -> Result<(), JobError> {
        let ctx = self.system();
        for _ in 0..SETTLE_ATTEMPTS {
            let payment = self.load_payment(&payment.id.to_string()).await?;
            if !UNPAID.contains(&payment.state) {
                return Ok(());
            }
            let invoice = self.load_invoice(&ctx, &payment.invoice.id).await?;
            let before = self.payments_of(&invoice.key).await?;
            let message = self.paid_message(&ctx, &payment, receipt).await?;
            let set = payment::plan_settle(&payment, &invoice, &before, receipt, message, ctx.now);
            match self.record.command(&ctx, "payment.settle", set).await {
                Err(Error::VersionConflict { .. }) => continue,
                Err(Error::Duplicate(rule)) if rule.code == "payment-state" => return Ok(()),
                other => return Ok(other.map(drop)?),
            }
        }
        Err(JobError::Retry("the invoice keeps changing".into()))
    }
}

/// Payments of one invoice that settle at the same time and so look again.
pub(crate) const SETTLE_ATTEMPTS: u32 = 8;

/// Where an outcome leads. `None`: still open.
fn unpaid(outcome: &StkOutcome) -> Option<(State, &'static str)> {
    Some(match outcome {
        StkOutcome::Paid | StkOutcome::StillProcessing => return None,
        StkOutcome::Cancelled => (State::Cancelled, reason::CANCELLED),
        StkOutcome::WrongPin => (State::Failed, reason::WRONG_PIN),
        StkOutcome::InsufficientFunds => (State::Failed, reason::INSUFFICIENT),
        StkOutcome::LimitExceeded => (State::Failed, reason::LIMIT),
        StkOutcome::Expired => (State::Expired, reason::TIMEOUT),
        StkOutcome::Unreachable => (State::Expired, reason::UNREACHABLE),
        StkOutcome::Busy => (State::Failed, reason::BUSY),
        StkOutcome::NeedsReview(_) => (State::Unknown, reason::NEEDS_REVIEW),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_place() {
        for (code, expected) in [
            ("0", None),
            ("4999", None),
            ("1", Some((State::Failed, "insufficient-funds"))),
            ("1032", Some((State::Cancelled, "cancelled-by-user"))),
            ("2001", Some((State::Failed, "wrong-pin"))),
            ("1037", Some((State::Expired, "unreachable"))),
            ("1019", Some((State::Expired, "timeout"))),
            ("31337", Some((State::Unknown, "needs-review"))),
        ] {
            assert_eq!(unpaid(&StkOutcome::of(code)), expected, "{code}");
        }
    }
}
