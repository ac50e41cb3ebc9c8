//! What a stranger finds who offers every version and cipher of TLS one by one, as the well-known scanners do, and which
//! certificates of other machines are believed.

use crate::harness::{World, header};
use crate::tls::with_tls;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const TLS12: u16 = 0x0303;
const TLS13: u16 = 0x0304;
/// SSL 3.0 to TLS 1.2.
const OLD: &[u16] = &[0x0300, 0x0301, 0x0302, TLS12];

/// The three of TLS 1.3 that everybody speaks, and its two with short tags.
const SUITES_13: &[u16] = &[0x1301, 0x1302, 0x1303, 0x1304, 0x1305];
/// ECDHE with AES-GCM or ChaCha20-Poly1305.
const AEAD: &[u16] = &[0xC02B, 0xC02C, 0xC02F, 0xC030, 0xCCA8, 0xCCA9];

/// All that a scanner offers below TLS 1.3: everything that was ever assigned in the low range (NULL, export, RC4, DES,
/// 3DES, IDEA, SEED, CBC, static keys, anonymous), and the ranges of elliptic curves, CCM and ChaCha20.
fn suites_12() -> Vec<u16> {
    let ranges = [0x0001..=0x003A, 0x0040..=0x006D, 0x0084..=0x00C5, 0xC001..=0xC0AF, 0xCCA8..=0xCCAE];
    ranges.into_iter().flatten().collect()
}

fn with_length(bytes: &[u8], width: usize) -> Vec<u8> {
    let length = bytes.len().to_be_bytes();
    [&length[length.len() - width..], bytes].concat()
}

/// RFC 8446 §4.1.2. For TLS 1.3 no share of a key is sent: who speaks it asks for one, and names the cipher there.
fn client_hello(version: u16, suite: u16, compression: u8) -> Vec<u8> {
    let extension = |kind: u16, body: &[u8]| [&kind.to_be_bytes()[..], &with_length(body, 2)].concat();
    let mut extensions = [
        extension(0, &with_length(&[&[0][..], &with_length(b"localhost", 2)].concat(), 2)),
        // x25519 and P-256; points as they are.
        extension(10, &with_length(&[0, 0x1D, 0, 0x17], 2)),
        extension(11, &[1, 0]),
        extension(13, &with_length(&[4, 3, 5, 3, 8, 4, 8, 5, 4, 1, 5, 1, 2, 1, 2, 3], 2)),
    ]
    .concat();
    if version == TLS13 {
        extensions.extend(extension(43, &with_length(&version.to_be_bytes(), 1)));
        extensions.extend(extension(51, &[0, 0]));
    }
    let body = [
        &version.min(TLS12).to_be_bytes()[..],
        &[7; 32],
        &[0],
        &with_length(&suite.to_be_bytes(), 2),
        &[1, compression],
        &with_length(&extensions, 2),
    ]
    .concat();
    let message = [&[1][..], &with_length(&body, 3)].concat();
    [&[22, 3, 1][..], &with_length(&message, 2)].concat()
}

/// The version and the cipher that the server chose; `None` if it refused.
async fn offer(address: SocketAddr, hello: &[u8]) -> Option<(u16, u16)> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(hello).await.unwrap();
    let mut head = [0; 5];
    stream.read_exact(&mut head).await.ok()?;
    // An alert, or what is no TLS at all.
    if head[0] != 22 {
        return None;
    }
    let mut body = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
    stream.read_exact(&mut body).await.ok()?;
    assert_eq!(body[0], 2, "a ServerHello");
    let session = usize::from(body[38]);
    let number = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
    let suite = number(39 + session);
    let mut at = 44 + session;
    let mut version = number(4);
    // Other messages may follow in the same record.
    let end = 4 + usize::from(body[1]) * 65_536 + usize::from(number(2));
    while at + 4 <= end.min(body.len()) {
        if number(at) == 43 {
            version = number(at + 4);
        }
        at += 4 + usize::from(number(at + 2));
    }
    Some((version, suite))
}

#[tokio::test]
async fn nothing_but_aead_ciphers_of_new_versions_is_spoken() {
    for allowed in [false, true] {
        let world = with_tls(|config| config.tls.allow_tls12 = allowed).await;
        let address = world.running().address;
        let (mut new, mut old) = (Vec::new(), Vec::new());
        for suite in SUITES_13 {
            if let Some(chosen) = offer(address, &client_hello(TLS13, *suite, 0)).await {
                assert_eq!(chosen, (TLS13, *suite));
                new.push(*suite);
            }
        }
        assert_eq!(new, [0x1301, 0x1302, 0x1303]);
        for version in OLD {
            for suite in suites_12() {
                if let Some(chosen) = offer(address, &client_hello(*version, suite, 0)).await {
                    assert_eq!(chosen, (TLS12, suite), "offered {version:#06x}");
                    old.push((*version, suite));
                }
            }
        }
        if allowed {
            assert!(
                old.iter().all(|(version, suite)| *version == TLS12 && AEAD.contains(suite)),
                "{old:04x?}"
            );
            // What the certificate's kind of key allows.
            assert_eq!(old.len(), 3, "{old:04x?}");
        } else {
            assert!(old.is_empty(), "{old:04x?}");
        }
        // Compressed (CRIME), of SSL 2.0, and no TLS at all.
        assert_eq!(offer(address, &client_hello(TLS12, 0xC02B, 1)).await, None);
        let ssl2 = [0x80, 0x2E, 1, 0, 2, 0, 0x15, 0, 0, 0, 0x10, 1, 0, 0x80];
        assert_eq!(offer(address, &[&ssl2[..], &[9; 34]].concat()).await, None);
        assert_eq!(offer(address, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await, None);

        // Browsers come back by https alone for a year, whatever was asked.
        for path in ["/", "/healthz", "/fhir/R4/metadata", "/api/v1/me", "/nowhere.js"] {
            let answer = world.client.get(format!("{}{path}", world.url())).send().await.unwrap();
            assert_eq!(header(&answer, "strict-transport-security"), "max-age=31536000", "{path}");
        }
        world.stop().await;
    }
}

struct Authority(Issuer<'static, KeyPair>, String);

impl Authority {
    fn new() -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let own = params.self_signed(&key).unwrap();
        Authority(Issuer::new(params, key), own.pem())
    }

    /// A machine with a certificate that is over at the beginning of this year.
    fn node(&self, until: i32) -> reqwest::Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["node-7.clinic.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let pem = format!("{}{}", certificate.pem(), key.serialize_pem());
        reqwest::Identity::from_pem(pem.as_bytes()).unwrap()
    }
}

/// A machine that signed its certificate itself.
fn stranger() -> reqwest::Identity {
    let own = rcgen::generate_simple_self_signed(vec!["node-7.clinic.example".to_owned()]).unwrap();
    let pem = format!("{}{}", own.cert.pem(), own.signing_key.serialize_pem());
    reqwest::Identity::from_pem(pem.as_bytes()).unwrap()
}

async fn is_let_in(world: &World, identity: Option<reqwest::Identity>) -> bool {
    let client = reqwest::Client::builder().danger_accept_invalid_certs(true);
    let client = match identity {
        Some(identity) => client.identity(identity),
        None => client,
    };
    let answer = client.build().unwrap().get(format!("{}/healthz", world.url())).send().await;
    answer.is_ok_and(|answer| answer.status() == 200)
}

/// IHE ATNA, ITI-19.
#[tokio::test]
async fn machines_show_a_certificate_of_the_right_authority_that_is_not_over() {
    let (own, foreign) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("nodes.pem");
    std::fs::write(&file, &own.1).unwrap();
    for required in [false, true] {
        let world = with_tls(|config| {
            config.tls.client_authority = Some(file.clone());
            config.tls.client_required = required;
            config.tls.allow_tls12 = required;
        })
        .await;
        assert!(is_let_in(&world, Some(own.node(2100))).await);
        assert!(!is_let_in(&world, Some(own.node(2026))).await, "over");
        assert!(!is_let_in(&world, Some(foreign.node(2100))).await, "signed by somebody else");
        assert!(!is_let_in(&world, Some(stranger())).await, "signed by itself");
        assert_eq!(is_let_in(&world, None).await, !required);
        world.stop().await;
    }
    std::fs::write(&file, "no certificate\n").unwrap();
    let mut config = server::Config::local(folder.path().join("data"));
    config.tls.certificate = Some(crate::tls::fixture("localhost.pem"));
    config.tls.private_key = Some(crate::tls::fixture("localhost.key"));
    config.tls.client_authority = Some(file);
    assert!(server::start(config).await.is_err(), "no start that believes nobody or everybody");
}
