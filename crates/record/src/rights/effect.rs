//! Rows of rights that change in the write path's transaction.

use super::notice::Told;
use crate::{Error, Rule};
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
    ProxyGrant(store::proxy::Proxy),
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
    let notice = match effect {
        RightsEffect::EmergencyBegin(one) => {
            Some(Told::officers("emergency.begun", one.at, one.id).of(&one.patient).with(json!({
                "account": one.account, "reason": one.reason, "until": one.until.to_string(),
                "by_password": one.by_password,
            })))
        }
        RightsEffect::EmergencyReview { id, review } => Some(
            Told::officers("emergency.reviewed", review.at, *id)
                .with(json!({"account": review.by, "verdict": review.verdict})),
        ),
        RightsEffect::RightsDone(change) => Some(about_cell("rights.changed", change)),
        RightsEffect::RightsAsk(change) => Some(about_cell("rights.asked", change)),
        RightsEffect::RightsDecide { id, cell, by, at } => {
            let topic = if cell.is_some() { "rights.agreed" } else { "rights.refused" };
            Some(Told::officers(topic, *at, *id).with(json!({"account": by})))
        }
        RightsEffect::ProxyGrant(one) => return proxy_granted(tx, one),
        RightsEffect::EmergencyEnd { .. } | RightsEffect::ProxyEnd { .. } => None,
    };
    match notice {
        Some(told) => told.write(tx),
        None => Ok(()),
    }
}

/// Told are who may act now, the patient, and the privacy officers where somebody else than the patient said so.
fn proxy_granted(tx: &mut dyn Tx, one: &Proxy) -> Result<(), Error> {
    let key = fhir::ResourceKey::new(fhir::TypeId::PATIENT, one.patient.clone());
    let owners: Vec<i64> = store::account::by_patient(tx, &key)?.iter().map(|owner| owner.id).collect();
    let by_patient = one.made_by.is_some_and(|by| owners.contains(&by));
    let person = |account| Told::person("proxy.granted", one.made, one.id, account);
    let mut told: Vec<Told> = vec![person(one.account)];
    told.extend(owners.into_iter().filter(|owner| *owner != one.account).map(person));
    if !by_patient {
        told.push(Told::officers("proxy.granted", one.made, one.id));
    }
    let data = json!({
        "account": one.account, "by": one.made_by, "basis": one.basis, "sealed": !one.seals.is_none(),
        "until": one.until.to_string(),
    });
    told.into_iter().try_for_each(|told| told.of(&one.patient).with(data.clone()).write(tx))
}

fn about_cell(topic: &'static str, change: &store::rights::Change) -> Told {
    let cell = &change.cell;
    Told::officers(topic, change.at, change.id).with(json!({
        "account": change.account, "role": cell.role.code(), "class": cell.class.code(), "verb": cell.verb.code(),
        "before": change.before.code(), "after": cell.reach.code(),
    }))
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
            true => Ok(()),
            false => Err(settled("It is closed already.")),
        },
        RightsEffect::EmergencyReview { id, review } => match store::emergency::review(tx, id, review)? {
            true => Ok(()),
            false => Err(settled("Somebody has reviewed it already.")),
        },
        RightsEffect::ProxyGrant(new) => {
            let others = store::proxy::of_account(tx, new.account, new.made)?;
            if others.iter().any(|one| one.patient == new.patient) {
                let text = "This person acts for the patient already; end that first.";
                return Err(Error::Duplicate(Rule::new("proxy-running", text)));
            }
            Ok(store::proxy::insert(tx, new)?)
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
