//! What administrators and privacy officers see of other people's accounts, and what they put in order there.

use super::{AccountRow, PasskeyRow, SecondFactor, account, device, link, passkey, throttle};
use crate::{Error, Record};
use access::{Capability, Ctx};
use jiff::{SignedDuration, Timestamp};
use store::account::Kind;
use store::audit::Outcome;
use store::credential::Failures;

/// Accounts on which somebody guesses, and that are shown.
const MAX_GUESSED: u32 = 100;
/// A series of wrong passwords is of interest for so long.
const GUESSED_WITHIN: SignedDuration = SignedDuration::from_hours(1);
/// Emergency access that nobody has reviewed for so long is overdue.
const REVIEW_WITHIN: SignedDuration = SignedDuration::from_hours(72);

/// What protects somebody's account, for administrators.
#[derive(Debug, Clone)]
pub struct AccountProtection {
    /// What the clinic asks of this person.
    pub second_factor: SecondFactor,
    pub has_password: bool,
    /// Somebody else made the password; it must be changed at the next sign-in.
    pub is_temporary: bool,
    pub password_at: Option<Timestamp>,
    pub totp_since: Option<Timestamp>,
    pub recovery_codes_left: u32,
    pub passkeys: Vec<PasskeyRow>,
    /// Until when the open invitation works.
    pub invited_until: Option<Timestamp>,
    /// Wrong passwords within the last hour, where there are so many that the next try waits.
    pub guessed: Option<Failures>,
}

/// What waits for people's attention.
#[derive(Debug, Clone, Default)]
pub struct Attention {
    /// Emergency access that nobody has reviewed.
    pub reviews_waiting: u64,
    /// Those of them for longer than three days.
    pub reviews_overdue: u64,
    /// Changes of rights that wait for a second person.
    pub rights_waiting: u64,
    /// Changes of accounts that wait for a second person.
    pub accounts_waiting: u64,
    /// Accounts on which somebody guessed within the last hour, those with most wrong passwords first.
    pub guessed: Vec<(AccountRow, Failures)>,
}

impl Record {
    /// What protects an account; administrators. Errors: `Denied`, `NotFound`.
    pub async fn account_protection(&self, ctx: &Ctx, id: i64) -> Result<AccountProtection, Error> {
        if !access::policy::may(ctx, Capability::ManageAccounts) {
            return Err(self.denied(ctx, "account.read", &format!("account/{id}")).await);
        }
        // Also of a closed account.
        let found =
            self.reading(move |tx| Ok(store::account::load(tx, id)?)).await?.ok_or(Error::NotFound)?;
        let policy = self.security_policy().await?;
        let now = self.now();
        let since = now.checked_sub(GUESSED_WITHIN).unwrap_or(Timestamp::MIN);
        let (totp, codes, passkeys, invitation, guessed) = self
            .reading(move |tx| {
                let free = throttle::PER_NAME.0;
                let guessed = store::credential::guessed(tx, since, free, MAX_GUESSED)?;
                Ok((
                    store::factor::totp(tx, id)?.filter(|totp| totp.confirmed),
                    store::factor::recovery_codes_left(tx, id)?,
                    store::factor::passkeys(tx, id)?,
                    store::ceremony::link_of(tx, id, link::INVITATION, now)?,
                    guessed.into_iter().find(|(account, _)| *account == id),
                ))
            })
            .await?;
        Ok(AccountProtection {
            second_factor: policy.second_factor_for(&found.roles),
            has_password: found.password_hash.is_some(),
            is_temporary: found.temporary,
            password_at: found.password_at,
            totp_since: totp.map(|totp| totp.created),
            recovery_codes_left: codes,
            passkeys: passkeys.into_iter().map(passkey::row).collect(),
            invited_until: invitation.map(|link| link.expires),
            guessed: guessed.map(|(_, failures)| failures),
        })
    }

    /// An invitation that nobody took up works no more. Administrators. Errors: `Denied`, `NotFound` if none is open.
    pub async fn withdraw_invitation(&self, ctx: &Ctx, id: i64) -> Result<(), Error> {
        let what = format!("account/{id}");
        if !access::policy::may(ctx, Capability::ManageAccounts) {
            return Err(self.denied(ctx, "account.uninvite", &what).await);
        }
        let event = self.audit_event(ctx, "account.uninvite", Outcome::Success, &what, &[]);
        let ended = self
            .writing(move |tx| {
                let ended = store::ceremony::end_links(tx, id, Some(link::INVITATION))?;
                if ended > 0 {
                    store::audit::append(tx, std::slice::from_ref(&event))?;
                }
                Ok(ended)
            })
            .await?;
        if ended == 0 { Err(Error::NotFound) } else { Ok(()) }
    }

    /// Gives a shared device another name; administrators. Errors: `Denied`, `NotFound`, `Rule` `name-required`.
    pub async fn rename_device(&self, ctx: &Ctx, id: [u8; 32], name: &str) -> Result<(), Error> {
        if !access::policy::may(ctx, Capability::ManageAccounts) {
            return Err(self.denied(ctx, "device.rename", "").await);
        }
        let name = device::check_name(name)?;
        let event = self.audit_event(ctx, "device.rename", Outcome::Success, "", &[]);
        let known = self
            .writing(move |tx| {
                let known = store::device::rename(tx, &id, &name)?;
                if known {
                    store::audit::append(tx, std::slice::from_ref(&event))?;
                }
                Ok(known)
            })
            .await?;
        if known { Ok(()) } else { Err(Error::NotFound) }
    }

    /// People with an account by name, login or phone, for whoever administers rights or reads the audit trail.
    /// Errors: `Denied`.
    pub async fn people(
        &self,
        ctx: &Ctx,
        kind: Kind,
        text: Option<&str>,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<(Vec<AccountRow>, Option<String>), Error> {
        self.require_people(ctx).await?;
        let (text, cursor) = (text.map(str::to_owned), cursor.map(str::to_owned));
        let page = self
            .reading(move |tx| {
                Ok(store::account::list_of(tx, kind, text.as_deref(), cursor.as_deref(), limit)?)
            })
            .await?;
        Ok((page.rows.into_iter().map(account::row).collect(), page.next))
    }

    /// Those of these accounts that there are. Errors: as [Record::people].
    pub async fn people_by_id(&self, ctx: &Ctx, ids: &[i64]) -> Result<Vec<AccountRow>, Error> {
        self.require_people(ctx).await?;
        let ids = ids.to_vec();
        let found = self.reading(move |tx| Ok(store::account::some(tx, &ids)?)).await?;
        Ok(found.into_iter().map(account::row).collect())
    }

    async fn require_people(&self, ctx: &Ctx) -> Result<(), Error> {
        let may = |capability| access::policy::may(ctx, capability);
        if may(Capability::ManageAccounts) || may(Capability::ManageRights) {
            return Ok(());
        }
        Err(self.denied(ctx, "account.list", "").await)
    }

    /// What waits for the attention of those who look after the clinic. Errors: `Denied`.
    pub async fn attention(&self, ctx: &Ctx) -> Result<Attention, Error> {
        let may = |capability| access::policy::may(ctx, capability);
        if !may(Capability::ManageAccounts) && !may(Capability::ManageRights) && !may(Capability::ManageJobs)
        {
            return Err(self.denied(ctx, "attention.read", "").await);
        }
        let now = self.now();
        let overdue = now.checked_sub(REVIEW_WITHIN).unwrap_or(Timestamp::MIN);
        let since = now.checked_sub(GUESSED_WITHIN).unwrap_or(Timestamp::MIN);
        self.reading(move |tx| {
            let reviews = store::emergency::list(tx, true)?;
            let late = reviews.iter().filter(|one| one.at <= overdue).count();
            let waiting = |change: &store::rights::Change| change.state == store::rights::State::Waiting;
            let rights = store::rights::list(tx)?.iter().filter(|change| waiting(change)).count();
            let accounts = store::account_change::waiting(tx, now)?.len();
            let failures = store::credential::guessed(tx, since, throttle::PER_NAME.0, MAX_GUESSED)?;
            let ids: Vec<i64> = failures.iter().map(|(account, _)| *account).collect();
            let mut people = store::account::some(tx, &ids)?;
            let mut guessed = Vec::new();
            for (account, failures) in failures {
                if let Some(at) = people.iter().position(|one| one.id == account) {
                    guessed.push((account::row(people.swap_remove(at)), failures));
                }
            }
            Ok(Attention {
                reviews_waiting: reviews.len() as u64,
                reviews_overdue: late as u64,
                rights_waiting: rights as u64,
                accounts_waiting: accounts as u64,
                guessed,
            })
        })
        .await
    }
}
