//! The one way to call an address that came from data: a subscriber's endpoint, a client's key set, an identity
//! provider's discovery document, a webhook.
//!
//! Whoever writes such an address would like this server to call something that only this server can reach: the
//! cloud's metadata service, the database, a printer. So:
//!
//! **Invariant:** a connection goes to an address that was checked, not to a name: a name is looked up once per
//! connection, every address it has is checked, and one of exactly these is connected to.
//! **Invariant:** no redirect is followed, no proxy of the environment is used, nothing is unpacked, and no more of an
//! answer is read than the caller asked for.
//! **Invariant:** a credential is sent to the one origin it was made for; origins are compared whole, never by how they
//! begin.
//! **Invariant:** what went wrong is told without anything of the message, the URL or the answer.

mod target;

pub use reqwest::{Method, StatusCode};
pub use target::{Forbidden, Rules, Target};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Longest time for a connection, its TLS handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for one call, where the caller does not say.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer that is read, bytes, where the caller does not say.
pub const ANSWER_BYTES: usize = 64 * 1024;
/// Idle connections to one host.
const IDLE_CONNECTIONS: usize = 4;
const IDLE_TIME: Duration = Duration::from_secs(30);
/// Addresses of one name that are looked at.
const ADDRESSES_MAX: usize = 32;

/// A client for addresses that came from data. Cloning is cheap; clones share connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    rules: Arc<Rules>,
}

/// One request. [Request::get] has the defaults.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    pub method: Method,
    pub url: &'a str,
    /// Sent to whatever `url` names; secrets belong into `credential`.
    pub headers: &'a [(String, String)],
    pub credential: Option<&'a Credential>,
    /// Media type and text.
    pub body: Option<(&'a str, &'a str)>,
    /// From the first look-up to the last byte of the answer.
    pub timeout: Duration,
    /// Longest answer, bytes; 0 reads none of it.
    pub answer_bytes: usize,
}

impl<'a> Request<'a> {
    pub fn get(url: &'a str) -> Request<'a> {
        Request {
            method: Method::GET,
            url,
            headers: &[],
            credential: None,
            body: None,
            timeout: TIMEOUT,
            answer_bytes: ANSWER_BYTES,
        }
    }
}

/// A header that goes to one origin only.
#[derive(Clone)]
pub struct Credential {
    origin: Target,
    name: String,
    value: String,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credential").field("name", &self.name).field("value", &"***").finish_non_exhaustive()
    }
}

impl Credential {
    /// A header such as `Authorization` for the origin (scheme, host and port) of `url`. Errors: no such URL.
    pub fn new(
        url: &str,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Credential, Forbidden> {
        Ok(Credential { origin: Target::parse(url)?, name: name.into(), value: value.into() })
    }
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: StatusCode,
    /// Essence of the media type in lower case, e.g. `application/json`; empty if none was named.
    pub media_type: String,
    /// Empty where [Request::answer_bytes] is 0.
    pub body: Vec<u8>,
}

/// Why there is no answer. Texts are for operators and for whoever wrote the address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    #[error(transparent)]
    Forbidden(#[from] Forbidden),
    #[error("the endpoint answered {0}; redirects are not followed")]
    Redirect(u16),
    #[error("the endpoint did not answer in time")]
    TimedOut,
    #[error("the endpoint cannot be reached")]
    Unreachable,
    #[error("the endpoint is no valid URL or a header is wrong")]
    Wrong,
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("the connection to the endpoint broke off")]
    BrokeOff,
}

/// How names become addresses. The system's way in production; scripted in tests.
pub type Lookup = Arc<
    dyn Fn(String) -> Pin<Box<dyn Future<Output = std::io::Result<Vec<SocketAddr>>> + Send>> + Send + Sync,
>;

impl Client {
    /// Errors: the TLS backend cannot be made.
    pub fn new(rules: Rules) -> Result<Client, record::Error> {
        Client::with_lookup(
            rules,
            Arc::new(|name| {
                Box::pin(async move { Ok(tokio::net::lookup_host((name.as_str(), 0)).await?.collect()) })
            }),
        )
    }

    /// As [Client::new], with another way to look up names.
    pub fn with_lookup(rules: Rules, lookup: Lookup) -> Result<Client, record::Error> {
        let rules = Arc::new(rules);
        let http = reqwest::Client::builder()
            .user_agent("uzima")
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_TIME)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .no_gzip()
            .https_only(!rules.allow_http)
            .dns_resolver(Arc::new(Checked { rules: rules.clone(), lookup }))
            .build()
            .map_err(|e| record::Error::Internal(format!("HTTP client for others' addresses: {e}")))?;
        Ok(Client { http, rules })
    }

    /// What the rules say about an address before any name is looked up. Errors: [Forbidden], for the one who wrote it.
    pub fn check(&self, url: &str) -> Result<Target, Forbidden> {
        self.rules.check(url)
    }

    /// Sends once. An answer of any status but a redirect is an [Answer]. Errors: [EgressError].
    pub async fn send(&self, request: Request<'_>) -> Result<Answer, EgressError> {
        let target = self.rules.check(request.url)?;
        let mut call = self.http.request(request.method, target.url().clone()).timeout(request.timeout);
        for (name, value) in request.headers {
            call = call.header(name.as_str(), value.as_str());
        }
        if let Some(credential) = request.credential {
            if !credential.origin.has_same_origin(&target) {
                return Err(Forbidden::CredentialElsewhere.into());
            }
            let mut value =
                reqwest::header::HeaderValue::from_str(&credential.value).map_err(|_| EgressError::Wrong)?;
            value.set_sensitive(true);
            call = call.header(credential.name.as_str(), value);
        }
        if let Some((mime, body)) = request.body {
            call = call.header(reqwest::header::CONTENT_TYPE, mime).body(body.to_owned());
        }
        let answer = call.send().await.map_err(|error| told(&error))?;
        let status = answer.status();
        if status.is_redirection() {
            return Err(EgressError::Redirect(status.as_u16()));
        }
        let media_type = answer.headers().get(reqwest::header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        let media_type =
            media_type.and_then(|v| v.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase();
        let body = read(answer, request.answer_bytes).await?;
        Ok(Answer { status, media_type, body })
    }
}

/// Errors: longer than allowed, as announced or as it comes.
async fn read(mut answer: reqwest::Response, most: usize) -> Result<Vec<u8>, EgressError> {
    let mut body = Vec::new();
    if most == 0 {
        return Ok(body);
    }
    if answer.content_length().is_some_and(|length| length > most as u64) {
        return Err(EgressError::TooLong(most));
    }
    while let Some(bytes) = answer.chunk().await.map_err(|error| told(&error))? {
        if body.len() + bytes.len() > most {
            return Err(EgressError::TooLong(most));
        }
        body.extend_from_slice(&bytes);
    }
    Ok(body)
}

fn told(error: &reqwest::Error) -> EgressError {
    // The connector wraps what the look-up said.
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(forbidden) = inner.downcast_ref::<Forbidden>() {
            return forbidden.clone().into();
        }
        source = inner.source();
    }
    match error {
        e if e.is_timeout() => EgressError::TimedOut,
        e if e.is_connect() => EgressError::Unreachable,
        e if e.is_builder() => EgressError::Wrong,
        _ => EgressError::BrokeOff,
    }
}

/// Looks a name up at the moment of connecting and hands on the very addresses that were checked: a name that was
/// public yesterday, or a millisecond ago, may not be now.
struct Checked {
    rules: Arc<Rules>,
    lookup: Lookup,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let found = (self.lookup)(name.as_str().to_owned());
        let rules = self.rules.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = found.await?.into_iter().take(ADDRESSES_MAX).collect();
            // A name that points inside as well as outside is a trap, not a server.
            if !rules.allow_private && found.iter().any(|a| !wire::address::is_public(a.ip())) {
                return Err(Forbidden::Private.into());
            }
            let addresses: Addrs = Box::new(found.into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests;
