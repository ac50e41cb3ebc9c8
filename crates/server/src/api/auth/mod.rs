//! Accounts and sessions over HTTP. Each noun has its file; [opening] is what all ways of signing in answer.

mod device;
mod factor;
mod id;
mod identity;
mod me;
mod opening;
mod password;
mod policy;
mod provider;
mod registration;
mod session;
mod sign_in;

use super::ApiRouter;

pub fn routes() -> ApiRouter {
    ApiRouter::new()
        .merge(registration::routes())
        .merge(sign_in::routes())
        .merge(password::routes())
        .merge(device::routes())
        .merge(session::routes())
        .merge(me::routes())
        .merge(factor::routes())
        .merge(policy::routes())
        .merge(provider::routes())
        .merge(identity::routes())
}
