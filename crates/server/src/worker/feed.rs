//! Audit events to a second place, as they happen: bundles of FHIR AuditEvents to an audit record repository (IHE ATNA,
//! ITI-20 "Send Audit Bundle Request").
//!
//! Rows go in the order of their numbers, behind a cursor that is moved after the answer: what was sent and not noted is
//! sent again, with the same ids.

use super::audit::post_body;
use crate::state::AppState;
use jiff::{SignedDuration, Timestamp};
use record::audit::{FeedBatch, to_fhir};
use serde_json::{Value, json};
use std::time::Duration;
use store::audit::feed::Feed;

/// Names of the places, as they are kept.
pub const PLACES: [&str; 1] = ["fhir"];
/// Between two looks for new rows.
const LOOK: Duration = Duration::from_secs(5);
/// Wait after a try that failed.
const AGAIN: Duration = Duration::from_secs(30);
/// Rows of one bundle; a row of a search becomes an event for each patient.
const ROWS: u32 = 100;
/// Events that have waited longer are an alarm.
const LATE: SignedDuration = SignedDuration::from_mins(15);

/// Runs until the server stops; does nothing without a place.
pub async fn run(app: AppState) {
    if app.config.audit.feed_url.is_none() {
        return;
    }
    let mut said = String::new();
    loop {
        let done = send(&app).await;
        let trouble = done.as_ref().err().map(|error| format!("{error:#}")).unwrap_or_default();
        if trouble != said && !trouble.is_empty() {
            tracing::error!(error = trouble, "audit events are not taken to their second place");
        }
        let pause = match &done {
            Ok(true) => Duration::ZERO,
            Ok(false) => LOOK,
            Err(_) => AGAIN,
        };
        said = trouble;
        tokio::select! {
            () = app.stopping.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// One bundle. Returns whether there was any.
async fn send(app: &AppState) -> anyhow::Result<bool> {
    let audit = &app.config.audit;
    let Some(url) = &audit.feed_url else { return Ok(false) };
    let [place] = PLACES;
    let Some(batch) = app.record.audit_feed_next(place, ROWS, audit.feed_from_start).await? else {
        return Ok(false);
    };
    let (bundle, events) = bundle(&batch, &app.fhir_base());
    let token = audit.feed_token.as_ref().map(|token| token.expose());
    let sent = post_body(url, token, "application/fhir+json; charset=utf-8", &bundle.to_string()).await;
    let outcome = if sent.is_ok() { "arrived" } else { "failed" };
    app.metrics.count("audit_fed", &format!("outcome=\"{outcome}\""), events as u64);
    if let Err(error) = sent {
        app.record.audit_feed_failed(place, format!("{error:#}")).await?;
        return Err(error);
    }
    app.record.audit_feed_arrived(place, &batch, events).await?;
    Ok(true)
}

/// A batch of AuditEvents, one for each patient of a row.
fn bundle(batch: &FeedBatch, base: &str) -> (Value, usize) {
    let entry = |event: Value| {
        let full = format!("{base}/AuditEvent/{}", event["id"].as_str().unwrap_or_default());
        json!({"fullUrl": full, "resource": event, "request": {"method": "POST", "url": "AuditEvent"}})
    };
    let entries: Vec<Value> =
        batch.rows.iter().flat_map(|row| row.per_patient()).map(|row| entry(to_fhir(&row, base))).collect();
    let count = entries.len();
    (json!({"resourceType": "Bundle", "type": "batch", "entry": entries}), count)
}

/// What is wrong with the feed, in words for the administrator; empty if nothing is.
pub fn alarms(feeds: &[Feed], now: Timestamp) -> Vec<String> {
    let late = |feed: &&Feed| {
        feed.failed.as_ref().is_some_and(|(_, at)| *at >= feed.at) && now.duration_since(feed.at) > LATE
    };
    feeds
        .iter()
        .filter(late)
        .map(|feed| {
            let error = feed.failed.as_ref().map(|(error, _)| error.as_str()).unwrap_or_default();
            format!("Audit events are not taken to their second place since {:.0}: {error}.", feed.at)
        })
        .collect()
}
