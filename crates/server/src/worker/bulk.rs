//! Exports, imports and kept views: one loop each, so that a long one of a kind does not hold up the others.

use crate::state::AppState;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use std::panic::AssertUnwindSafe;
use std::time::Duration;
use store::bulk::job::Kind;
use tokio::task::JoinSet;

/// How often work that another server took in is looked for.
const LOOK: Duration = Duration::from_secs(2);
const CLEAN: Duration = Duration::from_secs(60);
/// Pause after the database or the disk failed.
const TROUBLE: Duration = Duration::from_secs(5);

type Step = fn(AppState) -> BoxFuture<'static, Result<usize, record::Error>>;

const STEPS: &[(&str, Duration, Step)] = &[
    ("bulk.export", LOOK, |app| work(app, Kind::Export).boxed()),
    ("bulk.import", LOOK, |app| work(app, Kind::Import).boxed()),
    ("bulk.view", LOOK, |app| work(app, Kind::View).boxed()),
    ("bulk.copy", LOOK, |app| work(app, Kind::Copy).boxed()),
    ("views", LOOK, |app| refresh(app).boxed()),
    ("bulk.clean", CLEAN, |app| clean(app).boxed()),
];

async fn work(app: AppState, kind: Kind) -> Result<usize, record::Error> {
    app.parts.insight.work(kind, &|| app.stopping.is_cancelled()).await
}

async fn refresh(app: AppState) -> Result<usize, record::Error> {
    app.parts.insight.refresh_views(&|| app.stopping.is_cancelled()).await
}

async fn clean(app: AppState) -> Result<usize, record::Error> {
    app.parts.insight.clean().await
}

/// Runs until the server stops; the piece that was begun is closed.
pub async fn run(app: AppState) {
    let mut loops = JoinSet::new();
    for (name, every, step) in STEPS {
        loops.spawn(follow(app.clone(), name, *every, *step));
    }
    while loops.join_next().await.is_some() {}
}

async fn follow(app: AppState, name: &'static str, every: Duration, step: Step) {
    loop {
        // Before the look: what is made meanwhile must not be slept through.
        let bell = app.parts.insight.bell();
        tokio::pin!(bell);
        bell.as_mut().enable();
        let pause = match AssertUnwindSafe(step(app.clone())).catch_unwind().await {
            Ok(Ok(0)) => every,
            Ok(Ok(done)) => {
                app.metrics.count("polled", &format!("poll=\"{name}\""), done as u64);
                Duration::ZERO
            }
            Ok(Err(error)) => {
                tracing::warn!(poll = name, %error, "bulk work failed");
                TROUBLE
            }
            Err(_) => {
                tracing::error!(poll = name, "bulk work panicked");
                TROUBLE
            }
        };
        if app.stopping.is_cancelled() {
            return;
        }
        if !pause.is_zero() {
            tokio::select! {
                () = app.stopping.cancelled() => return,
                () = &mut bell, if pause == every => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }
}
