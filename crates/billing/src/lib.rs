//! Money: prices, invoices, payments and the double-entry ledger behind them.
//!
//! Plans are pure (`plan_*`): they take what was loaded and return a [record::ChangeSet]. [Billing] loads, plans,
//! commits, and talks to M-PESA from jobs, never inside a transaction.
//!
//! **Invariant:** every shilling that moves is a ledger transaction that sums to zero, posted once per external key.
//! **Invariant:** a payment is `paid` only with a receipt number that no other payment has.
//! **Must never depend on:** another domain crate, HTTP servers, SQL.

pub mod cashier;
pub mod chart;
pub mod invoice;
pub mod money;
pub mod mpesa;
pub mod payment;
pub mod price;
pub mod receipt;
mod texts;

use record::Record;
use std::sync::Arc;

/// Everything that Uzima itself defines lives under this base.
pub(crate) const SYSTEM: &str = "https://uzima.health/fhir";

/// What billing must know of the clinic.
#[derive(Debug, Clone)]
pub struct Clinic {
    pub name: String,
    pub phone: String,
    /// Two letters, for phone numbers without country code.
    pub country: String,
    /// ISO 4217, with two decimals.
    pub currency: String,
    pub timezone: jiff::tz::TimeZone,
}

/// Prices, invoices and payments of one installation. Cheap to clone.
#[derive(Clone)]
pub struct Billing {
    pub(crate) record: Record,
    pub(crate) clinic: Arc<Clinic>,
    /// `None` where M-PESA is not configured: cash only.
    pub(crate) mpesa: Option<Arc<mpesa::Client>>,
}

/// Why a job did not do its work. The text is for the administrator and carries no patient data.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// May pass: try again later.
    #[error("{0}")]
    Retry(String),
    /// Will not pass by itself.
    #[error("{0}")]
    Dead(String),
}

impl From<record::Error> for JobError {
    fn from(error: record::Error) -> JobError {
        use record::Error::*;
        match error {
            Busy | Full | NotReady { .. } | Internal(_) | Throttled { .. } | VersionConflict { .. } => {
                JobError::Retry(error.to_string())
            }
            Malformed(_)
            | Invalid(_)
            | Precondition(_)
            | At { .. }
            | Unauthenticated
            | Denied
            | StepUpNeeded { .. }
            | Due(_)
            | NotFound
            | Gone
            | Duplicate(_)
            | TooCostly
            | Rule(_) => JobError::Dead(error.to_string()),
        }
    }
}

impl Billing {
    /// Makes the ledger's accounts if they are missing. Errors: the database.
    pub async fn start(
        record: Record,
        clinic: Clinic,
        mpesa: Option<mpesa::Config>,
    ) -> Result<Billing, record::Error> {
        let mpesa = match mpesa {
            Some(config) => Some(Arc::new(mpesa::Client::new(config)?)),
            None => None,
        };
        let billing = Billing { record, clinic: Arc::new(clinic), mpesa };
        let ctx = billing.system();
        billing.record.command(&ctx, "billing.start", chart::plan(&billing.clinic.currency)).await?;
        Ok(billing)
    }

    pub(crate) fn system(&self) -> access::Ctx {
        access::Ctx::system("billing", self.record.now())
    }

    /// Health of the M-PESA connection for the administrator; `None` where it is not configured.
    pub fn mpesa_health(&self) -> Option<mpesa::Health> {
        self.mpesa.as_ref().map(|client| client.health())
    }

    /// Does one job of [mpesa::JOBS]. `attempt` is 1 the first time.
    pub async fn run_job(&self, queue: &str, data: &serde_json::Value, attempt: u32) -> Result<(), JobError> {
        let text = |name: &str| data[name].as_str().unwrap_or_default();
        match queue {
            mpesa::SUBMIT => self.submit(text("payment_id"), attempt).await,
            mpesa::CHECK => self.check(text("payment_id"), data["check"].as_u64().unwrap_or(0)).await,
            mpesa::CALLBACK => self.process_callback(text("payment_id"), text("key"), attempt).await,
            mpesa::C2B_CONFIRMATION => self.process_c2b(text("key")).await,
            _ => Err(JobError::Dead(format!("billing knows no job `{queue}`"))),
        }
    }
}
