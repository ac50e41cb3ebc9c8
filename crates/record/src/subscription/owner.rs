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
        Principal::User(_) => ctx.scopes.as_ref().map(text_of).unwrap_or_default(),
        Principal::Anonymous | Principal::System(_) => String::new(),
    };
    (ctx.principal.agent(), scopes)
}

/// Before the id of the patient about whom an app was launched, among its scopes.
const LAUNCHED: &str = "launch/patient=";

/// The scopes of the token by which a person's app wrote; what is written with it never sees more.
fn text_of(scopes: &ScopeSet) -> String {
    match scopes.patient() {
        Some(patient) => format!("{scopes} {LAUNCHED}{patient}"),
        // A token may name nothing at all.
        None => format!("{scopes} "),
    }
}

fn scopes_of(text: &str) -> Option<ScopeSet> {
    if text.is_empty() {
        return None;
    }
    let set = ScopeSet::parse_known(text.split(' '));
    Some(match text.split(' ').find_map(|one| one.strip_prefix(LAUNCHED)) {
        Some(patient) => set.with_patient(patient),
        None => set,
    })
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
            let mut user = crate::authn::user(&account);
            let is_proxy = user.roles.contains(&access::Role::Proxy);
            user.standing = std::sync::Arc::new(crate::rights::standing_of(tx, user.account, is_proxy, now)?);
            ctx.principal = Principal::User(user);
            ctx.scopes = scopes_of(&row.scopes);
            ctx.purpose = Purpose::Operations;
        }
        // A part of this program: nobody outside can write as one.
        Some(("system", _)) => {}
        _ => return Ok(None),
    }
    Ok(Some(ctx))
}
