//! Snapshots for planners, read through `record` with the caller's rights.

use access::{Ctx, policy};
use fhir::{Resource, ResourceKey};
use record::{Error, Record};
use std::collections::{BTreeSet, HashMap};

/// Most ids asked for in one search.
const BATCH: usize = 100;

/// The current version. Errors: `NotFound` if it is not there or not for the caller.
pub async fn needed(record: &Record, ctx: &Ctx, key: &ResourceKey) -> Result<Resource, Error> {
    record.load(ctx, key).await?.map(|(resource, _)| resource).ok_or(Error::NotFound)
}

/// What this request wrote when it was sent before with the same Idempotency-Key: the id of its first resource of this
/// type. Errors: of [Record::replayed].
pub async fn replayed(
    record: &Record,
    ctx: &Ctx,
    command: &'static str,
    kind: &str,
) -> Result<Option<String>, Error> {
    let done = record.replayed(ctx, command).await?;
    Ok(done.and_then(|done| done.written.into_iter().find(|w| w.key.kind.name() == kind).map(|w| w.key.id)))
}

/// Resources of one type by id, as far as the caller may read them.
pub async fn by_id(
    record: &Record,
    ctx: &Ctx,
    kind: &str,
    ids: impl IntoIterator<Item = String>,
) -> Result<HashMap<String, Resource>, Error> {
    if out_of_reach(ctx, kind) {
        return Ok(HashMap::new());
    }
    let ids: Vec<String> = ids.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
    let mut found = HashMap::new();
    for batch in ids.chunks(BATCH) {
        let list = batch.join(",");
        let limit = u32::try_from(batch.len()).unwrap_or(u32::MAX);
        match record.find(ctx, kind, &[("_id", &list)], limit).await {
            Ok(rows) => found.extend(rows.into_iter().filter_map(|(r, _)| Some((r.id()?.to_owned(), r)))),
            // No right on the type at all is the same as no rows: the caller gets a list with less in it.
            Err(Error::Denied) => return Ok(found),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Whether the caller may see no row of this type at all. A list that is composed of several types then does without:
/// asking would fill the audit with refusals of what nobody wanted.
fn out_of_reach(ctx: &Ctx, kind: &str) -> bool {
    fhir::TypeId::from_name(kind).is_some_and(|kind| {
        policy::predicate(ctx, policy::Action::Search, kind) == access::Predicate::Nothing
    })
}

/// All rows that match, or none if the caller has no right on the type.
pub async fn rows(
    record: &Record,
    ctx: &Ctx,
    kind: &str,
    parameters: &[(&str, &str)],
    limit: u32,
) -> Result<Vec<Resource>, Error> {
    if out_of_reach(ctx, kind) {
        return Ok(Vec::new());
    }
    match record.find(ctx, kind, parameters, limit).await {
        Ok(rows) => Ok(rows.into_iter().map(|(resource, _)| resource).collect()),
        Err(Error::Denied) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
