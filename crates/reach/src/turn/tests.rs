//! The relay on real sockets: with the independent client of the `turn` crate, and with hand-made messages
//! where the client is too polite.

mod flood;

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use turn::client::{Client, ClientConfig};
use webrtc_util::Conn;

use super::stun::{Builder, Class, Message, Method, attribute, long_term_key};
use super::{Turn, TurnConfig};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

async fn start(change: impl FnOnce(&mut TurnConfig)) -> Turn {
    let mut config = TurnConfig::loopback(SECRET.to_vec());
    change(&mut config);
    Turn::start(config).await.unwrap()
}

fn credentials(turn: &Turn, account: &str, now: Timestamp) -> (String, String) {
    let (account, call) =
        account.split_once('/').map_or((account, None), |(account, call)| (account, Some(call)));
    let issued = turn.credentials(account, call, now);
    let server = &issued.ice_servers[1];
    (server.username.clone().unwrap(), server.credential.clone().unwrap())
}

async fn client(turn: &Turn, username: String, password: String) -> Client {
    let client = Client::new(ClientConfig {
        stun_serv_addr: turn.local_udp().to_string(),
        turn_serv_addr: turn.local_udp().to_string(),
        username,
        password,
        realm: "uzima".into(),
        software: String::new(),
        rto_in_ms: 0,
        conn: Arc::new(UdpSocket::bind("127.0.0.1:0").await.unwrap()),
        vnet: None,
    })
    .await
    .unwrap();
    client.listen().await.unwrap();
    client
}

#[tokio::test]
async fn an_independent_client_relays_data_both_ways() {
    let turn = start(|_| {}).await;
    let (username, password) = credentials(&turn, "patient", Timestamp::now());
    let client = client(&turn, username, password).await;
    let relayed = client.allocate().await.unwrap();
    let address = relayed.local_addr().unwrap();
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let peer_address = peer.local_addr().unwrap();
    let mut buffer = [0; 1500];
    // The first exchange is by indications; the client binds a channel meanwhile and then uses that.
    for round in 0..20u8 {
        relayed.send_to(&[round; 700], peer_address).await.unwrap();
        let (length, from) = peer.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..length], from), (&[round; 700][..], address));
        peer.send_to(&[round; 900], address).await.unwrap();
        let (length, from) = relayed.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..length], from), (&[round; 900][..], peer_address));
    }
    let metrics = turn.metrics();
    assert_eq!(metrics.allocations_active, 1);
    assert_eq!(metrics.bytes_to_peers_total, 20 * 700);
    assert_eq!(metrics.bytes_to_clients_total, 20 * 900);
    assert_eq!(turn.release("somebody else"), 0);
    assert_eq!(turn.release("patient"), 1);
    assert_eq!(turn.metrics().allocations_active, 0);
    turn.shutdown().await;
}

#[tokio::test]
async fn wrong_and_expired_credentials_are_refused() {
    let turn = start(|_| {}).await;
    let (username, password) = credentials(&turn, "patient", Timestamp::now());
    let (old_username, old_password) =
        credentials(&turn, "patient", Timestamp::now() - SignedDuration::from_secs(601));
    for (username, password) in [
        (username.clone(), "wrong".to_owned()),
        (format!("{username}x"), password),
        (old_username, old_password),
        ("nobody".to_owned(), "nothing".to_owned()),
    ] {
        let refused = client(&turn, username, password).await.allocate().await;
        assert!(refused.is_err());
    }
    assert_eq!(turn.metrics().authentication_failed_total, 4);
    assert_eq!(turn.metrics().allocations_total, 0);
    turn.shutdown().await;
}

/// A client that says exactly what a test tells it to.
struct Raw {
    socket: UdpSocket,
    key: [u8; 16],
    username: String,
    nonce: Vec<u8>,
    count: u8,
}

/// The parts of a reply that the tests look at.
#[derive(Debug)]
struct Reply {
    class: Class,
    code: Option<u16>,
    relayed: Option<SocketAddr>,
    lifetime: Option<u32>,
    signed: bool,
}

impl Raw {
    async fn new(turn: &Turn, account: &str) -> Self {
        let (username, password) = credentials(turn, account, Timestamp::now());
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(turn.local_udp()).await.unwrap();
        let key = long_term_key(&username, "uzima", &password);
        let mut raw = Self { socket, key, username, nonce: Vec::new(), count: 0 };
        let reply = raw.request(Method::Refresh, |builder| builder).await;
        assert_eq!(reply.code, Some(438), "an empty nonce is stale");
        raw
    }

    async fn request(&mut self, method: Method, fill: impl FnOnce(Builder) -> Builder) -> Reply {
        self.count += 1;
        self.repeat(method, fill).await
    }

    async fn repeat(&mut self, method: Method, fill: impl FnOnce(Builder) -> Builder) -> Reply {
        let builder = Builder::new(method, Class::Request, &[self.count; 12])
            .attribute(attribute::USERNAME, self.username.as_bytes())
            .attribute(attribute::REALM, b"uzima")
            .attribute(attribute::NONCE, &self.nonce);
        self.socket.send(&fill(builder).finish(Some(&self.key))).await.unwrap();
        let mut buffer = [0; 1500];
        let length = self.socket.recv(&mut buffer).await.unwrap();
        let message = Message::parse(&buffer[..length]).unwrap();
        if let Some(nonce) = message.get(attribute::NONCE) {
            self.nonce = nonce.to_vec();
        }
        Reply {
            class: message.class,
            code: message
                .get(attribute::ERROR_CODE)
                .map(|value| u16::from(value[2]) * 100 + u16::from(value[3])),
            relayed: message.addresses(attribute::XOR_RELAYED_ADDRESS).next().flatten(),
            lifetime: message.number(attribute::LIFETIME),
            signed: message.verify(&self.key),
        }
    }

    async fn allocate(&mut self) -> Reply {
        self.request(Method::Allocate, |builder| builder.number(attribute::REQUESTED_TRANSPORT, 17 << 24))
            .await
    }
}

#[tokio::test]
async fn private_peers_are_forbidden_except_the_relays_own_allocations() {
    // Another loopback address than the clients', so that 127.0.0.1 is a stranger here.
    let turn = start(|config| {
        config.allow_private_peers = false;
        config.relay_bind = [127, 0, 0, 2].into();
        config.relay_address = config.relay_bind;
    })
    .await;
    let mut raw = Raw::new(&turn, "patient").await;
    let relayed = raw.allocate().await.relayed.unwrap();
    for peer in [
        "10.0.0.1:80",
        "192.168.1.1:53",
        "169.254.169.254:80",
        "100.64.0.1:1",
        "172.20.0.1:5432",
        "0.0.0.0:9",
        "127.0.0.1:80",
        "[::1]:80",
        "[fe80::1]:80",
        "[fd00::1]:80",
        "[::ffff:10.0.0.1]:80",
    ] {
        let peer: SocketAddr = peer.parse().unwrap();
        let permission =
            raw.request(Method::CreatePermission, |b| b.address(attribute::XOR_PEER_ADDRESS, peer)).await;
        assert_eq!((permission.code, permission.signed), (Some(403), true), "{peer}");
        let channel = raw
            .request(Method::ChannelBind, |b| {
                b.number(attribute::CHANNEL_NUMBER, 0x4000 << 16).address(attribute::XOR_PEER_ADDRESS, peer)
            })
            .await;
        assert_eq!(channel.code, Some(403), "{peer}");
    }
    // Our own address: open for relay sockets, closed for everything else that listens on this host.
    let outside = SocketAddr::new(relayed.ip(), 7);
    let channel = raw
        .request(Method::ChannelBind, |b| {
            b.number(attribute::CHANNEL_NUMBER, 0x4001 << 16).address(attribute::XOR_PEER_ADDRESS, outside)
        })
        .await;
    assert_eq!(channel.code, Some(403));
    let permission =
        raw.request(Method::CreatePermission, |b| b.address(attribute::XOR_PEER_ADDRESS, relayed)).await;
    assert_eq!(permission.class, Class::Success);
    let refused_before = turn.metrics().peer_refused_total;
    let indication = Builder::new(Method::Send, Class::Indication, &[9; 12])
        .address(attribute::XOR_PEER_ADDRESS, outside)
        .attribute(attribute::DATA, b"probe")
        .finish(None);
    raw.socket.send(&indication).await.unwrap();
    // A request answered afterwards proves that the indication has been handled.
    raw.request(Method::Refresh, |b| b).await;
    assert_eq!(turn.metrics().peer_refused_total, refused_before + 1);
    assert_eq!(turn.metrics().bytes_to_peers_total, 0);
    turn.shutdown().await;
}

/// ASVS 17.1.1: nothing that listens on this machine or beside it hears anything, whichever way the client asks.
#[tokio::test]
async fn nothing_reaches_a_listener_inside() {
    let turn = start(|config| {
        config.allow_private_peers = false;
        config.relay_bind = [127, 0, 0, 2].into();
        config.relay_address = config.relay_bind;
    })
    .await;
    let canary = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    // On the relay's own address, but no relay socket: any other service of the host.
    let neighbour = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    let (inside, beside) = (canary.local_addr().unwrap(), neighbour.local_addr().unwrap());
    let beside_is_relay_port = (49152..=65535).contains(&beside.port());
    let mut raw = Raw::new(&turn, "patient").await;
    assert_eq!(raw.allocate().await.class, Class::Success);
    let mut refused = 0;
    for (n, ip) in [
        "127.0.0.1",
        "127.255.255.254",
        "10.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
    ]
    .into_iter()
    .enumerate()
    {
        let peer = SocketAddr::new(ip.parse().unwrap(), inside.port());
        let permission =
            raw.request(Method::CreatePermission, |b| b.address(attribute::XOR_PEER_ADDRESS, peer)).await;
        assert_eq!(permission.code, Some(403), "{ip}");
        // Several peers at once, the forbidden one last: none of them is permitted.
        let mixed = raw
            .request(Method::CreatePermission, |b| {
                b.address(attribute::XOR_PEER_ADDRESS, "8.8.8.8:53".parse().unwrap())
                    .address(attribute::XOR_PEER_ADDRESS, peer)
            })
            .await;
        assert_eq!(mixed.code, Some(403), "{ip}");
        let number = 0x4100 + u32::try_from(n).unwrap();
        let channel = raw
            .request(Method::ChannelBind, |b| {
                b.number(attribute::CHANNEL_NUMBER, number << 16).address(attribute::XOR_PEER_ADDRESS, peer)
            })
            .await;
        assert_eq!(channel.code, Some(403), "{ip}");
        let indication = Builder::new(Method::Send, Class::Indication, &[9; 12])
            .address(attribute::XOR_PEER_ADDRESS, peer)
            .attribute(attribute::DATA, b"probe")
            .finish(None);
        raw.socket.send(&indication).await.unwrap();
        let data = [&number.to_be_bytes()[2..], &[0, 5], b"probe"].concat();
        raw.socket.send(&data).await.unwrap();
        refused += 1;
    }
    if !beside_is_relay_port {
        let channel = raw
            .request(Method::ChannelBind, |b| {
                b.number(attribute::CHANNEL_NUMBER, 0x4200 << 16).address(attribute::XOR_PEER_ADDRESS, beside)
            })
            .await;
        assert_eq!(channel.code, Some(403));
    }
    // Answered afterwards, so everything before was handled.
    raw.request(Method::Refresh, |b| b).await;
    let mut buffer = [0; 16];
    for socket in [&canary, &neighbour] {
        assert!(socket.try_recv(&mut buffer).is_err(), "a listener inside heard something");
    }
    assert_eq!(turn.metrics().bytes_to_peers_total, 0);
    assert!(turn.metrics().peer_refused_total >= 3 * refused);
    turn.shutdown().await;
}

#[tokio::test]
async fn two_callers_on_the_relay_reach_each_other() {
    let turn = start(|config| config.allow_private_peers = false).await;
    let mut here = Raw::new(&turn, "patient").await;
    let mut there = Raw::new(&turn, "doctor").await;
    let (a, b) = (here.allocate().await.relayed.unwrap(), there.allocate().await.relayed.unwrap());
    for (raw, peer) in [(&mut here, b), (&mut there, a)] {
        let bound = raw
            .request(Method::ChannelBind, |builder| {
                builder
                    .number(attribute::CHANNEL_NUMBER, 0x4000 << 16)
                    .address(attribute::XOR_PEER_ADDRESS, peer)
            })
            .await;
        assert_eq!(bound.class, Class::Success);
    }
    here.socket.send(b"\x40\x00\x00\x05hello").await.unwrap();
    let mut buffer = [0; 100];
    let length = there.socket.recv(&mut buffer).await.unwrap();
    assert_eq!(&buffer[..length], b"\x40\x00\x00\x05hello");
    turn.shutdown().await;
}

#[tokio::test]
async fn quota_lifetime_and_bad_requests_have_their_codes() {
    let turn = start(|config| config.allocations_per_account_max = 2).await;
    let mut first = Raw::new(&turn, "patient").await;
    assert_eq!(first.request(Method::Refresh, |b| b).await.code, Some(437), "nothing allocated yet");
    assert_eq!(first.request(Method::Allocate, |b| b).await.code, Some(400), "no transport asked for");
    let tcp = first.request(Method::Allocate, |b| b.number(attribute::REQUESTED_TRANSPORT, 6 << 24)).await;
    assert_eq!(tcp.code, Some(442));
    let ipv6 = first
        .request(Method::Allocate, |b| {
            b.number(attribute::REQUESTED_TRANSPORT, 17 << 24)
                .number(attribute::REQUESTED_ADDRESS_FAMILY, 2 << 24)
        })
        .await;
    assert_eq!(ipv6.code, Some(440));
    assert_eq!(first.request(Method::Allocate, |b| b.number(0x0018, 0)).await.code, Some(420), "even port");
    let made = first.allocate().await;
    assert_eq!((made.class, made.lifetime, made.signed), (Class::Success, Some(600), true));
    let again = first.repeat(Method::Allocate, |b| b.number(attribute::REQUESTED_TRANSPORT, 17 << 24)).await;
    assert_eq!(again.relayed, made.relayed, "a retransmission gets the same answer");
    assert_eq!(first.allocate().await.code, Some(437), "a second request on the same address");
    let long = first.request(Method::Refresh, |b| b.number(attribute::LIFETIME, 1_000_000)).await;
    assert_eq!(long.lifetime, Some(3600));
    let channel = |number: u32| {
        move |b: Builder| {
            b.number(attribute::CHANNEL_NUMBER, number << 16)
                .address(attribute::XOR_PEER_ADDRESS, SocketAddr::from(([127, 0, 0, 1], 9)))
        }
    };
    assert_eq!(first.request(Method::ChannelBind, channel(0x3fff)).await.code, Some(400));
    assert_eq!(first.request(Method::ChannelBind, channel(0x5000)).await.code, Some(400));
    assert_eq!(first.request(Method::ChannelBind, channel(0x4000)).await.class, Class::Success);
    assert_eq!(first.request(Method::ChannelBind, channel(0x4000)).await.class, Class::Success, "refresh");
    assert_eq!(first.request(Method::ChannelBind, channel(0x4001)).await.code, Some(400), "same peer");
    let family = first
        .request(Method::CreatePermission, |b| {
            b.address(attribute::XOR_PEER_ADDRESS, "[2001:db8::1]:9".parse().unwrap())
        })
        .await;
    assert_eq!(family.code, Some(443));

    let mut second = Raw::new(&turn, "patient").await;
    assert_eq!(second.allocate().await.class, Class::Success);
    let mut third = Raw::new(&turn, "patient").await;
    assert_eq!(third.allocate().await.code, Some(486));
    let mut other = Raw::new(&turn, "doctor").await;
    assert_eq!(other.allocate().await.class, Class::Success, "quotas are per account");
    let freed = second.request(Method::Refresh, |b| b.number(attribute::LIFETIME, 0)).await;
    assert_eq!((freed.class, freed.lifetime), (Class::Success, Some(0)));
    assert_eq!(third.allocate().await.class, Class::Success);
    turn.shutdown().await;
}

/// Who is put out of a call keeps nothing of it, and keeps her other call.
#[tokio::test]
async fn who_is_put_out_of_a_call_is_relayed_no_more() {
    let turn = start(|_| {}).await;
    let mut call = Raw::new(&turn, "mother/visit").await;
    let mut spare = Raw::new(&turn, "mother/visit").await;
    let mut check = Raw::new(&turn, "mother").await;
    let mut another = Raw::new(&turn, "mother/another").await;
    let mut doctor = Raw::new(&turn, "doctor/visit").await;
    for raw in [&mut call, &mut check, &mut another, &mut doctor] {
        assert_eq!(raw.allocate().await.class, Class::Success);
    }
    assert_eq!(turn.put_out("mother", "visit", Timestamp::now()), 2);
    assert_eq!(turn.metrics().allocations_active, 2);
    // Neither what she had nor what she kept in store: the credentials are refused, not just the allocation ended.
    for raw in [&mut call, &mut spare, &mut check] {
        assert_eq!(raw.allocate().await.code, Some(401));
    }
    for raw in [&mut another, &mut doctor] {
        assert_eq!(raw.request(Method::Refresh, |b| b).await.class, Class::Success);
    }
    turn.shutdown().await;
}

#[tokio::test]
async fn the_same_relay_works_over_tcp() {
    let turn = start(|_| {}).await;
    let (username, password) = credentials(&turn, "patient", Timestamp::now());
    let key = long_term_key(&username, "uzima", &password);
    let mut stream = TcpStream::connect(turn.local_tcp().unwrap()).await.unwrap();
    let mut buffer = [0; 1500];
    let mut nonce = Vec::new();
    let peer = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut relayed = None;
    for (number, method) in [Method::Allocate, Method::Allocate, Method::ChannelBind].into_iter().enumerate()
    {
        let mut builder = Builder::new(method, Class::Request, &[number as u8; 12])
            .attribute(attribute::USERNAME, username.as_bytes())
            .attribute(attribute::REALM, b"uzima")
            .attribute(attribute::NONCE, &nonce);
        builder = match method {
            Method::Allocate => builder.number(attribute::REQUESTED_TRANSPORT, 17 << 24),
            _ => builder
                .number(attribute::CHANNEL_NUMBER, 0x4000 << 16)
                .address(attribute::XOR_PEER_ADDRESS, peer.local_addr().unwrap()),
        };
        stream.write_all(&builder.finish(Some(&key))).await.unwrap();
        stream.read_exact(&mut buffer[..20]).await.unwrap();
        let length = usize::from(u16::from_be_bytes([buffer[2], buffer[3]]));
        stream.read_exact(&mut buffer[20..20 + length]).await.unwrap();
        let message = Message::parse(&buffer[..20 + length]).unwrap();
        if let Some(fresh) = message.get(attribute::NONCE) {
            nonce = fresh.to_vec();
        } else {
            assert_eq!(message.class, Class::Success);
        }
        relayed = message.addresses(attribute::XOR_RELAYED_ADDRESS).next().flatten().or(relayed);
    }
    // Two channel messages in one segment, the first with padding.
    stream.write_all(b"\x40\x00\x00\x05hello\0\0\0\x40\x00\x00\x04bye!").await.unwrap();
    for expected in [&b"hello"[..], b"bye!"] {
        let (length, from) = peer.recv_from(&mut buffer).await.unwrap();
        assert_eq!((&buffer[..length], Some(from)), (expected, relayed));
    }
    peer.send_to(b"jambo", relayed.unwrap()).await.unwrap();
    stream.read_exact(&mut buffer[..12]).await.unwrap();
    assert_eq!(&buffer[..12], b"\x40\x00\x00\x05jambo\0\0\0");
    turn.shutdown().await;
}

#[tokio::test]
async fn a_wrong_configuration_does_not_start() {
    for change in [
        (|config: &mut TurnConfig| config.secret = vec![1; 8]) as fn(&mut TurnConfig),
        |config| config.relay_ports = (0, 10),
        |config| config.relay_ports = (10, 9),
        |config| config.relay_address = "0.0.0.0".parse().unwrap(),
        |config| config.relay_address = "::1".parse().unwrap(),
        |config| config.public_host.clear(),
    ] {
        let mut config = TurnConfig::loopback(SECRET.to_vec());
        change(&mut config);
        assert!(Turn::start(config).await.is_err());
    }
}
