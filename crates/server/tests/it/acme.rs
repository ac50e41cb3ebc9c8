//! Certificates by ACME: the real client against an authority of our own that speaks RFC 8555, checks every signature and
//! nonce, looks at the port without TLS itself, and signs what it is sent.

use crate::harness::{World, header};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const NAME: &str = "clinic.example";
const WAIT: Duration = Duration::from_secs(60);
const TOKEN: &str = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA";

/// The authority.
struct Authority {
    url: String,
    state: Mutex<Known>,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    http: reqwest::Client,
    /// Where the clinic's port 80 is.
    port_80: Mutex<Option<SocketAddr>>,
    /// The year that certificates end in.
    year: Mutex<i32>,
}

#[derive(Default)]
struct Known {
    nonces: HashSet<String>,
    next: u64,
    account: Option<Value>,
    is_proved: bool,
    problem: Option<Value>,
    orders: u32,
    chain: Option<String>,
    problems: Vec<String>,
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/data")).join(name)
}

impl Authority {
    async fn start() -> Arc<Authority> {
        // Only fails if there is one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = Arc::new(Authority {
            url,
            state: Mutex::default(),
            issuer: rcgen::Issuer::new(params, key),
            http: reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap(),
            port_80: Mutex::default(),
            year: Mutex::new(2126),
        });
        let router = Router::new().fallback(answer).with_state(authority.clone());
        let tls =
            axum_server::tls_rustls::RustlsConfig::from_pem_file(fixture("acme.pem"), fixture("acme.key"));
        let server = axum_server::from_tcp_rustls(listener, tls.await.unwrap()).unwrap();
        tokio::spawn(server.serve(router.into_make_service()));
        authority
    }

    fn orders(&self) -> u32 {
        self.state.lock().unwrap().orders
    }

    fn problems(&self) -> Vec<String> {
        self.state.lock().unwrap().problems.clone()
    }

    fn reply(&self, status: u16, location: &str, body: &Value) -> Response {
        let mut state = self.state.lock().unwrap();
        state.next += 1;
        let nonce = format!("nonce-{}", state.next);
        state.nonces.insert(nonce.clone());
        let kind = if status >= 400 { "application/problem+json" } else { "application/json" };
        let headers = [
            ("replay-nonce", nonce),
            ("content-type", kind.to_owned()),
            ("location", format!("{}{location}", self.url)),
            ("cache-control", "no-store".to_owned()),
        ];
        (StatusCode::from_u16(status).unwrap(), headers, body.to_string()).into_response()
    }

    fn refuse(&self, what: &str) -> Response {
        self.state.lock().unwrap().problems.push(what.to_owned());
        let kind = format!("urn:ietf:params:acme:error:{what}");
        self.reply(400, "/", &json!({"type": kind, "detail": what, "status": 400}))
    }

    /// Header and payload of a signed request, if everything about it is right.
    fn opened(&self, path: &str, body: &[u8]) -> Result<(Value, Value), &'static str> {
        let body: Value = serde_json::from_slice(body).map_err(|_| "malformed")?;
        let part = |name: &str| body[name].as_str().ok_or("malformed");
        let decode = |text: &str| BASE64.decode(text).map_err(|_| "malformed");
        let protected: Value =
            serde_json::from_slice(&decode(part("protected")?)?).map_err(|_| "malformed")?;
        if protected["alg"] != "ES256" || protected["url"] != format!("{}{path}", self.url) {
            return Err("unauthorized");
        }
        let mut state = self.state.lock().unwrap();
        let nonce = protected["nonce"].as_str().ok_or("badNonce")?;
        if !state.nonces.remove(nonce) {
            return Err("badNonce");
        }
        let jwk = match (path, &state.account) {
            ("/new-account", _) => protected["jwk"].clone(),
            (_, Some(known)) if protected["kid"] == format!("{}/account/1", self.url) => known.clone(),
            _ => return Err("accountDoesNotExist"),
        };
        let mut point = vec![4];
        for name in ["x", "y"] {
            point.extend(decode(jwk[name].as_str().ok_or("badPublicKey")?)?);
        }
        let signed = format!("{}.{}", part("protected")?, part("payload")?);
        ring::signature::UnparsedPublicKey::new(&ring::signature::ECDSA_P256_SHA256_FIXED, point)
            .verify(signed.as_bytes(), &decode(part("signature")?)?)
            .map_err(|_| "unauthorized")?;
        let payload = decode(part("payload")?)?;
        let payload =
            if payload.is_empty() { Value::Null } else { serde_json::from_slice(&payload).unwrap() };
        if path == "/new-account" {
            state.account = Some(jwk);
        }
        Ok((protected, payload))
    }

    fn order(&self) -> Value {
        let state = self.state.lock().unwrap();
        let status = match (&state.problem, &state.chain, state.is_proved) {
            (Some(_), _, _) => "invalid",
            (_, Some(_), _) => "valid",
            (_, _, true) => "ready",
            _ => "pending",
        };
        let mut order = json!({"status": status, "identifiers": [{"type": "dns", "value": NAME}],
            "authorizations": [format!("{}/authz/1", self.url)], "finalize": format!("{}/finalize/1", self.url)});
        if status == "valid" {
            order["certificate"] = json!(format!("{}/certificate/1", self.url));
        }
        order
    }

    fn challenge(&self) -> Value {
        let state = self.state.lock().unwrap();
        let status = match (&state.problem, state.is_proved) {
            (Some(_), _) => "invalid",
            (_, true) => "valid",
            _ => "pending",
        };
        json!({"type": "http-01", "url": format!("{}/challenge/1", self.url), "token": TOKEN, "status": status})
    }

    /// Looks whether who ordered answers at the name.
    async fn look(&self) {
        let port_80 = *self.port_80.lock().unwrap();
        let proved = match port_80 {
            None => false,
            Some(address) => {
                let url = format!("http://{address}/.well-known/acme-challenge/{TOKEN}");
                let answer = self.http.get(url).header("host", NAME).send().await.unwrap();
                let right = answer.status() == 200
                    && header(&answer, "content-type").starts_with("application/octet");
                let text = answer.text().await.unwrap();
                let jwk = self.state.lock().unwrap().account.clone().unwrap();
                // RFC 7638: the members in this order, without blanks.
                let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
                let thumbprint = BASE64.encode(Sha256::digest(canonical));
                right && text == format!("{TOKEN}.{thumbprint}")
            }
        };
        let mut state = self.state.lock().unwrap();
        state.is_proved = proved;
        if !proved {
            state.problem = Some(json!({"type": "urn:ietf:params:acme:error:connection", "status": 400}));
        }
    }

    fn sign(&self, payload: &Value) {
        let der = BASE64.decode(payload["csr"].as_str().unwrap()).unwrap();
        let mut request = rcgen::CertificateSigningRequestParams::from_der(&der.into()).unwrap();
        request.params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        request.params.not_after = rcgen::date_time_ymd(*self.year.lock().unwrap(), 12, 1);
        let certificate = request.signed_by(&self.issuer).unwrap();
        self.state.lock().unwrap().chain = Some(certificate.pem());
    }
}

async fn answer(
    State(authority): State<Arc<Authority>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (path, at) = (uri.path(), |path: &str| format!("{}{path}", authority.url));
    if path == "/directory" {
        return authority.reply(
            200,
            "/",
            &json!({"newNonce": at("/new-nonce"), "newAccount": at("/new-account"),
            "newOrder": at("/new-order"), "revokeCert": at("/revoke"), "keyChange": at("/key-change")}),
        );
    }
    if path == "/new-nonce" {
        return authority.reply(200, "/", &Value::Null);
    }
    let is_jose = headers.get("content-type").is_some_and(|kind| kind == "application/jose+json");
    if method != Method::POST || !is_jose {
        return authority.refuse("malformed");
    }
    let payload = match authority.opened(path, &body) {
        Ok((_, payload)) => payload,
        Err(problem) => return authority.refuse(problem),
    };
    match path {
        "/new-account" => authority.reply(201, "/account/1", &json!({"status": "valid"})),
        "/new-order" => {
            {
                let mut state = authority.state.lock().unwrap();
                state.orders += 1;
                (state.chain, state.problem, state.is_proved) = (None, None, false);
            }
            assert_eq!(payload["identifiers"], json!([{"type": "dns", "value": NAME}]));
            authority.reply(201, "/order/1", &authority.order())
        }
        "/authz/1" => {
            let challenge = authority.challenge();
            authority.reply(
                200,
                "/",
                &json!({"status": challenge["status"],
                "identifier": {"type": "dns", "value": NAME}, "challenges": [challenge]}),
            )
        }
        "/challenge/1" => {
            authority.look().await;
            authority.reply(200, "/", &authority.challenge())
        }
        "/order/1" => authority.reply(200, "/order/1", &authority.order()),
        "/finalize/1" => {
            authority.sign(&payload);
            authority.reply(200, "/order/1", &authority.order())
        }
        "/certificate/1" => {
            let chain = authority.state.lock().unwrap().chain.clone().unwrap();
            let mut reply = authority.reply(200, "/", &Value::Null);
            reply.headers_mut().insert("content-type", "application/pem-certificate-chain".parse().unwrap());
            *reply.body_mut() = chain.into();
            reply
        }
        _ => authority.refuse("malformed"),
    }
}

fn configure(config: &mut server::Config, authority: &Authority) {
    config.tls.acme_names = vec![NAME.to_owned()];
    config.tls.acme_contact = Some("it@clinic.example".to_owned());
    config.tls.acme_directory = format!("{}/directory", authority.url);
    config.tls.acme_root = Some(fixture("acme-ca.pem"));
    config.tls.redirect_listen = Some("127.0.0.1:0".parse().unwrap());
}

/// The certificate that a new connection is shown.
async fn shown(address: SocketAddr) -> String {
    let client = reqwest::Client::builder()
        .danger_accept_invalid_certs(true)
        .tls_info(true)
        .resolve(NAME, address)
        .build()
        .unwrap();
    let answer = client.get(format!("https://{NAME}:{}/healthz", address.port())).send().await.unwrap();
    let info = answer.extensions().get::<reqwest::tls::TlsInfo>().unwrap();
    BASE64.encode(info.peer_certificate().unwrap())
}

fn der(pem: &str) -> String {
    use rustls::pki_types::pem::PemObject as _;
    BASE64.encode(rustls::pki_types::CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
}

/// Waits until the server shows what the authority signed; that.
async fn signed_and_shown(authority: &Authority, address: SocketAddr, orders: u32) -> String {
    let waiting = tokio::time::timeout(WAIT, async {
        loop {
            let chain = authority.state.lock().unwrap().chain.clone();
            if let Some(chain) = chain
                && authority.orders() == orders
                && shown(address).await == der(&chain)
            {
                return der(&chain);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    waiting.await.unwrap_or_else(|_| panic!("no certificate: {:?}", authority.problems()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_got_kept_and_renewed() {
    let authority = Authority::start().await;
    // The port is known only when the server listens; until then its first try fails and the next is a minute away.
    let port_80 = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap()
    };
    *authority.port_80.lock().unwrap() = Some(port_80);
    // It ends soon, so that the next start renews it.
    *authority.year.lock().unwrap() = 2026;
    let mut world = World::start_with(|config| {
        configure(config, &authority);
        config.tls.redirect_listen = Some(port_80);
    })
    .await;
    let first = signed_and_shown(&authority, world.running().address, 1).await;
    let config = world.app().config.clone();
    assert!(world.url().starts_with(&format!("https://{NAME}")), "{}", world.url());
    let kept = std::fs::read(config.data.join("acme.sealed")).unwrap();
    assert!(!String::from_utf8_lossy(&kept).contains("PRIVATE KEY"), "it is sealed");
    let strange = reqwest::get(format!("http://{port_80}/.well-known/acme-challenge/none")).await.unwrap();
    assert_eq!(strange.status(), 404);
    world.take_running().shutdown().await.unwrap();

    *authority.year.lock().unwrap() = 2126;
    let again = server::start(config.clone()).await.unwrap();
    let second = signed_and_shown(&authority, again.address, 2).await;
    assert_ne!(first, second, "it was renewed in time");
    again.shutdown().await.unwrap();
    let last = server::start(config).await.unwrap();
    assert_eq!(shown(last.address).await, second, "what was got is shown at once");
    last.shutdown().await.unwrap();
    assert_eq!((authority.orders(), authority.problems()), (2, Vec::new()), "one account, one order each");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_proof_there_is_no_certificate_but_a_server() {
    let authority = Authority::start().await;
    let world = World::start_with(|config| configure(config, &authority)).await;
    let refused = tokio::time::timeout(WAIT, async {
        while authority.state.lock().unwrap().problem.is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    refused.await.unwrap();
    assert!(!shown(world.running().address).await.is_empty(), "one of its own");
    assert!(!world.app().config.data.join("acme.sealed").exists() || authority.orders() == 1);
    world.stop().await;
}
