//! Where a call would go, as far as the URL itself says.

use reqwest::Url;
use std::net::IpAddr;

const URL_CHARS_MAX: usize = 2000;

/// What the operator allows. The default: public HTTPS hosts, any of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Plain HTTP: anybody on the way reads and changes what is sent.
    pub allow_http: bool,
    /// Addresses in private networks and on this machine.
    pub allow_private: bool,
    /// If not empty, the only hosts; `.example.org` stands for all below it.
    pub hosts: Vec<String>,
}

/// Why an address is not called; the text is for the one who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Forbidden {
    #[error("The endpoint is a URL such as https://example.org/notify.")]
    NoUrl,
    #[error("The endpoint must be https; plain http is not allowed here.")]
    NotHttps,
    #[error("The endpoint has no user name or password; credentials go into a header.")]
    UserInfo,
    #[error("The endpoint has no fragment (`#…`).")]
    Fragment,
    #[error("The endpoint's host is not among those this server sends to.")]
    NotListed,
    #[error("The endpoint is in a private network; this server calls public addresses only.")]
    Private,
    #[error("The credential belongs to another origin than the endpoint.")]
    CredentialElsewhere,
}

/// An http(s) URL without user info, as the WHATWG's rules read it: hosts in lower case and ASCII, every way to write an
/// IPv4 address (`0x7f.1`, `2130706433`, `127.1`, full-width digits) turned into the address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target(Url);

impl Target {
    /// Errors: [Forbidden::NoUrl], [Forbidden::UserInfo], [Forbidden::Fragment].
    pub fn parse(text: &str) -> Result<Target, Forbidden> {
        // Control characters, spaces and backslashes are read differently by different parsers; no real endpoint has them.
        if text.len() > URL_CHARS_MAX || !text.bytes().all(|b| b > 0x20 && b != 0x7f && b != b'\\') {
            return Err(Forbidden::NoUrl);
        }
        let url = Url::parse(text).map_err(|_| Forbidden::NoUrl)?;
        if !matches!(url.scheme(), "https" | "http") || url.host().is_none() || url.port() == Some(0) {
            return Err(Forbidden::NoUrl);
        }
        // `https:example.org` is read as `https://example.org`, which nobody means.
        if !text.get(url.scheme().len()..).is_some_and(|rest| rest.starts_with("://")) {
            return Err(Forbidden::NoUrl);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Forbidden::UserInfo);
        }
        if url.fragment().is_some() {
            return Err(Forbidden::Fragment);
        }
        Ok(Target(url))
    }

    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Scheme, host and port are the same; a missing port is the scheme's own.
    pub fn has_same_origin(&self, other: &Target) -> bool {
        self.0.scheme() == other.0.scheme()
            && self.0.host() == other.0.host()
            && self.0.port_or_known_default() == other.0.port_or_known_default()
    }

    fn literal(&self) -> Option<IpAddr> {
        let host = self.0.host_str()?;
        host.trim_start_matches('[').trim_end_matches(']').parse().ok()
    }
}

impl Rules {
    /// What can be said without looking a name up. Errors: [Forbidden].
    pub fn check(&self, url: &str) -> Result<Target, Forbidden> {
        let target = Target::parse(url)?;
        if target.0.scheme() != "https" && !self.allow_http {
            return Err(Forbidden::NotHttps);
        }
        // A dot at the end names the same host.
        let host = target.0.host_str().unwrap_or_default().trim_end_matches('.').to_owned();
        if !self.hosts.is_empty() && !self.hosts.iter().any(|allowed| is_listed(&host, allowed)) {
            return Err(Forbidden::NotListed);
        }
        let local = host == "localhost" || host.ends_with(".localhost");
        let private = target.literal().is_some_and(|address| !wire::address::is_public(address));
        if (local || private) && !self.allow_private {
            return Err(Forbidden::Private);
        }
        Ok(target)
    }
}

fn is_listed(host: &str, allowed: &str) -> bool {
    let allowed = allowed.to_ascii_lowercase();
    host == allowed || (allowed.starts_with('.') && host.len() > allowed.len() && host.ends_with(&allowed))
}
