//! The thin asynchronous shell around the rooms: tokens, sockets, time.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::event::{ConnectError, ConnectionId, Effect, Grant, LogEvent, Presence};
use super::protocol::{IDENTIFIER_BYTES_MAX, Role};
use super::room::Room;
use super::session::TokenHash;

const TOKEN_BYTES: usize = 32;
/// How long a session may go on, reconnects included.
const SESSION_LIFE: SignedDuration = SignedDuration::from_hours(4);
const ROOMS_MAX: usize = 10_000;
/// Frames waiting for one slow socket; when they are too many the socket is dropped and resumes later.
const QUEUE_FRAMES_MAX: usize = 1_024;
const TICK: Duration = Duration::from_secs(1);

/// Called with every event of every room, outside the hub's lock. It must not block: send it to a channel and
/// store it from there.
pub type LogSink = Arc<dyn Fn(LogEvent) + Send + Sync>;

/// Why no grant was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    #[error("too many calls at once")]
    Full,
    #[error("the system has no randomness")]
    Randomness,
}

/// A session that may be opened with `token`.
#[derive(Clone, PartialEq, Eq)]
pub struct Granted {
    /// 256 bits, base64url; only its hash is kept.
    pub token: String,
    pub expires_at: Timestamp,
}

impl std::fmt::Debug for Granted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Granted").field("token", &"***").field("expires_at", &self.expires_at).finish()
    }
}

/// What a socket must do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    Text(String),
    /// Send a close frame with this code; nothing follows.
    Close(u16),
}

#[derive(Default)]
struct State {
    rooms: HashMap<String, Room>,
    sockets: HashMap<ConnectionId, mpsc::Sender<Outgoing>>,
}

/// Every room of this process.
pub struct Hub {
    state: Mutex<State>,
    connections_made: AtomicU64,
    sink: LogSink,
}

impl Hub {
    pub fn new(sink: LogSink) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), connections_made: AtomicU64::new(0), sink })
    }

    /// Gives somebody leave to take part; makes the room when it is the first. The caller has checked that the
    /// account may take part in this consultation in this role.
    ///
    /// # Errors
    /// [GrantError::Full] beyond 10,000 rooms.
    pub fn grant(&self, grant: Grant, now: Timestamp) -> Result<Granted, GrantError> {
        let mut secret = [0; TOKEN_BYTES];
        getrandom::fill(&mut secret).map_err(|_| GrantError::Randomness)?;
        let token = URL_SAFE_NO_PAD.encode(secret);
        let expires_at = now.saturating_add(SESSION_LIFE).unwrap_or(now);
        let mut state = self.state.lock();
        if state.rooms.len() >= ROOMS_MAX && !state.rooms.contains_key(&grant.consultation_id) {
            return Err(GrantError::Full);
        }
        state
            .rooms
            .entry(grant.consultation_id.clone())
            .or_insert_with_key(|id| Room::new(id.clone(), grant.admitted, now))
            .grant(hash(&token), grant, expires_at, now);
        Ok(Granted { token, expires_at })
    }

    /// In what capacity the token lets this account take part in this consultation; None for every other account: a
    /// token alone, which may have been read in an address, lets nobody else in.
    pub fn role_of(&self, consultation_id: &str, token: &str, account: &str) -> Option<Role> {
        self.state.lock().rooms.get(consultation_id)?.role_of(&hash(token), account)
    }

    /// Ends somebody's part in the visit: her right to it has ended. Her tokens open nothing here any more.
    pub fn put_out(&self, consultation_id: &str, account: &str, role: Role, now: Timestamp) {
        self.with_room(consultation_id, |room| room.put_out(account, role, now));
    }

    /// Lets a socket in. `seen` is the last server message the client has handled, `instance` names its page.
    /// The first frames to send are already waiting in the connection.
    ///
    /// # Errors
    /// [ConnectError]; answer with its close code.
    pub fn connect(
        self: &Arc<Self>,
        consultation_id: &str,
        token: &str,
        seen: u64,
        instance: &str,
        now: Timestamp,
    ) -> Result<Connection, ConnectError> {
        let id = self.connections_made.fetch_add(1, Ordering::Relaxed);
        let (queue, outgoing) = mpsc::channel(QUEUE_FRAMES_MAX);
        let mut instance = instance;
        if instance.len() > IDENTIFIER_BYTES_MAX {
            instance = "";
        }
        let mut state = self.state.lock();
        let room = state.rooms.get_mut(consultation_id).ok_or(ConnectError::Unknown)?;
        let effects = room.connect(&hash(token), seen, instance, id, now)?;
        state.sockets.insert(id, queue);
        let events = perform(&mut state, effects);
        drop(state);
        self.report(events);
        Ok(Connection { hub: Arc::clone(self), room: consultation_id.to_owned(), id, outgoing })
    }

    /// Tells a waiting patient her place in the queue; 1 is next.
    pub fn set_position(&self, consultation_id: &str, position: u32) {
        self.with_room(consultation_id, |room| room.set_position(position));
    }

    /// Opens the visit. To be called after the record says so.
    pub fn admit(&self, consultation_id: &str, now: Timestamp) {
        self.with_room(consultation_id, |room| room.admit(now));
    }

    /// Ends the visit for everybody. To be called after the record says so.
    pub fn end(&self, consultation_id: &str, by: Option<Role>, now: Timestamp) {
        self.with_room(consultation_id, |room| room.end(by, now));
    }

    /// Who is there; None when nobody has joined since the start of this process.
    pub fn presence(&self, consultation_id: &str) -> Option<Presence> {
        self.state.lock().rooms.get(consultation_id).map(Room::presence)
    }

    /// Whether this account is in this call at the moment.
    pub fn has(&self, consultation_id: &str, account: &str) -> bool {
        self.presence(consultation_id)
            .is_some_and(|room| room.participants.iter().any(|one| one.1 == account))
    }

    /// Rooms and open sockets, for `/metrics`.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.rooms.len(), state.sockets.len())
    }

    /// Moves time on in every room. [Hub::run] does this every second; tests call it themselves.
    pub fn tick(&self, now: Timestamp) {
        let mut events = Vec::new();
        {
            let mut state = self.state.lock();
            let effects: Vec<Effect> = state.rooms.values_mut().flat_map(|room| room.tick(now)).collect();
            events.extend(perform(&mut state, effects));
            state.rooms.retain(|_, room| !room.is_finished(now));
        }
        self.report(events);
    }

    /// Ticks until the future is dropped; spawn it once.
    pub async fn run(self: Arc<Self>) {
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            interval.tick().await;
            self.tick(Timestamp::now());
        }
    }

    /// Drops every socket without ending a visit, so that clients come back to the next process.
    pub fn close_all(&self) {
        self.state.lock().sockets.clear();
    }

    /// Drops the sockets of one consultation as a broken network would; its clients resume. Returns how many.
    pub fn drop_sockets(&self, consultation_id: &str) -> usize {
        let mut state = self.state.lock();
        let connections = state.rooms.get(consultation_id).map(Room::connections).unwrap_or_default();
        connections.iter().filter(|connection| state.sockets.remove(connection).is_some()).count()
    }

    fn with_room(&self, consultation_id: &str, act: impl FnOnce(&mut Room) -> Vec<Effect>) {
        let events = {
            let mut state = self.state.lock();
            let effects = state.rooms.get_mut(consultation_id).map(act).unwrap_or_default();
            perform(&mut state, effects)
        };
        self.report(events);
    }

    fn report(&self, events: Vec<LogEvent>) {
        for event in events {
            (self.sink)(event);
        }
    }
}

/// Carries out effects; returns what is to be logged once the lock is free.
fn perform(state: &mut State, effects: Vec<Effect>) -> Vec<LogEvent> {
    let mut events = Vec::new();
    for effect in effects {
        match effect {
            Effect::Send { connection, text } => {
                let full = state
                    .sockets
                    .get(&connection)
                    .is_some_and(|queue| queue.try_send(Outgoing::Text(text)).is_err());
                if full {
                    // The receiver ends when its sender is gone; the client resumes and gets what it missed.
                    state.sockets.remove(&connection);
                }
            }
            Effect::Close { connection, code } => {
                if let Some(queue) = state.sockets.remove(&connection) {
                    // A full queue just ends without a code, which the client treats as a broken network.
                    let _ = queue.try_send(Outgoing::Close(code));
                }
            }
            Effect::Log(event) => events.push(event),
        }
    }
    events
}

fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

/// One socket's end of the hub. Dropping it is the disconnect.
pub struct Connection {
    hub: Arc<Hub>,
    room: String,
    id: ConnectionId,
    outgoing: mpsc::Receiver<Outgoing>,
}

impl Connection {
    /// What to send next; None when the hub has let go of this socket: close it. Cancel safe.
    pub async fn next(&mut self) -> Option<Outgoing> {
        self.outgoing.recv().await
    }

    /// As [Hub::put_out], for who is behind this socket. Nothing when another socket has taken its place.
    pub fn put_out(&self, now: Timestamp) {
        self.hub.with_room(&self.room, |room| room.put_out_connection(self.id, now));
    }

    /// Hands in a text frame of the client.
    pub fn receive(&self, text: &str, now: Timestamp) {
        self.hub.with_room(&self.room, |room| room.receive(self.id, text, now));
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.hub.state.lock().sockets.remove(&self.id);
        self.hub.with_room(&self.room, |room| room.disconnect(self.id, Timestamp::now()));
    }
}

#[cfg(test)]
#[path = "hub_tests.rs"]
mod tests;
