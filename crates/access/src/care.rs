//! Who treats whom, derived from resources. `record` stores the links with each write; the policy reads them.

use fhir::{Resource, ResourceKey, TypeId};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// Aftercare: how long a clinician keeps access after an appointment or a visit.
pub const DAYS_AFTER_APPOINTMENT: i64 = 30;
pub const DAYS_AFTER_VISIT: i64 = 90;
const HOURS_PER_DAY: i64 = 24;

/// A practitioner may see and treat a patient from `from` until `until` (`None`: until the resource changes).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CareLink {
    /// Logical ids.
    pub practitioner: String,
    pub patient: String,
    pub from: Timestamp,
    pub until: Option<Timestamp>,
}

/// The links this version of a resource makes; they replace those of its earlier versions. `now` is when it is written:
/// links that are over by then are left out.
pub fn links(resource: &Resource, now: Timestamp) -> Vec<CareLink> {
    let mut out = match resource.kind().name() {
        "Appointment" => appointment(resource, now),
        "Encounter" => encounter(resource, now),
        "CareTeam" => care_team(resource, now),
        "ServiceRequest" => service_request(resource, now),
        "Patient" => patient(resource, now),
        _ => return Vec::new(),
    };
    out.retain(|l| l.until.is_none_or(|until| until > now));
    out.sort();
    out.dedup();
    out
}

fn appointment(resource: &Resource, now: Timestamp) -> Vec<CareLink> {
    if !matches!(
        resource.text("status"),
        Some("proposed" | "pending" | "booked" | "arrived" | "checked-in" | "fulfilled")
    ) {
        return Vec::new();
    }
    // Before its time is known there is nothing to prepare.
    let Some(end) = instant(resource.get("end")).or_else(|| instant(resource.get("start"))) else {
        return Vec::new();
    };
    let actors: Vec<ResourceKey> = list(resource.get("participant"))
        .filter(|p| p.get("status").and_then(Value::as_str) != Some("declined"))
        .filter_map(|p| local(p.get("actor")))
        .collect();
    pairs(&actors, now, Some(later(end, DAYS_AFTER_APPOINTMENT)))
}

fn encounter(resource: &Resource, now: Timestamp) -> Vec<CareLink> {
    let until = match resource.text("status") {
        Some("planned" | "arrived" | "triaged" | "in-progress" | "onleave") => None,
        Some("finished") => {
            let end = resource.get("period").and_then(|p| instant(p.get("end"))).unwrap_or(now);
            Some(later(end, DAYS_AFTER_VISIT))
        }
        _ => return Vec::new(),
    };
    let mut actors: Vec<ResourceKey> =
        list(resource.get("participant")).filter_map(|p| local(p.get("individual"))).collect();
    actors.extend(local(resource.get("subject")));
    pairs(&actors, now, until)
}

fn care_team(resource: &Resource, now: Timestamp) -> Vec<CareLink> {
    if resource.text("status") != Some("active") {
        return Vec::new();
    }
    let Some(subject) = local(resource.get("subject")) else { return Vec::new() };
    let team_end = resource.get("period").and_then(|p| instant(p.get("end")));
    let mut out = Vec::new();
    for participant in list(resource.get("participant")) {
        let Some(member) = local(participant.get("member")) else { continue };
        let own_end = participant.get("period").and_then(|p| instant(p.get("end")));
        let until = match (team_end, own_end) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        out.extend(pairs(&[subject.clone(), member], now, until));
    }
    out
}

fn service_request(resource: &Resource, now: Timestamp) -> Vec<CareLink> {
    let until = match resource.text("status") {
        Some("active" | "on-hold") => None,
        Some("completed") => Some(later(now, DAYS_AFTER_VISIT)),
        _ => return Vec::new(),
    };
    // A patient among the performers is no subject of this care.
    let mut actors: Vec<ResourceKey> = list(resource.get("performer"))
        .filter_map(|p| local(Some(p)))
        .filter(|k| k.kind.name() != "Patient")
        .collect();
    actors.extend(local(resource.get("subject")));
    pairs(&actors, now, until)
}

fn patient(resource: &Resource, now: Timestamp) -> Vec<CareLink> {
    if resource.get("active") == Some(&Value::Bool(false)) {
        return Vec::new();
    }
    let mut actors: Vec<ResourceKey> =
        list(resource.get("generalPractitioner")).filter_map(|p| local(Some(p))).collect();
    actors.extend(resource.key());
    pairs(&actors, now, None)
}

/// Every practitioner of `actors` with every patient of them.
fn pairs(actors: &[ResourceKey], from: Timestamp, until: Option<Timestamp>) -> Vec<CareLink> {
    let named = |name: &str| -> Vec<&ResourceKey> {
        let kind = TypeId::from_name(name);
        actors.iter().filter(|k| Some(k.kind) == kind).collect()
    };
    let patients = named("Patient");
    named("Practitioner")
        .into_iter()
        .flat_map(|practitioner| {
            patients.iter().map(move |patient| CareLink {
                practitioner: practitioner.id.clone(),
                patient: patient.id.clone(),
                from,
                until,
            })
        })
        .collect()
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

/// `Type/id` of a Reference to this server.
fn local(reference: Option<&Value>) -> Option<ResourceKey> {
    let text = reference?.get("reference")?.as_str()?;
    ResourceKey::parse(text.split("/_history/").next()?)
}

/// An instant or dateTime with a time; a bare date is its end in UTC.
fn instant(value: Option<&Value>) -> Option<Timestamp> {
    let text = value?.as_str()?;
    text.parse().ok().or_else(|| {
        let date: jiff::civil::Date = text.parse().ok()?;
        date.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|z| z.timestamp())
    })
}

fn later(at: Timestamp, days: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_hours(days * HOURS_PER_DAY)).unwrap_or(Timestamp::MAX)
}
