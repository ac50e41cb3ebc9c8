//! Committed events for live updates. Ids only; what they are about is read again by the reader's own rights.

use crate::{Error, Record};
use access::{Action, Ctx};
use fhir::ResourceKey;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::broadcast;

/// One outbox row: `resource.created|updated|deleted` or a domain topic such as `appointment.booked`.
#[derive(Debug, Clone, PartialEq)]
pub struct LiveEvent {
    /// Ascending in commit order, with gaps.
    pub seq: i64,
    pub topic: String,
    pub subject: ResourceKey,
    /// Patients whose compartment holds the subject.
    pub patients: Vec<String>,
    pub data: Value,
    pub created: jiff::Timestamp,
}

/// Events kept for a slow receiver; one that falls further behind is told so and reads everything again.
pub(crate) const BUFFER: usize = 4096;
/// Events of other servers are looked for at least this often.
const POLL: Duration = Duration::from_secs(1);
const BATCH: u32 = 500;

impl Record {
    /// Every event committed from now on, in order. A receiver that lags gets `RecvError::Lagged`: send `resync`.
    /// Must be called inside a tokio runtime: the first call starts the task that follows the outbox.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<LiveEvent>> {
        let receiver = self.inner.live.subscribe();
        if !self.inner.following.swap(true, Ordering::SeqCst) {
            let last_local = self.inner.last_local.load(Ordering::SeqCst);
            tokio::spawn(follow(Arc::downgrade(&self.inner), (last_local > 0).then_some(last_local)));
        }
        receiver
    }

    /// Whether `ctx` may read the subject of this event.
    pub async fn visible(&self, ctx: &Ctx, event: &LiveEvent) -> Result<bool, Error> {
        let ctx = &self.current(ctx).await?;
        let predicate = access::policy::predicate(ctx, Action::Read, event.subject.kind);
        if predicate.needs() == access::policy::Needs::default() {
            let row = access::RowFacts::plain(&event.subject, &event.patients, &[]);
            return Ok(predicate.holds(&row));
        }
        let (key, patients, now) = (event.subject.clone(), event.patients.clone(), self.now());
        self.reading(move |tx| crate::rights::holds(tx, &predicate, &key, &patients, now)).await
    }

    /// Events after `seq`, oldest first, for resuming clients and durable subscribers; at most `limit`.
    pub async fn events_after(&self, seq: i64, limit: u32) -> Result<Vec<LiveEvent>, Error> {
        // In a write transaction: see store::outbox on PostgreSQL's snapshots.
        let events = self.writing(move |tx| Ok(store::outbox::read(tx, seq, limit)?)).await?;
        Ok(events.into_iter().map(LiveEvent::from).collect())
    }

    /// The number of the newest event; a subscriber that wants no past starts here.
    pub async fn last_event(&self) -> Result<i64, Error> {
        self.writing(|tx| Ok(store::outbox::last(tx)?)).await
    }
}

impl From<store::outbox::Event> for LiveEvent {
    fn from(event: store::outbox::Event) -> LiveEvent {
        LiveEvent {
            seq: event.seq,
            topic: event.topic,
            subject: event.subject,
            patients: event.patients,
            data: event.data,
            created: event.created,
        }
    }
}

/// Reads the outbox as it grows and passes it on, until the record is gone.
async fn follow(weak: std::sync::Weak<crate::Inner>, mut position: Option<i64>) {
    let Some(mut wakeups) = weak.upgrade().map(|inner| inner.store.wakeups()) else { return };
    while let Some(record) = weak.upgrade().map(|inner| Record { inner }) {
        wakeups.borrow_and_update();
        let full = match record.pass_on(&mut position).await {
            Ok(full) => full,
            Err(Error::Busy) => false,
            Err(error) => {
                tracing::warn!(%error, "the outbox could not be read");
                false
            }
        };
        if full {
            continue;
        }
        drop(record);
        // An error means that the store is gone; the next upgrade finds that out too.
        tokio::time::timeout(POLL, wakeups.changed()).await.ok();
    }
}

impl Record {
    /// Sends what is new to the receivers; whether there may be more.
    async fn pass_on(&self, position: &mut Option<i64>) -> Result<bool, Error> {
        let after = match *position {
            Some(position) => position,
            None => {
                let last = self.last_event().await?;
                // What this process committed while we were starting counts as "from now on".
                last.min(self.inner.first_local.load(Ordering::SeqCst).saturating_sub(1))
            }
        };
        let events = self.events_after(after, BATCH).await?;
        let full = events.len() >= BATCH as usize;
        *position = Some(events.last().map_or(after, |e| e.seq));
        for event in events {
            // No receiver at the moment: nobody misses it.
            self.inner.live.send(Arc::new(event)).ok();
        }
        Ok(full)
    }

    /// Notes the numbers of events this process committed.
    pub(crate) fn committed(&self, first: i64, last: i64) {
        self.inner.first_local.fetch_min(first, Ordering::SeqCst);
        self.inner.last_local.fetch_max(last, Ordering::SeqCst);
    }
}
