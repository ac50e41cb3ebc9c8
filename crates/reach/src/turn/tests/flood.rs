//! ASVS V17: a call goes on while strangers pour rubbish on the relay.

use super::*;
use std::time::Duration;

/// Packets of the call in each direction; `UZIMA_TEST_CALL_PACKETS` sets another number.
const PACKETS: u32 = 300;
/// Packets of rubbish for each of them.
const RUBBISH: usize = 40;
/// How long a packet of the call may take before it counts as lost.
const LATE: Duration = Duration::from_secs(2);
/// ASVS: less than two of a hundred.
const LOST_PERCENT: u32 = 2;
const CHANNEL: u16 = 0x4000;

/// What strangers send: to the relay's door and, past it, to the sockets of the call.
fn rubbish(relayed: [SocketAddr; 2], number: usize) -> (Option<SocketAddr>, Vec<u8>) {
    let noise: Vec<u8> = (0..number % 1200).map(|n| (n * 31 + number * 17) as u8).collect();
    let mut srtp = vec![0x80, 0x6F, 0, number as u8, 0, 0, 0, 1, 0xDE, 0xAD, 0xBE, 0xEF];
    srtp.extend(&noise);
    match number % 10 {
        // Media that is none, to where media goes: no padding where it is announced, sources and extensions beyond its end,
        // control packets of no length, a handshake of DTLS that never ends.
        0 => (Some(relayed[0]), srtp),
        1 => (Some(relayed[1]), [&[0xBF, 0xFF][..], &noise].concat()),
        2 => (Some(relayed[0]), vec![0x81, 200, 0xFF, 0xFF]),
        3 => (Some(relayed[1]), [&[22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF][..], &noise].concat()),
        // At the door: somebody else's channel, messages that lie about their length, attributes without end.
        4 => (None, [&CHANNEL.to_be_bytes()[..], &[0, 5], b"hello"].concat()),
        5 => (None, [&CHANNEL.to_be_bytes()[..], &[0xFF, 0xFF], b"short"].concat()),
        6 => (None, [&[0, 3, 0xFF, 0xFC, 0x21, 0x12, 0xA4, 0x42][..], &[7; 12], &noise].concat()),
        7 => (
            None,
            Builder::new(Method::Allocate, Class::Request, &[number as u8; 12])
                .number(attribute::REQUESTED_TRANSPORT, 17 << 24)
                .finish(None),
        ),
        8 => (
            None,
            Builder::new(Method::Send, Class::Indication, &[9; 12])
                .address(attribute::XOR_PEER_ADDRESS, relayed[0])
                .attribute(attribute::DATA, &noise)
                .finish(None),
        ),
        _ => (None, noise),
    }
}

#[tokio::test]
async fn a_call_goes_on_in_a_flood_of_rubbish() {
    let packets =
        std::env::var("UZIMA_TEST_CALL_PACKETS").ok().and_then(|n| n.parse().ok()).unwrap_or(PACKETS);
    // Another address than the strangers': a permission is for all ports of its peer.
    let turn = start(|config| {
        config.allow_private_peers = false;
        config.relay_bind = [127, 0, 0, 2].into();
        config.relay_address = config.relay_bind;
    })
    .await;
    let mut here = Raw::new(&turn, "patient").await;
    let mut there = Raw::new(&turn, "doctor").await;
    let relayed = [here.allocate().await.relayed.unwrap(), there.allocate().await.relayed.unwrap()];
    for (raw, peer) in [(&mut here, relayed[1]), (&mut there, relayed[0])] {
        let bound = raw
            .request(Method::ChannelBind, |builder| {
                builder
                    .number(attribute::CHANNEL_NUMBER, u32::from(CHANNEL) << 16)
                    .address(attribute::XOR_PEER_ADDRESS, peer)
            })
            .await;
        assert_eq!(bound.class, Class::Success);
    }
    let mut strangers = Vec::new();
    for _ in 0..8 {
        strangers.push(UdpSocket::bind("127.0.0.1:0").await.unwrap());
    }
    let (mut lost, mut foreign, mut sent) = (0, 0, 0);
    let mut buffer = [0; 1500];
    for packet in 0..packets {
        for (from, to) in [(&here, &there), (&there, &here)] {
            for _ in 0..RUBBISH {
                let (to, bytes) = rubbish(relayed, sent);
                let stranger = &strangers[sent % strangers.len()];
                stranger.send_to(&bytes, to.unwrap_or(turn.local_udp())).await.unwrap();
                sent += 1;
            }
            let voice = [&CHANNEL.to_be_bytes()[..], &[0, 164], &packet.to_be_bytes(), &[0x55; 160]].concat();
            from.socket.send(&voice).await.unwrap();
            loop {
                match tokio::time::timeout(LATE, to.socket.recv(&mut buffer)).await {
                    Ok(Ok(length)) if buffer[..length] == voice[..] => break,
                    // What is no packet of this call must never come through.
                    Ok(_) => foreign += 1,
                    Err(_) => {
                        lost += 1;
                        break;
                    }
                }
            }
        }
    }
    println!("{lost} of {} packets lost in {sent} packets of rubbish", packets * 2);
    assert_eq!(foreign, 0, "rubbish came through");
    assert!(lost * 100 < packets * 2 * LOST_PERCENT, "{lost} of {} lost", packets * 2);
    // Nothing was kept for strangers, and the next caller finds room.
    assert_eq!(turn.metrics().allocations_active, 2);
    assert_eq!(Raw::new(&turn, "nurse").await.allocate().await.class, Class::Success);
    turn.shutdown().await;
}
