//! Settles a change and carries it out, in the write path's transaction.

use super::act::Kept;
use super::{AccountChangeState, Act, verdict};
use crate::authn::{Delivery, Notice, SecurityPolicy, notice, outside, second};
use crate::rights::notice::Told;
use crate::write::account_error;
use crate::{Error, Record, Rule};
use access::policy::Capability;
use access::trust;
use fhir::ResourceKey;
use jiff::Timestamp;
use serde_json::json;
use store::Tx;
use store::account::{Account, NewAccount, Update};
use store::account_change::{self, Settled};
use store::ceremony::Link;
use uuid::Uuid;

/// What is settled, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Settling {
    pub id: Uuid,
    pub asker: i64,
    pub target: Option<i64>,
    pub kept: Kept,
    pub settled: Settled,
    /// The rules as they are.
    pub current: SecurityPolicy,
    /// The first is that it was settled; others are about the account, as far as it is known.
    pub audit: Vec<store::audit::Event>,
    /// Of an invitation that is sent: the link and where its holder goes.
    pub link: Option<(Link, String)>,
}

pub(super) fn settled() -> Error {
    Error::Duplicate(Rule::new("already-settled", "Somebody has decided this already, or its time is over."))
}

pub(super) fn changed() -> Error {
    super::rule("changed-meanwhile", "The account was changed since this was asked for; ask again.", "")
}

pub(crate) fn run(tx: &mut dyn Tx, this: &Settling) -> Result<(), Error> {
    let now = this.settled.at;
    let change = account_change::load(tx, &this.id)?.ok_or(Error::NotFound)?;
    let agree = this.settled.state != AccountChangeState::Refused;
    let target = match this.target {
        Some(id) => store::account::load(tx, id)?,
        None => None,
    };
    if agree {
        check(tx, this, &change, target.as_ref(), now)?;
    }
    if !account_change::settle(tx, &this.id, &this.settled)? {
        return Err(settled());
    }
    let about = match agree {
        true => carry_out(tx, this, target.as_ref(), now)?,
        false => this.target,
    };
    if about != this.target
        && let Some(made) = about
    {
        account_change::made(tx, &this.id, made)?;
    }
    for event in &this.audit {
        let mut event = event.clone();
        if event.what.is_empty() {
            event.what = about.map(|id| format!("account/{id}")).unwrap_or_default();
        }
        store::audit::append(tx, std::slice::from_ref(&event))?;
    }
    let topic = match this.settled.state {
        AccountChangeState::Refused => "account-change.refused",
        AccountChangeState::Alone => {
            let change = account_change::load(tx, &this.id)?.ok_or(Error::NotFound)?;
            return verdict::told_alone(tx, &account_change::Change { at: now, ..change });
        }
        _ => "account-change.agreed",
    };
    let data = json!({"account": this.settled.by, "about": about, "act": change.act});
    Told::officers(topic, now, this.id).with(data.clone()).write(tx)?;
    Told::person(topic, now, this.id, this.asker).with(data).write(tx)
}

/// Whether it may still be agreed to, by this person. Errors: `Rule` `second-person-needed`, `asker-gone`,
/// `changed-meanwhile`.
fn check(
    tx: &mut dyn Tx,
    this: &Settling,
    change: &account_change::Change,
    target: Option<&Account>,
    now: Timestamp,
) -> Result<(), Error> {
    let by = this.settled.by;
    if this.target == Some(by) {
        let text = "It is about your own account: you may refuse it, somebody else agrees.";
        return Err(super::rule("second-person-needed", text, ""));
    }
    // Roles that were given or taken meanwhile: what was looked at is not what is there.
    if this.target.is_some() && target.map(|target| &target.roles) != this.kept.seen.as_ref() {
        return Err(changed());
    }
    if by == this.asker {
        verdict::check_alone(tx, &this.current, change, &this.kept.act, target, now)?;
    }
    let asker = store::account::load(tx, this.asker)?;
    let still = |asker: &Account| {
        !asker.disabled && asker.roles.iter().any(|role| trust::may(*role, Capability::ManageAccounts))
    };
    if !asker.as_ref().is_some_and(still) {
        let text = "Who asked for this may not do so any more.";
        return Err(super::rule("asker-gone", text, ""));
    }
    Ok(())
}

/// Returns whose account it is about.
fn carry_out(
    tx: &mut dyn Tx,
    this: &Settling,
    target: Option<&Account>,
    now: Timestamp,
) -> Result<Option<i64>, Error> {
    if let (Act::Policy(policy), _) = (&this.kept.act, target) {
        Record::put_policy(tx, policy)?;
        return Ok(None);
    }
    if let Act::Create(person) = &this.kept.act {
        let made = person.practitioner.first().and_then(|value| {
            ResourceKey::parse(&format!("{}/{}", value["resourceType"].as_str()?, value["id"].as_str()?))
        });
        let new = NewAccount {
            login: person.login.clone(),
            phone: person.phone.clone(),
            email: person.email.clone(),
            display: person.display.clone(),
            password_hash: None,
            roles: person.roles.clone(),
            patient: None,
            practitioner: made.or_else(|| person.entry.clone()),
            language: person.language.clone(),
            created: now,
        };
        let id = store::account::create(tx, &new).map_err(account_error)?;
        if let (Some((link, address)), Some(by)) = (&this.link, person.by) {
            let account = store::account::load(tx, id)?.ok_or(Error::NotFound)?;
            invite(tx, &account, by, link, address, now)?;
        }
        return Ok(Some(id));
    }
    let target = target.ok_or(Error::NotFound)?;
    let account = target.id;
    let told = match &this.kept.act {
        Act::Roles(roles) => {
            let update = Update { account, roles: Some(roles.clone()), ..Update::default() };
            store::account::update(tx, &update).map_err(account_error)?;
            verdict::left(tx, target, &update, now)?;
            store::session::end_all(tx, account, None)?;
            None
        }
        Act::Factors => {
            second::take_factors(tx, account, now)?;
            Some(Notice::FactorRemoved)
        }
        Act::Identity { issuer, subject } => {
            store::outside::link(tx, issuer, subject, account, Some(this.asker), now)?
                .ok_or_else(outside::taken)?;
            Some(Notice::FactorAdded)
        }
        // Made when they are fetched.
        Act::Password | Act::Invitation | Act::Create(_) | Act::Policy(_) => None,
    };
    if let Some(message) = told.and_then(|told| notice::told(target, told, now)) {
        store::message::insert(tx, &message)?;
    }
    Ok(Some(account))
}

fn invite(
    tx: &mut dyn Tx,
    account: &Account,
    by: Delivery,
    link: &Link,
    address: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let link = Link { account: account.id, ..link.clone() };
    store::ceremony::put_link(tx, &link)?;
    let channel = match by {
        Delivery::Email => store::message::Channel::Email,
        Delivery::Sms => store::message::Channel::Sms,
        Delivery::Shown => return Ok(()),
    };
    let mut message = notice::message(account, channel, Notice::Invitation, address, now)
        .ok_or_else(|| Error::Internal("nowhere to send a link".into()))?;
    message.expires = Some(link.expires);
    Ok(store::message::insert(tx, &message)?)
}
