//! Which account a person of a provider has: linked by herself or by an administrator.

use super::super::Notice;
use super::super::four_eyes::{self, Act};
use super::{ProviderRules, Vouched, refuse};
use crate::{Error, Record, Rule};
use access::{Capability, Ctx, Factor, Role};
use jiff::Timestamp;
use store::account::{Account, Update};
use store::audit::Outcome;
use store::outside::Identity;

/// Longest issuer and subject, characters.
const MAX_CHARS: usize = 255;

/// An identity of an account.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentityRow {
    pub id: i64,
    pub issuer: String,
    pub subject: String,
    /// Given by the provider.
    pub roles: Vec<Role>,
    pub created_at: Timestamp,
    pub last_used_at: Option<Timestamp>,
}

impl From<Identity> for IdentityRow {
    fn from(row: Identity) -> IdentityRow {
        IdentityRow {
            id: row.id,
            issuer: row.issuer,
            subject: row.subject,
            roles: row.roles,
            created_at: row.created,
            last_used_at: row.last_used,
        }
    }
}

pub(in crate::authn) fn taken() -> Error {
    let text = "This person of the provider is linked to an account already.";
    Error::Duplicate(Rule::new("identity-taken", text))
}

impl Record {
    /// The identities of an account; the person herself, administrators. Errors: `Denied`.
    pub async fn identities(&self, ctx: &Ctx, account: i64) -> Result<Vec<IdentityRow>, Error> {
        self.may_manage(ctx, account, "identity.list").await?;
        let rows = self.reading(move |tx| Ok(store::outside::of_account(tx, account)?)).await?;
        Ok(rows.into_iter().map(IdentityRow::from).collect())
    }

    /// How many people of a provider have an account, and when one of them signed in last; administrators.
    /// Errors: `Denied`.
    pub async fn identity_count(&self, ctx: &Ctx, issuer: &str) -> Result<(i64, Option<Timestamp>), Error> {
        if !access::policy::may(ctx, Capability::ManageAccounts) {
            return Err(self.denied(ctx, "identity.list", "").await);
        }
        let issuer = issuer.to_owned();
        self.reading(move |tx| Ok(store::outside::count(tx, &issuer)?)).await
    }

    /// Links whom the provider vouches for to the caller's own account. `session`: the one that asked for it. Errors:
    /// `Unauthenticated`, `StepUpNeeded`; `Rule` `sign-in-expired`, `session-changed`; `Duplicate` `identity-taken`.
    pub async fn link_own_identity(
        &self,
        ctx: &Ctx,
        rules: &ProviderRules,
        who: &Vouched,
        state: &str,
        session: [u8; 8],
    ) -> Result<(), Error> {
        let id = ctx.user().ok_or(Error::Unauthenticated)?.account;
        if ctx.session.as_ref().map(|s| s.id) != Some(session) {
            return Err(refuse("session-changed", "Somebody else is signed in here now; begin again."));
        }
        self.require_fresh(ctx, super::super::SENSITIVE_MINUTES, true)?;
        self.use_answer(state).await?;
        tracing::info!(provider = %rules.id, "an identity is linked");
        let row = self.account_row(id).await?.ok_or(Error::Unauthenticated)?;
        self.add_identity(ctx, row, &who.issuer, &who.subject, None).await?;
        Ok(())
    }

    /// Links a person of a provider to an account; an administrator who showed herself in the last minutes. Errors:
    /// `Denied`, `StepUpNeeded`, `NotFound`; `Rule` `subject-invalid`, `own-account`, `second-person-needed`; `Duplicate`
    /// `identity-taken`.
    pub async fn link_identity(
        &self,
        ctx: &Ctx,
        account: i64,
        issuer: &str,
        subject: &str,
    ) -> Result<IdentityRow, Error> {
        self.check_identity(ctx, account, subject).await?;
        let row =
            self.reading(move |tx| Ok(store::account::load(tx, account)?)).await?.ok_or(Error::NotFound)?;
        let act = Act::Identity { issuer: issuer.to_owned(), subject: subject.to_owned() };
        let alone = self.guard(ctx, &act, &row).await?;
        self.add_identity(ctx, row, issuer, subject, alone).await
    }

    /// Errors: as [Record::link_identity].
    pub(in crate::authn) async fn check_identity(
        &self,
        ctx: &Ctx,
        account: i64,
        subject: &str,
    ) -> Result<(), Error> {
        let what = format!("account/{account}");
        if !access::policy::may(ctx, Capability::ManageAccounts) {
            return Err(self.denied(ctx, "identity.add", &what).await);
        }
        self.require_fresh(ctx, super::super::SENSITIVE_MINUTES, true)?;
        if ctx.user().is_some_and(|user| user.account == account) {
            let text = "Link your own account in your own settings, where the provider is asked.";
            return Err(refuse("own-account", text));
        }
        let fits =
            (1..=MAX_CHARS).contains(&subject.chars().count()) && !subject.chars().any(char::is_control);
        if !fits || subject.trim() != subject {
            let text = "Write the person's `sub` as the provider shows it.";
            return Err(Error::Rule(Rule::new("subject-invalid", text).at("/subject")));
        }
        Ok(())
    }

    async fn add_identity(
        &self,
        ctx: &Ctx,
        row: Account,
        issuer: &str,
        subject: &str,
        alone: Option<four_eyes::Alone>,
    ) -> Result<IdentityRow, Error> {
        let account = row.id;
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        let what = format!("account/{account}");
        let event = self.audit_event(ctx, "identity.add", Outcome::Success, &what, &[]);
        let (by, now) = (ctx.user().map(|user| user.account), self.now());
        let made = self
            .writing(move |tx| {
                store::outside::link(tx, &issuer, &subject, account, by, now)?.ok_or_else(taken)?;
                four_eyes::note(tx, alone.as_ref())?;
                store::audit::append(tx, std::slice::from_ref(&event))?;
                Ok(store::outside::find(tx, &issuer, &subject)?)
            })
            .await?;
        self.notify(&row, Notice::FactorAdded).await?;
        made.map(IdentityRow::from).ok_or(Error::NotFound)
    }

    /// Takes an identity from an account, with the roles that its provider gave and the sessions that came of it; the
    /// person herself or an administrator, either freshly shown. Errors: `Denied`, `StepUpNeeded`, `NotFound`; `Rule`
    /// `last-way-in` for the person herself if she could not sign in any more.
    pub async fn unlink_identity(&self, ctx: &Ctx, account: i64, id: i64) -> Result<(), Error> {
        self.may_manage(ctx, account, "identity.remove").await?;
        self.require_fresh(ctx, super::super::SENSITIVE_MINUTES, true)?;
        let own = ctx.user().is_some_and(|user| user.account == account);
        let what = format!("account/{account}");
        let event = self.audit_event(ctx, "identity.remove", Outcome::Success, &what, &[]);
        let row = self
            .writing(move |tx| {
                let row = store::account::load(tx, account)?.ok_or(Error::NotFound)?;
                let all = store::outside::of_account(tx, account)?;
                let gone = all.iter().find(|identity| identity.id == id).ok_or(Error::NotFound)?;
                if own && all.len() == 1 && !has_own_way_in(&row) {
                    let text = "Set a password or a passkey first: this is the only way you sign in.";
                    return Err(refuse("last-way-in", text));
                }
                store::outside::unlink(tx, account, id)?;
                store::outside::end_sessions(tx, &gone.issuer, Some(&gone.subject), None)?;
                if !gone.roles.is_empty() {
                    let roles = row.roles.iter().copied().filter(|r| !gone.roles.contains(r)).collect();
                    let update = Update { account, roles: Some(roles), ..Update::default() };
                    store::account::update(tx, &update).map_err(crate::write::account_error)?;
                    store::session::end_all(tx, account, None)?;
                }
                store::audit::append(tx, std::slice::from_ref(&event))?;
                Ok(row)
            })
            .await?;
        self.forget_account(account);
        self.notify(&row, Notice::FactorRemoved).await
    }
}

fn has_own_way_in(account: &Account) -> bool {
    account.password_hash.is_some() || account.factors.contains(&Factor::Passkey)
}
