//! The socket: TCP with no delay, TLS where a certificate is given, HTTP/1.1 and HTTP/2.

use crate::config::Config;
use anyhow::Context as _;
use axum::Router;
use axum::extract::connect_info::IntoMakeServiceWithConnectInfo;
use axum::http::Request;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper::body::Incoming;
use hyper_util::rt::TokioTimer;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpSocket;
use tower::Layer as _;

/// A client must send the head of a request within this.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
const HTTP2_STREAMS: u32 = 128;
const HTTP2_PING_EVERY: Duration = Duration::from_secs(30);
/// Largest head of a request, bytes.
const HEAD_BYTES: usize = 64 * 1024;

/// Connections that may wait to be taken: thousands of clients come back at once after a restart.
const BACKLOG: u32 = 4096;

/// Binds the address, inside a runtime. Errors: in use, not allowed.
pub fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listen = || -> std::io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart must not wait for the connections of the last run to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?.into_std()
    };
    listen().with_context(|| format!("cannot listen on {address}"))
}

/// Serves until the handle is told to stop.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<RustlsConfig>,
    handle: Handle<SocketAddr>,
) -> std::io::Result<()> {
    let trim: fn(Request<Incoming>) -> Request<Incoming> = super::without_trailing_slash;
    let service = tower::util::MapRequestLayer::new(trim).layer(router);
    let service: IntoMakeServiceWithConnectInfo<_, SocketAddr> =
        axum::ServiceExt::<Request<Incoming>>::into_make_service_with_connect_info::<SocketAddr>(service);
    let mut server = axum_server::from_tcp(listener)?.handle(handle);
    let builder = server.http_builder();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS)
        .keep_alive_interval(HTTP2_PING_EVERY);
    match tls {
        None => server.acceptor(NoDelayAcceptor::new()).serve(service).await,
        Some(config) => {
            let acceptor = RustlsAcceptor::new(config).acceptor(NoDelayAcceptor::new());
            server.acceptor(acceptor).serve(service).await
        }
    }
}

/// Tells whether certificate or key were changed: size and time of change of each. `None` without them, or while one of
/// them is being replaced.
pub fn stamp(config: &Config) -> Option<[(u64, SystemTime); 2]> {
    let of = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.len(), found.modified().ok()?))
    };
    Some([of(config.tls.certificate.as_ref()?)?, of(config.tls.private_key.as_ref()?)?])
}

/// TLS 1.3, and 1.2 if it is allowed, with ring's ciphers, all of them AEAD; HTTP/2 and HTTP/1.1 by ALPN; `None` without a
/// certificate.
/// Errors: files that cannot be read or do not fit together.
pub fn tls(config: &Config) -> anyhow::Result<Option<Arc<rustls::ServerConfig>>> {
    let (Some(certificate), Some(key)) = (&config.tls.certificate, &config.tls.private_key) else {
        return Ok(None);
    };
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(|all| all.collect::<Result<Vec<_>, _>>())
        .with_context(|| format!("cannot read the certificate {}", certificate.display()))?;
    let key = PrivateKeyDer::from_pem_file(key)
        .with_context(|| format!("cannot read the private key {}", key.display()))?;
    server_config(chain, key, &config.tls).map(Some)
}

/// Errors: certificate and key do not fit together; the file of authorities cannot be read.
pub fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    tls: &crate::config::Tls,
) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions: &[_] = match tls.allow_tls12 {
        true => &[&rustls::version::TLS13, &rustls::version::TLS12],
        false => &[&rustls::version::TLS13],
    };
    let builder =
        rustls::ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(versions)?;
    let builder = match &tls.client_authority {
        None => builder.with_no_client_auth(),
        Some(path) => builder.with_client_cert_verifier(node_verifier(path, tls.client_required, provider)?),
    };
    let mut config =
        builder.with_single_cert(chain, key).context("certificate and private key do not fit together")?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// IHE ATNA (ITI-19): a machine that shows a certificate shows one of these authorities that is not over.
/// Errors: the file cannot be read or holds no authority.
fn node_verifier(
    path: &std::path::Path,
    is_required: bool,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> anyhow::Result<Arc<dyn rustls::server::danger::ClientCertVerifier>> {
    let mut roots = rustls::RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(path)
        .and_then(|all| all.collect::<Result<Vec<_>, _>>())
        .with_context(|| format!("cannot read the authorities in {}", path.display()))?
    {
        roots.add(root).with_context(|| format!("{}: no authority", path.display()))?;
    }
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = if is_required { verifier } else { verifier.allow_unauthenticated() };
    verifier.build().with_context(|| format!("no authority in {}", path.display()))
}
