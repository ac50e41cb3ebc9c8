//! One visit's signalling as a pure state machine: inputs and the time in, effects out. No sockets, no clock.

use std::collections::VecDeque;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::event::{ConnectError, ConnectionId, Effect, Grant, LeftReason, LogEvent, LogKind, Presence};
use super::participant::{Participant, Pending};
use super::protocol::{self, ChatLine, ClientMessage, Hello, MediaState, Refused, Role, RoomState, close};
use super::session::{Arrival, Session, TokenHash};

/// A dropped socket may come back within this time before the peers are told that the participant is gone.
pub const GRACE: SignedDuration = SignedDuration::from_secs(30);
/// A grant that nobody uses is void after this time.
pub const GRANT_UNUSED: SignedDuration = SignedDuration::from_secs(300);
/// An ended room answers late sockets for this time, then it is forgotten.
pub const LINGER: SignedDuration = SignedDuration::from_secs(120);
/// A room nobody is in is forgotten after this time; the next grant makes it anew from the record.
pub const EMPTY: SignedDuration = SignedDuration::from_secs(1800);
pub const PARTICIPANTS_MAX: usize = 8;
const GRANTS_MAX: usize = 32;
const CHAT_LINES_MAX: usize = 1_000;
/// Quality figures reach the log at most this often per participant.
const QUALITY_LOG_EVERY: SignedDuration = SignedDuration::from_secs(25);

/// The signalling of one visit.
#[derive(Debug)]
pub struct Room {
    id: String,
    state: RoomState,
    admitted_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
    position: Option<u32>,
    grants: VecDeque<Pending>,
    participants: Vec<Participant>,
    participants_made: u32,
    chat: VecDeque<ChatLine>,
    busy_at: Timestamp,
}

impl Room {
    pub fn new(id: String, admitted: bool, now: Timestamp) -> Self {
        Self {
            id,
            state: if admitted { RoomState::Active } else { RoomState::Waiting },
            admitted_at: admitted.then_some(now),
            ended_at: None,
            position: None,
            grants: VecDeque::new(),
            participants: Vec::new(),
            participants_made: 0,
            chat: VecDeque::new(),
            busy_at: now,
        }
    }

    /// Remembers a grant until its first socket comes. The oldest unused one gives way when there are too many.
    pub fn grant(&mut self, token: TokenHash, grant: Grant, expires_at: Timestamp, now: Timestamp) {
        self.busy_at = now;
        if self.grants.len() >= GRANTS_MAX {
            self.grants.pop_front();
        }
        self.grants.push_back(Pending { token, grant, made_at: now, expires_at });
    }

    /// In what capacity the token lets this account take part; None where it was given to somebody else, or to nobody.
    pub fn role_of(&self, token: &TokenHash, account: &str) -> Option<Role> {
        let begun =
            self.participants.iter().find(|one| one.session.token == *token && one.account == account);
        let granted = || self.grants.iter().find(|one| one.token == *token && one.grant.account == account);
        begun.map(|one| one.role).or_else(|| granted().map(|one| one.grant.role))
    }

    /// Ends somebody's part in the visit, because her right to it has ended: the others hear of it at once, and neither
    /// her session nor a grant that waits lets her in again. Nothing happens for who is not here.
    pub fn put_out(&mut self, account: &str, role: Role, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.grants.retain(|one| one.grant.account != account || one.grant.role != role);
        let index = self.participants.iter().position(|one| one.account == account && one.role == role);
        if let Some(index) = index {
            if let Some(connection) = self.participants[index].connection.take() {
                effects.push(Effect::Close { connection, code: close::PUT_OUT });
            }
            self.leave(index, LeftReason::PutOut, now, &mut effects);
            self.participants.remove(index);
        }
        effects
    }

    /// As [Room::put_out], for who is behind this socket; nothing when another has taken its place.
    pub fn put_out_connection(&mut self, connection: ConnectionId, now: Timestamp) -> Vec<Effect> {
        let one = self.participants.iter().find(|one| one.connection == Some(connection));
        let Some((account, role)) = one.map(|one| (one.account.clone(), one.role)) else { return Vec::new() };
        self.put_out(&account, role, now)
    }

    /// Lets a socket in: continues its session or begins it.
    ///
    /// # Errors
    /// [ConnectError] when the token opens nothing here.
    pub fn connect(
        &mut self,
        token: &TokenHash,
        seen: u64,
        instance: &str,
        connection: ConnectionId,
        now: Timestamp,
    ) -> Result<Vec<Effect>, ConnectError> {
        self.busy_at = now;
        let mut effects = Vec::new();
        if let Some(index) = self.participants.iter().position(|one| one.session.token == *token) {
            let one = &mut self.participants[index];
            if one.session.expires_at <= now {
                return Err(ConnectError::Expired);
            }
            if !one.session.may_connect(now) {
                return Err(ConnectError::TooMany);
            }
            if let Some(old) = one.connection.replace(connection) {
                effects.push(Effect::Close { connection: old, code: close::REPLACED });
            }
            let missed = one.session.after(seen).filter(|_| one.present);
            let reset = missed.is_none();
            if reset {
                one.session.forget();
            }
            // A page that was reloaded but kept its token is a new page to its peers.
            let reloaded = one.instance != instance;
            instance.clone_into(&mut one.instance);
            self.hello(index, true, reset, seen, &mut effects);
            for text in missed.unwrap_or_default() {
                effects.push(Effect::Send { connection, text });
            }
            self.announce(index, reloaded, now, &mut effects);
        } else {
            let index = self.begin(token, instance, connection, now, &mut effects)?;
            self.hello(index, false, false, 0, &mut effects);
            self.announce(index, true, now, &mut effects);
        }
        if self.state == RoomState::Ended {
            let data = json!({"at": self.ended_at});
            effects.push(Effect::Send { connection, text: protocol::frame("ended", 0, data) });
            effects.push(Effect::Close { connection, code: close::ENDED });
            self.detach(connection, now);
        }
        Ok(effects)
    }

    fn begin(
        &mut self,
        token: &TokenHash,
        instance: &str,
        connection: ConnectionId,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<usize, ConnectError> {
        let at =
            self.grants.iter().position(|pending| pending.token == *token).ok_or(ConnectError::Unknown)?;
        let Some(Pending { grant, made_at, expires_at, .. }) = self.grants.remove(at) else {
            return Err(ConnectError::Unknown);
        };
        if expires_at <= now || now.duration_since(made_at) > GRANT_UNUSED {
            return Err(ConnectError::Expired);
        }
        let session = Session::new(*token, expires_at, now);
        let Grant { role, account, display, audio_only, .. } = grant;
        let known = self.participants.iter().position(|one| one.account == account && one.role == role);
        if let Some(index) = known {
            // The newest page of an account wins, like a telephone that is picked up in another room.
            let one = &mut self.participants[index];
            if let Some(old) = one.connection.replace(connection) {
                effects.push(Effect::Close { connection: old, code: close::REPLACED });
            }
            if one.instance != instance {
                one.present = false;
            }
            instance.clone_into(&mut one.instance);
            one.session = session;
            one.display = display;
            one.audio_only = audio_only;
            one.media = MediaState::default();
            return Ok(index);
        }
        if self.participants.len() >= PARTICIPANTS_MAX {
            // Somebody who is gone gives way; a full room of people who are there stays closed.
            let gone = self.participants.iter().position(|one| !one.present && one.connection.is_none());
            self.participants.remove(gone.ok_or(ConnectError::TooMany)?);
        }
        self.participants_made += 1;
        self.participants.push(Participant {
            id: format!("p{}", self.participants_made),
            role,
            account,
            display,
            audio_only,
            instance: instance.to_owned(),
            media: MediaState::default(),
            session,
            connection: Some(connection),
            away_since: now,
            present: false,
            quality_logged_at: None,
        });
        Ok(self.participants.len() - 1)
    }

    fn hello(&self, index: usize, resumed: bool, reset: bool, seen: u64, effects: &mut Vec<Effect>) {
        let one = &self.participants[index];
        let Some(connection) = one.connection else { return };
        let hello = Hello {
            participant: one.id.clone(),
            role: one.role,
            polite: one.role != Role::Clinician,
            state: self.state,
            resumed,
            reset,
            received: one.session.received(),
            seq: if reset { one.session.sent() } else { seen },
            peers: self
                .participants
                .iter()
                .enumerate()
                .filter(|(other, peer)| *other != index && peer.present)
                .map(|(_, peer)| peer.peer())
                .collect(),
            chat: self.chat.iter().cloned().collect(),
            position: self.position.filter(|_| one.role == Role::Patient),
            admitted_at: self.admitted_at,
            expires_at: one.session.expires_at,
        };
        let data = serde_json::to_value(&hello).unwrap_or_default();
        effects.push(Effect::Send { connection, text: protocol::frame("hello", 0, data) });
    }

    /// Tells the others that a participant is there (again).
    fn announce(&mut self, index: usize, new_page: bool, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.state == RoomState::Ended {
            return;
        }
        let one = &mut self.participants[index];
        let (was_present, id) = (one.present, one.id.clone());
        one.present = true;
        if was_present && !new_page {
            self.tell_others(index, "peer_state", &json!({"participant": id, "connected": true}), effects);
            return;
        }
        if !was_present {
            let kind =
                LogKind::Joined { role: one.role, account: one.account.clone(), audio_only: one.audio_only };
            effects.push(Effect::Log(self.log(now, kind)));
        }
        let peer = serde_json::to_value(self.participants[index].peer()).unwrap_or_default();
        self.tell_others(index, "peer_joined", &peer, effects);
    }

    /// Handles one text frame.
    pub fn receive(&mut self, connection: ConnectionId, text: &str, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(index) = self.participants.iter().position(|one| one.connection == Some(connection)) else {
            return effects;
        };
        self.busy_at = now;
        let session = &mut self.participants[index].session;
        if session.expires_at <= now {
            effects.push(Effect::Close { connection, code: close::EXPIRED });
            self.detach(connection, now);
            return effects;
        }
        if !session.may_speak(text.len(), now) {
            effects.push(Effect::Close { connection, code: close::TOO_MANY });
            self.drop_connection(index, now, &mut effects);
            return effects;
        }
        let Ok(frame) = protocol::parse(text) else {
            effects.push(Effect::Close { connection, code: close::MALFORMED });
            self.drop_connection(index, now, &mut effects);
            return effects;
        };
        match frame.message {
            Ok(ClientMessage::Ack { seq }) => session.acknowledge(seq),
            Ok(ClientMessage::Ping) => {
                effects.push(Effect::Send { connection, text: protocol::frame("pong", 0, json!({})) });
            }
            message => {
                let arrival = session.arrive(frame.seq);
                let ack = protocol::frame("ack", 0, json!({"seq": session.received()}));
                effects.push(Effect::Send { connection, text: ack });
                if arrival == Arrival::New {
                    let done = message
                        .and_then(|message| self.apply(index, &frame.kind, message, now, &mut effects));
                    if let Err(refused) = done {
                        let data = json!({"code": refused.to_string(), "seq": frame.seq});
                        effects.push(Effect::Send { connection, text: protocol::frame("error", 0, data) });
                    }
                }
            }
        }
        effects
    }

    fn apply(
        &mut self,
        index: usize,
        kind: &str,
        message: ClientMessage,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        if self.state == RoomState::Ended {
            return Err(Refused::Ended);
        }
        match message {
            ClientMessage::Forward { data, to } => self.forward(index, kind, data, to.as_deref(), effects),
            ClientMessage::MediaState(media) => {
                self.participants[index].media = media;
                self.forward(index, kind, serde_json::to_value(media).unwrap_or_default(), None, effects);
            }
            ClientMessage::Chat { id, text } => self.add_chat(index, id, text, now, effects),
            ClientMessage::Quality(quality) => {
                self.forward(index, kind, serde_json::to_value(&quality).unwrap_or_default(), None, effects);
                let one = &mut self.participants[index];
                let due =
                    one.quality_logged_at.is_none_or(|last| now.duration_since(last) >= QUALITY_LOG_EVERY);
                if due {
                    one.quality_logged_at = Some(now);
                    let kind = LogKind::Quality { role: one.role, account: one.account.clone(), quality };
                    effects.push(Effect::Log(self.log(now, kind)));
                }
            }
            ClientMessage::Leave => self.leave(index, LeftReason::Left, now, effects),
            ClientMessage::Ack { .. } | ClientMessage::Ping => {}
        }
        Ok(())
    }

    fn forward(
        &mut self,
        index: usize,
        kind: &str,
        mut data: Value,
        to: Option<&str>,
        effects: &mut Vec<Effect>,
    ) {
        data["from"] = Value::String(self.participants[index].id.clone());
        match to {
            // Somebody who has left meanwhile gets nothing; the sender hears of the leaving anyway.
            Some(to) => {
                if let Some(one) = self.participants.iter().position(|one| one.id == to) {
                    self.tell(one, kind, data, effects);
                }
            }
            None => self.tell_others(index, kind, &data, effects),
        }
    }

    fn add_chat(
        &mut self,
        index: usize,
        id: String,
        text: String,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let one = &self.participants[index];
        // After a reload the page may send again what its previous page had already delivered.
        if self.chat.iter().any(|line| line.id == id && line.from == one.id) {
            return;
        }
        let line = ChatLine {
            id,
            from: one.id.clone(),
            role: one.role,
            display: one.display.clone(),
            text,
            at: now,
        };
        let data = serde_json::to_value(&line).unwrap_or_default();
        if self.chat.len() >= CHAT_LINES_MAX {
            self.chat.pop_front();
        }
        self.chat.push_back(line);
        for to in 0..self.participants.len() {
            self.tell(to, "chat", data.clone(), effects);
        }
    }

    fn tell_others(&mut self, index: usize, kind: &str, data: &Value, effects: &mut Vec<Effect>) {
        for to in (0..self.participants.len()).filter(|to| *to != index) {
            self.tell(to, kind, data.clone(), effects);
        }
    }

    /// Sends a lasting message to a participant that is there or may still come back.
    fn tell(&mut self, to: usize, kind: &str, data: Value, effects: &mut Vec<Effect>) {
        let one = &mut self.participants[to];
        if !one.present {
            return;
        }
        let text = one.session.push(kind, data);
        if let Some(connection) = one.connection {
            effects.push(Effect::Send { connection, text });
        }
    }

    fn leave(&mut self, index: usize, reason: LeftReason, now: Timestamp, effects: &mut Vec<Effect>) {
        let one = &mut self.participants[index];
        if !std::mem::take(&mut one.present) {
            return;
        }
        one.media = MediaState::default();
        one.session.forget();
        let kind = LogKind::Left { role: one.role, account: one.account.clone(), reason };
        let word = match reason {
            LeftReason::Lost => "lost",
            LeftReason::PutOut => "put_out",
            LeftReason::Left | LeftReason::Ended => "left",
        };
        let data = json!({"participant": one.id, "reason": word});
        effects.push(Effect::Log(self.log(now, kind)));
        self.tell_others(index, "peer_left", &data, effects);
    }

    /// The socket is gone; the session waits for another.
    pub fn disconnect(&mut self, connection: ConnectionId, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(index) = self.participants.iter().position(|one| one.connection == Some(connection)) {
            self.drop_connection(index, now, &mut effects);
        }
        effects
    }

    fn drop_connection(&mut self, index: usize, now: Timestamp, effects: &mut Vec<Effect>) {
        let one = &mut self.participants[index];
        one.connection = None;
        one.away_since = now;
        if one.present && self.state != RoomState::Ended {
            let data = json!({"participant": one.id, "connected": false});
            self.tell_others(index, "peer_state", &data, effects);
        }
    }

    fn detach(&mut self, connection: ConnectionId, now: Timestamp) {
        for one in self.participants.iter_mut().filter(|one| one.connection == Some(connection)) {
            one.connection = None;
            one.away_since = now;
        }
    }

    /// Tells the patient her place in the queue; 1 is next. Silent when it has not changed.
    pub fn set_position(&mut self, position: u32) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.state == RoomState::Waiting && self.position != Some(position) {
            self.position = Some(position);
            for to in 0..self.participants.len() {
                if self.participants[to].role == Role::Patient {
                    self.tell(to, "waiting", json!({"position": position}), &mut effects);
                }
            }
        }
        effects
    }

    /// Opens the visit: from here on media may flow. Nothing happens when it is open or ended.
    pub fn admit(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.state == RoomState::Waiting {
            self.state = RoomState::Active;
            self.admitted_at = Some(now);
            self.position = None;
            effects.push(Effect::Log(self.log(now, LogKind::Admitted)));
            for to in 0..self.participants.len() {
                self.tell(to, "admitted", json!({"at": now}), &mut effects);
            }
        }
        effects
    }

    /// Ends the visit for everybody. Nothing happens when it has ended.
    pub fn end(&mut self, by: Option<Role>, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.state == RoomState::Ended {
            return effects;
        }
        for to in 0..self.participants.len() {
            self.tell(to, "ended", json!({"at": now, "by": by}), &mut effects);
        }
        self.state = RoomState::Ended;
        self.ended_at = Some(now);
        self.grants.clear();
        for index in 0..self.participants.len() {
            let one = &mut self.participants[index];
            if let Some(connection) = one.connection.take() {
                effects.push(Effect::Close { connection, code: close::ENDED });
            }
            if std::mem::take(&mut one.present) {
                let kind =
                    LogKind::Left { role: one.role, account: one.account.clone(), reason: LeftReason::Ended };
                effects.push(Effect::Log(self.log(now, kind)));
            }
        }
        effects.push(Effect::Log(self.log(now, LogKind::Ended { by })));
        effects
    }

    /// Lets time do its work; to be called about once a second.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.grants.retain(|pending| now.duration_since(pending.made_at) <= GRANT_UNUSED);
        for index in 0..self.participants.len() {
            let one = &mut self.participants[index];
            if one.present && one.connection.is_none() && now.duration_since(one.away_since) > GRACE {
                self.leave(index, LeftReason::Lost, now, &mut effects);
            } else if one.session.expires_at <= now
                && let Some(connection) = one.connection
            {
                effects.push(Effect::Close { connection, code: close::EXPIRED });
                self.drop_connection(index, now, &mut effects);
            }
        }
        effects
    }

    /// True when nothing more is to be expected of this room.
    pub fn is_finished(&self, now: Timestamp) -> bool {
        match self.ended_at {
            Some(at) => now.duration_since(at) > LINGER,
            None => {
                self.participants.iter().all(|one| one.connection.is_none() && !one.present)
                    && now.duration_since(self.busy_at) > EMPTY
            }
        }
    }

    pub fn connections(&self) -> Vec<ConnectionId> {
        self.participants.iter().filter_map(|one| one.connection).collect()
    }

    pub fn presence(&self) -> Presence {
        Presence {
            state: self.state,
            participants: self
                .participants
                .iter()
                .filter(|one| one.present)
                .map(|one| (one.role, one.account.clone(), one.connection.is_some()))
                .collect(),
        }
    }

    fn log(&self, at: Timestamp, kind: LogKind) -> LogEvent {
        LogEvent { consultation_id: self.id.clone(), at, kind }
    }
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
