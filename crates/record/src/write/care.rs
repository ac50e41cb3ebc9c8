//! Who treats whom by what is written, and how long: care that comes from a broken glass ends with it.

use crate::Error;
use access::{CareLink, Class, Ctx, User, matrix};
use fhir::{Resource, ResourceKey};
use jiff::Timestamp;
use std::collections::HashMap;
use store::Tx;
use store::care_link::{self, Link};
use store::emergency_care::{self, Bound, State};
use uuid::Uuid;

/// Types that put practitioners in charge of patients; see [access::care::links].
pub(crate) fn gives_care(key: &ResourceKey) -> bool {
    matches!(key.kind.name(), "Appointment" | "Encounter" | "CareTeam" | "ServiceRequest" | "Patient")
}

/// The emergency from which the writer's own care comes, and when that ends.
type Horizon = Option<(Uuid, Timestamp)>;

/// As the resource says it; for imports.
pub(super) fn set(tx: &mut dyn Tx, source: &ResourceKey, links: &[CareLink]) -> Result<(), Error> {
    if !gives_care(source) {
        return Ok(());
    }
    let links: Vec<Link> = links.iter().map(link).collect();
    Ok(care_link::set_for_source(tx, source, &links)?)
}

/// After a write by `ctx`. Nobody gives care that lasts longer than what the emergency gave herself: neither to herself
/// nor to others, who could give it back to her. What was given so stays limited when others write the resource, as
/// long as it names the same person.
pub(super) fn follow(
    tx: &mut dyn Tx,
    ctx: &Ctx,
    source: &ResourceKey,
    links: &[CareLink],
    now: Timestamp,
) -> Result<(), Error> {
    if !gives_care(source) {
        return Ok(());
    }
    let mut links: Vec<Link> = links.iter().map(link).collect();
    let bounds = emergency_care::of_source(tx, source)?;
    for bound in bounds.iter().filter(|one| one.state != State::Gone) {
        if !links.iter().any(|link| link.practitioner == bound.practitioner) {
            emergency_care::put(tx, &Bound { state: State::Gone, ..bound.clone() })?;
        }
    }
    let writer = ctx.user().filter(|user| !writes_everywhere(user, source));
    let mut horizons: HashMap<String, Horizon> = HashMap::new();
    let mut known: Option<Vec<Link>> = None;
    for link in &mut links {
        let horizon = match (writer, horizons.get(&link.patient)) {
            (None, _) => None,
            (_, Some(found)) => *found,
            (Some(user), None) => {
                let found = horizon(tx, user, &link.patient, now)?;
                horizons.insert(link.patient.clone(), found);
                found
            }
        };
        let account = writer.map_or(0, |user| user.account);
        let bound = bounds.iter().find(|one| one.practitioner == link.practitioner && one.state.limits());
        let end = match (bound, horizon) {
            // Somebody broke the glass once more.
            (Some(bound), Some((emergency, until))) if bound.state == State::Bound && until > bound.until => {
                emergency_care::put(tx, &Bound { emergency, at: now, account, until, ..bound.clone() })?;
                until
            }
            (Some(bound), _) => bound.until,
            (None, Some((emergency, horizon))) => {
                if known.is_none() {
                    known = Some(care_link::of_source(tx, source)?);
                }
                let Some(until) = new_limit(link, known.as_deref().unwrap_or_default(), horizon) else {
                    continue;
                };
                let (source, practitioner) = (source.clone(), link.practitioner.clone());
                let state = State::Bound;
                let bound =
                    Bound { source, practitioner, emergency, at: now, account, until, state, decided: None };
                emergency_care::put(tx, &bound)?;
                until
            }
            (None, None) => continue,
        };
        cap(link, end);
    }
    links.retain(|link| link.until.is_none_or(|until| until > now));
    Ok(care_link::set_for_source(tx, source, &links)?)
}

/// Until when care lasts that somebody gives whose own ends at `horizon`; `None` where the resource gave as much before
/// (`known`), which nobody takes back by writing it.
fn new_limit(link: &Link, known: &[Link], horizon: Timestamp) -> Option<Timestamp> {
    let same = |one: &&Link| one.practitioner == link.practitioner && one.patient == link.patient;
    let before = known.iter().find(same).map(|one| one.until.unwrap_or(Timestamp::MAX));
    let most = before.map_or(horizon, |before| before.max(horizon));
    let wanted = link.until.unwrap_or(Timestamp::MAX);
    match before {
        Some(_) if wanted <= most => None,
        _ => Some(wanted.min(most)),
    }
}

/// After a reviewer's decision about what the resource gives: as it stands, within the limits of now.
pub(crate) fn apply_limits(tx: &mut dyn Tx, source: &ResourceKey, now: Timestamp) -> Result<(), Error> {
    let Some(row) = store::resource::load(tx, source)?.filter(|row| !row.deleted) else { return Ok(()) };
    let resource =
        Resource::parse(&row.content).map_err(|o| Error::Internal(format!("stored {source}: {o}")))?;
    let mut links: Vec<Link> = access::care::links(&resource, now).iter().map(link).collect();
    for bound in emergency_care::of_source(tx, source)?.iter().filter(|one| one.state.limits()) {
        for link in links.iter_mut().filter(|link| link.practitioner == bound.practitioner) {
            cap(link, bound.until);
        }
    }
    links.retain(|link| link.until.is_none_or(|until| until > now));
    Ok(care_link::set_for_source(tx, source, &links)?)
}

fn link(link: &CareLink) -> Link {
    Link {
        practitioner: link.practitioner.clone(),
        patient: link.patient.clone(),
        from: link.from,
        until: link.until,
    }
}

fn cap(link: &mut Link, end: Timestamp) {
    link.until = Some(link.until.map_or(end, |until| until.min(end)));
}

/// Who may write this type for every patient gives no care because of an emergency.
fn writes_everywhere(user: &User, source: &ResourceKey) -> bool {
    let class = Class::of(source.kind);
    user.roles.iter().any(|role| {
        let rights = [user.standing.rights(*role, class), matrix::command_rights(*role, class)];
        rights.iter().any(|rights| rights.change == matrix::Reach::Everyone)
    })
}

/// `None` for who is in care otherwise, now or when the emergency is over.
fn horizon(tx: &mut dyn Tx, user: &User, patient: &str, now: Timestamp) -> Result<Horizon, Error> {
    let own = user.practitioner.as_ref().map(|key| key.id.as_str());
    let mut bound = None;
    if let Some(own) = own {
        let (free, by_emergency) = emergency_care::standing(tx, own, patient, now)?;
        if free {
            return Ok(None);
        }
        bound = by_emergency;
    }
    let mut running = None;
    if user.standing.emergencies_at(now).any(|one| one.patient == patient) {
        // What she was let in by may have been closed a moment ago.
        let all = store::emergency::of_patient(tx, patient)?;
        let latest = all.into_iter().find(|one| one.account == user.account);
        running = Some(latest.map_or((Uuid::nil(), now), |one| (one.id, one.ended.unwrap_or(one.until))));
    }
    let Some((emergency, until)) = running.into_iter().chain(bound).max_by_key(|(_, until)| *until) else {
        return Ok(None);
    };
    if let Some(own) = own
        && emergency_care::standing(tx, own, patient, until)?.0
    {
        return Ok(None);
    }
    Ok(Some((emergency, until)))
}
