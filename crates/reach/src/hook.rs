//! Notifications to other people's HTTP endpoints.
//!
//! **Invariant:** no redirect is followed, no proxy of the environment is used, and unless the operator allows it no
//! private address is connected to, whatever a name resolves to at that moment.
//! **Invariant:** what went wrong is told without anything of the message, the URL or the answer.

use record::subscription::is_private;
pub use reqwest::Method;
use reqwest::StatusCode;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use std::sync::Arc;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections to one endpoint.
const IDLE_CONNECTIONS: usize = 4;
const IDLE_TIME: Duration = Duration::from_secs(30);

/// A client for endpoints that subscribers name.
pub struct Hook {
    http: reqwest::Client,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    pub method: Method,
    pub url: &'a str,
    pub headers: &'a [(String, String)],
    /// Media type and text.
    pub body: Option<(&'a str, &'a str)>,
    pub timeout: Duration,
}

impl Hook {
    /// Errors: the TLS backend cannot be made.
    pub fn new(allow_private: bool) -> Result<Hook, record::Error> {
        let mut builder = reqwest::Client::builder()
            .user_agent("uzima")
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .pool_idle_timeout(IDLE_TIME)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy();
        if !allow_private {
            builder = builder.dns_resolver(Arc::new(PublicOnly));
        }
        let http = builder
            .build()
            .map_err(|e| record::Error::Internal(format!("HTTP client for notifications: {e}")))?;
        Ok(Hook { http })
    }

    /// Done once the endpoint answers 2xx. The body of the answer is not read. Errors: what went wrong, for the operator.
    pub async fn send(&self, request: Request<'_>) -> Result<(), String> {
        let mut call = self.http.request(request.method, request.url).timeout(request.timeout);
        for (name, value) in request.headers {
            call = call.header(name.as_str(), value.as_str());
        }
        if let Some((mime, body)) = request.body {
            call = call.header(reqwest::header::CONTENT_TYPE, mime).body(body.to_owned());
        }
        match call.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(refusal(answer.status())),
            Err(e) if e.is_timeout() => Err("the endpoint did not answer in time".to_owned()),
            Err(e) if e.is_connect() => Err("the endpoint cannot be reached".to_owned()),
            Err(e) if e.is_builder() => Err("the endpoint is no valid URL or a header is wrong".to_owned()),
            Err(_) => Err("the connection to the endpoint broke off".to_owned()),
        }
    }
}

fn refusal(status: StatusCode) -> String {
    if status.is_redirection() {
        return format!("the endpoint answered {}; redirects are not followed", status.as_u16());
    }
    format!("the endpoint answered {}", status.as_u16())
}

/// Finds public addresses only, at the moment of connecting: a name that was public yesterday may not be today.
struct PublicOnly;

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let public: Vec<_> = found.filter(|address| !is_private(address.ip())).collect();
            if public.is_empty() {
                return Err("no public address".into());
            }
            let addresses: Addrs = Box::new(public.into_iter());
            Ok(addresses)
        })
    }
}
