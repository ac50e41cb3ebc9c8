//! Committed events for live updates. Ids only; what they are about is read again by the reader's own rights.

use crate::{Error, Record};
use access::Ctx;
use fhir::ResourceKey;
use serde_json::Value;
use std::sync::Arc;
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
}

impl Record {
    /// Every event committed from now on, in order. A receiver that lags gets `RecvError::Lagged`: send `resync`.
    /// Must be called inside a tokio runtime.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<LiveEvent>> {
        broadcast::channel(1).1
    }
    /// Whether `ctx` may read the subject of this event.
    pub async fn visible(&self, ctx: &Ctx, event: &LiveEvent) -> Result<bool, Error> {
        let _ = (ctx, event);
        Err(Error::Internal("not built".into()))
    }
    /// Events after `seq`, oldest first, for resuming clients and durable subscribers; at most `limit`.
    pub async fn events_after(&self, seq: i64, limit: u32) -> Result<Vec<LiveEvent>, Error> {
        let _ = (seq, limit);
        Err(Error::Internal("not built".into()))
    }
}
