//! The time that an Appointment takes, when it is written by raw FHIR.
//!
//! The product's own commands claim times themselves. A booking that another system writes must hold its time as well, or
//! the same quarter of an hour would be given to somebody else.

use crate::{Effect, Error, Rule};
use fhir::{Reference, Resource, ResourceKey};
use jiff::Timestamp;
use serde_json::Value;
use store::Tx;
use store::claim::{MAX_QUANTA, QUANTUM_MINUTES};

/// Statuses in which the people are expected.
const HOLDING: &[&str] = &["booked", "arrived", "checked-in"];
/// Whose time counts.
const ACTORS: &[&str] = &["Patient", "Practitioner", "Location"];

/// Frees what the appointment held, and takes what it holds now (`None`: it is deleted). What is over or has no end takes
/// nothing. Errors: `Duplicate` `slot-taken`; `Rule` for what is longer than a claim can be.
pub(super) fn settle(
    tx: &mut dyn Tx,
    key: &ResourceKey,
    after: Option<&Resource>,
    now: Timestamp,
) -> Result<(), Error> {
    if key.kind.name() != "Appointment" {
        return Ok(());
    }
    store::claim::release(tx, key)?;
    for (actor, start, end) in after.map(|resource| spans(resource, now)).transpose()?.unwrap_or_default() {
        let claim = Effect::Claim { actor, start, end, by: key.clone() };
        super::effect::run(tx, &claim).map_err(|error| match error {
            Error::Duplicate(rule) => {
                let text = "Somebody has this time already: a practitioner, patient or place is in one appointment \
                            at a time. Choose another time, or change the other appointment first.";
                Error::Duplicate(Rule { text: text.into(), field: "Appointment.start".into(), ..rule })
            }
            other => other,
        })?;
    }
    Ok(())
}

type Span = (ResourceKey, Timestamp, Timestamp);

/// Each actor with the time, widened to whole claims. Errors: a time longer than a claim can be.
fn spans(appointment: &Resource, now: Timestamp) -> Result<Vec<Span>, Error> {
    let time = |element: &str| appointment.text(element).and_then(|text| text.parse::<Timestamp>().ok());
    let (Some(start), Some(end)) = (time("start"), time("end")) else { return Ok(Vec::new()) };
    let quantum = QUANTUM_MINUTES * 60;
    let first = start.as_second().div_euclid(quantum);
    let last = (end.as_second() + quantum - 1).div_euclid(quantum);
    let holds = appointment.text("status").is_some_and(|status| HOLDING.contains(&status));
    if !holds || end <= now || last <= first {
        return Ok(Vec::new());
    }
    if last - first > MAX_QUANTA {
        let days = MAX_QUANTA * QUANTUM_MINUTES / (24 * 60);
        let text = format!("An appointment that holds people's time lasts at most {days} days.");
        return Err(Error::Rule(Rule::new("appointment-too-long", text).at("Appointment.end")));
    }
    let (Ok(start), Ok(end)) =
        (Timestamp::from_second(first * quantum), Timestamp::from_second(last * quantum))
    else {
        return Ok(Vec::new());
    };
    let mut actors: Vec<ResourceKey> = Vec::new();
    for participant in appointment.get("participant").and_then(Value::as_array).into_iter().flatten() {
        let text = participant.pointer("/actor/reference").and_then(Value::as_str).unwrap_or_default();
        // A reference to one version means the same person.
        if let Reference::Local { key: actor, .. } = Reference::parse(text, None)
            && participant["status"] != "declined"
            && ACTORS.contains(&actor.kind.name())
            && !actors.contains(&actor)
        {
            actors.push(actor);
        }
    }
    // Two writers that want the same people take them in the same order.
    actors.sort();
    Ok(actors.into_iter().map(|actor| (actor, start, end)).collect())
}
