//! PostgreSQL over TLS: a real server behind a relay that speaks TLS as PostgreSQL does.

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use store::test_support::postgres;
use store::{Error, Store, StoreConfig, setting};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// `SSLRequest`: length 8, code 80877103.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/data/tls")).join(name)
}

/// Answers on a port of its own until it is dropped; with TLS it counts the handshakes, without it refuses them.
async fn relay(to: String, with_tls: bool, handshakes: Arc<AtomicUsize>) -> u16 {
    let chain = CertificateDer::pem_file_iter(fixture("server.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(fixture("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (acceptor, to, handshakes) = (acceptor.clone(), to.clone(), handshakes.clone());
            tokio::spawn(async move {
                let mut first = [0; 8];
                stream.read_exact(&mut first).await.unwrap();
                if !with_tls {
                    drop(stream.write_all(b"N").await);
                    return;
                }
                // What comes in the clear is not let through.
                assert_eq!(first, SSL_REQUEST);
                stream.write_all(b"S").await.unwrap();
                let Ok(mut inside) = acceptor.accept(stream).await else { return };
                handshakes.fetch_add(1, Ordering::Relaxed);
                let mut server = TcpStream::connect(to).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut inside, &mut server).await);
            });
        }
    });
    port
}

fn open(url: String) -> Result<Store, Error> {
    Store::open(StoreConfig { pg_pool: 2, ..StoreConfig::new(url, None) })
}

#[test]
fn postgres_is_spoken_to_over_tls() {
    let Some(temp) = postgres() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (base, database) = temp.config().url.rsplit_once('/').unwrap();
    let database = database.split('?').next().unwrap();
    let (user, address) = base.strip_prefix("postgres://").unwrap().rsplit_once('@').unwrap();
    let handshakes = Arc::new(AtomicUsize::new(0));
    let port = runtime.block_on(relay(address.to_owned(), true, handshakes.clone()));
    let plain = runtime.block_on(relay(address.to_owned(), false, handshakes.clone()));
    let ca = fixture("ca.pem").display().to_string().replace('/', "%2F");
    let url =
        |host: &str, port: u16, rest: &str| format!("postgres://{user}@{host}:{port}/{database}?{rest}");

    for good in [
        url("localhost", port, &format!("sslmode=verify-full&sslrootcert={ca}")),
        url("127.0.0.1", port, &format!("sslmode=verify-ca&sslrootcert={ca}")),
        url("127.0.0.1", port, "sslmode=require"),
    ] {
        let before = handshakes.load(Ordering::Relaxed);
        let store = open(good.clone()).unwrap();
        store.write_blocking(|tx| setting::put(tx, "tls", &serde_json::json!(true))).unwrap();
        let read = store.read_blocking(|tx| setting::get(tx, "tls")).unwrap();
        assert_eq!(read, Some(serde_json::json!(true)), "{good}");
        store.close();
        assert!(handshakes.load(Ordering::Relaxed) > before, "{good}");
    }
    let other = fixture("other-ca.pem").display().to_string().replace('/', "%2F");
    for (bad, why) in [
        // The certificate is for localhost, not for its address.
        (url("127.0.0.1", port, &format!("sslmode=verify-full&sslrootcert={ca}")), "NotValidForName"),
        (url("localhost", port, &format!("sslmode=verify-full&sslrootcert={other}")), "UnknownIssuer"),
        (url("localhost", port, &format!("sslmode=verify-ca&sslrootcert={other}")), "UnknownIssuer"),
        (url("localhost", plain, "sslmode=require"), "TLS"),
    ] {
        let error = open(bad.clone()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(error.to_lowercase().replace(' ', "").contains(&why.to_lowercase()), "{bad}: {error}");
    }
}
