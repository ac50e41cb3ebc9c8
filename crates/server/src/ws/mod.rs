//! WebSockets: live updates and call signalling.

pub mod registry;

use crate::state::AppState;
use axum::Router;

/// One line per socket.
pub fn router() -> Router<AppState> {
    Router::new()
}
