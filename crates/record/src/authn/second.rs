//! Second factors: codes of an authenticator application, recovery codes, and the second step of a sign-in.

use super::four_eyes::{self, Act};
use super::passkey::Assertion;
use super::throttle::Lane;
use super::{Origin, Pending, Proof, SecurityState, Session, secret, session, totp};
use crate::{Error, Record, Rule};
use access::{Capability, Ctx, Factor};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use store::account::{Account, Update};
use store::audit::Outcome;
use store::ceremony::Ceremony;

const KIND: &str = "second-factor";
/// Between the password and the second factor.
const WAITS: SignedDuration = SignedDuration::from_mins(5);
/// Second factors tried in one sign-in; the account's own delays count besides.
const MAX_TRIES: u32 = 5;
/// Ceremonies are kept this long after their end.
pub(crate) const KEPT: SignedDuration = SignedDuration::from_hours(1);

fn plus(at: Timestamp, duration: SignedDuration) -> Timestamp {
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}

pub(super) fn expired() -> Error {
    Error::Rule(Rule::new("sign-in-expired", "This took too long; begin again."))
}

/// Every wrong second factor is told alike.
pub(super) fn wrong() -> Error {
    Error::Rule(Rule::new("second-factor-wrong", "This code or passkey does not fit.").at("/code"))
}

/// A new authenticator secret, to be shown once.
#[derive(Clone)]
pub struct TotpSetup {
    /// Base32, for typing in.
    pub secret: String,
    /// `otpauth://totp/…`, for a QR code.
    pub uri: String,
}

impl Record {
    /// After the right password. Errors: `Busy`, `Internal`.
    pub(super) async fn begin_second_factor(
        &self,
        account: &Account,
        from: &Origin,
    ) -> Result<Pending, Error> {
        self.begin_second_factor_after(account, from, &[Factor::Password], None).await
    }

    /// `base`: what was shown already; `came`: by whom, if a provider vouched. Errors: `Busy`, `Internal`.
    pub(super) async fn begin_second_factor_after(
        &self,
        account: &Account,
        from: &Origin,
        base: &[Factor],
        came: Option<&store::outside::Came>,
    ) -> Result<Pending, Error> {
        let id = secret::token()?;
        let expires_at = plus(self.now(), WAITS);
        let new = Ceremony {
            id_hash: secret::hash(&id),
            kind: KIND.to_owned(),
            account: Some(account.id),
            attempts: 0,
            expires: expires_at,
            payload: json!({"device": from.device_name, "first": super::outside::kept(base, came)}),
        };
        let account_id = account.id;
        let left = self
            .writing(move |tx| {
                store::ceremony::begin(tx, &new)?;
                Ok(store::factor::recovery_codes_left(tx, account_id)?)
            })
            .await?;
        let mut factors = account.factors.clone();
        if left > 0 {
            factors.push(Factor::RecoveryCode);
        }
        Ok(Pending { id, factors, expires_at })
    }

    /// The challenge for the passkey step of a sign-in, as `navigator.credentials.get` takes it.
    /// Errors: `Rule` `sign-in-expired`, `no-passkey`.
    pub async fn second_factor_passkey(&self, id: &str) -> Result<Value, Error> {
        let (hash, now) = (secret::hash(id), self.now());
        let ceremony = self
            .reading(move |tx| Ok(store::ceremony::load(tx, &hash, KIND, now)?))
            .await?
            .ok_or_else(expired)?;
        let account = ceremony.account.ok_or_else(expired)?;
        let (options, state) = self.challenge_for(account).await?;
        let mut payload = ceremony.payload;
        payload["passkey"] = state;
        self.writing(move |tx| Ok(store::ceremony::keep(tx, &hash, &payload)?)).await?;
        Ok(options)
    }

    /// The second step of signing in. Errors: `Rule` `sign-in-expired`, `second-factor-wrong`; `Throttled`.
    pub async fn finish_second_factor(
        &self,
        id: &str,
        proof: Proof,
        from: &Origin,
    ) -> Result<Session, Error> {
        let (hash, now) = (secret::hash(id), self.now());
        let ceremony = self
            .writing(move |tx| Ok(store::ceremony::attempt(tx, &hash, KIND, now, MAX_TRIES)?))
            .await?
            .ok_or_else(expired)?;
        let account = self.account_row(ceremony.account.ok_or_else(expired)?).await?.ok_or_else(expired)?;
        let lane = self.lane_of(&account, from).await?;
        let factor = self.verify_factor(&account, lane, proof, &ceremony.payload["passkey"]).await?;
        let used = self.writing(move |tx| Ok(store::ceremony::finish(tx, &hash)?)).await?;
        if !used {
            return Err(expired());
        }
        self.forgive_account(account.id, lane).await?;
        let from = Origin {
            device_name: match from.device_name.is_empty() {
                true => ceremony.payload["device"].as_str().unwrap_or_default().to_owned(),
                false => from.device_name.clone(),
            },
            ..from.clone()
        };
        let (mut factors, came) = super::outside::restored(&ceremony.payload["first"]);
        factors.push(factor);
        let mut opening = session::Opening::sign_in(factors, &from, now);
        opening.came = came;
        self.open_session(&account, opening).await
    }

    /// An account that is not disabled.
    pub(super) async fn account_row(&self, id: i64) -> Result<Option<Account>, Error> {
        let found = self.reading(move |tx| Ok(store::account::load(tx, id)?)).await?;
        Ok(found.filter(|a| !a.disabled))
    }

    pub(super) async fn lane_of(&self, account: &Account, from: &Origin) -> Result<Lane, Error> {
        let (account, from, now) = (account.clone(), from.clone(), self.now());
        self.reading(move |tx| from.lane(tx, &account, now)).await
    }

    /// Checks a second factor and uses it up; wrong ones delay the next. Errors: `Rule` `second-factor-wrong`;
    /// `Throttled`.
    pub(super) async fn verify_factor(
        &self,
        account: &Account,
        lane: Lane,
        proof: Proof,
        state: &Value,
    ) -> Result<Factor, Error> {
        let now = self.now();
        let lane = lane.second();
        let id = account.id;
        // Counted before it is looked at, so that many at once have no more tries.
        let source = lane.clone();
        self.writing(move |tx| {
            if let Some(f) = store::credential::failures(tx, id, &source)?.filter(|f| f.free_at > now) {
                return Err(Error::Throttled { retry_after_s: super::throttle::seconds(now, f.free_at) });
            }
            store::credential::failed(tx, id, &source, now, super::throttle::RULE)?;
            Ok(())
        })
        .await?;
        let right = match proof {
            Proof::Password(_) => None,
            Proof::Totp(code) => self.use_totp(id, &code, now).await?.then_some(Factor::Totp),
            Proof::RecoveryCode(code) => {
                let hash = secret::hash_recovery(id, &code);
                let used =
                    self.writing(move |tx| Ok(store::factor::use_recovery_code(tx, id, &hash)?)).await?;
                used.then_some(Factor::RecoveryCode)
            }
            Proof::Passkey(credential) => {
                let assertion = Assertion { credential, state: state.clone() };
                self.use_passkey(account, assertion).await?.then_some(Factor::Passkey)
            }
        };
        let Some(factor) = right else {
            let ctx = self.context_of(session::user(account), None);
            self.audit_one(&ctx, "second-factor", Outcome::Denied, &format!("account/{id}"), &[]).await?;
            return Err(wrong());
        };
        self.writing(move |tx| Ok(store::credential::clear_failures(tx, id, &lane)?)).await?;
        if factor == Factor::RecoveryCode {
            self.notify(account, super::Notice::RecoveryCodeUsed).await?;
        }
        Ok(factor)
    }

    async fn use_totp(&self, account: i64, code: &str, now: Timestamp) -> Result<bool, Error> {
        let stored = self.reading(move |tx| Ok(store::factor::totp(tx, account)?)).await?;
        let Some(stored) = stored.filter(|t| t.confirmed) else { return Ok(false) };
        let secret = self.unseal(&stored.secret, &totp_place(account))?;
        let Some(step) = totp::step_of(&secret, code, now, stored.last_step) else { return Ok(false) };
        // Of two at once with the same code one is right.
        self.writing(move |tx| Ok(store::factor::use_step(tx, account, step)?)).await
    }

    /// Begins to set up an authenticator application; the secret counts once a code of it was shown.
    /// Errors: `Unauthenticated`; `StepUpNeeded`; `Duplicate` `totp-exists`.
    pub async fn begin_totp(&self, ctx: &Ctx, issuer: &str) -> Result<TotpSetup, Error> {
        let user = ctx.user().ok_or(Error::Unauthenticated)?;
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        self.require_settled(ctx).await?;
        let id = user.account;
        let account = self.account_row(id).await?.ok_or(Error::Unauthenticated)?;
        let key = totp::new_secret()?;
        let sealed = self.seal(&key, &totp_place(id))?;
        let now = self.now();
        let begun = self.writing(move |tx| Ok(store::factor::begin_totp(tx, id, &sealed, now)?)).await?;
        if !begun {
            let text = "There is an authenticator application already; remove it first.";
            return Err(Error::Duplicate(Rule::new("totp-exists", text)));
        }
        let label = account.login.or(account.email).or(account.phone).unwrap_or(account.display);
        let secret = totp::base32(&key);
        Ok(TotpSetup { uri: totp::uri(issuer, &label, &secret), secret })
    }

    /// The first code makes the application a factor; answers with new recovery codes when there are none.
    /// Errors: `Unauthenticated`; `StepUpNeeded`; `Rule` `second-factor-wrong`; `NotFound` without a beginning.
    pub async fn confirm_totp(&self, ctx: &Ctx, code: &str) -> Result<Vec<String>, Error> {
        let id = ctx.user().ok_or(Error::Unauthenticated)?.account;
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        let now = self.now();
        self.inner.throttle.attempt(&format!("totp/{id}"), super::throttle::PER_NAME, now)?;
        let stored = self.reading(move |tx| Ok(store::factor::totp(tx, id)?)).await?;
        let stored = stored.filter(|t| !t.confirmed).ok_or(Error::NotFound)?;
        let key = self.unseal(&stored.secret, &totp_place(id))?;
        let Some(step) = totp::step_of(&key, code, now, stored.last_step) else { return Err(wrong()) };
        self.inner.throttle.succeeded(&format!("totp/{id}"));
        self.enrolled(ctx, id, Factor::Totp, move |tx| {
            if !store::factor::use_step(tx, id, step)? {
                return Err(wrong());
            }
            Ok(store::factor::confirm_totp(tx, id)?)
        })
        .await
    }

    /// Adds a factor to the account and to the caller's session, audits, tells the owner. Returns new recovery codes
    /// if the account had none.
    pub(super) async fn enrolled(
        &self,
        ctx: &Ctx,
        id: i64,
        factor: Factor,
        mut work: impl FnMut(&mut dyn store::Tx) -> Result<(), Error> + Send + 'static,
    ) -> Result<Vec<String>, Error> {
        let account = self.account_row(id).await?.ok_or(Error::Unauthenticated)?;
        let mut factors = account.factors.clone();
        if !factors.contains(&factor) {
            factors.push(factor);
        }
        let codes = secret::recovery_codes()?;
        let hashes: Vec<[u8; 32]> = codes.iter().map(|c| secret::hash_recovery(id, c)).collect();
        let what = format!("account/{id}");
        let event = self.audit_event(ctx, "factor.add", Outcome::Success, &what, &[]);
        let (session, now) = (ctx.session.clone(), self.now());
        let given = self
            .writing(move |tx| {
                work(tx)?;
                let update = Update { account: id, factors: Some(factors.clone()), ..Update::default() };
                store::account::update(tx, &update).map_err(crate::write::account_error)?;
                let first = store::factor::recovery_codes_left(tx, id)? == 0;
                if first {
                    store::factor::set_recovery_codes(tx, id, &hashes)?;
                }
                if let Some(session) = &session {
                    let mut shown = session.factors.clone();
                    if !shown.contains(&factor) {
                        shown.push(factor);
                    }
                    store::session::authenticated(tx, id, &session.id, now, &shown)?;
                }
                store::audit::append(tx, std::slice::from_ref(&event))?;
                Ok(first)
            })
            .await?;
        self.forget_account(id);
        self.notify(&account, super::Notice::FactorAdded).await?;
        Ok(if given { codes } else { Vec::new() })
    }

    /// Takes the authenticator application away. Errors: as [Record::removed].
    pub async fn remove_totp(&self, ctx: &Ctx) -> Result<(), Error> {
        let id = ctx.user().ok_or(Error::Unauthenticated)?.account;
        self.removed(ctx, id, move |tx| Ok(store::factor::remove_totp(tx, id)?)).await
    }

    /// Takes a factor away; `work` returns whether it was there. Errors: `StepUpNeeded`, `NotFound`; `Rule`
    /// `last-factor` where the clinic requires one.
    pub(super) async fn removed(
        &self,
        ctx: &Ctx,
        id: i64,
        mut work: impl FnMut(&mut dyn store::Tx) -> Result<bool, Error> + Send + 'static,
    ) -> Result<(), Error> {
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        let account = self.account_row(id).await?.ok_or(Error::Unauthenticated)?;
        let policy = self.security_policy().await?;
        let required = policy.second_factor_for(&account.roles) == super::SecondFactor::Required;
        let passkey = policy.needs_passkey(&account.roles);
        let event = self.audit_event(ctx, "factor.remove", Outcome::Success, &format!("account/{id}"), &[]);
        self.writing(move |tx| {
            if !work(tx)? {
                return Err(Error::NotFound);
            }
            let left = left_factors(tx, id)?;
            if passkey && !left.contains(&Factor::Passkey) {
                let text = "The clinic requires a passkey; set up another one first.";
                return Err(Error::Rule(Rule::new("last-factor", text)));
            }
            if left.is_empty() {
                if required {
                    let text = "The clinic requires a second factor; set up another one first.";
                    return Err(Error::Rule(Rule::new("last-factor", text)));
                }
                store::factor::set_recovery_codes(tx, id, &[])?;
            }
            let update = Update { account: id, factors: Some(left), ..Update::default() };
            store::account::update(tx, &update).map_err(crate::write::account_error)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        self.forget_account(id);
        self.notify(&account, super::Notice::FactorRemoved).await
    }

    /// Ten new recovery codes; earlier ones stop working. Errors: `StepUpNeeded`; `Rule` `no-second-factor`.
    pub async fn new_recovery_codes(&self, ctx: &Ctx) -> Result<Vec<String>, Error> {
        let id = ctx.user().ok_or(Error::Unauthenticated)?.account;
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        let account = self.account_row(id).await?.ok_or(Error::Unauthenticated)?;
        if account.factors.is_empty() {
            let text = "Set up an authenticator application or a passkey first.";
            return Err(Error::Rule(Rule::new("no-second-factor", text)));
        }
        let codes = secret::recovery_codes()?;
        let hashes: Vec<[u8; 32]> = codes.iter().map(|c| secret::hash_recovery(id, c)).collect();
        let event = self.audit_event(ctx, "recovery-codes", Outcome::Success, &format!("account/{id}"), &[]);
        self.writing(move |tx| {
            store::factor::set_recovery_codes(tx, id, &hashes)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        Ok(codes)
    }

    /// Takes away all second factors of somebody who lost them, and ends her sessions; an administrator who showed
    /// herself in the last minutes. Errors: `Denied`, `StepUpNeeded`, `NotFound`; `Rule` `second-person-needed`.
    pub async fn reset_factors(&self, ctx: &Ctx, account: i64) -> Result<(), Error> {
        let what = format!("account/{account}");
        if !access::policy::may(ctx, Capability::ManageAccounts) {
            return Err(self.denied(ctx, "factor.reset", &what).await);
        }
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        let row =
            self.reading(move |tx| Ok(store::account::load(tx, account)?)).await?.ok_or(Error::NotFound)?;
        let alone = self.guard(ctx, &Act::Factors, &row).await?;
        let event = self.audit_event(ctx, "factor.reset", Outcome::Success, &what, &[]);
        let now = self.now();
        self.writing(move |tx| {
            take_factors(tx, account, now)?;
            four_eyes::note(tx, alone.as_ref())?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        self.forget_account(account);
        self.notify(&row, super::Notice::FactorRemoved).await
    }

    /// What the caller's own account is protected by. Errors: `Unauthenticated`.
    pub async fn security_state(&self, ctx: &Ctx) -> Result<SecurityState, Error> {
        let id = ctx.user().ok_or(Error::Unauthenticated)?.account;
        let account = self.account_row(id).await?.ok_or(Error::Unauthenticated)?;
        let policy = self.security_policy().await?;
        let (codes, totp, passkeys) = self
            .reading(move |tx| {
                let totp = store::factor::totp(tx, id)?.filter(|t| t.confirmed);
                Ok((store::factor::recovery_codes_left(tx, id)?, totp, store::factor::passkeys(tx, id)?))
            })
            .await?;
        Ok(SecurityState {
            second_factor: policy.second_factor_for(&account.roles),
            password_at: account.password_at,
            totp_since: totp.map(|t| t.created),
            recovery_codes_left: codes,
            passkeys: passkeys.into_iter().map(super::passkey::row).collect(),
        })
    }

    /// A signed-in person shows again who she is: by her second factor, or by her password if she has none; only by a
    /// passkey if her role asks for one and she has one.
    /// Errors: `Rule` `second-factor-wrong`, `password-wrong`; `StepUpNeeded` when another factor is needed;
    /// `Throttled`; `Unauthenticated`.
    pub async fn step_up(&self, ctx: &Ctx, proof: Proof, from: &Origin) -> Result<(), Error> {
        let id = ctx.user().ok_or(Error::Unauthenticated)?.account;
        let session = ctx.session.clone().ok_or(Error::Unauthenticated)?;
        let account = self.account_row(id).await?.ok_or(Error::Unauthenticated)?;
        let lane = self.lane_of(&account, from).await?;
        let policy = self.security_policy().await?;
        // What is not enough to sign in is not enough to go on.
        let counting = shown_by(&policy, &account);
        if counting == [Factor::Passkey] && !matches!(proof, Proof::Passkey(_)) {
            return Err(Error::StepUpNeeded { factors: counting, minutes: super::SENSITIVE_MINUTES });
        }
        let factor = match proof {
            Proof::Password(password) if account.factors.is_empty() => {
                let key = format!("password/{id}");
                self.inner.throttle.attempt(&key, super::throttle::PER_NAME, self.now())?;
                if !self.verify_password(&password, account.password_hash.as_deref()).await? {
                    self.audit_one(ctx, "step-up", Outcome::Denied, &format!("account/{id}"), &[]).await?;
                    let text = "The password is wrong.";
                    return Err(Error::Rule(Rule::new("password-wrong", text).at("/password")));
                }
                self.inner.throttle.succeeded(&key);
                Factor::Password
            }
            Proof::Password(_) => {
                let minutes = super::SENSITIVE_MINUTES;
                return Err(Error::StepUpNeeded { factors: account.factors.clone(), minutes });
            }
            proof => {
                let state = self.take_step_up_state(&session.id).await?;
                self.verify_factor(&account, lane, proof, &state).await?
            }
        };
        let mut factors = session.factors.clone();
        if !factors.contains(&factor) {
            factors.push(factor);
        }
        let event = self.audit_event(ctx, "step-up", Outcome::Success, &format!("account/{id}"), &[]);
        let now = self.now();
        self.writing(move |tx| {
            if !store::session::authenticated(tx, id, &session.id, now, &factors)? {
                return Err(Error::Unauthenticated);
            }
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        self.forget_account(id);
        Ok(())
    }

    /// The challenge for a step-up by passkey. Errors: `Unauthenticated`, `Rule` `no-passkey`.
    pub async fn step_up_passkey(&self, ctx: &Ctx) -> Result<Value, Error> {
        let id = ctx.user().ok_or(Error::Unauthenticated)?.account;
        let session = ctx.session.as_ref().ok_or(Error::Unauthenticated)?;
        let (options, state) = self.challenge_for(id).await?;
        let hash = step_up_id(&session.id);
        let new = Ceremony {
            id_hash: hash,
            kind: STEP_UP.to_owned(),
            account: Some(id),
            attempts: 0,
            expires: plus(self.now(), WAITS),
            payload: state,
        };
        self.writing(move |tx| {
            store::ceremony::finish(tx, &hash)?;
            Ok(store::ceremony::begin(tx, &new)?)
        })
        .await?;
        Ok(options)
    }

    /// Of the last [Record::step_up_passkey] of this session; used once.
    async fn take_step_up_state(&self, session: &[u8; 8]) -> Result<Value, Error> {
        let (hash, now) = (step_up_id(session), self.now());
        let found = self
            .writing(move |tx| {
                let found = store::ceremony::load(tx, &hash, STEP_UP, now)?;
                store::ceremony::finish(tx, &hash)?;
                Ok(found)
            })
            .await?;
        Ok(found.map_or(Value::Null, |c| c.payload))
    }
}

/// The second factors of an account that count by the clinic's rules. Until somebody of a role that passkeys are asked of
/// has made one, it is what she has: all that her session may do then is to make it.
pub(super) fn shown_by(policy: &super::SecurityPolicy, account: &Account) -> Vec<Factor> {
    match policy.needs_passkey(&account.roles) && account.factors.contains(&Factor::Passkey) {
        true => vec![Factor::Passkey],
        false => account.factors.clone(),
    }
}

const STEP_UP: &str = "step-up";

fn step_up_id(session: &[u8; 8]) -> [u8; 32] {
    secret::hash(&format!("step-up\n{session:?}"))
}

/// All second factors of an account, and what was signed in with them.
pub(super) fn take_factors(tx: &mut dyn store::Tx, account: i64, now: Timestamp) -> Result<(), Error> {
    store::factor::remove_all(tx, account)?;
    let update = Update { account, factors: Some(Vec::new()), ..Update::default() };
    store::account::update(tx, &update).map_err(crate::write::account_error)?;
    store::ceremony::end_all(tx, account)?;
    store::session::end_all(tx, account, None)?;
    store::oauth::revoke_of_account(tx, account, now)?;
    Ok(())
}

/// Binds a sealed secret to its row.
fn totp_place(account: i64) -> String {
    format!("totp/{account}")
}

fn left_factors(tx: &mut dyn store::Tx, id: i64) -> Result<Vec<Factor>, Error> {
    let mut left = Vec::new();
    if store::factor::totp(tx, id)?.is_some_and(|t| t.confirmed) {
        left.push(Factor::Totp);
    }
    if !store::factor::passkeys(tx, id)?.is_empty() {
        left.push(Factor::Passkey);
    }
    Ok(left)
}
