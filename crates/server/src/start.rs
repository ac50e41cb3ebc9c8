//! Starting and stopping: the same for the binary and for tests.

use crate::config::Config;
use crate::http::acme::{Acme, Challenges};
use crate::http::listen;
use crate::http::metrics::Metrics;
use crate::parts::Parts;
use crate::state::{App, AppState};
use crate::web::Web;
use crate::ws::hub::{self, Hub};
use crate::ws::registry::Sockets;
use crate::{control, storage, worker};
use anyhow::Context as _;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use record::Clock;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How often is looked whether the certificate was renewed.
const CERTIFICATE_EVERY: Duration = Duration::from_secs(5);

/// A running server. Dropping it does not stop it; call [Running::shutdown].
pub struct Running {
    /// Where it listens, with the port that was picked.
    pub address: SocketAddr,
    /// `config.public_url`, or made from the address.
    pub url: String,
    pub app: AppState,
    /// Where the port without TLS listens, if there is one.
    pub redirect: Option<SocketAddr>,
    tls: Option<RustlsConfig>,
    handle: Handle<SocketAddr>,
    serving: JoinHandle<std::io::Result<()>>,
    tasks: Vec<JoinHandle<()>>,
}

/// The machine's clock.
pub fn clock() -> Clock {
    Arc::new(Timestamp::now)
}

/// Starts everything: database, parts, worker, HTTP. Ready for requests when it returns.
/// Errors: what keeps it from starting, in words for the operator.
pub async fn start(config: Config) -> anyhow::Result<Running> {
    start_with_clock(config, clock()).await
}

/// As [start], with another clock, for tests.
pub async fn start_with_clock(config: Config, clock: Clock) -> anyhow::Result<Running> {
    let tls = listen::tls(&config)?.map(RustlsConfig::from_config);
    let listener = listen::bind(config.listen)?;
    let address = listener.local_addr()?;
    let redirect = config.tls.redirect_listen.map(listen::bind).transpose()?;
    let app = app(config, clock, &address).await?;
    let owned = app.config.clone();
    let acme = tokio::task::spawn_blocking(move || Acme::open(&owned)).await??;
    let tls = match &acme {
        Some(acme) => Some(RustlsConfig::from_config(acme.config()?)),
        None => tls,
    };
    serve(app, listener, redirect, address, tls, acme)
}

/// The worker alone, for PostgreSQL with several servers. Runs until `stopping` of the returned state is cancelled.
pub async fn start_worker(mut config: Config) -> anyhow::Result<(AppState, JoinHandle<()>)> {
    let address = config.listen;
    // Calls are relayed by the servers.
    config.turn.listen = None;
    let app = app(config, clock(), &address).await?;
    let task = tokio::spawn(worker::run(app.clone(), worker::registry()));
    Ok((app, task))
}

async fn app(config: Config, clock: Clock, address: &SocketAddr) -> anyhow::Result<AppState> {
    // Only fails if there is one already, which is then as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let public_url = match &config.public_url {
        Some(url) => url.clone(),
        None => {
            let scheme = if config.has_tls() { "https" } else { "http" };
            match config.tls.acme_names.first() {
                Some(name) => {
                    format!("{scheme}://{name}:{}", address.port()).trim_end_matches(":443").to_owned()
                }
                None if address.ip().is_unspecified() => format!("{scheme}://localhost:{}", address.port()),
                None => format!("{scheme}://{address}"),
            }
        }
    };
    let timezone = TimeZone::get(&config.clinic.timezone).context("clinic.timezone")?;
    let opened = config.clone();
    let record = tokio::task::spawn_blocking(move || storage::open(&opened, clock)).await??;
    let residency = crate::residency::hold(&config, &record).await?;
    record.load_search_parameters().await.context("cannot read the search parameters")?;
    tokio::spawn(record.follow_search_parameters());
    record.set_base(format!("{public_url}{}", crate::rest::BASE));
    // What an administrator registered is called by the rules for addresses that came from data.
    let rules = reach::egress::Rules {
        allow_http: config.subscriptions.allow_http,
        allow_private: config.subscriptions.allow_private,
        hosts: Vec::new(),
    };
    record.set_key_fetch(crate::oauth::keys::fetch(rules).context("no HTTP client")?);
    if let Some(clamd) = &config.http.clamd {
        let clamd = reach::clamd::Clamd::new(clamd).map_err(anyhow::Error::msg).context("http.clamd")?;
        record.set_scanner(clamd.scanner());
    }
    record.set_site(&public_url);
    let parts = Parts::start(&config, &record, &public_url).await?;
    let web = Web::load(&public_url.replacen("http", "ws", 1));
    let hub = Hub::default();
    let last = record.store().write(store::outbox::last).await.context("cannot read the outbox")?;
    hub.set_last_seq(last);
    let sockets = Sockets::new(config.limits.sockets, config.limits.sockets_per_account);
    Ok(Arc::new(App {
        started: record.now(),
        rates: crate::http::rate::Rates::new(&config.limits),
        config,
        record,
        public_url,
        timezone,
        metrics: Metrics::default(),
        web,
        sockets,
        hub,
        parts,
        residency,
        worker_name: format!("{}-{}", std::process::id(), uuid::Uuid::now_v7()),
        stopping: CancellationToken::new(),
    }))
}

fn serve(
    app: AppState,
    listener: TcpListener,
    redirect: Option<TcpListener>,
    address: SocketAddr,
    tls: Option<RustlsConfig>,
    acme: Option<Acme>,
) -> anyhow::Result<Running> {
    let mut tasks = vec![tokio::spawn(hub::run(app.clone()))];
    tasks.push(tokio::spawn(crate::api::consultations::keep_call_log(app.clone())));
    tasks.push(tokio::spawn(crate::ws::ended::run(app.clone())));
    if app.config.worker.enabled {
        tasks.push(tokio::spawn(worker::run(app.clone(), worker::registry())));
    }
    match control::listen(&app) {
        Ok(task) => tasks.push(task),
        // Only the commands of `uzima admin` on a running server need it.
        Err(error) => tracing::warn!(%error, "no control socket"),
    }
    let proofs = acme.as_ref().map(|acme| acme.challenges.clone()).unwrap_or_default();
    let elsewhere = redirect.as_ref().map(TcpListener::local_addr).transpose()?;
    if let Some(listener) = redirect {
        tasks.push(tokio::spawn(send_elsewhere(app.clone(), listener, address.port(), proofs)));
    }
    match (acme, &tls) {
        (Some(acme), Some(tls)) => tasks.push(tokio::spawn(acme.keep(tls.clone(), app.stopping.clone()))),
        (None, Some(tls)) => tasks.push(tokio::spawn(follow_certificate(app.clone(), tls.clone()))),
        _ => {}
    }
    let handle = Handle::new();
    let router = crate::http::router(app.clone());
    let serving = tokio::spawn(listen::serve(listener, router, tls.clone(), handle.clone()));
    let url = app.public_url.clone();
    tracing::info!(%address, %url, version = env!("CARGO_PKG_VERSION"), "serving");
    Ok(Running { address, url, app, redirect: elsewhere, tls, handle, serving, tasks })
}

/// Takes a renewed certificate as soon as its files fit together. Connections that are open keep theirs.
async fn follow_certificate(app: AppState, tls: RustlsConfig) {
    let mut every = tokio::time::interval(CERTIFICATE_EVERY);
    // Read once more at first: it may have changed since the start.
    let (mut seen, mut failed) = (None, None);
    loop {
        tokio::select! {
            () = app.stopping.cancelled() => return,
            _ = every.tick() => {}
        }
        let stamp = listen::stamp(&app.config);
        if stamp.is_none() || stamp == seen {
            continue;
        }
        match listen::tls(&app.config) {
            Ok(Some(config)) => {
                tls.reload_from_config(config);
                seen = stamp;
                tracing::info!("a new certificate is in use");
            }
            Ok(None) => return,
            // One file is there before the other; told once for each pair.
            Err(error) if failed != stamp => {
                tracing::warn!(error = format!("{error:#}"), "the old certificate stays in use");
                failed = stamp;
            }
            Err(_) => {}
        }
    }
}

/// The port without TLS.
async fn send_elsewhere(app: AppState, listener: TcpListener, port: u16, proofs: Challenges) {
    let router = crate::http::redirect::router(app.config.public_url.as_deref(), port, proofs);
    let handle = Handle::new();
    let stop = handle.clone();
    let serving = listen::serve(listener, router, None, handle);
    tokio::pin!(serving);
    let ended = tokio::select! {
        ended = &mut serving => ended,
        () = app.stopping.cancelled() => {
            stop.shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::error!(%error, "the port without TLS ended");
    }
}

impl Running {
    /// Stops taking requests, finishes those that run, closes the WebSockets with 1001, stops the worker and closes the
    /// database. Errors: a task that failed.
    pub async fn shutdown(self) -> anyhow::Result<()> {
        let drain = Duration::from_secs(self.app.config.limits.drain_seconds);
        self.app.stopping.cancel();
        self.handle.graceful_shutdown(Some(drain));
        self.finish(drain).await
    }

    /// Reads certificate and key again, e.g. after a renewal; open connections keep theirs. Without TLS nothing happens.
    /// Errors: files that cannot be read or do not fit together; the old ones stay in use.
    pub fn reload_tls(&self) -> anyhow::Result<()> {
        if let (Some(tls), Some(config)) = (&self.tls, listen::tls(&self.app.config)?) {
            tls.reload_from_config(config);
            tracing::info!("certificate read again");
        }
        Ok(())
    }

    /// Runs until the server ends by itself, e.g. because its socket failed.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.serving).await??;
        anyhow::bail!("the server ended")
    }

    async fn finish(self, drain: Duration) -> anyhow::Result<()> {
        let served = tokio::time::timeout(drain + Duration::from_secs(1), self.serving).await;
        if let Ok(served) = served {
            served??;
        }
        for mut task in self.tasks {
            if tokio::time::timeout(drain, &mut task).await.is_err() {
                tracing::warn!("a task did not end in time and is given up");
                task.abort();
            }
        }
        self.app.parts.stop().await;
        let store = self.app.record.store().clone();
        tokio::task::spawn_blocking(move || store.close()).await?;
        Ok(())
    }
}
