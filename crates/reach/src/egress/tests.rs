//! Addresses that attackers write, and listeners that must not be spoken to.

use super::*;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Counts who connects; answers with what it was told to.
struct Canary {
    port: u16,
    seen: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Canary {
    /// On every address of this machine, of both families.
    async fn start(answer: String) -> Canary {
        let seen = Arc::new(AtomicUsize::new(0));
        let mut tasks = Vec::new();
        let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut listeners = vec![listener];
        // Not every machine has IPv6, and [::] may include what 0.0.0.0 has taken.
        listeners.extend(TcpListener::bind(("::1", port)).await.ok());
        for listener in listeners {
            let (seen, answer) = (seen.clone(), answer.clone());
            tasks.push(tokio::spawn(async move {
                while let Ok((mut stream, _)) = listener.accept().await {
                    seen.fetch_add(1, SeqCst);
                    let mut head = [0; 4096];
                    let _ = stream.read(&mut head).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                }
            }));
        }
        Canary { port, seen, tasks }
    }
    fn seen(&self) -> usize {
        self.seen.load(SeqCst)
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: Application/JSON; x=y\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn provider() {
    let _ = rustls_provider();
}

/// Other crates' tests of this process may have set one already, which is as good.
fn rustls_provider() -> Result<(), ()> {
    rustls::crypto::ring::default_provider().install_default().map_err(|_| ())
}

/// Every name has these addresses, in turn; also tells how often it was asked.
fn scripted(turns: &'static [&'static [&'static str]]) -> (Lookup, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let lookup: Lookup = Arc::new(move |_| {
        let turn = count.fetch_add(1, SeqCst).min(turns.len() - 1);
        let found = turns[turn].iter().map(|ip| SocketAddr::new(ip.parse::<IpAddr>().unwrap(), 0)).collect();
        Box::pin(async move { Ok(found) })
    });
    (lookup, asked)
}

/// Ways to write an address that nobody outside may have called. `P` stands for the canary's port.
const INSIDE: &[&str] = &[
    "http://127.0.0.1:P/",
    "http://127.0.0.1.:P/",
    "http://127.1:P/",
    "http://127.0.1:P/",
    "http://127.255.255.254:P/",
    "http://0x7f.1:P/",
    "http://0x7f.0x0.0x0.0x1:P/",
    "http://0x7f000001:P/",
    "http://2130706433:P/",
    "http://017700000001:P/",
    "http://0177.0.0.1:P/",
    "http://0177.0.0.01:P/",
    "http://127.0.0.1:P/?x=https://good.example/",
    "http://\u{ff11}\u{ff12}\u{ff17}.0.0.1:P/",
    "http://127\u{3002}0\u{3002}0\u{3002}1:P/",
    "http://%31%32%37.0.0.1:P/",
    "http://localhost:P/",
    "http://LOCALHOST:P/",
    "http://localhost.:P/",
    "http://metadata.localhost:P/",
    "http://loc\u{ad}alhost:P/",
    "http://0:P/",
    "http://0.0.0.0:P/",
    "http://[::1]:P/",
    "http://[::]:P/",
    "http://[0:0:0:0:0:0:0:1]:P/",
    "http://[::ffff:127.0.0.1]:P/",
    "http://[::ffff:7f00:1]:P/",
    "http://[::127.0.0.1]:P/",
    "http://[::ffff:0:127.0.0.1]:P/",
    "http://[64:ff9b::127.0.0.1]:P/",
    "http://[64:ff9b:1::7f00:1]:P/",
    "http://[2002:7f00:1::]:P/",
    "http://[2001:0:7f00:1::]:P/",
    "http://[fe80::1]:P/",
    "http://[fc00::1]:P/",
    "http://[fd00:ec2::254]:P/",
    "http://[fec0::1]:P/",
    "http://[ff02::1]:P/",
    "http://169.254.169.254:P/latest/meta-data/",
    "http://[::ffff:169.254.169.254]:P/",
    "http://[::ffff:a9fe:a9fe]:P/",
    "http://0xa9fea9fe:P/",
    "http://2852039166:P/",
    "http://10.0.0.1:P/",
    "http://172.16.0.1:P/",
    "http://172.31.255.254:P/",
    "http://192.168.0.1:P/",
    "http://100.64.0.1:P/",
    "http://100.100.100.200:P/",
    "http://192.0.0.192:P/",
    "http://198.18.0.1:P/",
    "http://224.0.0.1:P/",
    "http://240.0.0.1:P/",
    "http://255.255.255.255:P/",
    "http://192.88.99.1:P/",
    "http://good.example@127.0.0.1:P/",
    "http://127.0.0.1:P\\@good.example/",
    "http://good.example:x@127.0.0.1:P/",
    "http://127.0.0.1:P#@good.example/",
    "http:127.0.0.1:P/",
    "http:/127.0.0.1:P/",
    "http:///127.0.0.1:P/",
    "//127.0.0.1:P/",
    " http://127.0.0.1:P/",
    "http://127.0.0.1\t:P/",
    "http://127.0.0.1:P/\r\nx: y",
    "file:///etc/passwd",
    "gopher://127.0.0.1:P/_x",
    "ftp://127.0.0.1:P/",
    "unix:/run/uzima.sock",
    "data:text/plain,x",
    "jar:http://127.0.0.1:P/!/",
];

#[tokio::test]
async fn nothing_inside_is_connected_to() {
    provider();
    let canary = Canary::start(ok("{}")).await;
    // Plain http is allowed here, so that it is the address that is refused, and never the scheme.
    let (lookup, asked) = scripted(&[&["127.0.0.1"]]);
    let client = Client::with_lookup(Rules { allow_http: true, ..Rules::default() }, lookup).unwrap();
    let mut reached = Vec::new();
    for case in INSIDE {
        let url = case.replace('P', &canary.port.to_string());
        match client.send(Request::get(&url)).await {
            Err(EgressError::Forbidden(_)) => {}
            other => reached.push(format!("{url:?}: {other:?}")),
        }
    }
    assert!(reached.is_empty(), "{}", reached.join("\n"));
    assert!(INSIDE.len() >= 60);
    assert_eq!((canary.seen(), asked.load(SeqCst)), (0, 0), "refused before any name was looked up");
}

#[tokio::test]
async fn names_that_point_inside_are_not_connected_to() {
    provider();
    let canary = Canary::start(ok("{}")).await;
    let turns: &[&'static [&'static [&'static str]]] = &[
        &[&["127.0.0.1"]],
        &[&["::1"]],
        &[&["::ffff:127.0.0.1"]],
        &[&["0.0.0.0"]],
        &[&["169.254.169.254"]],
        &[&["10.0.0.1"]],
        &[&["100.64.0.1"]],
        &[&["fd00::1"]],
        &[&["64:ff9b::7f00:1"]],
        // Outside and inside at once: which of them would be tried is the attacker's luck.
        &[&["93.184.215.14", "127.0.0.1"]],
        &[&["127.0.0.1", "93.184.215.14"]],
        &[&["2606:4700::1", "::1"]],
    ];
    for turn in turns {
        let (lookup, asked) = scripted(turn);
        let client = Client::with_lookup(Rules { allow_http: true, ..Rules::default() }, lookup).unwrap();
        let url = format!("http://rebind.example:{}/", canary.port);
        assert_eq!(client.send(Request::get(&url)).await, Err(Forbidden::Private.into()), "{turn:?}");
        assert_eq!(asked.load(SeqCst), 1, "what was checked is what would be connected to");
    }
    // Rebinding: inside at the first look, so refused, whatever it says afterwards; and the other way round.
    let (lookup, _) = scripted(&[&["127.0.0.1"], &["93.184.215.14"]]);
    let client = Client::with_lookup(Rules { allow_http: true, ..Rules::default() }, lookup).unwrap();
    let url = format!("http://rebind.example:{}/", canary.port);
    assert_eq!(client.send(Request::get(&url)).await, Err(Forbidden::Private.into()));
    assert_eq!(canary.seen(), 0);
}

#[tokio::test]
async fn only_listed_hosts_only_https_and_no_redirect() {
    provider();
    let inner = Canary::start(ok("{}")).await;
    let outer = Canary::start(format!(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:{}/secret\r\ncontent-length: 0\r\n\r\n",
        inner.port
    ))
    .await;
    let rules = Rules {
        allow_http: true,
        allow_private: true,
        hosts: vec!["good.example".into(), ".Below.example".into()],
    };
    let (lookup, _) = scripted(&[&["127.0.0.1"]]);
    let client = Client::with_lookup(rules, lookup).unwrap();
    for host in [
        "good.example.evil",
        "evil.example",
        "good.examplee",
        "evilgood.example",
        "below.example",
        "evilbelow.example",
        "x.good.example",
        "127.0.0.1",
        "localhost",
    ] {
        let url = format!("http://{host}:{}/", outer.port);
        assert_eq!(client.send(Request::get(&url)).await, Err(Forbidden::NotListed.into()), "{host}");
    }
    assert_eq!(outer.seen(), 0);
    for host in ["good.example", "GOOD.example", "good.example.", "a.below.example", "a.b.below.example"] {
        let url = format!("http://{host}:{}/", outer.port);
        assert_eq!(client.send(Request::get(&url)).await, Err(EgressError::Redirect(302)), "{host}");
    }
    assert!(outer.seen() >= 1);
    assert_eq!(inner.seen(), 0, "no redirect is followed");

    let strict = Client::new(Rules::default()).unwrap();
    assert_eq!(strict.send(Request::get("http://good.example/")).await, Err(Forbidden::NotHttps.into()));
    assert!(strict.check("https://good.example/").is_ok());
}

#[tokio::test]
async fn answers_are_capped_and_not_unpacked() {
    provider();
    let rules = Rules { allow_http: true, allow_private: true, hosts: Vec::new() };
    let client = Client::new(rules).unwrap();
    let url = |canary: &Canary| format!("http://127.0.0.1:{}/", canary.port);
    let good = Canary::start(ok("{\"keys\":[]}")).await;
    let answer = client.send(Request::get(&url(&good))).await.unwrap();
    assert_eq!((answer.status, answer.media_type.as_str()), (StatusCode::OK, "application/json"));
    assert_eq!(answer.body, b"{\"keys\":[]}");

    let announced = Canary::start("HTTP/1.1 200 OK\r\ncontent-length: 4294967296\r\n\r\n{".into()).await;
    let too_long = Err(EgressError::TooLong(ANSWER_BYTES));
    assert_eq!(client.send(Request::get(&url(&announced))).await, too_long);
    let endless = Canary::start(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(ANSWER_BYTES + 1))).await;
    assert_eq!(client.send(Request::get(&url(&endless))).await, too_long);
    // Whoever wants no answer is not kept by one.
    let address = url(&announced);
    let none = Request { answer_bytes: 0, ..Request::get(&address) };
    assert_eq!(client.send(none).await.unwrap().body, b"");
    let packed = Canary::start(
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n\x1f\x0f".into(),
    )
    .await;
    assert_eq!(client.send(Request::get(&url(&packed))).await.unwrap().body, b"\x1f\x0f", "as it came");
}

#[tokio::test]
async fn credentials_go_to_their_own_origin_only() {
    provider();
    let rules = Rules { allow_http: true, allow_private: true, hosts: Vec::new() };
    let (lookup, _) = scripted(&[&["127.0.0.1"]]);
    let client = Client::with_lookup(rules, lookup).unwrap();
    let canary = Canary::start(ok("{}")).await;
    let own = format!("http://good.example:{}/hook", canary.port);
    let credential = Credential::new(&own, "authorization", "Bearer secret").unwrap();
    assert!(!format!("{credential:?}").contains("secret"));
    let with = |url: &str| {
        let (url, client, credential) = (url.to_owned(), client.clone(), credential.clone());
        async move { client.send(Request { credential: Some(&credential), ..Request::get(&url) }).await }
    };
    for elsewhere in [
        format!("http://good.example.evil:{}/hook", canary.port),
        format!("http://good.example:{}/hook", canary.port ^ 1),
        format!("https://good.example:{}/hook", canary.port),
        format!("http://evil.example:{}/http://good.example/", canary.port),
        "http://good.example/hook".to_owned(),
    ] {
        assert_eq!(with(&elsewhere).await, Err(Forbidden::CredentialElsewhere.into()), "{elsewhere}");
    }
    assert_eq!(canary.seen(), 0);
    assert!(with(&format!("http://GOOD.example:{}/other", canary.port)).await.is_ok());
}
