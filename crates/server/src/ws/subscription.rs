//! `GET /ws/subscriptions`: notifications of FHIR Subscriptions with a websocket channel.
//!
//! The client's first message binds the socket: `bind-with-token: TOKEN` with a token of `$get-ws-binding-token` (the
//! backport guide), or R4's own `bind ID`, for which the upgrade carries the caller's session or bearer token. Then come
//! notification Bundles as text for topics (first a handshake), and `ping ID` for R4's own kind.

use super::registry::{Full, Seat};
use super::{CLOSE_PROTOCOL, CLOSE_SESSION_ENDED, CLOSE_STOPPING, check_origin, close, small};
use crate::http::MaybeCaller;
use crate::http::error::{ApiError, Refusal, RefusalKind};
use crate::state::AppState;
use crate::storage::Wake;
use access::{Ctx, Principal};
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use record::Error;
use record::subscription::{Bound, Kind};
use sha2::{Digest as _, Sha256};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;

pub const PATH: &str = "/ws/subscriptions";
/// Longest message of a client, bytes.
const MESSAGE_BYTES: usize = 4096;
/// Time to bind.
const BIND_TIME: Duration = Duration::from_secs(30);
/// Subscriptions of one socket.
const MAX_BOUND: usize = 100;
/// A ping goes out this often; two without an answer end the socket.
const ALIVE: Duration = Duration::from_secs(25);
/// News is looked for at least this often, for commits of other servers.
const LOOK: Duration = Duration::from_secs(1);
/// Shortest time between two looks.
const PAUSE: Duration = Duration::from_millis(20);
/// Messages of a client between two pings.
const MAX_MESSAGES: u32 = 100;

/// The upgrade. Errors: 403 for another site's page, 503 when there are too many.
pub async fn connect(
    State(app): State<AppState>,
    MaybeCaller(ctx): MaybeCaller,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Result<Response, ApiError> {
    check_origin(&app, &headers)?;
    let session = ctx.session.as_ref().map(|s| s.id);
    let seat = app.sockets.seat(account(&ctx), session).map_err(|full| match full {
        Full::Server => Refusal::new(RefusalKind::Overloaded, "Too many live connections."),
        Full::Account => Refusal::new(RefusalKind::Overloaded, "Too many live connections of this caller."),
    })?;
    let task = move |socket: WebSocket| async move {
        app.metrics.sockets.fetch_add(1, Relaxed);
        run(&app, socket, seat, ctx).await;
        app.metrics.sockets.fetch_sub(1, Relaxed);
    };
    Ok(small(upgrade, MESSAGE_BYTES).on_upgrade(task))
}

/// Whose sockets are counted together: the account, or a number below 0 for a client or an address.
fn account(ctx: &Ctx) -> i64 {
    let name = match &ctx.principal {
        Principal::User(user) => return user.account,
        Principal::Anonymous => ctx.address.map(|a| a.to_string()).unwrap_or_default(),
        Principal::Client { .. } | Principal::System(_) => ctx.principal.agent(),
    };
    let digest = Sha256::digest(name.as_bytes());
    let mut first = [0_u8; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_be_bytes(first) | i64::MIN
}

/// One subscription of this socket.
struct Followed {
    bound: Bound,
    /// Number of the last event that was sent.
    last: i64,
    /// When the next heartbeat is due.
    beat: Option<Instant>,
}

impl Followed {
    fn new(bound: Bound) -> Followed {
        let mut followed = Followed { last: bound.after, bound, beat: None };
        followed.spoke();
        followed
    }
    fn spoke(&mut self) {
        self.beat = self.bound.heartbeat_s.map(|s| Instant::now() + Duration::from_secs(s));
    }
}

/// Why the socket ends.
enum End {
    /// The other side is gone.
    Silent,
    Close(Message),
}

impl From<axum::Error> for End {
    fn from(_: axum::Error) -> End {
        End::Silent
    }
}

async fn run(app: &AppState, mut socket: WebSocket, seat: Seat, ctx: Ctx) {
    if let Err(End::Close(reason)) = follow(app, &mut socket, &seat, &ctx).await {
        let _ = socket.send(reason).await;
    }
}

async fn follow(app: &AppState, socket: &mut WebSocket, seat: &Seat, ctx: &Ctx) -> Result<(), End> {
    let mut followed: Vec<Followed> = Vec::new();
    let mut wake = Wake::new(&app.record);
    let bind_until = Instant::now() + BIND_TIME;
    let mut alive = tokio::time::interval_at(Instant::now() + ALIVE, ALIVE);
    let (mut unanswered, mut messages) = (0_u8, 0_u32);
    loop {
        tokio::select! {
            () = app.stopping.cancelled() => return Err(End::Close(close(CLOSE_STOPPING, "stopping"))),
            () = seat.ended() => return Err(End::Close(close(CLOSE_SESSION_ENDED, "session ended"))),
            () = tokio::time::sleep_until(bind_until), if followed.is_empty() => {
                return Err(End::Close(close(CLOSE_PROTOCOL, "not bound")));
            }
            _ = alive.tick() => {
                messages = 0;
                if unanswered >= 2 {
                    return Err(End::Silent);
                }
                socket.send(Message::Ping(Vec::new().into())).await?;
                unanswered += 1;
            }
            () = wake.wait(), if !followed.is_empty() => {
                tokio::time::sleep(PAUSE).await;
                news(app, socket, &mut followed).await?;
            }
            () = tokio::time::sleep(LOOK), if !followed.is_empty() => news(app, socket, &mut followed).await?,
            message = socket.recv() => match message {
                Some(Ok(Message::Text(text))) => {
                    messages += 1;
                    if messages > MAX_MESSAGES {
                        return Err(End::Close(close(CLOSE_PROTOCOL, "too many messages")));
                    }
                    bind(app, socket, ctx, &text, &mut followed).await?;
                }
                Some(Ok(Message::Pong(_))) => unanswered = 0,
                Some(Ok(Message::Ping(_))) => {}
                Some(Ok(Message::Binary(_))) => return Err(End::Close(close(CLOSE_PROTOCOL, "text only"))),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Silent),
            },
        }
    }
}

async fn bind(
    app: &AppState,
    socket: &mut WebSocket,
    ctx: &Ctx,
    text: &str,
    followed: &mut Vec<Followed>,
) -> Result<(), End> {
    let refused = |reason| Err(End::Close(close(CLOSE_PROTOCOL, reason)));
    let found = if let Some(token) = text.strip_prefix("bind-with-token") {
        app.record.subscriptions_bound(token.trim_start_matches(':').trim()).await
    } else if let Some(id) = text.strip_prefix("bind") {
        let ctx = Ctx { now: app.record.now(), ..ctx.clone() };
        app.record.bind_subscription(&ctx, id.trim_start_matches(':').trim()).await.map(|bound| vec![bound])
    } else {
        return refused("not understood");
    };
    let found = match found {
        Ok(found) if !found.is_empty() => found,
        Ok(_) => return Err(End::Close(close(CLOSE_SESSION_ENDED, "token unknown or expired"))),
        Err(Error::Busy | Error::Internal(_)) => return Err(End::Close(close(CLOSE_STOPPING, "busy"))),
        Err(_) => return Err(End::Close(close(CLOSE_SESSION_ENDED, "not allowed"))),
    };
    for bound in found {
        if followed.len() >= MAX_BOUND {
            return refused("too many subscriptions");
        }
        if bound.is_topic {
            let greeting =
                app.record.subscription_greeting(&bound.id, Kind::Handshake, &app.fhir_base()).await;
            match greeting {
                Ok(notice) => socket.send(Message::Text(notice.body.to_string().into())).await?,
                Err(_) => return refused("the subscription is gone"),
            }
        } else {
            socket.send(Message::Text(format!("bound {}", bound.id).into())).await?;
        }
        followed.retain(|f| f.bound.id != bound.id);
        followed.push(Followed::new(bound));
    }
    Ok(())
}

/// Sends what is new to all bound subscriptions. A database that does not answer now is asked again.
async fn news(app: &AppState, socket: &mut WebSocket, followed: &mut [Followed]) -> Result<(), End> {
    let base = app.fhir_base();
    for one in followed {
        loop {
            match app.record.subscription_news(&one.bound.id, one.last, &base).await {
                Ok(Some(notice)) => {
                    let text = match one.bound.is_topic {
                        true => notice.body.to_string(),
                        false => format!("ping {}", one.bound.id),
                    };
                    socket.send(Message::Text(text.into())).await?;
                    one.last = notice.last;
                    one.spoke();
                }
                Ok(None) | Err(Error::Busy | Error::Internal(_)) => break,
                Err(_) => return Err(End::Close(close(CLOSE_SESSION_ENDED, "subscription ended"))),
            }
        }
        if one.beat.is_some_and(|at| at <= Instant::now()) {
            if let Ok(notice) = app.record.subscription_greeting(&one.bound.id, Kind::Heartbeat, &base).await
            {
                socket.send(Message::Text(notice.body.to_string().into())).await?;
            }
            one.spoke();
        }
    }
    Ok(())
}
