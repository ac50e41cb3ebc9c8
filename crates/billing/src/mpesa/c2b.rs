//! Paybill payments that people make by hand, with the invoice's number as the account.

use super::C2B_CONFIRMATION;
use super::SETTLE_ATTEMPTS;
use super::address::{self, hex};
use super::client::{Paybill, is_kind};
use crate::invoice::{self, Invoice, Status, derived_id};
use crate::payment::{self, UNPAID};
use crate::{Billing, JobError, SYSTEM, chart};
use jiff::SignedDuration;
use record::{ChangeSet, Effect, Error};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use store::job::NewJob;
use store::payment::{NewPayment, Payment, State};
use wire::daraja::{
    C2bPayment, C2bRefusal, C2bRegister, C2bResponseType, confirmation_reply, validation_reply,
};

const SOURCE: &str = "mpesa.c2b";
/// Between two tries to register with Daraja.
const PAYBILL_RETRY: SignedDuration = SignedDuration::from_mins(10);

impl Billing {
    /// Tells Daraja once where paybill payments are to be reported; may be called at every turn of the worker.
    /// Does nothing without M-PESA. A failure is tried again after [PAYBILL_RETRY] and shows in the health.
    pub async fn register_paybill(&self) {
        let Some(client) = &self.mpesa else { return };
        let now = self.record.now();
        {
            let mut state = client.paybill.lock();
            match *state {
                Paybill::Registered => return,
                Paybill::Failed(at) if now.duration_since(at) < PAYBILL_RETRY => return,
                Paybill::Failed(_) | Paybill::Untried => *state = Paybill::Failed(now),
            }
        }
        let config = client.config();
        let Some(token) = address::of_paybill(config) else { return };
        let base = format!("{}/hooks/daraja/c2b/{token}", config.callback_base_url);
        let body = C2bRegister {
            shortcode: config.shortcode.clone(),
            response_type: C2bResponseType::Completed,
            confirmation_url: format!("{base}/confirmation"),
            validation_url: format!("{base}/validation"),
        };
        match client.register_c2b(&body.to_json(), now).await {
            Ok(_) => *client.paybill.lock() = Paybill::Registered,
            Err(error) if is_kind(&error, &wire::daraja::ErrorKind::AlreadyRegistered) => {
                *client.paybill.lock() = Paybill::Registered;
            }
            Err(error) => tracing::warn!(%error, "paybill payments cannot be registered with Daraja"),
        }
    }

    fn check_c2b_token(&self, token: &str) -> Result<(), Error> {
        let own = self.mpesa.as_ref().and_then(|c| address::of_paybill(c.config()));
        // Hashes are compared, so that the time taken says nothing about the token.
        match own {
            Some(own) if Sha256::digest(own.as_bytes()) == Sha256::digest(token.as_bytes()) => Ok(()),
            _ => Err(Error::NotFound),
        }
    }

    /// Answers whether an account number can take this payment. Errors: `NotFound` for a wrong token.
    pub async fn validate_c2b(&self, token: &str, body: &[u8]) -> Result<Value, Error> {
        self.check_c2b_token(token)?;
        let Ok(payment) = C2bPayment::parse(body) else {
            return Ok(validation_reply(Err(C2bRefusal::Other)));
        };
        let verdict = match self.invoice_by_number(&payment.bill_ref_number).await? {
            Some(invoice) if invoice.status == Status::Issued => Ok(()),
            _ => Err(C2bRefusal::InvalidAccount),
        };
        Ok(validation_reply(verdict))
    }

    /// Keeps a confirmation; it is sent once only. Errors: `NotFound` for a wrong token.
    pub async fn receive_c2b(&self, token: &str, body: &[u8]) -> Result<Value, Error> {
        self.check_c2b_token(token)?;
        let key = hex(&Sha256::digest(body));
        let job = NewJob::new(C2B_CONFIRMATION, format!("c2b/{key}"), json!({"key": key}), self.record.now());
        let set = ChangeSet {
            effects: vec![Effect::Inbox { source: SOURCE, key, body: body.to_vec() }, Effect::Job(job)],
            ..ChangeSet::default()
        };
        self.record.command(&self.system(), "mpesa.c2b", set).await?;
        Ok(confirmation_reply())
    }

    async fn invoice_by_number(&self, number: &str) -> Result<Option<Invoice>, Error> {
        let number = number.trim().to_uppercase().replace(['-', ' '], "");
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Ok(None);
        }
        let identifier = format!("{SYSTEM}/identifier/invoice|{number}");
        let found = self.record.find(&self.system(), "Invoice", &[("identifier", &identifier)], 2).await?;
        match found.into_iter().next() {
            Some((resource, version)) => invoice::read(resource, version).map(Some),
            None => Ok(None),
        }
    }

    pub(crate) async fn process_c2b(&self, key: &str) -> Result<(), JobError> {
        let key = key.to_owned();
        let item = self.record.store_read(move |tx| store::inbox::load(tx, SOURCE, &key)).await?;
        let item = item.ok_or_else(|| JobError::Dead("the message is gone from the inbox".into()))?;
        let received = C2bPayment::parse(&item.body).map_err(|e| JobError::Dead(e.to_string()))?;
        let own = self.mpesa.as_ref().map(|c| c.shortcode().to_owned()).unwrap_or_default();
        if received.shortcode != own || received.amount_minor <= 0 {
            return Err(JobError::Dead("another paybill, or no amount".into()));
        }
        for _ in 0..SETTLE_ATTEMPTS {
            if self.place(&received).await? {
                return Ok(());
            }
        }
        Err(JobError::Retry("the invoice keeps changing".into()))
    }

    /// Puts received money where it belongs. Returns false if the invoice changed meanwhile: look again.
    async fn place(&self, received: &C2bPayment) -> Result<bool, JobError> {
        let receipt = received.transaction_id.clone();
        let known = {
            let receipt = receipt.clone();
            self.record.store_read(move |tx| store::payment::by_receipt(tx, &receipt)).await?
        };
        if known.is_some() {
            return Ok(true);
        }
        let Some(invoice) = self.invoice_by_number(&received.bill_ref_number).await? else {
            return self.unallocated(None, &receipt, received.amount_minor).await.map(|()| true);
        };
        let before = self.payments_of(&invoice.key).await?;
        // A prompt to a paybill is reported here as well: it is the same money.
        let same = |p: &&Payment| p.method == "mpesa" && p.amount_minor == received.amount_minor;
        if let Some(paid) =
            before.iter().filter(same).find(|p| p.state == State::Paid && p.receipt == p.checkout_request)
        {
            let mut step = payment::step(paid, &[State::Paid], State::Paid, self.record.now());
            step.receipt = Some(receipt);
            return self.advance(paid, step, None).await.map(|()| true);
        }
        if let Some(open) =
            before.iter().filter(same).find(|p| UNPAID.contains(&p.state) && p.checkout_request.is_some())
        {
            return self.settle(open, &receipt).await.map(|()| true);
        }
        self.by_hand(&invoice, &before, &receipt, received.amount_minor).await
    }

    /// A payment that no prompt asked for. What exceeds the invoice is set aside. Returns as [Billing::place].
    async fn by_hand(
        &self,
        invoice: &Invoice,
        before: &[Payment],
        receipt: &str,
        amount_minor: i64,
    ) -> Result<bool, JobError> {
        let due = invoice.total.amount_minor - payment::paid_minor(before);
        let taken = amount_minor.min(due);
        if invoice.status != Status::Issued || taken <= 0 {
            return self.unallocated(Some(invoice), receipt, amount_minor).await.map(|()| true);
        }
        let ctx = self.system();
        let new = NewPayment {
            id: derived_id("payment", &format!("mpesa/{receipt}")),
            invoice: invoice.key.clone(),
            patient: Some(invoice.patient.clone()),
            method: "mpesa".into(),
            amount_minor: taken,
            currency: invoice.total.currency.clone(),
            phone: None,
            callback_token_hash: None,
            account: None,
            created: ctx.now,
        };
        let row = Payment::from_new(&new);
        let message = self.paid_message(&ctx, &row, receipt).await?;
        let mut set = payment::plan_settle(&row, invoice, before, receipt, message, ctx.now);
        set.effects.insert(0, Effect::PaymentCreate(new));
        if amount_minor > taken {
            set.effects.push(chart::transfer(
                "payment.excess",
                format!("mpesa:{receipt}"),
                Some(&invoice.key),
                chart::MPESA,
                chart::UNALLOCATED,
                amount_minor - taken,
                &invoice.total.currency,
                ctx.now,
            ));
        }
        match self.record.command(&ctx, "payment.c2b", set).await {
            Err(Error::VersionConflict { .. }) => Ok(false),
            Err(Error::Duplicate(_)) => Ok(true),
            other => Ok(other.map(|_| true)?),
        }
    }

    async fn unallocated(
        &self,
        invoice: Option<&Invoice>,
        receipt: &str,
        amount_minor: i64,
    ) -> Result<(), JobError> {
        let ctx = self.system();
        let post = chart::transfer(
            "payment.unallocated",
            format!("mpesa:{receipt}"),
            invoice.map(|i| &i.key),
            chart::MPESA,
            chart::UNALLOCATED,
            amount_minor,
            &self.clinic.currency,
            ctx.now,
        );
        let set = ChangeSet { effects: vec![post], ..ChangeSet::default() };
        Ok(self.record.command(&ctx, "payment.unallocated", set).await.map(drop)?)
    }
}
