//! The TURN server proper: answers requests and moves datagrams (RFC 8656 §§6–12).

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::net::UdpSocket;
use tokio::sync::watch;

use super::allocation::{Allocation, ClientAddress, Inbound, Opening, Path, Refusal, Transport};
use super::credentials::{Authority, Holder};
use super::stun::{self, Builder, CHANNEL_HEADER_LENGTH, Class, Message, Method, attribute};
use super::{TurnConfig, peer};

const LIFETIME_DEFAULT: Duration = Duration::from_secs(600);
const LIFETIME_MAX: Duration = Duration::from_secs(3600);
/// Larger than any datagram a browser sends, so that nothing is cut off unseen.
const DATAGRAM_MAX: usize = 4096;
/// No consultation lasts longer; afterwards the client must bring fresh credentials.
const AGE_MAX: Duration = Duration::from_secs(8 * 3600);
const TRANSPORT_UDP: u8 = 17;
/// What a socket may hold while the process waits for a processor; the kernel gives at most `net.core.rmem_max`.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;
/// Random ports tried before the range is searched from one end.
const PORT_TRIES: usize = 16;

const REQUEST_ATTRIBUTES: &[u16] = &[
    attribute::USERNAME,
    attribute::MESSAGE_INTEGRITY,
    attribute::REALM,
    attribute::NONCE,
    attribute::LIFETIME,
    attribute::CHANNEL_NUMBER,
    attribute::XOR_PEER_ADDRESS,
    attribute::DATA,
    attribute::REQUESTED_TRANSPORT,
    attribute::REQUESTED_ADDRESS_FAMILY,
];

#[derive(Default)]
pub struct Counters {
    pub allocations: AtomicU64,
    pub quota_refused: AtomicU64,
    pub authentication_failed: AtomicU64,
    pub peer_refused: AtomicU64,
    pub bytes_to_peers: AtomicU64,
    pub bytes_to_clients: AtomicU64,
    pub dropped: AtomicU64,
    pub tcp_connections: AtomicU64,
}

fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// State shared by the listeners and the allocations' tasks.
pub struct Relay {
    pub config: TurnConfig,
    pub authority: Authority,
    pub counters: Counters,
    allocations: Mutex<HashMap<ClientAddress, Arc<Allocation>>>,
    stopped: watch::Receiver<bool>,
}

/// Who sent a request that passed authentication.
struct Caller {
    username: String,
    holder: Holder,
    key: [u8; 16],
}

/// A burst that arrives while the machine is busy must wait in the kernel rather than be lost there.
pub fn widen(socket: &UdpSocket) {
    if let Err(error) = socket2::SockRef::from(socket).set_recv_buffer_size(RECEIVE_BUFFER_BYTES) {
        tracing::debug!(%error, "the relay's receive buffer stays as it is");
    }
}

/// Receives from the UDP listener until stopped.
pub async fn serve_udp(relay: Arc<Relay>, socket: Arc<UdpSocket>, mut stopped: watch::Receiver<bool>) {
    let path = Path::Udp(Arc::clone(&socket));
    let mut buffer = vec![0; DATAGRAM_MAX];
    loop {
        let (length, address) = tokio::select! {
            received = socket.recv_from(&mut buffer) => match received {
                Ok(received) => received,
                // An ICMP error of an earlier send surfaces here; the socket itself is fine.
                Err(_) => continue,
            },
            _ = stopped.changed() => return,
        };
        let client = ClientAddress { transport: Transport::Udp, address };
        if let Some(reply) = relay.handle(client, &path, &buffer[..length]).await
            && !path.send(address, &reply)
        {
            add(&relay.counters.dropped, 1);
        }
    }
}

impl Relay {
    pub fn new(config: TurnConfig, stopped: watch::Receiver<bool>) -> Self {
        let authority = Authority::new(config.secret.clone());
        Self { config, authority, counters: Counters::default(), allocations: Mutex::default(), stopped }
    }

    pub fn active(&self) -> usize {
        self.allocations.lock().len()
    }

    /// Ends the allocation of one client address, if there is one.
    pub fn close(&self, client: ClientAddress) {
        if let Some(allocation) = self.allocations.lock().remove(&client) {
            allocation.closed.send_replace(true);
        }
    }

    pub fn release(&self, account: &str) -> usize {
        self.end_where(|allocation| allocation.holder.account == account)
    }

    /// What was opened with credentials of an account for this call or for none.
    pub fn release_call(&self, account: &str, call: &str) -> usize {
        self.end_where(|allocation| allocation.holder.is_of(account, call))
    }

    pub fn release_all(&self) {
        self.end_where(|_| true);
    }

    fn end_where(&self, ended: impl Fn(&Allocation) -> bool) -> usize {
        let mut allocations = self.allocations.lock();
        let before = allocations.len();
        allocations.retain(|_, allocation| {
            let end = ended(allocation);
            if end {
                allocation.closed.send_replace(true);
            }
            !end
        });
        before - allocations.len()
    }

    fn allocation(&self, client: ClientAddress) -> Option<Arc<Allocation>> {
        self.allocations.lock().get(&client).cloned()
    }

    pub fn has_allocation(&self, client: ClientAddress) -> bool {
        self.allocations.lock().contains_key(&client)
    }

    /// Handles one message of a client and returns what to answer, if anything.
    pub async fn handle(
        self: &Arc<Self>,
        client: ClientAddress,
        path: &Path,
        bytes: &[u8],
    ) -> Option<Vec<u8>> {
        if stun::is_channel_data(bytes) {
            self.relay_channel_data(client, bytes);
            return None;
        }
        let message = Message::parse(bytes).ok()?;
        match (message.class, message.method) {
            (Class::Indication, Method::Send) => {
                self.relay_indication(client, &message);
                None
            }
            (Class::Request, Method::Binding) => Some(
                Builder::new(Method::Binding, Class::Success, &message.transaction)
                    .address(attribute::XOR_MAPPED_ADDRESS, client.address)
                    .finish(None),
            ),
            (
                Class::Request,
                Method::Allocate | Method::Refresh | Method::CreatePermission | Method::ChannelBind,
            ) => {
                let caller = match self.authenticate(client, &message) {
                    Ok(caller) => caller,
                    Err(reply) => return Some(reply),
                };
                let unknown = message.not_understood(REQUEST_ATTRIBUTES);
                if !unknown.is_empty() {
                    let list: Vec<u8> = unknown.iter().flat_map(|kind| kind.to_be_bytes()).collect();
                    let reply = Builder::new(message.method, Class::Error, &message.transaction)
                        .error(420, "Unknown Attribute")
                        .attribute(attribute::UNKNOWN_ATTRIBUTES, &list);
                    return Some(reply.finish(Some(&caller.key)));
                }
                Some(match message.method {
                    Method::Allocate => self.allocate(client, path, &message, caller).await,
                    Method::Refresh => self.refresh(client, &message, &caller),
                    Method::CreatePermission => self.create_permission(client, &message, &caller),
                    _ => self.bind_channel(client, &message, &caller),
                })
            }
            _ => None,
        }
    }

    /// RFC 8489 §9.2.4, in its order. The error is the reply to send.
    fn authenticate(&self, client: ClientAddress, message: &Message<'_>) -> Result<Caller, Vec<u8>> {
        let now = Timestamp::now();
        let challenge = |code, reason| {
            Builder::new(message.method, Class::Error, &message.transaction)
                .error(code, reason)
                .attribute(attribute::REALM, self.config.realm.as_bytes())
                .attribute(attribute::NONCE, self.authority.nonce(client.address.ip(), now).as_bytes())
                .finish(None)
        };
        if !message.has_integrity() {
            return Err(challenge(401, "Unauthorized"));
        }
        let (Some(username), Some(_), Some(nonce)) = (
            message.text(attribute::USERNAME),
            message.text(attribute::REALM),
            message.text(attribute::NONCE),
        ) else {
            return Err(refuse(message, 400, "Bad Request", None));
        };
        if !self.authority.nonce_is_fresh(nonce, client.address.ip(), now) {
            return Err(challenge(438, "Stale Nonce"));
        }
        let held = self
            .allocation(client)
            .filter(|allocation| allocation.username == username && allocation.opened.elapsed() < AGE_MAX);
        let caller = match held {
            Some(allocation) => Some(Caller {
                username: username.to_owned(),
                holder: allocation.holder.clone(),
                key: allocation.key,
            }),
            None => self.authority.check(username, now).map(|known| Caller {
                username: username.to_owned(),
                holder: known.holder,
                key: stun::long_term_key(username, &self.config.realm, &known.password),
            }),
        };
        match caller.filter(|caller| message.verify(&caller.key)) {
            Some(caller) => Ok(caller),
            None => {
                add(&self.counters.authentication_failed, 1);
                Err(challenge(401, "Unauthorized"))
            }
        }
    }

    async fn allocate(
        self: &Arc<Self>,
        client: ClientAddress,
        path: &Path,
        message: &Message<'_>,
        caller: Caller,
    ) -> Vec<u8> {
        let key = caller.key;
        let lifetime = requested_lifetime(message).unwrap_or(LIFETIME_DEFAULT);
        if let Some(existing) = self.allocation(client) {
            if existing.transaction == message.transaction {
                return allocated(message, &existing, lifetime);
            }
            return refuse(message, 437, "Allocation Mismatch", Some(&key));
        }
        match message.get(attribute::REQUESTED_TRANSPORT) {
            Some([TRANSPORT_UDP, ..]) => {}
            Some(_) => return refuse(message, 442, "Unsupported Transport Protocol", Some(&key)),
            None => return refuse(message, 400, "Bad Request", Some(&key)),
        }
        let family = message
            .get(attribute::REQUESTED_ADDRESS_FAMILY)
            .map_or(1, |value| value.first().copied().unwrap_or(0));
        if (family == 1) != self.config.relay_address.is_ipv4() || !matches!(family, 1 | 2) {
            return refuse(message, 440, "Address Family not Supported", Some(&key));
        }
        if lifetime.is_zero() {
            return refuse(message, 400, "Bad Request", Some(&key));
        }
        let Some(socket) = self.bind_relay_socket().await else {
            return refuse(message, 508, "Insufficient Capacity", Some(&key));
        };
        widen(&socket);
        let Ok(port) = socket.local_addr().map(|address| address.port()) else {
            return refuse(message, 508, "Insufficient Capacity", Some(&key));
        };
        let opening = Opening {
            client,
            path: path.clone(),
            holder: caller.holder,
            username: caller.username,
            key,
            transaction: message.transaction,
            lifetime,
        };
        let relayed = SocketAddr::new(self.config.relay_address, port);
        let allocation = Arc::new(Allocation::new(opening, relayed, socket, Instant::now()));
        {
            // Counted under the same lock as the insertion, so that a burst cannot pass the quota.
            let mut allocations = self.allocations.lock();
            let own = &allocation.holder.account;
            let held = allocations.values().filter(|other| other.holder.account == *own).count();
            if held >= self.config.allocations_per_account_max {
                add(&self.counters.quota_refused, 1);
                return refuse(message, 486, "Allocation Quota Reached", Some(&key));
            }
            if allocations.len() >= self.config.allocations_max {
                add(&self.counters.quota_refused, 1);
                return refuse(message, 508, "Insufficient Capacity", Some(&key));
            }
            // Taken back while the socket was being made, and thus too late to be released.
            if self.authority.is_taken_back(&allocation.username) {
                return refuse(message, 401, "Unauthorized", Some(&key));
            }
            allocations.insert(client, Arc::clone(&allocation));
        }
        add(&self.counters.allocations, 1);
        tokio::spawn(serve_allocation(Arc::clone(self), Arc::clone(&allocation), self.stopped.clone()));
        allocated(message, &allocation, lifetime)
    }

    async fn bind_relay_socket(&self) -> Option<UdpSocket> {
        let (first, last) = self.config.relay_ports;
        let span = u32::from(last - first) + 1;
        let mut random = [0; 4];
        let mut start = 0;
        for _ in 0..PORT_TRIES {
            getrandom::fill(&mut random).ok()?;
            start = u32::from_be_bytes(random) % span;
            let port = first + start as u16;
            if let Ok(socket) = UdpSocket::bind((self.config.relay_bind, port)).await {
                return Some(socket);
            }
        }
        for offset in 0..span {
            let port = first + ((start + offset) % span) as u16;
            if let Ok(socket) = UdpSocket::bind((self.config.relay_bind, port)).await {
                return Some(socket);
            }
        }
        None
    }

    fn refresh(&self, client: ClientAddress, message: &Message<'_>, caller: &Caller) -> Vec<u8> {
        let Some(allocation) = self.own_allocation(client, caller) else {
            return refuse(message, 437, "Allocation Mismatch", Some(&caller.key));
        };
        let lifetime = requested_lifetime(message).unwrap_or(LIFETIME_DEFAULT);
        if lifetime.is_zero() {
            self.close(client);
        } else {
            allocation.extend(Instant::now() + lifetime);
        }
        Builder::new(Method::Refresh, Class::Success, &message.transaction)
            .number(attribute::LIFETIME, lifetime.as_secs() as u32)
            .finish(Some(&caller.key))
    }

    fn own_allocation(&self, client: ClientAddress, caller: &Caller) -> Option<Arc<Allocation>> {
        self.allocation(client).filter(|allocation| allocation.username == caller.username)
    }

    fn create_permission(&self, client: ClientAddress, message: &Message<'_>, caller: &Caller) -> Vec<u8> {
        let key = Some(&caller.key);
        let Some(allocation) = self.own_allocation(client, caller) else {
            return refuse(message, 437, "Allocation Mismatch", key);
        };
        let mut ips = Vec::new();
        for address in message.addresses(attribute::XOR_PEER_ADDRESS) {
            let Some(address) = address else { return refuse(message, 400, "Bad Request", key) };
            if !self.may_permit(address.ip()) {
                add(&self.counters.peer_refused, 1);
                return refuse(message, 403, "Forbidden", key);
            }
            if address.is_ipv4() != allocation.relayed.is_ipv4() {
                return refuse(message, 443, "Peer Address Family Mismatch", key);
            }
            ips.push(address.ip());
        }
        if ips.is_empty() {
            return refuse(message, 400, "Bad Request", key);
        }
        let now = Instant::now();
        if ips.into_iter().any(|ip| allocation.permit(ip, now).is_err()) {
            return refuse(message, 508, "Insufficient Capacity", key);
        }
        Builder::new(Method::CreatePermission, Class::Success, &message.transaction).finish(key)
    }

    fn bind_channel(&self, client: ClientAddress, message: &Message<'_>, caller: &Caller) -> Vec<u8> {
        let key = Some(&caller.key);
        let Some(allocation) = self.own_allocation(client, caller) else {
            return refuse(message, 437, "Allocation Mismatch", key);
        };
        let number = message.number(attribute::CHANNEL_NUMBER).map(|value| (value >> 16) as u16);
        let peer = message.addresses(attribute::XOR_PEER_ADDRESS).next().flatten();
        let (Some(number @ 0x4000..=0x4FFF), Some(peer)) = (number, peer) else {
            return refuse(message, 400, "Bad Request", key);
        };
        if !self.may_relay_to(peer) {
            add(&self.counters.peer_refused, 1);
            return refuse(message, 403, "Forbidden", key);
        }
        if peer.is_ipv4() != allocation.relayed.is_ipv4() {
            return refuse(message, 443, "Peer Address Family Mismatch", key);
        }
        match allocation.bind(number, peer, Instant::now()) {
            Ok(()) => Builder::new(Method::ChannelBind, Class::Success, &message.transaction).finish(key),
            Err(Refusal::Conflict) => refuse(message, 400, "Bad Request", key),
            Err(Refusal::Full) => refuse(message, 508, "Insufficient Capacity", key),
        }
    }

    /// Whether a permission for this address may exist at all; permissions know no ports.
    fn may_permit(&self, ip: IpAddr) -> bool {
        self.config.allow_private_peers || ip == self.config.relay_address || peer::is_public(ip)
    }

    /// Whether a datagram may go there. Our own address is open only where relay sockets live: both callers
    /// on the relay is the usual case behind strict firewalls, but the host's other services stay closed.
    fn may_relay_to(&self, peer: SocketAddr) -> bool {
        if self.config.allow_private_peers {
            return true;
        }
        if peer.ip() == self.config.relay_address {
            let (first, last) = self.config.relay_ports;
            return (first..=last).contains(&peer.port());
        }
        peer::is_public(peer.ip())
    }

    fn relay_channel_data(&self, client: ClientAddress, bytes: &[u8]) {
        let Some((number, data)) = stun::parse_channel_data(bytes) else { return };
        let Some(allocation) = self.allocation(client) else { return };
        if let Some(peer) = allocation.channel_peer(number, Instant::now()) {
            self.send_to_peer(&allocation, peer, data);
        }
    }

    fn relay_indication(&self, client: ClientAddress, message: &Message<'_>) {
        let Some(allocation) = self.allocation(client) else { return };
        let peer = message.addresses(attribute::XOR_PEER_ADDRESS).next().flatten();
        let (Some(peer), Some(data)) = (peer, message.get(attribute::DATA)) else { return };
        if allocation.is_permitted(peer.ip(), Instant::now()) {
            self.send_to_peer(&allocation, peer, data);
        }
    }

    fn send_to_peer(&self, allocation: &Allocation, peer: SocketAddr, data: &[u8]) {
        if !self.may_relay_to(peer) {
            add(&self.counters.peer_refused, 1);
            return;
        }
        match allocation.socket.try_send_to(data, self.reachable(peer)) {
            Ok(_) => add(&self.counters.bytes_to_peers, data.len() as u64),
            Err(_) => add(&self.counters.dropped, 1),
        }
    }

    /// Behind NAT our own public address is often unreachable from inside, so a relayed address of this very
    /// server is reached by its local name.
    fn reachable(&self, peer: SocketAddr) -> SocketAddr {
        if peer.ip() == self.config.relay_address {
            SocketAddr::new(self.local_relay_ip(), peer.port())
        } else {
            peer
        }
    }

    /// The reverse of [Relay::reachable], so that permissions and channels match.
    fn seen_as(&self, source: SocketAddr) -> SocketAddr {
        let (first, last) = self.config.relay_ports;
        if source.ip() == self.local_relay_ip() && (first..=last).contains(&source.port()) {
            SocketAddr::new(self.config.relay_address, source.port())
        } else {
            source
        }
    }

    fn local_relay_ip(&self) -> IpAddr {
        match self.config.relay_bind {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
            ip => ip,
        }
    }

    fn send_to_client(&self, allocation: &Allocation, frame: &[u8], data_length: usize) {
        if allocation.path.send(allocation.client.address, frame) {
            add(&self.counters.bytes_to_clients, data_length as u64);
        } else {
            add(&self.counters.dropped, 1);
        }
    }
}

/// Receives from one relay socket until the allocation ends.
async fn serve_allocation(
    relay: Arc<Relay>,
    allocation: Arc<Allocation>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut closed = allocation.closed.subscribe();
    // Room in front, so that a channel's header is written without moving the data.
    let mut buffer = vec![0; CHANNEL_HEADER_LENGTH + DATAGRAM_MAX];
    loop {
        let expires = allocation.expires();
        tokio::select! {
            received = allocation.socket.recv_from(&mut buffer[CHANNEL_HEADER_LENGTH..]) => {
                let Ok((length, source)) = received else { continue };
                let peer = relay.seen_as(source);
                let end = CHANNEL_HEADER_LENGTH + length;
                match allocation.inbound(peer, Instant::now()) {
                    Inbound::Channel(number) => {
                        buffer[..2].copy_from_slice(&number.to_be_bytes());
                        buffer[2..4].copy_from_slice(&(length as u16).to_be_bytes());
                        relay.send_to_client(&allocation, &buffer[..end], length);
                    }
                    Inbound::Indication => {
                        let mut transaction = [0; 12];
                        if getrandom::fill(&mut transaction).is_err() { continue }
                        let frame = Builder::new(Method::Data, Class::Indication, &transaction)
                            .address(attribute::XOR_PEER_ADDRESS, peer)
                            .attribute(attribute::DATA, &buffer[CHANNEL_HEADER_LENGTH..end])
                            .finish(None);
                        relay.send_to_client(&allocation, &frame, length);
                    }
                    Inbound::Drop => {}
                }
            }
            _ = tokio::time::sleep_until(expires.into()) => {
                if allocation.expires() <= Instant::now() {
                    relay.close(allocation.client);
                    return;
                }
            }
            _ = closed.changed() => return,
            _ = stopped.changed() => return,
        }
    }
}

fn requested_lifetime(message: &Message<'_>) -> Option<Duration> {
    message
        .number(attribute::LIFETIME)
        .map(|seconds| Duration::from_secs(u64::from(seconds)).min(LIFETIME_MAX))
}

fn allocated(message: &Message<'_>, allocation: &Allocation, lifetime: Duration) -> Vec<u8> {
    Builder::new(Method::Allocate, Class::Success, &message.transaction)
        .address(attribute::XOR_RELAYED_ADDRESS, allocation.relayed)
        .address(attribute::XOR_MAPPED_ADDRESS, allocation.client.address)
        .number(attribute::LIFETIME, lifetime.as_secs() as u32)
        .finish(Some(&allocation.key))
}

fn refuse(message: &Message<'_>, code: u16, reason: &str, key: Option<&[u8; 16]>) -> Vec<u8> {
    Builder::new(message.method, Class::Error, &message.transaction).error(code, reason).finish(key)
}
