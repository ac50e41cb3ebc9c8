//! What goes into a room and what comes out of it.

use jiff::Timestamp;

use super::protocol::{Quality, Role, RoomState, close};

/// One WebSocket, numbered by the hub.
pub type ConnectionId = u64;

/// Leave to take part, given by whoever knows the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    pub consultation_id: String,
    pub role: Role,
    pub account: String,
    /// Name shown to the other side.
    pub display: String,
    /// The participant said beforehand that it will send no picture.
    pub audio_only: bool,
    /// The record says that the visit is in progress: a room made anew (after a restart) starts as active.
    pub admitted: bool,
}

/// Why somebody left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftReason {
    /// Said so.
    Left,
    /// The socket dropped and did not come back in time.
    Lost,
    /// The visit ended.
    Ended,
    /// The right to take part ended before the visit did.
    PutOut,
}

/// Something the session log of the visit should hold.
#[derive(Debug, Clone, PartialEq)]
pub struct LogEvent {
    pub consultation_id: String,
    pub at: Timestamp,
    pub kind: LogKind,
}

/// See [LogEvent].
#[derive(Debug, Clone, PartialEq)]
pub enum LogKind {
    Joined { role: Role, account: String, audio_only: bool },
    Left { role: Role, account: String, reason: LeftReason },
    Admitted,
    Ended { by: Option<Role> },
    Quality { role: Role, account: String, quality: Quality },
}

/// What the hub must do, in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    Send {
        connection: ConnectionId,
        text: String,
    },
    /// Send a close frame and forget the connection.
    Close {
        connection: ConnectionId,
        code: u16,
    },
    Log(LogEvent),
}

/// Why a socket was not let in; maps to a close code or HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// No such session here (never was, replaced, or the server restarted): join again.
    #[error("the session is unknown")]
    Unknown,
    #[error("the session has expired")]
    Expired,
    #[error("too many connection attempts")]
    TooMany,
}

impl ConnectError {
    /// The WebSocket close code for this refusal.
    pub fn close_code(self) -> u16 {
        match self {
            Self::Unknown => close::UNKNOWN,
            Self::Expired => close::EXPIRED,
            Self::TooMany => close::TOO_MANY,
        }
    }
}

/// Who is in a room, for whoever shows a waiting list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    pub state: RoomState,
    pub participants: Vec<(Role, String, bool)>,
}
