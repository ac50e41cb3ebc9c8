//! How long rows of the audit trail stay.

use super::seal::refusal;
use crate::{Error, Record};
use access::Ctx;
use jiff::Timestamp;
use store::audit::{Outcome, prune, tree};

/// Fewest years that rows stay; see [prune::FLOOR].
pub const FLOOR_YEARS: u16 = 6;
/// Hours of a year, a day of them too many rather than too few.
const YEAR_HOURS: i64 = 24 * 366;
/// Rounds of one call.
const ROUNDS: usize = 200;

impl Record {
    /// Removes rows of segments that were sealed more than `years` ago, a few thousand at most; returns how many. What is
    /// removed leaves its hash, and an event of its own. Call again while it returns any. Errors: `Rule` for less than
    /// [FLOOR_YEARS]; the triggers of the database hold that floor as well.
    pub async fn audit_prune(&self, years: u16) -> Result<u64, Error> {
        if years < FLOOR_YEARS {
            return Err(refusal("The audit trail is kept for six years at least."));
        }
        let age = jiff::SignedDuration::from_hours(YEAR_HOURS * i64::from(years));
        let before = self.now().checked_sub(age).unwrap_or(Timestamp::MIN);
        let pruned = |state: Option<tree::State>| state.map_or(0, |state| state.pruned);
        let marked = self.writing(move |tx| {
            let from = pruned(tree::state(tx)?);
            let any = prune::mark(tx, before)?;
            Ok(any.then_some((from, pruned(tree::state(tx)?))))
        });
        if let Some((from, to)) = marked.await? {
            let ctx = Ctx::system("retention", self.now());
            let what = format!("AuditTree/entries?from={from}&to={to}");
            self.audit_one(&ctx, "audit.prune", Outcome::Success, &what, &[]).await?;
        }
        let mut removed = 0;
        for _ in 0..ROUNDS {
            match self.writing(|tx| Ok(prune::remove(tx)?)).await? {
                0 => break,
                more => removed += more,
            }
        }
        Ok(removed)
    }
}
