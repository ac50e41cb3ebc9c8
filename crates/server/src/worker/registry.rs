//! Who handles which event and which kind of job.

use crate::state::AppState;
use record::events::LiveEvent;
use serde_json::Value;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

type Work = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;
type EventHandler = Arc<dyn Fn(AppState, Arc<LiveEvent>) -> Work + Send + Sync>;
type PollHandler =
    Arc<dyn Fn(AppState) -> Pin<Box<dyn Future<Output = Result<usize, Failure>> + Send>> + Send + Sync>;
type JobHandler = Arc<dyn Fn(AppState, Arc<JobRun>) -> Work + Send + Sync>;

/// Why a handler did not do its work. The text is for the administrator and carries no patient data.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// May pass: tried again later.
    #[error("{0}")]
    Retry(String),
    /// Will not pass by itself: a dead letter at once.
    #[error("{0}")]
    Dead(String),
}

impl From<record::Error> for Failure {
    fn from(error: record::Error) -> Failure {
        use record::Error;
        match error {
            Error::Busy
            | Error::NotReady { .. }
            | Error::Full
            | Error::Internal(_)
            | Error::Throttled { .. }
            | Error::VersionConflict { .. } => Failure::Retry(error.to_string()),
            Error::At { error, .. } => Failure::from(*error),
            Error::Malformed(_)
            | Error::Invalid(_)
            | Error::Precondition(_)
            | Error::Unauthenticated
            | Error::Denied
            | Error::StepUpNeeded { .. }
            | Error::Due(_)
            | Error::NotFound
            | Error::Gone
            | Error::Duplicate(_)
            | Error::TooCostly
            | Error::Rule(_) => Failure::Dead(error.to_string()),
        }
    }
}

/// One leased job.
#[derive(Debug, Clone)]
pub struct JobRun {
    pub id: i64,
    /// As in `store::job::NewJob::queue`.
    pub queue: String,
    /// Names the intent, e.g. `reminder/Appointment/1`; empty if the job has none.
    pub key: String,
    /// As in `store::job::NewJob::data`.
    pub data: Value,
    /// 1 the first time.
    pub attempt: u32,
}

/// Work that is looked for again and again, e.g. messages to send.
pub(super) struct Poll {
    pub name: &'static str,
    /// Looked for at least this often; a commit that made work wakes it at once.
    pub every: Duration,
    pub run: PollHandler,
}

pub(super) struct Subscription {
    pub name: &'static str,
    pub topics: &'static [&'static str],
    pub run: EventHandler,
}

/// Filled once at start.
#[derive(Default)]
pub struct Registry {
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) jobs: HashMap<&'static str, JobHandler>,
    pub(super) polls: Vec<Poll>,
}

impl Registry {
    /// `name` is stored with the subscriber's progress: never rename it. A topic ending in `.*` takes all that begin so.
    pub fn subscribe<F, W>(&mut self, name: &'static str, topics: &'static [&'static str], run: F)
    where
        F: Fn(AppState, Arc<LiveEvent>) -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        assert!(self.subscriptions.iter().all(|s| s.name != name), "two subscribers named {name}");
        let run: EventHandler = Arc::new(move |app, event| Box::pin(run(app, event)));
        self.subscriptions.push(Subscription { name, topics, run });
    }

    /// One handler per queue.
    pub fn job<F, W>(&mut self, queue: &'static str, run: F)
    where
        F: Fn(AppState, Arc<JobRun>) -> W + Send + Sync + 'static,
        W: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let run: JobHandler = Arc::new(move |app, job| Box::pin(run(app, job)));
        assert!(self.jobs.insert(queue, run).is_none(), "two handlers for jobs of queue {queue}");
    }

    /// Calls `run` on every wake-up and at least `every` so often, again at once while it returns more than 0 (pieces of
    /// work done). For queues with leases of their own: messages, the inbox. Errors are logged and tried again after
    /// `every`; one instance runs at a time in this process.
    pub fn poll<F, W>(&mut self, name: &'static str, every: Duration, run: F)
    where
        F: Fn(AppState) -> W + Send + Sync + 'static,
        W: Future<Output = Result<usize, Failure>> + Send + 'static,
    {
        let run: PollHandler = Arc::new(move |app| Box::pin(run(app)));
        self.polls.push(Poll { name, every, run });
    }

    pub(super) fn takes(subscription: &Subscription, topic: &str) -> bool {
        subscription.topics.iter().any(|wanted| match wanted.strip_suffix(".*") {
            Some(prefix) => topic.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.')),
            None => *wanted == topic,
        })
    }
}
