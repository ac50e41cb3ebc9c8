//! Removes what is done and old, a little at a time.

use crate::state::AppState;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use store::{idempotency, job, oauth, one_time_code, outbox, outside, session, subscription};

const EVERY: Duration = Duration::from_secs(15 * 60);
/// Events stay so long for clients and subscribers that come back late.
const EVENTS: SignedDuration = SignedDuration::from_hours(7 * 24);
/// Done jobs stay so long for the administrator.
const JOBS: SignedDuration = SignedDuration::from_hours(30 * 24);
/// Used codes stay so long because the limits on sending look back that far.
const CODES: SignedDuration = SignedDuration::from_hours(48);
/// Rounds of one run; each removes up to 1,000 rows of a table.
const ROUNDS: usize = 100;

/// Runs until the server stops.
pub async fn run(app: AppState) {
    loop {
        tokio::select! {
            () = app.stopping.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        if let Err(error) = app.record.remind_of_reviews().await {
            tracing::warn!(%error, "nobody was reminded of emergency access to review");
        }
        look_after_privacy(&app).await;
        if let Err(error) = app.record.expire_account_changes().await {
            tracing::warn!(%error, "nobody was told of changes of accounts that nobody decided");
        }
        if let Err(error) = app.record.remind_of_proxies().await {
            tracing::warn!(%error, "nobody was told of proxies that end");
        }
        for _ in 0..ROUNDS {
            match once(&app).await {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) => {
                    tracing::warn!(%error, "old rows cannot be removed");
                    break;
                }
            }
        }
    }
}

/// Deadlines of requests about data, and a piece of the daily walk for records whose time is over.
async fn look_after_privacy(app: &AppState) {
    if let Err(error) = app.record.resume_erasures().await {
        tracing::warn!(%error, "an erasure that was begun is not finished yet");
    }
    if let Err(error) = app.record.remind_of_requests().await {
        tracing::warn!(%error, "nobody was reminded of requests about data");
    }
    for _ in 0..ROUNDS {
        match app.record.find_retention_due().await {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "records whose time is over cannot be looked for");
                break;
            }
        }
    }
}

async fn once(app: &AppState) -> Result<u64, store::Error> {
    let now = app.record.now();
    let before = |age: SignedDuration| now.checked_sub(age).unwrap_or(Timestamp::MIN);
    let (events, jobs, codes) = (before(EVENTS), before(JOBS), before(CODES));
    let removed = app.record.store().write(move |tx| {
        Ok::<_, store::Error>(
            outbox::prune(tx, events)?
                + job::prune(tx, jobs)?
                + session::prune(tx, now)?
                + oauth::prune(tx, now)?
                + outside::prune(tx, now)?
                + idempotency::prune(tx, now)?
                + one_time_code::prune(tx, codes)?
                + subscription::prune(tx, events)?,
        )
    });
    removed.await
}
