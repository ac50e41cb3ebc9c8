//! The loops of the worker: events, jobs, polls.
//!
//! Events are followed by one cursor for all subscribers. A subscriber that fails does not hold up the others: its event
//! becomes a job of the queue [EVENT_QUEUE] in the same transaction that advances the cursor, and is retried,
//! backed off and at last kept as a dead letter like any other job.

use super::registry::{Failure, JobRun, Poll, Registry};
use crate::state::AppState;
use ::fhir::ResourceKey;
use futures_util::FutureExt as _;
use record::events::LiveEvent;
use serde_json::{Value, json};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use store::job::{self, Job, NewJob};
use store::outbox;
use tokio::task::JoinSet;

/// Queue of events whose subscriber failed.
const EVENT_QUEUE: &str = "event";
/// Name of the cursor in the outbox.
const CURSOR: &str = "worker";
/// Events handled between two notes of the position.
const EVENTS: u32 = 200;
const LEASE: Duration = Duration::from_secs(60);
/// A handler that takes longer is given up, well before its lease ends.
const HANDLER_TIME: Duration = Duration::from_secs(45);
/// Longest sleep without a wake-up.
const SLEEP: Duration = Duration::from_secs(10);
/// Shortest pause between two looks at a queue, so that a flood of commits is handled in batches.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause after the database failed.
const TROUBLE: Duration = Duration::from_secs(2);

/// Runs until the server stops; what was begun is finished.
pub async fn run(app: AppState, registry: Registry) {
    let registry = Arc::new(registry);
    let mut loops = JoinSet::new();
    loops.spawn(follow_events(app.clone(), registry.clone()));
    loops.spawn(run_jobs(app.clone(), registry.clone()));
    loops.spawn(super::prune::run(app.clone()));
    loops.spawn(super::bulk::run(app.clone()));
    loops.spawn(super::audit::run(app.clone()));
    loops.spawn(super::feed::run(app.clone()));
    loops.spawn(crate::backups::run(app.parts.backups.clone(), app.stopping.clone()));
    for n in 0..registry.polls.len() {
        loops.spawn(run_poll(app.clone(), registry.clone(), n));
    }
    while loops.join_next().await.is_some() {}
}

/// Waits for a wake-up, `most`, or the end. Returns false at the end.
pub(super) async fn rest(app: &AppState, wake: &mut crate::storage::Wake, most: Duration) -> bool {
    tokio::select! {
        () = app.stopping.cancelled() => return false,
        () = wake.wait() => {}
        () = tokio::time::sleep(most) => {}
    }
    tokio::select! {
        () = app.stopping.cancelled() => false,
        () = tokio::time::sleep(PAUSE) => true,
    }
}

async fn follow_events(app: AppState, registry: Arc<Registry>) {
    let mut wake = crate::storage::Wake::new(&app.record);
    loop {
        let pause = match handle_events(&app, &registry).await {
            Ok(true) => Duration::ZERO,
            Ok(false) => SLEEP,
            Err(error) => {
                tracing::warn!(%error, "events cannot be followed");
                TROUBLE
            }
        };
        if pause.is_zero() {
            if app.stopping.is_cancelled() {
                return;
            }
        } else if !rest(&app, &mut wake, pause).await {
            return;
        }
    }
}

/// One batch. Returns whether there may be more.
async fn handle_events(app: &AppState, registry: &Registry) -> Result<bool, store::Error> {
    let worker = app.worker_name.clone();
    let lease_ms = millis(LEASE);
    let leased = app.record.store().write(move |tx| {
        let start = 0;
        let Some(lease) = outbox::lease(tx, CURSOR, &worker, lease_ms, start)? else { return Ok(None) };
        let events = outbox::read(tx, lease.cursor, EVENTS)?;
        Ok::<_, store::Error>(Some((lease, events)))
    });
    let Some((lease, events)) = leased.await? else { return Ok(false) };
    let Some(last) = events.last().map(|event| event.seq) else { return Ok(false) };
    let is_full = events.len() >= EVENTS as usize;
    let mut failed = Vec::new();
    for event in events {
        let takers: Vec<_> =
            registry.subscriptions.iter().filter(|s| Registry::takes(s, &event.topic)).collect();
        if takers.is_empty() {
            continue;
        }
        let event = Arc::new(LiveEvent {
            seq: event.seq,
            topic: event.topic,
            subject: event.subject,
            patients: event.patients,
            data: event.data,
            created: event.created,
        });
        for subscription in takers {
            let outcome = guarded((subscription.run)(app.clone(), event.clone())).await;
            count(app, "events", subscription.name, &outcome);
            if let Err(failure) = outcome {
                tracing::warn!(
                    subscriber = subscription.name, event.topic = %event.topic, event.seq = event.seq, error = %failure,
                    "a subscriber failed"
                );
                failed.push(event_job(subscription.name, &event, app.record.now()));
            }
        }
    }
    let advanced = app.record.store().write(move |tx| {
        for new in &failed {
            job::insert(tx, new)?;
        }
        outbox::advance(tx, &lease, last, 0)
    });
    if !advanced.await? {
        tracing::warn!("another worker took over the events");
    }
    Ok(is_full)
}

fn event_job(subscriber: &str, event: &LiveEvent, now: jiff::Timestamp) -> NewJob {
    let data = json!({
        "subscriber": subscriber, "seq": event.seq, "topic": event.topic, "subject": event.subject.to_string(),
        "patients": event.patients, "data": event.data, "created": event.created.to_string(),
    });
    NewJob::new(EVENT_QUEUE, "", data, now)
}

async fn run_jobs(app: AppState, registry: Arc<Registry>) {
    let mut wake = crate::storage::Wake::new(&app.record);
    let mut running: JoinSet<()> = JoinSet::new();
    let queues: Arc<[&'static str]> = registry.jobs.keys().copied().chain([EVENT_QUEUE]).collect();
    loop {
        while running.try_join_next().is_some() {}
        let free = app.config.worker.concurrency.max(1).saturating_sub(running.len());
        let (pause, begun) = match lease_jobs(&app, queues.clone(), free).await {
            Ok((jobs, due)) => {
                let begun = jobs.len();
                for job in jobs {
                    running.spawn(run_job(app.clone(), registry.clone(), job));
                }
                (due, begun)
            }
            Err(error) => {
                tracing::warn!(%error, "jobs cannot be leased");
                (TROUBLE, 0)
            }
        };
        if app.stopping.is_cancelled() {
            break;
        }
        if begun > 0 && begun == free {
            // All hands are busy: wait for one of them.
            let _ = running.join_next().await;
        } else if !rest(&app, &mut wake, pause).await {
            break;
        }
    }
    while running.join_next().await.is_some() {}
}

/// Due jobs, and how long nothing else will be due.
async fn lease_jobs(
    app: &AppState,
    queues: Arc<[&'static str]>,
    free: usize,
) -> Result<(Vec<Job>, Duration), store::Error> {
    let limit = u32::try_from(free).unwrap_or(u32::MAX);
    if limit == 0 || app.stopping.is_cancelled() {
        return Ok((Vec::new(), SLEEP));
    }
    let look = app.record.store_read(|tx| Ok((job::next_due(tx)?, tx.now()?))).await;
    let (due, now) = look.map_err(|error| store::Error::Database(error.to_string()))?;
    let wait = |due: Option<jiff::Timestamp>, now: jiff::Timestamp| match due {
        Some(due) => Duration::try_from(due.duration_since(now)).unwrap_or_default().clamp(PAUSE, SLEEP),
        None => SLEEP,
    };
    // A read costs nothing beside a write: only lease when something is due.
    if due.is_none_or(|due| due > now) {
        return Ok((Vec::new(), wait(due, now)));
    }
    let lease_ms = millis(LEASE);
    let leased = app.record.store().write(move |tx| {
        let jobs = job::lease(tx, &queues, limit, lease_ms)?;
        Ok::<_, store::Error>((jobs, job::next_due(tx)?, tx.now()?))
    });
    let (jobs, due, now) = leased.await?;
    // Jobs of queues without a handler stay due for ever; they must not make the loop spin.
    let pause = if jobs.is_empty() { SLEEP } else { wait(due, now) };
    Ok((jobs, pause))
}

async fn run_job(app: AppState, registry: Arc<Registry>, job: Job) {
    let outcome = match job.queue.as_str() {
        EVENT_QUEUE => run_event_job(&app, &registry, &job).await,
        queue => match registry.jobs.get(queue) {
            Some(handler) => {
                let run = JobRun {
                    id: job.id,
                    queue: job.queue.clone(),
                    key: job.key.clone(),
                    data: job.data.clone(),
                    attempt: job.attempts,
                };
                guarded(handler(app.clone(), Arc::new(run))).await
            }
            None => Err(Failure::Retry("no handler for this queue".into())),
        },
    };
    count(&app, "jobs", &job.queue, &outcome);
    if let Err(failure) = &outcome {
        tracing::warn!(job.id, job.queue = %job.queue, job.attempt = job.attempts, error = %failure, "a job failed");
    }
    let (id, token) = (job.id, job.token);
    let noted = app.record.store().write(move |tx| match &outcome {
        Ok(()) => job::done(tx, id, token),
        Err(Failure::Retry(text)) => Ok(job::failed(tx, id, token, text)?.is_some()),
        Err(Failure::Dead(text)) => job::bury(tx, id, token, text),
    });
    match noted.await {
        Ok(true) => {}
        Ok(false) => tracing::warn!(job.id, "the lease of a job was lost"),
        // The lease runs out and the job runs again; handlers are idempotent.
        Err(error) => tracing::error!(job.id, %error, "the result of a job cannot be stored"),
    }
}

async fn run_event_job(app: &AppState, registry: &Registry, job: &Job) -> Result<(), Failure> {
    let broken = || Failure::Dead("the stored event cannot be read".into());
    let text = |field: &str| job.data.get(field).and_then(Value::as_str);
    let subscriber = text("subscriber").ok_or_else(broken)?;
    let subscription = registry.subscriptions.iter().find(|s| s.name == subscriber);
    let subscription =
        subscription.ok_or_else(|| Failure::Dead(format!("there is no subscriber {subscriber}")))?;
    let patients = job.data.get("patients").and_then(Value::as_array).into_iter().flatten();
    let event = LiveEvent {
        seq: job.data.get("seq").and_then(Value::as_i64).ok_or_else(broken)?,
        topic: text("topic").ok_or_else(broken)?.to_owned(),
        subject: text("subject").and_then(ResourceKey::parse).ok_or_else(broken)?,
        patients: patients.filter_map(Value::as_str).map(str::to_owned).collect(),
        data: job.data.get("data").cloned().unwrap_or(Value::Null),
        created: text("created").and_then(|at| at.parse().ok()).unwrap_or(job.created),
    };
    guarded((subscription.run)(app.clone(), Arc::new(event))).await
}

async fn run_poll(app: AppState, registry: Arc<Registry>, n: usize) {
    let Some(Poll { name, every, run }) = registry.polls.get(n) else { return };
    let mut wake = crate::storage::Wake::new(&app.record);
    loop {
        let outcome = AssertUnwindSafe(run(app.clone())).catch_unwind().await;
        let more = match outcome {
            Ok(Ok(done)) => {
                if done > 0 {
                    let done = u64::try_from(done).unwrap_or(u64::MAX);
                    app.metrics.count("polled", &format!("poll=\"{name}\""), done);
                }
                done > 0
            }
            Ok(Err(failure)) => {
                tracing::warn!(poll = name, error = %failure, "a poll failed");
                false
            }
            Err(_) => {
                tracing::error!(poll = name, "a poll panicked");
                false
            }
        };
        if more {
            if app.stopping.is_cancelled() {
                return;
            }
        } else if !rest(&app, &mut wake, *every).await {
            return;
        }
    }
}

/// A handler's result, with panics and overlong runs as failures.
async fn guarded(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    match tokio::time::timeout(HANDLER_TIME, AssertUnwindSafe(work).catch_unwind()).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(Failure::Retry("the handler panicked".into())),
        Err(_) => Err(Failure::Retry("the handler took too long".into())),
    }
}

fn count(app: &AppState, what: &'static str, name: &str, outcome: &Result<(), Failure>) {
    let result = match outcome {
        Ok(()) => "done",
        Err(Failure::Retry(_)) => "failed",
        Err(Failure::Dead(_)) => "dead",
    };
    app.metrics.count(what, &format!("name=\"{name}\",result=\"{result}\""), 1);
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
