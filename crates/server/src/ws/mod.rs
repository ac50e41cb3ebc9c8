//! WebSockets: live updates and call signalling.
//!
//! # How to add a socket
//! One file with one handler; take a [registry::Seat] from `app.sockets` before the upgrade (503 when full), end on
//! `seat.ended()` (close 4401) and on `app.stopping` (close 1001), build the upgrade with [small] so that an idle socket
//! stays under 32 KiB, and check the origin with [check_origin].

pub mod consultation;
pub mod ended;
pub mod frame;
pub mod hub;
mod live;
pub mod part;
pub mod registry;
mod subscription;

use crate::http::csrf::is_own_origin;
use crate::http::error::{ApiError, Refusal, RefusalKind};
use crate::state::{App, AppState};
use axum::Router;
use axum::extract::ws::{CloseFrame, Message, WebSocketUpgrade};
use axum::http::{HeaderMap, header};
use axum::routing::get;

/// The session ended: sign in again.
pub const CLOSE_SESSION_ENDED: u16 = 4401;
/// The server is stopping: connect again soon.
pub const CLOSE_STOPPING: u16 = 1001;
/// What came was no message of ours.
pub const CLOSE_PROTOCOL: u16 = 1008;

/// Where subscribers connect.
pub const SUBSCRIPTIONS: &str = subscription::PATH;

/// One line per socket.
pub fn router() -> Router<AppState> {
    Router::new()
        .route("/ws", get(live::connect))
        .route("/ws/consultation/{id}", get(consultation::connect))
        .route(subscription::PATH, get(subscription::connect))
}

/// Buffers sized for small messages; the defaults hold 128 KiB per socket.
pub fn small(upgrade: WebSocketUpgrade, message_bytes: usize) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(2048)
        .write_buffer_size(0)
        .max_write_buffer_size(1024 * 1024)
        .max_message_size(message_bytes)
        .max_frame_size(message_bytes)
}

/// Browsers send `Origin` with every WebSocket; another site's page must not use our cookie. Errors: 403.
pub fn check_origin(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get(header::ORIGIN).map(|v| v.to_str().unwrap_or_default()) {
        Some(origin) if !is_own_origin(origin, headers, &app.public_url) => {
            Err(Refusal::new(RefusalKind::OriginForeign, "This page belongs to another site.").into())
        }
        _ => Ok(()),
    }
}

/// A close frame with a reason.
pub fn close(code: u16, reason: &'static str) -> Message {
    Message::Close(Some(CloseFrame { code, reason: reason.into() }))
}
