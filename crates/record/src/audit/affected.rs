//! Whose records somebody touched, for the notice after a breach.

use crate::{Error, Record};
use access::{Capability, Ctx};
use store::audit::Outcome;
use store::audit::affected::{Found, Patient, bounds, scan};

pub use store::audit::affected::Suspect;

/// The answer.
#[derive(Debug, Clone, Default)]
pub struct Affected {
    /// Those with most accesses first.
    pub patients: Vec<Patient>,
    /// Rows that fit.
    pub events: u64,
    /// Those of them that were refused or failed: nothing was shown or changed, and they are in no count.
    pub refused: u64,
    /// Rows that name no patient but may concern many, such as exports: number, time, action and what; the first thousand.
    pub others: Vec<(i64, jiff::Timestamp, String, String)>,
    pub other_count: u64,
}

impl Record {
    /// Every patient whose record was touched by whom `suspect` describes, exactly. For administrator and privacy
    /// officer; noted itself. `progress` is told rows done and rows to do. Errors: `Denied`; `TooCostly` beyond
    /// [store::audit::affected::MAX_PATIENTS].
    pub async fn audit_affected(
        &self,
        ctx: &Ctx,
        suspect: Suspect,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Affected, Error> {
        let what = describe(&suspect);
        if !access::policy::may(ctx, Capability::ReadAudit) {
            return Err(self.denied(ctx, "audit.affected", &what).await);
        }
        // Noted before it is answered, so that an answer cannot get away unnoted.
        self.audit_one(ctx, "audit.affected", Outcome::Success, &what, &[]).await?;
        let asked = suspect.clone();
        let Some((first, last)) = self.audit_reading(move |tx| Ok(bounds(tx, &asked)?)).await? else {
            return Ok(Affected::default());
        };
        let (mut found, mut next) = (Found::default(), Some(first));
        while let Some(from) = next {
            let (asked, mut so_far) = (suspect.clone(), found);
            (found, next) = self
                .reading(move |tx| {
                    let next = scan(tx, &asked, from, last, &mut so_far)?;
                    Ok((so_far, next))
                })
                .await?;
            let rows = |to: i64| u64::try_from(to - first).unwrap_or(0);
            progress(next.map_or(rows(last), rows), rows(last));
        }
        let sorted = tokio::task::spawn_blocking(move || {
            let patients = found.patients()?;
            Ok::<_, Error>(Affected {
                patients,
                events: found.events,
                refused: found.refused,
                others: found.others,
                other_count: found.other_count,
            })
        });
        sorted.await.map_err(|error| Error::Internal(error.to_string()))?
    }
}

fn describe(suspect: &Suspect) -> String {
    let mut what = format!("AuditEvent?date=ge{}&date=lt{}", suspect.from, suspect.until);
    let session = suspect.session.map(|id| super::head::hex(&id));
    let address = suspect.address.map(|address| address.to_string());
    for (name, value) in
        [("agent", &suspect.agent), ("client", &suspect.client), ("session", &session), ("address", &address)]
    {
        if let Some(value) = value {
            what.push_str(&format!("&{name}={value}"));
        }
    }
    what
}
