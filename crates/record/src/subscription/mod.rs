//! Subscriptions: R4's own search criteria and the topics of the backport guide.
//!
//! A Subscription is a resource like any other; its progress (events, deliveries) is `store::subscription`'s. One
//! follower reads the outbox in commit order and numbers the events of every subscription in the same transaction that
//! moves its cursor: [Record::follow_subscriptions]. Deliveries are leased one subscription at a time, so that they
//! stay in order: [Record::due_subscriptions], [Record::next_notification].
//!
//! **Invariant:** an event is counted, and its content delivered, only if the subscription's owner may read the resource
//! at that moment, by the policy.
//! **Invariant:** numbers have no gaps and repeat only in a delivery that is tried again.

mod binding;
mod criteria;
pub mod definition;
mod deliver;
mod follow;
mod header;
mod notify;
mod owner;
mod rules;
pub mod topic;

pub use binding::Bound;
pub use definition::{Channel, Content, Definition, Format};
pub(crate) use header::Headers;

pub use deliver::{Delivery, Due, LEASE, Message, Step};
pub use notify::{Kind, Notice};
pub use rules::{Rules, is_private};
pub use topic::Topic;

use crate::write::{Request, at, same_content};
use crate::{Change, Error, Record, Written};
use access::{Ctx, Principal};
use fhir::{IssueCode, Outcome, Resource, ResourceKey, TypeId};
use parking_lot::RwLock;
use serde_json::{Value, json};
use std::sync::Arc;
use store::Tx;
use store::subscription::State;
use uuid::Uuid;

/// Who changes `Subscription.status`.
const SYSTEM: &str = "subscriptions";
/// Subscriptions that are not off; each costs a look at every change of its types.
pub const MAX_SUBSCRIPTIONS: u32 = 1000;

/// What all clones of a [Record] share.
#[derive(Default)]
pub(crate) struct Shared {
    rules: RwLock<Arc<Rules>>,
    definitions: follow::Cache,
}

pub(crate) fn is_subscription(kind: TypeId) -> bool {
    kind == TypeId::SUBSCRIPTION
}

impl Record {
    /// Sets what the operator allows; at start, before the first request.
    pub fn set_subscription_rules(&self, rules: Rules) {
        *self.inner.subscriptions.rules.write() = Arc::new(rules);
    }

    pub fn subscription_rules(&self) -> Arc<Rules> {
        self.inner.subscriptions.rules.read().clone()
    }

    /// Every topic there is: built in, and stored as Basic. Errors: `Busy`, `Internal`.
    pub async fn subscription_topics(&self) -> Result<Vec<Topic>, Error> {
        let now = self.now();
        let stored = self.reading(move |tx| topic::stored(tx, now)).await?;
        let mut topics = topic::built_in();
        topics.extend(stored.into_iter().filter(|s| s.url.strip_prefix(topic::BASE).is_none()));
        Ok(topics)
    }

    /// Checks the Subscriptions that a request writes, and makes those that are to run `requested`: only the server says
    /// `active` or `error`. Errors: `Invalid` with every problem.
    pub(crate) async fn check_subscriptions(
        &self,
        ctx: &Ctx,
        mut request: Request,
    ) -> Result<Request, Error> {
        let resource = |change: &Change| match change {
            Change::Create { resource } | Change::Update { resource, .. } => is_subscription(resource.kind()),
            Change::Delete { .. } | Change::Patch { .. } | Change::Keep { .. } | Change::Conditional(_) => {
                false
            }
        };
        if ctx.principal == Principal::System(SYSTEM)
            || request.on_behalf
            || !request.changes.iter().any(resource)
        {
            return Ok(request);
        }
        let (topics, params, rules) =
            (self.subscription_topics().await?, self.params(), self.subscription_rules());
        let mut problems = Outcome::default();
        let mut starts = 0;
        for (change, place) in request.changes.iter_mut().zip(&request.places) {
            let creates = matches!(change, Change::Create { .. });
            if let Change::Update { resource, .. } = &change
                && is_subscription(resource.kind())
                && self.is_relabelled(resource).await?
            {
                continue;
            }
            let (Change::Create { resource } | Change::Update { resource, .. }) = change else { continue };
            if !is_subscription(resource.kind()) {
                continue;
            }
            if creates
                && request.command.is_none()
                && resource.id().is_none_or(|id| Uuid::try_parse(id).is_err())
            {
                // The one it would get anyway: its headers are kept under it.
                resource.set_id(&Uuid::now_v7().to_string());
            }
            if let Err(issues) = self.unmask(ctx, resource).await? {
                problems.issues.extend(issues.into_iter().map(|mut issue| {
                    issue.expression = at(place, &issue.expression);
                    issue
                }));
                continue;
            }
            match Definition::parse(resource, &params, &topics, &rules) {
                Ok(definition) if definition.status == State::Off => {}
                Ok(mut definition) => {
                    if let Some(to) = definition.channel.address() {
                        let to = crate::subject::Destination::Endpoint(to);
                        self.check_destination(ctx, "subscription.create", to).await?;
                    }
                    if let Err(Error::Malformed(outcome)) = self.prepare_watches(&mut definition).await {
                        problems.issues.extend(outcome.issues.into_iter().map(|mut issue| {
                            issue.expression = at(place, "Subscription.criteria");
                            issue
                        }));
                    }
                    starts += 1;
                    resource.set("status", json!(State::Requested.code()));
                    resource.set("error", serde_json::Value::Null);
                }
                Err(outcome) => problems.issues.extend(outcome.issues.into_iter().map(|mut issue| {
                    issue.expression = at(place, &issue.expression);
                    issue
                })),
            }
            let id = resource.id().unwrap_or_default().to_owned();
            self.forget_subscription(&id);
            request.headers.push(Headers { id, values: header::mask(resource) });
        }
        if starts > 0 {
            let there = self.reading(|tx| Ok(store::subscription::count(tx)?)).await?;
            if there >= i64::from(MAX_SUBSCRIPTIONS) {
                let text =
                    format!("There are {MAX_SUBSCRIPTIONS} subscriptions already; turn one off first.");
                problems.issues.push(fhir::Issue::error(IssueCode::TooCostly, "Subscription", text));
            }
        }
        if problems.issues.is_empty() { Ok(request) } else { Err(Error::Invalid(problems)) }
    }

    /// Whether this is the stored Subscription with other tags, labels or profiles and nothing else: whoever files it
    /// does not become its eyes.
    async fn is_relabelled(&self, resource: &Resource) -> Result<bool, Error> {
        let Some(id) = resource.id().map(str::to_owned) else { return Ok(false) };
        let stored = self.reading(move |tx| load(tx, &id)).await?;
        Ok(stored.is_some_and(|(stored, _)| {
            is_same_but_meta(&stored, resource) && !same_content(stored.value(), resource.value())
        }))
    }
}

fn is_same_but_meta(a: &Resource, b: &Resource) -> bool {
    let (Some(a), Some(b)) = (a.value().as_object(), b.value().as_object()) else { return false };
    let names = a.keys().chain(b.keys());
    names.filter(|name| *name != "meta").all(|name| a.get(name) == b.get(name))
}

/// Called in the transaction that wrote a resource.
pub(crate) fn after_write(
    tx: &mut dyn Tx,
    ctx: &Ctx,
    done: &Written,
    request: &Request,
) -> Result<(), Error> {
    if !is_subscription(done.key.kind) {
        return Ok(());
    }
    let headers = request.headers.iter().find(|h| h.id == done.key.id);
    if done.unchanged {
        // Only the value of a header is another: the resource does not show it.
        let owner = store::subscription::load(tx, &done.key.id)?.map(|row| row.owner);
        if let Some(headers) = headers.filter(|_| owner == Some(ctx.principal.agent())) {
            store::subscription::keep_headers(tx, &done.key.id, &headers.values)?;
        }
        return Ok(());
    }
    let Some(resource) = &done.resource else { return Ok(store::subscription::remove(tx, &done.key.id)?) };
    let state = resource.text("status").and_then(State::from_code).unwrap_or(State::Off);
    if ctx.principal == Principal::System(SYSTEM) {
        store::subscription::restated(tx, &done.key.id, done.version, state)?;
        return Ok(());
    }
    // Who moves a chart, or files a subscription, does not become its eyes.
    if request.on_behalf {
        return Ok(store::subscription::carried(tx, &done.key.id, done.version)?);
    }
    if headers.is_none() && done.version > 1 {
        let before = store::resource::read_version(tx, &done.key, done.version - 1)?;
        let before = before.filter(|b| !b.deleted).and_then(|b| Resource::parse(&b.content).ok());
        if !before.is_some_and(|before| is_same_but_meta(&before, resource)) {
            // Somebody else wrote it since it was looked at.
            return Err(Error::Busy);
        }
        return Ok(store::subscription::carried(tx, &done.key.id, done.version)?);
    }
    let (owner, scopes) = owner::of(ctx);
    store::subscription::keep_headers(tx, &done.key.id, headers.map_or(&[], |h| &h.values))?;
    let channel = resource.value().pointer("/channel/type").and_then(serde_json::Value::as_str);
    let new = store::subscription::Written {
        id: &done.key.id,
        version: done.version,
        owner: &owner,
        scopes: &scopes,
        state,
        pushed: channel != Some("websocket"),
        seq: done.seq,
    };
    Ok(store::subscription::written(tx, &new)?)
}

/// What an import makes of a Subscription: whoever wrote it is not here, and nobody else may be its eyes. So it comes off
/// and without the secrets of its headers, and rests until a client writes it.
pub(crate) fn at_rest(resource: &mut Resource) {
    if is_subscription(resource.kind()) {
        resource.set("status", json!(State::Off.code()));
        resource.set("error", Value::Null);
        header::drop_all(resource);
    }
}

/// Called in the transaction that imports a resource, before it is written: why it may not be.
pub(crate) fn refuses_import(tx: &mut dyn Tx, ctx: &Ctx, key: &ResourceKey) -> Result<Option<String>, Error> {
    if !is_subscription(key.kind) {
        return Ok(None);
    }
    let in_use = store::subscription::load(tx, &key.id)?
        .is_some_and(|row| row.state != State::Off || row.owner != ctx.principal.agent());
    Ok(in_use.then(|| "this subscription is here already; only a client changes it, over the API".to_owned()))
}

/// Called in the transaction that imported a resource.
pub(crate) fn after_import(
    tx: &mut dyn Tx,
    ctx: &Ctx,
    resource: &Resource,
    version: u32,
) -> Result<(), Error> {
    let Some(id) = resource.id().filter(|_| is_subscription(resource.kind())) else { return Ok(()) };
    let channel = resource.value().pointer("/channel/type").and_then(Value::as_str);
    let new = store::subscription::Written {
        id,
        version,
        owner: &ctx.principal.agent(),
        scopes: "",
        state: State::Off,
        pushed: channel != Some("websocket"),
        seq: store::outbox::last(tx)?,
    };
    Ok(store::subscription::written(tx, &new)?)
}

/// The resource behind a subscription, at the version that is current.
fn load(tx: &mut dyn Tx, id: &str) -> Result<Option<(Resource, u32)>, Error> {
    let key = fhir::ResourceKey::new(TypeId::SUBSCRIPTION, id);
    let Some(row) = store::resource::load(tx, &key)?.filter(|row| !row.deleted) else { return Ok(None) };
    let resource =
        Resource::parse(&row.content).map_err(|o| Error::Internal(format!("stored {key}: {o}")))?;
    Ok(Some((resource, row.version)))
}
