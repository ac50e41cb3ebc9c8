//! The relay for calls that find no direct path: a TURN server (RFC 8656) inside the binary.
//!
//! Clients speak to one UDP and one TCP port; every allocation has a real UDP socket in a configured port
//! range. Credentials live at most ten minutes and are a MAC, so nothing is stored; an allocation that is
//! in use outlives them. An account holds a bounded number of allocations, and nothing is relayed into
//! private address ranges unless the operator says so.
//!
//! Why not the `turn` crate: it answers a denied peer, a lost allocation and a full quota with silence
//! (RFC 8656 asks 403, 437 and 486), keeps every nonce it ever handed out, and has no TCP, which phones
//! behind hospital firewalls need. Its client is the independent counterpart in our tests.
//!
//! **Invariant:** no datagram leaves a relay socket for an address that [peer::is_public] refuses, except
//! the relay's own allocations, unless `allow_private_peers` is set.

mod allocation;
pub mod credentials;
pub mod peer;
mod server;
pub mod stun;
mod tcp;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;

use self::credentials::{CREDENTIAL_SECONDS_MAX, Holder};
use self::server::Relay;

/// Everything the relay needs to know at start.
#[derive(Clone)]
pub struct TurnConfig {
    /// UDP address for clients, usually `0.0.0.0:3478`. Port 0 takes a free one.
    pub listen_udp: SocketAddr,
    /// TCP address for clients behind firewalls that drop UDP; None switches TCP off.
    pub listen_tcp: Option<SocketAddr>,
    /// Host name or address that browsers are told to connect to.
    pub public_host: String,
    /// Local address that relay sockets bind to.
    pub relay_bind: IpAddr,
    /// Address of the relay sockets as peers see it; differs from `relay_bind` behind NAT.
    pub relay_address: IpAddr,
    /// First and last UDP port of relay sockets.
    pub relay_ports: (u16, u16),
    /// Shown to clients and part of their key; any text.
    pub realm: String,
    /// Key of the credentials' MAC; at least 16 bytes. Processes that share it honour each other's credentials.
    pub secret: Vec<u8>,
    /// Life of a credential in seconds, at most [CREDENTIAL_SECONDS_MAX].
    pub credential_seconds: u32,
    /// Allocations one account may hold at once. A call needs two or three per side (one per transport).
    pub allocations_per_account_max: usize,
    /// Allocations in all.
    pub allocations_max: usize,
    /// Also relay to loopback, link-local and private addresses: for tests and for a clinic without internet.
    pub allow_private_peers: bool,
}

impl std::fmt::Debug for TurnConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TurnConfig")
            .field("listen_udp", &self.listen_udp)
            .field("listen_tcp", &self.listen_tcp)
            .field("public_host", &self.public_host)
            .field("relay_address", &self.relay_address)
            .field("relay_ports", &self.relay_ports)
            .field("secret", &"***")
            .field("allow_private_peers", &self.allow_private_peers)
            .finish_non_exhaustive()
    }
}

impl TurnConfig {
    /// A relay on loopback with free ports, for tests and the demonstration on one machine.
    pub fn loopback(secret: Vec<u8>) -> Self {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        Self {
            listen_udp: SocketAddr::new(loopback, 0),
            listen_tcp: Some(SocketAddr::new(loopback, 0)),
            public_host: loopback.to_string(),
            relay_bind: loopback,
            relay_address: loopback,
            relay_ports: (49152, 65535),
            realm: "uzima".into(),
            secret,
            credential_seconds: CREDENTIAL_SECONDS_MAX,
            allocations_per_account_max: 12,
            allocations_max: 4096,
            allow_private_peers: true,
        }
    }
}

/// Why the relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    #[error("the relay's configuration is wrong: {0}")]
    Config(&'static str),
    #[error("the relay cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
}

/// One entry of a browser's `RTCConfiguration.iceServers`, field for field.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct IceServer {
    pub urls: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// What a client needs to use the relay, and until when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServers {
    pub ice_servers: Vec<IceServer>,
    pub expires_at: Timestamp,
}

/// Counters since start, for `/metrics`. Byte counts are application data, without headers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TurnMetrics {
    pub allocations_active: u64,
    pub allocations_total: u64,
    /// Allocate requests refused because the account or the server had its fill.
    pub quota_refused_total: u64,
    /// Requests whose credentials were wrong or expired.
    pub authentication_failed_total: u64,
    /// Permissions and datagrams refused because the peer's address may not be relayed to.
    pub peer_refused_total: u64,
    pub bytes_to_peers_total: u64,
    pub bytes_to_clients_total: u64,
    /// Datagrams dropped because a socket or a client's queue was full.
    pub dropped_total: u64,
    pub tcp_connections_active: u64,
}

/// A running relay. Dropping it stops it as [Turn::shutdown] does, without waiting.
pub struct Turn {
    relay: Arc<Relay>,
    local_udp: SocketAddr,
    local_tcp: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Turn {
    /// Binds the sockets and starts relaying.
    ///
    /// # Errors
    /// [TurnError::Config] when the configuration contradicts itself, [TurnError::Listen] when a port is taken.
    pub async fn start(config: TurnConfig) -> Result<Self, TurnError> {
        check(&config)?;
        let udp = UdpSocket::bind(config.listen_udp)
            .await
            .map_err(|source| TurnError::Listen { address: config.listen_udp, source })?;
        server::widen(&udp);
        let local_udp =
            udp.local_addr().map_err(|source| TurnError::Listen { address: config.listen_udp, source })?;
        let tcp = match config.listen_tcp {
            Some(mut address) => {
                // Browsers expect both transports on one port; a test that takes a free port gets that too if it can.
                if address.port() == 0 {
                    address.set_port(local_udp.port());
                }
                let listener = match TcpListener::bind(address).await {
                    Err(_) if config.listen_tcp.is_some_and(|wanted| wanted.port() == 0) => {
                        address.set_port(0);
                        TcpListener::bind(address).await
                    }
                    other => other,
                };
                Some(listener.map_err(|source| TurnError::Listen { address, source })?)
            }
            None => None,
        };
        let local_tcp = tcp.as_ref().and_then(|listener| listener.local_addr().ok());
        let (stop, stopped) = watch::channel(false);
        let relay = Arc::new(Relay::new(config, stopped.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(server::serve_udp(Arc::clone(&relay), Arc::new(udp), stopped.clone()));
        if let Some(listener) = tcp {
            tasks.spawn(tcp::serve(Arc::clone(&relay), listener, stopped));
        }
        tracing::info!(udp = %local_udp, "relay for calls is ready");
        Ok(Self { relay, local_udp, local_tcp, stop, tasks })
    }

    /// Servers and fresh credentials for one account, and for one call if given; hand them to the browser as they are.
    pub fn credentials(&self, account: &str, call: Option<&str>, now: Timestamp) -> IceServers {
        let config = &self.relay.config;
        let holder = Holder::new(account, call);
        let (username, credential, expires_at) =
            self.relay.authority.issue(&holder, now, config.credential_seconds);
        let host = match config.public_host.parse::<std::net::Ipv6Addr>() {
            Ok(ip) => format!("[{ip}]"),
            Err(_) => config.public_host.clone(),
        };
        let udp_port = self.local_udp.port();
        let mut urls = vec![format!("turn:{host}:{udp_port}?transport=udp")];
        if let Some(tcp) = self.local_tcp {
            urls.push(format!("turn:{host}:{}?transport=tcp", tcp.port()));
        }
        IceServers {
            ice_servers: vec![
                IceServer { urls: vec![format!("stun:{host}:{udp_port}")], username: None, credential: None },
                IceServer { urls, username: Some(username), credential: Some(credential) },
            ],
            expires_at,
        }
    }

    /// The UDP address clients reach.
    pub fn local_udp(&self) -> SocketAddr {
        self.local_udp
    }

    /// The TCP address clients reach, when TCP is on.
    pub fn local_tcp(&self) -> Option<SocketAddr> {
        self.local_tcp
    }

    /// Ends every allocation of an account, for instance when its consultation has ended or its session
    /// was revoked. Returns how many there were.
    pub fn release(&self, account: &str) -> usize {
        self.relay.release(account)
    }

    /// Ends what an account has opened for a call, whose right to be in it has ended, and honours none of the credentials
    /// any more that it got for that. What it got for no call in particular goes too; what is another call's stays. Returns
    /// how many allocations there were.
    pub fn put_out(&self, account: &str, call: &str, now: Timestamp) -> usize {
        for call in [Some(call), None] {
            let holder = Holder::new(account, call);
            self.relay.authority.take_back(&holder, now, self.relay.config.credential_seconds);
        }
        self.relay.release_call(account, call)
    }

    /// A snapshot of the counters.
    pub fn metrics(&self) -> TurnMetrics {
        let counters = &self.relay.counters;
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        TurnMetrics {
            allocations_active: self.relay.active() as u64,
            allocations_total: read(&counters.allocations),
            quota_refused_total: read(&counters.quota_refused),
            authentication_failed_total: read(&counters.authentication_failed),
            peer_refused_total: read(&counters.peer_refused),
            bytes_to_peers_total: read(&counters.bytes_to_peers),
            bytes_to_clients_total: read(&counters.bytes_to_clients),
            dropped_total: read(&counters.dropped),
            tcp_connections_active: read(&counters.tcp_connections),
        }
    }

    /// Stops listening, ends every allocation and waits for the tasks.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(true);
        self.relay.release_all();
        while self.tasks.join_next().await.is_some() {}
    }
}

fn check(config: &TurnConfig) -> Result<(), TurnError> {
    let (first, last) = config.relay_ports;
    if first == 0 || first > last {
        return Err(TurnError::Config("relay_ports must be a range of ports above 0"));
    }
    if config.secret.len() < 16 {
        return Err(TurnError::Config("secret must have at least 16 bytes"));
    }
    if config.public_host.is_empty() || config.realm.is_empty() {
        return Err(TurnError::Config("public_host and realm must not be empty"));
    }
    if config.relay_address.is_unspecified() {
        return Err(TurnError::Config("relay_address must be the address that peers see"));
    }
    if config.relay_address.is_ipv4() != config.relay_bind.is_ipv4() {
        return Err(TurnError::Config("relay_bind and relay_address must be of one family"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
