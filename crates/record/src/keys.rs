//! What becomes of keys, in the audit trail.

use crate::{Error, Record};
use access::{Ctx, Principal};
use store::audit::Outcome;

impl Record {
    /// Notes that the operator changed a key: `rotate`, `finish` or `database`. Errors: `Denied` for anybody but the
    /// program itself.
    pub async fn note_key_change(&self, ctx: &Ctx, what: &str) -> Result<(), Error> {
        let action = "key.change";
        if !matches!(ctx.principal, Principal::System(_)) {
            return Err(self.denied(ctx, action, what).await);
        }
        self.audit_one(ctx, action, Outcome::Success, &format!("key/{what}"), &[]).await
    }
}
