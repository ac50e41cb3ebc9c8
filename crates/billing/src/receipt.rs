//! The printed receipt of a payment.

use crate::{Billing, texts};
use access::Ctx;
use record::Error;
use store::payment::State;
use wire::pdf::{Column, Document, PageSize, Table};

impl Billing {
    /// A PDF in this language. Errors: `NotFound` also for a payment that is not paid.
    pub async fn receipt(&self, ctx: &Ctx, payment_id: &str, language: &str) -> Result<Vec<u8>, Error> {
        let payment = self.load_payment(payment_id).await?;
        let invoice = self.invoice(ctx, &payment.invoice.id).await?;
        let Some(number) = payment.receipt.clone().filter(|_| payment.state == State::Paid) else {
            return Err(Error::NotFound);
        };
        let words = texts::receipt(language);
        let amount = crate::money::Money::new(payment.amount_minor, payment.currency.clone());
        let at = payment.updated.to_zoned(self.clinic.timezone.clone());
        let method = if payment.method == "cash" { words.cash } else { "M-PESA" };
        let row = |line: &crate::invoice::Line| match line.hidden {
            true => vec![words.hidden.to_owned(), "–".to_owned()],
            false => vec![line.display.clone(), line.amount.shown()],
        };
        let rows = invoice.lines.iter().map(row).collect();
        let document = Document::new(PageSize::A5, words.title)
            .language(language)
            .letterhead(self.clinic.name.clone(), vec![self.clinic.phone.clone()])
            .figure(words.paid, amount.shown())
            .facts(vec![
                (words.number.into(), number),
                (words.date.into(), at.strftime("%-d %b %Y, %H:%M").to_string()),
                (words.patient.into(), invoice.patient.display.clone()),
                (words.invoice.into(), invoice.number.clone()),
                (words.method.into(), method.into()),
            ])
            .table(Table {
                columns: vec![Column::start(words.service, 3), Column::end(words.amount, 1)],
                rows,
                totals: vec![
                    vec![words.total.into(), invoice.total.shown()],
                    vec![words.due.into(), invoice.due.shown()],
                ],
            })
            .footer(words.thanks);
        document.render().map_err(|e| Error::Internal(format!("receipt: {e}")))
    }
}
