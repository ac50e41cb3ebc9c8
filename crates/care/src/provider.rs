//! Who can be visited: practitioners with specialties, languages, kinds, prices and free times.

use crate::clinic::Clinic;
use crate::element::{self, array, coding, first_coding, key, target_id, text};
use crate::schedule::{self, Kind, KindSchedule};
use crate::slot::{self, Availability, FreeDay, Span};
use crate::view::{Coded, Money, Page, PersonName};
use crate::vocabulary::PRICE;
use crate::{appointment, load, rule};
use access::Ctx;
use fhir::search::fold;
use fhir::{Resource, ResourceKey};
use jiff::SignedDuration;
use jiff::civil::Date;
use record::{Error, Record, Rule};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use utoipa::ToSchema;

/// Practitioners of one house that are looked at.
const ROLES_MAX: u32 = 1_000;
const SCHEDULES_MAX: u32 = 2_000;
const PRICES_MAX: u32 = 1_000;
/// Days of claims read to find the next free time.
const LOOK_AHEAD_DAYS: i64 = 21;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProviderName {
    pub given: String,
    pub family: String,
    pub prefix: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NextFree {
    pub kind: Kind,
    pub start: String,
}

/// Price of a visit by kind; absent where the kind has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fees {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video: Option<Money>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_person: Option<Money>,
}

/// Somebody who can be visited.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Provider {
    pub id: String,
    pub name: ProviderName,
    pub specialties: Vec<Coded>,
    /// BCP-47
    pub languages: Vec<String>,
    pub kinds: Vec<Kind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub photo_url: Option<String>,
    pub next_free: Vec<NextFree>,
    pub fee: Fees,
}

/// What to look for; empty fields do not restrict.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub specialty: Option<String>,
    pub language: Option<String>,
    pub kind: Option<Kind>,
    /// Part of the name, any case, accents or not.
    pub name: Option<String>,
}

/// What the directory knows: read once per request.
struct Directory {
    practitioners: HashMap<String, Resource>,
    specialties: BTreeMap<String, Vec<Coded>>,
    schedules: HashMap<String, Vec<(Kind, KindSchedule)>>,
    prices: HashMap<String, Money>,
}

fn specialties_of(role: &Resource) -> Vec<Coded> {
    array(role.value(), "specialty")
        .iter()
        .filter_map(|s| first_coding(s))
        .map(|(code, display)| Coded { code: code.to_owned(), display: display.to_owned() })
        .collect()
}

async fn directory(record: &Record, ctx: &Ctx, only: Option<&str>) -> Result<Directory, Error> {
    let who = only.map(|id| format!("Practitioner/{id}"));
    let mut of_role: Vec<(&str, &str)> = vec![("active", "true")];
    let mut of_schedule: Vec<(&str, &str)> = vec![("active", "true")];
    if let Some(who) = &who {
        of_role.push(("practitioner", who));
        of_schedule.push(("actor", who));
    }
    let mut specialties: BTreeMap<String, Vec<Coded>> = BTreeMap::new();
    for role in load::rows(record, ctx, "PractitionerRole", &of_role, ROLES_MAX).await? {
        let Some(id) = role.get("practitioner").and_then(|r| target_id(r, "Practitioner")) else { continue };
        let known = specialties.entry(id).or_default();
        for specialty in specialties_of(&role) {
            if !known.contains(&specialty) {
                known.push(specialty);
            }
        }
    }
    let mut schedules: HashMap<String, Vec<(Kind, KindSchedule)>> = HashMap::new();
    for schedule in load::rows(record, ctx, "Schedule", &of_schedule, SCHEDULES_MAX).await? {
        let actor = array(schedule.value(), "actor").iter().find_map(|a| target_id(a, "Practitioner"));
        if let (Some(actor), Some(rules)) = (actor, schedule::read(&schedule)) {
            schedules.entry(actor).or_default().push(rules);
        }
    }
    let mut ids: Vec<String> = specialties.keys().cloned().collect();
    ids.extend(only.map(str::to_owned));
    let mut practitioners = load::by_id(record, ctx, "Practitioner", ids).await?;
    practitioners.retain(|_, p| p.get("active") != Some(&serde_json::Value::Bool(false)));
    Ok(Directory { practitioners, specialties, schedules, prices: prices(record, ctx).await? })
}

/// Active prices by code.
async fn prices(record: &Record, ctx: &Ctx) -> Result<HashMap<String, Money>, Error> {
    let rows = load::rows(record, ctx, "ChargeItemDefinition", &[("status", "active")], PRICES_MAX).await?;
    Ok(rows.iter().filter_map(price).collect())
}

fn price(definition: &Resource) -> Option<(String, Money)> {
    let value = definition.value();
    let code = coding(value.get("code")?, PRICE).map(|(code, _)| code).or_else(|| definition.id())?;
    let group = array(value, "propertyGroup").first()?;
    let base = array(group, "priceComponent").iter().find(|c| text(c, "/type") == Some("base"))?;
    Some((code.to_owned(), Money::read(base.get("amount")?)?))
}

/// `visit-<kind>-<specialty>` of the first specialty that has a price, else `visit-<kind>`.
fn fee_of(kind: Kind, specialties: &[Coded], prices: &HashMap<String, Money>) -> Option<Money> {
    let own = specialties.iter().find_map(|s| prices.get(&format!("visit-{}-{}", kind.code(), s.code)));
    own.or_else(|| prices.get(&format!("visit-{}", kind.code()))).cloned()
}

/// What a visit of this kind costs with this practitioner; `None` without a price.
pub(crate) async fn fee(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    practitioner: &str,
    kind: Kind,
) -> Result<Option<Money>, Error> {
    let who = format!("Practitioner/{practitioner}");
    let parameters = [("practitioner", who.as_str()), ("active", "true")];
    let roles = load::rows(record, ctx, "PractitionerRole", &parameters, 20).await?;
    let specialties: Vec<Coded> = roles.iter().flat_map(specialties_of).collect();
    let fee = fee_of(kind, &specialties, &prices(record, ctx).await?);
    Ok(fee.filter(|money| money.currency == clinic.currency))
}

/// `GET specialties`: those of practitioners who can be visited, by name.
pub async fn specialties(record: &Record, ctx: &Ctx) -> Result<Vec<Coded>, Error> {
    let directory = directory(record, ctx, None).await?;
    let mut all: Vec<Coded> = Vec::new();
    for (id, specialties) in &directory.specialties {
        if directory.practitioners.contains_key(id) && directory.schedules.contains_key(id) {
            all.extend(
                specialties
                    .iter()
                    .filter(|s| !all.iter().any(|a| a.code == s.code))
                    .cloned()
                    .collect::<Vec<_>>(),
            );
        }
    }
    all.sort_by(|a, b| a.display.cmp(&b.display));
    Ok(all)
}

fn languages(practitioner: &Resource) -> Vec<String> {
    array(practitioner.value(), "communication")
        .iter()
        .filter_map(|c| first_coding(c).or_else(|| c.get("language").and_then(first_coding)))
        .map(|(code, _)| code.to_owned())
        .collect()
}

/// The view without free times.
fn view(directory: &Directory, id: &str, clinic: &Clinic) -> Option<Provider> {
    let practitioner = directory.practitioners.get(id)?;
    let specialties = directory.specialties.get(id).cloned().unwrap_or_default();
    let name = PersonName::read(practitioner.value());
    let offered = |kind| {
        let all = directory.schedules.get(id).map_or(&[][..], Vec::as_slice);
        all.iter().any(|(k, rules)| {
            *k == kind && (!rules.weekly.is_empty() || rules.exceptions.iter().any(|e| e.available))
        })
    };
    let fee = |kind| {
        fee_of(kind, &specialties, &directory.prices).filter(|money| money.currency == clinic.currency)
    };
    Some(Provider {
        id: id.to_owned(),
        name: ProviderName {
            given: name.given,
            family: name.family,
            prefix: name.prefix.unwrap_or_default(),
        },
        languages: languages(practitioner),
        kinds: Kind::ALL.into_iter().filter(|kind| offered(*kind)).collect(),
        photo_url: text(practitioner.value(), "/photo/0/url").map(str::to_owned),
        next_free: Vec::new(),
        fee: Fees { video: fee(Kind::Video), in_person: fee(Kind::InPerson) },
        specialties,
    })
}

fn fits(provider: &Provider, filter: &Filter) -> bool {
    let same = |wanted: &Option<String>, all: &[String]| wanted.as_ref().is_none_or(|w| all.contains(w));
    let codes: Vec<String> = provider.specialties.iter().map(|s| s.code.clone()).collect();
    let name = &provider.name;
    let whole = fold(&format!("{} {} {}", name.prefix, name.given, name.family));
    let named =
        filter.name.as_ref().is_none_or(|wanted| fold(wanted).split_whitespace().all(|w| whole.contains(w)));
    same(&filter.specialty, &codes)
        && same(&filter.language, &provider.languages)
        && filter.kind.is_none_or(|kind| provider.kinds.contains(&kind))
        && named
}

async fn busy(record: &Record, ctx: &Ctx, ids: &[String]) -> Result<HashMap<String, Vec<Span>>, Error> {
    let actors: Vec<ResourceKey> = ids.iter().map(|id| key("Practitioner", id.as_str())).collect();
    let from = ctx.now.checked_sub(SignedDuration::from_hours(24)).unwrap_or(ctx.now);
    let until = ctx.now.checked_add(SignedDuration::from_hours(24 * LOOK_AHEAD_DAYS)).unwrap_or(ctx.now);
    record
        .store_read(move |tx| {
            let mut all = HashMap::new();
            for actor in actors {
                let spans = store::claim::busy(tx, &actor, from, until)?;
                let spans = spans.into_iter().map(|s| Span { start: s.start, end: s.end }).collect();
                all.insert(actor.id, spans);
            }
            Ok(all)
        })
        .await
}

fn next_free(provider: &mut Provider, directory: &Directory, taken: &[Span], clinic: &Clinic, ctx: &Ctx) {
    let until = ctx.now.checked_add(SignedDuration::from_hours(24 * LOOK_AHEAD_DAYS)).unwrap_or(ctx.now);
    for (kind, rules) in directory.schedules.get(&provider.id).into_iter().flatten() {
        let free = slot::next_free(rules, &clinic.zone, ctx.now, ctx.now, taken, 1);
        // Beyond what was read of the claims nothing is promised.
        let free = free.first().filter(|span| span.end <= until);
        provider
            .next_free
            .extend(free.map(|span| NextFree { kind: *kind, start: element::written(span.start) }));
    }
    provider.next_free.sort_by(|a, b| a.start.cmp(&b.start));
}

/// `GET providers`: who is free first comes first. Errors: `Rule` `cursor-invalid`.
pub async fn list(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    filter: &Filter,
    limit: u32,
    cursor: Option<&str>,
) -> Result<Page<Provider>, Error> {
    let start: usize = match cursor {
        None => 0,
        Some(cursor) => cursor.parse().map_err(|_| {
            rule::refuse(Rule::new("cursor-invalid", "This cursor is not from this list.").at("cursor"))
        })?,
    };
    let directory = directory(record, ctx, None).await?;
    let mut all: Vec<Provider> = directory
        .specialties
        .keys()
        .filter_map(|id| view(&directory, id, clinic))
        .filter(|provider| !provider.kinds.is_empty() && fits(provider, filter))
        .collect();
    let ids: Vec<String> = all.iter().map(|p| p.id.clone()).collect();
    let busy = busy(record, ctx, &ids).await?;
    for provider in &mut all {
        let taken = busy.get(&provider.id).cloned().unwrap_or_default();
        next_free(provider, &directory, &taken, clinic, ctx);
    }
    let first = |provider: &Provider| {
        let wanted = provider.next_free.iter().find(|free| filter.kind.is_none_or(|kind| kind == free.kind));
        wanted.map_or_else(|| "~".to_owned(), |free| free.start.clone())
    };
    all.sort_by_cached_key(|p| (first(p), p.name.family.clone(), p.name.given.clone(), p.id.clone()));
    let count = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = all.len() > start.saturating_add(count);
    let items = all.into_iter().skip(start).take(count).collect();
    Ok(Page { items, next: more.then(|| (start + count).to_string()) })
}

/// `GET providers/{id}`. Errors: `NotFound`.
pub async fn get(record: &Record, ctx: &Ctx, clinic: &Clinic, id: &str) -> Result<Provider, Error> {
    let directory = directory(record, ctx, Some(id)).await?;
    let mut provider = view(&directory, id, clinic).ok_or(Error::NotFound)?;
    let busy = busy(record, ctx, &[id.to_owned()]).await?;
    let taken = busy.get(id).cloned().unwrap_or_default();
    next_free(&mut provider, &directory, &taken, clinic, ctx);
    Ok(provider)
}

/// `GET providers/{id}/availability`: free times from a date of the clinic on. A patient's own visits are taken out.
///
/// Errors: `NotFound`; `Rule` `days-invalid`.
pub async fn availability(
    record: &Record,
    ctx: &Ctx,
    clinic: &Clinic,
    id: &str,
    kind: Kind,
    from: Option<Date>,
    days: u16,
) -> Result<Availability, Error> {
    if days == 0 || days > slot::DAYS_MAX {
        return Err(rule::refuse(Rule::new("days-invalid", "Ask for 1 to 31 days.").at("days")));
    }
    let practitioner = key("Practitioner", id);
    load::needed(record, ctx, &practitioner).await?;
    let rules = schedule::load_kind(record, ctx, id, kind)
        .await?
        .map_or_else(KindSchedule::closed, |(rules, _)| rules);
    let today = ctx.now.to_zoned(clinic.zone.clone()).date();
    let from = from.unwrap_or(today);
    let around = from.to_zoned(clinic.zone.clone()).map_or(ctx.now, |zoned| zoned.timestamp());
    let mut taken = appointment::taken(record, &practitioner, around, None).await?;
    if let Some(patient) = ctx.user().and_then(|user| user.patient.clone()) {
        taken.extend(appointment::taken(record, &patient, around, None).await?);
    }
    let free = slot::free(&rules, &clinic.zone, from, days, ctx.now, &taken);
    Ok(Availability {
        timezone: clinic.zone_name(),
        slot_minutes: rules.slot_minutes,
        kind,
        days: free
            .into_iter()
            .map(|(date, slots)| FreeDay {
                date: date.to_string(),
                slots: slots.into_iter().map(Into::into).collect(),
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_price_of_the_specialty_goes_before_the_general_one() {
        let definition = |code: &str, value: &str| {
            Resource::from_value(
                json!({"resourceType": "ChargeItemDefinition", "id": code, "status": "active",
                "code": {"coding": [{"system": PRICE, "code": code}]},
                "propertyGroup": [{"priceComponent": [{"type": "base", "amount":
                    {"value": element::decimal(value), "currency": "KES"}}]}]}),
            )
            .unwrap()
        };
        let prices: HashMap<String, Money> =
            [definition("visit-video", "800"), definition("visit-video-1", "1000.50")]
                .iter()
                .filter_map(price)
                .collect();
        let specialty = |code: &str| Coded { code: code.into(), display: code.into() };
        for (kind, specialties, expected) in [
            (Kind::Video, vec![specialty("1")], Some(100_050)),
            (Kind::Video, vec![specialty("2"), specialty("1")], Some(100_050)),
            (Kind::Video, vec![specialty("2")], Some(80_000)),
            (Kind::InPerson, vec![specialty("1")], None),
        ] {
            assert_eq!(fee_of(kind, &specialties, &prices).map(|m| m.amount_minor), expected);
        }
    }
}
