//! One participant's session: numbering, repetition after a reconnect, and how fast it may speak.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::Value;

use super::protocol;

/// What a session may hold back for a client that is away; beyond it the client gets a reset.
const BUFFER_MESSAGES_MAX: usize = 512;
const BUFFER_BYTES_MAX: usize = 512 * 1024;
const MESSAGES_PER_SECOND: i64 = 20;
const MESSAGES_BURST: i64 = 200;
const BYTES_PER_SECOND: i64 = 64 * 1024;
const BYTES_BURST: i64 = 384 * 1024;
/// Sockets per minute; a client with a failing network makes one every second or two.
const SOCKETS_PER_MINUTE: i64 = 60;

/// SHA-256 of a session token; the token itself is never kept.
pub type TokenHash = [u8; 32];

/// Fills with time, empties with use.
#[derive(Debug)]
struct Bucket {
    /// Thousandths, so that slow refill needs no fractions.
    level_milli: i64,
    burst: i64,
    per_second_milli: i64,
    filled_at: Timestamp,
}

impl Bucket {
    fn new(burst: i64, per_second_milli: i64, now: Timestamp) -> Self {
        Self { level_milli: burst * 1000, burst, per_second_milli, filled_at: now }
    }

    fn take(&mut self, amount: i64, now: Timestamp) -> bool {
        let elapsed_ms = (now.as_millisecond() - self.filled_at.as_millisecond()).max(0);
        self.filled_at = now;
        let refill = elapsed_ms.saturating_mul(self.per_second_milli) / 1000;
        self.level_milli = self.level_milli.saturating_add(refill).min(self.burst * 1000);
        let fits = self.level_milli >= amount * 1000;
        if fits {
            self.level_milli -= amount * 1000;
        }
        fits
    }
}

/// What to do with an arriving message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    New,
    /// Seen before: acknowledge again, do nothing.
    Repeated,
    /// A message before it is missing: the client must send again from `received` on.
    Gap,
}

#[derive(Debug)]
pub struct Session {
    pub token: TokenHash,
    pub expires_at: Timestamp,
    sent: u64,
    received: u64,
    unacknowledged: VecDeque<(u64, String)>,
    bytes: usize,
    messages: Bucket,
    traffic: Bucket,
    sockets: Bucket,
}

impl Session {
    pub fn new(token: TokenHash, expires_at: Timestamp, now: Timestamp) -> Self {
        Self {
            token,
            expires_at,
            sent: 0,
            received: 0,
            unacknowledged: VecDeque::new(),
            bytes: 0,
            messages: Bucket::new(MESSAGES_BURST, MESSAGES_PER_SECOND * 1000, now),
            traffic: Bucket::new(BYTES_BURST, BYTES_PER_SECOND * 1000, now),
            sockets: Bucket::new(SOCKETS_PER_MINUTE, SOCKETS_PER_MINUTE * 1000 / 60, now),
        }
    }

    pub fn received(&self) -> u64 {
        self.received
    }

    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Numbers and keeps a lasting message; returns the frame.
    pub fn push(&mut self, kind: &str, data: Value) -> String {
        self.sent += 1;
        let text = protocol::frame(kind, self.sent, data);
        self.bytes += text.len();
        self.unacknowledged.push_back((self.sent, text.clone()));
        while self.unacknowledged.len() > BUFFER_MESSAGES_MAX || self.bytes > BUFFER_BYTES_MAX {
            self.drop_oldest();
        }
        text
    }

    fn drop_oldest(&mut self) {
        if let Some((_, text)) = self.unacknowledged.pop_front() {
            self.bytes -= text.len();
        }
    }

    /// Forgets what is held back: the client has been away too long for it to mean anything.
    pub fn forget(&mut self) {
        self.unacknowledged.clear();
        self.bytes = 0;
    }

    /// The client has handled everything up to `seq`.
    pub fn acknowledge(&mut self, seq: u64) {
        while self.unacknowledged.front().is_some_and(|(number, _)| *number <= seq) {
            self.drop_oldest();
        }
    }

    /// Everything after `seq`, or None when some of it is gone (or the client claims more than was sent).
    pub fn after(&self, seq: u64) -> Option<Vec<String>> {
        let missing = self.sent.checked_sub(seq)?;
        let kept: Vec<_> = self
            .unacknowledged
            .iter()
            .filter(|(number, _)| *number > seq)
            .map(|(_, text)| text.clone())
            .collect();
        (kept.len() as u64 == missing).then_some(kept)
    }

    /// Places a lasting message of the client in its order.
    pub fn arrive(&mut self, seq: u64) -> Arrival {
        if seq <= self.received {
            Arrival::Repeated
        } else if seq == self.received + 1 {
            self.received = seq;
            Arrival::New
        } else {
            Arrival::Gap
        }
    }

    /// Whether one more frame of that size is within the session's rate.
    pub fn may_speak(&mut self, bytes: usize, now: Timestamp) -> bool {
        // Both are charged, so that neither small nor large frames are free.
        let messages = self.messages.take(1, now);
        let traffic = self.traffic.take(i64::try_from(bytes).unwrap_or(i64::MAX / 2000), now);
        messages && traffic
    }

    pub fn may_connect(&mut self, now: Timestamp) -> bool {
        self.sockets.take(1, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_was_missed_is_repeated_once() {
        let mut session = Session::new([0; 32], at(100), at(0));
        for number in 1..=5u64 {
            session.push("chat", serde_json::json!({"n": number}));
        }
        assert_eq!(session.after(5), Some(vec![]));
        assert_eq!(session.after(3).map(|frames| frames.len()), Some(2));
        session.acknowledge(4);
        assert_eq!(session.after(3), None, "4 is gone, so a client that only has 3 must start afresh");
        assert_eq!(session.after(4).map(|frames| frames.len()), Some(1));
        assert_eq!(session.after(9), None);
        for _ in 0..BUFFER_MESSAGES_MAX {
            session.push("chat", Value::Null);
        }
        assert_eq!(session.after(4), None);
        assert_eq!(session.after(5).map(|frames| frames.len()), Some(BUFFER_MESSAGES_MAX));
        session.push("offer", Value::String("x".repeat(BUFFER_BYTES_MAX - 45)));
        assert_eq!(session.unacknowledged.len(), 1, "bytes are bounded too");
    }

    #[test]
    fn arrivals_are_put_in_order() {
        let mut session = Session::new([0; 32], at(100), at(0));
        assert_eq!(session.arrive(1), Arrival::New);
        assert_eq!(session.arrive(1), Arrival::Repeated);
        assert_eq!(session.arrive(3), Arrival::Gap);
        assert_eq!(session.arrive(2), Arrival::New);
        assert_eq!(session.received(), 2);
    }

    #[test]
    fn a_flood_is_stopped_and_time_heals() {
        let mut session = Session::new([0; 32], at(100), at(0));
        let allowed = (0..10_000).filter(|_| session.may_speak(100, at(0))).count();
        assert_eq!(allowed as i64, MESSAGES_BURST);
        assert!(session.may_speak(100, at(1)));
        assert!(!session.may_speak(BYTES_BURST as usize + 1, at(60)));
        let sockets = (0..1_000).filter(|_| session.may_connect(at(0))).count();
        assert_eq!(sockets as i64, SOCKETS_PER_MINUTE);
        assert!(session.may_connect(at(1)) && !session.may_connect(at(1)));
    }
}
