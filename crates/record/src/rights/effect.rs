//! Rows of rights that change in the write path's transaction.

use super::confirm::is_waiting;
use super::notice::Told;
use crate::{Error, Rule};
use access::Role;
use access::matrix::Cell;
use jiff::Timestamp;
use serde_json::json;
use store::Tx;
use store::proxy::Proxy;
use uuid::Uuid;

/// One of them; see `store::{emergency, proxy, rights}`.
#[derive(Debug, Clone, PartialEq)]
pub enum RightsEffect {
    EmergencyBegin(store::emergency::Emergency),
    EmergencyEnd {
        id: Uuid,
        account: i64,
        at: Timestamp,
    },
    EmergencyReview {
        id: Uuid,
        review: store::emergency::Review,
    },
    /// A reviewer's word about care that an emergency left behind.
    CareDecide(store::emergency_care::Bound),
    /// In force at once, or waiting for a second word.
    ProxyGrant(store::proxy::Proxy),
    /// One that waited, as it is in force now.
    ProxyConfirm(store::proxy::Proxy),
    ProxyEnd {
        id: Uuid,
        by: Option<i64>,
        at: Timestamp,
    },
    /// A change that is in force with this.
    RightsDone(store::rights::Change),
    /// A change that waits for a second person.
    RightsAsk(store::rights::Change),
    RightsDecide {
        id: Uuid,
        cell: Option<Cell>,
        by: i64,
        at: Timestamp,
    },
}

/// Whoever watches over rights is told in the same transaction. Errors: `Duplicate` for what somebody else settled
/// meanwhile.
pub(crate) fn run(tx: &mut dyn Tx, effect: &RightsEffect) -> Result<(), Error> {
    change(tx, effect)?;
    match effect {
        RightsEffect::EmergencyBegin(one) => emergency_begun(tx, one),
        RightsEffect::EmergencyReview { id, review } => emergency_reviewed(tx, *id, review),
        RightsEffect::EmergencyEnd { .. } | RightsEffect::CareDecide(_) => Ok(()),
        RightsEffect::RightsDone(change) => {
            about_cell(Role::PrivacyOfficer, "rights.changed", change).write(tx)
        }
        // Either may agree.
        RightsEffect::RightsAsk(change) => [Role::PrivacyOfficer, Role::Administrator]
            .into_iter()
            .try_for_each(|role| about_cell(role, "rights.asked", change).by(Some(change.account)).write(tx)),
        RightsEffect::RightsDecide { id, cell, by, at } => {
            let topic = if cell.is_some() { "rights.agreed" } else { "rights.refused" };
            let data = json!({"account": by});
            if let Some(asked) = store::rights::load(tx, id)?.map(|change| change.account)
                && asked != *by
            {
                Told::person(topic, *at, id, asked).with(data.clone()).write(tx)?;
            }
            Told::officers(topic, *at, id).with(data).by(Some(*by)).write(tx)
        }
        RightsEffect::ProxyGrant(one) if one.waits => proxy_asked(tx, one),
        RightsEffect::ProxyGrant(one) => proxy_granted(tx, one),
        RightsEffect::ProxyConfirm(one) => {
            proxy_granted(tx, one)?;
            proxy_answered(tx, "proxy.confirmed", one, one.confirmed.map(|c| c.by), one.from)
        }
        RightsEffect::ProxyEnd { id, by, at } => match store::proxy::load(tx, id)? {
            Some(one) if one.waits => proxy_answered(tx, "proxy.refused", &one, *by, *at),
            _ => Ok(()),
        },
    }
}

/// Told are the privacy officers, and the patient in her own account.
fn emergency_begun(tx: &mut dyn Tx, one: &store::emergency::Emergency) -> Result<(), Error> {
    for owner in owners(tx, &one.patient)? {
        let told = Told::person("emergency.begun", one.at, one.id, owner).of(&one.patient);
        told.with(json!({"until": one.until.to_string()})).write(tx)?;
    }
    let data = json!({
        "account": one.account, "reason": one.reason, "until": one.until.to_string(),
        "by_password": one.by_password,
    });
    Told::officers("emergency.begun", one.at, one.id).of(&one.patient).with(data).write(tx)
}

/// Told are the privacy officers and who broke the glass.
fn emergency_reviewed(tx: &mut dyn Tx, id: Uuid, review: &store::emergency::Review) -> Result<(), Error> {
    let data = json!({"account": review.by, "verdict": review.verdict});
    if let Some(one) = store::emergency::load(tx, &id)? {
        let told = Told::person("emergency.reviewed", review.at, id, one.account).of(&one.patient);
        told.with(json!({"verdict": review.verdict})).write(tx)?;
    }
    Told::officers("emergency.reviewed", review.at, id).with(data).by(Some(review.by)).write(tx)
}

/// Accounts of the patient herself.
fn owners(tx: &mut dyn Tx, patient: &str) -> Result<Vec<i64>, Error> {
    let key = fhir::ResourceKey::new(fhir::TypeId::PATIENT, patient.to_owned());
    Ok(store::account::by_patient(tx, &key)?.iter().map(|owner| owner.id).collect())
}

/// Told are who may act now, the patient, and the privacy officers where somebody else than the patient said so.
fn proxy_granted(tx: &mut dyn Tx, one: &Proxy) -> Result<(), Error> {
    let owners = owners(tx, &one.patient)?;
    let by_patient = one.made_by.is_some_and(|by| owners.contains(&by));
    let person = |account| Told::person("proxy.granted", one.from, one.id, account);
    let mut told: Vec<Told> = vec![person(one.account)];
    told.extend(owners.into_iter().filter(|owner| *owner != one.account).map(person));
    if !by_patient {
        told.push(Told::officers("proxy.granted", one.from, one.id));
    }
    let data = json!({
        "account": one.account, "by": one.made_by, "basis": one.basis, "sealed": !one.seals.is_none(),
        "until": one.until.to_string(),
    });
    told.into_iter().try_for_each(|told| told.of(&one.patient).with(data.clone()).write(tx))
}

/// Told are those who can be the second person.
fn proxy_asked(tx: &mut dyn Tx, one: &Proxy) -> Result<(), Error> {
    let data = json!({
        "account": one.account, "by": one.made_by, "basis": one.basis, "sealed": !one.seals.is_none(),
    });
    [Role::FrontDesk, Role::PrivacyOfficer].into_iter().try_for_each(|role| {
        let told = Told::role(role, "proxy.asked", one.made, one.id).by(one.made_by);
        told.of(&one.patient).with(data.clone()).write(tx)
    })
}

/// Told is who asked, unless she did it herself.
fn proxy_answered(
    tx: &mut dyn Tx,
    topic: &str,
    one: &Proxy,
    by: Option<i64>,
    at: Timestamp,
) -> Result<(), Error> {
    let Some(asked) = one.made_by.filter(|asked| by != Some(*asked)) else { return Ok(()) };
    let data = json!({"account": one.account, "by": by});
    Told::person(topic, at, one.id, asked).of(&one.patient).with(data).write(tx)
}

fn about_cell(role: Role, topic: &str, change: &store::rights::Change) -> Told {
    let cell = &change.cell;
    Told::role(role, topic, change.at, change.id).with(json!({
        "account": change.account, "role": cell.role.code(), "class": cell.class.code(), "verb": cell.verb.code(),
        "before": change.before.code(), "after": cell.reach.code(),
    }))
}

fn proxy_running() -> Error {
    let text = "This person acts for the patient already; end that first.";
    Error::Duplicate(Rule::new("proxy-running", text))
}

fn change(tx: &mut dyn Tx, effect: &RightsEffect) -> Result<(), Error> {
    let settled = |text: &str| Error::Duplicate(Rule::new("already-settled", text));
    match effect {
        RightsEffect::EmergencyBegin(new) => {
            let running = store::emergency::running(tx, new.account, new.at)?;
            if running.iter().any(|one| one.patient == new.patient) {
                let text = "You have opened this record already; it is still open.";
                return Err(Error::Duplicate(Rule::new("emergency-running", text)));
            }
            Ok(store::emergency::insert(tx, new)?)
        }
        RightsEffect::EmergencyEnd { id, account, at } => match store::emergency::end(tx, id, *account, *at)?
        {
            true => Ok(store::emergency_care::close(tx, id, *at)?),
            false => Err(settled("It is closed already.")),
        },
        RightsEffect::CareDecide(bound) => {
            store::emergency_care::put(tx, bound)?;
            crate::write::care::apply_limits(tx, &bound.source, bound.decided.map_or(bound.at, |(at, _)| at))
        }
        RightsEffect::EmergencyReview { id, review } => match store::emergency::review(tx, id, review)? {
            true => Ok(()),
            false => Err(settled("Somebody has reviewed it already.")),
        },
        RightsEffect::ProxyGrant(new) => {
            let others = store::proxy::of_account(tx, new.account, new.made)?;
            if others.iter().any(|one| one.patient == new.patient) {
                return Err(proxy_running());
            }
            let all = store::proxy::of_patient(tx, &new.patient)?;
            if all.iter().any(|one| one.account == new.account && is_waiting(one, new.made)) {
                let text = "This was asked for already and waits to be confirmed.";
                return Err(Error::Duplicate(Rule::new("proxy-waiting", text)));
            }
            Ok(store::proxy::insert(tx, new)?)
        }
        RightsEffect::ProxyConfirm(one) => {
            let Some(confirmed) = &one.confirmed else {
                return Err(Error::Internal("a grant confirmed by nobody".into()));
            };
            let others = store::proxy::of_account(tx, one.account, confirmed.at)?;
            if others.iter().any(|other| other.patient == one.patient) {
                return Err(proxy_running());
            }
            match store::proxy::confirm(tx, &one.id, confirmed)? {
                true => Ok(()),
                false => Err(settled("It is settled already.")),
            }
        }
        RightsEffect::ProxyEnd { id, by, at } => match store::proxy::end(tx, id, *by, *at)? {
            true => Ok(()),
            false => Err(settled("It is over already.")),
        },
        RightsEffect::RightsDone(change) => {
            store::rights::insert(tx, change)?;
            Ok(store::rights::set_cell(tx, &change.cell)?)
        }
        RightsEffect::RightsAsk(change) => Ok(store::rights::insert(tx, change)?),
        RightsEffect::RightsDecide { id, cell, by, at } => {
            let state = match cell {
                Some(_) => store::rights::State::Agreed,
                None => store::rights::State::Refused,
            };
            if !store::rights::decide(tx, id, state, *by, *at)? {
                return Err(settled("Somebody has decided this already."));
            }
            match cell {
                Some(cell) => Ok(store::rights::set_cell(tx, cell)?),
                None => Ok(()),
            }
        }
    }
}
