//! From committed changes to numbered events.

use super::{Definition, MAX_SUBSCRIPTIONS, owner};
use crate::read::{holds, rights};
use crate::{Error, Record};
use access::policy::{self, Action};
use access::{Ctx, Predicate};
use fhir::search::{Operand, Params};
use fhir::{Resource, TypeId};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use store::outbox::{self, Event};
use store::subscription::{Interaction, NewEvent, Subscription};
use store::{Tx, resource};

/// Name of the cursor in the outbox; stored.
const CURSOR: &str = "subscriptions";
/// Events looked at in one round.
const BATCH: u32 = 200;
/// Only what a worker that died holds up; the others end theirs with each round.
const LEASE_MS: i64 = 30_000;
/// With nobody subscribed the cursor is brought up this often, so that old events can be removed.
const IDLE_EVERY: SignedDuration = SignedDuration::from_secs(60);
/// Definitions are understood anew after this time: stored topics and search parameters may have changed.
const KEEP: SignedDuration = SignedDuration::from_secs(60);

/// Subscriptions understood, by id and version.
#[derive(Default)]
pub(super) struct Cache {
    known: Mutex<Known>,
    idle_us: AtomicI64,
}

#[derive(Default)]
struct Known {
    since: Option<Timestamp>,
    by_id: HashMap<String, (u32, Option<Arc<Definition>>)>,
}

/// One subscription, ready to be asked.
struct Listener {
    row: Subscription,
    definition: Arc<Definition>,
    ctx: Ctx,
}

/// What one round found: for each subscription its new events.
type Found = Vec<(String, Vec<NewEvent>)>;

impl Record {
    /// Looks at what was committed since the last round and numbers the events of every subscription. One worker of all
    /// servers does it at a time. Returns how many changes it looked at; call again at once while that is more than 0.
    /// Errors: `Busy`, `Internal`; nothing was counted then.
    pub async fn follow_subscriptions(&self, worker: &str) -> Result<usize, Error> {
        let live = self.reading(|tx| Ok(store::subscription::live(tx, 1)?)).await?;
        if live.is_empty() {
            self.idle(worker).await?;
            return Ok(0);
        }
        // Most looks find nothing, and need no write then.
        let is_behind = |tx: &mut dyn Tx| -> Result<bool, Error> {
            let position = outbox::cursors(tx)?.into_iter().find(|(name, _)| name == CURSOR).map(|(_, p)| p);
            Ok(outbox::last(tx)? > position.unwrap_or(-1))
        };
        if !self.reading(is_behind).await? {
            return Ok(0);
        }
        let worker = worker.to_owned();
        let leased = self
            .writing(move |tx| {
                // A subscriber that comes first starts here; what was before it is of no use to it.
                let start = outbox::last(tx)?;
                let Some(lease) = outbox::lease(tx, CURSOR, &worker, LEASE_MS, start)? else {
                    return Ok(None);
                };
                let events = outbox::read(tx, lease.cursor, BATCH)?;
                Ok(Some((lease, events)))
            })
            .await?;
        let Some((lease, events)) = leased else { return Ok(0) };
        let last = events.last().map_or(lease.cursor, |e| e.seq);
        let count = events.len();
        let changes: Vec<Event> = events.into_iter().filter(|e| interaction(&e.topic).is_some()).collect();
        let found = if changes.is_empty() { Vec::new() } else { self.evaluate(changes).await? };
        self.writing(move |tx| {
            for (id, events) in &found {
                store::subscription::append(tx, id, events)?;
            }
            // Lost to another worker: what it counts must not be counted here.
            if !outbox::advance(tx, &lease, last, 0)? {
                return Err(Error::Busy);
            }
            Ok(())
        })
        .await?;
        Ok(count)
    }

    /// Nobody listens: the cursor goes to the end now and then.
    async fn idle(&self, worker: &str) -> Result<(), Error> {
        let now_us = self.now().as_microsecond();
        let last_us = self.inner.subscriptions.definitions.idle_us.load(Ordering::Relaxed);
        if now_us < last_us.saturating_add(i64::try_from(IDLE_EVERY.as_micros()).unwrap_or(i64::MAX)) {
            return Ok(());
        }
        self.inner.subscriptions.definitions.idle_us.store(now_us, Ordering::Relaxed);
        let worker = worker.to_owned();
        self.writing(move |tx| {
            // First the end, then whether somebody listens: whoever begins in between begins behind that end.
            let last = outbox::last(tx)?;
            if store::subscription::live(tx, 1)?.is_empty()
                && let Some(lease) = outbox::lease(tx, CURSOR, &worker, 0, last)?
                && lease.cursor < last
            {
                outbox::advance(tx, &lease, last, 0)?;
            }
            Ok(())
        })
        .await
    }

    async fn evaluate(&self, changes: Vec<Event>) -> Result<Found, Error> {
        // After the events were read, so that whoever subscribed before one of them is among these.
        let rows = self.reading(|tx| Ok(store::subscription::live(tx, MAX_SUBSCRIPTIONS)?)).await?;
        let mut listeners = Vec::new();
        for row in rows {
            if let Some(definition) = self.definition(&row).await? {
                listeners.push((row, definition));
            }
        }
        let (now, params) = (self.now(), self.params());
        self.reading(move |tx| {
            let mut ready = Vec::with_capacity(listeners.len());
            for (row, definition) in listeners {
                if let Some(ctx) = owner::context(tx, &row, now)? {
                    ready.push(Listener { row, definition, ctx });
                }
            }
            let mut found: HashMap<usize, Vec<NewEvent>> = HashMap::new();
            for event in &changes {
                let Some(interaction) = interaction(&event.topic) else { continue };
                let mut subject = Subject {
                    event,
                    interaction,
                    current: None,
                    previous: None,
                    params: params.clone(),
                    now,
                };
                for (n, listener) in ready.iter().enumerate() {
                    if listener.row.start_seq < event.seq && subject.concerns(tx, listener)? {
                        found.entry(n).or_default().push(NewEvent {
                            seq: event.seq,
                            interaction,
                            subject: event.subject.clone(),
                            version: version(event),
                            at: event.created,
                        });
                    }
                }
            }
            Ok(found.into_iter().map(|(n, events)| (ready[n].row.id.clone(), events)).collect())
        })
        .await
    }

    /// What was understood of a subscription counts no more.
    pub(super) fn forget_subscription(&self, id: &str) {
        self.inner.subscriptions.definitions.known.lock().by_id.remove(id);
    }

    /// The subscription understood; `None` if it cannot be any more, e.g. because its topic is gone.
    pub(super) async fn definition(&self, row: &Subscription) -> Result<Option<Arc<Definition>>, Error> {
        let now = self.now();
        {
            let mut known = self.inner.subscriptions.definitions.known.lock();
            let fresh = known.since.and_then(|s| s.checked_add(KEEP).ok()).is_some_and(|until| now < until);
            if !fresh {
                *known = Known { since: Some(now), by_id: HashMap::new() };
            }
            if let Some((version, definition)) = known.by_id.get(&row.id)
                && *version == row.version
            {
                return Ok(definition.clone());
            }
        }
        let id = row.id.clone();
        let loaded = self
            .reading(move |tx| {
                let mut loaded = super::load(tx, &id)?;
                if let Some((resource, _)) = &mut loaded {
                    super::header::fill(tx, resource)?;
                }
                Ok(loaded)
            })
            .await?;
        let Some((resource, version)) = loaded else { return Ok(None) };
        let topics = self.subscription_topics().await?;
        let parsed = Definition::parse(&resource, &self.params(), &topics, &self.subscription_rules());
        let definition = match parsed {
            Ok(mut definition) => {
                self.prepare_watches(&mut definition).await.ok().map(|()| Arc::new(definition))
            }
            Err(_) => None,
        };
        let mut known = self.inner.subscriptions.definitions.known.lock();
        known.by_id.insert(row.id.clone(), (version, definition.clone()));
        Ok(definition)
    }
}

impl Record {
    /// Codes in the place of value sets and hierarchies. Errors: `Malformed` for one that is not known or too large.
    pub(super) async fn prepare_watches(&self, definition: &mut Definition) -> Result<(), Error> {
        let ctx = Ctx::system("subscription", self.now());
        for watch in &mut definition.watches {
            self.prepare_query(&ctx, &mut watch.query).await?;
        }
        Ok(())
    }
}

fn interaction(topic: &str) -> Option<Interaction> {
    match topic {
        "resource.created" => Some(Interaction::Create),
        "resource.updated" => Some(Interaction::Update),
        "resource.deleted" => Some(Interaction::Delete),
        _ => None,
    }
}

fn version(event: &Event) -> u32 {
    event.data.get("version").and_then(serde_json::Value::as_u64).and_then(|v| v.try_into().ok()).unwrap_or(0)
}

/// One change, with what it may need looked up once.
struct Subject<'a> {
    event: &'a Event,
    interaction: Interaction,
    current: Option<Option<Resource>>,
    previous: Option<Option<Resource>>,
    params: Params,
    now: Timestamp,
}

impl Subject<'_> {
    fn concerns(&mut self, tx: &mut dyn Tx, listener: &Listener) -> Result<bool, Error> {
        for watch in &listener.definition.watches {
            if watch.kind != self.event.subject.kind || !watch.interactions.contains(&self.interaction) {
                continue;
            }
            let meets = match self.interaction {
                Interaction::Delete => self.was_readable(tx, &listener.ctx)? && self.named_patient(watch),
                Interaction::Create | Interaction::Update => self.meets(tx, watch, &listener.ctx)?,
            };
            if meets && self.holds(tx, watch)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a search by the owner would find the resource.
    fn meets(&self, tx: &mut dyn Tx, watch: &super::definition::Watch, ctx: &Ctx) -> Result<bool, Error> {
        let id = &self.event.subject.id;
        if !watch.query.ids.is_empty() && !watch.query.ids.contains(id) {
            return Ok(false);
        }
        let predicate = policy::predicate(ctx, Action::Read, watch.kind);
        if predicate == Predicate::Nothing {
            return Ok(false);
        }
        let head = resource::head(tx, &self.event.subject)?;
        let Some(head) = head.filter(|h| !h.deleted) else { return Ok(false) };
        if head.version != version(self.event)
            && let Some(met) = self.met_then(tx, watch, &head.patients, ctx)?
        {
            return Ok(met);
        }
        let mut query = watch.query.clone();
        query.ids = vec![id.clone()];
        let page = store::search::run(tx, &query, &rights(ctx), self.now)?;
        Ok(!page.rows.is_empty())
    }

    /// As [Self::meets], where the resource was changed again since: whether that version met the criteria, which the
    /// index does not know any more. `None` for criteria that only the index can answer; they are asked of what is now.
    fn met_then(
        &self,
        tx: &mut dyn Tx,
        watch: &super::definition::Watch,
        patients: &[String],
        ctx: &Ctx,
    ) -> Result<Option<bool>, Error> {
        let query = &watch.query;
        if !query.conditions.is_empty() || !query.last_updated.is_empty() {
            return Ok(None);
        }
        let key = &self.event.subject;
        let found = resource::read_version(tx, key, version(self.event))?.filter(|v| !v.deleted);
        let Some(then) = found.and_then(|v| Resource::parse(&v.content).ok()) else { return Ok(None) };
        let entries = fhir::search::extract(&self.params, &access::redact::indexable(&then));
        for filter in &query.filters {
            match super::criteria::holds(filter, &entries) {
                Some(true) => {}
                other => return Ok(other),
            }
        }
        let drafts = policy::unreadable_statuses(ctx, key.kind);
        if then.text("status").is_some_and(|status| drafts.contains(&status)) {
            return Ok(Some(false));
        }
        let predicate = policy::predicate(ctx, Action::Read, key.kind);
        Ok(Some(holds(tx, &predicate, key, patients, self.now)?))
    }

    fn was_readable(&self, tx: &mut dyn Tx, ctx: &Ctx) -> Result<bool, Error> {
        let predicate = policy::predicate(ctx, Action::Read, self.event.subject.kind);
        holds(tx, &predicate, &self.event.subject, &self.event.patients, self.now)
    }

    /// A deleted resource has no values left to search by; whose it was is known.
    fn named_patient(&self, watch: &super::definition::Watch) -> bool {
        let query = &watch.query;
        let only_filters = query.conditions.is_empty() && query.last_updated.is_empty();
        let ids = query.ids.is_empty() || query.ids.contains(&self.event.subject.id);
        ids && only_filters
            && query.filters.iter().all(|filter| {
                filter.any.iter().any(|operand| {
                    matches!(operand, Operand::Reference { kinds, id }
                        if kinds.as_slice() == [TypeId::PATIENT] && self.event.patients.contains(id))
                })
            })
    }

    fn holds(&mut self, tx: &mut dyn Tx, watch: &super::definition::Watch) -> Result<bool, Error> {
        let Some(condition) = &watch.condition else { return Ok(true) };
        let version = version(self.event);
        let (key, now) = (&self.event.subject, self.now);
        let at = |tx: &mut dyn Tx, version: u32| -> Result<Option<Resource>, Error> {
            let found = resource::read_version(tx, key, version)?.filter(|v| !v.deleted);
            let found = found.and_then(|v| Resource::parse(&v.content).ok());
            // A subscription must not tell what its owner may not read.
            Ok(found.map(|resource| access::redact::indexable(&resource).into_owned()))
        };
        if self.current.is_none() {
            self.current = Some(at(tx, version)?);
        }
        if self.previous.is_none() {
            self.previous = Some(if version > 1 { at(tx, version - 1)? } else { None });
        }
        let (Some(Some(current)), Some(previous)) = (&self.current, &self.previous) else { return Ok(false) };
        Ok(condition.holds(current.value(), previous.as_ref().map(Resource::value), now))
    }
}
