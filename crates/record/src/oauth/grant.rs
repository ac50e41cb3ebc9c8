//! What people granted: seen and taken back by them and by administrators.

use crate::{Error, Record};
use access::{Capability, Ctx};
use jiff::Timestamp;
use serde_json::Value;
use store::audit::Outcome;
use store::oauth::Grant;

/// A grant in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct GrantRow {
    pub id: String,
    pub account: i64,
    /// Name of the person, for administrators.
    pub display: String,
    pub client_id: String,
    pub client_name: String,
    pub scopes: Vec<String>,
    /// Id of the Patient it is about.
    pub patient: Option<String>,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
    pub expires_at: Timestamp,
}

impl Record {
    /// Live grants, newest first, at most 200: the person's own; of anybody (`None`: of all) for administrators.
    /// Errors: `Denied`.
    pub async fn grants(&self, ctx: &Ctx, account: Option<i64>) -> Result<Vec<GrantRow>, Error> {
        self.may_see_grants(ctx, account, "oauth.list").await?;
        let now = self.now();
        self.reading(move |tx| {
            let mut rows = Vec::new();
            for grant in store::oauth::grants(tx, account, None, now)? {
                let client = store::oauth::client(tx, &grant.client)?;
                let person = store::account::load(tx, grant.account)?;
                rows.push(row(
                    grant,
                    client.map(|c| c.name).unwrap_or_default(),
                    person.map(|p| p.display).unwrap_or_default(),
                ));
            }
            Ok(rows)
        })
        .await
    }

    async fn may_see_grants(
        &self,
        ctx: &Ctx,
        account: Option<i64>,
        action: &'static str,
    ) -> Result<(), Error> {
        // An application does not look after what others were granted.
        let own = ctx.scopes.is_none() && ctx.user().is_some_and(|u| Some(u.account) == account);
        match own || access::policy::may(ctx, Capability::ManageClients) {
            true => Ok(()),
            false => Err(self.denied(ctx, action, "").await),
        }
    }

    /// Ends a grant and all its tokens; the person herself, or an administrator. Errors: `Denied`, `NotFound`.
    pub async fn revoke_grant(&self, ctx: &Ctx, id: &str) -> Result<(), Error> {
        let wanted = id.to_owned();
        let grant = self.reading(move |tx| Ok(store::oauth::grant(tx, &wanted)?)).await?;
        let is_admin = access::policy::may(ctx, Capability::ManageClients);
        let own =
            |grant: &Grant| ctx.scopes.is_none() && ctx.user().is_some_and(|u| u.account == grant.account);
        // Of others' grants nobody learns whether they exist.
        let grant = grant.filter(|g| is_admin || own(g)).ok_or(Error::NotFound)?;
        let now = self.now();
        let mut event =
            self.audit_event(ctx, "oauth.revoke", Outcome::Success, &format!("client/{}", grant.client), &[]);
        event.client.clone_from(&grant.client);
        let ended = self
            .writing(move |tx| {
                let ended = store::oauth::revoke(tx, &grant.id, now)?;
                if ended {
                    store::audit::append(tx, std::slice::from_ref(&event))?;
                }
                Ok(ended)
            })
            .await?;
        self.forget_holders();
        if ended { Ok(()) } else { Err(Error::NotFound) }
    }
}

fn row(grant: Grant, client_name: String, display: String) -> GrantRow {
    let context: Value = serde_json::from_str(&grant.context).unwrap_or_default();
    GrantRow {
        id: grant.id,
        account: grant.account,
        display,
        client_id: grant.client,
        client_name,
        scopes: grant.scopes,
        patient: context["patient"].as_str().map(str::to_owned),
        created_at: grant.created,
        last_used_at: grant.last_used,
        expires_at: grant.expires,
    }
}
