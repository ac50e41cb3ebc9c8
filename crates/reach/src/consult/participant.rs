//! Who may come into a room, and who has come.

use jiff::Timestamp;

use super::event::{ConnectionId, Grant};
use super::protocol::{MediaState, Peer, Role};
use super::session::{Session, TokenHash};

/// A grant that nobody has used yet.
#[derive(Debug)]
pub struct Pending {
    pub token: TokenHash,
    pub grant: Grant,
    pub made_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Somebody who has been in the room.
#[derive(Debug)]
pub struct Participant {
    pub id: String,
    pub role: Role,
    pub account: String,
    pub display: String,
    pub audio_only: bool,
    pub instance: String,
    pub media: MediaState,
    pub session: Session,
    pub connection: Option<ConnectionId>,
    pub away_since: Timestamp,
    /// The peers have been told of it and not of its leaving.
    pub present: bool,
    pub quality_logged_at: Option<Timestamp>,
}

impl Participant {
    /// As the others see it.
    pub fn peer(&self) -> Peer {
        Peer {
            participant: self.id.clone(),
            role: self.role,
            display: self.display.clone(),
            instance: self.instance.clone(),
            connected: self.connection.is_some(),
            media: self.media,
        }
    }
}
