//! What peers in the network send: relays, sockets, places for backups.

use super::{chosen, halves, seen, texts};
use crate::Reader;
use jiff::Timestamp;
use reach::consult::protocol;
use reach::turn::credentials::Authority;
use reach::turn::stun::{self, Class, Message, Method, attribute};

pub const RELAY: Reader = Reader {
    name: "relay",
    about: "STUN and TURN datagrams, credentials and nonces",
    read: relay,
    seeds: datagrams,
};
pub const SIGNALLING: Reader = Reader {
    name: "signalling",
    about: "frames of a video visit, with SDP and candidates",
    read: signalling,
    seeds: || {
        texts(&[
            r#"{"type":"offer","seq":1,"data":{"sdp":"v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\n","fresh":true}}"#,
            r#"{"type":"candidate","seq":2,"data":{"candidate":{"candidate":"candidate:1 1 udp 1 10.0.0.1 1 typ host","sdpMid":"0","sdpMLineIndex":0}}}"#,
            r#"{"type":"chat","seq":3,"data":{"id":"x","text":"Habari \u202e"}}"#,
            r#"{"type":"media","seq":4,"data":{"audio":true,"video":false}}"#,
            r#"{"type":"quality","seq":18446744073709551615,"data":{"rtt_ms":1,"level":"good","path":"relay"}}"#,
        ])
    },
};
pub const STORAGE: Reader = Reader {
    name: "backup-place",
    about: "replies of SFTP servers, listings of S3, sealed objects, segments",
    read: storage,
    seeds: replies,
};

fn relay(bytes: &[u8]) {
    let (datagram, name) = halves(bytes);
    for raw in [bytes, datagram] {
        if stun::is_channel_data(raw)
            && let Some((_, content)) = stun::parse_channel_data(raw)
        {
            assert!(content.len() <= raw.len(), "more than was sent");
        }
        if let Ok(message) = Message::parse(raw) {
            seen((message.verify(&[7; 16]), message.has_integrity(), message.not_understood(&[])));
            seen((message.text(attribute::USERNAME), message.number(attribute::LIFETIME)));
            message.addresses(attribute::XOR_PEER_ADDRESS).for_each(seen);
        }
    }
    if let Ok(name) = std::str::from_utf8(name) {
        let authority = Authority::new(b"sixteen bytes and more".to_vec());
        let (client, now) = (std::net::IpAddr::from([127, 0, 0, 1]), Timestamp::UNIX_EPOCH);
        seen((authority.check(name, now), authority.nonce_is_fresh(name, client, now)));
    }
}

fn datagrams() -> Vec<Vec<u8>> {
    let allocate = stun::Builder::new(Method::Allocate, Class::Request, &[1; 12])
        .attribute(attribute::USERNAME, b"60:7")
        .attribute(attribute::REALM, b"uzima")
        .number(attribute::LIFETIME, 600)
        .address(attribute::XOR_PEER_ADDRESS, std::net::SocketAddr::from(([10, 0, 0, 1], 9)))
        .finish(Some(&[7; 16]));
    let channel = b"\x40\x01\0\x04abcd".to_vec();
    let names = [&b"\x00600:7"[..], b"\x00-9223372036854775808:x", b"\x000-0123456789abcdef"];
    let mut seeds = vec![allocate, channel];
    seeds.extend(names.iter().map(|name| name.to_vec()));
    seeds
}

fn signalling(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(frame) = protocol::parse(text)
    {
        seen(format!("{frame:?}"));
    }
}

fn storage(bytes: &[u8]) {
    let Some((number, rest)) = chosen(bytes) else { return };
    match number % 3 {
        0 => backup::target::foreign::sftp_reply(rest),
        1 => backup::target::foreign::s3_listing(rest),
        _ => {
            if let Ok(mut segment) = store::backup::SegmentReader::new(rest) {
                while let Ok(Some(page)) = segment.page() {
                    seen(page);
                }
            }
        }
    }
}

fn replies() -> Vec<Vec<u8>> {
    let packet = |body: &[u8]| {
        let length = u32::try_from(body.len()).unwrap_or(0).to_be_bytes();
        [&[0][..], &length, body].concat()
    };
    let header =
        r#"{"line":"a","number":1,"at":"2026-01-01T00:00:00Z","pages":1,"images":1,"audit":1,"change":1}"#;
    vec![
        packet(b"\x65\0\0\0\x01\0\0\0\0\0\0\0\x02ok\0\0\0\0"),
        packet(b"\x66\0\0\0\x01\0\0\0\x01h"),
        packet(b"\x67\0\0\0\x01\0\0\0\x04data"),
        packet(b"\x68\0\0\0\x01\0\0\0\x01\0\0\0\x01a\0\0\0\x01a\0\0\0\x05\0\0\0\0\0\0\0\x09\0\0\x81\xa4"),
        packet(b"\x69\0\0\0\x01\x80\0\0\x01\0\0\0\0\0\0\0\x09\0\0\0\x01\0\0\0\x01a\0\0\0\x01b"),
        packet(b"\x02\0\0\0\x03"),
        [&[1][..], b"<?xml version=\"1.0\"?><ListBucketResult><Contents><Key>main/a</Key><Size>9</Size></Contents><NextContinuationToken>t&amp;x</NextContinuationToken></ListBucketResult>"].concat(),
        [&[2][..], b"uzima segment 1\n", &(header.len() as u32).to_le_bytes(), header.as_bytes(), b"\x01\0\0\0", &[0; 64]].concat(),
    ]
}
