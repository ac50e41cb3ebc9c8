//! One client's relayed address: its socket, the peers it may speak with, and its channels.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

use super::credentials::Holder;

/// RFC 8656 §9: a permission lives five minutes.
pub const PERMISSION_LIFETIME: Duration = Duration::from_secs(300);
/// RFC 8656 §12: a channel lives ten minutes.
pub const CHANNEL_LIFETIME: Duration = Duration::from_secs(600);
/// Peers one allocation may have; a call with eight people gathers far fewer candidates.
const PERMISSIONS_MAX: usize = 128;
const CHANNELS_MAX: usize = 128;

/// How a client reached us; with its address this is the 5-tuple, because there is one listener of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    Udp,
    Tcp,
}

/// The client's side of an allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress {
    pub transport: Transport,
    pub address: SocketAddr,
}

/// Where bytes for the client go.
#[derive(Clone)]
pub enum Path {
    Udp(Arc<UdpSocket>),
    /// Whole frames, padded to four bytes; the connection's writer takes them in order.
    Tcp(mpsc::Sender<Vec<u8>>),
}

impl Path {
    /// Sends or drops; a relay never waits for a slow receiver. False when dropped.
    pub fn send(&self, to: SocketAddr, frame: &[u8]) -> bool {
        match self {
            Self::Udp(socket) => socket.try_send_to(frame, to).is_ok(),
            Self::Tcp(queue) => {
                let mut frame = frame.to_vec();
                frame.resize(frame.len().next_multiple_of(4), 0);
                queue.try_send(frame).is_ok()
            }
        }
    }
}

/// Why a permission or channel was not made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The number is bound to another peer or the peer to another number.
    Conflict,
    Full,
}

#[derive(Default)]
struct Peers {
    permissions: HashMap<IpAddr, Instant>,
    channels: HashMap<u16, (SocketAddr, Instant)>,
    numbers: HashMap<SocketAddr, u16>,
}

pub struct Allocation {
    pub client: ClientAddress,
    pub path: Path,
    pub holder: Holder,
    pub username: String,
    /// Proved once at Allocate; later requests use it although the credential has expired meanwhile, so that
    /// a consultation is not cut off after ten minutes.
    pub key: [u8; 16],
    /// The Allocate request's transaction, to tell its retransmission from a second request.
    pub transaction: [u8; 12],
    pub relayed: SocketAddr,
    pub socket: UdpSocket,
    pub opened: Instant,
    /// True ends the allocation's task.
    pub closed: watch::Sender<bool>,
    expires: Mutex<Instant>,
    peers: Mutex<Peers>,
}

/// The parts of an allocation that are known before it exists.
pub struct Opening {
    pub client: ClientAddress,
    pub path: Path,
    pub holder: Holder,
    pub username: String,
    pub key: [u8; 16],
    pub transaction: [u8; 12],
    pub lifetime: Duration,
}

impl Allocation {
    pub fn new(opening: Opening, relayed: SocketAddr, socket: UdpSocket, now: Instant) -> Self {
        let Opening { client, path, holder, username, key, transaction, lifetime } = opening;
        Self {
            client,
            path,
            holder,
            username,
            key,
            transaction,
            relayed,
            socket,
            opened: now,
            closed: watch::Sender::new(false),
            expires: Mutex::new(now + lifetime),
            peers: Mutex::default(),
        }
    }

    pub fn expires(&self) -> Instant {
        *self.expires.lock()
    }

    pub fn extend(&self, until: Instant) {
        *self.expires.lock() = until;
    }

    /// Lets datagrams pass to and from this address for five minutes.
    pub fn permit(&self, ip: IpAddr, now: Instant) -> Result<(), Refusal> {
        let mut peers = self.peers.lock();
        if peers.permissions.len() >= PERMISSIONS_MAX && !peers.permissions.contains_key(&ip) {
            peers.permissions.retain(|_, until| *until > now);
            if peers.permissions.len() >= PERMISSIONS_MAX {
                return Err(Refusal::Full);
            }
        }
        peers.permissions.insert(ip, now + PERMISSION_LIFETIME);
        Ok(())
    }

    pub fn is_permitted(&self, ip: IpAddr, now: Instant) -> bool {
        self.peers.lock().permissions.get(&ip).is_some_and(|until| *until > now)
    }

    /// Binds or refreshes a channel; that also permits the peer (RFC 8656 §12.2).
    pub fn bind(&self, number: u16, peer: SocketAddr, now: Instant) -> Result<(), Refusal> {
        {
            let mut peers = self.peers.lock();
            let Peers { channels, numbers, .. } = &mut *peers;
            channels.retain(|_, (_, until)| *until > now);
            numbers.retain(|_, number| channels.contains_key(number));
            let bound = channels.get(&number).map(|(peer, _)| *peer);
            if bound.is_some_and(|bound| bound != peer)
                || numbers.get(&peer).is_some_and(|bound| *bound != number)
            {
                return Err(Refusal::Conflict);
            }
            if bound.is_none() && channels.len() >= CHANNELS_MAX {
                return Err(Refusal::Full);
            }
            channels.insert(number, (peer, now + CHANNEL_LIFETIME));
            numbers.insert(peer, number);
        }
        self.permit(peer.ip(), now)
    }

    /// The peer of a live channel.
    pub fn channel_peer(&self, number: u16, now: Instant) -> Option<SocketAddr> {
        let peers = self.peers.lock();
        peers.channels.get(&number).filter(|(_, until)| *until > now).map(|(peer, _)| *peer)
    }

    /// How a datagram from `peer` reaches the client: by its channel, as an indication, or not at all.
    pub fn inbound(&self, peer: SocketAddr, now: Instant) -> Inbound {
        let peers = self.peers.lock();
        if peers.permissions.get(&peer.ip()).is_none_or(|until| *until <= now) {
            return Inbound::Drop;
        }
        let number = peers
            .numbers
            .get(&peer)
            .filter(|number| peers.channels.get(number).is_some_and(|(_, until)| *until > now));
        number.map_or(Inbound::Indication, |number| Inbound::Channel(*number))
    }
}

/// See [Allocation::inbound].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound {
    Channel(u16),
    Indication,
    Drop,
}
