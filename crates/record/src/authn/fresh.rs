//! Step-up: what is worth more than a session left open on a desk.

use crate::{Error, Record};
use access::{Ctx, Factor, Principal};

impl Record {
    /// Whether the person showed within the last `minutes` that it is she; `strong`: by a second factor, where her
    /// account has one. This program itself passes, and so do OAuth clients: they show their secret every few minutes.
    /// Errors: `StepUpNeeded` with the factors that would do; `Unauthenticated` for nobody.
    pub fn require_fresh(&self, ctx: &Ctx, minutes: u32, strong: bool) -> Result<(), Error> {
        match &ctx.principal {
            Principal::System(_) | Principal::Client { .. } => return Ok(()),
            Principal::Anonymous => return Err(Error::Unauthenticated),
            Principal::User(_) => {}
        }
        let Some(session) = &ctx.session else {
            // A person's token that was lent to a program: nobody is there to be asked.
            return Err(Error::StepUpNeeded { factors: Vec::new(), minutes });
        };
        if session.is_fresh(ctx.now, minutes, strong) {
            return Ok(());
        }
        // Who has a second factor shows that one: the password alone may be known to whoever took the desk over.
        let factors = match session.enrolled.is_empty() {
            // Her passkey may be the provider's.
            false if session.factors.contains(&Factor::OutsidePasskey) => {
                [session.enrolled.as_slice(), &[Factor::Outside]].concat()
            }
            false => session.enrolled.clone(),
            // Perhaps she has no password at all.
            true if session.factors.contains(&Factor::Outside) => vec![Factor::Outside],
            true => vec![Factor::Password],
        };
        Err(Error::StepUpNeeded { factors, minutes })
    }
}
