//! Reading and replacing a practitioner's hours.

use super::{Kind, KindSchedule, Kinds, ProviderSchedule, check, read, write};
use crate::element::{key, version};
use crate::{load as fetch, rule};
use access::{Ctx, Role};
use fhir::{Resource, ResourceKey};
use record::{Change, ChangeSet, Error, Event, Record, Rule};
use serde_json::json;

/// The id of the Schedule: one per practitioner and kind, so that two first writes cannot make two.
fn schedule_id(practitioner: &str, kind: Kind) -> String {
    // Practitioner ids have at most 64 characters; ours have 36.
    let mut id = format!("{}-{}", kind.code(), practitioner);
    id.truncate(64);
    id
}

/// The Schedules of a practitioner that hold rules, by kind.
async fn stored(
    record: &Record,
    ctx: &Ctx,
    practitioner: &str,
) -> Result<Vec<(Kind, KindSchedule, Resource)>, Error> {
    let actor = format!("Practitioner/{practitioner}");
    let found = record.find(ctx, "Schedule", &[("actor", &actor), ("active", "true")], 20).await?;
    Ok(found
        .into_iter()
        .filter_map(|(schedule, _)| read(&schedule).map(|(kind, rules)| (kind, rules, schedule)))
        .collect())
}

/// The rules of one kind; `None` if the practitioner does not offer it.
pub async fn load_kind(
    record: &Record,
    ctx: &Ctx,
    practitioner: &str,
    kind: Kind,
) -> Result<Option<(KindSchedule, ResourceKey)>, Error> {
    let all = stored(record, ctx, practitioner).await?;
    Ok(all
        .into_iter()
        .find(|(k, ..)| *k == kind)
        .and_then(|(_, rules, schedule)| Some((rules, schedule.key()?))))
}

/// `GET providers/{id}/schedule`. Errors: `NotFound`.
pub async fn load(record: &Record, ctx: &Ctx, practitioner: &str) -> Result<ProviderSchedule, Error> {
    fetch::needed(record, ctx, &key("Practitioner", practitioner)).await?;
    let all = stored(record, ctx, practitioner).await?;
    let of = |kind| all.iter().find(|(k, ..)| *k == kind);
    let rules = |kind| of(kind).map_or_else(KindSchedule::closed, |(_, rules, _)| rules.clone());
    let version = Kind::ALL.iter().filter_map(|kind| of(*kind)).map(|(.., s)| version(s)).sum();
    let mut kinds = Kinds { video: rules(Kind::Video), in_person: rules(Kind::InPerson) };
    if !crate::appointment::is_staff(ctx) {
        // Why somebody is away is not for patients.
        for exception in kinds.video.exceptions.iter_mut().chain(&mut kinds.in_person.exceptions) {
            exception.note = None;
        }
    }
    Ok(ProviderSchedule { kinds, version: Some(version) })
}

/// Whether the caller may set this practitioner's hours: front desk, administrators, and herself.
fn may_set(ctx: &Ctx, practitioner: &str) -> bool {
    let own = ctx.user().and_then(|u| u.practitioner.as_ref()).is_some_and(|key| key.id == practitioner);
    own || ctx.has_role(Role::FrontDesk)
        || ctx.has_role(Role::Administrator)
        || matches!(ctx.principal, access::Principal::System(_))
}

/// Plans the new hours. Booked visits stay as they are, also outside the new hours.
///
/// Errors: the rules of [check]; `version-stale` never comes from here (see [put]).
pub fn plan(practitioner: &Resource, old: &[(Kind, Resource)], new: &Kinds) -> Result<ChangeSet, Rule> {
    let mut problems = check(&new.video, "/kinds/video");
    problems.extend(check(&new.in_person, "/kinds/in-person"));
    if let Some(rule) = rule::all(problems) {
        return Err(rule);
    }
    let Some(actor) = practitioner.key() else {
        return Err(Rule::new("provider-unknown", "This practitioner does not exist."));
    };
    let name = crate::view::PersonName::read(practitioner.value()).whole();
    let mut set = ChangeSet::default();
    for kind in Kind::ALL {
        let rules = new.of(kind);
        let before = old.iter().find(|(k, _)| *k == kind).map(|(_, schedule)| schedule);
        if before.and_then(read).is_some_and(|(_, r)| r == *rules) {
            continue;
        }
        let resource = write(before, &schedule_id(&actor.id, kind), &actor, &name, kind, rules);
        set.changes.push(match before {
            Some(before) => Change::Update { resource, if_match: Some(version(before)) },
            None => Change::Create { resource },
        });
    }
    if !set.changes.is_empty() {
        let data = json!({"provider_id": actor.id});
        set.events.push(Event { topic: "schedule.changed", subject: actor, data });
    }
    Ok(set)
}

/// `PUT providers/{id}/schedule`. Errors: `Denied`, `NotFound`, `VersionConflict` if `new.version` is not the current
/// one, `Rule` with every problem of the hours.
pub async fn put(
    record: &Record,
    ctx: &Ctx,
    practitioner: &str,
    new: ProviderSchedule,
) -> Result<ProviderSchedule, Error> {
    if !may_set(ctx, practitioner) {
        return Err(Error::Denied);
    }
    let person = fetch::needed(record, ctx, &key("Practitioner", practitioner)).await?;
    let old: Vec<(Kind, Resource)> = stored(record, ctx, practitioner)
        .await?
        .into_iter()
        .map(|(kind, _, schedule)| (kind, schedule))
        .collect();
    let current: u32 = old.iter().map(|(_, schedule)| version(schedule)).sum();
    if new.version.is_some_and(|given| given != current) {
        return Err(Error::VersionConflict { current: Some(current) });
    }
    let set = plan(&person, &old, &new.kinds).map_err(rule::refuse)?;
    if !set.changes.is_empty() {
        record.command(ctx, "schedule.set", set).await?;
    }
    load(record, ctx, practitioner).await
}
