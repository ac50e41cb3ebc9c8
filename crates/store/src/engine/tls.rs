//! Connections to PostgreSQL: where they go, and what must encrypt them.
//!
//! `sslmode` as libpq has it: `disable`, `require` (encrypted, whoever answers), `verify-ca`, `verify-full`; with
//! `sslrootcert=FILE` (PEM) instead of the system's authorities. Unlike libpq, a server on another machine is not spoken
//! to in the clear unless `sslmode=disable` says so, and `allow` and `prefer`, which anybody on the way can turn into that,
//! are refused there.

use crate::{Error, Result};
use ::postgres::config::{Host, SslMode};
use ::postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use ::postgres::{Client, Config, NoTls, Socket};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;

/// How the server's certificate is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Encrypted, whoever answers.
    Anybody,
    /// Of an authority we know, for whatever name.
    Authority,
    /// Of an authority we know, for the name we called.
    Full,
}

/// A server and how to reach it.
#[derive(Clone)]
pub(crate) struct Target {
    config: Config,
    tls: Option<Connector>,
}

impl Target {
    /// Errors: [Error::Database] in words for the operator; the URL, which may hold a password, is not in them.
    pub fn parse(url: &str) -> Result<Target> {
        let (url, mode, root) = split(url)?;
        let mut config: Config = url.parse().map_err(|_| Error::Invalid("database URL"))?;
        let is_local = is_local(&config);
        let trust = match mode.as_deref() {
            Some("disable") => None,
            None | Some("allow" | "prefer") if is_local => None,
            None | Some("verify-full") => Some(Trust::Full),
            Some("verify-ca") => Some(Trust::Authority),
            // As libpq: an authority that is named is asked.
            Some("require") if root.is_some() => Some(Trust::Authority),
            Some("require") => Some(Trust::Anybody),
            Some("allow" | "prefer") => {
                return Err(wrong(
                    "sslmode=allow and sslmode=prefer do not protect what goes over a network: use sslmode=verify-full, or \
                     sslmode=disable where something else encrypts the way",
                ));
            }
            Some(_) => return Err(wrong("sslmode is disable, require, verify-ca or verify-full")),
        };
        config.ssl_mode(if trust.is_some() { SslMode::Require } else { SslMode::Disable });
        let tls = trust.map(|trust| Connector::new(trust, root.as_deref())).transpose()?;
        Ok(Target { config, tls })
    }

    /// Errors: [Error::Database] with the reason.
    pub fn connect(&self) -> Result<Client> {
        let client = match &self.tls {
            None => self.config.connect(NoTls),
            Some(connector) => self.config.connect(connector.clone()),
        };
        client.map_err(|error| Error::Database(format!("cannot connect: {}", chain(&error))))
    }
}

fn wrong(text: &str) -> Error {
    Error::Database(format!("database_url: {text}"))
}

/// An error with its causes: that of a handshake is in the last.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let told = inner.to_string();
        if !text.contains(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        cause = inner.source();
    }
    text
}

/// The URL without `sslmode` and `sslrootcert`, and these two.
fn split(url: &str) -> Result<(String, Option<String>, Option<String>)> {
    let Some((base, query)) = url.split_once('?') else { return Ok((url.to_owned(), None, None)) };
    let (mut rest, mut mode, mut root) = (Vec::new(), None, None);
    for part in query.split('&') {
        match part.split_once('=') {
            Some(("sslmode", value)) => mode = Some(value.to_owned()),
            Some(("sslrootcert", "system")) => {}
            Some(("sslrootcert", value)) => root = Some(decoded(value)?),
            _ => rest.push(part),
        }
    }
    let url = if rest.is_empty() { base.to_owned() } else { format!("{base}?{}", rest.join("&")) };
    Ok((url, mode, root))
}

/// `%2F` and the like, as in every URL.
fn decoded(text: &str) -> Result<String> {
    let bad = || wrong("sslrootcert is no path");
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let digits = tail.get(..2).and_then(|d| std::str::from_utf8(d).ok()).ok_or_else(bad)?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| bad())?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

/// What is said to it does not leave this machine.
fn is_local(config: &Config) -> bool {
    let named = config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        Host::Unix(_) => true,
    });
    named && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

/// Makes connections with TLS.
#[derive(Clone)]
pub(super) struct Connector(Arc<ClientConfig>);

impl Connector {
    fn new(trust: Trust, root: Option<&str>) -> Result<Connector> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&error.to_string()))?;
        let config = match trust {
            Trust::Full => builder.with_root_certificates(roots(root)?).with_no_client_auth(),
            Trust::Anybody | Trust::Authority => {
                let inner = match trust {
                    Trust::Authority => Some(
                        WebPkiServerVerifier::builder_with_provider(Arc::new(roots(root)?), provider.clone())
                            .build()
                            .map_err(|error| wrong(&error.to_string()))?,
                    ),
                    _ => None,
                };
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(Nameless { inner, provider }))
                    .with_no_client_auth()
            }
        };
        Ok(Connector(Arc::new(config)))
    }
}

fn roots(file: Option<&str>) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            let bad = |error: &dyn std::fmt::Display| wrong(&format!("sslrootcert {file}: {error}"));
            let all = CertificateDer::pem_file_iter(file).map_err(|error| bad(&error))?;
            for certificate in all {
                roots.add(certificate.map_err(|error| bad(&error))?).map_err(|error| bad(&error))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
    }
    if roots.is_empty() {
        return Err(wrong(
            "no certificate authorities are known here: name the server's by sslrootcert=FILE",
        ));
    }
    Ok(roots)
}

/// Checks that the server has the key of its certificate, and, with `inner`, who signed that, but not for which name.
#[derive(Debug)]
struct Nameless {
    inner: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Nameless {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(inner) = &self.inner else { return Ok(ServerCertVerified::assertion()) };
        match inner.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            // Names come last: all else was right.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl MakeTlsConnect<Socket> for Connector {
    type Stream = Stream;
    type TlsConnect = Handshake;
    type Error = rustls::pki_types::InvalidDnsNameError;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Handshake, Self::Error> {
        let name = ServerName::try_from(domain)?.to_owned();
        Ok(Handshake { connector: TlsConnector::from(self.0.clone()), name })
    }
}

/// One connection's.
pub(super) struct Handshake {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Stream;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

    fn connect(self, socket: Socket) -> Self::Future {
        Box::pin(async move { self.connector.connect(self.name, socket).await.map(|s| Stream(Box::new(s))) })
    }
}

pub(super) struct Stream(Box<tokio_rustls::client::TlsStream<Socket>>);

impl TlsStream for Stream {
    fn channel_binding(&self) -> ChannelBinding {
        // tls-server-end-point (RFC 5929) needs the certificate's own hash algorithm; certificates are checked instead.
        ChannelBinding::none()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trust(url: &str) -> Result<Option<bool>, String> {
        Target::parse(url).map(|target| target.tls.map(|_| true)).map_err(|error| error.to_string())
    }

    #[test]
    fn nothing_goes_over_a_network_in_the_clear_unless_it_is_said() {
        for local in [
            "postgres://u@localhost/d",
            "postgres://u@127.0.0.1:7370/d",
            "postgres://u@[::1]/d",
            "postgres://u@%2Frun%2Fpostgresql/d",
            "postgres://u@127.0.0.1/d?sslmode=prefer",
            "postgres://u@db.example/d?sslmode=disable",
        ] {
            assert_eq!(trust(local), Ok(None), "{local}");
        }
        for encrypted in [
            "postgres://u@db.example/d?sslmode=require",
            "postgres://u@127.0.0.1/d?sslmode=require&connect_timeout=3",
        ] {
            assert_eq!(trust(encrypted), Ok(Some(true)), "{encrypted}");
        }
        for (refused, why) in [
            ("postgres://u@db.example/d?sslmode=prefer", "do not protect"),
            ("postgres://u@10.1.2.3/d?sslmode=allow", "do not protect"),
            ("postgres://u@10.1.2.3,127.0.0.1/d?sslmode=prefer", "do not protect"),
            ("postgres://u@localhost/d?hostaddr=10.1.2.3&sslmode=prefer", "do not protect"),
            ("postgres://u@localhost/d?sslmode=full", "sslmode is"),
            (
                "postgres://u:secret@db.example/d?sslmode=verify-full&sslrootcert=%2Fnowhere%2Fca.pem",
                "/nowhere/ca.pem",
            ),
        ] {
            let error = trust(refused).unwrap_err();
            assert!(error.contains(why) && !error.contains("secret"), "{refused}: {error}");
        }
    }
}
