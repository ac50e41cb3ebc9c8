//! Rows of people's rights that change in the write path's transaction.

use crate::{Error, Rule};
use jiff::Timestamp;
use store::Tx;
use store::subject::{hold, recipient, region, request, retention};
use uuid::Uuid;

/// One of them; see `store::subject`.
#[derive(Debug, Clone, PartialEq)]
pub enum SubjectEffect {
    Ask(request::Request),
    Withdraw { id: Uuid },
    Answer { id: Uuid, answered: request::Answered },
    Approve { id: Uuid, by: i64, at: Timestamp },
    Disagree { id: Uuid, statement: fhir::ResourceKey, at: Timestamp },
    Hold(hold::Hold),
    Lift { id: Uuid, by: i64, at: Timestamp, reason: String },
    Rule(retention::Rule),
    ApproveDue { patient: String, by: i64, at: Timestamp },
    KeepDue { patient: String, kept: retention::Kept },
    Register(recipient::Recipient),
    EndRecipient { id: Uuid, by: Option<i64>, at: Timestamp },
    AgreeRegion(region::Agreement),
    Erase(super::EraseStart),
}

/// Errors: `Duplicate` for what somebody else settled meanwhile.
pub(crate) fn run(tx: &mut dyn Tx, effect: &SubjectEffect) -> Result<(), Error> {
    let settled = |done: bool| match done {
        true => Ok(()),
        false => Err(Error::Duplicate(Rule::new("already-settled", "Somebody has settled this already."))),
    };
    match effect {
        SubjectEffect::Ask(new) => {
            let before = request::of_patient(tx, &new.patient)?;
            let same = |one: &request::Request| {
                matches!(one.state, request::State::Open | request::State::Approved)
                    && one.kind == new.kind
                    && one.entry == new.entry
            };
            if before.iter().any(same) {
                let text = "You have asked for this already; it waits for an answer.";
                return Err(Error::Duplicate(Rule::new("request-open", text)));
            }
            Ok(request::insert(tx, new)?)
        }
        SubjectEffect::Withdraw { id } => settled(request::withdraw(tx, id)?),
        SubjectEffect::Answer { id, answered } => settled(request::answer(tx, id, answered)?),
        SubjectEffect::Approve { id, by, at } => settled(request::approve(tx, id, *by, *at)?),
        SubjectEffect::Disagree { id, statement, at } => settled(request::disagree(tx, id, statement, *at)?),
        SubjectEffect::Hold(new) => {
            if hold::is_held(tx, &new.patient)? {
                let text = "A legal hold is in force already; lift it first.";
                return Err(Error::Duplicate(Rule::new("hold-running", text)));
            }
            Ok(hold::insert(tx, new)?)
        }
        SubjectEffect::Lift { id, by, at, reason } => settled(hold::lift(tx, id, *by, *at, reason)?),
        SubjectEffect::Rule(rule) => Ok(retention::set_rule(tx, rule)?),
        SubjectEffect::ApproveDue { patient, by, at } => {
            settled(retention::approve_due(tx, patient, *by, *at)?)
        }
        SubjectEffect::KeepDue { patient, kept } => settled(retention::keep(tx, patient, kept)?),
        SubjectEffect::Register(new) => Ok(recipient::register(tx, new)?),
        SubjectEffect::EndRecipient { id, by, at } => settled(recipient::end(tx, id, *by, *at)?),
        SubjectEffect::AgreeRegion(new) => Ok(region::agree(tx, new)?),
        SubjectEffect::Erase(start) => super::erase::start(tx, start),
    }
}
