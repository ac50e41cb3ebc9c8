//! Audit events for a second place, in the order of their rows: IHE ATNA's feed.

use super::{AuditRow, row};
use crate::{Error, Record};
use store::audit::feed::{self, Feed};
use store::audit::tree;

/// Rows that are taken away, and what becomes of them.
#[derive(Debug, Clone)]
pub struct FeedBatch {
    pub rows: Vec<AuditRow>,
    /// Behind which row it begins, and with which it ends.
    from: i64,
    to: i64,
}

impl Record {
    /// The next rows for `place`, at most `limit`; `None` if it has all. A place that is new begins with what happens from
    /// now on, or with everything there is if `from_start`. Not audited: it is the audit. Errors: of the database.
    pub async fn audit_feed_next(
        &self,
        place: &'static str,
        limit: u32,
        from_start: bool,
    ) -> Result<Option<FeedBatch>, Error> {
        // In a read of its own: see [tree::horizon].
        let horizon = self.reading(|tx| Ok(tree::horizon(tx)?)).await?;
        let known = self.reading(move |tx| Ok(feed::standing(tx, place)?)).await?;
        let from = match known {
            Some(known) => known.last,
            None => {
                let (last, now) = (if from_start { i64::MIN } else { horizon }, self.now());
                self.writing(move |tx| Ok(feed::begin(tx, place, last, now)?)).await?;
                last
            }
        };
        let found = self.reading(move |tx| {
            let mut rows = Vec::new();
            for seq in feed::behind(tx, from, horizon, limit)? {
                rows.extend(store::audit::load(tx, seq)?);
            }
            Ok(rows)
        });
        let rows: Vec<AuditRow> = found.await?.into_iter().map(row).collect();
        let to = rows.last().map(|row| row.seq);
        Ok(to.map(|to| FeedBatch { rows, from, to }))
    }

    /// Notes that the batch arrived, as so many events. Returns false if another server has taken it meanwhile; then it
    /// arrived twice, and its events have the ids that tell.
    pub async fn audit_feed_arrived(
        &self,
        place: &'static str,
        batch: &FeedBatch,
        events: usize,
    ) -> Result<bool, Error> {
        let (bounds, events, now) = ((batch.from, batch.to), i64::try_from(events).unwrap_or(0), self.now());
        self.writing(move |tx| Ok(feed::arrived(tx, place, bounds, events, now)?)).await
    }

    /// Notes why it did not.
    pub async fn audit_feed_failed(&self, place: &'static str, error: String) -> Result<(), Error> {
        let now = self.now();
        self.writing(move |tx| Ok(feed::failed(tx, place, &error, now)?)).await
    }

    /// How it stands with these places; those that have not begun are left out.
    pub async fn audit_feeds(&self, places: &'static [&'static str]) -> Result<Vec<Feed>, Error> {
        self.reading(move |tx| {
            let mut all = Vec::new();
            for place in places {
                all.extend(feed::standing(tx, place)?);
            }
            Ok(all)
        })
        .await
    }
}
