//! Whether one person may do it alone, and who else could agree.

use super::super::{SecondPerson, SecurityPolicy};
use super::about::{About, Key};
use super::act::topic;
use super::application::Application;
use super::{AccountChangeRow, AccountChangeState, Act};
use crate::Error;
use crate::rights::notice::Told;
use crate::rights::second::needed;
use access::matrix::Table;
use access::policy::Capability;
use access::{Factor, Role, trust};
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use store::Tx;
use store::account::{Account, Update};
use store::account_change;
use uuid::Uuid;

/// Where the only other person who could agree is the one whose account it is about, she has so long to object.
const OWNER_OBJECTS: SignedDuration = SignedDuration::from_hours(24);
/// Who takes the right to agree from everybody else is not alone before this is over.
const LEFT_WITHIN: SignedDuration = SignedDuration::from_hours(72);

/// Whether somebody else must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No.
    Free,
    /// Yes, but there is nobody: it is done, noted, and told.
    Alone,
    /// Yes; from then on who asked may do it herself, if there is still nobody.
    Later(Timestamp),
    /// Yes.
    Two,
}

/// Roles that may agree.
fn deciding() -> Vec<Role> {
    let may = |role: &Role| trust::may(*role, Capability::ManageRights);
    Role::ALL.into_iter().filter(may).collect()
}

fn may_decide(account: &Account) -> bool {
    !account.disabled && account.roles.iter().any(|role| trust::may(*role, Capability::ManageRights))
}

/// Whoever could agree: her account is open and she has a way to sign in.
fn deciders(tx: &mut dyn Tx) -> Result<Vec<Account>, Error> {
    let mut found = Vec::new();
    for account in store::account::with_roles(tx, &deciding())? {
        let has_key = account.password_hash.is_some() || account.factors.contains(&Factor::Passkey);
        if has_key || !store::outside::of_account(tx, account.id)?.is_empty() {
            found.push(account);
        }
    }
    Ok(found)
}

/// Whether it is worth a second person.
fn is_grave(table: &Table, current: &SecurityPolicy, act: &Act, asker: i64, about: &About) -> bool {
    let trusted = |role: &Role| trust::is_trusted(table, *role);
    let target = about.account();
    let has = |role: &Role| target.is_some_and(|target| target.roles.contains(role));
    let before = about.client().map(Application::of);
    match act {
        Act::Create(person) => person.roles.iter().any(trusted),
        Act::Roles(roles) => roles.iter().any(|role| trusted(role) && !has(role)),
        Act::Policy(policy) => {
            policy.second_person == SecondPerson::Never && current.second_person != SecondPerson::Never
        }
        Act::Password | Act::Invitation | Act::Factors | Act::Identity { .. } => target
            .filter(|target| target.id != asker)
            .is_some_and(|target| target.roles.iter().any(|role| trust::opens_facts(table, *role))),
        Act::Register(application) => application.opens_facts(),
        Act::Application(after) => before.is_some_and(|before| after.is_grave_after(&before)),
        Act::Secret => before.is_some_and(|before| before.opens_facts()),
    }
}

/// Errors: `Rule` `second-person-needed` for new roles of one's own that read facts or administer.
pub(super) fn check_own(tx: &mut dyn Tx, new: &[Role]) -> Result<(), Error> {
    let table = Table::new(store::rights::cells(tx)?);
    if !new.iter().any(|role| trust::is_trusted(&table, *role)) {
        return Ok(());
    }
    let text = "Another administrator must give you a role that reads patients' facts.";
    Err(needed(text, "/roles"))
}

pub(super) fn verdict(
    tx: &mut dyn Tx,
    current: &SecurityPolicy,
    asker: i64,
    act: &Act,
    about: &About,
    now: Timestamp,
) -> Result<Verdict, Error> {
    let table = Table::new(store::rights::cells(tx)?);
    if !is_grave(&table, current, act, asker, about) {
        return Ok(Verdict::Free);
    }
    let target = about.account();
    if let (Act::Roles(roles), Some(target)) = (act, target.filter(|target| target.id == asker)) {
        let new: Vec<Role> = roles.iter().copied().filter(|role| !target.roles.contains(role)).collect();
        check_own(tx, &new)?;
    }
    if current.second_person == SecondPerson::Never {
        return Ok(Verdict::Free);
    }
    let others: Vec<i64> = deciders(tx)?.iter().map(|one| one.id).filter(|id| *id != asker).collect();
    let owner = target.map(|target| target.id);
    if others.iter().any(|id| Some(*id) != owner) {
        return Ok(Verdict::Two);
    }
    let since = now.checked_sub(LEFT_WITHIN).unwrap_or(Timestamp::MIN);
    let left = account_change::last_left(tx, since, asker)?.map(|at| super::plus(at, LEFT_WITHIN));
    let objects = (!others.is_empty()).then(|| super::plus(now, OWNER_OBJECTS));
    Ok(left.max(objects).map_or(Verdict::Alone, Verdict::Later))
}

/// Whether who asked may carry it out herself now. Errors: `Rule` `second-person-needed`.
pub(super) fn check_alone(
    tx: &mut dyn Tx,
    current: &SecurityPolicy,
    change: &AccountChangeRow,
    act: &Act,
    about: &About,
    now: Timestamp,
) -> Result<(), Error> {
    let waited = change.alone.is_some_and(|from| from <= now);
    match verdict(tx, current, change.account, act, about, now)? {
        Verdict::Free | Verdict::Alone => Ok(()),
        Verdict::Later(_) if waited => Ok(()),
        Verdict::Later(_) | Verdict::Two => Err(needed(super::NEEDED, "")),
    }
}

/// Something is done by one person, because there is nobody else.
#[derive(Debug, Clone)]
pub(crate) struct Alone(AccountChangeRow);

impl Alone {
    pub(super) fn new(asker: i64, act: &Act, about: &About, now: Timestamp) -> Alone {
        Alone(AccountChangeRow {
            id: Uuid::now_v7(),
            at: now,
            account: asker,
            target: about.key().account(),
            client: about.key().client(),
            act: act.code().to_owned(),
            summary: act.summary(about),
            payload: None,
            reason: String::new(),
            state: AccountChangeState::Alone,
            expires: now,
            alone: Some(now),
            collect: false,
            decided: Some((now, asker)),
            note: String::new(),
        })
    }

    /// Of an account that was made just now.
    pub(in crate::authn) fn about(&self, account: i64) -> Alone {
        Alone(AccountChangeRow { target: Some(account), ..self.0.clone() })
    }

    /// Of an application that was registered just now.
    pub(crate) fn about_client(&self, client: &str) -> Alone {
        Alone(AccountChangeRow { client: Some(client.to_owned()), ..self.0.clone() })
    }
}

/// Writes down that it was done by one person, and tells whoever is there or comes later, and the owner.
pub(crate) fn note(tx: &mut dyn Tx, alone: Option<&Alone>) -> Result<(), Error> {
    let Some(Alone(change)) = alone else { return Ok(()) };
    account_change::insert(tx, change)?;
    told_alone(tx, change)
}

pub(super) fn told_alone(tx: &mut dyn Tx, change: &AccountChangeRow) -> Result<(), Error> {
    let data = Key::of(change).data(change.account, &change.act);
    let topic = topic(&change.act, "alone");
    Told::officers(&topic, change.at, change.id).with(data.clone()).write(tx)?;
    match change.target {
        Some(owner) if owner != change.account => {
            Told::person(&topic, change.at, change.id, owner).with(data).write(tx)
        }
        _ => Ok(()),
    }
}

/// Tells those who may agree; privacy officers together, administrators one by one. Not who asked, and the owner of the
/// account by a message of her own.
pub(super) fn tell_deciders(tx: &mut dyn Tx, change: &AccountChangeRow) -> Result<(), Error> {
    let topic = topic(&change.act, "asked");
    let data = Key::of(change).data(change.account, &change.act);
    Told::officers(&topic, change.at, change.id).with(data.clone()).write(tx)?;
    for one in deciders(tx)? {
        let is_told = one.roles.contains(&Role::PrivacyOfficer);
        if !is_told && one.id != change.account {
            Told::person(&topic, change.at, change.id, one.id).with(data.clone()).write(tx)?;
        }
    }
    Ok(())
}

/// Notes that somebody who could agree cannot any more: her account is closed, or other roles leave that out.
pub(in crate::authn) fn left(
    tx: &mut dyn Tx,
    before: &Account,
    update: &Update,
    now: Timestamp,
) -> Result<(), Error> {
    let after = Account {
        disabled: update.disabled.unwrap_or(before.disabled),
        roles: update.roles.clone().unwrap_or_else(|| before.roles.clone()),
        ..before.clone()
    };
    if may_decide(before) && !may_decide(&after) {
        account_change::decider_left(tx, before.id, now)?;
        let data = json!({"account": before.id});
        Told::officers("account.decider-left", now, before.id).with(data).write(tx)?;
    }
    Ok(())
}

/// A closed account is open again: privacy officers are told, one person does it.
pub(in crate::authn) fn reopened(
    tx: &mut dyn Tx,
    account: i64,
    by: Option<i64>,
    now: Timestamp,
) -> Result<(), Error> {
    let data = json!({"account": by, "about": account});
    Told::officers("account.reopened", now, account).with(data).write(tx)
}
