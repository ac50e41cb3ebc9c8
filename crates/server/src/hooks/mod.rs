//! Callbacks of outside providers: stored raw in the inbox, acknowledged, then processed as a command.

use crate::state::AppState;
use axum::Router;

/// One line per provider.
pub fn router() -> Router<AppState> {
    Router::new()
}
