//! Callbacks of outside providers: stored raw in the inbox, acknowledged, then processed as a command.

pub mod africastalking;
pub mod daraja;

use crate::state::AppState;
use axum::Router;

/// One line per provider.
pub fn router() -> Router<AppState> {
    Router::new().merge(daraja::router()).merge(africastalking::router())
}
