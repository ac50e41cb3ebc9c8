//! The worker: subscribers, jobs, retries, dead letters, polls.

use crate::harness::World;
use serde_json::json;
use server::worker::{Failure, Registry};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use store::job::{self, NewJob, State};
use tokio::sync::mpsc;

async fn world() -> World {
    World::start_with(|config| config.worker.enabled = false).await
}

async fn state(world: &World, id: i64) -> (State, Option<String>) {
    let job = world.app().record.store_read(move |tx| job::load(tx, id)).await.unwrap().unwrap();
    (job.state, job.last_error)
}

async fn insert(world: &World, queue: &'static str, max_attempts: u32) -> i64 {
    let now = world.app().record.now();
    let new = NewJob { max_attempts, backoff_s: 1, ..NewJob::new(queue, "k", json!({"n": 1}), now) };
    world.app().record.store().write(move |tx| job::insert(tx, &new)).await.unwrap()
}

/// Waits until the job has ended.
async fn ended(world: &World, id: i64) -> (State, Option<String>) {
    let mut wake = world.app().record.store().wakeups();
    loop {
        let now = state(world, id).await;
        if matches!(now.0, State::Done | State::Dead) {
            return now;
        }
        let _ = tokio::time::timeout(Duration::from_millis(50), wake.changed()).await;
    }
}

#[tokio::test]
async fn jobs_are_retried_and_at_last_dead() {
    let world = world().await;
    let tries = Arc::new(AtomicU32::new(0));
    let counted = tries.clone();
    let mut registry = Registry::default();
    registry.job("flaky", move |_, job| {
        let tries = counted.clone();
        async move {
            assert_eq!((job.queue.as_str(), job.key.as_str(), &job.data), ("flaky", "k", &json!({"n": 1})));
            if tries.fetch_add(1, SeqCst) == 0 { Err(Failure::Retry("not yet".into())) } else { Ok(()) }
        }
    });
    registry.job("hopeless", |_, _| async { Err(Failure::Dead("never".into())) });
    registry.job("broken", |_, _| async { panic!("a bug") });
    let (flaky, hopeless, broken) = (
        insert(&world, "flaky", 3).await,
        insert(&world, "hopeless", 9).await,
        insert(&world, "broken", 1).await,
    );
    let running = tokio::spawn(server::worker::run(world.app().clone(), registry));
    assert_eq!(ended(&world, hopeless).await, (State::Dead, Some("never".into())));
    assert_eq!(ended(&world, broken).await, (State::Dead, Some("the handler panicked".into())));
    assert_eq!(ended(&world, flaky).await, (State::Done, None));
    assert_eq!(tries.load(SeqCst), 2);
    world.stop().await;
    running.await.unwrap();
}

#[tokio::test]
async fn events_reach_their_subscribers_and_failures_become_jobs() {
    let world = world().await;
    let (sender, mut received) = mpsc::unbounded_channel();
    let failures = Arc::new(AtomicUsize::new(0));
    let failed = failures.clone();
    let mut registry = Registry::default();
    registry.subscribe("all", &["resource.*"], move |_, event| {
        let sender = sender.clone();
        async move {
            let _ = sender.send((event.topic.clone(), event.subject.to_string()));
            Ok(())
        }
    });
    registry.subscribe("fails-once", &["resource.created"], move |_, event| {
        let failed = failed.clone();
        async move {
            let is_first = event.subject.kind.name() == "Location" && failed.fetch_add(1, SeqCst) == 0;
            if is_first { Err(Failure::Retry("busy".into())) } else { Ok(()) }
        }
    });
    let running = tokio::spawn(server::worker::run(world.app().clone(), registry));
    let key = world.put(json!({"resourceType": "Location", "name": "Room 1"})).await;
    let first = received.recv().await.unwrap();
    assert_eq!(first, ("resource.created".to_owned(), key.to_string()));
    // The failed one ran again as a job.
    let mut wake = world.app().record.store().wakeups();
    while failures.load(SeqCst) < 2 {
        let _ = tokio::time::timeout(Duration::from_millis(50), wake.changed()).await;
    }
    world.stop().await;
    running.await.unwrap();
}

#[tokio::test]
async fn polls_run_until_there_is_nothing_left() {
    let world = world().await;
    let (sender, mut received) = mpsc::unbounded_channel();
    let left = Arc::new(AtomicUsize::new(3));
    let mut registry = Registry::default();
    registry.poll("pieces", Duration::from_secs(3600), move |_| {
        let (sender, left) = (sender.clone(), left.clone());
        async move {
            let now = left.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).unwrap_or(0);
            let _ = sender.send(now);
            Ok(now)
        }
    });
    let running = tokio::spawn(server::worker::run(world.app().clone(), registry));
    let mut seen = Vec::new();
    while let Some(now) = received.recv().await {
        seen.push(now);
        if now == 0 {
            break;
        }
    }
    assert_eq!(seen, [3, 2, 1, 0]);
    world.stop().await;
    running.await.unwrap();
}
