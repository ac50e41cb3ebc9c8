//! Invitations of staff and links for a new password: sent or shown once, used once.

use super::four_eyes::{self, Act};
use super::{AccountSpec, Delivery, Invited, LinkFacts, Notice, Origin, SignIn, notice, secret, session};
use crate::{Error, Record, Rule};
use access::{Capability, Ctx, Factor};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use store::account::{Account, Update};
use store::audit::Outcome;
use store::ceremony::Link;

pub(super) const INVITATION: &str = "invitation";
pub(super) const RESET: &str = "reset";
/// An invitation waits for three days.
pub(super) const INVITATION_WAITS: SignedDuration = SignedDuration::from_hours(72);
/// A link for a new password waits for half an hour.
const RESET_WAITS: SignedDuration = SignedDuration::from_mins(30);
/// Links for a new password that one account can make us send in an hour.
const RESETS_PER_HOUR: super::throttle::Allowance = super::throttle::Allowance(4);

/// Errors: `Rule` `has-password`.
pub(super) fn check_invitable(row: &Account) -> Result<(), Error> {
    if row.password_hash.is_none() {
        return Ok(());
    }
    let text = "This person has a password already; reset it instead.";
    Err(Error::Rule(Rule::new("has-password", text)))
}

fn gone() -> Error {
    Error::Rule(Rule::new("link-expired", "This link was used already or is too old; ask for a new one."))
}

impl Record {
    /// Makes an account without a password and invites its owner to set one; administrators who showed themselves in
    /// the last minutes. Errors: `Denied`, `StepUpNeeded`; as [Record::create_account]; `Rule` `email-required`,
    /// `phone-required` when there is nowhere to send it.
    pub async fn invite(&self, ctx: &Ctx, new: AccountSpec, by: Delivery) -> Result<Invited, Error> {
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        notice::check_way(by, new.email.as_deref(), new.phone.as_deref())?;
        let account = self.create_account_without_password(ctx, new).await?;
        self.send_invitation(ctx, account, by).await
    }

    /// Sends or shows a new invitation; earlier ones stop working. Errors: `Denied`, `StepUpNeeded`, `NotFound`;
    /// `Rule` `has-password` for somebody who signs in already, `email-required`, `phone-required`,
    /// `second-person-needed` for one that is shown.
    pub async fn invite_again(&self, ctx: &Ctx, account: i64, by: Delivery) -> Result<Invited, Error> {
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        if by == Delivery::Shown && access::policy::may(ctx, Capability::ManageAccounts) {
            let row = self.account_row(account).await?.ok_or(Error::NotFound)?;
            check_invitable(&row)?;
            if let Some(alone) = self.guard(ctx, &Act::Invitation, &row).await? {
                self.writing(move |tx| four_eyes::note(tx, Some(&alone))).await?;
            }
        }
        self.send_invitation(ctx, account, by).await
    }

    /// A link for a new password to the owner's own address or number, which the administrator never sees: for whom she
    /// knows to be locked out. What she has stays until the link is used. Errors: `Denied`, `StepUpNeeded`, `NotFound`;
    /// `Rule` `email-required`, `phone-required`.
    pub async fn send_reset(&self, ctx: &Ctx, account: i64, by: Delivery) -> Result<Invited, Error> {
        let what = format!("account/{account}");
        if !access::policy::may(ctx, Capability::ManageAccounts) {
            return Err(self.denied(ctx, "password.reset-link", &what).await);
        }
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        let row = self.account_row(account).await?.ok_or(Error::NotFound)?;
        if by == Delivery::Shown {
            return Err(Error::Internal("a link that is shown is no link to the owner".into()));
        }
        notice::check_way(by, row.email.as_deref(), row.phone.as_deref())?;
        self.deliver(ctx, &row, by, (RESET, RESET_WAITS, Notice::ResetLink)).await
    }

    pub(super) async fn send_invitation(
        &self,
        ctx: &Ctx,
        account: i64,
        by: Delivery,
    ) -> Result<Invited, Error> {
        let what = format!("account/{account}");
        if !access::policy::may(ctx, Capability::ManageAccounts) {
            return Err(self.denied(ctx, "account.invite", &what).await);
        }
        let row = self.account_row(account).await?.ok_or(Error::NotFound)?;
        check_invitable(&row)?;
        notice::check_way(by, row.email.as_deref(), row.phone.as_deref())?;
        self.deliver(ctx, &row, by, (INVITATION, INVITATION_WAITS, Notice::Invitation)).await
    }

    /// Makes a link and sends it, or returns it to be shown.
    async fn deliver(
        &self,
        ctx: &Ctx,
        row: &Account,
        by: Delivery,
        (purpose, waits, notice): (&'static str, SignedDuration, Notice),
    ) -> Result<Invited, Error> {
        let account = row.id;
        let (token, link) = self.new_link(account, purpose, waits, ctx)?;
        let expires_at = link.expires;
        let message = self.link_message(row, by, notice, &token, expires_at)?;
        let action = if purpose == INVITATION { "account.invite" } else { "password.reset-link" };
        let event = self.audit_event(ctx, action, Outcome::Success, &format!("account/{account}"), &[]);
        self.writing(move |tx| {
            store::ceremony::put_link(tx, &link)?;
            if let Some(message) = &message {
                store::message::insert(tx, message)?;
            }
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        let sent_to = notice::masked(row.email.as_deref(), row.phone.as_deref(), by);
        let token = (by == Delivery::Shown).then_some(token);
        Ok(Invited { account, token, sent_to, expires_at })
    }

    pub(super) fn new_link(
        &self,
        account: i64,
        purpose: &str,
        waits: SignedDuration,
        ctx: &Ctx,
    ) -> Result<(String, Link), Error> {
        let token = secret::token()?;
        let now = self.now();
        let link = Link {
            token_hash: secret::hash(&token),
            purpose: purpose.to_owned(),
            account,
            made_by: ctx.user().map(|u| u.account),
            created: now,
            expires: now.checked_add(waits).unwrap_or(Timestamp::MAX),
            payload: Value::Null,
        };
        Ok((token, link))
    }

    /// Sends a link for a new password to the account's e-mail address. Errors: `Busy`.
    pub(super) async fn send_reset_link(&self, ctx: &Ctx, account: &Account) -> Result<(), Error> {
        let key = format!("reset-link/{}", account.id);
        if self.inner.throttle.attempt(&key, RESETS_PER_HOUR, self.now()).is_err() {
            return Ok(());
        }
        let id = account.id;
        // Who signs in by a provider and has no password here gets none this way: then it could not lock her out.
        let is_outside = self.reading(move |tx| Ok(!store::outside::of_account(tx, id)?.is_empty())).await?;
        if is_outside && account.password_hash.is_none() {
            return Ok(());
        }
        let (token, link) = self.new_link(account.id, RESET, RESET_WAITS, ctx)?;
        let expires = link.expires;
        let message = self.link_message(account, Delivery::Email, Notice::ResetLink, &token, expires)?;
        let what = format!("account/{}", account.id);
        let event = self.audit_event(ctx, "password.reset-link", Outcome::Success, &what, &[]);
        self.writing(move |tx| {
            store::ceremony::put_link(tx, &link)?;
            if let Some(message) = &message {
                store::message::insert(tx, message)?;
            }
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await
    }

    /// What a link is for, so that its holder knows where she is. Errors: `Rule` `link-expired`; `Throttled`.
    pub async fn link_facts(&self, token: &str, from: &Origin) -> Result<LinkFacts, Error> {
        let (link, account) = self.open_link(token, from).await?;
        Ok(LinkFacts {
            purpose: if link.purpose == INVITATION { INVITATION } else { RESET },
            display: account.display,
            login: account.login.or(account.email),
            expires_at: link.expires,
        })
    }

    async fn open_link(&self, token: &str, from: &Origin) -> Result<(Link, Account), Error> {
        let now = self.now();
        let key = from.address.map(|a| format!("link/{}", super::throttle::network(a)));
        if let Some(key) = &key {
            self.inner.throttle.attempt(key, super::throttle::PER_ADDRESS, now)?;
        }
        let hash = secret::hash(token);
        let link = self.reading(move |tx| Ok(store::ceremony::link(tx, &hash, now)?)).await?;
        let link = link.ok_or_else(gone)?;
        let account = self.account_row(link.account).await?.ok_or_else(gone)?;
        if let Some(key) = &key {
            self.inner.throttle.forgive(key, now);
        }
        Ok((link, account))
    }

    /// Sets the password of the link's account, ends all its sessions and signs in; who has a second factor shows it
    /// next. Errors: `Rule` `link-expired`, `password-short`, `password-common`; `Throttled`.
    pub async fn use_link(&self, token: &str, password: &str, from: &Origin) -> Result<SignIn, Error> {
        let (link, account) = self.open_link(token, from).await?;
        // Before the link is used up: a password that is refused must not cost it.
        let about = [account.login.as_deref(), account.phone.as_deref(), account.email.as_deref()];
        let about: Vec<&str> = about.into_iter().flatten().chain([&*account.display]).collect();
        super::password::check(password, &about)?;
        let hash = link.token_hash;
        if !self.writing(move |tx| Ok(store::ceremony::use_link(tx, &hash)?)).await? {
            return Err(gone());
        }
        let is_reset = link.purpose == RESET;
        let mut own = self.context_of(session::user(&account), from.address);
        own.request_id.clone_from(&from.request_id);
        let action = if is_reset { "password.reset" } else { "account.accept" };
        self.set_password(&own, &account, password, action, false).await?;
        if is_reset {
            self.notify(&account, Notice::PasswordReset).await?;
        }
        self.signed_in_by(&account, Factor::Password, from).await
    }

    /// After a new password was set: a session, or the second factor first.
    pub(super) async fn signed_in_by(
        &self,
        account: &Account,
        factor: Factor,
        from: &Origin,
    ) -> Result<SignIn, Error> {
        // As it is with the new password.
        let account = self.account_row(account.id).await?.ok_or_else(gone)?;
        if !account.factors.is_empty() {
            return Ok(SignIn::SecondFactor(self.begin_second_factor(&account, from).await?));
        }
        let opening = session::Opening::sign_in(vec![factor], from, self.now());
        Ok(SignIn::Open(self.open_session(&account, opening).await?))
    }

    /// Changes the own phone number once the code sent to the new one is shown. A code to the new number alone is not
    /// enough: the person must have shown herself in the last minutes. Errors: `Unauthenticated`, `StepUpNeeded`,
    /// `Rule` `phone-invalid`; `Throttled`.
    pub async fn begin_phone_change(&self, ctx: &Ctx, phone: &str) -> Result<super::CodeSent, Error> {
        let user = ctx.user().ok_or(Error::Unauthenticated)?;
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        self.require_settled(ctx).await?;
        let Some(phone) = super::phone_e164(phone) else {
            let text = "Write the phone number like 0712 345 678 or +254 712 345 678.";
            return Err(Error::Rule(Rule::new("phone-invalid", text).at("/phone")));
        };
        self.throttle_begin(ctx)?;
        let sending = super::code::Sending {
            purpose: super::code::PHONE,
            phone,
            language: user.language.clone(),
            payload: Value::Null,
            account: Some(user.account),
            text: super::code::Text::Code,
        };
        self.send_code(ctx, sending).await
    }

    /// Errors: `Unauthenticated`, `StepUpNeeded`, `Rule` `code-wrong`, `code-expired`.
    pub async fn confirm_phone_change(&self, ctx: &Ctx, id: &str, code: &str) -> Result<String, Error> {
        let account = ctx.user().ok_or(Error::Unauthenticated)?.account;
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        let row = self.check_code(id, super::code::PHONE, code).await?;
        if row.account != Some(account) {
            return Err(super::code::expired());
        }
        let before = self.account_row(account).await?.ok_or(Error::Unauthenticated)?;
        let (phone, id) = (row.phone.clone(), id.to_owned());
        let event =
            self.audit_event(ctx, "phone.change", Outcome::Success, &format!("account/{account}"), &[]);
        self.writing(move |tx| {
            if !store::one_time_code::use_up(tx, &id)? {
                return Err(super::code::expired());
            }
            let update = Update { account, phone: Some(Some(phone.clone())), ..Update::default() };
            store::account::update(tx, &update).map_err(crate::write::account_error)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        self.forget_account(account);
        // To the old number: whoever took the account over has the new one.
        self.notify(&before, Notice::PhoneChanged).await?;
        Ok(row.phone)
    }
}
