//! Passwords: what is accepted, hashing with argon2id, verifying in equal time.

use super::throttle::PER_NAME;
use crate::{Error, Record, Rule};
use access::Ctx;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use std::sync::OnceLock;
use store::account::{Account, Update};
use store::audit::Outcome;

/// facts/security-controls.md I4 (ASVS 6.2, 11.4.2): 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// Most hashes at work at once; each takes a core and 19 MiB.
const MAX_CONCURRENT_HASHES: usize = 8;
/// Logins waiting for a hash; more are told to come back.
pub(crate) const WAITING_HASHES: usize = 64;

/// What a person does with her own password, in the audit.
const CHANGE: &str = "password.change";

pub const MIN_CHARS: usize = 8;
pub const MAX_CHARS: usize = 128;

/// Passwords everybody tries first, folded; besides these, [common] refuses patterns.
static COMMON: &str = include_str!("common-passwords.txt");
const ROWS: &[&str] = &[
    "01234567890123456789",
    "98765432109876543210",
    "abcdefghijklmnopqrstuvwxyz",
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "poiuytrewq",
    "lkjhgfdsa",
];

/// Errors: `Rule` `password-short`, `password-long`, `password-common`, at `/password`. `about` are facts of the
/// person (phone, name, login) that must not be the password.
pub fn check(password: &str, about: &[&str]) -> Result<(), Error> {
    let chars = password.chars().count();
    let refuse = |code, text: String| Err(Error::Rule(Rule::new(code, text).at("/password")));
    if chars < MIN_CHARS {
        return refuse("password-short", format!("Use at least {MIN_CHARS} characters."));
    }
    if chars > MAX_CHARS {
        return refuse("password-long", format!("Use at most {MAX_CHARS} characters."));
    }
    if common(password, about) {
        return refuse(
            "password-common",
            "This password is among the first that are tried; choose another.".into(),
        );
    }
    Ok(())
}

fn common(password: &str, about: &[&str]) -> bool {
    let folded = fhir::search::fold(password);
    let digits: String = folded.chars().filter(char::is_ascii_digit).collect();
    // `Password2024!` is `password` with what everybody appends.
    let core = folded.trim_matches(|c: char| !c.is_alphabetic());
    let distinct: std::collections::HashSet<char> = folded.chars().collect();
    if distinct.len() < 4 || super::breached::is_known(password) {
        return true;
    }
    if known(&folded) || (core.len() + 6 >= folded.len() && known(core)) {
        return true;
    }
    let half = folded.len() / 2;
    if folded.is_char_boundary(half)
        && half >= 3
        && folded[..half] == folded[half..]
        && known(&folded[..half])
    {
        return true;
    }
    if ROWS.iter().any(|row| {
        row.contains(&*folded) || (core.len() + 4 >= folded.len() && core.len() >= 5 && row.contains(core))
    }) {
        return true;
    }
    let plain =
        |text: &str| fhir::search::fold(text).chars().filter(|c| c.is_alphanumeric()).collect::<String>();
    let bare = plain(password);
    about.iter().map(|a| plain(a)).filter(|fact| fact.chars().count() >= 4).any(|fact| {
        let fact_digits: String = fact.chars().filter(char::is_ascii_digit).collect();
        bare == fact
            || core == fact
            // Phone numbers with or without the country code.
            || (digits.len() >= 7
                && digits.len() + 2 >= bare.len()
                && fact_digits.ends_with(digits.trim_start_matches('0')))
    })
}

fn known(word: &str) -> bool {
    COMMON.lines().any(|line| line == word)
}

fn engine() -> Result<Argon2<'static>, Error> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|e| Error::Internal(format!("argon2: {e}")))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

fn hash_blocking(password: &str) -> Result<String, Error> {
    let hash =
        engine()?.hash_password(password.as_bytes()).map_err(|e| Error::Internal(format!("argon2: {e}")))?;
    Ok(hash.to_string())
}

/// A hash of nothing anybody knows: unknown names are verified against it, so that they take as long as known ones.
fn decoy() -> &'static str {
    static DECOY: OnceLock<String> = OnceLock::new();
    DECOY.get_or_init(|| {
        let mut bytes = [0u8; 32];
        // If the system has no randomness, the fixed text still is no password: verification is discarded anyway.
        let _ = getrandom::fill(&mut bytes);
        hash_blocking(&format!("{bytes:?}")).unwrap_or_default()
    })
}

/// Hashes at work at once: never more than one a core, and one core is left for everybody else where there are two.
pub(crate) fn concurrent_hashes() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    cores.saturating_sub(1).clamp(1, MAX_CONCURRENT_HASHES)
}

/// Whether a stored hash was made with other parameters than those of today.
fn is_old(hash: &str) -> bool {
    let Ok(parsed) = PasswordHash::new(hash) else { return false };
    let today = [("m", MEMORY_KIB), ("t", PASSES), ("p", LANES)];
    parsed.algorithm.as_str() != "argon2id"
        || today.iter().any(|(name, value)| parsed.params.get_decimal(*name) != Some(*value))
}

impl Record {
    /// After the answer: hashes the right password anew if that was done with other parameters.
    pub(super) fn rehash_if_old(&self, account: &Account, password: &str) {
        let Some(old) = account.password_hash.clone().filter(|h| is_old(h)) else { return };
        let (record, password, id) = (self.clone(), password.to_owned(), account.id);
        tokio::spawn(async move {
            let Ok(new) = record.hash_password(&password).await else { return };
            let replaced = record
                .writing(move |tx| {
                    // Not if the password was changed meanwhile.
                    let current = store::account::load(tx, id)?.and_then(|a| a.password_hash);
                    if current.as_ref() == Some(&old) {
                        let update =
                            Update { account: id, password_hash: Some(new.clone()), ..Update::default() };
                        store::account::update(tx, &update).map_err(crate::write::account_error)?;
                    }
                    Ok(())
                })
                .await;
            if let Err(error) = replaced {
                tracing::warn!(%error, "a password's hash was not renewed");
            }
        });
    }

    /// Ends all sessions, this one included: the caller signs in with the new password.
    /// Errors: `Rule` `credentials-wrong`, `password-short`, `password-common`; `Throttled`; `Unauthenticated`.
    pub async fn change_password(&self, ctx: &Ctx, old: &str, new: &str) -> Result<(), Error> {
        let id = ctx.user().ok_or(Error::Unauthenticated)?.account;
        let key = format!("password/{id}");
        self.inner.throttle.attempt(&key, PER_NAME, self.now())?;
        let account =
            self.reading(move |tx| Ok(store::account::load(tx, id)?)).await?.ok_or(Error::Unauthenticated)?;
        if !self.verify_password(old, account.password_hash.as_deref()).await? {
            self.audit_one(ctx, "password.change", Outcome::Denied, &format!("account/{id}"), &[]).await?;
            let text = "The password is wrong.";
            return Err(Error::Rule(Rule::new("password-wrong", text).at("/old_password")));
        }
        self.inner.throttle.succeeded(&key);
        if old == new {
            let text = "Choose another password than the one you have.";
            return Err(Error::Rule(Rule::new("password-same", text).at("/new_password")));
        }
        self.set_password(ctx, &account, new, CHANGE, false).await
    }

    /// `temporary`: somebody else made it, so it must be changed at the first sign-in. Ends all sessions and what
    /// applications were granted.
    pub(super) async fn set_password(
        &self,
        ctx: &Ctx,
        account: &Account,
        new: &str,
        action: &'static str,
        temporary: bool,
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
        check(new, &about)?;
        let hash = self.hash_password(new).await?;
        let (id, now) = (account.id, self.now());
        let event = self.audit_event(ctx, action, Outcome::Success, &format!("account/{id}"), &[]);
        // Whoever changes her own password goes on where she is.
        let keep = ctx.session.as_ref().map(|s| s.id).filter(|_| action == CHANGE);
        self.writing(move |tx| {
            let change = Update {
                account: id,
                password_hash: Some(hash.clone()),
                temporary: Some(temporary),
                password_at: Some(now),
                ..Update::default()
            };
            store::account::update(tx, &change).map_err(crate::write::account_error)?;
            match &keep {
                Some(own) => store::session::end_others(tx, id, own)?,
                None => store::session::end_all(tx, id, None)?,
            };
            // Whoever knew the old one may have let an application in.
            store::oauth::revoke_of_account(tx, id, now)?;
            store::ceremony::end_all(tx, id)?;
            store::ceremony::end_links(tx, id, None)?;
            store::device::remove_pins(tx, None, id)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        self.forget_account(id);
        Ok(())
    }

    /// A PHC string. Errors: `Busy` when too many wait.
    pub(crate) async fn hash_password(&self, password: &str) -> Result<String, Error> {
        let password = password.to_owned();
        self.hashing(move || hash_blocking(&password)).await
    }

    /// Whether the password fits; `None` (nobody of that name) takes the same time and is `false`.
    pub(crate) async fn verify_password(&self, password: &str, hash: Option<&str>) -> Result<bool, Error> {
        let password: String = password.chars().take(MAX_CHARS * 2).collect();
        let hash = hash.map(str::to_owned);
        self.hashing(move || {
            // Made on the first sign-in, whoever it is: later it costs nothing.
            let decoy = decoy();
            let known = hash.is_some();
            let text = hash.unwrap_or_else(|| decoy.to_owned());
            let parsed =
                PasswordHash::new(&text).map_err(|e| Error::Internal(format!("stored hash: {e}")))?;
            let fits = engine()?.verify_password(password.as_bytes(), &parsed).is_ok();
            Ok(fits && known)
        })
        .await
    }

    async fn hashing<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let _place = self.inner.hash_queue.try_acquire().map_err(|_| Error::Busy)?;
        let _turn = self.inner.hashers.acquire().await.map_err(|_| Error::Busy)?;
        tokio::task::spawn_blocking(work).await.map_err(|e| Error::Internal(format!("hash: {e}")))?
    }
}

#[cfg(test)]
mod tests {
    /// facts/security-controls.md I4: at most two hashes at work for each core, and where there are more cores one is left.
    #[test]
    fn hashes_leave_room_for_others() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let most = super::concurrent_hashes();
        assert!((1..=2 * cores).contains(&most) && (cores == 1 || most < cores), "{most} on {cores}");
    }
}
