//! One subscription's next delivery, in order, until nothing is left to do.

use super::notify::{self, Kind};
use super::{Channel, Content, Definition, Format, SYSTEM, owner};
use crate::{Change, ChangeSet, Error, Record};
use access::Ctx;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use store::subscription::{Interaction, State, Subscription};

/// How long one worker has one subscription; each delivery begins it anew. Longer than a receiver may take.
pub const LEASE: Duration = Duration::from_secs(45);
/// Longest wait between two tries, seconds.
const MAX_WAIT_S: i64 = 60 * 60;

/// A subscription leased by this worker.
#[derive(Debug, Clone)]
pub struct Due {
    row: Subscription,
}

impl Due {
    /// Logical id of the Subscription.
    pub fn id(&self) -> &str {
        &self.row.id
    }
}

/// What is to be sent.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// An empty POST.
    Ping,
    /// R4's own kind with a payload: the endpoint is a FHIR base. `path` is `Type/id`.
    Put {
        path: String,
        mime: &'static str,
        body: String,
    },
    Delete {
        path: String,
    },
    /// A notification Bundle.
    Post {
        mime: &'static str,
        body: String,
    },
}

/// One delivery, to be sent once.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub channel: Channel,
    pub message: Message,
    pub kind: Kind,
    /// Time the receiver has.
    pub timeout: Duration,
    /// Numbers of the first and the last event in it, for the text of an e-mail.
    pub events: Option<(i64, i64)>,
}

#[derive(Debug, Clone)]
pub enum Step {
    /// Nothing to do now; the lease is given back.
    Done,
    Send(Box<Delivery>),
}

impl Record {
    /// Takes up to `limit` subscriptions that have something to be done. Errors: `Busy`, `Internal`.
    pub async fn due_subscriptions(&self, limit: u32) -> Result<Vec<Due>, Error> {
        // Most looks find nothing, and need no write then.
        if !self.reading(|tx| Ok(store::subscription::is_due(tx)?)).await? {
            return Ok(Vec::new());
        }
        let lease_ms = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
        let rows = self.writing(move |tx| Ok(store::subscription::lease(tx, limit, lease_ms)?)).await?;
        Ok(rows.into_iter().map(|row| Due { row }).collect())
    }

    /// What comes next for it. Changes of status are made here. Errors: `Busy`, `Internal`; the lease runs out then.
    pub async fn next_notification(&self, due: &mut Due, base: &str) -> Result<Step, Error> {
        let Some(definition) = self.definition(&due.row).await? else {
            return self.turn(due, State::Error).await;
        };
        let now = self.now();
        if definition.end.is_some_and(|end| end <= now) && due.row.state != State::Off {
            return self.turn(due, State::Off).await;
        }
        match due.row.state {
            State::Error | State::Off => self.give_back(due, None).await,
            State::Requested if definition.needs_handshake() => {
                let body =
                    notify::bundle(base, &due.row, &definition, State::Requested, Kind::Handshake, &[], now);
                Ok(Step::Send(Box::new(post(&definition, &body, Kind::Handshake, None)?)))
            }
            State::Requested => self.turn(due, State::Active).await,
            State::Active => self.next_active(due, &definition, base).await,
        }
    }

    async fn next_active(
        &self,
        due: &mut Due,
        definition: &Arc<Definition>,
        base: &str,
    ) -> Result<Step, Error> {
        let (now, row, content) = (self.now(), due.row.clone(), definition.content);
        if definition.is_pushed() && row.events > row.delivered {
            let most = if definition.topic.is_some() { definition.max_count } else { 1 };
            let lens = self.lens().await?;
            let looked = self
                .reading(move |tx| {
                    let Some(ctx) = owner::context(tx, &row, now)? else { return Ok(None) };
                    let events =
                        store::subscription::events(tx, &row.id, row.delivered + 1, row.events, most)?;
                    let last = events.last().map_or(row.events, |e| e.number);
                    let shown = notify::show(tx, (&ctx, &lens), events, content, now)?;
                    Ok(Some((ctx, shown, last)))
                })
                .await?;
            let Some((ctx, shown, last)) = looked else {
                // The owner is gone: nobody is left to tell.
                return self.turn(due, State::Error).await;
            };
            let Some(first) = shown.first().map(|s| s.event.number) else {
                // Too old to be kept: they count as delivered.
                return self.after(due, last).await;
            };
            self.audit_notice(&ctx, &due.row.id, &shown).await?;
            let events = Some((first, last));
            let delivery = match (&definition.topic, &definition.channel) {
                (None, Channel::RestHook { .. }) => match plain(definition, &shown[0])? {
                    Some(message) => delivery(definition, message, Kind::Events, events),
                    None => return self.after(due, last).await,
                },
                _ => {
                    let body =
                        notify::bundle(base, &due.row, definition, State::Active, Kind::Events, &shown, now);
                    post(definition, &body, Kind::Events, events)?
                }
            };
            return Ok(Step::Send(Box::new(delivery)));
        }
        let heartbeat =
            definition.heartbeat_s.and_then(|s| i64::try_from(s).ok()).filter(|_| definition.is_pushed());
        let silent_s = now.duration_since(due.row.sent).as_secs();
        if heartbeat.is_some_and(|s| silent_s >= s) {
            let body = notify::bundle(base, &due.row, definition, State::Active, Kind::Heartbeat, &[], now);
            return Ok(Step::Send(Box::new(post(definition, &body, Kind::Heartbeat, None)?)));
        }
        let until_end = definition.end.map(|end| end.duration_since(now).as_secs().max(0) + 1);
        let until_beat = heartbeat.map(|s| (s - silent_s).max(1));
        let wait_s = [until_end, until_beat].into_iter().flatten().min();
        self.give_back(due, wait_s).await
    }

    /// The receiver has it. Returns false if there is nothing more to do for now, or the lease was lost.
    /// Errors: `Busy`, `Internal`; it will be sent again.
    pub async fn notification_sent(&self, due: &mut Due, delivery: &Delivery) -> Result<bool, Error> {
        let last = delivery.events.map_or(0, |(_, last)| last);
        if delivery.kind == Kind::Handshake {
            // The change of status makes it due again.
            self.advance(due, last).await?;
            self.turn(due, State::Active).await?;
            return Ok(false);
        }
        self.advance(due, last).await
    }

    /// It could not be delivered. `reason` is for the operator and carries nothing of the message. Errors: `Busy`,
    /// `Internal`.
    pub async fn notification_failed(&self, due: &Due, reason: &str) -> Result<(), Error> {
        let rules = self.subscription_rules();
        let doubled = i64::from(rules.retry_s) << due.row.failures.min(20);
        let (id, token, text, wait_s) =
            (due.row.id.clone(), due.row.token, reason.to_owned(), doubled.min(MAX_WAIT_S));
        let failures =
            self.writing(move |tx| Ok(store::subscription::failed(tx, &id, token, &text, wait_s)?)).await?;
        if failures.is_some_and(|n| n >= rules.max_failures.max(1)) {
            tracing::warn!(subscription = %due.row.id, reason, "a subscription failed too often and is in error");
            self.restate(&due.row, State::Error).await?;
        }
        Ok(())
    }

    /// Gives the lease back with everything as it is, at the end of the program. Errors: `Busy`, `Internal`.
    pub async fn leave_subscription(&self, due: &Due) -> Result<(), Error> {
        let (id, token) = (due.row.id.clone(), due.row.token);
        self.writing(move |tx| Ok(store::subscription::end_lease(tx, &id, token)?)).await
    }

    /// Events up to `last` count as delivered; false if the lease was lost.
    async fn advance(&self, due: &mut Due, last: i64) -> Result<bool, Error> {
        let (id, token) = (due.row.id.clone(), due.row.token);
        let lease_ms = i64::try_from(LEASE.as_millis()).unwrap_or(i64::MAX);
        // The same clock as that which says when a heartbeat is due.
        let sent = self.now();
        let row = self
            .writing(move |tx| Ok(store::subscription::delivered(tx, &id, token, last, sent, lease_ms)?))
            .await?;
        match row {
            Some(row) => {
                due.row = row;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// [Self::advance] without a message; the next look is at what follows.
    async fn after(&self, due: &mut Due, last: i64) -> Result<Step, Error> {
        self.advance(due, last).await?;
        self.give_back(due, None).await
    }

    /// Another status; whoever looks next goes on from there.
    async fn turn(&self, due: &Due, state: State) -> Result<Step, Error> {
        self.restate(&due.row, state).await?;
        let (id, token) = (due.row.id.clone(), due.row.token);
        self.writing(move |tx| Ok(store::subscription::end_lease(tx, &id, token)?)).await?;
        Ok(Step::Done)
    }

    async fn give_back(&self, due: &Due, wait_s: Option<i64>) -> Result<Step, Error> {
        let (id, token) = (due.row.id.clone(), due.row.token);
        self.writing(move |tx| Ok(store::subscription::release(tx, &id, token, wait_s)?)).await?;
        Ok(Step::Done)
    }

    /// Writes the status into the resource. If a client changed it meanwhile, that stands.
    async fn restate(&self, row: &Subscription, state: State) -> Result<(), Error> {
        let id = row.id.clone();
        let Some((mut resource, version)) = self.reading(move |tx| super::load(tx, &id)).await? else {
            return Ok(());
        };
        if version != row.version || resource.text("status") == Some(state.code()) {
            return Ok(());
        }
        resource.set("status", json!(state.code()));
        let error = if state == State::Error { json!(notify::ERROR) } else { serde_json::Value::Null };
        resource.set("error", error);
        let changes = vec![Change::Update { resource, if_match: Some(version) }];
        let set = ChangeSet { changes, ..ChangeSet::default() };
        match self.command(&Ctx::system(SYSTEM, self.now()), "subscription.status", set).await {
            Ok(_) | Err(Error::VersionConflict { .. } | Error::NotFound | Error::Gone) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn delivery(definition: &Definition, message: Message, kind: Kind, events: Option<(i64, i64)>) -> Delivery {
    Delivery {
        channel: definition.channel.clone(),
        message,
        kind,
        timeout: Duration::from_secs(definition.timeout_s),
        events,
    }
}

fn post(
    definition: &Definition,
    body: &serde_json::Value,
    kind: Kind,
    events: Option<(i64, i64)>,
) -> Result<Delivery, Error> {
    let format = definition.format.unwrap_or(Format::Json);
    let message = Message::Post { mime: format.mime(), body: notify::text(body, format)? };
    Ok(delivery(definition, message, kind, events))
}

/// R4's own rest-hook: a POST without a body, or the resource as an update. `None`: nothing may be told.
fn plain(definition: &Definition, shown: &notify::Shown) -> Result<Option<Message>, Error> {
    let Some(format) = definition.format.filter(|_| definition.content == Content::FullResource) else {
        return Ok(Some(Message::Ping));
    };
    let Some(focus) = &shown.focus else { return Ok(None) };
    let path = focus.to_string();
    Ok(Some(match (&shown.resource, shown.event.interaction) {
        (Some(resource), _) => {
            Message::Put { path, mime: format.mime(), body: notify::text(resource, format)? }
        }
        (None, Interaction::Create | Interaction::Update | Interaction::Delete) => Message::Delete { path },
    }))
}
