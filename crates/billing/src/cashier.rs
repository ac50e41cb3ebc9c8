//! The cashier's day: what came in, what is to collect, what belongs to nobody yet, and whether the books balance.

use crate::invoice::{self, Invoice, InvoiceView, Status, derived_id};
use crate::money::Money;
use crate::payment::{self, PaymentView};
use crate::{Billing, chart};
use access::Ctx;
use access::policy::{Capability, may};
use jiff::Timestamp;
use jiff::civil::Date;
use record::{Effect, Error, Rule};
use serde::Serialize;
use serde_json::json;
use std::collections::{BTreeSet, HashMap};
use store::payment::{NewPayment, Payment, State};

/// Rows of each list of the day.
const ROWS_MAX: u32 = 200;

#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct MethodTotal {
    pub method: String,
    pub count: i64,
    pub total: Money,
}

#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct DayPayment {
    pub payment: PaymentView,
    pub patient: String,
    pub invoice_number: String,
}

/// Money that arrived and belongs to no invoice yet.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Unallocated {
    /// Names it for allocation, e.g. `mpesa:SGH3K2LM90`.
    pub key: String,
    pub amount: Money,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// The invoice it came for, if one was named.
    pub invoice_id: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct LedgerLine {
    pub account: String,
    pub name: String,
    /// Of the day.
    pub debit: Money,
    /// Of the day.
    pub credit: Money,
    /// At the end of the day, debits positive.
    pub balance: Money,
}

#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct CashierDay {
    #[schema(value_type = String, format = Date)]
    pub date: Date,
    pub by_method: Vec<MethodTotal>,
    pub payments: Vec<DayPayment>,
    /// Open invoices, newest first; at most 200.
    pub to_collect: Vec<InvoiceView>,
    pub unallocated: Vec<Unallocated>,
    pub ledger: Vec<LedgerLine>,
    /// Whether all entries of all time sum to zero in every currency.
    pub balanced: bool,
}

impl Billing {
    /// Errors: `Denied` for whoever may not see the takings.
    pub async fn cashier_day(&self, ctx: &Ctx, date: Option<Date>) -> Result<CashierDay, Error> {
        if !may(ctx, Capability::ReadTakings) {
            return Err(Error::Denied);
        }
        let date = date.unwrap_or_else(|| ctx.now.to_zoned(self.clinic.timezone.clone()).date());
        let (from, until) = self.day(date)?;
        let currency = self.clinic.currency.clone();
        let (takings, paid, ledger, unallocated, balanced) = self
            .record
            .store_read(move |tx| {
                let takings = store::payment::takings(tx, from, until)?;
                let filter =
                    store::payment::Filter { from: Some(from), until: Some(until), ..Default::default() };
                let paid = store::payment::list(tx, &filter, None, ROWS_MAX)?.rows;
                let ledger = ledger_of(tx, from, until)?;
                let unallocated = unallocated_of(tx)?;
                Ok((takings, paid, ledger, unallocated, store::ledger::sum_all(tx)?.is_empty()))
            })
            .await?;
        let invoices = self.invoices_of(ctx, &paid).await?;
        let mut payments = Vec::with_capacity(paid.len());
        for payment in paid {
            let Some(invoice) = invoices.get(&payment.invoice.id) else { continue };
            let is_due = invoice.status == Status::Issued;
            payments.push(DayPayment {
                patient: invoice.patient_display.clone(),
                payment: PaymentView::of(payment, is_due, self.fallback(&invoice.number)),
                invoice_number: invoice.number.clone(),
            });
        }
        let (to_collect, _) = self.invoices(ctx, Some("issued"), None, None, (ROWS_MAX, None)).await?;
        let by_method = takings
            .into_iter()
            .map(|t| MethodTotal {
                method: t.method,
                count: t.payments,
                total: Money::new(t.amount_minor, t.currency),
            })
            .collect();
        let ledger = ledger
            .into_iter()
            .map(|(account, name, debit, credit, balance)| LedgerLine {
                account,
                name,
                debit: Money::new(debit, currency.clone()),
                credit: Money::new(credit, currency.clone()),
                balance: Money::new(balance, currency.clone()),
            })
            .collect();
        Ok(CashierDay { date, by_method, payments, to_collect, unallocated, ledger, balanced })
    }

    /// The invoices of these payments by id: one search, so that a look at the day is one entry of the audit.
    async fn invoices_of(&self, ctx: &Ctx, payments: &[Payment]) -> Result<HashMap<String, Invoice>, Error> {
        let ids: BTreeSet<&str> = payments.iter().map(|p| p.invoice.id.as_str()).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let ids: Vec<&str> = ids.into_iter().collect();
        let found = self.record.find(ctx, "Invoice", &[("_id", &ids.join(","))], ROWS_MAX).await?;
        found
            .into_iter()
            .map(|(resource, version)| invoice::read(resource, version).map(|i| (i.key.id.clone(), i)))
            .collect()
    }

    /// Gives set-aside money to an invoice. Errors: `Denied`; `NotFound`; rules `nothing-due`, `amount-too-much`.
    pub async fn allocate(&self, ctx: &Ctx, key: &str, invoice_id: &str) -> Result<InvoiceView, Error> {
        if !may(ctx, Capability::TakePayment) {
            return Err(Error::Denied);
        }
        let held = self.record.store_read(unallocated_of).await?;
        let held = held.into_iter().find(|u| u.key == key).ok_or(Error::NotFound)?;
        let invoice = self.load_invoice(ctx, invoice_id).await?;
        let before = self.payments_of(&invoice.key).await?;
        let due = invoice.total.amount_minor - payment::paid_minor(&before);
        if invoice.status != Status::Issued || due <= 0 {
            return Err(Error::Rule(
                Rule::new("nothing-due", "This invoice is paid or cancelled.").at("/invoice_id"),
            ));
        }
        if held.amount.amount_minor > due {
            let rule = Rule::new("amount-too-much", "More than is due on this invoice; choose another.");
            return Err(Error::Rule(rule.at("/invoice_id").with(json!({"due_minor": due}))));
        }
        let new = NewPayment {
            id: derived_id("payment", &format!("allocated/{key}")),
            invoice: invoice.key.clone(),
            patient: Some(invoice.patient.clone()),
            method: "mpesa".into(),
            amount_minor: held.amount.amount_minor,
            currency: held.amount.currency.clone(),
            phone: None,
            callback_token_hash: None,
            account: ctx.user().map(|u| u.account),
            created: ctx.now,
        };
        let receipt = key.strip_prefix("mpesa:").unwrap_or(key);
        let row = Payment::from_new(&new);
        let message = self.paid_message(ctx, &row, receipt).await?;
        let mut set = payment::plan_settle(&row, &invoice, &before, receipt, message, ctx.now);
        // The money is on the account already: it only changes whose it is.
        set.effects.retain(|e| !matches!(e, Effect::Post(_)));
        set.effects.insert(0, Effect::PaymentCreate(new));
        set.effects.push(chart::transfer(
            "payment.allocated",
            format!("allocated:{key}"),
            Some(&invoice.key),
            chart::UNALLOCATED,
            chart::RECEIVABLE,
            held.amount.amount_minor,
            &held.amount.currency,
            ctx.now,
        ));
        // A prompt that brought another amount is answered by this.
        if let Some(odd) = before.iter().find(|p| p.state == State::Unknown) {
            let mut step = payment::step(odd, &[State::Unknown], State::Failed, ctx.now);
            step.reason = odd.reason.clone();
            set.effects.push(Effect::PaymentMove(step));
        }
        self.record.command(ctx, "payment.allocate", set).await?;
        self.invoice(ctx, invoice_id).await
    }
}

type LedgerRow = (String, String, i64, i64, i64);

fn ledger_of(
    tx: &mut dyn store::Tx,
    from: Timestamp,
    until: Timestamp,
) -> Result<Vec<LedgerRow>, store::Error> {
    let mut lines = Vec::new();
    for account in store::ledger::accounts(tx)? {
        let (debit, credit) = store::ledger::turnover(tx, &account.code, from, until)?;
        let balance = store::ledger::balance(tx, &account.code, None, Some(until))?;
        lines.push((account.code, account.name, debit, credit, balance));
    }
    Ok(lines)
}

/// Set-aside receipts that no allocation has answered.
fn unallocated_of(tx: &mut dyn store::Tx) -> Result<Vec<Unallocated>, store::Error> {
    let filter = store::ledger::Filter { account: Some(chart::UNALLOCATED.into()), ..Default::default() };
    let entries = store::ledger::entries(tx, &filter, None, store::page::MAX_ROWS)?.rows;
    let answered: BTreeSet<&str> =
        entries.iter().filter_map(|e| e.external_key.strip_prefix("allocated:")).collect();
    Ok(entries
        .iter()
        .filter(|e| e.amount_minor < 0 && !answered.contains(e.external_key.as_str()))
        .map(|e| Unallocated {
            key: e.external_key.clone(),
            amount: Money::new(-e.amount_minor, e.currency.clone()),
            at: e.at,
            invoice_id: e.cause.as_ref().map(|k| k.id.clone()),
        })
        .collect())
}
