//! What happens after a commit: events go to subscribers, jobs to their handlers; with leases, retries and dead letters.
//!
//! # How to add a subscriber or a job handler
//! Write one `pub fn register(registry: &mut Registry)` in `worker/<noun>.rs` (or the domain's own file in this folder),
//! call it in [registry], and in it:
//! ```ignore
//! registry.subscribe("invoice-maker", &["visit.finished"], |app, event| async move {
//!     billing::invoice::on_visit_finished(&app.record, &event).await?; Ok(())
//! });
//! registry.job("reminder", |app, job| async move { care::reminder::send(&app.record, &job.data).await?; Ok(()) });
//! ```
//! A handler may run more than once for the same event or job and must not do its work twice: use the event's `seq` or
//! the job's `key` as idempotency key. `Err(Failure::Retry(…))` (every `record::Error` that may pass becomes one) is
//! tried again with back-off and at last becomes a dead letter that an administrator sees and replays;
//! `Err(Failure::Dead(…))` becomes one at once. For a queue with leases of its own (`store::message`, `store::inbox`)
//! use `registry.poll(name, every, |app| async move { … Ok(how_many) })`.

pub mod audit;
mod billing;
mod bulk;
mod care;
pub mod feed;
mod keys;
mod labels;
mod messages;
mod prune;
mod registry;
mod run;
mod search_parameters;
pub mod subscriptions;
mod words;

pub use registry::{Failure, JobRun, Registry};
pub use run::run;

/// All subscribers and job handlers of this program.
pub fn registry() -> Registry {
    // One line per file of this folder: `<noun>::register(&mut registry);`
    let mut registry = Registry::default();
    billing::register(&mut registry);
    care::register(&mut registry);
    keys::register(&mut registry);
    messages::register(&mut registry);
    search_parameters::register(&mut registry);
    subscriptions::register(&mut registry);
    labels::register(&mut registry);
    words::register(&mut registry);
    registry
}
