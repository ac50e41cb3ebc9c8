//! Four eyes for accounts and applications: who gives a role that reads patients' facts or administers, opens a way into
//! an account that has one, or lets an application read facts for itself, asks; somebody else agrees or refuses.
//!
//! **Invariant:** neither who asked nor whose account it is agrees, but where [verdict] says that there is nobody else.
//! **Invariant:** what was asked for is kept sealed and carried out exactly so, in the transaction that settles it, and
//! only if the account or application and the rights of who asked are still what they were.
//! **Invariant:** a secret (link, one-time password, an application's) is made when it is fetched, never before; it is
//! stored nowhere. Until then what was there before works.

mod about;
mod act;
mod application;
mod apply;
mod verdict;

pub(crate) use about::About;
pub use about::{Key, Seen};
pub use act::{Act, Kept, NewPerson};
pub use application::Application;
pub use apply::Settling;
pub(crate) use apply::{changed, run};
pub use store::account_change::{Change as AccountChangeRow, State as AccountChangeState};
pub(crate) use verdict::{Alone, note};
pub(super) use verdict::{left, reopened};

use super::{AccountSpec, Delivery, Invited, Notice, notice};
use crate::rights::notice::Told;
use crate::rights::second::needed;
use crate::write::Request;
use crate::{Change, Effect, Error, Record, Rule};
use access::policy::{self, Capability};
use access::{Ctx, User};
use fhir::Resource;
use jiff::{SignedDuration, Timestamp};
use store::account_change::{self, Settled};
use store::audit::Outcome;
use uuid::Uuid;
use verdict::Verdict;

/// What waits is over after this.
const WAITS: SignedDuration = SignedDuration::from_hours(7 * 24);
/// A link, password or secret that was agreed to is fetched within this.
const COLLECT_WITHIN: SignedDuration = SignedDuration::from_hours(24);
const MAX_TEXT_CHARS: usize = 500;
const NEEDED: &str = "A second person must agree to this.";

/// What was fetched of a change that was agreed to.
#[derive(Clone)]
pub enum Collected {
    /// One-time; of this account.
    Password { account: i64, password: String },
    /// To be passed on.
    Link(Invited),
    /// Of this application.
    Secret { client: String, secret: String },
}

fn rule(code: &'static str, text: &str, at: &'static str) -> Error {
    Error::Rule(Rule::new(code, text).at(at))
}

fn plus(at: Timestamp, duration: SignedDuration) -> Timestamp {
    at.checked_add(duration).unwrap_or(Timestamp::MAX)
}

/// Errors: `Rule` `text-long`.
fn text(written: &str, at: &'static str) -> Result<String, Error> {
    let written = written.trim();
    match written.chars().count() <= MAX_TEXT_CHARS {
        true => Ok(written.to_owned()),
        false => Err(rule("text-long", "At most 500 characters.", at)),
    }
}

impl Record {
    /// Before it is done by one person alone: whether it may be. `Some` where there is nobody else; it must be [note]d with
    /// the act. Errors: `Rule` `second-person-needed`.
    pub(crate) async fn guard(
        &self,
        ctx: &Ctx,
        act: &Act,
        about: impl Into<About>,
    ) -> Result<Option<Alone>, Error> {
        let (Some(user), about) = (ctx.user(), about.into()) else { return Ok(None) };
        match self.verdict(user.account, act, &about).await? {
            Verdict::Free => Ok(None),
            Verdict::Alone => Ok(Some(Alone::new(user.account, act, &about, self.now()))),
            Verdict::Later(_) | Verdict::Two => Err(needed(NEEDED, "")),
        }
    }

    /// A role of one's own is given by somebody else, always. Errors: `Rule` `second-person-needed`.
    pub(super) async fn check_own_roles(&self, ctx: &Ctx, roles: &[access::Role]) -> Result<(), Error> {
        let Some(user) = ctx.user() else { return Ok(()) };
        let new: Vec<_> = roles.iter().copied().filter(|role| !user.roles.contains(role)).collect();
        self.reading(move |tx| verdict::check_own(tx, &new)).await
    }

    async fn verdict(&self, asker: i64, act: &Act, about: &About) -> Result<Verdict, Error> {
        let (current, now) = (self.security_policy().await?, self.now());
        let (act, about) = (act.clone(), about.clone());
        self.reading(move |tx| verdict::verdict(tx, &current, asker, &act, &about, now)).await
    }

    /// Asks for a new account, with the Practitioner and PractitionerRole to be made for it. `by` [None]: by a one-time
    /// password. `None`: nobody else needs to agree, so make or invite her. Errors: as [Record::create_account] and
    /// [Record::ask_second_person].
    pub async fn ask_new_account(
        &self,
        ctx: &Ctx,
        spec: &AccountSpec,
        practitioner: &[Resource],
        by: Option<Delivery>,
        reason: &str,
    ) -> Result<Option<AccountChangeRow>, Error> {
        let checked = self.checked_account(ctx, spec).await?;
        if let Some(by) = by {
            notice::check_way(by, checked.email.as_deref(), checked.phone.as_deref())?;
        }
        let mut person = NewPerson::of(&checked);
        person.practitioner = practitioner.iter().map(|resource| resource.value().clone()).collect();
        person.by = by;
        if let Some(login) = person.login.clone() {
            let taken = self.reading(move |tx| Ok(store::account::by_login(tx, &login)?)).await?.is_some();
            if taken {
                return Err(crate::write::account_error(store::account::Error::LoginTaken));
            }
        }
        self.ask_second_person(ctx, None, Act::Create(Box::new(person)), reason).await
    }

    /// Asks for what a second person must agree to about an account, or the rules; those who may are told. `None`: nobody
    /// needs to agree, so do it. Errors: `Denied`, `StepUpNeeded`, `NotFound`; what doing it would refuse; `Rule`
    /// `text-long`, `second-person-needed` for a role of one's own; `Duplicate` `already-waiting`.
    pub async fn ask_second_person(
        &self,
        ctx: &Ctx,
        target: Option<i64>,
        act: Act,
        reason: &str,
    ) -> Result<Option<AccountChangeRow>, Error> {
        let what = target.map(|id| format!("account/{id}")).unwrap_or_default();
        if !policy::may(ctx, Capability::ManageAccounts) {
            return Err(self.denied(ctx, "account-change.ask", &what).await);
        }
        if ctx.user().is_none() {
            return Ok(None);
        }
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        let about = match target {
            Some(id) => {
                let found = self.reading(move |tx| Ok(store::account::load(tx, id)?)).await?;
                About::from(&found.ok_or(Error::NotFound)?)
            }
            None => About::Nothing,
        };
        self.ask_about(ctx, about, act, reason).await
    }

    /// As [Record::ask_second_person], for who may ask for it and is freshly signed in. Errors: likewise.
    pub(crate) async fn ask_about(
        &self,
        ctx: &Ctx,
        about: impl Into<About>,
        act: Act,
        reason: &str,
    ) -> Result<Option<AccountChangeRow>, Error> {
        let (Some(user), about) = (ctx.user(), about.into()) else { return Ok(None) };
        let alone = match self.verdict(user.account, &act, &about).await? {
            Verdict::Free | Verdict::Alone => return Ok(None),
            Verdict::Two => None,
            Verdict::Later(from) => Some(from),
        };
        self.check_act(ctx, &act, &about).await?;
        let now = self.now();
        let id = Uuid::now_v7();
        let kept = Kept { seen: about.seen(), act };
        let change = AccountChangeRow {
            id,
            at: now,
            account: user.account,
            target: about.key().account(),
            client: about.key().client(),
            act: kept.act.code().to_owned(),
            summary: kept.act.summary(&about),
            payload: Some(self.seal(kept.to_json().to_string().as_bytes(), &place(id))?),
            reason: text(reason, "/reason")?,
            state: AccountChangeState::Waiting,
            expires: plus(alone.unwrap_or(now), WAITS),
            alone,
            collect: false,
            decided: None,
            note: String::new(),
        };
        let event = self.audit_event(
            ctx,
            "account-change.ask",
            Outcome::Success,
            &format!("account-change/{id}"),
            &[],
        );
        let message = match about.account() {
            Some(row) if kept.act.opens() => notice::told(row, Notice::AccessAsked, now),
            _ => None,
        };
        let new = change.clone();
        self.writing(move |tx| {
            let same = |one: &AccountChangeRow| {
                let about = Key::of(one);
                one.act == new.act
                    && about == Key::of(&new)
                    && (about != Key::Nothing || one.summary == new.summary)
            };
            if account_change::waiting(tx, now)?.iter().any(same) {
                let text = "Somebody has asked for this already; it waits for a second person.";
                return Err(Error::Duplicate(Rule::new("already-waiting", text)));
            }
            account_change::insert(tx, &new)?;
            verdict::tell_deciders(tx, &new)?;
            if let Some(message) = &message {
                store::message::insert(tx, message)?;
            }
            store::audit::append(tx, std::slice::from_ref(&event))?;
            Ok(())
        })
        .await?;
        Ok(Some(change))
    }

    /// What doing it would refuse, so that nobody is asked about what cannot be.
    async fn check_act(&self, ctx: &Ctx, act: &Act, about: &About) -> Result<(), Error> {
        match (act, about.account()) {
            (Act::Roles(roles), Some(row)) => {
                super::account::check_roles(roles, row.patient.is_some(), row.practitioner.is_some())
            }
            (Act::Invitation, Some(row)) => super::link::check_invitable(row),
            (Act::Identity { issuer, subject }, Some(row)) => {
                self.check_identity(ctx, row.id, subject).await?;
                let (issuer, subject) = (issuer.clone(), subject.clone());
                let found = self.reading(move |tx| Ok(store::outside::find(tx, &issuer, &subject)?)).await?;
                if found.is_some() { Err(super::outside::taken()) } else { Ok(()) }
            }
            (Act::Policy(policy), _) => self.check_security_policy(ctx, policy).await,
            _ => Ok(()),
        }
    }

    /// What waits and, unless `open`, what became of the others, newest first. Who may agree, who administers accounts.
    /// Errors: `Denied`.
    pub async fn account_changes(&self, ctx: &Ctx, open: bool) -> Result<Vec<AccountChangeRow>, Error> {
        self.may_see_changes(ctx).await?;
        let now = self.now();
        self.reading(move |tx| {
            Ok(if open { account_change::waiting(tx, now)? } else { account_change::list(tx)? })
        })
        .await
    }

    /// One of them. Errors: `Denied`, `NotFound`.
    pub async fn account_change(&self, ctx: &Ctx, id: Uuid) -> Result<AccountChangeRow, Error> {
        self.may_see_changes(ctx).await?;
        self.reading(move |tx| Ok(account_change::load(tx, &id)?)).await?.ok_or(Error::NotFound)
    }

    async fn may_see_changes(&self, ctx: &Ctx) -> Result<(), Error> {
        match policy::may(ctx, Capability::ManageRights) {
            true => Ok(()),
            false => Err(self.denied(ctx, "account-change.list", "").await),
        }
    }

    /// The second person's word: it is carried out, or never will be. Who asked may only take it back, and whose account
    /// it is about only refuse. Returns how it stands then.
    /// Errors: `Denied`, `StepUpNeeded`, `NotFound`; `Rule` `second-person-needed`, `note-needed`, `asker-gone`,
    /// `changed-meanwhile`, and what doing it refuses; `Duplicate` `already-settled`.
    pub async fn decide_account_change(
        &self,
        ctx: &Ctx,
        id: Uuid,
        agree: bool,
        note: &str,
    ) -> Result<AccountChangeRow, Error> {
        let user = self.decider(ctx).await?;
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        let change = self.reading(move |tx| Ok(account_change::load(tx, &id)?)).await?;
        let change = change.ok_or(Error::NotFound)?;
        let note = text(note, "/note")?;
        let own = change.account == user.account;
        if !agree && !own && note.is_empty() {
            return Err(rule("note-needed", "Say why not; who asked will read it.", "/note"));
        }
        let kept = match (change.state, &change.payload) {
            (AccountChangeState::Waiting, Some(sealed)) => Kept::read(&self.unseal(sealed, &place(id))?)?,
            _ => return Err(apply::settled()),
        };
        let state = match agree {
            false => AccountChangeState::Refused,
            true if own => AccountChangeState::Alone,
            true => AccountChangeState::Agreed,
        };
        let now = self.now();
        let collects = agree && kept.act.is_collected();
        let settled = Settled {
            state,
            by: user.account,
            at: now,
            note,
            collect_until: collects.then(|| plus(now, COLLECT_WITHIN)),
        };
        let settling = self.settling(ctx, &change, kept, settled).await?;
        // The Practitioner of a new colleague, made together with her account.
        let mut changes = Vec::new();
        if let (true, Act::Create(person)) = (agree, &settling.kept.act) {
            for value in &person.practitioner {
                let resource = Resource::from_value(value.clone()).map_err(Error::Malformed)?;
                changes.push(Change::Create { resource });
            }
        }
        let mut request = Request::raw(crate::ChangeSet {
            changes,
            effects: vec![Effect::AccountChange(Box::new(settling))],
            ..crate::ChangeSet::default()
        });
        request.command = Some(if agree { "account-change.agree" } else { "account-change.refuse" });
        // Who agrees need not have the right to make it.
        request.on_behalf = true;
        self.commit(&Ctx { idempotency_key: None, ..ctx.clone() }, request).await?;
        if let Some(target) = change.target {
            self.forget_account(target);
        }
        if change.client.is_some() {
            self.forget_holders();
        }
        self.forget_policy();
        self.reading(move |tx| Ok(account_change::load(tx, &id)?)).await?.ok_or(Error::NotFound)
    }

    async fn settling(
        &self,
        ctx: &Ctx,
        change: &AccountChangeRow,
        kept: Kept,
        settled: Settled,
    ) -> Result<Settling, Error> {
        let agree = settled.state != AccountChangeState::Refused;
        let action = if agree { "account-change.agree" } else { "account-change.refuse" };
        let what = format!("account-change/{}", change.id);
        let event = |action: &str, what: &str| self.audit_event(ctx, action, Outcome::Success, what, &[]);
        let mut audit = vec![event(action, &what)];
        let mut link = None;
        if agree {
            if let Some(done) = kept.act.audited() {
                audit.push(event(done, &Key::of(change).what()));
            }
            if let Act::Create(person) = &kept.act
                && person.by.is_some_and(|by| by != Delivery::Shown)
            {
                audit.push(event("account.invite", ""));
                let (token, made) =
                    self.new_link(0, super::link::INVITATION, super::link::INVITATION_WAITS, ctx)?;
                link = Some((made, self.link_address(&token)));
            }
        }
        Ok(Settling {
            id: change.id,
            asker: change.account,
            about: Key::of(change),
            kept,
            settled,
            current: self.security_policy().await?,
            audit,
            link,
        })
    }

    async fn decider<'c>(&self, ctx: &'c Ctx) -> Result<&'c User, Error> {
        match ctx.user().filter(|_| policy::may(ctx, Capability::ManageRights)) {
            Some(user) => Ok(user),
            None => Err(self.denied(ctx, "account-change.decide", "").await),
        }
    }

    /// Makes the link, the one-time password or the application's secret that was agreed to; who asked for it, once, within
    /// a day. Errors: `Denied`, `StepUpNeeded`; `NotFound` for somebody else's; `Rule` `nothing-to-collect`,
    /// `changed-meanwhile`.
    pub async fn collect_account_change(&self, ctx: &Ctx, id: Uuid) -> Result<Collected, Error> {
        let may = |capability| policy::may(ctx, capability);
        if !may(Capability::ManageAccounts) && !may(Capability::ManageClients) {
            return Err(self.denied(ctx, "account-change.collect", "").await);
        }
        let asker = ctx.user().ok_or(Error::Denied)?.account;
        self.require_fresh(ctx, super::SENSITIVE_MINUTES, true)?;
        let change = self.reading(move |tx| Ok(account_change::load(tx, &id)?)).await?;
        let change = change.filter(|change| change.account == asker).ok_or(Error::NotFound)?;
        let gone = || rule("nothing-to-collect", "There is nothing to fetch any more; ask again.", "");
        let now = self.now();
        let sealed = change.payload.as_ref().filter(|_| change.collect && change.expires > now);
        let kept = Kept::read(&self.unseal(sealed.ok_or_else(gone)?, &place(id))?)?;
        if !may(kept.act.needs()) {
            return Err(self.denied(ctx, "account-change.collect", "").await);
        }
        let key = Key::of(&change);
        let about = self.reading(move |tx| key.load(tx)).await?;
        if !kept.holds(&about) {
            return Err(apply::changed());
        }
        let event = self.audit_event(
            ctx,
            "account-change.collect",
            Outcome::Success,
            &format!("account-change/{id}"),
            &[],
        );
        let fetched = self
            .writing(move |tx| {
                store::audit::append(tx, std::slice::from_ref(&event))?;
                Ok(account_change::collected(tx, &id, now)?)
            })
            .await?;
        if !fetched {
            return Err(gone());
        }
        let by_link = match &kept.act {
            Act::Create(person) => person.by.is_some(),
            act => matches!(act, Act::Invitation),
        };
        Ok(match about {
            About::Nothing => return Err(gone()),
            About::Application(client) => {
                let secret = self.new_client_secret(ctx, &client.id).await?;
                Collected::Secret { client: client.id, secret }
            }
            About::Account(row) if by_link => {
                Collected::Link(self.send_invitation(ctx, row.id, Delivery::Shown).await?)
            }
            About::Account(row) => {
                let password = self.new_password(ctx, &row).await?;
                Collected::Password { account: row.id, password }
            }
        })
    }

    /// Settles what nobody decided in time; those who asked are told. Returns how many. Call it now and then.
    pub async fn expire_account_changes(&self) -> Result<usize, Error> {
        let now = self.now();
        self.writing(move |tx| {
            let over = account_change::expire(tx, now)?;
            let waited = over.iter().filter(|one| one.state == AccountChangeState::Waiting);
            for one in waited {
                let data = Key::of(one).data(one.account, &one.act);
                let topic = act::topic(&one.act, "expired");
                Told::person(&topic, now, one.id, one.account).with(data).write(tx)?;
            }
            Ok(over.len())
        })
        .await
    }
}

/// Binds what is sealed to its row.
fn place(id: Uuid) -> String {
    format!("account-change/{id}")
}
