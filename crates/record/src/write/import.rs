//! Writing what is imported: no caller, no rights, no events; many resources in one transaction.

use super::Put;
use super::apply::{new_version, parse};
use super::prepare::same_content;
use crate::Error;
use crate::import::Taken;
use fhir::ResourceKey;
use fhir::search::{IndexEntry, Params};
use jiff::Timestamp;
use std::collections::HashSet;
use store::{Content, Tx, resource};

/// One resource of an import: new, a new version if the content differs, or unchanged.
pub(crate) fn import_put(
    tx: &mut dyn Tx,
    params: &Params,
    put: &Put,
    now: Timestamp,
) -> Result<Taken, Error> {
    let entries = put.entries(params);
    if let Some(written) = resource::insert(tx, &new_version(put, &put.content, &entries))? {
        crate::rights::derived::after_write(tx, None, put, written.rid, None)?;
        crate::search_parameter::after_write(tx, &put.key, Some(&put.resource), now)?;
        if !put.links.is_empty() {
            super::care::set(tx, &put.key, &put.links)?;
        }
        return Ok(Taken::New);
    }
    let Some(current) = resource::load(tx, &put.key)? else {
        return Ok(Taken::Refused("changed at the same time by somebody else".to_owned()));
    };
    let before = parse(&current)?;
    if before.as_ref().is_some_and(|b| same_content(b.value(), put.resource.value())) {
        return Ok(Taken::Unchanged);
    }
    if let Some(rule) = super::merged::revives(tx, &put.key, before.as_ref(), &put.resource)? {
        return Ok(Taken::Refused(rule.text));
    }
    let mut next = fhir::Resource::clone(&put.resource);
    next.set_version(current.version + 1, now);
    let content = Content::new(&next.to_json());
    let old: Vec<IndexEntry> =
        before.as_ref().map(|r| super::entries::stored_entries(params, r)).unwrap_or_default();
    let mut new = new_version(put, &content, &entries);
    new.last_updated = now;
    match resource::update(tx, current.version, &old, &new)? {
        None => Ok(Taken::Refused("changed at the same time by somebody else".to_owned())),
        Some(written) => {
            crate::rights::derived::after_write(tx, None, put, written.rid, before.as_ref())?;
            crate::search_parameter::after_write(tx, &put.key, Some(&put.resource), now)?;
            super::care::set(tx, &put.key, &put.links)?;
            Ok(Taken::New)
        }
    }
}

/// Those of `keys` that are not there.
pub(crate) fn missing(tx: &mut dyn Tx, keys: &[ResourceKey]) -> Result<HashSet<ResourceKey>, Error> {
    let mut missing = HashSet::new();
    for key in keys {
        if resource::head(tx, key)?.is_none_or(|h| h.deleted) {
            missing.insert(key.clone());
        }
    }
    Ok(missing)
}
