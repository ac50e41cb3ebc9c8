//! Stand-ins for the outside providers that Uzima talks to: Safaricom's Daraja (M-PESA), Africa's
//! Talking (SMS), a mail server and a provider of identities, with virtual handsets on which people read messages and
//! approve payments.
//!
//! The sandbox speaks the providers' wire protocols over real sockets, so nothing in Uzima knows that
//! it is not the real thing, and it fails on demand in the ways the real ones were seen to fail
//! ([fault]). It runs as the binary `uzima-sandbox` and inside tests ([serve] on port 0).
//!
//! **Invariants:** no money and no message leaves the process; everything is in memory and bounded
//! (handsets, messages, transactions, tokens, faults, log); the lock is never held across an await.
//!
//! **Must never depend on** Uzima's own crates other than `wire`: a stand-in that shares code with what
//! it tests proves nothing. It must never run where real patients are.

pub mod config;
pub mod fault;
pub mod handset;
pub mod log;
pub mod oidc;
pub mod payment;
pub mod s3;
pub mod smtp;
pub mod state;

mod africastalking;
mod callback;
mod control;
mod daraja;
mod pages;

pub use config::{Config, PendingAnswer, Settings, SettingsChange};
pub use fault::{Fault, FaultKind};
pub use handset::{HandsetView, Message, Prompt};
pub use payment::{Ended, PayBillError, Reply};
pub use state::{HandsetChange, Sandbox, Transaction};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::net::SocketAddr;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Largest body that is read.
const BODY_BYTES_MAX: usize = 256 * 1024;
/// Redirects that a callback follows: none, as with the real providers.
const CALLBACK_AGENT: &str = "uzima-sandbox";

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// The client for callbacks could not be made.
    #[error("cannot make the client for callbacks")]
    Client(#[source] reqwest::Error),
    /// Settings out of their bounds.
    #[error("{0}")]
    Settings(String),
}

/// A running sandbox; it stops when this is dropped.
pub struct Handle {
    /// Where it listens.
    pub address: SocketAddr,
    sandbox: Sandbox,
    server: Option<JoinHandle<std::io::Result<()>>>,
    /// The provider of identities.
    pub oidc: oidc::Issuer,
    /// The mail server, if one was asked for.
    pub smtp: Option<smtp::Smtp>,
}

impl Handle {
    /// `http://127.0.0.1:7100`: the base URL of every provider and of the pages.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The state, to look at and to change without HTTP.
    pub fn sandbox(&self) -> &Sandbox {
        &self.sandbox
    }

    /// Stops: open calls are answered, waiting ones cut off. Errors: those of the listener.
    pub async fn shutdown(mut self) -> std::io::Result<()> {
        self.sandbox.0.stopping.send_replace(true);
        match self.server.take() {
            Some(server) => server.await.unwrap_or(Ok(())),
            None => Ok(()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.sandbox.0.stopping.send_replace(true);
    }
}

/// Starts a sandbox; returns once it listens.
///
/// Errors: [ServeError].
pub async fn serve(config: Config) -> Result<Handle, ServeError> {
    check(&config)?;
    // Fails when somebody installed one before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder()
        .user_agent(CALLBACK_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .tls_danger_accept_invalid_certs(config.accept_invalid_certs)
        .build()
        .map_err(ServeError::Client)?;
    let smtp = match config.smtp_listen {
        Some(address) => {
            Some(smtp::Smtp::listen(address).await.map_err(|source| ServeError::Listen { address, source })?)
        }
        None => None,
    };
    let address = config.listen;
    let listener =
        TcpListener::bind(address).await.map_err(|source| ServeError::Listen { address, source })?;
    let address = listener.local_addr().map_err(|source| ServeError::Listen { address, source })?;
    let sandbox = Sandbox::new(config, http);
    let base = sandbox.config().public_url.clone().unwrap_or_else(|| format!("http://{address}"));
    let oidc = oidc::Issuer::new(base.trim_end_matches('/'));
    let app = router(sandbox.clone()).merge(oidc::router(oidc.clone()));
    tokio::spawn(sandbox.clone().expire_prompts());
    let stopping = sandbox.clone();
    let server = tokio::spawn(async move {
        axum::serve(listener, app).with_graceful_shutdown(async move { stopping.stopped().await }).await
    });
    Ok(Handle { address, sandbox, server: Some(server), oidc, smtp })
}

/// Settings from flags pass the same checks as those from the API.
fn check(config: &Config) -> Result<(), ServeError> {
    let given = config.settings.clone();
    let change = SettingsChange {
        business_name: Some(given.business_name),
        prompt_timeout_ms: Some(given.prompt_timeout_ms),
        processing_ms: Some(given.processing_ms),
        sms_report_url: given.sms_report_url,
        sms_inbound_url: given.sms_inbound_url,
        ..SettingsChange::default()
    };
    let fine = (5..=7).contains(&config.shortcode.len())
        && config.shortcode.bytes().all(|byte| byte.is_ascii_digit());
    if !fine {
        return Err(ServeError::Settings("the shortcode must have five to seven digits".to_owned()));
    }
    change.apply(&mut Settings::default()).map_err(ServeError::Settings)
}

fn router(sandbox: Sandbox) -> Router {
    let providers = daraja::router()
        .merge(africastalking::router())
        .layer(middleware::from_fn_with_state(sandbox.clone(), record));
    Router::new()
        .merge(providers)
        .merge(control::router())
        .merge(pages::router())
        .route("/healthz", get(|| async { "ok" }))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(sandbox)
}

/// Writes every call to a provider into the log, also those that are never answered.
async fn record(State(sandbox): State<Sandbox>, request: Request, next: Next) -> Response {
    let method = request.method().to_string();
    let path = request.uri().path().to_owned();
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, BODY_BYTES_MAX).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let entry = sandbox.log_open(log::Flow::Request, &method, &path, &body);
    let response = next.run(Request::from_parts(parts, Body::from(body))).await;
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    sandbox.log_close(entry, Some(parts.status.as_u16()), &body);
    Response::from_parts(parts, Body::from(body))
}
