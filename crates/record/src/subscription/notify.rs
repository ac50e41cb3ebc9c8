//! Notifications as FHIR: `Bundle` of type history with the status as `Parameters` first, as the backport guide
//! lays them out for R4.

use super::definition::GUIDE;
use super::{Content, Definition, Format, owner};
use crate::read::holds;
use crate::rights::veil::{Lens, Veil};
use crate::{Error, Record};
use access::Ctx;
use access::policy::{self, Action};
use fhir::{ResourceKey, TypeId};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::HashSet;
use store::Tx;
use store::audit::Outcome as AuditOutcome;
use store::subscription::{Event, Interaction, State, Subscription};

/// Why a notification is sent; the code of `type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Handshake,
    Heartbeat,
    Events,
    QueryStatus,
    QueryEvents,
}

impl Kind {
    pub fn code(self) -> &'static str {
        match self {
            Kind::Handshake => "handshake",
            Kind::Heartbeat => "heartbeat",
            Kind::Events => "event-notification",
            Kind::QueryStatus => "query-status",
            Kind::QueryEvents => "query-event",
        }
    }
}

/// A notification ready to be sent.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The Bundle.
    pub body: Value,
    /// Number of the last event in it, or of the last there is if it has none.
    pub last: i64,
    /// Events in it.
    pub count: usize,
}

/// One event with what its receiver may see of it now.
pub(super) struct Shown {
    pub event: Event,
    /// `None`: the receiver may not know (any more) what it was about.
    pub focus: Option<ResourceKey>,
    pub resource: Option<Value>,
    pub patients: Vec<String>,
}

/// The events with what `ctx` may read of them at this moment.
pub(super) fn show(
    tx: &mut dyn Tx,
    (ctx, lens): (&Ctx, &Lens),
    events: Vec<Event>,
    content: Content,
    now: Timestamp,
) -> Result<Vec<Shown>, Error> {
    let mut shown = Vec::with_capacity(events.len());
    let mut veil = Veil::new(ctx, lens.clone(), now);
    for event in events {
        let mut one = Shown { focus: None, resource: None, patients: Vec::new(), event };
        if content != Content::Empty {
            look(tx, (ctx, &mut veil), &mut one, content, now)?;
        }
        shown.push(one);
    }
    Ok(shown)
}

fn look(
    tx: &mut dyn Tx,
    (ctx, veil): (&Ctx, &mut Veil),
    one: &mut Shown,
    content: Content,
    now: Timestamp,
) -> Result<(), Error> {
    let key = one.event.subject.clone();
    let Some(row) = store::resource::load(tx, &key)? else { return Ok(()) };
    let predicate = policy::predicate(ctx, Action::Read, key.kind);
    if !holds(tx, &predicate, &key, &row.patients, now)? {
        return Ok(());
    }
    let patients = row.patients.clone();
    if !row.deleted {
        let Some(stored) = veil.current(tx, &predicate, row)? else { return Ok(()) };
        let resource = stored.parse()?;
        let drafts = policy::unreadable_statuses(ctx, key.kind);
        if resource.text("status").is_some_and(|status| drafts.contains(&status)) {
            return Ok(());
        }
        if content == Content::FullResource {
            one.resource = Some(resource.into_value());
        }
    }
    one.patients = patients;
    one.focus = Some(key);
    Ok(())
}

/// The status as Parameters.
pub(super) fn status(
    base: &str,
    row: &Subscription,
    definition: Option<&Definition>,
    state: State,
    kind: Kind,
    events: &[Shown],
) -> Value {
    let mut parameter = vec![
        json!({"name": "subscription", "valueReference": {"reference": format!("{base}/Subscription/{}", row.id)}}),
    ];
    if let Some(topic) = definition.and_then(|d| d.topic.as_ref()) {
        parameter.push(json!({"name": "topic", "valueCanonical": topic}));
    }
    parameter.push(json!({"name": "status", "valueCode": state.code()}));
    parameter.push(json!({"name": "type", "valueCode": kind.code()}));
    // Numbers of 64 bits are text in R4.
    parameter.push(json!({"name": "events-since-subscription-start", "valueString": row.events.to_string()}));
    for one in events {
        let mut part = vec![
            json!({"name": "event-number", "valueString": one.event.number.to_string()}),
            json!({"name": "timestamp", "valueInstant": format!("{:.3}", one.event.at)}),
        ];
        if let Some(focus) = &one.focus {
            part.push(json!({"name": "focus", "valueReference": {"reference": format!("{base}/{focus}")}}));
        }
        parameter.push(json!({"name": "notification-event", "part": part}));
    }
    if state == State::Error {
        parameter.push(json!({"name": "error", "valueCodeableConcept": {"text": ERROR}}));
    }
    json!({"resourceType": "Parameters", "id": uuid::Uuid::now_v7().to_string(),
        "meta": {"profile": [format!("{GUIDE}backport-subscription-status-r4")]}, "parameter": parameter})
}

/// What a subscriber reads of a failed channel; the reason in detail is the operator's.
pub(super) const ERROR: &str = "Notifications could not be delivered. Repair the endpoint and write the Subscription again as `requested`.";

/// The whole notification.
pub(super) fn bundle(
    base: &str,
    row: &Subscription,
    definition: &Definition,
    state: State,
    kind: Kind,
    events: &[Shown],
    now: Timestamp,
) -> Value {
    let status = status(base, row, Some(definition), state, kind, events);
    let url = format!("{base}/Subscription/{}/$status", row.id);
    let mut entry = vec![json!({
        "fullUrl": format!("urn:uuid:{}", status["id"].as_str().unwrap_or_default()),
        "resource": status,
        "request": {"method": "GET", "url": url},
        "response": {"status": "200"},
    })];
    let mut seen = HashSet::new();
    for one in events {
        // Two events of one resource: what it is now is said once.
        let Some(focus) = one.focus.as_ref().filter(|focus| seen.insert((*focus).clone())) else { continue };
        let (method, url, status) = match one.event.interaction {
            Interaction::Create => ("POST", focus.kind.name().to_owned(), "201"),
            Interaction::Update => ("PUT", focus.to_string(), "200"),
            Interaction::Delete => ("DELETE", focus.to_string(), "204"),
        };
        let mut one_entry = json!({"fullUrl": format!("{base}/{focus}"),
            "request": {"method": method, "url": url}, "response": {"status": status}});
        if let Some(resource) = &one.resource {
            one_entry["resource"] = resource.clone();
        }
        entry.push(one_entry);
    }
    json!({"resourceType": "Bundle", "id": uuid::Uuid::now_v7().to_string(),
        "meta": {"profile": [format!("{GUIDE}backport-subscription-notification-r4")]},
        "type": "history", "timestamp": format!("{now:.3}"), "entry": entry})
}

/// As text for the wire. Errors: `Internal` for what XML cannot carry.
pub(super) fn text(body: &Value, format: Format) -> Result<String, Error> {
    match format {
        Format::Json => Ok(body.to_string()),
        Format::Xml => fhir::xml::write(body).map_err(|o| Error::Internal(format!("notification: {o}"))),
    }
}

/// All patients of the shown events, once each.
pub(super) fn patients(events: &[Shown]) -> Vec<String> {
    let mut patients: Vec<String> = events.iter().flat_map(|e| e.patients.iter().cloned()).collect();
    patients.sort();
    patients.dedup();
    patients
}

impl Record {
    /// `$status`: one Parameters per subscription that `ctx` may read and whose status is among `statuses` (empty: any).
    /// `ids` empty: all. `base` is that of the FHIR API. Errors: as [Record::read] where a single id is asked for; `Denied`.
    pub async fn subscription_status(
        &self,
        ctx: &Ctx,
        ids: &[String],
        statuses: &[State],
        base: &str,
    ) -> Result<Vec<Value>, Error> {
        let mut wanted = ids.to_vec();
        if wanted.is_empty() {
            let found = self.find(ctx, "Subscription", &[], super::MAX_SUBSCRIPTIONS).await?;
            wanted = found.iter().filter_map(|(r, _)| r.id().map(str::to_owned)).collect();
        }
        let mut all = Vec::new();
        for id in &wanted {
            if !ids.is_empty() {
                self.read(ctx, &ResourceKey::new(TypeId::SUBSCRIPTION, id.as_str())).await?;
            }
            let of = id.clone();
            let Some(row) = self.reading(move |tx| Ok(store::subscription::load(tx, &of)?)).await? else {
                continue;
            };
            if statuses.is_empty() || statuses.contains(&row.state) {
                let definition = self.definition(&row).await?;
                all.push(status(base, &row, definition.as_deref(), row.state, Kind::QueryStatus, &[]));
            }
        }
        Ok(all)
    }

    /// `$events`: the events with numbers from `first` to `last` (both inclusive) that are still kept, at most
    /// [super::definition::MAX_BATCH], with what `ctx` may read of them now. `content` other than what the subscription
    /// carries is cut down to it. Errors: as [Record::read] of the Subscription.
    pub async fn subscription_events(
        &self,
        ctx: &Ctx,
        id: &str,
        range: (i64, i64),
        content: Option<Content>,
        base: &str,
    ) -> Result<Notice, Error> {
        self.read(ctx, &ResourceKey::new(TypeId::SUBSCRIPTION, id)).await?;
        let of = id.to_owned();
        let row =
            self.reading(move |tx| Ok(store::subscription::load(tx, &of)?)).await?.ok_or(Error::NotFound)?;
        let definition = self.definition(&row).await?.ok_or(Error::NotFound)?;
        let content = match (content, definition.content) {
            (None, own) => own,
            (Some(Content::Empty), _) | (_, Content::Empty) => Content::Empty,
            (Some(Content::IdOnly), _) | (_, Content::IdOnly) => Content::IdOnly,
            (Some(Content::FullResource), Content::FullResource) => Content::FullResource,
        };
        let (reader, now, of) = (ctx.clone(), self.now(), id.to_owned());
        let lens = self.lens().await?;
        let shown = self
            .reading(move |tx| {
                let events =
                    store::subscription::events(tx, &of, range.0, range.1, super::definition::MAX_BATCH)?;
                show(tx, (&reader, &lens), events, content, now)
            })
            .await?;
        self.audit_one(
            ctx,
            "query",
            AuditOutcome::Success,
            &format!("Subscription/{id}/$events"),
            &patients(&shown),
        )
        .await?;
        Ok(notice(base, &row, &definition, Kind::QueryEvents, &shown, now))
    }

    /// For a bound WebSocket: what came after event `after`, as its owner may read it now; `None` when there is nothing
    /// new. Errors: `Gone` if the subscription is not active any more.
    pub async fn subscription_news(&self, id: &str, after: i64, base: &str) -> Result<Option<Notice>, Error> {
        let of = id.to_owned();
        let row =
            self.reading(move |tx| Ok(store::subscription::load(tx, &of)?)).await?.ok_or(Error::Gone)?;
        match row.state {
            State::Active => {}
            State::Requested => return Ok(None),
            State::Error | State::Off => return Err(Error::Gone),
        }
        if row.events <= after {
            return Ok(None);
        }
        let Some(definition) = self.definition(&row).await? else { return Err(Error::Gone) };
        let (now, of, content, most) = (self.now(), row.clone(), definition.content, definition.max_count);
        let lens = self.lens().await?;
        let (shown, ctx) = self
            .reading(move |tx| {
                let Some(ctx) = owner::context(tx, &of, now)? else { return Err(Error::Gone) };
                let events = store::subscription::events(tx, &of.id, after + 1, of.events, most)?;
                Ok((show(tx, (&ctx, &lens), events, content, now)?, ctx))
            })
            .await?;
        if shown.is_empty() {
            return Ok(None);
        }
        self.audit_notice(&ctx, id, &shown).await?;
        Ok(Some(notice(base, &row, &definition, Kind::Events, &shown, now)))
    }

    /// A handshake or heartbeat for a bound WebSocket. Errors: `Gone` if the subscription is not there any more.
    pub async fn subscription_greeting(&self, id: &str, kind: Kind, base: &str) -> Result<Notice, Error> {
        let of = id.to_owned();
        let row =
            self.reading(move |tx| Ok(store::subscription::load(tx, &of)?)).await?.ok_or(Error::Gone)?;
        let definition = self.definition(&row).await?.ok_or(Error::Gone)?;
        Ok(notice(base, &row, &definition, kind, &[], self.now()))
    }

    /// Data leaves the house: whose, durable before it does.
    pub(super) async fn audit_notice(&self, ctx: &Ctx, id: &str, events: &[Shown]) -> Result<(), Error> {
        let patients = patients(events);
        if patients.is_empty() {
            return Ok(());
        }
        self.audit_one(ctx, "notify", AuditOutcome::Success, &format!("Subscription/{id}"), &patients).await
    }
}

fn notice(
    base: &str,
    row: &Subscription,
    definition: &Definition,
    kind: Kind,
    shown: &[Shown],
    now: Timestamp,
) -> Notice {
    Notice {
        body: bundle(base, row, definition, row.state, kind, shown, now),
        last: shown.last().map_or(row.events, |s| s.event.number),
        count: shown.len(),
    }
}
