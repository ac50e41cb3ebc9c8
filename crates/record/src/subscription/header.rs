//! The values of `channel.header`, which open other people's doors: kept apart, never in the resource.
//!
//! The resource that is stored, and with it its history, searches, exports and what others read, has `Authorization: ***`
//! in the place of the value. Only a read by the owner gets the values back. Whoever writes the mask keeps the value
//! that is there, if it was his; anybody else must give one of his own.

use super::is_subscription;
use crate::read::Stored;
use crate::{Error, Record};
use access::Ctx;
use fhir::{Issue, IssueCode, Resource};
use serde_json::{Value, json};
use store::Tx;

/// In the place of a value.
const MASK: &str = "***";

/// The headers of one Subscription, as it was written.
#[derive(Debug, Clone)]
pub(crate) struct Headers {
    /// Logical id.
    pub id: String,
    pub values: Vec<String>,
}

fn given(resource: &Resource) -> Vec<String> {
    let list = resource.value().pointer("/channel/header").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn name(header: &str) -> &str {
    header.split_once(':').map_or(header, |(name, _)| name).trim()
}

fn is_masked(header: &str) -> bool {
    header.split_once(':').is_some_and(|(_, value)| value.trim() == MASK)
}

/// Puts `headers` into the resource; none takes the element away.
fn set(resource: &mut Resource, headers: &[String]) {
    let Some(mut channel) = resource.get("channel").cloned() else { return };
    let Some(object) = channel.as_object_mut() else { return };
    if headers.is_empty() {
        object.shift_remove("header");
    } else {
        object.insert("header".to_owned(), json!(headers));
    }
    resource.set("channel", channel);
}

/// Takes the values out of a resource that is to be stored. A resource without headers, or with something else in their
/// place, stays as it is.
pub(super) fn mask(resource: &mut Resource) -> Vec<String> {
    let headers = given(resource);
    if !headers.is_empty() {
        let masked: Vec<String> = headers.iter().map(|h| format!("{}: {MASK}", name(h))).collect();
        set(resource, &masked);
    }
    headers
}

/// An import brings no secrets of another system.
pub(super) fn drop_all(resource: &mut Resource) {
    set(resource, &[]);
}

/// Puts the values back. Nothing happens where none are kept.
pub(super) fn fill(tx: &mut dyn Tx, resource: &mut Resource) -> Result<(), Error> {
    let Some(id) = resource.id().map(str::to_owned) else { return Ok(()) };
    let headers = store::subscription::headers(tx, &id)?;
    if !headers.is_empty() {
        set(resource, &headers);
    }
    Ok(())
}

impl Record {
    /// The values that a client masked, as they are kept, where they are its own. Errors (inner): what it must give anew.
    pub(super) async fn unmask(
        &self,
        ctx: &Ctx,
        resource: &mut Resource,
    ) -> Result<Result<(), Vec<Issue>>, Error> {
        let mut headers = given(resource);
        if !headers.iter().any(|h| is_masked(h)) {
            return Ok(Ok(()));
        }
        let (id, agent) = (resource.id().unwrap_or_default().to_owned(), ctx.principal.agent());
        let kept = self.reading(move |tx| {
            let owned = store::subscription::load(tx, &id)?.is_some_and(|row| row.owner == agent);
            Ok(if owned { store::subscription::headers(tx, &id)? } else { Vec::new() })
        });
        let kept = kept.await?;
        let mut issues = Vec::new();
        for header in headers.iter_mut().filter(|h| is_masked(h)) {
            match kept.iter().find(|k| name(k).eq_ignore_ascii_case(name(header))) {
                Some(value) => header.clone_from(value),
                None => {
                    let text = format!(
                        "Give the value of the header `{}`; only the owner of a subscription keeps it by writing `{MASK}`.",
                        name(header)
                    );
                    issues.push(Issue::error(IssueCode::Value, "Subscription.channel.header", text));
                }
            }
        }
        if issues.is_empty() {
            set(resource, &headers);
            return Ok(Ok(()));
        }
        Ok(Err(issues))
    }

    /// What the owner of a Subscription reads: with the values of its headers. Everybody else, and every other resource,
    /// as stored. Errors: `Busy`, `Internal`.
    pub(crate) async fn with_headers(&self, ctx: &Ctx, stored: Stored) -> Result<Stored, Error> {
        if !is_subscription(stored.key.kind) {
            return Ok(stored);
        }
        let agent = ctx.principal.agent();
        self.reading(move |tx| {
            let owned = store::subscription::load(tx, &stored.key.id)?.is_some_and(|row| row.owner == agent);
            if !owned {
                return Ok(stored);
            }
            let mut resource = stored.parse()?;
            fill(tx, &mut resource)?;
            Ok(Stored { content: resource.to_json().into_bytes().into(), ..stored })
        })
        .await
    }
}
