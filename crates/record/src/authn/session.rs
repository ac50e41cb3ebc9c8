//! Sign-in and sessions: opaque tokens of which only the SHA-256 is stored.

use super::throttle::{PER_ADDRESS, PER_NAME};
use super::{Session, SessionInfo, secret};
use crate::{Error, Record, Rule};
use access::{Ctx, Principal, Role, User};
use jiff::{SignedDuration, Timestamp};
use std::net::IpAddr;
use store::account::Account;
use store::audit::Outcome;

/// Accounts tried when several people share a phone.
const MAX_SHARING_PHONE: usize = 4;
/// An idle limit is moved at most this often: one write a minute for each person at work.
const TOUCH_S: i64 = 60;
/// How long a token's principal may be taken from memory: revocation on another server shows within it.
pub(super) const CACHE_MS: i64 = 1000;
/// Tokens held in memory.
pub(super) const CACHE_TOKENS: usize = 50_000;

/// facts/security-controls.md I5: staff 30 minutes idle, 12 hours in all; patients 7 and 30 days.
fn limits(roles: &[Role]) -> (SignedDuration, SignedDuration) {
    if roles.iter().any(|r| r.is_staff()) {
        (SignedDuration::from_mins(30), SignedDuration::from_hours(12))
    } else {
        (SignedDuration::from_hours(7 * 24), SignedDuration::from_hours(30 * 24))
    }
}

fn plus(at: Timestamp, duration: SignedDuration) -> Timestamp {
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}

pub(crate) fn user(account: &Account) -> User {
    User {
        account: account.id,
        display: account.display.clone(),
        roles: account.roles.clone(),
        patient: account.patient.clone(),
        practitioner: account.practitioner.clone(),
        language: account.language.clone(),
    }
}

fn wrong() -> Error {
    Error::Rule(Rule::new("credentials-wrong", "Login or password is wrong."))
}

impl Record {
    /// `login`: phone in any form, e-mail or user name. Errors: `Rule` `credentials-wrong` (401, the same answer and
    /// time for unknown names), `Throttled`, `Busy`.
    pub async fn login(
        &self,
        login: &str,
        password: &str,
        address: Option<IpAddr>,
    ) -> Result<Session, Error> {
        let now = self.now();
        // Other spellings of one number are one name.
        let name = super::phone_e164(login).unwrap_or_else(|| fhir::search::fold(login.trim()));
        let by_address = address.map(|a| format!("address/{a}"));
        let by_name = format!("name/{}", name.chars().take(100).collect::<String>());
        if let Some(key) = &by_address {
            self.inner.throttle.check(key, now)?;
        }
        self.inner.throttle.check(&by_name, now)?;

        let candidates = self.accounts_by_login(login).await?;
        // Whoever knows phone, e-mail and user name of somebody has no more guesses for it.
        let by_account: Vec<String> = candidates.iter().map(|a| format!("account/{}", a.id)).collect();
        for key in &by_account {
            self.inner.throttle.check(key, now)?;
        }
        let mut found = None;
        // An unknown name costs one hash as well.
        for n in 0..candidates.len().clamp(1, MAX_SHARING_PHONE) {
            let account = candidates.get(n);
            let hash = account.and_then(|a| a.password_hash.as_deref());
            if self.verify_password(password, hash).await?
                && let Some(account) = account
            {
                found = Some(account);
                break;
            }
        }
        match found.filter(|a| !a.disabled) {
            Some(account) => {
                self.inner.throttle.succeeded(&by_name);
                self.inner.throttle.succeeded(&format!("account/{}", account.id));
                let session = self.open_session(account, address, "login", None).await?;
                Ok(session)
            }
            None => {
                self.inner.throttle.failed(&by_name, PER_NAME, now);
                for key in &by_account {
                    self.inner.throttle.failed(key, PER_NAME, now);
                }
                if let Some(key) = &by_address {
                    self.inner.throttle.failed(key, PER_ADDRESS, now);
                }
                if let Some(account) = candidates.first() {
                    // After the answer: a commit would make known names slower than unknown ones.
                    let (record, ctx) = (self.clone(), self.context_of(user(account), address));
                    tokio::spawn(async move {
                        record.audit_one(&ctx, "login", Outcome::Denied, "", &[]).await.ok();
                    });
                }
                Err(wrong())
            }
        }
    }

    /// Phone, e-mail or user name.
    pub(super) async fn accounts_by_login(&self, login: &str) -> Result<Vec<Account>, Error> {
        let text = login.trim().to_lowercase();
        let phone = super::phone_e164(login);
        self.reading(move |tx| {
            if let Some(account) = store::account::by_login(tx, &text)? {
                return Ok(vec![account]);
            }
            if text.contains('@') {
                return Ok(store::account::by_email(tx, &text)?);
            }
            match &phone {
                Some(phone) => Ok(store::account::by_phone(tx, phone)?),
                None => Ok(Vec::new()),
            }
        })
        .await
    }

    pub(super) fn context_of(&self, user: User, address: Option<IpAddr>) -> Ctx {
        let mut ctx = Ctx::system("session", self.now());
        ctx.purpose = access::Purpose::Operations;
        ctx.principal = Principal::User(user);
        ctx.address = address;
        ctx
    }

    /// Signs in without a password; the caller has proved who it is. `absolute` keeps the limit of a session before.
    pub(super) async fn open_session(
        &self,
        account: &Account,
        address: Option<IpAddr>,
        action: &'static str,
        absolute: Option<Timestamp>,
    ) -> Result<Session, Error> {
        let now = self.now();
        let (idle, whole) = limits(&account.roles);
        let expires_at = absolute.unwrap_or_else(|| plus(now, whole));
        let idle_expires_at = plus(now, idle).min(expires_at);
        let token = secret::token()?;
        let user = user(account);
        let new = store::session::NewSession {
            token_hash: secret::hash(&token),
            account: account.id,
            created: now,
            idle_expires: idle_expires_at,
            expires: expires_at,
        };
        let event =
            self.audit_event(&self.context_of(user.clone(), address), action, Outcome::Success, "", &[]);
        let id = account.id;
        self.writing(move |tx| {
            store::session::insert(tx, &new)?;
            if action == "login" {
                store::account::login_succeeded(tx, id, now)?;
            }
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        Ok(Session { token, user, expires_at, idle_expires_at })
    }

    /// Who this token is; slides the idle limit. Errors: `Unauthenticated`.
    pub async fn session(&self, token: &str) -> Result<SessionInfo, Error> {
        let hash = secret::hash(token);
        let now = self.now();
        if let Some((Principal::User(_), Some(info))) = self.cached(&hash, now) {
            return Ok(info);
        }
        let found = self.reading(move |tx| Ok(store::session::find(tx, &hash, now)?)).await?;
        let (session, account) = found.ok_or(Error::Unauthenticated)?;
        let (idle, _) = limits(&account.roles);
        let mut idle_expires_at = session.idle_expires;
        if now.duration_since(session.last_seen) >= SignedDuration::from_secs(TOUCH_S) {
            idle_expires_at = plus(now, idle).min(session.expires);
            self.writing(move |tx| Ok(store::session::touch(tx, &hash, now, idle_expires_at)?)).await?;
        }
        let info = SessionInfo {
            user: user(&account),
            phone: account.phone.clone(),
            expires_at: session.expires,
            idle_expires_at,
        };
        self.remember(hash, now, Principal::User(info.user.clone()), Some(info.clone()));
        Ok(info)
    }

    /// Replaces the token by a new one within the absolute limit. Errors: `Unauthenticated`.
    pub async fn refresh(&self, token: &str) -> Result<Session, Error> {
        let hash = secret::hash(token);
        let now = self.now();
        let found = self.reading(move |tx| Ok(store::session::find(tx, &hash, now)?)).await?;
        let (session, account) = found.ok_or(Error::Unauthenticated)?;
        let ended = self.writing(move |tx| Ok(store::session::end(tx, &hash)?)).await?;
        self.forget(&hash);
        // Two refreshes at once: the second finds the token used.
        if !ended {
            return Err(Error::Unauthenticated);
        }
        self.open_session(&account, None, "session.refresh", Some(session.expires)).await
    }

    pub async fn logout(&self, ctx: &Ctx, token: &str) -> Result<(), Error> {
        let hash = secret::hash(token);
        let event = self.audit_event(ctx, "logout", Outcome::Success, "", &[]);
        self.writing(move |tx| {
            if store::session::end(tx, &hash)? {
                store::audit::append(tx, std::slice::from_ref(&event))?;
            }
            Ok(())
        })
        .await?;
        self.forget(&hash);
        Ok(())
    }

    /// Ends every session of the account; the person herself or an administrator. Errors: `Denied`.
    pub async fn logout_everywhere(&self, ctx: &Ctx, account: i64) -> Result<(), Error> {
        let own = ctx.user().is_some_and(|u| u.account == account);
        if !own && !access::policy::may(ctx, access::Capability::ManageAccounts) {
            return Err(self.denied(ctx, "logout.everywhere", &format!("account/{account}")).await);
        }
        let event =
            self.audit_event(ctx, "logout.everywhere", Outcome::Success, &format!("account/{account}"), &[]);
        self.writing(move |tx| {
            store::session::end_all(tx, account, None)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        self.forget_account(account);
        Ok(())
    }

    /// Ends all sessions, this one included: the caller signs in with the new password.
    /// Errors: `Rule` `credentials-wrong`, `password-short`, `password-common`; `Throttled`; `Unauthenticated`.
    pub async fn change_password(&self, ctx: &Ctx, old: &str, new: &str) -> Result<(), Error> {
        let user = ctx.user().ok_or(Error::Unauthenticated)?.clone();
        let throttle = format!("password/{}", user.account);
        self.inner.throttle.check(&throttle, self.now())?;
        let id = user.account;
        let account =
            self.reading(move |tx| Ok(store::account::load(tx, id)?)).await?.ok_or(Error::Unauthenticated)?;
        if !self.verify_password(old, account.password_hash.as_deref()).await? {
            self.inner.throttle.failed(&throttle, PER_NAME, self.now());
            self.audit_one(ctx, "password.change", Outcome::Denied, &format!("account/{id}"), &[]).await?;
            return Err(wrong());
        }
        self.inner.throttle.succeeded(&throttle);
        self.set_password(ctx, &account, new, "password.change").await
    }

    pub(super) async fn set_password(
        &self,
        ctx: &Ctx,
        account: &Account,
        new: &str,
        action: &'static str,
    ) -> Result<(), Error> {
        let about: Vec<&str> = [
            account.login.as_deref(),
            account.phone.as_deref(),
            account.email.as_deref(),
            Some(&*account.display),
        ]
        .into_iter()
        .flatten()
        .collect();
        super::password::check(new, &about)?;
        let hash = self.hash_password(new).await?;
        let id = account.id;
        let event = self.audit_event(ctx, action, Outcome::Success, &format!("account/{id}"), &[]);
        self.writing(move |tx| {
            let change = store::account::Update {
                account: id,
                password_hash: Some(hash.clone()),
                ..store::account::Update::default()
            };
            store::account::update(tx, &change).map_err(crate::write::account_error)?;
            store::session::end_all(tx, id, None)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        self.forget_account(id);
        Ok(())
    }

    pub(super) fn cached(&self, hash: &[u8; 32], now: Timestamp) -> Option<(Principal, Option<SessionInfo>)> {
        let cache = self.inner.tokens.lock();
        let (at, principal, info) = cache.get(hash)?;
        let age_ms = now.duration_since(*at).as_millis();
        (0..i128::from(CACHE_MS)).contains(&age_ms).then(|| (principal.clone(), info.clone()))
    }

    pub(super) fn remember(
        &self,
        hash: [u8; 32],
        now: Timestamp,
        principal: Principal,
        info: Option<SessionInfo>,
    ) {
        let mut cache = self.inner.tokens.lock();
        if cache.len() >= CACHE_TOKENS {
            cache.retain(|_, (at, ..)| now.duration_since(*at).as_millis() < i128::from(CACHE_MS));
        }
        if cache.len() < CACHE_TOKENS {
            cache.insert(hash, (now, principal, info));
        }
    }

    fn forget(&self, hash: &[u8; 32]) {
        self.inner.tokens.lock().remove(hash);
    }

    pub(crate) fn forget_account(&self, account: i64) {
        self.inner
            .tokens
            .lock()
            .retain(|_, (_, principal, _)| !matches!(principal, Principal::User(u) if u.account == account));
    }
}
