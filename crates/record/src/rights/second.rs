//! Four eyes: what one person asks for and another one agrees to.

use crate::{Error, Rule};
use access::Ctx;

/// What one person alone may not do. `at`: the field of the request that it is about, or nothing.
pub(crate) fn needed(text: &str, at: &str) -> Error {
    Error::Rule(Rule::new("second-person-needed", text).at(at))
}

/// The account of the caller, who is somebody else than who asked; whether she may decide at all is the caller's to check.
/// Errors: `Denied` for who is no person; `Rule` `second-person-needed`.
pub(crate) fn another(ctx: &Ctx, asked_by: Option<i64>) -> Result<i64, Error> {
    let account = ctx.user().ok_or(Error::Denied)?.account;
    if asked_by == Some(account) {
        return Err(needed("Somebody else must agree to this.", ""));
    }
    Ok(account)
}
