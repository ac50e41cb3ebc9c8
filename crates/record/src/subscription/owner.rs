//! With whose eyes a subscription looks: those of whoever wrote it last, as they are now.

use crate::Error;
use access::{Ctx, Principal, Purpose, ScopeSet};
use jiff::Timestamp;
use store::Tx;
use store::subscription::Subscription;

/// How the writer is kept: agent and, for a client, the scopes of its token.
pub(super) fn of(ctx: &Ctx) -> (String, String) {
    let scopes = match &ctx.principal {
        Principal::Client { scopes, .. } => scopes.join(" "),
        Principal::Anonymous | Principal::User(_) | Principal::System(_) => String::new(),
    };
    (ctx.principal.agent(), scopes)
}

/// The owner's rights now; `None` if the owner is gone or disabled.
pub(super) fn context(tx: &mut dyn Tx, row: &Subscription, now: Timestamp) -> Result<Option<Ctx>, Error> {
    let mut ctx = Ctx::system("subscription", now);
    ctx.request_id = format!("subscription/{}", row.id);
    match row.owner.split_once('/') {
        Some(("client", id)) => {
            let Some(client) = store::oauth::client(tx, id)?.filter(|c| !c.disabled) else { return Ok(None) };
            // Never more than the client has today, and never more than the token had that day.
            let registered = ScopeSet::parse_known(client.scopes.iter().map(String::as_str));
            let granted = registered.grant(&ScopeSet::parse_known(row.scopes.split(' ')));
            let scopes = granted.to_string().split(' ').map(str::to_owned).collect();
            ctx.principal = Principal::Client { client_id: client.id, name: client.name, scopes };
            ctx.purpose = Purpose::Operations;
        }
        Some(("account", id)) => {
            let account = match id.parse() {
                Ok(id) => store::account::load(tx, id)?,
                Err(_) => None,
            };
            let Some(account) = account.filter(|a| !a.disabled) else { return Ok(None) };
            ctx.principal = Principal::User(crate::authn::user(&account));
            ctx.purpose = Purpose::Operations;
        }
        // A part of this program: nobody outside can write as one.
        Some(("system", _)) => {}
        _ => return Ok(None),
    }
    Ok(Some(ctx))
}
