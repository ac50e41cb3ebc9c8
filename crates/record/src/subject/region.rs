//! The country the record stays in. It is written into the database, so that a copy brought up elsewhere knows it too.

use super::{SubjectEffect, reason, recipient, refuse};
use crate::{ChangeSet, Effect, Error, Record};
use access::{Capability, Ctx};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use store::audit::Outcome;
use store::subject::region::{self, Agreement};

const SETTING: &str = "region";
/// People who must agree to a move.
const NEEDED: usize = 2;
/// An agreement holds so long.
const FRESH: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Stands for no pin at all.
pub const NOWHERE: &str = "--";

/// Where things are, as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Residency {
    /// Where this installation is to be; `None`: not pinned.
    pub region: Option<String>,
    /// Where the database is; `None`: nobody said, and it is on another machine.
    pub database: Option<String>,
    /// Where backups lie, with their address; the country `None`: nobody said.
    pub backup: Option<(String, Option<String>)>,
}

/// What was found at the start; shown at the privacy desk.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResidencyState {
    pub residency: Residency,
    /// Codes of what must be looked at: `backup-abroad`, `backup-somewhere`.
    pub alarms: Vec<&'static str>,
}

impl Record {
    /// Holds the installation to its country; once at start, before anything is served. A database that was pinned to
    /// another country (a restored backup) is served only when two people have agreed to it lately.
    /// Errors: in words for the operator: why it must not start.
    pub async fn hold_region(&self, residency: Residency) -> Result<ResidencyState, String> {
        let words = |error: Error| error.to_string();
        let stored = self
            .reading(|tx| Ok(store::setting::get(tx, SETTING)?))
            .await
            .map_err(words)?
            .and_then(|value| value.as_str().map(str::to_owned));
        let wanted = residency.region.clone();
        if stored != wanted {
            match &stored {
                // A new installation, or an old one that is pinned now.
                None => self.pin(wanted.as_deref(), "region.pin").await.map_err(words)?,
                Some(from) => self.move_region(from, wanted.as_deref()).await?,
            }
        }
        let Some(home) = wanted else { return Ok(ResidencyState { residency, alarms: Vec::new() }) };
        self.set_region(&home);
        match &residency.database {
            Some(place) if *place == home => {}
            Some(place) => {
                return Err(format!(
                    "the installation is pinned to {home}, but its database is in {place}: no live copy would be in {home}"
                ));
            }
            None => {
                return Err(format!(
                    "the installation is pinned to {home}; say where its database is by UZIMA_RESIDENCY_DATABASE={home}"
                ));
            }
        }
        let mut alarms = Vec::new();
        if let Some((name, place)) = &residency.backup
            && place.as_deref() != Some(home.as_str())
        {
            // A second copy elsewhere may be lawful; then it is in the register with its basis.
            let wanted = name.clone();
            let kind = store::subject::recipient::Kind::Backup;
            let found = self
                .reading(move |tx| Ok(store::subject::recipient::find(tx, kind, &wanted)?))
                .await
                .map_err(words)?;
            if found.is_none_or(|one| one.country != home && one.basis.is_empty()) {
                alarms.push(if place.is_some() { "backup-abroad" } else { "backup-somewhere" });
            }
        }
        Ok(ResidencyState { residency, alarms })
    }

    async fn pin(&self, region: Option<&str>, action: &'static str) -> Result<(), Error> {
        let value = region.map_or(Value::Null, Value::from);
        let what = format!("region/{}", region.unwrap_or(NOWHERE));
        let event =
            self.audit_event(&Ctx::system("region", self.now()), action, Outcome::Success, &what, &[]);
        self.writing(move |tx| {
            store::setting::put(tx, SETTING, &value)?;
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await
    }

    async fn move_region(&self, from: &str, to: Option<&str>) -> Result<(), String> {
        let name = to.unwrap_or(NOWHERE).to_owned();
        let since = self.now().checked_sub(FRESH).unwrap_or(Timestamp::MIN);
        let wanted = name.clone();
        let agreed = self
            .reading(move |tx| Ok(region::of(tx, &wanted, since)?))
            .await
            .map_err(|error| error.to_string())?;
        if agreed.len() < NEEDED {
            return Err(format!(
                "this database is pinned to {from}, and this server is to run in {name}: {} of {NEEDED} people have agreed. \
                 Privacy officers and administrators agree at the privacy desk, or here by `uzima region agree --to {name} \
                 --login LOGIN --reason REASON`",
                agreed.len()
            ));
        }
        self.pin(to, "region.move").await.map_err(|error| error.to_string())?;
        let cleared = name.clone();
        let done = self.writing(move |tx| Ok(region::clear(tx, &cleared)?)).await;
        done.map_err(|error| error.to_string())
    }

    /// Agrees that the record may be served from another country (or from anywhere: [NOWHERE]). Two different people are
    /// needed: privacy officers or administrators, freshly signed in.
    /// Errors: `Denied`, `StepUpNeeded`; `Rule` `country-wrong`, `reason-needed`.
    pub async fn agree_region(&self, ctx: &Ctx, to: &str, why: &str) -> Result<Vec<Agreement>, Error> {
        let Some(user) = ctx.user().filter(|_| access::policy::may(ctx, Capability::AgreePrivacy)) else {
            return Err(self.denied(ctx, "region.agree", "").await);
        };
        self.require_fresh(ctx, super::FRESH_MINUTES, true)?;
        self.note_agreement(ctx, user.account, to, why).await
    }

    /// As [Record::agree_region], by login and password: for a server that does not start, at its machine.
    /// Errors: `Denied` for a wrong password or another role; `Rule` as there.
    pub async fn agree_region_as(
        &self,
        login: &str,
        password: &str,
        to: &str,
        why: &str,
    ) -> Result<Vec<Agreement>, Error> {
        let system = Ctx::system("region", self.now());
        let wanted = login.trim().to_lowercase();
        let found = self.reading(move |tx| Ok(store::account::by_login(tx, &wanted)?)).await?;
        let found = found.filter(|account| !account.disabled);
        let hash = found.as_ref().and_then(|account| account.password_hash.as_deref());
        let fits = self.verify_password(password, hash).await?;
        let Some(account) = found.as_ref().filter(|_| fits) else {
            return Err(self.denied(&system, "region.agree", "").await);
        };
        let user = self.user_of(&system, account.id).await?;
        let ctx = Ctx { principal: access::Principal::User(user), ..system };
        if !access::policy::may(&ctx, Capability::AgreePrivacy) {
            return Err(self.denied(&ctx, "region.agree", "").await);
        }
        self.note_agreement(&ctx, account.id, to, why).await
    }

    async fn note_agreement(
        &self,
        ctx: &Ctx,
        account: i64,
        to: &str,
        why: &str,
    ) -> Result<Vec<Agreement>, Error> {
        let to = if to == NOWHERE { to.to_owned() } else { recipient::country(to)? };
        if self.region() == Some(to.as_str()) {
            return Err(refuse("country-wrong", "The record is there already.", "/region"));
        }
        let new = Agreement { region: to, account, at: self.now(), reason: reason(why, "/reason")? };
        let what = format!("region/{}", new.region);
        let set = ChangeSet {
            effects: vec![Effect::Subject(SubjectEffect::AgreeRegion(new))],
            ..ChangeSet::default()
        };
        self.settle_subject(ctx, "region.agree", set).await?;
        self.audit_one(ctx, "region.agree", Outcome::Success, &what, &[]).await?;
        self.reading(|tx| Ok(region::list(tx)?)).await
    }

    /// Errors: `Denied`.
    pub async fn region_agreements(&self, ctx: &Ctx) -> Result<Vec<Agreement>, Error> {
        if !access::policy::may(ctx, Capability::AgreePrivacy) {
            return Err(self.denied(ctx, "region.list", "").await);
        }
        self.reading(|tx| Ok(region::list(tx)?)).await
    }
}
