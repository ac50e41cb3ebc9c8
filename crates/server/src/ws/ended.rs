//! Ends open sockets whose session ended, on whatever server that happened.
//!
//! A session that ends leaves a hint in the database; every server looks for hints once a second and asks for its own
//! sockets of those accounts only. Without sockets and hints a look costs one small query.

use crate::state::AppState;
use std::time::Duration;

/// Between two looks; sockets end within two of them.
const EVERY: Duration = Duration::from_secs(1);

/// Runs until the server stops.
pub async fn run(app: AppState) {
    let mut turns = tokio::time::interval(EVERY);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.stopping.cancelled() => return,
            _ = turns.tick() => {}
        }
        if app.sockets.is_empty() {
            continue;
        }
        if let Err(error) = look(&app).await {
            tracing::warn!(%error, "ended sessions cannot be looked up");
        }
    }
}

async fn look(app: &AppState) -> Result<(), record::Error> {
    let accounts = app.record.sessions_ended_lately().await?;
    if accounts.is_empty() {
        return Ok(());
    }
    for (account, session) in app.sockets.sessions_of(&accounts) {
        if !app.record.is_session_alive(account, session).await? {
            app.sockets.close_session_id(account, session);
        }
    }
    Ok(())
}
