//! Accounts made and changed by administrators.

use super::four_eyes::{self, About, Act, NewPerson};
use super::{AccountChange, AccountRow, AccountSpec, secret, session};
use crate::{Error, Record, Rule};
use access::{Capability, Ctx, Principal, Role};
use jiff::Timestamp;
use store::account::{Account, NewAccount, Update};
use store::audit::Outcome;

const MAX_TEXT_CHARS: usize = 120;

pub(super) fn row(account: Account) -> AccountRow {
    AccountRow {
        account: account.id,
        display: account.display,
        login: account.login,
        phone: account.phone,
        email: account.email,
        roles: account.roles,
        patient: account.patient,
        practitioner: account.practitioner,
        language: account.language,
        disabled: account.disabled,
        created_at: account.created,
        last_login: account.last_login,
        second_factors: account.factors,
        has_password: account.password_hash.is_some(),
    }
}

fn refuse<T>(code: &'static str, field: &str, text: &str) -> Result<T, Error> {
    Err(Error::Rule(Rule::new(code, text).at(field)))
}

/// Errors: `name-required`.
fn check_display(text: &str) -> Result<String, Error> {
    let display = text.trim();
    if display.is_empty() || display.chars().count() > MAX_TEXT_CHARS || display.chars().any(char::is_control)
    {
        return refuse("name-required", "/display", "Write the person's name.");
    }
    Ok(display.to_owned())
}

/// Errors: `language-invalid`.
fn check_language(tag: &str) -> Result<(), Error> {
    match super::registration::is_language(tag) {
        true => Ok(()),
        false => refuse("language-invalid", "/language", "Write the language as a code like sw or en."),
    }
}

/// A role that needs a person in the record, without one, would silently see nothing.
pub(super) fn check_roles(roles: &[Role], patient: bool, practitioner: bool) -> Result<(), Error> {
    if roles.is_empty() || roles.contains(&Role::Integration) {
        return refuse("roles-invalid", "/roles", "Choose at least one role for people.");
    }
    if roles.iter().any(|r| matches!(r, Role::Doctor | Role::Nurse)) && !practitioner {
        return refuse(
            "practitioner-required",
            "/practitioner",
            "Doctors and nurses need their practitioner entry.",
        );
    }
    if roles.contains(&Role::Patient) && !patient {
        return refuse("patient-required", "/roles", "Patients register themselves.");
    }
    Ok(())
}

/// A new account as it is stored, without its password; a password that is given fits the person.
/// Errors: as [Record::create_account].
fn checked(new: &AccountSpec, now: Timestamp) -> Result<NewAccount, Error> {
    let display = check_display(&new.display)?;
    check_language(&new.language)?;
    check_roles(&new.roles, new.patient.is_some(), new.practitioner.is_some())?;
    let login = new.login.as_deref().map(|l| l.trim().to_lowercase());
    let fits = |login: &String| {
        (2..=MAX_TEXT_CHARS).contains(&login.chars().count())
            && !login.chars().any(|c| c.is_whitespace() || c.is_control())
    };
    if !login.as_ref().is_none_or(fits) {
        return refuse("login-invalid", "/login", "A login has at least two characters and no spaces.");
    }
    let written = new.phone.as_deref().map(str::trim).filter(|p| !p.is_empty());
    let phone = written.and_then(super::phone_e164);
    if written.is_some() && phone.is_none() {
        return refuse("phone-invalid", "/phone", "Write the phone number like 0712 345 678.");
    }
    if login.is_none() && phone.is_none() {
        return refuse("login-invalid", "/login", "Give a login or a phone number.");
    }
    if let Some(password) = &new.password {
        let about = [login.as_deref(), phone.as_deref(), Some(&*display)];
        super::password::check(password, &about.into_iter().flatten().collect::<Vec<_>>())?;
    }
    let email = new.email.as_deref().map(|e| e.trim().to_lowercase()).filter(|e| !e.is_empty());
    let fits = |e: &String| {
        e.contains('@')
            && e.chars().count() <= MAX_TEXT_CHARS
            && !e.chars().any(|c| c.is_whitespace() || c.is_control())
    };
    if !email.as_ref().is_none_or(fits) {
        return refuse("email-invalid", "/email", "Write the e-mail address like name@clinic.example.");
    }
    Ok(NewAccount {
        login,
        phone,
        email,
        display,
        password_hash: None,
        roles: new.roles.clone(),
        patient: new.patient.clone(),
        practitioner: new.practitioner.clone(),
        language: new.language.clone(),
        created: now,
    })
}

impl Record {
    /// Makes an account; only administrators and System principals. Returns its id and the one-time password if none
    /// was given. Errors: `Denied`; `Rule` `password-short`, `password-common`, `phone-invalid`, `login-invalid`,
    /// `email-invalid`, `language-invalid`, `name-required`, `roles-invalid`, `practitioner-required`, `patient-required`,
    /// `second-person-needed` (see [Record::ask_second_person]); `Duplicate` `login-taken`.
    pub async fn create_account(&self, ctx: &Ctx, new: AccountSpec) -> Result<(i64, Option<String>), Error> {
        self.make_account(ctx, new, true).await
    }

    /// For somebody who is invited to set her own password. Errors: as [Record::create_account].
    pub(super) async fn create_account_without_password(
        &self,
        ctx: &Ctx,
        new: AccountSpec,
    ) -> Result<i64, Error> {
        Ok(self.make_account(ctx, AccountSpec { password: None, ..new }, false).await?.0)
    }

    /// What is asked for as a new account, as it is stored. Errors: as [Record::create_account].
    pub(super) async fn checked_account(&self, ctx: &Ctx, new: &AccountSpec) -> Result<NewAccount, Error> {
        if !access::policy::may(ctx, Capability::ManageAccounts) {
            return Err(self.denied(ctx, "account.create", "").await);
        }
        checked(new, self.now())
    }

    async fn make_account(
        &self,
        ctx: &Ctx,
        new: AccountSpec,
        with_password: bool,
    ) -> Result<(i64, Option<String>), Error> {
        let mut account = self.checked_account(ctx, &new).await?;
        let one_time = match (&new.password, with_password) {
            (None, true) => Some(secret::one_time_password()?),
            _ => None,
        };
        if let Some(password) = new.password.as_ref().or(one_time.as_ref()) {
            account.password_hash = Some(self.hash_password(password).await?);
        }
        let alone = self.guard(ctx, &Act::Create(Box::new(NewPerson::of(&account))), About::Nothing).await?;
        let temporary = one_time.is_some();
        let mut event = self.audit_event(ctx, "account.create", Outcome::Success, "", &[]);
        let id = self
            .writing(move |tx| {
                let id = store::account::create(tx, &account).map_err(crate::write::account_error)?;
                let made = Update { account: id, temporary: Some(temporary), ..Update::default() };
                store::account::update(tx, &made).map_err(crate::write::account_error)?;
                four_eyes::note(tx, alone.as_ref().map(|alone| alone.about(id)).as_ref())?;
                event.what = format!("account/{id}");
                store::audit::append(tx, std::slice::from_ref(&event))?;
                Ok(id)
            })
            .await?;
        Ok((id, one_time))
    }

    /// Accounts by name, login or phone, newest first, for administrators. Returns rows and the next cursor.
    pub async fn accounts(
        &self,
        ctx: &Ctx,
        text: Option<&str>,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<(Vec<AccountRow>, Option<String>), Error> {
        self.accounts_of_kind(ctx, super::AccountKind::All, text, limit, cursor).await
    }

    /// As [Record::accounts], of one kind.
    pub async fn accounts_of_kind(
        &self,
        ctx: &Ctx,
        kind: super::AccountKind,
        text: Option<&str>,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<(Vec<AccountRow>, Option<String>), Error> {
        if !access::policy::may(ctx, Capability::ManageAccounts) {
            return Err(self.denied(ctx, "account.list", "").await);
        }
        let (text, cursor) = (text.map(str::to_owned), cursor.map(str::to_owned));
        let page = self
            .reading(move |tx| {
                Ok(store::account::list_of(tx, kind, text.as_deref(), cursor.as_deref(), limit)?)
            })
            .await?;
        Ok((page.rows.into_iter().map(row).collect(), page.next))
    }

    /// One account: the person herself, administrators. Errors: `Denied`, `NotFound`.
    pub async fn account(&self, ctx: &Ctx, account: i64) -> Result<AccountRow, Error> {
        let own = ctx.user().is_some_and(|u| u.account == account);
        if !own && !access::policy::may(ctx, Capability::ManageAccounts) {
            return Err(self.denied(ctx, "account.read", &format!("account/{account}")).await);
        }
        let found = self.reading(move |tx| Ok(store::account::load(tx, account)?)).await?;
        found.map(row).ok_or(Error::NotFound)
    }

    /// Accounts of a Patient or Practitioner, for messages to them. For System principals only. Errors: `Denied`.
    pub async fn accounts_of(&self, ctx: &Ctx, key: &fhir::ResourceKey) -> Result<Vec<AccountRow>, Error> {
        if !matches!(ctx.principal, Principal::System(_)) {
            return Err(Error::Denied);
        }
        let key = key.clone();
        let found = self
            .reading(move |tx| {
                Ok(match key.kind.name() {
                    "Patient" => store::account::by_patient(tx, &key)?,
                    _ => store::account::by_practitioner(tx, &key)?,
                })
            })
            .await?;
        Ok(found.into_iter().map(row).collect())
    }

    /// Changes an account: administrators any, users their own language. Disabling or other roles end its sessions.
    /// Errors: `Denied`, `StepUpNeeded` for roles, `NotFound`, `Rule` as in [Record::create_account], `own-account`,
    /// `second-person-needed`.
    pub async fn update_account(
        &self,
        ctx: &Ctx,
        account: i64,
        change: AccountChange,
    ) -> Result<AccountRow, Error> {
        let what = format!("account/{account}");
        let own = ctx.user().is_some_and(|u| u.account == account);
        let only_language = change.display.is_none()
            && change.roles.is_none()
            && change.disabled.is_none()
            && change.practitioner.is_none();
        let allowed = access::policy::may(ctx, Capability::ManageAccounts) || (own && only_language);
        if !allowed {
            return Err(self.denied(ctx, "account.update", &what).await);
        }
        // Nobody locks herself out of the administration by mistake.
        let keeps = change.roles.as_ref().is_none_or(|r| r.contains(&Role::Administrator));
        if own && ctx.has_role(Role::Administrator) && (!keeps || change.disabled == Some(true)) {
            return refuse("own-account", "/roles", "Ask another administrator to change this about you.");
        }
        if change.roles.is_some() {
            if own {
                self.check_own_roles(ctx, change.roles.as_deref().unwrap_or_default()).await?;
            }
            self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        }
        let current =
            self.reading(move |tx| Ok(store::account::load(tx, account)?)).await?.ok_or(Error::NotFound)?;
        let mut alone = None;
        if let Some(roles) = &change.roles {
            let practitioner = current.practitioner.is_some() || change.practitioner.is_some();
            check_roles(roles, current.patient.is_some(), practitioner)?;
            alone = self.guard(ctx, &Act::Roles(roles.clone()), &current).await?;
        }
        let display = change.display.as_deref().map(check_display).transpose()?;
        change.language.as_deref().map(check_language).transpose()?;
        let now = self.now();
        let ends_sessions = change.disabled == Some(true) || change.roles.is_some();
        let update = Update {
            account,
            display,
            roles: change.roles,
            disabled: change.disabled,
            language: change.language,
            practitioner: change.practitioner.map(Some),
            ..Update::default()
        };
        let event = self.audit_event(ctx, "account.update", Outcome::Success, &what, &[]);
        let by = ctx.user().map(|user| user.account);
        let changed = self
            .writing(move |tx| {
                store::account::update(tx, &update).map_err(crate::write::account_error)?;
                four_eyes::left(tx, &current, &update, now)?;
                if current.disabled && update.disabled == Some(false) {
                    four_eyes::reopened(tx, account, by, now)?;
                }
                four_eyes::note(tx, alone.as_ref())?;
                if ends_sessions {
                    store::session::end_all(tx, account, None)?;
                }
                // What applications were granted ends with the account, and so do the PINs on shared devices; other roles
                // count at once anyway.
                if update.disabled == Some(true) {
                    store::oauth::revoke_of_account(tx, account, now)?;
                    store::device::remove_pins(tx, None, account)?;
                }
                store::audit::append(tx, std::slice::from_ref(&event))?;
                Ok(store::account::load(tx, account)?)
            })
            .await?;
        self.forget_account(account);
        changed.map(row).ok_or(Error::NotFound)
    }

    /// A new one-time password for somebody who lost hers; ends her sessions. Administrators and System principals.
    /// Errors: `Denied`, `StepUpNeeded`, `NotFound`; `Rule` `second-person-needed`.
    pub async fn reset_by_administrator(&self, ctx: &Ctx, account: i64) -> Result<String, Error> {
        if !access::policy::may(ctx, Capability::ManageAccounts) {
            return Err(self.denied(ctx, "password.reset", &format!("account/{account}")).await);
        }
        let found =
            self.reading(move |tx| Ok(store::account::load(tx, account)?)).await?.ok_or(Error::NotFound)?;
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        let alone = self.guard(ctx, &Act::Password, &found).await?;
        let password = self.new_password(ctx, &found).await?;
        if alone.is_some() {
            self.writing(move |tx| four_eyes::note(tx, alone.as_ref())).await?;
        }
        Ok(password)
    }

    /// A one-time password; the owner is told. Errors: `Busy`, `Internal`.
    pub(super) async fn new_password(&self, ctx: &Ctx, account: &Account) -> Result<String, Error> {
        let password = secret::one_time_password()?;
        self.set_password(ctx, account, &password, "password.reset", true).await?;
        self.notify(account, super::Notice::PasswordReset).await?;
        Ok(password)
    }

    /// The user of an account, e.g. to act for a person that is not signed in. For System principals only.
    pub async fn user_of(&self, ctx: &Ctx, account: i64) -> Result<access::User, Error> {
        if !matches!(ctx.principal, Principal::System(_)) {
            return Err(Error::Denied);
        }
        let found = self.reading(move |tx| Ok(store::account::load(tx, account)?)).await?;
        let mut user = found.map(|a| session::user(&a)).ok_or(Error::NotFound)?;
        user.standing = self.standing(&user).await?;
        Ok(user)
    }
}
