//! Settles a change and carries it out, in the write path's transaction.

use super::about::{About, Key};
use super::act::{Kept, topic};
use super::{AccountChangeState, Act, NewPerson, verdict};
use crate::authn::{Delivery, Notice, SecurityPolicy, notice, outside, second};
use crate::rights::notice::Told;
use crate::rights::second::needed;
use crate::write::account_error;
use crate::{Error, Record, Rule, oauth};
use fhir::ResourceKey;
use jiff::Timestamp;
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
    pub about: Key,
    pub kept: Kept,
    pub settled: Settled,
    /// The rules as they are.
    pub current: SecurityPolicy,
    /// The first is that it was settled; others are about the account or application, as far as it is known.
    pub audit: Vec<store::audit::Event>,
    /// Of an invitation that is sent: the link and where its holder goes.
    pub link: Option<(Link, String)>,
}

pub(super) fn settled() -> Error {
    Error::Duplicate(Rule::new("already-settled", "Somebody has decided this already, or its time is over."))
}

pub(crate) fn changed() -> Error {
    super::rule("changed-meanwhile", "This was changed since it was asked for; ask again.", "")
}

pub(crate) fn run(tx: &mut dyn Tx, this: &Settling) -> Result<(), Error> {
    let now = this.settled.at;
    let change = account_change::load(tx, &this.id)?.ok_or(Error::NotFound)?;
    let agree = this.settled.state != AccountChangeState::Refused;
    let about = this.about.load(tx)?;
    if agree {
        check(tx, this, &change, &about, now)?;
    }
    if !account_change::settle(tx, &this.id, &this.settled)? {
        return Err(settled());
    }
    let key = match agree {
        true => carry_out(tx, this, &about, now)?,
        false => this.about.clone(),
    };
    match &key {
        _ if key == this.about => {}
        Key::Nothing => {}
        Key::Account(made) => account_change::made(tx, &this.id, *made)?,
        Key::Application(made) => account_change::registered(tx, &this.id, made)?,
    }
    for event in &this.audit {
        let mut event = event.clone();
        if event.what.is_empty() {
            event.what = key.what();
        }
        store::audit::append(tx, std::slice::from_ref(&event))?;
    }
    let what = match this.settled.state {
        AccountChangeState::Refused => "refused",
        AccountChangeState::Alone => {
            let change = account_change::load(tx, &this.id)?.ok_or(Error::NotFound)?;
            return verdict::told_alone(tx, &account_change::Change { at: now, ..change });
        }
        _ => "agreed",
    };
    let topic = topic(&change.act, what);
    let data = key.data(this.settled.by, &change.act);
    Told::officers(&topic, now, this.id).with(data.clone()).write(tx)?;
    Told::person(&topic, now, this.id, this.asker).with(data).write(tx)
}

/// Whether it may still be agreed to, by this person. Errors: `Rule` `second-person-needed`, `asker-gone`,
/// `changed-meanwhile`.
fn check(
    tx: &mut dyn Tx,
    this: &Settling,
    change: &account_change::Change,
    about: &About,
    now: Timestamp,
) -> Result<(), Error> {
    let by = this.settled.by;
    if this.about == Key::Account(by) {
        return Err(needed("It is about your own account: you may refuse it, somebody else agrees.", ""));
    }
    // Roles that were given or taken meanwhile, another key: what was looked at is not what is there.
    if this.about != Key::Nothing && about.seen() != this.kept.seen {
        return Err(changed());
    }
    if by == this.asker {
        verdict::check_alone(tx, &this.current, change, &this.kept.act, about, now)?;
    }
    let asker = store::account::load(tx, this.asker)?;
    if !asker.is_some_and(|asker| this.kept.act.may_be_asked_by(&asker)) {
        let text = "Who asked for this may not do so any more.";
        return Err(super::rule("asker-gone", text, ""));
    }
    Ok(())
}

/// Returns what it is about then.
fn carry_out(tx: &mut dyn Tx, this: &Settling, about: &About, now: Timestamp) -> Result<Key, Error> {
    match (&this.kept.act, about) {
        (Act::Policy(policy), _) => Record::put_policy(tx, policy)?,
        (Act::Create(person), _) => return Ok(Key::Account(create(tx, this, person, now)?)),
        (Act::Register(application), _) => {
            return Ok(Key::Application(oauth::put_new(tx, application, now)?));
        }
        (Act::Application(application), About::Application(client)) => {
            oauth::put_change(tx, client, application, now)?;
        }
        // Made when it is fetched; until then the one before works.
        (Act::Secret, About::Application(_)) => {}
        (act, About::Account(account)) => change(tx, this.asker, act, account, now)?,
        _ => return Err(Error::NotFound),
    }
    Ok(this.about.clone())
}

/// Returns the number of the new account.
fn create(tx: &mut dyn Tx, this: &Settling, person: &NewPerson, now: Timestamp) -> Result<i64, Error> {
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
    Ok(id)
}

fn change(tx: &mut dyn Tx, asker: i64, act: &Act, target: &Account, now: Timestamp) -> Result<(), Error> {
    let account = target.id;
    let told = match act {
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
            store::outside::link(tx, issuer, subject, account, Some(asker), now)?
                .ok_or_else(outside::taken)?;
            Some(Notice::FactorAdded)
        }
        // Made when they are fetched.
        Act::Password | Act::Invitation => None,
        Act::Create(_) | Act::Policy(_) | Act::Register(_) | Act::Application(_) | Act::Secret => None,
    };
    if let Some(message) = told.and_then(|told| notice::told(target, told, now)) {
        store::message::insert(tx, &message)?;
    }
    Ok(())
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
