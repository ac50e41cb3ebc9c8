//! What a write leaves beside the resource for the policy: its seals, keys to them, the rules of a consent.

use crate::Error;
use crate::write::Put;
use access::{Ctx, Principal, Role, Seals};
use fhir::{Resource, ResourceKey, TypeId};
use std::collections::BTreeSet;
use store::Tx;
use store::sealed::KeyHolder;

/// Resources that a sealed row refers to and whose people are looked at.
const MAX_LOOKED_AT: usize = 20;

/// Who writes.
#[derive(Clone, Copy)]
pub(crate) struct Writer<'a> {
    pub ctx: &'a Ctx,
    /// She does not see what is sealed in it: it was put back for her, and writing the rest opens nothing.
    pub blind: bool,
}

/// After a new version. `writer` `None`: an import.
pub(crate) fn after_write(
    tx: &mut dyn Tx,
    writer: Option<Writer<'_>>,
    put: &Put,
    rid: i64,
    before: Option<&Resource>,
) -> Result<(), Error> {
    let own = put.seals.with(put.parts);
    // Rules that changed seal a row before its labels say so.
    let was = before.map(|b| Seals::of(b).with(access::redact::parts(b))).unwrap_or_default();
    let marked = before.is_some() && !store::sealed::of(tx, &put.key)?.0.is_none();
    if !own.is_none() || !was.is_none() || marked {
        let holders = if own.is_none() { Vec::new() } else { holders(tx, writer, put)? };
        store::sealed::set_parts(tx, rid, put.seals, put.parts, &put.patients, &holders)?;
    }
    if !put.seals.is_none() {
        store::sealed::veil_referrers(tx, &put.key)?;
    }
    let refers = super::veil::refers_to_sealed(tx, put.targets.iter().map(|(_, key)| key))?;
    if refers || !put.parts.is_none() || before.is_some() {
        store::sealed::set_veiled(tx, rid, put.parts, refers)?;
    }
    if put.key.kind.name() == "Consent" {
        store::consent::set_for_source(tx, &put.key, &put.patients, &put.rules)?;
    }
    Ok(())
}

/// A deleted consent says nothing any more; a deleted row stays sealed.
pub(crate) fn after_delete(tx: &mut dyn Tx, key: &ResourceKey) -> Result<(), Error> {
    if key.kind.name() == "Consent" {
        store::consent::set_for_source(tx, key, &[], &[])?;
    }
    Ok(())
}

/// Types that put people in charge of a patient: being named in one that is sealed opens what it is sealed as.
fn gives_care(kind: TypeId) -> bool {
    matches!(
        kind.name(),
        "Appointment" | "Encounter" | "CareTeam" | "ServiceRequest" | "EpisodeOfCare" | "CarePlan"
    )
}

fn holders(tx: &mut dyn Tx, writer: Option<Writer<'_>>, put: &Put) -> Result<Vec<KeyHolder>, Error> {
    let practitioner = TypeId::from_name("Practitioner");
    let is_person = |key: &ResourceKey| Some(key.kind) == practitioner;
    let mut named: BTreeSet<String> =
        put.targets.iter().filter(|(_, key)| is_person(key)).map(|(_, key)| key.id.clone()).collect();
    let own =
        writer.and_then(|w| w.ctx.user()).and_then(|u| u.practitioner.as_ref()).map(|key| key.id.clone());
    let blind = writer.is_some_and(|w| w.blind);
    let vouched = !blind && gives_care(put.key.kind) && vouches(tx, writer.map(|w| w.ctx), put)?;
    let mut whole: BTreeSet<String> = BTreeSet::new();
    if vouched {
        // Nobody opens a category to herself by writing her own name.
        whole = named.iter().filter(|id| own.as_ref() != Some(*id)).cloned().collect();
    }
    // Whoever ordered it or holds the visit sees what came of it.
    for (_, target) in put.targets.iter().filter(|(_, key)| gives_care(key.kind)).take(MAX_LOOKED_AT) {
        let Some(row) = store::resource::load(tx, target)?.filter(|row| !row.deleted) else { continue };
        if !row.patients.iter().any(|patient| put.patients.contains(patient)) {
            continue;
        }
        if let Ok(resource) = Resource::parse(&row.content) {
            named.extend(people(&resource).into_iter().filter(is_person).map(|key| key.id));
        }
    }
    match own {
        Some(own) if blind => {
            named.remove(&own);
        }
        own => named.extend(own),
    }
    Ok(named
        .into_iter()
        .map(|practitioner| KeyHolder { whole: whole.contains(&practitioner), practitioner })
        .collect())
}

fn people(resource: &Resource) -> Vec<ResourceKey> {
    let local = |(_, reference)| match reference {
        fhir::Reference::Local { key, .. } => Some(key),
        _ => None,
    };
    fhir::search::references(resource).into_iter().filter_map(local).collect()
}

/// Whether the writer may open these categories to others: who has them open, and who plans care without reading it.
fn vouches(tx: &mut dyn Tx, writer: Option<&Ctx>, put: &Put) -> Result<bool, Error> {
    let Some(ctx) = writer else { return Ok(true) };
    match &ctx.principal {
        Principal::System(_) => Ok(true),
        Principal::Anonymous => Ok(false),
        Principal::Client { scopes, .. } => {
            let open = access::ScopeSet::parse_known(scopes.iter().map(String::as_str)).seals();
            Ok(open.has_all(put.seals.with(put.parts)))
        }
        Principal::User(user) => {
            let plans = [Role::Patient, Role::FrontDesk, Role::PrivacyOfficer];
            if user.roles.iter().any(|role| plans.contains(role)) {
                return Ok(true);
            }
            let Some(own) = &user.practitioner else { return Ok(false) };
            for patient in &put.patients {
                if !store::sealed::whole_keys(tx, &own.id, patient)?.has_all(put.seals.with(put.parts)) {
                    return Ok(false);
                }
            }
            Ok(!put.patients.is_empty())
        }
    }
}
