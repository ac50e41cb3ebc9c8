//! `GET /ws`: live updates for a signed-in person.
//!
//! Server → client: `{"type":…,"seq":n,"data":{…}}`; first `ready` with the number to resume from. `resync` means: load
//! everything shown anew. Client → server: `{"type":"resume","seq":n}`.

use super::frame::{self, Audience, Frame};
use super::hub::{self, Membership};
use super::registry::{Full, Seat};
use super::{CLOSE_PROTOCOL, CLOSE_SESSION_ENDED, CLOSE_STOPPING, check_origin, close, small};
use crate::http::SessionCaller;
use crate::http::error::{ApiError, Refusal, RefusalKind};
use crate::state::AppState;
use axum::extract::State;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::Timestamp;
use serde::Deserialize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Longest message of a client, bytes.
const MESSAGE_BYTES: usize = 4096;
/// A ping goes out this often; two without an answer end the socket.
const HEARTBEAT: Duration = Duration::from_secs(25);
/// Events that are sent again on resume; beyond, the client loads everything anew.
const RESUME_MAX: u32 = 500;
/// A client may not send more messages than this between two heartbeats.
const MESSAGES_PER_HEARTBEAT: u32 = 20;

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum FromClient {
    Resume { seq: i64 },
    Ping {},
}

/// The upgrade. Errors: 401, 403 for another site's page, 503 when there are too many.
pub async fn connect(
    State(app): State<AppState>,
    caller: SessionCaller,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    check_origin(&app, &headers)?;
    let account = caller.info.user.account;
    let seat = app.sockets.seat(account, Some(caller.info.facts.id)).map_err(|full| match full {
        Full::Server => Refusal::new(RefusalKind::Overloaded, "Too many live connections."),
        Full::Account => Refusal::new(RefusalKind::Overloaded, "Too many live connections of this account."),
    })?;
    let membership = hub::join(&app, caller.ctx).ok_or(record::Error::Denied)?;
    let expires_at = caller.info.expires_at;
    let task = move |socket: WebSocket| async move {
        app.metrics.sockets.fetch_add(1, Relaxed);
        run(&app, socket, seat, membership, expires_at).await;
        app.metrics.sockets.fetch_sub(1, Relaxed);
    };
    Ok(small(upgrade, MESSAGE_BYTES).on_upgrade(task))
}

async fn run(
    app: &AppState,
    mut socket: WebSocket,
    seat: Seat,
    mut membership: Membership,
    expires_at: Timestamp,
) {
    let left = expires_at.duration_since(app.record.now());
    let expiry = tokio::time::sleep(Duration::try_from(left).unwrap_or_default());
    tokio::pin!(expiry);
    let mut heartbeat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    let mut unanswered = 0_u8;
    let mut messages = 0_u32;
    let ready = Frame::new(Audience::Readers, "ready", app.hub.last_seq(), &serde_json::json!({}));
    if socket.send(Message::Text(ready.text)).await.is_err() {
        return;
    }
    let reason = loop {
        tokio::select! {
            () = app.stopping.cancelled() => break close(CLOSE_STOPPING, "stopping"),
            () = seat.ended() => break close(CLOSE_SESSION_ENDED, "session ended"),
            () = &mut expiry => break close(CLOSE_SESSION_ENDED, "session ended"),
            frame = membership.frames.recv() => {
                let Some(text) = frame else { return };
                if socket.send(Message::Text(text)).await.is_err() {
                    return;
                }
                if membership.frames.is_empty() && membership.take_lagged() && send_resync(app, &mut socket).await.is_err() {
                    return;
                }
            }
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => {
                    messages += 1;
                    if messages > MESSAGES_PER_HEARTBEAT {
                        break close(CLOSE_PROTOCOL, "too many messages");
                    }
                    match serde_json::from_str(&text) {
                        Ok(FromClient::Resume { seq }) => {
                            if resume(app, &mut socket, &membership, seq).await.is_err() {
                                return;
                            }
                        }
                        Ok(FromClient::Ping {}) => {}
                        Err(_) => break close(CLOSE_PROTOCOL, "not understood"),
                    }
                }
                Some(Ok(Message::Pong(_))) => unanswered = 0,
                Some(Ok(Message::Ping(_))) => {}
                Some(Ok(Message::Binary(_))) => break close(CLOSE_PROTOCOL, "text only"),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
            },
            _ = heartbeat.tick() => {
                messages = 0;
                if !is_valid(app, &membership).await {
                    break close(CLOSE_SESSION_ENDED, "session ended");
                }
                if unanswered >= 2 || socket.send(Message::Ping(Vec::new().into())).await.is_err() {
                    return;
                }
                unanswered += 1;
            }
        }
    };
    let _ = socket.send(reason).await;
}

/// Whether the account may still do what it could when the socket was opened: it may have been changed on another
/// server. An error counts as yes; the next beat asks again.
async fn is_valid(app: &AppState, membership: &Membership) -> bool {
    let Some(user) = membership.listener.ctx.user() else { return false };
    // An open socket does not keep a session alive that nobody uses.
    if let Some(session) = &membership.listener.ctx.session
        && matches!(app.record.is_session_alive(user.account, session.id).await, Ok(false))
    {
        return false;
    }
    let ctx = access::Ctx::system("live", app.record.now());
    match app.record.account(&ctx, user.account).await {
        Ok(row) => !row.disabled && row.roles == user.roles,
        Err(record::Error::NotFound) => false,
        Err(_) => true,
    }
}

async fn send_resync(app: &AppState, socket: &mut WebSocket) -> Result<(), axum::Error> {
    let frame = Frame::new(Audience::Readers, "resync", app.hub.last_seq(), &serde_json::json!({}));
    socket.send(Message::Text(frame.text)).await
}

/// Sends again what was committed after `seq`, or `resync` when that is too much or not known any more.
async fn resume(
    app: &AppState,
    socket: &mut WebSocket,
    membership: &Membership,
    seq: i64,
) -> Result<(), axum::Error> {
    let missed = match app.record.events_after(seq.max(0), RESUME_MAX + 1).await {
        Ok(events) if events.len() <= RESUME_MAX as usize => events,
        _ => return send_resync(app, socket).await,
    };
    for event in missed.iter().filter(|event| frame::is_live(event)) {
        let Ok(frames) = frame::frames(app, event).await else { return send_resync(app, socket).await };
        let may_read = hub::may_see(app, &membership.listener.ctx, event).await;
        let mine = frames.into_iter().filter(|f| match f.audience {
            Audience::Everybody => true,
            Audience::Readers => may_read,
            Audience::Account(account) => account == membership.listener.account,
        });
        for text in mine.map(|f| f.text).collect::<Vec<Utf8Bytes>>() {
            socket.send(Message::Text(text)).await?;
        }
    }
    Ok(())
}
