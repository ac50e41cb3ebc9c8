//! Invoices of finished visits, and the jobs that follow M-PESA payments.

use super::{Failure, Registry};
use billing::JobError;
use std::time::Duration;

/// How often an unregistered paybill is thought of.
const PAYBILL_EVERY: Duration = Duration::from_secs(60);

impl From<JobError> for Failure {
    fn from(error: JobError) -> Failure {
        match error {
            JobError::Retry(text) => Failure::Retry(text),
            JobError::Dead(text) => Failure::Dead(text),
        }
    }
}

pub fn register(registry: &mut Registry) {
    // The doctor's own request makes the invoice at once; this makes it certain.
    registry.subscribe("billing.invoices", &["visit.finished"], |app, event| async move {
        let ctx = access::Ctx::system("billing", app.record.now());
        app.parts.billing.invoice_for_encounter(&ctx, &event.subject.id).await?;
        Ok(())
    });
    registry.poll("billing.paybill", PAYBILL_EVERY, |app| async move {
        if app.config.daraja.register_paybill {
            app.parts.billing.register_paybill().await;
        }
        Ok(0)
    });
    for queue in billing::mpesa::JOBS {
        registry.job(queue, move |app, job| async move {
            app.parts.billing.run_job(&job.queue, &job.data, job.attempt).await?;
            Ok(())
        });
    }
}
