//! Signing in by name and password.

use super::throttle::{Lane, PER_ADDRESS, PER_NAME, network};
use super::{Origin, Session, SignIn, session};
use crate::{Error, Record, Rule};
use access::Factor;
use jiff::Timestamp;
use std::net::IpAddr;
use store::account::Account;
use store::audit::Outcome;

/// Accounts tried when several people share a phone.
const MAX_SHARING_PHONE: usize = 4;

pub(super) fn wrong() -> Error {
    Error::Rule(Rule::new("credentials-wrong", "Login or password is wrong."))
}

/// What one try counts against until it turns out right.
struct Tries {
    names: Vec<String>,
    address: Option<String>,
    is_stranger: bool,
}

impl Record {
    /// [Record::sign_in] for accounts without a second factor. Errors: as there, `Rule` `second-factor-needed`.
    pub async fn login(
        &self,
        login: &str,
        password: &str,
        address: Option<IpAddr>,
    ) -> Result<Session, Error> {
        let from = Origin { address, ..Origin::default() };
        match self.sign_in(login, password, &from).await? {
            SignIn::Open(session) => Ok(session),
            SignIn::SecondFactor(_) => {
                Err(Error::Rule(Rule::new("second-factor-needed", "This account has a second factor.")))
            }
        }
    }

    /// `login`: phone in any form, e-mail or user name. Errors: `Rule` `credentials-wrong` (401, the same answer and
    /// time for unknown names), `Throttled`, `Busy`.
    pub async fn sign_in(&self, login: &str, password: &str, from: &Origin) -> Result<SignIn, Error> {
        let now = self.now();
        let candidates = self.candidates(login, from, now).await?;
        let tries = self.begin_try(login, from, &candidates, now)?;

        let mut found = None;
        // An unknown name costs one hash as well.
        for n in 0..candidates.len().clamp(1, MAX_SHARING_PHONE) {
            let candidate = candidates.get(n);
            let hash = candidate.and_then(|(a, _)| a.password_hash.as_deref());
            if self.verify_password(password, hash).await?
                && let Some(candidate) = candidate
            {
                found = Some(candidate);
                break;
            }
        }
        let Some((account, lane)) = found.filter(|(a, _)| !a.disabled) else {
            if tries.is_stranger {
                self.inner.throttle.failed_all(now);
            }
            self.failed_try(candidates, from, now);
            return Err(wrong());
        };
        for key in &tries.names {
            self.inner.throttle.succeeded(key);
        }
        if let Some(key) = &tries.address {
            self.inner.throttle.forgive(key, now);
        }
        self.rehash_if_old(account, password);
        if !account.factors.is_empty() {
            return Ok(SignIn::SecondFactor(self.begin_second_factor(account, from).await?));
        }
        self.forgive_account(account.id, *lane).await?;
        let opening = session::Opening::sign_in(vec![Factor::Password], from, now);
        Ok(SignIn::Open(self.open_session(account, opening).await?))
    }

    /// The accounts of this name and the lane of each, in one look at the database.
    async fn candidates(
        &self,
        login: &str,
        from: &Origin,
        now: Timestamp,
    ) -> Result<Vec<(Account, Lane)>, Error> {
        let accounts = self.accounts_by_login(login).await?;
        if accounts.is_empty() {
            return Ok(Vec::new());
        }
        let from = from.clone();
        self.reading(move |tx| {
            let mut found = Vec::with_capacity(accounts.len());
            for account in accounts {
                let lane = from.lane(tx, &account, now)?;
                lane.check(tx, account.id, now)?;
                found.push((account, lane));
            }
            Ok(found)
        })
        .await
    }

    /// Errors: `Throttled`.
    fn begin_try(
        &self,
        login: &str,
        from: &Origin,
        candidates: &[(Account, Lane)],
        now: Timestamp,
    ) -> Result<Tries, Error> {
        // Other spellings of one number are one name.
        let name = super::phone_e164(login).unwrap_or_else(|| fhir::search::fold(login.trim()));
        let name: String = name.chars().take(100).collect();
        let lane = candidates.iter().map(|(_, lane)| *lane).find(|l| *l != Lane::Strangers);
        let is_stranger = lane.is_none();
        let lane = lane.unwrap_or(Lane::Strangers);
        let mut names = vec![format!("name/{name}{}", lane.suffix())];
        // Whoever knows phone, e-mail and user name of somebody has no more guesses for it.
        names.extend(candidates.iter().map(|(a, lane)| format!("account/{}{}", a.id, lane.suffix())));
        // Who was here before has tries of her own, whatever others at her address do.
        let address = from.address.filter(|_| is_stranger).map(|a| format!("address/{}", network(a)));
        let throttle = &self.inner.throttle;
        if is_stranger {
            throttle.check_all(now)?;
        }
        if let Some(key) = &address {
            throttle.attempt(key, PER_ADDRESS, now)?;
        }
        for key in &names {
            throttle.attempt(key, PER_NAME, now)?;
        }
        Ok(Tries { names, address, is_stranger })
    }

    /// Counts for all servers and after a restart. After the answer: a commit would make known names slower than
    /// unknown ones.
    fn failed_try(&self, candidates: Vec<(Account, Lane)>, from: &Origin, now: Timestamp) {
        let Some((first, _)) = candidates.first() else { return };
        let mut ctx = self.context_of(session::user(first), from.address);
        ctx.request_id.clone_from(&from.request_id);
        let event = self.audit_event(&ctx, "login", Outcome::Denied, "", &[]);
        let record = self.clone();
        tokio::spawn(async move {
            let counted = record
                .writing(move |tx| {
                    for (account, lane) in &candidates {
                        lane.failed(tx, account.id, now)?;
                    }
                    store::audit::append(tx, std::slice::from_ref(&event))?;
                    Ok(())
                })
                .await;
            if let Err(error) = counted {
                tracing::warn!(%error, "a failed sign-in was not counted");
            }
        });
    }

    /// The person is who she says.
    pub(super) async fn forgive_account(&self, account: i64, lane: Lane) -> Result<(), Error> {
        let had = self
            .reading(move |tx| Ok(store::credential::failures(tx, account, lane.source())?.is_some()))
            .await?;
        if had {
            self.writing(move |tx| Ok(store::credential::clear_failures(tx, account, lane.source())?))
                .await?;
        }
        Ok(())
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
}
