//! Where this installation sends notifications at all.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const MAX_URL_CHARS: usize = 2000;

/// What the operator allows. The default sends to public HTTPS addresses only and no e-mail.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// Plain HTTP endpoints: anybody on the way reads what is sent.
    pub allow_http: bool,
    /// Endpoints in private networks and on this machine.
    pub allow_private: bool,
    /// If not empty, the only hosts that endpoints may have; `.example.org` allows all below it.
    pub hosts: Vec<String>,
    /// A mail server is configured.
    pub email: bool,
    /// Wait after the first failed delivery, seconds; doubles each time.
    pub retry_s: u32,
    /// Failures in a row after which a subscription's status is `error`.
    pub max_failures: u32,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            allow_http: false,
            allow_private: false,
            hosts: Vec::new(),
            email: false,
            retry_s: 5,
            max_failures: 12,
        }
    }
}

impl Rules {
    /// Errors: why notifications do not go to this URL, for the one who wrote it.
    pub fn check_url(&self, url: &str) -> Result<(), &'static str> {
        if url.is_empty() || url.len() > MAX_URL_CHARS || !url.bytes().all(|b| (0x21..0x7f).contains(&b)) {
            return Err("The endpoint is a URL such as https://example.org/notify.");
        }
        let rest = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => rest,
            (None, Some(rest)) if self.allow_http => rest,
            (None, Some(_)) => return Err("The endpoint must be https; plain http is not allowed here."),
            (None, None) => return Err("The endpoint begins with https://."),
        };
        if rest.contains('#') {
            return Err("The endpoint has no fragment (`#…`).");
        }
        let authority = rest.split(['/', '?']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err("Put credentials into `channel.header`, not into the endpoint.");
        }
        let host = host(authority).ok_or("The endpoint has no valid host.")?.to_ascii_lowercase();
        let listed = self.hosts.iter().any(|allowed| {
            let allowed = allowed.to_ascii_lowercase();
            host == allowed || (allowed.starts_with('.') && host.ends_with(&allowed))
        });
        if !self.hosts.is_empty() && !listed {
            return Err("The endpoint's host is not among those this server sends to.");
        }
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
        let local = host == "localhost" || host.ends_with(".localhost") || literal.is_some_and(is_private);
        if local && !self.allow_private {
            return Err("The endpoint is in a private network; notifications go to public addresses only.");
        }
        Ok(())
    }
}

/// The host of `host:port`; `None` for what is none.
fn host(authority: &str) -> Option<&str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let end = rest.find(']')?;
            (
                &authority[..end + 2],
                rest[end + 1..].strip_prefix(':').or(rest[end + 1..].is_empty().then_some(""))?,
            )
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let plain = host.starts_with('[')
        || host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'));
    let port = port.is_empty() || port.parse::<u16>().is_ok_and(|p| p > 0);
    // Numbers in other forms are addresses to some resolvers: 0x7f.1, 2130706433.
    let odd = host.split('.').next_back().is_some_and(|last| {
        !last.is_empty() && (last.bytes().all(|b| b.is_ascii_digit()) || last.starts_with("0x"))
    }) && host.parse::<Ipv4Addr>().is_err();
    (!host.is_empty() && plain && port && !odd).then_some(host)
}

/// Addresses that are not out in the internet: private, this machine, link-local, shared, documentation, multicast.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_broadcast()
                || v4.is_documentation()
                || v4.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (b == 18 || b == 19))
        }
        IpAddr::V6(v6) => {
            // IPv4 in its several disguises: mapped, 6to4, NAT64.
            let s = v6.segments();
            let inner = |high: u16, low: u16| {
                is_private(IpAddr::V4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low))))
            };
            v6 == Ipv6Addr::UNSPECIFIED
                || v6.is_loopback()
                || v6.is_multicast()
                || (s[0] & 0xfe00) == 0xfc00
                || (s[0] & 0xffc0) == 0xfe80
                || (s[0] == 0x2001 && s[1] == 0xdb8)
                || v6.to_ipv4_mapped().is_some_and(|v4| is_private(IpAddr::V4(v4)))
                || (s[0] == 0x2002 && inner(s[1], s[2]))
                || (s[0] == 0x64 && s[1] == 0xff9b && inner(s[6], s[7]))
                || (s[..6] == [0; 6])
        }
    }
}
