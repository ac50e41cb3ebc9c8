//! Where this installation sends notifications at all.

use std::net::{IpAddr, Ipv4Addr};

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
        // A dot at the end names the same host.
        let host = host.trim_end_matches('.');
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
    !wire::address::is_public(address)
}

#[cfg(test)]
mod tests {
    use super::Rules;

    #[test]
    fn endpoints_inside_are_refused_however_they_are_written() {
        let rules = Rules::default();
        for inside in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost.",
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "0x7f.1",
            "2130706433",
            "017700000001",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:a9fe:a9fe]",
            "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]",
            "[fd00::1]",
            "169.254.169.254",
            "10.0.0.1",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "good.example@127.0.0.1",
        ] {
            assert!(rules.check_url(&format!("https://{inside}/x")).is_err(), "{inside}");
            assert!(rules.check_url(&format!("https://{inside}:8443/x")).is_err(), "{inside}");
        }
        let rules = Rules { hosts: vec!["good.example".into(), ".below.example".into()], ..Rules::default() };
        for (host, allowed) in [
            ("good.example", true),
            ("GOOD.example", true),
            ("good.example.", true),
            ("a.below.example", true),
            ("good.example.evil", false),
            ("evilgood.example", false),
            ("below.example", false),
            ("evilbelow.example", false),
        ] {
            assert_eq!(rules.check_url(&format!("https://{host}/x")).is_ok(), allowed, "{host}");
        }
    }
}
