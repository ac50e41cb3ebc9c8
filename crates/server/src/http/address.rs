//! Where a request came from: the socket, or what a trusted proxy says.

use crate::config::Proxy;
use crate::state::AppState;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};

/// The client's address; `None` only in tests without a socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientAddress(pub Option<IpAddr>);

impl ClientAddress {
    /// As found by [client_address] when the request came in.
    pub fn of(parts: &Parts) -> ClientAddress {
        parts.extensions.get::<ClientAddress>().copied().unwrap_or_default()
    }
}

impl FromRequestParts<AppState> for ClientAddress {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Infallible> {
        Ok(ClientAddress::of(parts))
    }
}

/// The last entry of the configured header counts, because the proxy nearest to us wrote it; a client may write any others.
pub(super) fn client_address(
    socket: Option<&ConnectInfo<SocketAddr>>,
    headers: &HeaderMap,
    proxy: &Proxy,
) -> ClientAddress {
    let Some(ConnectInfo(peer)) = socket else { return ClientAddress(None) };
    let peer = peer.ip().to_canonical();
    let Some(name) = &proxy.address_header else { return ClientAddress(Some(peer)) };
    if !proxy.trusted.contains(&peer) {
        return ClientAddress(Some(peer));
    }
    let last = headers.get_all(name.as_str()).iter().next_back().and_then(|v| v.to_str().ok());
    let told = last.and_then(|v| v.rsplit(',').next()).and_then(|v| v.trim().parse::<IpAddr>().ok());
    ClientAddress(Some(told.map_or(peer, |address| address.to_canonical())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        let peer = |text: &str| ConnectInfo(SocketAddr::new(text.parse().unwrap(), 1));
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("1.2.3.4, 196.201.214.200"));
        let proxy = Proxy {
            address_header: Some("x-forwarded-for".into()),
            trusted: vec!["10.0.0.1".parse().unwrap()],
        };
        let address = |socket: &str, proxy: &Proxy| {
            client_address(Some(&peer(socket)), &headers, proxy).0.unwrap().to_string()
        };
        assert_eq!(address("10.0.0.1", &proxy), "196.201.214.200");
        assert_eq!(address("10.0.0.2", &proxy), "10.0.0.2");
        assert_eq!(address("10.0.0.1", &Proxy::default()), "10.0.0.1");
        assert_eq!(address("::ffff:10.0.0.1", &proxy), "196.201.214.200");
    }
}
