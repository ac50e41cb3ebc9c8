//! `GET /ws/consultation/{id}?session=TOKEN&seq=N&instance=UUID`: signalling of a call, see [reach::consult::protocol].
//!
//! The session cookie says who connects and ends the socket at sign-out; the call's own token (from the join request)
//! says that this person might take part when she joined, and [super::part] whether she still may. A refused token is told
//! by a close code, because a page cannot read the status of a failed upgrade.

use super::part::{Ending, Taking};
use super::registry::{Full, Seat};
use super::{CLOSE_PROTOCOL, CLOSE_SESSION_ENDED, CLOSE_STOPPING, check_origin, close, small};
use crate::config::Config;
use crate::http::SessionCaller;
use crate::http::error::{ApiError, Refusal, RefusalKind};
use crate::state::AppState;
use anyhow::Context as _;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::Timestamp;
use parking_lot::Mutex;
use reach::consult::protocol::{self, FRAME_BYTES_MAX};
use reach::consult::{ConnectError, Connection, Hub, LogEvent, Outgoing};
use reach::turn::{Turn, TurnConfig};
use serde::Deserialize;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;

/// A ping goes out this often.
const PING_EVERY: Duration = Duration::from_secs(10);
/// A socket that has said nothing for this long, not even a pong, is dead.
const SILENCE_MAX: Duration = Duration::from_secs(25);
/// Longest wait for a socket to take a frame.
const SEND_MAX: Duration = Duration::from_secs(10);
/// Longest wait for a client to close after it was told why.
const FAREWELL_MAX: Duration = Duration::from_secs(2);
/// Session log events that may wait for their writer.
const EVENTS_MAX: usize = 4096;

/// Everything calls need: the rooms, the relay, and what happened in the rooms.
pub struct Calls {
    pub hub: Arc<Hub>,
    /// None when `turn.listen` is not set.
    pub turn: Option<Turn>,
    events: Mutex<Option<mpsc::Receiver<LogEvent>>>,
    clock: tokio::task::JoinHandle<()>,
}

impl Calls {
    /// Starts the rooms' clock and the relay. Errors: a relay that cannot listen or has no address to be reached at.
    pub async fn start(config: &Config) -> anyhow::Result<Calls> {
        let (sender, receiver) = mpsc::channel(EVENTS_MAX);
        let hub = Hub::new(Arc::new(move |event: LogEvent| {
            if sender.try_send(event).is_err() {
                tracing::error!("a call's session log entry was lost: its writer is too slow or gone");
            }
        }));
        let turn = match config.turn.listen {
            Some(listen) => Some(Turn::start(relay(config, listen)?).await?),
            None => None,
        };
        let clock = tokio::spawn(Arc::clone(&hub).run());
        Ok(Calls { hub, turn, events: Mutex::new(Some(receiver)), clock })
    }

    /// The events of all rooms, for the one task that stores them; None when somebody has taken them already.
    pub fn take_events(&self) -> Option<mpsc::Receiver<LogEvent>> {
        self.events.lock().take()
    }

    /// Lets go of every socket; clients come back to the next process.
    pub fn stop(&self) {
        self.clock.abort();
        self.hub.close_all();
    }
}

fn relay(config: &Config, listen: SocketAddr) -> anyhow::Result<TurnConfig> {
    let turn = &config.turn;
    let address = turn.public_ip.or(Some(listen.ip()).filter(|ip| !ip.is_unspecified()));
    let address = address.context(
        "turn.listen is a wildcard address: set turn.public_ip to the address that clients reach the relay at",
    )?;
    let secret = match &turn.secret {
        Some(secret) => secret.expose().as_bytes().to_vec(),
        None => {
            let mut secret = vec![0; 32];
            getrandom::fill(&mut secret).context("no randomness for the relay's secret")?;
            secret
        }
    };
    let defaults = TurnConfig::loopback(secret);
    Ok(TurnConfig {
        listen_udp: listen,
        listen_tcp: Some(listen),
        public_host: address.to_string(),
        relay_bind: if listen.ip().is_ipv4() == address.is_ipv4() { listen.ip() } else { address },
        relay_address: address,
        relay_ports: (turn.port_min, turn.port_max),
        realm: turn.realm.clone(),
        allow_private_peers: turn.allow_private_relays,
        ..defaults
    })
}

#[derive(Deserialize)]
pub struct Opening {
    session: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    instance: String,
}

/// The upgrade. Errors: 401, 403 for another site's page, 503 when there are too many sockets.
pub async fn connect(
    State(app): State<AppState>,
    Path(id): Path<String>,
    Query(opening): Query<Opening>,
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
    let task = move |mut socket: WebSocket| async move {
        let hub = &app.parts.calls.hub;
        let Some(role) = hub.role_of(&id, &opening.session, &account.to_string()) else {
            return farewell(&mut socket, close(ConnectError::Unknown.close_code(), "refused")).await;
        };
        // A token outlives the right that it was given for.
        let mut taking = Taking::new(id.clone(), account, role, caller.ctx);
        match taking.ask(&app).await {
            None => {}
            // The room tells it.
            Some(Ending::Over) => hub.end(&id, None, Timestamp::now()),
            Some(ending @ (Ending::Out | Ending::SignedOut)) => {
                hub.put_out(&id, &account.to_string(), role, Timestamp::now());
                taking.end_relay(&app);
                tokio::join!(taking.note(&app, ending), farewell(&mut socket, goodbye(ending)));
                return;
            }
        }
        match hub.connect(&id, &opening.session, opening.seq, &opening.instance, Timestamp::now()) {
            Ok(connection) => {
                app.metrics.sockets.fetch_add(1, Relaxed);
                run(&app, &mut socket, seat, connection, taking).await;
                app.metrics.sockets.fetch_sub(1, Relaxed);
            }
            Err(refused) => {
                farewell(&mut socket, close(refused.close_code(), "refused")).await;
            }
        }
    };
    Ok(small(upgrade, FRAME_BYTES_MAX).on_upgrade(task))
}

/// The close frame for who may stay no longer.
fn goodbye(ending: Ending) -> Message {
    match ending {
        Ending::Out => close(protocol::close::PUT_OUT, "put out"),
        Ending::SignedOut => close(CLOSE_SESSION_ENDED, "session ended"),
        Ending::Over => close(protocol::close::ENDED, "ended"),
    }
}

/// Sends the close frame and waits until the client has closed as well: one that was still speaking would otherwise be
/// reset, and never read why.
async fn farewell(socket: &mut WebSocket, reason: Message) {
    let goodbye = async {
        if socket.send(reason).await.is_ok() {
            while let Some(Ok(_)) = socket.recv().await {}
        }
    };
    let _ = tokio::time::timeout(FAREWELL_MAX, goodbye).await;
}

async fn run(
    app: &AppState,
    socket: &mut WebSocket,
    seat: Seat,
    mut connection: Connection,
    mut taking: Taking,
) {
    let ending = converse(app, socket, seat, &mut connection, &mut taking).await;
    if let Some(ending @ (Ending::Out | Ending::SignedOut)) = ending {
        // First the room, so that the others close what they share with her.
        connection.put_out(Timestamp::now());
        taking.end_relay(app);
        tokio::join!(taking.note(app, ending), farewell(socket, goodbye(ending)));
    }
}

/// Passes frames until the socket ends; why, if she may stay no longer.
async fn converse(
    app: &AppState,
    socket: &mut WebSocket,
    seat: Seat,
    connection: &mut Connection,
    taking: &mut Taking,
) -> Option<Ending> {
    let visit = taking.visit.clone();
    let right = taking.ended(app);
    tokio::pin!(right);
    let mut is_over = false;
    let mut ping = tokio::time::interval_at(Instant::now() + PING_EVERY, PING_EVERY);
    let mut heard = Instant::now();
    let reason = loop {
        tokio::select! {
            () = app.stopping.cancelled() => break close(CLOSE_STOPPING, "stopping"),
            () = seat.ended() => return Some(Ending::SignedOut),
            ending = &mut right, if !is_over => match ending {
                // The room tells everybody, and closes.
                Ending::Over => {
                    is_over = true;
                    app.parts.calls.hub.end(&visit, None, Timestamp::now());
                }
                Ending::Out | Ending::SignedOut => return Some(ending),
            },
            outgoing = connection.next() => match outgoing {
                Some(Outgoing::Text(text)) => {
                    let sent = tokio::time::timeout(SEND_MAX, socket.send(Message::Text(text.into()))).await;
                    if !matches!(sent, Ok(Ok(()))) {
                        return None;
                    }
                }
                Some(Outgoing::Close(code)) => break close(code, ""),
                None => return None,
            },
            message = socket.recv() => {
                heard = Instant::now();
                match message {
                    Some(Ok(Message::Text(text))) => connection.receive(&text, Timestamp::now()),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Binary(_))) => break close(CLOSE_PROTOCOL, "text only"),
                    Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                }
            }
            _ = ping.tick() => {
                if heard.elapsed() > SILENCE_MAX {
                    break close(protocol::close::SILENT, "silent");
                }
                let sent = tokio::time::timeout(SEND_MAX, socket.send(Message::Ping(Vec::new().into()))).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return None;
                }
            }
        }
    };
    farewell(socket, reason).await;
    None
}
