//! Notifications to other people's HTTP endpoints, by [crate::egress].
//!
//! **Invariant:** what went wrong is told without anything of the message, the URL or the answer.

use crate::egress::{Client, EgressError, Rules};
pub use reqwest::Method;
use std::time::Duration;

/// A client for endpoints that subscribers name.
pub struct Hook {
    client: Client,
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
    pub fn new(rules: Rules) -> Result<Hook, record::Error> {
        Ok(Hook { client: Client::new(rules)? })
    }

    /// Done once the endpoint answers 2xx. The body of the answer is not read. Errors: what went wrong, for the operator.
    pub async fn send(&self, request: Request<'_>) -> Result<(), String> {
        let Request { method, url, headers, body, timeout } = request;
        let call =
            crate::egress::Request { method, url, headers, credential: None, body, timeout, answer_bytes: 0 };
        match self.client.send(call).await {
            Ok(answer) if answer.status.is_success() => Ok(()),
            Ok(answer) => Err(format!("the endpoint answered {}", answer.status.as_u16())),
            Err(EgressError::Forbidden(reason)) => Err(reason.to_string()),
            Err(error) => Err(error.to_string()),
        }
    }
}
