//! Sessions: opaque tokens of which only the SHA-256 is stored.

use super::{Origin, Session, SessionInfo, SessionRow, secret};
use crate::{Error, Record};
use access::{Ctx, Factor, Principal, Role, SessionFacts, User};
use jiff::{SignedDuration, Timestamp};
use std::net::IpAddr;
use store::account::Account;
use store::audit::Outcome;
use store::session::Facts;

/// An idle limit is moved at most this often: one write a minute for each person at work.
const TOUCH_S: i64 = 60;
/// How long a token's principal may be taken from memory: revocation on another server shows within it.
pub(super) const CACHE_MS: i64 = 500;
/// Tokens held in memory.
pub(super) const CACHE_TOKENS: usize = 50_000;

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
        standing: std::sync::Arc::default(),
    }
}

/// How a session begins.
pub(super) struct Opening {
    pub action: &'static str,
    /// Keeps the limit of the session before.
    pub absolute: Option<Timestamp>,
    pub facts: Facts,
    /// What it came of, if a provider vouched.
    pub came: Option<store::outside::Came>,
    /// Remembered as places of this person.
    pub marks: Vec<[u8; 32]>,
    pub address: Option<IpAddr>,
    pub request_id: String,
}

impl Opening {
    /// Somebody showed these factors now.
    pub fn sign_in(factors: Vec<Factor>, from: &Origin, now: Timestamp) -> Opening {
        Opening {
            action: "login",
            absolute: None,
            came: None,
            facts: Facts {
                authenticated: now,
                factors,
                begun: now,
                device: from.device_name.chars().take(100).collect(),
                address: from.address.map(|a| a.to_string()).unwrap_or_default(),
                shared_device: from.shared_device.as_deref().map(secret::hash),
            },
            marks: from.marks(),
            address: from.address,
            request_id: from.request_id.clone(),
        }
    }
}

impl Record {
    pub(super) fn context_of(&self, user: User, address: Option<IpAddr>) -> Ctx {
        let mut ctx = Ctx::system("session", self.now());
        ctx.purpose = access::Purpose::Operations;
        ctx.principal = Principal::User(user);
        ctx.address = address;
        ctx
    }

    /// Signs in; the caller has proved who it is, by what `account` holds. Errors: `Unauthenticated` if that is over.
    pub(super) async fn open_session(&self, account: &Account, opening: Opening) -> Result<Session, Error> {
        let now = self.now();
        let policy = self.security_policy().await?;
        let mut facts = opening.facts;
        // A cookie of a device that is none of the clinic's any more means nothing.
        if let Some(device) = facts.shared_device {
            let known = self.reading(move |tx| Ok(store::device::load(tx, &device)?)).await?;
            facts.shared_device = known.map(|_| device);
        }
        let (idle, whole) = policy.limits(&account.roles, facts.shared_device.is_some());
        let expires_at = opening.absolute.unwrap_or_else(|| plus(now, whole));
        let idle_expires_at = plus(now, idle).min(expires_at);
        let token = secret::token()?;
        let user = user(account);
        let due = policy.due(account, &facts.factors);
        let new = store::session::NewSession {
            token_hash: secret::hash(&token),
            account: account.id,
            created: now,
            idle_expires: idle_expires_at,
            expires: expires_at,
            facts,
        };
        let mut ctx = self.context_of(user.clone(), opening.address);
        ctx.request_id = opening.request_id;
        let event = self.audit_event(&ctx, opening.action, Outcome::Success, "", &[]);
        let (id, action, marks, shown) = (account.id, opening.action, opening.marks, account.password_at);
        let came = opening.came.map(|came| store::outside::Came { expires: expires_at, ..came });
        self.writing(move |tx| {
            // A password takes a while to be looked at. Who took it back meanwhile, or closed the account, has ended all
            // sessions that there were; none comes of it afterwards.
            let held = store::account::hold(tx, id)?;
            if held.is_none_or(|account| account.disabled || account.password_at != shown) {
                return Err(Error::Unauthenticated);
            }
            let session = store::session::insert(tx, &new)?;
            if let Some(came) = &came {
                store::outside::begin_session(tx, id, &session, came)?;
            }
            if action == "login" {
                store::account::login_succeeded(tx, id, now)?;
                for mark in &marks {
                    store::credential::remember_origin(tx, id, mark, now)?;
                }
            }
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        Ok(Session { token, user, expires_at, idle_expires_at, due })
    }

    /// Who this token is; slides the idle limit. Errors: `Unauthenticated`.
    pub async fn session(&self, token: &str) -> Result<SessionInfo, Error> {
        self.session_from(token, None).await
    }

    /// Like [Record::session]; notes where the request came from. Errors: `Unauthenticated`.
    pub async fn session_from(&self, token: &str, address: Option<IpAddr>) -> Result<SessionInfo, Error> {
        let hash = secret::hash(token);
        let now = self.now();
        if let Some((Principal::User(_), Some(info))) = self.cached(&hash, now) {
            return Ok(info);
        }
        let policy = self.security_policy().await?;
        let found = self.reading(move |tx| Ok(store::session::find(tx, &hash, now)?)).await?;
        let (session, account) = found.ok_or(Error::Unauthenticated)?;
        let kiosk = session.facts.shared_device.is_some();
        let (idle, whole) = policy.limits(&account.roles, kiosk);
        // The limits as they are now: stricter ones count at once.
        let expires_at = session.expires.min(plus(session.facts.begun, whole));
        let mut idle_expires_at = session.idle_expires.min(plus(session.last_seen, idle)).min(expires_at);
        if idle_expires_at <= now {
            return Err(Error::Unauthenticated);
        }
        if now.duration_since(session.last_seen) >= SignedDuration::from_secs(TOUCH_S) {
            idle_expires_at = plus(now, idle).min(expires_at);
            let seen = address.map(|a| a.to_string()).unwrap_or_default();
            self.writing(move |tx| Ok(store::session::touch(tx, &hash, now, idle_expires_at, &seen)?))
                .await?;
        }
        let facts = SessionFacts {
            id: session.id,
            authenticated_at: session.facts.authenticated,
            due: policy.due(&account, &session.facts.factors),
            factors: session.facts.factors,
            absolute: expires_at,
            enrolled: super::second::shown_by(&policy, &account),
            kiosk,
        };
        let mut user = user(&account);
        user.standing = self.standing(&user).await?;
        let info = SessionInfo { user, phone: account.phone, expires_at, idle_expires_at, facts };
        self.remember(hash, now, Principal::User(info.user.clone()), Some(info.clone()));
        Ok(info)
    }

    /// Replaces the token by a new one within the absolute limit. Errors: `Unauthenticated`.
    pub async fn refresh(&self, token: &str) -> Result<Session, Error> {
        // Also decides by the limits as they are now.
        let info = self.session(token).await?;
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
        let opening = Opening {
            action: "session.refresh",
            absolute: Some(info.expires_at),
            came: None,
            facts: session.facts,
            marks: Vec::new(),
            address: None,
            request_id: String::new(),
        };
        self.open_session(&account, opening).await
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

    /// Ends every session of the account and what its applications were granted; the person herself or an
    /// administrator. Errors: `Denied`.
    pub async fn logout_everywhere(&self, ctx: &Ctx, account: i64) -> Result<(), Error> {
        self.may_manage(ctx, account, "logout.everywhere").await?;
        let event =
            self.audit_event(ctx, "logout.everywhere", Outcome::Success, &format!("account/{account}"), &[]);
        let now = self.now();
        self.writing(move |tx| {
            store::session::end_all(tx, account, None)?;
            store::oauth::revoke_of_account(tx, account, now)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        self.forget_account(account);
        Ok(())
    }

    /// Errors: `Denied` unless it is the own account or the caller manages accounts.
    pub(super) async fn may_manage(
        &self,
        ctx: &Ctx,
        account: i64,
        action: &'static str,
    ) -> Result<(), Error> {
        let own = ctx.user().is_some_and(|u| u.account == account);
        match own || access::policy::may(ctx, access::Capability::ManageAccounts) {
            true => Ok(()),
            false => Err(self.denied(ctx, action, &format!("account/{account}")).await),
        }
    }

    /// The live sessions of an account, last used first, at most 100; the person herself or an administrator.
    /// Errors: `Denied`.
    pub async fn sessions(&self, ctx: &Ctx, account: i64) -> Result<Vec<SessionRow>, Error> {
        self.may_manage(ctx, account, "session.list").await?;
        let now = self.now();
        let rows = self.reading(move |tx| Ok(store::session::list(tx, account, now)?)).await?;
        let own = ctx.session.as_ref().map(|s| s.id);
        let row = |s: store::session::Session| SessionRow {
            is_current: Some(s.id) == own,
            id: s.id,
            device: s.facts.device,
            address: s.facts.address,
            kiosk: s.facts.shared_device.is_some(),
            factors: s.facts.factors,
            begun_at: s.facts.begun,
            last_seen_at: s.last_seen,
            expires_at: s.expires,
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Ends one session of the account. Errors: `Denied`, `NotFound`.
    pub async fn end_session(&self, ctx: &Ctx, account: i64, id: [u8; 8]) -> Result<(), Error> {
        self.may_manage(ctx, account, "session.end").await?;
        let event =
            self.audit_event(ctx, "session.end", Outcome::Success, &format!("account/{account}"), &[]);
        let ended = self
            .writing(move |tx| {
                let ended = store::session::end_by_id(tx, account, &id)?;
                if ended {
                    store::audit::append(tx, std::slice::from_ref(&event))?;
                }
                Ok(ended)
            })
            .await?;
        self.forget_account(account);
        if ended { Ok(()) } else { Err(Error::NotFound) }
    }

    /// Whether the session still is one, without moving its idle limit. For open sockets. Errors: `Busy`, `Internal`.
    pub async fn is_session_alive(&self, account: i64, id: [u8; 8]) -> Result<bool, Error> {
        let now = self.now();
        self.reading(move |tx| Ok(store::session::is_alive(tx, account, &id, now)?)).await
    }

    /// The caller of an open socket as she is now, with the roles, the record and the standing that she has in the tables,
    /// not in memory; `None` when her session is over, she is disabled, or what called has no session. A stricter rule for
    /// signing in, made meanwhile, does not count: it ends no visit that goes on. Errors: `Busy`, `Internal`.
    pub async fn caller_now(&self, ctx: &Ctx) -> Result<Option<Ctx>, Error> {
        let (Some(caller), Some(session)) = (ctx.user(), &ctx.session) else { return Ok(None) };
        let (account, id, now) = (caller.account, session.id, self.now());
        let found = self
            .reading(move |tx| {
                if !store::session::is_alive(tx, account, &id, now)? {
                    return Ok(None);
                }
                let Some(account) = store::account::load(tx, account)? else { return Ok(None) };
                let mut user = user(&account);
                let is_proxy = user.roles.contains(&Role::Proxy);
                let standing = crate::rights::standing_of(tx, user.account, is_proxy, now)?;
                user.standing = std::sync::Arc::new(standing);
                Ok(Some(user))
            })
            .await?;
        Ok(found.map(|user| Ctx { principal: Principal::User(user), now, ..ctx.clone() }))
    }

    /// Accounts some session of which ended within the last seconds, on whatever server. Errors: `Busy`, `Internal`.
    pub async fn sessions_ended_lately(&self) -> Result<Vec<i64>, Error> {
        self.reading(|tx| Ok(store::session::ended_lately(tx)?)).await
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

    pub(super) fn forget(&self, hash: &[u8; 32]) {
        self.inner.tokens.lock().remove(hash);
    }

    pub(crate) fn forget_account(&self, account: i64) {
        self.forget_holders();
        self.inner
            .tokens
            .lock()
            .retain(|_, (_, principal, _)| !matches!(principal, Principal::User(u) if u.account == account));
    }
}
